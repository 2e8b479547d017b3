//! `seb sandbox`: the sandbox target as a process, and a visitor's commands to try it with.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, Subcommand};
use http::{Method, StatusCode};
use serde_json::json;
use spiffe::SpiffeId;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::certificate::spiffe_id;
use super::client::printable;
use super::{BAD, Exit, FAINT, Format, ended, runtime};
use crate::config::kind::HostPort;
use crate::contract::Json;
use crate::identity::{self, Source, folder};
use crate::target::sandbox::server::{Config, PROTOCOLS, Server, serve};
use crate::target::sandbox::visit;
use crate::tls::{self, Limits};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Command {
    /// The configuration: TOML
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    /// Listen here instead of where the configuration says
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Let admins make it fail and change objects from outside: for tests and demonstrations
    #[arg(long)]
    faults: bool,
    #[command(subcommand)]
    visit: Option<Visit>,
}

/// What a visitor can ask of a sandbox that is served elsewhere.
#[derive(Debug, Subcommand)]
enum Visit {
    /// Print an object, as a reader
    Get {
        /// Which one, such as `services/checkout`
        object: String,
        #[command(flatten)]
        at: At,
    },
    /// Try to change an object directly, without the broker: refused to every identity that it did not mint
    Merge {
        /// Which one, such as `services/checkout`
        object: String,
        /// The JSON to merge into it
        patch: String,
        #[command(flatten)]
        at: At,
    },
    /// Change an object from outside so that the world drifts, as an admin of a sandbox with `--faults`
    Outside {
        /// Which one, such as `services/checkout`
        object: String,
        /// The JSON to merge into it
        patch: String,
        #[command(flatten)]
        at: At,
    },
    /// Let the next mutation go wrong, as an admin of a sandbox with `--faults`
    Fault {
        /// How, such as `{"fault":"drop_after"}` or `{"fault":"delay","milliseconds":500}`
        fault: String,
        #[command(flatten)]
        at: At,
    },
    /// Print the audit log, as a reader or an admin: one JSON object on each line
    Audit {
        #[command(flatten)]
        at: At,
    },
}

/// The sandbox, and who visits it.
#[derive(Debug, Args)]
struct At {
    /// Where the sandbox is
    #[arg(long, value_name = "HOST:PORT")]
    server: HostPort,
    /// The sandbox's SPIFFE ID; no other one is talked to
    #[arg(long, value_name = "SPIFFE_ID", value_parser = spiffe_id)]
    server_id: SpiffeId,
    /// The folder with your own svid.pem, key.pem and bundle.pem
    #[arg(long, value_name = "FOLDER")]
    identity: PathBuf,
}

impl Command {
    pub(super) fn run(self, format: Format, out: &mut impl Write) -> anyhow::Result<Exit> {
        if let Some(visit) = self.visit {
            return runtime()?.block_on(visit.run(format, out));
        }
        let config = Config::read(&self.config.context("say what to serve: `--config FILE`")?)?;
        let runtime = runtime()?;
        runtime.block_on(async {
            let source = config.source().context("say who the sandbox is: either `identity` or `workload_api`")?;
            let identities = identity::open(&source).await.context("the sandbox has no identity")?.identities;
            if let (Source::Folder(folder), None) = (&source, identities.borrow().execution_bundle()) {
                let folder = folder.display();
                anyhow::bail!("`{folder}` holds no execution-bundle.pem: nobody could be admitted");
            }
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

impl Visit {
    async fn run(self, format: Format, out: &mut impl Write) -> anyhow::Result<Exit> {
        let (method, path, body, at) = match self {
            Self::Get { object, at } => (Method::GET, format!("/v1/objects/{}", name(&object)?), None, at),
            Self::Merge { object, patch, at } => {
                (Method::PATCH, format!("/v1/objects/{}", name(&object)?), Some(patch), at)
            }
            Self::Outside { object, patch, at } => {
                (Method::POST, format!("/v1/outside/{}", name(&object)?), Some(patch), at)
            }
            Self::Fault { fault, at } => (Method::POST, "/v1/faults".to_owned(), Some(fault), at),
            Self::Audit { at } => return at.audit(format, out).await,
        };
        let body = body.map(|text| Json::parse(text.as_bytes())).transpose().context("the argument is not JSON")?;
        let (status, answer) = at.ask(method, &path, body.as_ref()).await?;
        match status {
            StatusCode::OK => {
                writeln!(out, "{}", answer.to_canonical())?;
                Ok(Exit::Success)
            }
            _ => refused(status, &answer, format, out),
        }
    }
}

impl At {
    async fn ask(&self, method: Method, path: &str, body: Option<&Json>) -> anyhow::Result<(StatusCode, Json)> {
        let identities = folder::open(&self.identity).await.context("there is no identity to connect with")?;
        let answer = visit(self.server.as_str(), self.server_id.clone(), &identities, method, path, body).await;
        answer.with_context(|| format!("cannot ask `{}` at `{}`", self.server_id, self.server))
    }

    async fn audit(&self, format: Format, out: &mut impl Write) -> anyhow::Result<Exit> {
        let mut after = "0".to_owned();
        loop {
            let (status, page) = self.ask(Method::GET, &format!("/v1/audit?after={after}"), None).await?;
            if status != StatusCode::OK {
                return refused(status, &page, format, out);
            }
            let Some(Json::Array(entries)) = page.get("entries") else { anyhow::bail!("an answer without entries") };
            for entry in entries {
                writeln!(out, "{}", entry.to_canonical())?;
            }
            match page.get("next").and_then(Json::as_str) {
                Some(next) if !entries.is_empty() => next.clone_into(&mut after),
                _ => return Ok(Exit::Success),
            }
        }
    }
}

/// The name of an object, as it stands in a path.
fn name(text: &str) -> anyhow::Result<&str> {
    let plain = |part: &str| part.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'.' | b'_'));
    let parts: Vec<&str> = text.split('/').collect();
    let valid = parts.len() == 2 && parts.iter().all(|part| !part.is_empty() && plain(part));
    anyhow::ensure!(valid, "`{text}` is not the name of an object: expected `collection/name`");
    Ok(text)
}

/// Prints why the sandbox said no.
fn refused(status: StatusCode, answer: &Json, format: Format, out: &mut impl Write) -> anyhow::Result<Exit> {
    let text = |name: &str| answer.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
    let (code, detail) = (text("error"), text("detail"));
    match format {
        Format::Json => {
            let error = json!({ "status": status.as_u16(), "code": code, "detail": detail });
            writeln!(out, "{}", json!({ "error": error }))?;
        }
        Format::Text => {
            let (code, detail) = (printable(&code), printable(&detail));
            writeln!(out, "{BAD}{code}{BAD:#} {detail} {FAINT}(status {}){FAINT:#}", status.as_u16())?;
        }
    }
    Ok(if status.is_server_error() { Exit::Unavailable } else { Exit::Refused })
}
