//! Notices a wall clock that was stepped, by the monotonic one.

use std::sync::{Mutex, PoisonError};

use crate::timestamp::Timestamp;

/// The last moment at which the wall clock was known to be right, by both clocks.
#[derive(Debug)]
pub(super) struct ClockWatch {
    anchor: Mutex<Anchor>,
}

#[derive(Debug, Clone, Copy)]
struct Anchor {
    wall: u64,
    monotonic: u64,
    /// Whether an authority agreed.
    confirmed: bool,
}

/// What the clocks say together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    /// The time: the wall clock's. If that was stepped, what it would show if it had not been, so that the reason of a
    /// refusal is the clock and not a certificate which the stepped clock shows as expired.
    pub(super) now: Timestamp,
    /// Whether the wall clock was stepped: nothing may be executed.
    pub(super) stepped: bool,
}

impl ClockWatch {
    /// The wall clock counts as right at the start; a wrong one is found by the first epoch statement.
    pub(super) fn new(now: Timestamp, monotonic_ms: u64) -> Self {
        Self { anchor: Mutex::new(Anchor { wall: now.millis(), monotonic: monotonic_ms, confirmed: false }) }
    }

    /// Whether the wall clock has moved by more than `bound_ms` more or less than the monotonic one since it was known
    /// to be right, and what time it is.
    pub(super) fn read(&self, now: Timestamp, monotonic_ms: u64, bound_ms: u32) -> Reading {
        let anchor = *self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = monotonic_ms.saturating_sub(anchor.monotonic);
        let expected = Timestamp::from_millis(anchor.wall.saturating_add(passed)).unwrap_or(Timestamp::END);
        let stepped = now.millis().abs_diff(expected.millis()) > u64::from(bound_ms);
        // What nobody confirmed is no better than what the clock shows now.
        let now = if stepped && anchor.confirmed { expected } else { now };
        Reading { now, stepped }
    }

    /// An authority's statement agrees with the wall clock: it is right, stepped or not.
    pub(super) fn confirm(&self, now: Timestamp, monotonic_ms: u64) {
        let anchor = Anchor { wall: now.millis(), monotonic: monotonic_ms, confirmed: true };
        *self.anchor.lock().unwrap_or_else(PoisonError::into_inner) = anchor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis).unwrap()
    }

    proptest! {
        #[test]
        fn i2_a_step_is_noticed_exactly_beyond_the_bound(
            wall in 1_000_000_u64..1_000_000_000,
            monotonic in 0_u64..1_000_000,
            passed in 0_u64..1_000_000,
            step in -5_000_i64..5_000,
            bound in 0_u32..5_000,
        ) {
            let watch = ClockWatch::new(at(wall), monotonic);
            let now = at((wall + passed).saturating_add_signed(step));
            let stepped = step.unsigned_abs() > u64::from(bound);
            prop_assert_eq!(watch.read(now, monotonic + passed, bound), Reading { now, stepped });
            watch.confirm(now, monotonic + passed);
            prop_assert_eq!(watch.read(now, monotonic + passed, bound), Reading { now, stepped: false });
            // Once an authority has agreed, the time of before goes on beside a clock that is stepped.
            let again = at(now.millis().saturating_add_signed(step));
            let shown = if stepped { now } else { again };
            prop_assert_eq!(watch.read(again, monotonic + passed, bound), Reading { now: shown, stepped });
        }
    }
}
