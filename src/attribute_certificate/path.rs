//! Third verdict: did a trusted attribute authority sign the certificate?
//!
//! Being in the trust bundle is not enough: the authority's SPIFFE ID must be on the list of authorities, its
//! certificate must be a leaf that may sign (RFC 5755 section 4.5), and its path must end in the bundle of its own
//! trust domain and of no other.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use der::Decode;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use spiffe::{SpiffeId, TrustDomain};
use webpki::aws_lc_rs as algorithms;
use x509_cert::Certificate;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, SubjectAltName};

use super::authority::{Authority, extension, read};
use super::pem;
use super::profile::{ProfiledCertificate, SignatureAlgorithm};
use crate::digest::Digest;
use crate::reason::{Denial, Reason};
use crate::timestamp::Timestamp;

/// How many certificates a chain can have, the authority's leaf included.
pub const MAX_CHAIN: usize = 5;

/// How large the certificates of a chain can be together, in octets of DER.
const MAX_CHAIN_OCTETS: usize = 64 * 1024;

/// How many certificates a trust bundle can have.
const MAX_ANCHORS: usize = 64;

/// What may sign the certificates of a path. The attribute certificate itself has the narrower list of the profile.
static PATH_ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::ED25519,
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
];

/// The trust bundle or the list of authorities is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("trust bundle of `{trust_domain}`: {problem}")]
pub struct InvalidTrust {
    trust_domain: TrustDomain,
    problem: String,
}

/// The certificates in which every path of one trust domain ends.
#[derive(Clone, Debug)]
pub struct TrustBundle {
    trust_domain: TrustDomain,
    anchors: Vec<Anchor>,
    digest: Digest,
}

#[derive(Clone, Debug)]
struct Anchor {
    anchor: TrustAnchor<'static>,
    not_before: Timestamp,
    not_after: Timestamp,
    /// How many intermediates may stand below it, if it says so.
    path_length: Option<u8>,
}

impl TrustBundle {
    /// Reads the bundle of `trust_domain` from PEM: one or more CA certificates and nothing else.
    ///
    /// # Errors
    /// If there is none or too many, or one of them is not a CA certificate (X509-SVID section 5).
    pub fn from_pem(trust_domain: TrustDomain, text: &str) -> Result<Self, InvalidTrust> {
        match pem::read_certificates(text) {
            Ok(certificates) => Self::from_der(trust_domain, &certificates),
            Err(problem) => Err(InvalidTrust { trust_domain, problem }),
        }
    }

    /// Makes the bundle of `trust_domain` from the DER of its CA certificates.
    ///
    /// # Errors
    /// As [`Self::from_pem`].
    pub fn from_der(trust_domain: TrustDomain, certificates: &[Vec<u8>]) -> Result<Self, InvalidTrust> {
        let invalid = |problem: String| InvalidTrust { trust_domain: trust_domain.clone(), problem };
        if certificates.is_empty() || certificates.len() > MAX_ANCHORS {
            let problem = format!("{} certificates; 1 to {MAX_ANCHORS} are allowed", certificates.len());
            return Err(invalid(problem));
        }
        let anchors = certificates
            .iter()
            .enumerate()
            .map(|(index, octets)| {
                Anchor::read(octets).map_err(|problem| invalid(format!("certificate {}: {problem}", index + 1)))
            })
            .collect::<Result<_, _>>()?;
        let parts: BTreeSet<&[u8]> = certificates.iter().map(Vec::as_slice).collect();
        let digest = Digest::of_parts(&parts.into_iter().collect::<Vec<_>>());
        Ok(Self { trust_domain, anchors, digest })
    }

    /// The trust domain whose bundle it is.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The digest of the set of certificates, whatever their order: names the bundle in records.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl Anchor {
    fn read(octets: &[u8]) -> Result<Self, String> {
        let certificate = Certificate::from_der(octets).map_err(|error| format!("not X.509 in DER: {error}"))?;
        let constraints = extension::<BasicConstraints>(&certificate, "basicConstraints");
        let path_length = match constraints.map_err(|denial| denial.detail)? {
            Some((_, constraints)) if constraints.ca => constraints.path_len_constraint,
            _ => return Err("not a CA".to_owned()),
        };
        match extension::<KeyUsage>(&certificate, "keyUsage").map_err(|denial| denial.detail)? {
            Some((_, usage)) if !usage.key_cert_sign() => return Err("`keyUsage` lacks `keyCertSign`".to_owned()),
            _ => {}
        }
        let validity = certificate.tbs_certificate().validity();
        let seconds = |time: &x509_cert::time::Time| {
            Timestamp::from_seconds(time.to_unix_duration().as_secs()).map_err(|error| error.to_string())
        };
        let der = CertificateDer::from(octets);
        let anchor = webpki::anchor_from_trusted_cert(&der).map_err(|error| error.to_string())?;
        Ok(Self {
            anchor: anchor.to_owned(),
            not_before: seconds(&validity.not_before)?,
            not_after: seconds(&validity.not_after)?,
            path_length,
        })
    }
}

/// Who is trusted to sign attribute certificates: a list of authorities, and the bundles their paths must end in.
///
/// The default trusts nobody.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    bundles: BTreeMap<TrustDomain, TrustBundle>,
    authorities: BTreeSet<SpiffeId>,
}

impl Trust {
    /// Trusts exactly `authorities`, each by the bundle of its own trust domain. An authority whose trust domain has
    /// no bundle is refused when it signs; of two bundles of one trust domain the later one counts.
    pub fn new(
        bundles: impl IntoIterator<Item = TrustBundle>,
        authorities: impl IntoIterator<Item = SpiffeId>,
    ) -> Self {
        Self {
            bundles: bundles.into_iter().map(|bundle| (bundle.trust_domain.clone(), bundle)).collect(),
            authorities: authorities.into_iter().collect(),
        }
    }
}

/// An attribute certificate that a trusted authority signed: only [`authenticate`] and
/// [`VerifiedAuthority::authenticate`] can make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedCertificate {
    profiled: ProfiledCertificate,
    authority: Arc<VerifiedAuthority>,
}

/// An authority whose path was verified, by one trust and at one second.
///
/// Many certificates come with the same chain. Whoever keeps this, with the trust that it was verified by, need not
/// verify the path again within the same second: the verdict is a function of chain, trust and second alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedAuthority {
    authority: Authority,
    bundle: Digest,
    chain: Vec<Vec<u8>>,
    second: u64,
}

/// Third verdict: whether an authority that `trust` lists signed `certificate`, at the time `now`.
///
/// `chain` holds the authority's public-key certificate first and then its intermediates, each in DER; a root may be
/// among them and is ignored.
///
/// # Errors
/// The first rule that is broken, as one of the reasons of [`crate::reason::Verdict::Signature`].
pub fn authenticate(
    certificate: ProfiledCertificate,
    chain: &[Vec<u8>],
    trust: &Trust,
    now: Timestamp,
) -> Result<VerifiedCertificate, Denial> {
    let (leaf, intermediates) = bounded(chain)?;
    let authority = read(leaf)?;
    // All of them, needed or not: what is no certificate has no place in a chain.
    intermediates.iter().try_for_each(|octets| read(octets).map(drop))?;
    let authority = Authority::read(&authority)?;
    issued_by(&authority, &certificate)?;
    let leaf = CertificateDer::from(leaf.as_slice());
    let (leaf, bundle) = trusted(&leaf, intermediates, &authority, trust, now)?;
    signed_by(&authority, &leaf, &certificate)?;
    let (chain, second) = (chain.to_vec(), now.seconds());
    let authority = Arc::new(VerifiedAuthority { authority, bundle: bundle.digest, chain, second });
    Ok(VerifiedCertificate { profiled: certificate, authority })
}

impl VerifiedAuthority {
    /// Whether [`authenticate`] with this `chain`, at the time `now` and by the trust that this was verified by, would
    /// verify the same path again.
    pub fn is_for(&self, chain: &[Vec<u8>], now: Timestamp) -> bool {
        self.second == now.seconds() && self.chain == chain
    }

    /// The same verdict as that of [`authenticate`] where [`Self::is_for`] holds: what depends on the certificate is
    /// verified, its signature above all.
    ///
    /// # Errors
    /// As [`authenticate`].
    pub fn authenticate(self: &Arc<Self>, certificate: ProfiledCertificate) -> Result<VerifiedCertificate, Denial> {
        issued_by(&self.authority, &certificate)?;
        let leaf = CertificateDer::from(self.chain.first().map_or(&[][..], Vec::as_slice));
        let leaf = webpki::EndEntityCert::try_from(&leaf)
            .map_err(|error| Denial::new(Reason::ChainEncoding, error.to_string()))?;
        signed_by(&self.authority, &leaf, &certificate)?;
        Ok(VerifiedCertificate { profiled: certificate, authority: Arc::clone(self) })
    }
}

/// Whether `certificate` says that it is this authority's.
fn issued_by(authority: &Authority, certificate: &ProfiledCertificate) -> Result<(), Denial> {
    if authority.name != certificate.issuer {
        let detail = format!("issued by `{}`, signed by `{}`", certificate.issuer, authority.name);
        return Err(Denial::new(Reason::AuthorityNameMismatch, detail));
    }
    if authority.key_identifier != certificate.authority_key {
        return Err(Denial::new(Reason::AuthorityKeyMismatch, "the identifiers of the two keys differ"));
    }
    Ok(())
}

/// Whether `certificate` is this authority's, whose certificate is `leaf`.
fn signed_by(
    authority: &Authority,
    leaf: &webpki::EndEntityCert<'_>,
    certificate: &ProfiledCertificate,
) -> Result<(), Denial> {
    if authority.algorithm != Some(certificate.algorithm) {
        let detail = format!("{} by a key of another kind", certificate.algorithm.as_str());
        return Err(Denial::new(Reason::SignatureAlgorithmMismatch, detail));
    }
    signature(leaf, certificate)
}

/// Whether an authority that `trust` lists signed `octets`, at the time `now`: which one. For what an authority signs
/// besides certificates; whoever calls this says in `octets` what they are for.
///
/// `chain` is as in [`authenticate`]. The signature is of the algorithm that the authority's key has in the profile.
///
/// # Errors
/// The first rule that is broken, as one of the reasons of [`crate::reason::Verdict::Signature`].
pub fn authenticate_octets(
    octets: &[u8],
    signature: &[u8],
    chain: &[Vec<u8>],
    trust: &Trust,
    now: Timestamp,
) -> Result<SpiffeId, Denial> {
    let (leaf, intermediates) = bounded(chain)?;
    let authority = read(leaf).and_then(|leaf| Authority::read(&leaf))?;
    let leaf = CertificateDer::from(leaf.as_slice());
    let (leaf, _) = trusted(&leaf, intermediates, &authority, trust, now)?;
    let Some(algorithm) = authority.algorithm else {
        let detail = "the authority's key fits no signature algorithm of the profile";
        return Err(Denial::new(Reason::SignatureAlgorithmMismatch, detail));
    };
    let valid = leaf.verify_signature(verification(algorithm), octets, signature);
    valid.map_err(|error| Denial::new(Reason::SignatureInvalid, error.to_string()))?;
    Ok(authority.id)
}

/// The authority's certificate as the path algorithm reads it, and the bundle in which its path ends: the authority is
/// listed, and its path is good.
fn trusted<'l, 't>(
    leaf: &'l CertificateDer<'_>,
    intermediates: &[Vec<u8>],
    authority: &Authority,
    trust: &'t Trust,
    now: Timestamp,
) -> Result<(webpki::EndEntityCert<'l>, &'t TrustBundle), Denial> {
    if !trust.authorities.contains(&authority.id) {
        return Err(Denial::new(Reason::AuthorityUnknown, format!("`{}`", authority.id)));
    }
    let Some(bundle) = trust.bundles.get(authority.id.trust_domain()) else {
        let detail = format!("there is no bundle of `{}`", authority.id.trust_domain());
        return Err(Denial::new(Reason::AuthorityUntrusted, detail));
    };
    let leaf = webpki::EndEntityCert::try_from(leaf).map_err(|error| match error {
        webpki::Error::UnsupportedCriticalExtension => {
            Denial::new(Reason::AuthorityProfile, "an extension is critical and unknown")
        }
        _ => Denial::new(Reason::ChainEncoding, error.to_string()),
    })?;
    path(&leaf, intermediates, bundle, now)?;
    Ok((leaf, bundle))
}

fn bounded(chain: &[Vec<u8>]) -> Result<(&Vec<u8>, &[Vec<u8>]), Denial> {
    let (leaf, intermediates) =
        chain.split_first().ok_or_else(|| Denial::new(Reason::ChainMissing, "no certificate came with it"))?;
    if chain.len() > MAX_CHAIN {
        let detail = format!("{} certificates; at most {MAX_CHAIN} are read", chain.len());
        return Err(Denial::new(Reason::ChainBounds, detail));
    }
    let octets: usize = chain.iter().map(Vec::len).sum();
    if octets > MAX_CHAIN_OCTETS {
        let detail = format!("{octets} octets; at most {MAX_CHAIN_OCTETS} are read");
        return Err(Denial::new(Reason::ChainBounds, detail));
    }
    Ok((leaf, intermediates))
}

/// Whether a path leads from `leaf` to an anchor of `bundle` that is valid `now`.
fn path(
    leaf: &webpki::EndEntityCert<'_>,
    intermediates: &[Vec<u8>],
    bundle: &TrustBundle,
    now: Timestamp,
) -> Result<(), Denial> {
    let live: Vec<&Anchor> = bundle
        .anchors
        .iter()
        .filter(|anchor| (anchor.not_before.seconds()..=anchor.not_after.seconds()).contains(&now.seconds()))
        .collect();
    let anchors: Vec<TrustAnchor<'static>> = live.iter().map(|anchor| anchor.anchor.clone()).collect();
    if anchors.is_empty() {
        let detail = format!("no certificate of the bundle of `{}` is valid at this time", bundle.trust_domain);
        return Err(Denial::new(Reason::AuthorityExpired, detail));
    }
    let intermediates: Vec<CertificateDer<'_>> =
        intermediates.iter().map(|octets| CertificateDer::from(octets.as_slice())).collect();
    let time = UnixTime::since_unix_epoch(Duration::from_secs(now.seconds()));
    // Why the last complete path was not acceptable all the same; another one may be.
    let flaw = RefCell::new(None);
    let acceptable = |path: &webpki::VerifiedPath<'_>| {
        acceptable(path, &live, &bundle.trust_domain).map_err(|denial| {
            flaw.replace(Some(denial));
            webpki::Error::UnknownIssuer
        })
    };
    type Acceptable<'a> = &'a dyn Fn(&webpki::VerifiedPath<'_>) -> Result<(), webpki::Error>;
    let build = |anchors: &[TrustAnchor<'static>], acceptable: Option<Acceptable<'_>>| {
        let found = leaf.verify_for_usage(PATH_ALGORITHMS, anchors, &intermediates, time, AnyPurpose, None, acceptable);
        found.map(drop)
    };
    let Err(error) = build(&anchors, Some(&acceptable)) else { return Ok(()) };
    if let Some(denial) = flaw.take() {
        return Err(denial);
    }
    match error {
        webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. } => {
            Err(Denial::new(Reason::AuthorityExpired, error.to_string()))
        }
        _ => {
            let all: Vec<_> = bundle.anchors.iter().map(|anchor| anchor.anchor.clone()).collect();
            match anchors.len() < all.len() && build(&all, None).is_ok() {
                true => Err(Denial::new(Reason::AuthorityExpired, "the path's root is not valid at this time")),
                false => Err(Denial::new(Reason::AuthorityUntrusted, error.to_string())),
            }
        }
    }
}

/// What the path algorithm does not look at: the intermediates' use, and how many of them the root allows.
fn acceptable(path: &webpki::VerifiedPath<'_>, live: &[&Anchor], trust_domain: &TrustDomain) -> Result<(), Denial> {
    path.intermediate_certificates().try_for_each(|ca| intermediate(&ca.der(), trust_domain))?;
    let count = path.intermediate_certificates().count();
    let mut anchors = live.iter().filter(|anchor| anchor.anchor == *path.anchor());
    match anchors.any(|anchor| anchor.path_length.is_none_or(|most| count <= usize::from(most))) {
        true => Ok(()),
        false => Err(Denial::new(Reason::AuthorityUntrusted, "more intermediates than the root's `pathLenConstraint`")),
    }
}

/// Whether the key of an intermediate may sign certificates, and whether it speaks for this trust domain (X509-SVID
/// section 3.2: a signing certificate's SPIFFE ID has no path).
pub(crate) fn intermediate(octets: &[u8], trust_domain: &TrustDomain) -> Result<(), Denial> {
    let deny = |detail: &str| Err(Denial::new(Reason::AuthorityUntrusted, format!("an intermediate {detail}")));
    let certificate = read(octets)?;
    if let Some((_, usage)) = extension::<KeyUsage>(&certificate, "keyUsage")?
        && !usage.key_cert_sign()
    {
        return deny("lacks `keyCertSign`");
    }
    let names = extension::<SubjectAltName>(&certificate, "subjectAltName")?.map(|(_, names)| names.0);
    for name in names.iter().flatten() {
        if let GeneralName::UniformResourceIdentifier(uri) = name
            && uri.as_str() != trust_domain.id_string()
        {
            return deny("speaks for another trust domain, or for a workload");
        }
    }
    Ok(())
}

/// The profile gives extended key usage no say: the authority is trusted by name.
struct AnyPurpose;

impl webpki::ExtendedKeyUsageValidator for AnyPurpose {
    fn validate(&self, _: webpki::KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

pub(super) fn signature(leaf: &webpki::EndEntityCert<'_>, certificate: &ProfiledCertificate) -> Result<(), Denial> {
    let invalid = |detail: String| Denial::new(Reason::SignatureInvalid, detail);
    let signed = certificate.certificate.signed_octets().map_err(|error| invalid(error.to_string()))?;
    let signature = certificate.certificate.value.signature.as_bytes();
    let signature = signature.ok_or_else(|| invalid("the signature is not a whole number of octets".to_owned()))?;
    leaf.verify_signature(verification(certificate.algorithm), signed, signature)
        .map_err(|error| invalid(error.to_string()))
}

fn verification(algorithm: SignatureAlgorithm) -> &'static dyn SignatureVerificationAlgorithm {
    match algorithm {
        SignatureAlgorithm::EcdsaP256Sha256 => algorithms::ECDSA_P256_SHA256,
        SignatureAlgorithm::EcdsaP384Sha384 => algorithms::ECDSA_P384_SHA384,
        SignatureAlgorithm::Ed25519 => algorithms::ED25519,
    }
}

impl VerifiedCertificate {
    /// What the certificate says, of which the signature is known to be good.
    pub fn certificate(&self) -> &ProfiledCertificate {
        &self.profiled
    }

    /// The authority that signed it.
    pub fn authority(&self) -> &SpiffeId {
        &self.authority.authority.id
    }

    /// The same, as its path was verified.
    pub const fn verified_authority(&self) -> &Arc<VerifiedAuthority> {
        &self.authority
    }

    /// The digest of the trust bundle in which its path ends ([`TrustBundle::digest`]).
    pub fn bundle(&self) -> Digest {
        self.authority.bundle
    }
}

impl Deref for VerifiedCertificate {
    type Target = ProfiledCertificate;

    fn deref(&self) -> &ProfiledCertificate {
        &self.profiled
    }
}
