//! Signed epoch statements: what a broker takes from the network, and what not.
#![cfg(test)]

mod support;

use seb::attribute_certificate::{SignatureAlgorithm, Trust};
use seb::epoch::{EpochParts, EpochStatement, Revoked};
use seb::epoch_envelope::{InvalidEpochEnvelope, MAX_OCTETS, open, seal, to_be_signed};
use support::{AUTHORITY, BROKER, Pki, at, id};

const NOW: &str = "2026-11-24T09:30:00Z";

fn statement(authority: &str) -> EpochStatement {
    EpochStatement::new(EpochParts {
        authority: id(authority),
        sequence: 7,
        policy_epoch: 2,
        revocation_epoch: 1,
        revoked: Revoked { holders: [id("spiffe://example.org/agent/x")].into(), ..Revoked::default() },
        issued_at: at(NOW),
        next_update: at("2026-11-24T09:30:01Z"),
    })
    .unwrap()
}

fn sealed(pki: &Pki, statement: &EpochStatement) -> Vec<u8> {
    seal(statement, &pki.key.sign(&to_be_signed(statement)).unwrap())
}

#[test]
fn what_an_authority_signed_is_opened() {
    for algorithm in
        [SignatureAlgorithm::EcdsaP256Sha256, SignatureAlgorithm::EcdsaP384Sha384, SignatureAlgorithm::Ed25519]
    {
        let pki = Pki::new(algorithm);
        let statement = statement(AUTHORITY);
        let opened = open(&sealed(&pki, &statement), &pki.chain, &pki.trust(), at(NOW));
        assert_eq!(opened, Ok(statement));
    }
}

#[test]
fn i2_no_octet_of_an_envelope_can_be_changed() {
    let pki = Pki::new(SignatureAlgorithm::Ed25519);
    let envelope = sealed(&pki, &statement(AUTHORITY));
    for position in 0..envelope.len() {
        let mut changed = envelope.clone();
        changed[position] ^= 1;
        assert!(open(&changed, &pki.chain, &pki.trust(), at(NOW)).is_err(), "octet {position}");
    }
    let with_space = [envelope.as_slice(), b" "].concat();
    assert!(matches!(open(&with_space, &pki.chain, &pki.trust(), at(NOW)), Err(InvalidEpochEnvelope::Form(_))));
}

#[test]
fn i2_only_a_listed_authority_is_heard_and_only_on_its_own_behalf() {
    let pki = Pki::new(SignatureAlgorithm::EcdsaP256Sha256);
    let other = Pki::new(SignatureAlgorithm::EcdsaP256Sha256);
    let envelope = sealed(&pki, &statement(AUTHORITY));
    let signature = |result| matches!(result, Err(InvalidEpochEnvelope::Signature(_)));
    assert!(signature(open(&envelope, &other.chain, &pki.trust(), at(NOW))));
    assert!(signature(open(&envelope, &pki.chain, &other.trust(), at(NOW))));
    assert!(signature(open(&envelope, &[], &pki.trust(), at(NOW))));
    assert!(signature(open(&envelope, &pki.chain, &Trust::new([pki.bundle()], [id(BROKER)]), at(NOW))));
    assert!(signature(open(&envelope, &pki.chain, &Trust::default(), at(NOW))));
    let foreign = sealed(&pki, &statement("spiffe://example.org/sab-2"));
    assert_eq!(open(&foreign, &pki.chain, &pki.trust(), at(NOW)), Err(InvalidEpochEnvelope::Authority));
}

#[test]
fn an_envelope_that_is_too_large_is_not_looked_at() {
    let pki = Pki::new(SignatureAlgorithm::Ed25519);
    let large = vec![b' '; MAX_OCTETS + 1];
    assert_eq!(open(&large, &pki.chain, &pki.trust(), at(NOW)), Err(InvalidEpochEnvelope::TooLarge(MAX_OCTETS + 1)));
}
