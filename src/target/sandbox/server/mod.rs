//! The sandbox's API.
//!
//! What must be true:
//!
//! - Nothing is changed but by an identity of [`Issued::ExecutionCa`](crate::tls::Issued) whose mutation is that of the
//!   request, and everything else that is asked for without being allowed is refused with status 403 and a line in the
//!   audit log. An empty list of readers lets nobody read.
//! - Baseline, change and audit line are one step; nobody is answered before the line is durable.
//! - A mutation id has one result for ever, and after the deadline nothing is applied under it.

mod audit;
mod config;
mod fault;
mod route;
mod schema;
mod store;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{Response, StatusCode};
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use spiffe::SpiffeId;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::audit::AuditError;
use self::audit::{Audit, Entry};
pub use self::config::{Config, ConfigError};
use self::fault::Faults;
use self::store::Store;
use super::wire::{Code, Refusal};
use crate::clock;
use crate::contract::{Json, SandboxResource};
use crate::key::fresh_serial;
use crate::telemetry::{Shown, log};
use crate::timestamp::Timestamp;
use crate::tls::{Connection, H2, HTTP11, Incoming, Peer};

/// The protocols that a listener for [`serve`] must offer.
pub const PROTOCOLS: &[&[u8]] = &[H2, HTTP11];

/// How long connections have to finish what they do when the sandbox is to end.
const DRAIN: Duration = Duration::from_secs(5);

/// A sandbox.
#[derive(Debug)]
pub struct Server {
    store: Mutex<Store>,
    audit: Audit,
    readers: BTreeSet<SpiffeId>,
    admins: BTreeSet<SpiffeId>,
    faults: Option<Faults>,
    /// Tells late reads that something was applied.
    applied: Notify,
}

impl Server {
    /// A sandbox with the state of the audit log at `audit`. `readers` may read, `admins` may also make it fail, if
    /// `faults` lets anybody do so.
    ///
    /// # Errors
    /// If the audit log cannot be used.
    pub fn open(
        audit: &Path,
        readers: impl IntoIterator<Item = SpiffeId>,
        admins: impl IntoIterator<Item = SpiffeId>,
        faults: bool,
    ) -> Result<Self, AuditError> {
        let (audit, store) = Audit::open(audit)?;
        Ok(Self {
            store: Mutex::new(store),
            audit,
            readers: readers.into_iter().collect(),
            admins: admins.into_iter().collect(),
            faults: faults.then(Faults::default),
            applied: Notify::new(),
        })
    }

    /// Puts objects into a sandbox that holds nothing yet; a sandbox that was used before stays as it is. Whether they
    /// were put.
    ///
    /// # Errors
    /// The first object that is not valid; the ones before it are there then.
    pub async fn seed(&self, objects: &[(SandboxResource, Json)], by: &Peer) -> Result<bool, String> {
        if !self.store().is_empty() {
            return Ok(false);
        }
        for (name, value) in objects {
            self.outside(by, name, value).await.map_err(|refusal| format!("{}: {}", display(name), refusal.detail))?;
        }
        Ok(true)
    }

    /// Changes an object as nobody may who comes from outside, so that the world drifts.
    async fn outside(&self, peer: &Peer, name: &SandboxResource, patch: &Json) -> Result<(), Refusal> {
        let place = self.audit.place().await.ok_or_else(broken)?;
        let now = now()?;
        let uid = fresh_uid()?;
        let written = {
            let mut store = self.store();
            let change = store.outside(name, patch, || uid)?;
            store.put(name, &change);
            place.append(&Entry::new(peer, now, "outside", &display(name), "outside").with_change(&change))
        };
        written.await.map_err(|_| broken())
    }

    /// Writes a refusal down.
    async fn refuse(&self, peer: &Peer, verb: &str, resource: &str, refusal: &Refusal) -> Result<(), Refusal> {
        let place = self.audit.place().await.ok_or_else(broken)?;
        let entry = Entry::new(peer, now()?, verb, resource, "refused").with_refusal(refusal);
        place.append(&entry).await.map_err(|_| broken())
    }

    /// Never held across an await. A panic of another holder does not happen, and would leave whole values behind.
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves the connections that come, until `shutdown` is cancelled; then finishes what was begun.
pub async fn serve(server: Arc<Server>, mut incoming: Incoming, shutdown: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        let connection = tokio::select! {
            () = shutdown.cancelled() => break,
            connection = incoming.next() => connection,
        };
        let Some(connection) = connection else { break };
        connections.spawn(serve_connection(Arc::clone(&server), connection, shutdown.clone()));
    }
    drop(incoming);
    connections.close();
    if tokio::time::timeout(DRAIN, connections.wait()).await.is_err() {
        log!(ConnectionsCut, connections = connections.len(), "connections did not finish in time");
    }
}

async fn serve_connection(server: Arc<Server>, connection: Connection, shutdown: CancellationToken) {
    let peer = Arc::new(connection.peer().clone());
    let is_http2 = connection.protocol() == Some(H2);
    let service = service_fn(move |request| route::answer(Arc::clone(&server), Arc::clone(&peer), request));
    let io = TokioIo::new(connection);
    let served = if is_http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).max_concurrent_streams(256).keep_alive_interval(Duration::from_secs(30));
        let mut connection = std::pin::pin!(builder.serve_connection(io, service));
        tokio::select! {
            served = connection.as_mut() => served,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    } else {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(10)).max_buf_size(128 * 1024);
        let mut connection = std::pin::pin!(builder.serve_connection(io, service));
        tokio::select! {
            served = connection.as_mut() => served,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    if let Err(error) = served {
        log!(ConnectionBroken, error = %Shown(error), "a connection broke off");
    }
}

/// The connection is dropped without an answer: a fault that was asked for.
#[derive(Debug, thiserror::Error)]
#[error("dropped on demand")]
struct Dropped;

/// The body of an answer: complete, or breaking off.
#[derive(Debug)]
struct Octets {
    octets: Option<Bytes>,
    breaks_off: bool,
}

impl Body for Octets {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(match self.octets.take() {
            Some(octets) => Some(Ok(Frame::data(octets))),
            None if self.breaks_off => Some(Err(io::Error::other(Dropped))),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.octets.is_none() && !self.breaks_off
    }

    fn size_hint(&self) -> SizeHint {
        match &self.octets {
            Some(octets) if !self.breaks_off => SizeHint::with_exact(u64::try_from(octets.len()).unwrap_or(u64::MAX)),
            _ => SizeHint::default(),
        }
    }
}

fn respond(status: StatusCode, json: &Json) -> Response<Octets> {
    let octets = Bytes::from(json.to_canonical());
    let mut response = Response::new(Octets { octets: Some(octets), breaks_off: false });
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

/// The same answer, of which only the first half is sent.
fn half(response: Response<Octets>) -> Response<Octets> {
    let (mut parts, body) = response.into_parts();
    let octets = body.octets.unwrap_or_default();
    parts.headers.insert(CONTENT_LENGTH, octets.len().into());
    let first = octets.slice(..octets.len() / 2);
    Response::from_parts(parts, Octets { octets: Some(first), breaks_off: true })
}

fn now() -> Result<Timestamp, Refusal> {
    clock::now().map_err(|error| Refusal::new(Code::Internal, error.to_string()))
}

/// A name that no object had before.
fn fresh_uid() -> Result<String, Refusal> {
    let octets = fresh_serial().map_err(|error| Refusal::new(Code::Internal, error.to_string()))?;
    Ok(octets.iter().map(|octet| format!("{octet:02x}")).collect())
}

fn broken() -> Refusal {
    Refusal::new(Code::Internal, "the audit log cannot be written")
}

fn display(name: &SandboxResource) -> String {
    format!("{}/{}", name.collection, name.name)
}
