//! The trust bundle of another trust domain from its SPIFFE bundle endpoint (SPIFFE Federation section 5).
//!
//! What must be true:
//!
//! - The endpoint is authenticated: by web PKI roots from a file (`https_web`), or as one SPIFFE ID by a bundle that is
//!   there already (`https_spiffe`). Nothing is redirected.
//! - The document is read strictly and bounded; one that cannot be used changes nothing.
//! - The last good bundle stays for [`MAX_AGE`] without a fresh one, and is then believed no longer: SVIDs and
//!   certificates of that trust domain are refused until the endpoint is back (I9), which that bundle still
//!   authenticates. A file with the same trust domain's bundle counts before the first fetch alone: it may be older.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use base64ct::{Base64, Encoding as _};
use http::header::HOST;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::{CertificateDer, ServerName};
use spiffe::{SpiffeId, TrustDomain};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::backoff::Backoff;
use super::{Bundle, Identities};
use crate::attribute_certificate::InvalidTrust;
use crate::clock;
use crate::contract::Json;
use crate::record::TrustSource;
use crate::telemetry::{Causes, Health, log};
use crate::tls::{self, HTTP11};

/// The longest that one fetch may take.
const FETCH: Duration = Duration::from_secs(10);

/// The largest document, in octets, and the most keys in it.
const MAX_OCTETS: usize = 1024 * 1024;
const MAX_KEYS: usize = 128;

/// How often it is fetched, where the document says nothing; and the bounds of what it can say.
const REFRESH: Duration = Duration::from_secs(300);
const REFRESH_BOUNDS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(3600));

/// The shortest and the longest wait after a failure.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How long a bundle is believed without a fresh one.
pub const MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// One bundle endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleEndpoint {
    /// The trust domain whose bundle it serves.
    pub trust_domain: TrustDomain,
    /// Where.
    pub url: EndpointUrl,
    /// How it is authenticated.
    pub profile: Profile,
}

/// How an endpoint is authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Profile {
    /// By its name and these roots, in DER.
    HttpsWeb(Vec<Vec<u8>>),
    /// By its SVID.
    HttpsSpiffe(SpiffeId),
}

/// What an endpoint gave.
#[derive(Debug, Clone)]
pub enum Newest {
    /// Nothing yet.
    Nothing,
    /// This bundle, which is believed.
    Fresh(Bundle),
    /// This bundle, so long ago that it is believed no longer, but of the endpoint itself.
    Outdated(Bundle),
}

/// An `https` URL: a host, a port, a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointUrl {
    host: String,
    port: u16,
    path: String,
}

/// The text is not such a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a URL such as `https://spire.example.org:8443/bundle`")]
pub struct InvalidUrl;

/// A document is not that of a SPIFFE bundle (SPIFFE Trust Domain and Bundle section 4).
#[derive(Debug, thiserror::Error)]
pub enum InvalidDocument {
    /// It is not of the form.
    #[error("not a SPIFFE bundle: {0}")]
    Form(&'static str),
    /// Its certificates are no bundle.
    #[error("its X.509 authorities cannot be used")]
    Bundle(#[source] InvalidTrust),
}

/// A bundle could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The endpoint cannot be reached, or is somebody else.
    #[error("the bundle endpoint cannot be reached")]
    Connect(#[source] std::io::Error),
    /// TLS cannot be configured.
    #[error("TLS cannot be configured")]
    Tls(#[from] tls::TlsError),
    /// It does not speak HTTP as it should.
    #[error("the bundle endpoint gives no answer")]
    Http(#[source] hyper::Error),
    /// It answers something else.
    #[error("the bundle endpoint answers {0}")]
    Status(StatusCode),
    /// It answers too much, or breaks off.
    #[error("the answer of the bundle endpoint is broken, or larger than {MAX_OCTETS} octets")]
    Body,
    /// It answers something that is no bundle.
    #[error("the answer of the bundle endpoint cannot be used")]
    Document(#[from] InvalidDocument),
    /// It takes too long.
    #[error("the bundle endpoint does not answer in {} s", FETCH.as_secs())]
    Silent,
}

/// Keeps `sender` at what `endpoint` gave last, for ever.
pub async fn keep(endpoint: BundleEndpoint, identities: Identities, sender: watch::Sender<Newest>, health: Health) {
    let mut backoff = Backoff::new(AGAIN);
    let mut last = clock::instant();
    let part = format!("bundle of {}", endpoint.trust_domain);
    loop {
        let identities = sender.borrow().authenticating(&identities);
        let wait = match fetch(&endpoint, &identities).await {
            Ok((bundle, refresh)) => {
                last = clock::instant();
                sender.send_replace(Newest::Fresh(bundle));
                health.limit(part.clone(), None);
                backoff.reset();
                refresh
            }
            Err(error) => {
                let problem = Causes(&error).to_string();
                log!(BundleNotFetched, trust_domain = %endpoint.trust_domain, error = %problem, "a trust bundle was not fetched");
                health.limit(part.clone(), Some(&problem));
                sender.send_if_modified(|newest| newest.grow(last.elapsed()));
                backoff.next()
            }
        };
        tokio::time::sleep(wait).await;
    }
}

impl Newest {
    /// The trust domain of which it has a bundle.
    fn trust_domain(&self) -> Option<&TrustDomain> {
        match self {
            Self::Nothing => None,
            Self::Fresh(bundle) | Self::Outdated(bundle) => Some(bundle.trust_domain()),
        }
    }

    /// The bundle that is believed.
    const fn believed(&self) -> Option<&Bundle> {
        match self {
            Self::Fresh(bundle) => Some(bundle),
            Self::Nothing | Self::Outdated(_) => None,
        }
    }

    /// It is this old now; whether that changes what is believed.
    fn grow(&mut self, age: Duration) -> bool {
        match self {
            Self::Fresh(bundle) if age > MAX_AGE => {
                *self = Self::Outdated(bundle.clone());
                true
            }
            _ => false,
        }
    }

    /// By what the endpoint is authenticated: it may be of the trust domain whose bundle is believed no longer.
    fn authenticating(&self, identities: &Identities) -> Identities {
        match self {
            Self::Nothing | Self::Fresh(_) => identities.clone(),
            Self::Outdated(bundle) => {
                let identity = identities.borrow().joined(std::slice::from_ref(bundle));
                watch::channel(Arc::new(identity)).1
            }
        }
    }
}

/// The bundle as the endpoint has it now, and when to ask again.
///
/// # Errors
/// If the endpoint cannot be reached, is not the one that is meant, or answers no bundle.
pub async fn fetch(endpoint: &BundleEndpoint, identities: &Identities) -> Result<(Bundle, Duration), EndpointError> {
    let fetched = async {
        let (url, address) = (&endpoint.url, format!("{}:{}", endpoint.url.host, endpoint.url.port));
        let octets = match &endpoint.profile {
            Profile::HttpsSpiffe(id) => {
                let config = tls::client_config(identities, [id.clone()], &[HTTP11])?;
                let stream = tls::connect(&address, config, FETCH).await.map_err(EndpointError::Connect)?;
                get(url, stream).await?
            }
            Profile::HttpsWeb(roots) => {
                let config = tls::web_client_config(roots.iter().map(|der| CertificateDer::from(der.as_slice())))?;
                let host = url.host.trim_start_matches('[').trim_end_matches(']').to_owned();
                let name = ServerName::try_from(host);
                let name = name.map_err(|error| EndpointError::Connect(std::io::Error::other(error)))?;
                let stream = TcpStream::connect(&address).await.map_err(EndpointError::Connect)?;
                let stream = TlsConnector::from(config).connect(name, stream).await;
                get(url, stream.map_err(EndpointError::Connect)?).await?
            }
        };
        Ok(read(&endpoint.trust_domain, &octets)?)
    };
    timeout(FETCH, fetched).await.unwrap_or(Err(EndpointError::Silent))
}

async fn get(
    url: &EndpointUrl,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<Vec<u8>, EndpointError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(EndpointError::Http)?;
    let request =
        Request::get(&url.path).header(HOST, format!("{}:{}", url.host, url.port)).body(Empty::<Bytes>::new());
    let request = request.map_err(|_| EndpointError::Body)?;
    // The connection is driven beside the exchange, and ends with it.
    let exchange = async {
        let response = sender.send_request(request).await.map_err(EndpointError::Http)?;
        if response.status() != StatusCode::OK {
            return Err(EndpointError::Status(response.status()));
        }
        let body = Limited::new(response.into_body(), MAX_OCTETS).collect().await.map_err(|_| EndpointError::Body)?;
        Ok(body.to_bytes().to_vec())
    };
    let (mut exchange, mut connection) = (std::pin::pin!(exchange), std::pin::pin!(connection));
    tokio::select! {
        biased;
        octets = &mut exchange => octets,
        _ = &mut connection => exchange.await,
    }
}

/// Reads a bundle document: the X.509 authorities of `trust_domain`, and when to ask again.
///
/// # Errors
/// If it is no bundle, or has no X.509 authority.
pub fn read(trust_domain: &TrustDomain, octets: &[u8]) -> Result<(Bundle, Duration), InvalidDocument> {
    let form = InvalidDocument::Form;
    let json = Json::parse_within(octets, MAX_OCTETS).map_err(|_| form("no JSON"))?;
    let Some(Json::Array(keys)) = json.get("keys") else { return Err(form("`keys` is no list")) };
    if keys.len() > MAX_KEYS {
        return Err(form("it has too many keys"));
    }
    let mut certificates = Vec::new();
    for key in keys {
        match key.get("use").map(Json::as_str) {
            Some(Some("x509-svid")) => certificates.push(authority(key)?),
            // Of tokens, or of what there may be one day.
            Some(Some(_)) => {}
            _ => return Err(form("a key has no `use`")),
        }
    }
    let bundle = Bundle::from_der(trust_domain, &certificates).map_err(InvalidDocument::Bundle)?;
    let refresh = match json.get("spiffe_refresh_hint") {
        None => REFRESH,
        Some(Json::Number(hint)) => {
            let seconds = hint.as_integer().and_then(|hint| u64::try_from(hint).ok());
            Duration::from_secs(seconds.ok_or(form("`spiffe_refresh_hint` is no number of seconds"))?)
        }
        Some(_) => return Err(form("`spiffe_refresh_hint` is no number of seconds")),
    };
    Ok((bundle.from_source(TrustSource::BundleEndpoint), refresh.clamp(REFRESH_BOUNDS.0, REFRESH_BOUNDS.1)))
}

/// The certificate of a key: exactly one.
fn authority(key: &Json) -> Result<Vec<u8>, InvalidDocument> {
    let form = InvalidDocument::Form;
    let Some(Json::Array(chain)) = key.get("x5c") else { return Err(form("an X.509 authority has no `x5c`")) };
    match chain.as_slice() {
        [Json::String(text)] => Base64::decode_vec(text).map_err(|_| form("`x5c` is not base64")),
        _ => Err(form("`x5c` holds not one certificate")),
    }
}

impl FromStr for EndpointUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let uri: Uri = text.parse().map_err(|_| InvalidUrl)?;
        let authority = uri.authority().filter(|it| !it.as_str().contains('@')).ok_or(InvalidUrl)?;
        if uri.scheme_str() != Some("https") || text.len() > 2048 || text.contains('#') || authority.host().is_empty() {
            return Err(InvalidUrl);
        }
        let port = match authority.port() {
            Some(_) => authority.port_u16().filter(|port| *port > 0).ok_or(InvalidUrl)?,
            None => 443,
        };
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
        Ok(Self { host: authority.host().to_owned(), port, path })
    }
}

/// The newest bundles of all `endpoints`, kept by tasks that end with the last receiver of identities.
pub fn start(
    endpoints: &[BundleEndpoint],
    identities: &Identities,
    health: &Health,
    tasks: &mut tokio::task::JoinSet<()>,
) -> Vec<watch::Receiver<Newest>> {
    let begin = |endpoint: &BundleEndpoint| {
        let (sender, receiver) = watch::channel(Newest::Nothing);
        tasks.spawn(keep(endpoint.clone(), identities.clone(), sender, health.clone()));
        receiver
    };
    endpoints.iter().map(begin).collect()
}

/// What is believed of other trust domains: the bundles of endpoints, and those of files where no endpoint gave one yet.
pub fn together(files: Vec<Bundle>, endpoints: &[watch::Receiver<Newest>]) -> Arc<Vec<Bundle>> {
    let given: Vec<Newest> = endpoints.iter().map(|newest| newest.borrow().clone()).collect();
    let fetched: Vec<&TrustDomain> = given.iter().filter_map(Newest::trust_domain).collect();
    let files = files.into_iter().filter(|file| !fetched.contains(&file.trust_domain()));
    Arc::new(files.chain(given.iter().filter_map(Newest::believed).cloned()).collect())
}

#[cfg(test)]
mod tests;
