use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use der::{Decode, Encode};
use spiffe::{SpiffeId, TrustDomain};
use tempfile::TempDir;
use webpki::KeyUsage;
use x509_cert::Certificate;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsage as UsageExtension, SubjectAltName};

use super::embedded::{Domain, DomainError, EmbeddedIssuer, Grant, Rotation};
use super::*;
use crate::clock;
use crate::contract::StepName;
use crate::decision::MutationId;
use crate::digest::Digest;
use crate::timestamp::Timestamp;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long a test waits for something that takes a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// A trust domain in a directory that is removed in the end.
struct World {
    directory: TempDir,
    domain: Domain,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let trust_domain = TrustDomain::new("example.org").unwrap();
        let domain = Domain::init(&directory.path().join("domain"), &trust_domain, now()).unwrap();
        Self { directory, domain }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn issue(&self, id: &str, folder: &str, ttl: Duration, execution_ca: bool) -> Result<Leaf, DomainError> {
        let id = SpiffeId::new(format!("spiffe://{id}")).unwrap();
        self.domain.issue(Grant::new(id, self.path(folder), ttl, execution_ca), now())
    }

    fn broker(&self) -> PathBuf {
        self.issue("example.org/seb", "broker", DAY, true).unwrap();
        self.path("broker")
    }
}

fn now() -> Timestamp {
    clock::now().unwrap()
}

fn mutation(ordinal: u32) -> MutationId {
    MutationId::derive(&Digest::of(b"certificate"), &"scale".parse::<StepName>().unwrap(), ordinal)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn files(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

async fn until<T>(receiver: &mut tokio::sync::watch::Receiver<Arc<T>>, found: impl Fn(&T) -> bool) {
    let wait = receiver.wait_for(|value| found(value));
    tokio::time::timeout(PATIENCE, wait).await.expect("in time").unwrap();
}

#[test]
fn everything_in_the_directory_and_in_folders_is_for_the_owner_alone() {
    let world = World::new();
    let broker = world.broker();
    assert_eq!((mode(&world.path("domain")), mode(&broker)), (0o700, 0o700));
    let all = [files(&world.path("domain/active")), files(&broker)].concat();
    assert_eq!(all.len(), 4 + 6);
    for path in all {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn what_others_can_reach_is_refused() {
    let world = World::new();
    let broker = world.broker();
    for open in [0o640, 0o604, 0o602, 0o610] {
        fs::set_permissions(broker.join("key.pem"), fs::Permissions::from_mode(open)).unwrap();
        let error = folder::read(&broker).unwrap_err();
        assert!(matches!(&error, folder::FolderError::File(FileError::Exposed { mode, .. }) if mode & 0o777 == open));
    }
    fs::set_permissions(world.path("domain"), fs::Permissions::from_mode(0o750)).unwrap();
    assert!(matches!(Domain::open(&world.path("domain")), Err(DomainError::File(FileError::Exposed { .. }))));
}

#[test]
fn a_folder_has_no_ca_key_unless_it_is_the_brokers() {
    let world = World::new();
    world.issue("example.org/agent/deployer", "agent", DAY, false).unwrap();
    let broker = world.broker();
    let agent: Vec<String> = files(&world.path("agent")).iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    for key in ["root-key.pem", "execution-ca-key.pem"] {
        let key = fs::read_to_string(world.path("domain/active").join(key)).unwrap();
        assert!(!agent.contains(&key));
    }
    let root = fs::read_to_string(world.path("domain/active/root-key.pem")).unwrap();
    assert!(files(&broker).iter().all(|path| fs::read_to_string(path).unwrap() != root));
    assert!(broker.join("execution-ca-key.pem").exists() && !world.path("agent/execution-ca-key.pem").exists());
}

#[test]
fn the_root_issues_no_execution_identity_and_nothing_outside_its_domain() {
    let world = World::new();
    for id in ["example.org/seb/execution/m-1", "example.org/seb/execution", "other.org/agent", "example.org"] {
        assert!(matches!(world.issue(id, "x", DAY, false), Err(DomainError::Id { .. })), "{id}");
    }
    assert!(matches!(world.issue("example.org/a", "x", Duration::from_secs(1), false), Err(DomainError::Lifetime(1))));
    assert!(world.domain.issued().unwrap().is_empty());
}

#[test]
fn a_trust_domain_begins_in_an_empty_directory() {
    let world = World::new();
    let again = Domain::init(&world.path("domain"), world.domain.trust_domain(), now());
    assert!(matches!(again, Err(DomainError::Occupied(_))));
    assert_eq!(Domain::open(&world.path("domain")).unwrap().trust_domain(), world.domain.trust_domain());
}

#[test]
fn svids_are_renewed_at_half_of_their_life_and_not_before() {
    let world = World::new();
    world.issue("example.org/a", "a", Duration::from_secs(1000), false).unwrap();
    let before = folder::read(&world.path("a")).unwrap();
    assert!(world.domain.renew(now().saturating_add(Duration::from_secs(450))).unwrap().is_empty());
    let renewed = world.domain.renew(now().saturating_add(Duration::from_secs(600))).unwrap();
    assert_eq!(renewed.len(), 1);
    let after = folder::read(&world.path("a")).unwrap();
    assert_eq!(after.id(), before.id());
    assert_ne!(after.svid().leaf().key, before.svid().leaf().key);
    assert!(after.svid().leaf().not_after > before.svid().leaf().not_after);
}

#[test]
fn a_folder_that_is_damaged_is_mended_and_one_that_is_gone_is_forgotten() {
    let world = World::new();
    world.issue("example.org/a", "a", DAY, false).unwrap();
    world.issue("example.org/b", "b", DAY, false).unwrap();
    fs::copy(world.path("b/key.pem"), world.path("a/key.pem")).unwrap();
    assert!(matches!(
        folder::read(&world.path("a")),
        Err(folder::FolderError::Svid { source: InvalidSvid::Mismatch, .. })
    ));
    fs::remove_dir_all(world.path("b")).unwrap();
    assert_eq!(world.domain.renew(now()).unwrap().len(), 1);
    folder::read(&world.path("a")).unwrap();
    assert_eq!(world.domain.issued().unwrap().len(), 1);
    assert!(!world.path("b").exists());
}

/// Whether `a` accepts the SVID of `b`.
fn accepts(a: &Path, b: &Path) -> bool {
    let (a, b) = (folder::read(a).unwrap(), folder::read(b).unwrap());
    let bundle = a.bundle(b.id().trust_domain()).unwrap();
    bundle.verify(&b.svid().chain()[0], &[], now(), KeyUsage::client_auth()).is_ok()
}

#[test]
fn cas_rotate_and_at_every_step_those_who_have_not_looked_yet_are_accepted() {
    let world = World::new();
    let folders = ["a", "late"].map(|name| {
        world.issue(&format!("example.org/{name}"), name, DAY, false).unwrap();
        world.path(name)
    });
    let [a, late] = &folders;
    // `late` reads its folder again only one step after everybody else.
    let stale = world.path("stale");
    let keep = || {
        fs::create_dir_all(&stale).unwrap();
        for path in files(late) {
            fs::copy(&path, stale.join(path.file_name().unwrap())).unwrap();
        }
    };
    assert!(world.domain.rotate(Rotation::Activate, now()).is_err());
    assert!(world.domain.rotate(Rotation::Retire, now()).is_err());
    let first = fs::read_to_string(world.path("domain/active/root.pem")).unwrap();
    for step in [Rotation::Prepare, Rotation::Activate, Rotation::Retire] {
        keep();
        assert_eq!(world.domain.rotate(step, now()).unwrap().len(), 2, "{step:?}");
        assert!(world.domain.rotate(step, now()).is_err(), "{step:?} twice");
        assert!(accepts(a, late) && accepts(late, a));
        assert!(accepts(a, &stale) && accepts(&stale, a), "{step:?}");
    }
    let bundle = fs::read_to_string(a.join("bundle.pem")).unwrap();
    assert!(!bundle.contains(&first), "the previous root is trusted no longer");
    assert_eq!(world.domain.cas().unwrap().len(), 1);
}

#[test]
fn the_keys_of_cas_that_were_rotated_out_are_destroyed_also_after_a_crash() {
    let world = World::new();
    world.broker();
    world.domain.rotate(Rotation::Prepare, now()).unwrap();
    // The first half of an activation.
    fs::rename(world.path("domain/active"), world.path("domain/previous")).unwrap();
    let domain = Domain::open(&world.path("domain")).unwrap();
    let mut previous = files(&world.path("domain/previous"));
    previous.sort();
    assert_eq!(previous, ["execution-ca.pem", "root.pem"].map(|name| world.path("domain/previous").join(name)));
    assert_eq!(domain.renew(now()).unwrap().len(), 1);
    folder::read(&world.path("broker")).unwrap();
}

#[tokio::test]
async fn a_rotation_reaches_who_holds_a_receiver() {
    let world = World::new();
    let broker = world.broker();
    let mut identities = folder::open(&broker).await.unwrap();
    let before = identities.borrow_and_update().svid().leaf().clone();
    world.domain.rotate(Rotation::Prepare, now()).unwrap();
    until(&mut identities, |identity| identity.svid().leaf().serial != before.serial).await;
    let bundle = identities.borrow().bundle(before.id.trust_domain()).unwrap().certificates().len();
    assert_eq!(bundle, 2);
}

#[tokio::test]
async fn a_change_that_cannot_be_used_leaves_the_identity_as_it_was() {
    let world = World::new();
    let broker = world.broker();
    let mut identities = folder::open(&broker).await.unwrap();
    let before = identities.borrow_and_update().svid().leaf().clone();
    let good = fs::read(broker.join("key.pem")).unwrap();
    fs::write(broker.join("key.pem"), "damaged").unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(2), identities.changed()).await.is_err());
    assert_eq!(*identities.borrow().svid().leaf(), before);
    fs::write(broker.join("key.pem"), good).unwrap();
    until(&mut identities, |identity| *identity.svid().leaf() == before).await;
}

#[tokio::test]
async fn i5_an_execution_identity_is_what_was_planned() {
    let world = World::new();
    let issuer = EmbeddedIssuer::open(&world.broker()).await.unwrap();
    let deadline = now().saturating_add(Duration::from_millis(30_500));
    let plan = issuer.plan(&mutation(1), Form::X509, now(), deadline).unwrap();
    assert_eq!(plan.id().to_string(), format!("spiffe://example.org/seb/execution/{}", mutation(1)));
    assert_eq!(mutation_of(plan.id()), Some(mutation(1)));
    let identity = issuer.mint(plan.clone()).await.unwrap();
    assert_eq!(identity.plan(), &plan);
    let leaf = Leaf::read(&identity.chain()[0]).unwrap();
    assert_eq!((&leaf.id, Some(&leaf.serial)), (plan.id(), plan.serial()));
    assert_eq!((leaf.not_before, leaf.not_after), (plan.not_before(), plan.not_after()));
    assert_eq!(leaf.not_after.seconds(), deadline.seconds());
    assert!((10..=11).contains(&now().since(leaf.not_before).as_secs()), "backdated by 10 s");

    let certificate = Certificate::from_der(&identity.chain()[0]).unwrap();
    let body = certificate.tbs_certificate();
    assert_eq!(body.subject().to_string(), format!("CN={},O=SEB", mutation(1)));
    let (critical, usage) = body.get_extension::<UsageExtension>().unwrap().unwrap();
    assert!(critical && usage.digital_signature());
    assert_eq!(usage.0.into_iter().count(), 1);
    let (_, purposes) = body.get_extension::<ExtendedKeyUsage>().unwrap().unwrap();
    let expected = [const_oid::db::rfc5280::ID_KP_CLIENT_AUTH, const_oid::db::rfc5280::ID_KP_SERVER_AUTH];
    assert_eq!(purposes.0, expected);
    let (_, names) = body.get_extension::<SubjectAltName>().unwrap().unwrap();
    assert!(matches!(names.0.as_slice(), [GeneralName::UniformResourceIdentifier(_)]));
}

#[tokio::test]
async fn i5_a_plan_has_a_fresh_serial_and_each_minting_a_fresh_key() {
    let world = World::new();
    let issuer = EmbeddedIssuer::open(&world.broker()).await.unwrap();
    let deadline = now().saturating_add(Duration::from_secs(5));
    let plan = || issuer.plan(&mutation(1), Form::X509, now(), deadline).unwrap();
    assert_ne!(plan().serial(), plan().serial());
    let plan = plan();
    let keys = [issuer.mint(plan.clone()).await.unwrap(), issuer.mint(plan).await.unwrap()]
        .map(|identity| Leaf::read(&identity.chain()[0]).unwrap().key);
    assert_ne!(keys[0], keys[1]);
}

#[tokio::test]
async fn a_plan_ends_neither_before_it_begins_nor_after_its_issuer() {
    let world = World::new();
    let issuer = EmbeddedIssuer::open(&world.broker()).await.unwrap();
    let past = Timestamp::from_millis(now().millis() - 1000).unwrap();
    assert!(matches!(issuer.plan(&mutation(1), Form::X509, now(), past), Err(MintError::Ended { .. })));
    let far = now().saturating_add(400 * DAY);
    assert!(matches!(issuer.plan(&mutation(1), Form::X509, now(), far), Err(MintError::IssuerEnds { .. })));
}

#[test]
fn a_jwt_svid_has_one_to_four_different_audiences() {
    let domain = TrustDomain::new("example.org").unwrap();
    let plan = |audiences: &[&str]| {
        let form = Form::Jwt { audiences: audiences.iter().map(|text| (*text).to_owned()).collect() };
        Plan::new(&domain, &mutation(1), form, None, now(), now())
    };
    let long = "a".repeat(MAX_AUDIENCE_OCTETS);
    for good in [&["cluster"][..], &["a", "b", "c", "d"], &["cluster", "urn:seb:call:1"], &[&long]] {
        assert_eq!(plan(good).unwrap().form().audiences().unwrap(), good);
    }
    for bad in [&[][..], &["a", "b", "c", "d", "e"], &["a", "a"], &[""], &["a b"], &["\u{fc}"], &[&format!("{long}a")]]
    {
        assert!(matches!(plan(bad), Err(MintError::Audiences(_))), "{bad:?}");
    }
}

#[tokio::test]
async fn i5_an_identity_of_another_form_is_not_given_up() {
    let world = World::new();
    let issuer = EmbeddedIssuer::open(&world.broker()).await.unwrap();
    let form = Form::Jwt { audiences: vec!["cluster".to_owned()] };
    let end = now().saturating_add(Duration::from_secs(5));
    let refused = issuer.plan(&mutation(1), form.clone(), now(), end).unwrap_err();
    assert!(matches!(refused, MintError::Form { form: "jwt", .. }), "{refused}");

    let plan = Plan::new(world.domain.trust_domain(), &mutation(1), form, None, now(), end).unwrap();
    let token = || ExecutionIdentity::jwt(plan.clone(), JwtSvid::new("secret".to_owned().into()));
    assert!(!format!("{:?} {:?}", token(), token().into_jwt().unwrap()).contains("secret"));
    assert!(token().chain().is_empty());
    assert_eq!(token().into_certified().unwrap_err(), WrongForm { has: "jwt", wanted: "x509" });
    assert_eq!(token().into_jwt().unwrap().as_str(), "secret");

    let plan = issuer.plan(&mutation(1), Form::X509, now(), end).unwrap();
    let certificate = issuer.mint(plan).await.unwrap();
    assert_eq!(certificate.into_jwt().unwrap_err(), WrongForm { has: "x509", wanted: "jwt" });
}

#[tokio::test]
async fn minting_goes_on_across_a_rotation() {
    let world = World::new();
    let broker = world.broker();
    let issuer = EmbeddedIssuer::open(&broker).await.unwrap();
    let mut identities = folder::open(&broker).await.unwrap();
    let mint = async || {
        let plan = issuer.plan(&mutation(1), Form::X509, now(), now().saturating_add(Duration::from_secs(30))).unwrap();
        issuer.mint(plan).await.unwrap()
    };
    let old = mint().await;
    world.domain.rotate(Rotation::Prepare, now()).unwrap();
    world.domain.rotate(Rotation::Activate, now()).unwrap();
    until(&mut identities, |identity| identity.execution_bundle().unwrap().certificates().len() == 2).await;
    let waiting = std::pin::pin!(async {
        loop {
            let new = mint().await;
            if new.chain()[1] != old.chain()[1] {
                break new;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let new = tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    let identity = Arc::clone(&identities.borrow());
    for minted in [&old, &new] {
        let bundle = identity.execution_bundle().unwrap();
        bundle.verify(&minted.chain()[0], &[], now(), KeyUsage::client_auth()).unwrap();
    }
}

#[tokio::test]
async fn i5_nothing_shows_a_key() {
    let world = World::new();
    let broker = world.broker();
    let issuer = EmbeddedIssuer::open(&broker).await.unwrap();
    let plan = issuer.plan(&mutation(1), Form::X509, now(), now().saturating_add(Duration::from_secs(5))).unwrap();
    let execution = issuer.mint(plan).await.unwrap();
    let identity = folder::read(&broker).unwrap();
    let mut shown = format!("{identity:?} {issuer:?} {execution:?} {:?}", world.domain);
    shown.push_str(&format!("{:?}", execution.into_certified().unwrap()));
    let lines = ["key.pem", "execution-ca-key.pem"].map(|name| fs::read_to_string(broker.join(name)).unwrap());
    for line in lines.iter().flat_map(|text| text.lines()).filter(|line| !line.starts_with("-----")) {
        assert!(!shown.contains(line));
    }
    // The kinds and the names are shown, and lists of octets are not, but for those of the public chain.
    assert!(shown.contains("ExecutionKey(not shown)") && shown.contains("m-"), "{shown}");
}

#[test]
fn i5_no_error_shows_a_key() {
    let world = World::new();
    let broker = world.broker();
    let secret = "c2VjcmV0IHNlY3JldCBzZWNyZXQ=";
    fs::write(broker.join("key.pem"), format!("-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----\n"))
        .unwrap();
    let error = folder::read(&broker).unwrap_err();
    assert!(matches!(error, folder::FolderError::Svid { source: InvalidSvid::Key, .. }));
    assert!(!format!("{error} {error:?}").contains(secret));
}

#[test]
fn only_a_leaf_svid_is_read_as_one() {
    use rcgen::{CertificateParams, IsCa, KeyPair, KeyUsagePurpose, SanType};
    let key = KeyPair::generate().unwrap();
    let certificate = |change: &dyn Fn(&mut CertificateParams)| {
        let mut params = CertificateParams::default();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.subject_alt_names = vec![SanType::URI("spiffe://example.org/a".try_into().unwrap())];
        change(&mut params);
        params.self_signed(&key).unwrap().der().to_vec()
    };
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    let good = certificate(&|_| {});
    let leaf = Leaf::read(&good).unwrap();
    assert_eq!(leaf.id.to_string(), "spiffe://example.org/a");
    assert_eq!(leaf.key, crate::attribute_certificate::public_key_digest(&good).unwrap());

    let bad: [(&str, Vec<u8>); 11] = [
        ("a CA", certificate(&|it| it.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained))),
        ("`digitalSignature`", certificate(&|it| it.key_usages = vec![KeyUsagePurpose::KeyEncipherment])),
        ("signing certificates", certificate(&|it| it.key_usages.push(KeyUsagePurpose::KeyCertSign))),
        ("signing certificates", certificate(&|it| it.key_usages.push(KeyUsagePurpose::CrlSign))),
        ("`keyUsage` is missing", certificate(&|it| it.key_usages.clear())),
        ("2 URIs", certificate(&|it| it.subject_alt_names.push(uri("spiffe://example.org/b")))),
        ("0 URIs", certificate(&|it| it.subject_alt_names.clear())),
        ("not a workload", certificate(&|it| it.subject_alt_names = vec![uri("spiffe://example.org")])),
        ("not a workload", certificate(&|it| it.subject_alt_names = vec![uri("spiffe://Example.org/a")])),
        ("not a workload", certificate(&|it| it.subject_alt_names = vec![uri("https://example.org/a")])),
        ("not X.509", [good.as_slice(), &[0]].concat()),
    ];
    for (expected, octets) in bad {
        let error = Leaf::read(&octets).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    assert!(Leaf::read(&[]).is_err());
    assert!(Leaf::read(&vec![0x30; 17 * 1024]).unwrap_err().to_string().contains("at most"));
    let again = Certificate::from_der(&good).unwrap().to_der().unwrap();
    assert_eq!(again, good);
}
