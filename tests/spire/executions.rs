//! Executions under SPIRE's identities: by each issuer, across rotations, and without the agent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use seb::identity::Identities;
use seb::proto::seb::v1::execution::State;
use serde_json::json;

use crate::domain::{Around, identities, options};
use crate::testbed::spire::Update;
use crate::testbed::{Folder, awaited};

async fn executes(issuer: &str) {
    let folder = Folder::new();
    let around = Around::start(&folder, options(issuer, 3600)).await;
    let broker = around.broker(issuer).await;
    let client = around.client(&broker);
    for number in 0..3 {
        let execution = around.scale(&client, &format!("s{number}")).await.unwrap();
        assert_eq!(execution.state(), State::Succeeded, "{execution:?}");
    }
    // Each by the identity that its decision names.
    let (decisions, applied) = (around.decisions().await, around.production.applied());
    assert_eq!((decisions.len(), applied.len()), (3, 3));
    for (decision, line) in decisions.iter().zip(&applied) {
        let identity = &decision["identity"];
        assert_eq!((&identity["form"], &identity["spiffe_id"]), (&json!("x509"), &line["identity"]));
        assert_eq!(decision["certified"]["source"], "file", "what the certificate was held against");
        match issuer {
            "spire-mint" => assert!(identity["serial"].is_null(), "the server chooses it when it mints"),
            _ => assert_eq!(identity["serial"], line["serial"]),
        }
    }
    around.records(&["verify", "--artefacts"]).await;
    around.records(&["replay"]).await;
    assert_eq!(broker.get("/readyz").await.0, 200);
    assert!(broker.get("/metrics").await.1.contains("\nseb_identity_source_up 1\n"));
    // Nobody else changes anything, the broker's own SVID included.
    let seb = identities(&around.spire, "seb").await;
    let path = "/v1/objects/services/s0";
    let (status, answer) = around.production.raw(&seb, http::Method::PATCH, path, &json!({ "replicas": 9 })).await;
    assert!(status.is_client_error(), "{status} {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_a_broker_under_spire_mints_below_its_intermediate() {
    executes("spire-downstream").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_a_broker_under_spire_lets_the_server_mint() {
    executes("spire-mint").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_of_the_brokers_trust_domain_certifies_where_the_server_mints() {
    let folder = Folder::new();
    let around = Around::in_one_domain(&folder, options("spire-mint", 3600)).await;
    let broker = around.broker("spire-mint").await;
    let execution = around.scale(&around.client(&broker), "one").await.unwrap();
    assert_eq!(execution.state(), State::Succeeded, "{execution:?}");
    assert_eq!(around.sources().await, ["workload_api"]);
    around.records(&["verify", "--artefacts"]).await;
    around.records(&["replay"]).await;
    // A broker with an intermediate could make such an authority itself.
    around.configure("spire-downstream");
    let mut check = tokio::process::Command::new(env!("CARGO_BIN_EXE_seb"));
    let output = check.args(["config", "check"]).arg(folder.join("broker.toml")).output().await.unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("by its intermediate CA"), "{said}");
}

/// Executions one after the other, until it is told to end; how many there were. None may fail.
async fn load(around: Arc<Around>, broker: Arc<crate::domain::Broker>, count: Arc<AtomicU32>, end: Arc<AtomicBool>) {
    let client = around.client(&broker);
    while !end.load(Ordering::SeqCst) {
        let number = count.fetch_add(1, Ordering::SeqCst);
        let execution = around.scale(&client, &format!("s{number}")).await;
        let execution = execution.unwrap_or_else(|status| panic!("execution {number}: {status:?}\n{}", broker.log()));
        let state = execution.state();
        assert_eq!(state, State::Succeeded, "{execution:?}\n{}", broker.log());
    }
}

async fn rotates(issuer: &str) {
    let folder = Folder::new();
    let around = Arc::new(Around::start(&folder, options(issuer, 20)).await);
    let broker = Arc::new(around.broker(issuer).await);
    let (count, end) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let loads: Vec<_> = (0..2)
        .map(|_| tokio::spawn(load(Arc::clone(&around), Arc::clone(&broker), Arc::clone(&count), Arc::clone(&end))))
        .collect();
    let more = async |what: &str| {
        let enough = count.load(Ordering::SeqCst) + 6;
        awaited(what, async || if count.load(Ordering::SeqCst) < enough { Err("too few executions") } else { Ok(()) })
            .await;
    };
    let renewals =
        |broker: &crate::domain::Broker| broker.log().matches("an identity came from the Workload API").count();
    let signed = |broker: &crate::domain::Broker| broker.log().matches("an execution CA was signed").count();
    // The next step waits until everybody has taken the one before, as it does in operation.
    let authorities = async |expected: usize| {
        awaited("everybody's bundle", async || {
            let of = |it: &Identities| it.borrow().bundles().map(|bundle| bundle.certificates().len()).sum::<usize>();
            let of_broker = Update::last(&broker.log()).map_or(0, |it| it.authorities);
            let all: Vec<_> = around.others.iter().map(of).chain([of_broker]).collect();
            if all.iter().all(|count| *count == expected) { Ok(()) } else { Err(all) }
        })
        .await;
    };
    let serials =
        || -> Vec<_> { around.others.iter().map(|it| it.borrow().svid().leaf().serial.to_string()).collect() };

    // SVIDs rotate by themselves.
    let before = renewals(&broker);
    awaited("a renewed SVID", async || if renewals(&broker) < before + 2 { Err(renewals(&broker)) } else { Ok(()) })
        .await;
    more("executions after the renewal").await;

    // The trust domain's authority, step by step.
    let spire = &around.spire;
    let old = spire.active_authority().await;
    let new = spire.prepare_authority().await;
    authorities(2).await;
    spire.activate_authority(&new).await;
    let (svid, cas, old_serials) = (Update::last(&broker.log()), signed(&broker), serials());
    more("executions under either authority").await;
    spire.taint_authority(&old).await;
    awaited("an SVID by the new authority", async || {
        let down = issuer == "spire-downstream" && signed(&broker) <= cas;
        let others = serials().iter().zip(&old_serials).all(|(new, old)| new != old);
        let told = (Update::last(&broker.log()), signed(&broker), others);
        if told.0 != svid && !down && others { Ok(()) } else { Err(told) }
    })
    .await;
    more("executions under the new authority").await;
    spire.revoke_authority(&old).await;
    authorities(1).await;
    more("executions when the old authority is gone").await;

    end.store(true, Ordering::SeqCst);
    for load in loads {
        load.await.unwrap();
    }
    let total = usize::try_from(count.load(Ordering::SeqCst)).unwrap();
    println!("{issuer}: {total} executions, {} updates of the identity, {} CAs", renewals(&broker), signed(&broker));
    assert_eq!(around.production.applied().len(), total, "each was applied once");
    around.records(&["verify"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rotations_fail_no_execution_with_an_intermediate() {
    rotates("spire-downstream").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rotations_fail_no_execution_with_the_server_minting() {
    rotates("spire-mint").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_without_the_agent_the_identity_is_used_until_it_ends_and_comes_back_by_itself() {
    let folder = Folder::new();
    let mut around = Around::start(&folder, options("spire-mint", 25)).await;
    let broker = around.broker("spire-mint").await;
    let client = around.client(&broker);
    around.scale(&client, "before").await.unwrap();

    around.spire.agent.kill();
    let told = awaited("a word about the agent", async || {
        let (status, answer) = broker.get("/readyz").await;
        if answer.contains("identity: ") { Ok((status, answer)) } else { Err(answer) }
    })
    .await;
    assert!(told.0 == 200 && told.1.contains("the SVID is valid until"), "{told:?}");
    awaited("the gauge", async || {
        let (_, metrics) = broker.get("/metrics").await;
        if metrics.contains("\nseb_identity_source_up 0\n") { Ok(()) } else { Err(metrics) }
    })
    .await;
    // As long as the identity is valid.
    around.scale(&client, "without").await.unwrap();

    awaited("the end of the identity", async || match broker.get("/readyz").await {
        (503, answer) if answer.contains("ended at") => Ok(()),
        other => Err(other),
    })
    .await;
    let applied = around.production.applied().len();
    // On the connection that is there, and on a new one, with which no handshake succeeds.
    for client in [client.clone(), around.client(&broker)] {
        let mut client = client;
        let uid = around.production.create("after", 3).await;
        let certificate = crate::world::Certificate::scale("after", &uid);
        let mut request = tonic::Request::new(seb::proto::seb::v1::ExecuteRequest {
            certificate: certificate.issue(&around.authority),
            chain: around.authority.chain().to_vec(),
            values: vec![crate::world::value("/replicas", "7")],
            ..Default::default()
        });
        request.set_timeout(std::time::Duration::from_secs(10));
        let refused = client.execute(request).await.unwrap_err();
        println!("refused: {refused:?}");
    }
    assert_eq!(around.production.applied().len(), applied, "nothing was done");

    around.spire.agent.restart();
    around.spire.ready().await;
    awaited("readiness", async || match broker.get("/readyz").await {
        (200, answer) if !answer.contains("identity") => Ok(()),
        other => Err(other),
    })
    .await;
    around.epochs.heard().await;
    let client = around.client(&broker);
    let execution = around.scale(&client, "again").await.unwrap();
    assert_eq!(execution.state(), State::Succeeded, "{execution:?}");
}
