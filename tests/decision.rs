//! `docs/decision.md` says what the code does. (The decision itself is tested inside of the package, where the facts of
//! a certificate can be made without one: `src/decision/tests`.)

use std::collections::BTreeSet;

use seb::ceiling::Ceilings;
use seb::contract::{TargetKind, TargetName};
use seb::reason::{Reason, Verdict};

const PAGE: &str = include_str!("../docs/decision.md");

/// The only JSON block of the page; without one nothing, which is no JSON.
fn example() -> &'static str {
    let block = PAGE.split_once("```json\n").and_then(|(_, rest)| rest.split_once("```"));
    block.map_or("", |(block, _)| block)
}

/// What stands between backticks.
fn quoted() -> BTreeSet<&'static str> {
    PAGE.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn the_example_of_the_ceilings_is_valid_and_complete() {
    let ceilings: Ceilings = serde_json::from_str(example()).unwrap();
    let name: TargetName = "prod-eu".parse().unwrap();
    assert!(ceilings.target(TargetKind::Kubernetes, &name).is_ok());
    // Every field that there is stands in the example, the defaults included.
    let again: serde_json::Value = serde_json::from_str(&ceilings.to_canonical()).unwrap();
    let written: serde_json::Value = serde_json::from_str(example()).unwrap();
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(keys(&again), keys(&written));
    for part in ["rates", "knowledge"] {
        assert_eq!(keys(&again[part]), keys(&written[part]));
    }
}

#[test]
fn the_defaults_are_those_of_the_page() {
    let file = Ceilings::default();
    let file = file.file();
    let row = |field: &str| {
        let row = PAGE.lines().find(|line| line.starts_with(&format!("| `{field}`"))).unwrap();
        row.trim_end_matches(" |").rsplit("| ").next().unwrap().to_owned()
    };
    assert_eq!(row("max_validity_seconds"), file.max_validity_seconds.to_string());
    assert_eq!(row("max_uses"), file.max_uses.to_string());
    assert_eq!(row("max_deadline_seconds"), file.max_deadline_seconds.to_string());
    assert_eq!(row("knowledge.staleness_ms"), file.knowledge.staleness_ms.to_string());
    assert_eq!(row("knowledge.max_clock_skew_ms"), file.knowledge.max_clock_skew_ms.to_string());
    assert_eq!(row("knowledge.max_boundary_age_seconds"), file.knowledge.max_boundary_age_seconds.to_string());
    assert_eq!(row("knowledge.max_state_age_ms"), file.knowledge.max_state_age_ms.to_string());
    let (agent, authority) = (file.rates.agent, file.rates.authority);
    assert_eq!(agent.per_seconds, authority.per_seconds);
    let rates = format!("{} and {} in {} s", agent.executions, authority.executions, agent.per_seconds);
    assert_eq!(row("rates.agent"), rates);
}

#[test]
fn every_reason_of_a_decision_stands_in_the_page() {
    let quoted = quoted();
    for reason in Reason::ALL.iter().filter(|reason| reason.verdict() >= Verdict::Targeting) {
        assert!(quoted.contains(reason.code()), "{reason}");
    }
}
