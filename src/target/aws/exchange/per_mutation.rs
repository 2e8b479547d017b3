//! Each mutation by a session of its own: the execution SVID to a first session, and that to the one of the call.

use tokio::time::Instant;

use super::{ExchangeError, Performer, own};
use crate::contract::AwsResource;
use crate::identity::ExecutionIdentity;
use crate::target::aws::arn::Arn;
use crate::target::aws::client::Client;
use crate::target::aws::create_session::{RolesAnywhere, Session};
use crate::target::aws::endpoint::Endpoint;

/// Each mutation by a session of its own, which its own execution identity asks for: two round trips, and nothing is kept.
#[derive(Debug)]
pub struct PerMutation {
    bootstrap: RolesAnywhere,
    performer: Performer,
}

impl PerMutation {
    /// Sessions of `role`, from the STS at `sts` in the region of `bootstrap`.
    pub fn new(client: Client, bootstrap: RolesAnywhere, sts: Endpoint, role: Arn) -> Self {
        let region = bootstrap.region().clone();
        Self { bootstrap, performer: Performer { client, sts, region, role } }
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
        let asked = self.performer.asked(identity.plan(), resource, true)?;
        let mutation = identity.plan().mutation().to_string();
        let key = identity.into_certified().map_err(ExchangeError::Form)?;
        let first = self.performer.client.create_session(&self.bootstrap, &key, deadline).await;
        let first = first.map_err(ExchangeError::CreateSession)?;
        drop(key);
        own(&first, &mutation)?;
        let second = self.performer.assume(&first.credentials, &asked, deadline).await?;
        own(&second, &mutation)?;
        Ok(second)
    }
}
