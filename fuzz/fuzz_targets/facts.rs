//! The facts of a recorded decision: what is read has one text, so that one decision has one record.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seb::decision::RecordedFacts;
use seb::digest::Digest;

fuzz_target!(|data: &[u8]| {
    let Ok(facts) = RecordedFacts::parse(data) else { return };
    assert_eq!(facts.to_json().to_canonical().as_bytes(), data);
    assert_eq!(facts.digest(), Digest::of(data));
    // A space between the tokens is another text.
    let mut other = data.to_vec();
    other.push(b' ');
    assert!(RecordedFacts::parse(&other).is_err());
});
