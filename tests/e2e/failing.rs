//! What goes wrong between the parts: the world drifts after the decision, servers stop, die and come back, clocks step.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::StatusCode;
use seb::clock::Clock;
use seb::config::broker::BrokerConfig;
use seb::runtime;
use serde_json::{Value, json};
use tokio::sync::{RwLock, oneshot};
use tokio::task::JoinSet;

use crate::install;
use crate::testbed::client::Client;
use crate::testbed::spire::Update;
use crate::testbed::{PATIENCE, awaited};
use crate::world::{CHECKOUT, Options, World};

/// Three replicas become so many, if they are as the authority saw them.
fn scale(replicas: u32) -> Value {
    json!({ "change": { "kind": "scale", "namespace": "shop", "name": "checkout", "replicas": replicas } })
}

/// So many replicas, if nothing at all of the object has changed: nothing has to be read to say so.
fn exactly(replicas: u32) -> Value {
    json!({ "mutation": {
        "verb": "merge-patch",
        "resource": { "group": "apps", "version": "v1", "resource": "deployments", "namespace": "shop", "name": "checkout" },
        "body": { "spec": { "replicas": replicas } },
    } })
}

/// What the cluster's autoscaler does: it alone is exempted from the policies, for this.
async fn autoscales(autoscaler: &Client, replicas: u32) {
    let path = format!("{CHECKOUT}/scale");
    let (_, mut scale) = autoscaler.get(&path).await;
    scale["spec"]["replicas"] = replicas.into();
    let (status, answer) = autoscaler.put(&path, &scale).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

/// A world whose broker reads nothing before it decides, so that the next octets on its wire are those of the call.
async fn unread() -> World {
    World::new(&Options { read_before: false, ..Options::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn three_to_five_is_refused_by_the_api_server_when_the_autoscaler_makes_it_seven_after_the_decision() {
    let world = unread().await;
    let autoscaler = install::autoscaler(&world.cluster).await;
    let certificate = world.certificate(&exactly(5)).await;
    // Decided and recorded; the connection for the call is not there yet.
    world.wire.hold_answers();
    let execute = world.execute("deployer", &certificate, &[]);
    let drift = async {
        world.wire.answered().await;
        assert_eq!(world.decisions("allow").await, 1);
        autoscales(&autoscaler, 7).await;
        world.wire.release_answers();
    };
    let ((status, answer), ()) = tokio::join!(execute, drift);
    assert_eq!((status, &answer["state"]), (1, &json!("rejected")), "{answer}");
    assert_eq!(
        (&answer["reason"], &answer["rejection"]),
        (&json!("drift_version"), &json!("precondition")),
        "{answer}"
    );
    assert!(answer["detail"].as_str().unwrap().contains("409 Conflict"), "the API server's own answer: {answer}");
    assert!(answer["detail"].as_str().unwrap().contains("drift_version: certified is `"), "both versions: {answer}");
    let mutation = answer["mutation_id"].as_str().unwrap();
    let audited = world.cluster.audit();
    let sent = |event: &&Value| event["verb"] == "patch" && event["userAgent"].to_string().contains(mutation);
    assert_eq!(audited.iter().filter(sent).count(), 1, "it is not tried again");
    let object = world.object(CHECKOUT).await;
    assert_eq!(object["spec"]["replicas"], 7);
    assert_eq!(object["metadata"]["annotations"]["seb.dev/mutation"], Value::Null, "{object}");
    world.verified().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_the_api_server_dies_between_request_and_answer() {
    let mut world = unread().await;
    // There is a connection then, over which the next request goes.
    world.performs(&exactly(4)).await;
    let certificate = world.certificate(&exactly(5)).await;
    world.wire.hold_answers();
    let execute = world.execute("deployer", &certificate, &[]);
    let lost = async {
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
    let (status, answer, _) = world.propose(&exactly(6), "30s").await;
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
    world.performs(&exactly(6)).await;
    world.verified().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_etcd_stands_still() {
    let world = unread().await;
    let (status, answer, certificate) = world.propose(&exactly(5), "4s").await;
    assert_eq!(status, 0, "{answer}");
    world.cluster.etcd.pause();
    let (status, answer) = world.execute("deployer", &certificate, &[]).await;
    assert_eq!((status, &answer["state"]), (3, &json!("unknown")), "{answer}");
    // Neither is anything admitted that cannot be read.
    let (status, refused, _) = world.propose(&exactly(6), "30s").await;
    assert_eq!(status, 4, "{refused}");
    world.cluster.etcd.resume();
    let (status, answer) = world.settled(answer["mutation_id"].as_str().unwrap()).await;
    let object = world.object(CHECKOUT).await;
    match (status, answer["state"].as_str(), object["spec"]["replicas"].as_u64()) {
        (0, Some("reconciled_applied"), Some(5)) | (1, Some("reconciled_not_applied"), Some(3)) => {}
        other => panic!("{other:?}: {answer}"),
    }
    world.performs(&exactly(6)).await;
    world.verified().await;
}

/// The target is asked before the decision, and its answer does not come, or comes when the certificate is revoked.
#[tokio::test(flavor = "multi_thread")]
async fn i2_i3_a_dry_run_that_takes_its_time_uses_nothing_and_outlasts_no_revocation() {
    let world = unread().await;
    let tried = |replicas: u32| {
        let mut step = exactly(replicas);
        step["dry_run"] = json!(true);
        step
    };
    // There is a connection then, over which the next request goes.
    world.performs(&exactly(2)).await;
    let certificate = world.certificate(&tried(4)).await;
    world.wire.hold_answers();
    let (status, refused) = world.execute("deployer", &certificate, &[]).await;
    assert_eq!((status, &refused["error"]["reason"]), (4, &json!("dry_run_unknown")), "{refused}");
    assert!(refused.to_string().contains("in time"), "{refused}");
    world.wire.release_answers();
    let (status, answer) = world.execute("deployer", &certificate, &[]).await;
    assert_eq!((status, &answer["state"]), (0, &json!("succeeded")), "{answer}");

    let certificate = world.certificate(&tried(5)).await;
    world.wire.hold_answers();
    let execute = world.execute("deployer", &certificate, &[]);
    let revoked = async {
        world.wire.answered().await;
        let (_, checked) = world.execute("deployer", &certificate, &["--check"]).await;
        assert!(checked.to_string().contains("the same call is being tried already"), "{checked}");
        revokes(&world, "agent/deployer").await;
        world.wire.release_answers();
    };
    let ((status, refused), ()) = tokio::join!(execute, revoked);
    assert_eq!((status, &refused["error"]["reason"]), (1, &json!("revoked_holder")), "{refused}");
    assert_eq!(world.object(CHECKOUT).await["spec"]["replicas"], 4);
    world.verified().await;
}

/// Takes back everything that an agent was certified for, and waits until the broker knows.
async fn revokes(world: &World, agent: &str) {
    let (holder, id) = (world.spire.id(agent), world.spire.id("sab"));
    let words = ["revoke", "--holder", &holder, "--cause", "a test", "--server", &world.ports.authority];
    let more = ["--server-id", &id, "--identity", "operator"];
    let (status, answer) = world.sab(&[&words[..], &more].concat()).await;
    assert_eq!((status, &answer["brokers"][0]["acknowledged"]), (0, &json!(true)), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_what_is_revoked_after_the_decision_is_not_sent() {
    let world = unread().await;
    // A young authority waits for the leases that the one before it may have given.
    revokes(&world, "agent/nobody").await;
    let certificate = world.certificate(&exactly(5)).await;
    world.wire.hold_answers();
    let execute = world.execute("deployer", &certificate, &[]);
    let revoke = async {
        world.wire.answered().await;
        revokes(&world, "agent/deployer").await;
        world.wire.release_answers();
    };
    let ((status, answer), ()) = tokio::join!(execute, revoke);
    assert_eq!((status, &answer["state"]), (1, &json!("aborted")), "{answer}");
    assert!(answer["detail"].as_str().unwrap().starts_with("revoked_holder"), "{answer}");
    assert_eq!(world.object(CHECKOUT).await["spec"]["replicas"], 3);
    let mutation = answer["mutation_id"].as_str().unwrap();
    assert!(!world.cluster.audit().iter().any(|event| event.to_string().contains(mutation)), "nothing arrived");
    world.verified().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_the_broker_dies_between_request_and_answer() {
    let mut world = unread().await;
    world.performs(&exactly(4)).await;
    let certificate = world.certificate(&exactly(5)).await;
    world.wire.hold_answers();
    let execute = world.execute("deployer", &certificate, &[]);
    let lost = async {
        world.wire.answered().await;
        world.broker.signal("KILL");
    };
    let ((status, answer), ()) = tokio::join!(execute, lost);
    assert!([3, 4].contains(&status), "{status} {answer}");
    world.wire.cut();
    world.wire.release_answers();
    world.broker.kill();
    world.broker.restart();
    world.ready().await;
    // The same request has the same answer, which evidence at the API server gave.
    let answer = awaited("the end of the execution", async || {
        let (status, answer) = world.execute("deployer", &certificate, &[]).await;
        if status == 0 { Ok(answer) } else { Err((status, answer)) }
    })
    .await;
    assert_eq!(answer["state"], "reconciled_applied", "{answer}");
    let mutation = answer["mutation_id"].as_str().unwrap();
    let once = |event: &&Value| event["requestObject"].to_string().contains(mutation);
    assert_eq!(world.cluster.audit().iter().filter(once).count(), 1, "it was sent once");
    assert_eq!(world.object(CHECKOUT).await["spec"]["replicas"], 5);
    world.verified().await;
}

/// Agents that make objects one after the other; none may fail.
pub struct Load {
    world: Arc<World>,
    /// The folder with the agents' identity; read for as long as it is in use.
    identity: RwLock<&'static str>,
    count: AtomicUsize,
    end: AtomicBool,
}

impl Load {
    pub fn start(world: &Arc<World>, agents: usize) -> (Arc<Self>, JoinSet<()>) {
        let identity = RwLock::new("deployer");
        let load = Arc::new(Self {
            world: Arc::clone(world),
            identity,
            count: AtomicUsize::new(0),
            end: AtomicBool::new(false),
        });
        let mut tasks = JoinSet::new();
        for _ in 0..agents {
            tasks.spawn(Arc::clone(&load).run());
        }
        (load, tasks)
    }

    async fn run(self: Arc<Self>) {
        while !self.end.load(Ordering::SeqCst) {
            let name = format!("made-{}", self.count.fetch_add(1, Ordering::SeqCst));
            let mutation = json!({
                "verb": "create",
                "resource": { "group": "", "version": "v1", "resource": "configmaps", "namespace": "shop", "name": name },
                "body": { "metadata": { "name": name } },
            });
            let identity = self.identity.read().await;
            let file = self.world.proposal(&json!({ "mutation": mutation }), "30s");
            let (status, answer, certificate) = self.world.propose_file(&identity, &file).await;
            assert_eq!(status, 0, "{name}: {answer}");
            let (status, answer) = self.world.execute(&identity, &certificate, &[]).await;
            assert_eq!((status, &answer["state"]), (0, &json!("succeeded")), "{name}: {answer}");
        }
    }

    /// Waits for more executions.
    pub async fn more(&self, what: &str) {
        let goal = self.count.load(Ordering::SeqCst) + 8;
        awaited(what, async || {
            let now = self.count.load(Ordering::SeqCst);
            if now >= goal { Ok(()) } else { Err(now) }
        })
        .await;
    }

    /// Ends it: every execution was allowed, succeeded, and made what it should. How many there were.
    pub async fn ends(&self, tasks: JoinSet<()>) -> usize {
        self.end.store(true, Ordering::SeqCst);
        tasks.join_all().await;
        let total = self.count.load(Ordering::SeqCst);
        assert_eq!(self.world.decisions("allow").await, total);
        assert_eq!(self.world.decisions("deny").await, 0);
        let made = self.world.object("/api/v1/namespaces/shop/configmaps").await;
        assert_eq!(made["items"].as_array().unwrap().len(), total, "each was made");
        total
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_of_the_trust_domain_fails_no_execution() {
    let world = Arc::new(World::new(&Options { svid_seconds: 30, ..Options::default() }).await);
    let (load, tasks) = Load::start(&world, 3);
    let updates = || [&world.broker, &world.authority].map(|it| Update::last(&it.log()));
    // The next step waits until everybody has taken the one before, as it does in operation.
    let authorities = async |what: &str, count: usize| {
        awaited(what, async || {
            let now = updates().map(|it| it.map_or(0, |it| it.authorities));
            if now == [count; 2] { Ok(()) } else { Err(now) }
        })
        .await;
    };
    let spire = &world.spire;
    load.more("executions before").await;
    let old = spire.active_authority().await;
    let new = spire.prepare_authority().await;
    authorities("the next authority", 2).await;
    // An agent with its identity in files must know the next authority before anybody is who it is by that.
    spire.mint_folder("agent/deployer", "12h", &world.folder.join("deployer-both")).await;
    *load.identity.write().await = "deployer-both";
    load.more("executions by an agent that knows both").await;
    spire.activate_authority(&new).await;
    let before = updates();
    // What is kept in files is issued anew, and the authority reads its own again without a restart.
    spire.mint_folder("sab", "12h", &world.folder.join("sab-authority")).await;
    spire.mint_folder("agent/deployer", "12h", &world.folder.join("deployer-anew")).await;
    *load.identity.write().await = "deployer-anew";
    load.more("executions under both").await;
    spire.taint_authority(&old).await;
    awaited("identities by the new authority", async || {
        let now = updates();
        if now.iter().zip(&before).all(|(now, before)| now != before) { Ok(()) } else { Err(now) }
    })
    .await;
    load.more("executions under the new authority").await;
    spire.revoke_authority(&old).await;
    authorities("the end of the old authority", 1).await;
    load.more("executions without the old authority").await;
    println!("{} executions", load.ends(tasks).await);
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
            let (status, said) = crate::people::get(&world.ports.broker_http, "/readyz").await?;
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
        // Once the authority was heard by the right time.
        awaited("what the broker would allow", async || {
            let (_, answer) = world.execute("deployer", &certificate, &["--check"]).await;
            if answer["allowed"] == true { Ok(()) } else { Err(answer) }
        })
        .await;
    }
    world.performs(&scale(5)).await;
    drop(stop);
    tokio::time::timeout(PATIENCE + Duration::from_secs(30), running).await.unwrap().unwrap().unwrap();
    world.verified().await;
}
