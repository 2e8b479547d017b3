//! The sandbox as the production system of a test, and its audit log.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use seb::identity::Identities;
use seb::target::sandbox::server::{PROTOCOLS, Server, serve};
use seb::tls::{self, HTTP11, Limits};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{PATIENCE, id, identities};

/// A sandbox that serves until the test ends.
pub struct Production {
    pub address: String,
    audit: PathBuf,
    operator: Identities,
    auditor: Identities,
    shutdown: CancellationToken,
}

impl Drop for Production {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Production {
    pub async fn start(directory: &TempDir) -> Self {
        let own = identities(directory, "sandbox").await;
        let (operator, auditor) = (identities(directory, "operator").await, identities(directory, "sab").await);
        Self::serve(directory.path(), own, operator, auditor).await
    }

    /// One with these identities, whose audit log is in `folder`.
    pub async fn serve(folder: &Path, own: Identities, operator: Identities, auditor: Identities) -> Self {
        let audit = folder.join("audit.jsonl");
        let server = Server::open(&audit, [id("seb"), id("sab")], [id("operator")], true).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let incoming = tls::incoming(listener, own, PROTOCOLS, Limits::default()).unwrap();
        let address = incoming.local_addr().to_string();
        let shutdown = CancellationToken::new();
        tokio::spawn(serve(Arc::new(server), incoming, shutdown.clone()));
        Self { address, audit, operator, auditor, shutdown }
    }

    /// The audit log: every line but those of what the test itself did to the world.
    pub fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.audit).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["result"] != "outside").collect()
    }

    /// How long the audit log is.
    pub fn audit_octets(&self) -> u64 {
        std::fs::metadata(&self.audit).unwrap().len()
    }

    /// What was really changed, by mutation id.
    pub fn applied(&self) -> Vec<Value> {
        self.audit().into_iter().filter(|line| line["result"] == "applied").collect()
    }

    /// Any request by any identity, as no driver would make it.
    pub async fn raw(&self, who: &Identities, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
        let config = tls::client_config(who, [id("sandbox")], &[HTTP11]).unwrap();
        let stream = tls::connect(&self.address, config, PATIENCE).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder().method(method).uri(path).header("host", "sandbox");
        let response = sender.send_request(request.body(Full::new(Bytes::from(body))).unwrap()).await.unwrap();
        let status = response.status();
        let octets = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&octets).unwrap_or(Value::Null))
    }

    /// Makes a service with so many replicas, behind the broker's back; its uid.
    pub async fn create(&self, name: &str, replicas: i64) -> String {
        self.drift(name, &json!({ "replicas": replicas, "image": "shop:1" })).await;
        self.live(name).await["uid"].as_str().unwrap().to_owned()
    }

    /// Changes a service behind the broker's back; `null` removes it.
    pub async fn drift(&self, name: &str, patch: &Value) {
        let (status, answer) =
            self.raw(&self.operator, Method::POST, &format!("/v1/outside/services/{name}"), patch).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }

    /// The service as it is.
    pub async fn live(&self, name: &str) -> Value {
        self.raw(&self.auditor, Method::GET, &format!("/v1/objects/services/{name}"), &Value::Null).await.1
    }

    /// Makes the next mutation go wrong.
    pub async fn fault(&self, fault: Value) {
        let (status, answer) = self.raw(&self.operator, Method::POST, "/v1/faults", &fault).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
}
