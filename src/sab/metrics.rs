//! What the authority counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use crate::telemetry::{Registry, SECONDS};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProposalLabels {
    outcome: &'static str,
    tier: &'static str,
}

/// What the authority counts.
#[derive(Debug, Clone)]
pub struct SabMetrics {
    proposals: Family<ProposalLabels, Counter>,
    proposal_seconds: Histogram,
    /// 1 while the policies are broken, so that everything is refused.
    pub policies_broken: Gauge,
    /// The policy epoch in force.
    pub policy_epoch: Gauge,
    /// The revocation epoch in force.
    pub revocation_epoch: Gauge,
    /// How many names are revoked.
    pub revoked: Gauge,
    /// Epoch streams of brokers that are open.
    pub brokers: Gauge,
    revoke_seconds: Histogram,
}

impl SabMetrics {
    /// Adds them to a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let seconds = || Histogram::new(SECONDS.iter().copied());
        Self {
            proposals: registry.add(
                "proposals",
                &["outcome", "tier"],
                "Proposals, by what became of them at once (admitted, refused, pending, error) and by tier.",
                Family::default(),
            ),
            proposal_seconds: registry.add(
                "proposal_seconds",
                &[],
                "Seconds from a proposal to its recorded decision.",
                seconds(),
            ),
            policies_broken: registry.add(
                "policies_broken",
                &[],
                "1 while the policies are broken, so that everything is refused; else 0.",
                Gauge::default(),
            ),
            policy_epoch: registry.add("policy_epoch", &[], "The policy epoch in force.", Gauge::default()),
            revocation_epoch: registry.add("revocation_epoch", &[], "The revocation epoch in force.", Gauge::default()),
            revoked: registry.add("revoked_names", &[], "How many names are revoked.", Gauge::default()),
            brokers: registry.add("broker_streams", &[], "Epoch streams of brokers that are open.", Gauge::default()),
            revoke_seconds: registry.add(
                "revoke_seconds",
                &[],
                "Seconds from a revocation until it held everywhere.",
                seconds(),
            ),
        }
    }

    /// A proposal was decided, or failed.
    pub fn proposed(&self, outcome: &'static str, tier: &'static str, seconds: f64) {
        self.proposals.get_or_create(&ProposalLabels { outcome, tier }).inc();
        self.proposal_seconds.observe(seconds);
    }

    /// A revocation holds everywhere.
    pub fn revoked(&self, seconds: f64) {
        self.revoke_seconds.observe(seconds);
    }
}
