//! May this call be made, and if not, for which reasons?
//!
//! [`evaluate`] is a plain function from [`Facts`] to a [`Decision`]: no clock, no I/O, no randomness, so that anyone who
//! has the facts of a record can derive its decision again, octet for octet (I7). A fact that is missing denies with a
//! reason of its own (I9). All reasons that apply are recorded; the first, in the order of [`crate::reason`], is the
//! answer.
//!
//! To allow is to make a [`Permit`], and nothing else makes one. What performs a call takes a [`PermittedCall`], which
//! only a permit gives, once.
//!
//! `docs/decision.md` is the account for readers outside the code.

mod certified;
mod drift;
mod evaluate;
mod facts;
mod permit;
mod recorded;

pub use certified::{Certified, CertifiedParts};
pub use drift::{Found, drift};
pub use evaluate::{authorization, evaluate, to_try};
pub use facts::{
    Boundary, BoundaryStatus, DryRun, EpochKnowledge, Facts, IdempotencyKey, InvalidIdempotencyKey, LiveState,
    Observed, Peer, RateCount, Rates, Request, Uses,
};
pub use permit::{InvalidMutationId, MutationId, Permit, PermittedCall, Terms};
pub use recorded::{Artefacts, RecordedFacts, RestoreError};

use crate::contract::Json;
use crate::reason::{Denial, Reason};

/// The schema of a decision's JSON form.
const SCHEMA: &str = "seb.dev/decision/v1";

/// What came of evaluating facts.
#[must_use = "a decision that is dropped was never made"]
#[derive(Debug)]
pub enum Decision {
    /// The call may be made, once.
    Allow(Permit),
    /// It may not.
    Deny(Denials),
}

impl Decision {
    /// The denial that is the answer; none if the call is allowed.
    pub fn answer(&self) -> Option<&Denial> {
        match self {
            Self::Allow(_) => None,
            Self::Deny(denials) => Some(denials.answer()),
        }
    }

    /// All denials, in order; none if the call is allowed.
    pub fn denials(&self) -> &[Denial] {
        match self {
            Self::Allow(_) => &[],
            Self::Deny(denials) => denials.as_slice(),
        }
    }

    /// The form that a record holds. Equal facts give an equal form.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Allow(permit) => Json::object([
                ("schema", Json::from(SCHEMA)),
                ("decision", Json::from("allow")),
                ("permit", permit.terms().to_json()),
            ]),
            Self::Deny(denials) => Json::object([
                ("schema", Json::from(SCHEMA)),
                ("decision", Json::from("deny")),
                ("answer", Json::from(denials.answer().reason.code())),
                ("denials", denials_json(denials.as_slice())),
            ]),
        }
    }
}

/// One denial or more: sorted by reason, then by detail, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denials {
    first: Denial,
    all: Vec<Denial>,
}

impl Denials {
    /// Sorts `denials`; `None` if there are none.
    pub fn new(mut denials: Vec<Denial>) -> Option<Self> {
        denials.sort();
        denials.dedup();
        Some(Self { first: denials.first()?.clone(), all: denials })
    }

    /// What stands in the place of a decision that was reached without a call and without a reason.
    fn undecided() -> Self {
        let denial = Denial::new(Reason::ContractSchema, "the contract gives no call");
        Self { first: denial.clone(), all: vec![denial] }
    }

    /// The first in order of precedence.
    pub const fn answer(&self) -> &Denial {
        &self.first
    }

    /// All of them, in order.
    pub fn as_slice(&self) -> &[Denial] {
        &self.all
    }
}

fn denials_json(denials: &[Denial]) -> Json {
    denials
        .iter()
        .map(|denial| {
            Json::object([("reason", Json::from(denial.reason.code())), ("detail", Json::from(denial.detail.as_str()))])
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests;
