//! A call is rehearsed: the API server says what it would do, and does nothing.

use std::time::Duration;

use http::StatusCode;
use seb::identity::spire::{MintIssuer, SpireServer};
use seb::identity::workload::{self, WorkloadApi};
use seb::identity::{Form, Issuer};
use seb::target::kubernetes::{Exchange, Executor, Kubernetes as Driver, Requester};
use seb::target::{Rehearsed, Rehearser, Rejection, Target};
use serde_json::{Value, json};

use crate::support::{BROKER, id};
use crate::testbed::kubernetes::{Kubernetes, Options};
use crate::testbed::spire::{self, Entry, Spire};
use crate::testbed::{Folder, PATIENCE};
use crate::world::{self, Ask, SHOP, deployment, exact, now, permit, under};

struct World {
    driver: Driver,
    issuer: MintIssuer,
    cluster: Kubernetes,
    _spire: Spire,
    _folder: Folder,
}

impl World {
    /// Where execution identities rehearse.
    async fn new() -> Self {
        Self::by(|_| Exchange::JwtSvid { audience: "kubernetes".parse().unwrap() }).await
    }

    async fn by(exchange: impl FnOnce(&Folder) -> Exchange) -> Self {
        let folder = Folder::new();
        let entries = vec![Entry { admin: true, ..Entry::of_this_user("seb") }];
        let spire = Spire::start(&folder, spire::Options { discovery: true, entries, ..Default::default() }).await;
        let authentication = Some(spire.authentication("kubernetes"));
        let cluster = Kubernetes::start(&folder, Options { authentication, ..Options::default() }).await;
        world::prepare(&cluster, &folder).await;
        let binding = json!({
            "metadata": { "name": "executions" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
            "subjects": [{ "kind": "Group", "name": "seb:executors", "apiGroup": "rbac.authorization.k8s.io" }],
        });
        let path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
        let (status, answer) = cluster.admin.post(path, &binding).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        let socket = format!("unix:{}", spire.agent_socket().display()).parse().unwrap();
        let own = WorkloadApi { socket, id: Some(id(BROKER)), hint: None };
        let (own, _) = workload::open(own, PATIENCE).await.unwrap();
        let server =
            SpireServer { address: spire.server_address.parse().unwrap(), id: id("spiffe://example.org/spire/server") };
        let settings = world::settings(&cluster.address, &cluster, &folder);
        let driver = Driver::new(settings, exchange(&folder)).unwrap();
        Self { driver, issuer: MintIssuer::new(server, own), cluster, _spire: spire, _folder: folder }
    }

    async fn shop(&self) -> Value {
        self.cluster.admin.get(SHOP).await.1
    }

    async fn rehearse(&self, ask: &Ask) -> Rehearsed {
        let permit = permit(ask);
        let terms = permit.terms();
        let identity = match self.driver.rehearsal(terms.call()).unwrap() {
            Rehearser::Account => None,
            Rehearser::Identity(form) => {
                let end = now().saturating_add(Duration::from_secs(10));
                let plan = self.issuer.plan(terms.mutation_id(), form, now(), end).unwrap();
                Some(self.issuer.mint(plan).await.unwrap())
            }
        };
        self.driver.rehearse(terms, identity).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_a_rehearsal_says_what_would_be_and_changes_nothing() {
    let world = World::new().await;
    world.cluster.deployment("shop", 3).await;
    let shop = world.shop().await;
    assert_eq!(world.rehearse(&Ask::scale("merge-patch", 5, exact(&shop))).await, Rehearsed::Accepted);
    let fields = world::fields(&shop, &["/spec/replicas"]);
    assert_eq!(world.rehearse(&Ask::scale("json-patch", 5, fields.clone())).await, Rehearsed::Accepted);
    let made = world::resource("", "v1", "configmaps", "made");
    for verb in ["create", "apply"] {
        let body = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "made" } });
        assert_eq!(world.rehearse(&Ask::new(verb, made.clone(), body, world::absent())).await, Rehearsed::Accepted);
    }
    let removal = Ask::new("delete", deployment(), Value::Null, exact(&shop));
    assert_eq!(world.rehearse(&removal).await, Rehearsed::Accepted);
    match world
        .rehearse(&Ask::scale("merge-patch", 5, json!({"mode": "exact", "identity": "other", "version": "1"})))
        .await
    {
        Rehearsed::Refused { reason: Rejection::Precondition, detail } => {
            assert!(detail.contains("drift_identity: certified is `other`"), "{detail}")
        }
        other => panic!("{other:?}"),
    }
    let mut invalid = Ask::scale("merge-patch", 5, fields);
    invalid.body = json!({ "spec": { "replicas": -1 } });
    assert!(matches!(world.rehearse(&invalid).await, Rehearsed::Refused { reason: Rejection::Invalid, .. }));
    assert_eq!(world.shop().await["metadata"]["resourceVersion"], shop["metadata"]["resourceVersion"]);
    // Everything that an execution identity sent says that it is a dry run.
    let sent = |event: &Value| event["user"]["username"].as_str().is_some_and(|user| user.starts_with("seb:"));
    world.cluster.audited("a rehearsal", sent).await;
    for event in world.cluster.audit().iter().filter(|event| sent(event)) {
        let said = event["requestURI"].as_str().unwrap().ends_with("&dryRun=All");
        assert!(said || event["requestObject"]["dryRun"] == json!(["All"]), "{event}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_where_no_identity_is_taken_a_service_account_rehearses() {
    let account = |name: &str| format!("seb-system/{name}").parse().unwrap();
    let rehearser = Some(account("rehearser"));
    let world = World::by(|folder| Exchange::ProjectedToken {
        executors: vec![Executor { service_account: account("executor"), calls: None, rehearser }],
        audience: None,
        requester: Requester::TokenFile(folder.join("token")),
    })
    .await;
    world.cluster.deployment("shop", 3).await;
    let shop = world.shop().await;
    assert_eq!(world.rehearse(&Ask::scale("merge-patch", 5, exact(&shop))).await, Rehearsed::Accepted);
    assert_eq!(world.rehearse(&Ask::new("delete", deployment(), Value::Null, exact(&shop))).await, Rehearsed::Accepted);
    let mut invalid = Ask::scale("merge-patch", 5, exact(&shop));
    invalid.body = json!({ "spec": { "replicas": -1 } });
    assert!(matches!(world.rehearse(&invalid).await, Rehearsed::Refused { reason: Rejection::Invalid, .. }));
    assert_eq!(world.shop().await["metadata"]["resourceVersion"], shop["metadata"]["resourceVersion"]);
    // It asked three times, each time for nothing but a dry run, by a token that the broker requested; the executor did not
    // ask, and no Secret was made.
    let by =
        |event: &Value, name: &str| event["user"]["username"] == format!("system:serviceaccount:seb-system:{name}");
    world.cluster.audited("a dry run", |event| by(event, "rehearser") && event["verb"] == "delete").await;
    let audit = world.cluster.audit();
    let tried: Vec<_> = audit.iter().filter(|event| by(event, "rehearser")).collect();
    assert_eq!(tried.len(), 3, "{tried:?}");
    for event in tried {
        let said = event["requestURI"].as_str().unwrap().ends_with("&dryRun=All");
        assert!(said || event["requestObject"]["dryRun"] == json!(["All"]), "{event}");
    }
    let tokens: Vec<_> = audit
        .iter()
        .filter(|event| by(event, "broker") && event["objectRef"]["subresource"] == "token")
        .map(|event| (event["objectRef"]["name"].as_str().unwrap(), &event["requestObject"]["spec"]))
        .collect();
    assert_eq!(tokens.len(), 3, "{tokens:?}");
    for (name, spec) in tokens {
        assert_eq!((name, &spec["expirationSeconds"]), ("rehearser", &json!(600)), "{spec}");
        assert_eq!(spec["boundObjectRef"], Value::Null, "{spec}");
    }
    assert!(!audit.iter().any(|event| by(event, "executor") || event["objectRef"]["resource"] == "secrets"));
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_a_rehearsal_has_an_identity_that_names_no_call() {
    let world = World::new().await;
    world.cluster.deployment("shop", 3).await;
    let shop = world.shop().await;
    let ask = Ask::scale("merge-patch", 5, exact(&shop));
    let permit = permit(&ask);
    let terms = permit.terms();
    let urn = "urn:seb:dry-run:UPDATE:apps/deployments:default/shop";
    let audiences = vec!["kubernetes".to_owned(), urn.to_owned()];
    assert_eq!(world.driver.rehearsal(terms.call()), Some(Rehearser::Identity(Form::Jwt { audiences })));
    // The execution's own identity is not taken for it, and nothing is sent.
    let plan =
        world.issuer.plan(terms.mutation_id(), world.driver.form(terms.call()), now(), terms.deadline()).unwrap();
    let identity = world.issuer.mint(plan).await.unwrap();
    for identity in [Some(identity), None] {
        match world.driver.rehearse(terms, identity).await {
            Rehearsed::Unavailable { detail } => assert!(detail.contains("not minted for this rehearsal"), "{detail}"),
            other => panic!("{other:?}"),
        }
    }
    // What an API server does for real although it is asked for a dry run is not rehearsed.
    let body = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {} });
    let account =
        json!({"group": "", "version": "v1", "resource": "serviceaccounts", "namespace": "default", "name": "shop"});
    let token = Ask::new("create", under(account, "token"), body, world::absent());
    assert_eq!(world.driver.rehearsal(world::permit(&token).terms().call()), None);
}
