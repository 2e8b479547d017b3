use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::target::aws::credentials::Credentials;
use crate::target::aws::endpoint::Variant;
use crate::timestamp::Timestamp;

pub(super) fn operation(name: &str) -> Operation {
    Operation::mutation(&name.parse().unwrap()).unwrap()
}

pub(super) fn json(text: &str) -> Json {
    Json::parse(text.as_bytes()).unwrap()
}

fn made(name: &str, input: &str) -> Result<Request, NoRequest> {
    operation(name).request("eu-west-1", &Reach::Aws(Variant::Regional), &json(input))
}

fn body(request: &Request) -> &str {
    std::str::from_utf8(&request.body).unwrap()
}

fn refused(name: &str, input: &str) -> (String, String) {
    match made(name, input).unwrap_err() {
        NoRequest::Input(InvalidInput { pointer, message }) => (pointer, message),
        other => panic!("{other}"),
    }
}

#[test]
fn i4_a_request_is_the_certified_input_in_each_protocol() {
    let request = made("sqs:PurgeQueue", r#"{"QueueUrl":"https://q/1"}"#).unwrap();
    assert_eq!((request.method, request.url().as_str()), ("POST", "https://sqs.eu-west-1.amazonaws.com/"));
    assert_eq!(request.header("x-amz-target"), Some("AmazonSQS.PurgeQueue"));
    assert_eq!(request.header("content-type"), Some("application/x-amz-json-1.0"));
    assert_eq!(body(&request), r#"{"QueueUrl":"https://q/1"}"#);

    let request =
        made("iam:UpdateAccessKey", r#"{"AccessKeyId":"AKIA1","Status":"Inactive","UserName":"a b"}"#).unwrap();
    assert_eq!(request.url(), "https://iam.amazonaws.com/");
    assert_eq!((request.signing_name, request.signing_region.as_str()), ("iam", "us-east-1"));
    let form = "Action=UpdateAccessKey&Version=2010-05-08&UserName=a%20b&AccessKeyId=AKIA1&Status=Inactive";
    assert_eq!(body(&request), form);

    let input = r#"{"GroupId":"sg-1","IpPermissions":[{"FromPort":443,"IpRanges":[{"CidrIp":"10.0.0.0/8"}]}]}"#;
    let request = made("ec2:AuthorizeSecurityGroupIngress", input).unwrap();
    let form = "Action=AuthorizeSecurityGroupIngress&Version=2016-11-15&GroupId=sg-1&IpPermissions.1.FromPort=443&IpPermissions.1.IpRanges.1.CidrIp=10.0.0.0%2F8";
    assert_eq!(body(&request), form);

    let request = made("lambda:PutFunctionConcurrency", r#"{"FunctionName":"a:b/c","ReservedConcurrentExecutions":0}"#);
    let request = request.unwrap();
    assert_eq!((request.method, request.path.as_str()), ("PUT", "/2017-10-31/functions/a%3Ab%2Fc/concurrency"));
    assert_eq!(body(&request), r#"{"ReservedConcurrentExecutions":0}"#);

    let input = r#"{"Bucket":"data-bucket","VersioningConfiguration":{"Status":"Enabled"}}"#;
    let request = made("s3:PutBucketVersioning", input).unwrap();
    assert_eq!(request.url(), "https://data-bucket.s3.eu-west-1.amazonaws.com/?versioning");
    let xml = r#"<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>Enabled</Status></VersioningConfiguration>"#;
    assert_eq!(body(&request), xml);
    assert_eq!(request.header("x-amz-sdk-checksum-algorithm"), Some("SHA256"));
    assert_eq!(request.header("x-amz-checksum-sha256"), Some("SC1OUQtc3PC786BE6Cgy3HEfTyh1emwG6yF1goKnPvc="));
}

#[test]
fn i4_what_the_operation_does_not_take_is_an_error_that_names_the_place() {
    for (name, input, pointer, message) in [
        ("sqs:PurgeQueue", "[]", "", "is array, and must be an object"),
        ("sqs:PurgeQueue", "{}", "/QueueUrl", "is required"),
        ("sqs:PurgeQueue", r#"{"QueueUrl":1}"#, "/QueueUrl", "is number, and must be a string"),
        ("sqs:PurgeQueue", r#"{"QueueUrl":null}"#, "/QueueUrl", "is null, and must be a string"),
        ("sqs:PurgeQueue", r#"{"QueueUrl":"q","a/b":1}"#, "/a~1b", "is not a member of the operation's input"),
        ("ec2:TerminateInstances", r#"{"InstanceIds":"i"}"#, "/InstanceIds", "is string, and must be an array"),
        ("ec2:TerminateInstances", r#"{"InstanceIds":["i",2]}"#, "/InstanceIds/1", "is number, and must be a string"),
        (
            "autoscaling:SetDesiredCapacity",
            r#"{"AutoScalingGroupName":"a","DesiredCapacity":1.5}"#,
            "/DesiredCapacity",
            "is not an integer that fits",
        ),
        (
            "autoscaling:SetDesiredCapacity",
            r#"{"AutoScalingGroupName":"a","DesiredCapacity":2147483648}"#,
            "/DesiredCapacity",
            "is not an integer that fits",
        ),
        (
            "rds:RestoreDBInstanceToPointInTime",
            r#"{"TargetDBInstanceIdentifier":"a","RestoreTime":"yesterday"}"#,
            "/RestoreTime",
            "is not a time such as `2026-11-24T09:30:00Z`",
        ),
        (
            "lambda:UpdateFunctionCode",
            r#"{"FunctionName":"f","ZipFile":"***"}"#,
            "/ZipFile",
            "is not base64, by which octets are written",
        ),
        (
            "dynamodb:PutItem",
            r#"{"TableName":"t","Item":{"a":{"S":5}}}"#,
            "/Item/a/S",
            "is number, and must be a string",
        ),
        (
            "lambda:PutFunctionConcurrency",
            r#"{"FunctionName":"","ReservedConcurrentExecutions":0}"#,
            "/FunctionName",
            "is empty, and is part of the path",
        ),
        (
            "lambda:DeleteFunctionConcurrency",
            r#"{"FunctionName":".."}"#,
            "/FunctionName",
            "has `.` or `..` for a segment of the path",
        ),
        (
            "s3:DeleteObject",
            r#"{"Bucket":"data-bucket","Key":"a/../b"}"#,
            "/Key",
            "has `.` or `..` for a segment of the path",
        ),
        (
            "s3:DeleteBucket",
            r#"{"Bucket":"arn:aws:s3:eu-west-1:1:accesspoint/a"}"#,
            "/Bucket",
            "is not the name of a bucket: 3 to 63 lower-case letters, digits, `-` and `.`; access points are not taken",
        ),
        (
            "s3:DeleteBucket",
            r#"{"Bucket":"data--x-s3"}"#,
            "/Bucket",
            "is a directory bucket or a table bucket, which are not supported",
        ),
        (
            "s3:DeleteBucket",
            r#"{"Bucket":"data-bucket","ExpectedBucketOwner":"1\r\nx: y"}"#,
            "/ExpectedBucketOwner",
            "cannot be the value of a header: printable ASCII, without space at the ends",
        ),
        (
            "s3:CopyObject",
            r#"{"Bucket":"data-bucket","Key":"k","CopySource":"a/b","Metadata":{"a: b":"c"}}"#,
            "/Metadata",
            "has a name that cannot be part of a header's: letters, digits and `-_.`",
        ),
        (
            "s3:CopyObject",
            r#"{"Bucket":"data-bucket","Key":"k","CopySource":"a/b","Metadata":{"a":"b","A":"c"}}"#,
            "/Metadata",
            "makes the header `x-amz-meta-a` twice",
        ),
        (
            "s3:PutBucketVersioning",
            r#"{"Bucket":"data-bucket","ChecksumAlgorithm":"CRC32","VersioningConfiguration":{}}"#,
            "/ChecksumAlgorithm",
            "must be `SHA256`, or left out",
        ),
        (
            "s3:PutBucketTagging",
            "{\"Bucket\":\"data-bucket\",\"Tagging\":{\"TagSet\":[{\"Key\":\"a\",\"Value\":\"\\u0001\"}]}}",
            "",
            "holds a character that no XML can hold",
        ),
    ] {
        assert_eq!(refused(name, input), (pointer.to_owned(), message.to_owned()), "{name} {input}");
    }
}

#[test]
fn unions_have_exactly_one_member() {
    let input = |value: &str| format!(r#"{{"TableName":"t","Item":{{"a":{value}}}}}"#);
    // DynamoDB's values are no union in the model, and are taken as they come.
    assert!(made("dynamodb:PutItem", &input(r#"{"S":"a","N":"1"}"#)).is_ok());
    let unions = SERVICES.iter().flat_map(|name| {
        let service = model::service(name).unwrap().unwrap();
        service.operations().filter_map(move |(operation, row)| {
            let input = row.input.as_ref()?;
            let Some(model::Kind::Structure(shape)) = service.kind(&input.shape) else { return None };
            let (member, _) = shape.members.iter().find(
                |(_, member)| matches!(service.kind(&member.shape), Some(model::Kind::Structure(shape)) if shape.union),
            )?;
            (shape.required == [member.to_owned()]).then(|| (format!("{name}:{operation}"), member.to_owned()))
        })
    });
    for (name, member) in unions {
        let name: AwsOperation = name.parse().unwrap();
        let operation = Operation::mutation(&name).or_else(|_| Operation::read(&name)).unwrap();
        let error = operation.check(&json(&format!(r#"{{"{member}":{{}}}}"#))).unwrap_err();
        assert_eq!(error, InvalidInput::new(format!("/{member}"), "has 0 members, and must have exactly one"));
    }
}

#[test]
fn mutations_and_reads_are_two_lists() {
    let name = |text: &str| text.parse::<AwsOperation>().unwrap();
    assert!(matches!(Operation::mutation(&name("s3:GetBucketPolicy")), Err(NoOperation::Reads(_))));
    assert!(Operation::read(&name("s3:GetBucketPolicy")).is_ok());
    assert!(matches!(Operation::read(&name("s3:PutBucketPolicy")), Err(NoOperation::Operation(_))));
    assert!(matches!(Operation::mutation(&name("iam:CreateAccessKey")), Err(NoOperation::Operation(_))));
    assert!(matches!(Operation::mutation(&name("sts:AssumeRole")), Err(NoOperation::Service(_))));
}

#[test]
fn buckets_are_in_the_host_where_they_can_be() {
    let url = |bucket: &str, reach: &Reach| {
        let input = json(&format!(r#"{{"Bucket":"{bucket}","Key":"a b/c"}}"#));
        operation("s3:DeleteObject").request("eu-west-1", reach, &input).unwrap().url()
    };
    let aws = Reach::Aws(Variant::Regional);
    assert_eq!(url("data-bucket", &aws), "https://data-bucket.s3.eu-west-1.amazonaws.com/a%20b/c");
    assert_eq!(url("data.bucket", &aws), "https://s3.eu-west-1.amazonaws.com/data.bucket/a%20b/c");
    let dual = Reach::Aws(Variant::DualStack);
    assert_eq!(url("data-bucket", &dual), "https://data-bucket.s3.dualstack.eu-west-1.amazonaws.com/a%20b/c");
    let own = Reach::At("http://127.0.0.1:4566".parse().unwrap());
    assert_eq!(url("data-bucket", &own), "http://127.0.0.1:4566/data-bucket/a%20b/c");
}

fn credentials() -> Credentials {
    let hidden = |text: &str| Zeroizing::new(text.to_owned());
    let id = "ASIAEXAMPLEEXAMPLE00".to_owned();
    Credentials::new(id, hidden("very/secret+key"), hidden("session-token"), Timestamp::END).unwrap()
}

#[test]
fn i5_what_is_secret_is_not_shown() {
    let request = made("ssm:PutParameter", r#"{"Name":"n","Value":"hidden-value"}"#).unwrap();
    let shown = format!("{request:?}");
    let signed = request.signed(&credentials(), "2026-11-24T09:30:00Z".parse().unwrap()).unwrap();
    let shown = format!("{shown} {signed:?}");
    for secret in ["hidden-value", "session-token", "very/secret+key", "Signature"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert_eq!(signed.header("x-amz-security-token"), Some("session-token"));
}

#[test]
fn all_that_is_sent_is_signed() {
    let input = r#"{"Bucket":"data-bucket","Key":"a b","IfMatch":"\"e\"","ExpectedBucketOwner":"123456789012"}"#;
    let signed =
        made("s3:DeleteObject", input).unwrap().signed(&credentials(), "2026-11-24T09:30:00Z".parse().unwrap());
    let signed = signed.unwrap();
    let authorization = signed.header("authorization").unwrap();
    assert!(authorization.starts_with(
        "AWS4-HMAC-SHA256 Credential=ASIAEXAMPLEEXAMPLE00/20261124/eu-west-1/s3/aws4_request, SignedHeaders="
    ));
    let names = authorization.split("SignedHeaders=").nth(1).unwrap().split(',').next().unwrap();
    let mut sent: Vec<_> = signed.headers.iter().map(|(name, _)| name.as_str()).collect();
    sent.retain(|name| *name != "authorization");
    sent.sort_unstable();
    assert_eq!(names.split(';').collect::<Vec<_>>(), sent);
    assert!(sent.contains(&"if-match") && sent.contains(&"host") && sent.contains(&"x-amz-content-sha256"));
}

proptest! {
    /// Whatever a label holds, the request stays one to the operation's own path.
    #[test]
    fn i4_no_value_leaves_its_segment(name in "\\PC{1,40}", qualifier in "\\PC{0,40}") {
        let input = Json::object([("FunctionName", Json::from(name.as_str())), ("StatementId", "s".into()), ("Qualifier", Json::from(qualifier.as_str()))]);
        match operation("lambda:RemovePermission").request("eu-west-1", &Reach::Aws(Variant::Regional), &input) {
            Ok(request) => {
                let uri: http::Uri = request.url().parse().unwrap();
                prop_assert_eq!(uri.host(), Some("lambda.eu-west-1.amazonaws.com"));
                let segments: Vec<_> = uri.path().split('/').collect();
                prop_assert_eq!(segments.len(), 6);
                prop_assert_eq!((segments[1], segments[2], segments[4], segments[5]), ("2015-03-31", "functions", "policy", "s"));
                prop_assert_eq!(uri.query().unwrap().matches('&').count(), 0);
            }
            Err(error) => prop_assert!(name == "." || name == "..", "{}", error),
        }
    }

    /// Whatever a member holds, the form has as many parameters as there are members, and says the value.
    #[test]
    fn i4_no_value_adds_a_parameter(value in ".{0,60}") {
        let input = Json::object([("UserName", Json::from("u")), ("GroupName", Json::from(value.as_str()))]);
        let request = operation("iam:AddUserToGroup").request("aws-global", &Reach::Aws(Variant::Regional), &input).unwrap();
        let form = String::from_utf8(request.body).unwrap();
        prop_assert_eq!(form.matches('&').count(), 3);
        let sent = form.split('&').find_map(|pair| pair.strip_prefix("GroupName=")).unwrap();
        prop_assert_eq!(sent, text::escaped(&value, b""));
    }

    /// Whatever a member holds, the XML has one element for it, and says the value.
    #[test]
    fn i4_no_value_adds_an_element(value in "[^\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\u{fffe}\\u{ffff}]{0,60}") {
        let tag = Json::object([("Key", Json::from("k")), ("Value", Json::from(value.as_str()))]);
        let tagging = Json::object([("TagSet", Json::Array(vec![tag]))]);
        let input = Json::object([("Bucket", Json::from("data-bucket")), ("Tagging", tagging)]);
        let request = operation("s3:PutBucketTagging").request("eu-west-1", &Reach::Aws(Variant::Regional), &input).unwrap();
        let text = String::from_utf8(request.body).unwrap();
        let document = roxmltree::Document::parse(&text).unwrap();
        let values: Vec<_> = document.descendants().filter(|node| node.has_tag_name(("http://s3.amazonaws.com/doc/2006-03-01/", "Value"))).collect();
        prop_assert_eq!(values.len(), 1);
        prop_assert_eq!(values[0].text().unwrap_or_default(), value);
    }
}
