//! Connections to an API server: warm ones, each for one request at a time, with the fence in their writes.
//!
//! - A request goes out on a connection that nobody else has, and comes back to the pool only after a complete answer.
//! - Between requests a connection's gate is shut: not one octet leaves. For a mutation the gate is opened inside
//!   [`Fence::pass`] and nowhere else, for the one step in which the request is written to the socket (I2).
//! - No request is sent twice. A connection that turns out to be dead before the first octet was written is replaced;
//!   after it, what came of the request is not known.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Failure;
use super::endpoint::Endpoint;
use crate::clock;
use crate::reason::Denial;
use crate::target::Fence;

/// The most octets of an answer.
const MAX_ANSWER: usize = 8 * 1024 * 1024;

/// The most connections that wait for a request.
const MAX_IDLE: usize = 64;

/// How long one waits at most: less than the 90 s after which API servers close it.
const MAX_WAIT: Duration = Duration::from_secs(45);

type Body = Full<Bytes>;

/// What lets octets out to a socket.
#[derive(Debug, Default)]
struct Gate {
    open: AtomicBool,
    octets: AtomicU64,
}

impl Gate {
    fn set(&self, open: bool) {
        self.open.store(open, Ordering::Release);
    }

    fn octets(&self) -> u64 {
        self.octets.load(Ordering::Acquire)
    }
}

/// A socket under TLS whose writes wait while its gate is shut. Nobody is woken when it opens: who opens it polls.
struct Gated {
    socket: TcpStream,
    gate: Arc<Gate>,
}

impl Gated {
    fn write(&mut self, write: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if !self.gate.open.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        let written = write(Pin::new(&mut self.socket));
        if let Poll::Ready(Ok(octets)) = written {
            self.gate.octets.fetch_add(u64::try_from(octets).unwrap_or(u64::MAX), Ordering::AcqRel);
        }
        written
    }
}

impl AsyncRead for Gated {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, into)
    }
}

impl AsyncWrite for Gated {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.write(|socket| socket.poll_write(context, octets))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(|socket| socket.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

/// One connection, which belongs to whoever holds it. It makes progress only while it is polled.
struct Connection {
    sender: http1::SendRequest<Body>,
    driver: http1::Connection<TokioIo<TlsStream<Gated>>, Body>,
    gate: Arc<Gate>,
    generation: u64,
    idle_since: Instant,
}

/// An answer of an API server: all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// What came of a request that was to be sent once.
#[derive(Debug)]
pub(super) enum Sent {
    /// A complete answer came.
    Answered(Answer),
    /// Nothing of it was written: the fence denied.
    Denied(Denial),
    /// Nothing of it was written.
    NotWritten(Failure),
    /// Something of it was written, and no complete answer came.
    Lost(Failure),
}

/// The connections to one API server under one client configuration.
#[derive(Debug)]
pub(super) struct Pool {
    endpoint: Endpoint,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    pub(super) const fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, idle: Mutex::new(Vec::new()) }
    }

    pub(super) const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends `request` once, through the fence where there is one, and waits until `deadline` at most.
    pub(super) async fn send(&self, request: Request<Body>, fence: Option<&dyn Fence>, deadline: Instant) -> Sent {
        let connection = match timeout_at(deadline, self.connection()).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(failure)) => return Sent::NotWritten(failure),
            Err(_) => return Sent::NotWritten(Failure("no connection in time".to_owned())),
        };
        let gate = Arc::clone(&connection.gate);
        match timeout_at(deadline, connection.exchange(request, fence)).await {
            Ok((sent, reusable)) => {
                self.put_back(reusable);
                sent
            }
            Err(_) if gate.octets() == 0 => {
                Sent::NotWritten(Failure("the request could not be written in time".to_owned()))
            }
            Err(_) => Sent::Lost(Failure("no answer in time".to_owned())),
        }
    }

    /// A warm connection that is alive, or a new one.
    async fn connection(&self) -> Result<Connection, Failure> {
        let generation = self.endpoint.refresh().await?;
        loop {
            let Some(mut connection) = self.idle().pop() else { break };
            if connection.is_fresh(generation) && connection.is_alive() {
                return Ok(connection);
            }
        }
        Connection::open(&self.endpoint).await
    }

    fn put_back(&self, connection: Option<Connection>) {
        let mut idle = self.idle();
        if let Some(connection) = connection
            && idle.len() < MAX_IDLE
        {
            idle.push(connection);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    async fn open(endpoint: &Endpoint) -> Result<Self, Failure> {
        let (config, generation) = endpoint.tls()?;
        let socket = TcpStream::connect(endpoint.address()).await?;
        socket.set_nodelay(true)?;
        let gate = Arc::new(Gate::default());
        gate.set(true);
        let socket = Gated { socket, gate: Arc::clone(&gate) };
        let stream = TlsConnector::from(config).connect(endpoint.server_name(), socket).await?;
        gate.set(false);
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Self { sender, driver, gate, generation, idle_since: clock::instant() })
    }

    fn is_fresh(&self, generation: u64) -> bool {
        self.generation == generation && clock::instant().duration_since(self.idle_since) < MAX_WAIT
    }

    /// Whether the other side has left it open, and it is ready for a request. Nothing is written.
    fn is_alive(&mut self) -> bool {
        let mut context = Context::from_waker(std::task::Waker::noop());
        let driven = Pin::new(&mut self.driver).poll(&mut context);
        driven.is_pending() && self.sender.is_ready()
    }

    /// Sends the request, and gives itself back if another one may follow.
    async fn exchange(mut self, request: Request<Body>, fence: Option<&dyn Fence>) -> (Sent, Option<Self>) {
        self.gate.octets.store(0, Ordering::Release);
        self.gate.set(fence.is_none());
        let Self { sender, driver, gate, .. } = &mut self;
        let sent = {
            let mut answer = std::pin::pin!(async { complete(sender.send_request(request).await?).await });
            let mut driven = false;
            std::future::poll_fn(|context| {
                if let Poll::Ready(answer) = answer.as_mut().poll(context) {
                    return Poll::Ready(Ok(answer));
                }
                if driven {
                    return Poll::Ready(Ok(Err(Failure("the connection ended".to_owned()))));
                }
                driven = match drive(driver, gate, fence, context) {
                    Ok(driven) => driven.is_ready(),
                    Err(denial) => return Poll::Ready(Err(denial)),
                };
                // What the driver has just done may be all that the answer waits for.
                match answer.as_mut().poll(context) {
                    Poll::Ready(answer) => Poll::Ready(Ok(answer)),
                    Poll::Pending if driven => Poll::Ready(Ok(Err(Failure("the connection ended".to_owned())))),
                    Poll::Pending => Poll::Pending,
                }
            })
            .await
        };
        match sent {
            Err(denial) => (Sent::Denied(denial), None),
            Ok(Ok(answer)) => {
                self.gate.set(false);
                self.idle_since = clock::instant();
                let reusable = self.is_alive().then_some(self);
                (Sent::Answered(answer), reusable)
            }
            Ok(Err(failure)) if self.gate.octets() == 0 => (Sent::NotWritten(failure), None),
            Ok(Err(failure)) => (Sent::Lost(failure), None),
        }
    }
}

/// Lets the connection make progress. Until the first octet of a fenced request is written, it does so inside the fence.
fn drive(
    driver: &mut http1::Connection<TokioIo<TlsStream<Gated>>, Body>,
    gate: &Gate,
    fence: Option<&dyn Fence>,
    context: &mut Context<'_>,
) -> Result<Poll<()>, Denial> {
    let mut poll = |context: &mut Context<'_>| Pin::new(&mut *driver).poll(context).map(drop);
    let Some(fence) = fence.filter(|_| gate.octets() == 0) else { return Ok(poll(context)) };
    let mut driven = Poll::Pending;
    fence.pass(&mut || {
        gate.set(true);
        driven = poll(context);
        gate.set(gate.octets() > 0);
    })?;
    Ok(driven)
}

/// The whole answer: one that breaks off is none.
async fn complete(response: http::Response<Incoming>) -> Result<Answer, Failure> {
    let status = response.status();
    let octets = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    let body = octets.map_err(|error| Failure::of(&*error))?.to_bytes();
    Ok(Answer { status, body })
}

/// Shows nothing of what goes over it.
impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("gate", &self.gate).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
