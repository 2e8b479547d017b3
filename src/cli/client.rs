//! Talking to a server as one of its clients: the connection, and how errors are told.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde_json::json;
use spiffe::SpiffeId;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::{FieldViolation, StatusExt};

use super::certificate::spiffe_id;
use super::{BAD, Exit, Format, Table};
use crate::config::kind::HostPort;
use crate::identity::folder;
use crate::telemetry::{TraceParent, causes};
use crate::tls::{Connector, H2, client_config};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// The largest answer that is read: an artefact and what is around it.
pub(super) const MAX_ANSWER: usize = 9 * 1024 * 1024;

/// The server, and who asks.
#[derive(Debug, Clone, Args)]
pub(super) struct Connection {
    /// The server
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7443")]
    server: HostPort,
    /// The server's SPIFFE ID; no other one is talked to
    #[arg(long, value_name = "SPIFFE_ID", value_parser = spiffe_id)]
    server_id: SpiffeId,
    /// The folder with one's own svid.pem, key.pem and bundle.pem
    #[arg(long, value_name = "FOLDER")]
    identity: PathBuf,
    /// How long to wait for the answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=600))]
    timeout: u32,
    /// The trace that the call is part of (W3C Trace Context); left out, it begins one
    #[arg(long, value_name = "TRACEPARENT")]
    traceparent: Option<TraceParent>,
}

/// The authority, and who asks.
#[derive(Debug, Clone, Args)]
pub(super) struct Authority {
    /// The authority
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7543")]
    server: HostPort,
    /// The authority's SPIFFE ID; no other one is talked to
    #[arg(long, value_name = "SPIFFE_ID", value_parser = spiffe_id)]
    server_id: SpiffeId,
    /// The folder with one's own svid.pem, key.pem and bundle.pem
    #[arg(long, value_name = "FOLDER")]
    identity: PathBuf,
    /// How long to wait for the answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=600))]
    timeout: u32,
    /// The trace that the call is part of (W3C Trace Context); left out, it begins one
    #[arg(long, value_name = "TRACEPARENT")]
    traceparent: Option<TraceParent>,
}

impl From<Authority> for Connection {
    fn from(Authority { server, server_id, identity, timeout, traceparent }: Authority) -> Self {
        Self { server, server_id, identity, timeout, traceparent }
    }
}

impl Connection {
    /// A channel that connects when it is first used. Must be called within a runtime.
    ///
    /// # Errors
    /// If there is no identity to connect with.
    pub(super) async fn channel(&self) -> anyhow::Result<Channel> {
        let identities = folder::open(&self.identity).await.context("there is no identity to connect with")?;
        let tls = client_config(&identities, [self.server_id.clone()], &[H2])?;
        let endpoint = Endpoint::from_shared(format!("http://{}", self.server))?;
        Ok(endpoint.connect_with_connector_lazy(Connector::new(tls, CONNECT)))
    }

    /// A request that waits for its answer as long as the command line says.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = self.lasting(message);
        request.set_timeout(Duration::from_secs(self.timeout.into()));
        request
    }

    /// A request that waits as long as the server answers.
    pub(super) fn lasting<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let trace = self.traceparent.or_else(TraceParent::fresh);
        // A traceparent is plain ASCII.
        if let Some(trace) = trace.and_then(|trace| trace.to_string().parse().ok()) {
            request.metadata_mut().insert(TraceParent::FIELD, trace);
        }
        request
    }
}

/// Prints why a call failed and what to do, and says how the command ends.
///
/// # Errors
/// If nothing can be printed.
pub(super) fn failed(status: &Status, format: Format, out: &mut impl Write) -> anyhow::Result<Exit> {
    let details = status.get_error_details();
    let (reason, mut metadata) = match details.error_info() {
        Some(info) => (info.reason.clone(), info.metadata.clone()),
        None => (String::new(), std::collections::HashMap::new()),
    };
    let mut said = |name: &str| metadata.remove(name).unwrap_or_default();
    let (retry, mender, mend, record) = (said("retry"), said("mender"), said("mend"), said("record"));
    let violations: &[FieldViolation] = details.bad_request().map_or(&[], |request| &request.field_violations);
    let later = retry == "later" || (reason.is_empty() && is_temporary(status.code()));
    let why = explain(status, &reason);
    match format {
        Format::Json => {
            let violations: Vec<_> =
                violations.iter().map(|v| json!({ "field": v.field, "what": v.description })).collect();
            let error = json!({
                "code": crate::grpc::gate::code_name(status.code()),
                "reason": reason,
                "message": why,
                "retry": if later { "later" } else { "never" },
                "mender": mender,
                "mend": mend,
                "record": record.parse::<u64>().ok(),
                "violations": violations,
            });
            writeln!(out, "{}", json!({ "error": error }))?;
        }
        Format::Text => {
            let name = if reason.is_empty() { crate::grpc::gate::code_name(status.code()) } else { &reason };
            writeln!(out, "{BAD}{name}{BAD:#} {}", printable(&why))?;
            let mut table = Table::default();
            for violation in violations {
                table.row(&printable(&violation.field), printable(&violation.description));
            }
            // What no server answered has nothing of its own to say.
            let mend = match mend.is_empty() && reason.is_empty() {
                true => {
                    "look whether the server runs where `--server` says, and is the one of `--server-id`".to_owned()
                }
                false => mend,
            };
            for (name, value) in [("mended by", &mender), ("what to do", &mend), ("record", &record)] {
                if !value.is_empty() {
                    table.row(name, printable(value));
                }
            }
            table.row(
                "retry",
                if later { "later: the cause is temporary" } else { "never: the same request will fail again" },
            );
            table.print(out)?;
        }
    }
    Ok(if later { Exit::Unavailable } else { Exit::Refused })
}

/// What went wrong; where no server answered, with the causes of the connection.
fn explain(status: &Status, reason: &str) -> String {
    let mut text = status.message().to_owned();
    if reason.is_empty() {
        for cause in causes(status).skip(1).map(ToString::to_string) {
            if !text.contains(&cause) {
                text = format!("{text}: {cause}");
            }
        }
    }
    text
}

/// Whether a status without particulars (of the transport, of a proxy) is one that can pass. A connection that broke off
/// before the answer came is [`Code::Unknown`].
const fn is_temporary(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Cancelled
            | Code::Aborted
            | Code::Unknown
    )
}

/// What a server said, without what could move a terminal's cursor.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
