//! What goes wrong between the parts: the world drifts after the decision, servers stop, die and come back, clocks step.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::StatusCode;
use seb::clock::Clock;
use seb::config::broker::BrokerConfig;
use seb::runtime;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::install;
use crate::testbed::client::Client;
use crate::testbed::{PATIENCE, awaited};
use crate::world::{CHECKOUT, Options, World};

/// Three replicas become so many, if they are as the authority saw them.
fn scale(replicas: u32) -> Value {
    json!({ "change": { "kind": "scale", "namespace": "shop", "name": "checkout", "replicas": replicas } })
}

/// What the cluster's autoscaler does: it alone is exempted from the policies, for this.
async fn autoscales(autoscaler: &Client, replicas: u32) {
    let path = format!("{CHECKOUT}/scale");
    let (_, mut scale) = autoscaler.get(&path).await;
    scale["spec"]["replicas"] = replicas.into();
    let (status, answer) = autoscaler.put(&path, &scale).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

/// Waits until the broker has decided once more than `before`.
async fn decided(world: &World, before: usize) {
    awaited("the decision", async || {
        let count = world.decisions("allow").await;
        if count > before { Ok(()) } else { Err(count) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_to_five_is_refused_by_the_api_server_when_the_autoscaler_makes_it_seven_after_the_decision() {
    let world = World::new(&Options::default()).await;
    let autoscaler = install::autoscaler(&world.cluster).await;
    let certificate = world.certificate(&scale(5)).await;
    // Decided and recorded; the identity is not minted yet.
    world.spire.server.pause();
    let execute = world.execute("deployer", &certificate, &[]);
    let drift = async {
        decided(&world, 0).await;
        autoscales(&autoscaler, 7).await;
        world.spire.server.resume();
    };
    let ((status, answer), ()) = tokio::join!(execute, drift);
    assert_eq!((status, &answer["state"]), (1, &json!("rejected")), "{answer}");
    assert_eq!(answer["rejection"], "precondition", "{answer}");
    assert!(answer["detail"].as_str().unwrap().contains("422"), "the API server's own answer: {answer}");
    let object = world.object(CHECKOUT).await;
    assert_eq!(object["spec"]["replicas"], 7);
    assert_eq!(object["metadata"]["annotations"]["seb.dev/mutation"], Value::Null, "{object}");

    // Before the decision it is seen by the broker itself, and nothing is sent.
    let (status, answer) = world.execute("deployer", &world.certificate(&scale(6)).await, &["--check"]).await;
    assert_eq!(status, 0, "{answer}");
    let certificate = world.certificate(&scale(6)).await;
    autoscales(&autoscaler, 8).await;
    let (status, answer) = world.execute("deployer", &certificate, &[]).await;
    assert_eq!((status, &answer["error"]["reason"]), (1, &json!("drift_field")), "{answer}");
    world.verified().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_the_api_server_dies_between_request_and_answer() {
    let mut world = World::new(&Options::default()).await;
    // There is a connection then, over which the next request goes.
    world.performs(&scale(4)).await;
    let certificate = world.certificate(&scale(5)).await;
    world.spire.server.pause();
    let execute = world.execute("deployer", &certificate, &[]);
    let lost = async {
        decided(&world, 1).await;
        world.wire.hold_answers();
        world.spire.server.resume();
        world.wire.answered().await;
        world.cluster.api_server.pause();
        world.wire.cut();
    };
    let ((status, answer), ()) = tokio::join!(execute, lost);
    assert_eq!((status, &answer["state"]), (3, &json!("unknown")), "{answer}");
    world.cluster.api_server.kill();
    world.wire.release_answers();
    let mutation = answer["mutation_id"].as_str().unwrap().to_owned();
    // Nobody can say what became of it, and nothing new begins.
    let (status, answer) = world.execute("deployer", &certificate, &[]).await;
    assert_eq!((status, &answer["state"]), (3, &json!("unknown")), "the same answer, and no second try: {answer}");
    let (status, answer, _) = world.propose(&scale(6), "30s").await;
    assert_eq!(status, 4, "{answer}");

    world.cluster.api_server.restart();
    world.cluster.ready().await;
    let (status, answer) = world.settled(&mutation).await;
    assert_eq!((status, &answer["state"]), (0, &json!("reconciled_applied")), "{answer}");
    let object = world.object(CHECKOUT).await;
    assert_eq!(object["spec"]["replicas"], 5);
    assert_eq!(object["metadata"]["annotations"]["seb.dev/mutation"].as_str(), Some(mutation.as_str()));
    let once = |event: &&Value| event["requestObject"].to_string().contains(&mutation);
    assert_eq!(world.cluster.audit().iter().filter(once).count(), 1, "it was sent once");
    world.performs(&scale(6)).await;
    world.verified().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_etcd_stands_still() {
    let world = World::new(&Options::default()).await;
    let (status, answer, certificate) = world.propose(&scale(5), "4s").await;
    assert_eq!(status, 0, "{answer}");
    world.spire.server.pause();
    let execute = world.execute("deployer", &certificate, &[]);
    let stop = async {
        decided(&world, 0).await;
        world.cluster.etcd.pause();
        world.spire.server.resume();
    };
    let ((status, answer), ()) = tokio::join!(execute, stop);
    assert_eq!((status, &answer["state"]), (3, &json!("unknown")), "{answer}");
    // Neither is anything admitted that cannot be read.
    let (status, refused, _) = world.propose(&scale(6), "30s").await;
    assert_eq!(status, 4, "{refused}");
    world.cluster.etcd.resume();
    let (status, answer) = world.settled(answer["mutation_id"].as_str().unwrap()).await;
    let object = world.object(CHECKOUT).await;
    match (status, answer["state"].as_str(), object["spec"]["replicas"].as_u64()) {
        (0, Some("reconciled_applied"), Some(5)) | (1, Some("reconciled_not_applied"), Some(3)) => {}
        other => panic!("{other:?}: {answer}"),
    }
    world.performs(&scale(6)).await;
    world.verified().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_of_the_trust_domain_fails_no_execution() {
    let world = Arc::new(World::new(&Options { svid_seconds: 30, ..Options::default() }).await);
    let (count, end) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let load = {
        let (world, count, end) = (Arc::clone(&world), Arc::clone(&count), Arc::clone(&end));
        tokio::spawn(async move {
            while !end.load(Ordering::SeqCst) {
                let number = count.load(Ordering::SeqCst);
                world.performs(&scale(4 + u32::try_from(number % 40).unwrap())).await;
                count.fetch_add(1, Ordering::SeqCst);
            }
        })
    };
    let more = async |what: &str| {
        let goal = count.load(Ordering::SeqCst) + 4;
        awaited(what, async || {
            assert!(!load.is_finished(), "an execution failed");
            let now = count.load(Ordering::SeqCst);
            if now >= goal { Ok(()) } else { Err(now) }
        })
        .await;
    };
    let log = |process: &crate::testbed::process::Process| process.log();
    let renewed = |name: &str| {
        let process = if name == "seb" { &world.broker } else { &world.authority };
        log(process).matches("an identity came from the Workload API").count()
    };
    let spire = &world.spire;
    more("executions before").await;
    let old = spire.active_authority().await;
    let before = (renewed("seb"), renewed("sab"));
    let new = spire.prepare_authority().await;
    awaited("the next authority in both", async || {
        let now = (renewed("seb"), renewed("sab"));
        if now.0 > before.0 && now.1 > before.1 { Ok(()) } else { Err(now) }
    })
    .await;
    spire.activate_authority(&new).await;
    // What the platform team keeps in files is issued anew, and read again without a restart.
    for (path, folder) in [("sab", "sab-authority"), ("agent/deployer", "deployer")] {
        spire.mint_folder(path, "12h", &world.folder.join(folder)).await;
    }
    more("executions under both").await;
    let before = (renewed("seb"), renewed("sab"));
    spire.taint_authority(&old).await;
    awaited("identities by the new authority", async || {
        let now = (renewed("seb"), renewed("sab"));
        if now.0 > before.0 && now.1 > before.1 { Ok(()) } else { Err(now) }
    })
    .await;
    more("executions under the new authority").await;
    spire.revoke_authority(&old).await;
    more("executions without the old authority").await;
    more("more of them").await;
    end.store(true, Ordering::SeqCst);
    load.await.unwrap();
    let total = count.load(Ordering::SeqCst);
    println!("{total} executions");
    assert_eq!(world.decisions("allow").await, total);
    assert_eq!(world.decisions("deny").await, 0);
    world.verified().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_without_the_spire_server_nothing_is_executed_and_everything_comes_back_by_itself() {
    let mut world = World::new(&Options { svid_seconds: 20, ..Options::default() }).await;
    world.performs(&scale(4)).await;
    let certificate = world.certificate(&scale(5)).await;
    world.spire.server.kill();
    // The broker is who it was, and nobody mints.
    let (status, answer) = world.execute("deployer", &certificate, &[]).await;
    assert_eq!((status, &answer["state"]), (1, &json!("not_started")), "{answer}");
    let unused = world.certificate(&scale(6)).await;
    // Longer than its identity lives.
    awaited("the end of the broker's identity", async || match world.readiness().await {
        (503, answer) if answer.contains("ended at") => Ok(()),
        other => Err(other),
    })
    .await;
    let (status, _) = world.execute("deployer", &unused, &["--timeout", "5"]).await;
    assert_ne!(status, 0);
    assert_eq!(world.object(CHECKOUT).await["spec"]["replicas"], 4, "nothing was done");
    world.spire.server.restart();
    world.spire.ready().await;
    world.ready().await;
    let (status, answer) = world.execute("deployer", &unused, &[]).await;
    assert_eq!((status, &answer["state"]), (0, &json!("succeeded")), "{answer}");
    assert_eq!(world.object(CHECKOUT).await["spec"]["replicas"], 6);
    world.verified().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_a_broker_whose_clock_steps_executes_nothing_until_it_is_right_again() {
    let mut world = World::new(&Options::default()).await;
    world.performs(&scale(4)).await;
    // The same broker in this process, by a clock that can be stepped.
    assert!(world.broker.stop().await.success());
    let config = BrokerConfig::load(&world.folder.join("seb/broker.toml")).unwrap();
    let clock = Clock::system();
    let (stop, stopped) = oneshot::channel::<()>();
    let own = clock.clone();
    let running = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(runtime::broker(config, own, async move { drop(stopped.await) }, |_| Ok(())))
    });
    let ready = async || {
        awaited("the broker", async || {
            let (status, said) = crate::world::get(&world.ports.broker_http, "/readyz").await?;
            anyhow::ensure!(status == 200, "{said}");
            Ok(())
        })
        .await;
    };
    ready().await;
    for step in [-7_200_000, -10_000, 10_000, 7_200_000_i64] {
        let certificate = world.certificate(&scale(5)).await;
        clock.step(step);
        let (status, answer) = world.execute("deployer", &certificate, &[]).await;
        assert_eq!((status, &answer["error"]["reason"]), (4, &json!("clock_skew")), "{step}: {answer}");
        assert_eq!(world.object(CHECKOUT).await["spec"]["replicas"], 4, "{step}");
        clock.step(-step);
        ready().await;
    }
    world.performs(&scale(5)).await;
    drop(stop);
    tokio::time::timeout(PATIENCE + Duration::from_secs(30), running).await.unwrap().unwrap().unwrap();
    world.verified().await;
}
