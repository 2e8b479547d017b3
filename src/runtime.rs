//! Puts a broker together from its configuration, and runs it until it is asked to end.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use spiffe::SpiffeId;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::service::Routes;

use crate::attribute_certificate::Trust;
use crate::broker::{Broker, Parts, TargetEntry, Trusted};
use crate::clock::Clock;
use crate::config::broker::BrokerConfig;
use crate::config::execution::ExecutionConfig;
use crate::config::target::{Api, Mutating};
use crate::epoch::EpochStatement;
use crate::epochs::Follower;
use crate::identity::embedded::{EmbeddedIssuer, IssuerError};
use crate::identity::spire::{DownstreamIssuer, MintIssuer};
use crate::identity::workload::Link;
use crate::identity::{self, Bundle, Identities, Identity, Issuer, Opened, Source, WhileValid, endpoint, kept_key};
use crate::record::{self, KeyBinding, PublicKey};
use crate::store::sqlite::{Options, Sqlite};
use crate::store::{Store, StoreError};
use crate::target::Target;
use crate::target::kubernetes::Kubernetes;
use crate::target::sandbox::Sandbox;
use crate::telemetry::{BrokerMetrics, Causes, GrpcMetrics, Health, Registry, Shown, log};
use crate::{grpc, http, reconcile};

/// How long executions that run may take to end once nobody is served any more. Each is bounded by its own deadline, and by
/// what is gathered before its decision: two reads and a dry run at most.
const LAST_EXECUTIONS: Duration = Duration::from_secs(90);

/// The services that the broker offers, for reflection.
const SERVICES: &[&str] = &["seb.v1.ExecutionService", "seb.v1.RecordService"];

/// What a broker says once it serves.
#[derive(Debug, Clone)]
pub struct Listening {
    /// Where the API is.
    pub grpc: std::net::SocketAddr,
    /// Where metrics and health are.
    pub http: std::net::SocketAddr,
    /// Who the broker is.
    pub id: SpiffeId,
}

/// Runs a broker by `clock` until `shutdown`; `listening` is told once it serves.
///
/// # Errors
/// Whatever keeps it from starting, or from going on.
pub async fn broker(
    config: BrokerConfig,
    clock: Clock,
    shutdown: impl Future<Output = ()> + Send + 'static,
    listening: impl FnOnce(Listening) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut registry = Registry::new("seb");
    let (grpc_metrics, metrics) = (GrpcMetrics::register(&mut registry), BrokerMetrics::register(&mut registry));
    let own = identity::open(&config.identity.source).await.context("the broker has no identity")?;
    let (others, bundles) = watch::channel(Arc::new(config.bundles().map_err(anyhow::Error::msg)?));
    let identities = identity::join(own.identities.clone(), bundles);
    let id = identities.borrow().id().clone();
    let store = Arc::new(store(&config, &identities, &id).await?);
    let (trust, trusted) = watch::channel(Arc::new(trusted(&config, &identities.borrow())?));
    let health = Health::default();
    let issuer = issuer(&config, &identities, &health).await.context("nothing mints execution identities")?;
    let broker = Arc::new(Broker::new(Parts {
        id: id.clone(),
        store: Arc::clone(&store),
        issuer,
        targets: targets(&config, &identities)?,
        trusted: trusted.clone(),
        ceilings: Arc::new(config.ceilings.clone()),
        clock: clock.clone(),
        metrics: metrics.clone(),
        concurrency: config.grpc.limits.requests,
    })?);
    restore(&broker, &config).await?;

    let server = grpc::serve::Server::bind(&config.grpc, &identities).await?;
    let observed = http::Server::bind(config.http.listen)
        .await
        .with_context(|| format!("cannot listen on `{}`", config.http.listen))?;

    let mut tasks = JoinSet::new();
    tasks.spawn(keep_condition(Arc::clone(&store), health.clone(), metrics.clone()));
    let endpoints = endpoint::start(&config.bundle_endpoints, &identities, &health, &mut tasks);
    tasks.spawn(keep_bundles(config.clone(), endpoints, others));
    tasks.spawn(keep_trusted(config.clone(), identities.clone(), trust));
    tasks.spawn(keep_settling(Arc::clone(&broker), config.reconcile_interval, metrics.clone()));
    tasks.spawn(keep_measuring(Arc::clone(&broker), config.clone(), own.clone(), metrics.clone(), clock.clone()));
    tasks.spawn(own.report(health.clone(), clock.clone()));
    for authority in config.authorities.clone() {
        health.silent(&authority.id, "nothing was heard of it yet");
        let follower = Follower {
            broker: Arc::clone(&broker),
            authority,
            identities: identities.clone(),
            trusted: trusted.clone(),
            clock: clock.clone(),
            bounds: config.ceilings.knowledge().freshness(),
            health: health.clone(),
        };
        tasks.spawn(follower.run());
    }
    let routes =
        Routes::new(grpc::execution::Service::server(Arc::clone(&broker), metrics, config.grpc.limits.message_octets))
            .add_service(grpc::records::Service::server(Arc::clone(&store)));
    let parts = grpc::serve::Parts {
        routes,
        roles: config.roles.clone(),
        metrics: grpc_metrics,
        health: health.clone(),
        services: SERVICES,
    };
    listening(Listening { grpc: server.address(), http: observed.address(), id })?;
    let (stop, stopped) = watch::channel(false);
    let observing = tokio::spawn(observed.serve(Arc::new(registry), health.clone(), until(stopped)));
    health.started();
    log!(Serving, grpc = %server.address(), version = env!("CARGO_PKG_VERSION"), "the broker serves");
    let drained = server.serve(parts, shutdown).await?;
    log!(Drained, ?drained, "no more calls are taken");
    // Executions go on without their callers; each ends by its own deadline, and its outcome is recorded.
    let ended = tokio::time::timeout(LAST_EXECUTIONS, async {
        while broker.running() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    if ended.await.is_err() {
        log!(ExecutionsCut, "executions are cut off; evidence will settle them at the next start");
    }
    tasks.shutdown().await;
    let _ = stop.send(true);
    observing.await??;
    store.close().await;
    Ok(())
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // A sender that is gone has stopped, too.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// What mints execution identities, for as long as the broker's own is valid.
async fn issuer(
    config: &BrokerConfig,
    identities: &Identities,
    health: &Health,
) -> Result<Arc<dyn Issuer>, IssuerError> {
    let own = identities.clone();
    let issuer: Box<dyn Issuer> = match config.execution.clone() {
        ExecutionConfig::Embedded(folder) => Box::new(EmbeddedIssuer::open(&folder).await?),
        ExecutionConfig::SpireDownstream(server) => Box::new(DownstreamIssuer::start(server, own, health.clone())),
        ExecutionConfig::SpireMint(server) => Box::new(MintIssuer::new(server, own)),
    };
    Ok(Arc::new(WhileValid::new(issuer, identities.clone())))
}

/// Opens the store. A new log begins with the binding of its key to the broker's identity.
async fn store(config: &BrokerConfig, identities: &Identities, id: &SpiffeId) -> anyhow::Result<Sqlite> {
    let key = &config.store.record_key;
    let key = kept_key(key).with_context(|| format!("cannot use the record key `{}`", key.display()))?;
    let public = PublicKey::from_spki(&key.public_key()?)?;
    let store = Sqlite::open(Options::new(&config.store.path), key)
        .await
        .with_context(|| format!("cannot open the store `{}`", config.store.path.display()))?;
    if store.head().await?.is_none() {
        let binding = KeyBinding { broker: id.clone(), key: public, time: crate::clock::now()? };
        let identity = Arc::clone(&identities.borrow());
        let proof = identity.svid().sign(&binding.to_be_signed()).context("the identity's key does not sign")?;
        let chain = identity.svid().chain().iter().map(|der| der.to_vec()).collect();
        store.append(record::genesis(binding, chain, &proof)?).await?;
    }
    Ok(store)
}

/// Whose certificates are good: the configured authorities, by the bundles as they are now.
fn trusted(config: &BrokerConfig, identity: &Identity) -> anyhow::Result<Trusted> {
    let authorities: Vec<_> = config.authorities.iter().map(|authority| authority.id.clone()).collect();
    let certificates = identity.bundles().map(|bundle| (bundle.trust_domain(), bundle.certificates()));
    let execution_cas = execution_cas(&config.execution, &config.identity.source, identity)?;
    let artefact = record::trust_artefact(certificates, &authorities, &execution_cas)?;
    let sources = identity.bundles().map(|bundle| (bundle.trust_domain().clone(), bundle.source())).collect();
    let trust = Trust::new(identity.bundles().map(|bundle| bundle.trust().clone()), authorities);
    Ok(Trusted { trust: trust.without(execution_cas.iter().map(Vec::as_slice)), artefact, sources })
}

/// The CAs below which nobody becomes an authority: a broker holds their key, or one that nothing tells from theirs.
fn execution_cas(execution: &ExecutionConfig, source: &Source, identity: &Identity) -> anyhow::Result<Vec<Vec<u8>>> {
    let of = |bundle: Option<&Bundle>| bundle.map_or(&[][..], Bundle::certificates).to_vec();
    let in_folder = match source {
        Source::Folder(_) => of(identity.execution_bundle()),
        // There it is the bundle of the whole trust domain.
        Source::WorkloadApi(_) => Vec::new(),
    };
    let held = match execution {
        ExecutionConfig::Embedded(folder) => identity::folder::execution_ca(folder)?,
        // An intermediate of a broker looks like any other one of its trust domain.
        ExecutionConfig::SpireDownstream(_) => of(identity.bundle(identity.id().trust_domain())),
        // The server holds the key, and its policy says what is minted for a broker.
        ExecutionConfig::SpireMint(_) => Vec::new(),
    };
    Ok([in_folder, held].concat())
}

/// Follows the bundles of other trust domains, in files and at endpoints, within seconds.
async fn keep_bundles(
    config: BrokerConfig,
    endpoints: Vec<watch::Receiver<endpoint::Newest>>,
    others: watch::Sender<Arc<Vec<Bundle>>>,
) {
    // As they were at the start; nothing came from an endpoint yet.
    let mut files = others.borrow().to_vec();
    loop {
        match config.bundles() {
            Ok(now) => files = now,
            Err(error) => {
                log!(TrustUnreadable, error = %Shown(error), "the trust bundles cannot be read; the last ones stay")
            }
        }
        // Also beside a file that is broken: what an endpoint gave may have to be believed no longer.
        let now = endpoint::together(files.clone(), &endpoints);
        let of = |bundles: &[Bundle]| -> Vec<_> {
            bundles.iter().map(|one| (one.certificates().to_vec(), one.source())).collect()
        };
        others.send_if_modified(|then| {
            let changed = of(then) != of(&now);
            if changed {
                *then = now;
            }
            changed
        });
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

/// Follows the bundles of all trust domains.
async fn keep_trusted(config: BrokerConfig, mut identities: Identities, trust: watch::Sender<Arc<Trusted>>) {
    loop {
        // The execution CA of another folder is exchanged without the identity.
        match tokio::time::timeout(Duration::from_secs(2), identities.changed()).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(_)) => return,
        }
        let identity = Arc::clone(&identities.borrow_and_update());
        match trusted(&config, &identity) {
            Ok(now) => {
                trust.send_if_modified(|then| {
                    let changed = then.artefact.digest() != now.artefact.digest() || then.sources != now.sources;
                    if changed {
                        log!(TrustChanged, "the trust bundles changed");
                        *then = Arc::new(now);
                    }
                    changed
                });
            }
            Err(error) => {
                let error = Shown(format_args!("{error:#}"));
                log!(TrustUnreadable, %error, "the trust bundles cannot be used; the last ones stay");
            }
        }
    }
}

async fn keep_settling(broker: Arc<Broker<Sqlite>>, interval: Duration, metrics: BrokerMetrics) {
    loop {
        match reconcile::round(&broker).await {
            Ok(round) => {
                metrics.open.set(i64::try_from(round.open).unwrap_or(i64::MAX));
                if round.settled > 0 {
                    let (settled, open) = (round.settled, round.open);
                    log!(ExecutionsSettled, settled, open, "executions were settled from evidence");
                }
            }
            Err(error) => {
                log!(SettlingFailed, error = %Causes(&error), "open executions cannot be settled; tried again")
            }
        }
        tokio::time::sleep(interval).await;
    }
}

/// Says whether the store can be written to.
async fn keep_condition(store: Arc<Sqlite>, health: Health, metrics: BrokerMetrics) {
    let mut condition = store.condition();
    loop {
        let failure = condition.borrow_and_update().clone();
        metrics.store_writable.set(i64::from(failure.is_none()));
        match failure {
            None => health.clear("store"),
            Some(failure) => {
                let stopped = matches!(*failure, StoreError::Stopped { .. });
                let reason = format!("{:#}", anyhow::Error::new(failure));
                log!(StoreFailing, reason = %Shown(&reason), "nothing is executed, because nothing can be recorded");
                match stopped {
                    true => health.stopped(reason),
                    false => health.impede("store", reason),
                }
            }
        }
        if condition.changed().await.is_err() {
            return;
        }
    }
}

/// Keeps the gauges that nothing else touches.
async fn keep_measuring(
    broker: Arc<Broker<Sqlite>>,
    config: BrokerConfig,
    own: Opened,
    metrics: BrokerMetrics,
    clock: Clock,
) {
    loop {
        for authority in &config.authorities {
            if let Some(age_ms) = broker.epoch_age_ms(&authority.id) {
                metrics.epoch_age(&authority.id, f64::from(age_ms) / 1000.0);
            }
        }
        if let Ok(now) = clock.now() {
            let remaining = |end: crate::timestamp::Timestamp| {
                let (end, now) = (i64::try_from(end.seconds()), i64::try_from(now.seconds()));
                end.unwrap_or(i64::MAX).saturating_sub(now.unwrap_or(0))
            };
            metrics.svid_remaining(remaining(own.identities.borrow().svid().leaf().not_after));
            if let Some(end) = broker.issuer_ends() {
                metrics.execution_ca_remaining(remaining(end));
            }
        }
        metrics.identity_source_up.set(own.link.as_ref().is_none_or(|link| *link.borrow() == Link::Up).into());
        metrics.in_flight.set(i64::try_from(broker.running()).unwrap_or(i64::MAX));
        metrics.log_head.set(i64::try_from(*broker.store().subscribe().borrow()).unwrap_or(i64::MAX));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn targets(
    config: &BrokerConfig,
    identities: &Identities,
) -> anyhow::Result<BTreeMap<crate::contract::TargetName, TargetEntry>> {
    let entry = |target: &crate::config::broker::TargetConfig| {
        let driver: Arc<dyn Target> = match (&target.known.api, &target.mutating) {
            (Api::Sandbox { address, server_id }, _) => {
                Arc::new(Sandbox::new(address.to_string(), server_id.clone(), identities.clone())?)
            }
            (Api::Kubernetes(settings), Some(Mutating::Kubernetes(exchange))) => {
                Arc::new(Kubernetes::new(settings.clone(), exchange.clone())?)
            }
            (Api::Aws(account), Some(Mutating::Aws(exchange))) => Arc::new(account.open(Some(exchange), identities)?),
            (Api::Kubernetes(_) | Api::Aws(_), _) => anyhow::bail!("`{}` has no exchange", target.known.name),
        };
        Ok((
            target.known.name.clone(),
            TargetEntry { driver, read_before: target.read_before, dry_run: target.dry_run },
        ))
    };
    config.targets.iter().map(entry).collect()
}

/// What was in force before: it bounds what may follow.
async fn restore(broker: &Arc<Broker<Sqlite>>, config: &BrokerConfig) -> anyhow::Result<()> {
    for authority in &config.authorities {
        if let Some(mark) = broker.store().epoch(&authority.id).await? {
            let statement = EpochStatement::parse(&mark.statement)
                .with_context(|| format!("the store's epoch statement of `{}` is unusable", authority.id))?;
            broker.restore_epoch(Arc::new(statement));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use spiffe::TrustDomain;

    use super::*;
    use crate::identity::embedded::{Domain, Grant};
    use crate::identity::folder;
    use crate::identity::spire::SpireServer;
    use crate::identity::workload::WorkloadApi;

    #[test]
    fn i9_by_the_key_of_an_issuer_nobody_becomes_an_authority() {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().join("seb");
        let now = crate::clock::now().unwrap();
        let trust_domain = TrustDomain::new("example.org").unwrap();
        let id = SpiffeId::new("spiffe://example.org/seb").unwrap();
        let domain = Domain::init(&directory.path().join("domain"), &trust_domain, now).unwrap();
        domain.issue(Grant::new(id.clone(), own.clone(), Duration::from_secs(600), true), now).unwrap();
        let identity = folder::read(&own).unwrap();
        let of_the_domain = identity.bundle(&trust_domain).unwrap().certificates().to_vec();
        let held = folder::execution_ca(&own).unwrap();

        let in_folder = Source::Folder(own.clone());
        let socket = "unix:/run/agent.sock".parse().unwrap();
        let agent = Source::WorkloadApi(WorkloadApi { socket, id: None, hint: None });
        // As an agent gives it: its bundle is that of the whole trust domain.
        let given = folder::read(&own).unwrap().with_execution_bundle(identity.bundle(&trust_domain).unwrap().clone());
        let server = SpireServer { address: "spire:8081".parse().unwrap(), id };
        let embedded = ExecutionConfig::Embedded(own);
        let downstream = ExecutionConfig::SpireDownstream(server.clone());
        let mint = ExecutionConfig::SpireMint(server);

        let cas = |execution, source, identity| execution_cas(execution, source, identity).unwrap();
        assert!(cas(&embedded, &in_folder, &identity).iter().all(|one| held.contains(one)));
        assert_eq!(cas(&embedded, &agent, &given), held, "the CA that it holds, and not its trust domain's");
        assert_eq!(cas(&downstream, &agent, &given), of_the_domain, "an intermediate looks like any other");
        assert!(cas(&mint, &agent, &given).is_empty(), "the broker holds no key of a CA");
        assert_eq!(cas(&mint, &in_folder, &identity), held, "what its folder says is an execution CA");
    }
}
