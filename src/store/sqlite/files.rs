//! The files of a store: private to their owner, and locked by it.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::store::StoreError;

/// The beginning of every SQLite file.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Where the application id stands in it, and what it is: `SEBR`.
const APPLICATION_ID_AT: usize = 68;
const APPLICATION_ID: [u8; 4] = *b"SEBR";

/// Makes what is missing, checks what is there, and takes possession: the log is owned while the answer lives.
pub(super) fn take(path: &Path) -> Result<File, StoreError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    make_folder(folder).map_err(|error| io_error(folder, error))?;
    let lock = own(&beside(path, ".lock"), path)?;
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => check_file(path)?,
        Err(error) => return Err(io_error(path, error)),
    }
    let problem = "its folder is open to other users: `chmod 700` it";
    check_mode(folder, problem)?;
    Ok(lock)
}

/// Checks that `path` can be a store, without opening it as one.
pub(super) fn check_file(path: &Path) -> Result<(), StoreError> {
    let metadata = path.symlink_metadata().map_err(|error| io_error(path, error))?;
    if !metadata.is_file() {
        return Err(StoreError::NotPrivate { path: path.to_owned(), problem: "it is no regular file" });
    }
    check_mode(path, "it is open to other users: `chmod 600` it")?;
    check_header(path)
}

/// Checks that `path` begins as a store does, or is empty.
pub(super) fn check_header(path: &Path) -> Result<(), StoreError> {
    let mut header = Vec::new();
    let file = File::open(path).map_err(|error| io_error(path, error))?;
    file.take(100).read_to_end(&mut header).map_err(|error| io_error(path, error))?;
    let id = header.get(APPLICATION_ID_AT..APPLICATION_ID_AT + 4);
    // A file without a first page yet: its pages are in the write-ahead log, or it was just made.
    if header.is_empty() || header.starts_with(MAGIC) && (id == Some(&APPLICATION_ID) || id == Some(&[0; 4])) {
        return Ok(());
    }
    Err(StoreError::Corrupt { path: path.to_owned(), detail: "it does not begin as a store does".to_owned() })
}

/// The file beside `path` with this ending.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Makes the folder, durably: the database in it makes itself durable, and the folder's own name is nobody else's to
/// care for.
fn make_folder(folder: &Path) -> io::Result<()> {
    let missing: Vec<_> = folder.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    for made in missing {
        let parent = made.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

fn own(lock: &Path, store: &Path) -> Result<File, StoreError> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(lock);
    let file = file.map_err(|error| io_error(store, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Owned { path: store.to_owned() }),
        Err(TryLockError::Error(error)) => Err(io_error(store, error)),
    }
}

fn check_mode(path: &Path, problem: &'static str) -> Result<(), StoreError> {
    let metadata = path.metadata().map_err(|error| io_error(path, error))?;
    if metadata.mode() & 0o077 != 0 {
        return Err(StoreError::NotPrivate { path: path.to_owned(), problem });
    }
    Ok(())
}

pub(super) fn io_error(path: &Path, error: io::Error) -> StoreError {
    let path = path.to_owned();
    match error.kind() {
        ErrorKind::NotFound => StoreError::Missing { path },
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly { path },
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full { path },
        _ => StoreError::Io { path, cause: Box::new(error) },
    }
}
