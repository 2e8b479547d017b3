//! The API server itself refuses what is not as certified.

use http::StatusCode;
use seb::decision::LiveState;
use seb::target::{Performed, Rejection};
use serde_json::{Value, json};

use crate::testbed::client::MERGE;
use crate::world::{Ask, SHOP, World, absent, deployment, exact, fields};

/// Refused because of drift; what the API server said, and the denial that a decision would have had for it.
fn drifted(performed: Performed) -> (String, String) {
    match performed {
        Performed::Rejected { reason: Rejection::Precondition, detail, drift: Some(drift) } => {
            (detail, drift.to_string())
        }
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
        (
            "merge-patch",
            fields(&certified, &["/spec/replicas"]),
            "422",
            "drift_field: `/spec/replicas`: certified is 3, found was 7",
        ),
        (
            "json-patch",
            fields(&certified, &["/spec/replicas"]),
            "422",
            "drift_field: `/spec/replicas`: certified is 3, found was 7",
        ),
        (
            "strategic-merge-patch",
            fields(&certified, &["/spec/replicas"]),
            "nothing was sent",
            "drift_field: `/spec/replicas`: certified is 3, found was 7",
        ),
        ("merge-patch", exact(&certified), "409 Conflict", "drift_version: certified is `"),
        ("strategic-merge-patch", exact(&certified), "409 Conflict", "drift_version: certified is `"),
        ("json-patch", exact(&certified), "422", "drift_version: certified is `"),
        ("apply", exact(&certified), "409 Conflict", "drift_version: certified is `"),
    ] {
        let mut ask = Ask::scale(verb, 5, baseline);
        if verb == "apply" {
            ask.body = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop"}, "spec": {"replicas": 5}});
        }
        let (detail, drift) = drifted(world.perform(&ask).await.1);
        assert!(detail.contains(said) && drift.contains(found), "{verb}: {detail} | {drift}");
    }
    // A test of the caller's own that does not hold is no drift.
    let own = json!([{"op": "test", "path": "/spec/paused", "value": true}, {"op": "replace", "path": "/spec/replicas", "value": 5}]);
    let ask = Ask::new("json-patch", deployment(), own, fields(&world.get(SHOP).await, &["/spec/replicas"]));
    let performed = world.perform(&ask).await.1;
    assert!(matches!(&performed, Performed::Rejected { reason: Rejection::Invalid, drift: None, .. }), "{performed:?}");
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
    let (detail, drift) = drifted(world.perform(&create).await.1);
    assert!(
        detail.contains("409 AlreadyExists") && drift.starts_with("drift_presence: the object exists, as `"),
        "{detail} | {drift}"
    );

    let (status, _) = world.cluster.admin.delete(SHOP).await;
    assert_eq!(status, StatusCode::OK);
    let gone = world.perform(&Ask::scale("merge-patch", 5, exact(&certified))).await.1;
    let (_, drift) = drifted(gone);
    assert!(drift.starts_with("drift_presence: the object `") && drift.ends_with("` does not exist"), "{drift}");

    let again = world.shop().await;
    for (verb, baseline) in [
        ("merge-patch", exact(&certified)),
        ("merge-patch", fields(&certified, &["/spec/replicas"])),
        ("json-patch", fields(&certified, &["/spec/replicas"])),
        ("strategic-merge-patch", fields(&certified, &["/spec/replicas"])),
    ] {
        let (detail, drift) = drifted(world.perform(&Ask::scale(verb, 5, baseline)).await.1);
        assert!(drift.starts_with("drift_identity: certified is `"), "{verb}: {detail} | {drift}");
    }
    let (detail, drift) =
        drifted(world.perform(&Ask::new("delete", deployment(), Value::Null, exact(&certified))).await.1);
    assert!(
        detail.contains("409 Conflict") && drift.starts_with("drift_identity: certified is `"),
        "{detail} | {drift}"
    );
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
