//! What a verified certificate says, as far as a decision depends on it.

use spiffe::SpiffeId;

use super::facts::Peer;
use crate::contract::Contract;
use crate::digest::Digest;
use crate::epoch::Revocable;
use crate::reason::{Denial, Reason};
use crate::timestamp::Timestamp;

/// The facts of a certificate whose signature, path and profile were verified.
///
/// Only verification makes one, so that to hold one is to know that an authority said this. The contract is read once,
/// from the certified octets, and cannot be exchanged for another.
#[derive(Debug, Clone)]
pub struct Certified {
    parts: CertifiedParts,
    contract: Result<Contract, Denial>,
    contract_digest: Digest,
}

/// What [`Certified`] is made of.
#[derive(Debug, Clone)]
pub struct CertifiedParts {
    /// The digest of the certificate's octets.
    pub digest: Digest,
    /// The authority that issued it.
    pub authority: SpiffeId,
    /// The agent that may use it.
    pub holder: SpiffeId,
    /// The digest of the agent's public key, where the certificate is bound to one.
    pub holder_key: Option<Digest>,
    /// The broker that it is for.
    pub broker: SpiffeId,
    /// The first second of its validity.
    pub not_before: Timestamp,
    /// The last second of its validity, which still counts.
    pub not_after: Timestamp,
    /// The policy epoch that it was admitted in.
    pub policy_epoch: u64,
    /// The revocation epoch that it was admitted in.
    pub revocation_epoch: u64,
    /// The octets of the contract.
    pub contract: Vec<u8>,
}

impl Certified {
    /// Called by verification, and by nothing else.
    #[cfg_attr(not(test), expect(dead_code, reason = "verification, which makes it, follows"))]
    pub(crate) fn new(parts: CertifiedParts) -> Self {
        let contract = Contract::parse(&parts.contract);
        let contract_digest = Digest::of(&parts.contract);
        Self { parts, contract, contract_digest }
    }

    /// What the certificate says.
    pub const fn parts(&self) -> &CertifiedParts {
        &self.parts
    }

    /// The contract that it certifies.
    ///
    /// # Errors
    /// The certified octets are no contract.
    pub const fn contract(&self) -> Result<&Contract, &Denial> {
        self.contract.as_ref()
    }

    /// The digest of the certified contract, also where its octets are none.
    pub const fn contract_digest(&self) -> Digest {
        self.contract_digest
    }

    /// Everything about the certificate that a revocation can name.
    pub fn revocable(&self) -> Revocable {
        Revocable {
            authority: self.parts.authority.clone(),
            certificate: self.parts.digest,
            holder: self.parts.holder.clone(),
            contract: self.contract_digest,
            target: self.contract.as_ref().ok().map(|contract| contract.target_name().clone()),
            policy_epoch: self.parts.policy_epoch,
            revocation_epoch: self.parts.revocation_epoch,
        }
    }

    /// The fourth verdict: is the certificate for this agent and this broker? Empty if it is for both.
    pub fn targeting(&self, peer: &Peer, broker: &SpiffeId) -> Vec<Denial> {
        let parts = &self.parts;
        let mut denials = Vec::new();
        if parts.broker != *broker {
            let detail = format!("the certificate is for `{}`, this is `{broker}`", parts.broker);
            denials.push(Denial::new(Reason::WrongBroker, detail));
        }
        if parts.holder != peer.id {
            let detail = format!("the certificate is for `{}`, the caller is `{}`", parts.holder, peer.id);
            denials.push(Denial::new(Reason::WrongHolder, detail));
        }
        if let Some(key) = parts.holder_key.filter(|key| *key != peer.key) {
            let detail = format!("the certificate is bound to the key {key}, the caller's is {}", peer.key);
            denials.push(Denial::new(Reason::WrongHolderKey, detail));
        }
        denials
    }
}
