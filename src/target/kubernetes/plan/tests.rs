use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::contract::{Choice, Contract};
use crate::digest::Digest;

fn mutation() -> MutationId {
    MutationId::derive(&Digest::of(b"certificate"), &"step".parse().unwrap(), 1)
}

fn deployment(subresource: Option<&str>) -> Value {
    let mut resource = json!({
        "group": "apps", "version": "v1", "resource": "deployments", "namespace": "shop", "name": "checkout",
    });
    if let Some(subresource) = subresource {
        resource["subresource"] = subresource.into();
    }
    resource
}

fn exact() -> Value {
    json!({"mode": "exact", "identity": "uid-1", "version": "42"})
}

fn fields(of: Value) -> Value {
    json!({"mode": "fields", "identity": "uid-1", "version": "42", "fields": of})
}

pub(in super::super) fn call(verb: &str, resource: &Value, body: &Value, baseline: &Value) -> Call {
    let mut mutation = json!({"verb": verb, "resource": resource});
    if !body.is_null() {
        mutation["body"] = body.clone();
    }
    let text = json!({
        "schema": "seb.dev/contract/v1",
        "target": {"kind": "kubernetes", "name": "prod"},
        "steps": [{"name": "step", "mutation": mutation, "baseline": baseline}],
        "limits": {
            "uses": 1, "spacing_seconds": 0,
            "not_before": "2026-11-24T09:00:00Z", "not_after": "2026-11-24T10:00:00Z",
        },
        "deadline_seconds": 30,
    });
    Contract::compile(&text.to_string()).unwrap().call(None, &Choice::default()).unwrap()
}

fn plan(verb: &str, body: Value, baseline: &Value) -> Result<Plan, String> {
    Plan::of(&call(verb, &deployment(None), &body, baseline))
}

fn seen(version: &str, annotated: bool, fields: &[(&str, Option<u32>)]) -> Seen {
    Seen {
        uid: "uid-1".to_owned(),
        version: version.parse().unwrap(),
        annotated,
        fields: fields.iter().map(|(pointer, value)| (pointer.parse().unwrap(), value.map(Json::from))).collect(),
    }
}

fn sent(plan: &Plan, seen: Option<&Seen>) -> (Method, String, &'static str, Value) {
    let wire = plan.request(&mutation(), 30, seen).unwrap();
    (wire.method, wire.target, wire.media_type, serde_json::from_slice(&wire.body).unwrap())
}

const OBJECT: &str = "/apis/apps/v1/namespaces/shop/deployments/checkout";
const WRITE: &str = "fieldManager=seb&fieldValidation=Strict&timeout=30s";

#[test]
fn i4_the_body_is_what_was_certified_with_baseline_and_annotation() {
    let id = mutation().to_string();
    let metadata = json!({"uid": "uid-1", "resourceVersion": "42", "annotations": {"seb.dev/mutation": id}});
    for (verb, media_type) in [
        ("merge-patch", "application/merge-patch+json"),
        ("strategic-merge-patch", "application/strategic-merge-patch+json"),
    ] {
        let plan = plan(verb, json!({"spec": {"replicas": 5}}), &exact()).unwrap();
        assert_eq!((plan.needs(), plan.grade(), plan.operation), (Needs::Nothing, Grade::Atomic, Operation::Update));
        let body = json!({"spec": {"replicas": 5}, "metadata": metadata});
        assert_eq!(sent(&plan, None), (Method::PATCH, format!("{OBJECT}?{WRITE}"), media_type, body));
    }
    let plan = plan("apply", json!({"apiVersion": "apps/v1", "metadata": {"name": "checkout"}}), &exact()).unwrap();
    let (method, target, media_type, body) = sent(&plan, None);
    assert_eq!((method, media_type), (Method::PATCH, "application/apply-patch+yaml"));
    assert_eq!(target, format!("{OBJECT}?fieldManager=seb&fieldValidation=Strict&force=false&timeout=30s"));
    let mut named = metadata.clone();
    named["name"] = "checkout".into();
    named["annotations"] = json!({"seb.dev/applied": id});
    assert_eq!(body, json!({"apiVersion": "apps/v1", "metadata": named}));
}

#[test]
fn creation_and_deletion() {
    let id = mutation().to_string();
    let absent = json!({"mode": "absent"});
    let create = plan("create", json!({"metadata": {"name": "checkout", "annotations": {"a": "b"}}}), &absent).unwrap();
    let body = json!({"metadata": {"name": "checkout", "annotations": {"a": "b", "seb.dev/mutation": id}}});
    let path = format!("/apis/apps/v1/namespaces/shop/deployments?{WRITE}");
    assert_eq!(sent(&create, None), (Method::POST, path, "application/json", body));
    assert_eq!(
        (create.grade(), create.urn().as_str()),
        (Grade::Atomic, "urn:seb:call:CREATE:apps/deployments:shop/checkout")
    );
    // Nothing in the request keeps apply from changing what there is.
    let apply = plan("apply", json!({"metadata": {"name": "checkout"}}), &absent).unwrap();
    assert_eq!((apply.grade(), apply.operation), (Grade::Bounded, Operation::Create));

    let delete = plan("delete", json!({"propagationPolicy": "Foreground"}), &exact()).unwrap();
    let body = json!({
        "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground",
        "preconditions": {"uid": "uid-1", "resourceVersion": "42"},
    });
    assert_eq!(sent(&delete, None), (Method::DELETE, format!("{OBJECT}?timeout=30s"), "application/json", body));
    let delete = plan("delete", Value::Null, &fields(json!({"/spec/replicas": 3}))).unwrap();
    assert_eq!(delete.needs(), Needs::Version);
    let (.., body) = sent(&delete, Some(&seen("57", true, &[("/spec/replicas", Some(3))])));
    assert_eq!(body["preconditions"], json!({"uid": "uid-1", "resourceVersion": "57"}));
}

#[test]
fn fields_are_tested_in_the_request_where_they_can_be() {
    let id = mutation().to_string();
    let baseline = fields(json!({"/spec/replicas": 3}));
    let tests = [
        json!({"op": "test", "path": "/metadata/uid", "value": "uid-1"}),
        json!({"op": "test", "path": "/spec/replicas", "value": 3}),
    ];
    let annotating = [
        json!({"op": "add", "path": "/metadata/annotations/seb.dev~1mutation", "value": id}),
        json!({"op": "test", "path": "/metadata/annotations", "value": null}),
        json!({"op": "add", "path": "/metadata/annotations", "value": {"seb.dev/mutation": id}}),
    ];
    let set = json!({"op": "add", "path": "/spec/replicas", "value": 5});
    for (verb, body) in [("merge-patch", json!({"spec": {"replicas": 5}})), ("json-patch", json!([set]))] {
        let plan = plan(verb, body, &baseline).unwrap();
        assert_eq!((plan.needs(), plan.grade()), (Needs::Annotations, Grade::Atomic));
        for (annotated, annotating) in [(true, &annotating[..1]), (false, &annotating[1..])] {
            let (_, target, media_type, body) = sent(&plan, Some(&seen("57", annotated, &[])));
            assert_eq!((target, media_type), (format!("{OBJECT}?{WRITE}"), "application/json-patch+json"));
            assert_eq!(body, json!([&tests[..], annotating, std::slice::from_ref(&set)].concat()));
        }
    }
    // A scale has nobody's annotations: nothing has to be known of it.
    let scale = Plan::of(&call("json-patch", &deployment(Some("scale")), &json!([set]), &baseline)).unwrap();
    assert_eq!(
        (scale.needs(), scale.urn().as_str()),
        (Needs::Nothing, "urn:seb:call:UPDATE:apps/deployments/scale:shop/checkout")
    );
    assert_eq!(sent(&scale, None).3, json!([tests[0], tests[1], set]));
    assert_eq!(state_path(&scale.resource), format!("{OBJECT}/scale"));
}

#[test]
fn where_fields_cannot_be_tested_the_version_that_was_seen_is_bound() {
    let baseline = fields(json!({"/spec/replicas": 3}));
    for (verb, body) in [
        ("update", json!({"spec": {"replicas": 5}})),
        ("apply", json!({"spec": {"replicas": 5}})),
        ("strategic-merge-patch", json!({"spec": {"replicas": 5}})),
        ("merge-patch", json!({"spec": {"paused": null}})),
    ] {
        let plan = plan(verb, body, &baseline).unwrap();
        assert_eq!((plan.needs(), plan.grade()), (Needs::Version, Grade::Atomic), "{verb}");
        assert_eq!(plan.fields().map(ToString::to_string).collect::<Vec<_>>(), ["/spec/replicas"]);
        let (.., body) = sent(&plan, Some(&seen("57", false, &[("/spec/replicas", Some(3))])));
        assert_eq!((&body["metadata"]["uid"], &body["metadata"]["resourceVersion"]), (&json!("uid-1"), &json!("57")));
        for (seen, drift) in [
            (
                seen("57", false, &[("/spec/replicas", Some(7))]),
                "drift_field: `/spec/replicas`: certified is 3, found was 7",
            ),
            (seen("57", false, &[("/spec/replicas", None)]), "drift_field: `/spec/replicas` is gone"),
            (
                Seen { uid: "uid-2".to_owned(), ..seen("57", false, &[]) },
                "drift_identity: certified is `uid-1`, found was `uid-2`",
            ),
        ] {
            match plan.request(&mutation(), 30, Some(&seen)) {
                Err(Unfit::Drift(denial)) => assert_eq!(denial.to_string(), drift),
                other => panic!("{other:?}"),
            }
        }
        let unread = plan.request(&mutation(), 30, Some(&seen("57", false, &[])));
        assert!(matches!(&unread, Err(Unfit::Call(why)) if why.contains("/spec/replicas")), "{unread:?}");
    }
}

#[test]
fn an_eviction_is_bound_to_its_pod() {
    let pod = json!({
        "group": "", "version": "v1", "resource": "pods", "subresource": "eviction", "namespace": "shop", "name": "a-1",
    });
    let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a-1"}});
    let plan = Plan::of(&call("create", &pod, &body, &exact())).unwrap();
    assert_eq!((plan.grade(), plan.urn().as_str()), (Grade::Atomic, "urn:seb:call:CREATE:/pods/eviction:shop/a-1"));
    let (method, target, _, sent) = sent(&plan, None);
    assert_eq!((method, target), (Method::POST, format!("/api/v1/namespaces/shop/pods/a-1/eviction?{WRITE}")));
    assert_eq!(sent["deleteOptions"], json!({"preconditions": {"uid": "uid-1", "resourceVersion": "42"}}));
    assert_eq!(state_path(&plan.resource), "/api/v1/namespaces/shop/pods/a-1");
    // Other subresources have no place for a baseline.
    let token = json!({
        "group": "", "version": "v1", "resource": "serviceaccounts", "subresource": "token", "namespace": "shop", "name": "a",
    });
    assert_eq!(Plan::of(&call("create", &token, &json!({}), &exact())).unwrap().grade(), Grade::Bounded);
}

#[test]
fn i4_what_only_the_broker_says_no_body_brings() {
    let exact = exact();
    let operation = |op: &str, path: &str| json!([{"op": op, "path": path, "value": {}}]);
    for (verb, body, problem) in [
        ("merge-patch", json!({"metadata": {"annotations": {"seb.dev/mutation": "m-x"}}}), "which the broker writes"),
        ("apply", json!({"metadata": {"annotations": {"seb.dev/applied": "m-x"}}}), "which the broker writes"),
        ("json-patch", operation("add", "/metadata/annotations/seb.dev~1applied"), "seb.dev~1applied`"),
        ("merge-patch", json!({"metadata": {"annotations": null}}), "would remove the mutation id"),
        ("merge-patch", json!({"metadata": null}), "`/metadata` of the body is not an object"),
        ("strategic-merge-patch", json!({"metadata": {"annotations": {"$patch": "replace"}}}), "a directive"),
        ("strategic-merge-patch", json!({"metadata": {"$patch": "delete"}}), "a directive over all metadata"),
        ("update", json!({"metadata": {"generateName": "x"}}), "choose the name"),
        ("delete", json!({"dryRun": ["All"]}), "deletes nothing"),
        ("json-patch", operation("add", ""), "writes ``"),
        ("json-patch", operation("replace", "/metadata"), "writes `/metadata`"),
        ("json-patch", operation("add", "/metadata/annotations"), "writes `/metadata/annotations`"),
        ("json-patch", operation("remove", "/metadata/annotations/seb.dev~1mutation"), "seb.dev~1mutation`"),
        ("json-patch", operation("replace", "/metadata/uid"), "writes `/metadata/uid`"),
        ("json-patch", json!([{"op": "move", "from": "/metadata", "path": "/spec/x"}]), "writes `/metadata`"),
        ("json-patch", json!([{"path": "/spec/x"}]), "has no `op`"),
    ] {
        let error = plan(verb, body.clone(), &exact).expect_err(&body.to_string());
        assert!(error.contains(problem), "{body}: {error}");
    }
    let other = json!([{"op": "add", "path": "/metadata/annotations/other", "value": "x"}]);
    assert!(plan("json-patch", other, &exact).is_ok());
    for (body, problem) in [
        (json!({"metadata": {"resourceVersion": "41"}}), "the body says `41` for `resourceVersion`"),
        (json!({"metadata": {"uid": "uid-2"}}), "the body says `uid-2` for `uid`"),
        (json!({"metadata": {"uid": 7}}), "`uid` of the body is not text"),
    ] {
        match plan("merge-patch", body, &exact).unwrap().request(&mutation(), 30, None) {
            Err(Unfit::Call(error)) => assert!(error.contains(problem), "{error}"),
            other => panic!("{other:?}"),
        }
    }
    let exec = json!({
        "group": "", "version": "v1", "resource": "pods", "subresource": "exec", "namespace": "shop", "name": "a",
    });
    assert!(Plan::of(&call("create", &exec, &json!({}), &exact)).unwrap_err().contains("is a stream"));
}

#[test]
fn names_are_one_segment_of_the_path() {
    let resource = |name: &str| KubernetesResource {
        group: String::new(),
        version: "v1".to_owned(),
        resource: "things".to_owned(),
        subresource: None,
        namespace: None,
        name: name.to_owned(),
    };
    assert_eq!(object_path(&resource("system:a")), "/api/v1/things/system:a");
    assert_eq!(object_path(&resource("a?b#c\"")), "/api/v1/things/a%3Fb%23c%22");
}

proptest! {
    /// Whatever a body holds beside what is reserved arrives as it was certified.
    #[test]
    fn i4_nothing_else_of_a_body_changes(
        spec in "[a-z]{1,5}", number in 0..100_u32, label in "[a-z]{1,5}", annotation in "[a-z]{1,5}"
    ) {
        let body = json!({
            "spec": {spec: number}, "metadata": {"labels": {label: "x"}, "annotations": {annotation: "y"}},
        });
        let plan = plan("merge-patch", body.clone(), &exact()).unwrap();
        let (.., mut arrives) = sent(&plan, None);
        let metadata = arrives["metadata"].as_object_mut().unwrap();
        prop_assert_eq!(metadata.remove("uid"), Some(json!("uid-1")));
        prop_assert_eq!(metadata.remove("resourceVersion"), Some(json!("42")));
        let annotations = metadata["annotations"].as_object_mut().unwrap();
        prop_assert_eq!(annotations.remove(ANNOTATION), Some(json!(mutation().to_string())));
        prop_assert_eq!(arrives, body);
    }
}
