//! What a record says of an execution, for those who ask how it stands.

use super::Statement;
use crate::contract::Json;
use crate::digest::Digest;
use crate::execution::{Grade, Rejection};
use crate::reason::Reason;

/// What a `decision` record says of the execution that it allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DecidedExecution {
    /// The digest of the call.
    pub call: Option<Digest>,
    /// How drift is held against it.
    pub grade: Option<Grade>,
    /// The W3C trace context of the request.
    pub trace: Option<String>,
}

/// What an `outcome` record says of how the execution ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndedExecution {
    /// The particulars; empty if it has none.
    pub detail: String,
    /// The reason, where one of the list is the cause.
    pub reason: Option<Reason>,
    /// Why the target refused, where it did.
    pub rejection: Option<Rejection>,
    /// The object's version afterwards.
    pub version: Option<String>,
    /// By what the target tells what became of it, where it goes on by itself.
    pub handle: Option<String>,
}

/// What a `decision` says. Whatever is not there, or is not understood, is left out.
pub fn decided(statement: &Statement) -> DecidedExecution {
    let call = statement.subjects.iter().find(|subject| subject.name == "call").map(|subject| subject.digest);
    let grade = text(&statement.body, "grade");
    DecidedExecution {
        call,
        grade: Grade::ALL.into_iter().find(|known| Some(known.as_str()) == grade),
        trace: text(&statement.body, "trace").map(str::to_owned),
    }
}

/// What an `outcome` says. Whatever is not there, or is not understood, is left out.
pub fn ended(statement: &Statement) -> EndedExecution {
    let body = &statement.body;
    let rejection = text(body, "rejection");
    EndedExecution {
        detail: text(body, "detail").unwrap_or_default().to_owned(),
        reason: statement.about.reason,
        rejection: Rejection::ALL.into_iter().find(|known| Some(known.as_str()) == rejection),
        version: text(body, "version").map(str::to_owned),
        handle: body.get("answer").and_then(|answer| text(answer, "handle")).map(str::to_owned),
    }
}

fn text<'a>(body: &'a Json, name: &str) -> Option<&'a str> {
    body.get(name).and_then(Json::as_str)
}
