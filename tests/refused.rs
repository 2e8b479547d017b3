//! What must not be executed is not, through the real server: each refusal with its public reason, the exact reason in the
//! record, and nothing done at the target. And what may be is executed once.

#[cfg(test)]
#[path = "support/vectors.rs"]
mod vectors;
#[cfg(test)]
mod world;

#[cfg(test)]
mod tests {
    use seb::decision::MutationId;
    use seb::proto::seb::v1::execution::State;

    use crate::world::World;
    use crate::world::broker::{Settings, reason};

    #[tokio::test(flavor = "multi_thread")]
    async fn i1_one_certified_mutation_is_executed_and_its_records_verify() {
        let world = World::new().await;
        let broker = world.broker(&Settings::default()).await;
        let ask = world.ask(&world.scale("checkout").await, 20);
        let done = broker.clients.execute(&ask).await.unwrap();
        assert_eq!(done.state(), State::Succeeded, "{done:?}");
        assert_eq!(done.version, "2");
        let live = world.production.live("checkout").await;
        assert_eq!((&live["object"]["replicas"], &live["version"]), (&20.into(), &"2".into()));

        // Who did it is whom the decision record named beforehand.
        let applied = world.production.applied();
        assert_eq!(applied.len(), 1);
        let decision = broker.clients.decisions(0).await.pop().unwrap();
        assert_eq!(decision.link.number, done.decision_record);
        let body: serde_json::Value = serde_json::from_str(&decision.body.to_canonical()).unwrap();
        assert_eq!(applied[0]["identity"], body["identity"]["spiffe_id"], "{body}");
        assert_eq!(applied[0]["serial"], body["identity"]["serial"]);
        assert_eq!(applied[0]["mutation_id"], done.mutation_id.as_str());
        assert_eq!(applied[0]["call"], done.call_digest.as_str());
        done.mutation_id.parse::<MutationId>().unwrap();

        // The same again: the first answer. Another request: replayed. Another agent learns nothing.
        let again = broker.clients.execute(&ask).await.unwrap();
        assert!(again.repeated && again.mutation_id == done.mutation_id && again.state() == State::Succeeded);
        let status = crate::world::broker::execute(&broker.clients.other, &ask).await.unwrap_err();
        assert_eq!(reason(&status), "wrong_holder");
        assert_eq!(world.production.applied().len(), 1);
        broker.stop().await;
        let said = world.verified().await;
        assert!(said.contains("open       0 executions"), "{said}");
    }
}
