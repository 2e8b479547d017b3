//! Kubernetes: any resource of any group, at an API server that admits only what was certified.
//!
//! [`Kubernetes`] is the driver; `docs/kubernetes.md` describes it for those who run it. What must be true:
//!
//! - The one request is made from the certified call alone (`plan`): the certified body, the mutation id as one
//!   annotation, and the baseline in a form that the API server itself holds against the object in the step that writes it.
//! - It goes out once, on a warm connection that nobody else has, inside the fence (`connection`).
//! - The credential is one request's: the identity of this mutation, or a token that was requested for it (`exchange`).
//! - What an answer does not say is not guessed (`answer`); what the object itself says later is `evidence` (I6).
//!
//! The requests are written here and not by a client library: the octets are what was certified, and the fence is a borrow
//! that holds for one write, which no shared client could carry into its tasks.

mod answer;
mod connection;
mod endpoint;
mod evidence;
mod exchange;
mod merge;
mod plan;
mod reader;
mod rehearse;
mod rewritten;
mod urn;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::BoxFuture;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Request};
use http_body_util::Full;
use hyper::body::Bytes;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;
use zeroize::Zeroizing;

use self::answer::{Meaning, meaning};
use self::connection::{Pool, Sent};
use self::endpoint::Endpoint;
use self::exchange::{Credential, Exchanger};
use self::plan::{Needs, Plan, Seen, Unfit, Wire, drift};
use self::reader::{Reader, TokenFile};
use crate::clock;
use crate::contract::{Baseline, Call, KubernetesResource, Pointer, Resource, TargetKind};
use crate::decision::{LiveState, PermittedCall, Terms};
use crate::identity::{ExecutionIdentity, Form};
use crate::reason::Denial;
use crate::target::failure::{Failure, left, now};
use crate::target::{Evidence, Fence, Grade, Performed, Rehearsed, Rehearser, Rejection, Target};
use crate::telemetry::{Shown, log};

pub use self::endpoint::CertificateFiles;
pub use self::exchange::{Audience, Calls, Exchange, Executor, InvalidText, Requester, ServiceAccount};
pub use self::plan::{ANNOTATION, APPLY_ANNOTATION, FIELD_MANAGER};
pub use self::urn::{Operation, call_urn, dry_run_urn};

/// How long after the deadline an answer is still waited for: the API server gives up at the deadline, and says so.
const GRACE: Duration = Duration::from_secs(2);

/// How long the end of what a credential was bound to is waited for.
const END: Duration = Duration::from_secs(2);

/// The longest file that is read: CA certificates, a token.
const MAX_FILE: u64 = 1024 * 1024;

/// Where an API server is, and how this process reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Its address, `host:port`.
    pub address: String,
    /// The name that its certificate has; left out, the host of `address`.
    pub server_name: Option<String>,
    /// The file with the CA certificates, in PEM, that its certificate leads to. Read again when it changes.
    pub ca_file: PathBuf,
    /// Who reads.
    pub reader: ReaderIdentity,
}

/// By which identity, one that can only read, this process reads an API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReaderIdentity {
    /// The bearer token in this file, a service account's or a JWT-SVID's. Read again when it changes.
    TokenFile(PathBuf),
    /// A client certificate.
    Certificate(CertificateFiles),
}

/// The settings of an API server cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an API server cannot be talked to: {0}")]
pub struct InvalidSettings(String);

/// An API server, as the broker drives it and the authority reads it.
#[derive(Debug)]
pub struct Kubernetes {
    reader: Reader,
    performing: Option<Performing>,
}

/// What only a broker has.
#[derive(Debug)]
struct Performing {
    pool: Pool,
    exchanger: Exchanger,
}

impl Kubernetes {
    /// The API server with these settings, of which mutations are made by this exchange. It connects when it is first
    /// asked for something.
    ///
    /// # Errors
    /// If the address has no name that a certificate could have.
    pub fn new(settings: Settings, exchange: Exchange) -> Result<Self, InvalidSettings> {
        let endpoint = endpoint(&settings, None)?;
        let performing = Performing { pool: Pool::new(endpoint), exchanger: Exchanger::new(exchange) };
        Ok(Self { performing: Some(performing), ..Self::reader(settings)? })
    }

    /// The API server with these settings, for reading alone: what is performed by it is not started.
    ///
    /// # Errors
    /// As [`Kubernetes::new`].
    pub fn reader(settings: Settings) -> Result<Self, InvalidSettings> {
        let (certificate, token) = match settings.reader.clone() {
            ReaderIdentity::TokenFile(path) => (None, Some(TokenFile::new(path))),
            ReaderIdentity::Certificate(files) => (Some(files), None),
        };
        let pool = Pool::new(endpoint(&settings, certificate)?);
        Ok(Self { reader: Reader::new(pool, token), performing: None })
    }

    async fn live_state(
        &self,
        resource: &KubernetesResource,
        fields: &BTreeSet<Pointer>,
    ) -> Result<LiveState, Failure> {
        let observed_at = now()?;
        Ok(match self.reader.state(resource, fields).await? {
            None => LiveState::Absent { observed_at },
            Some(Seen { uid, version, fields, .. }) => {
                LiveState::Present { identity: uid, version, fields, observed_at }
            }
        })
    }

    async fn mutate(&self, call: PermittedCall, identity: ExecutionIdentity, fence: &dyn Fence) -> Performed {
        let not_started = |detail: String| Performed::NotStarted { detail };
        let terms = call.terms();
        if identity.plan().mutation() != terms.mutation_id() {
            return not_started(format!("the identity was minted for {}", identity.plan().mutation()));
        }
        let Some(performing) = &self.performing else {
            return not_started("this process only reads the API server".to_owned());
        };
        let prepared = Plan::of(terms.call()).and_then(|plan| Ok((plan, left(terms.deadline())?)));
        let (plan, left) = match prepared {
            Ok(prepared) => prepared,
            Err(detail) => return not_started(detail),
        };
        let begun = clock::instant();
        let (seen, credential) = tokio::join!(
            self.needed(&plan, terms.call().baseline()),
            performing.exchanger.credential(&performing.pool, terms, identity, begun + left),
        );
        let credential = match credential {
            Ok(credential) => credential,
            Err(Failure(detail)) => return not_started(detail),
        };
        let performed = match seen {
            Ok(seen) => self.send(performing, terms, &plan, seen.as_ref(), &credential, fence, begun + left).await,
            Err(Early::Unreadable(detail)) => not_started(detail),
            Err(Early::Drift(drift)) => drifted(drift),
        };
        credential.end(&performing.pool, clock::instant() + END).await;
        performed
    }

    /// What the request cannot be written without.
    async fn needed(&self, plan: &Plan, baseline: &Baseline) -> Result<Option<Seen>, Early> {
        if plan.needs() == Needs::Nothing {
            return Ok(None);
        }
        let fields = plan.fields().cloned().collect();
        let unreadable = |why: &str| Early::Unreadable(format!("the object could not be read: {why}"));
        match self.reader.recent_state(&plan.resource, &fields).await {
            Ok(Some(seen)) => Ok(Some(seen)),
            Ok(None) => Err(drift(baseline, None).map_or_else(|| unreadable("there is none"), Early::Drift)),
            Err(Failure(detail)) => Err(unreadable(&detail)),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one request, each of another origin")]
    async fn send(
        &self,
        performing: &Performing,
        terms: &Terms,
        plan: &Plan,
        seen: Option<&Seen>,
        credential: &Credential,
        fence: &dyn Fence,
        end: Instant,
    ) -> Performed {
        let seconds = end.duration_since(clock::instant()).as_secs().saturating_add(1);
        let wire = match plan.request(terms.mutation_id(), seconds, seen) {
            Ok(wire) => wire,
            Err(Unfit::Call(detail)) => return Performed::NotStarted { detail },
            Err(Unfit::Drift(drift)) => return drifted(drift),
        };
        let request = match request(performing.pool.endpoint(), wire, &credential.bearer, terms.mutation_id().as_str())
        {
            Ok(request) => request,
            Err(Failure(detail)) => return Performed::NotStarted { detail },
        };
        match performing.pool.send(request, Some(fence), end + GRACE).await {
            Sent::Answered(answer) => {
                let performed = match meaning(terms, plan, &answer) {
                    Meaning::Settled(performed) => performed,
                    Meaning::Rewritten { performed, place } => {
                        let (mutation, place) = (terms.mutation_id(), Shown(place));
                        log!(Rewritten, %mutation, %place, "something rewrote what was certified");
                        performed
                    }
                    Meaning::Refused { reason, detail } => self.compared(terms, plan, reason, detail).await,
                };
                with_binding(performed, performing.exchanger.binding())
            }
            Sent::Denied(denial) => Performed::Aborted { denial },
            Sent::NotWritten(Failure(detail)) => Performed::NotStarted { detail },
            Sent::Lost(Failure(detail)) => Performed::Unknown { detail },
        }
    }

    /// A refusal, with how the object differs from what was certified, if it does.
    async fn compared(&self, terms: &Terms, plan: &Plan, reason: Rejection, detail: String) -> Performed {
        let baseline = terms.call().baseline();
        let drift = match self.reader.state(&plan.resource, &baseline.pointers()).await {
            Ok(seen) => drift(baseline, seen.as_ref()),
            Err(_) => None,
        };
        let reason = if drift.is_some() { Rejection::Precondition } else { reason };
        Performed::Rejected { reason, detail, drift }
    }
}

/// Why no request was written.
enum Early {
    Unreadable(String),
    Drift(Denial),
}

/// The object was read for the request, and is not as certified.
fn drifted(drift: Denial) -> Performed {
    let detail = "the object is not as certified; nothing was sent".to_owned();
    Performed::Rejected { reason: Rejection::Precondition, detail, drift: Some(drift) }
}

/// A success says by what it was made.
fn with_binding(performed: Performed, binding: &str) -> Performed {
    match performed {
        Performed::Succeeded { version, detail } => {
            Performed::Succeeded { version, detail: format!("{detail} ({binding})") }
        }
        other => other,
    }
}

impl Target for Kubernetes {
    fn kind(&self) -> TargetKind {
        TargetKind::Kubernetes
    }

    fn grade(&self, call: &Call) -> Grade {
        Plan::of(call).map_or(Grade::Bounded, |plan| plan.grade())
    }

    fn form(&self, call: &Call) -> Form {
        let urn = Plan::of(call).ok().map(|plan| plan.urn());
        self.performing.as_ref().map_or(Form::X509, |performing| performing.exchanger.form(call, urn))
    }

    fn read<'a>(&'a self, resource: &'a Resource, fields: &'a BTreeSet<Pointer>) -> BoxFuture<'a, LiveState> {
        Box::pin(async move {
            let Resource::Kubernetes(object) = resource else { return LiveState::Unknown };
            self.live_state(object, fields).await.unwrap_or_else(|Failure(detail)| {
                let (object, detail) = (Shown(plan::object_path(object)), Shown(detail));
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

    fn rehearsal(&self, call: &Call) -> Option<Rehearser> {
        self.rehearser(call)
    }

    fn rehearse<'a>(&'a self, terms: &'a Terms, identity: Option<ExecutionIdentity>) -> BoxFuture<'a, Rehearsed> {
        Box::pin(self.dry_run(terms, identity))
    }

    fn evidence<'a>(&'a self, terms: &'a Terms) -> BoxFuture<'a, Evidence> {
        Box::pin(async move {
            let known = async {
                let plan = Plan::of(terms.call()).map_err(Failure)?;
                let object = self.reader.object(&plan.resource).await?;
                Ok::<_, Failure>(evidence::of(terms, &plan, object.as_ref(), now()?))
            };
            known.await.unwrap_or_else(|Failure(detail)| Evidence::Unavailable { detail })
        })
    }
}

fn endpoint(settings: &Settings, certificate: Option<CertificateFiles>) -> Result<Endpoint, InvalidSettings> {
    let (address, ca_file) = (settings.address.clone(), settings.ca_file.clone());
    Endpoint::new(address, settings.server_name.as_deref(), ca_file, certificate)
        .map_err(|Failure(why)| InvalidSettings(why))
}

/// The `Authorization` header with this token; what shows headers does not show it.
fn bearer(token: &str) -> Result<HeaderValue, Failure> {
    let text = Zeroizing::new(format!("Bearer {token}"));
    let mut value = HeaderValue::from_str(&text).map_err(|_| Failure("a token that no header can hold".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A request for the mutation of this id; the audit log of the API server has it in its `userAgent`, whatever the call.
fn request(
    endpoint: &Endpoint,
    wire: Wire,
    bearer: &HeaderValue,
    mutation: &str,
) -> Result<Request<Full<Bytes>>, Failure> {
    let request = Request::builder()
        .method(wire.method)
        .uri(wire.target)
        .header(HOST, endpoint.address())
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, wire.media_type)
        .header(USER_AGENT, format!("seb/{} ({mutation})", env!("CARGO_PKG_VERSION")))
        .header(AUTHORIZATION, bearer);
    request.body(Full::new(Bytes::from(wire.body))).map_err(|error| Failure::of(&error))
}

async fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let failure = |error: std::io::Error| Failure(format!("cannot read `{}`: {error}", path.display()));
    let mut octets = Zeroizing::new(Vec::new());
    let file = tokio::fs::File::open(path).await.map_err(failure)?;
    file.take(MAX_FILE + 1).read_to_end(&mut octets).await.map_err(failure)?;
    match u64::try_from(octets.len()) {
        Ok(length) if length <= MAX_FILE => Ok(octets),
        _ => Err(Failure(format!("`{}` is longer than {MAX_FILE} octets", path.display()))),
    }
}
