//! A trust domain in a private directory: for development, tests, and single hosts without SPIRE.
//!
//! A root CA issues the SVIDs of roles and one *execution CA*, by which the broker mints; a target admits mutations by the
//! execution CA alone. Each process gets a folder of its own ([`super::folder`]); the directory itself, with the key of
//! the root, is for whoever administers the trust domain and is read by no role.
//!
//! ```text
//! DIR/            0700
//!   lock          held while the directory is changed
//!   issued.json   what was issued, to which folder
//!   active/       root.pem root-key.pem execution-ca.pem execution-ca-key.pem
//!   next/         the same, between `prepare` and `activate`
//!   previous/     root.pem execution-ca.pem, between `activate` and `retire`: trusted still, and without keys
//! ```
//!
//! CAs rotate in three steps, between which every process has time to read its folder again: *prepare* makes the next
//! CAs and puts them into every bundle; *activate* issues everything anew below them; *retire* takes the previous ones
//! out of every bundle. Each step is one rename, so that a crash leaves the state before it or after it, and [`Domain::renew`]
//! brings every folder to the state there is.

mod issuer;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use der::pem;
use serde::{Deserialize, Serialize};
use spiffe::{SpiffeId, TrustDomain};

pub use self::issuer::{EmbeddedIssuer, IssuerError};
use super::Bundle;
pub use super::ca::CaError;
use super::ca::{self, Ca};
use super::execution::EXECUTION_PATH;
use super::files::{self, FileError};
use super::folder::{self, FolderError, read_chain};
use super::leaf::Leaf;
use crate::attribute_certificate::SignatureAlgorithm;
use crate::clock;
use crate::key::{InvalidKey, SigningKey};
use crate::spiffe_id::Text;
use crate::telemetry::{Causes, log};
use crate::timestamp::{InvalidTimestamp, Timestamp};

const ACTIVE: &str = "active";
const NEXT: &str = "next";
const PREVIOUS: &str = "previous";
const ROOT: &str = "root.pem";
const ROOT_KEY: &str = "root-key.pem";
const ISSUED: &str = "issued.json";
const LOCK: &str = "lock";

/// The most SVIDs that one directory issues.
const MAX_ISSUED: usize = 1024;

/// How often [`keep_renewed`] looks whether something is due.
const RENEW_POLL: Duration = Duration::from_secs(1);

/// The trust domain's directory does not allow what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum DomainError {
    /// A file cannot be read or written, or can be reached by others.
    #[error(transparent)]
    File(#[from] FileError),
    /// A folder or a file with certificates is damaged.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A CA is damaged.
    #[error("the CA in `{path}` cannot be used")]
    Ca {
        /// Its directory.
        path: PathBuf,
        /// Why.
        source: CaError,
    },
    /// A CA or a certificate could not be made.
    #[error("cannot issue")]
    Issue(#[source] CaError),
    /// A key could not be made.
    #[error("cannot make a key")]
    Key(#[source] InvalidKey),
    /// There is something already.
    #[error("`{0}` is not empty: a trust domain begins in a directory of its own")]
    Occupied(PathBuf),
    /// The file with what was issued is damaged.
    #[error("`{path}` is damaged")]
    Issued {
        /// The file.
        path: PathBuf,
        /// Where.
        source: serde_json::Error,
    },
    /// The SPIFFE ID is not one that the root issues.
    #[error("`{id}` cannot be issued: {problem}")]
    Id {
        /// The SPIFFE ID.
        id: SpiffeId,
        /// Why.
        problem: &'static str,
    },
    /// The lifetime is out of bounds.
    #[error("a lifetime of {0} s: 2 s to 31536000 s are possible")]
    Lifetime(u64),
    /// The rotation is at another step.
    #[error("{0}")]
    Rotation(&'static str),
    /// The system's clock shows no possible time.
    #[error("the clock cannot be used")]
    Clock(#[from] InvalidTimestamp),
    /// Too much was issued.
    #[error("{MAX_ISSUED} SVIDs were issued already: remove folders that are not needed any more")]
    TooMany,
}

/// What is issued: one SVID, to one folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    id: Text,
    folder: PathBuf,
    ttl_seconds: u64,
    execution_ca: bool,
}

impl Grant {
    /// The SVID `id`, with a life of `ttl`, in `folder`. `execution_ca` puts the key of the execution CA there as well,
    /// which is for the broker's folder alone.
    pub const fn new(id: SpiffeId, folder: PathBuf, ttl: Duration, execution_ca: bool) -> Self {
        Self { id: Text(id), folder, ttl_seconds: ttl.as_secs(), execution_ca }
    }

    /// The SPIFFE ID.
    pub const fn id(&self) -> &SpiffeId {
        &self.id.0
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the folder holds the key of the execution CA.
    pub const fn has_execution_ca(&self) -> bool {
        self.execution_ca
    }
}

/// A step of the rotation of the CAs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// Make the next CAs, and trust them too.
    Prepare,
    /// Issue by the next CAs; destroy the keys of those before.
    Activate,
    /// Trust the CAs before no longer.
    Retire,
}

/// A CA as it stands.
#[derive(Debug, Clone)]
pub struct CaStatus {
    /// `active`, `next` or `previous`.
    pub stage: &'static str,
    /// The last second of the root's validity.
    pub root_ends: Timestamp,
    /// The last second of the execution CA's validity.
    pub execution_ca_ends: Timestamp,
}

/// The directory of a trust domain.
#[derive(Debug, Clone)]
pub struct Domain {
    directory: PathBuf,
    trust_domain: TrustDomain,
}

/// What every folder of the trust domain must hold, as PEM text.
struct Trusted {
    bundle: String,
    execution_bundle: String,
}

impl Domain {
    /// Begins a trust domain in `directory`, which must not exist or be empty.
    ///
    /// # Errors
    /// If there is something already, or it cannot be written.
    pub fn init(directory: &Path, trust_domain: &TrustDomain, now: Timestamp) -> Result<Self, DomainError> {
        if fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(DomainError::Occupied(directory.to_owned()));
        }
        files::make_private_directory(directory)?;
        let domain = Self { directory: directory.to_owned(), trust_domain: trust_domain.clone() };
        let _lock = domain.lock()?;
        domain.make_cas(ACTIVE, now)?;
        Ok(domain)
    }

    /// The trust domain in `directory`.
    ///
    /// # Errors
    /// If there is none, or others can reach the directory.
    pub fn open(directory: &Path) -> Result<Self, DomainError> {
        files::check_private_directory(directory)?;
        // An activation that was interrupted left no active CAs; the next ones are of the same trust domain.
        let stage = if directory.join(ACTIVE).exists() { ACTIVE } else { NEXT };
        let (bundle, _) = read_certificate(&directory.join(stage).join(ROOT))?;
        let domain = Self { directory: directory.to_owned(), trust_domain: bundle.trust_domain().clone() };
        let _lock = domain.lock()?;
        domain.finish_activation()?;
        Ok(domain)
    }

    /// The trust domain.
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Issues an SVID to a folder, and will renew it there.
    ///
    /// # Errors
    /// If the SPIFFE ID belongs to another trust domain or to executions, or the folder cannot be written.
    pub fn issue(&self, grant: Grant, now: Timestamp) -> Result<Leaf, DomainError> {
        let _lock = self.lock()?;
        let refuse = |problem| Err(DomainError::Id { id: grant.id().clone(), problem });
        if grant.id().trust_domain() != &self.trust_domain {
            return refuse("it belongs to another trust domain");
        }
        if format!("{}/", grant.id().path()).starts_with(EXECUTION_PATH) {
            return refuse("identities of executions are minted by the broker, one for each mutation");
        }
        if grant.id().path().is_empty() {
            return refuse("it names a trust domain, not a workload");
        }
        if !(2..=31_536_000).contains(&grant.ttl_seconds) {
            return Err(DomainError::Lifetime(grant.ttl_seconds));
        }
        files::make_private_directory(&grant.folder)?;
        let folder =
            fs::canonicalize(&grant.folder).map_err(|source| FileError::Read { path: grant.folder.clone(), source })?;
        let grant = Grant { folder, ..grant };
        let mut issued = self.issued()?;
        issued.retain(|other| other.folder != grant.folder);
        if issued.len() >= MAX_ISSUED {
            return Err(DomainError::TooMany);
        }
        let leaf = self.write_folder(&grant, &self.trusted()?, now)?;
        issued.push(grant);
        self.write_issued(&issued)?;
        Ok(leaf)
    }

    /// Issues anew what is past half of its life, was damaged, or does not show the CAs as they are now; gives what was
    /// issued. A folder that was removed is forgotten.
    ///
    /// # Errors
    /// The first folder that cannot be written.
    pub fn renew(&self, now: Timestamp) -> Result<Vec<Grant>, DomainError> {
        let _lock = self.lock()?;
        self.renew_locked(now)
    }

    /// Takes one step of the rotation, and brings every folder to it.
    ///
    /// # Errors
    /// If it is not the turn of this step.
    pub fn rotate(&self, step: Rotation, now: Timestamp) -> Result<Vec<Grant>, DomainError> {
        let _lock = self.lock()?;
        let there = |stage| self.directory.join(stage).exists();
        match step {
            Rotation::Prepare if there(PREVIOUS) => {
                return Err(DomainError::Rotation("the last rotation is not finished: retire the previous CAs first"));
            }
            Rotation::Prepare if there(NEXT) => {
                return Err(DomainError::Rotation("the next CAs are prepared already: activate them"));
            }
            Rotation::Prepare => self.make_cas(NEXT, now)?,
            Rotation::Activate if !there(NEXT) => {
                return Err(DomainError::Rotation("there are no next CAs: prepare them first"));
            }
            Rotation::Activate => {
                self.rename(ACTIVE, PREVIOUS)?;
                self.finish_activation()?;
            }
            Rotation::Retire if !there(PREVIOUS) => {
                return Err(DomainError::Rotation("there are no previous CAs: activate the next ones first"));
            }
            Rotation::Retire => {
                let path = self.directory.join(PREVIOUS);
                fs::remove_dir_all(&path).map_err(|source| FileError::Write { path, source })?;
            }
        }
        self.renew_locked(now)
    }

    /// The CAs as they stand: the active ones first.
    ///
    /// # Errors
    /// If one is damaged.
    pub fn cas(&self) -> Result<Vec<CaStatus>, DomainError> {
        let stages = [ACTIVE, NEXT, PREVIOUS].into_iter().filter(|stage| self.directory.join(stage).exists());
        let status = |stage| {
            let path = self.directory.join(stage);
            let (_, root_ends) = read_certificate(&path.join(ROOT))?;
            let (_, execution_ca_ends) = read_certificate(&path.join(folder::CA))?;
            Ok(CaStatus { stage, root_ends, execution_ca_ends })
        };
        stages.map(status).collect()
    }

    /// What was issued, in order.
    ///
    /// # Errors
    /// If the file with it is damaged.
    pub fn issued(&self) -> Result<Vec<Grant>, DomainError> {
        let path = self.directory.join(ISSUED);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let text = files::read_private(&path)?;
        serde_json::from_str(&text).map_err(|source| DomainError::Issued { path, source })
    }

    fn write_issued(&self, issued: &[Grant]) -> Result<(), DomainError> {
        let path = self.directory.join(ISSUED);
        let text = serde_json::to_string_pretty(issued);
        let text = text.map_err(|source| DomainError::Issued { path: path.clone(), source })?;
        Ok(files::write(&path, &text)?)
    }

    fn renew_locked(&self, now: Timestamp) -> Result<Vec<Grant>, DomainError> {
        let trusted = self.trusted()?;
        let all = self.issued()?;
        let count = all.len();
        let kept: Vec<Grant> = all.into_iter().filter(|grant| grant.folder.exists()).collect();
        if kept.len() != count {
            self.write_issued(&kept)?;
        }
        let mut renewed = Vec::new();
        for grant in kept {
            if self.is_due(&grant, &trusted, now) {
                self.write_folder(&grant, &trusted, now)?;
                renewed.push(grant);
            }
        }
        Ok(renewed)
    }

    /// Whether a folder needs to be written anew.
    fn is_due(&self, grant: &Grant, trusted: &Trusted, now: Timestamp) -> bool {
        let Ok(identity) = folder::read(&grant.folder) else { return true };
        let leaf = identity.svid().leaf();
        let half = leaf.not_after.since(leaf.not_before) / 2;
        let holds =
            |name, expected: &str| files::read(&grant.folder.join(name)).is_ok_and(|text| text.as_str() == expected);
        now >= leaf.not_before.saturating_add(half)
            || !holds(folder::BUNDLE, &trusted.bundle)
            || !holds(folder::EXECUTION_BUNDLE, &trusted.execution_bundle)
            || grant.execution_ca && !self.holds_execution_ca(&grant.folder)
    }

    fn holds_execution_ca(&self, folder: &Path) -> bool {
        let active = self.directory.join(ACTIVE);
        [folder::CA, folder::CA_KEY].iter().all(|name| {
            match (files::read_private(&folder.join(name)), files::read_private(&active.join(name))) {
                (Ok(copy), Ok(original)) => copy == original,
                _ => false,
            }
        })
    }

    /// Writes everything that a folder holds. What others trust comes first, and the certificate after its key: who reads
    /// in between sees a key that is not the certificate's, and reads again.
    fn write_folder(&self, grant: &Grant, trusted: &Trusted, now: Timestamp) -> Result<Leaf, DomainError> {
        let write = |name: &str, text: &str| files::write(&grant.folder.join(name), text);
        let root = self.ca(ACTIVE, ROOT, ROOT_KEY, now)?;
        let key = SigningKey::generate(SignatureAlgorithm::EcdsaP256Sha256).map_err(DomainError::Key)?;
        let begin = Timestamp::from_millis(now.millis().saturating_sub(10_000)).unwrap_or(now);
        let end = now.saturating_add(Duration::from_secs(grant.ttl_seconds)).min(root.not_after());
        let certificate = root.issue(grant.id(), &key, begin, end).map_err(DomainError::Issue)?;
        let leaf = Leaf::read(&certificate);
        let leaf = leaf.map_err(|error| DomainError::Issue(CaError::Certificate(error.to_string())))?;
        write(folder::BUNDLE, &trusted.bundle)?;
        write(folder::EXECUTION_BUNDLE, &trusted.execution_bundle)?;
        if grant.execution_ca {
            for name in [folder::CA_KEY, folder::CA] {
                write(name, &files::read_private(&self.directory.join(ACTIVE).join(name))?)?;
            }
        }
        write(folder::KEY, &key.to_pkcs8_pem().map_err(DomainError::Key)?)?;
        write(folder::SVID, &to_pem(&[certificate])?)?;
        Ok(leaf)
    }

    /// The certificates of every stage: the active ones first.
    fn trusted(&self) -> Result<Trusted, DomainError> {
        let stages = || [ACTIVE, NEXT, PREVIOUS].into_iter().map(|stage| self.directory.join(stage));
        let all = |name: &str| {
            let present = stages().filter(|path| path.exists());
            let chains = present.map(|path| read_chain(&path.join(name))).collect::<Result<Vec<_>, _>>()?;
            to_pem(&chains.concat())
        };
        Ok(Trusted { bundle: all(ROOT)?, execution_bundle: all(folder::CA)? })
    }

    /// Makes the CAs of a stage: completely, or not at all.
    fn make_cas(&self, stage: &str, now: Timestamp) -> Result<(), DomainError> {
        let unfinished = format!("{stage}.new");
        let path = self.directory.join(&unfinished);
        if path.exists() {
            fs::remove_dir_all(&path).map_err(|source| FileError::Write { path: path.clone(), source })?;
        }
        files::make_private_directory(&path)?;
        let root = Ca::root(&self.trust_domain, now).map_err(DomainError::Issue)?;
        let execution = root.execution(now).map_err(DomainError::Issue)?;
        for (ca, name, key_name) in [(&root, ROOT, ROOT_KEY), (&execution, folder::CA, folder::CA_KEY)] {
            files::write(&path.join(name), &to_pem(&[ca.certificate().to_vec()])?)?;
            files::write(&path.join(key_name), &ca.key().to_pkcs8_pem().map_err(DomainError::Key)?)?;
        }
        self.rename(&unfinished, stage)
    }

    /// The second half of an activation, also of one that was interrupted.
    fn finish_activation(&self) -> Result<(), DomainError> {
        let path = |stage: &str| self.directory.join(stage);
        if !path(PREVIOUS).exists() {
            return Ok(());
        }
        if !path(ACTIVE).exists() {
            self.rename(NEXT, ACTIVE)?;
        }
        for name in [ROOT_KEY, folder::CA_KEY] {
            let path = path(PREVIOUS).join(name);
            match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(FileError::Write { path, source }.into());
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DomainError> {
        let path = self.directory.join(to);
        let renamed = fs::rename(self.directory.join(from), &path);
        let durable = renamed.and_then(|()| files::sync_directory(&self.directory));
        durable.map_err(|source| FileError::Write { path, source }.into())
    }

    fn ca(&self, stage: &str, name: &str, key_name: &str, now: Timestamp) -> Result<Ca, DomainError> {
        let path = self.directory.join(stage);
        let certificate = read_chain(&path.join(name))?.into_iter().next().unwrap_or_default();
        let key = files::read_private(&path.join(key_name))?;
        Ca::load(certificate, &key, now).map_err(|source| DomainError::Ca { path, source })
    }

    /// One writer at a time. The lock ends with the value.
    fn lock(&self) -> Result<File, DomainError> {
        let path = self.directory.join(LOCK);
        let file = File::options().create(true).append(true).open(&path);
        let locked = file.and_then(|file| file.lock().map(|()| file));
        Ok(locked.map_err(|source| FileError::Write { path, source })?)
    }
}

/// Renews what is due, for as long as it runs. What fails is reported in the log and tried again.
pub async fn keep_renewed(domain: Domain) {
    loop {
        tokio::time::sleep(RENEW_POLL).await;
        let domain = domain.clone();
        let renew = move || domain.renew(clock::now()?);
        match tokio::task::spawn_blocking(renew).await {
            Ok(Ok(renewed)) => {
                renewed.iter().for_each(|grant| log!(IdentityRenewed, id = %grant.id(), "an SVID was renewed"));
            }
            Ok(Err(error)) => log!(IdentityNotRenewed, error = %Causes(&error), "SVIDs could not be renewed"),
            Err(error) => log!(IdentityNotRenewed, error = %Causes(&error), "renewing SVIDs was interrupted"),
        }
    }
}

/// The CA certificate in a file as a bundle of its trust domain, and the last second of its validity.
fn read_certificate(path: &Path) -> Result<(Bundle, Timestamp), DomainError> {
    let certificate = read_chain(path)?.into_iter().next().unwrap_or_default();
    ca::describe(certificate).map_err(|source| DomainError::Ca { path: path.to_owned(), source })
}

fn to_pem(certificates: &[Vec<u8>]) -> Result<String, DomainError> {
    let encode = |octets: &Vec<u8>| pem::encode_string("CERTIFICATE", pem::LineEnding::LF, octets);
    let texts = certificates.iter().map(encode).collect::<Result<Vec<_>, _>>();
    let texts = texts.map_err(|error| DomainError::Issue(CaError::Certificate(error.to_string())))?;
    Ok(texts.concat())
}

/// Which CA a forged identity comes from.
#[cfg(test)]
#[derive(Debug, Clone, Copy)]
pub(crate) enum Forged {
    /// The root.
    ByRoot,
    /// The execution CA.
    ByExecutionCa,
}

#[cfg(test)]
impl Domain {
    /// An identity with any SPIFFE ID and validity: what a stolen CA key could make.
    pub(crate) fn forge(
        &self,
        by: Forged,
        id: &SpiffeId,
        not_before: Timestamp,
        not_after: Timestamp,
    ) -> super::Identity {
        let now = clock::now().unwrap();
        let ca = match by {
            Forged::ByRoot => self.ca(ACTIVE, ROOT, ROOT_KEY, now),
            Forged::ByExecutionCa => self.ca(ACTIVE, folder::CA, folder::CA_KEY, now),
        };
        let (ca, key) = (ca.unwrap(), SigningKey::generate(SignatureAlgorithm::EcdsaP256Sha256).unwrap());
        let chain = vec![ca.issue(id, &key, not_before, not_after).unwrap(), ca.certificate().to_vec()];
        let pem = key.to_pkcs8_pem().unwrap();
        let (_, octets) = pem::decode_vec(pem.as_bytes()).unwrap();
        let root = Bundle::from_pem(&self.trust_domain, &self.trusted().unwrap().bundle).unwrap();
        super::Identity::new(super::Svid::new(&chain, &octets).unwrap(), [root])
    }
}
