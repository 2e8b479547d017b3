//! Every bound, at and beside its value, against an oracle that counts in another way: whole numbers of 128 bits, in
//! which nothing saturates.

use std::time::Duration;

use serde_json::json;

use super::world::{World, at};
use crate::decision::{BoundaryStatus, Decision, LiveState, Uses};
use crate::reason::Reason;
use crate::timestamp::Timestamp;

/// The last point in time that there is.
const END: u64 = 253_402_300_799_999;

fn millis(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

/// The values around `bound`, and the ends of the range.
fn around(bound: u64, max: u64) -> Vec<u64> {
    let mut values: Vec<u64> = [0, 1, bound.saturating_sub(1), bound, bound.saturating_add(1), max - 1, max]
        .into_iter()
        .filter(|value| *value <= max)
        .collect();
    values.sort_unstable();
    values.dedup();
    values
}

/// `set` gives a world a bound and a value; the reason must be there if and only if `denied`.
fn grid(reason: Reason, bounds: &[u64], max: u64, set: fn(&mut World, u64, u64), denied: fn(i128, i128) -> bool) {
    for bound in bounds {
        for value in around(*bound, max) {
            let mut world = World::new();
            set(&mut world, *bound, value);
            let expected = denied(i128::from(*bound), i128::from(value));
            assert_eq!(world.reasons().contains(&reason), expected, "{reason}: bound {bound}, value {value}");
        }
    }
}

fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap()
}

const U32: u64 = u32::MAX as u64;
const DAY_MS: u64 = 86_400_000;
const SOME_MS: &[u64] = &[0, 1, 2, 1000, DAY_MS];

#[test]
fn i2_epoch_age_is_denied_beyond_its_bound_only() {
    let set = |world: &mut World, bound, value| {
        world.ceilings.knowledge.staleness_ms = narrow(bound);
        world.age_ms = narrow(value);
    };
    grid(Reason::EpochStale, SOME_MS, U32, set, |bound, age| age > bound);
}

#[test]
fn i2_clock_skew_is_denied_beyond_its_bound_on_both_sides() {
    let max = u64::from(i32::MAX.unsigned_abs());
    let ahead = |world: &mut World, bound, value| {
        world.ceilings.knowledge.max_clock_skew_ms = narrow(bound);
        world.skew_ms = i32::try_from(value).unwrap();
    };
    grid(Reason::ClockSkew, SOME_MS, max, ahead, |bound, skew| skew > bound);
    let behind = |world: &mut World, bound, value: u64| {
        world.ceilings.knowledge.max_clock_skew_ms = narrow(bound);
        world.skew_ms = i32::try_from(-i64::try_from(value).unwrap()).unwrap();
    };
    grid(Reason::ClockSkew, SOME_MS, max + 1, behind, |bound, skew| skew > bound);
}

#[test]
fn i2_an_overdue_statement_is_denied_beyond_the_skew_only() {
    // The time of the decision is `value` after `next_update`.
    let set = |world: &mut World, bound, value| {
        world.ceilings.knowledge.max_clock_skew_ms = narrow(bound);
        world.now = millis(world.epoch.as_ref().unwrap().next_update.millis() + value);
    };
    grid(Reason::EpochStale, SOME_MS, 2 * DAY_MS, set, |bound, late| late > bound);
}

#[test]
fn i2_epochs_are_compared_exactly() {
    let values = [0, 1, 2, 6, 7, 8, (1 << 53) - 1];
    for known in values {
        for admitted in values.into_iter().chain([1 << 53, u64::MAX]) {
            let mut world = World::new();
            world.certificate.policy_epoch = admitted;
            world.epoch.as_mut().unwrap().policy_epoch = known;
            let reasons = world.reasons();
            assert_eq!(reasons.contains(&Reason::PolicyEpochStale), admitted < known, "{admitted} {known}");
            assert_eq!(reasons.contains(&Reason::EpochBehind), admitted > known, "{admitted} {known}");
            assert_eq!(reasons.is_empty(), admitted == known, "{admitted} {known}");

            let mut world = World::new();
            world.certificate.revocation_epoch = admitted;
            world.epoch.as_mut().unwrap().revocation_epoch = known;
            let reasons = world.reasons();
            assert_eq!(reasons.contains(&Reason::RevocationEpochStale), admitted < known, "{admitted} {known}");
            assert_eq!(reasons.contains(&Reason::EpochBehind), admitted > known, "{admitted} {known}");
            assert_eq!(reasons.is_empty(), admitted == known, "{admitted} {known}");
        }
    }
}

#[test]
fn boundary_age_is_denied_beyond_its_bound_only() {
    let set = |world: &mut World, bound, value| {
        world.ceilings.knowledge.max_boundary_age_seconds = narrow(bound);
        world.boundary.as_mut().unwrap().age_seconds = narrow(value);
    };
    grid(Reason::BoundaryStale, &[0, 1, 2, 900, 86_400], U32, set, |bound, age| age > bound);
}

#[test]
fn age_of_the_live_state_is_denied_beyond_its_bound_and_before_now() {
    let set = |world: &mut World, bound, value| {
        world.ceilings.knowledge.max_state_age_ms = narrow(bound);
        if let LiveState::Present { observed_at, .. } = &mut world.live {
            *observed_at = millis(world.now.millis() - value);
        }
    };
    let now = World::new().now.millis();
    grid(Reason::LiveStateStale, SOME_MS, now, set, |bound, age| age > bound);
    for ahead in [1, 2, 1000, END - now] {
        let mut world = World::new();
        world.live = LiveState::Absent { observed_at: millis(now + ahead) };
        assert!(world.reasons().contains(&Reason::LiveStateStale), "{ahead}");
    }
}

#[test]
fn both_ends_of_every_validity_count_to_the_whole_second() {
    for (from, until) in [(0, 0), (0, 1), (1_000, 1_000), (1_000, 1_003), (253_402_300_798, 253_402_300_799)] {
        let mut nows: Vec<u64> = [from, until]
            .into_iter()
            .flat_map(|second: u64| {
                [-1001_i64, -1000, -1, 0, 1, 999, 1000, 1001].map(|by| (second * 1000).saturating_add_signed(by))
            })
            .chain([0, END])
            .filter(|now| *now <= END)
            .collect();
        nows.sort_unstable();
        nows.dedup();
        for now in nows {
            let mut world = World::new();
            world.now = millis(now);
            world.certificate.not_before = Timestamp::from_seconds(from).unwrap();
            world.certificate.not_after = Timestamp::from_seconds(until).unwrap();
            world.limits = (world.certificate.not_before, world.certificate.not_after);
            let decision = world.decide();
            // A validity is the half-open range of milliseconds [from, until + 1 s).
            let early = i128::from(now) < i128::from(from) * 1000;
            let late = i128::from(now) >= (i128::from(until) + 1) * 1000;
            for what in ["the certificate", "the contract"] {
                let has = |reason| {
                    decision.denials().iter().any(|denial| denial.reason == reason && denial.detail.starts_with(what))
                };
                assert_eq!(has(Reason::NotYetValid), early, "{what} {from} {until} {now}");
                assert_eq!(has(Reason::Expired), late, "{what} {from} {until} {now}");
            }
        }
    }
}

#[test]
fn i10_validity_uses_and_deadline_are_denied_beyond_their_ceilings_only() {
    let validity = |world: &mut World, bound, value| {
        world.ceilings.max_validity_seconds = narrow(bound);
        world.certificate.not_before = Timestamp::from_seconds(0).unwrap();
        world.certificate.not_after = Timestamp::from_seconds(value).unwrap();
    };
    grid(Reason::CeilingValidity, &[0, 1, 3600, U32], END / 1000, validity, |bound, span| span > bound);
    let uses = |world: &mut World, bound, value: u64| {
        world.ceilings.max_uses = narrow(bound);
        world.uses = narrow(value.max(1));
    };
    grid(Reason::CeilingUses, &[0, 1, 2, 9_999, U32], 10_000, uses, |bound, uses| uses.max(1) > bound);
    let deadline = |world: &mut World, bound, value: u64| {
        world.ceilings.max_deadline_seconds = narrow(bound);
        world.deadline = narrow(value.max(1));
    };
    grid(Reason::CeilingDeadline, &[0, 1, 2, 3_599, U32], 3600, deadline, |bound, deadline| deadline.max(1) > bound);
}

#[test]
fn i10_a_rate_is_denied_from_its_ceiling_on() {
    let agent = |world: &mut World, bound, value| {
        world.ceilings.rates.agent.executions = narrow(bound);
        world.rates.as_mut().unwrap().agent.executions = narrow(value);
    };
    grid(Reason::CeilingRateAgent, &[0, 1, 2, 60, U32], U32, agent, |bound, had| had >= bound);
    let authority = |world: &mut World, bound, value| {
        world.ceilings.rates.authority.executions = narrow(bound);
        world.rates.as_mut().unwrap().authority.executions = narrow(value);
    };
    grid(Reason::CeilingRateAuthority, &[0, 1, 2, 60, U32], U32, authority, |bound, had| had >= bound);
    let window = |world: &mut World, bound, value| {
        world.ceilings.rates.agent.per_seconds = narrow(bound);
        world.rates.as_mut().unwrap().agent.per_seconds = narrow(value);
    };
    grid(Reason::RateUnknown, &[1, 60, 86_400], U32, window, |bound, window| window != bound);
}

#[test]
fn i3_a_certificate_is_used_at_most_as_often_as_it_says() {
    for uses in [1, 2, 3, 4, 9_999, 10_000] {
        for consumed in around(u64::from(uses), U32).into_iter().map(narrow) {
            let mut world = World::new();
            world.ceilings.max_uses = 10_000;
            world.uses = uses;
            world.used = Some(Uses { consumed, last: (consumed > 0).then(|| at("2026-11-24T09:00:00Z")) });
            let expected = match (consumed < uses, uses) {
                (true, _) => vec![],
                (false, 1) => vec![Reason::Replayed],
                (false, _) => vec![Reason::UsesExhausted],
            };
            assert_eq!(world.reasons().into_iter().collect::<Vec<_>>(), expected, "{consumed} of {uses}");
            if let Decision::Allow(permit) = world.decide() {
                assert_eq!(u64::from(permit.terms().ordinal()), u64::from(consumed) + 1);
            }
        }
    }
}

#[test]
fn i3_several_uses_need_an_idempotency_key() {
    for uses in [1, 2, 3, 10_000] {
        let mut world = World::new();
        world.ceilings.max_uses = 10_000;
        world.uses = uses;
        world.used = Some(Uses { consumed: 0, last: None });
        assert!(world.reasons().is_empty(), "{uses}");
        world.request.idempotency_key = None;
        assert_eq!(world.reasons().contains(&Reason::IdempotencyKeyMissing), uses > 1, "{uses}");
    }
}

#[test]
fn i3_spacing_is_denied_below_its_bound_only() {
    let now = World::new().now.millis();
    for spacing in [0, 1, 10, 31_536_000_u64] {
        for distance in around(spacing * 1000, now) {
            let mut world = World::new();
            world.spacing = narrow(spacing);
            world.used = Some(Uses { consumed: 1, last: Some(millis(now - distance)) });
            let denied = i128::from(distance) < i128::from(spacing) * 1000;
            assert_eq!(world.reasons().contains(&Reason::UseSpacing), denied, "{spacing} {distance}");
        }
        for ahead in [1, 1000, END - now] {
            let mut world = World::new();
            world.spacing = narrow(spacing);
            world.used = Some(Uses { consumed: 1, last: Some(millis(now + ahead)) });
            assert_eq!(world.reasons().contains(&Reason::UseSpacing), spacing > 0, "{spacing} {ahead}");
        }
    }
}

#[test]
fn i5_the_deadline_ends_with_the_first_of_three() {
    let now = World::new().now;
    for deadline in [1, 9, 10, 11, 30] {
        for certificate in [0, 9, 10, 11, 600] {
            for contract in [0, 9, 10, 11, 600] {
                let mut world = World::new();
                world.deadline = deadline;
                world.certificate.not_after = now.saturating_add(Duration::from_secs(certificate));
                world.limits.1 = now.saturating_add(Duration::from_secs(contract));
                let Decision::Allow(permit) = world.decide() else { panic!("{deadline} {certificate} {contract}") };
                let oracle = (u64::from(deadline) * 1000).min(certificate * 1000 + 999).min(contract * 1000 + 999);
                assert_eq!(permit.terms().deadline().millis() - now.millis(), oracle);
                assert!(permit.terms().deadline() >= permit.terms().decided_at());
            }
        }
    }
}

#[test]
fn time_at_its_end_does_not_overflow() {
    let mut world = World::new();
    world.now = millis(END);
    world.certificate.not_after = millis(END - 999);
    world.limits.1 = millis(END - 999);
    world.epoch.as_mut().unwrap().next_update = millis(END);
    world.boundary.as_mut().unwrap().status = BoundaryStatus::Proven;
    world.baseline = json!({"mode": "exact", "identity": "svc-1", "version": "42"});
    if let LiveState::Present { observed_at, .. } = &mut world.live {
        *observed_at = millis(END);
    }
    world.ceilings.max_validity_seconds = u32::MAX;
    world.certificate.not_before = millis(END - 999);
    let Decision::Allow(permit) = world.decide() else { panic!("{:?}", world.decide()) };
    assert_eq!(permit.terms().deadline().millis(), END);
}
