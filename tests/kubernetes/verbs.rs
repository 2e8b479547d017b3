//! Every verb on every kind of resource, and that what arrives is what was certified.

use http::StatusCode;
use seb::decision::{LiveState, Terms};
use seb::target::{Evidence, Grade, Target};
use serde_json::{Value, json};

use crate::testbed::awaited;
use crate::testbed::client::{APPLY, MERGE};
use crate::world::{Ask, SHOP, World, absent, deployment, exact, fields, permit, resource, under};

const CONFIG: &str = "/api/v1/namespaces/default/configmaps/flags";

fn config() -> Value {
    resource("", "v1", "configmaps", "flags")
}

/// The object carries the mutation's id, and that is evidence of it.
async fn is_evident(world: &World, terms: &Terms, object: &Value) {
    let (id, annotations) = (terms.mutation_id().to_string(), &object["metadata"]["annotations"]);
    assert!(annotations["seb.dev/mutation"] == id || annotations["seb.dev/applied"] == id, "{object}");
    assert!(matches!(world.evidence(terms).await, Evidence::Applied { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_objects_are_created_changed_and_deleted_as_certified() {
    let world = World::new().await;
    assert!(matches!(world.read(&config(), &[]).await, LiveState::Absent { .. }));
    let body =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "flags"}, "data": {"a": "1", "b": "1"}});
    let (terms, version) = world.succeeds(&Ask::new("create", config(), body.clone(), absent())).await;
    let mut object = world.get(CONFIG).await;
    assert_eq!(version.as_deref(), object["metadata"]["resourceVersion"].as_str());
    is_evident(&world, &terms, &object).await;
    // What the API server took in is what was certified, and the annotation.
    let event = world.audited(&terms).await;
    let mut expected = body.clone();
    expected["metadata"]["annotations"] = json!({"seb.dev/mutation": terms.mutation_id().to_string()});
    assert_eq!((&event["verb"], &event["requestObject"]["data"]), (&json!("create"), &expected["data"]));
    assert_eq!(event["requestObject"]["metadata"]["annotations"], expected["metadata"]["annotations"]);
    assert!(event["requestURI"].as_str().unwrap().contains("fieldManager=seb&fieldValidation=Strict"), "{event}");

    // Each in turn, each over what the one before left, by every way to hold the baseline.
    let data = |pointer: &str| {
        ["/data/a", "/metadata/name"].into_iter().chain([pointer]).map(str::to_owned).collect::<Vec<_>>()
    };
    for (number, (verb, body)) in [
        ("merge-patch", json!({"data": {"a": "2", "b": null}})),
        ("merge-patch", json!({"data": {"a": "3", "c": "1"}})),
        ("json-patch", json!([{"op": "replace", "path": "/data/a", "value": "4"}])),
        ("strategic-merge-patch", json!({"data": {"a": "5"}})),
        ("apply", json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "flags"}, "data": {"d": "6"}})),
        ("update", json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "flags"}, "data": {"a": "7"}})),
    ]
    .into_iter()
    .enumerate()
    {
        for exactly in [true, false] {
            let pointers = data("/metadata/uid");
            let pointers: Vec<_> = pointers.iter().map(String::as_str).collect();
            let baseline = if exactly { exact(&object) } else { fields(&object, &pointers) };
            let ask = Ask::new(verb, config(), body.clone(), baseline);
            assert_eq!(world.driver.grade(permit(&ask).terms().call()), Grade::Atomic, "{verb}");
            let (terms, version) = world.succeeds(&ask).await;
            object = world.get(CONFIG).await;
            assert_eq!(version.as_deref(), object["metadata"]["resourceVersion"].as_str(), "{number} {verb}");
            is_evident(&world, &terms, &object).await;
        }
        let last = match &body {
            Value::Array(operations) => operations[0]["value"].clone(),
            body => body["data"].get("a").or(body["data"].get("d")).unwrap().clone(),
        };
        assert!(object["data"].as_object().unwrap().values().any(|value| *value == last), "{verb}: {object}");
    }
    assert_eq!(object["data"], json!({"a": "7"}), "an update puts the whole object in the place of the old one");
    assert_eq!(world.read(&config(), &["/data/a", "/data/z"]).await.identity(), object["metadata"]["uid"].as_str());

    let (terms, _) = world.succeeds(&Ask::new("delete", config(), Value::Null, exact(&object))).await;
    assert_eq!(world.cluster.admin.get(CONFIG).await.0, StatusCode::NOT_FOUND);
    // That it is gone does not say who did it.
    assert!(matches!(world.evidence(&terms).await, Evidence::Open { .. }));
}

trait Identity {
    fn identity(&self) -> Option<&str>;
}

impl Identity for LiveState {
    fn identity(&self) -> Option<&str> {
        match self {
            Self::Present { identity, .. } => Some(identity),
            _ => None,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subresources_are_written_and_nothing_beside_them() {
    let world = World::new().await;
    world.shop().await;
    for (number, (verb, body)) in [
        ("merge-patch", json!({"spec": {"replicas": 5}})),
        ("json-patch", json!([{"op": "replace", "path": "/spec/replicas", "value": 6}])),
    ]
    .into_iter()
    .enumerate()
    {
        let scale = world.get(&format!("{SHOP}/scale")).await;
        let ask = Ask::new(verb, under(deployment(), "scale"), body, fields(&scale, &["/spec/replicas"]));
        let (_, version) = world.succeeds(&ask).await;
        let object = world.get(SHOP).await;
        assert_eq!(object["spec"]["replicas"], json!(5 + number));
        assert_eq!(version.as_deref(), object["metadata"]["resourceVersion"].as_str());
    }
    let scale = world.get(&format!("{SHOP}/scale")).await;
    let mut body =
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "shop"}, "spec": {"replicas": 7}});
    body["metadata"]["namespace"] = "default".into();
    world.succeeds(&Ask::new("update", under(deployment(), "scale"), body, exact(&scale))).await;
    let object = world.get(SHOP).await;
    assert_eq!(object["spec"]["replicas"], 7);

    let body = json!({"status": {"observedGeneration": 1}});
    let ask = Ask::new("merge-patch", under(deployment(), "status"), body, exact(&object));
    let (terms, performed) = world.perform(&ask).await;
    assert!(format!("{performed:?}").starts_with("Succeeded"), "{performed:?}");
    let object = world.get(SHOP).await;
    assert_eq!((&object["status"]["observedGeneration"], &object["spec"]["replicas"]), (&json!(1), &json!(7)));
    assert_eq!(world.audited(&terms).await["objectRef"]["subresource"], "status");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_evicted_and_only_the_certified_one() {
    let world = World::new().await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({
        "metadata": {"name": "one"},
        "spec": {"containers": [{"name": "main", "image": "example.org/one:1"}], "automountServiceAccountToken": false},
    });
    let make = async || {
        let (status, answer) = world.cluster.admin.post(pods, &pod).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        answer
    };
    let (status, answer) = world
        .cluster
        .admin
        .post("/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "default"}}))
        .await;
    assert!(status.is_success() || status == StatusCode::CONFLICT, "{answer}");
    let first = make().await;
    let evict = |pod: &Value| {
        let body =
            json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "one", "namespace": "default"}});
        let resource = under(resource("", "v1", "pods", "one"), "eviction");
        Ask::new("create", resource, body, exact(pod))
    };
    world.succeeds(&evict(&first)).await;
    awaited("the end of the pod", async || match world.cluster.admin.get(&format!("{pods}/one")).await.0 {
        StatusCode::NOT_FOUND => Ok(()),
        status => Err(status),
    })
    .await;
    // Another pod of the same name is another pod.
    make().await;
    let (_, performed) = world.perform(&evict(&first)).await;
    assert!(format!("{performed:?}").starts_with("Rejected { reason: Precondition"), "{performed:?}");
    assert_eq!(world.cluster.admin.get(&format!("{pods}/one")).await.0, StatusCode::OK);
}

/// Why applying has an annotation of its own: under the same name, and by the same field manager, it is in conflict with
/// every other way to write.
#[tokio::test(flavor = "multi_thread")]
async fn applying_counts_as_another_writer() {
    let world = World::new().await;
    world.shop().await;
    let mark = |mutation: &str| json!({"metadata": {"name": "shop", "annotations": {"seb.dev/mutation": mutation}}});
    let by_seb = format!("{SHOP}?fieldManager=seb");
    let (status, answer) = world.cluster.admin.patch(&by_seb, MERGE, &mark("m-1")).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let mut applied = mark("m-2");
    applied["apiVersion"] = json!("apps/v1");
    applied["kind"] = json!("Deployment");
    let (status, answer) = world.cluster.admin.patch(&by_seb, APPLY, &applied).await;
    assert_eq!((status, &answer["reason"]), (StatusCode::CONFLICT, &json!("Conflict")), "{answer}");
    assert!(answer["message"].as_str().unwrap().contains("conflict with \"seb\""), "{answer}");

    // With two there is none, whatever comes after what.
    let labelled = |number: u32| {
        let metadata = json!({"name": "shop", "labels": {"release": number.to_string()}});
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata})
    };
    for number in 0..3 {
        for ask in [
            |shop: &Value, _: Value| Ask::scale("merge-patch", 4, exact(shop)),
            |shop: &Value, body: Value| Ask::new("apply", deployment(), body, exact(shop)),
        ] {
            let shop = world.get(SHOP).await;
            let (terms, _) = world.succeeds(&ask(&shop, labelled(number))).await;
            is_evident(&world, &terms, &world.get(SHOP).await).await;
        }
    }
    assert_eq!(world.get(SHOP).await["metadata"]["labels"]["release"], "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_resources_are_resources_like_any_other() {
    let world = World::new().await;
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition = json!({
        "metadata": {"name": "sales.example.org"},
        "spec": {
            "group": "example.org", "scope": "Cluster",
            "names": {"plural": "sales", "singular": "sale", "kind": "Sale"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": any, "status": any}}},
            }],
        },
    });
    let (status, answer) =
        world.cluster.admin.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    let path = "/apis/example.org/v1/sales";
    awaited("the new kind", async || match world.cluster.admin.get(path).await {
        (StatusCode::OK, _) => Ok(()),
        other => Err(other),
    })
    .await;
    let sale = json!({"group": "example.org", "version": "v1", "resource": "sales", "name": "winter"});
    let body = json!({"apiVersion": "example.org/v1", "kind": "Sale", "metadata": {"name": "winter"}, "spec": {"percent": 10}});
    let (terms, _) = world.succeeds(&Ask::new("create", sale.clone(), body, absent())).await;
    let path = format!("{path}/winter");
    let object = world.get(&path).await;
    is_evident(&world, &terms, &object).await;
    for (verb, body, baseline) in [
        ("merge-patch", json!({"spec": {"percent": 20}}), fields(&object, &["/spec/percent"])),
        ("json-patch", json!([{"op": "add", "path": "/spec/percent", "value": 20}]), fields(&object, &["/spec"])),
    ] {
        let ask = Ask::new(verb, sale.clone(), body, baseline);
        let (_, performed) = world.perform(&ask).await;
        match verb {
            "merge-patch" => assert!(format!("{performed:?}").starts_with("Succeeded"), "{performed:?}"),
            _ => assert!(format!("{performed:?}").contains("reason: Precondition"), "{performed:?}"),
        }
    }
    let object = world.get(&path).await;
    assert_eq!(object["spec"], json!({"percent": 20}));
    let whole = |spec: Value| json!({"apiVersion": "example.org/v1", "kind": "Sale", "metadata": {"name": "winter"}, "spec": spec});
    for (verb, spec, stored, exactly) in [
        ("update", json!({"percent": 30}), json!({"percent": 30}), true),
        ("update", json!({"percent": 40}), json!({"percent": 40}), false),
        ("apply", json!({"colour": "red"}), json!({"percent": 40, "colour": "red"}), true),
        ("apply", json!({"colour": "blue"}), json!({"percent": 40, "colour": "blue"}), false),
    ] {
        let object = world.get(&path).await;
        let baseline = if exactly { exact(&object) } else { fields(&object, &["/spec/percent"]) };
        let (terms, version) = world.succeeds(&Ask::new(verb, sale.clone(), whole(spec), baseline)).await;
        let object = world.get(&path).await;
        assert_eq!((&object["spec"], version.as_deref()), (&stored, object["metadata"]["resourceVersion"].as_str()));
        is_evident(&world, &terms, &object).await;
    }
    // What another writer owns is not applied over; the object is as certified, so it is no drift.
    let object = world.get(&path).await;
    let theirs = Ask::new("apply", sale.clone(), whole(json!({"percent": 50})), exact(&object));
    let performed = format!("{:?}", world.perform(&theirs).await.1);
    assert!(performed.contains("reason: Precondition") && performed.contains("conflict"), "{performed}");
    assert!(performed.contains("drift: None"), "{performed}");

    // Its status is written by itself, and holds no annotation of the object.
    let (spec, mut sold) = (world.get(&path).await["spec"].clone(), whole(Value::Null));
    sold["status"] = json!({"sold": 3});
    let sold = |verb: &str| match verb {
        "merge-patch" => json!({"status": {"sold": 1}}),
        "json-patch" => json!([{"op": "replace", "path": "/status/sold", "value": 2}]),
        _ => {
            let mut body = sold.clone();
            body.as_object_mut().unwrap().remove("spec");
            if verb == "apply" {
                body["status"] = json!({"left": 4});
            }
            body
        }
    };
    for (verb, stored) in [
        ("merge-patch", json!({"sold": 1})),
        ("json-patch", json!({"sold": 2})),
        ("update", json!({"sold": 3})),
        ("apply", json!({"sold": 3, "left": 4})),
    ] {
        let object = world.get(&path).await;
        let ask = Ask::new(verb, under(sale.clone(), "status"), sold(verb), exact(&object));
        let (_, version) = world.succeeds(&ask).await;
        let object = world.get(&path).await;
        assert_eq!((&object["status"], &object["spec"]), (&stored, &spec), "{verb}");
        assert_eq!(version.as_deref(), object["metadata"]["resourceVersion"].as_str(), "{verb}");
        let stale = Ask::new(
            verb,
            under(sale.clone(), "status"),
            sold(verb),
            exact(&json!({"metadata": {
                "uid": object["metadata"]["uid"], "resourceVersion": "1",
            }})),
        );
        let performed = format!("{:?}", world.perform(&stale).await.1);
        assert!(performed.contains("reason: DriftVersion"), "{verb}: {performed}");
    }
    let object = world.get(&path).await;
    world.succeeds(&Ask::new("delete", sale, json!({"propagationPolicy": "Background"}), exact(&object))).await;
    assert_eq!(world.cluster.admin.get(&path).await.0, StatusCode::NOT_FOUND);
}
