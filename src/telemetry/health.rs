//! Whether the process can do its work, and if not, what stands in the way.
//!
//! Three kinds of things stand in the way. A part of the process, such as its end, keeps it from all work. A limit keeps it
//! from some of it, which no other process would do instead. An authority that is not heard keeps it from the work under
//! that authority alone: the process stays ready as long as it hears one, because taking every replica away for it would
//! stop the others' work as well. Each is told by its own name, so that the recovery of one never hides the fault of another.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use spiffe::SpiffeId;
use tokio::sync::watch;

/// Something that keeps the process from its work, or from a part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Impediment {
    /// The part of the process that has it, such as `store` or `epochs of spiffe://example.org/sab`.
    pub part: Cow<'static, str>,
    /// What it is, and what to do.
    pub reason: String,
}

/// The health of the process, for all who report of it and all who ask. It begins as not ready: `starting`.
#[derive(Debug, Clone)]
pub struct Health(watch::Sender<State>);

#[derive(Debug)]
struct State {
    parts: BTreeMap<&'static str, String>,
    /// What keeps it from some of its work, or will keep it from all of it, and does not yet.
    limits: BTreeMap<Cow<'static, str>, String>,
    /// Every authority that is followed; why nothing under it can be done, if it cannot.
    authorities: BTreeMap<SpiffeId, Option<String>>,
}

impl State {
    fn is_ready(&self) -> bool {
        let heard = self.authorities.is_empty() || self.authorities.values().any(Option::is_none);
        self.parts.is_empty() && heard
    }
}

impl Default for Health {
    fn default() -> Self {
        let parts = BTreeMap::from([(STARTING, "the process starts".to_owned())]);
        Self(watch::Sender::new(State { parts, limits: BTreeMap::new(), authorities: BTreeMap::new() }))
    }
}

const STARTING: &str = "starting";
const DRAINING: &str = "draining";
const STOPPED: &str = "stopped";

impl Health {
    /// The process has started: it is ready unless a part of it is not.
    pub fn started(&self) {
        self.clear(STARTING);
    }

    /// The process is about to end; this is never taken back.
    pub fn draining(&self) {
        self.impede(DRAINING, "the process is about to end");
    }

    /// A part of the process has stopped, for this reason, and only another process can do its work; this is never taken
    /// back.
    pub fn stopped(&self, reason: impl Into<String>) {
        self.impede(STOPPED, reason);
    }

    /// Why only another process can do the work, if that is so.
    pub fn has_stopped(&self) -> Option<String> {
        self.0.borrow().parts.get(STOPPED).cloned()
    }

    /// A part of the process cannot do its work, for this reason.
    pub fn impede(&self, part: &'static str, reason: impl Into<String>) {
        let reason = reason.into();
        self.0.send_if_modified(|state| state.parts.insert(part, reason.clone()) != Some(reason));
    }

    /// A part of the process can do its work again.
    pub fn clear(&self, part: &'static str) {
        self.0.send_if_modified(|state| part != DRAINING && part != STOPPED && state.parts.remove(part).is_some());
    }

    /// A part of the process can do only some of its work, or all of it only for a while, for this reason; or nothing is
    /// wrong with it any more. It is told, and the process is ready either way.
    pub fn limit(&self, part: impl Into<Cow<'static, str>>, reason: Option<&str>) {
        let part = part.into();
        self.0.send_if_modified(|state| {
            let before = match reason {
                Some(reason) => state.limits.insert(part.clone(), reason.to_owned()),
                None => state.limits.remove(&part),
            };
            before.as_deref() != reason
        });
    }

    /// Nothing can be done under this authority, for this reason. One that was never named here is followed from now on.
    pub fn silent(&self, authority: &SpiffeId, reason: impl Into<String>) {
        self.set(authority, Some(reason.into()));
    }

    /// This authority is heard: what it certified can be done.
    pub fn heard(&self, authority: &SpiffeId) {
        self.set(authority, None);
    }

    fn set(&self, authority: &SpiffeId, reason: Option<String>) {
        self.0.send_if_modified(|state| {
            state.authorities.insert(authority.clone(), reason.clone()).as_ref() != Some(&reason)
        });
    }

    /// Everything that stands in the way of any work. The process can be ready all the same: see [`Self::is_ready`].
    pub fn impediments(&self) -> Vec<Impediment> {
        self.report().1
    }

    /// Whether the process is ready, and what stands in the way, both of one moment.
    pub fn report(&self) -> (bool, Vec<Impediment>) {
        let state = self.0.borrow();
        let parts = state.parts.iter().map(|(part, reason)| (Cow::Borrowed(*part), reason));
        let limits = state.limits.iter().map(|(part, reason)| (part.clone(), reason));
        let authorities = state.authorities.iter().filter_map(|(authority, reason)| {
            let reason = reason.as_ref()?;
            Some((Cow::Owned(format!("epochs of {authority}")), reason))
        });
        let all =
            parts.chain(limits).chain(authorities).map(|(part, reason)| Impediment { part, reason: reason.clone() });
        (state.is_ready(), all.collect())
    }

    /// Whether no part stands in the way, and an authority is heard if any is followed.
    pub fn is_ready(&self) -> bool {
        self.0.borrow().is_ready()
    }

    /// Whether the process is about to end.
    pub fn is_draining(&self) -> bool {
        self.0.borrow().parts.contains_key(DRAINING)
    }

    /// Waits until the process is about to end.
    pub async fn drained(&self) {
        // The sender lives as long as this.
        let _ = self.0.subscribe().wait_for(|state| state.parts.contains_key(DRAINING)).await;
    }

    /// Waits until readiness is `ready`.
    pub async fn until(&self, ready: bool) {
        let _ = self.0.subscribe().wait_for(|state| state.is_ready() == ready).await;
    }
}
