//! What a broker records, made from what it knows.

use super::{Authentic, Broker, Decided, Presented, Refused, Trusted};
use crate::contract::Json;
use crate::decision::{Decision, Facts, Peer, Terms};
use crate::execution::{Grade, Outcome};
use crate::identity::Plan;
use crate::reason::Denial;
use crate::record::{
    self, About, Artefact, DecisionContext, Draft, Drift, InvalidDraft, OutcomeParts, PlannedIdentity, RefusalParts,
    Timings, media,
};
use crate::store::{Execution, Store};
use crate::timestamp::Timestamp;

impl<S: Store> Broker<S> {
    /// The record of an evaluated decision, with everything that is needed to derive it again (I7).
    pub(super) fn decision_draft(
        &self,
        authentic: &Authentic,
        facts: &Facts,
        decision: &Decision,
        plan: Option<&Plan>,
        trace: Option<&str>,
    ) -> Result<Draft, InvalidDraft> {
        let artefact = |media: &str, octets: &[u8]| Artefact::new(media, octets);
        let chain = authentic.chain.iter().map(|octets| artefact(media::CHAIN, octets)).collect::<Result<_, _>>()?;
        let statement = facts.observed.epoch.as_ref().map(|epoch| epoch.statement.to_canonical());
        let statement = statement.map(|text| artefact(media::EPOCH, text.as_bytes())).transpose()?;
        let body = facts.request.choice.body.as_deref().map(|body| artefact(media::BODY, body)).transpose()?;
        let context = DecisionContext {
            presented: record::Presented {
                certificate: artefact(media::CERTIFICATE, authentic.verified.octets())?,
                chain,
                trust: authentic.trusted.artefact.clone(),
            },
            bundle: authentic.verified.bundle(),
            source: authentic.trusted.source_of(&authentic.certified.parts().authority),
            ceilings: self.ceilings.clone(),
            statement,
            body,
            identity: plan.map(|plan| PlannedIdentity {
                spiffe_id: plan.id().clone(),
                audiences: plan.form().audiences().map(<[String]>::to_vec),
                serial: plan.serial().map(ToString::to_string),
                not_after: plan.not_after(),
            }),
            grade: match decision {
                Decision::Allow(permit) => self.grade(permit.terms()),
                Decision::Deny(_) => None,
            },
            trace: trace.map(ToOwned::to_owned),
        };
        record::decision(facts, decision, context)
    }

    /// How drift is held against a call; unknown where its target is not configured any more.
    pub(super) fn grade(&self, terms: &Terms) -> Option<Grade> {
        let call = terms.call();
        self.parts.targets.get(call.target_name()).map(|target| target.driver.grade(call))
    }

    /// Records a refusal before the certificate was known to be good, with the exact reason; `trusted` and `at` are what it was
    /// refused by. The answer is the number of the record.
    pub(super) async fn record_refusal(
        &self,
        presented: &Presented,
        peer: &Peer,
        denial: &Denial,
        trusted: &Trusted,
        at: Timestamp,
    ) -> Result<u64, Refused> {
        let draft = record::refusal(&RefusalParts {
            time: at,
            caller: &peer.id,
            denial,
            certificate: Some(&presented.certificate),
            chain: &presented.chain,
            trust: Some(trusted.artefact.clone()),
            request: Some(presented.request.digest()),
            trace: presented.trace.as_deref(),
        })?;
        Ok(self.durable(self.parts.store.append(draft)).await?.number)
    }

    /// The record of how an execution ended, or of its end being unknown.
    pub(super) fn outcome_draft(
        &self,
        terms: &Terms,
        decision: u64,
        about: About,
        outcome: &Outcome,
        timings: Option<Timings>,
    ) -> Result<Draft, InvalidDraft> {
        record::outcome(OutcomeParts {
            time: self.now(),
            mutation_id: terms.mutation_id(),
            decision,
            about,
            outcome,
            drift: self.grade(terms).map(|grade| Drift { grade, window_ms: None }),
            answer: outcome.handle.as_deref().map(|handle| Json::object([("handle", Json::from(handle))])),
            timings,
            evidence: None,
            trace: None,
        })
    }

    /// The record of what evidence made of an execution whose end was not recorded.
    pub(super) fn settled_draft(
        &self,
        execution: &Execution,
        decided: &Decided,
        outcome: &Outcome,
    ) -> Result<Draft, InvalidDraft> {
        // What the store says has been so since the decision; the record may be gone.
        let about = About {
            agent: Some(execution.agent.clone()),
            authority: Some(execution.authority.clone()),
            target: Some(execution.target.clone()),
            certificate: Some(execution.certificate),
            resource: decided.resource.clone(),
            ..About::default()
        };
        let grade = decided.terms.as_ref().ok().and_then(|terms| self.grade(terms));
        record::outcome(OutcomeParts {
            time: self.now(),
            mutation_id: &execution.mutation_id,
            decision: execution.decision,
            about,
            outcome,
            drift: grade.map(|grade| Drift { grade, window_ms: None }),
            answer: None,
            timings: None,
            evidence: Some(Json::object([("detail", Json::from(outcome.detail.as_str()))])),
            trace: decided.trace.as_deref(),
        })
    }
}
