//! Records: what the broker says it decided and did, signed and linked so that nothing of it can be changed unseen.
//!
//! Each record is an in-toto Statement v1 in a DSSE envelope; its [`Kind`] is the statement's predicate type.
//! `docs/records.md` describes the format, and what verification proves. What holds:
//!
//! - One log, one sequence: a record names its number, from 1, and the digest of the envelope before it ([`Link`]).
//! - The first record, and no other, is `genesis`: it binds the log's key to the broker's identity ([`Genesis`]).
//! - An envelope has exactly one text (RFC 8785) and fewer than 64 KiB. What is larger is an [`Artefact`], named by
//!   its digest. The envelope's octets are the leaf of the Merkle tree to come.
//! - Time never goes backwards from record to record.
//!
//! | part | what it is |
//! |---|---|
//! | [`Draft`], [`About`], [`Subject`], [`Artefact`] | what a producer hands to the store |
//! | [`genesis`], [`decision`], [`refusal`], [`outcome`], [`epoch`] | drafts of each kind |
//! | [`Unsigned`], [`Sealed`] | a draft with its place, and then its signature |
//! | [`Statement`], [`Verifier`] | reading one record, and a whole log |

mod about;
mod body;
mod decision;

mod draft;
mod dsse;
mod genesis;
mod head;
mod key;
pub mod media;
mod outcome;
mod replay;
mod seal;
mod statement;
mod told;
mod trust;
mod verify;

pub use about::{About, Decided};
pub use body::json_schema;
pub use decision::{DecisionContext, PlannedIdentity, Presented, RefusalParts, TrustSource, decision, refusal};
pub use draft::{Artefact, ArtefactRef, Draft, InvalidDraft, Subject};
pub use dsse::{InvalidEnvelope, PAYLOAD_TYPE};
pub use genesis::{Genesis, InvalidGenesis, KeyBinding, genesis};
pub use head::{Head, InvalidHead};
pub use key::{InvalidPublicKey, PublicKey};
pub use outcome::{Drift, OutcomeParts, Timings, epoch, outcome};
pub use replay::{ReplayError, Replayed, Source, permitted, replay};
pub(crate) use replay::{Shelf, compare};
pub use seal::{SealError, Sealed, Unsigned};
pub use statement::{InvalidStatement, Link, Statement, beginning, verify_signature};
pub use told::{DecidedExecution, EndedExecution, decided, ended};
pub use trust::{restore_trust, trust_artefact};
pub use verify::{Problem, Summary, Verifier, VerifyError};

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The most octets of an envelope.
pub const MAX_ENVELOPE: usize = 64 * 1024 - 1;
/// The most octets of one artefact: 8 MiB.
pub const MAX_ARTEFACT: usize = 8 * 1024 * 1024;
/// The most artefacts that one record names.
pub const MAX_ARTEFACTS: usize = 32;
/// The most subjects of one record.
pub const MAX_SUBJECTS: usize = 16;
/// The largest number of a record: what JSON holds exactly.
pub const MAX_NUMBER: u64 = (1 << 53) - 1;

/// What a record is about, and so which predicate its statement has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The first record of a log: the key that signs it, and whose it is.
    Genesis,
    /// A request was allowed or denied.
    Decision,
    /// What came of an allowed request.
    Outcome,
    /// An authority's epoch statement was accepted.
    Epoch,
    /// A target's boundary was probed.
    Boundary,
    /// An authority (SAB) admitted or refused a proposal.
    Admission,
}

/// The text is not a kind of record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a kind of record: expected genesis, decision, outcome, epoch, boundary or admission")]
pub struct UnknownKind(String);

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 6] =
        [Self::Genesis, Self::Decision, Self::Outcome, Self::Epoch, Self::Boundary, Self::Admission];

    /// The name in queries and output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Genesis => "genesis",
            Self::Decision => "decision",
            Self::Outcome => "outcome",
            Self::Epoch => "epoch",
            Self::Boundary => "boundary",
            Self::Admission => "admission",
        }
    }

    /// The `predicateType` of its statements.
    pub const fn predicate_type(self) -> &'static str {
        match self {
            Self::Genesis => "https://seb.dev/record/genesis/v1",
            Self::Decision => "https://seb.dev/record/decision/v1",
            Self::Outcome => "https://seb.dev/record/outcome/v1",
            Self::Epoch => "https://seb.dev/record/epoch/v1",
            Self::Boundary => "https://seb.dev/record/boundary/v1",
            Self::Admission => "https://seb.dev/record/admission/v1",
        }
    }

    fn from_predicate_type(uri: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.predicate_type() == uri)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let unknown = || UnknownKind(text.chars().take(80).collect());
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(unknown)
    }
}

#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
mod tests;
