//! Execution identities by a SPIRE server: minted there one by one ([`MintIssuer`]), or here below an intermediate CA that it
//! signs ([`DownstreamIssuer`]). JWT-SVIDs are always minted there: their key is the server's.
//!
//! What must be true:
//!
//! - The server is talked to over mutual TLS with this process's own SVID, and must show the configured SPIFFE ID.
//! - What it returns is held against the plan before anybody sees it (`check`): SPIFFE ID, end of life, key or audiences.
//!   Anything else is [`MintError::Unplanned`], and is thrown away.
//! - Every wait is bounded. A request is sent again only if no octet of it was sent.

mod check;
mod downstream;
mod mint;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use spiffe::SpiffeId;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

pub use self::downstream::DownstreamIssuer;
pub use self::mint::MintIssuer;
use super::{Identities, MintError, Serial};
use crate::config::kind::HostPort;
use crate::proto::spire::api::server::svid::v1::svid_client::SvidClient;
use crate::telemetry::{Causes, causes};
use crate::tls::{self, Connector, H2};

/// The longest that connecting may take.
const CONNECT: Duration = Duration::from_secs(2);

/// The longest that one call may take, connecting included.
const CALL: Duration = Duration::from_secs(4);

/// The largest answer that is read: a chain of certificates, or a token.
const MAX_ANSWER: usize = 256 * 1024;

/// A SPIRE server, as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpireServer {
    /// Where its API is.
    pub address: HostPort,
    /// Its SPIFFE ID; no other one is talked to.
    pub id: SpiffeId,
}

/// The connection to a SPIRE server: one, until our own SVID rotates.
struct Connection {
    server: SpireServer,
    identities: Identities,
    current: Mutex<Option<(Serial, SvidClient<Channel>)>>,
}

impl Connection {
    const fn new(server: SpireServer, identities: Identities) -> Self {
        Self { server, identities, current: Mutex::new(None) }
    }

    /// The client, with the connection that belongs to our SVID of the moment.
    fn client(&self) -> Result<SvidClient<Channel>, MintError> {
        let serial = self.identities.borrow().svid().leaf().serial.clone();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, client)) = &*current
            && *of == serial
        {
            return Ok(client.clone());
        }
        let broken = |error: &(dyn std::error::Error + 'static)| MintError::Server {
            code: Code::Internal,
            detail: Causes(error).to_string(),
        };
        let config = tls::client_config(&self.identities, [self.server.id.clone()], &[H2]);
        let config = config.map_err(|error| broken(&error))?;
        let endpoint = Endpoint::from_shared(format!("http://{}", self.server.address)).map_err(|e| broken(&e))?;
        let channel = endpoint.tcp_nodelay(true).connect_with_connector_lazy(Connector::new(config, CONNECT));
        let client = SvidClient::new(channel).max_decoding_message_size(MAX_ANSWER);
        *current = Some((serial, client.clone()));
        Ok(client)
    }

    fn forget(&self) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The answer to one call, which is sent once.
    async fn call<T>(
        &self,
        call: impl Fn(SvidClient<Channel>) -> BoxFuture<'static, Result<Response<T>, Status>>,
    ) -> Result<T, MintError> {
        let calls = async {
            match call(self.client()?).await {
                // The connection was gone before the request: another one, once.
                Err(status) if nothing_was_sent(&status) => {
                    self.forget();
                    call(self.client()?).await.map_err(refused)
                }
                answer => answer.map_err(refused),
            }
        };
        match timeout(CALL, calls).await {
            Ok(answer) => answer.map(Response::into_inner),
            Err(_) => {
                self.forget();
                Err(MintError::Silent(CALL.as_secs()))
            }
        }
    }
}

/// What the server answered, or that it could not be reached: a connection that broke under a call is told as one that
/// could not be made, whichever octet it broke at.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn refused(status: Status) -> MintError {
    let broken = causes(&status).any(|error| error.is::<hyper::Error>());
    let code = if broken { Code::Unavailable } else { status.code() };
    MintError::Server { code, detail: status.message().chars().take(200).collect() }
}

/// Whether the call failed before a request could be written: no connection could be made, or it was known to be gone.
fn nothing_was_sent(status: &Status) -> bool {
    causes(status)
        .any(|error| error.is::<tonic::ConnectError>() || error.downcast_ref().is_some_and(hyper::Error::is_canceled))
}

#[cfg(test)]
mod tests;
