//! The boundary of a Kubernetes target: the chart as a platform team installs it, and every attack of the table in
//! `docs/boundary-kubernetes.md`, tried on the real API server with real SPIRE identities.
//!
//! `UPDATE=1 cargo test --test boundary_kubernetes golden` rewrites what the chart renders, `tests/golden/helm/`.

#[cfg(test)]
#[path = "boundary/accounts.rs"]
mod accounts;
#[cfg(test)]
#[path = "boundary/attacks.rs"]
mod attacks;
#[cfg(test)]
#[path = "boundary/chart.rs"]
mod chart;
#[cfg(test)]
#[path = "boundary/resources.rs"]
mod resources;
#[cfg(test)]
#[path = "boundary/table.rs"]
#[expect(dead_code, reason = "its page is made by tests/helm.rs")]
mod table;
#[cfg(test)]
#[path = "support/testbed/mod.rs"]
mod testbed;
#[cfg(test)]
#[path = "boundary/world.rs"]
mod world;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use http::{Method, StatusCode};
    use seb::config::broker::BrokerConfig;
    use seb::config::{self, Files, Table};
    use seb::sab::config::SabConfig;
    use serde_json::{Value, json};

    use crate::attacks::{self, attempt};
    use crate::table::{ACCOUNTS, ATTACKS, By, EXECUTORS, Event, Row};
    use crate::testbed::client::{APPLY, MERGE};
    use crate::testbed::{Folder, awaited};
    use crate::world::{CHECKOUT, World, asks, deployment};
    use crate::{accounts, chart};

    const VALUES: [&str; 3] = ["jwt-svid", "projected-token", "service-account"];

    #[test]
    fn golden_renders_are_current() {
        let folder = Folder::new();
        for values in VALUES {
            let rendered = chart::render(folder.path(), values, &[]).unwrap();
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/helm/{values}.yaml"));
            if std::env::var_os("UPDATE").is_some() {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(&path, &rendered).unwrap();
            }
            let found = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                found == rendered,
                "{} is not current: run `UPDATE=1 cargo test --test boundary_kubernetes golden`",
                path.display()
            );
        }
    }

    #[test]
    fn the_chart_is_without_faults() {
        let folder = Folder::new();
        let chart = chart::folder();
        for values in VALUES.map(chart::values) {
            let words = ["lint", "--strict", chart.to_str().unwrap(), "--values", values.to_str().unwrap()];
            let said = chart::helm(folder.path(), &words).unwrap();
            assert!(said.contains("0 chart(s) failed"), "{said}");
        }
    }

    #[test]
    fn the_rendered_configuration_is_one_that_broker_and_authority_read() {
        let folder = Folder::new();
        for values in VALUES {
            let rendered = chart::render(folder.path(), values, &[]).unwrap();
            let ceilings = chart::file(&rendered, "ceilings.toml");
            let ceilings = ["knowledge", "targets", "authorities"]
                .iter()
                .fold(ceilings, |text, table| text.replace(&format!("[{table}"), &format!("[ceilings.{table}")));
            let text = chart::file(&rendered, "broker.toml").replace("[ceilings]\nfile = \"ceilings.toml\"\n", "");
            let broker = read(&format!("{text}{ceilings}"), BrokerConfig::read);
            assert_eq!(broker.targets.len(), 1);
            let file = broker.ceilings.file();
            assert_eq!(file.targets.values().map(|target| target.rules.len()).max(), Some(targets_of(values)));
            if rendered.contains("  sab.toml: |") {
                assert_eq!(read(&chart::file(&rendered, "sab.toml"), SabConfig::read).targets.len(), 1);
            }
        }
    }

    /// How many targets the file with values lists.
    fn targets_of(values: &str) -> usize {
        let text = std::fs::read_to_string(chart::values(values)).unwrap();
        let targets = text.lines().skip_while(|line| *line != "targets:").skip(1);
        targets.take_while(|line| line.starts_with(' ')).filter(|line| line.starts_with("  - ")).count()
    }

    fn read<T>(text: &str, read: impl FnOnce(&mut Table<'_>) -> Option<T>) -> T {
        config::parse(text, "chart.toml", Files::Ignore, read).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    /// RBAC for who rehearses, and the leave to try, are given only where the policies hold them to dry runs.
    #[test]
    fn nobody_rehearses_where_no_policy_refuses() {
        let folder = Folder::new();
        for values in ["projected-token", "service-account"] {
            let rehearses = |switch: &[&str]| {
                let rendered = chart::render(folder.path(), values, switch).unwrap();
                let grants = rendered.split("\n---\n").filter(|it| {
                    it.contains("\nkind: RoleBinding\n")
                        && it.contains("name: seb:executors")
                        && !it.contains("seb-tokens")
                });
                let signs = ["seb-rehearser-", "dry_run = true"].map(|sign| rendered.contains(sign));
                (signs, grants.count())
            };
            let own = values == "service-account";
            assert_eq!(rehearses(&[]), ([own, true], if own { 0 } else { targets_of(values) }), "{values}");
            for switch in ["boundary.mode=\"audit\"", "boundary.enabled=false", "cluster.dryRun=false"] {
                assert_eq!(rehearses(&[switch]), ([false, false], 0), "{values} {switch}");
            }
        }
    }

    #[test]
    fn wrong_values_are_refused_with_what_is_wrong() {
        let folder = Folder::new();
        for (value, complaint) in [
            ("cluster.exchange=\"password\"", "/cluster/exchange"),
            ("cluster.tokenSeconds=0", "minimum: got 0, want 5"),
            ("cluster.audience=\"urn:seb:call:x\"", "/cluster/audience"),
            ("brokers={}", "additional properties 'brokers' not allowed"),
            ("broker.replicas=2", "additional properties 'replicas' not allowed"),
            ("broker.agents=[\"example.org/agent\"]", "/broker/agents/0"),
            ("trustDomain=\"Example.org\"", "/trustDomain"),
            ("targets[0].verbs=[\"*\"]", "/targets/0/verbs/0"),
            ("targets[0].resources=[\"*\"]", "/targets/0/resources/0"),
            ("targets[1].name=\"shop\"", "the name `shop` is there twice"),
            ("targets[0].group=\"admissionregistration.k8s.io\"", "it cannot be a target"),
            ("protect[1].resources=[\"namespaces\"]", "a namespace is a resource of the cluster"),
            ("targets[2].names=[]", "a resource of the cluster needs `names`"),
            ("boundary.exemptions.own={\"enabled\":true}", "missing properties"),
            ("boundary.mode=\"off\"", "/boundary/mode"),
            ("spire.jwtIssuer=\"\"", "give the https URL of the OIDC discovery provider"),
            ("spire.jwtIssuer=\"http://oidc.example.org\"", "/spire/jwtIssuer"),
            ("spire.issuer=\"spire-downstream\"", "choose `spire-mint`"),
            ("networkPolicy.egress=[]", "say where the API server and the SPIRE server are"),
            ("sab.authoritySecret=\"\"", "name the Secret with the authority's signing key"),
        ] {
            let said = chart::render(folder.path(), "jwt-svid", &[value]).unwrap_err();
            assert!(said.contains(complaint), "`{value}`:\n{said}");
        }
        // Each of them is the only thing that is wrong.
        chart::render(folder.path(), "jwt-svid", &[]).unwrap();
    }

    /// Refused as the table says, or done and found as it says.
    fn check(Row { name, by, says, .. }: Row, (status, answer): &(StatusCode, Value), is_static: bool) {
        let text = answer.to_string();
        let expected = match by {
            By::Authentication => *status == StatusCode::UNAUTHORIZED && text.contains(says),
            By::Rbac => *status == StatusCode::FORBIDDEN && text.contains(says) && !text.contains("seb: "),
            By::Policy => *status == StatusCode::FORBIDDEN && text.contains(&format!("seb: {says}")),
            By::Static(_) if is_static => *status == StatusCode::FORBIDDEN && text.contains(&format!("seb: {says}")),
            By::Static(_) | By::Nothing => status.is_success(),
        };
        assert!(expected, "`{name}`, {by:?}: {status} {answer:#}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn every_attack_of_the_table_meets_what_the_table_says() {
        let world = World::new(false).await;
        the_release_runs(&world).await;
        what_is_certified_is_done(&world).await;
        let mut wrong = Vec::new();
        for row in ATTACKS {
            let answer = attempt(&world, row.name).await;
            println!("{:<22} {:?}: {} {}", row.name, row.by, answer.0, answer.1["message"]);
            if std::panic::catch_unwind(|| check(*row, &answer, false)).is_err() {
                wrong.push(row.name);
            }
        }
        assert!(wrong.is_empty(), "{wrong:?}");
        what_nothing_stops_is_found(&world).await;
        a_rewritten_body_is_found(&world).await;
    }

    /// Pods pass `restricted`, and what the chart makes for others is there.
    async fn the_release_runs(world: &World) {
        for pod in ["seb-broker-0", "seb-sab-0"] {
            awaited(pod, async || {
                let answer = world.cluster.admin.get(&format!("/api/v1/namespaces/seb-system/pods/{pod}")).await;
                if answer.0 == StatusCode::OK { Ok(()) } else { Err(answer) }
            })
            .await;
        }
        let ids = "/apis/spire.spiffe.io/v1alpha1/clusterspiffeids";
        let monitors = "/apis/monitoring.coreos.com/v1/namespaces/seb-system/servicemonitors";
        for (component, id, admin) in [("broker", "seb", json!(true)), ("sab", "sab", Value::Null)] {
            let (_, entry) = world.cluster.admin.get(&format!("{ids}/seb-{component}")).await;
            let id = format!("spiffe://example.org/{id}");
            assert_eq!((&entry["spec"]["spiffeIDTemplate"], &entry["spec"]["admin"]), (&json!(id), &admin), "{entry}");
            let (status, monitor) = world.cluster.admin.get(&format!("{monitors}/seb-{component}")).await;
            assert_eq!(status, StatusCode::OK, "{monitor}");
        }
    }

    /// The way that is meant to be open is, and the cluster's own controllers work below it.
    async fn what_is_certified_is_done(world: &World) {
        let patch = world.execution("urn:seb:call:UPDATE:apps/deployments:shop/checkout").await;
        let (status, answer) = patch.marks(CHECKOUT).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        what_is_rehearsed_changes_nothing(world).await;
        let scale = world.execution("urn:seb:call:UPDATE:apps/deployments/scale:shop/checkout").await;
        let (status, answer) = scale.client.patch(&format!("{CHECKOUT}/scale"), MERGE, &attacks::scaled(3)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        awaited("three pods", async || {
            let (_, pods) = world.cluster.admin.get("/api/v1/namespaces/shop/pods?labelSelector=app%3Dcheckout").await;
            let count = pods["items"].as_array().map_or(0, Vec::len);
            if count == 3 { Ok(()) } else { Err(count) }
        })
        .await;
        let gone = world.execution("urn:seb:call:DELETE:apps/deployments:shop/cart").await;
        let cart = "/apis/apps/v1/namespaces/shop/deployments/cart";
        let (status, answer) = gone.client.delete(cart).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let create = world.execution("urn:seb:call:CREATE:apps/deployments:shop/cart").await;
        let body = create.marked(deployment("cart"));
        let (status, answer) = create.client.patch(&format!("{cart}?fieldManager=seb"), APPLY, &body).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
    }

    async fn what_is_rehearsed_changes_nothing(world: &World) {
        let version = async || world.cluster.admin.get(CHECKOUT).await.1["metadata"]["generation"].clone();
        let (before, rehearsal) = (version().await, world.execution(attacks::DRY_RUN).await);
        let body = rehearsal.marked(attacks::scaled(9));
        let (status, answer) = rehearsal.client.patch(&format!("{CHECKOUT}?dryRun=All"), MERGE, &body).await;
        assert_eq!((status, &answer["spec"]["replicas"]), (StatusCode::OK, &json!(9)), "{answer}");
        assert_eq!(version().await, before, "a rehearsal changes nothing");
    }

    /// What the table says of rows that nothing stops.
    async fn what_nothing_stops_is_found(world: &World) {
        let is = |event: &Value, pointer: &str, text: &str| {
            event.pointer(pointer).and_then(Value::as_str).is_some_and(|found| found.contains(text))
        };
        let name = "/impersonatedUser/username";
        world.audited("a forged call", |event| is(event, name, "seb:spiffe://") && event["verb"] == "patch").await;
        world.audited("a forged controller", |event| is(event, name, "generic-garbage-collector")).await;
        let admitted = "/annotations/seb-calls~1admitted-by";
        let collected = |event: &Value| is(event, admitted, "exemption generic-garbage-collector");
        world.audited("what went with its owner", |event| collected(event) && event["verb"] == "delete").await;
        let twice = |event: &Value| is(event, admitted, "certified urn:seb:call:UPDATE:apps/deployments/scale:");
        world.audited("a certified call", twice).await;
        let events = world.cluster.audit();
        let mut users: Vec<_> =
            events.iter().filter(|event| twice(event)).map(|event| &event["user"]["username"]).collect();
        let all = users.len();
        users.sort_by_key(|user| user.to_string());
        users.dedup();
        assert!(users.len() < all, "no execution identity shows twice: {users:?}");
        for row in ATTACKS {
            if let By::Static(Event { verb, resource }) = row.by {
                let of = |event: &Value| event["verb"] == verb && event["objectRef"]["resource"] == resource;
                world.audited(row.name, |event| of(event) && event["user"]["username"] == "root").await;
            }
        }
        attacks::deleted_binding_is_found(world).await;
    }

    /// A mutating policy changes what was certified: the answer and the audit log both show it.
    async fn a_rewritten_body_is_found(world: &World) {
        let path = "/apis/admissionregistration.k8s.io/v1";
        let (status, answer) =
            world.masters.post(&format!("{path}/mutatingadmissionpolicies"), &attacks::mutating_policy()).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        let binding = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingAdmissionPolicyBinding",
            "metadata": { "name": "try" },
            "spec": { "policyName": "try" },
        });
        let (status, answer) = world.masters.post(&format!("{path}/mutatingadmissionpolicybindings"), &binding).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        let call = "urn:seb:call:UPDATE:apps/deployments:shop/checkout";
        let rewritten = awaited("a rewritten body", async || {
            let execution = world.execution(call).await;
            let answer = execution.client.patch(CHECKOUT, MERGE, &execution.marked(attacks::scaled(5))).await;
            if answer.1["spec"]["replicas"] == 9 { Ok(answer) } else { Err(answer) }
        })
        .await;
        assert_eq!(rewritten.0, StatusCode::OK);
        world
            .audited("the difference", |event| {
                event["requestObject"]["spec"]["replicas"] == 5 && event["responseObject"]["spec"]["replicas"] == 9
            })
            .await;
        world
            .audited("who made the policy", |event| {
                event["objectRef"]["resource"] == "mutatingadmissionpolicies" && event["verb"] == "create"
            })
            .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn static_admission_guards_the_policies_themselves() {
        let world = World::new(true).await;
        for row in ATTACKS.iter().filter(|row| matches!(row.by, By::Static(_))) {
            check(*row, &attempt(&world, row.name).await, true);
        }
        // The policies hold although nothing of them is left in the API.
        let bindings = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";
        let installer = world.cluster.user("platform-installer", Some("system:masters"));
        let (status, answer) = asks(&installer, Method::DELETE, bindings).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let (status, answer) = world.masters.post("/apis/apps/v1/namespaces/shop/deployments", &deployment("x")).await;
        assert!(answer.to_string().contains("seb: not_minted"), "{status} {answer}");
        assert!(answer.to_string().contains("seb-calls.static.k8s.io"), "{answer}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn executors_are_bound_to_their_targets() {
        let world = World::new(false).await;
        world.helm("projected-token").await;
        awaited("the executions' leave", async || {
            let answer = attacks::own_secret(&world).await;
            if answer.0 == StatusCode::CREATED { Ok(()) } else { Err(answer) }
        })
        .await;
        what_is_rehearsed_changes_nothing(&world).await;
        for row in EXECUTORS {
            let answer = attempt(&world, row.name).await;
            println!("{:<22} {:?}: {} {}", row.name, row.by, answer.0, answer.1["message"]);
            check(*row, &answer, false);
        }
        let inside = |event: &Value| {
            let admitted = event.pointer("/annotations/seb-calls~1admitted-by").and_then(Value::as_str);
            admitted.is_some_and(|text| text.starts_with("executor system:serviceaccount:seb-system:seb-executor-shop"))
        };
        world.audited("an executor's call", inside).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_brokers_account_gets_executors_tokens_and_nothing_else() {
        let world = World::new(false).await;
        world.helm("service-account").await;
        accounts::prepare(&world).await;
        accounts::rehearses(&world).await;
        for row in ACCOUNTS {
            let answer = accounts::attempt(&world, row.name).await;
            println!("{:<22} {:?}: {} {}", row.name, row.by, answer.0, answer.1["message"]);
            check(*row, &answer, false);
        }
        let taken = |event: &Value| {
            let admitted = event.pointer("/annotations/seb-calls~1admitted-by").and_then(Value::as_str);
            event["verb"] == "delete"
                && admitted.is_some_and(|text| text == "executor system:serviceaccount:seb-system:seb-executor-shop")
        };
        world.audited("an executor's call", taken).await;
    }
}
