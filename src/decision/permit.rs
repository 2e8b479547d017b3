//! The one value that lets a call be made.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::denials_json;
use crate::contract::{Call, Json, StepName};
use crate::digest::Digest;
use crate::epoch::Revocable;
use crate::reason::Denial;
use crate::timestamp::Timestamp;

/// Leave to make one call, once, until its deadline.
///
/// [`evaluate`](super::evaluate) makes it and nothing else does: it has no public field or constructor, cannot be
/// copied, and is read from no octets. What was permitted is in its [`Terms`], which are plain data and permit nothing.
#[must_use = "a permit that is dropped permits nothing"]
#[derive(Debug)]
pub struct Permit {
    terms: Box<Terms>,
}

/// A permitted call: what a target driver takes, by value.
///
/// Only [`Permit::release`] gives one, and a permit can be released once.
#[must_use = "a call that is dropped is not made"]
#[derive(Debug)]
pub struct PermittedCall {
    terms: Box<Terms>,
}

/// What was permitted, by which certificate, until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    pub(super) mutation_id: MutationId,
    pub(super) ordinal: u32,
    pub(super) call: Call,
    pub(super) call_digest: Digest,
    pub(super) revocable: Revocable,
    pub(super) decided_at: Timestamp,
    pub(super) deadline: Timestamp,
    pub(super) warnings: Vec<Denial>,
}

impl Permit {
    /// Made by the decision alone.
    pub(super) fn new(terms: Terms) -> Self {
        Self { terms: Box::new(terms) }
    }

    /// What was permitted.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Gives the permit up for the call that it permits.
    pub fn release(self) -> PermittedCall {
        PermittedCall { terms: self.terms }
    }
}

impl PermittedCall {
    /// What was permitted.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }
}

impl Terms {
    /// Terms of this call, as nothing decided them: for tests of what only reads terms.
    #[cfg(test)]
    pub(crate) fn testing(call: Call) -> Self {
        let digest = Digest::of(b"test");
        let decided_at = Timestamp::from_seconds(1_795_000_000).unwrap();
        Self {
            mutation_id: MutationId::derive(&digest, call.step(), 1),
            ordinal: 1,
            call_digest: call.digest(),
            revocable: Revocable {
                authority: spiffe::SpiffeId::new("spiffe://example.org/sab").unwrap(),
                certificate: digest,
                contract: digest,
                holder: spiffe::SpiffeId::new("spiffe://example.org/agent").unwrap(),
                target: Some(call.target_name().clone()),
                policy_epoch: 1,
                revocation_epoch: 1,
            },
            call,
            decided_at,
            deadline: decided_at.saturating_add(std::time::Duration::from_secs(30)),
            warnings: Vec::new(),
        }
    }

    /// The id under which the target sees the mutation.
    pub const fn mutation_id(&self) -> &MutationId {
        &self.mutation_id
    }

    /// Which use of the certificate this is, counted from 1.
    pub const fn ordinal(&self) -> u32 {
        self.ordinal
    }

    /// The exact call.
    pub const fn call(&self) -> &Call {
        &self.call
    }

    /// The digest of the exact call.
    pub const fn call_digest(&self) -> Digest {
        self.call_digest
    }

    /// The digest of the certificate.
    pub const fn certificate(&self) -> Digest {
        self.revocable.certificate
    }

    /// The digest of the contract.
    pub const fn contract(&self) -> Digest {
        self.revocable.contract
    }

    /// Everything that a revocation could name to stop it: what the fence asks the newest epoch statement for,
    /// immediately before the call.
    pub const fn revocable(&self) -> &Revocable {
        &self.revocable
    }

    /// The time of the decision.
    pub const fn decided_at(&self) -> Timestamp {
        self.decided_at
    }

    /// The last moment at which the call may still take effect, and so the end of the execution identity's life: the
    /// contract's deadline after the decision, and never after the validity of certificate or contract.
    pub const fn deadline(&self) -> Timestamp {
        self.deadline
    }

    /// Reasons that would have denied if the ceilings did not say `warn`.
    pub fn warnings(&self) -> &[Denial] {
        &self.warnings
    }

    /// The form that a record holds: the call, the certificate and the contract by digest.
    pub fn to_json(&self) -> Json {
        Json::object([
            ("mutation_id", Json::string(&self.mutation_id)),
            ("ordinal", Json::from(self.ordinal)),
            ("call", Json::string(self.call_digest)),
            ("certificate", Json::string(self.certificate())),
            ("contract", Json::string(self.contract())),
            ("decided_at", Json::string(self.decided_at)),
            ("deadline", Json::string(self.deadline)),
            ("warnings", denials_json(&self.warnings)),
        ])
    }
}

/// The name of one mutation: `m-` and 52 characters of lower-case base32.
///
/// It is derived from certificate, step and ordinal of the use, so that a retry cannot come under another id. It fits
/// wherever a target shows it: a subject's common name, a client token, an annotation.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MutationId(String);

/// The text is not a mutation id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a mutation id: expected `m-` and 52 characters of a to z and 2 to 7")]
pub struct InvalidMutationId(String);

const PREFIX: &str = "m-";
/// The digits of RFC 4648 base32, in lower case.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// 256 bits in digits of 5.
const DIGITS: usize = 52;

impl MutationId {
    /// The id of the use `ordinal` (counted from 1) of the step `step` under the certificate with this digest.
    pub fn derive(certificate: &Digest, step: &StepName, ordinal: u32) -> Self {
        let label = b"seb.dev/mutation/v1";
        let digest =
            Digest::of_parts(&[label, certificate.as_bytes(), step.as_str().as_bytes(), &ordinal.to_be_bytes()]);
        let mut text = String::with_capacity(PREFIX.len() + DIGITS);
        text.push_str(PREFIX);
        let (mut bits, mut count) = (0_u32, 0_u32);
        let mut push = |bits: u32| {
            let digit = usize::try_from(bits & 31).ok().and_then(|value| BASE32.get(value));
            text.extend(digit.map(|digit| char::from(*digit)));
        };
        for byte in digest.as_bytes() {
            bits = (bits << 8 | u32::from(*byte)) & 0xfff;
            count += 8;
            while count >= 5 {
                count -= 5;
                push(bits >> count);
            }
        }
        // 256 is 51 times 5 and 1: the last digit holds one bit and four zeros.
        push(bits << 5_u32.saturating_sub(count));
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MutationId {
    type Err = InvalidMutationId;

    fn from_str(text: &str) -> Result<Self, InvalidMutationId> {
        let digits = text.strip_prefix(PREFIX);
        if digits.is_some_and(|digits| digits.len() == DIGITS && digits.bytes().all(|digit| BASE32.contains(&digit))) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidMutationId(text.chars().take(80).collect()))
        }
    }
}

impl TryFrom<String> for MutationId {
    type Error = InvalidMutationId;

    fn try_from(text: String) -> Result<Self, InvalidMutationId> {
        text.parse()
    }
}

impl From<MutationId> for String {
    fn from(id: MutationId) -> Self {
        id.0
    }
}

impl fmt::Display for MutationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MutationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0)
    }
}
