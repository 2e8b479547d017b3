//! What every call passes before its handler: access, its turn, its deadline; and what is counted of it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::{Instant, timeout_at};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::{Instrument as _, Span};

use super::access::{self, Caller, Flow, Roles};
use super::status::{self, Cause};
use crate::clock;
use crate::config::server::GrpcLimits;
use crate::fair::{Bounds, Turn, Turns};
use crate::telemetry::{CallLabels, GrpcMetrics, Health, TraceParent, call_span, log};
use crate::tls::Peer;

/// How much sooner than the client a server gives up, so that the client still hears of it.
const MARGIN: Duration = Duration::from_millis(2);

/// The gate: a layer around all services of a server.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    roles: Roles,
    requests: Turns,
    streams: Turns,
    default_deadline: Duration,
    max_deadline: Duration,
    health: Health,
    metrics: GrpcMetrics,
}

impl Gate {
    /// A gate that lets in whom `roles` name, within `limits`, until `health` says that the process drains.
    pub fn new(roles: Roles, limits: &GrpcLimits, health: Health, metrics: GrpcMetrics) -> Self {
        let requests = Turns::new(Bounds {
            running: limits.requests,
            running_per_peer: limits.requests_per_peer,
            queue: limits.queue,
            queue_per_peer: limits.queue_per_peer,
        });
        let streams = Turns::new(Bounds {
            running: limits.streams,
            running_per_peer: limits.streams_per_peer,
            // Nobody knows when a stream ends: waiting for it is no use.
            queue: 0,
            queue_per_peer: 1,
        });
        let (default_deadline, max_deadline) = (limits.default_deadline, limits.max_deadline);
        Self(Arc::new(Inner { roles, requests, streams, default_deadline, max_deadline, health, metrics }))
    }
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { gate: self.clone(), inner }
    }
}

/// A service behind the gate.
#[derive(Debug, Clone)]
pub struct Gated<S> {
    gate: Gate,
    inner: S,
}

type Answering<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

impl<S> Service<Request<Body>> for Gated<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answering<S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // The one that is ready is used; its clone takes its place.
        let clone = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, clone);
        let gate = Arc::clone(&self.gate.0);
        let started = clock::instant();
        let peer = request.extensions().get::<Peer>().cloned();
        let trace = traceparent(request.headers());
        let method = access::method(request.uri().path()).map_or("other", |method| method.path);
        let span = tracing::info_span!(
            "call",
            method,
            peer = peer.as_ref().map(|peer| tracing::field::display(peer.id())),
            trace = trace.map(|trace| trace.trace_id()),
        );
        let exported = call_span(method, peer.as_ref().map(Peer::id), trace);
        if let Some(trace) = trace {
            request.extensions_mut().insert(trace);
        }
        let answering = async move {
            let answer = match gate.pass(peer, request, inner).await {
                Ok(answer) => {
                    let answer = answer?;
                    match status::adopt(answer.headers()) {
                        Some(status) => refuse(status),
                        None => answer,
                    }
                }
                Err(status) => refuse(*status),
            };
            gate.count(method, &answer, started);
            Ok(answer)
        };
        Box::pin(answering.instrument(exported).instrument(span))
    }
}

impl Inner {
    /// The handler's answer, or why it was not asked or did not answer in time.
    async fn pass<S>(
        &self,
        peer: Option<Peer>,
        mut request: Request<Body>,
        mut inner: S,
    ) -> Result<Result<Response<Body>, S::Error>, Box<Status>>
    where
        S: Service<Request<Body>, Response = Response<Body>>,
    {
        let path = request.uri().path().to_owned();
        let (caller, method) = access::admit(&self.roles, peer.as_ref(), &path)
            .map_err(|cause| Box::new(cause.status(cause.meaning())))?;
        if self.health.is_draining() && !path.starts_with("/grpc.health.v1.Health/") {
            return Err(refusal(Cause::Draining));
        }
        let asked = grpc_timeout(request.headers())?.map(|asked| asked.min(self.max_deadline));
        let id = caller.peer.id().clone();
        request.extensions_mut().insert::<Caller>(caller);
        let deadline = |limit: Duration| clock::instant().checked_add(limit.saturating_sub(MARGIN));
        match method.flow {
            Flow::Unary => {
                let Some(end) = deadline(asked.unwrap_or(self.default_deadline)) else {
                    return Err(refusal(Cause::DeadlineExceeded));
                };
                let answer = async {
                    let waiting = Counted::new(&self.metrics.waiting);
                    let turn = self.requests.take(&id).await?;
                    drop(waiting);
                    let _running = Counted::new(&self.metrics.running);
                    let answer = inner.call(request).await;
                    drop(turn);
                    Ok(answer)
                };
                timeout_at(end, answer).await.unwrap_or(Err(Cause::DeadlineExceeded)).map_err(refusal)
            }
            Flow::Stream => {
                let turn = self.streams.take(&id).await.map_err(|none| refusal(none.into()))?;
                let health = self.health.clone();
                let end = asked.and_then(deadline);
                let over = async move {
                    tokio::select! {
                        () = health.drained() => Cause::Draining,
                        () = async { match end {
                            Some(end) => tokio::time::sleep_until(end).await,
                            None => std::future::pending().await,
                        } } => Cause::DeadlineExceeded,
                    }
                };
                let open = Counted::new(&self.metrics.streams);
                let answer = inner.call(request).await;
                Ok(answer.map(|answer| {
                    answer.map(|body| Body::new(Guarded { body, over: Some(Box::pin(over)), _turn: turn, _open: open }))
                }))
            }
        }
    }

    fn count(&self, method: &'static str, answer: &Response<Body>, started: Instant) {
        let code = answer.headers().get("grpc-status").map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()));
        self.metrics.calls.get_or_create(&CallLabels { method, code: code_name(code) }).inc();
        self.metrics.seconds.observe(started.elapsed().as_secs_f64());
        Span::current().record("code", code_name(code));
        log!(CallAnswered, code = code_name(code), "answered");
    }
}

fn refusal(cause: Cause) -> Box<Status> {
    Box::new(cause.status(cause.meaning()))
}

fn refuse(status: Status) -> Response<Body> {
    status.into_http()
}

/// Counts itself as long as it lives.
struct Counted(Gauge);

impl Counted {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The body of a stream of answers: it holds its turn until it ends, and ends when it has to.
struct Guarded {
    body: Body,
    over: Option<Pin<Box<dyn Future<Output = Cause> + Send>>>,
    _turn: Turn,
    _open: Counted,
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(over) = self.over.as_mut() else { return Poll::Ready(None) };
        if let Poll::Ready(cause) = over.as_mut().poll(context) {
            self.over = None;
            let mut trailers = HeaderMap::new();
            let status = cause.status(cause.meaning());
            return Poll::Ready(Some(match status.add_header(&mut trailers) {
                Ok(()) => Ok(Frame::trailers(trailers)),
                Err(status) => Err(status),
            }));
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.over.is_none() || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// The `traceparent`, where it is one: a malformed one starts no trace and is no error (W3C Trace Context section 4.3).
fn traceparent(headers: &HeaderMap) -> Option<TraceParent> {
    let mut values = headers.get_all(TraceParent::FIELD).iter();
    let only = values.next().filter(|_| values.next().is_none())?;
    only.to_str().ok()?.parse().ok()
}

/// The `grpc-timeout`: at most eight digits and a unit.
fn grpc_timeout(headers: &HeaderMap) -> Result<Option<Duration>, Box<Status>> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(|text| {
        let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let plain = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        let count: u64 = digits.parse().ok().filter(|_| plain)?;
        Some(match unit {
            "H" => Duration::from_secs(count.checked_mul(3600)?),
            "M" => Duration::from_secs(count.checked_mul(60)?),
            "S" => Duration::from_secs(count),
            "m" => Duration::from_millis(count),
            "u" => Duration::from_micros(count),
            "n" => Duration::from_nanos(count),
            _ => return None,
        })
    });
    match parsed {
        Some(timeout) => Ok(Some(timeout)),
        None => Err(Box::new(Cause::InvalidRequest.status("`grpc-timeout` is not at most eight digits and a unit"))),
    }
}

/// The name of a code in metrics and output.
pub const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "cancelled",
        Code::Unknown => "unknown",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}
