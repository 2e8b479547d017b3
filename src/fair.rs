//! Turns: a bounded number of things at a time, a bounded number that wait, and each peer its fair share of both.
//!
//! When a turn becomes free, the peers that wait are served in rotation, one each, whatever the length of their queues.
//! A peer is known only while it has something in flight or waiting, so the table of peers is bounded with them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use spiffe::SpiffeId;
use tokio::sync::oneshot;

/// How many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// In flight.
    pub running: usize,
    /// In flight, of one peer.
    pub running_per_peer: usize,
    /// Waiting.
    pub queue: usize,
    /// Waiting, of one peer.
    pub queue_per_peer: usize,
}

/// There is no turn, and no place to wait for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// The peer has as many waiting as one peer may have.
    #[error("as many wait as one peer may have")]
    Peer,
    /// As many wait as may.
    #[error("as many wait as may")]
    All,
    /// Nobody is served any more.
    #[error("nobody is served any more")]
    Ended,
}

/// Gives turns.
#[derive(Debug, Clone)]
pub struct Turns {
    bounds: Bounds,
    state: Arc<Mutex<State>>,
}

/// A turn; it ends when it is dropped.
#[derive(Debug)]
#[must_use = "a turn that is dropped is over"]
pub struct Turn {
    turns: Turns,
    peer: SpiffeId,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    waiting: usize,
    peers: BTreeMap<SpiffeId, Share>,
    /// The peers that wait and may run more, the next one first; each once.
    rotation: VecDeque<SpiffeId>,
}

#[derive(Debug, Default)]
struct Share {
    running: usize,
    queue: VecDeque<oneshot::Sender<()>>,
}

impl Turns {
    /// Turns within these bounds.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, state: Arc::default() }
    }

    /// Waits for a turn of `peer`. Whoever waits and gives up (drops the future) is out of the queue.
    ///
    /// # Errors
    /// [`NoRoom::Peer`] or [`NoRoom::All`], at once, if there is no more room to wait.
    pub async fn take(&self, peer: &SpiffeId) -> Result<Turn, NoRoom> {
        let mut waiting = match self.enter(peer)? {
            Entered::Turn(turn) => return Ok(turn),
            Entered::Waiting(waiting) => waiting,
        };
        let granted = match waiting.receiver.as_mut() {
            Some(receiver) => receiver.await.is_ok(),
            None => false,
        };
        // Whether it was granted or not, there is nothing left to withdraw.
        waiting.receiver = None;
        if granted { Ok(self.turn(peer)) } else { Err(NoRoom::Ended) }
    }

    /// How many are in flight, and how many wait.
    pub fn load(&self) -> (usize, usize) {
        let state = self.lock();
        (state.running, state.waiting)
    }

    fn enter(&self, peer: &SpiffeId) -> Result<Entered, NoRoom> {
        let mut state = self.lock();
        let (running, queued) = state.peers.get(peer).map_or((0, 0), |share| (share.running, share.queue.len()));
        if state.running < self.bounds.running && running < self.bounds.running_per_peer && queued == 0 {
            state.running += 1;
            state.peers.entry(peer.clone()).or_default().running += 1;
            return Ok(Entered::Turn(self.turn(peer)));
        }
        if queued >= self.bounds.queue_per_peer {
            return Err(NoRoom::Peer);
        }
        if state.waiting >= self.bounds.queue {
            return Err(NoRoom::All);
        }
        let (sender, receiver) = oneshot::channel();
        state.waiting += 1;
        state.peers.entry(peer.clone()).or_default().queue.push_back(sender);
        if running < self.bounds.running_per_peer && !state.rotation.contains(peer) {
            state.rotation.push_back(peer.clone());
        }
        Ok(Entered::Waiting(Waiting { turns: self.clone(), peer: peer.clone(), receiver: Some(receiver) }))
    }

    fn turn(&self, peer: &SpiffeId) -> Turn {
        Turn { turns: self.clone(), peer: peer.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is complete when the lock is given back.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes back a turn of `peer`, and gives free ones to who waits.
    fn give_back(&self, peer: &SpiffeId) {
        let mut state = self.lock();
        state.running = state.running.saturating_sub(1);
        if let Some(share) = state.peers.get_mut(peer) {
            share.running = share.running.saturating_sub(1);
            if !share.queue.is_empty() && !state.rotation.contains(peer) {
                state.rotation.push_back(peer.clone());
            }
        }
        state.forget(peer);
        state.grant(&self.bounds);
    }
}

enum Entered {
    Turn(Turn),
    Waiting(Waiting),
}

/// A place in the queue; it is given up when it is dropped.
struct Waiting {
    turns: Turns,
    peer: SpiffeId,
    receiver: Option<oneshot::Receiver<()>>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(mut receiver) = self.receiver.take() else { return };
        let mut state = self.turns.lock();
        receiver.close();
        if receiver.try_recv().is_ok() {
            // It was granted in the meantime, and nobody will use it.
            drop(state);
            drop(self.turns.turn(&self.peer));
            return;
        }
        drop(receiver);
        if let Some(share) = state.peers.get_mut(&self.peer) {
            let before = share.queue.len();
            share.queue.retain(|sender| !sender.is_closed());
            let gone = before.saturating_sub(share.queue.len());
            state.waiting = state.waiting.saturating_sub(gone);
        }
        state.forget(&self.peer);
    }
}

impl State {
    fn grant(&mut self, bounds: &Bounds) {
        while self.running < bounds.running {
            let Some(peer) = self.rotation.pop_front() else { return };
            let Some(share) = self.peers.get_mut(&peer) else { continue };
            if share.running >= bounds.running_per_peer {
                // It comes back into the rotation with its next free turn.
                continue;
            }
            let Some(sender) = share.queue.pop_front() else { continue };
            self.waiting = self.waiting.saturating_sub(1);
            if sender.send(()).is_ok() {
                share.running += 1;
                self.running += 1;
            }
            if !share.queue.is_empty() {
                self.rotation.push_back(peer);
            } else {
                self.forget(&peer);
            }
        }
    }

    /// Removes a peer with nothing in flight and nothing waiting.
    fn forget(&mut self, peer: &SpiffeId) {
        if self.peers.get(peer).is_some_and(|share| share.running == 0 && share.queue.is_empty()) {
            self.peers.remove(peer);
            self.rotation.retain(|other| other != peer);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.give_back(&self.peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use proptest::prelude::*;
    use std::future::Future;
    use std::pin::Pin;

    type Ask = Pin<Box<dyn Future<Output = Result<Turn, NoRoom>>>>;

    fn peer(name: usize) -> SpiffeId {
        format!("spiffe://example.org/agent/a{name}").parse().unwrap()
    }

    fn bounds(running: usize, running_per_peer: usize, queue: usize, queue_per_peer: usize) -> Bounds {
        Bounds { running, running_per_peer, queue, queue_per_peer }
    }

    fn ask(turns: &Turns, name: usize) -> Ask {
        let turns = turns.clone();
        let mut ask: Ask = Box::pin(async move { turns.take(&peer(name)).await });
        // It takes its place in the queue when it is first looked at.
        match ask.as_mut().now_or_never() {
            Some(done) => Box::pin(std::future::ready(done)),
            None => ask,
        }
    }

    #[test]
    fn a_greedy_peer_does_not_starve_another() {
        let turns = Turns::new(bounds(2, 2, 100, 50));
        let held: Vec<_> = (0..2).map(|_| ask(&turns, 0).now_or_never().unwrap().unwrap()).collect();
        let mut greedy: Vec<_> = (0..50).map(|_| ask(&turns, 0)).collect();
        assert_eq!(turns.take(&peer(0)).now_or_never().unwrap().err(), Some(NoRoom::Peer));
        let mut modest = ask(&turns, 1);
        assert!(modest.as_mut().now_or_never().is_none());
        drop(held);
        // Two turns became free: one for each, though fifty were there before.
        let modest = modest.now_or_never().unwrap().unwrap();
        let served: Vec<_> = greedy.iter_mut().filter_map(|ask| ask.as_mut().now_or_never()).collect();
        assert_eq!(served.len(), 1);
        drop((modest, served));
    }

    #[test]
    fn one_peer_never_has_more_than_its_share() {
        let turns = Turns::new(bounds(10, 2, 10, 10));
        let held: Vec<_> = (0..2).map(|_| ask(&turns, 0).now_or_never().unwrap().unwrap()).collect();
        let mut third = ask(&turns, 0);
        assert!(third.as_mut().now_or_never().is_none());
        assert!(ask(&turns, 1).now_or_never().is_some(), "others are not held up");
        drop(held);
        assert!(third.now_or_never().is_some());
        assert_eq!(turns.load(), (0, 0));
        assert!(turns.lock().peers.is_empty());
    }

    #[test]
    fn a_full_queue_sheds() {
        let turns = Turns::new(bounds(1, 1, 2, 2));
        let held = ask(&turns, 0).now_or_never().unwrap().unwrap();
        let waiting = [ask(&turns, 1), ask(&turns, 2)];
        assert_eq!(ask(&turns, 3).now_or_never().unwrap().err(), Some(NoRoom::All));
        drop(waiting);
        assert_eq!(turns.load(), (1, 0), "whoever gives up is out of the queue");
        drop(held);
        assert_eq!(turns.load(), (0, 0));
    }

    proptest! {
        /// Whatever happens, in whatever order: the bounds hold, nobody waits while there is room, and in the end nothing
        /// is left.
        #[test]
        fn bounds_hold_and_nothing_leaks(events in proptest::collection::vec((0..4_usize, 0..3_usize), 0..120)) {
            let limits = bounds(3, 2, 6, 3);
            let turns = Turns::new(limits);
            let mut waiting: Vec<Ask> = Vec::new();
            let mut held: Vec<Turn> = Vec::new();
            for (name, what) in events {
                match what {
                    0 => waiting.push(ask(&turns, name)),
                    1 if !waiting.is_empty() => drop(waiting.remove(name % waiting.len())),
                    2 if !held.is_empty() => drop(held.remove(name % held.len())),
                    _ => {}
                }
                let mut still = Vec::new();
                for mut ask in waiting {
                    match ask.as_mut().now_or_never() {
                        Some(Ok(turn)) => held.push(turn),
                        Some(Err(_)) => {}
                        None => still.push(ask),
                    }
                }
                waiting = still;
                prop_assert_eq!(turns.load(), (held.len(), waiting.len()));
                prop_assert!(held.len() <= limits.running && waiting.len() <= limits.queue);
                for name in 0..4 {
                    let of = |turn: &&Turn| turn.peer == peer(name);
                    prop_assert!(held.iter().filter(of).count() <= limits.running_per_peer);
                }
                if held.len() < limits.running {
                    let state = turns.lock();
                    for share in state.peers.values().filter(|share| !share.queue.is_empty()) {
                        prop_assert_eq!(share.running, limits.running_per_peer, "it waits though there is room");
                    }
                }
            }
            drop(waiting);
            drop(held);
            prop_assert_eq!(turns.load(), (0, 0));
            prop_assert!(turns.lock().peers.is_empty() && turns.lock().rotation.is_empty());
        }
    }
}
