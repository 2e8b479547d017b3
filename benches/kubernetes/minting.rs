//! What an execution identity costs by itself, from each issuer and in both forms.

use std::time::Duration;

use anyhow::Context;
use seb::clock;
use seb::contract::StepName;
use seb::decision::MutationId;
use seb::digest::Digest;
use seb::identity::embedded::{Domain, EmbeddedIssuer, Grant};
use seb::identity::spire::{DownstreamIssuer, MintIssuer, SpireServer};
use seb::identity::workload::{self, WorkloadApi};
use seb::identity::{Form, Issuer};
use seb::telemetry::Health;
use serde_json::{Value, json};
use spiffe::TrustDomain;
use tokio::time::timeout;

use super::certify::id;
use super::measure::Samples;
use super::process::PATIENCE;
use super::world::Cluster;

/// The life of each.
const LIFE: Duration = Duration::from_secs(30);

/// As many before anything is counted.
const WARM_UP: usize = 30;

/// So many identities from each, by turns, so that what disturbs one disturbs all.
pub(crate) async fn side_by_side(cluster: &Cluster, identities: usize) -> anyhow::Result<Vec<Value>> {
    let folder = cluster.fresh_folder("minting")?;
    let domain = Domain::init(&folder.join("domain"), &TrustDomain::new("example.org")?, clock::now()?)?;
    let own = Grant::new(id("seb")?, folder.join("seb"), Duration::from_secs(3600), true);
    domain.issue(own, clock::now()?)?;
    let embedded = EmbeddedIssuer::open(&folder.join("seb")).await?;
    let socket = format!("unix:{}", cluster.spire.agent_socket().display()).parse()?;
    let (own, _) = workload::open(WorkloadApi { socket, id: Some(id("seb")?), hint: None }, PATIENCE).await?;
    let server = SpireServer { address: cluster.spire.server_address.parse()?, id: id("spire/server")? };
    let downstream = DownstreamIssuer::start(server.clone(), own.clone(), Health::default());
    timeout(PATIENCE, downstream.ready()).await.context("no intermediate CA was signed")?;
    let minting = MintIssuer::new(server, own);
    let token = || Form::Jwt { audiences: vec!["kubernetes".to_owned(), "urn:seb:call:UPDATE".to_owned()] };
    let issuers: [(&str, &dyn Issuer, Form); 5] = [
        ("embedded", &embedded, Form::X509),
        ("spire-downstream", &downstream, Form::X509),
        ("spire-mint", &minting, Form::X509),
        ("spire-downstream", &downstream, token()),
        ("spire-mint", &minting, token()),
    ];
    let mut samples: [Samples; 5] = std::array::from_fn(|_| Samples::default());
    let step: StepName = "load".parse()?;
    for ordinal in 0..identities + WARM_UP {
        let mutation = MutationId::derive(&Digest::of(b"load"), &step, u32::try_from(ordinal)?);
        for ((_, issuer, form), samples) in issuers.iter().zip(&mut samples) {
            let begun = clock::instant();
            let now = clock::now()?;
            let plan = issuer.plan(&mutation, form.clone(), now, now.saturating_add(LIFE))?;
            drop(issuer.mint(plan).await?);
            if ordinal >= WARM_UP {
                samples.add(begun.elapsed());
            }
        }
    }
    let told = |((issuer, _, form), samples): (&(&str, &dyn Issuer, Form), &Samples)| {
        let form = if *form == Form::X509 { "X.509-SVID" } else { "JWT-SVID" };
        json!({ "issuer": issuer, "form": form, "mint_ms": samples.to_json() })
    };
    Ok(issuers.iter().zip(&samples).map(told).collect())
}
