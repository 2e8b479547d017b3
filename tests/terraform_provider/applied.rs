//! The modules in one account: what `terraform apply` makes is what they render, a second plan has nothing to do, events are
//! found, and `terraform destroy` leaves nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::account::Account;
use crate::provider::{World, root};
use crate::roles_anywhere::RolesAnywhere;
use crate::testbed::aws::{ACCOUNT, Api, Asked, Aws, Keys};
use crate::testbed::pki::Authority;
use crate::testbed::{Folder, awaited};
use crate::tls::Front;

/// What the emulator has not got, and [`crate::roles_anywhere`] stands in for: how one asks for it.
const LACKING: [(&str, &str); 2] =
    [("aws_rolesanywhere_trust_anchor", "/trustanchors"), ("aws_rolesanywhere_profile", "/profiles")];

/// What `organization.rs` applies.
pub const ELSEWHERE: [&str; 3] =
    ["aws_iam_openid_connect_provider", "aws_organizations_policy", "aws_organizations_policy_attachment"];

/// The example, and beside it modules of which the policies are read back.
const MODULES: &str = r#"
module "example" {
  source          = "./examples/single-account"
  account_id      = "123456789012"
  execution_ca    = local.ca
  trust_domain_ca = local.ca
}
locals {
  account  = "123456789012"
  region   = "eu-west-1"
  topic    = "arn:aws:sns:eu-west-1:123456789012:seb-security"
  people   = ["arn:aws:iam::123456789012:user/ann", "arn:aws:iam::123456789012:user/bob"]
  orders   = { actions = ["dynamodb:UpdateTable"], resources = ["arn:aws:dynamodb:eu-west-1:123456789012:table/orders"] }
}
provider "aws" {
  region = local.region
}
module "anchor" {
  source             = "./modules/trust-anchor"
  name               = "seb-second"
  certificates       = local.ca
  expiry_notice_days = 90
}
module "boundary" {
  source             = "./modules/permission-boundary"
  name               = "seb-second-boundary"
  account_id         = local.account
  services           = ["dynamodb", "lambda"]
  passable_role_arns = ["arn:aws:iam::123456789012:role/function"]
}
module "roles" {
  source                  = "./modules/broker-roles"
  name                    = "seb-second"
  account_id              = local.account
  trust_domain            = "example.org"
  trust_anchor_arn        = module.anchor.arn
  permission_boundary_arn = module.boundary.arn
  targets                 = { orders = local.orders }
  readers = {
    trust_anchor_arn = module.anchor.arn
    spiffe_ids       = { broker = "spiffe://example.org/seb" }
    actions          = ["dynamodb:DescribeTable"]
  }
}
module "pooled" {
  source                  = "./modules/broker-roles"
  name                    = "seb-pooled"
  exchange                = "pooled"
  account_id              = local.account
  trust_domain            = "example.org"
  broker_spiffe_id        = "spiffe://example.org/seb"
  trust_anchor_arn        = module.anchor.arn
  permission_boundary_arn = module.boundary.arn
  targets                 = { orders = local.orders }
}
module "detection" {
  source             = "./modules/detection"
  name               = "seb-second"
  account_id         = local.account
  region             = local.region
  protected_events   = { "s3.amazonaws.com" = ["PutBucketPolicy"] }
  alarm_topic_arn    = local.topic
  consumer_role_arns = ["arn:aws:iam::123456789012:role/watcher"]
}
module "open" {
  source          = "./modules/break-glass"
  name            = "seb-open"
  account_id      = local.account
  region          = local.region
  operator_arns   = local.people
  window          = { from = "2026-11-21T20:00:00Z", until = "2026-11-21T21:00:00Z" }
  allowed         = { actions = ["s3:*"], resources = ["*"] }
  alarm_topic_arn = local.topic
}
"#;

/// The number before this word in the last line of what Terraform did.
pub fn count(output: &str, word: &str) -> usize {
    let end = format!(" {word}");
    let line = output.lines().rev().find(|line| line.contains(" complete! Resources: ")).unwrap();
    line.split_once(&end).and_then(|(before, _)| before.rsplit(' ').next()).unwrap().parse().unwrap()
}

/// Applies all of it, and again, when there is nothing to do; how many resources there are, and of which types.
pub fn apply(world: &World) -> (usize, BTreeSet<String>) {
    world.done(&["init", "-input=false"]);
    let made = count(&world.done(&["apply", "-auto-approve", "-input=false"]), "added");
    let (status, output) = world.terraform(&["plan", "-detailed-exitcode", "-input=false"]);
    assert_eq!(status, 0, "a second plan has something to do:\n{output}");
    let list = world.done(&["state", "list"]);
    let addresses: Vec<_> = list.lines().filter(|line| !line.contains("data.")).collect();
    assert_eq!(addresses.len(), made, "{list}");
    let kind = |address: &&str| address.split('.').find(|part| part.starts_with("aws_")).unwrap().to_owned();
    (made, addresses.iter().map(kind).collect())
}

/// Destroys all of it.
pub fn destroy(world: &World, made: usize) {
    assert_eq!(count(&world.done(&["destroy", "-auto-approve", "-input=false"]), "destroyed"), made);
}

/// The types of resources that stand in the modules and examples.
fn declared(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(declared(&entry.path()));
        } else if entry.path().extension().is_some_and(|extension| extension == "tf") {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            let kinds = text.lines().filter_map(|line| line.strip_prefix("resource \""));
            found.extend(kinds.map(|rest| rest.split('"').next().unwrap().to_owned()));
        }
    }
    found
}

/// If the emulator learns it, it is to be applied there.
async fn lacks(api: &Api) {
    for (kind, path) in LACKING {
        let mut asked = Asked::rest("rolesanywhere", Method::POST, path).with_body("{}");
        asked.headers.push(("content-type".to_owned(), "application/json".to_owned()));
        let (status, answer) = api.send(&Keys::root(), &asked).await;
        // It takes the path for one of API Gateway.
        assert_eq!(status, StatusCode::NOT_FOUND, "{kind}: {answer}");
        assert!(answer.contains("Stage not found"), "{kind}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_account_has_what_the_modules_render() {
    let folder = Folder::new();
    let aws = Aws::start(&folder).await;
    lacks(&aws).await;
    let account = Account { api: &aws.api, keys: Keys::root() };
    let before = account.inventory().await;

    let front = Front::of(&aws, &folder).await;
    let roles_anywhere = RolesAnywhere::of(ACCOUNT).await;
    let world = World::of(&front, &roles_anywhere);
    let ca = Authority::new("executions").pem();
    let mut text = format!("{MODULES}locals {{\n  ca = <<-EOT\n{ca}EOT\n}}\n");
    for module in ["boundary", "roles", "pooled", "detection", "open"] {
        text += &format!("output \"{module}\" {{\n  value = module.{module}.policies\n}}\n");
    }
    world.write("all.tf", &text);
    let (made, kinds) = apply(&world);

    let mut accounted = kinds.clone();
    accounted.extend(ELSEWHERE.map(str::to_owned));
    assert_eq!(accounted, declared(&root().join("terraform")), "applied here, or elsewhere");
    println!("one account: {made} resources of {} types applied; not in the emulator: {LACKING:?}", kinds.len());

    let rendered: BTreeMap<String, Value> = serde_json::from_str(&world.done(&["output", "-json"])).unwrap();
    let rendered = |module: &str, name: &str| -> Value {
        serde_json::from_str(rendered[module]["value"][name].as_str().unwrap()).unwrap()
    };
    let anchor = anchored(&roles_anywhere, &ca, &rendered);
    roles(&account, &anchor, &rendered).await;
    watched(&account, &rendered).await;
    finds(&account).await;

    destroy(&world, made);
    assert_eq!(account.inventory().await, before, "something is left");
    assert_eq!(roles_anywhere.made(), (Vec::new(), Vec::new()), "something is left");
}

/// Anchors and profiles; the ARN of the second anchor.
fn anchored(has: &RolesAnywhere, ca: &str, rendered: &impl Fn(&str, &str) -> Value) -> String {
    let (anchors, profiles) = has.made();
    assert_eq!((anchors.len(), profiles.len()), (3, 5));
    for anchor in &anchors {
        assert_eq!(anchor["enabled"], true);
        assert_eq!(anchor["source"]["sourceData"], json!({ "x509CertificateData": ca }));
        for setting in anchor["notificationSettings"].as_array().unwrap() {
            assert_eq!(setting["enabled"], setting["event"] == "CA_CERTIFICATE_EXPIRY", "{setting}");
        }
    }
    for profile in &profiles {
        let name = profile["name"].as_str().unwrap();
        assert_eq!((&profile["enabled"], &profile["durationSeconds"]), (&json!(true), &json!(900)), "{profile}");
        assert_eq!(profile["acceptRoleSessionName"], false);
        if let Some(of) = name.strip_suffix("-reader") {
            let readers = if of == "seb" { vec!["authority", "broker"] } else { vec!["broker"] };
            let role = |reader: &str| format!("arn:aws:iam::{ACCOUNT}:role/seb/reader/{of}-reader-{reader}");
            let expected: BTreeSet<_> = readers.into_iter().map(role).collect();
            let roles = profile["roleArns"].as_array().unwrap().iter().map(|role| role.as_str().unwrap().to_owned());
            assert_eq!(roles.collect::<BTreeSet<_>>(), expected);
            continue;
        }
        let role = format!("arn:aws:iam::{ACCOUNT}:role/seb/bootstrap/{name}-bootstrap");
        assert_eq!(profile["roleArns"], json!([role]));
        let policy: Value = serde_json::from_str(profile["sessionPolicy"].as_str().unwrap()).unwrap();
        match name {
            "seb-second" => assert_eq!(policy, rendered("roles", "bootstrap_permissions")),
            "seb-pooled" => assert_eq!(policy, rendered("pooled", "bootstrap_permissions")),
            name => assert_eq!(name, "seb"),
        }
    }
    let second = anchors.iter().find(|anchor| anchor["name"] == "seb-second").unwrap();
    second["trustAnchorArn"].as_str().unwrap().to_owned()
}

/// The roles and their boundary.
async fn roles(account: &Account<'_>, anchor: &str, rendered: &impl Fn(&str, &str) -> Value) {
    let boundary = format!("arn:aws:iam::{ACCOUNT}:policy/seb/seb-second-boundary");
    assert_eq!(account.managed_policy(&boundary).await, rendered("boundary", "boundary"));
    for (module, name) in [("roles", "seb-second"), ("pooled", "seb-pooled")] {
        let role = account.role(&format!("{name}-bootstrap")).await;
        assert_eq!(role.trust, rendered(module, "bootstrap_trust"));
        assert!(role.trust.to_string().contains(anchor), "{}", role.trust);
        assert_eq!(role.policies, BTreeMap::from([("seb".to_owned(), rendered(module, "bootstrap_permissions"))]));
        let role = account.role(&format!("{name}-orders")).await;
        assert_eq!(role.trust, rendered(module, "execution_trust"));
        assert_eq!(role.boundary.as_ref(), Some(&boundary));
        let permissions = rendered(module, "execution_permissions/orders");
        assert_eq!(role.policies, BTreeMap::from([("seb".to_owned(), permissions)]));
    }
    let boundary = format!("arn:aws:iam::{ACCOUNT}:policy/seb/seb-second-reader-boundary");
    assert_eq!(account.managed_policy(&boundary).await, rendered("roles", "reader"));
    let role = account.role("seb-second-reader-broker").await;
    assert_eq!(role.trust, rendered("roles", "reader_trust/broker"));
    assert_eq!(role.boundary.as_ref(), Some(&boundary));
    assert_eq!(role.policies, BTreeMap::from([("seb".to_owned(), rendered("roles", "reader"))]));
    let role = account.role("seb-open").await;
    assert_eq!(role.trust, rendered("open", "trust"));
    assert_eq!(role.policies, BTreeMap::from([("seb".to_owned(), rendered("open", "permissions"))]));
    // The example's: by the names that its page has.
    for (name, boundary) in [
        ("seb-bootstrap", None),
        ("seb-shop", Some("seb-execution-boundary")),
        ("seb-reader-authority", Some("seb-reader-boundary")),
    ] {
        let boundary = boundary.map(|name| format!("arn:aws:iam::{ACCOUNT}:policy/seb/{name}"));
        assert_eq!(account.role(name).await.boundary, boundary);
    }
}

/// Rules, where they lead, and who is told.
async fn watched(account: &Account<'_>, rendered: &impl Fn(&str, &str) -> Value) {
    let queue = format!("arn:aws:sqs:eu-west-1:{ACCOUNT}:seb-second");
    for rule in ["controls", "mutations"] {
        let name = format!("seb-second-{rule}");
        assert_eq!(account.pattern(&name).await, rendered("detection", &format!("{rule}_pattern")));
        assert_eq!(account.targets(&name).await, [queue.as_str()]);
    }
    assert_eq!(account.queue_policy("seb-second").await, rendered("detection", "queue"));
    let topic = format!("arn:aws:sns:eu-west-1:{ACCOUNT}:seb-security");
    assert_eq!(account.pattern("seb-open").await, rendered("open", "pattern"));
    assert_eq!(account.targets("seb-open").await, [topic.as_str()]);
    let alarms = account.alarms().await;
    assert_eq!(alarms.len(), 6, "{alarms:?}");
    for (name, told) in &alarms {
        assert_eq!(*told, json!([topic]), "{name}");
    }
}

/// What nobody of the broker did reaches the queue, and what the broker did does not.
async fn finds(account: &Account<'_>) {
    let by = |name: &str, role: &str, source: Option<&str>| {
        let issuer = json!({ "type": "Role", "arn": format!("arn:aws:iam::{ACCOUNT}:role/{role}") });
        let mut context = json!({ "sessionIssuer": issuer });
        if let Some(source) = source {
            context["sourceIdentity"] = json!(source);
        }
        json!({
            "eventSource": "s3.amazonaws.com", "eventName": name, "readOnly": false,
            "userIdentity": { "type": "AssumedRole", "sessionContext": context },
        })
    };
    let user = json!({
        "eventSource": "s3.amazonaws.com", "eventName": "PutBucketPolicy", "readOnly": false,
        "userIdentity": { "type": "IAMUser" },
    });
    let widened = json!({
        "eventSource": "iam.amazonaws.com", "eventName": "CreatePolicyVersion", "readOnly": false,
        "requestParameters": { "policyArn": format!("arn:aws:iam::{ACCOUNT}:policy/seb/seb-second-boundary") },
    });
    let stopped = json!({ "eventSource": "cloudtrail.amazonaws.com", "eventName": "StopLogging", "readOnly": false });
    let execution = "seb/execution/seb-second-orders";
    let found = [
        ("aws.s3", user.clone()),
        ("aws.s3", by("PutBucketPolicy", "ops", Some("CN=m-1"))),
        ("aws.s3", by("PutBucketPolicy", execution, None)),
        ("aws.iam", widened),
        ("aws.cloudtrail", stopped),
    ];
    let unremarkable = [
        ("aws.s3", by("PutBucketPolicy", execution, Some("CN=m-1"))),
        ("aws.s3", by("PutBucketAcl", "ops", Some("CN=m-1"))),
        // Made up by somebody.
        ("orders", user),
    ];
    // Those of which nothing may come go first: when the others are there, these had their chance.
    for (source, detail) in unremarkable.iter().chain(&found) {
        account.happens(source, detail).await;
    }
    let mut taken = Vec::new();
    awaited("the events in the queue", async || {
        taken.extend(account.take("seb-second").await);
        if taken.len() >= found.len() { Ok(()) } else { Err(taken.len()) }
    })
    .await;
    assert_eq!(taken.len(), found.len(), "{taken:?}");
    for (_, detail) in &found {
        assert!(taken.contains(detail), "not found: {detail}\n{taken:?}");
    }
}
