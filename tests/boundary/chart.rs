//! The chart, rendered by helm.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::testbed::program;

/// Where the chart is.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("helm/seb")
}

/// A file with values, of `tests/boundary/values`.
pub fn values(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/boundary/values").join(format!("{name}.yaml"))
}

/// Runs helm with these words, away from anybody's settings; what it says.
pub fn helm(home: &Path, words: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program("helm", "helm"));
    command.args(words).env("HOME", home).env_remove("KUBECONFIG");
    for variable in ["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
        command.env(variable, home);
    }
    let output = command.output().unwrap();
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// Renders the chart with these values, and more of the form `key=value`.
pub fn render(home: &Path, name: &str, more: &[&str]) -> Result<String, String> {
    let (folder, values) = (folder(), values(name));
    let mut words = vec!["template", "seb", folder.to_str().unwrap(), "--namespace", "seb-system"];
    words.extend(["--kube-version", "1.36.3", "--values", values.to_str().unwrap()]);
    for set in more {
        words.extend(["--set-json", set]);
    }
    helm(home, &words)
}

/// The file `name` that a ConfigMap of `rendered` holds.
pub fn file(rendered: &str, name: &str) -> String {
    let key = format!("  {name}: |");
    let mut lines = rendered.lines().skip_while(|line| *line != key && *line != format!("{key}-"));
    assert!(lines.next().is_some(), "no ConfigMap holds `{name}`");
    let body = lines.take_while(|line| line.trim().is_empty() || line.starts_with("    "));
    body.map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or_default())).collect()
}
