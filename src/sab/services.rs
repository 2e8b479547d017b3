//! The authority's gRPC services. Who may call them is decided before, by [`crate::grpc::gate`].

use std::pin::Pin;
use std::sync::Arc;

use base64ct::{Base64, Encoding};
use futures::Stream;
use futures::StreamExt;
use spiffe::SpiffeId;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::airlock::{Airlock, AirlockError, tier_name};
use super::epochs::{EpochError, Epochs, Listener, Revocation, Signed};
use super::ledger::{Entry, Filter, State};
use super::metrics::SabMetrics;
use crate::decision::Peer;
use crate::grpc::access::{Caller, Role};
use crate::grpc::status::{Cause, Violation, internal, invalid};
use crate::proto::sab::v1 as proto;
use crate::spiffe_id;
use crate::store::Store;
use crate::telemetry::{Causes, Shown, log};
use crate::timestamp::Timestamp;

/// The most proposals of one page, and how many where the request does not say.
const MAX_PAGE: u32 = 500;
const PAGE: u32 = 50;

/// The longest cause of a revocation, in octets.
const MAX_CAUSE: usize = 1024;

/// `ProposalService`.
pub struct Proposals<S> {
    airlock: Arc<Airlock<S>>,
    metrics: SabMetrics,
}

impl<S> Proposals<S> {
    /// The service of this airlock.
    pub const fn new(airlock: Arc<Airlock<S>>, metrics: SabMetrics) -> Self {
        Self { airlock, metrics }
    }
}

fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    Caller::of(request).map_err(|status| *status)
}

/// Whose proposals the caller may see: all, or its own.
fn scope(caller: &Caller) -> Option<SpiffeId> {
    (!caller.roles.contains(&Role::Operator)).then(|| caller.peer.id().clone())
}

fn violation(field: &str, what: impl std::fmt::Display) -> Status {
    invalid(&[Violation { field: field.to_owned(), what: what.to_string() }])
}

fn failed(error: &AirlockError) -> Status {
    match error {
        AirlockError::Proposal(invalid) => {
            let source = std::error::Error::source(invalid);
            violation("proposal", source.map_or_else(|| invalid.to_string(), |source| format!("{invalid}: {source}")))
        }
        AirlockError::TooManyPending(_) => Cause::PeerBusy.status(error),
        AirlockError::PoliciesChanging | AirlockError::Unreadable { .. } => Cause::Unavailable.status(error),
        AirlockError::Store(store) if store.is_retryable() => {
            log!(AdmissionUnrecorded, error = %Causes(store), "a decision could not be recorded");
            Cause::Unavailable.status("the decision could not be recorded")
        }
        AirlockError::Epochs(error) => told(error),
        _ => internal(error),
    }
}

#[tonic::async_trait]
impl<S: Store> proto::proposal_service_server::ProposalService for Proposals<S> {
    async fn propose(&self, request: Request<proto::ProposeRequest>) -> Result<Response<proto::Proposal>, Status> {
        let began = Instant::now();
        let caller = caller(&request)?;
        let peer = Peer { id: caller.peer.id().clone(), key: caller.peer.key() };
        let proto::ProposeRequest { proposal, bind_to_key } = request.into_inner();
        let airlock = Arc::clone(&self.airlock);
        // Apart from the call, so that a caller that goes away leaves no certificate without its place in the ledger.
        let decided = tokio::spawn(async move { airlock.propose(&peer, &proposal, bind_to_key).await }).await;
        let decided = decided.map_err(|error| internal(&error))?;
        let seconds = began.elapsed().as_secs_f64();
        match decided {
            Ok(entry) => {
                let tier = entry.detail.tier.map_or("none", tier_name);
                self.metrics.proposed(entry.state.as_str(), tier, seconds);
                let (id, holder, state, record) = (&entry.id, &entry.holder, &entry.state, entry.detail.record);
                log!(ProposalDecided, %id, %holder, %state, record, "a proposal was decided");
                Ok(Response::new(to_proto(&entry)?))
            }
            Err(error) => {
                self.metrics.proposed("error", "none", seconds);
                Err(failed(&error))
            }
        }
    }

    async fn get_proposal(
        &self,
        request: Request<proto::GetProposalRequest>,
    ) -> Result<Response<proto::Proposal>, Status> {
        let scope = scope(&caller(&request)?);
        let found = self.airlock.get(scope.as_ref(), &request.into_inner().id).await.map_err(|error| failed(&error))?;
        let entry = found.ok_or_else(|| Cause::NotFound.status("there is no such proposal"))?;
        Ok(Response::new(to_proto(&entry)?))
    }

    async fn list_proposals(
        &self,
        request: Request<proto::ListProposalsRequest>,
    ) -> Result<Response<proto::ListProposalsResponse>, Status> {
        let holder = scope(&caller(&request)?);
        let request = request.into_inner();
        let before = match request.page_token.as_str() {
            "" => None,
            token => Some(token.parse().map_err(|_| violation("page_token", "is not one that was given"))?),
        };
        let limit = if request.page_size == 0 { PAGE } else { request.page_size.min(MAX_PAGE) };
        let filter = Filter { holder, state: state(request.state)?, before, limit: limit.saturating_add(1) };
        let mut found = self.airlock.list(&filter).await.map_err(|error| failed(&error))?;
        let more = found.len() > usize::try_from(limit).unwrap_or(usize::MAX);
        if more {
            found.pop();
        }
        let last = found.last().map(|(number, _)| number.to_string()).filter(|_| more);
        let proposals = found.iter().map(|(_, entry)| to_proto(entry)).collect::<Result<_, _>>()?;
        Ok(Response::new(proto::ListProposalsResponse { proposals, next_page_token: last.unwrap_or_default() }))
    }
}

fn state(number: i32) -> Result<Option<State>, Status> {
    match proto::proposal::State::try_from(number) {
        Ok(proto::proposal::State::Unspecified) => Ok(None),
        Ok(proto::proposal::State::Pending) => Ok(Some(State::Pending)),
        Ok(proto::proposal::State::Admitted) => Ok(Some(State::Admitted)),
        Ok(proto::proposal::State::Refused) => Ok(Some(State::Refused)),
        Ok(proto::proposal::State::Expired) => Ok(Some(State::Expired)),
        Err(_) => Err(violation("state", "is not a state of a proposal")),
    }
}

fn to_proto(entry: &Entry) -> Result<proto::Proposal, Status> {
    let chain = entry.detail.chain.iter().map(|der| Base64::decode_vec(der)).collect::<Result<_, _>>();
    let detail = &entry.detail;
    Ok(proto::Proposal {
        id: entry.id.clone(),
        state: match entry.state {
            State::Pending => proto::proposal::State::Pending,
            State::Admitted => proto::proposal::State::Admitted,
            State::Refused => proto::proposal::State::Refused,
            State::Expired => proto::proposal::State::Expired,
        }
        .into(),
        holder: entry.holder.to_string(),
        proposed_at: Some(time(entry.proposed_at)),
        decided_at: entry.decided_at.map(time),
        tier: detail.tier.map(tier_name).unwrap_or_default().to_owned(),
        explanations: detail.explanations.clone(),
        contract: detail.contract.clone(),
        contract_digest: detail.contract_digest.map(|digest| digest.to_string()).unwrap_or_default(),
        certificate: entry.certificate.clone().unwrap_or_default(),
        chain: chain.map_err(|error| internal(&error))?,
        policies: detail.policies.clone(),
        expires_at: entry.expires_at.map(time),
        record: detail.record,
        proposal: detail.proposal.clone(),
    })
}

fn time(time: Timestamp) -> prost_types::Timestamp {
    let seconds = i64::try_from(time.seconds()).unwrap_or(i64::MAX);
    let nanos = i32::try_from(time.millis() % 1000).unwrap_or_default().saturating_mul(1_000_000);
    prost_types::Timestamp { seconds, nanos }
}

/// `EpochService`.
pub struct EpochStream {
    epochs: Epochs,
    metrics: SabMetrics,
}

impl EpochStream {
    /// The service of these epochs.
    pub const fn new(epochs: Epochs, metrics: SabMetrics) -> Self {
        Self { epochs, metrics }
    }
}

/// Counts an open stream for as long as it lives.
struct Counted(SabMetrics);

impl Counted {
    fn new(metrics: SabMetrics) -> Self {
        metrics.brokers.inc();
        Self(metrics)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.brokers.dec();
    }
}

#[tonic::async_trait]
impl proto::epoch_service_server::EpochService for EpochStream {
    type StreamEpochsStream = Pin<Box<dyn Stream<Item = Result<proto::SignedEpochStatement, Status>> + Send>>;

    async fn stream_epochs(
        &self,
        request: Request<Streaming<proto::EpochAcknowledgement>>,
    ) -> Result<Response<Self::StreamEpochsStream>, Status> {
        let broker = caller(&request)?.peer.id().clone();
        let listener = self.epochs.open(broker.clone()).await.map_err(|error| told(&error))?;
        let newest = self.epochs.newest();
        let (sender, receiver) = mpsc::channel(1);
        let counted = Counted::new(self.metrics.clone());
        tokio::spawn(async move {
            let ended = serve_epochs(listener, newest, request.into_inner(), &sender).await;
            if let Err(status) = ended {
                log!(BrokerStreamEnded, %broker, reason = %Shown(status.message()), "an epoch stream ended");
                let _ = sender.send(Err(status)).await;
            }
            drop(counted);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

/// Sends the newest statement whenever there is one, and notes what the broker acknowledges. A broker that takes them
/// more slowly than they come gets the newest, and none in between.
async fn serve_epochs(
    listener: Listener,
    mut newest: tokio::sync::watch::Receiver<Arc<Signed>>,
    mut acknowledgements: Streaming<proto::EpochAcknowledgement>,
    sender: &mpsc::Sender<Result<proto::SignedEpochStatement, Status>>,
) -> Result<(), Status> {
    let mut unsent = true;
    loop {
        tokio::select! {
            acknowledgement = acknowledgements.next() => match acknowledgement {
                Some(Ok(proto::EpochAcknowledgement { sequence })) => {
                    listener.acknowledge(sequence).await.map_err(|error| told(&error))?;
                }
                // The broker is gone, or will say no more: it could not acknowledge.
                Some(Err(_)) | None => return Ok(()),
            },
            changed = newest.changed(), if !unsent => match changed {
                Ok(()) => unsent = true,
                Err(_) => return Err(told(&EpochError::Ended)),
            },
            room = sender.reserve(), if unsent => {
                let Ok(room) = room else { return Ok(()) };
                let signed = Arc::clone(&newest.borrow_and_update());
                unsent = false;
                room.send(Ok(proto::SignedEpochStatement {
                    envelope: signed.envelope.clone(),
                    chain: signed.chain.clone(),
                }));
            }
        }
    }
}

fn told(error: &EpochError) -> Status {
    match error {
        EpochError::UnknownBroker(_) => Cause::MethodNotAllowed.status(error),
        EpochError::NeverIssued(_) => violation("sequence", error),
        EpochError::Revoke(_) => Cause::ServerBusy.status(error),
        EpochError::Ended => Cause::Draining.status(error),
        EpochError::Ledger(_) | EpochError::Issue(_) | EpochError::Clock(_) => internal(error),
    }
}

/// `RevocationService`.
pub struct Revocations<S> {
    airlock: Arc<Airlock<S>>,
    metrics: SabMetrics,
}

impl<S> Revocations<S> {
    /// The service of this airlock.
    pub const fn new(airlock: Arc<Airlock<S>>, metrics: SabMetrics) -> Self {
        Self { airlock, metrics }
    }
}

#[tonic::async_trait]
impl<S: Store> proto::revocation_service_server::RevocationService for Revocations<S> {
    async fn revoke(&self, request: Request<proto::RevokeRequest>) -> Result<Response<proto::RevokeResponse>, Status> {
        let began = Instant::now();
        let operator = caller(&request)?.peer.id().clone();
        let proto::RevokeRequest { what, cause } = request.into_inner();
        let revocation = revocation(what)?;
        if cause.len() > MAX_CAUSE {
            return Err(violation("cause", format_args!("has more than {MAX_CAUSE} octets")));
        }
        log!(Revoking, %operator, what = ?revocation, cause = %Shown(&cause), "revoking");
        let revoked = self.airlock.revoke(&operator, revocation, &cause).await.map_err(|error| failed(&error))?;
        self.metrics.revoked(began.elapsed().as_secs_f64());
        let brokers = revoked.brokers.into_iter().map(|broker| proto::revoke_response::BrokerAcknowledgement {
            broker: broker.broker.to_string(),
            acknowledged: broker.acknowledged,
            after_ms: u32::try_from(broker.after.as_millis()).unwrap_or(u32::MAX),
        });
        Ok(Response::new(proto::RevokeResponse { sequence: revoked.sequence, brokers: brokers.collect() }))
    }
}

fn revocation(what: Option<proto::revoke_request::What>) -> Result<Revocation, Status> {
    use proto::revoke_request::What;
    Ok(match what {
        Some(What::Certificate(digest)) => {
            Revocation::Certificate(digest.parse().map_err(|error| violation("certificate", error))?)
        }
        Some(What::Contract(digest)) => {
            Revocation::Contract(digest.parse().map_err(|error| violation("contract", error))?)
        }
        Some(What::Holder(holder)) => {
            let id = spiffe_id::exact(&holder);
            Revocation::Holder(id.ok_or_else(|| violation("holder", "is not a SPIFFE ID in its normal form"))?)
        }
        Some(What::Target(target)) => Revocation::Target(target.parse().map_err(|error| violation("target", error))?),
        Some(What::Everything(true)) => Revocation::Everything,
        Some(What::Everything(false)) | None => return Err(violation("what", "names nothing to revoke")),
    })
}
