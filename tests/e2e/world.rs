//! Everything that runs, and agents that use it.

use std::path::{Path, PathBuf};

use http::StatusCode;
use serde_json::{Value, json};

use crate::people::{People, Ports, get};
use crate::testbed::Folder;
use crate::testbed::kubernetes::{self, Kubernetes};
use crate::testbed::process::Process;
use crate::testbed::spire::{self, Entry, Spire};
use crate::testbed::wire::Wire;
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

pub struct World {
    pub broker: Process,
    pub authority: Process,
    /// Between the broker and the API server.
    pub wire: Wire,
    pub cluster: Kubernetes,
    pub spire: Spire,
    pub people: People,
    pub folder: Folder,
}

impl std::ops::Deref for World {
    type Target = People;

    fn deref(&self) -> &People {
        &self.people
    }
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

        let ports = Ports::free();
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
        let people = People::new(&folder, ports, [spire.id("sab"), spire.id("seb")]);
        let mut world = Self { broker, authority, wire, cluster, spire, people, folder };
        world.ready().await;
        world
    }

    /// Waits until broker and authority are ready.
    pub async fn ready(&mut self) {
        self.people.ready(&mut self.authority, &mut self.broker).await;
    }

    /// What `/readyz` of the broker answers.
    pub async fn readiness(&self) -> (u16, String) {
        get(&self.ports.broker_http, "/readyz").await.unwrap()
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

    /// Proposes and executes one step, which succeeds.
    pub async fn performs(&self, step: &Value) -> Value {
        let certificate = self.certificate(step).await;
        let (status, answer) = self.execute("deployer", &certificate, &[]).await;
        assert_eq!((status, &answer["state"]), (0, &json!("succeeded")), "{step}: {answer}");
        answer
    }

    /// An object as the API server has it.
    pub async fn object(&self, path: &str) -> Value {
        let (status, answer) = self.cluster.admin.get(path).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer
    }
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
