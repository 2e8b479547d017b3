//! Whether an object that was written is as the certified body says. Plain functions.
//!
//! Mutating webhooks and policies come after authentication and before the write, and can make something else of a
//! certified body; the answer shows what was stored. An API server itself adds defaults and elements of lists, leaves out
//! what is empty, and writes quantities and times in a form of its own: none of that counts. What counts is a place
//! where the body has a value and the object has another one of its kind, or none.
//!
//! So it can miss a place, and must not name one that nobody rewrote: two texts that both begin like a number count as the
//! same, and after a bound nothing more is compared, because the record of the outcome waits for it.

use std::borrow::Cow;
use std::cell::Cell;

use serde_json::{Map, Value};

use crate::contract::Verb;

/// The most values that are held against each other; what is more is not compared. Whoever asks waits for it.
const MAX_COMPARISONS: usize = 100_000;

/// The most characters of a place.
const MAX_PLACE: usize = 300;

/// How a body is to be read.
#[derive(Debug, Clone, Copy)]
struct Form<'a> {
    /// Whether `null` says that there is nothing (a merge patch).
    null_removes: bool,
    /// Whether what looks like a quantity or a time is compared (labels and annotations are plain text).
    exact: bool,
    /// How many values may still be held against each other.
    left: &'a Cell<usize>,
}

/// A place, its last part first.
type Place<'v> = Vec<Cow<'v, str>>;

/// The first place at which `object`, as the API server stored it, is not as `body` says under this verb; a JSON Pointer.
/// `subresource` is whether the call is about a subresource, which has no status of its own to be left out.
pub(super) fn place(verb: &Verb, body: &Value, object: &Value, subresource: bool) -> Option<String> {
    let left = Cell::new(MAX_COMPARISONS);
    let form = Form { null_removes: *verb == Verb::MergePatch, exact: false, left: &left };
    let (prefix, place) = match (verb, body) {
        (Verb::JsonPatch, Value::Array(operations)) => patched(operations, object, form)?,
        (_, Value::Object(body)) => {
            let ours = |name: &&String| match name.as_str() {
                "apiVersion" | "kind" | "stringData" => false,
                "status" => subresource,
                _ => true,
            };
            let differs = body.keys().filter(ours).find_map(|name| {
                let inside = match (name.as_str(), body.get(name)?) {
                    ("metadata", Value::Object(metadata)) => metadata_differs(metadata, object, form),
                    (_, certified) => differs(certified, object.get(name), form),
                };
                within(Cow::Borrowed(name), inside)
            });
            (String::new(), differs?)
        }
        _ => return None,
    };
    let parts = place.iter().rev().flat_map(|part| ["/".into(), part.replace('~', "~0").replace('/', "~1")]);
    Some([prefix].into_iter().chain(parts).flat_map(|part| part.chars().collect::<Vec<_>>()).take(MAX_PLACE).collect())
}

fn within<'v>(name: Cow<'v, str>, place: Option<Place<'v>>) -> Option<Place<'v>> {
    let mut place = place?;
    place.push(name);
    Some(place)
}

/// Of metadata, what nobody but its writers has a part in.
fn metadata_differs<'v>(metadata: &'v Map<String, Value>, object: &Value, form: Form<'_>) -> Option<Place<'v>> {
    ["labels", "annotations"].into_iter().find_map(|name| {
        let (certified, found) = (metadata.get(name)?, object.get("metadata").and_then(|metadata| metadata.get(name)));
        within(Cow::Borrowed(name), differs(certified, found, Form { exact: true, ..form }))
    })
}

/// What each `add` and `replace` says that no later operation touches.
fn patched<'v>(operations: &'v [Value], object: &Value, form: Form<'_>) -> Option<(String, Place<'v>)> {
    let text = |operation: &'v Value, name: &str| operation.get(name).and_then(Value::as_str);
    let touches = |operation: &'v Value, pointer: &str| {
        form.left.set(form.left.get().saturating_sub(1));
        ["path", "from"].iter().filter_map(|name| text(operation, name)).any(|other| overlap(other, pointer))
    };
    operations.iter().enumerate().find_map(|(at, operation)| {
        let (pointer, value) = (text(operation, "path")?, operation.get("value")?);
        let sets = matches!(text(operation, "op"), Some("add" | "replace"));
        // The place of an element moves with those before it.
        let is_index =
            |part: &str| part == "-" || (!part.is_empty() && part.bytes().all(|octet| octet.is_ascii_digit()));
        let compared = pointer
            .strip_prefix("/metadata/")
            .is_none_or(|rest| ["labels/", "annotations/"].iter().any(|prefix| rest.starts_with(prefix)));
        if !sets || !compared || pointer.split('/').any(is_index) || form.left.get() == 0 {
            return None;
        }
        if operations.iter().skip(at + 1).any(|operation| touches(operation, pointer)) {
            return None;
        }
        let form = Form { exact: pointer.starts_with("/metadata/"), ..form };
        Some((pointer.to_owned(), differs(value, object.pointer(pointer), form)?))
    })
}

/// Whether one of two pointers is the other or leads to it.
fn overlap(one: &str, other: &str) -> bool {
    let leads =
        |short: &str, long: &str| long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    leads(one, other) || leads(other, one)
}

/// Where `found` has something else than `certified`, if it has; nothing once as much was compared as may be.
fn differs<'v>(certified: &'v Value, found: Option<&Value>, form: Form<'_>) -> Option<Place<'v>> {
    let here = |differs: bool| differs.then(Place::new);
    form.left.set(form.left.get().checked_sub(1)?);
    let Some(found) = found.filter(|found| !found.is_null()) else { return here(!is_empty(certified)) };
    match (certified, found) {
        (Value::Null, found) => here(form.null_removes && !is_empty(found)),
        // How a list of a strategic merge patch is merged, and not what is in it.
        (Value::Object(certified), _) if certified.contains_key("$patch") => None,
        (Value::Object(certified), Value::Object(found)) => certified
            .iter()
            .filter(|(name, _)| !name.starts_with('$'))
            .find_map(|(name, value)| within(Cow::Borrowed(name), differs(value, found.get(name), form))),
        (Value::Array(certified), Value::Array(found)) => {
            let holds = |value, found| differs(value, Some(found), form).is_none();
            let lost = certified.iter().find(|value| !found.iter().any(|found| holds(value, found)))?;
            // The element that was to be it, if one can be told, says where.
            let name = lost.get("name");
            let same = name.and_then(|name| found.iter().position(|found| found.get("name") == Some(name)));
            let inside = same.and_then(|at| within(at.to_string().into(), differs(lost, found.get(at), form)));
            inside.or_else(|| here(form.left.get() > 0))
        }
        (Value::Number(certified), Value::Number(found)) => here(certified.as_f64() != found.as_f64()),
        (Value::String(certified), Value::String(found)) => {
            // An empty text asks for a default.
            let alike = !form.exact && (certified.is_empty() || (is_measure(certified) && is_measure(found)));
            here(certified != found && !alike)
        }
        (Value::Bool(certified), Value::Bool(found)) => here(certified != found),
        // A quantity can be written as a number.
        (Value::Number(_), Value::String(text)) | (Value::String(text), Value::Number(_)) => here(!is_measure(text)),
        _ => here(true),
    }
}

/// What an API server leaves out.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_f64() == Some(0.0),
        Value::String(value) => value.is_empty(),
        Value::Array(value) => value.is_empty(),
        Value::Object(value) => value.iter().all(|(name, value)| name.starts_with('$') || is_empty(value)),
    }
}

/// Whether it may be a quantity, a duration or a time, which have several forms.
fn is_measure(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_something_rewrote_is_found() {
        let container = |image: &str| json!({"name": "main", "image": image, "imagePullPolicy": "Always"});
        let object = json!({
            "apiVersion": "apps/v1",
            "metadata": {"labels": {"team": "a", "release": "2"}, "annotations": {"x/y": "1"}, "resourceVersion": "9"},
            "spec": {
                "replicas": 9, "paused": true, "cpu": "500m", "at": "2026-11-21T00:00:00Z",
                "template": {"containers": [container("b:2"), {"name": "sidecar"}]}, "args": ["b", "a"],
            },
            "status": {"replicas": 1},
        });
        for (verb, body, expected) in [
            (Verb::MergePatch, json!({"spec": {"replicas": 5}}), Some("/spec/replicas")),
            (Verb::MergePatch, json!({"spec": {"replicas": 9, "gone": false, "none": {"x": []}}}), None),
            (Verb::MergePatch, json!({"spec": {"gone": "x"}}), Some("/spec/gone")),
            (Verb::MergePatch, json!({"spec": {"paused": null}}), Some("/spec/paused")),
            (Verb::Update, json!({"spec": {"paused": null}}), None),
            (Verb::Update, json!({"spec": {"paused": false}}), Some("/spec/paused")),
            (Verb::Update, json!({"spec": {"cpu": "0.5", "at": "2026-11-21T01:00:00+01:00"}, "kind": "X"}), None),
            (Verb::Update, json!({"spec": {"cpu": 1}, "metadata": {"resourceVersion": "8"}}), None),
            (Verb::Update, json!({"spec": {"cpu": {}}}), Some("/spec/cpu")),
            (Verb::Update, json!({"metadata": {"labels": {"release": "1"}}}), Some("/metadata/labels/release")),
            (Verb::Apply, json!({"metadata": {"annotations": {"x/y": "2"}}}), Some("/metadata/annotations/x~1y")),
            (Verb::Apply, json!({"status": {"replicas": 2}}), None),
            (Verb::Apply, json!({"spec": {"args": ["a", "b"]}}), None),
            (Verb::Apply, json!({"spec": {"args": ["a", "c"]}}), Some("/spec/args")),
            (
                Verb::StrategicMergePatch,
                json!({"spec": {"template": {"containers": [{"name": "main", "image": "a:1"}]}}}),
                Some("/spec/template/containers/0/image"),
            ),
            (
                Verb::StrategicMergePatch,
                json!({"spec": {"$retainKeys": ["x"], "template": {"containers": [{"name": "old", "$patch": "delete"}]}}}),
                None,
            ),
            (Verb::JsonPatch, json!([{"op": "replace", "path": "/spec/replicas", "value": 5}]), Some("/spec/replicas")),
            (
                Verb::JsonPatch,
                json!([
                    {"op": "add", "path": "/spec/replicas", "value": 5}, {"op": "remove", "path": "/spec/replicas"},
                    {"op": "add", "path": "/spec/args/-", "value": "z"}, {"op": "add", "path": "/spec/args/0", "value": "z"},
                    {"op": "test", "path": "/spec/cpu", "value": "x"},
                    {"op": "add", "path": "/metadata/resourceVersion", "value": "8"},
                ]),
                None,
            ),
            (
                Verb::JsonPatch,
                json!([{"op": "add", "path": "/metadata/labels/team", "value": "b"}]),
                Some("/metadata/labels/team"),
            ),
        ] {
            assert_eq!(place(&verb, &body, &object, false).as_deref(), expected, "{verb}: {body}");
        }
        let asks = json!({"spec": {"cpu": ""}, "metadata": {"labels": {"team": ""}}});
        assert_eq!(place(&Verb::Update, &asks, &object, false).as_deref(), Some("/metadata/labels/team"));
        let status = json!({"status": {"replicas": 2}});
        assert_eq!(place(&Verb::MergePatch, &status, &object, true).as_deref(), Some("/status/replicas"));
    }

    /// Lists in lists that differ in their last leaf are not compared for minutes, and nothing is said of them.
    #[test]
    fn what_would_take_long_is_not_compared() {
        let nested = |leaf: u32| (0..4).fold(json!([leaf]), |inner, _| Value::Array(vec![inner; 30]));
        let (body, object) = (json!({"spec": nested(1)}), json!({"spec": nested(2)}));
        assert_eq!(place(&Verb::Update, &body, &object, false), None);
        let long = "x".repeat(2 * MAX_PLACE);
        let found = place(&Verb::Update, &json!({ "spec": { long: 1 } }), &json!({ "spec": {} }), false).unwrap();
        assert_eq!(found.len(), MAX_PLACE);
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-z0-9]{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-e~/]{1,2}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Whatever a body says, the object that says the same is as certified, with whatever else it has.
        #[test]
        fn what_was_stored_as_it_was_sent_is_not_rewritten(spec in json_value(), more in json_value()) {
            let (body, object) = (json!({"spec": spec}), json!({"spec": spec, "more": more, "status": more}));
            for verb in [Verb::Create, Verb::Update, Verb::Apply, Verb::StrategicMergePatch] {
                prop_assert_eq!(place(&verb, &body, &object, false), None);
            }
            let patch = json!([{"op": "add", "path": "/spec", "value": body["spec"]}]);
            prop_assert_eq!(place(&Verb::JsonPatch, &patch, &object, false), None);
        }

        /// A number that became another one is found, wherever it is.
        #[test]
        fn another_number_is_found_wherever_it_is(path in prop::collection::vec("[a-z~/]{1,3}", 1..6), n in 1..1000_i64) {
            let nested = |leaf: i64| path.iter().rev().fold(Value::from(leaf), |inner, name| json!({ name: inner }));
            let (body, object) = (json!({"spec": nested(n)}), json!({"spec": nested(n + 1)}));
            let found = place(&Verb::MergePatch, &body, &object, false).unwrap();
            prop_assert_eq!(body.pointer(&found), Some(&Value::from(n)));
        }
    }
}
