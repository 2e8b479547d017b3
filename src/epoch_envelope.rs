//! Epoch statements as they travel: in a DSSE envelope, signed with the key that signs the authority's certificates.
//!
//! [`open`] is the only way from octets of the network to a statement that a broker may use: whoever signed it is an
//! authority that the broker lists, with a path to its bundle, and the statement is that authority's own.

use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize};

use crate::attribute_certificate::{Trust, authenticate_octets};
use crate::epoch::{self, EpochStatement, InvalidEpochStatement};
use crate::reason::Denial;
use crate::timestamp::Timestamp;

/// What the payload of the envelope is.
pub const PAYLOAD_TYPE: &str = "application/vnd.seb.epoch.v1+json";

/// The largest envelope in octets: the largest statement in base64, and what stands around it.
pub const MAX_OCTETS: usize = epoch::MAX_OCTETS / 3 * 4 + 4096;

/// The octets are no epoch statement of a trusted authority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEpochEnvelope {
    /// The envelope is too large.
    #[error("the envelope has {0} octets; at most {MAX_OCTETS} are read")]
    TooLarge(usize),
    /// It is no DSSE envelope with one signature over a statement of the right type, in canonical form.
    #[error("not the DSSE envelope of an epoch statement: {0}")]
    Form(&'static str),
    /// No trusted authority signed it.
    #[error("no trusted authority signed it: {0}")]
    Signature(Denial),
    /// What was signed is no epoch statement.
    #[error("what was signed is not usable")]
    Statement(#[source] InvalidEpochStatement),
    /// It is the statement of another authority than the one that signed it.
    #[error("the statement is another authority's than the one that signed it")]
    Authority,
}

/// The fields stand in the order of RFC 8785.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    keyid: String,
    sig: String,
}

/// What the authority has to sign: DSSE's pre-authentication encoding of the statement's canonical form.
pub fn to_be_signed(statement: &EpochStatement) -> Vec<u8> {
    pre_authentication(statement.to_canonical().as_bytes())
}

fn pre_authentication(payload: &[u8]) -> Vec<u8> {
    let mut octets = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len()).into_bytes();
    octets.extend_from_slice(payload);
    octets
}

/// The envelope around a statement with the signature over [`to_be_signed`].
pub fn seal(statement: &EpochStatement, signature: &[u8]) -> Vec<u8> {
    let envelope = Envelope {
        payload: Base64::encode_string(statement.to_canonical().as_bytes()),
        payload_type: PAYLOAD_TYPE.to_owned(),
        signatures: vec![Signature { keyid: String::new(), sig: Base64::encode_string(signature) }],
    };
    // Strings always serialize; nothing opens an empty envelope.
    serde_json::to_vec(&envelope).unwrap_or_default()
}

/// The statement in `envelope`, if an authority that `trust` lists signed it, at the time `now`. `chain` holds the
/// authority's public-key certificate first and then its intermediates, each in DER.
///
/// Says nothing of how old it is, nor whether it may follow another one: see [`EpochStatement::succeeds`] and
/// [`EpochStatement::freshness`].
///
/// # Errors
/// See [`InvalidEpochEnvelope`].
pub fn open(
    envelope: &[u8],
    chain: &[Vec<u8>],
    trust: &Trust,
    now: Timestamp,
) -> Result<EpochStatement, InvalidEpochEnvelope> {
    let form = InvalidEpochEnvelope::Form;
    if envelope.len() > MAX_OCTETS {
        return Err(InvalidEpochEnvelope::TooLarge(envelope.len()));
    }
    let read: Envelope = serde_json::from_slice(envelope).map_err(|_| form("not JSON of its schema"))?;
    if serde_json::to_vec(&read).ok().as_deref() != Some(envelope) {
        return Err(form("not in its canonical form (RFC 8785)"));
    }
    if read.payload_type != PAYLOAD_TYPE {
        return Err(form("the payload is of another type"));
    }
    let [signature] = read.signatures.as_slice() else { return Err(form("not exactly one signature")) };
    let payload = Base64::decode_vec(&read.payload).map_err(|_| form("the payload is not base64"))?;
    let signature = Base64::decode_vec(&signature.sig).map_err(|_| form("the signature is not base64"))?;
    let signer = authenticate_octets(&pre_authentication(&payload), &signature, chain, trust, now)
        .map_err(InvalidEpochEnvelope::Signature)?;
    let statement = EpochStatement::parse(&payload).map_err(InvalidEpochEnvelope::Statement)?;
    if statement.parts().authority != signer {
        return Err(InvalidEpochEnvelope::Authority);
    }
    Ok(statement)
}
