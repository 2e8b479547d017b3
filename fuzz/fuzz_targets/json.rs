//! Strict JSON and its canonical form: equal values have equal octets, and whatever is accepted an ordinary reader accepts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seb::contract::{Json, Pointer};

fuzz_target!(|data: &[u8]| {
    let Ok(value) = Json::parse(data) else { return };
    let canonical = value.to_canonical();
    // Escapes can make the canonical text longer than the text was.
    let again = Json::parse_within(canonical.as_bytes(), usize::MAX).unwrap();
    assert_eq!(again, value);
    assert_eq!(again.to_canonical(), canonical);
    let ordinary: serde_json::Value = serde_json::from_slice(data).unwrap();
    let same: serde_json::Value = serde_json::from_str(&canonical).unwrap();
    assert_eq!(without_spelling(ordinary), without_spelling(same));
    if let Some(text) = value.as_str()
        && let Ok(pointer) = Pointer::parse(text)
    {
        assert_eq!(pointer.to_string(), text);
    }
});

/// The value with every number as a double: `1`, `1.0` and `10e-1` are one.
fn without_spelling(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        // -0 has the canonical text 0.
        Value::Number(number) => Value::from(number.as_f64().unwrap() + 0.0),
        Value::Array(values) => values.into_iter().map(without_spelling).collect(),
        Value::Object(members) => members.into_iter().map(|(name, value)| (name, without_spelling(value))).collect(),
        other => other,
    }
}
