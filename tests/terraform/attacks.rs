//! The attacks of `docs/terraform.md`, each held against the policies that are deployed.

use crate::iam::{Request, Verdict, evaluate};
use crate::render::POLICIES;

/// Which policies AWS asks beside those of the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// A principal of a member account: SCPs and RCP.
    Member,
    /// An AWS service: no SCP binds it.
    Service,
    /// A principal of another organization, or who shows a token: no SCP binds it.
    Outside,
    /// The management account, or a service-linked role: no SCP binds it, and here no RCP either.
    Unbound,
}

/// What comes of an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comes {
    /// These policies, and no others, deny it explicitly.
    Denied(&'static [&'static str]),
    /// Nothing denies it, and the trust policy does not let it in.
    NotLetIn,
    /// It is carried out; what finds it.
    Through(&'static str),
}

pub struct Row {
    pub attack: &'static str,
    pub from: Caller,
    /// Policies of the principal or the resource that are asked, too.
    pub beside: &'static [&'static str],
    pub request: fn() -> Request,
    pub comes: Comes,
}

const NOW: &str = "2026-11-21T20:30:00Z";
const ANCHOR: &str = "arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/11111111-2222-3333-4444-555555555555";
const SECOND: &str = "arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/99999999-2222-3333-4444-555555555555";
const BOOTSTRAP: &str = "arn:aws:iam::123456789012:role/seb/bootstrap/seb-bootstrap";
const EXECUTION: &str = "arn:aws:iam::123456789012:role/seb/execution/seb-orders";
const FEDERATED: &str = "arn:aws:iam::123456789012:role/seb/federated/seb-orders";
const GLASS: &str = "arn:aws:iam::123456789012:role/seb/break-glass/seb-break-glass";
const ADMIN: &str = "arn:aws:iam::123456789012:user/admin";
const TERRAFORM: &str = "arn:aws:iam::123456789012:role/infrastructure/terraform";
const ORDERS: &str = "arn:aws:dynamodb:eu-west-1:123456789012:table/orders";
const MUTATION: &str = "m-0123456789abcdef";

fn ask(action: &str, resource: &str) -> Request {
    Request::new(action, resource).with("aws:CurrentTime", NOW).with("aws:PrincipalIsAWSService", "false")
}

/// By a principal with an ARN: a user, or the sessions of a role.
fn by(arn: &str, action: &str, resource: &str) -> Request {
    ask(action, resource).by("AWS", arn).with("aws:PrincipalArn", arn)
}

/// A certificate shown to IAM Roles Anywhere.
fn certificate(anchor: &str, uri: &str, name: &str) -> Request {
    Request::new("sts:AssumeRole", BOOTSTRAP)
        .by("Service", "rolesanywhere.amazonaws.com")
        .with("aws:PrincipalIsAWSService", "true")
        .with("aws:CurrentTime", NOW)
        .with("aws:SourceArn", anchor)
        .with("aws:PrincipalTag/x509SAN/URI", uri)
        .with("aws:PrincipalTag/x509Subject/CN", name)
}

const IDENTITY: &str = "spiffe://example.org/seb/execution/m-0123456789abcdef";

/// The session of the bootstrap role, on its way to the execution role.
fn second(session: &str, tag: &str, source: &str) -> Request {
    by(BOOTSTRAP, "sts:AssumeRole", EXECUTION)
        .with("aws:PrincipalTag/x509Subject/CN", MUTATION)
        .with("sts:RoleSessionName", session)
        .with("aws:RequestTag/seb:mutation", tag)
        .with("aws:SourceIdentity", source)
}

fn execution(action: &str, resource: &str) -> Request {
    by(EXECUTION, action, resource).with("aws:SourceIdentity", "CN=m-0123456789abcdef")
}

fn token(issuer: &str, subject: &str, audience: &str, role: &str) -> Request {
    ask("sts:AssumeRoleWithWebIdentity", role)
        .by("Federated", "arn:aws:iam::123456789012:oidc-provider/spire.example.org")
        .with(&format!("{issuer}:sub"), subject)
        .with(&format!("{issuer}:aud"), audience)
}

/// A person at the break-glass role, with a second factor shown `age` seconds ago.
fn person(name: &str, says: &str, age: Option<&str>, at: &str) -> Request {
    let request = by(&format!("arn:aws:iam::123456789012:user/{name}"), "sts:AssumeRole", GLASS)
        .with("aws:username", name)
        .with("sts:SourceIdentity", says)
        .with("aws:CurrentTime", at);
    match age {
        Some(age) => request.with("aws:MultiFactorAuthPresent", "true").with("aws:MultiFactorAuthAge", age),
        None => request,
    }
}

const MUTATIONS: &str = "guardrails/mutations";
const CONTROLS: &str = "guardrails/controls";
const SESSIONS: &str = "guardrails/sessions";
const RESOURCES: &str = "guardrails/resources";
const BOTH: Comes = Comes::Denied(&[MUTATIONS, RESOURCES]);
const BY_CONTROLS: Comes = Comes::Denied(&[CONTROLS]);
const IN: &[&str] = &["roles/bootstrap_trust"];
const ON: &[&str] = &["roles/execution_trust"];
const RUNS: &[&str] = &["boundary/boundary", "roles/execution_permissions/orders"];
const OPEN: &[&str] = &["open/trust"];

const fn row(
    attack: &'static str,
    from: Caller,
    beside: &'static [&'static str],
    request: fn() -> Request,
    comes: Comes,
) -> Row {
    Row { attack, from, beside, request, comes }
}

use Caller::{Member, Outside, Service, Unbound};
use Comes::{Denied, NotLetIn, Through};

pub const ATTACKS: &[Row] = &[
    row(
        "an agent's SVID, by the right anchor",
        Service,
        IN,
        || certificate(ANCHOR, "spiffe://example.org/agent/planner", "planner"),
        NotLetIn,
    ),
    row(
        "an agent's SVID whose subject is a mutation",
        Service,
        IN,
        || certificate(ANCHOR, "spiffe://example.org/agent/m", MUTATION),
        NotLetIn,
    ),
    row(
        "an SVID of a path that only begins like it, `/seb/execution-2/`",
        Service,
        IN,
        || certificate(ANCHOR, "spiffe://example.org/seb/execution-2/m-0123456789abcdef", MUTATION),
        NotLetIn,
    ),
    row(
        "an execution identity of another trust domain below the same CA",
        Service,
        IN,
        || certificate(ANCHOR, "spiffe://example.com/seb/execution/m-0123456789abcdef", MUTATION),
        NotLetIn,
    ),
    row(
        "an execution identity whose subject names another mutation than its URI",
        Service,
        IN,
        || certificate(ANCHOR, IDENTITY, "m-fedcba9876543210"),
        NotLetIn,
    ),
    row("an SVID whose subject is a wildcard", Service, IN, || certificate(ANCHOR, IDENTITY, "*"), NotLetIn),
    row(
        "an execution identity of one's own, by a second anchor of the account",
        Service,
        IN,
        || certificate(SECOND, IDENTITY, MUTATION),
        Denied(&[RESOURCES]),
    ),
    row(
        "the same where somebody took `aws:SourceArn` out of the trust policy",
        Service,
        &[],
        || certificate(SECOND, IDENTITY, MUTATION),
        Denied(&[RESOURCES]),
    ),
    row(
        "another AWS service assumes the bootstrap role",
        Service,
        IN,
        || {
            Request::new("sts:AssumeRole", BOOTSTRAP)
                .by("Service", "lambda.amazonaws.com")
                .with("aws:PrincipalIsAWSService", "true")
        },
        Denied(&[RESOURCES]),
    ),
    row(
        "an agent's role makes the change itself",
        Member,
        &[],
        || by("arn:aws:iam::123456789012:role/agent", "dynamodb:UpdateTable", ORDERS),
        BOTH,
    ),
    row(
        "an administrator with long-lived keys makes it",
        Member,
        &[],
        || by(ADMIN, "dynamodb:UpdateTable", ORDERS),
        BOTH,
    ),
    row(
        "the same on a service that resource control policies do not know",
        Member,
        &[],
        || by(ADMIN, "ec2:AuthorizeSecurityGroupIngress", "arn:aws:ec2:eu-west-1:123456789012:security-group/sg-1"),
        Denied(&[MUTATIONS]),
    ),
    row(
        "the root user of the account makes it",
        Member,
        &[],
        || by("arn:aws:iam::123456789012:root", "s3:PutBucketPolicy", "arn:aws:s3:::shop"),
        BOTH,
    ),
    row(
        "a role with a source identity of its own choice makes it",
        Member,
        &[],
        || {
            by("arn:aws:iam::123456789012:role/ops", "dynamodb:UpdateTable", ORDERS)
                .with("aws:SourceIdentity", "CN=m-0123456789abcdef")
        },
        BOTH,
    ),
    row(
        "a permission set of IAM Identity Center makes it",
        Member,
        &[],
        || {
            by(
                "arn:aws:iam::123456789012:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_Admin_1",
                "dynamodb:UpdateTable",
                ORDERS,
            )
        },
        BOTH,
    ),
    row(
        "`OrganizationAccountAccessRole` makes it",
        Member,
        &[],
        || by("arn:aws:iam::123456789012:role/OrganizationAccountAccessRole", "dynamodb:UpdateTable", ORDERS),
        BOTH,
    ),
    row(
        "a stack, by the role that was passed to CloudFormation, makes it",
        Member,
        &[],
        || {
            by("arn:aws:iam::123456789012:role/stacks", "dynamodb:UpdateTable", ORDERS)
                .with("aws:SourceIdentity", "ann")
        },
        BOTH,
    ),
    row(
        "a role named `seb-orders` outside of `/seb/execution/` makes it",
        Member,
        &[],
        || {
            by("arn:aws:iam::123456789012:role/seb-orders", "dynamodb:UpdateTable", ORDERS)
                .with("aws:SourceIdentity", "CN=m")
        },
        BOTH,
    ),
    row(
        "the role that applies these modules makes it",
        Member,
        &[],
        || by(TERRAFORM, "dynamodb:UpdateTable", ORDERS),
        BOTH,
    ),
    row(
        "a bucket policy lets another organization make it",
        Outside,
        &[],
        || by("arn:aws:iam::999999999999:role/partner", "s3:PutObject", "arn:aws:s3:::shop/a"),
        Denied(&[RESOURCES]),
    ),
    row(
        "a session of the execution role without source identity",
        Member,
        RUNS,
        || by(EXECUTION, "dynamodb:UpdateTable", ORDERS),
        Denied(&["boundary/boundary", MUTATIONS, RESOURCES]),
    ),
    row(
        "an execution, on what no target of its role names",
        Member,
        RUNS,
        || execution("dynamodb:UpdateTable", "arn:aws:dynamodb:eu-west-1:123456789012:table/users"),
        NotLetIn,
    ),
    row(
        "an execution assumes another role",
        Member,
        RUNS,
        || execution("sts:AssumeRole", "arn:aws:iam::123456789012:role/admin"),
        Denied(&["boundary/boundary"]),
    ),
    row(
        "an execution passes a role on",
        Member,
        RUNS,
        || execution("iam:PassRole", "arn:aws:iam::123456789012:role/admin"),
        Denied(&["boundary/boundary"]),
    ),
    row(
        "an execution widens its own role",
        Member,
        RUNS,
        || execution("iam:PutRolePolicy", EXECUTION),
        Denied(&["boundary/boundary", CONTROLS]),
    ),
    row(
        "an execution stops the trail",
        Member,
        RUNS,
        || execution("cloudtrail:StopLogging", "arn:aws:cloudtrail:eu-west-1:123456789012:trail/all"),
        Denied(&["boundary/boundary", CONTROLS]),
    ),
    row(
        "the first session makes the change itself",
        Member,
        &["roles/bootstrap_permissions"],
        || by(BOOTSTRAP, "dynamodb:UpdateTable", ORDERS).with("aws:SourceIdentity", "CN=m"),
        Denied(&[MUTATIONS, RESOURCES, "roles/bootstrap_permissions"]),
    ),
    row(
        "the first session assumes another role of the account",
        Member,
        &["roles/bootstrap_permissions"],
        || by(BOOTSTRAP, "sts:AssumeRole", "arn:aws:iam::123456789012:role/admin"),
        Denied(&["roles/bootstrap_permissions"]),
    ),
    row(
        "the second session is named after another mutation",
        Member,
        ON,
        || second("m-fedcba9876543210", MUTATION, "CN=m-0123456789abcdef"),
        NotLetIn,
    ),
    row(
        "its tag `seb:mutation` names another",
        Member,
        ON,
        || second(MUTATION, "m-fedcba9876543210", "CN=m-0123456789abcdef"),
        NotLetIn,
    ),
    row("its source identity is another", Member, ON, || second(MUTATION, MUTATION, "CN=m-fedcba9876543210"), NotLetIn),
    row(
        "an administrator assumes the execution role",
        Member,
        ON,
        || by(ADMIN, "sts:AssumeRole", EXECUTION).with("sts:RoleSessionName", MUTATION),
        Denied(&[RESOURCES, SESSIONS]),
    ),
    row(
        "the same after somebody widened its trust policy",
        Member,
        &[],
        || by(ADMIN, "sts:AssumeRole", EXECUTION),
        Denied(&[RESOURCES, SESSIONS]),
    ),
    row(
        "an administrator assumes the bootstrap role",
        Member,
        IN,
        || by(ADMIN, "sts:AssumeRole", BOOTSTRAP),
        Denied(&[RESOURCES, SESSIONS]),
    ),
    row(
        "another organization assumes the execution role after that",
        Outside,
        &[],
        || by("arn:aws:iam::999999999999:role/partner", "sts:AssumeRole", EXECUTION),
        Denied(&[RESOURCES]),
    ),
    row(
        "a token for the execution role of a certificate",
        Outside,
        ON,
        || token("spire.example.org", IDENTITY, "seb-aws", EXECUTION),
        Denied(&[RESOURCES]),
    ),
    row("a second trust anchor", Member, &[], || by(ADMIN, "rolesanywhere:CreateTrustAnchor", "*"), BY_CONTROLS),
    row(
        "a certificate of one's own in the anchor",
        Member,
        &[],
        || by(ADMIN, "rolesanywhere:UpdateTrustAnchor", ANCHOR),
        BY_CONTROLS,
    ),
    row("the anchor is deleted", Member, &[], || by(ADMIN, "rolesanywhere:DeleteTrustAnchor", ANCHOR), BY_CONTROLS),
    row("the anchor is disabled", Member, &[], || by(ADMIN, "rolesanywhere:DisableTrustAnchor", ANCHOR), BY_CONTROLS),
    row(
        "a CRL that revokes nothing replaces another",
        Member,
        &[],
        || by(ADMIN, "rolesanywhere:UpdateCrl", "*"),
        BY_CONTROLS,
    ),
    row(
        "another profile, or another session policy of the profile",
        Member,
        &[],
        || by(ADMIN, "rolesanywhere:UpdateProfile", "*"),
        BY_CONTROLS,
    ),
    row(
        "the attribute mapping of the profile is deleted: its tags are gone",
        Member,
        &[],
        || by(ADMIN, "rolesanywhere:DeleteAttributeMapping", "*"),
        BY_CONTROLS,
    ),
    row(
        "the attribute mapping takes a tag from elsewhere",
        Member,
        &[],
        || by(ADMIN, "rolesanywhere:PutAttributeMapping", "*"),
        BY_CONTROLS,
    ),
    row(
        "notice of the end of the CA is turned off",
        Member,
        &[],
        || by(ADMIN, "rolesanywhere:PutNotificationSettings", "*"),
        BY_CONTROLS,
    ),
    row("the anchor gets another tag", Member, &[], || by(ADMIN, "rolesanywhere:TagResource", ANCHOR), BY_CONTROLS),
    row(
        "the trust policy of the execution role is widened",
        Member,
        &[],
        || by(ADMIN, "iam:UpdateAssumeRolePolicy", EXECUTION),
        BY_CONTROLS,
    ),
    row("another policy is attached to it", Member, &[], || by(ADMIN, "iam:AttachRolePolicy", EXECUTION), BY_CONTROLS),
    row(
        "its permission boundary is taken away",
        Member,
        &[],
        || by(ADMIN, "iam:DeleteRolePermissionsBoundary", EXECUTION),
        BY_CONTROLS,
    ),
    row(
        "the boundary gets another version",
        Member,
        &[],
        || by(ADMIN, "iam:CreatePolicyVersion", "arn:aws:iam::123456789012:policy/seb/seb-execution-boundary"),
        BY_CONTROLS,
    ),
    row(
        "a new role below `/seb/execution/`",
        Member,
        &[],
        || by(ADMIN, "iam:CreateRole", "arn:aws:iam::123456789012:role/seb/execution/mine"),
        BY_CONTROLS,
    ),
    row(
        "the execution role is passed to a function",
        Member,
        &[],
        || by(ADMIN, "iam:PassRole", EXECUTION),
        BY_CONTROLS,
    ),
    row(
        "the execution role is tagged",
        Member,
        &[],
        || by(ADMIN, "iam:TagRole", EXECUTION).with_all("aws:TagKeys", &["team"]),
        BY_CONTROLS,
    ),
    row(
        "another role is tagged `seb:mutation`",
        Member,
        &[],
        || {
            by(ADMIN, "iam:TagRole", "arn:aws:iam::123456789012:role/ops")
                .with_all("aws:TagKeys", &["team", "seb:mutation"])
        },
        Denied(&[SESSIONS]),
    ),
    row(
        "another session is tagged `seb:mutation`",
        Member,
        &[],
        || by(ADMIN, "sts:TagSession", "arn:aws:iam::123456789012:role/ops").with_all("aws:TagKeys", &["seb:mutation"]),
        Denied(&[SESSIONS]),
    ),
    row(
        "another session is tagged `x509SAN/URI`",
        Member,
        &[],
        || by(ADMIN, "sts:TagSession", "arn:aws:iam::123456789012:role/ops").with_all("aws:TagKeys", &["x509SAN/URI"]),
        Denied(&[SESSIONS]),
    ),
    row(
        "an identity provider of one's own",
        Member,
        &[],
        || by(ADMIN, "iam:CreateOpenIDConnectProvider", "arn:aws:iam::123456789012:oidc-provider/evil.example"),
        BY_CONTROLS,
    ),
    row(
        "the keys of the identity provider are replaced",
        Member,
        &[],
        || {
            by(
                ADMIN,
                "iam:UpdateOpenIDConnectProviderThumbprint",
                "arn:aws:iam::123456789012:oidc-provider/spire.example.org",
            )
        },
        BY_CONTROLS,
    ),
    row("the trail is stopped", Member, &[], || by(ADMIN, "cloudtrail:StopLogging", "*"), BY_CONTROLS),
    row(
        "the trail no longer selects data events",
        Member,
        &[],
        || by(ADMIN, "cloudtrail:PutEventSelectors", "*"),
        BY_CONTROLS,
    ),
    row("the trail is deleted", Member, &[], || by(ADMIN, "cloudtrail:DeleteTrail", "*"), BY_CONTROLS),
    row(
        "the rule of the detection is disabled",
        Member,
        &[],
        || by(ADMIN, "events:DisableRule", "arn:aws:events:eu-west-1:123456789012:rule/seb-detection-mutations"),
        BY_CONTROLS,
    ),
    row(
        "its target is removed",
        Member,
        &[],
        || by(ADMIN, "events:RemoveTargets", "arn:aws:events:eu-west-1:123456789012:rule/seb-detection-mutations"),
        BY_CONTROLS,
    ),
    row(
        "its queue is emptied",
        Member,
        &[],
        || by(ADMIN, "sqs:PurgeQueue", "arn:aws:sqs:eu-west-1:123456789012:seb-detection"),
        BY_CONTROLS,
    ),
    row(
        "its alarm is deleted",
        Member,
        &[],
        || by(ADMIN, "cloudwatch:DeleteAlarms", "arn:aws:cloudwatch:eu-west-1:123456789012:alarm:seb-detection"),
        BY_CONTROLS,
    ),
    row(
        "the account leaves the organization",
        Member,
        &[],
        || by(TERRAFORM, "organizations:LeaveOrganization", "*"),
        BY_CONTROLS,
    ),
    row(
        "break glass while it is closed, with a second factor",
        Member,
        &["closed/trust"],
        || person("ann", "ann", Some("10"), NOW),
        Denied(&["closed/trust"]),
    ),
    row("break glass without a second factor", Member, OPEN, || person("ann", "ann", None, NOW), Denied(&[SESSIONS])),
    row(
        "break glass with a second factor of an hour ago",
        Member,
        OPEN,
        || person("ann", "ann", Some("3601"), NOW),
        NotLetIn,
    ),
    row("break glass under another's name", Member, OPEN, || person("ann", "bob", Some("10"), NOW), NotLetIn),
    row(
        "break glass by somebody who is not an operator",
        Member,
        OPEN,
        || person("eve", "eve", Some("10"), NOW),
        NotLetIn,
    ),
    row(
        "break glass before its time",
        Member,
        OPEN,
        || person("ann", "ann", Some("10"), "2026-11-21T19:59:59Z"),
        NotLetIn,
    ),
    row(
        "break glass after its time",
        Member,
        OPEN,
        || person("ann", "ann", Some("10"), "2026-11-21T21:00:01Z"),
        NotLetIn,
    ),
    row(
        "a session of it goes on after its time",
        Member,
        &["open/permissions"],
        || {
            by(GLASS, "s3:PutBucketPolicy", "arn:aws:s3:::shop")
                .with("aws:SourceIdentity", "ann")
                .with("aws:CurrentTime", "2026-11-21T21:00:01Z")
        },
        Denied(&["open/permissions"]),
    ),
    row(
        "a session of it changes the broker's roles",
        Member,
        &["open/permissions"],
        || by(GLASS, "iam:PutRolePolicy", EXECUTION).with("aws:SourceIdentity", "ann"),
        Denied(&[CONTROLS, "open/permissions"]),
    ),
    row(
        "a session of it assumes another role",
        Member,
        &["open/permissions"],
        || by(GLASS, "sts:AssumeRole", "arn:aws:iam::123456789012:role/admin").with("aws:SourceIdentity", "ann"),
        Denied(&["open/permissions"]),
    ),
    row(
        "an operator within the window, with a second factor",
        Member,
        OPEN,
        || person("ann", "ann", Some("10"), NOW),
        Through("the alarm of `break-glass`; detection, rule `controls`"),
    ),
    row(
        "the role that applies these modules widens a trust policy",
        Member,
        &[],
        || by(TERRAFORM, "iam:UpdateAssumeRolePolicy", EXECUTION),
        Through("detection, rule `controls`; let nobody assume it without approval"),
    ),
    row(
        "the management account detaches the policies",
        Unbound,
        &[],
        || by("arn:aws:iam::111111111111:role/admin", "organizations:DetachPolicy", "*"),
        Through("detection in that account, rule `controls`"),
    ),
    row(
        "a service-linked role makes the change",
        Unbound,
        &[],
        || {
            by(
                "arn:aws:iam::123456789012:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling",
                "autoscaling:UpdateAutoScalingGroup",
                "*",
            )
        },
        Through("detection, rule `mutations`"),
    ),
    row(
        "an AWS service makes the change as itself",
        Service,
        &[],
        || {
            ask("s3:PutObject", "arn:aws:s3:::shop/log")
                .by("Service", "logging.s3.amazonaws.com")
                .with("aws:PrincipalIsAWSService", "true")
        },
        Through("data events of the trail; resource policies decide"),
    ),
    row(
        "whoever has the first session asks for a second one without session policy",
        Member,
        ON,
        || second(MUTATION, MUTATION, "CN=m-0123456789abcdef"),
        Through("its ceiling is the execution role; no record explains what it does"),
    ),
];

const GUARDRAILS: [&str; 4] = [MUTATIONS, CONTROLS, SESSIONS, RESOURCES];

/// Who denies it, and whether what must allow it does.
fn asked(row: &Row) -> (Vec<&'static str>, bool) {
    let organization: &[&str] = match row.from {
        Member => &GUARDRAILS,
        Service | Outside => &GUARDRAILS[3..],
        Unbound => &[],
    };
    let request = (row.request)();
    let verdict = |name: &str| evaluate(&POLICIES[name], &request);
    let mut denied: Vec<_> =
        organization.iter().chain(row.beside).copied().filter(|name| verdict(name) == Verdict::Denied).collect();
    denied.sort_unstable();
    (denied, row.beside.iter().all(|name| verdict(name) == Verdict::Allowed))
}

#[test]
fn each_attack_comes_to_what_the_table_says() {
    let mut wrong = Vec::new();
    for row in ATTACKS {
        let (denied, allowed) = asked(row);
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
    assert!(ATTACKS.len() >= 80, "{}", ATTACKS.len());
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
    for row in ATTACKS {
        let said = |name: &str| match name.split_once('/').unwrap() {
            ("guardrails", "resources") => "resource control policy".to_owned(),
            ("guardrails", name) => format!("service control policy `{name}`"),
            ("boundary", _) => "permission boundary".to_owned(),
            ("roles", "bootstrap_permissions") => "policy of the bootstrap role".to_owned(),
            (_, "trust") => "trust policy of the role".to_owned(),
            (_, "permissions") => "policy of the role".to_owned(),
            other => panic!("{other:?}"),
        };
        let comes = match row.comes {
            Denied(names) => {
                let names = names.iter().map(|name| said(name)).collect::<Vec<_>>().join(", ");
                let also = row.beside.first().is_some_and(|name| name.ends_with("_trust")) && !asked(row).1;
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
