//! `seb agent` and `seb config`, as a person runs them, against a server.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;
use std::time::Duration;

use seb::config::server::GrpcLimits;
use serde_json::Value;
use tokio::process::Command;

use crate::world::{Act, World};

/// Runs `seb` in the folder of the world.
async fn seb(world: &World, words: &[&str]) -> Output {
    let command = Command::new(env!("CARGO_BIN_EXE_seb")).args(words).current_dir(world.folder()).output();
    tokio::time::timeout(Duration::from_secs(120), command).await.unwrap().unwrap()
}

async fn agent(world: &World, who: &str, words: &[&str]) -> (i32, String) {
    let server = world.address().to_string();
    let connection = ["--server", &server, "--server-id", "spiffe://example.org/server", "--identity", who];
    let output = seb(world, &[words, &connection].concat()).await;
    let told = format!("{}{}", String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    (output.status.code().unwrap(), told)
}

fn json(told: &str) -> Value {
    serde_json::from_str(told).unwrap_or_else(|error| panic!("{error}: {told}"))
}

#[tokio::test]
async fn an_execution_is_told_and_can_be_asked_for() {
    let world = World::start(GrpcLimits::default()).await;
    let certificate = world.certificate(Act::Succeed);
    let (exit, told) = agent(&world, "agent-a", &["agent", "execute", &certificate, "--output", "json"]).await;
    assert_eq!(exit, 0, "{told}");
    let told = json(&told);
    assert_eq!(
        (&told["state"], &told["decision_record"], &told["outcome_record"]),
        (&"succeeded".into(), &7.into(), &8.into())
    );
    assert_eq!((&told["target"], &told["resource"]), (&"prod".into(), &"services/checkout".into()));
    assert_eq!((&told["grade"], &told["version"], &told["detail"]), (&"atomic".into(), &"42".into(), &"done".into()));
    assert!(world.last_trace().is_some_and(|trace| trace.starts_with("00-")), "the command begins a trace");
    let id = told["mutation_id"].as_str().unwrap().to_owned();
    let (exit, told) = agent(&world, "agent-a", &["agent", "status", &id]).await;
    assert!(exit == 0 && told.starts_with("succeeded ") && told.contains("record 8"), "{exit} {told}");
    assert!(told.contains("services/checkout") && told.contains("atomic") && told.contains("done"), "{told}");
    // Its names stand in one column, and its values in the next.
    let values: Vec<_> = told
        .lines()
        .skip(1)
        .map(|line| line.split_once("  ").map(|(_, after)| line.len() - after.trim_start().len()))
        .collect();
    assert!(values.windows(2).all(|pair| pair[0] == pair[1]), "{told}");
    let words =
        ["agent", "execute", &certificate, "--traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"];
    assert_eq!(agent(&world, "agent-a", &words).await.0, 0);
    assert_eq!(world.last_trace().as_deref(), Some(words[4]));
    let words = ["agent", "execute", &certificate, "--traceparent", "none"];
    assert_eq!(agent(&world, "agent-a", &words).await.0, 2, "not a traceparent");
    let (exit, told) = agent(&world, "agent-b", &["agent", "status", &id]).await;
    assert!(exit == 1 && told.starts_with("not_found "), "{exit} {told}");
    let running = world.begin("agent/a").to_string();
    let (exit, told) = agent(&world, "agent-a", &["agent", "status", &running]).await;
    assert!(exit == 3 && told.starts_with("running "), "{exit} {told}");
}

#[tokio::test]
async fn watching_ends_when_it_is_settled() {
    let world = World::start(GrpcLimits::default()).await;
    let id = world.begin("agent/a");
    let text = id.to_string();
    let words = ["agent", "status", &text, "--watch", "--output", "json"];
    let settle = async {
        world.wait_streams(1).await;
        world.settle(&id, seb::execution::State::ReconciledNotApplied);
    };
    let ((exit, told), ()) = tokio::join!(agent(&world, "agent-a", &words), settle);
    assert_eq!(exit, 1, "{told}");
    let states: Vec<_> = told.lines().map(|line| json(line)["state"].as_str().unwrap().to_owned()).collect();
    assert_eq!(states.last().unwrap(), "reconciled_not_applied", "{told}");
}

#[tokio::test]
async fn refusals_say_why_and_exit_by_whether_to_try_again() {
    let world = World::start(GrpcLimits::default()).await;
    for (act, exit, code) in [
        (Act::Forged, 1, "certificate_refused"),
        (Act::Expired, 1, "expired"),
        (Act::Stale, 4, "epoch_stale"),
        (Act::Busy, 4, "server_busy"),
    ] {
        let certificate = world.certificate(act);
        let (found, told) = agent(&world, "agent-a", &["agent", "execute", &certificate]).await;
        assert_eq!(found, exit, "{told}");
        assert!(told.starts_with(&format!("{code} ")) && told.contains("what to do"), "{told}");
        let (found, told) = agent(&world, "agent-a", &["agent", "execute", &certificate, "--output", "json"]).await;
        assert_eq!((found, json(&told)["error"]["reason"].as_str()), (exit, Some(code)));
    }
    let certificate = world.certificate(Act::Hold);
    let (exit, told) = agent(&world, "agent-a", &["agent", "execute", &certificate, "--timeout", "1"]).await;
    assert_eq!(exit, 3, "whether it was performed is not known: {told}");
}

#[tokio::test]
async fn a_check_tells_every_reason() {
    let world = World::start(GrpcLimits::default()).await;
    let (exit, told) =
        agent(&world, "agent-a", &["agent", "execute", &world.certificate(Act::Succeed), "--check"]).await;
    assert!(exit == 0 && told.starts_with("allowed "), "{told}");
    let (exit, told) =
        agent(&world, "agent-a", &["agent", "execute", &world.certificate(Act::Expired), "--check"]).await;
    assert!(exit == 1 && told.contains("expired") && told.contains("drift_version"), "{told}");
    assert_eq!(world.started(), 0);
}

#[tokio::test]
async fn usage_and_absence_have_their_own_statuses() {
    let world = World::start(GrpcLimits::default()).await;
    let certificate = world.certificate(Act::Succeed);
    let (exit, told) = agent(&world, "agent-a", &["agent", "execute", "nothing.pem"]).await;
    assert!(exit == 2 && told.contains("nothing.pem"), "{told}");
    let (exit, _) = agent(&world, "agent-a", &["agent", "execute", &certificate, "--set", "replicas=3"]).await;
    assert_eq!(exit, 2);
    let (exit, told) = agent(&world, "nowhere", &["agent", "execute", &certificate]).await;
    assert!(exit == 2 && told.contains("no identity"), "{told}");
    let words = ["--server", "127.0.0.1:1", "--server-id", "spiffe://example.org/server", "--identity", "agent-a"];
    let output = seb(&world, &[&["agent", "execute", &certificate][..], &words].concat()).await;
    assert_eq!(output.status.code(), Some(4));
    let words = ["--server-id", "spiffe://example.org/other", "--identity", "agent-a", "--server"];
    let server = world.address().to_string();
    let output = seb(&world, &[&["agent", "execute", &certificate][..], &words, &[&server]].concat()).await;
    assert_ne!(output.status.code(), Some(0), "another server than the expected one is not talked to");
    assert_eq!(world.started(), 0);
}

#[tokio::test]
async fn a_configuration_is_checked_without_starting_anything() {
    let world = World::start(GrpcLimits::default()).await;
    let write = |text: &str| std::fs::write(world.folder().join("broker.toml"), text).unwrap();
    let check = async |format: &str| {
        let output = seb(&world, &["config", "check", "broker.toml", "--output", format]).await;
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(check("text").await.0, 2, "there is no such file");
    // The store is to be in a folder of its owner's alone, and the broker is told so before it is started.
    let mode = |mode| std::fs::set_permissions(world.folder(), std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o700);
    let good = "identity.folder = \"server\"\nstore.path = \"b.db\"\nstore.record_key = \"k.pem\"\n";
    write(good);
    assert_eq!(check("text").await, (0, "valid broker.toml\n".to_owned()));
    assert_eq!(json(&check("json").await.1)["valid"], true);
    mode(0o750);
    let (exit, told) = check("text").await;
    assert!(exit == 1 && told.contains("store.path") && told.contains("run `chmod 700 "), "{told}");
    mode(0o700);
    write(&format!("{good}grpc.lisen = 1\nlog.level = \"loud\"\n"));
    let (exit, told) = check("text").await;
    assert_eq!(exit, 1);
    assert!(told.contains("broker.toml:4:6: grpc.lisen there is no such key; did you mean `listen`?"), "{told}");
    assert!(told.ends_with("2 problems to mend\n"), "{told}");
    let told = json(&check("json").await.1);
    assert_eq!((&told["problems"][1]["line"], &told["problems"][1]["key"]), (&5.into(), &"log.level".into()));
}
