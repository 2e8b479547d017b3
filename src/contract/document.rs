//! The contract as a whole.

use std::time::Duration;

use super::call::{Call, Choice};
use super::json::{Json, Number};
use super::names::{StepName, TargetName};
use super::resource::TargetKind;
use super::step::Step;
use super::wire;
use crate::digest::Digest;
use crate::reason::{Denial, Reason};
use crate::timestamp::Timestamp;

/// An execution contract. A value of this type keeps every rule of the format, and has exactly one text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contract {
    target: Target,
    steps: Vec<Step>,
    limits: Limits,
    deadline: Duration,
    canonical: String,
    digest: Digest,
}

/// The target that a contract is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// Its kind.
    pub kind: TargetKind,
    /// Its name in the broker's configuration.
    pub name: TargetName,
}

/// How often and when a contract may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How often: 1 to 10,000.
    pub uses: u32,
    /// The least time between two uses: whole seconds, at most 365 days.
    pub spacing: Duration,
    /// The first second of its validity.
    pub not_before: Timestamp,
    /// The last second of its validity, not before the first.
    pub not_after: Timestamp,
}

impl Contract {
    /// The name of this version of the format.
    pub const SCHEMA: &'static str = "seb.dev/contract/v1";
    /// The most octets of a contract: 48 KiB, so that a certificate of 64 KiB has room for it.
    pub const MAX_OCTETS: usize = 48 * 1024;
    /// The most octets of the canonical text of an inline body: 16 KiB.
    pub const MAX_INLINE: usize = 16 * 1024;
    /// The most octets of a detached body: 4 MiB.
    pub const MAX_DETACHED: u32 = 4 * 1024 * 1024;

    /// Reads a contract as it stands in a certificate.
    ///
    /// # Errors
    /// [`Reason::ContractTooLarge`] beyond a bound on size, depth or the length of a list;
    /// [`Reason::ContractEncoding`] for octets that are not strict JSON in canonical form; [`Reason::ContractSchema`]
    /// for anything that breaks a rule of the format. The detail names the place as a JSON pointer.
    pub fn parse(octets: &[u8]) -> Result<Self, Denial> {
        check_size(octets.len())?;
        let json = read(octets)?;
        let canonical = json.to_canonical();
        if let Some(at) = first_difference(canonical.as_bytes(), octets) {
            let detail = format!("octet {at}: not the canonical form, which is compact with sorted names");
            return Err(Denial::new(Reason::ContractEncoding, detail));
        }
        Self::from_canonical(&json, canonical)
    }

    /// Reads a contract as people write it: strict JSON with any white space and order of names, at most 64 KiB.
    ///
    /// # Errors
    /// As [`Contract::parse`], except that the text need not be canonical.
    pub fn compile(text: &str) -> Result<Self, Denial> {
        Self::from_json(&read(text.as_bytes())?)
    }

    /// Makes a contract of its parts.
    ///
    /// # Errors
    /// As [`Contract::parse`]: the same rules hold.
    pub fn new(target: &Target, steps: &[Step], limits: &Limits, deadline: Duration) -> Result<Self, Denial> {
        whole_seconds(limits.spacing, "/limits/spacing_seconds")?;
        whole_seconds(deadline, "/deadline_seconds")?;
        let json = to_json(target, steps, limits, deadline);
        // Through the text, so that what cannot be read back is not made: the same numbers, depth and sizes.
        let canonical = json.to_canonical();
        check_size(canonical.len())?;
        Self::from_json(&read(canonical.as_bytes())?)
    }

    fn from_json(json: &Json) -> Result<Self, Denial> {
        let canonical = json.to_canonical();
        check_size(canonical.len())?;
        Self::from_canonical(json, canonical)
    }

    fn from_canonical(json: &Json, canonical: String) -> Result<Self, Denial> {
        let wire::Parts { target, steps, limits, deadline } = wire::check(json, canonical.len())?;
        // One contract, one text: what was understood, written again, is what was read.
        if to_json(&target, &steps, &limits, deadline) != *json {
            return Err(Denial::new(
                Reason::ContractSchema,
                "a field has a second spelling: compile the contract anew",
            ));
        }
        let digest = Digest::of(canonical.as_bytes());
        Ok(Self { target, steps, limits, deadline, canonical, digest })
    }

    /// The canonical text: the octets that the certificate holds.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// The SHA-256 of the canonical text.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The target that it is for.
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// The kind of the target.
    pub const fn target_kind(&self) -> TargetKind {
        self.target.kind
    }

    /// The name of the target.
    pub const fn target_name(&self) -> &TargetName {
        &self.target.name
    }

    /// The steps, in the order of execution; there is at least one.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// How often and when it may be used.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The longest time from decision to effect: 1 second to 1 hour.
    pub const fn deadline(&self) -> Duration {
        self.deadline
    }

    /// The only step.
    ///
    /// # Errors
    /// [`Reason::ContractStepsUnsupported`] where there are several.
    pub fn single_step(&self) -> Result<&Step, Denial> {
        match self.steps.as_slice() {
            [step] => Ok(step),
            steps => Err(Denial::new(Reason::ContractStepsUnsupported, format!("it has {} steps", steps.len()))),
        }
    }

    /// The step of this name; without a name the only one.
    ///
    /// # Errors
    /// [`Reason::StepUnknown`] where there is no step of this name, or none was named and there are several.
    pub fn step(&self, name: Option<&StepName>) -> Result<&Step, Denial> {
        let found = match (name, self.steps.as_slice()) {
            (None, [step]) => return Ok(step),
            (None, steps) => Err(format!("no step is named, and there are {}", steps.len())),
            (Some(name), steps) => {
                steps.iter().find(|step| step.name() == name).ok_or_else(|| format!("there is no step `{name}`"))
            }
        };
        found.map_err(|detail| Denial::new(Reason::StepUnknown, detail))
    }

    /// The exact call of one step, with the agent's choice put into it: [`Contract::step`] and [`Step::call`].
    ///
    /// # Errors
    /// All reasons of the two.
    pub fn call(&self, step: Option<&StepName>, choice: &Choice) -> Result<Call, Vec<Denial>> {
        self.step(step).map_err(|denial| vec![denial])?.call(&self.target, choice)
    }
}

impl Target {
    /// As it stands in contracts.
    pub(super) fn to_json(&self) -> Json {
        Json::object([("kind", Json::string(self.kind)), ("name", Json::string(&self.name))])
    }
}

fn check_size(octets: usize) -> Result<(), Denial> {
    if octets <= Contract::MAX_OCTETS {
        return Ok(());
    }
    let detail = format!("{octets} octets: at most {} are allowed", Contract::MAX_OCTETS);
    Err(Denial::new(Reason::ContractTooLarge, detail))
}

fn read(octets: &[u8]) -> Result<Json, Denial> {
    Json::parse(octets).map_err(|error| {
        let reason = if error.is_too_large() { Reason::ContractTooLarge } else { Reason::ContractEncoding };
        Denial::new(reason, error.to_string())
    })
}

/// A contract of these parts, which count whole seconds.
fn to_json(target: &Target, steps: &[Step], limits: &Limits, deadline: Duration) -> Json {
    // More seconds than a double holds are more than the format allows: null is refused as well as they are.
    let seconds = |duration: Duration| {
        let seconds = i64::try_from(duration.as_secs()).ok().and_then(|seconds| Number::from_integer(seconds).ok());
        seconds.map_or(Json::Null, Json::Number)
    };
    let limits = Json::object([
        ("uses", limits.uses.into()),
        ("spacing_seconds", seconds(limits.spacing)),
        ("not_before", Json::string(limits.not_before)),
        ("not_after", Json::string(limits.not_after)),
    ]);
    Json::object([
        ("schema", Json::from(Contract::SCHEMA)),
        ("target", target.to_json()),
        ("steps", steps.iter().map(Step::to_json).collect()),
        ("limits", limits),
        ("deadline_seconds", seconds(deadline)),
    ])
}

fn whole_seconds(duration: Duration, pointer: &str) -> Result<(), Denial> {
    if duration.subsec_nanos() == 0 {
        return Ok(());
    }
    Err(Denial::new(Reason::ContractSchema, format!("`{pointer}`: must be whole seconds")))
}

/// Where two texts first differ.
fn first_difference(a: &[u8], b: &[u8]) -> Option<usize> {
    if a == b {
        return None;
    }
    let common = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    Some(common)
}
