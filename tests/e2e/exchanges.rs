//! Agent, authority, broker and API server: every verb and subresources, by each exchange.

use std::collections::BTreeSet;

use http::StatusCode;
use serde_json::{Value, json};

use crate::testbed::awaited;
use crate::testbed::client::MERGE;
use crate::world::{CHECKOUT, Options, World};

fn resource(group: &str, plural: &str, name: &str) -> Value {
    json!({ "group": group, "version": "v1", "resource": plural, "namespace": "shop", "name": name })
}

/// A node: no namespace has it.
const NODE: &str = "/api/v1/nodes/n1";

fn checkout() -> Value {
    resource("apps", "deployments", "checkout")
}

fn settings() -> Value {
    resource("", "configmaps", "settings")
}

fn under(mut resource: Value, subresource: &str) -> Value {
    resource["subresource"] = subresource.into();
    resource
}

fn step(verb: &str, resource: Value, body: Value) -> Value {
    let mut mutation = json!({ "verb": verb, "resource": resource });
    if !body.is_null() {
        mutation["body"] = body;
    }
    json!({ "mutation": mutation })
}

fn config_map(value: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "settings" }, "data": { "mode": value } })
}

/// Every verb, each held against what the API server has afterwards.
async fn every_verb(world: &World) {
    let map = "/api/v1/namespaces/shop/configmaps/settings";
    let steps = [
        (step("create", settings(), config_map("created")), map, "/data/mode", json!("created")),
        (step("update", settings(), config_map("updated")), map, "/data/mode", json!("updated")),
        (step("apply", settings(), apply()), map, "/data/applied", json!("yes")),
        (step("merge-patch", checkout(), json!({ "spec": { "replicas": 4 } })), CHECKOUT, "/spec/replicas", json!(4)),
        (
            step("json-patch", checkout(), json!([{ "op": "replace", "path": "/spec/replicas", "value": 5 }])),
            CHECKOUT,
            "/spec/replicas",
            json!(5),
        ),
        (
            step("strategic-merge-patch", checkout(), image("registry.example.org/shop/checkout:2")),
            CHECKOUT,
            "/spec/template/spec/containers/0/image",
            json!("registry.example.org/shop/checkout:2"),
        ),
        (
            step("merge-patch", under(checkout(), "scale"), json!({ "spec": { "replicas": 6 } })),
            CHECKOUT,
            "/spec/replicas",
            json!(6),
        ),
        (
            step("merge-patch", under(checkout(), "status"), json!({ "status": { "collisionCount": 7 } })),
            CHECKOUT,
            "/status/collisionCount",
            json!(7),
        ),
    ];
    let at = "2026-11-21T12:00:00Z";
    let restarted = "/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt";
    let changes = [
        (
            json!({ "kind": "restart", "namespace": "shop", "name": "checkout", "at": at }),
            CHECKOUT,
            restarted,
            json!(at),
        ),
        (json!({ "kind": "cordon", "name": "n1" }), NODE, "/spec/unschedulable", json!(true)),
        (json!({ "kind": "uncordon", "name": "n1" }), NODE, "/spec/unschedulable", Value::Null),
    ];
    let changes =
        changes.map(|(change, path, pointer, expected)| (json!({ "change": change }), path, pointer, expected));
    for (step, path, pointer, expected) in steps.into_iter().chain(changes) {
        let answer = world.performs(&step).await;
        let object = world.object(path).await;
        assert_eq!(object.pointer(pointer).unwrap_or(&Value::Null), &expected, "{step}: {object}");
        if step["mutation"]["resource"].get("subresource").is_none() {
            let marks = &object["metadata"]["annotations"];
            let mark = if step["mutation"]["verb"] == "apply" { "seb.dev/applied" } else { "seb.dev/mutation" };
            assert_eq!(marks[mark], answer["mutation_id"], "{step}: {object}");
        }
    }
    world.performs(&step("delete", settings(), Value::Null)).await;
    assert_eq!(world.cluster.admin.get(map).await.0, StatusCode::NOT_FOUND);
    let pod = under(resource("", "pods", "checkout-a"), "eviction");
    let eviction = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": "checkout-a" } });
    let mut evict = step("create", pod, eviction);
    evict["baseline"] = json!({ "mode": "exact" });
    world.performs(&evict).await;
    assert_eq!(world.cluster.admin.get("/api/v1/namespaces/shop/pods/checkout-a").await.0, StatusCode::NOT_FOUND);
}

fn apply() -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "settings" }, "data": { "applied": "yes" } })
}

fn image(image: &str) -> Value {
    json!({ "spec": { "template": { "spec": { "containers": [{ "name": "main", "image": image }] } } } })
}

/// A check asks the API server, too; nothing is changed or used up by it.
async fn is_rehearsed(world: &World) {
    let certificate = world.certificate(&step("merge-patch", checkout(), json!({ "spec": { "replicas": 4 } }))).await;
    let before = world.object(CHECKOUT).await["metadata"]["resourceVersion"].clone();
    for _ in 0..2 {
        let (status, answer) = world.execute("deployer", &certificate, &["--check"]).await;
        assert_eq!((status, &answer["allowed"]), (0, &json!(true)), "{answer}");
        assert_eq!(answer["dry_run"]["result"], "accepted", "{answer}");
    }
    assert_eq!(world.object(CHECKOUT).await["metadata"]["resourceVersion"], before);
}

/// Where a contract asks for a dry run, the API server tries the call before the decision; what it would refuse is denied
/// and uses nothing.
async fn is_tried_first(world: &World, rehearser: &str) {
    let asking = |body: Value| {
        let mut step = step("merge-patch", checkout(), body);
        step["dry_run"] = json!(true);
        step
    };
    let tried = || {
        let audited = world.cluster.audit();
        let dry = |event: &&Value| event["requestURI"].as_str().is_some_and(|uri| uri.contains("dryRun=All"));
        let ours = |event: &&Value| event["user"]["username"].as_str().is_some_and(|user| user.starts_with(rehearser));
        audited.iter().filter(dry).filter(ours).count()
    };
    let before = (world.object(CHECKOUT).await, tried());
    let spoilt = world.certificate(&asking(json!({ "metadata": { "labels": { "team": "not a label!" } } }))).await;
    let (status, refused) = world.execute("deployer", &spoilt, &[]).await;
    let good = world.certificate(&asking(json!({ "metadata": { "labels": { "team": "shop" } } }))).await;
    assert_eq!((status, &refused["error"]["reason"]), (1, &json!("dry_run_refused")), "{refused}");
    assert!(refused.to_string().contains("a valid label must"), "the API server's own words: {refused}");
    let (status, checked) = world.execute("deployer", &spoilt, &["--check"]).await;
    assert_eq!((status, &checked["dry_run"]["result"]), (1, &json!("refused")), "{checked}");
    assert_eq!(world.object(CHECKOUT).await, before.0);
    let (status, answer) = world.execute("deployer", &good, &[]).await;
    assert_eq!((status, &answer["state"]), (0, &json!("succeeded")), "{answer}");
    assert_eq!(world.object(CHECKOUT).await["metadata"]["labels"]["team"], "shop");
    assert_eq!(tried() - before.1, 3, "each was tried once, and the check of it");
}

async fn exchange(exchange: &'static str, who: &str) {
    let world = World::new(&Options { exchange, ..Options::default() }).await;
    is_rehearsed(&world).await;
    let rehearser = match exchange {
        "service-account" => "system:serviceaccount:seb-system:seb-rehearser-",
        _ => "seb:spiffe://example.org/seb/execution/",
    };
    is_tried_first(&world, rehearser).await;
    every_verb(&world).await;
    // The audit log says who did it; nobody else may, an administrator neither.
    let audited = world.cluster.audit();
    let ours = |event: &&Value| {
        event["user"]["username"].as_str().is_some_and(|name| name.starts_with(who))
            && !event["requestURI"].as_str().is_some_and(|uri| uri.contains("dryRun=All"))
            && event["responseStatus"]["code"].as_u64().is_some_and(|code| code < 300)
    };
    let distinct = |name: &str| -> BTreeSet<String> {
        audited.iter().filter(ours).map(|event| event.pointer(name).unwrap().as_str().unwrap().to_owned()).collect()
    };
    let (users, user_agents) = (distinct("/user/username"), distinct("/userAgent"));
    // Each verb and change, and what was tried first: each says which mutation it is.
    let expected = 14;
    assert_eq!(audited.iter().filter(ours).count(), expected, "{users:?}");
    assert_eq!(user_agents.len(), expected, "{user_agents:?}");
    assert!(user_agents.iter().all(|agent| agent.starts_with("seb/") && agent.contains(" (m-")), "{user_agents:?}");
    if exchange == "jwt-svid" {
        assert_eq!(users.len(), expected, "an identity for each mutation: {users:?}");
    }
    // What a token was bound to is gone with the mutation.
    let (_, secrets) = world.cluster.admin.get("/api/v1/namespaces/seb-system/secrets").await;
    let bound = |secret: &&Value| secret["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "seb";
    assert_eq!(secrets["items"].as_array().unwrap().iter().filter(bound).count(), 0, "{secrets}");
    let (status, answer) = world.cluster.admin.patch(CHECKOUT, MERGE, &json!({ "spec": { "replicas": 9 } })).await;
    assert!(status == StatusCode::FORBIDDEN && answer.to_string().contains("not_minted"), "{answer}");
    world.verified().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_every_verb_under_an_identity_that_the_api_server_takes_as_it_is() {
    exchange("jwt-svid", "seb:spiffe://example.org/seb/execution/").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_every_verb_by_a_token_that_an_execution_identity_requests() {
    exchange("projected-token", "system:serviceaccount:seb-system:seb-executor").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_every_verb_by_a_token_that_the_broker_requests() {
    exchange("service-account", "system:serviceaccount:seb-system:seb-executor").await;
}

/// A mutating policy comes between the certified body and the write: the record names the place.
#[tokio::test(flavor = "multi_thread")]
async fn what_something_rewrites_is_told() {
    let world = World::new(&Options::default()).await;
    let scale = || step("merge-patch", checkout(), json!({ "spec": { "replicas": 4 } }));
    let answer = world.performs(&scale()).await;
    assert!(!answer["detail"].as_str().unwrap().contains("certified"), "{answer}");
    let installer = world.cluster.user("platform-installer", Some("system:masters"));
    let rule = json!({
        "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments"],
    });
    let policy = json!({
        "metadata": { "name": "rewrite" },
        "spec": {
            "matchConstraints": { "resourceRules": [rule] },
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "mutations": [{
                "patchType": "ApplyConfiguration",
                "applyConfiguration": { "expression": "Object{spec: Object.spec{replicas: 9}}" },
            }],
        },
    });
    let binding = json!({ "metadata": { "name": "rewrite" }, "spec": { "policyName": "rewrite" } });
    for (kind, body) in [("mutatingadmissionpolicies", policy), ("mutatingadmissionpolicybindings", binding)] {
        let path = format!("/apis/admissionregistration.k8s.io/v1/{kind}");
        let (status, answer) = installer.post(&path, &body).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
    }
    awaited("the policy rewrites", async || {
        let answer = world.performs(&scale()).await;
        let told =
            answer["detail"].as_str().unwrap().contains("not as certified: something rewrote it, at `/spec/replicas`");
        if told { Ok(()) } else { Err(answer) }
    })
    .await;
    assert_eq!(world.object(CHECKOUT).await["spec"]["replicas"], 9);
    assert!(world.broker.log().contains("\"rewritten\""), "{}", world.broker.log());
    world.verified().await;
}
