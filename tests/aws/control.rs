//! Cloud Control as its documentation has it, before an account: it takes a request, goes on with it, and tells by the
//! request's token how it goes. Other calls it answers as it is told, and everything else it hands on to the account.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

/// What becomes of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It arrives.
    Whole,
    /// It is lost: the request was taken.
    Lost,
    /// A part of it arrives.
    Cut,
    /// Another answer: the service fails, although the request was taken.
    Failure,
}

/// A call that came.
#[derive(Debug, Clone)]
pub struct Came {
    /// `CreateResource`.
    pub operation: String,
    pub body: Value,
    /// The access key of the session that made it.
    pub key: String,
}

/// What is known of a request.
#[derive(Debug, Clone)]
struct Ledger {
    request_token: String,
    event: Value,
}

#[derive(Default)]
struct State {
    came: Vec<Came>,
    /// By client token.
    requests: BTreeMap<String, Ledger>,
    /// What each further look at a request changes in its event; the last one stays.
    next: VecDeque<Value>,
    /// What becomes of the answers of one operation, in turn; whole after that.
    told: BTreeMap<&'static str, VecDeque<Told>>,
    /// Tokens are not known any more.
    forgotten: bool,
    /// What is answered to calls with this mark in the operation or body, the newest first.
    said: Vec<(&'static str, StatusCode, String)>,
    /// The bodies of those calls.
    heard: Vec<String>,
}

/// Cloud Control before an account.
#[derive(Clone)]
pub struct CloudControl {
    pub origin: String,
    state: Arc<Mutex<State>>,
}

impl CloudControl {
    /// Before the account at this address.
    pub async fn before(account: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let all = Self { origin, state: Arc::default() };
        let (own, account) = (all.clone(), account.to_owned());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (own, account) = (own.clone(), account.clone());
                let service = service_fn(move |request| answer(own.clone(), account.clone(), request));
                tokio::spawn(server::Builder::new().serve_connection(TokioIo::new(socket), service));
            }
        });
        all
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What each look at the request changes in its event, the answer to the request itself being the first.
    pub fn goes(&self, events: &[Value]) {
        self.state().next = events.iter().cloned().collect();
    }

    /// What becomes of the answers of this operation.
    pub fn tells(&self, operation: &'static str, told: &[Told]) {
        self.state().told.insert(operation, told.iter().copied().collect());
    }

    pub fn forgets(&self) {
        self.state().forgotten = true;
    }

    /// What is answered to calls with this mark in the operation or the body.
    pub fn says(&self, mark: &'static str, status: StatusCode, body: &str) {
        self.state().said.insert(0, (mark, status, body.to_owned()));
    }

    /// The bodies of the calls that were answered so.
    pub fn heard(&self) -> Vec<String> {
        self.state().heard.clone()
    }

    /// The calls of this operation.
    pub fn came(&self, operation: &str) -> Vec<Came> {
        self.state().came.iter().filter(|came| came.operation == operation).cloned().collect()
    }
}

impl State {
    fn said(&mut self, target: &str, body: &str) -> Option<(StatusCode, String)> {
        let found = self.said.iter().find(|(mark, ..)| target.contains(mark) || body.contains(mark))?;
        let answer = (found.1, found.2.clone());
        self.heard.push(body.to_owned());
        Some(answer)
    }

    fn step(&mut self, event: &mut Value) {
        let change = match self.next.len() {
            0 | 1 => self.next.front().cloned().unwrap_or_else(|| json!({})),
            _ => self.next.pop_front().unwrap(),
        };
        for (name, value) in change.as_object().unwrap() {
            event[name] = value.clone();
        }
    }

    /// Status and body, as AWS answers.
    fn answer(&mut self, operation: &str, body: &Value) -> (StatusCode, Value) {
        let error =
            |code: &str| (StatusCode::BAD_REQUEST, json!({"__type": format!("com.amazonaws.cloudapiservice#{code}")}));
        let kind = match operation {
            "CreateResource" => "CREATE",
            "UpdateResource" => "UPDATE",
            "DeleteResource" => "DELETE",
            "GetResourceRequestStatus" => {
                let token = body["RequestToken"].as_str().unwrap_or_default();
                let found = self.requests.iter().find(|(_, ledger)| ledger.request_token == token && !self.forgotten);
                let Some((client_token, ledger)) = found.map(|(token, ledger)| (token.clone(), ledger.clone())) else {
                    return error("RequestTokenNotFoundException");
                };
                let mut event = ledger.event;
                self.step(&mut event);
                self.requests.get_mut(&client_token).unwrap().event = event.clone();
                return (StatusCode::OK, json!({"ProgressEvent": event}));
            }
            _ => return error("UnsupportedActionException"),
        };
        let client_token = body["ClientToken"].as_str().unwrap_or_default().to_owned();
        // The same token is the same request.
        if let Some(ledger) = self.requests.get(&client_token) {
            return (StatusCode::OK, json!({"ProgressEvent": ledger.event}));
        }
        let request_token = format!("1b0e-{}", self.requests.len());
        let mut event = json!({
            "TypeName": body["TypeName"], "RequestToken": request_token, "Operation": kind, "OperationStatus": "IN_PROGRESS",
            "EventTime": 1_800_000_000.5,
        });
        self.step(&mut event);
        self.requests.insert(client_token, Ledger { request_token, event: event.clone() });
        (StatusCode::OK, json!({"ProgressEvent": event}))
    }
}

async fn answer(
    own: CloudControl,
    account: String,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let target = header("x-amz-target");
    let said = own.state().said(target, &String::from_utf8_lossy(&body));
    if let Some((status, text)) = said {
        let answer = Response::builder().status(status).header("x-amzn-requestid", "r-2");
        return Ok(answer.body(Full::new(Bytes::from(text))).unwrap());
    }
    let Some(operation) = header("x-amz-target").strip_prefix("CloudApiService.").map(str::to_owned) else {
        let (mut sender, connection) =
            client::handshake(TokioIo::new(TcpStream::connect(account).await?)).await.unwrap();
        tokio::spawn(connection);
        let response = sender.send_request(Request::from_parts(parts, Full::new(body))).await.unwrap();
        let (parts, body) = response.into_parts();
        return Ok(Response::from_parts(parts, Full::new(body.collect().await.unwrap().to_bytes())));
    };
    let key = header("authorization").split("Credential=").nth(1).and_then(|rest| rest.split('/').next());
    let key = key.unwrap_or_default().to_owned();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let (told, (status, answer)) = {
        let mut state = own.state();
        state.came.push(Came { operation: operation.clone(), body: body.clone(), key });
        let told = state.told.get_mut(operation.as_str()).and_then(VecDeque::pop_front).unwrap_or(Told::Whole);
        (told, state.answer(&operation, &body))
    };
    let built = |status: StatusCode, body: String| {
        let answer = Response::builder().status(status).header("content-type", "application/x-amz-json-1.0");
        Ok(answer.header("x-amzn-requestid", "r-1").body(Full::new(Bytes::from(body))).unwrap())
    };
    match told {
        Told::Whole => built(status, answer.to_string()),
        Told::Lost => Err(std::io::Error::other("lost")),
        Told::Cut => {
            let text = answer.to_string();
            let length = text.len();
            let cut = built(status, text.chars().take(length / 2).collect());
            cut.map(|mut cut: Response<Full<Bytes>>| {
                cut.headers_mut().insert("content-length", (length as u64).into());
                cut
            })
        }
        Told::Failure => built(StatusCode::INTERNAL_SERVER_ERROR, json!({"__type": "InternalFailure"}).to_string()),
    }
}
