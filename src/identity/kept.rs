//! Keys that a process makes for itself, once, and keeps in a file.

use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::files::{self, FileError};
use crate::attribute_certificate::SignatureAlgorithm;
use crate::key::{InvalidKey, SigningKey};

/// A kept key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeptKeyError {
    /// Its file cannot.
    #[error("cannot use the file of a key")]
    File(#[from] FileError),
    /// What the file holds is no key, or none can be made.
    #[error("`{path}` holds no key that can be used")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: InvalidKey,
    },
}

/// The key in the file `path`, which its owner alone can reach. A fresh Ed25519 key is made if there is no such file, and
/// is durable, under its name, before it is answered: nothing is ever signed with a key that a loss of power takes away.
///
/// # Errors
/// The file cannot be read or made, others can reach it, or it holds no key.
pub fn kept_key(path: &Path) -> Result<SigningKey, KeptKeyError> {
    let invalid = |source| KeptKeyError::Key { path: path.to_owned(), source };
    match files::read_private(path) {
        Ok(text) => return SigningKey::from_pkcs8_pem(&text).map_err(invalid),
        Err(FileError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let text: Zeroizing<String> =
        SigningKey::generate(SignatureAlgorithm::Ed25519).and_then(|key| key.to_pkcs8_pem()).map_err(invalid)?;
    files::write_new(path, &text)?;
    // Of two processes that came here at the same time, one made the file.
    SigningKey::from_pkcs8_pem(&files::read_private(path)?).map_err(invalid)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn public(path: &Path) -> Vec<u8> {
        kept_key(path).unwrap().public_key().unwrap()
    }

    #[test]
    fn a_key_is_made_once_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        // What a process left that was killed while it made one.
        let left = format!("key.pem.{}.new", std::process::id());
        fs::write(folder.path().join(left), "-----BEGIN PRIV").unwrap();
        let public_key = public(&path);
        assert_eq!(public(&path), public_key);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["key.pem"]);
    }

    #[test]
    fn a_key_that_others_can_reach_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        kept_key(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = kept_key(&path).unwrap_err();
        assert!(matches!(error, KeptKeyError::File(FileError::Exposed { .. })), "{error}");
    }

    #[test]
    fn a_damaged_file_is_no_reason_for_another_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let error = kept_key(&path).unwrap_err();
        assert!(matches!(error, KeptKeyError::Key { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"");
    }
}
