//! The inline session policy of one mutation: what is certified, and explicit denials of everything else.
//!
//! A session policy only takes away: what the role may do is the outer bound. What must be true of the text:
//!
//! - It allows the certified actions on the certified resources, under the certified conditions, and nothing else.
//! - Everything else is denied *explicitly* (`NotAction`, `NotResource`, an inverse condition, a time), because a resource
//!   policy that grants to the session's own ARN overrides what is merely not allowed. `sts:*` and `iam:PassRole` are
//!   among it: no session leads to another, and no role is passed on, unless that is what was certified.
//! - It holds for seconds, although AWS gives no session of less than 900 s.
//!
//! Actions and resources are two lists: each certified action is allowed on each certified resource. An action that has no
//! resources (IAM evaluates it against `*`) cannot be certified, because the resource is no ARN. One whose identifier AWS
//! chooses stands there as in the contract, with its wildcard.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::contract::AwsResource;
use crate::timestamp::Timestamp;

/// The longest text of a session policy that STS takes, in characters.
pub const MAX_POLICY: usize = 2048;

/// Condition keys, and the values that each may have: `StringEquals`, literal.
///
/// A key that is absent from a request denies it; keys with several values in one request (`aws:TagKeys`) do not fit.
pub type Conditions = BTreeMap<String, Vec<String>>;

/// There is no session policy for this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Nothing would be allowed.
    #[error("no {0} is certified: a session needs at least one")]
    Nothing(&'static str),
    /// A text would not be taken literally.
    #[error("`{0}` would not be taken literally: no wildcards and no policy variables")]
    NotLiteral(String),
    /// A condition has no key or no values.
    #[error("the condition on `{0}` is none: a key such as `aws:RequestedRegion`, with at least one value")]
    Condition(String),
    /// STS would refuse it.
    #[error(
        "the session policy has {size} characters, and AWS takes {MAX_POLICY}: certify fewer or shorter actions and ARNs"
    )]
    TooLarge {
        /// Its characters.
        size: usize,
    },
}

/// The session policy for `resource` under `conditions`, until the second of `not_after`: minified JSON of at most
/// [`MAX_POLICY`] characters, the same for the same input.
///
/// # Errors
/// If it could not say exactly this.
pub fn session_policy(
    resource: &AwsResource,
    conditions: &Conditions,
    not_after: Timestamp,
) -> Result<String, PolicyError> {
    let actions: Vec<&str> = resource.actions.iter().map(|action| action.as_str()).collect();
    let arns: Vec<&str> = resource.arns.iter().map(String::as_str).collect();
    for (values, what) in [(&actions, "action"), (&arns, "resource")] {
        if values.is_empty() {
            return Err(PolicyError::Nothing(what));
        }
    }
    arns.iter().filter(|arn| !resource.may_name(arn)).try_for_each(|arn| Err(not_literal(arn)))?;
    conditions.iter().try_for_each(check_condition)?;

    let end = Timestamp::from_seconds(not_after.seconds()).unwrap_or(not_after).to_string();
    let equal =
        conditions.iter().map(|(key, values)| (key.as_str(), Listed(values.iter().map(String::as_str).collect())));
    let equal: BTreeMap<_, _> = equal.collect();
    let condition = (!equal.is_empty()).then_some(Condition::StringEquals(equal.clone()));
    let everything = || Listed(vec!["*"]);
    let mut statements = vec![
        Statement::new(
            Effect::Allow,
            Actions::Action(Listed(actions.clone())),
            Resources::Resource(Listed(arns.clone())),
            condition,
        ),
        Statement::new(Effect::Deny, Actions::NotAction(Listed(actions)), Resources::Resource(everything()), None),
        Statement::new(Effect::Deny, Actions::Action(everything()), Resources::NotResource(Listed(arns)), None),
    ];
    let ended = Condition::DateGreaterThan(BTreeMap::from([("aws:CurrentTime", Listed(vec![&end]))]));
    // One for each: the keys of one condition are joined by `and`.
    let differs = equal.into_iter().map(|(key, values)| Condition::StringNotEquals(BTreeMap::from([(key, values)])));
    statements.extend([ended].into_iter().chain(differs).map(|condition| {
        let (actions, resources) = (Actions::Action(everything()), Resources::Resource(everything()));
        Statement::new(Effect::Deny, actions, resources, Some(condition))
    }));
    let policy = Policy { version: "2012-10-17", statement: statements };
    let text = serde_json::to_string(&policy).map_err(|error| PolicyError::NotLiteral(error.to_string()))?;
    match text.chars().count() {
        size if size > MAX_POLICY => Err(PolicyError::TooLarge { size }),
        _ => Ok(text),
    }
}

/// The members in the order in which they are written.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Policy<'a> {
    version: &'static str,
    statement: Vec<Statement<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement<'a> {
    effect: Effect,
    #[serde(flatten)]
    actions: Actions<'a>,
    #[serde(flatten)]
    resources: Resources<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<Condition<'a>>,
}

#[derive(Serialize)]
enum Effect {
    Allow,
    Deny,
}

#[derive(Serialize)]
enum Actions<'a> {
    Action(Listed<'a>),
    NotAction(Listed<'a>),
}

#[derive(Serialize)]
enum Resources<'a> {
    Resource(Listed<'a>),
    NotResource(Listed<'a>),
}

#[derive(Serialize)]
enum Condition<'a> {
    StringEquals(BTreeMap<&'a str, Listed<'a>>),
    StringNotEquals(BTreeMap<&'a str, Listed<'a>>),
    DateGreaterThan(BTreeMap<&'a str, Listed<'a>>),
}

impl<'a> Statement<'a> {
    const fn new(
        effect: Effect,
        actions: Actions<'a>,
        resources: Resources<'a>,
        condition: Option<Condition<'a>>,
    ) -> Self {
        Self { effect, actions, resources, condition }
    }
}

/// Values: one of them stands for itself.
#[derive(Clone)]
struct Listed<'a>(Vec<&'a str>);

impl Serialize for Listed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [value] => value.serialize(serializer),
            values => values.serialize(serializer),
        }
    }
}

fn not_literal(text: &str) -> PolicyError {
    PolicyError::NotLiteral(text.chars().take(80).collect())
}

fn check_condition((key, values): (&String, &Vec<String>)) -> Result<(), PolicyError> {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b":/-_.+=@".contains(&octet);
    if !key.contains(':') || key.len() > 256 || !key.bytes().all(plain) || values.is_empty() {
        return Err(PolicyError::Condition(key.chars().take(80).collect()));
    }
    match values.iter().find(|value| value.contains("${")) {
        Some(value) => Err(not_literal(value)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
