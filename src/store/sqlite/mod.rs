//! The store in one SQLite file.
//!
//! One thread owns the end of the log: it takes whatever writes are queued, seals their records and commits them in one
//! transaction, so that one `fsync` serves many. Reads go through connections of their own, which cannot write.
//!
//! What must stay true: nothing is answered before its transaction is committed (write-ahead log, `synchronous=FULL`);
//! after a commit of which it is not known whether it took, the thread ends, and what is on the disk decides at the next
//! start; the file is private to its owner; one process at a time owns it, by a lock on the file beside it.

mod fault;
mod files;
mod load;
mod open;
mod read;
mod save;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use spiffe::SpiffeId;
use tokio::sync::watch;

pub use read::Reader;

use super::ledger::{Done, Op};
use super::{Claim, Claimed, EpochAppended, EpochMark, Execution, Query, Record, Store, StoreError, UseKey, Windows};
use crate::decision::{MutationId, Rates, Uses};
use crate::digest::Digest;
use crate::execution::State;
use crate::key::SigningKey;
use crate::record::{Artefact, Draft, Head};
use crate::timestamp::Timestamp;
use writer::Writer;

/// How a store is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The database. Its folder is made if it is missing, for its owner alone.
    pub path: PathBuf,
    /// The most octets that the database may have; none: as many as there is room for.
    pub max_octets: Option<u64>,
    /// How many connections read.
    pub readers: u32,
    /// The longest wait for a place in the queue of writes.
    pub queue_wait: Duration,
    /// The longest wait for a write once it is queued, and for a read.
    pub answer_wait: Duration,
    /// The longest wait for another connection's lock on the database.
    pub lock_wait: Duration,
}

impl Options {
    /// The store in the file `path`, with the defaults for everything else.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            max_octets: None,
            readers: 4,
            queue_wait: Duration::from_secs(2),
            answer_wait: Duration::from_secs(30),
            lock_wait: Duration::from_secs(5),
        }
    }
}

/// A store in one SQLite file, owned by this process.
#[derive(Debug)]
pub struct Sqlite {
    reader: Reader,
    writer: Writer,
}

impl Sqlite {
    /// Opens the store, or makes it, and takes possession of its log. `key` signs the records.
    ///
    /// Before it answers, the file was checked (`quick_check`), brought to this program's schema, and its first and its
    /// newest record were verified with `key`.
    ///
    /// # Errors
    /// Another process owns it, it is damaged, newer than this program, signed with another key, not private, or cannot be
    /// written.
    pub async fn open(options: Options, key: SigningKey) -> Result<Self, StoreError> {
        let opened = open::open(&options, key).await?;
        let reader = Reader::of_owner(&options).await?;
        let writer = Writer::start(opened, &options)?;
        Ok(Self { reader, writer })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.reader.path()
    }

    /// How many transactions wrote so far, and how many records they appended.
    pub fn batches(&self) -> (u64, u64) {
        self.writer.batches()
    }

    /// Why nothing can be written, each time that changes; none while writing works. After a failure that may pass it is
    /// tried again every second, also if nobody writes; one that does not pass ([`StoreError::Stopped`]) stays.
    pub fn condition(&self) -> watch::Receiver<Option<Arc<StoreError>>> {
        self.writer.condition()
    }

    /// Writes what is queued, closes the file and gives up its log. Later reads and writes are refused.
    pub async fn close(&self) {
        // The last connection to close takes the write-ahead log into the file, which a reader cannot.
        self.reader.close().await;
        self.writer.close().await;
    }

    async fn write(&self, op: Op) -> Result<Done, StoreError> {
        op.check()?;
        self.writer.write(op).await
    }

    /// The writer answered something else than was asked: it cannot be relied on.
    fn confused(&self) -> StoreError {
        StoreError::Stopped { path: self.path().to_owned(), cause: None }
    }
}

impl Store for Sqlite {
    async fn decide(&self, draft: Draft, claim: Claim) -> Result<Claimed, StoreError> {
        match self.write(Op::Decide(draft, claim)).await? {
            Done::Claimed(claimed) => Ok(claimed),
            _ => Err(self.confused()),
        }
    }

    async fn complete(&self, mutation: MutationId, state: State, draft: Draft) -> Result<Head, StoreError> {
        match self.write(Op::Complete(mutation, state, draft)).await? {
            Done::Appended(head) => Ok(head),
            _ => Err(self.confused()),
        }
    }

    async fn append(&self, draft: Draft) -> Result<Head, StoreError> {
        match self.write(Op::Append(draft)).await? {
            Done::Appended(head) => Ok(head),
            _ => Err(self.confused()),
        }
    }

    async fn append_epoch(&self, mark: EpochMark, draft: Draft) -> Result<EpochAppended, StoreError> {
        match self.write(Op::Epoch(mark, draft)).await? {
            Done::Epoch(appended) => Ok(appended),
            _ => Err(self.confused()),
        }
    }

    async fn uses(&self, certificate: Digest) -> Result<Uses, StoreError> {
        self.reader.uses(certificate).await
    }

    async fn rates(
        &self,
        agent: &SpiffeId,
        authority: &SpiffeId,
        windows: Windows,
        now: Timestamp,
    ) -> Result<Rates, StoreError> {
        self.reader.rates(agent, authority, windows, now).await
    }

    async fn find(&self, certificate: Digest, use_key: &UseKey) -> Result<Option<Execution>, StoreError> {
        self.reader.find(certificate, use_key).await
    }

    async fn execution(&self, mutation: &MutationId) -> Result<Option<Execution>, StoreError> {
        self.reader.execution(mutation).await
    }

    async fn open_executions(&self, after: u64) -> Result<Vec<Execution>, StoreError> {
        self.reader.open_executions(after).await
    }

    async fn epoch(&self, authority: &SpiffeId) -> Result<Option<EpochMark>, StoreError> {
        self.reader.epoch(authority).await
    }

    async fn head(&self) -> Result<Option<Head>, StoreError> {
        self.reader.head().await
    }

    async fn records(&self, query: Query) -> Result<Vec<Record>, StoreError> {
        self.reader.records(query).await
    }

    async fn record(&self, number: u64) -> Result<Option<Record>, StoreError> {
        self.reader.record(number).await
    }

    async fn artefact(&self, digest: Digest) -> Result<Option<Artefact>, StoreError> {
        self.reader.artefact(digest).await
    }

    fn subscribe(&self) -> watch::Receiver<u64> {
        self.writer.subscribe()
    }
}
