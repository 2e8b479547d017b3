//! What the authority must not forget besides its records: its epochs, and the proposals with what became of them.
//!
//! One SQLite file, in a folder that the record store made private and owns a lock beside. Writes are durable when they
//! return (write-ahead log, `synchronous=FULL`). The file is not trusted for integrity: what was decided is in the signed
//! records, and nothing is issued from here.

use std::fmt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use spiffe::SpiffeId;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Row, query, query_scalar};

use super::epochs::Durable;
use crate::attribute_certificate::Tier;
use crate::digest::Digest;
use crate::spiffe_id;
use crate::timestamp::Timestamp;

/// The longest wait for the database.
const PATIENCE: Duration = Duration::from_secs(10);

/// The version of the schema, in `PRAGMA user_version`.
const VERSION: i64 = 1;

const SCHEMA: &str = "
CREATE TABLE epochs (one INTEGER PRIMARY KEY CHECK (one = 1), state TEXT NOT NULL) STRICT;
CREATE TABLE proposals (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    holder TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'admitted', 'refused', 'expired')),
    proposed_at INTEGER NOT NULL,
    decided_at INTEGER,
    expires_at INTEGER,
    detail TEXT NOT NULL,
    certificate BLOB
) STRICT;
CREATE INDEX proposals_by_holder ON proposals (holder, number);
CREATE INDEX proposals_pending ON proposals (expires_at) WHERE state = 'pending';
PRAGMA user_version = 1;
";

/// The ledger did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Reading or writing failed, or took too long.
    #[error("the ledger `{path}` cannot be read or written: look at its disk")]
    Database {
        /// The file.
        path: PathBuf,
        /// What the database says.
        #[source]
        cause: sqlx::Error,
    },
    /// Something in it is not what this program writes.
    #[error("the ledger `{path}` is damaged ({detail}): restore it from a copy")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// A newer program made it.
    #[error("the ledger `{path}` was made by a newer version: use that version, or a newer one")]
    Newer {
        /// The file.
        path: PathBuf,
    },
}

/// How a proposal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// People have to decide.
    Pending,
    /// A certificate was issued.
    Admitted,
    /// It was refused.
    Refused,
    /// Nobody decided in time.
    Expired,
}

impl State {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Admitted, Self::Refused, Self::Expired];

    /// The name in the ledger, in records and in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Admitted => "admitted",
            Self::Refused => "refused",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for State {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| UnknownState(text.chars().take(40).collect()))
    }
}

/// The text is not the state of a proposal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the state of a proposal: expected pending, admitted, refused or expired")]
pub struct UnknownState(String);

/// A proposal, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name: `p-` and 32 hexadecimal digits.
    pub id: String,
    /// The agent that proposed it.
    pub holder: SpiffeId,
    /// How it stands.
    pub state: State,
    /// When it came.
    pub proposed_at: Timestamp,
    /// When it was decided; none while it is pending.
    pub decided_at: Option<Timestamp>,
    /// When it expires if nobody decides; only while it is pending.
    pub expires_at: Option<Timestamp>,
    /// The rest.
    pub detail: Detail,
    /// The attribute certificate in DER, if it was admitted.
    pub certificate: Option<Vec<u8>>,
}

/// What is known of a proposal beside how it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detail {
    /// The text of the proposal.
    pub proposal: String,
    /// The highest consequence tier that policies gave.
    pub tier: Option<Tier>,
    /// Why it was refused, or what people have to look at.
    pub explanations: Vec<String>,
    /// The policies that decided, by id.
    pub policies: Vec<String>,
    /// The contract's canonical text, as far as it could be compiled.
    pub contract: String,
    /// The digest of the contract.
    pub contract_digest: Option<Digest>,
    /// The digest of the agent's key, if the certificate is to be bound to it.
    pub holder_key: Option<Digest>,
    /// The authority's chain, leaf first, in base64 of DER.
    pub chain: Vec<String>,
    /// The number of the record of the newest decision.
    pub record: u64,
}

/// Which proposals are asked for, newest first.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only this agent's.
    pub holder: Option<SpiffeId>,
    /// Only those in this state.
    pub state: Option<State>,
    /// Only those before this place; none: from the newest.
    pub before: Option<i64>,
    /// At most so many.
    pub limit: u32,
}

/// The file.
#[derive(Debug, Clone)]
pub struct Ledger {
    path: PathBuf,
    pool: SqlitePool,
}

impl Ledger {
    /// Opens the file, and makes it if it is not there.
    ///
    /// # Errors
    /// It cannot be opened, or a newer program made it.
    pub async fn open(path: &Path) -> Result<Self, LedgerError> {
        // For the owner alone; what SQLite puts beside it has the same mode.
        let made = std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        made.map_err(|error| database(path, sqlx::Error::Io(error)))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(PATIENCE)
            .pragma("trusted_schema", "OFF");
        let pool = SqlitePoolOptions::new().max_connections(4).acquire_timeout(PATIENCE).connect_with(options).await;
        let ledger = Self { path: path.to_owned(), pool: pool.map_err(|cause| database(path, cause))? };
        let version: i64 = ledger.answer(query_scalar("PRAGMA user_version").fetch_one(&ledger.pool)).await?;
        match version {
            0 => {
                let mut transaction = ledger.answer(ledger.pool.begin()).await?;
                ledger.answer(sqlx::raw_sql(SCHEMA).execute(&mut *transaction)).await?;
                ledger.answer(transaction.commit()).await?;
                Ok(ledger)
            }
            VERSION => Ok(ledger),
            _ => Err(LedgerError::Newer { path: path.to_owned() }),
        }
    }

    /// The epochs as they were last saved.
    ///
    /// # Errors
    /// See [`LedgerError`].
    pub async fn epochs(&self) -> Result<Option<Durable>, LedgerError> {
        let select = query_scalar("SELECT state FROM epochs").fetch_optional(&self.pool);
        let text: Option<String> = self.answer(select).await?;
        text.map(|text| Durable::from_json(&text)).transpose().map_err(|error| self.damaged(&error))
    }

    /// Saves the epochs; they are durable when this returns.
    ///
    /// # Errors
    /// See [`LedgerError`].
    pub async fn save_epochs(&self, epochs: &Durable) -> Result<(), LedgerError> {
        let text = epochs.to_json().map_err(|error| self.damaged(&error))?;
        let insert = "INSERT INTO epochs (one, state) VALUES (1, ?1) ON CONFLICT (one) DO UPDATE SET state = ?1";
        self.answer(query(insert).bind(text).execute(&self.pool)).await.map(drop)
    }

    /// Adds a proposal.
    ///
    /// # Errors
    /// See [`LedgerError`].
    pub async fn insert(&self, entry: &Entry) -> Result<(), LedgerError> {
        let detail = serde_json::to_string(&entry.detail).map_err(|error| self.damaged(&error))?;
        let insert = query(
            "INSERT INTO proposals (id, holder, state, proposed_at, decided_at, expires_at, detail, certificate)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )
        .bind(&entry.id)
        .bind(entry.holder.to_string())
        .bind(entry.state.as_str())
        .bind(millis(entry.proposed_at))
        .bind(entry.decided_at.map(millis))
        .bind(entry.expires_at.map(millis))
        .bind(detail)
        .bind(entry.certificate.as_deref());
        self.answer(insert.execute(&self.pool)).await.map(drop)
    }

    /// Ends a proposal that is pending; whether it still was.
    ///
    /// # Errors
    /// See [`LedgerError`].
    pub async fn end(&self, entry: &Entry) -> Result<bool, LedgerError> {
        let detail = serde_json::to_string(&entry.detail).map_err(|error| self.damaged(&error))?;
        let update = query(
            "UPDATE proposals SET state = ?2, decided_at = ?3, expires_at = NULL, detail = ?4, certificate = ?5
             WHERE id = ?1 AND state = 'pending'",
        )
        .bind(&entry.id)
        .bind(entry.state.as_str())
        .bind(entry.decided_at.map(millis))
        .bind(detail)
        .bind(entry.certificate.as_deref());
        let done = self.answer(update.execute(&self.pool)).await?;
        Ok(done.rows_affected() == 1)
    }

    /// One proposal.
    ///
    /// # Errors
    /// See [`LedgerError`].
    pub async fn get(&self, id: &str) -> Result<Option<Entry>, LedgerError> {
        let select = query("SELECT * FROM proposals WHERE id = ?1").bind(id).fetch_optional(&self.pool);
        let row = self.answer(select).await?;
        row.map(|row| self.entry(&row).map(|(_, entry)| entry)).transpose()
    }

    /// Proposals, newest first, each with its place.
    ///
    /// # Errors
    /// See [`LedgerError`].
    pub async fn list(&self, filter: &Filter) -> Result<Vec<(i64, Entry)>, LedgerError> {
        let select = query(
            "SELECT * FROM proposals
             WHERE (?1 IS NULL OR holder = ?1) AND (?2 IS NULL OR state = ?2) AND (?3 IS NULL OR number < ?3)
             ORDER BY number DESC LIMIT ?4",
        )
        .bind(filter.holder.as_ref().map(ToString::to_string))
        .bind(filter.state.map(State::as_str))
        .bind(filter.before)
        .bind(filter.limit);
        let rows = self.answer(select.fetch_all(&self.pool)).await?;
        rows.iter().map(|row| self.entry(row)).collect()
    }

    /// Pending proposals whose time is over at `now`, at most 100.
    ///
    /// # Errors
    /// See [`LedgerError`].
    pub async fn overdue(&self, now: Timestamp) -> Result<Vec<Entry>, LedgerError> {
        let select =
            "SELECT * FROM proposals WHERE state = 'pending' AND expires_at <= ?1 ORDER BY expires_at LIMIT 100";
        let rows = self.answer(query(select).bind(millis(now)).fetch_all(&self.pool)).await?;
        rows.iter().map(|row| self.entry(row).map(|(_, entry)| entry)).collect()
    }

    /// How many proposals of an agent are pending.
    ///
    /// # Errors
    /// See [`LedgerError`].
    pub async fn pending(&self, holder: &SpiffeId) -> Result<u32, LedgerError> {
        let select = "SELECT count(*) FROM proposals WHERE holder = ?1 AND state = 'pending'";
        let count: i64 = self.answer(query_scalar(select).bind(holder.to_string()).fetch_one(&self.pool)).await?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// Writes what is open and closes the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    async fn answer<T>(&self, question: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, LedgerError> {
        match tokio::time::timeout(PATIENCE, question).await {
            Ok(answer) => answer.map_err(|cause| database(&self.path, cause)),
            Err(_) => Err(database(&self.path, sqlx::Error::PoolTimedOut)),
        }
    }

    fn damaged(&self, detail: &dyn fmt::Display) -> LedgerError {
        LedgerError::Damaged { path: self.path.clone(), detail: detail.to_string().chars().take(200).collect() }
    }

    fn entry(&self, row: &SqliteRow) -> Result<(i64, Entry), LedgerError> {
        let read = || -> Result<_, sqlx::Error> {
            let texts: (String, String, String, String) =
                (row.try_get("id")?, row.try_get("holder")?, row.try_get("state")?, row.try_get("detail")?);
            let times: (i64, Option<i64>, Option<i64>) =
                (row.try_get("proposed_at")?, row.try_get("decided_at")?, row.try_get("expires_at")?);
            Ok((row.try_get("number")?, texts, times, row.try_get("certificate")?))
        };
        let (number, (id, holder, state, detail), (proposed, decided, expires), certificate) =
            read().map_err(|cause| database(&self.path, cause))?;
        let time = |millis: i64| {
            let millis = u64::try_from(millis).map_err(|error| self.damaged(&error))?;
            Timestamp::from_millis(millis).map_err(|error| self.damaged(&error))
        };
        let holder = spiffe_id::exact(&holder).ok_or_else(|| self.damaged(&"a holder is no SPIFFE ID"))?;
        let entry = Entry {
            id,
            holder,
            state: state.parse().map_err(|error: UnknownState| self.damaged(&error))?,
            proposed_at: time(proposed)?,
            decided_at: decided.map(time).transpose()?,
            expires_at: expires.map(time).transpose()?,
            detail: serde_json::from_str(&detail).map_err(|error| self.damaged(&error))?,
            certificate,
        };
        Ok((number, entry))
    }
}

fn database(path: &Path, cause: sqlx::Error) -> LedgerError {
    LedgerError::Database { path: path.to_owned(), cause }
}

fn millis(time: Timestamp) -> i64 {
    // The year 9999 in milliseconds has 48 bits.
    i64::try_from(time.millis()).unwrap_or(i64::MAX)
}
