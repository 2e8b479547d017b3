//! Gathers the facts of one decision, once. What cannot be learnt stays unknown, and denies (I9).

use std::sync::Arc;

use super::clock_watch::Reading;
use super::{Authentic, Broker};
use crate::contract::{Contract, Step};
use crate::decision::{Facts, LiveState, Observed, Peer, Request};
use crate::store::{Store, Usage, Windows};
use crate::target::Grade;

impl<S: Store> Broker<S> {
    /// What was used up already. A store that cannot count is a missing fact, not a failure: the denial says so, and is
    /// recorded if it can be.
    pub(super) async fn usage(&self, authentic: &Authentic, peer: &Peer) -> Option<Usage> {
        let parts = authentic.certified.parts();
        let ceilings = &self.parts.ceilings;
        let windows = Windows {
            agent_seconds: ceilings.agent_rate(&peer.id).per_seconds,
            authority_seconds: ceilings.authority_rate(&parts.authority).per_seconds,
        };
        let now = self.reading().now;
        self.parts.store.usage(parts.digest, &peer.id, &parts.authority, windows, now).await.ok()
    }

    /// The facts of a decision, with what was used up just now.
    pub(super) async fn observe(
        &self,
        authentic: &Authentic,
        request: &Request,
        peer: Peer,
        usage: Option<Usage>,
    ) -> Facts {
        let certified = authentic.certified.clone();
        let parts = certified.parts();
        let ceilings = &self.parts.ceilings;
        let live = self.live(certified.contract().ok(), request).await;
        // Time and epoch are read last, so that nothing that was waited for makes them old.
        let Reading { now, stepped } = self.reading();
        let observed = Observed {
            now,
            clock_stepped: stepped,
            epoch: self.fence.knowledge(&parts.authority, self.parts.clock.monotonic_ms()),
            uses: usage.map(|usage| usage.uses),
            rates: usage.map(|usage| usage.rates),
            boundary: None,
            live,
            dry_run: None,
        };
        Facts {
            certified,
            peer,
            broker: self.parts.id.clone(),
            request: request.clone(),
            observed,
            ceilings: Arc::clone(ceilings),
        }
    }

    /// The live state of the object that the step is about; unknown where there is no such step or target.
    async fn live(&self, contract: Option<&Contract>, request: &Request) -> LiveState {
        let Some((contract, step)) = contract.and_then(|contract| Some((contract, step(contract, request)?))) else {
            return LiveState::Unknown;
        };
        let Some(target) = self.parts.targets.get(contract.target_name()) else { return LiveState::Unknown };
        if target.driver.kind() != contract.target_kind() {
            return LiveState::Unknown;
        }
        let call = contract.call(Some(step.name()), &request.choice);
        let atomic = call.is_ok_and(|call| target.driver.grade(&call) == Grade::Atomic);
        if atomic && !target.read_before {
            return LiveState::Deferred;
        }
        target.driver.read(step.mutation().resource(), &step.baseline().pointers()).await
    }
}

fn step<'a>(contract: &'a Contract, request: &Request) -> Option<&'a Step> {
    contract.step(request.step.as_ref()).ok()
}
