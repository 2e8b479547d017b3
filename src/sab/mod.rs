//! The reference authority: the Sovereign Assurance Boundary.
//!
//! It admits what agents propose, by policy, and signs certificates over what it admitted. It cannot perform anything:
//! its only access to a target is to read.

pub mod airlock;
pub mod authority;
pub mod config;
pub mod epochs;
pub mod ledger;
pub mod metrics;
pub mod period;
pub mod policy;
pub mod proposal;
pub mod serve;
pub mod services;
