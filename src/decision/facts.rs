//! Everything that a decision may depend on.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use spiffe::SpiffeId;

use super::certified::Certified;
use crate::ceiling::Ceilings;
use crate::contract::{Choice, Json, Pointer, StepName, Version};
use crate::digest::Digest;
use crate::epoch::EpochStatement;
use crate::timestamp::Timestamp;

/// The facts of one decision: gathered once, then only read.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What the authority certified.
    pub certified: Certified,
    /// Who is asking.
    pub peer: Peer,
    /// This broker's own SPIFFE ID.
    pub broker: SpiffeId,
    /// What is asked.
    pub request: Request,
    /// What the broker saw.
    pub observed: Observed,
    /// The broker's own bounds.
    pub ceilings: Arc<Ceilings>,
}

/// The caller, as its verified SVID names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its SPIFFE ID.
    pub id: SpiffeId,
    /// The SHA-256 digest of its public key, as the DER of a `SubjectPublicKeyInfo`.
    pub key: Digest,
}

/// What the agent asks for, under its certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// The step to perform; none where the contract has only one.
    pub step: Option<StepName>,
    /// The values and the body that the contract leaves to the agent.
    pub choice: Choice,
    /// Which of several uses this is, in the client's own terms; required where the contract allows several.
    pub idempotency_key: Option<IdempotencyKey>,
    /// The digest of the contract that the agent believes it performs, where it cares to say.
    pub expected_contract: Option<Digest>,
}

/// A client's name for one intended use: 1 to 128 printable ASCII characters without space.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdempotencyKey(String);

/// The text is not an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an idempotency key: expected 1 to 128 printable ASCII characters without space")]
pub struct InvalidIdempotencyKey(String);

/// What the broker saw of the world. What it could not see is `None` or `Unknown`, and denies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The time of the decision, by the broker's clock.
    pub now: Timestamp,
    /// Whether the wall clock was seen to step against the monotonic one.
    pub clock_stepped: bool,
    /// The newest epoch statement of the certificate's authority.
    pub epoch: Option<EpochKnowledge>,
    /// How often the certificate was used.
    pub uses: Option<Uses>,
    /// How many executions there were in the windows of the ceilings' rates.
    pub rates: Option<Rates>,
    /// The newest proof that the target refuses other identities; `None` where there is none yet.
    pub boundary: Option<Boundary>,
    /// The object that the call is about, as it is now.
    pub live: LiveState,
    /// What the target said when it tried the call without effect; `None` where it was not asked.
    pub dry_run: Option<DryRun>,
}

/// An epoch statement, and how fresh it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochKnowledge {
    /// The statement, its signature verified.
    pub statement: Arc<EpochStatement>,
    /// Milliseconds of the monotonic clock since it was received; what is older than 2^32 - 1 ms (49 days) counts as
    /// that old.
    pub age_ms: u32,
    /// Its `issued_at` minus the broker's clock when it was received, in milliseconds; what differs by more than 32 bits
    /// hold counts as their end.
    pub skew_ms: i32,
}

/// How often a certificate was used before this request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uses {
    /// The uses consumed, whatever came of them.
    pub consumed: u32,
    /// When the last of them was; none if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
}

/// The executions before this one, in the windows that end now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Those of the agent.
    pub agent: RateCount,
    /// Those under certificates of the authority.
    pub authority: RateCount,
}

/// How many executions there were in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateCount {
    /// The executions in it, this one not counted.
    pub executions: u32,
    /// The length of the window, in seconds. A count over another window than the ceilings ask for counts as unknown.
    pub per_seconds: u32,
}

/// The newest proof of a target's boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boundary {
    /// What it showed.
    pub status: BoundaryStatus,
    /// Its age in seconds by the monotonic clock, rounded up.
    pub age_seconds: u32,
}

/// What a proof of the boundary showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BoundaryStatus {
    /// Every identity that the broker did not mint was refused.
    Proven,
    /// At least one was not.
    Broken,
}

/// The object that a call is about, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LiveState {
    /// It could not be read.
    Unknown,
    /// It need not be read: the target's driver compiles the baseline into the call itself, which the target refuses
    /// if the baseline does not hold. Only a driver that does so for this very call may say so.
    Deferred,
    /// It does not exist.
    Absent {
        /// When that was seen, by the broker's clock.
        observed_at: Timestamp,
    },
    /// It exists.
    Present {
        /// What it is, whatever it is called: uid, ARN, row key.
        identity: String,
        /// Its version token.
        version: Version,
        /// The fields that the baseline names, each with its value, or `None` where the object has no such field. A
        /// field that is not here was not read.
        fields: BTreeMap<Pointer, Option<Json>>,
        /// When it was seen, by the broker's clock.
        observed_at: Timestamp,
    },
}

/// What a target said when it tried a call without effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "lowercase", deny_unknown_fields)]
pub enum DryRun {
    /// It would take it.
    Accepted {
        /// When it said so, by the broker's clock.
        observed_at: Timestamp,
    },
    /// It would refuse it.
    Refused {
        /// Why, in the target's own words.
        detail: String,
    },
    /// Nobody knows.
    Unknown {
        /// Why not.
        detail: String,
    },
}

impl IdempotencyKey {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdempotencyKey {
    type Err = InvalidIdempotencyKey;

    fn from_str(text: &str) -> Result<Self, InvalidIdempotencyKey> {
        if (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidIdempotencyKey(text.chars().take(80).collect()))
        }
    }
}

impl TryFrom<String> for IdempotencyKey {
    type Error = InvalidIdempotencyKey;

    fn try_from(text: String) -> Result<Self, InvalidIdempotencyKey> {
        text.parse()
    }
}

impl From<IdempotencyKey> for String {
    fn from(key: IdempotencyKey) -> Self {
        key.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
