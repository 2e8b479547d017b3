//! Each single fault denies with exactly its reason; several deny with theirs together.
//!
//! A fault says which parts of the world it writes and which it leans on, so that two that would undo each other are
//! not paired; and which question it takes away, so that a reason which needs that question is not expected beside it.
//! These are all the exceptions from "the reasons of two faults are the reasons of both".

use std::collections::BTreeSet;

use serde_json::json;

use super::world::{World, at, id, pointer};
use crate::contract::{Json, TargetKind};
use crate::decision::{BoundaryStatus, Decision, DryRun, LiveState, evaluate, to_try};
use crate::digest::Digest;
use crate::reason::{Reason, Verdict};
use Need::{Call, Contract, Covers, Epoch, Live, Object, Rates, Resource, Step, Target, Uses, Verb};

/// What a predicate must have before it can ask.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Need {
    /// A contract that can be read.
    Contract,
    /// One step of it.
    Step,
    /// The final call.
    Call,
    /// The target's ceiling.
    Target,
    /// A rule that has the verb.
    Verb,
    /// A rule that has verb and resource.
    Resource,
    /// An epoch statement.
    Epoch,
    /// An epoch statement of the right authority.
    Covers,
    /// A count of uses.
    Uses,
    /// A count of executions.
    Rates,
    /// A live state that was read.
    Live,
    /// An object that is as present as certified.
    Object,
}

struct Fault {
    name: &'static str,
    reason: Reason,
    /// Parts of the world that it sets.
    writes: &'static [&'static str],
    /// Parts that must stay as they are for it to be a fault.
    reads: &'static [&'static str],
    needs: &'static [Need],
    removes: &'static [Need],
    apply: fn(&mut World),
}

const OF_CONTRACT: &[Need] = &[Contract, Step, Call, Target, Verb, Resource, Live, Object];
const OF_STEP: &[Need] = &[Step, Call, Verb, Resource, Live, Object];

macro_rules! faults {
    ($($name:literal $reason:ident writes $writes:tt reads $reads:tt needs $needs:tt removes $removes:expr, $apply:expr;)+) => {
        const FAULTS: &[Fault] = &[$(Fault {
            name: $name, reason: Reason::$reason, writes: &$writes, reads: &$reads, needs: &$needs, removes: &$removes,
            apply: $apply,
        },)+];
    };
}

fn present(world: &mut World, change: impl FnOnce(&mut String, &mut String)) {
    if let LiveState::Present { identity, version, .. } = &mut world.live {
        let mut text = version.to_string();
        change(identity, &mut text);
        *version = text.parse().unwrap();
    }
}

fn observed_at(world: &mut World, time: &str) {
    match &mut world.live {
        LiveState::Present { observed_at, .. } | LiveState::Absent { observed_at } => *observed_at = at(time),
        LiveState::Unknown | LiveState::Deferred => {}
    }
}

fn fields(world: &mut World, live: Option<Option<Json>>) {
    world.baseline = json!({"mode": "fields", "identity": "svc-1", "version": "42", "fields": {"/replicas": 3}});
    if let LiveState::Present { fields, .. } = &mut world.live {
        *fields = live.map(|value| (pointer("/replicas"), value)).into_iter().collect();
    }
}

fn detach(world: &mut World, body: Option<&[u8]>) {
    world.detached = true;
    world.rule().parameters.clear();
    world.request.choice.values.clear();
    world.request.choice.body = body.map(<[u8]>::to_vec);
}

fn value(world: &mut World, value: Json) {
    world.request.choice.values.insert(pointer("/replicas"), value);
}

fn authority_targets(world: &mut World) -> &mut BTreeSet<crate::contract::TargetName> {
    &mut world.ceilings.authorities.values_mut().next().unwrap().targets
}

faults! {
    "another broker" WrongBroker writes ["broker"] reads [] needs [] removes [], |w| w.broker = id("other");
    "another holder" WrongHolder writes ["peer"] reads [] needs [] removes [], |w| w.peer.id = id("other");
    "another key" WrongHolderKey writes ["key"] reads [] needs [] removes [], |w| w.peer.key = Digest::of(b"other");
    "contract too large" ContractTooLarge writes ["octets"] reads [] needs [] removes *OF_CONTRACT,
        |w| w.octets = Some(vec![b' '; 64 * 1024]);
    "contract not canonical" ContractEncoding writes ["octets"] reads [] needs [] removes *OF_CONTRACT,
        |w| w.octets = Some(b"{ }".to_vec());
    "no contract" ContractSchema writes ["octets"] reads [] needs [] removes *OF_CONTRACT,
        |w| w.octets = Some(b"{}".to_vec());
    "several steps" ContractStepsUnsupported writes ["steps"] reads [] needs [Contract] removes *OF_STEP,
        |w| w.two_steps = true;
    "another contract expected" ContractMismatch writes ["expected"] reads [] needs [] removes [],
        |w| w.expected = Some(Digest::of(b"other"));
    "another step" StepUnknown writes ["step"] reads ["steps"] needs [Contract] removes *OF_STEP,
        |w| w.request.step = Some("other".parse().unwrap());
    "a place not left open" ParameterUnknown writes ["extra"] reads ["body"] needs [Step] removes [Call],
        |w| drop(w.request.choice.values.insert(pointer("/note"), Json::from("x")));
    "no value" ParameterMissing writes ["value"] reads ["body"] needs [Step] removes [Call],
        |w| drop(w.request.choice.values.remove(&pointer("/replicas")));
    "a value of another type" ParameterType writes ["value"] reads ["body"] needs [Step] removes [Call],
        |w| value(w, Json::from("ten"));
    "a value out of bounds" ParameterOutOfBounds writes ["value"] reads ["body"] needs [Step] removes [Call],
        |w| value(w, Json::from(51));
    "no body" BodyMissing writes ["body", "value", "extra", "rule parameters"] reads [] needs [Step] removes [Call],
        |w| detach(w, None);
    "a body too many" BodyUnexpected writes ["body"] reads [] needs [Step] removes [Call],
        |w| w.request.choice.body = Some(b"{}".to_vec());
    "another body" BodyMismatch writes ["body", "value", "extra", "rule parameters"] reads [] needs [Step] removes [Call],
        |w| detach(w, Some(b"{\"replicas\":11}"));
    "a longer body" BodyMismatch writes ["body", "value", "extra", "rule parameters"] reads [] needs [Step] removes [Call],
        |w| detach(w, Some(b"{\"replicas\":100}"));
    "no idempotency key" IdempotencyKeyMissing writes ["idempotency"] reads ["uses"] needs [Contract] removes [],
        |w| w.request.idempotency_key = None;
    "certificate not yet valid" NotYetValid writes ["validity"] reads [] needs [] removes [],
        |w| w.certificate.not_before = at("2026-11-24T09:30:01Z");
    "contract not yet valid" NotYetValid writes ["limits"] reads [] needs [Contract] removes [],
        |w| w.limits.0 = at("2026-11-24T09:30:01Z");
    "certificate expired" Expired writes ["validity"] reads [] needs [] removes [],
        |w| w.certificate.not_after = at("2026-11-24T09:29:59Z");
    "contract expired" Expired writes ["limits"] reads [] needs [Contract] removes [],
        |w| w.limits.1 = at("2026-11-24T09:29:59Z");
    "authority's clock ahead" ClockSkew writes ["skew"] reads [] needs [Epoch] removes [], |w| w.skew_ms = 2001;
    "authority's clock behind" ClockSkew writes ["skew"] reads [] needs [Epoch] removes [], |w| w.skew_ms = -2001;
    "clock stepped" ClockSkew writes ["stepped"] reads [] needs [] removes [], |w| w.clock_stepped = true;
    "no epoch" EpochUnknown writes ["epoch"] reads [] needs [] removes [Epoch, Covers], |w| w.epoch = None;
    "epoch of another authority" EpochUnknown writes ["epoch authority"] reads ["epoch"] needs [Epoch] removes [Covers],
        |w| w.epoch.as_mut().unwrap().authority = id("other");
    "old epoch" EpochStale writes ["age"] reads [] needs [Epoch] removes [], |w| w.age_ms = 1001;
    "overdue epoch" EpochStale writes ["due"] reads ["epoch"] needs [Epoch] removes [], |w| {
        let parts = w.epoch.as_mut().unwrap();
        parts.issued_at = at("2026-11-24T09:29:57Z");
        parts.next_update = at("2026-11-24T09:29:57.999Z");
    };
    "policy epoch ahead" EpochBehind writes ["policy"] reads [] needs [Covers] removes [],
        |w| w.certificate.policy_epoch = 8;
    "revocation epoch ahead" EpochBehind writes ["revocation"] reads [] needs [Covers] removes [],
        |w| w.certificate.revocation_epoch = 4;
    "policy epoch stale" PolicyEpochStale writes ["policy"] reads [] needs [Covers] removes [],
        |w| w.certificate.policy_epoch = 6;
    "kill switch" RevocationEpochStale writes ["revocation"] reads [] needs [Covers] removes [],
        |w| w.certificate.revocation_epoch = 2;
    "certificate revoked" RevokedCertificate writes [] reads [] needs [Covers] removes [],
        |w| w.revoke.push("certificate");
    "holder revoked" RevokedHolder writes [] reads [] needs [Covers] removes [], |w| w.revoke.push("holder");
    "contract revoked" RevokedContract writes [] reads [] needs [Covers] removes [],
        |w| w.revoke.push("contract");
    "target revoked" RevokedTarget writes [] reads [] needs [Covers, Contract] removes [],
        |w| w.revoke.push("target");
    "no such target" TargetUnknown writes ["target", "authority"] reads [] needs [Contract]
        removes [Target, Verb, Resource], |w| {
        let target = w.ceilings.targets.pop_first().unwrap().1;
        w.ceilings.targets.insert("other".parse().unwrap(), target);
        *authority_targets(w) = ["other".parse().unwrap()].into();
    };
    "target of another kind" TargetUnknown writes ["target", "rule verbs", "rule resources", "rule parameters"]
        reads ["body"] needs [Contract] removes [Target, Verb, Resource], |w| {
        let target = w.ceilings.targets.values_mut().next().unwrap();
        target.kind = TargetKind::Kubernetes;
        target.rules.clear();
    };
    "authority not named" AuthorityCeiling writes ["authority"] reads [] needs [Target] removes [],
        |w| w.ceilings.authorities.clear();
    "authority without target" AuthorityCeiling writes ["authority"] reads [] needs [Target] removes [],
        |w| authority_targets(w).clear();
    "no rule has the verb" CeilingVerb writes ["rule verbs"] reads [] needs [Target, Step] removes [Verb, Resource],
        |w| w.rule().verbs = ["delete".parse().unwrap()].into();
    "no rule at all" CeilingVerb writes ["rule verbs", "rule resources", "rule parameters"] reads ["body"]
        needs [Target, Step] removes [Verb, Resource],
        |w| w.ceilings.targets.values_mut().for_each(|target| target.rules.clear());
    "no rule has the resource" CeilingResource writes ["rule resources"] reads [] needs [Target, Step, Verb]
        removes [Resource], |w| w.rule().resources = ["services/checkout/*".parse().unwrap()].into();
    "a value above the broker's" CeilingParameter writes ["rule parameters"] reads ["value"]
        needs [Target, Resource, Call] removes [], |w| w.rule().parameters[0].maximum = Some(9.into());
    "valid for too long" CeilingValidity writes ["max validity"] reads ["validity"] needs [] removes [],
        |w| w.ceilings.max_validity_seconds = 2399;
    "too many uses" CeilingUses writes ["max uses"] reads ["uses"] needs [Contract] removes [],
        |w| w.ceilings.max_uses = 2;
    "deadline too long" CeilingDeadline writes ["deadline"] reads [] needs [Contract] removes [], |w| w.deadline = 61;
    "agent too often" CeilingRateAgent writes ["agent rate"] reads [] needs [Rates] removes [],
        |w| w.rate().executions = 5;
    "authority too often" CeilingRateAuthority writes ["authority rate"] reads [] needs [Rates] removes [],
        |w| w.ceilings.rates.authority.executions = 5;
    "no rates" RateUnknown writes ["rates"] reads [] needs [] removes [Rates], |w| w.rates = None;
    "no uses" UsesUnknown writes ["consumed", "last"] reads [] needs [] removes [Uses], |w| w.used = None;
    "uses without a time" UsesUnknown writes ["consumed", "last"] reads [] needs [] removes [Uses],
        |w| w.used.as_mut().unwrap().last = None;
    "used before" Replayed writes ["uses"] reads ["consumed"] needs [Contract, Uses] removes [], |w| w.uses = 1;
    "used up" UsesExhausted writes ["consumed"] reads ["uses"] needs [Contract, Uses] removes [],
        |w| w.used.as_mut().unwrap().consumed = 3;
    "used a moment ago" UseSpacing writes ["last"] reads ["consumed"] needs [Contract, Uses] removes [],
        |w| w.used.as_mut().unwrap().last = Some(at("2026-11-24T09:29:50.001Z"));
    "boundary unproven" BoundaryUnproven writes ["boundary"] reads [] needs [] removes [], |w| w.boundary = None;
    "boundary stale" BoundaryStale writes ["boundary"] reads [] needs [] removes [],
        |w| w.boundary.as_mut().unwrap().age_seconds = 901;
    "boundary broken" BoundaryBroken writes ["boundary"] reads [] needs [] removes [],
        |w| w.boundary.as_mut().unwrap().status = BoundaryStatus::Broken;
    "object not read" LiveStateUnknown writes ["live", "observed at", "baseline"] reads [] needs [Step]
        removes [Live, Object], |w| w.live = LiveState::Unknown;
    "field not read" LiveStateUnknown writes ["baseline"] reads ["live"] needs [Step, Object] removes [],
        |w| fields(w, None);
    "object read long ago" LiveStateStale writes ["observed at"] reads [] needs [Step, Live] removes [],
        |w| observed_at(w, "2026-11-24T09:29:58.999Z");
    "object read in the future" LiveStateStale writes ["observed at"] reads [] needs [Step, Live] removes [],
        |w| observed_at(w, "2026-11-24T09:30:00.001Z");
    "object gone" DriftPresence writes ["live", "observed at"] reads [] needs [Step, Live] removes [Object],
        |w| w.live = LiveState::Absent { observed_at: at("2026-11-24T09:30:00Z") };
    "object exists" DriftPresence writes ["verb", "baseline"] reads ["live"] needs [Step, Live] removes [Object], |w| {
        w.verb = "create";
        w.baseline = json!({"mode": "absent"});
    };
    "another object" DriftIdentity writes ["identity"] reads ["live"] needs [Step, Object] removes [],
        |w| present(w, |identity, _| *identity = "svc-2".to_owned());
    "another version" DriftVersion writes ["version"] reads ["live", "baseline"] needs [Step, Object] removes [],
        |w| present(w, |_, version| *version = "43".to_owned());
    "another value" DriftField writes ["baseline"] reads ["live"] needs [Step, Object] removes [],
        |w| fields(w, Some(Some(Json::from(4))));
    "no dry run" DryRunUnknown writes ["dry run"] reads [] needs [Step] removes [], |w| w.asked = Some(None);
    "no answer to a dry run" DryRunUnknown writes ["dry run"] reads [] needs [Step] removes [],
        |w| w.asked = Some(Some(DryRun::Unknown { detail: "no answer".to_owned() }));
    "a dry run refused" DryRunRefused writes ["dry run"] reads [] needs [Step] removes [],
        |w| w.asked = Some(Some(DryRun::Refused { detail: "quota".to_owned() }));
    "a dry run long ago" DryRunUnknown writes ["dry run"] reads [] needs [Step] removes [],
        |w| w.asked = Some(Some(DryRun::Accepted { observed_at: at("2026-11-24T09:29:58.999Z") }));
    "a dry run in the future" DryRunUnknown writes ["dry run"] reads [] needs [Step] removes [],
        |w| w.asked = Some(Some(DryRun::Accepted { observed_at: at("2026-11-24T09:30:00.001Z") }));
    "field gone" DriftField writes ["baseline"] reads ["live"] needs [Step, Object] removes [],
        |w| fields(w, Some(None));
}

/// A world for each fault, and the one that has none.
pub(super) fn worlds() -> impl Iterator<Item = (&'static str, World)> {
    let faulty = FAULTS.iter().map(|fault| {
        let mut world = World::new();
        (fault.apply)(&mut world);
        (fault.name, world)
    });
    std::iter::once(("none", World::new())).chain(faulty)
}

impl Fault {
    /// Whether both can be in one world.
    fn fits(&self, other: &Self) -> bool {
        let undone = |a: &Self, b: &Self| a.writes.iter().any(|part| b.writes.contains(part) || b.reads.contains(part));
        !undone(self, other) && !undone(other, self)
    }

    /// Whether this one takes away what the other's reason needs.
    fn hides(&self, other: &Self) -> bool {
        self.removes.iter().any(|need| other.needs.contains(need))
    }
}

/// Applies the faults, and holds the decision against what each of them says.
fn check(faults: &[&Fault]) {
    let mut world = World::new();
    for fault in faults {
        (fault.apply)(&mut world);
    }
    let expected: BTreeSet<Reason> = faults
        .iter()
        .filter(|fault| !faults.iter().any(|other| other.name != fault.name && other.hides(fault)))
        .map(|fault| fault.reason)
        .collect();
    let names: Vec<_> = faults.iter().map(|fault| fault.name).collect();
    let decision = world.decide();
    assert!(!decision.denials().is_empty(), "{names:?} are allowed");
    assert!(decision.denials().is_sorted(), "{names:?}");
    assert_eq!(world.reasons(), expected, "{names:?}: {decision:?}");
    assert_eq!(decision.answer().map(|denial| denial.reason), expected.first().copied(), "{names:?}");
}

#[test]
fn the_base_is_allowed() {
    let decision = World::new().decide();
    assert_eq!(decision.denials(), [], "{decision:?}");
    assert!(matches!(decision, crate::decision::Decision::Allow(_)));
}

#[test]
fn i9_each_single_fault_denies_with_exactly_its_reason() {
    for fault in FAULTS {
        check(&[fault]);
    }
}

#[test]
fn what_is_tried_is_what_would_be_allowed_but_for_the_dry_run() {
    let mut tried = 0;
    for (name, mut world) in worlds() {
        let asked = world.asked.clone();
        assert_eq!(to_try(&World { asked: None, ..world.clone() }.facts()), None, "{name}: nobody asks for it");
        world.asked = Some(Some(DryRun::Accepted { observed_at: world.now }));
        let allowed = match evaluate(&world.facts()) {
            Decision::Allow(permit) => Some(permit.terms().clone()),
            Decision::Deny(_) => None,
        };
        tried += usize::from(allowed.is_some());
        for answer in [None, Some(DryRun::Refused { detail: String::new() })].into_iter().chain(asked) {
            world.asked = Some(answer);
            assert_eq!(to_try(&world.facts()), allowed, "{name}");
            assert!(!matches!(evaluate(&world.facts()), Decision::Allow(_)), "{name}: it permits nothing");
        }
    }
    // The base, and each fault of a dry run.
    assert_eq!(tried, 6);
}

#[test]
fn i9_every_reason_of_targeting_and_authorization_can_be_reached() {
    let covered: BTreeSet<Reason> = FAULTS.iter().map(|fault| fault.reason).collect();
    // The deadline begins with the decision, so only the fence can find that it has passed.
    let all = Reason::ALL.iter().copied().filter(|reason| *reason != Reason::DeadlinePassed);
    assert_eq!(covered, all.filter(|reason| reason.verdict() >= Verdict::Targeting).collect());
}

#[test]
fn i9_deny_is_monotone_over_all_pairs_of_faults() {
    let mut pairs = 0;
    for (index, a) in FAULTS.iter().enumerate() {
        for b in FAULTS[index + 1..].iter().filter(|b| a.fits(b)) {
            // In both orders: facts have no history.
            check(&[a, b]);
            check(&[b, a]);
            pairs += 1;
        }
    }
    assert!(pairs > 1900, "{pairs}");
}

/// Every triple would take a minute; every 23rd, which is no multiple of anything here, takes seconds.
#[test]
fn i9_deny_is_monotone_over_triples_of_faults() {
    let mut count = 0_usize;
    for (first, a) in FAULTS.iter().enumerate() {
        for (second, b) in FAULTS.iter().enumerate().skip(first + 1).filter(|(_, b)| a.fits(b)) {
            for c in FAULTS[second + 1..].iter().filter(|c| a.fits(c) && b.fits(c)) {
                count += 1;
                if count.is_multiple_of(23) {
                    check(&[a, b, c]);
                }
            }
        }
    }
    assert!(count > 40_000, "{count}");
}

#[test]
fn i9_all_faults_that_fit_together_still_deny() {
    for start in 0..FAULTS.len() {
        let mut chosen: Vec<&Fault> = Vec::new();
        for fault in FAULTS[start..].iter().chain(&FAULTS[..start]) {
            if chosen.iter().all(|other| other.fits(fault)) {
                chosen.push(fault);
            }
        }
        check(&chosen);
    }
}
