//! Whether an execution would be allowed, and whether the target would take it; nothing is consumed or recorded.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::run::MINT_TIMEOUT;
use super::{Authentic, Broker, Checked, Presented, Refused};
use crate::decision::{Decision, DryRun, Facts, Observed, Peer, Request, Terms, evaluate, to_try};
use crate::identity::{ExecutionIdentity, Form};
use crate::reason::Denial;
use crate::store::{Store, Usage};
use crate::target::{Rehearsed, Target};

/// The life of an identity that rehearses, in seconds: the call is made at once.
const REHEARSAL_SECONDS: u64 = 10;

impl<S: Store> Broker<S> {
    /// Everything that [`Self::execute`] does before it consumes the use; and a rehearsal at the target of what would be
    /// allowed, where the contract asks for it or the target is configured so. Records nothing.
    ///
    /// # Errors
    /// If the store failed, the certificate is not authentic, or as much is running as may.
    pub async fn check(&self, presented: Presented, peer: Peer) -> Result<Checked, Refused> {
        let authentic = self.authenticate(&presented, self.reading().now);
        let authentic = authentic.map_err(|denial| Refused::denied(denial, None))?;
        let _room = self.room()?;
        let usage = self.usage(&authentic, &peer).await;
        let (facts, rehearsed) = self.facts(&authentic, &presented.request, &peer, usage).await;
        let decision = evaluate(&facts);
        let rehearsed = match &decision {
            Decision::Allow(permit) if rehearsed.is_none() => self.rehearsed(permit.terms()).await,
            Decision::Allow(_) | Decision::Deny(_) => rehearsed,
        };
        let call = facts
            .certified
            .contract()
            .ok()
            .and_then(|contract| contract.call(facts.request.step.as_ref(), &facts.request.choice).ok());
        Ok(Checked { denials: decision.denials().to_vec(), call, rehearsed })
    }

    /// The facts of a decision, with what was used up just now. Where the contract asks for a dry run and nothing else is
    /// against the call, the target tries it; since that takes its time, everything else is then looked at again.
    pub(super) async fn facts(
        &self,
        authentic: &Authentic,
        request: &Request,
        peer: &Peer,
        usage: Option<Usage>,
    ) -> (Facts, Option<Rehearsed>) {
        let facts = self.observe(authentic, request, peer.clone(), usage).await;
        let Some(terms) = to_try(&facts) else { return (facts, None) };
        let rehearsed = match self.rehearsal(&terms) {
            Ok((driver, form)) => self.rehearse(driver, &terms, form).await,
            Err(detail) => Rehearsed::Unavailable { detail },
        };
        let dry_run = Some(self.dry_run(&rehearsed));
        let facts = self.observe(authentic, request, peer.clone(), usage).await;
        let observed = Observed { dry_run, ..facts.observed };
        (Facts { observed, ..facts }, Some(rehearsed))
    }

    /// Room for one more execution or check, for as long as it is held.
    ///
    /// # Errors
    /// If as many are running as may.
    pub(super) fn room(&self) -> Result<OwnedSemaphorePermit, Refused> {
        Arc::clone(&self.room).try_acquire_owned().map_err(|_| Refused::Busy(self.parts.concurrency))
    }

    fn dry_run(&self, rehearsed: &Rehearsed) -> DryRun {
        let bounded = |detail: String| detail.chars().take(Denial::MAX_DETAIL).collect();
        match rehearsed {
            Rehearsed::Accepted => DryRun::Accepted { observed_at: self.now() },
            Rehearsed::Refused { reason, detail } => {
                DryRun::Refused { detail: bounded(format!("{}: {detail}", reason.as_str())) }
            }
            Rehearsed::Unavailable { detail } => DryRun::Unknown { detail: bounded(detail.clone()) },
        }
    }

    /// What the target says of a call of these terms; none if it is not asked.
    async fn rehearsed(&self, terms: &Terms) -> Option<Rehearsed> {
        let (driver, form) = self.rehearsal(terms).ok()?;
        Some(self.rehearse(driver, terms, form).await)
    }

    /// What a call of these terms is rehearsed by; or why it is not.
    fn rehearsal(&self, terms: &Terms) -> Result<(&dyn Target, Form), String> {
        let name = terms.call().target_name();
        let target = self.parts.targets.get(name).filter(|target| target.dry_run);
        let target = target.ok_or_else(|| format!("`dry_run` is not set at the target `{name}`"))?;
        let form = target.driver.rehearsal(terms.call());
        let form = form.ok_or("a call like this cannot be tried without effect")?;
        Ok((target.driver.as_ref(), form))
    }

    async fn rehearse(&self, driver: &dyn Target, terms: &Terms, form: Form) -> Rehearsed {
        match self.rehearser(terms, form).await {
            Ok(identity) => driver.rehearse(terms, identity).await,
            Err(detail) => Rehearsed::Unavailable { detail: format!("no identity to rehearse by: {detail}") },
        }
    }

    async fn rehearser(&self, terms: &Terms, form: Form) -> Result<ExecutionIdentity, String> {
        let now = self.now();
        let end = now.saturating_add(Duration::from_secs(REHEARSAL_SECONDS)).min(terms.deadline());
        let plan = self.parts.issuer.plan(terms.mutation_id(), form, now, end).map_err(|error| error.to_string())?;
        let minted = tokio::time::timeout(MINT_TIMEOUT, self.parts.issuer.mint(plan)).await;
        minted.map_err(|_| "the issuer did not answer in time".to_owned())?.map_err(|error| error.to_string())
    }
}
