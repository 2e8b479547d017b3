//! The first four verdicts, end to end, and what no input may do to them.

#[cfg(test)]
mod support;

use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use seb::attribute_certificate::{
    Admission, AdmissionPath, Approval, CertificateFile, MAX_APPROVALS, MAX_EPOCH, SignatureAlgorithm, Template, Tier,
    Trust, VerifiedCertificate, authenticate, encode_pem, parse, profile, read_certificates, read_file, targeting,
};
use seb::digest::Digest;
use seb::reason::{Denial, Reason};
use seb::timestamp::Timestamp;
use spiffe::SpiffeId;
use support::{AUTHORITY, BROKER, HOLDER, Pki, at, contract, id};

const ALGORITHMS: [SignatureAlgorithm; 3] =
    [SignatureAlgorithm::EcdsaP256Sha256, SignatureAlgorithm::EcdsaP384Sha384, SignatureAlgorithm::Ed25519];

/// A public-key infrastructure and an ordinary certificate for each algorithm.
static ISSUED: LazyLock<Vec<(Pki, Vec<u8>)>> = LazyLock::new(|| {
    let issue = |algorithm| {
        let pki = Pki::new(algorithm);
        let octets = pki.issue_over(&contract()).octets().to_vec();
        (pki, octets)
    };
    ALGORITHMS.into_iter().map(issue).collect()
});

fn verify(octets: &[u8], chain: &[Vec<u8>], trust: &Trust) -> Result<VerifiedCertificate, Denial> {
    authenticate(profile(parse(octets)?)?, chain, trust, at("2026-11-21T12:00:00Z"))
}

#[test]
fn what_is_issued_passes_every_verdict() {
    for (pki, octets) in ISSUED.iter() {
        let verified = verify(octets, &pki.chain, &pki.trust()).unwrap();
        assert_eq!(targeting(&verified, &id(HOLDER), None, &id(BROKER)), []);
        assert_eq!(verified.authority(), &id(AUTHORITY));
    }
}

#[test]
fn one_authority_is_never_taken_for_another() {
    for (index, (pki, octets)) in ISSUED.iter().enumerate() {
        for (_, (other, _)) in ISSUED.iter().enumerate().filter(|(other, _)| *other != index) {
            for (chain, trust) in
                [(&pki.chain, other.trust()), (&other.chain, pki.trust()), (&other.chain, other.trust())]
            {
                assert!(verify(octets, chain, &trust).is_err());
            }
        }
        assert_eq!(verify(octets, &pki.chain, &Trust::default()).unwrap_err().reason, Reason::AuthorityUnknown);
    }
}

#[test]
fn a_flipped_bit_anywhere_is_refused() {
    let (pki, octets) = &ISSUED[0];
    let trust = pki.trust();
    let mut reached_the_signature = 0;
    for place in 0..octets.len() {
        for bit in 0..8 {
            let mut altered = octets.clone();
            altered[place] ^= 1 << bit;
            let denial = verify(&altered, &pki.chain, &trust).unwrap_err();
            reached_the_signature += u32::from(denial.reason == Reason::SignatureInvalid);
        }
    }
    // Most of the octets are free in their values: nothing but the signature protects them.
    assert!(reached_the_signature > 1000);
}

#[test]
fn a_flipped_bit_in_the_chain_is_refused() {
    let (pki, octets) = &ISSUED[0];
    let trust = pki.trust();
    for link in 0..pki.chain.len() {
        for place in 0..pki.chain[link].len() {
            let mut chain = pki.chain.clone();
            chain[link][place] ^= 1 << (place % 8);
            assert!(verify(octets, &chain, &trust).is_err(), "certificate {link}, octet {place}");
        }
    }
}

#[test]
fn a_truncated_certificate_is_refused() {
    for (_, octets) in ISSUED.iter() {
        for length in 0..octets.len() {
            assert_eq!(parse(&octets[..length]).unwrap_err().reason, Reason::CertificateEncoding, "{length} octets");
        }
    }
}

/// The name of a certificate covers what was signed, and not the signature, of which ECDSA has several.
#[test]
fn i3_signing_again_makes_no_other_certificate() {
    let (pki, octets) = &ISSUED[0];
    let again = pki.issue_over(&contract());
    assert_ne!(again.octets(), octets);
    let [one, other] =
        [octets.as_slice(), again.octets()].map(|octets| verify(octets, &pki.chain, &pki.trust()).unwrap());
    assert_eq!(one.digest(), other.digest());
}

/// Segments of a path, or labels of a trust domain.
fn segments(first: &str, pattern: &'static str) -> impl Strategy<Value = SpiffeId> + use<> {
    let first = first.to_owned();
    vec(pattern, 1..6).prop_map(move |segments| id(&format!("spiffe://{first}/{}", segments.join("/"))))
}

fn spiffe_id() -> impl Strategy<Value = SpiffeId> {
    "[a-z0-9][a-z0-9._-]{0,40}".prop_flat_map(|domain| segments(&domain, "[A-Za-z0-9_-][A-Za-z0-9._-]{0,20}"))
}

fn seconds(range: std::ops::RangeInclusive<u64>) -> impl Strategy<Value = Timestamp> {
    range.prop_filter_map("until the year 9999", |seconds| Timestamp::from_seconds(seconds).ok())
}

fn admission() -> impl Strategy<Value = Admission> {
    let approval = ("[!-~]{1,512}", seconds(0..=253_402_300_799), any::<[u8; 32]>());
    let tier = select(vec![Tier::Low, Tier::Moderate, Tier::High, Tier::Critical]);
    (any::<[[u8; 32]; 2]>(), 0..=MAX_EPOCH, 0..=MAX_EPOCH, tier, vec(approval, 0..=MAX_APPROVALS)).prop_map(
        |([policy, evidence], policy_epoch, revocation_epoch, tier, approvals)| {
            let mut approvals: Vec<_> = approvals
                .into_iter()
                .map(|(approver, approved_at, statement)| Approval {
                    approver,
                    approved_at,
                    statement_digest: Digest::from_bytes(statement),
                })
                .collect();
            approvals.sort_by(|a, b| a.approver.cmp(&b.approver));
            approvals.dedup_by(|a, b| a.approver == b.approver);
            Admission {
                policy_digest: Digest::from_bytes(policy),
                policy_epoch,
                revocation_epoch,
                evidence_digest: Digest::from_bytes(evidence),
                path: if approvals.is_empty() { AdmissionPath::Automatic } else { AdmissionPath::Approved },
                tier,
                approvals,
            }
        },
    )
}

/// What holds of octets, whatever they are.
fn no_surprise(octets: &[u8], pki: &Pki) -> Result<(), TestCaseError> {
    if let Ok(certificate) = parse(octets) {
        prop_assert_eq!(certificate.octets(), octets);
        prop_assert!(octets.len() <= 64 * 1024);
    }
    if let Err(denial) = verify(octets, &pki.chain, &pki.trust()) {
        prop_assert!(denial.detail.chars().count() <= Denial::MAX_DETAIL);
        prop_assert!(!denial.detail.chars().any(char::is_control));
    }
    let _ = read_file(octets);
    let _ = String::from_utf8(octets.to_vec()).map(|text| read_certificates(&text));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn every_legal_template_can_be_issued_and_says_the_same(
        which in 0..ALGORITHMS.len(),
        serial in vec(any::<u8>(), 1..=20).prop_filter("positive, at most 20 octets", |octets| {
            octets.iter().any(|octet| *octet != 0) && (octets.len() < 20 || octets[0] < 0x80)
        }),
        holder in spiffe_id(),
        broker in spiffe_id(),
        holder_key in proptest::option::of(any::<[u8; 32]>().prop_map(Digest::from_bytes)),
        not_before in seconds(0..=200_000_000_000),
        length in 0u64..50_000_000_000,
        admission in admission(),
    ) {
        let (pki, _) = &ISSUED[which];
        let not_after = Timestamp::from_seconds(not_before.seconds() + length).unwrap();
        let contract = contract();
        let issued = pki.issue(&Template {
            serial: &serial,
            holder: &holder,
            holder_key,
            broker: &broker,
            not_before,
            not_after,
            contract: &contract,
            admission: &admission,
        });
        let verified = verify(issued.octets(), &pki.chain, &pki.trust()).unwrap();
        prop_assert_eq!(targeting(&verified, &holder, holder_key.as_ref(), &broker), []);
        prop_assert_eq!(verified.octets(), issued.octets());
        prop_assert_eq!(verified.admission(), &admission);
        prop_assert_eq!(verified.contract(), contract.canonical().as_bytes());
        prop_assert_eq!((verified.not_before(), verified.not_after()), (not_before, not_after));
        let hex: String = serial.iter().skip_while(|octet| **octet == 0).map(|octet| format!("{octet:02x}")).collect();
        prop_assert_eq!(verified.serial(), hex);
        let file = CertificateFile { certificate: issued.octets().to_vec(), chain: pki.chain.clone() };
        prop_assert_eq!(read_file(encode_pem(&file).unwrap().as_bytes()).unwrap(), file);
    }

    #[test]
    fn an_extended_certificate_is_refused(which in 0..ALGORITHMS.len(), more in vec(any::<u8>(), 1..64)) {
        let octets = [ISSUED[which].1.as_slice(), &more].concat();
        prop_assert_eq!(parse(&octets).unwrap_err().reason, Reason::CertificateEncoding);
    }

    #[test]
    fn a_certificate_of_two_halves_is_refused(at in any::<Index>()) {
        let ((pki, one), (_, other)) = (&ISSUED[0], &ISSUED[1]);
        let at = at.index(one.len().min(other.len()));
        if one[at..] != other[at..] {
            prop_assert!(verify(&[&one[..at], &other[at..]].concat(), &pki.chain, &pki.trust()).is_err());
        }
    }

    #[test]
    fn arbitrary_octets_never_panic(octets in vec(any::<u8>(), 0..2048)) {
        no_surprise(&octets, &ISSUED[0].0)?;
    }

    /// Octets that look like DER get further than arbitrary ones.
    #[test]
    fn spliced_octets_never_panic(
        places in vec((any::<Index>(), select(vec![0x00, 0x02, 0x03, 0x04, 0x06, 0x0c, 0x18, 0x30, 0x31, 0x80, 0x82, 0x84, 0x86, 0xa0, 0xa4, 0xff])), 1..8),
        cut in any::<Index>(),
        insert in vec(any::<u8>(), 0..8),
    ) {
        let (pki, octets) = &ISSUED[0];
        let mut octets = octets.clone();
        for (place, octet) in places {
            let place = place.index(octets.len());
            octets[place] = octet;
        }
        let at = cut.index(octets.len());
        octets.splice(at..at, insert);
        no_surprise(&octets, pki)?;
    }

    #[test]
    fn an_arbitrary_chain_never_panics(chain in vec(vec(any::<u8>(), 0..256), 0..7), at in any::<Index>(), octet: u8) {
        let (pki, octets) = &ISSUED[0];
        prop_assert!(verify(octets, &chain, &pki.trust()).is_err());
        let mut leaf = pki.chain[0].clone();
        let at = at.index(leaf.len());
        let same = leaf[at] == octet;
        leaf[at] = octet;
        prop_assert_eq!(verify(octets, &[vec![leaf], pki.chain[1..].to_vec()].concat(), &pki.trust()).is_ok(), same);
    }

    #[test]
    fn arbitrary_text_never_panics(text in "(-----BEGIN [A-Z ]{0,24}-----\n|-----END [A-Z ]{0,24}-----\n|[A-Za-z0-9+/=]{0,64}\r?\n|\\PC{0,20}\n){0,12}") {
        let _ = read_certificates(&text);
        if let Err(denial) = read_file(text.as_bytes()) {
            prop_assert!([Reason::CertificatePem, Reason::CertificateTooLarge].contains(&denial.reason));
        }
    }
}

#[test]
fn pem_text_is_bounded() {
    let (_, octets) = &ISSUED[0];
    let pem = encode_pem(&CertificateFile { certificate: octets.clone(), chain: Vec::new() }).unwrap();
    let padded = |length: usize| " ".repeat(length - pem.len() - 1) + "\n" + &pem;
    assert!(read_file(padded(256 * 1024).as_bytes()).is_ok());
    assert_eq!(read_file(padded(256 * 1024 + 1).as_bytes()).unwrap_err().reason, Reason::CertificateTooLarge);
    assert!(read_certificates(&"\n".repeat(5 * 1024 * 1024)).is_err());
}

#[test]
fn pem_that_quotes_its_reader_is_quoted_briefly() {
    let label = "X".repeat(100_000);
    let text = format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
    let denial = read_file(text.as_bytes()).unwrap_err();
    assert_eq!(denial.reason, Reason::CertificatePem);
    assert!(denial.detail.chars().count() <= Denial::MAX_DETAIL);
}

/// Octets that would make a decoder that allocates as it goes take hundreds of times their size, or recurse without
/// end: refused before any of that.
#[test]
fn hostile_shapes_are_refused_at_once() {
    let sequence = |content: &[u8]| {
        let length = u32::try_from(content.len()).unwrap().to_be_bytes();
        [&[0x30, 0x83], &length[1..], content].concat()
    };
    let many = |value: &[u8]| sequence(&value.repeat(60_000 / value.len()));
    let nested = (0..30_000).fold(Vec::new(), |inner: Vec<u8>, _| match inner.len() {
        0..=127 => [vec![0x30, u8::try_from(inner.len()).unwrap()], inner].concat(),
        _ => inner,
    });
    let indefinite = [0x30, 0x80].repeat(32_000);
    for octets in [many(&[0x05, 0x00]), many(&[0x30, 0x00]), many(&[0x31, 0x00]), nested, indefinite] {
        let denial = parse(&octets).unwrap_err();
        assert!([Reason::CertificateBounds, Reason::CertificateEncoding].contains(&denial.reason), "{denial}");
    }
    assert_eq!(parse(&vec![0x30; 64 * 1024 + 1]).unwrap_err().reason, Reason::CertificateTooLarge);
}
