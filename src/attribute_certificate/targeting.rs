//! Fourth verdict: is the certificate for this agent, and for this broker?

use spiffe::SpiffeId;

use super::path::VerifiedCertificate;
use crate::digest::Digest;
use crate::reason::{Denial, Reason};

/// Whom a certificate is for.
#[derive(Debug, Clone, Copy)]
pub struct Addressee<'a> {
    /// The agent that may present it.
    pub holder: &'a SpiffeId,
    /// SHA-256 of the SubjectPublicKeyInfo that the agent must have, if the certificate is bound to one.
    pub holder_key: Option<&'a Digest>,
    /// The broker that it may be presented to.
    pub broker: &'a SpiffeId,
}

impl Addressee<'_> {
    /// Every reason why a certificate for these is not for the caller `holder`, whose public key has the digest
    /// `holder_key`, or not for the broker `broker`. Empty: it is for them.
    ///
    /// A certificate that is bound to a key is refused to a caller whose key is not known.
    pub fn denials(&self, holder: &SpiffeId, holder_key: Option<&Digest>, broker: &SpiffeId) -> Vec<Denial> {
        let mut denials = Vec::new();
        if self.broker != broker {
            let detail = format!("the certificate is for `{}`, this is `{broker}`", self.broker);
            denials.push(Denial::new(Reason::WrongBroker, detail));
        }
        if self.holder != holder {
            let detail = format!("the certificate is for `{}`, the caller is `{holder}`", self.holder);
            denials.push(Denial::new(Reason::WrongHolder, detail));
        }
        if let Some(bound) = self.holder_key
            && holder_key != Some(bound)
        {
            let detail = match holder_key {
                Some(key) => format!("the certificate is bound to the key {bound}, the caller's is {key}"),
                None => format!("the certificate is bound to the key {bound}, and the caller's is not known"),
            };
            denials.push(Denial::new(Reason::WrongHolderKey, detail));
        }
        denials
    }
}

/// Fourth verdict: every reason why `certificate` is not for the caller, or not for this broker
/// ([`Addressee::denials`]).
pub fn targeting(
    certificate: &VerifiedCertificate,
    holder: &SpiffeId,
    holder_key: Option<&Digest>,
    broker: &SpiffeId,
) -> Vec<Denial> {
    let addressee =
        Addressee { holder: certificate.holder(), holder_key: certificate.holder_key(), broker: certificate.broker() };
    addressee.denials(holder, holder_key, broker)
}
