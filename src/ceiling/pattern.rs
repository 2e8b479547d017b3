//! Patterns over the paths of resources, matched in linear time.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest pattern in octets; also the longest path that one can match.
const MAX_OCTETS: usize = 2048;

/// A pattern over the paths of resources, such as `services/checkout-*` or `apps/v1/namespaces/shop/**`.
///
/// Pattern and path are cut into segments at each `/`. In a segment, `*` stands for any run of characters, also for
/// none, but never for a `/`; a last segment `**` stands for one segment or more. Every other character stands for
/// itself. A pattern always covers a path from its first character to its last.
///
/// In an ARN only `/` ends a segment: `arn:aws:s3:::logs-*` matches every bucket whose name begins with `logs-` and no
/// object in one, but `arn:aws:iam::*:role/x` would match whatever stands between, colons included. Write the account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern {
    text: String,
    /// Each segment, as the literals between its stars: one literal means no star.
    segments: Vec<Vec<String>>,
    /// Whether the last segment was `**`.
    rest: bool,
}

/// The text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// It is empty, or longer than 2048 octets.
    #[error("a pattern has 1 to 2048 octets, not {0}")]
    Length(usize),
    /// `**` stands elsewhere than alone in the last segment.
    #[error("`{0}`: `**` may only be the whole of the last segment")]
    DoubleStar(String),
    /// It holds a control character.
    #[error("{0:?} holds a control character")]
    Control(String),
}

impl Pattern {
    /// Whether the whole of `path` is covered. Takes time linear in the lengths of pattern and path.
    pub fn matches(&self, path: &str) -> bool {
        if path.len() > MAX_OCTETS {
            return false;
        }
        let mut path = path.split('/');
        for literals in &self.segments {
            match path.next() {
                Some(segment) if segment_matches(literals, segment) => {}
                _ => return false,
            }
        }
        path.next().is_some() == self.rest
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Whether `segment` is `literals` in order, with anything between them.
///
/// The leftmost place of each inner literal is taken. That is enough, because a star follows it: whatever a later
/// place would leave for the rest, the leftmost one leaves too. So nothing is ever tried twice.
fn segment_matches(literals: &[String], segment: &str) -> bool {
    let Some((first, others)) = literals.split_first() else { return false };
    let Some((last, inner)) = others.split_last() else { return segment == first };
    let Some(rest) = segment.strip_prefix(first.as_str()) else { return false };
    let Some(mut rest) = rest.strip_suffix(last.as_str()) else { return false };
    for literal in inner {
        match rest.split_once(literal.as_str()) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    true
}

impl FromStr for Pattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        if text.is_empty() || text.len() > MAX_OCTETS {
            return Err(InvalidPattern::Length(text.len()));
        }
        let start = || text.chars().take(80).collect();
        if text.chars().any(char::is_control) {
            return Err(InvalidPattern::Control(start()));
        }
        let (fixed, rest) = match text.rsplit_once('/') {
            Some((fixed, "**")) => (Some(fixed), true),
            None if text == "**" => (None, true),
            _ => (Some(text), false),
        };
        if fixed.is_some_and(|fixed| fixed.contains("**")) {
            return Err(InvalidPattern::DoubleStar(start()));
        }
        let segments = fixed
            .into_iter()
            .flat_map(|fixed| fixed.split('/'))
            .map(|segment| segment.split('*').map(str::to_owned).collect())
            .collect();
        Ok(Self { text: text.to_owned(), segments, rest })
    }
}

impl TryFrom<String> for Pattern {
    type Error = InvalidPattern;

    fn try_from(text: String) -> Result<Self, InvalidPattern> {
        text.parse()
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.text
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    /// The definition, without regard to time: what the fast matcher is compared with.
    fn oracle(pattern: &[char], path: &[char]) -> bool {
        match pattern {
            [] => path.is_empty(),
            ['*', '*'] => true,
            ['*', rest @ ..] => {
                let run = path.iter().take_while(|c| **c != '/').count();
                (0..=run).any(|taken| oracle(rest, &path[taken..]))
            }
            [c, rest @ ..] => path.first() == Some(c) && oracle(rest, &path[1..]),
        }
    }

    #[test]
    fn i10_a_pattern_matches_whole_paths_only() {
        for (text, yes, no) in [
            (
                "services/checkout",
                &["services/checkout"][..],
                &["services", "services/checkout2", "services/checkout/x"][..],
            ),
            ("services/*", &["services/a", "services/"], &["services", "services/a/b", "Services/a"]),
            ("a-*-c", &["a--c", "a-b-c", "a-b-c-c"], &["a-c", "a-b-c/", "xa-b-c"]),
            ("*a*b*", &["ab", "xaxbx", "abab"], &["ba", "a/b"]),
            ("a/**", &["a/b", "a/b/c", "a/"], &["a", "ab", "b/a/b"]),
            ("**", &["a", "a/b", ""], &[]),
            ("arn:aws:s3:::logs-*", &["arn:aws:s3:::logs-1"], &["arn:aws:s3:::logs-1/key", "arn:aws:s3:::log"]),
            ("aa*aa", &["aaaa", "aaaaa"], &["aaa", "aa"]),
        ] {
            for path in yes {
                assert!(pattern(text).matches(path), "{text} {path}");
            }
            for path in no {
                assert!(!pattern(text).matches(path), "{text} {path}");
            }
        }
    }

    #[test]
    fn i10_a_path_beyond_the_bound_never_matches() {
        assert!(pattern("**").matches(&"a".repeat(2048)));
        assert!(!pattern("**").matches(&"a".repeat(2049)));
    }

    #[test]
    fn what_is_not_a_pattern_is_refused() {
        for bad in ["", "**/a", "a**", "a/**b", "a/***", "a/**/b", "a\n", "**/**"] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
        assert!("a".repeat(2048).parse::<Pattern>().is_ok());
        assert!("a".repeat(2049).parse::<Pattern>().is_err());
    }

    #[test]
    fn hostile_pattern_and_path_take_no_time() {
        let hostile = pattern(&"a*".repeat(1024));
        assert!(!hostile.matches(&format!("{}b/", "a".repeat(2000))));
        let hostile = pattern(&format!("{}b", "*a".repeat(1000)));
        assert!(!hostile.matches(&"a".repeat(2048)));
    }

    proptest! {
        #[test]
        fn i10_matcher_agrees_with_the_definition(text in "[ab/*]{1,10}", path in "[ab/]{0,10}") {
            if let Ok(pattern) = text.parse::<Pattern>() {
                // `a/**` asks for the slash, `**` alone does not: the definition over characters says the same.
                let chars: Vec<char> = text.chars().collect();
                let on: Vec<char> = path.chars().collect();
                prop_assert_eq!(pattern.matches(&path), oracle(&chars, &on), "{} {}", text, path);
            }
        }
    }
}
