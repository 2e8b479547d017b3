//! Lengths of time as people write them: `250ms`, `30s`, `10m`, `12h`, `3d`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A length of time, written as one whole number and one unit: `ms`, `s`, `m`, `h` or `d`. At most ten years.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period(Duration);

/// The text is not a length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a length of time: expected a whole number and `ms`, `s`, `m`, `h` or `d`, such as `30s`")]
pub struct InvalidPeriod(String);

/// The units, the longest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Ten years, in milliseconds.
const LONGEST: u64 = 3650 * 86_400_000;

impl Period {
    /// A period of whole seconds.
    pub const fn seconds(seconds: u32) -> Self {
        Self(Duration::from_secs(seconds as u64))
    }

    /// A period of milliseconds.
    pub const fn millis(millis: u32) -> Self {
        Self(Duration::from_millis(millis as u64))
    }

    /// The length.
    pub const fn get(self) -> Duration {
        self.0
    }

    /// The length in milliseconds, as far as 32 bits count (49 days).
    pub fn as_millis(self) -> u32 {
        u32::try_from(self.0.as_millis()).unwrap_or(u32::MAX)
    }
}

impl FromStr for Period {
    type Err = InvalidPeriod;

    fn from_str(text: &str) -> Result<Self, InvalidPeriod> {
        let invalid = || InvalidPeriod(text.chars().take(40).collect());
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits).ok_or_else(invalid)?;
        let (_, millis) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(invalid)?;
        let one_spelling = number == "0" || !number.starts_with('0');
        let number: u64 = number.parse().map_err(|_| invalid())?;
        let millis = number.checked_mul(millis).filter(|millis| one_spelling && *millis <= LONGEST);
        millis.map(|millis| Self(Duration::from_millis(millis))).ok_or_else(invalid)
    }
}

impl TryFrom<String> for Period {
    type Error = InvalidPeriod;

    fn try_from(text: String) -> Result<Self, InvalidPeriod> {
        text.parse()
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(LONGEST);
        let fitting = UNITS.into_iter().find(|(_, unit)| millis.is_multiple_of(*unit) && millis > 0);
        let (name, unit) = fitting.unwrap_or(("s", 1000));
        write!(f, "{}{name}", millis / unit)
    }
}

impl fmt::Debug for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_one_number_and_one_unit() {
        assert_eq!("3d".parse::<Period>().unwrap().get(), Duration::from_secs(3 * 86_400));
        assert_eq!("250ms".parse::<Period>().unwrap().as_millis(), 250);
        for bad in ["", "s", "5", "-5s", "1.5h", "1h30m", "01s", "5 s", "5S", "3651d", "99999999999999999999d", "5é"] {
            assert!(bad.parse::<Period>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(millis in 0..LONGEST) {
            let period = Period(Duration::from_millis(millis));
            prop_assert_eq!(period.to_string().parse::<Period>().unwrap(), period);
        }
    }
}
