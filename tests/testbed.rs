//! The testbed itself: that its servers are the real ones, do what tests rely on, and are gone afterwards.

#[cfg(test)]
#[path = "support/testbed/mod.rs"]
mod testbed;

#[cfg(test)]
mod tests {
    use std::io::BufRead;
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use der::DecodePem;
    use http::StatusCode;
    use serde_json::json;
    use tokio::time::Instant;
    use x509_cert::Certificate;
    use x509_cert::ext::pkix::AuthorityKeyIdentifier;

    use crate::testbed::process::Process;
    use crate::testbed::spire::{Entry, Spire, this_user};
    use crate::testbed::wire::Wire;
    use crate::testbed::{Folder, PATIENCE, awaited, client, kubernetes, spire};
    use kubernetes::Kubernetes;

    const EXECUTION: &str = "seb/execution/0123456789abcdef";

    #[tokio::test(flavor = "multi_thread")]
    async fn an_execution_identity_brings_its_call_to_kubernetes() {
        let folder = Folder::new();
        let spire = Spire::start(&folder, spire::Options { discovery: true, ..spire::Options::default() }).await;
        let options = kubernetes::Options {
            authentication: Some(spire.authentication("seb-testbed")),
            ..kubernetes::Options::default()
        };
        let cluster = Kubernetes::start(&folder, options).await;
        let review = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
        let who = async |token: String| {
            let client = cluster.anonymous().with_bearer(&token);
            client.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &review).await
        };

        let call = "urn:seb:call:UPDATE:apps/deployments:default/shop";
        let (status, answer) = who(spire.mint_jwt(EXECUTION, &["seb-testbed", call], "30s").await).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        let user = &answer["status"]["userInfo"];
        assert_eq!(user["username"], format!("seb:{}", spire.id(EXECUTION)));
        assert_eq!(user["groups"], json!(["seb:executors", "system:authenticated"]));
        assert_eq!(user["extra"]["seb.dev/call"], json!([call]));

        // Of another path, and for another cluster.
        for refused in [
            spire.mint_jwt("agent/planner", &["seb-testbed", call], "30s").await,
            spire.mint_jwt(EXECUTION, &["elsewhere", call], "30s").await,
        ] {
            let (status, answer) = who(refused).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{answer}");
        }
        // It is known, and may do nothing: nobody bound a role to it.
        let token = spire.mint_jwt(EXECUTION, &["seb-testbed", call], "30s").await;
        let (status, _) = cluster.anonymous().with_bearer(&token).get("/api/v1/namespaces/default/secrets").await;
        assert_eq!(status, StatusCode::FORBIDDEN);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_api_server_is_paused_killed_and_started_again() {
        let folder = Folder::new();
        let mut cluster = Kubernetes::start(&folder, kubernetes::Options::default()).await;
        let uid = cluster.deployment("shop", 3).await;
        let path = "/apis/apps/v1/namespaces/default/deployments/shop";
        let scale = json!([
            { "op": "test", "path": "/metadata/uid", "value": uid },
            { "op": "test", "path": "/spec/replicas", "value": 3 },
            { "op": "replace", "path": "/spec/replicas", "value": 5 },
        ]);
        let admin = cluster.admin.clone();

        // Its store does not answer: a write hangs, and is done when the store is back.
        cluster.etcd.pause();
        let write = tokio::spawn(async move { admin.patch(path, client::JSON_PATCH, &scale).await });
        let waiting = async {
            while !write.is_finished() {
                tokio::task::yield_now().await
            }
        };
        assert!(tokio::time::timeout(Duration::from_millis(500), waiting).await.is_err(), "it was written by nobody");
        cluster.etcd.resume();
        let (status, answer) = write.await.unwrap();
        assert_eq!((status, &answer["spec"]["replicas"]), (StatusCode::OK, &json!(5)), "{answer}");

        // What was written outlives it and its store.
        cluster.api_server.kill();
        assert!(cluster.admin.send(http::Method::GET, path, "", &json!(null)).await.is_err());
        cluster.etcd.kill();
        cluster.etcd.restart();
        cluster.api_server.restart();
        cluster.ready().await;
        let (status, answer) = cluster.admin.get(path).await;
        assert_eq!((status, &answer["spec"]["replicas"]), (StatusCode::OK, &json!(5)), "{answer}");

        // The audit log has the write, with what was sent and what came of it.
        let event = cluster.audited("the write", |event| event["verb"] == "patch").await;
        assert_eq!(event["requestObject"][2]["value"], 5, "{event}");
        assert_eq!(event["responseObject"]["metadata"]["uid"], json!(uid), "{event}");
        assert_eq!(event["user"]["username"], "admin", "{event}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_answer_is_lost_on_the_wire() {
        let folder = Folder::new();
        let cluster = Kubernetes::start(&folder, kubernetes::Options::default()).await;
        let wire = Wire::to(&cluster.address).await;
        let admin = cluster.admin.at(&wire.address.to_string());
        let path = "/api/v1/namespaces/default/configmaps";
        let map = |name: &str| json!({ "metadata": { "name": name } });
        let (status, answer) = admin.post(path, &map("first")).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");

        // After a first answer nothing of the handshake comes any more: what is kept back is the answer.
        let mut open = admin.open().await.unwrap();
        open.send(http::Method::GET, path, "", &json!(null)).await.unwrap();
        wire.hold_answers();
        let request =
            tokio::spawn(async move { open.send(http::Method::POST, path, "application/json", &map("second")).await });
        wire.answered().await;
        wire.cut();
        assert!(request.await.unwrap().is_err(), "there was no answer");
        wire.release_answers();
        let (status, answer) = admin.get(&format!("{path}/second")).await;
        assert_eq!(status, StatusCode::OK, "it was done all the same: {answer}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn controllers_make_what_manifests_need() {
        let folder = Folder::new();
        let cluster =
            Kubernetes::start(&folder, kubernetes::Options { controllers: true, node: true, ..Default::default() })
                .await;
        let manifests = "
apiVersion: v1
kind: Namespace
metadata: { name: shop }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: { name: reader, namespace: shop }
rules: [{ apiGroups: [''], resources: [configmaps], verbs: [get] }]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: reader, namespace: shop }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader }
subjects: [{ apiGroup: rbac.authorization.k8s.io, kind: User, name: clerk }]
";
        cluster.apply(manifests).await;
        // The controllers put the cluster's authority into every namespace.
        let path = "/api/v1/namespaces/shop/configmaps/kube-root-ca.crt";
        let clerk = cluster.user("clerk", None);
        let answer = awaited("the cluster's authority", async || match clerk.get(path).await {
            (StatusCode::OK, answer) => Ok(answer),
            other => Err(other),
        })
        .await;
        assert_eq!(answer["data"]["ca.crt"], json!(cluster.authority.pem()));
        let (status, _) = clerk.delete(path).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "the role lets it read only");
        // A pod on the node that kwok plays is ready, so a rollout ends.
        cluster.deployment("shop", 2).await;
        let path = "/apis/apps/v1/namespaces/default/deployments/shop";
        let onto = json!({ "spec": { "template": { "spec": { "nodeName": "node" } } } });
        cluster.admin.patch(path, client::MERGE, &onto).await;
        awaited("the rollout", async || {
            let (_, answer) = cluster.admin.get(path).await;
            let status = &answer["status"];
            if status["availableReplicas"] == 2 && status["updatedReplicas"] == 2 { Ok(()) } else { Err(answer) }
        })
        .await;
        let charts = cluster.helm(&["list", "--all-namespaces"]).await.unwrap();
        assert!(charts.starts_with("NAME"), "{charts}");
        let refused = cluster.kubectl(&["apply", "-f", "-"], "kind: Nonsense").await;
        assert!(refused.is_err(), "{refused:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_workload_gets_its_identity_and_the_next_authority_s() {
        let folder = Folder::new();
        let options = spire::Options { entries: vec![Entry::of_this_user("seb")], ..spire::Options::default() };
        let spire = Spire::start(&folder, options).await;
        let fetched = fetch(&spire, &folder.folder("first")).await;
        assert!(fetched.contains(&spire.id("seb")), "{fetched}");

        // What is registered later comes, too, and goes.
        let later = Entry { path: "later".to_owned(), selectors: vec![this_user()], ..Entry::default() };
        let entry = spire.register(&later).await;
        let to = folder.folder("later");
        awaited("the second identity", async || has(&spire, &to, "later", true).await).await;
        spire.unregister(&entry).await;
        awaited("the end of the second identity", async || has(&spire, &to, "later", false).await).await;

        // A new authority issues; then the old one is trusted no more.
        let old = spire.active_authority().await;
        let before = spire.bundle().await;
        let new = spire.prepare_authority().await;
        let both = spire.bundle().await;
        assert!(both.contains(before.trim()) && both.len() > before.len(), "{both}");
        spire.activate_authority(&new).await;
        assert_eq!(spire.active_authority().await, new);
        spire.taint_authority(&old).await;
        let to = folder.folder("tainted");
        awaited("an SVID by the new authority", async || {
            let said = spire.fetch_x509(&to).await;
            let issuer = authority(&to.join("svid.0.pem"));
            if issuer.as_ref() == Some(&new) { Ok(()) } else { Err((said, issuer)) }
        })
        .await;
        spire.revoke_authority(&old).await;
        let after = spire.bundle().await;
        assert!(!after.contains(before.trim()) && both.contains(after.trim()), "{after}");
        let to = folder.folder("after");
        awaited("the new bundle at the workload", async || {
            let said = spire.fetch_x509(&to).await;
            let bundle = std::fs::read_to_string(to.join("bundle.0.pem")).unwrap_or_default();
            if bundle.trim() == after.trim() { Ok(()) } else { Err((said, bundle)) }
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_trust_domain_outlives_its_processes() {
        let folder = Folder::new();
        let options = spire::Options { entries: vec![Entry::of_this_user("seb")], ..spire::Options::default() };
        let mut spire = Spire::start(&folder, options).await;
        let bundle = spire.bundle().await;
        spire.server.kill();
        // The agent serves what it has.
        let fetched = fetch(&spire, &folder.folder("alone")).await;
        assert!(fetched.contains(&spire.id("seb")), "{fetched}");
        spire.agent.stop().await;
        spire.server.restart();
        spire.agent.restart();
        spire.ready().await;
        assert_eq!(spire.bundle().await, bundle);
        let to = folder.folder("again");
        awaited("the identity", async || has(&spire, &to, "seb", true).await).await;
    }

    /// The ID of the authority that issued an SVID, if there is one.
    fn authority(svid: &Path) -> Option<String> {
        let certificate = Certificate::from_pem(std::fs::read(svid).ok()?).unwrap();
        let (_, issuer) = certificate.tbs_certificate().get_extension::<AuthorityKeyIdentifier>().unwrap().unwrap();
        Some(issuer.key_identifier.unwrap().as_bytes().iter().map(|octet| format!("{octet:02x}")).collect())
    }

    /// What `spire-agent` fetches for this process's user.
    async fn fetch(spire: &Spire, to: &Path) -> String {
        let (_, said) = spire.fetch_x509(to).await;
        said
    }

    async fn has(spire: &Spire, to: &Path, path: &str, expected: bool) -> Result<(), String> {
        let (_, said) = spire.fetch_x509(to).await;
        if said.contains(&spire.id(path)) == expected { Ok(()) } else { Err(said) }
    }

    /// A process that holds a server until it is killed.
    #[test]
    #[ignore = "started by another test"]
    fn child_that_holds_a_server() {
        let folder = std::env::temp_dir();
        let server = Process::start("seb-testbed-child", Path::new("sleep"), &["600"], &folder);
        println!("server {}", server.id());
        std::thread::sleep(PATIENCE);
    }

    #[test]
    fn a_server_ends_with_the_test_that_was_killed() {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--ignored", "--exact", "tests::child_that_holds_a_server", "--nocapture"]);
        let mut child = child.stdout(Stdio::piped()).spawn().unwrap();
        let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        let server = lines
            .map(Result::unwrap)
            .find_map(|line| Some(line.split_once("server ")?.1.to_owned()))
            .expect("it says which process it started");
        let process = Path::new("/proc").join(&server);
        assert!(process.exists());
        child.kill().unwrap();
        child.wait().unwrap();
        let end = Instant::now() + PATIENCE;
        while process.exists() {
            assert!(Instant::now() < end, "process {server} outlives the test");
            std::thread::sleep(Duration::from_millis(10));
        }
        std::fs::remove_file(std::env::temp_dir().join("seb-testbed-child.log")).unwrap();
    }

    /// Prints how long it all takes.
    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "it measures"]
    async fn measure_start_and_stop() {
        let folder = Folder::new();
        let timed = async |what: &str, begun: Instant| println!("{what}: {} ms", begun.elapsed().as_millis());
        let begun = Instant::now();
        let options = spire::Options { discovery: true, ..spire::Options::default() };
        let spire = Spire::start(&folder, options).await;
        timed("SPIRE with discovery starts", begun).await;
        let begun = Instant::now();
        let options = kubernetes::Options {
            authentication: Some(spire.authentication("seb-testbed")),
            ..kubernetes::Options::default()
        };
        let cluster = Kubernetes::start(&folder, options).await;
        timed("etcd and the API server start", begun).await;
        let begun = Instant::now();
        drop((spire, cluster));
        timed("all of them stop", begun).await;
    }
}
