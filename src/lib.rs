//! Sovereign Execution Broker: performs certified mutations for agents that hold no authority.
//!
//! An agent may only *propose*. A separate authority, the Sovereign Assurance Boundary (SAB), *admits* by signing an
//! [attribute certificate](attribute_certificate) over an [execution contract](contract). The broker *executes*: it
//! verifies the certificate, compares the world with what was certified, [decides](decision), and only then acts,
//! under an identity that exists for that one mutation.
//!
//! # Map
//!
//! Everything in this list is pure: data in, data out. No module of it reads a clock, a file, a socket or a source of
//! randomness, and none is `async`; `tests/purity.rs` keeps it so. Arrows point down the list only.
//!
//! | module | what it answers |
//! |---|---|
//! | [`record`] | what was decided and done, so that nobody can change it unseen, and anybody can derive it again? |
//! | [`execution`] | what follows in one execution, after each thing that can happen? |
//! | [`decision`] | may this call be made, and if not, for which reasons? |
//! | [`ceiling`] | what may no certificate exceed, however valid? |
//! | [`epoch_envelope`] | did a trusted authority sign this epoch statement? |
//! | [`epoch`] | what has the authority revoked, and how old is that knowledge? |
//! | [`attribute_certificate`] | who certified what, for whom, until when? |
//! | [`contract`] | which exact call, with which values free to choose, from which baseline? |
//! | [`reason`] | the closed list of reasons for a refusal, in the order in which they are answered |
//! | [`digest`], [`timestamp`] | the two values that everything else is made of |
//!
//! What runs is built on that:
//!
//! - [`runtime`] puts a broker together from its configuration.
//! - [`broker`] performs executions; [`reconcile`] settles those whose end is not known.
//! - [`fair`] gives everybody a share of what is scarce.
//! - [`fence`] is what no revoked call passes, and [`epochs`] the stream that closes it.
//! - [`store`] keeps records, and what else must not be forgotten.
//! - [`target`] is what is changed, and how: the sandbox.
//! - [`identity`], [`tls`], [`key`]: who somebody is, and the identities that exist for one mutation.
//! - [`grpc`], [`http`], [`proto`]: the API, metrics and health.
//! - [`sab`] is the reference authority.
//! - [`cli`], [`config`], [`telemetry`], [`clock`]: the two binaries, and what they are told and tell.

pub mod attribute_certificate;
pub mod broker;
pub mod ceiling;
pub mod cli;
pub mod clock;
pub mod config;
pub mod contract;
pub mod decision;
pub mod digest;
pub mod epoch;
pub mod epoch_envelope;
pub mod epochs;
pub mod execution;
pub mod fair;
pub mod fence;
pub mod grpc;
pub mod http;
pub mod identity;
pub mod key;
pub mod proto;
pub mod reason;
pub mod reconcile;
pub mod record;
pub mod runtime;
pub mod sab;
mod spiffe_id;
pub mod store;
mod sync;
pub mod target;
pub mod telemetry;
pub mod timestamp;
pub mod tls;
