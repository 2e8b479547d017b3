//! SigV4-X509: a `CreateSession` request of IAM Roles Anywhere, signed by the key of a certificate.
//!
//! Plain functions: what is signed, and the headers that carry it. There is no key derivation as in SigV4: the key of the
//! certificate signs the string itself. The algorithm is in no SDK for Rust; `docs/aws.md` has vectors, and
//! `tests/aws` holds this against AWS's own helper.
//!
//! Two deviations are possible in the wild and excluded here: a header value never has surrounding or repeated spaces,
//! and a header or query name appears once.

use std::fmt::Write;

use base64ct::{Base64, Encoding};
use der::Decode;
use rustls::SignatureScheme;
use rustls::sign::{CertifiedKey, Signer};
use rustls_pki_types::CertificateDer;
use x509_cert::Certificate;

use crate::digest::Digest;
use crate::timestamp::Timestamp;

/// The path of `CreateSession`.
pub const PATH: &str = "/sessions";

/// The most certificates above the leaf that are sent.
pub const MAX_INTERMEDIATES: usize = 4;

const SERVICE: &str = "rolesanywhere";

/// How a certificate's key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// ECDSA over P-256 with SHA-256; the signature in DER.
    Ecdsa,
    /// RSA with SHA-256, PKCS#1 v1.5.
    Rsa,
}

impl Algorithm {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ecdsa, Self::Rsa];

    /// The name in the string to sign and in the header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ecdsa => "AWS4-X509-ECDSA-SHA256",
            Self::Rsa => "AWS4-X509-RSA-SHA256",
        }
    }

    const fn scheme(self) -> SignatureScheme {
        match self {
            Self::Ecdsa => SignatureScheme::ECDSA_NISTP256_SHA256,
            Self::Rsa => SignatureScheme::RSA_PKCS1_SHA256,
        }
    }
}

/// The request cannot be signed, or AWS would refuse its certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// There is no certificate.
    #[error("the identity has no certificate: an X509-SVID is needed")]
    NoCertificate,
    /// The chain is longer than AWS verifies.
    #[error("{0} certificates above the leaf: at most {MAX_INTERMEDIATES} are sent")]
    Chain(usize),
    /// The leaf is not X.509.
    #[error("the leaf certificate is not X.509: {0}")]
    Leaf(String),
    /// The leaf has no subject, which AWS refuses.
    #[error("the leaf certificate has an empty subject, which IAM Roles Anywhere refuses: issue it with a common name")]
    EmptySubject,
    /// The leaf has no positive serial number.
    #[error("the leaf certificate has a serial number that is not positive")]
    Serial,
    /// The key signs by neither algorithm.
    #[error("the key is neither ECDSA P-256 nor RSA: IAM Roles Anywhere is called with one of these")]
    Key,
    /// The cryptographic library refused.
    #[error("the cryptographic library refused to sign")]
    Library,
}

/// What is signed of a request beside its certificates.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The host, with its port where it is not the scheme's.
    pub host: &'a str,
    /// The region that the signature is for.
    pub region: &'a str,
    /// The query, decoded: names and values.
    pub query: &'a [(&'a str, &'a str)],
    /// Headers that are signed beside `host`, `content-type` and those of the signature: lower-case names.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body, JSON.
    pub body: &'a [u8],
    /// The time of signing: to the second.
    pub time: Timestamp,
}

/// A request with everything but its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    algorithm: Algorithm,
    query: String,
    headers: Vec<(String, String)>,
    canonical: String,
    scope: String,
    time: String,
    serial: String,
}

impl Prepared {
    /// What is to be signed of `request` with this chain, the leaf first.
    ///
    /// # Errors
    /// If AWS would refuse the chain whatever the signature.
    pub fn new(
        request: &Request<'_>,
        algorithm: Algorithm,
        chain: &[CertificateDer<'_>],
    ) -> Result<Self, SigningError> {
        let (leaf, above) = chain.split_first().ok_or(SigningError::NoCertificate)?;
        if above.len() > MAX_INTERMEDIATES {
            return Err(SigningError::Chain(above.len()));
        }
        let serial = serial(leaf)?;
        let time = basic(request.time);
        let mut headers: Vec<(String, String)> = [
            ("host", request.host.to_owned()),
            ("content-type", "application/json".to_owned()),
            ("x-amz-date", time.clone()),
            ("x-amz-x509", Base64::encode_string(leaf)),
        ]
        .into_iter()
        .chain(request.headers.iter().map(|(name, value)| (*name, (*value).to_owned())))
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        if !above.is_empty() {
            let above: Vec<_> = above.iter().map(|certificate| Base64::encode_string(certificate)).collect();
            headers.push(("x-amz-x509-chain".to_owned(), above.join(",")));
        }
        headers.sort();
        let query = canonical_query(request.query);
        let date = time.split('T').next().unwrap_or_default();
        let scope = format!("{date}/{}/{SERVICE}/aws4_request", request.region);
        let canonical = canonical_request(&query, &headers, request.body);
        Ok(Self { algorithm, query, headers, canonical, scope, time, serial })
    }

    /// The query as it is sent, which is as it is signed.
    pub fn query(&self) -> &str {
        &self.query
    }

    /// The headers that are signed, sorted by name; `authorization` is not among them.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The canonical request.
    pub fn canonical_request(&self) -> &str {
        &self.canonical
    }

    /// The string that the key signs.
    pub fn string_to_sign(&self) -> String {
        let digest = hex(Digest::of(self.canonical.as_bytes()).as_bytes());
        format!("{}\n{}\n{}\n{digest}", self.algorithm.as_str(), self.time, self.scope)
    }

    /// The value of the `authorization` header with this signature.
    pub fn authorization(&self, signature: &[u8]) -> String {
        format!(
            "{} Credential={}/{}, SignedHeaders={}, Signature={}",
            self.algorithm.as_str(),
            self.serial,
            self.scope,
            names(&self.headers),
            hex(signature)
        )
    }

    /// Signs it by `signer`, and gives the value of the `authorization` header.
    ///
    /// # Errors
    /// [`SigningError::Library`].
    pub fn sign(&self, signer: &dyn Signer) -> Result<String, SigningError> {
        let signature = signer.sign(self.string_to_sign().as_bytes()).map_err(|_| SigningError::Library)?;
        Ok(self.authorization(&signature))
    }
}

/// How the key of `identity` signs, and what signs.
///
/// # Errors
/// [`SigningError::Key`].
pub fn signer(identity: &CertifiedKey) -> Result<(Algorithm, Box<dyn Signer>), SigningError> {
    let fitting = |algorithm: Algorithm| Some((algorithm, identity.key.choose_scheme(&[algorithm.scheme()])?));
    Algorithm::ALL.into_iter().find_map(fitting).ok_or(SigningError::Key)
}

fn canonical_request(query: &str, headers: &[(String, String)], body: &[u8]) -> String {
    let mut text = format!("POST\n{PATH}\n{query}\n");
    for (name, value) in headers {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name}:{value}");
    }
    let _ = write!(text, "\n{}\n{}", names(headers), hex(Digest::of(body).as_bytes()));
    text
}

/// RFC 3986: everything but unreserved characters is escaped; sorted by name, then by value.
fn canonical_query(query: &[(&str, &str)]) -> String {
    let mut pairs: Vec<_> = query.iter().map(|(name, value)| (escaped(name), escaped(value))).collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for octet in text.bytes() {
        match octet {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(char::from(octet)),
            _ => {
                let _ = write!(escaped, "%{octet:02X}");
            }
        }
    }
    escaped
}

fn names(headers: &[(String, String)]) -> String {
    headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";")
}

fn hex(octets: &[u8]) -> String {
    base16ct::lower::encode_string(octets)
}

/// `20261124T093000Z`.
fn basic(time: Timestamp) -> String {
    let text = time.to_string();
    let whole = text.split(['.', 'Z']).next().unwrap_or_default();
    whole.chars().filter(|character| !matches!(character, '-' | ':')).chain(['Z']).collect()
}

/// The serial number of a leaf, in decimal digits.
fn serial(leaf: &[u8]) -> Result<String, SigningError> {
    let certificate = Certificate::from_der(leaf).map_err(|error| SigningError::Leaf(error.to_string()))?;
    let body = certificate.tbs_certificate();
    if body.subject().is_empty() {
        return Err(SigningError::EmptySubject);
    }
    let octets = body.serial_number().as_bytes();
    match octets.first() {
        Some(0..=0x7f) if octets.iter().any(|octet| *octet != 0) => Ok(decimal(octets)),
        _ => Err(SigningError::Serial),
    }
}

/// A big-endian number in decimal digits.
fn decimal(octets: &[u8]) -> String {
    // Digits, the least first.
    let mut digits: Vec<u8> = vec![0];
    for octet in octets {
        let mut carry = u16::from(*octet);
        for digit in &mut digits {
            let value = u16::from(*digit) * 256 + carry;
            // Below 10.
            *digit = u8::try_from(value % 10).unwrap_or_default();
            carry = value / 10;
        }
        while carry > 0 {
            digits.push(u8::try_from(carry % 10).unwrap_or_default());
            carry /= 10;
        }
    }
    digits.iter().rev().map(|digit| char::from(b'0' + digit)).collect()
}

#[cfg(test)]
mod tests;
