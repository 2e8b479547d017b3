//! The broker's ceilings, in line or in a file of their own.

use std::collections::BTreeMap;

use super::kind::{self, Integer, OneOf, PathTo};
use super::{Files, Table};
use crate::ceiling::{AuthorityCeiling, BoundaryMode, Ceilings, CeilingsFile, Knowledge, Rate, Rates, TargetCeiling};
use crate::contract::TargetName;

/// A day in the units of the bounds.
const DAY_SECONDS: u32 = 86_400;
const DAY_MILLIS: u32 = DAY_SECONDS * 1000;

/// The most targets, authorities and rates of their own.
const MAX_NAMED: usize = 1024;

/// Reads `[ceilings]`: either `file`, or everything in line.
pub(super) fn read(table: &mut Table<'_>) -> Option<Ceilings> {
    let meaning = "A file that holds what this table would, without the heading; then nothing else may stand here.";
    let file = table.optional("file", PathTo::File, meaning)?;
    let Some(path) = file else { return inline(table) };
    if table.files() == Files::Ignore {
        return Some(Ceilings::default());
    }
    match super::load(&path, inline) {
        Ok(ceilings) => Some(ceilings),
        Err(super::ConfigError::Unreadable { source, .. }) => {
            table.refuse("file", format_args!("cannot be read: {source}"), None)
        }
        Err(super::ConfigError::Invalid(invalid)) => {
            for problem in invalid.problems() {
                table.refuse::<()>("file", format_args!("{}:{problem}", path.display()), None);
            }
            None
        }
    }
}

fn inline(table: &mut Table<'_>) -> Option<Ceilings> {
    let targets = table.entries(
        "targets",
        MAX_NAMED,
        kind::text::<TargetName>("the name of a target: lower-case letters, digits and dashes"),
        kind::deserialized::<TargetCeiling>("a table with `kind` and `rules`"),
        "What may be done to the target of this name: `kind`, `rules` (a list of tables with `verbs`, `resources` and, where needed, `parameters` or `actions`), for `aws` also `accounts` and `regions`.",
    );
    let authorities = table.entries(
        "authorities",
        MAX_NAMED,
        kind::Id,
        kind::deserialized::<AuthorityCeiling>("a table with `targets`, a list of names"),
        "What the authority of this SPIFFE ID may certify for.",
    );
    let bound = |table: &mut Table<'_>, name: &str, max: u32, default: &str, meaning: &str| {
        table.default(name, Integer(0..=max), default, meaning)
    };
    let meaning = "The longest time from the first to the last second of a certificate's validity.";
    let max_validity_seconds = bound(table, "max_validity_seconds", u32::MAX, "3600", meaning);
    let max_uses = bound(table, "max_uses", u32::MAX, "1", "The most uses that a contract may have.");
    let meaning = "The longest deadline of a contract, that is the longest life of an execution identity.";
    let max_deadline_seconds = bound(table, "max_deadline_seconds", u32::MAX, "60", meaning);
    let rates = table.table("rates", "How many executions there may be in a window of time.", rates);
    let knowledge = table.table("knowledge", "What the broker must know, and how freshly, to decide.", |table| {
        let meaning = "How old the newest epoch statement may be.";
        let staleness_ms = bound(table, "staleness_ms", DAY_MILLIS, "1000", meaning);
        let meaning = "How far the clocks of broker and authority may differ.";
        let max_clock_skew_ms = bound(table, "max_clock_skew_ms", DAY_MILLIS, "500", meaning);
        let meaning = "How old the proof may be that a target refuses other identities.";
        let max_boundary_age_seconds = bound(table, "max_boundary_age_seconds", DAY_SECONDS, "900", meaning);
        let modes = OneOf(&[("enforce", BoundaryMode::Enforce), ("warn", BoundaryMode::Warn)]);
        let meaning = "What a missing, old or negative proof means: `enforce` denies, `warn` records a warning.";
        let boundary = table.default("boundary", modes, "\"enforce\"", meaning);
        let meaning = "How old the live state may be where it is read before the call.";
        let max_state_age_ms = bound(table, "max_state_age_ms", DAY_MILLIS, "1000", meaning);
        Some(Knowledge {
            staleness_ms: staleness_ms?,
            max_clock_skew_ms: max_clock_skew_ms?,
            max_boundary_age_seconds: max_boundary_age_seconds?,
            boundary: boundary?,
            max_state_age_ms: max_state_age_ms?,
        })
    });
    let file = CeilingsFile {
        targets: targets?.into_iter().collect(),
        authorities: authorities?.into_iter().map(|(id, ceiling)| (id.to_string(), ceiling)).collect(),
        max_validity_seconds: max_validity_seconds?,
        max_uses: max_uses?,
        max_deadline_seconds: max_deadline_seconds?,
        rates: rates?,
        knowledge: knowledge?,
    };
    match Ceilings::new(file) {
        Ok(ceilings) => Some(ceilings),
        Err(invalid) => {
            for fault in invalid.0 {
                let section = fault.split(['.', ':', '[']).next().unwrap_or_default();
                table.refuse::<()>(section, &fault, None);
            }
            None
        }
    }
}

fn rates(table: &mut Table<'_>) -> Option<Rates> {
    let rate = || kind::deserialized::<Rate>("a table with `executions` and `per_seconds`");
    let default = "{ executions = 60, per_seconds = 60 }";
    let agent = table.default("agent", rate(), default, "For each agent.");
    let default = "{ executions = 600, per_seconds = 60 }";
    let authority = table.default("authority", rate(), default, "For all certificates of each authority together.");
    let own = |table: &mut Table<'_>, name: &str, meaning: &str| {
        let rates = table.entries(name, MAX_NAMED, kind::Id, rate(), meaning)?;
        Some(rates.into_iter().map(|(id, rate)| (id.to_string(), rate)).collect::<BTreeMap<_, _>>())
    };
    let agents = own(table, "agents", "For the agent of this SPIFFE ID, in place of `agent`.");
    let authorities = own(table, "authorities", "For the authority of this SPIFFE ID, in place of `authority`.");
    Some(Rates { agent: agent?, authority: authority?, agents: agents?, authorities: authorities? })
}
