//! Accepting connections: handshakes beside each other, bounded in number and in time.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Peer, server};
use crate::clock;
use crate::identity::Identities;
use crate::telemetry::{Causes, log};

/// How much a server takes on.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most connections at one time; further ones wait in the system's backlog.
    pub connections: usize,
    /// The most handshakes at one time.
    pub handshakes: usize,
    /// The longest that one handshake may take.
    pub handshake_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 1024, handshakes: 128, handshake_timeout: Duration::from_secs(5) }
    }
}

/// The connections of a listener whose handshake succeeded, in the order in which it did.
///
/// Takes part as a stream (`serve_with_incoming` of `tonic`) and as a listener (`axum::serve`, whose connect-info is the
/// [`Peer`]). Dropping it ends the listener; connections that were given out stay.
#[derive(Debug)]
pub struct Incoming {
    connections: mpsc::Receiver<Connection>,
    address: SocketAddr,
}

/// Accepts connections of `listener` by the identity of the moment. Must be called within a runtime.
///
/// # Errors
/// If the listener has no address.
pub fn incoming(
    listener: TcpListener,
    identities: Identities,
    protocols: &'static [&'static [u8]],
    limits: Limits,
) -> io::Result<Incoming> {
    let address = listener.local_addr()?;
    let (sender, connections) = mpsc::channel(limits.handshakes.max(1));
    tokio::spawn(accept(
        listener,
        Handshake { identities, protocols, timeout: limits.handshake_timeout },
        limits,
        sender,
    ));
    Ok(Incoming { connections, address })
}

#[derive(Clone)]
struct Handshake {
    identities: Identities,
    protocols: &'static [&'static [u8]],
    timeout: Duration,
}

async fn accept(listener: TcpListener, handshake: Handshake, limits: Limits, sender: mpsc::Sender<Connection>) {
    let connections = Arc::new(Semaphore::new(limits.connections.max(1)));
    let handshakes = Arc::new(Semaphore::new(limits.handshakes.max(1)));
    loop {
        let accepted = async {
            let permit = Arc::clone(&connections).acquire_owned().await.map_err(io::Error::other)?;
            let shaking = Arc::clone(&handshakes).acquire_owned().await.map_err(io::Error::other)?;
            let (socket, address) = listener.accept().await?;
            Ok::<_, io::Error>((permit, shaking, socket, address))
        };
        let accepted = tokio::select! {
            () = sender.closed() => return,
            accepted = accepted => accepted,
        };
        let (permit, shaking, socket, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Nothing but time helps when the process is out of file descriptors.
                log!(AcceptFailed, error = %Causes(&error), "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (handshake, sender) = (handshake.clone(), sender.clone());
        tokio::spawn(async move {
            match handshake.perform(socket, permit).await {
                // It fails when nobody listens any more.
                Ok(connection) => drop(sender.send(connection).await),
                Err(error) => log!(HandshakeFailed, %address, error = %Causes(&error), "a handshake failed"),
            }
            drop(shaking);
        });
    }
}

impl Handshake {
    async fn perform(self, socket: TcpStream, permit: OwnedSemaphorePermit) -> io::Result<Connection> {
        socket.set_nodelay(true)?;
        let seen = Arc::new(OnceLock::new());
        let config = server(&self.identities, self.protocols, Arc::clone(&seen)).map_err(io::Error::other)?;
        let stream = timeout(self.timeout, TlsAcceptor::from(config).accept(socket)).await??;
        let peer = seen.get().cloned().ok_or_else(|| io::Error::other("the client was not verified"))?;
        let now = clock::now().map_err(io::Error::other)?;
        // The certificate is valid for the whole of its last second.
        let left = peer.leaf().not_after.since(now) + Duration::from_secs(1);
        Ok(Connection { stream, peer, end: Box::pin(tokio::time::sleep(left)), _permit: permit })
    }
}

impl Incoming {
    /// The next connection; none once the runtime shuts down.
    pub async fn next(&mut self) -> Option<Connection> {
        self.connections.recv().await
    }

    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.connections.poll_recv(context).map(|connection| connection.map(Ok))
    }
}

/// Where a connection of [`Incoming`] comes from, as `axum` asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// This peer.
    Peer(Box<Peer>),
    /// The listener itself.
    Listener(SocketAddr),
}

impl axum::serve::Listener for Incoming {
    type Io = Connection;
    type Addr = Origin;

    async fn accept(&mut self) -> (Connection, Origin) {
        match self.next().await {
            Some(connection) => {
                let origin = Origin::Peer(Box::new(connection.peer.clone()));
                (connection, origin)
            }
            // The runtime shuts down, and there is no connection to give.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Origin> {
        Ok(Origin::Listener(self.address))
    }
}

impl axum::extract::connect_info::Connected<axum::serve::IncomingStream<'_, Incoming>> for Origin {
    fn connect_info(stream: axum::serve::IncomingStream<'_, Incoming>) -> Self {
        stream.remote_addr().clone()
    }
}

/// A connection to a verified peer. It ends, with an error to whoever reads, when the peer's certificate does.
#[derive(Debug)]
pub struct Connection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    end: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    /// Who is at the other end.
    pub const fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The protocol that ALPN chose.
    pub fn protocol(&self) -> Option<&[u8]> {
        self.stream.get_ref().1.alpn_protocol()
    }
}

/// The connect-info of `tonic`: `request.extensions().get::<Peer>()`.
impl tonic::transport::server::Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the peer's certificate ended")));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, octets)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        Poll::Ready(Ok(()))
    }
}
