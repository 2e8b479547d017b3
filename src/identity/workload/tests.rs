use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use spiffe::{X509Bundle, X509BundleSet};
use time::{Duration as Span, OffsetDateTime};

use super::*;
use crate::decision::MutationId;
use crate::digest::Digest;
use crate::identity::{ExecutionIdentity, Form, Issuer as _, MintError, Plan, WhileValid};

const A: &str = "spiffe://example.org/a";
const B: &str = "spiffe://example.org/b";

fn now() -> Timestamp {
    clock::now().unwrap()
}

fn config(id: Option<&str>, hint: Option<&str>) -> WorkloadApi {
    WorkloadApi {
        socket: "unix:/nowhere/agent.sock".parse().unwrap(),
        id: id.map(|id| SpiffeId::new(id).unwrap()),
        hint: hint.map(str::to_owned),
    }
}

/// An agent of one trust domain.
struct Agent {
    domain: TrustDomain,
    issuer: Issuer<'static, KeyPair>,
    certificate: Vec<u8>,
}

impl Agent {
    fn new(domain: &str) -> Self {
        let domain = TrustDomain::new(domain).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.subject_alt_names = vec![SanType::URI(domain.id_string().as_str().try_into().unwrap())];
        let certificate = params.self_signed(&key).unwrap().der().to_vec();
        Self { domain, issuer: Issuer::new(params, key), certificate }
    }

    fn svid(&self, id: &str, hint: Option<&str>, seconds: i64) -> Arc<X509Svid> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.not_after = OffsetDateTime::from_unix_timestamp(i64::try_from(now().seconds()).unwrap()).unwrap()
            + Span::seconds(seconds);
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let hint = hint.map(Arc::from);
        Arc::new(X509Svid::parse_from_der_with_hint(leaf.der(), key.serialized_der(), hint).unwrap())
    }

    fn bundle(&self) -> X509Bundle {
        X509Bundle::parse_from_der(self.domain.clone(), &self.certificate).unwrap()
    }
}

fn update(svids: Vec<Arc<X509Svid>>, bundles: impl IntoIterator<Item = X509Bundle>) -> X509Context {
    let mut set = X509BundleSet::new();
    bundles.into_iter().for_each(|bundle| set.add_bundle(bundle));
    X509Context::new(svids, set)
}

#[test]
fn the_svid_is_chosen_by_id_and_hint_and_never_by_order() {
    let agent = Agent::new("example.org");
    let svids = vec![agent.svid(A, Some("internal"), 60), agent.svid(B, Some("external"), 60), agent.svid(B, None, 60)];
    let chosen = |id, hint, svids: &[Arc<X509Svid>]| {
        choose(&config(id, hint), svids).map(|svid| (svid.spiffe_id().to_string(), svid.hint().map(str::to_owned)))
    };
    let external = (B.to_owned(), Some("external".to_owned()));
    let mut turned = svids.clone();
    turned.reverse();
    for svids in [&svids, &turned] {
        assert_eq!(chosen(Some(A), None, svids).unwrap().0, A);
        assert_eq!(chosen(None, Some("external"), svids).unwrap(), external);
        assert_eq!(chosen(Some(B), Some("external"), svids).unwrap(), external);
        assert!(matches!(chosen(None, None, svids), Err(WorkloadError::Several(_))));
        assert!(matches!(chosen(Some(B), None, svids), Err(WorkloadError::Several(_))));
        assert!(matches!(chosen(Some(A), Some("external"), svids), Err(WorkloadError::NoneFits(_))));
    }
    assert_eq!(chosen(None, None, &svids[..1]).unwrap().0, A);
    assert!(matches!(chosen(Some(B), None, &svids[..1]), Err(WorkloadError::NoneFits(_))));
}

#[test]
fn an_update_that_cannot_be_used_is_none() {
    let agent = Agent::new("example.org");
    let take = |update: &X509Context, id: Option<&str>| {
        let id = id.map(|id| SpiffeId::new(id).unwrap());
        identity(&config(None, None), update, id.as_ref(), now())
    };
    let svid = || vec![agent.svid(A, None, 60)];
    assert_eq!(take(&update(svid(), [agent.bundle()]), Some(A)).unwrap().id().to_string(), A);
    let other = take(&update(svid(), [agent.bundle()]), Some(B)).unwrap_err();
    assert!(matches!(other, WorkloadError::Other { .. }), "{other}");
    let ended = take(&update(vec![agent.svid(A, None, -5)], [agent.bundle()]), None).unwrap_err();
    assert!(matches!(ended, WorkloadError::Expired(_)), "{ended}");
    let missing = take(&update(svid(), [Agent::new("other.org").bundle()]), None).unwrap_err();
    assert!(matches!(missing, WorkloadError::NoBundle(_)), "{missing}");
    let empty = take(&update(svid(), [X509Bundle::new(agent.domain.clone())]), None).unwrap_err();
    assert!(matches!(empty, WorkloadError::Bundle { .. }), "{empty}");
    let many = (0..200).map(|number| X509Bundle::new(TrustDomain::new(format!("d{number}.org")).unwrap()));
    let many = take(&update(svid(), many.chain([agent.bundle()])), None).unwrap_err();
    assert!(matches!(many, WorkloadError::TooMany { bundles: 201, .. }), "{many}");
}

#[test]
fn i9_a_federated_bundle_that_cannot_be_used_lets_nobody_in_and_keeps_nobody_out() {
    let (agent, good) = (Agent::new("example.org"), Agent::new("good.org"));
    let bad = X509Bundle::new(TrustDomain::new("bad.org").unwrap());
    let update = update(vec![agent.svid(A, None, 60)], [agent.bundle(), good.bundle(), bad]);
    let identity = identity(&config(None, None), &update, None, now()).unwrap();
    let has = |name: &str| identity.bundle(&TrustDomain::new(name).unwrap()).is_some();
    assert_eq!([has("example.org"), has("good.org"), has("bad.org")], [true, true, false]);
    assert_eq!(identity.execution_bundle().unwrap().trust_domain().to_string(), "example.org");
}

#[tokio::test]
async fn an_agent_that_is_not_there_is_waited_for_a_bounded_time() {
    let folder = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", folder.path().join("agent.sock").display()).parse().unwrap();
    let begun = clock::instant();
    let patience = Duration::from_millis(500);
    let error = open(WorkloadApi { socket, id: None, hint: None }, patience).await.unwrap_err();
    assert!(matches!(error, WorkloadError::Agent { .. }), "{error}");
    assert!((patience..PATIENCE).contains(&begun.elapsed()));
}

#[test]
fn a_socket_is_an_absolute_path() {
    for (text, path) in [("unix:/run/a.sock", "/run/a.sock"), ("unix:///run/a.sock", "/run/a.sock")] {
        assert_eq!(text.parse::<Socket>().unwrap().path(), Path::new(path));
    }
    let long = format!("unix:/{}", "a".repeat(107));
    for text in ["", "/run/a.sock", "unix:", "unix:a.sock", "unix:/", "tcp://127.0.0.1:1", "unix://a/b/", &long] {
        assert_eq!(text.parse::<Socket>(), Err(InvalidSocket), "{text}");
    }
}

#[test]
fn waits_grow_are_bounded_and_begin_anew() {
    let mut backoff = Backoff::new(AGAIN);
    for attempt in 0..10 {
        let longest = (AGAIN.0 * 2_u32.pow(attempt)).min(AGAIN.1);
        let wait = backoff.next();
        assert!((longest / 2..=longest).contains(&wait), "{attempt}: {wait:?}");
    }
    backoff.reset();
    assert!(backoff.next() <= AGAIN.0);
}

/// Plans everything.
struct Willing;

impl crate::identity::Issuer for Willing {
    fn plan(&self, mutation: &MutationId, form: Form, now: Timestamp, end: Timestamp) -> Result<Plan, MintError> {
        Plan::new(&TrustDomain::new("example.org").unwrap(), mutation, form, None, now, end)
    }

    fn mint(&self, _: Plan) -> futures::future::BoxFuture<'_, Result<ExecutionIdentity, MintError>> {
        Box::pin(async { Err(MintError::Library) })
    }

    fn ends(&self) -> Option<Timestamp> {
        None
    }
}

#[test]
fn i9_nothing_is_planned_once_the_own_identity_has_ended_until_it_is_renewed() {
    let agent = Agent::new("example.org");
    let of = |seconds| {
        let update = update(vec![agent.svid(A, None, seconds)], [agent.bundle()]);
        Arc::new(identity(&config(None, None), &update, None, now()).unwrap())
    };
    let (sender, identities) = watch::channel(of(10));
    let issuer = WhileValid::new(Box::new(Willing), identities);
    let mutation = MutationId::derive(&Digest::of(b"certificate"), &"scale".parse().unwrap(), 1);
    let later = |seconds| now().saturating_add(Duration::from_secs(seconds));
    let plan = |at: Timestamp| issuer.plan(&mutation, Form::X509, at, at.saturating_add(Duration::from_secs(5)));
    plan(now()).unwrap();
    assert!(matches!(plan(later(12)), Err(MintError::Own(_))));
    sender.send_replace(of(60));
    plan(later(12)).unwrap();
}
