//! What an API server says, and what it means for a mutation.

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::connection::Answer;
use super::plan::{Plan, Seen, drift};
use super::rewritten;
use super::urn::Operation;
use crate::contract::{Call, CallBody, Json, Pointer, Version};
use crate::decision::Terms;
use crate::execution::{Performed, Rejection};

/// The most characters of a message that are kept.
const MAX_MESSAGE: usize = 1000;

/// An object in an answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Object(Value);

impl Object {
    /// The object that an answer consists of.
    pub(super) fn read(answer: &Answer) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(&answer.body).map_err(|error| format!("no JSON: {error}"))?;
        let object = Self(value);
        match (object.uid(), object.version(), object.text("/metadata/name")) {
            (Some(_), Some(_), Some(_)) => Ok(object),
            _ => Err("no object with name, uid and version".to_owned()),
        }
    }

    fn text(&self, pointer: &str) -> Option<&str> {
        self.0.pointer(pointer).and_then(Value::as_str)
    }

    pub(super) fn uid(&self) -> Option<&str> {
        self.text("/metadata/uid")
    }

    pub(super) fn version(&self) -> Option<Version> {
        self.text("/metadata/resourceVersion").and_then(|text| text.parse().ok())
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.text("/metadata/name")
    }

    /// The mutation that this annotation names.
    pub(super) fn mutation(&self, annotation: &str) -> Option<&str> {
        self.0.get("metadata")?.get("annotations")?.get(annotation)?.as_str()
    }

    /// Whether its deletion has begun.
    pub(super) fn is_deleted(&self) -> bool {
        self.text("/metadata/deletionTimestamp").is_some()
    }

    /// What a baseline is about. A field whose value no contract could hold is left out, as one that was not read; the
    /// whole object comes without `managedFields`, which is about its writers and not about it.
    pub(super) fn seen<'a>(&self, fields: impl IntoIterator<Item = &'a Pointer>) -> Option<Seen> {
        let fields = fields.into_iter().filter_map(|pointer| {
            let value = match pointer.is_root() {
                true => Some(self.without_managers()),
                false => self.0.pointer(&pointer.to_string()).cloned(),
            };
            match value {
                None => Some((pointer.clone(), None)),
                Some(value) => {
                    let text = value.to_string();
                    let json = Json::parse_within(text.as_bytes(), text.len()).ok()?;
                    Some((pointer.clone(), Some(json)))
                }
            }
        });
        Some(Seen {
            uid: self.uid()?.to_owned(),
            version: self.version()?,
            annotated: self.0.pointer("/metadata/annotations").is_some_and(Value::is_object),
            fields: fields.collect(),
        })
    }

    fn without_managers(&self) -> Value {
        let mut value = self.0.clone();
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        value
    }
}

/// The `Status` that an API server answers with where it has no object to show.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Status {
    kind: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    code: u16,
    #[serde(default)]
    details: Option<Details>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Details {
    #[serde(default)]
    name: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    causes: Vec<Cause>,
}

#[derive(Debug, Clone, Deserialize)]
struct Cause {
    #[serde(default)]
    message: String,
}

impl Status {
    fn read(answer: &Answer) -> Option<Self> {
        serde_json::from_slice(&answer.body).ok().filter(|status: &Self| status.kind == "Status")
    }

    /// The failure in an answer with this status, if the two agree.
    pub(super) fn failure(answer: &Answer) -> Option<Self> {
        Self::read(answer).filter(|status| status.status == "Failure" && status.code == answer.status.as_u16())
    }

    /// The name of the object that it is about.
    pub(super) fn name(&self) -> Option<&str> {
        self.details.as_ref().map(|details| details.name.as_str()).filter(|name| !name.is_empty())
    }

    /// What it says, with the causes that the message leaves out; without the values that it quotes, which may be whole
    /// objects, and secret.
    pub(super) fn says(&self) -> String {
        let message = without_values(&self.message);
        let mut text = format!("{} {}: {message}", self.code, self.reason);
        for cause in self.details.iter().flat_map(|details| &details.causes) {
            let cause = without_values(&cause.message);
            if !message.contains(&cause) {
                text.push_str("; ");
                text.push_str(&cause);
            }
        }
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_MESSAGE).collect()
    }
}

/// The text without the values that it quotes, as Go writes them: what follows such as `Invalid value: `.
fn without_values(text: &str) -> String {
    const BEFORE: [&str; 2] = ["value: \"", "Not found: \""];
    let mut kept = String::new();
    let mut rest = text;
    while let Some((at, before)) = BEFORE.iter().filter_map(|before| Some((rest.find(before)?, before.len()))).min() {
        let (told, quoted) = rest.split_at(at + before);
        kept.push_str(told.trim_end_matches(": \""));
        let mut escaped = false;
        let end = quoted.find(|c| match c {
            '"' if !escaped => true,
            c => {
                escaped = c == '\\' && !escaped;
                false
            }
        });
        // A quotation without an end is all of the rest.
        rest = end.and_then(|end| quoted.get(end..)).and_then(|rest| rest.strip_prefix('"')).unwrap_or("");
    }
    kept.push_str(rest);
    kept
}

/// What an answer means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// This, and there is nothing more to learn.
    Settled(Performed),
    /// This, but something rewrote what was certified, at this place of the object.
    Rewritten { performed: Performed, place: String },
    /// It was refused, maybe because the object is not as certified: to be compared with it.
    Refused { reason: Rejection, detail: String },
}

/// What the complete answer to a mutation means (I6). What is not credible is not known.
pub(super) fn meaning(terms: &Terms, plan: &Plan, answer: &Answer) -> Meaning {
    let unknown = |detail: String| Meaning::Settled(Performed::Unknown { detail });
    if answer.status.is_success() {
        return match success(terms, plan, answer) {
            Ok(meaning) => meaning,
            Err(why) => unknown(format!("an answer with status {} that cannot be: {why}", answer.status)),
        };
    }
    let Some(status) = Status::failure(answer) else {
        return unknown(format!("an answer with status {} that is not an API server's", answer.status));
    };
    let detail = status.says();
    let rejected = |reason, detail| Meaning::Settled(Performed::Rejected { reason, detail, drift: None });
    match answer.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => rejected(Rejection::Forbidden, detail),
        StatusCode::NOT_FOUND if status.name() == Some(&plan.resource.name) && status.reason == "NotFound" => {
            let drift = drift(terms.call().baseline(), None);
            Meaning::Settled(Performed::Rejected { reason: Rejection::Precondition, detail, drift })
        }
        StatusCode::CONFLICT => Meaning::Refused { reason: Rejection::Precondition, detail },
        // A test operation that failed, or an object that would not be valid.
        StatusCode::UNPROCESSABLE_ENTITY => Meaning::Refused { reason: Rejection::Invalid, detail },
        StatusCode::TOO_MANY_REQUESTS => rejected(Rejection::Busy, detail),
        status if status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT => {
            rejected(Rejection::Invalid, detail)
        }
        // What failed inside may have been done all the same.
        _ => unknown(detail),
    }
}

/// Whether the answer to a dry run shows the object that would be made. It has no version, because it is not stored.
pub(super) fn would_make(plan: &Plan, answer: &Answer) -> bool {
    let object = serde_json::from_slice(&answer.body).map(Object);
    answer.status == StatusCode::CREATED
        && object.is_ok_and(|object| {
            object.name() == Some(&plan.resource.name) && object.uid().is_some() && object.version().is_none()
        })
}

/// What the answer to a mutation that was performed says, if it can be the answer to this one.
fn success(terms: &Terms, plan: &Plan, answer: &Answer) -> Result<Meaning, String> {
    let expected = terms.call().baseline().identity();
    let succeeded =
        |version, detail: &str| Meaning::Settled(Performed::Succeeded { version, detail: detail.to_owned() });
    if let Some(status) = Status::read(answer) {
        let uid = status.details.as_ref().map_or("", |details| details.uid.as_str());
        if status.status != "Success" || !(uid.is_empty() || expected.is_none_or(|expected| expected == uid)) {
            return Err(status.says());
        }
        return match plan.operation {
            Operation::Delete => Ok(succeeded(None, "deleted")),
            Operation::Create if plan.resource.subresource.is_some() => Ok(succeeded(None, "taken")),
            _ => Err("no object".to_owned()),
        };
    }
    if plan.operation == Operation::Create && plan.resource.subresource.is_some() {
        return match serde_json::from_slice::<Value>(&answer.body) {
            Ok(Value::Object(_)) => Ok(succeeded(None, "taken")),
            _ => Err("no JSON object".to_owned()),
        };
    }
    let object = Object::read(answer)?;
    if object.name() != Some(&plan.resource.name) {
        return Err(format!("it is about `{}`", object.name().unwrap_or_default()));
    }
    if let Some(expected) = expected
        && object.uid() != Some(expected)
    {
        return Err(format!("it is about the object `{}`", object.uid().unwrap_or_default()));
    }
    let mutation = Some(terms.mutation_id().as_str());
    // With the status of some kinds the annotation is kept, with that of others, custom resources among them, it is not.
    let kept = plan.resource.subresource.is_none();
    let lost = plan.annotation().is_some_and(|annotation| kept && object.mutation(annotation) != mutation);
    let done = match (plan.operation, answer.status) {
        (Operation::Delete, _) if object.is_deleted() => "deletion begun: finalizers or a grace period hold the object",
        (Operation::Delete, _) => "deleted",
        (Operation::Create, _) | (_, StatusCode::CREATED) => "created",
        _ => "written",
    };
    if lost {
        let detail = format!("{done}; but the object does not carry the mutation id: something took it away");
        return Ok(succeeded(object.version(), &detail));
    }
    Ok(match rewritten(terms.call(), plan, &object) {
        Some(place) => {
            let detail = format!("{done}; but not as certified: something rewrote it, at `{place}`");
            Meaning::Rewritten { performed: Performed::Succeeded { version: object.version(), detail }, place }
        }
        None => succeeded(object.version(), done),
    })
}

/// Where the object that was stored is not as the certified body says.
fn rewritten(call: &Call, plan: &Plan, object: &Object) -> Option<String> {
    if plan.operation == Operation::Delete {
        return None;
    }
    let body = match call.body() {
        CallBody::None => return None,
        CallBody::Inline(body) => serde_json::to_value(body).ok()?,
        CallBody::Detached { octets, .. } => serde_json::from_slice(octets).ok()?,
    };
    rewritten::place(call.verb(), &body, &object.0, plan.resource.subresource.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_values_are_not_told() {
        for (text, kept) in [
            ("nothing quoted", "nothing quoted"),
            (r#"x: Invalid value: "a \" b\\": must be c"#, "x: Invalid value: must be c"),
            (
                r#"Invalid value: "{\"password\":\"p\"}": strict; Invalid value: "q": e"#,
                "Invalid value: strict; Invalid value: e",
            ),
            (r#"Invalid value: "no end"#, "Invalid value"),
            (r#"x: Unsupported value: "a": supported values: "b""#, r#"x: Unsupported value: supported values: "b""#),
            (r#"x[1]: Duplicate value: "a""#, "x[1]: Duplicate value"),
            (r#"x: Not found: "a", y: Invalid value: "b": no"#, "x: Not found, y: Invalid value: no"),
            ("spec.replicas: Invalid value: -1: must be", "spec.replicas: Invalid value: -1: must be"),
        ] {
            assert_eq!(without_values(text), kept, "{text}");
        }
    }
}
