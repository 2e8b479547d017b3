//! Fourth verdict: is the certificate for this agent, and for this broker?

use spiffe::SpiffeId;

use super::path::VerifiedCertificate;
use crate::digest::Digest;
use crate::reason::{Denial, Reason};

/// Fourth verdict: every reason why `certificate` is not for the caller `holder`, whose SVID has the public key with
/// the digest `holder_key` (SHA-256 of its SubjectPublicKeyInfo), or not for the broker `broker`.
///
/// A certificate that is bound to a key is refused to a caller whose key is not known. Empty: it is for them.
pub fn targeting(
    certificate: &VerifiedCertificate,
    holder: &SpiffeId,
    holder_key: Option<&Digest>,
    broker: &SpiffeId,
) -> Vec<Denial> {
    let mut denials = Vec::new();
    if certificate.broker() != broker {
        let detail = format!("for `{}`, not for `{broker}`", certificate.broker());
        denials.push(Denial::new(Reason::WrongBroker, detail));
    }
    if certificate.holder() != holder {
        let detail = format!("for `{}`, not for `{holder}`", certificate.holder());
        denials.push(Denial::new(Reason::WrongHolder, detail));
    }
    if let Some(bound) = certificate.holder_key()
        && holder_key != Some(bound)
    {
        let detail = match holder_key {
            Some(key) => format!("bound to the key {bound}, not to {key}"),
            None => format!("bound to the key {bound}, and the caller's is not known"),
        };
        denials.push(Denial::new(Reason::WrongHolderKey, detail));
    }
    denials
}
