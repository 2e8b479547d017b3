//! Gives a draft its place in the log and its signature.

use super::statement::Statement;
use super::{ArtefactRef, Draft, InvalidDraft, Link, MAX_ENVELOPE, MAX_NUMBER, dsse};
use crate::digest::Digest;
use crate::key::{InvalidKey, SigningKey};
use crate::timestamp::Timestamp;

/// A record, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Its place in the log, from 1.
    pub number: u64,
    /// The SHA-256 of the envelope.
    pub digest: Digest,
    /// Its time.
    pub time: Timestamp,
    /// The DSSE envelope: canonical JSON.
    pub envelope: Vec<u8>,
}

/// A draft could not be sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The draft breaks a rule.
    #[error("not a record")]
    Draft(#[source] InvalidDraft),
    /// The envelope would be too large.
    #[error("the record has {0} octets; at most {MAX_ENVELOPE} are allowed: keep what is large as an artefact")]
    TooLarge(usize),
    /// The log is full.
    #[error("no record follows number {MAX_NUMBER}")]
    Number,
    /// The key did not sign.
    #[error("the record could not be signed")]
    Key(#[source] InvalidKey),
}

/// Seals `draft` at the place that `link` names, not before `not_before`, the time of the record before.
///
/// `key_id` is [`super::PublicKey::key_id`] of the signer's public half.
///
/// # Errors
/// See [`SealError`]. Nothing of the place is used up then.
pub fn seal(
    draft: &Draft,
    link: Link,
    not_before: Timestamp,
    signer: &SigningKey,
    key_id: &str,
) -> Result<Sealed, SealError> {
    draft.check().map_err(SealError::Draft)?;
    if link.number > MAX_NUMBER {
        return Err(SealError::Number);
    }
    let time = draft.time.max(not_before);
    let references: Vec<ArtefactRef> = draft.artefacts.iter().map(super::Artefact::reference).collect();
    let payload =
        Statement::render(draft.kind, &link, time, &draft.subjects, &draft.about, &references, draft.body.clone());
    let envelope = dsse::sign(payload.as_bytes(), signer, key_id)?;
    Ok(Sealed { number: link.number, digest: Digest::of(&envelope), time, envelope })
}
