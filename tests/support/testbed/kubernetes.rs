//! Kubernetes' API server with etcd behind it: no nodes, so nothing that is made here runs, but every rule holds.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::ensure;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::process::Command;

use super::client::Client;
use super::pki::{Authority, Pair};
use super::process::Process;
use super::{Folder, PATIENCE, awaited, free_port, program};

/// What differs from one test's cluster to the next.
#[derive(Clone, Default)]
pub struct Options {
    /// The `AuthenticationConfiguration`; its issuers must answer already.
    pub authentication: Option<Value>,
    /// Whether kube-controller-manager runs: it makes service accounts, and removes what nobody owns.
    pub controllers: bool,
    /// Whether there is a node `node`, which kwok plays: a pod that names it (`nodeName`) is ready at once, and nothing
    /// runs in it.
    pub node: bool,
    /// More arguments of kube-apiserver.
    pub arguments: Vec<String>,
}

/// A cluster that runs.
pub struct Kubernetes {
    pub etcd: Process,
    pub api_server: Process,
    pub controllers: Option<Process>,
    pub kwok: Option<Process>,
    /// `HOST:PORT` of the API server.
    pub address: String,
    /// Certifies the API server and users.
    pub authority: Authority,
    /// A member of `system:masters`.
    pub admin: Client,
    folder: PathBuf,
}

impl Kubernetes {
    /// A fresh one, in a folder of its own in `folder`; when it is there, the API server is ready.
    pub async fn start(folder: &Folder, options: Options) -> Self {
        let home = folder.folder("kubernetes");
        let port = free_port();
        let address = format!("127.0.0.1:{port}");
        let authority = Authority::new("kubernetes");
        std::fs::write(home.join("authority.pem"), authority.pem()).unwrap();
        authority.server().write(&home, "server");
        Authority::new("service accounts").server().write(&home, "service-accounts");
        write_json(&home.join("audit-policy.json"), &audit_policy());
        let mut arguments = api_server_arguments(port);
        if let Some(authentication) = &options.authentication {
            write_json(&home.join("authentication.json"), authentication);
            arguments.push("--authentication-config=authentication.json".to_owned());
        }
        arguments.extend(options.arguments);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();

        let mut etcd = Process::start("etcd", &program("etcd", "etcd"), ETCD, &home);
        let api_server = program("kubernetes", "kube-apiserver");
        etcd_ready(&mut etcd, &home).await;
        let api_server = Process::start("api-server", &api_server, &arguments, &home);
        let pair = authority.client("admin", Some("system:masters"));
        let admin = Client::new(&address, &authority.pem(), Some(&pair));
        let mut cluster =
            Self { etcd, api_server, controllers: None, kwok: None, address, authority, admin, folder: home };
        cluster.write_kubeconfig("admin", &pair);
        cluster.ready().await;
        if options.controllers {
            cluster.start_controllers().await;
        }
        if options.node {
            cluster.start_node().await;
        }
        cluster
    }

    /// Waits until the API server says that it is ready; after a restart, for one.
    pub async fn ready(&mut self) {
        let Self { api_server, admin, .. } = self;
        awaited("the API server", async || {
            api_server.assert_runs();
            let (status, answer) = admin.send(Method::GET, "/readyz", "text/plain", &Value::Null).await?;
            ensure!(status == StatusCode::OK, "{status} {answer}");
            Ok(())
        })
        .await;
    }

    async fn start_controllers(&mut self) {
        let pair = self.authority.client("system:kube-controller-manager", None);
        self.write_kubeconfig("controllers", &pair);
        let arguments = [
            "--kubeconfig=controllers.kubeconfig",
            "--service-account-private-key-file=service-accounts-key.pem",
            "--root-ca-file=authority.pem",
            "--use-service-account-credentials",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            &format!("--secure-port={}", free_port()),
            "--cert-dir=controllers",
        ];
        let program = program("kubernetes", "kube-controller-manager");
        self.controllers = Some(Process::start("controllers", &program, &arguments, &self.folder));
        awaited("the first service account", async || {
            let (status, answer) = self.admin.get("/api/v1/namespaces/default/serviceaccounts/default").await;
            ensure!(status == StatusCode::OK, "{answer}");
            Ok(())
        })
        .await;
    }

    async fn start_node(&mut self) {
        let arguments = ["--kubeconfig=admin.kubeconfig", "--manage-all-nodes=true", "--config=kwok.yaml"];
        std::fs::write(self.folder.join("kwok.yaml"), include_str!("kwok.yaml")).unwrap();
        self.kwok = Some(Process::start("kwok", &program("kwok", "kwok"), &arguments, &self.folder));
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "node" } });
        let (status, answer) = self.admin.post("/api/v1/nodes", &node).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        let kwok = self.kwok.as_mut().unwrap();
        awaited("the node", async || {
            kwok.assert_runs();
            let (_, answer) = self.admin.get("/api/v1/nodes/node").await;
            let conditions = answer["status"]["conditions"].as_array();
            let ready =
                conditions.is_some_and(|all| all.iter().any(|it| it["type"] == "Ready" && it["status"] == "True"));
            if ready { Ok(()) } else { Err(answer) }
        })
        .await;
    }

    /// A client without an identity.
    pub fn anonymous(&self) -> Client {
        Client::new(&self.address, &self.authority.pem(), None)
    }

    /// A client with a certificate for this user.
    pub fn user(&self, name: &str, group: Option<&str>) -> Client {
        Client::new(&self.address, &self.authority.pem(), Some(&self.authority.client(name, group)))
    }

    /// A file that kubectl, helm and the like take: a client certificate's. Its path.
    pub fn write_kubeconfig(&self, name: &str, pair: &Pair) -> PathBuf {
        let (certificate, key) = pair.write(&self.folder, name);
        let path = self.folder.join(format!("{name}.kubeconfig"));
        write_json(
            &path,
            &json!({
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{ "name": "testbed", "cluster": {
                    "server": format!("https://{}", self.address),
                    "certificate-authority": self.folder.join("authority.pem"),
                } }],
                "users": [{ "name": name, "user": { "client-certificate": certificate, "client-key": key } }],
                "contexts": [{ "name": "testbed", "context": { "cluster": "testbed", "user": name } }],
                "current-context": "testbed",
            }),
        );
        path
    }

    /// The administrator's.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("admin.kubeconfig")
    }

    /// The file with the certificate that certifies the API server.
    pub fn authority_file(&self) -> PathBuf {
        self.folder.join("authority.pem")
    }

    /// Runs kubectl as the administrator, with this on its standard input; what it says.
    pub async fn kubectl(&self, words: &[&str], input: &str) -> Result<String, String> {
        self.run(&program("kubernetes", "kubectl"), words, input).await
    }

    /// Runs helm as the administrator; what it says.
    pub async fn helm(&self, words: &[&str]) -> Result<String, String> {
        self.run(&program("helm", "helm"), words, "").await
    }

    async fn run(&self, program: &Path, words: &[&str], input: &str) -> Result<String, String> {
        let mut command = Command::new(program);
        command.args(words).env("KUBECONFIG", self.kubeconfig()).env("HOME", &self.folder).kill_on_drop(true);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // It may end without reading.
        drop(stdin.write_all(input.as_bytes()).await);
        drop(stdin);
        let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        if output.status.success() { Ok(said) } else { Err(said) }
    }

    /// Applies manifests, in YAML.
    pub async fn apply(&self, manifests: &str) {
        self.kubectl(&["apply", "--server-side", "-f", "-"], manifests).await.unwrap();
    }

    /// A deployment in `default` with so many replicas; its uid.
    pub async fn deployment(&self, name: &str, replicas: u32) -> String {
        let labels = json!({ "app": name });
        let body = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": { "name": name },
            "spec": {
                "replicas": replicas,
                "selector": { "matchLabels": labels },
                "template": {
                    "metadata": { "labels": labels },
                    "spec": { "containers": [{ "name": "main", "image": "example.org/shop:1" }] },
                },
            },
        });
        let (status, answer) = self.admin.post("/apis/apps/v1/namespaces/default/deployments", &body).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        answer["metadata"]["uid"].as_str().unwrap().to_owned()
    }

    /// The audit log so far, oldest first: every finished request that may change something, with both bodies.
    pub fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.join("audit.jsonl")).unwrap_or_default();
        // The last line may be half written.
        text.split_inclusive('\n').filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits until every admission policy there is is enforced. The API server learns of them some moments after they are
    /// made, but in the order in which they were made: it refuses by all others when it refuses by one that is made here.
    pub async fn enforces(&self, installer: &Client) {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("last-{}", MADE.fetch_add(1, Ordering::Relaxed));
        let rule = json!({
            "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"],
            "resourceNames": [name],
        });
        let policy = json!({
            "metadata": { "name": name },
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": { "resourceRules": [rule] },
                "validations": [{ "expression": "false", "message": name }],
            },
        });
        let binding = json!({
            "metadata": { "name": name },
            "spec": { "policyName": name, "validationActions": ["Deny"] },
        });
        for (resource, body) in
            [("validatingadmissionpolicies", policy), ("validatingadmissionpolicybindings", binding)]
        {
            let path = format!("/apis/admissionregistration.k8s.io/v1/{resource}");
            let (status, answer) = installer.post(&path, &body).await;
            assert_eq!(status, StatusCode::CREATED, "{answer}");
        }
        awaited("the last policy", async || {
            let body = json!({ "metadata": { "name": name } });
            let (status, answer) = self.admin.post("/api/v1/namespaces/default/configmaps?dryRun=All", &body).await;
            if status == StatusCode::UNPROCESSABLE_ENTITY { Ok(()) } else { Err((status, answer)) }
        })
        .await;
    }

    /// Waits for an event of the audit log: it is written when the answer is on its way.
    pub async fn audited(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        awaited(what, async || self.audit().into_iter().find(|event| is_it(event)).ok_or("not in the audit log")).await
    }
}

/// etcd on a socket in its folder: no port, and nobody else can reach it. Durability is not what is tested here.
const ETCD: &[&str] = &[
    "--data-dir=etcd",
    "--unsafe-no-fsync",
    "--listen-client-urls=unix://localhost:2379",
    "--advertise-client-urls=unix://localhost:2379",
    "--listen-peer-urls=unix://localhost:2380",
    "--log-level=warn",
];

fn api_server_arguments(port: u16) -> Vec<String> {
    let fixed = [
        "--etcd-servers=unix://localhost:2379",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",
        "--tls-cert-file=server.pem",
        "--tls-private-key-file=server-key.pem",
        "--client-ca-file=authority.pem",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-account-key-file=service-accounts.pem",
        "--service-account-signing-key-file=service-accounts-key.pem",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--authorization-mode=RBAC",
        "--audit-policy-file=audit-policy.json",
        "--audit-log-path=audit.jsonl",
        "--audit-log-mode=blocking",
        "--profiling=false",
    ];
    fixed.into_iter().map(str::to_owned).chain([format!("--secure-port={port}")]).collect()
}

fn audit_policy() -> Value {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            { "level": "None", "users": ["system:apiserver"] },
            { "level": "None", "verbs": ["get", "list", "watch"] },
            { "level": "RequestResponse" },
        ],
    })
}

fn write_json(path: &Path, value: &Value) {
    std::fs::write(path, value.to_string()).unwrap();
}

async fn etcd_ready(etcd: &mut Process, folder: &Path) {
    let socket = folder.join("localhost:2379");
    awaited("etcd", async || {
        etcd.assert_runs();
        UnixStream::connect(&socket).await
    })
    .await;
}
