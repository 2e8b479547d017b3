//! The authority: proposals in, certificates and epochs out.
#![cfg(test)]

#[path = "sab/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use seb::attribute_certificate::{AdmissionPath, Tier, authenticate, parse, profile};
use seb::clock;
use seb::contract::{Contract, Json};
use seb::digest::Digest;
use seb::record::{Decided, Kind, ReplayError, Replayed, Statement};
use seb::sab::airlock::replay;
use seb::sab::epochs::Revocation;
use seb::sab::ledger::State;
use seb::sab::policy::PolicyFiles;
use seb::store::{Query, Store};
use world::{AGENT, BROKER, SAB, SCALE, World, default_policies, id, peer};

/// The newest record's statement.
async fn newest(world: &World) -> Statement {
    let records = world.store.records(Query::default()).await.unwrap();
    Statement::from_envelope(&records.last().unwrap().envelope).unwrap()
}

#[tokio::test]
async fn i1_an_admission_is_recorded_with_everything_before_the_certificate_leaves() {
    let world = World::new().await;
    let entry = world.airlock.propose(&peer(AGENT), SCALE, true).await.unwrap();
    assert_eq!(entry.state, State::Admitted, "{:?}", entry.detail.explanations);
    let certificate = entry.certificate.clone().unwrap();
    let now = clock::now().unwrap();
    let profiled = profile(parse(&certificate).unwrap()).unwrap();
    let verified = authenticate(profiled, world.authority.chain(), &world.trust(), now).unwrap();
    assert_eq!(*verified.holder(), id(AGENT));
    assert_eq!(*verified.broker(), id(BROKER));
    assert_eq!(verified.holder_key(), Some(&peer(AGENT).key));
    let admission = verified.admission();
    assert_eq!((admission.tier, admission.path), (Tier::Low, AdmissionPath::Automatic));
    assert_eq!(admission.policy_digest, default_policies().digest());
    assert_eq!((admission.policy_epoch, admission.revocation_epoch), (1, 0));
    let contract = Contract::parse(entry.detail.contract.as_bytes()).unwrap();
    assert_eq!(contract.target_name().as_str(), "shop");

    let statement = newest(&world).await;
    assert_eq!(statement.kind, Kind::Admission);
    assert_eq!(statement.about.certificate, Some(parse(&certificate).unwrap().digest().unwrap()));
    // Everything that the decision can be derived again from is kept: proposal, live state, evidence, contract,
    // certificate, its authority's, policies.
    assert_eq!(statement.artefacts.len(), 7);
    for artefact in &statement.artefacts {
        assert!(world.store.artefact(artefact.digest).await.unwrap().is_some(), "{artefact:?}");
    }
}

/// Every record of the authority, with the artefacts that they name.
async fn kept(world: &World) -> (Vec<Statement>, BTreeMap<Digest, Vec<u8>>) {
    let records = world.store.records(Query { limit: 1000, ..Query::default() }).await.unwrap();
    let statements: Vec<_> = records.iter().map(|it| Statement::from_envelope(&it.envelope).unwrap()).collect();
    let mut artefacts = BTreeMap::new();
    for artefact in statements.iter().flat_map(|statement| &statement.artefacts) {
        let found = world.store.artefact(artefact.digest).await.unwrap().unwrap();
        artefacts.insert(artefact.digest, found.octets().to_vec());
    }
    (statements, artefacts)
}

fn derive(statement: &Statement, artefacts: &BTreeMap<Digest, Vec<u8>>) -> Result<Option<Replayed>, ReplayError> {
    replay(statement, &mut |digest| artefacts.get(digest).cloned())
}

/// The same record over another artefact in the place of one.
fn with_artefact(
    statement: &Statement,
    artefacts: &BTreeMap<Digest, Vec<u8>>,
    media: &str,
    change: impl FnOnce(String) -> String,
) -> (Statement, BTreeMap<Digest, Vec<u8>>) {
    let (mut statement, mut artefacts) = (statement.clone(), artefacts.clone());
    let place = statement.artefacts.iter().position(|artefact| artefact.media_type.contains(media)).unwrap();
    let before = statement.artefacts[place].digest;
    let text = String::from_utf8(artefacts[&before].clone()).unwrap();
    let other = change(text.clone());
    assert_ne!(text, other, "{media}");
    let after = Digest::of(other.as_bytes());
    artefacts.insert(after, other.into_bytes());
    statement.artefacts[place].digest = after;
    let body = statement.body.to_canonical().replace(&before.to_string(), &after.to_string());
    statement.body = Json::parse(body.as_bytes()).unwrap();
    (statement, artefacts)
}

#[tokio::test]
async fn i7_every_decision_of_the_authority_is_derived_from_its_record() {
    let broken = PolicyFiles::new([("a.cedar", "permit (principal, action resource);")]);
    let world = World::with(&broken).await;
    let propose = async |who: &str, text: &str| world.airlock.propose(&peer(who), text, true).await.unwrap().state;
    assert_eq!(propose(AGENT, SCALE).await, State::Refused);
    world.airlock.reload(&default_policies()).await.unwrap();
    assert_eq!(propose(AGENT, SCALE).await, State::Admitted);
    let unbound = world.airlock.propose(&peer(AGENT), SCALE, false).await.unwrap();
    assert_eq!(unbound.state, State::Admitted);
    let people = SCALE.replace("maximum: 50", "maximum: 51");
    assert_eq!(propose(AGENT, &people).await, State::Pending);
    let short = people.replace("for: 3d", "for: 1s");
    assert_eq!(propose(AGENT, &short).await, State::Pending);
    for (from, to) in [("name: shop", "name: stop"), ("for: 3d", "for: 31d"), ("name: checkout", "name: nothing")] {
        assert_eq!(propose(AGENT, &SCALE.replacen(from, to, 1)).await, State::Refused);
    }
    let other = "spiffe://example.org/agent/other";
    for revocation in [
        Revocation::Holder(id(other)),
        Revocation::Contract(unbound.detail.contract_digest.unwrap()),
        Revocation::Target("shop".parse().unwrap()),
    ] {
        world.airlock.revoke(&id("spiffe://example.org/operator"), revocation, "a drill").await.unwrap();
        assert_eq!(propose(other, SCALE).await, State::Refused);
    }
    let expired = async {
        while world.airlock.expire().await.unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), expired).await.unwrap();

    let (statements, artefacts) = kept(&world).await;
    let admissions: Vec<_> = statements.iter().filter(|statement| statement.kind == Kind::Admission).collect();
    let derived: Vec<_> = admissions.iter().map(|statement| derive(statement, &artefacts).unwrap()).collect();
    assert_eq!(derived.iter().filter(|it| **it == Some(Replayed::Equal)).count(), 12, "{derived:?}");
    // The revocations are no decisions on a proposal.
    assert_eq!(derived.iter().filter(|it| it.is_none()).count(), 3);
    let store = world.folder.path().join("state/records.db");
    let sab = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sab"));
        let output = command.arg("records").args(words).arg("--store").arg(&store).output().unwrap();
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let bundle = world.folder.path().join("sab/bundle.pem");
    let (code, said) = sab(&["replay", "--bundle", bundle.to_str().unwrap()]);
    assert!(code == Some(0) && said.contains("equal      12") && said.contains("replayed"), "{said}");
    let (code, said) = sab(&["list", "--kind", "admission", "--decision", "allow"]);
    assert!(code == Some(0) && said.lines().count() == 3, "{said}");
}

#[tokio::test]
async fn i7_a_changed_policy_fact_or_decision_is_found() {
    let world = World::new().await;
    for text in [SCALE.to_owned(), SCALE.replace("maximum: 50", "maximum: 51"), SCALE.replace("for: 3d", "for: 8d")] {
        world.airlock.propose(&peer(AGENT), &text, true).await.unwrap();
    }
    let (statements, artefacts) = kept(&world).await;
    let admissions: Vec<_> = statements.into_iter().filter(|statement| statement.kind == Kind::Admission).collect();
    let [admitted, pending, refused] = <[Statement; 3]>::try_from(admissions).unwrap();
    for statement in [&admitted, &pending, &refused] {
        assert_eq!(derive(statement, &artefacts), Ok(Some(Replayed::Equal)));
    }
    // Octets that are not those of their digest, or not there.
    for artefact in &admitted.artefacts {
        let mut other = artefacts.clone();
        other.get_mut(&artefact.digest).unwrap().push(b' ');
        let found = derive(&admitted, &other);
        let used = !["evidence", "contract"].iter().any(|unused| artefact.media_type.contains(unused));
        assert_eq!(found.is_err(), used, "{artefact:?} {found:?}");
    }
    // Others in their place, bound by digest as the true ones were.
    for (what, change) in [
        ("policies", (|text| text.replace("50", "49")) as fn(String) -> String),
        ("proposal", |text| text.replace("maximum: 50", "maximum: 40")),
        ("proposal", |text| text.replace("4x traffic", "5x traffic")),
        ("live-state", |text| text.replace("\"replicas\":3", "\"replicas\":4")),
        ("live-state", |text| text.replace("uid-1", "uid-2")),
        ("evidence", |text| text.replace("the sale", "the fun")),
        ("contract", |text| text.replace("50", "60")),
    ] {
        let (statement, artefacts) = with_artefact(&admitted, &artefacts, what, change);
        let found = derive(&statement, &artefacts);
        assert!(found.is_err(), "{what}: {found:?}");
    }
    // A body that says something else.
    for (of, from, to) in [
        (&admitted, "\"event\":\"admitted\"", "\"event\":\"pending\""),
        (&admitted, "\"tier\":\"low\"", "\"tier\":\"high\""),
        (&admitted, "\"policy_epoch\":1", "\"policy_epoch\":2"),
        (&admitted, "\"holder\":false", "\"holder\":true"),
        (&admitted, "\"broker\":\"spiffe://example.org/seb\"", "\"broker\":\"spiffe://example.org/sec\""),
        (&admitted, "\"max_validity_seconds\":2592000", "\"max_validity_seconds\":60"),
        (&pending, "\"event\":\"pending\"", "\"event\":\"admitted\""),
        (&pending, "\"pending_seconds\":3600", "\"pending_seconds\":7200"),
        (&pending, "\"expires_at\":\"2", "\"expires_at\":\"3"),
        (&refused, "\"event\":\"refused\"", "\"event\":\"admitted\""),
        (&refused, "valid for a week", "valid for a day"),
    ] {
        let text = of.body.to_canonical();
        let other = text.replacen(from, to, 1);
        assert_ne!(text, other, "{from}");
        let statement = Statement { body: Json::parse(other.as_bytes()).unwrap(), ..of.clone() };
        let found = derive(&statement, &artefacts);
        assert!(matches!(found, Err(ReplayError::Differs { .. } | ReplayError::Artefact { .. })), "{to}: {found:?}");
    }
    // A good certificate, for something else.
    let mut other = admitted.clone();
    let of = |media: &str| admitted.artefacts.iter().position(|it| it.media_type == media).unwrap();
    let twin = world.airlock.propose(&peer(AGENT), &SCALE.replace("maximum: 50", "maximum: 49"), true).await.unwrap();
    let mut artefacts = artefacts;
    let certificate = twin.certificate.unwrap();
    other.artefacts[of("application/pkix-attr-cert")].digest = Digest::of(&certificate);
    artefacts.insert(Digest::of(&certificate), certificate);
    assert!(derive(&other, &artefacts).is_err());
    // And fields by which it is found that are not its own.
    let mut other = admitted.clone();
    other.about.decision = Some(Decided::Deny);
    assert!(derive(&other, &artefacts).is_err());
    other.about = admitted.about.clone();
    other.about.agent = Some(id("spiffe://example.org/agent/other"));
    assert!(derive(&other, &artefacts).is_err());
}

#[tokio::test]
async fn refusals_say_why_and_are_recorded() {
    let world = World::new().await;
    for (agent, from, to, explanation) in [
        (AGENT, "maximum: 50", "maximum: 50, x: 1", ""),
        ("spiffe://example.org/ci/x", "", "", "only agents propose"),
        (AGENT, "name: shop", "name: stop", "there is no target `stop` here"),
        (AGENT, "for: 3d", "for: 8d", "valid for a week at most"),
        (AGENT, "for: 3d", "for: 31d", "valid for 2592000 s at most"),
        (AGENT, "name: checkout", "name: nothing", "there is no such object"),
        (AGENT, "[/replicas]", "[/size]", "the object has no field `/size`"),
        (AGENT, "body: { replicas: 10 }", "body: { replicas: 10, image: evil }", "no policy permits `merge` of"),
    ] {
        let before = world.store.head().await.unwrap().unwrap().number;
        let result = world.airlock.propose(&peer(agent), &SCALE.replacen(from, to, 1), false).await;
        if explanation.is_empty() {
            assert!(result.is_err());
            continue;
        }
        let entry = result.unwrap();
        assert_eq!((entry.state, entry.certificate.is_none()), (State::Refused, true), "{to}");
        assert!(entry.detail.explanations[0].contains(explanation), "{:?}", entry.detail.explanations);
        assert_eq!(entry.detail.record, before + 1);
    }
}

#[tokio::test]
async fn what_needs_people_waits_within_bounds() {
    let world = World::new().await;
    let text = SCALE.replace("maximum: 50", "maximum: 51");
    for _ in 0..3 {
        let entry = world.airlock.propose(&peer(AGENT), &text, false).await.unwrap();
        assert_eq!((entry.state, entry.certificate), (State::Pending, None));
        assert_eq!(entry.detail.tier, Some(Tier::Moderate));
        assert!(entry.expires_at.unwrap() > entry.proposed_at);
    }
    assert!(world.airlock.propose(&peer(AGENT), &text, false).await.is_err());
    let other = world.airlock.propose(&peer("spiffe://example.org/agent/other"), &text, false).await.unwrap();
    assert_eq!(other.state, State::Pending);
    assert_eq!(world.airlock.expire().await.unwrap(), 0);
}

#[tokio::test]
async fn i9_what_cannot_be_read_is_not_admitted() {
    let world = World::new().await;
    world.target.set_unreadable(true);
    assert!(world.airlock.propose(&peer(AGENT), SCALE, false).await.is_err());
    assert!(world.airlock.list(&Default::default()).await.unwrap().is_empty());
}

#[tokio::test]
async fn i9_broken_policies_refuse_everything_until_they_are_mended() {
    let broken = PolicyFiles::new([("a.cedar", "permit (principal, action resource);")]);
    let world = World::with(&broken).await;
    assert!(world.airlock.is_deny_all());
    let refused = world.airlock.propose(&peer(AGENT), SCALE, false).await.unwrap();
    assert_eq!(refused.state, State::Refused);
    assert_eq!(world.epochs.state().policy_epoch, 0);

    assert!(world.airlock.reload(&default_policies()).await.unwrap().is_empty());
    assert_eq!(world.airlock.propose(&peer(AGENT), SCALE, false).await.unwrap().state, State::Admitted);
    assert_eq!(world.epochs.state().policy_epoch, 1);

    assert_eq!(world.airlock.reload(&broken).await.unwrap().len(), 1);
    assert_eq!(world.airlock.propose(&peer(AGENT), SCALE, false).await.unwrap().state, State::Refused);
    // What was admitted before stays as good as it was.
    assert_eq!(world.epochs.state().policy_epoch, 1);
}

#[tokio::test]
async fn i2_who_is_revoked_gets_no_new_certificate_not_even_after_a_restart() {
    let world = World::new().await;
    world.epochs.revoke(Revocation::Holder(id(AGENT))).await.unwrap();
    let sequence = world.epochs.newest().borrow().sequence;
    let world = world.restart(&default_policies()).await;
    assert!(world.epochs.newest().borrow().sequence > sequence);
    assert_eq!(world.epochs.state().policy_epoch, 1);
    let entry = world.airlock.propose(&peer(AGENT), SCALE, false).await.unwrap();
    assert_eq!(entry.state, State::Refused);
    assert!(entry.detail.explanations[0].contains("revoked"));
    assert_eq!(*world.authority.id(), id(SAB));
}
