//! The driver: one certified call, by a session that can make no other.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;
use spiffe::SpiffeId;
use tokio::time::Instant;

use super::client::Client;
use super::cloud_control::Asked;
use super::evidence;
use super::exchange::{Exchange, Own};
use super::observe::{self, Seen};
use super::quota::Quota;
use super::request::answer::{Answer, Refusal, RefusalKind};
use super::request::bind::Condition;
use super::request::{Operation, Reach, Request};
use super::tokens::Mark;
use super::wire::Sent;
use crate::clock;
use crate::contract::{AwsOperation, AwsResource, Baseline, Call, CallBody, Json, Pointer, Resource, TargetKind, Verb};
use crate::decision::{Found, LiveState, MutationId, PermittedCall, Terms, drift};
use crate::digest::Digest;
use crate::identity::{ExecutionIdentity, Form};
use crate::target::failure::{Failure, left, now};
use crate::target::{Admitted, Busy, Evidence, Fence, Grade, Performed, Rejection, Target};
use crate::telemetry::{Shown, log};

/// How long after the deadline an answer is still waited for: what AWS authorized in time it may still answer.
const GRACE: Duration = Duration::from_secs(2);

/// The longest that reading may take, a session included.
pub(super) const READ: Duration = Duration::from_secs(10);

/// An AWS account, as the broker drives it and the authority reads it.
pub struct Aws {
    reach: Reach,
    client: Client,
    reader: Own,
    performing: Option<Performing>,
}

/// What only a broker has.
struct Performing {
    exchange: Exchange,
    quota: Option<Quota>,
}

/// A call with everything that the broker writes into it.
pub(super) struct Bound<'c> {
    pub(super) operation: Operation,
    pub(super) resource: &'c AwsResource,
    pub(super) input: Json,
    grade: Grade,
}

impl<'c> Bound<'c> {
    pub(super) fn of(call: &'c Call, mutation: &MutationId) -> Result<Self, String> {
        let (Verb::Aws(name), Resource::Aws(resource)) = (call.verb(), call.resource()) else {
            return Err(format!("`{}` is no operation of AWS", call.verb()));
        };
        let operation = Operation::mutation(name).map_err(|error| error.to_string())?;
        let detached;
        let body = match call.body() {
            CallBody::None => None,
            CallBody::Inline(body) => Some(body),
            CallBody::Detached { octets, .. } => {
                detached = Json::parse(octets).map_err(|error| format!("the body is not JSON: {error}"))?;
                Some(&detached)
            }
        };
        let bound = operation.input(body, resource, call.baseline(), mutation);
        let (input, grade) = bound.map_err(|error| error.to_string())?;
        Ok(Self { operation, resource, input, grade })
    }

    fn request(&self, reach: &Reach) -> Result<Request, String> {
        self.operation.request(&self.resource.region, reach, &self.input).map_err(|error| error.to_string())
    }
}

impl Aws {
    /// The account that `client` reaches, in which `reader` can read and mutations are made by `exchange`, `quota` of which
    /// are begun in a second at most. It connects when it is first asked for something.
    pub fn new(client: Client, reach: Reach, reader: Own, exchange: Exchange, quota: Option<Quota>) -> Self {
        Self { performing: Some(Performing { exchange, quota }), ..Self::reader(client, reach, reader) }
    }

    /// The account, for reading alone: what is performed by it is not started.
    pub const fn reader(client: Client, reach: Reach, reader: Own) -> Self {
        Self { client, reach, reader, performing: None }
    }

    async fn mutate(&self, call: PermittedCall, identity: ExecutionIdentity, fence: &dyn Fence) -> Performed {
        let not_started = |detail: String| Performed::NotStarted { detail };
        let terms = call.terms();
        if identity.plan().mutation() != terms.mutation_id() {
            return not_started(format!("the identity was minted for {}", identity.plan().mutation()));
        }
        let Some(performing) = &self.performing else {
            return not_started("this process only reads the account".to_owned());
        };
        let prepared = Bound::of(terms.call(), terms.mutation_id())
            .and_then(|bound| Ok((bound.request(&self.reach)?, bound, left(terms.deadline())?)));
        let (request, Bound { operation, resource, input, .. }, left) = match prepared {
            Ok(prepared) => prepared,
            Err(detail) => return not_started(detail),
        };
        let end = clock::instant() + left;
        let (session, open) = tokio::join!(
            performing.exchange.session(identity, resource, end),
            self.client.wire().open(&request.origin, fence, end),
        );
        let (session, open) = match (session, open) {
            (Ok(session), Ok(open)) => (session, open),
            (Err(error), _) => return not_started(Failure::of(&error).0),
            (Ok(_), Err(detail)) => return not_started(detail),
        };
        let signed = clock::now()
            .map_err(|error| error.to_string())
            .and_then(|now| request.signed(&session.credentials, now).map_err(|error| error.to_string()));
        let signed = match signed {
            Ok(signed) => signed,
            Err(detail) => return not_started(detail),
        };
        let sent = open.send(signed, end + GRACE).await;
        // Used once, and gone.
        drop(session);
        match sent {
            Sent::Denied(denial) => Performed::Aborted { denial },
            Sent::NotWritten(detail) => not_started(detail),
            Sent::Lost(detail) => Performed::Unknown { detail },
            Sent::Answered(answer) => {
                let answer = operation.answer(answer.status, &answer.headers, &answer.body);
                let binding = &bound_by(performing.exchange.binding(), resource);
                match (Asked::of(&operation, &input), answer) {
                    (Some(asked), Answer::Accepted { output, .. }) => {
                        self.follow(&resource.region, &asked, &output, end, binding).await
                    }
                    (_, answer) => self.compared(terms, resource, meaning(terms, &operation, answer, binding)).await,
                }
            }
        }
    }

    /// What came of the call; of a precondition that did not hold, with how the resource differs from what was certified,
    /// if it does: the condition may have been the caller's own.
    async fn compared(&self, terms: &Terms, resource: &AwsResource, performed: Performed) -> Performed {
        let Performed::Rejected { reason: Rejection::Precondition, detail, .. } = performed else { return performed };
        let baseline = terms.call().baseline();
        let drift = match tokio::time::timeout(GRACE, self.observed(resource, &baseline.pointers())).await {
            Ok(Ok(LiveState::Absent { .. })) => drift(baseline, None),
            Ok(Ok(LiveState::Present { identity, version, fields, .. })) => {
                drift(baseline, Some(Found { identity: &identity, version: &version, fields: &fields }))
            }
            _ => None,
        };
        Performed::Rejected { reason: Rejection::Precondition, detail, drift }
    }

    async fn observed(&self, resource: &AwsResource, fields: &BTreeSet<Pointer>) -> Result<LiveState, Failure> {
        let observed_at = now()?;
        Ok(match self.seen(resource).await? {
            None => LiveState::Absent { observed_at },
            Some(seen) => {
                let fields = fields.iter().map(|pointer| (pointer.clone(), pointer.resolve(&seen.answer).cloned()));
                let fields = fields.collect();
                LiveState::Present { identity: seen.identity, version: seen.version, fields, observed_at }
            }
        })
    }

    /// The state of the resource; none where it does not exist.
    async fn seen(&self, resource: &AwsResource) -> Result<Option<Seen>, Failure> {
        let read = resource.read.as_ref();
        let read = read.ok_or_else(|| Failure("the contract does not say how the state is read".to_owned()))?;
        let end = clock::instant() + READ;
        let answer = self.ask(&resource.region, &read.operation, &read.input, end).await?;
        observe::seen(resource, read, answer)
    }

    /// That the mutation took effect, where AWS shows its client token.
    async fn marked(&self, bound: &Bound<'_>, terms: &Terms) -> Result<Option<Evidence>, Failure> {
        let Bound { operation, resource, input, .. } = bound;
        let Some(mark) = Mark::of(operation, input, terms.mutation_id()) else { return Ok(None) };
        let read = mark.read.parse().map_err(|_| Failure(format!("`{}` is no name", mark.read)))?;
        let answer = self.ask(&resource.region, &read, &mark.input, clock::instant() + READ).await?;
        match answer {
            Answer::Accepted { output, .. } => {
                Ok(mark.seen(&output).map(|detail| Evidence::Applied { version: None, detail }))
            }
            // Without leave to look, and where there is nothing, it is as if AWS showed none. A session that has run out is
            // something else.
            Answer::Refused(Refusal {
                kind: RefusalKind::NotFound | RefusalKind::Invalid | RefusalKind::Denied,
                ..
            }) => Ok(None),
            Answer::Refused(Refusal { code, message, .. }) => Err(Failure(format!("{code}: {message}"))),
            Answer::Failed { detail } | Answer::NotCredible { detail } => Err(Failure(detail)),
        }
    }

    /// What an operation answers that only reads, asked by this process's own session.
    pub(super) async fn ask(
        &self,
        region: &str,
        operation: &AwsOperation,
        input: &Json,
        end: Instant,
    ) -> Result<Answer, Failure> {
        let operation = Operation::read(operation).map_err(|error| Failure::of(&error))?;
        let request = operation.request(region, &self.reach, input);
        let request = request.map_err(|error| Failure::of(&error))?;
        let (session, open) =
            tokio::join!(self.reader.session(end), self.client.wire().open(&request.origin, &observe::Unfenced, end));
        let (session, open) = (session.map_err(|error| Failure::of(&error))?, open.map_err(Failure)?);
        let signed = request.signed(&session.credentials, now()?).map_err(|error| Failure::of(&error))?;
        match open.send(signed, end).await {
            Sent::Answered(answer) => Ok(operation.answer(answer.status, &answer.headers, &answer.body)),
            Sent::Denied(denial) => Err(Failure(denial.to_string())),
            Sent::NotWritten(detail) | Sent::Lost(detail) => Err(Failure(detail)),
        }
    }
}

/// What the session is bound to and what not, for the record.
fn bound_by(binding: &str, resource: &AwsResource) -> String {
    match resource.made().collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => binding.to_owned(),
        made => {
            format!("{binding}; AWS chooses which resource it is, so that the session is not bound to one of {made}")
        }
    }
}

/// What an answer says of the mutation (I6).
fn meaning(terms: &Terms, operation: &Operation, answer: Answer, binding: &str) -> Performed {
    let of = |id: Option<String>| id.map(|id| format!("request {id}")).unwrap_or_else(|| "no request id".to_owned());
    match answer {
        Answer::Accepted { request_id, output } => {
            let version = match operation.condition() {
                Some(Condition::Version { shown: (_, place), .. }) => output.pointer(place).and_then(Value::as_str),
                Some(Condition::Expression | Condition::Creates) | None => None,
            };
            let version = version.and_then(|version| version.parse().ok());
            Performed::Succeeded { version, detail: format!("AWS did it, {} ({binding})", of(request_id)) }
        }
        Answer::Refused(refusal) => {
            let reason = rejection(terms, refusal.kind);
            let Refusal { code, message, request_id, .. } = refusal;
            let detail = format!("{code}: {message} ({})", of(request_id));
            Performed::Rejected { reason, detail, drift: None }
        }
        Answer::Failed { detail } | Answer::NotCredible { detail } => Performed::Unknown { detail },
    }
}

fn rejection(terms: &Terms, kind: RefusalKind) -> Rejection {
    let absent = matches!(terms.call().baseline(), Baseline::Absent);
    match kind {
        RefusalKind::Throttled => Rejection::Busy,
        // The session policy denies everything from then on.
        RefusalKind::Denied | RefusalKind::Unauthenticated if now().is_ok_and(|now| now > terms.deadline()) => {
            Rejection::TooLate
        }
        RefusalKind::Denied | RefusalKind::Unauthenticated => Rejection::Forbidden,
        RefusalKind::Precondition => Rejection::Precondition,
        RefusalKind::Conflict if absent => Rejection::Precondition,
        RefusalKind::Conflict => Rejection::Busy,
        RefusalKind::NotFound if !absent => Rejection::Precondition,
        RefusalKind::NotFound | RefusalKind::Invalid => Rejection::Invalid,
    }
}

impl Target for Aws {
    fn kind(&self) -> TargetKind {
        TargetKind::Aws
    }

    fn grade(&self, call: &Call) -> Grade {
        // The grade is the same for every mutation.
        let any = MutationId::derive(&Digest::of(b""), call.step(), 0);
        match Bound::of(call, &any) {
            // What cannot be sent holds nothing.
            Ok(Bound { operation, resource, grade, .. }) if operation.is_in(&resource.region, &self.reach) => grade,
            _ => Grade::Bounded,
        }
    }

    fn form(&self, _: &Call) -> Form {
        self.performing.as_ref().map_or(Form::X509, |performing| performing.exchange.form())
    }

    fn read<'a>(&'a self, resource: &'a Resource, fields: &'a BTreeSet<Pointer>) -> BoxFuture<'a, LiveState> {
        Box::pin(async move {
            let Resource::Aws(resource) = resource else { return LiveState::Unknown };
            self.observed(resource, fields).await.unwrap_or_else(|Failure(detail)| {
                let object = Shown(resource.arns.first().cloned().unwrap_or_default());
                let detail = Shown(detail);
                log!(LiveStateUnreadable, %object, %detail, "the live state could not be read");
                LiveState::Unknown
            })
        })
    }

    fn admit<'a>(&'a self, agent: &'a SpiffeId) -> BoxFuture<'a, Result<Admitted, Busy>> {
        Box::pin(async move {
            match self.performing.as_ref().and_then(|performing| performing.quota.as_ref()) {
                Some(quota) => quota.admit(agent).await,
                None => Ok(Admitted::AtOnce),
            }
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
        Box::pin(async move {
            let known = async {
                let bound = Bound::of(terms.call(), terms.mutation_id()).map_err(Failure)?;
                let at = now()?;
                if let Some(early) = evidence::early(terms, at) {
                    return Ok(early);
                }
                if let Some(applied) = self.marked(&bound, terms).await? {
                    return Ok(applied);
                }
                let seen = match evidence::needs(terms, &bound.operation) {
                    true => Some(self.seen(bound.resource).await?),
                    false => None,
                };
                Ok::<_, Failure>(evidence::of(terms, &bound.operation, seen.as_ref().map(Option::as_ref), at))
            };
            known.await.unwrap_or_else(|Failure(detail)| Evidence::Unavailable { detail })
        })
    }

    fn progress<'a>(&'a self, terms: &'a Terms, handle: &'a str) -> BoxFuture<'a, Evidence> {
        Box::pin(async move {
            match self.became(terms, handle).await {
                Some(evidence) => evidence,
                None => self.evidence(terms).await,
            }
        })
    }
}

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exchange = self.performing.as_ref().map(|performing| performing.exchange.name());
        f.debug_struct("Aws").field("reach", &self.reach).field("exchange", &exchange).finish_non_exhaustive()
    }
}
