//! What only the real store can do: own its file, group its commits, and fail as a disk fails.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};
use tempfile::TempDir;

use super::claim;
use crate::digest::Digest;
use crate::execution::State;
use crate::key::SigningKey;
use crate::record::testing::{again, allow, deny, genesis_of, key, mutation, outcome_of, plain};
use crate::record::{Artefact, Draft, Head, Kind, Verifier};
use crate::store::sqlite::{Options, Reader, Sqlite};
use crate::store::{Claimed, Query, Store, StoreError};

struct Place {
    folder: TempDir,
    key: SigningKey,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), key: key() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("log/seb.db")
    }

    fn options(&self) -> Options {
        Options::new(self.path())
    }

    async fn open(&self) -> Result<Sqlite, StoreError> {
        Sqlite::open(self.options(), again(&self.key)).await
    }

    /// An open store whose log has begun.
    async fn begun(&self) -> Sqlite {
        let store = self.open().await.unwrap();
        store.append(genesis_of(&self.key)).await.unwrap();
        store
    }

    /// A closed store with some records.
    async fn closed(&self) -> Head {
        let store = self.begun().await;
        for seconds in 1..50 {
            store.append(deny(seconds)).await.unwrap();
        }
        let head = store.head().await.unwrap().unwrap();
        store.close().await;
        head
    }

    /// Does to the file what somebody with access to it could do.
    async fn meddle(&self, statements: &[&str]) {
        let options = SqliteConnectOptions::new().filename(self.path()).foreign_keys(false);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        for statement in statements {
            sqlx::query(AssertSqlSafe(*statement)).execute(&mut connection).await.unwrap();
        }
        connection.close().await.unwrap();
    }
}

async fn verified(path: &Path, kept: Option<Head>) -> crate::record::Summary {
    let reader = Reader::open(path).await.unwrap();
    let mut verifier = Verifier::new();
    kept.into_iter().for_each(|kept| verifier.expect(kept));
    let mut after = 0;
    loop {
        let page = reader.records(Query { after, ..Query::default() }).await.unwrap();
        let Some(last) = page.last() else { return verifier.finish().unwrap() };
        after = last.number;
        for record in &page {
            verifier.push(record.number, &record.envelope).unwrap();
        }
    }
}

#[tokio::test]
async fn one_process_owns_a_log_at_a_time_and_anybody_reads() {
    let place = Place::new();
    let store = place.begun().await;
    let error = place.open().await.unwrap_err();
    assert!(matches!(error, StoreError::Owned { .. }), "{error}");
    let reader = Reader::open(&place.path()).await.unwrap();
    for seconds in 1..5 {
        let head = store.append(deny(seconds)).await.unwrap();
        assert_eq!(reader.head().await.unwrap(), Some(head));
    }
    store.close().await;
    let error = store.append(deny(9)).await.unwrap_err();
    assert!(matches!(error, StoreError::Stopped { .. }), "{error}");
    let again = place.open().await.unwrap();
    assert_eq!(again.append(deny(9)).await.unwrap().number, 6);
}

#[tokio::test]
async fn commits_are_grouped_and_one_failure_does_not_fail_another() {
    let place = Place::new();
    let store = Arc::new(place.begun().await);
    let certificate = |n: u32| Digest::of(&n.to_be_bytes());
    let writes = (0..400_u32).map(|n| {
        let store = Arc::clone(&store);
        async move {
            match n % 4 {
                0 => store.append(deny(1)).await.is_ok(),
                1 => store.append(genesis_of(&key())).await.is_err(),
                2 => store
                    .complete(
                        mutation(certificate(n), 1),
                        State::Succeeded,
                        outcome_of(certificate(n), 1, 9, State::Succeeded, 1),
                    )
                    .await
                    .is_err(),
                _ => matches!(
                    store.decide(allow(certificate(n), 1, 1), claim(certificate(n), 1, "", 1)).await,
                    Ok(Claimed::New(_))
                ),
            }
        }
    });
    assert!(join_all(writes).await.into_iter().all(|as_expected| as_expected));
    let (transactions, records) = store.batches();
    assert_eq!(records, 201);
    assert!(transactions < 40, "{transactions} transactions for 400 writes at once");
    store.close().await;
    assert_eq!(verified(&place.path(), None).await.allowed, 100);
}

#[tokio::test]
async fn i3_the_schema_alone_makes_a_second_use_impossible() {
    let place = Place::new();
    let store = place.begun().await;
    let certificate = Digest::of(b"certificate");
    let claimed = store.decide(allow(certificate, 1, 1), claim(certificate, 1, "first", 1)).await.unwrap();
    assert!(matches!(claimed, Claimed::New(_)));
    let second = mutation(certificate, 2);
    let done = outcome_of(certificate, 1, 2, State::Succeeded, 2);
    store.complete(mutation(certificate, 1), State::Succeeded, done).await.unwrap();
    store.append(deny(3)).await.unwrap();
    store.close().await;
    let copy = |what: &str| {
        format!(
            "INSERT INTO execution (decision, mutation_id, certificate, ordinal, uses, use_key, request, agent, authority,
                                    target, decided_at, of_agent, of_authority)
             SELECT 4, '{second}', certificate, {what}, request, agent, authority, target, decided_at, 2, 2 FROM execution"
        )
    };
    let mut connection = SqliteConnection::connect(place.path().to_str().unwrap()).await.unwrap();
    for (statement, good) in [
        (copy("1, uses, 'second'"), false),
        (copy("2, 1, 'second'"), false),
        (copy("3, uses, 'second'"), false),
        (copy("2, uses, use_key"), false),
        ("UPDATE execution SET state = 'rejected'".to_owned(), false),
        ("UPDATE execution SET ordinal = 2".to_owned(), false),
        ("DELETE FROM execution".to_owned(), false),
        ("UPDATE record SET kind = 'epoch' WHERE number = 2".to_owned(), false),
        ("DELETE FROM record WHERE number = 4".to_owned(), false),
        (copy("2, uses, 'second'"), true),
    ] {
        let result = sqlx::query(AssertSqlSafe(statement.clone())).execute(&mut connection).await;
        assert_eq!(result.is_ok(), good, "{statement}: {result:?}");
    }
}

#[tokio::test]
async fn i1_an_opened_log_goes_on_where_it_ended_and_only_with_its_key() {
    let place = Place::new();
    let head = place.closed().await;
    let error = Sqlite::open(place.options(), key()).await.unwrap_err();
    assert!(matches!(error, StoreError::OtherKey { .. }), "{error}");
    let store = place.open().await.unwrap();
    assert_eq!(store.head().await.unwrap(), Some(head));
    assert_eq!(*store.subscribe().borrow(), head.number);
    store.append(deny(100)).await.unwrap();
    store.close().await;
    assert_eq!(verified(&place.path(), Some(head)).await.denied, 50);
}

#[tokio::test]
async fn a_damaged_store_is_not_started_from() {
    let drop = ["DROP TRIGGER record_stays", "DROP TRIGGER record_remains"];
    for change in [
        "UPDATE record SET envelope = replace(envelope, 'eyJ', 'eyK') WHERE number = 50",
        "UPDATE record SET envelope = replace(envelope, 'eyJ', 'eyK') WHERE number = 1",
        "UPDATE record SET digest = zeroblob(32) WHERE number = 50",
        "UPDATE record SET digest = zeroblob(32) WHERE number = 49",
        "DELETE FROM record WHERE number = 1",
        "UPDATE _sqlx_migrations SET checksum = zeroblob(48)",
    ] {
        let place = Place::new();
        place.closed().await;
        place.meddle(&[&drop[..], &[change]].concat()).await;
        let error = place.open().await.unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{change}: {error:?}");
        assert!(!error.is_retryable() && error.to_string().contains("copy"), "{error}");
    }
}

#[tokio::test]
async fn overwritten_octets_are_found_when_the_store_is_opened() {
    let place = Place::new();
    place.closed().await;
    let original = fs::read(place.path()).unwrap();
    let mut found = 0;
    // A page in the middle, the first one, and the header.
    for (at, length) in [(original.len() / 4096 / 2 * 4096, 4096), (100, 200), (0, 16)] {
        let mut damaged = original.clone();
        damaged[at..at + length].fill(0xa5);
        fs::write(place.path(), &damaged).unwrap();
        let error = place.open().await.unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{at}: {error:?}");
        found += 1;
    }
    assert_eq!(found, 3);
    fs::write(place.path(), &original).unwrap();
    assert!(place.open().await.is_ok());
}

#[tokio::test]
async fn what_is_no_store_is_left_alone() {
    let place = Place::new();
    fs::create_dir(place.folder.path().join("log")).unwrap();
    fs::set_permissions(place.folder.path().join("log"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(place.path(), "not a database").unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o600)).unwrap();
    let error = place.open().await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert_eq!(fs::read(place.path()).unwrap(), b"not a database");
    fs::remove_file(place.path()).unwrap();
    fs::File::create_new(place.path()).unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o600)).unwrap();
    place.meddle(&["CREATE TABLE somebody (elses TEXT)"]).await;
    let error = place.open().await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    let error = Reader::open(&place.path()).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    let error = Reader::open(&place.folder.path().join("nothing")).await.unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error:?}");
}

#[tokio::test]
async fn a_store_of_a_newer_program_is_left_alone() {
    let place = Place::new();
    place.closed().await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (999, 'later', TRUE, x'00', 0)";
    place.meddle(&[newer]).await;
    for error in [place.open().await.unwrap_err(), Reader::open(&place.path()).await.unwrap_err()] {
        assert!(matches!(error, StoreError::Newer { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_store_is_private_to_its_owner() {
    let place = Place::new();
    place.closed().await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&place.path()), mode(place.path().parent().unwrap())), (0o600, 0o700));
    let store = place.open().await.unwrap();
    store.append(deny(60)).await.unwrap();
    for file in fs::read_dir(place.path().parent().unwrap()).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
    store.close().await;
    for (path, open_mode, private) in
        [(place.path(), 0o640, 0o600), (place.path().parent().unwrap().to_owned(), 0o750, 0o700)]
    {
        fs::set_permissions(&path, fs::Permissions::from_mode(open_mode)).unwrap();
        let error = place.open().await.unwrap_err();
        assert!(matches!(error, StoreError::NotPrivate { .. }), "{error:?}");
        assert!(error.to_string().contains("chmod"), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(private)).unwrap();
    }
    assert!(place.open().await.is_ok());
}

#[tokio::test]
async fn a_locked_store_refuses_and_goes_on_when_it_is_free() {
    let place = Place::new();
    place.closed().await;
    let options = Options { lock_wait: Duration::from_millis(50), ..place.options() };
    let store = Sqlite::open(options, again(&place.key)).await.unwrap();
    let head = store.head().await.unwrap();
    let mut other = SqliteConnection::connect(place.path().to_str().unwrap()).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let error = store.append(deny(60)).await.unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error:?}");
    assert!(error.is_retryable() && !error.is_uncertain());
    assert_eq!(store.head().await.unwrap(), head);
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    assert_eq!(store.append(deny(61)).await.unwrap().number, 51);
}

#[tokio::test]
async fn a_log_that_somebody_else_wrote_to_is_not_written_to_any_more() {
    let place = Place::new();
    let store = place.begun().await;
    store.append(deny(1)).await.unwrap();
    let insert = "INSERT INTO record (number, digest, time, envelope, kind) VALUES (3, zeroblob(32), 0, '{}', 'epoch')";
    place.meddle(&[insert]).await;
    let error = store.append(deny(2)).await.unwrap_err();
    let StoreError::Stopped { cause: Some(cause), .. } = error else { panic!("{error:?}") };
    assert!(matches!(*cause, StoreError::Foreign { .. }), "{cause:?}");
    let error = store.append(deny(3)).await.unwrap_err();
    assert!(matches!(error, StoreError::Stopped { cause: Some(_), .. }), "{error:?}");
}

#[tokio::test]
async fn a_full_store_refuses_loses_nothing_and_goes_on_with_more_room() {
    let place = Place::new();
    let options = |octets| Options { max_octets: Some(octets), ..place.options() };
    let store = Sqlite::open(options(512 * 1024), again(&place.key)).await.unwrap();
    store.append(genesis_of(&place.key)).await.unwrap();
    let large = |n: u32| Draft {
        artefacts: vec![Artefact::new("a/b", [&n.to_be_bytes()[..], &[0; 60_000]].concat()).unwrap()],
        ..plain(Kind::Boundary, u64::from(n))
    };
    let mut acknowledged = 1;
    let error = loop {
        match store.append(large(u32::try_from(acknowledged).unwrap())).await {
            Ok(head) => acknowledged = head.number,
            Err(error) => break error,
        }
        assert!(acknowledged < 100, "a store of 512 KiB");
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert!(error.is_retryable() && !error.is_uncertain());
    // Half of it was not written either: neither the record nor the artefact.
    let refused = large(u32::try_from(acknowledged).unwrap()).artefacts[0].digest();
    assert_eq!(store.artefact(refused).await.unwrap(), None);
    assert_eq!(store.head().await.unwrap().unwrap().number, acknowledged);
    let error = store.append(large(500)).await.unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "and again, without stopping: {error:?}");
    store.close().await;
    let store = Sqlite::open(options(4 * 1024 * 1024), again(&place.key)).await.unwrap();
    assert_eq!(store.append(large(501)).await.unwrap().number, acknowledged + 1);
    store.close().await;
    verified(&place.path(), None).await;
}

#[tokio::test]
async fn a_full_queue_sheds_instead_of_waiting_for_ever() {
    let place = Place::new();
    let options = Options {
        queue_wait: Duration::from_millis(1),
        lock_wait: Duration::from_secs(20),
        answer_wait: Duration::from_millis(200),
        ..place.options()
    };
    place.closed().await;
    let store = Sqlite::open(options, again(&place.key)).await.unwrap();
    let mut other = SqliteConnection::connect(place.path().to_str().unwrap()).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let results = join_all((0..3000).map(|_| store.append(deny(60)))).await;
    let overloaded = results.iter().filter(|result| matches!(result, Err(StoreError::Overloaded))).count();
    let late = results.iter().filter(|result| matches!(result, Err(StoreError::Timeout))).count();
    assert!(overloaded >= 900, "{overloaded} were shed");
    assert_eq!(overloaded + late, 3000);
    assert!(StoreError::Timeout.is_uncertain() && !StoreError::Overloaded.is_uncertain());
}

#[tokio::test]
async fn a_page_through_many_records_uses_an_index() {
    let place = Place::new();
    place.closed().await;
    let mut connection = SqliteConnection::connect(place.path().to_str().unwrap()).await.unwrap();
    for condition in [
        "agent = 'x'",
        "target = 'x'",
        "resource = 'x'",
        "certificate = x'00'",
        "reason = 'x'",
        "kind = 'boundary' AND kind NOT IN ('decision', 'outcome')",
        "state = 'unknown' AND state <> 'succeeded'",
    ] {
        let plan = format!(
            "EXPLAIN QUERY PLAN SELECT number FROM record WHERE number > 1 AND {condition} ORDER BY number LIMIT 9"
        );
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(AssertSqlSafe(plan)).fetch_all(&mut connection).await.unwrap();
        let [(.., plan)] = &plan[..] else { panic!("a plan of one step, not a sort: {plan:?}") };
        assert!(plan.contains("USING") && plan.contains("INDEX record_by_"), "{condition}: {plan}");
    }
}
