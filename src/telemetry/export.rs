//! Spans to an OpenTelemetry collector, over OTLP: in batches, from a bounded queue, beside what is measured.
//!
//! What must be true:
//!
//! - Only the spans of [`super::spans`] are exported, and none of their attributes is a secret or a value of a parameter.
//! - Nothing waits for it: a span that finds the queue full is dropped.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData, SpanExporter, SpanLimits,
};
use tokio::runtime::Handle;
use tonic::transport::{Channel, Endpoint};
use tracing::Subscriber;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, filter};

use super::spans::TARGET;
use super::{Causes, Shown, log};
use crate::config::server::{Collector, TelemetryConfig};
use crate::tls::{Connector, H2, TlsError, named_client_config};

/// The most spans that wait.
const QUEUE: usize = 4096;
/// The most spans of one message.
const BATCH: usize = 512;
/// How long a span waits for others.
const DELAY: Duration = Duration::from_secs(1);
/// How long a connection to the collector may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a message may take.
const EXPORT: Duration = Duration::from_secs(10);
/// How long the process waits at its end for what is not sent yet.
const END: Duration = Duration::from_secs(5);

/// Spans cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The CA certificates of the collector cannot be used.
    #[error("the collector's CA certificates cannot be used: {0}")]
    Anchors(String),
    /// TLS cannot be set up.
    #[error("TLS to the collector cannot be set up")]
    Tls(#[from] TlsError),
    /// The address is none.
    #[error("the collector's address cannot be used")]
    Address(#[from] tonic::transport::Error),
}

/// What exports spans, until it is ended.
#[derive(Debug)]
pub(super) struct Exporter(SdkTracerProvider);

impl Exporter {
    /// An exporter for the process `service`. Must be called within a runtime, which sends.
    pub(super) fn new(
        config: &TelemetryConfig,
        collector: &Collector,
        service: &'static str,
    ) -> Result<Self, ExportError> {
        let sender = Sender {
            client: TraceServiceClient::new(channel(collector)?),
            resource: ResourceAttributesWithSchema::default(),
            runtime: Handle::current(),
            failing: AtomicBool::new(false),
        };
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(DELAY)
            .build();
        let mut about =
            vec![KeyValue::new("service.name", service), KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))];
        about.extend(config.instance.clone().map(|instance| KeyValue::new("service.instance.id", instance)));
        // A trace that the caller keeps is kept; of those that begin here, as many as the configuration says.
        let share = f64::from(config.sampled) / 1000.0;
        // Whatever the SDK would take from the environment is set: one file says everything.
        let provider = SdkTracerProvider::builder()
            .with_span_limits(SpanLimits::default())
            .with_resource(Resource::builder_empty().with_attributes(about).build())
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share))))
            .with_span_processor(BatchSpanProcessor::builder(sender).with_batch_config(batches).build())
            .build();
        Ok(Self(provider))
    }

    /// What feeds it.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'s> LookupSpan<'s> + Send + Sync,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("seb"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(filter::filter_fn(|metadata| metadata.is_span() && metadata.target() == TARGET))
    }

    /// Sends what is left, for seconds at most.
    pub(super) async fn end(self) {
        let ended = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(END)).await;
        if let Ok(Err(error)) = ended {
            log!(SpansLost, error = %Shown(error), "the last spans could not be sent");
        }
    }
}

fn channel(collector: &Collector) -> Result<Channel, ExportError> {
    let endpoint = Endpoint::from_shared(format!("http://{}", collector.address))?.connect_timeout(CONNECT);
    let Some(anchors) = &collector.anchors else { return Ok(endpoint.connect_lazy()) };
    let unusable = |what: &dyn std::fmt::Display| ExportError::Anchors(what.to_string());
    let pem = std::fs::read(anchors).map_err(|error| unusable(&error))?;
    let certificates = x509_cert::Certificate::load_pem_chain(&pem).map_err(|error| unusable(&error))?;
    let certificates = certificates.iter().map(der::Encode::to_der).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| unusable(&error))?;
    let config = named_client_config(certificates, &[H2])?;
    Ok(endpoint.connect_with_connector_lazy(Connector::by_name(config, CONNECT)))
}

/// Sends batches from the runtime, whatever thread they come from. What cannot be sent is lost: there is no second try,
/// because the next batch is close behind.
#[derive(Debug)]
struct Sender {
    client: TraceServiceClient<Channel>,
    resource: ResourceAttributesWithSchema,
    runtime: Handle,
    /// The last batch was not sent: the log says so once, not with each.
    failing: AtomicBool,
}

impl SpanExporter for Sender {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let (mut client, spans) = (self.client.clone(), batch.len());
        let resource_spans = group_spans_by_resource_and_scope(batch, &self.resource);
        let sending = self.runtime.spawn(async move {
            match tokio::time::timeout(EXPORT, client.export(ExportTraceServiceRequest { resource_spans })).await {
                Ok(Ok(answer)) => match answer.into_inner().partial_success {
                    Some(partial) if partial.rejected_spans > 0 => {
                        let (count, why) = (partial.rejected_spans, partial.error_message);
                        Err(OTelSdkError::InternalFailure(format!("{count} spans were refused: {why}")))
                    }
                    _ => Ok(()),
                },
                Ok(Err(status)) => Err(OTelSdkError::InternalFailure(Causes(&status).to_string())),
                Err(_) => Err(OTelSdkError::Timeout(EXPORT)),
            }
        });
        let sent = sending.await.unwrap_or_else(|error| Err(OTelSdkError::InternalFailure(error.to_string())));
        let failed_before = self.failing.swap(sent.is_err(), Ordering::Relaxed);
        match &sent {
            Err(error) if !failed_before => log!(SpansLost, spans, error = %Shown(error), "spans could not be sent"),
            Ok(()) if failed_before => log!(SpansSent, "spans are sent again"),
            _ => {}
        }
        sent
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.into();
    }
}
