//! The attribute authority's key, and what is signed with it: certificates and epoch statements, and nothing else.

use std::path::{Path, PathBuf};

use spiffe::SpiffeId;

use crate::attribute_certificate::{
    AttributeCertificate, AuthorityCertificate, InvalidTemplate, MAX_CHAIN, Template, read_certificates,
};
use crate::epoch::EpochStatement;
use crate::epoch_envelope;
use crate::key::{InvalidKey, SigningKey};

/// The most octets of a file with a key or a chain.
const MAX_FILE: u64 = 256 * 1024;

/// The authority's key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Others can read the key.
    #[error("`{}` can be read by others than its owner: `chmod 600` it", path.display())]
    NotPrivate {
        /// The file.
        path: PathBuf,
    },
    /// The file holds no key that signs.
    #[error("`{}` holds no usable key", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: InvalidKey,
    },
    /// The file holds no chain.
    #[error("`{}` {problem}", path.display())]
    Chain {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The certificate may not sign, or is not this key's.
    #[error("the authority's certificate cannot be used")]
    Certificate(#[source] InvalidTemplate),
    /// The key is not that of the chain's first certificate.
    #[error("the authority's key is not that of its certificate")]
    Mismatch,
    /// The library refused to sign.
    #[error("the authority's key did not sign")]
    Sign(#[source] InvalidKey),
}

/// A key that may sign attribute certificates, with its chain.
#[derive(Debug)]
pub struct Authority {
    key: SigningKey,
    chain: Vec<Vec<u8>>,
    certificate: AuthorityCertificate,
}

impl Authority {
    /// The authority of this key and chain, leaf first.
    ///
    /// # Errors
    /// The leaf may not sign attribute certificates, or is another key's.
    pub fn new(key: SigningKey, chain: Vec<Vec<u8>>) -> Result<Self, AuthorityError> {
        let leaf = chain.first().ok_or(AuthorityError::Mismatch)?;
        let certificate = AuthorityCertificate::new(leaf).map_err(AuthorityError::Certificate)?;
        let of_leaf = crate::attribute_certificate::public_key_digest(leaf).map_err(|_| AuthorityError::Mismatch)?;
        let of_key = key.public_key().map_err(AuthorityError::Sign)?;
        if crate::digest::Digest::of(&of_key) != of_leaf || chain.len() > MAX_CHAIN {
            return Err(AuthorityError::Mismatch);
        }
        Ok(Self { key, chain, certificate })
    }

    /// Reads the key (PKCS#8) and the chain (leaf first) from PEM files.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub fn read(key: &Path, chain: &Path) -> Result<Self, AuthorityError> {
        let signing = read_key(key)?;
        let text = read_text(chain)?;
        let certificates =
            read_certificates(&text).map_err(|problem| AuthorityError::Chain { path: chain.to_owned(), problem })?;
        Self::new(signing, certificates)
    }

    /// Reads the files `key.pem` and `svid.pem` of a folder, as whoever issues SVIDs writes them.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub fn in_folder(folder: &Path) -> Result<Self, AuthorityError> {
        Self::read(&folder.join("key.pem"), &folder.join("svid.pem"))
    }

    /// Its SPIFFE ID.
    pub fn id(&self) -> &SpiffeId {
        self.certificate.id()
    }

    /// Its chain in DER, leaf first.
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    /// Issues a certificate.
    ///
    /// # Errors
    /// It would be refused, or the key did not sign.
    pub fn issue(&self, template: &Template<'_>) -> Result<AttributeCertificate, AuthorityError> {
        let unsigned = template.prepare(&self.certificate).map_err(AuthorityError::Certificate)?;
        let signature = self.key.sign(unsigned.octets()).map_err(AuthorityError::Sign)?;
        unsigned.complete(&signature).map_err(AuthorityError::Certificate)
    }

    /// Signs an epoch statement: the envelope.
    ///
    /// # Errors
    /// The key did not sign.
    pub fn seal(&self, statement: &EpochStatement) -> Result<Vec<u8>, AuthorityError> {
        let signature = self.key.sign(&epoch_envelope::to_be_signed(statement)).map_err(AuthorityError::Sign)?;
        Ok(epoch_envelope::seal(statement, &signature))
    }
}

/// Reads a private key in PEM that nobody but the owner can read.
///
/// # Errors
/// See [`AuthorityError`].
pub fn read_key(path: &Path) -> Result<SigningKey, AuthorityError> {
    let metadata = std::fs::metadata(path).map_err(|source| AuthorityError::Read { path: path.to_owned(), source })?;
    if !crate::identity::is_private(&metadata) {
        return Err(AuthorityError::NotPrivate { path: path.to_owned() });
    }
    let text = zeroize::Zeroizing::new(read_text(path)?);
    SigningKey::from_pkcs8_pem(&text).map_err(|source| AuthorityError::Key { path: path.to_owned(), source })
}

fn read_text(path: &Path) -> Result<String, AuthorityError> {
    use std::io::Read;
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MAX_FILE).read_to_string(&mut text));
    read.map(|_| text).map_err(|source| AuthorityError::Read { path: path.to_owned(), source })
}
