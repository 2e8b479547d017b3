//! A sandbox on loopback with a trust domain of its own, and permitted calls to it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, SanType};
use serde_json::{Value, json};
use spiffe::{SpiffeId, TrustDomain};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::attribute_certificate::{
    Admission, AdmissionPath, AuthorityCertificate, Template, Tier, Trust, TrustBundle, authenticate, parse, profile,
};
use crate::ceiling::{AuthorityCeiling, Ceilings, CeilingsFile, Rule, TargetCeiling};
use crate::clock;
use crate::contract::{Contract, Resource, SandboxResource, TargetKind};
use crate::decision::{
    Boundary, BoundaryStatus, Certified, Decision, EpochKnowledge, Facts, LiveState, Observed, Peer, Permit, RateCount,
    Rates, Request as Asked, Terms, Uses, evaluate,
};
use crate::digest::Digest;
use crate::epoch::{EpochParts, EpochStatement, Revoked};
use crate::identity::embedded::{Domain, EmbeddedIssuer, Grant};
use crate::identity::{ExecutionIdentity, Form, Identities, Issuer, folder};
use crate::key::SigningKey;
use crate::reason::Denial;
use crate::target::sandbox::Sandbox;
use crate::target::sandbox::server::{AuditError, PROTOCOLS, Server, serve};
use crate::target::{Fence, Performed, Target};
use crate::timestamp::Timestamp;
use crate::tls::{self, HTTP11, Limits};

pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A fence that lets everything pass, and counts.
#[derive(Default)]
pub(super) struct Open(pub(super) AtomicU64);

impl Fence for Open {
    fn pass(&self, write: &mut dyn FnMut()) -> Result<(), Denial> {
        self.0.fetch_add(1, Ordering::SeqCst);
        write();
        Ok(())
    }
}

/// A call to be permitted.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) verb: &'static str,
    pub(super) object: (&'static str, &'static str),
    pub(super) body: Option<Value>,
    pub(super) baseline: Value,
    pub(super) deadline: u32,
}

impl Ask {
    pub(super) fn new(verb: &'static str, body: Value, baseline: Value) -> Self {
        let body = (!body.is_null()).then_some(body);
        Self { verb, object: ("services", "checkout"), body, baseline, deadline: 20 }
    }

    pub(super) fn create() -> Self {
        Self::new("create", json!({"replicas": 3, "image": "shop:1"}), json!({"mode": "absent"}))
    }

    pub(super) fn merge(replicas: u32, baseline: Value) -> Self {
        Self::new("merge", json!({ "replicas": replicas }), baseline)
    }
}

pub(super) fn id(path: &str) -> SpiffeId {
    SpiffeId::new(format!("spiffe://example.org/{path}")).unwrap()
}

pub(super) fn now() -> Timestamp {
    clock::now().unwrap()
}

pub(super) fn checkout() -> SandboxResource {
    SandboxResource { collection: "services".to_owned(), name: "checkout".to_owned() }
}

/// An authority, and who trusts it.
struct Authority {
    key: SigningKey,
    chain: Vec<Vec<u8>>,
    trust: Trust,
}

impl Authority {
    fn new() -> Self {
        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, "root");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let mut leaf = CertificateParams::default();
        leaf.distinguished_name.push(DnType::CommonName, "authority");
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.subject_alt_names = vec![SanType::URI(id("sab").to_string().try_into().unwrap())];
        let key = KeyPair::generate().unwrap();
        let chain = vec![leaf.signed_by(&key, &root).unwrap().der().to_vec()];
        let bundle = TrustBundle::from_pem(TrustDomain::new("example.org").unwrap(), &root.pem()).unwrap();
        let key = SigningKey::from_pkcs8(key.serialized_der()).unwrap();
        Self { key, chain, trust: Trust::new([bundle], [id("sab")]) }
    }
}

/// A certificate over the contract, verified; each number gives another one.
fn certify(contract: &Contract, number: u32, (not_before, not_after): (Timestamp, Timestamp)) -> Certified {
    static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);
    let template = Template {
        serial: &(number + 1).to_be_bytes(),
        holder: &id("agent"),
        holder_key: None,
        broker: &id("seb"),
        not_before,
        not_after,
        contract,
        admission: &Admission {
            policy_digest: Digest::of(b"policy"),
            policy_epoch: 1,
            revocation_epoch: 1,
            evidence_digest: Digest::of(b"evidence"),
            path: AdmissionPath::Automatic,
            tier: Tier::Low,
            approvals: Vec::new(),
        },
    };
    let unsigned = template.prepare(&AuthorityCertificate::new(&AUTHORITY.chain[0]).unwrap()).unwrap();
    let signature = AUTHORITY.key.sign(unsigned.octets()).unwrap();
    let issued = unsigned.complete(&signature).unwrap();
    let profiled = profile(parse(issued.octets()).unwrap()).unwrap();
    Certified::from(&authenticate(profiled, &AUTHORITY.chain, &AUTHORITY.trust, now()).unwrap())
}

/// Leave to make the call, each time under another certificate and so under another mutation id.
pub(super) fn permit(ask: &Ask) -> Permit {
    static CERTIFICATES: AtomicU32 = AtomicU32::new(0);
    let number = CERTIFICATES.fetch_add(1, Ordering::SeqCst);
    let now = now();
    let whole = Timestamp::from_seconds(now.seconds()).unwrap();
    let (begin, end) = (Timestamp::from_seconds(now.seconds() - 60).unwrap(), whole.saturating_add(PATIENCE * 10));
    let (collection, name) = ask.object;
    let mut mutation = json!({"verb": ask.verb, "resource": {"collection": collection, "name": name}});
    if let Some(body) = &ask.body {
        mutation["body"] = body.clone();
    }
    let contract = json!({
        "schema": "seb.dev/contract/v1",
        "target": {"kind": "sandbox", "name": "sandbox"},
        "steps": [{"name": "step", "mutation": mutation, "baseline": ask.baseline}],
        "limits": {"uses": 1, "spacing_seconds": 0, "not_before": begin, "not_after": end},
        "deadline_seconds": ask.deadline,
    });
    let contract = Contract::compile(&contract.to_string()).unwrap();
    let certified = certify(&contract, number, (begin, end));
    let statement = EpochStatement::new(EpochParts {
        authority: id("sab"),
        sequence: 1,
        policy_epoch: 1,
        revocation_epoch: 1,
        revoked: Revoked::default(),
        issued_at: now,
        next_update: end,
    });
    let rule = Rule {
        verbs: ["create", "replace", "merge", "delete"].map(|verb| verb.parse().unwrap()).into(),
        resources: ["**".parse().unwrap()].into(),
        actions: BTreeSet::new(),
        parameters: Vec::new(),
    };
    let target = TargetCeiling {
        kind: TargetKind::Sandbox,
        rules: vec![rule],
        accounts: BTreeSet::new(),
        regions: BTreeSet::new(),
    };
    let authority = AuthorityCeiling { targets: BTreeSet::from(["sandbox".parse().unwrap()]) };
    let ceilings = CeilingsFile {
        targets: BTreeMap::from([("sandbox".parse().unwrap(), target)]),
        authorities: BTreeMap::from([(id("sab").to_string(), authority)]),
        ..CeilingsFile::default()
    };
    let rate = RateCount { executions: 0, per_seconds: 60 };
    let facts = Facts {
        certified,
        peer: Peer { id: id("agent"), key: Digest::of(b"key") },
        broker: id("seb"),
        request: Asked::default(),
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
        ceilings: Arc::new(Ceilings::new(ceilings).unwrap()),
    };
    match evaluate(&facts) {
        Decision::Allow(permit) => permit,
        Decision::Deny(denials) => panic!("{denials:?}"),
    }
}

/// A sandbox with its trust domain, and a broker.
pub(super) struct World {
    pub(super) directory: TempDir,
    pub(super) domain: Domain,
    pub(super) address: String,
    pub(super) issuer: EmbeddedIssuer,
    pub(super) sandbox: Sandbox,
    serving: Option<(CancellationToken, JoinHandle<()>)>,
}

impl World {
    pub(super) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let domain =
            Domain::init(&directory.path().join("domain"), &TrustDomain::new("example.org").unwrap(), now()).unwrap();
        for who in ["seb", "sab", "agent", "operator", "sandbox"] {
            let grant = Grant::new(id(who), directory.path().join(who), Duration::from_secs(3600), who == "seb");
            domain.issue(grant, now()).unwrap();
        }
        let broker = directory.path().join("seb");
        let issuer = EmbeddedIssuer::open(&broker).await.unwrap();
        let identities = folder::open(&broker).await.unwrap();
        let sandbox = Sandbox::new(String::new(), id("sandbox"), identities).unwrap();
        let mut world = Self { directory, domain, address: String::new(), issuer, sandbox, serving: None };
        world.start().await;
        world
    }

    pub(super) fn audit_file(&self) -> PathBuf {
        self.directory.path().join("audit.jsonl")
    }

    pub(super) async fn identities(&self, who: &str) -> Identities {
        folder::open(&self.directory.path().join(who)).await.unwrap()
    }

    /// Starts the sandbox, at another address than before.
    pub(super) async fn start(&mut self) {
        let readers = [id("seb"), id("sab")];
        let open = || Server::open(&self.audit_file(), readers.clone(), [id("operator")], true);
        // The one before lets the log go a moment after its last connection.
        let opened = async {
            loop {
                match open() {
                    Err(AuditError::File { source, .. }) if source.kind() == ErrorKind::WouldBlock => {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    opened => break opened.unwrap(),
                }
            }
        };
        let server = Arc::new(tokio::time::timeout(PATIENCE, opened).await.expect("the log is let go"));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = self.identities("sandbox").await;
        let incoming = tls::incoming(listener, own, PROTOCOLS, Limits::default()).unwrap();
        self.address = incoming.local_addr().to_string();
        self.sandbox = Sandbox::new(self.address.clone(), id("sandbox"), self.identities("seb").await).unwrap();
        let shutdown = CancellationToken::new();
        self.serving = Some((shutdown.clone(), tokio::spawn(serve(server, incoming, shutdown))));
    }

    /// Ends the sandbox, and waits until it has finished what was begun.
    pub(super) async fn stop(&mut self) {
        let (shutdown, serving) = self.serving.take().unwrap();
        shutdown.cancel();
        tokio::time::timeout(PATIENCE, serving).await.unwrap().unwrap();
    }

    pub(super) async fn mint(&self, terms: &Terms) -> ExecutionIdentity {
        let plan = self.issuer.plan(terms.mutation_id(), Form::X509, now(), terms.deadline()).unwrap();
        self.issuer.mint(plan).await.unwrap()
    }

    pub(super) async fn perform(&self, ask: &Ask) -> (Terms, Performed) {
        let permit = permit(ask);
        let terms = permit.terms().clone();
        let identity = self.mint(&terms).await;
        let fence = Open::default();
        let performed = self.sandbox.perform(permit.release(), identity, &fence);
        (terms, tokio::time::timeout(PATIENCE, performed).await.expect("it ends"))
    }

    /// Creates the service `checkout`; its uid.
    pub(super) async fn created(&self) -> String {
        let (_, performed) = self.perform(&Ask::create()).await;
        assert!(matches!(performed, Performed::Succeeded { .. }), "{performed:?}");
        match self.live().await {
            LiveState::Present { identity, .. } => identity,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn live(&self) -> LiveState {
        let fields = ["/replicas", "/public", ""].map(|pointer| pointer.parse().unwrap()).into();
        self.sandbox.read(&Resource::Sandbox(checkout()), &fields).await
    }

    /// The version of the service `checkout`.
    pub(super) async fn version(&self) -> u64 {
        match self.live().await {
            LiveState::Present { version, .. } => version.as_str().parse().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// The audit log, read as a file.
    pub(super) fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.audit_file()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Any request by any identity, as no driver would make it.
    pub(super) async fn raw(
        &self,
        who: &Identities,
        method: Method,
        path: &str,
        body: &Value,
    ) -> std::io::Result<(StatusCode, Value)> {
        let config = tls::client_config(who, [id("sandbox")], &[HTTP11]).unwrap();
        let stream = tls::connect(&self.address, config, PATIENCE).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
        tokio::spawn(connection);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder().method(method).uri(path).header("host", "sandbox");
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let response = sender.send_request(request).await.map_err(std::io::Error::other)?;
        let status = response.status();
        let octets = response.into_body().collect().await.map_err(std::io::Error::other)?.to_bytes();
        Ok((status, serde_json::from_slice(&octets).unwrap_or(Value::Null)))
    }

    /// Makes the next mutation go wrong.
    pub(super) async fn fault(&self, fault: &Value) {
        let operator = self.identities("operator").await;
        let (status, answer) = self.raw(&operator, Method::POST, "/v1/faults", fault).await.unwrap();
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
}
