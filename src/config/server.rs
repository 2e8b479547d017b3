//! The sections that every server has.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::kind::{self, HostPort, Id, Integer, OneOf, PathTo, SocketAddress};
use super::{Files, Table};
use crate::grpc::access::IdPattern;
use crate::identity::workload::{Socket, WorkloadApi};
use crate::identity::{Source, folder};
use crate::telemetry::Causes;

/// `[identity]`: who the process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityConfig {
    /// Where its identity comes from.
    pub source: Source,
}

/// `[grpc]`: the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// How long calls in flight may go on once the process is asked to end.
    pub drain: Duration,
    /// How much it takes on.
    pub limits: GrpcLimits,
}

/// `[grpc.limits]`: how much a server takes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcLimits {
    /// The most connections at one time.
    pub connections: usize,
    /// The most handshakes at one time.
    pub handshakes: usize,
    /// The longest handshake.
    pub handshake_timeout: Duration,
    /// The most requests that are worked on at one time.
    pub requests: usize,
    /// The most of them of one peer.
    pub requests_per_peer: usize,
    /// The most requests that wait.
    pub queue: usize,
    /// The most of them of one peer.
    pub queue_per_peer: usize,
    /// The most open streams of answers (watching, following).
    pub streams: usize,
    /// The most of them of one peer.
    pub streams_per_peer: usize,
    /// The deadline of a request that names none.
    pub default_deadline: Duration,
    /// The longest deadline that counts.
    pub max_deadline: Duration,
    /// The largest message that is read.
    pub message_octets: usize,
    /// The largest list of header fields of a request.
    pub header_octets: usize,
    /// The most HTTP/2 streams of one connection.
    pub http2_streams: u32,
    /// How often a silent connection is asked for a sign of life.
    pub keepalive: Duration,
}

/// `[http]`: metrics and health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// Where it listens, in clear text.
    pub listen: SocketAddr,
}

/// `[log]`: what is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// The form of a line.
    pub format: LogFormat,
    /// The least important level that is logged.
    pub level: LogLevel,
}

/// `[telemetry]`: where traces go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelemetryConfig {
    /// Where spans are sent; none, and they are not.
    pub collector: Option<Collector>,
    /// Of how many in 1000 traces that begin here spans are sent.
    pub sampled: u32,
    /// What tells this process from others of its kind.
    pub instance: Option<String>,
}

/// An OpenTelemetry collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector {
    /// Its OTLP endpoint for gRPC.
    pub address: HostPort,
    /// The CA certificates of its certificate; none, and it is spoken to in clear text.
    pub anchors: Option<PathBuf>,
}

/// The form of a line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For reading, coloured on a terminal only.
    Text,
    /// One JSON object on each line.
    Json,
}

/// How important an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something has to be mended.
    Error,
    /// Something may have to be mended.
    Warn,
    /// What the process does.
    Info,
    /// What every request does.
    Debug,
    /// More than that.
    Trace,
}

impl IdentityConfig {
    /// Reads `[identity]`. With [`Files::Check`] a folder must hold a usable identity; an agent is not asked.
    pub fn read(table: &mut Table<'_>) -> Option<Self> {
        let sources = OneOf(&[("folder", true), ("workload-api", false)]);
        let meaning =
            "Where the process's own SVID and trust bundles come from: files in a folder, or the SPIFFE Workload API.";
        let from_folder = table.default("source", sources, "\"folder\"", meaning);
        let meaning = "The folder with the process's own `svid.pem`, `key.pem` and `bundle.pem`; it is read again when it changes. For the source `folder`, which must have it.";
        let folder = table.optional("folder", PathTo::Folder, meaning);
        let socket = kind::text::<Socket>("the address of a Unix socket, such as `unix:/run/spire/agent.sock`");
        let meaning = "The socket of the SPIFFE Workload API. For the source `workload-api`, which must have it.";
        let socket = table.optional("socket", socket, meaning);
        let meaning = "The SPIFFE ID of the process, where the Workload API offers several; with one that it does not offer the process does not start.";
        let id = table.optional("spiffe_id", Id, meaning);
        let meaning = "The hint of the process's registration entry, where the Workload API offers several SVIDs.";
        let hint = table.optional("hint", kind::text::<Hint>("a text of 1 to 256 visible characters"), meaning);
        let (from_folder, folder, socket, id, hint) = (from_folder?, folder?, socket?, id?, hint?);
        let (one, other) = if from_folder { ("folder", "workload-api") } else { ("workload-api", "folder") };
        let foreign = match from_folder {
            true => [("socket", socket.is_some()), ("spiffe_id", id.is_some()), ("hint", hint.is_some())],
            false => [("folder", folder.is_some()), ("", false), ("", false)],
        };
        for (name, _) in foreign.iter().filter(|(_, there)| *there) {
            table.refuse::<()>(name, format_args!("is for the source `{other}`, and the source is `{one}`"), None);
        }
        if foreign.iter().any(|(_, there)| *there) {
            return None;
        }
        match (from_folder, folder, socket) {
            (true, Some(folder), _) => usable(table, &folder).then_some(Self { source: Source::Folder(folder) }),
            (true, None, _) => table.refuse("folder", "is missing; expected the path of a folder", None),
            (false, _, Some(socket)) => {
                let hint = hint.map(|hint| hint.0);
                Some(Self { source: Source::WorkloadApi(WorkloadApi { socket, id, hint }) })
            }
            (false, _, None) => table.refuse("socket", "is missing; expected the address of a Unix socket", None),
        }
    }

    /// The folder, if it is one.
    pub fn folder(&self) -> Option<&Path> {
        match &self.source {
            Source::Folder(folder) => Some(folder),
            Source::WorkloadApi(_) => None,
        }
    }
}

/// Whether the folder holds a usable identity, where files are looked at.
fn usable(table: &Table<'_>, folder: &Path) -> bool {
    if table.files() == Files::Check
        && let Err(error) = folder::read(folder)
    {
        table.refuse::<()>("folder", format_args!("it holds no usable identity: {}", Causes(&error)), None);
        return false;
    }
    true
}

/// The hint of a registration entry.
struct Hint(String);

impl std::str::FromStr for Hint {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let good = (1..=256).contains(&text.len()) && !text.chars().any(char::is_control);
        if good { Ok(Self(text.to_owned())) } else { Err(()) }
    }
}

impl GrpcConfig {
    /// Reads `[grpc]`; `listen` is the default address, as TOML.
    pub fn read(table: &mut Table<'_>, listen: &str) -> Option<Self> {
        let listen = table.default("listen", SocketAddress, listen, "Where the gRPC API listens; mutual TLS only.");
        let meaning = "How long calls in flight may go on once the process is asked to end.";
        let drain = table.default("drain", kind::duration("0s", "10m"), "\"30s\"", meaning);
        let limits =
            table.table("limits", "How much the API takes on. What is more waits or is shed.", GrpcLimits::read);
        Some(Self { listen: listen?, drain: drain?, limits: limits? })
    }
}

impl GrpcLimits {
    fn read(table: &mut Table<'_>) -> Option<Self> {
        let mut count = |name: &str, max: u32, default: &str, meaning: &str| {
            table.default(name, Integer(1..=max), default, meaning).and_then(|count| usize::try_from(count).ok())
        };
        let connections = count("connections", 65_536, "1024", "The most connections at one time.");
        let handshakes = count("handshakes", 4096, "128", "The most handshakes at one time.");
        let requests = count("requests", 65_536, "256", "The most requests that are worked on at one time.");
        let requests_per_peer = count("requests_per_peer", 65_536, "64", "The most of them of one peer.");
        let queue =
            count("queue", 65_536, "1024", "The most requests that wait for their turn; further ones are shed.");
        let queue_per_peer = count("queue_per_peer", 65_536, "128", "The most of them of one peer.");
        let streams = count("streams", 65_536, "256", "The most open streams of answers (watching, following).");
        let streams_per_peer = count("streams_per_peer", 65_536, "16", "The most of them of one peer.");
        let http2_streams =
            table.default("http2_streams", Integer(1..=65_536), "256", "The most HTTP/2 streams of one connection.");
        let mut time = |name: &str, min, max, default: &str, meaning: &str| {
            table.default(name, kind::duration(min, max), default, meaning)
        };
        let handshake_timeout =
            time("handshake_timeout", "100ms", "1m", "\"5s\"", "The longest that a handshake may take.");
        let default_deadline =
            time("default_deadline", "10ms", "10m", "\"30s\"", "The deadline of a request that names none.");
        let max_deadline = time(
            "max_deadline",
            "10ms",
            "10m",
            "\"60s\"",
            "The longest deadline; a request that names a longer one has this.",
        );
        let keepalive =
            time("keepalive", "1s", "10m", "\"30s\"", "How often a silent connection is asked for a sign of life.");
        let message_octets = table.default(
            "message_octets",
            kind::octets("64KiB", "64MiB"),
            "\"6MiB\"",
            "The largest message that is read.",
        );
        let header_octets = table.default(
            "header_octets",
            kind::octets("4KiB", "256KiB"),
            "\"16KiB\"",
            "The largest list of header fields of a request.",
        );
        if let (Some(default), Some(max)) = (default_deadline, max_deadline)
            && default > max
        {
            return table.refuse("default_deadline", "is longer than `max_deadline`", None);
        }
        Some(Self {
            connections: connections?,
            handshakes: handshakes?,
            handshake_timeout: handshake_timeout?,
            requests: requests?,
            requests_per_peer: requests_per_peer?,
            queue: queue?,
            queue_per_peer: queue_per_peer?,
            streams: streams?,
            streams_per_peer: streams_per_peer?,
            default_deadline: default_deadline?,
            max_deadline: max_deadline?,
            message_octets: message_octets?,
            header_octets: header_octets?,
            http2_streams: http2_streams?,
            keepalive: keepalive?,
        })
    }
}

impl Default for GrpcLimits {
    /// What is in force where the file says nothing.
    fn default() -> Self {
        Self {
            connections: 1024,
            handshakes: 128,
            handshake_timeout: Duration::from_secs(5),
            requests: 256,
            requests_per_peer: 64,
            queue: 1024,
            queue_per_peer: 128,
            streams: 256,
            streams_per_peer: 16,
            default_deadline: Duration::from_secs(30),
            max_deadline: Duration::from_secs(60),
            message_octets: 6 * 1024 * 1024,
            header_octets: 16 * 1024,
            http2_streams: 256,
            keepalive: Duration::from_secs(30),
        }
    }
}

impl HttpConfig {
    /// Reads `[http]`; `listen` is the default address, as TOML.
    pub fn read(table: &mut Table<'_>, listen: &str) -> Option<Self> {
        let meaning = "Where `/metrics`, `/livez` and `/readyz` listen, in clear text and for anybody: keep it off public networks.";
        Some(Self { listen: table.default("listen", SocketAddress, listen, meaning)? })
    }
}

impl TelemetryConfig {
    /// What the section is for.
    pub const MEANING: &str = "Traces, for an OpenTelemetry collector; left out, none are exported.";

    /// Reads `[telemetry]`.
    pub fn read(table: &mut Table<'_>) -> Option<Self> {
        let meaning = "The collector's OTLP endpoint for gRPC; left out, nothing is exported.";
        let otlp = table.optional("otlp", kind::host_port(), meaning);
        let meaning = "The CA certificates, in PEM, by which the collector's certificate is verified, with its host name; left out, it is spoken to in clear text, which only this machine's own may be.";
        let ca = table.optional("otlp_ca", PathTo::File, meaning);
        let meaning = "Of how many in 1000 traces that begin here spans are exported; of a trace that the caller began, its `traceparent` says so.";
        let sampled = table.default("sampled", Integer(0..=1000), "1000", meaning);
        let meaning = "What tells this process from others of its kind: `service.instance.id`.";
        let expects = "1 to 128 printable ASCII characters without space";
        let instance = table.optional("instance", kind::text::<Instance>(expects), meaning);
        let collector = match (otlp?, ca?) {
            (Some(address), anchors) => {
                if anchors.is_none() && !is_local(&address) {
                    let hint = "name its CA certificates with `otlp_ca`, or run a collector on this machine";
                    return table.refuse(
                        "otlp",
                        "is another machine, and would be spoken to in clear text",
                        Some(hint),
                    );
                }
                Some(Collector { address, anchors })
            }
            (None, Some(_)) => return table.refuse("otlp_ca", "is of no use without `otlp`", None),
            (None, None) => None,
        };
        Some(Self { collector, sampled: sampled?, instance: instance?.map(|instance| instance.0) })
    }
}

/// Whether an address is this machine's own, whatever anybody else says.
fn is_local(address: &HostPort) -> bool {
    let host = address.as_str().rsplit_once(':').map_or("", |(host, _)| host).trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether what is kept secret in `path` is its owner's alone, if it is there already. Notes what is not, and how to mend it.
pub(crate) fn is_private(table: &Table<'_>, key: &str, path: &Path, kind: Secret) -> bool {
    if table.files() == Files::Ignore {
        return true;
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = Some((folder, "700")).filter(|_| kind == Secret::FileAndFolder);
    let mut exposed = folder.into_iter().chain([(path, "600")]).filter_map(|(path, should)| {
        let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
        (mode & 0o077 != 0).then_some((path, mode, should))
    });
    let Some((path, mode, should)) = exposed.next() else { return true };
    let path = path.display();
    let what = format!("`{path}` has mode {mode:03o}, so that others can reach it");
    table.refuse::<()>(key, what, Some(&format!("run `chmod {should} {path}`")));
    false
}

/// What has to be its owner's alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secret {
    /// The file.
    File,
    /// The file, and the folder that it is in.
    FileAndFolder,
}

/// The name of one process among others.
struct Instance(String);

impl std::str::FromStr for Instance {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let good = (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if good { Ok(Self(text.to_owned())) } else { Err(()) }
    }
}

impl LogConfig {
    /// Reads `[log]`.
    pub fn read(table: &mut Table<'_>) -> Option<Self> {
        let formats = OneOf(&[("text", LogFormat::Text), ("json", LogFormat::Json)]);
        let format = table.default("format", formats, "\"text\"", "The form of a line of the log, on standard error.");
        let levels = OneOf(&[
            ("error", LogLevel::Error),
            ("warn", LogLevel::Warn),
            ("info", LogLevel::Info),
            ("debug", LogLevel::Debug),
            ("trace", LogLevel::Trace),
        ]);
        let level = table.default("level", levels, "\"info\"", "The least important level that is logged.");
        Some(Self { format: format?, level: level? })
    }
}

/// One SPIFFE ID, or all that are one segment longer.
#[derive(Debug, Clone, Copy)]
pub struct Ids;

impl kind::Kind for Ids {
    type Value = IdPattern;

    fn expects(&self) -> String {
        "a SPIFFE ID, or a prefix of one segment more, such as `spiffe://example.org/agent/*`".to_owned()
    }

    fn read(&self, given: &kind::Given<'_>, faults: &mut kind::Faults) -> Option<IdPattern> {
        given.text().and_then(|text| text.parse().ok()).or_else(|| faults.unexpected(given, self.expects()))
    }
}
