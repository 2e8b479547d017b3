use proptest::prelude::*;

use super::*;
use crate::contract::{Baseline, Contract};

const SCALE: &str = r"
schema: seb.dev/proposal/v1
target: { kind: sandbox, name: shop }
steps:
  - mutation:
      verb: merge
      resource: { collection: services, name: checkout }
      body: { replicas: 10 }
      parameters:
        - pointer: /replicas
          bounds: { type: integer, minimum: 3, maximum: 50 }
    baseline: { mode: fields, fields: [/replicas] }
limits: { until: 2026-11-24T00:00:00Z }
justification: the sale begins on Saturday
evidence:
  - { name: forecast, media_type: text/plain, content: 4x traffic }
";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn live(state: &str) -> Live {
    let state = Json::parse(state.as_bytes()).unwrap();
    Live::Present { identity: "uid-1".into(), version: "4".parse().unwrap(), state }
}

#[test]
fn scaling_becomes_a_contract_with_what_was_seen() {
    let proposal = Proposal::parse(SCALE).unwrap();
    let contract = proposal.compile(&[live(r#"{"replicas":3,"image":"a"}"#)], at("2026-11-21T10:00:00.250Z")).unwrap();
    let [step] = contract.steps() else { panic!("one step") };
    assert_eq!(step.name().as_str(), "change");
    let Baseline::Fields { identity, version, fields } = step.baseline() else { panic!("fields") };
    assert_eq!((identity.as_str(), version.as_str()), ("uid-1", "4"));
    assert_eq!(
        Json::object(fields.iter().map(|(p, v)| (p.to_string(), v.clone()))).to_canonical(),
        r#"{"/replicas":3}"#
    );
    assert_eq!(contract.limits().not_before, at("2026-11-21T10:00:00Z"));
    assert_eq!(contract.limits().not_after, at("2026-11-24T00:00:00Z"));
    assert_eq!(contract.limits().uses, 1);
    assert_eq!(Contract::parse(contract.canonical().as_bytes()).unwrap(), contract);
}

#[test]
fn json_and_yaml_are_one_proposal() {
    let json = crate::sab::proposal::yaml::parse(SCALE).unwrap().to_canonical();
    assert_eq!(Proposal::parse(&json).unwrap(), Proposal::parse(SCALE).unwrap());
}

#[test]
fn without_a_wish_nothing_may_change() {
    let text = SCALE.replace("    baseline: { mode: fields, fields: [/replicas] }\n", "");
    let contract = Proposal::parse(&text).unwrap().compile(&[live("{}")], at("2026-11-21T10:00:00Z")).unwrap();
    assert!(matches!(contract.steps()[0].baseline(), Baseline::Exact { .. }));
}

#[test]
fn a_dry_run_is_asked_for() {
    let resource = "{ group: '', version: v1, resource: configmaps, namespace: shop, name: settings }";
    let asked = SCALE.replacen("kind: sandbox", "kind: kubernetes", 1).replacen("verb: merge", "verb: merge-patch", 1);
    let asked = asked.replacen("{ collection: services, name: checkout }", resource, 1);
    let asked = asked.replacen("baseline:", "dry_run: true\n    baseline:", 1);
    let seen = [live(r#"{"replicas": 3}"#)];
    let contract = Proposal::parse(&asked).unwrap().compile(&seen, at("2026-11-21T10:00:00Z")).unwrap();
    assert!(contract.steps()[0].needs_dry_run());
    assert_eq!(Contract::parse(contract.canonical().as_bytes()).unwrap(), contract);
    let unasked = Proposal::parse(SCALE).unwrap().compile(&seen, at("2026-11-21T10:00:00Z")).unwrap();
    assert!(!unasked.steps()[0].needs_dry_run() && !unasked.canonical().contains("dry_run"));
}

#[test]
fn what_breaks_a_rule_is_refused_with_its_place() {
    for (from, to, problem) in [
        ("v1", "v2", "`/schema`: must be `seb.dev/proposal/v1`"),
        ("name: shop", "name: Shop", "`/target/name`: `Shop` is not the name of a target"),
        ("limits: {", "limits: { until: 2026-11-25T00:00:00Z,", "line 13, column "),
        ("limits: { until: 2026-11-24T00:00:00Z }", "limits: {}", "`/limits`: must have one of `until` and `for`"),
        ("limits: {", "limits: { for: 3d,", "`/limits`: must have one of"),
        ("baseline:", "dry_run: true\n    baseline:", "`/steps/0/dry_run`: a target of kind `sandbox` tries nothing"),
        ("baseline:", "dry_run: null\n    baseline:", "`/steps/0/dry_run`: "),
        ("limits: {", "limits: { uses: 0,", "`/limits/uses`: must be from 1 to 10000"),
        ("limits: {", "limits: { uses: null,", "`/limits/uses`: "),
        ("limits: {", "limits: { spacing: 10,", "`/limits/spacing`: "),
        ("limits: {", "limits: { from: 2026-11-25T00:00:00Z,", "`/limits/until`: 2026-11-24T00:00:00Z has passed"),
        ("verb: merge", "verb: apply", "`/steps/0/mutation/verb`: `apply` is not a verb of a target of kind"),
        ("replicas: 10", "replicas: 60", "`/steps/0/mutation/parameters/0/bounds`: the default is 60"),
        ("pointer: /replicas", "pointer: /size", "`/steps/0/mutation/parameters/0/pointer`: `/size` is no place"),
        ("mode: fields,", "mode: exact,", "`/steps/0/baseline`: has `fields` if and only if"),
        ("[/replicas]", "[/replicas, /replicas]", "`/steps/0/baseline/fields`: must be 1 to 64 distinct"),
        ("[/replicas]", "[]", "`/steps/0/baseline/fields`: must be 1 to 64 distinct"),
        ("the sale begins on Saturday", "' '", "`/justification`: must say why"),
        ("content: 4x traffic", "content: 4x, extra: 1", "`/evidence/0/extra`: unknown field `extra`"),
        ("name: forecast,", "name: '',", "`/evidence/0/name`: must be 1 to 128"),
        (", content: 4x traffic", "", "`/evidence/0`: must have one of `content` and `digest`"),
        ("justification:", "deadline: 2h\njustification:", "`/deadline_seconds`: must be from 1 to 3600"),
        ("justification:", "deadline: 10ms\njustification:", "`/deadline_seconds`: "),
    ] {
        let text = SCALE.replacen(from, to, 1);
        assert_ne!(text, SCALE, "{from}");
        let error = Proposal::parse(&text).expect_err(to);
        let text = match std::error::Error::source(&error) {
            Some(source) => source.to_string(),
            None => error.to_string(),
        };
        assert!(text.contains(problem), "{to}: {text}");
    }
}

#[test]
fn live_state_that_gives_no_baseline_is_refused() {
    let proposal = Proposal::parse(SCALE).unwrap();
    let now = at("2026-11-21T10:00:00Z");
    let error = |live: &[Live], now| proposal.compile(live, now).unwrap_err();
    assert_eq!(error(&[Live::Absent], now), Uncompilable::Missing { step: 0 });
    assert_eq!(error(&[], now), Uncompilable::Count { steps: 1, found: 0 });
    assert!(matches!(error(&[live("{}")], now), Uncompilable::NoField { step: 0, .. }));
    assert!(matches!(error(&[live(r#"{"replicas":3}"#)], at("2026-11-24T00:00:01Z")), Uncompilable::Over { .. }));
    let create = SCALE
        .replace("verb: merge", "verb: create")
        .replace("    baseline: { mode: fields, fields: [/replicas] }\n", "");
    let create = Proposal::parse(&create).unwrap();
    assert_eq!(create.compile(&[live("{}")], now).unwrap_err(), Uncompilable::Exists { step: 0 });
    assert!(create.compile(&[Live::Absent], now).is_ok());
}

#[test]
fn evidence_is_bound_by_digest() {
    let digest = |text: &str| Proposal::parse(text).unwrap().evidence_digest();
    let original = digest(SCALE);
    let by_digest = SCALE.replace("content: 4x traffic", &format!("digest: '{}'", Digest::of(b"4x traffic")));
    assert_eq!(digest(&by_digest), original);
    for changed in ["4x traffic|5x traffic", "forecast|forecasts", "text/plain|text/html", "Saturday|Sunday"] {
        let (from, to) = changed.split_once('|').unwrap();
        assert_ne!(digest(&SCALE.replace(from, to)), original, "{changed}");
    }
}

#[test]
fn a_text_that_is_too_long_is_not_looked_at() {
    let text = format!("{SCALE}{}", " ".repeat(Proposal::MAX_OCTETS));
    assert!(matches!(Proposal::parse(&text), Err(InvalidProposal::TooLarge(_))));
}

proptest! {
    #[test]
    fn never_panics(text in ".{0,300}", at in 0..SCALE.len(), cut in 0..40_usize) {
        let _ = Proposal::parse(&text);
        let mut mutated = SCALE.to_owned();
        let end = (at + cut).min(mutated.len());
        if mutated.is_char_boundary(at) && mutated.is_char_boundary(end) {
            mutated.replace_range(at..end, &text.chars().take(8).collect::<String>());
            let _ = Proposal::parse(&mutated);
        }
    }

    /// Whatever is read compiles against a live state that has what it asks for, or says that its time is over.
    #[test]
    fn what_is_read_compiles(uses in 1..20_000_u32, hours in 1..100_u32, minimum in -100..100_i64, more in 0..50_i64) {
        let text = SCALE
            .replace("limits: { until: 2026-11-24T00:00:00Z }", &format!("limits: {{ uses: {uses}, for: {hours}h }}"))
            .replace("minimum: 3, maximum: 50", &format!("minimum: {minimum}, maximum: {}", minimum + more));
        match Proposal::parse(&text) {
            Ok(proposal) => {
                let contract = proposal.compile(&[live(r#"{"replicas":3}"#)], at("2026-11-21T10:00:00Z"));
                prop_assert!(contract.is_ok(), "{contract:?}");
            }
            Err(_) => prop_assert!(uses > 10_000 || minimum > 10 || minimum + more < 10),
        }
    }
}
