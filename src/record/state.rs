//! How an execution stands, and how it may go on.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How an execution stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Decided; no outcome is recorded.
    Running,
    /// The target performed it.
    Succeeded,
    /// The target refused it.
    Rejected,
    /// It failed before the call: nothing was sent.
    NotStarted,
    /// Revoked, or knowledge grew stale, at the fence: nothing was sent.
    Aborted,
    /// The call was sent and its result is not known. Evidence will settle it.
    Unknown,
    /// Settled from evidence: it took effect.
    ReconciledApplied,
    /// Settled from evidence: it did not take effect.
    ReconciledNotApplied,
    /// Evidence cannot settle it; the detail says what to look at.
    Indeterminate,
}

/// The text is not a state of an execution.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a state of an execution, such as `succeeded`")]
pub struct InvalidState(String);

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

    /// Whether nothing follows it any more.
    pub const fn is_settled(self) -> bool {
        !matches!(self, Self::Running | Self::Unknown)
    }

    /// Whether an outcome with the state `next` may follow this one: any may follow `running`, only what evidence
    /// settled may follow `unknown`, and nothing follows a settled one (I6).
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

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for State {
    type Err = InvalidState;

    fn from_str(text: &str) -> Result<Self, InvalidState> {
        let invalid = || InvalidState(text.chars().take(80).collect());
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(invalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i6_a_settled_state_stays_and_only_evidence_settles_an_unknown_one() {
        for from in State::ALL {
            assert_eq!(from.as_str().parse(), Ok(from));
            assert_eq!(from.is_settled(), State::ALL.iter().all(|to| !from.may_become(*to)), "{from}");
            assert!(!from.may_become(State::Running), "{from}");
            assert!(!from.may_become(from), "{from}");
        }
        for to in [State::Succeeded, State::Rejected, State::NotStarted, State::Aborted] {
            assert!(!State::Unknown.may_become(to), "{to}");
        }
    }
}
