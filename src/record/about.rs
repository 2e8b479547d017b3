//! What a record is about: the fields by which auditors find it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spiffe::SpiffeId;

use crate::contract::{Json, TargetName};
use crate::decision::MutationId;
use crate::digest::Digest;
use crate::execution::State;
use crate::reason::Reason;
use crate::spiffe_id;

/// The most octets of [`About::resource`].
const MAX_RESOURCE: usize = 2048;

/// Whether a request was allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decided {
    /// It was.
    Allow,
    /// It was not.
    Deny,
}

impl Decided {
    /// The name in records and output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// The fields by which a record is found. All of it is signed with the record; a store indexes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// The agent, or whoever called.
    pub agent: Option<SpiffeId>,
    /// The authority that certified.
    pub authority: Option<SpiffeId>,
    /// The target.
    pub target: Option<TargetName>,
    /// The resource at the target, as its first path; at most 2048 octets.
    pub resource: Option<String>,
    /// The certificate.
    pub certificate: Option<Digest>,
    /// The mutation.
    pub mutation_id: Option<MutationId>,
    /// Whether the request was allowed.
    pub decision: Option<Decided>,
    /// The state that the outcome gives the execution.
    pub state: Option<State>,
    /// The reason that was the answer.
    pub reason: Option<Reason>,
}

/// The form in a statement.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wire {
    agent: Option<spiffe_id::Text>,
    authority: Option<spiffe_id::Text>,
    target: Option<TargetName>,
    resource: Option<String>,
    certificate: Option<Digest>,
    mutation_id: Option<MutationId>,
    decision: Option<Decided>,
    state: Option<State>,
    reason: Option<Reason>,
}

impl About {
    /// Whether every field is within its bounds.
    pub(super) fn is_bounded(&self) -> bool {
        self.resource.as_ref().is_none_or(|resource| resource.len() <= MAX_RESOURCE)
    }

    /// The beginning of `resource` that fits.
    pub(super) fn fit_resource(mut resource: String) -> String {
        let end = (0..=MAX_RESOURCE.min(resource.len())).rev().find(|at| resource.is_char_boundary(*at));
        resource.truncate(end.unwrap_or(0));
        resource
    }

    /// The fields that are set, in the form of a statement.
    pub fn to_json(&self) -> Json {
        let members = [
            ("agent", self.agent.as_ref().map(Json::string)),
            ("authority", self.authority.as_ref().map(Json::string)),
            ("target", self.target.as_ref().map(Json::string)),
            ("resource", self.resource.as_deref().map(Json::from)),
            ("certificate", self.certificate.map(Json::string)),
            ("mutation_id", self.mutation_id.as_ref().map(Json::string)),
            ("decision", self.decision.map(|decision| Json::from(decision.as_str()))),
            ("state", self.state.map(|state| Json::from(state.as_str()))),
            ("reason", self.reason.map(|reason| Json::from(reason.code()))),
        ];
        Json::object(members.into_iter().filter_map(|(name, value)| Some((name, value?))))
    }
}

impl From<Wire> for About {
    fn from(wire: Wire) -> Self {
        Self {
            agent: wire.agent.map(|id| id.0),
            authority: wire.authority.map(|id| id.0),
            target: wire.target,
            resource: wire.resource,
            certificate: wire.certificate,
            mutation_id: wire.mutation_id,
            decision: wire.decision,
            state: wire.state,
            reason: wire.reason,
        }
    }
}
