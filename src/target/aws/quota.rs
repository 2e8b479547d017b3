//! How often AWS gives a session: `CreateSession` is answered 10 times in a second for account and region, and STS more often.
//!
//! Who is over the quota is throttled by AWS whoever asks. So the broker keeps to it by itself, before a use is consumed:
//! executions wait in a queue that is bounded, agents are served in rotation, and whoever finds no room is told so, having
//! lost nothing. AWS counts all callers of the account: where others use it too, it throttles all the same, and the call is
//! repeated until its deadline.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use spiffe::SpiffeId;
use tokio::time::{Instant, sleep_until};

use crate::clock;
use crate::fair::{Bounds, NoRoom, Turns};
use crate::target::{Admitted, Busy};

/// For how long AWS counts calls, and a little more: they do not take the same time to get there.
const WINDOW: Duration = Duration::from_millis(1050);

/// For how many seconds' worth of sessions executions may wait.
const SECONDS: usize = 10;

/// A bound on how often something is begun, and the queue before it.
#[derive(Debug)]
pub struct Quota {
    per_second: usize,
    window: Duration,
    /// One at a time waits for the window; the others wait for their turn.
    turns: Turns,
    recent: Mutex<VecDeque<Instant>>,
}

impl Quota {
    /// At most this often in any second; at least once.
    pub fn new(per_second: u32) -> Self {
        let per_second = usize::try_from(per_second).unwrap_or(usize::MAX).clamp(1, 10_000);
        let queue = per_second.saturating_mul(SECONDS);
        // One agent leaves half of the room to the others.
        let bounds = Bounds { running: 1, running_per_peer: 1, queue, queue_per_peer: queue.div_ceil(2) };
        Self { per_second, window: WINDOW, turns: Turns::new(bounds), recent: Mutex::default() }
    }

    /// Waits until something may be begun for `agent`, which then counts.
    ///
    /// # Errors
    /// If there is no room to wait.
    pub async fn admit(&self, agent: &SpiffeId) -> Result<Admitted, Busy> {
        let begun = clock::instant();
        let _turn = self.turns.take(agent).await.map_err(|none| {
            let who = match none {
                NoRoom::Peer => "of this agent",
                NoRoom::All | NoRoom::Ended => "of all agents",
            };
            Busy(format!("as many executions {who} as may wait for a session of AWS already do"))
        })?;
        while let Err(until) = self.take(clock::instant()) {
            sleep_until(until).await;
        }
        // Turns that were given at once, and a window with room, take no time that could be noticed.
        let waited = clock::instant().duration_since(begun);
        Ok(if waited < NOTICED { Admitted::AtOnce } else { Admitted::Later })
    }

    /// Counts one; or when there is room for it.
    fn take(&self, now: Instant) -> Result<(), Instant> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        while recent.front().is_some_and(|then| now.duration_since(*then) >= self.window) {
            recent.pop_front();
        }
        match recent.front() {
            Some(first) if recent.len() >= self.per_second => Err(*first + self.window),
            _ => {
                recent.push_back(now);
                Ok(())
            }
        }
    }
}

/// What was observed this long ago is looked at again.
const NOTICED: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use futures::future::join_all;
    use proptest::prelude::*;

    use super::*;

    fn agent(name: &str) -> SpiffeId {
        format!("spiffe://example.org/agent/{name}").parse().unwrap()
    }

    fn quick(per_second: u32) -> Quota {
        Quota { window: Duration::from_millis(20), ..Quota::new(per_second) }
    }

    proptest! {
        /// Whenever it is asked: never more than the quota in any window, and never less where somebody waits as long as
        /// he is told.
        #[test]
        fn the_quota_is_kept_and_used(waits in proptest::collection::vec(0..700_u64, 1..60), per_second in 1..5_u32) {
            let quota = Quota::new(per_second);
            let (mut now, mut begun): (_, Vec<Instant>) = (clock::instant(), Vec::new());
            for wait in waits {
                now += Duration::from_millis(wait);
                if let Err(until) = quota.take(now) {
                    prop_assert!(until > now && until <= now + WINDOW);
                    now = until;
                    prop_assert_eq!(quota.take(now), Ok(()));
                }
                begun.push(now);
            }
            let apart = usize::try_from(per_second).unwrap();
            for (earlier, later) in begun.iter().zip(begun.iter().skip(apart)) {
                prop_assert!(*later - *earlier >= WINDOW);
            }
        }
    }

    #[tokio::test]
    async fn agents_are_served_in_rotation() {
        let quota = quick(4);
        let (greedy, modest) = (agent("greedy"), agent("modest"));
        let order = RefCell::new(Vec::new());
        let ask = async |who: &SpiffeId| {
            quota.admit(who).await.unwrap();
            order.borrow_mut().push(who.clone());
        };
        join_all((0..20).map(|_| ask(&greedy)).chain((0..4).map(|_| ask(&modest)))).await;
        let order = order.into_inner();
        let last = order.iter().rposition(|who| *who == modest).unwrap();
        // Four at once, one that is at the window, and then one of each.
        assert!(last <= 4 + 1 + 2 * 4, "{order:?}");
        assert_eq!(order.len(), 24);
    }

    #[tokio::test]
    async fn who_finds_no_room_is_told_at_once_and_the_room_is_shared() {
        let quota = quick(1);
        let (greedy, modest) = (agent("greedy"), agent("modest"));
        let asked = (0..20).map(|_| quota.admit(&greedy)).chain((0..3).map(|_| quota.admit(&modest)));
        let answers = join_all(asked).await;
        let (greedy, modest) = answers.split_at(20);
        // One at once, one that is at the window, and five that wait.
        let busy: Vec<_> = greedy.iter().filter_map(|answer| answer.as_ref().err()).collect();
        assert_eq!(busy.len(), 13, "{answers:?}");
        assert!(busy[0].to_string().contains("of this agent"), "{}", busy[0]);
        assert!(modest.iter().all(|answer| *answer == Ok(Admitted::Later)), "{answers:?}");
    }

    #[tokio::test]
    async fn whoever_gives_up_takes_nothing() {
        let quota = Quota::new(1);
        let agent = agent("a");
        assert_eq!(quota.admit(&agent).await, Ok(Admitted::AtOnce));
        for _ in 0..20 {
            let given_up = tokio::time::timeout(Duration::from_millis(1), quota.admit(&agent)).await;
            assert!(given_up.is_err());
        }
        assert_eq!(quota.admit(&agent).await, Ok(Admitted::Later));
        assert_eq!(quota.turns.load(), (0, 0));
    }
}
