//! The authority's configuration.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use spiffe::SpiffeId;

use super::airlock::Bounds;
use super::authority::Authority;
use super::epochs::Timing;
use super::policy::PolicyFiles;
use crate::config::kind::{self, Id, Integer, ListOf, PathTo};
use crate::config::server::{
    GrpcConfig, HttpConfig, IdentityConfig, Ids, LogConfig, Secret, TelemetryConfig, is_private,
};
use crate::config::target::KnownTarget;
use crate::config::{self, ConfigError, Files, KeyDoc, Table};
use crate::grpc::access::Roles;
use crate::telemetry::Causes;

/// The most targets and brokers, and entries of a role.
const MAX_NAMED: usize = 1024;

/// Everything that the authority is told. `docs/configuration.md` lists the keys.
#[derive(Debug, Clone)]
pub struct SabConfig {
    /// Who the authority is.
    pub identity: IdentityConfig,
    /// The folder with the key that signs certificates and epoch statements.
    pub authority: PathBuf,
    /// The API.
    pub grpc: GrpcConfig,
    /// Metrics and health.
    pub http: HttpConfig,
    /// What it must not forget.
    pub store: StoreConfig,
    /// The folder with the policies.
    pub policies: PathBuf,
    /// The targets, in the order of the file; each name once.
    pub targets: Vec<TargetConfig>,
    /// The brokers.
    pub brokers: BTreeSet<SpiffeId>,
    /// The times of epochs.
    pub timing: Timing,
    /// How much the airlock takes on.
    pub bounds: Bounds,
    /// Who may call what.
    pub roles: Roles,
    /// Logs.
    pub log: LogConfig,
    /// Traces.
    pub telemetry: TelemetryConfig,
}

/// `[store]`: what the authority must not forget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// The database of the signed records.
    pub records: PathBuf,
    /// The database of epochs and proposals.
    pub ledger: PathBuf,
    /// The key that signs records.
    pub record_key: PathBuf,
}

/// One of `[[targets]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetConfig {
    /// What it is called, where it is, and how it is read.
    pub known: KnownTarget,
    /// The broker that certificates for it are for.
    pub broker: SpiffeId,
}

impl SabConfig {
    /// Reads the file `path`, and checks it together with the files that it names.
    ///
    /// # Errors
    /// If it cannot be read, or anything is wrong with it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        config::load(path, Self::read)
    }

    /// The same, and looks at the policies too: what is wrong with them does not keep the authority from starting (it then
    /// refuses every proposal, and revokes as ever).
    ///
    /// # Errors
    /// As [`Self::load`], and if anything is wrong with the policies.
    pub fn check(path: &Path) -> Result<Self, ConfigError> {
        config::load(path, |root| Self::read_with(root, true))
    }

    /// What the configuration consists of, for its documentation.
    pub fn describe() -> Vec<KeyDoc> {
        config::describe(Self::read)
    }

    /// Reads the whole file.
    pub fn read(root: &mut Table<'_>) -> Option<Self> {
        Self::read_with(root, false)
    }

    fn read_with(root: &mut Table<'_>, check_policies: bool) -> Option<Self> {
        let identity = root.table("identity", "Who the authority is.", IdentityConfig::read);
        let meaning = "The key that signs certificates and epoch statements.";
        let authority = root.table("authority", meaning, read_authority);
        let grpc = root.table("grpc", "The API for agents, brokers and operators.", |table| {
            GrpcConfig::read(table, "\"127.0.0.1:7543\"")
        });
        let http = root.table("http", "Metrics and health.", |table| HttpConfig::read(table, "\"127.0.0.1:7580\""));
        let store = root.table("store", "What the authority must not forget.", StoreConfig::read);
        let policies = root.table("policies", "What it admits.", |table| read_policies(table, check_policies));
        let meaning = "A system that proposals can be about; the authority only reads it.";
        let targets = root.tables("targets", MAX_NAMED, meaning, TargetConfig::read);
        let epochs = root.table("epochs", "How certificates are revoked.", |table| {
            let meaning = "The brokers that certificates can be for, and that hear of epochs and revocations.";
            let brokers = table.default("brokers", ListOf(Id, MAX_NAMED), "[]", meaning);
            let timing = read_timing(table);
            Some((brokers?, timing?))
        });
        let bounds = root.table("proposals", "How much the authority takes on.", read_bounds);
        let roles = root.table("roles", "Who may call what, by SPIFFE ID; an empty list admits nobody.", |table| {
            let mut role = |name: &str, meaning: &str| table.default(name, ListOf(Ids, MAX_NAMED), "[]", meaning);
            let agents = role("agents", "Who may propose.");
            let operators = role("operators", "Who may revoke, and see every proposal.");
            Some(Roles { agents: agents?, operators: operators?, ..Roles::default() })
        });
        let log = root.table("log", "Logs, on standard error.", LogConfig::read);
        let telemetry = root.table("telemetry", TelemetryConfig::MEANING, TelemetryConfig::read);
        let (identity, targets, (brokers, timing), mut roles) = (identity?, targets?, epochs?, roles?);
        let brokers: BTreeSet<SpiffeId> = brokers.into_iter().collect();
        if !consistent(root, &targets, &brokers) {
            return None;
        }
        roles.brokers = brokers.iter().cloned().map(Into::into).collect();
        let Some(authority) = authority?.or_else(|| identity.folder().map(Path::to_owned)) else {
            let problem = "is missing, and the identity has no folder whose key could sign certificates";
            return root.refuse("authority", problem, Some("name a folder in `authority.folder`"));
        };
        Some(Self {
            authority,
            identity,
            grpc: grpc?,
            http: http?,
            store: store?,
            policies: policies?,
            targets,
            brokers,
            timing,
            bounds: bounds?,
            roles,
            log: log?,
            telemetry: telemetry?,
        })
    }
}

impl StoreConfig {
    fn read(table: &mut Table<'_>) -> Option<Self> {
        let meaning = "The SQLite database of the signed records; it is created if it is missing.";
        let records = table.required("records", PathTo::Database, meaning);
        let meaning = "The SQLite database of epochs and proposals; it is created if it is missing.";
        let ledger = table.required("ledger", PathTo::Database, meaning);
        let meaning = "The private key that signs records, in PEM; it is created, readable for its owner alone, if it is missing.";
        let record_key = table.required("record_key", PathTo::NewFile, meaning);
        let (records, ledger, record_key) = (records?, ledger?, record_key?);
        if records == ledger || records == record_key || ledger == record_key {
            return table.refuse("records", "two of the three are the same file", None);
        }
        let private = [
            is_private(table, "records", &records, Secret::FileAndFolder),
            is_private(table, "ledger", &ledger, Secret::File),
            is_private(table, "record_key", &record_key, Secret::File),
        ];
        if private.contains(&false) {
            return None;
        }
        Some(Self { records, ledger, record_key })
    }
}

impl TargetConfig {
    fn read(table: &mut Table<'_>) -> Option<Self> {
        let known = KnownTarget::read(table);
        let broker = table.required(
            "broker",
            Id,
            "The broker that certificates for it are for; one of the `brokers` of `epochs`.",
        );
        Some(Self { known: known?, broker: broker? })
    }
}

fn read_authority(table: &mut Table<'_>) -> Option<Option<PathBuf>> {
    let meaning = "The folder with its `key.pem` and, in `svid.pem`, its chain; left out, it is that of `identity`.";
    let folder = table.optional("folder", PathTo::Folder, meaning)?;
    if let Some(folder) = folder.as_deref().filter(|_| table.files() == Files::Check)
        && let Err(error) = Authority::in_folder(folder)
    {
        return table.refuse("folder", format_args!("it holds no authority: {}", Causes(&error)), None);
    }
    Some(folder)
}

fn read_policies(table: &mut Table<'_>, check: bool) -> Option<PathBuf> {
    let meaning = "The folder with the policies, `*.cedar`; they are read again on SIGHUP.";
    let folder = table.required("folder", PathTo::Folder, meaning)?;
    if !check {
        return Some(folder);
    }
    let faults = match PolicyFiles::read(&folder).map(|files| files.load()) {
        Ok(Ok(_)) => return Some(folder),
        Ok(Err(faults)) => faults.iter().map(ToString::to_string).collect(),
        Err(error) => vec![Causes(&error).to_string()],
    };
    for fault in faults {
        table.refuse::<()>("folder", fault, Some("`sab policy check` looks at policies alone"));
    }
    None
}

fn read_timing(table: &mut Table<'_>) -> Option<Timing> {
    let mut time = |name: &str, max, default: &str, meaning: &str| {
        table.default(name, kind::duration("10ms", max), default, meaning)
    };
    let heartbeat = time("heartbeat", "10s", "\"250ms\"", "The longest time between two epoch statements.");
    let staleness = time(
        "staleness",
        "1m",
        "\"1s\"",
        "How old a statement may be at a broker: the greatest `staleness` that any broker is configured with.",
    );
    let max_clock_skew = time(
        "max_clock_skew",
        "1m",
        "\"500ms\"",
        "How far the clocks of a broker and the authority may differ: the greatest that any broker is configured with.",
    );
    let (heartbeat, staleness, max_clock_skew) = (heartbeat?, staleness?, max_clock_skew?);
    if heartbeat.saturating_mul(2) > staleness {
        let hint = "a broker must be able to miss one";
        return table.refuse("heartbeat", "is longer than half of `staleness`", Some(hint));
    }
    Some(Timing { heartbeat, staleness, max_clock_skew })
}

fn read_bounds(table: &mut Table<'_>) -> Option<Bounds> {
    let meaning = "The most proposals of one agent that wait for people.";
    let pending_per_agent = table.default("pending_per_agent", Integer(1..=10_000), "20", meaning);
    let mut time = |name: &str, min, max, default: &str, meaning: &str| -> Option<Duration> {
        table.default(name, kind::duration(min, max), default, meaning)
    };
    let pending = time("pending", "1m", "90d", "\"1d\"", "How long a proposal waits for people.");
    let meaning = "The longest validity of a certificate, whatever policies say.";
    let max_validity = time("max_validity", "1s", "365d", "\"30d\"", meaning);
    let read = time("read_timeout", "10ms", "1m", "\"5s\"", "The longest wait for the live state of one object.");
    Some(Bounds { pending_per_agent: pending_per_agent?, pending: pending?, max_validity: max_validity?, read: read? })
}

/// Whether no target is there twice, and each is for a broker that hears of revocations.
fn consistent(root: &Table<'_>, targets: &[TargetConfig], brokers: &BTreeSet<SpiffeId>) -> bool {
    let mut seen = BTreeSet::new();
    let mut faults: Vec<String> = Vec::new();
    for target in targets {
        if !seen.insert(&target.known.name) {
            faults.push(format!("`{}` is there twice", target.known.name));
        }
        if !brokers.contains(&target.broker) {
            faults.push(format!("`{}`: its broker is not one of the `brokers` of `[epochs]`", target.known.name));
        }
    }
    for fault in &faults {
        root.refuse::<()>("targets", fault, None);
    }
    faults.is_empty()
}
