//! What the two binaries parse and print.
//!
//! Exit statuses are the same everywhere: see [`Exit`]. Text output is made for reading: aligned, and coloured on a
//! terminal only. `--output json` prints one JSON document on one line, whose fields are stable.

mod agent;
mod broker;
mod certificate;
mod client;
mod config;
mod issue;
mod proposals;
mod records;
pub mod sab;
mod sab_policy;
mod sab_serve;
mod sandbox;
pub mod seb;
mod trust_domain;
mod version;

use std::fmt::Display;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::{Args, ValueEnum};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// What was asked holds, or was done: status 0.
    Success,
    /// What was asked does not hold, or was refused: status 1. The reason was printed.
    Refused,
    /// Whether what was asked was done is not known yet: status 3.
    Unsettled,
    /// It could not be asked, or not now; later it can: status 4.
    Unavailable,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Success => Self::SUCCESS,
            Exit::Refused => Self::FAILURE,
            Exit::Unsettled => Self::from(3),
            Exit::Unavailable => Self::from(4),
        }
    }
}

/// The status for a command line that cannot be understood, or an input that cannot be read: 2.
pub const USAGE: u8 = 2;

/// What every command says of how it ends; some say it more exactly.
const STATUSES: &str = "Exit status: 0 holds or done, 1 does not hold or refused, 2 usage or unreadable input, 3 not known or not decided \
     yet, 4 not available: try again later. docs/commands.md has every command.";

/// The form of what a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For reading.
    Text,
    /// One JSON document on one line.
    Json,
}

#[derive(Debug, Clone, Args)]
struct Output {
    /// The form of what is printed
    #[arg(long = "output", value_name = "FORMAT", value_enum, default_value = "text", global = true)]
    format: Format,
}

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const FAINT: Style = Style::new().dimmed();

/// Ends a binary: prints the chain of an error, each cause once, and gives the exit status.
pub fn finish(name: &str, result: anyhow::Result<Exit>) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
            // Nothing is left to be done if even standard error is gone.
            let _ = writeln!(anstream::stderr(), "{BAD}{name}:{BAD:#} {}", causes.join(": "));
            ExitCode::from(USAGE)
        }
    }
}

/// Reads a file, or standard input for `-`, of at most `limit` octets.
fn read(path: &Path, limit: u64) -> anyhow::Result<Vec<u8>> {
    let context = || format!("cannot read `{}`", path.display());
    let mut octets = Vec::new();
    let source: Box<dyn Read> = match path.as_os_str() == "-" {
        true => Box::new(io::stdin().lock()),
        false => Box::new(std::fs::File::open(path).map_err(|error| anyhow::Error::new(error).context(context()))?),
    };
    source.take(limit + 1).read_to_end(&mut octets).map_err(|error| anyhow::Error::new(error).context(context()))?;
    if u64::try_from(octets.len()).unwrap_or(u64::MAX) > limit {
        anyhow::bail!("`{}` is longer than {limit} octets", path.display());
    }
    Ok(octets)
}

fn read_text(path: &Path, limit: u64) -> anyhow::Result<String> {
    String::from_utf8(read(path, limit)?).map_err(|_| anyhow::anyhow!("`{}` is not UTF-8 text", path.display()))
}

/// What commands that serve or watch run in.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    // Nobody else has a subscriber yet, or one that is as good.
    let _ = tracing_subscriber::fmt().with_writer(io::stderr).with_max_level(tracing::Level::WARN).try_init();
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// Waits until the process is asked to end: SIGTERM, or control-C.
async fn ended() {
    let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
    let interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt());
    match (terminate, interrupt) {
        (Ok(mut terminate), Ok(mut interrupt)) => tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        },
        // Without signals the process can only be killed.
        _ => std::future::pending().await,
    }
}

/// Lines of two columns, the first one aligned.
#[derive(Debug, Default)]
struct Table(Vec<(String, String)>);

impl Table {
    fn row(&mut self, name: &str, value: impl Display) -> &mut Self {
        self.0.push((name.to_owned(), value.to_string()));
        self
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let width = self.0.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        self.0.iter().try_for_each(|(name, value)| writeln!(out, "{FAINT}{name:width$}{FAINT:#}  {value}"))
    }
}
