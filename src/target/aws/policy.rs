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
//! resources (IAM evaluates it against `*`) cannot be certified, because the resource is no exact ARN.

use std::collections::BTreeMap;

use serde_json::{Value, json};

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
    arns.iter().try_for_each(|arn| literal(arn))?;
    conditions.iter().try_for_each(check_condition)?;

    let mut allow = json!({ "Effect": "Allow", "Action": listed(&actions), "Resource": listed(&arns) });
    if !conditions.is_empty()
        && let Some(statement) = allow.as_object_mut()
    {
        let equal: BTreeMap<_, _> = conditions.iter().map(|(key, values)| (key, listed(values))).collect();
        statement.insert("Condition".to_owned(), json!({ "StringEquals": equal }));
    }
    let end = Timestamp::from_seconds(not_after.seconds()).unwrap_or(not_after).to_string();
    let mut statements = vec![
        allow,
        json!({ "Effect": "Deny", "NotAction": listed(&actions), "Resource": "*" }),
        json!({ "Effect": "Deny", "Action": "*", "NotResource": listed(&arns) }),
        denied_when(json!({ "DateGreaterThan": { "aws:CurrentTime": end } })),
    ];
    // One for each: the keys of one condition are joined by `and`.
    statements.extend(
        conditions.iter().map(|(key, values)| denied_when(json!({ "StringNotEquals": { key: listed(values) } }))),
    );
    let text = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
    match text.chars().count() {
        size if size > MAX_POLICY => Err(PolicyError::TooLarge { size }),
        _ => Ok(text),
    }
}

fn denied_when(condition: Value) -> Value {
    json!({ "Effect": "Deny", "Action": "*", "Resource": "*", "Condition": condition })
}

/// One value stands for itself.
fn listed<T: AsRef<str>>(values: &[T]) -> Value {
    match values {
        [value] => Value::from(value.as_ref()),
        values => values.iter().map(|value| value.as_ref()).collect(),
    }
}

fn literal(text: &str) -> Result<(), PolicyError> {
    let plain = |octet: u8| octet.is_ascii_graphic() && octet != b'*' && octet != b'?';
    match !text.is_empty() && text.bytes().all(plain) && !text.contains("${") {
        true => Ok(()),
        false => Err(PolicyError::NotLiteral(text.chars().take(80).collect())),
    }
}

fn check_condition((key, values): (&String, &Vec<String>)) -> Result<(), PolicyError> {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b":/-_.+=@".contains(&octet);
    if !key.contains(':') || key.len() > 256 || !key.bytes().all(plain) || values.is_empty() {
        return Err(PolicyError::Condition(key.chars().take(80).collect()));
    }
    match values.iter().find(|value| value.contains("${")) {
        Some(value) => Err(PolicyError::NotLiteral(value.chars().take(80).collect())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
