//! A file with an attribute certificate, through the first two verdicts: what is accepted is written as it was read, and
//! what is refused is refused for a reason of its verdict.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seb::attribute_certificate::{encode_pem, parse, profile, read_file};
use seb::reason::Verdict;

fuzz_target!(|data: &[u8]| {
    let file = match read_file(data) {
        Ok(file) => file,
        Err(denial) => return assert_eq!(denial.reason.verdict(), Verdict::Parse),
    };
    if let Ok(text) = encode_pem(&file) {
        // Text is longer than octets, so what is barely short enough as DER can be too long as PEM.
        if let Ok(again) = read_file(text.as_bytes()) {
            assert_eq!(again, file);
        }
    }
    let certificate = match parse(&file.certificate) {
        Ok(certificate) => certificate,
        Err(denial) => return assert_eq!(denial.reason.verdict(), Verdict::Parse),
    };
    assert_eq!(certificate.octets(), file.certificate);
    if let Err(denial) = profile(certificate) {
        assert_eq!(denial.reason.verdict(), Verdict::Profile);
    }
});
