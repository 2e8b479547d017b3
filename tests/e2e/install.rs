//! The chart, installed as a platform team does it, and the configuration that it renders, for processes on this machine.

use std::path::{Path, PathBuf};

use http::StatusCode;
use serde_json::{Value, json};

use crate::chart;
use crate::people::{Ports, replaced};
use crate::testbed::Folder;
use crate::testbed::client::Client;
use crate::testbed::kubernetes::Kubernetes;
use crate::testbed::spire::Spire;
use crate::world::Options;

/// A file of `examples/kubernetes`.
pub fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/kubernetes").join(name)
}

/// What helm is told beside where the chart goes.
fn settings(options: &Options, spire: &Spire, api_server: &str) -> Vec<String> {
    let mut words = vec!["--values".to_owned(), example("values.yaml").display().to_string()];
    match options.examples {
        true => {
            let policies = example("policies/examples.cedar");
            words.extend(["--set-file".to_owned(), format!("sab.policies.examples\\.cedar={}", policies.display())]);
        }
        false => {
            let values = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/values.yaml");
            words.extend(["--values".to_owned(), values.display().to_string()]);
        }
    }
    for (key, value) in [
        ("cluster.exchange", json!(options.exchange)),
        ("cluster.apiServer", json!(api_server)),
        ("spire.jwtIssuer", json!(spire.issuer)),
        ("spire.jwtIssuerCA", json!(spire.web.pem())),
        ("spire.server", json!(spire.server_address)),
        ("spire.clusterSPIFFEIDs.enabled", json!(false)),
    ] {
        words.extend(["--set-json".to_owned(), format!("{key}={value}")]);
    }
    words
}

/// What the chart renders.
pub fn render(folder: &Folder, options: &Options, spire: &Spire, api_server: &str) -> String {
    let chart = chart::folder();
    let settings = settings(options, spire, api_server);
    let mut words = vec!["template", "seb", chart.to_str().unwrap(), "--namespace", "seb-system"];
    words.extend(["--kube-version", "1.36.3"]);
    words.extend(settings.iter().map(String::as_str));
    chart::helm(folder.path(), &words).unwrap()
}

/// Installs the chart, and waits until its policies are enforced.
pub async fn install(folder: &Folder, options: &Options, spire: &Spire, cluster: &Kubernetes, api_server: &str) {
    let pair = cluster.authority.client("platform-installer", Some("system:masters"));
    let installer = cluster.write_kubeconfig("installer", &pair);
    let chart = chart::folder();
    let settings = settings(options, spire, api_server);
    let mut words = vec!["upgrade", "--install", "seb", chart.to_str().unwrap(), "--namespace", "seb-system"];
    words.extend(["--kubeconfig", installer.to_str().unwrap()]);
    words.extend(settings.iter().map(String::as_str));
    chart::helm(folder.path(), &words).unwrap();
    cluster.enforces(&cluster.user("platform-installer", Some("system:masters"))).await;
}

/// What was in the cluster before the chart.
pub async fn before(cluster: &Kubernetes) {
    let admin = &cluster.admin;
    for (path, body) in [
        ("api/v1/namespaces", json!({ "metadata": { "name": "shop" } })),
        ("api/v1/namespaces", json!({ "metadata": { "name": "seb-system" } })),
        ("apis/apps/v1/namespaces/shop/deployments", deployment()),
        ("api/v1/namespaces/shop/serviceaccounts", json!({ "metadata": { "name": "default" } })),
        ("api/v1/namespaces/shop/pods", pod("checkout-a", "default")),
        ("api/v1/nodes", json!({ "metadata": { "name": "n1" } })),
        (
            "apis/rbac.authorization.k8s.io/v1/namespaces/shop/rolebindings",
            binding("mallory-edits", "system:aggregate-to-edit", json!({ "kind": "User", "name": "mallory" })),
        ),
        // As the API server's node is allowed to do for its pods, where the node authorizer runs.
        (
            "apis/rbac.authorization.k8s.io/v1/namespaces/seb-system/rolebindings",
            binding("nodes", "system:node", json!({ "kind": "Group", "name": "system:nodes" })),
        ),
        (
            "api/v1/namespaces/kube-system/serviceaccounts",
            json!({ "metadata": { "name": "horizontal-pod-autoscaler" } }),
        ),
    ] {
        let (status, answer) = admin.post(&format!("/{path}"), &body).await;
        // The controllers, where they run, make service accounts, too.
        let there = status == StatusCode::CONFLICT && path.ends_with("serviceaccounts");
        assert!(status == StatusCode::CREATED || there, "{answer}");
    }
}

/// A token of a service account of the chart, as the kubelet asks for it for a pod.
pub async fn pod_token(cluster: &Kubernetes, account: &str) -> String {
    let installer = cluster.user("platform-installer", Some("system:masters"));
    let pod = made(installer.post("/api/v1/namespaces/seb-system/pods", &pod(account, account)).await);
    let node = cluster.user("system:node:node", Some("system:nodes"));
    let body = json!({ "spec": {
        "expirationSeconds": 86_400,
        "boundObjectRef": { "apiVersion": "v1", "kind": "Pod", "name": account, "uid": pod["metadata"]["uid"] },
    } });
    token(&node, "seb-system", account, &body).await
}

/// The autoscaler of the cluster, as its controller manager lets it in.
pub async fn autoscaler(cluster: &Kubernetes) -> Client {
    let controllers = cluster.user("system:kube-controller-manager", None);
    let token = token(&controllers, "kube-system", "horizontal-pod-autoscaler", &json!({ "spec": {} })).await;
    cluster.anonymous().with_bearer(&token)
}

async fn token(client: &Client, namespace: &str, account: &str, body: &Value) -> String {
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
    made(client.post(&path, body).await)["status"]["token"].as_str().unwrap().to_owned()
}

fn made((status, answer): (StatusCode, Value)) -> Value {
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    answer
}

pub fn deployment() -> Value {
    let labels = json!({ "app": "checkout" });
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": "checkout" },
        "spec": {
            "replicas": 3,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "main", "image": "registry.example.org/shop/checkout:1" }] },
            },
        },
    })
}

fn pod(name: &str, account: &str) -> Value {
    json!({
        "metadata": { "name": name, "labels": { "app": "checkout" } },
        "spec": {
            "serviceAccountName": account,
            "automountServiceAccountToken": false,
            "containers": [{ "name": "main", "image": "registry.example.org/shop/checkout:1" }],
        },
    })
}

fn binding(name: &str, role: &str, subject: Value) -> Value {
    json!({
        "metadata": { "name": name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
        "subjects": [subject],
    })
}

/// Writes the broker's configuration into `folder/seb`, and the authority's into `folder/sab`.
pub fn configure(
    folder: &Folder,
    spire: &Spire,
    cluster: &Kubernetes,
    rendered: &str,
    ports: &Ports,
    read_before: bool,
) {
    let socket = spire.agent_socket().display().to_string();
    let identity = |id: &str| {
        // Every process here has the same user, so that the agent offers each of them everything.
        ("\"unix:/spiffe-workload-api/spire-agent.sock\"", format!("\"unix:{socket}\"\nspiffe_id = \"{id}\""))
    };
    let authority = cluster.authority_file().display().to_string();
    let reader = |name: &str| {
        let token = folder.join(name).join("token").display().to_string();
        (
            "\"/var/run/secrets/kubernetes.io/serviceaccount/ca.crt\"",
            format!("\"{authority}\"\ntoken_file = \"{token}\""),
        )
    };
    let home = |name: &str| folder.join(name).display().to_string();
    let broker = replaced(
        chart::file(rendered, "broker.toml"),
        &[
            identity(&spire.id("seb")),
            reader("seb"),
            ("exchange = ", format!("read_before = {read_before}\nexchange = ")),
            ("0.0.0.0:7443", ports.broker.clone()),
            ("0.0.0.0:7480", ports.broker_http.clone()),
            ("seb-sab.seb-system.svc:7543", ports.authority.clone()),
            ("/var/lib/seb", home("seb")),
        ],
    );
    write(folder, "seb/broker.toml", &format!("{broker}\n[reconcile]\ninterval = \"500ms\"\n"));
    // Wide bounds, because the machine may be busy.
    let rates = "[rates]\nagent = { executions = 100000, per_seconds = 60 }\n\
                 authority = { executions = 100000, per_seconds = 60 }\n\
                 [knowledge]\nstaleness_ms = 4000\nmax_clock_skew_ms = 2000\nmax_state_age_ms = 20000";
    let ceilings = replaced(chart::file(rendered, "ceilings.toml"), &[("[knowledge]", rates.to_owned())]);
    write(folder, "seb/ceilings.toml", &ceilings);
    let sab = replaced(
        chart::file(rendered, "sab.toml"),
        &[
            identity(&spire.id("sab")),
            reader("sab"),
            ("0.0.0.0:7543", ports.authority.clone()),
            ("0.0.0.0:7580", ports.authority_http.clone()),
            ("/etc/sab-authority", home("sab-authority")),
            ("/etc/sab-policies", home("sab-policies")),
            ("/var/lib/sab", home("sab")),
            ("[epochs]", "[epochs]\nstaleness = \"4s\"\nmax_clock_skew = \"2s\"".to_owned()),
        ],
    );
    write(folder, "sab/sab.toml", &sab);
}

pub fn write(folder: &Folder, name: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(name);
    let parent = path.parent().unwrap();
    std::fs::create_dir_all(parent).unwrap();
    std::fs::set_permissions(parent, std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::write(path, text).unwrap();
}
