//! Where the bundle of an authority's trust domain comes from: a file, the Workload API, a bundle endpoint.

use std::path::Path;
use std::time::Duration;

use seb::identity::embedded::{Domain, Grant};
use seb::proto::seb::v1::execution::State;
use seb::sab::authority::Authority;
use spiffe::{SpiffeId, TrustDomain};

use crate::domain::{Around, Broker, options};
use crate::testbed::spire::{Entry, Options, Spire};
use crate::testbed::{Folder, awaited, free_port};
use crate::world::broker::reason;
use crate::world::now;

/// Puts what is in one file in the place of another, at once.
fn replace(path: &Path, by: &Path) {
    let fresh = path.with_extension("new");
    std::fs::copy(by, &fresh).unwrap();
    std::fs::rename(&fresh, path).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_a_bundle_that_is_replaced_counts_without_a_restart() {
    let folder = Folder::new();
    let mut around = Around::start(&folder, options("spire-mint", 3600)).await;
    // Another authority by the same name, which anybody can make.
    let domain = Domain::init(&folder.join("foreign-domain"), &TrustDomain::new("sab.org").unwrap(), now()).unwrap();
    let sab = SpiffeId::new("spiffe://sab.org/sab").unwrap();
    domain.issue(Grant::new(sab, folder.join("foreign"), Duration::from_secs(7200), false), now()).unwrap();
    let (bundle, own, foreign) =
        (folder.join("trusted.pem"), folder.join("sab/bundle.pem"), folder.join("foreign/bundle.pem"));
    std::fs::copy(&own, &bundle).unwrap();
    around.trusted = "[trust_bundles]\n\"sab.org\" = \"trusted.pem\"".to_owned();
    let broker = around.broker("spire-mint").await;
    let client = around.client(&broker);
    let changes = || broker.log().matches("the trust bundles changed").count();
    let succeeds = async |name: &str| {
        let execution = around.scale(&client, name).await.unwrap_or_else(|status| panic!("{status:?}"));
        assert_eq!(execution.state(), State::Succeeded, "{execution:?}");
    };
    succeeds("before").await;

    replace(&bundle, &foreign);
    awaited("the foreign bundle", async || if changes() == 1 { Ok(()) } else { Err(changes()) }).await;
    let refused = around.scale(&client, "between").await.unwrap_err();
    assert_eq!(reason(&refused), "certificate_refused", "{refused:?}");
    let last = around.all_decisions().await.pop().unwrap();
    assert_eq!(last["denial"]["reason"], "authority_untrusted", "{last}");
    assert_eq!(around.production.applied().len(), 1, "nothing was done");

    replace(&bundle, &own);
    awaited("the right bundle", async || if changes() == 2 { Ok(()) } else { Err(changes()) }).await;
    around.epochs.heard().await;
    succeeds("after").await;
    let impostor = Authority::in_folder(&folder.join("foreign")).unwrap();
    let refused = around.scale_by(&impostor, &client, "impostor").await.unwrap_err();
    assert_eq!(reason(&refused), "certificate_refused", "{refused:?}");
    assert_eq!(around.sources().await, ["file", "file"]);
    around.records(&["verify", "--artefacts"]).await;
    around.records(&["replay"]).await;
}

/// The authority's trust domain, with a bundle endpoint: it, and the endpoint's URL.
async fn authority_domain(folder: &Folder) -> (Spire, String) {
    let port = free_port();
    let federation = format!(
        r#"federation {{ bundle_endpoint {{ address = "127.0.0.1" port = {port} refresh_hint = "5s" profile "https_spiffe" {{}} }} }}"#
    );
    let options = Options { trust_domain: "sab.org", server: federation, ..Options::default() };
    (Spire::start(folder, options).await, format!("https://127.0.0.1:{port}"))
}

/// Scales until it succeeds, each time under another certificate; no other refusal than that of the certificate may come before.
async fn accepted(around: &Around, broker: &Broker, authority: &Authority, name: &str) {
    let client = around.client(broker);
    let mut tries = 0;
    awaited("an execution under the new authority", async || {
        tries += 1;
        let answer = around.scale_by(authority, &client, &format!("{name}-{tries}")).await;
        if let Ok(execution) = &answer {
            assert_eq!(execution.state(), State::Succeeded, "{execution:?}");
        }
        answer.inspect_err(|status| assert_eq!(reason(status), "certificate_refused", "{status:?}"))
    })
    .await;
}

/// The authority's trust domain changes its CA: what it certifies then counts once the broker has the new bundle.
async fn follows(around: &Around, broker: &Broker, sab: &Spire, folder: &Folder, refresh: impl AsyncFn()) {
    let next = sab.prepare_authority().await;
    sab.activate_authority(&next).await;
    sab.mint_folder("sab", "2h", &folder.folder("sab-renewed")).await;
    refresh().await;
    let renewed = Authority::in_folder(&folder.join("sab-renewed")).unwrap();
    accepted(around, broker, &renewed, "renewed").await;
    around.records(&["verify", "--artefacts"]).await;
    around.records(&["replay"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_of_a_federated_trust_domain_counts_by_the_workload_api() {
    let folder = Folder::new();
    let (sab, url) = authority_domain(&folder).await;
    let mut with = options("spire-mint", 3600);
    let broker = with.entries.iter().position(|entry| entry.path == "seb").map(|at| with.entries.remove(at)).unwrap();
    let spire = Spire::start(&folder, with).await;
    let bundle = folder.join("sab.json");
    std::fs::write(&bundle, sab.bundle_document().await.to_string()).unwrap();
    let words = ["federation", "create", "-trustDomain", "sab.org", "-bundleEndpointURL", &url];
    let profile = ["-bundleEndpointProfile", "https_spiffe", "-endpointSpiffeID", "spiffe://sab.org/spire/server"];
    let first = ["-trustDomainBundlePath", bundle.to_str().unwrap(), "-trustDomainBundleFormat", "spiffe"];
    spire.command(&[&words[..], &profile, &first].concat()).await;
    let arguments = vec!["-federatesWith".to_owned(), "spiffe://sab.org".to_owned()];
    spire.register(&Entry { arguments, ..broker }).await;

    let around = Around::beside(&folder, spire, &sab, String::new()).await;
    let broker = around.broker("spire-mint").await;
    let execution = around.scale(&around.client(&broker), "one").await.unwrap();
    assert_eq!(execution.state(), State::Succeeded, "{execution:?}");
    assert_eq!(around.sources().await, ["workload_api"]);
    follows(&around, &broker, &sab, &folder, async || {
        around.spire.command(&["federation", "refresh", "-id", "sab.org"]).await;
    })
    .await;
    assert_eq!(around.sources().await, ["workload_api", "workload_api"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_of_another_trust_domain_counts_by_its_bundle_endpoint() {
    let folder = Folder::new();
    let (sab, url) = authority_domain(&folder).await;
    let spire = Spire::start(&folder, options("spire-mint", 3600)).await;
    // The endpoint shows an SVID of its own trust domain, so that something must be known of it before.
    std::fs::write(folder.join("first.pem"), sab.bundle().await).unwrap();
    let trusted = format!(
        r#"
[trust_bundles]
"sab.org" = "first.pem"
[[bundle_endpoints]]
trust_domain = "sab.org"
url = "{url}"
profile = "https_spiffe"
server_id = "spiffe://sab.org/spire/server"
"#
    );
    let around = Around::beside(&folder, spire, &sab, trusted).await;
    let broker = around.broker("spire-mint").await;
    // From the file until the endpoint has been asked for the first time.
    awaited("the bundle of the endpoint", async || {
        let changed = broker.log().contains("the trust bundles changed");
        if changed { Ok(()) } else { Err(broker.log()) }
    })
    .await;
    let execution = around.scale(&around.client(&broker), "one").await.unwrap();
    assert_eq!(execution.state(), State::Succeeded, "{execution:?}");
    assert_eq!(around.sources().await, ["bundle_endpoint"]);
    follows(&around, &broker, &sab, &folder, async || {}).await;
    assert_eq!(around.sources().await, ["bundle_endpoint", "bundle_endpoint"]);
    let (status, ready) = broker.get("/readyz").await;
    assert!(status == 200 && !ready.contains("bundle of sab.org"), "{ready}");
}
