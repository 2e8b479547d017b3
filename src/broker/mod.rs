//! Executes what was certified: the order of design section 6, with I/O.
//!
//! [`Broker::execute`] verifies, observes, decides ([`crate::decision::evaluate`]), and drives the state machine
//! ([`crate::execution`]). What must be true:
//!
//! - Nothing but reads is sent to a target before [`Store::decide`] has answered that the decision is durable (I1); and,
//!   where contract or check ask for one, a dry run, under an identity that the target takes for nothing else. Which one that
//!   was, the facts say: its mutation follows from certificate, step and use.
//! - Two requests under one certificate and use key are one execution, also at the same time (I3): in one process the
//!   second waits for the first (`inflight`); across processes the store's constraint decides.
//! - An execution that began runs to its end, whether or not its caller still waits.
//! - Every refusal is recorded, with the exact reason.

mod answer;
mod check;
mod clock_watch;
mod drafts;
mod inflight;
mod measure;
mod observe;
mod run;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use spiffe::{SpiffeId, TrustDomain};
use tokio::sync::{Semaphore, watch};
use tracing::Instrument as _;

use self::clock_watch::{ClockWatch, Reading};
use self::inflight::{Entry, InFlight};
use crate::attribute_certificate::{Trust, VerifiedAuthority, VerifiedCertificate, authenticate, parse, profile};
use crate::ceiling::Ceilings;
use crate::clock::Clock;
use crate::contract::{Call, TargetName};
use crate::decision::{Certified, Decision, Facts, MutationId, Peer, Request, Terms, evaluate};
use crate::digest::Digest;
use crate::epoch::{EpochRegression, EpochStatement, Succession};
use crate::execution::{Grade, Rejection};
use crate::fence::Fence;
use crate::identity::{Issuer, MintError};
use crate::reason::{Denial, Reason};
use crate::record::{Artefact, InvalidDraft, TrustSource, media};
use crate::store::{Execution, Store, StoreError, Usage, UseKey};
use crate::target::{Admitted, Busy, Rehearsed, Target};
use crate::telemetry::{BrokerMetrics, Phase};
use crate::timestamp::Timestamp;

/// What a broker is made of.
pub struct Parts<S> {
    /// Its own SPIFFE ID: the one that certificates name.
    pub id: SpiffeId,
    /// Where it keeps its records.
    pub store: Arc<S>,
    /// What mints execution identities.
    pub issuer: Arc<dyn Issuer>,
    /// The targets, by name.
    pub targets: BTreeMap<TargetName, TargetEntry>,
    /// Whose certificates are good; replaced when a bundle rotates.
    pub trusted: watch::Receiver<Arc<Trusted>>,
    /// What no certificate may exceed.
    pub ceilings: Arc<Ceilings>,
    /// The clocks.
    pub clock: Clock,
    /// What is measured.
    pub metrics: BrokerMetrics,
    /// How many executions and checks may run at a time; more are refused as [`Refused::Busy`].
    pub concurrency: usize,
}

/// Whose certificates are good, and the artefact that says so in records.
#[derive(Debug, Clone)]
pub struct Trusted {
    /// For verification.
    pub trust: Trust,
    /// For records: [`crate::record::trust_artefact`].
    pub artefact: Artefact,
    /// Where the bundle of each trust domain came from.
    pub sources: BTreeMap<TrustDomain, TrustSource>,
}

impl Trusted {
    /// Where the bundle came from by which this authority is verified.
    fn source_of(&self, authority: &SpiffeId) -> Option<TrustSource> {
        self.sources.get(authority.trust_domain()).copied()
    }
}

/// One target of the configuration.
#[derive(Clone)]
pub struct TargetEntry {
    /// Its driver.
    pub driver: Arc<dyn Target>,
    /// Whether the object is read before an atomic call as well, so that drift is denied early, explained, and costs
    /// no use. Without it the target alone refuses what has drifted.
    pub read_before: bool,
    /// Whether the target may be asked to rehearse a call, where its driver can: by every [`Broker::check`], and by an
    /// execution whose contract asks for it.
    pub dry_run: bool,
}

/// What an agent presents, converted and bounded but not verified.
#[derive(Debug, Clone)]
pub struct Presented {
    /// The attribute certificate's octets.
    pub certificate: Vec<u8>,
    /// The authority's chain, leaf first.
    pub chain: Vec<Vec<u8>>,
    /// What is asked.
    pub request: Request,
    /// The caller's trace context, as a W3C `traceparent`, if it sent one.
    pub trace: Option<String>,
}

/// An execution, as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// How it stands in the store.
    pub execution: Execution,
    /// What the state came from.
    pub detail: String,
    /// The digest of the call, if it is known.
    pub call: Option<Digest>,
    /// The resource at the target, if it is known.
    pub resource: Option<String>,
    /// How drift is held against the call, if it is known.
    pub grade: Option<Grade>,
    /// The reason, where one of the list ended it.
    pub reason: Option<Reason>,
    /// Why the target refused, where it did.
    pub rejection: Option<Rejection>,
    /// The object's version afterwards, if the target told it.
    pub version: Option<String>,
    /// Whether an earlier request began it.
    pub repeated: bool,
}

/// What [`Broker::check`] finds.
#[derive(Debug, Clone)]
pub struct Checked {
    /// Every reason against it, the first being the answer. Empty: it would be allowed.
    pub denials: Vec<Denial>,
    /// The exact call, if the request can be applied to the contract.
    pub call: Option<Call>,
    /// What the target itself says of it, if the target was asked.
    pub rehearsed: Option<Rehearsed>,
}

/// Nothing was done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refused {
    /// It was decided against.
    #[error("{}", .denials.first().map_or_else(String::new, ToString::to_string))]
    Denied {
        /// Why, in order; there is at least one.
        denials: Vec<Denial>,
        /// The number of the record of it; none if it was only asked ([`Broker::check`]).
        record: Option<u64>,
    },
    /// Too many executions are running.
    #[error("{0} executions are running already: try again in a moment")]
    Busy(usize),
    /// Too many wait for the target already.
    #[error(transparent)]
    TargetBusy(Busy),
    /// The store failed, so that nothing could be decided durably. If a record was written all the same, the reconciler
    /// settles its execution; the same request again finds it.
    #[error("the broker's store failed: {0}")]
    Store(Arc<StoreError>),
    /// No execution identity can be minted, so that nothing was begun.
    #[error("no execution identity can be minted: {0}")]
    Identity(Arc<MintError>),
    /// Something that cannot happen did. The log has more.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Refused {
    fn denied(denial: Denial, record: impl Into<Option<u64>>) -> Self {
        Self::Denied { denials: vec![denial], record: record.into() }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<InvalidDraft> for Refused {
    fn from(error: InvalidDraft) -> Self {
        Self::Internal(error.to_string())
    }
}

/// Certificate, use and request; and who asks, by SPIFFE ID and key: what one peer is answered, no other is told.
type Key = (Digest, UseKey, Digest, SpiffeId, Digest);

/// Performs certified mutations. One value serves all requests.
pub struct Broker<S> {
    parts: Parts<S>,
    ceilings: Artefact,
    fence: Arc<Fence>,
    clock_watch: ClockWatch,
    running: InFlight<Key, Result<Answer, Refused>>,
    /// The authority whose path was verified last, and by which trust.
    authority: Mutex<Option<(Arc<Trusted>, Arc<VerifiedAuthority>)>>,
    /// The mutations between their decision and their outcome, and how many requests are at each: those that lose the
    /// claim leave before the one that won it.
    active: Mutex<BTreeMap<MutationId, usize>>,
    room: Arc<Semaphore>,
    rehearsing: check::Rehearsing,
}

/// A certificate that was verified, with everything that a record needs to verify it again.
struct Authentic {
    certified: Certified,
    verified: VerifiedCertificate,
    chain: Vec<Vec<u8>>,
    trusted: Arc<Trusted>,
    at: Timestamp,
}

/// What the record of a decision says of an execution that is to be settled.
pub(crate) struct Decided {
    /// What was permitted, derived again; or why it cannot be.
    pub(crate) terms: Result<Terms, String>,
    /// The resource.
    pub(crate) resource: Option<String>,
    /// The trace context of the request.
    pub(crate) trace: Option<String>,
}

impl<S: Store> Broker<S> {
    /// A broker of these parts, which knows of no epoch yet and so denies everything.
    ///
    /// # Errors
    /// If the ceilings are too large for a record.
    pub fn new(parts: Parts<S>) -> Result<Self, InvalidDraft> {
        let now = parts.clock.now().unwrap_or(Timestamp::END);
        let clock_watch = ClockWatch::new(now, parts.clock.monotonic_ms());
        let room = Arc::new(Semaphore::new(parts.concurrency));
        let ceilings = Artefact::new(media::CEILINGS, parts.ceilings.to_canonical().into_bytes())?;
        Ok(Self {
            parts,
            ceilings,
            fence: Arc::default(),
            clock_watch,
            running: InFlight::new(),
            authority: Mutex::default(),
            active: Mutex::default(),
            room,
            rehearsing: check::Rehearsing::new(),
        })
    }

    /// How many executions are running.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Whether this process is still at it.
    pub(crate) fn is_running(&self, mutation: &MutationId) -> bool {
        self.active().contains_key(mutation)
    }

    /// The end of the CA by which execution identities are minted, where there is one here.
    pub(crate) fn issuer_ends(&self) -> Option<Timestamp> {
        self.parts.issuer.ends()
    }

    pub(crate) fn store(&self) -> &S {
        &self.parts.store
    }

    pub(crate) fn target(&self, name: &TargetName) -> Option<&dyn Target> {
        self.parts.targets.get(name).map(|target| target.driver.as_ref())
    }

    fn active(&self) -> MutexGuard<'_, BTreeMap<MutationId, usize>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Performs the mutation that is presented, once, and answers how it ended. The same certificate and the same request
    /// again give the first execution, also while it is still running.
    ///
    /// # Errors
    /// If nothing was done; a refusal by decision is recorded before it is answered.
    pub async fn execute(self: &Arc<Self>, presented: Presented, peer: Peer) -> Result<Answer, Refused> {
        let at = self.reading().now;
        let authentic = self.authenticated(&presented, &peer, self.trusted(), at).await?;
        let use_key = UseKey::from(presented.request.idempotency_key.clone());
        let request = presented.request.digest();
        let key = (authentic.certified.parts().digest, use_key, request, peer.id.clone(), peer.key);
        let lead = match self.running.enter(&key) {
            Entry::First(lead) => lead,
            Entry::Waiting(mut running) => {
                let answer = running.wait_for(Option::is_some).await.map(|answer| answer.clone());
                return match answer {
                    Ok(Some(Ok(answer))) => Ok(Answer { repeated: true, ..answer }),
                    Ok(Some(Err(refused))) => Err(refused),
                    Ok(None) | Err(_) => Err(Refused::Internal("the execution ended without an answer".to_owned())),
                };
            }
        };
        // Whoever asks may go away; what has begun goes on. The task is not bounded by the caller's deadline, but every
        // wait inside it is bounded by its own.
        let broker = Arc::clone(self);
        let task = async move {
            let answer = broker.first(authentic, presented, peer).await;
            lead.answer(answer.clone());
            answer
        };
        let task = tokio::spawn(task.in_current_span());
        task.await.map_err(|error| Refused::Internal(error.to_string()))?
    }

    /// One execution, as the store has it.
    ///
    /// # Errors
    /// If the store failed.
    pub async fn execution(&self, mutation: &MutationId) -> Result<Option<Execution>, Refused> {
        Ok(self.parts.store.execution(mutation).await?)
    }

    /// Puts an authority's statement in force. When this returns, no call that it covers starts any more.
    ///
    /// # Errors
    /// If it would take back what an earlier statement said.
    pub fn apply_epoch(&self, statement: Arc<EpochStatement>) -> Result<Succession, EpochRegression> {
        let (now, monotonic_ms) = (self.now(), self.parts.clock.monotonic_ms());
        let succession = self.fence.apply(Arc::clone(&statement), now, monotonic_ms)?;
        let skew = now.millis().abs_diff(statement.parts().issued_at.millis());
        if succession == Succession::Newer && skew <= u64::from(self.knowledge().max_clock_skew_ms) {
            self.clock_watch.confirm(now, monotonic_ms);
        }
        Ok(succession)
    }

    /// The age of the newest statement of an authority, in milliseconds; none if there is none.
    pub fn epoch_age_ms(&self, authority: &SpiffeId) -> Option<u32> {
        self.fence.knowledge(authority, self.parts.clock.monotonic_ms()).map(|known| known.age_ms)
    }

    /// For how long executions under `authority` are possible if it falls silent now.
    ///
    /// # Errors
    /// Why they are not possible: the first reason, as a decision would give it.
    pub fn epoch_freshness(&self, authority: &SpiffeId) -> Result<Duration, Denial> {
        let reading = self.reading();
        if reading.stepped {
            return Err(Denial::new(Reason::ClockSkew, CLOCK_STEPPED));
        }
        let known = self.fence.knowledge(authority, self.parts.clock.monotonic_ms());
        let known = known.ok_or_else(|| Denial::new(Reason::EpochUnknown, "nothing was heard of it yet"))?;
        let bounds = self.knowledge().freshness();
        match known.statement.freshness(reading.now, known.age_ms, known.skew_ms, bounds).into_iter().min() {
            Some(denial) => Err(denial),
            None => Ok(Duration::from_millis(bounds.staleness_ms.saturating_sub(known.age_ms).into())),
        }
    }

    /// Puts a statement back in force that was before a restart. Until the authority is heard again, everything under it
    /// is denied.
    pub fn restore_epoch(&self, statement: Arc<EpochStatement>) {
        self.fence.restore(statement);
    }

    /// What is trusted now.
    fn trusted(&self) -> Arc<Trusted> {
        Arc::clone(&self.parts.trusted.borrow())
    }

    /// First to third verdict, by this trust, at this time.
    fn authenticate(&self, presented: &Presented, trusted: Arc<Trusted>, at: Timestamp) -> Result<Authentic, Denial> {
        let verified = self.phase_at_once(Phase::Verify, || self.verify(presented, &trusted, at))?;
        Ok(Authentic { certified: Certified::from(&verified), verified, chain: presented.chain.clone(), trusted, at })
    }

    /// The same of an execution: a refusal is recorded.
    async fn authenticated(
        &self,
        presented: &Presented,
        peer: &Peer,
        trusted: Arc<Trusted>,
        at: Timestamp,
    ) -> Result<Authentic, Refused> {
        match self.authenticate(presented, Arc::clone(&trusted), at) {
            Ok(authentic) => Ok(authentic),
            Err(denial) => {
                let record = self.record_refusal(presented, peer, &denial, &trusted, at).await?;
                Err(Refused::denied(denial, record))
            }
        }
    }

    fn verify(
        &self,
        presented: &Presented,
        trusted: &Arc<Trusted>,
        at: Timestamp,
    ) -> Result<VerifiedCertificate, Denial> {
        let certificate = profile(parse(&presented.certificate)?)?;
        let known = self.authority.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((by, authority)) = known
            && Arc::ptr_eq(&by, trusted)
            && authority.is_for(&presented.chain, at)
        {
            return authority.authenticate(certificate);
        }
        let verified = authenticate(certificate, &presented.chain, &trusted.trust, at)?;
        let known = (Arc::clone(trusted), Arc::clone(verified.verified_authority()));
        *self.authority.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
        Ok(verified)
    }

    /// The first of several equal requests that run at the same time.
    async fn first(
        self: Arc<Self>,
        mut authentic: Authentic,
        presented: Presented,
        peer: Peer,
    ) -> Result<Answer, Refused> {
        let _room = self.room()?;
        let use_key = UseKey::from(presented.request.idempotency_key.clone());
        let mut usage = self.usage(&authentic, &peer).await;
        let mut admitted = false;
        // Others may consume a use between observing and claiming; each of them makes progress, so few rounds suffice.
        let mut tried = None;
        for _ in 0..ROUNDS {
            if let Some(answer) = self.repeated(&authentic, &presented.request, &use_key, &peer, usage).await? {
                return Ok(answer);
            }
            let begun = self.parts.clock.monotonic_us();
            let gathering = self.facts(&authentic, &presented.request, &peer, usage, tried);
            let facts;
            (facts, tried) = self.phase(Phase::Facts, gathering).await;
            // The record says that the certificate was verified at the time of its facts, by what is trusted; so it has to
            // be. Gathering them can take seconds.
            let (trusted, now) = (self.trusted(), facts.observed.now);
            let anew = !Arc::ptr_eq(&authentic.trusted, &trusted);
            if anew || now.seconds() != authentic.at.seconds() {
                authentic = self.authenticated(&presented, &peer, trusted, now).await?;
            }
            if anew {
                usage = self.usage(&authentic, &peer).await;
                continue;
            }
            let decision = evaluate(&facts);
            if matches!(decision, Decision::Deny(_)) {
                // What denies it may be the work of a use that was consumed meanwhile: the effect of an equal request, say,
                // seen as drift.
                let latest = self.usage(&authentic, &peer).await;
                if latest.map(|usage| usage.uses) != usage.map(|usage| usage.uses) {
                    usage = latest;
                    continue;
                }
            }
            if let Decision::Allow(permit) = &decision
                && !std::mem::replace(&mut admitted, true)
                && self.admit(permit.terms(), &facts.peer).await? == Admitted::Later
            {
                // What was observed is old by now.
                usage = self.usage(&authentic, &facts.peer).await;
                continue;
            }
            let case = Case { authentic: &authentic, facts: &facts, trace: presented.trace.as_deref(), begun };
            match self.run(decision, &case, &use_key).await? {
                Some(answer) => return Ok(answer),
                None => usage = self.usage(&authentic, &peer).await,
            }
        }
        Err(Refused::Busy(self.parts.concurrency))
    }

    /// What the same request under the same certificate came to, if it was executed before.
    async fn repeated(
        &self,
        authentic: &Authentic,
        request: &Request,
        use_key: &UseKey,
        peer: &Peer,
        usage: Option<Usage>,
    ) -> Result<Option<Answer>, Refused> {
        // Where no use was consumed, there is nothing to repeat.
        if usage.is_some_and(|usage| usage.uses.consumed == 0) {
            return Ok(None);
        }
        let found = self.parts.store.find(authentic.certified.parts().digest, use_key).await?;
        let same = found.filter(|execution| {
            execution.request == request.digest() && authentic.certified.targeting(peer, &self.parts.id).is_empty()
        });
        match same {
            Some(execution) => Ok(Some(Answer { repeated: true, ..self.answer(execution).await? })),
            None => Ok(None),
        }
    }

    /// Waits until the target may be used, before anything is consumed.
    async fn admit(&self, terms: &Terms, peer: &Peer) -> Result<Admitted, Refused> {
        match self.target(terms.call().target_name()) {
            Some(target) => target.admit(&peer.id).await.map_err(Refused::TargetBusy),
            None => Ok(Admitted::AtOnce),
        }
    }
}

/// What is said while the wall clock cannot be trusted.
const CLOCK_STEPPED: &str = "the broker's clock was stepped: synchronize it";

/// What one round of an execution is about.
struct Case<'a> {
    authentic: &'a Authentic,
    facts: &'a Facts,
    trace: Option<&'a str>,
    /// When the round began, in microseconds of the monotonic clock.
    begun: u64,
}

/// How often the facts are gathered again because others consumed a use in between.
const ROUNDS: usize = 8;

impl<S: Store> Broker<S> {
    fn now(&self) -> Timestamp {
        // A clock outside 1970 to 9999 counts as its end, where every certificate has expired.
        self.parts.clock.now().unwrap_or(Timestamp::END)
    }

    /// The time, and whether the wall clock can be trusted with it.
    fn reading(&self) -> Reading {
        let bound = self.knowledge().max_clock_skew_ms;
        self.clock_watch.read(self.now(), self.parts.clock.monotonic_ms(), bound)
    }

    fn knowledge(&self) -> &crate::ceiling::Knowledge {
        self.parts.ceilings.knowledge()
    }
}
