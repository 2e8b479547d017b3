//! The attacks of `docs/terraform.md`, and what comes of each.

use crate::iam::Request;
use crate::readers::readers;

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
    pub request: Request,
    pub comes: Comes,
}

pub const NOW: &str = "2026-11-21T20:30:00Z";
pub const ANCHOR: &str =
    "arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/11111111-2222-3333-4444-555555555555";
pub const SECOND: &str =
    "arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/99999999-2222-3333-4444-555555555555";
pub const BOOTSTRAP: &str = "arn:aws:iam::123456789012:role/seb/bootstrap/seb-bootstrap";
pub const EXECUTION: &str = "arn:aws:iam::123456789012:role/seb/execution/seb-orders";
pub const FEDERATED: &str = "arn:aws:iam::123456789012:role/seb/federated/seb-orders";
pub const GLASS: &str = "arn:aws:iam::123456789012:role/seb/break-glass/seb-break-glass";
pub const ADMIN: &str = "arn:aws:iam::123456789012:user/admin";
pub const TERRAFORM: &str = "arn:aws:iam::123456789012:role/infrastructure/terraform";
pub const ORDERS: &str = "arn:aws:dynamodb:eu-west-1:123456789012:table/orders";
pub const MUTATION: &str = "m-0123456789abcdef";

pub fn ask(action: &str, resource: &str) -> Request {
    Request::new(action, resource).with("aws:CurrentTime", NOW).with("aws:PrincipalIsAWSService", "false")
}

/// By a principal with an ARN: a user, or the sessions of a role.
pub fn by(arn: &str, action: &str, resource: &str) -> Request {
    ask(action, resource).by("AWS", arn).with("aws:PrincipalArn", arn)
}

/// A certificate shown to IAM Roles Anywhere.
pub fn certificate(anchor: &str, uri: &str, name: &str) -> Request {
    Request::new("sts:AssumeRole", BOOTSTRAP)
        .by("Service", "rolesanywhere.amazonaws.com")
        .with("aws:PrincipalIsAWSService", "true")
        .with("aws:CurrentTime", NOW)
        .with("aws:SourceArn", anchor)
        .with("aws:PrincipalTag/x509SAN/URI", uri)
        .with("aws:PrincipalTag/x509Subject/CN", name)
}

pub const IDENTITY: &str = "spiffe://example.org/seb/execution/m-0123456789abcdef";

/// The session of the bootstrap role, on its way to the execution role.
pub fn second(session: &str, tag: &str, source: &str) -> Request {
    by(BOOTSTRAP, "sts:AssumeRole", EXECUTION)
        .with("aws:PrincipalTag/x509Subject/CN", MUTATION)
        .with("sts:RoleSessionName", session)
        .with("aws:RequestTag/seb:mutation", tag)
        .with("aws:SourceIdentity", source)
}

pub fn execution(action: &str, resource: &str) -> Request {
    by(EXECUTION, action, resource).with("aws:SourceIdentity", "CN=m-0123456789abcdef")
}

pub fn token(issuer: &str, subject: &str, audience: &str, role: &str) -> Request {
    ask("sts:AssumeRoleWithWebIdentity", role)
        .by("Federated", "arn:aws:iam::123456789012:oidc-provider/spire.example.org")
        .with(&format!("{issuer}:sub"), subject)
        .with(&format!("{issuer}:aud"), audience)
}

/// A person at the break-glass role, with a second factor shown `age` seconds ago.
pub fn person(name: &str, says: &str, age: Option<&str>, at: &str) -> Request {
    let request = by(&format!("arn:aws:iam::123456789012:user/{name}"), "sts:AssumeRole", GLASS)
        .with("aws:username", name)
        .with("sts:SourceIdentity", says)
        .with("aws:CurrentTime", at);
    match age {
        Some(age) => request.with("aws:MultiFactorAuthPresent", "true").with("aws:MultiFactorAuthAge", age),
        None => request,
    }
}

pub const MUTATIONS: &str = "guardrails/mutations";
pub const CONTROLS: &str = "guardrails/controls";
pub const SESSIONS: &str = "guardrails/sessions";
pub const RESOURCES: &str = "guardrails/resources";
pub const BOTH: Comes = Comes::Denied(&[MUTATIONS, RESOURCES]);
pub const BY_CONTROLS: Comes = Comes::Denied(&[CONTROLS]);
pub const IN: &[&str] = &["roles/bootstrap_trust"];
pub const ON: &[&str] = &["roles/execution_trust"];
pub const RUNS: &[&str] = &["boundary/boundary", "roles/execution_permissions/orders"];
pub const OPEN: &[&str] = &["open/trust"];

pub fn row(attack: &'static str, from: Caller, beside: &'static [&'static str], request: Request, comes: Comes) -> Row {
    Row { attack, from, beside, request, comes }
}

use Caller::{Member, Outside, Service, Unbound};
use Comes::{Denied, NotLetIn, Through};

/// What nobody does to the boundary: attack, action, resource. Tried as an administrator of the account.
pub const CHANGES: &[(&str, &str, &str)] = &[
    ("a second trust anchor", "rolesanywhere:CreateTrustAnchor", "*"),
    ("a certificate of one's own in the anchor", "rolesanywhere:UpdateTrustAnchor", ANCHOR),
    ("the anchor is deleted", "rolesanywhere:DeleteTrustAnchor", ANCHOR),
    ("the anchor is disabled", "rolesanywhere:DisableTrustAnchor", ANCHOR),
    ("a CRL that revokes nothing replaces another", "rolesanywhere:UpdateCrl", "*"),
    ("another profile, or another session policy of the profile", "rolesanywhere:UpdateProfile", "*"),
    ("the attribute mapping of the profile is deleted: its tags are gone", "rolesanywhere:DeleteAttributeMapping", "*"),
    ("the attribute mapping takes a tag from elsewhere", "rolesanywhere:PutAttributeMapping", "*"),
    ("notice of the end of the CA is turned off", "rolesanywhere:PutNotificationSettings", "*"),
    ("the anchor gets another tag", "rolesanywhere:TagResource", ANCHOR),
    ("the trust policy of the execution role is widened", "iam:UpdateAssumeRolePolicy", EXECUTION),
    ("another policy is attached to it", "iam:AttachRolePolicy", EXECUTION),
    ("its permission boundary is taken away", "iam:DeleteRolePermissionsBoundary", EXECUTION),
    (
        "the boundary gets another version",
        "iam:CreatePolicyVersion",
        "arn:aws:iam::123456789012:policy/seb/seb-execution-boundary",
    ),
    ("a new role below `/seb/execution/`", "iam:CreateRole", "arn:aws:iam::123456789012:role/seb/execution/mine"),
    ("the execution role is passed to a function", "iam:PassRole", EXECUTION),
    (
        "an identity provider of one's own",
        "iam:CreateOpenIDConnectProvider",
        "arn:aws:iam::123456789012:oidc-provider/evil.example",
    ),
    ("the trail is stopped", "cloudtrail:StopLogging", "*"),
    ("the trail no longer selects data events", "cloudtrail:PutEventSelectors", "*"),
    ("the trail is deleted", "cloudtrail:DeleteTrail", "*"),
    (
        "the rule of the detection is disabled",
        "events:DisableRule",
        "arn:aws:events:eu-west-1:123456789012:rule/seb-detection-mutations",
    ),
    (
        "its target is removed",
        "events:RemoveTargets",
        "arn:aws:events:eu-west-1:123456789012:rule/seb-detection-mutations",
    ),
    ("its queue is emptied", "sqs:PurgeQueue", "arn:aws:sqs:eu-west-1:123456789012:seb-detection"),
    (
        "its alarm is deleted",
        "cloudwatch:DeleteAlarms",
        "arn:aws:cloudwatch:eu-west-1:123456789012:alarm:seb-detection",
    ),
];

/// Who makes a change itself, by a name or another: attack, and principal.
pub const OTHERS: &[(&str, &str)] = &[
    ("an agent's role makes the change itself", "arn:aws:iam::123456789012:role/agent"),
    ("an administrator with long-lived keys makes it", ADMIN),
    ("`OrganizationAccountAccessRole` makes it", "arn:aws:iam::123456789012:role/OrganizationAccountAccessRole"),
    ("the role that applies these modules makes it", TERRAFORM),
];

/// All of them, in the order of the page.
pub fn attacks() -> Vec<Row> {
    let others =
        OTHERS.iter().map(|(attack, arn)| row(attack, Member, &[], by(arn, "dynamodb:UpdateTable", ORDERS), BOTH));
    let changes = CHANGES
        .iter()
        .map(|(attack, action, resource)| row(attack, Member, &[], by(ADMIN, action, resource), BY_CONTROLS));
    others.chain(ways()).chain(readers()).chain(changes).collect()
}

fn ways() -> Vec<Row> {
    vec![
        row(
            "an agent's SVID, by the right anchor",
            Service,
            IN,
            certificate(ANCHOR, "spiffe://example.org/agent/planner", "planner"),
            NotLetIn,
        ),
        row(
            "an agent's SVID whose subject is a mutation",
            Service,
            IN,
            certificate(ANCHOR, "spiffe://example.org/agent/m", MUTATION),
            NotLetIn,
        ),
        row(
            "an SVID of a path that only begins like it, `/seb/execution-2/`",
            Service,
            IN,
            certificate(ANCHOR, "spiffe://example.org/seb/execution-2/m-0123456789abcdef", MUTATION),
            NotLetIn,
        ),
        row(
            "an execution identity of another trust domain below the same CA",
            Service,
            IN,
            certificate(ANCHOR, "spiffe://example.com/seb/execution/m-0123456789abcdef", MUTATION),
            NotLetIn,
        ),
        row(
            "an execution identity whose subject names another mutation than its URI",
            Service,
            IN,
            certificate(ANCHOR, IDENTITY, "m-fedcba9876543210"),
            NotLetIn,
        ),
        row("an SVID whose subject is a wildcard", Service, IN, certificate(ANCHOR, IDENTITY, "*"), NotLetIn),
        row(
            "an execution identity of one's own, by a second anchor of the account",
            Service,
            IN,
            certificate(SECOND, IDENTITY, MUTATION),
            Denied(&[RESOURCES]),
        ),
        row(
            "the same where somebody took `aws:SourceArn` out of the trust policy",
            Service,
            &[],
            certificate(SECOND, IDENTITY, MUTATION),
            Denied(&[RESOURCES]),
        ),
        row(
            "another AWS service assumes the bootstrap role",
            Service,
            IN,
            {
                Request::new("sts:AssumeRole", BOOTSTRAP)
                    .by("Service", "lambda.amazonaws.com")
                    .with("aws:PrincipalIsAWSService", "true")
            },
            Denied(&[RESOURCES]),
        ),
        row(
            "an administrator changes a security group: resource control policies do not know EC2",
            Member,
            &[],
            by(ADMIN, "ec2:AuthorizeSecurityGroupIngress", "arn:aws:ec2:eu-west-1:123456789012:security-group/sg-1"),
            Denied(&[MUTATIONS]),
        ),
        row(
            "the root user of the account makes a change",
            Member,
            &[],
            by("arn:aws:iam::123456789012:root", "s3:PutBucketPolicy", "arn:aws:s3:::shop"),
            BOTH,
        ),
        row(
            "a role with a source identity of its own choice makes a change",
            Member,
            &[],
            {
                by("arn:aws:iam::123456789012:role/ops", "dynamodb:UpdateTable", ORDERS)
                    .with("aws:SourceIdentity", "CN=m-0123456789abcdef")
            },
            BOTH,
        ),
        row(
            "a permission set of IAM Identity Center makes a change",
            Member,
            &[],
            {
                by(
                    "arn:aws:iam::123456789012:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_Admin_1",
                    "dynamodb:UpdateTable",
                    ORDERS,
                )
            },
            BOTH,
        ),
        row(
            "a stack, by the role that was passed to CloudFormation, makes a change",
            Member,
            &[],
            {
                by("arn:aws:iam::123456789012:role/stacks", "dynamodb:UpdateTable", ORDERS)
                    .with("aws:SourceIdentity", "ann")
            },
            BOTH,
        ),
        row(
            "a role named `seb-orders` outside of `/seb/execution/` makes a change",
            Member,
            &[],
            {
                by("arn:aws:iam::123456789012:role/seb-orders", "dynamodb:UpdateTable", ORDERS)
                    .with("aws:SourceIdentity", "CN=m")
            },
            BOTH,
        ),
        row(
            "a bucket policy lets another organization make a change",
            Outside,
            &[],
            by("arn:aws:iam::999999999999:role/partner", "s3:PutObject", "arn:aws:s3:::shop/a"),
            Denied(&[RESOURCES]),
        ),
        row(
            "a session of the execution role without source identity",
            Member,
            RUNS,
            by(EXECUTION, "dynamodb:UpdateTable", ORDERS),
            Denied(&["boundary/boundary", MUTATIONS, RESOURCES]),
        ),
        row(
            "an execution, on what no target of its role names",
            Member,
            RUNS,
            execution("dynamodb:UpdateTable", "arn:aws:dynamodb:eu-west-1:123456789012:table/users"),
            NotLetIn,
        ),
        row(
            "an execution assumes another role",
            Member,
            RUNS,
            execution("sts:AssumeRole", "arn:aws:iam::123456789012:role/admin"),
            Denied(&["boundary/boundary"]),
        ),
        row(
            "an execution passes a role on",
            Member,
            RUNS,
            execution("iam:PassRole", "arn:aws:iam::123456789012:role/admin"),
            Denied(&["boundary/boundary"]),
        ),
        row(
            "an execution widens its own role",
            Member,
            RUNS,
            execution("iam:PutRolePolicy", EXECUTION),
            Denied(&["boundary/boundary", CONTROLS]),
        ),
        row(
            "an execution stops the trail",
            Member,
            RUNS,
            execution("cloudtrail:StopLogging", "arn:aws:cloudtrail:eu-west-1:123456789012:trail/all"),
            Denied(&["boundary/boundary", CONTROLS]),
        ),
        row(
            "the first session makes the change itself",
            Member,
            &["roles/bootstrap_permissions"],
            by(BOOTSTRAP, "dynamodb:UpdateTable", ORDERS).with("aws:SourceIdentity", "CN=m"),
            Denied(&[MUTATIONS, RESOURCES, "roles/bootstrap_permissions"]),
        ),
        row(
            "the first session assumes another role of the account",
            Member,
            &["roles/bootstrap_permissions"],
            by(BOOTSTRAP, "sts:AssumeRole", "arn:aws:iam::123456789012:role/admin"),
            Denied(&["roles/bootstrap_permissions"]),
        ),
        row(
            "the second session is named after another mutation",
            Member,
            ON,
            second("m-fedcba9876543210", MUTATION, "CN=m-0123456789abcdef"),
            NotLetIn,
        ),
        row(
            "its tag `seb:mutation` names another",
            Member,
            ON,
            second(MUTATION, "m-fedcba9876543210", "CN=m-0123456789abcdef"),
            NotLetIn,
        ),
        row(
            "its source identity is another",
            Member,
            ON,
            second(MUTATION, MUTATION, "CN=m-fedcba9876543210"),
            NotLetIn,
        ),
        row(
            "an administrator assumes the execution role",
            Member,
            ON,
            by(ADMIN, "sts:AssumeRole", EXECUTION).with("sts:RoleSessionName", MUTATION),
            Denied(&[RESOURCES, SESSIONS]),
        ),
        row(
            "the same after somebody widened its trust policy",
            Member,
            &[],
            by(ADMIN, "sts:AssumeRole", EXECUTION),
            Denied(&[RESOURCES, SESSIONS]),
        ),
        row(
            "an administrator assumes the bootstrap role",
            Member,
            IN,
            by(ADMIN, "sts:AssumeRole", BOOTSTRAP),
            Denied(&[RESOURCES, SESSIONS]),
        ),
        row(
            "another organization assumes the execution role after that",
            Outside,
            &[],
            by("arn:aws:iam::999999999999:role/partner", "sts:AssumeRole", EXECUTION),
            Denied(&[RESOURCES]),
        ),
        row(
            "a token for the execution role of a certificate",
            Outside,
            ON,
            token("spire.example.org", IDENTITY, "seb-aws", EXECUTION),
            Denied(&[RESOURCES]),
        ),
        row(
            "the execution role is tagged",
            Member,
            &[],
            by(ADMIN, "iam:TagRole", EXECUTION).with_all("aws:TagKeys", &["team"]),
            BY_CONTROLS,
        ),
        row(
            "another role is tagged `seb:mutation`",
            Member,
            &[],
            {
                by(ADMIN, "iam:TagRole", "arn:aws:iam::123456789012:role/ops")
                    .with_all("aws:TagKeys", &["team", "seb:mutation"])
            },
            Denied(&[SESSIONS]),
        ),
        row(
            "another session is tagged `seb:mutation`",
            Member,
            &[],
            by(ADMIN, "sts:TagSession", "arn:aws:iam::123456789012:role/ops")
                .with_all("aws:TagKeys", &["seb:mutation"]),
            Denied(&[SESSIONS]),
        ),
        row(
            "another session is tagged `x509SAN/URI`",
            Member,
            &[],
            by(ADMIN, "sts:TagSession", "arn:aws:iam::123456789012:role/ops").with_all("aws:TagKeys", &["x509SAN/URI"]),
            Denied(&[SESSIONS]),
        ),
        row(
            "the keys of the identity provider are replaced",
            Member,
            &[],
            {
                by(
                    ADMIN,
                    "iam:UpdateOpenIDConnectProviderThumbprint",
                    "arn:aws:iam::123456789012:oidc-provider/spire.example.org",
                )
            },
            BY_CONTROLS,
        ),
        row(
            "the account leaves the organization",
            Member,
            &[],
            by(TERRAFORM, "organizations:LeaveOrganization", "*"),
            BY_CONTROLS,
        ),
        row(
            "break glass while it is closed, with a second factor",
            Member,
            &["closed/trust"],
            person("ann", "ann", Some("10"), NOW),
            Denied(&["closed/trust"]),
        ),
        row("break glass without a second factor", Member, OPEN, person("ann", "ann", None, NOW), Denied(&[SESSIONS])),
        row(
            "break glass with a second factor of an hour ago",
            Member,
            OPEN,
            person("ann", "ann", Some("3601"), NOW),
            NotLetIn,
        ),
        row("break glass under another's name", Member, OPEN, person("ann", "bob", Some("10"), NOW), NotLetIn),
        row(
            "break glass by somebody who is not an operator",
            Member,
            OPEN,
            person("eve", "eve", Some("10"), NOW),
            NotLetIn,
        ),
        row(
            "break glass before its time",
            Member,
            OPEN,
            person("ann", "ann", Some("10"), "2026-11-21T19:59:59Z"),
            NotLetIn,
        ),
        row(
            "break glass after its time",
            Member,
            OPEN,
            person("ann", "ann", Some("10"), "2026-11-21T21:00:01Z"),
            NotLetIn,
        ),
        row(
            "a session of it goes on after its time",
            Member,
            &["open/permissions"],
            {
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
            by(GLASS, "iam:PutRolePolicy", EXECUTION).with("aws:SourceIdentity", "ann"),
            Denied(&[CONTROLS, "open/permissions"]),
        ),
        row(
            "a session of it assumes another role",
            Member,
            &["open/permissions"],
            by(GLASS, "sts:AssumeRole", "arn:aws:iam::123456789012:role/admin").with("aws:SourceIdentity", "ann"),
            Denied(&["open/permissions"]),
        ),
        row(
            "an operator within the window, with a second factor",
            Member,
            OPEN,
            person("ann", "ann", Some("10"), NOW),
            Through("the alarm of `break-glass`; detection, rule `controls`"),
        ),
        row(
            "the role that applies these modules widens a trust policy",
            Member,
            &[],
            by(TERRAFORM, "iam:UpdateAssumeRolePolicy", EXECUTION),
            Through("detection, rule `controls`; let nobody assume it without approval"),
        ),
        row(
            "the management account detaches the policies",
            Unbound,
            &[],
            by("arn:aws:iam::111111111111:role/admin", "organizations:DetachPolicy", "*"),
            Through("detection in that account, rule `controls`"),
        ),
        row(
            "a service-linked role makes the change",
            Unbound,
            &[],
            {
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
            {
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
            second(MUTATION, MUTATION, "CN=m-0123456789abcdef"),
            Through("its ceiling is the execution role; no record explains what it does"),
        ),
    ]
}
