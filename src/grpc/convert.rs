//! From the wire to the domain and back: parsed once, at the edge, into types that hold no illegal value.
//!
//! A message that cannot be read gives every violation of it, each with the path of its field and without its value.

use prost_types::Timestamp as WireTime;
use spiffe::SpiffeId;

use super::status::Violation;
use crate::broker::{Answer, Checked, Presented};
use crate::contract::{Choice, Contract, Json, Pointer};
use crate::decision::Request;
use crate::execution::{Grade, Rejection, State};
use crate::proto::seb::v1 as wire;
use crate::reason::{Denial, Reason};
use crate::spiffe_id;
use crate::store::{Filter, MAX_PAGE, Query, Record};
use crate::target::Rehearsed;
use crate::telemetry::TraceParent;
use crate::timestamp::Timestamp;

/// The records of a page that names no size.
const DEFAULT_PAGE: u32 = 100;

/// What is wrong with a message: one violation or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid(pub Vec<Violation>);

/// What was found wrong so far.
#[derive(Debug, Default)]
struct Violations(Vec<Violation>);

impl Violations {
    /// Notes a violation. Gives `None`, to be returned.
    fn add<T>(&mut self, field: impl Into<String>, what: impl Into<String>) -> Option<T> {
        self.0.push(Violation { field: field.into(), what: what.into() });
        None
    }

    /// A text that is left out, or is read by `read`.
    fn optional<T>(&mut self, field: &str, text: &str, expects: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        if text.is_empty() {
            return None;
        }
        read(text).or_else(|| self.add(field, format!("is not {expects}")))
    }

    fn or<T>(self, value: Option<T>) -> Result<T, Invalid> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(Invalid(self.0)),
        }
    }
}

/// What an agent presents.
///
/// # Errors
/// Everything that is wrong with the message.
pub fn presented(message: wire::ExecuteRequest, trace: Option<TraceParent>) -> Result<Presented, Invalid> {
    let mut violations = Violations::default();
    let wire::ExecuteRequest { certificate, chain, step, values, body, idempotency_key, expected_contract } = message;
    // Of what is there, the broker judges everything, the size too: what it refuses is recorded.
    if certificate.is_empty() {
        violations.add::<()>("certificate", "is missing");
    }
    let step = violations.optional("step", &step, "the name of a step", |text| text.parse().ok());
    let expects = "1 to 128 printable ASCII characters without space";
    let idempotency_key = violations.optional("idempotency_key", &idempotency_key, expects, |text| text.parse().ok());
    let expects = "`sha256:` and 64 lower-case hexadecimal digits";
    let expected_contract =
        violations.optional("expected_contract", &expected_contract, expects, |text| text.parse().ok());
    let max_body = usize::try_from(Contract::MAX_DETACHED).unwrap_or(usize::MAX);
    if body.as_ref().is_some_and(|body| body.len() > max_body) {
        violations.add::<()>("body", format!("is larger than {max_body} octets"));
    }
    let mut choice = Choice { body, ..Choice::default() };
    if values.len() > Choice::MAX_VALUES {
        let count = values.len();
        violations.add::<()>("values", format!("has {count} values; at most {} are allowed", Choice::MAX_VALUES));
    } else {
        for (index, value) in values.iter().enumerate() {
            parameter(&mut violations, &mut choice, index, value);
        }
    }
    let request = Request { step, choice, idempotency_key, expected_contract };
    violations.or(Some(Presented { certificate, chain, request, trace: trace.map(|trace| trace.to_string()) }))
}

fn parameter(violations: &mut Violations, choice: &mut Choice, index: usize, value: &wire::ParameterValue) {
    let pointer = match Pointer::parse(&value.pointer) {
        Ok(pointer) => pointer,
        Err(_) => {
            violations.add::<()>(format!("values[{index}].pointer"), "is not a JSON pointer (RFC 6901)");
            return;
        }
    };
    match Json::parse_within(value.json.as_bytes(), Choice::MAX_VALUE) {
        Ok(json) => {
            if choice.values.insert(pointer, json).is_some() {
                violations.add::<()>(format!("values[{index}].pointer"), "is there twice");
            }
        }
        Err(_) => {
            let what = format!(
                "is not JSON, or not within {} octets, or not what every reader reads alike",
                Choice::MAX_VALUE
            );
            violations.add::<()>(format!("values[{index}].json"), what);
        }
    }
}

/// A filter and the place to begin after, for a page of records.
///
/// # Errors
/// Everything that is wrong with the message.
pub fn list(message: wire::ListRequest) -> Result<Query, Invalid> {
    let mut violations = Violations::default();
    let limit = match message.page_size {
        0 => DEFAULT_PAGE,
        size => size,
    };
    if limit > MAX_PAGE {
        violations.add::<()>("page_size", format!("is {limit}; at most {MAX_PAGE} is allowed"));
    }
    let filter = filter(&mut violations, message.filter.unwrap_or_default());
    violations.or(Some(Query { filter, after: message.after, limit }))
}

/// A filter and the place to begin after, to follow the log.
///
/// # Errors
/// Everything that is wrong with the message.
pub fn follow(message: wire::FollowRequest) -> Result<Query, Invalid> {
    let mut violations = Violations::default();
    let filter = filter(&mut violations, message.filter.unwrap_or_default());
    violations.or(Some(Query { filter, after: message.after, limit: DEFAULT_PAGE }))
}

fn filter(violations: &mut Violations, message: wire::Filter) -> Filter {
    let wire::Filter { since, until, agent, target, certificate, mutation_id, kind, reason } = message;
    let digest = "`sha256:` and 64 lower-case hexadecimal digits";
    Filter {
        since: since.and_then(|time| self::time(violations, "filter.since", time)),
        until: until.and_then(|time| self::time(violations, "filter.until", time)),
        agent: violations.optional("filter.agent", &agent, "a SPIFFE ID in its normal form", agent_id),
        target: violations.optional("filter.target", &target, "the name of a target", |text| text.parse().ok()),
        certificate: violations.optional("filter.certificate", &certificate, digest, |text| text.parse().ok()),
        mutation_id: violations.optional("filter.mutation_id", &mutation_id, "a mutation id", |text| text.parse().ok()),
        kind: violations.optional("filter.kind", &kind, "a kind of record", |text| text.parse().ok()),
        reason: violations.optional("filter.reason", &reason, "a reason code", |text| text.parse().ok()),
        ..Filter::default()
    }
}

fn agent_id(text: &str) -> Option<SpiffeId> {
    spiffe_id::exact(text)
}

fn time(violations: &mut Violations, field: &str, time: WireTime) -> Option<Timestamp> {
    let millis = u64::try_from(time.seconds).ok().and_then(|seconds| {
        let nanos = u64::try_from(time.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
        seconds.checked_mul(1000)?.checked_add(nanos / 1_000_000)
    });
    let timestamp = millis.and_then(|millis| Timestamp::from_millis(millis).ok());
    timestamp.or_else(|| violations.add(field, "is not a time from 1970 to 9999"))
}

/// A time, for the wire.
pub fn wire_time(time: Timestamp) -> WireTime {
    let millis = time.millis();
    WireTime {
        seconds: i64::try_from(millis / 1000).unwrap_or(i64::MAX),
        nanos: i32::try_from((millis % 1000) * 1_000_000).unwrap_or(0),
    }
}

/// A record, for the wire.
pub fn wire_record(record: Record) -> wire::Record {
    wire::Record { number: record.number, digest: record.digest.to_string(), envelope: record.envelope }
}

/// An execution with what its records say, for the wire.
pub fn wire_answer(answer: &Answer) -> wire::Execution {
    let execution = &answer.execution;
    wire::Execution {
        mutation_id: execution.mutation_id.to_string(),
        state: wire_state(execution.state).into(),
        decision_record: execution.decision,
        outcome_record: execution.outcome.unwrap_or_default(),
        detail: answer.detail.clone(),
        certificate: execution.certificate.to_string(),
        call_digest: answer.call.map(|digest| digest.to_string()).unwrap_or_default(),
        decided_at: Some(wire_time(execution.decided_at)),
        settled_at: execution.outcome_at.filter(|_| execution.state.is_settled()).map(wire_time),
        repeated: answer.repeated,
        version: answer.version.clone().unwrap_or_default(),
        target: execution.target.to_string(),
        resource: answer.resource.clone().unwrap_or_default(),
        grade: answer.grade.map(Grade::as_str).unwrap_or_default().to_owned(),
        reason: answer.reason.map(Reason::code).unwrap_or_default().to_owned(),
        rejection: answer.rejection.map(Rejection::as_str).unwrap_or_default().to_owned(),
    }
}

/// What a check found, for the wire.
pub fn wire_checked(checked: &Checked) -> wire::CheckResponse {
    wire::CheckResponse {
        allowed: checked.denials.is_empty(),
        denials: checked.denials.iter().map(wire_denial).collect(),
        call: checked.call.as_ref().map(|call| call.to_json().to_canonical()).unwrap_or_default(),
        call_digest: checked.call.as_ref().map(|call| call.digest().to_string()).unwrap_or_default(),
        dry_run: checked.rehearsed.as_ref().map(wire_dry_run),
    }
}

fn wire_dry_run(rehearsed: &Rehearsed) -> wire::DryRun {
    use wire::dry_run::Result as Of;
    let (result, rejection, detail) = match rehearsed {
        Rehearsed::Accepted => (Of::Accepted, "", ""),
        Rehearsed::Refused { reason, detail } => (Of::Refused, reason.as_str(), detail.as_str()),
        Rehearsed::Unavailable { detail } => (Of::Unavailable, "", detail.as_str()),
    };
    wire::DryRun { result: result.into(), rejection: rejection.to_owned(), detail: detail.to_owned() }
}

fn wire_denial(denial: &Denial) -> wire::Denial {
    wire::Denial { reason: denial.reason.public_code().to_owned(), detail: denial.detail.clone() }
}

/// A state, for the wire.
pub const fn wire_state(state: State) -> wire::execution::State {
    match state {
        State::Running => wire::execution::State::Running,
        State::Succeeded => wire::execution::State::Succeeded,
        State::Rejected => wire::execution::State::Rejected,
        State::NotStarted => wire::execution::State::NotStarted,
        State::Aborted => wire::execution::State::Aborted,
        State::Unknown => wire::execution::State::Unknown,
        State::ReconciledApplied => wire::execution::State::ReconciledApplied,
        State::ReconciledNotApplied => wire::execution::State::ReconciledNotApplied,
        State::Indeterminate => wire::execution::State::Indeterminate,
    }
}

/// A state from the wire; none for what no broker sends.
pub fn state(wire: i32) -> Option<State> {
    State::ALL.into_iter().find(|state| i32::from(wire_state(*state)) == wire)
}

#[cfg(test)]
mod tests;
