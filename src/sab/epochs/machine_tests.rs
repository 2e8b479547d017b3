use proptest::prelude::*;

use super::*;
use crate::epoch::Succession;

const STALENESS: u64 = 1000;
const SKEW: u64 = 300;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn id(text: &str) -> SpiffeId {
    SpiffeId::new(text).unwrap()
}

fn broker(number: usize) -> SpiffeId {
    id(&format!("spiffe://example.org/broker/{number}"))
}

fn wall(moment: u64) -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000 + moment).unwrap()
}

fn timing() -> Timing {
    Timing { heartbeat: ms(250), staleness: ms(STALENESS), max_clock_skew: ms(SKEW) }
}

fn machine(durable: Durable) -> Machine {
    Machine::new(id("spiffe://example.org/sab"), timing(), (0..2).map(broker).collect(), durable)
}

fn issue(machine: &mut Machine, moment: u64, now: Timestamp) -> EpochStatement {
    match machine.issue(ms(moment), now) {
        Err(IssueError::Reserve) => {
            let durable = machine.reserve(now);
            machine.commit(durable);
            machine.issue(ms(moment), now).unwrap()
        }
        issued => issued.unwrap(),
    }
}

fn revoke(machine: &mut Machine, revocation: &Revocation) {
    let durable = machine.durable().with_revocation(revocation).unwrap();
    machine.commit(durable);
}

#[test]
fn i2_nothing_is_issued_that_is_not_durable() {
    let mut machine = machine(Durable::beginning(wall(0)));
    assert_eq!(machine.issue(ms(0), wall(0)), Err(IssueError::Reserve));
    let durable = machine.reserve(wall(0));
    machine.commit(durable);
    for expected in 1..=RESERVE {
        assert_eq!(machine.issue(ms(0), wall(0)).unwrap().parts().sequence, expected);
    }
    assert_eq!(machine.issue(ms(0), wall(0)), Err(IssueError::Reserve));
}

#[test]
fn i2_after_a_restart_statements_still_succeed() {
    let mut before = machine(Durable::beginning(wall(0)));
    revoke(&mut before, &Revocation::Holder(id("spiffe://example.org/agent/x")));
    let last = issue(&mut before, 9000, wall(9000));
    let stored = Durable::from_json(&before.durable().to_json().unwrap()).unwrap();
    assert_eq!(&stored, before.durable());
    // The clock has gone back as well.
    let mut after = machine(stored);
    let next = issue(&mut after, 0, wall(1000));
    assert_eq!(next.succeeds(Some(&last)), Ok(Succession::Newer));
}

#[test]
fn i2_policies_step_the_epoch_only_when_they_change() {
    let durable = Durable::beginning(wall(0));
    let [a, b] = [Digest::of(b"a"), Digest::of(b"b")];
    let first = durable.with_policies(a).unwrap();
    assert_eq!((first.policy_epoch, first.with_policies(a).unwrap().policy_epoch), (1, 1));
    let second = first.with_policies(b).unwrap();
    // Back to the policies before: never back to their epoch.
    assert_eq!((second.policy_epoch, second.with_policies(a).unwrap().policy_epoch), (2, 3));
}

#[test]
fn i2_everything_steps_the_epoch_and_keeps_who_may_get_no_new_certificate() {
    let durable = Durable::beginning(wall(0))
        .with_revocation(&Revocation::Certificate(Digest::of(b"c")))
        .and_then(|durable| durable.with_revocation(&Revocation::Holder(id("spiffe://example.org/agent/x"))))
        .and_then(|durable| durable.with_revocation(&Revocation::Everything))
        .unwrap();
    assert_eq!(durable.revocation_epoch, 1);
    assert!(durable.revoked.certificates.is_empty());
    assert_eq!(durable.revoked.holders.len(), 1);
}

#[test]
fn full_lists_refuse_and_say_what_helps() {
    let mut durable = Durable::beginning(wall(0));
    durable.revoked.certificates = (0..MAX_REVOKED).map(|n| Digest::of(&n.to_be_bytes())).collect();
    assert_eq!(durable.with_revocation(&Revocation::Contract(Digest::of(b"x"))), Err(RevokeError::Full));
    assert!(durable.with_revocation(&Revocation::Everything).is_ok());
}

#[test]
fn i2_a_wait_ends_with_the_acknowledgements_or_with_the_lease() {
    let lease = u64::try_from(timing().lease().as_millis()).unwrap();
    let mut machine = machine(Durable::beginning(wall(0)));
    let [a, b] = [machine.opened(broker(0)), machine.opened(broker(1))];
    issue(&mut machine, 5000, wall(5000));
    revoke(&mut machine, &Revocation::Everything);
    let sequence = issue(&mut machine, 5000, wall(5000)).parts().sequence;
    let wait = machine.wait(ms(5000));
    assert_eq!(machine.acknowledged(a, sequence + 1, ms(5001)), Err(NeverIssued(sequence + 1)));
    machine.acknowledged(a, sequence - 1, ms(5005)).unwrap();
    machine.acknowledged(a, sequence, ms(5010)).unwrap();
    assert_eq!(machine.finished(ms(5010)), []);
    machine.closed(b, ms(5020));
    assert_eq!(machine.finished(ms(5000 + lease - 1)), []);
    let report = vec![
        Acknowledgement { broker: broker(0), acknowledged: true, after: ms(10) },
        Acknowledgement { broker: broker(1), acknowledged: false, after: ms(lease) },
    ];
    assert_eq!(machine.finished(ms(5000 + lease)), [(wait, sequence, report)]);
}

#[test]
fn i2_brokers_of_the_process_before_are_waited_for() {
    let lease = u64::try_from(timing().lease().as_millis()).unwrap();
    let mut machine = machine(Durable::beginning(wall(0)));
    issue(&mut machine, 10, wall(10));
    machine.wait(ms(10));
    assert_eq!(machine.finished(ms(lease - 1)), []);
    let [(_, _, report)] = <[_; 1]>::try_from(machine.finished(ms(lease))).unwrap();
    assert_eq!(report.len(), 2);
    assert!(report.iter().all(|broker| !broker.acknowledged));
    // Later on, who is not connected knows nothing that counts.
    issue(&mut machine, lease + 1, wall(lease + 1));
    machine.wait(ms(lease + 1));
    assert_eq!(machine.finished(ms(lease + 1)).len(), 1);
}

#[test]
fn a_broker_that_never_connects_is_waited_for_during_one_lease_of_the_process_and_never_again() {
    let lease = u64::try_from(timing().lease().as_millis()).unwrap();
    let mut machine = machine(Durable::beginning(wall(0)));
    // One is there all the time, and acknowledges at once; the other is configured, and never comes.
    let stream = machine.opened(broker(0));
    for moment in (100..6 * lease).step_by(100) {
        revoke(&mut machine, &Revocation::Everything);
        let sequence = issue(&mut machine, moment, wall(moment)).parts().sequence;
        let wait = machine.wait(ms(moment));
        machine.acknowledged(stream, sequence, ms(moment)).unwrap();
        let over = machine.finished(ms(moment));
        if moment < lease {
            // It may know a statement of the process before.
            assert_eq!(over, []);
            assert_eq!(machine.next_moment(), ms(lease).min(ms(moment + 250)));
            machine.abandon(wait);
        } else {
            let report = vec![
                Acknowledgement { broker: broker(0), acknowledged: true, after: ms(0) },
                Acknowledgement { broker: broker(1), acknowledged: false, after: ms(0) },
            ];
            assert_eq!(over, [(wait, sequence, report)], "{moment}");
        }
    }
}

/// A replica of a broker: its clock, its stream, what is under way to it, and what it goes by.
#[derive(Debug, Default)]
struct Replica {
    name: usize,
    offset: i64,
    stream: Option<StreamId>,
    under_way: Vec<(u64, u64)>,
    knows: Option<(u64, u64)>,
    /// What is known from before a restart: it bounds what is taken, and nothing is done by it.
    durable: u64,
    acknowledgements: Vec<(StreamId, u64)>,
}

impl Replica {
    /// As `epoch.rs` has it: takes what is newer, and within the skew of its own clock.
    fn receives(&mut self, sequence: u64, issued: u64, moment: u64) {
        let clock = i64::try_from(moment).unwrap() + self.offset;
        let skew = (i64::try_from(issued).unwrap() - clock).unsigned_abs();
        let newest = self.knows.map_or(self.durable, |(known, _)| known);
        if skew <= SKEW && sequence > newest {
            self.knows = Some((sequence, moment));
            if let Some(stream) = self.stream {
                self.acknowledgements.push((stream, sequence));
            }
        }
    }

    fn restarts(&mut self) {
        self.durable = self.knows.map_or(self.durable, |(known, _)| known);
        (self.knows, self.stream) = (None, None);
        self.under_way.clear();
        self.acknowledgements.clear();
    }

    fn acts_by(&self, moment: u64) -> Option<u64> {
        self.knows.filter(|(_, received)| moment - received <= STALENESS).map(|(sequence, _)| sequence)
    }
}

#[derive(Debug, Clone)]
enum Event {
    Passes(u64),
    Connects(usize),
    Disconnects(usize),
    Receives(usize, usize),
    Acknowledges(usize, usize),
    Revokes,
    Restarts,
    BrokerRestarts(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => prop_oneof![0..20_u64, 0..400_u64, 500..2000_u64].prop_map(Event::Passes),
        2 => (0..4_usize).prop_map(Event::Connects),
        1 => (0..4_usize).prop_map(Event::Disconnects),
        6 => (0..4_usize, 0..6_usize).prop_map(|(replica, which)| Event::Receives(replica, which)),
        5 => (0..4_usize, 0..3_usize).prop_map(|(replica, which)| Event::Acknowledges(replica, which)),
        2 => Just(Event::Revokes),
        1 => Just(Event::Restarts),
        1 => (0..4_usize).prop_map(Event::BrokerRestarts),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever is delayed, lost, reordered or repeated, and whoever restarts: once a wait is over, no replica acts by an
    /// older statement, then or ever after.
    #[test]
    fn i2_once_revoke_returns_nobody_acts_by_older_knowledge(
        offsets in prop::array::uniform4(-300..=300_i64),
        events in prop::collection::vec(event(), 1..120),
    ) {
        let mut moment = 0;
        let mut started = 0;
        let mut machine = machine(Durable::beginning(wall(0)));
        let mut replicas: Vec<Replica> = offsets
            .into_iter()
            .enumerate()
            .map(|(index, offset)| Replica { name: index % 2, offset, ..Replica::default() })
            .collect();
        let mut revoked = 0;
        let mut open: BTreeMap<u64, u64> = BTreeMap::new();
        for event in events {
            let send = |machine: &mut Machine, replicas: &mut Vec<Replica>, moment: u64, started: u64| {
                let sequence = issue(machine, moment - started, wall(moment)).parts().sequence;
                for replica in replicas.iter_mut().filter(|replica| replica.stream.is_some()) {
                    replica.under_way.push((sequence, moment));
                }
            };
            match event {
                Event::Passes(millis) => {
                    moment += millis;
                    if machine.due() <= ms(moment - started) {
                        send(&mut machine, &mut replicas, moment, started);
                    }
                }
                Event::Connects(index) => {
                    let replica = &mut replicas[index];
                    if replica.stream.is_none() {
                        replica.stream = Some(machine.opened(broker(replica.name)));
                        send(&mut machine, &mut replicas, moment, started);
                    }
                }
                Event::Disconnects(index) => {
                    if let Some(stream) = replicas[index].stream.take() {
                        machine.closed(stream, ms(moment - started));
                    }
                }
                Event::Receives(index, which) => {
                    // Not removed: it may come again.
                    if let Some((sequence, issued)) = replicas[index].under_way.iter().rev().nth(which).copied() {
                        replicas[index].receives(sequence, issued, moment);
                    }
                }
                Event::Acknowledges(index, which) => {
                    if let Some((stream, sequence)) = replicas[index].acknowledgements.iter().rev().nth(which).copied() {
                        // An acknowledgement for the process before does not reach this one.
                        if replicas[index].stream == Some(stream) {
                            machine.acknowledged(stream, sequence, ms(moment - started)).unwrap();
                        }
                    }
                }
                Event::Revokes => {
                    revoke(&mut machine, &Revocation::Everything);
                    send(&mut machine, &mut replicas, moment, started);
                    open.insert(machine.wait(ms(moment - started)), moment);
                }
                Event::BrokerRestarts(index) => {
                    if let Some(stream) = replicas[index].stream {
                        machine.closed(stream, ms(moment - started));
                    }
                    replicas[index].restarts();
                }
                Event::Restarts => {
                    let durable = machine.durable().clone();
                    machine = self::machine(durable);
                    started = moment;
                    open.clear();
                    for replica in &mut replicas {
                        replica.stream = None;
                        replica.acknowledgements.clear();
                    }
                }
            }
            let mut over = machine.finished(ms(moment - started));
            for (wait, sequence, _) in over.drain(..) {
                revoked = revoked.max(sequence);
                open.remove(&wait);
            }
            // And nobody waits for longer than a lease, whoever never comes or never answers.
            let longest = u64::try_from(timing().lease().as_millis()).unwrap();
            prop_assert!(open.values().all(|since| moment < since + longest), "{open:?} at {moment}");
            for replica in &replicas {
                let acts_by = replica.acts_by(moment);
                prop_assert!(acts_by.is_none_or(|known| known >= revoked), "{replica:?} at {moment}, revoked {revoked}");
            }
        }
    }
}
