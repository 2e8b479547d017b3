//! What driver and server of the sandbox say to each other: JSON over HTTP.

use std::collections::BTreeMap;

use http::{Method, StatusCode};
use serde::Deserialize;

use crate::contract::{Baseline, Call, CallBody, Json, Pointer, Resource, SandboxResource, Verb, Version, decode};
use crate::decision::{MutationId, Terms};
use crate::digest::Digest;
use crate::reason::Denial;
use crate::timestamp::Timestamp;

/// The most octets of a request or an answer.
pub(super) const MAX_OCTETS: usize = Json::MAX_OCTETS;

/// The HTTP method of each verb.
const METHODS: [(Verb, Method); 4] = [
    (Verb::Create, Method::POST),
    (Verb::Replace, Method::PUT),
    (Verb::Merge, Method::PATCH),
    (Verb::Delete, Method::DELETE),
];

/// A mutation as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mutation {
    pub(super) id: MutationId,
    pub(super) verb: Verb,
    pub(super) object: SandboxResource,
    pub(super) body: Option<Json>,
    pub(super) baseline: Baseline,
    pub(super) deadline: Timestamp,
    /// The digest of the call that the broker decided on, for the audit log.
    pub(super) call: Digest,
}

/// The body of a request that mutates. Method and path say verb and object.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    mutation_id: MutationId,
    call: Digest,
    deadline: Timestamp,
    baseline: Json,
    #[serde(default)]
    body: Option<Json>,
}

#[derive(Deserialize)]
#[serde(tag = "mode", rename_all = "lowercase", deny_unknown_fields)]
enum BaselineForm {
    Absent {},
    Exact { identity: String, version: Version },
    Fields { identity: String, version: Version, fields: BTreeMap<Pointer, Json> },
}

impl Mutation {
    /// The mutation that was permitted; none where the call is not one for a sandbox.
    pub(super) fn of(terms: &Terms) -> Result<Self, String> {
        let call: &Call = terms.call();
        let Resource::Sandbox(object) = call.resource() else {
            return Err(format!("the call is for a target of kind `{}`", call.target_kind()));
        };
        let body = match call.body() {
            CallBody::None => None,
            CallBody::Inline(body) => Some(body.clone()),
            CallBody::Detached { octets, .. } => {
                Some(Json::parse(octets).map_err(|error| format!("the body is not JSON: {error}"))?)
            }
        };
        Ok(Self {
            id: terms.mutation_id().clone(),
            verb: call.verb().clone(),
            object: object.clone(),
            body,
            baseline: call.baseline().clone(),
            deadline: terms.deadline(),
            call: terms.call_digest(),
        })
    }

    /// The mutation that a request asks for, or what is wrong with it.
    pub(super) fn parse(method: &Method, object: SandboxResource, octets: &[u8]) -> Result<Self, String> {
        let verb = METHODS.into_iter().find(|(_, other)| other == method).map(|(verb, _)| verb);
        let verb = verb.ok_or_else(|| format!("no verb has the method `{method}`"))?;
        let json = Json::parse(octets).map_err(|error| error.to_string())?;
        let misplaced = |(pointer, message): (String, String)| format!("`{pointer}`: {message}");
        let request: Request = decode(&json).map_err(misplaced)?;
        // Left alone, `serde` reads an enumeration with an internal tag from a list too.
        if !matches!(request.baseline, Json::Object(_)) {
            return Err("`/baseline`: not an object".to_owned());
        }
        let baseline = match decode(&request.baseline).map_err(misplaced)? {
            BaselineForm::Absent {} => Baseline::Absent,
            BaselineForm::Exact { identity, version } => Baseline::Exact { identity, version },
            BaselineForm::Fields { identity, version, fields } => Baseline::Fields { identity, version, fields },
        };
        if (verb == Verb::Delete) != request.body.is_none() {
            return Err(format!("`/body`: {verb} {}", if verb == Verb::Delete { "has none" } else { "has one" }));
        }
        let Request { mutation_id, call, deadline, body, .. } = request;
        Ok(Self { id: mutation_id, verb, object, body, baseline, deadline, call })
    }

    /// The HTTP method; none for a verb that a sandbox does not have.
    pub(super) fn method(&self) -> Option<Method> {
        METHODS.into_iter().find(|(verb, _)| *verb == self.verb).map(|(_, method)| method)
    }

    /// The path of the object.
    pub(super) fn path(&self) -> String {
        object_path(&self.object)
    }

    /// The body of the request.
    pub(super) fn to_json(&self) -> Json {
        let always = [
            ("mutation_id", Json::string(&self.id)),
            ("call", Json::string(self.call)),
            ("deadline", Json::string(self.deadline)),
            ("baseline", baseline_json(&self.baseline)),
        ];
        Json::object(always.into_iter().chain(self.body.clone().map(|body| ("body", body))))
    }

    /// Names the request: another one under the same mutation id has another digest.
    pub(super) fn digest(&self) -> Digest {
        let text = self.to_json().to_canonical();
        let path = self.path();
        Digest::of_parts(&[b"seb.dev/sandbox/v1", self.verb.as_str().as_bytes(), path.as_bytes(), text.as_bytes()])
    }
}

fn baseline_json(baseline: &Baseline) -> Json {
    let seen = |mode: &str, identity: &str, version: &Version| {
        [("mode", mode.into()), ("identity", identity.into()), ("version", Json::string(version))]
    };
    match baseline {
        Baseline::Absent => Json::object([("mode", "absent".into())]),
        Baseline::Exact { identity, version } => Json::object(seen("exact", identity, version)),
        Baseline::Fields { identity, version, fields } => {
            let fields = Json::object(fields.iter().map(|(pointer, value)| (pointer.to_string(), value.clone())));
            Json::object(seen("fields", identity, version).into_iter().chain([("fields", fields)]))
        }
    }
}

/// The path of an object.
pub(super) fn object_path(object: &SandboxResource) -> String {
    format!("/v1/objects/{}/{}", object.collection, object.name)
}

/// The path of what the sandbox knows of a mutation.
pub(super) fn execution_path(mutation: &MutationId) -> String {
    format!("/v1/executions/{mutation}")
}

/// Why the sandbox refuses. The codes are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// The identity may not do this.
    Forbidden,
    /// The request is not of the form that is asked for.
    Malformed,
    /// There is no such path.
    NotFound,
    /// There is no such object.
    Absent,
    /// Another request came under the same mutation id before.
    MutationReused,
    /// The baseline does not hold.
    Precondition,
    /// The object would not be valid.
    Invalid,
    /// The deadline has passed.
    TooLate,
    /// The request is too large.
    TooLarge,
    /// Something went wrong inside.
    Internal,
}

impl Code {
    const ALL: [Self; 10] = [
        Self::Forbidden,
        Self::Malformed,
        Self::NotFound,
        Self::Absent,
        Self::MutationReused,
        Self::Precondition,
        Self::Invalid,
        Self::TooLate,
        Self::TooLarge,
        Self::Internal,
    ];

    /// The code in answers and in the audit log.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Forbidden => "forbidden",
            Self::Malformed => "malformed",
            Self::NotFound => "not_found",
            Self::Absent => "absent",
            Self::MutationReused => "mutation_reused",
            Self::Precondition => "precondition",
            Self::Invalid => "invalid",
            Self::TooLate => "too_late",
            Self::TooLarge => "too_large",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status.
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::NotFound | Self::Absent => StatusCode::NOT_FOUND,
            Self::MutationReused => StatusCode::CONFLICT,
            Self::Precondition => StatusCode::PRECONDITION_FAILED,
            Self::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooLate => StatusCode::GONE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The code with this name.
    pub(super) fn read(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: Code,
    pub(super) detail: String,
    /// How the object differs from the baseline.
    pub(super) drift: Option<Denial>,
}

impl Refusal {
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), drift: None }
    }

    /// The body of the answer.
    pub(super) fn to_json(&self) -> Json {
        let always = [("error", Json::from(self.code.as_str())), ("detail", Json::from(self.detail.as_str()))];
        let drift = self.drift.as_ref().map(|drift| {
            let reason = ("reason", Json::from(drift.reason.code()));
            ("drift", Json::object([reason, ("detail", Json::from(drift.detail.as_str()))]))
        });
        Json::object(always.into_iter().chain(drift))
    }

    /// The refusal in the body of an answer with this status, if it is one.
    pub(super) fn read(status: StatusCode, answer: &Json) -> Option<Self> {
        let text = |name: &str| answer.get(name).and_then(Json::as_str);
        let code = Code::read(text("error")?).filter(|code| code.status() == status)?;
        let drift = answer.get("drift").map(decode).transpose().ok()?;
        Some(Self { code, detail: text("detail")?.to_owned(), drift })
    }
}

/// What a mutation did.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Applied {
    pub(super) mutation_id: MutationId,
    pub(super) uid: String,
    /// The object's version afterwards; of an object that was deleted the one it would have had.
    pub(super) version: Version,
    /// Whether an earlier request did it.
    pub(super) repeated: bool,
}

impl Applied {
    /// The body of the answer.
    pub(super) fn to_json(&self) -> Json {
        Json::object([
            ("mutation_id", Json::string(&self.mutation_id)),
            ("uid", Json::from(self.uid.as_str())),
            ("version", Json::string(&self.version)),
            ("repeated", Json::from(self.repeated)),
        ])
    }
}

/// An object as it is read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Seen {
    pub(super) uid: String,
    pub(super) version: Version,
    pub(super) object: Json,
}

impl Seen {
    /// The body of the answer.
    pub(super) fn to_json(&self) -> Json {
        Json::object([
            ("uid", Json::from(self.uid.as_str())),
            ("version", Json::string(&self.version)),
            ("object", self.object.clone()),
        ])
    }
}

/// What the sandbox knows of a mutation.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Known {
    /// `applied`, `rejected` or `none`.
    pub(super) state: String,
    /// The time by the sandbox's clock, which never goes back.
    pub(super) now: Timestamp,
    /// The digest of the request that came under the mutation id.
    #[serde(default)]
    pub(super) request: Option<Digest>,
    /// The object's version afterwards.
    #[serde(default)]
    pub(super) version: Option<Version>,
    /// Why it was rejected.
    #[serde(default)]
    pub(super) error: Option<String>,
}

impl Known {
    /// The body of the answer.
    pub(super) fn to_json(&self) -> Json {
        let always = [("state", Json::from(self.state.as_str())), ("now", Json::string(self.now))];
        let request = self.request.map(|request| ("request", Json::string(request)));
        let version = self.version.as_ref().map(|version| ("version", Json::string(version)));
        let error = self.error.as_deref().map(|error| ("error", Json::from(error)));
        Json::object(always.into_iter().chain(request).chain(version).chain(error))
    }
}
