//! What holds of every log: whatever is done to it, verification sees it.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::testing::{AUTHORITY, BROKER, again, allow, at, deny, genesis_of, id, key, outcome_of, plain, public, svid};
use super::{
    About, Artefact, Decided, Draft, Genesis, Head, InvalidDraft, InvalidGenesis, KeyBinding, Kind, Link, MAX_ENVELOPE,
    Problem, SealError, Sealed, Statement, Subject, Unsigned, Verifier, VerifyError, beginning, body, genesis,
};
use crate::contract::Json;
use crate::decision::MutationId;
use crate::digest::Digest;
use crate::execution::State;
use crate::key::SigningKey;
use crate::reason::Reason;

fn sealed(draft: &Draft, link: Link, key: &SigningKey) -> Result<Sealed, SealError> {
    let unsigned = Unsigned::new(draft, link, at(0))?;
    unsigned.complete(&public(key).key_id(), &key.sign(&unsigned.to_be_signed()).unwrap())
}

fn log_of(key: &SigningKey, drafts: &[Draft]) -> Vec<Vec<u8>> {
    let (mut previous, mut time, mut log) = (beginning(), at(0), Vec::new());
    for (number, draft) in (1..).zip(drafts) {
        let unsigned = Unsigned::new(draft, Link { number, previous }, time).unwrap();
        let signature = key.sign(&unsigned.to_be_signed()).unwrap();
        let sealed = unsigned.complete(&public(key).key_id(), &signature).unwrap();
        (previous, time) = (sealed.digest, sealed.time);
        log.push(sealed.envelope);
    }
    log
}

/// A log of every kind, in which some executions ended and one did not.
fn drafts(key: &SigningKey) -> Vec<Draft> {
    let (first, second) = (Digest::of(b"first"), Digest::of(b"second"));
    vec![
        genesis_of(key),
        plain(Kind::Epoch, 1),
        allow(first, 1, 2),
        deny(3),
        outcome_of(first, 1, 3, State::Unknown, 4),
        plain(Kind::Boundary, 5),
        outcome_of(first, 1, 3, State::ReconciledApplied, 6),
        allow(second, 1, 7),
        plain(Kind::Admission, 8),
    ]
}

fn verify(log: &[Vec<u8>], kept: Option<Head>) -> Result<super::Summary, VerifyError> {
    let mut verifier = Verifier::new();
    kept.into_iter().for_each(|kept| verifier.expect(kept));
    for (number, envelope) in (1..).zip(log) {
        verifier.push(number, envelope)?;
    }
    verifier.finish()
}

fn head_of(log: &[Vec<u8>]) -> Head {
    Head { number: log.len() as u64, digest: Digest::of(log.last().unwrap()) }
}

#[test]
fn a_log_verifies_and_is_counted() {
    let key = key();
    let log = log_of(&key, &drafts(&key));
    let summary = verify(&log, Some(head_of(&log))).unwrap();
    assert_eq!(summary.head, Some(head_of(&log)));
    assert_eq!((summary.allowed, summary.denied, summary.open), (2, 1, 1));
    assert_eq!(summary.times, Some((at(0), at(8))));
    let counts = [
        (Kind::Genesis, 1),
        (Kind::Decision, 3),
        (Kind::Outcome, 2),
        (Kind::Epoch, 1),
        (Kind::Boundary, 1),
        (Kind::Admission, 1),
    ];
    assert_eq!(summary.records, BTreeMap::from(counts));
    // Older records that were kept hold, too.
    let kept = Head { number: 4, digest: Digest::of(&log[3]) };
    assert!(verify(&log, Some(kept)).is_ok());
}

#[test]
fn every_algorithm_signs_logs() {
    use crate::attribute_certificate::SignatureAlgorithm as Algorithm;
    for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256Sha256, Algorithm::EcdsaP384Sha384] {
        let key = SigningKey::generate(algorithm).unwrap();
        assert!(verify(&log_of(&key, &drafts(&key)), None).is_ok(), "{algorithm:?}");
    }
}

#[test]
fn i8_the_end_of_a_log_is_missed_by_whoever_kept_it() {
    let key = key();
    let log = log_of(&key, &drafts(&key));
    for end in 1..log.len() {
        assert!(verify(&log[..end], None).is_ok(), "a shorter log is a log");
        let error = verify(&log[..end], Some(head_of(&log))).unwrap_err();
        assert_eq!((error.number, error.problem), (log.len() as u64, Problem::Truncated));
    }
    assert_eq!(verify(&[], None).unwrap_err().problem, Problem::Empty);
}

#[test]
fn i8_a_log_rewritten_by_the_holder_of_the_key_is_missed_by_whoever_kept_a_record() {
    let key = key();
    let honest = drafts(&key);
    let log = log_of(&key, &honest);
    for number in 1..log.len() {
        let mut rewritten = honest.clone();
        rewritten.remove(number);
        // What is left may contradict itself; if it does not, what was kept shows it.
        let rewritten = log_of(&key, &rewritten);
        assert!(verify(&rewritten, Some(head_of(&log))).is_err(), "without record {}", number + 1);
    }
}

#[test]
fn i8_a_record_signed_with_another_key_is_refused() {
    let (key, thief) = (key(), super::testing::key());
    let log = log_of(&key, &drafts(&key));
    let link = Link { number: 10, previous: head_of(&log).digest };
    let forged = sealed(&plain(Kind::Boundary, 9), link, &thief).unwrap().envelope;
    let error = verify(&[log.clone(), vec![forged]].concat(), None).unwrap_err();
    assert_eq!(error.number, 10);
    assert!(matches!(error.problem, Problem::Statement(super::InvalidStatement::Signature)), "{error:?}");
    // Nor does a whole log of the thief's have the broker's genesis.
    let stolen = [vec![log[0].clone()], log_of(&thief, &drafts(&thief))[1..].to_vec()].concat();
    assert_eq!(verify(&stolen, None).unwrap_err().number, 2);
}

#[test]
fn a_log_begins_with_one_genesis() {
    let key = key();
    let mut drafts = drafts(&key);
    let log = log_of(&key, &drafts[1..]);
    assert_eq!(verify(&log, None).unwrap_err().problem, Problem::Beginning(Kind::Epoch));
    drafts.push(genesis_of(&key));
    let error = verify(&log_of(&key, &drafts), None).unwrap_err();
    assert_eq!((error.number, error.problem), (10, Problem::SecondGenesis));
}

#[test]
fn i3_i6_a_log_that_contradicts_itself_is_refused_though_signed() {
    let key = key();
    let first = Digest::of(b"first");
    let begun = [genesis_of(&key), allow(first, 1, 1), outcome_of(first, 1, 2, State::Succeeded, 2)];
    let outcome = |decision, state| outcome_of(first, 1, decision, state, 3);
    let elsewhere = |change: fn(&mut About)| {
        let mut outcome = begun[2].clone();
        change(&mut outcome.about);
        vec![begun[0].clone(), begun[1].clone(), outcome]
    };
    for (drafts, number) in [
        (elsewhere(|about| about.resource = None), 3),
        (elsewhere(|about| about.resource = Some("services/other".to_owned())), 3),
        (elsewhere(|about| about.agent = Some(id(BROKER))), 3),
        (elsewhere(|about| about.target = None), 3),
        (vec![begun[0].clone(), begun[1].clone(), begun[1].clone()], 3),
        (vec![begun[0].clone(), begun[2].clone()], 2),
        (vec![begun[0].clone(), begun[1].clone(), outcome(1, State::Succeeded)], 3),
        ([begun.to_vec(), vec![outcome(2, State::Unknown)]].concat(), 4),
        ([begun.to_vec(), vec![outcome(2, State::ReconciledApplied)]].concat(), 4),
    ] {
        let error = verify(&log_of(&key, &drafts), None).unwrap_err();
        assert_eq!(error.number, number);
        assert!(matches!(error.problem, Problem::Execution(_)), "{error:?}");
    }
}

#[test]
fn time_never_goes_backwards() {
    let key = key();
    let early = Draft { time: at(0), ..plain(Kind::Boundary, 0) };
    let log = log_of(&key, &[genesis_of(&key), plain(Kind::Boundary, 9), early.clone()]);
    assert_eq!(Statement::from_envelope(&log[2]).unwrap().time, at(9), "sealing moves it forward");
    let link = Link { number: 3, previous: Digest::of(&log[1]) };
    let forged = sealed(&early, link, &key).unwrap().envelope;
    let error = verify(&[log[..2].to_vec(), vec![forged]].concat(), None).unwrap_err();
    assert_eq!(error.problem, Problem::Time { previous: at(9), found: at(0) });
}

#[test]
fn genesis_is_vouched_for_by_the_identity_that_it_names() {
    let log_key = key();
    let (identity, certificate) = svid(BROKER);
    let (other, others) = svid(AUTHORITY);
    let binding = || KeyBinding { broker: id(BROKER), key: public(&log_key), time: at(0) };
    let sign = |key: &SigningKey, binding: &KeyBinding| key.sign(&binding.to_be_signed()).unwrap();
    let good = sign(&identity, &binding());
    let draft = genesis(binding(), vec![certificate.clone()], &good).unwrap();
    let read = Genesis::from_body(&draft.body, draft.time).unwrap();
    assert_eq!((read.broker(), read.key(), read.time()), (&id(BROKER), &public(&log_key), at(0)));
    read.verify_path(std::slice::from_ref(&certificate)).unwrap();
    read.verify_path(std::slice::from_ref(&others)).unwrap_err();
    for (binding, chain, proof, what) in [
        (binding(), vec![], good.clone(), "an empty chain"),
        (binding(), vec![others.clone()], sign(&other, &binding()), "another identity"),
        (binding(), vec![certificate.clone()], sign(&other, &binding()), "another key's signature"),
        (binding(), vec![certificate.clone(); 6], good.clone(), "a long chain"),
        (binding(), vec![b"nonsense".to_vec()], good.clone(), "no certificate"),
        (KeyBinding { time: at(1), ..binding() }, vec![certificate.clone()], good.clone(), "another time"),
        (KeyBinding { key: public(&key()), ..binding() }, vec![certificate.clone()], good.clone(), "another log key"),
        (KeyBinding { broker: id(AUTHORITY), ..binding() }, vec![certificate.clone()], good.clone(), "another broker"),
    ] {
        assert!(genesis(binding, chain, &proof).is_err(), "{what}");
    }
    assert_eq!(Genesis::from_body(&draft.body, at(1)), Err(InvalidGenesis::Proof), "the record's time is signed, too");
}

#[test]
fn a_record_stays_below_64_kib_and_can_be_read_again() {
    let key = key();
    let with = |text: usize| {
        let text = Json::from("x".repeat(text));
        let body = Json::object([("target", "production".into()), ("status", "proven".into()), ("text", text)]);
        sealed(&Draft { body, ..plain(Kind::Boundary, 1) }, Link { number: 2, previous: beginning() }, &key)
    };
    // The largest body that fits, by bisection.
    let (mut fits, mut fails) = (0, 65_536);
    while fails - fits > 1 {
        let middle = (fits + fails) / 2;
        if with(middle).is_ok() { fits = middle } else { fails = middle }
    }
    let largest = with(fits).unwrap();
    assert!((MAX_ENVELOPE - 4..=MAX_ENVELOPE).contains(&largest.envelope.len()), "{}", largest.envelope.len());
    assert!(Statement::from_envelope(&largest.envelope).is_ok());
    assert!(matches!(with(fails), Err(SealError::TooLarge(_))));
}

#[test]
fn a_draft_that_could_not_be_read_again_is_refused() {
    let good = || plain(Kind::Boundary, 1);
    assert_eq!(good().check(), Ok(()));
    let mut deep = Json::Null;
    for _ in 0..31 {
        deep = Json::Array(vec![deep]);
    }
    let body = |json| Json::object([("target", "production".into()), ("status", "proven".into()), ("more", json)]);
    let subjects = |count| vec![Subject::new("call", Digest::of(b"call")); count];
    let allowed = About { decision: Some(Decided::Allow), ..deny(1).about };
    for (draft, what) in [
        (Draft { subjects: subjects(0), ..good() }, "no subject"),
        (Draft { subjects: subjects(17), ..good() }, "too many subjects"),
        (Draft { subjects: vec![Subject::new("", Digest::of(b""))], ..good() }, "a subject without a name"),
        (Draft { body: Json::Null, ..good() }, "no object"),
        (Draft { body: body(deep), ..good() }, "too deep"),
        (Draft { body: Json::object([("target", "Not a name".into())]), ..good() }, "not of the schema"),
        (Draft { about: allowed, ..deny(1) }, "the body contradicts the fields"),
        (Draft { about: About { resource: Some("x".repeat(2049)), ..About::default() }, ..good() }, "a long resource"),
        (Draft { artefacts: vec![Artefact::new("a/b", vec![]).unwrap(); 33], ..good() }, "too many artefacts"),
    ] {
        assert!(draft.check().is_err(), "{what}");
    }
    assert_eq!(
        Artefact::new("a/b", vec![0; 8 * 1024 * 1024 + 1]),
        Err(InvalidDraft::ArtefactSize(8 * 1024 * 1024 + 1))
    );
    assert_eq!(Artefact::new("", vec![]), Err(InvalidDraft::Name("media_type")));
    // As deep as it may be, it can be read again.
    let mut deep = Json::Null;
    for _ in 0..29 {
        deep = Json::Array(vec![deep]);
    }
    let draft = Draft { body: body(deep), ..good() };
    let sealed = sealed(&draft, Link { number: 2, previous: beginning() }, &key()).unwrap();
    assert_eq!(Statement::from_envelope(&sealed.envelope).unwrap().body, draft.body);
}

#[test]
fn every_statement_keeps_the_published_schema() {
    let schema = jsonschema::validator_for(&super::json_schema()).unwrap();
    let key = key();
    for envelope in log_of(&key, &drafts(&key)) {
        let payload = super::dsse::Envelope::parse(&envelope).unwrap().payload;
        let statement: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        schema.validate(&statement).unwrap_or_else(|error| panic!("{error}: {statement}"));
        for pointer in ["/predicate/log/number", "/predicate/about", "/_type", "/subject"] {
            let mut broken = statement.clone();
            *broken.pointer_mut(pointer).unwrap() = "nonsense".into();
            assert!(!schema.is_valid(&broken), "{pointer}");
        }
    }
}

#[test]
fn the_published_schema_is_that_of_the_code() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/records.schema.json");
    let text = format!("{}\n", serde_json::to_string_pretty(&super::json_schema()).unwrap());
    if option_env!("UPDATE").is_some() {
        std::fs::write(file, &text).unwrap();
    }
    let published = std::fs::read_to_string(file).unwrap();
    assert_eq!(published, text, "run `UPDATE=1 cargo test --lib record`");
}

/// What can be done to a log by whoever holds the store and not the key.
#[derive(Debug, Clone)]
enum Tampering {
    Remove(usize),
    Swap(usize, usize),
    Repeat(usize, usize),
    Flip(usize, usize, u8),
    Insert(usize, Vec<u8>),
    Resign(usize),
    Respell(usize),
}

fn tampering() -> impl Strategy<Value = Tampering> {
    prop_oneof![
        (0..9_usize).prop_map(Tampering::Remove),
        (0..9_usize, 0..9_usize).prop_map(|(a, b)| Tampering::Swap(a, b)),
        (0..9_usize, 0..=9_usize).prop_map(|(from, to)| Tampering::Repeat(from, to)),
        (0..9_usize, any::<prop::sample::Index>(), 1..=255_u8).prop_map(|(record, at, bits)| Tampering::Flip(
            record,
            at.index(1 << 16),
            bits
        )),
        (0..=9_usize, prop::collection::vec(any::<u8>(), 0..64)).prop_map(|(to, octets)| Tampering::Insert(to, octets)),
        (0..9_usize).prop_map(Tampering::Resign),
        (0..9_usize).prop_map(Tampering::Respell),
    ]
}

impl Tampering {
    fn apply(self, log: &mut Vec<Vec<u8>>) {
        match self {
            Self::Remove(record) => drop(log.remove(record)),
            Self::Swap(a, b) => log.swap(a, b),
            Self::Repeat(from, to) => log.insert(to, log[from].clone()),
            Self::Flip(record, at, bits) => {
                let at = at % log[record].len();
                log[record][at] ^= bits;
            }
            Self::Insert(to, octets) => log.insert(to, octets),
            Self::Resign(record) => {
                let thief = key();
                let payload = super::dsse::Envelope::parse(&log[record]).unwrap().payload;
                let signature = thief.sign(&super::dsse::pre_authentication(super::PAYLOAD_TYPE, &payload)).unwrap();
                use base64ct::{Base64, Encoding};
                log[record] = super::dsse::envelope(
                    &Base64::encode_string(&payload),
                    &public(&thief).key_id(),
                    &Base64::encode_string(&signature),
                );
            }
            // The same envelope in another text: as valid to a lax reader, and another digest.
            Self::Respell(record) => log[record].insert(1, b' '),
        }
    }
}

proptest! {
    #[test]
    fn i8_whatever_is_done_to_a_log_is_seen(tampering in prop::collection::vec(tampering(), 1..4)) {
        let key = key();
        let log = log_of(&again(&key), &drafts(&key));
        let mut tampered = log.clone();
        for tampering in tampering {
            // A log that an earlier step made too short or unreadable cannot be tampered with in every way.
            let mut next = tampered.clone();
            let applied = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| tampering.apply(&mut next)));
            if applied.is_ok() { tampered = next }
        }
        let verdict = verify(&tampered, Some(head_of(&log)));
        if tampered == log {
            prop_assert!(verdict.is_ok());
        } else {
            let error = verdict.unwrap_err();
            let same = log.iter().zip(&tampered).take_while(|(a, b)| a == b).count() as u64;
            // Of a log that only lost its end nothing differs: what is missing is the record that is known to be the last.
            let first = if log.starts_with(&tampered) { log.len() as u64 } else { same + 1 };
            prop_assert_eq!(error.number, first, "the first record that differs: {}", error.problem);
        }
    }

    #[test]
    fn whatever_is_read_never_panics(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Statement::from_envelope(&octets).is_err());
        prop_assert!(Verifier::new().push(1, &octets).is_err());
    }
}

#[test]
fn a_head_has_one_text() {
    let head = Head { number: 7, digest: Digest::of(b"") };
    assert_eq!(head.to_string().parse(), Ok(head));
    for bad in ["", "7", "07:sha256:00", &format!("+7:{}", head.digest), &format!(" {head}"), &format!("x:{head}")] {
        assert!(bad.parse::<Head>().is_err(), "{bad}");
    }
}

#[test]
fn i5_a_decision_names_the_one_identity_of_its_mutation() {
    let digest = Digest::of(b"anything").to_string();
    let mutation = MutationId::derive(&Digest::of(b"certificate"), &"scale".parse().unwrap(), 1);
    let allowed = About { decision: Some(Decided::Allow), mutation_id: Some(mutation.clone()), ..About::default() };
    let denied = About { decision: Some(Decided::Deny), reason: Some(Reason::DriftField), ..About::default() };
    let check = |about: &About, identity: &str| {
        let text = format!(
            r#"{{"certified":{{"bundle":"{digest}","certificate":"{digest}","chain":[],"trust":"{digest}"}},
            "decision":"{digest}","facts":"{digest}","request":"{digest}","identity":{identity}}}"#
        );
        body::check(Kind::Decision, about, &Json::parse(text.as_bytes()).unwrap())
    };
    let of = |name: &str, more: &str| {
        format!(
            r#"{{"spiffe_id":"spiffe://example.org/seb/execution/{name}","not_after":"2026-11-24T09:30:10Z"{more}}}"#
        )
    };
    let (name, jwt) = (mutation.as_str(), r#","form":"jwt""#);
    let audiences = format!(r#"{jwt},"audiences":["cluster","urn:seb:call:1"]"#);
    for more in ["", r#","serial":"4b""#, r#","form":"x509","serial":"4b""#, audiences.as_str()] {
        check(&allowed, &of(name, more)).unwrap_or_else(|error| panic!("{more}: {error}"));
        assert!(check(&denied, &of(name, more)).unwrap_err().contains("identity"), "{more}");
    }
    check(&denied, "null").unwrap();
    assert!(check(&allowed, "null").is_err());
    assert!(check(&allowed, &of("m-other", "")).is_err());
    for more in [
        jwt.to_owned(),
        r#","form":"wit""#.to_owned(),
        r#","audiences":["cluster"]"#.to_owned(),
        format!(r#"{jwt},"audiences":[]"#),
        format!(r#"{audiences},"serial":"4b""#),
    ] {
        assert!(check(&allowed, &of(name, &more)).unwrap_err().contains("identity"), "{more}");
    }
}
