//! What goes wrong at the target, in the store and among those who ask, through the real server: nothing is done twice,
//! nothing is guessed, and what is said in the end is what the target's audit log says.

#[cfg(test)]
mod world;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use seb::clock::Clock;
    use seb::config::broker::BrokerConfig;
    use seb::proto::seb::v1::Execution;
    use seb::proto::seb::v1::execution::State;
    use seb::runtime;
    use serde_json::json;
    use sqlx::{Connection, SqliteConnection};
    use tonic::Code;

    use crate::world::World;
    use crate::world::broker::{Settings, execute, reason};
    use crate::world::{PATIENCE, id, value};

    /// What the caller is told at first, what it is in the end, and how often it was applied.
    type Expected = (&'static [State], &'static [State], usize);

    const SUCCEEDED: &[State] = &[State::Succeeded];
    const UNKNOWN: &[State] = &[State::Unknown];
    const APPLIED: &[State] = &[State::ReconciledApplied];
    const NOT_APPLIED: &[State] = &[State::ReconciledNotApplied];

    #[tokio::test(flavor = "multi_thread")]
    async fn i6_whatever_the_target_does_is_settled_by_evidence() {
        let world = World::new().await;
        let broker = world.broker(&Settings::default()).await;
        let faults: [(serde_json::Value, Expected); 11] = [
            (json!({ "fault": "none" }), (SUCCEEDED, SUCCEEDED, 1)),
            (json!({ "fault": "drop_before" }), (UNKNOWN, NOT_APPLIED, 0)),
            (json!({ "fault": "drop_after" }), (UNKNOWN, APPLIED, 1)),
            (json!({ "fault": "error_before" }), (UNKNOWN, NOT_APPLIED, 0)),
            (json!({ "fault": "error_after" }), (UNKNOWN, APPLIED, 1)),
            (json!({ "fault": "half_close" }), (UNKNOWN, APPLIED, 1)),
            (json!({ "fault": "lie_version" }), (UNKNOWN, APPLIED, 1)),
            (json!({ "fault": "duplicate" }), (SUCCEEDED, SUCCEEDED, 1)),
            (json!({ "fault": "stall_before" }), (UNKNOWN, NOT_APPLIED, 0)),
            (json!({ "fault": "stall_after" }), (UNKNOWN, APPLIED, 1)),
            // It comes after the deadline; the answer, if it is not too late as well, says so.
            (
                json!({ "fault": "delay", "milliseconds": 3300 }),
                (&[State::Unknown, State::Rejected], &[State::ReconciledNotApplied, State::Rejected], 0),
            ),
        ];
        let mut done: Vec<(String, Execution, Expected)> = Vec::new();
        for (index, (fault, expected)) in faults.into_iter().enumerate() {
            let certificate = world.scale(&format!("service-{index}")).await.set("/deadline_seconds", json!(3));
            let ask = world.ask(&certificate, 20);
            world.production.fault(fault.clone()).await;
            let answer = broker.clients.execute(&ask).await.unwrap();
            assert!(expected.0.contains(&answer.state()), "{fault}: {answer:?}");
            // Asked again it is the same execution, and nothing new is done.
            let again = broker.clients.execute(&ask).await.unwrap();
            assert!(again.repeated && again.mutation_id == answer.mutation_id, "{fault}: {again:?}");
            done.push((fault.to_string(), answer, expected));
        }
        for (fault, answer, (_, settled, applied)) in done {
            let end = broker.clients.settled(&answer.mutation_id).await;
            assert!(settled.contains(&end.state()), "{fault}: {end:?}");
            // Settled or direct, it says what it is about, and how it came to its end.
            assert_eq!((end.target.as_str(), end.grade.as_str()), ("prod", "atomic"), "{fault}: {end:?}");
            assert!(end.resource.starts_with("services/service-") && !end.detail.is_empty(), "{fault}: {end:?}");
            assert!(end.call_digest.starts_with("sha256:") && end.settled_at.is_some(), "{fault}: {end:?}");
            assert_eq!(end.version.is_empty(), applied == 0, "{fault}: {end:?}");
            let outcome = &broker.clients.log(end.outcome_record - 1).await[0];
            let decision = &broker.clients.log(end.decision_record - 1).await[0];
            assert_eq!(outcome.about.resource, decision.about.resource, "{fault}");
            assert_eq!(outcome.about.resource.as_deref(), Some(end.resource.as_str()), "{fault}");
            let times = world.production.applied();
            let times = times.iter().filter(|line| line["mutation_id"] == answer.mutation_id.as_str()).count();
            assert_eq!(times, applied, "{fault}");
        }
        broker.stop().await;
        let said = world.verified().await;
        assert!(said.contains("open       0 executions"), "{said}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn drift_that_nobody_read_is_rejected_by_the_call_itself() {
        let world = World::new().await;
        let broker = world.broker(&Settings { read_before: false, ..Settings::default() }).await;
        let certificate = world.scale("checkout").await;
        world.production.drift("checkout", &json!({ "replicas": 7 })).await;
        let answer = broker.clients.execute(&world.ask(&certificate, 20)).await.unwrap();
        assert_eq!(answer.state(), State::Rejected, "{answer:?}");
        assert!(answer.detail.starts_with("precondition"), "{answer:?}");
        assert_eq!(world.production.live("checkout").await["object"]["replicas"], 7);
        assert!(world.production.applied().is_empty());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn i3_parallel_requests_under_one_certificate_are_one_execution() {
        let world = World::new().await;
        let broker = world.broker(&Settings::default()).await;
        let ask = world.ask(&world.scale("alike").await, 20);
        world.production.fault(json!({ "fault": "delay", "milliseconds": 700 })).await;
        let alike = futures::future::join_all((0..24).map(|_| broker.clients.execute(&ask)));
        // Whoever else has the certificate neither learns of the execution nor spoils it, also while it runs.
        let stranger = futures::future::join_all((0..8).map(|_| execute(&broker.clients.other, &ask)));
        let (strangers, alike) = tokio::join!(stranger, alike);
        for status in strangers {
            assert_eq!(reason(&status.unwrap_err()), "wrong_holder");
        }
        let alike: Vec<_> = alike.into_iter().map(Result::unwrap).collect();
        assert!(alike.iter().all(|answer| answer.state() == State::Succeeded), "{alike:?}");
        assert!(alike.iter().all(|answer| answer.mutation_id == alike[0].mutation_id));
        assert_eq!(alike.iter().filter(|answer| !answer.repeated).count(), 1);
        assert_eq!(world.production.applied().len(), 1);

        let mut ask = world.ask(&world.scale("unlike").await, 20);
        let unlike = (4..28).map(|replicas| {
            ask.values = vec![value("/replicas", &replicas.to_string())];
            let (clients, ask) = (broker.clients.clone(), ask.clone());
            async move { clients.execute(&ask).await }
        });
        let unlike = futures::future::join_all(unlike.collect::<Vec<_>>()).await;
        let (done, refused): (Vec<_>, Vec<_>) = unlike.into_iter().partition(Result::is_ok);
        assert_eq!(done.len(), 1);
        assert!(refused.iter().all(|status| reason(status.as_ref().unwrap_err()) == "replayed"), "{refused:?}");
        assert_eq!(world.production.applied().len(), 2);
        broker.stop().await;
        world.verified().await;
    }

    /// The one that observes first reads the object when the other has changed it already.
    #[tokio::test(flavor = "multi_thread")]
    async fn i3_a_use_that_is_consumed_while_facts_are_gathered_is_no_drift() {
        let world = World::new().await;
        let broker = world.broker(&Settings::default()).await;
        let mut ask = world.ask(&world.scale("checkout").await, 20);
        let asks = [4, 5].map(|replicas| {
            ask.values = vec![value("/replicas", &replicas.to_string())];
            ask.clone()
        });
        world.production.fault(json!({ "fault": "late_read" })).await;
        let answers = futures::future::join_all(asks.iter().map(|ask| broker.clients.execute(ask))).await;
        let (done, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!((done.len(), world.production.applied().len()), (1, 1));
        assert!(refused.iter().all(|status| reason(status.as_ref().unwrap_err()) == "replayed"), "{refused:?}");
        broker.stop().await;
        world.verified().await;
    }

    /// Each of them is decided by facts in which the others do not count yet; what counts is the claim.
    #[tokio::test(flavor = "multi_thread")]
    async fn i10_parallel_requests_do_not_exceed_a_rate() {
        let rates = [
            (Settings { agent_rate: 3, ..Settings::default() }, "ceiling_rate_agent"),
            (Settings { authority_rate: 3, ..Settings::default() }, "ceiling_rate_authority"),
        ];
        for (settings, expected) in rates {
            let world = World::new().await;
            let broker = world.broker(&settings).await;
            let mut asks = Vec::new();
            for number in 0..16 {
                asks.push(world.ask(&world.scale(&format!("service-{number}")).await, 20));
            }
            let answers = futures::future::join_all(asks.iter().map(|ask| broker.clients.execute(ask))).await;
            let (done, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
            assert_eq!((done.len(), world.production.applied().len()), (3, 3), "{expected}");
            assert!(refused.iter().all(|status| reason(status.as_ref().unwrap_err()) == expected), "{refused:?}");
            broker.stop().await;
            world.verified().await;
        }
    }

    /// The broker tells requests that run together apart by the caller's key; the store knows the use better.
    #[tokio::test(flavor = "multi_thread")]
    async fn i3_the_same_request_by_a_renewed_svid_is_the_same_execution() {
        let world = World::new().await;
        let broker = world.broker(&Settings::default()).await;
        for number in 0..4 {
            let ask = world.ask(&world.scale(&format!("service-{number}")).await, 20);
            let (agent, renewed) = (&broker.clients.agent, &broker.clients.renewed);
            let (one, two) = tokio::join!(execute(agent, &ask), execute(renewed, &ask));
            let (one, two) = (one.unwrap(), two.unwrap());
            for answer in [&one, &two] {
                assert!([State::Running, State::Succeeded].contains(&answer.state()), "{answer:?}");
            }
            assert!(one.repeated != two.repeated && one.mutation_id == two.mutation_id, "{one:?} {two:?}");
            broker.clients.settled(&one.mutation_id).await;
            // Who only has the certificate is not told what came of it, either.
            let stranger = execute(&broker.clients.other, &ask).await.unwrap_err();
            assert_eq!(reason(&stranger), "wrong_holder");
        }
        assert_eq!(world.production.applied().len(), 4);
        broker.stop().await;
        world.verified().await;
    }

    /// Requests that lose the claim of a use leave while the one that won it goes on: the reconciler, which looks for
    /// executions that nobody is at, keeps away from it all the same.
    #[tokio::test(flavor = "multi_thread")]
    async fn i6_an_execution_is_not_settled_while_it_runs() {
        let world = World::new().await;
        let broker = world.broker(&Settings::default()).await;
        let mut ask = world.ask(&world.scale("checkout").await.set("/deadline_seconds", json!(3)), 20);
        // It takes effect at once, and is answered never: evidence would settle it at once, too.
        world.production.fault(json!({ "fault": "stall_after" })).await;
        let unlike = (4..28).map(|replicas| {
            ask.values = vec![value("/replicas", &replicas.to_string())];
            let (clients, ask) = (broker.clients.clone(), ask.clone());
            async move { clients.execute(&ask).await }
        });
        let unlike = futures::future::join_all(unlike.collect::<Vec<_>>()).await;
        let done: Vec<_> = unlike.into_iter().flatten().collect();
        assert_eq!(done.len(), 1);
        let end = broker.clients.settled(&done[0].mutation_id).await;
        assert_eq!(end.state(), State::ReconciledApplied);
        let log = broker.clients.log(0).await;
        let states: Vec<_> = log.iter().filter_map(|statement| statement.about.state).collect();
        use seb::execution::State as Recorded;
        assert_eq!(states, [Recorded::Unknown, Recorded::ReconciledApplied], "it was settled while it ran");
        broker.stop().await;
        world.verified().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_execution_goes_on_when_its_caller_has_gone() {
        let world = World::new().await;
        let broker = world.broker(&Settings::default()).await;
        let ask = world.ask(&world.scale("checkout").await, 20);
        world.production.fault(json!({ "fault": "delay", "milliseconds": 1500 })).await;
        let mut hasty = tonic::Request::new(ask.clone());
        hasty.set_timeout(Duration::from_millis(700));
        let status = broker.clients.agent.clone().execute(hasty).await.unwrap_err();
        assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
        let answer = broker.clients.execute(&ask).await.unwrap();
        assert_eq!((answer.state(), answer.repeated), (State::Succeeded, true));
        assert_eq!(world.production.applied().len(), 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_end_of_the_broker_loses_no_outcome() {
        let world = World::new().await;
        let broker = world.broker(&Settings::default()).await;
        let ask = world.ask(&world.scale("checkout").await, 20);
        world.production.fault(json!({ "fault": "delay", "milliseconds": 4000 })).await;
        let clients = broker.clients.clone();
        let asked = tokio::spawn(async move { clients.execute(&ask).await });
        let decided = async {
            while broker.clients.decisions(0).await.is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, decided).await.unwrap();
        // It drains for 2 s, which the execution outlives.
        broker.stop().await;
        drop(asked.await.unwrap());
        assert_eq!(world.production.applied().len(), 1);
        let said = world.verified().await;
        assert!(said.contains("open       0 executions"), "{said}");
        let (_, listed) = world.records(&["list", "--kind", "outcome", "--output", "json"]).await;
        assert!(listed.contains("\"succeeded\""), "{listed}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn i1_a_store_that_cannot_write_executes_nothing_and_recovers() {
        let world = World::new().await;
        let broker = world.broker(&Settings::default()).await;
        let ask = world.ask(&world.scale("checkout").await, 20);
        let path = world.path("broker.db");
        let mut other = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
        sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
        let status = broker.clients.execute(&ask).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "unavailable"), "{status:?}");
        assert!(world.production.audit().is_empty());
        sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
        let answer = async {
            loop {
                match broker.clients.execute(&ask).await {
                    Ok(answer) => return answer,
                    Err(status) => {
                        assert!(matches!(reason(&status).as_str(), "unavailable" | "epoch_stale"), "{status:?}")
                    }
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let answer = tokio::time::timeout(PATIENCE, answer).await.expect("the store recovers");
        assert_eq!(answer.state(), State::Succeeded);
        assert_eq!(world.production.applied().len(), 1);
        broker.stop().await;
        world.verified().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn i3_two_brokers_never_share_a_store() {
        let world = World::new().await;
        let broker = world.broker(&Settings::default()).await;
        let config = BrokerConfig::load(&world.path("broker.toml")).unwrap();
        let second = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let never = std::future::pending();
            let started = |_| panic!("a second broker serves from the same store");
            runtime.block_on(runtime::broker(config, Clock::system(), never, started)).map_err(|it| format!("{it:#}"))
        });
        let refused = tokio::time::timeout(PATIENCE, second).await.unwrap().unwrap().unwrap_err();
        assert!(refused.contains("cannot open the store"), "{refused}");
        let ask = world.ask(&world.scale("checkout").await, 20);
        assert_eq!(broker.clients.execute(&ask).await.unwrap().state(), State::Succeeded);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn i2_nothing_starts_once_a_revocation_is_acknowledged() {
        let world = World::new().await;
        let broker = world.broker(&Settings::default()).await;
        let mut asks = Vec::new();
        for number in 0..40 {
            asks.push(world.ask(&world.scale(&format!("service-{number}")).await, 20));
        }
        // Half of them race the revocation; the other half is asked for after its acknowledgement.
        let late = asks.split_off(20);
        let racing = futures::future::join_all(asks.iter().map(|ask| broker.clients.execute(ask)));
        let revoking = world.epochs.say(|says| says.revoked.holders.insert(id("agent/one")));
        let (raced, ()) = tokio::join!(racing, revoking);
        for answer in raced {
            match answer {
                Ok(answer) => assert!(matches!(answer.state(), State::Succeeded | State::Aborted), "{answer:?}"),
                Err(status) => assert_eq!(reason(&status), "revoked_holder"),
            }
        }
        let done = world.production.applied().len();
        for ask in late {
            assert_eq!(reason(&broker.clients.execute(&ask).await.unwrap_err()), "revoked_holder");
        }
        assert_eq!(world.production.applied().len(), done);
        broker.stop().await;
        let said = world.verified().await;
        assert!(said.contains("open       0 executions"), "{said}");
    }
}
