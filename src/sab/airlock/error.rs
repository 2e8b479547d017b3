//! Why the authority made no decision.

use crate::contract::TargetName;
use crate::key::InvalidKey;
use crate::record::InvalidDraft;
use crate::sab::authority::AuthorityError;
use crate::sab::epochs::EpochError;
use crate::sab::ledger::LedgerError;
use crate::sab::proposal::InvalidProposal;
use crate::store::StoreError;
use crate::timestamp::InvalidTimestamp;

/// Why the authority made no decision. Nothing was admitted, and nothing was issued.
#[derive(Debug, thiserror::Error)]
pub enum AirlockError {
    /// The text is no proposal.
    #[error("the proposal cannot be read")]
    Proposal(#[from] InvalidProposal),
    /// The agent has too many proposals that wait for people.
    #[error("{0} proposals of this agent wait for people: let them be decided first")]
    TooManyPending(u32),
    /// The policies are being exchanged.
    #[error("the policies are being exchanged: propose again in a moment")]
    PoliciesChanging,
    /// The live state could not be read.
    #[error("`{resource}` at `{target}` could not be read: propose again later")]
    Unreadable {
        /// The target.
        target: TargetName,
        /// The object's path.
        resource: String,
    },
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The decision could not be recorded.
    #[error("the decision could not be recorded")]
    Store(#[from] StoreError),
    /// The decision cannot become a record.
    #[error("the decision cannot become a record")]
    Draft(#[from] InvalidDraft),
    /// The certificate could not be issued.
    #[error("the certificate could not be issued")]
    Authority(#[from] AuthorityError),
    /// The epochs failed.
    #[error(transparent)]
    Epochs(#[from] EpochError),
    /// There is no randomness.
    #[error("there is no randomness for a name or a serial number")]
    Random(#[source] InvalidKey),
    /// The clock shows no possible time.
    #[error("the clock cannot be used")]
    Clock(#[from] InvalidTimestamp),
}
