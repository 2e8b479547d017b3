//! Metrics in OpenMetrics text, as a closed table.

use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry;

/// The bounds of histograms of durations, in seconds: from 100 µs to 30 s.
pub const SECONDS: [f64; 17] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// A gauge of a number with a fraction.
type Real = Gauge<f64, AtomicU64>;

/// All metrics of a process. They are registered before it serves, then only read.
pub struct Registry {
    prefix: &'static str,
    registry: registry::Registry,
    docs: Vec<MetricDoc>,
    refresh: Vec<Box<dyn Fn() + Send + Sync>>,
}

/// What is said of one metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricDoc {
    /// Its name, as it is scraped, without the suffixes of a histogram.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("docs", &self.docs).finish_non_exhaustive()
    }
}

impl Registry {
    /// No metrics yet; the names of all begin with `prefix` and `_`.
    pub fn new(prefix: &'static str) -> Self {
        Self { prefix, registry: registry::Registry::with_prefix(prefix), docs: Vec::new(), refresh: Vec::new() }
    }

    /// Adds a metric. `name` is without prefix, and without the `_total` of a counter; `help` is a sentence.
    pub fn add<M>(&mut self, name: &str, labels: &'static [&'static str], help: &'static str, metric: M) -> M
    where
        M: EncodeMetric + TypedMetric + Clone + fmt::Debug + Send + Sync + 'static,
    {
        let (kind, suffix) = match M::TYPE {
            MetricType::Counter => ("counter", "_total"),
            MetricType::Histogram => ("histogram", ""),
            _ => ("gauge", ""),
        };
        self.docs.push(MetricDoc { name: format!("{}_{name}{suffix}", self.prefix), kind, labels, help });
        // The library ends the text with a full stop.
        self.registry.register(name, help.trim_end_matches('.'), metric.clone());
        metric
    }

    /// Calls `refresh` before each answer, for gauges that are computed.
    pub fn on_scrape(&mut self, refresh: impl Fn() + Send + Sync + 'static) {
        self.refresh.push(Box::new(refresh));
    }

    /// All metrics, in the order in which they were added.
    pub fn describe(&self) -> &[MetricDoc] {
        &self.docs
    }

    /// The OpenMetrics text.
    pub fn render(&self) -> String {
        self.refresh.iter().for_each(|refresh| refresh());
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// A histogram of durations.
fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

/// The labels of a call.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CallLabels {
    /// The path of the method, or `other` for one that is not in the table of methods.
    pub method: &'static str,
    /// The code of gRPC, such as `ok` or `permission_denied`.
    pub code: &'static str,
}

/// What every gRPC server counts.
#[derive(Debug, Clone)]
pub struct GrpcMetrics {
    /// Calls that were answered.
    pub calls: Family<CallLabels, Counter>,
    /// How long each took, from its head to the head of its answer.
    pub seconds: Histogram,
    /// Requests that are worked on.
    pub running: Gauge,
    /// Requests that wait for their turn.
    pub waiting: Gauge,
    /// Open streams of answers.
    pub streams: Gauge,
}

impl GrpcMetrics {
    /// Adds them to a registry.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            calls: registry.add(
                "grpc_calls",
                &["method", "code"],
                "Calls that were answered, by method and gRPC code.",
                Family::default(),
            ),
            seconds: registry.add(
                "grpc_seconds",
                &[],
                "Seconds from the head of a call to the head of its answer, waiting included.",
                seconds(),
            ),
            running: registry.add("grpc_running", &[], "Requests that are worked on.", Gauge::default()),
            waiting: registry.add("grpc_waiting", &[], "Requests that wait for their turn.", Gauge::default()),
            streams: registry.add("grpc_streams", &[], "Open streams of answers.", Gauge::default()),
        }
    }
}

/// The labels of an execution.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ExecutionLabels {
    /// The state, as records name it, or `denied`.
    pub state: &'static str,
    /// The reason that was the answer; empty where there is none.
    pub reason: &'static str,
}

/// The labels of a phase.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PhaseLabels {
    phase: &'static str,
}

/// The labels of what each authority has.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AuthorityLabels {
    authority: String,
}

/// The labels of a certificate of the process itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateLabels {
    certificate: &'static str,
}

/// A phase of an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Verifying the certificate.
    Verify,
    /// Gathering the facts.
    Facts,
    /// Of it, asking the target for a dry run.
    DryRun,
    /// Consuming the use and appending the decision.
    Claim,
    /// Minting the execution identity.
    Mint,
    /// Passing the fence and making the call.
    Call,
    /// Appending the outcome.
    Complete,
}

impl Phase {
    /// All phases, in order.
    pub const ALL: [Self; 7] =
        [Self::Verify, Self::Facts, Self::DryRun, Self::Claim, Self::Mint, Self::Call, Self::Complete];

    /// The name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Facts => "facts",
            Self::DryRun => "dry_run",
            Self::Claim => "claim",
            Self::Mint => "mint",
            Self::Call => "call",
            Self::Complete => "complete",
        }
    }
}

/// What the broker counts.
#[derive(Debug, Clone)]
pub struct BrokerMetrics {
    executions: Family<ExecutionLabels, Counter>,
    execution_seconds: Histogram,
    phase_seconds: Family<PhaseLabels, Histogram, fn() -> Histogram>,
    /// Executions that began and have not ended.
    pub in_flight: Gauge,
    /// Decisions without a settled outcome, as the reconciler last saw them.
    pub open: Gauge,
    epoch_age: Family<AuthorityLabels, Real>,
    /// How long a durable commit took.
    pub commit_seconds: Histogram,
    /// 1 while the store can be written to, else 0.
    pub store_writable: Gauge,
    /// The number of the newest record.
    pub log_head: Gauge,
    /// Whether the source of the broker's identity is reached.
    pub identity_source_up: Gauge,
    certificate_seconds: Family<CertificateLabels, Gauge>,
}

impl BrokerMetrics {
    /// Adds them to a registry.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            executions: registry.add(
                "executions",
                &["state", "reason"],
                "Executions that ended and refusals, by state and reason.",
                Family::default(),
            ),
            execution_seconds: registry.add(
                "execution_seconds",
                &[],
                "Seconds of an execution, from the request to its recorded outcome.",
                seconds(),
            ),
            phase_seconds: registry.add(
                "phase_seconds",
                &["phase"],
                "Seconds of each phase of an execution: verify, facts (of it dry_run), claim, mint, call, complete.",
                Family::new_with_constructor(seconds as fn() -> Histogram),
            ),
            in_flight: registry.add(
                "executions_in_flight",
                &[],
                "Executions that began and have not ended.",
                Gauge::default(),
            ),
            open: registry.add(
                "executions_open",
                &[],
                "Decisions without a settled outcome, as the reconciler last saw them.",
                Gauge::default(),
            ),
            epoch_age: registry.add(
                "epoch_age_seconds",
                &["authority"],
                "Seconds since the newest epoch statement of each authority was received.",
                Family::default(),
            ),
            commit_seconds: registry.add(
                "store_commit_seconds",
                &[],
                "Seconds until a write to the store was durable.",
                seconds(),
            ),
            store_writable: registry.add(
                "store_writable",
                &[],
                "1 while the store can be written to; 0 after a failure, until a write succeeds.",
                Gauge::default(),
            ),
            log_head: registry.add("log_head", &[], "The number of the newest record.", Gauge::default()),
            identity_source_up: registry.add(
                "identity_source_up",
                &[],
                "1 while the source of the broker's identity is reached and its last update is in use, 0 otherwise.",
                Gauge::default(),
            ),
            certificate_seconds: registry.add(
                "certificate_remaining_seconds",
                &["certificate"],
                "Seconds until a certificate of the broker's ends: svid, execution_ca.",
                Family::default(),
            ),
        }
    }

    /// An execution ended, or was refused; `seconds` is what it took.
    pub fn executed(&self, state: &'static str, reason: &'static str, seconds: f64) {
        self.executions.get_or_create(&ExecutionLabels { state, reason }).inc();
        self.execution_seconds.observe(seconds);
    }

    /// A phase took so many seconds.
    pub fn phase(&self, phase: Phase, seconds: f64) {
        self.phase_seconds.get_or_create(&PhaseLabels { phase: phase.as_str() }).observe(seconds);
    }

    /// The newest epoch statement of a configured authority has this age.
    pub fn epoch_age(&self, authority: &spiffe::SpiffeId, seconds: f64) {
        self.epoch_age.get_or_create(&AuthorityLabels { authority: authority.to_string() }).set(seconds);
    }

    /// The SVID ends in so many seconds.
    pub fn svid_remaining(&self, seconds: i64) {
        self.certificate_seconds.get_or_create(&CertificateLabels { certificate: "svid" }).set(seconds);
    }

    /// The execution CA ends in so many seconds.
    pub fn execution_ca_remaining(&self, seconds: i64) {
        self.certificate_seconds.get_or_create(&CertificateLabels { certificate: "execution_ca" }).set(seconds);
    }
}
