//! A disk that fails when it is told to: the real process, its real writes, and `disk.c` before them.
//!
//! `disk.c` is compiled here, by the compiler that links Rust programs too, and loaded into the broker.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::{PATIENCE, World};

/// Writes, syncs and truncations, as sets.
pub const WRITES: u64 = 1;
pub const SYNCS: u64 = 2;
pub const CHANGES: u64 = 7;

/// What happens at a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// SIGKILL before it.
    KillBefore,
    /// SIGKILL after it.
    KillAfter,
    /// The power fails before it: what no sync has confirmed is gone, all of it (0) or by chance.
    PowerCut(u64),
    /// It fails with this error, and so do those that follow.
    Fail(i32),
    /// It waits, and so do those that follow.
    Wait,
}

/// The errors of a full disk, of a broken one, and of one that cannot be written any more.
pub const ENOSPC: i32 = 28;
pub const EIO: i32 = 5;
pub const EROFS: i32 = 30;

/// The disk.
pub struct Disk {
    library: PathBuf,
    control: PathBuf,
    file: File,
}

impl Disk {
    /// One that does not fail yet.
    pub fn new(world: &World) -> Self {
        let (library, control) = (world.path("disk.so"), world.path("disk.control"));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/world/disk.c");
        let mut compiler = Command::new("cc");
        let compiler =
            compiler.args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).args([source, "-ldl", "-lpthread"]);
        assert!(compiler.status().unwrap().success(), "{source} does not compile");
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&control).unwrap();
        file.set_len(4096).unwrap();
        Self { library, control, file }
    }

    pub fn environment(&self) -> [(&'static str, PathBuf); 2] {
        [("LD_PRELOAD", self.library.clone()), ("DISK_CONTROL", self.control.clone())]
    }

    fn get(&self, index: u64) -> u64 {
        let mut octets = [0; 8];
        self.file.read_exact_at(&mut octets, index * 8).unwrap();
        u64::from_ne_bytes(octets)
    }

    fn set(&self, index: u64, value: u64) {
        self.file.write_all_at(&value.to_ne_bytes(), index * 8).unwrap();
    }

    /// From now on, at the change of this number, counted from here, and at those that follow.
    pub fn at(&self, number: u64, kinds: u64, event: Event) {
        let (action, argument) = match event {
            Event::KillBefore => (1, 0),
            Event::KillAfter => (2, 0),
            Event::PowerCut(chance) => (3, chance),
            Event::Fail(error) => (4, u64::try_from(error).unwrap()),
            Event::Wait => (5, 0),
        };
        self.mend();
        for (index, value) in [(0, 0), (5, 0), (2, kinds), (3, action), (4, argument), (1, number)] {
            self.set(index, value);
        }
    }

    /// Nothing happens any more.
    pub fn mend(&self) {
        self.set(1, 0);
    }

    /// How many changes there were since [`Self::at`].
    pub fn changes(&self) -> u64 {
        self.get(0)
    }

    /// Whether it has failed since [`Self::at`].
    pub fn has_failed(&self) -> bool {
        self.get(5) > 0
    }

    /// Waits until it has failed.
    pub async fn failed(&self) {
        let failed = async {
            while !self.has_failed() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, failed).await.expect("the disk is written to");
    }
}
