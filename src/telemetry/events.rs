//! What is logged: one closed table of events, each with its level and with what to do about it.

use std::error::Error;
use std::fmt::{self, Display, Write as _};

use tracing::Level;

/// The most characters of one field of the log.
const MAX_FIELD: usize = 1024;

macro_rules! events {
    ($($variant:ident $name:literal $level:ident $meaning:literal $mend:literal;)+) => {
        /// Something that is logged. `docs/telemetry.md` lists all of them; a name keeps its meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Event {
            $(#[doc = $meaning] $variant,)+
        }

        impl Event {
            /// All events, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stable name: the field `event` of its line.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// How important it is.
            pub const fn level(self) -> Level {
                match self { $(Self::$variant => Level::$level,)+ }
            }

            /// What it means, in one sentence.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)+ }
            }

            /// What to do about it, in one sentence.
            pub const fn mend(self) -> &'static str {
                match self { $(Self::$variant => $mend,)+ }
            }
        }
    };
}

events! {
    // -- every server
    Serving "serving" INFO
        "The process serves."
        "Nothing.";
    Draining "draining" INFO
        "The process was asked to end, takes no new call, and lets what is in flight finish."
        "Nothing.";
    DrainCut "drain_cut" WARN
        "The drain timeout passed, and calls in flight were cut off; executions go on by themselves."
        "If it happens at each restart, lengthen `[grpc] drain`.";
    Drained "drained" INFO
        "No more calls are taken; `drained` says whether all were answered."
        "Nothing.";
    CallAnswered "call_answered" DEBUG
        "A call was answered, with this gRPC code."
        "Nothing.";
    CallFailed "call_failed" ERROR
        "Something that should not happen did; the caller was told `internal` and the `id`."
        "Report it, with the line.";
    CallUnavailable "call_unavailable" ERROR
        "Something that a call needs does not answer; the caller was told `unavailable` and the `id`."
        "Mend what `error` names; callers try again.";
    AcceptFailed "accept_failed" WARN
        "A connection could not be accepted."
        "If `error` is of open files, raise the process's limit of them.";
    HandshakeFailed "handshake_failed" DEBUG
        "A handshake failed: no certificate, one that no bundle vouches for, or no TLS 1.3."
        "If the peer should be let in, look at its SVID and at the trust bundle.";
    IdentityRead "identity_read" INFO
        "Identity files changed, or the Workload API gave an SVID or bundles, and they are in use."
        "Nothing.";
    IdentityUnusable "identity_unusable" ERROR
        "Identity files changed, and cannot be used; those of before stay in use."
        "Mend the files before the certificate in use ends: `seb_certificate_remaining_seconds`.";
    WorkloadApiDown "workload_api_down" WARN
        "The Workload API gives nothing, or what it gave cannot be used; identity and bundles of before stay in use."
        "Mend the SPIRE agent, or the registration entry, before the SVID ends: `seb_certificate_remaining_seconds`.";
    BundleNotFetched "bundle_not_fetched" WARN
        "The bundle of another trust domain could not be fetched; the last one is in use for a while."
        "If it lasts, look at the endpoint and the network to it.";
    IdentityRenewed "identity_renewed" INFO
        "An SVID of the embedded trust domain was renewed."
        "Nothing.";
    IdentityNotRenewed "identity_not_renewed" ERROR
        "SVIDs of the embedded trust domain could not be renewed; it is tried again."
        "Mend what `error` names before they end.";
    StoreStopped "store_stopped" ERROR
        "Writing to the store failed, and how far is not known: nothing is executed any more."
        "Look at the disk, and start the process again: what is on the disk decides.";
    SpansLost "spans_lost" WARN
        "Spans could not be sent to the collector, and are lost; it is said once, until they are sent again."
        "Look at the collector, and at `[telemetry]`; nothing else suffers.";
    SpansSent "spans_sent" INFO
        "Spans are sent to the collector again."
        "Nothing.";
    // -- the broker
    ExecutionCaSigned "execution_ca_signed" INFO
        "The SPIRE server signed the intermediate CA by which execution identities are minted."
        "Nothing.";
    ExecutionCaNotSigned "execution_ca_not_signed" WARN
        "The SPIRE server did not sign the intermediate CA; it is asked again."
        "Mend what `error` names before the one in use ends: without one nothing is executed.";
    StoreFailing "store_failing" ERROR
        "Nothing can be recorded, so nothing is executed; `/readyz` says so too."
        "Mend what `reason` names; the broker goes on by itself unless the store has stopped.";
    TrustChanged "trust_changed" INFO
        "The trust bundles changed, and are in force."
        "Nothing, if somebody changed them.";
    TrustUnreadable "trust_unreadable" ERROR
        "A trust bundle cannot be read or used; the last ones stay in force, but for a federated one, which is left out."
        "Mend what `error` names.";
    EpochStreamEnded "epoch_stream_ended" WARN
        "The epoch stream of an authority ended; it is opened again, and everything under it is denied once knowledge is stale."
        "If it lasts, look at the authority, and at the network to it.";
    LiveStateUnreadable "live_state_unreadable" WARN
        "A target could not be asked for the live state of an object: the request is denied."
        "If it lasts, look at the target, and at the broker's right to read.";
    Rewritten "rewritten" WARN
        "An API server made something else of what was certified: a mutating webhook or policy changed it."
        "Look at `place` of the object, and at what rewrites it; the outcome record says the same.";
    TargetFilesUnusable "target_files_unusable" ERROR
        "Files by which a target is reached changed, and cannot be used; what they said last stays in use."
        "Mend the file that `error` names.";
    BindingLeft "binding_left" WARN
        "The Kubernetes Secret that a mutation's token was bound to could not be deleted; the token runs out by itself."
        "Delete the Secret; if it lasts, look at the API server, and at the executor's right to delete it.";
    AwsSessionNotRenewed "aws_session_not_renewed" WARN
        "A session of AWS that the broker keeps could not be renewed before its end; the old one is used on while it lasts."
        "If it lasts, look at trust anchor, profile and role, and at the quota of CreateSession.";
    OutcomeNotMade "outcome_not_made" ERROR
        "An outcome cannot be made into a record; evidence will settle the execution."
        "Report it, with the line.";
    OutcomeUnrecorded "outcome_unrecorded" ERROR
        "An outcome could not be recorded; evidence will settle the execution."
        "Mend the store; `seb_executions_open` says what is left.";
    ExecutionsSettled "executions_settled" INFO
        "Executions whose end was not known were settled from evidence."
        "Nothing.";
    SettlingFailed "settling_failed" ERROR
        "Open executions could not be settled; it is tried again."
        "Mend what `error` names.";
    SettlingWithoutTarget "settling_without_target" WARN
        "An open execution is of a target that is not configured: it stays open."
        "Configure the target again until it is settled.";
    ExecutionsCut "executions_cut" ERROR
        "The process ends while executions run; evidence will settle them at the next start."
        "Start the broker again.";
    // -- the authority
    ProposalDecided "proposal_decided" INFO
        "A proposal was decided."
        "Nothing.";
    ProposalsExpired "proposals_expired" INFO
        "Proposals waited for longer than they may."
        "Nothing.";
    ProposalsUnreadable "proposals_unreadable" WARN
        "Pending proposals could not be looked at; it is tried again."
        "If it lasts, mend the ledger.";
    AdmissionUnrecorded "admission_unrecorded" WARN
        "A decision of the authority could not be recorded: nothing was issued."
        "Mend the store.";
    Revoking "revoking" WARN
        "An operator revokes."
        "Nothing, if it was meant.";
    BrokerStreamEnded "broker_stream_ended" INFO
        "The epoch stream of a broker ended."
        "If the broker should run, look at it.";
    EpochNotIssued "epoch_not_issued" ERROR
        "No epoch statement could be issued: brokers will deny everything once their knowledge is stale."
        "Mend what `error` names, at once.";
    PoliciesRead "policies_read" INFO
        "The policies were read again, and are in force."
        "Nothing.";
    PoliciesBroken "policies_broken" ERROR
        "The policies are broken: every proposal is refused."
        "Mend what `fault` names (`sab policy check`), and send SIGHUP.";
    PoliciesKept "policies_kept" ERROR
        "New policies could not be taken; those of before stay in force."
        "Mend what `error` names, and send SIGHUP.";
    AuthorityKeyForeign "authority_key_foreign" ERROR
        "The key of the authority was exchanged for another authority's; the one before stays in use."
        "Put the authority's own key back.";
    AuthorityKeyUnusable "authority_key_unusable" ERROR
        "The key of the authority was exchanged and cannot be used; the one before stays in use."
        "Mend the files before the certificate in use ends.";
    // -- the sandbox
    AuditUnwritable "audit_unwritable" ERROR
        "The sandbox's audit log cannot be written: it does nothing any more."
        "Make room, and start it again.";
    ConnectionsCut "connections_cut" WARN
        "Connections to the sandbox did not finish in time when it ended."
        "Nothing.";
    ConnectionBroken "connection_broken" DEBUG
        "A connection to the sandbox broke off."
        "Nothing.";
}

/// Logs an event at its level: `log!(Draining, peer = %peer, "a message without anything from outside")`.
macro_rules! log {
    ($event:ident, $($fields:tt)+) => {
        ::tracing::event!(
            $crate::telemetry::Event::$event.level(),
            event = $crate::telemetry::Event::$event.name(),
            $($fields)+
        )
    };
}
pub(crate) use log;

/// A text on one line, of at most 1024 characters: what is not printable is escaped, and the rest left out.
#[derive(Debug, Clone, Copy)]
pub struct Shown<T>(pub T);

impl<T: Display> Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = Line { to: f, left: MAX_FIELD };
        match write!(line, "{}", self.0) {
            Err(_) if line.left == 0 => f.write_str("…"),
            written => written,
        }
    }
}

/// Ends with an error once it is full.
struct Line<'l, 'f> {
    to: &'l mut fmt::Formatter<'f>,
    left: usize,
}

impl fmt::Write for Line<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
            match is_plain(character) {
                true => self.to.write_char(character)?,
                false => write!(self.to, "{}", character.escape_default())?,
            }
        }
        Ok(())
    }
}

/// Whether a character can do nothing to a line but stand in it: no control, no separator of lines, nothing that turns
/// the direction of writing.
fn is_plain(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// An error, and what it comes from.
pub(crate) fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// An error and its causes, as [`Shown`].
#[derive(Debug, Clone, Copy)]
pub struct Causes<'e>(pub &'e (dyn Error + 'static));

impl Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shown(Chain(self.0)).fmt(f)
    }
}

struct Chain<'e>(&'e (dyn Error + 'static));

impl Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        causes(self.0).enumerate().try_for_each(|(place, error)| {
            let colon = if place == 0 { "" } else { ": " };
            write!(f, "{colon}{error}")
        })
    }
}
