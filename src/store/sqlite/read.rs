//! Reading a store, also one that another process writes to.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use spiffe::SpiffeId;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteRow};
use sqlx::{QueryBuilder, Row, Sqlite};

use super::fault::{Fault, corrupt, failure};
use super::{Options, files, open};
use crate::contract::TargetName;
use crate::decision::{IdempotencyKey, MutationId, RateCount, Rates, Uses};
use crate::digest::Digest;
use crate::execution::State;
use crate::record::{Artefact, Head};
use crate::spiffe_id;
use crate::store::ledger::window_start;
use crate::store::{EpochMark, Execution, Filter, MAX_PAGE, Query, Record, StoreError, UseKey, Windows};
use crate::timestamp::Timestamp;

/// The columns of an execution, in the order of [`execution`].
pub(super) const EXECUTION: &str = "mutation_id, certificate, ordinal, use_key, request, agent, authority, target, state, \
                                    decision, decided_at, outcome, outcome_at";

/// A store that is only read. It can be opened while a broker owns it.
pub struct Reader {
    path: PathBuf,
    pool: SqlitePool,
    wait: Duration,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reader(`{}`)", self.path.display())
    }
}

impl Reader {
    /// Opens the store at `path` for reading.
    ///
    /// # Errors
    /// There is none, it is damaged, or newer than this program.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        files::check_header(path)?;
        let mut options = Options::new(path);
        options.readers = 2;
        match Self::connect(&options, false).await {
            // On a medium that cannot be written, and after a clean end, the file alone is the store.
            Err(StoreError::Io { .. } | StoreError::ReadOnly { .. }) if !files::beside(path, "-wal").exists() => {
                Self::connect(&options, true).await
            }
            opened => opened,
        }
    }

    pub(super) async fn of_owner(options: &Options) -> Result<Self, StoreError> {
        Self::connect(options, false).await
    }

    async fn connect(options: &Options, immutable: bool) -> Result<Self, StoreError> {
        let path = options.path.clone();
        let connect = SqliteConnectOptions::new()
            .filename(&path)
            .read_only(true)
            .immutable(immutable)
            .busy_timeout(options.lock_wait)
            .pragma("query_only", "ON")
            .pragma("trusted_schema", "OFF")
            .pragma("cell_size_check", "ON");
        let pool = SqlitePoolOptions::new()
            .max_connections(options.readers.max(1))
            .acquire_timeout(options.answer_wait)
            .test_before_acquire(false)
            .connect_with(connect)
            .await
            .map_err(|error| failure(&path, error))?;
        let mut connection = pool.acquire().await.map_err(|error| failure(&path, error))?;
        open::check_schema(&path, &mut connection).await?;
        drop(connection);
        Ok(Self { path, pool, wait: options.answer_wait })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Closes the file. Later reads are refused.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// As [`crate::store::Store::uses`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn uses(&self, certificate: Digest) -> Result<Uses, StoreError> {
        let select = "SELECT ordinal, decided_at FROM execution WHERE certificate = ? ORDER BY ordinal DESC LIMIT 1";
        let row = self.optional(sqlx::query(select).bind(certificate.as_bytes().as_slice())).await?;
        let Some(row) = row else { return Ok(Uses { consumed: 0, last: None }) };
        let consumed = u32::try_from(self.get::<i64>(&row, 0)?).map_err(|error| corrupt(&self.path, error))?;
        Ok(Uses { consumed, last: Some(self.time(self.get(&row, 1)?)?) })
    }

    /// As [`crate::store::Store::rates`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn rates(
        &self,
        agent: &SpiffeId,
        authority: &SpiffeId,
        windows: Windows,
        now: Timestamp,
    ) -> Result<Rates, StoreError> {
        let start = |seconds| millis(window_start(now, seconds));
        let select = "SELECT
            coalesce((SELECT of_agent FROM execution WHERE agent = ?1 ORDER BY decided_at DESC, of_agent DESC LIMIT 1), 0)
          - coalesce((SELECT of_agent FROM execution WHERE agent = ?1 AND decided_at <= ?2
                      ORDER BY decided_at DESC, of_agent DESC LIMIT 1), 0),
            coalesce((SELECT of_authority FROM execution WHERE authority = ?3
                      ORDER BY decided_at DESC, of_authority DESC LIMIT 1), 0)
          - coalesce((SELECT of_authority FROM execution WHERE authority = ?3 AND decided_at <= ?4
                      ORDER BY decided_at DESC, of_authority DESC LIMIT 1), 0)";
        let query = sqlx::query(select)
            .bind(agent.to_string())
            .bind(start(windows.agent_seconds))
            .bind(authority.to_string())
            .bind(start(windows.authority_seconds));
        let row = self.optional(query).await?.ok_or_else(|| corrupt(&self.path, "a count"))?;
        let count = |index, per_seconds| {
            let executions = u32::try_from(self.get::<i64>(&row, index)?).unwrap_or(u32::MAX);
            Ok::<_, StoreError>(RateCount { executions, per_seconds })
        };
        Ok(Rates { agent: count(0, windows.agent_seconds)?, authority: count(1, windows.authority_seconds)? })
    }

    /// As [`crate::store::Store::find`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn find(&self, certificate: Digest, use_key: &UseKey) -> Result<Option<Execution>, StoreError> {
        // The condition of the partial index that serves a key, and the use that has none.
        let place = if *use_key == UseKey::SINGLE { "ordinal = 1" } else { "use_key <> ''" };
        let select = format!("SELECT {EXECUTION} FROM execution WHERE certificate = ? AND use_key = ? AND {place}");
        let query = sqlx::query(sqlx::AssertSqlSafe(select));
        let query = query.bind(certificate.as_bytes().as_slice()).bind(use_key.as_str());
        self.optional(query).await?.map(|row| execution(&self.path, &row)).transpose()
    }

    /// As [`crate::store::Store::execution`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn execution(&self, mutation: &MutationId) -> Result<Option<Execution>, StoreError> {
        let select = format!("SELECT {EXECUTION} FROM execution WHERE mutation_id = ?");
        let query = sqlx::query(sqlx::AssertSqlSafe(select)).bind(mutation.as_str());
        self.optional(query).await?.map(|row| execution(&self.path, &row)).transpose()
    }

    /// As [`crate::store::Store::open_executions`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn open_executions(&self, after: u64) -> Result<Vec<Execution>, StoreError> {
        let select = format!(
            "SELECT {EXECUTION} FROM execution WHERE state IN ('running', 'unknown') AND decision > ?
             ORDER BY decision LIMIT {MAX_PAGE}"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(select)).bind(i64::try_from(after).unwrap_or(i64::MAX));
        self.all(query).await?.iter().map(|row| execution(&self.path, row)).collect()
    }

    /// As [`crate::store::Store::epoch`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn epoch(&self, authority: &SpiffeId) -> Result<Option<EpochMark>, StoreError> {
        let query =
            sqlx::query("SELECT sequence, statement FROM epoch WHERE authority = ?").bind(authority.to_string());
        let Some(row) = self.optional(query).await? else { return Ok(None) };
        let sequence = u64::try_from(self.get::<i64>(&row, 0)?).map_err(|error| corrupt(&self.path, error))?;
        Ok(Some(EpochMark { authority: authority.clone(), sequence, statement: self.get(&row, 1)? }))
    }

    /// As [`crate::store::Store::head`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn head(&self) -> Result<Option<Head>, StoreError> {
        let row = self.optional(sqlx::query("SELECT number, digest FROM record ORDER BY number DESC LIMIT 1")).await?;
        row.map(|row| Ok(Head { number: self.number(&row)?, digest: self.digest(&row, 1)? })).transpose()
    }

    /// As [`crate::store::Store::records`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn records(&self, query: Query) -> Result<Vec<Record>, StoreError> {
        let mut select = select_records(&query);
        self.all(select.build()).await?.iter().map(|row| self.as_record(row)).collect()
    }

    /// As [`crate::store::Store::record`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn record(&self, number: u64) -> Result<Option<Record>, StoreError> {
        let Ok(number) = i64::try_from(number) else { return Ok(None) };
        let query = sqlx::query("SELECT number, digest, envelope FROM record WHERE number = ?").bind(number);
        self.optional(query).await?.map(|row| self.as_record(&row)).transpose()
    }

    /// As [`crate::store::Store::artefact`].
    ///
    /// # Errors
    /// The store cannot be read, or what it holds has another digest.
    pub async fn artefact(&self, digest: Digest) -> Result<Option<Artefact>, StoreError> {
        let query = sqlx::query("SELECT media_type, content FROM artefact WHERE digest = ?");
        let Some(row) = self.optional(query.bind(digest.as_bytes().as_slice())).await? else { return Ok(None) };
        let (media_type, content): (String, Vec<u8>) = (self.get(&row, 0)?, self.get(&row, 1)?);
        let artefact = Artefact::new(&media_type, content).map_err(|error| corrupt(&self.path, error))?;
        if artefact.digest() != digest {
            return Err(corrupt(&self.path, format!("the artefact {digest} has other octets")));
        }
        Ok(Some(artefact))
    }

    async fn optional(&self, query: Prepared<'_>) -> Result<Option<SqliteRow>, StoreError> {
        self.bounded(query.fetch_optional(&self.pool)).await
    }

    async fn all(&self, query: Prepared<'_>) -> Result<Vec<SqliteRow>, StoreError> {
        self.bounded(query.fetch_all(&self.pool)).await
    }

    async fn bounded<T>(&self, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
        match tokio::time::timeout(self.wait, work).await {
            Ok(result) => result.map_err(|error| match Fault::of(&error) {
                Fault::Locked => StoreError::Overloaded,
                _ => failure(&self.path, error),
            }),
            Err(_) => Err(StoreError::Overloaded),
        }
    }

    fn get<'r, T>(&self, row: &'r SqliteRow, index: usize) -> Result<T, StoreError>
    where
        T: sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite>,
    {
        get(&self.path, row, index)
    }

    fn time(&self, millis: i64) -> Result<Timestamp, StoreError> {
        time(&self.path, millis)
    }

    fn number(&self, row: &SqliteRow) -> Result<u64, StoreError> {
        u64::try_from(self.get::<i64>(row, 0)?).map_err(|error| corrupt(&self.path, error))
    }

    fn digest(&self, row: &SqliteRow, index: usize) -> Result<Digest, StoreError> {
        digest(self.get(row, index)?).ok_or_else(|| corrupt(&self.path, "a digest"))
    }

    fn as_record(&self, row: &SqliteRow) -> Result<Record, StoreError> {
        let envelope: String = self.get(row, 2)?;
        Ok(Record { number: self.number(row)?, digest: self.digest(row, 1)?, envelope: envelope.into_bytes() })
    }
}

type Prepared<'q> = sqlx::query::Query<'q, Sqlite, sqlx::sqlite::SqliteArguments>;

fn select_records(query: &Query) -> QueryBuilder<Sqlite> {
    let after = i64::try_from(query.after).unwrap_or(i64::MAX);
    let mut select = QueryBuilder::new("SELECT number, digest, envelope FROM record WHERE number > ");
    select.push_bind(after);
    let Filter { since, until, kind, agent, authority, target, resource, certificate, mutation_id, .. } = &query.filter;
    // Time grows with the number, so that its bounds become bounds of the number, whatever index serves the rest.
    if let Some(since) = since {
        select.push(" AND number >= coalesce((SELECT min(number) FROM record WHERE time >= ");
        select.push_bind(millis(*since)).push("), 9223372036854775807)");
    }
    if let Some(until) = until {
        select.push(" AND number <= coalesce((SELECT number FROM record WHERE time <= ");
        select.push_bind(millis(*until)).push(" ORDER BY time DESC, number DESC LIMIT 1), 0)");
    }
    let texts = [
        ("kind", kind.map(|kind| kind.as_str().to_owned())),
        ("agent", agent.as_ref().map(SpiffeId::to_string)),
        ("authority", authority.as_ref().map(SpiffeId::to_string)),
        ("target", target.as_ref().map(TargetName::to_string)),
        ("resource", resource.clone()),
        ("decision", query.filter.decision.map(|decision| decision.as_str().to_owned())),
        ("state", query.filter.state.map(|state| state.as_str().to_owned())),
        ("reason", query.filter.reason.map(|reason| reason.code().to_owned())),
    ];
    for (column, text) in texts {
        if let Some(text) = text {
            select.push(" AND ").push(column).push(" = ").push_bind(text);
        }
    }
    if let Some(certificate) = certificate {
        select.push(" AND certificate = ").push_bind(certificate.as_bytes().to_vec());
    }
    if let Some(mutation_id) = mutation_id {
        // Records of a mutation have its certificate, and few others do.
        select.push(" AND certificate = (SELECT certificate FROM execution WHERE mutation_id = ");
        select.push_bind(mutation_id.to_string()).push(") AND mutation_id = ").push_bind(mutation_id.to_string());
    }
    // The partial indexes serve only who repeats their condition.
    if kind.is_some_and(|kind| !matches!(kind, crate::record::Kind::Decision | crate::record::Kind::Outcome)) {
        select.push(" AND kind NOT IN ('decision', 'outcome')");
    }
    if query.filter.state.is_some_and(|state| state != State::Succeeded) {
        select.push(" AND state <> 'succeeded'");
    }
    select.push(" ORDER BY number LIMIT ").push_bind(i64::from(query.page()));
    select
}

fn get<'r, T>(path: &Path, row: &'r SqliteRow, index: usize) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite>,
{
    row.try_get(index).map_err(|error| corrupt(path, error))
}

pub(super) fn execution(path: &Path, row: &SqliteRow) -> Result<Execution, StoreError> {
    let broken = |what: &str| corrupt(path, format!("an execution's {what}"));
    let text = |index| get::<String>(path, row, index);
    let id = |index, what| spiffe_id::exact(&text(index)?).ok_or_else(|| broken(what));
    let octets = |index, what| digest(get(path, row, index)?).ok_or_else(|| broken(what));
    let number = |value: i64, what| u64::try_from(value).map_err(|_| broken(what));
    let use_key = match text(3)? {
        empty if empty.is_empty() => UseKey::SINGLE,
        key => UseKey::from(key.parse::<IdempotencyKey>().map_err(|_| broken("use key"))?),
    };
    let outcome: Option<i64> = get(path, row, 11)?;
    let outcome_at: Option<i64> = get(path, row, 12)?;
    Ok(Execution {
        mutation_id: text(0)?.parse().map_err(|_| broken("mutation id"))?,
        certificate: octets(1, "certificate")?,
        ordinal: u32::try_from(get::<i64>(path, row, 2)?).map_err(|_| broken("ordinal"))?,
        use_key,
        request: octets(4, "request")?,
        agent: id(5, "agent")?,
        authority: id(6, "authority")?,
        target: TargetName::try_from(text(7)?).map_err(|_| broken("target"))?,
        state: state(&text(8)?).ok_or_else(|| broken("state"))?,
        decision: number(get(path, row, 9)?, "decision")?,
        decided_at: time(path, get(path, row, 10)?)?,
        outcome: outcome.map(|value| number(value, "outcome")).transpose()?,
        outcome_at: outcome_at.map(|value| time(path, value)).transpose()?,
    })
}

fn state(text: &str) -> Option<State> {
    State::ALL.into_iter().find(|state| state.as_str() == text)
}

pub(super) fn digest(octets: Vec<u8>) -> Option<Digest> {
    octets.try_into().ok().map(Digest::from_bytes)
}

pub(super) fn time(path: &Path, millis: i64) -> Result<Timestamp, StoreError> {
    let millis = u64::try_from(millis).map_err(|error| corrupt(path, error))?;
    Timestamp::from_millis(millis).map_err(|error| corrupt(path, error))
}

/// The milliseconds of a time, in the database's kind of integer. They are fewer than 2^48.
pub(super) fn millis(time: Timestamp) -> i64 {
    i64::try_from(time.millis()).unwrap_or(i64::MAX)
}
