//! The forms of facts and decisions, and the values that a permit carries.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::faults::worlds;
use super::world::{BODY, World, at, id, pointer};
use crate::ceiling::{BoundaryMode, Ceilings};
use crate::contract::{CallBody, Json};
use crate::decision::{
    Artefacts, Boundary, BoundaryStatus, Decision, DryRun, Facts, IdempotencyKey, LiveState, MutationId, RecordedFacts,
    RestoreError, evaluate,
};
use crate::digest::Digest;
use crate::epoch::EpochStatement;
use crate::reason::Reason;

fn artefacts(facts: &Facts) -> Artefacts {
    let statement = facts
        .observed
        .epoch
        .as_ref()
        .map(|epoch| Arc::new(EpochStatement::parse(epoch.statement.to_canonical().as_bytes()).unwrap()));
    Artefacts {
        certified: facts.certified.clone(),
        ceilings: Arc::new(serde_json::from_str::<Ceilings>(&facts.ceilings.to_canonical()).unwrap()),
        statement,
        body: facts.request.choice.body.clone(),
    }
}

fn bytes(decision: &Decision) -> String {
    decision.to_json().to_canonical()
}

#[test]
fn i7_the_same_facts_give_the_same_bytes() {
    for (name, world) in worlds() {
        let (once, again) = (world.facts(), world.facts());
        let decision = bytes(&evaluate(&once));
        assert_eq!(decision, bytes(&evaluate(&once)), "{name}");
        assert_eq!(decision, bytes(&evaluate(&once.clone())), "{name}");
        assert_eq!(decision, bytes(&evaluate(&again)), "{name}");
        assert_eq!(once.recorded().digest(), again.recorded().digest(), "{name}");
    }
}

#[test]
fn i7_a_decision_is_derived_again_from_the_record_alone() {
    for (name, world) in worlds() {
        let facts = world.facts();
        let record = facts.recorded().to_json().to_canonical();
        let read = RecordedFacts::parse(record.as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(read, facts.recorded(), "{name}");
        let replayed = read.restore(artefacts(&facts)).unwrap();
        assert_eq!(bytes(&evaluate(&replayed)), bytes(&evaluate(&facts)), "{name}");
    }
}

#[test]
fn i7_different_facts_have_different_records() {
    let mut digests = BTreeSet::new();
    let mut count = 0;
    for (name, world) in worlds() {
        count += 1;
        assert!(digests.insert(world.facts().recorded().digest()), "{name}");
    }
    assert_eq!(digests.len(), count);
}

#[test]
fn i7_no_other_artefact_is_taken() {
    let mut world = World::new();
    world.request.choice.body = Some(BODY.to_vec());
    let facts = world.facts();
    let restore = |change: fn(&mut Artefacts)| {
        let mut artefacts = artefacts(&facts);
        change(&mut artefacts);
        facts.recorded().restore(artefacts).map(|_| ())
    };
    assert_eq!(restore(|_| ()), Ok(()));
    for (what, change) in [
        (
            "certificate",
            (|a| {
                let mut world = World::new();
                world.certificate.digest = Digest::of(b"other");
                a.certified = world.facts().certified;
            }) as fn(&mut Artefacts),
        ),
        ("contract", |a| {
            let mut world = World::new();
            world.uses = 2;
            a.certified = world.facts().certified;
        }),
        ("set of ceilings", |a| a.ceilings = Arc::new(Ceilings::default())),
        ("epoch statement", |a| a.statement = None),
        ("body", |a| a.body = None),
        ("body", |a| a.body = Some(b"{}".to_vec())),
    ] {
        assert_eq!(restore(change), Err(RestoreError::Artefact(what)));
    }
}

#[test]
fn i7_recorded_facts_have_one_form() {
    let mut world = World::new();
    world.live = LiveState::Absent { observed_at: at("2026-11-24T09:30:00Z") };
    world.asked = Some(Some(DryRun::Refused { detail: "no".to_owned() }));
    let good = world.facts().recorded().to_json().to_canonical();
    for (from, to) in [
        ("{", "{ "),
        ("seb.dev/facts/v1", "seb.dev/facts/v2"),
        ("\"clock_stepped\":false", "\"clock_stepped\":null"),
        ("\"clock_stepped\":false,", ""),
        ("\"clock_stepped\":false", "\"clock_stepped\":false,\"more\":1"),
        ("\"age_ms\":200", "\"age_ms\":-200"),
        ("\"age_ms\":200", "\"age_ms\":4294967296"),
        ("\"age_ms\":200", "\"age_ms\":200.0"),
        ("\"dry_run\":{\"answer\":\"refused\",\"detail\":\"no\"}", "\"dry_run\":null"),
        ("\"answer\":\"refused\"", "\"answer\":\"other\""),
        ("\"answer\":\"refused\"", "\"answer\":\"accepted\""),
        ("\"answer\":\"refused\"", "\"answer\":\"refused\",\"more\":1"),
        ("\"state\":\"absent\"", "\"state\":\"gone\""),
        ("\"state\":\"absent\"", "\"state\":\"deferred\""),
    ] {
        assert!(good.contains(from), "{from} {good}");
        assert!(RecordedFacts::parse(good.replacen(from, to, 1).as_bytes()).is_err(), "{to}");
    }
    assert!(RecordedFacts::parse(good.as_bytes()).is_ok());
}

#[test]
fn i7_a_field_is_there_or_is_not() {
    let mut world = World::new();
    if let LiveState::Present { fields, .. } = &mut world.live {
        fields.insert(pointer("/a"), Some(Json::Null));
        fields.insert(pointer("/b"), None);
    }
    let facts = world.facts();
    let good = facts.recorded().to_json().to_canonical();
    let replayed = RecordedFacts::parse(good.as_bytes()).unwrap().restore(artefacts(&facts)).unwrap();
    assert_eq!(replayed.observed, facts.observed);
    let both = good.replacen("\"absent_fields\":[\"/b\"]", "\"absent_fields\":[\"/a\",\"/b\"]", 1);
    assert_ne!(both, good);
    assert!(matches!(RecordedFacts::parse(both.as_bytes()), Err(RestoreError::Form(_))));
}

#[test]
fn i4_a_permit_carries_the_exact_call() {
    let world = World::new();
    let facts = world.facts();
    let Decision::Allow(permit) = evaluate(&facts) else { panic!() };
    let terms = permit.terms().clone();
    let body = Json::object([("note", Json::from("scaled")), ("replicas", Json::from(10))]);
    assert_eq!(terms.call().body(), &CallBody::Inline(body));
    assert_eq!(terms.call_digest(), terms.call().digest());
    assert_eq!(terms.contract(), facts.certified.contract_digest());
    assert_eq!(terms.certificate(), facts.certified.parts().digest);
    assert_eq!(terms.revocable(), &facts.certified.revocable());
    assert_eq!(terms.decided_at(), world.now);
    assert_eq!(permit.release().terms(), &terms);
}

#[test]
fn i2_the_fence_stops_what_was_permitted() {
    let world = World::new();
    let Decision::Allow(permit) = world.decide() else { panic!() };
    for what in ["certificate", "holder", "contract", "target"] {
        let mut later = world.clone();
        later.revoke.push(what);
        let statement = later.facts().observed.epoch.unwrap().statement;
        assert_eq!(statement.covers(permit.terms().revocable()).len(), 1, "{what}");
    }
    let statement = world.facts().observed.epoch.unwrap().statement;
    assert_eq!(statement.covers(permit.terms().revocable()), []);
}

#[test]
fn the_form_of_a_decision_is_stable() {
    let decision = bytes(&World::new().decide());
    let Decision::Allow(permit) = World::new().decide() else { panic!() };
    let terms = permit.terms();
    let expected = format!(
        r#"{{"decision":"allow","permit":{{"call":"{}","certificate":"{}","contract":"{}","deadline":"2026-11-24T09:30:30Z","decided_at":"2026-11-24T09:30:00Z","mutation_id":"{}","ordinal":2,"warnings":[]}},"schema":"seb.dev/decision/v1"}}"#,
        terms.call_digest(),
        terms.certificate(),
        terms.contract(),
        terms.mutation_id(),
    );
    assert_eq!(decision, expected);
    let mut world = World::new();
    world.boundary = None;
    world.clock_stepped = true;
    assert_eq!(
        bytes(&world.decide()),
        r#"{"answer":"clock_skew","decision":"deny","denials":[{"detail":"the broker's clock was stepped","reason":"clock_skew"},{"detail":"there is no proof yet","reason":"boundary_unproven"}],"schema":"seb.dev/decision/v1"}"#
    );
}

#[test]
fn a_boundary_that_only_warns_is_in_the_permit() {
    let stale = Some(Boundary { status: BoundaryStatus::Proven, age_seconds: 901 });
    let broken = Some(Boundary { status: BoundaryStatus::Broken, age_seconds: 1 });
    for (reason, boundary) in
        [(Reason::BoundaryUnproven, None), (Reason::BoundaryStale, stale), (Reason::BoundaryBroken, broken)]
    {
        let mut world = World::new();
        world.boundary = boundary;
        world.ceilings.knowledge.boundary = BoundaryMode::Warn;
        let Decision::Allow(permit) = world.decide() else { panic!("{reason}") };
        assert_eq!(permit.terms().warnings().iter().map(|warning| warning.reason).collect::<Vec<_>>(), [reason]);
        assert!(permit.terms().to_json().to_canonical().contains(reason.code()));
        world.clock_stepped = true;
        assert_eq!(world.reasons(), BTreeSet::from([Reason::ClockSkew]), "a warning never denies");
    }
}

#[test]
fn a_deferred_baseline_needs_no_live_state() {
    let mut world = World::new();
    world.live = LiveState::Deferred;
    assert_eq!(world.reasons(), BTreeSet::new());
}

#[test]
fn a_certificate_that_is_bound_to_no_key_serves_every_key_of_its_holder() {
    let mut world = World::new();
    world.certificate.holder_key = None;
    world.peer.key = Digest::of(b"another key");
    assert_eq!(world.reasons(), BTreeSet::new());
}

#[test]
fn a_rate_of_its_own_replaces_the_general_one() {
    let mut world = World::new();
    let own = crate::ceiling::Rate { executions: 5, per_seconds: 60 };
    world.ceilings.rates.agents.insert(id("agent").to_string(), own);
    assert_eq!(world.reasons(), BTreeSet::from([Reason::CeilingRateAgent]));
    world.ceilings.rates.agents.clear();
    world.ceilings.rates.agents.insert(id("other").to_string(), own);
    assert_eq!(world.reasons(), BTreeSet::new());
    world.ceilings.rates.authorities.insert(id("sab").to_string(), own);
    assert_eq!(world.reasons(), BTreeSet::from([Reason::CeilingRateAuthority]));
}

#[test]
fn i10_the_default_ceilings_deny_all() {
    let mut facts = World::new().facts();
    facts.ceilings = Arc::new(Ceilings::default());
    assert_eq!(evaluate(&facts).answer().map(|denial| denial.reason), Some(Reason::TargetUnknown));
}

#[test]
fn a_detached_body_is_performed_as_it_came() {
    let mut world = World::new();
    world.detached = true;
    world.request.choice.values.clear();
    world.request.choice.body = Some(BODY.to_vec());
    assert_eq!(world.reasons(), BTreeSet::from([Reason::CeilingParameter]), "the broker's bounds cannot look inside");
    world.rule().parameters.clear();
    let Decision::Allow(permit) = world.decide() else { panic!() };
    assert!(matches!(permit.terms().call().body(), CallBody::Detached { octets, .. } if octets == BODY));
}

#[test]
fn every_part_of_a_request_is_in_its_digest() {
    let base = World::new().facts().request;
    let mut digests = BTreeSet::from([base.digest()]);
    let changes: [fn(&mut crate::decision::Request); 6] = [
        |request| request.step = Some("scale".parse().unwrap()),
        |request| _ = request.choice.values.insert(pointer("/replicas"), Json::from(11)),
        |request| _ = request.choice.values.insert(pointer("/note"), Json::from(11)),
        |request| request.choice.body = Some(BODY.to_vec()),
        |request| request.idempotency_key = Some("scale-2".parse().unwrap()),
        |request| request.expected_contract = None,
    ];
    for change in changes {
        let mut request = base.clone();
        change(&mut request);
        assert!(digests.insert(request.digest()), "{request:?}");
    }
}

#[test]
fn idempotency_keys_are_bounded() {
    for good in ["a", "scale-1", "~!{}", &"k".repeat(128)] {
        assert_eq!(good.parse::<IdempotencyKey>().unwrap().as_str(), good);
    }
    for bad in ["", " ", "a b", "é", "a\n", &"k".repeat(129)] {
        assert!(bad.parse::<IdempotencyKey>().is_err(), "{bad}");
    }
}

#[test]
fn i3_a_mutation_id_is_the_published_one() {
    // Derived with Python's hashlib and base64 from the description in `docs/decision.md`.
    let id = MutationId::derive(&Digest::of(b"certificate"), &"scale".parse().unwrap(), 2);
    assert_eq!(id.as_str(), "m-cn2xrsjuocatgpoopp3vdr4v2ianamw2utdjkyd7cnrrxuycivea");
}

#[test]
fn i3_mutation_ids_are_plain_and_distinct() {
    let mut ids = BTreeSet::new();
    for certificate in [Digest::of(b"a"), Digest::of(b"b")] {
        for step in ["a", "b", "scale"] {
            for ordinal in [1, 2, 3, 256, 65_536, u32::MAX] {
                let id = MutationId::derive(&certificate, &step.parse().unwrap(), ordinal);
                assert_eq!(id, MutationId::derive(&certificate, &step.parse().unwrap(), ordinal));
                assert_eq!(id.as_str().len(), 54);
                assert!(id.as_str().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{id}");
                assert_eq!(id.to_string().parse::<MutationId>().unwrap(), id);
                assert!(ids.insert(id));
            }
        }
    }
    for bad in ["", "m-", "m-a", &format!("m-{}", "A".repeat(52)), &format!("m-{}", "1".repeat(52)), &"a".repeat(54)] {
        assert!(bad.parse::<MutationId>().is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn i7_damaged_records_are_read_as_written_or_not_at_all(at in 0_usize..4096, octet: u8) {
        let mut octets = World::new().facts().recorded().to_json().to_canonical().into_bytes();
        let place = at % octets.len();
        octets[place] = octet;
        if let Ok(read) = RecordedFacts::parse(&octets) {
            prop_assert_eq!(read.to_json().to_canonical().into_bytes(), octets);
        }
    }

    #[test]
    fn no_octets_break_the_reader(octets: Vec<u8>) {
        let _ = RecordedFacts::parse(&octets);
        let _ = EpochStatement::parse(&octets);
    }
}
