//! An authority's epoch stream, honest or not.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::Stream;
use seb::epoch::{EpochParts, EpochStatement, Revoked};
use seb::identity::Identities;
use seb::proto::sab::v1::epoch_service_server::{EpochService, EpochServiceServer};
use seb::proto::sab::v1::{EpochAcknowledgement, SignedEpochStatement};
use seb::sab::authority::Authority;
use seb::timestamp::Timestamp;
use seb::tls::{self, H2, Limits};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{EPOCH, PATIENCE, id, now};

const HEARTBEAT: Duration = Duration::from_millis(50);

/// How the authority behaves.
#[derive(Clone, Default)]
pub enum Manner {
    /// As it should.
    #[default]
    Honest,
    /// Says nothing more, and keeps the streams open.
    Silent,
    /// Does not even open a stream.
    Deaf,
    /// Repeats its last statement.
    Repeating,
    /// Goes back to an earlier sequence.
    Regressing,
    /// Says two things under one sequence.
    Forked,
    /// Forgets what it revoked.
    Unrevoking,
    /// Its clock is so many milliseconds ahead.
    Skewed(i64),
    /// Another key signs.
    Signed(Arc<Authority>),
    /// Damages what it says.
    Damaged,
}

/// What it says.
#[derive(Clone)]
pub struct Says {
    pub sequence: u64,
    pub policy_epoch: u64,
    pub revocation_epoch: u64,
    pub revoked: Revoked,
}

struct State {
    authority: Arc<Authority>,
    says: Mutex<Says>,
    last: Mutex<Option<SignedEpochStatement>>,
    manner: watch::Sender<Manner>,
    acknowledged: watch::Sender<u64>,
    /// Wakes the streams.
    changed: watch::Sender<()>,
}

/// The stream's server.
#[derive(Clone)]
pub struct Epochs {
    state: Arc<State>,
    pub address: SocketAddr,
}

impl Epochs {
    pub async fn serve(authority: Arc<Authority>, identities: Identities) -> Self {
        // Sequences grow from one world to the next, as they do by time in the real one.
        let says = Says { sequence: 1, policy_epoch: EPOCH, revocation_epoch: EPOCH, revoked: Revoked::default() };
        let state = Arc::new(State {
            authority,
            says: Mutex::new(says),
            last: Mutex::default(),
            manner: watch::Sender::default(),
            acknowledged: watch::Sender::new(0),
            changed: watch::Sender::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let incoming = tls::incoming(listener, identities, &[H2], Limits::default()).unwrap();
        let address = incoming.local_addr();
        let server = Self { state, address };
        let service = EpochServiceServer::new(server.clone());
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        server
    }

    /// From now on.
    pub fn behave(&self, manner: Manner) {
        self.state.manner.send_replace(manner);
        self.state.changed.send_replace(());
    }

    /// Says something else from now on, and waits until a broker has acknowledged it.
    pub async fn say<R>(&self, change: impl FnOnce(&mut Says) -> R) {
        let sequence = self.begin_to_say(change);
        self.acknowledged(sequence).await;
    }

    /// Says something else from now on, whether or not anybody hears it: the first sequence under which it is said.
    pub fn begin_to_say<R>(&self, change: impl FnOnce(&mut Says) -> R) -> u64 {
        let sequence = {
            let mut says = self.state.says.lock().unwrap();
            let _ = change(&mut says);
            says.sequence + 1
        };
        self.state.changed.send_replace(());
        sequence
    }

    /// The newest sequence that a broker has acknowledged.
    pub fn newest_acknowledged(&self) -> u64 {
        *self.state.acknowledged.borrow()
    }

    /// Waits until a broker has acknowledged that sequence or a later one.
    pub async fn acknowledged(&self, sequence: u64) {
        let mut acknowledged = self.state.acknowledged.subscribe();
        let heard = acknowledged.wait_for(|newest| *newest >= sequence);
        tokio::time::timeout(PATIENCE, heard).await.expect("the broker hears the authority").unwrap();
    }

    /// Waits until a broker hears what is said now.
    pub async fn heard(&self) {
        let next = self.state.says.lock().unwrap().sequence + 1;
        self.acknowledged(next).await;
    }
}

impl State {
    /// The next message, if there is one.
    fn next(&self) -> Option<SignedEpochStatement> {
        let manner = self.manner.borrow().clone();
        let mut says = self.says.lock().unwrap();
        let mut skew = 0;
        let mut signer = &self.authority;
        let mut said = says.clone();
        said.sequence += 1;
        match &manner {
            Manner::Silent | Manner::Deaf => return None,
            Manner::Honest | Manner::Damaged => {}
            Manner::Repeating => return self.last.lock().unwrap().clone(),
            Manner::Regressing => said.sequence /= 2,
            Manner::Forked => {
                said.sequence -= 1;
                said.revoked.holders.insert(id("agent/fork"));
            }
            Manner::Unrevoking => said.revoked = Revoked::default(),
            Manner::Skewed(milliseconds) => skew = *milliseconds,
            Manner::Signed(other) => signer = other,
        }
        let issued_at = Timestamp::from_millis(now().millis().saturating_add_signed(skew)).unwrap();
        let statement = EpochStatement::new(EpochParts {
            authority: self.authority.id().clone(),
            sequence: said.sequence,
            policy_epoch: said.policy_epoch,
            revocation_epoch: said.revocation_epoch,
            revoked: said.revoked,
            issued_at,
            next_update: issued_at.saturating_add(Duration::from_secs(5)),
        })
        .unwrap();
        if matches!(manner, Manner::Honest | Manner::Skewed(_)) {
            says.sequence = said.sequence;
        }
        let mut envelope = signer.seal(&statement).unwrap();
        if matches!(manner, Manner::Damaged) {
            let middle = envelope.len() / 2;
            envelope[middle] ^= 1;
        }
        let message = SignedEpochStatement { envelope, chain: signer.chain().to_vec() };
        *self.last.lock().unwrap() = Some(message.clone());
        Some(message)
    }
}

#[tonic::async_trait]
impl EpochService for Epochs {
    type StreamEpochsStream = Pin<Box<dyn Stream<Item = Result<SignedEpochStatement, Status>> + Send>>;

    async fn stream_epochs(
        &self,
        request: Request<Streaming<EpochAcknowledgement>>,
    ) -> Result<Response<Self::StreamEpochsStream>, Status> {
        let mut manner = self.state.manner.subscribe();
        let _ = manner.wait_for(|manner| !matches!(manner, Manner::Deaf)).await;
        let mut acknowledgements = request.into_inner();
        let state = Arc::clone(&self.state);
        tokio::spawn(async move {
            while let Ok(Some(acknowledgement)) = acknowledgements.message().await {
                state.acknowledged.send_if_modified(|newest| {
                    let newer = acknowledgement.sequence > *newest;
                    *newest = acknowledgement.sequence.max(*newest);
                    newer
                });
            }
        });
        let (sender, receiver) = mpsc::channel(1);
        let state = Arc::clone(&self.state);
        tokio::spawn(async move {
            let mut changed = state.changed.subscribe();
            loop {
                if let Some(message) = state.next()
                    && sender.send(Ok(message)).await.is_err()
                {
                    return;
                }
                let _ = tokio::time::timeout(HEARTBEAT, changed.changed()).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}
