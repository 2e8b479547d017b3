//! The authority through its real API: mutual TLS, roles, a sandbox to read, epochs and revocation.
#![cfg(test)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use seb::attribute_certificate::{Trust, TrustBundle, authenticate, parse, profile};
use seb::clock;
use seb::config::{self, Files};
use seb::epoch::{EpochStatement, Succession};
use seb::epoch_envelope;
use seb::grpc::serve::Drained;
use seb::identity::embedded::{Domain, Grant};
use seb::identity::{self, folder};
use seb::proto::sab::v1::epoch_service_client::EpochServiceClient;
use seb::proto::sab::v1::proposal::State;
use seb::proto::sab::v1::proposal_service_client::ProposalServiceClient;
use seb::proto::sab::v1::revocation_service_client::RevocationServiceClient;
use seb::proto::sab::v1::revoke_request::What;
use seb::proto::sab::v1::{
    EpochAcknowledgement, GetProposalRequest, ListProposalsRequest, ProposeRequest, RevokeRequest, SignedEpochStatement,
};
use seb::sab::config::SabConfig;
use seb::sab::serve::Sab;
use seb::target::sandbox::server::{self, PROTOCOLS, Server};
use seb::tls::{self, Connector, H2, Limits};
use spiffe::{SpiffeId, TrustDomain};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

const SAB: &str = "spiffe://example.org/sab";
const BROKER: &str = "spiffe://example.org/seb";
const PATIENCE: Duration = Duration::from_secs(60);

const SCALE: &str = r"
schema: seb.dev/proposal/v1
target: { kind: sandbox, name: shop }
steps:
  - mutation:
      verb: merge
      resource: { collection: services, name: checkout }
      body: { replicas: 10 }
      parameters:
        - pointer: /replicas
          bounds: { type: integer, minimum: 3, maximum: 50 }
    baseline: { mode: fields, fields: [/replicas] }
limits: { for: 3d }
justification: the sale
";

fn id(text: &str) -> SpiffeId {
    SpiffeId::new(text).unwrap()
}

/// A trust domain with a sandbox, an authority and everybody who talks to it.
struct World {
    folder: TempDir,
    address: SocketAddr,
    http: SocketAddr,
    reload: mpsc::Sender<()>,
    end: oneshot::Sender<()>,
    served: JoinHandle<Drained>,
    _sandbox: tokio_util::sync::DropGuard,
}

fn grant(domain: &Domain, folder: &Path, name: &str, spiffe_id: &str) -> PathBuf {
    let folder = folder.join(name);
    let grant = Grant::new(id(spiffe_id), folder.clone(), Duration::from_secs(3600), false);
    domain.issue(grant, clock::now().unwrap()).unwrap();
    folder
}

async fn sandbox(folder: &Path) -> (SocketAddr, CancellationToken) {
    let config = folder.join("sandbox.toml");
    let text = r#"
        listen = "127.0.0.1:0"
        identity = "sandbox"
        audit = "audit.log"
        readers = ["spiffe://example.org/sab"]
        [objects.services.checkout]
        replicas = 3
        image = "shop/checkout"
    "#;
    std::fs::write(&config, text).unwrap();
    let config = server::Config::read(&config).unwrap();
    let identities = identity::open(&config.source().unwrap()).await.unwrap().identities;
    let sandbox = Server::open(&config.audit, config.readers(), config.admins(), false).unwrap();
    let own = tls::peer(identities.borrow().svid().chain()).unwrap();
    sandbox.seed(&config.objects(), &own).await.unwrap();
    let listener = tokio::net::TcpListener::bind(config.listen).await.unwrap();
    let incoming = tls::incoming(listener, identities, PROTOCOLS, Limits::default()).unwrap();
    let address = incoming.local_addr();
    let end = CancellationToken::new();
    tokio::spawn(server::serve(Arc::new(sandbox), incoming, end.clone()));
    (address, end)
}

impl World {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let at = folder.path();
        let trust_domain = TrustDomain::new("example.org").unwrap();
        let domain = Domain::init(&at.join("domain"), &trust_domain, clock::now().unwrap()).unwrap();
        for (name, spiffe_id) in [
            ("sab", SAB),
            ("authority", SAB),
            ("sandbox", "spiffe://example.org/sandbox"),
            ("broker", BROKER),
            ("agent", "spiffe://example.org/agent/deployer"),
            ("other", "spiffe://example.org/agent/other"),
            ("operator", "spiffe://example.org/operator/alice"),
            ("nobody", "spiffe://example.org/nobody"),
        ] {
            grant(&domain, at, name, spiffe_id);
        }
        std::fs::create_dir(at.join("policies")).unwrap();
        std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700)
            .create(at.join("state"))
            .unwrap();
        for entry in std::fs::read_dir("policies/default").unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), at.join("policies").join(entry.file_name())).unwrap();
        }
        let (address, sandbox) = sandbox(at).await;
        std::fs::write(at.join("sab.toml"), configuration(address)).unwrap();
        Self::serve(folder, sandbox.drop_guard()).await
    }

    async fn serve(folder: TempDir, sandbox: tokio_util::sync::DropGuard) -> Self {
        let config = SabConfig::load(&folder.path().join("sab.toml")).unwrap_or_else(|error| panic!("{error}"));
        let sab = Sab::start(config).await.unwrap_or_else(|error| panic!("{}", error.chain()));
        let (address, http) = (sab.address(), sab.http_address());
        let (reload, reloads) = mpsc::channel(1);
        let (end, ended) = oneshot::channel::<()>();
        let served = tokio::spawn(async move {
            let ended = async { drop(ended.await) };
            sab.run(reloads, ended).await.unwrap()
        });
        Self { folder, address, http, reload, end, served, _sandbox: sandbox }
    }

    /// The same authority in another life.
    async fn restart(self) -> Self {
        self.end.send(()).unwrap();
        assert_eq!(self.served.await.unwrap(), Drained::Complete);
        Self::serve(self.folder, self._sandbox).await
    }

    async fn channel(&self, who: &str) -> Channel {
        let identities = folder::open(&self.folder.path().join(who)).await.unwrap();
        let config = tls::client_config(&identities, [id(SAB)], &[H2]).unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap().timeout(PATIENCE);
        endpoint.connect_with_connector(Connector::new(config, PATIENCE)).await.unwrap()
    }

    async fn proposals(&self, who: &str) -> ProposalServiceClient<Channel> {
        ProposalServiceClient::new(self.channel(who).await)
    }

    async fn propose(&self, who: &str, text: &str) -> Result<seb::proto::sab::v1::Proposal, Status> {
        let request = ProposeRequest { proposal: text.to_owned(), bind_to_key: false };
        self.proposals(who).await.propose(request).await.map(tonic::Response::into_inner)
    }

    async fn revoke(&self, who: &str, what: What) -> Result<seb::proto::sab::v1::RevokeResponse, Status> {
        let request = RevokeRequest { what: Some(what), cause: "a test".to_owned() };
        let mut client = RevocationServiceClient::new(self.channel(who).await);
        client.revoke(request).await.map(tonic::Response::into_inner)
    }

    fn trust(&self) -> Trust {
        let bundle = std::fs::read_to_string(self.folder.path().join("broker/bundle.pem")).unwrap();
        Trust::new([TrustBundle::from_pem(TrustDomain::new("example.org").unwrap(), &bundle).unwrap()], [id(SAB)])
    }

    /// A broker that listens.
    async fn listen(&self, who: &str) -> Result<Listening, Status> {
        self.listen_by(who, 1000, 200).await
    }

    /// A broker that goes by these bounds.
    async fn listen_by(&self, who: &str, staleness_ms: u32, max_clock_skew_ms: u32) -> Result<Listening, Status> {
        let (acknowledge, acknowledgements) = mpsc::channel(16);
        let opening = EpochAcknowledgement { sequence: 0, staleness_ms, max_clock_skew_ms };
        acknowledge.send(opening).await.unwrap();
        let mut client = EpochServiceClient::new(self.channel(who).await);
        let answer = client.stream_epochs(ReceiverStream::new(acknowledgements)).await?;
        Ok(Listening { trust: self.trust(), statements: answer.into_inner(), acknowledge, newest: None })
    }

    async fn metrics(&self) -> String {
        self.http("/metrics").await
    }

    async fn http(&self, path: &str) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut socket = tokio::net::TcpStream::connect(self.http).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).await.unwrap();
        text
    }
}

struct Listening {
    trust: Trust,
    statements: Streaming<SignedEpochStatement>,
    acknowledge: mpsc::Sender<EpochAcknowledgement>,
    newest: Option<EpochStatement>,
}

impl Listening {
    /// The next statement, as a broker takes it: signed by the authority, and taking nothing back.
    async fn next(&mut self) -> EpochStatement {
        let signed = tokio::time::timeout(PATIENCE, self.statements.message()).await.unwrap().unwrap().unwrap();
        let now = clock::now().unwrap();
        let statement = epoch_envelope::open(&signed.envelope, &signed.chain, &self.trust, now).unwrap();
        assert_eq!(statement.succeeds(self.newest.as_ref()), Ok(Succession::Newer));
        self.newest = Some(statement.clone());
        statement
    }

    async fn acknowledge(&self, sequence: u64) {
        let acknowledgement = EpochAcknowledgement { sequence, ..EpochAcknowledgement::default() };
        self.acknowledge.send(acknowledgement).await.unwrap();
    }
}

fn configuration(sandbox: SocketAddr) -> String {
    format!(
        r#"
        [identity]
        folder = "sab"
        [authority]
        folder = "authority"
        [grpc]
        listen = "127.0.0.1:0"
        [http]
        listen = "127.0.0.1:0"
        [store]
        records = "state/records.db"
        ledger = "state/ledger.db"
        record_key = "state/record.key"
        [policies]
        folder = "policies"
        [[targets]]
        name = "shop"
        kind = "sandbox"
        address = "{sandbox}"
        server_id = "spiffe://example.org/sandbox"
        broker = "{BROKER}"
        [epochs]
        brokers = ["{BROKER}"]
        heartbeat = "50ms"
        staleness = "1s"
        max_clock_skew = "200ms"
        [roles]
        agents = ["spiffe://example.org/agent/*"]
        operators = ["spiffe://example.org/operator/alice"]
        "#
    )
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proposal_becomes_a_certificate_over_what_the_sandbox_shows() {
    let world = World::new().await;
    let proposal = world.propose("agent", SCALE).await.unwrap();
    assert_eq!(proposal.state(), State::Admitted, "{:?}", proposal.explanations);
    let profiled = profile(parse(&proposal.certificate).unwrap()).unwrap();
    let verified = authenticate(profiled, &proposal.chain, &world.trust(), clock::now().unwrap()).unwrap();
    assert_eq!((verified.holder().path(), verified.broker()), ("/agent/deployer", &id(BROKER)));
    assert!(proposal.contract.contains(r#""fields":{"/replicas":3}"#), "{}", proposal.contract);
    assert_eq!((proposal.tier.as_str(), proposal.policies.as_slice()), ("low", &["scale-service".to_owned()][..]));

    // Bound to the caller's key, as its connection shows it.
    let request = ProposeRequest { proposal: SCALE.to_owned(), bind_to_key: true };
    let bound = world.proposals("agent").await.propose(request).await.unwrap().into_inner();
    let svid = std::fs::read_to_string(world.folder.path().join("agent/svid.pem")).unwrap();
    let leaf = &seb::attribute_certificate::read_certificates(&svid).unwrap()[0];
    let key = seb::attribute_certificate::public_key_digest(leaf).unwrap();
    assert_eq!(profile(parse(&bound.certificate).unwrap()).unwrap().holder_key(), Some(&key));

    let metrics = world.metrics().await;
    assert!(metrics.contains(r#"sab_proposals_total{outcome="admitted",tier="low"} 2"#), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_pending_and_unreadable_proposals_say_what_to_do() {
    let world = World::new().await;
    let refused =
        world.propose("agent", &SCALE.replace("body: { replicas", "body: { image: evil, replicas")).await.unwrap();
    assert_eq!(refused.state(), State::Refused);
    assert!(refused.explanations[0].starts_with("no policy permits"), "{:?}", refused.explanations);
    assert!(refused.certificate.is_empty());

    let pending = world.propose("agent", &SCALE.replace("maximum: 50", "maximum: 500")).await.unwrap();
    assert_eq!((pending.state(), pending.tier.as_str()), (State::Pending, "moderate"));
    assert_eq!(pending.explanations, ["fewer than 1 or more than 50 replicas"]);
    assert!(pending.expires_at.is_some() && pending.certificate.is_empty());

    let error = world.propose("agent", &SCALE.replace("verb", "verbs")).await.unwrap_err();
    assert_eq!((error.code(), reason(&error).as_str()), (Code::InvalidArgument, "invalid_request"));
    assert!(error.message().contains("/steps/0/mutation"), "{}", error.message());

    // Each agent sees its own, operators see all.
    let list = ListProposalsRequest { page_size: 1, ..ListProposalsRequest::default() };
    let mut agent = world.proposals("agent").await;
    let page = agent.list_proposals(list.clone()).await.unwrap().into_inner();
    assert_eq!(page.proposals[0].id, pending.id);
    let second = ListProposalsRequest { page_token: page.next_page_token, ..list.clone() };
    let page = agent.list_proposals(second).await.unwrap().into_inner();
    assert_eq!((page.proposals[0].id.as_str(), page.next_page_token.as_str()), (refused.id.as_str(), ""));
    let get = GetProposalRequest { id: refused.id.clone() };
    assert_eq!(agent.get_proposal(get.clone()).await.unwrap().into_inner(), refused);
    let mut other = world.proposals("other").await;
    assert_eq!(other.get_proposal(get.clone()).await.unwrap_err().code(), Code::NotFound);
    assert!(other.list_proposals(list.clone()).await.unwrap().into_inner().proposals.is_empty());
    let mut operator = world.proposals("operator").await;
    assert_eq!(operator.get_proposal(get).await.unwrap().into_inner(), refused);
    let filter = ListProposalsRequest { state: State::Pending.into(), ..ListProposalsRequest::default() };
    assert_eq!(operator.list_proposals(filter).await.unwrap().into_inner().proposals.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_does_what_its_roles_do_not_allow() {
    let world = World::new().await;
    for who in ["nobody", "broker", "operator", "sandbox"] {
        let error = world.propose(who, SCALE).await.unwrap_err();
        assert_eq!((error.code(), reason(&error).as_str()), (Code::PermissionDenied, "method_not_allowed"), "{who}");
    }
    for who in ["nobody", "broker", "agent"] {
        let error = world.revoke(who, What::Everything(true)).await.unwrap_err();
        assert_eq!(error.code(), Code::PermissionDenied, "{who}");
    }
    for who in ["nobody", "agent", "operator"] {
        assert_eq!(world.listen(who).await.err().map(|error| error.code()), Some(Code::PermissionDenied), "{who}");
    }
    let mut broker = world.listen("broker").await.unwrap();
    assert_eq!(broker.next().await.parts().revocation_epoch, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_revoke_answers_when_the_broker_has_acknowledged() {
    let world = World::new().await;
    // Answers once what an earlier process may have said is stale everywhere: from then on only who listens counts.
    let unrelated = seb::digest::Digest::of(b"unrelated").to_string();
    world.revoke("operator", What::Contract(unrelated)).await.unwrap();
    let mut broker = world.listen("broker").await.unwrap();
    broker.next().await;
    let holder = "spiffe://example.org/agent/deployer";
    let world = Arc::new(world);
    let asked = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.revoke("operator", What::Holder(holder.to_owned())).await }
    });
    let sequence = loop {
        let statement = broker.next().await;
        if statement.parts().revoked.holders.contains(&id(holder)) {
            break statement.parts().sequence;
        }
        broker.acknowledge(statement.parts().sequence).await;
    };
    // Not before this very statement is acknowledged.
    assert!(!asked.is_finished());
    broker.acknowledge(sequence).await;
    let revoked = asked.await.unwrap().unwrap();
    assert!(revoked.sequence <= sequence);
    assert_eq!(revoked.brokers.len(), 1, "{:?}", revoked.brokers);
    assert!(revoked.brokers[0].acknowledged && revoked.brokers[0].broker == BROKER);
    let refused = world.propose("agent", SCALE).await.unwrap();
    assert_eq!(refused.state(), State::Refused);
    assert_eq!(world.propose("other", SCALE).await.unwrap().state(), State::Admitted);
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_revoke_waits_for_the_lease_of_a_broker_that_says_nothing() {
    let world = World::new().await;
    let mut silent = world.listen("broker").await.unwrap();
    silent.next().await;
    let began = tokio::time::Instant::now();
    let revoked = world.revoke("operator", What::Everything(true)).await.unwrap();
    // Staleness and twice the skew: by then whatever it knows is stale.
    assert!(began.elapsed() >= Duration::from_millis(1400), "{:?}", began.elapsed());
    assert!(!revoked.brokers.is_empty() && revoked.brokers.iter().all(|broker| !broker.acknowledged));
    loop {
        if silent.next().await.parts().revocation_epoch == 1 {
            break;
        }
    }
    let error = world.revoke("operator", What::Everything(false)).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_a_restart_takes_nothing_back() {
    let world = World::new().await;
    let admitted = world.propose("agent", SCALE).await.unwrap();
    let certificate = parse(&admitted.certificate).unwrap().digest().unwrap();
    world.revoke("operator", What::Certificate(certificate.to_string())).await.unwrap();
    let mut before = world.listen("broker").await.unwrap();
    let newest = before.next().await;
    assert!(newest.parts().revoked.certificates.contains(&certificate));
    drop(before.acknowledge);
    drop(before.statements);
    let world = world.restart().await;
    let mut after = world.listen("broker").await.unwrap();
    after.newest = Some(newest);
    assert!(after.next().await.parts().revoked.certificates.contains(&certificate));
    let get = GetProposalRequest { id: admitted.id.clone() };
    assert_eq!(world.proposals("agent").await.get_proposal(get).await.unwrap().into_inner(), admitted);
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_a_broker_that_may_act_for_longer_than_revocations_wait_hears_nothing() {
    let world = World::new().await;
    for (staleness, skew, field) in [(1001, 200, "staleness_ms"), (1000, 201, "max_clock_skew_ms")] {
        let mut listening = world.listen_by("broker", staleness, skew).await.unwrap();
        let status = tokio::time::timeout(PATIENCE, listening.statements.message()).await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        let details = status.get_details_bad_request().unwrap();
        let violation = &details.field_violations[0];
        assert_eq!(violation.field, field);
        assert!(violation.description.contains(&format!("lower `ceilings.knowledge.{field}`")), "{violation:?}");
    }
    world.listen_by("broker", 0, 0).await.unwrap().next().await;
    world.listen("broker").await.unwrap().next().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_policies_that_break_refuse_everything_and_say_so() {
    let world = World::new().await;
    let broken = world.folder.path().join("policies/zz.cedar");
    std::fs::write(&broken, "permit (principal, action resource);").unwrap();
    world.reload.send(()).await.unwrap();
    let until = |state: State| {
        let world = &world;
        async move {
            for _ in 0..600 {
                if world.propose("agent", SCALE).await.unwrap().state() == state {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            panic!("never {state:?}");
        }
    };
    let shown = |path: &'static str, text: &'static str, there: bool| {
        let world = &world;
        async move {
            for _ in 0..600 {
                if world.http(path).await.contains(text) == there {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            panic!("{path} never says {text}");
        }
    };
    until(State::Refused).await;
    shown("/metrics", "sab_policies_broken 1", true).await;
    // Some of the work goes on: revocations and epochs.
    shown("/readyz", "ready\npolicies: broken: every proposal is refused", true).await;
    std::fs::remove_file(&broken).unwrap();
    world.reload.send(()).await.unwrap();
    until(State::Admitted).await;
    shown("/metrics", "sab_policies_broken 0", true).await;
    shown("/readyz", "policies", false).await;

    // A folder that is gone holds no policy: what it was to replace is not in force either.
    let [folder, away] = ["policies", "away"].map(|name| world.folder.path().join(name));
    std::fs::rename(&folder, &away).unwrap();
    world.reload.send(()).await.unwrap();
    until(State::Refused).await;
    shown("/metrics", "sab_policies_broken 1", true).await;
    std::fs::rename(&away, &folder).unwrap();
    world.reload.send(()).await.unwrap();
    until(State::Admitted).await;
    shown("/metrics", "sab_policies_broken 0", true).await;
}

#[test]
fn the_example_configuration_is_one() {
    let text = std::fs::read_to_string("examples/sab.toml").unwrap();
    let config = config::parse(&text, "examples/sab.toml", Files::Ignore, SabConfig::read);
    let config = config.unwrap_or_else(|wrong| panic!("{wrong}"));
    assert_eq!(config.targets.len(), 1);
    assert!(Path::new("policies/default").is_dir());
}

#[test]
fn everything_that_is_wrong_with_a_configuration_is_said_at_once() {
    let text = std::fs::read_to_string("examples/sab.toml").unwrap();
    let text = text
        .replace("[roles]", "heartbeat = \"1s\"\n[roles]")
        .replace("broker = \"spiffe://example.org/seb\"", "broker = \"spiffe://example.org/other\"")
        .replace("agents =", "agent =")
        .replace("ledger.db", "records.db");
    let wrong = config::parse(&text, "sab.toml", Files::Ignore, SabConfig::read).unwrap_err().to_string();
    for part in [
        "`roles.agent`: there is no such key; did you mean `agents`?",
        "`epochs.heartbeat`: is longer than half",
        "the same file",
    ] {
        assert!(wrong.contains(part), "{part}: {wrong}");
    }
}
