//! Revocation and the authority's key with the real processes: production, authority and broker, each its own, under load.
//!
//! What production's own audit log says counts. A request that passed the fence before the acknowledgement may still be on
//! its way into production's process then; by how much is measured (the load harness of `benches/load` measures it too).
#![cfg(test)]

#[path = "live/world.rs"]
mod world;

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use seb::attribute_certificate::{parse, profile};
use seb::identity::embedded::{Grant, Rotation};
use seb::proto::sab::v1::EpochAcknowledgement;
use seb::proto::sab::v1::epoch_service_client::EpochServiceClient;
use seb::proto::sab::v1::revoke_request::What;
use seb::timestamp::Timestamp;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use world::{Agent, Asked, LEASE, PATIENCE, Worker, World, id, now, readiness_during, reason, revoke};

/// The kinds of scope.
const KINDS: [&str; 5] = ["certificate", "holder", "contract", "target", "everything"];
/// How many services a round uses.
const SERVICES: usize = 5;
/// How long what passed the fence before may take into production's log on a machine that does other things as well.
const ON_ITS_WAY: i64 = 2000;

/// Who executes while something is revoked: those that it covers, and those that go on.
struct Load {
    covered: Vec<Worker>,
    others: Vec<Worker>,
    what: What,
    reason: &'static str,
}

impl Load {
    async fn start(world: &World, round: usize) -> Self {
        let kind = KINDS[round % KINDS.len()];
        let until = Timestamp::from_seconds(now().seconds() + 1800).unwrap();
        let (agent, other) = (world.agent(&format!("one-{round}")).await, world.agent(&format!("two-{round}")).await);
        let service = |n: usize| format!("s{}", round * SERVICES + n);
        let target = format!("t{}", round + 1);
        let start = async |who: &Agent, n: usize, target: &str| {
            Worker::start(who, &service(n), who.propose(&service(n), target, until).await)
        };
        let mut workers = vec![start(&agent, 0, &target).await, start(&agent, 1, &target).await];
        if kind == "contract" {
            // The same contract in two agents' hands: they disturb each other, and are revoked together.
            workers.push(start(&other, 0, &target).await);
        }
        let others = vec![start(&other, 2, "t0").await, start(&other, 3, "t0").await];
        let first = &workers[0].proposal;
        let digest = || profile(parse(&first.certificate).unwrap()).unwrap().digest().to_string();
        let (what, reason, covered): (_, _, fn(&Worker, &Worker) -> bool) = match kind {
            "certificate" => {
                (What::Certificate(digest()), "revoked_certificate", |worker, first| worker.service == first.service)
            }
            "holder" => (What::Holder(agent.id.to_string()), "revoked_holder", |worker, first| {
                worker.agent.id == first.agent.id
            }),
            "contract" => (What::Contract(first.contract_digest.clone()), "revoked_contract", |worker, first| {
                worker.proposal.contract_digest == first.proposal.contract_digest
            }),
            "target" => (What::Target(target.clone()), "revoked_target", |_, _| true),
            _ => (What::Everything(true), "revocation_epoch_stale", |_, _| true),
        };
        let first = workers.remove(0);
        let (mut covered, spared): (Vec<_>, Vec<_>) = workers.into_iter().partition(|worker| covered(worker, &first));
        covered.push(first);
        let all = [spared, others].map(|workers| workers.into_iter());
        let others: Vec<_> = all.into_iter().flatten().collect();
        let (more, others) = if kind == "everything" { (others, Vec::new()) } else { (Vec::new(), others) };
        covered.extend(more);
        let load = Self { covered, others, what, reason };
        join_all(load.covered.iter().chain(&load.others).map(|worker| worker.more(3))).await;
        load
    }

    /// What was asked by those that the revocation covers, and the services; the others go on, and end.
    async fn end(self) -> (Vec<Asked>, Vec<String>) {
        join_all(self.others.iter().map(|worker| worker.more(2))).await;
        let services = self.covered.iter().map(|worker| worker.service.clone()).collect();
        let asked = join_all(self.covered.into_iter().map(Worker::stop)).await.concat();
        join_all(self.others.into_iter().map(Worker::stop)).await;
        (asked, services)
    }
}

/// The last time at which something was changed at these services.
fn last_change(world: &World, services: &[String]) -> u64 {
    let applied = world.applied();
    services.iter().filter_map(|service| applied.get(service)?.last().copied()).max().unwrap_or(0)
}

/// Nothing that was asked after the acknowledgement was done, and it was refused for this.
fn assert_nothing_starts(asked: &[Asked], acknowledged: u64, expected: &str) {
    let after: Vec<_> = asked.iter().filter(|asked| asked.sent > acknowledged).collect();
    assert!(!after.is_empty(), "nobody asks any more");
    for asked in after {
        assert_eq!(asked.end, Err(expected.to_owned()), "{asked:?}, acknowledged at {acknowledged}");
    }
}

/// By how many milliseconds one is later than the other.
fn lag(later: u64, earlier: u64) -> i64 {
    later.cast_signed() - earlier.cast_signed()
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_after_sab_revoke_nothing_starts_by_productions_own_log() {
    let rounds = 2 * KINDS.len();
    let world = World::new(rounds * SERVICES, rounds + 1).await;
    let operator = world.operator().await;
    // Until then whoever the process before may have talked to is waited for.
    tokio::time::sleep(LEASE.saturating_sub(world.started.elapsed())).await;
    let mut latest = i64::MIN;
    for round in 0..rounds {
        let load = Load::start(&world, round).await;
        let revoked = revoke(&operator, load.what.clone()).await;
        let acknowledged = now().millis();
        let [ghost, broker] = ["seb-ghost", "seb"].map(|who| {
            let mut found = revoked.brokers.iter().filter(|it| it.broker == id(who).to_string());
            (found.next().unwrap_or_else(|| panic!("{who} is missing: {revoked:?}")), found.count())
        });
        // The broker has acknowledged. The one that never connected could not hold a lease any more, once a lease has passed
        // since the authority began: nobody waits for it.
        assert!(!ghost.0.acknowledged && ghost.0.after_ms == 0, "{revoked:?}");
        assert!(broker.0.acknowledged && broker.1 == 0, "{revoked:?}");
        // And they go on asking.
        tokio::time::sleep(Duration::from_millis(150)).await;
        let expected = load.reason;
        let (asked, services) = load.end().await;
        assert_nothing_starts(&asked, acknowledged, expected);
        let late = lag(last_change(&world, &services), acknowledged);
        println!("{expected}: acknowledged after {} ms; the last change {late} ms after that", broker.0.after_ms);
        latest = latest.max(late);
    }
    assert!(latest < ON_ITS_WAY, "{latest} ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_a_broker_that_was_stopped_starts_nothing_when_it_goes_on() {
    let world = World::new(3 * KINDS.len() * SERVICES, 3 * KINDS.len() + 1).await;
    for round in [1, 4, 3, 0] {
        // Not the same services again.
        let load = Load::start(&world, round + KINDS.len()).await;
        world.broker.signal("-STOP");
        let began = seb::clock::instant();
        let words: Vec<String> = match &load.what {
            What::Certificate(digest) => vec!["--certificate".into(), digest.clone()],
            What::Holder(holder) => vec!["--holder".into(), holder.clone()],
            What::Contract(digest) => vec!["--contract".into(), digest.clone()],
            What::Target(target) => vec!["--target".into(), target.clone()],
            What::Everything(_) => vec!["--everything".into()],
        };
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let revoked = world.revoke_by_command(&words).await;
        let (acknowledged, waited) = (now().millis(), began.elapsed());
        let brokers = revoked["brokers"].as_array().unwrap();
        let stopped = brokers.iter().find(|it| it["broker"] == id("seb").to_string()).unwrap();
        assert_eq!(stopped["acknowledged"], false, "{revoked}");
        assert!(waited >= LEASE - Duration::from_millis(50), "{waited:?}: its lease cannot have run out");
        world.broker.signal("-CONT");
        // It hears of the revocation before it executes anything again: the others, which are not covered, do so.
        let expected = load.reason;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let probe = &load.covered[0];
        let heard = async {
            loop {
                match probe.agent.execute(&probe.proposal, 1_000_000 + now().millis()).await {
                    Err(status) if reason(&status) == expected => return,
                    // It has not been heard of the authority since.
                    Err(status) => assert!(
                        ["epoch_stale", "unavailable", "busy", "clock_skew"].contains(&reason(&status).as_str()),
                        "{status:?}"
                    ),
                    Ok(execution) => panic!("{execution:?}"),
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, heard).await.unwrap();
        let (asked, services) = load.end().await;
        let late = lag(last_change(&world, &services), acknowledged);
        println!(
            "{expected}: the lease ran out after {} ms; the last change {late} ms after that",
            stopped["after_ms"]
        );
        assert!(late <= 0, "something started {late} ms after the acknowledgement");
        let after = asked.iter().filter(|asked| asked.sent > acknowledged && asked.end.is_ok()).count();
        assert_eq!(after, 0);
    }
}

/// The leaf that signs the authority's epoch statements now.
async fn epoch_signer(channel: &Channel) -> Vec<u8> {
    let (acknowledge, acknowledgements) = tokio::sync::mpsc::channel(1);
    acknowledge.send(EpochAcknowledgement::default()).await.unwrap();
    let mut client = EpochServiceClient::new(channel.clone());
    let answer = client.stream_epochs(ReceiverStream::new(acknowledgements)).await.unwrap();
    let signed = answer.into_inner().message().await.unwrap().unwrap();
    signed.chain[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authoritys_key_is_exchanged_under_load_and_nobody_notices() {
    let world = Arc::new(World::new(6, 1).await);
    let until = Timestamp::from_seconds(now().seconds() + 1800).unwrap();
    let agent = world.agent("one").await;
    let ghost = world.channel("seb-ghost", "sab", world.authority_address()).await;
    let exchange = async |services: [&str; 2], how: &dyn Fn()| {
        let before = agent.propose(services[0], "t0", until).await;
        let leaf = before.chain[0].clone();
        assert_eq!(epoch_signer(&ghost).await, leaf);
        let worker = Worker::start(&agent, services[0], before);
        worker.more(2).await;
        let ((), unready) = readiness_during(&world, async {
            how();
            let exchanged = async {
                while epoch_signer(&ghost).await == leaf {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(PATIENCE, exchanged).await.expect("the statements are signed with the new key");
            worker.more(3).await;
            let after = agent.propose(services[1], "t0", until).await;
            assert_ne!(after.chain[0], leaf);
            assert_eq!(after.chain[0], epoch_signer(&ghost).await);
            agent.execute(&after, 1).await.unwrap();
            worker.more(3).await;
        })
        .await;
        assert_eq!(unready, Vec::<String>::new());
        let asked = worker.stop().await;
        assert!(asked.iter().all(|asked| asked.end.is_ok()), "{asked:?}");
    };
    // Another key under the same CA, each file put in its place by renaming.
    let authority = world.path("authority");
    exchange(["s0", "s1"], &|| {
        let new = world.path("authority-new");
        let grant = Grant::new(id("sab"), new.clone(), Duration::from_secs(7200), false);
        world.domain.issue(grant, now()).unwrap();
        for file in ["key.pem", "svid.pem"] {
            std::fs::rename(new.join(file), authority.join(file)).unwrap();
            // For whoever looks in between: key and certificate are not each other's.
            std::thread::sleep(Duration::from_millis(1500));
        }
        std::fs::remove_dir_all(new).unwrap();
    })
    .await;
    // Another CA: brokers trust it first, then it signs, and the one before is trusted until nothing of it is left.
    let domain = &world.domain;
    domain.rotate(Rotation::Prepare, now()).unwrap();
    // The broker looks at its bundles within seconds.
    tokio::time::sleep(Duration::from_secs(6)).await;
    exchange(["s2", "s3"], &|| drop(domain.rotate(Rotation::Activate, now()).unwrap())).await;
}
