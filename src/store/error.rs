//! Why a store did not do what was asked, and whether asking again can help.

use std::path::PathBuf;

use spiffe::SpiffeId;

use crate::decision::MutationId;
use crate::execution::State;
use crate::record::{Kind, SealError};

/// Why a store did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    // -- refused: the caller asked for what must not be
    /// The draft cannot become a record.
    #[error("the record is refused")]
    Seal(#[source] SealError),
    /// The draft has another kind than what it was given for.
    #[error("a `{0}` record cannot be appended this way")]
    Kind(Kind),
    /// The first record of the log is not genesis.
    #[error("the log is empty: its first record is `genesis`")]
    NoGenesis,
    /// The log has a genesis record, or this one binds another key.
    #[error("the log has its genesis record, or this one binds another key than the store signs with")]
    Genesis,
    /// There is no execution of this mutation.
    #[error("there is no execution of `{0}`")]
    UnknownMutation(MutationId),
    /// The mutation has an execution under other values, or the claim asks for a use beyond the last.
    #[error("the claim of `{0}` contradicts what is stored")]
    Claim(MutationId),
    /// The execution cannot go from one state to the other.
    #[error("the execution is `{}` and cannot become `{}`", from.as_str(), to.as_str())]
    Transition {
        /// How it stands.
        from: State,
        /// What was asked for.
        to: State,
    },
    /// The epoch statement would take the place of a newer one.
    #[error("the epoch statement {next} of `{authority}` cannot follow {newest}")]
    EpochBackwards {
        /// The authority.
        authority: SpiffeId,
        /// The sequence of the newest statement.
        newest: u64,
        /// The sequence refused.
        next: u64,
    },

    /// The schema of the database forbids it.
    #[error("the store `{path}` refuses the record: {detail}")]
    Refused {
        /// The database.
        path: PathBuf,
        /// What the database says.
        detail: String,
    },

    // -- temporary: nothing was written
    /// The queue of writes stayed full.
    #[error("the store is overloaded: its queue of writes stayed full")]
    Overloaded,
    /// Another connection kept the database locked.
    #[error("the store `{path}` is locked by another program: end what keeps a transaction open on it")]
    Locked {
        /// The database.
        path: PathBuf,
    },
    /// The file system, or the size that is allowed, is full.
    #[error("the store `{path}` is full: free space on its file system, or allow it more")]
    Full {
        /// The database.
        path: PathBuf,
    },

    // -- uncertain: it may have been written
    /// The answer did not come in time.
    #[error("the store did not answer in time; what was asked may have been written")]
    Timeout,
    /// The writer has ended after a failure whose extent is not known. A new one starts from what is on the disk.
    #[error("the store `{path}` has stopped after a failure: look at its disk, then start the broker again")]
    Stopped {
        /// The database.
        path: PathBuf,
        /// The failure.
        #[source]
        cause: Option<std::sync::Arc<StoreError>>,
    },
    /// Reading or writing failed.
    #[error("the store `{path}` cannot be read or written: look at its disk")]
    Io {
        /// The database.
        path: PathBuf,
        /// What the database says.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },

    // -- fatal: the store cannot be used as it is
    /// Another process owns the log.
    #[error("the store `{path}` is in use by another broker: one broker owns a log at a time")]
    Owned {
        /// The database.
        path: PathBuf,
    },
    /// Another process wrote to the log.
    #[error("the log of `{path}` was written to by somebody else: this broker has stopped writing")]
    Foreign {
        /// The database.
        path: PathBuf,
    },
    /// The file or its folder cannot be written.
    #[error("the store `{path}` cannot be written: give the broker's user the file and its folder")]
    ReadOnly {
        /// The database.
        path: PathBuf,
    },
    /// The file or its folder is open to others, or is no regular file.
    #[error("the store `{path}` is not private: {problem}")]
    NotPrivate {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: &'static str,
    },
    /// There is no store.
    #[error("there is no store `{path}`")]
    Missing {
        /// The database.
        path: PathBuf,
    },
    /// The file is no store, or damaged.
    #[error(
        "the store `{path}` is damaged or no store ({detail}): restore it from a copy and verify that with `seb records verify`"
    )]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// A newer program made it.
    #[error("the store `{path}` was made by a newer version: use that version, or a newer one")]
    Newer {
        /// The database.
        path: PathBuf,
    },
    /// The log is signed with another key.
    #[error("the log of `{path}` is signed with another key than the one configured: configure that key")]
    OtherKey {
        /// The database.
        path: PathBuf,
    },
}

impl StoreError {
    /// Whether the same can succeed later without anybody's help, or with that of whoever runs the machine.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Overloaded | Self::Locked { .. } | Self::Full { .. } | Self::Timeout)
    }

    /// Whether what was asked may have been written all the same.
    pub const fn is_uncertain(&self) -> bool {
        matches!(self, Self::Timeout | Self::Stopped { .. } | Self::Io { .. })
    }

    /// Whether the caller asked for what must not be; the store is well.
    pub const fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Seal(_)
                | Self::Kind(_)
                | Self::NoGenesis
                | Self::Genesis
                | Self::UnknownMutation(_)
                | Self::Claim(_)
                | Self::Transition { .. }
                | Self::EpochBackwards { .. }
                | Self::Refused { .. }
        )
    }
}
