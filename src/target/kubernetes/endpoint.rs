//! Where an API server is, and by whose certificates it is recognized.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{Failure, read_file};
use crate::clock;
use crate::digest::Digest;

/// How long what was read from files is good for.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// The most CA certificates in a file.
const MAX_ROOTS: usize = 256;

/// The files of a client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain in PEM, leaf first.
    pub certificate: PathBuf,
    /// The private key in PEM.
    pub key: PathBuf,
}

/// An address, with the files that say who may be there, and who this side is.
#[derive(Debug)]
pub(super) struct Endpoint {
    address: String,
    server_name: ServerName<'static>,
    ca_file: PathBuf,
    certificate: Option<CertificateFiles>,
    current: Mutex<Option<Current>>,
}

/// Chain and key of a client certificate, in PEM.
type Pair = (Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>);

/// What the files said when they were last read.
#[derive(Debug, Clone)]
struct Current {
    config: Arc<ClientConfig>,
    digest: Digest,
    generation: u64,
    read_at: Instant,
}

impl Endpoint {
    /// The API server at `address` (`host:port`), which shows a certificate for `server_name` (left out: the host) that
    /// leads to one of the CAs in `ca_file`.
    pub(super) fn new(
        address: String,
        server_name: Option<&str>,
        ca_file: PathBuf,
        certificate: Option<CertificateFiles>,
    ) -> Result<Self, Failure> {
        let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
        let name = server_name.unwrap_or_else(|| host.trim_start_matches('[').trim_end_matches(']')).to_owned();
        let wrong = |_| Failure(format!("`{name}` is neither a DNS name nor an address"));
        let server_name = ServerName::try_from(name.clone()).map_err(wrong)?;
        Ok(Self { address, server_name, ca_file, certificate, current: Mutex::new(None) })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn server_name(&self) -> ServerName<'static> {
        self.server_name.clone()
    }

    /// Reads the files again if that was some time ago; the number of the configuration that is good now. Where they
    /// cannot be used any more, what they said last stays.
    pub(super) async fn refresh(&self) -> Result<u64, Failure> {
        let known = self.current().clone();
        if let Some(known) = &known
            && clock::instant().duration_since(known.read_at) < LOOK_AGAIN
        {
            return Ok(known.generation);
        }
        let read = self.read().await;
        let mut current = self.current();
        match (read, current.as_mut()) {
            (Ok((_, digest)), Some(known)) if known.digest == digest => {
                known.read_at = clock::instant();
                Ok(known.generation)
            }
            (Ok((config, digest)), known) => {
                let generation = known.map_or(0, |known| known.generation.wrapping_add(1));
                *current = Some(Current { config, digest, generation, read_at: clock::instant() });
                Ok(generation)
            }
            (Err(Failure(detail)), Some(known)) => {
                tracing::error!(detail, "the files of an API server cannot be used; what they said last stays");
                known.read_at = clock::instant();
                Ok(known.generation)
            }
            (Err(failure), None) => Err(failure),
        }
    }

    /// The configuration as it was last read.
    pub(super) fn tls(&self) -> Result<(Arc<ClientConfig>, u64), Failure> {
        let current = self.current();
        let current = current.as_ref().ok_or_else(|| Failure("the CA file was not read".to_owned()))?;
        Ok((Arc::clone(&current.config), current.generation))
    }

    fn current(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self) -> Result<(Arc<ClientConfig>, Digest), Failure> {
        let roots = read_file(&self.ca_file).await?;
        let client = match &self.certificate {
            None => None,
            Some(files) => Some((read_file(&files.certificate).await?, read_file(&files.key).await?)),
        };
        let digest = match &client {
            None => Digest::of(&roots),
            Some((chain, key)) => Digest::of_parts(&[&roots, chain, key]),
        };
        Ok((self.config(&roots, client)?, digest))
    }

    fn config(&self, roots: &[u8], client: Option<Pair>) -> Result<Arc<ClientConfig>, Failure> {
        let mut store = RootCertStore::empty();
        for root in certificates(roots, &self.ca_file)?.into_iter().take(MAX_ROOTS) {
            store.add(root).map_err(|error| Failure::of(&error))?;
        }
        if store.is_empty() {
            return Err(Failure(format!("`{}` holds no CA certificate", self.ca_file.display())));
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| Failure::of(&error))?
            .with_root_certificates(store);
        let mut config = match (client, &self.certificate) {
            (Some((chain, key)), Some(files)) => {
                let chain = certificates(&chain, &files.certificate)?;
                let key = PrivateKeyDer::from_pem_slice(&key)
                    .map_err(|_| Failure(format!("`{}` holds no private key in PEM", files.key.display())))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| Failure::of(&error))?
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![crate::tls::HTTP11.to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        config.enable_early_data = false;
        Ok(Arc::new(config))
    }
}

fn certificates(pem: &[u8], path: &std::path::Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|_| Failure(format!("`{}` is not certificates in PEM", path.display())))
}
