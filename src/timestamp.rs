//! Points in time, as values. Nothing here reads a clock.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The last second that four digits of a year can name: 9999-12-31T23:59:59Z.
const LAST_SECOND: u64 = 253_402_300_799;

/// A point in time: milliseconds since 1970-01-01T00:00:00Z, without leap seconds, up to the year 9999.
///
/// Its text form is RFC 3339 in UTC: `2026-11-24T09:30:00Z`, with exactly three digits of fraction where the
/// milliseconds are not zero. No other spelling is accepted (no offset, no lower case, no leap second).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("format" = "date-time"))]
pub struct Timestamp(#[schemars(with = "String")] u64);

/// The text or number is not a point in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time: expected RFC 3339 in UTC such as `2026-11-24T09:30:00Z`, year 1970 to 9999")]
pub struct InvalidTimestamp(String);

impl Timestamp {
    /// The last millisecond of the year 9999.
    pub const END: Self = Self(LAST_SECOND * 1000 + 999);

    /// The point `seconds` after 1970-01-01T00:00:00Z.
    ///
    /// # Errors
    /// After the year 9999.
    pub fn from_seconds(seconds: u64) -> Result<Self, InvalidTimestamp> {
        if seconds > LAST_SECOND {
            return Err(InvalidTimestamp(format!("{seconds} s")));
        }
        Ok(Self(seconds * 1000))
    }

    /// The point `millis` milliseconds after 1970-01-01T00:00:00Z.
    ///
    /// # Errors
    /// After the year 9999.
    pub fn from_millis(millis: u64) -> Result<Self, InvalidTimestamp> {
        if millis / 1000 > LAST_SECOND {
            return Err(InvalidTimestamp(format!("{millis} ms")));
        }
        Ok(Self(millis))
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since 1970-01-01T00:00:00Z, rounded down.
    pub const fn seconds(self) -> u64 {
        self.0 / 1000
    }

    /// How long after `earlier` this point is; zero if it is not after.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// This point with `duration` added (to the millisecond, rounded down), at most the end of the year 9999.
    pub fn saturating_add(self, duration: Duration) -> Self {
        let added = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(added).min(LAST_SECOND * 1000 + 999))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = der::DateTime::from_unix_duration(Duration::from_secs(self.seconds())).map_err(|_| fmt::Error)?;
        match self.0 % 1000 {
            0 => write!(f, "{whole}"),
            millis => write!(f, "{}.{millis:03}Z", whole.to_string().trim_end_matches('Z')),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        let invalid = || InvalidTimestamp(text.chars().take(40).collect());
        let (whole, millis) = match text.split_once('.') {
            None => (text.to_owned(), 0),
            Some((whole, fraction)) => {
                let digits = fraction.strip_suffix('Z').ok_or_else(invalid)?;
                let right_form = digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit());
                let millis: u64 = digits.parse().map_err(|_| invalid())?;
                if !right_form || millis == 0 {
                    return Err(invalid());
                }
                (format!("{whole}Z"), millis)
            }
        };
        let date: der::DateTime = whole.parse().map_err(|_| invalid())?;
        let timestamp = Self(date.unix_duration().as_secs() * 1000 + millis);
        // One spelling only: what was read is what would be written.
        if timestamp.to_string() != text {
            return Err(invalid());
        }
        Ok(timestamp)
    }
}

impl TryFrom<String> for Timestamp {
    type Error = InvalidTimestamp;

    fn try_from(text: String) -> Result<Self, InvalidTimestamp> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(timestamp: Timestamp) -> Self {
        timestamp.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_one_spelling_is_accepted() {
        for bad in [
            "2026-11-24T09:30:00+00:00",
            "2026-11-24t09:30:00z",
            "2026-11-24T09:30:00",
            "2026-11-24 09:30:00Z",
            "2026-11-24T09:30:60Z",
            "2026-02-30T09:30:00Z",
            "2026-11-24T09:30:00.000Z",
            "2026-11-24T09:30:00.25Z",
            "2026-11-24T09:30:00.+25Z",
            "1969-12-31T23:59:59Z",
            "10000-01-01T00:00:00Z",
            "",
        ] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(millis in 0..=LAST_SECOND * 1000 + 999) {
            let timestamp = Timestamp::from_millis(millis).unwrap();
            prop_assert_eq!(timestamp.to_string().parse::<Timestamp>().unwrap(), timestamp);
        }

        #[test]
        fn addition_never_leaves_the_range(millis in 0..=LAST_SECOND * 1000 + 999, add: Duration) {
            let sum = Timestamp::from_millis(millis).unwrap().saturating_add(add);
            prop_assert!(Timestamp::from_millis(sum.millis()).is_ok());
            prop_assert!(sum.millis() >= millis);
        }
    }
}
