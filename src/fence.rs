//! What the broker knows of revocations, and the fence that no revoked call passes (I2).
//!
//! [`Fence::pass`] and [`Fence::apply`] exclude each other: a call that passes the fence hands its first octets to the
//! socket while the fence is held, and a statement is in force only when nothing is passing. So once `apply` has
//! returned, and the broker has acknowledged, no call that the statement covers starts.
//!
//! Clocks are arguments: `monotonic_ms` is a clock that never goes back and runs on while the machine sleeps; `now` is
//! the wall clock.
//!
//! The lock is `super::sync::RwLock`, so that `tests/fence.rs` can put one in its place that tries interleavings.

use std::collections::BTreeMap;
use std::sync::Arc;

use spiffe::SpiffeId;

use super::sync::RwLock;
use crate::decision::EpochKnowledge;
use crate::epoch::{EpochRegression, EpochStatement, FreshnessBounds, Revocable, Succession};
use crate::reason::{Denial, Reason};
use crate::timestamp::Timestamp;

/// The newest epoch statement of every authority, and when it came.
#[derive(Debug, Default)]
pub struct Fence {
    held: RwLock<BTreeMap<SpiffeId, Held>>,
}

#[derive(Debug, Clone)]
struct Held {
    statement: Arc<EpochStatement>,
    /// `None`: before a restart, so that its age is not known and counts as the greatest.
    received_ms: Option<u64>,
    skew_ms: i32,
}

impl Held {
    fn age_ms(&self, monotonic_ms: u64) -> u32 {
        let age = self.received_ms.map(|received_ms| monotonic_ms.saturating_sub(received_ms));
        age.and_then(|age| u32::try_from(age).ok()).unwrap_or(u32::MAX)
    }
}

impl Fence {
    /// Puts `statement` in force, its signature having been verified. When this returns, no call that it covers will
    /// start any more: what is passing the fence has passed, and what comes will see the statement.
    ///
    /// # Errors
    /// If it would take back what an earlier statement said. The earlier one then stays in force, and grows old.
    pub fn apply(
        &self,
        statement: Arc<EpochStatement>,
        now: Timestamp,
        monotonic_ms: u64,
    ) -> Result<Succession, EpochRegression> {
        let authority = statement.parts().authority.clone();
        let mut held = self.held.write();
        let previous = held.get(&authority).map(|held| held.statement.as_ref());
        let succession = statement.succeeds(previous)?;
        if succession == Succession::Newer {
            let skew_ms = difference_ms(statement.parts().issued_at, now);
            held.insert(authority, Held { statement, received_ms: Some(monotonic_ms), skew_ms });
        }
        Ok(succession)
    }

    /// Puts a statement back in force that was in force before a restart. It bounds what may follow, and is as old as
    /// can be: until the authority is heard again, every call is denied.
    pub fn restore(&self, statement: Arc<EpochStatement>) {
        let authority = statement.parts().authority.clone();
        self.held.write().entry(authority).or_insert(Held { statement, received_ms: None, skew_ms: 0 });
    }

    /// What is known of `authority`, for a decision.
    pub fn knowledge(&self, authority: &SpiffeId, monotonic_ms: u64) -> Option<EpochKnowledge> {
        let held = self.held.read();
        held.get(authority).map(|held| EpochKnowledge {
            statement: Arc::clone(&held.statement),
            age_ms: held.age_ms(monotonic_ms),
            skew_ms: held.skew_ms,
        })
    }

    /// Lets a call start, or not: `start` runs if nothing covers `revocable` and knowledge is fresh by `bounds`, and
    /// until it has returned no statement comes into force. It must not block for long.
    ///
    /// # Errors
    /// The first reason against it, in order of precedence.
    pub fn pass<R>(
        &self,
        revocable: &Revocable,
        now: Timestamp,
        monotonic_ms: u64,
        bounds: FreshnessBounds,
        start: impl FnOnce() -> R,
    ) -> Result<R, Denial> {
        let held = self.held.read();
        let Some(newest) = held.get(&revocable.authority) else {
            let detail = format!("no statement of `{}`", revocable.authority);
            return Err(Denial::new(Reason::EpochUnknown, detail));
        };
        let mut denials = newest.statement.covers(revocable);
        denials.extend(newest.statement.freshness(now, newest.age_ms(monotonic_ms), newest.skew_ms, bounds));
        match denials.into_iter().min() {
            Some(denial) => Err(denial),
            None => Ok(start()),
        }
    }
}

/// `one` minus `other` in milliseconds, at the ends of the range where it does not fit.
fn difference_ms(one: Timestamp, other: Timestamp) -> i32 {
    let clamp = |millis: u64| i32::try_from(millis).unwrap_or(i32::MAX);
    match one >= other {
        true => clamp(one.millis().saturating_sub(other.millis())),
        false => clamp(other.millis().saturating_sub(one.millis())).saturating_neg(),
    }
}
