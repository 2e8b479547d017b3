//! The attacks that are about the roles that read.

use crate::iam::Request;
use crate::table::Caller::{Member, Service};
use crate::table::Comes::{Denied, NotLetIn};
use crate::table::{
    ADMIN, BY_CONTROLS, EXECUTION, IDENTITY, MUTATION, MUTATIONS, ORDERS, RESOURCES, Row, SECOND, SESSIONS, by,
    certificate, row,
};

pub const OWN: &str = "arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/22222222-2222-3333-4444-555555555555";
pub const READER: &str = "arn:aws:iam::123456789012:role/seb/reader/seb-reader-broker";
pub const READS: &[&str] = &["roles/reader_trust/broker"];
pub const READING: &[&str] = &["roles/reader"];

/// A certificate shown for the role by which the broker reads.
pub fn to_read(anchor: &str, uri: &str, name: &str) -> Request {
    let mut request = certificate(anchor, uri, name);
    READER.clone_into(&mut request.resource);
    request
}

/// What is tried at those roles, and by their sessions.
pub fn readers() -> Vec<Row> {
    vec![
        row(
            "an execution identity at the role by which the broker reads",
            Service,
            READS,
            to_read(OWN, IDENTITY, MUTATION),
            NotLetIn,
        ),
        row(
            "the authority at the role by which the broker reads",
            Service,
            READS,
            to_read(OWN, "spiffe://example.org/sab", "sab"),
            NotLetIn,
        ),
        row(
            "the broker's own name below another anchor, at that role",
            Service,
            READS,
            to_read(SECOND, "spiffe://example.org/seb", "seb"),
            Denied(&[RESOURCES]),
        ),
        row(
            "an administrator assumes that role",
            Member,
            READS,
            by(ADMIN, "sts:AssumeRole", READER),
            Denied(&[RESOURCES, SESSIONS]),
        ),
        row(
            "the session that reads makes a change",
            Member,
            READING,
            by(READER, "dynamodb:UpdateTable", ORDERS).with("aws:SourceIdentity", "CN=seb"),
            Denied(&[MUTATIONS, RESOURCES, "roles/reader"]),
        ),
        row(
            "it makes a change that nobody protected, after somebody let its role do everything",
            Member,
            READING,
            by(READER, "sns:Publish", "*").with("aws:SourceIdentity", "CN=seb"),
            Denied(&["roles/reader"]),
        ),
        row(
            "it assumes an execution role",
            Member,
            READING,
            by(READER, "sts:AssumeRole", EXECUTION).with("aws:SourceIdentity", "CN=seb"),
            Denied(&[RESOURCES, SESSIONS, "roles/reader"]),
        ),
        row(
            "it reads a secret",
            Member,
            READING,
            by(READER, "secretsmanager:GetSecretValue", "*").with("aws:SourceIdentity", "CN=seb"),
            Denied(&["roles/reader"]),
        ),
        row(
            "the role that reads is given another policy",
            Member,
            &[],
            by(ADMIN, "iam:PutRolePolicy", READER),
            BY_CONTROLS,
        ),
    ]
}
