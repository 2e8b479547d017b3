//! What the core costs: every verdict on one certificate against its raw signature verifications, and the parts.
//!
//! `all_verdicts` goes from the octets of certificate and chain to a permit. `raw` is nothing but the signatures that
//! this has to verify: the authority's over the certificate, and those of the two certificates of its chain.

#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::indexing_slicing, reason = "a benchmark, not the product")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::alloc::System;
use std::hint::black_box;
use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, VerificationAlgorithm};
use criterion::{Criterion, criterion_group, criterion_main};
use der::{Decode, Encode};
use seb::attribute_certificate::{SignatureAlgorithm, Template, Trust, authenticate, parse, profile};
use seb::ceiling::{Ceilings, CeilingsFile};
use seb::contract::{Choice, Contract, Json};
use seb::decision::{
    Boundary, BoundaryStatus, Certified, Decision, EpochKnowledge, Facts, LiveState, Observed, Peer, RateCount, Rates,
    Request, Uses, evaluate,
};
use seb::digest::Digest;
use seb::epoch::{EpochParts, EpochStatement, Revoked};
use seb::timestamp::Timestamp;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::{AUTHORITY, BROKER, HOLDER, Pki, admission, at, contract, id};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CEILINGS: &str = r#"{
    "targets": { "sandbox": { "kind": "sandbox", "rules": [{
        "verbs": ["merge"], "resources": ["services/*"],
        "parameters": [{ "pointer": "/replicas", "minimum": 1, "maximum": 100 }] }] } },
    "authorities": { "spiffe://example.org/sab": { "targets": ["sandbox"] } },
    "max_validity_seconds": 2678400
}"#;

/// One certificate, and everything that a decision on it needs.
struct Case {
    algorithm: SignatureAlgorithm,
    certificate: Vec<u8>,
    chain: Vec<Vec<u8>>,
    trust: Trust,
    ceilings: Arc<Ceilings>,
    statement: Arc<EpochStatement>,
    request: Request,
    now: Timestamp,
    signatures: Vec<(Vec<u8>, Vec<u8>, Vec<u8>)>,
}

impl Case {
    fn new(algorithm: SignatureAlgorithm) -> Self {
        let pki = Pki::new(algorithm);
        let issued = pki.issue_over(&contract());
        let now = at("2026-11-21T12:00:00Z");
        let file: CeilingsFile = serde_json::from_str(CEILINGS).unwrap();
        let statement = EpochStatement::new(EpochParts {
            authority: id(AUTHORITY),
            sequence: 1,
            policy_epoch: 7,
            revocation_epoch: 3,
            revoked: Revoked::default(),
            issued_at: now,
            next_update: at("2026-11-21T12:00:10Z"),
        });
        let values = [("/replicas".parse().unwrap(), Json::parse(b"20").unwrap())].into();
        let mut chain = pki.chain.clone();
        chain.push(pki.root.der().to_vec());
        let mut signatures = vec![signed(issued.octets(), &public_key(&chain[0]))];
        signatures.extend(chain.windows(2).map(|pair| signed(&pair[0], &public_key(&pair[1]))));
        Self {
            algorithm,
            certificate: issued.octets().to_vec(),
            chain: pki.chain.clone(),
            trust: pki.trust(),
            ceilings: Arc::new(Ceilings::new(file).unwrap()),
            statement: Arc::new(statement.unwrap()),
            request: Request { choice: Choice { values, body: None }, ..Request::default() },
            now,
            signatures,
        }
    }

    /// From octets to a permit.
    fn all_verdicts(&self) -> Decision {
        let certificate = profile(parse(&self.certificate).unwrap()).unwrap();
        let verified = authenticate(certificate, &self.chain, &self.trust, self.now).unwrap();
        evaluate(&self.facts(Certified::from(&verified)))
    }

    fn facts(&self, certified: Certified) -> Facts {
        let count = |per_seconds| RateCount { executions: 0, per_seconds };
        let fields = [("/replicas".parse().unwrap(), Some(Json::parse(b"3").unwrap()))].into();
        Facts {
            certified,
            peer: Peer { id: id(HOLDER), key: Digest::of(b"key") },
            broker: id(BROKER),
            request: self.request.clone(),
            observed: Observed {
                now: self.now,
                clock_stepped: false,
                epoch: Some(EpochKnowledge { statement: Arc::clone(&self.statement), age_ms: 100, skew_ms: 0 }),
                uses: Some(Uses { consumed: 0, last: None }),
                rates: Some(Rates { agent: count(60), authority: count(60) }),
                boundary: Some(Boundary { status: BoundaryStatus::Proven, age_seconds: 1 }),
                live: LiveState::Present {
                    identity: "uid-1".to_owned(),
                    version: "4".parse().unwrap(),
                    fields,
                    observed_at: self.now,
                },
                dry_run: None,
            },
            ceilings: Arc::clone(&self.ceilings),
        }
    }

    /// Nothing but the signatures.
    fn raw(&self) {
        let algorithm: &dyn VerificationAlgorithm = match self.algorithm {
            SignatureAlgorithm::EcdsaP256Sha256 => &ECDSA_P256_SHA256_ASN1,
            SignatureAlgorithm::EcdsaP384Sha384 => &ECDSA_P384_SHA384_ASN1,
            SignatureAlgorithm::Ed25519 => &ED25519,
        };
        for (key, message, signature) in &self.signatures {
            algorithm.verify_sig(key, message, signature).unwrap();
        }
    }
}

fn public_key(certificate: &[u8]) -> Vec<u8> {
    let certificate = x509_cert::Certificate::from_der(certificate).unwrap();
    certificate.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes().to_vec()
}

/// Key, message and signature of anything of the form SEQUENCE { signed, algorithm, BIT STRING }.
fn signed(octets: &[u8], key: &[u8]) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let parts: Vec<der::Any> = der::Decode::from_der(octets).unwrap();
    let signature: der::asn1::BitString = parts[2].decode_as().unwrap();
    (key.to_vec(), parts[0].to_der().unwrap(), signature.raw_bytes().to_vec())
}

fn verdicts(c: &mut Criterion) {
    for algorithm in
        [SignatureAlgorithm::EcdsaP256Sha256, SignatureAlgorithm::EcdsaP384Sha384, SignatureAlgorithm::Ed25519]
    {
        let case = Case::new(algorithm);
        assert!(matches!(case.all_verdicts(), Decision::Allow(_)), "{:?}", case.all_verdicts());
        let region = Region::new(ALLOCATOR);
        drop(black_box(case.all_verdicts()));
        let change = region.change();
        println!(
            "verdicts/{}: {} allocations, {} octets allocated, on a certificate of {} octets",
            algorithm.as_str(),
            change.allocations + change.reallocations,
            change.bytes_allocated,
            case.certificate.len()
        );
        let mut group = c.benchmark_group(format!("verdicts_{}", algorithm.as_str()));
        group.bench_function("raw", |b| b.iter(|| case.raw()));
        group.bench_function("all_verdicts", |b| b.iter(|| case.all_verdicts()));
        let certificate = profile(parse(&case.certificate).unwrap()).unwrap();
        group.bench_function("authenticate", |b| {
            b.iter(|| authenticate(certificate.clone(), &case.chain, &case.trust, case.now).unwrap());
        });
        group.finish();
    }
}

fn parts(c: &mut Criterion) {
    let case = Case::new(SignatureAlgorithm::EcdsaP256Sha256);
    let parsed = parse(&case.certificate).unwrap();
    let verified = authenticate(profile(parsed.clone()).unwrap(), &case.chain, &case.trust, case.now).unwrap();
    let contract = contract();
    let canonical = contract.canonical().as_bytes();
    let json = Json::parse(canonical).unwrap();
    let facts = case.facts(Certified::from(&verified));
    let mut group = c.benchmark_group("parts");
    group.bench_function("parse", |b| b.iter(|| parse(&case.certificate).unwrap()));
    group.bench_function("profile", |b| b.iter(|| profile(parsed.clone()).unwrap()));
    group.bench_function("contract_parse", |b| b.iter(|| Contract::parse(canonical).unwrap()));
    group.bench_function("canonicalize", |b| b.iter(|| json.to_canonical()));
    group.bench_function("digest", |b| b.iter(|| Digest::of(canonical)));
    group.bench_function("apply_parameters", |b| b.iter(|| contract.call(None, &case.request.choice).unwrap()));
    group.bench_function("evaluate", |b| b.iter(|| evaluate(&facts)));
    group.finish();
}

fn issue(c: &mut Criterion) {
    let mut group = c.benchmark_group("issue");
    for algorithm in
        [SignatureAlgorithm::EcdsaP256Sha256, SignatureAlgorithm::EcdsaP384Sha384, SignatureAlgorithm::Ed25519]
    {
        let pki = Pki::new(algorithm);
        let (authority, contract, admission) = (pki.authority(), contract(), admission());
        let (holder, broker) = (id(HOLDER), id(BROKER));
        let template = Template {
            serial: &[0x4b; 16],
            holder: &holder,
            holder_key: None,
            broker: &broker,
            not_before: at("2026-11-01T00:00:00Z"),
            not_after: at("2026-11-30T23:59:59Z"),
            contract: &contract,
            admission: &admission,
        };
        group.bench_function(algorithm.as_str(), |b| {
            b.iter(|| {
                let unsigned = template.prepare(&authority).unwrap();
                let signature = pki.key.sign(unsigned.octets()).unwrap();
                unsigned.complete(&signature).unwrap()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, verdicts, parts, issue);
criterion_main!(benches);
