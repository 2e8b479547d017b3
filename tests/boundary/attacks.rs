//! The attacks of the table, carried out.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::testbed::awaited;
use crate::testbed::client::{APPLY, Client, MERGE};
use crate::world::{
    AUDIENCE, Answer, BINDINGS, CHECKOUT, Execution, MARK, World, annotates, annotation, asks, binding, config_map,
    deployment, owned_by, pod,
};

const PATCH: &str = "urn:seb:call:UPDATE:apps/deployments:shop/checkout";
pub const DRY_RUN: &str = "urn:seb:dry-run:UPDATE:apps/deployments:shop/checkout";
const SCALE: &str = "urn:seb:call:UPDATE:apps/deployments/scale:shop/checkout";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/shop/deployments";
const PODS: &str = "/api/v1/namespaces/shop/pods";
const COLLECTOR: &str = "system:serviceaccount:kube-system:generic-garbage-collector";
const COLLECTOR_PATH: &str = "/api/v1/namespaces/kube-system/serviceaccounts/generic-garbage-collector";
const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";

/// Tries the attack of this name: the answer.
pub async fn attempt(world: &World, name: &str) -> Answer {
    let masters = &world.masters;
    match name {
        "agent" => {
            let token = world.spire.mint_jwt("agent/planner", &[AUDIENCE, PATCH], "60s").await;
            annotates(&world.cluster.anonymous().with_bearer(&token), CHECKOUT).await
        }
        "agent-x509" => {
            let pair = world.spire.mint_x509("agent/planner", "1h").await;
            annotates(&Client::new(&world.cluster.address, &world.cluster.authority.pem(), Some(&pair)), CHECKOUT).await
        }
        "no-call" => world.execution_for(&[], "60s").await.marks(CHECKOUT).await,
        "two-calls" => {
            let other = "urn:seb:call:UPDATE:apps/deployments:shop/cart";
            world.execution_for(&[PATCH, other], "60s").await.marks(CHECKOUT).await
        }
        "long-token" => world.execution_for(&[PATCH], "1h").await.marks(CHECKOUT).await,
        "unmarked" => annotates(&world.execution(PATCH).await.client, CHECKOUT).await,
        name if name.starts_with("dry-run") => with_token_for_a_dry_run(world, name).await,
        "expired" => expired(world).await,
        "cluster-admin" => annotates(&world.cluster_admin, CHECKOUT).await,
        "masters-create" => masters.post(DEPLOYMENTS, &deployment("another")).await,
        "impersonated-user" => annotates(&impersonating(masters, "clerk", &["system:masters"], &[]), CHECKOUT).await,
        name if name.starts_with("masters") => as_masters(masters, name).await,
        "impersonated-executor" => {
            annotates(&impersonating(masters, EXECUTOR, &["seb:executors"], &[]), CHECKOUT).await
        }
        "certificate-executor" => annotates(&world.cluster.user(EXECUTOR, Some("seb:executors")), CHECKOUT).await,
        "forged-call" => {
            let forged = impersonating(masters, EXECUTOR, &["seb:executors"], &[("seb.dev%2fcall", PATCH)]);
            forged.patch(CHECKOUT, MERGE, &json!({ "metadata": { "annotations": { MARK: "forged" } } })).await
        }
        "same-call" => {
            let execution = world.execution(PATCH).await;
            let (status, answer) = execution.marks(CHECKOUT).await;
            assert_eq!(status, StatusCode::OK, "the first use: {answer}");
            let body = json!({ "spec": { "replicas": 7 } });
            execution.client.patch(CHECKOUT, MERGE, &execution.marked(body)).await
        }
        "same-scale" => {
            let Execution { client, .. } = world.execution(SCALE).await;
            let path = format!("{CHECKOUT}/scale");
            let (status, answer) = client.patch(&path, MERGE, &scaled(3)).await;
            assert_eq!(status, StatusCode::OK, "the first use: {answer}");
            client.patch(&path, MERGE, &scaled(4)).await
        }
        "other-group" => {
            world.execution("urn:seb:call:UPDATE:extensions/deployments:shop/checkout").await.marks(CHECKOUT).await
        }
        "other-resource" => {
            world.execution("urn:seb:call:UPDATE:apps/replicasets:shop/checkout").await.marks(CHECKOUT).await
        }
        "other-object" | "unnamed-object" | "other-verb" | "other-subresource" | "other-namespace"
        | "collection-token" => with_token_for_another(world, name).await,
        "ephemeral-container"
        | "exec"
        | "attach"
        | "port-forward"
        | "pod-proxy"
        | "eviction"
        | "own-pod"
        | "replica-set"
        | "node-proxy" => on_workloads(world, name).await,
        "owner" | "finalizer" | "owned" | "namespace" | "cluster-object" | "cluster-collection" => {
            on_metadata(world, name).await
        }
        "controller-token"
        | "controller-certificate"
        | "controller-secret"
        | "forged-controller"
        | "certificate-approval" => as_controller(world, name).await,
        "grant-executors"
        | "grant-impersonation"
        | "grant-wide"
        | "own-role"
        | "own-namespace"
        | "own-exec"
        | "broker-token" => on_grants(world, name).await,
        "mutating-policy" | "mutating-webhook" | "delete-binding" | "delete-bindings" | "change-policy" => {
            on_admission(masters, name).await
        }
        _ => on_executors(world, name).await,
    }
}

const EXECUTOR: &str = "seb:spiffe://example.org/seb/execution/forged";

/// The same client, as somebody else.
fn impersonating(client: &Client, user: &str, groups: &[&str], extra: &[(&str, &str)]) -> Client {
    let mut client = client.with_header("impersonate-user", user);
    for group in groups {
        client = client.with_header("impersonate-group", group);
    }
    for (key, value) in extra {
        client = client.with_header(&format!("impersonate-extra-{key}"), value);
    }
    client
}

async fn as_masters(masters: &Client, name: &str) -> Answer {
    match name {
        "masters" => masters.patch(CHECKOUT, MERGE, &json!({ "spec": { "replicas": 7 } })).await,
        "masters-dry-run" => masters.patch(&format!("{CHECKOUT}?dryRun=All"), MERGE, &annotation()).await,
        "masters-apply" => {
            let path = format!("{CHECKOUT}?fieldManager=root&force=true");
            masters.patch(&path, APPLY, &deployment("checkout")).await
        }
        "masters-delete" => masters.delete(CHECKOUT).await,
        "masters-scale" => {
            masters.patch(&format!("{CHECKOUT}/scale"), MERGE, &json!({ "spec": { "replicas": 7 } })).await
        }
        "masters-status" => {
            masters.patch(&format!("{CHECKOUT}/status"), MERGE, &json!({ "status": { "replicas": 7 } })).await
        }
        "masters-collection" => masters.delete(DEPLOYMENTS).await,
        _ => panic!("nobody wrote `{name}`"),
    }
}

async fn with_token_for_a_dry_run(world: &World, name: &str) -> Answer {
    let execution = world.execution(DRY_RUN).await;
    match name {
        "dry-run-done" => execution.marks(CHECKOUT).await,
        "dry-run-other" => execution.marks(&format!("{DEPLOYMENTS}/cart?dryRun=All")).await,
        "dry-run-call" => world.execution_for(&[PATCH, DRY_RUN], "60s").await.marks(CHECKOUT).await,
        "dry-run-delete" => {
            let execution = world.execution("urn:seb:dry-run:DELETE:apps/deployments:shop/checkout").await;
            let options = json!({ "apiVersion": "v1", "kind": "DeleteOptions" });
            let path = format!("{CHECKOUT}?dryRun=All");
            execution.client.send(Method::DELETE, &path, "application/json", &options).await.unwrap()
        }
        "dry-run-scale" => execution.client.patch(&format!("{CHECKOUT}/scale"), MERGE, &scaled(7)).await,
        _ => panic!("nobody wrote `{name}`"),
    }
}

async fn with_token_for_another(world: &World, name: &str) -> Answer {
    let call = if name == "collection-token" { "urn:seb:call:DELETE:apps/deployments:shop/" } else { PATCH };
    let execution = world.execution(call).await;
    match name {
        "other-object" => execution.marks(&format!("{DEPLOYMENTS}/cart")).await,
        "unnamed-object" => execution.marks(&format!("{DEPLOYMENTS}/other")).await,
        "other-verb" => execution.client.delete(CHECKOUT).await,
        "other-subresource" => {
            execution.client.patch(&format!("{CHECKOUT}/scale"), MERGE, &json!({ "spec": { "replicas": 7 } })).await
        }
        "other-namespace" => execution.marks("/apis/apps/v1/namespaces/stock/deployments/checkout").await,
        "collection-token" => execution.client.delete(DEPLOYMENTS).await,
        _ => panic!("nobody wrote `{name}`"),
    }
}

/// Uses a token until it is refused, long after its life; how long it went on is printed.
async fn expired(world: &World) -> Answer {
    let execution = world.execution_for(&[PATCH], "5s").await;
    let minted = Instant::now();
    let (status, answer) = execution.marks(CHECKOUT).await;
    assert_eq!(status, StatusCode::OK, "while it lives: {answer}");
    let answer = awaited("the end of a token", async || {
        let answer = execution.marks(CHECKOUT).await;
        if answer.0 == StatusCode::UNAUTHORIZED { Ok(answer) } else { Err(answer) }
    })
    .await;
    let after = minted.elapsed();
    println!("a token of 5 s was refused {} ms after it was made", after.as_millis());
    assert!(after < Duration::from_secs(5 + 10 + 5), "the API server's cache keeps it for 10 s at most, not {after:?}");
    answer
}

async fn on_workloads(world: &World, name: &str) -> Answer {
    let masters = &world.masters;
    let path = format!("{PODS}/{}", world.pod("checkout").await);
    match name {
        "ephemeral-container" => {
            let container = json!({ "name": "try", "image": "example.org/shell:1" });
            let body = json!({ "spec": { "ephemeralContainers": [container] } });
            masters.patch(&format!("{path}/ephemeralcontainers"), STRATEGIC, &body).await
        }
        "exec" => masters.post(&format!("{path}/exec?command=id&stdout=true"), &Value::Null).await,
        "attach" => masters.post(&format!("{path}/attach?stdout=true"), &Value::Null).await,
        "port-forward" => masters.post(&format!("{path}/portforward?ports=80"), &Value::Null).await,
        "pod-proxy" => masters.get(&format!("{path}/proxy/")).await,
        "eviction" => {
            let name = path.rsplit('/').next().unwrap();
            let body = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": name } });
            masters.post(&format!("{path}/eviction"), &body).await
        }
        "own-pod" => masters.post(PODS, &pod("own", "default")).await,
        "replica-set" => {
            let (_, sets) = masters.get("/apis/apps/v1/namespaces/shop/replicasets?labelSelector=app%3Dcheckout").await;
            let set = sets["items"][0]["metadata"]["name"].as_str().unwrap().to_owned();
            let path = format!("/apis/apps/v1/namespaces/shop/replicasets/{set}");
            masters.patch(&path, MERGE, &json!({ "spec": { "replicas": 7 } })).await
        }
        "node-proxy" => {
            let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "one" } });
            drop(masters.post("/api/v1/nodes", &node).await);
            masters.post("/api/v1/nodes/one/proxy/run/shop/checkout/main?cmd=id", &Value::Null).await
        }
        _ => panic!("nobody wrote `{name}`"),
    }
}

const STRATEGIC: &str = "application/strategic-merge-patch+json";

async fn on_metadata(world: &World, name: &str) -> Answer {
    let masters = &world.masters;
    match name {
        "owner" => {
            let (_, owner) = masters.post("/api/v1/namespaces/shop/configmaps", &config_map("mine")).await;
            let body = json!({ "metadata": { "ownerReferences": owned_by(&owner) } });
            masters.patch(CHECKOUT, MERGE, &body).await
        }
        "finalizer" => {
            let body = json!({ "metadata": { "finalizers": ["example.org/keep"] } });
            masters.patch(CHECKOUT, MERGE, &body).await
        }
        "owned" => {
            let (status, answer) = masters.delete("/api/v1/namespaces/shop/configmaps/owner").await;
            assert_eq!(status, StatusCode::OK, "{answer}");
            awaited("the end of what it owned", async || {
                let answer = masters.get(&format!("{DEPLOYMENTS}/owned")).await;
                if answer.0 == StatusCode::NOT_FOUND { Ok((StatusCode::OK, answer.1)) } else { Err(answer) }
            })
            .await
        }
        "namespace" => masters.delete("/api/v1/namespaces/shop").await,
        "cluster-object" => masters.delete(&format!("{BINDINGS}/oncall")).await,
        "cluster-collection" => masters.delete(BINDINGS).await,
        _ => panic!("nobody wrote `{name}`"),
    }
}

async fn as_controller(world: &World, name: &str) -> Answer {
    let masters = &world.masters;
    match name {
        "controller-token" => masters.post(&format!("{COLLECTOR_PATH}/token"), &token_request(600)).await,
        "controller-certificate" => {
            let certified = world.cluster.user(COLLECTOR, Some("system:serviceaccounts:kube-system"));
            certified.delete(&format!("{DEPLOYMENTS}/cart")).await
        }
        "controller-secret" => {
            masters.post("/api/v1/namespaces/kube-system/secrets", &lasting_token("generic-garbage-collector")).await
        }
        "forged-controller" => {
            let extra = [("authentication.kubernetes.io%2fcredential-id", "JTI=forged")];
            let forged = impersonating(masters, COLLECTOR, &["system:serviceaccounts", "system:authenticated"], &extra);
            forged.delete(&format!("{DEPLOYMENTS}/other")).await
        }
        "certificate-approval" => approval(world).await,
        _ => panic!("nobody wrote `{name}`"),
    }
}

/// Asks for a certificate in another's name, and approves it.
async fn approval(world: &World) -> Answer {
    use base64ct::{Base64, Encoding};
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, COLLECTOR);
    let request = params.serialize_request(&key).unwrap().pem().unwrap();
    let body = json!({
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": { "name": "try" },
        "spec": {
            "request": Base64::encode_string(request.as_bytes()),
            "signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["client auth"],
        },
    });
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let (status, mut made) = world.masters.post(path, &body).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    made["status"]["conditions"] = json!([{ "type": "Approved", "status": "True", "reason": "Try", "message": "" }]);
    world.masters.put(&format!("{path}/try/approval"), &made).await
}

async fn on_grants(world: &World, name: &str) -> Answer {
    let (admin, masters) = (&world.cluster_admin, &world.masters);
    match name {
        "grant-executors" => admin.post(BINDINGS, &binding("try", "view", "Group", "seb:executors")).await,
        "grant-impersonation" => {
            let rule = json!({ "apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"] });
            let role = json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                "metadata": { "name": "try" }, "rules": [rule],
            });
            admin.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &role).await
        }
        "grant-wide" => admin.post(BINDINGS, &binding("try", "cluster-admin", "User", "friend")).await,
        "own-role" => admin.delete("/apis/rbac.authorization.k8s.io/v1/namespaces/shop/roles/seb-executor-shop").await,
        "own-namespace" => admin.post("/api/v1/namespaces/seb-system/pods", &pod("try", "seb-broker")).await,
        "own-exec" => {
            awaited("the broker's pod", async || {
                let path = "/api/v1/namespaces/seb-system/pods/seb-broker-0";
                let answer = admin.get(path).await;
                if answer.0 == StatusCode::OK { Ok(()) } else { Err(answer) }
            })
            .await;
            let path = "/api/v1/namespaces/seb-system/pods/seb-broker-0/exec?command=id&stdout=true";
            admin.post(path, &Value::Null).await
        }
        "broker-token" => {
            let path = "/api/v1/namespaces/seb-system/serviceaccounts/seb-broker/token";
            masters.post(path, &token_request(600)).await
        }
        _ => panic!("nobody wrote `{name}`"),
    }
}

/// What protects the Deployments of `shop`.
const BINDING: &str = "seb-calls-shop";

/// Deletes a binding for good: what it protected is open, and the audit log names it. Makes it again.
pub async fn deleted_binding_is_found(world: &World) {
    let masters = &world.masters;
    let bindings = format!("{ADMISSION}/validatingadmissionpolicybindings");
    let (_, mut binding) = masters.get(&format!("{bindings}/{BINDING}")).await;
    let (status, answer) = masters.delete(&format!("{bindings}/{BINDING}")).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    world
        .audited("the deletion of a binding", |event| {
            let (object, dry_run) = (&event["objectRef"], event["requestURI"].to_string().contains("dryRun"));
            (&event["verb"], &object["resource"], &object["name"], dry_run)
                == (&json!("delete"), &json!("validatingadmissionpolicybindings"), &json!(BINDING), false)
                && event["user"]["username"] == "root"
        })
        .await;
    let try_it = async || masters.patch(&format!("{CHECKOUT}?dryRun=All"), MERGE, &annotation()).await;
    awaited("the way around it", async || {
        let answer = try_it().await;
        if answer.0 == StatusCode::OK { Ok(()) } else { Err(answer) }
    })
    .await;
    let metadata = binding["metadata"].as_object_mut().unwrap();
    metadata.retain(|key, _| ["name", "labels", "annotations"].contains(&key.as_str()));
    let (status, answer) = masters.post(&bindings, &binding).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    awaited("the policy", async || {
        let answer = try_it().await;
        if answer.1.to_string().contains("not_minted") { Ok(()) } else { Err(answer) }
    })
    .await;
}

/// Only tried out, so that what nothing refuses does no harm.
async fn on_admission(masters: &Client, name: &str) -> Answer {
    let dry = |path: &str| format!("{ADMISSION}/{path}?dryRun=All");
    match name {
        "mutating-policy" => masters.post(&dry("mutatingadmissionpolicies"), &mutating_policy()).await,
        "mutating-webhook" => {
            let body = json!({
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "MutatingWebhookConfiguration",
                "metadata": { "name": "try" },
            });
            masters.post(&dry("mutatingwebhookconfigurations"), &body).await
        }
        "delete-binding" => masters.delete(&dry(&format!("validatingadmissionpolicybindings/{BINDING}"))).await,
        "delete-bindings" => masters.delete(&dry("validatingadmissionpolicybindings")).await,
        "change-policy" => {
            let body = json!({ "spec": { "validations": [{ "expression": "true" }] } });
            masters.patch(&dry("validatingadmissionpolicies/seb-calls"), MERGE, &body).await
        }
        _ => panic!("nobody wrote `{name}`"),
    }
}

/// A policy that gives every Deployment another number of replicas.
pub fn mutating_policy() -> Value {
    let rule = json!({
        "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments"],
    });
    let rewrite = "Object{spec: Object.spec{replicas: 9}}";
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicy",
        "metadata": { "name": "try" },
        "spec": {
            "matchConstraints": { "resourceRules": [rule] },
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "mutations": [{ "patchType": "ApplyConfiguration", "applyConfiguration": { "expression": rewrite } }],
        },
    })
}

pub fn token_request(seconds: u32) -> Value {
    let spec = json!({ "expirationSeconds": seconds });
    json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec })
}

pub fn lasting_token(account: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/service-account-token",
        "metadata": { "name": "try", "annotations": { "kubernetes.io/service-account.name": account } },
    })
}

const EXECUTOR_TOKEN: &str = "/api/v1/namespaces/seb-system/serviceaccounts/seb-executor-shop/token";
const EXECUTOR_CALL: &str = "urn:seb:call:CREATE:/serviceaccounts/token:seb-system/seb-executor-shop";
const SECRETS: &str = "/api/v1/namespaces/seb-system/secrets";
const STOCK: &str = "/apis/apps/v1/namespaces/stock/deployments/checkout";

async fn on_executors(world: &World, name: &str) -> Answer {
    let masters = &world.masters;
    match name {
        "executor-token" => masters.post(EXECUTOR_TOKEN, &token_request(600)).await,
        "executor-unbound" => {
            world.execution(EXECUTOR_CALL).await.client.post(EXECUTOR_TOKEN, &token_request(600)).await
        }
        "executor-bound" => {
            let other = world.execution(EXECUTOR_CALL).await;
            let secret = secret(&other).await;
            let request = bound_request(600, "Secret", &secret);
            world.execution(EXECUTOR_CALL).await.client.post(EXECUTOR_TOKEN, &request).await
        }
        "executor-long-token" => {
            let execution = world.execution(EXECUTOR_CALL).await;
            let request = bound_request(3600, "Secret", &secret(&execution).await);
            execution.client.post(EXECUTOR_TOKEN, &request).await
        }
        name if name.starts_with("secret") => on_secrets(world, name).await,
        "executor-patch" => world.execution(EXECUTOR_CALL).await.marks(CHECKOUT).await,
        "executor-dry-run" => world.execution(DRY_RUN).await.marks(CHECKOUT).await,
        "executor-direct" => world.execution(PATCH).await.marks(CHECKOUT).await,
        "executor-account" => {
            let path = "/api/v1/namespaces/seb-system/serviceaccounts/seb-broker/token";
            world.execution(EXECUTOR_CALL).await.client.post(path, &token_request(600)).await
        }
        "executor-secret" => {
            world.installer().post("/api/v1/namespaces/seb-system/secrets", &lasting_token("seb-executor-shop")).await
        }
        "executor-outside" => annotates(&executor(world).await.0, &format!("{DEPLOYMENTS}/cart")).await,
        "executor-other" => annotates(&executor(world).await.0, STOCK).await,
        "executor-widened" => widened(world).await,
        "executor-ended" => ended(world).await,
        "executor-inside" => annotates(&executor(world).await.0, CHECKOUT).await,
        _ => panic!("nobody wrote `{name}`"),
    }
}

/// A Secret as the broker makes it, so that a token can end with it.
pub fn ending(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "seb.dev/execution",
        "immutable": true,
        "metadata": { "name": name },
    })
}

/// A request for a token that ends with this object.
pub fn bound_request(seconds: u32, kind: &str, to: &Value) -> Value {
    let mut request = token_request(seconds);
    let metadata = &to["metadata"];
    request["spec"]["boundObjectRef"] =
        json!({ "apiVersion": "v1", "kind": kind, "name": metadata["name"], "uid": metadata["uid"] });
    request
}

/// What an execution identity may not do with Secrets.
async fn on_secrets(world: &World, name: &str) -> Answer {
    let call = if name == "secret-call" { PATCH } else { EXECUTOR_CALL };
    let Execution { client, mutation } = world.execution(call).await;
    let mut secret = ending(&mutation);
    match name {
        "secret-name" => client.post(SECRETS, &ending("another")).await,
        "secret-data" => {
            secret["data"] = json!({ "key": "c2VjcmV0" });
            client.post(SECRETS, &secret).await
        }
        "secret-text" => {
            secret["stringData"] = json!({ "key": "secret" });
            client.post(SECRETS, &secret).await
        }
        "secret-type" => {
            secret["type"] = json!("Opaque");
            client.post(SECRETS, &secret).await
        }
        "secret-call" => client.post(SECRETS, &secret).await,
        "secret-namespace" => client.post("/api/v1/namespaces/shop/secrets", &secret).await,
        "secret-deletion" => {
            let theirs = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "theirs" } });
            let (status, answer) = world.installer().post(SECRETS, &theirs).await;
            assert_eq!(status, StatusCode::CREATED, "{answer}");
            client.delete(&format!("{SECRETS}/theirs")).await
        }
        "secret-theft" => asks(&client, Method::GET, SECRETS).await,
        _ => panic!("nobody wrote `{name}`"),
    }
}

/// An execution makes the Secret of its mutation, as it may.
pub async fn own_secret(world: &World) -> Answer {
    let Execution { client, mutation } = world.execution(EXECUTOR_CALL).await;
    client.post(SECRETS, &ending(&mutation)).await
}

/// The Secret of this mutation.
async fn secret(execution: &Execution) -> Value {
    let (status, answer) = execution.client.post(SECRETS, &ending(&execution.mutation)).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    answer
}

/// A client with a token of the executor, made as the broker makes it, and whose token it is.
async fn executor(world: &World) -> (Client, Execution) {
    let execution = world.execution(EXECUTOR_CALL).await;
    let request = bound_request(600, "Secret", &secret(&execution).await);
    let (status, answer) = execution.client.post(EXECUTOR_TOKEN, &request).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    (world.cluster.anonymous().with_bearer(answer["status"]["token"].as_str().unwrap()), execution)
}

/// Uses a token until it is refused, after its Secret was deleted as the broker does at the end.
async fn ended(world: &World) -> Answer {
    let (client, Execution { client: identity, mutation }) = executor(world).await;
    let (status, answer) = annotates(&client, CHECKOUT).await;
    assert_eq!(status, StatusCode::OK, "while it lives: {answer}");
    let (status, answer) = identity.delete(&format!("{SECRETS}/{mutation}")).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let begun = Instant::now();
    let answer = awaited("the end of a token", async || {
        let answer = annotates(&client, CHECKOUT).await;
        if answer.0 == StatusCode::UNAUTHORIZED { Ok(answer) } else { Err(answer) }
    })
    .await;
    println!("a token was refused {} ms after its Secret was deleted", begun.elapsed().as_millis());
    assert!(begun.elapsed() < Duration::from_secs(10 + 5), "the API server's cache keeps it for 10 s at most");
    answer
}

/// RBAC gives the executor more; the policy does not.
async fn widened(world: &World) -> Answer {
    let installer = world.installer();
    let mut grant = binding("widened", "cluster-admin", "ServiceAccount", "seb-executor-shop");
    grant["subjects"][0]["namespace"] = json!("seb-system");
    grant["subjects"][0].as_object_mut().unwrap().remove("apiGroup");
    let (status, answer) = installer.post(BINDINGS, &grant).await;
    assert!([StatusCode::CREATED, StatusCode::CONFLICT].contains(&status), "{answer}");
    let (executor, _) = executor(world).await;
    awaited("the wider role", async || {
        let answer = asks(&executor, Method::GET, "/api/v1/namespaces/kube-system/configmaps").await;
        if answer.0 == StatusCode::OK { Ok(()) } else { Err(answer) }
    })
    .await;
    let answer = annotates(&executor, STOCK).await;
    drop(installer.delete(&format!("{BINDINGS}/widened")).await);
    answer
}

/// A scale of `checkout`, for controls.
pub fn scaled(replicas: u32) -> Value {
    json!({ "spec": { "replicas": replicas } })
}
