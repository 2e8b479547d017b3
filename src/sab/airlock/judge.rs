//! The decision on a proposal as a plain function: the same when it is made, and when it is derived again from its record
//! (I7).

use std::time::Duration;

use serde::Deserialize;
use spiffe::SpiffeId;

use crate::attribute_certificate::{Admission, AdmissionPath, Template, Tier};
use crate::contract::{Contract, Json, Number, TargetKind, TargetName, decode};
use crate::digest::Digest;
use crate::sab::ledger::{Detail, Entry, State};
use crate::sab::policy::{Facts, Outcome, Policies, Verdict};
use crate::sab::proposal::{Live, Proposal, Uncompilable};
use crate::spiffe_id;
use crate::timestamp::Timestamp;

/// Everything that a decision depends on besides the proposal, the live state and the policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Basis {
    /// Who proposes.
    pub(super) holder: SpiffeId,
    /// The key that the certificate is to be bound to.
    pub(super) holder_key: Option<Digest>,
    /// When.
    pub(super) now: Timestamp,
    /// The target, if there is one of that name.
    pub(super) target: Option<Certifiable>,
    /// What of the proposal was revoked before.
    pub(super) revoked: RevokedHere,
    /// The policies in force.
    pub(super) policy_digest: Digest,
    /// Their epoch.
    pub(super) policy_epoch: u64,
    /// The revocation epoch in force.
    pub(super) revocation_epoch: u64,
    /// The longest validity of a certificate, in seconds.
    pub(super) max_validity: u32,
    /// How long a proposal waits for people, in seconds.
    pub(super) pending: u32,
}

/// A target that certificates can be issued for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Certifiable {
    pub(super) kind: TargetKind,
    pub(super) broker: SpiffeId,
}

/// What of a proposal is revoked, also for certificates to come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RevokedHere {
    pub(super) holder: bool,
    pub(super) target: bool,
    pub(super) contract: bool,
}

/// The form in a record, besides what stands there for everybody to see.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    #[serde(default)]
    target: Option<WireTarget>,
    revoked: RevokedHere,
    policy_digest: Digest,
    policy_epoch: u64,
    revocation_epoch: u64,
    max_validity_seconds: u32,
    pending_seconds: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireTarget {
    kind: TargetKind,
    broker: spiffe_id::Text,
}

impl Basis {
    /// The form in a record.
    pub(super) fn to_json(&self) -> Json {
        let RevokedHere { holder, target, contract } = self.revoked;
        let target_json = self.target.as_ref().map(|target| {
            Json::object([("kind", Json::string(target.kind)), ("broker", Json::string(&target.broker))])
        });
        let revoked =
            Json::object([("holder", holder.into()), ("target", target.into()), ("contract", contract.into())]);
        let members = [
            ("target", target_json),
            ("revoked", Some(revoked)),
            ("policy_digest", Some(Json::string(self.policy_digest))),
            ("policy_epoch", Some(number(self.policy_epoch))),
            ("revocation_epoch", Some(number(self.revocation_epoch))),
            ("max_validity_seconds", Some(self.max_validity.into())),
            ("pending_seconds", Some(self.pending.into())),
        ];
        Json::object(members.into_iter().filter_map(|(name, value)| Some((name, value?))))
    }

    /// What [`Basis::to_json`] wrote; who proposed, by which key and when stands elsewhere in the record.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(
        json: &Json,
        holder: SpiffeId,
        holder_key: Option<Digest>,
        now: Timestamp,
    ) -> Result<Self, String> {
        let wire: Wire = decode(json).map_err(|(pointer, message)| format!("`/facts{pointer}`: {message}"))?;
        Ok(Self {
            holder,
            holder_key,
            now,
            target: wire.target.map(|target| Certifiable { kind: target.kind, broker: target.broker.0 }),
            revoked: wire.revoked,
            policy_digest: wire.policy_digest,
            policy_epoch: wire.policy_epoch,
            revocation_epoch: wire.revocation_epoch,
            max_validity: wire.max_validity_seconds,
            pending: wire.pending_seconds,
        })
    }

    /// What becomes of the proposal, and the contract that it was compiled to.
    pub(super) fn judge(
        &self,
        proposal: &Proposal,
        live: &[Live],
        compiled: Result<Contract, Uncompilable>,
        policies: &Policies,
    ) -> (Verdict, Option<Contract>) {
        let contract = match self.admissible(proposal, compiled) {
            Ok(contract) => contract,
            Err(explanation) => return (refuse(explanation), None),
        };
        let limits = *contract.limits();
        let evidence: Vec<String> = proposal.evidence().iter().map(|piece| piece.name.clone()).collect();
        let facts = Facts { agent: &self.holder, contract: &contract, live, evidence: &evidence, now: self.now };
        let verdict = if self.revoked.contract {
            refuse("all certificates over this contract are revoked, also new ones: propose another change".to_owned())
        } else if limits.not_after.since(limits.not_before) > Duration::from_secs(self.max_validity.into()) {
            let most = self.max_validity;
            refuse(format!("a certificate is valid for {most} s at most: ask for a nearer `until`, or a later `from`"))
        } else {
            policies.decide(&facts)
        };
        (verdict, Some(contract))
    }

    /// The contract, or why policies are not even asked.
    fn admissible(&self, proposal: &Proposal, compiled: Result<Contract, Uncompilable>) -> Result<Contract, String> {
        let target = proposal.target();
        match &self.target {
            None => return Err(format!("there is no target `{}` here: ask who runs the authority", target.name)),
            Some(known) if known.kind != target.kind => return Err(wrong_kind(&target.name, known.kind)),
            Some(_) => {}
        }
        if self.revoked.holder {
            return Err("all certificates of this agent are revoked, also new ones: ask who runs the authority".into());
        }
        if self.revoked.target {
            return Err(format!("all certificates for `{}` are revoked, also new ones", target.name));
        }
        compiled.map_err(|error| error.to_string())
    }

    /// How the proposal stands after this verdict, without a certificate.
    pub(super) fn entry(&self, id: String, text: &str, verdict: Verdict, contract: Option<&Contract>) -> Entry {
        let state = match (verdict.outcome, contract, &self.target) {
            (Outcome::Admit, Some(_), Some(_)) => State::Admitted,
            (Outcome::NeedsPeople, Some(_), Some(_)) => State::Pending,
            _ => State::Refused,
        };
        let pending = contract.filter(|_| state == State::Pending);
        let waits = self.now.saturating_add(Duration::from_secs(self.pending.into()));
        Entry {
            id,
            holder: self.holder.clone(),
            state,
            proposed_at: self.now,
            decided_at: (state != State::Pending).then_some(self.now),
            expires_at: pending.map(|contract| waits.min(contract.limits().not_after)),
            detail: Detail {
                proposal: text.to_owned(),
                tier: verdict.tier,
                explanations: verdict.explanations,
                policies: verdict.policies,
                contract: contract.map(|contract| contract.canonical().to_owned()).unwrap_or_default(),
                contract_digest: contract.map(Contract::digest),
                holder_key: self.holder_key,
                ..Detail::default()
            },
            certificate: None,
        }
    }

    /// What the certificate says of the admission.
    pub(super) fn admission(&self, proposal: &Proposal, tier: Option<Tier>) -> Admission {
        Admission {
            policy_digest: self.policy_digest,
            policy_epoch: self.policy_epoch,
            revocation_epoch: self.revocation_epoch,
            evidence_digest: proposal.evidence_digest(),
            path: AdmissionPath::Automatic,
            tier: tier.unwrap_or(Tier::Critical),
            approvals: Vec::new(),
        }
    }

    /// The certificate but for its signature; none where there is no target to issue it for.
    pub(super) fn template<'a>(
        &'a self,
        contract: &'a Contract,
        admission: &'a Admission,
        serial: &'a [u8],
    ) -> Option<Template<'a>> {
        Some(Template {
            serial,
            holder: &self.holder,
            holder_key: self.holder_key,
            broker: &self.target.as_ref()?.broker,
            not_before: contract.limits().not_before,
            not_after: contract.limits().not_after,
            contract,
            admission,
        })
    }
}

fn refuse(explanation: String) -> Verdict {
    Verdict { outcome: Outcome::Refuse, tier: None, policies: Vec::new(), explanations: vec![explanation] }
}

fn wrong_kind(name: &TargetName, kind: TargetKind) -> String {
    format!("`{name}` is a target of kind `{kind}`")
}

/// Epochs are at most what JSON holds exactly.
fn number(number: u64) -> Json {
    let number = i64::try_from(number).ok().and_then(|number| Number::from_integer(number).ok());
    number.map_or(Json::Null, Json::Number)
}
