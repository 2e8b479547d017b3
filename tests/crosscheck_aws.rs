//! Requests to AWS, held against what AWS's own tools make of the same input.
//!
//! The folder of the pinned `awscli` is in `SEB_AWSCLI`; without it nothing is run. Four parts:
//!
//! - the tables are what `scripts/aws-models` writes;
//! - `aws`, for the inputs of `tests/crosscheck/aws-requests.json`: what a recorder got, and the URL at AWS's own endpoint;
//! - AWS's library, for every operation of the tables, with every member and with the required ones alone;
//! - AWS's signer, for every request of the second part.
//!
//! What is not compared, and why: `tests/crosscheck/README.md`.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test, which the compiler does not know because it brings its own main function"
)]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs, thread};

use base64ct::{Base64, Encoding};
use roxmltree::{Document, Node};
use seb::contract::{AwsOperation, Json};
use seb::digest::Digest;
use seb::target::aws::credentials::Credentials;
use seb::target::aws::endpoint::Variant;
use seb::target::aws::request::{Operation, Reach, Request, SERVICES};
use seb::timestamp::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// What no tool of AWS's says of the call itself: who sends it, when, by which connection, under which signature.
const NOT_COMPARED: &[&str] = &[
    "accept-encoding",
    "amz-sdk-invocation-id",
    "amz-sdk-request",
    "authorization",
    "connection",
    "content-length",
    "expect",
    "host",
    "user-agent",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-security-token",
];
const SUM: &str = "x-amz-checksum-sha256";
const ALGORITHM: &str = "x-amz-sdk-checksum-algorithm";
const TIME: &str = "2026-11-24T09:30:00Z";

/// An input of `aws-requests.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    operation: String,
    #[serde(default = "region")]
    region: String,
    input: Value,
    /// What the command line wants otherwise.
    #[serde(default)]
    command_line: Value,
    /// The region by its name for it.
    #[serde(default)]
    command_line_region: Option<String>,
    /// The endpoint by the older name that it uses.
    #[serde(default)]
    command_line_origin: Option<String>,
}

fn region() -> String {
    "eu-west-1".to_owned()
}

/// A request, by what is compared.
#[derive(Debug, PartialEq)]
struct Compared {
    method: String,
    path: String,
    query: Vec<(String, String)>,
    headers: BTreeMap<String, String>,
    body: Body,
}

#[derive(Debug, PartialEq)]
enum Body {
    Json(Value),
    Form(Vec<(String, String)>),
    Xml(Element),
    Octets(Vec<u8>),
}

/// An element: of one name those in their order, and the names sorted.
#[derive(Debug, PartialEq)]
struct Element {
    name: String,
    attributes: BTreeMap<String, String>,
    text: String,
    children: Vec<Element>,
}

fn main() -> ExitCode {
    let Some(folder) = env::var_os("SEB_AWSCLI") else {
        println!("aws: not run, because SEB_AWSCLI is not set");
        println!("0 passed, 0 failed");
        return ExitCode::SUCCESS;
    };
    let folder = PathBuf::from(folder);
    let (mut passed, mut failed) = (0, 0);
    for (part, compare) in [
        ("the tables", tables as fn(&Path) -> Vec<Result<(), String>>),
        ("the command line", command_line),
        ("every operation", every),
        ("signatures", signatures),
    ] {
        let found = compare(&folder);
        let wrong: Vec<_> = found.iter().filter_map(|one| one.as_ref().err()).collect();
        wrong.iter().take(20).for_each(|why| println!("aws: {part}: {why}"));
        println!("aws: {part}: {} of {} are the same", found.len() - wrong.len(), found.len());
        assert!(!found.is_empty(), "{part}: nothing was compared");
        passed += found.len() - wrong.len();
        failed += wrong.len();
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Each table, generated anew.
fn tables(_: &Path) -> Vec<Result<(), String>> {
    let generated = tempfile::tempdir().expect("a folder");
    let status = Command::new(root("scripts/aws-models")).arg(generated.path()).stdout(Stdio::null()).status();
    assert!(status.expect("scripts/aws-models").success(), "scripts/aws-models failed");
    let same = |service: &&str| {
        let name = format!("{service}.json");
        let read = |folder: &Path| fs::read_to_string(folder.join(&name)).expect("a table");
        match read(generated.path()) == read(&root("src/target/aws/request/models")) {
            true => Ok(()),
            false => Err(format!("{name} is not what `scripts/aws-models` writes: run it")),
        }
    };
    SERVICES.iter().map(same).collect()
}

fn cases() -> Vec<Case> {
    let text = fs::read_to_string(root("tests/crosscheck/aws-requests.json")).expect("the inputs");
    serde_json::from_str(&text).expect("the inputs")
}

fn command_line(folder: &Path) -> Vec<Result<(), String>> {
    let cases = cases();
    let asked = cases.iter().map(|case| {
        json!({
            "operation": case.operation, "region": case.region, "input": case.input,
            "command_line": case.command_line, "command_line_region": case.command_line_region,
        })
    });
    let found = ask(folder, "command-line", &asked.collect());
    let found = found.as_array().expect("a list");
    assert_eq!(found.len(), cases.len());
    cases.iter().zip(found).map(|(case, found)| compare_with_command_line(case, found)).collect()
}

fn compare_with_command_line(case: &Case, found: &Value) -> Result<(), String> {
    if let Some(error) = found.get("error") {
        return Err(format!("{}: {error}", case.operation));
    }
    let at = Reach::At("http://127.0.0.1:4566".parse().expect("an endpoint"));
    same(&case.operation, &ours(case, &at), found)?;
    let url = found["url"].as_str().expect("a URL");
    let ours = ours(case, &Reach::Aws(Variant::Regional));
    let (origin, target) = url.split_at(url[8..].find('/').expect("a path") + 8);
    let (path, query) = split(target);
    let origin = if case.command_line_origin.as_deref() == Some(origin) { ours.origin.as_str() } else { origin };
    if (ours.origin.as_str(), ours.path.as_str(), pairs(&ours.query)) != (origin, path, pairs(query)) {
        return Err(format!("{}: `{}`, expected `{url}`", case.operation, ours.url()));
    }
    Ok(())
}

fn ours(case: &Case, reach: &Reach) -> Request {
    let operation = operation(&case.operation);
    let request = operation.request(&case.region, reach, &input(&case.input));
    request.unwrap_or_else(|error| panic!("{}: {error}", case.operation))
}

fn operation(name: &str) -> Operation {
    let name: AwsOperation = name.parse().expect("an operation");
    Operation::mutation(&name).or_else(|_| Operation::read(&name)).expect("an operation of the tables")
}

fn input(value: &Value) -> Json {
    let text = value.to_string();
    Json::parse_within(text.as_bytes(), text.len()).expect("JSON")
}

/// Every operation that the tables have.
fn every(folder: &Path) -> Vec<Result<(), String>> {
    let mut names = Vec::new();
    for service in SERVICES {
        let text = fs::read_to_string(root("src/target/aws/request/models").join(format!("{service}.json")));
        let table: Value = serde_json::from_str(&text.expect("a table")).expect("a table");
        let operations = table["operations"].as_object().expect("operations");
        names.extend(operations.keys().map(|operation| Value::from(format!("{service}:{operation}"))));
    }
    let found = ask(folder, "every", &Value::Array(names));
    let at = Reach::At("http://127.0.0.1:4566".parse().expect("an endpoint"));
    let compare = |found: &Value| {
        let name = found["operation"].as_str().expect("a name");
        match operation(name).request("eu-west-1", &at, &input(&found["input"])) {
            // The library has not added the checksum yet.
            Ok(mut request) => {
                request.headers.retain(|(name, _)| name != SUM && name != ALGORITHM);
                same(name, &request, found)
            }
            Err(error) => Err(format!("{name}: {error}")),
        }
    };
    found.as_array().expect("a list").iter().map(compare).collect()
}

fn signatures(folder: &Path) -> Vec<Result<(), String>> {
    let hidden = |text: &str| Zeroizing::new(text.to_owned());
    let keys = || {
        let expiration = Timestamp::END;
        let id = "ASIAEXAMPLEEXAMPLE00".to_owned();
        Credentials::new(id, hidden("very/secret+key"), hidden("token"), expiration).expect("credentials")
    };
    let requests: Vec<Request> = cases().iter().map(|case| ours(case, &Reach::Aws(Variant::Regional))).collect();
    let asked = requests.iter().map(|request| {
        json!({
            "method": request.method, "url": request.url(), "body": Base64::encode_string(&request.body), "time": TIME,
            "headers": request.headers.iter().cloned().collect::<BTreeMap<_, _>>(),
            "name": request.signing_name, "region": request.signing_region,
        })
    });
    let found = ask(folder, "sign", &asked.collect());
    let found = found.as_array().expect("a list").clone();
    assert_eq!(found.len(), requests.len());
    let compare = |(request, found): (Request, Value)| {
        let url = request.url();
        let signed = request.signed(&keys(), TIME.parse().unwrap()).map_err(|error| format!("{url}: {error}"))?;
        let names = ["authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256"];
        let differs = names.iter().find(|name| {
            // The library says the digest to S3 alone.
            let theirs = found.get(**name).and_then(Value::as_str);
            signed.header(name) != theirs
        });
        match differs {
            None => Ok(()),
            Some(name) => Err(format!("{url}: {name} is {:?}, expected {:?}", signed.header(name), found.get(*name))),
        }
    };
    requests.into_iter().zip(found).map(compare).collect()
}

/// Runs `tests/crosscheck/aws.py`.
fn ask(folder: &Path, task: &str, question: &Value) -> Value {
    let mut command = Command::new("python3");
    command.arg(root("tests/crosscheck/aws.py")).arg(task);
    command.env("PYTHONPATH", folder).env("PYTHONDONTWRITEBYTECODE", "1");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3");
    let mut stdin = child.stdin.take().expect("a pipe");
    let question = question.to_string();
    let writer = thread::spawn(move || stdin.write_all(question.as_bytes()));
    let output = child.wait_with_output().expect("python3");
    assert!(output.status.success(), "aws.py {task} failed");
    writer.join().expect("a writer").expect("a question that is read");
    serde_json::from_slice(&output.stdout).expect("an answer in JSON")
}

fn same(name: &str, ours: &Request, found: &Value) -> Result<(), String> {
    let theirs_headers = found["headers"].as_object().expect("headers").iter();
    let theirs_headers = theirs_headers.map(|(name, value)| (name.to_lowercase(), value.as_str().unwrap().to_owned()));
    let theirs_body = Base64::decode_vec(found["body"].as_str().expect("a body")).expect("base64");
    let theirs = compared(
        found["method"].as_str().expect("a method"),
        found["target"].as_str().expect("a target"),
        theirs_headers.collect(),
        theirs_body,
    )?;
    let target = ours.url()[ours.origin.len()..].to_owned();
    let ours = compared(ours.method, &target, ours.headers.iter().cloned().collect(), ours.body.clone())?;
    match ours == theirs {
        true => Ok(()),
        false => Err(format!("{name}:\n  ours   {ours:?}\n  theirs {theirs:?}")),
    }
}

fn compared(
    method: &str,
    target: &str,
    mut headers: BTreeMap<String, String>,
    body: Vec<u8>,
) -> Result<Compared, String> {
    headers.retain(|name, _| !NOT_COMPARED.contains(&name.as_str()));
    // The sum depends on the spelling of the body: each is that of its own.
    if let Some(sum) = headers.get_mut(SUM) {
        if *sum != Base64::encode_string(Digest::of(&body).as_bytes()) {
            return Err(format!("`{SUM}` is not the sum of the body"));
        }
        *sum = "right".to_owned();
    }
    let (path, query) = split(target);
    let kind = headers.get("content-type").map_or("", String::as_str);
    let text = std::str::from_utf8(&body).ok();
    let body = match text {
        Some(text) if kind.contains("json") => {
            Body::Json(serde_json::from_str(text).map_err(|error| error.to_string())?)
        }
        Some(text) if kind.contains("urlencoded") => Body::Form(pairs(text)),
        Some(text) if text.starts_with('<') => {
            Body::Xml(element(Document::parse(text).map_err(|error| error.to_string())?.root_element()))
        }
        _ => Body::Octets(body),
    };
    Ok(Compared { method: method.to_owned(), path: path.to_owned(), query: pairs(query), headers, body })
}

fn split(target: &str) -> (&str, &str) {
    target.split_once('?').unwrap_or((target, ""))
}

fn pairs(text: &str) -> Vec<(String, String)> {
    let mut pairs: Vec<_> = text
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (unescaped(&name.replace('+', " ")), unescaped(&value.replace('+', " "))))
        .collect();
    pairs.sort();
    pairs
}

fn unescaped(text: &str) -> String {
    let mut octets = Vec::new();
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        if octet != b'%' {
            octets.push(octet);
            continue;
        }
        let digits = [rest.next().expect("a digit"), rest.next().expect("a digit")];
        octets.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).expect("two digits"));
    }
    String::from_utf8(octets).expect("UTF-8")
}

fn element(node: Node<'_, '_>) -> Element {
    let mut children: Vec<_> = node.children().filter(Node::is_element).map(element).collect();
    children.sort_by(|a, b| a.name.cmp(&b.name));
    let name = |name: &str, space: Option<&str>| format!("{{{}}}{name}", space.unwrap_or_default());
    Element {
        name: name(node.tag_name().name(), node.tag_name().namespace()),
        attributes: node.attributes().map(|it| (name(it.name(), it.namespace()), it.value().to_owned())).collect(),
        text: node.children().filter_map(|child| child.text().filter(|_| child.is_text())).collect(),
        children,
    }
}
