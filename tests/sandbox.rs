//! The trust domain and the sandbox as a person runs them: `seb trust-domain`, `seb sandbox`.

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{BufRead, BufReader};
    use std::path::Path;
    use std::process::{Child, Command, Output, Stdio};
    use std::time::Duration;

    use http::{Method, Request, StatusCode};
    use http_body_util::{BodyExt, Full};
    use hyper::body::Bytes;
    use hyper_util::rt::TokioIo;
    use seb::clock;
    use seb::identity::folder;
    use seb::tls::{self, HTTP11};
    use serde_json::{Value, json};
    use spiffe::SpiffeId;
    use tempfile::TempDir;

    const PATIENCE: Duration = Duration::from_secs(60);

    const CONFIG: &str = r#"
listen = "127.0.0.1:0"
identity = "sandbox"
audit = "audit.jsonl"
readers = ["spiffe://example.org/seb", "spiffe://example.org/sab"]
admins = ["spiffe://example.org/operator"]

[objects.services.checkout]
replicas = 3
image = "shop:1"
"#;

    fn seb(directory: &Path, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_seb")).args(words).current_dir(directory).output().unwrap()
    }

    fn done(directory: &Path, words: &[&str]) -> Value {
        let output = seb(directory, &[words, &["--output", "json"]].concat());
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A trust domain with a folder for each role.
    fn trust_domain() -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        done(directory.path(), &["trust-domain", "init", "domain", "--trust-domain", "example.org"]);
        for who in ["seb", "sab", "agent", "operator", "sandbox"] {
            let id = format!("spiffe://example.org/{who}");
            let mut words = vec!["trust-domain", "issue", "domain", "--id", &id, "--out", who];
            words.extend((who == "seb").then_some("--execution-ca"));
            done(directory.path(), &words);
        }
        fs::write(directory.path().join("sandbox.toml"), CONFIG).unwrap();
        directory
    }

    struct Sandbox {
        child: Child,
        address: String,
    }

    impl Sandbox {
        fn start(directory: &Path, more: &[&str]) -> Self {
            let mut child = Command::new(env!("CARGO_BIN_EXE_seb"))
                .args([&["sandbox", "--config", "sandbox.toml", "--output", "json"], more].concat())
                .current_dir(directory)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            let said: Value = serde_json::from_str(&line).unwrap();
            Self { child, address: said["listening"].as_str().unwrap().to_owned() }
        }

        /// Asks it to end, and waits until it did.
        fn end(mut self) {
            let id = self.child.id().to_string();
            assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
            let began = clock::now().unwrap();
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    assert!(status.success(), "{status}");
                    return;
                }
                assert!(clock::now().unwrap().since(began) < PATIENCE, "it does not end");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    impl Drop for Sandbox {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    async fn ask(
        sandbox: &Sandbox,
        who: &Path,
        method: Method,
        path: &str,
        body: &Value,
    ) -> std::io::Result<(StatusCode, Value)> {
        let identities = folder::open(who).await.unwrap();
        let server = SpiffeId::new("spiffe://example.org/sandbox").unwrap();
        let config = tls::client_config(&identities, [server], &[HTTP11]).unwrap();
        let stream = tls::connect(&sandbox.address, config, PATIENCE).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
        tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header("host", "sandbox");
        let request = request.body(Full::new(Bytes::from(body.to_string()))).unwrap();
        let response = sender.send_request(request).await.map_err(std::io::Error::other)?;
        let status = response.status();
        let octets = response.into_body().collect().await.map_err(std::io::Error::other)?.to_bytes();
        Ok((status, serde_json::from_slice(&octets).unwrap()))
    }

    const CHECKOUT: &str = "/v1/objects/services/checkout";

    #[tokio::test]
    async fn an_agent_is_refused_and_the_broker_may_read() {
        let directory = trust_domain();
        let sandbox = Sandbox::start(directory.path(), &[]);
        let who = |name: &str| directory.path().join(name);
        let (status, seen) = ask(&sandbox, &who("seb"), Method::GET, CHECKOUT, &Value::Null).await.unwrap();
        assert_eq!((status, &seen["object"]["replicas"]), (StatusCode::OK, &json!(3)));
        for name in ["agent", "seb", "operator"] {
            let (status, answer) =
                ask(&sandbox, &who(name), Method::PATCH, CHECKOUT, &json!({"replicas": 50})).await.unwrap();
            assert_eq!((status, &answer["error"]), (StatusCode::FORBIDDEN, &json!("forbidden")), "{name}");
        }
        // Not started with `--faults`.
        let outside = "/v1/outside/services/checkout";
        let (status, _) =
            ask(&sandbox, &who("operator"), Method::POST, outside, &json!({"replicas": 7})).await.unwrap();
        assert_eq!(status, StatusCode::NOT_FOUND);
        sandbox.end();
        let audit = fs::read_to_string(who("audit.jsonl")).unwrap();
        let results: Vec<Value> =
            audit.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["result"].clone()).collect();
        assert_eq!(results, ["outside", "refused", "refused", "refused"]);
    }

    #[tokio::test]
    async fn what_was_changed_outlives_the_process_and_is_not_seeded_again() {
        let directory = trust_domain();
        let who = |name: &str| directory.path().join(name);
        let sandbox = Sandbox::start(directory.path(), &["--faults"]);
        let outside = "/v1/outside/services/checkout";
        let (status, _) =
            ask(&sandbox, &who("operator"), Method::POST, outside, &json!({"replicas": 7})).await.unwrap();
        assert_eq!(status, StatusCode::OK);
        sandbox.end();
        let sandbox = Sandbox::start(directory.path(), &[]);
        let (_, seen) = ask(&sandbox, &who("sab"), Method::GET, CHECKOUT, &Value::Null).await.unwrap();
        assert_eq!((&seen["object"]["replicas"], &seen["version"]), (&json!(7), &json!("2")));
    }

    #[tokio::test]
    async fn a_rotation_reaches_the_running_sandbox() {
        let directory = trust_domain();
        let who = |name: &str| directory.path().join(name);
        let sandbox = Sandbox::start(directory.path(), &[]);
        for step in ["--prepare", "--activate", "--retire"] {
            let issued = done(directory.path(), &["trust-domain", "rotate", "domain", step]);
            assert_eq!(issued["issued"].as_array().unwrap().len(), 5, "{step}");
            // Whoever has the newest identity is admitted as soon as the sandbox has read its folder again.
            let began = clock::now().unwrap();
            loop {
                match ask(&sandbox, &who("seb"), Method::GET, CHECKOUT, &Value::Null).await {
                    Ok((status, _)) => break assert_eq!(status, StatusCode::OK),
                    Err(error) => assert!(clock::now().unwrap().since(began) < PATIENCE, "{step}: {error}"),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        sandbox.end();
    }

    #[test]
    fn what_is_wrong_is_said_and_ends_with_status_2() {
        let directory = trust_domain();
        let agent = "spiffe://example.org/agent";
        let execution = "spiffe://example.org/seb/execution/m-1";
        let cases: [(&[&str], &str); 8] = [
            (&["trust-domain", "init", "domain", "--trust-domain", "example.org"], "not empty"),
            (&["trust-domain", "init", "new", "--trust-domain", "Example.org"], "normal form"),
            (&["trust-domain", "issue", "nowhere", "--id", agent, "--out", "x"], "cannot read `nowhere`"),
            (&["trust-domain", "issue", "domain", "--id", execution, "--out", "x"], "minted by the broker"),
            (
                &["trust-domain", "issue", "domain", "--id", "spiffe://other.org/a", "--out", "x"],
                "another trust domain",
            ),
            (&["trust-domain", "rotate", "domain", "--retire"], "activate the next ones first"),
            (&["trust-domain", "rotate", "domain"], "required"),
            (&["sandbox", "--config", "nowhere.toml"], "cannot read `nowhere.toml`"),
        ];
        for (words, expected) in cases {
            let output = seb(directory.path(), words);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{words:?}: {said}");
            assert!(said.contains(expected), "{words:?}: {said}");
        }
        let broken = [
            ("listen = 1", "listen"),
            ("unknown = 1", "unknown"),
            (&CONFIG.replace("spiffe://example.org/sab", "sab"), "SPIFFE ID"),
            (&CONFIG.replace("replicas = 3", "replicas = -3"), "`/replicas`"),
            (&CONFIG.replace("\"sandbox\"", "\"nowhere\""), "nowhere"),
        ];
        for (text, expected) in broken {
            fs::write(directory.path().join("broken.toml"), text).unwrap();
            let output = seb(directory.path(), &["sandbox", "--config", "broken.toml"]);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert!(said.contains(expected), "{expected}: {said}");
        }
    }

    #[test]
    fn what_there_is_can_be_shown_and_renewed() {
        let directory = trust_domain();
        let shown = done(directory.path(), &["trust-domain", "show", "domain"]);
        assert_eq!(shown["trust_domain"], "example.org");
        assert_eq!(shown["cas"].as_array().unwrap().len(), 1);
        let with_ca: Vec<&Value> =
            shown["issued"].as_array().unwrap().iter().filter(|it| it["execution_ca"] == true).collect();
        assert_eq!(with_ca.len(), 1);
        assert_eq!(with_ca[0]["id"], "spiffe://example.org/seb");
        assert_eq!(done(directory.path(), &["trust-domain", "renew", "domain"])["issued"], json!([]));
        fs::remove_file(directory.path().join("agent/key.pem")).unwrap();
        let renewed = done(directory.path(), &["trust-domain", "renew", "domain"]);
        assert_eq!(renewed["issued"], json!(["spiffe://example.org/agent"]));
        let text = seb(directory.path(), &["trust-domain", "show", "domain"]);
        let text = String::from_utf8(text.stdout).unwrap();
        assert!(text.contains("trust domain") && text.contains("execution CA until"), "{text}");
    }
}
