//! The published schema of the format.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::document::Contract;
use super::resource::{TargetKind, Verb};
use super::wire::ContractWire;

/// The JSON Schema (draft 2020-12) of a contract, as `docs/contract.schema.json` has it.
///
/// It holds the structure: fields, types, forms, ranges, and which verbs and resources a kind of target has. The other
/// rules between fields (body and parameters, steps that refer to each other) are only checked by
/// [`Contract::parse`].
pub fn json_schema() -> Value {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<ContractWire>();
    schema.insert("$id".into(), format!("https://{}", Contract::SCHEMA).into());
    schema.insert("allOf".into(), TargetKind::ALL.into_iter().map(of_kind).collect());
    let mut schema = schema.to_value();
    tidy(&mut schema);
    // In one order, whatever order the JSON library keeps.
    schema.sort_all_objects();
    schema
}

/// What follows from the kind of the target.
fn of_kind(kind: TargetKind) -> Value {
    let resource = match kind {
        TargetKind::Sandbox => "SandboxResource",
        TargetKind::Kubernetes => "KubernetesResource",
        TargetKind::Aws => "AwsResource",
    };
    let verbs: Vec<_> = Verb::FIXED.iter().filter(|verb| verb.is_of(kind)).map(Verb::as_str).collect();
    let verb = if verbs.is_empty() { json!({ "$ref": "#/$defs/AwsOperation" }) } else { json!({ "enum": verbs }) };
    let resource = json!({ "$ref": format!("#/$defs/{resource}") });
    let mutation = json!({ "properties": { "verb": verb, "resource": resource } });
    json!({
        "if": { "properties": { "target": { "properties": { "kind": { "const": kind.as_str() } } } } },
        "then": { "properties": { "steps": { "items": { "properties": { "mutation": mutation } } } } },
    })
}

/// Removes what the generator adds and the format denies (optional fields are absent, not null by default), and the
/// line breaks of the comments that the descriptions are made from.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if members.get("default") == Some(&Value::Null) {
                members.remove("default");
            }
            if let Some(Value::String(text)) = members.get_mut("description") {
                *text =
                    text.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect::<Vec<_>>().join("\n\n");
            }
            members.values_mut().for_each(tidy);
        }
        Value::Array(values) => values.iter_mut().for_each(tidy),
        _ => {}
    }
}
