//! What an agent proposes, and the contract that it becomes.
//!
//! `docs/proposal.md` describes the format. A proposal has the structure of a [contract](crate::contract) without what
//! only the authority knows: it says which parts of the live state matter, and [`Proposal::compile`] puts in what they
//! are. What holds:
//!
//! - Reading takes bounded memory, and whatever cannot become a contract over *some* live state is refused when it is
//!   read, with its place.
//! - The mutation is the agent's own text, octet for octet in canonical form; compiling adds the baseline and the limits,
//!   and changes nothing else.

mod change;
mod compile;
mod yaml;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use crate::contract::{
    InvalidJson, Json, Pointer, Resource, StepName, Target, TargetKind, TargetName, Verb, Version, decode,
};
use crate::digest::Digest;
use crate::timestamp::Timestamp;

use self::change::Change;
use super::period::Period;
pub use compile::{Live, Uncompilable};
pub use yaml::InvalidYaml;
pub(crate) use yaml::parse as parse_yaml;

/// A proposal that could become a contract. Holds no illegal value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    target: Target,
    steps: Vec<ProposedStep>,
    limits: ProposedLimits,
    deadline: Period,
    justification: String,
    evidence: Vec<Evidence>,
    /// What the steps are about, in their order.
    resources: Vec<Resource>,
}

/// One step as it is proposed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ProposedStep {
    name: StepName,
    /// As in a contract.
    mutation: Json,
    wish: BaselineWish,
    dry_run: bool,
    after: Option<Json>,
    compensation: Option<StepName>,
}

/// What of the live state the agent asks to be held to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaselineWish {
    /// The object must not exist.
    Absent,
    /// Nothing of the object may change until the mutation.
    Exact,
    /// Only these fields must not change.
    Fields(Vec<Pointer>),
}

/// How often and when the agent wants to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ProposedLimits {
    uses: u32,
    spacing: Period,
    from: Option<Timestamp>,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Until(Timestamp),
    For(Period),
}

/// Something that the agent shows in support of its proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// What it is called, unique in the proposal.
    pub name: String,
    /// Its media type.
    pub media_type: String,
    /// The SHA-256 of its octets.
    pub digest: Digest,
    /// The content, where it came with the proposal.
    pub content: Option<String>,
}

/// The text is not a proposal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProposal {
    /// It is too long.
    #[error("{0} octets: at most {max} are read; put large bodies and evidence beside it, by digest", max = Proposal::MAX_OCTETS)]
    TooLarge(usize),
    /// It begins like JSON, and is not.
    #[error("not strict JSON")]
    Json(#[source] InvalidJson),
    /// It is not the YAML that is read.
    #[error("not YAML as it is read here")]
    Yaml(#[source] InvalidYaml),
    /// A rule of the format is broken.
    #[error("`{pointer}`: {message}")]
    Field {
        /// Where, as a JSON pointer.
        pointer: String,
        /// How.
        message: String,
    },
    /// It could not become a contract, whatever the live state.
    #[error("{0}")]
    Contract(String),
}

/// The name that stands for the only step, where the proposal gives none.
const ONLY_STEP: &str = "change";
/// The most octets of a justification.
const MAX_JUSTIFICATION: usize = 4096;
/// The most pieces of evidence.
const MAX_EVIDENCE: usize = 32;

impl Proposal {
    /// The name of this version of the format.
    pub const SCHEMA: &'static str = "seb.dev/proposal/v1";
    /// The most octets of a proposal's text: 64 KiB.
    pub const MAX_OCTETS: usize = 64 * 1024;

    /// Reads a proposal: strict JSON if it begins with `{`, else YAML.
    ///
    /// # Errors
    /// See [`InvalidProposal`]; each names the place.
    pub fn parse(text: &str) -> Result<Self, InvalidProposal> {
        if text.len() > Self::MAX_OCTETS {
            return Err(InvalidProposal::TooLarge(text.len()));
        }
        let json = if text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{') {
            Json::parse(text.as_bytes()).map_err(InvalidProposal::Json)?
        } else {
            yaml::parse(text).map_err(InvalidProposal::Yaml)?
        };
        Self::from_json(&json)
    }

    /// Reads a proposal from a value.
    ///
    /// # Errors
    /// As [`Proposal::parse`].
    pub fn from_json(json: &Json) -> Result<Self, InvalidProposal> {
        if json.get("schema").and_then(Json::as_str) != Some(Self::SCHEMA) {
            return Err(field("/schema", format!("must be `{}`, the only version that is known", Self::SCHEMA)));
        }
        let wire: Wire = decode(json).map_err(|(pointer, message)| field(&pointer, message))?;
        let mut proposal = Self {
            target: Target { kind: wire.target.kind, name: wire.target.name },
            steps: steps(wire.steps, wire.target.kind)?,
            limits: limits(&wire.limits)?,
            deadline: wire.deadline,
            justification: justification(wire.justification)?,
            evidence: evidence(wire.evidence)?,
            resources: Vec::new(),
        };
        proposal.resources = proposal.probe()?;
        Ok(proposal)
    }

    /// The target that it is about.
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// What its steps are about, in their order: what has to be read before it can be compiled.
    pub fn resources(&self) -> &[Resource] {
        &self.resources
    }

    /// Why the agent wants it.
    pub fn justification(&self) -> &str {
        &self.justification
    }

    /// What the agent shows in support of it.
    pub fn evidence(&self) -> &[Evidence] {
        &self.evidence
    }

    /// H(E): the SHA-256 of the canonical JSON of the justification and of each piece of evidence by name, media type
    /// and digest. It stands in the certificate.
    pub fn evidence_digest(&self) -> Digest {
        Digest::of(self.evidence_statement().to_canonical().as_bytes())
    }

    /// What [`Proposal::evidence_digest`] is taken of.
    pub fn evidence_statement(&self) -> Json {
        let pieces = self.evidence.iter().map(|piece| {
            Json::object([
                ("name", Json::string(&piece.name)),
                ("media_type", Json::string(&piece.media_type)),
                ("digest", Json::string(piece.digest)),
            ])
        });
        Json::object([
            ("schema", Json::from("seb.dev/evidence/v1")),
            ("justification", Json::string(&self.justification)),
            ("evidence", pieces.collect()),
        ])
    }
}

fn field(pointer: &str, message: impl Into<String>) -> InvalidProposal {
    let excerpt = |text: &str, most| text.chars().take(most).collect::<String>();
    InvalidProposal::Field { pointer: excerpt(pointer, 200), message: excerpt(&message.into(), 300) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    #[expect(dead_code, reason = "read for its rule alone")]
    schema: String,
    target: TargetWire,
    steps: Vec<StepWire>,
    limits: LimitsWire,
    #[serde(default = "default_deadline")]
    deadline: Period,
    justification: String,
    #[serde(default)]
    evidence: Vec<EvidenceWire>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetWire {
    kind: TargetKind,
    name: TargetName,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StepWire {
    #[serde(default, deserialize_with = "present")]
    name: Option<StepName>,
    #[serde(default, deserialize_with = "present")]
    mutation: Option<Json>,
    #[serde(default, deserialize_with = "present")]
    change: Option<Change>,
    #[serde(default, deserialize_with = "present")]
    baseline: Option<BaselineWire>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default, deserialize_with = "present")]
    after: Option<Json>,
    #[serde(default, deserialize_with = "present")]
    compensation: Option<StepName>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BaselineWire {
    mode: Mode,
    #[serde(default, deserialize_with = "present")]
    fields: Option<Vec<Pointer>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Absent,
    Exact,
    Fields,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsWire {
    #[serde(default = "one")]
    uses: u32,
    #[serde(default = "no_spacing")]
    spacing: Period,
    #[serde(default, deserialize_with = "present")]
    from: Option<Timestamp>,
    #[serde(default, deserialize_with = "present")]
    until: Option<Timestamp>,
    #[serde(rename = "for", default, deserialize_with = "present")]
    length: Option<Period>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EvidenceWire {
    name: String,
    media_type: String,
    #[serde(default, deserialize_with = "present")]
    content: Option<String>,
    #[serde(default, deserialize_with = "present")]
    digest: Option<Digest>,
}

/// Reads an optional field that is there: null is a value like any other, and not a way to leave the field out.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

const fn one() -> u32 {
    1
}

const fn no_spacing() -> Period {
    Period::seconds(0)
}

const fn default_deadline() -> Period {
    Period::seconds(30)
}

fn steps(wire: Vec<StepWire>, kind: TargetKind) -> Result<Vec<ProposedStep>, InvalidProposal> {
    let only = wire.len() == 1;
    let step = |(index, step): (usize, StepWire)| {
        let at = |name: &str| format!("/steps/{index}/{name}");
        let name = match step.name {
            Some(name) => name,
            None if only => ONLY_STEP.parse().map_err(|_| field(&at("name"), "must be a name"))?,
            None => return Err(field(&at("name"), "is missing: where there are several steps, each needs a name")),
        };
        let (mutation, usual) = match (step.mutation, step.change) {
            (Some(mutation), None) => {
                let wish = usual_wish(&mutation);
                (mutation, wish)
            }
            (None, Some(change)) => {
                change.expand().map_err(|(name, message)| field(&at(&format!("change/{name}")), message))?
            }
            _ => return Err(field(&format!("/steps/{index}"), "must have one of `mutation` and `change`")),
        };
        let wish = match step.baseline {
            None => usual,
            Some(BaselineWire { mode: Mode::Absent, fields: None }) => BaselineWish::Absent,
            Some(BaselineWire { mode: Mode::Exact, fields: None }) => BaselineWish::Exact,
            Some(BaselineWire { mode: Mode::Fields, fields: Some(fields) }) => {
                let distinct: BTreeMap<_, _> = fields.iter().map(|pointer| (pointer, ())).collect();
                if distinct.len() != fields.len() || fields.is_empty() || fields.len() > 64 {
                    return Err(field(&at("baseline/fields"), "must be 1 to 64 distinct JSON pointers"));
                }
                BaselineWish::Fields(fields)
            }
            Some(_) => {
                return Err(field(&at("baseline"), "has `fields` if and only if its `mode` is `fields`"));
            }
        };
        let mutation = with_defaults(mutation);
        let StepWire { dry_run, after, compensation, .. } = step;
        if dry_run && kind != TargetKind::Kubernetes {
            let message = format!("a target of kind `{kind}` tries nothing without effect: leave it out");
            return Err(field(&at("dry_run"), message));
        }
        Ok(ProposedStep { name, mutation, wish, dry_run, after, compensation })
    };
    wire.into_iter().enumerate().map(step).collect()
}

/// What a mutation is held to where the proposal does not say.
fn usual_wish(mutation: &Json) -> BaselineWish {
    let creates = mutation.get("verb").and_then(Json::as_str) == Some(Verb::Create.as_str());
    let subresource = mutation.get("resource").is_some_and(|resource| resource.get("subresource").is_some());
    if creates && !subresource { BaselineWish::Absent } else { BaselineWish::Exact }
}

/// The mutation as it stands in a contract: a parameter that does not say so is not required.
fn with_defaults(mut mutation: Json) -> Json {
    if let Json::Object(mutation) = &mut mutation
        && let Some(Json::Array(parameters)) = mutation.get_mut("parameters")
    {
        for parameter in parameters {
            if let Json::Object(parameter) = parameter
                && parameter.get("required").is_none()
            {
                parameter.insert("required".to_owned(), Json::Bool(false));
            }
        }
    }
    mutation
}

fn limits(wire: &LimitsWire) -> Result<ProposedLimits, InvalidProposal> {
    let end = match (wire.until, wire.length) {
        (Some(until), None) => End::Until(until),
        (None, Some(length)) if length.get().as_secs() > 0 => End::For(length),
        (None, Some(_)) => return Err(field("/limits/for", "must be at least one second")),
        _ => return Err(field("/limits", "must have one of `until` and `for`")),
    };
    Ok(ProposedLimits { uses: wire.uses, spacing: wire.spacing, from: wire.from, end })
}

fn justification(text: String) -> Result<String, InvalidProposal> {
    if text.trim().is_empty() || text.len() > MAX_JUSTIFICATION {
        return Err(field("/justification", format!("must say why, in 1 to {MAX_JUSTIFICATION} octets")));
    }
    Ok(text)
}

fn evidence(wire: Vec<EvidenceWire>) -> Result<Vec<Evidence>, InvalidProposal> {
    if wire.len() > MAX_EVIDENCE {
        return Err(field("/evidence", format!("{} pieces: at most {MAX_EVIDENCE} are allowed", wire.len())));
    }
    let mut pieces: Vec<Evidence> = Vec::new();
    for (index, piece) in wire.into_iter().enumerate() {
        let at = |name: &str| format!("/evidence/{index}/{name}");
        let plain = |text: &str, most| (1..=most).contains(&text.len()) && !text.chars().any(char::is_control);
        if !plain(&piece.name, 128) || pieces.iter().any(|other| other.name == piece.name) {
            return Err(field(&at("name"), "must be 1 to 128 octets without control characters, and its own"));
        }
        if !plain(&piece.media_type, 127) || !piece.media_type.contains('/') {
            return Err(field(&at("media_type"), "must be a media type, such as `text/plain`"));
        }
        let digest = match (&piece.content, piece.digest) {
            (Some(content), None) => Digest::of(content.as_bytes()),
            (None, Some(digest)) => digest,
            _ => return Err(field(&format!("/evidence/{index}"), "must have one of `content` and `digest`")),
        };
        pieces.push(Evidence { name: piece.name, media_type: piece.media_type, digest, content: piece.content });
    }
    Ok(pieces)
}

impl Proposal {
    /// Compiles against a live state that has everything, so that what is wrong with the proposal itself shows now.
    fn probe(&self) -> Result<Vec<Resource>, InvalidProposal> {
        let version: Version = "0".parse().map_err(|_| field("", "internal: no version"))?;
        let live = |step: &ProposedStep| match &step.wish {
            BaselineWish::Absent => Live::Absent,
            BaselineWish::Exact | BaselineWish::Fields(_) => {
                Live::Present { identity: "probe".to_owned(), version: version.clone(), state: Json::Null }
            }
        };
        let live: Vec<Live> = self.steps.iter().map(live).collect();
        let now = match (self.limits.from, self.limits.end) {
            (Some(from), _) => from,
            (None, End::Until(until)) => until,
            (None, End::For(_)) => Timestamp::from_seconds(0).map_err(|error| field("", error.to_string()))?,
        };
        let contract = self.contract(&live, now, |_, _| Some(Json::Null));
        let contract = contract.map_err(|error| InvalidProposal::Contract(error.to_string()))?;
        Ok(contract.steps().iter().map(|step| step.mutation().resource().clone()).collect())
    }
}

#[cfg(test)]
mod tests;
