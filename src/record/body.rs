//! The bodies of each kind: their schemas, and whether a body keeps that of its kind and the fields by which it is found.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::about::{About, Decided};
use super::decision::{Evaluated, Inline, Refused};
use super::statement::Statement;
use super::{Kind, MAX_ARTEFACT, MAX_ARTEFACTS, MAX_NUMBER, MAX_SUBJECTS, genesis, outcome};
use crate::contract::{Json, TargetName, decode};
use crate::digest::Digest;
use crate::execution::State;
use crate::reason::Reason;
use crate::timestamp::Timestamp;

/// The body of a `boundary` record.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "boundary")]
#[expect(dead_code, reason = "for the schema and the check of the form")]
struct Boundary {
    /// The target.
    #[schemars(with = "String")]
    target: TargetName,
    /// What the proof showed: `proven` or `broken`.
    status: BoundaryStatus,
}

/// What a proof of the boundary showed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum BoundaryStatus {
    /// Every identity that the broker did not mint was refused.
    Proven,
    /// At least one was not.
    Broken,
}

/// The body of an `admission` record: an authority's own log.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "admission")]
#[expect(dead_code, reason = "for the schema and the check of the form")]
struct Admission {
    /// What became of the proposal: `admitted`, `refused`, `pending`, or what the authority did besides.
    event: String,
}

/// Whether the body keeps the schema of its kind and says the same as the fields by which it is found.
pub(super) fn check(kind: Kind, about: &About, body: &Json) -> Result<(), String> {
    match kind {
        Kind::Genesis => read::<genesis::Wire>(body).map(drop),
        Kind::Epoch => read::<outcome::EpochWire>(body).map(drop),
        Kind::Boundary => read::<Boundary>(body).map(drop),
        Kind::Admission => read::<Admission>(body).map(drop),
        Kind::Outcome => {
            let outcome = read::<outcome::Wire>(body)?;
            agree("mutation_id", Some(&outcome.mutation_id) == about.mutation_id.as_ref())?;
            agree("state", Some(outcome.state) == about.state && outcome.state != State::Running)?;
            agree("decision", about.decision.is_none())
        }
        Kind::Decision if is_refusal(body) => {
            let refused = read::<Refused>(body)?;
            agree("decision", about.decision == Some(Decided::Deny))?;
            agree("mutation_id", about.mutation_id.is_none())?;
            agree("reason", about.reason == Some(refused.denial.reason))
        }
        Kind::Decision => {
            let evaluated = read::<Evaluated>(body)?;
            let allowed = about.decision == Some(Decided::Allow);
            agree("decision", about.decision.is_some() && about.state.is_none())?;
            agree("mutation_id", about.mutation_id.is_some() == allowed)?;
            agree("reason", about.reason.is_none() == allowed)?;
            let planned = match (&evaluated.identity, &about.mutation_id) {
                (Some(identity), Some(mutation)) => identity.is_of(mutation),
                (identity, mutation) => identity.is_none() && mutation.is_none(),
            };
            if !planned {
                return Err("`/identity` is not that of the mutation".to_owned());
            }
            match evaluated.decision {
                Inline::Artefact(_) => Ok(()),
                Inline::Here => body.get("decision").map_or(Ok(()), |decision| agree_with(about, decision)),
            }
        }
    }
}

/// Whether the body of a decision is a refusal before the certificate was known to be good.
pub(super) fn is_refusal(body: &Json) -> bool {
    body.get("denial").is_some()
}

/// The number of the decision that an outcome names.
pub(super) fn decision_of(statement: &Statement) -> Option<u64> {
    read::<outcome::Wire>(&statement.body).ok().map(|outcome| outcome.decision)
}

/// Whether a decision says the same as the fields by which it is found.
pub(super) fn agree_with(about: &About, decision: &Json) -> Result<(), String> {
    let text = |json: Option<&Json>| json.and_then(Json::as_str).map(str::to_owned);
    let permit = decision.get("permit");
    agree("decision", text(decision.get("decision")) == about.decision.map(|decided| decided.as_str().to_owned()))?;
    agree("reason", text(decision.get("answer")) == about.reason.map(|reason| reason.code().to_owned()))?;
    let mutation = permit.and_then(|permit| permit.get("mutation_id"));
    agree("mutation_id", text(mutation) == about.mutation_id.as_ref().map(ToString::to_string))
}

pub(super) fn read<T: DeserializeOwned>(body: &Json) -> Result<T, String> {
    decode(body).map_err(|(place, error)| format!("`{place}`: {error}"))
}

fn agree(field: &str, same: bool) -> Result<(), String> {
    if same { Ok(()) } else { Err(format!("it contradicts `/about/{field}`")) }
}

/// The JSON Schema (draft 2020-12) of a record's statement, as `docs/records.schema.json` has it.
pub fn json_schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let kinds: Vec<Value> = Kind::ALL
        .into_iter()
        .map(|kind| {
            let body = body_schema(kind, &mut generator);
            json!({
                "if": { "properties": { "predicateType": { "const": kind.predicate_type() } } },
                "then": { "properties": { "predicate": { "properties": { "body": body } } } },
            })
        })
        .collect();
    let text = json!({ "type": "string" });
    let digest = generator.subschema_for::<Digest>().to_value();
    let time = generator.subschema_for::<Timestamp>().to_value();
    let predicate = json!({
        "log": object(&["number", "previous", "time"], json!({
            "number": { "type": "integer", "minimum": 1, "maximum": MAX_NUMBER },
            "previous": digest,
            "time": time,
        })),
        "about": object(&[], json!({
            "agent": text, "authority": text, "target": text, "resource": { "type": "string", "maxLength": 2048 },
            "certificate": digest, "mutation_id": { "type": "string", "pattern": "^m-[a-z2-7]{52}$" },
            "decision": generator.subschema_for::<Decided>().to_value(),
            "state": generator.subschema_for::<State>().to_value(),
            "reason": generator.subschema_for::<Reason>().to_value(),
        })),
        "artefacts": { "type": "array", "maxItems": MAX_ARTEFACTS, "items": object(
            &["digest", "media_type", "size"],
            json!({
                "digest": digest,
                "media_type": { "type": "string", "minLength": 1, "maxLength": 256 },
                "size": { "type": "integer", "minimum": 0, "maximum": MAX_ARTEFACT },
            }),
        ) },
        "body": { "type": "object" },
    });
    let sha256 = json!({ "type": "string", "pattern": "^[0-9a-f]{64}$" });
    let subject = object(
        &["name", "digest"],
        json!({
            "name": { "type": "string", "minLength": 1, "maxLength": 256 },
            "digest": object(&["sha256"], json!({ "sha256": sha256 })),
        }),
    );
    let mut schema = object(
        &["_type", "subject", "predicateType", "predicate"],
        json!({
            "_type": { "const": "https://in-toto.io/Statement/v1" },
            "subject": { "type": "array", "minItems": 1, "maxItems": MAX_SUBJECTS, "items": subject },
            "predicateType": { "enum": Kind::ALL.map(Kind::predicate_type) },
            "predicate": object(&["log", "about", "artefacts", "body"], predicate),
        }),
    );
    if let Some(members) = schema.as_object_mut() {
        members.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
        members.insert("$id".into(), "https://seb.dev/record/statement/v1".into());
        members.insert("title".into(), "The in-toto statement of a record".into());
        members.insert("allOf".into(), kinds.into());
        members.insert("$defs".into(), generator.take_definitions(true).into());
    }
    schema.sort_all_objects();
    schema
}

fn body_schema(kind: Kind, generator: &mut SchemaGenerator) -> Value {
    let schema = match kind {
        Kind::Genesis => generator.subschema_for::<genesis::Wire>(),
        Kind::Outcome => generator.subschema_for::<outcome::Wire>(),
        Kind::Epoch => generator.subschema_for::<outcome::EpochWire>(),
        Kind::Boundary => generator.subschema_for::<Boundary>(),
        Kind::Admission => generator.subschema_for::<Admission>(),
        Kind::Decision => {
            let refused = generator.subschema_for::<Refused>().to_value();
            let evaluated = generator.subschema_for::<Evaluated>().to_value();
            return json!({ "if": { "required": ["denial"] }, "then": refused, "else": evaluated });
        }
    };
    schema.to_value()
}

/// An object of these properties and no others.
fn object(required: &[&str], properties: Value) -> Value {
    json!({ "type": "object", "additionalProperties": false, "required": required, "properties": properties })
}
