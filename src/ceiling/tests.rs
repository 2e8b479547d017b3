use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{BoundaryMode, Ceilings, CeilingsFile, InvalidCeilings, Rate};
use crate::contract::{AwsResource, CallBody, Json, KubernetesResource, Resource, SandboxResource, TargetKind, Verb};
use crate::digest::Digest;
use crate::reason::Reason;

fn ceilings(value: Value) -> Ceilings {
    serde_json::from_value(value).unwrap()
}

/// Ceilings with one target `t`.
fn with(target: Value) -> Ceilings {
    ceilings(json!({"targets": {"t": target}}))
}

fn sandbox(name: &str) -> Resource {
    Resource::Sandbox(SandboxResource { collection: "services".to_owned(), name: name.to_owned() })
}

fn deployment(subresource: Option<&str>) -> Resource {
    Resource::Kubernetes(KubernetesResource {
        group: "apps".to_owned(),
        version: "v1".to_owned(),
        resource: "deployments".to_owned(),
        subresource: subresource.map(str::to_owned),
        namespace: Some("shop".to_owned()),
        name: "checkout".to_owned(),
    })
}

fn bucket(arns: &[&str], actions: &[&str]) -> AwsResource {
    AwsResource {
        account: "123456789012".to_owned(),
        region: "eu-west-1".to_owned(),
        actions: actions.iter().map(|action| action.parse().unwrap()).collect(),
        arns: arns.iter().map(|arn| (*arn).to_owned()).collect(),
        read: None,
    }
}

fn inline(text: &str) -> CallBody {
    CallBody::Inline(Json::parse(text.as_bytes()).unwrap())
}

fn denied(ceilings: &Ceilings, kind: TargetKind, verb: &str, resource: &Resource, body: &CallBody) -> Vec<Reason> {
    let target = ceilings.target(kind, &"t".parse().unwrap()).unwrap();
    let verb: Verb = verb.parse().unwrap();
    target.denials(&verb, resource, Some(body)).into_iter().map(|denial| denial.reason).collect()
}

fn faults(value: Value) -> String {
    let file: CeilingsFile = serde_json::from_value(value).unwrap();
    Ceilings::new(file).unwrap_err().to_string()
}

#[test]
fn i10_an_empty_file_is_the_default_and_admits_nothing() {
    let empty = ceilings(json!({}));
    assert_eq!(empty, Ceilings::default());
    assert_eq!(empty.target(TargetKind::Sandbox, &"t".parse().unwrap()).unwrap_err().reason, Reason::TargetUnknown);
    let sab = spiffe::SpiffeId::new("spiffe://example.org/sab").unwrap();
    assert_eq!(empty.authority(&sab, &"t".parse().unwrap()).unwrap_err().reason, Reason::AuthorityCeiling);
    assert_eq!(empty.knowledge().boundary, BoundaryMode::Enforce);
    assert_eq!(empty.digest(), Digest::of(empty.to_canonical().as_bytes()));
}

#[test]
fn i10_empty_lists_admit_nobody() {
    let body = CallBody::None;
    let sandbox = sandbox("checkout");
    for (target, reason) in [
        (json!({"kind": "sandbox", "rules": []}), Reason::CeilingVerb),
        (json!({"kind": "sandbox", "rules": [{"verbs": [], "resources": ["**"]}]}), Reason::CeilingVerb),
        (json!({"kind": "sandbox", "rules": [{"verbs": ["delete"], "resources": []}]}), Reason::CeilingResource),
    ] {
        assert_eq!(denied(&with(target), TargetKind::Sandbox, "delete", &sandbox, &body), [reason]);
    }
    let target = json!({"kind": "sandbox", "rules": [
        {"verbs": ["merge"], "resources": ["**"], "parameters": [{"pointer": "/a", "values": []}]},
    ]});
    let denials = denied(&with(target), TargetKind::Sandbox, "merge", &sandbox, &inline("{\"a\":1}"));
    assert_eq!(denials, [Reason::CeilingParameter]);
}

#[test]
fn i10_one_rule_must_hold_as_a_whole() {
    let ceilings = with(json!({"kind": "sandbox", "rules": [
        {"verbs": ["merge"], "resources": ["services/a*"], "parameters": [{"pointer": "/n", "maximum": 5}]},
        {"verbs": ["merge"], "resources": ["services/ab"], "parameters": [{"pointer": "/n", "minimum": 7}]},
        {"verbs": ["delete"], "resources": ["services/z"]},
    ]}));
    let denied = |verb, name, body: &str| denied(&ceilings, TargetKind::Sandbox, verb, &sandbox(name), &inline(body));
    assert_eq!(denied("merge", "ab", "{\"n\":5}"), []);
    assert_eq!(denied("merge", "ab", "{\"n\":7}"), []);
    assert_eq!(denied("merge", "ab", "{\"n\":6}"), [Reason::CeilingParameter]);
    assert_eq!(denied("merge", "a", "{\"n\":7}"), [Reason::CeilingParameter]);
    assert_eq!(denied("merge", "z", "{\"n\":5}"), [Reason::CeilingResource]);
    assert_eq!(denied("delete", "a", "{\"n\":5}"), [Reason::CeilingResource]);
    assert_eq!(denied("create", "a", "{\"n\":5}"), [Reason::CeilingVerb]);
}

#[test]
fn i10_the_rule_that_came_closest_is_reported() {
    let ceilings = with(json!({"kind": "sandbox", "rules": [
        {"verbs": ["merge"], "resources": ["**"], "parameters": [
            {"pointer": "/a", "maximum": 1}, {"pointer": "/b", "maximum": 1},
        ]},
        {"verbs": ["merge"], "resources": ["**"], "parameters": [{"pointer": "/c", "maximum": 1}]},
    ]}));
    let target = ceilings.target(TargetKind::Sandbox, &"t".parse().unwrap()).unwrap();
    let body = inline("{\"a\":2,\"b\":2,\"c\":2}");
    let denials = target.denials(&Verb::Merge, &sandbox("x"), Some(&body));
    assert_eq!(denials.len(), 1);
    assert_eq!(denials[0].detail, "`/c` is 2, above the broker's bound 1");
}

#[test]
fn i10_a_subresource_is_not_its_object() {
    let ceilings = with(json!({"kind": "kubernetes", "rules": [
        {"verbs": ["merge-patch"], "resources": ["apps/v1/namespaces/shop/deployments/*"]},
    ]}));
    let kind = TargetKind::Kubernetes;
    assert_eq!(denied(&ceilings, kind, "merge-patch", &deployment(None), &inline("{}")), []);
    assert_eq!(
        denied(&ceilings, kind, "merge-patch", &deployment(Some("scale")), &inline("{}")),
        [Reason::CeilingResource]
    );
}

#[test]
fn i10_every_arn_and_action_and_the_account_and_region_are_bounded() {
    let target = json!({"kind": "aws", "accounts": ["123456789012"], "regions": ["eu-west-1"], "rules": [
        {"verbs": ["s3:PutObject"], "resources": ["arn:aws:s3:::logs-*"], "actions": ["s3:GetObject"]},
        {"verbs": ["s3:PutObject"], "resources": ["arn:aws:s3:::data"]},
    ]});
    let ceilings = with(target);
    let denied = |resource: AwsResource| {
        denied(&ceilings, TargetKind::Aws, "s3:PutObject", &Resource::Aws(resource), &inline("{}"))
    };
    let (put, both) = (["s3:PutObject"], ["s3:PutObject", "s3:GetObject"]);
    assert_eq!(denied(bucket(&["arn:aws:s3:::logs-1", "arn:aws:s3:::logs-2"], &both)), []);
    assert_eq!(denied(bucket(&["arn:aws:s3:::data"], &put)), []);
    // Each of two rules matches one of the two; none matches both.
    assert_eq!(denied(bucket(&["arn:aws:s3:::logs-1", "arn:aws:s3:::data"], &put)), [Reason::CeilingResource]);
    assert_eq!(denied(bucket(&["arn:aws:s3:::data"], &both)), [Reason::CeilingResource]);
    assert_eq!(denied(bucket(&["arn:aws:s3:::logs-1"], &["iam:CreateUser"])), [Reason::CeilingResource]);
    assert_eq!(denied(bucket(&[], &put)), [Reason::CeilingResource]);
    let other = AwsResource { account: "123456789013".to_owned(), ..bucket(&["arn:aws:s3:::data"], &put) };
    assert_eq!(denied(other), [Reason::CeilingResource]);
    let other = AwsResource { region: "eu-west-2".to_owned(), ..bucket(&["arn:aws:s3:::data"], &put) };
    assert_eq!(denied(other), [Reason::CeilingResource]);
    let nowhere = with(json!({"kind": "aws", "rules": [{"verbs": ["s3:PutObject"], "resources": ["**"]}]}));
    let resource = Resource::Aws(bucket(&["arn:aws:s3:::data"], &put));
    let reasons = super::tests::denied(&nowhere, TargetKind::Aws, "s3:PutObject", &resource, &inline("{}"));
    assert_eq!(reasons, [Reason::CeilingResource], "no account, no call");
}

#[test]
fn i10_parameters_are_bounded_where_they_stand() {
    let bounded = |parameter: Value| {
        with(json!({"kind": "sandbox", "rules": [
            {"verbs": ["merge"], "resources": ["**"], "parameters": [parameter]},
        ]}))
    };
    let range = json!({"pointer": "/spec/n", "minimum": 3, "maximum": 5.5});
    let values = json!({"pointer": "/spec/n", "values": ["a", 1, null, true]});
    let optional = json!({"pointer": "/spec/n", "maximum": 5, "optional": true});
    let in_list = json!({"pointer": "/list/0/n", "maximum": 5, "optional": true});
    let whole = json!({"pointer": "/spec/n", "minimum": 3, "values": [1, 3, 4]});
    for (parameter, body, allowed) in [
        (&range, r#"{"spec":{"n":3}}"#, true),
        (&range, r#"{"spec":{"n":5.5}}"#, true),
        (&range, r#"{"spec":{"n":2.999}}"#, false),
        (&range, r#"{"spec":{"n":6}}"#, false),
        (&range, r#"{"spec":{"n":"4"}}"#, false),
        (&range, r#"{"spec":{"n":null}}"#, false),
        (&range, r#"{"spec":{}}"#, false),
        (&range, r#"{}"#, false),
        (&range, r#"{"spec":{"n":4},"spec2":{"n":9}}"#, true),
        (&values, r#"{"spec":{"n":"a"}}"#, true),
        (&values, r#"{"spec":{"n":1.0}}"#, true),
        (&values, r#"{"spec":{"n":null}}"#, true),
        (&values, r#"{"spec":{"n":true}}"#, true),
        (&values, r#"{"spec":{"n":false}}"#, false),
        (&values, r#"{"spec":{"n":"A"}}"#, false),
        (&values, r#"{"spec":{"n":["a"]}}"#, false),
        (&optional, r#"{"spec":{}}"#, true),
        (&optional, r#"{}"#, true),
        (&optional, r#"{"spec":{"n":5}}"#, true),
        (&optional, r#"{"spec":{"n":6}}"#, false),
        // A merge that removes everything around the place is no absence.
        (&optional, r#"{"spec":null}"#, false),
        (&optional, r#"{"spec":[]}"#, false),
        (&optional, r#"[]"#, false),
        (&in_list, r#"{"list":[{"n":5}]}"#, true),
        (&in_list, r#"{"list":[{"n":6}]}"#, false),
        (&in_list, r#"{"list":[]}"#, false),
        (&in_list, r#"{}"#, true),
        (&whole, r#"{"spec":{"n":3}}"#, true),
        (&whole, r#"{"spec":{"n":1}}"#, false),
        (&whole, r#"{"spec":{"n":5}}"#, false),
    ] {
        let ceilings = bounded(parameter.clone());
        let denials = denied(&ceilings, TargetKind::Sandbox, "merge", &sandbox("x"), &inline(body));
        assert_eq!(denials, vec![Reason::CeilingParameter; usize::from(!allowed)], "{parameter} {body}");
    }
    for (parameter, allowed) in [(range, false), (optional, true)] {
        let denials = denied(&bounded(parameter), TargetKind::Sandbox, "merge", &sandbox("x"), &CallBody::None);
        assert_eq!(denials, vec![Reason::CeilingParameter; usize::from(!allowed)]);
    }
}

#[test]
fn every_fault_of_a_file_is_reported_with_its_place() {
    let rule = |rule: Value| json!({"targets": {"t": {"kind": "sandbox", "rules": [rule]}}});
    let parameter =
        |parameter: Value| rule(json!({"verbs": ["merge"], "resources": ["**"], "parameters": [parameter]}));
    for (file, expected) in [
        (json!({"authorities": {"spiffe://A/x": {"targets": []}}}), "authorities: `spiffe://A/x` is not a SPIFFE ID"),
        (json!({"authorities": {"spiffe://a/x": {"targets": ["t"]}}}), "names target `t`, which `targets` has not"),
        (json!({"rates": {"agents": {"agent": {"executions": 1, "per_seconds": 1}}}}), "rates.agents: `agent` is not"),
        (json!({"rates": {"agent": {"executions": 1, "per_seconds": 0}}}), "rates: `per_seconds` is 0"),
        (json!({"rates": {"authority": {"executions": 1, "per_seconds": 86401}}}), "rates: `per_seconds` is 86401"),
        (json!({"knowledge": {"staleness_ms": 86_400_001}}), "knowledge: `staleness_ms` is 86400001"),
        (json!({"knowledge": {"max_boundary_age_seconds": 86_401}}), "`max_boundary_age_seconds` is 86401"),
        (
            rule(json!({"verbs": ["apply"], "resources": []})),
            "targets.t.rules[0]: targets of kind sandbox have no verb `apply`",
        ),
        (
            rule(json!({"verbs": [], "resources": [], "actions": ["s3:GetObject"]})),
            "only targets of kind aws have `actions`",
        ),
        (
            json!({"targets": {"t": {"kind": "sandbox", "rules": [], "regions": ["eu-west-1"]}}}),
            "only targets of kind aws",
        ),
        (json!({"targets": {"t": {"kind": "aws", "rules": [], "accounts": ["*"]}}}), "an account has 12 digits"),
        (json!({"targets": {"t": {"kind": "aws", "rules": [], "regions": ["eu-*"]}}}), "a region is an id"),
        (
            json!({"targets": {"t": {"kind": "kubernetes", "rules": [
                {"verbs": ["json-patch"], "resources": [], "parameters": [{"pointer": "/0", "maximum": 1}]},
            ]}}}),
            "`parameters` cannot bound the body of a `json-patch`",
        ),
        (parameter(json!({"pointer": "", "maximum": 1})), "parameter ``: the pointer must name a place inside"),
        (parameter(json!({"pointer": "/a"})), "parameter `/a`: give `minimum`, `maximum` or `values`"),
        (parameter(json!({"pointer": "/a", "minimum": 2, "maximum": 1})), "`minimum` is above `maximum`"),
        (parameter(json!({"pointer": "/a", "values": [[]]})), "`values` may hold no lists"),
        (parameter(json!({"pointer": "/a", "values": vec![0; 257]})), "`values` has more than 256 entries"),
        (
            rule(json!({"verbs": [], "resources": (0..257).map(|n| n.to_string()).collect::<Vec<_>>()})),
            "has 257 entries",
        ),
        (parameter(json!({"pointer": "/a", "maximum": 1e300})), "exact"),
    ] {
        let message = faults(file.clone());
        assert!(message.contains(expected), "{file}: {message}");
    }
    let both =
        json!({"rates": {"agent": {"executions": 1, "per_seconds": 0}}, "knowledge": {"staleness_ms": 86_400_001}});
    let file: CeilingsFile = serde_json::from_value(both).unwrap();
    let Err(InvalidCeilings(all)) = Ceilings::new(file) else { panic!() };
    assert_eq!(all.len(), 2, "{all:?}");
}

#[test]
fn unknown_fields_and_values_are_refused() {
    for file in [
        json!({"target": {}}),
        json!({"targets": {"T": {"kind": "sandbox", "rules": []}}}),
        json!({"targets": {"t": {"kind": "database", "rules": []}}}),
        json!({"targets": {"t": {"kind": "sandbox"}}}),
        json!({"targets": {"t": {"kind": "sandbox", "rules": [{"verbs": ["*"], "resources": []}]}}}),
        json!({"targets": {"t": {"kind": "sandbox", "rules": [{"verbs": [], "resources": ["**/a"]}]}}}),
        json!({"knowledge": {"boundary": "off"}}),
        json!({"knowledge": {"staleness": 1}}),
        json!({"max_uses": -1}),
        json!({"rates": {"agent": {"executions": 1}}}),
    ] {
        assert!(serde_json::from_value::<Ceilings>(file.clone()).is_err(), "{file}");
    }
}

#[test]
fn i7_the_form_is_read_back_as_it_was() {
    let ceilings = ceilings(json!({
        "targets": {"t": {"kind": "sandbox", "rules": [
            {"verbs": ["merge"], "resources": ["services/*"], "parameters": [
                {"pointer": "/n", "minimum": -0.5, "maximum": 0.00001, "values": ["é", 1e-7], "optional": true},
            ]},
        ]}},
        "authorities": {"spiffe://example.org/sab": {"targets": ["t"]}},
        "rates": {"agents": {"spiffe://example.org/a": {"executions": 1, "per_seconds": 1}}},
    }));
    let again: Ceilings = serde_json::from_str(&ceilings.to_canonical()).unwrap();
    assert_eq!(again, ceilings);
    assert_eq!(again.digest(), ceilings.digest());
    assert_ne!(ceilings.digest(), Ceilings::default().digest());
    let agent = spiffe::SpiffeId::new("spiffe://example.org/a").unwrap();
    assert_eq!(ceilings.agent_rate(&agent), Rate { executions: 1, per_seconds: 1 });
    let other = spiffe::SpiffeId::new("spiffe://example.org/b").unwrap();
    assert_eq!(ceilings.agent_rate(&other), Rate { executions: 60, per_seconds: 60 });
}

proptest! {
    /// Taking anything out of the ceilings never allows what they denied before.
    #[test]
    fn i10_ceilings_are_monotone(
        verbs in proptest::collection::vec(proptest::sample::subsequence(vec!["merge", "create", "delete"], 0..=3), 3),
        patterns in proptest::collection::vec(
            proptest::sample::subsequence(vec!["services/*", "services/a", "**", "x/**"], 0..=4), 3),
        maxima in proptest::collection::vec(0_u32..4, 3),
        drop in 0_usize..3,
        n in 0_u32..4,
    ) {
        let rules: Vec<Value> = (0..3).map(|i| json!({
            "verbs": verbs[i], "resources": patterns[i], "parameters": [{"pointer": "/n", "maximum": maxima[i]}],
        })).collect();
        let fewer: Vec<Value> = rules.iter().enumerate().filter(|(i, _)| *i != drop).map(|(_, r)| r.clone()).collect();
        let body = inline(&format!("{{\"n\":{n}}}"));
        let judge = |rules: &[Value]| {
            let ceilings = with(json!({"kind": "sandbox", "rules": rules}));
            denied(&ceilings, TargetKind::Sandbox, "merge", &sandbox("a"), &body).is_empty()
        };
        prop_assert!(judge(&rules) || !judge(&fewer));
        // And against the definition.
        let expected = (0..3).any(|i| {
            let patterns: BTreeSet<_> = patterns[i].iter().copied().collect();
            verbs[i].contains(&"merge")
                && (patterns.contains("services/*") || patterns.contains("services/a") || patterns.contains("**"))
                && n <= maxima[i]
        });
        prop_assert_eq!(judge(&rules), expected);
    }
}
