//! The servers, and an authority and a broker for each issuer.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use http::{Method, StatusCode};
use seb::clock;
use seb::contract::Contract;
use seb::digest::Digest;
use seb::identity::embedded::{Domain, Grant};
use seb::identity::folder;
use seb::key::fresh_serial;
use seb::proto::seb::v1::ExecuteRequest;
use seb::proto::seb::v1::execution_service_client::ExecutionServiceClient;
use seb::sab::authority::Authority;
use seb::timestamp::Timestamp;
use seb::tls::{self, Connector, H2};
use serde_json::{Value, json};
use spiffe::TrustDomain;
use tonic::transport::{Channel, Endpoint};

use super::certify::{certify, id};
use super::process::{PATIENCE, Process};
use super::settings::{BROKER, SAB};
use super::testbed::Folder;
use super::testbed::client::{Connection, JSON_PATCH, MERGE};
use super::testbed::kubernetes::{self, Kubernetes};
use super::testbed::spire::{self, Entry, Spire};

/// How many agents have an identity and a connection of their own.
pub(crate) const AGENTS: usize = 8;

/// The life of what is issued here, in seconds.
const LIFE: u64 = 43_200;

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

/// What mints execution identities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Issuer {
    SpireMint,
    Embedded,
}

/// How an execution identity becomes what the API server authenticates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exchange {
    JwtSvid,
    ProjectedToken,
    ServiceAccount,
}

/// How drift is held against the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Baseline {
    /// Version and uid in the request, and nothing is read.
    Exact,
    /// The same, and the object is read before the decision.
    ExactRead,
    /// Operations that test uid and fields; the object is read before the decision.
    FieldsRead,
}

/// One row of the measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) exchange: Exchange,
    pub(crate) baseline: Baseline,
}

impl Issuer {
    pub(crate) const ALL: [Self; 2] = [Self::SpireMint, Self::Embedded];

    /// What is measured with it. An API server takes no JWT-SVID of the embedded CA, which has no address to be found at.
    /// With an intermediate of SPIRE's the server mints JWT-SVIDs just so ([`super::minting`] has all of them side by side).
    pub(crate) fn rows(self) -> Vec<Row> {
        let exchanges: &[Exchange] = match self {
            Self::SpireMint => &[Exchange::JwtSvid, Exchange::ProjectedToken, Exchange::ServiceAccount],
            Self::Embedded => &[Exchange::ServiceAccount],
        };
        let baselines = [Baseline::Exact, Baseline::ExactRead, Baseline::FieldsRead];
        let row = |&exchange: &Exchange| baselines.map(|baseline| Row { exchange, baseline });
        exchanges.iter().flat_map(row).collect()
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SpireMint => "spire-mint",
            Self::Embedded => "embedded",
        })
    }
}

impl Exchange {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::JwtSvid => "jwt-svid",
            Self::ProjectedToken => "projected-token",
            Self::ServiceAccount => "service-account",
        }
    }
}

impl Baseline {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::ExactRead => "exact, with a read",
            Self::FieldsRead => "fields, with a read",
        }
    }
}

impl Row {
    /// The target of the broker's configuration that it is measured at.
    fn target(self) -> String {
        let read = if self.baseline == Baseline::Exact { "" } else { "-read" };
        format!("{}{read}", self.exchange.as_str())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.exchange.as_str(), self.baseline.as_str())
    }
}

/// What all brokers change, and who certifies identities.
pub(crate) struct Cluster {
    pub(crate) spire: Spire,
    pub(crate) kubernetes: Kubernetes,
    executor: String,
    objects: AtomicUsize,
    folder: Folder,
}

/// A deployment, as it is now.
#[derive(Debug, Clone)]
pub(crate) struct Deployment {
    name: String,
    uid: String,
    version: String,
}

impl Cluster {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let folder = Folder::new();
        let broker = Entry { admin: true, downstream: true, ..Entry::of_this_user("seb") };
        // The policy as it is shipped, with the leave to have an intermediate CA signed.
        let mut data: Value = serde_json::from_str(include_str!("../../spire/policy-data.json"))?;
        *data.pointer_mut("/seb/downstream").context("the policy's data has no `seb.downstream`")? = true.into();
        let options = spire::Options {
            policy: Some((include_str!("../../spire/policy.rego").to_owned(), data.to_string())),
            entries: vec![broker],
            discovery: true,
            ..spire::Options::default()
        };
        let spire = Spire::start(&folder, options).await;
        let options =
            kubernetes::Options { authentication: Some(spire.authentication("kubernetes")), ..Default::default() };
        let kubernetes = Kubernetes::start(&folder, options).await;
        for manifests in MANIFESTS.split("---\n") {
            kubernetes.apply(manifests).await;
        }
        let token = async |account: &str| -> anyhow::Result<String> {
            let path = format!("/api/v1/namespaces/seb-system/serviceaccounts/{account}/token");
            let (status, answer) =
                kubernetes.admin.post(&path, &json!({ "spec": { "expirationSeconds": LIFE } })).await;
            ensure!(status == StatusCode::CREATED, "{answer}");
            Ok(text(&answer, "/status/token")?.to_owned())
        };
        std::fs::write(folder.join("token"), token("broker").await?)?;
        kubernetes.authority.client("seb-reader", None).write(folder.path(), "reader");
        let executor = token("executor").await?;
        Ok(Self { spire, kubernetes, executor, objects: AtomicUsize::new(0), folder })
    }

    /// A folder of this name, for keys.
    pub(crate) fn fresh_folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.folder.folder(name);
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700))?;
        Ok(folder)
    }

    /// Makes a deployment.
    pub(crate) async fn deployment(&self) -> anyhow::Result<Deployment> {
        let name = format!("load-{}", self.objects.fetch_add(1, Ordering::Relaxed));
        self.kubernetes.deployment(&name, 3).await;
        // An annotation is added by another operation where there is none yet: both sides shall do the same.
        let annotated = json!({ "metadata": { "annotations": { "owner": "load" } } });
        let (status, answer) = self.kubernetes.admin.patch(&format!("{DEPLOYMENTS}/{name}"), MERGE, &annotated).await;
        ensure!(status == StatusCode::OK, "{answer}");
        self.seen(&mut self.direct().await?, name).await
    }

    /// A deployment as it is now.
    pub(crate) async fn seen(&self, connection: &mut Connection, name: String) -> anyhow::Result<Deployment> {
        let path = format!("{DEPLOYMENTS}/{name}");
        let (status, answer) = connection.send(Method::GET, &path, "application/json", &Value::Null).await?;
        ensure!(status == StatusCode::OK, "{answer}");
        let (uid, version) = (text(&answer, "/metadata/uid")?, text(&answer, "/metadata/resourceVersion")?);
        Ok(Deployment { uid: uid.to_owned(), version: version.to_owned(), name })
    }

    /// A plain client's connection, as the executor.
    pub(crate) async fn direct(&self) -> anyhow::Result<Connection> {
        self.kubernetes.anonymous().with_bearer(&self.executor).open().await
    }

    /// Makes the same request as the broker would; how long it took.
    pub(crate) async fn patch(
        &self,
        connection: &mut Connection,
        deployment: &Deployment,
        baseline: Baseline,
        replicas: usize,
    ) -> anyhow::Result<Duration> {
        let mutation = Digest::of(&fresh_serial()?).to_string().chars().take(48).collect::<String>();
        let Deployment { name, uid, version } = deployment;
        let (media_type, body) = match baseline {
            Baseline::Exact | Baseline::ExactRead => {
                let annotations = json!({ "seb.dev/mutation": mutation });
                let metadata = json!({ "uid": uid, "resourceVersion": version, "annotations": annotations });
                (MERGE, json!({ "metadata": metadata, "spec": { "replicas": replicas } }))
            }
            Baseline::FieldsRead => (
                JSON_PATCH,
                json!([
                    { "op": "test", "path": "/metadata/uid", "value": uid },
                    { "op": "test", "path": FIELD, "value": name },
                    { "op": "add", "path": "/metadata/annotations/seb.dev~1mutation", "value": mutation },
                    { "op": "add", "path": "/spec/replicas", "value": replicas },
                ]),
            ),
        };
        let path = format!("{DEPLOYMENTS}/{name}?fieldManager=seb&fieldValidation=Strict&timeout=30s");
        let begun = clock::instant();
        let (status, answer) = connection.send(Method::PATCH, &path, media_type, &body).await?;
        let took = begun.elapsed();
        ensure!(status == StatusCode::OK, "{answer}");
        Ok(took)
    }
}

impl Deployment {
    pub(crate) fn name(&self) -> String {
        self.name.clone()
    }
}

/// The field that a certificate of [`Baseline::FieldsRead`] depends on.
const FIELD: &str = "/spec/selector/matchLabels/app";

fn text<'a>(value: &'a Value, pointer: &str) -> anyhow::Result<&'a str> {
    value.pointer(pointer).and_then(Value::as_str).with_context(|| format!("no `{pointer}` in the answer"))
}

/// An authority and a broker.
pub(crate) struct World {
    pub(crate) issuer: Issuer,
    pub(crate) broker: Process,
    pub(crate) agents: Vec<ExecutionServiceClient<Channel>>,
    authority: Authority,
    _sab: Process,
}

impl World {
    pub(crate) async fn start(cluster: &mut Cluster, issuer: Issuer) -> anyhow::Result<Self> {
        let folder = cluster.fresh_folder(&issuer.to_string())?;
        identities(cluster, &folder, issuer).await?;
        let (address, ca) = (&cluster.kubernetes.address, cluster.kubernetes.authority_file());
        let (token, ca) = (cluster.folder.join("token"), ca.display().to_string());
        let reader = (cluster.folder.join("reader.pem"), cluster.folder.join("reader-key.pem"));
        let reading = format!("certificate_file = {:?}\nkey_file = {:?}", reader.0, reader.1);
        let at = format!("kind = \"kubernetes\"\naddress = \"{address}\"\nca = {ca:?}\n");
        let policies = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/default");
        let sab = format!(
            "{SAB}policies.folder = {policies:?}\n[[targets]]\nname = \"read\"\nbroker = \"{BROKER_ID}\"\n{at}{reading}\n"
        );
        let sab = Process::start(&folder, "sab", &["serve"], "sab.toml", &sab).await?;
        let mut text = BROKER.replace("AUTHORITY", sab.address("listening")?);
        text += &match issuer {
            Issuer::Embedded => "identity.folder = \"seb\"\n".to_owned(),
            Issuer::SpireMint => format!(
                "[identity]\nsource = \"workload-api\"\nsocket = \"unix:{}\"\nspiffe_id = \"{BROKER_ID}\"\n\
                 [execution]\nissuer = \"{issuer}\"\nserver_address = \"{}\"\n\
                 server_id = \"spiffe://example.org/spire/server\"\n",
                cluster.spire.agent_socket().display(),
                cluster.spire.server_address,
            ),
        };
        let mut names = Vec::new();
        for row in issuer.rows().iter().filter(|row| row.baseline != Baseline::FieldsRead) {
            let name = row.target();
            let exchange = match row.exchange {
                Exchange::JwtSvid => format!("audience = \"kubernetes\"\n{reading}"),
                Exchange::ProjectedToken => {
                    format!("audience = \"kubernetes\"\nexecutor = \"seb-system/executor\"\n{reading}")
                }
                Exchange::ServiceAccount => format!("executor = \"seb-system/executor\"\ntoken_file = {token:?}"),
            };
            let read = row.baseline != Baseline::Exact;
            text += &format!(
                "[[targets]]\nname = \"{name}\"\n{at}exchange = \"{}\"\n{exchange}\nread_before = {read}\n\
                 [ceilings.targets.{name}]\nkind = \"kubernetes\"\n\
                 rules = [{{ verbs = [\"merge-patch\"], resources = [\"**\"] }}]\n",
                row.exchange.as_str(),
            );
            names.push(name);
        }
        text += &format!("[ceilings.authorities.\"spiffe://example.org/sab\"]\ntargets = {names:?}\n");
        let broker = Process::start(&folder, "seb", &["broker"], "broker.toml", &text).await?;
        let mut agents = Vec::new();
        for agent in 0..AGENTS {
            let own = folder::open(&folder.join(format!("agent-{agent}"))).await?;
            let config = tls::client_config(&own, [id("seb")?], &[H2])?;
            let endpoint = Endpoint::from_shared(format!("http://{}", broker.address("grpc")?))?.tcp_nodelay(true);
            let channel = endpoint.connect_with_connector(Connector::new(config, PATIENCE)).await?;
            agents.push(ExecutionServiceClient::new(channel));
        }
        let authority = Authority::in_folder(&folder.join("sab"))?;
        Ok(Self { issuer, broker, agents, authority, _sab: sab })
    }

    /// What `agent` sends for one execution, under a certificate of its own.
    pub(crate) fn ask(
        &self,
        row: Row,
        deployment: &Deployment,
        agent: usize,
        replicas: usize,
    ) -> anyhow::Result<ExecuteRequest> {
        let now = clock::now()?.seconds();
        let at = |seconds| Timestamp::from_seconds(seconds);
        let (begin, end) = (at(now - 60)?, at(now + LIFE / 2)?);
        let Deployment { name, uid, version } = deployment;
        let baseline = match row.baseline {
            Baseline::Exact | Baseline::ExactRead => json!({ "mode": "exact", "identity": uid, "version": version }),
            Baseline::FieldsRead => {
                json!({ "mode": "fields", "identity": uid, "version": version, "fields": { FIELD: name } })
            }
        };
        let contract = json!({
            "schema": "seb.dev/contract/v1",
            "target": { "kind": "kubernetes", "name": row.target() },
            "steps": [{
                "name": "scale",
                "mutation": {
                    "verb": "merge-patch",
                    "resource": {
                        "group": "apps", "version": "v1", "resource": "deployments",
                        "namespace": "default", "name": name,
                    },
                    "body": { "spec": { "replicas": replicas } },
                },
                "baseline": baseline,
            }],
            "limits": { "uses": 1, "spacing_seconds": 0, "not_before": begin, "not_after": end },
            "deadline_seconds": 30,
        });
        certify(&self.authority, agent, &Contract::compile(&contract.to_string())?, [begin, end])
    }
}

const BROKER_ID: &str = "spiffe://example.org/seb";

/// Folders with the identities of authority and agents, and of a broker that has its own from a folder.
async fn identities(cluster: &Cluster, folder: &Path, issuer: Issuer) -> anyhow::Result<()> {
    let agents = (0..AGENTS).map(|agent| (format!("agent/{agent}"), folder.join(format!("agent-{agent}"))));
    let own = ["sab", "seb"].map(|who| (who.to_owned(), folder.join(who)));
    let all: Vec<(String, PathBuf)> = agents.chain(own).collect();
    if issuer == Issuer::Embedded {
        let domain = Domain::init(&folder.join("domain"), &TrustDomain::new("example.org")?, clock::now()?)?;
        for (who, into) in all {
            domain.issue(Grant::new(id(&who)?, into, Duration::from_secs(LIFE), who == "seb"), clock::now()?)?;
        }
    } else {
        for (who, into) in all {
            cluster.spire.mint_folder(&who, &format!("{LIFE}s"), &into).await;
        }
    }
    Ok(())
}

/// Executions may patch deployments and request tokens of the executor, which may patch deployments.
const MANIFESTS: &str = r#"
{ apiVersion: v1, kind: Namespace, metadata: { name: seb-system } }
---
{ apiVersion: v1, kind: ServiceAccount, metadata: { name: executor, namespace: seb-system } }
---
{ apiVersion: v1, kind: ServiceAccount, metadata: { name: broker, namespace: seb-system } }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: executor }
rules: [{ apiGroups: [apps], resources: [deployments], verbs: [get, patch] }]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: reader }
rules: [{ apiGroups: [apps], resources: [deployments], verbs: [get] }]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: requester }
rules:
- { apiGroups: [""], resources: [serviceaccounts/token], verbs: [create] }
- { apiGroups: [""], resources: [secrets], verbs: [create, delete] }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: executor }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: executor }
subjects:
- { kind: ServiceAccount, name: executor, namespace: seb-system }
- { kind: Group, name: "seb:executors", apiGroup: rbac.authorization.k8s.io }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: reader }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader }
subjects:
- { kind: ServiceAccount, name: broker, namespace: seb-system }
- { kind: User, name: seb-reader, apiGroup: rbac.authorization.k8s.io }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: requester, namespace: seb-system }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: requester }
subjects:
- { kind: ServiceAccount, name: broker, namespace: seb-system }
- { kind: Group, name: "seb:executors", apiGroup: rbac.authorization.k8s.io }
"#;
