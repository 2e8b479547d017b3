//! Answers of AWS to operations of every protocol: what counts as done or refused has the status of it, and nothing that is
//! kept of an answer is longer than its bound.
//!
//! An input is `service:Operation STATUS`, headers as `name: value`, an empty line, and the body.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use seb::contract::Json;
use seb::target::aws::progress;
use seb::target::aws::request::answer::{Answer, Refusal};
use seb::target::aws::request::Operation;

fuzz_target!(|data: &[u8]| {
    let Some((operation, status, headers, body)) = read(data) else { return };
    let answer = operation.answer(status, &headers, body);
    assert!(answer == operation.answer(status, &headers, body), "another answer to the same octets");
    let named = |id: &Option<String>| id.iter().all(|id| (1..=128).contains(&id.len()));
    match answer {
        Answer::Accepted { request_id, output } => {
            assert!((200..=299).contains(&status) && output.is_object() && named(&request_id));
            // What a baseline is made of.
            drop(Json::parse(output.to_string().as_bytes()));
            progress(&operation, &output);
        }
        Answer::Refused(Refusal { code, message, request_id, .. }) => {
            assert!((300..=599).contains(&status) && named(&request_id));
            assert!((1..=128).contains(&code.len()) && message.chars().count() <= 1000);
            assert!(!message.contains(char::is_control));
        }
        Answer::Failed { detail } | Answer::NotCredible { detail } => {
            assert!(detail.chars().count() <= 2000 && !detail.contains(char::is_control), "{}", detail.len());
        }
    }
});

fn read(data: &[u8]) -> Option<(Operation, u16, HeaderMap, &[u8])> {
    let at = data.windows(2).position(|pair| pair == b"\n\n")?;
    let (head, body) = (std::str::from_utf8(data.get(..at)?).ok()?, data.get(at + 2..)?);
    let mut lines = head.lines();
    let (name, status) = lines.next()?.split_once(' ')?;
    let name = name.parse().ok()?;
    let operation = Operation::mutation(&name).or_else(|_| Operation::read(&name)).ok()?;
    let mut headers = HeaderMap::new();
    for (name, value) in lines.take(16).filter_map(|line| line.split_once(": ")) {
        headers.append(HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?);
    }
    Some((operation, status.parse().ok()?, headers, body))
}
