//! Metrics and health over plain HTTP, on an address of their own.
//!
//! Nothing here needs an identity and nothing here changes anything: `/metrics` (OpenMetrics), `/livez` (the process
//! answers; 503 if a part of it has stopped, so that only another process helps) and `/readyz` (it can do its work; if
//! not, 503; and what stands in the way of all of it or of a part, one line each).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;

use crate::telemetry::{Health, Registry};

/// The most requests at one time; further ones wait.
const MAX_REQUESTS: usize = 32;

/// The form of what `/metrics` answers.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How long requests may go on once the process ends.
const DRAIN: Duration = Duration::from_secs(1);

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

#[derive(Debug, Clone)]
struct Shared {
    registry: Arc<Registry>,
    health: Health,
}

impl Server {
    /// Listens on `address`.
    ///
    /// # Errors
    /// If it cannot.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { address: listener.local_addr()?, listener })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`.
    ///
    /// # Errors
    /// If the listener fails.
    pub async fn serve(
        self,
        registry: Arc<Registry>,
        health: Health,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let (ended, end) = tokio::sync::oneshot::channel();
        let shutdown = async move {
            shutdown.await;
            // Nobody waits for it if the listener has failed.
            let _ = ended.send(());
        };
        let serving = axum::serve(self.listener, router(registry, health)).with_graceful_shutdown(shutdown);
        tokio::select! {
            served = serving.into_future() => served,
            () = async { let _ = end.await; tokio::time::sleep(DRAIN).await } => Ok(()),
        }
    }
}

fn router(registry: Arc<Registry>, health: Health) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(alive))
        .route("/readyz", get(ready))
        .with_state(Shared { registry, health })
        .layer(ServiceBuilder::new().layer(GlobalConcurrencyLimitLayer::new(MAX_REQUESTS)))
}

async fn metrics(State(shared): State<Shared>) -> impl IntoResponse {
    ([(CONTENT_TYPE, OPEN_METRICS)], shared.registry.render())
}

async fn alive(State(shared): State<Shared>) -> impl IntoResponse {
    match shared.health.has_stopped() {
        None => (StatusCode::OK, "alive\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("stopped: {reason}\n")),
    }
}

async fn ready(State(shared): State<Shared>) -> impl IntoResponse {
    let (ready, impediments) = shared.health.report();
    let lines: String = impediments.iter().map(|one| format!("{}: {}\n", one.part, one.reason)).collect();
    match ready {
        true => (StatusCode::OK, format!("ready\n{lines}")),
        false => (StatusCode::SERVICE_UNAVAILABLE, lines),
    }
}
