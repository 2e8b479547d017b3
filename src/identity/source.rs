//! Where the identity of this process comes from, whether it can still be used, and saying so.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::watch;

use super::folder::{self, FolderError};
use super::workload::{self, Link, WorkloadApi, WorkloadError};
use super::{Bundle, ExecutionIdentity, Form, Identities, Issuer, MintError, Plan};
use crate::clock::Clock;
use crate::decision::MutationId;
use crate::telemetry::Health;
use crate::timestamp::Timestamp;

/// Where the identity of a process comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A folder of its own.
    Folder(PathBuf),
    /// The SPIFFE Workload API.
    WorkloadApi(WorkloadApi),
}

/// There is no identity.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The folder holds none.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The Workload API gives none.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
}

/// The identity of a process, and how its source is reached.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The identity, now and after each rotation.
    pub identities: Identities,
    /// How the agent is reached; none of a folder.
    pub link: Option<watch::Receiver<Link>>,
}

/// The identity of this process, now and after each rotation.
///
/// # Errors
/// If there is none; the Workload API is waited for up to [`workload::PATIENCE`].
pub async fn open(source: &Source) -> Result<Opened, SourceError> {
    match source {
        Source::Folder(path) => Ok(Opened { identities: folder::open(path).await?, link: None }),
        Source::WorkloadApi(config) => {
            let (identities, link) = workload::open(config.clone(), workload::PATIENCE).await?;
            Ok(Opened { identities, link: Some(link) })
        }
    }
}

/// The identity with the bundles of other trust domains, of which those of the identity's own source count first; now and
/// after each change of either.
pub fn join(mut own: Identities, mut others: watch::Receiver<Arc<Vec<Bundle>>>) -> Identities {
    let joined = |own: &mut Identities, others: &mut watch::Receiver<Arc<Vec<Bundle>>>| {
        let (own, others) = (Arc::clone(&own.borrow_and_update()), Arc::clone(&others.borrow_and_update()));
        Arc::new(own.joined(&others))
    };
    let (sender, receiver) = watch::channel(joined(&mut own, &mut others));
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = sender.closed() => return,
                Ok(()) = own.changed() => {}
                Ok(()) = others.changed() => {}
                else => return,
            }
            sender.send_replace(joined(&mut own, &mut others));
        }
    });
    receiver
}

impl Opened {
    /// Says in `health` when the agent is gone (a limit, as long as the identity is valid) and when the identity has ended
    /// (an impediment). Goes on for ever.
    pub async fn report(mut self, health: Health, clock: Clock) {
        loop {
            let now = clock.now().unwrap_or(Timestamp::END);
            let not_after = self.identities.borrow().svid().leaf().not_after;
            let down = self.link.as_ref().and_then(|link| match &*link.borrow() {
                Link::Up => None,
                Link::Down { since, problem } => Some(format!("no update since {since}: {problem}")),
            });
            let ended = ended(not_after, now);
            let limit = down.as_ref().filter(|_| !ended);
            let limit = limit.map(|why| format!("the SVID is valid until {not_after}; {why}"));
            health.limit("identity", limit.as_deref());
            if ended {
                let why = down.unwrap_or_else(|| "its source did not renew it".to_owned());
                health.impede("identity", format!("the SVID of this process ended at {not_after}; {why}"));
            } else {
                health.clear("identity");
            }
            let changed = async {
                match &mut self.link {
                    Some(link) => drop(link.changed().await),
                    None => std::future::pending().await,
                }
            };
            // The end of the identity is noticed within a second; a sender that is gone must not make this a busy loop.
            tokio::select! {
                () = changed => tokio::time::sleep(Duration::from_millis(50)).await,
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
    }
}

fn ended(not_after: Timestamp, now: Timestamp) -> bool {
    not_after.seconds() < now.seconds()
}

/// An issuer that mints for as long as the identity of this process is valid, and plans nothing afterwards: whose own
/// identity has ended acts for nobody (I9).
pub struct WhileValid {
    issuer: Box<dyn Issuer>,
    identities: Identities,
}

impl WhileValid {
    /// The issuer, for as long as the newest of `identities` is valid.
    pub const fn new(issuer: Box<dyn Issuer>, identities: Identities) -> Self {
        Self { issuer, identities }
    }
}

impl Issuer for WhileValid {
    fn plan(&self, mutation: &MutationId, form: Form, now: Timestamp, not_after: Timestamp) -> Result<Plan, MintError> {
        let own = self.identities.borrow().svid().leaf().not_after;
        match ended(own, now) {
            true => Err(MintError::Own(own)),
            false => self.issuer.plan(mutation, form, now, not_after),
        }
    }

    fn mint(&self, plan: Plan) -> BoxFuture<'_, Result<ExecutionIdentity, MintError>> {
        self.issuer.mint(plan)
    }

    fn ends(&self) -> Option<Timestamp> {
        self.issuer.ends()
    }
}
