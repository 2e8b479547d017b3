//! The driver of Kubernetes against the real API server: every verb, every kind of drift, and what goes wrong.

#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;
#[cfg(test)]
#[path = "../support/testbed/mod.rs"]
mod testbed;
#[cfg(test)]
mod world;

#[cfg(test)]
mod drift;
#[cfg(test)]
mod failing;
#[cfg(test)]
mod measured;
#[cfg(test)]
#[path = "../support/permit.rs"]
mod permit;
#[cfg(test)]
mod rehearsing;
#[cfg(test)]
mod verbs;
