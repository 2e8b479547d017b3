//! A broker with everything around it, on loopback: a trust domain, a sandbox target that can be made to fail, an
//! authority that can be made to lie, agents and an auditor. The broker runs in this process, by a clock that can be
//! stepped, or as a process of its own, which can be killed.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod authority;
pub mod broker;
pub mod disk;
pub mod judge;
pub mod sandbox;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use seb::attribute_certificate::{Admission, AdmissionPath, Template, Tier};
use seb::clock;
use seb::contract::Contract;
use seb::digest::Digest;
use seb::identity::embedded::{Domain, Grant};
use seb::identity::{Identities, folder};
use seb::key::fresh_serial;
use seb::proto::seb::v1::ExecuteRequest;
use seb::sab::authority::Authority;
use seb::timestamp::Timestamp;
use serde_json::{Value, json};
use spiffe::{SpiffeId, TrustDomain};
use tempfile::TempDir;

use self::authority::Epochs;
use self::sandbox::Production;

/// How long anything may take on a machine that is busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The epochs that certificates are admitted in, unless a test says otherwise.
pub const EPOCH: u64 = 5;

pub fn id(path: &str) -> SpiffeId {
    SpiffeId::new(format!("spiffe://example.org/{path}")).unwrap()
}

pub fn now() -> Timestamp {
    clock::now().unwrap()
}

/// A whole second, so much from now.
pub fn seconds_from_now(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(now().seconds().saturating_add_signed(seconds)).unwrap()
}

/// Everything but the broker.
pub struct World {
    pub directory: TempDir,
    pub domain: Domain,
    pub authority: Arc<Authority>,
    pub epochs: Epochs,
    pub production: Production,
}

impl World {
    pub async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let trust_domain = TrustDomain::new("example.org").unwrap();
        let domain = Domain::init(&directory.path().join("domain"), &trust_domain, now()).unwrap();
        for who in ["seb", "sab", "sab-two", "sab-rogue", "agent/one", "agent/two", "operator", "auditor", "sandbox"] {
            let folder = directory.path().join(who.replace('/', "-"));
            domain.issue(Grant::new(id(who), folder, Duration::from_secs(7200), who == "seb"), now()).unwrap();
        }
        // The same agent after a renewal: another key.
        let renewed = directory.path().join("agent-one-renewed");
        domain.issue(Grant::new(id("agent/one"), renewed, Duration::from_secs(7200), false), now()).unwrap();
        let authority = Arc::new(Authority::in_folder(&directory.path().join("sab")).unwrap());
        let epochs = Epochs::serve(Arc::clone(&authority), identities(&directory, "sab").await).await;
        let production = Production::start(&directory).await;
        Self { directory, domain, authority, epochs, production }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub async fn identities(&self, who: &str) -> Identities {
        identities(&self.directory, who).await
    }

    /// A certificate for the contract `scale` of an object that was created for it.
    pub async fn scale(&self, name: &str) -> Certificate {
        let uid = self.production.create(name, 3).await;
        Certificate::scale(name, &uid)
    }

    /// What an agent sends to execute a certificate that scales to `replicas`.
    pub fn ask(&self, certificate: &Certificate, replicas: i64) -> ExecuteRequest {
        self.ask_of(&self.authority, certificate, replicas)
    }

    pub fn ask_of(&self, authority: &Authority, certificate: &Certificate, replicas: i64) -> ExecuteRequest {
        ExecuteRequest {
            certificate: certificate.issue(authority),
            chain: authority.chain().to_vec(),
            values: vec![value("/replicas", &replicas.to_string())],
            ..ExecuteRequest::default()
        }
    }
}

pub fn value(pointer: &str, json: &str) -> seb::proto::seb::v1::ParameterValue {
    seb::proto::seb::v1::ParameterValue { pointer: pointer.to_owned(), json: json.to_owned() }
}

pub async fn identities(directory: &TempDir, who: &str) -> Identities {
    folder::open(&directory.path().join(who.replace('/', "-"))).await.unwrap()
}

/// A certificate before it is issued: every field can be made wrong.
#[derive(Clone)]
pub struct Certificate {
    pub serial: Vec<u8>,
    pub holder: SpiffeId,
    pub holder_key: Option<Digest>,
    pub broker: SpiffeId,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    pub policy_epoch: u64,
    pub revocation_epoch: u64,
    pub contract: Value,
}

impl Certificate {
    /// For `agent/one`: to scale the service between 3 and 50 while it has 3 replicas.
    pub fn scale(name: &str, uid: &str) -> Self {
        let (not_before, not_after) = (seconds_from_now(-60), seconds_from_now(600));
        let contract = json!({
            "schema": "seb.dev/contract/v1",
            "target": { "kind": "sandbox", "name": "prod" },
            "steps": [{
                "name": "scale",
                "mutation": {
                    "verb": "merge",
                    "resource": { "collection": "services", "name": name },
                    "body": { "replicas": null },
                    "parameters": [{
                        "pointer": "/replicas", "required": true,
                        "bounds": { "type": "integer", "minimum": 3, "maximum": 50 },
                    }],
                },
                "baseline": { "mode": "fields", "identity": uid, "version": "1", "fields": { "/replicas": 3 } },
            }],
            "limits": { "uses": 1, "spacing_seconds": 0, "not_before": not_before, "not_after": not_after },
            "deadline_seconds": 20,
        });
        Self {
            serial: fresh_serial().unwrap().to_vec(),
            holder: id("agent/one"),
            holder_key: None,
            broker: id("seb"),
            not_before,
            not_after,
            policy_epoch: EPOCH,
            revocation_epoch: EPOCH,
            contract,
        }
    }

    /// The same with its contract's validity, too.
    pub fn valid(mut self, from: i64, to: i64) -> Self {
        (self.not_before, self.not_after) = (seconds_from_now(from), seconds_from_now(to));
        self.contract["limits"]["not_before"] = json!(self.not_before);
        self.contract["limits"]["not_after"] = json!(self.not_after);
        self
    }

    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The same with another value in its contract.
    pub fn set(mut self, pointer: &str, value: Value) -> Self {
        *self.contract.pointer_mut(pointer).unwrap() = value;
        self
    }

    pub fn contract(&self) -> Contract {
        Contract::compile(&self.contract.to_string()).unwrap()
    }

    pub fn issue(&self, authority: &Authority) -> Vec<u8> {
        let admission = Admission {
            policy_digest: Digest::of(b"policy"),
            policy_epoch: self.policy_epoch,
            revocation_epoch: self.revocation_epoch,
            evidence_digest: Digest::of(b"evidence"),
            path: AdmissionPath::Automatic,
            tier: Tier::Moderate,
            approvals: Vec::new(),
        };
        let issued = authority.issue(&Template {
            serial: &self.serial,
            holder: &self.holder,
            holder_key: self.holder_key,
            broker: &self.broker,
            not_before: self.not_before,
            not_after: self.not_after,
            contract: &self.contract(),
            admission: &admission,
        });
        issued.unwrap().octets().to_vec()
    }
}
