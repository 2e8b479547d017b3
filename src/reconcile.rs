//! Settles executions whose end is not recorded, from evidence at the target (I6).
//!
//! It takes no input: it reads from the store what is open, asks each target, and records what the evidence says. It is
//! idempotent, runs at the start, periodically and when it is nudged, and never calls a mutation. What an execution was
//! about is derived from its decision record alone ([`crate::record::replay`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};

use crate::broker::{Broker, Decided, Refused};
use crate::execution::{Outcome, settle};
use crate::record::{self, Statement};
use crate::store::{Execution, Store, StoreError};
use crate::telemetry::{Causes, log};

/// How many executions are settled at the same time.
const TOGETHER: usize = 16;

/// What one round did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Round {
    /// Executions that were settled.
    pub settled: usize,
    /// Executions that stay open: running here, or without evidence yet.
    pub open: usize,
}

/// One round over everything that is open. An execution that cannot be settled keeps no other one from it.
///
/// # Errors
/// If the store failed. What was settled before stays settled.
pub async fn round<S: Store>(broker: &Arc<Broker<S>>) -> Result<Round, Refused> {
    let mut round = Round::default();
    let mut after = 0;
    loop {
        let page = broker.store().open_executions(after).await?;
        let Some(last) = page.last() else { return Ok(round) };
        after = last.decision;
        // A target that does not answer holds up a few, and not all.
        let mut settling = stream::iter(page).map(|execution| attempt(broker, execution)).buffer_unordered(TOGETHER);
        while let Some(settled) = settling.try_next().await? {
            match settled {
                true => round.settled += 1,
                false => round.open += 1,
            }
        }
    }
}

/// Whether the execution is settled now; a failure that is this execution's alone is reported, and leaves it open.
async fn attempt<S: Store>(broker: &Arc<Broker<S>>, execution: Execution) -> Result<bool, Refused> {
    if broker.is_running(&execution.mutation_id) {
        return Ok(false);
    }
    let error = match one(broker, &execution).await {
        Err(Refused::Store(error)) if matches!(*error, StoreError::Transition { from, .. } if from.is_settled()) => {
            // It ended by itself after it was listed.
            return Ok(true);
        }
        Err(error @ Refused::Internal(_)) => error,
        Err(Refused::Store(error)) if error.is_refusal() || matches!(*error, StoreError::Corrupt { .. }) => {
            Refused::Store(error)
        }
        settled => return settled,
    };
    let (mutation, error) = (&execution.mutation_id, Causes(&error));
    log!(SettlingFailed, %mutation, %error, "an open execution cannot be settled; tried again");
    Ok(false)
}

/// Whether the execution is settled now.
async fn one<S: Store>(broker: &Arc<Broker<S>>, execution: &Execution) -> Result<bool, Refused> {
    let decided = decided(broker, execution).await?;
    let outcome = match &decided.terms {
        Ok(terms) => {
            let Some(target) = broker.target(terms.call().target_name()) else {
                let mutation = &execution.mutation_id;
                log!(SettlingWithoutTarget, %mutation, "an open execution is of a target that is not configured");
                return Ok(false);
            };
            let evidence = match &handle(broker, execution).await? {
                Some(handle) => target.progress(terms, handle).await,
                None => target.evidence(terms).await,
            };
            let Some(outcome) = settle(evidence) else { return Ok(false) };
            outcome
        }
        Err(problem) => Outcome::indeterminate(format!("its decision cannot be derived again: {problem}")),
    };
    broker.settle(execution, &decided, &outcome).await?;
    Ok(true)
}

/// By what the target tells what became of it, where it went on after its answer.
async fn handle<S: Store>(broker: &Arc<Broker<S>>, execution: &Execution) -> Result<Option<String>, Refused> {
    let Some(number) = execution.outcome else { return Ok(None) };
    let stored = broker.store().record(number).await?;
    let statement = stored.and_then(|stored| Statement::from_envelope(&stored.envelope).ok());
    let own = statement.filter(|statement| statement.about.mutation_id.as_ref() == Some(&execution.mutation_id));
    Ok(own.and_then(|statement| record::ended(&statement).handle))
}

/// What was decided, derived again from the record. It permits nothing.
async fn decided<S: Store>(broker: &Arc<Broker<S>>, execution: &Execution) -> Result<Decided, Refused> {
    let unusable = |problem| Decided { terms: Err(problem), resource: None, trace: None };
    let Some(stored) = broker.store().record(execution.decision).await? else {
        return Ok(unusable("the record is gone".to_owned()));
    };
    let statement = match Statement::from_envelope(&stored.envelope) {
        Ok(statement) => statement,
        Err(error) => return Ok(unusable(error.to_string())),
    };
    let mut artefacts = BTreeMap::new();
    for reference in &statement.artefacts {
        if let Some(artefact) = broker.store().artefact(reference.digest).await? {
            artefacts.insert(reference.digest, artefact.octets().to_vec());
        }
    }
    let terms = match record::permitted(&statement, &mut |digest| artefacts.get(digest).cloned()) {
        Ok(Some(terms)) if *terms.mutation_id() == execution.mutation_id => Ok(terms),
        Ok(Some(terms)) => Err(format!("it permitted {}", terms.mutation_id())),
        Ok(None) => Err("it permitted nothing".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    let trace = record::decided(&statement).trace;
    Ok(Decided { terms, resource: statement.about.resource, trace })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::num::NonZeroU32;
    use std::time::Duration;

    use spiffe::TrustDomain;
    use tokio::sync::{Notify, watch};

    use super::*;
    use crate::attribute_certificate::Trust;
    use crate::broker::{Parts, Trusted};
    use crate::ceiling::Ceilings;
    use crate::clock::{self, Clock};
    use crate::digest::Digest;
    use crate::execution::State;
    use crate::identity::embedded::{Domain, EmbeddedIssuer, Grant};
    use crate::record::testing::{AGENT, AUTHORITY, again, allow, at, genesis_of, id, key, mutation, outcome_of};
    use crate::record::{Artefact, media};
    use crate::store::fake::{Fake, Fault};
    use crate::store::{Claim, UseKey};
    use crate::telemetry::{BrokerMetrics, Registry};

    /// A broker over `store`, without targets.
    async fn broker(store: &Arc<Fake>) -> Arc<Broker<Fake>> {
        let folder = tempfile::tempdir().unwrap();
        let now = clock::now().unwrap();
        let domain = Domain::init(&folder.path().join("domain"), &TrustDomain::new("example.org").unwrap(), now);
        let own = folder.path().join("seb");
        let grant = Grant::new(id("spiffe://example.org/seb"), own.clone(), Duration::from_secs(600), true);
        domain.unwrap().issue(grant, now).unwrap();
        let artefact = Artefact::new(media::TRUST, *b"{}").unwrap();
        let trusted = Arc::new(Trusted { trust: Trust::default(), artefact, sources: BTreeMap::new() });
        let broker = Broker::new(Parts {
            id: id("spiffe://example.org/seb"),
            store: Arc::clone(store),
            issuer: Arc::new(EmbeddedIssuer::open(&own).await.unwrap()),
            targets: BTreeMap::new(),
            trusted: watch::channel(trusted).1,
            ceilings: Arc::new(Ceilings::default()),
            clock: Clock::system(),
            metrics: BrokerMetrics::register(&mut Registry::new("seb")),
            concurrency: 1,
        });
        Arc::new(broker.unwrap())
    }

    async fn decided(store: &Fake, name: &[u8]) -> Digest {
        let certificate = Digest::of(name);
        let claim = Claim {
            certificate,
            ordinal: 1,
            uses: NonZeroU32::MIN,
            use_key: UseKey::SINGLE,
            request: Digest::of(b"request"),
            mutation_id: mutation(certificate, 1),
            agent: id(AGENT),
            authority: id(AUTHORITY),
            target: "production".parse().unwrap(),
            at: at(1),
            agent_rate: None,
            authority_rate: None,
        };
        let _ = store.decide(allow(certificate, 1, 1), claim).await.unwrap();
        certificate
    }

    #[tokio::test]
    async fn i6_what_cannot_be_settled_keeps_no_other_from_it() {
        let own = key();
        let store = Arc::new(Fake::new(again(&own)));
        store.append(genesis_of(&own)).await.unwrap();
        let (one, two) = (decided(&store, b"one").await, decided(&store, b"two").await);
        let broker = broker(&store).await;
        // The first one ends by itself while its evidence is being recorded.
        let go_on = Arc::new(Notify::new());
        store.then(Some(Fault::Hold(Arc::clone(&go_on))));
        let settling = tokio::spawn(async move { round(&broker).await });
        let done = outcome_of(one, 1, 2, State::Succeeded, 2);
        while store.faults_left() > 0 {
            tokio::task::yield_now().await;
        }
        store.complete(mutation(one, 1), State::Succeeded, done).await.unwrap();
        go_on.notify_one();
        let round = settling.await.unwrap().unwrap();
        assert_eq!((round.settled, round.open), (2, 0));
        let state = async |certificate| store.execution(&mutation(certificate, 1)).await.unwrap().unwrap().state;
        assert_eq!((state(one).await, state(two).await), (State::Succeeded, State::Indeterminate));
    }
}
