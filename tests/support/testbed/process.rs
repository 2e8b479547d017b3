//! A server as a process that can be paused, killed and started again, and that never outlives the test.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::{PATIENCE, last_lines};

/// A server. Its output goes to `<folder>/<name>.log`.
pub struct Process {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    folder: PathBuf,
    running: Option<Running>,
}

/// The process, and a shell that kills it when this process is gone: the shell's standard input then ends. Both are in
/// groups of their own, so that control-C in a terminal reaches the test alone.
struct Running {
    server: Child,
    watcher: Child,
}

impl Process {
    /// Starts it in `folder`.
    pub fn start(name: &'static str, program: &Path, arguments: &[&str], folder: &Path) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut process =
            Self { name, program: program.to_owned(), arguments, folder: folder.to_owned(), running: None };
        process.restart();
        process
    }

    /// Starts it again as it was started, after it ended.
    pub fn restart(&mut self) {
        assert!(self.running.is_none(), "{} runs", self.name);
        let log = OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let mut server = Command::new(&self.program);
        server.args(&self.arguments).current_dir(&self.folder).process_group(0);
        server.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        // Servers in Go, which live for seconds: a tenth of their time is for collecting what they allocate.
        server.env("GOGC", "400");
        let server = server.spawn().unwrap();
        let mut watcher = Command::new("sh");
        watcher.args(["-c", "read -r _ || kill -KILL \"$1\"", "sh", &server.id().to_string()]);
        watcher.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        self.running = Some(Running { server, watcher: watcher.spawn().unwrap() });
    }

    pub fn id(&self) -> u32 {
        self.running.as_ref().unwrap_or_else(|| panic!("{} does not run", self.name)).server.id()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }

    /// Everything that it wrote so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_path()).unwrap()).into_owned()
    }

    /// Fails if it ended by itself.
    pub fn assert_runs(&mut self) {
        if let Some(status) = self.running.as_mut().and_then(|running| running.server.try_wait().unwrap()) {
            panic!("{} ended, {status}:\n{}", self.name, last_lines(&self.log(), 15));
        }
    }

    /// It does nothing more, but its connections stay (SIGSTOP).
    pub fn pause(&self) {
        self.signal("STOP");
        // On a busy machine its threads go on for a moment.
        let tasks = format!("/proc/{}/task", self.id());
        let is_stopped = |stat: &str| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'));
        for _ in 0..PATIENCE.as_millis() {
            let stats = std::fs::read_dir(&tasks).unwrap().map(|task| task.unwrap().path().join("stat"));
            // One that has ended has no state any more.
            if stats.filter_map(|stat| std::fs::read_to_string(stat).ok()).all(|stat| is_stopped(&stat)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("{} does not stop", self.name);
    }

    /// Goes on after [`Process::pause`].
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Sends it a signal, such as `HUP`.
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([&format!("-{signal}"), &self.id().to_string()]).status().unwrap();
        assert!(status.success(), "{} got no SIG{signal}", self.name);
    }

    /// Ends it as a crash would (SIGKILL), and waits until it is gone.
    pub fn kill(&mut self) {
        drop(self.running.take());
    }

    /// Ends it in order (SIGTERM), and waits until it is gone.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        let end = tokio::time::Instant::now() + PATIENCE;
        let server = &mut self.running.as_mut().unwrap().server;
        let status = loop {
            if let Some(status) = server.try_wait().unwrap() {
                break status;
            }
            assert!(tokio::time::Instant::now() < end, "{} does not end", self.name);
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        drop(self.running.take());
        status
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that it is gone.
        drop(self.server.kill());
        drop(self.server.wait());
        // A line tells the watcher that there is nothing to do: the process id may be another's by now.
        drop(self.watcher.stdin.take().map(|mut stdin| stdin.write_all(b"\n")));
        drop(self.watcher.wait());
    }
}
