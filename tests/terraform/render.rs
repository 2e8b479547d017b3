//! Runs Terraform on the parts of the modules that need no provider.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::LazyLock;

use serde_json::Value;

pub const MODULES: [&str; 6] =
    ["break-glass", "broker-roles", "detection", "organization-guardrails", "permission-boundary", "trust-anchor"];

/// What the policies under test are made of: every module as one would use it, and the variants that differ.
const WORLD: &str = r#"
locals {
  account  = "123456789012"
  region   = "eu-west-1"
  anchor   = "arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/11111111-2222-3333-4444-555555555555"
  boundary = "arn:aws:iam::123456789012:policy/seb/seb-execution-boundary"
  own      = "arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/22222222-2222-3333-4444-555555555555"
  readers = {
    trust_anchor_arn = local.own
    spiffe_ids       = { broker = "spiffe://example.org/seb", authority = "spiffe://example.org/sab" }
    actions          = ["autoscaling:DescribeAutoScalingGroups", "dynamodb:DescribeTable", "ec2:DescribeSecurityGroupRules", "iam:GetUser", "lambda:GetFunctionConfiguration", "s3:GetBucketPolicy"]
  }
  targets = {
    orders = {
      actions   = ["dynamodb:UpdateTable", "s3:PutBucketPolicy", "s3:PutObject"]
      resources = ["arn:aws:dynamodb:eu-west-1:123456789012:table/orders", "arn:aws:s3:::shop", "arn:aws:s3:::shop/*"]
    }
  }
  protected = {
    actions   = ["autoscaling:UpdateAutoScalingGroup", "dynamodb:UpdateTable", "ec2:AuthorizeSecurityGroupIngress", "iam:UpdateAccessKey", "lambda:Put*", "s3:PutBucketPolicy", "s3:PutObject"]
    resources = ["*"]
  }
  administrators = ["arn:aws:iam::*:role/infrastructure/terraform"]
  topic          = "arn:aws:sns:eu-west-1:123456789012:security"
  operators      = ["arn:aws:iam::123456789012:user/ann", "arn:aws:iam::123456789012:user/bob"]
  events = {
    "s3.amazonaws.com"       = ["PutBucketPolicy", "PutObject"]
    "dynamodb.amazonaws.com" = ["UpdateTable"]
  }
}
module "roles" {
  source                  = "./modules/broker-roles"
  account_id              = local.account
  trust_domain            = "example.org"
  trust_anchor_arn        = local.anchor
  permission_boundary_arn = local.boundary
  targets                 = local.targets
  readers                 = local.readers
}
module "pooled" {
  source                  = "./modules/broker-roles"
  exchange                = "pooled"
  account_id              = local.account
  trust_domain            = "example.org"
  broker_spiffe_id        = "spiffe://example.org/seb"
  trust_anchor_arn        = local.anchor
  permission_boundary_arn = local.boundary
  targets                 = local.targets
}
module "token" {
  source                  = "./modules/broker-roles"
  exchange                = "web-identity"
  account_id              = local.account
  trust_domain            = "example.org"
  oidc                    = { issuer = "https://spire.example.org", audience = "seb-aws" }
  permission_boundary_arn = local.boundary
  targets                 = local.targets
}
module "boundary" {
  source      = "./modules/permission-boundary"
  account_id  = local.account
  services    = ["autoscaling", "dynamodb", "ec2", "lambda", "s3"]
  iam_actions = ["iam:UpdateAccessKey"]
}
module "boundary_passing" {
  source                  = "./modules/permission-boundary"
  account_id              = local.account
  services                = ["lambda"]
  passable_role_arns      = ["arn:aws:iam::123456789012:role/function"]
  require_source_identity = false
}
module "guardrails" {
  source                  = "./modules/organization-guardrails"
  target_ids              = ["r-abcd", "ou-abcd-12345678"]
  protected               = local.protected
  administrator_role_arns = local.administrators
  trust_anchor_arns       = [local.anchor]

  reader_trust_anchor_arns = [local.own]
  break_glass              = true
}
module "guardrails_token" {
  source                  = "./modules/organization-guardrails"
  target_ids              = ["r-abcd"]
  protected               = local.protected
  administrator_role_arns = local.administrators
  web_identity            = true
}
module "detection" {
  source             = "./modules/detection"
  account_id         = local.account
  region             = local.region
  protected_events   = local.events
  alarm_topic_arn    = local.topic
  consumer_role_arns = ["arn:aws:iam::123456789012:role/watcher"]
}
module "detection_token" {
  source           = "./modules/detection"
  account_id       = local.account
  region           = local.region
  protected_events = local.events
  alarm_topic_arn  = local.topic
  web_identity     = true
}
module "closed" {
  source          = "./modules/break-glass"
  account_id      = local.account
  region          = local.region
  operator_arns   = local.operators
  allowed         = { actions = ["s3:*", "dynamodb:*"], resources = ["*"] }
  alarm_topic_arn = local.topic
}
module "open" {
  source          = "./modules/break-glass"
  account_id      = local.account
  region          = local.region
  operator_arns   = local.operators
  window          = { from = "2026-11-21T20:00:00Z", until = "2026-11-21T21:00:00Z" }
  allowed         = { actions = ["s3:*", "dynamodb:*"], resources = ["*"] }
  alarm_topic_arn = local.topic
}
"#;

const RENDERED: [&str; 11] = [
    "roles",
    "pooled",
    "token",
    "boundary",
    "boundary_passing",
    "guardrails",
    "guardrails_token",
    "detection",
    "detection_token",
    "closed",
    "open",
];

/// Every policy of [`WORLD`], by `MODULE/NAME`.
pub static POLICIES: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    let mut source = WORLD.to_owned();
    for name in RENDERED {
        source += &format!("output \"{name}\" {{\n  value = module.{name}.policies\n}}\n");
    }
    let folder = without_provider();
    std::fs::write(folder.path().join("world.tf"), source).unwrap();
    let (status, output) = terraform(folder.path(), &["init", "-no-color", "-input=false"]);
    assert!(status.success(), "{output}");
    let (status, output) = terraform(folder.path(), &["apply", "-auto-approve", "-no-color", "-input=false"]);
    assert!(status.success(), "{output}");
    let (status, output) = terraform(folder.path(), &["output", "-json"]);
    assert!(status.success(), "{output}");
    let outputs: BTreeMap<String, Value> = serde_json::from_str(&output).unwrap();
    let mut policies = BTreeMap::new();
    for (module, output) in outputs {
        for (name, text) in output["value"].as_object().unwrap() {
            policies.insert(format!("{module}/{name}"), text.as_str().unwrap().to_owned());
        }
    }
    policies
});

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Runs it; its status and what it wrote. It asks nobody: no version check, no configuration of the user's.
pub fn terraform(folder: &Path, arguments: &[&str]) -> (ExitStatus, String) {
    let output = Command::new("terraform")
        .args(arguments)
        .current_dir(folder)
        .env("CHECKPOINT_DISABLE", "1")
        .env("TF_CLI_CONFIG_FILE", "/dev/null")
        .env("TF_IN_AUTOMATION", "1")
        .output()
        .expect("Terraform 1.9 or newer is needed: https://developer.hashicorp.com/terraform/install");
    let text = if output.status.success() { Vec::new() } else { output.stderr };
    (output.status, String::from_utf8([output.stdout, text].concat()).unwrap())
}

/// A folder with what of the modules needs no provider, in `modules/`.
pub fn without_provider() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for module in MODULES {
        let (from, to) = (root().join("terraform/modules").join(module), folder.path().join("modules").join(module));
        std::fs::create_dir_all(&to).unwrap();
        for file in ["variables.tf", "policies.tf"].iter().filter(|file| from.join(file).exists()) {
            std::fs::copy(from.join(file), to.join(file)).unwrap();
        }
    }
    folder
}

/// Plans a configuration that uses those; the status, and what Terraform says.
pub fn deployed(source: &str) -> (ExitStatus, String) {
    let folder = without_provider();
    std::fs::write(folder.path().join("main.tf"), source).unwrap();
    let (status, output) = terraform(folder.path(), &["init", "-no-color", "-input=false"]);
    assert!(status.success(), "{output}");
    let (status, output) = terraform(folder.path(), &["plan", "-no-color", "-input=false"]);
    // Lines are broken at 78 characters.
    let words: Vec<_> = output.split_whitespace().filter(|word| !["│", "╷", "╵"].contains(word)).collect();
    (status, words.join(" "))
}
