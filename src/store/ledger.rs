//! The rules of the store, without the storing: what each write may do, given what is stored.
//!
//! A [`Ledger`] holds whatever part of the store a batch of writes looks at. Each [`Op`] is judged against it and changes
//! it, so that the writes of a batch see one another; what has to be stored comes out as a [`Change`]. Every
//! implementation of [`super::Store`] runs its writes through here, and differs only in how it loads and stores.

use std::collections::HashMap;

use spiffe::SpiffeId;

use super::{Claim, Claimed, EpochAppended, EpochMark, Execution, RateLimit, StoreError, UseKey};
use crate::contract::Json;
use crate::decision::MutationId;
use crate::digest::Digest;
use crate::execution::State;
use crate::key::SigningKey;
use crate::record::{
    Decided, Draft, Genesis, Head, InvalidPublicKey, Kind, Link, PublicKey, SealError, Sealed, Unsigned, beginning,
};
use crate::timestamp::Timestamp;

/// A write that was asked for.
#[derive(Debug)]
pub(super) enum Op {
    Decide(Draft, Claim),
    Complete(MutationId, State, Draft),
    Append(Draft),
    Epoch(EpochMark, Draft),
}

/// What a write answers.
#[derive(Debug)]
pub(super) enum Done {
    Claimed(Claimed),
    Appended(Head),
    Epoch(EpochAppended),
}

/// What a write stores: a record, and what goes with it.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) sealed: Sealed,
    pub(super) effect: Effect,
}

/// What goes with a record.
#[derive(Debug)]
pub(super) enum Effect {
    Nothing,
    Execution(Box<NewExecution>),
    Outcome(MutationId, State),
    Epoch,
}

/// An execution, and its place among those of its agent and of its authority, each counted from 1.
#[derive(Debug)]
pub(super) struct NewExecution {
    pub(super) execution: Execution,
    pub(super) uses: u32,
    pub(super) of_agent: u64,
    pub(super) of_authority: u64,
}

/// How many executions an agent or an authority has, and how many it had at the beginning of a window.
#[derive(Debug, Default)]
pub(super) struct Activity {
    pub(super) newest: u64,
    pub(super) at_start: HashMap<Timestamp, u64>,
}

/// The newest record, and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) head: Head,
    pub(super) time: Timestamp,
}

/// The part of the store that a batch looks at.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) place: Option<Place>,
    pub(super) executions: HashMap<MutationId, Execution>,
    pub(super) by_use: HashMap<(Digest, UseKey), MutationId>,
    pub(super) consumed: HashMap<Digest, u32>,
    pub(super) agents: HashMap<SpiffeId, Activity>,
    pub(super) authorities: HashMap<SpiffeId, Activity>,
    pub(super) epochs: HashMap<SpiffeId, (u64, Digest)>,
}

/// The key that signs the log.
#[derive(Debug)]
pub(super) struct Sealer {
    key: SigningKey,
    public: PublicKey,
    key_id: String,
}

impl Sealer {
    pub(super) fn new(key: SigningKey) -> Result<Self, InvalidPublicKey> {
        let public = PublicKey::from_spki(&key.public_key().map_err(|_| InvalidPublicKey)?)?;
        Ok(Self { key_id: public.key_id(), key, public })
    }

    fn seal(&self, draft: &Draft, link: Link, not_before: Timestamp) -> Result<Sealed, SealError> {
        let unsigned = Unsigned::new(draft, link, not_before)?;
        let signature = self.key.sign(&unsigned.to_be_signed()).map_err(|_| SealError::Signature)?;
        unsigned.complete(&self.key_id, &signature)
    }

    pub(super) const fn public(&self) -> &PublicKey {
        &self.public
    }
}

impl Op {
    pub(super) const fn draft(&self) -> &Draft {
        match self {
            Self::Decide(draft, _) | Self::Complete(_, _, draft) | Self::Append(draft) | Self::Epoch(_, draft) => draft,
        }
    }

    /// What it is refused for whatever is stored.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let draft = self.draft();
        draft.check().map_err(|error| StoreError::Seal(SealError::Draft(error)))?;
        let about = &draft.about;
        match self {
            Self::Decide(_, claim) => {
                let consistent = about.decision == Some(Decided::Allow)
                    && about.mutation_id.as_ref() == Some(&claim.mutation_id)
                    && about.certificate == Some(claim.certificate);
                if draft.kind != Kind::Decision {
                    return Err(StoreError::Kind(draft.kind));
                }
                let named = claim.use_key != UseKey::SINGLE || claim.uses.get() == 1;
                if !consistent || !named || !(1..=claim.uses.get()).contains(&claim.ordinal) {
                    return Err(StoreError::Claim(claim.mutation_id.clone()));
                }
            }
            Self::Complete(mutation, state, _) => {
                if draft.kind != Kind::Outcome {
                    return Err(StoreError::Kind(draft.kind));
                }
                if about.state != Some(*state) || about.mutation_id.as_ref() != Some(mutation) {
                    return Err(StoreError::Claim(mutation.clone()));
                }
            }
            Self::Append(_) => {
                let allows = draft.kind == Kind::Decision && about.decision != Some(Decided::Deny);
                if allows || matches!(draft.kind, Kind::Outcome | Kind::Epoch) {
                    return Err(StoreError::Kind(draft.kind));
                }
            }
            Self::Epoch(..) => {
                if draft.kind != Kind::Epoch {
                    return Err(StoreError::Kind(draft.kind));
                }
            }
        }
        Ok(())
    }
}

/// The moment at whose end the window of `limit` that ends at `now` begins.
pub(super) fn window_start(now: Timestamp, seconds: u32) -> Timestamp {
    let millis = now.millis().saturating_sub(u64::from(seconds) * 1000);
    Timestamp::from_millis(millis).unwrap_or(now)
}

impl Ledger {
    /// Judges `op`, which was checked, and takes it into account. An error changes nothing.
    pub(super) fn apply(&mut self, op: &Op, sealer: &Sealer) -> Result<(Done, Option<Change>), StoreError> {
        self.check_genesis(op.draft(), sealer)?;
        match op {
            Op::Decide(draft, claim) => self.decide(draft, claim, sealer),
            Op::Complete(mutation, state, draft) => self.complete(mutation, *state, draft, sealer),
            Op::Append(draft) => {
                let (head, sealed) = self.append(draft, sealer)?;
                Ok((Done::Appended(head), Some(Change { sealed, effect: Effect::Nothing })))
            }
            Op::Epoch(mark, draft) => self.epoch(mark, draft, sealer),
        }
    }

    fn check_genesis(&self, draft: &Draft, sealer: &Sealer) -> Result<(), StoreError> {
        match (self.place, draft.kind) {
            (None, Kind::Genesis) => match Genesis::from_body(&draft.body, draft.time) {
                Ok(genesis) if genesis.key() == sealer.public() => Ok(()),
                _ => Err(StoreError::Genesis),
            },
            (None, _) => Err(StoreError::NoGenesis),
            (Some(_), Kind::Genesis) => Err(StoreError::Genesis),
            (Some(_), _) => Ok(()),
        }
    }

    fn decide(&mut self, draft: &Draft, claim: &Claim, sealer: &Sealer) -> Result<(Done, Option<Change>), StoreError> {
        let consumed = self.consumed.get(&claim.certificate).copied().unwrap_or(0);
        let same_use = self.by_use.get(&(claim.certificate, claim.use_key.clone()));
        if let Some(execution) = same_use.and_then(|mutation| self.executions.get(mutation)) {
            let claimed = if execution.request == claim.request {
                Claimed::Existing(Box::new(execution.clone()))
            } else {
                Claimed::Conflict
            };
            return Ok((Done::Claimed(claimed), None));
        }
        let raced = claim.ordinal != consumed.saturating_add(1)
            || !Activity::admits(self.agents.get(&claim.agent), claim.agent_rate, claim.at)
            || !Activity::admits(self.authorities.get(&claim.authority), claim.authority_rate, claim.at);
        if raced {
            return Ok((Done::Claimed(Claimed::Raced), None));
        }
        if self.executions.contains_key(&claim.mutation_id) {
            return Err(StoreError::Claim(claim.mutation_id.clone()));
        }
        let (head, sealed) = self.append(draft, sealer)?;
        let execution = Execution {
            mutation_id: claim.mutation_id.clone(),
            certificate: claim.certificate,
            ordinal: claim.ordinal,
            use_key: claim.use_key.clone(),
            request: claim.request,
            agent: claim.agent.clone(),
            authority: claim.authority.clone(),
            target: claim.target.clone(),
            state: State::Running,
            decision: head.number,
            decided_at: sealed.time,
            outcome: None,
            outcome_at: None,
        };
        self.consumed.insert(claim.certificate, claim.ordinal);
        self.by_use.insert((claim.certificate, claim.use_key.clone()), claim.mutation_id.clone());
        self.executions.insert(claim.mutation_id.clone(), execution.clone());
        let of_agent = Activity::grow(&mut self.agents, &claim.agent);
        let of_authority = Activity::grow(&mut self.authorities, &claim.authority);
        let new = NewExecution { execution, uses: claim.uses.get(), of_agent, of_authority };
        let effect = Effect::Execution(Box::new(new));
        Ok((Done::Claimed(Claimed::New(head)), Some(Change { sealed, effect })))
    }

    fn complete(
        &mut self,
        mutation: &MutationId,
        state: State,
        draft: &Draft,
        sealer: &Sealer,
    ) -> Result<(Done, Option<Change>), StoreError> {
        let execution = self.executions.get(mutation);
        let from = execution.ok_or_else(|| StoreError::UnknownMutation(mutation.clone()))?.state;
        if !from.may_become(state) {
            return Err(StoreError::Transition { from, to: state });
        }
        let (head, sealed) = self.append(draft, sealer)?;
        if let Some(execution) = self.executions.get_mut(mutation) {
            execution.state = state;
            execution.outcome = Some(head.number);
            execution.outcome_at = Some(sealed.time);
        }
        let effect = Effect::Outcome(mutation.clone(), state);
        Ok((Done::Appended(head), Some(Change { sealed, effect })))
    }

    fn epoch(
        &mut self,
        mark: &EpochMark,
        draft: &Draft,
        sealer: &Sealer,
    ) -> Result<(Done, Option<Change>), StoreError> {
        let statement = Digest::of(&mark.statement);
        if let Some((newest, digest)) = self.epochs.get(&mark.authority).copied() {
            if newest == mark.sequence && digest == statement {
                return Ok((Done::Epoch(EpochAppended::Same), None));
            }
            if newest >= mark.sequence {
                let (authority, next) = (mark.authority.clone(), mark.sequence);
                return Err(StoreError::EpochBackwards { authority, newest, next });
            }
        }
        let (head, sealed) = self.append(draft, sealer)?;
        self.epochs.insert(mark.authority.clone(), (mark.sequence, statement));
        Ok((Done::Epoch(EpochAppended::New(head)), Some(Change { sealed, effect: Effect::Epoch })))
    }

    fn append(&mut self, draft: &Draft, sealer: &Sealer) -> Result<(Head, Sealed), StoreError> {
        let (link, not_before) = match self.place {
            Some(Place { head, time }) => (Link { number: head.number + 1, previous: head.digest }, time),
            None => (Link { number: 1, previous: beginning() }, draft.time),
        };
        let sealed = sealer.seal(draft, link, not_before).map_err(StoreError::Seal)?;
        let head = Head { number: sealed.number, digest: sealed.digest };
        self.place = Some(Place { head, time: sealed.time });
        Ok((head, sealed))
    }
}

impl Activity {
    /// Whether one more execution stays within `limit` in the window that ends at `now`.
    fn admits(activity: Option<&Self>, limit: Option<RateLimit>, now: Timestamp) -> bool {
        let Some(limit) = limit else { return true };
        let Some(activity) = activity else { return limit.executions > 0 };
        // A window that nobody loaded begins with the first execution.
        let before = activity.at_start.get(&window_start(now, limit.per_seconds)).copied().unwrap_or(0);
        activity.newest.saturating_sub(before) < u64::from(limit.executions)
    }

    fn grow(activities: &mut HashMap<SpiffeId, Self>, id: &SpiffeId) -> u64 {
        let activity = activities.entry(id.clone()).or_default();
        activity.newest = activity.newest.saturating_add(1);
        activity.newest
    }
}

/// The octets of a write that wait in the queue, roughly.
pub(super) fn weight(op: &Op) -> usize {
    let draft = op.draft();
    let artefacts: usize = draft.artefacts.iter().map(|artefact| artefact.octets().len()).sum();
    let mark = if let Op::Epoch(mark, _) = op { mark.statement.len() } else { 0 };
    artefacts.saturating_add(mark).saturating_add(json_octets(&draft.body))
}

/// The octets of a value's text, roughly.
fn json_octets(json: &Json) -> usize {
    match json {
        Json::String(text) => text.len() + 2,
        Json::Array(values) => values.iter().map(json_octets).sum::<usize>() + 2,
        Json::Object(object) => {
            object.iter().map(|(name, value)| name.len() + 4 + json_octets(value)).sum::<usize>() + 2
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => 8,
    }
}
