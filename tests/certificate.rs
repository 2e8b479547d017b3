//! The first four verdicts, end to end.

#[cfg(test)]
mod support;

use seb::attribute_certificate::{SignatureAlgorithm, authenticate, parse, profile, targeting};
use support::{BROKER, HOLDER, Pki, at, contract, id};

#[test]
fn what_is_issued_passes_every_verdict() {
    for algorithm in
        [SignatureAlgorithm::EcdsaP256Sha256, SignatureAlgorithm::EcdsaP384Sha384, SignatureAlgorithm::Ed25519]
    {
        let pki = Pki::new(algorithm);
        let issued = pki.issue_over(&contract());
        let certificate = profile(parse(issued.octets()).unwrap()).unwrap();
        let verified = authenticate(certificate, &pki.chain, &pki.trust(), at("2026-11-21T12:00:00Z")).unwrap();
        assert_eq!(targeting(&verified, &id(HOLDER), None, &id(BROKER)), []);
    }
}
