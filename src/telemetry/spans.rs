//! The spans that are exported: a closed set, apart from those that give the lines of the log their context.
//!
//! | span | what it covers | attributes |
//! |---|---|---|
//! | the path of the method | one call of the API | `peer`, `code`; of an execution also `mutation`, `state`, `reason`, `record` |
//! | the name of a [`Phase`] | one phase of an execution | |

use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt as _;
use spiffe::SpiffeId;
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{Phase, TraceParent};

/// The target of these spans, and of nothing else. The log leaves them out.
pub(super) const TARGET: &str = "seb::span";

/// The span of one call of the API, in the trace that its caller named.
pub fn call_span(method: &'static str, peer: Option<&SpiffeId>, parent: Option<TraceParent>) -> Span {
    let span = tracing::info_span!(
        target: TARGET,
        "call",
        otel.name = method.trim_start_matches('/'),
        otel.kind = "server",
        peer = peer.map(tracing::field::display),
        code = Empty,
        mutation = Empty,
        state = Empty,
        reason = Empty,
        record = Empty,
    );
    if let Some(parent) = parent
        && !span.is_disabled()
    {
        // A span that was just made has no other parent yet.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent.span_context()));
    }
    span
}

/// The span of one phase of an execution.
pub fn phase_span(phase: Phase) -> Span {
    tracing::info_span!(target: TARGET, "phase", otel.name = phase.as_str())
}
