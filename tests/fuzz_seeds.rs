//! The seeds of the fuzz targets reach past the first refusal: a seed that no longer fits the format teaches nothing, and
//! no fuzzer says so.

#![cfg(test)]

use std::path::Path;
use std::process::Command;

use http::{HeaderName, HeaderValue};
use seb::attribute_certificate::{parse, profile, read_file};
use seb::contract::{Choice, Contract, Json, Pointer};
use seb::decision::RecordedFacts;
use seb::epoch::EpochStatement;
use seb::target::aws::request::Operation;
use seb::target::aws::request::answer::Answer;

fn seeds() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/fuzz-corpus");
    let status = Command::new("python3").arg(script).arg(folder.path()).status().unwrap();
    assert!(status.success(), "{status}");
    folder
}

/// Whether the answer is one that the operation has.
fn credible(octets: &[u8]) -> bool {
    let at = octets.windows(2).position(|pair| pair == b"\n\n").unwrap();
    let mut lines = std::str::from_utf8(&octets[..at]).unwrap().lines();
    let (name, status) = lines.next().unwrap().split_once(' ').unwrap();
    let name = name.parse().unwrap();
    let operation = Operation::mutation(&name).or_else(|_| Operation::read(&name)).unwrap();
    let header = |line: &str| -> (HeaderName, HeaderValue) {
        let (name, value) = line.split_once(": ").unwrap();
        (name.parse().unwrap(), value.parse().unwrap())
    };
    let headers = lines.map(header).collect();
    let answer = operation.answer(status.parse().unwrap(), &headers, &octets[at + 2..]);
    matches!(answer, Answer::Accepted { .. } | Answer::Refused(_))
}

/// How many of the seeds of `target` the check accepts, and how many there are.
fn accepted(folder: &Path, target: &str, check: impl Fn(&[u8]) -> bool) -> (usize, usize) {
    let files: Vec<_> = std::fs::read_dir(folder.join(target)).into_iter().flatten().collect();
    let good = files.iter().filter(|file| check(&std::fs::read(file.as_ref().unwrap().path()).unwrap())).count();
    (good, files.len())
}

#[test]
fn seeds_reach_past_the_first_refusal() {
    let folder = seeds();
    let choice = |octets: &[u8]| {
        let Ok(input) = Json::parse(octets) else { return false };
        let contract = Contract::compile(&input.get("contract").unwrap().to_canonical()).unwrap();
        let mut choice = Choice::default();
        if let Some(Json::Object(values)) = input.get("values") {
            choice.values.extend(values.iter().map(|(name, value)| (Pointer::parse(name).unwrap(), value.clone())));
        }
        contract.call(None, &choice).is_ok()
    };
    let certificate =
        |octets: &[u8]| read_file(octets).and_then(|file| parse(&file.certificate)).and_then(profile).is_ok();
    let json = accepted(folder.path(), "json", |octets| Json::parse(octets).is_ok());
    let contract = accepted(folder.path(), "contract", |octets| Contract::parse(octets).is_ok());
    let choice = accepted(folder.path(), "choice", choice);
    let epoch = accepted(folder.path(), "epoch", |octets| {
        octets.split(|octet| *octet == b'\n').all(|statement| EpochStatement::parse(statement).is_ok())
    });
    let facts = accepted(folder.path(), "facts", |octets| RecordedFacts::parse(octets).is_ok());
    let answer = accepted(folder.path(), "answer", credible);
    assert_eq!(answer, (15, 19));
    assert_eq!(epoch, (5, 7));
    assert_eq!(facts, (4, 6));
    assert!(json.0 >= 4, "json: {json:?}");
    assert!(contract.0 >= 1, "contract: {contract:?}");
    assert!(choice.0 >= 3 && choice.0 < choice.1, "choice: {choice:?}");
    if Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/certificate").exists() {
        let certificate = accepted(folder.path(), "certificate", certificate);
        assert!(certificate.0 >= 3 && certificate.0 < certificate.1, "certificate: {certificate:?}");
    }
}
