//! Which events of CloudTrail the rules find, by what EventBridge documents of patterns.

use serde_json::{Value, json};

use crate::render::POLICIES;

/// Whether an event fits a pattern: the part of the language that is used here.
fn fits(pattern: &Value, event: &Value) -> bool {
    pattern.as_object().unwrap().iter().all(|(key, inner)| match inner {
        Value::Array(choices) if key == "$or" => choices.iter().any(|choice| fits(choice, event)),
        Value::Array(choices) => choices.iter().any(|choice| is_value(choice, event.get(key))),
        // Of what is not there, everything is absent.
        inner => fits(inner, event.get(key).unwrap_or(&Value::Null)),
    })
}

fn is_value(choice: &Value, has: Option<&Value>) -> bool {
    let Some(rule) = choice.as_object() else { return has == Some(choice) };
    assert_eq!(rule.len(), 1, "{choice}");
    let (name, of) = rule.iter().next().unwrap();
    if name == "exists" {
        return of.as_bool().unwrap() == has.is_some_and(|has| !has.is_null());
    }
    let Some(has) = has.and_then(Value::as_str) else { return false };
    match (name.as_str(), of) {
        ("prefix", of) => has.starts_with(of.as_str().unwrap()),
        ("suffix", of) => has.ends_with(of.as_str().unwrap()),
        ("wildcard", of) => is_like(of.as_str().unwrap(), has),
        ("anything-but", Value::Array(values)) => !values.iter().any(|value| value == has),
        ("anything-but", of) => !of["wildcard"].as_array().unwrap().iter().any(|of| is_like(of.as_str().unwrap(), has)),
        other => panic!("{other:?}"),
    }
}

fn is_like(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => {
            assert!(!rest.starts_with('*'), "EventBridge refuses two in a row");
            text.strip_prefix(start)
                .is_some_and(|text| (0..=text.len()).any(|at| text.get(at..).is_some_and(|text| is_like(rest, text))))
        }
    }
}

fn event(source: &str, name: &str, who: Value, asked: Value) -> Value {
    json!({
        "detail-type": "AWS API Call via CloudTrail",
        "source": "aws.x",
        "detail": {
            "eventSource": source,
            "eventName": name,
            "readOnly": false,
            "userIdentity": who,
            "requestParameters": asked,
        },
    })
}

fn session(role: &str, source: Option<&str>) -> Value {
    let mut context =
        json!({ "sessionIssuer": { "type": "Role", "arn": format!("arn:aws:iam::123456789012:role/{role}") } });
    if let Some(source) = source {
        context["sourceIdentity"] = json!(source);
    }
    json!({ "type": "AssumedRole", "sessionContext": context })
}

fn found(rule: &str, event: &Value) -> bool {
    fits(&serde_json::from_str(&POLICIES[rule]).unwrap(), event)
}

#[test]
fn mutations_that_the_broker_did_not_make_are_found() {
    let put = |who: Value| event("s3.amazonaws.com", "PutBucketPolicy", who, json!({ "bucketName": "shop" }));
    let user = || json!({ "type": "IAMUser", "arn": "arn:aws:iam::123456789012:user/admin" });
    let cases = [
        ("detection", session("seb/execution/seb-orders", Some("CN=m-1")), false),
        ("detection", session("seb/execution/seb-orders", None), true),
        ("detection", session("ops", Some("CN=m-1")), true),
        ("detection", session("ops", None), true),
        ("detection", session("seb/break-glass/seb-break-glass", Some("ann")), true),
        ("detection", session("seb/federated/seb-orders", None), true),
        ("detection", session("aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling", None), true),
        ("detection", user(), true),
        ("detection", json!({ "type": "Root" }), true),
        ("detection", json!({ "type": "AWSService", "invokedBy": "logging.s3.amazonaws.com" }), true),
        ("detection_token", session("seb/federated/seb-orders", None), false),
        ("detection_token", session("seb/execution/seb-orders", Some("CN=m-1")), false),
        ("detection_token", session("ops", None), true),
        ("detection_token", user(), true),
    ];
    for (module, who, expected) in cases {
        assert_eq!(found(&format!("{module}/mutations_pattern"), &put(who.clone())), expected, "{module} {who}");
    }
    let rule = "detection/mutations_pattern";
    assert!(!found(rule, &event("s3.amazonaws.com", "CreateBucket", user(), json!({}))), "not watched");
    assert!(!found(rule, &event("ec2.amazonaws.com", "PutObject", user(), json!({}))), "not watched");
}

#[test]
fn changes_of_the_boundary_are_found() {
    let infrastructure = || session("infrastructure/terraform", None);
    let glass = json!({ "roleArn": "arn:aws:iam::123456789012:role/seb/break-glass/seb-break-glass" });
    let role = |name: &str| json!({ "roleName": name });
    let policy = |name: &str| json!({ "policyArn": format!("arn:aws:iam::123456789012:policy/{name}") });
    for (source, name, asked, expected) in [
        ("rolesanywhere", "CreateTrustAnchor", json!({}), true),
        ("rolesanywhere", "PutAttributeMapping", json!({}), true),
        ("rolesanywhere", "CreateSession", json!({}), false),
        ("iam", "UpdateAssumeRolePolicy", role("seb-orders"), true),
        ("iam", "UpdateAssumeRolePolicy", role("ops"), false),
        ("iam", "CreatePolicyVersion", policy("seb/seb-execution-boundary"), true),
        ("iam", "SetDefaultPolicyVersion", policy("seb/seb-execution-boundary"), true),
        ("iam", "CreatePolicyVersion", policy("ops"), false),
        ("iam", "CreateOpenIDConnectProvider", json!({}), true),
        ("iam", "UpdateSAMLProvider", json!({}), true),
        ("organizations", "DetachPolicy", json!({}), true),
        ("organizations", "DisablePolicyType", json!({}), true),
        ("cloudtrail", "StopLogging", json!({}), true),
        ("cloudtrail", "CreateTrail", json!({}), false),
        ("sts", "AssumeRole", glass, true),
        ("sts", "AssumeRole", json!({ "roleArn": "arn:aws:iam::123456789012:role/ops" }), false),
        ("sts", "AssumeRoot", json!({}), true),
    ] {
        let event = event(&format!("{source}.amazonaws.com"), name, infrastructure(), asked);
        assert_eq!(found("detection/controls_pattern", &event), expected, "{source} {name}");
    }
}

/// AWS lets nobody else put events of such a source on the bus.
#[test]
fn what_somebody_makes_up_is_not_heard() {
    let asked = json!({ "roleArn": "arn:aws:iam::123456789012:role/seb/break-glass/seb-break-glass" });
    let mut put = event("s3.amazonaws.com", "PutBucketPolicy", json!({ "type": "Root" }), json!({}));
    let mut stop = event("cloudtrail.amazonaws.com", "StopLogging", json!({ "type": "Root" }), json!({}));
    let mut glass = event("sts.amazonaws.com", "AssumeRole", json!({ "type": "IAMUser" }), asked);
    for (rule, event) in [
        ("detection/mutations_pattern", &mut put),
        ("detection/controls_pattern", &mut stop),
        ("open/pattern", &mut glass),
    ] {
        assert!(found(rule, event), "{rule}");
        event["source"] = json!("orders");
        assert!(!found(rule, event), "{rule}");
    }
}

#[test]
fn every_attempt_to_break_the_glass_is_found() {
    let attempt = |role: &str| {
        let asked = json!({ "roleArn": format!("arn:aws:iam::123456789012:role/{role}") });
        let mut event = event("sts.amazonaws.com", "AssumeRole", json!({ "type": "IAMUser" }), asked);
        event["detail"]["errorCode"] = json!("AccessDenied");
        event
    };
    for module in ["open", "closed"] {
        assert!(found(&format!("{module}/pattern"), &attempt("seb/break-glass/seb-break-glass")));
        assert!(!found(&format!("{module}/pattern"), &attempt("ops")));
    }
}
