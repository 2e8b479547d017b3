//! Broker, sandbox, agents and authority under identities of a real SPIRE server and agent.

#[cfg(test)]
#[path = "../support/testbed/mod.rs"]
mod testbed;
#[cfg(test)]
#[path = "../world/mod.rs"]
mod world;

#[cfg(test)]
mod domain;
#[cfg(test)]
mod executions;
#[cfg(test)]
mod minting;
#[cfg(test)]
mod policy;
#[cfg(test)]
mod shipped;
#[cfg(test)]
mod trust;
