//! Policy sets: the default one passes its own tests, and a broken one refuses everything.
#![cfg(test)]

use std::path::Path;

use seb::attribute_certificate::Tier;
use seb::sab::policy::{Facts, Outcome, Policies, PolicyFiles, table};
use seb::sab::proposal::{Live, Proposal};
use spiffe::SpiffeId;

fn default_files() -> PolicyFiles {
    PolicyFiles::read(Path::new("policies/default")).unwrap()
}

fn faults(policies: &str) -> String {
    let faults = PolicyFiles::new([("a.cedar", policies)]).load().expect_err(policies);
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

const PROPOSAL: &str = r"
schema: seb.dev/proposal/v1
target: { kind: sandbox, name: shop }
steps: [{ mutation: { verb: merge, resource: { collection: services, name: checkout }, body: { replicas: 5 } } }]
limits: { for: 1h }
justification: load
";

/// What the policies say to [`PROPOSAL`].
fn verdict(policies: &Policies) -> seb::sab::policy::Verdict {
    let now = "2026-11-20T10:00:00Z".parse().unwrap();
    let state = seb::contract::Json::parse(br#"{"replicas":3}"#).unwrap();
    let live = [Live::Present { identity: "uid-1".into(), version: "4".parse().unwrap(), state }];
    let contract = Proposal::parse(PROPOSAL).unwrap().compile(&live, now).unwrap();
    let agent = SpiffeId::new("spiffe://example.org/agent/deployer").unwrap();
    policies.decide(&Facts { agent: &agent, contract: &contract, live: &live, evidence: &[], now })
}

fn decide(policies: &str) -> seb::sab::policy::Verdict {
    let loaded = PolicyFiles::new([("a.cedar", policies)]).load();
    verdict(&loaded.unwrap_or_else(|faults| panic!("{policies}: {faults:?}")))
}

#[test]
fn the_default_policies_pass_their_own_tests() {
    let policies = default_files().load().unwrap_or_else(|faults| panic!("{faults:#?}"));
    let text = std::fs::read_to_string("policies/default/tests.yaml").unwrap();
    let outcomes = table::run(&policies, &text).unwrap();
    let failed: Vec<_> = outcomes.iter().filter(|outcome| outcome.difference.is_some()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(outcomes.len() >= 20);
}

/// Every policy of the default set decides in at least one case, so that none is there untested.
#[test]
fn every_default_policy_is_tested() {
    let files = default_files();
    let text = std::fs::read_to_string("policies/default/tests.yaml").unwrap();
    for (name, content) in files.iter() {
        for id in content.lines().filter_map(|line| line.strip_prefix("@id(\"")?.strip_suffix("\")")) {
            // Without the policy, some case comes out otherwise.
            let changed = files.iter().map(|(other, text)| {
                let text = if other == name { without(text, id) } else { text.to_owned() };
                (other.to_owned(), text)
            });
            let policies = PolicyFiles::new(changed).load().unwrap_or_else(|faults| panic!("{id}: {faults:?}"));
            let outcomes = table::run(&policies, &text).unwrap();
            assert!(outcomes.iter().any(|outcome| outcome.difference.is_some()), "no case needs `{id}`");
        }
    }
}

/// The text without the policy of this id.
fn without(text: &str, id: &str) -> String {
    let start = text.find(&format!("@id(\"{id}\")")).unwrap();
    let (before, rest) = text.split_at(start);
    let (_, after) = rest.split_once(";\n").unwrap();
    format!("{before}{after}")
}

#[test]
fn most_restrictive_policy_wins() {
    let permit = "@id(\"p\") @tier(\"low\") permit (principal, action, resource);";
    let ask =
        "@id(\"a\") @effect(\"approval\") @tier(\"high\") @message(\"look\") forbid (principal, action, resource);";
    let refuse = "@id(\"r\") @message(\"never\") forbid (principal, action, resource);";
    let outcome = |parts: &[&str]| {
        let verdict = decide(&parts.join("\n"));
        (verdict.outcome, verdict.tier, verdict.explanations.first().cloned().unwrap_or_default())
    };
    assert_eq!(outcome(&[permit]), (Outcome::Admit, Some(Tier::Low), String::new()));
    assert_eq!(outcome(&[permit, ask]), (Outcome::NeedsPeople, Some(Tier::High), "look".to_owned()));
    assert_eq!(outcome(&[permit, refuse]), (Outcome::Refuse, None, "never".to_owned()));
    assert_eq!(outcome(&[permit, ask, refuse]).0, Outcome::Refuse);
    // An approval lifts a `forbid`; it is no `permit`.
    let (outcome, _, explanation) = outcome(&[ask]);
    assert_eq!(outcome, Outcome::Refuse);
    assert!(!explanation.is_empty());
}

#[test]
fn i9_a_policy_that_cannot_be_evaluated_refuses() {
    let permit = "@id(\"p\") @tier(\"low\") permit (principal, action, resource);";
    // Overflows for every request: Cedar alone would skip the `forbid` and admit.
    let failing = "@id(\"f\") @message(\"m\") forbid (principal, action, resource)
        when { context.uses + 9223372036854775807 > 0 };";
    let verdict = decide(&format!("{permit}\n{failing}"));
    assert_eq!(verdict.outcome, Outcome::Refuse);
    assert!(verdict.explanations.iter().any(|text| text.starts_with("a policy cannot be evaluated")), "{verdict:?}");
}

#[test]
fn i9_policies_that_do_not_load_refuse_everything() {
    let policies = Policies::deny_all();
    assert!(policies.is_deny_all());
    assert_eq!(verdict(&policies).outcome, Outcome::Refuse);
    assert!(!verdict(&policies).explanations.is_empty());
}

#[test]
fn what_is_wrong_with_a_policy_is_said_with_its_line() {
    for (policy, problem) in [
        ("\n\npermit (principal, action resource);", "a.cedar:3: "),
        ("", "*.cedar: there is no policy"),
        ("@tier(\"low\") permit (principal, action, resource);", "a.cedar:1: needs `@id"),
        ("\n@id(\"p\")\npermit (principal, action, resource);", "a.cedar:2: `p` needs `@tier`"),
        ("@id(\"p\") @tier(\"huge\") permit (principal, action, resource);", "`p`: `@tier` must be"),
        (
            "@id(\"p\") @effect(\"approval\") @tier(\"low\") permit (principal, action, resource);",
            "only stand on a `forbid`",
        ),
        (
            "@id(\"p\") @effect(\"ask\") @tier(\"low\") @message(\"m\") forbid (principal, action, resource);",
            "can only be `approval`",
        ),
        ("@id(\"p\") forbid (principal, action, resource);", "`p` needs `@message`"),
        ("@id(\"p\") @level(\"low\") permit (principal, action, resource);", "`@level` is no annotation"),
        ("@id(\"p\") @tier(\"low\") permit (principal == ?principal, action, resource);", "is a template"),
        (
            "\n@id(\"p\") @tier(\"low\") permit (principal, action, resource) when { context.usess == 1 };",
            "a.cedar:2: ",
        ),
        ("@id(\"p\") @tier(\"low\") permit (principal, action == Action::\"dlete\", resource);", "dlete"),
        (
            "@id(\"p\") @tier(\"low\") permit (principal, action, resource) when { context.uses == \"1\" };",
            "a.cedar:1: ",
        ),
        // A warning, for Cedar: it can never apply.
        ("@id(\"p\") @tier(\"low\") permit (principal, action, resource) when { false };", "a.cedar:1: "),
        (
            "@id(\"p\") @tier(\"low\") permit (principal, action, resource);\n@id(\"p\") @tier(\"low\") permit (principal, action, resource);",
            "a.cedar:2: another policy has the id `p`",
        ),
    ] {
        let faults = faults(policy);
        assert!(faults.contains(problem), "{policy}: {faults}");
    }
}

#[test]
fn the_digest_names_the_files_and_the_schema() {
    let digest = |name: &str, text: &str| PolicyFiles::new([(name, text)]).digest();
    assert_eq!(digest("a.cedar", "x"), digest("a.cedar", "x"));
    assert_ne!(digest("a.cedar", "x"), digest("a.cedar", "y"));
    assert_ne!(digest("a.cedar", "x"), digest("b.cedar", "x"));
    assert_eq!(default_files().load().unwrap().digest(), default_files().digest());
}

/// The blocks of this language in a page.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let text = std::fs::read_to_string(page).unwrap();
    let fence = format!("\n```{language}\n");
    let parts = text.split(&fence).skip(1);
    parts.map(|part| part.split("\n```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_examples_of_the_documentation_hold() {
    let yaml = blocks("docs/proposal.md", "yaml");
    let json = blocks("docs/proposal.md", "json");
    assert_eq!((yaml.len(), json.len()), (2, 1));
    for example in yaml.iter().chain(&json) {
        Proposal::parse(example).unwrap_or_else(|error| panic!("{error}: {example}"));
    }
    let [policies] = blocks("docs/policies.md", "cedar").try_into().unwrap();
    let policies = PolicyFiles::new([("docs.cedar", policies)]).load().unwrap_or_else(|faults| panic!("{faults:?}"));
    let [tests] = blocks("docs/policies.md", "yaml").try_into().unwrap();
    let outcomes = table::run(&policies, &tests).unwrap();
    assert!(outcomes.iter().all(|outcome| outcome.difference.is_none()), "{outcomes:?}");
}

/// A resource of which AWS chooses the identifier is known to policies: people look at it, and at nothing else.
#[test]
fn what_aws_makes_can_want_people() {
    let policies = r#"
@id("machines")
@tier("low")
permit (principal, action == Action::"aws", resource is AwsResource)
when { context.iam_actions == ["ec2:RunInstances"] };

@id("made")
@message("AWS chooses which resource it is")
@effect("approval")
@tier("high")
forbid (principal, action == Action::"aws", resource is AwsResource)
when { resource.made };
"#;
    let policies = PolicyFiles::new([("a.cedar", policies)]).load().unwrap_or_else(|faults| panic!("{faults:?}"));
    let tests = r"
proposals:
  machines:
    schema: seb.dev/proposal/v1
    target: { kind: aws, name: production }
    steps:
      - mutation:
          verb: ec2:RunInstances
          resource:
            account: '123456789012'
            region: eu-west-1
            actions: [ec2:RunInstances]
            arns: ['arn:aws:ec2:eu-west-1:123456789012:launch-template/lt-1', 'arn:aws:ec2:eu-west-1:123456789012:instance/*']
            read: { operation: ec2:DescribeLaunchTemplates, input: { LaunchTemplateIds: [lt-1] } }
          body: { LaunchTemplate: { LaunchTemplateId: lt-1, Version: '7' }, MinCount: 1, MaxCount: 1 }
    limits: { for: 1h }
    justification: more
cases:
  - name: a new machine is looked at
    agent: spiffe://example.org/agent/deployer
    at: 2026-11-20T10:00:00Z
    proposal: machines
    live: [{ identity: lt-1, version: '7', state: { LaunchTemplates: [] } }]
    expect: { decision: people, tier: high, policies: [machines, made] }
  - name: one that is known is not
    agent: spiffe://example.org/agent/deployer
    at: 2026-11-20T10:00:00Z
    proposal: machines
    set: { /steps/0/mutation/resource/arns/1: 'arn:aws:ec2:eu-west-1:123456789012:instance/i-1' }
    live: [{ identity: lt-1, version: '7', state: { LaunchTemplates: [] } }]
    expect: { decision: admit, tier: low, policies: [machines] }
";
    let outcomes = table::run(&policies, tests).unwrap();
    assert_eq!(outcomes.len(), 2);
    assert!(outcomes.iter().all(|outcome| outcome.difference.is_none()), "{outcomes:?}");
}
