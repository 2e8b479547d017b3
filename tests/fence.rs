//! I2 under every interleaving: the fence, compiled with a lock that a model checker schedules.

#[cfg(test)]
use seb::{decision, epoch, reason, timestamp};

/// The same source as in the library, with the lock of [`sync`] below.
#[cfg(test)]
#[path = "../src/fence.rs"]
mod fence;

#[cfg(test)]
mod sync {
    #[derive(Debug)]
    pub(crate) struct RwLock<T>(loom::sync::RwLock<T>);

    impl<T: Default> Default for RwLock<T> {
        fn default() -> Self {
            Self(loom::sync::RwLock::new(T::default()))
        }
    }

    impl<T> RwLock<T> {
        pub(crate) fn read(&self) -> loom::sync::RwLockReadGuard<'_, T> {
            self.0.read().unwrap()
        }

        pub(crate) fn write(&self) -> loom::sync::RwLockWriteGuard<'_, T> {
            self.0.write().unwrap()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use loom::sync::atomic::AtomicBool;
    use seb::digest::Digest;
    use seb::epoch::{EpochParts, EpochStatement, FreshnessBounds, Revocable, Revoked};
    use seb::reason::Reason;
    use seb::timestamp::Timestamp;
    use spiffe::SpiffeId;

    use crate::fence::Fence;

    const BOUNDS: FreshnessBounds = FreshnessBounds { staleness_ms: 1000, max_clock_skew_ms: 2000 };

    fn now() -> Timestamp {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    fn revocable() -> Revocable {
        Revocable {
            authority: SpiffeId::new("spiffe://example.org/sab").unwrap(),
            certificate: Digest::of(b"certificate"),
            holder: SpiffeId::new("spiffe://example.org/agent").unwrap(),
            contract: Digest::of(b"contract"),
            target: Some("sandbox".parse().unwrap()),
            policy_epoch: 1,
            revocation_epoch: 1,
        }
    }

    fn statement(sequence: u64, revoked: bool) -> Arc<EpochStatement> {
        let certificates = revoked.then(|| Digest::of(b"certificate")).into_iter().collect();
        Arc::new(
            EpochStatement::new(EpochParts {
                authority: revocable().authority,
                sequence,
                policy_epoch: 1,
                revocation_epoch: 1,
                revoked: Revoked { certificates, ..Revoked::default() },
                issued_at: now(),
                next_update: "2026-11-21T12:00:10Z".parse().unwrap(),
            })
            .unwrap(),
        )
    }

    /// Three calls pass the fence while a revocation is applied, in every order that three preemptions can make of it.
    /// Whatever starts has started before `apply` returned.
    #[test]
    fn i2_nothing_covered_starts_after_the_revocation_is_in_force() {
        static SCHEDULES: AtomicUsize = AtomicUsize::new(0);
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        static STOPPED: AtomicUsize = AtomicUsize::new(0);
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            SCHEDULES.fetch_add(1, Ordering::Relaxed);
            let fence = Arc::new(Fence::default());
            fence.apply(statement(1, false), now(), 0).unwrap();
            let acknowledged = Arc::new(AtomicBool::new(false));
            let calls = [0, 1, 2].map(|_| {
                let (fence, acknowledged) = (Arc::clone(&fence), Arc::clone(&acknowledged));
                loom::thread::spawn(move || {
                    let passed = fence.pass(&revocable(), now(), 0, BOUNDS, || {
                        loom::thread::yield_now();
                        assert!(!acknowledged.load(Ordering::SeqCst), "a call started after the acknowledgement");
                    });
                    match passed {
                        Ok(()) => STARTED.fetch_add(1, Ordering::Relaxed),
                        Err(denial) => {
                            assert_eq!(denial.reason, Reason::RevokedCertificate);
                            STOPPED.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                })
            });
            fence.apply(statement(2, true), now(), 0).unwrap();
            acknowledged.store(true, Ordering::SeqCst);
            assert!(fence.pass(&revocable(), now(), 0, BOUNDS, || ()).is_err());
            calls.into_iter().for_each(|call| call.join().unwrap());
        });
        let [schedules, started, stopped] = [&SCHEDULES, &STARTED, &STOPPED].map(|count| count.load(Ordering::Relaxed));
        println!("{schedules} interleavings: {started} calls started before the revocation, {stopped} were stopped");
        assert!(schedules > 1000 && started > 0 && stopped > 0, "{schedules} {started} {stopped}");
    }

    #[test]
    fn i2_knowledge_ages_and_a_repeated_statement_does_not_renew_it() {
        loom::model(|| {
            let fence = Fence::default();
            fence.apply(statement(1, false), now(), 5000).unwrap();
            fence.apply(statement(1, false), now(), 6000).unwrap();
            assert!(fence.pass(&revocable(), now(), 6000, BOUNDS, || ()).is_ok());
            let denial = fence.pass(&revocable(), now(), 6001, BOUNDS, || ()).unwrap_err();
            assert_eq!(denial.reason, Reason::EpochStale);
        });
    }

    /// A statement whose time is not the broker's may have been held back on the way, or speak of another time.
    #[test]
    fn i2_clocks_that_are_apart_deny_whoever_is_ahead() {
        loom::model(|| {
            for (millis, good) in
                [(0, true), (2000, true), (2001, false), (-2000, true), (-2001, false), (60_000, false)]
            {
                let fence = Fence::default();
                let received = Timestamp::from_millis(now().millis().checked_add_signed(millis).unwrap()).unwrap();
                fence.apply(statement(1, false), received, 0).unwrap();
                let passed = fence.pass(&revocable(), now(), 0, BOUNDS, || ());
                assert_eq!(passed.map_err(|denial| denial.reason), if good { Ok(()) } else { Err(Reason::ClockSkew) });
                assert_eq!(
                    fence.knowledge(&revocable().authority, 0).unwrap().skew_ms,
                    -i32::try_from(millis).unwrap()
                );
            }
        });
    }

    #[test]
    fn i9_what_was_known_before_a_restart_denies_until_the_authority_is_heard() {
        loom::model(|| {
            let fence = Fence::default();
            assert_eq!(fence.pass(&revocable(), now(), 0, BOUNDS, || ()).unwrap_err().reason, Reason::EpochUnknown);
            fence.restore(statement(7, false));
            assert_eq!(fence.pass(&revocable(), now(), 0, BOUNDS, || ()).unwrap_err().reason, Reason::EpochStale);
            fence.apply(statement(6, false), now(), 0).unwrap_err();
            fence.apply(statement(8, false), now(), 0).unwrap();
            assert!(fence.pass(&revocable(), now(), 0, BOUNDS, || ()).is_ok());
            assert_eq!(fence.knowledge(&revocable().authority, 9).map(|known| known.age_ms), Some(9));
        });
    }
}
