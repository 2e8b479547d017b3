//! Connecting to servers.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
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
    timeout(limit, async {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        TlsConnector::from(config).connect(server_name(), socket).await
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
}

impl Connector {
    /// Connects by this configuration, each time in at most `limit`.
    pub const fn new(config: Arc<ClientConfig>, limit: Duration) -> Self {
        Self { config, limit }
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
            connect(&address, this.config, this.limit).await.map(TokioIo::new)
        })
    }
}
