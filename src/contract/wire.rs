//! The format as it is written: field by field, and the rules that hold the fields against each other.
//!
//! The types here are what [`decode`] fills and what the published schema is made from; their comments are its
//! descriptions. [`check`] turns them into the types that hold no illegal value.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};

use super::bounds::Bounds;
use super::document::{Contract, Limits, Target};
use super::json::{Json, decode};
use super::names::{StepName, TargetName, Version};
use super::pointer::{Pointer, escape};
use super::resource::{AwsResource, KubernetesResource, Resource, SandboxResource, TargetKind, Verb};
use super::step::{After, Baseline, Body, Detached, Mutation, Parameter, Step};
use crate::reason::{Denial, Reason};
use crate::timestamp::Timestamp;

/// An execution contract: the exact mutations that an authority admitted, and what was left open in them.
///
/// Written in the canonical form of RFC 8785. Unknown fields are refused; optional fields are absent, never null.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Contract")]
pub(super) struct ContractWire {
    /// The version of this format.
    #[expect(dead_code, reason = "read for its rule alone")]
    schema: Schema,
    /// The target that it is for.
    target: TargetWire,
    /// The steps, in the order of execution.
    #[schemars(extend("minItems" = 1, "maxItems" = 16))]
    steps: Vec<StepWire>,
    /// How often and when it may be used.
    limits: LimitsWire,
    /// The longest time from decision to effect, in seconds.
    #[schemars(range(min = 1, max = 3600))]
    deadline_seconds: u32,
}

/// The version of the format.
#[derive(Deserialize, JsonSchema)]
enum Schema {
    /// Version 1.
    #[serde(rename = "seb.dev/contract/v1")]
    V1,
}

/// A configured target.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Target")]
struct TargetWire {
    /// Its kind.
    kind: TargetKind,
    /// Its name in the broker's configuration.
    name: TargetName,
}

/// One mutation, with what must be true before it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Step")]
struct StepWire {
    /// Its name, unique in the contract.
    name: StepName,
    /// What is done.
    mutation: MutationWire,
    /// What must be true of the object before.
    #[serde(deserialize_with = "tagged")]
    baseline: BaselineWire,
    /// Whether the target must take a dry run of it before the decision: `true`, or left out.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "bool", extend("const" = true))]
    dry_run: Option<bool>,
    /// A condition on an earlier step.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "After")]
    after: Option<After>,
    /// The later step that undoes this one.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "StepName")]
    compensation: Option<StepName>,
}

/// What is done, and what of it is left open.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Mutation", extend("not" = { "required": ["body", "detached"] }))]
struct MutationWire {
    /// What is done: one of the target kind's verbs.
    verb: Verb,
    /// What it is done to: the form of the target's kind.
    #[schemars(with = "AnyResource")]
    resource: Json,
    /// The body, where the contract holds it: at most 16 KiB.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Json")]
    body: Option<Json>,
    /// The body, where it travels with the request.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Detached")]
    detached: Option<Detached>,
    /// The places of the body that the agent may fill.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Vec<ParameterWire>", extend("minItems" = 1, "maxItems" = 64))]
    parameters: Option<Vec<ParameterWire>>,
}

/// A resource of any kind of target.
#[derive(JsonSchema)]
#[schemars(untagged, rename = "Resource")]
#[expect(dead_code, reason = "for the schema: which of them it is, the target says")]
enum AnyResource {
    Sandbox(SandboxResource),
    Kubernetes(KubernetesResource),
    Aws(AwsResource),
}

/// A place of the body whose value the agent may choose.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Parameter")]
struct ParameterWire {
    /// The place, a JSON pointer (RFC 6901). It exists in the body and is not the whole body.
    pointer: Pointer,
    /// Whether the agent must choose: then the body has null in this place, otherwise the default.
    required: bool,
    /// Which values are inside.
    bounds: Bounds,
}

/// What the authority saw when it admitted.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "mode", rename_all = "lowercase", deny_unknown_fields)]
#[schemars(rename = "Baseline")]
enum BaselineWire {
    /// The object must not exist.
    Absent {},
    /// Nothing of the object may have changed.
    Exact {
        /// What the target calls this very object: a uid, an ARN, a row key.
        #[schemars(extend("pattern" = r"^[^\u0000-\u001f\u007f-\u009f]+$", "maxLength" = 2048))]
        identity: String,
        /// The version that was seen.
        version: Version,
    },
    /// Only these fields must not have changed.
    Fields {
        /// What the target calls this very object: a uid, an ARN, a row key.
        #[schemars(extend("pattern" = r"^[^\u0000-\u001f\u007f-\u009f]+$", "maxLength" = 2048))]
        identity: String,
        /// The version that was seen, for the record.
        version: Version,
        /// The values that were seen, by JSON pointer into the object.
        #[schemars(with = "BTreeMap<String, Json>", extend("minProperties" = 1, "maxProperties" = 64))]
        #[schemars(extend("propertyNames" = { "pattern": "^(/([^~/]|~[01])*)*$", "maxLength": 512 }))]
        fields: BTreeMap<Pointer, Json>,
    },
}

/// How often and when a contract may be used.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Limits")]
struct LimitsWire {
    /// How often.
    #[schemars(range(min = 1, max = 10_000))]
    uses: u32,
    /// The least time between two uses, in seconds.
    #[schemars(range(max = 31_536_000))]
    spacing_seconds: u32,
    /// The first second.
    #[schemars(extend("pattern" = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"))]
    not_before: Timestamp,
    /// The last second, not before the first.
    #[schemars(extend("pattern" = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"))]
    not_after: Timestamp,
}

/// Reads an optional field that is there: null is a value like any other, and not a way to leave the field out.
pub(super) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Reads an enumeration with an internal tag. Left alone, `serde` reads it from a list too, which would be a second
/// spelling.
pub(super) fn tagged<'de, T: DeserializeOwned, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    match Json::deserialize(deserializer)? {
        json @ Json::Object(_) => T::deserialize(&json).map_err(D::Error::custom),
        other => Err(D::Error::custom(format_args!("is {}, and must be an object", other.type_name()))),
    }
}

/// A rule that is broken, and where.
struct Fault {
    reason: Reason,
    pointer: String,
    message: String,
}

impl Fault {
    fn schema(message: impl Into<String>) -> Self {
        Self { reason: Reason::ContractSchema, pointer: String::new(), message: message.into() }
    }

    fn too_large(message: impl Into<String>) -> Self {
        Self { reason: Reason::ContractTooLarge, pointer: String::new(), message: message.into() }
    }

    /// The same fault seen from outside: what was here is inside `token`.
    fn inside(self, token: impl fmt::Display) -> Self {
        let pointer = format!("/{}{}", escape(&token.to_string()), self.pointer);
        Self { pointer, ..self }
    }
}

/// Puts the token in front of where the fault is, if there is one.
trait Inside {
    fn inside(self, token: impl fmt::Display) -> Self;
}

impl<T> Inside for Result<T, Fault> {
    fn inside(self, token: impl fmt::Display) -> Self {
        self.map_err(|fault| fault.inside(token))
    }
}

/// The parts of a contract that keep every rule.
pub(super) struct Parts {
    pub(super) target: Target,
    pub(super) steps: Vec<Step>,
    pub(super) limits: Limits,
    pub(super) deadline: Duration,
}

/// Reads the parts of a contract whose canonical text has `octets`.
pub(super) fn check(json: &Json, octets: usize) -> Result<Parts, Denial> {
    read(json, octets).map_err(|fault| {
        Denial::new(fault.reason, format!("`{}`: {}", excerpt(&fault.pointer), excerpt(&fault.message)))
    })
}

/// At most a few hundred characters of a text that may quote the input.
fn excerpt(text: &str) -> String {
    text.chars().take(300).collect()
}

fn read(json: &Json, octets: usize) -> Result<Parts, Fault> {
    // Before the fields, so that a later version of the format is refused for being one.
    if json.get("schema").and_then(Json::as_str) != Some(Contract::SCHEMA) {
        return Err(Fault::schema(format!("must be `{}`, the only version that is known", Contract::SCHEMA)))
            .inside("schema");
    }
    let wire: ContractWire = typed(json)?;
    let target = Target { kind: wire.target.kind, name: wire.target.name };
    if !(1..=3600).contains(&wire.deadline_seconds) {
        return Err(Fault::schema("must be from 1 to 3600 seconds")).inside("deadline_seconds");
    }
    let limits = limits(&wire.limits).inside("limits")?;
    let steps = steps(wire.steps, target.kind, octets).inside("steps")?;
    Ok(Parts { target, steps, limits, deadline: Duration::from_secs(wire.deadline_seconds.into()) })
}

/// Decodes one typed value, with the place of what is wrong.
fn typed<T: DeserializeOwned>(json: &Json) -> Result<T, Fault> {
    decode(json).map_err(|(pointer, message)| Fault { reason: Reason::ContractSchema, pointer, message })
}

fn limits(wire: &LimitsWire) -> Result<Limits, Fault> {
    if !(1..=10_000).contains(&wire.uses) {
        return Err(Fault::schema("must be from 1 to 10000")).inside("uses");
    }
    if wire.spacing_seconds > 31_536_000 {
        return Err(Fault::schema("must be at most 31536000 seconds, a year")).inside("spacing_seconds");
    }
    for (field, time) in [("not_before", wire.not_before), ("not_after", wire.not_after)] {
        if time.millis() % 1000 != 0 {
            return Err(Fault::schema("must be a whole second")).inside(field);
        }
    }
    if wire.not_before > wire.not_after {
        return Err(Fault::schema("must not be before `not_before`")).inside("not_after");
    }
    Ok(Limits {
        uses: wire.uses,
        spacing: Duration::from_secs(wire.spacing_seconds.into()),
        not_before: wire.not_before,
        not_after: wire.not_after,
    })
}

fn steps(wire: Vec<StepWire>, kind: TargetKind, octets: usize) -> Result<Vec<Step>, Fault> {
    within(wire.len(), 16, "steps")?;
    // How two steps refer to each other is told by their positions.
    let names: Vec<_> = wire.iter().map(|step| step.name.clone()).collect();
    let position = |name: &StepName| names.iter().position(|other| other == name);
    let compensations: Vec<_> = wire.iter().filter_map(|step| step.compensation.clone()).collect();
    let mut steps = Vec::new();
    for (index, wire) in wire.into_iter().enumerate() {
        let at = |fault: Fault, field: &str| fault.inside(field).inside(index);
        if position(&wire.name) != Some(index) {
            return Err(at(Fault::schema("another step has this name: give each its own"), "name"));
        }
        if compensations.contains(&wire.name) && (wire.after.is_some() || wire.compensation.is_some()) {
            let text = "compensates another step, and so has no `after` and no `compensation` of its own";
            return Err(Fault::schema(text).inside(index));
        }
        if let Some(after) = &wire.after {
            if position(&after.step).is_none_or(|earlier| earlier >= index) {
                return Err(at(Fault::schema("must name an earlier step"), "after"));
            }
            if compensations.contains(&after.step) {
                return Err(at(Fault::schema("must not name a step that compensates another"), "after"));
            }
        }
        if let Some(name) = &wire.compensation
            && position(name).is_none_or(|later| later <= index)
        {
            return Err(at(Fault::schema("must name a later step"), "compensation"));
        }
        let mutation = mutation(wire.mutation, kind, octets).map_err(|fault| at(fault, "mutation"))?;
        let baseline = baseline(wire.baseline, &mutation, kind).map_err(|fault| at(fault, "baseline"))?;
        let mut step = Step::new(wire.name, mutation, baseline);
        match wire.dry_run {
            None => {}
            Some(true) => step = step.after_dry_run(),
            Some(false) => return Err(at(Fault::schema("must be `true`: leave it out instead"), "dry_run")),
        }
        if let Some(after) = wire.after {
            step = step.after(after);
        }
        if let Some(compensation) = wire.compensation {
            step = step.compensated_by(compensation);
        }
        steps.push(step);
    }
    Ok(steps)
}

/// Checks that a list has 1 to `max` elements.
fn within(count: usize, max: usize, what: &str) -> Result<(), Fault> {
    match count {
        0 => Err(Fault::schema(format!("must have at least one of its {what}"))),
        _ if count > max => Err(Fault::too_large(format!("has {count} {what}: at most {max} are allowed"))),
        _ => Ok(()),
    }
}

fn mutation(wire: MutationWire, kind: TargetKind, octets: usize) -> Result<Mutation, Fault> {
    if !wire.verb.is_of(kind) {
        return Err(Fault::schema(format!("`{}` is not a verb of a target of kind `{kind}`", wire.verb)))
            .inside("verb");
    }
    let resource = resource(&wire.resource, kind).inside("resource")?;
    let body = match (wire.body, wire.detached) {
        (None, None) => Body::None,
        (Some(body), None) => {
            // What is inside a contract of 16 KiB has not more, and need not be measured.
            if octets > Contract::MAX_INLINE && body.to_canonical().len() > Contract::MAX_INLINE {
                return Err(Fault::too_large("has more than 16 KiB: detach it")).inside("body");
            }
            Body::Inline(body)
        }
        (None, Some(body)) => Body::Detached(detached(body).inside("detached")?),
        (Some(_), Some(_)) => return Err(Fault::schema("has `body` and `detached`: keep one")),
    };
    check_body(&wire.verb, &resource, &body)?;
    let parameters = match wire.parameters {
        None => Vec::new(),
        Some(parameters) => self::parameters(parameters, &body).inside("parameters")?,
    };
    if let (Resource::Kubernetes(_), true) = (&resource, names_its_object(&wire.verb)) {
        // Otherwise the agent could choose another object than the one that was certified.
        for name in ["/metadata/name", "/metadata/namespace"] {
            let name = Pointer::parse(name).map_err(|error| Fault::schema(error.to_string()))?;
            if let Some(index) = parameters.iter().position(|parameter| parameter.pointer().contains(&name)) {
                let fault = Fault::schema(format!("leaves `{name}` open, which names the object: leave it out"));
                return Err(fault.inside(index).inside("parameters"));
            }
        }
    }
    Ok(Mutation::new(wire.verb, resource, body, parameters))
}

fn resource(json: &Json, kind: TargetKind) -> Result<Resource, Fault> {
    let resource = match kind {
        TargetKind::Sandbox => Resource::Sandbox(typed(json)?),
        TargetKind::Kubernetes => Resource::Kubernetes(typed(json)?),
        TargetKind::Aws => {
            let resource: AwsResource = typed(json)?;
            within(resource.actions.len(), 16, "actions").inside("actions")?;
            within(resource.arns.len(), 32, "ARNs").inside("arns")?;
            Resource::Aws(resource)
        }
    };
    resource.check().map_err(|(field, rule)| Fault::schema(rule).inside(field))?;
    Ok(resource)
}

fn detached(wire: Detached) -> Result<Detached, Fault> {
    let token = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"!#$&^_.+-".contains(&b))
    };
    let media_type = wire.media_type.split_once('/').is_some_and(|(kind, subtype)| token(kind) && token(subtype));
    if !media_type || wire.media_type.len() > 127 {
        let rule = "expected a media type in lower case without parameters, such as `application/json`";
        return Err(Fault::schema(rule)).inside("media_type");
    }
    if wire.size == 0 {
        return Err(Fault::schema("must be at least 1 octet")).inside("size");
    }
    if wire.size > Contract::MAX_DETACHED {
        return Err(Fault::too_large("must be at most 4 MiB")).inside("size");
    }
    Ok(wire)
}

/// Whether a Kubernetes body under this verb says which object it is for.
const fn names_its_object(verb: &Verb) -> bool {
    matches!(verb, Verb::Create | Verb::Update | Verb::Apply)
}

fn is_subresource(resource: &Resource) -> bool {
    matches!(resource, Resource::Kubernetes(KubernetesResource { subresource: Some(_), .. }))
}

/// Checks that verb and body go together.
fn check_body(verb: &Verb, resource: &Resource, body: &Body) -> Result<(), Fault> {
    match (verb, resource, body) {
        // `DeleteOptions`.
        (Verb::Delete, Resource::Kubernetes(_), Body::None | Body::Inline(_)) => {}
        (Verb::Delete, Resource::Kubernetes(_), Body::Detached(_)) => {
            return Err(Fault::schema("the body of a `delete` cannot be detached: put it into `body`"));
        }
        (Verb::Delete, _, Body::None) | (Verb::Aws(_), _, _) => {}
        (Verb::Delete, _, _) => return Err(Fault::schema("a `delete` has no body: leave it out")),
        (_, _, Body::None) => return Err(Fault::schema(format!("`{verb}` needs `body` or `detached`"))),
        _ => {}
    }
    let Body::Inline(json) = body else { return Ok(()) };
    let wanted = match (resource, verb) {
        (Resource::Sandbox(_), _) => return Ok(()),
        (Resource::Kubernetes(_), Verb::JsonPatch) => "array",
        (Resource::Kubernetes(_) | Resource::Aws(_), _) => "object",
    };
    if json.type_name() != wanted {
        return Err(Fault::schema(format!("is {}, and must be an {wanted}", json.type_name()))).inside("body");
    }
    match resource {
        Resource::Kubernetes(resource) if names_its_object(verb) => {
            resource.check_body(verb, json).map_err(|(pointer, message)| {
                Fault { reason: Reason::ContractSchema, pointer: pointer.to_owned(), message }.inside("body")
            })
        }
        _ => Ok(()),
    }
}

fn parameters(wire: Vec<ParameterWire>, body: &Body) -> Result<Vec<Parameter>, Fault> {
    within(wire.len(), 64, "parameters")?;
    let Body::Inline(body) = body else {
        return Err(Fault::schema("there is no inline body to put values into: leave `parameters` out"));
    };
    let mut parameters = Vec::with_capacity(wire.len());
    for (index, wire) in wire.into_iter().enumerate() {
        parameters.push(parameter(wire, body).inside(index)?);
    }
    // A pointer sorts before everything inside its place, and nothing else comes between.
    let mut pointers: Vec<_> = parameters.iter().map(Parameter::pointer).collect();
    pointers.sort();
    let overlap = pointers.windows(2).find_map(|pair| match pair {
        [outer, inner] if outer.contains(inner) => Some(format!("`{outer}` and `{inner}` overlap: keep one")),
        _ => None,
    });
    overlap.map_or(Ok(parameters), |message| Err(Fault::schema(message)))
}

fn parameter(wire: ParameterWire, body: &Json) -> Result<Parameter, Fault> {
    let pointer = &wire.pointer;
    if pointer.is_root() {
        return Err(Fault::schema("must name a place inside the body, not all of it")).inside("pointer");
    }
    let default = pointer.resolve(body);
    let default =
        default.ok_or_else(|| Fault::schema(format!("`{pointer}` is no place of the body")).inside("pointer"))?;
    if wire.required {
        if *default != Json::Null {
            return Err(Fault::schema("is required: put null into its place of the body")).inside("required");
        }
    } else {
        let outside = |error| Fault::schema(format!("the default {error}: put one inside the bounds into the body"));
        wire.bounds.check(default).map_err(outside).inside("bounds")?;
    }
    Ok(Parameter::new(wire.pointer, wire.required, wire.bounds))
}

fn baseline(wire: BaselineWire, mutation: &Mutation, kind: TargetKind) -> Result<Baseline, Fault> {
    let absent = matches!(wire, BaselineWire::Absent {});
    let verb = mutation.verb();
    match verb {
        // What is posted to a subresource, such as an eviction, is about an object that exists.
        Verb::Create if is_subresource(mutation.resource()) => {}
        Verb::Create if !absent => return Err(Fault::schema("must be `absent`: `create` makes a new object")),
        Verb::Create | Verb::Apply | Verb::Aws(_) => {}
        _ if absent => return Err(Fault::schema(format!("must not be `absent`: `{verb}` needs an object"))),
        _ => {}
    }
    let (identity, version) = match &wire {
        BaselineWire::Absent {} => return Ok(Baseline::Absent),
        BaselineWire::Exact { identity, version } | BaselineWire::Fields { identity, version, .. } => {
            (identity, version)
        }
    };
    if !(1..=2048).contains(&identity.len()) || identity.chars().any(char::is_control) {
        return Err(Fault::schema("must have 1 to 2048 octets without control characters")).inside("identity");
    }
    if !version.is_of(kind) {
        return Err(Fault::schema(format!("`{version}` is not the version token of a `{kind}` object")))
            .inside("version");
    }
    match wire {
        BaselineWire::Absent {} => Ok(Baseline::Absent),
        BaselineWire::Exact { identity, version } => Ok(Baseline::Exact { identity, version }),
        BaselineWire::Fields { identity, version, fields } => {
            within(fields.len(), 64, "fields").inside("fields")?;
            Ok(Baseline::Fields { identity, version, fields })
        }
    }
}
