//! The one table from what went wrong to what a gRPC client is told.
//!
//! Every status carries a `google.rpc.ErrorInfo` of the domain `seb.dev`: `reason` is the stable code, and its metadata
//! says `retry` (`never` or `later`), who is the `mender`, and how to `mend` it. What failed for a reason that is nobody's
//! business outside is `internal`, with an id under which the log has the cause.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Display;

use http::HeaderMap;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::reason::{Denial, Mender, PUBLIC_UNAUTHENTICATED, Reason, Retry, Verdict};
use crate::telemetry::{Causes, log};

/// The domain of every `ErrorInfo`.
pub const DOMAIN: &str = "seb.dev";

/// The longest message of a status, in characters.
const MAX_MESSAGE: usize = 1024;

macro_rules! causes {
    ($($variant:ident $code:literal $grpc:ident $mender:ident $retry:ident $meaning:literal $mend:literal;)+) => {
        /// Why a call failed, where it is not one of the [reasons](Reason) for which a certified mutation is refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Cause {
            $(#[doc = $meaning] $variant,)+
        }

        impl Cause {
            /// All causes.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stable code.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// The code of gRPC.
            pub const fn grpc(self) -> Code {
                match self { $(Self::$variant => Code::$grpc,)+ }
            }

            /// Who can mend it.
            pub const fn mender(self) -> Mender {
                match self { $(Self::$variant => Mender::$mender,)+ }
            }

            /// Whether the same call can succeed later.
            pub const fn retry(self) -> Retry {
                match self { $(Self::$variant => Retry::$retry,)+ }
            }

            /// What it means, in one sentence.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)+ }
            }

            /// How to mend it, in one sentence.
            pub const fn mend(self) -> &'static str {
                match self { $(Self::$variant => $mend,)+ }
            }
        }
    };
}

causes! {
    Unauthenticated "unauthenticated" Unauthenticated Agent Never
        "The connection has no verified identity."
        "Connect by mutual TLS with an X.509-SVID.";
    MethodNotAllowed "method_not_allowed" PermissionDenied Operator Never
        "There is no such method, or none of the caller's roles may call it."
        "If it should be possible, give the caller's SPIFFE ID the role in the server's configuration.";
    InvalidRequest "invalid_request" InvalidArgument Agent Never
        "The request is not well-formed."
        "Send what the API's documentation asks for.";
    MessageTooLarge "message_too_large" OutOfRange Agent Never
        "The message is larger than the server reads."
        "Send less: detach the body, or ask for less at a time.";
    NotFound "not_found" NotFound Agent Never
        "There is no such thing, or it is not the caller's."
        "Check the name.";
    RequestConflict "request_conflict" AlreadyExists Agent Never
        "Something of this name exists already, and differs."
        "Take another name, or ask for what exists.";
    PeerBusy "peer_busy" ResourceExhausted Agent Later
        "The caller has as many requests in flight and waiting as one caller may have."
        "Wait for answers before asking more.";
    ServerBusy "server_busy" ResourceExhausted Operator Later
        "The server has as much to do as it takes on."
        "Try again, later each time.";
    DeadlineExceeded "deadline_exceeded" DeadlineExceeded Agent Later
        "The deadline passed before the answer; what was begun goes on."
        "Ask for the state, or repeat the same request: it is not performed twice.";
    Draining "draining" Unavailable Operator Later
        "The server is about to end and takes no new call."
        "Connect again: to another server, or in a moment.";
    Unavailable "unavailable" Unavailable Operator Later
        "Something that the server needs does not answer."
        "Try again; if it lasts, look at the server's health and log.";
    Internal "internal" Internal Operator Later
        "Something went wrong inside the server."
        "Give the id to whoever runs the server: the log has the cause.";
}

/// The code of gRPC for a reason.
///
/// Whatever shows before a certificate is authentic has one code; afterwards: what the caller chose wrongly is an invalid
/// argument, what it may not is denied, what can pass by itself is unavailable or exhausted, and the rest is a condition
/// that does not hold.
pub const fn grpc_code(reason: Reason) -> Code {
    match reason.verdict() {
        Verdict::Parse | Verdict::Profile | Verdict::Signature | Verdict::Targeting => return Code::PermissionDenied,
        Verdict::Authorization => {}
    }
    match reason {
        Reason::StepUnknown
        | Reason::ParameterUnknown
        | Reason::ParameterMissing
        | Reason::ParameterType
        | Reason::ParameterOutOfBounds
        | Reason::BodyMissing
        | Reason::BodyUnexpected
        | Reason::BodyMismatch
        | Reason::ContractMismatch
        | Reason::IdempotencyKeyMissing => Code::InvalidArgument,
        Reason::RevokedCertificate
        | Reason::RevokedHolder
        | Reason::RevokedContract
        | Reason::RevokedTarget
        | Reason::AuthorityCeiling
        | Reason::CeilingVerb
        | Reason::CeilingResource
        | Reason::CeilingParameter
        | Reason::CeilingValidity
        | Reason::CeilingUses
        | Reason::CeilingDeadline => Code::PermissionDenied,
        Reason::CeilingRateAgent | Reason::CeilingRateAuthority | Reason::UseSpacing => Code::ResourceExhausted,
        Reason::Replayed => Code::AlreadyExists,
        Reason::ClockSkew
        | Reason::EpochUnknown
        | Reason::EpochStale
        | Reason::EpochBehind
        | Reason::RateUnknown
        | Reason::UsesUnknown
        | Reason::BoundaryUnproven
        | Reason::BoundaryStale
        | Reason::BoundaryBroken
        | Reason::LiveStateUnknown
        | Reason::LiveStateStale
        | Reason::DryRunUnknown => Code::Unavailable,
        _ => Code::FailedPrecondition,
    }
}

impl Cause {
    /// The status, with particulars that the caller may see.
    pub fn status(self, detail: impl Display) -> Status {
        self.with(detail, ErrorDetails::new(), [])
    }

    fn with<const N: usize>(
        self,
        detail: impl Display,
        details: ErrorDetails,
        more: [(&'static str, String); N],
    ) -> Status {
        let told = Told { code: self.code(), retry: self.retry(), mender: self.mender(), mend: self.mend() };
        told.status(self.grpc(), detail, details, more)
    }
}

/// A field of a request that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Its path, such as `request.values[2].pointer`.
    pub field: String,
    /// What is wrong with it.
    pub what: String,
}

/// The status of a request that is not well-formed: one violation or more.
pub fn invalid(violations: &[Violation]) -> Status {
    let detail = violations
        .first()
        .map_or_else(|| "the request is not valid".to_owned(), |first| format!("`{}`: {}", first.field, first.what));
    let fields: Vec<_> = violations.iter().map(|v| FieldViolation::new(&v.field, clip(&v.what))).collect();
    Cause::InvalidRequest.with(detail, ErrorDetails::with_bad_request(fields), [])
}

/// The status of a refusal, for all its reasons, the first being the answer; `record` is the number of its record.
///
/// Before the certificate is known to be authentic it is the same whatever the reasons are.
pub fn denied(denials: &[Denial], record: Option<u64>) -> Status {
    let Some(answer) = denials.first() else { return internal_text(&"a refusal without a reason") };
    let details = ErrorDetails::new();
    let record = record.map(|record| record.to_string()).unwrap_or_default();
    if answer.reason.public_code() == PUBLIC_UNAUTHENTICATED {
        let told = Told {
            code: PUBLIC_UNAUTHENTICATED,
            retry: Retry::Never,
            mender: Mender::Agent,
            mend: "Send the certificate and its chain as the authority issued them; the operator's record has the exact reason.",
        };
        return told.status(grpc_code(answer.reason), "the certificate was refused", details, [("record", record)]);
    }
    let reason = answer.reason;
    let mut also: Vec<_> = denials.iter().map(|denial| denial.reason).filter(|other| *other != reason).collect();
    also.dedup();
    let also: Vec<_> = also.into_iter().map(Reason::public_code).collect();
    let told = Told { code: reason.code(), retry: reason.retry(), mender: reason.mender(), mend: reason.mend() };
    told.status(grpc_code(reason), &answer.detail, details, [("record", record), ("also", also.join(","))])
}

/// What the transport refused by itself, before or after a handler, told as everything else is; none for what has its
/// particulars already, and for success.
pub fn adopt(headers: &HeaderMap) -> Option<Status> {
    let status = Status::from_header_map(headers).filter(|status| status.code() != Code::Ok)?;
    if !status.details().is_empty() {
        return None;
    }
    let cause = match status.code() {
        Code::OutOfRange | Code::ResourceExhausted => Cause::MessageTooLarge,
        Code::NotFound => Cause::NotFound,
        Code::Cancelled | Code::DeadlineExceeded => Cause::DeadlineExceeded,
        Code::Unavailable => Cause::Unavailable,
        // A message that is not of its type, a compression that nobody offered, and their like.
        _ => Cause::InvalidRequest,
    };
    Some(cause.status(cause.meaning()))
}

/// The status of an error that is nobody's business outside: the log has it under the id that the status names.
pub fn internal(error: &(dyn Error + 'static)) -> Status {
    internal_text(&Causes(error))
}

/// The status of what should work later; `detail` is for the caller, and the log has the error under the id that the
/// status names.
pub fn unavailable(detail: &str, error: &(dyn Error + 'static)) -> Status {
    let id = incident();
    log!(CallUnavailable, %id, what = detail, error = %Causes(error), "a call failed for now");
    let detail = format!("{detail}; the log has it as `{id}`");
    Cause::Unavailable.with(detail, ErrorDetails::new(), [("id", id)])
}

fn internal_text(text: &dyn Display) -> Status {
    let id = incident();
    log!(CallFailed, %id, error = %text, "a call failed inside");
    Cause::Internal.with(
        format_args!("something went wrong; the log has it as `{id}`"),
        ErrorDetails::new(),
        [("id", id.clone())],
    )
}

/// A name for one incident: 16 hexadecimal digits by chance.
fn incident() -> String {
    let mut octets = [0; 8];
    match aws_lc_rs::rand::fill(&mut octets) {
        Ok(()) => octets.iter().map(|octet| format!("{octet:02x}")).collect(),
        Err(_) => "unnamed".to_owned(),
    }
}

/// What an `ErrorInfo` says.
struct Told {
    code: &'static str,
    retry: Retry,
    mender: Mender,
    mend: &'static str,
}

impl Told {
    fn status<const N: usize>(
        &self,
        code: Code,
        detail: impl Display,
        mut details: ErrorDetails,
        more: [(&'static str, String); N],
    ) -> Status {
        let retry = match self.retry {
            Retry::Never => "never",
            Retry::Later => "later",
        };
        let mut metadata: HashMap<String, String> =
            [("retry", retry), ("mender", self.mender.as_str()), ("mend", self.mend)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        metadata.extend(
            more.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.to_owned(), value)),
        );
        details.set_error_info(self.code, DOMAIN, metadata);
        Status::with_error_details(code, clip(&detail.to_string()), details)
    }
}

/// One line of bounded length.
fn clip(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_MESSAGE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_distinct_and_plain() {
        let codes: BTreeSet<_> =
            Cause::ALL.iter().map(|cause| cause.code()).chain(Reason::ALL.iter().map(|reason| reason.code())).collect();
        assert_eq!(codes.len(), Cause::ALL.len() + Reason::ALL.len());
        assert!(codes.iter().all(|code| code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
        assert!(!codes.contains(PUBLIC_UNAUTHENTICATED));
    }

    #[test]
    fn every_status_says_what_to_do() {
        for reason in Reason::ALL {
            let status = denied(&[Denial::new(*reason, "particulars")], Some(7));
            let info = status.get_details_error_info().unwrap();
            assert_eq!(info.reason, reason.public_code());
            assert_eq!(info.domain, DOMAIN);
            assert_eq!(info.metadata["record"], "7");
            assert!(["never", "later"].contains(&info.metadata["retry"].as_str()));
            assert!(!info.metadata["mend"].is_empty() && !info.metadata["mender"].is_empty());
        }
        for cause in Cause::ALL {
            let info = cause.status("particulars").get_details_error_info().unwrap();
            assert_eq!(info.reason, cause.code());
        }
    }

    #[test]
    fn before_authentication_every_answer_is_the_same() {
        let hidden: Vec<_> =
            Reason::ALL.iter().filter(|reason| reason.public_code() == PUBLIC_UNAUTHENTICATED).collect();
        assert!(hidden.len() > 20);
        let answers: BTreeSet<_> = hidden
            .iter()
            .map(|reason| {
                let status = denied(
                    &[Denial::new(**reason, format!("{reason} secret")), Denial::new(Reason::Expired, "x")],
                    Some(7),
                );
                let info = status.get_details_error_info().unwrap();
                let metadata: std::collections::BTreeMap<_, _> = info.metadata.into_iter().collect();
                (status.code() as i32, status.message().to_owned(), info.reason, format!("{metadata:?}"))
            })
            .collect();
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert!(!format!("{answers:?}").contains("secret"));
    }

    #[test]
    fn what_can_pass_by_itself_is_never_told_as_final() {
        for reason in Reason::ALL.iter().filter(|reason| reason.verdict() == Verdict::Authorization) {
            let temporary = matches!(grpc_code(*reason), Code::Unavailable | Code::ResourceExhausted);
            // A certificate that is not valid yet is a condition; everything else that can pass asks to try again.
            let later = reason.retry() == Retry::Later && *reason != Reason::NotYetValid;
            assert_eq!(temporary, later, "{reason}");
        }
    }

    #[test]
    fn an_internal_error_stays_inside() {
        let status = internal(&std::io::Error::other("the password is hunter2"));
        assert_eq!(status.code(), Code::Internal);
        assert!(!format!("{status:?}").contains("hunter2"));
        assert_eq!(status.get_details_error_info().unwrap().metadata["id"].len(), 16);
    }
}
