//! Where a log stands.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;

/// A record by number and digest: the newest one of a log, or one that an auditor has kept.
///
/// Its text form is the number, a colon and the digest: `7:sha256:...`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The record's number.
    pub number: u64,
    /// The SHA-256 of its envelope.
    pub digest: Digest,
}

/// The text is not a head.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no record: expected its number, a colon and its digest, such as `7:sha256:...`")]
pub struct InvalidHead(String);

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.number, self.digest)
    }
}

impl FromStr for Head {
    type Err = InvalidHead;

    fn from_str(text: &str) -> Result<Self, InvalidHead> {
        let invalid = || InvalidHead(text.chars().take(100).collect());
        let (number, digest) = text.split_once(':').ok_or_else(invalid)?;
        let head =
            Self { number: number.parse().map_err(|_| invalid())?, digest: digest.parse().map_err(|_| invalid())? };
        if head.to_string() == text { Ok(head) } else { Err(invalid()) }
    }
}
