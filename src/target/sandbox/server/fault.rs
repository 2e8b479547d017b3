//! Failing on demand, for tests: only where the sandbox was started so, and only for who may.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;

/// The most faults that may wait.
const MAX_WAITING: usize = 1024;

/// What goes wrong with the next mutation of an identity that may mutate, or with the next read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Fault {
    /// Nothing, so that a later one can be waited for.
    None {},
    /// The connection is dropped, and nothing is applied.
    DropBefore {},
    /// It is applied, and the connection is dropped without an answer.
    DropAfter {},
    /// It is applied this much later.
    Delay {
        /// Milliseconds, at most a minute.
        milliseconds: u16,
    },
    /// It comes twice, as if the network had repeated it.
    Duplicate {},
    /// It is applied, and the answer tells the version before.
    LieVersion {},
    /// Status 500, and nothing is applied.
    ErrorBefore {},
    /// It is applied, and the answer is status 500.
    ErrorAfter {},
    /// It is applied, and the answer breaks off in the middle.
    HalfClose {},
    /// Nothing is applied, and no answer comes.
    StallBefore {},
    /// It is applied, and no answer comes.
    StallAfter {},
    /// The next read is answered only after something was applied.
    LateRead {},
}

/// The faults that wait for a mutation or a read.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<VecDeque<Fault>>);

impl Faults {
    /// Adds a fault for the mutation after those that have one; `false` if too many wait.
    pub(super) fn add(&self, fault: Fault) -> bool {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = waiting.len() < MAX_WAITING;
        if room {
            waiting.push_back(fault);
        }
        room
    }

    /// The fault for the mutation that has come.
    pub(super) fn next(&self) -> Fault {
        self.take(|fault| *fault != Fault::LateRead {}).unwrap_or(Fault::None {})
    }

    /// Whether the read that has come is a late one.
    pub(super) fn reads_late(&self) -> bool {
        self.take(|fault| *fault == Fault::LateRead {}).is_some()
    }

    fn take(&self, of: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = waiting.iter().position(of)?;
        waiting.remove(first)
    }
}
