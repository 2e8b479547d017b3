//! Gives a draft its place in the log and its signature.

use base64ct::{Base64, Encoding};

use super::statement::Statement;
use super::{ArtefactRef, Draft, InvalidDraft, Link, MAX_ENVELOPE, MAX_NUMBER, PAYLOAD_TYPE, dsse};
use crate::digest::Digest;
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
    Signature,
}

/// A draft at its place in the log, to be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsigned {
    number: u64,
    time: Timestamp,
    payload: String,
}

impl Unsigned {
    /// Puts `draft` at the place that `link` names, not before `not_before`, the time of the record before.
    ///
    /// # Errors
    /// The draft breaks a rule, or no place follows. Nothing of the place is used up then.
    pub fn new(draft: &Draft, link: Link, not_before: Timestamp) -> Result<Self, SealError> {
        draft.check().map_err(SealError::Draft)?;
        Self::of_checked(draft, link, not_before)
    }

    /// The same for a draft whose [`Draft::check`] has passed, which takes as long as everything here: whoever owns the
    /// end of the log leaves it to those who ask for the write.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(crate) fn of_checked(draft: &Draft, link: Link, not_before: Timestamp) -> Result<Self, SealError> {
        if link.number > MAX_NUMBER {
            return Err(SealError::Number);
        }
        let time = draft.time.max(not_before);
        let references: Vec<ArtefactRef> = draft.artefacts.iter().map(super::Artefact::reference).collect();
        let body = draft.body.clone();
        let payload = Statement::render(draft.kind, &link, time, &draft.subjects, &draft.about, &references, body);
        // What base64 alone makes too large need not be signed.
        if payload.len() / 3 * 4 > MAX_ENVELOPE {
            return Err(SealError::TooLarge(payload.len() / 3 * 4));
        }
        Ok(Self { number: link.number, time, payload })
    }

    /// What the key of the log has to sign.
    pub fn to_be_signed(&self) -> Vec<u8> {
        dsse::pre_authentication(PAYLOAD_TYPE, self.payload.as_bytes())
    }

    /// The record, with the signature of the key with this `key_id` over [`Self::to_be_signed`].
    ///
    /// # Errors
    /// [`SealError::TooLarge`].
    pub fn complete(&self, key_id: &str, signature: &[u8]) -> Result<Sealed, SealError> {
        let envelope =
            dsse::envelope(&Base64::encode_string(self.payload.as_bytes()), key_id, &Base64::encode_string(signature));
        if envelope.len() > MAX_ENVELOPE {
            return Err(SealError::TooLarge(envelope.len()));
        }
        Ok(Sealed { number: self.number, digest: Digest::of(&envelope), time: self.time, envelope })
    }
}
