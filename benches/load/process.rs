//! Broker, authority and sandbox as processes of their own.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// How long anything may take to begin.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A process, killed when it is dropped.
pub(crate) struct Process {
    _child: Child,
    pub(crate) id: u32,
    said: Value,
}

impl Process {
    /// Starts a program with the configuration `file` in `folder`; it is there once it has printed where it listens.
    pub(crate) async fn start(
        folder: &Path,
        program: &str,
        words: &[&str],
        file: &str,
        config: &str,
    ) -> anyhow::Result<Self> {
        let path = folder.join(file);
        std::fs::write(&path, config)?;
        let log_path = folder.join(format!("{file}.stderr"));
        let log = std::fs::File::create(&log_path)?;
        let program = if program == "seb" { env!("CARGO_BIN_EXE_seb") } else { env!("CARGO_BIN_EXE_sab") };
        let mut command = Command::new(program);
        command.args(["--output", "json"]).args(words).arg("--config").arg(&path);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true).spawn()?;
        let mut said = String::new();
        let output = child.stdout.take().context("no standard output")?;
        let mut lines = BufReader::new(output);
        tokio::time::timeout(PATIENCE, lines.read_line(&mut said)).await??;
        let Ok(said) = serde_json::from_str::<Value>(&said) else {
            child.wait().await?;
            bail!("`{file}`: the process did not start:\n{}", std::fs::read_to_string(&log_path)?);
        };
        let id = child.id().context("the process has ended")?;
        Ok(Self { _child: child, id, said })
    }

    /// Where it listens, as it says under this name.
    pub(crate) fn address(&self, name: &str) -> anyhow::Result<&str> {
        self.said.get(name).and_then(Value::as_str).with_context(|| format!("no address `{name}`"))
    }
}
