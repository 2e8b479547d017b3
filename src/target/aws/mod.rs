//! AWS: any operation of a service, by a session that can make that one call, on these resources, for these seconds.
//!
//! [`Aws`] is the driver; `docs/aws.md` describes it for those who run it. What must be true:
//!
//! - The key of the execution identity signs `CreateSession` itself ([`x509`]); nothing long-lived is involved.
//! - Whatever the role may do, the session may do what was certified and nothing else, until the second that was
//!   certified ([`policy`]): by explicit denials, which no resource policy overrides.
//! - The one request is made from the certified call alone ([`request`]); it goes out once, on a connection of its own, inside
//!   the fence (`wire`).
//! - Credentials live in memory, are shown by nothing, and are zeroized ([`credentials`]; I5).
//! - What AWS answers is read strictly and bounded; an answer that is not credible is no answer.
//! - What an answer does not say is not guessed; what AWS goes on with after its answer is followed (`follow`); what
//!   reading says later is `evidence` (I6).
//!
//! [`client`], the calls in [`assume_role`], `follow` and `wire` talk to AWS; what prepares and reads is pure.

pub mod arn;
pub mod assume_role;
pub mod client;
mod cloud_control;
pub mod create_session;
pub mod credentials;
mod driver;
pub mod endpoint;
mod evidence;
pub mod exchange;
mod follow;
mod observe;
pub mod policy;
pub mod quota;
pub mod request;
pub mod settings;
mod tokens;
mod wire;
pub mod x509;

pub use self::driver::Aws;
