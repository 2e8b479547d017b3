//! The example of an organization, applied to one: what Terraform attached refuses an administrator with long-lived keys, by
//! the emulator's evaluation of service control policies and not by ours; and when it is gone, nobody is refused.
//!
//! What the emulator cannot say of them is tried too, so that it is known when it can: [`Organization::differs_from_aws`].

use std::collections::{BTreeMap, BTreeSet};

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::account::Account;
use crate::applied::{ELSEWHERE, apply, destroy};
use crate::provider::World;
use crate::roles_anywhere::RolesAnywhere;
use crate::testbed::Folder;
use crate::testbed::aws::{ACCOUNT as MANAGEMENT, Api, Asked, Aws, Keys, REGION, allow, policy};
use crate::testbed::pki::Authority;
use crate::tls::Front;

/// An account in the organizational unit to which the policies are attached.
const BOUND: &str = "222222222222";
/// An account beside the unit.
const BESIDE: &str = "333333333333";
/// The account in which the example makes the broker's roles. In production it is in the unit; here it is beside it, because
/// the emulator takes no session for one of the administrators, which are roles.
const BROKER: &str = "444444444444";

/// One that the rendering has in place of the example's.
const SOME_ANCHOR: &str =
    "arn:aws:rolesanywhere:eu-west-1:444444444444:trust-anchor/11111111-2222-3333-4444-555555555555";

/// The same, of those who read.
const SOME_OWN: &str = "arn:aws:rolesanywhere:eu-west-1:444444444444:trust-anchor/22222222-2222-3333-4444-555555555555";

/// The two examples that [`crate::applied`] does not apply.
const EXAMPLES: &str = r#"
module "organization" {
  source              = "./examples/organization"
  management_role_arn = "arn:aws:iam::123456789012:role/infrastructure/policies"
  workload_role_arn   = "arn:aws:iam::444444444444:role/infrastructure/terraform"
  account_id          = "444444444444"
  organizational_unit = "UNIT"
  execution_ca        = <<-EOT
CA  EOT
  trust_domain_ca     = <<-EOT
CA  EOT
  alarm_topic_arn     = "arn:aws:sns:eu-west-1:444444444444:security"
}
module "issuer" {
  source               = "./examples/spire-jwt-issuer"
  account_id           = "123456789012"
  own_trust_anchor_arn = "arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/22222222-2222-3333-4444-555555555555"
}
# What the first one deploys, to be compared.
module "guardrails" {
  source                   = "./rendered"
  target_ids               = ["UNIT"]
  administrator_role_arns  = ["arn:aws:iam::444444444444:role/infrastructure/terraform"]
  trust_anchor_arns        = ["ANCHOR"]
  reader_trust_anchor_arns = ["OWN"]
  break_glass              = true
  protected = {
    actions   = ["dynamodb:DeleteTable", "dynamodb:UpdateTable", "ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress", "s3:DeleteBucketPolicy", "s3:PutBucketPolicy"]
    resources = ["*"]
  }
}
output "policies" {
  value = module.guardrails.policies
}
"#;

/// An organization, its management account, and who may do everything in its other accounts.
struct Organization<'a> {
    management: Account<'a>,
    bound: Keys,
    beside: Keys,
    broker: Keys,
    unit: String,
}

impl<'a> Organization<'a> {
    async fn new(api: &'a Api) -> Self {
        let management = Account { api, keys: Keys::root() };
        let made = management.organization("CreateOrganization", json!({ "FeatureSet": "ALL" })).await;
        let id = made["Organization"]["Id"].as_str().unwrap();
        let roots = management.organization("ListRoots", json!({})).await;
        let root = roots["Roots"][0]["Id"].as_str().unwrap();
        let kind = json!({ "RootId": root, "PolicyType": "RESOURCE_CONTROL_POLICY" });
        management.organization("EnablePolicyType", kind).await;
        let unit = json!({ "ParentId": root, "Name": "workloads" });
        let unit = management.organization("CreateOrganizationalUnit", unit).await;
        let unit = unit["OrganizationalUnit"]["Id"].as_str().unwrap().to_owned();
        let (bound, beside, broker) = (
            api.administrator(BOUND, Some(id)).await,
            api.administrator(BESIDE, Some(id)).await,
            api.administrator(BROKER, Some(id)).await,
        );
        let moved = json!({ "AccountId": BOUND, "SourceParentId": root, "DestinationParentId": unit });
        management.organization("MoveAccount", moved).await;
        let organization = Self { management, bound, beside, broker, unit };
        // AWS does this by itself.
        organization.attach("p-FullAWSAccess", &organization.unit).await;
        organization.furnish().await;
        organization
    }

    fn account(&self, keys: &Keys) -> Account<'a> {
        Account { api: self.management.api, keys: keys.clone() }
    }

    /// What the attacks are about, and the roles by which Terraform comes in.
    async fn furnish(&self) {
        for keys in [&self.bound, &self.beside, &self.management.keys] {
            let key = json!([{ "AttributeName": "id", "KeyType": "HASH" }]);
            let attribute = json!([{ "AttributeName": "id", "AttributeType": "S" }]);
            let table = json!({
                "TableName": "orders", "KeySchema": key, "AttributeDefinitions": attribute,
                "BillingMode": "PAY_PER_REQUEST",
            });
            self.account(keys).ask(&Asked::json("dynamodb", "DynamoDB_20120810.CreateTable", &table)).await;
        }
        let bound = self.account(&self.bound);
        let place = format!(
            "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <LocationConstraint>{REGION}</LocationConstraint></CreateBucketConfiguration>"
        );
        bound.ask(&Asked::rest("s3", Method::PUT, "/shop").with_body(&place)).await;
        let everything = policy(&json!([allow(&json!("*"))])).to_string();
        let boundary = [("PolicyName", "boundary"), ("Path", "/seb/"), ("PolicyDocument", everything.as_str())];
        bound.ask(&Asked::query("iam", "CreatePolicy", &boundary)).await;
        for (path, name) in [("seb/execution", "seb-data"), ("seb/bootstrap", "seb-bootstrap"), ("", "plain")] {
            role(&bound, path, name, &json!({ "AWS": format!("arn:aws:iam::{BOUND}:root") })).await;
        }
        role(&bound, "seb/execution", "seb-passed", &json!({ "Service": "lambda.amazonaws.com" })).await;
        let by = json!({ "AWS": format!("arn:aws:iam::{MANAGEMENT}:root") });
        role(&self.management, "infrastructure", "policies", &by).await;
        role(&self.account(&self.broker), "infrastructure", "terraform", &by).await;
    }

    async fn attach(&self, policy: &str, target: &str) {
        self.management.organization("AttachPolicy", json!({ "PolicyId": policy, "TargetId": target })).await;
    }

    async fn detach(&self, policy: &str, target: &str) {
        self.management.organization("DetachPolicy", json!({ "PolicyId": policy, "TargetId": target })).await;
    }

    /// The result of each, by whose keys.
    async fn tried(
        &self,
        keys: &Keys,
        calls: Vec<(&'static str, Asked)>,
    ) -> BTreeMap<&'static str, (StatusCode, String)> {
        let mut results = BTreeMap::new();
        for (name, asked) in calls {
            results.insert(name, self.management.api.send(keys, &asked).await);
        }
        results
    }

    /// All of it is done.
    async fn goes(&self, keys: &Keys, calls: Vec<(&'static str, Asked)>) -> usize {
        let results = self.tried(keys, calls).await;
        for (name, (status, said)) in &results {
            assert!(status.is_success(), "{name}: {status} {said}");
        }
        results.len()
    }

    /// None of it is done.
    async fn is_refused(&self, keys: &Keys, calls: Vec<(&'static str, Asked)>) -> usize {
        let results = self.tried(keys, calls).await;
        for (name, (status, said)) in &results {
            assert_eq!(*status, StatusCode::FORBIDDEN, "{name}: {said}");
            assert!(said.contains("AccessDenied"), "{name}: {said}");
        }
        results.len()
    }

    /// What AWS would decide otherwise: nothing above is a test of these, and when one of them fails, one can be.
    async fn differs_from_aws(&self) {
        let (api, bound) = (self.management.api, self.account(&self.bound));
        // An execution: AWS lets it through, by `aws:PrincipalArn` of its role and by its source identity. Here the first is
        // that of the session, and the second is not kept. The session is made in place of the bootstrap role, by somebody
        // whom no policy binds.
        let trust = json!([{ "Effect": "Allow", "Principal": { "AWS": "*" }, "Action": "sts:AssumeRole" }]);
        let by_everybody = policy(&trust).to_string();
        let changed = [("RoleName", "seb-data"), ("PolicyDocument", by_everybody.as_str())];
        // And a role of a path is not recognized by it: AWS refuses this.
        bound.ask(&Asked::query("iam", "UpdateAssumeRolePolicy", &changed)).await;
        let role = format!("arn:aws:iam::{BOUND}:role/seb/execution/seb-data");
        let source = [("SourceIdentity", "CN=m-1")];
        let (status, answer) = api.assume(&Keys::root(), &role, "m-1", &source).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let (status, answer) = api.send(&Keys::of(&answer), &update_table(0)).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
        // Tags of a session are not asked for.
        let role = format!("arn:aws:iam::{BOUND}:role/plain");
        let tag = [("Tags.member.1.Key", "seb:mutation"), ("Tags.member.1.Value", "m-1")];
        let (status, answer) = api.assume(&self.bound, &role, "m-1", &tag).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        // A resource control policy is taken for a service control policy: AWS would not ask one about IAM, nor about what
        // this account's people do elsewhere.
        let deny = json!([{ "Effect": "Deny", "Principal": "*", "Action": "iam:CreateUser", "Resource": "*" }]);
        let made = json!({
            "Name": "other", "Description": "", "Type": "RESOURCE_CONTROL_POLICY", "Content": policy(&deny).to_string(),
        });
        let made = self.management.organization("CreatePolicy", made).await;
        let id = made["Policy"]["PolicySummary"]["Id"].as_str().unwrap();
        for policy in ["p-FullAWSAccess", id] {
            self.attach(policy, BESIDE).await;
        }
        let user = Asked::query("iam", "CreateUser", &[("UserName", "other")]);
        self.is_refused(&self.beside, vec![("a user", user)]).await;
        self.detach(id, BESIDE).await;
        self.management.organization("DeletePolicy", json!({ "PolicyId": id })).await;
    }
}

/// A role that may do everything.
async fn role(account: &Account<'_>, path: &str, name: &str, principal: &Value) {
    let trust = json!([{ "Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole" }]);
    let trust = policy(&trust).to_string();
    let path = format!("/{path}/").replace("//", "/");
    let parameters = [("RoleName", name), ("Path", &path), ("AssumeRolePolicyDocument", &trust)];
    account.ask(&Asked::query("iam", "CreateRole", &parameters)).await;
    let may = policy(&json!([allow(&json!("*"))])).to_string();
    let parameters = [("RoleName", name), ("PolicyName", "may"), ("PolicyDocument", &may)];
    account.ask(&Asked::query("iam", "PutRolePolicy", &parameters)).await;
}

/// A change of the table that is another one than that of the number before.
fn update_table(number: usize) -> Asked {
    let body = json!({ "TableName": "orders", "DeletionProtectionEnabled": number % 2 == 1 });
    Asked::json("dynamodb", "DynamoDB_20120810.UpdateTable", &body)
}

/// What an administrator of the account tries: the `number`th time, because some can be done once only.
fn attacks(number: usize) -> Vec<(&'static str, Asked)> {
    let iam = |action: &str, parameters: &[(&str, &str)]| Asked::query("iam", action, parameters);
    let everything = policy(&json!([allow(&json!("*"))])).to_string();
    let readers = json!([{
        "Effect": "Allow", "Principal": { "AWS": format!("arn:aws:iam::{BOUND}:root") },
        "Action": "s3:GetObject", "Resource": "arn:aws:s3:::shop/*",
    }]);
    let boundary = format!("arn:aws:iam::{BOUND}:policy/seb/boundary");
    let issuer = format!("https://issuer-{number}.example.org");
    let function = json!({
        "FunctionName": format!("job-{number}"), "Role": format!("arn:aws:iam::{BOUND}:role/seb/execution/seb-passed"),
        "Runtime": "python3.13", "Handler": "job.main", "Code": { "ZipFile": "UEsFBgAAAAAAAAAAAAAAAAAAAAAAAA==" },
    });
    let mut function = Asked::rest("lambda", Method::POST, "/2015-03-31/functions").with_body(&function.to_string());
    function.headers.push(("content-type".to_owned(), "application/json".to_owned()));
    let assume = |path: &str| {
        let role = format!("arn:aws:iam::{BOUND}:role/seb/{path}");
        Asked::query("sts", "AssumeRole", &[("RoleArn", &role), ("RoleSessionName", "mine")])
    };
    let bucket = Asked::rest("s3", Method::PUT, "/shop").with_query("policy", "");
    let tag = [("Tags.member.1.Key", "seb:mutation"), ("Tags.member.1.Value", "m-1")];
    let thumb = "0".repeat(40);
    vec![
        ("mutations: a table", update_table(number)),
        ("mutations: a bucket", bucket.with_body(&policy(&readers).to_string())),
        (
            "controls: another version of the boundary",
            iam("CreatePolicyVersion", &[("PolicyArn", &boundary), ("PolicyDocument", &everything)]),
        ),
        (
            "controls: an issuer of one's own",
            iam("CreateOpenIDConnectProvider", &[("Url", &issuer), ("ThumbprintList.member.1", &thumb)]),
        ),
        ("controls: an execution role is passed to a function", function),
        ("sessions: of an execution role", assume("execution/seb-data")),
        ("sessions: of the bootstrap role", assume("bootstrap/seb-bootstrap")),
        ("sessions: the tag of mutations", iam("TagRole", &[&[("RoleName", "plain")], &tag[..]].concat())),
    ]
}

/// What nobody protects, which the same administrator goes on doing.
fn unprotected(number: usize) -> Vec<(&'static str, Asked)> {
    let item = json!({ "TableName": "orders", "Item": { "id": { "S": "1" } } });
    let role = format!("arn:aws:iam::{BOUND}:role/plain");
    let tag = [("RoleName", "plain"), ("Tags.member.1.Key", "team"), ("Tags.member.1.Value", "shop")];
    let document = policy(&json!([allow(&json!("s3:GetObject"))])).to_string();
    let name = format!("other-{number}");
    vec![
        ("an item", Asked::json("dynamodb", "DynamoDB_20120810.PutItem", &item)),
        ("another session", Asked::query("sts", "AssumeRole", &[("RoleArn", &role), ("RoleSessionName", "mine")])),
        ("another tag", Asked::query("iam", "TagRole", &tag)),
        (
            "another policy",
            Asked::query("iam", "CreatePolicy", &[("PolicyName", &name), ("PolicyDocument", &document)]),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_an_organization_refuses_administrators_with_long_lived_keys() {
    let folder = Folder::new();
    let aws = Aws::start(&folder).await;
    let organization = Organization::new(&aws).await;
    let (management, broker) = (&organization.management, organization.account(&organization.broker));
    let keys = &organization.bound;
    let before = (management.inventory().await, broker.inventory().await);
    let number = organization.goes(keys, attacks(1)).await;
    organization.goes(keys, unprotected(1)).await;

    let front = Front::of(&aws, &folder).await;
    let roles_anywhere = RolesAnywhere::of(BROKER).await;
    let world = World::of(&front, &roles_anywhere);
    for file in ["variables.tf", "policies.tf"] {
        let text = std::fs::read_to_string(
            crate::provider::root().join("terraform/modules/organization-guardrails").join(file),
        );
        world.write(&format!("rendered/{file}"), &text.unwrap());
    }
    let ca = Authority::new("executions").pem();
    let text = EXAMPLES
        .replace("UNIT", &organization.unit)
        .replace("ANCHOR", SOME_ANCHOR)
        .replace("OWN", SOME_OWN)
        .replace("CA  EOT", &format!("{ca}EOT"));
    world.write("all.tf", &text);
    let (made, kinds) = apply(&world);
    let elsewhere: BTreeSet<_> = ELSEWHERE.map(str::to_owned).into();
    assert!(elsewhere.is_subset(&kinds), "{kinds:?}");

    // What is attached is what is rendered.
    let rendered: Value = serde_json::from_str(&world.done(&["output", "-json", "policies"])).unwrap();
    let mut deployed = management.organization_policies("SERVICE_CONTROL_POLICY").await;
    deployed.extend(management.organization_policies("RESOURCE_CONTROL_POLICY").await);
    assert_eq!(deployed.len(), 4, "{deployed:?}");
    let (anchors, _) = roles_anywhere.made();
    let resources = deployed["seb-resources"].1.to_string();
    assert_eq!(anchors.len(), 2, "{anchors:?}");
    let anchor = |name: &str| {
        let anchor = anchors.iter().find(|anchor| anchor["name"] == name).unwrap();
        anchor["trustAnchorArn"].as_str().unwrap()
    };
    let (anchor, own) = (anchor("seb"), anchor("seb-own"));
    assert!(resources.contains(anchor) && resources.contains(own), "{resources}");
    for (name, (id, content)) in &deployed {
        let text = rendered[name.strip_prefix("seb-").unwrap()].as_str().unwrap();
        let text = text.replace(SOME_ANCHOR, anchor).replace(SOME_OWN, own);
        assert_eq!(*content, serde_json::from_str::<Value>(&text).unwrap(), "{name}");
        assert_eq!(management.attached(id).await, [organization.unit.as_str()], "{name}");
    }

    // The emulator takes the resource control policy for another service control policy: without it.
    let (resources, _) = &deployed["seb-resources"];
    organization.detach(resources, &organization.unit).await;
    assert_eq!(organization.is_refused(keys, attacks(2)).await, number);
    let others = organization.goes(keys, unprotected(2)).await;
    println!("an organization: {made} resources applied; {number} attacks refused, {others} other calls not");
    // By TLS Terraform did so a moment ago, and nobody does without.
    let asked = json!({ "QueueUrl": format!("{}/{BROKER}/seb-detection", aws.origin()) });
    let asked = Asked::json("sqs", "AmazonSQS.ReceiveMessage", &asked);
    organization.is_refused(&organization.broker, vec![("the queue, without TLS", asked)]).await;
    // Policies of the organization do not bind its management account, nor accounts beside the unit.
    let administrator = aws.administrator(MANAGEMENT, None).await;
    organization.goes(&administrator, vec![("a table", update_table(1))]).await;
    organization.goes(&organization.beside, vec![("a table", update_table(1))]).await;
    organization.differs_from_aws().await;
    organization.attach(resources, &organization.unit).await;

    destroy(&world, made);
    organization.goes(keys, attacks(3)).await;
    let mut left = (management.inventory().await, broker.inventory().await);
    // Made a few lines above.
    left.0.remove(&format!("arn:aws:iam::{MANAGEMENT}:user/admin"));
    assert_eq!(left, before, "something is left");
    assert_eq!(roles_anywhere.made(), (Vec::new(), Vec::new()), "something is left");
    for kind in ["SERVICE_CONTROL_POLICY", "RESOURCE_CONTROL_POLICY"] {
        assert_eq!(management.organization_policies(kind).await, BTreeMap::new());
    }
}
