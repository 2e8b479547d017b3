//! What the modules refuse, and in which words: every `validation` is shown to refuse something.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::pages::variables;
use crate::render::{MODULES, root, terraform, without_provider};

/// Inputs with which a module is content.
fn good(module: &str) -> Vec<(&'static str, &'static str)> {
    let account = ("account_id", r#""123456789012""#);
    let region = ("region", r#""eu-west-1""#);
    let topic = ("alarm_topic_arn", r#""arn:aws:sns:eu-west-1:123456789012:security""#);
    match module {
        "break-glass" => vec![
            account,
            region,
            topic,
            ("operator_arns", r#"["arn:aws:iam::123456789012:user/ann", "arn:aws:iam::123456789012:user/bob"]"#),
            ("allowed", r#"{ actions = ["s3:*"], resources = ["*"] }"#),
        ],
        "broker-roles" => vec![
            account,
            ("trust_domain", r#""example.org""#),
            ("trust_anchor_arn", r#""arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/a""#),
            ("permission_boundary_arn", r#""arn:aws:iam::123456789012:policy/seb/b""#),
            ("targets", r#"{ shop = { actions = ["s3:PutObject"], resources = ["arn:aws:s3:::shop/*"] } }"#),
        ],
        "detection" => {
            vec![account, region, topic, ("protected_events", r#"{ "s3.amazonaws.com" = ["PutObject"] }"#)]
        }
        "organization-guardrails" => vec![
            ("target_ids", r#"["r-abcd"]"#),
            ("protected", r#"{ actions = ["s3:PutObject"], resources = ["*"] }"#),
            ("administrator_role_arns", r#"["arn:aws:iam::*:role/infra"]"#),
        ],
        "permission-boundary" => vec![account, ("services", r#"["s3"]"#)],
        "trust-anchor" => {
            vec![("private_ca_arn", r#""arn:aws:acm-pca:eu-west-1:123456789012:certificate-authority/a""#)]
        }
        other => panic!("{other}"),
    }
}

/// A module, inputs in place of or beside the good ones, and what is said of them.
type Refused = (&'static str, &'static [(&'static str, &'static str)], &'static str);

const READERS_ELSEWHERE: &str = r#"{ trust_anchor_arn = "arn:aws:rolesanywhere:eu-west-1:999999999999:trust-anchor/a", spiffe_ids = { broker = "spiffe://example.org/seb" } }"#;
const NO_READERS: &str =
    r#"{ trust_anchor_arn = "arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/a", spiffe_ids = {} }"#;
const READER_OF_ANOTHER_DOMAIN: &str = r#"{ trust_anchor_arn = "arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/a", spiffe_ids = { broker = "spiffe://example.com/seb" } }"#;
const READER_THAT_EXECUTES: &str = r#"{ trust_anchor_arn = "arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/a", spiffe_ids = { broker = "spiffe://example.org/seb/execution/m-1" } }"#;
const READER_THAT_WRITES: &str = r#"{ trust_anchor_arn = "arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/a", spiffe_ids = { broker = "spiffe://example.org/seb" }, actions = ["s3:GetObject", "s3:PutObject"] }"#;

const REFUSED: &[Refused] = &[
    ("break-glass", &[("name", r#""glass""#)], "protect no other"),
    ("break-glass", &[("account_id", r#""12345""#)], "12 digits"),
    ("break-glass", &[("region", r#""europe""#)], "such as `eu-west-1`"),
    ("break-glass", &[("partition", r#""amazon""#)], "`aws-us-gov`"),
    ("break-glass", &[("operator_arns", r#"["arn:aws:iam::123456789012:user/ann"]"#)], "Two to ten"),
    (
        "break-glass",
        &[("operator_arns", r#"["arn:aws:iam::123456789012:user/*", "arn:aws:iam::123456789012:user/ann"]"#)],
        "Two to ten",
    ),
    (
        "break-glass",
        &[("operator_arns", r#"["arn:aws:iam::123456789012:role/a", "arn:aws:iam::123456789012:user/ann"]"#)],
        "Two to ten",
    ),
    ("break-glass", &[("window", r#"{ from = "today", until = "2026-11-21T20:00:00Z" }"#)], "Both ends"),
    ("break-glass", &[("window", r#"{ from = "2026-11-31T20:00:00Z", until = "2026-12-01T20:00:00Z" }"#)], "Both ends"),
    (
        "break-glass",
        &[("window", r#"{ from = "2026-11-21T20:00:00+01:00", until = "2026-11-21T21:00:00Z" }"#)],
        "Both ends",
    ),
    (
        "break-glass",
        &[("window", r#"{ from = "2026-11-21T20:00:00Z", until = "2026-11-21T20:00:00Z" }"#)],
        "at most 12 hours",
    ),
    (
        "break-glass",
        &[("window", r#"{ from = "2026-11-21T20:00:00Z", until = "2026-11-22T08:00:01Z" }"#)],
        "at most 12 hours",
    ),
    ("break-glass", &[("max_mfa_age", "0")], "60 to 3600"),
    ("break-glass", &[("max_mfa_age", "60.5")], "60 to 3600"),
    ("break-glass", &[("allowed", r#"{ actions = ["*"], resources = ["*"] }"#)], "`service:Action`"),
    ("break-glass", &[("allowed", r#"{ actions = ["sts:AssumeRole"], resources = ["*"] }"#)], "none of them of sts"),
    ("break-glass", &[("allowed", r#"{ actions = ["s3:*"], resources = [] }"#)], "at least one resource"),
    (
        "break-glass",
        &[("alarm_topic_arn", r#""arn:aws:sns:eu-west-2:123456789012:security""#)],
        "in the region of the rule",
    ),
    ("broker-roles", &[("name", r#""broker""#)], "the detection knows roles by it"),
    ("broker-roles", &[("name", r#""seb-that-is-much-too-long""#)], "at most 16 lower-case"),
    ("broker-roles", &[("account_id", r#""12345678901x""#)], "12 digits"),
    ("broker-roles", &[("partition", r#""aws-eu""#)], "`aws-us-gov`"),
    ("broker-roles", &[("exchange", r#""per_mutation""#)], "`per-mutation`, `pooled` or"),
    ("broker-roles", &[("trust_domain", r#""spiffe://example.org""#)], "without `spiffe://`"),
    ("broker-roles", &[("trust_domain", r#""*""#)], "without `spiffe://`"),
    ("broker-roles", &[("trust_anchor_arn", "null")], "need `trust_anchor_arn`"),
    (
        "broker-roles",
        &[("trust_anchor_arn", r#""arn:aws:rolesanywhere:eu-west-1:999999999999:trust-anchor/a""#)],
        "in the account of the roles",
    ),
    (
        "broker-roles",
        &[("trust_anchor_arn", r#""arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/*""#)],
        "in the account of the roles",
    ),
    ("broker-roles", &[("exchange", r#""pooled""#), ("broker_spiffe_id", "null")], "needs `broker_spiffe_id`"),
    (
        "broker-roles",
        &[("broker_spiffe_id", r#""spiffe://example.org/seb""#)],
        "and no other, needs `broker_spiffe_id`",
    ),
    (
        "broker-roles",
        &[("exchange", r#""pooled""#), ("broker_spiffe_id", r#""spiffe://example.com/seb""#)],
        "in `trust_domain`",
    ),
    (
        "broker-roles",
        &[("exchange", r#""pooled""#), ("broker_spiffe_id", r#""spiffe://example.org/*""#)],
        "in `trust_domain`",
    ),
    (
        "broker-roles",
        &[("exchange", r#""web-identity""#), ("trust_anchor_arn", "null"), ("oidc", "null")],
        "needs `oidc`",
    ),
    (
        "broker-roles",
        &[
            ("exchange", r#""web-identity""#),
            ("trust_anchor_arn", "null"),
            ("oidc", r#"{ issuer = "http://a.example", audience = "x" }"#),
        ],
        "https URL",
    ),
    (
        "broker-roles",
        &[
            ("exchange", r#""web-identity""#),
            ("trust_anchor_arn", "null"),
            ("oidc", r#"{ issuer = "https://a.example/", audience = "x" }"#),
        ],
        "https URL",
    ),
    (
        "broker-roles",
        &[
            ("exchange", r#""web-identity""#),
            ("trust_anchor_arn", "null"),
            ("oidc", r#"{ issuer = "https://a.example", audience = "*" }"#),
        ],
        "1 to 255",
    ),
    ("broker-roles", &[("targets", "{}")], "at least one target"),
    (
        "broker-roles",
        &[("targets", r#"{ Shop = { actions = ["s3:PutObject"], resources = ["arn:aws:s3:::shop/*"] } }"#)],
        "at least one target",
    ),
    (
        "broker-roles",
        &[("targets", r#"{ shop = { actions = ["s3:*"], resources = ["arn:aws:s3:::shop/*"] } }"#)],
        "not `s3:*`",
    ),
    (
        "broker-roles",
        &[("targets", r#"{ shop = { actions = [], resources = ["arn:aws:s3:::shop/*"] } }"#)],
        "not `s3:*`",
    ),
    (
        "broker-roles",
        &[(
            "targets",
            r#"{ shop = { actions = ["sts:AssumeRole"], resources = ["arn:aws:iam::123456789012:role/a"] } }"#,
        )],
        "No target has actions of sts",
    ),
    (
        "broker-roles",
        &[("targets", r#"{ shop = { actions = ["s3:PutObject"], resources = ["*"] } }"#)],
        "which are ARNs",
    ),
    (
        "broker-roles",
        &[(
            "targets",
            r#"{ shop = { actions = ["iam:TagRole"], resources = ["arn:aws:iam::123456789012:role/seb/execution/seb-shop"] } }"#,
        )],
        "not the roles and policies of the broker",
    ),
    (
        "broker-roles",
        &[("targets", r#"{ shop = { actions = ["s3:PutObject"], resources = ["arn:aws:s3:::$${aws:username}"] } }"#)],
        "no variables",
    ),
    (
        "broker-roles",
        &[("permission_boundary_arn", r#""arn:aws:iam::aws:policy/AdministratorAccess""#)],
        "below `/seb/`",
    ),
    ("broker-roles", &[("readers", READERS_ELSEWHERE)], "The trust anchor of `readers`"),
    ("broker-roles", &[("readers", NO_READERS)], "at least one reader"),
    ("broker-roles", &[("readers", READER_OF_ANOTHER_DOMAIN)], "and no execution identity"),
    ("broker-roles", &[("readers", READER_THAT_EXECUTES)], "and no execution identity"),
    ("broker-roles", &[("readers", READER_THAT_WRITES)], "These are not such: s3:PutObject."),
    ("broker-roles", &[("tags", r#"{ "seb:mutation" = "m" }"#)], "belong to sessions"),
    ("broker-roles", &[("tags", r#"{ "x509SAN/URI" = "m" }"#)], "belong to sessions"),
    ("detection", &[("name", r#""watch""#)], "protect no other"),
    ("detection", &[("account_id", r#""a""#)], "12 digits"),
    ("detection", &[("region", r#""eu-west""#)], "such as `eu-west-1`"),
    ("detection", &[("partition", r#""x""#)], "`aws-us-gov`"),
    ("detection", &[("protected_events", r#"{ "s3" = ["PutObject"] }"#)], "at least one source"),
    ("detection", &[("protected_events", r#"{ "s3.amazonaws.com" = ["s3:PutObject"] }"#)], "Events have names"),
    ("detection", &[("consumer_role_arns", r#"["*"]"#)], "ARNs of roles"),
    ("detection", &[("alarm_topic_arn", r#""security""#)], "in the region of the queue"),
    ("organization-guardrails", &[("name", r#""-""#)], "at most 40 lower-case"),
    ("organization-guardrails", &[("partition", r#""x""#)], "`aws-us-gov`"),
    ("organization-guardrails", &[("target_ids", "[]")], "a root `r-...`"),
    ("organization-guardrails", &[("target_ids", r#"["root"]"#)], "a root `r-...`"),
    (
        "organization-guardrails",
        &[("protected", r#"{ actions = ["*"], resources = ["*"] }"#)],
        "`service:Action`, with wildcards",
    ),
    (
        "organization-guardrails",
        &[("protected", r#"{ actions = ["s3:*"], resources = ["*"] }"#)],
        "Reading is not protected",
    ),
    (
        "organization-guardrails",
        &[("protected", r#"{ actions = ["s3:GetObject"], resources = ["*"] }"#)],
        "Reading is not protected",
    ),
    (
        "organization-guardrails",
        &[("protected", r#"{ actions = ["s3:PutObject"], resources = ["shop"] }"#)],
        "at least one resource",
    ),
    ("organization-guardrails", &[("administrator_role_arns", "[]")], "at least one administrator"),
    ("organization-guardrails", &[("administrator_role_arns", r#"["*"]"#)], "at least one administrator"),
    (
        "organization-guardrails",
        &[("administrator_role_arns", r#"["arn:aws:iam::*:role/*"]"#)],
        "at least one administrator",
    ),
    (
        "organization-guardrails",
        &[("administrator_role_arns", r#"["arn:aws:iam::*:role/seb/execution/a"]"#)],
        "none of the broker's own",
    ),
    ("organization-guardrails", &[("trust_anchor_arns", r#"["*"]"#)], "trust-anchor/ID"),
    ("organization-guardrails", &[("reader_trust_anchor_arns", r#"["*"]"#)], "the anchors of readers"),
    (
        "organization-guardrails",
        &[("administrator_role_arns", r#"["arn:aws:iam::*:role/seb/reader/a"]"#)],
        "none of the broker's own",
    ),
    ("permission-boundary", &[("name", r#""a b""#)], "at most 40 lower-case"),
    ("permission-boundary", &[("account_id", r#""""#)], "12 digits"),
    ("permission-boundary", &[("partition", r#""x""#)], "`aws-us-gov`"),
    ("permission-boundary", &[("services", r#"["*"]"#)], "no wildcards"),
    ("permission-boundary", &[("services", r#"["s3", "iam"]"#)], "Not iam"),
    ("permission-boundary", &[("iam_actions", r#"["iam:*"]"#)], "without wildcards. For `iam:PassRole`"),
    ("permission-boundary", &[("iam_actions", r#"["iam:PassRole"]"#)], "without wildcards. For `iam:PassRole`"),
    (
        "permission-boundary",
        &[("passable_role_arns", r#"["arn:aws:iam::123456789012:role/seb/execution/a"]"#)],
        "none of the broker's",
    ),
    ("trust-anchor", &[("name", r#""a b""#)], "1 to 64"),
    ("trust-anchor", &[("private_ca_arn", "null"), ("certificates", "null")], "Give either"),
    ("trust-anchor", &[("private_ca_arn", "null"), ("certificates", r#""none""#)], "one certificate, or two"),
    (
        "trust-anchor",
        &[
            ("private_ca_arn", "null"),
            ("certificates", r#"join("\n", [for n in range(3) : "-----BEGIN CERTIFICATE-----"])"#),
        ],
        "one certificate, or two",
    ),
    (
        "trust-anchor",
        &[
            ("private_ca_arn", "null"),
            ("certificates", r#""-----BEGIN CERTIFICATE-----\n-----BEGIN EC PRIVATE KEY-----""#),
        ],
        "treat it as lost",
    ),
    ("trust-anchor", &[("private_ca_arn", r#""arn:aws:iam::1:role/a""#)], "certificate-authority/ID"),
    ("trust-anchor", &[("expiry_notice_days", "0")], "1 to 360"),
];

/// A use of a module with the good inputs and these.
fn call(name: &str, module: &str, inputs: &[(&str, &str)]) -> String {
    let mut all: BTreeMap<_, _> = good(module).into_iter().collect();
    all.extend(inputs.iter().copied());
    let inputs: String = all.iter().map(|(key, value)| format!("  {key} = {value}\n")).collect();
    format!("module \"{name}\" {{\n  source = \"./modules/{module}\"\n{inputs}}}\n")
}

/// What Terraform says of each file of a configuration, as `FILE` and text.
fn diagnosed(files: &[String]) -> Vec<(String, String)> {
    let folder = without_provider();
    for (n, text) in files.iter().enumerate() {
        std::fs::write(folder.path().join(format!("case_{n}.tf")), text).unwrap();
    }
    let (status, output) = terraform(folder.path(), &["init", "-no-color", "-input=false"]);
    assert!(status.success(), "{output}");
    let (_, output) = terraform(folder.path(), &["plan", "-json", "-input=false"]);
    let mut said = Vec::new();
    for line in output.lines().filter(|line| line.starts_with('{')) {
        let line: Value = serde_json::from_str(line).unwrap();
        let diagnostic = &line["diagnostic"];
        if diagnostic["severity"] == "error" {
            let file = diagnostic["range"]["filename"].as_str().unwrap_or("nowhere").to_owned();
            said.push((file, format!("{}: {}", diagnostic["summary"], diagnostic["detail"].as_str().unwrap())));
        }
    }
    said
}

#[test]
fn good_inputs_are_taken() {
    let files: Vec<_> = MODULES.iter().enumerate().map(|(n, module)| call(&format!("m{n}"), module, &[])).collect();
    assert_eq!(diagnosed(&files), []);
}

#[test]
fn what_is_refused_is_refused_in_readable_words() {
    let case = |n: usize| {
        let (module, inputs, _) = REFUSED[n];
        call(&format!("m{n}"), module, inputs)
    };
    let mut said = diagnosed(&(0..REFUSED.len()).map(case).collect::<Vec<_>>());
    // Validations that ask other inputs come later than the others, and only where those are content.
    let silent = |n: &usize| !said.iter().any(|(name, _)| *name == format!("case_{n}.tf"));
    let rest: Vec<_> = (0..REFUSED.len()).filter(silent).collect();
    for (file, text) in diagnosed(&rest.iter().map(|n| case(*n)).collect::<Vec<_>>()) {
        let place: usize = file.trim_start_matches("case_").trim_end_matches(".tf").parse().unwrap();
        said.push((format!("case_{}.tf", rest[place]), text));
    }
    let mut wrong = Vec::new();
    for (n, (module, inputs, words)) in REFUSED.iter().enumerate() {
        let file = format!("case_{n}.tf");
        let of: Vec<_> = said.iter().filter(|(name, _)| *name == file).map(|(_, text)| text).collect();
        if !of.iter().any(|text| text.contains(words)) {
            wrong.push(format!("{module} {inputs:?}: no `{words}` in {of:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");

    let (mut shown, mut all) = (BTreeSet::new(), 0);
    for module in MODULES {
        for message in variables(module).iter().flat_map(|variable| variable.refusals.clone()) {
            all += 1;
            // What depends on another input is said in its words.
            let start = message.split("${").next().unwrap().to_owned();
            if said.iter().any(|(_, text)| text.contains(&start)) {
                shown.insert((module, message));
            } else {
                panic!("{module}: nothing is refused with `{message}`");
            }
        }
    }
    assert!(all >= 45 && shown.len() == all, "{all} {}", shown.len());
}

/// The IAM actions of the operations of the tables, by name: reads, and changes.
fn operations(reads: bool) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root().join("src/target/aws/request/models")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        // IAM knows Cloud Control as CloudFormation.
        let service = path.file_stem().unwrap().to_str().unwrap().replace("cloudcontrol", "cloudformation");
        let model: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        for (name, operation) in model["operations"].as_object().unwrap() {
            if operation["reads"].as_bool().unwrap_or(false) == reads {
                found.push(format!(
                    "{service}:{}",
                    name.replace("HeadObject", "GetObject").replace("HeadBucket", "ListBucket")
                ));
            }
        }
    }
    found.sort();
    found
}

/// Which of these actions a reader does not get.
fn refused(actions: &[String]) -> Vec<String> {
    let actions = serde_json::to_string(actions).unwrap();
    let readers = READER_THAT_WRITES.replace(r#"["s3:GetObject", "s3:PutObject"]"#, &actions);
    let said = diagnosed(&[call("reader", "broker-roles", &[("readers", readers.as_str())])]);
    let said: String = said.into_iter().map(|(_, text)| text).collect();
    let named = said.rsplit_once("These are not such: ").and_then(|(_, rest)| rest.split_once(".\n"));
    let names = named.map(|(names, _)| names);
    names.into_iter().flat_map(|names| names.split(", ")).map(str::to_owned).collect()
}

#[test]
fn i5_a_reader_gets_no_action_that_changes_something_or_hands_out_what_can() {
    let mut actions = operations(false);
    assert!(actions.len() > 700, "{}", actions.len());
    let leading = [
        "*",
        "GetObject",
        "ec2:GetPasswordData",
        "ecr:GetAuthorizationToken",
        "iam:GetCredentialReport",
        "kms:Decrypt",
        "kms:GetParametersForImport",
        "lambda:GetFunction",
        "lambda:GetLayerVersion",
        "redshift:GetClusterCredentials",
        "s3:*",
        "s3:Get*",
        "s3:getObject",
        "secretsmanager:BatchGetSecretValue",
        "secretsmanager:GetRandomPassword",
        "secretsmanager:GetSecretValue",
        "sqs:ReceiveMessage",
        "ssm:GetAccessToken",
        "sso:GetRoleCredentials",
        "sts:GetCallerIdentity",
        "sts:GetFederationToken",
    ];
    actions.extend(leading.map(str::to_owned));
    actions.sort();
    assert_eq!(refused(&actions), actions);
}

#[test]
fn a_reader_gets_every_action_by_which_a_contract_is_read() {
    let reads = operations(true);
    assert!(reads.len() > 450, "{}", reads.len());
    assert_eq!(refused(&reads), [""; 0]);
}
