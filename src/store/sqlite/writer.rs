//! The one thread that writes.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use sqlx::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::fault::{Fault, failure};
use super::open::Opened;
use super::save::{Written, save};
use super::{Options, load};
use crate::digest::Digest;
use crate::store::StoreError;
use crate::store::ledger::{Done, Op, weight};

/// The most writes of one transaction.
const BATCH: usize = 256;
/// The octets that can wait in the queue, in units of [`UNIT`].
const QUEUE: u32 = 64 * 1024;
/// A unit of the queue, in octets.
const UNIT: usize = 1024;
/// What the smallest write takes of the queue, so that at most 2,048 wait.
const LEAST: u32 = QUEUE / 2048;
/// The most digests of artefacts that are remembered as stored.
const KNOWN: usize = 16 * 1024;
/// How long after a failure it is tried whether writing works again, if nobody writes.
const TRIAL: Duration = Duration::from_secs(1);

type Answer = Result<Done, StoreError>;

/// Why nothing can be written at the moment; none: as far as is known, it can.
pub(super) type Condition = Option<Arc<StoreError>>;

struct Pending {
    op: Op,
    answer: oneshot::Sender<Answer>,
    _place: OwnedSemaphorePermit,
}

enum Message {
    Write(Box<Pending>),
    Close(oneshot::Sender<()>),
}

/// The way to the thread.
pub(super) struct Writer {
    path: PathBuf,
    queue: mpsc::UnboundedSender<Message>,
    places: Arc<Semaphore>,
    newest: watch::Receiver<u64>,
    stopped: Arc<OnceLock<Arc<StoreError>>>,
    condition: watch::Sender<Condition>,
    counts: Arc<Counts>,
    queue_wait: Duration,
    answer_wait: Duration,
}

#[derive(Default)]
struct Counts {
    transactions: AtomicU64,
    records: AtomicU64,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("newest", &*self.newest.borrow()).finish_non_exhaustive()
    }
}

impl Writer {
    pub(super) fn start(opened: Opened, options: &Options) -> Result<Self, StoreError> {
        let path = opened.path.clone();
        let number = opened.place.map_or(0, |place| place.head.number);
        let (queue, messages) = mpsc::unbounded_channel();
        let (newest, subscriber) = watch::channel(number);
        let (stopped, counts) = (Arc::new(OnceLock::new()), Arc::new(Counts::default()));
        let condition = watch::Sender::new(None);
        let log = Log {
            opened,
            known: HashSet::new(),
            newest,
            stopped: Arc::clone(&stopped),
            condition: condition.clone(),
            counts: Arc::clone(&counts),
        };
        let io = |error| StoreError::Io { path: path.clone(), cause: Box::new(error) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(io)?;
        let run = move || runtime.block_on(log.run(messages));
        thread::Builder::new().name("seb-log".to_owned()).spawn(run).map_err(io)?;
        Ok(Self {
            path,
            queue,
            places: Arc::new(Semaphore::new(usize::try_from(QUEUE).unwrap_or(usize::MAX))),
            newest: subscriber,
            stopped,
            condition,
            counts,
            queue_wait: options.queue_wait,
            answer_wait: options.answer_wait,
        })
    }

    /// Queues a write, and waits until it is committed.
    pub(super) async fn write(&self, op: Op) -> Answer {
        let units = u32::try_from(weight(&op) / UNIT).unwrap_or(QUEUE).clamp(LEAST, QUEUE);
        let place = timeout(self.queue_wait, Arc::clone(&self.places).acquire_many_owned(units)).await;
        let place = place.map_err(|_| self.stalled(|| StoreError::Overloaded))?;
        let place = place.map_err(|_| self.gone())?;
        let (answer, answered) = oneshot::channel();
        let pending = Box::new(Pending { op, answer, _place: place });
        self.queue.send(Message::Write(pending)).map_err(|_| self.gone())?;
        match timeout(self.answer_wait, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(self.gone()),
            Err(_) => Err(self.stalled(|| StoreError::Timeout)),
        }
    }

    pub(super) async fn close(&self) {
        let (closed, done) = oneshot::channel();
        if self.queue.send(Message::Close(closed)).is_ok() {
            // An error says that the thread has ended, which is what was asked for.
            let _ = done.await;
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.newest.clone()
    }

    pub(super) fn condition(&self) -> watch::Receiver<Condition> {
        self.condition.subscribe()
    }

    pub(super) fn batches(&self) -> (u64, u64) {
        (self.counts.transactions.load(Ordering::Relaxed), self.counts.records.load(Ordering::Relaxed))
    }

    /// The thread is held up: what it meets when it goes on says more.
    fn stalled(&self, error: fn() -> StoreError) -> StoreError {
        self.condition.send_if_modified(|condition| {
            let well = condition.is_none();
            condition.get_or_insert_with(|| Arc::new(error()));
            well
        });
        error()
    }

    fn gone(&self) -> StoreError {
        StoreError::Stopped { path: self.path.clone(), cause: self.stopped.get().cloned() }
    }
}

/// What the thread has.
struct Log {
    opened: Opened,
    /// Artefacts that are stored for certain.
    known: HashSet<Digest>,
    newest: watch::Sender<u64>,
    stopped: Arc<OnceLock<Arc<StoreError>>>,
    condition: watch::Sender<Condition>,
    counts: Arc<Counts>,
}

/// Why a batch was not committed.
enum Failure {
    /// Nothing of it was written, and the next one can be tried.
    Clean(sqlx::Error),
    /// It may have been written, or nothing can be any more.
    Fatal(StoreError),
}

impl Log {
    async fn run(mut self, mut messages: mpsc::UnboundedReceiver<Message>) {
        let mut closing = None;
        while closing.is_none() {
            let first = match timeout(TRIAL, messages.recv()).await {
                Ok(Some(first)) => first,
                Ok(None) => break,
                Err(_) => match self.probe().await {
                    Ok(()) => continue,
                    Err(error) => {
                        self.stop(error);
                        break;
                    }
                },
            };
            let mut batch = Vec::new();
            let mut next = Some(first);
            while let Some(message) = next.take() {
                match message {
                    Message::Write(pending) => batch.push(*pending),
                    Message::Close(closed) => closing = Some(closed),
                }
                if closing.is_none() && batch.len() < BATCH {
                    next = messages.try_recv().ok();
                }
            }
            // A write whose asker has gone before it began need not be done.
            batch.retain(|pending| !pending.answer.is_closed());
            if let Err(error) = self.write(batch).await {
                self.stop(error);
                break;
            }
        }
        drop(messages);
        let Opened { connection, lock, .. } = self.opened;
        // What is committed is durable whether or not the connection ends in good order.
        let _ = connection.close().await;
        drop(lock);
        if let Some(closed) = closing {
            let _ = closed.send(());
        }
    }

    /// Whoever asks from now on is told.
    fn stop(&self, error: StoreError) {
        let error = Arc::new(error);
        tracing::error!(%error, "the store has stopped");
        self.condition.send_replace(Some(Arc::clone(&error)));
        let _ = self.stopped.set(error);
    }

    /// Notes whether writing works.
    fn note(&self, failure: Option<&sqlx::Error>) {
        let failure = failure.map(|error| Arc::new(clean(&self.opened.path, error)));
        self.condition.send_if_modified(|condition| {
            let changed = condition.is_some() || failure.is_some();
            *condition = failure;
            changed
        });
    }

    /// After a failure, tries whether writing works again: a transaction that writes a page as it is.
    async fn probe(&mut self) -> Result<(), StoreError> {
        if self.condition.borrow().is_none() {
            return Ok(());
        }
        let tried = async {
            execute(&mut self.opened, "BEGIN IMMEDIATE").await?;
            execute(&mut self.opened, "PRAGMA user_version = 0").await?;
            execute(&mut self.opened, "COMMIT").await
        };
        match tried.await {
            Ok(()) => self.note(None),
            Err(Failure::Clean(error)) => {
                // As after a write that failed.
                let _ = execute(&mut self.opened, "ROLLBACK").await;
                self.note(Some(&error));
            }
            Err(Failure::Fatal(error)) => return Err(self.fatal(Vec::new(), error)),
        }
        Ok(())
    }

    /// Writes a batch; where it breaks a constraint of the schema, each write by itself, so that only the one at fault
    /// fails.
    async fn write(&mut self, batch: Vec<Pending>) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let error = match self.commit(&batch).await {
            Ok(answers) => {
                self.note(None);
                Self::answer(batch, answers);
                return Ok(());
            }
            Err(Failure::Fatal(error)) => {
                let error = self.fatal(batch, error);
                return Err(error);
            }
            Err(Failure::Clean(error)) => error,
        };
        let broken = Fault::of(&error) == Fault::Constraint;
        if !broken {
            self.note(Some(&error));
        }
        if !broken || batch.len() == 1 {
            self.refuse(batch, &error);
            return Ok(());
        }
        for pending in batch {
            let alone = vec![pending];
            match self.commit(&alone).await {
                Ok(answers) => Self::answer(alone, answers),
                Err(Failure::Clean(error)) => self.refuse(alone, &error),
                Err(Failure::Fatal(error)) => return Err(self.fatal(alone, error)),
            }
        }
        Ok(())
    }

    fn answer(batch: Vec<Pending>, answers: Vec<Answer>) {
        for (pending, answer) in batch.into_iter().zip(answers) {
            // Who does not wait any more can ask again.
            let _ = pending.answer.send(answer);
        }
    }

    fn refuse(&self, batch: Vec<Pending>, error: &sqlx::Error) {
        for pending in batch {
            let _ = pending.answer.send(Err(clean(&self.opened.path, error)));
        }
    }

    fn fatal(&self, batch: Vec<Pending>, error: StoreError) -> StoreError {
        let error = Arc::new(error);
        let path = &self.opened.path;
        for pending in batch {
            let told = StoreError::Stopped { path: path.clone(), cause: Some(Arc::clone(&error)) };
            let _ = pending.answer.send(Err(told));
        }
        StoreError::Stopped { path: path.clone(), cause: Some(error) }
    }

    /// One transaction: judges, seals and stores every write of `batch`. Nothing of it is known outside until it is
    /// committed.
    async fn commit(&mut self, batch: &[Pending]) -> Result<Vec<Answer>, Failure> {
        // Written out, because SQLite ends a transaction by itself where it fails for good (a full disk), and the
        // library's own idea of transactions does not notice.
        execute(&mut self.opened, "BEGIN IMMEDIATE").await?;
        let result = self.transact(batch).await;
        if !matches!(result, Ok((_, true))) {
            // An error here says that there is no transaction any more. If there still is, the next one cannot begin.
            let _ = execute(&mut self.opened, "ROLLBACK").await;
        }
        result.map(|(answers, _)| answers)
    }

    /// The answers, and whether anything was committed.
    async fn transact(&mut self, batch: &[Pending]) -> Result<(Vec<Answer>, bool), Failure> {
        let Self { opened, known, .. } = self;
        let path = &opened.path;
        let ops = batch.iter().map(|pending| &pending.op);
        let mut ledger = load::load(path, &mut opened.connection, ops).await.map_err(Failure::Fatal)?;
        if ledger.place != opened.place {
            return Err(Failure::Fatal(StoreError::Foreign { path: path.clone() }));
        }
        let mut answers = Vec::with_capacity(batch.len());
        let mut written = Vec::with_capacity(batch.len());
        for Pending { op, .. } in batch {
            answers.push(ledger.apply(op, &opened.sealer).map(|(done, change)| {
                let mark = if let Op::Epoch(mark, _) = op { Some(mark) } else { None };
                written.extend(change.map(|change| Written { change, draft: op.draft(), mark }));
                done
            }));
        }
        if written.is_empty() {
            return Ok((answers, false));
        }
        save(&mut opened.connection, &written, known).await.map_err(|error| failed(path, error))?;
        execute(opened, "COMMIT").await?;
        opened.place = ledger.place;
        self.committed(&written);
        Ok((answers, true))
    }

    fn committed(&mut self, written: &[Written<'_>]) {
        if self.known.len() > KNOWN {
            self.known.clear();
        }
        let artefacts = written.iter().flat_map(|written| &written.draft.artefacts);
        self.known.extend(artefacts.map(crate::record::Artefact::digest));
        self.counts.transactions.fetch_add(1, Ordering::Relaxed);
        self.counts.records.fetch_add(u64::try_from(written.len()).unwrap_or(0), Ordering::Relaxed);
        self.newest.send_replace(self.opened.place.map_or(0, |place| place.head.number));
    }
}

async fn execute(opened: &mut Opened, statement: &'static str) -> Result<(), Failure> {
    let result = sqlx::query(statement).execute(&mut opened.connection).await;
    result.map(drop).map_err(|error| failed(&opened.path, error))
}

fn failed(path: &Path, error: sqlx::Error) -> Failure {
    if Fault::of(&error).is_clean() { Failure::Clean(error) } else { Failure::Fatal(failure(path, error)) }
}

/// The store's error for one after which nothing was written.
fn clean(path: &Path, error: &sqlx::Error) -> StoreError {
    let path = path.to_owned();
    match Fault::of(error) {
        Fault::Locked => StoreError::Locked { path },
        Fault::Full => StoreError::Full { path },
        Fault::ReadOnly => StoreError::ReadOnly { path },
        _ => StoreError::Refused { path, detail: error.to_string() },
    }
}
