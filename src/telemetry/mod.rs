//! What a process tells of itself: logs, metrics, health, and the trace that a request is part of.
//!
//! What must be true:
//!
//! - Logs hold no secret, no body, no certificate and no value of a parameter; what comes from outside is in fields, never in
//!   the message, on one line and of bounded length ([`Shown`]).
//! - Log lines are of a closed list of events ([`Event`]), each with its level.
//! - Metrics are a closed table ([`Registry::describe`], `docs/telemetry.md`), and their labels have closed sets of values:
//!   no caller can make a new series.
//! - Nothing here can fail a request.

mod events;
mod export;
mod health;
mod metrics;
mod spans;
mod trace;

use std::io::IsTerminal as _;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::{MakeWriter, format};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, filter::Targets};

use crate::config::server::{LogConfig, LogFormat, LogLevel, TelemetryConfig};

pub(crate) use events::causes;
pub(crate) use events::log;
pub use events::{Causes, Event, Shown};
pub use export::ExportError;
pub use health::{Health, Impediment};
pub use metrics::{
    BrokerMetrics, CallLabels, ExecutionLabels, GrpcMetrics, MetricDoc, Phase, PhaseLabels, Registry, SECONDS,
};
pub use spans::{call_span, phase_span};
pub use trace::{InvalidTraceParent, TraceParent};

/// Logs and traces cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// They are already.
    #[error("logs are set up already")]
    AlreadySet(#[from] tracing::subscriber::SetGlobalDefaultError),
    /// Spans cannot be exported.
    #[error("traces cannot be exported")]
    Export(#[from] ExportError),
}

/// Logs and traces, as long as the process runs.
#[derive(Debug)]
#[must_use = "what is not sent when the process ends is lost"]
pub struct Telemetry(Option<export::Exporter>);

impl Telemetry {
    /// Sends the spans that are left, for seconds at most.
    pub async fn end(self) {
        if let Some(exporter) = self.0 {
            exporter.end().await;
        }
    }
}

/// Logs to standard error from now on, for the whole process; and exports spans of the process `service`, if the
/// configuration says where to. Must be called within a runtime.
///
/// # Errors
/// If they are set up already, or spans cannot be exported.
pub fn init(log: &LogConfig, telemetry: &TelemetryConfig, service: &'static str) -> Result<Telemetry, InitError> {
    let colours = std::io::stderr().is_terminal();
    let exporter = telemetry.collector.as_ref().map(|to| export::Exporter::new(telemetry, to, service)).transpose()?;
    let spans = exporter.as_ref().map(export::Exporter::layer);
    let log = layer(log, std::io::stderr, colours).with_filter(filter(log.level));
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(log).with(spans))?;
    Ok(Telemetry(exporter))
}

/// Logs to `writer`.
pub fn subscriber<W>(config: &LogConfig, writer: W, colours: bool) -> impl Subscriber + Send + Sync + use<W>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::registry().with(layer(config, writer, colours).with_filter(filter(config.level)))
}

fn layer<S, W>(config: &LogConfig, writer: W, colours: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    match config.format {
        LogFormat::Text => {
            let fields = format::debug_fn(|writer, field, value| {
                let value = Shown(format_args!("{value:?}"));
                match field.name() {
                    "message" => write!(writer, "{value}"),
                    name => write!(writer, "{name}={value}"),
                }
            });
            layer.with_ansi(colours).with_target(false).fmt_fields(fields.delimited(" ")).boxed()
        }
        LogFormat::Json => layer.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed(),
    }
}

/// Our own events by the level that was asked for; those of libraries from `warn` on, because what they say below of
/// connections, messages and statements is neither ours to judge nor meant for a log.
fn filter(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new()
        .with_target("seb", level)
        .with_target("sab", level)
        .with_target(spans::TARGET, LevelFilter::OFF)
        .with_default(level.min(LevelFilter::WARN))
}

#[cfg(test)]
mod tests;
