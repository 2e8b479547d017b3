use super::super::tests::{json, operation};
use super::*;
use crate::contract::StepName;

fn mutation() -> MutationId {
    let step: StepName = "step".parse().unwrap();
    MutationId::derive(&Digest::of(b"certificate"), &step, 1)
}

fn resource() -> AwsResource {
    AwsResource {
        account: "123456789012".to_owned(),
        region: "eu-west-1".to_owned(),
        actions: vec!["s3:PutObject".parse().unwrap()],
        arns: vec!["arn:aws:s3:::data-bucket/a".to_owned()],
        read: None,
    }
}

fn exact(version: &str) -> Baseline {
    Baseline::Exact { identity: "arn:aws:x:::y".to_owned(), version: version.parse().unwrap() }
}

fn fields(fields: &[(&str, &str)]) -> Baseline {
    let fields = fields.iter().map(|(pointer, value)| (Pointer::parse(pointer).unwrap(), json(value))).collect();
    Baseline::Fields { identity: "arn:aws:x:::y".to_owned(), version: "1".parse().unwrap(), fields }
}

fn bound(name: &str, body: &str, baseline: &Baseline) -> Result<(Json, Grade), InvalidInput> {
    operation(name).input(Some(&json(body)), &resource(), baseline, &mutation())
}

#[test]
fn every_condition_is_one_of_its_operation() {
    for (service, name, condition) in CONDITIONS {
        let operation = operation(&format!("{service}:{name}"));
        let members = match condition {
            Condition::Version { member, absent, .. } => {
                [*member, absent.map_or(*member, |(member, _)| member)].to_vec()
            }
            Condition::Creates => Vec::new(),
            Condition::Expression => {
                vec!["ConditionExpression", "ExpressionAttributeNames", "ExpressionAttributeValues"]
            }
        };
        for member in members {
            assert!(operation.has(member), "{operation:?}: {member}");
        }
        if let Condition::Version { shown: (read, pointer), .. } = condition {
            let read = Operation::read(&format!("{service}:{read}").parse().unwrap()).unwrap();
            let shape = read.row.output.as_deref().and_then(|output| read.service.kind(output));
            let Some(Kind::Structure(shape)) = shape else { panic!("{read:?}") };
            assert!(shape.members.get(pointer.split('/').nth(1).unwrap()).is_some(), "{read:?}: {pointer}");
        }
    }
}

#[test]
fn what_creates_refuses_by_itself_what_exists() {
    for (service, names) in CREATES {
        for name in *names {
            assert_eq!(
                operation(&format!("{service}:{name}")).condition(),
                Some(Condition::Creates),
                "{service}:{name}"
            );
        }
    }
    let role = r#"{"RoleName":"r","AssumeRolePolicyDocument":"{}"}"#;
    assert_eq!(bound("iam:CreateRole", role, &Baseline::Absent).unwrap(), (json(role), Grade::Atomic));
    // It gives the topic that there is.
    assert_eq!(bound("sns:CreateTopic", r#"{"Name":"t"}"#, &Baseline::Absent).unwrap().1, Grade::Bounded);
}

#[test]
fn versions_go_into_the_call() {
    for (name, body, version, member, expected) in [
        (
            "lambda:UpdateFunctionCode",
            r#"{"FunctionName":"f","S3Bucket":"b","S3Key":"k"}"#,
            "r-1",
            "RevisionId",
            r#""r-1""#,
        ),
        ("s3:DeleteObject", r#"{"Bucket":"data-bucket","Key":"a"}"#, "\"e\"", "IfMatch", r#""\"e\"""#),
        ("ec2:ModifyManagedPrefixList", r#"{"PrefixListId":"pl-1"}"#, "3", "CurrentVersion", "3"),
        ("dynamodb:PutResourcePolicy", r#"{"ResourceArn":"a","Policy":"p"}"#, "7", "ExpectedRevisionId", r#""7""#),
    ] {
        let (input, grade) = bound(name, body, &exact(version)).unwrap();
        assert_eq!((input.get(member), grade), (Some(&json(expected)), Grade::Atomic), "{name}");
    }
    let (input, grade) = bound("s3:PutObject", r#"{"Bucket":"data-bucket","Key":"a"}"#, &Baseline::Absent).unwrap();
    assert_eq!((input.get("IfNoneMatch"), grade), (Some(&Json::from("*")), Grade::Atomic));
    assert_eq!(input.get("ExpectedBucketOwner"), Some(&Json::from("123456789012")));
}

#[test]
fn what_holds_no_baseline_is_bounded() {
    let group = r#"{"AutoScalingGroupName":"a","DesiredCapacity":1}"#;
    assert_eq!(bound("autoscaling:SetDesiredCapacity", group, &exact("1")).unwrap(), (json(group), Grade::Bounded));
    // The version of a baseline of fields may have changed.
    let function = r#"{"FunctionName":"f","Timeout":3}"#;
    let (input, grade) = bound("lambda:UpdateFunctionConfiguration", function, &fields(&[("/Timeout", "2")])).unwrap();
    assert_eq!((input, grade), (json(function), Grade::Bounded));
    let item = r#"{"TableName":"t","Key":{"id":{"S":"1"}}}"#;
    assert_eq!(bound("dynamodb:DeleteItem", item, &exact("1")).unwrap().1, Grade::Bounded);
    assert_eq!(bound("dynamodb:DeleteItem", item, &fields(&[("/ConsumedCapacity", "1")])).unwrap().1, Grade::Bounded);
}

#[test]
fn fields_of_an_item_become_its_condition() {
    let body = r##"{"TableName":"t","Key":{"id":{"S":"1"}},"UpdateExpression":"SET #p = :p","ConditionExpression":"a OR b",
        "ExpressionAttributeNames":{"#p":"price"},"ExpressionAttributeValues":{":p":{"N":"10"}}}"##;
    let baseline = fields(&[("/Item/price", r#"{"N":"9"}"#), ("/Item/stock/M/a.b/L/2/N", r#""4""#)]);
    let (input, grade) = bound("dynamodb:UpdateItem", body, &baseline).unwrap();
    assert_eq!(grade, Grade::Atomic);
    let expression = "(a OR b) AND #seb0 = :seb0 AND #seb1.#seb2[2] = :seb1";
    assert_eq!(input.get("ConditionExpression"), Some(&Json::from(expression)));
    let names = r##"{"#p":"price","#seb0":"price","#seb1":"stock","#seb2":"a.b"}"##;
    assert_eq!(input.get("ExpressionAttributeNames"), Some(&json(names)));
    let values = r#"{":p":{"N":"10"},":seb0":{"N":"9"},":seb1":{"N":"4"}}"#;
    assert_eq!(input.get("ExpressionAttributeValues"), Some(&json(values)));
}

#[test]
fn i4_no_body_writes_what_the_broker_writes() {
    let item = |more: &str| format!(r#"{{"TableName":"t","Item":{{"id":{{"S":"1"}}}}{more}}}"#);
    let price = fields(&[("/Item/price", r#"{"N":"9"}"#)]);
    for (name, body, baseline, member) in [
        (
            "cloudcontrol:DeleteResource",
            r#"{"TypeName":"A::B::C","Identifier":"i","ClientToken":"mine"}"#.to_owned(),
            &exact("1"),
            "/ClientToken",
        ),
        (
            "lambda:PublishVersion",
            r#"{"FunctionName":"f","RevisionId":"other"}"#.to_owned(),
            &exact("1"),
            "/RevisionId",
        ),
        (
            "s3:DeleteBucket",
            r#"{"Bucket":"data-bucket","ExpectedBucketOwner":"210987654321"}"#.to_owned(),
            &exact("1"),
            "/ExpectedBucketOwner",
        ),
        ("dynamodb:PutItem", item(r#","ConditionExpression":"a) OR (b""#), &price, "/ConditionExpression"),
        (
            "dynamodb:PutItem",
            item(r##","ExpressionAttributeNames":{"#seb0":"x"}"##),
            &price,
            "/ExpressionAttributeNames",
        ),
        ("dynamodb:PutItem", item(r#","Expected":{}"#), &price, "/Expected"),
        ("ec2:StopInstances", r#"{"InstanceIds":["i"],"DryRun":true}"#.to_owned(), &exact("1"), "/DryRun"),
    ] {
        assert_eq!(bound(name, &body, baseline).unwrap_err().pointer, member, "{name}");
    }
    let same = r#"{"FunctionName":"f","RevisionId":"1"}"#;
    assert!(bound("lambda:PublishVersion", same, &exact("1")).is_ok());
}

#[test]
fn client_tokens_are_the_mutation() {
    let id = mutation();
    let (input, _) =
        bound("cloudcontrol:DeleteResource", r#"{"TypeName":"A::B::C","Identifier":"i"}"#, &exact("1")).unwrap();
    assert_eq!(input.get("ClientToken"), Some(&Json::string(&id)));
    let (input, _) = bound("ecs:CreateService", r#"{"serviceName":"s"}"#, &Baseline::Absent).unwrap();
    let uuid = input.get("clientToken").and_then(Json::as_str).unwrap().to_owned();
    assert_eq!(uuid, token(&id, TokenForm::Uuid));
    let lengths: Vec<_> = uuid.split('-').map(str::len).collect();
    assert_eq!((lengths, uuid.as_bytes()[14]), (vec![8, 4, 4, 4, 12], b'8'));
    let step: StepName = "step".parse().unwrap();
    let other = MutationId::derive(&Digest::of(b"certificate"), &step, 2);
    assert_ne!(token(&other, TokenForm::Uuid), uuid);
}
