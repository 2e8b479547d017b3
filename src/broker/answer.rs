//! What is told of an execution: how it stands, and what its records say of it.

use super::{Answer, Broker, Refused};
use crate::record::{self, Statement};
use crate::store::{Execution, Store};

impl<S: Store> Broker<S> {
    /// An execution with what its records say. The store is not trusted for integrity, and neither is this: whoever
    /// needs proof verifies the records.
    ///
    /// # Errors
    /// If the store failed.
    pub async fn answer(&self, execution: Execution) -> Result<Answer, Refused> {
        let decision = self.statement(Some(execution.decision)).await?;
        let outcome = self.statement(execution.outcome).await?;
        let decided = decision.as_ref().map(record::decided).unwrap_or_default();
        let ended = outcome.as_ref().map(record::ended).unwrap_or_default();
        Ok(Answer {
            execution,
            detail: ended.detail,
            call: decided.call,
            resource: decision.and_then(|decision| decision.about.resource),
            grade: decided.grade,
            reason: ended.reason,
            rejection: ended.rejection,
            version: ended.version,
            repeated: false,
        })
    }

    /// What a record says; nothing if it is not there, or is none.
    async fn statement(&self, number: Option<u64>) -> Result<Option<Statement>, Refused> {
        let Some(number) = number else { return Ok(None) };
        let record = self.parts.store.record(number).await?;
        Ok(record.and_then(|record| Statement::from_envelope(&record.envelope).ok()))
    }
}
