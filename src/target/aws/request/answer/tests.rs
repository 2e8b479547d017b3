use http::{HeaderName, HeaderValue};
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn answered(name: &str, status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
    let name = name.parse().unwrap();
    let operation = Operation::mutation(&name).or_else(|_| Operation::read(&name)).unwrap();
    let headers = headers
        .iter()
        .map(|(name, value)| (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap()));
    operation.answer(status, &headers.collect(), body.as_bytes())
}

fn accepted(name: &str, status: u16, headers: &[(&str, &str)], body: &str) -> (Option<String>, Value) {
    match answered(name, status, headers, body) {
        Answer::Accepted { request_id, output } => (request_id, output),
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn successes_are_read_in_each_protocol() {
    let id = [("x-amzn-requestid", "r-1")];
    assert_eq!(accepted("sqs:PurgeQueue", 200, &id, ""), (Some("r-1".to_owned()), json!({})));
    let (_, output) = accepted("dynamodb:UpdateItem", 200, &id, r#"{"Attributes":{"n":{"N":"3"}},"New":{"x":1}}"#);
    assert_eq!(output, json!({"Attributes": {"n": {"N": "3"}}}), "what the model does not know is left out");

    let body = "<?xml version=\"1.0\"?><CreatePolicyVersionResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\">\
        <CreatePolicyVersionResult><PolicyVersion><VersionId>v2</VersionId><IsDefaultVersion>true</IsDefaultVersion>\
        </PolicyVersion></CreatePolicyVersionResult><ResponseMetadata><RequestId>r-2</RequestId></ResponseMetadata>\
        </CreatePolicyVersionResponse>";
    let (request_id, output) = accepted("iam:CreatePolicyVersion", 200, &[], body);
    assert_eq!(request_id.as_deref(), Some("r-2"));
    assert_eq!(output, json!({"PolicyVersion": {"VersionId": "v2", "IsDefaultVersion": true}}));

    let body = "<DescribeSecurityGroupsResponse><requestId>r-3</requestId><securityGroupInfo><item><groupId>sg-1</groupId>\
        <ipPermissions><item><fromPort>443</fromPort><ipRanges><item><cidrIp>10.0.0.0/8</cidrIp></item></ipRanges></item>\
        </ipPermissions></item></securityGroupInfo></DescribeSecurityGroupsResponse>";
    let (request_id, output) = accepted("ec2:DescribeSecurityGroups", 200, &[], body);
    assert_eq!(request_id.as_deref(), Some("r-3"));
    let group =
        json!({"GroupId": "sg-1", "IpPermissions": [{"FromPort": 443, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}]});
    assert_eq!(output, json!({"SecurityGroups": [group]}));

    let body =
        r#"{"FunctionName":"f","RevisionId":"1","LastModified":"x","Environment":{"Variables":{"KEY":"hidden"}}}"#;
    let (_, output) = accepted("lambda:UpdateFunctionConfiguration", 200, &id, body);
    assert_eq!(output["RevisionId"], json!("1"));
    assert!(!output.to_string().contains("hidden"), "what the model marks as secret is left out: {output}");

    let headers = [("x-amz-request-id", "r-4"), ("etag", "\"e\""), ("content-length", "12"), ("x-amz-meta-by", "seb")];
    let (request_id, output) = accepted("s3:HeadObject", 200, &headers, "");
    assert_eq!(request_id.as_deref(), Some("r-4"));
    assert_eq!(output, json!({"ETag": "\"e\"", "ContentLength": 12, "Metadata": {"by": "seb"}}));
    assert_eq!(accepted("s3:DeleteBucketPolicy", 204, &[], ""), (None, json!({})));
    let body = "<LocationConstraint xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">eu-west-1</LocationConstraint>";
    assert_eq!(accepted("s3:GetBucketLocation", 200, &[], body).1, json!({"LocationConstraint": "eu-west-1"}));
    assert_eq!(accepted("s3:GetBucketPolicy", 200, &[], "{\"a\":1}").1, json!({"Policy": "{\"a\":1}"}));
    let body = "<Tagging><TagSet><Tag><Key>a</Key><Value>&lt;b&gt;</Value></Tag></TagSet></Tagging>";
    assert_eq!(accepted("s3:GetBucketTagging", 200, &[], body).1, json!({"TagSet": [{"Key": "a", "Value": "<b>"}]}));
}

#[test]
fn refusals_are_told_apart() {
    let query = |code: &str| {
        format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>m</Message></Error><RequestId>r-1</RequestId></ErrorResponse>"
        )
    };
    let ec2 = |code: &str| {
        format!(
            "<Response><Errors><Error><Code>{code}</Code><Message>m</Message></Error></Errors><RequestID>r-1</RequestID></Response>"
        )
    };
    let s3 = |code: &str| format!("<Error><Code>{code}</Code><Message>m</Message><RequestId>r-1</RequestId></Error>");
    let json = |code: &str| format!(r#"{{"__type":"com.amazonaws.x#{code}","Message":"m"}}"#);
    for (name, status, body, code, kind) in [
        ("iam:TagRole", 403, query("AccessDenied"), "AccessDenied", RefusalKind::Denied),
        ("iam:TagRole", 404, query("NoSuchEntity"), "NoSuchEntity", RefusalKind::NotFound),
        ("iam:TagRole", 409, query("EntityAlreadyExists"), "EntityAlreadyExists", RefusalKind::Conflict),
        ("iam:TagRole", 409, query("LimitExceeded"), "LimitExceeded", RefusalKind::Throttled),
        ("rds:StopDBInstance", 400, query("InvalidParameterValue"), "InvalidParameterValue", RefusalKind::Invalid),
        ("ec2:StopInstances", 403, ec2("UnauthorizedOperation"), "UnauthorizedOperation", RefusalKind::Denied),
        ("ec2:StopInstances", 400, ec2("RequestExpired"), "RequestExpired", RefusalKind::Unauthenticated),
        ("ec2:StopInstances", 403, ec2("SomethingNew"), "SomethingNew", RefusalKind::Unauthenticated),
        (
            "ec2:StopInstances",
            400,
            ec2("InvalidInstanceID.NotFound"),
            "InvalidInstanceID.NotFound",
            RefusalKind::NotFound,
        ),
        ("ec2:StopInstances", 503, ec2("RequestLimitExceeded"), "RequestLimitExceeded", RefusalKind::Throttled),
        ("ec2:CreateRoute", 400, ec2("RouteAlreadyExists"), "RouteAlreadyExists", RefusalKind::Conflict),
        ("s3:PutObject", 412, s3("PreconditionFailed"), "PreconditionFailed", RefusalKind::Precondition),
        ("s3:PutObject", 503, s3("SlowDown"), "SlowDown", RefusalKind::Throttled),
        ("s3:DeleteBucket", 404, s3("NoSuchBucket"), "NoSuchBucket", RefusalKind::NotFound),
        (
            "dynamodb:PutItem",
            400,
            json("ConditionalCheckFailedException"),
            "ConditionalCheckFailedException",
            RefusalKind::Precondition,
        ),
        (
            "secretsmanager:CreateSecret",
            400,
            json("ResourceExistsException"),
            "ResourceExistsException",
            RefusalKind::Conflict,
        ),
        ("sqs:PurgeQueue", 400, json("QueueDoesNotExist"), "QueueDoesNotExist", RefusalKind::NotFound),
        (
            "ec2:CreateSecurityGroup",
            400,
            ec2("InvalidGroup.Duplicate"),
            "InvalidGroup.Duplicate",
            RefusalKind::Conflict,
        ),
        ("dynamodb:PutItem", 400, json("ValidationException"), "ValidationException", RefusalKind::Invalid),
        ("kms:DisableKey", 400, json("ThrottlingException"), "ThrottlingException", RefusalKind::Throttled),
        ("kms:DisableKey", 400, json("AccessDeniedException"), "AccessDeniedException", RefusalKind::Denied),
        (
            "lambda:TagResource",
            412,
            json("PreconditionFailedException"),
            "PreconditionFailedException",
            RefusalKind::Precondition,
        ),
        (
            "lambda:TagResource",
            404,
            json("ResourceNotFoundException"),
            "ResourceNotFoundException",
            RefusalKind::NotFound,
        ),
        (
            "lambda:TagResource",
            409,
            json("ResourceConflictException"),
            "ResourceConflictException",
            RefusalKind::Conflict,
        ),
    ] {
        let Answer::Refused(refusal) = answered(name, status, &[("x-amzn-requestid", "r-0")], &body) else {
            panic!("{name} {body}")
        };
        let expected =
            Refusal { code: code.to_owned(), message: "m".to_owned(), kind, request_id: Some("r-0".to_owned()) };
        assert_eq!(refusal, expected, "{name} {body}");
    }
    let Answer::Refused(refusal) = answered("s3:DeleteBucket", 409, &[], &s3("BucketNotEmpty")) else { panic!() };
    assert_eq!((refusal.kind, refusal.request_id.as_deref()), (RefusalKind::Conflict, Some("r-1")));
    let typed = [("x-amzn-errortype", "ResourceConflictException:http://internal.amazon.com/coral/")];
    let Answer::Refused(refusal) = answered("lambda:TagResource", 409, &typed, r#"{"message":"a\nb"}"#) else {
        panic!()
    };
    assert_eq!((refusal.code.as_str(), refusal.message.as_str()), ("ResourceConflictException", "a b"));
    let Answer::Refused(refusal) = answered("s3:HeadObject", 404, &[], "") else { panic!() };
    assert_eq!((refusal.code.as_str(), refusal.kind), ("404", RefusalKind::NotFound));
}

#[test]
fn i6_what_failed_is_not_refused() {
    for (name, status, body) in [
        ("lambda:TagResource", 500, r#"{"__type":"ServiceException","message":"m"}"#),
        ("dynamodb:PutItem", 400, r#"{"__type":"x#InternalServerError","message":"m"}"#),
        ("s3:PutObject", 500, "<Error><Code>InternalError</Code><Message>m</Message></Error>"),
        ("s3:PutObject", 400, "<Error><Code>RequestTimeout</Code><Message>m</Message></Error>"),
        // Begun before the end was known.
        ("s3:CopyObject", 200, "<Error><Code>InternalError</Code><Message>m</Message></Error>"),
        // Parts of them were not done.
        ("events:PutTargets", 200, r#"{"FailedEntryCount":1,"FailedEntries":[{"TargetId":"1"}]}"#),
        ("events:PutTargets", 200, r#"{"FailedEntryCount":1}"#),
        ("ecs:RunTask", 200, r#"{"tasks":[],"failures":[{"reason":"r"}]}"#),
        ("dynamodb:BatchWriteItem", 200, r#"{"UnprocessedItems":{"t":[]}}"#),
        (
            "s3:DeleteObjects",
            200,
            "<DeleteResult><Error><Key>a</Key><Code>AccessDenied</Code><Message>m</Message></Error></DeleteResult>",
        ),
        (
            "ec2:DeleteVpcEndpoints",
            200,
            "<DeleteVpcEndpointsResponse><unsuccessful><item><resourceId>v</resourceId></item></unsuccessful></DeleteVpcEndpointsResponse>",
        ),
        ("ec2:CreateRoute", 200, "<CreateRouteResponse><return>false</return></CreateRouteResponse>"),
        ("s3:CompleteMultipartUpload", 200, "<Error><Code>NoSuchUpload</Code><Message>m</Message></Error>"),
    ] {
        let answer = answered(name, status, &[], body);
        assert!(matches!(answer, Answer::Failed { .. }), "{name} {status}: {answer:?}");
    }
}

#[test]
fn i6_what_no_service_says_is_not_credible() {
    let deep = format!("{}1{}", "{\"Attributes\":".repeat(200), "}".repeat(200));
    for (name, status, body) in [
        ("sqs:SendMessage", 200, "<html>"),
        ("sqs:SendMessage", 200, "[]"),
        ("dynamodb:UpdateItem", 200, r#"{"Attributes":[]}"#),
        ("dynamodb:UpdateItem", 200, r#"{"Attributes":{"a":{"S":{}}}}"#),
        ("dynamodb:UpdateItem", 200, &deep),
        ("dynamodb:UpdateItem", 400, "Bad Gateway"),
        ("dynamodb:UpdateItem", 400, "{}"),
        ("dynamodb:UpdateItem", 400, r#"{"__type":"a b"}"#),
        ("dynamodb:UpdateItem", 502, "<html><body>Bad Gateway</body></html>"),
        ("iam:TagRole", 200, ""),
        ("iam:TagRole", 200, "<html></html>"),
        ("iam:TagRole", 200, "<TagRoleResponse><a></TagRoleResponse>"),
        ("iam:TagRole", 200, "<UntagRoleResponse/>"),
        ("iam:CreatePolicyVersion", 200, "<CreatePolicyVersionResponse/>"),
        ("iam:TagRole", 200, "<!DOCTYPE a [<!ENTITY b \"c\">]><TagRoleResponse>&b;</TagRoleResponse>"),
        ("iam:TagRole", 403, "<html><body>Forbidden</body></html>"),
        ("ec2:StopInstances", 400, "<Response><Errors/></Response>"),
        ("s3:DeleteBucketPolicy", 200, "<html><body>Sign in</body></html>"),
        ("kms:DisableKey", 200, "<html><body>Sign in</body></html>"),
        ("s3:PutObject", 403, ""),
        ("s3:PutObject", 101, ""),
        ("s3:PutObject", 600, "<Error><Code>A</Code></Error>"),
    ] {
        let answer = answered(name, status, &[], body);
        assert!(matches!(answer, Answer::NotCredible { .. }), "{name} {status} {body}: {answer:?}");
    }
    let long = "x".repeat(MAX_ANSWER + 1);
    assert!(matches!(answered("sqs:PurgeQueue", 200, &[], &long), Answer::NotCredible { .. }));
}

#[test]
fn i6_what_is_not_known_is_not_guessed() {
    let performed =
        |name: &str, status, body: &str| answered(name, status, &[("x-amzn-requestid", "r-1")], body).performed();
    let body = r#"{"FunctionName":"f","RevisionId":"v-2"}"#;
    let Performed::Succeeded { version, detail } = performed("lambda:UpdateFunctionCode", 200, body) else { panic!() };
    assert_eq!((version, detail.as_str()), (Some("v-2".parse().unwrap()), "accepted, request r-1"));
    let done = r#"{"FailedEntryCount":0,"FailedEntries":[]}"#;
    assert!(matches!(performed("events:PutTargets", 200, done), Performed::Succeeded { version: None, .. }));
    for (code, reason) in [
        ("ConditionalCheckFailedException", Rejection::Precondition),
        ("ResourceNotFoundException", Rejection::Precondition),
        ("ResourceInUseException", Rejection::Precondition),
        ("ThrottlingException", Rejection::Busy),
        ("AccessDeniedException", Rejection::Forbidden),
        ("ExpiredTokenException", Rejection::Forbidden),
        ("ValidationException", Rejection::Invalid),
    ] {
        let body = format!(r#"{{"__type":"x#{code}","message":"m"}}"#);
        let expected = Performed::Rejected { reason, detail: format!("{code}: m, request r-1"), drift: None };
        assert_eq!(performed("dynamodb:PutItem", 400, &body), expected);
    }
    for (status, body) in [(500, r#"{"__type":"x#InternalServerError"}"#), (502, ""), (200, "<html>")] {
        assert!(matches!(performed("dynamodb:PutItem", status, body), Performed::Unknown { .. }), "{status} {body}");
    }
}

#[test]
fn messages_are_one_line_of_bounded_length() {
    let body = format!(r#"{{"__type":"A","message":"{}"}}"#, "\\u0007x".repeat(2000));
    let Answer::Refused(refusal) = answered("kms:DisableKey", 400, &[], &body) else { panic!() };
    assert_eq!(refusal.message.chars().count(), 1000);
    assert!(!refusal.message.chars().any(char::is_control));
}

proptest! {
    /// Whatever comes, it is read without a panic, and only what is right counts.
    #[test]
    fn no_answer_is_too_strange(status in 0_u16..700, body in "\\PC{0,200}", name in prop::sample::select(vec![
        "sqs:SendMessage", "iam:CreateRole", "ec2:RunInstances", "lambda:Invoke", "eks:CreateCluster", "s3:CopyObject",
    ])) {
        let answer = answered(name, status, &[], &body);
        if !(200..300).contains(&status) {
            prop_assert!(!matches!(answer, Answer::Accepted { .. }), "{:?}", answer);
        }
    }

    /// A part of an answer, or one with an octet that is another, is read without a panic; a part is no success.
    #[test]
    fn i6_a_part_of_an_answer_is_no_success(sample in 0_usize..4, cut in 1_usize..400, at in 0_usize..400, octet: u8) {
        let (name, body) = [
            ("dynamodb:UpdateItem", r#"{"Attributes":{"a":{"L":[{"N":"1"},{"M":{"b":{"BOOL":true}}}]}}}"#),
            ("lambda:UpdateFunctionCode", r#"{"FunctionName":"f","RevisionId":"1","Layers":[{"Arn":"a","CodeSize":3}]}"#),
            ("iam:CreateRole", "<CreateRoleResponse><CreateRoleResult><Role><RoleName>a</RoleName><Tags><member><Key>k</Key>\
                <Value>v</Value></member></Tags></Role></CreateRoleResult></CreateRoleResponse>"),
            ("s3:GetBucketTagging", "<Tagging><TagSet><Tag><Key>a</Key><Value>&lt;</Value></Tag></TagSet></Tagging>"),
        ][sample];
        let whole = answered(name, 200, &[], body);
        prop_assert!(matches!(whole, Answer::Accepted { .. }), "{:?}", whole);
        let part = &body.as_bytes()[..cut.min(body.len() - 1)];
        let operation = || {
            let name = name.parse().unwrap();
            Operation::mutation(&name).or_else(|_| Operation::read(&name)).unwrap()
        };
        let answer = operation().answer(200, &HeaderMap::new(), part);
        prop_assert!(matches!(answer, Answer::NotCredible { .. }), "{:?}", answer);
        let mut other = body.as_bytes().to_vec();
        let at = at % other.len();
        other[at] = octet;
        operation().answer(200, &HeaderMap::new(), &other);
    }
}

/// What is kept of octets that cannot be read is one line of bounded length.
#[test]
fn what_a_parser_says_is_shown_as_everything_else_is() {
    let long = format!("<{}\u{1e}", "a".repeat(100_000));
    for body in ["<Tagging><TagSet\u{1e}<Tag/></TagSet></Tagging>", &long] {
        let Answer::NotCredible { detail } = answered("s3:GetBucketTagging", 200, &[], body) else { panic!() };
        assert!(detail.len() < 2000 && !detail.contains(char::is_control), "{}", detail.len());
    }
}
