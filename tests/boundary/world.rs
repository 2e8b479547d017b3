//! A cluster as a platform team has it after `docs/install-kubernetes.md`: real SPIRE, the real API server with its
//! controllers, and the chart installed by the real helm.

use std::path::PathBuf;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::chart;
use crate::resources;
use crate::testbed::client::{Client, MERGE};
use crate::testbed::kubernetes::{self, Kubernetes};
use crate::testbed::spire::{self, Spire};
use crate::testbed::{Folder, awaited};

pub const AUDIENCE: &str = "kubernetes:prod";
pub const CHECKOUT: &str = "/apis/apps/v1/namespaces/shop/deployments/checkout";

/// An answer of the API server.
pub type Answer = (StatusCode, Value);

pub struct World {
    pub cluster: Kubernetes,
    pub spire: Spire,
    /// Somebody with the ClusterRole `cluster-admin`.
    pub cluster_admin: Client,
    /// Somebody of `system:masters` who is no installer.
    pub masters: Client,
    kubeconfig: PathBuf,
    folder: Folder,
    executions: std::sync::atomic::AtomicU32,
}

impl World {
    /// Everything is there, the chart is installed, and every policy has been seen to refuse.
    pub async fn new(static_admission: bool) -> Self {
        let folder = Folder::new();
        let spire = Spire::start(&folder, spire::Options { discovery: true, ..spire::Options::default() }).await;
        let (issuer, authority) = (issuer(&spire), issuer_ca(&spire));
        let rendered = chart::render(folder.path(), "jwt-svid", &[&issuer, &authority]).unwrap();
        let files = folder.folder("seb");
        std::fs::write(files.join("authentication.yaml"), chart::file(&rendered, "authentication.yaml")).unwrap();
        std::fs::write(files.join("audit-policy.yaml"), chart::file(&rendered, "audit-policy.yaml")).unwrap();
        let argument = |flag: &str, file: &str| format!("--{flag}={}", files.join(file).display());
        let mut arguments = vec![
            argument("authentication-config", "authentication.yaml"),
            argument("audit-policy-file", "audit-policy.yaml"),
        ];
        if static_admission {
            let manifests = folder.folder("seb/static-admission");
            let configuration = chart::file(&rendered, "admission-configuration.yaml");
            let configuration =
                configuration.replace("/etc/kubernetes/seb/static-admission", manifests.to_str().unwrap());
            std::fs::write(files.join("admission-configuration.yaml"), configuration).unwrap();
            std::fs::write(manifests.join("seb.yaml"), chart::file(&rendered, "static-admission.yaml")).unwrap();
            arguments.push(argument("admission-control-config-file", "admission-configuration.yaml"));
            // Beta, and on, from 1.37.
            arguments.push("--feature-gates=ManifestBasedAdmissionControlConfig=true".to_owned());
        }
        arguments.push("--runtime-config=admissionregistration.k8s.io/v1=true".to_owned());
        let options = kubernetes::Options { arguments, controllers: true, ..kubernetes::Options::default() };
        let cluster = Kubernetes::start(&folder, options).await;
        let pair = cluster.authority.client("platform-installer", Some("system:masters"));
        let kubeconfig = cluster.write_kubeconfig("installer", &pair);
        let (cluster_admin, masters) = (cluster.user("mallory", None), cluster.user("root", Some("system:masters")));
        let executions = std::sync::atomic::AtomicU32::new(0);
        let world = Self { cluster, spire, cluster_admin, masters, kubeconfig, folder, executions };
        world.before(static_admission).await;
        world.helm("jwt-svid").await;
        world
    }

    /// Who installs and changes the release.
    pub fn installer(&self) -> Client {
        self.cluster.user("platform-installer", Some("system:masters"))
    }

    /// What was in the cluster before the chart.
    async fn before(&self, static_admission: bool) {
        let installer = self.installer();
        for manifest in [
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop" } }),
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "stock" } }),
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": {
                "name": "seb-system",
                "labels": { "pod-security.kubernetes.io/enforce": "restricted" },
            } }),
        ] {
            made(installer.post("/api/v1/namespaces", &manifest).await);
        }
        for definition in resources::definitions() {
            self.define(&installer, &definition).await;
        }
        made(installer.post(BINDINGS, &binding("mallory-is-admin", "cluster-admin", "User", "mallory")).await);
        // Static policies are there from the beginning, and refuse these.
        if !static_admission {
            made(installer.post(BINDINGS, &binding("oncall", "view", "User", "clerk")).await);
            self.workloads(&installer).await;
        }
    }

    /// Makes a custom resource definition, and waits until its resource is served.
    async fn define(&self, client: &Client, definition: &Value) {
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        made(client.post(path, definition).await);
        let spec = &definition["spec"];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (group, version) = (text(&spec["group"]), text(&spec["versions"][0]["name"]));
        let path = format!("/apis/{group}/{version}/{}", text(&spec["names"]["plural"]));
        awaited(&path, async || {
            let answer = client.get(&path).await;
            if answer.0 == StatusCode::OK { Ok(()) } else { Err(answer) }
        })
        .await;
    }

    /// Deployments, and their Pods.
    async fn workloads(&self, client: &Client) {
        let owner = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "owner" } });
        let (status, owner) = client.post("/api/v1/namespaces/shop/configmaps", &owner).await;
        assert_eq!(status, StatusCode::CREATED, "{owner}");
        for (namespace, name) in
            [("shop", "checkout"), ("shop", "cart"), ("shop", "other"), ("shop", "owned"), ("stock", "checkout")]
        {
            let mut manifest = deployment(name);
            if name == "owned" {
                manifest["metadata"]["ownerReferences"] = owned_by(&owner);
            }
            made(client.post(&format!("/apis/apps/v1/namespaces/{namespace}/deployments"), &manifest).await);
        }
        self.pod("checkout").await;
    }

    /// Waits for a Pod of this Deployment: its name.
    pub async fn pod(&self, deployment: &str) -> String {
        let path = format!("/api/v1/namespaces/shop/pods?labelSelector=app%3D{deployment}");
        awaited("a pod", async || {
            let (_, answer) = self.cluster.admin.get(&path).await;
            answer["items"][0]["metadata"]["name"].as_str().map(str::to_owned).ok_or(answer)
        })
        .await
    }

    /// Installs the chart with these values, or changes the release to them; its policies are enforced then.
    pub async fn helm(&self, values: &str) {
        let (chart, values) = (chart::folder(), chart::values(values));
        let (issuer, authority) = (issuer(&self.spire), issuer_ca(&self.spire));
        let words = [
            "upgrade",
            "--install",
            "seb",
            chart.to_str().unwrap(),
            "--namespace",
            "seb-system",
            "--kubeconfig",
            self.kubeconfig.to_str().unwrap(),
            "--values",
            values.to_str().unwrap(),
            "--set-json",
            &issuer,
            "--set-json",
            &authority,
            "--set",
            "spire.clusterSPIFFEIDs.enabled=true,serviceMonitor.enabled=true",
        ];
        let notes = chart::helm(self.folder.path(), &words).unwrap();
        assert!(notes.contains("the boundary is not closed"), "{notes}");
        self.cluster.enforces(&self.installer()).await;
    }

    /// A fresh execution identity for this call, whose token lives this long.
    pub async fn execution_for(&self, calls: &[&str], ttl: &str) -> Execution {
        let number = self.executions.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mutation = format!("m-{number:08}");
        let audiences = [&[AUDIENCE], calls].concat();
        let token = self.spire.mint_jwt(&format!("seb/execution/{mutation}"), &audiences, ttl).await;
        Execution { client: self.cluster.anonymous().with_bearer(&token), mutation }
    }

    /// A fresh execution identity for this call.
    pub async fn execution(&self, call: &str) -> Execution {
        self.execution_for(&[call], "60s").await
    }

    /// Waits for an event of the audit log.
    pub async fn audited(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        self.cluster.audited(what, is_it).await
    }
}

/// An identity that exists for one mutation.
pub struct Execution {
    pub client: Client,
    pub mutation: String,
}

impl Execution {
    /// The body with the mark that the broker writes into it.
    pub fn marked(&self, mut body: Value) -> Value {
        body["metadata"]["annotations"][MARK] = json!(self.mutation);
        body
    }

    /// Writes its mark into the object at `path`, and changes nothing else.
    pub async fn marks(&self, path: &str) -> Answer {
        self.client.patch(path, MERGE, &self.marked(json!({}))).await
    }
}

/// The annotation with the id of the mutation that last wrote an object.
pub const MARK: &str = "seb.dev/mutation";

/// Writes an annotation into the object at `path`.
pub async fn annotates(client: &Client, path: &str) -> Answer {
    client.patch(path, MERGE, &annotation()).await
}

pub const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";

/// A patch that changes little.
pub fn annotation() -> Value {
    json!({ "metadata": { "annotations": { "tried": "yes" } } })
}

pub fn deployment(name: &str) -> Value {
    let labels = json!({ "app": name });
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": name },
        "spec": {
            "replicas": 1,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "main", "image": "example.org/shop:1" }] },
            },
        },
    })
}

pub fn pod(name: &str, service_account: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name },
        "spec": {
            "serviceAccountName": service_account,
            "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [{
                "name": "main",
                "image": "example.org/shop:1",
                "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
            }],
        },
    })
}

pub fn config_map(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } })
}

pub fn owned_by(owner: &Value) -> Value {
    json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"] }])
}

pub fn binding(name: &str, role: &str, kind: &str, subject: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": { "name": name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": subject }],
    })
}

fn made((status, answer): Answer) {
    assert_eq!(status, StatusCode::CREATED, "{answer}");
}

/// Sends a request without a body of its own.
pub async fn asks(client: &Client, method: Method, path: &str) -> Answer {
    client.send(method, path, "application/json", &Value::Null).await.unwrap()
}

fn issuer(spire: &Spire) -> String {
    format!("spire.jwtIssuer={}", json!(spire.issuer))
}

fn issuer_ca(spire: &Spire) -> String {
    format!("spire.jwtIssuerCA={}", json!(spire.web.pem()))
}
