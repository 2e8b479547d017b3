//! What the broker asks of the systems that it changes.
//!
//! A driver of a target implements [`Target`]. What must be true of every driver:
//!
//! - It sends what the [`PermittedCall`] says and nothing else, under the [`ExecutionIdentity`] that was minted for it and
//!   no other, once.
//! - It asks the [`Fence`] immediately before the first octet of the request goes to the socket, and sends nothing if the
//!   fence denies (I1, I2): see [`FencedIo`].
//! - It never guesses (I6): once an octet of the request may have been sent, anything but the target's complete and
//!   credible answer is [`Performed::Unknown`]. It never sends a request twice.

mod fence;
pub mod sandbox;

use std::collections::BTreeSet;

use futures::future::BoxFuture;

pub use self::fence::{Fence, FencedIo, Passage};
use crate::contract::{Call, Pointer, Resource, TargetKind, Version};
use crate::decision::{LiveState, PermittedCall, Terms};
use crate::identity::ExecutionIdentity;
use crate::reason::Denial;
use crate::timestamp::Timestamp;

/// A target, as the broker sees it. One value serves all executions, concurrently.
pub trait Target: Send + Sync {
    /// The kind of target that it drives; the broker gives it calls of this kind only.
    fn kind(&self) -> TargetKind;

    /// How far this very call is held against its baseline. A plain function of the call.
    ///
    /// For an [`Grade::Atomic`] call the broker may leave out [`Target::read`], and decide by
    /// [`LiveState::Deferred`].
    fn grade(&self, call: &Call) -> Grade;

    /// The object as it is now, by the process's own identity, which can only read; of its fields those that `fields`
    /// names. [`LiveState::Unknown`] where it cannot be read, for whatever reason and after a bounded time; never
    /// [`LiveState::Deferred`].
    fn read<'a>(&'a self, resource: &'a Resource, fields: &'a BTreeSet<Pointer>) -> BoxFuture<'a, LiveState>;

    /// Makes the call, once.
    ///
    /// Ends at the latest a little after the call's deadline, and waits for nothing after it. Its future must be run to
    /// its end: what was sent when it is dropped is as good as [`Performed::Unknown`].
    fn perform<'a>(
        &'a self,
        call: PermittedCall,
        identity: ExecutionIdentity,
        fence: &'a dyn Fence,
    ) -> BoxFuture<'a, Performed>;

    /// What the target itself knows of an earlier call, of which these were the terms. May be asked any number of times,
    /// after a restart as well, and changes nothing.
    fn evidence<'a>(&'a self, terms: &'a Terms) -> BoxFuture<'a, Evidence>;
}

/// How far an execution is held against drift (`docs/decision.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grade {
    /// The baseline is part of the call: the target refuses it if the baseline does not hold.
    Atomic,
    /// The baseline is checked before the call; between the two lies a window, which is measured.
    Bounded,
    /// Drift is noticed after the call.
    DetectOnly,
}

impl Grade {
    /// The name in records and output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Atomic => "atomic",
            Self::Bounded => "bounded",
            Self::DetectOnly => "detect-only",
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
        /// What the target saw instead of the baseline, where it told.
        observed: Option<String>,
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
}

impl Rejection {
    /// The name in records and output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Precondition => "precondition",
            Self::Forbidden => "forbidden",
            Self::Invalid => "invalid",
            Self::TooLate => "too_late",
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
