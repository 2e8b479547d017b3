//! The whole of it as real processes: SPIRE, Kubernetes' API server with what the chart installs, the authority, the
//! broker, and agents that use the command line.
//!
//! Broker and authority run by the configuration that the chart renders, with this machine's paths and ports in it.

#[cfg(test)]
#[path = "../boundary/chart.rs"]
#[expect(dead_code, reason = "the values of the boundary's tests are not used here")]
mod chart;
#[cfg(test)]
mod install;
#[cfg(test)]
#[path = "../support/people.rs"]
mod people;
#[cfg(test)]
#[path = "../support/testbed/mod.rs"]
mod testbed;
#[cfg(test)]
mod world;

#[cfg(test)]
mod dev_cluster;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod exchanges;
#[cfg(test)]
mod failing;
#[cfg(test)]
mod tokens;
