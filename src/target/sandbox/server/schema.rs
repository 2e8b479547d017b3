//! The kinds of objects that the sandbox has, and what a valid one looks like.

use crate::contract::Json;

/// A kind of object.
#[derive(Debug)]
struct Collection {
    name: &'static str,
    fields: &'static [Field],
}

/// A member of an object. Members that are not listed are refused.
#[derive(Debug)]
struct Field {
    name: &'static str,
    required: bool,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Bool,
    Integer(i64, i64),
    /// Text of 1 to this many characters without control characters.
    Text(usize),
    OneOf(&'static [&'static str]),
    /// Up to this many integers inside these bounds.
    Integers(usize, i64, i64),
    /// Up to this many members whose values are texts of up to 256 characters.
    Labels(usize),
}

const fn required(name: &'static str, form: Form) -> Field {
    Field { name, required: true, form }
}

const fn optional(name: &'static str, form: Form) -> Field {
    Field { name, required: false, form }
}

static COLLECTIONS: &[Collection] = &[
    Collection {
        name: "services",
        fields: &[
            required("replicas", Form::Integer(0, 1000)),
            required("image", Form::Text(256)),
            optional("public", Form::Bool),
            optional("labels", Form::Labels(16)),
        ],
    },
    Collection {
        name: "firewall-rules",
        fields: &[
            required("direction", Form::OneOf(&["ingress", "egress"])),
            required("action", Form::OneOf(&["allow", "deny"])),
            required("protocol", Form::OneOf(&["tcp", "udp", "icmp"])),
            required("ports", Form::Integers(16, 0, 65_535)),
            required("peer", Form::Text(64)),
            optional("description", Form::Text(256)),
        ],
    },
    Collection {
        name: "feature-flags",
        fields: &[
            required("enabled", Form::Bool),
            optional("rollout_percent", Form::Integer(0, 100)),
            optional("description", Form::Text(256)),
        ],
    },
];

/// Whether `object` is a valid object of `collection`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(collection: &str, object: &Json) -> Result<(), String> {
    let collection = COLLECTIONS.iter().find(|it| it.name == collection).ok_or_else(|| {
        let names: Vec<_> = COLLECTIONS.iter().map(|it| it.name).collect();
        format!("there is no collection `{collection}`, but {}", names.join(", "))
    })?;
    let Json::Object(members) = object else { return Err("not an object".to_owned()) };
    for (name, value) in members.iter() {
        match collection.fields.iter().find(|field| field.name == name) {
            Some(field) if field.form.admits(value) => {}
            Some(field) => return Err(format!("`/{name}` is not {}", field.form.describe())),
            None => {
                let name: String = name.chars().take(80).collect();
                return Err(format!("`/{name}` is not a field of {}", collection.name));
            }
        }
    }
    match collection.fields.iter().find(|field| field.required && members.get(field.name).is_none()) {
        Some(field) => Err(format!("`/{}` is missing: {}", field.name, field.form.describe())),
        None => Ok(()),
    }
}

impl Form {
    fn admits(&self, value: &Json) -> bool {
        let integer = |value: &Json, least: i64, most: i64| match value {
            Json::Number(number) => number.as_integer().is_some_and(|it| (least..=most).contains(&it)),
            _ => false,
        };
        let text = |value: &Json, most: usize| match value {
            Json::String(text) => (1..=most).contains(&text.chars().count()) && !text.chars().any(char::is_control),
            _ => false,
        };
        match (self, value) {
            (Self::Bool, Json::Bool(_)) => true,
            (Self::Integer(least, most), value) => integer(value, *least, *most),
            (Self::Text(most), value) => text(value, *most),
            (Self::OneOf(names), Json::String(name)) => names.contains(&name.as_str()),
            (Self::Integers(count, least, most), Json::Array(values)) => {
                values.len() <= *count && values.iter().all(|value| integer(value, *least, *most))
            }
            (Self::Labels(count), Json::Object(members)) => {
                members.len() <= *count && members.iter().all(|(name, value)| name.len() <= 63 && text(value, 256))
            }
            _ => false,
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Bool => "true or false".to_owned(),
            Self::Integer(least, most) => format!("an integer from {least} to {most}"),
            Self::Text(most) => format!("text of 1 to {most} characters"),
            Self::OneOf(names) => format!("one of {}", names.join(", ")),
            Self::Integers(count, least, most) => format!("at most {count} integers from {least} to {most}"),
            Self::Labels(count) => format!("at most {count} named texts"),
        }
    }
}

/// `patch` merged into `target` (RFC 7396).
pub(super) fn merge(target: &Json, patch: &Json) -> Json {
    let Json::Object(changes) = patch else { return patch.clone() };
    let empty = Json::Object(crate::contract::Object::default());
    let base = if let Json::Object(members) = target { members } else { &Default::default() };
    let kept = base.iter().filter(|(name, _)| changes.get(name).is_none());
    let kept = kept.map(|(name, value)| (name.to_owned(), value.clone()));
    let changed = changes.iter().filter(|(_, value)| **value != Json::Null);
    let changed = changed.map(|(name, value)| (name.to_owned(), merge(base.get(name).unwrap_or(&empty), value)));
    Json::object(kept.chain(changed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn valid_objects_of_every_kind_are_taken() {
        for (collection, object) in [
            ("services", r#"{"replicas":0,"image":"a"}"#),
            ("services", r#"{"replicas":1000,"image":"a","public":true,"labels":{"team":"shop"}}"#),
            (
                "firewall-rules",
                r#"{"direction":"ingress","action":"deny","protocol":"tcp","ports":[0,65535],"peer":"10.0.0.0/8"}"#,
            ),
            ("feature-flags", r#"{"enabled":false,"rollout_percent":100,"description":"d"}"#),
        ] {
            assert_eq!(check(collection, &json(object)), Ok(()), "{object}");
        }
    }

    #[test]
    fn every_broken_rule_is_named() {
        for (collection, object, expected) in [
            ("secrets", "{}", "no collection `secrets`"),
            ("services", "[]", "not an object"),
            ("services", r#"{"replicas":1}"#, "`/image` is missing"),
            ("services", r#"{"replicas":1001,"image":"a"}"#, "`/replicas` is not an integer from 0 to 1000"),
            ("services", r#"{"replicas":-1,"image":"a"}"#, "`/replicas`"),
            ("services", r#"{"replicas":1.5,"image":"a"}"#, "`/replicas`"),
            ("services", r#"{"replicas":"1","image":"a"}"#, "`/replicas`"),
            ("services", r#"{"replicas":1,"image":""}"#, "`/image`"),
            ("services", r#"{"replicas":1,"image":"a\n"}"#, "`/image`"),
            ("services", r#"{"replicas":1,"image":"a","command":"sh"}"#, "`/command` is not a field of services"),
            ("services", r#"{"replicas":1,"image":"a","labels":{"a":1}}"#, "`/labels`"),
            ("feature-flags", r#"{"enabled":"yes"}"#, "`/enabled` is not true or false"),
            (
                "firewall-rules",
                r#"{"direction":"in","action":"deny","protocol":"tcp","ports":[],"peer":"a"}"#,
                "one of ingress, egress",
            ),
            (
                "firewall-rules",
                r#"{"direction":"egress","action":"deny","protocol":"tcp","ports":[65536],"peer":"a"}"#,
                "`/ports`",
            ),
        ] {
            let error = check(collection, &json(object)).unwrap_err();
            assert!(error.contains(expected), "{object}: {error}");
        }
    }

    /// Appendix A of RFC 7396.
    #[test]
    fn merging_is_that_of_rfc_7396() {
        for (original, patch, result) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
            (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
            (r#"{"a":"foo"}"#, "null", "null"),
            (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"a":1,"e":null}"#),
            ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            assert_eq!(merge(&json(original), &json(patch)), json(result), "{original} with {patch}");
        }
    }
}
