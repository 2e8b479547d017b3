//! What the emulator of AWS gives sessions for: whoever IAM Roles Anywhere let in, and the tokens of a trust domain.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use crate::roles_anywhere::{Granted, Issue, Issued};
use crate::testbed::aws::{ACCOUNT, Api, Asked, FIRST_LOOK, Keys, allow, element};

/// The client id by which the account believes tokens.
pub const AUDIENCE: &str = "sts.amazonaws.com";

/// The role of whoever has a token.
pub const WEB: &str = "arn:aws:iam::123456789012:role/seb-web";

/// What the emulator's STS gives for whom IAM Roles Anywhere let in.
pub fn issued_by(api: Api) -> Issue {
    Arc::new(move |granted: Granted| {
        let api = api.clone();
        Box::pin(async move {
            let source = [("SourceIdentity", granted.source_identity.as_str())];
            let (status, answer) = api.assume(&Keys::root(), &granted.role, &granted.session_name, &source).await;
            if status != StatusCode::OK {
                return Err(answer);
            }
            let keys = Keys::of(&answer);
            Ok(Issued {
                access_key_id: keys.id,
                secret_access_key: keys.secret,
                session_token: keys.token.unwrap(),
                expiration: element(&answer, "Expiration").unwrap(),
            })
        })
    })
}

/// From now on the account takes the execution identities among the tokens of this issuer, `https://HOST[:PORT]`, for [`WEB`].
pub async fn believe(aws: &Api, issuer: &str) {
    let provider = [
        ("Url", issuer),
        ("ClientIDList.member.1", AUDIENCE),
        ("ThumbprintList.member.1", "990f4193972f2becf12ddeda5237f9c952f20d9e"),
    ];
    aws.root(&Asked::query("iam", "CreateOpenIDConnectProvider", &provider)).await;
    let host = issuer.trim_start_matches("https://");
    let first_look: Value = serde_json::from_str(FIRST_LOOK).unwrap();
    let trust = json!([
        {
            "Effect": "Allow",
            "Principal": { "Federated": format!("arn:aws:iam::{ACCOUNT}:oidc-provider/{host}") },
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {
                "StringEquals": { format!("{host}:aud"): AUDIENCE },
                "StringLike": { format!("{host}:sub"): "spiffe://example.org/seb/execution/*" },
            },
        },
        { "Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRoleWithWebIdentity", "Condition": first_look },
    ]);
    aws.role("seb-web", &trust, &allow(&json!("*"))).await;
}
