//! JSON as values: one number type that is exact, one order of members, one text for each value.
//!
//! [`Json::parse`] reads strictly: what two readers could understand differently is refused. [`Json::to_canonical`]
//! writes the canonical form of RFC 8785, so that equal values have equal octets, and equal digests.
//!
//! The reader is our own, because the exactness of a number can only be judged on its literal and no reader of the
//! registries shows that together with duplicate keys, at one pass and bounded depth; `serde_json` is the oracle of the
//! tests: whatever the strict reader accepts, it accepts too, with an equal value.

mod canonical;
mod de;
mod number;
mod parse;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::ser::SerializeMap;

pub(crate) use de::decode;
pub use number::{InvalidNumber, Number};
pub use parse::{InvalidJson, JsonFault};

/// The greatest integer that every double-based reader holds exactly, 2^53 - 1 (RFC 7493 section 2.2).
pub const MAX_SAFE_INTEGER: i64 = 9_007_199_254_740_991;

/// A JSON value.
///
/// Equality is equality of values: `1` and `1.0` are one number, and the order of an object's members does not count.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    String(String),
    /// A list.
    Array(Vec<Json>),
    /// Named members.
    Object(Object),
}

/// The members of a JSON object: distinct names, ordered by UTF-16 code units (RFC 8785 section 3.2.3).
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object(Vec<(String, Json)>);

impl Json {
    /// The most octets that [`Json::parse`] reads: 64 KiB.
    pub const MAX_OCTETS: usize = 64 * 1024;
    /// The most objects and lists that may stand inside each other.
    pub const MAX_DEPTH: usize = 32;

    /// Reads one JSON text of at most [`Json::MAX_OCTETS`], strictly.
    ///
    /// # Errors
    /// See [`JsonFault`]: anything that is not JSON in UTF-8 without byte order mark, anything after the value, a
    /// duplicate name (also one that only shows after unescaping), a lone surrogate, a number that a double cannot
    /// hold exactly as written, and more octets or more depth than the bounds.
    pub fn parse(octets: &[u8]) -> Result<Self, InvalidJson> {
        Self::parse_within(octets, Self::MAX_OCTETS)
    }

    /// Reads one JSON text of at most `max_octets`, as strictly as [`Json::parse`]; for detached bodies.
    ///
    /// A value takes up to about 20 times the memory of its text.
    ///
    /// # Errors
    /// As [`Json::parse`].
    pub fn parse_within(octets: &[u8], max_octets: usize) -> Result<Self, InvalidJson> {
        parse::parse(octets, max_octets)
    }

    /// The canonical text of RFC 8785. Every value has exactly one, and no two values share one.
    pub fn to_canonical(&self) -> String {
        let mut out = String::new();
        canonical::write(self, &mut out);
        out
    }

    /// An object of these members; of members with one name the last counts.
    pub fn object<N: Into<String>>(members: impl IntoIterator<Item = (N, Self)>) -> Self {
        let mut object = Object::default();
        for (name, value) in members {
            object.insert(name.into(), value);
        }
        Self::Object(object)
    }

    /// A string.
    pub fn string(text: impl fmt::Display) -> Self {
        Self::String(text.to_string())
    }

    /// The member of this name, where this is an object that has it.
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(object) => object.get(name),
            _ => None,
        }
    }

    /// The text, where this is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// What kind of value this is, as RFC 8259 calls it.
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Number(_) => "number",
            Self::String(_) => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }
}

impl Object {
    /// The value of the member `name`.
    pub fn get(&self, name: &str) -> Option<&Json> {
        let at = self.position(name).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// The value of the member `name`, to change it.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Json> {
        let at = self.position(name).ok()?;
        self.0.get_mut(at).map(|(_, value)| value)
    }

    /// Sets the member `name`; the value that it replaces, if any.
    pub fn insert(&mut self, name: String, value: Json) -> Option<Json> {
        match self.position(&name) {
            Ok(at) => self.0.get_mut(at).map(|(_, old)| std::mem::replace(old, value)),
            Err(at) => {
                self.0.insert(at, (name, value));
                None
            }
        }
    }

    /// The members in canonical order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Json)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// An object of these members, or the name that appears twice.
    fn from_members(mut members: Vec<(String, Json)>) -> Result<Self, String> {
        members.sort_by(|(a, _), (b, _)| order(a, b));
        let twice = members.windows(2).find_map(|pair| match pair {
            [(a, _), (b, _)] if a == b => Some(a.clone()),
            _ => None,
        });
        match twice {
            Some(name) => Err(name),
            None => Ok(Self(members)),
        }
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| order(other, name))
    }
}

/// The order of names by UTF-16 code units. It differs from that of UTF-8 where surrogate pairs meet U+E000 to U+FFFF.
fn order(a: &str, b: &str) -> Ordering {
    if a.is_ascii() && b.is_ascii() { a.cmp(b) } else { a.encode_utf16().cmp(b.encode_utf16()) }
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u32> for Json {
    fn from(value: u32) -> Self {
        Self::Number(Number::from(value))
    }
}

impl From<Number> for Json {
    fn from(value: Number) -> Self {
        Self::Number(value)
    }
}

impl From<&str> for Json {
    fn from(value: &str) -> Self {
        Self::String(value.to_owned())
    }
}

impl From<String> for Json {
    fn from(value: String) -> Self {
        Self::String(value)
    }
}

impl FromIterator<Json> for Json {
    fn from_iter<I: IntoIterator<Item = Json>>(values: I) -> Self {
        Self::Array(values.into_iter().collect())
    }
}

/// The canonical text.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_canonical())
    }
}

/// The canonical text: what one wants to see in a failed test.
impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for Json {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(value) => value.serialize(serializer),
            Self::String(text) => serializer.serialize_str(text),
            Self::Array(values) => serializer.collect_seq(values),
            Self::Object(object) => {
                let mut map = serializer.serialize_map(Some(object.len()))?;
                for (name, value) in object.iter() {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

impl JsonSchema for Json {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Json".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        true.into()
    }
}

#[cfg(test)]
mod tests;
