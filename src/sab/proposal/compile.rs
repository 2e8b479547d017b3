//! From a proposal and the live state to the contract that the proposal asks for.

use crate::contract::{Contract, Json, Number, Pointer, Version};
use crate::reason::Denial;
use crate::timestamp::Timestamp;

use super::{BaselineWish, End, Proposal, ProposedStep};

/// An object as the authority reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Live {
    /// It does not exist.
    Absent,
    /// It exists.
    Present {
        /// What the target calls this very object.
        identity: String,
        /// Its version token.
        version: Version,
        /// All of it.
        state: Json,
    },
}

/// The proposal does not fit the live state or the time: propose again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Uncompilable {
    /// The contract would break a rule.
    #[error("{}", .0.detail)]
    Contract(Denial),
    /// The object exists, and should not.
    #[error("`/steps/{step}/baseline`: the object exists already: propose a change of it")]
    Exists {
        /// The step, from 0.
        step: usize,
    },
    /// The object does not exist, and should.
    #[error("`/steps/{step}/mutation/resource`: there is no such object at the target")]
    Missing {
        /// The step, from 0.
        step: usize,
    },
    /// A field that the proposal wants to be held to is not there.
    #[error("`/steps/{step}/baseline/fields`: the object has no field `{pointer}`")]
    NoField {
        /// The step, from 0.
        step: usize,
        /// The field.
        pointer: Pointer,
    },
    /// The validity that is asked for has ended.
    #[error("`/limits/until`: {until} has passed: propose a later end")]
    Over {
        /// The end.
        until: Timestamp,
    },
    /// There is not one live state for each step.
    #[error("{found} objects were read for {steps} steps")]
    Count {
        /// How many steps there are.
        steps: usize,
        /// How many objects.
        found: usize,
    },
}

impl Proposal {
    /// The contract over the live state as it was read at `now`: one object for each step, in their order.
    ///
    /// # Errors
    /// The live state has no baseline to give, or the time that was asked for is over.
    pub fn compile(&self, live: &[Live], now: Timestamp) -> Result<Contract, Uncompilable> {
        self.contract(live, now, |pointer, state| pointer.resolve(state).cloned())
    }

    pub(super) fn contract(
        &self,
        live: &[Live],
        now: Timestamp,
        value: impl Fn(&Pointer, &Json) -> Option<Json>,
    ) -> Result<Contract, Uncompilable> {
        if live.len() != self.steps.len() {
            return Err(Uncompilable::Count { steps: self.steps.len(), found: live.len() });
        }
        let mut steps = Vec::with_capacity(self.steps.len());
        for (index, (step, live)) in self.steps.iter().zip(live).enumerate() {
            let baseline = baseline(step, live, &value).map_err(|problem| problem.at(index))?;
            steps.push(step.to_json(baseline));
        }
        let target = [("kind", Json::string(self.target.kind)), ("name", Json::string(&self.target.name))];
        let contract = Json::object([
            ("schema", Json::from(Contract::SCHEMA)),
            ("target", Json::object(target)),
            ("steps", Json::Array(steps)),
            ("limits", self.limits(now)?),
            ("deadline_seconds", whole_seconds(self.deadline.get())),
        ]);
        Contract::parse(contract.to_canonical().as_bytes()).map_err(Uncompilable::Contract)
    }

    fn limits(&self, now: Timestamp) -> Result<Json, Uncompilable> {
        let whole = |time: Timestamp| Timestamp::from_seconds(time.seconds()).unwrap_or(time);
        let from = self.limits.from.unwrap_or_else(|| whole(now));
        let until = match self.limits.end {
            End::Until(until) => until,
            End::For(length) => from.saturating_add(length.get()),
        };
        let until = if matches!(self.limits.end, End::For(_)) { whole(until) } else { until };
        if until < whole(now) {
            return Err(Uncompilable::Over { until });
        }
        Ok(Json::object([
            ("uses", self.limits.uses.into()),
            ("spacing_seconds", whole_seconds(self.limits.spacing.get())),
            ("not_before", Json::string(from)),
            ("not_after", Json::string(until)),
        ]))
    }
}

/// Whole seconds as a number; null, which no contract takes, for anything else.
fn whole_seconds(duration: std::time::Duration) -> Json {
    let seconds = i64::try_from(duration.as_secs()).ok().filter(|_| duration.subsec_nanos() == 0);
    seconds.and_then(|seconds| Number::from_integer(seconds).ok()).map_or(Json::Null, Json::Number)
}

/// Why a step has no baseline; it learns later which step it was.
enum NoBaseline {
    Exists,
    Missing,
    NoField(Pointer),
}

impl NoBaseline {
    fn at(self, step: usize) -> Uncompilable {
        match self {
            Self::Exists => Uncompilable::Exists { step },
            Self::Missing => Uncompilable::Missing { step },
            Self::NoField(pointer) => Uncompilable::NoField { step, pointer },
        }
    }
}

fn baseline(
    step: &ProposedStep,
    live: &Live,
    value: &impl Fn(&Pointer, &Json) -> Option<Json>,
) -> Result<Json, NoBaseline> {
    let mode = |name: &str| ("mode", Json::from(name));
    let (identity, version, state) = match (live, &step.wish) {
        (Live::Absent, BaselineWish::Absent) => return Ok(Json::object([mode("absent")])),
        (Live::Present { .. }, BaselineWish::Absent) => return Err(NoBaseline::Exists),
        (Live::Absent, _) => return Err(NoBaseline::Missing),
        (Live::Present { identity, version, state }, _) => (identity, version, state),
    };
    let seen = [("identity", Json::string(identity)), ("version", Json::string(version))];
    match &step.wish {
        BaselineWish::Absent => Err(NoBaseline::Exists),
        BaselineWish::Exact => Ok(Json::object(seen.into_iter().chain([mode("exact")]))),
        BaselineWish::Fields(pointers) => {
            let field = |pointer: &Pointer| {
                let value = value(pointer, state).ok_or_else(|| NoBaseline::NoField(pointer.clone()))?;
                Ok((pointer.to_string(), value))
            };
            let fields = pointers.iter().map(field).collect::<Result<Vec<_>, _>>()?;
            Ok(Json::object(seen.into_iter().chain([mode("fields"), ("fields", Json::object(fields))])))
        }
    }
}

impl ProposedStep {
    fn to_json(&self, baseline: Json) -> Json {
        let always = [("name", Json::string(&self.name)), ("mutation", self.mutation.clone()), ("baseline", baseline)];
        let dry_run = self.dry_run.then_some(("dry_run", true.into()));
        let after = self.after.iter().map(|after| ("after", after.clone()));
        let compensation = self.compensation.iter().map(|name| ("compensation", Json::string(name)));
        Json::object(always.into_iter().chain(dry_run).chain(after).chain(compensation))
    }
}
