//! Digests and times as text: what parses has one spelling, and is written as it was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seb::digest::Digest;
use seb::timestamp::Timestamp;

fuzz_target!(|text: &str| {
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        assert_eq!(time.to_string(), text);
        assert_eq!(Timestamp::from_millis(time.millis()), Ok(time));
    }
});
