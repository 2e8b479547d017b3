//! Files that hold identities: private ones that others cannot read, whole ones only, and noticing when they change.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::telemetry::{Causes, log};

/// The longest file that is read, in octets.
const MAX_OCTETS: u64 = 1024 * 1024;

/// How often the files of an identity are looked at.
const POLL: Duration = Duration::from_millis(500);

/// A file of an identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write `{path}`")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than its owner can reach it.
    #[error("`{path}` has mode {mode:o}, so that others can reach it: run `chmod go= {path}` and exchange the keys")]
    Exposed {
        /// The file or directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is longer than anything that belongs there.
    #[error("`{path}` is longer than {MAX_OCTETS} octets")]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// It is not text.
    #[error("`{path}` is not UTF-8 text")]
    Text {
        /// The file.
        path: PathBuf,
    },
}

/// Reads a text that anybody may know.
pub(super) fn read(path: &Path) -> Result<String, FileError> {
    let octets = read_from(path, &open(path)?)?;
    String::from_utf8(octets).map_err(|_| FileError::Text { path: path.to_owned() })
}

/// Reads a text that its owner alone can reach.
pub(super) fn read_private(path: &Path) -> Result<Zeroizing<String>, FileError> {
    let file = open(path)?;
    let metadata = file.metadata().map_err(|source| FileError::Read { path: path.to_owned(), source })?;
    if !is_private(&metadata) {
        return Err(exposed(path, &metadata));
    }
    let octets = Zeroizing::new(read_from(path, &file)?);
    match std::str::from_utf8(&octets) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(FileError::Text { path: path.to_owned() }),
    }
}

/// Refuses a directory that others can reach.
pub(super) fn check_private_directory(path: &Path) -> Result<(), FileError> {
    let metadata = fs::metadata(path).map_err(|source| FileError::Read { path: path.to_owned(), source })?;
    if metadata.mode() & 0o077 == 0 { Ok(()) } else { Err(exposed(path, &metadata)) }
}

/// Whether nobody but this process's user can reach a file: its owner alone can, or root made it and lets this process's
/// group read it, as Kubernetes mounts a Secret.
pub(crate) fn is_private(metadata: &Metadata) -> bool {
    // The folder belongs to the effective user and group.
    let own = fs::metadata("/proc/self").map(|own| (own.uid(), own.gid())).ok();
    is_private_to(own, metadata.mode(), metadata.uid(), metadata.gid())
}

fn is_private_to(own: Option<(u32, u32)>, mode: u32, owner: u32, group: u32) -> bool {
    let given = own.is_some_and(|(user, own_group)| user != 0 && own_group != 0 && own_group == group);
    mode & 0o077 == 0 || (mode & 0o037 == 0 && owner == 0 && given)
}

/// Makes a directory that its owner alone can reach; one that is there already must be so.
pub(super) fn make_private_directory(path: &Path) -> Result<(), FileError> {
    let made = DirBuilder::new().mode(0o700).recursive(true).create(path);
    made.map_err(|source| FileError::Write { path: path.to_owned(), source })?;
    check_private_directory(path)
}

/// Writes a file that its owner alone can reach: all of it or nothing, and durably.
pub(super) fn write(path: &Path, text: &str) -> Result<(), FileError> {
    put(path, ".new", text, |temporary| fs::rename(temporary, path))
}

/// The same, unless there is a file of this name: that one stays.
pub(super) fn write_new(path: &Path, text: &str) -> Result<(), FileError> {
    // Another process may be at the same.
    let ending = format!(".{}.new", std::process::id());
    put(path, &ending, text, |temporary| {
        match fs::hard_link(temporary, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        fs::remove_file(temporary)
    })
}

/// Writes a file beside `path`, of its name and `ending`, and names it `path` by `name`.
fn put(path: &Path, ending: &str, text: &str, name: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), FileError> {
    let mut beside = path.file_name().unwrap_or_default().to_owned();
    beside.push(ending);
    let temporary = path.with_file_name(beside);
    let write = || {
        // What an earlier writer left behind when it was killed.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        name(&temporary)?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync_directory(directory.unwrap_or(Path::new(".")))
    };
    write().map_err(|source| FileError::Write { path: path.to_owned(), source })
}

/// Makes durable which names a directory holds.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn open(path: &Path) -> Result<File, FileError> {
    File::open(path).map_err(|source| FileError::Read { path: path.to_owned(), source })
}

fn read_from(path: &Path, file: &File) -> Result<Vec<u8>, FileError> {
    let mut octets = Vec::new();
    let read = file.take(MAX_OCTETS + 1).read_to_end(&mut octets);
    read.map_err(|source| FileError::Read { path: path.to_owned(), source })?;
    match u64::try_from(octets.len()) {
        Ok(length) if length <= MAX_OCTETS => Ok(octets),
        _ => Err(FileError::TooLong { path: path.to_owned() }),
    }
}

fn exposed(path: &Path, metadata: &Metadata) -> FileError {
    FileError::Exposed { path: path.to_owned(), mode: metadata.mode() & 0o7777 }
}

/// What `load` makes of the files `paths`, now and after each change of them, for as long as somebody holds a receiver.
///
/// A state that does not load is reported in the log, and the one before it stays.
pub(super) async fn watched<T, E, L>(paths: Vec<PathBuf>, load: L) -> Result<watch::Receiver<Arc<T>>, E>
where
    T: Send + Sync + 'static,
    E: std::error::Error + Send + 'static,
    L: Fn() -> Result<T, E> + Send + 'static,
{
    // The state is taken before the files are read, so that a change in between is noticed afterwards.
    let mut seen = states(&paths);
    let mut first = load();
    for _ in 0..2 {
        if first.is_ok() {
            break;
        }
        // A certificate and its key are two files: perhaps somebody is writing them now.
        tokio::time::sleep(Duration::from_millis(100)).await;
        seen = states(&paths);
        first = load();
    }
    let (sender, receiver) = watch::channel(Arc::new(first?));
    tokio::spawn(async move {
        let mut loaded = true;
        loop {
            tokio::select! {
                () = sender.closed() => return,
                () = tokio::time::sleep(POLL) => {}
            }
            let now = states(&paths);
            if loaded && now == seen {
                continue;
            }
            let changed = now != seen;
            seen = now;
            match load() {
                Ok(value) => {
                    loaded = true;
                    log!(IdentityRead, files = ?paths, "identity files were read again");
                    sender.send_replace(Arc::new(value));
                }
                Err(error) => {
                    loaded = false;
                    if changed {
                        let error = Causes(&error);
                        log!(IdentityUnusable, files = ?paths, %error, "identity files changed and cannot be used");
                    }
                }
            }
        }
    });
    Ok(receiver)
}

/// What tells one state of each file from another: inode, size and time of change.
fn states(paths: &[PathBuf]) -> Vec<Option<(u64, u64, i64, i64)>> {
    let state = |path: &PathBuf| fs::metadata(path).ok().map(|it| (it.ino(), it.size(), it.ctime(), it.ctime_nsec()));
    paths.iter().map(state).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_is_its_owners_or_was_given_to_the_own_group() {
        let me = Some((1000, 1000));
        assert!(is_private_to(me, 0o100_600, 1000, 1000));
        assert!(is_private_to(me, 0o100_400, 0, 1000));
        assert!(is_private_to(me, 0o100_440, 0, 1000), "as Kubernetes mounts a Secret");
        assert!(is_private_to(None, 0o100_600, 1000, 1000));
        for (own, mode, owner, group) in [
            (me, 0o100_440, 1000, 1000),
            (me, 0o100_440, 0, 0),
            (me, 0o100_440, 0, 50),
            (me, 0o100_460, 0, 1000),
            (me, 0o100_450, 0, 1000),
            (me, 0o100_444, 0, 1000),
            (me, 0o100_404, 0, 1000),
            (Some((0, 0)), 0o100_440, 0, 0),
            (Some((1000, 0)), 0o100_440, 0, 0),
            (None, 0o100_440, 0, 1000),
        ] {
            assert!(!is_private_to(own, mode, owner, group), "{own:?} {mode:o} {owner} {group}");
        }
    }
}
