//! Attribute certificates (RFC 5755) in the profile of the broker: `docs/certificate-profile.md`.
//!
//! Five verdicts, five functions, each taking what only the one before it can give:
//!
//! | verdict | function | from | to |
//! |---|---|---|---|
//! | parse | [`parse`] | octets | [`AttributeCertificate`]: DER, within bounds, as RFC 5755 section 4.1 has it |
//! | profile | [`profile`] | that | [`ProfiledCertificate`]: every rule of the profile kept, in domain types |
//! | signature and path | [`authenticate`] | that, a chain, what is trusted, a time | [`VerifiedCertificate`] |
//! | targeting | [`targeting`] | that, the caller and the broker | the reasons against it |
//! | authorization | [`crate::decision::evaluate`] | that and all other facts | a permit, or the reasons against it |
//!
//! A [`VerifiedCertificate`] cannot be made in any other way, so whoever holds one need not ask again. Nothing of what
//! a certificate says is interpreted before its signature is known to be good: the contract inside stays octets until
//! then.

mod admission;
mod asn1;
mod authority;
mod issue;
mod oid;
mod parse;
mod path;
mod pem;
mod profile;
mod strict;
mod targeting;

pub use admission::{Admission, AdmissionPath, Approval, MAX_APPROVALS, MAX_APPROVER_OCTETS, MAX_EPOCH, Tier};
pub use authority::public_key_digest;
pub use issue::{AuthorityCertificate, InvalidTemplate, Template, Unsigned};
pub use oid::{ADMISSION, ARC, EXECUTION_CONTRACT};
pub use parse::{AttributeCertificate, MAX_CERTIFICATE_OCTETS, parse};
pub(crate) use path::intermediate;
pub use path::{
    InvalidTrust, MAX_CHAIN, Trust, TrustBundle, VerifiedAuthority, VerifiedCertificate, authenticate,
    authenticate_octets,
};
pub use pem::{CertificateFile, encode_pem, read_certificates, read_file};
pub use profile::{ProfiledCertificate, SignatureAlgorithm, profile};
pub use targeting::{Addressee, targeting};
