//! `--version` and `version`: what a binary was built from, and by what.

use std::io::Write;
use std::sync::LazyLock;

use serde_json::json;

use super::{Exit, Format, Table};
use crate::timestamp::Timestamp;

/// The facts, as the build noted them; empty where it did not know.
const COMMIT: &str = env!("SEB_BUILD_COMMIT");
const RUSTC: &str = env!("SEB_BUILD_RUSTC");
const TARGET: &str = env!("SEB_BUILD_TARGET");
const PROFILE: &str = env!("SEB_BUILD_PROFILE");
const TLS: &str = env!("SEB_BUILD_TLS");
const CRYPTO: &str = env!("SEB_BUILD_CRYPTO");
const EPOCH: &str = env!("SEB_BUILD_EPOCH");

/// What `-V` prints after the name.
pub(super) const SHORT: &str = env!("CARGO_PKG_VERSION");

/// What `--version` prints after the name.
pub(super) static LONG: LazyLock<String> = LazyLock::new(|| {
    let facts = facts().into_iter().map(|(name, value)| format!("\n{name:8} {value}"));
    format!("{SHORT}{}", facts.collect::<String>())
});

/// Prints the facts.
pub(super) fn print(name: &str, format: Format, out: &mut impl Write) -> anyhow::Result<Exit> {
    match format {
        Format::Json => {
            let known = |fact: &'static str| Some(fact).filter(|fact| !fact.is_empty());
            let document = json!({
                "name": name,
                "version": SHORT,
                "commit": known(COMMIT).and_then(|commit| commit.split(' ').next()),
                "changed": known(COMMIT).map(|commit| commit.contains(' ')),
                "rustc": known(RUSTC),
                "target": known(TARGET),
                "profile": known(PROFILE),
                "tls": known(TLS),
                "crypto": known(CRYPTO),
                "built": built(),
            });
            writeln!(out, "{document}")?;
        }
        Format::Text => {
            let mut table = Table::default();
            table.row(name, SHORT);
            for (name, value) in facts() {
                table.row(name, value);
            }
            table.print(out)?;
        }
    }
    Ok(Exit::Success)
}

fn facts() -> Vec<(&'static str, String)> {
    let commit = match (COMMIT, PROFILE) {
        ("", "release") => "not known: not built from a checkout",
        ("", _) => "not noted: not a release build",
        (commit, _) => commit,
    };
    let mut facts = vec![("commit", commit), ("rustc", RUSTC), ("target", TARGET), ("profile", PROFILE)];
    facts.extend([("tls", TLS), ("crypto", CRYPTO)]);
    let mut facts: Vec<_> = facts.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
    facts.extend(built().map(|built| ("built", built)));
    facts
}

/// When it was built, where whoever built it said so.
fn built() -> Option<String> {
    let seconds = EPOCH.parse().ok()?;
    Some(Timestamp::from_seconds(seconds).ok()?.to_string())
}
