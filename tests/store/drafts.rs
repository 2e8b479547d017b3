//! Records of the size that a broker writes, without what would go into making real ones.

use std::num::NonZeroU32;

use rcgen::{CertificateParams, KeyPair, SanType};
use seb::attribute_certificate::SignatureAlgorithm;
use seb::contract::Json;
use seb::decision::MutationId;
use seb::digest::Digest;
use seb::execution::{Outcome, State};
use seb::key::SigningKey;
use seb::reason::{Denial, Reason};
use seb::record::{
    self, About, Artefact, Decided, Draft, KeyBinding, Kind, OutcomeParts, PublicKey, RefusalParts, Subject, Timings,
};
use seb::store::{Claim, RateLimit, UseKey};
use seb::timestamp::Timestamp;
use spiffe::SpiffeId;

const BROKER: &str = "spiffe://example.org/seb";

fn id(text: &str) -> SpiffeId {
    SpiffeId::new(text).unwrap()
}

fn at() -> Timestamp {
    "2026-11-24T09:30:00Z".parse().unwrap()
}

pub fn genesis(key: &SigningKey) -> Draft {
    let identity = SigningKey::generate(SignatureAlgorithm::EcdsaP256Sha256).unwrap();
    let pair = KeyPair::from_pem(&identity.to_pkcs8_pem().unwrap()).unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(BROKER.try_into().unwrap())];
    let svid = params.self_signed(&pair).unwrap().der().to_vec();
    let key = PublicKey::from_spki(&key.public_key().unwrap()).unwrap();
    let binding = KeyBinding { broker: id(BROKER), key, time: at() };
    let proof = identity.sign(&binding.to_be_signed()).unwrap();
    record::genesis(binding, vec![svid], &proof).unwrap()
}

pub fn mutation(certificate: Digest) -> MutationId {
    MutationId::derive(&certificate, &"main".parse().unwrap(), 1)
}

fn about(certificate: Digest) -> About {
    About {
        agent: Some(id("spiffe://example.org/agent/deployer")),
        authority: Some(id("spiffe://example.org/sab")),
        target: Some("production".parse().unwrap()),
        resource: Some("services/checkout".to_owned()),
        certificate: Some(certificate),
        mutation_id: Some(mutation(certificate)),
        ..About::default()
    }
}

fn identity(mutation: &MutationId) -> Json {
    Json::object([
        ("spiffe_id", Json::String(format!("spiffe://example.org/seb/execution/{mutation}"))),
        ("not_after", Json::string(at())),
    ])
}

/// A decision with 1.5 KiB of facts and a certificate of 1 KiB that nobody else has.
pub fn allow(certificate: Digest) -> Draft {
    let permit = Json::object([("mutation_id", Json::string(mutation(certificate)))]);
    let facts: Vec<Json> = (0..20).map(|n| Json::string(Digest::of(&[n]))).collect();
    let octets = [certificate.as_bytes().as_slice(); 32].concat();
    let artefact = Artefact::new("application/pkix-attr-cert", octets).unwrap();
    let certified = Json::object([
        ("certificate", Json::string(artefact.digest())),
        ("chain", Json::Array(Vec::new())),
        ("trust", Json::string(Digest::of(b"trust"))),
        ("bundle", Json::string(Digest::of(b"bundle"))),
    ]);
    let body = Json::object([
        ("facts", Json::object([("facts", Json::Array(facts))])),
        ("decision", Json::object([("decision", Json::from("allow")), ("permit", permit)])),
        ("certified", certified),
        ("request", Json::string(Digest::of(b"request"))),
        ("identity", identity(&mutation(certificate))),
    ]);
    Draft {
        kind: Kind::Decision,
        time: at(),
        subjects: vec![Subject::new("certificate", certificate)],
        about: About { decision: Some(Decided::Allow), ..about(certificate) },
        body,
        artefacts: vec![artefact],
    }
}

pub fn claim(certificate: Digest) -> Claim {
    let rate = Some(RateLimit { executions: u32::MAX, per_seconds: 60 });
    Claim {
        certificate,
        ordinal: 1,
        uses: NonZeroU32::MIN,
        use_key: UseKey::SINGLE,
        request: Digest::of(b"request"),
        mutation_id: mutation(certificate),
        agent: id("spiffe://example.org/agent/deployer"),
        authority: id("spiffe://example.org/sab"),
        target: "production".parse().unwrap(),
        at: at(),
        agent_rate: rate,
        authority_rate: rate,
    }
}

pub fn outcome(certificate: Digest, decision: u64, state: State) -> Draft {
    let ended = Outcome { state, reason: None, rejection: None, detail: "200".to_owned(), version: None, handle: None };
    record::outcome(OutcomeParts {
        time: at(),
        mutation_id: &mutation(certificate),
        decision,
        about: about(certificate),
        outcome: &ended,
        drift: None,
        answer: None,
        timings: Some(Timings { decide_us: 100, mint_us: 200, fence_us: 3, call_us: 900 }),
        evidence: None,
        trace: None,
    })
    .unwrap()
}

pub fn deny() -> Draft {
    record::refusal(&RefusalParts {
        time: at(),
        caller: &id("spiffe://example.org/agent/deployer"),
        denial: &Denial::new(Reason::CertificateEncoding, "not DER"),
        certificate: Some(b"nonsense"),
        chain: &[],
        trust: None,
        request: None,
        trace: None,
    })
    .unwrap()
}
