//! What a verified certificate says, as far as a decision depends on it.

use spiffe::SpiffeId;

use super::facts::Peer;
use crate::attribute_certificate::{Addressee, VerifiedCertificate};
use crate::contract::Contract;
use crate::digest::Digest;
use crate::epoch::Revocable;
use crate::reason::Denial;
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
    /// Called for a verified certificate, and for nothing else but in tests of this crate.
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
        let CertifiedParts { holder, holder_key, broker: named, .. } = &self.parts;
        let addressee = Addressee { holder, holder_key: holder_key.as_ref(), broker: named };
        addressee.denials(&peer.id, Some(&peer.key), broker)
    }
}

impl From<&VerifiedCertificate> for Certified {
    fn from(certificate: &VerifiedCertificate) -> Self {
        let admission = certificate.admission();
        Self::new(CertifiedParts {
            digest: certificate.digest(),
            authority: certificate.authority().clone(),
            holder: certificate.holder().clone(),
            holder_key: certificate.holder_key().copied(),
            broker: certificate.broker().clone(),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            policy_epoch: admission.policy_epoch,
            revocation_epoch: admission.revocation_epoch,
            contract: certificate.contract().to_vec(),
        })
    }
}
