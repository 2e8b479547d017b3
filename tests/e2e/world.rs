//! Everything that runs, and agents that use it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use http::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::testbed::kubernetes::{self, Kubernetes};
use crate::testbed::process::Process;
use crate::testbed::spire::{self, Entry, Spire};
use crate::testbed::wire::Wire;
use crate::testbed::{Folder, PATIENCE, awaited, free_port};
use crate::{chart, install};

pub const CHECKOUT: &str = "/apis/apps/v1/namespaces/shop/deployments/checkout";

/// What differs from one test to the next.
pub struct Options {
    /// How execution identities become requests.
    pub exchange: &'static str,
    /// Whether values and policies are those of `examples/kubernetes`, and nothing else; every verb is permitted if not.
    pub examples: bool,
    /// Whether the broker reads an object before it decides.
    pub read_before: bool,
    /// Whether the cluster's own controllers run.
    pub controllers: bool,
    /// How long the SVIDs of broker and authority live.
    pub svid_seconds: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { exchange: "jwt-svid", examples: false, read_before: true, controllers: false, svid_seconds: 3600 }
    }
}

/// Where the processes listen.
pub struct Ports {
    pub broker: String,
    pub broker_http: String,
    pub authority: String,
    pub authority_http: String,
}

pub struct World {
    pub broker: Process,
    pub authority: Process,
    /// Between the broker and the API server.
    pub wire: Wire,
    pub cluster: Kubernetes,
    pub spire: Spire,
    pub ports: Ports,
    pub folder: Folder,
    files: AtomicU32,
}

impl World {
    /// Everything runs, and broker and authority say that they are ready.
    pub async fn new(options: &Options) -> Self {
        let folder = Folder::new();
        let spire = Spire::start(&folder, spire_options(options)).await;
        let rendered = install::render(&folder, options, &spire, "127.0.0.1:1");
        let mut arguments = Vec::new();
        if options.exchange != "service-account" {
            install::write(
                &folder,
                "control-plane/authentication.yaml",
                &chart::file(&rendered, "authentication.yaml"),
            );
            let path = folder.join("control-plane/authentication.yaml");
            arguments.push(format!("--authentication-config={}", path.display()));
        }
        let controllers = options.controllers;
        let cluster = kubernetes::Options { arguments, controllers, ..kubernetes::Options::default() };
        let cluster = Kubernetes::start(&folder, cluster).await;
        let wire = Wire::to(&cluster.address).await;
        install::before(&cluster).await;
        let api_server = wire.address.to_string();
        install::install(&folder, options, &spire, &cluster, &api_server).await;

        let port = || format!("127.0.0.1:{}", free_port());
        let ports = Ports { broker: port(), broker_http: port(), authority: port(), authority_http: port() };
        let rendered = install::render(&folder, options, &spire, &api_server);
        install::configure(&folder, &spire, &cluster, &rendered, &ports, options.read_before);
        for name in ["seb", "sab"] {
            let token = install::pod_token(&cluster, &format!("seb-{}", name.replace("seb", "broker"))).await;
            install::write(&folder, &format!("{name}/token"), &token);
        }
        let policies = if options.examples { "examples.cedar" } else { "all.cedar" };
        install::write(&folder, &format!("sab-policies/{policies}"), &chart::file(&rendered, policies));
        spire.mint_folder("sab", "12h", &folder.join("sab-authority")).await;
        for person in ["agent/deployer", "agent/responder", "operator"] {
            let name = person.trim_start_matches("agent/");
            spire.mint_folder(person, "12h", &folder.join(name)).await;
        }
        let start = |name, binary: &str, words: &[&str], home: &str| {
            Process::start(name, Path::new(binary), words, &folder.join(home))
        };
        let authority = start("sab", env!("CARGO_BIN_EXE_sab"), &["serve", "--config", "sab.toml"], "sab");
        let broker = start("seb", env!("CARGO_BIN_EXE_seb"), &["broker", "--config", "broker.toml"], "seb");
        let mut world = Self { broker, authority, wire, cluster, spire, ports, folder, files: AtomicU32::new(0) };
        world.ready().await;
        world
    }

    /// Waits until broker and authority are ready.
    pub async fn ready(&mut self) {
        awaited("broker and authority", async || {
            self.authority.assert_runs();
            self.broker.assert_runs();
            for address in [&self.ports.authority_http, &self.ports.broker_http] {
                let (status, said) = get(address, "/readyz").await?;
                anyhow::ensure!(status == 200 && said.ends_with("\r\nready\n"), "{said}");
            }
            Ok(())
        })
        .await;
    }

    /// What `/readyz` of the broker answers.
    pub async fn readiness(&self) -> (u16, String) {
        get(&self.ports.broker_http, "/readyz").await.unwrap()
    }

    /// Runs `seb` as a person in the folder of the test: its exit status, and the last document that it printed.
    pub async fn seb(&self, words: &[&str]) -> (i32, Value) {
        self.run(env!("CARGO_BIN_EXE_seb"), words).await
    }

    /// The same with `sab`.
    pub async fn sab(&self, words: &[&str]) -> (i32, Value) {
        self.run(env!("CARGO_BIN_EXE_sab"), words).await
    }

    async fn run(&self, program: &str, words: &[&str]) -> (i32, Value) {
        let mut command = Command::new(program);
        let command = command.args(["--output", "json"]).args(words).current_dir(self.folder.path());
        let output = tokio::time::timeout(PATIENCE, command.kill_on_drop(true).output()).await.unwrap().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let wrong = String::from_utf8(output.stderr).unwrap();
        let document = said.lines().last().and_then(|line| serde_json::from_str(line).ok());
        (output.status.code().unwrap(), document.unwrap_or_else(|| panic!("{words:?}: {said}{wrong}")))
    }

    /// A path in the folder of the test that is not taken yet.
    pub fn fresh(&self, suffix: &str) -> PathBuf {
        self.folder.join(&format!("{}-{suffix}", self.files.fetch_add(1, Ordering::SeqCst)))
    }

    /// Proposes what a file says; the exit status, the answer, and where the certificate is if it was admitted.
    pub async fn propose_file(&self, agent: &str, file: &Path) -> (i32, Value, PathBuf) {
        let out = self.fresh("certificate.pem");
        let authority = self.spire.id("sab");
        let words = ["agent", "propose", file.to_str().unwrap(), "--server", &self.ports.authority, "--server-id"];
        let more = [&authority, "--identity", agent, "--out", out.to_str().unwrap()];
        let (status, answer) = self.seb(&[&words[..], &more].concat()).await;
        (status, answer, out)
    }

    /// A file with a proposal of one step.
    pub fn proposal(&self, step: &Value, deadline: &str) -> PathBuf {
        let proposal = json!({
            "schema": "seb.dev/proposal/v1",
            "target": { "kind": "kubernetes", "name": "prod" },
            "steps": [step],
            "limits": { "for": "30m" },
            "deadline": deadline,
            "justification": "a test",
        });
        let file = self.fresh("proposal.json");
        std::fs::write(&file, proposal.to_string()).unwrap();
        file
    }

    /// Proposes one step, as the deployer.
    pub async fn propose(&self, step: &Value, deadline: &str) -> (i32, Value, PathBuf) {
        self.propose_file("deployer", &self.proposal(step, deadline)).await
    }

    /// The certificate over one step.
    pub async fn certificate(&self, step: &Value) -> PathBuf {
        let (status, answer, certificate) = self.propose(step, "30s").await;
        assert_eq!(status, 0, "{answer}");
        certificate
    }

    /// Executes a certificate: the exit status, and the answer.
    pub async fn execute(&self, agent: &str, certificate: &Path, more: &[&str]) -> (i32, Value) {
        let broker = self.spire.id("seb");
        let words = ["agent", "execute", certificate.to_str().unwrap(), "--server", &self.ports.broker];
        let more = [&["--server-id", &broker, "--identity", agent], more].concat();
        self.seb(&[&words[..], &more].concat()).await
    }

    /// Proposes and executes one step, which succeeds.
    pub async fn performs(&self, step: &Value) -> Value {
        let certificate = self.certificate(step).await;
        let (status, answer) = self.execute("deployer", &certificate, &[]).await;
        assert_eq!((status, &answer["state"]), (0, &json!("succeeded")), "{step}: {answer}");
        answer
    }

    /// How an execution stands once it is settled.
    pub async fn settled(&self, mutation: &str) -> (i32, Value) {
        let broker = self.spire.id("seb");
        let words = ["agent", "status", mutation, "--watch", "--server", &self.ports.broker, "--server-id", &broker];
        self.seb(&[&words[..], &["--identity", "deployer", "--timeout", "80"]].concat()).await
    }

    /// An object as the API server has it.
    pub async fn object(&self, path: &str) -> Value {
        let (status, answer) = self.cluster.admin.get(path).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer
    }

    /// How many decisions of this kind (`allow`, `deny`) the broker's records have.
    pub async fn decisions(&self, decision: &str) -> usize {
        let words = ["records", "list", "--store", "seb/store/broker.db", "--kind", "decision", "--limit", "1000"];
        let (status, answer) = self.seb(&[&words[..], &["--decision", decision]].concat()).await;
        assert_eq!(status, 0, "{answer}");
        answer["records"].as_array().unwrap().len()
    }

    /// The records of broker and authority verify, and every decision of both is derived again.
    pub async fn verified(&self) {
        for (command, store) in [("seb", "seb/store/broker.db"), ("sab", "sab/store/records.db")] {
            for words in [&["verify", "--artefacts"][..], &["replay"]] {
                let program = if command == "seb" { env!("CARGO_BIN_EXE_seb") } else { env!("CARGO_BIN_EXE_sab") };
                let mut command = Command::new(program);
                let command = command.arg("records").args(words).args(["--store", store]);
                let output = command.current_dir(self.folder.path()).output().await.unwrap();
                assert!(output.status.success(), "{words:?}: {output:?}");
            }
        }
    }
}

/// What a server in clear text answers: the status, and all of it.
pub async fn get(address: &str, path: &str) -> anyhow::Result<(u16, String)> {
    let mut socket = tokio::net::TcpStream::connect(address.parse::<SocketAddr>()?).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: broker\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await?;
    let status = answer.split(' ').nth(1).unwrap_or_default().parse()?;
    Ok((status, answer))
}

const POLICY: &str = include_str!("../../spire/policy.rego");
const POLICY_DATA: &str = include_str!("../../spire/policy-data.json");

fn spire_options(options: &Options) -> spire::Options {
    let entry = |path: &str| Entry { x509_ttl: Some(options.svid_seconds), ..Entry::of_this_user(path) };
    spire::Options {
        policy: Some((POLICY.to_owned(), POLICY_DATA.to_owned())),
        entries: vec![Entry { admin: true, ..entry("seb") }, entry("sab")],
        discovery: true,
        ..spire::Options::default()
    }
}
