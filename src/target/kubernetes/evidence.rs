//! What an object says of an earlier mutation. A plain function (I6).
//!
//! | seen | says |
//! |---|---|
//! | the annotation names the mutation | it took effect |
//! | the certified uid and version, some time after the deadline | it did not: whatever it does changes the version |
//! | a deletion, or an eviction: the certified uid without a deletion, some time after the deadline | it did not |
//! | anything else | that cannot be told: it may have been, and others have written since |

use std::time::Duration;

use super::answer::Object;
use super::plan::{Plan, object_path};
use super::urn::Operation;
use crate::contract::{Baseline, Version};
use crate::decision::Terms;
use crate::execution::Evidence;
use crate::timestamp::Timestamp;

/// How long after the deadline nothing of a request can take effect any more. The API server is told the deadline with
/// the request; what its clock, and a write on its way to the store, may add is less than this.
pub(super) const SETTLE: Duration = Duration::from_secs(15);

/// What `object`, read at `now`, says of the mutation.
pub(super) fn of(terms: &Terms, plan: &Plan, object: Option<&Object>, now: Timestamp) -> Evidence {
    let mutation = terms.mutation_id();
    let version = object.and_then(Object::version);
    let shown = version.as_ref().map_or("none", Version::as_str);
    if object.and_then(Object::mutation) == Some(mutation.as_str()) {
        // Others may have written since: the version right after it is not known.
        let detail = format!("at {now} the object at version {shown} carried the mutation's id");
        return Evidence::Applied { version: None, detail };
    }
    let until = terms.deadline().saturating_add(SETTLE);
    if now <= until {
        return Evidence::Open { until };
    }
    let untouched = match (terms.call().baseline(), object) {
        (_, None) | (Baseline::Absent, _) => false,
        (
            Baseline::Exact { identity, version: certified } | Baseline::Fields { identity, version: certified, .. },
            Some(object),
        ) => {
            let same = object.uid() == Some(identity);
            let deletes =
                plan.operation == Operation::Delete || plan.resource.subresource.as_deref() == Some("eviction");
            same && (version.as_ref() == Some(certified) || deletes && !object.is_deleted())
        }
    };
    if untouched {
        let detail = format!("at {now}, after the deadline, the object was as before, at version {shown}");
        return Evidence::NotApplied { detail };
    }
    let path = object_path(&plan.resource);
    let look_at = match object {
        None => format!("the API server's audit log, for {path} and {mutation}: at {now} there was no such object"),
        Some(_) => format!("the API server's audit log, for {path} and {mutation}: at {now} others had written it"),
    };
    Evidence::Indeterminate { look_at }
}
