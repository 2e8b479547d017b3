//! Whether what a SPIRE server minted is what was planned.

use base64ct::{Base64UrlUnpadded, Encoding as _};
use der::Decode as _;
use rustls_pki_types::CertificateDer;
use webpki::KeyUsage;
use x509_cert::Certificate;
use zeroize::Zeroizing;

use crate::contract::Json;
use crate::digest::Digest;
use crate::identity::{Identity, JwtSvid, Leaf, MintError, Plan};
use crate::timestamp::Timestamp;

/// The longest chain: the leaf, and four intermediates.
const MAX_CHAIN: usize = 5;

/// The longest token, in octets: audiences of the largest size and a signature fit.
const MAX_TOKEN: usize = 16 * 1024;

/// The algorithms of JWT-SVIDs (JWT-SVID section 2.1).
const ALGORITHMS: [&str; 9] = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"];

fn unplanned<T>(problem: impl Into<String>) -> Result<T, MintError> {
    Err(MintError::Unplanned(problem.into()))
}

/// The chain, if its leaf has the planned SPIFFE ID, common name and end and the key with this digest, and verifies by
/// the bundle of our own trust domain.
pub(super) fn x509(
    plan: &Plan,
    key: Digest,
    chain: Vec<Vec<u8>>,
    identity: &Identity,
    now: Timestamp,
) -> Result<Vec<CertificateDer<'static>>, MintError> {
    if chain.len() > MAX_CHAIN {
        return unplanned(format!("a chain of {} certificates", chain.len()));
    }
    let Some(octets) = chain.first() else { return unplanned("no certificate") };
    let leaf = Leaf::read(octets).map_err(|error| MintError::Unplanned(error.to_string()))?;
    if leaf.id != *plan.id() {
        return unplanned(format!("the SPIFFE ID `{}`", leaf.id));
    }
    if leaf.key != key {
        return unplanned("a certificate over another key");
    }
    if leaf.not_after > plan.not_after() {
        return unplanned(format!("an end at {}, after {}", leaf.not_after, plan.not_after()));
    }
    if leaf.not_after < now {
        return unplanned(format!("an end at {}, and it is {now}", leaf.not_after));
    }
    if common_name(octets).as_deref() != Some(plan.mutation().as_str()) {
        return unplanned("a subject whose common name is not the mutation id");
    }
    let chain: Vec<_> = chain.into_iter().map(CertificateDer::from).collect();
    let Some(bundle) = identity.bundle(plan.id().trust_domain()) else { return unplanned("another trust domain") };
    let verified = match chain.split_first() {
        Some((leaf, above)) => bundle.verify(leaf, above, now, KeyUsage::client_auth()),
        None => Err(webpki::Error::UnknownIssuer),
    };
    match verified {
        Ok(()) => Ok(chain),
        Err(error) => unplanned(format!("a certificate that does not verify by the trust bundle: {error}")),
    }
}

fn common_name(certificate: &[u8]) -> Option<String> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let subject = certificate.tbs_certificate().subject();
    let mut names = subject.iter_rdn().flat_map(|rdn| rdn.iter()).filter(|it| it.oid == const_oid::db::rfc4519::CN);
    let name = std::str::from_utf8(names.next()?.value.value()).ok()?.to_owned();
    names.next().is_none().then_some(name)
}

/// The token, if it has the planned subject, exactly the planned audiences, and the planned end. Its signature is for
/// whom it is shown to; that it came from our server the connection says.
pub(super) fn jwt(plan: &Plan, token: Zeroizing<String>, now: Timestamp) -> Result<JwtSvid, MintError> {
    if token.is_empty() || token.len() > MAX_TOKEN {
        return unplanned(format!("a token of {} octets", token.len()));
    }
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, signature] = parts.as_slice() else { return unplanned("no JWT in its compact form") };
    let (header, claims) = (object("header", header)?, object("claims", claims)?);
    let text = |json: &Json, name: &str| json.get(name).and_then(Json::as_str).map(str::to_owned);
    if !text(&header, "alg").is_some_and(|name| ALGORITHMS.contains(&name.as_str())) || signature.is_empty() {
        return unplanned("a token with an algorithm that no JWT-SVID has");
    }
    if text(&claims, "sub") != Some(plan.id().to_string()) {
        return unplanned("a token with another subject");
    }
    let mut planned: Vec<_> = plan.form().audiences().unwrap_or_default().to_vec();
    let mut audiences = match claims.get("aud") {
        Some(Json::Array(all)) => all.iter().map(|one| one.as_str().map(str::to_owned)).collect(),
        Some(one) => one.as_str().map(|one| vec![one.to_owned()]),
        None => None,
    };
    planned.sort_unstable();
    if let Some(audiences) = &mut audiences {
        audiences.sort_unstable();
    }
    if audiences.as_ref() != Some(&planned) {
        return unplanned("a token with other audiences");
    }
    let end = claims.get("exp").map(Json::to_canonical).and_then(|text| text.parse::<u64>().ok());
    match end.and_then(|seconds| Timestamp::from_seconds(seconds).ok()) {
        None => unplanned("a token without an end"),
        Some(end) if end > plan.not_after() => unplanned(format!("an end at {end}, after {}", plan.not_after())),
        Some(end) if end < now => unplanned(format!("an end at {end}, and it is {now}")),
        Some(_) => Ok(JwtSvid::new(token)),
    }
}

/// A part of a token: an object in JSON, each member once. Says nothing of what it holds.
fn object(what: &'static str, part: &str) -> Result<Json, MintError> {
    let octets = Base64UrlUnpadded::decode_vec(part).ok().map(Zeroizing::new);
    let json = octets.and_then(|octets| Json::parse(&octets).ok());
    match json {
        Some(json @ Json::Object(_)) => Ok(json),
        _ => unplanned(format!("a token whose {what} cannot be read")),
    }
}
