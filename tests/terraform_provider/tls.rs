//! TLS before the emulator, which itself speaks none: what a policy says of `aws:SecureTransport` is so tried both ways.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::testbed::Folder;
use crate::testbed::aws::Api;
use crate::testbed::pki::Authority;

/// It ends when it is dropped.
pub struct Front {
    pub origin: String,
    /// The CA of its certificate.
    pub ca: PathBuf,
    _end: DropGuard,
}

impl Front {
    pub async fn of(api: &Api, folder: &Folder) -> Self {
        let authority = Authority::new("front");
        let ca = folder.join("front-ca.pem");
        std::fs::write(&ca, authority.pem()).unwrap();
        let pair = authority.server();
        let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("https://{}", listener.local_addr().unwrap());
        let (end, server) = (CancellationToken::new(), api.address.clone());
        tokio::spawn(end.clone().run_until_cancelled_owned(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, server) = (acceptor.clone(), server.clone());
                // A client may go at any time.
                tokio::spawn(async move { drop(relay(&acceptor, client, &server).await) });
            }
        }));
        Self { origin, ca, _end: end.drop_guard() }
    }
}

/// One request of a connection: whoever sent it is told to make another one for the next.
async fn relay(acceptor: &TlsAcceptor, client: TcpStream, server: &str) -> std::io::Result<()> {
    let mut client = acceptor.accept(client).await?;
    let mut server = TcpStream::connect(server).await?;
    let mut head = Vec::new();
    let line = loop {
        if client.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
        if let Some(line) = head.windows(2).position(|octets| octets == b"\r\n") {
            break line + 2;
        }
    };
    server.write_all(&head[..line]).await?;
    server.write_all(b"x-forwarded-proto: https\r\nconnection: close\r\n").await?;
    server.write_all(&head[line..]).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
