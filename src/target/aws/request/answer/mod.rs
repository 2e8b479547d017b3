//! What came back, strictly read: accepted, refused, failed, or no answer of AWS's.

mod error;
mod output;

use std::fmt;

use http::HeaderMap;
use serde_json::Value;

use self::error::Said;
pub(in crate::target::aws) use self::error::line;
use super::Operation;
use super::model::Protocol;
use crate::execution::{Performed, Rejection};

/// The most octets of an answer that are read.
pub const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// What an answer means.
#[derive(Clone, PartialEq)]
pub enum Answer {
    /// The service says that it did what was asked.
    Accepted {
        /// By what AWS finds the call.
        request_id: Option<String>,
        /// The output by the names of the contract's side: what the model knows, without what it marks as secret.
        output: Value,
    },
    /// The service says that it refused, before it changed anything.
    Refused(Refusal),
    /// The service says that it failed, or did only a part: how far it came, nobody knows.
    Failed {
        /// What it says.
        detail: String,
    },
    /// It is not an answer that this service gives.
    NotCredible {
        /// Why not.
        detail: String,
    },
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// AWS's code, `ConditionalCheckFailedException`.
    pub code: String,
    /// What it says: one line, of bounded length.
    pub message: String,
    /// What kind of refusal that is.
    pub kind: RefusalKind,
    /// By what AWS finds the call.
    pub request_id: Option<String>,
}

/// The kinds of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// It takes no more calls for now, or a quota is used up.
    Throttled,
    /// The session may not do this.
    Denied,
    /// The session is none (any more), or did not sign this.
    Unauthenticated,
    /// The condition in the call did not hold.
    Precondition,
    /// Something else is being done to the resource, or it exists already.
    Conflict,
    /// There is no such resource.
    NotFound,
    /// It does not take the call.
    Invalid,
}

impl Operation {
    /// What an answer to the operation means: a complete one, with all of its at most [`MAX_ANSWER`] octets.
    pub fn answer(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Answer {
        if body.len() > MAX_ANSWER {
            return not_credible(status, "it is too long");
        }
        let request_id = ["x-amzn-requestid", "x-amz-request-id", "x-amzn-request-id"].into_iter();
        let request_id =
            request_id.filter_map(|name| headers.get(name)).find_map(|value| identifier(value.to_str().ok()?));
        let said = error::said(self.service.protocol, &self.row.method, status, headers, body);
        match (status, said) {
            // S3 has begun to answer before it knows the end.
            (200, Ok(said)) if self.service.protocol == Protocol::RestXml => failed(status, &said),
            (200..=299, _) => match output::output(self, status, headers, body) {
                Ok((output, inner)) => match undone(self.service_name, &output) {
                    None => Answer::Accepted { request_id: request_id.or(inner), output },
                    Some(member) => {
                        Answer::Failed { detail: format!("{status}, and not all was done: see `{member}`") }
                    }
                },
                Err(why) => not_credible(status, &why),
            },
            (300..=599, Ok(said)) => refusal(status, said, request_id),
            (300..=599, Err(why)) => not_credible(status, why),
            _ => not_credible(status, "no service answers so"),
        }
    }
}

/// The member of a success that says that not all was done: a list of what was not, a count, or `false`.
fn undone<'a>(service: &str, output: &'a Value) -> Option<&'a str> {
    const NAMES: [&str; 6] = [
        "Errors",
        "InvalidLabels",
        "InvalidParameters",
        "UnknownIpPermissions",
        "UnknownSecurityGroupRules",
        "failures",
    ];
    const BEGINNINGS: [&str; 3] = ["Failed", "Unprocessed", "Unsuccessful"];
    let says = |(name, value): &(&String, &Value)| match value {
        // What an integration of RDS suffers from, not the call.
        _ if service == "rds" => false,
        Value::Bool(false) => matches!(name.as_str(), "Return" | "ReturnCode" | "ReturnValue"),
        Value::Number(count) => name.as_str() == "FailedEntryCount" && count.as_u64() != Some(0),
        Value::Array(values) if values.is_empty() => false,
        Value::Object(values) if values.is_empty() => false,
        Value::Array(_) | Value::Object(_) => {
            NAMES.contains(&name.as_str()) || BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
        }
        _ => false,
    };
    output.as_object()?.iter().find(says).map(|(name, _)| name.as_str())
}

impl Answer {
    /// What the answer means for the mutation. Of an accepted one the version afterwards is told where the output shows it.
    pub fn performed(self) -> Performed {
        match self {
            Self::Accepted { request_id, output } => {
                let version =
                    ["RevisionId", "ETag"].into_iter().find_map(|name| output.get(name)?.as_str()?.parse().ok());
                let id = request_id.map_or_else(String::new, |id| format!(", request {id}"));
                Performed::Succeeded { version, detail: format!("accepted{id}") }
            }
            Self::Refused(refusal) => {
                let reason = refusal.kind.rejection();
                let id = refusal.request_id.map_or_else(String::new, |id| format!(", request {id}"));
                let detail = format!("{}: {}{id}", refusal.code, refusal.message);
                Performed::Rejected { reason, detail, drift: None }
            }
            Self::Failed { detail } | Self::NotCredible { detail } => Performed::Unknown { detail },
        }
    }
}

impl RefusalKind {
    /// The same in the words of every target.
    pub const fn rejection(self) -> Rejection {
        match self {
            Self::Throttled => Rejection::Busy,
            Self::Denied | Self::Unauthenticated => Rejection::Forbidden,
            // The resource is not as certified.
            Self::Precondition | Self::Conflict | Self::NotFound => Rejection::Precondition,
            Self::Invalid => Rejection::Invalid,
        }
    }
}

fn not_credible(status: u16, why: &str) -> Answer {
    // What a parser says of octets may hold some of them.
    let why = line(why, error::MAX_MESSAGE);
    Answer::NotCredible { detail: format!("an answer with status {status} that cannot be: {why}") }
}

fn failed(status: u16, said: &Said) -> Answer {
    Answer::Failed { detail: format!("{status} {}: {}", said.code, said.message) }
}

fn refusal(status: u16, said: Said, request_id: Option<String>) -> Answer {
    match error::kind(status, &said.code) {
        None => failed(status, &said),
        Some(kind) => {
            let Said { code, message, request_id: inner } = said;
            Answer::Refused(Refusal { code, message, kind, request_id: request_id.or(inner) })
        }
    }
}

/// The id of a request, where it looks like one.
fn identifier(text: &str) -> Option<String> {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-_/+=".contains(&octet);
    ((1..=128).contains(&text.len()) && text.bytes().all(plain)).then(|| text.to_owned())
}

/// Says nothing of the output, which may hold what nobody should see.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted { request_id, .. } => {
                f.debug_struct("Accepted").field("request_id", request_id).finish_non_exhaustive()
            }
            Self::Refused(refusal) => f.debug_tuple("Refused").field(refusal).finish(),
            Self::Failed { detail } => f.debug_struct("Failed").field("detail", detail).finish(),
            Self::NotCredible { detail } => f.debug_struct("NotCredible").field("detail", detail).finish(),
        }
    }
}

#[cfg(test)]
mod tests;
