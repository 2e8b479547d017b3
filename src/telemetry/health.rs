//! Whether the process can do its work, and if not, what stands in the way.

use std::collections::BTreeMap;

use serde::Serialize;
use tokio::sync::watch;

/// Something that keeps the process from its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Impediment {
    /// The part of the process that has it, such as `store`.
    pub part: &'static str,
    /// What it is, and what to do.
    pub reason: String,
}

/// The health of the process, for all who report of it and all who ask. It begins as not ready: `starting`.
///
/// Besides what stands in the way there are notes: what will, if nobody mends it.
#[derive(Debug, Clone)]
pub struct Health(Parts, Parts);

/// Parts of the process, and what is said of each.
type Parts = watch::Sender<BTreeMap<&'static str, String>>;

impl Default for Health {
    fn default() -> Self {
        let starting = BTreeMap::from([(STARTING, "the process starts".to_owned())]);
        Self(watch::Sender::new(starting), watch::Sender::default())
    }
}

const STARTING: &str = "starting";
const DRAINING: &str = "draining";

impl Health {
    /// The process has started: it is ready unless a part of it is not.
    pub fn started(&self) {
        self.clear(STARTING);
    }

    /// The process is about to end; this is never taken back.
    pub fn draining(&self) {
        self.impede(DRAINING, "the process is about to end");
    }

    /// A part of the process cannot do its work, for this reason.
    pub fn impede(&self, part: &'static str, reason: impl Into<String>) {
        let reason = reason.into();
        self.0.send_if_modified(|parts| parts.insert(part, reason.clone()) != Some(reason));
    }

    /// A part of the process can do its work again.
    pub fn clear(&self, part: &'static str) {
        self.0.send_if_modified(|parts| part != DRAINING && parts.remove(part).is_some());
    }

    /// A part of the process works, and will not for ever unless this is mended.
    pub fn note(&self, part: &'static str, reason: impl Into<String>) {
        let reason = reason.into();
        self.1.send_if_modified(|parts| parts.insert(part, reason.clone()) != Some(reason));
    }

    /// Nothing is wrong with a part of the process any more.
    pub fn unnote(&self, part: &'static str) {
        self.1.send_if_modified(|parts| parts.remove(part).is_some());
    }

    /// All notes.
    pub fn notes(&self) -> Vec<Impediment> {
        self.1.borrow().iter().map(|(part, reason)| Impediment { part, reason: reason.clone() }).collect()
    }

    /// Everything that stands in the way; nothing, and the process is ready.
    pub fn impediments(&self) -> Vec<Impediment> {
        self.0.borrow().iter().map(|(part, reason)| Impediment { part, reason: reason.clone() }).collect()
    }

    /// Whether nothing stands in the way.
    pub fn is_ready(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Whether the process is about to end.
    pub fn is_draining(&self) -> bool {
        self.0.borrow().contains_key(DRAINING)
    }

    /// Waits until the process is about to end.
    pub async fn drained(&self) {
        // The sender lives as long as this.
        let _ = self.0.subscribe().wait_for(|parts| parts.contains_key(DRAINING)).await;
    }

    /// Waits until readiness is `ready`.
    pub async fn until(&self, ready: bool) {
        let _ = self.0.subscribe().wait_for(|parts| parts.is_empty() == ready).await;
    }
}
