//! Asking a sandbox for something by the identity of this process, whatever that is: for people who try it out.
//!
//! Nothing of the broker goes this way. What is asked for beyond reading, the sandbox refuses to everybody who comes with
//! an ordinary identity; that is what trying it shows.

use std::io;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use spiffe::SpiffeId;
use tokio::time::timeout;

use super::client::exchange_http2;
use crate::contract::Json;
use crate::identity::Identities;
use crate::target::failure::Failure;
use crate::tls::{self, H2};

/// The longest that connecting may take.
const CONNECT: Duration = Duration::from_secs(5);

/// The longest that a visit may take: longer than the faults that can be asked for.
const VISIT: Duration = Duration::from_secs(150);

/// The status and the answer of the sandbox at `address` (`host:port`), which must show the SPIFFE ID `server`.
///
/// # Errors
/// If there is no answer, or none that is JSON.
pub async fn visit(
    address: &str,
    server: SpiffeId,
    identities: &Identities,
    method: Method,
    path: &str,
    body: Option<&Json>,
) -> io::Result<(StatusCode, Json)> {
    let config = tls::client_config(identities, [server], &[H2]).map_err(io::Error::other)?;
    let octets = body.map(Json::to_canonical).unwrap_or_default();
    let asking = async {
        let stream = tls::connect(address, config, CONNECT).await?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        // HTTP/2 wants to know the authority; it means nothing here.
        let request = Request::builder().method(method).uri(format!("https://sandbox{path}"));
        let request = request.body(Full::new(Bytes::from(octets))).map_err(|error| Failure(error.to_string()))?;
        let answer = exchange_http2(sender, request).await;
        connection.abort();
        answer
    };
    let answer = timeout(VISIT, asking).await.unwrap_or_else(|_| Err(Failure("no answer in time".to_owned())));
    answer.map_err(|Failure(detail)| io::Error::other(detail))
}
