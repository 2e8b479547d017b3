//! Settles executions whose end is not recorded, from evidence at the target (I6).
//!
//! It takes no input: it reads from the store what is open, asks each target, and records what the evidence says. It is
//! idempotent, runs at the start, periodically and when it is nudged, and never calls a mutation. What an execution was
//! about is derived from its decision record alone ([`crate::record::replay`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::broker::{Broker, Decided, Refused};
use crate::execution::{Outcome, settle};
use crate::record::{self, Statement};
use crate::store::{Execution, Store};
use crate::telemetry::log;

/// What one round did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Round {
    /// Executions that were settled.
    pub settled: usize,
    /// Executions that stay open: running here, or without evidence yet.
    pub open: usize,
}

/// One round over everything that is open.
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
        for execution in page {
            match broker.is_running(&execution.mutation_id) {
                true => round.open += 1,
                false => match one(broker, &execution).await? {
                    true => round.settled += 1,
                    false => round.open += 1,
                },
            }
        }
    }
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
            let Some(outcome) = settle(target.evidence(terms).await) else { return Ok(false) };
            outcome
        }
        Err(problem) => Outcome::indeterminate(format!("its decision cannot be derived again: {problem}")),
    };
    broker.settle(execution, &decided, &outcome).await?;
    Ok(true)
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
        Ok(Some(terms)) => Ok(terms),
        Ok(None) => Err("it permitted nothing".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    let trace = record::decided(&statement).trace;
    Ok(Decided { terms, resource: statement.about.resource, trace })
}
