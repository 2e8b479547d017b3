//! Connecting to servers.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::Service;

use super::server_name;

/// Connects to `address` (`host:port`) and performs the handshake, in at most `limit`.
///
/// # Errors
/// If nobody answers in time, or one side refuses the other.
pub async fn connect(address: &str, config: Arc<ClientConfig>, limit: Duration) -> io::Result<TlsStream<TcpStream>> {
    connect_to(address, server_name(), config, limit).await
}

async fn connect_to(
    address: &str,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
    limit: Duration,
) -> io::Result<TlsStream<TcpStream>> {
    timeout(limit, async {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        TlsConnector::from(config).connect(name, socket).await
    })
    .await?
}

/// Connects a `tonic` channel: `Endpoint::from_static("http://host:port").connect_with_connector_lazy(connector)`.
///
/// The scheme of the endpoint is `http`, because the channel would otherwise look for TLS of its own.
#[derive(Debug, Clone)]
pub struct Connector {
    config: Arc<ClientConfig>,
    limit: Duration,
    /// Whether the name of the host has a say.
    by_name: bool,
}

impl Connector {
    /// Connects by this configuration, each time in at most `limit`.
    pub const fn new(config: Arc<ClientConfig>, limit: Duration) -> Self {
        Self { config, limit, by_name: false }
    }

    /// The same, by a configuration that judges the server by the name of its host.
    pub const fn by_name(config: Arc<ClientConfig>, limit: Duration) -> Self {
        Self { config, limit, by_name: true }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let host = uri.host().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "there is no host"))?;
            let address = format!("{host}:{}", uri.port_u16().unwrap_or(443));
            let name = match this.by_name {
                true => ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?,
                false => server_name(),
            };
            connect_to(&address, name, this.config, this.limit).await.map(TokioIo::new)
        })
    }
}
