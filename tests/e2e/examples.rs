//! The proposals, policies and values of `examples/kubernetes`, as they are there.

use http::StatusCode;
use serde_json::json;
use tokio::process::Command;

use crate::install::example;
use crate::testbed::awaited;
use crate::testbed::client::MERGE;
use crate::world::{CHECKOUT, Options, World};

/// Runs one example: the agent proposes the file, and executes what was admitted.
async fn run(world: &World, agent: &str, file: &str, more: &[&str]) {
    let (status, answer, certificate) = world.propose_file(agent, &example(file)).await;
    assert_eq!((status, &answer["state"]), (0, &json!("admitted")), "{file}: {answer}");
    // The API server rehearses it, with everything that the chart installed.
    let (status, answer) = world.execute(agent, &certificate, &[more, &["--check"]].concat()).await;
    assert_eq!((status, &answer["dry_run"]["result"]), (0, &json!("accepted")), "{file}: {answer}");
    let (status, answer) = world.execute(agent, &certificate, more).await;
    assert_eq!((status, &answer["state"]), (0, &json!("succeeded")), "{file}: {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployer_scales_within_bounds_and_rolls_out() {
    let world = World::new(&Options { examples: true, ..Options::default() }).await;
    let (status, answer, certificate) = world.propose_file("deployer", &example("scale.yaml")).await;
    assert_eq!(status, 0, "{answer}");
    for (replicas, key) in [(20, "morning"), (50, "noon"), (3, "evening")] {
        let value = format!("/spec/replicas={replicas}");
        let (status, answer) =
            world.execute("deployer", &certificate, &["--set", &value, "--idempotency-key", key]).await;
        assert_eq!((status, &answer["state"]), (0, &json!("succeeded")), "{answer}");
        assert_eq!(world.object(CHECKOUT).await["spec"]["replicas"], replicas);
    }
    let words = ["--set", "/spec/replicas=51", "--idempotency-key", "night"];
    let (status, answer) = world.execute("deployer", &certificate, &words).await;
    assert_eq!((status, &answer["error"]["reason"]), (1, &json!("parameter_out_of_bounds")), "{answer}");
    let (status, answer) = world.execute("responder", &certificate, &words).await;
    assert_eq!(status, 1, "a certificate is its holder's: {answer}");
    let (status, answer, _) = world.propose_file("responder", &example("scale.yaml")).await;
    assert_eq!((status, &answer["state"]), (1, &json!("refused")), "{answer}");

    run(&world, "deployer", "rollout.yaml", &[]).await;
    let image = world.object(CHECKOUT).await["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    assert!(image.as_str().unwrap().starts_with("registry.example.org/shop/checkout:2@sha256:"), "{image}");
    // Other containers than the authority saw: it does not scale any more.
    let words = ["--set", "/spec/replicas=4", "--idempotency-key", "midnight"];
    let (status, answer) = world.execute("deployer", &certificate, &words).await;
    assert_eq!((status, &answer["error"]["reason"]), (1, &json!("drift_field")), "{answer}");
    world.verified().await;
}

/// Until a date: then it is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_deployer_scales_until_a_date() {
    let world = World::new(&Options { examples: true, ..Options::default() }).await;
    let text = std::fs::read_to_string(example("scale.yaml")).unwrap();
    let until = seb::clock::now().unwrap().saturating_add(std::time::Duration::from_secs(30));
    let until = seb::timestamp::Timestamp::from_seconds(until.seconds()).unwrap();
    let dated = text.replace("for: 3d", &format!("until: {until}"));
    assert_ne!(dated, text);
    let file = world.fresh("scale.yaml");
    std::fs::write(&file, dated).unwrap();
    let (status, answer, certificate) = world.propose_file("deployer", &file).await;
    assert_eq!((status, &answer["state"]), (0, &json!("admitted")), "{answer}");
    let words = ["--set", "/spec/replicas=20", "--idempotency-key", "one"];
    let (status, answer) = world.execute("deployer", &certificate, &words).await;
    assert_eq!((status, &answer["state"]), (0, &json!("succeeded")), "{answer}");
    awaited("the date", async || {
        let words = ["--set", "/spec/replicas=30", "--check", "--idempotency-key", "two"];
        let (_, answer) = world.execute("deployer", &certificate, &words).await;
        let over = answer.to_string().contains("\"expired\"");
        if over { Ok(()) } else { Err(answer) }
    })
    .await;
    let words = ["--set", "/spec/replicas=30", "--idempotency-key", "two"];
    let (status, answer) = world.execute("deployer", &certificate, &words).await;
    assert_eq!((status, &answer["error"]["reason"]), (1, &json!("expired")), "{answer}");
    assert_eq!(world.object(CHECKOUT).await["spec"]["replicas"], 20);
    world.verified().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_responder_isolates_a_workload_and_takes_a_grant_away() {
    let world = World::new(&Options { examples: true, ..Options::default() }).await;
    let mallory = world.cluster.user("mallory", None);
    let settings = "/api/v1/namespaces/shop/configmaps";
    let (status, answer) = mallory.post(settings, &json!({ "metadata": { "name": "backdoor" } })).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");

    run(&world, "responder", "isolate.yaml", &[]).await;
    let path = "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies/isolate-checkout";
    let policy = world.object(path).await;
    let isolates = json!({
        "podSelector": { "matchLabels": { "app": "checkout" } },
        "policyTypes": ["Ingress", "Egress"],
    });
    assert_eq!(policy["spec"], isolates);
    // It stays, whatever mallory or an administrator does.
    for client in [&mallory, &world.cluster.admin] {
        let (status, answer) = client.delete(path).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
    }

    run(&world, "responder", "revoke.yaml", &[]).await;
    let grant = "/apis/rbac.authorization.k8s.io/v1/namespaces/shop/rolebindings/mallory-edits";
    assert_eq!(world.cluster.admin.get(grant).await.0, StatusCode::NOT_FOUND);
    awaited("the end of the grant", async || {
        let path = format!("{settings}/backdoor");
        let (status, answer) = mallory.patch(&path, MERGE, &json!({ "data": { "more": "harm" } })).await;
        if status == StatusCode::FORBIDDEN { Ok(()) } else { Err(answer) }
    })
    .await;
    let (status, answer, _) = world.propose_file("deployer", &example("isolate.yaml")).await;
    assert_eq!((status, &answer["state"]), (1, &json!("refused")), "{answer}");
    world.verified().await;
}

#[tokio::test]
async fn the_policies_of_the_examples_pass_their_own_tests() {
    let output = Command::new(env!("CARGO_BIN_EXE_sab")).args(["policy", "check"]).arg(example("policies")).output();
    let output = output.await.unwrap();
    assert!(output.status.success(), "{output:?}");
}
