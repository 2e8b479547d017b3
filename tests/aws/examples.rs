//! The proposals, policies and configurations of `examples/aws`, as they are there: through an authority and a broker that are
//! processes, by the command line, in an account. What cannot be the same in any account is put in its place: addresses, ARNs
//! of roles, ids that AWS makes up, and one date.
//!
//! The emulator enforces IAM for DynamoDB, S3, IAM and Lambda. For EC2 and Auto Scaling it does not; there the request and the
//! session policy are compared to the letter.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Method;
use seb::clock;
use seb::identity::embedded::{Domain, Grant};
use seb::timestamp::Timestamp;
use serde_json::{Value, json};
use spiffe::TrustDomain;
use tokio::process::Command;

use crate::people::{People, Ports, replaced};
use crate::recorder::{Recorder, Trip};
use crate::roles_anywhere::{PROFILE, ROLE, TRUST_ANCHOR, Trust, unescaped};
use crate::testbed::Folder;
use crate::testbed::aws::{ACCOUNT, Asked, Keys, element, trusts};
use crate::testbed::process::Process;
use crate::world::{OWN_ANCHOR, READER, TARGET, World, id};

/// The role by which the authority reads.
const AUTHORITY_READER: &str = "arn:aws:iam::123456789012:role/sab-reader";

/// The account, with authority and broker.
struct Account {
    broker: Process,
    authority: Process,
    people: People,
    /// Between the broker and the account.
    recorder: Recorder,
    world: World,
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/aws")
}

fn example(name: &str) -> String {
    std::fs::read_to_string(examples().join(name)).unwrap()
}

impl Account {
    async fn new() -> Self {
        let folder = Folder::new();
        let (now, domain) = (clock::now().unwrap(), TrustDomain::new("example.org").unwrap());
        let domain = Domain::init(&folder.join("domain"), &domain, now).unwrap();
        for path in ["seb", "sab", "agent/deployer", "agent/responder"] {
            let into = folder.join(path.trim_start_matches("agent/"));
            domain.issue(Grant::new(id(path), into, Duration::from_secs(7200), path == "seb"), now).unwrap();
        }
        let home = folder.path().to_owned();
        let world = World::around(folder, &home).await;
        readers(&world).await;
        let (ports, recorder) = (Ports::free(), Recorder::to(&world.aws.address).await);
        configure(&world, &ports, &recorder);
        let ids = [id("sab"), id("seb")].map(|id| id.to_string());
        let people = People::new(&world.folder, ports, ids);
        let start = |name, binary: &str, words: &[&str]| Process::start(name, Path::new(binary), words, &home);
        let authority = start("sab", env!("CARGO_BIN_EXE_sab"), &["serve", "--config", "sab.toml"]);
        let broker = start("seb", env!("CARGO_BIN_EXE_seb"), &["broker", "--config", "broker.toml"]);
        let mut account = Self { broker, authority, people, recorder, world };
        account.people.ready(&mut account.authority, &mut account.broker).await;
        account
    }

    /// The certificate that an agent gets for an example, with these changes.
    async fn admitted(&self, agent: &str, name: &str, changes: &[(&str, String)]) -> PathBuf {
        let (status, answer, certificate) = self.proposed(agent, name, changes).await;
        assert_eq!((status, &answer["state"]), (0, &json!("admitted")), "{name}: {answer}");
        certificate
    }

    async fn proposed(&self, agent: &str, name: &str, changes: &[(&str, String)]) -> (i32, Value, PathBuf) {
        let file = self.people.fresh(name);
        std::fs::write(&file, replaced(example(name), changes)).unwrap();
        self.people.propose_file(agent, &file).await
    }

    /// It is performed.
    async fn executes(&self, agent: &str, certificate: &Path, words: &[&str]) -> Value {
        let (status, answer) = self.people.execute(agent, certificate, words).await;
        assert_eq!((status, &answer["state"]), (0, &json!("succeeded")), "{words:?}: {answer}");
        answer
    }

    /// It is refused, and nothing but reading goes to the account; the reason.
    async fn refuses(&self, agent: &str, certificate: &Path, words: &[&str]) -> String {
        self.recorder.take();
        let (status, answer) = self.people.execute(agent, certificate, words).await;
        assert_eq!(status, 1, "{words:?}: {answer}");
        let sent = self.recorder.trips();
        assert!(sent.iter().all(|trip| !trip.asked().contains("Action=AssumeRole")), "{sent:#?}");
        answer["error"]["reason"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// The text of an answer, read as root.
    async fn shown(&self, service: &'static str, action: &str, parameters: &[(&str, &str)], name: &str) -> String {
        let answer = self.world.aws.root(&Asked::query(service, action, parameters)).await;
        element(&answer, name).unwrap_or_else(|| panic!("no {name}: {answer}"))
    }

    /// What the newest session may do: certified, and nothing else.
    fn narrowed_to(&self, actions: &Value, resources: &Value) {
        let trip = self.recorder.newest("Action=AssumeRole");
        let form: BTreeMap<_, _> = trip.body().split('&').filter_map(|it| it.split_once('=')).map(unescaped).collect();
        let policy: Value = serde_json::from_str(&form["Policy"]).unwrap();
        let end = policy.pointer("/Statement/3/Condition/DateGreaterThan/aws:CurrentTime").unwrap_or(&Value::Null);
        let ends: Timestamp = end.as_str().unwrap_or_else(|| panic!("{policy}")).parse().unwrap();
        let now = clock::now().unwrap();
        assert!(ends <= now.saturating_add(Duration::from_secs(30)), "{ends}, and it is {now}");
        let expected = json!({ "Version": "2012-10-17", "Statement": [
            { "Effect": "Allow", "Action": actions, "Resource": resources },
            { "Effect": "Deny", "NotAction": actions, "Resource": "*" },
            { "Effect": "Deny", "Action": "*", "NotResource": resources },
            { "Effect": "Deny", "Action": "*", "Resource": "*",
              "Condition": { "DateGreaterThan": { "aws:CurrentTime": end } } },
        ]});
        assert_eq!(policy, expected);
        assert_eq!(form["RoleArn"], TARGET);
    }
}

/// The roles that read, as the README says: by `reader.json`, and nobody but the authority by its own.
async fn readers(world: &World) {
    let may: Value = serde_json::from_str(&example("reader.json")).unwrap();
    let root = trusts(&[format!("arn:aws:iam::{ACCOUNT}:root")]);
    world.aws.role("sab-reader", &root, &may["Statement"]).await;
    let text = may.to_string();
    let parameters = [("RoleName", "seb-reader"), ("PolicyName", "may"), ("PolicyDocument", text.as_str())];
    world.aws.root(&Asked::query("iam", "PutRolePolicy", &parameters)).await;
    let trust = Trust { source_arn: Some(OWN_ANCHOR.to_owned()), uri_begins: id("sab").to_string() };
    world.anywhere.configure(|rules| drop(rules.roles.insert(AUTHORITY_READER.to_owned(), trust)));
}

/// Writes the configurations of the examples, for this account and these ports.
fn configure(world: &World, ports: &Ports, recorder: &Recorder) {
    let arn = |kind: &str, last: u8| {
        format!("arn:aws:rolesanywhere:eu-west-1:{ACCOUNT}:{kind}/9e4f2a10-0000-4000-8000-00000000000{last}")
    };
    let role = |name: &str| format!("arn:aws:iam::{ACCOUNT}:role/{name}");
    let region = |endpoint: String| {
        let anywhere = &world.anywhere.origin;
        format!("region = \"eu-west-1\"\nendpoint = \"{endpoint}\"\nroles_anywhere_endpoint = \"{anywhere}\"")
    };
    let patience = "staleness_ms = 4000\nmax_clock_skew_ms = 2000\nmax_state_age_ms = 20000\nboundary = \"warn\"";
    let broker = [
        ("127.0.0.1:7443", ports.broker.clone()),
        ("127.0.0.1:7480", ports.broker_http.clone()),
        ("127.0.0.1:7543", ports.authority.clone()),
        ("region = \"eu-west-1\"", region(recorder.origin())),
        ("boundary = \"warn\"", patience.to_owned()),
        (&arn("trust-anchor", 1), OWN_ANCHOR.to_owned()),
        (&arn("profile", 2), PROFILE.to_owned()),
        (&arn("trust-anchor", 3), TRUST_ANCHOR.to_owned()),
        (&arn("profile", 4), PROFILE.to_owned()),
        (&role("seb/reader/seb-reader-broker"), READER.to_owned()),
        (&role("seb/bootstrap/seb-bootstrap"), ROLE.to_owned()),
        (&role("seb/execution/seb-production"), TARGET.to_owned()),
    ];
    let sab = [
        ("127.0.0.1:7543", ports.authority.clone()),
        ("127.0.0.1:7580", ports.authority_http.clone()),
        ("[epochs]", "[epochs]\nstaleness = \"5s\"\nmax_clock_skew = \"2s\"".to_owned()),
        ("\"policies\"", format!("{:?}", examples().join("policies"))),
        ("region = \"eu-west-1\"", region(world.aws.origin())),
        (&arn("trust-anchor", 1), OWN_ANCHOR.to_owned()),
        (&arn("profile", 2), PROFILE.to_owned()),
        (&role("seb/reader/seb-reader-authority"), AUTHORITY_READER.to_owned()),
    ];
    for (name, changes) in [("broker.toml", &broker[..]), ("sab.toml", &sab[..])] {
        std::fs::write(world.folder.join(name), replaced(example(name), changes)).unwrap();
    }
}

/// Whose the request is, and whom it is for.
fn is_signed_for(trip: &Trip, region: &str, service: &str) {
    let authorization = trip.header("authorization").unwrap();
    assert!(authorization.contains(&format!("/{region}/{service}/aws4_request")), "{authorization}");
    assert!(trip.header("x-amz-security-token").is_some(), "{}", trip.asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auto_scaling_group_is_scaled_within_bounds_until_a_date() {
    let account = Account::new().await;
    let aws = &account.world.aws;
    let template = [
        ("LaunchTemplateName", "web"),
        ("LaunchTemplateData.ImageId", "ami-0123456789abcdef0"),
        ("LaunchTemplateData.InstanceType", "t3.micro"),
    ];
    aws.root(&Asked::query("ec2", "CreateLaunchTemplate", &template)).await;
    let group = [
        ("AutoScalingGroupName", "shop"),
        ("MinSize", "10"),
        ("MaxSize", "50"),
        ("DesiredCapacity", "12"),
        ("AvailabilityZones.member.1", "eu-west-1a"),
        ("LaunchTemplate.LaunchTemplateName", "web"),
        ("LaunchTemplate.Version", "1"),
    ];
    aws.root(&Asked::query("autoscaling", "CreateAutoScalingGroup", &group)).await;
    let shop = [("AutoScalingGroupNames.member.1", "shop")];
    let shows = async |name| account.shown("autoscaling", "DescribeAutoScalingGroups", &shop, name).await;
    let arn = shows("AutoScalingGroupARN").await;
    let in_file = "arn:aws:autoscaling:eu-west-1:123456789012:autoScalingGroup:5d1f0c9e-2b7a-4c35-9a53-7c0e6c1f2a44:\
                   autoScalingGroupName/shop";
    let until = clock::now().unwrap().saturating_add(Duration::from_secs(3 * 86_400));
    let until = Timestamp::from_seconds(until.seconds()).unwrap().to_string();
    let changes = [(in_file, arn.clone()), ("2026-11-30T23:59:59Z", until)];
    let certificate = account.admitted("deployer", "scale.yaml", &changes).await;
    for (capacity, key) in [("20", "morning"), ("50", "noon"), ("10", "evening")] {
        let value = format!("/DesiredCapacity={capacity}");
        let words = ["--set", &value, "--idempotency-key", key];
        account.executes("deployer", &certificate, &words).await;
        assert_eq!(shows("DesiredCapacity").await, capacity);
        let sent = account.recorder.newest("Action=UpdateAutoScalingGroup");
        assert_eq!(sent.line(), "POST / HTTP/1.1");
        let body = format!(
            "Action=UpdateAutoScalingGroup&Version=2011-01-01&AutoScalingGroupName=shop&DesiredCapacity={capacity}"
        );
        assert_eq!(sent.body(), body);
        is_signed_for(&sent, "eu-west-1", "autoscaling");
        account.narrowed_to(&json!("autoscaling:UpdateAutoScalingGroup"), &json!(arn));
        // The same again is the same use.
        account.executes("deployer", &certificate, &words).await;
    }
    for capacity in ["9", "51"] {
        let value = format!("/DesiredCapacity={capacity}");
        let words = ["--set", &value, "--idempotency-key", "night"];
        assert_eq!(account.refuses("deployer", &certificate, &words).await, "parameter_out_of_bounds");
    }
    let (_, answer, _) = account.proposed("responder", "scale.yaml", &changes).await;
    assert_eq!(answer["state"], "refused", "{answer}");
    // It starts other machines than the authority saw.
    let template = [("LaunchTemplateName", "web"), ("LaunchTemplateData.ImageId", "ami-0fedcba9876543210")];
    aws.root(&Asked::query("ec2", "CreateLaunchTemplateVersion", &template)).await;
    let other = [&shop_uses("2")[..]].concat();
    aws.root(&Asked::query("autoscaling", "UpdateAutoScalingGroup", &other)).await;
    let words = ["--set", "/DesiredCapacity=20", "--idempotency-key", "night"];
    assert_eq!(account.refuses("deployer", &certificate, &words).await, "drift_field");
    assert_eq!(shows("DesiredCapacity").await, "10");
    account.people.verified().await;
}

fn shop_uses(version: &str) -> [(&str, &str); 3] {
    let template = ("LaunchTemplate.LaunchTemplateName", "web");
    [("AutoScalingGroupName", "shop"), template, ("LaunchTemplate.Version", version)]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_of_a_security_group_is_narrowed_once() {
    let account = Account::new().await;
    let aws = &account.world.aws;
    let group = [("GroupName", "shop"), ("GroupDescription", "the shop")];
    let group = element(&aws.root(&Asked::query("ec2", "CreateSecurityGroup", &group)).await, "groupId").unwrap();
    let rule = [
        ("GroupId", group.as_str()),
        ("IpPermissions.1.IpProtocol", "tcp"),
        ("IpPermissions.1.FromPort", "22"),
        ("IpPermissions.1.ToPort", "22"),
        ("IpPermissions.1.IpRanges.1.CidrIp", "0.0.0.0/0"),
    ];
    let rule = aws.root(&Asked::query("ec2", "AuthorizeSecurityGroupIngress", &rule)).await;
    let rule = element(&rule, "securityGroupRuleId").unwrap();
    let of_rule = [("SecurityGroupRuleId.1", rule.as_str())];
    let open_to = async || account.shown("ec2", "DescribeSecurityGroupRules", &of_rule, "cidrIpv4").await;
    let changes = [("sgr-0c3d5e7f90a1b2c34", rule.clone()), ("sg-0a1b2c3d4e5f60718", group.clone())];
    let (_, answer, _) = account.proposed("deployer", "security-group.yaml", &changes).await;
    assert_eq!(answer["state"], "refused", "{answer}");
    let [certificate, late] = [
        account.admitted("responder", "security-group.yaml", &changes).await,
        account.admitted("responder", "security-group.yaml", &changes).await,
    ];
    account.executes("responder", &certificate, &[]).await;
    assert_eq!(open_to().await, "198.51.100.0/24");
    let sent = account.recorder.newest("Action=ModifySecurityGroupRules");
    assert_eq!(sent.line(), "POST / HTTP/1.1");
    let body = format!(
        "Action=ModifySecurityGroupRules&Version=2016-11-15&GroupId={group}\
         &SecurityGroupRule.1.SecurityGroupRuleId={rule}&SecurityGroupRule.1.SecurityGroupRule.IpProtocol=tcp\
         &SecurityGroupRule.1.SecurityGroupRule.FromPort=22&SecurityGroupRule.1.SecurityGroupRule.ToPort=22\
         &SecurityGroupRule.1.SecurityGroupRule.CidrIpv4=198.51.100.0%2F24\
         &SecurityGroupRule.1.SecurityGroupRule.Description=office"
    );
    assert_eq!(sent.body(), body);
    is_signed_for(&sent, "eu-west-1", "ec2");
    let arn = |kind: &str, id: &str| format!("arn:aws:ec2:eu-west-1:{ACCOUNT}:{kind}/{id}");
    let arns = json!([arn("security-group-rule", &rule), arn("security-group", &group)]);
    account.narrowed_to(&json!("ec2:ModifySecurityGroupRules"), &arns);
    // Whatever happened to the rule since: it is another one than was looked at.
    assert_eq!(account.refuses("responder", &late, &[]).await, "drift_version");
    account.people.verified().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_of_a_bucket_is_replaced_by_a_reviewed_one() {
    let account = Account::new().await;
    let aws = &account.world.aws;
    let of_bucket = |method| Asked::rest("s3", method, "/reports").with_query("policy", "");
    let public = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::reports/*" },
    ]});
    let put = of_bucket(Method::PUT).with_body(&public.to_string());
    aws.root(&put).await;
    let now = async || aws.root(&of_bucket(Method::GET)).await;
    // Another text than the one that was reviewed.
    let everybody = [("\"AWS\":\"arn:aws:iam::123456789012:role/analysts\"", "\"AWS\":\"*\"".to_owned())];
    let (_, answer, _) = account.proposed("responder", "bucket-policy.yaml", &everybody).await;
    assert_eq!(answer["state"], "refused", "{answer}");

    let late = account.admitted("responder", "bucket-policy.yaml", &[]).await;
    let certificate = account.admitted("responder", "bucket-policy.yaml", &[]).await;
    account.executes("responder", &certificate, &[]).await;
    let reviewed: Value = serde_json::from_str(&now().await).unwrap();
    assert_eq!(reviewed["Statement"][0]["Principal"]["AWS"], "arn:aws:iam::123456789012:role/analysts");
    let sent = account.recorder.newest("PUT /reports?policy");
    assert_eq!(sent.header("x-amz-expected-bucket-owner").as_deref(), Some(ACCOUNT));
    is_signed_for(&sent, "eu-west-1", "s3");
    account.narrowed_to(&json!("s3:PutBucketPolicy"), &json!("arn:aws:s3:::reports"));
    // Somebody else was there in between.
    aws.root(&put).await;
    let again = public.to_string().replace("GetObject", "GetObjectVersion");
    aws.root(&of_bucket(Method::PUT).with_body(&again)).await;
    assert_eq!(account.refuses("responder", &late, &[]).await, "drift_version");
    assert!(now().await.contains("GetObjectVersion"));
    account.people.verified().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_gets_an_index() {
    let account = Account::new().await;
    let aws = &account.world.aws;
    let call = |operation: &str, body: &Value| Asked::json("dynamodb", &format!("DynamoDB_20120810.{operation}"), body);
    let table = async || -> Value {
        let answer = aws.root(&call("DescribeTable", &json!({ "TableName": "orders" }))).await;
        serde_json::from_str(&answer).unwrap()
    };
    let late = account.admitted("deployer", "table.yaml", &[]).await;
    let certificate = account.admitted("deployer", "table.yaml", &[]).await;
    // Items come and go; the schema is what matters.
    let item = json!({ "TableName": "orders", "Item": { "id": { "S": "1" }, "customer": { "S": "c" } } });
    aws.root(&call("PutItem", &item)).await;
    account.executes("deployer", &certificate, &[]).await;
    let index = &table().await["Table"]["GlobalSecondaryIndexes"][0];
    assert_eq!(
        (&index["IndexName"], &index["Projection"]["ProjectionType"]),
        (&json!("by-customer"), &json!("KEYS_ONLY"))
    );
    account.narrowed_to(&json!("dynamodb:UpdateTable"), &json!("arn:aws:dynamodb:eu-west-1:123456789012:table/orders"));
    assert_eq!(account.refuses("deployer", &late, &[]).await, "drift_field", "it has other attributes now");
    // Actions that do not fit the operation are of no use: the policies do not admit them.
    let actions = [("[dynamodb:UpdateTable]", "[dynamodb:DeleteTable]".to_owned())];
    let (_, answer, _) = account.proposed("deployer", "table.yaml", &actions).await;
    assert_eq!(answer["state"], "refused", "{answer}");
    account.people.verified().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stolen_access_keys_are_deactivated() {
    let account = Account::new().await;
    let aws = &account.world.aws;
    let may = json!({ "Effect": "Allow", "Action": "dynamodb:*", "Resource": "*" });
    let first = aws.user("mallory", &may).await;
    let second = aws.root(&Asked::query("iam", "CreateAccessKey", &[("UserName", "mallory")])).await;
    let part = |name| element(&second, name).unwrap();
    let second = Keys { id: part("AccessKeyId"), secret: part("SecretAccessKey"), token: None };
    let works = async |keys: &Keys| aws.send(keys, &crate::world::item("GetItem", "orders", "1")).await.0.is_success();
    assert!(works(&first).await && works(&second).await);
    let changes = [("AKIAIOSFODNN7EXAMPLE", first.id.clone()), ("AKIAI44QH8DHBEXAMPLE", second.id.clone())];
    let certificate = account.admitted("responder", "access-keys.yaml", &changes).await;
    let third = account.admitted("responder", "access-keys.yaml", &changes).await;
    for (keys, key) in [(&first, "one"), (&second, "two")] {
        let value = format!("/AccessKeyId={}", keys.id);
        account.executes("responder", &certificate, &["--set", &value, "--idempotency-key", key]).await;
        assert!(!works(keys).await);
        is_signed_for(&account.recorder.newest("Action=UpdateAccessKey"), "us-east-1", "iam");
    }
    account.narrowed_to(&json!("iam:UpdateAccessKey"), &json!("arn:aws:iam::123456789012:user/mallory"));
    let alices = aws.user("alice", &may).await;
    let value = format!("/AccessKeyId={}", alices.id);
    let words = ["--set", &value, "--idempotency-key", "three"];
    assert_eq!(account.refuses("responder", &certificate, &words).await, "parameter_out_of_bounds");
    assert!(works(&alices).await);
    let value = format!("/AccessKeyId={}", first.id);
    let words = ["--set", &value, "--idempotency-key", "three"];
    assert_eq!(account.refuses("responder", &certificate, &words).await, "uses_exhausted");
    // Another user of that name is not this one.
    let named = [("UserName", "mallory")];
    for keys in [&first, &second] {
        let named = [named[0], ("AccessKeyId", keys.id.as_str())];
        aws.root(&Asked::query("iam", "DeleteAccessKey", &named)).await;
    }
    aws.root(&Asked::query("iam", "DeleteUserPolicy", &[named[0], ("PolicyName", "may")])).await;
    aws.root(&Asked::query("iam", "DeleteUser", &named)).await;
    aws.user("mallory", &may).await;
    assert_eq!(account.refuses("responder", &third, &words).await, "drift_field");
    account.people.verified().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_has_as_much_concurrency_as_is_asked_for_within_bounds() {
    let account = Account::new().await;
    let aws = &account.world.aws;
    let path = "/2015-03-31/functions";
    let function = json!({
        "FunctionName": "checkout", "Runtime": "python3.12", "Handler": "main.handler",
        "Role": "arn:aws:iam::123456789012:role/passed", "Code": { "ZipFile": ZIP },
    });
    aws.root(&Asked::rest("lambda", Method::POST, path).with_body(&function.to_string())).await;
    let concurrency = async || -> Value {
        let path = "/2019-09-30/functions/checkout/concurrency";
        let answer = aws.root(&Asked::rest("lambda", Method::GET, path)).await;
        serde_json::from_str::<Value>(&answer).unwrap()["ReservedConcurrentExecutions"].clone()
    };
    let certificate = account.admitted("deployer", "concurrency.yaml", &[]).await;
    account.executes("deployer", &certificate, &["--idempotency-key", "as-it-is"]).await;
    assert_eq!(concurrency().await, 50);
    let words = ["--set", "/ReservedConcurrentExecutions=200", "--idempotency-key", "noon"];
    account.executes("deployer", &certificate, &words).await;
    assert_eq!(concurrency().await, 200);
    account.narrowed_to(
        &json!("lambda:PutFunctionConcurrency"),
        &json!("arn:aws:lambda:eu-west-1:123456789012:function:checkout"),
    );
    let words = ["--set", "/ReservedConcurrentExecutions=0", "--idempotency-key", "never"];
    assert_eq!(account.refuses("deployer", &certificate, &words).await, "parameter_out_of_bounds");
    // Other code than the authority saw.
    let code = json!({ "ZipFile": OTHER_ZIP }).to_string();
    aws.root(&Asked::rest("lambda", Method::PUT, &format!("{path}/checkout/code")).with_body(&code)).await;
    let words = ["--set", "/ReservedConcurrentExecutions=100", "--idempotency-key", "evening"];
    assert_eq!(account.refuses("deployer", &certificate, &words).await, "drift_field");
    assert_eq!(concurrency().await, 200);
    account.people.verified().await;
}

/// Archives in base64, without a file in them, and with a comment.
const ZIP: &str = "UEsFBgAAAAAAAAAAAAAAAAAAAAAAAA==";
const OTHER_ZIP: &str = "UEsFBgAAAAAAAAAAAAAAAAAAAAABAGE=";

#[tokio::test]
async fn the_policies_of_the_examples_pass_their_own_tests() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sab"));
    let output = command.args(["policy", "check"]).arg(examples().join("policies")).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
}
