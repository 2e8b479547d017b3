//! One execution, as a state machine without I/O: events in, effects out.
//!
//! The driver (`crate::broker`) performs each effect and reports what came of it; the machine says what follows. Its
//! order is the order of the design, and no event can change it:
//!
//! 1. the use is consumed and the `decision` record is durable ([`Effect::Claim`]) before anything else (I1, I3);
//! 2. the identity is minted ([`Effect::Mint`]);
//! 3. the call is handed out ([`Effect::Call`]), once, because the permit is given up for it;
//! 4. the `outcome` record is durable ([`Effect::Complete`]) before the answer ([`Effect::Finish`]).
//!
//! A result that is not known stays [`State::Unknown`]; only evidence at the target settles it ([`settle`]), and no
//! path leads from it back to a call (I6).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::contract::Version;
use crate::decision::{Permit, PermittedCall, Terms};
use crate::reason::{Denial, Reason};
use crate::timestamp::Timestamp;

/// How an execution stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Decided; what came of the call is not recorded yet.
    Running,
    /// The target performed it.
    Succeeded,
    /// The target refused it, and nothing was changed.
    Rejected,
    /// It failed before the call: nothing was sent.
    NotStarted,
    /// It was revoked, or knowledge grew stale, at the fence: nothing was sent.
    Aborted,
    /// Something may have been sent, and what came of it is not known.
    Unknown,
    /// Settled from evidence: it took effect.
    ReconciledApplied,
    /// Settled from evidence: it did not take effect.
    ReconciledNotApplied,
    /// Evidence cannot settle it.
    Indeterminate,
}

impl State {
    /// All states.
    pub const ALL: [Self; 9] = [
        Self::Running,
        Self::Succeeded,
        Self::Rejected,
        Self::NotStarted,
        Self::Aborted,
        Self::Unknown,
        Self::ReconciledApplied,
        Self::ReconciledNotApplied,
        Self::Indeterminate,
    ];

    /// The name in records and output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Rejected => "rejected",
            Self::NotStarted => "not_started",
            Self::Aborted => "aborted",
            Self::Unknown => "unknown",
            Self::ReconciledApplied => "reconciled_applied",
            Self::ReconciledNotApplied => "reconciled_not_applied",
            Self::Indeterminate => "indeterminate",
        }
    }

    /// Whether nothing more will be learnt of it.
    pub const fn is_settled(self) -> bool {
        !matches!(self, Self::Running | Self::Unknown)
    }

    /// Whether an outcome record may lead from this state to `next`.
    ///
    /// What runs can end in any way, also by evidence where its broker died; what is unknown only by evidence; and what
    /// is settled stays.
    pub const fn may_become(self, next: Self) -> bool {
        match self {
            Self::Running => !matches!(next, Self::Running),
            Self::Unknown => {
                matches!(next, Self::ReconciledApplied | Self::ReconciledNotApplied | Self::Indeterminate)
            }
            _ => false,
        }
    }
}

/// How far an execution is held against drift (`docs/decision.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// The baseline is part of the call: the target refuses it if the baseline does not hold.
    Atomic,
    /// The baseline is checked before the call; between the two lies a window, which is measured.
    Bounded,
    /// Drift is noticed after the call.
    DetectOnly,
}

impl Grade {
    /// All grades.
    pub const ALL: [Self; 3] = [Self::Atomic, Self::Bounded, Self::DetectOnly];

    /// The name in records and output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Atomic => "atomic",
            Self::Bounded => "bounded",
            Self::DetectOnly => "detect_only",
        }
    }
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "what came of a call belongs into a record"]
pub enum Performed {
    /// The target says that it performed the mutation.
    Succeeded {
        /// The object's version afterwards, where there is one.
        version: Option<Version>,
        /// What the target said, for the record.
        detail: String,
    },
    /// The target says that it refused the mutation, and that nothing was changed.
    Rejected {
        /// Why, in the words of this list.
        reason: Rejection,
        /// What the target said, for the record.
        detail: String,
        /// How the object differs from what was certified, where that is why: what a decision would have denied for.
        drift: Option<Denial>,
    },
    /// Nothing of the request was sent: the target could not be reached, or one side refused the other's identity.
    NotStarted {
        /// Why.
        detail: String,
    },
    /// The fence denied, and nothing of the request was sent.
    Aborted {
        /// Why.
        denial: Denial,
    },
    /// Something of the request may have been sent, and no complete and credible answer came.
    Unknown {
        /// What happened.
        detail: String,
    },
    /// The target took the request and goes on with it after its answer, or ended it so that nobody knows how far it came.
    Begun {
        /// By what the target tells what became of it: at most [`Outcome::MAX_HANDLE`] characters.
        handle: String,
        /// How far it was, when it was last heard of.
        detail: String,
    },
}

/// Why a target refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// The baseline did not hold.
    Precondition,
    /// The target does not let the execution identity do this.
    Forbidden,
    /// The target does not take the request: no such kind of object, a value it does not allow.
    Invalid,
    /// The deadline had passed when the target got to it.
    TooLate,
    /// The target takes no more for now, or not this: a disruption budget, say.
    Busy,
}

impl Rejection {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Precondition, Self::Forbidden, Self::Invalid, Self::TooLate, Self::Busy];

    /// The name in records and output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Precondition => "precondition",
            Self::Forbidden => "forbidden",
            Self::Invalid => "invalid",
            Self::TooLate => "too_late",
            Self::Busy => "busy",
        }
    }
}

/// What a target knows of an earlier call.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "evidence settles an execution"]
pub enum Evidence {
    /// It took effect.
    Applied {
        /// The object's version right after it, where there is one.
        version: Option<Version>,
        /// What says so, for the record.
        detail: String,
    },
    /// It did not take effect, and cannot any more.
    NotApplied {
        /// What says so, for the record.
        detail: String,
    },
    /// It did not take effect yet, and still can: ask again after this time.
    Open {
        /// When it is too late for it.
        until: Timestamp,
    },
    /// The target could not be asked: ask again.
    Unavailable {
        /// Why.
        detail: String,
    },
    /// The target cannot tell, and never will.
    Indeterminate {
        /// What a person should look at.
        look_at: String,
    },
}

/// What is to be recorded at the end, and answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended, or [`State::Unknown`].
    pub state: State,
    /// The reason, where one of the list is the cause.
    pub reason: Option<Reason>,
    /// Why the target refused, where it did.
    pub rejection: Option<Rejection>,
    /// The particulars.
    pub detail: String,
    /// The object's version token afterwards, if the target told it.
    pub version: Option<Version>,
    /// By what the target tells what became of it, where it goes on by itself.
    pub handle: Option<String>,
}

impl Outcome {
    /// The most characters of a handle.
    pub const MAX_HANDLE: usize = 256;

    /// The end of an execution that nothing can be learnt of, and why.
    pub fn indeterminate(detail: impl Into<String>) -> Self {
        Self::new(State::Indeterminate, detail)
    }

    fn new(state: State, detail: impl Into<String>) -> Self {
        Self { state, reason: None, rejection: None, detail: detail.into(), version: None, handle: None }
    }
}

impl From<Performed> for Outcome {
    fn from(performed: Performed) -> Self {
        match performed {
            Performed::Succeeded { version, detail } => Self { version, ..Self::new(State::Succeeded, detail) },
            Performed::Rejected { reason, detail, drift } => {
                let detail = match &drift {
                    Some(drift) => format!("{}: {detail}; {drift}", reason.as_str()),
                    None => format!("{}: {detail}", reason.as_str()),
                };
                let (rejection, reason) = (Some(reason), drift.map(|drift| drift.reason));
                Self { rejection, reason, ..Self::new(State::Rejected, detail) }
            }
            Performed::NotStarted { detail } => Self::new(State::NotStarted, detail),
            Performed::Aborted { denial } => {
                Self { reason: Some(denial.reason), ..Self::new(State::Aborted, denial.to_string()) }
            }
            Performed::Unknown { detail } => Self::new(State::Unknown, detail),
            Performed::Begun { handle, detail } => {
                let handle = (handle.len() <= Self::MAX_HANDLE).then_some(handle);
                Self { handle, ..Self::new(State::Unknown, detail) }
            }
        }
    }
}

/// What evidence makes of an execution whose end is not recorded; `None` while it must be asked for again.
///
/// The execution's own process is gone or has given up, so nothing but the target knows.
pub fn settle(evidence: Evidence) -> Option<Outcome> {
    match evidence {
        Evidence::Applied { version, detail } => {
            Some(Outcome { version, ..Outcome::new(State::ReconciledApplied, detail) })
        }
        Evidence::NotApplied { detail } => Some(Outcome::new(State::ReconciledNotApplied, detail)),
        Evidence::Indeterminate { look_at } => Some(Outcome::new(State::Indeterminate, look_at)),
        Evidence::Open { .. } | Evidence::Unavailable { .. } => None,
    }
}

/// What the driver has to do next.
#[derive(Debug)]
#[must_use = "an effect that is dropped stops the execution"]
pub enum Effect {
    /// Consume the use and append the `decision` record, in one durable transaction.
    Claim,
    /// Mint the execution identity that the record named.
    Mint,
    /// Pass the fence and make the call with the identity.
    Call(PermittedCall),
    /// Append the `outcome` record, durably.
    Complete(Outcome),
    /// Answer. There is nothing left to do.
    Finish(Finish),
}

/// How an execution leaves its machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    /// The use was not this request's to consume; nothing was done.
    NotClaimed(NotClaimed),
    /// The outcome is recorded.
    Recorded(Outcome),
    /// The outcome could not be recorded: for everybody else the execution is still running, and the reconciler will
    /// settle it from evidence.
    Unrecorded(Outcome),
}

/// Why a use was not consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotClaimed {
    /// The same request was there before: its execution is the answer.
    Existing,
    /// Another request was there before, under the same certificate and key.
    Conflict,
    /// Another use was consumed since the facts were gathered: they have to be gathered again.
    Raced,
}

/// What came of an effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The use is consumed and the decision is durable.
    Claimed,
    /// It is not.
    NotClaimed(NotClaimed),
    /// The identity exists.
    Minted,
    /// It could not be minted, or the deadline passed before the call.
    NotMinted {
        /// Why not.
        detail: String,
    },
    /// The call was made, or not.
    Performed(Performed),
    /// The outcome is durable.
    Completed,
    /// It could not be made durable.
    NotCompleted,
}

/// The event cannot follow the effect that the driver was given: an error in the driver. Nothing more may be done with
/// the execution; the reconciler will settle it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event `{event:?}` cannot follow while {while_in}")]
pub struct OutOfOrder {
    event: Event,
    while_in: &'static str,
}

/// One execution, from the permit to the answer.
#[derive(Debug)]
pub struct Execution {
    terms: Terms,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Claiming(Permit),
    Minting(Permit),
    Calling,
    Completing(Outcome),
    Finished,
}

impl Execution {
    /// Begins the execution of what was permitted.
    pub fn begin(permit: Permit) -> (Self, Effect) {
        (Self { terms: permit.terms().clone(), stage: Stage::Claiming(permit) }, Effect::Claim)
    }

    /// What was permitted.
    pub const fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Takes in what came of the last effect, and gives the next one.
    ///
    /// # Errors
    /// If `event` is not one that the last effect can have.
    pub fn on(&mut self, event: Event) -> Result<Effect, OutOfOrder> {
        let (stage, effect) = match (std::mem::replace(&mut self.stage, Stage::Finished), event) {
            (Stage::Claiming(permit), Event::Claimed) => (Stage::Minting(permit), Effect::Mint),
            (Stage::Claiming(_), Event::NotClaimed(why)) => (Stage::Finished, Effect::Finish(Finish::NotClaimed(why))),
            (Stage::Minting(permit), Event::Minted) => (Stage::Calling, Effect::Call(permit.release())),
            (Stage::Minting(_), Event::NotMinted { detail }) => complete(Outcome::new(State::NotStarted, detail)),
            (Stage::Calling, Event::Performed(performed)) => complete(performed.into()),
            (Stage::Completing(outcome), Event::Completed) => {
                (Stage::Finished, Effect::Finish(Finish::Recorded(outcome)))
            }
            (Stage::Completing(outcome), Event::NotCompleted) => {
                (Stage::Finished, Effect::Finish(Finish::Unrecorded(outcome)))
            }
            (stage, event) => return Err(OutOfOrder { event, while_in: stage.name() }),
        };
        self.stage = stage;
        Ok(effect)
    }
}

fn complete(outcome: Outcome) -> (Stage, Effect) {
    (Stage::Completing(outcome.clone()), Effect::Complete(outcome))
}

impl Stage {
    const fn name(&self) -> &'static str {
        match self {
            Self::Claiming(_) => "the use is claimed",
            Self::Minting(_) => "the identity is minted",
            Self::Calling => "the call is made",
            Self::Completing(_) => "the outcome is recorded",
            Self::Finished => "nothing is left to do",
        }
    }
}

#[cfg(test)]
mod tests;
