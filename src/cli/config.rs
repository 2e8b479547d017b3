//! `seb config` and `sab config`: checks a configuration without starting anything.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use super::{BAD, Exit, FAINT, Format, GOOD};
use crate::config::{ConfigError, InvalidConfig};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check a configuration file, and the files that it names: every error at once
    ///
    /// Exit status: 0 nothing is wrong, 1 something is (all of it is printed), 2 the file cannot be read.
    Check {
        /// The configuration file
        file: PathBuf,
    },
}

impl Command {
    /// Runs the command; `load` reads a configuration of the server that is meant.
    pub(super) fn run<T>(
        self,
        format: Format,
        out: &mut impl Write,
        load: impl FnOnce(&Path) -> Result<T, ConfigError>,
    ) -> anyhow::Result<Exit> {
        let Self::Check { file } = self;
        match load(&file) {
            Ok(_) => {
                match format {
                    Format::Json => writeln!(out, "{}", json!({ "valid": true, "problems": [] }))?,
                    Format::Text => writeln!(out, "{GOOD}valid{GOOD:#} {}", file.display())?,
                }
                Ok(Exit::Success)
            }
            Err(ConfigError::Invalid(invalid)) => {
                print(&invalid, format, out)?;
                Ok(Exit::Refused)
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn print(invalid: &InvalidConfig, format: Format, out: &mut impl Write) -> anyhow::Result<()> {
    if format == Format::Json {
        writeln!(out, "{}", json!({ "valid": false, "problems": invalid.problems() }))?;
        return Ok(());
    }
    for problem in invalid.problems() {
        let (file, line, column) = (invalid.file().display(), problem.line, problem.column);
        write!(out, "{FAINT}{file}:{line}:{column}:{FAINT:#} ")?;
        if !problem.key.is_empty() {
            write!(out, "{BAD}{}{BAD:#} ", problem.key)?;
        }
        write!(out, "{}", problem.what)?;
        match &problem.hint {
            Some(hint) => writeln!(out, "; {hint}")?,
            None => writeln!(out)?,
        }
    }
    let count = invalid.problems().len();
    writeln!(out, "{count} {} to mend", if count == 1 { "problem" } else { "problems" })?;
    Ok(())
}
