//! What every store does.

use std::num::NonZeroU32;
use std::sync::Arc;

use futures::future::join_all;

use super::claim;
use crate::contract::Json;
use crate::decision::Uses;
use crate::digest::Digest;
use crate::execution::State;
use crate::key::SigningKey;
use crate::reason::Reason;
use crate::record::testing::{
    AGENT, AUTHORITY, again, allow, at, deny, genesis_of, id, key, mutation, outcome_of, plain,
};
use crate::record::{Artefact, Decided, Draft, Kind, Statement, beginning, verify_signature};
use crate::store::fake::Fake;
use crate::store::sqlite::{Options, Sqlite};
use crate::store::{
    Claim, Claimed, EpochAppended, EpochMark, Filter, Query, RateLimit, Store, StoreError, UseKey, Windows,
};
use crate::timestamp::Timestamp;

/// Runs a test on every store, its log begun.
macro_rules! on_every_store {
    ($($name:ident)+) => {
        mod fake {
            $(#[tokio::test] async fn $name() {
                let key = super::key();
                super::$name(super::begun(super::Fake::new(super::again(&key)), &key).await, &key).await;
            })+
        }
        mod sqlite {
            $(#[tokio::test] async fn $name() {
                let key = super::key();
                let folder = tempfile::tempdir().unwrap();
                let options = super::Options::new(folder.path().join("log/seb.db"));
                let store = super::Sqlite::open(options, super::again(&key)).await.unwrap();
                super::$name(super::begun(store, &key).await, &key).await;
            })+
        }
    };
}

on_every_store! {
    the_log_begins_with_genesis_and_has_no_other
    records_are_linked_signed_and_in_order_of_time
    i3_a_use_is_consumed_once
    i3_parallel_duplicates_are_one_execution
    i3_uses_are_consumed_in_order
    i6_an_outcome_moves_an_execution_only_where_it_may
    i10_a_rate_holds_under_concurrency
    i2_an_epoch_statement_never_goes_backwards
    records_are_found_by_every_field_and_page_by_page
    artefacts_are_kept_under_their_digest
    what_must_not_be_is_refused_and_changes_nothing
    subscribers_see_the_newest_number
    open_executions_are_those_without_a_final_outcome
}

async fn begun<S: Store>(store: S, key: &SigningKey) -> Arc<S> {
    assert!(matches!(store.append(plain(Kind::Boundary, 0)).await, Err(StoreError::NoGenesis)));
    assert_eq!(store.append(genesis_of(key)).await.unwrap().number, 1);
    Arc::new(store)
}

async fn statement<S: Store>(store: &S, number: u64) -> Statement {
    Statement::from_envelope(&store.record(number).await.unwrap().unwrap().envelope).unwrap()
}

async fn the_log_begins_with_genesis_and_has_no_other<S: Store>(store: Arc<S>, key: &SigningKey) {
    assert!(matches!(store.append(genesis_of(key)).await, Err(StoreError::Genesis)));
    assert_eq!(store.head().await.unwrap().unwrap().number, 1);
    assert_eq!(statement(&*store, 1).await.link.previous, beginning());
}

async fn records_are_linked_signed_and_in_order_of_time<S: Store>(store: Arc<S>, key: &SigningKey) {
    for seconds in [5, 3, 9, 1] {
        store.append(deny(seconds)).await.unwrap();
    }
    let public = crate::record::testing::public(key);
    let mut previous = beginning();
    let mut times = Vec::new();
    for record in store.records(Query::default()).await.unwrap() {
        let statement = verify_signature(&record.envelope, &public).unwrap();
        assert_eq!(statement.link.previous, previous);
        assert_eq!(statement.link.number, record.number);
        assert_eq!(record.digest, Digest::of(&record.envelope));
        previous = record.digest;
        times.push(statement.time);
    }
    assert_eq!(times, [at(0), at(5), at(5), at(9), at(9)]);
    assert_eq!(store.head().await.unwrap().unwrap().digest, previous);
}

async fn i3_a_use_is_consumed_once<S: Store>(store: Arc<S>, _: &SigningKey) {
    let certificate = Digest::of(b"certificate");
    assert_eq!(store.uses(certificate).await.unwrap(), Uses { consumed: 0, last: None });
    let first = claim(certificate, 1, "", 1);
    let Claimed::New(head) = store.decide(allow(certificate, 1, 1), first.clone()).await.unwrap() else { panic!() };
    assert_eq!(store.uses(certificate).await.unwrap(), Uses { consumed: 1, last: Some(at(1)) });
    assert_eq!(statement(&*store, head.number).await.about, allow(certificate, 1, 1).about);

    let repeated = store.decide(allow(certificate, 1, 2), first.clone()).await.unwrap();
    let Claimed::Existing(execution) = repeated else { panic!("{repeated:?}") };
    assert_eq!((execution.decision, execution.state), (head.number, State::Running));
    assert_eq!(store.find(certificate, &UseKey::SINGLE).await.unwrap().as_ref(), Some(&*execution));
    assert_eq!(store.execution(&first.mutation_id).await.unwrap(), Some(*execution));

    let other = Claim { request: Digest::of(b"another request"), ..first };
    assert_eq!(store.decide(allow(certificate, 1, 3), other).await.unwrap(), Claimed::Conflict);
    assert_eq!(store.head().await.unwrap(), Some(head));
}

async fn i3_parallel_duplicates_are_one_execution<S: Store>(store: Arc<S>, _: &SigningKey) {
    let certificate = Digest::of(b"certificate");
    let decide = || store.decide(allow(certificate, 1, 1), claim(certificate, 1, "", 1));
    let claimed = join_all((0..64).map(|_| decide())).await;
    let new = claimed.iter().filter(|claimed| matches!(claimed, Ok(Claimed::New(_)))).count();
    let existing = claimed.iter().filter(|claimed| matches!(claimed, Ok(Claimed::Existing(_)))).count();
    assert_eq!((new, existing), (1, 63));
    assert_eq!(store.head().await.unwrap().unwrap().number, 2);
}

async fn i3_uses_are_consumed_in_order<S: Store>(store: Arc<S>, _: &SigningKey) {
    let certificate = Digest::of(b"certificate");
    let decide =
        |ordinal, key: String| store.decide(allow(certificate, ordinal, 1), claim(certificate, ordinal, &key, 1));
    assert_eq!(decide(2, "b".to_owned()).await.unwrap(), Claimed::Raced);
    // Everybody wants the first use: one has it, the others gather their facts again.
    let claimed = join_all((0..32).map(|n| decide(1, format!("key-{n}")))).await;
    assert_eq!(claimed.iter().filter(|claimed| matches!(claimed, Ok(Claimed::New(_)))).count(), 1);
    assert_eq!(claimed.iter().filter(|claimed| matches!(claimed, Ok(Claimed::Raced))).count(), 31);
    assert!(matches!(decide(2, "b".to_owned()).await.unwrap(), Claimed::New(_)));
    assert_eq!(store.uses(certificate).await.unwrap().consumed, 2);
    assert!(matches!(decide(101, "c".to_owned()).await, Err(StoreError::Claim(_))));
}

async fn i6_an_outcome_moves_an_execution_only_where_it_may<S: Store>(store: Arc<S>, _: &SigningKey) {
    for (index, first) in State::ALL.into_iter().enumerate() {
        for second in State::ALL {
            let certificate = Digest::of(format!("{first:?} {second:?}").as_bytes());
            let mutation = mutation(certificate, 1);
            let complete =
                |state| store.complete(mutation.clone(), state, outcome_of(certificate, 1, 2, state, 2 + index as u64));
            let unknown = complete(State::Succeeded).await.unwrap_err();
            assert!(matches!(unknown, StoreError::UnknownMutation(_)), "{unknown}");
            let claimed = store.decide(allow(certificate, 1, 1), claim(certificate, 1, "", 1)).await.unwrap();
            assert!(matches!(claimed, Claimed::New(_)));
            let mut state = State::Running;
            for next in [first, second] {
                let before = store.head().await.unwrap().unwrap();
                match complete(next).await {
                    Ok(head) => {
                        assert!(state.may_become(next), "{state:?} {next:?}");
                        let execution = store.execution(&mutation).await.unwrap().unwrap();
                        assert_eq!((execution.state, execution.outcome), (next, Some(head.number)));
                        assert_eq!(execution.outcome_at, Some(statement(&*store, head.number).await.time));
                        state = next;
                    }
                    Err(error) => {
                        assert!(!state.may_become(next), "{state:?} {next:?}");
                        let refused = matches!(error, StoreError::Transition { .. } | StoreError::Seal(_));
                        assert!(refused && (next == State::Running || error.to_string().contains("cannot")));
                        assert_eq!(store.head().await.unwrap(), Some(before));
                    }
                }
            }
        }
    }
}

async fn i10_a_rate_holds_under_concurrency<S: Store>(store: Arc<S>, _: &SigningKey) {
    let limit = RateLimit { executions: 5, per_seconds: 10 };
    let decide = |n: u32, seconds| {
        let certificate = Digest::of(&n.to_be_bytes());
        let mut claim = claim(certificate, 1, "", seconds);
        if n.is_multiple_of(2) {
            claim.agent_rate = Some(limit)
        } else {
            claim.authority_rate = Some(limit)
        }
        store.decide(allow(certificate, 1, seconds), claim)
    };
    let claimed = join_all((0..20).map(|n| decide(n, 1))).await;
    assert_eq!(claimed.iter().filter(|claimed| matches!(claimed, Ok(Claimed::New(_)))).count(), 5);
    assert_eq!(claimed.iter().filter(|claimed| matches!(claimed, Ok(Claimed::Raced))).count(), 15);
    let windows = Windows { agent_seconds: 10, authority_seconds: 3 };
    let rates = |seconds| {
        let store = &store;
        async move { store.rates(&id(AGENT), &id(AUTHORITY), windows, at(seconds)).await.unwrap() }
    };
    let counted = |rates: crate::decision::Rates| (rates.agent.executions, rates.authority.executions);
    assert_eq!(counted(rates(1).await), (5, 5));
    assert_eq!(counted(rates(4).await), (5, 0));
    assert_eq!(counted(rates(10).await), (5, 0));
    assert_eq!(counted(rates(11).await), (0, 0));
    assert_eq!(decide(100, 10).await.unwrap(), Claimed::Raced);
    assert!(matches!(decide(100, 11).await.unwrap(), Claimed::New(_)));
    assert_eq!(counted(rates(11).await), (1, 1));
}

async fn i2_an_epoch_statement_never_goes_backwards<S: Store>(store: Arc<S>, _: &SigningKey) {
    let authority = id(AUTHORITY);
    let append = |sequence, text: &str| {
        let mark = EpochMark { authority: id(AUTHORITY), sequence, statement: text.as_bytes().to_vec() };
        store.append_epoch(mark, plain(Kind::Epoch, sequence))
    };
    assert_eq!(store.epoch(&authority).await.unwrap(), None);
    assert!(matches!(append(7, "seven").await.unwrap(), EpochAppended::New(_)));
    assert_eq!(append(7, "seven").await.unwrap(), EpochAppended::Same);
    assert!(matches!(append(9, "nine").await.unwrap(), EpochAppended::New(_)));
    for (sequence, text) in [(7, "seven"), (8, "eight"), (9, "another nine")] {
        let error = append(sequence, text).await.unwrap_err();
        assert!(matches!(error, StoreError::EpochBackwards { newest: 9, .. }), "{error}");
    }
    let newest = store.epoch(&authority).await.unwrap().unwrap();
    assert_eq!((newest.sequence, newest.statement), (9, b"nine".to_vec()));
    assert_eq!(store.head().await.unwrap().unwrap().number, 3);
}

async fn records_are_found_by_every_field_and_page_by_page<S: Store>(store: Arc<S>, _: &SigningKey) {
    let certificates: Vec<Digest> = (0..10_u32).map(|n| Digest::of(&n.to_be_bytes())).collect();
    for (n, certificate) in (1..).zip(&certificates) {
        let claimed = store.decide(allow(*certificate, 1, n), claim(*certificate, 1, "", n)).await.unwrap();
        assert!(matches!(claimed, Claimed::New(_)));
        let state = if n.is_multiple_of(2) { State::Succeeded } else { State::Rejected };
        store.complete(mutation(*certificate, 1), state, outcome_of(*certificate, 1, 2 * n, state, n)).await.unwrap();
    }
    store.append(deny(100)).await.unwrap();
    store.append(plain(Kind::Boundary, 101)).await.unwrap();
    let numbers = |filter: Filter| {
        let store = &store;
        async move {
            let records = store.records(Query { filter, ..Query::default() }).await.unwrap();
            records.iter().map(|record| record.number).collect::<Vec<_>>()
        }
    };
    let all = || Filter::default();
    let certificate = certificates[2];
    assert_eq!(numbers(all()).await, (1..=23).collect::<Vec<_>>());
    assert_eq!(numbers(Filter { certificate: Some(certificate), ..all() }).await, [6, 7]);
    assert_eq!(numbers(Filter { mutation_id: Some(mutation(certificate, 1)), ..all() }).await, [6, 7]);
    assert_eq!(numbers(Filter { kind: Some(Kind::Boundary), ..all() }).await, [23]);
    assert_eq!(numbers(Filter { kind: Some(Kind::Outcome), ..all() }).await.len(), 10);
    assert_eq!(numbers(Filter { reason: Some(Reason::CertificateEncoding), ..all() }).await, [22]);
    assert_eq!(numbers(Filter { decision: Some(Decided::Deny), ..all() }).await, [22]);
    assert_eq!(numbers(Filter { state: Some(State::Rejected), ..all() }).await, [3, 7, 11, 15, 19]);
    assert_eq!(numbers(Filter { state: Some(State::Succeeded), ..all() }).await, [5, 9, 13, 17, 21]);
    assert_eq!(numbers(Filter { agent: Some(id(AGENT)), ..all() }).await.len(), 21);
    assert_eq!(numbers(Filter { agent: Some(id(AUTHORITY)), ..all() }).await.len(), 0);
    assert_eq!(numbers(Filter { authority: Some(id(AUTHORITY)), ..all() }).await.len(), 20);
    assert_eq!(numbers(Filter { target: Some("production".parse().unwrap()), ..all() }).await.len(), 20);
    assert_eq!(numbers(Filter { resource: Some("services/checkout".into()), ..all() }).await.len(), 20);
    assert_eq!(numbers(Filter { resource: Some("' OR 1=1 --".into()), ..all() }).await.len(), 0);
    let between = |since, until| Filter { since: Some(at(since)), until: Some(at(until)), ..all() };
    assert_eq!(numbers(between(2, 3)).await, [4, 5, 6, 7]);
    assert_eq!(numbers(between(11, 99)).await, [] as [u64; 0]);
    assert_eq!(numbers(between(200, 300)).await, [] as [u64; 0]);
    let both = Filter { kind: Some(Kind::Decision), certificate: Some(certificate), ..between(1, 5) };
    assert_eq!(numbers(both).await, [6]);

    let (mut paged, mut after) = (Vec::new(), 0);
    loop {
        let page = store.records(Query { after, limit: 4, ..Query::default() }).await.unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 4);
        after = last.number;
        paged.extend(page.iter().map(|record| record.number));
    }
    assert_eq!(paged, (1..=23).collect::<Vec<_>>());
    assert_eq!(store.record(24).await.unwrap(), None);
    assert_eq!(store.record(u64::MAX).await.unwrap(), None);
}

async fn artefacts_are_kept_under_their_digest<S: Store>(store: Arc<S>, _: &SigningKey) {
    let small = Artefact::new("text/plain", b"small".to_vec()).unwrap();
    let large = Artefact::new("application/octet-stream", vec![7; crate::record::MAX_ARTEFACT]).unwrap();
    let with = |artefacts: &[&Artefact]| Draft {
        artefacts: artefacts.iter().copied().cloned().collect(),
        ..plain(Kind::Boundary, 1)
    };
    store.append(with(&[&small, &small])).await.unwrap();
    store.append(with(&[&small, &large])).await.unwrap();
    for artefact in [&small, &large] {
        assert_eq!(store.artefact(artefact.digest()).await.unwrap().as_ref(), Some(artefact));
    }
    assert_eq!(store.artefact(Digest::of(b"nothing")).await.unwrap(), None);
    assert_eq!(statement(&*store, 3).await.artefacts, [small.reference(), large.reference()]);
}

async fn what_must_not_be_is_refused_and_changes_nothing<S: Store>(store: Arc<S>, _: &SigningKey) {
    let certificate = Digest::of(b"certificate");
    let head = store.head().await.unwrap();
    let text = Json::from("x".repeat(50_000));
    let large = Json::object([("target", Json::from("production")), ("status", Json::from("proven")), ("text", text)]);
    let large = Draft { body: large, ..plain(Kind::Boundary, 1) };
    let wrong_kind = Draft { kind: Kind::Outcome, ..allow(certificate, 1, 1) };
    let mut too_late = claim(certificate, 1, "", 1);
    too_late.ordinal = 2;
    let other = claim(Digest::of(b"other"), 1, "", 1);
    let nameless = Claim { uses: NonZeroU32::new(2).unwrap(), ..claim(certificate, 1, "", 1) };
    for error in [
        store.append(large).await.unwrap_err(),
        store.append(allow(certificate, 1, 1)).await.unwrap_err(),
        store.append(outcome_of(certificate, 1, 2, State::Succeeded, 1)).await.unwrap_err(),
        store.append(Draft { subjects: Vec::new(), ..plain(Kind::Boundary, 1) }).await.unwrap_err(),
        store.append(Draft { body: Json::Null, ..plain(Kind::Boundary, 1) }).await.unwrap_err(),
        store.decide(wrong_kind, claim(certificate, 1, "", 1)).await.unwrap_err(),
        store.decide(deny(1), claim(certificate, 1, "", 1)).await.unwrap_err(),
        store.decide(allow(certificate, 1, 1), too_late).await.unwrap_err(),
        store.decide(allow(certificate, 1, 1), other).await.unwrap_err(),
        store.decide(allow(certificate, 1, 1), nameless).await.unwrap_err(),
    ] {
        assert!(error.is_refusal() && !error.is_retryable() && !error.is_uncertain(), "{error:?}");
    }
    assert_eq!(store.head().await.unwrap(), head);
    assert_eq!(store.uses(certificate).await.unwrap().consumed, 0);
    let ended = Timestamp::from_millis(253_402_300_799_999).unwrap();
    let windows = Windows { agent_seconds: 1, authority_seconds: 1 };
    assert_eq!(store.rates(&id(AGENT), &id(AUTHORITY), windows, ended).await.unwrap().agent.executions, 0);
}

async fn subscribers_see_the_newest_number<S: Store>(store: Arc<S>, _: &SigningKey) {
    let mut numbers = store.subscribe();
    assert_eq!(*numbers.borrow_and_update(), 1);
    let appended = store.append(deny(1)).await.unwrap();
    numbers.changed().await.unwrap();
    assert_eq!(*numbers.borrow_and_update(), appended.number);
}

async fn open_executions_are_those_without_a_final_outcome<S: Store>(store: Arc<S>, _: &SigningKey) {
    let mut open = Vec::new();
    for state in State::ALL {
        let certificate = Digest::of(state.as_str().as_bytes());
        let claimed = store.decide(allow(certificate, 1, 1), claim(certificate, 1, "", 1)).await.unwrap();
        let Claimed::New(head) = claimed else { panic!("{claimed:?}") };
        if state != State::Running {
            store.complete(mutation(certificate, 1), state, outcome_of(certificate, 1, 2, state, 2)).await.unwrap();
        }
        if !state.is_settled() {
            open.push(head.number);
        }
    }
    let found = |after| {
        let store = &store;
        async move {
            let found = store.open_executions(after).await.unwrap();
            found.iter().map(|execution| execution.decision).collect::<Vec<_>>()
        }
    };
    assert_eq!(found(0).await, open);
    assert_eq!(open.len(), 2);
    assert_eq!(found(open[0]).await, open[1..]);
}
