//! The sandbox: a small resource API that admits only the mutations of identities that the broker minted.
//!
//! It is the demonstration's production, the reference for writing a target, and the side of the tests that fails on
//! demand. [`Sandbox`] is its driver; [`server`] is the API itself (`seb sandbox`), with an audit log of its own against
//! which the broker's records can be held. `docs/sandbox.md` describes the API.
//!
//! Every call is [atomic](super::Grade::Atomic): its baseline is compiled into the request, and the server holds it
//! against the object in the step that changes it. The mutation id makes a repeated request return the first result, and
//! the deadline, which the server holds to by its own clock, makes the absence of a mutation final.
//!
//! A mutation goes over a connection of its own and in HTTP/1.1, because there the first octet after the handshake is the
//! request's: that is where the fence stands ([`super::FencedIo`]). Reading is done over one HTTP/2 connection.

mod client;
pub mod server;
mod visit;
mod wire;

pub use client::Sandbox;
pub use visit::visit;

#[cfg(test)]
mod tests;
