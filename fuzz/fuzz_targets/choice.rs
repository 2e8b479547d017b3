//! What an agent chooses, applied to a contract: it touches the places that the contract names and no other.
//!
//! The input is JSON text `{"contract": {...}, "values": {"/pointer": value, ...}, "body": "..."}`; `body` may be missing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seb::contract::{Body, CallBody, Choice, Contract, Json, Pointer};
use seb::reason::Verdict;

fuzz_target!(|data: &[u8]| {
    let Ok(input) = Json::parse(data) else { return };
    let Some(Ok(contract)) = input.get("contract").map(|json| Contract::compile(&json.to_canonical())) else { return };
    let mut choice = Choice::default();
    if let Some(Json::Object(values)) = input.get("values") {
        for (name, value) in values.iter() {
            let Ok(pointer) = Pointer::parse(name) else { return };
            choice.values.insert(pointer, value.clone());
        }
    }
    choice.body = input.get("body").and_then(Json::as_str).map(|text| text.as_bytes().to_vec());
    for step in contract.steps() {
        match contract.call(Some(step.name()), &choice) {
            Ok(call) => {
                let parameters = step.mutation().parameters();
                assert_eq!(call.target(), contract.target());
                assert_eq!(call.verb(), step.mutation().verb());
                assert_eq!(call.resource(), step.mutation().resource());
                assert!(choice.values.keys().all(|chosen| parameters.iter().any(|open| open.pointer() == chosen)));
                if let (Body::Inline(certified), CallBody::Inline(called)) = (step.mutation().body(), call.body()) {
                    let (mut certified, mut called) = (certified.clone(), called.clone());
                    for parameter in parameters {
                        if let Some(value) = choice.values.get(parameter.pointer()) {
                            assert_eq!(parameter.pointer().resolve(&called), Some(value));
                        }
                        parameter.pointer().replace(&mut certified, Json::Null);
                        parameter.pointer().replace(&mut called, Json::Null);
                    }
                    assert_eq!(certified, called);
                }
                assert_eq!(call.digest(), contract.call(Some(step.name()), &choice).unwrap().digest());
            }
            Err(denials) => {
                assert!(!denials.is_empty() && denials.is_sorted());
                assert!(denials.iter().all(|denial| denial.reason.verdict() == Verdict::Authorization));
            }
        }
    }
});
