//! Where the time of an execution goes: each phase is measured, and is a span of its own where traces are exported.

use tracing::Instrument as _;

use super::Broker;
use crate::store::Store;
use crate::telemetry::{Phase, phase_span};

impl<S: Store> Broker<S> {
    /// Does what is a phase of an execution.
    pub(super) async fn phase<T>(&self, phase: Phase, work: impl Future<Output = T>) -> T {
        let begun = self.parts.clock.monotonic_us();
        let done = work.instrument(phase_span(phase)).await;
        self.parts.metrics.phase(phase, self.seconds_since(begun));
        done
    }

    /// The same of what waits for nothing.
    pub(super) fn phase_at_once<T>(&self, phase: Phase, work: impl FnOnce() -> T) -> T {
        let begun = self.parts.clock.monotonic_us();
        let done = phase_span(phase).in_scope(work);
        self.parts.metrics.phase(phase, self.seconds_since(begun));
        done
    }

    /// Writes to the store, and measures how long that takes.
    pub(super) async fn durable<T>(&self, write: impl Future<Output = T>) -> T {
        let begun = self.parts.clock.monotonic_us();
        let written = write.await;
        self.parts.metrics.commit_seconds.observe(self.seconds_since(begun));
        written
    }

    fn seconds_since(&self, begun: u64) -> f64 {
        // An execution takes far less than the 2^32 microseconds (71 minutes) that are told apart here.
        f64::from(u32::try_from(self.since(begun)).unwrap_or(u32::MAX)) / 1_000_000.0
    }
}
