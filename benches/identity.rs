//! What an execution identity costs: planning and minting it, and the handshake that uses it up.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use seb::clock;
use seb::decision::MutationId;
use seb::digest::Digest;
use seb::identity::embedded::{Domain, EmbeddedIssuer, Grant};
use seb::identity::{ExecutionIdentity, Form, Issuer, folder};
use seb::tls::{self, HTTP11, Limits};
use spiffe::{SpiffeId, TrustDomain};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;

type Failure = Box<dyn std::error::Error>;

fn id(path: &str) -> Result<SpiffeId, Failure> {
    Ok(SpiffeId::new(format!("spiffe://example.org/{path}"))?)
}

async fn mint(issuer: &EmbeddedIssuer, mutation: &MutationId) -> Result<ExecutionIdentity, Failure> {
    let now = clock::now()?;
    let plan = issuer.plan(mutation, Form::X509, now, now.saturating_add(Duration::from_secs(30)))?;
    Ok(issuer.mint(plan).await?)
}

fn run(criterion: &mut Criterion) -> Result<(), Failure> {
    let directory = tempfile::tempdir()?;
    let now = clock::now()?;
    let domain = Domain::init(&directory.path().join("domain"), &TrustDomain::new("example.org")?, now)?;
    for (who, execution_ca) in [("seb", true), ("sandbox", false)] {
        let folder = directory.path().join(who);
        domain.issue(Grant::new(id(who)?, folder, Duration::from_secs(3600), execution_ca), now)?;
    }
    let runtime = Runtime::new()?;
    let broker = directory.path().join("seb");
    let (issuer, identities, address) = runtime.block_on(async {
        let server = folder::open(&directory.path().join("sandbox")).await?;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let mut incoming = tls::incoming(listener, server, &[HTTP11], Limits::default())?;
        let address = incoming.local_addr().to_string();
        tokio::spawn(async move {
            while let Some(mut connection) = incoming.next().await {
                tokio::spawn(async move {
                    connection.write_all(b"!").await?;
                    connection.flush().await?;
                    connection.read_u8().await
                });
            }
        });
        Ok::<_, Failure>((EmbeddedIssuer::open(&broker).await?, folder::open(&broker).await?, address))
    })?;
    let mutation = MutationId::derive(&Digest::of(b"certificate"), &"step".parse()?, 1);
    criterion.bench_function("mint", |bencher| {
        bencher.iter(|| runtime.block_on(mint(&issuer, black_box(&mutation))).is_ok());
    });
    let sandbox = id("sandbox")?;
    let connect = async || {
        let identity = mint(&issuer, &mutation).await?;
        let config = tls::execution_client_config(identity, &identities, [sandbox.clone()], &[HTTP11])?;
        let mut stream = tls::connect(&address, config, Duration::from_secs(5)).await?;
        Ok::<_, Failure>(stream.read_u8().await?)
    };
    runtime.block_on(connect())?;
    criterion.bench_function("mint, connect and first octet", |bencher| {
        bencher.iter(|| runtime.block_on(connect()).is_ok());
    });
    Ok(())
}

fn identity(criterion: &mut Criterion) {
    if let Err(error) = run(criterion) {
        tracing::error!(%error, "the benchmark could not be set up");
        std::process::abort();
    }
}

criterion_group!(benches, identity);
criterion_main!(benches);
