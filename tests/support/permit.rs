//! Leave to make one call, as a broker has it after a decision; and a fence to pass before it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use seb::attribute_certificate::{SignatureAlgorithm, Template, authenticate, parse, profile};
use seb::ceiling::{AuthorityCeiling, Ceilings, CeilingsFile, TargetCeiling};
use seb::clock;
use seb::contract::Contract;
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

pub fn now() -> Timestamp {
    clock::now().unwrap()
}

/// Leave to make the mutation at a target with this ceiling, each time under another certificate and so under another
/// mutation id.
pub fn permit(mutation: &Value, baseline: &Value, deadline: u32, ceiling: TargetCeiling) -> Permit {
    permit_at(now(), mutation, baseline, deadline, ceiling)
}

/// The same of a decision at `now`, which may be minutes ago.
pub fn permit_at(now: Timestamp, mutation: &Value, baseline: &Value, deadline: u32, ceiling: TargetCeiling) -> Permit {
    static CERTIFICATES: AtomicU32 = AtomicU32::new(1);
    let begin = Timestamp::from_seconds(now.seconds() - 60).unwrap();
    let end = begin.saturating_add(Duration::from_secs(600));
    let contract = json!({
        "schema": "seb.dev/contract/v1",
        "target": {"kind": ceiling.kind.as_str(), "name": "prod"},
        "steps": [{"name": "step", "mutation": mutation, "baseline": baseline}],
        "limits": {"uses": 1, "spacing_seconds": 0, "not_before": begin, "not_after": end},
        "deadline_seconds": deadline,
    });
    let contract = Contract::compile(&contract.to_string()).unwrap();
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
    let facts = Facts {
        certified: certify(&contract, CERTIFICATES.fetch_add(1, Ordering::SeqCst), (begin, end)),
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
        ceilings: Arc::new(ceilings(ceiling)),
    };
    match evaluate(&facts) {
        Decision::Allow(permit) => permit,
        Decision::Deny(denials) => panic!("{denials:?}"),
    }
}

fn certify(contract: &Contract, number: u32, (not_before, not_after): (Timestamp, Timestamp)) -> Certified {
    static PKI: OnceLock<Pki> = OnceLock::new();
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
    Certified::from(&authenticate(profiled, &pki.chain, &pki.trust(), now()).unwrap())
}

fn ceilings(target: TargetCeiling) -> Ceilings {
    let name = || "prod".parse().unwrap();
    let file = CeilingsFile {
        targets: BTreeMap::from([(name(), target)]),
        authorities: BTreeMap::from([(AUTHORITY.to_owned(), AuthorityCeiling { targets: BTreeSet::from([name()]) })]),
        ..CeilingsFile::default()
    };
    Ceilings::new(file).unwrap()
}
