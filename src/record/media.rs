//! Media types of artefacts.

/// An attribute certificate in DER (RFC 5877).
pub const CERTIFICATE: &str = "application/pkix-attr-cert";
/// A public-key certificate in DER (RFC 2585).
pub const CHAIN: &str = "application/pkix-cert";
/// What is trusted: see [`super::trust_artefact`].
pub const TRUST: &str = "application/vnd.seb.trust+json";
/// Ceilings, canonical.
pub const CEILINGS: &str = "application/vnd.seb.ceilings+json";
/// An epoch statement, canonical, without its signature.
pub const EPOCH: &str = "application/vnd.seb.epoch+json";
/// An epoch statement as its authority signed it.
pub const SIGNED_EPOCH: &str = "application/vnd.seb.epoch.signed";
/// A detached body.
pub const BODY: &str = "application/octet-stream";
/// The facts of a decision that are too large for its record.
pub const FACTS: &str = "application/vnd.seb.facts+json";
/// A decision that is too large for its record.
pub const DECISION: &str = "application/vnd.seb.decision+json";
/// Evidence that is too large for its record.
pub const EVIDENCE: &str = "application/json";
