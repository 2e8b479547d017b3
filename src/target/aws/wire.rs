//! One request on a connection of its own, with the fence immediately before its first octet.
//!
//! A connection is made for one request, by HTTP/1.1, under TLS wherever it is not the loopback, and through a proxy where
//! one is set. No request is sent twice, and what an answer does not say completely is not known.

use std::fmt;
use std::io;
use std::sync::Arc;

use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::client::{InvalidSettings, Settings};
use super::request::SignedRequest;
use super::request::answer::MAX_ANSWER;
use crate::reason::Denial;
use crate::target::failure::Failure;
use crate::target::{Fence, FencedIo, Passage};

/// The longest answer of a proxy before the connection, in octets.
const MAX_PROXY: usize = 4096;

/// What came of a request that was to be sent once.
pub(super) enum Sent {
    /// A complete answer came.
    Answered(Answer),
    /// Nothing of it was written: the fence denied.
    Denied(Denial),
    /// Nothing of it was written.
    NotWritten(String),
    /// Something of it was written, and no complete answer came.
    Lost(String),
}

/// An answer: all of it.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// How connections are made.
pub(super) struct Wire {
    tls: Arc<ClientConfig>,
    proxy: Option<Authority>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A connection that is open: for one request, which passes the fence.
pub(super) struct Open<'a> {
    stream: Box<dyn Stream + 'a>,
    passage: Arc<Passage>,
}

impl Wire {
    /// Connections with these settings; the system's CA certificates are read once.
    pub(super) fn new(settings: &Settings) -> Result<Self, InvalidSettings> {
        let mut roots = RootCertStore::empty();
        match &settings.authorities {
            Some(text) => {
                // One at least, and nothing that the TLS library would not take.
                for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
                    let certificate = certificate.map_err(|_| InvalidSettings::Authorities)?;
                    roots.add(certificate).map_err(|_| InvalidSettings::Authorities)?;
                }
                if roots.is_empty() {
                    return Err(InvalidSettings::Authorities);
                }
            }
            None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|error| InvalidSettings::Tls(error.to_string()))?;
        let mut tls = config.with_root_certificates(roots).with_no_client_auth();
        tls.alpn_protocols = vec![crate::tls::HTTP11.to_vec()];
        tls.enable_early_data = false;
        let authority = |url: &String| {
            let authority = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/')).unwrap_or_default();
            let usable = |authority: &Authority| authority.port_u16().is_some() && !authority.as_str().contains('@');
            authority.parse::<Authority>().ok().filter(usable)
        };
        let proxy = match settings.proxy.as_ref() {
            None => None,
            Some(url) => Some(authority(url).ok_or(InvalidSettings::Proxy)?),
        };
        Ok(Self { tls: Arc::new(tls), proxy })
    }

    /// A connection to this origin, `https://HOST[:PORT]` or `http://HOST[:PORT]`, on which the next octet is the request's
    /// first.
    pub(super) async fn open<'a>(
        &self,
        origin: &str,
        fence: &'a dyn Fence,
        deadline: Instant,
    ) -> Result<Open<'a>, String> {
        let opened = timeout_at(deadline, self.connect(origin, fence)).await;
        let opened = opened.map_err(|_| "no connection in time".to_owned())?;
        opened.map_err(|error| format!("no connection to `{origin}`: {error}"))
    }

    async fn connect<'a>(&self, origin: &str, fence: &'a dyn Fence) -> io::Result<Open<'a>> {
        let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "not an origin");
        let (scheme, authority) = origin.split_once("://").ok_or_else(invalid)?;
        let authority: Authority = authority.parse().map_err(|_| invalid())?;
        let under_tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(invalid()),
        };
        let port = authority.port_u16().unwrap_or(if under_tls { 443 } else { 80 });
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let socket = match &self.proxy {
            Some(proxy) if under_tls => through(proxy, authority.host(), port).await?,
            _ => TcpStream::connect((host, port)).await?,
        };
        socket.set_nodelay(true)?;
        let (mut socket, passage) = FencedIo::new(socket, fence);
        let stream: Box<dyn Stream + 'a> = match under_tls {
            false => {
                socket.arm();
                Box::new(socket)
            }
            true => {
                let name = ServerName::try_from(host.to_owned()).map_err(|_| invalid())?;
                let mut stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, socket).await?;
                stream.get_mut().0.arm();
                Box::new(stream)
            }
        };
        Ok(Open { stream, passage })
    }
}

/// A connection through a proxy (`CONNECT`).
async fn through(proxy: &Authority, host: &str, port: u16) -> io::Result<TcpStream> {
    let proxy_host = proxy.host().trim_start_matches('[').trim_end_matches(']');
    let mut socket = TcpStream::connect((proxy_host, proxy.port_u16().unwrap_or(80))).await?;
    socket.write_all(format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    // Octet by octet: what follows belongs to the other side.
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= MAX_PROXY {
            return Err(io::Error::other("the proxy says too much"));
        }
        answer.push(socket.read_u8().await?);
    }
    let status = answer.split(|octet| *octet == b' ').nth(1);
    match status {
        Some(b"200") => Ok(socket),
        _ => Err(io::Error::new(io::ErrorKind::ConnectionRefused, "the proxy refuses")),
    }
}

impl Open<'_> {
    /// Sends the request, once, and waits for its answer until `deadline` at most.
    pub(super) async fn send(self, request: SignedRequest, deadline: Instant) -> Sent {
        let Self { stream, passage } = self;
        let request = match built(request) {
            Ok(request) => request,
            Err(error) => return Sent::NotWritten(error.to_string()),
        };
        let answer = timeout_at(deadline, exchange(stream, request)).await;
        let failure = match answer {
            Ok(Ok(answer)) => return Sent::Answered(answer),
            Ok(Err(Failure(detail))) => detail,
            Err(_) => "no answer in time".to_owned(),
        };
        match (passage.denial(), passage.octets()) {
            (Some(denial), _) => Sent::Denied(denial.clone()),
            (None, 0) => Sent::NotWritten(failure),
            (None, _) => Sent::Lost(failure),
        }
    }
}

fn built(request: SignedRequest) -> Result<Request<Full<Bytes>>, http::Error> {
    let (_, rest) = request.url.split_once("://").unwrap_or_default();
    let target = rest.find(['/', '?']).and_then(|at| rest.get(at..)).unwrap_or("/");
    let mut built = Request::builder().method(request.method).uri(target);
    for (name, value) in &request.headers {
        let mut value = HeaderValue::from_str(value)?;
        value.set_sensitive(true);
        built = built.header(HeaderName::from_bytes(name.as_bytes())?, value);
    }
    built = built.header(http::header::CONNECTION, "close");
    built.body(Full::new(Bytes::from(request.body)))
}

async fn exchange(stream: Box<dyn Stream + '_>, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| Failure::of(&error))?;
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(async {
        let response = sender.send_request(request).await.map_err(|error| Failure::of(&error))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| Failure::of(&*error))?.to_bytes();
        match parts.status {
            StatusCode::SWITCHING_PROTOCOLS => Err(Failure("another protocol".to_owned())),
            status => Ok(Answer { status: status.as_u16(), headers: parts.headers, body }),
        }
    });
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // What the connection ended with, the exchange tells too, or has its answer already.
        _ = &mut connection => answer.await,
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("proxy", &self.proxy).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
