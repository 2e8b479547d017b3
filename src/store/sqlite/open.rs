//! Opens a store for writing: checks the file, brings the schema up to date, and verifies both ends of the log.

use std::borrow::Cow;
use std::fs::File;
use std::path::{Path, PathBuf};

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection, Row, SqlSafeStr};

use super::fault::{corrupt, failure};
use super::{Options, files};
use crate::digest::Digest;
use crate::key::SigningKey;
use crate::record::{Genesis, Head, PublicKey, Statement, verify_signature};
use crate::store::StoreError;
use crate::store::ledger::{Place, Sealer};

/// The schema, in the order of its making. Append-only: the checksum of each that was applied is checked.
const MIGRATIONS: &[(i64, &str, &str)] = &[(1, "log", include_str!("0001_log.sql"))];

/// The octets of a page.
const PAGE: u64 = 4096;

/// A store that is ready to be written to.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) path: PathBuf,
    pub(super) connection: SqliteConnection,
    pub(super) sealer: Sealer,
    pub(super) place: Option<Place>,
    /// Possession of the log.
    pub(super) lock: File,
}

pub(super) async fn open(options: &Options, key: SigningKey) -> Result<Opened, StoreError> {
    let path = options.path.clone();
    let lock = {
        let path = path.clone();
        let taken = tokio::task::spawn_blocking(move || files::take(&path)).await;
        taken.map_err(|error| StoreError::Io { path: options.path.clone(), cause: Box::new(error) })??
    };
    let sealer = Sealer::new(key).map_err(|_| StoreError::OtherKey { path: path.clone() })?;
    let fail = |error| failure(&path, error);
    let mut connection = SqliteConnection::connect_with(&connect_options(options)).await.map_err(fail)?;
    quick_check(&path, &mut connection).await?;
    check_application(&path, &mut connection).await?;
    migrate(&path, &mut connection).await?;
    let place = verify_ends(&path, &mut connection, sealer.public()).await?;
    Ok(Opened { path, connection, sealer, place, lock })
}

fn connect_options(options: &Options) -> SqliteConnectOptions {
    let connect = SqliteConnectOptions::new()
        .filename(&options.path)
        .create_if_missing(false)
        .page_size(4096)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(options.lock_wait)
        .pragma("trusted_schema", "OFF")
        .pragma("cell_size_check", "ON")
        .pragma("cache_size", "-8192")
        // 32 MiB: pages that change again before they are taken into the file are taken once.
        .pragma("wal_autocheckpoint", "8192")
        .statement_cache_capacity(256);
    match options.max_octets {
        Some(octets) => connect.pragma("max_page_count", (octets / PAGE).max(1).to_string()),
        None => connect,
    }
}

async fn quick_check(path: &Path, connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let found: String = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_one(&mut *connection)
        .await
        .map_err(|error| failure(path, error))?;
    if found == "ok" { Ok(()) } else { Err(corrupt(path, found)) }
}

/// Whether the database is this program's, or still nobody's.
async fn check_application(path: &Path, connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let select = "SELECT application_id <> 0x53454252
                      AND EXISTS (SELECT 1 FROM sqlite_schema WHERE name NOT LIKE '%sqlx_migrations%')
                  FROM pragma_application_id";
    let foreign: bool = sqlx::query_scalar(select).fetch_one(connection).await.map_err(|error| failure(path, error))?;
    if foreign { Err(corrupt(path, "it is another program's database")) } else { Ok(()) }
}

fn migrator() -> Migrator {
    let migrations = MIGRATIONS.iter().map(|(version, name, sql)| {
        Migration::new(*version, Cow::Borrowed(*name), MigrationType::Simple, sql.into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.collect())
}

async fn migrate(path: &Path, connection: &mut SqliteConnection) -> Result<(), StoreError> {
    migrator().run(connection).await.map_err(|error| match error {
        MigrateError::VersionMissing(_) | MigrateError::VersionTooNew(..) => {
            StoreError::Newer { path: path.to_owned() }
        }
        MigrateError::VersionMismatch(version) => corrupt(path, format!("its schema {version} was changed")),
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => failure(path, error),
        error => corrupt(path, error),
    })
}

/// Whether a reader of this program understands the schema.
pub(super) async fn check_schema(path: &Path, connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let version: Result<Option<i64>, _> =
        sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations").fetch_one(connection).await;
    let newest = MIGRATIONS.last().map(|(version, ..)| *version);
    match version {
        Ok(version) if version > newest => Err(StoreError::Newer { path: path.to_owned() }),
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(corrupt(path, "it has no schema")),
        Err(error) => match failure(path, error) {
            // No such table.
            StoreError::Io { cause, .. } => Err(corrupt(path, cause)),
            error => Err(error),
        },
    }
}

/// The newest record, once the first and the newest are known to be signed with the key of the log, which is `key`.
async fn verify_ends(
    path: &Path,
    connection: &mut SqliteConnection,
    key: &PublicKey,
) -> Result<Option<Place>, StoreError> {
    let Some((head, envelope, _)) = end(path, connection, "SELECT * FROM record ORDER BY number LIMIT 1").await? else {
        return Ok(None);
    };
    let statement = Statement::from_envelope(&envelope).map_err(|error| corrupt(path, error))?;
    let genesis = Genesis::read(&statement).map_err(|error| corrupt(path, error))?;
    if genesis.key() != key {
        return Err(StoreError::OtherKey { path: path.to_owned() });
    }
    check(path, head, &envelope, key)?;
    let newest = end(path, connection, "SELECT * FROM record ORDER BY number DESC LIMIT 1").await?;
    let Some((head, envelope, before)) = newest else { return Err(corrupt(path, "its log has no end")) };
    let newest = check(path, head, &envelope, key)?;
    if head.number > 1 && before != Some(newest.link.previous) {
        return Err(corrupt(path, format!("record {} does not name the one before", head.number)));
    }
    Ok(Some(Place { head, time: newest.time }))
}

/// A record, its envelope, and the digest that is stored for the one before.
async fn end(
    path: &Path,
    connection: &mut SqliteConnection,
    select: &'static str,
) -> Result<Option<(Head, Vec<u8>, Option<Digest>)>, StoreError> {
    let fail = |error| failure(path, error);
    let Some(row) = sqlx::query(select).fetch_optional(&mut *connection).await.map_err(fail)? else {
        return Ok(None);
    };
    let number: i64 = row.try_get("number").map_err(fail)?;
    let envelope: String = row.try_get("envelope").map_err(fail)?;
    let before: Option<Vec<u8>> = sqlx::query_scalar("SELECT digest FROM record WHERE number = ?")
        .bind(number - 1)
        .fetch_optional(connection)
        .await
        .map_err(fail)?;
    let digest = super::read::digest(row.try_get("digest").map_err(fail)?).ok_or_else(|| corrupt(path, "a digest"))?;
    let number = u64::try_from(number).map_err(|error| corrupt(path, error))?;
    Ok(Some((Head { number, digest }, envelope.into_bytes(), before.and_then(super::read::digest))))
}

fn check(path: &Path, head: Head, envelope: &[u8], key: &PublicKey) -> Result<Statement, StoreError> {
    let broken = |what: &str| corrupt(path, format!("record {}: {what}", head.number));
    if Digest::of(envelope) != head.digest {
        return Err(broken("its envelope has another digest"));
    }
    let statement = verify_signature(envelope, key).map_err(|error| broken(&error.to_string()))?;
    if statement.link.number != head.number {
        return Err(broken("it has another number"));
    }
    Ok(statement)
}
