//! Which proposals are admitted, refused, or put to people: Cedar policies, and nothing else, decide.
//!
//! `docs/policies.md` tells how to write them. What holds:
//!
//! - Nothing is admitted that no `permit` covers, and no `permit` outweighs a `forbid`.
//! - A `forbid` with `@effect("approval")` is one that people may lift: what it covers, and a `permit` does too, is put
//!   to them. An ordinary Cedar authorizer, which knows nothing of the annotation, would refuse it.
//! - A policy that fails to evaluate refuses, whatever the others say: a `forbid` that is skipped must not admit.
//! - A set that does not load and validate, strictly and without a warning, refuses everything ([`Policies::deny_all`]).
//! - The decision is a plain function of policies and [`Facts`]: it can be derived again from the record.

mod facts;
mod load;
pub mod table;
mod values;

use std::collections::BTreeSet;
use std::fmt;

use cedar_policy::{Authorizer, Decision, Effect, PolicyId, PolicySet, Response, Schema};

pub use facts::{Facts, UnaskableFacts};
pub use load::{Fault, PolicyFiles, Unreadable};

use crate::attribute_certificate::Tier;
use crate::digest::Digest;

/// The schema that every policy is validated against: what can be asked.
pub const SCHEMA: &str = include_str!("../../../policies/schema.cedarschema");

/// A policy set that can decide.
#[derive(Debug)]
pub struct Policies {
    digest: Digest,
    /// `None`: everything is refused.
    sets: Option<Sets>,
}

/// The policies, validated.
#[derive(Debug)]
struct Sets {
    schema: Schema,
    all: PolicySet,
    /// Without any `forbid`: asked when only approvals stand in the way.
    permits: PolicySet,
}

/// What the policies say to a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Admit, refuse, or ask people.
    pub outcome: Outcome,
    /// The highest consequence tier that a policy that decided gives; none where it is refused.
    pub tier: Option<Tier>,
    /// The policies that decided, by id, in order.
    pub policies: Vec<String>,
    /// Why it is refused, or what people have to look at; for people to read.
    pub explanations: Vec<String>,
}

/// What becomes of a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// A certificate is issued.
    Admit,
    /// People decide.
    NeedsPeople,
    /// It is refused.
    Refuse,
}

impl Outcome {
    /// The name in records, tables and output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::NeedsPeople => "people",
            Self::Refuse => "refuse",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The answer to one question.
#[derive(Default)]
struct Answer {
    policies: BTreeSet<String>,
    refusals: Vec<String>,
    approvals: Vec<String>,
    tier: Option<Tier>,
}

impl Policies {
    /// Policies that refuse everything: what stands in for a set that does not load.
    pub fn deny_all() -> Self {
        Self { digest: Digest::of_parts(&[b"seb policies: deny all"]), sets: None }
    }

    /// Whether they refuse everything because no set could be loaded.
    pub const fn is_deny_all(&self) -> bool {
        self.sets.is_none()
    }

    /// The version of the policies: the SHA-256 of the schema and of the files, by name and content.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// What the policies say. Every step, and every path that a step touches, has to be permitted.
    pub fn decide(&self, facts: &Facts<'_>) -> Verdict {
        let Some(sets) = &self.sets else {
            return refused(
                "the authority's policies are broken, so that it admits nothing: ask who runs it".to_owned(),
            );
        };
        let questions = match facts.questions(&sets.schema) {
            Ok(questions) if !questions.is_empty() => questions,
            Ok(_) => return refused("the contract touches nothing".to_owned()),
            Err(error) => return refused(error.to_string()),
        };
        let mut sum = Answer::default();
        for question in questions {
            let answer = sets.answer(&question);
            sum.policies.extend(answer.policies);
            sum.refusals.extend(answer.refusals);
            sum.approvals.extend(answer.approvals);
            sum.tier = sum.tier.max(answer.tier);
        }
        let (outcome, explanations) = match (sum.refusals.is_empty(), sum.approvals.is_empty()) {
            (false, _) => (Outcome::Refuse, sum.refusals),
            (true, false) => (Outcome::NeedsPeople, sum.approvals),
            (true, true) => (Outcome::Admit, Vec::new()),
        };
        let tier = sum.tier.filter(|_| outcome != Outcome::Refuse);
        let mut explanations = explanations;
        explanations.dedup();
        Verdict { outcome, tier, policies: sum.policies.into_iter().collect(), explanations }
    }
}

fn refused(explanation: String) -> Verdict {
    Verdict { outcome: Outcome::Refuse, tier: None, policies: Vec::new(), explanations: vec![explanation] }
}

impl Sets {
    fn answer(&self, question: &facts::Question) -> Answer {
        let authorizer = Authorizer::new();
        let first = authorizer.is_authorized(&question.request, &self.all, &question.entities);
        let mut answer = Answer::default();
        self.note(&first, &mut answer);
        if first.decision() == Decision::Deny && !answer.approvals.is_empty() && answer.refusals.is_empty() {
            // Only approvals stand in the way: is there a permit at all?
            let second = authorizer.is_authorized(&question.request, &self.permits, &question.entities);
            self.note(&second, &mut answer);
            if second.decision() == Decision::Deny {
                answer.refusals.push(format!("no policy permits {}", question.text));
            }
        } else if first.decision() == Decision::Deny && answer.refusals.is_empty() {
            answer.refusals.push(format!("no policy permits {}", question.text));
        }
        answer
    }

    /// Adds what the policies that made a response say.
    fn note(&self, response: &Response, answer: &mut Answer) {
        for error in response.diagnostics().errors() {
            let text: String = error.to_string().chars().take(300).collect();
            answer.refusals.push(format!("a policy cannot be evaluated: {text}"));
        }
        for id in response.diagnostics().reason() {
            answer.policies.insert(AsRef::<str>::as_ref(id).to_owned());
            let message = || self.all.annotation(id, "message").unwrap_or_default().to_owned();
            let tier = self.all.annotation(id, "tier").and_then(load::tier);
            match self.effect(id) {
                Some((Effect::Permit, _)) => answer.tier = answer.tier.max(tier),
                Some((Effect::Forbid, true)) => {
                    answer.tier = answer.tier.max(tier);
                    answer.approvals.push(message());
                }
                Some((Effect::Forbid, false)) | None => answer.refusals.push(message()),
            }
        }
    }

    /// The effect of a policy, and whether people may lift it.
    fn effect(&self, id: &PolicyId) -> Option<(Effect, bool)> {
        let policy = self.all.policy(id)?;
        Some((policy.effect(), policy.annotation("effect").is_some()))
    }
}
