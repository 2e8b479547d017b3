//! From a proposal to a certificate, a refusal, or a question to people.
//!
//! In this order: the proposal is read; the live state is read, with an identity that can only read; both give the
//! contract; the facts are put to the policies; what they say is recorded, signed, with everything that it can be derived
//! again from; and only then anybody hears of it. What holds:
//!
//! - A certificate leaves only after the record of its admission is durable. It says exactly what the contract says:
//!   holder, broker and validity come from the authority's own configuration, the caller's verified identity and the
//!   contract, never from the proposal's word.
//! - A fact that is missing admits nothing (I9): an object that cannot be read, policies that are being exchanged, a
//!   record that cannot be written.
//! - One agent cannot keep people from the proposals of others: pending ones are bounded for each.

mod draft;
mod error;
mod judge;
mod replay;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base64ct::{Base64, Encoding};
use spiffe::SpiffeId;
use tokio::sync::watch;

pub(super) use draft::tier_name;
use draft::{Decided, media};
pub use error::AirlockError;
use judge::{Basis, Certifiable, RevokedHere};
pub use replay::replay;

use super::authority::Authority;
use super::epochs::{Durable, Epochs, Revocation, Revoked};
use super::ledger::{Entry, Filter, Ledger, State};
use super::policy::{Fault, Policies, PolicyFiles};
use super::proposal::{Live, Proposal};
use crate::clock;
use crate::contract::{Contract, Pointer, Resource, TargetName};
use crate::decision::{LiveState, Peer};
use crate::key::fresh_serial;
use crate::record::Artefact;
use crate::store::Store;
use crate::target::Target;
use crate::timestamp::Timestamp;

/// A target, as the authority knows it.
#[derive(Clone)]
pub struct KnownTarget {
    /// The broker that certificates for it are for.
    pub broker: SpiffeId,
    /// Reads it. Nothing here could make it perform: that takes a permit and an execution identity.
    pub reader: Arc<dyn Target>,
}

/// How much the airlock takes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The most proposals of one agent that wait for people.
    pub pending_per_agent: u32,
    /// How long a proposal waits for people.
    pub pending: Duration,
    /// The longest validity of a certificate, whatever policies say.
    pub max_validity: Duration,
    /// The longest wait for the live state of one object.
    pub read: Duration,
}

/// The policies in force, and their text for the record.
struct InForce {
    policies: Policies,
    artefact: Option<Artefact>,
}

/// Decides on proposals.
pub struct Airlock<S> {
    bounds: Bounds,
    targets: BTreeMap<TargetName, KnownTarget>,
    policies: watch::Sender<Arc<InForce>>,
    epochs: Epochs,
    ledger: Ledger,
    store: Arc<S>,
    authority: watch::Receiver<Arc<Authority>>,
}

impl InForce {
    /// The policies in these files, or, where something is wrong with them, none: then everything is refused.
    fn load(files: &PolicyFiles) -> (Self, Vec<Fault>) {
        match files.load() {
            Ok(policies) => {
                let artefact = Artefact::new(media::POLICIES, files.to_json().into_bytes());
                (Self { policies, artefact: artefact.ok() }, Vec::new())
            }
            Err(faults) => (Self { policies: Policies::deny_all(), artefact: None }, faults),
        }
    }
}

impl<S: Store> Airlock<S> {
    /// An airlock under these policies, which are in force with `epochs` already; what is wrong with them. Where anything
    /// is, it refuses everything.
    pub fn new(
        bounds: Bounds,
        targets: BTreeMap<TargetName, KnownTarget>,
        files: &PolicyFiles,
        epochs: Epochs,
        ledger: Ledger,
        store: Arc<S>,
        authority: watch::Receiver<Arc<Authority>>,
    ) -> (Self, Vec<Fault>) {
        let (in_force, faults) = InForce::load(files);
        let policies = watch::Sender::new(Arc::new(in_force));
        (Self { bounds, targets, policies, epochs, ledger, store, authority }, faults)
    }

    /// Puts other policies in force. Where something is wrong with them everything is refused from now on, and the policy
    /// epoch stays as it is: what was admitted before is as good as it was.
    ///
    /// # Errors
    /// The step of the policy epoch could not be made durable; the policies are those of before.
    pub async fn reload(&self, files: &PolicyFiles) -> Result<Vec<Fault>, AirlockError> {
        let (in_force, faults) = InForce::load(files);
        if !in_force.policies.is_deny_all() {
            self.epochs.policies(in_force.policies.digest()).await?;
        }
        self.policies.send_replace(Arc::new(in_force));
        Ok(faults)
    }

    /// Whether the policies are broken, so that everything is refused.
    pub fn is_deny_all(&self) -> bool {
        self.policies.borrow().policies.is_deny_all()
    }

    /// Decides on a proposal of `peer`. With `bind_to_key` the certificate is bound to the key that `peer` has now.
    ///
    /// # Errors
    /// No decision was made: see [`AirlockError`]. A refusal is no error, but an [`Entry`] in that state.
    pub async fn propose(&self, peer: &Peer, text: &str, bind_to_key: bool) -> Result<Entry, AirlockError> {
        let proposal = Proposal::parse(text)?;
        // In this order: policies that are newer than the epochs would give a certificate of a past epoch.
        let epochs = self.epochs.state();
        let in_force = Arc::clone(&self.policies.borrow());
        if !in_force.policies.is_deny_all() && epochs.policy_digest != Some(in_force.policies.digest()) {
            return Err(AirlockError::PoliciesChanging);
        }
        let target = self.targets.get(&proposal.target().name);
        let live = match target {
            Some(target) if target.reader.kind() == proposal.target().kind => self.read(target, &proposal).await?,
            _ => Vec::new(),
        };
        let now = clock::now()?;
        let compiled = proposal.compile(&live, now);
        let basis = self.basis(peer, bind_to_key, now, (&epochs, &in_force), &proposal, compiled.as_ref().ok());
        let (verdict, contract) = basis.judge(&proposal, &live, compiled, &in_force.policies);
        let mut entry = basis.entry(fresh_id()?, text, verdict, contract.as_ref());
        match (entry.state, &contract) {
            (State::Pending, _) => self.room_for(&entry.holder).await?,
            (State::Admitted, Some(contract)) => self.issue(&mut entry, &basis, &proposal, contract)?,
            _ => {}
        }
        let policies = in_force.artefact.clone();
        let mut decided = Decided { entry, basis, live, contract, proposal, policies };
        decided.entry.detail.record = self.record(&decided).await?;
        self.ledger.insert(&decided.entry).await?;
        Ok(decided.entry)
    }

    /// One proposal; of `holder` only, if one is given.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn get(&self, holder: Option<&SpiffeId>, id: &str) -> Result<Option<Entry>, AirlockError> {
        let entry = self.ledger.get(id).await?;
        Ok(entry.filter(|entry| holder.is_none_or(|holder| entry.holder == *holder)))
    }

    /// Proposals, newest first, each with its place.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn list(&self, filter: &Filter) -> Result<Vec<(i64, Entry)>, AirlockError> {
        Ok(self.ledger.list(filter).await?)
    }

    /// Revokes, and answers when nothing that it covers starts any more.
    ///
    /// It is revoked before it is recorded: a full disk must not keep anybody from it.
    ///
    /// # Errors
    /// It could not be made durable, or not be recorded; in that case it holds all the same.
    pub async fn revoke(
        &self,
        operator: &SpiffeId,
        revocation: Revocation,
        cause: &str,
    ) -> Result<Revoked, AirlockError> {
        let draft = draft::revoked(&revocation, operator, self.authority.borrow().id(), cause, clock::now()?);
        let revoked = self.epochs.revoke(revocation).await?;
        self.store.append(draft).await?;
        Ok(revoked)
    }

    /// Ends pending proposals whose time is over; how many. To be called now and then.
    ///
    /// # Errors
    /// One could not be recorded; it stays pending, and cannot be approved any more.
    pub async fn expire(&self) -> Result<usize, AirlockError> {
        let now = clock::now()?;
        let overdue = self.ledger.overdue(now).await?;
        for mut entry in overdue.iter().cloned() {
            entry.state = State::Expired;
            entry.decided_at = Some(now);
            entry.detail.explanations.push("nobody decided in time: propose again".to_owned());
            // With the time at which it expired.
            let draft = draft::expired(&entry, self.authority.borrow().id(), now)?;
            entry.expires_at = None;
            entry.detail.record = self.store.append(draft).await?.number;
            self.ledger.end(&entry).await?;
        }
        Ok(overdue.len())
    }

    /// The live state of each step's object, one after the other.
    async fn read(&self, target: &KnownTarget, proposal: &Proposal) -> Result<Vec<Live>, AirlockError> {
        let whole = BTreeSet::from([Pointer::root()]);
        let mut live = Vec::with_capacity(proposal.resources().len());
        for resource in proposal.resources() {
            let read = tokio::time::timeout(self.bounds.read, target.reader.read(resource, &whole)).await;
            live.push(read.ok().and_then(to_live).ok_or_else(|| unreadable(proposal, resource))?);
        }
        Ok(live)
    }

    /// What the decision on a proposal depends on besides itself, the live state and the policies.
    fn basis(
        &self,
        peer: &Peer,
        bind_to_key: bool,
        now: Timestamp,
        (epochs, in_force): (&Durable, &InForce),
        proposal: &Proposal,
        contract: Option<&Contract>,
    ) -> Basis {
        let (known, revoked) = (self.targets.get(&proposal.target().name), &epochs.revoked);
        let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
        Basis {
            holder: peer.id.clone(),
            holder_key: bind_to_key.then_some(peer.key),
            now,
            target: known.map(|known| Certifiable { kind: known.reader.kind(), broker: known.broker.clone() }),
            revoked: RevokedHere {
                holder: revoked.holders.contains(&peer.id),
                target: revoked.targets.contains(&proposal.target().name),
                contract: contract.is_some_and(|contract| revoked.contracts.contains(&contract.digest())),
            },
            policy_digest: in_force.policies.digest(),
            policy_epoch: epochs.policy_epoch,
            revocation_epoch: epochs.revocation_epoch,
            max_validity: seconds(self.bounds.max_validity),
            pending: seconds(self.bounds.pending),
        }
    }

    /// Whether another proposal of the agent may wait for people.
    async fn room_for(&self, holder: &SpiffeId) -> Result<(), AirlockError> {
        let most = self.bounds.pending_per_agent;
        let waiting = self.ledger.pending(holder).await?;
        if waiting < most { Ok(()) } else { Err(AirlockError::TooManyPending(most)) }
    }

    fn issue(
        &self,
        entry: &mut Entry,
        basis: &Basis,
        proposal: &Proposal,
        contract: &Contract,
    ) -> Result<(), AirlockError> {
        let authority = Arc::clone(&self.authority.borrow());
        let serial = fresh_serial().map_err(AirlockError::Random)?;
        let admission = basis.admission(proposal, entry.detail.tier);
        let Some(template) = basis.template(contract, &admission, &serial) else { return Ok(()) };
        let certificate = authority.issue(&template)?;
        entry.certificate = Some(certificate.octets().to_vec());
        entry.detail.chain = authority.chain().iter().map(|der| Base64::encode_string(der)).collect();
        Ok(())
    }

    /// Records what was decided; the number of the record. Durable when it returns.
    async fn record(&self, decided: &Decided) -> Result<u64, AirlockError> {
        let authority = self.authority.borrow().id().clone();
        let head = self.store.append(draft::decided(decided, &authority)?).await?;
        Ok(head.number)
    }
}

fn unreadable(proposal: &Proposal, resource: &Resource) -> AirlockError {
    let path = resource.paths().into_iter().next().unwrap_or_default();
    AirlockError::Unreadable { target: proposal.target().name.clone(), resource: path }
}

/// The whole object, where it could be read.
fn to_live(state: LiveState) -> Option<Live> {
    match state {
        LiveState::Absent { .. } => Some(Live::Absent),
        LiveState::Present { identity, version, mut fields, .. } => {
            let state = fields.remove(&Pointer::root())??;
            Some(Live::Present { identity, version, state })
        }
        LiveState::Unknown | LiveState::Deferred => None,
    }
}

fn fresh_id() -> Result<String, AirlockError> {
    let random = fresh_serial().map_err(AirlockError::Random)?;
    Ok(format!("p-{}", base16ct::lower::encode_string(&random)))
}
