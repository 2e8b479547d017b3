//! A trust domain, a server in it, and an executor that does what its certificate's first octet says.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prost::bytes::{Buf, BufMut};
use seb::broker::{Answer, Checked, Presented, Refused};
use seb::clock;
use seb::config::server::{GrpcConfig, GrpcLimits};
use seb::contract::StepName;
use seb::decision::{MutationId, Peer};
use seb::digest::Digest;
use seb::execution::{Grade, State};
use seb::grpc::access::Roles;
use seb::grpc::execution::{Executor, Service};
use seb::grpc::serve::{Drained, Parts, Server};
use seb::identity::embedded::{Domain, EmbeddedIssuer, Grant};
use seb::identity::folder;
use seb::identity::{Form, Identities, Issuer};
use seb::proto::seb::v1 as wire;
use seb::proto::seb::v1::execution_service_client::ExecutionServiceClient;
use seb::reason::{Denial, Reason};
use seb::store::{Execution, UseKey};
use seb::telemetry::{BrokerMetrics, GrpcMetrics, Health, Registry};
use seb::tls::{Connector, H2, client_config, execution_client_config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinHandle;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

const PATIENCE: Duration = Duration::from_secs(60);

/// What the executor does.
#[derive(Debug, Clone, Copy)]
pub enum Act {
    Succeed = 1,
    /// Waits until it is released, then succeeds.
    Hold,
    Malformed,
    Forged,
    Expired,
    Stale,
    Busy,
    Fail,
}

#[derive(Clone)]
pub struct Fake(Arc<Inner>);

struct Inner {
    release: Semaphore,
    order: watch::Sender<Vec<String>>,
    executions: Mutex<BTreeMap<MutationId, Execution>>,
    changed: watch::Sender<u64>,
    trace: Mutex<Option<String>>,
}

impl Fake {
    fn new() -> Self {
        Self(Arc::new(Inner {
            release: Semaphore::new(0),
            order: watch::Sender::new(Vec::new()),
            executions: Mutex::default(),
            changed: watch::Sender::new(0),
            trace: Mutex::default(),
        }))
    }

    fn act(presented: &Presented) -> u8 {
        presented.certificate[0]
    }

    fn refusal(act: u8) -> Option<Refused> {
        let denied = |reasons: &[Reason]| {
            let denials = reasons.iter().map(|reason| Denial::new(*reason, "particulars")).collect();
            Refused::Denied { denials, record: Some(7) }
        };
        Some(match act {
            act if act == Act::Malformed as u8 => denied(&[Reason::CertificateEncoding]),
            act if act == Act::Forged as u8 => denied(&[Reason::SignatureInvalid]),
            act if act == Act::Expired as u8 => denied(&[Reason::Expired, Reason::DriftVersion]),
            act if act == Act::Stale as u8 => denied(&[Reason::EpochStale]),
            act if act == Act::Busy as u8 => Refused::Busy(3),
            act if act == Act::Fail as u8 => Refused::Internal("the password is hunter2".to_owned()),
            _ => return None,
        })
    }

    fn keep(&self, agent: &spiffe::SpiffeId, state: State) -> Execution {
        let mut executions = self.0.executions.lock().unwrap();
        let ordinal = u32::try_from(executions.len()).unwrap() + 1;
        let certificate = Digest::of(b"certificate");
        let step: StepName = "apply".parse().unwrap();
        let mutation_id = MutationId::derive(&certificate, &step, ordinal);
        let settled = state.is_settled();
        let execution = Execution {
            mutation_id: mutation_id.clone(),
            certificate,
            ordinal,
            use_key: UseKey::SINGLE,
            request: Digest::of(b"request"),
            agent: agent.clone(),
            authority: "spiffe://example.org/sab".parse().unwrap(),
            target: "prod".parse().unwrap(),
            state,
            decision: 7,
            decided_at: clock::now().unwrap(),
            outcome: settled.then_some(8),
            outcome_at: settled.then(|| clock::now().unwrap()),
        };
        executions.insert(mutation_id, execution.clone());
        execution
    }
}

impl Executor for Fake {
    async fn execute(&self, presented: Presented, peer: Peer) -> Result<Answer, Refused> {
        self.0.order.send_modify(|order| order.push(peer.id.to_string()));
        *self.0.trace.lock().unwrap() = presented.trace.clone();
        let act = Self::act(&presented);
        if act == Act::Hold as u8 {
            self.0.release.acquire().await.unwrap().forget();
        }
        if let Some(refused) = Self::refusal(act) {
            return Err(refused);
        }
        let execution = self.keep(&peer.id, State::Succeeded);
        self.answer(execution).await
    }

    async fn check(&self, presented: Presented, _: Peer) -> Result<Checked, Refused> {
        match Self::refusal(Self::act(&presented)) {
            Some(Refused::Denied { denials, .. }) => Ok(Checked { denials, call: None, rehearsed: None }),
            Some(refused) => Err(refused),
            None => Ok(Checked { denials: Vec::new(), call: None, rehearsed: None }),
        }
    }

    async fn execution(&self, mutation: &MutationId) -> Result<Option<Execution>, Refused> {
        Ok(self.0.executions.lock().unwrap().get(mutation).cloned())
    }

    async fn answer(&self, execution: Execution) -> Result<Answer, Refused> {
        Ok(Answer {
            execution,
            detail: "done".to_owned(),
            call: Some(Digest::of(b"call")),
            resource: Some("services/checkout".to_owned()),
            grade: Some(Grade::Atomic),
            reason: None,
            rejection: None,
            version: Some("42".to_owned()),
            repeated: false,
        })
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }
}

pub struct World {
    pub registry: Arc<Registry>,
    pub health: Health,
    fake: Fake,
    metrics: GrpcMetrics,
    address: SocketAddr,
    identities: BTreeMap<&'static str, Identities>,
    shutdown: Mutex<Option<oneshot::Sender<()>>>,
    serving: JoinHandle<Drained>,
    folder: tempfile::TempDir,
}

const WHO: [&str; 6] = ["server", "agent/a", "agent/b", "auditor", "operator", "stranger"];

impl World {
    pub async fn start(limits: GrpcLimits) -> Self {
        Self::start_draining(limits, PATIENCE).await
    }

    pub async fn start_draining(limits: GrpcLimits, drain: Duration) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let now = clock::now().unwrap();
        let domain = Domain::init(&temporary.path().join("domain"), &"example.org".parse().unwrap(), now).unwrap();
        let mut identities = BTreeMap::new();
        for who in WHO {
            let folder = temporary.path().join(who.replace('/', "-"));
            let id = format!("spiffe://example.org/{who}").parse().unwrap();
            domain.issue(Grant::new(id, folder.clone(), Duration::from_secs(3600), false), now).unwrap();
            identities.insert(who, folder::open(&folder).await.unwrap());
        }
        let mut registry = Registry::new("seb");
        let metrics = GrpcMetrics::register(&mut registry);
        let broker = BrokerMetrics::register(&mut registry);
        let config = GrpcConfig { listen: "127.0.0.1:0".parse().unwrap(), drain, limits };
        let server = Server::bind(&config, &identities["server"]).await.unwrap();
        let address = server.address();
        let fake = Fake::new();
        let health = Health::default();
        health.started();
        let id = |text: &str| text.parse().unwrap();
        let parts = Parts {
            routes: Routes::new(Service::server(fake.clone(), broker, config.limits.message_octets)),
            roles: Roles {
                agents: vec![id("spiffe://example.org/agent/*")],
                auditors: vec![id("spiffe://example.org/auditor")],
                operators: vec![id("spiffe://example.org/operator")],
                ..Roles::default()
            },
            metrics: metrics.clone(),
            health: health.clone(),
            services: &["seb.v1.ExecutionService", "grpc.health.v1.Health"],
        };
        let (shutdown, ended) = oneshot::channel::<()>();
        let ended = async {
            let _ = ended.await;
        };
        let serving = tokio::spawn(async move { server.serve(parts, ended).await.unwrap() });
        Self {
            registry: Arc::new(registry),
            health,
            fake,
            metrics,
            address,
            identities,
            shutdown: Mutex::new(Some(shutdown)),
            serving,
            folder: temporary,
        }
    }

    /// Where the folders with the identities are.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The name of a file with a certificate that makes the executor do so.
    pub fn certificate(&self, act: Act) -> String {
        let name = format!("certificate-{}.pem", act as u8);
        let pem = der::pem::encode_string("ATTRIBUTE CERTIFICATE", der::pem::LineEnding::LF, &[act as u8]).unwrap();
        std::fs::write(self.folder().join(&name), pem).unwrap();
        name
    }

    pub fn channel(&self, who: &str) -> Channel {
        let server = "spiffe://example.org/server".parse().unwrap();
        let tls = client_config(&self.identities[who], [server], &[H2]).unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint.connect_with_connector_lazy(Connector::new(tls, PATIENCE))
    }

    /// A channel of an execution identity, as the broker mints them.
    pub async fn execution_channel(&self) -> Channel {
        let folder = self.folder().join("broker");
        let now = clock::now().unwrap();
        let domain = Domain::open(&self.folder().join("domain")).unwrap();
        let id = "spiffe://example.org/broker".parse().unwrap();
        domain.issue(Grant::new(id, folder.clone(), Duration::from_secs(3600), true), now).unwrap();
        let issuer = EmbeddedIssuer::open(&folder).await.unwrap();
        let step: StepName = "apply".parse().unwrap();
        let mutation = MutationId::derive(&Digest::of(b"certificate"), &step, 1);
        let plan = issuer.plan(&mutation, Form::X509, now, now.saturating_add(Duration::from_secs(60))).unwrap();
        let minted = issuer.mint(plan).await.unwrap();
        let server = "spiffe://example.org/server".parse().unwrap();
        let tls = execution_client_config(minted, &self.identities["server"], [server], &[H2]).unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint.connect_with_connector_lazy(Connector::new(tls, PATIENCE))
    }

    pub fn client(&self, who: &str) -> ExecutionServiceClient<Channel> {
        ExecutionServiceClient::new(self.channel(who))
    }

    pub fn health_client(&self, who: &str) -> HealthClient<Channel> {
        HealthClient::new(self.channel(who))
    }

    pub fn message(act: Act) -> wire::ExecuteRequest {
        wire::ExecuteRequest { certificate: vec![act as u8], ..Default::default() }
    }

    pub async fn execute(&self, who: &str, act: Act) -> Result<wire::ExecuteResponse, Status> {
        let mut request = Request::new(Self::message(act));
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        request.metadata_mut().insert("traceparent", trace.parse().unwrap());
        self.client(who).execute(request).await.map(tonic::Response::into_inner)
    }

    pub async fn check(&self, who: &str, act: Act) -> Result<wire::CheckResponse, Status> {
        let request = wire::CheckRequest { request: Some(Self::message(act)) };
        self.client(who).check(request).await.map(tonic::Response::into_inner)
    }

    pub fn spawn(&self, who: &str, act: Act) -> JoinHandle<Result<wire::ExecuteResponse, Status>> {
        let mut client = self.client(who);
        tokio::spawn(async move { client.execute(Self::message(act)).await.map(tonic::Response::into_inner) })
    }

    /// Calls any path with an empty message.
    pub async fn raw(&self, who: &str, path: &'static str) -> Result<(), Status> {
        self.octets(who, path, Vec::new()).await
    }

    /// Calls any path with any octets in the place of a message.
    pub async fn octets(&self, who: &str, path: &'static str, octets: Vec<u8>) -> Result<(), Status> {
        let mut client = tonic::client::Grpc::new(self.channel(who));
        client.ready().await.unwrap();
        client.unary(Request::new(octets), path.parse().unwrap(), Octets).await.map(|_| ())
    }

    pub fn begin(&self, who: &str) -> MutationId {
        let agent = format!("spiffe://example.org/{who}").parse().unwrap();
        self.fake.keep(&agent, State::Running).mutation_id
    }

    pub fn settle(&self, id: &MutationId, state: State) {
        self.fake.0.executions.lock().unwrap().get_mut(id).unwrap().state = state;
        self.fake.0.changed.send_modify(|number| *number += 1);
    }

    pub fn release(&self, count: usize) {
        self.fake.0.release.add_permits(count);
    }

    pub fn order(&self) -> Vec<String> {
        self.fake.0.order.borrow().clone()
    }

    pub fn started(&self) -> usize {
        self.order().len()
    }

    pub async fn wait_started(&self, count: usize) {
        let mut order = self.fake.0.order.subscribe();
        tokio::time::timeout(PATIENCE, order.wait_for(|order| order.len() >= count)).await.unwrap().unwrap();
    }

    pub async fn wait_waiting(&self, count: i64) {
        // A gauge cannot be awaited.
        Self::until(|| self.metrics.waiting.get() == count).await;
    }

    pub async fn wait_streams(&self, count: i64) {
        Self::until(|| self.metrics.streams.get() == count).await;
    }

    async fn until(holds: impl Fn() -> bool) {
        let patience = async {
            while !holds() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, patience).await.unwrap();
    }

    pub fn last_trace(&self) -> Option<String> {
        self.fake.0.trace.lock().unwrap().clone()
    }

    pub fn shutdown(&self) {
        self.shutdown.lock().unwrap().take().unwrap().send(()).unwrap();
    }

    pub async fn end(self) -> Drained {
        tokio::time::timeout(PATIENCE, self.serving).await.unwrap().unwrap()
    }
}

/// The reason of a status' `ErrorInfo`.
pub fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// Messages that are any octets.
#[derive(Debug, Clone, Copy)]
struct Octets;

impl Codec for Octets {
    type Encode = Vec<u8>;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Octets {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, octets: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put_slice(&octets);
        Ok(())
    }
}

impl Decoder for Octets {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, octets: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        octets.advance(octets.remaining());
        Ok(Some(()))
    }
}

/// The status and the body of an answer over HTTP/1.1.
pub async fn http_get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}
