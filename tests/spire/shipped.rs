//! The files of `spire/` as they are shipped, with this machine's paths and ports in them: server and agent take them and run.

use std::path::Path;
use std::process::Output;

use serde_json::Value;
use tokio::process::Command;

use crate::testbed::pki;
use crate::testbed::process::Process;
use crate::testbed::{Folder, PATIENCE, awaited, free_port, program};

/// A file of `spire/`, with other paths in it.
fn shipped(folder: &Folder, name: &str, port: u16) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("spire").join(name);
    let mut text = std::fs::read_to_string(path).unwrap();
    for root in ["/run/spire/server", "/run/spire/agent", "/var/lib/spire/server", "/var/lib/spire/agent", "/etc/spire"]
    {
        text = text.replace(root, folder.folder(root.trim_start_matches('/')).to_str().unwrap());
    }
    let text = text.replace("\"0.0.0.0\"", "\"127.0.0.1\"").replace("\"spire-server.example.org\"", "\"127.0.0.1\"");
    let text = text.replace("\"8081\"", &format!("\"{port}\""));
    std::fs::write(folder.folder("etc/spire").join(name), text).unwrap();
}

async fn run(binary: &str, words: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(program("spire", "spire-server").with_file_name(binary));
    let output = command.args(words).current_dir(folder).kill_on_drop(true).output();
    tokio::time::timeout(PATIENCE, output).await.unwrap().unwrap()
}

/// What is said, by a command that succeeds.
async fn says(binary: &str, words: &[&str], folder: &Path) -> String {
    let output = run(binary, words, folder).await;
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{words:?}: {said}");
    said
}

async fn healthy(binary: &str, process: &mut Process, socket: &str, folder: &Path) {
    awaited(binary, async || {
        process.assert_runs();
        let output = run(binary, &["healthcheck", "-socketPath", socket], folder).await;
        if output.status.success() { Ok(()) } else { Err(output) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_files_are_taken_by_server_and_agent() {
    let folder = Folder::new();
    let (home, port) = (folder.folder("etc/spire"), free_port());
    for name in ["server.conf", "agent.conf", "entries.json", "policy.rego", "policy-data.json"] {
        shipped(&folder, name, port);
    }
    let nodes = pki::Authority::new("nodes");
    std::fs::write(home.join("nodes.pem"), nodes.pem()).unwrap();
    nodes.client("broker-host", None).write(&home, "node");
    for (binary, configuration) in [("spire-server", "server.conf"), ("spire-agent", "agent.conf")] {
        let said = says(binary, &["validate", "-config", configuration], &home).await;
        assert!(said.contains("configuration file is valid"), "{said}");
    }

    let binary = program("spire", "spire-server");
    let mut server = Process::start("server", &binary, &["run", "-config", "server.conf"], &home);
    let socket = folder.join("run/spire/server/api.sock");
    let socket = socket.to_str().unwrap();
    healthy("spire-server", &mut server, socket, &home).await;
    let words = ["entry", "create", "-data", "entries.json", "-socketPath", socket];
    says("spire-server", &words, &home).await;
    let shown = says("spire-server", &["entry", "show", "-output", "json", "-socketPath", socket], &home).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let shown = shown["entries"].as_array().unwrap();
    let meant: Value = serde_json::from_str(include_str!("../../spire/entries.json")).unwrap();
    let meant = meant["entries"].as_array().unwrap();
    assert_eq!(shown.len(), meant.len());
    for entry in meant {
        let id = entry["spiffe_id"].as_str().unwrap().trim_start_matches("spiffe://example.org");
        let made = shown.iter().find(|it| it["spiffe_id"]["path"] == id).unwrap_or_else(|| panic!("{id}: {shown:?}"));
        assert_eq!(made["admin"], id == "/seb", "{made}");
        assert_eq!(made["downstream"], false, "{made}");
        let parent = entry["parent_id"].as_str().unwrap().trim_start_matches("spiffe://example.org");
        assert_eq!(made["parent_id"]["path"], parent, "{made}");
        assert_eq!(made["selectors"], entry["selectors"], "{made}");
        assert_eq!(made["x509_svid_ttl"], entry["x509_svid_ttl"], "{made}");
    }

    let bundle = says("spire-server", &["bundle", "show", "-socketPath", socket], &home).await;
    std::fs::write(home.join("bundle.pem"), bundle).unwrap();
    let mut agent =
        Process::start("agent", &binary.with_file_name("spire-agent"), &["run", "-config", "agent.conf"], &home);
    let socket = folder.join("run/spire/agent/agent.sock");
    healthy("spire-agent", &mut agent, socket.to_str().unwrap(), &home).await;
    // It is the parent of the broker's entry.
    let parent = "spiffe://example.org/spire/agent/x509pop/broker-host";
    assert!(agent.log().contains(parent), "{}", agent.log());
}
