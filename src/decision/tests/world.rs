//! A world in which one call is allowed, and every part of which can be changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::json;
use spiffe::SpiffeId;

use crate::ceiling::{AuthorityCeiling, Ceilings, CeilingsFile, ParameterCeiling, Rate, Rule, TargetCeiling};
use crate::contract::{Contract, Json, Pointer, TargetKind};
use crate::decision::{
    Boundary, BoundaryStatus, Certified, CertifiedParts, Decision, DryRun, EpochKnowledge, Facts, LiveState, Observed,
    Peer, RateCount, Rates, Request, Uses, evaluate,
};
use crate::digest::Digest;
use crate::epoch::{EpochParts, EpochStatement, Revoked};
use crate::reason::Reason;
use crate::timestamp::Timestamp;

pub(super) const BODY: &[u8] = b"{\"replicas\":10}";

pub(super) fn id(path: &str) -> SpiffeId {
    SpiffeId::new(format!("spiffe://example.org/{path}")).unwrap()
}

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(super) fn pointer(text: &str) -> Pointer {
    text.parse().unwrap()
}

/// Everything that facts are made of, before it is put together.
#[derive(Clone)]
pub(super) struct World {
    /// Octets in the place of the contract's.
    pub(super) octets: Option<Vec<u8>>,
    pub(super) two_steps: bool,
    pub(super) detached: bool,
    pub(super) uses: u32,
    pub(super) spacing: u32,
    pub(super) limits: (Timestamp, Timestamp),
    pub(super) deadline: u32,
    pub(super) verb: &'static str,
    pub(super) baseline: serde_json::Value,
    pub(super) certificate: CertifiedParts,
    pub(super) ceilings: CeilingsFile,
    pub(super) epoch: Option<EpochParts>,
    pub(super) age_ms: u32,
    pub(super) skew_ms: i32,
    pub(super) revoke: Vec<&'static str>,
    pub(super) peer: Peer,
    pub(super) broker: SpiffeId,
    pub(super) request: Request,
    /// The contract that the request expects; `None` for the right one.
    pub(super) expected: Option<Digest>,
    pub(super) now: Timestamp,
    pub(super) clock_stepped: bool,
    pub(super) used: Option<Uses>,
    pub(super) rates: Option<Rates>,
    pub(super) boundary: Option<Boundary>,
    pub(super) live: LiveState,
    /// What came of the dry run that the contract asks for; `None` where it asks for none.
    pub(super) asked: Option<Option<DryRun>>,
}

impl World {
    pub(super) fn new() -> Self {
        let rule = Rule {
            verbs: ["merge", "create"].into_iter().map(|verb| verb.parse().unwrap()).collect(),
            resources: ["services/*".parse().unwrap()].into(),
            actions: BTreeSet::new(),
            parameters: vec![ParameterCeiling {
                pointer: pointer("/replicas"),
                minimum: None,
                maximum: Some(40.into()),
                values: None,
                optional: false,
            }],
        };
        let target = TargetCeiling {
            kind: TargetKind::Sandbox,
            rules: vec![rule],
            accounts: BTreeSet::new(),
            regions: BTreeSet::new(),
        };
        let name = "prod".parse().unwrap();
        let authority = AuthorityCeiling { targets: BTreeSet::from([name]) };
        let ceilings = CeilingsFile {
            targets: BTreeMap::from([("prod".parse().unwrap(), target)]),
            authorities: BTreeMap::from([(id("sab").to_string(), authority)]),
            max_uses: 3,
            ..CeilingsFile::default()
        };
        let agent_key = Digest::of(b"the agent's key");
        let mut request = Request { idempotency_key: Some("scale-1".parse().unwrap()), ..Request::default() };
        request.choice.values.insert(pointer("/replicas"), Json::from(10));
        Self {
            octets: None,
            two_steps: false,
            detached: false,
            uses: 3,
            spacing: 10,
            limits: (at("2026-11-24T09:00:00Z"), at("2026-11-24T10:00:00Z")),
            deadline: 30,
            verb: "merge",
            baseline: json!({"mode": "exact", "identity": "svc-1", "version": "42"}),
            certificate: CertifiedParts {
                digest: Digest::of(b"certificate"),
                authority: id("sab"),
                holder: id("agent"),
                holder_key: Some(agent_key),
                broker: id("broker"),
                not_before: at("2026-11-24T09:10:00Z"),
                not_after: at("2026-11-24T09:50:00Z"),
                policy_epoch: 7,
                revocation_epoch: 3,
                contract: Vec::new(),
            },
            ceilings,
            epoch: Some(EpochParts {
                authority: id("sab"),
                sequence: 100,
                policy_epoch: 7,
                revocation_epoch: 3,
                revoked: Revoked::default(),
                issued_at: at("2026-11-24T09:29:59Z"),
                next_update: at("2026-11-24T09:30:01Z"),
            }),
            age_ms: 200,
            skew_ms: -50,
            revoke: Vec::new(),
            peer: Peer { id: id("agent"), key: agent_key },
            broker: id("broker"),
            request,
            expected: None,
            now: at("2026-11-24T09:30:00Z"),
            clock_stepped: false,
            used: Some(Uses { consumed: 1, last: Some(at("2026-11-24T09:20:00Z")) }),
            rates: Some(Rates {
                agent: RateCount { executions: 5, per_seconds: 60 },
                authority: RateCount { executions: 5, per_seconds: 60 },
            }),
            boundary: Some(Boundary { status: BoundaryStatus::Proven, age_seconds: 60 }),
            live: LiveState::Present {
                identity: "svc-1".to_owned(),
                version: "42".parse().unwrap(),
                fields: BTreeMap::new(),
                observed_at: at("2026-11-24T09:29:59.900Z"),
            },
            asked: None,
        }
    }

    /// The rule of the only target.
    pub(super) fn rule(&mut self) -> &mut Rule {
        &mut self.ceilings.targets.values_mut().next().unwrap().rules[0]
    }

    pub(super) fn rate(&mut self) -> &mut Rate {
        &mut self.ceilings.rates.agent
    }

    fn contract(&self) -> String {
        let mut mutation = json!({
            "verb": self.verb,
            "resource": {"collection": "services", "name": "checkout"},
        });
        if self.detached {
            mutation["detached"] =
                json!({"media_type": "application/json", "size": BODY.len(), "digest": Digest::of(BODY)});
        } else {
            mutation["body"] = json!({"note": "scaled", "replicas": null});
            let bounds = json!({"type": "integer", "minimum": 3, "maximum": 50});
            mutation["parameters"] = json!([{"pointer": "/replicas", "required": true, "bounds": bounds}]);
        }
        let step = |name: &str| {
            let mut step = json!({"name": name, "mutation": mutation, "baseline": self.baseline});
            if self.asked.is_some() {
                step["dry_run"] = json!(true);
            }
            step
        };
        let steps = if self.two_steps { vec![step("scale"), step("again")] } else { vec![step("scale")] };
        let text = json!({
            "schema": "seb.dev/contract/v1",
            "target": {"kind": "sandbox", "name": "prod"},
            "steps": steps,
            "limits": {
                "uses": self.uses,
                "spacing_seconds": self.spacing,
                "not_before": self.limits.0,
                "not_after": self.limits.1,
            },
            "deadline_seconds": self.deadline,
        });
        Contract::compile(&text.to_string()).unwrap().canonical().to_owned()
    }

    pub(super) fn facts(&self) -> Facts {
        let octets = self.octets.clone().unwrap_or_else(|| self.contract().into_bytes());
        // As with real ones, certificates that say different things have different digests.
        let digest = Digest::of(format!("{:?}", self.certificate).as_bytes());
        let certified = Certified::new(CertifiedParts { digest, contract: octets, ..self.certificate.clone() });
        let epoch = self.epoch.clone().map(|mut parts| {
            for what in &self.revoke {
                let revoked = &mut parts.revoked;
                match *what {
                    "certificate" => _ = revoked.certificates.insert(certified.parts().digest),
                    "holder" => _ = revoked.holders.insert(certified.parts().holder.clone()),
                    "contract" => _ = revoked.contracts.insert(certified.contract_digest()),
                    "target" => _ = revoked.targets.insert("prod".parse().unwrap()),
                    other => panic!("{other}"),
                }
            }
            let statement = Arc::new(EpochStatement::new(parts).unwrap());
            EpochKnowledge { statement, age_ms: self.age_ms, skew_ms: self.skew_ms }
        });
        let expected_contract = Some(self.expected.unwrap_or(certified.contract_digest()));
        Facts {
            certified,
            peer: self.peer.clone(),
            broker: self.broker.clone(),
            request: Request { expected_contract, ..self.request.clone() },
            observed: Observed {
                now: self.now,
                clock_stepped: self.clock_stepped,
                epoch,
                uses: self.used,
                rates: self.rates,
                boundary: self.boundary,
                live: self.live.clone(),
                dry_run: self.asked.clone().flatten(),
            },
            ceilings: Arc::new(Ceilings::new(self.ceilings.clone()).unwrap()),
        }
    }

    pub(super) fn decide(&self) -> Decision {
        evaluate(&self.facts())
    }

    pub(super) fn reasons(&self) -> BTreeSet<Reason> {
        self.decide().denials().iter().map(|denial| denial.reason).collect()
    }
}
