//! Reading a policy set, and everything that can be wrong with one.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use cedar_policy::{Effect, Policy, PolicyId, PolicySet, Schema, ValidationMode, Validator};
use miette::Diagnostic;

use super::{Policies, SCHEMA, Sets};
use crate::attribute_certificate::Tier;
use crate::digest::Digest;

/// The most octets of one file.
const MAX_FILE: u64 = 256 * 1024;
/// The most octets of all files.
const MAX_SET: usize = 4 * 1024 * 1024;
/// The most files.
const MAX_FILES: usize = 64;
/// The annotations that mean something.
const ANNOTATIONS: [&str; 4] = ["id", "effect", "tier", "message"];

/// The texts of a policy set, by file name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyFiles(BTreeMap<String, String>);

/// A folder with policies could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The operating system refused.
    #[error("cannot read `{}`", path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A bound is exceeded, or a name or content is no text.
    #[error("`{}` {problem}", path.display())]
    Content {
        /// What.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// Something that is wrong with a policy set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The file.
    pub file: String,
    /// The line, from 1; 0 where it is not about one.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message),
            line => write!(f, "{}:{line}: {}", self.file, self.message),
        }
    }
}

impl PolicyFiles {
    /// The files `*.cedar` of a folder, which is not searched deeper.
    ///
    /// # Errors
    /// A file cannot be read, is no text or too large, or there are too many.
    pub fn read(folder: &Path) -> Result<Self, Unreadable> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| Unreadable::Io { path, source }
        };
        let content = |path: &Path, problem: &str| Unreadable::Content { path: path.into(), problem: problem.into() };
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(folder).map_err(io(folder))? {
            let path = entry.map_err(io(folder))?.path();
            if path.extension().is_none_or(|extension| extension != "cedar") {
                continue;
            }
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .ok_or_else(|| content(&path, "has no name in UTF-8"))?;
            let mut text = String::new();
            let file = File::open(&path).map_err(io(&path))?;
            file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(io(&path))?;
            if u64::try_from(text.len()).unwrap_or(u64::MAX) > MAX_FILE {
                return Err(content(&path, "is larger than 256 KiB"));
            }
            files.insert(name.to_owned(), text);
            if files.len() > MAX_FILES || files.values().map(String::len).sum::<usize>() > MAX_SET {
                return Err(content(folder, "holds more than 64 policy files, or 4 MiB"));
            }
        }
        Ok(Self(files))
    }

    /// Files that are in memory already.
    pub fn new<N: Into<String>, T: Into<String>>(files: impl IntoIterator<Item = (N, T)>) -> Self {
        Self(files.into_iter().map(|(name, text)| (name.into(), text.into())).collect())
    }

    /// The names and texts, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// The schema and the files, as JSON: what a record keeps of them.
    pub fn to_json(&self) -> String {
        let files: BTreeMap<&str, &str> = self.iter().collect();
        serde_json::json!({ "schema": SCHEMA, "files": files }).to_string()
    }

    /// What [`Self::to_json`] wrote.
    ///
    /// # Errors
    /// It is something else, or of another schema than this program's: only the version that decided derives it again.
    pub fn from_json(octets: &[u8]) -> Result<Self, String> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Wire {
            schema: String,
            files: BTreeMap<String, String>,
        }
        let wire: Wire = serde_json::from_slice(octets).map_err(|error| error.to_string())?;
        if wire.schema != SCHEMA {
            return Err("the schema is another than this program's: use the version that decided".to_owned());
        }
        Ok(Self(wire.files))
    }

    /// The SHA-256 of the schema and of every file by name and content.
    pub fn digest(&self) -> Digest {
        let mut parts: Vec<&[u8]> = vec![b"seb policies v1", SCHEMA.as_bytes()];
        for (name, text) in &self.0 {
            parts.extend([name.as_bytes(), text.as_bytes()]);
        }
        Digest::of_parts(&parts)
    }

    /// The policies, if nothing is wrong with any of them.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the files.
    pub fn load(&self) -> Result<Policies, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut placed: BTreeMap<String, (Policy, String, usize)> = BTreeMap::new();
        for (file, text) in &self.0 {
            for (policy, line) in parse(file, text, &mut faults) {
                let fault = |message: String| Fault { file: file.clone(), line, message };
                match annotations(&policy) {
                    Err(message) => faults.push(fault(message)),
                    Ok(id) => {
                        let renamed = policy.new_id(PolicyId::new(id));
                        if placed.insert(id.to_owned(), (renamed, file.clone(), line)).is_some() {
                            faults.push(fault(format!("another policy has the id `{id}`")));
                        }
                    }
                }
            }
        }
        let everywhere = |message: String| vec![Fault { file: "schema.cedarschema".to_owned(), line: 0, message }];
        let schema = Schema::from_cedarschema_str(SCHEMA).map_err(|error| everywhere(error.to_string()))?.0;
        let set = |permits_only: bool| {
            let policies = placed.values().map(|(policy, _, _)| policy.clone());
            let kept = policies.filter(|policy| !permits_only || policy.effect() == Effect::Permit);
            PolicySet::from_policies(kept).map_err(|error| everywhere(error.to_string()))
        };
        let all = set(false)?;
        let result = Validator::new(schema.clone()).validate(&all, ValidationMode::Strict);
        let errors = result.validation_errors().map(|error| (error.policy_id(), error.to_string()));
        let warnings = result.validation_warnings().map(|warning| (warning.policy_id(), warning.to_string()));
        for (id, message) in errors.chain(warnings) {
            let (file, line) = placed
                .get(AsRef::<str>::as_ref(id))
                .map_or((String::new(), 0), |(_, file, line)| (file.clone(), *line));
            faults.push(Fault { file, line, message });
        }
        if !faults.is_empty() {
            faults.sort();
            return Err(faults);
        }
        if all.is_empty() {
            return Err(vec![Fault { file: "*.cedar".to_owned(), line: 0, message: "there is no policy".to_owned() }]);
        }
        Ok(Policies { digest: self.digest(), sets: Some(Sets { schema, permits: set(true)?, all }) })
    }
}

/// The policies of one file, each with its line.
fn parse(file: &str, text: &str, faults: &mut Vec<Fault>) -> Vec<(Policy, usize)> {
    let set: PolicySet = match text.parse() {
        Ok(set) => set,
        Err(errors) => {
            let errors: &cedar_policy::ParseErrors = &errors;
            faults.extend(errors.iter().map(|error| {
                let offset = error.labels().and_then(|mut labels| labels.next()).map(|label| label.offset());
                let line = offset.map_or(0, |offset| line_at(text, offset));
                Fault { file: file.to_owned(), line, message: error.to_string() }
            }));
            return Vec::new();
        }
    };
    for template in set.templates() {
        let message = format!("`{}` is a template: write policies without `?principal` and `?resource`", template.id());
        faults.push(Fault { file: file.to_owned(), line: 0, message });
    }
    // Cedar numbers them in the order of the text.
    let number = |policy: &Policy| AsRef::<str>::as_ref(policy.id()).strip_prefix("policy")?.parse::<usize>().ok();
    let mut policies: Vec<Policy> = set.policies().cloned().collect();
    policies.sort_by_key(number);
    let mut searched = 0;
    let place = |policy: Policy| {
        let source = policy.to_string();
        let found = text.get(searched..).and_then(|rest| rest.find(&source)).map(|at| at.saturating_add(searched));
        searched = found.map_or(searched, |at| at.saturating_add(source.len()));
        let line = found.map_or(0, |at| line_at(text, at));
        (policy, line)
    };
    policies.into_iter().map(place).collect()
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|octet| *octet == b'\n').count().saturating_add(1)
}

/// The tier of this name.
pub(super) fn tier(name: &str) -> Option<Tier> {
    match name {
        "low" => Some(Tier::Low),
        "moderate" => Some(Tier::Moderate),
        "high" => Some(Tier::High),
        "critical" => Some(Tier::Critical),
        _ => None,
    }
}

/// Checks the annotations of a policy; its id.
fn annotations(policy: &Policy) -> Result<&str, String> {
    if let Some((unknown, _)) = policy.annotations().find(|(name, _)| !ANNOTATIONS.contains(name)) {
        return Err(format!("`@{unknown}` is no annotation: expected `@id`, `@effect`, `@tier` or `@message`"));
    }
    let id = policy.annotation("id").unwrap_or_default();
    if !(1..=64).contains(&id.len()) || !id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return Err("needs `@id(\"...\")` of 1 to 64 lower-case letters, digits and dashes".to_owned());
    }
    let approval = policy.annotation("effect");
    if approval.is_some_and(|effect| effect != "approval" || policy.effect() == Effect::Permit) {
        return Err(format!("`{id}`: `@effect` can only be `approval`, and only stand on a `forbid`"));
    }
    let tiered = policy.effect() == Effect::Permit || approval.is_some();
    match policy.annotation("tier") {
        Some(name) if tiered && tier(name).is_none() => {
            return Err(format!("`{id}`: `@tier` must be `low`, `moderate`, `high` or `critical`"));
        }
        None if tiered => return Err(format!("`{id}` needs `@tier`: how much harm can come of it?")),
        Some(_) if !tiered => return Err(format!("`{id}` refuses, and so has no `@tier`")),
        _ => {}
    }
    let message = policy.annotation("message").map(str::len);
    match (policy.effect(), message) {
        (Effect::Forbid, Some(1..=500)) | (Effect::Permit, None) => Ok(id),
        (Effect::Forbid, _) => Err(format!("`{id}` needs `@message` of 1 to 500 octets: agents and people read it")),
        (Effect::Permit, Some(_)) => Err(format!("`{id}` permits, and so has no `@message`")),
    }
}
