//! Serving gRPC over mutual TLS: who may call what, how much at once, and how errors are told.
//!
//! What must be true:
//!
//! - Nothing is answered without a verified identity, and no method is called that [`access::METHODS`] does not give to
//!   a role of the caller: one closed table for every service of the package.
//! - Every wait and every queue is bounded, by number and by time ([`gate`]); what is too much is shed with
//!   `RESOURCE_EXHAUSTED`, and one peer cannot use up the share of another ([`crate::fair`]).
//! - Every error has a stable code, says whether trying again helps, and what to do ([`status`]); what is not meant for
//!   outside is in the log under an id, and nowhere else.
//! - A server that is asked to end takes no new call, and lets what is in flight finish ([`serve`]).

pub mod access;
pub mod convert;
pub mod execution;
pub mod gate;
pub mod records;
pub mod serve;
pub mod status;
