//! Identities that exist for one mutation.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use futures::future::BoxFuture;
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};
use rustls_pki_types::CertificateDer;
use spiffe::{SpiffeId, TrustDomain};

use super::form::{Form, InvalidAudiences, JwtSvid, WrongForm};
use super::leaf::Serial;
use crate::decision::MutationId;
use crate::digest::Digest;
use crate::timestamp::Timestamp;

/// How long before its minting an execution identity begins to be valid: clocks that are a little slow accept it.
pub const BACKDATE: Duration = Duration::from_secs(10);

/// What the path of every execution identity begins with; the mutation id follows.
pub const EXECUTION_PATH: &str = "/seb/execution/";

/// The SPIFFE ID of the execution identity of one mutation.
pub fn execution_id(trust_domain: &TrustDomain, mutation: &MutationId) -> Option<SpiffeId> {
    SpiffeId::new(format!("{}{EXECUTION_PATH}{mutation}", trust_domain.id_string())).ok()
}

/// The mutation that a SPIFFE ID is the execution identity of, by its path. Says nothing of who issued it.
pub fn mutation_of(id: &SpiffeId) -> Option<MutationId> {
    id.path().strip_prefix(EXECUTION_PATH)?.parse().ok()
}

/// What makes execution identities.
///
/// - [`Issuer::plan`] has no effect and reaches nothing outside; the identity that is minted from a plan is what the plan
///   says. A plan that is never minted costs nothing.
/// - [`Issuer::mint`] makes a fresh key each time, also for the same plan, and keeps neither key nor identity. It may be
///   called concurrently. Dropping its future leaves nothing behind but, at most, a certificate whose key is gone.
pub trait Issuer: Send + Sync {
    /// What the identity of `mutation` will be: of this form, valid from [`BACKDATE`] before `now` until the second of
    /// `not_after`.
    ///
    /// # Errors
    /// If no such identity could be minted now.
    fn plan(&self, mutation: &MutationId, form: Form, now: Timestamp, not_after: Timestamp) -> Result<Plan, MintError>;

    /// Makes the identity that was planned.
    fn mint(&self, plan: Plan) -> BoxFuture<'_, Result<ExecutionIdentity, MintError>>;

    /// The end of the certificate of the CA that mints here; none where it mints elsewhere.
    fn ends(&self) -> Option<Timestamp>;
}

/// No execution identity could be made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The identity would end before it begins.
    #[error("it would end at {not_after}, and it is {now}")]
    Ended {
        /// The time of planning.
        now: Timestamp,
        /// The end that was asked for.
        not_after: Timestamp,
    },
    /// The issuer's own certificate ends before the identity would.
    #[error("the execution CA is valid until {issuer}, and the identity would be until {not_after}: renew the CA")]
    IssuerEnds {
        /// The end of the issuer's certificate.
        issuer: Timestamp,
        /// The end that was planned.
        not_after: Timestamp,
    },
    /// The mutation id gives no SPIFFE ID in the issuer's trust domain.
    #[error("`{0}` cannot stand in a SPIFFE ID")]
    Name(MutationId),
    /// The issuer does not mint this form.
    #[error("{issuer} mints no identity of the form `{form}`: {mend}")]
    Form {
        /// The issuer.
        issuer: &'static str,
        /// The form that the target takes.
        form: &'static str,
        /// What to do.
        mend: &'static str,
    },
    /// The target asks for audiences that no JWT-SVID has.
    #[error("the target asks for a JWT-SVID that cannot be")]
    Audiences(#[source] InvalidAudiences),
    /// The identity of this process has ended.
    #[error("the broker's own SVID ended at {0}: mend its source")]
    Own(Timestamp),
    /// There is no execution CA yet, or it has ended.
    #[error("there is no execution CA: {0}")]
    NoCa(String),
    /// The SPIRE server cannot be reached, or refuses.
    #[error("the SPIRE server answers {code}: {detail}")]
    Server {
        /// The status, as gRPC names it.
        code: tonic::Code,
        /// What it says.
        detail: String,
    },
    /// The SPIRE server does not answer.
    #[error("the SPIRE server does not answer in {0} s")]
    Silent(u64),
    /// What the SPIRE server minted is not what was planned, and was thrown away.
    #[error("the SPIRE server minted something else than was planned: {0}")]
    Unplanned(String),
    /// The cryptographic library refused.
    #[error("the cryptographic library refused to make a key or a certificate")]
    Library,
}

/// What an execution identity will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    mutation: MutationId,
    id: SpiffeId,
    form: Form,
    serial: Option<Serial>,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Plan {
    /// A plan in this trust domain; the serial number is left out where the issuer cannot choose it.
    ///
    /// # Errors
    /// [`MintError::Ended`], [`MintError::Name`] and [`MintError::Audiences`].
    pub(super) fn new(
        trust_domain: &TrustDomain,
        mutation: &MutationId,
        form: Form,
        serial: Option<Serial>,
        now: Timestamp,
        not_after: Timestamp,
    ) -> Result<Self, MintError> {
        if not_after < now {
            return Err(MintError::Ended { now, not_after });
        }
        form.check().map_err(MintError::Audiences)?;
        let id = execution_id(trust_domain, mutation).ok_or_else(|| MintError::Name(mutation.clone()))?;
        let begin = now.millis().saturating_sub(u64::try_from(BACKDATE.as_millis()).unwrap_or(u64::MAX));
        let whole = |millis: u64| Timestamp::from_seconds(millis / 1000).unwrap_or(now);
        Ok(Self {
            mutation: mutation.clone(),
            id,
            form,
            serial,
            not_before: whole(begin),
            not_after: whole(not_after.millis()),
        })
    }

    /// The mutation.
    pub const fn mutation(&self) -> &MutationId {
        &self.mutation
    }

    /// The SPIFFE ID.
    pub const fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The form.
    pub const fn form(&self) -> &Form {
        &self.form
    }

    /// The serial number of its certificate; none where the issuer chooses it when it mints, and none of a JWT-SVID.
    pub const fn serial(&self) -> Option<&Serial> {
        self.serial.as_ref()
    }

    /// The first second of its validity.
    pub const fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// The last second of its validity.
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }
}

/// An identity for one mutation, with its private key or token.
///
/// It cannot be copied, and it is given up to the one connection or request that uses it.
#[must_use = "an execution identity that is dropped is destroyed"]
pub struct ExecutionIdentity {
    plan: Plan,
    credential: Credential,
}

/// What proves an execution identity.
enum Credential {
    X509 {
        /// Leaf first.
        chain: Vec<CertificateDer<'static>>,
        key: ExecutionKey,
    },
    Jwt(JwtSvid),
}

impl ExecutionIdentity {
    /// An X509-SVID, leaf first.
    pub(super) const fn x509(plan: Plan, chain: Vec<CertificateDer<'static>>, key: ExecutionKey) -> Self {
        Self { plan, credential: Credential::X509 { chain, key } }
    }

    /// A JWT-SVID.
    pub(super) const fn jwt(plan: Plan, token: JwtSvid) -> Self {
        Self { plan, credential: Credential::Jwt(token) }
    }

    /// What was planned, and minted.
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The chain in DER, leaf first; empty of a JWT-SVID.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        match &self.credential {
            Credential::X509 { chain, .. } => chain,
            Credential::Jwt(_) => &[],
        }
    }

    /// Gives it up for the handshake of one connection.
    pub(crate) fn into_certified(self) -> Result<Arc<CertifiedKey>, WrongForm> {
        match self.credential {
            Credential::X509 { chain, key } => Ok(Arc::new(CertifiedKey::new(chain, Arc::new(key)))),
            Credential::Jwt(_) => Err(WrongForm { has: "jwt", wanted: "x509" }),
        }
    }

    /// Gives it up for one request.
    pub(crate) fn into_jwt(self) -> Result<JwtSvid, WrongForm> {
        match self.credential {
            Credential::Jwt(token) => Ok(token),
            Credential::X509 { .. } => Err(WrongForm { has: "x509", wanted: "jwt" }),
        }
    }
}

/// Names the identity, and never shows the key.
impl fmt::Debug for ExecutionIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecutionIdentity").field("plan", &self.plan).finish_non_exhaustive()
    }
}

/// A P-256 key that was made in the cryptographic library and never leaves it: there is no way to serialize it, and the
/// library zeroizes it when the last handshake that uses it is over.
pub(super) struct ExecutionKey(Arc<EcdsaKeyPair>);

impl ExecutionKey {
    /// A fresh key.
    pub(super) fn generate() -> Result<Self, MintError> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(|_| MintError::Library)?;
        Ok(Self(Arc::new(key)))
    }

    /// SHA-256 of the SubjectPublicKeyInfo.
    pub(super) fn digest(&self) -> Result<Digest, MintError> {
        let der: PublicKeyX509Der<'_> = self.0.public_key().as_der().map_err(|_| MintError::Library)?;
        Ok(Digest::of(der.as_ref()))
    }
}

/// The public half, for the certificate.
impl rcgen::PublicKeyData for ExecutionKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

/// For the request that proves the possession of the key to whoever certifies it.
impl rcgen::SigningKey for ExecutionKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature = self.0.sign(&SystemRandom::new(), message).map_err(|_| rcgen::Error::RemoteKeyError)?;
        Ok(signature.as_ref().to_vec())
    }
}

impl SigningKey for ExecutionKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let signer = || Box::new(Self(Arc::clone(&self.0))) as Box<dyn Signer>;
        offered.contains(&SignatureScheme::ECDSA_NISTP256_SHA256).then(signer)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for ExecutionKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let signature = self.0.sign(&SystemRandom::new(), message);
        signature
            .map(|signature| signature.as_ref().to_vec())
            .map_err(|_| rustls::Error::General("the execution identity could not sign".to_owned()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}

impl fmt::Debug for ExecutionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExecutionKey(not shown)")
    }
}
