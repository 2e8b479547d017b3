//! The HTTP client by which IAM Roles Anywhere and STS are called: nothing that mutates goes through it.
//!
//! Each call has a connection of its own: the buffers of one that is kept would hold the credentials of the last call, and so
//! they are freed, and wiped, with it.

use std::sync::Arc;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use http_body_util::Full;
use rustls::sign::CertifiedKey;
use tokio::time::{Instant, sleep};

use super::create_session::{CreateSessionError, MAX_ANSWER, RolesAnywhere, Session};
use super::endpoint::Endpoint;
use super::observe::Unfenced;
use super::request::SignedRequest;
use super::wire::{Answer, Sent, Wire};
use crate::clock;
use crate::identity::Backoff;

/// The most attempts of one `CreateSession` that fail or are not answered. One that is throttled was not looked at, and is
/// repeated until the deadline.
const ATTEMPTS: u32 = 4;

/// The shortest and the longest wait between two attempts: together the waits are longer than the second for which AWS
/// counts calls.
const WAITS: (Duration, Duration) = (Duration::from_millis(400), Duration::from_secs(2));

/// How AWS is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// CA certificates, in PEM, by which servers are recognized instead of those of the system.
    pub authorities: Option<String>,
    /// The proxy, `http://HOST:PORT` without a user, by which everything goes; the environment is not asked.
    pub proxy: Option<String>,
}

/// The settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSettings {
    /// The text is not CA certificates.
    #[error("not one or more CA certificates in PEM")]
    Authorities,
    /// The proxy's URL is none, or holds credentials.
    #[error("not the URL of a proxy: expected `http://HOST:PORT`, without a user")]
    Proxy,
    /// The library refused.
    #[error("TLS for AWS cannot be set up: {0}")]
    Tls(String),
}

/// Calls of AWS. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client(Arc<Wire>);

impl Client {
    /// A client that has not connected yet.
    ///
    /// # Errors
    /// If the settings cannot be used.
    pub fn new(settings: &Settings) -> Result<Self, InvalidSettings> {
        Ok(Self(Arc::new(Wire::new(settings)?)))
    }

    /// What an SDK client is given: it calls `endpoint`, until `deadline` at most.
    pub(super) fn connector(&self, endpoint: &Endpoint, deadline: Instant) -> SharedHttpConnector {
        SharedHttpConnector::new(Calls { client: self.clone(), origin: endpoint.origin().to_owned(), deadline })
    }

    /// Its connections.
    pub(super) fn wire(&self) -> &Wire {
        &self.0
    }

    /// A session for `identity`, tried until `deadline` at most: again where AWS takes no more calls for now, and a few times
    /// where it failed or did not answer, because `CreateSession` changes nothing. Each attempt is signed anew.
    ///
    /// # Errors
    /// What the last attempt came to.
    pub async fn create_session(
        &self,
        roles: &RolesAnywhere,
        identity: &CertifiedKey,
        deadline: Instant,
    ) -> Result<Session, CreateSessionError> {
        let mut waits = Backoff::new(WAITS);
        let mut left = ATTEMPTS;
        loop {
            let error = match self.attempt(roles, identity, deadline).await {
                Ok(session) => return Ok(session),
                Err(error) => error,
            };
            left -= u32::from(!matches!(error, CreateSessionError::Throttled(_)));
            let again = clock::instant() + waits.next();
            if !error.is_retryable() || left == 0 || again >= deadline {
                return Err(error);
            }
            sleep(again.duration_since(clock::instant())).await;
        }
    }

    async fn attempt(
        &self,
        roles: &RolesAnywhere,
        identity: &CertifiedKey,
        deadline: Instant,
    ) -> Result<Session, CreateSessionError> {
        let now = || clock::now().map_err(|error| CreateSessionError::Silent(error.to_string()));
        let request = roles.request(identity, now()?).map_err(CreateSessionError::Signing)?;
        let answer = self.call(roles.endpoint().origin(), request, deadline).await;
        let answer = answer.map_err(CreateSessionError::Silent)?;
        let error_type = answer.headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok());
        roles.session(answer.status, error_type, &answer.body, now()?)
    }

    /// The answer to a request, on a connection that is made for it.
    async fn call(&self, origin: &str, request: SignedRequest, deadline: Instant) -> Result<Answer, String> {
        match self.0.open(origin, &Unfenced, deadline).await?.send(request, deadline).await {
            Sent::Answered(answer) if answer.body.len() > MAX_ANSWER => Err("the answer is too long".to_owned()),
            Sent::Answered(answer) => Ok(answer),
            Sent::Denied(denial) => Err(denial.to_string()),
            Sent::NotWritten(detail) | Sent::Lost(detail) => Err(detail),
        }
    }
}

/// The calls of an SDK client.
#[derive(Debug)]
struct Calls {
    client: Client,
    origin: String,
    deadline: Instant,
}

impl HttpConnector for Calls {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (client, origin, deadline) = (self.client.clone(), self.origin.clone(), self.deadline);
        HttpConnectorFuture::new(async move {
            let request = signed(&request).map_err(|what| ConnectorError::user(what.into()))?;
            let answer = client.call(&origin, request, deadline).await;
            let answer = answer.map_err(|what| ConnectorError::io(what.into()))?;
            let mut built = http::Response::builder().status(answer.status);
            built.headers_mut().into_iter().for_each(|headers| headers.clone_from(&answer.headers));
            // The SDK logs bodies that it has in hand, and this one holds secrets: it gets one to be read.
            let body = SdkBody::from_body_1_x(Full::new(answer.body));
            let built = built.body(body).map_err(|error| ConnectorError::other(error.into(), None))?;
            HttpResponse::try_from(built).map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// What the SDK signed, with the host that it leaves to the connection.
fn signed(request: &HttpRequest) -> Result<SignedRequest, &'static str> {
    let uri: http::Uri = request.uri().parse().map_err(|_| "not a URL")?;
    let mut headers: Vec<_> =
        request.headers().iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    if request.headers().get("host").is_none() {
        let host = uri.authority().ok_or("a URL without a host")?;
        headers.push(("host".to_owned(), host.to_string()));
    }
    match (request.method(), request.body().bytes()) {
        ("POST", Some(body)) => {
            Ok(SignedRequest { method: "POST", url: request.uri().to_owned(), headers, body: body.to_vec() })
        }
        _ => Err("not a call of STS"),
    }
}
