//! `seb broker`: the broker as a process.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::{BAD, Exit, Format, ended};
use crate::clock::Clock;
use crate::config::broker::BrokerConfig;
use crate::telemetry;

#[derive(Debug, Args)]
pub(super) struct Command {
    /// The configuration: TOML (docs/configuration.md)
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl Command {
    pub(super) fn run(self, format: Format, out: &mut impl Write) -> anyhow::Result<Exit> {
        let config = match BrokerConfig::load(&self.config) {
            Ok(config) => config,
            Err(error) => {
                writeln!(anstream::stderr(), "{BAD}{}{BAD:#} is not usable:\n{error}", self.config.display())?;
                return Ok(Exit::Refused);
            }
        };
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
            let telemetry = telemetry::init(&config.log, &config.telemetry, "seb")?;
            let say = |listening: crate::runtime::Listening| {
                match format {
                    Format::Json => writeln!(
                        out,
                        "{}",
                        json!({
                            "id": listening.id.to_string(),
                            "grpc": listening.grpc.to_string(),
                            "http": listening.http.to_string(),
                        })
                    ),
                    Format::Text => writeln!(
                        out,
                        "{} serves on {}, metrics and health on {}",
                        listening.id, listening.grpc, listening.http
                    ),
                }
                .and_then(|()| out.flush())
                .context("cannot say where it listens")
            };
            let ran = crate::runtime::broker(config, Clock::system(), ended(), say).await;
            telemetry.end().await;
            ran.map(|()| Exit::Success)
        })
    }
}
