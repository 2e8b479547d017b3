//! An attribute certificate and a chain of which the last one is trusted, as DER one after the other, through the third
//! verdict: what is refused is refused for a reason of its verdict.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seb::attribute_certificate::{
    AuthorityCertificate, Trust, TrustBundle, authenticate, parse, profile, public_key_digest,
};
use seb::elements;
use seb::reason::Verdict;

fuzz_target!(|data: &[u8]| {
    let elements = elements(data);
    let Some((certificate, chain)) = elements.split_first() else { return };
    for octets in chain {
        let _ = public_key_digest(octets);
    }
    let trust = chain.first().zip(chain.last()).and_then(|(leaf, root)| {
        let authority = AuthorityCertificate::new(leaf).ok()?.id().clone();
        let bundle = TrustBundle::from_der(authority.trust_domain().clone(), std::slice::from_ref(root)).ok()?;
        Some(Trust::new([bundle], [authority]))
    });
    let Ok(certificate) = parse(certificate).and_then(profile) else { return };
    for now in ["2026-01-01T00:00:00Z", "2026-11-24T12:00:00Z", "2036-01-01T00:00:00Z"] {
        let trust = trust.clone().unwrap_or_default();
        match authenticate(certificate.clone(), chain, &trust, now.parse().unwrap()) {
            Ok(verified) => assert_eq!(verified.octets(), elements[0]),
            Err(denial) => assert_eq!(denial.reason.verdict(), Verdict::Signature),
        }
    }
});
