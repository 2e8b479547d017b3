//! A policy set's own tests: a table of proposals and what has to become of them.
//!
//! The file `tests.yaml` beside the policies names proposals, and lists cases: which proposal, changed in which places,
//! by whom, over which live state, when; and what is expected. `docs/policies.md` describes it.

use std::collections::BTreeMap;

use serde::Deserialize;
use spiffe::SpiffeId;

use super::{Facts, Policies, Verdict, load};
use crate::contract::{Json, Pointer, Version, decode};
use crate::sab::proposal::{Live, Proposal, parse_yaml};
use crate::spiffe_id;
use crate::timestamp::Timestamp;

/// The most octets of a table: 1 MiB.
const MAX_OCTETS: usize = 1024 * 1024;

/// The text is no table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a table of policy tests: {0}")]
pub struct InvalidTable(String);

/// What came of one case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The case.
    pub name: String,
    /// How it differs from what is expected; nothing where it does not.
    pub difference: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    proposals: BTreeMap<String, Json>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    agent: spiffe_id::Text,
    at: Timestamp,
    proposal: String,
    #[serde(default)]
    set: BTreeMap<Pointer, Json>,
    live: Vec<Option<LiveCase>>,
    expect: Expectation,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LiveCase {
    identity: String,
    version: Version,
    state: Json,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expectation {
    decision: String,
    tier: Option<String>,
    policies: Option<Vec<String>>,
}

/// Runs the cases of a table, in their order.
///
/// # Errors
/// The text is not a table, or a case names no proposal or changes a place that is not there.
pub fn run(policies: &Policies, text: &str) -> Result<Vec<Outcome>, InvalidTable> {
    if text.len() > MAX_OCTETS {
        return Err(InvalidTable(format!("it has {} octets; at most {MAX_OCTETS} are read", text.len())));
    }
    let json = parse_yaml(text).map_err(|error| InvalidTable(error.to_string()))?;
    let table: Table = decode(&json).map_err(|(pointer, message)| InvalidTable(format!("`{pointer}`: {message}")))?;
    if table.cases.is_empty() {
        return Err(InvalidTable("it has no case".to_owned()));
    }
    table.cases.iter().map(|case| case.run(policies, &table.proposals)).collect()
}

impl Case {
    fn run(&self, policies: &Policies, proposals: &BTreeMap<String, Json>) -> Result<Outcome, InvalidTable> {
        let wrong = |problem: String| InvalidTable(format!("case `{}`: {problem}", self.name));
        let mut proposal = proposals
            .get(&self.proposal)
            .cloned()
            .ok_or_else(|| wrong(format!("there is no proposal `{}`", self.proposal)))?;
        for (pointer, value) in &self.set {
            let replaced = pointer.replace(&mut proposal, value.clone());
            replaced.ok_or_else(|| wrong(format!("`{pointer}` is no place of the proposal")))?;
        }
        let proposal = Proposal::from_json(&proposal).map_err(|error| wrong(error.to_string()))?;
        let live: Vec<Live> = self.live.iter().map(LiveCase::to_live).collect();
        let contract = proposal.compile(&live, self.at).map_err(|error| wrong(error.to_string()))?;
        let evidence: Vec<String> = proposal.evidence().iter().map(|piece| piece.name.clone()).collect();
        let agent: &SpiffeId = &self.agent.0;
        let facts = Facts { agent, contract: &contract, live: &live, evidence: &evidence, now: self.at };
        Ok(Outcome { name: self.name.clone(), difference: self.expect.difference(&policies.decide(&facts)) })
    }
}

impl LiveCase {
    fn to_live(this: &Option<Self>) -> Live {
        this.as_ref().map_or(Live::Absent, |live| Live::Present {
            identity: live.identity.clone(),
            version: live.version.clone(),
            state: live.state.clone(),
        })
    }
}

impl Expectation {
    fn difference(&self, verdict: &Verdict) -> Option<String> {
        let because = || match verdict.explanations.as_slice() {
            [] => String::new(),
            explanations => format!(" ({})", explanations.join("; ")),
        };
        let (decision, policies) = (verdict.outcome.as_str(), &verdict.policies);
        if decision != self.decision {
            return Some(format!("expected `{}`, got `{decision}` by {policies:?}{}", self.decision, because()));
        }
        if self.tier.is_some() && self.tier.as_deref().and_then(load::tier) != verdict.tier {
            return Some(format!("expected tier {:?}, got {:?}", self.tier, verdict.tier));
        }
        match &self.policies {
            Some(expected) if expected != policies => Some(format!("expected policies {expected:?}, got {policies:?}")),
            _ => None,
        }
    }
}
