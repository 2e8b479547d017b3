//! Stores what a batch of writes changes: a few statements, however many writes there are.

use std::collections::{HashMap, HashSet};

use sqlx::QueryBuilder;
use sqlx::sqlite::SqliteConnection;

use super::read::millis;
use crate::digest::Digest;
use crate::record::{Artefact, Draft};
use crate::store::EpochMark;
use crate::store::ledger::{Change, Effect, NewExecution};

/// The most rows of one statement.
const ROWS: usize = 128;
/// About the most octets of artefacts in one statement.
const OCTETS: usize = 16 * 1024 * 1024;

/// What one write of the batch stores, and where it came from.
#[derive(Debug)]
pub(super) struct Written<'o> {
    pub(super) change: Change,
    pub(super) draft: &'o Draft,
    pub(super) mark: Option<&'o EpochMark>,
}

/// Stores `written` in the transaction that is open on `connection`, but for the artefacts that are `known` to be there.
pub(super) async fn save(
    connection: &mut SqliteConnection,
    written: &[Written<'_>],
    known: &HashSet<Digest>,
) -> Result<(), sqlx::Error> {
    records(connection, written).await?;
    artefacts(connection, written, known).await?;
    executions(connection, written).await?;
    outcomes(connection, written).await?;
    epochs(connection, written).await
}

/// A number of a record or a count, in the database's kind of integer.
fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

async fn records(connection: &mut SqliteConnection, written: &[Written<'_>]) -> Result<(), sqlx::Error> {
    for chunk in written.chunks(ROWS) {
        let mut insert = QueryBuilder::new(
            "INSERT INTO record (number, digest, time, envelope, kind, agent, authority, target, resource, certificate, \
             mutation_id, decision, state, reason) ",
        );
        insert.push_values(chunk, |mut row, Written { change, draft, .. }| {
            let (sealed, about) = (&change.sealed, &draft.about);
            row.push_bind(integer(sealed.number))
                .push_bind(sealed.digest.as_bytes().to_vec())
                .push_bind(millis(sealed.time))
                // Canonical JSON is UTF-8; the column takes nothing else.
                .push_bind(String::from_utf8(sealed.envelope.clone()).ok())
                .push_bind(draft.kind.as_str())
                .push_bind(about.agent.as_ref().map(ToString::to_string))
                .push_bind(about.authority.as_ref().map(ToString::to_string))
                .push_bind(about.target.as_ref().map(ToString::to_string))
                .push_bind(about.resource.clone())
                .push_bind(about.certificate.map(|digest| digest.as_bytes().to_vec()))
                .push_bind(about.mutation_id.as_ref().map(ToString::to_string))
                .push_bind(about.decision.map(|decision| decision.as_str()))
                .push_bind(about.state.map(|state| state.as_str()))
                .push_bind(about.reason.map(|reason| reason.code()));
        });
        insert.build().execute(&mut *connection).await?;
    }
    Ok(())
}

async fn artefacts(
    connection: &mut SqliteConnection,
    written: &[Written<'_>],
    known: &HashSet<Digest>,
) -> Result<(), sqlx::Error> {
    let all = written.iter().flat_map(|written| &written.draft.artefacts);
    let new: HashMap<Digest, &Artefact> =
        all.filter(|artefact| !known.contains(&artefact.digest())).map(|new| (new.digest(), new)).collect();
    let mut new: Vec<&Artefact> = new.into_values().collect();
    while !new.is_empty() {
        let mut octets = 0_usize;
        let mut fits = |artefact: &&Artefact| {
            octets = octets.saturating_add(artefact.octets().len());
            octets <= OCTETS
        };
        let count = new.iter().take(ROWS).take_while(|artefact| fits(artefact)).count().max(1);
        let chunk: Vec<&Artefact> = new.drain(..count.min(new.len())).collect();
        let mut insert = QueryBuilder::new("INSERT INTO artefact (digest, media_type, content) ");
        insert.push_values(chunk, |mut row, artefact| {
            row.push_bind(artefact.digest().as_bytes().to_vec())
                .push_bind(artefact.media_type().to_owned())
                .push_bind(artefact.octets().to_vec());
        });
        insert.push(" ON CONFLICT (digest) DO NOTHING");
        insert.build().execute(&mut *connection).await?;
    }
    Ok(())
}

async fn executions(connection: &mut SqliteConnection, written: &[Written<'_>]) -> Result<(), sqlx::Error> {
    let new: Vec<&NewExecution> = written
        .iter()
        .filter_map(|written| if let Effect::Execution(new) = &written.change.effect { Some(&**new) } else { None })
        .collect();
    for chunk in new.chunks(ROWS) {
        let mut insert = QueryBuilder::new(
            "INSERT INTO execution (decision, mutation_id, certificate, ordinal, uses, use_key, request, agent, \
             authority, target, decided_at, of_agent, of_authority) ",
        );
        insert.push_values(chunk, |mut row, NewExecution { execution, uses, of_agent, of_authority }| {
            row.push_bind(integer(execution.decision))
                .push_bind(execution.mutation_id.to_string())
                .push_bind(execution.certificate.as_bytes().to_vec())
                .push_bind(execution.ordinal)
                .push_bind(*uses)
                .push_bind(execution.use_key.as_str().to_owned())
                .push_bind(execution.request.as_bytes().to_vec())
                .push_bind(execution.agent.to_string())
                .push_bind(execution.authority.to_string())
                .push_bind(execution.target.to_string())
                .push_bind(millis(execution.decided_at))
                .push_bind(integer(*of_agent))
                .push_bind(integer(*of_authority));
        });
        insert.build().execute(&mut *connection).await?;
    }
    Ok(())
}

async fn outcomes(connection: &mut SqliteConnection, written: &[Written<'_>]) -> Result<(), sqlx::Error> {
    // One row for each outcome, in the order of the log: an execution can become unknown and settled in one batch.
    let mut rounds: Vec<HashMap<&str, _>> = Vec::new();
    for Written { change, .. } in written {
        if let Effect::Outcome(mutation, state) = &change.effect {
            let row = (mutation.as_str(), state.as_str(), integer(change.sealed.number), millis(change.sealed.time));
            match rounds.iter_mut().find(|round| !round.contains_key(mutation.as_str())) {
                Some(round) => drop(round.insert(mutation.as_str(), row)),
                None => rounds.push(HashMap::from([(mutation.as_str(), row)])),
            }
        }
    }
    for round in rounds {
        let rows: Vec<_> = round.into_values().collect();
        let rows = serde_json::to_string(&rows).map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
        let update = "UPDATE execution
                      SET state = new.value ->> 1, outcome = new.value ->> 2, outcome_at = new.value ->> 3
                      FROM json_each(?) AS new WHERE mutation_id = new.value ->> 0";
        sqlx::query(update).bind(rows).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn epochs(connection: &mut SqliteConnection, written: &[Written<'_>]) -> Result<(), sqlx::Error> {
    for mark in written.iter().filter_map(|written| written.mark) {
        let upsert = "INSERT INTO epoch (authority, sequence, statement) VALUES (?, ?, ?)
                      ON CONFLICT (authority) DO UPDATE SET sequence = excluded.sequence, statement = excluded.statement";
        let query = sqlx::query(upsert).bind(mark.authority.to_string());
        query.bind(integer(mark.sequence)).bind(mark.statement.clone()).execute(&mut *connection).await?;
    }
    Ok(())
}
