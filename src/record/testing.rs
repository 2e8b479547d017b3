//! What tests of the crate need to make records.

use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use spiffe::SpiffeId;

use super::{
    About, Decided, Draft, KeyBinding, Kind, OutcomeParts, PublicKey, RefusalParts, Subject, genesis, outcome, refusal,
};
use crate::attribute_certificate::SignatureAlgorithm;
use crate::contract::Json;
use crate::decision::MutationId;
use crate::digest::Digest;
use crate::execution::{Outcome, State};
use crate::key::SigningKey;
use crate::reason::{Denial, Reason};
use crate::timestamp::Timestamp;

pub(crate) const BROKER: &str = "spiffe://example.org/seb";
pub(crate) const AGENT: &str = "spiffe://example.org/agent/deployer";
pub(crate) const AUTHORITY: &str = "spiffe://example.org/sab";

pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_seconds(1_790_000_000 + seconds).unwrap()
}

pub(crate) fn id(text: &str) -> SpiffeId {
    SpiffeId::new(text).unwrap()
}

pub(crate) fn key() -> SigningKey {
    SigningKey::generate(SignatureAlgorithm::Ed25519).unwrap()
}

/// The same key once more: it cannot be cloned.
pub(crate) fn again(key: &SigningKey) -> SigningKey {
    SigningKey::from_pkcs8_pem(&key.to_pkcs8_pem().unwrap()).unwrap()
}

pub(crate) fn public(key: &SigningKey) -> PublicKey {
    PublicKey::from_spki(&key.public_key().unwrap()).unwrap()
}

/// An X.509-SVID of `spiffe_id` that signed itself, and its key.
pub(crate) fn svid(spiffe_id: &str) -> (SigningKey, Vec<u8>) {
    let key = SigningKey::generate(SignatureAlgorithm::EcdsaP256Sha256).unwrap();
    let pair = KeyPair::from_pem(&key.to_pkcs8_pem().unwrap()).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "broker");
    params.subject_alt_names = vec![SanType::URI(spiffe_id.try_into().unwrap())];
    (key, params.self_signed(&pair).unwrap().der().to_vec())
}

/// The first record of a log that `key` signs.
pub(crate) fn genesis_of(key: &SigningKey) -> Draft {
    let (identity, certificate) = svid(BROKER);
    let binding = KeyBinding { broker: id(BROKER), key: public(key), time: at(0) };
    let proof = identity.sign(&binding.to_be_signed()).unwrap();
    genesis(binding, vec![certificate], &proof).unwrap()
}

/// A record that says as little as its kind allows.
pub(crate) fn plain(kind: Kind, seconds: u64) -> Draft {
    let body = match kind {
        Kind::Boundary => Json::object([("target", Json::from("production")), ("status", Json::from("proven"))]),
        Kind::Admission => Json::object([("event", Json::from("admitted"))]),
        Kind::Epoch => epoch_body(seconds),
        _ => Json::object([("note", Json::from("nothing"))]),
    };
    Draft {
        kind,
        time: at(seconds),
        subjects: vec![Subject::new("call", Digest::of(b"call"))],
        about: About::default(),
        body,
        artefacts: Vec::new(),
    }
}

fn epoch_body(sequence: u64) -> Json {
    Json::object([
        ("authority", Json::from(AUTHORITY)),
        ("statement", Json::string(Digest::of(b"statement"))),
        ("signed", Json::string(Digest::of(b"signed"))),
        ("sequence", Json::from(u32::try_from(sequence).unwrap())),
        ("policy_epoch", Json::from(1)),
        ("revocation_epoch", Json::from(1)),
        ("revoked", Json::from(0)),
        ("issued_at", Json::string(at(sequence))),
        ("received_at", Json::string(at(sequence))),
    ])
}

/// A refusal before authentication.
pub(crate) fn deny(seconds: u64) -> Draft {
    let denial = Denial::new(Reason::CertificateEncoding, "not DER");
    let caller = id(AGENT);
    refusal(&RefusalParts {
        time: at(seconds),
        caller: &caller,
        denial: &denial,
        certificate: Some(b"nonsense"),
        chain: &[],
        trust: None,
        request: None,
        trace: None,
    })
    .unwrap()
}

pub(crate) fn mutation(certificate: Digest, ordinal: u32) -> MutationId {
    MutationId::derive(&certificate, &"main".parse().unwrap(), ordinal)
}

pub(crate) fn allow(certificate: Digest, ordinal: u32, seconds: u64) -> Draft {
    let about = About {
        agent: Some(id(AGENT)),
        authority: Some(id(AUTHORITY)),
        target: Some("production".parse().unwrap()),
        resource: Some("services/checkout".to_owned()),
        certificate: Some(certificate),
        mutation_id: Some(mutation(certificate, ordinal)),
        decision: Some(Decided::Allow),
        ..About::default()
    };
    let mutation_id = mutation(certificate, ordinal);
    let permit = Json::object([("mutation_id", Json::string(&mutation_id))]);
    let identity = Json::object([
        ("spiffe_id", Json::from(format!("spiffe://example.org/seb/execution/{mutation_id}").as_str())),
        ("not_after", Json::string(at(seconds))),
    ]);
    let body = Json::object([
        ("facts", Json::string(Digest::of(b"facts"))),
        ("decision", Json::object([("decision", Json::from("allow")), ("permit", permit)])),
        (
            "certified",
            Json::object([
                ("certificate", Json::string(certificate)),
                ("chain", Json::Array(Vec::new())),
                ("trust", Json::string(Digest::of(b"trust"))),
                ("bundle", Json::string(Digest::of(b"bundle"))),
            ]),
        ),
        ("request", Json::string(Digest::of(b"request"))),
        ("identity", identity),
    ]);
    Draft { about, body, ..plain(Kind::Decision, seconds) }
}

/// The outcome of the decision with this number.
pub(crate) fn outcome_of(certificate: Digest, ordinal: u32, decision: u64, state: State, seconds: u64) -> Draft {
    let (about, mutation_id) = (allow(certificate, ordinal, seconds).about, mutation(certificate, ordinal));
    let ended =
        Outcome { state, reason: None, rejection: None, detail: "it ended".to_owned(), version: None, handle: None };
    outcome(OutcomeParts {
        time: at(seconds),
        mutation_id: &mutation_id,
        decision,
        about,
        outcome: &ended,
        drift: None,
        answer: None,
        timings: None,
        evidence: None,
        trace: None,
    })
    .unwrap()
}
