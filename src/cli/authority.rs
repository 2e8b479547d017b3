//! Talking to the authority from the command line, by an identity in a folder.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use spiffe::SpiffeId;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::certificate::spiffe_id;
use crate::grpc::status::DOMAIN;
use crate::identity::folder;
use crate::tls::{self, Connector, H2};

/// The longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// The longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(60);

/// The authority, and who asks it.
#[derive(Debug, Args)]
pub(super) struct Authority {
    /// Where the authority's API is
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7543")]
    address: String,
    /// The SPIFFE ID of the authority: no other one is talked to
    #[arg(long, value_name = "SPIFFE_ID", value_parser = spiffe_id)]
    authority: SpiffeId,
    /// The folder with your own svid.pem, key.pem and bundle.pem
    #[arg(long, value_name = "FOLDER")]
    identity: PathBuf,
}

impl Authority {
    /// A connection that is made when it is first used.
    pub(super) async fn connect(&self) -> anyhow::Result<Channel> {
        let identities = folder::open(&self.identity).await.context("there is no identity to connect by")?;
        let config = tls::client_config(&identities, [self.authority.clone()], &[H2])?;
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address))
            .with_context(|| format!("`{}` is not an address and port", self.address))?;
        let channel = endpoint.timeout(ANSWER).connect_with_connector(Connector::new(config, CONNECT)).await;
        channel.with_context(|| format!("cannot connect to `{}` at `{}`", self.authority, self.address))
    }
}

/// What a server's refusal means to a person: the message, the stable code, and what to do.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The stable code.
    pub(super) reason: String,
    /// The particulars.
    pub(super) message: String,
    /// What to do, where the server says it.
    pub(super) mend: String,
}

impl Refusal {
    /// The refusal in a status; an error where the server could not be asked, or failed.
    pub(super) fn of(status: &Status) -> anyhow::Result<Self> {
        let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN);
        let Some(info) = info else {
            anyhow::bail!("the server could not be asked: {} ({:?})", status.message(), status.code());
        };
        if matches!(status.code(), Code::Internal | Code::Unavailable) {
            anyhow::bail!("{} ({})", status.message(), info.reason);
        }
        let mend = info.metadata.get("mend").cloned().unwrap_or_default();
        Ok(Self { reason: info.reason, message: status.message().to_owned(), mend })
    }
}
