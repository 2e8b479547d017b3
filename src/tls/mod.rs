//! Mutual TLS between SPIFFE identities, and nothing else; but for bundle endpoints of the web PKI
//! ([`web_client_config`]), which say whom to believe elsewhere.
//!
//! What must be true:
//!
//! - TLS 1.3 only, both sides authenticated: a client without a certificate fails the handshake. No identity, no answer.
//! - A peer is who a verified leaf X509-SVID says, by the bundle of its own trust domain and of no other; DNS names and
//!   addresses have no say. A client names the servers that it expects, and an empty list admits nobody.
//! - The identity of either side, and the bundles, are those of the moment of the handshake: see [`Identities`].
//! - No handshake is abbreviated (no tickets, no resumption, no early data), so that nobody is admitted by a certificate
//!   that was verified earlier; and a connection ends with the certificate of its client ([`Connection`]).
//! - What the execution CA issued is an execution identity or nothing ([`Issued`]).

mod connect;
mod incoming;
mod verify;

use std::sync::{Arc, LazyLock, OnceLock};

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, ServerName};
use spiffe::SpiffeId;

pub use self::connect::{Connector, connect};
pub use self::incoming::{Connection, Incoming, Limits, Origin, incoming};
pub use self::verify::ServerVerifier;
use self::verify::{ClientVerifier, Newest, One};
use crate::decision::MutationId;
use crate::digest::Digest;
use crate::identity::{ExecutionIdentity, Identities, InvalidLeaf, Leaf, Serial, WrongForm, mutation_of};

/// HTTP/2, as ALPN names it.
pub const H2: &[u8] = b"h2";

/// HTTP/1.1, as ALPN names it.
pub const HTTP11: &[u8] = b"http/1.1";

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// A configuration for TLS could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The cryptographic library lacks TLS 1.3.
    #[error("TLS cannot be configured")]
    Library(#[from] rustls::Error),
    /// The execution identity is no certificate.
    #[error("the execution identity cannot be used for TLS")]
    Form(#[from] WrongForm),
}

/// Who is at the other end of a connection, by its verified certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    leaf: Leaf,
    issued: Issued,
}

/// Where the path of a certificate ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Issued {
    /// In the bundle of its trust domain.
    Bundle,
    /// In the execution CA, whose bundle this side knows; its path is that of an execution identity.
    ExecutionCa,
}

impl Peer {
    /// The SPIFFE ID.
    pub const fn id(&self) -> &SpiffeId {
        &self.leaf.id
    }

    /// SHA-256 of the public key (SubjectPublicKeyInfo).
    pub const fn key(&self) -> Digest {
        self.leaf.key
    }

    /// The serial number of the certificate.
    pub const fn serial(&self) -> &Serial {
        &self.leaf.serial
    }

    /// Everything that the certificate says.
    pub const fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    /// Where the certificate's path ends.
    pub const fn issued(&self) -> Issued {
        self.issued
    }

    /// The mutation that this identity was minted for, by the execution CA; none for every other identity, whatever its
    /// SPIFFE ID.
    pub fn mutation(&self) -> Option<MutationId> {
        match self.issued {
            Issued::ExecutionCa => mutation_of(&self.leaf.id),
            Issued::Bundle => None,
        }
    }
}

/// What the chain of a connection says of the peer, where the handshake already verified it (`peer_certificates`).
///
/// # Errors
/// If there is no leaf X509-SVID.
pub fn peer(chain: &[CertificateDer<'_>]) -> Result<Peer, InvalidLeaf> {
    let leaf = Leaf::read(chain.first().map_or(&[][..], |leaf| leaf.as_ref()))?;
    Ok(Peer { leaf, issued: Issued::Bundle })
}

/// The configuration of a server. `protocols` are those of ALPN, the preferred one first.
///
/// # Errors
/// If the cryptographic library lacks TLS 1.3.
pub fn server_config(identities: &Identities, protocols: &[&[u8]]) -> Result<Arc<ServerConfig>, TlsError> {
    server(identities, protocols, Arc::default())
}

/// The configuration of one handshake, which puts the peer into `seen`.
fn server(
    identities: &Identities,
    protocols: &[&[u8]],
    seen: Arc<OnceLock<Peer>>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let verifier = ClientVerifier::new(identities.clone(), seen);
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(Newest(identities.clone())));
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// The configuration of a client with this process's own identity, which accepts exactly the servers `expected`.
///
/// # Errors
/// If the cryptographic library lacks TLS 1.3.
pub fn client_config(
    identities: &Identities,
    expected: impl IntoIterator<Item = SpiffeId>,
    protocols: &[&[u8]],
) -> Result<Arc<ClientConfig>, TlsError> {
    client(servers(identities, expected), protocols, Arc::new(Newest(identities.clone())))
}

/// The configuration of one connection with an execution identity, which is given up to it. The bundles are those of
/// `identities`, this process's own.
///
/// # Errors
/// If the identity is no certificate, or the cryptographic library lacks TLS 1.3.
pub fn execution_client_config(
    identity: ExecutionIdentity,
    identities: &Identities,
    expected: impl IntoIterator<Item = SpiffeId>,
    protocols: &[&[u8]],
) -> Result<Arc<ClientConfig>, TlsError> {
    execution_client_config_for(identity, &servers(identities, expected), protocols)
}

/// The same for one of many connections to the same `servers`.
///
/// # Errors
/// As [`execution_client_config`].
pub fn execution_client_config_for(
    identity: ExecutionIdentity,
    servers: &Arc<ServerVerifier>,
    protocols: &[&[u8]],
) -> Result<Arc<ClientConfig>, TlsError> {
    client(Arc::clone(servers), protocols, Arc::new(One(identity.into_certified()?)))
}

/// What accepts exactly the servers `expected`, by the bundles of `identities` at each moment.
pub fn servers(identities: &Identities, expected: impl IntoIterator<Item = SpiffeId>) -> Arc<ServerVerifier> {
    Arc::new(ServerVerifier::new(identities.clone(), expected.into_iter().collect()))
}

/// The configuration of a client that has no identity, and accepts a server by its name and by these CA certificates, in
/// DER. For what lies outside of all trust domains.
///
/// # Errors
/// If the cryptographic library lacks TLS 1.3, or a certificate cannot be read, or there is none.
pub fn named_client_config(
    anchors: impl IntoIterator<Item = Vec<u8>>,
    protocols: &[&[u8]],
) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = rustls::RootCertStore::empty();
    for anchor in anchors {
        roots.add(CertificateDer::from(anchor))?;
    }
    if roots.is_empty() {
        return Err(rustls::Error::General("there is no CA certificate".to_owned()).into());
    }
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

/// The configuration of a client without an identity, which accepts servers by their names under these web PKI roots.
///
/// # Errors
/// If the cryptographic library lacks TLS 1.3.
pub fn web_client_config<'r>(
    roots: impl IntoIterator<Item = CertificateDer<'r>>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let mut store = RootCertStore::empty();
    // Of a system's roots some may be of kinds that are not known here; they anchor nothing.
    store.add_parsable_certificates(roots);
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = vec![HTTP11.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn client(
    servers: Arc<ServerVerifier>,
    protocols: &[&[u8]],
    resolver: Arc<dyn rustls::client::ResolvesClientCert>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(servers)
        .with_client_cert_resolver(resolver);
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    config.enable_early_data = false;
    Ok(Arc::new(config))
}

/// What a client calls every server: names have no say, and are not sent.
pub(crate) fn server_name() -> ServerName<'static> {
    ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into())
}

#[cfg(test)]
mod tests;
