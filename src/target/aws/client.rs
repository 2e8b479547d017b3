//! The HTTP client by which IAM Roles Anywhere and STS are called: nothing that mutates goes through it.

use std::fmt;
use std::time::Duration;

use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Connector, proxy::ProxyConfig};
use aws_smithy_runtime_api::client::http::{HttpConnector, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use http_body_util::{BodyExt, Limited};
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::time::{Instant, sleep, timeout_at};
use zeroize::Zeroizing;

use super::create_session::{CreateSessionError, MAX_ANSWER, RolesAnywhere, Session, SignedRequest};
use crate::clock;
use crate::identity::Backoff;
use crate::telemetry::Causes;

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

/// Warm connections to AWS. Cheap to clone; clones share them.
#[derive(Clone)]
pub struct Client(SharedHttpConnector);

impl Client {
    /// A client that has not connected yet.
    ///
    /// # Errors
    /// If the settings cannot be used.
    pub fn new(settings: &Settings) -> Result<Self, InvalidSettings> {
        let store = match &settings.authorities {
            None => TrustStore::default(),
            Some(text) if are_authorities(text) => TrustStore::empty().with_pem_certificate(text.as_bytes()),
            Some(_) => return Err(InvalidSettings::Authorities),
        };
        let tls = TlsContext::builder().with_trust_store(store).build();
        let tls = tls.map_err(|error| InvalidSettings::Tls(error.to_string()))?;
        let proxy = match &settings.proxy {
            None => ProxyConfig::disabled(),
            Some(url) if !url.contains('@') => ProxyConfig::all(url.as_str()).map_err(|_| InvalidSettings::Proxy)?,
            Some(_) => return Err(InvalidSettings::Proxy),
        };
        let connector = Connector::builder().proxy_config(proxy).tls_provider(Provider::Rustls(CryptoMode::AwsLc));
        Ok(Self(SharedHttpConnector::new(connector.tls_context(tls).build())))
    }

    /// What an SDK client is given.
    pub(super) fn connector(&self) -> SharedHttpConnector {
        self.0.clone()
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
        let answer = timeout_at(deadline, self.send(request)).await;
        let answer = answer.map_err(|_| CreateSessionError::Silent("no answer in time".to_owned()))??;
        roles.session(answer.status, answer.error_type.as_deref(), &answer.body, now()?)
    }

    async fn send(&self, request: SignedRequest) -> Result<Answer, CreateSessionError> {
        let silent = |error: &(dyn std::error::Error + 'static)| CreateSessionError::Silent(Causes(error).to_string());
        let mut built = http::Request::builder().method(http::Method::POST).uri(&request.url);
        for (name, value) in &request.headers {
            built = built.header(name, value);
        }
        let built = built.body(SdkBody::from(request.body)).map_err(|error| silent(&error))?;
        let built = HttpRequest::try_from(built).map_err(|error| silent(&error))?;
        let response = self.0.call(built).await.map_err(|error| silent(&error))?;
        let status = response.status().as_u16();
        let error_type = response.headers().get("x-amzn-errortype").map(str::to_owned);
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(|error| silent(&*error))?;
        Ok(Answer { status, error_type, body: Zeroizing::new(body.to_bytes().to_vec()) })
    }
}

/// Whether the text is certificates, and nothing that the TLS library would not take.
fn are_authorities(text: &str) -> bool {
    let mut some = false;
    CertificateDer::pem_slice_iter(text.as_bytes()).all(|certificate| {
        some = true;
        certificate.is_ok_and(|certificate| webpki::anchor_from_trusted_cert(&certificate).is_ok())
    }) && some
}

struct Answer {
    status: u16,
    error_type: Option<String>,
    /// It holds secrets. The buffers of the libraries below are not zeroized: `docs/aws.md` says so.
    body: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}
