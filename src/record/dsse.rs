//! DSSE envelopes with one signature, in one text.

use base64ct::{Base64, Encoding};
use serde::Deserialize;

use super::MAX_ENVELOPE;
use super::key::PublicKey;
use crate::contract::{Json, decode};

/// What the payload of every envelope is: an in-toto statement.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// The octets are not an envelope of a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEnvelope {
    /// Not JSON, too large, or not of the form of an envelope.
    #[error("not an envelope: {0}")]
    Form(String),
    /// Another text of the same envelope.
    #[error("the envelope is not in its canonical form (RFC 8785)")]
    NotCanonical,
    /// The payload is something else than an in-toto statement.
    #[error("the payload type is `{0}`, not `{PAYLOAD_TYPE}`")]
    PayloadType(String),
    /// There is not exactly one signature.
    #[error("{0} signatures, not one")]
    Signatures(usize),
    /// A field is not base64 with padding (RFC 4648 section 4).
    #[error("`{0}` is not base64")]
    Base64(&'static str),
}

/// An envelope, read but not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) payload: Vec<u8>,
    pub(super) key_id: String,
    pub(super) signature: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<WireSignature>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSignature {
    keyid: String,
    sig: String,
}

/// What a signature is over: DSSE's pre-authentication encoding.
pub(super) fn pre_authentication(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut octets = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    octets.extend_from_slice(payload);
    octets
}

/// The envelope's octets around a payload and its one signature, both in base64.
pub(super) fn envelope(payload: &str, key_id: &str, signature: &str) -> Vec<u8> {
    let signature = Json::object([("keyid", Json::from(key_id)), ("sig", Json::from(signature))]);
    let envelope = Json::object([
        ("payload", Json::from(payload)),
        ("payloadType", Json::from(PAYLOAD_TYPE)),
        ("signatures", Json::Array(vec![signature])),
    ]);
    envelope.to_canonical().into_bytes()
}

impl Envelope {
    /// Reads the canonical form, and no other.
    pub(super) fn parse(octets: &[u8]) -> Result<Self, InvalidEnvelope> {
        let json =
            Json::parse_within(octets, MAX_ENVELOPE).map_err(|error| InvalidEnvelope::Form(error.to_string()))?;
        let wire: Wire =
            decode(&json).map_err(|(place, error)| InvalidEnvelope::Form(format!("`{place}`: {error}")))?;
        if json.to_canonical().as_bytes() != octets {
            return Err(InvalidEnvelope::NotCanonical);
        }
        if wire.payload_type != PAYLOAD_TYPE {
            return Err(InvalidEnvelope::PayloadType(wire.payload_type.chars().take(80).collect()));
        }
        let count = wire.signatures.len();
        let Ok([signature]) = <[WireSignature; 1]>::try_from(wire.signatures) else {
            return Err(InvalidEnvelope::Signatures(count));
        };
        let base64 = |text: &str, field| Base64::decode_vec(text).map_err(|_| InvalidEnvelope::Base64(field));
        Ok(Self {
            payload: base64(&wire.payload, "payload")?,
            signature: base64(&signature.sig, "sig")?,
            key_id: signature.keyid,
        })
    }

    /// Whether it is signed with `key` over its very octets, and says so.
    pub(super) fn is_signed_by(&self, key: &PublicKey) -> bool {
        self.key_id == key.key_id()
            && key.is_signature(&pre_authentication(PAYLOAD_TYPE, &self.payload), &self.signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pre_authentication_is_the_one_of_the_specification() {
        // The example of DSSE's protocol.md.
        assert_eq!(
            pre_authentication("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }
}
