//! The broker's configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use spiffe::{SpiffeId, TrustDomain};

use super::execution::{self, ExecutionConfig};
use super::kind::{self, Boolean, HostPort, Id, ListOf, PathTo};
use super::server::{GrpcConfig, HttpConfig, IdentityConfig, Ids, LogConfig, Secret, TelemetryConfig, is_private};
use super::target::{KnownTarget, Mutating, read_mutating};
use super::{ConfigError, Files, KeyDoc, Table, bundles, ceilings};
use crate::ceiling::Ceilings;
use crate::grpc::access::Roles;
use crate::identity::endpoint::BundleEndpoint;
use crate::identity::{Bundle, folder};

/// The most authorities, targets and trust bundles, and entries of a role.
const MAX_NAMED: usize = 1024;

/// Everything that the broker is told. `docs/configuration.md` lists the keys.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// Who the broker is.
    pub identity: IdentityConfig,
    /// Where execution identities come from.
    pub execution: ExecutionConfig,
    /// The API.
    pub grpc: GrpcConfig,
    /// Metrics and health.
    pub http: HttpConfig,
    /// The store.
    pub store: StoreConfig,
    /// The authorities whose certificates count, in the order of the file; each SPIFFE ID once.
    pub authorities: Vec<AuthorityConfig>,
    /// The files with the bundles of other trust domains.
    pub trust_bundles: BTreeMap<TrustDomain, PathBuf>,
    /// Where the bundles of other trust domains are fetched, each trust domain once.
    pub bundle_endpoints: Vec<BundleEndpoint>,
    /// The broker's own bounds.
    pub ceilings: Ceilings,
    /// The targets, in the order of the file; each name once.
    pub targets: Vec<TargetConfig>,
    /// Who may call what.
    pub roles: Roles,
    /// How often open executions are settled from evidence.
    pub reconcile_interval: Duration,
    /// Logs.
    pub log: LogConfig,
    /// Traces.
    pub telemetry: TelemetryConfig,
}

/// `[store]`: what the broker must not forget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// The database; it is created if it is missing.
    pub path: PathBuf,
    /// The key that signs records; it is created for the owner alone if it is missing.
    pub record_key: PathBuf,
}

/// One of `[[authorities]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityConfig {
    /// Its SPIFFE ID.
    pub id: SpiffeId,
    /// Where it publishes its epoch statements.
    pub address: HostPort,
}

/// One of `[[targets]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetConfig {
    /// What it is called, where it is, and how it is read.
    pub known: KnownTarget,
    /// By which exchange mutations are made, where the kind of target has several.
    pub mutating: Option<Mutating>,
    /// Whether the live state is read before the decision, where the driver could leave the baseline to the call.
    pub read_before: bool,
    /// Whether checks, and executions whose contract asks for it, have the target rehearse the call.
    pub dry_run: bool,
}

impl BrokerConfig {
    /// Reads the file `path`, and checks it together with the files that it names.
    ///
    /// # Errors
    /// If it cannot be read, or anything is wrong with it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        super::load(path, Self::read)
    }

    /// What the configuration consists of, for its documentation.
    pub fn describe() -> Vec<KeyDoc> {
        super::describe(Self::read)
    }

    /// Reads the whole file.
    pub fn read(root: &mut Table<'_>) -> Option<Self> {
        let mut execution_ca = None;
        let identity = root.table("identity", "Who the broker is.", |table| {
            let identity = IdentityConfig::read(table);
            let meaning = "The folder with `execution-ca.pem` and `execution-ca-key.pem`, by which the embedded issuer mints; left out, it is `folder`.";
            execution_ca = table.optional("execution_ca", PathTo::Folder, meaning)?;
            identity
        });
        let execution = root.table("execution", "Where execution identities come from.", execution::Keys::read);
        let grpc =
            root.table("grpc", "The API for agents and auditors.", |t| GrpcConfig::read(t, "\"127.0.0.1:7443\""));
        let http = root.table("http", "Metrics and health.", |t| HttpConfig::read(t, "\"127.0.0.1:7480\""));
        let store = root.table("store", "What the broker must not forget.", StoreConfig::read);
        let meaning = "An attribute authority whose certificates count; none, and no certificate does.";
        let authorities = root.tables("authorities", MAX_NAMED, meaning, AuthorityConfig::read);
        let trust_bundles = bundles::files(root);
        let bundle_endpoints = bundles::endpoints(root);
        let meaning = "What no certificate may exceed, however valid; left out, nothing is allowed.";
        let ceilings = root.table("ceilings", meaning, ceilings::read);
        let meaning = "A system that the broker can change.";
        let targets = root.tables("targets", MAX_NAMED, meaning, TargetConfig::read);
        let roles = root.table("roles", "Who may call what, by SPIFFE ID; an empty list admits nobody.", |table| {
            let mut role = |name: &str, meaning: &str| table.default(name, ListOf(Ids, MAX_NAMED), "[]", meaning);
            let agents = role("agents", "Who may execute what was certified for them.");
            let auditors = role("auditors", "Who may read the records.");
            let operators = role("operators", "Who may ask for the state of the server.");
            Some(Roles { agents: agents?, auditors: auditors?, operators: operators?, ..Roles::default() })
        });
        let reconcile_interval = root.table("reconcile", "Settling executions whose end is not known.", |table| {
            table.default("interval", kind::duration("100ms", "1h"), "\"5s\"", "How often evidence is looked for.")
        });
        let log = root.table("log", "Logs, on standard error.", LogConfig::read);
        let telemetry = root.table("telemetry", TelemetryConfig::MEANING, TelemetryConfig::read);
        let (identity, authorities, targets, ceilings) = (identity?, authorities?, targets?, ceilings?);
        let (trust_bundles, bundle_endpoints, mut roles) = (trust_bundles?, bundle_endpoints?, roles?);
        let execution = execution::join(root, execution?, execution_ca, &identity);
        let execution =
            execution.filter(|it| execution::admits_nobody(root, it, authorities.iter().map(|one| &one.id)));
        let known: BTreeSet<&TrustDomain> =
            trust_bundles.keys().chain(bundle_endpoints.iter().map(|endpoint| &endpoint.trust_domain)).collect();
        let consistent = [
            once(root, "authorities", authorities.iter().map(|authority| &authority.id)),
            once(root, "targets", targets.iter().map(|target| &target.known.name)),
            ceilings_fit(root, &ceilings, &authorities, &targets),
            once(root, "bundle_endpoints", bundle_endpoints.iter().map(|endpoint| &endpoint.trust_domain)),
            bundles_suffice(root, &identity, &authorities, &targets, &known),
        ];
        roles.authorities = authorities.iter().map(|authority| authority.id.clone().into()).collect();
        if consistent.contains(&false) {
            return None;
        }
        Some(Self {
            execution: execution?,
            identity,
            grpc: grpc?,
            http: http?,
            store: store?,
            authorities,
            trust_bundles,
            bundle_endpoints,
            ceilings,
            targets,
            roles,
            reconcile_interval: reconcile_interval?,
            log: log?,
            telemetry: telemetry?,
        })
    }

    /// The bundles in the files of `trust_bundles`, as they are now.
    ///
    /// # Errors
    /// What is wrong with the first file that cannot be used.
    pub fn bundles(&self) -> Result<Vec<Bundle>, String> {
        self.trust_bundles.iter().map(|(trust_domain, path)| bundles::read(trust_domain, path)).collect()
    }
}

impl StoreConfig {
    fn read(table: &mut Table<'_>) -> Option<Self> {
        let path = table.required("path", PathTo::Database, "The SQLite database; it is created if it is missing.");
        let meaning = "The private key that signs records, in PEM; it is created, readable for its owner alone, if it is missing.";
        let record_key = table.required("record_key", PathTo::NewFile, meaning);
        let (path, record_key) = (path?, record_key?);
        if path == record_key {
            return table.refuse("record_key", "is the same file as `path`", None);
        }
        let private = [
            is_private(table, "path", &path, Secret::FileAndFolder),
            is_private(table, "record_key", &record_key, Secret::File),
        ];
        if private.contains(&false) {
            return None;
        }
        Some(Self { path, record_key })
    }
}

impl AuthorityConfig {
    fn read(table: &mut Table<'_>) -> Option<Self> {
        let id = table.required("id", Id, "Its SPIFFE ID, as its certificate names it.");
        let address = table.required("address", kind::host_port(), "Where it publishes its epoch statements.");
        Some(Self { id: id?, address: address? })
    }
}

impl TargetConfig {
    fn read(table: &mut Table<'_>) -> Option<Self> {
        let known = KnownTarget::read(table);
        let mutating = read_mutating(table, known.as_ref());
        let meaning = "Whether its live state is read before the decision, so that drift is seen before the call and not only by it.";
        let read_before = table.default("read_before", Boolean, "true", meaning);
        let meaning = "Whether `Check` has the API server rehearse the call as well (a server-side dry run), and the execution where the contract asks for it, by an identity that its policies take for nothing else: docs/kubernetes.md. With `service-account` each of `executors` needs a `rehearser`.";
        let dry_run = table.default("dry_run", Boolean, "false", meaning);
        let mutating = mutating?;
        if dry_run? && !matches!(&mutating, Some(Mutating::Kubernetes(exchange)) if exchange.rehearses()) {
            return table.refuse(
                "dry_run",
                "is for API servers; with `service-account` name a `rehearser` in each of `executors`, or leave it out",
                None,
            );
        }
        Some(Self { known: known?, mutating, read_before: read_before?, dry_run: dry_run? })
    }
}

/// Whether no name is there twice.
fn once<T: Ord + std::fmt::Display>(root: &Table<'_>, list: &str, names: impl Iterator<Item = T>) -> bool {
    let mut seen = BTreeSet::new();
    let mut sound = true;
    for name in names {
        if seen.contains(&name) {
            root.refuse::<()>(list, format_args!("`{name}` is there twice"), None);
            sound = false;
        }
        seen.insert(name);
    }
    sound
}

/// Whether the ceilings name only what is configured: a misspelt name would be a bound on nothing.
fn ceilings_fit(
    root: &Table<'_>,
    ceilings: &Ceilings,
    authorities: &[AuthorityConfig],
    targets: &[TargetConfig],
) -> bool {
    if matches!(root.files(), Files::Ignore) && ceilings == &Ceilings::default() {
        return true;
    }
    let mut faults = Vec::new();
    for (name, ceiling) in &ceilings.file().targets {
        match targets.iter().find(|target| target.known.name == *name) {
            None => faults.push(format!("`targets.{name}`: there is no such target in `[[targets]]`")),
            Some(target) if target.known.api.kind() != ceiling.kind => {
                let kind = target.known.api.kind();
                faults.push(format!("`targets.{name}`: the target is of kind {kind}, not {}", ceiling.kind));
            }
            Some(_) => {}
        }
    }
    for id in ceilings.file().authorities.keys() {
        if !authorities.iter().any(|authority| authority.id.to_string() == *id) {
            faults.push(format!("`authorities.\"{id}\"`: there is no such authority in `[[authorities]]`"));
        }
    }
    for fault in &faults {
        root.refuse::<()>("ceilings", fault, None);
    }
    faults.is_empty()
}

/// Whether there is a trust bundle for every trust domain that the configuration names.
fn bundles_suffice(
    root: &Table<'_>,
    identity: &IdentityConfig,
    authorities: &[AuthorityConfig],
    targets: &[TargetConfig],
    bundles: &BTreeSet<&TrustDomain>,
) -> bool {
    let folder = identity.folder().filter(|_| root.files() == Files::Check);
    let Some(own) = folder.and_then(|folder| folder::read(folder).ok()) else {
        return true;
    };
    let mut sound = true;
    let authorities = authorities.iter().map(|authority| ("authorities", &authority.id));
    let targets = targets.iter().filter_map(|target| Some(("targets", target.known.api.server_id()?)));
    for (list, id) in authorities.chain(targets) {
        let domain = id.trust_domain();
        if own.bundle(domain).is_none() && !bundles.contains(domain) {
            let hint = "add the file with its CA certificates to `[trust_bundles]`";
            root.refuse::<()>(list, format_args!("there is no trust bundle for `{domain}`"), Some(hint));
            sound = false;
        }
    }
    sound
}
