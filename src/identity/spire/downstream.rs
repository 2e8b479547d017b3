//! Minting here, below an intermediate CA that the server signs: no round trip for a mutation.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::watch;

use super::{Connection, SpireServer};
use crate::clock;
use crate::decision::MutationId;
use crate::identity::backoff::Backoff;
use crate::identity::ca::{Ca, CaKey};
use crate::identity::execution::{ExecutionIdentity, Issuer, MintError, Plan};
use crate::identity::{Form, Identities};
use crate::proto::spire::api::server::svid::v1::NewDownstreamX509caRequest;
use crate::telemetry::{Causes, Health, log};
use crate::timestamp::Timestamp;

/// The life that is asked for. The server may give less; it is renewed at half of what is left of it then.
const LIFE_SECONDS: i32 = 3600;

/// The shortest and the longest wait before the server is asked again.
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// The most certificates between the intermediate and the trust bundle, itself included.
const MAX_CHAIN: usize = 4;

/// Mints execution certificates by an intermediate CA (`NewDownstreamX509CA`), which is renewed ahead of time, and whenever
/// our own SVID or the trust bundle rotates. Its key never leaves this process. JWT-SVIDs are minted by the server.
///
/// The registration entry of this process must be a downstream one, and an admin one for JWT-SVIDs (`spire/`).
pub struct DownstreamIssuer {
    connection: Arc<Connection>,
    ca: watch::Receiver<Result<Arc<Ca>, String>>,
}

impl DownstreamIssuer {
    /// The issuer below a CA that `server` signs, by the newest of `identities`. Until there is one, nothing is planned,
    /// and `health` says why.
    pub fn start(server: SpireServer, identities: Identities, health: Health) -> Self {
        let connection = Arc::new(Connection::new(server, identities));
        let (sender, ca) = watch::channel(Err("none was signed yet".to_owned()));
        health.impede(PART, "none was signed yet");
        tokio::spawn(keep(Arc::clone(&connection), sender, health));
        Self { connection, ca }
    }

    /// Waits until there is a CA.
    pub async fn ready(&self) {
        // The sender lives as long as this.
        let _ = self.ca.clone().wait_for(Result::is_ok).await;
    }

    fn current(&self) -> Result<Arc<Ca>, MintError> {
        self.ca.borrow().clone().map_err(MintError::NoCa)
    }
}

/// The part of the process that health speaks of.
const PART: &str = "execution_ca";

async fn keep(connection: Arc<Connection>, sender: watch::Sender<Result<Arc<Ca>, String>>, health: Health) {
    let mut identities = connection.identities.clone();
    let mut backoff = Backoff::new(AGAIN);
    loop {
        identities.mark_unchanged();
        let wait = match obtain(&connection).await {
            Ok(ca) => {
                log!(ExecutionCaSigned, until = %ca.not_after(), "an execution CA was signed");
                // Not its whole life: the server dates it back.
                let left = ca.not_after().since(clock::now().unwrap_or(Timestamp::END));
                drop(sender.send_replace(Ok(Arc::new(ca))));
                health.clear(PART);
                health.limit(PART, None);
                backoff.reset();
                (left / 2).max(Duration::from_secs(1))
            }
            Err(error) => {
                let problem = Causes(&error).to_string();
                log!(ExecutionCaNotSigned, error = %problem, "no execution CA was signed; the server is asked again");
                tell(&sender, &health, &problem);
                backoff.next()
            }
        };
        tokio::select! {
            () = sender.closed() => return,
            () = tokio::time::sleep(wait) => {}
            Ok(()) = identities.changed() => {}
        }
    }
}

/// The one before stays for as long as it is valid.
fn tell(sender: &watch::Sender<Result<Arc<Ca>, String>>, health: &Health, problem: &str) {
    let now = clock::now().unwrap_or(Timestamp::END);
    let end = sender.borrow().as_ref().ok().map(|ca| ca.not_after()).filter(|end| *end > now);
    match end {
        Some(end) => health.limit(PART, Some(&format!("valid until {end}, and cannot be renewed: {problem}"))),
        None => {
            health.limit(PART, None);
            health.impede(PART, problem);
            drop(sender.send_replace(Err(problem.to_owned())));
        }
    }
}

/// A fresh CA: one whose certificates verify by the trust bundle as it is now.
async fn obtain(connection: &Connection) -> Result<Ca, MintError> {
    let unplanned = |error: &(dyn std::error::Error + 'static)| MintError::Unplanned(Causes(error).to_string());
    let identity = Arc::clone(&connection.identities.borrow());
    let trust_domain = identity.id().trust_domain();
    let key = CaKey::generate().map_err(|_| MintError::Library)?;
    let csr = key.request(trust_domain).map_err(|_| MintError::Library)?;
    let request = NewDownstreamX509caRequest { csr, preferred_ttl: LIFE_SECONDS };
    let answer = connection
        .call(|mut client| {
            let request = request.clone();
            Box::pin(async move { client.new_downstream_x509ca(request).await })
        })
        .await?;
    if answer.ca_cert_chain.len() > MAX_CHAIN {
        return Err(MintError::Unplanned(format!("a chain of {} certificates", answer.ca_cert_chain.len())));
    }
    let Some(bundle) = identity.bundle(trust_domain) else {
        return Err(MintError::NoCa(format!("there is no bundle of `{trust_domain}`")));
    };
    let now = clock::now().map_err(|_| MintError::Library)?;
    let ca = Ca::signed(answer.ca_cert_chain, key, bundle, now).map_err(|error| unplanned(&error))?;
    match ca.trust_domain() == trust_domain {
        true => Ok(ca),
        false => Err(MintError::Unplanned(format!("a CA of `{}`", ca.trust_domain()))),
    }
}

impl Issuer for DownstreamIssuer {
    fn plan(&self, mutation: &MutationId, form: Form, now: Timestamp, not_after: Timestamp) -> Result<Plan, MintError> {
        match form {
            Form::X509 => self.current()?.plan(mutation, now, not_after),
            Form::Jwt { .. } => self.connection.plan(mutation, form, now, not_after),
        }
    }

    /// Takes some tens of microseconds for a certificate, and a round trip for a token.
    fn mint(&self, plan: Plan) -> BoxFuture<'_, Result<ExecutionIdentity, MintError>> {
        Box::pin(async move {
            match plan.form() {
                Form::X509 => self.current()?.mint(plan),
                Form::Jwt { .. } => self.connection.mint_jwt(plan).await,
            }
        })
    }

    fn ends(&self) -> Option<Timestamp> {
        self.current().ok().map(|ca| ca.not_after())
    }
}
