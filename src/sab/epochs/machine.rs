//! The state machine of epochs and revocation: events and times in, statements and answers out. No I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use spiffe::SpiffeId;

use crate::contract::TargetName;
use crate::digest::Digest;
use crate::epoch::{EpochParts, EpochStatement, InvalidEpochStatement, MAX_NUMBER, MAX_REVOKED, Revoked};
use crate::spiffe_id;
use crate::timestamp::Timestamp;

/// How many sequences are made durable at once, so that a heartbeat need not write.
pub(super) const RESERVE: u64 = 4096;

/// A point of the monotonic clock: how long after the start of this process.
pub type Moment = Duration;

/// The times that epochs keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// The longest time between two statements.
    pub heartbeat: Duration,
    /// How old a statement may be at a broker, as brokers are configured. The greatest of them.
    pub staleness: Duration,
    /// How far the clocks of broker and authority may differ, as brokers are configured. The greatest of them.
    pub max_clock_skew: Duration,
}

impl Timing {
    /// How long after a statement was issued some broker can still act by it.
    ///
    /// A broker takes a statement only if its `issued_at` differs from the broker's clock by the skew at most, and the
    /// broker's clock differs from ours by the skew at most, as the statements before have shown: so it was received
    /// within twice the skew. From then on it counts for the staleness bound, by the broker's monotonic clock. Times are
    /// cut to the millisecond on the way, hence the margin.
    pub const fn lease(&self) -> Duration {
        const MARGIN: Duration = Duration::from_millis(10);
        self.staleness.saturating_add(self.max_clock_skew.saturating_mul(2)).saturating_add(MARGIN)
    }
}

/// What must survive the process: it is durable before anybody hears of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durable {
    /// The policies in force.
    pub policy_digest: Option<Digest>,
    /// Steps whenever the policies change.
    pub policy_epoch: u64,
    /// Steps when everything is revoked.
    pub revocation_epoch: u64,
    /// What is revoked by name.
    pub revoked: Revoked,
    /// No statement of a higher sequence was ever issued.
    pub sequence: u64,
    /// No statement that was issued before this was written has a later time than this, but for those of one reserve.
    pub issued_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DurableWire {
    policy_digest: Option<Digest>,
    policy_epoch: u64,
    revocation_epoch: u64,
    certificates: BTreeSet<Digest>,
    contracts: BTreeSet<Digest>,
    holders: BTreeSet<spiffe_id::Text>,
    targets: BTreeSet<TargetName>,
    sequence: u64,
    issued_at: Timestamp,
}

impl Durable {
    /// What a new authority begins with.
    pub fn beginning(now: Timestamp) -> Self {
        Self {
            policy_digest: None,
            policy_epoch: 0,
            revocation_epoch: 0,
            revoked: Revoked::default(),
            sequence: 0,
            issued_at: now,
        }
    }

    /// As JSON, to be stored.
    ///
    /// # Errors
    /// None that occurs: every field has a JSON form.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let holders = self.revoked.holders.iter().cloned().map(spiffe_id::Text).collect();
        serde_json::to_string(&DurableWire {
            policy_digest: self.policy_digest,
            policy_epoch: self.policy_epoch,
            revocation_epoch: self.revocation_epoch,
            certificates: self.revoked.certificates.clone(),
            contracts: self.revoked.contracts.clone(),
            holders,
            targets: self.revoked.targets.clone(),
            sequence: self.sequence,
            issued_at: self.issued_at,
        })
    }

    /// What [`Durable::to_json`] wrote.
    ///
    /// # Errors
    /// The text is something else.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        let wire: DurableWire = serde_json::from_str(text)?;
        let revoked = Revoked {
            certificates: wire.certificates,
            contracts: wire.contracts,
            holders: wire.holders.into_iter().map(|holder| holder.0).collect(),
            targets: wire.targets,
        };
        Ok(Self {
            policy_digest: wire.policy_digest,
            policy_epoch: wire.policy_epoch,
            revocation_epoch: wire.revocation_epoch,
            revoked,
            sequence: wire.sequence,
            issued_at: wire.issued_at,
        })
    }

    /// The same with this revoked: durable before it is stated.
    ///
    /// # Errors
    /// The lists are full, or the epochs.
    pub fn with_revocation(&self, revocation: &Revocation) -> Result<Self, RevokeError> {
        let mut next = self.clone();
        match revocation {
            Revocation::Certificate(certificate) => {
                next.revoked.certificates.insert(*certificate);
            }
            Revocation::Holder(holder) => {
                next.revoked.holders.insert(holder.clone());
            }
            Revocation::Contract(contract) => {
                next.revoked.contracts.insert(*contract);
            }
            Revocation::Target(target) => {
                next.revoked.targets.insert(target.clone());
            }
            Revocation::Everything => {
                next.revocation_epoch = step(next.revocation_epoch)?;
                // Each of them is of an older epoch now. Holders, contracts and targets stay revoked for new ones.
                next.revoked.certificates.clear();
            }
        }
        if next.revoked.len() > MAX_REVOKED {
            return Err(RevokeError::Full);
        }
        Ok(next)
    }

    /// The same with these policies in force: a step of the policy epoch if they are others than before.
    ///
    /// # Errors
    /// There is no further epoch.
    pub fn with_policies(&self, digest: Digest) -> Result<Self, RevokeError> {
        let mut next = self.clone();
        if self.policy_digest != Some(digest) {
            next.policy_digest = Some(digest);
            next.policy_epoch = step(next.policy_epoch)?;
        }
        Ok(next)
    }

    /// The same with room for further sequences.
    pub(super) fn with_reserve(&self, issued: u64, now: Timestamp) -> Self {
        let sequence = self.sequence.max(issued).saturating_add(RESERVE);
        Self { sequence, issued_at: self.issued_at.max(now), ..self.clone() }
    }
}

fn step(epoch: u64) -> Result<u64, RevokeError> {
    epoch.checked_add(1).filter(|next| *next <= MAX_NUMBER).ok_or(RevokeError::Exhausted)
}

/// What is to be revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revocation {
    /// A certificate, by the digest of its octets.
    Certificate(Digest),
    /// Every certificate of an agent, also those to come.
    Holder(SpiffeId),
    /// Every certificate over a contract, also those to come.
    Contract(Digest),
    /// Every certificate for a target, also those to come.
    Target(TargetName),
    /// Every certificate that was issued until now.
    Everything,
}

/// Something cannot be revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RevokeError {
    /// The lists hold as many names as they can.
    #[error("{MAX_REVOKED} names are revoked already: revoke everything, which empties the list of certificates")]
    Full,
    /// The numbers have come to their end.
    #[error("there is no further epoch")]
    Exhausted,
}

/// A statement cannot be issued now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// Its sequence is not durable yet: reserve, and issue again.
    #[error("the next sequence is not reserved")]
    Reserve,
    /// It would not be a statement.
    #[error("the epoch statement cannot be made")]
    Statement(#[source] InvalidEpochStatement),
}

/// One connection of a broker. A broker that runs as several replicas has several, under one SPIFFE ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(u64);

#[derive(Debug)]
struct Stream {
    broker: SpiffeId,
    acknowledged: u64,
    closed: Option<Moment>,
}

/// An acknowledgement of a sequence that was never issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("sequence {0} was never issued")]
pub struct NeverIssued(pub u64);

/// What became of one broker's knowledge after a revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    /// The broker.
    pub broker: SpiffeId,
    /// It has acknowledged; otherwise its lease has run out, so that whatever it knows is stale and it denies by itself.
    pub acknowledged: bool,
    /// How long after the statement.
    pub after: Duration,
}

/// Somebody waits until a statement is in force everywhere.
#[derive(Debug)]
struct Wait {
    sequence: u64,
    issued: Moment,
    open: BTreeMap<Waited, (SpiffeId, Moment)>,
    settled: Vec<Acknowledgement>,
}

/// For what is waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Waited {
    Stream(StreamId),
    /// A broker that has not connected since this process began, by its place in the list.
    Unseen(usize),
}

/// The state between two events.
#[derive(Debug)]
pub struct Machine {
    authority: SpiffeId,
    timing: Timing,
    brokers: Vec<SpiffeId>,
    durable: Durable,
    sequence: u64,
    last: Option<(Moment, Timestamp)>,
    streams: BTreeMap<StreamId, Stream>,
    next_stream: u64,
    waits: BTreeMap<u64, Wait>,
    next_wait: u64,
}

impl Machine {
    /// The machine of `authority` for these brokers, from what was durable at the start of the process.
    ///
    /// It issues nothing below what was reserved: the process before may have used all of it.
    pub fn new(authority: SpiffeId, timing: Timing, brokers: BTreeSet<SpiffeId>, durable: Durable) -> Self {
        Self {
            authority,
            timing,
            brokers: brokers.into_iter().collect(),
            sequence: durable.sequence,
            durable,
            last: None,
            streams: BTreeMap::new(),
            next_stream: 0,
            waits: BTreeMap::new(),
            next_wait: 0,
        }
    }

    /// What is durable now.
    pub const fn durable(&self) -> &Durable {
        &self.durable
    }

    /// Whether this broker may listen.
    pub fn knows(&self, broker: &SpiffeId) -> bool {
        self.brokers.contains(broker)
    }

    /// The state to make durable so that further statements can be issued.
    pub fn reserve(&self, now: Timestamp) -> Durable {
        self.durable.with_reserve(self.sequence, now)
    }

    /// `durable` survives from now on; the statements to come say so.
    pub fn commit(&mut self, durable: Durable) {
        self.durable = durable;
    }

    /// When the next statement is due.
    pub fn due(&self) -> Moment {
        self.last.map_or(Moment::ZERO, |(moment, _)| moment.saturating_add(self.timing.heartbeat))
    }

    /// The next statement.
    ///
    /// # Errors
    /// See [`IssueError`].
    pub fn issue(&mut self, moment: Moment, now: Timestamp) -> Result<EpochStatement, IssueError> {
        let sequence = self.sequence.saturating_add(1);
        if sequence > self.durable.sequence {
            return Err(IssueError::Reserve);
        }
        // Never backwards, whatever the clock does: brokers would refuse it, and rightly.
        let floor = self.last.map_or(self.durable.issued_at, |(_, issued_at)| issued_at);
        let issued_at = now.max(floor);
        let statement = EpochStatement::new(EpochParts {
            authority: self.authority.clone(),
            sequence,
            policy_epoch: self.durable.policy_epoch,
            revocation_epoch: self.durable.revocation_epoch,
            revoked: self.durable.revoked.clone(),
            issued_at,
            next_update: issued_at.saturating_add(self.timing.staleness),
        })
        .map_err(IssueError::Statement)?;
        self.sequence = sequence;
        self.last = Some((moment, issued_at));
        Ok(statement)
    }

    /// A broker begins to listen.
    pub fn opened(&mut self, broker: SpiffeId) -> StreamId {
        let id = StreamId(self.next_stream);
        self.next_stream = self.next_stream.saturating_add(1);
        self.streams.insert(id, Stream { broker, acknowledged: 0, closed: None });
        id
    }

    /// A broker says that a sequence is in force with it.
    ///
    /// # Errors
    /// The sequence was never issued: the broker is not to be believed.
    pub fn acknowledged(&mut self, id: StreamId, sequence: u64, moment: Moment) -> Result<(), NeverIssued> {
        if sequence > self.sequence {
            return Err(NeverIssued(sequence));
        }
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.acknowledged = stream.acknowledged.max(sequence);
            for wait in self.waits.values_mut().filter(|wait| wait.sequence <= sequence) {
                if let Some((broker, _)) = wait.open.remove(&Waited::Stream(id)) {
                    let after = moment.saturating_sub(wait.issued);
                    wait.settled.push(Acknowledgement { broker, acknowledged: true, after });
                }
            }
        }
        Ok(())
    }

    /// A broker listens no longer. What it knows counts until its lease runs out.
    pub fn closed(&mut self, id: StreamId, moment: Moment) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.closed.get_or_insert(moment);
        }
    }

    /// Waits until the newest statement is in force wherever an older one could be: the number of the wait.
    pub fn wait(&mut self, moment: Moment) -> u64 {
        let lease = self.timing.lease();
        let issued = self.last.map_or(moment, |(issued, _)| issued);
        let mut open = BTreeMap::new();
        let mut settled = Vec::new();
        for (id, stream) in &self.streams {
            let expires = stream.closed.unwrap_or(issued).min(issued).saturating_add(lease);
            if stream.acknowledged >= self.sequence {
                let broker = stream.broker.clone();
                settled.push(Acknowledgement { broker, acknowledged: true, after: Duration::ZERO });
            } else {
                open.insert(Waited::Stream(*id), (stream.broker.clone(), expires));
            }
        }
        for (place, broker) in self.brokers.iter().enumerate() {
            // It, or a replica of it that is not connected, may know a statement of the process before; all of those were
            // issued before this process began.
            if moment < lease || !self.streams.values().any(|stream| stream.broker == *broker) {
                open.insert(Waited::Unseen(place), (broker.clone(), lease));
            }
        }
        let number = self.next_wait;
        self.next_wait = self.next_wait.saturating_add(1);
        self.waits.insert(number, Wait { sequence: self.sequence, issued, open, settled });
        number
    }

    /// Nobody is interested in this wait any more.
    pub fn abandon(&mut self, wait: u64) {
        self.waits.remove(&wait);
    }

    /// The waits that are over at `moment`, each with its sequence and what became of each broker.
    pub fn finished(&mut self, moment: Moment) -> Vec<(u64, u64, Vec<Acknowledgement>)> {
        let lease = self.timing.lease();
        self.streams.retain(|_, stream| stream.closed.is_none_or(|closed| closed.saturating_add(lease) > moment));
        for wait in self.waits.values_mut() {
            let (issued, settled) = (wait.issued, &mut wait.settled);
            wait.open.retain(|_, (broker, expires)| {
                if *expires <= moment {
                    let after = expires.saturating_sub(issued);
                    settled.push(Acknowledgement { broker: broker.clone(), acknowledged: false, after });
                }
                *expires > moment
            });
        }
        let over: Vec<u64> = self.waits.iter().filter(|(_, wait)| wait.open.is_empty()).map(|(id, _)| *id).collect();
        let over = over.into_iter().filter_map(|id| Some((id, self.waits.remove(&id)?)));
        over.map(|(id, wait)| (id, wait.sequence, wait.settled)).collect()
    }

    /// When something happens next by itself: a statement is due, or a lease runs out.
    pub fn next_moment(&self) -> Moment {
        let leases = self.waits.values().flat_map(|wait| wait.open.values().map(|(_, expires)| *expires));
        leases.min().map_or(self.due(), |lease| lease.min(self.due()))
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
