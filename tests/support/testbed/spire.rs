//! A SPIRE server with an agent, and its OIDC discovery provider: a trust domain as it is in production.
//!
//! The server has its own authority and keeps its keys and its datastore on disk; the agent proves its node by a
//! certificate of an operator's authority (`x509pop`), so that it can come back after its own identity has expired.

use std::path::{Path, PathBuf};

use http::StatusCode;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::process::Command;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::service_fn;

use super::client::Client;
use super::pki::{Authority, Pair};
use super::process::Process;
use super::{Folder, PATIENCE, awaited, free_port, program};

/// What differs from one test's trust domain to the next.
#[derive(Clone)]
pub struct Options {
    pub trust_domain: &'static str,
    /// Lives of what the server issues, as Go writes durations.
    pub x509_ttl: &'static str,
    pub jwt_ttl: &'static str,
    pub ca_ttl: &'static str,
    pub agent_ttl: &'static str,
    /// An authorization policy (Rego), and its data (JSON).
    pub policy: Option<(String, String)>,
    /// SPIFFE IDs with all of an administrator's rights at the server's API.
    pub admin_ids: Vec<String>,
    /// What there is from the beginning.
    pub entries: Vec<Entry>,
    /// Whether the discovery provider runs, and the server names it as its tokens' issuer.
    pub discovery: bool,
    /// The CA, certificate and key, by which the server's own CA is signed.
    pub upstream: Option<(PathBuf, PathBuf)>,
    /// More lines for `server { }` and for `agent { }` of the configuration (HCL).
    pub server: String,
    pub agent: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            trust_domain: "example.org",
            x509_ttl: "1h",
            jwt_ttl: "5m",
            ca_ttl: "24h",
            agent_ttl: "1h",
            policy: None,
            admin_ids: Vec::new(),
            entries: Vec::new(),
            discovery: false,
            upstream: None,
            server: String::new(),
            agent: String::new(),
        }
    }
}

/// A registration entry below the agent.
#[derive(Clone, Default)]
pub struct Entry {
    /// The path of its SPIFFE ID, without the first slash.
    pub path: String,
    /// Such as `unix:uid:0`.
    pub selectors: Vec<String>,
    pub admin: bool,
    pub downstream: bool,
    /// Seconds.
    pub x509_ttl: Option<u32>,
    /// More arguments of `spire-server entry create`.
    pub arguments: Vec<String>,
}

impl Entry {
    /// For every process of this user.
    pub fn of_this_user(path: &str) -> Self {
        Self { path: path.to_owned(), selectors: vec![this_user()], ..Self::default() }
    }
}

/// The selector that every process of this user has.
pub fn this_user() -> String {
    use std::os::unix::fs::MetadataExt;
    format!("unix:uid:{}", std::fs::metadata("/proc/self").unwrap().uid())
}

/// A trust domain that runs.
pub struct Spire {
    pub server: Process,
    pub agent: Process,
    pub discovery: Option<Process>,
    pub options: Options,
    /// Where the server's API is over TCP.
    pub server_address: String,
    /// The issuer of its JWT-SVIDs: the address of the discovery provider, which `web` certifies.
    pub issuer: String,
    pub web: Authority,
    folder: PathBuf,
    program: PathBuf,
}

impl Spire {
    /// A fresh one, in a folder of its own in `folder`; when it is there, agent and discovery provider have answered.
    pub async fn start(folder: &Folder, options: Options) -> Self {
        let home = folder.folder(&format!("spire-{}", options.trust_domain));
        let (port, discovery_port) = (free_port(), free_port());
        let issuer = format!("https://127.0.0.1:{discovery_port}");
        let (nodes, web) = (Authority::new("nodes"), Authority::new("web"));
        std::fs::write(home.join("nodes.pem"), nodes.pem()).unwrap();
        nodes.client("node", None).write(&home, "node");
        web.server().write(&home, "web");
        std::fs::write(home.join("server.conf"), server_configuration(&options, port, &issuer)).unwrap();
        std::fs::write(home.join("agent.conf"), agent_configuration(&options, port)).unwrap();
        if let Some((policy, data)) = &options.policy {
            std::fs::write(home.join("policy.rego"), policy).unwrap();
            std::fs::write(home.join("policy.json"), data).unwrap();
        }

        let program = program("spire", "spire-server");
        let mut server = Process::start("server", &program, &["run", "-config", "server.conf"], &home);
        healthy(&mut server, &home.join("server.sock")).await;
        for entry in &options.entries {
            create(&program, &home, &options, entry).await;
        }
        let agent = Process::start("agent", &beside(&program, "spire-agent"), &["run", "-config", "agent.conf"], &home);
        let discovery = options.discovery.then(|| {
            std::fs::write(home.join("discovery.conf"), discovery_configuration(&home, discovery_port, &issuer))
                .unwrap();
            let arguments = ["-config", "discovery.conf"];
            Process::start("discovery", &beside(&program, "oidc-discovery-provider"), &arguments, &home)
        });
        let server_address = format!("127.0.0.1:{port}");
        let mut spire = Self { server, agent, discovery, options, server_address, issuer, web, folder: home, program };
        spire.ready().await;
        spire.handed_out().await;
        spire
    }

    /// Waits until the agent gives every process of this user what was registered for them from the beginning.
    async fn handed_out(&self) {
        let own = [this_user()];
        let entries = self.options.entries.iter().filter(|entry| entry.selectors == own);
        let ids: Vec<String> = entries.map(|entry| self.id(&entry.path)).collect();
        if ids.is_empty() {
            return;
        }
        let folder = tempfile::tempdir_in(&self.folder).unwrap();
        awaited("the first identities", async || {
            let (_, said) = self.fetch_x509(folder.path()).await;
            if ids.iter().all(|id| said.contains(id)) { Ok(()) } else { Err(said) }
        })
        .await;
    }

    /// Waits until everything that runs answers; after a restart, for one.
    pub async fn ready(&mut self) {
        healthy(&mut self.server, &self.folder.join("server.sock")).await;
        let socket = self.agent_socket();
        healthy(&mut self.agent, &socket).await;
        if let Some(discovery) = &mut self.discovery {
            discovery.assert_runs();
            self.published("the discovery provider", |keys| !keys.is_empty()).await;
        }
    }

    /// Waits until the keys of JWT-SVIDs that the discovery provider shows (their IDs) are as they should be.
    pub async fn published(&self, what: &str, are: impl Fn(&[String]) -> bool) {
        let client = Client::new(self.issuer.trim_start_matches("https://"), &self.web.pem(), None);
        awaited(what, async || {
            let (status, answer) = client.send(http::Method::GET, "/keys", "text/plain", &Value::Null).await?;
            let keys = answer["keys"].as_array().into_iter().flatten();
            let ids: Vec<String> = keys.filter_map(|key| Some(key["kid"].as_str()?.to_owned())).collect();
            anyhow::ensure!(status == StatusCode::OK && are(&ids), "{status} {answer}");
            Ok(())
        })
        .await;
    }

    /// The SPIFFE ID with this path.
    pub fn id(&self, path: &str) -> String {
        format!("spiffe://{}/{path}", self.options.trust_domain)
    }

    /// The socket of the Workload API.
    pub fn agent_socket(&self) -> PathBuf {
        self.folder.join("agent.sock")
    }

    /// The socket of the server's API, for those on its machine.
    pub fn server_socket(&self) -> PathBuf {
        self.folder.join("server.sock")
    }

    /// Runs `spire-server` with these words; what it answers.
    pub async fn command(&self, words: &[&str]) -> Value {
        command(&self.program, &self.folder, words).await
    }

    /// Registers a workload, which gets it about a second later. Its entry ID.
    pub async fn register(&self, entry: &Entry) -> String {
        create(&self.program, &self.folder, &self.options, entry).await
    }

    /// Takes back what [`Spire::register`] did.
    pub async fn unregister(&self, entry_id: &str) {
        self.command(&["entry", "delete", "-entryID", entry_id]).await;
    }

    /// An X.509-SVID by the server's own socket, with its chain.
    pub async fn mint_x509(&self, path: &str, ttl: &str) -> Pair {
        let folder = tempfile::tempdir_in(&self.folder).unwrap();
        let (id, to) = (self.id(path), folder.path().to_str().unwrap());
        run(&self.program, &self.folder, &["x509", "mint", "-spiffeID", &id, "-ttl", ttl, "-write", to]).await;
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        Pair { certificate: read("svid.pem"), key: read("key.pem") }
    }

    /// The same in a folder as the product reads identities from: `svid.pem`, `key.pem`, `bundle.pem`.
    pub async fn mint_folder(&self, path: &str, ttl: &str, into: &Path) {
        let (id, to) = (self.id(path), into.to_str().unwrap());
        std::fs::create_dir_all(into).unwrap();
        run(&self.program, &self.folder, &["x509", "mint", "-spiffeID", &id, "-ttl", ttl, "-write", to]).await;
    }

    /// A JWT-SVID by the server's own socket.
    pub async fn mint_jwt(&self, path: &str, audiences: &[&str], ttl: &str) -> String {
        let id = self.id(path);
        let mut words = vec!["jwt", "mint", "-spiffeID", &id, "-ttl", ttl];
        for audience in audiences {
            words.extend(["-audience", audience]);
        }
        run(&self.program, &self.folder, &words).await.trim().to_owned()
    }

    /// What the agent gives the processes of this user: whether it gave any, written as `svid.<n>.pem`,
    /// `svid.<n>.key` and `bundle.<n>.pem`, and what was said of it.
    pub async fn fetch_x509(&self, into: &Path) -> (bool, String) {
        let mut command = Command::new(beside(&self.program, "spire-agent"));
        command.args(["api", "fetch", "x509", "-socketPath", "agent.sock", "-write"]).arg(into);
        let output = command.current_dir(&self.folder).kill_on_drop(true).output();
        let output = tokio::time::timeout(PATIENCE, output).await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.success(), said)
    }

    /// The trust domain's X.509 authorities, in PEM.
    pub async fn bundle(&self) -> String {
        run(&self.program, &self.folder, &["bundle", "show"]).await
    }

    /// The trust domain's bundle in SPIFFE's JSON form.
    pub async fn bundle_document(&self) -> Value {
        serde_json::from_str(&run(&self.program, &self.folder, &["bundle", "show", "-format", "spiffe"]).await).unwrap()
    }

    /// Makes the next X.509 authority, and puts it into the bundle. Its ID.
    pub async fn prepare_authority(&self) -> String {
        let answer = self.command(&["localauthority", "x509", "prepare"]).await;
        answer["prepared_authority"]["authority_id"].as_str().unwrap().to_owned()
    }

    /// From now on the server issues under the prepared authority.
    pub async fn activate_authority(&self, id: &str) {
        self.command(&["localauthority", "x509", "activate", "-authorityID", id]).await;
    }

    /// The ID of the authority that issues now.
    pub async fn active_authority(&self) -> String {
        let answer = self.command(&["localauthority", "x509", "show"]).await;
        answer["active"]["authority_id"].as_str().unwrap().to_owned()
    }

    /// Makes every agent and workload renew what the old authority issued.
    pub async fn taint_authority(&self, id: &str) {
        self.command(&["localauthority", "x509", "taint", "-authorityID", id]).await;
    }

    /// Takes the tainted authority out of the bundle.
    pub async fn revoke_authority(&self, id: &str) {
        self.command(&["localauthority", "x509", "revoke", "-authorityID", id]).await;
    }

    /// A step of the rotation of the authority of JWT-SVIDs (`prepare`, `activate`, `taint`, `revoke`), or `show`. The ID
    /// of the authority that it is about: the key ID of its tokens.
    pub async fn jwt_authority(&self, step: &str, id: Option<&str>) -> String {
        let arguments = id.map_or(Vec::new(), |id| vec!["-authorityID", id]);
        let answer = self.command(&[&["localauthority", "jwt", step], &arguments[..]].concat()).await;
        let part = match step {
            "show" => "active",
            "prepare" => "prepared_authority",
            "activate" => "activated_authority",
            "taint" => "tainted_authority",
            _ => "revoked_authority",
        };
        answer[part]["authority_id"].as_str().unwrap_or_else(|| panic!("{step}: {answer}")).to_owned()
    }

    /// What Kubernetes needs to take this trust domain's JWT-SVIDs for `audience`: an `AuthenticationConfiguration`
    /// that maps execution identities to `seb:<SPIFFE ID>` in `seb:executors`, and the call of their audiences to the
    /// extra value `seb.dev/call`.
    pub fn authentication(&self, audience: &str) -> Value {
        let prefix = self.id("seb/execution/");
        json!({
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "AuthenticationConfiguration",
            "jwt": [{
                "issuer": {
                    "url": self.issuer,
                    "certificateAuthority": self.web.pem(),
                    "audiences": [audience],
                    "audienceMatchPolicy": "MatchAny",
                },
                "claimValidationRules": [{
                    "expression": format!("claims.sub.startsWith('{prefix}')"),
                    "message": "only execution identities may call",
                }],
                "claimMappings": {
                    "username": { "expression": "'seb:' + claims.sub" },
                    "groups": { "expression": "['seb:executors']" },
                    "extra": [{
                        "key": "seb.dev/call",
                        "valueExpression": "dyn(claims.aud).filter(a, a.startsWith('urn:seb:call:'))",
                    }],
                },
            }],
        })
    }
}

/// What a process last wrote of its identity from the Workload API.
#[derive(Debug, PartialEq, Eq)]
pub struct Update {
    /// The serial number of its SVID.
    pub serial: String,
    /// How many authorities its trust domain has.
    pub authorities: usize,
}

impl Update {
    /// Of what a product's process wrote, as text or JSON. None while it has the identity with which it began.
    pub fn last(log: &str) -> Option<Self> {
        let line = log.lines().rfind(|line| line.contains("an identity came from the Workload API"))?;
        let words = || line.split([' ', ',', '{', '}']).map(|word| word.replace('"', "").replacen(':', "=", 1));
        let field = |name: &str| words().find_map(|word| Some(word.strip_prefix(name)?.to_owned()));
        Some(Self { serial: field("serial=")?, authorities: field("authorities=")?.parse().ok()? })
    }
}

/// The path of the agent's SPIFFE ID: the parent of every entry.
const AGENT: &str = "spire/agent/x509pop/node";

fn server_configuration(options: &Options, port: u16, issuer: &str) -> String {
    let Options { trust_domain, x509_ttl, jwt_ttl, ca_ttl, agent_ttl, admin_ids, server, .. } = options;
    let issuer = if options.discovery { format!("jwt_issuer = \"{issuer}\"") } else { String::new() };
    let policy = match options.policy {
        Some(_) => {
            "auth_opa_policy_engine { local { rego_path = \"policy.rego\" policy_data_path = \"policy.json\" } }"
        }
        None => "",
    };
    let upstream = match &options.upstream {
        Some((certificate, key)) => format!(
            "UpstreamAuthority \"disk\" {{ plugin_data {{ cert_file_path = {certificate:?}\nkey_file_path = {key:?} }} }}"
        ),
        None => String::new(),
    };
    format!(
        r#"
server {{
    bind_address = "127.0.0.1"
    bind_port = "{port}"
    socket_path = "server.sock"
    trust_domain = "{trust_domain}"
    data_dir = "server"
    log_level = "INFO"
    audit_log_enabled = true
    ca_ttl = "{ca_ttl}"
    default_x509_svid_ttl = "{x509_ttl}"
    default_jwt_svid_ttl = "{jwt_ttl}"
    agent_ttl = "{agent_ttl}"
    admin_ids = {admin_ids:?}
    {issuer}
    {server}
    experimental {{
        cache_reload_interval = "250ms"
        {policy}
    }}
}}
plugins {{
    DataStore "sql" {{
        plugin_data {{
            database_type = "sqlite3"
            connection_string = "server/datastore.sqlite3"
        }}
    }}
    KeyManager "disk" {{
        plugin_data {{ keys_path = "server/keys.json" }}
    }}
    NodeAttestor "x509pop" {{
        plugin_data {{
            ca_bundle_path = "nodes.pem"
            agent_path_template = "/{{{{ .PluginName }}}}/{{{{ .Subject.CommonName }}}}"
        }}
    }}
    {upstream}
}}
"#
    )
}

fn agent_configuration(options: &Options, port: u16) -> String {
    let Options { trust_domain, agent, .. } = options;
    format!(
        r#"
agent {{
    data_dir = "agent"
    log_level = "INFO"
    server_address = "127.0.0.1"
    server_port = "{port}"
    socket_path = "agent.sock"
    trust_domain = "{trust_domain}"
    insecure_bootstrap = true
    {agent}
    experimental {{
        sync_interval = "500ms"
    }}
}}
plugins {{
    NodeAttestor "x509pop" {{
        plugin_data {{
            certificate_path = "node.pem"
            private_key_path = "node-key.pem"
        }}
    }}
    KeyManager "disk" {{
        plugin_data {{ directory = "agent" }}
    }}
    WorkloadAttestor "unix" {{
        plugin_data {{ discover_workload_path = true }}
    }}
}}
"#
    )
}

fn discovery_configuration(home: &Path, port: u16, issuer: &str) -> String {
    let server = home.join("server.sock");
    let server = server.display();
    format!(
        r#"
log_level = "info"
domains = ["127.0.0.1"]
jwt_issuer = "{issuer}"
serving_cert_file {{
    addr = "127.0.0.1:{port}"
    cert_file_path = "web.pem"
    key_file_path = "web-key.pem"
}}
server_api {{
    address = "unix://{server}"
    poll_interval = "1s"
}}
"#
    )
}

fn beside(program: &Path, name: &str) -> PathBuf {
    program.with_file_name(name)
}

/// Waits until the process serves on its socket, and says that it is well.
async fn healthy(process: &mut Process, socket: &Path) {
    awaited("a healthy server", async || {
        process.assert_runs();
        let socket = socket.to_owned();
        let connect = service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://localhost").connect_with_connector(connect).await?;
        let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await?.into_inner();
        anyhow::ensure!(answer.status() == tonic_health::pb::health_check_response::ServingStatus::Serving);
        Ok(())
    })
    .await;
}

async fn create(program: &Path, folder: &Path, options: &Options, entry: &Entry) -> String {
    let id = |path: &str| format!("spiffe://{}/{path}", options.trust_domain);
    let (parent, own) = (id(AGENT), id(&entry.path));
    let mut words = vec!["entry", "create", "-parentID", &parent, "-spiffeID", &own];
    for selector in &entry.selectors {
        words.extend(["-selector", selector]);
    }
    let ttl = entry.x509_ttl.map(|ttl| ttl.to_string());
    if let Some(ttl) = &ttl {
        words.extend(["-x509SVIDTTL", ttl]);
    }
    if entry.admin {
        words.push("-admin");
    }
    if entry.downstream {
        words.push("-downstream");
    }
    words.extend(entry.arguments.iter().map(String::as_str));
    let answer = command(program, folder, &words).await;
    answer["results"][0]["entry"]["id"].as_str().unwrap_or_else(|| panic!("not registered: {answer}")).to_owned()
}

async fn command(program: &Path, folder: &Path, words: &[&str]) -> Value {
    let answer = run(program, folder, &[words, &["-output", "json"]].concat()).await;
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{words:?}: {error}: {answer}"))
}

async fn run(program: &Path, folder: &Path, words: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(words).args(["-socketPath", "server.sock"]).current_dir(folder).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{words:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}
