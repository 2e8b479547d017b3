//! Loads the part of the store that a batch of writes looks at: a few queries, however many writes there are.

use std::path::Path;

use serde::Serialize;
use spiffe::SpiffeId;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Row};

use super::fault::{corrupt, failure};
use super::read::{EXECUTION, digest, execution, millis, time};
use crate::digest::Digest;
use crate::record::Head;
use crate::spiffe_id;
use crate::store::ledger::{Ledger, Op, Place, window_start};
use crate::store::{Claim, RateLimit, StoreError, UseKey};

/// The ledger for `ops`, in the transaction that is open on `connection`.
pub(super) async fn load<'o>(
    path: &Path,
    connection: &mut SqliteConnection,
    ops: impl Iterator<Item = &'o Op> + Clone,
) -> Result<Ledger, StoreError> {
    let mut loader = Loader { path, connection, ledger: Ledger::default() };
    loader.place().await?;
    let claims: Vec<&Claim> = ops
        .clone()
        .filter_map(|op| match op {
            Op::Decide(_, claim) => Some(claim),
            _ => None,
        })
        .collect();
    let mutations: Vec<&str> = ops
        .clone()
        .filter_map(|op| match op {
            Op::Decide(_, Claim { mutation_id, .. }) | Op::Complete(mutation_id, ..) => Some(mutation_id.as_str()),
            Op::Append(_) | Op::Epoch(..) => None,
        })
        .collect();
    if !mutations.is_empty() {
        let from = "FROM json_each(?) AS wanted JOIN execution ON mutation_id = wanted.value";
        loader.executions(from, &mutations).await?;
    }
    if !claims.is_empty() {
        // By the certificate's first use where there is only one, by the key where there are several.
        let (single, several): (Vec<&Claim>, Vec<&Claim>) =
            claims.iter().partition(|claim| claim.use_key == UseKey::SINGLE);
        let single: Vec<_> = single.iter().map(|claim| hex(&claim.certificate)).collect();
        let from = "FROM json_each(?) AS wanted
                    JOIN execution ON certificate = unhex(wanted.value) AND ordinal = 1 AND use_key = ''";
        loader.executions(from, &single).await?;
        let several: Vec<_> = several.iter().map(|claim| (hex(&claim.certificate), claim.use_key.as_str())).collect();
        let from = "FROM json_each(?) AS wanted
                    JOIN execution ON certificate = unhex(wanted.value ->> 0) AND use_key = wanted.value ->> 1
                        AND use_key <> ''";
        loader.executions(from, &several).await?;
        loader.consumed(&claims).await?;
        loader.agents(&claims).await?;
        loader.authorities(&claims).await?;
    }
    let marks = ops.filter_map(|op| if let Op::Epoch(mark, _) = op { Some(mark.authority.to_string()) } else { None });
    let marks: Vec<String> = marks.collect();
    if !marks.is_empty() {
        loader.epochs(&marks).await?;
    }
    Ok(loader.ledger)
}

struct Loader<'c> {
    path: &'c Path,
    connection: &'c mut SqliteConnection,
    ledger: Ledger,
}

impl Loader<'_> {
    async fn rows(&mut self, select: String, wanted: &impl Serialize) -> Result<Vec<SqliteRow>, StoreError> {
        let wanted = serde_json::to_string(wanted).map_err(|error| corrupt(self.path, error))?;
        let query = sqlx::query(AssertSqlSafe(select)).bind(wanted);
        query.fetch_all(&mut *self.connection).await.map_err(|error| failure(self.path, error))
    }

    async fn place(&mut self) -> Result<(), StoreError> {
        let select = "SELECT number, digest, time FROM record ORDER BY number DESC LIMIT 1";
        let row = sqlx::query(select).fetch_optional(&mut *self.connection).await;
        let Some(row) = row.map_err(|error| failure(self.path, error))? else { return Ok(()) };
        let broken = |error: sqlx::Error| corrupt(self.path, error);
        let number: i64 = row.try_get(0).map_err(broken)?;
        let number = u64::try_from(number).map_err(|error| corrupt(self.path, error))?;
        let digest = digest(row.try_get(1).map_err(broken)?).ok_or_else(|| corrupt(self.path, "a digest"))?;
        let time = time(self.path, row.try_get(2).map_err(broken)?)?;
        self.ledger.place = Some(Place { head: Head { number, digest }, time });
        Ok(())
    }

    async fn executions(&mut self, from: &str, wanted: &[impl Serialize]) -> Result<(), StoreError> {
        if wanted.is_empty() {
            return Ok(());
        }
        for row in self.rows(format!("SELECT {EXECUTION} {from}"), &wanted).await? {
            let execution = execution(self.path, &row)?;
            let key = (execution.certificate, execution.use_key.clone());
            self.ledger.by_use.insert(key, execution.mutation_id.clone());
            self.ledger.executions.insert(execution.mutation_id.clone(), execution);
        }
        Ok(())
    }

    async fn consumed(&mut self, claims: &[&Claim]) -> Result<(), StoreError> {
        let mut wanted: Vec<_> = claims.iter().map(|claim| hex(&claim.certificate)).collect();
        wanted.sort();
        wanted.dedup();
        let select = "SELECT certificate, max(ordinal) FROM json_each(?) AS wanted
                      JOIN execution ON certificate = unhex(wanted.value) GROUP BY certificate";
        for row in self.rows(select.to_owned(), &wanted).await? {
            let broken = |error: sqlx::Error| corrupt(self.path, error);
            let digest = digest(row.try_get(0).map_err(broken)?).ok_or_else(|| corrupt(self.path, "a digest"))?;
            let consumed: i64 = row.try_get(1).map_err(broken)?;
            let consumed = u32::try_from(consumed).map_err(|error| corrupt(self.path, error))?;
            self.ledger.consumed.insert(digest, consumed);
        }
        Ok(())
    }

    async fn agents(&mut self, claims: &[&Claim]) -> Result<(), StoreError> {
        let wanted = windows(claims.iter().map(|claim| (&claim.agent, claim.agent_rate, *claim)));
        for (id, start, newest, before) in self.activity("agent", &wanted).await? {
            let activity = self.ledger.agents.entry(id).or_default();
            activity.newest = newest;
            activity.at_start.insert(start, before);
        }
        Ok(())
    }

    async fn authorities(&mut self, claims: &[&Claim]) -> Result<(), StoreError> {
        let wanted = windows(claims.iter().map(|claim| (&claim.authority, claim.authority_rate, *claim)));
        for (id, start, newest, before) in self.activity("authority", &wanted).await? {
            let activity = self.ledger.authorities.entry(id).or_default();
            activity.newest = newest;
            activity.at_start.insert(start, before);
        }
        Ok(())
    }

    async fn activity(
        &mut self,
        column: &str,
        wanted: &[(String, i64)],
    ) -> Result<Vec<(SpiffeId, crate::timestamp::Timestamp, u64, u64)>, StoreError> {
        let newest = format!(
            "SELECT of_{column} FROM execution WHERE {column} = wanted.value ->> 0
             ORDER BY decided_at DESC, of_{column} DESC LIMIT 1"
        );
        let before = format!(
            "SELECT of_{column} FROM execution WHERE {column} = wanted.value ->> 0 AND decided_at <= wanted.value ->> 1
             ORDER BY decided_at DESC, of_{column} DESC LIMIT 1"
        );
        let select = format!(
            "SELECT wanted.value ->> 0, wanted.value ->> 1, coalesce(({newest}), 0), coalesce(({before}), 0)
             FROM json_each(?) AS wanted"
        );
        let rows = self.rows(select, &wanted).await?;
        let path = self.path;
        let broken = |error: sqlx::Error| corrupt(path, error);
        let count = |value: i64| u64::try_from(value).map_err(|error| corrupt(path, error));
        rows.iter()
            .map(|row| {
                let id: String = row.try_get(0).map_err(broken)?;
                let id = spiffe_id::exact(&id).ok_or_else(|| corrupt(path, "a SPIFFE ID"))?;
                let start = time(path, row.try_get(1).map_err(broken)?)?;
                Ok((id, start, count(row.try_get(2).map_err(broken)?)?, count(row.try_get(3).map_err(broken)?)?))
            })
            .collect()
    }

    async fn epochs(&mut self, authorities: &[String]) -> Result<(), StoreError> {
        let select = "SELECT authority, sequence, statement FROM json_each(?) AS wanted
                      JOIN epoch ON authority = wanted.value";
        for row in self.rows(select.to_owned(), &authorities).await? {
            let broken = |error: sqlx::Error| corrupt(self.path, error);
            let id: String = row.try_get(0).map_err(broken)?;
            let id = spiffe_id::exact(&id).ok_or_else(|| corrupt(self.path, "a SPIFFE ID"))?;
            let sequence: i64 = row.try_get(1).map_err(broken)?;
            let sequence = u64::try_from(sequence).map_err(|error| corrupt(self.path, error))?;
            let statement: Vec<u8> = row.try_get(2).map_err(broken)?;
            self.ledger.epochs.insert(id, (sequence, Digest::of(&statement)));
        }
        Ok(())
    }
}

/// Each name with the beginning of each window that is asked for, once.
fn windows<'c>(claims: impl Iterator<Item = (&'c SpiffeId, Option<RateLimit>, &'c Claim)>) -> Vec<(String, i64)> {
    let window = |(id, limit, claim): (&SpiffeId, Option<RateLimit>, &Claim)| {
        let start = limit.map_or(claim.at, |limit| window_start(claim.at, limit.per_seconds));
        (id.to_string(), millis(start))
    };
    let mut windows: Vec<_> = claims.map(window).collect();
    windows.sort();
    windows.dedup();
    windows
}

fn hex(digest: &Digest) -> String {
    base16ct::lower::encode_string(digest.as_bytes())
}
