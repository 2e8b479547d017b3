//! The trace that a request is part of: W3C Trace Context, the `traceparent` field.

use std::fmt;
use std::str::FromStr;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// A `traceparent` of version 00: who asked, in which trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace: [u8; 16],
    parent: [u8; 8],
    flags: u8,
}

/// The text is not a `traceparent` of version 00.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a `traceparent` of version 00 (W3C Trace Context)")]
pub struct InvalidTraceParent;

impl TraceParent {
    /// The name of the field.
    pub const FIELD: &str = "traceparent";

    /// The id of the trace: 32 hexadecimal digits.
    pub fn trace_id(&self) -> String {
        base16ct::lower::encode_string(&self.trace)
    }

    /// The id of the span that asked: 16 hexadecimal digits.
    pub fn parent_id(&self) -> String {
        base16ct::lower::encode_string(&self.parent)
    }

    /// A trace that begins here, by chance; none if the library has no randomness.
    pub fn fresh() -> Option<Self> {
        let mut this = Self { trace: [0; 16], parent: [0; 8], flags: 1 };
        aws_lc_rs::rand::fill(&mut this.trace).and_then(|()| aws_lc_rs::rand::fill(&mut this.parent)).ok()?;
        (this.trace != [0; 16] && this.parent != [0; 8]).then_some(this)
    }

    /// The same, for spans that are exported.
    pub(super) fn span_context(&self) -> SpanContext {
        let (trace, span) = (TraceId::from_bytes(self.trace), SpanId::from_bytes(self.parent));
        let flags = TraceFlags::new(self.flags & 1);
        SpanContext::new(trace, span, flags, true, TraceState::default())
    }

    /// Whether the caller may have recorded its part of the trace.
    pub const fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }
}

impl FromStr for TraceParent {
    type Err = InvalidTraceParent;

    fn from_str(text: &str) -> Result<Self, InvalidTraceParent> {
        let mut parts = text.split('-');
        let mut next = || parts.next().unwrap_or_default();
        let (version, trace, parent, flags) = (next(), next(), next(), next());
        if version != "00" || parts.next().is_some() {
            return Err(InvalidTraceParent);
        }
        let [flags] = octets(flags)?;
        let this = Self { trace: octets(trace)?, parent: octets(parent)?, flags };
        if this.trace == [0; 16] || this.parent == [0; 8] { Err(InvalidTraceParent) } else { Ok(this) }
    }
}

fn octets<const N: usize>(hex: &str) -> Result<[u8; N], InvalidTraceParent> {
    let mut out = [0; N];
    match base16ct::lower::decode(hex, &mut out) {
        Ok(decoded) if decoded.len() == N => Ok(out),
        _ => Err(InvalidTraceParent),
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace_id(), self.parent_id(), self.flags)
    }
}
