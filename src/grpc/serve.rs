//! A server: mutual TLS, the gate, the standard services, and an end that loses no call.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use super::access::Roles;
use super::gate::Gate;
use crate::config::server::GrpcConfig;
use crate::identity::Identities;
use crate::proto::DESCRIPTORS;
use crate::telemetry::{GrpcMetrics, Health, log};
use crate::tls::{self, H2, Incoming};

/// The largest message to the standard services.
const MAX_SMALL: usize = 4096;

/// How long a client may take to answer a sign-of-life request.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest frame.
const MAX_FRAME: u32 = 16 * 1024;

/// The most resets by a client that wait to be handled (a flood of them ends the connection).
const MAX_PENDING_RESETS: usize = 32;

/// A server cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It cannot listen.
    #[error("cannot listen on `{address}`")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The descriptors of the services cannot be offered.
    #[error("the reflection service cannot be made")]
    Reflection(#[source] Box<tonic_reflection::server::Error>),
    /// The transport failed.
    #[error("the transport failed")]
    Transport(#[from] tonic::transport::Error),
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every call was answered.
    Complete,
    /// The drain timeout passed first; what was in flight was cut off. Executions go on by themselves.
    Cut,
}

/// A server that listens, and serves once it is told what.
#[derive(Debug)]
pub struct Server {
    incoming: Incoming,
    config: GrpcConfig,
}

/// What a server is made of.
#[derive(Debug)]
pub struct Parts {
    /// The services, each with its own limit for messages (`max_decoding_message_size`, by
    /// [`crate::config::server::GrpcLimits::message_octets`]). Health and reflection are added.
    pub routes: Routes,
    /// Who may call what.
    pub roles: Roles,
    /// What is counted.
    pub metrics: GrpcMetrics,
    /// The health of the process.
    pub health: Health,
    /// The fully qualified names of the services that reflection tells of; others stay unknown.
    pub services: &'static [&'static str],
}

impl Server {
    /// Listens, and performs handshakes. Must be called within a runtime.
    ///
    /// # Errors
    /// If it cannot listen.
    pub async fn bind(config: &GrpcConfig, identities: &Identities) -> Result<Self, ServeError> {
        let listen = |source| ServeError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let limits = tls::Limits {
            connections: config.limits.connections,
            handshakes: config.limits.handshakes,
            handshake_timeout: config.limits.handshake_timeout,
        };
        let incoming = tls::incoming(listener, identities.clone(), &[H2], limits).map_err(listen)?;
        Ok(Self { incoming, config: config.clone() })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.incoming.local_addr()
    }

    /// Serves until `shutdown`, then drains: health says so, no new call is taken, streams of answers end with
    /// `UNAVAILABLE`, and calls in flight have the configured time to finish.
    ///
    /// # Errors
    /// If the services cannot be served at all.
    pub async fn serve(self, parts: Parts, shutdown: impl Future<Output = ()>) -> Result<Drained, ServeError> {
        let Self { incoming, config } = self;
        let Parts { routes, roles, metrics, health, services } = parts;
        let limits = &config.limits;
        let reporter = HealthReporter::new();
        let health_service = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
        let routes = routes.add_service(health_service.max_decoding_message_size(MAX_SMALL));
        let routes = routes.add_service(reflection(services)?.max_decoding_message_size(MAX_SMALL));
        let gate = Gate::new(roles, limits, health.clone(), metrics);
        let serving = tonic::transport::Server::builder()
            .max_concurrent_streams(limits.http2_streams)
            .http2_max_header_list_size(u32::try_from(limits.header_octets).unwrap_or(u32::MAX))
            .http2_max_pending_accept_reset_streams(Some(MAX_PENDING_RESETS))
            .http2_keepalive_interval(Some(limits.keepalive))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .max_frame_size(MAX_FRAME)
            .layer(gate)
            .add_routes(routes)
            .serve_with_incoming_shutdown(incoming, health.drained());
        let mut serving = pin!(serving);
        tokio::select! {
            served = serving.as_mut() => return Ok(served.map(|()| Drained::Complete)?),
            () = report(&health, &reporter) => {}
            () = health.drained() => {}
            () = shutdown => {}
        }
        health.draining();
        reporter.set_service_status("", ServingStatus::NotServing).await;
        log!(Draining, "draining");
        match tokio::time::timeout(config.drain, serving).await {
            Ok(served) => Ok(served.map(|()| Drained::Complete)?),
            Err(_) => {
                log!(DrainCut, "the drain timeout passed; what was in flight was cut off");
                Ok(Drained::Cut)
            }
        }
    }
}

/// Keeps the health service in step with the health of the process, until that drains.
async fn report(health: &Health, reporter: &HealthReporter) {
    let mut ready = health.is_ready();
    while !health.is_draining() {
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        reporter.set_service_status("", status).await;
        health.until(!ready).await;
        ready = !ready;
    }
}

fn reflection(
    services: &[&'static str],
) -> Result<
    tonic_reflection::server::v1::ServerReflectionServer<impl tonic_reflection::server::v1::ServerReflection + use<>>,
    ServeError,
> {
    let mut builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    for service in services {
        builder = builder.with_service_name(*service);
    }
    builder.build_v1().map_err(|error| ServeError::Reflection(Box::new(error)))
}
