//! The broker of a test: in this process, or as a process of its own; and its clients.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use seb::clock::Clock;
use seb::config::broker::BrokerConfig;
use seb::proto::seb::v1::execution_service_client::ExecutionServiceClient;
use seb::proto::seb::v1::record_service_client::RecordServiceClient;
use seb::proto::seb::v1::{ExecuteRequest, Execution, GetExecutionRequest, ListRequest};
use seb::record::{Kind, Statement};
use seb::runtime;
use seb::tls::{self, Connector, H2};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt;

use super::disk::Disk;
use super::{PATIENCE, World, id};

/// What differs from one test's configuration to the next.
#[derive(Clone)]
pub struct Settings {
    pub read_before: bool,
    pub staleness_ms: u32,
    pub agent_rate: u32,
    pub authority_rate: u32,
    pub reconcile: &'static str,
    pub boundary: &'static str,
    /// Where the other authority is. Nobody is there by default.
    pub sab_two: &'static str,
    pub store: &'static str,
    pub log: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        // Wide bounds, because the machine may be busy; a test of a bound sets its own.
        Self {
            read_before: true,
            staleness_ms: 4000,
            agent_rate: 100_000,
            authority_rate: 100_000,
            reconcile: "100ms",
            boundary: "warn",
            sab_two: "127.0.0.1:9",
            store: "broker.db",
            log: "warn",
        }
    }
}

impl World {
    /// Writes the configuration of the broker; its file.
    pub fn configure(&self, settings: &Settings) -> PathBuf {
        let Settings { read_before, staleness_ms, agent_rate, authority_rate, .. } = settings;
        let Settings { reconcile, boundary, sab_two, store, log, .. } = settings;
        let (authority, sandbox) = (self.epochs.address, &self.production.address);
        let text = format!(
            r#"
[identity]
folder = "seb"
[grpc]
listen = "127.0.0.1:0"
drain = "2s"
[grpc.limits]
message_octets = "6MiB"
[http]
listen = "127.0.0.1:0"
[store]
path = "{store}"
record_key = "store-key.pem"
[[authorities]]
id = "spiffe://example.org/sab"
address = "{authority}"
[[authorities]]
id = "spiffe://example.org/sab-two"
address = "{sab_two}"
[[targets]]
name = "prod"
kind = "sandbox"
address = "{sandbox}"
server_id = "spiffe://example.org/sandbox"
read_before = {read_before}
[[targets]]
name = "elsewhere"
kind = "sandbox"
address = "127.0.0.1:9"
server_id = "spiffe://example.org/sandbox"
[roles]
agents = ["spiffe://example.org/agent/*"]
auditors = ["spiffe://example.org/auditor"]
operators = ["spiffe://example.org/operator"]
[ceilings]
max_validity_seconds = 3600
max_uses = 3
max_deadline_seconds = 30
[ceilings.authorities."spiffe://example.org/sab"]
targets = ["prod", "elsewhere"]
[ceilings.authorities."spiffe://example.org/sab-two"]
targets = ["elsewhere"]
[ceilings.targets.prod]
kind = "sandbox"
[[ceilings.targets.prod.rules]]
verbs = ["merge"]
resources = ["services/*"]
parameters = [{{ pointer = "/replicas", maximum = 40 }}]
[ceilings.targets.elsewhere]
kind = "sandbox"
[[ceilings.targets.elsewhere.rules]]
verbs = ["merge"]
resources = ["services/*"]
[ceilings.rates]
agent = {{ executions = {agent_rate}, per_seconds = 60 }}
authority = {{ executions = {authority_rate}, per_seconds = 60 }}
[ceilings.knowledge]
staleness_ms = {staleness_ms}
max_clock_skew_ms = 2000
max_state_age_ms = 20000
boundary = "{boundary}"
[reconcile]
interval = "{reconcile}"
[log]
level = "{log}"
"#
        );
        let path = self.path("broker.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A broker in this process, which has heard the authority.
    pub async fn broker(&self, settings: &Settings) -> Local {
        let config = BrokerConfig::load(&self.configure(settings)).unwrap();
        let clock = Clock::system();
        let (stop, stopped) = oneshot::channel::<()>();
        let (say, said) = oneshot::channel();
        let listening =
            move |listening: runtime::Listening| say.send(listening).map_err(|_| anyhow::anyhow!("nobody waits"));
        let until = async move { drop(stopped.await) };
        let own = clock.clone();
        // A runtime of its own, as the process has.
        let running = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            runtime.block_on(runtime::broker(config, own, until, listening))
        });
        let listening = match tokio::time::timeout(PATIENCE, said).await.unwrap() {
            Ok(listening) => listening,
            Err(_) => panic!("the broker does not start: {:?}", running.await),
        };
        let clients = self.clients(listening.grpc).await;
        self.epochs.heard().await;
        Local { clients, clock, http: listening.http, stop, running }
    }

    /// Clients of the broker at this address.
    pub async fn clients(&self, address: SocketAddr) -> Clients {
        let channel = async |who: &str| -> Channel {
            let identities = self.identities(who).await;
            let config = tls::client_config(&identities, [id("seb")], &[H2]).unwrap();
            let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
            endpoint.connect_with_connector_lazy(Connector::new(config, PATIENCE))
        };
        Clients {
            agent: ExecutionServiceClient::new(channel("agent/one").await),
            renewed: ExecutionServiceClient::new(channel("agent-one-renewed").await),
            other: ExecutionServiceClient::new(channel("agent/two").await),
            auditor: RecordServiceClient::new(channel("auditor").await).max_decoding_message_size(64 * 1024 * 1024),
        }
    }

    /// Runs `seb records` on the broker's store; whether it found nothing wrong, and what it said.
    pub async fn records(&self, words: &[&str]) -> (bool, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_seb"));
        let command = command.arg("records").args(words).args(["--store", "broker.db"]);
        let output = command.current_dir(self.directory.path()).output().await.unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    }

    /// The log verifies down to its artefacts, by the trust domain's bundle, and every decision is derived again (I7).
    pub async fn verified(&self) -> String {
        let (good, said) = self.records(&["verify", "--bundle", "auditor/bundle.pem", "--artefacts"]).await;
        assert!(good, "{said}");
        let (good, replayed) = self.records(&["replay"]).await;
        assert!(good, "{replayed}");
        said
    }
}

/// A broker in this process.
pub struct Local {
    pub clients: Clients,
    pub clock: Clock,
    /// Where metrics and health are.
    pub http: SocketAddr,
    stop: oneshot::Sender<()>,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Local {
    /// Ends it as SIGTERM does.
    pub async fn stop(self) {
        drop(self.clients);
        drop(self.stop);
        tokio::time::timeout(PATIENCE, self.running).await.unwrap().unwrap().unwrap();
    }
}

/// A broker as a process, killed when it is dropped.
pub struct Process {
    pub child: Child,
    pub address: SocketAddr,
    /// Where metrics and health are.
    pub http: SocketAddr,
}

impl Process {
    /// Starts it, and waits until it serves.
    pub async fn start(world: &World) -> Self {
        Self::try_start(world, None).await.unwrap_or_else(|ended| panic!("the broker ended: {ended:?}"))
    }

    /// Starts it, perhaps on a disk that can be made to fail, and waits until it serves.
    ///
    /// # Errors
    /// How it ended instead, and what it said.
    pub async fn try_start(world: &World, disk: Option<&Disk>) -> Result<Self, (ExitStatus, String)> {
        Self::try_start_by(Command::new(env!("CARGO_BIN_EXE_seb")), world, disk).await
    }

    /// The same by a command that becomes `seb`.
    ///
    /// # Errors
    /// As [`Self::try_start`].
    pub async fn try_start_by(
        mut command: Command,
        world: &World,
        disk: Option<&Disk>,
    ) -> Result<Self, (ExitStatus, String)> {
        let command = command.args(["broker", "--output", "json", "--config"]).arg(world.path("broker.toml"));
        let log = std::fs::OpenOptions::new().create(true).append(true).open(world.path("broker.log")).unwrap();
        let before = log.metadata().unwrap().len();
        command.envs(disk.iter().flat_map(|disk| disk.environment()));
        let mut child = command.stdout(Stdio::piped()).stderr(log).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap();
        let Some(line) = line else {
            let status = child.wait().await.unwrap();
            let said = std::fs::read(world.path("broker.log")).unwrap();
            return Err((status, String::from_utf8_lossy(&said[usize::try_from(before).unwrap()..]).into_owned()));
        };
        let line: Value = serde_json::from_str(&line).unwrap();
        let at = |what: &str| line[what].as_str().unwrap().parse().unwrap();
        Ok(Self { child, address: at("grpc"), http: at("http") })
    }

    /// SIGKILL, and waits until it is gone.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// SIGTERM, and waits until it is gone.
    pub async fn end(mut self) -> ExitStatus {
        if let Some(id) = self.child.id() {
            assert!(Command::new("kill").arg(id.to_string()).status().await.unwrap().success());
        }
        tokio::time::timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap()
    }

    /// What it answers at a path over HTTP: the status, and the text.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let socket = tokio::net::TcpStream::connect(self.http).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::builder().uri(path).header("host", "broker").body(Empty::<Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        let octets = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(octets.to_vec()).unwrap())
    }

    /// Waits until it is ready, or not; why not.
    pub async fn ready(&self, ready: bool) -> String {
        let waited = async {
            loop {
                let (status, text) = self.get("/readyz").await;
                if (status == 200) == ready {
                    return text;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waited).await.unwrap_or_else(|_| panic!("readiness is never {ready}"))
    }

    /// The value of a metric without labels.
    pub async fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics").await;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }
}

/// Those who talk to a broker.
#[derive(Clone)]
pub struct Clients {
    pub agent: ExecutionServiceClient<Channel>,
    /// The same agent by another SVID, with another key.
    pub renewed: ExecutionServiceClient<Channel>,
    pub other: ExecutionServiceClient<Channel>,
    pub auditor: RecordServiceClient<Channel>,
}

impl Clients {
    /// Executes as `agent/one`.
    pub async fn execute(&self, ask: &ExecuteRequest) -> Result<Execution, Status> {
        execute(&self.agent, ask).await
    }

    /// Waits until the execution is settled.
    pub async fn settled(&self, mutation_id: &str) -> Execution {
        let message = GetExecutionRequest { mutation_id: mutation_id.to_owned() };
        let watched = async {
            let mut stream = self.agent.clone().watch_execution(message).await.unwrap().into_inner();
            let mut last = None;
            while let Some(execution) = stream.message().await.unwrap() {
                last = Some(execution);
            }
            last.unwrap()
        };
        tokio::time::timeout(PATIENCE, watched).await.expect("it is settled in the end")
    }

    /// Every record after this one.
    pub async fn log(&self, mut after: u64) -> Vec<Statement> {
        let mut all = Vec::new();
        loop {
            let message = ListRequest { after, page_size: 1000, ..ListRequest::default() };
            let page = self.auditor.clone().list(message).await.unwrap().into_inner();
            all.extend(page.records.iter().map(|record| Statement::from_envelope(&record.envelope).unwrap()));
            match page.next_after {
                0 => return all,
                next => after = next,
            }
        }
    }

    /// The decisions after this record.
    pub async fn decisions(&self, after: u64) -> Vec<Statement> {
        self.log(after).await.into_iter().filter(|statement| statement.kind == Kind::Decision).collect()
    }

    /// The number of the newest record.
    pub async fn head(&self, after: u64) -> u64 {
        self.log(after).await.last().map_or(after, |statement| statement.link.number)
    }
}

/// Executes as any agent.
pub async fn execute(client: &ExecutionServiceClient<Channel>, ask: &ExecuteRequest) -> Result<Execution, Status> {
    let mut request = tonic::Request::new(ask.clone());
    request.set_timeout(Duration::from_secs(50));
    client.clone().execute(request).await.map(|answer| answer.into_inner().execution.unwrap())
}

/// The reason of a refusal, as the caller is told.
pub fn reason(status: &Status) -> String {
    match status.get_details_error_info() {
        Some(info) => info.reason,
        None => format!("no reason: {status:?}"),
    }
}
