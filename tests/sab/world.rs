//! An authority in this process: an embedded trust domain, real stores, and a target that can only be read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use seb::attribute_certificate::{Trust, TrustBundle};
use seb::clock;
use seb::contract::{Call, Json, Pointer, Resource, TargetKind};
use seb::decision::{LiveState, Peer, PermittedCall, Terms};
use seb::digest::Digest;
use seb::execution::{Evidence, Grade, Performed};
use seb::identity::embedded::{Domain, Grant};
use seb::identity::{ExecutionIdentity, Form};
use seb::key::SigningKey;
use seb::record::{KeyBinding, PublicKey, genesis};
use seb::sab::airlock::{Airlock, Bounds, KnownTarget};
use seb::sab::authority::{Authority, read_key};
use seb::sab::epochs::{Epochs, Timing};
use seb::sab::ledger::Ledger;
use seb::sab::policy::PolicyFiles;
use seb::store::Store;
use seb::store::sqlite::{Options, Sqlite};
use seb::target::{Fence, Target};
use spiffe::{SpiffeId, TrustDomain};
use tempfile::TempDir;
use tokio::sync::watch;

pub const SAB: &str = "spiffe://example.org/sab";
pub const BROKER: &str = "spiffe://example.org/seb";
pub const AGENT: &str = "spiffe://example.org/agent/deployer";

pub const SCALE: &str = r"
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
evidence:
  - { name: forecast, media_type: text/plain, content: 4x traffic }
";

pub fn id(text: &str) -> SpiffeId {
    SpiffeId::new(text).unwrap()
}

/// A target that can be read, and does nothing else.
#[derive(Debug, Default)]
pub struct ReadOnly {
    objects: Mutex<BTreeMap<String, (String, String, Json)>>,
    unreadable: Mutex<bool>,
}

impl ReadOnly {
    pub fn put(&self, path: &str, identity: &str, version: &str, state: &str) {
        let state = Json::parse(state.as_bytes()).unwrap();
        self.objects.lock().unwrap().insert(path.into(), (identity.into(), version.into(), state));
    }

    pub fn set_unreadable(&self, unreadable: bool) {
        *self.unreadable.lock().unwrap() = unreadable;
    }
}

impl Target for ReadOnly {
    fn kind(&self) -> TargetKind {
        TargetKind::Sandbox
    }

    fn grade(&self, _: &Call) -> Grade {
        Grade::DetectOnly
    }

    fn form(&self, _: &Call) -> Form {
        Form::X509
    }

    fn read<'a>(&'a self, resource: &'a Resource, fields: &'a BTreeSet<Pointer>) -> BoxFuture<'a, LiveState> {
        let observed_at = clock::now().unwrap();
        let state = match self.objects.lock().unwrap().get(&resource.paths()[0]) {
            _ if *self.unreadable.lock().unwrap() => LiveState::Unknown,
            None => LiveState::Absent { observed_at },
            Some((identity, version, state)) => LiveState::Present {
                identity: identity.clone(),
                version: version.parse().unwrap(),
                fields: fields.iter().map(|field| (field.clone(), field.resolve(state).cloned())).collect(),
                observed_at,
            },
        };
        std::future::ready(state).boxed()
    }

    fn perform<'a>(&'a self, _: PermittedCall, _: ExecutionIdentity, _: &'a dyn Fence) -> BoxFuture<'a, Performed> {
        panic!("an authority performs nothing")
    }

    fn evidence<'a>(&'a self, _: &'a Terms) -> BoxFuture<'a, Evidence> {
        panic!("an authority settles nothing")
    }
}

pub struct World {
    pub folder: TempDir,
    pub domain: Domain,
    pub target: Arc<ReadOnly>,
    pub store: Arc<Sqlite>,
    pub epochs: Epochs,
    pub airlock: Arc<Airlock<Sqlite>>,
    pub authority: Arc<Authority>,
}

pub fn default_policies() -> PolicyFiles {
    PolicyFiles::read(Path::new("policies/default")).unwrap()
}

pub fn timing() -> Timing {
    let ms = Duration::from_millis;
    Timing { heartbeat: ms(50), staleness: ms(300), max_clock_skew: ms(100) }
}

/// Issues an SVID to the folder of this name.
pub fn grant(domain: &Domain, folder: &Path, name: &str, id_text: &str) -> PathBuf {
    let folder = folder.join(name);
    domain
        .issue(Grant::new(id(id_text), folder.clone(), Duration::from_secs(3600), false), clock::now().unwrap())
        .unwrap();
    folder
}

impl World {
    pub async fn new() -> Self {
        Self::with(&default_policies()).await
    }

    pub async fn with(policies: &PolicyFiles) -> Self {
        let folder = TempDir::new().unwrap();
        let directory = folder.path().join("domain");
        let domain =
            Domain::init(&directory, &TrustDomain::new("example.org").unwrap(), clock::now().unwrap()).unwrap();
        grant(&domain, folder.path(), "sab", SAB);
        Self::open(folder, domain, policies).await
    }

    /// The same authority in another life.
    pub async fn restart(self, policies: &PolicyFiles) -> Self {
        self.store.close().await;
        let Self { folder, domain, target, .. } = self;
        let mut world = Self::open(folder, domain, policies).await;
        world.target = target;
        world
    }

    async fn open(folder: TempDir, domain: Domain, policies: &PolicyFiles) -> Self {
        let own = folder.path().join("sab");
        let authority = Arc::new(Authority::read(&own.join("key.pem"), &own.join("svid.pem")).unwrap());
        let store = Arc::new(store(folder.path(), &own, &authority).await);
        let ledger = Ledger::open(&folder.path().join("state/sab.db")).await.unwrap();
        let (_, authorities) = watch::channel(Arc::clone(&authority));
        let in_force = policies.load().ok().map(|policies| policies.digest());
        let brokers = BTreeSet::from([id(BROKER)]);
        let epochs = Epochs::start(ledger.clone(), authorities.clone(), timing(), brokers, in_force).await.unwrap();
        let target = Arc::new(ReadOnly::default());
        target.put("services/checkout", "uid-1", "4", r#"{"replicas":3}"#);
        let known = KnownTarget { broker: id(BROKER), reader: Arc::clone(&target) as Arc<dyn Target> };
        let targets = BTreeMap::from([("shop".parse().unwrap(), known)]);
        let (airlock, _) =
            Airlock::new(bounds(), targets, policies, epochs.clone(), ledger, Arc::clone(&store), authorities);
        Self { folder, domain, target, store, epochs, airlock: Arc::new(airlock), authority }
    }

    pub fn trust(&self) -> Trust {
        let bundle = std::fs::read_to_string(self.folder.path().join("sab/bundle.pem")).unwrap();
        Trust::new([TrustBundle::from_pem(TrustDomain::new("example.org").unwrap(), &bundle).unwrap()], [id(SAB)])
    }
}

pub fn peer(id_text: &str) -> Peer {
    Peer { id: id(id_text), key: Digest::of(id_text.as_bytes()) }
}

fn bounds() -> Bounds {
    Bounds {
        pending_per_agent: 3,
        pending: Duration::from_secs(3600),
        max_validity: Duration::from_secs(30 * 86_400),
        read: Duration::from_secs(10),
    }
}

async fn store(folder: &Path, identity: &Path, authority: &Authority) -> Sqlite {
    let path = folder.join("record.key");
    let key = match std::fs::read_to_string(&path) {
        Ok(text) => SigningKey::from_pkcs8_pem(&text).unwrap(),
        Err(_) => {
            let key = SigningKey::generate(seb::attribute_certificate::SignatureAlgorithm::Ed25519).unwrap();
            std::fs::write(&path, key.to_pkcs8_pem().unwrap().as_bytes()).unwrap();
            key
        }
    };
    let public = PublicKey::from_spki(&key.public_key().unwrap()).unwrap();
    let store = Sqlite::open(Options::new(folder.join("state/records.db")), key).await.unwrap();
    if store.head().await.unwrap().is_none() {
        let binding = KeyBinding { broker: id(SAB), key: public, time: clock::now().unwrap() };
        let proof = read_key(&identity.join("key.pem")).unwrap().sign(&binding.to_be_signed()).unwrap();
        store.append(genesis(binding, authority.chain().to_vec(), &proof).unwrap()).await.unwrap();
    }
    store
}
