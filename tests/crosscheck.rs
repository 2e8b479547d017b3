//! The published vectors, judged by implementations that share nothing with this one.
//!
//! A program of its own rather than one test, so that it ends with how many of its comparisons held. Bouncy Castle is
//! in the folder that `SEB_BOUNCYCASTLE` names, `asn1tools` for Python in that of `SEB_ASN1TOOLS`; without one its part
//! is not run. What another implementation sees otherwise is listed with its reason in
//! `tests/crosscheck/disagreements.json`: anything that is not listed fails, and so does what is listed and no longer so.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test, which the compiler does not know because it brings its own main function"
)]

#[path = "support/vectors.rs"]
mod vectors;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs, thread};

use seb::attribute_certificate::read_file;
use seb::reason::{Reason, Verdict};
use serde::Deserialize;
use vectors::{Manifest, Vector};

/// What was found, by key.
type Findings = BTreeMap<String, String>;

/// One thing that another implementation sees otherwise.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Disagreement {
    tool: String,
    vector: String,
    key: String,
    /// What it says.
    found: String,
    #[expect(dead_code, reason = "for people")]
    reason: String,
}

struct Tally {
    listed: Vec<(Disagreement, bool)>,
    passed: usize,
    failed: usize,
}

fn main() -> ExitCode {
    let text = fs::read_to_string(part("disagreements.json")).expect("the list of disagreements");
    let listed: Vec<Disagreement> = serde_json::from_str(&text).expect("the list of disagreements");
    let mut tally = Tally { listed: listed.into_iter().map(|entry| (entry, false)).collect(), passed: 0, failed: 0 };
    let manifest = Manifest::load();
    for (tool, variable, judge) in [
        ("bouncycastle", "SEB_BOUNCYCASTLE", bouncy_castle as fn(&Path, &Manifest, &mut Tally)),
        ("asn1tools", "SEB_ASN1TOOLS", asn1tools),
    ] {
        match env::var_os(variable) {
            Some(folder) => {
                judge(Path::new(&folder), &manifest, &mut tally);
                tally.no_longer_so(tool);
            }
            None => println!("{tool}: not run, because {variable} is not set"),
        }
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Tally {
    fn compare(&mut self, tool: &str, vector: &str, key: &str, expected: &str, found: &str) {
        let listed = self.listed.iter_mut().find(|(entry, _)| {
            entry.tool == tool && entry.vector == vector && entry.key == key && entry.found == found
        });
        if found == expected {
            self.passed += 1;
        } else if let Some((_, seen)) = listed {
            *seen = true;
            self.passed += 1;
        } else {
            self.failed += 1;
            println!("{tool}: {vector}: {key} is `{found}`, expected `{expected}`");
        }
    }

    fn no_longer_so(&mut self, tool: &str) {
        for (entry, seen) in &self.listed {
            if entry.tool == tool && !seen {
                self.failed += 1;
                println!("{tool}: {}: {} is listed as `{}`, and is not", entry.vector, entry.key, entry.found);
            }
        }
    }
}

/// Bouncy Castle: does it read the certificate, is the signature right, and does the certificate say the same?
fn bouncy_castle(folder: &Path, manifest: &Manifest, tally: &mut Tally) {
    const TOOL: &str = "bouncycastle";
    let input = manifest.vectors.iter().filter_map(|vector| {
        let file = read_file(&vector.file()).ok()?;
        let chain = vector.chain().unwrap_or(file.chain);
        let authority = match vector.expect.reason {
            Some(Reason::ChainMissing | Reason::ChainEncoding) => "-".to_owned(),
            _ => chain.first().map_or("-".to_owned(), |leaf| hexadecimal(leaf)),
        };
        Some(format!("{}\t{}\t{authority}\n", vector.name, hexadecimal(&file.certificate)))
    });
    let classes = tempfile::tempdir().expect("a folder for classes");
    let jars = format!("{}/*", folder.display());
    let mut compile = Command::new("javac");
    compile.args(["-d"]).arg(classes.path()).args(["-cp", &jars]).arg(part("CrossCheck.java"));
    assert!(compile.status().expect("javac").success(), "javac failed");
    let mut run = Command::new("java");
    run.arg("-cp").arg(format!("{}:{jars}", classes.path().display())).arg("CrossCheck");
    let found = answers(run, input.collect());

    for vector in &manifest.vectors {
        let Some(found) = found.get(&vector.name) else { continue };
        let (verdict, reason) = vector.expected().unzip();
        let parse = if verdict == Some(Verdict::Parse) { "refused" } else { "accepted" };
        tally.compare(TOOL, &vector.name, "parse", parse, get(found, "parse"));
        if verdict != Some(Verdict::Parse) && found.contains_key("signature") {
            let invalid = [Reason::ProfileAlgorithm, Reason::SignatureAlgorithmMismatch, Reason::SignatureInvalid];
            let signature = if reason.is_some_and(|reason| invalid.contains(&reason)) { "invalid" } else { "valid" };
            tally.compare(TOOL, &vector.name, "signature", signature, get(found, "signature"));
        }
        facts(TOOL, vector, found, tally);
    }
}

/// asn1tools: does the published module compile, does it read what is right, and does it write the same octets?
fn asn1tools(folder: &Path, manifest: &Manifest, tally: &mut Tally) {
    const TOOL: &str = "asn1tools";
    let told = || manifest.vectors.iter().filter(|vector| vector.expect.certificate.is_some());
    let input = told().map(|vector| {
        let file = read_file(&vector.file()).expect("a certificate that keeps the profile");
        format!("{}\t{}\n", vector.name, hexadecimal(&file.certificate))
    });
    let mut run = Command::new("python3");
    run.env("PYTHONPATH", folder).arg(part("asn1.py"));
    run.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/certificate-profile.md"));
    let found = answers(run, input.collect());
    for vector in told() {
        let found = found.get(&vector.name).cloned().unwrap_or_default();
        tally.compare(TOOL, &vector.name, "parse", "accepted", get(&found, "parse"));
        tally.compare(TOOL, &vector.name, "same", "True", get(&found, "same"));
        facts(TOOL, vector, &found, tally);
    }
}

/// Compares what a certificate says, where it keeps the profile.
fn facts(tool: &str, vector: &Vector, found: &Findings, tally: &mut Tally) {
    let Some(facts) = &vector.expect.certificate else { return };
    let algorithm = match facts.algorithm.as_str() {
        "ecdsa-p256-sha256" => "1.2.840.10045.4.3.2",
        "ecdsa-p384-sha384" => "1.2.840.10045.4.3.3",
        _ => "1.3.101.112",
    };
    let expected = [
        ("digest", facts.digest.to_string()),
        ("algorithm", algorithm.to_owned()),
        ("serial", facts.serial.clone()),
        ("issuer", facts.issuer.clone()),
        ("holder", facts.holder.clone()),
        ("holder_key", facts.holder_key.map(|digest| digest.to_string()).unwrap_or_default()),
        ("broker", facts.broker.clone()),
        ("not_before", facts.not_before.to_string()),
        ("not_after", facts.not_after.to_string()),
        ("contract_digest", facts.contract_digest.to_string()),
        ("approvals", facts.approvals.to_string()),
    ];
    for (key, expected) in expected {
        tally.compare(tool, &vector.name, key, &expected, get(found, key));
    }
}

fn get<'a>(found: &'a Findings, key: &str) -> &'a str {
    found.get(key).map_or("", String::as_str)
}

/// Gives `input` to a program, and reads its lines: a name, then `key=value`, separated by tabs.
fn answers(mut command: Command, input: String) -> BTreeMap<String, Findings> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("its input");
    let writer = thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("its output");
    writer.join().expect("the writer").expect("the program reads its input");
    assert!(output.status.success(), "the program failed");
    let text = String::from_utf8(output.stdout).expect("text");
    let line = |line: &str| {
        let mut parts = line.split('\t');
        let name = parts.next().unwrap_or_default().to_owned();
        let pairs = parts.filter_map(|part| part.split_once('='));
        (name, pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    };
    text.lines().map(line).collect()
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn part(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crosscheck").join(name)
}
