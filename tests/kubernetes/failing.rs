//! What is refused, what is lost on the way, and what nobody can tell.

use std::sync::atomic::Ordering;
use std::time::Duration;

use seb::decision::LiveState;
use seb::reason::Denial;
use seb::target::{Evidence, Fence, Performed, Rejection, Target};
use serde_json::json;

use crate::testbed::awaited;
use crate::testbed::wire::Wire;
use crate::world::{Ask, Gate, SHOP, World, absent, deployment, exact, fields, permit, resource};

fn refused(performed: Performed, expected: Rejection) -> String {
    match performed {
        Performed::Rejected { reason, detail, .. } if reason == expected => detail,
        other => panic!("{expected:?}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_has_its_reason() {
    let world = World::new().await;
    let shop = world.shop().await;
    let scale = Ask::scale("merge-patch", 5, exact(&shop));

    // An executor that may not.
    let (_, performed) = world.perform_by(&world.driver_of("nobody"), &scale, &Gate::default()).await;
    assert!(refused(performed, Rejection::Forbidden).contains("403 Forbidden"));

    let mut unknown_field = scale.clone();
    unknown_field.body = json!({"spec": {"replicas": 5, "repliccas": 6}});
    let detail = refused(world.perform(&unknown_field).await.1, Rejection::Invalid);
    assert!(detail.contains("unknown field \"spec.repliccas\""), "{detail}");

    let mut impossible = scale.clone();
    impossible.body = json!({"spec": {"replicas": -1}});
    assert!(refused(world.perform(&impossible).await.1, Rejection::Invalid).contains("422 Invalid"));

    let mut no_such_kind = scale.clone();
    no_such_kind.resource = resource("apps", "v1", "deploymints", "shop");
    assert!(refused(world.perform(&no_such_kind).await.1, Rejection::Invalid).contains("404"));

    let elsewhere =
        json!({"group": "", "version": "v1", "resource": "configmaps", "namespace": "nowhere", "name": "a"});
    let body = json!({"metadata": {"name": "a"}});
    let detail = refused(world.perform(&Ask::new("create", elsewhere, body, absent())).await.1, Rejection::Invalid);
    assert!(detail.contains("namespaces \"nowhere\" not found"), "{detail}");

    // The service account is gone, and there is no token of it.
    let (_, performed) = world.perform_by(&world.driver_of("gone"), &scale, &Gate::default()).await;
    match performed {
        Performed::NotStarted { detail } => assert!(detail.contains("no token of `seb-system/gone`: 404"), "{detail}"),
        other => panic!("{other:?}"),
    }
    // None of that did anything, and no Secret is left over.
    assert_eq!(world.get(SHOP).await["metadata"]["resourceVersion"], shop["metadata"]["resourceVersion"]);
    let secrets = world.get("/api/v1/namespaces/seb-system/secrets").await;
    assert_eq!(secrets["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_a_call_that_the_fence_denies_never_arrives() {
    let world = World::new().await;
    let shop = world.shop().await;
    // Over a connection that is warm already.
    world.succeeds(&Ask::scale("merge-patch", 4, exact(&shop))).await;
    let shop = world.get(SHOP).await;
    let gate = Gate::default();
    gate.shut.store(true, Ordering::SeqCst);
    let ask = Ask::scale("merge-patch", 5, exact(&shop));
    let (terms, performed) = world.perform_by(&world.driver, &ask, &gate).await;
    assert!(matches!(performed, Performed::Aborted { .. }), "{performed:?}");
    assert_eq!(gate.asked.load(Ordering::SeqCst), 1);
    gate.shut.store(false, Ordering::SeqCst);
    let (later, performed) = world.perform_by(&world.driver, &ask, &gate).await;
    assert!(matches!(performed, Performed::Succeeded { .. }), "{performed:?}");
    world.audited(&later).await;
    let id = terms.mutation_id().to_string();
    let arrived = |event: &serde_json::Value| {
        event["objectRef"]["resource"] == "deployments" && event["requestObject"].to_string().contains(&id)
    };
    assert!(!world.cluster.audit().iter().any(arrived));
}

/// A fence that does something at the last moment, and lets the call pass.
struct Just<F>(F);

impl<F: Fn() + Send + Sync> Fence for Just<F> {
    fn pass(&self, write: &mut dyn FnMut()) -> Result<(), Denial> {
        (self.0)();
        write();
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_an_answer_that_is_lost_leaves_the_call_unknown_until_the_object_tells() {
    let world = World::new().await;
    let shop = world.shop().await;
    let wire = Wire::to(&world.cluster.address).await;
    let driver = world.driver_at(&wire.address.to_string(), "executor");
    for (ask, applied) in [
        (Ask::scale("merge-patch", 5, exact(&shop)), true),
        // Its baseline does not hold any more: the answer that is lost is a refusal.
        (Ask::scale("merge-patch", 6, exact(&shop)), false),
    ] {
        let permit = permit(&ask);
        let terms = permit.terms().clone();
        let identity = world.mint(&terms).await;
        let fence = Just(|| wire.hold_answers());
        let performing = driver.perform(permit.release(), identity, &fence);
        let cutting = async {
            wire.answered().await;
            wire.cut();
        };
        let (performed, ()) = tokio::join!(performing, cutting);
        wire.release_answers();
        assert!(matches!(performed, Performed::Unknown { .. }), "{performed:?}");
        let evidence = world.evidence(&terms).await;
        match applied {
            true => assert!(matches!(evidence, Evidence::Applied { .. }), "{evidence:?}"),
            false => assert!(matches!(evidence, Evidence::Open { .. }), "{evidence:?}"),
        }
    }
    assert_eq!(world.get(SHOP).await["spec"]["replicas"], 5, "each was sent once");
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_what_is_lost_with_the_api_server_is_unknown_until_the_object_tells() {
    let mut world = World::new().await;
    let shop = world.shop().await;
    let ask = Ask::scale("merge-patch", 5, exact(&shop));
    let permit = permit(&ask);
    let terms = permit.terms().clone();
    let identity = world.mint(&terms).await;
    // The request is on its way, the store does not answer any more, and then the API server is gone.
    let (at_the_fence, mut reached) = tokio::sync::watch::channel(false);
    let performed = {
        let etcd = &world.cluster.etcd;
        let fence = Just(|| {
            etcd.pause();
            at_the_fence.send_replace(true);
        });
        let api_server = &mut world.cluster.api_server;
        let performing = world.driver.perform(permit.release(), identity, &fence);
        let killing = async {
            reached.wait_for(|reached| *reached).await.unwrap();
            api_server.kill();
        };
        tokio::join!(performing, killing).0
    };
    assert!(matches!(performed, Performed::Unknown { .. }), "{performed:?}");
    assert!(matches!(world.read(&deployment(), &[]).await, LiveState::Unknown));
    assert!(matches!(world.evidence(&terms).await, Evidence::Unavailable { .. }));
    let (_, not_started) = world.perform(&ask).await;
    assert!(matches!(not_started, Performed::NotStarted { .. }), "{not_started:?}");

    world.cluster.etcd.resume();
    world.cluster.api_server.restart();
    world.cluster.ready().await;
    let now = world.get(SHOP).await;
    match (world.evidence(&terms).await, now["spec"]["replicas"].as_u64()) {
        (Evidence::Applied { .. }, Some(5)) | (Evidence::Open { .. }, Some(3)) => {}
        other => panic!("{other:?}"),
    }
    // The connections of before are dead; they are replaced, and nobody notices.
    let again = Ask::scale("merge-patch", 6, fields(&now, &["/spec/replicas"]));
    awaited("a mutation after the restart", async || match world.perform(&again).await.1 {
        Performed::Succeeded { .. } => Ok(()),
        other => Err(other),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_a_call_that_hangs_ends_with_its_deadline_and_not_before_something_is_known() {
    let world = World::new().await;
    let shop = world.shop().await;
    let ask = Ask { deadline: 2, ..Ask::scale("merge-patch", 5, exact(&shop)) };
    let permit = permit(&ask);
    let terms = permit.terms().clone();
    let identity = world.mint(&terms).await;
    let fence = Just(|| world.cluster.api_server.pause());
    let performed = world.driver.perform(permit.release(), identity, &fence).await;
    assert!(matches!(performed, Performed::Unknown { .. }), "{performed:?}");
    world.cluster.api_server.resume();
    // It may still take it in hand, late: until it surely does not, nothing is said.
    let until = terms.deadline().saturating_add(Duration::from_secs(15));
    let settled = awaited("evidence", async || match world.evidence(&terms).await {
        Evidence::Open { until: end } => {
            assert_eq!(end, until);
            Err(())
        }
        Evidence::Unavailable { .. } => Err(()),
        evidence => Ok(evidence),
    })
    .await;
    let replicas = world.get(SHOP).await["spec"]["replicas"].clone();
    match settled {
        Evidence::Applied { .. } => assert_eq!(replicas, 5),
        Evidence::NotApplied { .. } => assert_eq!(replicas, 3),
        other => panic!("{other:?}"),
    }
}
