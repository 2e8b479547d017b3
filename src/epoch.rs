//! What the authority has revoked, and how old that knowledge is (I2).
//!
//! An authority publishes [`EpochStatement`]s. Each says which policy and which revocation epoch is in force and what
//! is revoked by name, and each replaces the one before. Two rules make a revocation final:
//!
//! - [`EpochStatement::succeeds`] accepts no statement that takes anything back: sequence, epochs and time never go
//!   backwards, and a name leaves the list of the revoked only when the revocation epoch grows.
//! - [`EpochStatement::covers`] denies every certificate of an older revocation epoch (the kill switch). So whatever
//!   a name that left the list had revoked stays revoked; only certificates that are admitted afterwards can be used.
//!
//! The signature over a statement is checked elsewhere; nothing here may be called with one that was not.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use spiffe::SpiffeId;

use crate::contract::TargetName;
use crate::digest::Digest;
use crate::reason::{Denial, Reason};
use crate::spiffe_id;
use crate::timestamp::Timestamp;

/// The schema of a statement's JSON form.
const SCHEMA: &str = "seb.dev/epoch/v1";

/// The most names that one statement revokes, over all four lists.
pub const MAX_REVOKED: usize = 65_536;

/// The largest statement in octets of its canonical form.
pub const MAX_OCTETS: usize = 8 * 1024 * 1024;

/// The largest sequence or epoch: what JSON numbers hold exactly (RFC 7493 section 2.2).
pub const MAX_NUMBER: u64 = (1 << 53) - 1;

/// What is revoked by name, whatever its epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revoked {
    /// Certificates, by the digest of their octets.
    pub certificates: BTreeSet<Digest>,
    /// Contracts, by digest: every certificate over one of them.
    pub contracts: BTreeSet<Digest>,
    /// Agents: every certificate that one of them holds.
    pub holders: BTreeSet<SpiffeId>,
    /// Targets: every certificate for one of them.
    pub targets: BTreeSet<TargetName>,
}

impl Revoked {
    /// How many names there are.
    pub fn len(&self) -> usize {
        self.certificates
            .len()
            .saturating_add(self.contracts.len())
            .saturating_add(self.holders.len())
            .saturating_add(self.targets.len())
    }

    /// Whether nothing is revoked by name.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A name that `other` has and this does not.
    fn lost(&self, other: &Self) -> Option<String> {
        let certificate = other.certificates.difference(&self.certificates).next().map(|c| format!("certificate {c}"));
        certificate
            .or_else(|| other.contracts.difference(&self.contracts).next().map(|c| format!("contract {c}")))
            .or_else(|| other.holders.difference(&self.holders).next().map(|h| format!("holder `{h}`")))
            .or_else(|| other.targets.difference(&self.targets).next().map(|t| format!("target `{t}`")))
    }
}

/// What a statement is made of. All of it is checked by [`EpochStatement::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochParts {
    /// The authority that states it, by the SPIFFE ID of its public-key certificate.
    pub authority: SpiffeId,
    /// Grows by at least one with each statement of the authority, heartbeats included; at most [`MAX_NUMBER`].
    pub sequence: u64,
    /// The policy epoch in force: a certificate that was admitted under an earlier one is stale. At most [`MAX_NUMBER`].
    pub policy_epoch: u64,
    /// The revocation epoch in force: a certificate of an earlier one is revoked. At most [`MAX_NUMBER`].
    pub revocation_epoch: u64,
    /// What is revoked by name.
    pub revoked: Revoked,
    /// When it was stated, by the authority's clock.
    pub issued_at: Timestamp,
    /// When the next one is due at the latest; not before `issued_at`.
    pub next_update: Timestamp,
}

/// An authority's word on which certificates are still good. Holds no illegal value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochStatement {
    parts: EpochParts,
    digest: Digest,
}

/// The octets or parts are not an epoch statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEpochStatement {
    /// The canonical form has more than 8 MiB.
    #[error("the statement has {0} octets; at most {MAX_OCTETS} are allowed")]
    TooLarge(usize),
    /// It is not JSON of the statement's schema.
    #[error("not an epoch statement: {0}")]
    Schema(String),
    /// It is one, but not in its canonical form.
    #[error("the statement is not in its canonical form (RFC 8785, each list in ascending order)")]
    NotCanonical,
    /// A sequence or epoch is larger than JSON holds exactly.
    #[error("`{field}` is {value}; at most {MAX_NUMBER} is allowed")]
    Number {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// The next statement is due before this one was issued.
    #[error("`next_update` is before `issued_at`")]
    Times,
    /// It revokes more names than allowed.
    #[error("the statement revokes {0} names; at most {MAX_REVOKED} are allowed: step the revocation epoch instead")]
    TooMany(usize),
}

/// Why a statement cannot follow another: it would take back what was said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EpochRegression {
    /// It is another authority's.
    #[error("the statement is by `{0}`, the one before by another authority")]
    Authority(SpiffeId),
    /// Its sequence is lower.
    #[error("sequence {next} is lower than {previous}")]
    Sequence {
        /// The sequence before.
        previous: u64,
        /// The sequence refused.
        next: u64,
    },
    /// It has the same sequence and says something else: the authority, or whoever has its key, speaks twice.
    #[error("two different statements have sequence {0}")]
    Fork(u64),
    /// Its policy epoch is lower.
    #[error("policy epoch {next} is lower than {previous}")]
    PolicyEpoch {
        /// The epoch before.
        previous: u64,
        /// The epoch refused.
        next: u64,
    },
    /// Its revocation epoch is lower.
    #[error("revocation epoch {next} is lower than {previous}")]
    RevocationEpoch {
        /// The epoch before.
        previous: u64,
        /// The epoch refused.
        next: u64,
    },
    /// It was issued earlier.
    #[error("the statement was issued at {next}, the one before at {previous}")]
    IssuedAt {
        /// The time before.
        previous: Timestamp,
        /// The time refused.
        next: Timestamp,
    },
    /// A revocation is gone although the revocation epoch is the same.
    #[error("{0} is no longer revoked, and the revocation epoch has not grown")]
    Unrevoked(String),
}

/// What a statement that may follow another means for the age of the broker's knowledge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Succession {
    /// It is newer: the age begins again.
    Newer,
    /// It is the same statement once more, which anyone can send: the age runs on.
    Same,
}

/// Everything about one certificate that a revocation can name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocable {
    /// The authority that issued the certificate.
    pub authority: SpiffeId,
    /// The digest of the certificate's octets.
    pub certificate: Digest,
    /// The agent that holds it.
    pub holder: SpiffeId,
    /// The digest of its contract.
    pub contract: Digest,
    /// The contract's target; none if the contract could not be read.
    pub target: Option<TargetName>,
    /// The policy epoch that it was admitted in.
    pub policy_epoch: u64,
    /// The revocation epoch that it was admitted in.
    pub revocation_epoch: u64,
}

impl EpochStatement {
    /// The statement of `parts`.
    ///
    /// # Errors
    /// A number, the times, the count of names or the size of the whole is out of bounds.
    pub fn new(parts: EpochParts) -> Result<Self, InvalidEpochStatement> {
        for (field, value) in [
            ("sequence", parts.sequence),
            ("policy_epoch", parts.policy_epoch),
            ("revocation_epoch", parts.revocation_epoch),
        ] {
            if value > MAX_NUMBER {
                return Err(InvalidEpochStatement::Number { field, value });
            }
        }
        if parts.next_update < parts.issued_at {
            return Err(InvalidEpochStatement::Times);
        }
        if parts.revoked.len() > MAX_REVOKED {
            return Err(InvalidEpochStatement::TooMany(parts.revoked.len()));
        }
        let canonical = canonical(&parts);
        if canonical.len() > MAX_OCTETS {
            return Err(InvalidEpochStatement::TooLarge(canonical.len()));
        }
        Ok(Self { digest: Digest::of(canonical.as_bytes()), parts })
    }

    /// Reads the canonical form, and no other.
    ///
    /// # Errors
    /// The octets are too large, not JSON of the schema, out of bounds, or not canonical.
    pub fn parse(octets: &[u8]) -> Result<Self, InvalidEpochStatement> {
        if octets.len() > MAX_OCTETS {
            return Err(InvalidEpochStatement::TooLarge(octets.len()));
        }
        let wire: Wire = serde_json::from_slice(octets).map_err(|error| schema(&error))?;
        if wire.schema != SCHEMA {
            return Err(schema(&format_args!("`schema` is not `{SCHEMA}`")));
        }
        let holders = wire.revoked.holders.0.into_iter().map(|holder| holder.0).collect();
        let statement = Self::new(EpochParts {
            authority: wire.authority.0,
            sequence: wire.sequence,
            policy_epoch: wire.policy_epoch,
            revocation_epoch: wire.revocation_epoch,
            revoked: Revoked {
                certificates: wire.revoked.certificates.0.into_iter().collect(),
                contracts: wire.revoked.contracts.0.into_iter().collect(),
                holders,
                targets: wire.revoked.targets.0.into_iter().collect(),
            },
            issued_at: wire.issued_at,
            next_update: wire.next_update,
        })?;
        // Duplicates, order, white space and escapes all show here: there is one spelling.
        if statement.digest != Digest::of(octets) {
            return Err(InvalidEpochStatement::NotCanonical);
        }
        Ok(statement)
    }

    /// The canonical form (RFC 8785; each list in ascending order of its text).
    pub fn to_canonical(&self) -> String {
        canonical(&self.parts)
    }

    /// The digest of the canonical form.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// What it says.
    pub const fn parts(&self) -> &EpochParts {
        &self.parts
    }

    /// Whether this statement may follow `previous` (none: the first that a broker hears).
    ///
    /// A name may leave the lists only where the revocation epoch grew, because then every certificate that it can
    /// have covered is of an older epoch and stays revoked. To forget one name, or when the lists are full, the
    /// authority therefore steps the epoch and admits anew what should go on.
    ///
    /// # Errors
    /// It would take something back, or is another authority's. A broker keeps `previous` and its age, and alarms.
    pub fn succeeds(&self, previous: Option<&Self>) -> Result<Succession, EpochRegression> {
        let Some(previous) = previous else { return Ok(Succession::Newer) };
        let (old, new) = (&previous.parts, &self.parts);
        if new.authority != old.authority {
            return Err(EpochRegression::Authority(new.authority.clone()));
        }
        if self.digest == previous.digest {
            return Ok(Succession::Same);
        }
        if new.sequence < old.sequence {
            return Err(EpochRegression::Sequence { previous: old.sequence, next: new.sequence });
        }
        if new.sequence == old.sequence {
            return Err(EpochRegression::Fork(new.sequence));
        }
        if new.policy_epoch < old.policy_epoch {
            return Err(EpochRegression::PolicyEpoch { previous: old.policy_epoch, next: new.policy_epoch });
        }
        if new.revocation_epoch < old.revocation_epoch {
            return Err(EpochRegression::RevocationEpoch {
                previous: old.revocation_epoch,
                next: new.revocation_epoch,
            });
        }
        if new.issued_at < old.issued_at {
            return Err(EpochRegression::IssuedAt { previous: old.issued_at, next: new.issued_at });
        }
        if new.revocation_epoch == old.revocation_epoch
            && let Some(lost) = new.revoked.lost(&old.revoked)
        {
            return Err(EpochRegression::Unrevoked(lost));
        }
        Ok(Succession::Newer)
    }

    /// Why the certificate described by `revocable` is not good under this statement; empty if it is.
    ///
    /// Used by the decision, and again at the fence, immediately before the call.
    pub fn covers(&self, revocable: &Revocable) -> Vec<Denial> {
        let parts = &self.parts;
        if parts.authority != revocable.authority {
            let detail =
                format!("the statement is by `{}`, the certificate by `{}`", parts.authority, revocable.authority);
            return vec![Denial::new(Reason::EpochUnknown, detail)];
        }
        let mut denials = Vec::new();
        let mut deny = |reason, detail| denials.push(Denial { reason, detail });
        let (policy, now) = (revocable.policy_epoch, parts.policy_epoch);
        if policy > now {
            deny(Reason::EpochBehind, format!("admitted in policy epoch {policy}; the newest known is {now}"));
        } else if policy < now {
            deny(Reason::PolicyEpochStale, format!("admitted in policy epoch {policy}; in force is {now}"));
        }
        let (revocation, now) = (revocable.revocation_epoch, parts.revocation_epoch);
        if revocation > now {
            deny(Reason::EpochBehind, format!("admitted in revocation epoch {revocation}; the newest known is {now}"));
        } else if revocation < now {
            deny(Reason::RevocationEpochStale, format!("admitted in revocation epoch {revocation}; in force is {now}"));
        }
        if parts.revoked.certificates.contains(&revocable.certificate) {
            deny(Reason::RevokedCertificate, revocable.certificate.to_string());
        }
        if parts.revoked.holders.contains(&revocable.holder) {
            deny(Reason::RevokedHolder, revocable.holder.to_string());
        }
        if parts.revoked.contracts.contains(&revocable.contract) {
            deny(Reason::RevokedContract, revocable.contract.to_string());
        }
        if let Some(target) = &revocable.target
            && parts.revoked.targets.contains(target)
        {
            deny(Reason::RevokedTarget, target.to_string());
        }
        denials
    }

    /// Why this statement is too old to decide by, or its time too far from the broker's; empty if it is neither.
    ///
    /// `age_ms` is counted by the monotonic clock since the statement was received, and `skew_ms` is its `issued_at`
    /// minus the broker's clock at that moment. A statement that was held back on the way has a small age and a large
    /// skew. It is also too old once `next_update` has passed by more than the skew allowed between the two clocks.
    pub fn freshness(&self, now: Timestamp, age_ms: u32, skew_ms: i32, bounds: FreshnessBounds) -> Vec<Denial> {
        let mut denials = Vec::new();
        let FreshnessBounds { staleness_ms, max_clock_skew_ms } = bounds;
        if skew_ms.unsigned_abs() > max_clock_skew_ms {
            let detail =
                format!("the authority's clock differs by {skew_ms} ms; at most {max_clock_skew_ms} is allowed");
            denials.push(Denial::new(Reason::ClockSkew, detail));
        }
        if age_ms > staleness_ms {
            let detail = format!("the newest statement is {age_ms} ms old; at most {staleness_ms} is allowed");
            denials.push(Denial::new(Reason::EpochStale, detail));
        }
        let due = self.parts.next_update.millis().saturating_add(u64::from(max_clock_skew_ms));
        if now.millis() > due {
            let detail = format!("a newer statement was due at {}", self.parts.next_update);
            denials.push(Denial::new(Reason::EpochStale, detail));
        }
        denials
    }
}

/// How old and how far from the broker's clock an epoch statement may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreshnessBounds {
    /// The greatest age since receipt, in milliseconds, still accepted.
    pub staleness_ms: u32,
    /// The greatest difference between the clocks of broker and authority, in milliseconds, still accepted.
    pub max_clock_skew_ms: u32,
}

fn schema(error: &dyn fmt::Display) -> InvalidEpochStatement {
    InvalidEpochStatement::Schema(error.to_string().chars().take(200).collect())
}

/// The JSON form. Its fields stand in the order of RFC 8785, and no value in it needs more than `serde_json` does to
/// be canonical: integers that are exact, and strings.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    authority: spiffe_id::Text,
    issued_at: Timestamp,
    next_update: Timestamp,
    policy_epoch: u64,
    revocation_epoch: u64,
    revoked: WireRevoked,
    schema: String,
    sequence: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireRevoked {
    certificates: Names<Digest>,
    contracts: Names<Digest>,
    holders: Names<spiffe_id::Text>,
    targets: Names<TargetName>,
}

/// A list that stops being read when it is longer than any statement may be.
#[derive(Serialize)]
#[serde(transparent)]
struct Names<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Names<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded<T>(Vec<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Bounded<T> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MAX_REVOKED} names")
            }

            fn visit_seq<A: SeqAccess<'de>>(mut self, mut names: A) -> Result<Vec<T>, A::Error> {
                while let Some(name) = names.next_element()? {
                    if self.0.len() >= MAX_REVOKED {
                        return Err(serde::de::Error::invalid_length(MAX_REVOKED.saturating_add(1), &self));
                    }
                    self.0.push(name);
                }
                Ok(self.0)
            }
        }
        deserializer.deserialize_seq(Bounded(Vec::new())).map(Self)
    }
}

fn canonical(parts: &EpochParts) -> String {
    // The order of SPIFFE IDs as values is not that of their text: `spiffe://a-b/x` comes before `spiffe://a/x`.
    let mut holders: Vec<_> = parts.revoked.holders.iter().cloned().map(spiffe_id::Text).collect();
    holders.sort_by_cached_key(|holder| holder.0.to_string());
    let wire = Wire {
        authority: spiffe_id::Text(parts.authority.clone()),
        issued_at: parts.issued_at,
        next_update: parts.next_update,
        policy_epoch: parts.policy_epoch,
        revocation_epoch: parts.revocation_epoch,
        revoked: WireRevoked {
            certificates: Names(parts.revoked.certificates.iter().copied().collect()),
            contracts: Names(parts.revoked.contracts.iter().copied().collect()),
            holders: Names(holders),
            targets: Names(parts.revoked.targets.iter().cloned().collect()),
        },
        schema: SCHEMA.to_owned(),
        sequence: parts.sequence,
    };
    // Strings and integers always serialize; an empty text would have a digest that nothing else has.
    serde_json::to_string(&wire).unwrap_or_default()
}

#[cfg(test)]
mod tests;
