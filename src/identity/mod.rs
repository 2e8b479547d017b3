//! Who this process is, whom it trusts, and the identities that it mints for single mutations.
//!
//! What must be true:
//!
//! - Whatever the source of an identity, its users hold an [`Identities`] receiver and look at it for each handshake,
//!   so that a rotation reaches them without a restart.
//! - An [`ExecutionIdentity`] exists for one mutation (I5), in the [`Form`] that its target takes: its key or token is made
//!   for it, is never written, is zeroized when it is dropped, and the identity is consumed by the one connection or
//!   request that uses it.
//! - What an identity will be is known before it exists ([`Issuer::plan`]), so that the decision record can name it.
//! - Nothing here shows a key: not in `Debug`, not in errors, not in logs.
//!
//! | source | what it gives |
//! |---|---|
//! | [`folder`] | the identity of one process from a folder of its own, read again when it changes |
//! | [`workload`] | the identity of one process from the SPIFFE Workload API, as the agent rotates it |
//! | [`endpoint`] | the trust bundles of other trust domains from their SPIFFE bundle endpoints |
//! | [`spire`] | execution identities that a SPIRE server mints, or that are minted below a CA that it signs |
//! | [`embedded`] | a trust domain in a private directory: makes such folders, renews them, rotates its CAs |

mod backoff;
mod bundle;
mod ca;
pub mod embedded;
pub mod endpoint;
mod execution;
mod files;
pub mod folder;
mod form;
mod kept;
mod leaf;
mod source;
pub mod spire;
pub mod workload;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::sign::{any_ecdsa_type, any_eddsa_type};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use spiffe::{SpiffeId, TrustDomain};
use tokio::sync::watch;

pub(crate) use backoff::Backoff;
pub use bundle::Bundle;
pub use execution::{BACKDATE, EXECUTION_PATH, ExecutionIdentity, Issuer, MintError, Plan, execution_id, mutation_of};
pub use files::FileError;
pub(crate) use files::is_private;
pub use form::{Form, InvalidAudiences, JwtSvid, MAX_AUDIENCE_OCTETS, MAX_AUDIENCES, WrongForm};
pub use kept::{KeptKeyError, kept_key};
pub use leaf::{InvalidLeaf, Leaf, Serial};
pub use source::{Opened, Source, SourceError, WhileValid, join, open};

/// The identity of this process as it is now: look at it for each use, and keep no copy.
pub type Identities = watch::Receiver<Arc<Identity>>;

/// An SVID, and the bundles by which those of others are verified.
#[derive(Debug)]
pub struct Identity {
    svid: Arc<Svid>,
    bundles: BTreeMap<TrustDomain, Bundle>,
    execution: Option<Bundle>,
}

/// An X509-SVID with its private key.
pub struct Svid {
    leaf: Leaf,
    certified: Arc<CertifiedKey>,
}

/// The SVID cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSvid {
    /// There is no certificate.
    #[error("there is no certificate")]
    Empty,
    /// The first certificate is not a leaf X509-SVID.
    #[error("the first certificate cannot be used")]
    Leaf(#[source] InvalidLeaf),
    /// The key is not one of the kinds that sign handshakes here.
    #[error("the key is not an ECDSA or Ed25519 key in PKCS#8")]
    Key,
    /// The key is not that of the certificate.
    #[error("the key is not that of the certificate: they were not written together, or one was exchanged")]
    Mismatch,
}

impl Identity {
    /// An identity; of two bundles of one trust domain the later one counts.
    pub fn new(svid: Svid, bundles: impl IntoIterator<Item = Bundle>) -> Self {
        let bundles = bundles.into_iter().map(|bundle| (bundle.trust_domain().clone(), bundle)).collect();
        Self { svid: Arc::new(svid), bundles, execution: None }
    }

    /// The same identity with bundles of other trust domains; its own ones stay.
    #[must_use]
    pub fn joined(&self, others: &[Bundle]) -> Self {
        let others = others.iter().map(|bundle| (bundle.trust_domain().clone(), bundle.clone()));
        let bundles = others.chain(self.bundles.clone()).collect();
        Self { svid: Arc::clone(&self.svid), bundles, execution: self.execution.clone() }
    }

    /// The same identity, which knows the execution CAs: what they issued counts as issued by them only with the path of
    /// an execution identity, and as nothing otherwise.
    #[must_use]
    pub fn with_execution_bundle(mut self, execution: Bundle) -> Self {
        self.execution = Some(execution);
        self
    }

    /// Who this process is.
    pub fn id(&self) -> &SpiffeId {
        &self.svid.leaf.id
    }

    /// The SVID.
    pub fn svid(&self) -> &Svid {
        &self.svid
    }

    /// The bundle of a trust domain; SVIDs of one that has none are refused.
    pub fn bundle(&self, trust_domain: &TrustDomain) -> Option<&Bundle> {
        self.bundles.get(trust_domain)
    }

    /// The execution CAs, if they are known.
    pub const fn execution_bundle(&self) -> Option<&Bundle> {
        self.execution.as_ref()
    }

    /// All bundles.
    pub fn bundles(&self) -> impl Iterator<Item = &Bundle> {
        self.bundles.values()
    }
}

impl Svid {
    /// An SVID from the DER of its chain, leaf first, and of its key in PKCS#8.
    ///
    /// # Errors
    /// If the first certificate is not a leaf X509-SVID, or the key is not its key.
    pub fn new(chain: &[Vec<u8>], key: &[u8]) -> Result<Self, InvalidSvid> {
        let leaf = Leaf::read(chain.first().ok_or(InvalidSvid::Empty)?).map_err(InvalidSvid::Leaf)?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
        let key = match any_ecdsa_type(&der) {
            Ok(key) => key,
            Err(_) => any_eddsa_type(&PrivatePkcs8KeyDer::from(key)).map_err(|_| InvalidSvid::Key)?,
        };
        let chain = chain.iter().map(|octets| CertificateDer::from(octets.clone())).collect();
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(|_| InvalidSvid::Mismatch)?;
        Ok(Self { leaf, certified: Arc::new(certified) })
    }

    /// What its leaf certificate says.
    pub const fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    /// The chain in DER, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// A signature by its key over `octets`: ECDSA with the digest of its curve, as the DER of RFC 3279 section 2.2.3, or
    /// Ed25519. `None` if the key refuses.
    pub fn sign(&self, octets: &[u8]) -> Option<Vec<u8>> {
        use rustls::SignatureScheme::{ECDSA_NISTP256_SHA256, ECDSA_NISTP384_SHA384, ED25519};
        let offered = [ECDSA_NISTP256_SHA256, ECDSA_NISTP384_SHA384, ED25519];
        self.certified.key.choose_scheme(&offered)?.sign(octets).ok()
    }

    /// For handshakes.
    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

/// Names the SVID, and never shows the key.
impl fmt::Debug for Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Svid").field("leaf", &self.leaf).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
