//! From a certified body to the signed request, for mutations as people certify them: up to the octets that would be sent.

#[cfg(test)]
mod tests {
    use seb::contract::{AwsResource, Baseline, Json, StepName};
    use seb::decision::MutationId;
    use seb::digest::Digest;
    use seb::execution::Grade;
    use seb::target::aws::credentials::Credentials;
    use seb::target::aws::endpoint::Variant;
    use seb::target::aws::policy::{Conditions, session_policy};
    use seb::target::aws::request::{Operation, Reach, SERVICES, SignedRequest};
    use seb::timestamp::Timestamp;
    use tokio::time::Instant;
    use zeroize::Zeroizing;

    fn mutation() -> MutationId {
        let step: StepName = "step".parse().unwrap();
        MutationId::derive(&Digest::of(b"certificate"), &step, 1)
    }

    fn exact(version: &str) -> Baseline {
        Baseline::Exact { identity: "arn:aws:x:::y".to_owned(), version: version.parse().unwrap() }
    }

    fn fields(pointer: &str, value: &str) -> Baseline {
        let field = (pointer.parse().unwrap(), Json::parse(value.as_bytes()).unwrap());
        Baseline::Fields {
            identity: "row".to_owned(),
            version: "1".parse().unwrap(),
            fields: [field].into_iter().collect(),
        }
    }

    fn signed(name: &str, region: &str, body: &str, baseline: &Baseline) -> (SignedRequest, Grade) {
        let operation = Operation::mutation(&name.parse().unwrap()).unwrap();
        let resource = AwsResource {
            account: "123456789012".to_owned(),
            region: region.to_owned(),
            actions: vec![name.parse().unwrap()],
            arns: vec!["arn:aws:x:::y".to_owned()],
            read: None,
        };
        let body = Json::parse(body.as_bytes()).unwrap();
        let (input, grade) = operation.input(Some(&body), &resource, baseline, &mutation()).unwrap();
        let request = operation.request(region, &Reach::Aws(Variant::Regional), &input).unwrap();
        let hidden = |text: &str| Zeroizing::new(text.to_owned());
        let id = "ASIAEXAMPLEEXAMPLE00".to_owned();
        let session = Credentials::new(id, hidden("very/secret+key"), hidden("token"), Timestamp::END).unwrap();
        (request.signed(&session, "2026-11-24T09:30:00Z".parse().unwrap()).unwrap(), grade)
    }

    /// What AWS chooses the identifiers of: machines from a launch template of which the version is certified.
    #[test]
    fn i4_machines_are_made_from_a_certified_template() {
        let ec2 = |rest: &str| format!("arn:aws:ec2:eu-west-1:123456789012:{rest}");
        let resource = AwsResource {
            account: "123456789012".to_owned(),
            region: "eu-west-1".to_owned(),
            actions: vec!["ec2:RunInstances".parse().unwrap()],
            arns: vec![
                ec2("launch-template/lt-0a1b2c3d"),
                ec2("subnet/subnet-0a1b"),
                ec2("security-group/sg-0a1b"),
                "arn:aws:ec2:eu-west-1::image/ami-0a1b".to_owned(),
                ec2("instance/*"),
                ec2("volume/*"),
                ec2("network-interface/*"),
            ],
            read: None,
        };
        let made: Vec<_> = resource.made().collect();
        assert_eq!(made, [ec2("instance/*"), ec2("volume/*"), ec2("network-interface/*")]);
        let policy = session_policy(&resource, &Conditions::new(), "2026-11-24T09:31:00Z".parse().unwrap()).unwrap();
        let policy: serde_json::Value = serde_json::from_str(&policy).unwrap();
        assert_eq!(policy["Statement"][0]["Resource"], serde_json::json!(resource.arns));
        assert_eq!(policy["Statement"][2]["NotResource"], serde_json::json!(resource.arns));

        let operation = Operation::mutation(&"ec2:RunInstances".parse().unwrap()).unwrap();
        let body = r#"{"LaunchTemplate":{"LaunchTemplateId":"lt-0a1b2c3d","Version":"7"},"MinCount":2,"MaxCount":2}"#;
        let body = Json::parse(body.as_bytes()).unwrap();
        let template = fields("/LaunchTemplateVersions/0/VersionNumber", "7");
        let (input, grade) = operation.input(Some(&body), &resource, &template, &mutation()).unwrap();
        let request = operation.request("eu-west-1", &Reach::Aws(Variant::Regional), &input).unwrap();
        assert_eq!((grade, request.url().as_str()), (Grade::Bounded, "https://ec2.eu-west-1.amazonaws.com/"));
        let sent = String::from_utf8(request.body.clone()).unwrap();
        let id = mutation();
        for part in [
            "Action=RunInstances&Version=2016-11-15".to_owned(),
            "LaunchTemplate.LaunchTemplateId=lt-0a1b2c3d&LaunchTemplate.Version=7".to_owned(),
            "MinCount=2".to_owned(),
            "MaxCount=2".to_owned(),
            format!("ClientToken={id}"),
        ] {
            assert!(sent.contains(&part), "{part}: {sent}");
        }
        assert_eq!(sent.split('&').count(), 7, "{sent}");
    }

    #[test]
    fn i4_mutations_become_their_exact_requests() {
        let id = mutation();
        let policy = r#"{\"Version\":\"2012-10-17\",\"Statement\":[]}"#;
        let cases = [
            (
                "autoscaling:SetDesiredCapacity",
                "eu-west-1",
                r#"{"AutoScalingGroupName":"web","DesiredCapacity":20}"#.to_owned(),
                fields("/AutoScalingGroups/0/DesiredCapacity", "12"),
                Grade::Bounded,
                "POST https://autoscaling.eu-west-1.amazonaws.com/",
                "Action=SetDesiredCapacity&Version=2011-01-01&AutoScalingGroupName=web&DesiredCapacity=20".to_owned(),
            ),
            (
                "ec2:RevokeSecurityGroupIngress",
                "eu-west-1",
                r#"{"GroupId":"sg-1","SecurityGroupRuleIds":["sgr-1"]}"#.to_owned(),
                fields("/SecurityGroupRules/0/CidrIpv4", r#""0.0.0.0/0""#),
                Grade::Bounded,
                "POST https://ec2.eu-west-1.amazonaws.com/",
                "Action=RevokeSecurityGroupIngress&Version=2016-11-15&GroupId=sg-1&SecurityGroupRuleId.1=sgr-1".to_owned(),
            ),
            (
                "s3:PutBucketPolicy",
                "eu-west-1",
                format!(r#"{{"Bucket":"data-bucket","Policy":"{policy}"}}"#),
                exact("1"),
                Grade::Bounded,
                "PUT https://data-bucket.s3.eu-west-1.amazonaws.com/?policy",
                policy.replace('\\', ""),
            ),
            (
                "dynamodb:UpdateItem",
                "eu-west-1",
                r#"{"TableName":"t","Key":{"id":{"S":"1"}},"UpdateExpression":"SET price = :p","ExpressionAttributeValues":{":p":{"N":"10"}}}"#.to_owned(),
                fields("/Item/price/N", r#""9""#),
                Grade::Atomic,
                "POST https://dynamodb.eu-west-1.amazonaws.com/",
                r##"{"ConditionExpression":"#seb0 = :seb0","ExpressionAttributeNames":{"#seb0":"price"},"ExpressionAttributeValues":{":p":{"N":"10"},":seb0":{"N":"9"}},"Key":{"id":{"S":"1"}},"TableName":"t","UpdateExpression":"SET price = :p"}"##.to_owned(),
            ),
            (
                "iam:UpdateAccessKey",
                "aws-global",
                r#"{"UserName":"jane","AccessKeyId":"AKIAIOSFODNN7EXAMPLE","Status":"Inactive"}"#.to_owned(),
                fields("/AccessKeyMetadata/0/Status", r#""Active""#),
                Grade::Bounded,
                "POST https://iam.amazonaws.com/",
                "Action=UpdateAccessKey&Version=2010-05-08&UserName=jane&AccessKeyId=AKIAIOSFODNN7EXAMPLE&Status=Inactive".to_owned(),
            ),
            (
                "lambda:UpdateFunctionConfiguration",
                "eu-west-1",
                r#"{"FunctionName":"f","Timeout":30}"#.to_owned(),
                exact("r-1"),
                Grade::Atomic,
                "PUT https://lambda.eu-west-1.amazonaws.com/2015-03-31/functions/f/configuration",
                r#"{"RevisionId":"r-1","Timeout":30}"#.to_owned(),
            ),
            (
                "cloudcontrol:DeleteResource",
                "eu-west-1",
                r#"{"TypeName":"AWS::Logs::LogGroup","Identifier":"g"}"#.to_owned(),
                exact("1"),
                Grade::Bounded,
                "POST https://cloudcontrolapi.eu-west-1.amazonaws.com/",
                format!(r#"{{"ClientToken":"{id}","Identifier":"g","TypeName":"AWS::Logs::LogGroup"}}"#),
            ),
        ];
        for (name, region, body, baseline, grade, line, sent) in cases {
            let (request, held) = signed(name, region, &body, &baseline);
            assert_eq!((format!("{} {}", request.method, request.url).as_str(), held), (line, grade), "{name}");
            assert_eq!(String::from_utf8(request.body.clone()).unwrap(), sent, "{name}");
            let authorization = request.header("authorization").unwrap();
            let signed = if region == "aws-global" { "us-east-1" } else { region };
            assert!(authorization.contains(&format!("/20261124/{signed}/")), "{name}: {authorization}");
            assert_eq!(request.header("x-amz-security-token"), Some("token"), "{name}");
        }
    }

    /// Prints how long the tables, a request and its signature take: `cargo test --test aws_requests measure_ -- --nocapture`.
    #[test]
    fn measure_requests() {
        for service in SERVICES {
            let start = Instant::now();
            let any = format!("{service}:TagResource").parse().unwrap();
            let _ = Operation::mutation(&any);
            println!("table of {service}: {:?}", start.elapsed());
        }
        let start = Instant::now();
        for _ in 0..1000 {
            let body = r#"{"AutoScalingGroupName":"web","DesiredCapacity":20}"#;
            let (request, _) = signed("autoscaling:SetDesiredCapacity", "eu-west-1", body, &exact("1"));
            assert_eq!(request.method, "POST");
        }
        println!("a request with its signature: {:?}", start.elapsed() / 1000);
    }
}
