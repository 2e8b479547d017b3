//! Notices a wall clock that was stepped, by the monotonic one.

use std::sync::{Mutex, PoisonError};

use crate::timestamp::Timestamp;

/// The last moment at which the wall clock was known to be right, by both clocks.
#[derive(Debug)]
pub(super) struct ClockWatch {
    anchor: Mutex<(u64, u64)>,
}

impl ClockWatch {
    /// The wall clock counts as right at the start; a wrong one is found by the first epoch statement.
    pub(super) fn new(now: Timestamp, monotonic_ms: u64) -> Self {
        Self { anchor: Mutex::new((now.millis(), monotonic_ms)) }
    }

    /// Whether the wall clock has moved by more than `bound_ms` more or less than the monotonic one since it was known
    /// to be right.
    pub(super) fn stepped(&self, now: Timestamp, monotonic_ms: u64, bound_ms: u32) -> bool {
        let (wall, monotonic) = *self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        // Both sides of the difference are shifted so that neither is negative.
        let (one, other) = (now.millis().saturating_add(monotonic), wall.saturating_add(monotonic_ms));
        one.abs_diff(other) > u64::from(bound_ms)
    }

    /// An authority's statement agrees with the wall clock: it is right, stepped or not.
    pub(super) fn confirm(&self, now: Timestamp, monotonic_ms: u64) {
        *self.anchor.lock().unwrap_or_else(PoisonError::into_inner) = (now.millis(), monotonic_ms);
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
            prop_assert_eq!(watch.stepped(now, monotonic + passed, bound), step.unsigned_abs() > u64::from(bound));
            watch.confirm(now, monotonic + passed);
            prop_assert!(!watch.stepped(now, monotonic + passed, bound));
        }
    }
}
