//! What outlives the process: the audit log is the state.

use std::fs::{self, OpenOptions};
use std::io::Write;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::world::{Ask, World, id};
use crate::target::sandbox::server::Server;
use crate::target::{Evidence, Performed, Target};

#[tokio::test]
async fn objects_and_results_survive_a_restart() {
    let mut world = World::new().await;
    let uid = world.created().await;
    let exact = |version: &str| json!({"mode": "exact", "identity": uid, "version": version});
    let (applied, _) = world.perform(&Ask::merge(20, exact("1"))).await;
    let (rejected, _) = world.perform(&Ask::merge(30, exact("1"))).await;
    let outside = json!({"replicas": 7});
    let operator = world.identities("operator").await;
    world.raw(&operator, Method::POST, "/v1/outside/services/checkout", &outside).await.unwrap();
    let live = async |world: &World| match world.live().await {
        crate::decision::LiveState::Present { identity, version, fields, .. } => (identity, version, fields),
        other => panic!("{other:?}"),
    };
    let before = (live(&world).await, world.sandbox.evidence(&applied).await, world.sandbox.evidence(&rejected).await);
    world.stop().await;
    world.start().await;
    let after = (live(&world).await, world.sandbox.evidence(&applied).await, world.sandbox.evidence(&rejected).await);
    assert_eq!(before, after);
    assert!(matches!(after.1, Evidence::Applied { .. }) && matches!(after.2, Evidence::NotApplied { .. }));
    assert_eq!(after.0.1.as_str(), "3");
    let (_, performed) = world.perform(&Ask::merge(20, exact("2"))).await;
    assert!(matches!(performed, Performed::Rejected { .. }), "what drifted from outside, drifted: {performed:?}");
}

#[tokio::test]
async fn a_line_that_was_not_finished_is_removed_and_a_damaged_one_is_not_passed_over() {
    let mut world = World::new().await;
    world.created().await;
    world.stop().await;
    let whole = fs::read(world.audit_file()).unwrap();
    let mut file = OpenOptions::new().append(true).open(world.audit_file()).unwrap();
    file.write_all(&whole[..whole.len() / 2]).unwrap();
    world.start().await;
    assert_eq!(world.version().await, 1);
    assert_eq!(fs::read(world.audit_file()).unwrap(), whole);
    world.stop().await;
    for damage in ["{}\n", "not a line\n", "\n"] {
        let path = world.directory.path().join("damaged.jsonl");
        fs::write(&path, [damage.as_bytes(), &whole].concat()).unwrap();
        let error = Server::open(&path, [id("seb")], [], false).unwrap_err().to_string();
        assert!(error.contains("damaged in line 1"), "{error}");
    }
}

#[tokio::test]
async fn the_audit_log_can_be_paged_through() {
    let world = World::new().await;
    let uid = world.created().await;
    for version in 1..6 {
        let exact = json!({"mode": "exact", "identity": uid, "version": version.to_string()});
        let (_, performed) = world.perform(&Ask::merge(version, exact)).await;
        assert!(matches!(performed, Performed::Succeeded { .. }));
    }
    let operator = world.identities("operator").await;
    let page = async |query: &str| {
        let (status, answer) =
            world.raw(&operator, Method::GET, &format!("/v1/audit{query}"), &Value::Null).await.unwrap();
        assert_eq!(status, StatusCode::OK, "{answer}");
        (answer["entries"].as_array().unwrap().clone(), answer["next"].as_str().unwrap().to_owned())
    };
    let (mut all, mut next) = (Vec::new(), "0".to_owned());
    loop {
        let (entries, after) = page(&format!("?after={next}&limit=4")).await;
        if entries.is_empty() {
            assert_eq!(after, next);
            break;
        }
        assert!(entries.len() <= 4);
        all.extend(entries);
        next = after;
    }
    assert_eq!(all, world.audit());
    assert_eq!(page("").await.0, all);
    for bad in ["?after=x", "?before=1", "?limit=-1"] {
        let path = format!("/v1/audit{bad}");
        let (status, _) = world.raw(&operator, Method::GET, &path, &Value::Null).await.unwrap();
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}");
    }
}
