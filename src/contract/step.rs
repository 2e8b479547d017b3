//! The parts of a contract: its steps, and what a step is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounds::Bounds;
use super::json::Json;
use super::names::{StepName, Version};
use super::pointer::Pointer;
use super::resource::{Resource, Verb};
use crate::digest::Digest;

/// One mutation of a contract, with what must be true before it.
///
/// Built freely; [`super::Contract::new`] holds its parts against each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    name: StepName,
    mutation: Mutation,
    baseline: Baseline,
    dry_run: bool,
    after: Option<After>,
    compensation: Option<StepName>,
}

/// What is done, and what of it is left open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutation {
    verb: Verb,
    resource: Resource,
    body: Body,
    parameters: Vec<Parameter>,
}

/// The body of a mutation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    None,
    /// The contract holds it; its canonical text has at most 16 KiB.
    Inline(Json),
    /// It travels with the request.
    Detached(Detached),
}

/// A body that travels with the request: what it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Detached {
    /// The media type, such as `application/json`, without parameters.
    #[schemars(extend("pattern" = "^[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*$", "maxLength" = 127))]
    pub media_type: String,
    /// The size in octets, 1 to 4 MiB.
    #[schemars(range(min = 1, max = 4_194_304))]
    pub size: u32,
    /// The SHA-256 of the octets.
    pub digest: Digest,
}

/// A place of the inline body whose value the agent may choose, inside bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    pointer: Pointer,
    required: bool,
    bounds: Bounds,
}

/// What the authority saw when it admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Baseline {
    /// The object did not exist, and must not.
    Absent,
    /// Nothing of the object may have changed.
    Exact {
        /// What the target calls this very object: a uid, an ARN, a row key.
        identity: String,
        /// The version that was seen.
        version: Version,
    },
    /// Only these fields must not have changed.
    Fields {
        /// What the target calls this very object: a uid, an ARN, a row key.
        identity: String,
        /// The version that was seen, for the record: it may have changed.
        version: Version,
        /// The fields that the admission depended on, with the values that were seen.
        fields: BTreeMap<Pointer, Json>,
    },
}

/// A condition on an earlier step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct After {
    /// The earlier step.
    pub step: StepName,
    /// How it must have ended.
    pub outcome: StepOutcome,
}

/// How a step ended, as far as conditions tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StepOutcome {
    /// Its mutation was applied.
    Succeeded,
    /// Its mutation is known not to have been applied.
    Failed,
}

impl Step {
    /// A step without condition or compensation.
    pub const fn new(name: StepName, mutation: Mutation, baseline: Baseline) -> Self {
        Self { name, mutation, baseline, dry_run: false, after: None, compensation: None }
    }

    /// The same step, to be performed only if the target would take it: the broker has it tried without effect before it
    /// decides.
    #[must_use]
    pub const fn after_dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// The same step, to be performed only on this condition.
    #[must_use]
    pub fn after(mut self, after: After) -> Self {
        self.after = Some(after);
        self
    }

    /// The same step, to be undone by the later step of this name.
    #[must_use]
    pub fn compensated_by(mut self, step: StepName) -> Self {
        self.compensation = Some(step);
        self
    }

    /// Its name.
    pub const fn name(&self) -> &StepName {
        &self.name
    }

    /// What it does.
    pub const fn mutation(&self) -> &Mutation {
        &self.mutation
    }

    /// What must be true of the object before.
    pub const fn baseline(&self) -> &Baseline {
        &self.baseline
    }

    /// Whether the target must have taken a dry run of it.
    pub const fn needs_dry_run(&self) -> bool {
        self.dry_run
    }

    /// The condition on an earlier step, if there is one.
    pub const fn condition(&self) -> Option<&After> {
        self.after.as_ref()
    }

    /// The later step that undoes it, if there is one.
    pub const fn compensation(&self) -> Option<&StepName> {
        self.compensation.as_ref()
    }

    /// As it stands in contracts.
    pub(super) fn to_json(&self) -> Json {
        let always = [
            ("name", Json::string(&self.name)),
            ("mutation", self.mutation.to_json()),
            ("baseline", self.baseline.to_json()),
        ];
        let dry_run = self.dry_run.then_some(("dry_run", true.into()));
        let after = self.after.iter().map(|after| {
            let after = [("step", Json::string(&after.step)), ("outcome", Json::string(after.outcome))];
            ("after", Json::object(after))
        });
        let compensation = self.compensation.iter().map(|name| ("compensation", Json::string(name)));
        Json::object(always.into_iter().chain(dry_run).chain(after).chain(compensation))
    }
}

impl Mutation {
    /// A mutation; [`super::Contract::new`] holds its parts against each other.
    pub const fn new(verb: Verb, resource: Resource, body: Body, parameters: Vec<Parameter>) -> Self {
        Self { verb, resource, body, parameters }
    }

    /// What is done.
    pub const fn verb(&self) -> &Verb {
        &self.verb
    }

    /// What it is done to.
    pub const fn resource(&self) -> &Resource {
        &self.resource
    }

    /// With which body, before the agent's values are put into it.
    pub const fn body(&self) -> &Body {
        &self.body
    }

    /// What is left open in the body.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    fn to_json(&self) -> Json {
        let always = [("verb", Json::string(&self.verb)), ("resource", self.resource.to_json())];
        let body = match &self.body {
            Body::None => None,
            Body::Inline(body) => Some(("body", body.clone())),
            Body::Detached(detached) => Some(("detached", detached.to_json())),
        };
        let parameters = (!self.parameters.is_empty())
            .then(|| ("parameters", self.parameters.iter().map(Parameter::to_json).collect::<Json>()));
        Json::object(always.into_iter().chain(body).chain(parameters))
    }
}

impl Detached {
    /// As it stands in contracts.
    pub(super) fn to_json(&self) -> Json {
        Json::object([
            ("media_type", Json::string(&self.media_type)),
            ("size", self.size.into()),
            ("digest", Json::string(self.digest)),
        ])
    }
}

impl Parameter {
    /// A parameter. `required`: the body has null in its place, and the agent must choose; otherwise the body has the
    /// default there.
    pub const fn new(pointer: Pointer, required: bool, bounds: Bounds) -> Self {
        Self { pointer, required, bounds }
    }

    /// The place in the body.
    pub const fn pointer(&self) -> &Pointer {
        &self.pointer
    }

    /// Whether the agent must choose.
    pub const fn is_required(&self) -> bool {
        self.required
    }

    /// What the agent may choose.
    pub const fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    fn to_json(&self) -> Json {
        Json::object([
            ("pointer", Json::string(&self.pointer)),
            ("required", self.required.into()),
            ("bounds", self.bounds.to_json()),
        ])
    }
}

impl Baseline {
    /// What the target calls the object, where it must exist.
    pub fn identity(&self) -> Option<&str> {
        match self {
            Self::Absent => None,
            Self::Exact { identity, .. } | Self::Fields { identity, .. } => Some(identity),
        }
    }

    /// The version that was seen, where the object must exist.
    pub const fn version(&self) -> Option<&Version> {
        match self {
            Self::Absent => None,
            Self::Exact { version, .. } | Self::Fields { version, .. } => Some(version),
        }
    }

    /// Where the values are that are compared one by one.
    pub fn pointers(&self) -> BTreeSet<Pointer> {
        match self {
            Self::Fields { fields, .. } => fields.keys().cloned().collect(),
            Self::Absent | Self::Exact { .. } => BTreeSet::new(),
        }
    }

    /// As it stands in contracts.
    pub(super) fn to_json(&self) -> Json {
        let mode = |name: &str| ("mode", Json::from(name));
        match self {
            Self::Absent => Json::object([mode("absent")]),
            Self::Exact { identity, version } => Json::object([
                mode("exact"),
                ("identity", Json::from(identity.as_str())),
                ("version", Json::string(version)),
            ]),
            Self::Fields { identity, version, fields } => Json::object([
                mode("fields"),
                ("identity", Json::from(identity.as_str())),
                ("version", Json::string(version)),
                ("fields", Json::object(fields.iter().map(|(pointer, value)| (pointer.to_string(), value.clone())))),
            ]),
        }
    }
}

impl fmt::Display for StepOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        })
    }
}
