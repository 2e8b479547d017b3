//! Whether an execution would be allowed, and whether the target would take it; nothing is consumed or recorded.

use std::sync::Arc;
use std::time::Duration;

use spiffe::SpiffeId;
use tokio::sync::OwnedSemaphorePermit;

use super::inflight::{Entry, InFlight};
use super::{Authentic, Broker, Checked, Presented, Refused};
use crate::decision::{Decision, DryRun, Facts, MutationId, Observed, Peer, Request, Terms, evaluate, to_try};
use crate::fair::{Bounds, Turns};
use crate::identity::{ExecutionIdentity, Form};
use crate::reason::Denial;
use crate::store::{Store, Usage};
use crate::target::{Rehearsed, Rehearser, Target};
use crate::telemetry::Phase;
use crate::timestamp::Timestamp;

/// How long a rehearsal may take, waiting for its turn and minting included; and the life of the identity that makes it.
const REHEARSAL: Duration = Duration::from_secs(8);

/// How long one waits for its turn, of that.
const TURN: Duration = Duration::from_secs(4);

/// How many rehearsals run and wait: they use up nothing else that would bound them.
const REHEARSALS: Bounds = Bounds { running: 16, running_per_peer: 4, queue: 64, queue_per_peer: 16 };

impl<S: Store> Broker<S> {
    /// Everything that [`Self::execute`] does before it consumes the use; and a rehearsal at the target of what would be
    /// allowed, where the contract asks for it or the target is configured so. Records nothing.
    ///
    /// # Errors
    /// If the store failed, the certificate is not authentic, or as much is running as may.
    pub async fn check(&self, presented: Presented, peer: Peer) -> Result<Checked, Refused> {
        let authentic = self.authenticate(&presented, self.trusted(), self.reading().now);
        let authentic = authentic.map_err(|denial| Refused::denied(denial, None))?;
        let _room = self.room()?;
        let usage = self.usage(&authentic, &peer).await;
        let (facts, tried) = self.facts(&authentic, &presented.request, &peer, usage, None).await;
        let decision = evaluate(&facts);
        let rehearsed = match &decision {
            Decision::Allow(permit) if tried.is_none() => self.rehearsed(permit.terms(), &facts.peer.id).await,
            Decision::Allow(_) | Decision::Deny(_) => tried.map(|tried| tried.rehearsed),
        };
        let call = facts
            .certified
            .contract()
            .ok()
            .and_then(|contract| contract.call(facts.request.step.as_ref(), &facts.request.choice).ok());
        Ok(Checked { denials: decision.denials().to_vec(), call, rehearsed })
    }

    /// The facts of a decision. Where the contract asks for a dry run and nothing else is against the call, the target tries
    /// it, unless it was tried already; since that takes its time, everything else is then looked at again.
    pub(super) async fn facts(
        &self,
        authentic: &Authentic,
        request: &Request,
        peer: &Peer,
        usage: Option<Usage>,
        tried: Option<Tried>,
    ) -> (Facts, Option<Tried>) {
        let with = |facts: Facts, tried: &Option<Tried>| {
            let dry_run = tried.as_ref().map(Tried::fact);
            Facts { observed: Observed { dry_run, ..facts.observed }, ..facts }
        };
        let facts = self.observe(authentic, request, peer.clone(), usage).await;
        if tried.is_some() {
            return (with(facts, &tried), tried);
        }
        let Some(terms) = to_try(&facts) else { return (facts, None) };
        let tried = Some(self.phase(Phase::DryRun, self.tried(&terms, &peer.id)).await);
        let usage = self.usage(authentic, peer).await;
        (with(self.observe(authentic, request, peer.clone(), usage).await, &tried), tried)
    }

    async fn tried(&self, terms: &Terms, agent: &SpiffeId) -> Tried {
        match self.rehearsal(terms) {
            Ok((driver, by)) => self.rehearse(driver, terms, by, agent).await,
            Err(detail) => Tried { rehearsed: Rehearsed::Unavailable { detail }, at: self.now() },
        }
    }

    /// Room for one more execution or check, for as long as it is held.
    ///
    /// # Errors
    /// If as many are running as may.
    pub(super) fn room(&self) -> Result<OwnedSemaphorePermit, Refused> {
        Arc::clone(&self.room).try_acquire_owned().map_err(|_| Refused::Busy(self.parts.concurrency))
    }

    /// What the target says of a call of these terms; none if it is not asked.
    async fn rehearsed(&self, terms: &Terms, agent: &SpiffeId) -> Option<Rehearsed> {
        let (driver, by) = self.rehearsal(terms).ok()?;
        Some(self.rehearse(driver, terms, by, agent).await.rehearsed)
    }

    /// What a call of these terms is rehearsed by; or why it is not.
    fn rehearsal(&self, terms: &Terms) -> Result<(&dyn Target, Rehearser), String> {
        let name = terms.call().target_name();
        let target = self.parts.targets.get(name).filter(|target| target.dry_run);
        let target = target.ok_or_else(|| format!("`dry_run` is not set at the target `{name}`"))?;
        let by = target.driver.rehearsal(terms.call());
        let by = by.ok_or("a call like this cannot be tried without effect")?;
        Ok((target.driver.as_ref(), by))
    }

    /// One at a time for each mutation, and [`REHEARSALS`] of all, agents by turns.
    async fn rehearse(&self, driver: &dyn Target, terms: &Terms, by: Rehearser, agent: &SpiffeId) -> Tried {
        let mut at = self.now();
        let tried = async {
            let Entry::First(_only) = self.rehearsing.of_mutation.enter(terms.mutation_id()) else {
                return Err("the same call is being tried already: try again in a moment".to_owned());
            };
            let turn = tokio::time::timeout(TURN, self.rehearsing.turns.take(agent)).await;
            let turn = turn.map_err(|_| "other dry runs took too long: try again in a moment")?;
            let _turn = turn.map_err(|no_room| format!("dry runs that wait: {no_room}; try again in a moment"))?;
            let identity = match by {
                Rehearser::Account => None,
                Rehearser::Identity(form) => {
                    let identity = self.mint_rehearser(terms, form).await;
                    Some(identity.map_err(|detail| format!("no identity to rehearse by: {detail}"))?)
                }
            };
            // What the target says holds for a moment after this, and not after its answer.
            at = self.now();
            Ok(driver.rehearse(terms, identity).await)
        };
        let late = || Err("the target did not answer in time".to_owned());
        let rehearsed = tokio::time::timeout(REHEARSAL, tried).await.unwrap_or_else(|_| late());
        Tried { rehearsed: rehearsed.unwrap_or_else(|detail| Rehearsed::Unavailable { detail }), at }
    }

    async fn mint_rehearser(&self, terms: &Terms, form: Form) -> Result<ExecutionIdentity, String> {
        let now = self.now();
        let end = now.saturating_add(REHEARSAL).min(terms.deadline());
        let plan = self.parts.issuer.plan(terms.mutation_id(), form, now, end).map_err(|error| error.to_string())?;
        self.parts.issuer.mint(plan).await.map_err(|error| error.to_string())
    }
}

/// What came of a rehearsal, and when it was asked for.
#[derive(Debug)]
pub(super) struct Tried {
    rehearsed: Rehearsed,
    at: Timestamp,
}

impl Tried {
    fn fact(&self) -> DryRun {
        let bounded = |detail: String| detail.chars().take(Denial::MAX_DETAIL).collect();
        match &self.rehearsed {
            Rehearsed::Accepted => DryRun::Accepted { observed_at: self.at },
            Rehearsed::Refused { reason, detail } => {
                DryRun::Refused { detail: bounded(format!("{}: {detail}", reason.as_str())) }
            }
            Rehearsed::Unavailable { detail } => DryRun::Unknown { detail: bounded(detail.clone()) },
        }
    }
}

/// The calls that targets are trying just now.
pub(super) struct Rehearsing {
    of_mutation: InFlight<MutationId, ()>,
    turns: Turns,
}

impl Rehearsing {
    pub(super) fn new() -> Self {
        Self { of_mutation: InFlight::new(), turns: Turns::new(REHEARSALS) }
    }
}
