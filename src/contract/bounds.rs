//! The bounds of a value that is left open.

use std::borrow::Cow;
use std::fmt;

use regex_automata::meta;
use regex_automata::util::syntax;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::json::{Json, MAX_SAFE_INTEGER, Number};
use super::resource::distinct;
use crate::reason::Reason;

/// The most values of an enumeration, and the most elements of a list.
pub(super) const MAX_VALUES: usize = 256;
/// The longest string, in characters.
const MAX_CHARACTERS: u32 = 4096;
/// The longest pattern, in octets.
const MAX_PATTERN: usize = 256;
/// How much memory a compiled pattern may take: what bounds the time to compile it and, times the text, to match it.
const MAX_AUTOMATON: usize = 64 * 1024;
/// How much memory the search may take besides.
const MAX_CACHE: usize = 256 * 1024;

/// The bounds of a value: its type and which values of the type are inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "Json")]
pub struct Bounds(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Boolean,
    Integer { minimum: i64, maximum: i64 },
    Number { minimum: Number, maximum: Number },
    Enumeration { values: Vec<Json> },
    String { min_length: u32, max_length: u32, pattern: Option<Pattern> },
    List { min_items: u32, max_items: u32, items: Box<Bounds> },
}

/// The bounds break a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidBounds {
    /// Whether one of them is longer than the format allows, rather than wrong.
    pub(super) too_large: bool,
    message: String,
}

/// A value is not inside its bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutOfBounds {
    /// It has another type.
    #[error("{0}")]
    Type(String),
    /// It has the type, and lies outside.
    #[error("{0}")]
    Value(String),
}

impl OutOfBounds {
    /// The reason to refuse the value.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Type(_) => Reason::ParameterType,
            Self::Value(_) => Reason::ParameterOutOfBounds,
        }
    }
}

impl Bounds {
    /// `true` or `false`.
    pub const fn boolean() -> Self {
        Self(Kind::Boolean)
    }

    /// An integer from `minimum` to `maximum`, both included.
    ///
    /// # Errors
    /// `minimum` above `maximum`, or one of them beyond [`MAX_SAFE_INTEGER`].
    pub fn integer(minimum: i64, maximum: i64) -> Result<Self, InvalidBounds> {
        if minimum > maximum {
            return Err(wrong("`minimum` is above `maximum`: exchange them"));
        }
        if minimum < -MAX_SAFE_INTEGER || maximum > MAX_SAFE_INTEGER {
            return Err(wrong("an integer bound lies beyond 2^53 - 1: bring it nearer to zero"));
        }
        Ok(Self(Kind::Integer { minimum, maximum }))
    }

    /// A number from `minimum` to `maximum`, both included.
    ///
    /// # Errors
    /// `minimum` above `maximum`.
    pub fn number(minimum: Number, maximum: Number) -> Result<Self, InvalidBounds> {
        if minimum > maximum {
            return Err(wrong("`minimum` is above `maximum`: exchange them"));
        }
        Ok(Self(Kind::Number { minimum, maximum }))
    }

    /// One of 1 to 256 distinct booleans, numbers and strings.
    ///
    /// # Errors
    /// None or too many of them, one twice, or a null, list or object.
    pub fn enumeration(values: Vec<Json>) -> Result<Self, InvalidBounds> {
        if values.len() > MAX_VALUES {
            return Err(large(format!("an enumeration has {} values: at most {MAX_VALUES} are allowed", values.len())));
        }
        let scalar = |value: &Json| matches!(value, Json::Bool(_) | Json::Number(_) | Json::String(_));
        if values.is_empty() || !values.iter().all(scalar) {
            return Err(wrong("an enumeration needs 1 to 256 values, each a boolean, a number or a string"));
        }
        if !distinct(&values) {
            return Err(wrong("an enumeration has a value twice: keep one"));
        }
        Ok(Self(Kind::Enumeration { values }))
    }

    /// A string of `min_length` to `max_length` characters (Unicode scalar values), at most 4096, that as a whole
    /// matches the `pattern`, if there is one.
    ///
    /// A pattern is a regular expression of at most 256 octets without what is not regular, and without what depends on
    /// a version of Unicode, so that it matches the same strings for ever: literals, `.`, classes such as `[a-z0-9-]`,
    /// groups `(...)` and `(?:...)`, `|`, repetition. Not `\d`, `\w`, `\s`, `\b`, `\p{...}` nor flags. A backslash
    /// stands before punctuation to take it literally, or before `n`, `r`, `t`. The time to match is linear.
    ///
    /// # Errors
    /// Lengths out of order or too great, or a pattern that is too long, too large once compiled, or outside the rules.
    pub fn string(min_length: u32, max_length: u32, pattern: Option<&str>) -> Result<Self, InvalidBounds> {
        if max_length > MAX_CHARACTERS {
            return Err(large(format!("`max_length` is {max_length}: at most {MAX_CHARACTERS} is allowed")));
        }
        if min_length > max_length {
            return Err(wrong("`min_length` is above `max_length`: exchange them"));
        }
        let pattern = pattern.map(Pattern::new).transpose()?;
        Ok(Self(Kind::String { min_length, max_length, pattern }))
    }

    /// A list of `min_items` to `max_items` elements, at most 256, each inside `items`.
    ///
    /// # Errors
    /// Counts out of order or too great, or `items` that are lists themselves.
    pub fn list(min_items: u32, max_items: u32, items: Self) -> Result<Self, InvalidBounds> {
        if usize::try_from(max_items).is_ok_and(|max| max > MAX_VALUES) {
            return Err(large(format!("`max_items` is {max_items}: at most {MAX_VALUES} is allowed")));
        }
        if min_items > max_items {
            return Err(wrong("`min_items` is above `max_items`: exchange them"));
        }
        if matches!(items.0, Kind::List { .. }) {
            return Err(wrong("the elements of a list cannot be lists: bound scalars"));
        }
        Ok(Self(Kind::List { min_items, max_items, items: Box::new(items) }))
    }

    /// Whether `value` is inside. Linear in the size of the value.
    ///
    /// # Errors
    /// How it is not.
    pub fn check(&self, value: &Json) -> Result<(), OutOfBounds> {
        let wrong_type = |wanted| OutOfBounds::Type(format!("is {}, and must be {wanted}", value.type_name()));
        match (&self.0, value) {
            (Kind::Boolean, Json::Bool(_)) => Ok(()),
            (Kind::Boolean, _) => Err(wrong_type("true or false")),
            (Kind::Integer { minimum, maximum }, Json::Number(number)) => {
                let integer = number
                    .as_integer()
                    .ok_or_else(|| OutOfBounds::Type(format!("is {number}, and must be an integer")))?;
                within(&integer, minimum, maximum)
            }
            (Kind::Integer { .. }, _) => Err(wrong_type("an integer")),
            (Kind::Number { minimum, maximum }, Json::Number(number)) => within(number, minimum, maximum),
            (Kind::Number { .. }, _) => Err(wrong_type("a number")),
            (Kind::Enumeration { values }, _) => check_enumeration(values, value),
            (Kind::String { min_length, max_length, pattern }, Json::String(text)) => {
                within_count("character", text.chars().count(), *min_length, *max_length)?;
                match pattern {
                    Some(pattern) if !pattern.matches(text) => {
                        Err(OutOfBounds::Value(format!("does not match the pattern `{}` as a whole", pattern.source)))
                    }
                    _ => Ok(()),
                }
            }
            (Kind::String { .. }, _) => Err(wrong_type("a string")),
            (Kind::List { min_items, max_items, items }, Json::Array(values)) => {
                within_count("element", values.len(), *min_items, *max_items)?;
                values.iter().enumerate().try_for_each(|(index, value)| {
                    items.check(value).map_err(|error| match error {
                        OutOfBounds::Type(text) => OutOfBounds::Type(format!("has at {index} what {text}")),
                        OutOfBounds::Value(text) => OutOfBounds::Value(format!("has at {index} what {text}")),
                    })
                })
            }
            (Kind::List { .. }, _) => Err(wrong_type("a list")),
        }
    }

    /// As they stand in contracts.
    pub(super) fn to_json(&self) -> Json {
        // Exact: the constructors keep integers inside the safe range.
        let integer = |value: &i64| Number::from_integer(*value).map_or(Json::Null, Json::Number);
        let tag = |name: &str| ("type", Json::from(name));
        match &self.0 {
            Kind::Boolean => Json::object([tag("boolean")]),
            Kind::Integer { minimum, maximum } => {
                Json::object([tag("integer"), ("minimum", integer(minimum)), ("maximum", integer(maximum))])
            }
            Kind::Number { minimum, maximum } => {
                Json::object([tag("number"), ("minimum", (*minimum).into()), ("maximum", (*maximum).into())])
            }
            Kind::Enumeration { values } => Json::object([tag("enumeration"), ("values", Json::Array(values.clone()))]),
            Kind::String { min_length, max_length, pattern } => {
                let always =
                    [tag("string"), ("min_length", (*min_length).into()), ("max_length", (*max_length).into())];
                let pattern = pattern.iter().map(|pattern| ("pattern", Json::from(&*pattern.source)));
                Json::object(always.into_iter().chain(pattern))
            }
            Kind::List { min_items, max_items, items } => Json::object([
                tag("list"),
                ("min_items", (*min_items).into()),
                ("max_items", (*max_items).into()),
                ("items", items.to_json()),
            ]),
        }
    }
}

fn wrong(message: &str) -> InvalidBounds {
    InvalidBounds { too_large: false, message: message.to_owned() }
}

fn large(message: String) -> InvalidBounds {
    InvalidBounds { too_large: true, message }
}

fn within<T: Ord + fmt::Display>(value: &T, minimum: &T, maximum: &T) -> Result<(), OutOfBounds> {
    if (minimum..=maximum).contains(&value) {
        return Ok(());
    }
    Err(OutOfBounds::Value(format!("is {value}, and must be from {minimum} to {maximum}")))
}

fn within_count(what: &str, count: usize, minimum: u32, maximum: u32) -> Result<(), OutOfBounds> {
    if u32::try_from(count).is_ok_and(|count| (minimum..=maximum).contains(&count)) {
        return Ok(());
    }
    Err(OutOfBounds::Value(format!("has {count} {what}s, and must have from {minimum} to {maximum}")))
}

fn check_enumeration(values: &[Json], value: &Json) -> Result<(), OutOfBounds> {
    if values.contains(value) {
        return Ok(());
    }
    let same_type = values.iter().any(|allowed| allowed.type_name() == value.type_name());
    if same_type {
        return Err(OutOfBounds::Value("is none of the values that the enumeration lists".into()));
    }
    Err(OutOfBounds::Type(format!("is {}, and no value that the enumeration lists is", value.type_name())))
}

/// A compiled pattern. Two are equal when their sources are.
#[derive(Debug, Clone)]
struct Pattern {
    source: Box<str>,
    whole: meta::Regex,
}

impl Pattern {
    fn new(source: &str) -> Result<Self, InvalidBounds> {
        if source.len() > MAX_PATTERN {
            return Err(large(format!("a pattern has {} octets: at most {MAX_PATTERN} are allowed", source.len())));
        }
        check_dialect(source)?;
        let syntax = syntax::Config::new().nest_limit(32);
        // Alone first: what is valid alone cannot close the group that it is put into next.
        let alone = syntax::parse_with(source, &syntax);
        alone.map_err(|_| wrong("a pattern is not a regular expression: look at its brackets and repetitions"))?;
        let limits = meta::Config::new()
            .nfa_size_limit(Some(MAX_AUTOMATON))
            .onepass_size_limit(Some(MAX_AUTOMATON))
            .hybrid_cache_capacity(MAX_CACHE)
            .which_captures(regex_automata::nfa::thompson::WhichCaptures::None);
        let whole = meta::Builder::new().configure(limits).syntax(syntax).build(&format!(r"\A(?:{source})\z"));
        let whole = whole.map_err(|_| large("a pattern is too large once compiled: repeat less in it".to_owned()))?;
        Ok(Self { source: source.into(), whole })
    }

    fn matches(&self, text: &str) -> bool {
        self.whole.is_match(text)
    }
}

/// Refuses what the documentation of [`Bounds::string`] leaves out. It looks at the text alone and refuses a little
/// more than it must (`[(?]`), and so does not depend on which features the regular expression library is built with.
fn check_dialect(source: &str) -> Result<(), InvalidBounds> {
    let mut rest = source.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '\\' => match rest.next() {
                Some('n' | 'r' | 't' | '/') => {}
                Some(escaped) if r"\.+*?()|[]{}^$#&-~".contains(escaped) => {}
                _ => {
                    return Err(wrong(
                        "a pattern escapes more than punctuation: write a class such as `[0-9]` instead of `\\d`",
                    ));
                }
            },
            '(' if rest.next_if_eq(&'?').is_some() && rest.next() != Some(':') => {
                return Err(wrong("a pattern has flags or a named group: use `(...)` or `(?:...)`"));
            }
            _ => {}
        }
    }
    Ok(())
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Pattern {}

/// Which values are inside.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[schemars(rename = "Bounds")]
enum BoundsWire {
    /// `true` or `false`.
    Boolean {},
    /// An integer, both ends included, within 2^53 - 1 of zero.
    Integer {
        /// The least.
        #[schemars(range(min = -9_007_199_254_740_991_i64, max = 9_007_199_254_740_991_i64))]
        minimum: i64,
        /// The greatest.
        #[schemars(range(min = -9_007_199_254_740_991_i64, max = 9_007_199_254_740_991_i64))]
        maximum: i64,
    },
    /// A number, both ends included.
    Number {
        /// The least.
        minimum: Number,
        /// The greatest.
        maximum: Number,
    },
    /// One of these values.
    Enumeration {
        /// Distinct booleans, numbers and strings.
        #[schemars(extend("minItems" = 1, "maxItems" = 256, "uniqueItems" = true))]
        #[schemars(with = "Vec<Scalar>")]
        values: Vec<Json>,
    },
    /// A string.
    String {
        /// The fewest characters (Unicode scalar values).
        #[schemars(range(max = 4096))]
        min_length: u32,
        /// The most characters (Unicode scalar values).
        #[schemars(range(max = 4096))]
        max_length: u32,
        /// A regular expression for the whole string, of the restricted dialect in `docs/contract.md`.
        #[serde(default, deserialize_with = "super::wire::present")]
        #[schemars(with = "String", length(max = 256))]
        pattern: Option<String>,
    },
    /// A list.
    List {
        /// The fewest elements.
        #[schemars(range(max = 256))]
        min_items: u32,
        /// The most elements.
        #[schemars(range(max = 256))]
        max_items: u32,
        /// The bounds of each element, which cannot be a list itself.
        items: Bounds,
    },
}

/// A boolean, a number or a string.
#[derive(JsonSchema)]
#[schemars(inline, untagged)]
#[expect(dead_code, reason = "for the schema")]
enum Scalar {
    Boolean(bool),
    Number(Number),
    String(String),
}

impl TryFrom<BoundsWire> for Bounds {
    type Error = InvalidBounds;

    fn try_from(wire: BoundsWire) -> Result<Self, InvalidBounds> {
        match wire {
            BoundsWire::Boolean {} => Ok(Self::boolean()),
            BoundsWire::Integer { minimum, maximum } => Self::integer(minimum, maximum),
            BoundsWire::Number { minimum, maximum } => Self::number(minimum, maximum),
            BoundsWire::Enumeration { values } => Self::enumeration(values),
            BoundsWire::String { min_length, max_length, pattern } => {
                Self::string(min_length, max_length, pattern.as_deref())
            }
            BoundsWire::List { min_items, max_items, items } => Self::list(min_items, max_items, items),
        }
    }
}

impl<'de> Deserialize<'de> for Bounds {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire: BoundsWire = super::wire::tagged(deserializer)?;
        Self::try_from(wire).map_err(serde::de::Error::custom)
    }
}

impl From<Bounds> for Json {
    fn from(bounds: Bounds) -> Self {
        bounds.to_json()
    }
}

impl JsonSchema for Bounds {
    fn inline_schema() -> bool {
        BoundsWire::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        BoundsWire::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        BoundsWire::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        BoundsWire::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    fn read(text: &str) -> Result<Bounds, String> {
        super::super::json::decode(&json(text)).map_err(|(_, message)| message)
    }

    #[test]
    fn values_are_inside_or_not() {
        // The bounds, what is inside, what is outside, and what has another type.
        type Case = (&'static str, &'static [&'static str], &'static [&'static str], &'static [&'static str]);
        let cases: &[Case] = &[
            (r#"{"type":"boolean"}"#, &["true", "false"], &[], &["null", "0", "\"true\""]),
            (
                r#"{"type":"integer","minimum":-3,"maximum":50}"#,
                &["-3", "0", "50", "5e1", "3.0"],
                &["-4", "51", "9007199254740991"],
                &["3.5", "\"3\"", "null", "[3]"],
            ),
            (
                r#"{"type":"number","minimum":-0.5,"maximum":2}"#,
                &["-0.5", "0", "2", "0.1"],
                &["-0.6", "2.0000000000000004"],
                &["\"1\"", "true", "null"],
            ),
            (
                r#"{"type":"enumeration","values":["a",1,true]}"#,
                &["\"a\"", "1", "1.0", "true"],
                &["\"b\"", "2", "false"],
                &["null", "[]", "{}"],
            ),
            (
                r#"{"type":"string","min_length":1,"max_length":3}"#,
                &["\"a\"", "\"ééé\"", "\"\\ud83d\\ude00\\ud83d\\ude00\\ud83d\\ude00\""],
                &["\"\"", "\"abcd\""],
                &["1", "null", "[\"a\"]"],
            ),
            (
                r#"{"type":"string","min_length":0,"max_length":9,"pattern":"[a-z]+|[0-9]{2}"}"#,
                &["\"abc\"", "\"12\""],
                &["\"\"", "\"abc1\"", "\"a\\n\"", "\"\\na\"", "\"123\"", "\"12abc\""],
                &["12"],
            ),
            (
                r#"{"type":"list","min_items":1,"max_items":2,"items":{"type":"integer","minimum":0,"maximum":9}}"#,
                &["[0]", "[1,1]"],
                &["[]", "[1,2,3]", "[10]"],
                &["[\"1\"]", "[[1]]", "1", "{}", "[null]"],
            ),
        ];
        for (bounds, inside, outside, other_type) in cases {
            let bounds = read(bounds).unwrap();
            assert_eq!(read(&bounds.to_json().to_canonical()).unwrap(), bounds);
            for value in *inside {
                assert_eq!(bounds.check(&json(value)), Ok(()), "{value}");
            }
            for value in *outside {
                let error = bounds.check(&json(value)).unwrap_err();
                assert_eq!(error.reason(), Reason::ParameterOutOfBounds, "{value}: {error}");
            }
            for value in *other_type {
                let error = bounds.check(&json(value)).unwrap_err();
                assert_eq!(error.reason(), Reason::ParameterType, "{value}: {error}");
            }
        }
    }

    #[test]
    fn bounds_that_break_a_rule_are_refused() {
        let values: Vec<String> = (0..257).map(|value| value.to_string()).collect();
        let many = format!(r#"{{"type":"enumeration","values":[{}]}}"#, values.join(","));
        let long = format!(r#"{{"type":"string","min_length":0,"max_length":9,"pattern":"{}"}}"#, "a".repeat(257));
        for (bad, why) in [
            (r#"{"type":"boolean","minimum":0}"#, "unknown field"),
            (r#"{"type":"integer","minimum":2,"maximum":1}"#, "exchange"),
            (r#"{"type":"integer","minimum":0.5,"maximum":1}"#, "invalid type"),
            (r#"{"type":"integer","minimum":null,"maximum":1}"#, "invalid type"),
            (r#"{"type":"integer","minimum":0}"#, "missing field"),
            (r#"{"type":"integer","minimum":0,"maximum":1,"step":1}"#, "unknown field"),
            (r#"{"type":"number","minimum":1.5,"maximum":1}"#, "exchange"),
            (r#"{"type":"enumeration","values":[]}"#, "1 to 256"),
            (r#"{"type":"enumeration","values":[null]}"#, "1 to 256"),
            (r#"{"type":"enumeration","values":[[1]]}"#, "1 to 256"),
            (r#"{"type":"enumeration","values":[1,1.0]}"#, "twice"),
            (&many, "257 values"),
            (r#"{"type":"string","min_length":2,"max_length":1}"#, "exchange"),
            (r#"{"type":"string","min_length":0,"max_length":4097}"#, "4096"),
            (r#"{"type":"string","min_length":-1,"max_length":4}"#, "invalid value"),
            (r#"{"type":"string","min_length":0,"max_length":4,"pattern":null}"#, "invalid type"),
            (&long, "257 octets"),
            (r#"{"type":"list","min_items":2,"max_items":1,"items":{"type":"boolean"}}"#, "exchange"),
            (r#"{"type":"list","min_items":0,"max_items":257,"items":{"type":"boolean"}}"#, "256"),
            (
                r#"{"type":"list","min_items":0,"max_items":1,
                    "items":{"type":"list","min_items":0,"max_items":1,"items":{"type":"boolean"}}}"#,
                "cannot be lists",
            ),
            (r#"{"type":"duration"}"#, "unknown variant"),
            (r#"{}"#, "missing field"),
            (r#"["boolean"]"#, "must be an object"),
        ] {
            let error = read(bad).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
        assert!(Bounds::integer(-MAX_SAFE_INTEGER - 1, 0).is_err());
        assert!(Bounds::integer(0, MAX_SAFE_INTEGER + 1).is_err());
    }

    fn pattern(source: &str) -> Result<Bounds, InvalidBounds> {
        Bounds::string(0, 4096, Some(source))
    }

    #[test]
    fn a_pattern_matches_the_whole_string() {
        for (source, inside, outside) in [
            ("a|ab", "ab", "abc"),
            ("", "", "a"),
            ("^a$", "a", "a\n"),
            (r"a\.b", "a.b", "axb"),
            (r"[^/]+\.example\.com", "é.example.com", "a/b.example.com"),
            ("[[:alpha:]]{2}", "ab", "éa"),
            (".*", "anything", "two\nlines"),
            ("(?:x(y)?)+", "xyx", "yx"),
            (r"\(\?i\)", "(?i)", "i"),
            ("a#b", "a#b", "a"),
        ] {
            let bounds = pattern(source).unwrap();
            assert_eq!(bounds.check(&inside.into()), Ok(()), "{source}");
            assert!(bounds.check(&outside.into()).is_err(), "{source}");
        }
    }

    #[test]
    fn a_pattern_keeps_to_the_dialect() {
        for bad in [
            r"\d",
            r"\w+",
            r"\s",
            r"\b",
            r"\B",
            r"\pL",
            r"\p{Greek}",
            r"\x41",
            r"\u0041",
            r"\A",
            r"\z",
            r"\<",
            r"\>",
            r"a\",
            "(?i)a",
            "(?-u)a",
            "(?P<n>a)",
            "(?<n>a)",
            "(?=a)",
            "(?!a)",
            "(?s:.)",
            "(?x)a #",
            "(?#c)",
            "(",
            ")",
            ")|(",
            "a)|(b",
            "[",
            "[b-a]",
            "*",
            "a{2,1}",
            "[[:word:]",
            "[é-a]",
        ] {
            let error = pattern(bad).unwrap_err();
            assert!(!error.too_large, "{bad}: {error}");
        }
    }

    #[test]
    fn a_pattern_is_bounded_once_compiled() {
        for bad in ["a{1000}{1000}", "(?:a{100}){100}", ".{4000}", "((a{50}){50}){50}", "[^a]{1000}"] {
            let error = pattern(bad).unwrap_err();
            assert!(error.too_large, "{bad}: {error}");
        }
        assert!(pattern(&"(".repeat(256)).is_err());
        assert!(pattern(&format!("{}{}", "(".repeat(120), ")".repeat(120))).is_err());
        for good in [
            "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
            "[^/]{1,16}",
            "[^/]+",
            "[!-~]{0,253}",
            "(a|b|c){1,64}",
            "(?:){1000000000}",
        ] {
            assert!(pattern(good).is_ok(), "{good}");
        }
    }

    /// A matcher that tries again from where it failed would not finish these in the time of a test.
    #[test]
    fn patterns_take_linear_time() {
        for (source, text) in [
            ("(a|aa)*b", "a".repeat(4096)),
            ("(((a*)*)*)*b", "a".repeat(4096)),
            ("(a?){80}a{80}b", "a".repeat(4096)),
            ("([^b]*a){20}b", "aé".repeat(2048)),
            (".*.*.*.*=.*", "x".repeat(4096)),
        ] {
            assert!(pattern(source).unwrap().check(&text.into()).is_err(), "{source}");
        }
    }

    proptest! {
        #[test]
        fn a_pattern_never_panics_and_matches_in_time(source in "\\PC{0,40}", text in "\\PC{0,200}") {
            if let Ok(bounds) = pattern(&source) {
                let _outside = bounds.check(&text.into());
            }
        }

        #[test]
        fn nearly_patterns_never_panic(source in "[a-c(){}\\[\\]|*+?0-9,.^$\\\\:-]{0,24}", text in "[a-c]{0,50}") {
            if let Ok(bounds) = pattern(&source) {
                let _outside = bounds.check(&text.into());
            }
        }
    }
}
