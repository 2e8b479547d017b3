//! The authority: proposals in, certificates and epochs out.
#![cfg(test)]

#[path = "sab/world.rs"]
mod world;

use seb::attribute_certificate::{AdmissionPath, Tier, authenticate, parse, profile};
use seb::clock;
use seb::contract::Contract;
use seb::record::{Kind, Statement};
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
    // certificate, policies.
    assert_eq!(statement.artefacts.len(), 6);
    for artefact in &statement.artefacts {
        assert!(world.store.artefact(artefact.digest).await.unwrap().is_some(), "{artefact:?}");
    }
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
