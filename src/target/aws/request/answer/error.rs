//! Errors: each protocol spells them in its own way.

use http::HeaderMap;
use roxmltree::Node;
use serde_json::Value;

use super::super::model::Protocol;
use super::output::document;
use super::{RefusalKind, identifier};

/// The most characters of a message that are kept.
pub(super) const MAX_MESSAGE: usize = 1000;

/// What an error says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) request_id: Option<String>,
}

/// The error in an answer, if it is one in the form of the protocol.
pub(super) fn said(
    protocol: Protocol,
    method: &str,
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Said, &'static str> {
    match protocol {
        // The answer to `HEAD` has no body, and so nothing but its status.
        _ if method == "HEAD" && body.is_empty() && status >= 300 => {
            Ok(Said { code: status.to_string(), message: String::new(), request_id: None })
        }
        Protocol::Json | Protocol::RestJson => json(headers, body),
        Protocol::Query | Protocol::Ec2 | Protocol::RestXml => xml(body),
    }
}

fn json(headers: &HeaderMap, body: &[u8]) -> Result<Said, &'static str> {
    const NONE: &str = "it is no error in JSON";
    let value: Value = serde_json::from_slice(body).map_err(|_| NONE)?;
    let members = value.as_object().ok_or(NONE)?;
    let text = |names: [&str; 2]| names.iter().find_map(|name| members.get(*name)).and_then(Value::as_str);
    let header = headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok());
    let typed = header.or_else(|| text(["__type", "code"])).ok_or(NONE)?;
    // `prefix#Code`, `Code:http://...`.
    let typed = typed.split(':').next().unwrap_or_default();
    let code = typed.rsplit('#').next().unwrap_or_default();
    Ok(Said {
        code: self::code(code).ok_or(NONE)?,
        message: line(text(["message", "Message"]).unwrap_or_default(), MAX_MESSAGE),
        request_id: None,
    })
}

fn xml(body: &[u8]) -> Result<Said, &'static str> {
    const NONE: &str = "it is no error in XML";
    let text = std::str::from_utf8(body).map_err(|_| NONE)?;
    let document = document(text).map_err(|_| NONE)?;
    let root = document.root_element();
    let error = match root.tag_name().name() {
        // S3.
        "Error" => root,
        // awsQuery, and ec2Query.
        "ErrorResponse" => child(root, "Error").ok_or(NONE)?,
        "Response" => child(root, "Errors").and_then(|errors| child(errors, "Error")).ok_or(NONE)?,
        _ => return Err(NONE),
    };
    let inside = |node, name| child(node, name).and_then(|node: Node<'_, '_>| node.text());
    let request_id = ["RequestId", "RequestID"].into_iter().find_map(|name| inside(root, name)).and_then(identifier);
    let code = inside(error, "Code").and_then(self::code).ok_or(NONE)?;
    Ok(Said { code, message: line(inside(error, "Message").unwrap_or_default(), MAX_MESSAGE), request_id })
}

fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.is_element() && child.tag_name().name() == name)
}

fn code(text: &str) -> Option<String> {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"._-".contains(&octet);
    ((1..=128).contains(&text.len()) && text.bytes().all(plain)).then(|| text.to_owned())
}

/// One line of at most so many characters.
pub(in crate::target::aws) fn line(text: &str, most: usize) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).take(most).collect()
}

/// Codes of refusals, where neither the code's form nor the status tells which kind it is.
const KINDS: &[(RefusalKind, &[&str])] = &[
    (
        RefusalKind::Throttled,
        &[
            "BandwidthLimitExceeded",
            "EC2ThrottledException",
            "PriorRequestNotComplete",
            "ProvisionedThroughputExceededException",
            "RequestLimitExceeded",
            "RequestThrottled",
            "RequestThrottledException",
            "SlowDown",
            "ThrottledException",
            "Throttling",
            "ThrottlingException",
            "TooManyRequestsException",
        ],
    ),
    (RefusalKind::Denied, &["AuthorizationError", "NotAuthorized", "UnauthorizedOperation"]),
    (
        RefusalKind::Unauthenticated,
        &[
            "AuthFailure",
            "ExpiredToken",
            "ExpiredTokenException",
            "IncompleteSignature",
            "IncompleteSignatureException",
            "InvalidAccessKeyId",
            "InvalidClientTokenId",
            "InvalidSignatureException",
            "InvalidToken",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
            "OptInRequired",
            "RequestExpired",
            "RequestTimeTooSkewed",
            "SignatureDoesNotMatch",
            "UnrecognizedClientException",
        ],
    ),
    (
        RefusalKind::Precondition,
        &[
            "ConditionalCheckFailedException",
            "ConditionalRequestConflict",
            "PreconditionFailed",
            "PreconditionFailedException",
            "PolicyNotFoundException",
            "PrefixListVersionMismatch",
        ],
    ),
    (
        RefusalKind::Conflict,
        &[
            "ClientTokenConflictException",
            "ConcurrentModification",
            "ConcurrentModificationException",
            "ConcurrentOperationException",
            "ConflictException",
            "DeleteConflict",
            "DependencyViolation",
            "OperationAborted",
            "ResourceConflictException",
            "TransactionCanceledException",
            "TransactionConflictException",
        ],
    ),
];

/// Codes of failures, whatever the status; and of calls of which an earlier one is under way. Cloud Control tells with status
/// 400 that a handler failed, which may have done a part.
const FAILURES: &[&str] = &[
    "GeneralServiceException",
    "HandlerFailureException",
    "HandlerInternalFailureException",
    "InternalError",
    "InternalFailure",
    "InternalServerError",
    "InternalServiceError",
    "NetworkFailureException",
    "NotStabilizedException",
    "RequestTimeout",
    "ServiceInternalErrorException",
    "ServiceUnavailable",
    "TransactionInProgressException",
    "Unavailable",
];

/// What kind of refusal an error is; `None` where it is a failure, of which nobody knows how far it came.
pub(super) fn kind(status: u16, code: &str) -> Option<RefusalKind> {
    if let Some((kind, _)) = KINDS.iter().find(|(_, codes)| codes.contains(&code)) {
        return Some(*kind);
    }
    if status >= 500 || FAILURES.contains(&code) || status == 408 {
        return None;
    }
    let ends = |ends: &[&str]| {
        let code = code.strip_suffix("Exception").unwrap_or(code);
        let code = code.strip_suffix("Fault").unwrap_or(code);
        ends.iter().any(|end| code.ends_with(end))
    };
    Some(match status {
        _ if code.starts_with("AccessDenied") => RefusalKind::Denied,
        _ if ends(&["LimitExceeded", "QuotaExceeded"]) => RefusalKind::Throttled,
        _ if ends(&["NotFound", "NotExist", "NotExists"]) || code.starts_with("NoSuch") => RefusalKind::NotFound,
        _ if ends(&["Exists", "InUse", "AlreadyOwnedByYou", ".Duplicate"]) => RefusalKind::Conflict,
        401 | 403 => RefusalKind::Unauthenticated,
        404 => RefusalKind::NotFound,
        409 => RefusalKind::Conflict,
        412 => RefusalKind::Precondition,
        429 => RefusalKind::Throttled,
        _ => RefusalKind::Invalid,
    })
}
