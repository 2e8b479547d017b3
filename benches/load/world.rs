//! What the load runs on: authority, broker and sandbox, each a process of its own on loopback, with fresh keys.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use http::Method;
use http::header::{CONNECTION, CONTENT_TYPE, HOST};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use seb::clock;
use seb::contract::Contract;
use seb::decision::MutationId;
use seb::digest::Digest;
use seb::identity::embedded::{Domain, EmbeddedIssuer, Grant};
use seb::identity::{Form, Identities, Issuer, folder};
use seb::key::fresh_serial;
use seb::proto::sab::v1::RevokeRequest;
use seb::proto::sab::v1::revocation_service_client::RevocationServiceClient;
use seb::proto::sab::v1::revoke_request::What;
use seb::proto::seb::v1::execution_service_client::ExecutionServiceClient;
use seb::proto::seb::v1::{ExecuteRequest, ParameterValue};
use seb::sab::authority::Authority;
use seb::target::sandbox::visit;
use seb::timestamp::Timestamp;
use seb::tls::{self, Connector, H2, HTTP11};
use serde_json::{Value, json};
use spiffe::TrustDomain;
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

use super::certify::{certify, id};
use super::process::{PATIENCE, Process};

/// How many agents share the load.
pub(crate) const AGENTS: usize = 8;

/// How many objects there are for each agent.
const OBJECTS: usize = 8;

pub(crate) struct World {
    directory: TempDir,
    authority: Authority,
    issuer: EmbeddedIssuer,
    execution: Identities,
    pub(crate) sandbox: Process,
    pub(crate) sab: Process,
    pub(crate) broker: Process,
    pub(crate) agents: Vec<ExecutionServiceClient<Channel>>,
    operator: RevocationServiceClient<Channel>,
}

/// A contract that scales one service, under which many certificates can be issued.
#[derive(Clone)]
pub(crate) struct Scale {
    contract: Arc<Contract>,
    name: String,
    uid: String,
}

impl World {
    /// Starts everything below `parent`. `revocable` objects are there for a contract of their own each.
    pub(crate) async fn start(parent: &Path, revocable: usize) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("seb-load.").tempdir_in(parent)?;
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o700))?;
        let domain = Domain::init(&directory.path().join("domain"), &TrustDomain::new("example.org")?, clock::now()?)?;
        let agents: Vec<String> = (0..AGENTS).map(|agent| format!("agent/{agent}")).collect();
        for who in ["seb", "sab", "sandbox", "operator"].into_iter().chain(agents.iter().map(String::as_str)) {
            let folder = directory.path().join(who.replace('/', "-"));
            domain.issue(Grant::new(id(who)?, folder, Duration::from_secs(86_400), who == "seb"), clock::now()?)?;
        }
        let objects: Vec<String> = (0..AGENTS * OBJECTS).map(plain).chain((0..revocable).map(revocable_name)).collect();
        let objects =
            objects.iter().map(|name| format!("[objects.services.{name}]\nreplicas = 3\nimage = \"shop:1\"\n"));
        let text = SANDBOX.to_owned() + &objects.collect::<String>();
        let sandbox = Process::start(directory.path(), "seb", &["sandbox"], "sandbox.toml", &text).await?;
        let policies = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/default");
        let text = SAB.replace("SANDBOX", sandbox.address("listening")?).replace("POLICIES", policies);
        let sab = Process::start(directory.path(), "sab", &["serve"], "sab.toml", &text).await?;
        let text =
            BROKER.replace("SANDBOX", sandbox.address("listening")?).replace("AUTHORITY", sab.address("listening")?);
        let broker = Process::start(directory.path(), "seb", &["broker"], "broker.toml", &text).await?;
        let mut clients = Vec::new();
        for who in &agents {
            clients.push(ExecutionServiceClient::new(channel(&directory, who, "seb", broker.address("grpc")?).await?));
        }
        let operator =
            RevocationServiceClient::new(channel(&directory, "operator", "sab", sab.address("listening")?).await?);
        let own = directory.path().join("seb");
        Ok(Self {
            authority: Authority::in_folder(&directory.path().join("sab"))?,
            issuer: EmbeddedIssuer::open(&own).await?,
            execution: folder::open(&own).await?,
            directory,
            sandbox,
            sab,
            broker,
            agents: clients,
            operator,
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Leaves the folder where it is, and says where.
    pub(crate) fn keep(&mut self) -> PathBuf {
        self.directory.disable_cleanup(true);
        self.directory.path().to_owned()
    }

    /// The contract to scale the service number `place` among those of everybody.
    pub(crate) async fn scale(&self, place: usize) -> anyhow::Result<Scale> {
        self.scale_of(plain(place % (AGENTS * OBJECTS))).await
    }

    /// The contract to scale the revocable service of this number.
    pub(crate) async fn revocable(&self, place: usize) -> anyhow::Result<Scale> {
        self.scale_of(revocable_name(place)).await
    }

    async fn scale_of(&self, name: String) -> anyhow::Result<Scale> {
        let identities = identities(&self.directory, "sab").await?;
        let path = format!("/v1/objects/services/{name}");
        let (status, seen) =
            visit(self.sandbox.address("listening")?, id("sandbox")?, &identities, Method::GET, &path, None).await?;
        ensure!(status.is_success(), "the sandbox answers {status} for `{name}`");
        let uid = seen.get("uid").and_then(seb::contract::Json::as_str).context("an object without uid")?.to_owned();
        let now = clock::now()?.seconds();
        let at = |seconds| Timestamp::from_seconds(seconds);
        let contract = json!({
            "schema": "seb.dev/contract/v1",
            "target": { "kind": "sandbox", "name": "prod" },
            "steps": [{
                "name": "scale",
                "mutation": {
                    "verb": "merge",
                    "resource": { "collection": "services", "name": name },
                    "body": { "replicas": null },
                    "parameters": [{
                        "pointer": "/replicas", "required": true,
                        "bounds": { "type": "integer", "minimum": 3, "maximum": 50 },
                    }],
                },
                "baseline": { "mode": "fields", "identity": uid, "version": "1", "fields": { "/image": "shop:1" } },
            }],
            "limits": {
                "uses": 1, "spacing_seconds": 0, "not_before": at(now - 60)?, "not_after": at(now + 80_000)?,
            },
            "deadline_seconds": 30,
        });
        Ok(Scale { contract: Arc::new(Contract::compile(&contract.to_string())?), name, uid })
    }

    /// What `agent` sends for one execution, under a certificate of its own.
    pub(crate) fn ask(&self, scale: &Scale, agent: usize) -> anyhow::Result<ExecuteRequest> {
        let now = clock::now()?.seconds();
        let validity = [Timestamp::from_seconds(now - 60)?, Timestamp::from_seconds(now + 80_000)?];
        let values = vec![ParameterValue { pointer: "/replicas".to_owned(), json: "20".to_owned() }];
        Ok(ExecuteRequest { values, ..certify(&self.authority, agent, &scale.contract, validity)? })
    }

    /// Makes the same call as the broker would, without it: connection, handshake with a client certificate, request and
    /// answer. How long it took; the identity is minted before.
    pub(crate) async fn direct(&self, scale: &Scale) -> anyhow::Result<Duration> {
        let now = clock::now()?;
        let mutation = MutationId::derive(&Digest::of(&fresh_serial()?), &"scale".parse()?, 1);
        let deadline = now.saturating_add(Duration::from_secs(30));
        let identity = self.issuer.mint(self.issuer.plan(&mutation, Form::X509, now, deadline)?).await?;
        let body = json!({
            "mutation_id": mutation.to_string(),
            "call": Digest::of(b"call").to_string(),
            "deadline": deadline.to_string(),
            "baseline": { "mode": "fields", "identity": scale.uid, "version": "1", "fields": { "/image": "shop:1" } },
            "body": { "replicas": 20 },
        });
        let request = http::Request::patch(format!("/v1/objects/services/{}", scale.name))
            .header(HOST, "sandbox")
            .header(CONNECTION, "close")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.to_string())))?;
        let config = tls::execution_client_config(identity, &self.execution, [id("sandbox")?], &[HTTP11])?;
        let begun = clock::instant();
        let stream = tls::connect(self.sandbox.address("listening")?, config, PATIENCE).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let octets = answer.into_body().collect().await?.to_bytes();
        let took = begun.elapsed();
        connection.abort();
        ensure!(status.is_success(), "the sandbox answers {status}: {}", String::from_utf8_lossy(&octets));
        Ok(took)
    }

    /// Returns when the authority knows every broker that may hold a word of it: within its first lease it waits for those
    /// of a predecessor, which a fresh authority does not have.
    pub(crate) async fn heard(&self) -> anyhow::Result<()> {
        let begun = clock::instant();
        while !self.acknowledged(&Digest::of(b"no contract")).await? {
            ensure!(begun.elapsed() < PATIENCE, "the broker acknowledges no revocation");
        }
        Ok(())
    }

    /// Revokes every certificate over a contract; returns when the authority says that it holds.
    pub(crate) async fn revoke(&self, scale: &Scale) -> anyhow::Result<()> {
        ensure!(self.acknowledged(&scale.contract.digest()).await?, "a broker did not acknowledge");
        Ok(())
    }

    async fn acknowledged(&self, contract: &Digest) -> anyhow::Result<bool> {
        let what = Some(What::Contract(contract.to_string()));
        let answer = self.operator.clone().revoke(RevokeRequest { what, cause: "load".to_owned() }).await?.into_inner();
        Ok(answer.brokers.iter().all(|broker| broker.acknowledged))
    }

    /// When, by its own audit log, the sandbox applied something to this service: milliseconds since 1970.
    pub(crate) fn applied(&self, scale: &Scale) -> anyhow::Result<Vec<u64>> {
        let text = std::fs::read_to_string(self.path("sandbox.log"))?;
        let resource = format!("\"services/{}\"", scale.name);
        let mut times = Vec::new();
        for line in text.lines().filter(|line| line.contains(&resource)) {
            let entry: Value = serde_json::from_str(line)?;
            if entry.get("result").and_then(Value::as_str) == Some("applied") {
                let time: Timestamp =
                    entry.get("time").and_then(Value::as_str).context("a line without time")?.parse()?;
                times.push(time.millis());
            }
        }
        Ok(times)
    }

    /// Octets of the broker's store, with its write-ahead log.
    pub(crate) fn store_octets(&self) -> (u64, u64) {
        (super::measure::octets(&self.path("broker.db")), super::measure::octets(&self.path("broker.db-wal")))
    }
}

fn plain(place: usize) -> String {
    format!("load-{place}")
}

fn revocable_name(place: usize) -> String {
    format!("revocable-{place}")
}

async fn identities(directory: &TempDir, who: &str) -> anyhow::Result<Identities> {
    Ok(folder::open(&directory.path().join(who.replace('/', "-"))).await?)
}

async fn channel(directory: &TempDir, who: &str, server: &str, address: &str) -> anyhow::Result<Channel> {
    let config = tls::client_config(&identities(directory, who).await?, [id(server)?], &[H2])?;
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
    Ok(endpoint.connect_with_connector(Connector::new(config, PATIENCE)).await?)
}

const SANDBOX: &str = r#"
listen = "127.0.0.1:0"
identity = "sandbox"
audit = "sandbox.log"
readers = ["spiffe://example.org/seb", "spiffe://example.org/sab"]
"#;

const SAB: &str = r#"
[identity]
folder = "sab"
[grpc]
listen = "127.0.0.1:0"
[http]
listen = "127.0.0.1:0"
[store]
records = "sab-records.db"
ledger = "sab-ledger.db"
record_key = "sab-record-key.pem"
[epochs]
brokers = ["spiffe://example.org/seb"]
[policies]
folder = "POLICIES"
[[targets]]
name = "prod"
kind = "sandbox"
address = "SANDBOX"
server_id = "spiffe://example.org/sandbox"
broker = "spiffe://example.org/seb"
[roles]
agents = ["spiffe://example.org/agent/*"]
operators = ["spiffe://example.org/operator"]
[log]
level = "warn"
"#;

/// Everything that bounds the load is out of its way; whatever else costs time is as it is by default.
const BROKER: &str = r#"
[identity]
folder = "seb"
[grpc]
listen = "127.0.0.1:0"
[http]
listen = "127.0.0.1:0"
[store]
path = "broker.db"
record_key = "store-key.pem"
[[authorities]]
id = "spiffe://example.org/sab"
address = "AUTHORITY"
[[targets]]
name = "prod"
kind = "sandbox"
address = "SANDBOX"
server_id = "spiffe://example.org/sandbox"
[roles]
agents = ["spiffe://example.org/agent/*"]
[ceilings]
max_validity_seconds = 86400
[ceilings.authorities."spiffe://example.org/sab"]
targets = ["prod"]
[ceilings.targets.prod]
kind = "sandbox"
rules = [{ verbs = ["merge"], resources = ["services/*"] }]
[ceilings.rates]
agent = { executions = 1000000000, per_seconds = 60 }
authority = { executions = 1000000000, per_seconds = 60 }
[ceilings.knowledge]
boundary = "warn"
"#;
