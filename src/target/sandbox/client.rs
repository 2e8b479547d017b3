//! The driver of the sandbox.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use http::header::{CONNECTION, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use spiffe::SpiffeId;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::wire::{Applied, Code, Known, MAX_OCTETS, Mutation, Refusal, Seen, execution_path, object_path};
use crate::contract::{Baseline, Call, Json, Pointer, Resource, SandboxResource, TargetKind, Verb, Version, decode};
use crate::decision::{LiveState, PermittedCall, Terms};
use crate::identity::{ExecutionIdentity, Form, Identities};
use crate::target::failure::{Failure, left, now};
use crate::target::{Evidence, Fence, FencedIo, Grade, Passage, Performed, Rejection, Target};
use crate::telemetry::{Shown, log};
use crate::tls::{self, H2, HTTP11, ServerVerifier, TlsError};

/// The longest that connecting may take.
const CONNECT: Duration = Duration::from_secs(5);

/// The longest that reading may take, connecting included.
const READ: Duration = Duration::from_secs(5);

/// How long after the deadline an answer is still waited for: the sandbox decides at the deadline, and answers then.
const GRACE: Duration = Duration::from_secs(1);

type Body = Full<Bytes>;

/// A sandbox, as the broker drives it. Reading alone works with any identity that the sandbox lets read.
#[derive(Debug)]
pub struct Sandbox {
    address: String,
    servers: Arc<ServerVerifier>,
    reading: Arc<rustls::ClientConfig>,
    reader: Mutex<Option<http2::SendRequest<Body>>>,
}

impl Sandbox {
    /// The sandbox at `address` (`host:port`), which must show the SPIFFE ID `server`. Reading is done by the identity of
    /// this process, and it connects when it is first asked for something.
    ///
    /// # Errors
    /// If TLS cannot be configured.
    pub fn new(address: String, server: SpiffeId, identities: Identities) -> Result<Self, TlsError> {
        let reading = tls::client_config(&identities, [server.clone()], &[H2])?;
        let servers = tls::servers(&identities, [server]);
        Ok(Self { address, servers, reading, reader: Mutex::new(None) })
    }

    /// The answer to a GET. A connection that has gone away meanwhile is made anew, once.
    async fn get(&self, path: &str) -> Result<(StatusCode, Json), Failure> {
        let again = || async {
            let (sender, fresh) = self.reader().await?;
            let request = request(Method::GET, path, Bytes::new())?;
            match exchange_http2(sender, request).await {
                Ok(answer) => Ok(Ok(answer)),
                Err(failure) if fresh => Err(failure),
                Err(failure) => Ok(Err(failure)),
            }
        };
        timeout(READ, async {
            match again().await? {
                Ok(answer) => Ok(answer),
                Err(_) => {
                    *self.reader.lock().await = None;
                    again().await?
                }
            }
        })
        .await
        .unwrap_or(Err(Failure("no answer in time".to_owned())))
    }

    /// The connection for reading, and whether it was made just now.
    async fn reader(&self) -> Result<(http2::SendRequest<Body>, bool), Failure> {
        let mut reader = self.reader.lock().await;
        match &*reader {
            Some(sender) if !sender.is_closed() => Ok((sender.clone(), false)),
            _ => {
                let stream = tls::connect(&self.address, Arc::clone(&self.reading), CONNECT).await?;
                let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
                tokio::spawn(connection);
                *reader = Some(sender.clone());
                Ok((sender, true))
            }
        }
    }

    async fn live_state(&self, object: &SandboxResource, fields: &BTreeSet<Pointer>) -> Result<LiveState, Failure> {
        let observed_at = now()?;
        let (status, answer) = self.get(&object_path(object)).await?;
        if status == StatusCode::OK {
            let seen: Seen = read(&answer)?;
            let fields = fields.iter().map(|pointer| (pointer.clone(), pointer.resolve(&seen.object).cloned()));
            let fields = fields.collect();
            return Ok(LiveState::Present { identity: seen.uid, version: seen.version, fields, observed_at });
        }
        match Refusal::read(status, &answer) {
            Some(Refusal { code: Code::Absent, .. }) => Ok(LiveState::Absent { observed_at }),
            Some(refusal) => Err(Failure(format!("{}: {}", refusal.code.as_str(), refusal.detail))),
            None => Err(Failure(format!("an answer with status {status} that says nothing"))),
        }
    }

    async fn mutate(&self, call: PermittedCall, identity: ExecutionIdentity, fence: &dyn Fence) -> Performed {
        let not_started = |detail: String| Performed::NotStarted { detail };
        let terms = call.terms();
        if identity.plan().mutation() != terms.mutation_id() {
            return not_started(format!("the identity was minted for {}", identity.plan().mutation()));
        }
        let prepared = Mutation::of(terms).and_then(|mutation| {
            let method = mutation.method().ok_or_else(|| format!("a sandbox has no verb `{}`", mutation.verb))?;
            let octets = Bytes::from(mutation.to_json().to_canonical());
            if octets.len() > MAX_OCTETS {
                return Err(format!("the request has {} octets; at most {MAX_OCTETS} are taken", octets.len()));
            }
            let request = request(method, &mutation.path(), octets).map_err(|Failure(detail)| detail)?;
            Ok((mutation, request, left(terms.deadline())?))
        });
        let (mutation, request, left) = match prepared {
            Ok(prepared) => prepared,
            Err(detail) => return not_started(detail),
        };
        let deadline = tokio::time::Instant::now() + left + GRACE;
        let connected = timeout(left.min(CONNECT), self.connect(identity, fence)).await;
        let (stream, passage) = match connected {
            Ok(Ok(connected)) => connected,
            Ok(Err(Failure(detail))) => return not_started(detail),
            Err(_) => return not_started("no connection in time".to_owned()),
        };
        let answer = tokio::time::timeout_at(deadline, exchange_http1(stream, request)).await;
        let answer = answer.unwrap_or_else(|_| Err(Failure("no answer until after the deadline".to_owned())));
        judge(&mutation, &passage, answer)
    }

    /// A connection of its own for one execution identity, with the fence armed.
    async fn connect<'a>(
        &self,
        identity: ExecutionIdentity,
        fence: &'a dyn Fence,
    ) -> Result<(impl AsyncRead + AsyncWrite + Unpin + Send + use<'a>, Arc<Passage>), Failure> {
        let config = tls::execution_client_config_for(identity, &self.servers, &[HTTP11])
            .map_err(|error| Failure::of(&error))?;
        let socket = TcpStream::connect(&self.address).await?;
        socket.set_nodelay(true)?;
        let (socket, passage) = FencedIo::new(socket, fence);
        let mut stream = TlsConnector::from(config).connect(tls::server_name(), socket).await?;
        stream.get_mut().0.arm();
        Ok((stream, passage))
    }

    async fn known(&self, terms: &Terms) -> Result<Evidence, Failure> {
        let mutation = Mutation::of(terms).map_err(Failure)?;
        let (status, answer) = self.get(&execution_path(&mutation.id)).await?;
        if status != StatusCode::OK {
            return Err(Failure(format!("an answer with status {status}")));
        }
        let known: Known = read(&answer)?;
        let look_at = || format!("the sandbox's audit log, for the mutation {}", mutation.id);
        let ours = known.request == Some(mutation.digest());
        Ok(match known.state.as_str() {
            "none" if known.now > mutation.deadline => {
                let detail = format!("at {} the sandbox had no such mutation, and takes none any more", known.now);
                Evidence::NotApplied { detail }
            }
            "none" => Evidence::Open { until: mutation.deadline },
            "applied" if ours => {
                Evidence::Applied { version: known.version, detail: "the sandbox applied it".to_owned() }
            }
            "rejected" if ours => {
                let detail = format!("the sandbox rejected it: {}", known.error.as_deref().unwrap_or("for no reason"));
                Evidence::NotApplied { detail }
            }
            _ => Evidence::Indeterminate { look_at: look_at() },
        })
    }
}

impl Target for Sandbox {
    fn kind(&self) -> TargetKind {
        TargetKind::Sandbox
    }

    fn grade(&self, _: &Call) -> Grade {
        Grade::Atomic
    }

    fn form(&self, _: &Call) -> Form {
        Form::X509
    }

    fn read<'a>(&'a self, resource: &'a Resource, fields: &'a BTreeSet<Pointer>) -> BoxFuture<'a, LiveState> {
        Box::pin(async move {
            let Resource::Sandbox(object) = resource else { return LiveState::Unknown };
            self.live_state(object, fields).await.unwrap_or_else(|Failure(detail)| {
                let (object, detail) = (Shown(object_path(object)), Shown(detail));
                log!(LiveStateUnreadable, %object, %detail, "the live state could not be read");
                LiveState::Unknown
            })
        })
    }

    fn perform<'a>(
        &'a self,
        call: PermittedCall,
        identity: ExecutionIdentity,
        fence: &'a dyn Fence,
    ) -> BoxFuture<'a, Performed> {
        Box::pin(self.mutate(call, identity, fence))
    }

    fn evidence<'a>(&'a self, terms: &'a Terms) -> BoxFuture<'a, Evidence> {
        Box::pin(
            async move { self.known(terms).await.unwrap_or_else(|Failure(detail)| Evidence::Unavailable { detail }) },
        )
    }
}

fn request(method: Method, path: &str, octets: Bytes) -> Result<Request<Body>, Failure> {
    let builder = match method {
        // HTTP/2 wants to know the authority; it means nothing here.
        Method::GET => Request::builder().uri(format!("https://sandbox{path}")),
        _ => Request::builder()
            .uri(path)
            .header(HOST, "sandbox")
            .header(CONNECTION, "close")
            .header(CONTENT_TYPE, "application/json"),
    };
    builder.method(method).body(Full::new(octets)).map_err(|error| Failure::of(&error))
}

pub(super) async fn exchange_http2(
    mut sender: http2::SendRequest<Body>,
    request: Request<Body>,
) -> Result<(StatusCode, Json), Failure> {
    complete(sender.send_request(request).await?).await
}

async fn exchange_http1(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    request: Request<Body>,
) -> Result<(StatusCode, Json), Failure> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(async { complete(sender.send_request(request).await?).await });
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        // What the connection ended with, the exchange tells too, or has its answer already.
        _ = &mut connection => exchange.await,
    }
}

/// The whole answer: one that breaks off is none.
async fn complete(response: http::Response<Incoming>) -> Result<(StatusCode, Json), Failure> {
    let status = response.status();
    let octets = Limited::new(response.into_body(), MAX_OCTETS).collect().await;
    let octets = octets.map_err(|error| Failure::of(&*error))?.to_bytes();
    let json = Json::parse(&octets).map_err(|error| Failure::of(&error))?;
    Ok((status, json))
}

fn read<T: serde::de::DeserializeOwned>(answer: &Json) -> Result<T, Failure> {
    decode(answer).map_err(|(pointer, message)| Failure(format!("an answer with `{pointer}`: {message}")))
}

/// What came of the request (I6): what the answer says if there is a complete and credible one, and otherwise only what
/// the socket knows for certain.
fn judge(mutation: &Mutation, passage: &Passage, answer: Result<(StatusCode, Json), Failure>) -> Performed {
    let unknown = |detail: String| Performed::Unknown { detail };
    let (status, answer) = match answer {
        Ok(answer) => answer,
        Err(Failure(detail)) => {
            return match passage.denial() {
                Some(denial) => Performed::Aborted { denial: denial.clone() },
                None if passage.octets() == 0 => Performed::NotStarted { detail },
                None => unknown(detail),
            };
        }
    };
    if status == StatusCode::OK {
        return match read::<Applied>(&answer) {
            Ok(applied) if is_credible(mutation, &applied) => {
                let detail = if applied.repeated { "applied, by an earlier request" } else { "applied" };
                Performed::Succeeded { version: Some(applied.version), detail: detail.to_owned() }
            }
            Ok(applied) => unknown(format!(
                "an answer that cannot be: {} at version {} of `{}`",
                applied.mutation_id, applied.version, applied.uid
            )),
            Err(Failure(detail)) => unknown(detail),
        };
    }
    let Some(refusal) = Refusal::read(status, &answer) else {
        return unknown(format!("an answer with status {status} that says nothing"));
    };
    let reason = match refusal.code {
        Code::Precondition => Rejection::Precondition,
        Code::Forbidden => Rejection::Forbidden,
        Code::TooLate => Rejection::TooLate,
        Code::Malformed | Code::Invalid | Code::NotFound | Code::TooLarge => Rejection::Invalid,
        Code::Absent | Code::MutationReused | Code::Internal => {
            return unknown(format!("{}: {}", refusal.code.as_str(), refusal.detail));
        }
    };
    Performed::Rejected { reason, detail: refusal.detail, drift: refusal.drift }
}

/// Whether the answer can be that of this mutation: its id, the object that the baseline names, and a version that
/// follows from the baseline's.
fn is_credible(mutation: &Mutation, applied: &Applied) -> bool {
    let number =
        |version: &Version| version.as_str().parse::<u64>().ok().filter(|_| version.is_of(TargetKind::Sandbox));
    let Some(after) = number(&applied.version) else { return false };
    let follows = match &mutation.baseline {
        Baseline::Absent => mutation.verb == Verb::Create && after == 1,
        Baseline::Exact { identity, version } => {
            applied.uid == *identity && number(version).is_some_and(|before| before.checked_add(1) == Some(after))
        }
        Baseline::Fields { identity, version, .. } => {
            applied.uid == *identity && number(version).is_some_and(|before| before < after)
        }
    };
    applied.mutation_id == mutation.id && follows
}
