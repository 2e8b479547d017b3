//! `seb sandbox`: the sandbox target as a process.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Exit, Format, ended, runtime};
use crate::identity::folder;
use crate::target::sandbox::server::{Config, PROTOCOLS, Server, serve};
use crate::tls::{self, Limits};

#[derive(Debug, Args)]
pub(super) struct Command {
    /// The configuration: TOML
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Listen here instead of where the configuration says
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Let admins make it fail and change objects from outside: for tests and demonstrations
    #[arg(long)]
    faults: bool,
}

impl Command {
    pub(super) fn run(self, format: Format, out: &mut impl Write) -> anyhow::Result<Exit> {
        let config = Config::read(&self.config)?;
        let runtime = runtime()?;
        runtime.block_on(async {
            let identities = folder::open(&config.identity).await.context("the sandbox has no identity")?;
            anyhow::ensure!(
                identities.borrow().execution_bundle().is_some(),
                "`{}` holds no execution-bundle.pem: nobody could be admitted",
                config.identity.display()
            );
            let server = Server::open(&config.audit, config.readers(), config.admins(), self.faults)?;
            let own = tls::peer(identities.borrow().svid().chain())?;
            server.seed(&config.objects(), &own).await.map_err(|problem| anyhow::anyhow!("objects: {problem}"))?;
            let address = self.listen.unwrap_or(config.listen);
            let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on `{address}`"))?;
            let incoming = tls::incoming(listener, identities, PROTOCOLS, Limits::default())?;
            let address = incoming.local_addr();
            match format {
                Format::Json => writeln!(out, "{}", json!({ "listening": address.to_string() }))?,
                Format::Text => writeln!(out, "listening on {address}")?,
            }
            out.flush()?;
            let shutdown = CancellationToken::new();
            let serving = tokio::spawn(serve(Arc::new(server), incoming, shutdown.clone()));
            ended().await;
            shutdown.cancel();
            serving.await.context("the sandbox was interrupted")?;
            Ok(Exit::Success)
        })
    }
}
