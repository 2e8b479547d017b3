//! What a process tells of itself: logs, metrics, health, and the trace that a request is part of.
//!
//! What must be true:
//!
//! - Logs hold no secret, no body and no value of a parameter; what comes from outside is in fields, clipped and escaped,
//!   never in the message.
//! - Metrics are a closed table ([`Registry::describe`], `docs/telemetry.md`), and their labels have closed sets of values:
//!   no caller can make a new series.
//! - Nothing here can fail a request.

mod health;
mod metrics;
mod trace;

use std::io::IsTerminal as _;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, filter::Targets};

use crate::config::server::{LogConfig, LogFormat, LogLevel};

pub use health::{Health, Impediment};
pub use metrics::{
    BrokerMetrics, CallLabels, ExecutionLabels, GrpcMetrics, MetricDoc, Phase, PhaseLabels, Registry, SECONDS,
};
pub use trace::{InvalidTraceParent, TraceParent};

/// Logs cannot be set up: they are already.
#[derive(Debug, thiserror::Error)]
#[error("logs are set up already")]
pub struct AlreadySet(#[from] tracing::subscriber::SetGlobalDefaultError);

/// Logs to standard error from now on, for the whole process.
///
/// # Errors
/// If they are set up already.
pub fn init(config: &LogConfig) -> Result<(), AlreadySet> {
    let colours = std::io::stderr().is_terminal();
    Ok(tracing::subscriber::set_global_default(subscriber(config, std::io::stderr, colours))?)
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
        LogFormat::Text => layer.with_ansi(colours).with_target(false).boxed(),
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
    Targets::new().with_target("seb", level).with_target("sab", level).with_default(level.min(LevelFilter::WARN))
}

#[cfg(test)]
mod tests;
