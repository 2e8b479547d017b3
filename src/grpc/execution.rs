//! `seb.v1.ExecutionService`: what agents ask of the broker.
//!
//! An agent sees its own executions; another's is as if it did not exist.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tracing::Span;

use super::access::Caller;
use super::convert;
use super::status::{self, Cause};
use crate::broker::{Answer, Broker, Checked, Presented, Refused};
use crate::clock;
use crate::decision::{MutationId, Peer};
use crate::proto::seb::v1 as wire;
use crate::proto::seb::v1::execution_service_server::{ExecutionService, ExecutionServiceServer};
use crate::reason::{PUBLIC_UNAUTHENTICATED, Reason};
use crate::store::{Execution, Store};
use crate::telemetry::{BrokerMetrics, TraceParent};

/// How long a watched execution may show no change before it is looked at again all the same.
const RECHECK: Duration = Duration::from_secs(5);

/// What performs executions.
///
/// **Cancellation.** A future that is dropped (the caller went away, or its deadline passed) stops nothing that has begun.
///
/// **Idempotence.** The same certificate with the same request gives the first execution's answer.
///
/// **Secrecy.** Answers and refusals hold what the peer may see; of a certificate that is not authentic, the service
/// tells nothing.
pub trait Executor: Send + Sync + 'static {
    /// Performs the mutation that is presented, once, and answers how it ended.
    fn execute(&self, presented: Presented, peer: Peer) -> impl Future<Output = Result<Answer, Refused>> + Send;

    /// Does everything that `execute` does before it consumes the use, and records nothing.
    fn check(&self, presented: Presented, peer: Peer) -> impl Future<Output = Result<Checked, Refused>> + Send;

    /// One execution, as the store has it.
    fn execution(&self, mutation: &MutationId) -> impl Future<Output = Result<Option<Execution>, Refused>> + Send;

    /// An execution with what its records say of it.
    fn answer(&self, execution: Execution) -> impl Future<Output = Result<Answer, Refused>> + Send;

    /// Changes whenever an execution may have changed.
    fn changes(&self) -> watch::Receiver<u64>;
}

impl<S: Store> Executor for Arc<Broker<S>> {
    fn execute(&self, presented: Presented, peer: Peer) -> impl Future<Output = Result<Answer, Refused>> + Send {
        Broker::execute(self, presented, peer)
    }

    fn check(&self, presented: Presented, peer: Peer) -> impl Future<Output = Result<Checked, Refused>> + Send {
        Broker::check(self, presented, peer)
    }

    fn execution(&self, mutation: &MutationId) -> impl Future<Output = Result<Option<Execution>, Refused>> + Send {
        Broker::execution(self, mutation)
    }

    fn answer(&self, execution: Execution) -> impl Future<Output = Result<Answer, Refused>> + Send {
        Broker::answer(self, execution)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.store().subscribe()
    }
}

/// The service, over what performs.
#[derive(Debug)]
pub struct Service<E> {
    executor: Arc<E>,
    metrics: BrokerMetrics,
}

impl<E: Executor> Service<E> {
    /// The service, which reads messages of at most `message_octets`.
    pub fn server(executor: E, metrics: BrokerMetrics, message_octets: usize) -> ExecutionServiceServer<Self> {
        let service = Self { executor: Arc::new(executor), metrics };
        ExecutionServiceServer::new(service).max_decoding_message_size(message_octets)
    }

    /// The execution of this name, if it is the caller's.
    async fn own(&self, request: &Request<wire::GetExecutionRequest>) -> Result<Execution, Status> {
        let caller = Caller::of(request).map_err(|status| *status)?;
        let id = &request.get_ref().mutation_id;
        let absent = || Cause::NotFound.status("there is no such execution of the caller's");
        let mutation: MutationId = id.parse().map_err(|_| absent())?;
        let found = self.executor.execution(&mutation).await.map_err(|refused| refusal(&refused))?;
        found.filter(|execution| execution.agent == *caller.peer.id()).ok_or_else(absent)
    }

    fn count(&self, result: &Result<Answer, Refused>, seconds: f64) {
        note(result);
        let (state, reason) = match result {
            Ok(answer) if answer.repeated => return,
            Ok(answer) => (answer.execution.state.as_str(), ""),
            Err(Refused::Denied { denials, .. }) => {
                ("denied", denials.first().map_or("", |denial| denial.reason.code()))
            }
            Err(_) => ("failed", ""),
        };
        self.metrics.executed(state, reason, seconds);
    }
}

/// Adds to the span of the call what came of it.
fn note(result: &Result<Answer, Refused>) {
    let span = Span::current();
    match result {
        Ok(Answer { execution, reason, .. }) => {
            span.record("mutation", execution.mutation_id.as_str());
            span.record("state", execution.state.as_str());
            span.record("reason", reason.map(Reason::code));
            span.record("record", execution.decision);
        }
        Err(Refused::Denied { denials, record }) => {
            span.record("state", "denied");
            span.record("reason", denials.first().map(|denial| denial.reason.code()));
            span.record("record", *record);
        }
        Err(_) => {
            span.record("state", "failed");
        }
    }
}

/// What a call presents, and who calls.
fn parts<T>(request: &Request<T>) -> Result<(Peer, Option<TraceParent>), Status> {
    let caller = Caller::of(request).map_err(|status| *status)?;
    let peer = Peer { id: caller.peer.id().clone(), key: caller.peer.key() };
    Ok((peer, request.extensions().get::<TraceParent>().copied()))
}

#[tonic::async_trait]
impl<E: Executor> ExecutionService for Service<E> {
    async fn execute(&self, request: Request<wire::ExecuteRequest>) -> Result<Response<wire::ExecuteResponse>, Status> {
        let (peer, trace) = parts(&request)?;
        let presented =
            convert::presented(request.into_inner(), trace).map_err(|invalid| status::invalid(&invalid.0))?;
        let begun = clock::instant();
        let result = self.executor.execute(presented, peer).await;
        self.count(&result, begun.elapsed().as_secs_f64());
        let answer = result.map_err(|refused| refusal(&refused))?;
        Ok(Response::new(wire::ExecuteResponse { execution: Some(convert::wire_answer(&answer)) }))
    }

    async fn check(&self, request: Request<wire::CheckRequest>) -> Result<Response<wire::CheckResponse>, Status> {
        let (peer, trace) = parts(&request)?;
        let message = request.into_inner().request.unwrap_or_default();
        let presented = convert::presented(message, trace).map_err(|mut invalid| {
            invalid.0.iter_mut().for_each(|violation| violation.field.insert_str(0, "request."));
            status::invalid(&invalid.0)
        })?;
        let checked = self.executor.check(presented, peer).await.map_err(|refused| refusal(&refused))?;
        if let Some(hidden) =
            checked.denials.first().filter(|denial| denial.reason.public_code() == PUBLIC_UNAUTHENTICATED)
        {
            return Err(status::denied(std::slice::from_ref(hidden), None));
        }
        Ok(Response::new(convert::wire_checked(&checked)))
    }

    async fn get_execution(
        &self,
        request: Request<wire::GetExecutionRequest>,
    ) -> Result<Response<wire::Execution>, Status> {
        let execution = self.own(&request).await?;
        Ok(Response::new(told(self.executor.as_ref(), execution).await?))
    }

    type WatchExecutionStream = BoxStream<'static, Result<wire::Execution, Status>>;

    async fn watch_execution(
        &self,
        request: Request<wire::GetExecutionRequest>,
    ) -> Result<Response<Self::WatchExecutionStream>, Status> {
        // Subscribed before the first look, so that no change falls in between.
        let changes = self.executor.changes();
        let first = self.own(&request).await?;
        let settled = first.state.is_settled();
        let now = stream::iter([Ok(told(self.executor.as_ref(), first.clone()).await?)]);
        if settled {
            return Ok(Response::new(now.boxed()));
        }
        let watch = Watch { executor: Arc::clone(&self.executor), changes, last: first };
        let later = stream::unfold(Some(watch), |watch| async { watch?.next().await });
        Ok(Response::new(now.chain(later).boxed()))
    }
}

/// One execution that is watched.
struct Watch<E> {
    executor: Arc<E>,
    changes: watch::Receiver<u64>,
    last: Execution,
}

type Watched<E> = (Result<wire::Execution, Status>, Option<Watch<E>>);

impl<E: Executor> Watch<E> {
    /// Waits for a change. Nothing follows a settled state, or an error.
    async fn next(mut self) -> Option<Watched<E>> {
        loop {
            // Changed, or not for long: either way it is looked at again.
            if let Ok(Err(_)) = tokio::time::timeout(RECHECK, self.changes.changed()).await {
                return Some((Err(Cause::Draining.status("the log is closed")), None));
            }
            let found = match self.executor.execution(&self.last.mutation_id).await {
                Ok(found) => found,
                Err(refused) => return Some((Err(refusal(&refused)), None)),
            };
            let Some(execution) = found else {
                return Some((Err(Cause::NotFound.status("the execution is gone")), None));
            };
            if execution != self.last {
                let settled = execution.state.is_settled();
                self.last = execution.clone();
                return Some(match told(self.executor.as_ref(), execution).await {
                    Ok(message) => (Ok(message), (!settled).then_some(self)),
                    Err(status) => (Err(status), None),
                });
            }
        }
    }
}

/// What a caller is told of an execution.
async fn told<E: Executor>(executor: &E, execution: Execution) -> Result<wire::Execution, Status> {
    let answer = executor.answer(execution).await.map_err(|refused| refusal(&refused))?;
    Ok(convert::wire_answer(&answer))
}

/// What a caller is told of a refusal.
fn refusal(refused: &Refused) -> Status {
    match refused {
        Refused::Denied { denials, record } => status::denied(denials, *record),
        Refused::Busy(_) => Cause::ServerBusy.status("the broker runs as many executions as it may"),
        Refused::TargetBusy(busy) => Cause::TargetBusy.status(busy.to_string()),
        Refused::Store(error) => status::unavailable("the broker's store failed", error.as_ref()),
        Refused::Identity(error) => status::unavailable("no execution identity can be minted", error.as_ref()),
        Refused::Internal(_) => status::internal(refused),
    }
}
