//! The attribute authority's public-key certificate: what it must be for its key to sign attribute certificates.

use const_oid::AssociatedOid;
use der::{Decode, Encode};
use spiffe::SpiffeId;
use x509_cert::Certificate;
use x509_cert::certificate::Version;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, SubjectAltName, SubjectKeyIdentifier};
use x509_cert::name::Name;

use super::oid;
use super::profile::{SignatureAlgorithm, spiffe_id};
use super::strict::{self, Flaw};
use crate::digest::Digest;
use crate::reason::{Denial, Reason};

/// What an attribute authority's certificate says of it, once every rule is known to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    pub(super) id: SpiffeId,
    pub(super) name: Name,
    pub(super) key_identifier: Vec<u8>,
    /// `None` if the key fits none of the profile's signature algorithms.
    pub(super) algorithm: Option<SignatureAlgorithm>,
}

impl Authority {
    /// Reads `certificate` by the rules of RFC 5755 section 4.5, X509-SVID section 4 and the profile: v3, a leaf, key
    /// usage critical with `digitalSignature` and neither `keyCertSign` nor `cRLSign`, a subject that is not empty,
    /// and exactly one URI among its alternative names, which is a workload's SPIFFE ID.
    pub(super) fn read(certificate: &Certificate) -> Result<Self, Denial> {
        let denial = |detail: String| Denial::new(Reason::AuthorityProfile, detail);
        let deny = |detail: String| Err(denial(detail));
        let body = certificate.tbs_certificate();
        if body.version() != Version::V3 {
            return deny("not an X.509 v3 certificate".to_owned());
        }
        if let Some((_, constraints)) = extension::<BasicConstraints>(certificate, "basicConstraints")?
            && constraints.ca
        {
            return deny("the authority is a CA (RFC 5755 section 4.5 forbids it)".to_owned());
        }
        match extension::<KeyUsage>(certificate, "keyUsage")? {
            None => return deny("`keyUsage` is missing".to_owned()),
            Some((false, _)) => return deny("`keyUsage` is not critical".to_owned()),
            Some((true, usage)) if !usage.digital_signature() => {
                return deny("`keyUsage` lacks `digitalSignature`".to_owned());
            }
            Some((true, usage)) if usage.key_cert_sign() || usage.crl_sign() => {
                return deny("`keyUsage` allows signing certificates or CRLs".to_owned());
            }
            Some((true, _)) => {}
        }
        if body.subject().is_empty() {
            return deny("the subject is empty".to_owned());
        }
        let names = extension::<SubjectAltName>(certificate, "subjectAltName")?.map(|(_, names)| names.0);
        let uris = names.iter().flatten().filter(|name| matches!(name, GeneralName::UniformResourceIdentifier(_)));
        let id = match uris.collect::<Vec<_>>().as_slice() {
            [uri] => spiffe_id(uri).map_err(|detail| denial(format!("subjectAltName: {detail}")))?,
            uris => return deny(format!("{} URIs in `subjectAltName`, not one", uris.len())),
        };
        Ok(Self {
            id,
            name: body.subject().clone(),
            key_identifier: key_identifier(certificate)?,
            algorithm: algorithm(certificate),
        })
    }
}

/// The extension `T` of `certificate` and whether it is critical, if it is there.
pub(super) fn extension<T>(certificate: &Certificate, name: &str) -> Result<Option<(bool, T)>, Denial>
where
    T: AssociatedOid + for<'a> Decode<'a, Error = der::Error>,
{
    let malformed = |detail: &dyn std::fmt::Display| {
        Denial::new(Reason::ChainEncoding, format!("`{name}` is repeated or malformed: {detail}"))
    };
    let extensions = certificate.tbs_certificate().extensions().into_iter().flatten();
    let mut found = extensions.filter(|extension| extension.extn_id == T::OID);
    let Some(extension) = found.next() else { return Ok(None) };
    if found.next().is_some() {
        return Err(malformed(&"it is there twice"));
    }
    let octets = extension.extn_value.as_bytes();
    strict::check(octets).map_err(|flaw| malformed(&flaw))?;
    let value = T::from_der(octets).map_err(|error| malformed(&error))?;
    Ok(Some((extension.critical, value)))
}

/// Reads a certificate of a chain: one X.509 certificate in DER, within the bounds of [`strict`], and nothing after it.
pub(super) fn read(octets: &[u8]) -> Result<Certificate, Denial> {
    strict::check(octets).map_err(|flaw| match flaw {
        Flaw::Encoding(detail) => Denial::new(Reason::ChainEncoding, detail),
        Flaw::Bounds(detail) => Denial::new(Reason::ChainBounds, detail),
    })?;
    Certificate::from_der(octets).map_err(|error| Denial::new(Reason::ChainEncoding, error.to_string()))
}

/// The certificate's own key identifier; where it has none, the leftmost 160 bits of the SHA-256 of its public key
/// (RFC 7093 section 2, method 1).
fn key_identifier(certificate: &Certificate) -> Result<Vec<u8>, Denial> {
    if let Some((_, identifier)) = extension::<SubjectKeyIdentifier>(certificate, "subjectKeyIdentifier")? {
        return Ok(identifier.0.as_bytes().to_vec());
    }
    let key = certificate.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes();
    Ok(Digest::of(key).as_bytes().iter().copied().take(20).collect())
}

fn algorithm(certificate: &Certificate) -> Option<SignatureAlgorithm> {
    let identifier = &certificate.tbs_certificate().subject_public_key_info().algorithm;
    if identifier.oid == oid::ED25519 {
        return Some(SignatureAlgorithm::Ed25519);
    }
    let curve = identifier.parameters.as_ref().and_then(|parameters| parameters.decode_as().ok());
    match (identifier.oid, curve) {
        (oid::EC_PUBLIC_KEY, Some(oid::P256)) => Some(SignatureAlgorithm::EcdsaP256Sha256),
        (oid::EC_PUBLIC_KEY, Some(oid::P384)) => Some(SignatureAlgorithm::EcdsaP384Sha384),
        _ => None,
    }
}

/// SHA-256 of the SubjectPublicKeyInfo of an X.509 certificate: what a key-bound certificate names
/// (RFC 5755 section 7.3, `publicKey`).
///
/// # Errors
/// [`Reason::ChainEncoding`] if `certificate` is not an X.509 certificate in DER.
pub fn public_key_digest(certificate: &[u8]) -> Result<Digest, Denial> {
    let malformed = |error: der::Error| Denial::new(Reason::ChainEncoding, error.to_string());
    let certificate = Certificate::from_der(certificate).map_err(malformed)?;
    let key = certificate.tbs_certificate().subject_public_key_info().to_der().map_err(malformed)?;
    Ok(Digest::of(&key))
}
