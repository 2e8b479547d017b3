//! What each request is answered with.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;

use super::audit::Entry;
use super::fault::{Fault, Faults};
use super::store::{self, Handled, News};
use super::{Dropped, Octets, Server, broken, display, fresh_uid, half, now, respond};
use crate::contract::{Json, Resource, SandboxResource, decode};
use crate::decision::MutationId;
use crate::target::sandbox::wire::{Applied, Code, MAX_OCTETS, Mutation, Refusal};
use crate::tls::Peer;

/// The longest that a request's body may take to come.
const BODY: Duration = Duration::from_secs(10);

/// How long a stalled request is kept.
const STALL: Duration = Duration::from_secs(120);

/// The most lines of the audit log in one answer.
const MAX_LINES: usize = 1000;

type Answer = Result<Response<Octets>, Dropped>;

/// Answers one request of `peer`.
pub(super) async fn answer(server: Arc<Server>, peer: Arc<Peer>, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    let segments: Vec<&str> = path.split('/').collect();
    let answered = match (request.method(), segments.as_slice()) {
        (&Method::GET, ["", "v1", "objects", collection, name]) => server.object(&peer, collection, name).await,
        (_, ["", "v1", "objects", collection, name]) => {
            return server.mutate(&peer, collection, name, request).await;
        }
        (&Method::GET, ["", "v1", "executions", id]) => server.execution(&peer, id).await,
        (&Method::GET, ["", "v1", "audit"]) => server.audit(&peer, request.uri().query().unwrap_or_default()).await,
        (&Method::POST, ["", "v1", "faults"]) => server.fault(&peer, request).await,
        (&Method::POST, ["", "v1", "outside", collection, name]) => {
            server.change_from_outside(&peer, collection, name, request).await
        }
        _ => Err(Refusal::new(Code::NotFound, "there is no such path, or not with this method")),
    };
    Ok(answered.map_or_else(refused, |json| respond(StatusCode::OK, &json)))
}

fn refused(refusal: Refusal) -> Response<Octets> {
    respond(refusal.code.status(), &refusal.to_json())
}

impl Server {
    async fn object(&self, peer: &Peer, collection: &str, name: &str) -> Result<Json, Refusal> {
        let object = object(collection, name)?;
        self.must(self.readers.contains(peer.id()), peer, "read", &display(&object)).await?;
        self.alive()?;
        self.late().await;
        let seen = self.store().read(&object);
        seen.map(|seen| seen.to_json()).ok_or_else(|| Refusal::new(Code::Absent, "there is no such object"))
    }

    /// Waits until something was applied, if the read is to be a late one.
    async fn late(&self) {
        let mut applied = std::pin::pin!(self.applied.notified());
        applied.as_mut().enable();
        if self.faults.as_ref().is_some_and(Faults::reads_late) {
            let _ = tokio::time::timeout(STALL, applied).await;
        }
    }

    async fn execution(&self, peer: &Peer, id: &str) -> Result<Json, Refusal> {
        self.must(self.readers.contains(peer.id()), peer, "read", "executions").await?;
        self.alive()?;
        let id: MutationId = id.parse().map_err(|error| Refusal::new(Code::Malformed, format!("{error}")))?;
        let now = now()?;
        Ok(self.store().known(&id, now).to_json())
    }

    async fn audit(self: &Arc<Self>, peer: &Peer, query: &str) -> Result<Json, Refusal> {
        let allowed = self.readers.contains(peer.id()) || self.admins.contains(peer.id());
        self.must(allowed, peer, "read", "audit").await?;
        let malformed = |detail: &str| Refusal::new(Code::Malformed, detail);
        let (mut after, mut limit) = (0_u64, MAX_LINES);
        for (name, value) in query.split('&').filter(|it| !it.is_empty()).filter_map(|it| it.split_once('=')) {
            let number: u64 = value.parse().map_err(|_| malformed("`after` and `limit` are numbers"))?;
            match name {
                "after" => after = number,
                "limit" => limit = usize::try_from(number).unwrap_or(usize::MAX).clamp(1, MAX_LINES),
                _ => return Err(malformed("the audit log is asked for by `after` and `limit`")),
            }
        }
        let server = Arc::clone(self);
        let page = tokio::task::spawn_blocking(move || server.audit.page(after, limit)).await;
        let page = page.map_err(std::io::Error::other).flatten();
        let (lines, next) = page.map_err(|error| Refusal::new(Code::Internal, error.to_string()))?;
        Ok(Json::object([("entries", Json::Array(lines)), ("next", Json::string(next))]))
    }

    async fn fault(&self, peer: &Peer, request: Request<Incoming>) -> Result<Json, Refusal> {
        let faults = self.faults_for(peer, "faults").await?;
        let json = body(request).await.and_then(|octets| parse(&octets))?;
        let fault: Fault = decode(&json)
            .map_err(|(pointer, message)| Refusal::new(Code::Malformed, format!("`{pointer}`: {message}")))?;
        match faults.add(fault) {
            true => Ok(Json::object([("added", Json::from(true))])),
            false => Err(Refusal::new(Code::Invalid, "too many faults wait")),
        }
    }

    async fn change_from_outside(
        &self,
        peer: &Peer,
        collection: &str,
        name: &str,
        request: Request<Incoming>,
    ) -> Result<Json, Refusal> {
        let object = object(collection, name)?;
        self.faults_for(peer, &display(&object)).await?;
        let patch = body(request).await.and_then(|octets| parse(&octets))?;
        self.outside(peer, &object, &patch).await?;
        Ok(Json::object([("changed", Json::from(true))]))
    }

    async fn faults_for(&self, peer: &Peer, resource: &str) -> Result<&Faults, Refusal> {
        self.must(self.admins.contains(peer.id()), peer, "fault", resource).await?;
        self.faults.as_ref().ok_or_else(|| Refusal::new(Code::NotFound, "the sandbox was not started with `--faults`"))
    }

    async fn mutate(&self, peer: &Peer, collection: &str, name: &str, request: Request<Incoming>) -> Answer {
        let verb = request.method().as_str().to_owned();
        let mutation = match self.admit(peer, collection, name, request).await {
            Ok(mutation) => mutation,
            Err(refusal) => {
                let resource = format!("{collection}/{name}");
                let written = self.refuse(peer, &verb, &resource, &refusal).await;
                return Ok(refused(written.err().unwrap_or(refusal)));
            }
        };
        let fault = self.faults.as_ref().map_or(Fault::None {}, Faults::next);
        match &fault {
            Fault::DropBefore {} => return Err(Dropped),
            Fault::ErrorBefore {} => return Ok(refused(Refusal::new(Code::Internal, "on demand"))),
            Fault::StallBefore {} => {
                tokio::time::sleep(STALL).await;
                return Err(Dropped);
            }
            Fault::Delay { milliseconds } => tokio::time::sleep(Duration::from_millis((*milliseconds).into())).await,
            _ => {}
        }
        let mut result = self.perform(peer, &mutation).await;
        if fault == (Fault::Duplicate {}) {
            result = self.perform(peer, &mutation).await;
        }
        if let (Fault::LieVersion {}, Ok(applied)) = (&fault, &mut result) {
            let before = applied.version.as_str().parse::<u64>().ok().and_then(|version| version.checked_sub(1));
            applied.version = before.and_then(store::version).unwrap_or_else(|| applied.version.clone());
        }
        let response = result.map_or_else(refused, |applied| respond(StatusCode::OK, &applied.to_json()));
        match fault {
            Fault::DropAfter {} => Err(Dropped),
            Fault::ErrorAfter {} => Ok(refused(Refusal::new(Code::Internal, "on demand"))),
            Fault::HalfClose {} => Ok(half(response)),
            Fault::StallAfter {} => {
                tokio::time::sleep(STALL).await;
                Err(Dropped)
            }
            _ => Ok(response),
        }
    }

    /// The mutation that is asked for, if the identity was minted for it.
    async fn admit(
        &self,
        peer: &Peer,
        collection: &str,
        name: &str,
        request: Request<Incoming>,
    ) -> Result<Mutation, Refusal> {
        let forbidden = |detail: String| Refusal::new(Code::Forbidden, detail);
        let minted_for = peer.mutation().ok_or_else(|| {
            forbidden(format!("`{}` is not an identity that the broker minted for a mutation", peer.id()))
        })?;
        let object = object(collection, name)?;
        let method = request.method().clone();
        let octets = body(request).await?;
        let mutation =
            Mutation::parse(&method, object, &octets).map_err(|problem| Refusal::new(Code::Malformed, problem))?;
        match mutation.id == minted_for {
            true => Ok(mutation),
            false => Err(forbidden(format!("the identity was minted for {minted_for}, not for {}", mutation.id))),
        }
    }

    /// Baseline, change and audit line in one step; then waits until the line is durable.
    async fn perform(&self, peer: &Peer, mutation: &Mutation) -> Result<Applied, Refusal> {
        let place = self.audit.place().await.ok_or_else(broken)?;
        let uid = fresh_uid()?;
        let now = now()?;
        let (answer, written) = {
            let mut store = self.store();
            let Handled { answer, news } = store.handle(mutation, now, || uid);
            let result = match &news {
                News::Applied(_) => "applied",
                News::Rejected => "rejected",
                News::Repeated => "repeated",
                News::Reused => "reused",
            };
            let mut entry = Entry::new(peer, now, mutation.verb.as_str(), &display(&mutation.object), result);
            entry.mutation_id = Some(mutation.id.clone());
            entry.call = Some(mutation.call);
            entry.request = Some(mutation.digest());
            if let News::Applied(change) = &news {
                entry = entry.with_change(change);
            }
            if let Err(refusal) = &answer {
                entry = entry.with_refusal(refusal);
            }
            (answer, place.append(&entry))
        };
        written.await.map_err(|_| broken())?;
        if answer.is_ok() {
            self.applied.notify_waiters();
        }
        answer
    }

    /// Refuses, and writes it down, unless it is allowed.
    async fn must(&self, allowed: bool, peer: &Peer, verb: &str, resource: &str) -> Result<(), Refusal> {
        if allowed {
            return Ok(());
        }
        let refusal = Refusal::new(Code::Forbidden, format!("`{}` may not {verb} {resource}", peer.id()));
        self.refuse(peer, verb, resource, &refusal).await?;
        Err(refusal)
    }

    /// What cannot be written down any more may be ahead of the log: it is not shown.
    fn alive(&self) -> Result<(), Refusal> {
        if self.audit.is_broken() { Err(broken()) } else { Ok(()) }
    }
}

fn object(collection: &str, name: &str) -> Result<SandboxResource, Refusal> {
    let object = SandboxResource { collection: collection.to_owned(), name: name.to_owned() };
    match Resource::Sandbox(object.clone()).check() {
        Ok(()) => Ok(object),
        Err((field, rule)) => Err(Refusal::new(Code::Malformed, format!("the {field} in the path: {rule}"))),
    }
}

async fn body(request: Request<Incoming>) -> Result<Vec<u8>, Refusal> {
    let collected = tokio::time::timeout(BODY, Limited::new(request.into_body(), MAX_OCTETS).collect()).await;
    match collected {
        Ok(Ok(collected)) => Ok(collected.to_bytes().to_vec()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Refusal::new(Code::TooLarge, format!("a request has at most {MAX_OCTETS} octets")))
        }
        Ok(Err(error)) => Err(Refusal::new(Code::Malformed, error.to_string())),
        Err(_) => Err(Refusal::new(Code::Malformed, "the request did not come in time")),
    }
}

fn parse(octets: &[u8]) -> Result<Json, Refusal> {
    Json::parse(octets).map_err(|error| Refusal::new(Code::Malformed, error.to_string()))
}
