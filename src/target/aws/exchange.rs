//! The exchange of one execution identity for the session of its one call: two round trips, and nothing is kept.

use tokio::time::Instant;

use super::arn::Arn;
use super::assume_role::{AssumeRole, AssumeRoleError, InvalidAssumeRole};
use super::client::Client;
use super::create_session::{CreateSessionError, RolesAnywhere, Session};
use super::endpoint::Endpoint;
use super::policy::{Conditions, PolicyError, session_policy};
use crate::contract::AwsResource;
use crate::identity::{ExecutionIdentity, WrongForm};

/// The tag by which a session names its mutation: `aws:PrincipalTag/seb:mutation`.
pub const TAG: &str = "seb:mutation";

/// Each mutation by a session of its own, which its own execution identity asks for.
#[derive(Debug)]
pub struct PerMutation {
    client: Client,
    bootstrap: RolesAnywhere,
    sts: Endpoint,
    role: Arn,
}

/// There is no session; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The call is in another account than the role.
    #[error("the call is in account {called}, and the role is in {role}: use a role of the account")]
    Account {
        /// The account of the call.
        called: String,
        /// The account of the role.
        role: String,
    },
    /// No policy says exactly what is certified.
    #[error("no session can be narrowed to the call")]
    Policy(#[source] PolicyError),
    /// The identity has no certificate.
    #[error("the identity cannot be shown to IAM Roles Anywhere")]
    Form(#[source] WrongForm),
    /// The first call.
    #[error("no session of the bootstrap role")]
    CreateSession(#[source] CreateSessionError),
    /// A session says that it is somebody else's.
    #[error(
        "a session with the source identity `{0}`, which is not this mutation's: look at the attribute mappings of the profile"
    )]
    SourceIdentity(String),
    /// The second call cannot be made.
    #[error("no session of the role can be asked for")]
    Request(#[source] InvalidAssumeRole),
    /// The second call.
    #[error("no session of the role")]
    AssumeRole(#[source] AssumeRoleError),
}

impl ExchangeError {
    /// Whether the same can succeed later, with another identity.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::CreateSession(error) => error.is_retryable(),
            Self::AssumeRole(error) => error.is_retryable(),
            _ => false,
        }
    }
}

impl PerMutation {
    /// Sessions of `role`, from the STS at `sts` in the region of `bootstrap`.
    pub const fn new(client: Client, bootstrap: RolesAnywhere, sts: Endpoint, role: Arn) -> Self {
        Self { client, bootstrap, sts, role }
    }

    /// A session that can do what `resource` says until `identity` ends, and nothing else. `identity` is used up.
    ///
    /// # Errors
    /// What stands in the way. What can be known before a call is an error before it.
    pub async fn session(
        &self,
        identity: ExecutionIdentity,
        resource: &AwsResource,
        deadline: Instant,
    ) -> Result<Session, ExchangeError> {
        if resource.account != self.role.account() {
            let (called, role) = (resource.account.clone(), self.role.account().to_owned());
            return Err(ExchangeError::Account { called, role });
        }
        let mutation = identity.plan().mutation().to_string();
        let policy = session_policy(resource, &Conditions::new(), identity.plan().not_after());
        let policy = policy.map_err(ExchangeError::Policy)?;
        let tags = vec![(TAG.to_owned(), mutation.clone())];
        let asked = AssumeRole::new(self.role.clone(), &mutation, policy, None, tags);
        let asked = asked.map_err(ExchangeError::Request)?;

        let key = identity.into_certified().map_err(ExchangeError::Form)?;
        let first = self.client.create_session(&self.bootstrap, &key, deadline).await;
        let first = first.map_err(ExchangeError::CreateSession)?;
        drop(key);
        own(&first, &mutation)?;
        let sts = (&self.sts, self.bootstrap.region());
        let second = self.client.assume_role(sts, &first.credentials, &asked, deadline).await;
        let second = second.map_err(ExchangeError::AssumeRole)?;
        own(&second, &mutation)?;
        Ok(second)
    }
}

/// Whether a session, where it says whose it is, is this mutation's.
fn own(session: &Session, mutation: &str) -> Result<(), ExchangeError> {
    match &session.source_identity {
        Some(source) if source.strip_prefix("CN=").unwrap_or(source) != mutation => {
            Err(ExchangeError::SourceIdentity(source.clone()))
        }
        _ => Ok(()),
    }
}
