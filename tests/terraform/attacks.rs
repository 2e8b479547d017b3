//! Every attack held against the policies that are deployed, and what the broker does itself.

use crate::iam::{Request, Verdict, evaluate};
use crate::readers::{OWN, READER, to_read};
use crate::render::POLICIES;
use crate::table::Caller::{Member, Outside, Service, Unbound};
use crate::table::Comes::{Denied, NotLetIn, Through};
use crate::table::{
    ADMIN, ANCHOR, BOOTSTRAP, CONTROLS, EXECUTION, FEDERATED, GLASS, IDENTITY, MUTATION, MUTATIONS, NOW, ORDERS,
    RESOURCES, RUNS, Row, SECOND, SESSIONS, attacks, by, certificate, execution, person, second, token,
};

const GUARDRAILS: [&str; 4] = [MUTATIONS, CONTROLS, SESSIONS, RESOURCES];

/// Who denies it, and whether what must allow it does.
fn asked(row: &Row) -> (Vec<&'static str>, bool) {
    let organization: &[&str] = match row.from {
        Member => &GUARDRAILS,
        Service | Outside => &GUARDRAILS[3..],
        Unbound => &[],
    };
    let verdict = |name: &str| evaluate(&POLICIES[name], &row.request);
    let mut denied: Vec<_> =
        organization.iter().chain(row.beside).copied().filter(|name| verdict(name) == Verdict::Denied).collect();
    denied.sort_unstable();
    (denied, row.beside.iter().all(|name| verdict(name) == Verdict::Allowed))
}

#[test]
fn each_attack_comes_to_what_the_table_says() {
    let mut wrong = Vec::new();
    for row in attacks() {
        let (denied, allowed) = asked(&row);
        let as_said = match row.comes {
            Denied(names) => denied == names && !names.is_empty(),
            NotLetIn => denied.is_empty() && !allowed && !row.beside.is_empty(),
            Through(_) => denied.is_empty() && allowed,
        };
        if !as_said {
            wrong.push(format!("{}: {:?}, but {denied:?}, allowed: {allowed}", row.attack, row.comes));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(attacks().len() >= 80, "{}", attacks().len());
}

/// Without these, everything could be refused for another reason than the table says.
#[test]
fn what_the_broker_does_is_let_through() {
    let allowed =
        |name: &str, request: &Request| assert_eq!(evaluate(&POLICIES[name], request), Verdict::Allowed, "{name}");
    let undenied = |with: &str, request: &Request| {
        for name in POLICIES.keys().filter(|name| name.starts_with(&format!("{with}/"))) {
            assert_eq!(evaluate(&POLICIES[name], request), Verdict::NotAllowed, "{name}");
        }
    };
    let first = certificate(ANCHOR, IDENTITY, MUTATION);
    allowed("roles/bootstrap_trust", &first);
    assert_eq!(evaluate(&POLICIES[RESOURCES], &first), Verdict::NotAllowed);

    // With and without the prefix that AWS sets.
    for source in ["CN=m-0123456789abcdef", MUTATION] {
        let next = second(MUTATION, MUTATION, source);
        allowed("roles/bootstrap_permissions", &next);
        allowed("roles/execution_trust", &next);
        undenied("guardrails", &next);
    }
    let change = execution("dynamodb:UpdateTable", ORDERS);
    allowed("roles/execution_permissions/orders", &change);
    allowed("boundary/boundary", &change);
    undenied("guardrails", &change);
    // A target may be about keys of a user, where the boundary has the action.
    allowed("boundary/boundary", &execution("iam:UpdateAccessKey", "arn:aws:iam::123456789012:user/eve"));

    for (name, uri) in [("broker", "spiffe://example.org/seb"), ("authority", "spiffe://example.org/sab")] {
        let reader = to_read(OWN, uri, name);
        allowed(&format!("roles/reader_trust/{name}"), &reader);
        assert_eq!(evaluate(&POLICIES[RESOURCES], &reader), Verdict::NotAllowed);
    }
    for read in ["dynamodb:DescribeTable", "cloudformation:GetResourceRequestStatus", "ec2:DescribeInstances"] {
        let request = by(READER, read, ORDERS).with("aws:SourceIdentity", "CN=seb");
        allowed("roles/reader", &request);
        undenied("guardrails", &request);
    }

    let glass = by(GLASS, "s3:PutBucketPolicy", "arn:aws:s3:::shop").with("aws:SourceIdentity", "ann");
    allowed("open/permissions", &glass);
    undenied("guardrails", &glass);
    assert_eq!(evaluate(&POLICIES["closed/permissions"], &glass), Verdict::Denied);
    // Reading is not their business.
    undenied("guardrails", &by(ADMIN, "dynamodb:DescribeTable", ORDERS));
    undenied("guardrails", &by(ADMIN, "sts:AssumeRole", "arn:aws:iam::123456789012:role/ops"));
}

#[test]
fn pooled_is_the_brokers_own_certificate_and_no_other() {
    let trust = &POLICIES["pooled/bootstrap_trust"];
    let broker = certificate(ANCHOR, "spiffe://example.org/seb", "broker");
    assert_eq!(evaluate(trust, &broker), Verdict::Allowed);
    for refused in [
        certificate(ANCHOR, IDENTITY, MUTATION),
        certificate(ANCHOR, "spiffe://example.org/seb/other", "broker"),
        certificate(SECOND, "spiffe://example.org/seb", "broker"),
    ] {
        assert_eq!(evaluate(trust, &refused), Verdict::NotAllowed);
    }
    // The second session is named by its tag; the source identity is the broker's.
    let trust = &POLICIES["pooled/execution_trust"];
    let session = |name: &str, tag: &str| {
        by(BOOTSTRAP, "sts:AssumeRole", EXECUTION)
            .with("sts:RoleSessionName", name)
            .with("aws:RequestTag/seb:mutation", tag)
    };
    assert_eq!(evaluate(trust, &session(MUTATION, MUTATION).with("aws:SourceIdentity", "CN=broker")), Verdict::Allowed);
    assert_eq!(
        evaluate(trust, &session("other", MUTATION).with("aws:SourceIdentity", "CN=broker")),
        Verdict::NotAllowed
    );
    assert_eq!(evaluate(trust, &session(MUTATION, MUTATION)), Verdict::NotAllowed, "no source identity");
}

#[test]
fn web_identity_is_admitted_only_where_the_guardrails_say_so() {
    let trust = &POLICIES["token/execution_trust"];
    let issuer = "spire.example.org";
    assert_eq!(evaluate(trust, &token(issuer, IDENTITY, "seb-aws", FEDERATED)), Verdict::Allowed);
    for (subject, audience) in [("spiffe://example.org/agent/planner", "seb-aws"), (IDENTITY, "other")] {
        assert_eq!(evaluate(trust, &token(issuer, subject, audience, FEDERATED)), Verdict::NotAllowed);
    }
    assert_eq!(evaluate(trust, &token("evil.example.org", IDENTITY, "seb-aws", FEDERATED)), Verdict::NotAllowed);
    let change = by(FEDERATED, "dynamodb:UpdateTable", ORDERS);
    for (guardrails, expected) in [("guardrails", Verdict::Denied), ("guardrails_token", Verdict::NotAllowed)] {
        for policy in ["mutations", "resources"] {
            assert_eq!(
                evaluate(&POLICIES[&format!("{guardrails}/{policy}")], &change),
                expected,
                "{guardrails}/{policy}"
            );
        }
        let asks = token(issuer, IDENTITY, "seb-aws", FEDERATED);
        assert_eq!(evaluate(&POLICIES[&format!("{guardrails}/resources")], &asks), expected);
    }
    // Sessions by certificate still need their source identity there, and the glass is closed.
    let nameless = by(EXECUTION, "dynamodb:UpdateTable", ORDERS);
    assert_eq!(evaluate(&POLICIES["guardrails_token/mutations"], &nameless), Verdict::Denied);
    let glass = person("ann", "ann", Some("10"), NOW);
    assert_eq!(evaluate(&POLICIES["guardrails_token/sessions"], &glass), Verdict::Denied);
}

/// With the exception for `iam:PassRole`, no other role is passed on.
#[test]
fn a_boundary_passes_on_what_it_names() {
    let boundary = &POLICIES["boundary_passing/boundary"];
    let pass = |role: &str| evaluate(boundary, &by(FEDERATED, "iam:PassRole", role));
    assert_eq!(pass("arn:aws:iam::123456789012:role/function"), Verdict::Allowed);
    assert_eq!(pass("arn:aws:iam::123456789012:role/admin"), Verdict::Denied);
    assert_eq!(evaluate(boundary, &by(FEDERATED, "lambda:PutFunctionConcurrency", "*")), Verdict::Allowed);
    assert_eq!(evaluate(boundary, &by(FEDERATED, "s3:PutObject", "arn:aws:s3:::shop/a")), Verdict::NotAllowed);
}

#[test]
fn the_queue_takes_events_of_its_rules_alone() {
    let queue = "arn:aws:sqs:eu-west-1:123456789012:seb-detection";
    let send = |rule: &str| {
        let request = Request::new("sqs:SendMessage", queue)
            .by("Service", "events.amazonaws.com")
            .with("aws:SecureTransport", "true");
        evaluate(&POLICIES["detection/queue"], &request.with("aws:SourceArn", rule))
    };
    assert_eq!(send("arn:aws:events:eu-west-1:123456789012:rule/seb-detection-mutations"), Verdict::Allowed);
    assert_eq!(send("arn:aws:events:eu-west-1:123456789012:rule/other"), Verdict::NotAllowed);
    let take = by("arn:aws:iam::123456789012:role/watcher", "sqs:ReceiveMessage", queue);
    assert_eq!(
        evaluate(&POLICIES["detection/queue"], &take.clone().with("aws:SecureTransport", "true")),
        Verdict::Allowed
    );
    assert_eq!(evaluate(&POLICIES["detection/queue"], &take.with("aws:SecureTransport", "false")), Verdict::Denied);
    assert_eq!(evaluate(&POLICIES["detection/queue"], &by(ADMIN, "sqs:ReceiveMessage", queue)), Verdict::NotAllowed);
}

/// The table of the page.
pub fn markdown() -> String {
    let mut out = String::from("\n| attack | what comes of it |\n|---|---|\n");
    for row in attacks() {
        let said = |name: &str| match name.split_once('/').unwrap() {
            ("guardrails", "resources") => "resource control policy".to_owned(),
            ("guardrails", name) => format!("service control policy `{name}`"),
            ("boundary", _) => "permission boundary".to_owned(),
            ("roles", "reader") => "policy and permission boundary of the role that reads".to_owned(),
            ("roles", "bootstrap_permissions") => "policy of the bootstrap role".to_owned(),
            (_, "trust") => "trust policy of the role".to_owned(),
            (_, "permissions") => "policy of the role".to_owned(),
            other => panic!("{other:?}"),
        };
        let comes = match row.comes {
            Denied(names) => {
                let names = names.iter().map(|name| said(name)).collect::<Vec<_>>().join(", ");
                let also = row.beside.first().is_some_and(|name| name.contains("_trust")) && !asked(&row).1;
                format!("denied: {names}{}", if also { "; its trust policy does not let it in, either" } else { "" })
            }
            NotLetIn if row.beside == RUNS => "not allowed: policy of the role".to_owned(),
            NotLetIn => "not let in: trust policy of the role".to_owned(),
            Through(found) => format!("**nothing stops it**; {found}"),
        };
        out += &format!("| {} | {comes} |\n", row.attack);
    }
    out + "\n"
}
