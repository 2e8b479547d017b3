//! The only clocks: the wall clock, and the monotonic one.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::timestamp::{InvalidTimestamp, Timestamp};

/// The time now, to the millisecond.
///
/// # Errors
/// If the system's clock is before 1970 or after the year 9999.
#[expect(clippy::disallowed_methods, reason = "this is the clock at the edge")]
pub fn now() -> Result<Timestamp, InvalidTimestamp> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The monotonic clock: for ages and deadlines. It stands still while tests pause the runtime's time.
pub fn monotonic() -> tokio::time::Instant {
    tokio::time::Instant::now()
}
