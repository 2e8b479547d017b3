//! An AWS account: `fakecloud` with IAM enforced and signatures verified, and requests to it that are signed here.
//!
//! The signer is SigV4 as its documentation has it, and shares nothing with the product. The emulator differs from AWS in
//! what follows, and tests are written so that this does not make them pass:
//!
//! - It has no IAM Roles Anywhere, no tags of sessions, and no source identity that lasts.
//! - A principal of a trust policy is compared with the ARN of the session, not of its role: so trust policies name the
//!   account, and the condition `aws:PrincipalArn`, which has the session's ARN too.
//! - An unsigned request needs a trust policy that names everybody: [`FIRST_LOOK`] is only good for that.
//! - It believes a token without looking at its signature.
//! - A policy on a role of a path is compared with an ARN without that path, and a session's `aws:PrincipalArn` is its own.
//! - It enforces service control policies, and takes resource control policies for such. `FullAWSAccess` is attached to the
//!   root of an organization alone: where another policy is attached, so must that be, or everything is denied.

use std::fmt::Write as _;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::process::Process;
use super::{Folder, PATIENCE, awaited, free_port, program};

pub const REGION: &str = "eu-west-1";
pub const ACCOUNT: &str = "123456789012";

/// The condition of a statement for everybody that holds before the emulator has looked at a token, and not afterwards.
pub const FIRST_LOOK: &str = r#"{"Null":{"aws:FederatedProvider":"true"}}"#;

/// What requests are signed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    pub id: String,
    pub secret: String,
    pub token: Option<String>,
}

impl Keys {
    /// The root of the account, for whom the emulator makes an exception from every rule.
    pub fn root() -> Self {
        Self { id: "test".to_owned(), secret: "test".to_owned(), token: None }
    }

    /// Those in an answer of STS.
    pub fn of(answer: &str) -> Self {
        let part = |name| element(answer, name).unwrap_or_else(|| panic!("no {name}: {answer}"));
        Self { id: part("AccessKeyId"), secret: part("SecretAccessKey"), token: Some(part("SessionToken")) }
    }
}

/// A request that is to be signed and sent.
#[derive(Debug, Clone)]
pub struct Asked {
    pub service: &'static str,
    pub method: Method,
    pub path: String,
    pub query: Vec<(String, String)>,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Asked {
    /// An operation of a service that speaks `awsQuery`.
    pub fn query(service: &'static str, action: &str, parameters: &[(&str, &str)]) -> Self {
        let version = match service {
            "autoscaling" => "2011-01-01",
            "ec2" => "2016-11-15",
            "iam" => "2010-05-08",
            "sts" => "2011-06-15",
            "sns" => "2010-03-31",
            _ => panic!("no version of {service}"),
        };
        let mut body = format!("Action={action}&Version={version}");
        for (name, value) in parameters {
            write!(body, "&{}={}", escaped(name), escaped(value)).unwrap();
        }
        let form = ("content-type".to_owned(), "application/x-www-form-urlencoded; charset=utf-8".to_owned());
        Self { headers: vec![form], body, ..Self::rest(service, Method::POST, "/") }
    }

    /// An operation of a service that speaks `awsJson`: `DynamoDB_20120810.PutItem`, say.
    pub fn json(service: &'static str, target: &str, body: &Value) -> Self {
        let version = if ["kms", "events", "organizations"].contains(&service) { "1.1" } else { "1.0" };
        let headers = vec![
            ("content-type".to_owned(), format!("application/x-amz-json-{version}")),
            ("x-amz-target".to_owned(), target.to_owned()),
        ];
        Self { headers, body: body.to_string(), ..Self::rest(service, Method::POST, "/") }
    }

    /// Any request, without query, headers and body.
    pub fn rest(service: &'static str, method: Method, path: &str) -> Self {
        let path = path.to_owned();
        Self { service, method, path, query: Vec::new(), headers: Vec::new(), body: String::new() }
    }

    pub fn with_body(self, body: &str) -> Self {
        Self { body: body.to_owned(), ..self }
    }

    pub fn with_query(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// The emulator.
pub struct Aws {
    pub process: Process,
    pub api: Api,
}

/// Its API.
#[derive(Debug, Clone)]
pub struct Api {
    /// `HOST:PORT`.
    pub address: String,
}

impl Aws {
    /// A fresh account, in a folder of its own in `folder`.
    pub async fn start(folder: &Folder) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let home = folder.folder("aws");
        let process = start(&address, &home);
        let mut aws = Self { process, api: Api { address } };
        aws.ready().await;
        aws
    }

    /// Waits until it answers.
    pub async fn ready(&mut self) {
        let Self { process, api: Api { address } } = self;
        awaited("the AWS emulator", async || {
            process.assert_runs();
            let request = Request::get("/_fakecloud/health").header("host", address.as_str());
            let (status, answer) = exchange(address, request.body(Full::default())?).await?;
            anyhow::ensure!(status == StatusCode::OK, "{status} {answer}");
            Ok(())
        })
        .await;
    }
}

impl std::ops::Deref for Aws {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

impl Api {
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Signs and sends it; the status, and the body of the answer.
    pub async fn send(&self, keys: &Keys, asked: &Asked) -> (StatusCode, String) {
        let sent = exchange(&self.address, signed(&self.address, Some(keys), asked));
        tokio::time::timeout(PATIENCE, sent).await.unwrap().unwrap()
    }

    /// Signs it, and sends another body.
    pub async fn send_altered(&self, keys: &Keys, asked: &Asked, body: &str) -> (StatusCode, String) {
        let request = signed(&self.address, Some(keys), asked).map(|_| Full::new(Bytes::from(body.to_owned())));
        tokio::time::timeout(PATIENCE, exchange(&self.address, request)).await.unwrap().unwrap()
    }

    /// The same without a signature.
    pub async fn send_unsigned(&self, asked: &Asked) -> (StatusCode, String) {
        let sent = exchange(&self.address, signed(&self.address, None, asked));
        tokio::time::timeout(PATIENCE, sent).await.unwrap().unwrap()
    }

    /// Does it as root; the answer.
    pub async fn root(&self, asked: &Asked) -> String {
        let (status, answer) = self.send(&Keys::root(), asked).await;
        assert!(status.is_success(), "{status} {answer}\n{asked:?}");
        answer
    }

    /// Makes a role: who may assume it, and what it may do.
    pub async fn role(&self, name: &str, trust: &Value, may: &Value) {
        let (trust, may) = (policy(trust).to_string(), policy(may).to_string());
        let parameters = [("RoleName", name), ("AssumeRolePolicyDocument", &trust)];
        self.root(&Asked::query("iam", "CreateRole", &parameters)).await;
        let parameters = [("RoleName", name), ("PolicyName", "may"), ("PolicyDocument", &may)];
        self.root(&Asked::query("iam", "PutRolePolicy", &parameters)).await;
    }

    /// A user with long-lived keys, and what it may do.
    pub async fn user(&self, name: &str, may: &Value) -> Keys {
        let may = policy(may).to_string();
        self.root(&Asked::query("iam", "CreateUser", &[("UserName", name)])).await;
        let parameters = [("UserName", name), ("PolicyName", "may"), ("PolicyDocument", &may)];
        self.root(&Asked::query("iam", "PutUserPolicy", &parameters)).await;
        let answer = self.root(&Asked::query("iam", "CreateAccessKey", &[("UserName", name)])).await;
        let part = |name| element(&answer, name).unwrap();
        Keys { id: part("AccessKeyId"), secret: part("SecretAccessKey"), token: None }
    }

    /// A user with long-lived keys who may do everything in this account, which is in no organization or in this one.
    pub async fn administrator(&self, account: &str, organization: Option<&str>) -> Keys {
        let body = json!({ "accountId": account, "userName": "admin", "organizationId": organization });
        let mut asked = Asked::rest("iam", Method::POST, "/_fakecloud/iam/create-admin").with_body(&body.to_string());
        asked.headers.push(("content-type".to_owned(), "application/json".to_owned()));
        let (status, answer) = self.send_unsigned(&asked).await;
        assert!(status.is_success(), "{status} {answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let part = |name: &str| answer[name].as_str().unwrap().to_owned();
        Keys { id: part("accessKeyId"), secret: part("secretAccessKey"), token: None }
    }

    /// A call of AWS Organizations that succeeds: the answer.
    pub async fn organization(&self, keys: &Keys, operation: &str, body: &Value) -> Value {
        let asked = Asked::json("organizations", &format!("AWSOrganizationsV20161128.{operation}"), body);
        let (status, answer) = self.send(keys, &asked).await;
        assert!(status.is_success(), "{operation}: {status} {answer}");
        serde_json::from_str(&answer).unwrap()
    }

    /// A session of a role, by these keys: the answer of STS.
    pub async fn assume(&self, keys: &Keys, role: &str, name: &str, more: &[(&str, &str)]) -> (StatusCode, String) {
        let mut parameters = vec![("RoleArn", role), ("RoleSessionName", name), ("DurationSeconds", "900")];
        parameters.extend(more);
        self.send(keys, &Asked::query("sts", "AssumeRole", &parameters)).await
    }
}

fn start(address: &str, home: &Path) -> Process {
    let arguments = [
        "--iam",
        "strict",
        "--verify-sigv4",
        "--addr",
        address,
        "--region",
        REGION,
        "--account-id",
        ACCOUNT,
        "--log-level",
        "warn",
    ];
    Process::start("aws", &program("fakecloud", "fakecloud"), &arguments, home)
}

/// A statement that allows these actions on everything.
pub fn allow(actions: &Value) -> Value {
    json!({ "Effect": "Allow", "Action": actions, "Resource": "*" })
}

/// A trust policy's statement: principals of this account of which the ARN is like one of these.
pub fn trusts(arns: &[String]) -> Value {
    json!({
        "Effect": "Allow",
        "Principal": { "AWS": format!("arn:aws:iam::{ACCOUNT}:root") },
        "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"],
        "Condition": { "ArnLike": { "aws:PrincipalArn": arns } },
    })
}

/// A policy of these statements: one, or a list.
pub fn policy(statements: &Value) -> Value {
    json!({ "Version": "2012-10-17", "Statement": statements })
}

/// The text of the first element of this name, in XML without attributes of it.
pub fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
}

/// The texts of all elements of this name, the same way.
pub fn elements(xml: &str, name: &str) -> Vec<String> {
    let end = format!("</{name}>");
    xml.split_inclusive(&end).filter_map(|part| element(part, name)).collect()
}

async fn exchange(address: &str, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, String)> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(TcpStream::connect(address).await?)).await?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let octets = response.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&octets).into_owned()))
}

/// The request with its signature, if there is anybody to sign it.
fn signed(address: &str, keys: Option<&Keys>, asked: &Asked) -> Request<Full<Bytes>> {
    let time: String = seb::clock::now().unwrap().to_string();
    let time = time.split(['.', 'Z']).next().unwrap().replace(['-', ':'], "") + "Z";
    let payload = hex(digest(&SHA256, asked.body.as_bytes()).as_ref());
    let mut headers = asked.headers.clone();
    headers.extend([
        ("host".to_owned(), address.to_owned()),
        ("x-amz-content-sha256".to_owned(), payload.clone()),
        ("x-amz-date".to_owned(), time.clone()),
    ]);
    let token = keys.and_then(|keys| keys.token.clone());
    headers.extend(token.map(|token| ("x-amz-security-token".to_owned(), token)));
    headers.sort();
    let mut query: Vec<_> = asked.query.iter().map(|(k, v)| format!("{}={}", escaped(k), escaped(v))).collect();
    query.sort();
    let query = query.join("&");
    let names = headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let canonical = format!("{}\n{}\n{query}\n{lines}\n{names}\n{payload}", asked.method, asked.path);
    let (date, service) = (time.split('T').next().unwrap(), asked.service);
    let scope = format!("{date}/{REGION}/{service}/aws4_request");
    let hashed = hex(digest(&SHA256, canonical.as_bytes()).as_ref());
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hashed}");

    let uri = if query.is_empty() { asked.path.clone() } else { format!("{}?{query}", asked.path) };
    let mut request = Request::builder().method(asked.method.clone()).uri(uri);
    for (name, value) in &headers {
        request = request.header(name, value);
    }
    if let Some(keys) = keys {
        let mut key = format!("AWS4{}", keys.secret).into_bytes();
        for part in [date, REGION, service, "aws4_request"] {
            key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), part.as_bytes()).as_ref().to_vec();
        }
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), text.as_bytes());
        let signature = hex(signature.as_ref());
        let credential = format!("AWS4-HMAC-SHA256 Credential={}/{scope}", keys.id);
        request =
            request.header("authorization", format!("{credential}, SignedHeaders={names}, Signature={signature}"));
    }
    request.body(Full::new(Bytes::from(asked.body.clone()))).unwrap()
}

fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for octet in text.bytes() {
        match octet {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(char::from(octet)),
            _ => write!(escaped, "%{octet:02X}").unwrap(),
        }
    }
    escaped
}

fn hex(octets: &[u8]) -> String {
    base16ct::lower::encode_string(octets)
}
