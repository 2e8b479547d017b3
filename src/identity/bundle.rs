//! The certificates in which the paths of one trust domain's SVIDs end.

use std::time::Duration;

use der::Decode;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use spiffe::TrustDomain;
use webpki::aws_lc_rs as algorithms;
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};
use x509_cert::Certificate;
use x509_cert::ext::pkix::BasicConstraints;

use super::leaf::validity;
use crate::attribute_certificate::{self, InvalidTrust, TrustBundle};
use crate::record::TrustSource;
use crate::timestamp::Timestamp;

/// How many certificates a chain can have, the leaf included.
const MAX_CHAIN: usize = 5;

/// What may sign the certificates of a path.
static ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::ED25519,
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
];

/// The CA certificates of one trust domain, for the paths of its SVIDs.
#[derive(Debug, Clone)]
pub struct Bundle {
    trust: TrustBundle,
    anchors: Vec<Anchor>,
    certificates: Vec<Vec<u8>>,
    source: TrustSource,
}

#[derive(Debug, Clone)]
struct Anchor {
    anchor: TrustAnchor<'static>,
    not_before: Timestamp,
    not_after: Timestamp,
    path_length: Option<u8>,
}

impl Bundle {
    /// Reads the bundle of `trust_domain` from PEM: one or more CA certificates and nothing else.
    ///
    /// # Errors
    /// If there is none or too many, or one of them is not a CA certificate (X509-SVID section 5).
    pub fn from_pem(trust_domain: &TrustDomain, text: &str) -> Result<Self, InvalidTrust> {
        // Reports what is wrong with the text.
        let trust = TrustBundle::from_pem(trust_domain.clone(), text)?;
        let certificates = attribute_certificate::read_certificates(text).unwrap_or_default();
        Ok(Self::new(trust, certificates))
    }

    /// Makes the bundle of `trust_domain` from the DER of its CA certificates.
    ///
    /// # Errors
    /// As [`Self::from_pem`].
    pub fn from_der(trust_domain: &TrustDomain, certificates: &[Vec<u8>]) -> Result<Self, InvalidTrust> {
        let trust = TrustBundle::from_der(trust_domain.clone(), certificates)?;
        Ok(Self::new(trust, certificates.to_vec()))
    }

    /// A certificate that cannot be read, which `TrustBundle` would have refused, anchors nothing.
    fn new(trust: TrustBundle, certificates: Vec<Vec<u8>>) -> Self {
        let anchors = certificates.iter().filter_map(|octets| Anchor::read(octets)).collect();
        Self { trust, anchors, certificates, source: TrustSource::Folder }
    }

    /// The same bundle, which came from elsewhere than the folder of the process's own identity.
    #[must_use]
    pub fn from_source(mut self, source: TrustSource) -> Self {
        self.source = source;
        self
    }

    /// Where it came from.
    pub const fn source(&self) -> TrustSource {
        self.source
    }

    /// The trust domain whose bundle it is.
    pub fn trust_domain(&self) -> &TrustDomain {
        self.trust.trust_domain()
    }

    /// The same certificates, for the paths of attribute authorities.
    pub fn trust(&self) -> &TrustBundle {
        &self.trust
    }

    /// The certificates in DER.
    pub fn certificates(&self) -> &[Vec<u8>] {
        &self.certificates
    }

    /// Whether a path leads from `leaf` to a certificate of this bundle, all of it valid `now`, for this `usage`.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: Timestamp,
        usage: KeyUsage,
    ) -> Result<(), webpki::Error> {
        if intermediates.len() >= MAX_CHAIN {
            return Err(webpki::Error::MaximumPathDepthExceeded);
        }
        let valid =
            |anchor: &&Anchor| (anchor.not_before.seconds()..=anchor.not_after.seconds()).contains(&now.seconds());
        let live: Vec<&Anchor> = self.anchors.iter().filter(valid).collect();
        let anchors: Vec<TrustAnchor<'_>> = live.iter().map(|anchor| anchor.anchor.clone()).collect();
        let time = UnixTime::since_unix_epoch(Duration::from_secs(now.seconds()));
        let acceptable = |path: &VerifiedPath<'_>| self.acceptable(path, &live);
        EndEntityCert::try_from(leaf)?
            .verify_for_usage(ALGORITHMS, &anchors, intermediates, time, usage, None, Some(&acceptable))
            .map(drop)
    }

    /// Whether the key of `certificate` is that of a certificate of this bundle.
    pub(crate) fn has_key_of(&self, certificate: &CertificateDer<'_>) -> bool {
        webpki::anchor_from_trusted_cert(certificate).is_ok_and(|other| {
            self.anchors.iter().any(|it| it.anchor.subject_public_key_info == other.subject_public_key_info)
        })
    }

    /// What the path algorithm does not look at: what the intermediates are for, and how many the anchor allows.
    fn acceptable(&self, path: &VerifiedPath<'_>, live: &[&Anchor]) -> Result<(), webpki::Error> {
        for ca in path.intermediate_certificates() {
            attribute_certificate::intermediate(&ca.der(), self.trust_domain())
                .map_err(|_| webpki::Error::UnknownIssuer)?;
        }
        let count = path.intermediate_certificates().count();
        let mut anchors = live.iter().filter(|anchor| anchor.anchor == *path.anchor());
        match anchors.any(|anchor| anchor.path_length.is_none_or(|most| count <= usize::from(most))) {
            true => Ok(()),
            false => Err(webpki::Error::PathLenConstraintViolated),
        }
    }
}

impl Anchor {
    fn read(octets: &[u8]) -> Option<Self> {
        let certificate = Certificate::from_der(octets).ok()?;
        let constraints = certificate.tbs_certificate().get_extension::<BasicConstraints>().ok()?;
        let (not_before, not_after) = validity(&certificate).ok()?;
        Some(Self {
            anchor: webpki::anchor_from_trusted_cert(&CertificateDer::from(octets)).ok()?.to_owned(),
            not_before,
            not_after,
            path_length: constraints.and_then(|(_, constraints)| constraints.path_len_constraint),
        })
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
    use time::{Duration as Span, OffsetDateTime};

    use super::*;

    fn ca(name: &str, constraint: BasicConstraints, days: i64) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(constraint);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.not_before = OffsetDateTime::UNIX_EPOCH;
        params.not_after = OffsetDateTime::UNIX_EPOCH + Span::days(days);
        params
    }

    #[test]
    fn a_root_that_has_ended_allows_no_longer_path_than_the_one_that_lives() {
        let key = KeyPair::generate().unwrap();
        let narrow = ca("root", BasicConstraints::Constrained(0), 100);
        let issuer = Issuer::from_params(&narrow, &key);
        let between = KeyPair::generate().unwrap();
        let below = ca("below", BasicConstraints::Unconstrained, 100);
        let intermediate = below.signed_by(&between, &issuer).unwrap();
        let mut leaf = CertificateParams::default();
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.subject_alt_names = vec![SanType::URI("spiffe://example.org/one".try_into().unwrap())];
        leaf.not_before = OffsetDateTime::UNIX_EPOCH;
        let leaf = leaf.signed_by(&KeyPair::generate().unwrap(), &Issuer::from_params(&below, &between)).unwrap();
        // The same name and key, with more to allow, until day 10.
        let wide = ca("root", BasicConstraints::Unconstrained, 10).self_signed(&key).unwrap();
        let narrow = narrow.self_signed(&key).unwrap();
        let bundle = [narrow.der().to_vec(), wide.der().to_vec()];
        let bundle = Bundle::from_der(&TrustDomain::new("example.org").unwrap(), &bundle).unwrap();
        let verify = |day: u64| {
            let now = Timestamp::from_seconds(day * 24 * 3600).unwrap();
            bundle.verify(leaf.der(), &[intermediate.der().clone()], now, KeyUsage::client_auth())
        };
        verify(5).unwrap();
        assert_eq!(verify(50).unwrap_err(), webpki::Error::PathLenConstraintViolated);
    }
}
