//! The identity of this process from the SPIFFE Workload API, for as long as the process runs.
//!
//! What must be true:
//!
//! - The first identity is waited for a bounded time. From then on it is replaced as the agent rotates SVIDs and bundles, and
//!   who is shown stays the same: an update with another SPIFFE ID is refused.
//! - When the agent is gone, or sends what cannot be used, the last identity stays until it ends by itself, and [`Link`] says
//!   so; the agent is asked again, at bounded and jittered intervals, for ever.
//! - Which of several SVIDs is ours is decided by the configured SPIFFE ID and hint, never by their order.
//! - The bundles of other trust domains are those that the agent federates with; one that cannot be used is left out, so
//!   that nobody there is believed.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use serde::Deserialize;
use spiffe::{SpiffeId, TrustDomain, WorkloadApiClient, WorkloadApiError, X509Bundle, X509Context, X509Svid};
use tokio::sync::watch;
use tokio::time::timeout;

use super::backoff::Backoff;
use super::{Bundle, Identities, Identity, InvalidSvid, Svid};
use crate::attribute_certificate::InvalidTrust;
use crate::clock;
use crate::record::TrustSource;
use crate::telemetry::{Causes, log};
use crate::timestamp::Timestamp;

/// How long the first identity is waited for: an agent that starts beside this process has it by then.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The longest that connecting may take, and that a connected agent may take for its first update.
const ANSWER: Duration = Duration::from_secs(10);

/// The shortest and the longest wait before the agent is asked again.
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// The most SVIDs and the most bundles of one update. The size of an update is bounded by the client: 4 MiB.
const MAX_SVIDS: usize = 32;
const MAX_BUNDLES: usize = 128;

/// The longest path of a Unix socket, in octets.
const MAX_SOCKET: usize = 107;

/// Which identity is asked for, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadApi {
    /// The agent's socket.
    pub socket: Socket,
    /// The SPIFFE ID of this process, where the agent offers several.
    pub id: Option<SpiffeId>,
    /// The hint of its registration entry, where the agent offers several.
    pub hint: Option<String>,
}

/// The address of a Unix socket: `unix:` and an absolute path.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Socket(PathBuf);

/// The text is not the address of a Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected `unix:` and an absolute path of at most {MAX_SOCKET} octets, such as `unix:/run/spire/agent.sock`")]
pub struct InvalidSocket;

/// How the agent is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// It is connected, and its last update is in use.
    Up,
    /// It is not, or its last update could not be used.
    Down {
        /// Since when.
        since: Timestamp,
        /// Why.
        problem: String,
    },
}

/// The Workload API gives no identity that can be used.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// The agent cannot be reached, or refuses.
    #[error("the agent at `{socket}` gives nothing")]
    Agent {
        /// Its socket.
        socket: Socket,
        /// Why.
        source: WorkloadApiError,
    },
    /// The agent says nothing.
    #[error("the agent at `{0}` does not answer in time")]
    Silent(Socket),
    /// The agent ended the stream.
    #[error("the agent at `{0}` ended the stream")]
    Ended(Socket),
    /// An update is larger than any that is read.
    #[error("{svids} SVIDs and {bundles} bundles in one update: at most {MAX_SVIDS} and {MAX_BUNDLES} are read")]
    TooMany {
        /// How many SVIDs.
        svids: usize,
        /// How many bundles.
        bundles: usize,
    },
    /// None is the one that is configured.
    #[error("none of the SVIDs that the agent offers is the configured one: {0}")]
    NoneFits(String),
    /// It is not clear which one is ours.
    #[error("the agent offers several SVIDs that fit: {0}; configure `spiffe_id` or `hint`")]
    Several(String),
    /// The agent offers another identity than before.
    #[error("the agent offers `{offered}`, and this process began as `{id}`: restart it if that is meant")]
    Other {
        /// Who the process is.
        id: SpiffeId,
        /// What is offered.
        offered: SpiffeId,
    },
    /// The SVID cannot be used.
    #[error("the SVID of the agent cannot be used")]
    Svid(#[source] InvalidSvid),
    /// The bundle of our own trust domain cannot be used.
    #[error("the bundle of `{trust_domain}` cannot be used")]
    Bundle {
        /// The trust domain.
        trust_domain: TrustDomain,
        /// Why.
        source: InvalidTrust,
    },
    /// The agent has no bundle of our own trust domain.
    #[error("the agent has no bundle of `{0}`")]
    NoBundle(TrustDomain),
    /// The SVID that is offered has ended.
    #[error("the SVID of the agent ended at {0}")]
    Expired(Timestamp),
}

/// The identity that the agent gives, now and after each rotation, and how the agent is reached; for as long as somebody
/// holds the first receiver.
///
/// # Errors
/// Why there is no identity after `patience`.
pub async fn open(
    config: WorkloadApi,
    patience: Duration,
) -> Result<(Identities, watch::Receiver<Link>), WorkloadError> {
    let mut backoff = Backoff::new(AGAIN);
    let mut problem = WorkloadError::Silent(config.socket.clone());
    let first = timeout(patience, async {
        loop {
            match Session::begin(&config).await {
                Ok(mut session) => match session.next(&config, None).await {
                    Ok(identity) => return (session, identity),
                    Err(error) => problem = error,
                },
                Err(error) => problem = error,
            }
            tokio::time::sleep(backoff.next()).await;
        }
    });
    let Ok((session, identity)) = first.await else { return Err(problem) };
    let (link, links) = watch::channel(Link::Up);
    let (sender, identities) = watch::channel(Arc::new(identity));
    tokio::spawn(follow(config, session, sender, link));
    Ok((identities, links))
}

/// Follows the agent until nobody looks any more.
async fn follow(
    config: WorkloadApi,
    session: Session,
    sender: watch::Sender<Arc<Identity>>,
    link: watch::Sender<Link>,
) {
    let id = sender.borrow().id().clone();
    let (mut session, mut backoff) = (Some(session), Backoff::new(AGAIN));
    loop {
        let next = async {
            let mut open = match session.take() {
                Some(open) => open,
                None => Session::begin(&config).await?,
            };
            let identity = open.next(&config, Some(&id)).await?;
            Ok::<_, WorkloadError>((open, identity))
        };
        let next = tokio::select! {
            () = sender.closed() => return,
            next = next => next,
        };
        match next {
            Ok((open, identity)) => {
                let leaf = identity.svid().leaf();
                let own = identity.bundle(leaf.id.trust_domain()).map_or(0, |bundle| bundle.certificates().len());
                log!(IdentityRead, id = %leaf.id, serial = %leaf.serial, until = %leaf.not_after, authorities = own, "an identity came from the Workload API");
                sender.send_replace(Arc::new(identity));
                link.send_if_modified(|link| std::mem::replace(link, Link::Up) != Link::Up);
                session = Some(open);
                backoff.reset();
            }
            Err(error) => {
                let problem = Causes(&error).to_string();
                log!(WorkloadApiDown, error = %problem, "the Workload API gives no update; the identity stays, and the agent is asked again");
                let since = match &*link.borrow() {
                    Link::Down { since, .. } => *since,
                    Link::Up => clock::now().unwrap_or(Timestamp::END),
                };
                link.send_replace(Link::Down { since, problem });
                tokio::select! {
                    () = sender.closed() => return,
                    () = tokio::time::sleep(backoff.next()) => {}
                }
            }
        }
    }
}

type Updates = std::pin::Pin<Box<dyn futures::Stream<Item = Result<X509Context, WorkloadApiError>> + Send>>;

/// One stream of updates.
struct Session {
    updates: Updates,
    /// Whether an update came on it: the first one comes at once, the next ones whenever something rotates.
    begun: bool,
}

impl Session {
    async fn begin(config: &WorkloadApi) -> Result<Self, WorkloadError> {
        let failed = |source| WorkloadError::Agent { socket: config.socket.clone(), source };
        let connecting = async {
            let client = WorkloadApiClient::connect_to(config.socket.to_string()).await?;
            client.stream_x509_contexts().await
        };
        let silent = |_| WorkloadError::Silent(config.socket.clone());
        let updates = timeout(ANSWER, connecting).await.map_err(silent)?.map_err(failed)?;
        Ok(Self { updates: Box::pin(updates), begun: false })
    }

    /// The identity of the next update.
    async fn next(&mut self, config: &WorkloadApi, id: Option<&SpiffeId>) -> Result<Identity, WorkloadError> {
        let update = match self.begun {
            true => self.updates.next().await,
            false => {
                let first = timeout(ANSWER, self.updates.next()).await;
                first.map_err(|_| WorkloadError::Silent(config.socket.clone()))?
            }
        };
        self.begun = true;
        let failed = |source| WorkloadError::Agent { socket: config.socket.clone(), source };
        let update = update.ok_or_else(|| WorkloadError::Ended(config.socket.clone()))?.map_err(failed)?;
        let now = clock::now().unwrap_or(Timestamp::END);
        identity(config, &update, id, now)
    }
}

/// The identity that an update holds; `id` is who this process is already.
fn identity(
    config: &WorkloadApi,
    update: &X509Context,
    id: Option<&SpiffeId>,
    now: Timestamp,
) -> Result<Identity, WorkloadError> {
    let (svids, bundles) = (update.svids().len(), update.bundle_set().len());
    if svids > MAX_SVIDS || bundles > MAX_BUNDLES {
        return Err(WorkloadError::TooMany { svids, bundles });
    }
    let chosen = choose(config, update.svids())?;
    let chain: Vec<Vec<u8>> = chosen.cert_chain().iter().map(|one| one.as_bytes().to_vec()).collect();
    let svid = Svid::new(&chain, chosen.private_key().as_bytes()).map_err(WorkloadError::Svid)?;
    let offered = svid.leaf().id.clone();
    if let Some(id) = id.filter(|id| **id != offered) {
        return Err(WorkloadError::Other { id: id.clone(), offered });
    }
    if svid.leaf().not_after < now {
        return Err(WorkloadError::Expired(svid.leaf().not_after));
    }
    let own = offered.trust_domain();
    let of_own = update.bundle_set().get_ref(own).ok_or_else(|| WorkloadError::NoBundle(own.clone()))?;
    let of_own = bundle(of_own).map_err(|source| WorkloadError::Bundle { trust_domain: own.clone(), source })?;
    let mut all = vec![of_own.clone()];
    for (trust_domain, federated) in update.bundle_set().iter().filter(|(domain, _)| *domain != own) {
        match bundle(federated) {
            Ok(federated) => all.push(federated),
            Err(error) => {
                let error = Causes(&error);
                log!(TrustUnreadable, %trust_domain, %error, "a federated bundle cannot be used: nobody there is believed");
            }
        }
    }
    // In a trust domain of SPIRE's, execution identities are issued by its own authority: nobody but a broker may have
    // anything below their path (`spire/`).
    Ok(Identity::new(svid, all).with_execution_bundle(of_own))
}

fn choose<'s>(config: &WorkloadApi, svids: &'s [Arc<X509Svid>]) -> Result<&'s X509Svid, WorkloadError> {
    let fits = |svid: &&Arc<X509Svid>| {
        config.id.as_ref().is_none_or(|id| svid.spiffe_id() == id)
            && config.hint.as_ref().is_none_or(|hint| svid.hint() == Some(hint.as_str()))
    };
    let fitting: Vec<_> = svids.iter().filter(fits).collect();
    let named = |svids: &[&Arc<X509Svid>]| {
        let names: Vec<_> = svids.iter().map(|svid| format!("`{}`", svid.spiffe_id())).collect();
        names.join(", ")
    };
    match fitting.as_slice() {
        [one] => Ok(one),
        [] => Err(WorkloadError::NoneFits(named(&svids.iter().collect::<Vec<_>>()))),
        several => Err(WorkloadError::Several(named(several))),
    }
}

fn bundle(bundle: &X509Bundle) -> Result<Bundle, InvalidTrust> {
    let certificates: Vec<Vec<u8>> = bundle.authorities().iter().map(|one| one.as_bytes().to_vec()).collect();
    Ok(Bundle::from_der(bundle.trust_domain(), &certificates)?.from_source(TrustSource::WorkloadApi))
}

impl Socket {
    /// The path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl FromStr for Socket {
    type Err = InvalidSocket;

    fn from_str(text: &str) -> Result<Self, InvalidSocket> {
        let path = text.strip_prefix("unix://").or_else(|| text.strip_prefix("unix:")).ok_or(InvalidSocket)?;
        let good = path.starts_with('/') && path.len() <= MAX_SOCKET && !path.contains('\0') && !path.ends_with('/');
        if good { Ok(Self(PathBuf::from(path))) } else { Err(InvalidSocket) }
    }
}

impl TryFrom<String> for Socket {
    type Error = InvalidSocket;

    fn try_from(text: String) -> Result<Self, InvalidSocket> {
        text.parse()
    }
}

impl std::fmt::Display for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "unix:{}", self.0.display())
    }
}

#[cfg(test)]
mod tests;
