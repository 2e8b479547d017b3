//! A CA that this process holds: its certificate, its key, and issuing by them. Those of the embedded trust domain, and
//! the intermediate that a SPIRE server signs for a broker.

use std::fmt;
use std::time::Duration;

use der::Decode;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    PublicKeyData, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use spiffe::{SpiffeId, TrustDomain};
use time::OffsetDateTime;
use x509_cert::Certificate;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::attribute_certificate::SignatureAlgorithm;
use crate::decision::MutationId;
use crate::identity::execution::{ExecutionIdentity, ExecutionKey, MintError, Plan};
use crate::identity::leaf::{Serial, validity};
use crate::identity::{Bundle, Form};
use crate::key::{InvalidKey, SigningKey, fresh_serial};
use crate::timestamp::Timestamp;

/// The organization in every subject.
const ORGANIZATION: &str = "SEB";

/// How long a CA is valid. Rotate it long before.
const CA_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);

/// A CA certificate and its key do not make a CA, or the CA cannot issue.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The key is not usable.
    #[error("the key of the CA cannot be used")]
    Key(#[source] InvalidKey),
    /// The certificate is not that of a CA that was made here, or the key is not its key.
    #[error("the certificate of the CA cannot be used: {0}")]
    Certificate(String),
    /// A certificate could not be made.
    #[error("the certificate could not be made")]
    Issue(#[source] rcgen::Error),
    /// What would be issued is not valid at all.
    #[error("it would end at {not_after}, before it begins at {not_before}")]
    Ended {
        /// Its first second.
        not_before: Timestamp,
        /// Its last second.
        not_after: Timestamp,
    },
}

/// A CA.
pub(super) struct Ca {
    trust_domain: TrustDomain,
    /// Its own certificate, and those between it and the trust bundle.
    chain: Vec<Vec<u8>>,
    not_after: Timestamp,
    issuer: rcgen::Issuer<'static, CaKey>,
}

/// The key of a CA: P-256.
pub(super) struct CaKey {
    key: SigningKey,
    point: Vec<u8>,
}

impl Ca {
    /// A fresh root of `trust_domain`, valid from `now`.
    pub(super) fn root(trust_domain: &TrustDomain, now: Timestamp) -> Result<Self, CaError> {
        let key = CaKey::generate()?;
        let params = ca_params(trust_domain, "root CA", 1, now, now.saturating_add(CA_LIFE))?;
        let certificate = params.self_signed(&key).map_err(CaError::Issue)?;
        Self::new(vec![certificate.der().to_vec()], key)
    }

    /// A fresh execution CA below this root.
    pub(super) fn execution(&self, now: Timestamp) -> Result<Self, CaError> {
        let key = CaKey::generate()?;
        let params = ca_params(&self.trust_domain, "execution CA", 0, now, self.not_after)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(CaError::Issue)?;
        Self::new(vec![certificate.der().to_vec()], key)
    }

    /// The CA with this certificate and this key.
    pub(super) fn load(certificate: Vec<u8>, key: &str, now: Timestamp) -> Result<Self, CaError> {
        let key = CaKey::new(SigningKey::from_pkcs8_pem(key).map_err(CaError::Key)?)?;
        let ca = Self::new(vec![certificate], key)?;
        let bundle = Bundle::from_der(&ca.trust_domain, &ca.chain);
        ca.check(&bundle.map_err(|error| CaError::Certificate(error.to_string()))?, now)?;
        Ok(ca)
    }

    /// The CA with this chain, its own certificate first, which somebody else signed over `key`: what it issues verifies
    /// by `bundle`.
    pub(super) fn signed(chain: Vec<Vec<u8>>, key: CaKey, bundle: &Bundle, now: Timestamp) -> Result<Self, CaError> {
        let ca = Self::new(chain, key)?;
        ca.check(bundle, now)?;
        Ok(ca)
    }

    fn new(chain: Vec<Vec<u8>>, key: CaKey) -> Result<Self, CaError> {
        let unusable = CaError::Certificate;
        let certificate = chain.first().ok_or_else(|| unusable("there is none".to_owned()))?;
        let parsed = Certificate::from_der(certificate).map_err(|error| unusable(error.to_string()))?;
        let (_, not_after) = validity(&parsed).map_err(unusable)?;
        let issuer = rcgen::Issuer::from_ca_cert_der(&CertificateDer::from(certificate.as_slice()), key)
            .map_err(|error| unusable(error.to_string()))?;
        Ok(Self { trust_domain: trust_domain_of(&parsed)?, chain, not_after, issuer })
    }

    /// Whether what it issues verifies: its name and its key are those of the certificate, and a path leads to `bundle`.
    fn check(&self, bundle: &Bundle, now: Timestamp) -> Result<(), CaError> {
        let unusable = |problem: String| CaError::Certificate(problem);
        let key = SigningKey::generate(SignatureAlgorithm::EcdsaP256Sha256).map_err(CaError::Key)?;
        let id = SpiffeId::new(format!("{}/check", self.trust_domain.id_string()))
            .map_err(|error| unusable(error.to_string()))?;
        let leaf = CertificateDer::from(self.issue(&id, &key, now, now)?);
        let above: Vec<_> = self.chain.iter().map(|octets| CertificateDer::from(octets.as_slice())).collect();
        bundle
            .verify(&leaf, &above, now, webpki::KeyUsage::client_auth())
            .map_err(|error| unusable(format!("what it issues does not verify: {error}")))
    }

    /// The trust domain.
    pub(super) const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The certificate in DER.
    pub(super) fn certificate(&self) -> &[u8] {
        self.chain.first().map_or(&[], Vec::as_slice)
    }

    /// The chain of what it issued: `leaf`, its own certificate, and those above.
    fn chain(&self, leaf: Vec<u8>) -> Vec<CertificateDer<'static>> {
        std::iter::once(&leaf).chain(&self.chain).map(|octets| CertificateDer::from(octets.clone())).collect()
    }

    /// The last second of its validity.
    pub(super) const fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// The key.
    pub(super) fn key(&self) -> &SigningKey {
        &self.issuer.key().key
    }

    /// A leaf X509-SVID over `key`, in DER.
    pub(super) fn issue(
        &self,
        id: &SpiffeId,
        key: &SigningKey,
        not_before: Timestamp,
        not_after: Timestamp,
    ) -> Result<Vec<u8>, CaError> {
        if not_after < not_before {
            return Err(CaError::Ended { not_before, not_after });
        }
        // Every subject has a name, for readers that show nothing else; the SPIFFE ID is what counts.
        let name = id.path().trim_start_matches('/').chars().take(64).collect::<String>();
        let params = leaf_params(id, &name, &fresh_serial().map_err(CaError::Key)?, not_before, not_after)?;
        let point = point(key)?;
        let certificate = params.signed_by(&Point(point), &self.issuer).map_err(CaError::Issue)?;
        Ok(certificate.der().to_vec())
    }

    /// The plan of an X509-SVID that this CA mints.
    pub(super) fn plan(&self, mutation: &MutationId, now: Timestamp, not_after: Timestamp) -> Result<Plan, MintError> {
        if self.not_after < not_after {
            return Err(MintError::IssuerEnds { issuer: self.not_after, not_after });
        }
        let serial = fresh_serial().ok().and_then(|serial| Serial::new(&serial)).ok_or(MintError::Library)?;
        Plan::new(&self.trust_domain, mutation, Form::X509, Some(serial), now, not_after)
    }

    /// The execution identity that was planned, with a fresh key; some tens of microseconds.
    pub(super) fn mint(&self, plan: Plan) -> Result<ExecutionIdentity, MintError> {
        let key = ExecutionKey::generate()?;
        let chain = self.chain(self.certify(&plan, &key)?);
        Ok(ExecutionIdentity::x509(plan, chain, key))
    }

    /// The certificate of an execution identity, in DER.
    fn certify(&self, plan: &Plan, key: &ExecutionKey) -> Result<Vec<u8>, MintError> {
        let serial = plan.serial().map(Serial::as_bytes).ok_or(MintError::Library)?;
        let params = leaf_params(plan.id(), plan.mutation().as_str(), serial, plan.not_before(), plan.not_after())
            .map_err(|_| MintError::Library)?;
        let certificate = params.signed_by(key, &self.issuer).map_err(|_| MintError::Library)?;
        Ok(certificate.der().to_vec())
    }
}

/// A CA certificate as a bundle of its trust domain, and the last second of its validity.
pub(super) fn describe(certificate: Vec<u8>) -> Result<(Bundle, Timestamp), CaError> {
    let parsed = Certificate::from_der(&certificate).map_err(|error| CaError::Certificate(error.to_string()))?;
    let (_, not_after) = validity(&parsed).map_err(CaError::Certificate)?;
    let bundle = Bundle::from_der(&trust_domain_of(&parsed)?, &[certificate]);
    Ok((bundle.map_err(|error| CaError::Certificate(error.to_string()))?, not_after))
}

/// Names the trust domain, and never shows the key.
impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ca").field("trust_domain", &self.trust_domain).finish_non_exhaustive()
    }
}

/// A certificate signing request (PKCS#10, DER) for the certificate of an execution identity over `key`.
pub(super) fn execution_request(plan: &Plan, key: &ExecutionKey) -> Result<Vec<u8>, MintError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject_of(plan.mutation().as_str());
    let uri = plan.id().to_string().as_str().try_into().map_err(|_| MintError::Library)?;
    params.subject_alt_names = vec![SanType::URI(uri)];
    Ok(params.serialize_request(key).map_err(|_| MintError::Library)?.der().to_vec())
}

fn ca_params(
    trust_domain: &TrustDomain,
    kind: &str,
    below: u8,
    now: Timestamp,
    not_after: Timestamp,
) -> Result<CertificateParams, CaError> {
    let serial = fresh_serial().map_err(CaError::Key)?;
    // Two CAs never share a name, so that no path is tried with the wrong key.
    let name: String = serial.iter().take(6).map(|octet| format!("{octet:02x}")).collect();
    let mut params = params(&trust_domain.id_string(), &format!("{kind} {name}"), &serial, now, not_after)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn leaf_params(
    id: &SpiffeId,
    name: &str,
    serial: &[u8],
    not_before: Timestamp,
    not_after: Timestamp,
) -> Result<CertificateParams, CaError> {
    let mut params = params(&id.to_string(), name, serial, not_before, not_after)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn params(
    uri: &str,
    name: &str,
    serial: &[u8],
    not_before: Timestamp,
    not_after: Timestamp,
) -> Result<CertificateParams, CaError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject_of(name);
    params.serial_number = Some(SerialNumber::from_slice(serial));
    params.subject_alt_names = vec![SanType::URI(uri.try_into().map_err(CaError::Issue)?)];
    params.not_before = date(not_before)?;
    params.not_after = date(not_after)?;
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn subject_of(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, ORGANIZATION);
    subject.push(DnType::CommonName, name);
    subject
}

fn date(timestamp: Timestamp) -> Result<OffsetDateTime, CaError> {
    let seconds = i64::try_from(timestamp.seconds()).ok();
    let date = seconds.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    date.ok_or_else(|| CaError::Certificate(format!("{timestamp} cannot stand in a certificate")))
}

/// The trust domain that a CA certificate speaks for: its one URI.
fn trust_domain_of(certificate: &Certificate) -> Result<TrustDomain, CaError> {
    let unusable = |problem: &str| CaError::Certificate(problem.to_owned());
    let names = certificate.tbs_certificate().get_extension::<SubjectAltName>();
    let names = names.map_err(|_| unusable("its alternative names are malformed"))?.map(|(_, names)| names.0);
    match names.as_deref() {
        Some([GeneralName::UniformResourceIdentifier(uri)]) => TrustDomain::new(uri.as_str())
            .ok()
            .filter(|domain| domain.id_string() == uri.as_str())
            .ok_or_else(|| unusable("its URI is not the SPIFFE ID of a trust domain")),
        _ => Err(unusable("it has not one URI")),
    }
}

/// The point of a P-256 public key: what stands in its SubjectPublicKeyInfo.
fn point(key: &SigningKey) -> Result<Vec<u8>, CaError> {
    if key.algorithm() != SignatureAlgorithm::EcdsaP256Sha256 {
        return Err(CaError::Certificate("its key is not on P-256".to_owned()));
    }
    let key = key.public_key().map_err(CaError::Key)?;
    let info = spki::SubjectPublicKeyInfoOwned::from_der(&key).map_err(|_| CaError::Key(InvalidKey::Library))?;
    Ok(info.subject_public_key.raw_bytes().to_vec())
}

impl CaKey {
    /// A fresh key.
    pub(super) fn generate() -> Result<Self, CaError> {
        Self::new(SigningKey::generate(SignatureAlgorithm::EcdsaP256Sha256).map_err(CaError::Key)?)
    }

    /// A certificate signing request (PKCS#10, DER) for a CA of `trust_domain` with this key.
    pub(super) fn request(&self, trust_domain: &TrustDomain) -> Result<Vec<u8>, CaError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let uri = trust_domain.id_string().as_str().try_into().map_err(CaError::Issue)?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        Ok(params.serialize_request(self).map_err(CaError::Issue)?.der().to_vec())
    }

    fn new(key: SigningKey) -> Result<Self, CaError> {
        Ok(Self { point: point(&key)?, key })
    }
}

impl PublicKeyData for CaKey {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for CaKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.key.sign(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

/// A P-256 public key.
struct Point(Vec<u8>);

impl PublicKeyData for Point {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}
