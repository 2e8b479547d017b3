//! Drafts of what follows a decision, and of what stands beside it: outcomes and epoch statements.

use schemars::JsonSchema;
use serde::Deserialize;

use super::about::About;
use super::decision::{inline, members, trace};
use super::draft::{Artefact, Draft, InvalidDraft, Subject};
use super::statement::number;
use super::{Kind, media};
use crate::contract::Json;
use crate::decision::MutationId;
use crate::digest::Digest;
use crate::epoch::EpochStatement;
use crate::execution::{Grade, Outcome, State};
use crate::reason::Reason;
use crate::spiffe_id;
use crate::timestamp::Timestamp;

/// The most characters of a detail.
const MAX_DETAIL: usize = 2048;

/// What is recorded of an outcome.
#[derive(Debug, Clone)]
pub struct OutcomeParts<'o> {
    /// When it was known.
    pub time: Timestamp,
    /// The mutation.
    pub mutation_id: &'o MutationId,
    /// The number of the record of the decision.
    pub decision: u64,
    /// The fields of the decision: agent, authority, target, resource, certificate.
    pub about: About,
    /// How it ended.
    pub outcome: &'o Outcome,
    /// How drift was held against the call, where it was made.
    pub drift: Option<Drift>,
    /// The target's answer, in the target's terms: a status, a request id.
    pub answer: Option<Json>,
    /// Where the time went.
    pub timings: Option<Timings>,
    /// What settled it, where it was reconciled.
    pub evidence: Option<Json>,
    /// The W3C trace context.
    pub trace: Option<&'o str>,
}

/// How drift was held against a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drift {
    /// How.
    pub grade: Grade,
    /// The milliseconds between the check and the call, where it was checked before.
    pub window_ms: Option<u32>,
}

/// Where the time of an execution went, each in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// Gathering facts and deciding.
    pub decide_us: u64,
    /// Minting the identity.
    pub mint_us: u64,
    /// The fence.
    pub fence_us: u64,
    /// The call.
    pub call_us: u64,
}

/// The body of an `outcome` record.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "outcome")]
#[expect(dead_code, reason = "for the schema and the check of the form")]
pub(super) struct Wire {
    /// The mutation.
    #[schemars(with = "String")]
    pub(super) mutation_id: MutationId,
    /// The number of the record of the decision.
    #[schemars(range(min = 1))]
    pub(super) decision: u64,
    /// How it ended.
    pub(super) state: State,
    /// The particulars.
    detail: String,
    /// The reason, where one of the list is the cause.
    reason: Option<Reason>,
    /// Why the target refused, where it did.
    rejection: Option<WireRejection>,
    /// The object's version token afterwards.
    version: Option<String>,
    /// How drift was held against the call.
    drift: Option<WireDrift>,
    /// The target's answer.
    #[schemars(with = "Option<Json>")]
    answer: Option<serde::de::IgnoredAny>,
    /// Where the time went, in microseconds.
    timings: Option<WireTimings>,
    /// What settled it, or its digest where it is an artefact.
    #[schemars(with = "Option<Json>")]
    evidence: Option<serde::de::IgnoredAny>,
    /// The W3C trace context.
    trace: Option<String>,
}

/// Why a target refused.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "rejection")]
#[serde(rename_all = "snake_case")]
enum WireRejection {
    /// The baseline did not hold.
    Precondition,
    /// The target does not let the execution identity do this.
    Forbidden,
    /// The target does not take the request.
    Invalid,
    /// The deadline had passed.
    TooLate,
    /// The target takes no more for now.
    Busy,
}

/// How drift was held against a call.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "drift")]
#[expect(dead_code, reason = "for the schema and the check of the form")]
struct WireDrift {
    /// How.
    grade: Grade,
    /// The milliseconds between check and call.
    window_ms: Option<u32>,
}

/// Microseconds of each part of an execution.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "timings")]
#[expect(dead_code, reason = "for the schema and the check of the form")]
struct WireTimings {
    /// Gathering facts and deciding.
    decide_us: u64,
    /// Minting the identity.
    mint_us: u64,
    /// The fence.
    fence_us: u64,
    /// The call.
    call_us: u64,
}

/// The body of an `epoch` record.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "epoch")]
#[expect(dead_code, reason = "for the schema and the check of the form")]
pub(super) struct EpochWire {
    /// The authority that states it.
    #[schemars(with = "String")]
    authority: spiffe_id::Text,
    /// The statement, canonical and without its signature.
    statement: Digest,
    /// The statement as it was signed.
    signed: Digest,
    /// Its sequence.
    sequence: u64,
    /// The policy epoch in force.
    policy_epoch: u64,
    /// The revocation epoch in force.
    revocation_epoch: u64,
    /// How many names it revokes.
    revoked: u64,
    /// When it was stated.
    issued_at: Timestamp,
    /// When it was received, by the broker's clock.
    received_at: Timestamp,
}

/// The draft of an outcome.
///
/// # Errors
/// The evidence is larger than an artefact can be.
pub fn outcome(parts: OutcomeParts<'_>) -> Result<Draft, InvalidDraft> {
    let (outcome, mutation_id) = (parts.outcome, parts.mutation_id);
    let mut artefacts = Vec::new();
    let answer = parts.answer.map(|answer| inline(answer, media::EVIDENCE, &mut artefacts)).transpose()?;
    let evidence = parts.evidence.map(|evidence| inline(evidence, media::EVIDENCE, &mut artefacts)).transpose()?;
    let detail: String = outcome.detail.chars().take(MAX_DETAIL).collect();
    let body = members([
        ("mutation_id", Some(Json::string(mutation_id))),
        ("decision", Some(number(parts.decision))),
        ("state", Some(Json::from(outcome.state.as_str()))),
        ("detail", Some(Json::from(detail))),
        ("reason", outcome.reason.map(|reason| Json::from(reason.code()))),
        ("rejection", outcome.rejection.map(|rejection| Json::from(rejection.as_str()))),
        ("version", outcome.version.as_ref().map(Json::string)),
        ("drift", parts.drift.map(Drift::to_json)),
        ("answer", answer),
        ("timings", parts.timings.map(Timings::to_json)),
        ("evidence", evidence),
        ("trace", trace(parts.trace)),
    ]);
    let about = About {
        mutation_id: Some(mutation_id.clone()),
        decision: None,
        state: Some(outcome.state),
        reason: outcome.reason,
        ..parts.about
    };
    let mut subjects = vec![Subject::new("mutation", Digest::of(mutation_id.as_str().as_bytes()))];
    subjects.extend(about.certificate.map(|certificate| Subject::new("certificate", certificate)));
    Ok(Draft { kind: Kind::Outcome, time: parts.time, subjects, about, body, artefacts })
}

impl Drift {
    fn to_json(self) -> Json {
        members([("grade", Some(Json::from(self.grade.as_str()))), ("window_ms", self.window_ms.map(Json::from))])
    }
}

impl Timings {
    fn to_json(self) -> Json {
        Json::object([
            ("decide_us", number(self.decide_us)),
            ("mint_us", number(self.mint_us)),
            ("fence_us", number(self.fence_us)),
            ("call_us", number(self.call_us)),
        ])
    }
}

/// The draft of an epoch statement that was accepted; `signed` are its octets as the authority signed them.
///
/// # Errors
/// It is larger than an artefact can be.
pub fn epoch(statement: &EpochStatement, signed: &[u8], received_at: Timestamp) -> Result<Draft, InvalidDraft> {
    let parts = statement.parts();
    let canonical = Artefact::new(media::EPOCH, statement.to_canonical().into_bytes())?;
    let signed = Artefact::new(media::SIGNED_EPOCH, signed)?;
    let body = Json::object([
        ("authority", Json::string(&parts.authority)),
        ("statement", Json::string(canonical.digest())),
        ("signed", Json::string(signed.digest())),
        ("sequence", number(parts.sequence)),
        ("policy_epoch", number(parts.policy_epoch)),
        ("revocation_epoch", number(parts.revocation_epoch)),
        ("revoked", number(u64::try_from(parts.revoked.len()).unwrap_or(u64::MAX))),
        ("issued_at", Json::string(parts.issued_at)),
        ("received_at", Json::string(received_at)),
    ]);
    Ok(Draft {
        kind: Kind::Epoch,
        time: received_at,
        subjects: vec![Subject::new("epoch-statement", canonical.digest())],
        about: About { authority: Some(parts.authority.clone()), ..About::default() },
        body,
        artefacts: vec![canonical, signed],
    })
}
