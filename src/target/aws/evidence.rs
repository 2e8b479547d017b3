//! What a resource says of an earlier mutation. Plain functions (I6).
//!
//! | seen | says |
//! |---|---|
//! | the mutation's own client token, where AWS shows it ([`super::tokens`]) | it took effect |
//! | the certified version, which every mutation changes, some time after the deadline | it did not take effect |
//! | anything else | that cannot be told: AWS keeps no other mark of a mutation that reading would show |
//!
//! What a person then looks at is CloudTrail: every event of the session has the mutation's id.

use std::time::Duration;

use super::observe::Seen;
use super::request::Operation;
use super::request::bind::Condition;
use crate::contract::{Baseline, Resource};
use crate::decision::Terms;
use crate::execution::Evidence;
use crate::timestamp::Timestamp;

/// How long after the deadline nothing of a request can take effect any more. The session is denied everything from the
/// deadline on; what the clock of the service, and a request that was authorized in time, may add is less than this.
const SETTLE: Duration = Duration::from_secs(60);

/// What is known without looking: that it is too early.
pub(super) fn early(terms: &Terms, now: Timestamp) -> Option<Evidence> {
    let until = terms.deadline().saturating_add(SETTLE);
    (now <= until).then_some(Evidence::Open { until })
}

/// Whether the state can tell anything of it.
pub(super) fn needs(terms: &Terms, operation: &Operation) -> bool {
    let Resource::Aws(resource) = terms.call().resource() else { return false };
    let read = resource.read.as_ref().is_some_and(|read| read.version.is_some());
    read && certified(terms).is_some() && changes_its_version(operation)
}

/// What `seen` at `now` says of it: nothing was looked at, nothing is there, or what is there.
pub(super) fn of(terms: &Terms, operation: &Operation, seen: Option<Option<&Seen>>, now: Timestamp) -> Evidence {
    if let (Some(certified), Some(Some(seen))) = (certified(terms), seen)
        && changes_its_version(operation)
        && seen.is_token
        && seen.version.as_str() == certified
    {
        let detail = format!("at {now}, after the deadline, the resource was as before, at version {}", seen.version);
        return Evidence::NotApplied { detail };
    }
    Evidence::Indeterminate { look_at: look_at(terms, operation) }
}

/// What is known of an operation that AWS began and does not tell of any more.
pub(super) fn lost(terms: &Terms, operation: &Operation, token: &str) -> Evidence {
    let look_at = format!(
        "the resource itself, because AWS tells no more of request token {token}; and {}",
        look_at(terms, operation)
    );
    Evidence::Indeterminate { look_at }
}

fn look_at(terms: &Terms, operation: &Operation) -> String {
    let mutation = terms.mutation_id();
    let token = match operation.token() {
        Some((member, form)) => format!(", or with the `{member}` {}", super::request::bind::token(mutation, form)),
        None => String::new(),
    };
    let service = operation.service();
    let goes_on = match (service, operation.token()) {
        ("cloudcontrol", Some(_)) => {
            "; the event has the request token, by which `cloudcontrol:GetResourceRequestStatus` tells for 7 days what became of it"
        }
        _ => "",
    };
    format!(
        "CloudTrail, for `{}` of `{service}` by the session `{mutation}` (its `sourceIdentity` is `CN={mutation}` with the \
         exchange `per-mutation`){token}, until {}{goes_on}",
        operation.name(),
        terms.deadline().saturating_add(SETTLE),
    )
}

fn certified(terms: &Terms) -> Option<&str> {
    match terms.call().baseline() {
        Baseline::Exact { version, .. } | Baseline::Fields { version, .. } => Some(version.as_str()),
        Baseline::Absent => None,
    }
}

/// Whether whatever the operation does changes the token that it takes. An object of S3 that is written again with the same
/// content keeps its own.
fn changes_its_version(operation: &Operation) -> bool {
    operation.service() != "s3" && matches!(operation.condition(), Some(Condition::Version { .. }))
}
