//! Leave to make a call of AWS, as a broker has it after a decision.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use seb::attribute_certificate::{SignatureAlgorithm, Template, authenticate, parse, profile};
use seb::ceiling::{AuthorityCeiling, Ceilings, CeilingsFile, Rule, TargetCeiling};
use seb::clock;
use seb::contract::{Contract, TargetKind};
use seb::decision::{
    Boundary, BoundaryStatus, Certified, Decision, EpochKnowledge, Facts, LiveState, Observed, Peer, Permit, RateCount,
    Rates, Request, Uses, evaluate,
};
use seb::digest::Digest;
use seb::epoch::{EpochParts, EpochStatement, Revoked};
use seb::reason::{Denial, Reason};
use seb::target::Fence;
use seb::timestamp::Timestamp;
use serde_json::{Value, json};

use crate::support::{AUTHORITY, BROKER, HOLDER, Pki, admission, id};

/// A fence that counts, and can be shut.
#[derive(Default)]
pub struct Gate {
    pub shut: AtomicBool,
    pub asked: AtomicU64,
}

impl Fence for Gate {
    fn pass(&self, write: &mut dyn FnMut()) -> Result<(), Denial> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.shut.load(Ordering::SeqCst) {
            return Err(Denial::new(Reason::RevokedCertificate, "in flight"));
        }
        write();
        Ok(())
    }
}

/// A call to be permitted.
#[derive(Clone)]
pub struct Ask {
    pub verb: &'static str,
    pub actions: Vec<&'static str>,
    pub arns: Vec<&'static str>,
    pub read: Value,
    pub body: Value,
    pub baseline: Value,
    pub deadline: u32,
    /// How many seconds ago it was decided.
    pub ago: u64,
}

impl Ask {
    /// A call that needs the action of its own name.
    pub fn new(verb: &'static str, arn: &'static str, body: Value) -> Self {
        let baseline = json!({"mode": "exact", "identity": arn, "version": "unknown"});
        Self { verb, actions: vec![verb], arns: vec![arn], read: Value::Null, body, baseline, deadline: 30, ago: 0 }
    }

    pub fn resource(&self) -> Value {
        let mut resource = json!({
            "account": "123456789012", "region": "eu-west-1", "actions": self.actions, "arns": self.arns,
        });
        if !self.read.is_null() {
            resource["read"] = self.read.clone();
        }
        resource
    }

    /// Leave to make it, each time under another certificate and so under another mutation id.
    pub fn permit(&self) -> Permit {
        static CERTIFICATES: AtomicU32 = AtomicU32::new(1);
        let now = Timestamp::from_millis(clock::now().unwrap().millis() - self.ago * 1000).unwrap();
        let begin = Timestamp::from_seconds(now.seconds() - 60).unwrap();
        let end = begin.saturating_add(Duration::from_secs(600));
        let mutation = json!({"verb": self.verb, "resource": self.resource(), "body": self.body});
        let contract = json!({
            "schema": "seb.dev/contract/v1",
            "target": {"kind": "aws", "name": "prod"},
            "steps": [{"name": "step", "mutation": mutation, "baseline": self.baseline}],
            "limits": {"uses": 1, "spacing_seconds": 0, "not_before": begin, "not_after": end},
            "deadline_seconds": self.deadline,
        });
        let contract = Contract::compile(&contract.to_string()).unwrap();
        let number = CERTIFICATES.fetch_add(1, Ordering::SeqCst);
        let facts = self.facts(certify(&contract, number, (begin, end)), now, end);
        match evaluate(&facts) {
            Decision::Allow(permit) => permit,
            Decision::Deny(denials) => panic!("{denials:?}"),
        }
    }

    fn facts(&self, certified: Certified, now: Timestamp, end: Timestamp) -> Facts {
        let statement = EpochStatement::new(EpochParts {
            authority: id(AUTHORITY),
            sequence: 1,
            policy_epoch: 7,
            revocation_epoch: 3,
            revoked: Revoked::default(),
            issued_at: now,
            next_update: end,
        });
        let rate = RateCount { executions: 0, per_seconds: 60 };
        Facts {
            certified,
            peer: Peer { id: id(HOLDER), key: Digest::of(b"key") },
            broker: id(BROKER),
            request: Request::default(),
            observed: Observed {
                now,
                clock_stepped: false,
                epoch: Some(EpochKnowledge { statement: Arc::new(statement.unwrap()), age_ms: 0, skew_ms: 0 }),
                uses: Some(Uses { consumed: 0, last: None }),
                rates: Some(Rates { agent: rate, authority: rate }),
                boundary: Some(Boundary { status: BoundaryStatus::Proven, age_seconds: 0 }),
                live: LiveState::Deferred,
                dry_run: None,
            },
            ceilings: Arc::new(self.ceilings()),
        }
    }

    fn ceilings(&self) -> Ceilings {
        let rule = Rule {
            verbs: BTreeSet::from([self.verb.parse().unwrap()]),
            resources: ["**".parse().unwrap()].into(),
            actions: self.actions.iter().map(|action| action.parse().unwrap()).collect(),
            parameters: Vec::new(),
        };
        let target = TargetCeiling {
            kind: TargetKind::Aws,
            rules: vec![rule],
            accounts: BTreeSet::from(["123456789012".to_owned()]),
            regions: BTreeSet::from(["eu-west-1".to_owned()]),
        };
        let name = || "prod".parse().unwrap();
        let authority = AuthorityCeiling { targets: BTreeSet::from([name()]) };
        let file = CeilingsFile {
            targets: BTreeMap::from([(name(), target)]),
            authorities: BTreeMap::from([(AUTHORITY.to_owned(), authority)]),
            ..CeilingsFile::default()
        };
        Ceilings::new(file).unwrap()
    }
}

fn certify(contract: &Contract, number: u32, (not_before, not_after): (Timestamp, Timestamp)) -> Certified {
    static PKI: std::sync::OnceLock<Pki> = std::sync::OnceLock::new();
    let pki = PKI.get_or_init(|| Pki::new(SignatureAlgorithm::EcdsaP256Sha256));
    let issued = pki.issue(&Template {
        serial: &number.to_be_bytes(),
        holder: &id(HOLDER),
        holder_key: None,
        broker: &id(BROKER),
        not_before,
        not_after,
        contract,
        admission: &admission(),
    });
    let profiled = profile(parse(issued.octets()).unwrap()).unwrap();
    Certified::from(&authenticate(profiled, &pki.chain, &pki.trust(), clock::now().unwrap()).unwrap())
}
