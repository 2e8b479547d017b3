//! Minting by the embedded trust domain's execution CA.

use std::path::Path;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::watch;

use crate::clock;
use crate::decision::MutationId;
use crate::identity::ca::{Ca, CaError};
use crate::identity::execution::{ExecutionIdentity, Issuer, MintError, Plan};
use crate::identity::folder::{self, CA, CA_KEY, FolderError, paths, read_chain};
use crate::identity::{FileError, Form, files};
use crate::timestamp::Timestamp;

/// The execution CA cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// Its files cannot be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// They do not hold a CA.
    #[error("the execution CA cannot be used")]
    Ca(#[from] CaError),
}

/// Mints execution identities by the execution CA in the broker's own folder; a CA that is exchanged there is used from
/// then on.
#[derive(Debug, Clone)]
pub struct EmbeddedIssuer(watch::Receiver<Arc<Ca>>);

impl EmbeddedIssuer {
    /// The issuer with the CA in the broker's `folder`.
    ///
    /// # Errors
    /// If the folder does not hold it, or its key can be read by others.
    pub async fn open(folder: &Path) -> Result<Self, IssuerError> {
        let own = folder.to_owned();
        let receiver = files::watched(paths(folder, &[CA, CA_KEY]), move || read(&own)).await?;
        Ok(Self(receiver))
    }

    fn ca(&self) -> Arc<Ca> {
        Arc::clone(&self.0.borrow())
    }
}

fn read(folder: &Path) -> Result<Ca, IssuerError> {
    let path = folder.join(CA);
    let missing = || FolderError::Certificates { path: path.clone(), problem: "there is none".to_owned() };
    let certificate = read_chain(&path)?.into_iter().next().ok_or_else(missing)?;
    let key = files::read_private(&folder.join(CA_KEY)).map_err(folder::FolderError::File)?;
    let now = clock::now().map_err(|error| CaError::Certificate(error.to_string()))?;
    Ok(Ca::load(certificate, &key, now)?)
}

impl Issuer for EmbeddedIssuer {
    fn plan(&self, mutation: &MutationId, form: Form, now: Timestamp, not_after: Timestamp) -> Result<Plan, MintError> {
        if form != Form::X509 {
            let mend = "configure `execution.issuer` as `spire-mint` or `spire-downstream`";
            return Err(MintError::Form { issuer: "the embedded execution CA", form: form.name(), mend });
        }
        self.ca().plan(mutation, now, not_after)
    }

    /// Takes some tens of microseconds, and waits for nothing.
    fn mint(&self, plan: Plan) -> BoxFuture<'_, Result<ExecutionIdentity, MintError>> {
        Box::pin(async move { self.ca().mint(plan) })
    }

    fn ends(&self) -> Option<Timestamp> {
        Some(self.ca().not_after())
    }
}

impl From<FileError> for IssuerError {
    fn from(error: FileError) -> Self {
        Self::Folder(FolderError::File(error))
    }
}
