//! Where the broker keeps what it must not forget: the log of records, the uses of certificates, the executions and the
//! newest epoch statement of each authority.
//!
//! The store is trusted to be durable, and not for integrity: records are signed and linked ([`crate::record`]), and
//! whoever reads them verifies them.

mod error;
#[cfg(test)]
pub(crate) mod fake;
mod ledger;
pub mod sqlite;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::num::NonZeroU32;

use spiffe::SpiffeId;
use tokio::sync::watch;

pub use error::StoreError;

use crate::contract::TargetName;
use crate::decision::{IdempotencyKey, MutationId, Rates, Uses};
use crate::digest::Digest;
use crate::execution::State;
use crate::reason::Reason;
use crate::record::{Artefact, Decided, Draft, Head, Kind, Statement};
use crate::timestamp::Timestamp;

/// The most records that one query answers.
pub const MAX_PAGE: u32 = 1000;

/// What the broker asks of a store.
///
/// **Durability.** A write answers after what it wrote survives `kill -9` and the loss of power. It is all or nothing:
/// the draft's record, its artefacts and the state that goes with it.
///
/// **Failure.** A write that fails has written nothing, unless [`StoreError::is_uncertain`]: then it may have. Whoever is
/// told so makes no call under it, and asks again ([`Store::execution`]) or leaves it to the reconciler. The failure of
/// one write does not touch another one.
///
/// **Idempotence.** [`Store::decide`] and [`Store::append_epoch`] may be repeated with the same values: the second time they
/// answer what there is and append nothing. [`Store::complete`] with a state that the execution already has is refused
/// ([`StoreError::Transition`]), and [`Store::append`] appends once for each call.
///
/// **Order.** Writes are linearizable: records are numbered without gaps in the order in which they were committed, and a
/// read that begins after a write was answered sees it. The time of a record is moved forward where the one before is
/// later.
///
/// **Concurrency.** Every method can be called from any number of tasks. A future that is dropped may or may not have
/// written. Every wait is bounded.
///
/// **Ownership.** One process owns a log at a time; the second one is refused when it opens the store.
pub trait Store: Send + Sync + 'static {
    /// Consumes a use of a certificate and appends the decision that allows it, in one transaction (I1, I3).
    ///
    /// In this order: an execution under the same certificate and use key with the same request is answered as it is; one
    /// with another request is a replay; an ordinal that is not the next one, and a rate that others have used up
    /// meanwhile, ask for the facts to be gathered again.
    fn decide(&self, draft: Draft, claim: Claim) -> impl Future<Output = Result<Claimed, StoreError>> + Send;

    /// Appends an outcome and moves the execution to `state`, in one transaction. See [`State::may_become`].
    fn complete(
        &self,
        mutation: MutationId,
        state: State,
        draft: Draft,
    ) -> impl Future<Output = Result<Completed, StoreError>> + Send;

    /// Appends a record that changes no other state: genesis, a denial, a boundary, an admission. The first record of
    /// a log is genesis, and no other is.
    fn append(&self, draft: Draft) -> impl Future<Output = Result<Head, StoreError>> + Send;

    /// Keeps an epoch statement as the newest of its authority and appends the record of it, in one transaction. One of a
    /// lower sequence is refused, and so is another one of the same sequence; the same one once more appends nothing.
    fn append_epoch(
        &self,
        mark: EpochMark,
        draft: Draft,
    ) -> impl Future<Output = Result<EpochAppended, StoreError>> + Send;

    /// How often a certificate was used, and how many executions there were in the windows that end at `now`, each
    /// beginning after its first moment.
    fn usage(
        &self,
        certificate: Digest,
        agent: &SpiffeId,
        authority: &SpiffeId,
        windows: Windows,
        now: Timestamp,
    ) -> impl Future<Output = Result<Usage, StoreError>> + Send;

    /// The execution under a certificate with this use key.
    fn find(
        &self,
        certificate: Digest,
        use_key: &UseKey,
    ) -> impl Future<Output = Result<Option<Execution>, StoreError>> + Send;

    /// The execution of a mutation.
    fn execution(&self, mutation: &MutationId) -> impl Future<Output = Result<Option<Execution>, StoreError>> + Send;

    /// Executions that are not settled, in the order of their decisions, at most [`MAX_PAGE`], of decisions after `after`.
    fn open_executions(&self, after: u64) -> impl Future<Output = Result<Vec<Execution>, StoreError>> + Send;

    /// The newest epoch statement of an authority.
    fn epoch(&self, authority: &SpiffeId) -> impl Future<Output = Result<Option<EpochMark>, StoreError>> + Send;

    /// The newest record.
    fn head(&self) -> impl Future<Output = Result<Option<Head>, StoreError>> + Send;

    /// Records in the order of their numbers.
    fn records(&self, query: Query) -> impl Future<Output = Result<Vec<Record>, StoreError>> + Send;

    /// One record.
    fn record(&self, number: u64) -> impl Future<Output = Result<Option<Record>, StoreError>> + Send;

    /// One artefact; its octets have this digest.
    fn artefact(&self, digest: Digest) -> impl Future<Output = Result<Option<Artefact>, StoreError>> + Send;

    /// The number of the newest record, 0 while there is none, each time it grows.
    fn subscribe(&self) -> watch::Receiver<u64>;
}

/// A use of a certificate, claimed for one mutation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The certificate.
    pub certificate: Digest,
    /// Which use it is, from 1.
    pub ordinal: u32,
    /// How many uses the contract allows.
    pub uses: NonZeroU32,
    /// What names the use.
    pub use_key: UseKey,
    /// The digest of the request.
    pub request: Digest,
    /// The mutation.
    pub mutation_id: MutationId,
    /// The agent.
    pub agent: SpiffeId,
    /// The authority.
    pub authority: SpiffeId,
    /// The target.
    pub target: TargetName,
    /// The time of the decision.
    pub at: Timestamp,
    /// The most executions of the agent that end here, this one counted; none: unbounded.
    pub agent_rate: Option<RateLimit>,
    /// The same of the authority.
    pub authority_rate: Option<RateLimit>,
}

/// What names a use of a certificate: nothing where it has only one, else the client's idempotency key.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UseKey(Option<IdempotencyKey>);

impl UseKey {
    /// The key of the only use.
    pub const SINGLE: Self = Self(None);

    /// The text: empty for the only use.
    pub fn as_str(&self) -> &str {
        self.0.as_ref().map_or("", IdempotencyKey::as_str)
    }
}

impl From<Option<IdempotencyKey>> for UseKey {
    fn from(key: Option<IdempotencyKey>) -> Self {
        Self(key)
    }
}

impl From<IdempotencyKey> for UseKey {
    fn from(key: IdempotencyKey) -> Self {
        Self(Some(key))
    }
}

/// At most so many executions in a window of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// The executions.
    pub executions: u32,
    /// The length of the window, in seconds.
    pub per_seconds: u32,
}

/// An outcome that was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completed {
    /// Its record.
    pub head: Head,
    /// The execution, as it stands now.
    pub execution: Execution,
}

/// What was used up before a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Of the certificate.
    pub uses: Uses,
    /// Of the rates of agent and authority.
    pub rates: Rates,
}

/// The lengths of the windows to count executions in, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// That of the agent.
    pub agent_seconds: u32,
    /// That of the authority.
    pub authority_seconds: u32,
}

/// What came of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "only `New` lets a call be made"]
pub enum Claimed {
    /// The use is consumed and the decision is record number such.
    New(Head),
    /// The same request was executed before, or is being executed.
    Existing(Box<Execution>),
    /// The use was consumed by another request.
    Conflict,
    /// Others were faster: gather the facts again.
    Raced,
}

/// One execution of one mutation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    /// The mutation.
    pub mutation_id: MutationId,
    /// The certificate.
    pub certificate: Digest,
    /// Which use of the certificate it is, from 1.
    pub ordinal: u32,
    /// What names the use.
    pub use_key: UseKey,
    /// The digest of the request.
    pub request: Digest,
    /// The agent.
    pub agent: SpiffeId,
    /// The authority.
    pub authority: SpiffeId,
    /// The target.
    pub target: TargetName,
    /// How it stands.
    pub state: State,
    /// The number of the record of the decision.
    pub decision: u64,
    /// The time of the decision.
    pub decided_at: Timestamp,
    /// The number of the record of the newest outcome.
    pub outcome: Option<u64>,
    /// The time of that record.
    pub outcome_at: Option<Timestamp>,
}

/// An authority's newest epoch statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochMark {
    /// The authority.
    pub authority: SpiffeId,
    /// The statement's sequence.
    pub sequence: u64,
    /// The statement's octets, as they were signed.
    pub statement: Vec<u8>,
}

/// What came of an epoch statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpochAppended {
    /// It is the newest now, by this record.
    New(Head),
    /// It was the newest already.
    Same,
}

/// A record, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place in the log, from 1.
    pub number: u64,
    /// The SHA-256 of the envelope.
    pub digest: Digest,
    /// The DSSE envelope.
    pub envelope: Vec<u8>,
}

/// Which records are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// What a record has to match.
    pub filter: Filter,
    /// Only records after this number.
    pub after: u64,
    /// At most so many; 0 and what is more than [`MAX_PAGE`]: [`MAX_PAGE`].
    pub limit: u32,
}

/// What a record has to match: everything that is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Not before.
    pub since: Option<Timestamp>,
    /// Not after.
    pub until: Option<Timestamp>,
    /// The kind.
    pub kind: Option<Kind>,
    /// The agent.
    pub agent: Option<SpiffeId>,
    /// The authority.
    pub authority: Option<SpiffeId>,
    /// The target.
    pub target: Option<TargetName>,
    /// The resource.
    pub resource: Option<String>,
    /// The certificate.
    pub certificate: Option<Digest>,
    /// The mutation.
    pub mutation_id: Option<MutationId>,
    /// Whether the request was allowed.
    pub decision: Option<Decided>,
    /// The state that an outcome gave.
    pub state: Option<State>,
    /// The reason that was the answer.
    pub reason: Option<Reason>,
}

impl Filter {
    /// Whether a record matches.
    pub fn matches(&self, statement: &Statement) -> bool {
        fn same<T: PartialEq>(wanted: &Option<T>, found: &Option<T>) -> bool {
            wanted.is_none() || wanted == found
        }
        let about = &statement.about;
        self.since.is_none_or(|since| statement.time >= since)
            && self.until.is_none_or(|until| statement.time <= until)
            && self.kind.is_none_or(|kind| statement.kind == kind)
            && same(&self.agent, &about.agent)
            && same(&self.authority, &about.authority)
            && same(&self.target, &about.target)
            && same(&self.resource, &about.resource)
            && same(&self.certificate, &about.certificate)
            && same(&self.mutation_id, &about.mutation_id)
            && same(&self.decision, &about.decision)
            && same(&self.state, &about.state)
            && same(&self.reason, &about.reason)
    }
}

impl Query {
    /// The limit within its bounds.
    fn page(&self) -> u32 {
        if self.limit == 0 { MAX_PAGE } else { self.limit.min(MAX_PAGE) }
    }
}
