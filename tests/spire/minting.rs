//! Minting by the real server, and what it costs beside the embedded CA.

use std::sync::Arc;
use std::time::Duration;

use seb::contract::StepName;
use seb::decision::MutationId;
use seb::digest::Digest;
use seb::identity::embedded::{Domain, EmbeddedIssuer, Grant};
use seb::identity::spire::{DownstreamIssuer, MintIssuer, SpireServer};
use seb::identity::{Form, Issuer, MintError};
use seb::telemetry::Health;
use spiffe::TrustDomain;
use tokio::sync::watch;

use crate::domain::{identities, options};
use crate::testbed::spire::{Options, Spire};
use crate::testbed::{Folder, PATIENCE, awaited};
use crate::world::{id, now};

pub fn mutation(ordinal: u32) -> MutationId {
    MutationId::derive(&Digest::of(b"certificate"), &"scale".parse::<StepName>().unwrap(), ordinal)
}

fn jwt() -> Form {
    Form::Jwt { audiences: vec!["cluster".to_owned(), "urn:seb:call:UPDATE:apps/deployments:default/shop".to_owned()] }
}

fn server(spire: &Spire) -> SpireServer {
    SpireServer { address: spire.server_address.parse().unwrap(), id: id("spire/server") }
}

/// Mints once, which takes so long.
async fn mint(issuer: &dyn Issuer, form: &Form, ordinal: u32) -> Result<Duration, MintError> {
    let end = now().saturating_add(Duration::from_secs(20));
    let begun = seb::clock::instant();
    let plan = issuer.plan(&mutation(ordinal), form.clone(), now(), end)?;
    let identity = issuer.mint(plan.clone()).await?;
    let took = begun.elapsed();
    assert_eq!(identity.plan(), &plan);
    assert_eq!(identity.chain().is_empty(), *form != Form::X509);
    Ok(took)
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_every_issuer_mints_what_is_planned_and_its_price_is_told() {
    let folder = Folder::new();
    let spire = Spire::start(&folder, options("spire-downstream", 3600)).await;
    let own = identities(&spire, "seb").await;
    let domain = Domain::init(&folder.join("domain"), &TrustDomain::new("example.org").unwrap(), now()).unwrap();
    domain.issue(Grant::new(id("seb"), folder.join("seb"), Duration::from_secs(3600), true), now()).unwrap();
    let embedded = EmbeddedIssuer::open(&folder.join("seb")).await.unwrap();
    let downstream = DownstreamIssuer::start(server(&spire), own.clone(), Health::default());
    tokio::time::timeout(PATIENCE, downstream.ready()).await.expect("a CA is signed");
    let minting = MintIssuer::new(server(&spire), own);
    let issuers: [(&str, &dyn Issuer, Form); 5] = [
        ("embedded", &embedded, Form::X509),
        ("spire-downstream", &downstream, Form::X509),
        ("spire-mint", &minting, Form::X509),
        ("spire-mint, JWT", &minting, jwt()),
        ("spire-downstream, JWT", &downstream, jwt()),
    ];
    for (name, issuer, form) in &issuers {
        let mut times = Vec::new();
        for ordinal in 1..=200 {
            times.push(mint(*issuer, form, ordinal).await.unwrap_or_else(|error| panic!("{name}: {error}")));
        }
        times.sort_unstable();
        println!("{name}: p50 {:?}, p99 {:?}", times[100], times[198]);
        assert!(times[100] < Duration::from_millis(500), "{name}");
    }
    assert!(matches!(mint(&embedded, &jwt(), 1).await, Err(MintError::Form { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_an_intermediate_is_renewed_ahead_of_its_end_and_used_until_then() {
    let folder = Folder::new();
    let short = Options { ca_ttl: "50s", x509_ttl: "50s", ..options("spire-downstream", 50) };
    let mut spire = Spire::start(&folder, short).await;
    // An identity that never changes: what is renewed is renewed because of its end.
    let first = Arc::clone(&identities(&spire, "seb").await.borrow());
    let (_unchanged, own) = watch::channel(first);
    let health = Health::default();
    health.started();
    let issuer = DownstreamIssuer::start(server(&spire), own, health.clone());
    tokio::time::timeout(PATIENCE, issuer.ready()).await.expect("a CA is signed");
    let mut ordinal = 0;
    let mut intermediate = async || {
        ordinal += 1;
        let plan = issuer.plan(&mutation(ordinal), Form::X509, now(), now().saturating_add(Duration::from_secs(2)))?;
        Ok::<_, MintError>(issuer.mint(plan).await?.chain()[1].to_vec())
    };
    let (before, begun) = (intermediate().await.unwrap(), issuer.ends().unwrap());
    awaited("another CA", async || match intermediate().await.unwrap() {
        next if next != before => Ok(()),
        _ => Err("the same CA"),
    })
    .await;
    assert!(now() < begun, "ahead of the end of the first one");

    spire.server.kill();
    let told = || health.impediments().into_iter().map(|it| format!("{it:?}")).collect::<Vec<_>>();
    awaited("a word about the server", async || {
        let _ = intermediate().await.unwrap();
        if told().iter().any(|it| it.contains("cannot be renewed")) { Ok(()) } else { Err(told()) }
    })
    .await;
    assert!(health.is_ready(), "{:?}", told());
    let end = issuer.ends().unwrap();
    while now().saturating_add(Duration::from_secs(3)) < end {
        let _ = intermediate().await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let error = awaited("the end of the CA", async || match intermediate().await {
        Err(error) => Ok(error),
        Ok(_) => Err("it mints"),
    })
    .await;
    assert!(matches!(error, MintError::IssuerEnds { .. } | MintError::NoCa(_)), "{error}");
    awaited("a word about the CA", async || if health.is_ready() { Err(told()) } else { Ok(()) }).await;
    assert!(now() >= end, "not before");
    let error = intermediate().await.unwrap_err();
    assert!(matches!(error, MintError::NoCa(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_paused_or_another_one_is_told() {
    let folder = Folder::new();
    let mut spire = Spire::start(&folder, options("spire-mint", 3600)).await;
    let own = identities(&spire, "seb").await;
    let issuer = MintIssuer::new(server(&spire), own.clone());
    mint(&issuer, &Form::X509, 1).await.unwrap();

    let other = SpireServer { id: id("sandbox"), ..server(&spire) };
    let error = mint(&MintIssuer::new(other, own.clone()), &Form::X509, 1).await.unwrap_err();
    assert!(matches!(error, MintError::Server { .. }), "{error}");
    let agent = identities(&spire, "agent/one").await;
    let error = mint(&MintIssuer::new(server(&spire), agent), &Form::X509, 1).await.unwrap_err();
    assert!(matches!(error, MintError::Server { code: tonic::Code::PermissionDenied, .. }), "{error}");

    spire.server.pause();
    let error = mint(&issuer, &Form::X509, 2).await.unwrap_err();
    assert!(matches!(error, MintError::Silent(_)), "{error}");
    spire.server.resume();
    mint(&issuer, &jwt(), 3).await.unwrap();

    spire.server.kill();
    let error = mint(&issuer, &Form::X509, 4).await.unwrap_err();
    assert!(matches!(error, MintError::Server { code: tonic::Code::Unavailable, .. }), "{error}");
    // The connection that was broken is made anew by itself.
    spire.server.restart();
    spire.ready().await;
    mint(&issuer, &Form::X509, 5).await.unwrap();
}
