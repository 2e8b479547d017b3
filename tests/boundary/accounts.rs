//! The attacks on the exchange `service-account`, where the broker's own service account asks for executors' tokens.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::attacks::{bound_request, ending, lasting_token, token_request};
use crate::testbed::awaited;
use crate::testbed::client::Client;
use crate::world::{Answer, BINDINGS, World, annotates, asks, binding, config_map};

/// A protected object of the target `shop`, and another that it does not name.
pub const SETTINGS: &str = "/api/v1/namespaces/shop/configmaps/settings";
const OUTSIDE: &str = "/apis/apps/v1/namespaces/shop/deployments/checkout";
const SECRETS: &str = "/api/v1/namespaces/seb-system/secrets";
const NAMESPACES: &str = "/api/v1/namespaces";
const POD: &str = "/api/v1/namespaces/seb-system/pods/seb-broker-0";

/// Tries the attack of this name: the answer.
pub async fn attempt(world: &World, name: &str) -> Answer {
    let masters = &world.masters;
    match name {
        "account-token" => masters.post(&tokens_of("seb-executor-shop"), &token_request(600)).await,
        "account-tries-token" => masters.post(&tokens_of("seb-rehearser-shop"), &token_request(600)).await,
        "account-secret" => world.installer().post(SECRETS, &lasting_token("seb-executor-shop")).await,
        "account-bound" => masters.post(SECRETS, &ending("try")).await,
        "account-broker" => masters.post(&tokens_of("seb-broker"), &token_request(600)).await,
        _ => as_broker(world, name).await,
    }
}

/// With the token that the node of the broker's Pod gets for it.
async fn as_broker(world: &World, name: &str) -> Answer {
    let broker = broker(world).await;
    let executors = tokens_of("seb-executor-shop");
    match name {
        "account-direct" => annotates(&broker, SETTINGS).await,
        "account-widened" => widened(world, &broker).await,
        "account-unbound" => broker.post(&executors, &token_request(600)).await,
        "account-of-a-pod" => broker.post(&executors, &bound_request(600, "Pod", &pod(world).await)).await,
        "account-long" => {
            let secret = secret(&broker, "long").await;
            broker.post(&executors, &bound_request(3600, "Secret", &secret)).await
        }
        "account-other" => broker.post(&tokens_of("default"), &token_request(600)).await,
        "account-theft" => asks(&broker, Method::GET, &format!("{SECRETS}/sab-authority")).await,
        "account-data" => {
            let mut secret = ending("data");
            secret["data"] = json!({ "key": "c2VjcmV0" });
            broker.post(SECRETS, &secret).await
        }
        "account-deletion" => broker.delete(&format!("{SECRETS}/sab-authority")).await,
        "account-outside" => {
            let secret = secret(&broker, "outside").await;
            annotates(&token(world, &broker, &secret).await, OUTSIDE).await
        }
        "account-tries-long" => broker.post(&tokens_of("seb-rehearser-shop"), &token_request(3600)).await,
        "account-tries-done" => annotates(&rehearser(world, &broker).await, SETTINGS).await,
        "account-tries-delete" => {
            let options = json!({ "apiVersion": "v1", "kind": "DeleteOptions" });
            let path = format!("{SETTINGS}?dryRun=All");
            let rehearser = rehearser(world, &broker).await;
            rehearser.send(Method::DELETE, &path, "application/json", &options).await.unwrap()
        }
        "account-tries-name" => {
            token_of(world, &broker, "seb-rehearser-spaces", None).await.post(NAMESPACES, &space("team-b")).await
        }
        "account-creates-name" => {
            let secret = secret(&broker, "creates").await;
            token_of(world, &broker, "seb-executor-spaces", Some(&secret))
                .await
                .post(NAMESPACES, &space("team-b"))
                .await
        }
        "account-tries-outside" => annotates(&rehearser(world, &broker).await, &format!("{OUTSIDE}?dryRun=All")).await,
        "account-taken" => {
            let secret = secret(&broker, "taken").await;
            token(world, &broker, &secret).await.delete(SETTINGS).await
        }
        _ => panic!("nobody wrote `{name}`"),
    }
}

/// What there is to attack.
pub async fn prepare(world: &World) {
    let installer = world.installer();
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "sab-authority" } });
    // The Node authorizer, which does not run here, lets a node do the same for its own Pods.
    let nodes = binding("nodes", "system:node", "Group", "system:nodes");
    for (path, body) in [(SECRETS, &secret), (BINDINGS, &nodes)] {
        let (status, answer) = installer.post(path, body).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
    }
    // What is protected only the broker makes.
    let executor = awaited("the broker's leave", async || {
        let broker = broker(world).await;
        let (status, answer) = broker.post(SECRETS, &ending("first")).await;
        if status != StatusCode::CREATED {
            return Err((status, answer));
        }
        Ok(token(world, &broker, &answer).await)
    })
    .await;
    let (status, answer) = executor.post("/api/v1/namespaces/shop/configmaps", &config_map("settings")).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
}

/// What the account is for that the attacks misuse.
pub async fn rehearses(world: &World) {
    let rehearser = rehearser(world, &broker(world).await).await;
    let settings = async || world.cluster.admin.get(SETTINGS).await.1;
    let before = settings().await;
    let spaces = token_of(world, &broker(world).await, "seb-rehearser-spaces", None).await;
    let (status, answer) = spaces.post(&format!("{NAMESPACES}?dryRun=All"), &space("team-a")).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    let (status, answer) = annotates(&rehearser, &format!("{SETTINGS}?dryRun=All")).await;
    assert_eq!((status, &answer["metadata"]["annotations"]["tried"]), (StatusCode::OK, &json!("yes")), "{answer}");
    assert_eq!(settings().await, before, "a rehearsal changes nothing");
}

/// A client with a token of the service account that rehearses, made as the broker makes it.
async fn rehearser(world: &World, broker: &Client) -> Client {
    token_of(world, broker, "seb-rehearser-shop", None).await
}

/// A client with a token of this account, bound to this Secret.
async fn token_of(world: &World, broker: &Client, account: &str, secret: Option<&Value>) -> Client {
    let request = secret.map_or_else(|| token_request(600), |secret| bound_request(600, "Secret", secret));
    let (status, answer) = broker.post(&tokens_of(account), &request).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    world.cluster.anonymous().with_bearer(answer["status"]["token"].as_str().unwrap())
}

fn space(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } })
}

fn tokens_of(account: &str) -> String {
    format!("/api/v1/namespaces/seb-system/serviceaccounts/{account}/token")
}

/// The broker's Pod.
async fn pod(world: &World) -> Value {
    awaited("the broker's pod", async || {
        let answer = world.cluster.admin.get(POD).await;
        if answer.0 == StatusCode::OK { Ok(answer.1) } else { Err(answer) }
    })
    .await
}

async fn broker(world: &World) -> Client {
    let node = world.cluster.user("system:node:node", Some("system:nodes"));
    let body = bound_request(3600, "Pod", &pod(world).await);
    let token = awaited("the token of the broker's pod", async || {
        let (status, answer) = node.post(&tokens_of("seb-broker"), &body).await;
        answer["status"]["token"].as_str().map(str::to_owned).ok_or((status, answer.clone()))
    })
    .await;
    world.cluster.anonymous().with_bearer(&token)
}

async fn secret(broker: &Client, name: &str) -> Value {
    let (status, answer) = broker.post(SECRETS, &ending(name)).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    answer
}

/// A client with a token of the executor, made as the broker makes it.
async fn token(world: &World, broker: &Client, secret: &Value) -> Client {
    token_of(world, broker, "seb-executor-shop", Some(secret)).await
}

/// RBAC gives the broker more; the policy does not.
async fn widened(world: &World, broker: &Client) -> Answer {
    let mut grant = binding("widened", "cluster-admin", "ServiceAccount", "seb-broker");
    grant["subjects"][0]["namespace"] = json!("seb-system");
    grant["subjects"][0].as_object_mut().unwrap().remove("apiGroup");
    let (status, answer) = world.installer().post(BINDINGS, &grant).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    awaited("the wider role", async || {
        let answer = asks(broker, Method::GET, "/api/v1/namespaces/kube-system/configmaps").await;
        if answer.0 == StatusCode::OK { Ok(()) } else { Err(answer) }
    })
    .await;
    let answer = annotates(broker, SETTINGS).await;
    let (status, removed) = world.installer().delete(&format!("{BINDINGS}/widened")).await;
    assert_eq!(status, StatusCode::OK, "{removed}");
    awaited("the end of the wider role", async || {
        let answer = asks(broker, Method::GET, "/api/v1/namespaces/kube-system/configmaps").await;
        if answer.0 == StatusCode::FORBIDDEN { Ok(()) } else { Err(answer) }
    })
    .await;
    answer
}
