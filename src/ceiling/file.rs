//! The ceilings as an operator writes them, with their defaults and their rules.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::parameter::ParameterCeiling;
use super::pattern::Pattern;
use crate::contract::{AwsOperation, Json, TargetKind, TargetName, Verb};

/// The most targets, authorities, and agents or authorities with a rate of their own.
const MAX_NAMED: usize = 1024;
/// The most rules of a target; the most verbs, actions, patterns or parameter ceilings of a rule.
const MAX_LIST: usize = 256;
/// The longest window of a rate: one day.
const MAX_WINDOW_SECONDS: u32 = 86_400;
/// The longest bound on the age of knowledge: one day.
const MAX_AGE_SECONDS: u32 = 86_400;
/// The largest file in octets of its JSON.
const MAX_OCTETS: usize = 4 * 1024 * 1024;

/// What an operator writes. Every field has a default, and the defaults admit nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CeilingsFile {
    /// The targets that exist for this broker, by name, each with its rules. At most 1024. Default: none.
    pub targets: BTreeMap<TargetName, TargetCeiling>,
    /// What each authority may certify for, by its SPIFFE ID. At most 1024. Default: none, so that no certificate
    /// is good for anything.
    pub authorities: BTreeMap<String, AuthorityCeiling>,
    /// The longest time in seconds from the first to the last second of a certificate's validity. Default: 3600.
    pub max_validity_seconds: u32,
    /// The most uses that a contract may have. Default: 1.
    pub max_uses: u32,
    /// The longest deadline in seconds, that is the longest life of an execution identity. Default: 60.
    pub max_deadline_seconds: u32,
    /// How many executions there may be in a window of time.
    pub rates: Rates,
    /// What the broker must know, and how freshly, to decide.
    pub knowledge: Knowledge,
}

/// What may be done to one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetCeiling {
    /// The kind of the target: `sandbox`, `kubernetes` or `aws`.
    pub kind: TargetKind,
    /// The rules, at most 256. A call must keep all of one of them; no rule, no call.
    pub rules: Vec<Rule>,
    /// The AWS accounts, 12 digits each, that a call may name. Only for `aws`; default: none.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub accounts: BTreeSet<String>,
    /// The AWS regions that a call may name, such as `eu-west-1`, or `aws-global`. Only for `aws`; default: none.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub regions: BTreeSet<String>,
}

/// One combination of verbs, resources and values that may be called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The verbs, at most 256, each one that the target's kind has. No verb, no call.
    pub verbs: BTreeSet<Verb>,
    /// Patterns over the paths of the resource, at most 256. Every path of a call must match one of them.
    pub resources: BTreeSet<Pattern>,
    /// The IAM actions, beside the one that is called like the verb, that a call may ask a session policy for: at most
    /// 256. Only for `aws`; default: none.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub actions: BTreeSet<AwsOperation>,
    /// Bounds on values of the final body, at most 256. All must hold. Refused beside the verb `json-patch`, whose
    /// body says how to change an object and has no place that always means the same. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<ParameterCeiling>,
}

/// What one authority may certify.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorityCeiling {
    /// The targets that it may certify for, each one of `targets`. None, and it may certify for nothing.
    pub targets: BTreeSet<TargetName>,
}

/// How many executions there may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rates {
    /// For each agent. Default: 60 in 60 seconds.
    pub agent: Rate,
    /// For all certificates of each authority together. Default: 600 in 60 seconds.
    pub authority: Rate,
    /// For single agents, by SPIFFE ID, in place of `agent`, be it narrower or wider: whoever names an agent means it.
    /// At most 1024.
    pub agents: BTreeMap<String, Rate>,
    /// For single authorities, by SPIFFE ID, in place of `authority`. At most 1024.
    pub authorities: BTreeMap<String, Rate>,
}

/// A number of executions in a window of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// The most executions in the window. 0: none at all.
    pub executions: u32,
    /// The length of the window that ends now, in seconds: 1 to 86400.
    pub per_seconds: u32,
}

/// What the broker must know to decide, and how freshly. A bound is the greatest value still accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Knowledge {
    /// How old the newest epoch statement may be, in milliseconds since its receipt, at most one day. Default: 1000.
    pub staleness_ms: u32,
    /// How far the clocks of broker and authority may differ, in milliseconds, at most one day. Default: 2000. It also
    /// bounds how long a statement can be held back on its way without being noticed, so it should be small.
    pub max_clock_skew_ms: u32,
    /// How old the proof may be that the target refuses other identities, in seconds, at most one day. Default: 900.
    pub max_boundary_age_seconds: u32,
    /// What a missing, old or negative proof of the boundary means. Default: `enforce`.
    pub boundary: BoundaryMode,
    /// How old the live state may be where it is read before the call, in milliseconds, at most one day. Default: 1000.
    pub max_state_age_ms: u32,
}

/// What it means when nothing proves that the target refuses identities that the broker did not mint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BoundaryMode {
    /// The execution is denied.
    #[default]
    Enforce,
    /// The execution is permitted, and the permit and its record carry the reason as a warning.
    Warn,
}

impl Default for CeilingsFile {
    fn default() -> Self {
        Self {
            targets: BTreeMap::new(),
            authorities: BTreeMap::new(),
            max_validity_seconds: 3600,
            max_uses: 1,
            max_deadline_seconds: 60,
            rates: Rates::default(),
            knowledge: Knowledge::default(),
        }
    }
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            agent: Rate { executions: 60, per_seconds: 60 },
            authority: Rate { executions: 600, per_seconds: 60 },
            agents: BTreeMap::new(),
            authorities: BTreeMap::new(),
        }
    }
}

impl Default for Knowledge {
    fn default() -> Self {
        Self {
            staleness_ms: 1000,
            max_clock_skew_ms: 500,
            max_boundary_age_seconds: 900,
            boundary: BoundaryMode::Enforce,
            max_state_age_ms: 1000,
        }
    }
}

impl CeilingsFile {
    /// The canonical JSON.
    pub(super) fn to_canonical(&self) -> Result<String, String> {
        let text = serde_json::to_string(self).map_err(|error| error.to_string())?;
        let json = Json::parse_within(text.as_bytes(), MAX_OCTETS).map_err(|error| error.to_string())?;
        Ok(json.to_canonical())
    }

    /// All that is wrong, except SPIFFE IDs.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Faults(Vec::new());
        faults.count("targets", self.targets.len(), MAX_NAMED);
        faults.count("authorities", self.authorities.len(), MAX_NAMED);
        for (name, target) in &self.targets {
            target.faults(&format!("targets.{name}"), &mut faults);
        }
        for (authority, ceiling) in &self.authorities {
            for target in ceiling.targets.iter().filter(|target| !self.targets.contains_key(target)) {
                faults
                    .add("authorities", format_args!("`{authority}` names target `{target}`, which `targets` has not"));
            }
        }
        let Rates { agent, authority, agents, authorities } = &self.rates;
        faults.count("rates.agents", agents.len(), MAX_NAMED);
        faults.count("rates.authorities", authorities.len(), MAX_NAMED);
        for rate in [agent, authority].into_iter().chain(agents.values()).chain(authorities.values()) {
            if !(1..=MAX_WINDOW_SECONDS).contains(&rate.per_seconds) {
                let window = rate.per_seconds;
                faults.add("rates", format_args!("`per_seconds` is {window}; allowed are 1 to {MAX_WINDOW_SECONDS}"));
            }
        }
        let Knowledge { staleness_ms, max_clock_skew_ms, max_boundary_age_seconds, boundary: _, max_state_age_ms } =
            self.knowledge;
        for (field, value, max) in [
            ("staleness_ms", staleness_ms, MAX_AGE_SECONDS.saturating_mul(1000)),
            ("max_clock_skew_ms", max_clock_skew_ms, MAX_AGE_SECONDS.saturating_mul(1000)),
            ("max_boundary_age_seconds", max_boundary_age_seconds, MAX_AGE_SECONDS),
            ("max_state_age_ms", max_state_age_ms, MAX_AGE_SECONDS.saturating_mul(1000)),
        ] {
            if value > max {
                faults.add("knowledge", format_args!("`{field}` is {value}; at most {max} is allowed"));
            }
        }
        faults.0
    }
}

impl TargetCeiling {
    fn faults(&self, place: &str, faults: &mut Faults) {
        let aws = self.kind == TargetKind::Aws;
        faults.count(&format!("{place}.rules"), self.rules.len(), MAX_LIST);
        let aws_only = self.accounts.len().saturating_add(self.regions.len());
        if !aws && aws_only > 0 {
            faults.add(place, format_args!("only targets of kind aws have `accounts` and `regions`"));
        }
        for account in &self.accounts {
            if account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()) {
                faults.add(place, format_args!("an account has 12 digits, and no wildcard"));
            }
        }
        for region in &self.regions {
            let plain = region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            if !plain || !(1..=63).contains(&region.len()) {
                faults.add(place, format_args!("a region is an id such as `eu-west-1`, and no wildcard"));
            }
        }
        for (index, rule) in self.rules.iter().enumerate() {
            let place = format!("{place}.rules[{index}]");
            for (list, count) in [
                ("verbs", rule.verbs.len()),
                ("resources", rule.resources.len()),
                ("actions", rule.actions.len()),
                ("parameters", rule.parameters.len()),
            ] {
                faults.count(&format!("{place}.{list}"), count, MAX_LIST);
            }
            for verb in rule.verbs.iter().filter(|verb| !verb.is_of(self.kind)) {
                faults.add(&place, format_args!("targets of kind {} have no verb `{verb}`", self.kind));
            }
            if !aws && !rule.actions.is_empty() {
                faults.add(&place, format_args!("only targets of kind aws have `actions`"));
            }
            if rule.verbs.contains(&Verb::JsonPatch) && !rule.parameters.is_empty() {
                faults
                    .add(&place, format_args!("`parameters` cannot bound the body of a `json-patch`: write two rules"));
            }
            for parameter in &rule.parameters {
                for fault in parameter.faults() {
                    faults.add(&place, format_args!("parameter `{}`: {fault}", parameter.pointer));
                }
            }
        }
    }
}

/// What was found wrong so far.
struct Faults(Vec<String>);

impl Faults {
    fn add(&mut self, place: &str, what: fmt::Arguments<'_>) {
        self.0.push(format!("{place}: {what}"));
    }

    fn count(&mut self, place: &str, count: usize, max: usize) {
        if count > max {
            self.add(place, format_args!("has {count} entries; at most {max} are allowed"));
        }
    }
}
