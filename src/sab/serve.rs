//! The authority as a process: everything is opened and checked before a port is, and an end loses no decision.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use super::airlock::{Airlock, KnownTarget};
use super::authority::Authority;
use super::config::SabConfig;
use super::epochs::Epochs;
use super::ledger::Ledger;
use super::metrics::SabMetrics;
use super::policy::{Fault, PolicyFiles};
use super::proposal::Proposal;
use super::services::{EpochStream, Proposals, Revocations};
use crate::clock::{self, Clock};
use crate::config::target::Api;
use crate::contract::TargetName;
use crate::grpc::serve::{Drained, Parts, Server};
use crate::http;
use crate::identity::{Identities, Opened, folder, kept_key, open};
use crate::proto::sab::v1::epoch_service_server::EpochServiceServer;
use crate::proto::sab::v1::proposal_service_server::ProposalServiceServer;
use crate::proto::sab::v1::revocation_service_server::RevocationServiceServer;
use crate::record::{KeyBinding, PublicKey, genesis};
use crate::store::Store;
use crate::store::sqlite::{Options, Sqlite};
use crate::target::Target;
use crate::target::kubernetes::Kubernetes;
use crate::target::sandbox::Sandbox;
use crate::telemetry::{Causes, GrpcMetrics, Health, Registry, Shown, log};

/// How often pending proposals are looked at, and gauges set.
const SWEEP: Duration = Duration::from_secs(5);
/// The largest message to the services besides proposals.
const MAX_SMALL: usize = 64 * 1024;
/// The services that reflection tells of.
const SERVICES: &[&str] = &[
    "sab.v1.ProposalService",
    "sab.v1.EpochService",
    "sab.v1.RevocationService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
];

/// The authority cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct SabError {
    what: &'static str,
    #[source]
    source: Box<dyn Error + Send + Sync>,
}

/// What failed, in words.
trait What<T> {
    fn what(self, what: &'static str) -> Result<T, SabError>;
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> What<T> for Result<T, E> {
    fn what(self, what: &'static str) -> Result<T, SabError> {
        self.map_err(|source| SabError { what, source: source.into() })
    }
}

/// An authority that listens, and serves once it is run.
pub struct Sab {
    config: SabConfig,
    identity: Opened,
    server: Server,
    http: http::Server,
    airlock: Arc<Airlock<Sqlite>>,
    epochs: Epochs,
    ledger: Ledger,
    store: Arc<Sqlite>,
    registry: Registry,
    metrics: SabMetrics,
    grpc_metrics: GrpcMetrics,
}

impl Sab {
    /// Opens everything, and listens. Must be called within a runtime.
    ///
    /// Policies that are broken do not keep it from starting: it then refuses every proposal, and revokes as ever.
    ///
    /// # Errors
    /// Something cannot be opened, or a port cannot be listened on.
    pub async fn start(config: SabConfig) -> Result<Self, SabError> {
        let identity = open(&config.identity.source).await.what("the authority has no identity")?;
        let identities = identity.identities.clone();
        let authority = authority(&config.authority).await?;
        let store = Arc::new(open_store(&config, &identities).await?);
        // After the store, whose lock says that this process is the only one.
        let ledger = Ledger::open(&config.store.ledger).await.what("the ledger cannot be opened")?;
        let files = PolicyFiles::read(&config.policies).what("the policies cannot be read")?;
        let in_force = files.load().ok().map(|policies| policies.digest());
        let epochs =
            Epochs::start(ledger.clone(), authority.clone(), config.timing, config.brokers.clone(), in_force).await;
        let epochs = epochs.what("the epochs cannot be kept")?;
        let targets = targets(&config, &identities)?;
        let (airlock, faults) =
            Airlock::new(config.bounds, targets, &files, epochs.clone(), ledger.clone(), Arc::clone(&store), authority);
        report_faults(&faults);
        let mut registry = Registry::new("sab");
        let metrics = SabMetrics::register(&mut registry);
        let grpc_metrics = GrpcMetrics::register(&mut registry);
        let server = Server::bind(&config.grpc, &identities).await.what("the API cannot listen")?;
        let http = http::Server::bind(config.http.listen).await.what("metrics and health cannot listen")?;
        let airlock = Arc::new(airlock);
        let sab =
            Self { config, identity, server, http, airlock, epochs, ledger, store, registry, metrics, grpc_metrics };
        sab.gauges();
        Ok(sab)
    }

    /// Where the API listens.
    pub const fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Where metrics and health listen.
    pub const fn http_address(&self) -> SocketAddr {
        self.http.address()
    }

    /// Serves until `shutdown`, then drains. Policies are read again whenever `reload` says so.
    ///
    /// # Errors
    /// A server failed.
    pub async fn run(
        self,
        mut reload: tokio::sync::mpsc::Receiver<()>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<Drained, SabError> {
        let health = Health::default();
        let ended = CancellationToken::new();
        let state = Background {
            airlock: Arc::clone(&self.airlock),
            epochs: self.epochs.clone(),
            metrics: self.metrics.clone(),
            policies: self.config.policies.clone(),
            health: health.clone(),
        };
        state.show();
        let background = tokio::spawn({
            let ended = ended.clone();
            async move {
                loop {
                    tokio::select! {
                        () = ended.cancelled() => return,
                        Some(()) = reload.recv() => state.reload().await,
                        () = tokio::time::sleep(SWEEP) => state.sweep().await,
                    }
                }
            }
        });
        let reporting = tokio::spawn(self.identity.report(health.clone(), Clock::system()));
        let http = self.http.serve(Arc::new(self.registry), health.clone(), ended.clone().cancelled_owned());
        let http = tokio::spawn(http);
        let proposals = ProposalServiceServer::new(Proposals::new(Arc::clone(&self.airlock), self.metrics.clone()))
            .max_decoding_message_size(Proposal::MAX_OCTETS + MAX_SMALL);
        let epochs =
            EpochServiceServer::new(EpochStream::new(self.epochs.clone(), self.config.timing, self.metrics.clone()))
                .max_decoding_message_size(MAX_SMALL);
        let revocations = RevocationServiceServer::new(Revocations::new(Arc::clone(&self.airlock), self.metrics))
            .max_decoding_message_size(MAX_SMALL);
        let parts = Parts {
            routes: Routes::new(proposals).add_service(epochs).add_service(revocations),
            roles: self.config.roles,
            metrics: self.grpc_metrics,
            health: health.clone(),
            services: SERVICES,
        };
        health.started();
        log!(Serving, grpc = %self.server.address(), version = env!("CARGO_PKG_VERSION"), "the authority serves");
        let served = self.server.serve(parts, shutdown).await.what("the API ended");
        ended.cancel();
        reporting.abort();
        background.await.what("the background task ended")?;
        http.await.what("metrics and health ended")?.what("metrics and health ended")?;
        self.store.close().await;
        self.ledger.close().await;
        served
    }

    fn gauges(&self) {
        set_gauges(&self.airlock, &self.epochs, &self.metrics);
    }
}

/// What is done beside serving.
struct Background {
    airlock: Arc<Airlock<Sqlite>>,
    epochs: Epochs,
    metrics: SabMetrics,
    policies: std::path::PathBuf,
    health: Health,
}

impl Background {
    async fn reload(&self) {
        // What cannot be read is no better than what is wrong: nothing is admitted by it, and nothing by what it was to replace.
        let files = PolicyFiles::read(&self.policies).unwrap_or_else(|error| {
            log!(PoliciesBroken, fault = %Causes(&error), "the policies cannot be read: every proposal is refused");
            PolicyFiles::default()
        });
        let reloaded = self.airlock.reload(&files).await;
        match reloaded {
            Ok(faults) if faults.is_empty() => log!(PoliciesRead, "the policies were read again"),
            Ok(faults) => report_faults(&faults),
            Err(error) => log!(PoliciesKept, error = %Causes(&error), "the policies of before stay in force"),
        }
        self.show();
    }

    /// Tells how things stand, in metrics and health.
    fn show(&self) {
        set_gauges(&self.airlock, &self.epochs, &self.metrics);
        let broken = "broken: every proposal is refused, and revocations and epochs go on; mend them, and send SIGHUP";
        self.health.limit("policies", self.airlock.is_deny_all().then_some(broken));
    }

    async fn sweep(&self) {
        match self.airlock.expire().await {
            Ok(0) => {}
            Ok(count) => log!(ProposalsExpired, count, "proposals expired"),
            Err(error) => {
                log!(ProposalsUnreadable, error = %Causes(&error), "pending proposals could not be looked at")
            }
        }
        self.show();
    }
}

fn set_gauges(airlock: &Airlock<Sqlite>, epochs: &Epochs, metrics: &SabMetrics) {
    let state = epochs.state();
    let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    metrics.policies_broken.set(i64::from(airlock.is_deny_all()));
    metrics.policy_epoch.set(gauge(state.policy_epoch));
    metrics.revocation_epoch.set(gauge(state.revocation_epoch));
    metrics.revoked.set(i64::try_from(state.revoked.len()).unwrap_or(i64::MAX));
}

fn report_faults(faults: &[Fault]) {
    for fault in faults {
        log!(PoliciesBroken, fault = %Shown(fault), "the policies are broken: every proposal is refused");
    }
}

/// The authority's key now, and after each change of its folder.
async fn authority(folder: &Path) -> Result<watch::Receiver<Arc<Authority>>, SabError> {
    let first = Authority::in_folder(folder).what("the key of the authority cannot be used")?;
    let mut changes = folder::open(folder).await.what("the folder of the authority cannot be used")?;
    let (sender, receiver) = watch::channel(Arc::new(first));
    let folder = folder.to_owned();
    tokio::spawn(async move {
        while changes.changed().await.is_ok() {
            match Authority::in_folder(&folder) {
                Ok(next) if next.id() == sender.borrow().id() => drop(sender.send_replace(Arc::new(next))),
                Ok(_) => {
                    log!(
                        AuthorityKeyForeign,
                        "the key of the authority is another authority's now; the one before stays"
                    );
                }
                Err(error) => {
                    let error = Causes(&error);
                    log!(AuthorityKeyUnusable, %error, "the key of the authority cannot be used; the one before stays");
                }
            }
            if sender.is_closed() {
                return;
            }
        }
    });
    Ok(receiver)
}

fn targets(config: &SabConfig, identities: &Identities) -> Result<BTreeMap<TargetName, KnownTarget>, SabError> {
    let known = |target: &super::config::TargetConfig| {
        let reader: Arc<dyn Target> = match &target.known.api {
            Api::Sandbox { address, server_id } => Arc::new(
                Sandbox::new(address.as_str().to_owned(), server_id.clone(), identities.clone())
                    .what("a target cannot be read")?,
            ),
            Api::Kubernetes(settings) => {
                Arc::new(Kubernetes::reader(settings.clone()).what("a target cannot be read")?)
            }
            Api::Aws(account) => Arc::new(account.open(None, identities).what("a target cannot be read")?),
        };
        Ok((target.known.name.clone(), KnownTarget { broker: target.broker.clone(), reader }))
    };
    config.targets.iter().map(known).collect()
}

/// Opens the records; the first time it binds the key that signs them to this process's identity.
async fn open_store(config: &SabConfig, identities: &Identities) -> Result<Sqlite, SabError> {
    let key = kept_key(&config.store.record_key).what("the record key cannot be used")?;
    let public = key.public_key().what("the record key cannot be used")?;
    let public = PublicKey::from_spki(&public).what("the record key cannot be used")?;
    let store = Sqlite::open(Options::new(&config.store.records), key).await.what("the records cannot be opened")?;
    if store.head().await.what("the records cannot be read")?.is_none() {
        let identity = Arc::clone(&identities.borrow());
        let binding = KeyBinding {
            broker: identity.id().clone(),
            key: public,
            time: clock::now().what("the clock cannot be used")?,
        };
        let proof = identity.svid().sign(&binding.to_be_signed()).ok_or("its kind is not known");
        let proof = proof.what("the identity's key did not sign")?;
        let chain = identity.svid().chain().iter().map(|der| der.to_vec()).collect();
        let draft = genesis(binding, chain, &proof).what("the log of records cannot be begun")?;
        store.append(draft).await.what("the log of records cannot be begun")?;
    }
    Ok(store)
}

impl SabError {
    /// The error and its causes, on one line.
    pub fn chain(&self) -> String {
        Causes(self).to_string()
    }
}
