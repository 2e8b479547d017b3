//! Holds a broker's records against the target's own audit log.

use std::collections::BTreeMap;

use seb::execution::State;
use seb::record::{Decided, Kind, Statement};
use serde_json::Value;

/// The newest state of each decided mutation.
fn states(log: &[Statement]) -> BTreeMap<String, (State, Vec<State>)> {
    let mut states = BTreeMap::new();
    for statement in log {
        let Some(mutation) = statement.about.mutation_id.as_ref().map(ToString::to_string) else { continue };
        match statement.kind {
            Kind::Decision if statement.about.decision == Some(Decided::Allow) => {
                let earlier = states.insert(mutation, (State::Running, Vec::new()));
                assert_eq!(earlier, None, "a mutation was decided twice");
            }
            Kind::Outcome => {
                let (now, all) = states.get_mut(&mutation).expect("a decision comes first");
                let next = statement.about.state.unwrap();
                assert!(now.may_become(next), "{mutation}: {now:?} became {next:?}");
                *now = next;
                all.push(next);
            }
            _ => {}
        }
    }
    states
}

/// The mutations that are not settled.
pub fn open(log: &[Statement]) -> Vec<String> {
    let open = |(mutation, (state, _)): (String, (State, Vec<State>))| (!state.is_settled()).then_some(mutation);
    states(log).into_iter().filter_map(open).collect()
}

/// What was found.
#[derive(Debug, Default)]
pub struct Checked {
    pub applied: usize,
    pub not_applied: usize,
    pub reconciled: usize,
}

/// Holds the records against what the target says was done.
pub fn check(log: &[Statement], audit: &[Value]) -> Checked {
    let states = states(log);
    let mut done: BTreeMap<String, &Value> = BTreeMap::new();
    for line in audit.iter().filter(|line| line["result"] == "applied") {
        let mutation = line["mutation_id"].as_str().unwrap();
        assert!(done.insert(mutation.to_owned(), line).is_none(), "I3: {mutation} was applied twice");
    }
    let mut certificates = BTreeMap::new();
    for decision in log.iter().filter(|it| it.about.decision == Some(Decided::Allow)) {
        let mutation = decision.about.mutation_id.as_ref().unwrap().to_string();
        let body: Value = serde_json::from_str(&decision.body.to_canonical()).unwrap();
        let again = certificates.insert(decision.about.certificate.unwrap(), mutation.clone());
        assert_eq!(again, None, "I3: a certificate for one use was used twice");
        let Some(line) = done.get(&mutation) else { continue };
        let at = |text: &Value| text.as_str().unwrap().parse::<seb::timestamp::Timestamp>().unwrap();
        assert!(decision.time <= at(&line["time"]), "I1: {mutation} was applied before its decision");
        assert_eq!(line["identity"], body["identity"]["spiffe_id"], "I5: by another identity");
        assert_eq!(line["serial"], body["identity"]["serial"], "I5: by another certificate");
    }
    let mut checked = Checked::default();
    for (mutation, (state, all)) in &states {
        let applied = done.remove(mutation).is_some();
        let expected = match state {
            State::Succeeded | State::ReconciledApplied => true,
            State::Rejected | State::NotStarted | State::Aborted | State::ReconciledNotApplied => false,
            other => panic!("I6: {mutation} ended as {other:?}"),
        };
        assert_eq!(applied, expected, "I6: {mutation} is {state:?} ({all:?}), and the target has it otherwise");
        checked.applied += usize::from(applied);
        checked.not_applied += usize::from(!applied);
        let reconciled = matches!(state, State::ReconciledApplied | State::ReconciledNotApplied);
        checked.reconciled += usize::from(reconciled);
    }
    assert!(done.is_empty(), "I1: without a decision: {done:?}");
    checked
}
