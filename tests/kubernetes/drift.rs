//! The API server itself refuses what is not as certified.

use http::StatusCode;
use seb::decision::LiveState;
use seb::target::{Performed, Rejection};
use serde_json::{Value, json};

use crate::testbed::client::MERGE;
use crate::world::{Ask, SHOP, World, absent, deployment, exact, fields};

/// Refused because of drift; what the API server said, and what the object has instead.
fn drifted(performed: Performed) -> (String, String) {
    match performed {
        Performed::Rejected { reason: Rejection::Precondition, detail, observed: Some(observed) } => (detail, observed),
        other => panic!("{other:?}"),
    }
}

async fn scaled(world: &World, replicas: u32) -> Value {
    let (status, answer) = world.cluster.admin.patch(SHOP, MERGE, &json!({"spec": {"replicas": replicas}})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn three_to_five_is_refused_when_somebody_made_it_seven() {
    let world = World::new().await;
    let certified = world.shop().await;
    scaled(&world, 7).await;
    for (verb, baseline, said, found) in [
        ("merge-patch", fields(&certified, &["/spec/replicas"]), "422", "7 at `/spec/replicas` instead of 3"),
        ("json-patch", fields(&certified, &["/spec/replicas"]), "422", "7 at `/spec/replicas` instead of 3"),
        ("strategic-merge-patch", fields(&certified, &["/spec/replicas"]), "nothing was sent", "7 at `/spec/replicas`"),
        ("merge-patch", exact(&certified), "409 Conflict", "instead of"),
        ("strategic-merge-patch", exact(&certified), "409 Conflict", "instead of"),
        ("json-patch", exact(&certified), "422", "instead of"),
        ("apply", exact(&certified), "409 Conflict", "instead of"),
    ] {
        let mut ask = Ask::scale(verb, 5, baseline);
        if verb == "apply" {
            ask.body = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop"}, "spec": {"replicas": 5}});
        }
        let (detail, observed) = drifted(world.perform(&ask).await.1);
        assert!(detail.contains(said) && observed.contains(found), "{verb}: {detail} | {observed}");
    }
    // Nobody's write but the one of seven.
    let now = world.get(SHOP).await;
    assert_eq!((&now["spec"]["replicas"], now["metadata"]["annotations"].get("seb.dev/mutation")), (&json!(7), None));
    match world.read(&deployment(), &["/spec/replicas"]).await {
        LiveState::Present { fields, .. } => assert_eq!(format!("{fields:?}"), "{`/spec/replicas`: Some(7)}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_matter_may_change() {
    let world = World::new().await;
    let certified = world.shop().await;
    let (status, answer) =
        world.cluster.admin.patch(SHOP, MERGE, &json!({"metadata": {"labels": {"other": "writer"}}})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    for (verb, replicas) in [("merge-patch", 5), ("strategic-merge-patch", 5)] {
        let certified = if verb == "merge-patch" { certified.clone() } else { world.get(SHOP).await };
        world.succeeds(&Ask::scale(verb, replicas, fields(&certified, &["/spec/replicas"]))).await;
    }
    let now = world.get(SHOP).await;
    assert_eq!((&now["spec"]["replicas"], &now["metadata"]["labels"]["other"]), (&json!(5), &json!("writer")));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_object_of_the_same_name_is_another_object() {
    let world = World::new().await;
    let certified = world.shop().await;
    let create = Ask::new(
        "create",
        deployment(),
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop"}, "spec": certified["spec"],
        }),
        absent(),
    );
    let (detail, observed) = drifted(world.perform(&create).await.1);
    assert!(detail.contains("409 AlreadyExists") && observed.contains("the object, with uid"), "{detail} | {observed}");

    let (status, _) = world.cluster.admin.delete(SHOP).await;
    assert_eq!(status, StatusCode::OK);
    let gone = world.perform(&Ask::scale("merge-patch", 5, exact(&certified))).await.1;
    let (_, observed) = drifted(gone);
    assert_eq!(observed, "no such object");

    let again = world.shop().await;
    for (verb, baseline) in [
        ("merge-patch", exact(&certified)),
        ("merge-patch", fields(&certified, &["/spec/replicas"])),
        ("json-patch", fields(&certified, &["/spec/replicas"])),
        ("strategic-merge-patch", fields(&certified, &["/spec/replicas"])),
    ] {
        let (detail, observed) = drifted(world.perform(&Ask::scale(verb, 5, baseline)).await.1);
        assert!(observed.contains("uid `"), "{verb}: {detail} | {observed}");
    }
    let (detail, observed) =
        drifted(world.perform(&Ask::new("delete", deployment(), Value::Null, exact(&certified))).await.1);
    assert!(detail.contains("409 Conflict") && observed.contains("uid `"), "{detail} | {observed}");
    assert_eq!(world.get(SHOP).await["metadata"]["resourceVersion"], again["metadata"]["resourceVersion"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn annotations_that_came_meanwhile_are_not_lost() {
    let world = World::new().await;
    let certified = world.shop().await;
    assert_eq!(certified["metadata"].get("annotations"), None, "the object begins without");
    let ask = Ask::scale("merge-patch", 5, fields(&certified, &["/spec/replicas"]));
    // The driver has read it a moment ago, and somebody annotates it then.
    world.read(&deployment(), &[]).await;
    let (status, answer) =
        world.cluster.admin.patch(SHOP, MERGE, &json!({"metadata": {"annotations": {"theirs": "kept"}}})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let (_, performed) = world.perform(&ask).await;
    let annotations = world.get(SHOP).await["metadata"]["annotations"].clone();
    assert_eq!(annotations["theirs"], "kept", "{performed:?}");
    // Refused, unless the read was so long ago that it was done again.
    match performed {
        Performed::Rejected { .. } => assert_eq!(annotations.get("seb.dev/mutation"), None),
        Performed::Succeeded { .. } => assert!(annotations.get("seb.dev/mutation").is_some()),
        other => panic!("{other:?}"),
    }
}
