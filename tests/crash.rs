//! The broker is killed (SIGKILL) again and again, at every durable step and at random points, and restarted each time.
//! Afterwards the target's own audit log says what was really done:
//!
//! - I1: every mutation has an earlier decision record that allowed it, by the identity that the record names;
//! - I3: no certificate was used more often than it says;
//! - I6: every decision is settled, once, and as the audit log has it.
//!
//! `CRASH_KILLS` and `SOAK_SECONDS` (`make soak`) say for how long.

#[cfg(test)]
mod world;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use seb::proto::seb::v1::ExecuteRequest;
    use seb::record::Kind;
    use serde_json::{Value, json};

    use crate::world::broker::{Process, Settings};
    use crate::world::judge::{check, open};
    use crate::world::{PATIENCE, World};

    /// How many requests are under way when the broker is killed.
    const TOGETHER: usize = 4;

    /// A number of the environment.
    fn number(name: &str) -> Option<u64> {
        #[expect(clippy::disallowed_methods, reason = "how long a soak lasts is for whoever starts it to say")]
        std::env::var(name).ok().map(|text| text.parse().unwrap())
    }

    /// xorshift: which kill comes when has to be told again from the seed alone.
    struct Chance(u64);

    impl Chance {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % bound
        }
    }

    /// What can go wrong at the target meanwhile; most of the time nothing does.
    fn fault(chance: &mut Chance) -> Option<Value> {
        Some(match chance.below(12) {
            0 => json!({ "fault": "delay", "milliseconds": 20 }),
            1 => json!({ "fault": "drop_before" }),
            2 => json!({ "fault": "drop_after" }),
            3 => json!({ "fault": "stall_after" }),
            4 => json!({ "fault": "half_close" }),
            5 => json!({ "fault": "duplicate" }),
            _ => return None,
        })
    }

    /// New certificates, each for a service of its own.
    async fn asks(world: &World, round: u64) -> Vec<ExecuteRequest> {
        let mut asks = Vec::new();
        for number in 0..TOGETHER {
            let certificate = world.scale(&format!("s{round}-{number}")).await.set("/deadline_seconds", json!(2));
            asks.push(world.ask(&certificate, 20));
        }
        asks
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn i1_i3_i5_i6_hold_however_often_the_broker_is_killed() {
        let seed = number("CRASH_SEED").unwrap_or(0x5eb);
        let (kills, soak) = (number("CRASH_KILLS").unwrap_or(200), number("SOAK_SECONDS").map(Duration::from_secs));
        let begun = tokio::time::Instant::now();
        let world = World::new().await;
        world.configure(&Settings::default());
        let mut chance = Chance(seed);
        let (mut round, mut before, mut head) = (0, Vec::new(), 0);
        while soak.map_or(round < kills, |soak| begun.elapsed() < soak) {
            round += 1;
            let now = asks(&world, round).await;
            if let Some(fault) = fault(&mut chance) {
                world.production.fault(fault).await;
            }
            let process = Process::start(&world).await;
            let clients = world.clients(process.address).await;
            // One in eight dies while it starts and settles what the last one left.
            if chance.below(8) != 0 {
                world.epochs.heard().await;
            }
            head = clients.head(head).await;
            let audit = world.production.audit_octets();
            // What the last broker was asked is asked again, as agents do who had no answer.
            for ask in before.into_iter().chain(now.clone()) {
                let clients = clients.clone();
                tokio::spawn(async move { clients.execute(&ask).await });
            }
            // An execution takes a few milliseconds: what is random falls before, into and after each of its steps.
            match chance.below(8) {
                0 => until(async || clients.log(head).await.iter().any(|it| it.kind == Kind::Decision)).await,
                1 => until(async || world.production.audit_octets() > audit).await,
                2 => until(async || clients.log(head).await.iter().any(|it| it.kind == Kind::Outcome)).await,
                _ => tokio::time::sleep(Duration::from_micros(chance.below(80_000))).await,
            }
            process.kill().await;
            before = now;
        }
        // Once more, until everything is settled.
        let process = Process::start(&world).await;
        let clients = world.clients(process.address).await;
        world.epochs.heard().await;
        let settled = async {
            loop {
                let log = clients.log(0).await;
                if open(&log).is_empty() {
                    return log;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let log = tokio::time::timeout(PATIENCE, settled).await.expect("everything is settled in the end");
        let checked = check(&log, &world.production.audit());
        process.kill().await;
        world.verified().await;
        let said = std::fs::read_to_string(world.path("broker.log")).unwrap();
        assert!(!said.contains("PRIVATE KEY"), "I5");
        assert!(checked.applied > 0 && checked.not_applied > 0 && checked.reconciled > 0, "{checked:?}");
        eprintln!("{round} kills in {:?}: {checked:?}", begun.elapsed());
    }

    /// Waits until a durable step shows; not for long, because it may never come.
    async fn until(step: impl AsyncFn() -> bool) {
        let shown = async {
            while !step().await {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        // Either way it is a moment to be killed in.
        let _ = tokio::time::timeout(Duration::from_millis(300), shown).await;
    }
}
