//! JSON pointers (RFC 6901): the names of places in a JSON value.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::json::Json;

/// A JSON pointer of at most [`Pointer::MAX_OCTETS`] and [`Pointer::MAX_TOKENS`].
///
/// Each place has one spelling: `~0` and `~1` are the only escapes, and array indices have no leading zeros. Its order
/// puts a place before everything inside it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(description = "A JSON pointer (RFC 6901) of at most 512 octets and 32 tokens.")]
#[schemars(extend("pattern" = "^(/([^~/]|~[01])*)*$", "maxLength" = 512))]
pub struct Pointer(#[schemars(with = "String")] Vec<String>);

/// The text is not a JSON pointer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a JSON pointer: expected nothing, or `/` before each token, `~0` for `~` and `~1` for `/`, \
     at most {max_octets} octets and {max_tokens} tokens",
    max_octets = Pointer::MAX_OCTETS, max_tokens = Pointer::MAX_TOKENS
)]
pub struct InvalidPointer(String);

impl Pointer {
    /// The most octets that its text may have.
    pub const MAX_OCTETS: usize = 512;
    /// The most tokens that it may have.
    pub const MAX_TOKENS: usize = 32;

    /// Reads the text form, such as `/spec/replicas`; the empty text names the whole value.
    ///
    /// # Errors
    /// A text that is no pointer, or is longer than the bounds.
    pub fn parse(text: &str) -> Result<Self, InvalidPointer> {
        let invalid = || InvalidPointer(text.chars().take(80).collect());
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let tokens = text.strip_prefix('/').filter(|_| text.len() <= Self::MAX_OCTETS).ok_or_else(invalid)?;
        let tokens: Option<Vec<_>> = tokens.split('/').map(unescape).collect();
        tokens.filter(|tokens| tokens.len() <= Self::MAX_TOKENS).map(Self).ok_or_else(invalid)
    }

    /// The whole value.
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// The tokens, unescaped.
    pub fn tokens(&self) -> &[String] {
        &self.0
    }

    /// Whether it names the whole value.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it names the same place as `other`, or one that `other` lies inside.
    pub fn contains(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }

    /// The value at this place in `root`, if there is one. `-`, the place behind an array's end, never is.
    pub fn resolve<'a>(&self, root: &'a Json) -> Option<&'a Json> {
        self.0.iter().try_fold(root, |value, token| match value {
            Json::Object(object) => object.get(token),
            Json::Array(values) => values.get(index(token)?),
            _ => None,
        })
    }

    /// Puts `value` in this place of `root`, which must exist already. The value that was there, or `None` where
    /// there is no such place; then nothing is changed.
    pub fn replace(&self, root: &mut Json, value: Json) -> Option<Json> {
        let place = self.0.iter().try_fold(root, |value, token| match value {
            Json::Object(object) => object.get_mut(token),
            Json::Array(values) => values.get_mut(index(token)?),
            _ => None,
        })?;
        Some(std::mem::replace(place, value))
    }
}

/// The text of one token inside a pointer.
pub(crate) fn escape(token: &str) -> Cow<'_, str> {
    if token.contains(['~', '/']) { token.replace('~', "~0").replace('/', "~1").into() } else { token.into() }
}

fn unescape(text: &str) -> Option<String> {
    let mut token = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        token.push(match character {
            '~' => match rest.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            },
            plain => plain,
        });
    }
    Some(token)
}

/// The array index that a token spells: digits without a leading zero (RFC 6901 section 4).
fn index(token: &str) -> Option<usize> {
    let digits = token.bytes().all(|b| b.is_ascii_digit());
    let one_spelling = token == "0" || !token.starts_with('0');
    (digits && one_spelling).then(|| token.parse().ok())?
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|token| write!(f, "/{}", escape(token)))
    }
}

impl fmt::Debug for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

impl FromStr for Pointer {
    type Err = InvalidPointer;

    fn from_str(text: &str) -> Result<Self, InvalidPointer> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Pointer {
    type Error = InvalidPointer;

    fn try_from(text: String) -> Result<Self, InvalidPointer> {
        Self::parse(&text)
    }
}

impl From<Pointer> for String {
    fn from(pointer: Pointer) -> Self {
        pointer.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_section_5_resolve() {
        let document = Json::parse(
            br#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8}"#,
        )
        .unwrap();
        for (pointer, value) in [
            ("", document.to_canonical().as_str()),
            ("/foo", r#"["bar","baz"]"#),
            ("/foo/0", r#""bar""#),
            ("/", "0"),
            ("/a~1b", "1"),
            ("/c%d", "2"),
            ("/e^f", "3"),
            ("/g|h", "4"),
            ("/i\\j", "5"),
            ("/k\"l", "6"),
            ("/ ", "7"),
            ("/m~0n", "8"),
        ] {
            let pointer = Pointer::parse(pointer).unwrap();
            assert_eq!(pointer.resolve(&document).map(Json::to_canonical).as_deref(), Some(value), "{pointer}");
        }
        for nowhere in
            ["/foo/2", "/foo/-", "/foo/00", "/foo/+1", "/foo/", "/foo/0/x", "/bar", "/foo/18446744073709551616"]
        {
            assert_eq!(Pointer::parse(nowhere).unwrap().resolve(&document), None, "{nowhere}");
        }
    }

    #[test]
    fn what_is_no_pointer_is_refused() {
        let long = format!("/{}", "a".repeat(Pointer::MAX_OCTETS));
        let deep = "/a".repeat(Pointer::MAX_TOKENS + 1);
        for bad in ["a", "a/b", "/~", "/~2", "/a~", "#/a", &long, &deep] {
            assert!(Pointer::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(tokens in proptest::collection::vec("[a-z~/é]{0,5}", 0..8)) {
            let pointer = Pointer(tokens);
            prop_assert_eq!(Pointer::parse(&pointer.to_string()).unwrap(), pointer);
        }

        #[test]
        fn what_is_read_is_written_back(text in "(/[a-z~01-]{0,3}){0,4}") {
            if let Ok(pointer) = Pointer::parse(&text) {
                prop_assert_eq!(pointer.to_string(), text);
            }
        }
    }
}
