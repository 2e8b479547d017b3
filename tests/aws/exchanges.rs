//! The three exchanges, each to a session that makes its call and no other.

use std::path::PathBuf;

use http::StatusCode;
use seb::clock;
use seb::identity::spire::{MintIssuer, SpireServer};
use seb::identity::{Form, Issuer, folder};
use seb::target::aws::exchange::{Exchange, ExchangeError, Pooled, WebIdentity};
use seb::timestamp::Timestamp;

use crate::sessions::{AUDIENCE, WEB, believe};
use crate::testbed::aws::{ACCOUNT, Asked, Keys};
use crate::testbed::spire::{Options, Spire};
use crate::world::{ORDERS, POOL, TARGET, World, certified, client, id, item, keys, mutation, soon};

/// The session makes its call, and no other.
async fn is_for_one_call(world: &World, keys: &Keys) {
    let (status, answer) = world.aws.send(keys, &item("PutItem", "orders", "1")).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    for other in [item("DeleteItem", "orders", "1"), item("PutItem", "users", "1"), item("GetItem", "orders", "1")] {
        let (status, answer) = world.aws.send(keys, &other).await;
        assert!(status == StatusCode::BAD_REQUEST || status == StatusCode::FORBIDDEN, "{status} {answer}");
        assert!(answer.contains("AccessDenied"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_per_mutation_a_session_is_the_mutations_own() {
    let world = World::new().await;
    let exchange = Exchange::PerMutation(world.per_mutation());
    assert_eq!((exchange.form(), exchange.calls()), (Form::X509, 2));
    let put = certified(&["dynamodb:PutItem"], &[ORDERS]);
    let identity = world.mint(60).await;
    let mutation = identity.plan().mutation().to_string();
    let session = exchange.session(identity, &put, soon()).await.unwrap();
    assert_eq!(session.assumed_role_arn, format!("arn:aws:sts::{ACCOUNT}:assumed-role/seb-target/{mutation}"));
    is_for_one_call(&world, &keys(&session)).await;
    // Another mutation has another session.
    let other = exchange.session(world.mint(60).await, &put, soon()).await.unwrap();
    assert_ne!(keys(&other).id, keys(&session).id);
    assert_eq!(world.anywhere.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_pooled_one_session_of_the_broker_leads_to_one_for_each_mutation() {
    let world = World::new().await;
    let account = world.account();
    let bootstrap = account.roles(&account.trust_anchor, &account.profile, &POOL.parse().unwrap()).unwrap();
    let (own, sts) = (world.identities.clone(), world.aws.origin().parse().unwrap());
    let exchange = Exchange::Pooled(Pooled::new(client(), bootstrap, own, sts, TARGET.parse().unwrap()));
    assert_eq!(exchange.calls(), 1);
    let put = certified(&["dynamodb:PutItem"], &[ORDERS]);
    let mut identities = Vec::new();
    for _ in 0..8 {
        identities.push(world.mint(60).await);
    }
    let names: Vec<_> = identities.iter().map(|identity| identity.plan().mutation().to_string()).collect();
    let sessions = identities.into_iter().map(|identity| exchange.session(identity, &put, soon()));
    let sessions = futures::future::join_all(sessions).await;
    for (session, name) in sessions.iter().zip(&names) {
        let session = session.as_ref().unwrap();
        assert!(session.assumed_role_arn.ends_with(&format!("/seb-target/{name}")), "{}", session.assumed_role_arn);
    }
    assert_eq!(world.anywhere.requests().len(), 1, "one CreateSession for all of them, although they came at once");
    is_for_one_call(&world, &keys(sessions[0].as_ref().unwrap())).await;
}

/// A trust domain whose tokens the account believes, and who mints them.
pub async fn believed(world: &World) -> (Spire, MintIssuer) {
    let spire = believed_below(world, None).await;
    let own = world.folder.join("spire-seb");
    spire.mint_folder("seb", "1h", &own).await;
    let server = SpireServer { address: spire.server_address.parse().unwrap(), id: id("spire/server") };
    let own = folder::open(&own).await.unwrap();
    (spire, MintIssuer::new(server, own))
}

/// A trust domain whose tokens the account believes, its CA perhaps signed by another one.
pub async fn believed_below(world: &World, upstream: Option<(PathBuf, PathBuf)>) -> Spire {
    let admin_ids = vec!["spiffe://example.org/seb".to_owned()];
    let options = Options { admin_ids, discovery: true, upstream, ..Options::default() };
    let spire = Spire::start(&world.folder, options).await;
    believe(&world.aws, &spire.issuer).await;
    spire
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_web_identity_a_token_becomes_the_session_of_its_mutation() {
    let world = World::new().await;
    let (spire, issuer) = believed(&world).await;
    let role = WEB.parse().unwrap();
    let (sts, region) = (world.aws.origin().parse().unwrap(), "eu-west-1".parse().unwrap());
    let exchange = Exchange::WebIdentity(WebIdentity::new(client(), sts, region, role, AUDIENCE.to_owned()));
    assert_eq!(exchange.form(), Form::Jwt { audiences: vec![AUDIENCE.to_owned()] });
    let put = certified(&["dynamodb:PutItem"], &[ORDERS]);
    let (mutation, now) = (mutation(), clock::now().unwrap());
    let end = Timestamp::from_seconds(now.seconds() + 60).unwrap();
    let mint = async |form: Form| issuer.mint(issuer.plan(&mutation, form, now, end).unwrap()).await.unwrap();
    let session = exchange.session(mint(exchange.form()).await, &put, soon()).await.unwrap();
    assert_eq!(session.assumed_role_arn, format!("arn:aws:sts::{ACCOUNT}:assumed-role/seb-web/{mutation}"));
    assert_eq!(session.source_identity, None);
    is_for_one_call(&world, &keys(&session)).await;
    assert!(world.anywhere.requests().is_empty());

    // Neither a certificate, nor a token for somebody else.
    let wrong = mint(Form::X509).await;
    assert!(matches!(exchange.session(wrong, &put, soon()).await, Err(ExchangeError::Form(_))));
    let wrong = mint(Form::Jwt { audiences: vec!["another".to_owned()] }).await;
    let error = exchange.session(wrong, &put, soon()).await.unwrap_err();
    assert!(matches!(error, ExchangeError::AssumeRole(_)) && !error.is_retryable(), "{error:?}");
    // Nor an agent's own.
    let token = spire.mint_jwt("agent/one", &[AUDIENCE], "60s").await;
    let parameters = [("RoleArn", WEB), ("RoleSessionName", "agent"), ("WebIdentityToken", token.as_str())];
    let asked = Asked::query("sts", "AssumeRoleWithWebIdentity", &parameters);
    let (status, answer) = world.aws.send_unsigned(&asked).await;
    assert!(status == StatusCode::FORBIDDEN && answer.contains("AccessDenied"), "{status} {answer}");
}
