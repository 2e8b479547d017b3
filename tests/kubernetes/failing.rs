//! What is refused, what is lost on the way, and what nobody can tell.

use std::sync::atomic::Ordering;

use seb::decision::LiveState;
use seb::target::{Evidence, Performed, Rejection, Target};
use serde_json::json;

use crate::testbed::awaited;
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
        Performed::NotStarted { detail } => assert!(detail.contains("no token of the executor: 404"), "{detail}"),
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
    assert!(!world.cluster.audit().iter().any(|event| event["requestObject"].to_string().contains(&id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_what_is_lost_with_the_api_server_is_unknown_until_the_object_tells() {
    let mut world = World::new().await;
    let shop = world.shop().await;
    // What went before shows that all is well until the store stops.
    let ask = Ask::scale("merge-patch", 5, exact(&shop));
    let permit = permit(&ask);
    let terms = permit.terms().clone();
    let identity = world.mint(&terms).await;
    let gate = Gate::default();
    world.cluster.etcd.pause();
    // Its token cannot be made without the store either, so the credential comes first where that is so: here it does not.
    let lost = async {
        let performing = world.driver.perform(permit.release(), identity, &gate);
        tokio::time::timeout(std::time::Duration::from_secs(80), performing).await.expect("it ends")
    };
    let performed = lost.await;
    assert!(matches!(performed, Performed::NotStarted { .. }), "{performed:?}");
    world.cluster.etcd.resume();
    world.cluster.ready().await;
    assert!(matches!(world.evidence(&terms).await, Evidence::Open { .. } | Evidence::NotApplied { .. }));

    world.cluster.api_server.kill();
    assert!(matches!(world.read(&deployment(), &[]).await, LiveState::Unknown));
    assert!(matches!(world.evidence(&terms).await, Evidence::Unavailable { .. }));
    let (_, performed) = world.perform(&ask).await;
    assert!(matches!(performed, Performed::NotStarted { .. }), "{performed:?}");
    world.cluster.api_server.restart();
    world.cluster.ready().await;
    // The connections of before are dead; they are replaced, and nobody notices.
    let now = world.get(SHOP).await;
    awaited("the executor's rights", async || {
        match world.perform(&Ask::scale("merge-patch", 6, fields(&now, &["/spec/replicas"]))).await.1 {
            Performed::Succeeded { .. } => Ok(()),
            other => Err(other),
        }
    })
    .await;
}
