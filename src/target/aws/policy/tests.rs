use super::*;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::Value;

#[path = "../../../../tests/support/iam.rs"]
mod iam;

use iam::{Request, Verdict, evaluate};

const ACTIONS: &[&str] = &[
    "s3:PutBucketPolicy",
    "s3:PutObject",
    "dynamodb:UpdateItem",
    "autoscaling:SetDesiredCapacity",
    "iam:PassRole",
    "sts:AssumeRole",
    "sts:TagSession",
    "iam:UpdateAccessKey",
];

const ARNS: &[&str] = &[
    "arn:aws:s3:::shop",
    "arn:aws:s3:::shop/a$b",
    "arn:aws:s3:::shops",
    "arn:aws:dynamodb:eu-west-1:123456789012:table/carts",
    "arn:aws:iam::123456789012:role/admin",
    "arn:aws:iam::123456789012:user/eve",
];

fn resource(actions: &[&str], arns: &[&str]) -> AwsResource {
    AwsResource {
        account: "123456789012".to_owned(),
        region: "eu-west-1".to_owned(),
        actions: actions.iter().map(|action| action.parse().unwrap()).collect(),
        arns: arns.iter().map(|arn| (*arn).to_owned()).collect(),
        read: None,
    }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_seconds(seconds).unwrap()
}

fn conditions(of: &[(&str, &[&str])]) -> Conditions {
    of.iter().map(|(key, values)| ((*key).to_owned(), values.iter().map(|it| (*it).to_owned()).collect())).collect()
}

fn asked(action: &str, resource: &str, now: u64) -> Request {
    Request::new(action, resource).with("aws:CurrentTime", &at(now).to_string())
}

const END: u64 = 1_795_000_000;

#[test]
fn the_text_is_this() {
    let resource = resource(&["autoscaling:SetDesiredCapacity"], &["arn:aws:s3:::shop"]);
    let text = session_policy(&resource, &Conditions::new(), at(END)).unwrap();
    assert_eq!(
        text,
        concat!(
            r#"{"Version":"2012-10-17","Statement":["#,
            r#"{"Effect":"Allow","Action":"autoscaling:SetDesiredCapacity","Resource":"arn:aws:s3:::shop"},"#,
            r#"{"Effect":"Deny","NotAction":"autoscaling:SetDesiredCapacity","Resource":"*"},"#,
            r#"{"Effect":"Deny","Action":"*","NotResource":"arn:aws:s3:::shop"},"#,
            r#"{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"DateGreaterThan":{"aws:CurrentTime":"2026-11-18T11:06:40Z"}}}]}"#,
        )
    );
}

#[test]
fn what_cannot_be_said_exactly_is_refused() {
    let action = &["s3:PutObject"];
    let none = Conditions::new();
    let policy = |resource: &AwsResource, conditions: &Conditions| session_policy(resource, conditions, at(END));
    assert_eq!(policy(&resource(&[], ARNS), &none), Err(PolicyError::Nothing("action")));
    assert_eq!(policy(&resource(action, &[]), &none), Err(PolicyError::Nothing("resource")));
    for bad in ["*", "arn:aws:s3:::a?", "arn:aws:s3:::${aws:username}", "arn:aws:s3:::a b", ""] {
        assert!(matches!(policy(&resource(action, &[bad]), &none), Err(PolicyError::NotLiteral(_))), "{bad}");
    }
    let some = resource(action, &["arn:aws:s3:::shop"]);
    let variable = conditions(&[("aws:PrincipalTag/x", &["${aws:username}"])]);
    assert!(matches!(policy(&some, &variable), Err(PolicyError::NotLiteral(_))));
    for bad in [conditions(&[("aws:x", &[])]), conditions(&[("x", &["y"])]), conditions(&[("a:\"", &["y"])])] {
        assert!(matches!(policy(&some, &bad), Err(PolicyError::Condition(_))), "{bad:?}");
    }
    let long = format!("arn:aws:s3:::{}", "a".repeat(900));
    let error = policy(&resource(action, &[&long]), &none).unwrap_err();
    assert!(matches!(error, PolicyError::TooLarge { size } if size > MAX_POLICY), "{error}");
}

/// A condition that nothing but the inverse statement keeps against a resource policy.
#[test]
fn a_condition_that_does_not_hold_is_denied_and_not_only_not_allowed() {
    let certified = resource(&["s3:PutObject"], &["arn:aws:s3:::shop"]);
    let conditions =
        conditions(&[("aws:RequestedRegion", &["eu-west-1", "eu-west-2"]), ("s3:x-amz-acl", &["private"])]);
    let policy = session_policy(&certified, &conditions, at(END)).unwrap();
    for (keys, expected) in [
        (vec![("aws:RequestedRegion", "eu-west-2"), ("s3:x-amz-acl", "private")], Verdict::Allowed),
        (vec![("aws:RequestedRegion", "us-east-1"), ("s3:x-amz-acl", "private")], Verdict::Denied),
        (vec![("aws:RequestedRegion", "eu-west-1"), ("s3:x-amz-acl", "public-read")], Verdict::Denied),
        (vec![("aws:RequestedRegion", "eu-west-1")], Verdict::Denied),
        (vec![], Verdict::Denied),
    ] {
        let request = asked("s3:PutObject", "arn:aws:s3:::shop", END);
        let request = keys.iter().fold(request, |request, (key, value)| request.with(key, value));
        assert_eq!(evaluate(&policy, &request), expected, "{keys:?}");
    }
}

/// What AWS chooses is any of its type, in one region of one account; nothing else is.
#[test]
fn i4_what_is_made_is_bound_to_its_type_region_and_account() {
    let ec2 = |rest: &str| format!("arn:aws:ec2:{rest}");
    let (instances, template) =
        (ec2("eu-west-1:123456789012:instance/*"), ec2("eu-west-1:123456789012:launch-template/lt-1"));
    let certified = resource(&["ec2:RunInstances"], &[&template, &instances]);
    let policy = session_policy(&certified, &Conditions::new(), at(END)).unwrap();
    assert!(policy.contains(&format!(r#""Resource":["{template}","{instances}"]"#)), "{policy}");
    for (action, arn, expected) in [
        ("ec2:RunInstances", "eu-west-1:123456789012:instance/i-1", Verdict::Allowed),
        ("ec2:RunInstances", "eu-west-1:123456789012:launch-template/lt-1", Verdict::Allowed),
        ("ec2:RunInstances", "eu-west-1:123456789012:launch-template/lt-2", Verdict::Denied),
        ("ec2:RunInstances", "eu-west-1:123456789012:volume/vol-1", Verdict::Denied),
        ("ec2:RunInstances", "eu-west-1:123456789012:network-interface/eni-1", Verdict::Denied),
        ("ec2:RunInstances", "us-east-1:123456789012:instance/i-1", Verdict::Denied),
        ("ec2:RunInstances", "eu-west-1:999999999999:instance/i-1", Verdict::Denied),
        ("ec2:TerminateInstances", "eu-west-1:123456789012:instance/i-1", Verdict::Denied),
        ("ec2:CreateTags", "eu-west-1:123456789012:instance/i-1", Verdict::Denied),
        ("ssm:SendCommand", "eu-west-1:123456789012:instance/i-1", Verdict::Denied),
    ] {
        assert_eq!(evaluate(&policy, &asked(action, &ec2(arn), END)), expected, "{action} {arn}");
    }
    let secret = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:";
    let certified = resource(&["secretsmanager:CreateSecret"], &[&format!("{secret}shop/db-??????")]);
    let policy = session_policy(&certified, &Conditions::new(), at(END)).unwrap();
    for (name, expected) in [
        ("shop/db-a1B2c3", Verdict::Allowed),
        ("shop/db-a1B2c", Verdict::Denied),
        ("shop/db-2-a1B2c3", Verdict::Denied),
        ("shop/other-a1B2c3", Verdict::Denied),
    ] {
        let request = asked("secretsmanager:CreateSecret", &format!("{secret}{name}"), END);
        assert_eq!(evaluate(&policy, &request), expected, "{name}");
    }
    // The same ARN is nobody else's: what could be done to every instance is no session.
    for actions in [["ec2:TerminateInstances"].as_slice(), &["ec2:RunInstances", "ec2:CreateTags"]] {
        let refused = session_policy(&resource(actions, &[&instances]), &Conditions::new(), at(END));
        assert!(matches!(refused, Err(PolicyError::NotLiteral(_))), "{actions:?}");
    }
}

proptest! {
    #[test]
    fn i4_exactly_what_is_certified_is_allowed_and_all_else_is_denied(
        actions in subsequence(ACTIONS, 1..=3),
        arns in subsequence(ARNS, 1..=3),
        action in select(ACTIONS),
        upper in any::<bool>(),
        resource_arn in select(ARNS),
        end_millis in 0_u64..1000,
        offset in 0_u64..4,
    ) {
        let not_after = Timestamp::from_millis(END * 1000 + end_millis).unwrap();
        let policy = session_policy(&resource(&actions, &arns), &Conditions::new(), not_after).unwrap();
        let spelled = if upper { action.to_ascii_uppercase() } else { action.to_owned() };
        let now = END - 1 + offset;
        let request = asked(&spelled, resource_arn, now);
        let certified = actions.contains(&action) && arns.contains(&resource_arn) && now <= END;
        prop_assert_eq!(evaluate(&policy, &request), if certified { Verdict::Allowed } else { Verdict::Denied });
    }

    #[test]
    fn i4_no_session_leads_on_unless_that_is_certified(
        actions in subsequence(&ACTIONS[..4], 1..=4),
        arns in subsequence(ARNS, 1..=3),
        action in select(&["sts:AssumeRole", "sts:TagSession", "sts:GetFederationToken", "sts:AssumeRoot", "iam:PassRole"][..]),
        target in select(&["*", "arn:aws:iam::123456789012:role/admin", "arn:aws:s3:::shop"][..]),
    ) {
        let policy = session_policy(&resource(&actions, &arns), &Conditions::new(), at(END)).unwrap();
        let request = asked(action, target, END - 10);
        prop_assert_eq!(evaluate(&policy, &request), Verdict::Denied);
    }

    #[test]
    fn a_policy_is_minified_bounded_and_ends_on_a_second(
        names in proptest::collection::vec("[a-z0-9/._-]{1,120}", 1..16),
        millis in 0_u64..4_000_000_000_000,
    ) {
        let arns: Vec<String> = names.iter().map(|name| format!("arn:aws:s3:::{name}")).collect();
        let arns: Vec<&str> = arns.iter().map(String::as_str).collect();
        let end = Timestamp::from_millis(millis).unwrap();
        match session_policy(&resource(&["s3:PutObject"], &arns), &Conditions::new(), end) {
            Ok(text) => {
                prop_assert!(text.len() <= MAX_POLICY && !text.contains(char::is_whitespace));
                prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["Statement"].as_array().unwrap().len(), 4);
            }
            Err(error) => prop_assert!(matches!(error, PolicyError::TooLarge { .. }), "{}", error),
        }
    }
}
