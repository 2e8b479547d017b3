//! The configuration file of a sandbox.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use spiffe::SpiffeId;

use crate::contract::{Json, SandboxResource};
use crate::identity::Source;
use crate::identity::workload::{Socket, WorkloadApi};
use crate::spiffe_id::Text;

/// The longest configuration file, in octets.
const MAX_OCTETS: u64 = 1024 * 1024;

/// What a sandbox is started with: TOML. Paths are relative to the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The folder with the identity of the sandbox, and with the bundle of the execution CAs.
    identity: Option<PathBuf>,
    /// The socket of the SPIFFE Workload API, in place of the folder: `unix:` and a path. What the trust domain's own
    /// authority issued below the path of execution identities counts as one.
    workload_api: Option<Socket>,
    /// The SPIFFE ID of the sandbox, where the Workload API offers several.
    spiffe_id: Option<Text>,
    /// The audit log; it is created if it is not there, and holds the state.
    pub audit: PathBuf,
    /// The SPIFFE IDs that may read: broker and authority.
    readers: Vec<Text>,
    /// The SPIFFE IDs that may read the audit log and, with `--faults`, make the sandbox fail.
    #[serde(default)]
    admins: Vec<Text>,
    /// Objects to begin with, by collection and name.
    #[serde(default)]
    objects: BTreeMap<String, BTreeMap<String, Json>>,
}

/// A configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("`{path}` cannot be used")]
    Form {
        /// The file.
        path: PathBuf,
        /// Where, and what is wrong.
        source: toml::de::Error,
    },
}

impl Config {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// If it cannot be read, or holds something that is not known.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let failed = |source| ConfigError::File { path: path.to_owned(), source };
        let size = std::fs::metadata(path).map_err(failed)?.len();
        if size > MAX_OCTETS {
            return Err(failed(io::Error::other(format!("longer than {MAX_OCTETS} octets"))));
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        let mut config = Self::parse(&text).map_err(|source| ConfigError::Form { path: path.to_owned(), source })?;
        let base = path.parent().unwrap_or(Path::new(""));
        for path in config.identity.iter_mut().chain([&mut config.audit]) {
            *path = base.join(&path);
        }
        Ok(config)
    }

    /// Reads the text of such a file. Paths stay as they are written.
    ///
    /// # Errors
    /// Where it is not what it should be.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Where the identity of the sandbox comes from; `None` if it says neither or both.
    pub fn source(&self) -> Option<Source> {
        match (&self.identity, &self.workload_api) {
            (Some(folder), None) => Some(Source::Folder(folder.clone())),
            (None, Some(socket)) => {
                let id = self.spiffe_id.as_ref().map(|id| id.0.clone());
                Some(Source::WorkloadApi(WorkloadApi { socket: socket.clone(), id, hint: None }))
            }
            _ => None,
        }
    }

    /// Who may read.
    pub fn readers(&self) -> impl Iterator<Item = SpiffeId> {
        self.readers.iter().map(|id| id.0.clone())
    }

    /// Who may make it fail.
    pub fn admins(&self) -> impl Iterator<Item = SpiffeId> {
        self.admins.iter().map(|id| id.0.clone())
    }

    /// The objects to begin with.
    pub fn objects(&self) -> Vec<(SandboxResource, Json)> {
        let all = self.objects.iter().flat_map(|(collection, objects)| {
            objects.iter().map(|(name, value)| {
                (SandboxResource { collection: collection.clone(), name: name.clone() }, value.clone())
            })
        });
        all.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_documentation_is_one() {
        let page = include_str!("../../../../docs/sandbox.md");
        let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let config = Config::parse(example).unwrap();
        assert_eq!((config.readers().count(), config.admins().count(), config.objects().len()), (2, 1, 1));
        for (name, value) in config.objects() {
            super::super::schema::check(&name.collection, &value).unwrap();
        }
    }

    #[test]
    fn unknown_keys_and_ids_that_are_none_are_refused() {
        let good = "listen = \"127.0.0.1:0\"\nidentity = \"a\"\naudit = \"b\"\nreaders = []\n";
        assert_eq!(Config::parse(good).unwrap().readers().count(), 0);
        for bad in ["reader = []", "admins = [\"agent\"]", "admins = [\"spiffe://Example.org/a\"]", "objects = 1"] {
            assert!(Config::parse(&format!("{good}{bad}\n")).is_err(), "{bad}");
        }
        assert!(Config::parse("listen = \"127.0.0.1:0\"").is_err());
    }
}
