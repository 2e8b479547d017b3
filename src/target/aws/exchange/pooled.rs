//! Each mutation by a session that the broker's own session asks for: one round trip, and no `CreateSession` for it.
//!
//! For more mutations than AWS gives `CreateSession` (10 in a second for account and region). What it gives up is said in
//! the record of each: the source identity, which AWS sets once and never changes, is the broker's.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex as Turn;
use tokio::time::{Instant, timeout_at};

use super::{ExchangeError, Performer};
use crate::clock;
use crate::contract::AwsResource;
use crate::identity::{ExecutionIdentity, Identities};
use crate::target::aws::arn::Arn;
use crate::target::aws::client::Client;
use crate::target::aws::create_session::{RolesAnywhere, Session};
use crate::target::aws::endpoint::Endpoint;
use crate::telemetry::{Causes, log};
use crate::timestamp::Timestamp;

/// How long before its end a kept session is renewed.
const RENEW: Duration = Duration::from_secs(300);

/// What a kept session must have left to be used: longer than any call that is made by it.
const LEAST: Duration = Duration::from_secs(60);

/// How long an early renewal may take before the session that is there is used on.
const EARLY: Duration = Duration::from_secs(2);

/// A session that is kept, and renewed by whatever makes one.
struct Kept {
    session: Mutex<Option<Arc<Session>>>,
    /// Held by whoever renews: first come, first served.
    renewing: Turn<()>,
}

impl Kept {
    fn new() -> Self {
        Self { session: Mutex::default(), renewing: Turn::new(()) }
    }

    /// The session, made by `make` where there is none that lasts: by one at a time, while the others wait until
    /// `deadline` or use on what lasts a little longer.
    async fn session<F>(
        &self,
        deadline: Instant,
        mut make: impl FnMut(Instant) -> F,
    ) -> Result<Arc<Session>, ExchangeError>
    where
        F: Future<Output = Result<Session, ExchangeError>>,
    {
        match self.lasting(RENEW)? {
            Some(session) => return Ok(session),
            None => {
                if let Some(session) = self.lasting(LEAST)? {
                    return Ok(self.renewed_early(deadline, make).await.unwrap_or(session));
                }
            }
        }
        let turn = timeout_at(deadline, self.renewing.lock()).await;
        let _turn = turn.map_err(|_| ExchangeError::Waited)?;
        match self.lasting(RENEW)? {
            Some(session) => Ok(session),
            None => Ok(self.keep(make(deadline).await?)),
        }
    }

    /// None while somebody else is at it, and where it does not work.
    async fn renewed_early<F>(&self, deadline: Instant, mut make: impl FnMut(Instant) -> F) -> Option<Arc<Session>>
    where
        F: Future<Output = Result<Session, ExchangeError>>,
    {
        let _turn = self.renewing.try_lock().ok()?;
        match make(deadline.min(clock::instant() + EARLY)).await {
            Ok(session) => Some(self.keep(session)),
            Err(error) => {
                log!(AwsSessionNotRenewed, error = %Causes(&error), "a session of AWS is not renewed; tried again");
                None
            }
        }
    }

    /// The session, if it lasts for longer than `least`.
    fn lasting(&self, least: Duration) -> Result<Option<Arc<Session>>, ExchangeError> {
        let now = clock::now().map_err(ExchangeError::Clock)?;
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(session.filter(|session| lasts(session, now, least)))
    }

    fn keep(&self, session: Session) -> Arc<Session> {
        let session = Arc::new(session);
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&session));
        session
    }
}

fn lasts(session: &Session, now: Timestamp, least: Duration) -> bool {
    session.credentials.expiration() > now.saturating_add(least)
}

/// A session of this process, by its own identity: kept, and renewed.
#[derive(Debug)]
pub struct Own {
    client: Client,
    roles: RolesAnywhere,
    identities: Identities,
    kept: Kept,
}

impl Own {
    /// Sessions of the role of `roles`, asked for by the newest of `identities`.
    pub fn new(client: Client, roles: RolesAnywhere, identities: Identities) -> Self {
        Self { client, roles, identities, kept: Kept::new() }
    }

    /// The session as it is now.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn session(&self, deadline: Instant) -> Result<Arc<Session>, ExchangeError> {
        let made = |until| async move {
            let own = self.identities.borrow().svid().certified();
            let made = self.client.create_session(&self.roles, &own, until).await;
            made.map_err(ExchangeError::CreateSession)
        };
        self.kept.session(deadline, made).await
    }
}

/// Each mutation by a session that the broker's own session asks for.
#[derive(Debug)]
pub struct Pooled {
    own: Own,
    performer: Performer,
}

impl Pooled {
    /// Sessions of `role`, from the STS at `sts` in the region of `bootstrap`, asked for by the newest of `identities`.
    pub fn new(client: Client, bootstrap: RolesAnywhere, identities: Identities, sts: Endpoint, role: Arn) -> Self {
        let region = bootstrap.region().clone();
        let own = Own::new(client.clone(), bootstrap, identities);
        Self { own, performer: Performer { client, sts, region, role } }
    }

    /// A session that can do what `resource` says until `identity` ends, and nothing else. `identity` is used up, and not
    /// shown to AWS.
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
        drop(identity);
        let own = self.own.session(deadline).await?;
        let session = self.performer.assume(&own.credentials, &asked, deadline).await?;
        match (&session.source_identity, &own.source_identity) {
            (Some(source), known) if known.as_ref() != Some(source) => {
                Err(ExchangeError::SourceIdentity(source.clone()))
            }
            _ => Ok(session),
        }
    }
}

/// Shows no credentials.
impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}
