//! The broker's own bounds on values of a call's body.

use serde::{Deserialize, Serialize};

use crate::contract::{Json, Number, Pointer};
use crate::reason::{Denial, Reason};

/// The most values of an enumeration.
const MAX_VALUES: usize = 256;

/// A bound on the value at one place of the final body, whether the contract fixed it or the agent chose it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParameterCeiling {
    /// The place: a JSON pointer into the body, not the whole of it.
    pub pointer: Pointer,
    /// The value must be a number and not below this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<Number>,
    /// The value must be a number and not above this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum: Option<Number>,
    /// The value must be one of these: at most 256, no lists or objects. An empty list admits no value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<Json>>,
    /// Whether the body may have no such place: the object that would hold it, or one around it, lacks the name. Say
    /// so only where the absence is harmless under every verb of the rule: in a merge it leaves the value as it is, in
    /// a replacement it takes it away. A place inside a list is never optional. Default: `false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// What a body has at a place.
enum Found<'a> {
    Value(&'a Json),
    /// An object on the way lacks the name.
    Absent,
    /// Something on the way is no object or list, for instance the `null` by which a merge removes what is inside.
    Blocked,
}

impl ParameterCeiling {
    /// Why `body` does not keep this bound.
    pub(super) fn denial(&self, body: &Json) -> Option<Denial> {
        let detail = match self.find(body) {
            Found::Absent if self.optional => return None,
            Found::Absent => format!("the body has no `{}`", self.pointer),
            Found::Blocked => format!("the body has no place for `{}`", self.pointer),
            Found::Value(value) => self.violation(value)?,
        };
        Some(Denial::new(Reason::CeilingParameter, detail))
    }

    fn find<'a>(&self, body: &'a Json) -> Found<'a> {
        if let Some(value) = self.pointer.resolve(body) {
            return Found::Value(value);
        }
        let mut value = body;
        for token in self.pointer.tokens() {
            match value {
                Json::Object(object) => match object.get(token) {
                    Some(inner) => value = inner,
                    None => return Found::Absent,
                },
                // Which element of a list is meant cannot be told from one that has fewer.
                _ => return Found::Blocked,
            }
        }
        Found::Value(value)
    }

    fn violation(&self, value: &Json) -> Option<String> {
        let pointer = &self.pointer;
        if self.minimum.is_some() || self.maximum.is_some() {
            let Json::Number(number) = value else {
                return Some(format!("`{pointer}` is {}, where the broker bounds a number", value.type_name()));
            };
            if let Some(minimum) = self.minimum.filter(|minimum| number < minimum) {
                return Some(format!("`{pointer}` is {number}, below the broker's bound {minimum}"));
            }
            if let Some(maximum) = self.maximum.filter(|maximum| number > maximum) {
                return Some(format!("`{pointer}` is {number}, above the broker's bound {maximum}"));
            }
        }
        match &self.values {
            Some(values) if !values.contains(value) => {
                let start: String = value.to_canonical().chars().take(60).collect();
                Some(format!("`{pointer}` is {start}, which is none of the broker's values"))
            }
            _ => None,
        }
    }

    /// What is wrong with the bound itself.
    pub(super) fn faults(&self) -> Vec<&'static str> {
        let values = self.values.as_deref().unwrap_or_default();
        let scalar = |value: &Json| !matches!(value, Json::Array(_) | Json::Object(_));
        let inverted = matches!((self.minimum, self.maximum), (Some(minimum), Some(maximum)) if minimum > maximum);
        let checks = [
            (self.pointer.is_root(), "the pointer must name a place inside the body"),
            (
                self.minimum.is_none() && self.maximum.is_none() && self.values.is_none(),
                "give `minimum`, `maximum` or `values`",
            ),
            (inverted, "`minimum` is above `maximum`"),
            (values.len() > MAX_VALUES, "`values` has more than 256 entries"),
            (!values.iter().all(scalar), "`values` may hold no lists and no objects"),
        ];
        checks.into_iter().filter_map(|(wrong, fault)| wrong.then_some(fault)).collect()
    }
}
