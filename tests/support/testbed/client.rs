//! A plain HTTPS client, independent of the product's own: what a test sets up and looks at goes through this one.

use std::sync::Arc;

use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::PATIENCE;
use super::pki::Pair;

/// Media types of patches.
pub const MERGE: &str = "application/merge-patch+json";
pub const JSON_PATCH: &str = "application/json-patch+json";
pub const APPLY: &str = "application/apply-patch+yaml";

/// One identity that talks to one server, by a connection for each request.
#[derive(Clone)]
pub struct Client {
    address: String,
    tls: Arc<ClientConfig>,
    bearer: Option<String>,
}

impl Client {
    /// Trusts `authority`, in PEM, and shows a certificate if it is given one.
    pub fn new(address: &str, authority: &str, certificate: Option<&Pair>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots);
        let tls = match certificate {
            None => config.with_no_client_auth(),
            Some(pair) => {
                let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes()).map(Result::unwrap).collect();
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                config.with_client_auth_cert(chain, key).unwrap()
            }
        };
        Self { address: address.to_owned(), tls: Arc::new(tls), bearer: None }
    }

    /// The same with a bearer token.
    pub fn with_bearer(&self, token: &str) -> Self {
        Self { bearer: Some(token.to_owned()), ..self.clone() }
    }

    /// Sends one request; the status, and the JSON of the answer (a string, if it is not JSON).
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        media_type: &str,
        body: &Value,
    ) -> anyhow::Result<(StatusCode, Value)> {
        tokio::time::timeout(PATIENCE, self.send_unbounded(method, path, media_type, body)).await?
    }

    async fn send_unbounded(
        &self,
        method: Method,
        path: &str,
        media_type: &str,
        body: &Value,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("127.0.0.1")?;
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header("host", &self.address);
        if let Some(token) = &self.bearer {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = request.header("content-type", media_type).body(Full::new(Bytes::from(body)))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let octets = response.into_body().collect().await?.to_bytes();
        let text = String::from_utf8_lossy(&octets).into_owned();
        Ok((status, serde_json::from_slice(&octets).unwrap_or(Value::String(text))))
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.send(Method::GET, path, "application/json", &Value::Null).await.unwrap()
    }

    pub async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        self.send(Method::POST, path, "application/json", body).await.unwrap()
    }

    pub async fn put(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        self.send(Method::PUT, path, "application/json", body).await.unwrap()
    }

    pub async fn patch(&self, path: &str, media_type: &str, body: &Value) -> (StatusCode, Value) {
        self.send(Method::PATCH, path, media_type, body).await.unwrap()
    }

    pub async fn delete(&self, path: &str) -> (StatusCode, Value) {
        self.send(Method::DELETE, path, "application/json", &Value::Null).await.unwrap()
    }
}
