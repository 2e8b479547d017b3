//! A store in memory that fails on demand: before or after it has stored, or not until it is told to go on.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use spiffe::SpiffeId;
use tokio::sync::{Notify, watch};

use super::ledger::{Change, Done, Effect, Ledger, Op, Sealer, window_start};
use super::{Claim, Claimed, EpochAppended, EpochMark, Execution, Query, Record, Store, StoreError, UseKey, Windows};
use crate::decision::{MutationId, RateCount, Rates, Uses};
use crate::digest::Digest;
use crate::execution::State;
use crate::key::SigningKey;
use crate::record::{Artefact, Draft, Head, Statement};
use crate::timestamp::Timestamp;

/// What happens to a write.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// It fails, and nothing is stored.
    Before,
    /// It is stored, and fails all the same.
    After,
    /// It waits until it is told to go on, and is then done.
    Hold(Arc<Notify>),
}

/// The store. Faults are taken in order, one for each write; a write without one is done.
#[derive(Debug)]
pub(crate) struct Fake {
    sealer: Sealer,
    stored: Mutex<Stored>,
    faults: Mutex<VecDeque<Option<Fault>>>,
    newest: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Stored {
    ledger: Ledger,
    records: Vec<Record>,
    artefacts: HashMap<Digest, Artefact>,
    epochs: HashMap<SpiffeId, EpochMark>,
}

impl Fake {
    pub(crate) fn new(key: SigningKey) -> Self {
        Self {
            sealer: Sealer::new(key).unwrap(),
            stored: Mutex::default(),
            faults: Mutex::default(),
            newest: watch::channel(0).0,
        }
    }

    /// What happens to the next write that nothing is said of yet.
    pub(crate) fn then(&self, fault: Option<Fault>) {
        self.faults.lock().unwrap().push_back(fault);
    }

    /// How many writes have yet to come until no fault is left.
    pub(crate) fn faults_left(&self) -> usize {
        self.faults.lock().unwrap().len()
    }

    async fn write(&self, op: Op) -> Result<Done, StoreError> {
        op.check()?;
        let fault = self.faults.lock().unwrap().pop_front().flatten();
        let failed = || StoreError::Io { path: "fake".into(), cause: "a fault was asked for".into() };
        match fault {
            None => self.stored.lock().unwrap().write(&op, self),
            Some(Fault::Before) => Err(failed()),
            Some(Fault::After) => self.stored.lock().unwrap().write(&op, self).and_then(|_| Err(failed())),
            Some(Fault::Hold(go_on)) => {
                go_on.notified().await;
                self.stored.lock().unwrap().write(&op, self)
            }
        }
    }

    fn read<T>(&self, read: impl FnOnce(&Stored) -> T) -> T {
        read(&self.stored.lock().unwrap())
    }
}

impl Stored {
    fn write(&mut self, op: &Op, fake: &Fake) -> Result<Done, StoreError> {
        if let Op::Decide(_, claim) = op {
            self.load(claim);
        }
        let (done, change) = self.ledger.apply(op, &fake.sealer)?;
        if let Some(Change { sealed, effect }) = change {
            assert_eq!(sealed.number, self.records.len() as u64 + 1);
            let Op::Epoch(mark, _) = op else {
                assert!(!matches!(effect, Effect::Epoch));
                self.keep(op, sealed.number, sealed.digest, sealed.envelope, fake);
                return Ok(done);
            };
            self.epochs.insert(mark.authority.clone(), mark.clone());
            self.keep(op, sealed.number, sealed.digest, sealed.envelope, fake);
        }
        Ok(done)
    }

    fn keep(&mut self, op: &Op, number: u64, digest: Digest, envelope: Vec<u8>, fake: &Fake) {
        self.records.push(Record { number, digest, envelope });
        self.artefacts.extend(op.draft().artefacts.iter().map(|artefact| (artefact.digest(), artefact.clone())));
        fake.newest.send_replace(number);
    }

    fn load(&mut self, claim: &Claim) {
        let start = |limit: Option<super::RateLimit>| limit.map(|limit| window_start(claim.at, limit.per_seconds));
        if let Some(start) = start(claim.agent_rate) {
            let before = self.count(|execution| execution.agent == claim.agent && execution.decided_at <= start);
            self.ledger.agents.entry(claim.agent.clone()).or_default().at_start.insert(start, before);
        }
        if let Some(start) = start(claim.authority_rate) {
            let before = self.count(|e| e.authority == claim.authority && e.decided_at <= start);
            self.ledger.authorities.entry(claim.authority.clone()).or_default().at_start.insert(start, before);
        }
    }

    fn count(&self, which: impl Fn(&Execution) -> bool) -> u64 {
        self.ledger.executions.values().filter(|execution| which(execution)).count() as u64
    }
}

impl Store for Fake {
    async fn decide(&self, draft: Draft, claim: Claim) -> Result<Claimed, StoreError> {
        match self.write(Op::Decide(draft, claim)).await? {
            Done::Claimed(claimed) => Ok(claimed),
            done => panic!("{done:?}"),
        }
    }

    async fn complete(&self, mutation: MutationId, state: State, draft: Draft) -> Result<Head, StoreError> {
        match self.write(Op::Complete(mutation, state, draft)).await? {
            Done::Appended(head) => Ok(head),
            done => panic!("{done:?}"),
        }
    }

    async fn append(&self, draft: Draft) -> Result<Head, StoreError> {
        match self.write(Op::Append(draft)).await? {
            Done::Appended(head) => Ok(head),
            done => panic!("{done:?}"),
        }
    }

    async fn append_epoch(&self, mark: EpochMark, draft: Draft) -> Result<EpochAppended, StoreError> {
        match self.write(Op::Epoch(mark, draft)).await? {
            Done::Epoch(appended) => Ok(appended),
            done => panic!("{done:?}"),
        }
    }

    async fn uses(&self, certificate: Digest) -> Result<Uses, StoreError> {
        Ok(self.read(|stored| {
            let of_it = stored.ledger.executions.values().filter(|execution| execution.certificate == certificate);
            let last = of_it.max_by_key(|execution| execution.ordinal);
            Uses { consumed: last.map_or(0, |last| last.ordinal), last: last.map(|last| last.decided_at) }
        }))
    }

    async fn rates(
        &self,
        agent: &SpiffeId,
        authority: &SpiffeId,
        windows: Windows,
        now: Timestamp,
    ) -> Result<Rates, StoreError> {
        let count =
            |executions: u64, per_seconds| RateCount { executions: u32::try_from(executions).unwrap(), per_seconds };
        Ok(self.read(|stored| {
            let after = |seconds| window_start(now, seconds);
            let of_agent = stored.count(|e| e.agent == *agent && e.decided_at > after(windows.agent_seconds));
            let of_authority =
                stored.count(|e| e.authority == *authority && e.decided_at > after(windows.authority_seconds));
            Rates {
                agent: count(of_agent, windows.agent_seconds),
                authority: count(of_authority, windows.authority_seconds),
            }
        }))
    }

    async fn find(&self, certificate: Digest, use_key: &UseKey) -> Result<Option<Execution>, StoreError> {
        Ok(self.read(|stored| {
            let mutation = stored.ledger.by_use.get(&(certificate, use_key.clone()))?;
            stored.ledger.executions.get(mutation).cloned()
        }))
    }

    async fn execution(&self, mutation: &MutationId) -> Result<Option<Execution>, StoreError> {
        Ok(self.read(|stored| stored.ledger.executions.get(mutation).cloned()))
    }

    async fn open_executions(&self, after: u64) -> Result<Vec<Execution>, StoreError> {
        Ok(self.read(|stored| {
            let open = |execution: &&Execution| !execution.state.is_settled() && execution.decision > after;
            let mut open: Vec<_> = stored.ledger.executions.values().filter(open).cloned().collect();
            open.sort_by_key(|execution| execution.decision);
            open.truncate(super::MAX_PAGE as usize);
            open
        }))
    }

    async fn epoch(&self, authority: &SpiffeId) -> Result<Option<EpochMark>, StoreError> {
        Ok(self.read(|stored| stored.epochs.get(authority).cloned()))
    }

    async fn head(&self) -> Result<Option<Head>, StoreError> {
        Ok(self.read(|stored| stored.ledger.place.map(|place| place.head)))
    }

    async fn records(&self, query: Query) -> Result<Vec<Record>, StoreError> {
        Ok(self.read(|stored| {
            let after = stored.records.iter().filter(|record| record.number > query.after);
            let matching = after.filter(|r| query.filter.matches(&Statement::from_envelope(&r.envelope).unwrap()));
            matching.take(query.page() as usize).cloned().collect()
        }))
    }

    async fn record(&self, number: u64) -> Result<Option<Record>, StoreError> {
        Ok(self.read(|stored| stored.records.iter().find(|record| record.number == number).cloned()))
    }

    async fn artefact(&self, digest: Digest) -> Result<Option<Artefact>, StoreError> {
        Ok(self.read(|stored| stored.artefacts.get(&digest).cloned()))
    }

    fn subscribe(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }
}
