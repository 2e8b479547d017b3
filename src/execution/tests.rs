//! Every sequence of events, and every pair of states.

use std::collections::BTreeSet;

use super::*;
use crate::decision::tests::permit;

/// The longest sequence that is tried.
const LENGTH: usize = 6;

fn performed() -> [Performed; 6] {
    let detail = || "told".to_owned();
    [
        Performed::Succeeded { version: None, detail: detail() },
        Performed::Rejected {
            reason: Rejection::Precondition,
            detail: detail(),
            drift: Some(Denial::new(Reason::DriftVersion, "certified is `3`, found was `4`")),
        },
        Performed::NotStarted { detail: detail() },
        Performed::Aborted { denial: Denial::new(Reason::RevokedHolder, "told") },
        Performed::Unknown { detail: detail() },
        Performed::Begun { handle: "token".to_owned(), detail: detail() },
    ]
}

fn events() -> Vec<Event> {
    let mut events = vec![
        Event::Claimed,
        Event::NotClaimed(NotClaimed::Existing),
        Event::NotClaimed(NotClaimed::Conflict),
        Event::NotClaimed(NotClaimed::Raced),
        Event::Minted,
        Event::NotMinted { detail: "no key".to_owned() },
        Event::Completed,
        Event::NotCompleted,
    ];
    events.extend(performed().map(Event::Performed));
    events
}

/// What a sequence made the driver do.
#[derive(Debug, Default, PartialEq, Eq)]
struct Did {
    calls: usize,
    completes: Vec<Outcome>,
    finished: Option<Finish>,
}

/// Runs a sequence from the beginning: what it did, and whether every event was in order.
fn run(sequence: &[Event]) -> (Did, Execution, bool) {
    let (mut execution, first) = Execution::begin(permit());
    assert!(matches!(first, Effect::Claim));
    let mut did = Did::default();
    for (index, event) in sequence.iter().enumerate() {
        match execution.on(event.clone()) {
            Err(_) => return (did, execution, false),
            Ok(Effect::Claim) => panic!("the use is claimed once"),
            Ok(Effect::Mint) => assert_eq!(event, &Event::Claimed, "nothing is minted that is not durable"),
            Ok(Effect::Call(call)) => {
                assert_eq!(sequence[..=index], [Event::Claimed, Event::Minted], "nothing is called before the claim");
                assert_eq!(call.terms(), execution.terms());
                did.calls += 1;
            }
            Ok(Effect::Complete(outcome)) => did.completes.push(outcome),
            Ok(Effect::Finish(finish)) => did.finished = Some(finish),
        }
    }
    (did, execution, true)
}

/// Every continuation of a sequence that is in order; those that are not go no further, however they continue. Gives how
/// many sequences ended.
fn explore(sequence: &mut Vec<Event>) -> usize {
    let mut ended = 0;
    for event in events() {
        sequence.push(event);
        let (did, mut execution, in_order) = run(sequence);
        let completed = sequence.iter().any(|it| matches!(it, Event::Performed(_) | Event::NotMinted { .. }));
        assert!(did.calls <= 1, "{sequence:?}");
        if in_order {
            assert_eq!(did.completes.len(), usize::from(completed), "{sequence:?}: completed once, after the call");
            if let Some(finish) = &did.finished {
                ended += 1;
                let recorded = match sequence.last().unwrap() {
                    Event::Completed => Finish::Recorded(did.completes[0].clone()),
                    Event::NotCompleted => Finish::Unrecorded(did.completes[0].clone()),
                    Event::NotClaimed(why) => Finish::NotClaimed(*why),
                    other => panic!("{other:?} finishes nothing"),
                };
                assert_eq!(finish, &recorded);
            }
        }
        if !in_order || did.finished.is_some() {
            for event in events() {
                let refused = execution.on(event.clone()).unwrap_err();
                assert_eq!(refused, OutOfOrder { event, while_in: "nothing is left to do" }, "{sequence:?}");
            }
        } else if sequence.len() < LENGTH {
            ended += explore(sequence);
        }
        sequence.pop();
    }
    ended
}

#[test]
fn i1_no_sequence_of_events_calls_before_the_claim_or_twice() {
    // Not claimed for three reasons; not minted, or performed in six ways, and then recorded or not.
    assert_eq!(explore(&mut Vec::new()), 3 + (1 + 6) * 2);
}

#[test]
fn i6_outcomes_say_what_was_performed() {
    let states = [State::Succeeded, State::Rejected, State::NotStarted, State::Aborted, State::Unknown, State::Unknown];
    for (performed, state) in performed().into_iter().zip(states) {
        let outcome = Outcome::from(performed);
        assert_eq!((outcome.state, outcome.state == State::Unknown), (state, !state.is_settled()));
        assert!(outcome.detail.contains("told"));
        assert!(State::Running.may_become(state));
    }
    let outcome = Outcome::from(performed()[1].clone());
    assert_eq!(outcome.detail, "precondition: told; drift_version: certified is `3`, found was `4`");
    assert_eq!((outcome.rejection, outcome.reason), (Some(Rejection::Precondition), Some(Reason::DriftVersion)));
    let handles = performed().map(|performed| Outcome::from(performed).handle);
    assert_eq!(
        handles,
        [None, None, None, None, None, Some("token".to_owned())],
        "what was only begun is asked for by it"
    );
    let long = Performed::Begun { handle: "a".repeat(Outcome::MAX_HANDLE + 1), detail: String::new() };
    assert_eq!(Outcome::from(long).handle, None);
}

#[test]
fn i6_a_settled_state_stays_and_only_evidence_settles_the_unknown() {
    let reconciled = [State::ReconciledApplied, State::ReconciledNotApplied, State::Indeterminate];
    for from in State::ALL {
        for to in State::ALL {
            let expected = match from {
                State::Running => to != State::Running,
                State::Unknown => reconciled.contains(&to),
                _ => false,
            };
            assert_eq!(from.may_become(to), expected, "{from:?} to {to:?}");
        }
        assert_eq!(from.is_settled(), State::ALL.iter().all(|to| !from.may_become(*to)), "{from:?}");
        let text = serde_json::to_value(from).unwrap();
        assert_eq!(text, from.as_str());
    }
}

#[test]
fn i6_what_is_open_or_cannot_be_asked_is_never_settled() {
    let detail = || "seen".to_owned();
    assert_eq!(settle(Evidence::Open { until: Timestamp::END }), None);
    assert_eq!(settle(Evidence::Unavailable { detail: detail() }), None);
    let settled = [
        (Evidence::Applied { version: None, detail: detail() }, State::ReconciledApplied),
        (Evidence::NotApplied { detail: detail() }, State::ReconciledNotApplied),
        (Evidence::Indeterminate { look_at: detail() }, State::Indeterminate),
    ];
    for (evidence, state) in settled {
        let outcome = settle(evidence).unwrap();
        assert_eq!((outcome.state, outcome.detail.as_str()), (state, "seen"));
    }
}

#[test]
fn every_way_to_be_refused_is_read_back_from_records() {
    // Whoever adds one is stopped here, and adds it to the list.
    let named = |one: Rejection| match one {
        Rejection::Precondition => "precondition",
        Rejection::Forbidden => "forbidden",
        Rejection::Invalid => "invalid",
        Rejection::TooLate => "too_late",
        Rejection::Busy => "busy",
    };
    let all: BTreeSet<_> = Rejection::ALL.into_iter().map(named).collect();
    assert_eq!(all.len(), 5);
    assert!(Rejection::ALL.into_iter().all(|one| named(one) == one.as_str()));
}
