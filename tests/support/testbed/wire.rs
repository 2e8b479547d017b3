//! The wire between a client and a server, which can be cut, and can keep what the server answers to itself.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Passes octets on, and knows nothing of them. It ends when it is dropped.
pub struct Wire {
    /// Where a client connects.
    pub address: SocketAddr,
    state: Arc<State>,
    end: CancellationToken,
}

struct State {
    /// Whether answers reach the client.
    answers: watch::Sender<bool>,
    /// Octets of answers that were kept back so far.
    kept: watch::Sender<usize>,
    /// The connections that are open; replaced by each cut.
    connections: watch::Sender<CancellationToken>,
}

impl Wire {
    pub async fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            answers: watch::Sender::new(true),
            kept: watch::Sender::new(0),
            connections: watch::Sender::new(CancellationToken::new()),
        });
        let end = CancellationToken::new();
        tokio::spawn(end.clone().run_until_cancelled_owned(accept(listener, server.to_owned(), Arc::clone(&state))));
        Self { address, state, end }
    }

    /// From now on requests arrive, and answers are kept back.
    pub fn hold_answers(&self) {
        self.state.kept.send_replace(0);
        self.state.answers.send_replace(false);
    }

    /// Answers go through again, the ones that were kept back first.
    pub fn release_answers(&self) {
        self.state.answers.send_replace(true);
        self.state.kept.send_replace(0);
    }

    /// Waits until the server has answered something that is kept back.
    pub async fn answered(&self) {
        let mut kept = self.state.kept.subscribe();
        tokio::time::timeout(super::PATIENCE, kept.wait_for(|kept| *kept > 0)).await.unwrap().unwrap();
    }

    /// Ends every connection at once; new ones are taken.
    pub fn cut(&self) {
        self.state.connections.send_replace(CancellationToken::new()).cancel();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.end.cancel();
        self.cut();
    }
}

async fn accept(listener: TcpListener, server: String, state: Arc<State>) {
    while let Ok((client, _)) = listener.accept().await {
        let until = state.connections.borrow().clone();
        let (server, state) = (server.clone(), Arc::clone(&state));
        tokio::spawn(until.run_until_cancelled_owned(async move {
            // Either end is free to be gone.
            drop(relay(client, &server, &state).await);
        }));
    }
}

async fn relay(mut client: TcpStream, server: &str, state: &State) -> std::io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let requests = async {
        tokio::io::copy(&mut from_client, &mut to_server).await?;
        to_server.shutdown().await
    };
    let answers = async {
        let mut answers = state.answers.subscribe();
        let mut octets = vec![0; 16 * 1024];
        loop {
            let count = from_server.read(&mut octets).await?;
            if !*answers.borrow() {
                state.kept.send_modify(|kept| *kept += count);
            }
            if answers.wait_for(|open| *open).await.is_err() || count == 0 {
                return to_client.shutdown().await;
            }
            to_client.write_all(&octets[..count]).await?;
        }
    };
    tokio::try_join!(requests, answers).map(drop)
}
