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

pub mod aws;
mod failure;
mod fence;
pub mod kubernetes;
pub mod sandbox;

use std::collections::BTreeSet;

use futures::future::BoxFuture;
use spiffe::SpiffeId;

pub use self::fence::{Fence, FencedIo, Passage};
use crate::contract::{Call, Pointer, Resource, TargetKind};
use crate::decision::{LiveState, PermittedCall, Terms};
pub use crate::execution::{Evidence, Grade, Performed, Rejection};
use crate::identity::{ExecutionIdentity, Form};

/// Who rehearses a call ([`Target::rehearse`]): somebody who can do nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rehearser {
    /// An identity of this form, minted for it.
    Identity(Form),
    /// An account of the target's.
    Account,
}

/// What came of a rehearsal ([`Target::rehearse`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rehearsed {
    /// The target would take the call as the object is now.
    Accepted,
    /// The target would refuse it.
    Refused {
        /// Why, in general.
        reason: Rejection,
        /// What the target says.
        detail: String,
    },
    /// Nobody knows.
    Unavailable {
        /// Why not.
        detail: String,
    },
}

/// When an execution was let in ([`Target::admit`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admitted {
    /// Without waiting.
    AtOnce,
    /// After some time, in which the world may have changed.
    Later,
}

/// Too many wait for the target already: nothing was begun, and the same can be asked again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}: try again in a moment")]
pub struct Busy(pub String);

/// A target, as the broker sees it. One value serves all executions, concurrently.
pub trait Target: Send + Sync {
    /// The kind of target that it drives; the broker gives it calls of this kind only.
    fn kind(&self) -> TargetKind;

    /// How far this very call is held against its baseline. A plain function of the call.
    ///
    /// For an [`Grade::Atomic`] call the broker may leave out [`Target::read`], and decide by
    /// [`LiveState::Deferred`].
    fn grade(&self, call: &Call) -> Grade;

    /// The form of the execution identity that [`Target::perform`] takes for this very call. A plain function of the call:
    /// the decision record names what it gives.
    fn form(&self, call: &Call) -> Form;

    /// The object as it is now, by the process's own identity, which can only read; of its fields those that `fields`
    /// names. [`LiveState::Unknown`] where it cannot be read, for whatever reason and after a bounded time; never
    /// [`LiveState::Deferred`].
    fn read<'a>(&'a self, resource: &'a Resource, fields: &'a BTreeSet<Pointer>) -> BoxFuture<'a, LiveState>;

    /// Waits, for a bounded time, until an execution for `agent` may be begun: for what the target's provider gives only so
    /// often. It is asked before a use is consumed, so that whoever is turned away has lost nothing.
    ///
    /// # Errors
    /// If too many wait already.
    fn admit<'a>(&'a self, _agent: &'a SpiffeId) -> BoxFuture<'a, Result<Admitted, Busy>> {
        Box::pin(std::future::ready(Ok(Admitted::AtOnce)))
    }

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

    /// By whom [`Target::rehearse`] has this very call tried. None where the target cannot rehearse it. A plain function of
    /// the call.
    fn rehearsal(&self, _call: &Call) -> Option<Rehearser> {
        None
    }

    /// Has the target itself try a call of these terms without any effect; ends after a bounded time. Terms permit
    /// nothing: what keeps it from having an effect is who asks, whom the target takes for nothing but rehearsals. Where that
    /// is [`Rehearser::Identity`], `identity` is one.
    fn rehearse<'a>(&'a self, _terms: &'a Terms, _identity: Option<ExecutionIdentity>) -> BoxFuture<'a, Rehearsed> {
        Box::pin(async { Rehearsed::Unavailable { detail: "the target rehearses nothing".to_owned() } })
    }

    /// What the target itself knows of an earlier call, of which these were the terms. May be asked any number of times,
    /// after a restart as well, and changes nothing.
    fn evidence<'a>(&'a self, terms: &'a Terms) -> BoxFuture<'a, Evidence>;

    /// The same of a call that the target began, by the handle that it gave ([`Performed::Begun`]).
    fn progress<'a>(&'a self, terms: &'a Terms, _handle: &'a str) -> BoxFuture<'a, Evidence> {
        self.evidence(terms)
    }
}
