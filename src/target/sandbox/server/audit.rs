//! The audit log of the sandbox: who did what, one JSON object on each line, durable before anybody is answered.
//!
//! The state of the sandbox is the log's: it is read again when the sandbox starts. Lines are appended by one thread,
//! which makes all that wait durable together.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};

use super::store::{Change, Store};
use crate::contract::{Json, SandboxResource, decode};
use crate::decision::MutationId;
use crate::digest::Digest;
use crate::target::sandbox::wire::{Code, Refusal};
use crate::telemetry::{Causes, Shown, log};
use crate::timestamp::Timestamp;
use crate::tls::Peer;

/// How many lines may wait to be made durable.
const QUEUE: usize = 1024;

/// The longest line: an object, and what stands beside it.
const MAX_LINE: u64 = 256 * 1024;

/// The most octets of the log in one answer.
const MAX_PAGE: u64 = 1024 * 1024;

/// The audit log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file cannot be read or written.
    #[error("cannot use the audit log `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is not one of the log.
    #[error("the audit log `{path}` is damaged in line {line}: {problem}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
}

/// One line.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) time: Timestamp,
    /// The SPIFFE ID, and the serial number of the certificate.
    pub(super) identity: String,
    pub(super) serial: String,
    /// What was asked for: a verb, `read`, `outside`.
    pub(super) verb: String,
    /// `<collection>/<name>`, or the path that was asked for.
    pub(super) resource: String,
    /// `applied`, `rejected`, `repeated`, `reused`, `refused`, `outside`.
    pub(super) result: String,
    #[serde(default)]
    pub(super) mutation_id: Option<MutationId>,
    #[serde(default)]
    pub(super) call: Option<Digest>,
    #[serde(default)]
    pub(super) request: Option<Digest>,
    #[serde(default)]
    pub(super) error: Option<String>,
    #[serde(default)]
    pub(super) detail: Option<String>,
    #[serde(default)]
    pub(super) uid: Option<String>,
    #[serde(default)]
    pub(super) version: Option<String>,
    #[serde(default)]
    pub(super) object: Option<Json>,
}

impl Entry {
    /// A line of this peer.
    pub(super) fn new(peer: &Peer, time: Timestamp, verb: &str, resource: &str, result: &str) -> Self {
        Self {
            time,
            identity: peer.id().to_string(),
            serial: peer.serial().to_string(),
            verb: verb.to_owned(),
            resource: resource.chars().take(256).collect(),
            result: result.to_owned(),
            mutation_id: None,
            call: None,
            request: None,
            error: None,
            detail: None,
            uid: None,
            version: None,
            object: None,
        }
    }

    /// The same line, with why nothing was done.
    pub(super) fn with_refusal(mut self, refusal: &Refusal) -> Self {
        self.error = Some(refusal.code.as_str().to_owned());
        self.detail = Some(refusal.detail.clone());
        self
    }

    /// The same line, with what was done.
    pub(super) fn with_change(mut self, change: &Change) -> Self {
        self.uid = Some(change.uid.clone());
        self.version = Some(change.version.to_string());
        self.object = change.value.clone();
        self
    }

    fn to_json(&self) -> Json {
        let always = [
            ("time", Json::string(self.time)),
            ("identity", Json::from(self.identity.as_str())),
            ("serial", Json::from(self.serial.as_str())),
            ("verb", Json::from(self.verb.as_str())),
            ("resource", Json::from(self.resource.as_str())),
            ("result", Json::from(self.result.as_str())),
        ];
        let sometimes = [
            ("mutation_id", self.mutation_id.as_ref().map(Json::string)),
            ("call", self.call.map(Json::string)),
            ("request", self.request.map(Json::string)),
            ("error", self.error.as_deref().map(Json::from)),
            ("detail", self.detail.as_deref().map(Json::from)),
            ("uid", self.uid.as_deref().map(Json::from)),
            ("version", self.version.as_deref().map(Json::from)),
            ("object", self.object.clone()),
        ];
        let present = sometimes.into_iter().filter_map(|(name, value)| value.map(|value| (name, value)));
        Json::object(always.into_iter().chain(present))
    }

    /// Does again to the store what this line says.
    fn replay(self, store: &mut Store) -> Result<(), String> {
        store.advance(self.time);
        let missing = |what: &str| format!("there is no {what}");
        let change = |entry: &Self| -> Result<Change, String> {
            let version = entry.version.as_deref().and_then(|version| version.parse().ok());
            Ok(Change {
                uid: entry.uid.clone().ok_or_else(|| missing("uid"))?,
                version: version.ok_or_else(|| missing("version"))?,
                value: entry.object.clone(),
            })
        };
        let object = || {
            let (collection, name) = self.resource.split_once('/').ok_or_else(|| missing("object"))?;
            Ok::<_, String>(SandboxResource { collection: collection.to_owned(), name: name.to_owned() })
        };
        let result = match self.result.as_str() {
            "outside" => {
                store.put(&object()?, &change(&self)?);
                return Ok(());
            }
            "applied" => {
                let change = change(&self)?;
                store.put(&object()?, &change);
                Ok((change.uid, change.version))
            }
            "rejected" => {
                let code = self.error.as_deref().and_then(Code::read).ok_or_else(|| missing("error"))?;
                Err(Refusal::new(code, self.detail.clone().unwrap_or_default()))
            }
            "repeated" | "reused" | "refused" => return Ok(()),
            other => return Err(format!("there is no result `{other}`")),
        };
        let id = self.mutation_id.ok_or_else(|| missing("mutation id"))?;
        let request = self.request.ok_or_else(|| missing("request"))?;
        store.remember(id, request, result);
        Ok(())
    }
}

/// The audit log, open for appending.
#[derive(Debug)]
pub(super) struct Audit {
    path: PathBuf,
    queue: mpsc::Sender<Waiting>,
    durable: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Waiting {
    line: String,
    done: oneshot::Sender<()>,
}

/// A place in the queue. Lines stand in the log in the order in which places are taken up by [`Place::append`].
#[derive(Debug)]
pub(super) struct Place<'a>(mpsc::Permit<'a, Waiting>);

impl Place<'_> {
    /// Appends a line; the receiver tells when it is durable, and breaks if it will never be.
    pub(super) fn append(self, entry: &Entry) -> oneshot::Receiver<()> {
        let (done, receiver) = oneshot::channel();
        let mut line = entry.to_json().to_canonical();
        line.push('\n');
        self.0.send(Waiting { line, done });
        receiver
    }
}

impl Audit {
    /// Opens the log at `path`, which need not exist yet, and gives the state that it leads to. A last line that was not
    /// finished, of which nobody was told, is removed.
    pub(super) fn open(path: &Path) -> Result<(Self, Store), AuditError> {
        let failed = |source| AuditError::File { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).mode(0o600).open(path).map_err(failed)?;
        file.try_lock().map_err(|error| failed(error.into()))?;
        let mut store = Store::default();
        let whole = restore(path, &file, &mut store)?;
        file.set_len(whole).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        let (queue, lines) = mpsc::channel(QUEUE);
        let durable = Arc::new(AtomicU64::new(whole));
        let (log, end) = (path.to_owned(), Arc::clone(&durable));
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || {
                if let Err(error) = write(file, lines, &end) {
                    let (path, error) = (Shown(log.display()), Causes(&error));
                    log!(AuditUnwritable, %path, %error, "the audit log cannot be written: nothing is done any more");
                }
            })
            .map_err(failed)?;
        Ok((Self { path: path.to_owned(), queue, durable }, store))
    }

    /// Waits for a place in the queue. None once the log cannot be written any more.
    pub(super) async fn place(&self) -> Option<Place<'_>> {
        self.queue.reserve().await.ok().map(Place)
    }

    /// Whether the log cannot be written any more.
    pub(super) fn is_broken(&self) -> bool {
        self.queue.is_closed()
    }

    /// Lines from `offset` on that are durable, at most `limit` of them, and the offset after them.
    pub(super) fn page(&self, offset: u64, limit: usize) -> io::Result<(Vec<Json>, u64)> {
        let end = self.durable.load(Ordering::Acquire);
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(offset.min(end)))?;
        let mut reader = BufReader::new(file.take(end.saturating_sub(offset).min(MAX_PAGE)));
        let (mut lines, mut next) = (Vec::new(), offset.min(end));
        let mut line = Vec::new();
        while lines.len() < limit && reader.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
            next += u64::try_from(line.len()).map_err(io::Error::other)?;
            let json = Json::parse_within(line.trim_ascii_end(), usize::try_from(MAX_LINE).unwrap_or(usize::MAX));
            lines.push(json.map_err(io::Error::other)?);
            line.clear();
        }
        Ok((lines, next))
    }
}

/// Replays the log; gives the length of its whole lines.
fn restore(path: &Path, file: &File, store: &mut Store) -> Result<u64, AuditError> {
    let failed = |source| AuditError::File { path: path.to_owned(), source };
    let mut reader = BufReader::new(file);
    let (mut whole, mut number) = (0_u64, 0_usize);
    loop {
        let mut line = Vec::new();
        let read = (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line).map_err(failed)?;
        if !line.ends_with(b"\n") && u64::try_from(read).unwrap_or(u64::MAX) < MAX_LINE {
            return Ok(whole);
        }
        number += 1;
        let entry = Json::parse_within(line.trim_ascii_end(), line.len()).map_err(|error| error.to_string());
        let entry = entry
            .and_then(|json| decode::<Entry>(&json).map_err(|(pointer, message)| format!("`{pointer}`: {message}")));
        entry.and_then(|entry| entry.replay(store)).map_err(|problem| AuditError::Line {
            path: path.to_owned(),
            line: number,
            problem,
        })?;
        whole += u64::try_from(read).unwrap_or(0);
    }
}

/// Writes what waits, makes it durable, and says so; until nobody can append any more.
fn write(mut file: File, mut lines: mpsc::Receiver<Waiting>, durable: &AtomicU64) -> io::Result<()> {
    let mut batch = Vec::new();
    let mut octets = Vec::new();
    while lines.blocking_recv_many(&mut batch, QUEUE) > 0 {
        octets.clear();
        batch.iter().for_each(|waiting| octets.extend_from_slice(waiting.line.as_bytes()));
        file.write_all(&octets)?;
        file.sync_data()?;
        durable.fetch_add(u64::try_from(octets.len()).unwrap_or(0), Ordering::AcqRel);
        for waiting in batch.drain(..) {
            // Whoever asked may have gone away.
            let _ = waiting.done.send(());
        }
    }
    Ok(())
}
