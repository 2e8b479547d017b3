//! Anchors and profiles of IAM Roles Anywhere, which the emulator has not got: the operations that Terraform needs, by AWS's
//! model (2018-05-10), with its defaults. It keeps what it is given and opens nothing; anything else is an error.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::testbed::aws::REGION;

/// Those of one account. It ends when it is dropped.
pub struct RolesAnywhere {
    pub origin: String,
    made: Made,
    _end: DropGuard,
}

/// By path: `trustanchor/ID`, `profile/ID`.
type Made = Arc<Mutex<BTreeMap<String, Value>>>;

/// A status, and what is said.
type Answer = (StatusCode, Value);

impl RolesAnywhere {
    pub async fn of(account: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let (end, made) = (CancellationToken::new(), Made::default());
        let serving = Arc::clone(&made);
        tokio::spawn(end.clone().run_until_cancelled_owned(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let made = Arc::clone(&serving);
                let service = service_fn(move |request| serve(account, Arc::clone(&made), request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
            }
        }));
        Self { origin, made, _end: end.drop_guard() }
    }

    /// Anchors, and profiles.
    pub fn made(&self) -> (Vec<Value>, Vec<Value>) {
        let made = self.made.lock().unwrap();
        let of = |kind: &str| {
            made.iter().filter(|(path, _)| path.starts_with(kind)).map(|(_, value)| value.clone()).collect()
        };
        (of("trustanchor/"), of("profile/"))
    }
}

async fn serve(account: &str, made: Made, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (parts, body) = request.into_parts();
    let octets = body.collect().await?.to_bytes();
    let signed = parts
        .headers
        .get("authorization")
        .is_some_and(|value| value.to_str().unwrap().contains(&format!("/{REGION}/rolesanywhere/aws4_request")));
    let (status, answer) = if signed {
        answer(account, &mut made.lock().unwrap(), &parts.method, parts.uri.path(), &octets)
    } else {
        (StatusCode::FORBIDDEN, json!({ "message": "not signed" }))
    };
    let mut response = Response::builder().status(status).header("content-type", "application/json");
    match status {
        StatusCode::NOT_FOUND => response = response.header("x-amzn-errortype", "ResourceNotFoundException"),
        status if !status.is_success() => response = response.header("x-amzn-errortype", "ValidationException"),
        _ => {}
    }
    Ok(response.body(Full::new(Bytes::from(answer.to_string()))).unwrap())
}

fn answer(account: &str, made: &mut BTreeMap<String, Value>, method: &Method, path: &str, octets: &[u8]) -> Answer {
    let path = path.trim_start_matches('/');
    let member = |path: &str| if path.starts_with("profile") { "profile" } else { "trustAnchor" };
    let created = |body: Result<Value, &str>, made: &mut BTreeMap<String, Value>| match body {
        Ok(value) => {
            let kind = if path == "profiles" { "profile" } else { "trustanchor" };
            let id = value[format!("{}Id", member(path))].as_str().unwrap();
            made.insert(format!("{kind}/{id}"), value.clone());
            (StatusCode::CREATED, json!({ member(path): value }))
        }
        Err(why) => (StatusCode::BAD_REQUEST, json!({ "message": why })),
    };
    let none = || (StatusCode::NOT_FOUND, json!({ "message": "there is none" }));
    match (method.as_str(), path) {
        ("POST", "trustanchors") => created(anchor(account, octets), made),
        ("POST", "profiles") => created(profile(account, octets), made),
        ("GET", "ListTagsForResource") => (StatusCode::OK, json!({ "tags": [] })),
        ("GET", _) => made.get(path).map_or_else(none, |value| (StatusCode::OK, json!({ member(path): value }))),
        ("DELETE", _) => made.remove(path).map_or_else(none, |value| (StatusCode::OK, json!({ member(path): value }))),
        _ => (StatusCode::BAD_REQUEST, json!({ "message": format!("unknown: {method} {path}") })),
    }
}

/// What was asked for, if it has what it must and nothing else.
fn asked(octets: &[u8], required: &[&str], optional: &[&str]) -> Result<Value, &'static str> {
    let value: Value = serde_json::from_slice(octets).map_err(|_| "not JSON")?;
    let has = value.as_object().ok_or("not an object")?;
    if !required.iter().all(|name| has.contains_key(*name)) {
        return Err("a member is missing");
    }
    if !has.keys().all(|name| [required, optional].concat().contains(&name.as_str())) {
        return Err("an unknown member");
    }
    if !has.get("tags").is_none_or(|tags| tags.as_array().is_some_and(Vec::is_empty)) {
        return Err("tags are not kept here");
    }
    Ok(value)
}

/// An identifier of its own.
fn id() -> String {
    let octets = seb::key::fresh_serial().unwrap();
    let parts = [&octets[..4], &octets[4..6], &octets[6..8], &octets[8..10], &octets[10..]];
    parts.map(base16ct::lower::encode_string).join("-")
}

fn anchor(account: &str, octets: &[u8]) -> Result<Value, &'static str> {
    let mut value = asked(octets, &["name", "source"], &["enabled", "notificationSettings", "tags"])?;
    let source = &value["source"];
    let data = source["sourceData"]["x509CertificateData"].as_str().ok_or("no certificate")?;
    if source["sourceType"] != "CERTIFICATE_BUNDLE" || CertificateDer::from_pem_slice(data.as_bytes()).is_err() {
        return Err("not a bundle of certificates");
    }
    let asked = value["notificationSettings"].as_array().cloned().unwrap_or_default();
    let mut settings = Vec::new();
    for event in ["CA_CERTIFICATE_EXPIRY", "END_ENTITY_CERTIFICATE_EXPIRY"] {
        let by_default = json!({
            "event": event, "enabled": true, "threshold": 45, "channel": "ALL",
            "configuredBy": "rolesanywhere.amazonaws.com",
        });
        let mut setting = asked.iter().find(|setting| setting["event"] == event).cloned().unwrap_or(by_default);
        if setting.get("configuredBy").is_none() {
            setting["configuredBy"] = json!(account);
        }
        settings.push(setting);
    }
    let id = id();
    value["notificationSettings"] = json!(settings);
    value["trustAnchorArn"] = json!(format!("arn:aws:rolesanywhere:{REGION}:{account}:trust-anchor/{id}"));
    value["trustAnchorId"] = json!(id);
    Ok(value)
}

fn profile(account: &str, octets: &[u8]) -> Result<Value, &'static str> {
    let optional = [
        "acceptRoleSessionName",
        "durationSeconds",
        "enabled",
        "managedPolicyArns",
        "requireInstanceProperties",
        "sessionPolicy",
        "tags",
    ];
    let mut value = asked(octets, &["name", "roleArns"], &optional)?;
    let defaults = json!({
        "acceptRoleSessionName": false, "durationSeconds": 3600, "managedPolicyArns": [], "requireInstanceProperties": false,
    });
    for (name, default) in defaults.as_object().unwrap() {
        if value.get(name).is_none() {
            value[name] = default.clone();
        }
    }
    if !value["durationSeconds"].as_u64().is_some_and(|seconds| (900..=43200).contains(&seconds)) {
        return Err("durationSeconds");
    }
    let id = id();
    value["profileArn"] = json!(format!("arn:aws:rolesanywhere:{REGION}:{account}:profile/{id}"));
    value["profileId"] = json!(id);
    Ok(value)
}
