//! One suite for every store, run on the fake and on the real one; then what only the real one can do.

mod conformance;
mod faults;
mod sqlite;

use std::num::NonZeroU32;

use super::{Claim, UseKey};
use crate::decision::IdempotencyKey;
use crate::digest::Digest;
use crate::record::testing::{AGENT, AUTHORITY, at, id, mutation};

/// A claim of the use `ordinal` of several.
pub(super) fn claim(certificate: Digest, ordinal: u32, key: &str, seconds: u64) -> Claim {
    let use_key = match key {
        "" => UseKey::SINGLE,
        key => UseKey::from(key.parse::<IdempotencyKey>().unwrap()),
    };
    Claim {
        certificate,
        ordinal,
        uses: NonZeroU32::new(if key.is_empty() { 1 } else { 100 }).unwrap(),
        use_key,
        request: Digest::of(format!("request {key}").as_bytes()),
        mutation_id: mutation(certificate, ordinal),
        agent: id(AGENT),
        authority: id(AUTHORITY),
        target: "production".parse().unwrap(),
        at: at(seconds),
        agent_rate: None,
        authority_rate: None,
    }
}
