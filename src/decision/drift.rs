//! What an object has instead of what was certified. One comparison for the decision, which sees the object before the
//! call, and for a target that refuses the call because of it: so both give the same reason.

use std::collections::BTreeMap;

use crate::contract::{Baseline, Json, Pointer, Version};
use crate::reason::{Denial, Reason};

/// An object that was found.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// What the target calls this very object.
    pub identity: &'a str,
    /// Its version.
    pub version: &'a Version,
    /// Its fields that were read; `None` where it has no such field.
    pub fields: &'a BTreeMap<Pointer, Option<Json>>,
}

/// Every difference between `baseline` and what was `found`, with both values; and the fields that were not read, as
/// [`Reason::LiveStateUnknown`].
pub fn differences(baseline: &Baseline, found: Option<Found<'_>>) -> Vec<Denial> {
    let (certified, found) = match (baseline, found) {
        (Baseline::Absent, None) => return Vec::new(),
        (Baseline::Absent, Some(found)) => {
            let detail = format!("the object exists, as `{}`", start(found.identity));
            return vec![Denial::new(Reason::DriftPresence, detail)];
        }
        (Baseline::Exact { identity, .. } | Baseline::Fields { identity, .. }, None) => {
            let detail = format!("the object `{}` does not exist", start(identity));
            return vec![Denial::new(Reason::DriftPresence, detail)];
        }
        (Baseline::Exact { identity, .. } | Baseline::Fields { identity, .. }, Some(found)) => (identity, found),
    };
    let differs = |reason, certified: &str, found: &str| {
        let detail = || format!("certified is `{}`, found was `{}`", start(certified), start(found));
        (certified != found).then(|| Denial::new(reason, detail()))
    };
    let identity = differs(Reason::DriftIdentity, certified, found.identity);
    let rest: Vec<Denial> = match baseline {
        Baseline::Absent => Vec::new(),
        Baseline::Exact { version, .. } => {
            differs(Reason::DriftVersion, version.as_str(), found.version.as_str()).into_iter().collect()
        }
        Baseline::Fields { fields, .. } => {
            fields.iter().filter_map(|(pointer, certified)| field(pointer, certified, found.fields)).collect()
        }
    };
    identity.into_iter().chain(rest).collect()
}

/// The first difference, if there is one that is known.
pub fn drift(baseline: &Baseline, found: Option<Found<'_>>) -> Option<Denial> {
    differences(baseline, found).into_iter().find(|denial| denial.reason != Reason::LiveStateUnknown)
}

fn field(pointer: &Pointer, certified: &Json, fields: &BTreeMap<Pointer, Option<Json>>) -> Option<Denial> {
    match fields.get(pointer) {
        None => Some(Denial::new(Reason::LiveStateUnknown, format!("`{pointer}` was not read"))),
        Some(None) => Some(Denial::new(Reason::DriftField, format!("`{pointer}` is gone"))),
        Some(Some(found)) if found != certified => {
            let (certified, found) = (certified.to_canonical(), found.to_canonical());
            let detail = format!("`{pointer}`: certified is {}, found was {}", start(&certified), start(&found));
            Some(Denial::new(Reason::DriftField, detail))
        }
        Some(Some(_)) => None,
    }
}

/// The beginning of a text, as much as a detail quotes.
fn start(text: &str) -> String {
    text.chars().take(60).collect()
}
