//! The strict reader: one pass over the octets, recursion bounded by the depth, memory bounded by the size.

use std::fmt;

use super::{Json, Number, Object};

/// Why octets are not strict JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonFault {
    /// More octets than the bound.
    #[error("longer than {0} octets: make it smaller")]
    TooLong(usize),
    /// More objects and lists inside each other than [`Json::MAX_DEPTH`].
    #[error("more than {max} objects and lists inside each other: make it flatter", max = Json::MAX_DEPTH)]
    TooDeep,
    /// Not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// A byte order mark.
    #[error("starts with a byte order mark: leave it out")]
    ByteOrderMark,
    /// Not what the grammar of RFC 8259 asks for here.
    #[error("expected {0}")]
    Syntax(&'static str),
    /// Something follows the value.
    #[error("something follows the value: send one value and nothing after it")]
    Trailing,
    /// An object has two members of this name.
    #[error("the name `{0}` appears twice: keep one")]
    DuplicateName(String),
    /// An escaped surrogate without its other half.
    #[error("a lone surrogate, which is no character: escape both halves of the pair, or none")]
    LoneSurrogate,
    /// A number that would be rounded, or an integer beyond plus or minus 2^53 - 1.
    #[error("the number `{0}` is not exact in a double, or an integer beyond 2^53 - 1: round it, or use a string")]
    InexactNumber(String),
}

/// The octets are not strict JSON: what is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidJson {
    fault: JsonFault,
    offset: usize,
    /// The tokens of the pointer, innermost first.
    path: Vec<String>,
}

/// How many characters of the input an error repeats at most, for one name or number.
const EXCERPT: usize = 40;

impl InvalidJson {
    /// What is wrong.
    pub const fn fault(&self) -> &JsonFault {
        &self.fault
    }

    /// Whether a bound on size or depth is exceeded, rather than a rule broken.
    pub const fn is_too_large(&self) -> bool {
        matches!(self.fault, JsonFault::TooLong(_) | JsonFault::TooDeep)
    }

    /// At which octet, counted from zero.
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// The JSON pointer to the value with the fault, its tokens shortened to 40 characters.
    pub fn pointer(&self) -> String {
        self.path.iter().rev().map(|token| format!("/{}", super::super::pointer::escape(token))).collect()
    }

    fn inside(mut self, token: impl Into<String>) -> Self {
        self.path.push(token.into());
        self
    }
}

impl fmt::Display for InvalidJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "octet {}, at `{}`: {}", self.offset, self.pointer(), self.fault)
    }
}

impl std::error::Error for InvalidJson {}

/// Reads one value of at most `max_octets`.
pub(super) fn parse(octets: &[u8], max_octets: usize) -> Result<Json, InvalidJson> {
    let at = |offset, fault| InvalidJson { fault, offset, path: Vec::new() };
    if octets.len() > max_octets {
        return Err(at(max_octets, JsonFault::TooLong(max_octets)));
    }
    let text = std::str::from_utf8(octets).map_err(|error| at(error.valid_up_to(), JsonFault::NotUtf8))?;
    if text.starts_with('\u{feff}') {
        return Err(at(0, JsonFault::ByteOrderMark));
    }
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0)?;
    reader.skip_space();
    match reader.peek() {
        None => Ok(value),
        Some(_) => Err(reader.fault(JsonFault::Trailing)),
    }
}

/// A place in the text. `at` is always on a character boundary: it only ever moves over ASCII or over whole runs.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads the value that starts here, inside `depth` objects and lists.
    fn value(&mut self, depth: usize) -> Result<Json, InvalidJson> {
        self.skip_space();
        match self.peek() {
            Some(b'{') => self.object(self.deeper(depth)?),
            Some(b'[') => self.array(self.deeper(depth)?),
            Some(b'"') => self.string().map(Json::String),
            Some(b'-' | b'0'..=b'9') => self.number().map(Json::Number),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            _ => Err(self.expected("a value")),
        }
    }

    fn deeper(&self, depth: usize) -> Result<usize, InvalidJson> {
        if depth < Json::MAX_DEPTH { Ok(depth + 1) } else { Err(self.fault(JsonFault::TooDeep)) }
    }

    fn object(&mut self, depth: usize) -> Result<Json, InvalidJson> {
        self.at += 1;
        let mut members = Vec::new();
        self.skip_space();
        if !self.take(b'}') {
            loop {
                self.skip_space();
                if self.peek() != Some(b'"') {
                    return Err(self.expected("a name in double quotes"));
                }
                let name = self.string()?;
                self.skip_space();
                if !self.take(b':') {
                    return Err(self.expected("`:` after the name"));
                }
                match self.value(depth) {
                    Ok(value) => members.push((name, value)),
                    Err(error) => return Err(error.inside(excerpt(&name))),
                }
                self.skip_space();
                if self.take(b'}') {
                    break;
                }
                if !self.take(b',') {
                    return Err(self.expected("`,` or `}` after a member"));
                }
            }
        }
        Object::from_members(members)
            .map(Json::Object)
            .map_err(|name| self.fault(JsonFault::DuplicateName(excerpt(&name))))
    }

    fn array(&mut self, depth: usize) -> Result<Json, InvalidJson> {
        self.at += 1;
        let mut values = Vec::new();
        self.skip_space();
        if self.take(b']') {
            return Ok(Json::Array(values));
        }
        loop {
            match self.value(depth) {
                Ok(value) => values.push(value),
                Err(error) => return Err(error.inside(values.len().to_string())),
            }
            self.skip_space();
            if self.take(b']') {
                return Ok(Json::Array(values));
            }
            if !self.take(b',') {
                return Err(self.expected("`,` or `]` after an element"));
            }
        }
    }

    fn string(&mut self) -> Result<String, InvalidJson> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let run = self.rest();
            let plain = run.bytes().position(|b| b < b' ' || b == b'"' || b == b'\\').unwrap_or(run.len());
            out.push_str(run.get(..plain).unwrap_or_default());
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.at += 1;
                    out.push(self.escape()?);
                }
                Some(_) => return Err(self.expected("an escape instead of a control character")),
                None => return Err(self.expected("the closing `\"`")),
            }
        }
    }

    /// Reads an escape, behind its backslash.
    fn escape(&mut self) -> Result<char, InvalidJson> {
        let character = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.escaped_character();
            }
            _ => return Err(self.expected("one of `\"\\/bfnrtu` after a backslash")),
        };
        self.at += 1;
        Ok(character)
    }

    /// Reads the digits of `\u`, and the second half of a surrogate pair where these are the first.
    fn escaped_character(&mut self) -> Result<char, InvalidJson> {
        let unit = self.hex()?;
        let code = match unit {
            0xd800..=0xdbff => {
                if !(self.take(b'\\') && self.take(b'u')) {
                    return Err(self.fault(JsonFault::LoneSurrogate));
                }
                match self.hex()? {
                    low @ 0xdc00..=0xdfff => 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00),
                    _ => return Err(self.fault(JsonFault::LoneSurrogate)),
                }
            }
            _ => unit,
        };
        // Only a surrogate is no character here: the first half of a pair has been dealt with, so it is a second half.
        char::from_u32(code).ok_or_else(|| self.fault(JsonFault::LoneSurrogate))
    }

    fn hex(&mut self) -> Result<u32, InvalidJson> {
        let digits = self.rest().get(..4).filter(|four| four.bytes().all(|b| b.is_ascii_hexdigit()));
        let unit = digits.and_then(|four| u32::from_str_radix(four, 16).ok());
        let unit = unit.ok_or_else(|| self.expected("four hexadecimal digits after `\\u`"))?;
        self.at += 4;
        Ok(unit)
    }

    fn number(&mut self) -> Result<Number, InvalidJson> {
        let (start, rest) = (self.at, self.rest());
        self.take(b'-');
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.skip_digits(),
            _ => return Err(self.expected("a digit")),
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _sign = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        let literal = rest.get(..self.at - start).unwrap_or_default();
        Number::from_exact_literal(literal).ok_or_else(|| InvalidJson {
            fault: JsonFault::InexactNumber(excerpt(literal)),
            offset: start,
            path: Vec::new(),
        })
    }

    fn digits(&mut self) -> Result<(), InvalidJson> {
        if !self.peek().is_some_and(|b| b.is_ascii_digit()) {
            return Err(self.expected("a digit"));
        }
        self.skip_digits();
        Ok(())
    }

    fn skip_digits(&mut self) {
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn word(&mut self, word: &'static str, value: Json) -> Result<Json, InvalidJson> {
        if !self.rest().starts_with(word) {
            return Err(self.expected("`true`, `false` or `null`"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn expected(&self, what: &'static str) -> InvalidJson {
        self.fault(JsonFault::Syntax(what))
    }

    fn fault(&self, fault: JsonFault) -> InvalidJson {
        InvalidJson { fault, offset: self.at, path: Vec::new() }
    }
}

fn excerpt(text: &str) -> String {
    text.chars().take(EXCERPT).collect()
}
