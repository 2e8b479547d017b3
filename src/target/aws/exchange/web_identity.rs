//! Each mutation by a session that its execution identity's JWT-SVID asks for: one round trip, and it is not chained.
//!
//! AWS takes the token as long as it can reach the issuer's keys over public https. What it gives up is said in the record
//! of each: there is no source identity and no tag, because a JWT-SVID has no claim for them.

use tokio::time::Instant;

use super::{ExchangeError, Performer};
use crate::contract::AwsResource;
use crate::identity::{ExecutionIdentity, Form};
use crate::target::aws::arn::Arn;
use crate::target::aws::client::Client;
use crate::target::aws::create_session::Session;
use crate::target::aws::endpoint::{Endpoint, Region};

/// Each mutation by a session that the execution identity's token asks for.
#[derive(Debug)]
pub struct WebIdentity {
    audience: String,
    performer: Performer,
}

impl WebIdentity {
    /// Sessions of `role`, from the STS at `sts` in `region`, by tokens for `audience`: a client id of the identity
    /// provider that stands for the issuer in the account.
    pub const fn new(client: Client, sts: Endpoint, region: Region, role: Arn, audience: String) -> Self {
        Self { audience, performer: Performer { client, sts, region, role } }
    }

    /// The form of execution identity that it takes: one audience, because AWS looks at one.
    pub fn form(&self) -> Form {
        Form::Jwt { audiences: vec![self.audience.clone()] }
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
        let asked = self.performer.asked(identity.plan(), resource, false)?;
        let subject = identity.plan().id().to_string();
        let token = identity.into_jwt().map_err(ExchangeError::Form)?;
        let Performer { client, sts, region, .. } = &self.performer;
        let answer = client.assume_role_with_web_identity((sts, region), &token, &asked, deadline).await;
        let (session, of) = answer.map_err(ExchangeError::AssumeRole)?;
        match of {
            Some(of) if of != subject => Err(ExchangeError::Subject(of)),
            _ => Ok(session),
        }
    }
}
