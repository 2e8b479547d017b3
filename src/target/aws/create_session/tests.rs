use super::*;
use serde_json::{Value, json};

const ROLE: &str = "arn:aws:iam::123456789012:role/seb-execution";

fn arn(text: &str) -> Arn {
    text.parse().unwrap()
}

fn made(anchor: &str, profile: &str, role: &str) -> Result<RolesAnywhere, InvalidRolesAnywhere> {
    let endpoint = "http://127.0.0.1:1".parse().unwrap();
    RolesAnywhere::new(endpoint, "eu-west-1".parse().unwrap(), arn(anchor), arn(profile), arn(role))
}

fn roles() -> RolesAnywhere {
    let prefix = "arn:aws:rolesanywhere:eu-west-1:123456789012";
    made(&format!("{prefix}:trust-anchor/a"), &format!("{prefix}:profile/p"), ROLE).unwrap()
}

fn answer() -> Value {
    json!({
        "credentialSet": [{
            "assumedRoleUser": { "arn": "arn:aws:sts::123456789012:assumed-role/seb-execution/4b", "assumedRoleId": "A:4b" },
            "credentials": {
                "accessKeyId": "ASIAEXAMPLEEXAMPLE00",
                "secretAccessKey": "hidden-key",
                "sessionToken": "hidden-token",
                "expiration": "2026-11-24T09:45:00Z",
            },
            "packedPolicySize": 3,
            "roleArn": ROLE,
            "sourceIdentity": "CN=m-1",
        }],
        "subjectArn": "arn:aws:rolesanywhere:eu-west-1:123456789012:subject/s",
    })
}

fn read(status: u16, error_type: Option<&str>, body: &str) -> Result<Session, CreateSessionError> {
    roles().session(status, error_type, body.as_bytes(), "2026-11-24T09:30:00Z".parse().unwrap())
}

#[test]
fn parts_belong_together() {
    let (anchor, profile) = (
        "arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/a",
        "arn:aws:rolesanywhere:eu-west-1:123456789012:profile/p",
    );
    for (anchor, profile, role) in [
        (profile, profile, ROLE),
        (anchor, anchor, ROLE),
        (anchor, profile, "arn:aws:iam::123456789012:user/u"),
        (anchor, "arn:aws:rolesanywhere:eu-west-2:123456789012:profile/p", ROLE),
        (anchor, profile, "arn:aws:iam::123456789013:role/r"),
        (anchor, profile, "arn:aws-cn:iam::123456789012:role/r"),
    ] {
        assert!(made(anchor, profile, role).is_err(), "{anchor} {profile} {role}");
    }
}

#[test]
fn i5_a_session_is_read_and_not_shown() {
    let session = read(201, None, &answer().to_string()).unwrap();
    assert_eq!(session.credentials.secret_access_key(), "hidden-key");
    assert_eq!(session.credentials.session_token(), "hidden-token");
    assert_eq!(session.source_identity.as_deref(), Some("CN=m-1"));
    assert_eq!(session.packed_policy_percent, Some(3));
    assert!(!format!("{session:?}").contains("hidden"));
}

#[test]
fn an_answer_that_is_not_credible_is_none() {
    let changed = |pointer: &str, value: Value| {
        let mut answer = answer();
        *answer.pointer_mut(pointer).unwrap() = value;
        answer.to_string()
    };
    let entry = answer()["credentialSet"][0].clone();
    for body in [
        String::new(),
        "{}".to_owned(),
        changed("/credentialSet", json!([])),
        changed("/credentialSet", json!([entry, entry])),
        changed("/credentialSet/0/roleArn", json!("arn:aws:iam::123456789012:role/other")),
        changed("/credentialSet/0/credentials/expiration", json!("2026-11-24T09:30:00Z")),
        changed("/credentialSet/0/credentials/expiration", json!("2026-11-24T10:30:00Z")),
        changed("/credentialSet/0/credentials/secretAccessKey", json!("hidden key")),
        changed("/credentialSet/0/credentials/sessionToken", json!(7)),
        changed("/credentialSet/0/sourceIdentity", json!("a b")),
    ] {
        let error = read(201, None, &body).unwrap_err();
        assert!(!error.is_retryable());
        assert!(
            matches!(error, CreateSessionError::NotCredible(_) | CreateSessionError::Credentials(_)),
            "{body}: {error}"
        );
        assert!(!format!("{error:?}").contains("hidden"), "{error:?}");
    }
    assert!(matches!(read(200, None, &answer().to_string()), Err(CreateSessionError::NotCredible(_))));
}

#[test]
fn refusals_are_told_apart() {
    let message = r#"{"message":"no\u001b[2J way"}"#;
    let refused = read(403, Some("AccessDeniedException:http://internal.amazon.com/"), message).unwrap_err();
    assert!(refused.to_string().contains("(AccessDeniedException): no\u{fffd}[2J way"), "{refused}");
    for (status, code, body, retryable) in [
        (400, Some("ValidationException"), "{}", false),
        (404, None, r#"{"__type":"a.b#ResourceNotFoundException"}"#, false),
        (429, None, "", true),
        (400, Some("ThrottlingException"), "{}", true),
        (503, None, "<html>", true),
        (302, None, "", false),
    ] {
        let error = read(status, code, body).unwrap_err();
        assert_eq!(error.is_retryable(), retryable, "{error}");
    }
    assert!(
        read(404, None, r#"{"__type":"a.b#ResourceNotFoundException"}"#)
            .unwrap_err()
            .to_string()
            .contains("(ResourceNotFoundException)")
    );
}
