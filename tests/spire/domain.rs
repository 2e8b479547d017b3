//! A SPIRE trust domain with everything around a broker: a sandbox that knows the trust domain, an agent, and an
//! authority in a trust domain of its own, whose bundle the broker has in a file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use seb::identity::embedded::{Domain, Grant};
use seb::identity::workload::{self, WorkloadApi};
use seb::identity::{Identities, Identity, Svid, folder};
use seb::proto::seb::v1::execution_service_client::ExecutionServiceClient;
use seb::proto::seb::v1::{ExecuteRequest, Execution};
use seb::sab::authority::Authority;
use seb::tls::{self, Connector, H2};
use serde_json::Value;
use spiffe::{SpiffeId, TrustDomain};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::testbed::spire::{Entry, Options, Spire};
use crate::testbed::{Folder, PATIENCE};
use crate::world::authority::Epochs;
use crate::world::sandbox::Production;
use crate::world::{Certificate, broker, id, now, value};

const POLICY: &str = include_str!("../../spire/policy.rego");
const POLICY_DATA: &str = include_str!("../../spire/policy-data.json");

/// The policy as it is shipped, with or without the leave to have an intermediate CA signed.
pub fn policy(downstream: bool) -> (String, String) {
    let mut data: Value = serde_json::from_str(POLICY_DATA).unwrap();
    data["seb"]["downstream"] = downstream.into();
    (POLICY.to_owned(), data.to_string())
}

/// What there is in every test: the broker's SVID lives so many seconds.
pub fn options(issuer: &str, svid_seconds: u32) -> Options {
    let entry = Entry::of_this_user;
    let broker =
        Entry { admin: true, downstream: issuer == "spire-downstream", x509_ttl: Some(svid_seconds), ..entry("seb") };
    Options {
        policy: Some(policy(issuer == "spire-downstream")),
        entries: vec![broker, entry("sab"), entry("sandbox"), entry("operator"), entry("agent/one")],
        ..Options::default()
    }
}

/// The identity with this path, from the agent; it rotates.
pub async fn identities(spire: &Spire, path: &str) -> Identities {
    let socket = format!("unix:{}", spire.agent_socket().display()).parse().unwrap();
    let config = WorkloadApi { socket, id: Some(id(path)), hint: None };
    workload::open(config, PATIENCE).await.unwrap().0
}

pub struct Around {
    pub spire: Spire,
    pub authority: Arc<Authority>,
    pub epochs: Epochs,
    pub production: Production,
    pub agent: Identities,
    /// Everybody but the broker: each hears of a rotation when its turn comes.
    pub others: Vec<Identities>,
    /// Where the broker has the bundle of the authority's trust domain from: tables of its configuration.
    pub trusted: String,
    folder: PathBuf,
}

impl Around {
    /// With an authority in a trust domain of its own.
    pub async fn start(folder: &Folder, options: Options) -> Self {
        let domain = Domain::init(&folder.join("sab-domain"), &TrustDomain::new("sab.org").unwrap(), now()).unwrap();
        let sab = SpiffeId::new("spiffe://sab.org/sab").unwrap();
        domain.issue(Grant::new(sab, folder.join("sab"), Duration::from_secs(7200), false), now()).unwrap();
        Self::around(folder, Spire::start(folder, options).await).await
    }

    /// With an authority of the broker's trust domain, whose certificate the server minted.
    pub async fn in_one_domain(folder: &Folder, options: Options) -> Self {
        let spire = Spire::start(folder, options).await;
        spire.mint_folder("sab", "2h", &folder.folder("sab")).await;
        Self::around(folder, spire).await
    }

    /// With an authority of `sab`, another trust domain, whose certificate its server minted.
    pub async fn beside(folder: &Folder, spire: Spire, sab: &Spire, trusted: String) -> Self {
        sab.mint_folder("sab", "2h", &folder.folder("sab")).await;
        Self { trusted, ..Self::around(folder, spire).await }
    }

    async fn around(folder: &Folder, spire: Spire) -> Self {
        let authority = Arc::new(Authority::in_folder(&folder.join("sab")).unwrap());
        let own = identities(&spire, "sandbox").await;
        let epochs = Epochs::serve(Arc::clone(&authority), both(folder.join("sab"), own.clone()).await).await;
        let (operator, reader) = (identities(&spire, "operator").await, identities(&spire, "sab").await);
        let agent = identities(&spire, "agent/one").await;
        let others = vec![own.clone(), operator.clone(), reader.clone(), agent.clone()];
        let production = Production::serve(folder.path(), own, operator, reader).await;
        let trusted = match authority.id().trust_domain() == id("sab").trust_domain() {
            true => String::new(),
            false => "[trust_bundles]\n\"sab.org\" = \"sab/bundle.pem\"".to_owned(),
        };
        Self { spire, authority, epochs, production, agent, others, trusted, folder: folder.path().to_owned() }
    }

    /// Starts the broker as a process, and waits until it hears the authority.
    pub async fn broker(&self, issuer: &str) -> Broker {
        self.configure(issuer);
        let log = std::fs::File::create(self.folder.join("broker.log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_seb"));
        let command = command.args(["broker", "--output", "json", "--config"]).arg(self.folder.join("broker.toml"));
        let mut child = command.stdout(Stdio::piped()).stderr(log).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap();
        let line: Value = serde_json::from_str(&line.expect("the broker starts")).unwrap();
        let address = |name: &str| line[name].as_str().unwrap().parse().unwrap();
        let broker =
            Broker { _child: child, grpc: address("grpc"), http: address("http"), log: self.folder.join("broker.log") };
        self.epochs.heard().await;
        broker
    }

    /// Writes the broker's configuration.
    pub fn configure(&self, issuer: &str) {
        let (socket, server) = (self.spire.agent_socket(), &self.spire.server_address);
        let (authority, sandbox, sab) = (self.epochs.address, &self.production.address, self.authority.id());
        let trusted = &self.trusted;
        let text = format!(
            r#"
[identity]
source = "workload-api"
socket = "unix:{}"
spiffe_id = "spiffe://example.org/seb"
[execution]
issuer = "{issuer}"
server_address = "{server}"
server_id = "spiffe://example.org/spire/server"
[grpc]
listen = "127.0.0.1:0"
[http]
listen = "127.0.0.1:0"
[store]
path = "broker.db"
record_key = "store-key.pem"
[[authorities]]
id = "{sab}"
address = "{authority}"
{trusted}
[[targets]]
name = "prod"
kind = "sandbox"
address = "{sandbox}"
server_id = "spiffe://example.org/sandbox"
[roles]
agents = ["spiffe://example.org/agent/*"]
[ceilings]
max_deadline_seconds = 30
[ceilings.authorities."{sab}"]
targets = ["prod"]
[ceilings.targets.prod]
kind = "sandbox"
[[ceilings.targets.prod.rules]]
verbs = ["merge"]
resources = ["services/*"]
parameters = [{{ pointer = "/replicas", maximum = 40 }}]
[ceilings.rates]
agent = {{ executions = 100000, per_seconds = 60 }}
authority = {{ executions = 100000, per_seconds = 60 }}
[ceilings.knowledge]
staleness_ms = 4000
max_clock_skew_ms = 2000
max_state_age_ms = 20000
boundary = "warn"
"#,
            socket.display()
        );
        std::fs::write(self.folder.join("broker.toml"), text).unwrap();
    }

    /// The agent's client of the broker.
    pub fn client(&self, broker: &Broker) -> ExecutionServiceClient<Channel> {
        let config = tls::client_config(&self.agent, [id("seb")], &[H2]).unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{}", broker.grpc)).unwrap();
        ExecutionServiceClient::new(endpoint.connect_with_connector_lazy(Connector::new(config, PATIENCE)))
    }

    /// Scales a service that is made for it, under a certificate of its own.
    pub async fn scale(&self, client: &ExecutionServiceClient<Channel>, name: &str) -> Result<Execution, Status> {
        self.scale_by(&self.authority, client, name).await
    }

    /// The same under a certificate of this authority.
    pub async fn scale_by(
        &self,
        authority: &Authority,
        client: &ExecutionServiceClient<Channel>,
        name: &str,
    ) -> Result<Execution, Status> {
        let uid = self.production.create(name, 3).await;
        let certificate = Certificate::scale(name, &uid);
        let ask = ExecuteRequest {
            certificate: certificate.issue(authority),
            chain: authority.chain().to_vec(),
            values: vec![value("/replicas", "7")],
            ..ExecuteRequest::default()
        };
        broker::execute(client, &ask).await
    }

    /// The bodies of all decisions that allowed, from the broker's store.
    pub async fn decisions(&self) -> Vec<Value> {
        self.all_decisions().await.into_iter().filter(|body| !body["identity"].is_null()).collect()
    }

    /// The bodies of all decisions, in order.
    pub async fn all_decisions(&self) -> Vec<Value> {
        let output = self.records(&["export"]).await;
        let lines = output.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let envelopes = lines.filter_map(|line| line["envelope"].as_str().map(str::to_owned));
        let statements = envelopes.map(|text| seb::record::Statement::from_envelope(text.as_bytes()).unwrap());
        let decisions = statements.filter(|statement| statement.kind == seb::record::Kind::Decision);
        decisions.map(|statement| serde_json::from_str(&statement.body.to_canonical()).unwrap()).collect()
    }

    /// Where the bundle of the authority came from, in each decision that allowed.
    pub async fn sources(&self) -> Vec<String> {
        let source = |body: &Value| body["certified"]["source"].as_str().unwrap_or("none").to_owned();
        self.decisions().await.iter().map(source).collect()
    }

    /// Runs `seb records` on the broker's store, which must find nothing wrong.
    pub async fn records(&self, words: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_seb"));
        let command = command.arg("records").args(words).args(["--store", "broker.db"]).current_dir(&self.folder);
        let output = command.output().await.unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "{said}");
        said
    }
}

/// A broker that runs, until it is dropped.
pub struct Broker {
    _child: Child,
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    log: PathBuf,
}

impl Broker {
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// What `/readyz` or `/metrics` answers: the status line's number, and the text.
    pub async fn get(&self, path: &str) -> (u16, String) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut socket = tokio::net::TcpStream::connect(self.http).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: broker\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer)
    }
}

/// The SVID of a folder, with its own bundle and the bundles of another process: a server that lets both trust domains in.
async fn both(of: PathBuf, others: Identities) -> Identities {
    let own = folder::open(&of).await.unwrap();
    let chain = CertificateDer::pem_file_iter(of.join("svid.pem")).unwrap();
    let chain: Vec<_> = chain.map(|one| one.unwrap().to_vec()).collect();
    let key = PrivatePkcs8KeyDer::from_pem_file(of.join("key.pem")).unwrap();
    let join = move || {
        let svid = Svid::new(&chain, key.secret_pkcs8_der()).unwrap();
        let (own, others) = (Arc::clone(&own.borrow()), Arc::clone(&others.borrow()));
        (Arc::new(Identity::new(svid, own.bundles().chain(others.bundles()).cloned())), others)
    };
    let (first, _) = join();
    let (sender, receiver) = watch::channel(first);
    tokio::spawn(async move {
        let mut last = Arc::downgrade(&join().1);
        while !sender.is_closed() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let (next, others) = join();
            if !std::ptr::eq(last.as_ptr(), Arc::as_ptr(&others)) {
                last = Arc::downgrade(&others);
                sender.send_replace(next);
            }
        }
    });
    receiver
}
