use proptest::prelude::*;

use super::*;

fn message() -> wire::ExecuteRequest {
    wire::ExecuteRequest { certificate: vec![0x30], ..Default::default() }
}

fn fields(message: wire::ExecuteRequest) -> Vec<String> {
    presented(message, None).unwrap_err().0.into_iter().map(|violation| violation.field).collect()
}

fn value(pointer: &str, json: &str) -> wire::ParameterValue {
    wire::ParameterValue { pointer: pointer.to_owned(), json: json.to_owned() }
}

#[test]
fn every_violation_is_told_with_its_field() {
    let bad = wire::ExecuteRequest {
        certificate: Vec::new(),
        chain: vec![vec![1]],
        step: "Not A Step".to_owned(),
        values: vec![value("/a", "1"), value("/a", "2"), value("b", "3"), value("/c", "{\"x\":1,\"x\":2}")],
        body: Some(vec![0; 4 * 1024 * 1024 + 1]),
        idempotency_key: "a b".to_owned(),
        expected_contract: "sha256:0".to_owned(),
    };
    let expected = [
        "certificate",
        "step",
        "idempotency_key",
        "expected_contract",
        "body",
        "values[1].pointer",
        "values[2].pointer",
        "values[3].json",
    ];
    assert_eq!(fields(bad), expected);
    let many = (0..=Choice::MAX_VALUES).map(|index| value(&format!("/{index}"), "1")).collect();
    assert_eq!(fields(wire::ExecuteRequest { values: many, ..message() }), ["values"]);
    let long = format!("\"{}\"", "a".repeat(Choice::MAX_VALUE));
    assert_eq!(fields(wire::ExecuteRequest { values: vec![value("/a", &long)], ..message() }), ["values[0].json"]);
}

#[test]
fn violations_never_repeat_what_was_sent() {
    let secret = "hunter2 S3cr3t";
    let bad = wire::ExecuteRequest {
        step: secret.to_owned(),
        values: vec![value(secret, secret), value("/a", secret)],
        idempotency_key: secret.to_owned(),
        expected_contract: secret.to_owned(),
        ..message()
    };
    let told = format!("{:?}", presented(bad, None));
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn a_filter_is_read_strictly() {
    let bad = wire::ListRequest {
        page_size: MAX_PAGE + 1,
        after: 0,
        filter: Some(wire::Filter {
            since: Some(WireTime { seconds: -1, nanos: 0 }),
            until: Some(WireTime { seconds: 1, nanos: 1_000_000_000 }),
            agent: "spiffe://Example.org/a".to_owned(),
            target: "UP".to_owned(),
            certificate: "x".to_owned(),
            mutation_id: "m-x".to_owned(),
            kind: "x".to_owned(),
            reason: "x".to_owned(),
        }),
    };
    assert_eq!(list(bad).unwrap_err().0.len(), 9);
    let empty = list(wire::ListRequest::default()).unwrap();
    assert_eq!(empty, Query { filter: Filter::default(), after: 0, limit: DEFAULT_PAGE });
}

#[test]
fn states_round_trip() {
    for known in State::ALL {
        assert_eq!(state(wire_state(known).into()), Some(known));
    }
    assert_eq!(state(0), None);
    assert_eq!(state(99), None);
}

proptest! {
    #[test]
    fn whatever_is_read_is_within_its_bounds(
        certificate in proptest::collection::vec(any::<u8>(), 0..64),
        chain in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..8), 0..8),
        step in "[a-z-]{0,40}|\\PC{0,8}",
        values in proptest::collection::vec(("(/[a-c]{0,2}){0,3}|\\PC{0,6}", "[0-9]{1,3}|\"[a-z]{0,4}\"|\\PC{0,6}"), 0..70),
        key in "[!-~]{0,140}|\\PC{0,8}",
        contract in "sha256:[0-9a-f]{63,65}|\\PC{0,8}",
    ) {
        let sent = wire::ExecuteRequest {
            certificate: certificate.clone(),
            chain: chain.clone(),
            step: step.clone(),
            values: values.iter().map(|(pointer, json)| value(pointer, json)).collect(),
            body: None,
            idempotency_key: key.clone(),
            expected_contract: contract.clone(),
        };
        match presented(sent, None) {
            Ok(read) => {
                prop_assert_eq!(&read.certificate, &certificate);
                prop_assert_eq!(&read.chain, &chain);
                prop_assert!(!read.certificate.is_empty());
                prop_assert_eq!(read.request.step.map(|step| step.to_string()).unwrap_or_default(), step);
                prop_assert_eq!(read.request.idempotency_key.map(|key| key.to_string()).unwrap_or_default(), key);
                prop_assert_eq!(read.request.expected_contract.map(|d| d.to_string()).unwrap_or_default(), contract);
                // Nothing is lost and nothing is merged.
                prop_assert_eq!(read.request.choice.values.len(), values.len());
            }
            Err(Invalid(violations)) => prop_assert!(!violations.is_empty()),
        }
    }

    #[test]
    fn times_round_trip(millis in 0..253_402_300_800_000_u64) {
        let sent = Timestamp::from_millis(millis).unwrap();
        let mut violations = Violations::default();
        prop_assert_eq!(time(&mut violations, "t", wire_time(sent)), Some(sent));
    }

    #[test]
    fn any_time_is_read_or_refused(seconds: i64, nanos: i32) {
        let mut violations = Violations::default();
        let read = time(&mut violations, "t", WireTime { seconds, nanos });
        prop_assert_eq!(read.is_none(), violations.0.len() == 1);
    }
}
