//! Who may do what: everything else is refused, and written down.

use std::sync::Arc;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::world::{Ask, World, id, now, permit};
use crate::identity::embedded::Forged;
use crate::identity::{Identities, execution_id};
use crate::target::sandbox::wire::Mutation;
use crate::timestamp::Timestamp;

const CHECKOUT: &str = "/v1/objects/services/checkout";

/// The body of a request for the call, and the mutation id in it.
fn request(ask: &Ask) -> (Value, crate::decision::MutationId) {
    let permit = permit(ask);
    let mutation = Mutation::of(permit.terms()).unwrap();
    (serde_json::from_str(&mutation.to_json().to_canonical()).unwrap(), mutation.id)
}

fn forge(world: &World, by: Forged, path: &str, from: i64, until: i64) -> Identities {
    let at = |seconds: i64| Timestamp::from_seconds(now().seconds().checked_add_signed(seconds).unwrap()).unwrap();
    watch::channel(Arc::new(world.domain.forge(by, &id(path), at(from), at(until)))).1
}

#[tokio::test]
async fn i5_only_identities_minted_for_this_very_mutation_change_anything() {
    let world = World::new().await;
    let (body, mutation) = request(&Ask::create());
    let (_, other) = request(&Ask::create());
    let trust_domain = world.domain.trust_domain();
    let path = |mutation| execution_id(trust_domain, mutation).unwrap().path().trim_start_matches('/').to_owned();
    let who = [
        ("the agent", world.identities("agent").await),
        ("the broker itself", world.identities("seb").await),
        ("the authority", world.identities("sab").await),
        ("the operator", world.identities("operator").await),
        ("the sandbox itself", world.identities("sandbox").await),
        ("what the root issued", forge(&world, Forged::ByRoot, &path(&mutation), -10, 60)),
        ("another mutation's identity", forge(&world, Forged::ByExecutionCa, &path(&other), -10, 60)),
    ];
    let count = who.len();
    for (case, identities) in who {
        for (method, body) in [(Method::POST, &body), (Method::POST, &Value::Null), (Method::DELETE, &body)] {
            let (status, answer) = world.raw(&identities, method.clone(), CHECKOUT, body).await.unwrap();
            // The one identity that may ask for something is told what is wrong with what it asks for.
            let malformed = case.starts_with("another") && (body.is_null() || method == Method::DELETE);
            let expected = if malformed { StatusCode::BAD_REQUEST } else { StatusCode::FORBIDDEN };
            assert_eq!(status, expected, "{case}: {answer}");
        }
    }
    let audit = world.audit();
    assert_eq!(audit.len(), 3 * count);
    for line in &audit {
        assert_eq!((&line["result"], &line["resource"]), (&json!("refused"), &json!("services/checkout")));
        assert!(line["identity"].as_str().unwrap().starts_with("spiffe://example.org/"), "{line}");
    }
    assert_eq!(audit[0]["identity"], "spiffe://example.org/agent");
    assert!(matches!(world.live().await, crate::decision::LiveState::Absent { .. }));
    // The same request by the right identity is done.
    let right = forge(&world, Forged::ByExecutionCa, &path(&mutation), -10, 60);
    let (status, answer) = world.raw(&right, Method::POST, CHECKOUT, &body).await.unwrap();
    assert_eq!(status, StatusCode::OK, "{answer}");
}

#[tokio::test]
async fn identities_that_are_not_valid_now_do_not_get_to_ask() {
    let world = World::new().await;
    let (body, mutation) = request(&Ask::create());
    let path = execution_id(world.domain.trust_domain(), &mutation).unwrap().path().trim_start_matches('/').to_owned();
    let cases = [
        ("expired", forge(&world, Forged::ByExecutionCa, &path, -60, -5)),
        ("not yet valid", forge(&world, Forged::ByExecutionCa, &path, 60, 120)),
        ("a workload by the execution CA", forge(&world, Forged::ByExecutionCa, "sab", -10, 60)),
    ];
    for (case, identities) in cases {
        for method in [Method::POST, Method::GET] {
            assert!(world.raw(&identities, method, CHECKOUT, &body).await.is_err(), "{case}");
        }
    }
    assert!(world.audit().is_empty());
}

#[tokio::test]
async fn reading_and_failing_have_lists_of_their_own() {
    let world = World::new().await;
    world.created().await;
    let (_, mutation) = request(&Ask::create());
    let execution = execution_id(world.domain.trust_domain(), &mutation).unwrap();
    let execution = execution.path().trim_start_matches('/').to_owned();
    let paths = [
        (Method::GET, CHECKOUT.to_owned()),
        (Method::GET, format!("/v1/executions/{mutation}")),
        (Method::GET, "/v1/audit".to_owned()),
        (Method::POST, "/v1/faults".to_owned()),
        (Method::POST, "/v1/outside/services/checkout".to_owned()),
    ];
    let who = [
        ("broker", world.identities("seb").await, [true, true, true, false, false]),
        ("authority", world.identities("sab").await, [true, true, true, false, false]),
        ("operator", world.identities("operator").await, [false, false, true, true, true]),
        ("agent", world.identities("agent").await, [false; 5]),
        ("sandbox", world.identities("sandbox").await, [false; 5]),
        ("execution", forge(&world, Forged::ByExecutionCa, &execution, -10, 60), [false; 5]),
    ];
    for (case, identities, expected) in who {
        for ((method, path), allowed) in paths.iter().zip(expected) {
            let body = match path.as_str() {
                "/v1/faults" => json!({"fault": "none"}),
                path if path.starts_with("/v1/outside") => json!({"replicas": 7}),
                _ => Value::Null,
            };
            let before = world.audit().len();
            let (status, answer) = world.raw(&identities, method.clone(), path, &body).await.unwrap();
            let expected = if allowed { StatusCode::OK } else { StatusCode::FORBIDDEN };
            assert_eq!(status, expected, "{case} {path}: {answer}");
            if !allowed {
                let audit = world.audit();
                assert_eq!(audit.len(), before + 1, "{case} {path}");
                assert_eq!(audit[before]["error"], "forbidden");
            }
        }
    }
}

#[tokio::test]
async fn requests_that_are_not_of_the_form_are_refused_and_change_nothing() {
    let world = World::new().await;
    let (good, mutation) = request(&Ask::create());
    let path = execution_id(world.domain.trust_domain(), &mutation).unwrap().path().trim_start_matches('/').to_owned();
    let identity = forge(&world, Forged::ByExecutionCa, &path, -10, 60);
    let change = |change: &dyn Fn(&mut Value)| {
        let mut body = good.clone();
        change(&mut body);
        body
    };
    let cases = [
        (CHECKOUT, json!([]), StatusCode::BAD_REQUEST),
        (CHECKOUT, json!({}), StatusCode::BAD_REQUEST),
        (CHECKOUT, change(&|it| it["extra"] = json!(1)), StatusCode::BAD_REQUEST),
        (CHECKOUT, change(&|it| it["baseline"] = json!(["absent"])), StatusCode::BAD_REQUEST),
        (CHECKOUT, change(&|it| it["baseline"]["version"] = json!("1")), StatusCode::BAD_REQUEST),
        (CHECKOUT, change(&|it| it["deadline"] = json!("soon")), StatusCode::BAD_REQUEST),
        (CHECKOUT, change(&|it| it["mutation_id"] = json!("m-1")), StatusCode::BAD_REQUEST),
        (CHECKOUT, change(&|it| drop(it.as_object_mut().unwrap().remove("body"))), StatusCode::BAD_REQUEST),
        (CHECKOUT, change(&|it| it["body"] = json!("a".repeat(70_000))), StatusCode::PAYLOAD_TOO_LARGE),
        ("/v1/objects/services/-", good.clone(), StatusCode::BAD_REQUEST),
        ("/v1/objects/services/..", good.clone(), StatusCode::BAD_REQUEST),
        ("/v1/objects/services", good.clone(), StatusCode::NOT_FOUND),
        ("/", good.clone(), StatusCode::NOT_FOUND),
    ];
    for (path, body, expected) in cases {
        let (status, answer) = world.raw(&identity, Method::POST, path, &body).await.unwrap();
        assert_eq!(status, expected, "{path} {answer}");
    }
    assert!(matches!(world.live().await, crate::decision::LiveState::Absent { .. }));
    assert!(world.audit().iter().all(|line| line["result"] == "refused"));
    assert_eq!(world.raw(&identity, Method::POST, CHECKOUT, &good).await.unwrap().0, StatusCode::OK);
}

#[tokio::test]
async fn faults_are_for_sandboxes_that_were_started_so() {
    use crate::target::sandbox::server::{PROTOCOLS, Server, serve};
    let mut world = World::new().await;
    let path = world.directory.path().join("other.jsonl");
    let server = Arc::new(Server::open(&path, [id("seb")], [id("operator")], false).unwrap());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = world.identities("sandbox").await;
    let incoming = crate::tls::incoming(listener, own, PROTOCOLS, crate::tls::Limits::default()).unwrap();
    world.address = incoming.local_addr().to_string();
    tokio::spawn(serve(server, incoming, tokio_util::sync::CancellationToken::new()));
    let operator = world.identities("operator").await;
    for path in ["/v1/faults", "/v1/outside/services/checkout"] {
        let body = json!({"fault": "none"});
        let (status, _) = world.raw(&operator, Method::POST, path, &body).await.unwrap();
        assert_eq!(status, StatusCode::NOT_FOUND);
    }
    // An audit log has one writer.
    assert!(Server::open(&path, [], [], false).is_err());
}
