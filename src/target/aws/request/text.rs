//! Scalars as text, and text in URLs.

use std::fmt::Write;

use base64ct::{Base64, Encoding};
use der::DateTime;

use super::input::{InvalidInput, Value};
use super::model::TimeFormat;
use crate::timestamp::Timestamp;

/// RFC 3986: everything but unreserved characters is escaped, and what is in `more` is not.
pub(super) fn escaped(text: &str, more: &[u8]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for octet in text.bytes() {
        match octet {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(char::from(octet)),
            octet if more.contains(&octet) => escaped.push(char::from(octet)),
            // Writing to a string does not fail.
            _ => drop(write!(escaped, "%{octet:02X}")),
        }
    }
    escaped
}

/// Names and values as a query or a form.
pub(super) fn form<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let pairs = pairs.into_iter().map(|(name, value)| format!("{}={}", escaped(name, b""), escaped(value, b"")));
    pairs.collect::<Vec<_>>().join("&")
}

/// A time in a format.
pub(super) fn time(time: Timestamp, format: TimeFormat) -> Result<String, InvalidInput> {
    match format {
        TimeFormat::Iso8601 => Ok(time.to_string()),
        TimeFormat::UnixTimestamp if time.millis().is_multiple_of(1000) => Ok(time.seconds().to_string()),
        TimeFormat::UnixTimestamp => Ok(format!("{}.{:03}", time.seconds(), time.millis() % 1000)),
        TimeFormat::Rfc822 if time.millis().is_multiple_of(1000) => rfc822(time),
        TimeFormat::Rfc822 => Err(InvalidInput::new("", "must be a whole second")),
    }
}

/// `Tue, 24 Nov 2026 09:30:00 GMT`.
fn rfc822(time: Timestamp) -> Result<String, InvalidInput> {
    // The first of January 1970 was a Thursday.
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let invalid = || InvalidInput::new("", "is not a time that can be written");
    let date = DateTime::from_unix_duration(std::time::Duration::from_secs(time.seconds())).map_err(|_| invalid())?;
    let day = usize::try_from(time.seconds() / 86_400 % 7).ok().and_then(|day| DAYS.get(day)).ok_or_else(invalid)?;
    let month = MONTHS.get(usize::from(date.month()).wrapping_sub(1)).ok_or_else(invalid)?;
    let (hour, minute, second) = (date.hour(), date.minutes(), date.seconds());
    Ok(format!("{day}, {:02} {month} {:04} {hour:02}:{minute:02}:{second:02} GMT", date.day(), date.year()))
}

/// A scalar as it stands in a query, a form, a header or an XML element; `None` for a list, a map or a structure.
pub(super) fn scalar(value: &Value<'_>, format: TimeFormat) -> Option<Result<String, InvalidInput>> {
    Some(Ok(match value {
        Value::Text(text) => text.clone(),
        Value::Integer(integer) => integer.to_string(),
        Value::Double(number) => number.to_canonical(),
        Value::Boolean(boolean) => boolean.to_string(),
        Value::Blob(octets) => Base64::encode_string(octets),
        Value::Time(at) => return Some(time(*at, format)),
        Value::Document(_) | Value::Structure(_) | Value::List(..) | Value::Map(..) => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_three_ways() {
        let leap: Timestamp = "2028-02-29T23:59:58Z".parse().unwrap();
        assert_eq!(time(leap, TimeFormat::Iso8601).unwrap(), "2028-02-29T23:59:58Z");
        assert_eq!(time(leap, TimeFormat::UnixTimestamp).unwrap(), "1835481598");
        assert_eq!(time(leap, TimeFormat::Rfc822).unwrap(), "Tue, 29 Feb 2028 23:59:58 GMT");
        assert_eq!(
            time(Timestamp::from_seconds(0).unwrap(), TimeFormat::Rfc822).unwrap(),
            "Thu, 01 Jan 1970 00:00:00 GMT"
        );
        let part: Timestamp = "2028-02-29T23:59:58.050Z".parse().unwrap();
        assert_eq!(time(part, TimeFormat::UnixTimestamp).unwrap(), "1835481598.050");
        assert_eq!(time(part, TimeFormat::Rfc822).unwrap_err().message, "must be a whole second");
    }

    #[test]
    fn only_unreserved_characters_stay() {
        assert_eq!(escaped("a b/c+d=ü~*", b""), "a%20b%2Fc%2Bd%3D%C3%BC~%2A");
        assert_eq!(escaped("a b/c", b"/"), "a%20b/c");
        assert_eq!(form([("a b", "c&d"), ("e", "")]), "a%20b=c%26d&e=");
    }
}
