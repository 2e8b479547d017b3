//! An authority and a broker that run as processes of their own, and people who use them by the command line.
//!
//! The processes keep their stores in `seb/store/broker.db` and `sab/store/records.db` of one folder, and whoever uses them has an
//! identity in a folder there that is called like them.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::testbed::process::Process;
use crate::testbed::{Folder, PATIENCE, awaited, free_port};

/// Where the processes listen.
pub struct Ports {
    pub broker: String,
    pub broker_http: String,
    pub authority: String,
    pub authority_http: String,
}

/// What people know of both.
pub struct People {
    pub ports: Ports,
    folder: PathBuf,
    /// The SPIFFE IDs of authority and broker.
    ids: [String; 2],
    files: AtomicU32,
}

impl Ports {
    /// Ports that are free now.
    pub fn free() -> Self {
        let port = || format!("127.0.0.1:{}", free_port());
        Self { broker: port(), broker_http: port(), authority: port(), authority_http: port() }
    }
}

impl People {
    /// Those with identities in `folder`, where authority and broker have these SPIFFE IDs.
    pub fn new(folder: &Folder, ports: Ports, ids: [String; 2]) -> Self {
        Self { ports, folder: folder.path().to_owned(), ids, files: AtomicU32::new(0) }
    }

    /// Waits until authority and broker are ready.
    pub async fn ready(&self, authority: &mut Process, broker: &mut Process) {
        awaited("broker and authority", async || {
            authority.assert_runs();
            broker.assert_runs();
            for address in [&self.ports.authority_http, &self.ports.broker_http] {
                let (status, said) = get(address, "/readyz").await?;
                anyhow::ensure!(status == 200 && said.ends_with("\r\nready\n"), "{said}");
            }
            Ok(())
        })
        .await;
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
        let command = command.args(["--output", "json"]).args(words).current_dir(&self.folder);
        let output = tokio::time::timeout(PATIENCE, command.kill_on_drop(true).output()).await.unwrap().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let wrong = String::from_utf8(output.stderr).unwrap();
        let document = said.lines().last().and_then(|line| serde_json::from_str(line).ok());
        (output.status.code().unwrap(), document.unwrap_or_else(|| panic!("{words:?}: {said}{wrong}")))
    }

    /// A path in the folder of the test that is not taken yet.
    pub fn fresh(&self, suffix: &str) -> PathBuf {
        self.folder.join(format!("{}-{suffix}", self.files.fetch_add(1, Ordering::SeqCst)))
    }

    /// Proposes what a file says; the exit status, the answer, and where the certificate is if it was admitted.
    pub async fn propose_file(&self, agent: &str, file: &Path) -> (i32, Value, PathBuf) {
        let out = self.fresh("certificate.pem");
        let [authority, _] = &self.ids;
        let words = ["agent", "propose", file.to_str().unwrap(), "--server", &self.ports.authority, "--server-id"];
        let more = [authority.as_str(), "--identity", agent, "--out", out.to_str().unwrap()];
        let (status, answer) = self.seb(&[&words[..], &more].concat()).await;
        (status, answer, out)
    }

    /// Executes a certificate: the exit status, and the answer.
    pub async fn execute(&self, agent: &str, certificate: &Path, more: &[&str]) -> (i32, Value) {
        let [_, broker] = &self.ids;
        let words = ["agent", "execute", certificate.to_str().unwrap(), "--server", &self.ports.broker];
        let more = [&["--server-id", broker, "--identity", agent], more].concat();
        self.seb(&[&words[..], &more].concat()).await
    }

    /// How an execution stands once it is settled.
    pub async fn settled(&self, mutation: &str) -> (i32, Value) {
        let [_, broker] = &self.ids;
        let words = ["agent", "status", mutation, "--watch", "--server", &self.ports.broker, "--server-id", broker];
        self.seb(&[&words[..], &["--identity", "deployer", "--timeout", "80"]].concat()).await
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
                let output = command.current_dir(&self.folder).output().await.unwrap();
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

/// The text with all of these changes, each of which has a place in it.
pub fn replaced(text: String, changes: &[(&str, String)]) -> String {
    changes.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "nothing says {from}:\n{text}");
        text.replace(from, to)
    })
}
