//! The only clocks: one of the wall, one that never goes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::timestamp::{InvalidTimestamp, Timestamp};

/// The time now, to the millisecond.
///
/// # Errors
/// If the system's clock is before 1970 or after the year 9999.
pub fn now() -> Result<Timestamp, InvalidTimestamp> {
    Clock::system().now()
}

/// The clocks of one process. Cheap to clone; clones show the same time.
#[derive(Debug, Clone)]
pub struct Clock {
    begun: Instant,
    step_ms: Arc<AtomicI64>,
}

impl Clock {
    /// The clocks of the system; the monotonic one begins here.
    #[expect(clippy::disallowed_methods, reason = "this is the clock at the edge")]
    pub fn system() -> Self {
        Self { begun: Instant::now(), step_ms: Arc::default() }
    }

    /// The time now, to the millisecond.
    ///
    /// # Errors
    /// If the wall clock is before 1970 or after the year 9999.
    #[expect(clippy::disallowed_methods, reason = "this is the clock at the edge")]
    pub fn now(&self) -> Result<Timestamp, InvalidTimestamp> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Timestamp::from_millis(millis.saturating_add_signed(self.step_ms.load(Ordering::Relaxed)))
    }

    /// Milliseconds since the clock began, which never go back. They may stand still while the machine sleeps.
    pub fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Microseconds since the clock began, to measure with.
    pub fn monotonic_us(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Steps the wall clock, for tests of what happens then; the monotonic one runs on.
    pub fn step(&self, millis: i64) {
        self.step_ms.fetch_add(millis, Ordering::Relaxed);
    }
}

/// The moment, for deadlines of the runtime. It stands still while tests pause the runtime's time.
pub fn instant() -> tokio::time::Instant {
    tokio::time::Instant::now()
}
