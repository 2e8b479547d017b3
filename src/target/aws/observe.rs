//! What a reading operation says of the state of a resource. Plain functions.

use serde_json::Value;

use super::request::answer::{Answer, Refusal, RefusalKind};
use crate::contract::{AwsRead, AwsResource, Json, Pointer, Version};
use crate::digest::Digest;
use crate::reason::Denial;
use crate::target::Fence;
use crate::target::failure::Failure;

/// Reading is not fenced: it changes nothing.
pub(super) struct Unfenced;

impl Fence for Unfenced {
    fn pass(&self, write: &mut dyn FnMut()) -> Result<(), Denial> {
        write();
        Ok(())
    }
}

/// The state of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// What it is called: its first ARN.
    pub(super) identity: String,
    pub(super) version: Version,
    /// Whether the version is a token of the resource's own, and no digest.
    pub(super) is_token: bool,
    /// The whole answer.
    pub(super) answer: Json,
}

/// What `answer` says of `resource`; none where it does not exist.
pub(super) fn seen(resource: &AwsResource, read: &AwsRead, answer: Answer) -> Result<Option<Seen>, Failure> {
    let output = match answer {
        Answer::Accepted { output, .. } => output,
        Answer::Refused(Refusal { kind: RefusalKind::NotFound, .. }) => return Ok(None),
        Answer::Refused(Refusal { code, message, .. }) => return Err(Failure(format!("{code}: {message}"))),
        Answer::Failed { detail } | Answer::NotCredible { detail } => return Err(Failure(detail)),
    };
    let answer = json(&output)?;
    let object = match &read.object {
        None => Some(&answer),
        Some(pointer) => pointer.resolve(&answer),
    };
    let object = match object {
        None | Some(Json::Null) => return Ok(None),
        Some(Json::Array(list)) if list.is_empty() => return Ok(None),
        Some(object) => object,
    };
    let (text, is_token) = match &read.version {
        None => (Digest::of(object.to_canonical().as_bytes()).to_string(), false),
        Some(pointer) => (token(&answer, pointer)?, true),
    };
    let version =
        text.parse().map_err(|_| Failure("the version token is not 1 to 256 printable characters".to_owned()))?;
    let identity = resource.arns.first().cloned().unwrap_or_default();
    Ok(Some(Seen { identity, version, is_token, answer }))
}

fn token(answer: &Json, pointer: &Pointer) -> Result<String, Failure> {
    match pointer.resolve(answer) {
        Some(Json::String(text)) => Ok(text.clone()),
        Some(number @ Json::Number(_)) => Ok(number.to_canonical()),
        _ => Err(Failure(format!("there is no version at `{pointer}`"))),
    }
}

fn json(output: &Value) -> Result<Json, Failure> {
    Json::parse(output.to_string().as_bytes()).map_err(|error| Failure::of(&error))
}
