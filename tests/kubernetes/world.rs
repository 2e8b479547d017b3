//! A cluster with an executor, a requester of its tokens and a reader; and permitted calls to it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::StatusCode;
use seb::ceiling::{Rule, TargetCeiling};
use seb::contract::{Pointer, Resource, TargetKind};
use seb::decision::{LiveState, Permit, Terms};
use seb::identity::embedded::{Domain, EmbeddedIssuer, Grant};
use seb::identity::{ExecutionIdentity, Issuer};
use seb::target::kubernetes::{
    CertificateFiles, Exchange, Executor, Kubernetes as Driver, ReaderIdentity, Requester, Settings,
};
use seb::target::{Evidence, Performed, Target};
use serde_json::{Value, json};
use spiffe::TrustDomain;

pub use crate::permit::{Gate, now};
use crate::support::{BROKER, id};
use crate::testbed::kubernetes::{Kubernetes, Options};
use crate::testbed::{Folder, PATIENCE};

pub const SHOP: &str = "/apis/apps/v1/namespaces/default/deployments/shop";

/// A call to be permitted.
#[derive(Clone)]
pub struct Ask {
    pub verb: &'static str,
    pub resource: Value,
    pub body: Value,
    pub baseline: Value,
    pub deadline: u32,
}

impl Ask {
    pub fn new(verb: &'static str, resource: Value, body: Value, baseline: Value) -> Self {
        Self { verb, resource, body, baseline, deadline: 30 }
    }

    /// Scales the deployment `shop`.
    pub fn scale(verb: &'static str, replicas: u32, baseline: Value) -> Self {
        let body = match verb {
            "json-patch" => json!([{"op": "replace", "path": "/spec/replicas", "value": replicas}]),
            _ => json!({"spec": {"replicas": replicas}}),
        };
        Self::new(verb, deployment(), body, baseline)
    }
}

pub fn resource(group: &str, version: &str, plural: &str, name: &str) -> Value {
    json!({"group": group, "version": version, "resource": plural, "namespace": "default", "name": name})
}

pub fn deployment() -> Value {
    resource("apps", "v1", "deployments", "shop")
}

pub fn under(mut resource: Value, subresource: &str) -> Value {
    resource["subresource"] = subresource.into();
    resource
}

/// Nothing of this object may have changed.
pub fn exact(object: &Value) -> Value {
    let metadata = &object["metadata"];
    json!({"mode": "exact", "identity": metadata["uid"], "version": metadata["resourceVersion"]})
}

/// Nothing of this object in these places may have changed.
pub fn fields(object: &Value, pointers: &[&str]) -> Value {
    let fields: BTreeMap<_, _> = pointers.iter().map(|pointer| (*pointer, object.pointer(pointer))).collect();
    let metadata = &object["metadata"];
    json!({"mode": "fields", "identity": metadata["uid"], "version": metadata["resourceVersion"], "fields": fields})
}

pub fn absent() -> Value {
    json!({"mode": "absent"})
}

/// Leave to make the call, each time under another certificate and so under another mutation id.
pub fn permit(ask: &Ask) -> Permit {
    let mut mutation = json!({"verb": ask.verb, "resource": ask.resource});
    if !ask.body.is_null() {
        mutation["body"] = ask.body.clone();
    }
    let verbs = ["create", "update", "merge-patch", "json-patch", "strategic-merge-patch", "apply", "delete"];
    let rule = Rule {
        verbs: verbs.map(|verb| verb.parse().unwrap()).into(),
        resources: ["**".parse().unwrap()].into(),
        actions: BTreeSet::new(),
        parameters: Vec::new(),
    };
    let ceiling = TargetCeiling {
        kind: TargetKind::Kubernetes,
        rules: vec![rule],
        accounts: BTreeSet::new(),
        regions: BTreeSet::new(),
    };
    crate::permit::permit(&mutation, &ask.baseline, ask.deadline, ceiling)
}

/// A cluster, and a broker's driver of it.
pub struct World {
    pub driver: Driver,
    pub issuer: EmbeddedIssuer,
    pub cluster: Kubernetes,
    pub folder: Folder,
}

impl World {
    pub async fn new() -> Self {
        let folder = Folder::new();
        let cluster = Kubernetes::start(&folder, Options::default()).await;
        prepare(&cluster, &folder).await;
        let domain = TrustDomain::new("example.org").unwrap();
        let domain = Domain::init(&folder.join("domain"), &domain, now()).unwrap();
        let broker = folder.join("seb");
        domain.issue(Grant::new(id(BROKER), broker.clone(), Duration::from_secs(3600), true), now()).unwrap();
        let issuer = EmbeddedIssuer::open(&broker).await.unwrap();
        let driver = driver(&cluster.address, &cluster, &folder, "executor");
        Self { driver, issuer, cluster, folder }
    }

    /// A driver whose mutations are made by another service account.
    pub fn driver_of(&self, service_account: &str) -> Driver {
        self.driver_at(&self.cluster.address, service_account)
    }

    /// The same at another address, from which it is not far to the API server.
    pub fn driver_at(&self, address: &str, service_account: &str) -> Driver {
        driver(address, &self.cluster, &self.folder, service_account)
    }

    pub async fn mint(&self, terms: &Terms) -> ExecutionIdentity {
        let form = self.driver.form(terms.call());
        let plan = self.issuer.plan(terms.mutation_id(), form, now(), terms.deadline()).unwrap();
        self.issuer.mint(plan).await.unwrap()
    }

    pub async fn perform(&self, ask: &Ask) -> (Terms, Performed) {
        self.perform_by(&self.driver, ask, &Gate::default()).await
    }

    pub async fn perform_by(&self, driver: &Driver, ask: &Ask, fence: &Gate) -> (Terms, Performed) {
        let permit = permit(ask);
        let terms = permit.terms().clone();
        let identity = self.mint(&terms).await;
        let performed = driver.perform(permit.release(), identity, fence);
        (terms, tokio::time::timeout(PATIENCE, performed).await.expect("it ends"))
    }

    /// What is done, and the version of the object afterwards.
    pub async fn succeeds(&self, ask: &Ask) -> (Terms, Option<String>) {
        let (terms, performed) = self.perform(ask).await;
        match performed {
            Performed::Succeeded { version, detail } => {
                assert!(!detail.contains("took it away"), "{detail}");
                (terms, version.map(|version| version.to_string()))
            }
            other => panic!("{} {}: {other:?}", ask.verb, ask.resource),
        }
    }

    /// The deployment `shop` with three replicas, as the API server has it.
    pub async fn shop(&self) -> Value {
        self.cluster.deployment("shop", 3).await;
        self.get(SHOP).await
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.cluster.admin.get(path).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer
    }

    pub async fn read(&self, resource: &Value, fields: &[&str]) -> LiveState {
        let fields: BTreeSet<Pointer> = fields.iter().map(|pointer| pointer.parse().unwrap()).collect();
        let resource: Resource = Resource::Kubernetes(serde_json::from_value(resource.clone()).unwrap());
        self.driver.read(&resource, &fields).await
    }

    pub async fn evidence(&self, terms: &Terms) -> Evidence {
        self.driver.evidence(terms).await
    }

    /// The write of this mutation in the audit log: what was asked for by whom, and what came of it.
    pub async fn audited(&self, terms: &Terms) -> Value {
        let id = terms.mutation_id().to_string();
        let mine = |event: &Value| {
            event["user"]["username"] == "system:serviceaccount:seb-system:executor"
                && event["requestObject"].to_string().contains(&id)
        };
        self.cluster.audited("the write", mine).await
    }
}

/// The API server at this address, by its authority, read by the reader.
pub fn settings(address: &str, cluster: &Kubernetes, folder: &Folder) -> Settings {
    let reader = CertificateFiles { certificate: folder.join("reader.pem"), key: folder.join("reader-key.pem") };
    Settings {
        address: address.to_owned(),
        server_name: None,
        ca_file: cluster.authority_file(),
        reader: ReaderIdentity::Certificate(reader),
    }
}

fn driver(address: &str, cluster: &Kubernetes, folder: &Folder, service_account: &str) -> Driver {
    let settings = settings(address, cluster, folder);
    let exchange = Exchange::ProjectedToken {
        executors: vec![Executor {
            service_account: format!("seb-system/{service_account}").parse().unwrap(),
            calls: None,
            rehearser: None,
        }],
        audience: None,
        requester: Requester::TokenFile(folder.join("token")),
    };
    Driver::new(settings, exchange).unwrap()
}

/// Who is needed: the executor, a requester of its tokens, whose own is in `token`, and a reader.
pub async fn prepare(cluster: &Kubernetes, folder: &Folder) {
    for (path, body) in manifests() {
        let (status, answer) = cluster.admin.post(path, &body).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
    }
    let path = "/api/v1/namespaces/seb-system/serviceaccounts/broker/token";
    let (status, answer) = cluster.admin.post(path, &json!({"spec": {}})).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    std::fs::write(folder.join("token"), answer["status"]["token"].as_str().unwrap()).unwrap();
    cluster.authority.client("seb-reader", None).write(folder.path(), "reader");
}

/// Executor and rehearser may do everything here; what they may do in production is another test's.
fn manifests() -> Vec<(&'static str, Value)> {
    let service_accounts = "/api/v1/namespaces/seb-system/serviceaccounts";
    let bind = |role: &str, kind: &str, subject: Value| {
        json!({
            "metadata": {"name": role},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
            "subjects": [subject],
        })
    };
    let account = |name: &str| json!({"kind": "ServiceAccount", "name": name, "namespace": "seb-system"});
    let reader = json!({"kind": "User", "name": "seb-reader", "apiGroup": "rbac.authorization.k8s.io"});
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    vec![
        ("/api/v1/namespaces", json!({"metadata": {"name": "seb-system"}})),
        (service_accounts, json!({"metadata": {"name": "executor"}})),
        (service_accounts, json!({"metadata": {"name": "rehearser"}})),
        (service_accounts, json!({"metadata": {"name": "nobody"}})),
        (service_accounts, json!({"metadata": {"name": "broker"}})),
        (bindings, bind("cluster-admin", "ClusterRole", account("executor")).named("executor")),
        (bindings, bind("cluster-admin", "ClusterRole", account("rehearser")).named("rehearser")),
        (
            "/apis/rbac.authorization.k8s.io/v1/clusterroles",
            json!({
                "metadata": {"name": "seb-reader"},
                "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get"]}],
            }),
        ),
        (bindings, bind("seb-reader", "ClusterRole", reader)),
        (
            "/apis/rbac.authorization.k8s.io/v1/namespaces/seb-system/roles",
            json!({
                "metadata": {"name": "requester"},
                "rules": [
                    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create", "delete"]},
                    {"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]},
                ],
            }),
        ),
        (
            "/apis/rbac.authorization.k8s.io/v1/namespaces/seb-system/rolebindings",
            bind("requester", "Role", account("broker")),
        ),
    ]
}

trait Named {
    fn named(self, name: &str) -> Self;
}

impl Named for Value {
    fn named(mut self, name: &str) -> Self {
        self["metadata"]["name"] = name.into();
        self
    }
}
