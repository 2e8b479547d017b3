//! Drives the [`Machine`]: makes its state durable, signs its statements, and tells whoever listens.
//!
//! One task owns the machine. What others ask of it goes through a bounded queue, and each question is answered.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use spiffe::SpiffeId;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::machine::{
    Acknowledgement, Durable, IssueError, Machine, Moment, NeverIssued, Revocation, RevokeError, StreamId, Timing,
};
use crate::clock;
use crate::digest::Digest;
use crate::sab::authority::Authority;
use crate::sab::ledger::{Ledger, LedgerError};
use crate::telemetry::{Causes, log};
use crate::timestamp::{InvalidTimestamp, Timestamp};

/// How many questions wait at most.
const QUEUE: usize = 256;

/// A signed statement.
#[derive(Debug, PartialEq, Eq)]
pub struct Signed {
    /// Its sequence.
    pub sequence: u64,
    /// The DSSE envelope.
    pub envelope: Vec<u8>,
    /// The authority's chain in DER, leaf first.
    pub chain: Vec<Vec<u8>>,
}

/// What became of a revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// The statement from which on it holds.
    pub sequence: u64,
    /// Each broker.
    pub brokers: Vec<Acknowledgement>,
}

/// The epochs did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum EpochError {
    /// It cannot be revoked.
    #[error(transparent)]
    Revoke(#[from] RevokeError),
    /// It could not be made durable, so that nobody was told.
    #[error("the epochs could not be saved: what was asked may or may not hold after a restart")]
    Ledger(#[source] LedgerError),
    /// No statement could be issued.
    #[error("no epoch statement could be issued")]
    Issue(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The clock shows no possible time.
    #[error("the clock cannot be used")]
    Clock(#[from] InvalidTimestamp),
    /// The broker is not one of those that are configured.
    #[error("`{0}` is not a broker of this authority")]
    UnknownBroker(SpiffeId),
    /// The broker acknowledged what was never said.
    #[error(transparent)]
    NeverIssued(#[from] NeverIssued),
    /// The task has ended.
    #[error("the authority is shutting down")]
    Ended,
}

enum Command {
    Policies(Digest, oneshot::Sender<Result<(), EpochError>>),
    Revoke(Revocation, oneshot::Sender<Result<Revoked, EpochError>>),
    Open(SpiffeId, oneshot::Sender<Result<StreamId, EpochError>>),
    Acknowledge(StreamId, u64, oneshot::Sender<Result<(), EpochError>>),
    Close(StreamId),
}

/// The way to the task that keeps the epochs.
#[derive(Debug, Clone)]
pub struct Epochs {
    commands: mpsc::Sender<Command>,
    newest: watch::Receiver<Arc<Signed>>,
    state: watch::Receiver<Arc<Durable>>,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Command")
    }
}

impl Epochs {
    /// Starts the task, after the first statement is issued: from then on what the ledger knows is being said.
    ///
    /// `ledger` must not be open in another process: two authorities would speak in one name.
    ///
    /// # Errors
    /// The ledger, the key or the clock cannot be used.
    pub async fn start(
        ledger: Ledger,
        authority: watch::Receiver<Arc<Authority>>,
        timing: Timing,
        brokers: BTreeSet<SpiffeId>,
        policies: Option<Digest>,
    ) -> Result<Self, EpochError> {
        let now = clock::now()?;
        let durable = ledger.epochs().await.map_err(EpochError::Ledger)?.unwrap_or_else(|| Durable::beginning(now));
        let id = authority.borrow().id().clone();
        let machine = Machine::new(id, timing, brokers, durable.clone());
        let (state, state_receiver) = watch::channel(Arc::new(durable));
        let (newest, newest_receiver) =
            watch::channel(Arc::new(Signed { sequence: 0, envelope: vec![], chain: vec![] }));
        let (commands, receiver) = mpsc::channel(QUEUE);
        let mut task = Task {
            machine,
            ledger,
            authority,
            started: Instant::now(),
            newest,
            state,
            waiting: Vec::new(),
            clock: now,
        };
        match policies {
            Some(digest) => task.policies(digest).await?,
            // Nothing is admitted; what was admitted before stays as good as it was.
            None => task.issue().await?,
        }
        tokio::spawn(task.run(receiver));
        Ok(Self { commands, newest: newest_receiver, state: state_receiver })
    }

    /// The newest signed statement, each time there is one.
    pub fn newest(&self) -> watch::Receiver<Arc<Signed>> {
        self.newest.clone()
    }

    /// What is in force: durable, and said.
    pub fn state(&self) -> Arc<Durable> {
        Arc::clone(&self.state.borrow())
    }

    /// Puts policies in force; the epoch steps if they are others than before.
    ///
    /// # Errors
    /// See [`EpochError`].
    pub async fn policies(&self, digest: Digest) -> Result<(), EpochError> {
        self.ask(|answer| Command::Policies(digest, answer)).await
    }

    /// Revokes, and answers when nothing that it covers starts any more.
    ///
    /// # Errors
    /// See [`EpochError`]. If the answer is not waited for, it is revoked all the same.
    pub async fn revoke(&self, revocation: Revocation) -> Result<Revoked, EpochError> {
        self.ask(|answer| Command::Revoke(revocation, answer)).await
    }

    /// A broker begins to listen.
    ///
    /// # Errors
    /// It is not one of those that are configured.
    pub async fn open(&self, broker: SpiffeId) -> Result<Listener, EpochError> {
        let stream = self.ask(|answer| Command::Open(broker, answer)).await?;
        Ok(Listener { stream, epochs: self.clone() })
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, EpochError>>) -> Command,
    ) -> Result<T, EpochError> {
        let (sender, answer) = oneshot::channel();
        self.commands.send(command(sender)).await.map_err(|_| EpochError::Ended)?;
        answer.await.map_err(|_| EpochError::Ended)?
    }
}

/// A broker that listens. Dropping it says that it listens no longer.
#[derive(Debug)]
pub struct Listener {
    stream: StreamId,
    epochs: Epochs,
}

impl Listener {
    /// The broker says that a sequence is in force with it.
    ///
    /// # Errors
    /// The sequence was never issued.
    pub async fn acknowledge(&self, sequence: u64) -> Result<(), EpochError> {
        let stream = self.stream;
        self.epochs.ask(|answer| Command::Acknowledge(stream, sequence, answer)).await
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let (commands, stream) = (self.epochs.commands.clone(), self.stream);
        // A full queue must not lose it; at the end of the process there is nobody to tell.
        if let Err(mpsc::error::TrySendError::Full(command)) = commands.try_send(Command::Close(stream))
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { commands.send(command).await });
        }
    }
}

struct Task {
    machine: Machine,
    ledger: Ledger,
    authority: watch::Receiver<Arc<Authority>>,
    started: Instant,
    newest: watch::Sender<Arc<Signed>>,
    state: watch::Sender<Arc<Durable>>,
    waiting: Vec<(u64, oneshot::Sender<Result<Revoked, EpochError>>)>,
    /// The newest time seen.
    clock: Timestamp,
}

impl Task {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            let next = self.started + self.machine.next_moment();
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(command) => self.command(command).await,
                    None => return,
                },
                () = tokio::time::sleep_until(next) => self.time().await,
            }
            self.answer();
        }
    }

    fn moment(&self) -> Moment {
        self.started.elapsed()
    }

    async fn time(&mut self) {
        if self.machine.due() <= self.moment()
            && let Err(error) = self.issue().await
        {
            // Brokers deny by themselves when nothing comes; not too often, whatever the cause.
            log!(EpochNotIssued, error = %Causes(&error), "no epoch statement could be issued");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Policies(digest, answer) => drop(answer.send(self.policies(digest).await)),
            Command::Revoke(revocation, answer) => match self.revoke(&revocation).await {
                Err(error) => drop(answer.send(Err(error))),
                Ok(()) => {
                    let wait = self.machine.wait(self.moment());
                    self.waiting.push((wait, answer));
                }
            },
            Command::Open(broker, answer) => {
                let known = self.machine.knows(&broker);
                let opened =
                    if known { Ok(self.machine.opened(broker)) } else { Err(EpochError::UnknownBroker(broker)) };
                if let Err(Ok(stream)) = answer.send(opened) {
                    self.machine.closed(stream, self.moment());
                }
            }
            Command::Acknowledge(stream, sequence, answer) => {
                let noted = self.machine.acknowledged(stream, sequence, self.moment());
                drop(answer.send(noted.map_err(EpochError::from)));
            }
            Command::Close(stream) => self.machine.closed(stream, self.moment()),
        }
    }

    /// Answers whoever waited long enough.
    fn answer(&mut self) {
        for (wait, sequence, brokers) in self.machine.finished(self.moment()) {
            if let Some(place) = self.waiting.iter().position(|(waiting, _)| *waiting == wait) {
                let (_, answer) = self.waiting.swap_remove(place);
                drop(answer.send(Ok(Revoked { sequence, brokers })));
            }
        }
    }

    async fn policies(&mut self, digest: Digest) -> Result<(), EpochError> {
        let next = self.machine.durable().with_policies(digest)?;
        if next != *self.machine.durable() {
            self.save(next).await?;
        }
        self.issue().await
    }

    async fn revoke(&mut self, revocation: &Revocation) -> Result<(), EpochError> {
        let next = self.machine.durable().with_revocation(revocation)?;
        self.save(next).await?;
        self.issue().await
    }

    /// Makes the state durable, then goes by it.
    async fn save(&mut self, durable: Durable) -> Result<(), EpochError> {
        self.ledger.save_epochs(&durable).await.map_err(EpochError::Ledger)?;
        self.machine.commit(durable.clone());
        self.state.send_replace(Arc::new(durable));
        Ok(())
    }

    async fn issue(&mut self) -> Result<(), EpochError> {
        // A clock that cannot be read stands still: the statement is then refused for its skew, and not for being absent.
        self.clock = clock::now().unwrap_or(self.clock);
        let statement = match self.machine.issue(self.moment(), self.clock) {
            Err(IssueError::Reserve) => {
                let reserved = self.machine.reserve(self.clock);
                self.save(reserved).await?;
                self.machine.issue(self.moment(), self.clock)
            }
            issued => issued,
        };
        let statement = statement.map_err(|error| EpochError::Issue(Box::new(error)))?;
        let authority = Arc::clone(&self.authority.borrow());
        let envelope = authority.seal(&statement).map_err(|error| EpochError::Issue(Box::new(error)))?;
        let sequence = statement.parts().sequence;
        self.newest.send_replace(Arc::new(Signed { sequence, envelope, chain: authority.chain().to_vec() }));
        Ok(())
    }
}
