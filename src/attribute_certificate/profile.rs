//! Second verdict: does the certificate keep every rule of the profile?
//!
//! The rules are those of `docs/certificate-profile.md`, in its order; the first that is broken is the answer. What
//! comes out holds domain types only, and nothing that the profile does not allow.

use der::asn1::{ObjectIdentifier, Utf8StringRef};
use der::{Decode, Encode};
use spiffe::SpiffeId;
use spki::AlgorithmIdentifierOwned;
use x509_cert::attr::Attribute;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::AuthorityKeyIdentifier;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;

use super::admission::Admission;
use super::asn1::{self, DigestedObjectType, Target, TargetInformation};
use super::oid;
use super::parse::AttributeCertificate;
use super::strict;
use crate::digest::Digest;
use crate::reason::{Denial, Reason};
use crate::timestamp::Timestamp;

/// How many extensions a certificate can have, known and unknown.
const MAX_EXTENSIONS: usize = 16;

/// How long a serial number can be, in octets of its encoding.
const MAX_SERIAL_OCTETS: usize = 20;

/// How long a SPIFFE ID can be, in octets (SPIFFE-ID section 2.3).
const MAX_SPIFFE_ID_OCTETS: usize = 2048;

/// How long a key identifier can be, in octets.
const MAX_KEY_IDENTIFIER_OCTETS: usize = 64;

/// The signature algorithms of the profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignatureAlgorithm {
    /// ECDSA over P-256 with SHA-256.
    EcdsaP256Sha256,
    /// ECDSA over P-384 with SHA-384.
    EcdsaP384Sha384,
    /// Ed25519.
    Ed25519,
}

impl SignatureAlgorithm {
    /// The name in output and in the vectors.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EcdsaP256Sha256 => "ecdsa-p256-sha256",
            Self::EcdsaP384Sha384 => "ecdsa-p384-sha384",
            Self::Ed25519 => "ed25519",
        }
    }

    pub(super) fn identifier(self) -> AlgorithmIdentifierOwned {
        let oid = match self {
            Self::EcdsaP256Sha256 => oid::ECDSA_SHA256,
            Self::EcdsaP384Sha384 => oid::ECDSA_SHA384,
            Self::Ed25519 => oid::ED25519,
        };
        AlgorithmIdentifierOwned { oid, parameters: None }
    }

    fn from_identifier(identifier: &AlgorithmIdentifierOwned) -> Option<Self> {
        [Self::EcdsaP256Sha256, Self::EcdsaP384Sha384, Self::Ed25519]
            .into_iter()
            .find(|algorithm| algorithm.identifier() == *identifier)
    }
}

/// An attribute certificate that keeps the profile. Nothing is known yet of who signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfiledCertificate {
    pub(super) certificate: AttributeCertificate,
    pub(super) holder: SpiffeId,
    pub(super) holder_key: Option<Digest>,
    pub(super) issuer: Name,
    pub(super) algorithm: SignatureAlgorithm,
    pub(super) serial: Vec<u8>,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    pub(super) contract: Vec<u8>,
    pub(super) admission: Admission,
    pub(super) broker: SpiffeId,
    pub(super) authority_key: Vec<u8>,
    pub(super) digest: Digest,
}

impl ProfiledCertificate {
    /// SHA-256 of what is signed (`acinfo`, with its tag and length): the certificate's name in records, in
    /// revocations and in the count of its uses.
    ///
    /// The signature itself is not part of it, because it is not unique. Of an ECDSA signature (r, s) anybody can make
    /// another, (r, n - s), that is as valid; were the name to change with it, a certificate for one use could be used
    /// twice, and a revoked one again.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The certificate's DER octets.
    pub fn octets(&self) -> &[u8] {
        self.certificate.octets()
    }

    /// The serial number: lower-case hexadecimal, two digits an octet.
    pub fn serial(&self) -> String {
        base16ct::lower::encode_string(&self.serial)
    }

    /// The name under which the authority issued it.
    pub fn issuer(&self) -> &Name {
        &self.issuer
    }

    /// The identifier of the authority's key.
    pub fn authority_key(&self) -> &[u8] {
        &self.authority_key
    }

    /// The algorithm of the signature.
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// The agent it is for.
    pub fn holder(&self) -> &SpiffeId {
        &self.holder
    }

    /// SHA-256 of the SubjectPublicKeyInfo that the agent must have, if the certificate is bound to one.
    pub fn holder_key(&self) -> Option<&Digest> {
        self.holder_key.as_ref()
    }

    /// The broker it is for.
    pub fn broker(&self) -> &SpiffeId {
        &self.broker
    }

    /// The first second at which it is valid.
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// The last second at which it is valid.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// How it came to be admitted.
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// The octets of the execution contract, not looked at ([`crate::contract::Contract::parse`]).
    pub fn contract(&self) -> &[u8] {
        &self.contract
    }
}

/// Second verdict: holds `certificate` against every rule of the profile.
///
/// # Errors
/// The first rule that is broken, as one of the reasons of [`crate::reason::Verdict::Profile`].
pub fn profile(certificate: AttributeCertificate) -> Result<ProfiledCertificate, Denial> {
    let value = &certificate.value;
    let info = &value.info;
    if info.version.as_bytes() != [1] {
        return deny(Reason::ProfileVersion, "the version is not v2(1)");
    }
    let (holder, holder_key) = holder(&info.holder)?;
    let issuer = issuer(&info.issuer)?;
    let algorithm = algorithm(value)?;
    let serial = serial(info.serial_number.as_bytes())?;
    let not_before = time(&info.validity.not_before, "notBeforeTime")?;
    let not_after = time(&info.validity.not_after, "notAfterTime")?;
    if not_before > not_after {
        return deny(Reason::ProfileValidity, format!("begins at {not_before}, after it ends at {not_after}"));
    }
    let contract = contract(&info.attributes)?;
    let admission = admission(&info.attributes)?;
    no_other_attribute(&info.attributes)?;
    if info.issuer_unique_id.is_some() {
        return deny(Reason::ProfileIssuerUniqueId, "`issuerUniqueID` is there");
    }
    let extensions = info.extensions.as_deref().unwrap_or_default();
    extensions_in_general(extensions)?;
    let broker = target(extensions)?;
    let authority_key = authority_key(extensions)?;
    let signed = certificate.signed_octets();
    let digest =
        signed.map_err(|error| Denial::new(Reason::CertificateStructure, error.to_string())).map(Digest::of)?;
    Ok(ProfiledCertificate {
        holder,
        holder_key,
        issuer,
        algorithm,
        serial,
        not_before,
        not_after,
        contract,
        admission,
        broker,
        authority_key,
        digest,
        certificate,
    })
}

fn deny<T>(reason: Reason, detail: impl Into<String>) -> Result<T, Denial> {
    Err(Denial::new(reason, detail))
}

fn holder(holder: &asn1::Holder) -> Result<(SpiffeId, Option<Digest>), Denial> {
    const REASON: Reason = Reason::ProfileHolder;
    if holder.base_certificate_id.is_some() {
        return deny(REASON, "`baseCertificateID` is there: it would bind the certificate to one SVID");
    }
    let id = match holder.entity_name.as_deref() {
        Some([name]) => spiffe_id(name).map_err(|detail| Denial::new(REASON, format!("entityName: {detail}")))?,
        Some(names) => return deny(REASON, format!("`entityName` has {} names, not one", names.len())),
        None => return deny(REASON, "`entityName` is missing"),
    };
    let Some(info) = &holder.object_digest_info else { return Ok((id, None)) };
    let sha256 = AlgorithmIdentifierOwned { oid: oid::SHA256, parameters: None };
    if info.digested_object_type != DigestedObjectType::PublicKey || info.other_object_type_id.is_some() {
        return deny(REASON, "`objectDigestInfo` is not over a public key");
    }
    if info.digest_algorithm != sha256 {
        return deny(REASON, "`objectDigestInfo` is not by SHA-256 without parameters");
    }
    let digest = info.object_digest.as_bytes().and_then(|octets| <[u8; 32]>::try_from(octets).ok());
    match digest {
        Some(octets) => Ok((id, Some(Digest::from_bytes(octets)))),
        None => deny(REASON, "`objectDigestInfo` does not hold 32 octets"),
    }
}

fn issuer(issuer: &asn1::Issuer) -> Result<Name, Denial> {
    const REASON: Reason = Reason::ProfileIssuer;
    let form = match issuer {
        asn1::Issuer::V1Form(_) => return deny(REASON, "`v1Form` is used"),
        asn1::Issuer::V2Form(form) => form,
    };
    if form.base_certificate_id.is_some() || form.object_digest_info.is_some() {
        return deny(REASON, "`v2Form` holds more than `issuerName`");
    }
    match form.issuer_name.as_deref() {
        Some([GeneralName::DirectoryName(name)]) if !name.is_empty() => Ok(name.clone()),
        Some([GeneralName::DirectoryName(_)]) => deny(REASON, "`directoryName` is empty"),
        Some([_]) => deny(REASON, "`issuerName` is not a `directoryName`"),
        Some(names) => deny(REASON, format!("`issuerName` has {} names, not one", names.len())),
        None => deny(REASON, "`issuerName` is missing"),
    }
}

fn algorithm(value: &asn1::Certificate) -> Result<SignatureAlgorithm, Denial> {
    const REASON: Reason = Reason::ProfileAlgorithm;
    if value.signature_algorithm != value.info.signature {
        return deny(REASON, "the algorithm inside the signed part differs from the one outside");
    }
    match SignatureAlgorithm::from_identifier(&value.info.signature) {
        Some(algorithm) => Ok(algorithm),
        None => deny(REASON, format!("{} is not allowed, or has parameters", value.info.signature.oid)),
    }
}

/// The serial number's magnitude. `octets` are two's complement, as they stand in the encoding.
fn serial(octets: &[u8]) -> Result<Vec<u8>, Denial> {
    const REASON: Reason = Reason::ProfileSerial;
    if octets.len() > MAX_SERIAL_OCTETS {
        return deny(REASON, format!("{} octets; at most {MAX_SERIAL_OCTETS} are allowed", octets.len()));
    }
    match octets {
        [] | [0] => deny(REASON, "zero"),
        [0x80..=0xff, ..] => deny(REASON, "negative"),
        [0, magnitude @ ..] => Ok(magnitude.to_vec()),
        magnitude => Ok(magnitude.to_vec()),
    }
}

fn time(raw: &asn1::RawTime, field: &str) -> Result<Timestamp, Denial> {
    let text = match raw.0.as_slice() {
        [y1, y2, y3, y4, m1, m2, d1, d2, h1, h2, n1, n2, s1, s2, b'Z'] => {
            let rfc3339 = [
                *y1, *y2, *y3, *y4, b'-', *m1, *m2, b'-', *d1, *d2, b'T', *h1, *h2, b':', *n1, *n2, b':', *s1, *s2,
                b'Z',
            ];
            String::from_utf8(rfc3339.to_vec()).ok()
        }
        _ => None,
    };
    text.and_then(|text| text.parse().ok()).ok_or_else(|| {
        let shown = String::from_utf8_lossy(&raw.0);
        Denial::new(Reason::ProfileValidity, format!("`{field}` is `{shown}`, not a time as `YYYYMMDDHHMMSSZ`"))
    })
}

/// The one attribute of type `oid`, and its one value.
fn attribute<'a>(attributes: &'a [Attribute], oid: ObjectIdentifier, name: &str) -> Result<&'a der::Any, Denial> {
    let mut found = attributes.iter().filter(|attribute| attribute.oid == oid);
    let (Some(attribute), None) = (found.next(), found.next()) else {
        return deny(Reason::ProfileAttribute, format!("`{name}` is not there exactly once"));
    };
    match attribute.values.as_slice() {
        [value] => Ok(value),
        values => deny(Reason::ProfileAttribute, format!("`{name}` has {} values, not one", values.len())),
    }
}

fn contract(attributes: &[Attribute]) -> Result<Vec<u8>, Denial> {
    let value = attribute(attributes, oid::EXECUTION_CONTRACT, "executionContract")?;
    match value.decode_as::<Utf8StringRef<'_>>() {
        Ok(text) => Ok(text.as_str().as_bytes().to_vec()),
        Err(error) => deny(Reason::ProfileAttribute, format!("`executionContract` is not a UTF8String: {error}")),
    }
}

fn admission(attributes: &[Attribute]) -> Result<Admission, Denial> {
    let value = attribute(attributes, oid::ADMISSION, "admission")?;
    let octets = value.to_der().map_err(|error| Denial::new(Reason::ProfileAdmission, error.to_string()))?;
    Admission::from_der(&octets).map_err(|detail| Denial::new(Reason::ProfileAdmission, detail))
}

fn no_other_attribute(attributes: &[Attribute]) -> Result<(), Denial> {
    let known = [oid::EXECUTION_CONTRACT, oid::ADMISSION];
    match attributes.iter().find(|attribute| !known.contains(&attribute.oid)) {
        None => Ok(()),
        Some(unknown) => deny(Reason::ProfileAttribute, format!("attribute {} is unknown", unknown.oid)),
    }
}

fn extensions_in_general(extensions: &[Extension]) -> Result<(), Denial> {
    const REASON: Reason = Reason::ProfileExtension;
    if extensions.len() > MAX_EXTENSIONS {
        return deny(REASON, format!("{} extensions; at most {MAX_EXTENSIONS} are allowed", extensions.len()));
    }
    for (index, extension) in extensions.iter().enumerate() {
        let known = [oid::TARGET_INFORMATION, oid::AUTHORITY_KEY_IDENTIFIER].contains(&extension.extn_id);
        if extension.critical && !known {
            return deny(REASON, format!("critical extension {} is unknown", extension.extn_id));
        }
        if extensions.iter().take(index).any(|earlier| earlier.extn_id == extension.extn_id) {
            return deny(REASON, format!("extension {} is there twice", extension.extn_id));
        }
    }
    Ok(())
}

/// The extension `oid`, decoded, which must be there with the given criticality and in DER.
fn extension<T>(extensions: &[Extension], oid: ObjectIdentifier, critical: bool, name: &str) -> Result<T, Denial>
where
    T: for<'a> Decode<'a, Error = der::Error> + Encode,
{
    const REASON: Reason = Reason::ProfileExtension;
    let Some(found) = extensions.iter().find(|extension| extension.extn_id == oid) else {
        return deny(REASON, format!("`{name}` is missing"));
    };
    if found.critical != critical {
        return deny(REASON, format!("`{name}` must {}be critical", if critical { "" } else { "not " }));
    }
    let octets = found.extn_value.as_bytes();
    // As for the certificate itself: before types are made of them, octets are DER and within bounds.
    strict::check(octets).map_err(|flaw| Denial::new(REASON, format!("`{name}` is malformed: {flaw}")))?;
    let value = T::from_der(octets).map_err(|error| Denial::new(REASON, format!("`{name}` is malformed: {error}")))?;
    match value.to_der() {
        Ok(again) if again == octets => Ok(value),
        _ => deny(REASON, format!("`{name}` is not in DER")),
    }
}

fn target(extensions: &[Extension]) -> Result<SpiffeId, Denial> {
    const REASON: Reason = Reason::ProfileTarget;
    let targets: TargetInformation = extension(extensions, oid::TARGET_INFORMATION, true, "targetInformation")?;
    match targets.as_slice() {
        [targets] => match targets.as_slice() {
            [Target::Name(name)] => {
                spiffe_id(name).map_err(|detail| Denial::new(REASON, format!("targetName: {detail}")))
            }
            [_] => deny(REASON, "the target is not a `targetName`"),
            targets => deny(REASON, format!("{} targets, not one", targets.len())),
        },
        lists => deny(REASON, format!("{} lists of targets, not one", lists.len())),
    }
}

fn authority_key(extensions: &[Extension]) -> Result<Vec<u8>, Denial> {
    const NAME: &str = "authorityKeyIdentifier";
    let value: AuthorityKeyIdentifier = extension(extensions, oid::AUTHORITY_KEY_IDENTIFIER, false, NAME)?;
    if value.authority_cert_issuer.is_some() || value.authority_cert_serial_number.is_some() {
        return deny(Reason::ProfileExtension, format!("`{NAME}` holds more than `keyIdentifier`"));
    }
    match value.key_identifier.as_ref().map(|identifier| identifier.as_bytes()) {
        Some(octets) if (1..=MAX_KEY_IDENTIFIER_OCTETS).contains(&octets.len()) => Ok(octets.to_vec()),
        _ => deny(
            Reason::ProfileExtension,
            format!("`{NAME}` has no `keyIdentifier` of 1 to {MAX_KEY_IDENTIFIER_OCTETS} octets"),
        ),
    }
}

/// The SPIFFE ID of a workload: a URI with a path below the trust domain.
pub(super) fn spiffe_id(name: &GeneralName) -> Result<SpiffeId, String> {
    let GeneralName::UniformResourceIdentifier(uri) = name else {
        return Err("not a URI".to_owned());
    };
    let text = uri.as_str();
    if text.len() > MAX_SPIFFE_ID_OCTETS {
        return Err(format!("{} octets; a SPIFFE ID has at most {MAX_SPIFFE_ID_OCTETS}", text.len()));
    }
    let id = SpiffeId::new(text).map_err(|error| format!("not a SPIFFE ID: {error}"))?;
    match id.path() {
        "" | "/" => Err("a trust domain, not a workload".to_owned()),
        // One spelling only: what was read is what would be written.
        _ if id.to_string() != text => Err("not in the canonical spelling of a SPIFFE ID".to_owned()),
        _ => Ok(id),
    }
}
