//! Names: short texts with one rule each.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The text breaks the rule of the name that it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: expected {rule}")]
pub struct InvalidName {
    text: String,
    what: &'static str,
    rule: &'static str,
}

impl InvalidName {
    /// An error that quotes the beginning of `text`.
    pub(super) fn new(text: &str, what: &'static str, rule: &'static str) -> Self {
        Self { text: text.chars().take(80).collect(), what, rule }
    }
}

/// Declares a name: its type, what it is called in errors, its rule in words, as a pattern for the schema, and as code.
macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $rule:literal, $pattern:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(extend("pattern" = $pattern))]
        pub struct $type(#[schemars(with = "String")] String);

        impl $type {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "`{}`", self.0)
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok(Self(text.to_owned())) } else { Err(InvalidName::new(text, $what, $rule)) }
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }
    };
}
pub(super) use name;

name! {
    /// The name of a configured target, such as `prod-eu`.
    TargetName, "the name of a target",
    "1 to 63 lower-case letters, digits and dashes, a letter or digit at both ends",
    "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", |text| is_label(text, 63)
}

name! {
    /// The name of a step, unique in its contract.
    StepName, "the name of a step",
    "1 to 32 lower-case letters, digits and dashes, a letter or digit at both ends",
    "^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$", |text| is_label(text, 32)
}

name! {
    /// Which version of an object was seen: the token of the target, compared octet for octet and never ordered.
    ///
    /// Each kind of target narrows it further: a decimal 64-bit number without leading zeros (sandbox), 1 to 64 letters
    /// and digits (Kubernetes, whose resource versions are opaque), anything (AWS: ETags, revision ids).
    Version, "a version token",
    "1 to 256 printable ASCII characters",
    "^[ -~]{1,256}$", |text| (1..=256).contains(&text.len()) && text.bytes().all(|b| matches!(b, b' '..=b'~'))
}

/// A DNS-1123 label of at most `max` octets: lower-case letters, digits and dashes, a letter or digit at both ends.
pub(super) fn is_label(text: &str, max: usize) -> bool {
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= max
        && text.bytes().all(|b| alphanumeric(&b) || b == b'-')
        && text.as_bytes().first().is_some_and(alphanumeric)
        && text.as_bytes().last().is_some_and(alphanumeric)
}

/// A DNS-1123 subdomain: labels with dots between them, at most 253 octets.
pub(super) fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(|label| is_label(label, 253))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_rule() {
        for good in ["a", "prod-eu", "0", &"a".repeat(32)] {
            assert_eq!(good.parse::<StepName>().unwrap().as_str(), good);
            assert_eq!(good.parse::<TargetName>().unwrap().as_str(), good);
        }
        for bad in ["", "-", "a-", "-a", "A", "a_b", "é", "a b", "a\n", &"a".repeat(64)] {
            assert!(bad.parse::<StepName>().is_err(), "{bad}");
            assert!(bad.parse::<TargetName>().is_err(), "{bad}");
        }
        assert!("a".repeat(33).parse::<StepName>().is_err());
        assert!("a".repeat(63).parse::<TargetName>().is_ok());
        for bad in ["", "a\n", "é", &"a".repeat(257)] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_error_says_what_was_expected() {
        let error = "Prod".parse::<TargetName>().unwrap_err().to_string();
        assert!(error.starts_with("`Prod` is not the name of a target: expected 1 to 63 lower-case"), "{error}");
    }
}
