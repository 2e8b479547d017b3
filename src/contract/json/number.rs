//! Numbers: doubles that are finite and have one zero.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::MAX_SAFE_INTEGER;

/// A finite IEEE 754 double without negative zero, so that equal numbers have equal bits and a total order.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "Wire")]
pub struct Number(f64);

/// The number is infinite or not a number, or an integer beyond plus or minus 2^53 - 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a number that JSON can hold exactly: expected a finite double, or an integer within 2^53 - 1 of zero")]
pub struct InvalidNumber;

/// Integers are written without a fraction, as the canonical text has them.
#[derive(Serialize)]
#[serde(untagged)]
enum Wire {
    Integer(i64),
    Double(f64),
}

impl Number {
    /// A finite double; minus zero becomes zero.
    ///
    /// It may lie beyond 2^53 - 1, which [`super::Json::parse`] refuses: RFC 8785 has a text for it all the same.
    ///
    /// # Errors
    /// Infinities and NaN.
    pub fn new(value: f64) -> Result<Self, InvalidNumber> {
        // Adding zero turns minus zero into zero and changes nothing else.
        if value.is_finite() { Ok(Self(value + 0.0)) } else { Err(InvalidNumber) }
    }

    /// An integer.
    ///
    /// # Errors
    /// Integers beyond plus or minus [`MAX_SAFE_INTEGER`].
    pub fn from_integer(value: i64) -> Result<Self, InvalidNumber> {
        if (-MAX_SAFE_INTEGER..=MAX_SAFE_INTEGER).contains(&value) {
            // Exact: the integer has at most 53 bits.
            Ok(Self(value as f64))
        } else {
            Err(InvalidNumber)
        }
    }

    /// The double.
    pub const fn get(self) -> f64 {
        self.0
    }

    /// The integer that it is, where it is one within plus or minus [`MAX_SAFE_INTEGER`].
    pub fn as_integer(self) -> Option<i64> {
        #[expect(clippy::cast_possible_truncation, reason = "checked below to be exact")]
        let integer = self.0 as i64;
        Self::from_integer(integer).is_ok_and(|number| number == self).then_some(integer)
    }

    /// The canonical text (RFC 8785 section 3.2.2.3, which is ECMAScript's).
    pub fn to_canonical(self) -> String {
        ryu_js::Buffer::new().format_finite(self.0).to_owned()
    }

    /// The number whose decimal value the JSON number `literal` is, or `None` where no safe double has it.
    ///
    /// The literal must have the decimal value of the double's canonical text: `1.0` and `0.10` do, while
    /// `0.1000000000000000055` and `1e-400` would be rounded without a word.
    pub(super) fn from_exact_literal(literal: &str) -> Option<Self> {
        let number = Self::new(literal.parse().ok()?).ok()?;
        let canonical = number.to_canonical();
        let exact = literal == canonical || Decimal::of(literal)? == Decimal::of(&canonical)?;
        // Beyond 2^53 every double is an integer, and neighbours of it are rounded to it.
        let safe = number.0.abs() <= Self::from_integer(MAX_SAFE_INTEGER).ok()?.0;
        (exact && safe).then_some(number)
    }
}

/// A decimal value in a form that each has once: no leading and no trailing zero digits.
#[derive(PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: String,
    /// The power of ten of the last digit; zero for zero.
    exponent: i64,
}

impl Decimal {
    /// The value of a JSON number literal, in linear time; `None` where its exponent leaves 64 bits.
    fn of(literal: &str) -> Option<Self> {
        let (negative, magnitude) = match literal.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, literal),
        };
        let (mantissa, exponent) = magnitude.split_once(['e', 'E']).unwrap_or((magnitude, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let significant = all.trim_end_matches('0');
        let digits = significant.trim_start_matches('0').to_owned();
        if digits.is_empty() {
            return Some(Self { negative: false, digits, exponent: 0 });
        }
        let dropped = i64::try_from(all.len() - significant.len()).ok()?;
        let shift = dropped.checked_sub(i64::try_from(fraction.len()).ok()?)?;
        Some(Self { negative, digits, exponent: exponent.parse::<i64>().ok()?.checked_add(shift)? })
    }
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Hash for Number {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_canonical())
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<u32> for Number {
    fn from(value: u32) -> Self {
        Self(f64::from(value))
    }
}

impl TryFrom<f64> for Number {
    type Error = InvalidNumber;

    fn try_from(value: f64) -> Result<Self, InvalidNumber> {
        Self::new(value)
    }
}

impl From<Number> for Wire {
    fn from(number: Number) -> Self {
        number.as_integer().map_or(Self::Double(number.0), Self::Integer)
    }
}

impl JsonSchema for Number {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Number".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number" })
    }
}
