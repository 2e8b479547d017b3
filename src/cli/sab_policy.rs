//! `sab policy`: looks at policy sets, without a server.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Subcommand;
use serde_json::json;

use super::{BAD, Exit, FAINT, Format, GOOD, read_text};
use crate::sab::policy::{PolicyFiles, SCHEMA, table};

/// How large a table of tests can be, in octets.
const MAX_TABLE: u64 = 1024 * 1024;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Validate the policies of a folder, and run its own tests
    Check {
        /// The folder with `*.cedar`, and with `tests.yaml` if it has tests
        folder: PathBuf,
    },
    /// Print the schema that policies are validated against
    Schema,
}

impl Command {
    pub(super) fn run(self, format: Format, out: &mut impl Write) -> anyhow::Result<Exit> {
        let folder = match self {
            Self::Schema => {
                match format {
                    Format::Text => out.write_all(SCHEMA.as_bytes())?,
                    Format::Json => writeln!(out, "{}", json!({ "schema": SCHEMA }))?,
                }
                return Ok(Exit::Success);
            }
            Self::Check { folder } => folder,
        };
        let files = PolicyFiles::read(&folder)?;
        let policies = match files.load() {
            Ok(policies) => policies,
            Err(faults) => {
                let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
                match format {
                    Format::Json => writeln!(out, "{}", json!({ "valid": false, "faults": texts }))?,
                    Format::Text => texts.iter().try_for_each(|text| writeln!(out, "{BAD}wrong{BAD:#}  {text}"))?,
                }
                return Ok(Exit::Refused);
            }
        };
        let tests = folder.join("tests.yaml");
        let outcomes = match tests.exists() {
            false => Vec::new(),
            true => table::run(&policies, &read_text(&tests, MAX_TABLE)?)
                .with_context(|| format!("cannot use `{}`", tests.display()))?,
        };
        let failed = outcomes.iter().filter(|outcome| outcome.difference.is_some()).count();
        let digest = policies.digest();
        match format {
            Format::Json => {
                let cases: Vec<_> = outcomes
                    .iter()
                    .map(|outcome| json!({ "name": outcome.name, "difference": outcome.difference }))
                    .collect();
                writeln!(out, "{}", json!({ "valid": true, "digest": digest, "failed": failed, "cases": cases }))?;
            }
            Format::Text => {
                for outcome in &outcomes {
                    match &outcome.difference {
                        None => writeln!(out, "{GOOD}holds{GOOD:#}  {}", outcome.name)?,
                        Some(difference) => writeln!(out, "{BAD}fails{BAD:#}  {}: {difference}", outcome.name)?,
                    }
                }
                let tested = match outcomes.len() {
                    0 => "no tests: add `tests.yaml`".to_owned(),
                    count => format!("{} of {count} tests hold", count - failed),
                };
                writeln!(out, "valid; {tested}  {FAINT}{digest}{FAINT:#}")?;
            }
        }
        Ok(if failed == 0 { Exit::Success } else { Exit::Refused })
    }
}
