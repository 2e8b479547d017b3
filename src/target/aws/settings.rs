//! What a target of this kind is told, and the driver that is made of it.

use std::path::PathBuf;

use super::arn::Arn;
use super::client::{self, Client, InvalidSettings};
use super::create_session::{InvalidRolesAnywhere, RolesAnywhere};
use super::driver::Aws;
use super::endpoint::{Endpoint, Region, Service, Variant};
use super::exchange::{Exchange, Own, PerMutation, Pooled, WebIdentity};
use super::quota::Quota;
use super::request::Reach;
use crate::identity::Identities;

/// An account: where it is reached, and by which role it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The region of IAM Roles Anywhere and STS. Calls go to the regions of their contracts.
    pub region: Region,
    /// Which of AWS's own endpoints.
    pub variant: Variant,
    /// An endpoint of one's own, for services and STS.
    pub endpoint: Option<Endpoint>,
    /// An endpoint of one's own, for IAM Roles Anywhere.
    pub roles_anywhere: Option<Endpoint>,
    /// The file with the CA certificates, in PEM, by which endpoints are recognized instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The proxy by which AWS is reached, `http://HOST:PORT`.
    pub proxy: Option<String>,
    /// The trust anchor below which this process has its own SVID.
    pub trust_anchor: Arn,
    /// The profile with the role that reads.
    pub profile: Arn,
    /// The role that can only read.
    pub reader_role: Arn,
}

/// How mutations are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExchangeSettings {
    /// By [`PerMutation`].
    PerMutation {
        /// The trust anchor below which execution identities are.
        trust_anchor: Arn,
        /// The profile with the bootstrap role.
        profile: Arn,
        /// The role of the first session.
        bootstrap_role: Arn,
        /// The role of the second.
        role: Arn,
        /// How many are begun in a second at most: this broker's share of the quota of `CreateSession`.
        per_second: u32,
    },
    /// By [`Pooled`].
    Pooled {
        /// The profile with the bootstrap role.
        profile: Arn,
        /// The role of the broker's own session.
        bootstrap_role: Arn,
        /// The role of those that it asks for.
        role: Arn,
    },
    /// By [`WebIdentity`].
    WebIdentity {
        /// The audience of the tokens.
        audience: String,
        /// The role.
        role: Arn,
    },
}

/// The driver cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum CannotOpen {
    /// The parts do not belong together.
    #[error("the parts of the account do not belong together")]
    Parts(#[source] InvalidRolesAnywhere),
    /// The CA file.
    #[error("`{path}` cannot be read")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// TLS or proxy.
    #[error("AWS cannot be reached")]
    Settings(#[source] InvalidSettings),
}

impl Account {
    /// Sessions of `role` by this trust anchor and profile.
    ///
    /// # Errors
    /// If they do not belong together.
    pub fn roles(&self, trust_anchor: &Arn, profile: &Arn, role: &Arn) -> Result<RolesAnywhere, InvalidRolesAnywhere> {
        let own = || Endpoint::of(Service::RolesAnywhere, &self.region, self.variant);
        let endpoint = self.roles_anywhere.clone().unwrap_or_else(own);
        RolesAnywhere::new(endpoint, self.region.clone(), trust_anchor.clone(), profile.clone(), role.clone())
    }

    fn sts(&self) -> Endpoint {
        self.endpoint.clone().unwrap_or_else(|| Endpoint::of(Service::Sts, &self.region, self.variant))
    }

    fn reach(&self) -> Reach {
        self.endpoint.clone().map_or(Reach::Aws(self.variant), Reach::At)
    }

    fn http(&self) -> Result<client::Settings, CannotOpen> {
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path).map_err(|source| CannotOpen::File { path: path.clone(), source })
        };
        Ok(client::Settings { authorities: self.ca_file.as_ref().map(read).transpose()?, proxy: self.proxy.clone() })
    }

    /// The driver: of mutations as well where there is an exchange. Nothing is asked of AWS yet.
    ///
    /// # Errors
    /// If the account cannot be used as it is described.
    pub fn open(&self, exchange: Option<&ExchangeSettings>, identities: &Identities) -> Result<Aws, CannotOpen> {
        let client = Client::new(&self.http()?).map_err(CannotOpen::Settings)?;
        let roles = self.roles(&self.trust_anchor, &self.profile, &self.reader_role).map_err(CannotOpen::Parts)?;
        let reader = Own::new(client.clone(), roles, identities.clone());
        let Some(exchange) = exchange else { return Ok(Aws::reader(client, self.reach(), reader)) };
        let (exchange, quota) = self.exchange(exchange, client.clone(), identities).map_err(CannotOpen::Parts)?;
        Ok(Aws::new(client, self.reach(), reader, exchange, quota))
    }

    fn exchange(
        &self,
        exchange: &ExchangeSettings,
        client: Client,
        identities: &Identities,
    ) -> Result<(Exchange, Option<Quota>), InvalidRolesAnywhere> {
        Ok(match exchange {
            ExchangeSettings::PerMutation { trust_anchor, profile, bootstrap_role, role, per_second } => {
                let bootstrap = self.roles(trust_anchor, profile, bootstrap_role)?;
                let exchange = PerMutation::new(client, bootstrap, self.sts(), role.clone());
                (Exchange::PerMutation(exchange), Some(Quota::new(*per_second)))
            }
            ExchangeSettings::Pooled { profile, bootstrap_role, role } => {
                let bootstrap = self.roles(&self.trust_anchor, profile, bootstrap_role)?;
                let exchange = Pooled::new(client, bootstrap, identities.clone(), self.sts(), role.clone());
                (Exchange::Pooled(exchange), None)
            }
            ExchangeSettings::WebIdentity { audience, role } => {
                let (region, audience) = (self.region.clone(), audience.clone());
                let exchange = WebIdentity::new(client, self.sts(), region, role.clone(), audience);
                (Exchange::WebIdentity(exchange), None)
            }
        })
    }
}
