//! From facts to a decision: one predicate for each topic, each of which adds every denial that it finds.

use std::time::Duration;

use super::certified::Certified;
use super::drift::{Found, differences};
use super::facts::{BoundaryStatus, DryRun, Facts, LiveState, RateCount};
use super::permit::{MutationId, Permit, Terms};
use super::{Decision, Denials};
use crate::ceiling::{BoundaryMode, Rate};
use crate::contract::{Call, Contract, Step};
use crate::digest::Digest;
use crate::reason::{Denial, Reason};
use crate::timestamp::Timestamp;

/// Decides.
///
/// Every predicate is applied, whatever the others found; only what cannot be asked without something that another one
/// missed is left out (the target's rules without a target, parameters and drift without a step, ...). So a further
/// fault never takes a denial away except where it takes away what that denial was about, and never allows.
pub fn evaluate(facts: &Facts) -> Decision {
    match decide(facts, facts.observed.dry_run.as_ref()) {
        Ok(terms) => Decision::Allow(Permit::new(terms)),
        Err(denials) => Decision::Deny(denials),
    }
}

/// What a target has to try without effect before the decision: the call, where the contract asks for that and nothing
/// else is against it. Permits nothing.
pub fn to_try(facts: &Facts) -> Option<Terms> {
    let step = facts.certified.contract().ok()?.step(facts.request.step.as_ref()).ok()?;
    let accepted = DryRun::Accepted { observed_at: facts.observed.now };
    step.needs_dry_run().then(|| decide(facts, Some(&accepted)).ok())?
}

fn decide(facts: &Facts, dry_run: Option<&DryRun>) -> Result<Terms, Denials> {
    let mut denials = facts.certified.targeting(&facts.peer, &facts.broker);
    certificate_time(facts, &mut denials);
    clock(facts, &mut denials);
    epochs(facts, &mut denials);
    rates(facts, &mut denials);
    contract_match(facts, &mut denials);
    let warnings = boundary(facts, &mut denials);
    let contract = match facts.certified.contract() {
        Ok(contract) => Some(contract),
        Err(denial) => {
            denials.push(denial.clone());
            None
        }
    };
    if let Some(contract) = contract {
        limits(facts, contract, &mut denials);
    }
    let ordinal = uses(facts, contract, &mut denials);
    let call = contract.and_then(|contract| plan(facts, contract, dry_run, &mut denials));
    match (contract, call, ordinal) {
        (Some(contract), Some(call), Some(ordinal)) if denials.is_empty() => {
            Ok(terms(facts, contract, call, ordinal, warnings))
        }
        // One of the three is missing only with a denial; were it ever without, that must not allow either.
        _ => Err(Denials::new(denials).unwrap_or_else(Denials::undecided)),
    }
}

/// What the certificate alone decides of the fifth verdict, at the time `now`: its validity, and whether its contract
/// is one that can be executed, and when. Uses, epochs, ceilings, boundary and drift are not asked. In order.
pub fn authorization(certified: &Certified, now: Timestamp) -> Vec<Denial> {
    let parts = certified.parts();
    let mut denials = Vec::from_iter(validity("certificate", parts.not_before, parts.not_after, now));
    match certified.contract() {
        Err(denial) => denials.push(denial.clone()),
        Ok(contract) => {
            let limits = contract.limits();
            denials.extend(validity("contract", limits.not_before, limits.not_after, now));
            denials.extend(contract.single_step().err());
        }
    }
    denials.sort();
    denials
}

fn terms(facts: &Facts, contract: &Contract, call: Call, ordinal: u32, warnings: Vec<Denial>) -> Terms {
    let parts = facts.certified.parts();
    let now = facts.observed.now;
    let deadline = now
        .saturating_add(contract.deadline())
        .min(end_of_second(parts.not_after))
        .min(end_of_second(contract.limits().not_after));
    Terms {
        mutation_id: MutationId::derive(&parts.digest, call.step(), ordinal),
        ordinal,
        call_digest: call.digest(),
        call,
        revocable: facts.certified.revocable(),
        decided_at: now,
        deadline,
        warnings,
    }
}

/// The last millisecond of the second that `time` lies in: a validity that ends with a second includes all of it.
fn end_of_second(time: Timestamp) -> Timestamp {
    time.saturating_add(Duration::from_millis(999_u64.saturating_sub(time.millis() % 1000)))
}

fn certificate_time(facts: &Facts, denials: &mut Vec<Denial>) {
    let parts = facts.certified.parts();
    denials.extend(validity("certificate", parts.not_before, parts.not_after, facts.observed.now));
    let span = parts.not_after.seconds().saturating_sub(parts.not_before.seconds());
    let max = facts.ceilings.file().max_validity_seconds;
    if span > u64::from(max) {
        let detail = format!("the certificate is valid for {span} s; at most {max} is allowed");
        denials.push(Denial::new(Reason::CeilingValidity, detail));
    }
}

/// Both ends count, and a second counts whole: at 12:00:00.999 a validity until 12:00:00 has not ended.
fn validity(what: &str, not_before: Timestamp, not_after: Timestamp, now: Timestamp) -> Option<Denial> {
    if now.seconds() < not_before.seconds() {
        return Some(Denial::new(Reason::NotYetValid, format!("the {what} is valid from {not_before}; it is {now}")));
    }
    if now.seconds() > not_after.seconds() {
        return Some(Denial::new(Reason::Expired, format!("the {what} was valid until {not_after}; it is {now}")));
    }
    None
}

fn clock(facts: &Facts, denials: &mut Vec<Denial>) {
    if facts.observed.clock_stepped {
        denials.push(Denial::new(Reason::ClockSkew, "the broker's clock was stepped"));
    }
}

fn epochs(facts: &Facts, denials: &mut Vec<Denial>) {
    let Some(epoch) = &facts.observed.epoch else {
        let detail = format!("no statement by `{}` is known", facts.certified.parts().authority);
        denials.push(Denial::new(Reason::EpochUnknown, detail));
        return;
    };
    let bounds = facts.ceilings.knowledge().freshness();
    denials.extend(epoch.statement.covers(&facts.certified.revocable()));
    denials.extend(epoch.statement.freshness(facts.observed.now, epoch.age_ms, epoch.skew_ms, bounds));
}

fn rates(facts: &Facts, denials: &mut Vec<Denial>) {
    let Some(rates) = &facts.observed.rates else {
        denials.push(Denial::new(Reason::RateUnknown, "the executions of the window could not be counted"));
        return;
    };
    let parts = facts.certified.parts();
    let agent = facts.ceilings.agent_rate(&parts.holder);
    let authority = facts.ceilings.authority_rate(&parts.authority);
    denials.extend(rate(Reason::CeilingRateAgent, "the agent", rates.agent, agent));
    denials.extend(rate(Reason::CeilingRateAuthority, "the authority", rates.authority, authority));
}

fn rate(reason: Reason, whose: &str, count: RateCount, rate: Rate) -> Option<Denial> {
    let Rate { executions, per_seconds } = rate;
    if count.per_seconds != per_seconds {
        let counted = count.per_seconds;
        let detail = format!("{whose}'s executions were counted over {counted} s instead of {per_seconds} s");
        return Some(Denial::new(Reason::RateUnknown, detail));
    }
    if count.executions >= executions {
        let had = count.executions;
        let detail = format!("{whose} had {had} executions in {per_seconds} s; at most {executions} are allowed");
        return Some(Denial::new(reason, detail));
    }
    None
}

fn contract_match(facts: &Facts, denials: &mut Vec<Denial>) {
    let certified = facts.certified.contract_digest();
    if let Some(expected) = facts.request.expected_contract.filter(|expected: &Digest| *expected != certified) {
        let detail = format!("the request expects {expected}, certified is {certified}");
        denials.push(Denial::new(Reason::ContractMismatch, detail));
    }
}

/// Where the ceilings say `warn`, what would have been a denial is returned as a warning.
fn boundary(facts: &Facts, denials: &mut Vec<Denial>) -> Vec<Denial> {
    let knowledge = facts.ceilings.knowledge();
    let max = knowledge.max_boundary_age_seconds;
    let found = match facts.observed.boundary {
        None => Denial::new(Reason::BoundaryUnproven, "there is no proof yet"),
        Some(boundary) => match boundary.status {
            BoundaryStatus::Broken => {
                Denial::new(Reason::BoundaryBroken, format!("seen {} s ago", boundary.age_seconds))
            }
            BoundaryStatus::Proven if boundary.age_seconds > max => {
                let detail = format!("the proof is {} s old; at most {max} is allowed", boundary.age_seconds);
                Denial::new(Reason::BoundaryStale, detail)
            }
            BoundaryStatus::Proven => return Vec::new(),
        },
    };
    match knowledge.boundary {
        BoundaryMode::Warn => vec![found],
        BoundaryMode::Enforce => {
            denials.push(found);
            Vec::new()
        }
    }
}

fn limits(facts: &Facts, contract: &Contract, denials: &mut Vec<Denial>) {
    let limits = contract.limits();
    denials.extend(validity("contract", limits.not_before, limits.not_after, facts.observed.now));
    if limits.uses > 1 && facts.request.idempotency_key.is_none() {
        let detail = format!("the contract allows {} uses", limits.uses);
        denials.push(Denial::new(Reason::IdempotencyKeyMissing, detail));
    }
    let file = facts.ceilings.file();
    if limits.uses > file.max_uses {
        let detail = format!("the contract allows {} uses; at most {} are allowed", limits.uses, file.max_uses);
        denials.push(Denial::new(Reason::CeilingUses, detail));
    }
    let max = Duration::from_secs(u64::from(file.max_deadline_seconds));
    if contract.deadline() > max {
        let detail =
            format!("the deadline is {} s; at most {} is allowed", contract.deadline().as_secs(), max.as_secs());
        denials.push(Denial::new(Reason::CeilingDeadline, detail));
    }
}

/// The ordinal of this use, where it can be told. A retry of a request that was executed does not come here: it is
/// answered with the first execution's result.
fn uses(facts: &Facts, contract: Option<&Contract>, denials: &mut Vec<Denial>) -> Option<u32> {
    let Some(uses) = facts.observed.uses else {
        denials.push(Denial::new(Reason::UsesUnknown, "the uses of the certificate could not be counted"));
        return None;
    };
    if (uses.consumed == 0) != uses.last.is_none() {
        denials.push(Denial::new(Reason::UsesUnknown, "count and time of the last use contradict each other"));
        return None;
    }
    let limits = contract?.limits();
    if uses.consumed >= limits.uses {
        denials.push(match limits.uses {
            1 => Denial::new(Reason::Replayed, "the certificate was used"),
            allowed => Denial::new(Reason::UsesExhausted, format!("{} of {allowed} uses are consumed", uses.consumed)),
        });
    }
    // A last use after now has no distance at all.
    if let Some(last) = uses.last.filter(|last| facts.observed.now.since(*last) < limits.spacing) {
        let detail = format!("the last use was at {last}; {} s must lie between two", limits.spacing.as_secs());
        denials.push(Denial::new(Reason::UseSpacing, detail));
    }
    uses.consumed.checked_add(1)
}

/// The exact call, held against the broker's ceilings and the live state.
fn plan(facts: &Facts, contract: &Contract, dry_run: Option<&DryRun>, denials: &mut Vec<Denial>) -> Option<Call> {
    let name = contract.target_name();
    let target = match facts.ceilings.target(contract.target_kind(), name) {
        Ok(target) => {
            denials.extend(facts.ceilings.authority(&facts.certified.parts().authority, name).err());
            Some(target)
        }
        Err(denial) => {
            denials.push(denial);
            None
        }
    };
    if let Err(denial) = contract.single_step() {
        denials.push(denial);
        return None;
    }
    let step = match contract.step(facts.request.step.as_ref()) {
        Ok(step) => step,
        Err(denial) => {
            denials.push(denial);
            return None;
        }
    };
    drift(facts, step, denials);
    if step.needs_dry_run() {
        denials.extend(tried(facts, dry_run));
    }
    let call = match step.call(contract.target(), &facts.request.choice) {
        Ok(call) => Some(call),
        Err(found) => {
            denials.extend(found);
            None
        }
    };
    if let Some(target) = target {
        let mutation = step.mutation();
        denials.extend(target.denials(mutation.verb(), mutation.resource(), call.as_ref().map(Call::body)));
    }
    call
}

fn drift(facts: &Facts, step: &Step, denials: &mut Vec<Denial>) {
    let mut deny = |reason, detail: String| denials.push(Denial::new(reason, detail));
    let (found, observed_at) = match &facts.observed.live {
        LiveState::Deferred => return,
        LiveState::Unknown => {
            deny(Reason::LiveStateUnknown, "the object could not be read".to_owned());
            return;
        }
        LiveState::Absent { observed_at } => (None, *observed_at),
        LiveState::Present { identity, version, fields, observed_at } => {
            (Some(Found { identity, version, fields }), *observed_at)
        }
    };
    if let Some(age) = age(facts, "the object was read", observed_at) {
        deny(Reason::LiveStateStale, age);
    }
    denials.extend(differences(step.baseline(), found));
}

/// What a dry run says against the call.
fn tried(facts: &Facts, dry_run: Option<&DryRun>) -> Option<Denial> {
    let unknown = |detail: &str| Some(Denial::new(Reason::DryRunUnknown, detail));
    match dry_run {
        Some(DryRun::Accepted { observed_at }) => unknown(&age(facts, "the target said so", *observed_at)?),
        Some(DryRun::Refused { detail }) => Some(Denial::new(Reason::DryRunRefused, detail.as_str())),
        Some(DryRun::Unknown { detail }) => unknown(detail),
        None => unknown("the target was not asked, since something else is against the call"),
    }
}

/// Why what was seen at this time counts no more, if it does not.
fn age(facts: &Facts, what: &str, observed_at: Timestamp) -> Option<String> {
    let (now, max) = (facts.observed.now, facts.ceilings.knowledge().max_state_age_ms);
    match now.millis().checked_sub(observed_at.millis()) {
        Some(age) if age <= u64::from(max) => None,
        Some(age) => Some(format!("{what} {age} ms ago; at most {max} is allowed")),
        None => Some(format!("{what} at {observed_at}, which is after {now}")),
    }
}
