//! What the drivers share when something outside does not do what it should.

use std::time::Duration;

use crate::clock;
use crate::telemetry::causes;
use crate::timestamp::Timestamp;

/// Something outside did not do what it should; in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure(pub(super) String);

impl Failure {
    /// The error and its causes.
    pub(super) fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        Self(causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": "))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::of(&error)
    }
}

impl From<hyper::Error> for Failure {
    fn from(error: hyper::Error) -> Self {
        Self::of(&error)
    }
}

/// The time.
pub(super) fn now() -> Result<Timestamp, Failure> {
    clock::now().map_err(|error| Failure::of(&error))
}

/// How long it is until the deadline.
pub(super) fn left(deadline: Timestamp) -> Result<Duration, String> {
    let now = now().map_err(|Failure(detail)| detail)?;
    match deadline.since(now) {
        Duration::ZERO => Err(format!("the deadline was {deadline}, and it is {now}")),
        left => Ok(left),
    }
}
