//! Minting by the server: one round trip for each mutation.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::{Connection, SpireServer, check};
use crate::clock;
use crate::decision::MutationId;
use crate::identity::ca::execution_request;
use crate::identity::execution::{ExecutionIdentity, ExecutionKey, Issuer, MintError, Plan};
use crate::identity::{Form, Identities};
use crate::proto::spire::api::server::svid::v1::{MintJwtsvidRequest, MintX509svidRequest};
use crate::proto::spire::api::types::Spiffeid;
use crate::timestamp::Timestamp;

/// How much less than what is left of the planned life is asked for: the server's clock may be ahead a little, and what
/// lives longer than planned is refused.
const MARGIN_MS: u64 = 1000;

/// Lets a SPIRE server mint execution identities of both forms (`MintX509SVID`, `MintJWTSVID`).
///
/// The server must know this process as an admin, and should let it mint nothing else (`spire/`).
pub struct MintIssuer(Connection);

impl MintIssuer {
    /// The issuer that asks `server`, by the newest of `identities`. Nothing is connected yet.
    pub const fn new(server: SpireServer, identities: Identities) -> Self {
        Self(Connection::new(server, identities))
    }
}

impl Issuer for MintIssuer {
    fn plan(&self, mutation: &MutationId, form: Form, now: Timestamp, not_after: Timestamp) -> Result<Plan, MintError> {
        self.0.plan(mutation, form, now, not_after)
    }

    /// Takes a round trip.
    fn mint(&self, plan: Plan) -> BoxFuture<'_, Result<ExecutionIdentity, MintError>> {
        Box::pin(async move {
            match plan.form() {
                Form::X509 => self.0.mint_x509(plan).await,
                Form::Jwt { .. } => self.0.mint_jwt(plan).await,
            }
        })
    }

    /// The server's CA is the server's matter.
    fn ends(&self) -> Option<Timestamp> {
        None
    }
}

impl Connection {
    /// A plan whose serial number the server chooses.
    pub(super) fn plan(
        &self,
        mutation: &MutationId,
        form: Form,
        now: Timestamp,
        not_after: Timestamp,
    ) -> Result<Plan, MintError> {
        let identity = Arc::clone(&self.identities.borrow());
        let plan = Plan::new(identity.id().trust_domain(), mutation, form, None, now, not_after)?;
        seconds_left(&plan, now).map(|_| plan)
    }

    async fn mint_x509(&self, plan: Plan) -> Result<ExecutionIdentity, MintError> {
        let key = ExecutionKey::generate()?;
        let (csr, ttl) = (execution_request(&plan, &key)?, seconds_left(&plan, now()?)?);
        let request = MintX509svidRequest { csr, ttl };
        let answer = self
            .call(|mut client| {
                let request = request.clone();
                Box::pin(async move { client.mint_x509svid(request).await })
            })
            .await?;
        let identity = Arc::clone(&self.identities.borrow());
        let chain = answer.svid.map(|svid| svid.cert_chain).unwrap_or_default();
        let chain = check::x509(&plan, key.digest()?, chain, &identity, now()?)?;
        Ok(ExecutionIdentity::x509(plan, chain, key))
    }

    /// A JWT-SVID with the plan's audiences.
    pub(super) async fn mint_jwt(&self, plan: Plan) -> Result<ExecutionIdentity, MintError> {
        let id = Spiffeid { trust_domain: plan.id().trust_domain().to_string(), path: plan.id().path().to_owned() };
        let audience = plan.form().audiences().unwrap_or_default().to_vec();
        let request = MintJwtsvidRequest { id: Some(id), audience, ttl: seconds_left(&plan, now()?)? };
        let answer = self
            .call(|mut client| {
                let request = request.clone();
                Box::pin(async move { client.mint_jwtsvid(request).await })
            })
            .await?;
        let token = zeroize::Zeroizing::new(answer.svid.map(|svid| svid.token).unwrap_or_default());
        let token = check::jwt(&plan, token, now()?)?;
        Ok(ExecutionIdentity::jwt(plan, token))
    }
}

fn now() -> Result<Timestamp, MintError> {
    clock::now().map_err(|_| MintError::Library)
}

/// How many whole seconds the server is asked for; at least one, and less than what is left.
fn seconds_left(plan: &Plan, now: Timestamp) -> Result<i32, MintError> {
    let left = plan.not_after().millis().saturating_sub(now.millis());
    let asked = if left > 3 * MARGIN_MS { left.saturating_sub(MARGIN_MS) } else { left };
    match i32::try_from(asked / 1000) {
        Ok(seconds) if seconds > 0 => Ok(seconds),
        _ => Err(MintError::Ended { now, not_after: plan.not_after() }),
    }
}
