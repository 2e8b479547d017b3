//! The attack table: what is tried on the account, and what must become of it.
//!
//! `docs/boundary-aws.md` shows it; `tests/aws` tries every row.

use std::fmt::Write as _;

/// What stops an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// IAM Roles Anywhere: signature, certificate, path to the trust anchor.
    Anywhere,
    /// The trust policy of a role.
    Trust,
    /// The policy of the bootstrap role.
    Bootstrap,
    /// The session policy of the mutation.
    Session,
    /// The signature of the request.
    Signature,
    /// A service control policy of the module `organization-guardrails`.
    Organization,
    /// Nothing: it is done, and only found.
    Nothing,
}

/// One attack.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Its name in the test.
    pub name: &'static str,
    /// Who does what.
    pub attack: &'static str,
    pub by: By,
    /// What the answer says; for what nothing stops, what finds it.
    pub says: &'static str,
}

const fn row(name: &'static str, by: By, says: &'static str, attack: &'static str) -> Row {
    Row { name, attack, by, says }
}

const DENIED: &str = "AccessDenied";

#[rustfmt::skip]
pub const ATTACKS: &[Row] = &[
    row("agent", By::Anywhere, "Untrusted signing certificate", "an agent shows its own SVID at `CreateSession`"),
    row("not-an-execution", By::Trust, "the trust policy does not allow it", "an SVID below the execution CA, but not under `/seb/execution/`"),
    row("another-name", By::Trust, "the trust policy does not allow it", "an SVID below the execution CA with an agent's URI and the common name of a mutation"),
    row("second-anchor", By::Trust, "the trust policy does not allow it", "an SVID of the right name below another trust anchor of the account"),
    row("second-anchor-unasked", By::Nothing, "the check of the trust policy before the first execution; CloudTrail: `CreateSession` with another `trustAnchorArn`", "the same, where the trust policy does not ask for `aws:SourceArn`"),
    row("late-identity", By::Anywhere, "Untrusted signing certificate", "an execution SVID after its life"),
    row("ca-as-leaf", By::Anywhere, "Untrusted certificate", "the certificate of the execution CA itself, as a leaf"),
    row("bootstrap-acts", By::Bootstrap, DENIED, "the first session is used for a mutation"),
    row("bootstrap-elsewhere", By::Bootstrap, DENIED, "the first session assumes another role, which lets everybody in"),
    row("bootstrap-wide", By::Nothing, "CloudTrail: `AssumeRole` of the execution role without a session policy that a record names", "the first session, stolen from the broker's memory, assumes the role without a session policy"),
    row("other-action", By::Session, DENIED, "the session of one action does another one on the same resource"),
    row("other-resource", By::Session, DENIED, "the session of one resource does the same on another one"),
    row("other-service", By::Session, DENIED, "the session of one service uses another one"),
    row("reads", By::Session, DENIED, "the session of a mutation reads what it may change"),
    row("late", By::Session, DENIED, "the session is used after the seconds that were certified, long before AWS ends it"),
    row("chain", By::Session, DENIED, "the session assumes another role, which lets everybody in"),
    row("chain-self", By::Session, DENIED, "the session assumes its own role again, without a session policy"),
    row("federate", By::Session, DENIED, "the session asks for the token of a federated user"),
    row("pass-role", By::Session, DENIED, "the session of `lambda:CreateFunction` passes a role to the function"),
    row("grant", By::Session, DENIED, "the session of a mutation attaches a policy to its own role"),
    row("tags", By::Session, DENIED, "the session of a mutation tags its own role"),
    row("resource-policy", By::Session, DENIED, "a bucket policy grants everything to the ARN of the session, which is only certified for a table"),
    row("resource-policy-late", By::Session, DENIED, "a bucket policy grants the certified action to the ARN of the session, which is used after its seconds"),
    row("resource-policy-implicit", By::Nothing, "no session of the broker is such: it denies explicitly, by the rows above", "the same, with a session policy that merely does not allow it"),
    row("altered", By::Signature, "SignatureDoesNotMatch", "the body of a signed request is altered on the way"),
    row("again", By::Nothing, "CloudTrail: two events of one `sourceIdentity`", "the session makes the same call twice, within its seconds"),
    row("admin", By::Nothing, "CloudTrail: a mutation without the `sourceIdentity` of a record", "an administrator with long-lived keys makes the mutation, where no SCP is in force"),
    row("admin-bound", By::Organization, DENIED, "the same, where those of the module `organization-guardrails` are"),
    row("admin-bound-boundary", By::Organization, DENIED, "there, that administrator gives the permission boundary another version"),
    row("admin-bound-issuer", By::Organization, DENIED, "there, that administrator makes an identity provider of his own"),
    row("admin-bound-session", By::Organization, DENIED, "there, that administrator assumes an execution role, which lets everybody in"),
    row("admin-bound-tag", By::Organization, DENIED, "there, that administrator gives a role the tag `seb:mutation`"),
    row("admin-management", By::Nothing, "CloudTrail of that account; run nothing in it", "an administrator of the management account with long-lived keys makes the mutation in it"),
];

/// The part of `docs/boundary-aws.md` that shows them.
pub fn markdown(rows: &[Row]) -> String {
    let mut out = String::from("\n| attack | stopped by | answer, or what finds it |\n|---|---|---|\n");
    for Row { attack, by, says, .. } in rows {
        let says = if *by == By::Nothing { (*says).to_owned() } else { format!("`{says}`") };
        let by = match by {
            By::Anywhere => "IAM Roles Anywhere",
            By::Trust => "trust policy",
            By::Bootstrap => "policy of the bootstrap role",
            By::Session => "session policy",
            By::Signature => "signature",
            By::Organization => "service control policy",
            By::Nothing => "**nothing**",
        };
        writeln!(out, "| {attack} | {by} | {says} |").unwrap();
    }
    out + "\n"
}
