//! What no certificate may exceed, however valid (I10).
//!
//! The authority may be wrong, or in wrong hands. Ceilings are the broker's own bounds, set by the platform team and
//! applied to every certificate after all that the authority said. [`CeilingsFile`] is what an operator writes;
//! [`Ceilings`] is what came through its checks. What is not written admits nothing: an empty list admits nobody, a
//! target or authority that is not named has no rights, and the default denies all.

mod file;
mod parameter;
mod pattern;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use spiffe::SpiffeId;

use crate::contract::{CallBody, Json, Resource, TargetKind, TargetName, Verb};
use crate::digest::Digest;
use crate::epoch::FreshnessBounds;
use crate::reason::{Denial, Reason};
use crate::spiffe_id;

pub use file::{AuthorityCeiling, BoundaryMode, CeilingsFile, Knowledge, Rate, Rates, Rule, TargetCeiling};
pub use parameter::ParameterCeiling;
pub use pattern::{InvalidPattern, Pattern};

/// The broker's bounds, checked. [`Ceilings::default`] admits nothing.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "CeilingsFile", into = "CeilingsFile")]
pub struct Ceilings {
    file: CeilingsFile,
    authorities: BTreeMap<SpiffeId, BTreeSet<TargetName>>,
    agent_rates: BTreeMap<SpiffeId, Rate>,
    authority_rates: BTreeMap<SpiffeId, Rate>,
    digest: Digest,
}

/// Everything that is wrong with a [`CeilingsFile`], each with its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the ceilings are not valid: {}", .0.join("; "))]
pub struct InvalidCeilings(pub Vec<String>);

impl Ceilings {
    /// Checks what an operator wrote.
    ///
    /// # Errors
    /// All that is wrong with it, together: see the fields of [`CeilingsFile`] for the rules.
    pub fn new(file: CeilingsFile) -> Result<Self, InvalidCeilings> {
        let mut errors = file.faults();
        let mut ids = |place: &str, text: &str| {
            let id = spiffe_id::exact(text);
            if id.is_none() {
                let start: String = text.chars().take(80).collect();
                errors.push(format!("{place}: `{start}` is not a SPIFFE ID in its normal form"));
            }
            id
        };
        let authorities: BTreeMap<_, _> = file
            .authorities
            .iter()
            .filter_map(|(text, ceiling)| Some((ids("authorities", text)?, ceiling.targets.clone())))
            .collect();
        let mut rates = |place: &str, rates: &BTreeMap<String, Rate>| -> BTreeMap<_, _> {
            rates.iter().filter_map(|(text, rate)| Some((ids(place, text)?, *rate))).collect()
        };
        let agent_rates = rates("rates.agents", &file.rates.agents);
        let authority_rates = rates("rates.authorities", &file.rates.authorities);
        let canonical = match file.to_canonical() {
            Ok(canonical) => canonical,
            Err(error) => {
                errors.push(error);
                String::new()
            }
        };
        if !errors.is_empty() {
            return Err(InvalidCeilings(errors));
        }
        let digest = Digest::of(canonical.as_bytes());
        Ok(Self { file, authorities, agent_rates, authority_rates, digest })
    }

    /// What the operator wrote, with the defaults filled in.
    pub const fn file(&self) -> &CeilingsFile {
        &self.file
    }

    /// The canonical JSON of the file, by which a record names the ceilings of a decision.
    pub fn to_canonical(&self) -> String {
        // The same call succeeded in `new`.
        self.file.to_canonical().unwrap_or_default()
    }

    /// The digest of the canonical JSON.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The bounds on what the broker must know, and how freshly, to decide.
    pub const fn knowledge(&self) -> &Knowledge {
        &self.file.knowledge
    }

    /// How many executions an agent may have, in which window.
    pub fn agent_rate(&self, agent: &SpiffeId) -> Rate {
        self.agent_rates.get(agent).copied().unwrap_or(self.file.rates.agent)
    }

    /// How many executions all certificates of an authority together may have, in which window.
    pub fn authority_rate(&self, authority: &SpiffeId) -> Rate {
        self.authority_rates.get(authority).copied().unwrap_or(self.file.rates.authority)
    }

    /// The target of this name and kind.
    ///
    /// # Errors
    /// [`Reason::TargetUnknown`]: there is none of the name, or it is of another kind.
    pub fn target(&self, kind: TargetKind, name: &TargetName) -> Result<&TargetCeiling, Denial> {
        match self.file.targets.get(name) {
            Some(target) if target.kind == kind => Ok(target),
            Some(target) => {
                let detail = format!("target `{name}` is of kind {}, not {kind}", target.kind);
                Err(Denial::new(Reason::TargetUnknown, detail))
            }
            None => Err(Denial::new(Reason::TargetUnknown, format!("there is no target `{name}`"))),
        }
    }

    /// Whether the authority may certify for the target.
    ///
    /// # Errors
    /// [`Reason::AuthorityCeiling`]: it is not named, or its list does not hold the target.
    pub fn authority(&self, authority: &SpiffeId, target: &TargetName) -> Result<(), Denial> {
        if self.authorities.get(authority).is_some_and(|targets| targets.contains(target)) {
            return Ok(());
        }
        let detail = format!("`{authority}` may not certify for target `{target}`");
        Err(Denial::new(Reason::AuthorityCeiling, detail))
    }
}

impl Default for Ceilings {
    fn default() -> Self {
        let file = CeilingsFile::default();
        let digest = Digest::of(file.to_canonical().unwrap_or_default().as_bytes());
        Self {
            file,
            authorities: BTreeMap::new(),
            agent_rates: BTreeMap::new(),
            authority_rates: BTreeMap::new(),
            digest,
        }
    }
}

impl TryFrom<CeilingsFile> for Ceilings {
    type Error = InvalidCeilings;

    fn try_from(file: CeilingsFile) -> Result<Self, InvalidCeilings> {
        Self::new(file)
    }
}

impl From<Ceilings> for CeilingsFile {
    fn from(ceilings: Ceilings) -> Self {
        ceilings.file
    }
}

impl TargetCeiling {
    /// Why the target's rules do not allow `verb` on `resource` with `body`; empty if one of them does.
    ///
    /// A rule allows a call when it has the verb, every path of the resource matches one of its patterns, and the body
    /// keeps all its parameter ceilings. Where none does, the rule that came closest is reported. `body` is the final
    /// one, with every value in its place; `None` where there is none yet, and then parameters are not judged.
    pub fn denials(&self, verb: &Verb, resource: &Resource, body: Option<&CallBody>) -> Vec<Denial> {
        let with_verb: Vec<&Rule> = self.rules.iter().filter(|rule| rule.verbs.contains(verb)).collect();
        if with_verb.is_empty() {
            return vec![Denial::new(Reason::CeilingVerb, format!("no rule allows `{verb}`"))];
        }
        let paths = resource.paths();
        let mut closest: Option<Vec<Denial>> = None;
        for rule in with_verb.iter().filter(|rule| rule.covers(verb, resource, &paths)) {
            let denials = body.map_or_else(Vec::new, |body| rule.parameter_denials(body));
            if denials.is_empty() && self.covers(resource) {
                return denials;
            }
            if closest.as_ref().is_none_or(|found| denials.len() < found.len()) {
                closest = Some(denials);
            }
        }
        match closest {
            Some(denials) if self.covers(resource) => denials,
            _ => {
                let path = paths.first().map_or("", String::as_str);
                let start: String = path.chars().take(120).collect();
                let others = paths.len().saturating_sub(1);
                let detail = match resource {
                    Resource::Aws(aws) => format!(
                        "no rule allows `{verb}` with its actions on `{start}` and {others} more in account {} and region {}",
                        aws.account, aws.region
                    ),
                    _ => format!("no rule allows `{verb}` on `{start}`"),
                };
                vec![Denial::new(Reason::CeilingResource, detail)]
            }
        }
    }

    /// Whether the resource lies in the accounts and regions of the target, where its kind has them.
    fn covers(&self, resource: &Resource) -> bool {
        match resource {
            Resource::Aws(aws) => self.accounts.contains(&aws.account) && self.regions.contains(&aws.region),
            Resource::Sandbox(_) | Resource::Kubernetes(_) => true,
        }
    }
}

impl Rule {
    fn covers(&self, verb: &Verb, resource: &Resource, paths: &[String]) -> bool {
        // A resource without a path is no resource; `all` alone would let it through.
        let paths_match =
            !paths.is_empty() && paths.iter().all(|path| self.resources.iter().any(|pattern| pattern.matches(path)));
        let actions_match = match resource {
            Resource::Aws(aws) => aws.actions.iter().all(|action| {
                self.actions.contains(action) || matches!(verb, Verb::Aws(operation) if operation == action)
            }),
            Resource::Sandbox(_) | Resource::Kubernetes(_) => true,
        };
        paths_match && actions_match
    }

    fn parameter_denials(&self, body: &CallBody) -> Vec<Denial> {
        let empty = Json::object::<String>([]);
        let body = match body {
            CallBody::Detached { .. } if !self.parameters.is_empty() => {
                let detail = "the body is detached, where the broker's bounds on its values cannot look";
                return vec![Denial::new(Reason::CeilingParameter, detail)];
            }
            CallBody::Inline(body) => body,
            CallBody::None | CallBody::Detached { .. } => &empty,
        };
        self.parameters.iter().filter_map(|parameter| parameter.denial(body)).collect()
    }
}

impl Knowledge {
    /// How old and how far from the broker's clock an epoch statement may be.
    pub const fn freshness(&self) -> FreshnessBounds {
        FreshnessBounds { staleness_ms: self.staleness_ms, max_clock_skew_ms: self.max_clock_skew_ms }
    }
}

#[cfg(test)]
mod tests;
