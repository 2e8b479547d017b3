//! What an error of the database means.

use std::path::Path;

use crate::store::StoreError;

/// What went wrong, as far as it matters to what happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Locked,
    Full,
    ReadOnly,
    Missing,
    Corrupt,
    /// A constraint of the schema: one of the writes of the batch is at fault.
    Constraint,
    Other,
}

impl Fault {
    /// By the primary result code of SQLite (https://sqlite.org/rescode.html).
    pub(super) fn of(error: &sqlx::Error) -> Self {
        let code = match error {
            sqlx::Error::Database(error) => error.code().and_then(|code| code.parse::<u32>().ok()),
            sqlx::Error::PoolTimedOut => return Self::Locked,
            _ => None,
        };
        match code.map(|code| code & 0xff) {
            Some(5 | 6) => Self::Locked,
            Some(8 | 3) => Self::ReadOnly,
            Some(11 | 26) => Self::Corrupt,
            Some(13) => Self::Full,
            Some(14) => Self::Missing,
            Some(19) => Self::Constraint,
            _ => Self::Other,
        }
    }

    /// Whether nothing of the transaction was written, for certain, and the next one can be tried.
    pub(super) const fn is_clean(self) -> bool {
        matches!(self, Self::Locked | Self::Full | Self::ReadOnly | Self::Constraint)
    }
}

/// The store's error for the database's.
pub(super) fn failure(path: &Path, error: sqlx::Error) -> StoreError {
    let path = path.to_owned();
    match Fault::of(&error) {
        Fault::Locked => StoreError::Locked { path },
        Fault::Full => StoreError::Full { path },
        Fault::ReadOnly => StoreError::ReadOnly { path },
        Fault::Corrupt => StoreError::Corrupt { path, detail: error.to_string() },
        Fault::Missing | Fault::Constraint | Fault::Other => StoreError::Io { path, cause: Box::new(error) },
    }
}

/// A value in the database is none that the program writes.
pub(super) fn corrupt(path: &Path, detail: impl ToString) -> StoreError {
    StoreError::Corrupt { path: path.to_owned(), detail: detail.to_string() }
}
