//! AWS: from an execution identity to credentials that can make one call, on these resources, for these seconds.
//!
//! `docs/aws.md` says what is here and what is not: there is no driver yet, and no configuration leads here. What must be
//! true:
//!
//! - The key of the execution identity signs `CreateSession` itself ([`x509`]); nothing long-lived is involved.
//! - Whatever the role may do, the session may do what was certified and nothing else, until the second that was
//!   certified ([`policy`]): by explicit denials, which no resource policy overrides.
//! - Credentials live in memory, are shown by nothing, and are zeroized ([`credentials`]; I5).
//! - What AWS answers is read strictly and bounded; an answer that is not credible is no answer.
//!
//! [`client`] and the call in [`assume_role`] talk to AWS; everything else is pure.

pub mod arn;
pub mod assume_role;
pub mod client;
pub mod create_session;
pub mod credentials;
pub mod endpoint;
pub mod exchange;
pub mod policy;
pub mod request;
pub mod x509;
