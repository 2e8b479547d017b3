//! The identity of one process, in a folder of its own.
//!
//! | file | what it holds |
//! |---|---|
//! | `svid.pem` | the chain of its X509-SVID, leaf first |
//! | `key.pem` | the SVID's private key, PKCS#8; nobody but the owner may be able to read it |
//! | `bundle.pem` | the CA certificates of its trust domain |
//! | `execution-bundle.pem` | the execution CAs, by which a target admits mutations; need not be there |
//! | `execution-ca.pem`, `execution-ca-key.pem` | the broker's folder alone: the CA that it mints by |
//!
//! Who writes them matters to nobody who reads them: [`super::embedded`], or a SPIFFE helper.

use std::path::{Path, PathBuf};

use der::pem;
use zeroize::Zeroizing;

use super::files::{self, FileError};
use super::{Bundle, Identities, Identity, InvalidSvid, Leaf, Svid};
use crate::attribute_certificate::{InvalidTrust, read_certificates};

pub(super) const SVID: &str = "svid.pem";
pub(super) const KEY: &str = "key.pem";
pub(super) const BUNDLE: &str = "bundle.pem";
pub(super) const EXECUTION_BUNDLE: &str = "execution-bundle.pem";
pub(super) const CA: &str = "execution-ca.pem";
pub(super) const CA_KEY: &str = "execution-ca-key.pem";

/// A folder does not hold a usable identity.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file cannot be read, or can be read by others.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file with certificates is damaged.
    #[error("`{path}` holds no certificates in PEM: {problem}")]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The file with the key is damaged. Says nothing of what it holds.
    #[error("`{path}` is not one PEM block `PRIVATE KEY` (PKCS#8, not encrypted)")]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key make no SVID.
    #[error("the SVID in `{path}` cannot be used")]
    Svid {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: InvalidSvid,
    },
    /// The bundle is not usable.
    #[error("`{path}` cannot be used")]
    Bundle {
        /// The file.
        path: PathBuf,
        /// Why.
        source: InvalidTrust,
    },
}

/// The identity in `folder` as it is now.
///
/// # Errors
/// If the folder does not hold one.
pub fn read(folder: &Path) -> Result<Identity, FolderError> {
    let svid = read_svid(folder)?;
    let identity = Identity::new(svid, [read_bundle(folder, BUNDLE)?]);
    match folder.join(EXECUTION_BUNDLE).exists() {
        true => Ok(identity.with_execution_bundle(read_bundle(folder, EXECUTION_BUNDLE)?)),
        false => Ok(identity),
    }
}

/// The identity in `folder`, now and after each change: at most about a second later.
///
/// # Errors
/// If the folder does not hold one now. A change that cannot be used is reported in the log and leaves the identity as it
/// was.
pub async fn open(folder: &Path) -> Result<Identities, FolderError> {
    let own = folder.to_owned();
    files::watched(paths(folder, &[SVID, KEY, BUNDLE, EXECUTION_BUNDLE]), move || read(&own)).await
}

/// The certificate of the execution CA in `folder`.
pub(crate) fn execution_ca(folder: &Path) -> Result<Vec<Vec<u8>>, FolderError> {
    read_chain(&folder.join(CA))
}

pub(super) fn paths(folder: &Path, names: &[&str]) -> Vec<PathBuf> {
    names.iter().map(|name| folder.join(name)).collect()
}

fn read_svid(folder: &Path) -> Result<Svid, FolderError> {
    let chain = read_chain(&folder.join(SVID))?;
    let key = read_key(&folder.join(KEY))?;
    Svid::new(&chain, &key).map_err(|source| FolderError::Svid { path: folder.to_owned(), source })
}

/// A bundle of the trust domain that the folder's SVID belongs to.
fn read_bundle(folder: &Path, name: &str) -> Result<Bundle, FolderError> {
    let id = read_leaf(folder)?.id;
    let path = folder.join(name);
    let text = files::read(&path)?;
    Bundle::from_pem(id.trust_domain(), &text).map_err(|source| FolderError::Bundle { path, source })
}

/// The leaf of the folder's SVID, without its key.
pub(super) fn read_leaf(folder: &Path) -> Result<Leaf, FolderError> {
    let invalid = |source| FolderError::Svid { path: folder.to_owned(), source };
    let chain = read_chain(&folder.join(SVID))?;
    let leaf = chain.first().ok_or_else(|| invalid(InvalidSvid::Empty))?;
    Leaf::read(leaf).map_err(|source| invalid(InvalidSvid::Leaf(source)))
}

/// The certificates of a file.
pub(super) fn read_chain(path: &Path) -> Result<Vec<Vec<u8>>, FolderError> {
    let text = files::read(path)?;
    read_certificates(&text).map_err(|problem| FolderError::Certificates { path: path.to_owned(), problem })
}

/// A private key in PKCS#8.
pub(super) fn read_key(path: &Path) -> Result<Zeroizing<Vec<u8>>, FolderError> {
    let text = files::read_private(path)?;
    match pem::decode_vec(text.as_bytes()) {
        Ok(("PRIVATE KEY", octets)) => Ok(Zeroizing::new(octets)),
        _ => Err(FolderError::Key { path: path.to_owned() }),
    }
}
