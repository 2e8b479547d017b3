//! Follows an authority's epoch stream: what it states is verified, put in force, made durable, and acknowledged, in
//! this order (I2).
//!
//! A heartbeat that repeats what is known renews its freshness only. A statement that says something new is recorded
//! before it is acknowledged, so that after a restart nothing is accepted that would take it back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

use crate::broker::{Broker, Trusted};
use crate::clock::Clock;
use crate::config::broker::AuthorityConfig;
use crate::epoch::{EpochParts, EpochStatement, FreshnessBounds};
use crate::epoch_envelope;
use crate::identity::Identities;
use crate::proto::sab::v1::epoch_service_client::EpochServiceClient;
use crate::proto::sab::v1::{EpochAcknowledgement, SignedEpochStatement};
use crate::record;
use crate::store::{EpochMark, Store};
use crate::telemetry::{Causes, Health, Shown, log};
use crate::tls::{self, Connector, H2};

/// The longest that connecting may take.
const CONNECT: Duration = Duration::from_secs(2);
/// The longest silence before the stream counts as broken, whatever the staleness bound is.
const SILENCE: Duration = Duration::from_secs(5);
/// How often it is asked whether an authority that was not heard can be acted by again.
const LOOK: Duration = Duration::from_millis(100);
/// The shortest and the longest wait before the stream is opened again.
const AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// The largest statement on the wire: base64 of the largest one, and its chain.
const MAX_MESSAGE: usize = 12 * 1024 * 1024;

/// One authority's stream, and what it needs.
pub struct Follower<S> {
    /// Where statements are put in force.
    pub broker: Arc<Broker<S>>,
    /// The authority.
    pub authority: AuthorityConfig,
    /// Who the broker is.
    pub identities: Identities,
    /// Whose signatures count.
    pub trusted: watch::Receiver<Arc<Trusted>>,
    /// The clocks.
    pub clock: Clock,
    /// How old what it said may be, and how far the clocks may differ: the broker's bounds.
    pub bounds: FreshnessBounds,
    /// Where it says whether anything can be executed under this authority.
    pub health: Health,
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the authority cannot be reached")]
    Connect(#[from] tonic::transport::Error),
    #[error("TLS cannot be configured")]
    Tls(#[from] tls::TlsError),
    #[error("the stream failed: {0}")]
    Stream(Box<tonic::Status>),
    #[error("the authority ended the stream")]
    Closed,
    #[error("the authority was silent for {} ms", .0.as_millis())]
    Silent(Duration),
    #[error("a statement is refused: {0}")]
    Refused(String),
    #[error("a statement cannot be made durable: {0}")]
    Store(String),
}

impl<S: Store> Follower<S> {
    /// Follows until it is dropped, and keeps the health of this authority.
    pub async fn run(self) {
        let (news, told) = watch::channel(String::new());
        tokio::join!(self.follow(&news), self.watch(told));
    }

    async fn follow(&self, news: &watch::Sender<String>) {
        let mut again = AGAIN.0;
        // The newest content that is durable.
        let mut durable = None;
        loop {
            let heard = self.session(&mut durable, news).await;
            let (statements, ended) = heard;
            if statements > 0 {
                again = AGAIN.0;
            }
            let reason = Causes(&ended).to_string();
            let (authority, shown) = (&self.authority.id, Shown(&reason));
            log!(EpochStreamEnded, %authority, reason = %shown, "the epoch stream ended; it is opened again");
            news.send_replace(reason);
            tokio::time::sleep(again).await;
            again = (again * 2).min(AGAIN.1);
        }
    }

    /// Says whether executions under the authority are possible, as a decision would find: so readiness follows within the
    /// staleness bound, however its stream fails. `news` says why the stream ended, or nothing while it is well.
    async fn watch(&self, mut news: watch::Receiver<String>) {
        let id = &self.authority.id;
        loop {
            let ended = news.borrow_and_update().clone();
            match self.broker.epoch_freshness(id) {
                Ok(left) => {
                    self.health.heard(id);
                    // A millisecond more, so that it is over then.
                    tokio::time::sleep(left.saturating_add(Duration::from_millis(1))).await;
                }
                Err(denial) => {
                    let stream = if ended.is_empty() { String::new() } else { format!("; {ended}") };
                    self.health.silent(id, format!("{denial}{stream}: executions under it are denied"));
                    // Whoever sends it lives as long as this.
                    let _ = tokio::time::timeout(LOOK, news.changed()).await;
                }
            }
        }
    }

    /// How long a stream may be silent: decisions are denied for half of it already.
    fn silence(&self) -> Duration {
        Duration::from_millis(self.bounds.staleness_ms.into()).saturating_mul(2).min(SILENCE)
    }

    /// One stream, to its end; and how many statements came on it.
    async fn session(&self, durable: &mut Option<Content>, news: &watch::Sender<String>) -> (u64, Ended) {
        let mut statements = 0;
        let ended = self.stream(durable, &mut statements, news).await.err().unwrap_or(Ended::Closed);
        (statements, ended)
    }

    async fn stream(
        &self,
        durable: &mut Option<Content>,
        statements: &mut u64,
        news: &watch::Sender<String>,
    ) -> Result<(), Ended> {
        let silence = self.silence();
        let config = tls::client_config(&self.identities, [self.authority.id.clone()], &[H2])?;
        let endpoint = Endpoint::from_shared(format!("http://{}", self.authority.address))?.tcp_nodelay(true);
        let channel = endpoint.connect_with_connector(Connector::new(config, CONNECT)).await?;
        let mut client = EpochServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
        let (acknowledge, acknowledgements) = mpsc::channel(4);
        let status = |status: tonic::Status| Ended::Stream(Box::new(status));
        // The stream is open when the authority has something to answer to. It waits for brokers as long as they may act by
        // what they know, and so is told how long that is.
        let FreshnessBounds { staleness_ms, max_clock_skew_ms } = self.bounds;
        let opening = EpochAcknowledgement { sequence: 0, staleness_ms, max_clock_skew_ms };
        acknowledge.send(opening).await.map_err(|_| Ended::Closed)?;
        let opening = client.stream_epochs(ReceiverStream::new(acknowledgements));
        let opened = tokio::time::timeout(silence, opening).await.map_err(|_| Ended::Silent(silence))?;
        let mut stream = opened.map_err(status)?.into_inner();
        loop {
            let next = tokio::time::timeout(silence, stream.message()).await.map_err(|_| Ended::Silent(silence))?;
            let message = next.map_err(status)?.ok_or(Ended::Closed)?;
            let sequence = self.take(message, durable).await?;
            *statements += 1;
            if !news.borrow().is_empty() {
                news.send_replace(String::new());
            }
            let acknowledged = acknowledge
                .send_timeout(EpochAcknowledgement { sequence, ..EpochAcknowledgement::default() }, silence)
                .await;
            acknowledged.map_err(|error| match error {
                SendTimeoutError::Timeout(_) => Ended::Silent(silence),
                SendTimeoutError::Closed(_) => Ended::Closed,
            })?;
        }
    }

    /// Puts one statement in force, and makes it durable if it says something new.
    async fn take(&self, message: SignedEpochStatement, durable: &mut Option<Content>) -> Result<u64, Ended> {
        let now = self.clock.now().map_err(|error| Ended::Refused(error.to_string()))?;
        let trusted = Arc::clone(&self.trusted.borrow());
        let statement = epoch_envelope::open(&message.envelope, &message.chain, &trusted.trust, now)
            .map_err(|error| Ended::Refused(Causes(&error).to_string()))?;
        if statement.parts().authority != self.authority.id {
            return Err(Ended::Refused(format!("it is that of `{}`", statement.parts().authority)));
        }
        let (statement, sequence) = (Arc::new(statement.clone()), statement.parts().sequence);
        let applied = self.broker.apply_epoch(Arc::clone(&statement));
        applied.map_err(|error| Ended::Refused(error.to_string()))?;
        let content = Content::of(statement.parts());
        // Also if it is the same statement once more: it may be in force and not durable yet.
        if durable.as_ref() != Some(&content) {
            self.keep(&statement, &message.envelope, now).await?;
            *durable = Some(content);
        }
        Ok(sequence)
    }

    async fn keep(
        &self,
        statement: &EpochStatement,
        envelope: &[u8],
        now: crate::timestamp::Timestamp,
    ) -> Result<(), Ended> {
        let draft = record::epoch(statement, envelope, now).map_err(|error| Ended::Store(error.to_string()))?;
        let mark = EpochMark {
            authority: statement.parts().authority.clone(),
            sequence: statement.parts().sequence,
            statement: statement.to_canonical().into_bytes(),
        };
        self.broker.store().append_epoch(mark, draft).await.map_err(|error| Ended::Store(error.to_string()))?;
        Ok(())
    }
}

/// What a statement says, apart from when.
#[derive(Debug, PartialEq, Eq)]
struct Content {
    policy_epoch: u64,
    revocation_epoch: u64,
    revoked: crate::epoch::Revoked,
}

impl Content {
    fn of(parts: &EpochParts) -> Self {
        Self {
            policy_epoch: parts.policy_epoch,
            revocation_epoch: parts.revocation_epoch,
            revoked: parts.revoked.clone(),
        }
    }
}
