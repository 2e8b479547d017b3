//! Which certificates are still good, told to every broker, and made final (I2).
//!
//! The authority states its epochs and what it revoked every heartbeat, and at once when something changes. What holds:
//!
//! - Nothing is stated before it is durable: neither a revocation, nor an epoch, nor a sequence.
//! - `revoke` answers when every broker that could act by an older statement has acknowledged the newer one, or when the
//!   older one has become stale wherever it may be ([`Timing::lease`]). From then on nothing that it covers starts.

mod driver;
mod machine;

pub use driver::{EpochError, Epochs, Listener, Revoked, Signed};
pub use machine::{
    Acknowledgement, Durable, IssueError, Machine, Moment, NeverIssued, Revocation, RevokeError, StreamId, Timing,
};
