//! Configuration: documented TOML, read strictly, with every error at once.
//!
//! What must be true:
//!
//! - A configuration is complete before it exists: [`load`] gives one that holds no illegal value, or all that is wrong
//!   with the file, each with line, column, path of the key, what was expected and, where it helps, a hint.
//! - A key that nobody asks for is an error: a setting that is misspelt is never silently the default.
//! - No value of the file is repeated in an error, except numbers and durations: whatever was written in the wrong place,
//!   a secret too, stays in the file.
//! - The documentation of a key stands where the key is read, and its default is read by the same rule as what an
//!   operator writes ([`describe`]; `docs/configuration.md` is generated from it).
//!
//! A configuration is a function from a [`Table`] to a struct:
//!
//! ```
//! use seb::config::{self, Table, kind};
//!
//! struct Example { listen: std::net::SocketAddr, drain: std::time::Duration }
//!
//! fn read(table: &mut Table<'_>) -> Option<Example> {
//!     let listen = table.required("listen", kind::SocketAddress, "Where it listens.");
//!     let drain = table.default("drain", kind::duration("1ms", "1h"), "\"30s\"", "How long it drains.");
//!     Some(Example { listen: listen?, drain: drain? })
//! }
//!
//! let wrong = config::parse("lisen = 1\ndrain = \"2d\"", "x.toml", config::Files::Ignore, read).err().unwrap();
//! assert_eq!(wrong.problems().len(), 3);
//! assert_eq!(
//!     wrong.to_string(),
//!     "x.toml:1:1: `lisen`: there is no such key; did you mean `listen`?\n\
//!      x.toml:1:1: `listen`: is missing; expected an address and port, such as `127.0.0.1:8443`\n\
//!      x.toml:2:9: `drain`: expected a duration, such as `250ms` or `30s`, from 1ms to 1h; found 2d"
//! );
//! ```

mod aws;
pub mod broker;
mod bundles;
mod ceilings;
pub mod execution;
pub mod kind;
pub mod server;
mod table;
pub mod target;

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use toml::de::DeTable;

pub use kind::{Faults, Given, Kind};
pub use table::Table;

use table::Reader;

/// The largest configuration file: 1 MiB.
const MAX_OCTETS: u64 = 1024 * 1024;

/// The most problems that one error holds.
const MAX_PROBLEMS: usize = 100;

/// Whether the files that a configuration names have to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// They have to be, and are read where the configuration says what is in them.
    Check,
    /// Only their names are read.
    Ignore,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The path of the key, such as `grpc.limits.queue` or `targets[2].name`; empty for the file itself.
    pub key: String,
    /// What is wrong, and what was expected.
    pub what: String,
    /// What may help.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Everything that is wrong with a configuration, in the order of the file. Displays as one line for each problem:
/// `file:line:column: key: what; hint`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct InvalidConfig {
    file: PathBuf,
    problems: Vec<Problem>,
}

/// A configuration cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It was read, and is wrong.
    #[error(transparent)]
    Invalid(#[from] InvalidConfig),
}

/// What is said of one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyDoc {
    /// Its path; `[]` stands for each of a list and `*` for a name that the operator chooses.
    pub key: String,
    /// What it expects; empty for a table.
    pub expects: String,
    /// Its default, as TOML.
    pub default: Presence,
    /// What it means.
    pub meaning: String,
}

/// What it means that a key is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// An error.
    Required,
    /// What its meaning says.
    Optional,
    /// This value, as TOML.
    Default(String),
}

/// Reads the configuration in the file `path`; paths in it are relative to its folder. The files that it names have to be
/// there.
///
/// # Errors
/// If the file cannot be read, or anything is wrong with what it says.
pub fn load<T>(path: &Path, read: impl FnOnce(&mut Table<'_>) -> Option<T>) -> Result<T, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let mut octets = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MAX_OCTETS + 1).read_to_end(&mut octets).map_err(unreadable)?;
    let whole = |what: &str| InvalidConfig::new(path, vec![Problem::whole(what)]);
    if u64::try_from(octets.len()).unwrap_or(u64::MAX) > MAX_OCTETS {
        return Err(whole("the file is larger than 1 MiB").into());
    }
    let text = String::from_utf8(octets).map_err(|_| whole("the file is not UTF-8 text"))?;
    Ok(parse(&text, path, Files::Check, read)?)
}

/// Reads a configuration from its text; `file` is what errors call it, and its folder is what paths are relative to.
///
/// # Errors
/// If anything is wrong with it.
pub fn parse<T>(
    text: &str,
    file: impl AsRef<Path>,
    files: Files,
    read: impl FnOnce(&mut Table<'_>) -> Option<T>,
) -> Result<T, InvalidConfig> {
    let file = file.as_ref();
    let (document, faults) = DeTable::parse_recoverable(text);
    let reader = Reader::new(text, file, files);
    for fault in faults {
        // Its message names what was expected; its display would repeat the line.
        reader.problem(fault.span().unwrap_or(0..0), "", format!("not TOML: {}", plain(fault.message())), None);
    }
    // What does not parse is not judged: half of a file would give errors that are none.
    let value = if reader.is_sound() { reader.root(document, read) } else { None };
    let problems = reader.into_problems();
    match value {
        Some(value) if problems.is_empty() => Ok(value),
        _ => Err(InvalidConfig::new(file, problems)),
    }
}

/// What the configuration that `read` reads consists of, in the order of reading.
pub fn describe<T>(read: impl FnOnce(&mut Table<'_>) -> Option<T>) -> Vec<KeyDoc> {
    let reader = Reader::describing();
    reader.root(DeTable::parse_recoverable("").0, read);
    reader.into_keys()
}

/// One line, of printable characters.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}

impl Problem {
    fn whole(what: &str) -> Self {
        Self { line: 1, column: 1, key: String::new(), what: what.to_owned(), hint: None }
    }
}

impl InvalidConfig {
    fn new(file: &Path, mut problems: Vec<Problem>) -> Self {
        problems.sort();
        problems.dedup();
        if problems.is_empty() {
            // A reader gave no value, and no reason.
            problems.push(Problem::whole("the configuration was not read"));
        }
        if let Some(more) = problems.len().checked_sub(MAX_PROBLEMS).filter(|more| *more > 0) {
            problems.truncate(MAX_PROBLEMS);
            problems.extend(problems.last().map(|last| Problem {
                line: last.line,
                column: last.column,
                ..Problem::whole(&format!("{more} more problems follow"))
            }));
        }
        Self { file: file.to_owned(), problems }
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What is wrong: at least one problem.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:{problem}", self.file.display())?;
        }
        Ok(())
    }
}

/// `line:column: key: what; hint`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "`{}`: ", self.key)?;
        }
        f.write_str(&self.what)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
