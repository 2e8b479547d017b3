//! Cloud Control: AWS takes a request, goes on by itself, and tells by the request's token how it goes. Plain functions (I6).
//!
//! | status | says |
//! |---|---|
//! | `SUCCESS` | it was done |
//! | `FAILED`, `CANCEL_COMPLETE` | it ended, and nobody knows how far it came: nothing is rolled back |
//! | `PENDING`, `IN_PROGRESS`, `CANCEL_IN_PROGRESS` | it goes on |
//!
//! No code of a failure says that nothing was done, `AlreadyExists` neither: a handler that is invoked again after an answer
//! was lost says it of what it made itself.

use std::time::Duration;

use serde_json::Value;

use super::request::Operation;
use super::request::answer::line;
use crate::contract::Json;
use crate::execution::{Evidence, Performed};
use crate::timestamp::Timestamp;

/// The most characters of a message and of an identifier that are kept.
const MAX_TEXT: usize = 500;

/// What was asked of Cloud Control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// `CREATE`, `UPDATE` or `DELETE`.
    operation: &'static str,
    /// `AWS::S3::Bucket`.
    type_name: String,
}

/// How far an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It goes on.
    Going,
    /// It was done.
    Done,
    /// It ended, and nobody knows how far it came.
    Ended,
}

/// What AWS says of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Progress {
    /// The request's token.
    pub(super) token: String,
    pub(super) stage: Stage,
    /// When to ask again.
    pub(super) after: Option<Timestamp>,
    /// What it is about and what AWS says of it, in one line.
    said: String,
}

impl Asked {
    /// What this input asks for; none where the operation is done when it is answered.
    pub(super) fn of(operation: &Operation, input: &Json) -> Option<Self> {
        let kind = match (operation.service(), operation.name()) {
            ("cloudcontrol", "CreateResource") => "CREATE",
            ("cloudcontrol", "UpdateResource") => "UPDATE",
            ("cloudcontrol", "DeleteResource") => "DELETE",
            _ => return None,
        };
        let type_name = input.get("TypeName").and_then(Json::as_str).unwrap_or_default().to_owned();
        Some(Self { operation: kind, type_name })
    }
}

/// Whether it is the token of a request, by AWS's model.
pub(super) fn is_token(text: &str) -> bool {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-+/=".contains(&octet);
    (1..=128).contains(&text.len()) && text.bytes().all(plain)
}

impl Progress {
    /// The `ProgressEvent` in an output, if it is about what was asked.
    pub(super) fn read(output: &Value, asked: &Asked) -> Result<Self, String> {
        let event = output.get("ProgressEvent").ok_or("it has no `ProgressEvent`")?;
        let text = |name: &str| event.get(name).and_then(Value::as_str);
        let token = text("RequestToken").filter(|token| is_token(token)).ok_or("it has no token of a request")?;
        for (name, wanted) in [("Operation", asked.operation), ("TypeName", &asked.type_name)] {
            if text(name).is_some_and(|found| found != wanted) {
                return Err(format!("it is about another `{name}` than `{wanted}`"));
            }
        }
        let status = text("OperationStatus").ok_or("it has no status")?;
        let code = text("ErrorCode");
        let stage = match status {
            "PENDING" | "IN_PROGRESS" | "CANCEL_IN_PROGRESS" => Stage::Going,
            "SUCCESS" => Stage::Done,
            "FAILED" | "CANCEL_COMPLETE" => Stage::Ended,
            _ => return Err("it has a status that there is not".to_owned()),
        };
        let mut said = format!("`{}`", asked.type_name);
        if let Some(identifier) = text("Identifier") {
            said += &format!(" `{}`", line(identifier, MAX_TEXT));
        }
        said += &format!(", {} {status}", asked.operation);
        for part in [code, text("StatusMessage")].into_iter().flatten() {
            said += &format!(": {}", line(part, MAX_TEXT));
        }
        Ok(Self { token: token.to_owned(), stage, after: event.get("RetryAfter").and_then(time), said })
    }

    /// How long to wait before it is asked for again: `least`, and as long as AWS says.
    pub(super) fn pause(&self, now: Timestamp, least: Duration) -> Duration {
        self.after.map_or(least, |after| after.since(now).max(least))
    }

    /// What it says of the mutation, when nobody asks any more; `unread` is why it could not be asked for last.
    pub(super) fn performed(self, binding: &str, unread: Option<&str>) -> Performed {
        let Self { token, stage, said, .. } = self;
        let detail = format!("{said} (request token {token}; {binding})");
        match stage {
            Stage::Done => Performed::Succeeded { version: None, detail: format!("AWS did it: {detail}") },
            Stage::Ended => Performed::Begun { handle: token, detail },
            Stage::Going => {
                let unread = unread.map(|unread| format!("; not read any more: {unread}")).unwrap_or_default();
                Performed::Begun { handle: token, detail: format!("AWS goes on with it: {detail}{unread}") }
            }
        }
    }

    /// What it says of the mutation later, at `now`; `None` while it goes on.
    pub(super) fn evidence(&self, now: Timestamp) -> Option<Evidence> {
        let detail = format!("at {now}, by request token {}: {}", self.token, self.said);
        match self.stage {
            Stage::Going => None,
            Stage::Done => Some(Evidence::Applied { version: None, detail }),
            Stage::Ended => Some(Evidence::Indeterminate {
                look_at: format!(
                    "the resource itself: AWS ended the operation, and says not how far it came ({detail})"
                ),
            }),
        }
    }
}

/// A time in awsJson: seconds since 1970, with a fraction.
fn time(value: &Value) -> Option<Timestamp> {
    let millis = value.as_f64()? * 1000.0;
    let millis = (0.0..=9.0e15).contains(&millis).then_some(millis)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was looked at")]
    Timestamp::from_millis(millis as u64).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(operation: &'static str) -> Asked {
        Asked { operation, type_name: "AWS::S3::Bucket".to_owned() }
    }

    fn stage(operation: &'static str, status: &str, code: Option<&str>) -> Stage {
        let mut event = json!({
            "TypeName": "AWS::S3::Bucket", "Identifier": "reports", "RequestToken": "11-22", "Operation": operation,
            "OperationStatus": status, "StatusMessage": "so it\nis",
        });
        if let Some(code) = code {
            event["ErrorCode"] = json!(code);
        }
        Progress::read(&json!({"ProgressEvent": event}), &asked(operation)).unwrap().stage
    }

    /// Whatever code there is, by AWS's model: none of them says that nothing was done.
    #[test]
    fn i6_an_operation_that_failed_is_not_known_to_have_done_nothing() {
        const CODES: [&str; 16] = [
            "NotUpdatable",
            "InvalidRequest",
            "AccessDenied",
            "UnauthorizedTaggingOperation",
            "InvalidCredentials",
            "AlreadyExists",
            "NotFound",
            "ResourceConflict",
            "Throttling",
            "ServiceLimitExceeded",
            "NotStabilized",
            "GeneralServiceException",
            "ServiceInternalError",
            "ServiceTimeout",
            "NetworkFailure",
            "InternalFailure",
        ];
        for operation in ["CREATE", "UPDATE", "DELETE"] {
            for code in CODES.into_iter().map(Some).chain([None, Some("Another")]) {
                assert_eq!(stage(operation, "FAILED", code), Stage::Ended, "{operation} {code:?}");
            }
            assert_eq!(stage(operation, "SUCCESS", None), Stage::Done);
            assert_eq!(stage(operation, "CANCEL_COMPLETE", None), Stage::Ended);
            for status in ["PENDING", "IN_PROGRESS", "CANCEL_IN_PROGRESS"] {
                // A code that is not that of a failure says nothing.
                assert_eq!(stage(operation, status, Some("AlreadyExists")), Stage::Going, "{status}");
            }
        }
    }

    #[test]
    fn an_event_that_is_not_the_requests_is_none() {
        let event = |name: &str, value: Value| {
            let mut event = json!({"RequestToken": "1", "OperationStatus": "SUCCESS", "Operation": "CREATE"});
            event[name] = value;
            Progress::read(&json!({"ProgressEvent": event}), &asked("CREATE"))
        };
        assert_eq!(event("TypeName", json!("AWS::S3::Bucket")).unwrap().stage, Stage::Done);
        for (name, value) in [
            ("TypeName", json!("AWS::SNS::Topic")),
            ("Operation", json!("DELETE")),
            ("RequestToken", json!("")),
            ("RequestToken", json!("a b")),
            ("RequestToken", json!("a".repeat(129))),
            ("RequestToken", Value::Null),
            ("OperationStatus", json!("DONE")),
            ("OperationStatus", Value::Null),
        ] {
            assert!(event(name, value.clone()).is_err(), "{name} {value}");
        }
        for output in [json!({}), json!({"ProgressEvent": null}), json!({"ProgressEvent": "SUCCESS"})] {
            assert!(Progress::read(&output, &asked("CREATE")).is_err(), "{output}");
        }
    }

    #[test]
    fn it_is_asked_for_again_when_aws_says() {
        let now = Timestamp::from_millis(1_800_000_000_000).unwrap();
        let least = Duration::from_millis(500);
        let pause = |after: Value| {
            let event = json!({"RequestToken": "1", "OperationStatus": "PENDING", "RetryAfter": after});
            Progress::read(&json!({"ProgressEvent": event}), &asked("CREATE")).unwrap().pause(now, least)
        };
        assert_eq!(pause(json!(1_800_000_003.25)), Duration::from_millis(3250));
        for (after, expected) in [
            (json!(1_799_999_000), least),
            (json!(1_800_000_000.1), least),
            (Value::Null, least),
            (json!("soon"), least),
            (json!(-1), least),
            (json!(1e300), least),
        ] {
            assert_eq!(pause(after.clone()), expected, "{after}");
        }
    }
}
