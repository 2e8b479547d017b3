//! Whether an execution would be allowed, and whether the target would take it; nothing is consumed or recorded.

use std::sync::Arc;
use std::time::Duration;

use super::run::MINT_TIMEOUT;
use super::{Broker, Checked, Presented, Refused};
use crate::decision::{Decision, Peer, Terms, evaluate};
use crate::identity::Form;
use crate::store::Store;
use crate::target::{Rehearsed, Target};

/// The life of an identity that rehearses, in seconds: the call is made at once.
const REHEARSAL_SECONDS: u64 = 10;

impl<S: Store> Broker<S> {
    /// Everything that [`Self::execute`] does before it consumes the use; and, where the target is configured so, a
    /// rehearsal at the target of what would be allowed. Records nothing.
    ///
    /// # Errors
    /// If the store failed, the certificate is not authentic, or there is no room for a rehearsal.
    pub async fn check(&self, presented: Presented, peer: Peer) -> Result<Checked, Refused> {
        let authentic = self.authenticate(&presented, self.reading().now);
        let authentic = authentic.map_err(|denial| Refused::denied(denial, None))?;
        let usage = self.usage(&authentic, &peer).await;
        let facts = self.observe(&authentic, &presented.request, peer, usage).await;
        let decision = evaluate(&facts);
        let rehearsed = match &decision {
            Decision::Allow(permit) => self.rehearsed(permit.terms()).await?,
            Decision::Deny(_) => None,
        };
        let call = facts
            .certified
            .contract()
            .ok()
            .and_then(|contract| contract.call(facts.request.step.as_ref(), &facts.request.choice).ok());
        Ok(Checked { denials: decision.denials().to_vec(), call, rehearsed })
    }

    /// What the target says of a call of these terms; none if it is not asked.
    async fn rehearsed(&self, terms: &Terms) -> Result<Option<Rehearsed>, Refused> {
        let Some(target) = self.parts.targets.get(terms.call().target_name()).filter(|target| target.dry_run) else {
            return Ok(None);
        };
        let Some(form) = target.driver.rehearsal(terms.call()) else { return Ok(None) };
        let busy = || Refused::Busy(self.parts.concurrency);
        let _room = Arc::clone(&self.room).try_acquire_owned().map_err(|_| busy())?;
        let rehearsed = self.rehearse(target.driver.as_ref(), terms, form).await;
        Ok(Some(rehearsed.unwrap_or_else(|detail| Rehearsed::Unavailable { detail })))
    }

    async fn rehearse(&self, driver: &dyn Target, terms: &Terms, form: Form) -> Result<Rehearsed, String> {
        let now = self.now();
        let end = now.saturating_add(Duration::from_secs(REHEARSAL_SECONDS)).min(terms.deadline());
        let none = |error: &dyn std::fmt::Display| format!("no identity to rehearse by: {error}");
        let plan = self.parts.issuer.plan(terms.mutation_id(), form, now, end).map_err(|error| none(&error))?;
        let minted = tokio::time::timeout(MINT_TIMEOUT, self.parts.issuer.mint(plan)).await;
        let identity = minted.map_err(|_| none(&"the issuer did not answer in time"))?.map_err(|error| none(&error))?;
        Ok(driver.rehearse(terms, identity).await)
    }
}
