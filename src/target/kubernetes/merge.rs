//! A merge patch (RFC 7396) as a JSON Patch (RFC 6902), where both say exactly the same.

use std::collections::BTreeMap;

use crate::contract::{Json, Object, Pointer};

/// The operations that do what the merge patch does, given that tests before them have shown these `fields` to be there;
/// `None` where there are none that surely do.
///
/// A merge patch makes the objects on its way where they are missing, and removes what need not be there; operations fail
/// in both cases. So each place must be in an object that a test has gone through, or in the object itself or its
/// `metadata`, which always are; and what is removed must be a tested field, or lie on the way to one.
pub(super) fn operations(patch: &Json, fields: &BTreeMap<Pointer, Json>) -> Option<Vec<Json>> {
    let Json::Object(patch) = patch else { return None };
    let mut operations = Vec::new();
    let mut path = Vec::new();
    walk(patch, &mut path, fields, &mut operations).then_some(operations)
}

fn walk<'a>(
    patch: &'a Object,
    path: &mut Vec<&'a str>,
    fields: &BTreeMap<Pointer, Json>,
    operations: &mut Vec<Json>,
) -> bool {
    for (name, value) in patch.iter() {
        // In a list these would be positions.
        if may_be_position(name) {
            return false;
        }
        path.push(name);
        let done = match value {
            Json::Object(inner) => {
                !inner.is_empty() && is_object(path, fields) && walk(inner, path, fields, operations)
            }
            Json::Null if is_there(path, fields) => {
                operations.push(operation("remove", path, None));
                true
            }
            Json::Null => false,
            value => {
                operations.push(operation("add", path, Some(value)));
                true
            }
        };
        path.pop();
        if !done {
            return false;
        }
    }
    true
}

/// Whether the token may name a position in a list.
fn may_be_position(token: &str) -> bool {
    token == "-" || token.bytes().all(|b| b.is_ascii_digit())
}

/// Whether there is surely an object in this place.
fn is_object(path: &[&str], fields: &BTreeMap<Pointer, Json>) -> bool {
    let inside = |field: &Pointer| field.tokens().get(path.len()).is_some_and(|token| !may_be_position(token));
    path == ["metadata"] || fields.keys().any(|field| leads(path, field) && inside(field))
}

/// Whether there is surely something in this place.
fn is_there(path: &[&str], fields: &BTreeMap<Pointer, Json>) -> bool {
    // A test for null also holds where there is nothing.
    fields
        .iter()
        .any(|(field, value)| leads(path, field) && (field.tokens().len() > path.len() || *value != Json::Null))
}

fn leads(path: &[&str], field: &Pointer) -> bool {
    field.tokens().len() >= path.len() && path.iter().zip(field.tokens()).all(|(a, b)| a == b)
}

fn operation(op: &str, path: &[&str], value: Option<&Json>) -> Json {
    let path: String = path.iter().flat_map(|token| ["/".into(), crate::contract::escape(token)]).collect();
    let always = [("op", Json::from(op)), ("path", Json::from(path))];
    Json::object(always.into_iter().chain(value.map(|value| ("value", value.clone()))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    fn fields(of: &[(&str, &str)]) -> BTreeMap<Pointer, Json> {
        of.iter().map(|(pointer, value)| (pointer.parse().unwrap(), json(value))).collect()
    }

    #[test]
    fn what_surely_says_the_same_is_turned() {
        for (patch, known, expected) in [
            (
                r#"{"spec":{"replicas":5}}"#,
                &[("/spec/replicas", "3")][..],
                Some(r#"[{"op":"add","path":"/spec/replicas","value":5}]"#),
            ),
            (
                r#"{"metadata":{"labels":{"a":"b"}}}"#,
                &[("/metadata/labels/c~1d", "\"e\"")],
                Some(r#"[{"op":"add","path":"/metadata/labels/a","value":"b"}]"#),
            ),
            (r#"{"data":null}"#, &[("/data", "{}")], Some(r#"[{"op":"remove","path":"/data"}]"#)),
            (r#"{"data":null}"#, &[("/data/x", "null")], Some(r#"[{"op":"remove","path":"/data"}]"#)),
            ("{}", &[("/data", "1")], Some("[]")),
            // Nothing shows that there is a `spec`, labels, data, or something to remove.
            (r#"{"spec":{"replicas":5}}"#, &[("/status/replicas", "3")], None),
            (r#"{"metadata":{"labels":{"a":"b"}}}"#, &[("/spec/replicas", "3")], None),
            (r#"{"spec":{"x":null}}"#, &[("/spec/replicas", "3")], None),
            (r#"{"data":null}"#, &[("/data", "null")], None),
            // An empty object makes one of what is none; a number could be a position.
            (r#"{"spec":{}}"#, &[("/spec/replicas", "3")], None),
            (r#"{"spec":{"0":1}}"#, &[("/spec/replicas", "3")], None),
            (r#"{"spec":{"-":1}}"#, &[("/spec/replicas", "3")], None),
        ] {
            let expected = expected.map(|expected| match json(expected) {
                Json::Array(operations) => operations,
                other => panic!("{other}"),
            });
            assert_eq!(operations(&json(patch), &fields(known)), expected, "{patch}");
        }
    }

    /// RFC 7396, as its section 2 has it.
    fn merged(target: Option<&Json>, patch: &Json) -> Json {
        let Json::Object(patch) = patch else { return patch.clone() };
        let mut members: BTreeMap<String, Json> = match target {
            Some(Json::Object(target)) => target.iter().map(|(name, value)| (name.to_owned(), value.clone())).collect(),
            _ => BTreeMap::new(),
        };
        for (name, value) in patch.iter() {
            match value {
                Json::Null => drop(members.remove(name)),
                value => {
                    let value = merged(members.get(name), value);
                    members.insert(name.to_owned(), value);
                }
            }
        }
        Json::object(members)
    }

    /// RFC 6902 for the two operations; `None` where one fails.
    fn applied(target: &Json, operations: &[Json]) -> Option<Json> {
        let mut value = serde_json::to_value(target).unwrap();
        for operation in operations {
            let path = operation.get("path").and_then(Json::as_str).unwrap();
            let (parent, name) = path.rsplit_once('/').unwrap();
            let parent = value.pointer_mut(parent)?.as_object_mut()?;
            let name = name.replace("~1", "/").replace("~0", "~");
            match operation.get("value") {
                Some(new) => drop(parent.insert(name, serde_json::to_value(new).unwrap())),
                None => drop(parent.remove(&name)?),
            }
        }
        Some(Json::parse(value.to_string().as_bytes()).unwrap())
    }

    fn any_json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![Just(Json::Null), any::<bool>().prop_map(Json::from), (0..3_u32).prop_map(Json::from)];
        let name = prop_oneof!["[abc]", Just("metadata".to_owned()), Just("a/b~".to_owned())];
        leaf.prop_recursive(3, 12, 3, move |inner| {
            prop_oneof![
                4 => proptest::collection::btree_map(name.clone(), inner.clone(), 0..3).prop_map(Json::object),
                1 => proptest::collection::vec(inner, 0..3).prop_map(Json::Array),
            ]
        })
    }

    /// Every place in an object, with its value.
    fn places(value: &Json, path: &str, out: &mut Vec<(Pointer, Json)>) {
        if let Json::Object(object) = value {
            for (name, value) in object.iter() {
                let path = format!("{path}/{}", crate::contract::escape(name));
                out.push((path.parse().unwrap(), value.clone()));
                places(value, &path, out);
            }
        }
    }

    proptest! {
        /// Whatever the object is, as long as the tests hold of it: the operations do what the merge patch does.
        #[test]
        fn i4_operations_do_what_the_patch_says(
            object in any_json(), patch in any_json(), picks in proptest::collection::vec(any::<proptest::sample::Index>(), 1..4)
        ) {
            let mut known = Vec::new();
            let object = merged(Some(&json(r#"{"metadata":{"name":"x"}}"#)), &object);
            prop_assume!(matches!(object.get("metadata"), Some(Json::Object(_))));
            places(&object, "", &mut known);
            let fields: BTreeMap<_, _> = picks.iter().map(|pick| pick.get(&known).clone()).collect();
            if let Some(operations) = operations(&patch, &fields) {
                prop_assert_eq!(applied(&object, &operations), Some(merged(Some(&object), &patch)));
            }
        }
    }
}
