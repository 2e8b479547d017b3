//! What the README tells people to type, typed; and the files of the demonstration.
#![cfg(test)]

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use seb::config::broker::BrokerConfig;
use seb::config::target::Api;
use seb::config::{self, Files};
use seb::contract::Contract;
use seb::sab::config::SabConfig;
use seb::sab::proposal::Proposal;
use seb::target::sandbox::server;

/// A command of the README, and the lines that it shows.
struct Shown {
    command: String,
    lines: Vec<String>,
}

fn text(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The commands of a section of the README.
fn commands(section: &str) -> Vec<Shown> {
    let readme = text("README.md");
    let (_, rest) = readme.split_once(section).unwrap();
    let section = rest.split("\n## ").next().unwrap();
    let mut shown: Vec<Shown> = Vec::new();
    for block in section.split("```console\n").skip(1) {
        for line in block.split("```").next().unwrap().lines() {
            match line.strip_prefix("$ ") {
                Some(command) => shown.push(Shown { command: command.to_owned(), lines: Vec::new() }),
                None => shown.last_mut().unwrap().lines.push(line.to_owned()),
            }
        }
    }
    shown
}

/// A script that runs the commands as two terminals would, with the output of each after a line of its own.
fn script(shown: &[Shown]) -> String {
    let mut script = "exec 2>&1; trap 'kill $(jobs -p); wait' EXIT\n".to_owned();
    for (number, Shown { command, .. }) in shown.iter().enumerate() {
        writeln!(script, "echo '@@{number}'").unwrap();
        match command.strip_suffix(" &") {
            // It is there once it has said something.
            Some(command) => writeln!(
                script,
                "mkfifo said.{number}; {command} >said.{number} 2>log.{number} & \
                 read -r -t 60 said <said.{number}; echo \"$said\""
            ),
            None => writeln!(script, "{command}"),
        }
        .unwrap();
        if command.starts_with("seb broker") {
            script.push_str(READY);
        }
    }
    script
}

/// Waits until the broker has heard of the authority.
const READY: &str = "ready() { exec 3<>/dev/tcp/127.0.0.1/7480 && printf 'GET /readyz HTTP/1.1\\r\\nhost: a\\r\\nconnection: close\\r\\n\\r\\n' >&3 && read -r status <&3 && [[ $status == *' 200 '* ]]; }
until ready; do [[ $SECONDS -lt 60 ]] || break; sleep 0.05; done
";

/// A tree like the repository's in `folder`, in which nobody else listens on these ports.
fn tree(folder: &Path, ports: &[(&str, String)]) {
    for (from, to) in [("examples/demo", "examples/demo"), ("policies/default", "policies/default")] {
        std::fs::create_dir_all(folder.join(to)).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let mut text = std::fs::read_to_string(entry.path()).unwrap();
            ports.iter().for_each(|(port, free)| text = text.replace(port, free));
            std::fs::write(folder.join(to).join(entry.file_name()), text).unwrap();
        }
    }
    std::fs::create_dir(folder.join("target")).unwrap();
}

#[test]
fn what_is_done_by_hand_does_what_it_shows() {
    let folder = tempfile::TempDir::new().unwrap();
    let listeners: Vec<TcpListener> = (0..5).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let free = listeners.iter().map(|it| it.local_addr().unwrap().port().to_string());
    let ports: Vec<(&str, String)> = ["7443", "7444", "7445", "7480", "7481"].into_iter().zip(free).collect();
    drop(listeners);
    let here = |text: &str| {
        let mut text = text.to_owned();
        ports.iter().for_each(|(port, free)| text = text.replace(port, free));
        text
    };
    tree(folder.path(), &ports);
    let mut shown = commands("## By hand, in two terminals");
    // Both are done: the test has the binaries.
    shown.retain(|it| !it.command.starts_with("cargo build") && !it.command.starts_with("PATH="));
    assert!(shown.len() > 20, "only {} commands were found", shown.len());
    let binaries = Path::new(env!("CARGO_BIN_EXE_seb")).parent().unwrap();
    let path = format!("PATH='{}':$PATH\n", binaries.display());
    let output = Command::new("bash")
        .args(["-c", &(path + &here(&script(&shown)))])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    for (number, Shown { command, lines }) in shown.iter().enumerate() {
        let (_, rest) = output.split_once(&format!("@@{number}\n")).unwrap_or_else(|| panic!("{command}\n{output}"));
        let said = rest.split("@@").next().unwrap();
        for line in lines {
            let line = here(line);
            assert!(said.lines().any(|it| it.starts_with(&line)), "`{command}` did not say `{line}`, but:\n{said}");
        }
    }
}

#[test]
fn the_files_of_the_demonstration_are_what_they_should_be() {
    let broker = config::parse(&text("examples/demo/broker.toml"), "broker.toml", Files::Ignore, BrokerConfig::read);
    let broker = broker.unwrap_or_else(|wrong| panic!("{wrong}"));
    let sab = config::parse(&text("examples/demo/sab.toml"), "sab.toml", Files::Ignore, SabConfig::read);
    let sab = sab.unwrap_or_else(|wrong| panic!("{wrong}"));
    let sandbox = server::Config::parse(&text("examples/demo/sandbox.toml")).unwrap();
    let names = |names: Vec<String>| names.join(" ");
    assert_eq!(
        names(broker.targets.iter().map(|it| it.known.name.to_string()).collect()),
        names(sab.targets.iter().map(|it| it.known.name.to_string()).collect()),
    );
    let known = broker.targets.iter().map(|it| &it.known).chain(sab.targets.iter().map(|it| &it.known));
    for target in known {
        assert!(
            matches!(&target.api, Api::Sandbox { address, .. } if address.to_string() == sandbox.listen.to_string())
        );
    }
    for proposal in ["examples/demo/scale.yaml", "examples/demo/open-firewall.yaml"] {
        Proposal::parse(&text(proposal)).unwrap_or_else(|wrong| panic!("{proposal}: {wrong}"));
    }
    Contract::compile(&text("examples/demo/by-hand.json")).unwrap_or_else(|wrong| panic!("{wrong}"));
}
