//! What comes of a call: the driver's answer, the evidence, and what really happened.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::world::{Ask, Open, PATIENCE, World, checkout, id, now, permit};
use crate::contract::{Resource, Version};
use crate::decision::{LiveState, Terms};
use crate::reason::{Denial, Reason};
use crate::target::sandbox::Sandbox;
use crate::target::{Evidence, Fence, Grade, Performed, Rejection, Target};

fn version(number: u64) -> Option<Version> {
    Some(number.to_string().parse().unwrap())
}

fn kind(performed: &Performed) -> &'static str {
    match performed {
        Performed::Succeeded { .. } => "succeeded",
        Performed::Rejected { reason, .. } => reason.as_str(),
        Performed::NotStarted { .. } => "not_started",
        Performed::Aborted { .. } => "aborted",
        Performed::Unknown { .. } => "unknown",
        Performed::Begun { .. } => "begun",
    }
}

/// The evidence once it is not open any more.
async fn settled(world: &World, terms: &Terms) -> Evidence {
    let wait = async {
        loop {
            match world.sandbox.evidence(terms).await {
                Evidence::Open { until } => {
                    assert_eq!(until, terms.deadline());
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                evidence => break evidence,
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the deadline passes")
}

#[tokio::test]
async fn every_verb_does_what_it_says_and_is_written_down() {
    let world = World::new().await;
    let uid = world.created().await;
    let exact = |version: u64| json!({"mode": "exact", "identity": uid, "version": version.to_string()});
    let replaced = json!({"replicas": 5, "image": "shop:2"});
    let steps = [
        (Ask::merge(20, exact(1)), Some(json!({"replicas": 20, "image": "shop:1"}))),
        (
            Ask::new("merge", json!({"public": true}), exact(2)),
            Some(json!({"replicas": 20, "image": "shop:1", "public": true})),
        ),
        (Ask::new("merge", json!({"public": null}), exact(3)), Some(json!({"replicas": 20, "image": "shop:1"}))),
        (Ask::new("replace", replaced.clone(), exact(4)), Some(replaced)),
        (Ask::new("delete", Value::Null, exact(5)), None),
    ];
    for (number, (ask, expected)) in (2..).zip(steps) {
        assert_eq!(world.sandbox.grade(permit(&ask).terms().call()), Grade::Atomic);
        let (terms, performed) = world.perform(&ask).await;
        let Performed::Succeeded { version: seen, .. } = &performed else { panic!("{performed:?}") };
        assert_eq!(*seen, version(number));
        assert!(
            matches!(world.sandbox.evidence(&terms).await, Evidence::Applied { version: seen, .. } if seen == version(number))
        );
        let line = world.audit().pop().unwrap();
        assert_eq!(line["result"], "applied");
        assert_eq!(line["mutation_id"], terms.mutation_id().as_str());
        assert_eq!(line["call"], terms.call_digest().to_string());
        assert_eq!(line["identity"], format!("spiffe://example.org/seb/execution/{}", terms.mutation_id()));
        assert_eq!(line.get("object"), expected.as_ref());
        match (expected, world.live().await) {
            (None, LiveState::Absent { .. }) => {}
            (Some(expected), LiveState::Present { identity, fields, .. }) => {
                assert_eq!(identity, uid);
                let whole = fields[&"".parse().unwrap()].as_ref().unwrap();
                assert_eq!(serde_json::from_str::<Value>(&whole.to_canonical()).unwrap(), expected);
            }
            (expected, live) => panic!("{expected:?} {live:?}"),
        }
    }
}

#[tokio::test]
async fn every_precondition_is_held_against_the_object() {
    let world = World::new().await;
    let uid = world.created().await;
    let exact = |uid: &str, version: &str| json!({"mode": "exact", "identity": uid, "version": version});
    let fields =
        |uid: &str, fields: Value| json!({"mode": "fields", "identity": uid, "version": "1", "fields": fields});
    let absent = json!({"mode": "absent"});
    let new = json!({"replicas": 3, "image": "shop:1"});
    let named = |ask: Ask| Ask { object: ("services", "other"), ..ask };
    let cases = [
        ("create what exists", Ask::create(), "drift_presence: the object exists, as `"),
        (
            "create with the identity of another",
            Ask::new("create", new.clone(), absent.clone()),
            "drift_presence: the object exists, as `",
        ),
        ("merge what is not there", named(Ask::merge(5, exact(&uid, "1"))), "` does not exist"),
        ("delete what is not there", named(Ask::new("delete", Value::Null, exact(&uid, "1"))), "` does not exist"),
        ("another uid", Ask::merge(5, exact("another", "1")), "drift_identity: certified is `another`, found was `"),
        (
            "another uid, by fields",
            Ask::merge(5, fields("another", json!({"/replicas": 3}))),
            "drift_identity: certified is `another`, found was `",
        ),
        ("another version", Ask::merge(5, exact(&uid, "2")), "drift_version: certified is `2`, found was `1`"),
        (
            "a later version",
            Ask::new("replace", new, exact(&uid, "0")),
            "drift_version: certified is `0`, found was `1`",
        ),
        (
            "another value",
            Ask::merge(5, fields(&uid, json!({"/replicas": 4}))),
            "drift_field: `/replicas`: certified is 4, found was 3",
        ),
        (
            "another type",
            Ask::merge(5, fields(&uid, json!({"/replicas": "3"}))),
            "drift_field: `/replicas`: certified is \"3\", found was 3",
        ),
        (
            "a field that is not there",
            Ask::merge(5, fields(&uid, json!({"/public": true}))),
            "drift_field: `/public` is gone",
        ),
        (
            "one of two fields",
            Ask::merge(5, fields(&uid, json!({"/replicas": 3, "/image": "shop:2"}))),
            "drift_field: `/image`: certified is \"shop:2\", found was \"shop:1\"",
        ),
        (
            "delete another version",
            Ask::new("delete", Value::Null, exact(&uid, "7")),
            "drift_version: certified is `7`, found was `1`",
        ),
    ];
    for (case, ask, expected) in cases {
        let (terms, performed) = world.perform(&ask).await;
        let Performed::Rejected { reason: Rejection::Precondition, drift, .. } = &performed else {
            panic!("{case}: {performed:?}")
        };
        assert!(drift.as_ref().unwrap().to_string().contains(expected), "{case}: {drift:?}");
        let evidence = world.sandbox.evidence(&terms).await;
        assert!(matches!(&evidence, Evidence::NotApplied { detail } if detail.contains("precondition")), "{case}");
        assert_eq!(world.version().await, 1, "{case}");
    }
    // Equal numbers are equal, however they are written, and a field that is not named may drift.
    let (_, performed) = world.perform(&Ask::merge(5, fields(&uid, json!({"/replicas": 3.0})))).await;
    assert_eq!(kind(&performed), "succeeded");
    let image = fields(&uid, json!({"/image": "shop:1"}));
    let (_, performed) = world.perform(&Ask::merge(6, image)).await;
    assert!(matches!(performed, Performed::Succeeded { version: seen, .. } if seen == version(3)));
}

#[tokio::test]
async fn objects_that_would_not_be_valid_are_rejected() {
    let world = World::new().await;
    let uid = world.created().await;
    let exact = json!({"mode": "exact", "identity": uid, "version": "1"});
    let absent = json!({"mode": "absent"});
    let unknown = Ask { object: ("secrets", "root"), ..Ask::new("create", json!({"a": 1}), absent.clone()) };
    let empty = Ask { object: ("services", "b"), ..Ask::new("create", json!({"image": "a"}), absent) };
    for ask in [Ask::merge(1001, exact.clone()), Ask::new("merge", json!({"image": null}), exact), unknown, empty] {
        let (terms, performed) = world.perform(&ask).await;
        assert_eq!(kind(&performed), "invalid");
        assert!(matches!(world.sandbox.evidence(&terms).await, Evidence::NotApplied { .. }));
    }
    assert_eq!(world.version().await, 1);
}

#[tokio::test]
async fn i6_whatever_goes_wrong_is_never_guessed_and_evidence_settles_it() {
    let world = World::new().await;
    let uid = world.created().await;
    let cases = [
        (json!({"fault": "none"}), "succeeded", true),
        (json!({"fault": "drop_before"}), "unknown", false),
        (json!({"fault": "drop_after"}), "unknown", true),
        (json!({"fault": "delay", "milliseconds": 200}), "succeeded", true),
        (json!({"fault": "duplicate"}), "succeeded", true),
        (json!({"fault": "lie_version"}), "unknown", true),
        (json!({"fault": "error_before"}), "unknown", false),
        (json!({"fault": "error_after"}), "unknown", true),
        (json!({"fault": "half_close"}), "unknown", true),
        (json!({"fault": "stall_before"}), "unknown", false),
        (json!({"fault": "stall_after"}), "unknown", true),
        (json!({"fault": "delay", "milliseconds": 2500}), "too_late", false),
    ];
    for (fault, expected, applied) in cases {
        let before = world.version().await;
        world.fault(&fault).await;
        let exact = json!({"mode": "exact", "identity": uid, "version": before.to_string()});
        let (terms, performed) = world.perform(&Ask { deadline: 2, ..Ask::merge(9, exact) }).await;
        assert_eq!(kind(&performed), expected, "{fault}: {performed:?}");
        let evidence = settled(&world, &terms).await;
        match applied {
            true => assert!(
                matches!(&evidence, Evidence::Applied { version: seen, .. } if *seen == version(before + 1)),
                "{fault}: {evidence:?}"
            ),
            false => assert!(matches!(&evidence, Evidence::NotApplied { .. }), "{fault}: {evidence:?}"),
        }
        // What is settled stays so, and the audit log says the same.
        assert_eq!(world.version().await, before + u64::from(applied), "{fault}");
        let again = world.sandbox.evidence(&terms).await;
        assert_eq!(std::mem::discriminant(&again), std::mem::discriminant(&evidence), "{fault}");
        let lines = world.audit();
        let of_it = lines.iter().filter(|line| line["mutation_id"] == terms.mutation_id().as_str());
        assert_eq!(of_it.filter(|line| line["result"] == "applied").count(), usize::from(applied), "{fault}");
    }
}

#[tokio::test]
async fn a_mutation_id_has_one_result_for_ever() {
    let world = World::new().await;
    let uid = world.created().await;
    let exact = json!({"mode": "exact", "identity": uid, "version": "1"});
    let ask = permit(&Ask::merge(20, exact));
    let mutation = crate::target::sandbox::wire::Mutation::of(ask.terms()).unwrap();
    let body: Value = serde_json::from_str(&mutation.to_json().to_canonical()).unwrap();
    let execution = crate::identity::execution_id(world.domain.trust_domain(), &mutation.id).unwrap();
    let until = now().saturating_add(PATIENCE);
    let forged = world.domain.forge(crate::identity::embedded::Forged::ByExecutionCa, &execution, now(), until);
    let identity = tokio::sync::watch::channel(Arc::new(forged)).1;
    let send = async |body: &Value, path: &str| world.raw(&identity, http::Method::PATCH, path, body).await.unwrap();
    let path = "/v1/objects/services/checkout";
    for repeated in [false, true, true] {
        let (status, answer) = send(&body, path).await;
        assert_eq!((status.as_u16(), &answer["version"], &answer["repeated"]), (200, &json!("2"), &json!(repeated)));
    }
    // Another request under it is refused: another value, another deadline, another object.
    let mut value = body.clone();
    value["body"]["replicas"] = json!(21);
    let mut deadline = body.clone();
    deadline["deadline"] = json!(now().saturating_add(PATIENCE));
    for (body, path) in [(&value, path), (&deadline, path), (&body, "/v1/objects/services/other")] {
        let (status, answer) = send(body, path).await;
        assert_eq!((status.as_u16(), &answer["error"]), (409, &json!("mutation_reused")), "{answer}");
    }
    assert_eq!(world.version().await, 2);
    let results: Vec<Value> = world.audit().iter().skip(1).map(|line| line["result"].clone()).collect();
    assert_eq!(results, ["applied", "repeated", "repeated", "reused", "reused", "reused"]);
    // The driver, whose request is the one that was applied, sees so; one with another request cannot tell.
    assert!(matches!(world.sandbox.evidence(ask.terms()).await, Evidence::Applied { .. }));
    // The driver, asked once more, reports the first result.
    let identity = world.mint(ask.terms()).await;
    let performed = world.sandbox.perform(ask.release(), identity, &Open::default()).await;
    assert!(matches!(&performed, Performed::Succeeded { detail, .. } if detail.contains("earlier")), "{performed:?}");
}

struct Closed;

impl Fence for Closed {
    fn pass(&self, _: &mut dyn FnMut()) -> Result<(), Denial> {
        Err(Denial::new(Reason::RevokedCertificate, "while it was on its way"))
    }
}

#[tokio::test]
async fn i2_what_the_fence_denies_never_reaches_the_sandbox() {
    let world = World::new().await;
    world.created().await;
    let before = world.audit();
    let exact = json!({"mode": "fields", "identity": "x", "version": "1", "fields": {"/replicas": 3}});
    let permit = permit(&Ask { deadline: 2, ..Ask::merge(20, exact) });
    let terms = permit.terms().clone();
    let identity = world.mint(&terms).await;
    let performed = world.sandbox.perform(permit.release(), identity, &Closed).await;
    assert!(matches!(&performed, Performed::Aborted { denial } if denial.reason == Reason::RevokedCertificate));
    assert!(matches!(settled(&world, &terms).await, Evidence::NotApplied { .. }));
    assert_eq!(world.audit(), before);
}

#[tokio::test]
async fn i1_the_fence_is_asked_once_for_each_call() {
    let world = World::new().await;
    let permit = permit(&Ask::create());
    let identity = world.mint(permit.terms()).await;
    let fence = Open::default();
    assert_eq!(kind(&world.sandbox.perform(permit.release(), identity, &fence).await), "succeeded");
    assert_eq!(fence.0.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_cannot_begin_has_not_started_and_does_not_ask_the_fence() {
    let mut world = World::new().await;
    world.created().await;
    let before = world.audit();
    let seb = world.identities("seb").await;
    let other_server = Sandbox::new(world.address.clone(), id("other"), seb.clone()).unwrap();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silence = Sandbox::new(silent.local_addr().unwrap().to_string(), id("sandbox"), seb.clone()).unwrap();
    let nobody = {
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        Sandbox::new(free.local_addr().unwrap().to_string(), id("sandbox"), seb).unwrap()
    };
    let exact = json!({"mode": "exact", "identity": "x", "version": "1"});
    let ask = Ask { deadline: 2, ..Ask::merge(20, exact) };
    for (case, sandbox) in [("another server", &other_server), ("silence", &silence), ("nobody", &nobody)] {
        let permit = permit(&ask);
        let identity = world.mint(permit.terms()).await;
        let fence = Open::default();
        let performed = sandbox.perform(permit.release(), identity, &fence).await;
        assert_eq!(kind(&performed), "not_started", "{case}: {performed:?}");
        assert_eq!(fence.0.load(Ordering::SeqCst), 0, "{case}");
    }
    // An identity that was minted for another mutation, and a deadline that has passed.
    let (one, other) = (permit(&ask), permit(&ask));
    let identity = world.mint(other.terms()).await;
    assert_eq!(kind(&world.sandbox.perform(one.release(), identity, &Open::default()).await), "not_started");
    let late = permit(&Ask { deadline: 1, ..ask });
    let identity = world.mint(late.terms()).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(kind(&world.sandbox.perform(late.release(), identity, &Open::default()).await), "not_started");
    assert_eq!(world.audit(), before);
    world.stop().await;
}

#[tokio::test]
async fn reading_tells_what_is_there_and_never_more_than_it_knows() {
    let mut world = World::new().await;
    assert!(matches!(world.live().await, LiveState::Absent { .. }));
    let uid = world.created().await;
    let began = now();
    let LiveState::Present { identity, version: seen, fields, observed_at } = world.live().await else {
        panic!("it was created")
    };
    assert_eq!((identity, Some(seen)), (uid, version(1)));
    assert!(began <= observed_at && observed_at <= now());
    let field = |name: &str| fields[&name.parse().unwrap()].as_ref().map(crate::contract::Json::to_canonical);
    assert_eq!((field("/replicas").as_deref(), field("/public")), (Some("3"), None));
    assert_eq!(fields.len(), 3);
    // Who may not read does not learn whether there is something.
    let agent = Sandbox::new(world.address.clone(), id("sandbox"), world.identities("agent").await).unwrap();
    let none = std::collections::BTreeSet::new();
    assert_eq!(agent.read(&Resource::Sandbox(checkout()), &none).await, LiveState::Unknown);
    let (terms, _) = world.perform(&Ask::create()).await;
    assert!(matches!(agent.evidence(&terms).await, Evidence::Unavailable { .. }));
    world.stop().await;
    assert_eq!(world.live().await, LiveState::Unknown);
    assert!(matches!(world.sandbox.evidence(&terms).await, Evidence::Unavailable { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_many_at_once_are_applied_once_each_and_one_of_a_race_wins() {
    let world = Arc::new(World::new().await);
    let uid = world.created().await;
    let any = json!({"mode": "fields", "identity": uid, "version": "1", "fields": {"/image": "shop:1"}});
    let run = |baseline: Value| {
        let world = Arc::clone(&world);
        async move { kind(&world.perform(&Ask::merge(30, baseline)).await.1) }
    };
    let independent = futures::future::join_all((0..40).map(|_| tokio::spawn(run(any.clone())))).await;
    assert!(independent.into_iter().all(|it| it.unwrap() == "succeeded"));
    assert_eq!(world.version().await, 41);
    let exact = json!({"mode": "exact", "identity": uid, "version": "41"});
    let racing = futures::future::join_all((0..40).map(|_| tokio::spawn(run(exact.clone())))).await;
    let mut kinds: Vec<&str> = racing.into_iter().map(|it| it.unwrap()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds.iter().filter(|kind| **kind == "succeeded").count(), 1);
    assert_eq!(kinds.iter().filter(|kind| **kind == "precondition").count(), 39);
    assert_eq!(world.version().await, 42);
}
