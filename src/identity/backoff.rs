//! Waiting before something is tried again: longer each time, bounded, and not in step with others.

use std::time::Duration;

use crate::key::fresh_serial;

/// The waits between attempts.
#[derive(Debug)]
pub(crate) struct Backoff {
    bounds: (Duration, Duration),
    next: Duration,
}

impl Backoff {
    /// Waits between the shortest and the longest of `bounds`, doubled each time.
    pub(crate) const fn new(bounds: (Duration, Duration)) -> Self {
        Self { bounds, next: bounds.0 }
    }

    /// The next wait: between half of it and all of it, at random.
    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.next;
        self.next = wait.saturating_mul(2).min(self.bounds.1);
        let random = fresh_serial().ok().and_then(|octets| octets.last().copied()).unwrap_or(u8::MAX);
        wait / 2 + (wait / 2) * u32::from(random) / u32::from(u8::MAX)
    }

    /// It worked: the next failure waits the shortest time again.
    pub(crate) const fn reset(&mut self) {
        self.next = self.bounds.0;
    }
}
