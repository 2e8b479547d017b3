//! YAML, read as strictly as JSON: what two readers could understand differently is refused.
//!
//! One document; no anchors, aliases, tags or merge keys, so that a text of bounded size is a value of bounded size; no
//! duplicate keys; numbers exactly as JSON spells them, and plain text that some version of YAML takes for a number or a
//! truth value only in quotes.

use saphyr_parser::{Event, Parser, ScalarStyle};

use crate::contract::{Json, Object};

/// The text is not YAML, or not the part of it that is read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct InvalidYaml {
    line: usize,
    column: usize,
    problem: String,
}

impl InvalidYaml {
    /// The line, from 1.
    pub const fn line(&self) -> usize {
        self.line
    }
}

/// A list or mapping that is not closed yet.
enum Open {
    List(Vec<Json>),
    Mapping { members: Object, key: Option<String> },
}

/// What the reader knows between two events.
#[derive(Default)]
struct Reader {
    open: Vec<Open>,
    documents: usize,
    root: Option<Json>,
}

/// Reads one YAML document. The caller bounds the size of the text.
///
/// # Errors
/// See the module's documentation; the place is that of the first problem.
pub fn parse(text: &str) -> Result<Json, InvalidYaml> {
    let mut reader = Reader::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| InvalidYaml {
            line: error.marker().line(),
            column: error.marker().col().saturating_add(1),
            problem: error.info().chars().take(200).collect(),
        })?;
        reader.event(event).map_err(|problem| InvalidYaml {
            line: span.start.line(),
            column: span.start.col().saturating_add(1),
            problem,
        })?;
    }
    reader.root.ok_or_else(|| InvalidYaml { line: 1, column: 1, problem: "the document is empty".to_owned() })
}

impl Reader {
    fn event(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::DocumentStart(_) => {
                self.documents = self.documents.saturating_add(1);
                if self.documents > 1 {
                    return Err("a second document begins: write one".to_owned());
                }
                Ok(())
            }
            Event::Alias(_) => Err("aliases are not read: repeat the value".to_owned()),
            Event::Scalar(text, style, anchor, tag) => {
                plain_node(anchor, tag.is_some())?;
                self.scalar(text.into_owned(), style == ScalarStyle::Plain)
            }
            Event::SequenceStart(anchor, tag) => {
                plain_node(anchor, tag.is_some())?;
                self.begin(Open::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                plain_node(anchor, tag.is_some())?;
                self.begin(Open::Mapping { members: Object::default(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List(values)) => self.value(Json::Array(values)),
                Some(Open::Mapping { members, .. }) => self.value(Json::Object(members)),
                None => Err("a list or mapping ends that did not begin".to_owned()),
            },
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn begin(&mut self, open: Open) -> Result<(), String> {
        if let Some(Open::Mapping { key: None, .. }) = self.open.last() {
            return Err("a key is a list or a mapping: keys are text".to_owned());
        }
        if self.open.len() >= Json::MAX_DEPTH {
            return Err(format!("more than {} lists and mappings inside each other", Json::MAX_DEPTH));
        }
        self.open.push(open);
        Ok(())
    }

    fn scalar(&mut self, text: String, plain: bool) -> Result<(), String> {
        let value = if plain { resolve(text)? } else { Json::String(text) };
        let Some(Open::Mapping { members, key: key @ None }) = self.open.last_mut() else {
            return self.value(value);
        };
        let Json::String(name) = value else {
            return Err(format!("the key `{value}` is not text: put it into quotes"));
        };
        if plain && name == "<<" {
            return Err("merge keys are not read: write the members out".to_owned());
        }
        if members.get(&name).is_some() {
            return Err(format!("the key `{}` appears twice", excerpt(&name)));
        }
        *key = Some(name);
        Ok(())
    }

    fn value(&mut self, value: Json) -> Result<(), String> {
        match self.open.last_mut() {
            None => self.root = Some(value),
            Some(Open::List(values)) => values.push(value),
            Some(Open::Mapping { members, key }) => match key.take() {
                Some(name) => {
                    members.insert(name, value);
                }
                None => return Err("a value without a key".to_owned()),
            },
        }
        Ok(())
    }
}

fn plain_node(anchor: usize, tagged: bool) -> Result<(), String> {
    match (anchor, tagged) {
        (0, false) => Ok(()),
        (0, true) => Err("tags are not read: leave it out".to_owned()),
        _ => Err("anchors are not read: leave it out".to_owned()),
    }
}

/// What a plain scalar is: null, a truth value, a number as JSON spells it, or text.
fn resolve(text: String) -> Result<Json, String> {
    match text.as_str() {
        "" | "~" | "null" => return Ok(Json::Null),
        "true" => return Ok(Json::Bool(true)),
        "false" => return Ok(Json::Bool(false)),
        _ => {}
    }
    if looks_like_number(&text) {
        let number = Json::parse(text.as_bytes()).ok().filter(|value| matches!(value, Json::Number(_)));
        return number.ok_or_else(|| {
            format!("`{}` is not a number as JSON spells it: mend it, or put it into quotes", excerpt(&text))
        });
    }
    let lower = text.to_ascii_lowercase();
    if ["null", "true", "false", "yes", "no", "on", "off", "y", "n"].contains(&lower.as_str()) {
        return Err(format!("`{text}` is text or a truth value, depending on who reads it: put it into quotes"));
    }
    Ok(Json::String(text))
}

/// Whether some version of YAML takes the text for a number or a date: digits with what may stand between them.
fn looks_like_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if [".inf", ".nan"].contains(&unsigned.to_ascii_lowercase().as_str()) {
        return true;
    }
    let digit_first = unsigned.strip_prefix('.').unwrap_or(unsigned).starts_with(|c: char| c.is_ascii_digit());
    let decimal = unsigned.bytes().all(|b| b.is_ascii_digit() || b"_.:+-eE".contains(&b));
    let based = [("0x", 16), ("0o", 8), ("0b", 2)].into_iter().any(|(prefix, radix)| {
        unsigned.strip_prefix(prefix).is_some_and(|rest| rest.chars().all(|c| c.is_digit(radix) || c == '_'))
    });
    digit_first && (decimal || based)
}

fn excerpt(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn reads_what_json_has() {
        let text = "a: 1\nb: [x, 'true', \"é\", null, ~, -2.5]\nc:\n  d: |\n    * one\n    & two\n  e: {}\n";
        let expected = r#"{"a":1,"b":["x","true","é",null,null,-2.5],"c":{"d":"* one\n& two\n","e":{}}}"#;
        assert_eq!(parse(text), Ok(json(expected)));
        assert_eq!(
            parse("until: 2026-11-24T09:30:00Z\nfor: 10m"),
            Ok(json(r#"{"until":"2026-11-24T09:30:00Z","for":"10m"}"#))
        );
    }

    #[test]
    fn what_readers_differ_on_is_refused_with_its_place() {
        for (text, problem) in [
            ("", "line 1, column 1: the document is empty"),
            ("a: &x 1", "anchors are not read"),
            ("a: &x [1]\nb: *x", "anchors are not read"),
            ("a: !!str 1", "tags are not read"),
            ("a: !secret {}", "tags are not read"),
            ("a: 1\n---\nb: 2", "a second document begins"),
            ("a: 1\na: 2", "line 2, column 1: the key `a` appears twice"),
            ("a: 1\n'a': 2", "appears twice"),
            ("<<: {a: 1}", "merge keys are not read"),
            ("[a]: 1", "keys are text"),
            ("1: a", "the key `1` is not text"),
            ("a: yes", "put it into quotes"),
            ("a: True", "put it into quotes"),
            ("a: 012", "not a number as JSON spells it"),
            ("a: 0x1F", "not a number as JSON spells it"),
            ("a: 1_000", "not a number as JSON spells it"),
            ("a: 12:30:45", "not a number as JSON spells it"),
            ("a: .inf", "not a number as JSON spells it"),
            ("a: 1.2.3", "not a number as JSON spells it"),
            ("a: 9007199254740993", "not a number as JSON spells it"),
            ("a: 1e999", "not a number as JSON spells it"),
            ("a: [1", "line "),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&nested(Json::MAX_DEPTH)).is_ok());
        assert!(parse(&nested(Json::MAX_DEPTH + 1)).unwrap_err().to_string().contains("inside each other"));
        assert!(parse(&nested(32_000)).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text in "[ -~\\n\\t]{0,200}|(?s).{0,100}|[\\[\\]{}:,\\-&*!|>'\"#%@` \\na0?]{0,100}") {
            let _ = parse(&text);
        }

        /// Whatever is read has one JSON text that reads back the same, as YAML too.
        #[test]
        fn json_is_yaml(text in "[\\[\\]{}:, \\-\\na01.\"']{0,60}") {
            if let Ok(value) = parse(&text) {
                let canonical = value.to_canonical();
                prop_assert_eq!(&Json::parse(canonical.as_bytes()).unwrap(), &value);
                prop_assert_eq!(parse(&canonical), Ok(value));
            }
        }
    }
}
