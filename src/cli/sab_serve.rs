//! `sab serve` and `sab revoke`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use spiffe::SpiffeId;
use tokio::sync::mpsc;

use super::certificate::spiffe_id;
use super::client::{Authority, Connection, failed};
use super::{Exit, FAINT, Format, GOOD, ended, runtime};
use crate::contract::TargetName;
use crate::digest::Digest;
use crate::proto::sab::v1::RevokeRequest;
use crate::proto::sab::v1::revocation_service_client::RevocationServiceClient;
use crate::proto::sab::v1::revoke_request::What;
use crate::sab::config::SabConfig;
use crate::sab::serve::Sab;
use crate::telemetry;

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The configuration: TOML
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl Serve {
    pub(super) fn run(self, format: Format, out: &mut impl Write) -> anyhow::Result<Exit> {
        let config = SabConfig::load(&self.config)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let telemetry = telemetry::init(&config.log, &config.telemetry, "sab")?;
            let sab = Sab::start(config).await?;
            let (address, http) = (sab.address().to_string(), sab.http_address().to_string());
            match format {
                Format::Json => writeln!(out, "{}", json!({ "listening": address, "http": http }))?,
                Format::Text => writeln!(out, "listening on {address}, metrics and health on {http}")?,
            }
            out.flush()?;
            let (reload, reloads) = mpsc::channel(1);
            tokio::spawn(hangups(reload));
            let ran = sab.run(reloads, ended()).await;
            telemetry.end().await;
            Ok(ran.map(|_| Exit::Success)?)
        })
    }
}

/// Says so whenever the process is sent SIGHUP.
async fn hangups(reload: mpsc::Sender<()>) {
    let Ok(mut hangups) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()) else { return };
    while hangups.recv().await.is_some() {
        // One that waits already will see the files as they are then.
        let _ = reload.try_send(());
    }
}

#[derive(Debug, Args)]
pub(super) struct Revoke {
    #[command(flatten)]
    what: Target,
    #[command(flatten)]
    authority: Authority,
    /// Why, for the record
    #[arg(long, value_name = "TEXT", default_value = "")]
    cause: String,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Target {
    /// One certificate, by its digest
    #[arg(long, value_name = "sha256:HEX")]
    certificate: Option<Digest>,
    /// Every certificate of an agent, also those to come
    #[arg(long, value_name = "SPIFFE_ID", value_parser = spiffe_id)]
    holder: Option<SpiffeId>,
    /// Every certificate over a contract, by its digest, also those to come
    #[arg(long, value_name = "sha256:HEX")]
    contract: Option<Digest>,
    /// Every certificate for a target, also those to come
    #[arg(long, value_name = "NAME")]
    target: Option<TargetName>,
    /// Every certificate that was issued until now
    #[arg(long)]
    everything: bool,
}

impl Target {
    fn what(&self) -> What {
        let certificate = self.certificate.map(|digest| What::Certificate(digest.to_string()));
        let holder = self.holder.as_ref().map(|holder| What::Holder(holder.to_string()));
        let contract = self.contract.map(|digest| What::Contract(digest.to_string()));
        let target = self.target.as_ref().map(|target| What::Target(target.to_string()));
        certificate.or(holder).or(contract).or(target).unwrap_or(What::Everything(self.everything))
    }
}

impl Revoke {
    pub(super) fn run(self, format: Format, out: &mut impl Write) -> anyhow::Result<Exit> {
        let request = RevokeRequest { what: Some(self.what.what()), cause: self.cause };
        let connection = Connection::from(self.authority);
        let answer = runtime()?.block_on(async {
            let mut client = RevocationServiceClient::new(connection.channel().await?);
            anyhow::Ok(client.revoke(connection.request(request)).await)
        })?;
        let revoked = match answer {
            Ok(revoked) => revoked.into_inner(),
            Err(status) => return failed(&status, format, out),
        };
        match format {
            Format::Json => {
                let brokers: Vec<_> = revoked
                    .brokers
                    .iter()
                    .map(|it| json!({ "broker": it.broker, "acknowledged": it.acknowledged, "after_ms": it.after_ms }))
                    .collect();
                writeln!(out, "{}", json!({ "revoked": true, "sequence": revoked.sequence, "brokers": brokers }))?;
            }
            Format::Text => {
                writeln!(out, "{GOOD}revoked{GOOD:#}  by epoch statement {}", revoked.sequence)?;
                for it in &revoked.brokers {
                    let how = if it.acknowledged { "acknowledged" } else { "its lease ran out: it denies by itself" };
                    writeln!(out, "  {}  {how} {FAINT}after {} ms{FAINT:#}", it.broker, it.after_ms)?;
                }
            }
        }
        Ok(Exit::Success)
    }
}
