//! Drives one execution: performs each effect of the state machine and tells it what came of it.

use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::clock_watch::{ClockWatch, Reading};
use super::{Answer, Broker, Case, Decided, Refused};
use crate::ceiling::Rate;
use crate::clock::Clock;
use crate::decision::{Decision, MutationId, Permit, PermittedCall, Terms};
use crate::epoch::FreshnessBounds;
use crate::execution::{Effect, Event, Execution, Finish, NotClaimed, Outcome};
use crate::fence::Fence;
use crate::identity::{ExecutionIdentity, Plan};
use crate::reason::{Denial, Reason};
use crate::record::{About, Draft, Timings};
use crate::store::{self, Claim, Claimed, RateLimit, Store, UseKey};
use crate::target::{self, Performed};
use crate::telemetry::{Causes, Phase, log};
use crate::timestamp::Timestamp;

/// How long minting may take. The embedded CA needs microseconds; a remote issuer a round trip.
const MINT_TIMEOUT: Duration = Duration::from_secs(5);

/// What the driver holds between effects.
#[derive(Default)]
struct Held {
    plan: Option<Plan>,
    identity: Option<ExecutionIdentity>,
    existing: Option<Box<store::Execution>>,
    completed: Option<store::Execution>,
    decision: u64,
    timings: Timings,
}

/// Keeps the reconciler from an execution that is still running here.
struct Active<'a, S> {
    broker: &'a Broker<S>,
    mutation: MutationId,
}

impl<'a, S: Store> Active<'a, S> {
    fn enter(broker: &'a Broker<S>, mutation: &MutationId) -> Self {
        *broker.active().entry(mutation.clone()).or_default() += 1;
        Self { broker, mutation: mutation.clone() }
    }
}

impl<S> Drop for Active<'_, S> {
    fn drop(&mut self) {
        let mut active = self.broker.active.lock().unwrap_or_else(PoisonError::into_inner);
        match active.get_mut(&self.mutation) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(active.remove(&self.mutation)),
        }
    }
}

fn twice() -> Refused {
    Refused::Internal("an effect was asked for twice".to_owned())
}

impl<S: Store> Broker<S> {
    /// Records the decision and, if it allows, runs the execution to its end. `None`: another use was consumed meanwhile,
    /// and the facts have to be gathered again.
    ///
    /// # Errors
    /// A denial, once it is recorded; or whatever kept the decision from being recorded.
    pub(super) async fn run(
        &self,
        decision: Decision,
        case: &Case<'_>,
        use_key: &UseKey,
    ) -> Result<Option<Answer>, Refused> {
        let plan = match &decision {
            Decision::Deny(_) => None,
            Decision::Allow(permit) => Some(self.plan(permit.terms(), case)?),
        };
        let draft = self.decision_draft(case.authentic, case.facts, &decision, plan.as_ref(), case.trace)?;
        match (decision, plan) {
            (Decision::Allow(permit), Some(plan)) => self.drive(permit, plan, draft, case, use_key).await,
            (decision, _) => {
                let head = self.durable(self.parts.store.append(draft)).await?;
                Err(Refused::Denied { denials: decision.denials().to_vec(), record: Some(head.number) })
            }
        }
    }

    fn plan(&self, terms: &Terms, case: &Case<'_>) -> Result<Plan, Refused> {
        let target = self.parts.targets.get(terms.call().target_name());
        let target = target.ok_or_else(|| Refused::Internal("a target was permitted that is not there".to_owned()))?;
        let (form, now) = (target.driver.form(terms.call()), case.facts.observed.now);
        let planned = self.parts.issuer.plan(terms.mutation_id(), form, now, terms.deadline());
        planned.map_err(|error| Refused::Identity(Arc::new(error)))
    }

    async fn drive(
        &self,
        permit: Permit,
        plan: Plan,
        draft: Draft,
        case: &Case<'_>,
        use_key: &UseKey,
    ) -> Result<Option<Answer>, Refused> {
        let terms = permit.terms().clone();
        let _active = Active::enter(self, terms.mutation_id());
        let about = draft.about.clone();
        let claim = self.claim(case, &terms, use_key);
        let (mut draft, mut held) = (Some((draft, claim, plan)), Held::default());
        let (mut execution, mut effect) = Execution::begin(permit);
        loop {
            let event = match effect {
                Effect::Claim => {
                    let Some((draft, claim, plan)) = draft.take() else { return Err(twice()) };
                    held.plan = Some(plan);
                    held.timings.decide_us = self.since(case.begun);
                    let claiming = self.durable(self.parts.store.decide(draft, claim));
                    match self.phase(Phase::Claim, claiming).await {
                        Ok(Claimed::New(head)) => {
                            held.decision = head.number;
                            Event::Claimed
                        }
                        Ok(Claimed::Existing(existing)) => {
                            held.existing = Some(existing);
                            Event::NotClaimed(NotClaimed::Existing)
                        }
                        Ok(Claimed::Conflict) => Event::NotClaimed(NotClaimed::Conflict),
                        Ok(Claimed::Raced) => Event::NotClaimed(NotClaimed::Raced),
                        // Nothing is called under a record that may not be durable.
                        Err(error) => return Err(error.into()),
                    }
                }
                Effect::Mint => {
                    let Some(plan) = held.plan.take() else { return Err(twice()) };
                    self.phase(Phase::Mint, self.mint(plan, &terms, &mut held)).await
                }
                Effect::Call(call) => Event::Performed(self.phase(Phase::Call, self.call(call, &mut held)).await),
                Effect::Complete(outcome) => {
                    self.phase(Phase::Complete, self.complete(&terms, about.clone(), &outcome, &mut held)).await
                }
                Effect::Finish(finish) => return self.finish(finish, &terms, held, about).await,
            };
            effect = execution.on(event).map_err(|error| Refused::Internal(error.to_string()))?;
        }
    }

    pub(super) fn since(&self, begun: u64) -> u64 {
        self.parts.clock.monotonic_us().saturating_sub(begun)
    }

    fn claim(&self, case: &Case<'_>, terms: &Terms, use_key: &UseKey) -> Claim {
        let (certified, peer, ceilings) = (&case.authentic.certified, &case.facts.peer, &self.parts.ceilings);
        let limit = |rate: Rate| RateLimit { executions: rate.executions, per_seconds: rate.per_seconds };
        let uses = certified.contract().map_or(1, |contract| contract.limits().uses);
        let parts = certified.parts();
        Claim {
            certificate: parts.digest,
            ordinal: terms.ordinal(),
            uses: NonZeroU32::new(uses).unwrap_or(NonZeroU32::MIN),
            use_key: use_key.clone(),
            request: case.facts.request.digest(),
            mutation_id: terms.mutation_id().clone(),
            agent: peer.id.clone(),
            authority: parts.authority.clone(),
            target: terms.call().target_name().clone(),
            at: terms.decided_at(),
            agent_rate: Some(limit(ceilings.agent_rate(&peer.id))),
            authority_rate: Some(limit(ceilings.authority_rate(&parts.authority))),
        }
    }

    async fn mint(&self, plan: Plan, terms: &Terms, held: &mut Held) -> Event {
        let begun = self.parts.clock.monotonic_us();
        let minted = tokio::time::timeout(MINT_TIMEOUT, self.parts.issuer.mint(plan)).await;
        held.timings.mint_us = self.since(begun);
        let detail = match minted {
            Ok(Ok(identity)) if self.now() <= terms.deadline() => {
                held.identity = Some(identity);
                return Event::Minted;
            }
            Ok(Ok(_)) => "the deadline passed before the call".to_owned(),
            Ok(Err(error)) => format!("no execution identity: {error}"),
            Err(_) => "no execution identity: the issuer did not answer in time".to_owned(),
        };
        Event::NotMinted { detail }
    }

    async fn call(&self, call: PermittedCall, held: &mut Held) -> Performed {
        let target = self.parts.targets.get(call.terms().call().target_name());
        let (Some(target), Some(identity)) = (target, held.identity.take()) else {
            return Performed::NotStarted { detail: "the target or the identity is gone".to_owned() };
        };
        let fence = CallFence {
            fence: &self.fence,
            clock: &self.parts.clock,
            clock_watch: &self.clock_watch,
            max_clock_skew_ms: self.knowledge().max_clock_skew_ms,
            terms: call.terms().clone(),
            bounds: self.knowledge().freshness(),
        };
        let begun = self.parts.clock.monotonic_us();
        let performed = target.driver.perform(call, identity, &fence).await;
        held.timings.call_us = self.since(begun);
        performed
    }

    async fn complete(&self, terms: &Terms, about: About, outcome: &Outcome, held: &mut Held) -> Event {
        let draft = match self.outcome_draft(terms, held.decision, about, outcome, Some(held.timings)) {
            Ok(draft) => draft,
            Err(error) => {
                log!(OutcomeNotMade, mutation = %terms.mutation_id(), error = %Causes(&error), "an outcome cannot be recorded");
                return Event::NotCompleted;
            }
        };
        let completing = self.parts.store.complete(terms.mutation_id().clone(), outcome.state, draft);
        match self.durable(completing).await {
            Ok(completed) => {
                held.completed = Some(completed.execution);
                Event::Completed
            }
            Err(error) => {
                let (mutation, error) = (terms.mutation_id(), Causes(&error));
                log!(OutcomeUnrecorded, %mutation, %error, "an outcome is not recorded; evidence will settle it");
                Event::NotCompleted
            }
        }
    }

    /// Records what evidence makes of an execution whose end was not recorded.
    pub(crate) async fn settle(
        &self,
        execution: &store::Execution,
        decided: &Decided,
        outcome: &Outcome,
    ) -> Result<(), Refused> {
        let draft = self.settled_draft(execution, decided, outcome)?;
        self.durable(self.parts.store.complete(execution.mutation_id.clone(), outcome.state, draft)).await?;
        Ok(())
    }

    async fn finish(&self, finish: Finish, terms: &Terms, held: Held, about: About) -> Result<Option<Answer>, Refused> {
        let outcome = match finish {
            Finish::Recorded(outcome) | Finish::Unrecorded(outcome) => outcome,
            Finish::NotClaimed(NotClaimed::Existing) => {
                let existing = held.existing.ok_or_else(|| Refused::Internal("an execution is gone".to_owned()))?;
                return Ok(Some(Answer { repeated: true, ..self.answer(*existing).await? }));
            }
            // The facts say what it is: the use is consumed now, and the next round denies with its reason.
            Finish::NotClaimed(NotClaimed::Conflict | NotClaimed::Raced) => return Ok(None),
        };
        let execution = match held.completed {
            Some(execution) => Some(execution),
            // For everybody else it is still running.
            None => self.parts.store.execution(terms.mutation_id()).await?,
        };
        let execution = execution.ok_or_else(|| Refused::Internal("an execution is gone".to_owned()))?;
        Ok(Some(Answer {
            execution,
            detail: outcome.detail,
            call: Some(terms.call_digest()),
            resource: about.resource,
            grade: self.grade(terms),
            reason: outcome.reason,
            rejection: outcome.rejection,
            version: outcome.version.map(|version| version.to_string()),
            repeated: false,
        }))
    }
}

/// The fence of one call: not revoked, knowledge fresh, deadline not passed by a clock that was not stepped, at the
/// moment of the write.
struct CallFence<'a> {
    fence: &'a Fence,
    clock: &'a Clock,
    clock_watch: &'a ClockWatch,
    max_clock_skew_ms: u32,
    terms: Terms,
    bounds: FreshnessBounds,
}

impl target::Fence for CallFence<'_> {
    fn pass(&self, write: &mut dyn FnMut()) -> Result<(), Denial> {
        let (wall, monotonic_ms) = (self.clock.now().unwrap_or(Timestamp::END), self.clock.monotonic_ms());
        let Reading { now, stepped } = self.clock_watch.read(wall, monotonic_ms, self.max_clock_skew_ms);
        if stepped {
            return Err(Denial::new(Reason::ClockSkew, "the broker's clock was stepped after the decision"));
        }
        if now > self.terms.deadline() {
            let detail = format!("the deadline was {}, and it is {now}", self.terms.deadline());
            return Err(Denial::new(Reason::DeadlinePassed, detail));
        }
        self.fence.pass(self.terms.revocable(), now, monotonic_ms, self.bounds, write)
    }
}

#[cfg(test)]
mod tests {
    use crate::decision::tests::permit;
    use crate::epoch::{EpochParts, EpochStatement, Revoked};
    use crate::target::Fence as _;

    use super::*;

    const BOUND_MS: u32 = 2_000;

    /// The fence of a call whose authority stated `change`d epochs just now, by a clock that shows the time `at`.
    fn pass(at: Timestamp, step_ms: i64, change: impl FnOnce(&mut EpochParts)) -> (Result<(), Denial>, bool) {
        let terms = permit().release().terms().clone();
        let clock = Clock::system();
        let now = i64::try_from(clock.now().unwrap().millis()).unwrap();
        clock.step(i64::try_from(at.millis()).unwrap() - now);
        let now = clock.now().unwrap();
        let revocable = terms.revocable();
        let mut parts = EpochParts {
            authority: revocable.authority.clone(),
            sequence: 1,
            policy_epoch: revocable.policy_epoch,
            revocation_epoch: revocable.revocation_epoch,
            revoked: Revoked::default(),
            issued_at: now,
            next_update: now.saturating_add(Duration::from_secs(600)),
        };
        change(&mut parts);
        let fence = Fence::default();
        let statement = Arc::new(EpochStatement::new(parts).unwrap());
        let _ = fence.apply(statement, now, clock.monotonic_ms()).unwrap();
        let clock_watch = ClockWatch::new(now, clock.monotonic_ms());
        clock_watch.confirm(now, clock.monotonic_ms());
        clock.step(step_ms);
        let bounds = FreshnessBounds { staleness_ms: 60_000, max_clock_skew_ms: BOUND_MS };
        let (fence, clock, clock_watch) = (&fence, &clock, &clock_watch);
        let call = CallFence { fence, clock, clock_watch, max_clock_skew_ms: BOUND_MS, terms, bounds };
        let mut written = false;
        let passed = call.pass(&mut || written = true);
        (passed, written)
    }

    #[test]
    fn i1_i2_nothing_is_written_past_the_deadline_by_a_stepped_clock_or_after_a_revocation() {
        let deadline = permit().terms().deadline();
        let early = Timestamp::from_millis(deadline.millis() - 20_000).unwrap();
        let late = Timestamp::from_millis(deadline.millis() + 1_000).unwrap();
        assert_eq!(pass(early, 0, |_| {}), (Ok(()), true));
        let reason = |(passed, written): (Result<(), Denial>, bool)| (passed.unwrap_err().reason, written);
        assert_eq!(reason(pass(late, 0, |_| {})), (Reason::DeadlinePassed, false));
        for step in [-10_000, 10_000] {
            assert_eq!(reason(pass(early, step, |_| {})), (Reason::ClockSkew, false), "{step}");
        }
        let everything = |parts: &mut EpochParts| parts.revocation_epoch += 1;
        assert_eq!(reason(pass(early, 0, everything)), (Reason::RevocationEpochStale, false));
    }
}
