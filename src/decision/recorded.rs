//! The form of facts that a record holds, and the way back (I7).
//!
//! What is large or stands in the log by itself (certificate, contract, ceilings, epoch statement, a body) is named by
//! its digest; a replay fetches each of these artefacts, and [`RecordedFacts::restore`] refuses any other in its place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Deserializer};

use super::certified::Certified;
use super::facts::{
    Boundary, BoundaryStatus, DryRun, EpochKnowledge, Facts, IdempotencyKey, LiveState, Observed, Peer, RateCount,
    Rates, Request, Uses,
};
use crate::ceiling::Ceilings;
use crate::contract::{Choice, Json, Pointer, StepName, Version, decode};
use crate::digest::Digest;
use crate::epoch::EpochStatement;
use crate::spiffe_id;
use crate::timestamp::Timestamp;

/// The schema of the form.
const SCHEMA: &str = "seb.dev/facts/v1";
/// The schema of the request's own form.
const REQUEST_SCHEMA: &str = "seb.dev/request/v1";
/// The largest form in octets: 64 values of 16 KiB in a request, the fields of a live object, and room.
const MAX_OCTETS: usize = 4 * 1024 * 1024;

/// Facts, with their artefacts by digest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedFacts {
    schema: String,
    certificate: Digest,
    contract: Digest,
    ceilings: Digest,
    broker: spiffe_id::Text,
    peer: RecordedPeer,
    request: RecordedRequest,
    observed: RecordedObserved,
}

/// The artefacts that recorded facts name.
#[derive(Debug, Clone)]
pub struct Artefacts {
    /// The certificate, verified again.
    pub certified: Certified,
    /// The ceilings of that time.
    pub ceilings: Arc<Ceilings>,
    /// The epoch statement, if the facts name one.
    pub statement: Option<Arc<EpochStatement>>,
    /// The detached body, if the facts name one.
    pub body: Option<Vec<u8>>,
}

/// Recorded facts cannot be read, or not with these artefacts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The octets are not recorded facts.
    #[error("not recorded facts: {0}")]
    Form(String),
    /// They are, but not in the canonical form.
    #[error("the recorded facts are not in their canonical form (RFC 8785)")]
    NotCanonical,
    /// An artefact is missing, is not asked for, or is another one than the facts name.
    #[error("the {0} is not the one that the facts name")]
    Artefact(&'static str),
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordedPeer {
    id: spiffe_id::Text,
    key: Digest,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordedRequest {
    #[serde(default, deserialize_with = "present")]
    step: Option<StepName>,
    values: BTreeMap<Pointer, Json>,
    #[serde(default, deserialize_with = "present")]
    body: Option<Digest>,
    #[serde(default, deserialize_with = "present")]
    idempotency_key: Option<IdempotencyKey>,
    #[serde(default, deserialize_with = "present")]
    expected_contract: Option<Digest>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordedObserved {
    now: Timestamp,
    clock_stepped: bool,
    #[serde(default, deserialize_with = "present")]
    epoch: Option<RecordedEpoch>,
    #[serde(default, deserialize_with = "present")]
    uses: Option<Uses>,
    #[serde(default, deserialize_with = "present")]
    rates: Option<Rates>,
    #[serde(default, deserialize_with = "present")]
    boundary: Option<Boundary>,
    live: RecordedLive,
    #[serde(default, deserialize_with = "present")]
    dry_run: Option<DryRun>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordedEpoch {
    statement: Digest,
    age_ms: u32,
    skew_ms: i32,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase", deny_unknown_fields)]
enum RecordedLive {
    Unknown {},
    Deferred {},
    Absent {
        observed_at: Timestamp,
    },
    Present {
        identity: String,
        version: Version,
        fields: BTreeMap<Pointer, Json>,
        absent_fields: BTreeSet<Pointer>,
        observed_at: Timestamp,
    },
}

/// A field that is there is never null: it is left out instead.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl Facts {
    /// The form that a record holds.
    pub fn recorded(&self) -> RecordedFacts {
        RecordedFacts {
            schema: SCHEMA.to_owned(),
            certificate: self.certified.parts().digest,
            contract: self.certified.contract_digest(),
            ceilings: self.ceilings.digest(),
            broker: spiffe_id::Text(self.broker.clone()),
            peer: RecordedPeer { id: spiffe_id::Text(self.peer.id.clone()), key: self.peer.key },
            request: RecordedRequest::of(&self.request),
            observed: RecordedObserved::of(&self.observed),
        }
    }
}

impl Request {
    /// The form that a record holds: a body by its digest.
    pub fn to_json(&self) -> Json {
        RecordedRequest::of(self).to_json()
    }

    /// What two requests share only if they ask for the same: the digest of their form.
    pub fn digest(&self) -> Digest {
        let json = Json::object([("schema", Json::from(REQUEST_SCHEMA)), ("request", self.to_json())]);
        Digest::of(json.to_canonical().as_bytes())
    }
}

impl RecordedFacts {
    /// Reads the canonical form, and no other.
    ///
    /// # Errors
    /// The octets are not that form.
    pub fn parse(octets: &[u8]) -> Result<Self, RestoreError> {
        let json = Json::parse_within(octets, MAX_OCTETS).map_err(|error| RestoreError::Form(error.to_string()))?;
        let facts: Self = decode(&json).map_err(|(place, error)| RestoreError::Form(format!("`{place}`: {error}")))?;
        if facts.schema != SCHEMA {
            return Err(RestoreError::Form(format!("`schema` is not `{SCHEMA}`")));
        }
        if let RecordedLive::Present { fields, absent_fields, .. } = &facts.observed.live
            && let Some(both) = absent_fields.iter().find(|pointer| fields.contains_key(pointer))
        {
            return Err(RestoreError::Form(format!("`{both}` is there and is not")));
        }
        if facts.to_json().to_canonical().as_bytes() != octets {
            return Err(RestoreError::NotCanonical);
        }
        Ok(facts)
    }

    /// The form as JSON; its canonical text is what a record holds.
    pub fn to_json(&self) -> Json {
        Json::object([
            ("schema", Json::from(self.schema.as_str())),
            ("certificate", Json::string(self.certificate)),
            ("contract", Json::string(self.contract)),
            ("ceilings", Json::string(self.ceilings)),
            ("broker", Json::string(&self.broker.0)),
            ("peer", Json::object([("id", Json::string(&self.peer.id.0)), ("key", Json::string(self.peer.key))])),
            ("request", self.request.to_json()),
            ("observed", self.observed.to_json()),
        ])
    }

    /// The digest of the canonical text.
    pub fn digest(&self) -> Digest {
        Digest::of(self.to_json().to_canonical().as_bytes())
    }

    /// The time of the decision.
    pub const fn now(&self) -> Timestamp {
        self.observed.now
    }

    /// The digest of the certificate.
    pub const fn certificate(&self) -> Digest {
        self.certificate
    }

    /// The digest of the certified contract.
    pub const fn contract(&self) -> Digest {
        self.contract
    }

    /// The digest of the ceilings.
    pub const fn ceilings(&self) -> Digest {
        self.ceilings
    }

    /// The digest of the epoch statement; none if none was known.
    pub fn statement(&self) -> Option<Digest> {
        self.observed.epoch.map(|epoch| epoch.statement)
    }

    /// The digest of the detached body; none if none came.
    pub const fn body(&self) -> Option<Digest> {
        self.request.body
    }

    /// The facts again, with the artefacts in their places.
    ///
    /// # Errors
    /// An artefact is missing, is not asked for, or is another one than these facts name.
    pub fn restore(self, artefacts: Artefacts) -> Result<Facts, RestoreError> {
        let Artefacts { certified, ceilings, statement, body } = artefacts;
        let body_digest = body.as_deref().map(Digest::of);
        let statement_digest = statement.as_ref().map(|statement| statement.digest());
        for (what, same) in [
            ("certificate", certified.parts().digest == self.certificate),
            ("contract", certified.contract_digest() == self.contract),
            ("set of ceilings", ceilings.digest() == self.ceilings),
            ("epoch statement", statement_digest == self.statement()),
            ("body", body_digest == self.request.body),
        ] {
            if !same {
                return Err(RestoreError::Artefact(what));
            }
        }
        let RecordedRequest { step, values, body: _, idempotency_key, expected_contract } = self.request;
        let RecordedObserved { now, clock_stepped, epoch, uses, rates, boundary, live, dry_run } = self.observed;
        let epoch = epoch.zip(statement).map(|(epoch, statement)| EpochKnowledge {
            statement,
            age_ms: epoch.age_ms,
            skew_ms: epoch.skew_ms,
        });
        Ok(Facts {
            certified,
            peer: Peer { id: self.peer.id.0, key: self.peer.key },
            broker: self.broker.0,
            request: Request { step, choice: Choice { values, body }, idempotency_key, expected_contract },
            observed: Observed { now, clock_stepped, epoch, uses, rates, boundary, live: live.restore(), dry_run },
            ceilings,
        })
    }
}

/// An object of the members that there are.
fn members(members: impl IntoIterator<Item = (&'static str, Option<Json>)>) -> Json {
    Json::object(members.into_iter().filter_map(|(name, value)| Some((name, value?))))
}

fn by_pointer<'a>(values: impl IntoIterator<Item = (&'a Pointer, &'a Json)>) -> Json {
    Json::object(values.into_iter().map(|(pointer, value)| (pointer.to_string(), value.clone())))
}

impl RecordedRequest {
    fn of(request: &Request) -> Self {
        Self {
            step: request.step.clone(),
            values: request.choice.values.clone(),
            body: request.choice.body.as_deref().map(Digest::of),
            idempotency_key: request.idempotency_key.clone(),
            expected_contract: request.expected_contract,
        }
    }

    fn to_json(&self) -> Json {
        members([
            ("step", self.step.as_ref().map(Json::string)),
            ("values", Some(by_pointer(&self.values))),
            ("body", self.body.map(Json::string)),
            ("idempotency_key", self.idempotency_key.as_ref().map(Json::string)),
            ("expected_contract", self.expected_contract.map(Json::string)),
        ])
    }
}

impl RecordedObserved {
    fn of(observed: &Observed) -> Self {
        Self {
            now: observed.now,
            clock_stepped: observed.clock_stepped,
            epoch: observed.epoch.as_ref().map(|epoch| RecordedEpoch {
                statement: epoch.statement.digest(),
                age_ms: epoch.age_ms,
                skew_ms: epoch.skew_ms,
            }),
            uses: observed.uses,
            rates: observed.rates,
            boundary: observed.boundary,
            live: RecordedLive::of(&observed.live),
            dry_run: observed.dry_run.clone(),
        }
    }

    fn to_json(&self) -> Json {
        let count = |count: RateCount| {
            Json::object([("executions", count.executions.into()), ("per_seconds", count.per_seconds.into())])
        };
        members([
            ("now", Some(Json::string(self.now))),
            ("clock_stepped", Some(self.clock_stepped.into())),
            ("epoch", self.epoch.map(RecordedEpoch::to_json)),
            (
                "uses",
                self.uses.map(|uses| {
                    members([("consumed", Some(uses.consumed.into())), ("last", uses.last.map(Json::string))])
                }),
            ),
            (
                "rates",
                self.rates
                    .map(|rates| Json::object([("agent", count(rates.agent)), ("authority", count(rates.authority))])),
            ),
            (
                "boundary",
                self.boundary.map(|boundary| {
                    let status = match boundary.status {
                        BoundaryStatus::Proven => "proven",
                        BoundaryStatus::Broken => "broken",
                    };
                    Json::object([("status", Json::from(status)), ("age_seconds", boundary.age_seconds.into())])
                }),
            ),
            ("live", Some(self.live.to_json())),
            ("dry_run", self.dry_run.as_ref().map(DryRun::to_json)),
        ])
    }
}

impl DryRun {
    fn to_json(&self) -> Json {
        let (answer, name, text) = match self {
            Self::Accepted { observed_at } => ("accepted", "observed_at", Json::string(observed_at)),
            Self::Refused { detail } => ("refused", "detail", Json::from(detail.as_str())),
            Self::Unknown { detail } => ("unknown", "detail", Json::from(detail.as_str())),
        };
        Json::object([("answer", Json::from(answer)), (name, text)])
    }
}

impl RecordedEpoch {
    fn to_json(self) -> Json {
        // Exact: 32 bits fit.
        let skew = crate::contract::Number::from_integer(i64::from(self.skew_ms)).map_or(Json::Null, Json::from);
        Json::object([("statement", Json::string(self.statement)), ("age_ms", self.age_ms.into()), ("skew_ms", skew)])
    }
}

impl RecordedLive {
    fn of(live: &LiveState) -> Self {
        match live {
            LiveState::Unknown => Self::Unknown {},
            LiveState::Deferred => Self::Deferred {},
            LiveState::Absent { observed_at } => Self::Absent { observed_at: *observed_at },
            LiveState::Present { identity, version, fields, observed_at } => {
                let found = fields.iter().filter_map(|(pointer, value)| Some((pointer.clone(), value.clone()?)));
                let absent = fields.iter().filter(|(_, value)| value.is_none());
                Self::Present {
                    identity: identity.clone(),
                    version: version.clone(),
                    fields: found.collect(),
                    absent_fields: absent.map(|(pointer, _)| pointer.clone()).collect(),
                    observed_at: *observed_at,
                }
            }
        }
    }

    fn restore(self) -> LiveState {
        match self {
            Self::Unknown {} => LiveState::Unknown,
            Self::Deferred {} => LiveState::Deferred,
            Self::Absent { observed_at } => LiveState::Absent { observed_at },
            Self::Present { identity, version, fields, absent_fields, observed_at } => {
                let absent = absent_fields.into_iter().map(|pointer| (pointer, None));
                let fields = absent.chain(fields.into_iter().map(|(pointer, value)| (pointer, Some(value))));
                LiveState::Present { identity, version, fields: fields.collect(), observed_at }
            }
        }
    }

    fn to_json(&self) -> Json {
        let state = |name: &str| ("state", Json::from(name));
        match self {
            Self::Unknown {} => Json::object([state("unknown")]),
            Self::Deferred {} => Json::object([state("deferred")]),
            Self::Absent { observed_at } => Json::object([state("absent"), ("observed_at", Json::string(observed_at))]),
            Self::Present { identity, version, fields, absent_fields, observed_at } => Json::object([
                state("present"),
                ("identity", Json::from(identity.as_str())),
                ("version", Json::string(version)),
                ("fields", by_pointer(fields)),
                ("absent_fields", absent_fields.iter().map(Json::string).collect()),
                ("observed_at", Json::string(observed_at)),
            ]),
        }
    }
}
