//! A trust domain with production, authority and broker as processes of their own, and agents that keep asking.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use seb::clock;
use seb::identity::embedded::{Domain, Grant};
use seb::identity::folder;
use seb::proto::sab::v1::proposal_service_client::ProposalServiceClient;
use seb::proto::sab::v1::revocation_service_client::RevocationServiceClient;
use seb::proto::sab::v1::revoke_request::What;
use seb::proto::sab::v1::{Proposal, ProposeRequest, RevokeRequest, RevokeResponse};
use seb::proto::seb::v1::execution::State;
use seb::proto::seb::v1::execution_service_client::ExecutionServiceClient;
use seb::proto::seb::v1::{ExecuteRequest, Execution, ParameterValue};
use seb::timestamp::Timestamp;
use seb::tls::{self, Connector, H2};
use serde_json::Value;
use spiffe::{SpiffeId, TrustDomain};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt;

pub const PATIENCE: Duration = Duration::from_secs(60);
/// The lease of the configuration: staleness, twice the skew, and the margin.
pub const LEASE: Duration = Duration::from_millis(1000 + 2 * 300 + 10);

pub fn id(path: &str) -> SpiffeId {
    SpiffeId::new(format!("spiffe://example.org/{path}")).unwrap()
}

pub fn now() -> Timestamp {
    clock::now().unwrap()
}

/// A process, killed when it is dropped, and what it said first.
pub struct Process {
    child: Child,
    said: Value,
}

impl Process {
    async fn start(binary: &str, words: &[&str], directory: &Path, log: &str) -> Self {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(directory.join(log)).unwrap();
        let mut command = Command::new(binary);
        let command = command.args(["--output", "json"]).args(words).current_dir(directory);
        let mut child = command.stdout(Stdio::piped()).stderr(log).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap();
        let line = line.unwrap_or_else(|| panic!("{words:?} ended, see {}", directory.display()));
        Self { child, said: serde_json::from_str(&line).unwrap() }
    }

    fn address(&self, field: &str) -> SocketAddr {
        self.said[field].as_str().unwrap().parse().unwrap()
    }

    /// SIGSTOP, SIGCONT and the like.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
}

pub struct World {
    pub folder: TempDir,
    pub domain: Domain,
    _production: Process,
    pub authority: Process,
    pub broker: Process,
    pub started: Instant,
}

impl World {
    /// With so many services, each of 3 replicas, and so many targets that are all the same production.
    pub async fn new(services: usize, targets: usize) -> Self {
        let folder = TempDir::new().unwrap();
        let at = folder.path();
        std::fs::set_permissions(at, std::fs::Permissions::from_mode(0o700)).unwrap();
        let domain = Domain::init(&at.join("domain"), &TrustDomain::new("example.org").unwrap(), now()).unwrap();
        for who in ["seb", "seb-ghost", "sab", "operator", "auditor", "production"] {
            grant(&domain, at, who, who);
        }
        grant(&domain, at, "authority", "sab");
        std::fs::create_dir(at.join("policies")).unwrap();
        std::fs::write(
            at.join("policies/all.cedar"),
            "@id(\"all\") @tier(\"low\") permit (principal, action, resource);",
        )
        .unwrap();
        std::fs::write(at.join("production.toml"), production(services)).unwrap();
        let production = Process::start(
            env!("CARGO_BIN_EXE_seb"),
            &["sandbox", "--config", "production.toml"],
            at,
            "production.err",
        )
        .await;
        std::fs::write(at.join("sab.toml"), authority(production.address("listening"), targets)).unwrap();
        let started = seb::clock::instant();
        let authority =
            Process::start(env!("CARGO_BIN_EXE_sab"), &["serve", "--config", "sab.toml"], at, "sab.err").await;
        let text = broker(production.address("listening"), authority.address("listening"), targets);
        std::fs::write(at.join("broker.toml"), text).unwrap();
        let broker =
            Process::start(env!("CARGO_BIN_EXE_seb"), &["broker", "--config", "broker.toml"], at, "broker.err").await;
        let world = Self { folder, domain, _production: production, authority, broker, started };
        world.ready().await;
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What `/readyz` of the broker answers.
    pub fn is_ready(&self) -> (bool, String) {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(self.broker.address("http")).unwrap();
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: broker\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        (answer.starts_with("HTTP/1.1 200"), answer)
    }

    async fn ready(&self) {
        let ready = async {
            while !self.is_ready().0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.unwrap_or_else(|_| panic!("{:?}", self.is_ready()));
    }

    pub async fn channel(&self, who: &str, server: &str, address: SocketAddr) -> Channel {
        let identities = folder::open(&self.path(&who.replace('/', "-"))).await.unwrap();
        let config = tls::client_config(&identities, [id(server)], &[H2]).unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap().timeout(PATIENCE);
        endpoint.connect_with_connector_lazy(Connector::new(config, PATIENCE))
    }

    pub fn authority_address(&self) -> SocketAddr {
        self.authority.address("listening")
    }

    /// An agent of this name, with an identity of its own.
    pub async fn agent(&self, name: &str) -> Agent {
        let who = format!("agent/{name}");
        grant(&self.domain, self.folder.path(), &who.replace('/', "-"), &who);
        Agent {
            id: id(&who),
            authority: ProposalServiceClient::new(self.channel(&who, "sab", self.authority_address()).await),
            broker: ExecutionServiceClient::new(self.channel(&who, "seb", self.broker.address("grpc")).await),
        }
    }

    pub async fn operator(&self) -> RevocationServiceClient<Channel> {
        RevocationServiceClient::new(self.channel("operator", "sab", self.authority_address()).await)
    }

    /// `sab revoke`, as people do it: what it printed.
    pub async fn revoke_by_command(&self, words: &[&str]) -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sab"));
        let server = self.authority_address().to_string();
        let command = command.args(["--output", "json", "revoke"]).args(words).args(["--cause", "a test"]);
        let command = command.args(["--server", &server, "--server-id", "spiffe://example.org/sab"]);
        let output = command.args(["--identity", "operator"]).current_dir(self.folder.path()).output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Everything that was changed at the target, by service: each time in milliseconds.
    pub fn applied(&self) -> BTreeMap<String, Vec<u64>> {
        let text = std::fs::read_to_string(self.path("production.log")).unwrap();
        let mut applied: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        // The last line may be under way.
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        for line in lines.filter(|line| line["result"] == "applied") {
            let time: Timestamp = line["time"].as_str().unwrap().parse().unwrap();
            let service = line["resource"].as_str().unwrap().trim_start_matches("services/").to_owned();
            applied.entry(service).or_default().push(time.millis());
        }
        applied
    }
}

pub async fn revoke(operator: &RevocationServiceClient<Channel>, what: What) -> RevokeResponse {
    let request = RevokeRequest { what: Some(what), cause: "a test".to_owned() };
    operator.clone().revoke(request).await.unwrap().into_inner()
}

fn grant(domain: &Domain, folder: &Path, name: &str, who: &str) {
    let grant = Grant::new(id(who), folder.join(name), Duration::from_secs(7200), who == "seb");
    domain.issue(grant, now()).unwrap();
}

#[derive(Clone)]
pub struct Agent {
    pub id: SpiffeId,
    authority: ProposalServiceClient<Channel>,
    broker: ExecutionServiceClient<Channel>,
}

impl Agent {
    /// Has it admitted that the agent scales this service again and again, in the hour until `until`.
    pub async fn propose(&self, service: &str, target: &str, until: Timestamp) -> Proposal {
        let from = Timestamp::from_seconds(until.seconds() - 3600).unwrap();
        let proposal = format!(
            r"
schema: seb.dev/proposal/v1
target: {{ kind: sandbox, name: {target} }}
steps:
  - mutation:
      verb: merge
      resource: {{ collection: services, name: {service} }}
      body: {{ replicas: 10 }}
      parameters:
        - pointer: /replicas
          bounds: {{ type: integer, minimum: 3, maximum: 50 }}
    baseline: {{ mode: fields, fields: [/image] }}
limits: {{ uses: 9000, from: {from}, until: {until} }}
justification: a test
"
        );
        let request = ProposeRequest { proposal, bind_to_key: false };
        let proposal = self.authority.clone().propose(request).await.unwrap().into_inner();
        assert!(!proposal.certificate.is_empty(), "{proposal:?}");
        proposal
    }

    pub async fn execute(&self, proposal: &Proposal, key: u64) -> Result<Execution, Status> {
        let replicas = 3 + key % 40;
        let request = ExecuteRequest {
            certificate: proposal.certificate.clone(),
            chain: proposal.chain.clone(),
            values: vec![ParameterValue { pointer: "/replicas".to_owned(), json: replicas.to_string() }],
            idempotency_key: key.to_string(),
            ..ExecuteRequest::default()
        };
        self.broker.clone().execute(request).await.map(|answer| answer.into_inner().execution.unwrap())
    }
}

/// What came of one request: when it was sent, in milliseconds of the wall clock, and how it ended.
#[derive(Debug, Clone)]
pub struct Asked {
    pub sent: u64,
    pub end: Result<State, String>,
}

/// An agent that executes its certificate again and again, one after the other, until it is told to stop.
pub struct Worker {
    pub service: String,
    pub proposal: Proposal,
    pub agent: Agent,
    stop: watch::Sender<bool>,
    pub done: watch::Receiver<usize>,
    task: JoinHandle<Vec<Asked>>,
}

impl Worker {
    pub fn start(agent: &Agent, service: &str, proposal: Proposal) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (count, done) = watch::channel(0);
        let (own, sent) = (agent.clone(), proposal.clone());
        let task = tokio::spawn(async move {
            let mut asked = Vec::new();
            for key in 1.. {
                if *stopped.borrow() {
                    break;
                }
                let at = now().millis();
                let end = match own.execute(&sent, key).await {
                    Ok(execution) => Ok(execution.state()),
                    Err(status) => Err(reason(&status)),
                };
                if end == Ok(State::Succeeded) {
                    count.send_modify(|count| *count += 1);
                }
                if end.is_err() {
                    // Not faster than whoever is refused would be.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                asked.push(Asked { sent: at, end });
            }
            asked
        });
        Self { service: service.to_owned(), proposal, agent: agent.clone(), stop, done, task }
    }

    /// Waits until so many more executions succeeded.
    pub async fn more(&self, count: usize) {
        let mut done = self.done.clone();
        let goal = *done.borrow() + count;
        let reached = done.wait_for(|done| *done >= goal);
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        assert!(reached.is_ok(), "{} executes no more", self.service);
    }

    pub async fn stop(self) -> Vec<Asked> {
        self.stop.send_replace(true);
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap()
    }
}

pub fn reason(status: &Status) -> String {
    status.get_details_error_info().map_or_else(|| format!("no reason: {status:?}"), |info| info.reason)
}

/// What `/readyz` says all the time that a future takes: the texts of those that were not ready.
pub async fn readiness_during<T>(world: &Arc<World>, future: impl Future<Output = T>) -> (T, Vec<String>) {
    let (stop, stopped) = watch::channel(false);
    let watched = Arc::clone(world);
    let watching = tokio::task::spawn_blocking(move || {
        let mut failures = Vec::new();
        while !*stopped.borrow() {
            let (ready, said) = watched.is_ready();
            if !ready {
                failures.push(said);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        failures
    });
    let answer = future.await;
    stop.send_replace(true);
    (answer, watching.await.unwrap())
}

fn production(services: usize) -> String {
    let objects: String =
        (0..services).map(|n| format!("[objects.services.s{n}]\nreplicas = 3\nimage = \"shop:1\"\n")).collect();
    format!(
        r#"
listen = "127.0.0.1:0"
identity = "production"
audit = "production.log"
readers = ["spiffe://example.org/seb", "spiffe://example.org/sab"]
{objects}"#
    )
}

fn authority(production: SocketAddr, targets: usize) -> String {
    let target = |n| {
        format!(
            r#"
[[targets]]
name = "t{n}"
kind = "sandbox"
address = "{production}"
server_id = "spiffe://example.org/production"
broker = "spiffe://example.org/seb"
"#
        )
    };
    let targets: String = (0..targets).map(target).collect();
    format!(
        r#"
[identity]
folder = "sab"
[authority]
folder = "authority"
[grpc]
listen = "127.0.0.1:0"
[http]
listen = "127.0.0.1:0"
[store]
records = "sab-records.db"
ledger = "sab-ledger.db"
record_key = "sab-record-key.pem"
[policies]
folder = "policies"
[epochs]
brokers = ["spiffe://example.org/seb", "spiffe://example.org/seb-ghost"]
heartbeat = "200ms"
staleness = "1s"
max_clock_skew = "300ms"
[roles]
agents = ["spiffe://example.org/agent/*"]
operators = ["spiffe://example.org/operator"]
{targets}"#
    )
}

fn broker(production: SocketAddr, authority: SocketAddr, targets: usize) -> String {
    let target = |n| {
        format!(
            r#"
[[targets]]
name = "t{n}"
kind = "sandbox"
address = "{production}"
server_id = "spiffe://example.org/production"
[ceilings.targets.t{n}]
kind = "sandbox"
rules = [{{ verbs = ["merge"], resources = ["services/*"] }}]
"#
        )
    };
    let names: Vec<String> = (0..targets).map(|n| format!("\"t{n}\"")).collect();
    let targets: String = (0..targets).map(target).collect();
    format!(
        r#"
[identity]
folder = "seb"
[grpc]
listen = "127.0.0.1:0"
[http]
listen = "127.0.0.1:0"
[store]
path = "broker.db"
record_key = "broker-record-key.pem"
[[authorities]]
id = "spiffe://example.org/sab"
address = "{authority}"
[roles]
agents = ["spiffe://example.org/agent/*"]
auditors = ["spiffe://example.org/auditor"]
[ceilings]
max_validity_seconds = 604800
max_uses = 10000
[ceilings.authorities."spiffe://example.org/sab"]
targets = [{names}]
[ceilings.rates]
agent = {{ executions = 100000, per_seconds = 60 }}
authority = {{ executions = 100000, per_seconds = 60 }}
[ceilings.knowledge]
staleness_ms = 1000
max_clock_skew_ms = 300
boundary = "warn"
[reconcile]
interval = "500ms"
[log]
level = "warn"
{targets}"#,
        names = names.join(", ")
    )
}
