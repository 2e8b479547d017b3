//! IAM Roles Anywhere as its documentation has it: an endpoint that takes `CreateSession`, checks what AWS checks, and
//! answers as AWS does. Written from the documentation and not from the product: it shares no code with it.
//!
//! What it grants it takes from [`Rules::issue`]. The errors' messages are its own.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use base64ct::{Base64, Encoding};
use der::{Decode, Encode};
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls_pki_types::{CertificateDer, UnixTime};
use seb::timestamp::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use x509_cert::Certificate;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, SubjectAltName};

pub const REGION: &str = "eu-west-1";
pub const ACCOUNT: &str = "123456789012";
pub const TRUST_ANCHOR: &str =
    "arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/1b1b1b1b-0000-4000-8000-000000000001";
pub const PROFILE: &str = "arn:aws:rolesanywhere:eu-west-1:123456789012:profile/2c2c2c2c-0000-4000-8000-000000000002";
pub const ROLE: &str = "arn:aws:iam::123456789012:role/seb-execution";

/// The credentials of a session of the role, for what is known of the caller.
pub type Issue = Arc<dyn Fn(Granted) -> BoxFuture<'static, Result<Issued, String>> + Send + Sync>;

/// What is configured in the account.
#[derive(Clone)]
pub struct Rules {
    /// The trust anchors of the account: by ARN, the certificate in DER.
    pub anchors: BTreeMap<String, Vec<u8>>,
    /// The roles of the profile, and what their trust policies ask.
    pub roles: BTreeMap<String, Trust>,
    /// `acceptRoleSessionName` of the profile.
    pub accepts_session_name: bool,
    /// Calls in one second.
    pub per_second: usize,
    /// Where sessions come from.
    pub issue: Issue,
}

/// What the trust policy of a role asks.
#[derive(Debug, Clone)]
pub struct Trust {
    /// Of `aws:SourceArn`; left out, it does not ask.
    pub source_arn: Option<String>,
    /// Of the tag `x509SAN/URI`: what it begins with.
    pub uri_begins: String,
}

/// A caller that was authenticated, and what it may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    pub role: String,
    pub source_identity: String,
    pub session_name: String,
    pub tags: BTreeMap<String, String>,
    pub seconds: u64,
}

/// A session.
#[derive(Debug, Clone)]
pub struct Issued {
    pub access_key_id: String,
    pub secret_access_key: String,
    pub session_token: String,
    pub expiration: String,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Recorded {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Recorded {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

type Refusal = (StatusCode, &'static str, String);

/// The endpoint. It ends when it is dropped.
pub struct RolesAnywhere {
    pub origin: String,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

struct State {
    rules: Mutex<Rules>,
    requests: Mutex<Vec<Recorded>>,
    recent: Mutex<VecDeque<Instant>>,
    answers: Mutex<VecDeque<(StatusCode, String)>>,
}

impl Drop for RolesAnywhere {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Sessions that nothing takes: for tests of the exchange alone.
pub fn made_up() -> Issue {
    Arc::new(|granted: Granted| {
        Box::pin(async move {
            let end = seb::clock::now().unwrap().saturating_add(Duration::from_secs(granted.seconds));
            let end = Timestamp::from_seconds(end.seconds()).unwrap();
            Ok(Issued {
                access_key_id: "ASIAEXAMPLEEXAMPLE00".to_owned(),
                secret_access_key: "made/up+secret-of-a-session".to_owned(),
                session_token: "made-up-token-of-a-session==".to_owned(),
                expiration: end.to_string(),
            })
        })
    })
}

impl Rules {
    pub fn new(anchor: &[u8], issue: Issue) -> Self {
        Self {
            anchors: BTreeMap::from([(TRUST_ANCHOR.to_owned(), anchor.to_vec())]),
            roles: BTreeMap::from([(
                ROLE.to_owned(),
                Trust {
                    source_arn: Some(TRUST_ANCHOR.to_owned()),
                    uri_begins: "spiffe://example.org/seb/execution/".to_owned(),
                },
            )]),
            accepts_session_name: false,
            per_second: 10,
            issue,
        }
    }
}

impl RolesAnywhere {
    /// Starts it on the loopback, under TLS where there is a configuration.
    pub async fn start(rules: Rules, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let origin = format!("{}://{address}", if tls.is_some() { "https" } else { "http" });
        let state = Arc::new(State {
            rules: Mutex::new(rules),
            requests: Mutex::default(),
            recent: Mutex::default(),
            answers: Mutex::default(),
        });
        let serving = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (state, tls) = (Arc::clone(&serving), tls.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| serve(Arc::clone(&state), request));
                    match tls {
                        None => drop(http1::Builder::new().serve_connection(TokioIo::new(socket), service).await),
                        Some(tls) => {
                            let Ok(stream) = TlsAcceptor::from(tls).accept(socket).await else { return };
                            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
                        }
                    }
                });
            }
        });
        Self { origin, state, task }
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Recorded> {
        self.state.requests.lock().unwrap().clone()
    }

    /// Changes what is configured.
    pub fn configure(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.state.rules.lock().unwrap());
    }

    /// The next requests get these answers, whatever they are.
    pub fn answer_next(&self, answers: impl IntoIterator<Item = (StatusCode, String)>) {
        self.state.answers.lock().unwrap().extend(answers);
    }
}

async fn serve(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (parts, body) = request.into_parts();
    let recorded = Recorded {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers.iter().map(|(k, v)| (k.to_string(), v.to_str().unwrap().to_owned())).collect(),
        body: body.collect().await?.to_bytes().to_vec(),
    };
    state.requests.lock().unwrap().push(recorded.clone());
    let scripted = state.answers.lock().unwrap().pop_front();
    if let Some((status, body)) = scripted {
        return Ok(response(status, None, body));
    }
    let rules = state.rules.lock().unwrap().clone();
    let granted = throttled(&state, &rules).and_then(|()| examine(&recorded, &rules));
    Ok(match granted {
        Err((status, code, message)) => response(status, Some(code), json!({ "message": message }).to_string()),
        Ok((granted, subject)) => match (rules.issue)(granted.clone()).await {
            Ok(issued) => response(StatusCode::CREATED, None, created(&granted, &issued, &subject).to_string()),
            Err(why) => {
                response(StatusCode::FORBIDDEN, Some("AccessDeniedException"), json!({ "message": why }).to_string())
            }
        },
    })
}

fn response(status: StatusCode, code: Option<&str>, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(status).header("content-type", "application/json");
    if let Some(code) = code {
        response = response.header("x-amzn-errortype", format!("{code}:http://internal.amazon.com/coral/"));
    }
    response.body(Full::new(Bytes::from(body))).unwrap()
}

fn created(granted: &Granted, issued: &Issued, subject: &str) -> Value {
    let role = granted.role.rsplit('/').next().unwrap();
    json!({
        "credentialSet": [{
            "assumedRoleUser": {
                "arn": format!("arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{}", granted.session_name),
                "assumedRoleId": format!("AROAEXAMPLEEXAMPLE000:{}", granted.session_name),
            },
            "credentials": {
                "accessKeyId": issued.access_key_id,
                "secretAccessKey": issued.secret_access_key,
                "sessionToken": issued.session_token,
                "expiration": issued.expiration,
            },
            "packedPolicySize": 3,
            "roleArn": granted.role,
            "sourceIdentity": granted.source_identity,
        }],
        "subjectArn": subject,
    })
}

fn throttled(state: &State, rules: &Rules) -> Result<(), Refusal> {
    #[expect(clippy::disallowed_methods, reason = "a server has a clock of its own")]
    let now = Instant::now();
    let mut recent = state.recent.lock().unwrap();
    while recent.front().is_some_and(|then| now.duration_since(*then) >= Duration::from_secs(1)) {
        recent.pop_front();
    }
    if recent.len() >= rules.per_second {
        return Err((StatusCode::TOO_MANY_REQUESTS, "ThrottlingException", "Rate exceeded".to_owned()));
    }
    recent.push_back(now);
    Ok(())
}

fn denied(message: &str) -> Refusal {
    (StatusCode::FORBIDDEN, "AccessDeniedException", message.to_owned())
}

fn invalid(message: &str) -> Refusal {
    (StatusCode::BAD_REQUEST, "ValidationException", message.to_owned())
}

/// All that AWS checks, and what it then grants.
fn examine(request: &Recorded, rules: &Rules) -> Result<(Granted, String), Refusal> {
    if (request.method.as_str(), request.path.as_str()) != ("POST", "/sessions") {
        return Err((StatusCode::NOT_FOUND, "UnknownOperationException", "no such operation".to_owned()));
    }
    let header = |name: &str| request.header(name).ok_or_else(|| denied(&format!("no header {name}")));
    let leaf = Base64::decode_vec(header("x-amz-x509")?).map_err(|_| invalid("x-amz-x509 is not base64"))?;
    let above = match request.header("x-amz-x509-chain") {
        None => Vec::new(),
        Some(text) => text
            .split(',')
            .map(|text| Base64::decode_vec(text).map(CertificateDer::from))
            .collect::<Result<_, _>>()
            .map_err(|_| invalid("x-amz-x509-chain is not base64"))?,
    };
    let certificate = Certificate::from_der(&leaf).map_err(|_| invalid("not a certificate"))?;
    signature(request, &certificate)?;
    acceptable(&certificate)?;
    let body: Value = serde_json::from_slice(&request.body).map_err(|_| invalid("not JSON"))?;
    let asked: BTreeMap<String, String> =
        request.query.split('&').filter_map(|pair| pair.split_once('=')).map(unescaped).collect();
    let argument =
        |name: &str| asked.get(name).map(String::as_str).or_else(|| body[name].as_str()).ok_or_else(|| invalid(name));
    let unknown = |what: &str| (StatusCode::NOT_FOUND, "ResourceNotFoundException", format!("{what} not found"));
    let source_arn = argument("trustAnchorArn")?;
    let anchor = rules.anchors.get(source_arn).ok_or_else(|| unknown("Trust anchor"))?;
    path(&leaf, &above, anchor)?;
    if argument("profileArn")? != PROFILE {
        return Err(unknown("Profile"));
    }
    let role = argument("roleArn")?.to_owned();
    let missing = || denied("Unable to assume role: the profile does not have it");
    let trust = rules.roles.get(&role).ok_or_else(missing)?;
    let seconds = body.get("durationSeconds").map_or(Some(3600), Value::as_u64);
    let seconds =
        seconds.filter(|seconds| (900..=43200).contains(seconds)).ok_or_else(|| invalid("durationSeconds"))?;
    let serial = even_hex(certificate.tbs_certificate().serial_number().as_bytes());
    let session_name = match body.get("roleSessionName").map(|name| name.as_str().unwrap_or_default()) {
        None => serial.clone(),
        Some(name) if rules.accepts_session_name => name.to_owned(),
        Some(_) => return Err(denied("the profile does not accept a role session name")),
    };
    let tags = tags(&certificate);
    // The trust policy of the role.
    if trust.source_arn.as_deref().is_some_and(|asked| asked != source_arn) {
        return Err(denied("Unable to assume role: the trust policy does not allow it"));
    }
    if !tags.get("x509SAN/URI").is_some_and(|uri| uri.starts_with(&trust.uri_begins)) {
        return Err(denied("Unable to assume role: the trust policy does not allow it"));
    }
    let source_identity = match tags.get("x509Subject/CN") {
        Some(name) if name.len() <= 61 => format!("CN={name}"),
        Some(name) => name.clone(),
        None => format!("ID={serial}"),
    };
    let subject = format!("arn:aws:rolesanywhere:{REGION}:{ACCOUNT}:subject/3d3d3d3d-0000-4000-8000-000000000003");
    Ok((Granted { role, source_identity, session_name, tags, seconds }, subject))
}

/// SigV4-X509, from what came and nothing else.
fn signature(request: &Recorded, certificate: &Certificate) -> Result<(), Refusal> {
    let refused = |what: &str| denied(&format!("Invalid signature: {what}"));
    let authorization = request.header("authorization").ok_or_else(|| denied("Missing authentication token"))?;
    let (algorithm, rest) = authorization.split_once(' ').ok_or_else(|| refused("form"))?;
    let fields: BTreeMap<&str, &str> = rest.split(", ").filter_map(|field| field.split_once('=')).collect();
    let field = |name: &str| fields.get(name).copied().ok_or_else(|| refused(name));
    let verification: &dyn VerificationAlgorithm = match algorithm {
        "AWS4-X509-ECDSA-SHA256" => &ECDSA_P256_SHA256_ASN1,
        "AWS4-X509-RSA-SHA256" => &RSA_PKCS1_2048_8192_SHA256,
        _ => return Err(refused("algorithm")),
    };
    let time = request.header("x-amz-date").ok_or_else(|| refused("x-amz-date"))?;
    let body = certificate.tbs_certificate();
    let (serial, scope) = field("Credential")?.split_once('/').ok_or_else(|| refused("Credential"))?;
    if serial != decimal(body.serial_number().as_bytes()) {
        return Err(refused("another serial number"));
    }
    if scope != format!("{}/{REGION}/rolesanywhere/aws4_request", time.split('T').next().unwrap()) {
        return Err(refused("scope"));
    }
    let signed: Vec<&str> = field("SignedHeaders")?.split(';').collect();
    let needed = ["host", "content-type", "x-amz-date", "x-amz-x509"];
    let chain = request.header("x-amz-x509-chain").map(|_| "x-amz-x509-chain");
    if !signed.is_sorted() || needed.into_iter().chain(chain).any(|name| !signed.contains(&name)) {
        return Err(refused("SignedHeaders"));
    }
    let mut canonical = format!("{}\n{}\n", request.method, request.path);
    let mut pairs: Vec<&str> = request.query.split('&').collect();
    pairs.sort_unstable();
    canonical += &pairs.join("&");
    canonical += "\n";
    for name in &signed {
        let value = request.header(name).ok_or_else(|| refused("a signed header is missing"))?;
        canonical += &format!("{name}:{}\n", value.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    canonical += &format!("\n{}\n{}", signed.join(";"), even_hex(digest(&SHA256, &request.body).as_ref()));
    let hashed = even_hex(digest(&SHA256, canonical.as_bytes()).as_ref());
    let text = format!("{algorithm}\n{time}\n{scope}\n{hashed}");
    let value = base16ct::lower::decode_vec(field("Signature")?).map_err(|_| refused("not hexadecimal"))?;
    let key = body.subject_public_key_info().to_der().unwrap();
    UnparsedPublicKey::new(verification, &key)
        .verify(text.as_bytes(), &value)
        .map_err(|_| refused("it does not verify"))?;
    let now = seb::clock::now().unwrap();
    let then = extended(time).ok_or_else(|| refused("x-amz-date"))?;
    if now.since(then).max(then.since(now)) > Duration::from_secs(300) {
        return Err(denied("Signature expired"));
    }
    Ok(())
}

/// The rules for end-entity certificates.
fn acceptable(certificate: &Certificate) -> Result<(), Refusal> {
    let untrusted = |what: &str| denied(&format!("Untrusted certificate. Insufficient certificate: {what}"));
    let body = certificate.tbs_certificate();
    if body.subject().is_empty() {
        return Err(untrusted("empty subject"));
    }
    if body.get_extension::<BasicConstraints>().unwrap().is_some_and(|(_, constraints)| constraints.ca) {
        return Err(untrusted("a CA"));
    }
    match body.get_extension::<KeyUsage>().unwrap() {
        Some((_, usage)) if usage.digital_signature() => Ok(()),
        _ => Err(untrusted("no digitalSignature")),
    }
}

fn path(leaf: &[u8], above: &[CertificateDer<'_>], anchor: &[u8]) -> Result<(), Refusal> {
    let untrusted = || denied("Untrusted signing certificate");
    let leaf = CertificateDer::from(leaf);
    let leaf = webpki::EndEntityCert::try_from(&leaf).map_err(|_| untrusted())?;
    let anchor = CertificateDer::from(anchor);
    let anchor = webpki::anchor_from_trusted_cert(&anchor).unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_millis(seb::clock::now().unwrap().millis()));
    // RFC 5280's id-kp-clientAuth.
    let usage = webpki::KeyUsage::required_if_present(&[0x2b, 6, 1, 5, 5, 7, 3, 2]);
    leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &[anchor], above, now, usage, None, None)
        .map(drop)
        .map_err(|_| untrusted())
}

fn tags(certificate: &Certificate) -> BTreeMap<String, String> {
    let body = certificate.tbs_certificate();
    let mut tags = BTreeMap::new();
    for (prefix, name) in [("x509Subject", body.subject()), ("x509Issuer", body.issuer())] {
        for attribute in name.to_string().split(',') {
            if let Some((kind, value)) = attribute.split_once('=') {
                tags.insert(format!("{prefix}/{kind}"), value.to_owned());
            }
        }
    }
    let names = body.get_extension::<SubjectAltName>().unwrap().map(|(_, names)| names.0).unwrap_or_default();
    let uri = names.iter().find_map(|name| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
        _ => None,
    });
    tags.extend(uri.map(|uri| ("x509SAN/URI".to_owned(), uri)));
    tags
}

fn even_hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// By the schoolbook, on digits: another way than the product's.
fn decimal(octets: &[u8]) -> String {
    let mut number = octets.to_vec();
    let mut digits = Vec::new();
    while number.iter().any(|octet| *octet != 0) {
        let mut rest = 0_u32;
        for octet in &mut number {
            let value = rest * 256 + u32::from(*octet);
            *octet = u8::try_from(value / 10).unwrap();
            rest = value % 10;
        }
        digits.push(char::from_digit(rest, 10).unwrap());
    }
    digits.iter().rev().collect()
}

/// A time in the basic form, `20261124T093000Z`.
pub fn extended(time: &str) -> Option<Timestamp> {
    let (date, clock) = time.strip_suffix('Z')?.split_once('T')?;
    let ((year, month, day), (hour, minute, second)) =
        ((date.get(..4)?, date.get(4..6)?, date.get(6..)?), (clock.get(..2)?, clock.get(2..4)?, clock.get(4..)?));
    format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z").parse().ok()
}

/// A pair of a query or a form.
pub fn unescaped((name, value): (&str, &str)) -> (String, String) {
    let mut octets = Vec::new();
    let mut rest = value.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%' {
            octets.extend(base16ct::mixed::decode_vec(&after[..2]).unwrap());
            rest = &after[2..];
        } else {
            octets.push(*first);
        }
    }
    (name.to_owned(), String::from_utf8(octets).unwrap())
}
