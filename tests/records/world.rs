//! A broker's log as the broker would write it: real certificates, real decisions, a real store.

use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use seb::attribute_certificate::{SignatureAlgorithm, Template, Trust, TrustBundle, authenticate, parse, profile};
use seb::ceiling::Ceilings;
use seb::contract::{Contract, Json, Number};
use seb::decision::{
    Boundary, BoundaryStatus, Certified, Decision, EpochKnowledge, Facts, LiveState, Observed, Peer, RateCount, Rates,
    Request, Uses, evaluate,
};
use seb::digest::Digest;
use seb::epoch::{EpochParts, EpochStatement, Revoked};
use seb::execution::{Outcome, State};
use seb::key::SigningKey;
use seb::reason::Denial;
use seb::record::{
    self, Artefact, DecisionContext, Draft, Drift, KeyBinding, OutcomeParts, PlannedIdentity, Presented, PublicKey,
    RefusalParts, Timings, media,
};
use seb::store::sqlite::{Options, Sqlite};
use seb::store::{Claim, Claimed, EpochMark, Store, UseKey};
use seb::timestamp::Timestamp;

use crate::support::{AUTHORITY, BROKER, HOLDER, Pki, admission, at, contract, id};

pub const NOW: &str = "2026-11-24T09:30:00Z";

pub struct World {
    pub pki: Pki,
    pub store: Sqlite,
    trust: Trust,
    trust_artefact: Artefact,
    ceilings: Arc<Ceilings>,
    statement: Arc<EpochStatement>,
}

fn ceilings() -> Ceilings {
    let text = r#"{
        "targets": { "sandbox": { "kind": "sandbox", "rules": [ {
            "verbs": ["merge"], "resources": ["services/*"],
            "parameters": [ { "pointer": "/replicas", "maximum": 40 } ]
        } ] } },
        "authorities": { "spiffe://example.org/sab": { "targets": ["sandbox"] } },
        "max_validity_seconds": 31536000
    }"#;
    serde_json::from_str(text).unwrap()
}

/// The first record, vouched for by an SVID that the trust domain's root issued.
pub fn genesis(pki: &Pki, key: &SigningKey) -> Draft {
    let identity = SigningKey::generate(SignatureAlgorithm::EcdsaP256Sha256).unwrap();
    let pair = KeyPair::from_pem(&identity.to_pkcs8_pem().unwrap()).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "broker");
    params.subject_alt_names = vec![SanType::URI(BROKER.try_into().unwrap())];
    let svid = params.signed_by(&pair, &pki.intermediate).unwrap();
    let key = PublicKey::from_spki(&key.public_key().unwrap()).unwrap();
    let binding = KeyBinding { broker: id(BROKER), key, time: at("2026-11-24T09:00:00Z") };
    let proof = identity.sign(&binding.to_be_signed()).unwrap();
    record::genesis(binding, vec![svid.der().to_vec(), pki.intermediate.der().to_vec()], &proof).unwrap()
}

impl World {
    pub async fn new(path: &Path) -> Self {
        let pki = Pki::new(SignatureAlgorithm::EcdsaP256Sha256);
        let key = SigningKey::generate(SignatureAlgorithm::Ed25519).unwrap();
        let first = genesis(&pki, &key);
        let store = Sqlite::open(Options::new(path), key).await.unwrap();
        store.append(first).await.unwrap();
        let roots = vec![pki.root.der().to_vec()];
        let domain = id(AUTHORITY).trust_domain().clone();
        let bundle = TrustBundle::from_der(domain.clone(), &roots).unwrap();
        let trust_artefact = record::trust_artefact([(&domain, &roots[..])], [&id(AUTHORITY)], &[]).unwrap();
        let statement = EpochStatement::new(EpochParts {
            authority: id(AUTHORITY),
            sequence: 12,
            policy_epoch: 7,
            revocation_epoch: 3,
            revoked: Revoked::default(),
            issued_at: at("2026-11-24T09:29:59Z"),
            next_update: at("2026-11-24T09:30:01Z"),
        })
        .unwrap();
        let draft = record::epoch(&statement, b"signed", at("2026-11-24T09:29:59Z")).unwrap();
        let mark = EpochMark { authority: id(AUTHORITY), sequence: 12, statement: b"signed".to_vec() };
        store.append_epoch(mark, draft).await.unwrap();
        let (ceilings, statement) = (Arc::new(ceilings()), Arc::new(statement));
        Self { pki, store, trust: Trust::new([bundle], [id(AUTHORITY)]), trust_artefact, ceilings, statement }
    }

    fn facts(&self, serial: u8, contract: &Contract, replicas: i64, live: i64) -> (Facts, Vec<u8>, Digest) {
        let certificate = self.pki.issue(&Template {
            serial: &[serial; 16],
            holder: &id(HOLDER),
            holder_key: None,
            broker: &id(BROKER),
            not_before: at("2026-11-01T00:00:00Z"),
            not_after: at("2026-11-30T23:59:59Z"),
            contract,
            admission: &admission(),
        });
        let octets = certificate.octets().to_vec();
        let now = at(NOW);
        let verified = authenticate(profile(parse(&octets).unwrap()).unwrap(), &self.pki.chain, &self.trust, now);
        let verified = verified.unwrap();
        let integer = |value| Json::from(Number::from_integer(value).unwrap());
        let mut request = Request::default();
        request.choice.values.insert("/replicas".parse().unwrap(), integer(replicas));
        let count = RateCount { executions: 0, per_seconds: self.ceilings.agent_rate(&id(HOLDER)).per_seconds };
        let facts = Facts {
            certified: Certified::from(&verified),
            peer: Peer { id: id(HOLDER), key: Digest::of(b"key") },
            broker: id(BROKER),
            request,
            observed: Observed {
                now,
                clock_stepped: false,
                epoch: Some(EpochKnowledge { statement: Arc::clone(&self.statement), age_ms: 20, skew_ms: -3 }),
                uses: Some(Uses { consumed: 0, last: None }),
                rates: Some(Rates { agent: count, authority: count }),
                boundary: Some(Boundary { status: BoundaryStatus::Proven, age_seconds: 5 }),
                live: LiveState::Present {
                    identity: "uid-1".to_owned(),
                    version: "4".to_owned().try_into().unwrap(),
                    fields: [("/replicas".parse().unwrap(), Some(integer(live)))].into(),
                    observed_at: now,
                },
                dry_run: None,
            },
            ceilings: Arc::clone(&self.ceilings),
        };
        (facts, octets, verified.bundle())
    }

    fn context(&self, certificate: Vec<u8>, bundle: Digest, decision: &Decision) -> DecisionContext {
        let artefact = |media_type, octets: &[u8]| Artefact::new(media_type, octets).unwrap();
        let identity = match decision {
            Decision::Allow(permit) => Some(PlannedIdentity {
                spiffe_id: id(&format!("spiffe://example.org/seb/execution/{}", permit.terms().mutation_id())),
                audiences: None,
                serial: Some("4b".to_owned()),
                not_after: permit.terms().deadline(),
            }),
            Decision::Deny(_) => None,
        };
        DecisionContext {
            presented: Presented {
                certificate: artefact(media::CERTIFICATE, &certificate),
                chain: self.pki.chain.iter().map(|der| artefact(media::CHAIN, der)).collect(),
                trust: self.trust_artefact.clone(),
            },
            bundle,
            source: Some(record::TrustSource::File),
            ceilings: artefact(media::CEILINGS, self.ceilings.to_canonical().as_bytes()),
            statement: Some(artefact(media::EPOCH, self.statement.to_canonical().as_bytes())),
            body: None,
            identity,
            grade: Some(seb::execution::Grade::Atomic),
            trace: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        }
    }

    /// Decides on a fresh certificate, appends the decision and, where it allows, the outcome. Returns the decision.
    pub async fn run(&self, serial: u8, replicas: i64, live: i64) -> Decision {
        let contract = contract();
        let (facts, octets, bundle) = self.facts(serial, &contract, replicas, live);
        let decision = evaluate(&facts);
        let draft = record::decision(&facts, &decision, self.context(octets, bundle, &decision)).unwrap();
        let Decision::Allow(permit) = &decision else {
            self.store.append(draft).await.unwrap();
            return decision;
        };
        let (terms, about) = (permit.terms(), draft.about.clone());
        let claim = Claim {
            certificate: terms.certificate(),
            ordinal: terms.ordinal(),
            uses: contract.limits().uses.try_into().unwrap(),
            use_key: UseKey::SINGLE,
            request: facts.request.digest(),
            mutation_id: terms.mutation_id().clone(),
            agent: facts.peer.id.clone(),
            authority: facts.certified.parts().authority.clone(),
            target: contract.target_name().clone(),
            at: facts.observed.now,
            agent_rate: None,
            authority_rate: None,
        };
        let claimed = self.store.decide(draft, claim).await.unwrap();
        let Claimed::New(head) = claimed else { panic!("{claimed:?}") };
        let ended = Outcome {
            state: State::Succeeded,
            reason: None,
            rejection: None,
            detail: "200".to_owned(),
            version: Some("5".to_owned().try_into().unwrap()),
            handle: None,
        };
        let draft = record::outcome(OutcomeParts {
            time: at("2026-11-24T09:30:01Z"),
            mutation_id: terms.mutation_id(),
            decision: head.number,
            about,
            outcome: &ended,
            drift: Some(Drift { grade: seb::execution::Grade::Atomic, window_ms: None }),
            answer: Some(Json::object([("status", Json::from(200))])),
            timings: Some(Timings { decide_us: 120, mint_us: 300, fence_us: 2, call_us: 900 }),
            evidence: None,
            trace: None,
        });
        self.store.complete(terms.mutation_id().clone(), State::Succeeded, draft.unwrap()).await.unwrap();
        decision
    }

    /// Denies, over a live state of 20 KiB.
    pub async fn run_with_large_facts(&self, serial: u8) {
        let (mut facts, octets, bundle) = self.facts(serial, &contract(), 20, 7);
        let LiveState::Present { fields, .. } = &mut facts.observed.live else { panic!() };
        fields.insert("/notes".parse().unwrap(), Some(Json::from("x".repeat(20_000))));
        let decision = evaluate(&facts);
        let draft = record::decision(&facts, &decision, self.context(octets, bundle, &decision)).unwrap();
        self.store.append(draft).await.unwrap();
    }

    /// Appends a denial whose words are not those of the decision.
    pub async fn run_falsely(&self, serial: u8, replicas: i64) {
        let (facts, octets, bundle) = self.facts(serial, &contract(), replicas, 3);
        let decision = evaluate(&facts);
        let mut draft = record::decision(&facts, &decision, self.context(octets, bundle, &decision)).unwrap();
        let text = draft.body.to_canonical();
        let detail = &decision.denials()[0].detail;
        let json = |text: &str| Json::from(text).to_canonical();
        let false_text = text.replace(&json(detail), &json("other words"));
        assert_ne!(false_text, text);
        draft.body = Json::parse(false_text.as_bytes()).unwrap();
        self.store.append(draft).await.unwrap();
    }

    /// A certificate that is refused before it is authenticated.
    pub async fn refuse(&self, octets: &[u8]) -> Denial {
        let now: Timestamp = at(NOW);
        let verified = parse(octets).and_then(profile).and_then(|c| authenticate(c, &self.pki.chain, &self.trust, now));
        let denial = verified.unwrap_err();
        let draft = record::refusal(&RefusalParts {
            time: now,
            caller: &id(HOLDER),
            denial: &denial,
            certificate: Some(octets),
            chain: &self.pki.chain,
            trust: Some(self.trust_artefact.clone()),
            request: Some(Digest::of(b"request")),
            trace: None,
        });
        self.store.append(draft.unwrap()).await.unwrap();
        denial
    }
}
