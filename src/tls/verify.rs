//! Verifying the other side, and showing this one: by the identity of the moment.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerIncompatible, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use spiffe::SpiffeId;
use webpki::KeyUsage;

use super::{Issued, PROVIDER, Peer};
use crate::identity::{Bundle, Identities, Identity, Leaf, mutation_of};
use crate::timestamp::Timestamp;

/// The peer is a workload, and not one that is wanted.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not among the servers that are expected")]
struct Unexpected(SpiffeId);

/// Verifies a chain by what `identity` trusts.
///
/// A chain with the path of an execution identity is held against the execution CA first. Any other is held against the
/// bundle of its trust domain, where the execution CA issues nothing: its key is the broker's, who could otherwise
/// appear as anybody.
fn verify(
    identity: &Identity,
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    now: UnixTime,
    usage: KeyUsage,
) -> Result<Peer, Error> {
    let now = Timestamp::from_seconds(now.as_secs()).map_err(other)?;
    let read = Leaf::read(leaf).map_err(other)?;
    let of_its_domain = |bundle: &&Bundle| bundle.trust_domain() == read.id.trust_domain();
    let execution = identity.execution_bundle().filter(of_its_domain);
    if let Some(bundle) = execution
        && mutation_of(&read.id).is_some()
        && bundle.verify(leaf, intermediates, now, usage).is_ok()
    {
        return Ok(Peer { leaf: read, issued: Issued::ExecutionCa });
    }
    let bundle = identity.bundle(read.id.trust_domain()).ok_or(CertificateError::UnknownIssuer)?;
    let others: Vec<_> = intermediates.iter().filter(|it| !is_in(execution, it)).cloned().collect();
    bundle.verify(leaf, &others, now, usage).map_err(|error| match error {
        webpki::Error::CertExpired { .. } => CertificateError::Expired.into(),
        webpki::Error::CertNotValidYet { .. } => CertificateError::NotValidYet.into(),
        webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer.into(),
        error => other(error),
    })?;
    Ok(Peer { leaf: read, issued: Issued::Bundle })
}

fn is_in(bundle: Option<&Bundle>, certificate: &CertificateDer<'_>) -> bool {
    let certificates = bundle.into_iter().flat_map(Bundle::certificates);
    certificates.into_iter().any(|other| other.as_slice() == certificate.as_ref())
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    CertificateError::Other(OtherError(Arc::new(error))).into()
}

fn algorithms() -> &'static WebPkiSupportedAlgorithms {
    &PROVIDER.signature_verification_algorithms
}

/// Verifies clients. Every client has a certificate.
pub(super) struct ClientVerifier {
    identities: Identities,
    seen: Arc<OnceLock<Peer>>,
}

impl ClientVerifier {
    /// `seen` gets the first peer that is verified.
    pub(super) const fn new(identities: Identities, seen: Arc<OnceLock<Peer>>) -> Self {
        Self { identities, seen }
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let identity = Arc::clone(&self.identities.borrow());
        let peer = verify(&identity, leaf, intermediates, now, KeyUsage::client_auth())?;
        // A shared configuration sees many peers, and nobody looks at them here.
        let _ = self.seen.set(peer);
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

/// Verifies servers: by path, and by being expected. One value can serve many connections: the path of a server that
/// shows the same chain again within one second is not verified again.
pub struct ServerVerifier {
    identities: Identities,
    expected: BTreeSet<SpiffeId>,
    last: Mutex<Option<Verified>>,
}

/// A path that was verified. The verdict is a function of what stands here, and of nothing else.
struct Verified {
    /// Whose bundles it was verified by. Weak, so that no key outlives its rotation here.
    identity: Weak<Identity>,
    chain: Vec<CertificateDer<'static>>,
    second: u64,
    server: SpiffeId,
}

impl Verified {
    fn is_for(
        &self,
        identity: &Arc<Identity>,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> bool {
        self.second == now.as_secs()
            && Weak::ptr_eq(&self.identity, &Arc::downgrade(identity))
            && self.chain.iter().eq(std::iter::once(leaf).chain(intermediates))
    }
}

impl ServerVerifier {
    /// Expects exactly the servers `expected`.
    pub(super) fn new(identities: Identities, expected: BTreeSet<SpiffeId>) -> Self {
        Self { identities, expected, last: Mutex::default() }
    }

    fn last(&self) -> MutexGuard<'_, Option<Verified>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who the server is, by a path that is good now.
    fn server(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<SpiffeId, Error> {
        let identity = Arc::clone(&self.identities.borrow());
        if let Some(last) = self.last().as_ref().filter(|last| last.is_for(&identity, leaf, intermediates, now)) {
            return Ok(last.server.clone());
        }
        let server = verify(&identity, leaf, intermediates, now, KeyUsage::server_auth())?.leaf.id;
        let chain = std::iter::once(leaf).chain(intermediates).map(|it| it.clone().into_owned()).collect();
        let identity = Arc::downgrade(&identity);
        *self.last() = Some(Verified { identity, chain, second: now.as_secs(), server: server.clone() });
        Ok(server)
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let server = self.server(leaf, intermediates, now)?;
        match self.expected.contains(&server) {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(other(Unexpected(server))),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

/// Shows the identity of the moment.
#[derive(Debug)]
pub(super) struct Newest(pub(super) Identities);

impl Newest {
    fn certified(&self) -> Option<Arc<CertifiedKey>> {
        Some(self.0.borrow().svid().certified())
    }
}

impl ResolvesServerCert for Newest {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certified()
    }
}

impl ResolvesClientCert for Newest {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.certified()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Shows one identity, that of an execution.
pub(super) struct One(pub(super) Arc<CertifiedKey>);

impl ResolvesClientCert for One {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl fmt::Debug for ClientVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientVerifier")
    }
}

impl fmt::Debug for ServerVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerVerifier").field("expected", &self.expected).finish_non_exhaustive()
    }
}

impl fmt::Debug for One {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("One")
    }
}
