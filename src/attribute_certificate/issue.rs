//! Issuing: from what was admitted to the octets that the authority signs, and back with the signature.
//!
//! Signing itself is not here: the key may be in a file, in a security module or in a remote service.
//! [`Template::prepare`] gives the octets, and [`Unsigned::complete`] takes the signature over them. Nothing leaves
//! that the verdicts would refuse.

use der::asn1::{Any, BitString, Ia5String, Int, OctetString, SetOfVec, Utf8StringRef};
use der::{Decode, Encode};
use rustls_pki_types::CertificateDer;
use spiffe::SpiffeId;
use spki::AlgorithmIdentifierOwned;
use x509_cert::Certificate;
use x509_cert::attr::Attribute;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::AuthorityKeyIdentifier;
use x509_cert::ext::pkix::name::GeneralName;

use super::admission::Admission;
use super::asn1;
use super::authority::Authority;
use super::oid;
use super::parse::{AttributeCertificate, parse};
use super::path;
use super::profile::{SignatureAlgorithm, profile};
use crate::contract::Contract;
use crate::digest::Digest;
use crate::reason::Denial;
use crate::timestamp::Timestamp;

/// The certificate cannot be issued as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    /// The authority's own certificate may not sign attribute certificates.
    #[error("the authority's certificate cannot sign attribute certificates: {0}")]
    Authority(Denial),
    /// The authority's key fits none of the profile's signature algorithms.
    #[error("the authority's key is neither ECDSA P-256, ECDSA P-384 nor Ed25519")]
    Key,
    /// A value cannot be encoded.
    #[error("`{field}` cannot be encoded: {problem}")]
    Encoding {
        /// Which value.
        field: &'static str,
        /// Why not.
        problem: String,
    },
    /// The result would be refused.
    #[error("the certificate would be refused: {0}")]
    Refused(Denial),
}

/// The attribute authority, as its public-key certificate describes it.
#[derive(Clone, Debug)]
pub struct AuthorityCertificate {
    authority: Authority,
    algorithm: SignatureAlgorithm,
    octets: Vec<u8>,
}

impl AuthorityCertificate {
    /// Reads the authority's public-key certificate from DER.
    ///
    /// # Errors
    /// If it may not sign attribute certificates, or its key fits no signature algorithm of the profile.
    pub fn new(octets: &[u8]) -> Result<Self, InvalidTemplate> {
        let certificate = Certificate::from_der(octets)
            .map_err(|error| InvalidTemplate::Encoding { field: "authority", problem: error.to_string() })?;
        let authority = Authority::read(&certificate).map_err(InvalidTemplate::Authority)?;
        let algorithm = authority.algorithm.ok_or(InvalidTemplate::Key)?;
        Ok(Self { authority, algorithm, octets: octets.to_vec() })
    }

    /// The algorithm that the authority signs with.
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// The authority's SPIFFE ID.
    pub fn id(&self) -> &SpiffeId {
        &self.authority.id
    }
}

/// What a certificate is to say.
#[derive(Clone, Debug)]
pub struct Template<'a> {
    /// The serial number: unique for the authority, 1 to 20 octets, big-endian, positive. With 16 octets of good
    /// randomness whose first bit is cleared, two of them never meet.
    pub serial: &'a [u8],
    /// The agent it is for.
    pub holder: &'a SpiffeId,
    /// SHA-256 of the SubjectPublicKeyInfo that the agent must have, to bind the certificate to one key.
    pub holder_key: Option<Digest>,
    /// The broker it is for.
    pub broker: &'a SpiffeId,
    /// The first second at which it is valid; milliseconds are cut off.
    pub not_before: Timestamp,
    /// The last second at which it is valid; milliseconds are cut off.
    pub not_after: Timestamp,
    /// The contract that was admitted.
    pub contract: &'a Contract,
    /// How it came to be admitted.
    pub admission: &'a Admission,
}

impl Template<'_> {
    /// The octets that `authority` has to sign.
    ///
    /// # Errors
    /// If a value has no encoding. What can be encoded but would be refused, [`Unsigned::complete`] refuses.
    pub fn prepare(&self, authority: &AuthorityCertificate) -> Result<Unsigned, InvalidTemplate> {
        let algorithm = authority.algorithm.identifier();
        let info = asn1::CertificateInfo {
            version: Int::new(&[1]).map_err(encoding("version"))?,
            holder: self.holder()?,
            issuer: asn1::Issuer::V2Form(asn1::V2Form {
                issuer_name: Some(vec![GeneralName::DirectoryName(authority.authority.name.clone())]),
                base_certificate_id: None,
                object_digest_info: None,
            }),
            signature: algorithm.clone(),
            serial_number: positive(self.serial)?,
            validity: asn1::Validity { not_before: time(self.not_before), not_after: time(self.not_after) },
            attributes: self.attributes()?,
            issuer_unique_id: None,
            extensions: Some(self.extensions(authority)?),
        };
        let octets = info.to_der().map_err(encoding("certificate"))?;
        Ok(Unsigned { info, algorithm, octets, authority: authority.octets.clone() })
    }

    fn holder(&self) -> Result<asn1::Holder, InvalidTemplate> {
        let object_digest_info = match self.holder_key {
            None => None,
            Some(digest) => Some(asn1::ObjectDigestInfo {
                digested_object_type: asn1::DigestedObjectType::PublicKey,
                other_object_type_id: None,
                digest_algorithm: AlgorithmIdentifierOwned { oid: oid::SHA256, parameters: None },
                object_digest: BitString::from_bytes(digest.as_bytes()).map_err(encoding("holder_key"))?,
            }),
        };
        Ok(asn1::Holder {
            base_certificate_id: None,
            entity_name: Some(vec![uri(self.holder, "holder")?]),
            object_digest_info,
        })
    }

    fn attributes(&self) -> Result<Vec<Attribute>, InvalidTemplate> {
        let contract = Utf8StringRef::new(self.contract.canonical()).and_then(|text| Any::encode_from(&text));
        let admission = self
            .admission
            .to_der()
            .map_err(|problem| InvalidTemplate::Encoding { field: "admission", problem })
            .and_then(|octets| Any::from_der(&octets).map_err(encoding("admission")));
        let attribute = |oid, value: Any| {
            let values = SetOfVec::try_from(vec![value]).map_err(encoding("attributes"))?;
            Ok(Attribute { oid, values })
        };
        Ok(vec![
            attribute(oid::EXECUTION_CONTRACT, contract.map_err(encoding("contract"))?)?,
            attribute(oid::ADMISSION, admission?)?,
        ])
    }

    fn extensions(&self, authority: &AuthorityCertificate) -> Result<Vec<Extension>, InvalidTemplate> {
        let targets: asn1::TargetInformation = vec![vec![asn1::Target::Name(uri(self.broker, "broker")?)]];
        let key = AuthorityKeyIdentifier {
            key_identifier: Some(
                OctetString::new(authority.authority.key_identifier.as_slice()).map_err(encoding("authority"))?,
            ),
            authority_cert_issuer: None,
            authority_cert_serial_number: None,
        };
        let extension = |extn_id, critical, value: der::Result<Vec<u8>>| {
            let extn_value = value.and_then(OctetString::new).map_err(encoding("extensions"))?;
            Ok(Extension { extn_id, critical, extn_value })
        };
        Ok(vec![
            extension(oid::TARGET_INFORMATION, true, targets.to_der())?,
            extension(oid::AUTHORITY_KEY_IDENTIFIER, false, key.to_der())?,
        ])
    }
}

/// A certificate that lacks nothing but its signature.
#[derive(Clone, Debug)]
pub struct Unsigned {
    info: asn1::CertificateInfo,
    algorithm: AlgorithmIdentifierOwned,
    octets: Vec<u8>,
    authority: Vec<u8>,
}

impl Unsigned {
    /// The octets to sign.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// The certificate, with `signature` over [`Self::octets`]: ECDSA as the DER of RFC 3279 section 2.2.3, Ed25519 as
    /// the 64 octets of RFC 8032.
    ///
    /// # Errors
    /// If the certificate would not pass the first two verdicts, or if the signature is not the authority's.
    pub fn complete(self, signature: &[u8]) -> Result<AttributeCertificate, InvalidTemplate> {
        let value = asn1::Certificate {
            info: self.info,
            signature_algorithm: self.algorithm,
            signature: BitString::from_bytes(signature).map_err(encoding("signature"))?,
        };
        let octets = value.to_der().map_err(encoding("certificate"))?;
        let certificate = parse(&octets).map_err(InvalidTemplate::Refused)?;
        let profiled = profile(certificate.clone()).map_err(InvalidTemplate::Refused)?;
        let leaf = CertificateDer::from(self.authority);
        let leaf = webpki::EndEntityCert::try_from(&leaf)
            .map_err(|error| InvalidTemplate::Encoding { field: "authority", problem: error.to_string() })?;
        path::signature(&leaf, &profiled).map_err(InvalidTemplate::Refused)?;
        Ok(certificate)
    }
}

fn encoding(field: &'static str) -> impl Fn(der::Error) -> InvalidTemplate {
    move |error| InvalidTemplate::Encoding { field, problem: error.to_string() }
}

fn uri(id: &SpiffeId, field: &'static str) -> Result<GeneralName, InvalidTemplate> {
    Ia5String::new(&id.to_string()).map(GeneralName::UniformResourceIdentifier).map_err(encoding(field))
}

/// The INTEGER with the magnitude `octets`: without leading zeros, but for one that keeps it positive.
fn positive(octets: &[u8]) -> Result<Int, InvalidTemplate> {
    let significant: Vec<u8> = octets.iter().copied().skip_while(|octet| *octet == 0).collect();
    let padded = match significant.first() {
        Some(0x80..) | None => [vec![0], significant].concat(),
        Some(_) => significant,
    };
    Int::new(&padded).map_err(encoding("serial"))
}

fn time(timestamp: Timestamp) -> asn1::RawTime {
    let text = Timestamp::from_seconds(timestamp.seconds()).unwrap_or(timestamp).to_string();
    asn1::RawTime(text.bytes().filter(|octet| !matches!(octet, b'-' | b':' | b'T')).collect())
}
