//! The real servers, fresh for each test: SPIRE, and Kubernetes' API server with etcd; and an emulator of AWS.
//!
//! `scripts/testbed` builds them. A test makes a [`Folder`] first, then what it needs in it: each server is a process on
//! a free port of the loopback with everything it writes in that folder, has answered before the test gets it, and ends
//! with the test, however the test ends. When a test fails its folder stays, and the ends of the logs are printed.
//!
//! A test program that mounts this module belongs to the stage `make test-testbed`.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod aws;
pub mod client;
pub mod kubernetes;
pub mod pki;
pub mod process;
pub mod spire;
pub mod wire;

use std::fmt::Debug;
use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use tempfile::TempDir;

/// How long anything may take on a machine that is busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Where the servers of a test keep what they write. Make it first, so that it is dropped after them.
pub struct Folder(Option<TempDir>);

impl Folder {
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("seb-testbed-").tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        Self(Some(directory))
    }

    pub fn path(&self) -> &Path {
        self.0.as_ref().unwrap().path()
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// A folder in it.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let kept = self.0.take().unwrap().keep();
        eprintln!("what the servers wrote is in {}", kept.display());
        for log in logs(&kept) {
            let text = String::from_utf8_lossy(&std::fs::read(&log).unwrap_or_default()).into_owned();
            eprintln!("-- {}\n{}", log.display(), last_lines(&text, 15));
        }
    }
}

fn logs(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match path.extension() {
                Some(extension) if extension == "log" => found.push(path),
                _ if entry.file_type().is_ok_and(|kind| kind.is_dir()) => open.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// The program `binary` of the tool `tool`.
pub fn program(tool: &str, binary: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join("scripts/testbed")).args(["--path", tool]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let path = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim()).join(binary);
    assert!(path.exists(), "`{binary}` is not built: run `make testbed`");
    path
}

/// A port of the loopback that is free now: below those that the system gives to whoever asks for any, so that no
/// connection takes it before the server does; and no other test has it, in this process or another one, until this one ends.
pub fn free_port() -> u16 {
    static CLAIMED: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let claims = std::env::temp_dir().join("seb-testbed-ports");
    std::fs::create_dir_all(&claims).unwrap();
    for _ in 0..1000 {
        let random = seb::key::fresh_serial().unwrap();
        let port = 10_000 + u16::from_be_bytes([random[1], random[2]]) % 20_000;
        let claim = File::create(claims.join(port.to_string())).unwrap();
        if claim.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            CLAIMED.lock().unwrap().push(claim);
            return port;
        }
    }
    panic!("no port is free");
}

/// Asks until the answer is good, and gives it; `what` is awaited.
pub async fn awaited<T, E: Debug>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, E>) -> T {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => {
                assert!(tokio::time::Instant::now() < end, "waited in vain for {what}: {error:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}
