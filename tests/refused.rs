//! What must not be executed is not, through the real server: each refusal with its public reason, the exact reason in the
//! record, and nothing done at the target.

#[cfg(test)]
#[path = "support/vectors.rs"]
mod vectors;
#[cfg(test)]
mod world;

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use seb::attribute_certificate::{parse, profile};
    use seb::digest::Digest;
    use seb::identity::embedded::{Domain, Grant};
    use seb::proto::seb::v1::execution::State;
    use seb::proto::seb::v1::{CheckRequest, ExecuteRequest};
    use seb::reason::{PUBLIC_UNAUTHENTICATED, Reason, Verdict};
    use seb::record::Decided;
    use seb::sab::authority::Authority;
    use serde_json::json;
    use spiffe::TrustDomain;
    use tonic_types::StatusExt as _;

    use crate::vectors::Manifest;
    use crate::world::authority::Manner;
    use crate::world::broker::{Local, Settings, execute, reason};
    use crate::world::{Certificate, EPOCH, PATIENCE, World, id, now, value};

    /// Where the rows play: one world, and one service of 3 replicas that nobody changes.
    struct Stage {
        world: World,
        broker: Local,
        uid: String,
        /// The newest record that was looked at.
        seen: AtomicU64,
    }

    /// What is sent, and by whom.
    struct Sent {
        ask: ExecuteRequest,
        by_other: bool,
    }

    impl From<ExecuteRequest> for Sent {
        fn from(ask: ExecuteRequest) -> Self {
            Self { ask, by_other: false }
        }
    }

    type Prepared<'s> = Pin<Box<dyn Future<Output = Sent> + 's>>;

    /// One way in which something is wrong, and what is said of it.
    struct Row {
        name: &'static str,
        public: &'static str,
        /// The reason in the record; none where nothing is recorded because nothing could be read.
        exact: Option<&'static str>,
        prepare: for<'s> fn(&'s Stage) -> Prepared<'s>,
    }

    macro_rules! rows {
        ($($name:literal $public:literal $exact:expr, |$stage:ident| $sent:expr;)+) => {
            [$(Row {
                name: $name,
                public: $public,
                exact: $exact,
                prepare: |$stage: &Stage| Box::pin(async move { Sent::from($sent) }),
            },)+]
        };
    }

    impl Stage {
        async fn new(settings: &Settings) -> Self {
            let world = World::new().await;
            let broker = world.broker(settings).await;
            let uid = world.production.create("checkout", 3).await;
            Self { world, broker, uid, seen: AtomicU64::new(0) }
        }

        fn certificate(&self) -> Certificate {
            Certificate::scale("checkout", &self.uid)
        }

        fn ask(&self, certificate: Certificate) -> ExecuteRequest {
            self.world.ask(&certificate, 20)
        }

        /// The ordinary request, changed.
        fn wrong(&self, change: impl FnOnce(&mut ExecuteRequest)) -> ExecuteRequest {
            let mut ask = self.ask(self.certificate());
            change(&mut ask);
            ask
        }

        /// The ordinary request under a changed certificate.
        fn certified(&self, change: impl FnOnce(&mut Certificate)) -> ExecuteRequest {
            self.ask(self.certificate().with(change))
        }

        /// The ordinary request under a certificate whose contract differs in one value.
        fn set(&self, pointer: &str, value: serde_json::Value) -> ExecuteRequest {
            self.ask(self.certificate().set(pointer, value))
        }

        fn authority(&self, name: &str) -> Authority {
            Authority::in_folder(&self.world.path(name)).unwrap()
        }

        /// A certificate over a service of its own that has drifted since.
        async fn drifted(&self, name: &str, patch: serde_json::Value) -> ExecuteRequest {
            let certificate = self.world.scale(name).await;
            self.world.production.drift(name, &patch).await;
            self.ask(certificate)
        }

        /// Waits until the broker would deny the ordinary request for this reason.
        async fn until(&self, expected: &str) {
            let request = Some(self.ask(self.certificate()));
            let denied = async {
                loop {
                    let mut agent = self.broker.clients.agent.clone();
                    let checked = agent.check(CheckRequest { request: request.clone() }).await.unwrap().into_inner();
                    if checked.denials.first().is_some_and(|denial| denial.reason == expected) {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(PATIENCE, denied).await.unwrap_or_else(|_| panic!("it is never `{expected}`"));
        }

        /// The number of the newest record.
        async fn head(&self) -> u64 {
            let head = self.broker.clients.head(self.seen.load(Ordering::SeqCst)).await;
            self.seen.store(head, Ordering::SeqCst);
            head
        }

        /// Plays one row.
        async fn play(&self, row: &Row) {
            let name = row.name;
            let sent = (row.prepare)(self).await;
            let clients = &self.broker.clients;
            let (audit, head) = (self.world.production.audit(), self.head().await);
            let client = if sent.by_other { &clients.other } else { &clients.agent };
            let answer = execute(client, &sent.ask).await;
            let status = answer.err().unwrap_or_else(|| panic!("{name}: it was executed"));
            assert_eq!(reason(&status), row.public, "{name}: {status:?}");
            if row.public == PUBLIC_UNAUTHENTICATED {
                assert_eq!(status.message(), "the certificate was refused", "{name}");
            }
            assert_eq!(self.world.production.audit(), audit, "{name}: something happened at the target");
            let decisions = clients.decisions(head).await;
            let recorded: Vec<_> =
                decisions.iter().map(|decision| (decision.about.decision, decision.about.reason)).collect();
            let expected: Vec<_> =
                row.exact.iter().map(|exact| (Some(Decided::Deny), Some(exact.parse().unwrap()))).collect();
            assert_eq!(recorded, expected, "{name}");
            // Who is refused can name the record to whoever may read it.
            let number = decisions.first().map(|decision| decision.link.number.to_string());
            let info = status.get_details_error_info().unwrap();
            assert_eq!(info.metadata.get("record"), number.as_ref(), "{name}");
        }

        /// The records verify, and an ordinary request still succeeds.
        async fn end(self) {
            let ask = self.world.ask(&self.world.scale("ordinary").await.with(|c| c.revocation_epoch = EPOCH + 1), 20);
            let ask = match self.broker.clients.execute(&ask).await {
                Err(status) if reason(&status) == "epoch_behind" => {
                    self.world.ask(&self.world.scale("ordinary-two").await, 20)
                }
                _ => ask,
            };
            assert_eq!(self.broker.clients.execute(&ask).await.unwrap().state(), State::Succeeded);
            self.broker.stop().await;
            self.world.verified().await;
        }
    }

    /// The authority of another trust domain of the same name: nothing of it is in the broker's bundle.
    fn foreign(stage: &Stage) -> Authority {
        let folder = stage.world.path("foreign");
        let domain = Domain::init(&folder.join("domain"), &TrustDomain::new("example.org").unwrap(), now()).unwrap();
        let life = Duration::from_secs(3600);
        domain.issue(Grant::new(id("sab"), folder.join("sab"), life, false), now()).unwrap();
        Authority::in_folder(&folder.join("sab")).unwrap()
    }

    /// Another octet in place of the first one of `text`.
    fn tamper(octets: &mut [u8], text: &str) {
        let place = octets.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
        octets[place] ^= 1;
    }

    fn digest(certificate: &[u8]) -> Digest {
        profile(parse(certificate).unwrap()).unwrap().digest()
    }

    const EVERYTHING: &[Row] = &rows! {
        // -- the ten classes
        "expired" "expired" Some("expired"), |stage| stage.ask(stage.certificate().valid(-120, -60));
        "not yet valid" "not_yet_valid" Some("not_yet_valid"), |stage| stage.ask(stage.certificate().valid(60, 600));
        "replayed with another value" "replayed" Some("replayed"), |stage| {
            let mut ask = stage.world.ask(&stage.world.scale("replayed").await, 20);
            stage.broker.clients.execute(&ask).await.unwrap();
            ask.values = vec![value("/replicas", "21")];
            ask
        };
        "tampered contract" "certificate_refused" Some("signature_invalid"),
            |stage| stage.wrong(|ask| tamper(&mut ask.certificate, "checkout"));
        "tampered signature" "certificate_refused" Some("signature_invalid"),
            |stage| stage.wrong(|ask| *ask.certificate.last_mut().unwrap() ^= 1);
        "another agent's" "wrong_holder" Some("wrong_holder"),
            |stage| Sent { ask: stage.ask(stage.certificate()), by_other: true };
        "bound to another key" "wrong_holder_key" Some("wrong_holder_key"),
            |stage| stage.certified(|it| it.holder_key = Some(Digest::of(b"key")));
        "another broker's" "wrong_broker" Some("wrong_broker"), |stage| stage.certified(|it| it.broker = id("seb-two"));
        "unknown target" "target_unknown" Some("target_unknown"), |stage| stage.set("/target/name", json!("nowhere"));
        "stale policy epoch" "policy_epoch_stale" Some("policy_epoch_stale"),
            |stage| stage.certified(|it| it.policy_epoch = EPOCH - 1);
        "stale revocation epoch" "revocation_epoch_stale" Some("revocation_epoch_stale"),
            |stage| stage.certified(|it| it.revocation_epoch = EPOCH - 1);
        "revoked certificate" "revoked_certificate" Some("revoked_certificate"), |stage| {
            let ask = stage.ask(stage.certificate());
            let certificate = digest(&ask.certificate);
            stage.world.epochs.say(|says| says.revoked.certificates.insert(certificate)).await;
            ask
        };
        "revoked contract" "revoked_contract" Some("revoked_contract"), |stage| {
            let certificate = stage.world.scale("revoked").await;
            let contract = certificate.contract().digest();
            stage.world.epochs.say(|says| says.revoked.contracts.insert(contract)).await;
            stage.ask(certificate)
        };
        "revoked holder" "revoked_holder" Some("revoked_holder"), |stage| {
            stage.world.epochs.say(|says| says.revoked.holders.insert(id("agent/two"))).await;
            Sent { ask: stage.certified(|it| it.holder = id("agent/two")), by_other: true }
        };
        "drifted field" "drift_field" Some("drift_field"),
            |stage| stage.drifted("drifted-field", json!({ "replicas": 7 })).await;
        "drifted version" "drift_version" Some("drift_version"), |stage| {
            let mut certificate = stage.world.scale("drifted-version").await;
            let uid = certificate.contract["steps"][0]["baseline"]["identity"].clone();
            certificate.contract["steps"][0]["baseline"] = json!({ "mode": "exact", "identity": uid, "version": "1" });
            stage.world.production.drift("drifted-version", &json!({ "public": true })).await;
            stage.ask(certificate)
        };
        "another object of the name" "drift_identity" Some("drift_identity"),
            |stage| stage.set("/steps/0/baseline/identity", json!("0123456789abcdef0123456789abcdef"));
        "no such object any more" "drift_presence" Some("drift_presence"),
            |stage| stage.ask(Certificate::scale("never-was", &stage.uid));
        "forged authority" "certificate_refused" Some("authority_untrusted"),
            |stage| stage.world.ask_of(&foreign(stage), &stage.certificate(), 20);
        "an authority that is not listed" "certificate_refused" Some("authority_unknown"),
            |stage| stage.world.ask_of(&stage.authority("sab-rogue"), &stage.certificate(), 20);
        "another authority's chain" "certificate_refused" Some("authority_name_mismatch"),
            |stage| stage.wrong(|ask| ask.chain = stage.authority("sab-two").chain().to_vec());
        // -- more about certificates
        "no chain" "certificate_refused" Some("chain_missing"), |stage| stage.wrong(|ask| ask.chain.clear());
        "no certificate" "invalid_request" None, |stage| stage.wrong(|ask| ask.certificate.clear());
        "too large a certificate" "certificate_refused" Some("certificate_too_large"),
            |stage| stage.wrong(|ask| ask.certificate = vec![0; 70_000]);
        "a certificate of megabytes" "certificate_refused" Some("certificate_too_large"),
            |stage| stage.wrong(|ask| ask.certificate = vec![0x30; 5_000_000]);
        "too long a chain" "certificate_refused" Some("chain_bounds"),
            |stage| stage.wrong(|ask| ask.chain = vec![ask.chain[0].clone(); 6]);
        "a chain of thousands" "certificate_refused" Some("chain_bounds"),
            |stage| stage.wrong(|ask| ask.chain = vec![vec![0x30]; 100_000]);
        "an empty certificate in the chain" "certificate_refused" Some("chain_encoding"),
            |stage| stage.wrong(|ask| ask.chain.push(Vec::new()));
        "octets after the end" "certificate_refused" Some("certificate_encoding"),
            |stage| stage.wrong(|ask| ask.certificate.push(0));
        "half a certificate" "certificate_refused" Some("certificate_encoding"),
            |stage| stage.wrong(|ask| ask.certificate.truncate(ask.certificate.len() / 2));
        "an epoch to come" "epoch_behind" Some("epoch_behind"), |stage| stage.certified(|it| it.policy_epoch = EPOCH + 9);
        // -- what the agent chose
        "out of bounds" "parameter_out_of_bounds" Some("parameter_out_of_bounds"),
            |stage| stage.wrong(|ask| ask.values = vec![value("/replicas", "51")]);
        "wrong type" "parameter_type" Some("parameter_type"),
            |stage| stage.wrong(|ask| ask.values = vec![value("/replicas", "\"20\"")]);
        "unknown parameter" "parameter_unknown" Some("parameter_unknown"),
            |stage| stage.wrong(|ask| ask.values.push(value("/image", "\"evil:1\"")));
        "missing parameter" "parameter_missing" Some("parameter_missing"), |stage| stage.wrong(|ask| ask.values.clear());
        "a value twice" "invalid_request" None, |stage| stage.wrong(|ask| ask.values.push(value("/replicas", "21")));
        "a body nobody asked for" "body_unexpected" Some("body_unexpected"),
            |stage| stage.wrong(|ask| ask.body = Some(b"{}".to_vec()));
        "missing body" "body_missing" Some("body_missing"), |stage| {
            let mut ask = stage.ask(detached(stage));
            ask.values.clear();
            ask
        };
        "another body" "body_mismatch" Some("body_mismatch"), |stage| {
            let mut ask = stage.ask(detached(stage));
            ask.values.clear();
            ask.body = Some(BODY.replace("20", "21").into_bytes());
            ask
        };
        "another contract than expected" "contract_mismatch" Some("contract_mismatch"),
            |stage| stage.wrong(|ask| ask.expected_contract = Digest::of(b"another").to_string());
        "unknown step" "step_unknown" Some("step_unknown"), |stage| stage.wrong(|ask| "roll-back".clone_into(&mut ask.step));
        "no idempotency key" "idempotency_key_missing" Some("idempotency_key_missing"),
            |stage| stage.set("/limits/uses", json!(2));
        "a step that is not first" "contract_steps_unsupported" Some("contract_steps_unsupported"), |stage| {
            let mut certificate = stage.certificate();
            let mut second = certificate.contract["steps"][0].clone();
            second["name"] = json!("promote");
            certificate.contract["steps"].as_array_mut().unwrap().push(second);
            let mut ask = stage.ask(certificate);
            "promote".clone_into(&mut ask.step);
            ask
        };
        // -- ceilings
        "verb above the ceiling" "ceiling_verb" Some("ceiling_verb"), |stage| stage.set("/steps/0/mutation/verb", json!("replace"));
        "resource above the ceiling" "ceiling_resource" Some("ceiling_resource"),
            |stage| stage.set("/steps/0/mutation/resource/collection", json!("feature-flags"));
        "value above the ceiling" "ceiling_parameter" Some("ceiling_parameter"),
            |stage| stage.wrong(|ask| ask.values = vec![value("/replicas", "45")]);
        "validity above the ceiling" "ceiling_validity" Some("ceiling_validity"),
            |stage| stage.ask(stage.certificate().valid(-60, 7200));
        "deadline above the ceiling" "ceiling_deadline" Some("ceiling_deadline"),
            |stage| stage.set("/deadline_seconds", json!(31));
        "uses above the ceiling" "ceiling_uses" Some("ceiling_uses"), |stage| {
            let mut ask = stage.set("/limits/uses", json!(4));
            "one".clone_into(&mut ask.idempotency_key);
            ask
        };
        "a target that is not this authority's" "epoch_unknown" Some("epoch_unknown"),
            |stage| stage.world.ask_of(&stage.authority("sab-two"), &stage.certificate(), 20);
        "an authority that was never heard" "epoch_unknown" Some("epoch_unknown"), |stage| {
            let certificate = stage.certificate().set("/target/name", json!("elsewhere"));
            stage.world.ask_of(&stage.authority("sab-two"), &certificate, 20)
        };
        // -- the world
        "a target that cannot be read" "live_state_unknown" Some("live_state_unknown"),
            |stage| stage.set("/target/name", json!("elsewhere"));
        "uses before their spacing" "use_spacing" Some("use_spacing"), |stage| {
            let mut certificate = stage.world.scale("spaced").await;
            certificate.contract["limits"]["uses"] = json!(2);
            certificate.contract["limits"]["spacing_seconds"] = json!(300);
            let mut ask = stage.world.ask(&certificate, 3);
            "one".clone_into(&mut ask.idempotency_key);
            stage.broker.clients.execute(&ask).await.unwrap();
            "two".clone_into(&mut ask.idempotency_key);
            ask
        };
        "uses exhausted" "uses_exhausted" Some("uses_exhausted"), |stage| {
            let mut certificate = stage.world.scale("exhausted").await;
            certificate.contract["limits"]["uses"] = json!(2);
            let mut ask = stage.world.ask(&certificate, 3);
            for key in ["one", "two"] {
                key.clone_into(&mut ask.idempotency_key);
                assert_eq!(stage.broker.clients.execute(&ask).await.unwrap().state(), State::Succeeded);
            }
            "three".clone_into(&mut ask.idempotency_key);
            ask
        };
        "revoked target" "revoked_target" Some("revoked_target"), |stage| {
            stage.world.epochs.say(|says| says.revoked.targets.insert("elsewhere".parse().unwrap())).await;
            stage.set("/target/name", json!("elsewhere"))
        };
        "everything revoked" "revocation_epoch_stale" Some("revocation_epoch_stale"), |stage| {
            let ask = stage.ask(stage.certificate());
            stage.world.epochs.say(|says| says.revocation_epoch = EPOCH + 1).await;
            ask
        };
    };

    const BODY: &str = r#"{"replicas":20}"#;

    fn detached(stage: &Stage) -> Certificate {
        let mut certificate = stage.certificate();
        let mutation = certificate.contract["steps"][0]["mutation"].as_object_mut().unwrap();
        mutation.remove("body");
        mutation.remove("parameters");
        let digest = Digest::of(BODY.as_bytes());
        let body = json!({ "media_type": "application/json", "size": BODY.len(), "digest": digest });
        mutation.insert("detached".to_owned(), body);
        certificate
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn i9_everything_that_is_wrong_is_refused_for_its_reason() {
        let stage = Stage::new(&Settings::default()).await;
        for row in EVERYTHING {
            stage.play(row).await;
        }
        stage.end().await;
    }

    /// What the broker knows is old, or cannot be trusted: each row begins when it is fresh.
    const KNOWLEDGE: &[Row] = &rows! {
        "the authority is silent" "epoch_stale" Some("epoch_stale"), |stage| stage.misled(Manner::Silent, "epoch_stale").await;
        "the authority cannot be asked" "epoch_stale" Some("epoch_stale"), |stage| stage.misled(Manner::Deaf, "epoch_stale").await;
        "a statement again" "epoch_stale" Some("epoch_stale"), |stage| stage.misled(Manner::Repeating, "epoch_stale").await;
        "a statement from before" "epoch_stale" Some("epoch_stale"), |stage| stage.misled(Manner::Regressing, "epoch_stale").await;
        "two statements of one sequence" "epoch_stale" Some("epoch_stale"), |stage| stage.misled(Manner::Forked, "epoch_stale").await;
        "a revocation taken back" "epoch_stale" Some("epoch_stale"), |stage| {
            stage.world.epochs.say(|says| says.revoked.holders.insert(id("agent/gone"))).await;
            stage.misled(Manner::Unrevoking, "epoch_stale").await
        };
        "another authority's signature" "epoch_stale" Some("epoch_stale"), |stage| {
            let rogue = std::sync::Arc::new(stage.authority("sab-rogue"));
            stage.misled(Manner::Signed(rogue), "epoch_stale").await
        };
        "a damaged statement" "epoch_stale" Some("epoch_stale"), |stage| stage.misled(Manner::Damaged, "epoch_stale").await;
        "the authority's clock is ahead" "clock_skew" Some("clock_skew"), |stage| stage.misled(Manner::Skewed(10_000), "clock_skew").await;
        "the broker's clock jumps forwards" "clock_skew" Some("clock_skew"), |stage| {
            stage.broker.clock.step(30_000);
            stage.ask(stage.certificate())
        };
        "the broker's clock jumps back" "clock_skew" Some("clock_skew"), |stage| {
            stage.broker.clock.step(-5_000);
            stage.ask(stage.certificate())
        };
    };

    impl Stage {
        /// The ordinary request, sent when the authority has behaved so for as long as it takes.
        async fn misled(&self, manner: Manner, until: &str) -> ExecuteRequest {
            self.world.epochs.behave(manner);
            self.until(until).await;
            self.ask(self.certificate())
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn i2_whatever_makes_knowledge_old_or_doubtful_denies() {
        let stage = Stage::new(&Settings { staleness_ms: 1500, ..Settings::default() }).await;
        let mut stepped = 0;
        for row in KNOWLEDGE {
            stage.play(row).await;
            // The world becomes right again.
            match row.name {
                "the broker's clock jumps forwards" => stepped = 30_000,
                "the broker's clock jumps back" => stepped = -5_000,
                "the authority's clock is ahead" => tokio::time::sleep(Duration::from_secs(10)).await,
                _ => {}
            }
            stage.broker.clock.step(-std::mem::take(&mut stepped));
            stage.world.epochs.behave(Manner::Honest);
            stage.world.epochs.heard().await;
        }
        stage.end().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn i10_the_agents_rate_is_bounded() {
        let stage = Stage::new(&Settings { agent_rate: 2, ..Settings::default() }).await;
        for name in ["one", "two"] {
            let ask = stage.world.ask(&stage.world.scale(name).await, 20);
            assert_eq!(stage.broker.clients.execute(&ask).await.unwrap().state(), State::Succeeded);
        }
        let rows = rows! {
            "one too many" "ceiling_rate_agent" Some("ceiling_rate_agent"), |stage| stage.ask(stage.certificate());
        };
        stage.play(&rows[0]).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn i9_an_unproven_boundary_denies() {
        let stage = Stage::new(&Settings { boundary: "enforce", ..Settings::default() }).await;
        let rows = rows! {
            "nothing proves the boundary" "boundary_unproven" Some("boundary_unproven"), |stage| stage.ask(stage.certificate());
        };
        stage.play(&rows[0]).await;
    }

    /// None of the published vectors is of this world, so each is refused: for the rule that it breaks where that shows
    /// before its authority is looked for, and with the same answer for all.
    #[tokio::test(flavor = "multi_thread")]
    async fn every_published_vector_is_refused_alike() {
        let stage = Stage::new(&Settings::default()).await;
        let mut count = 0;
        for vector in Manifest::load().vectors {
            let file = vector.file();
            let read = seb::attribute_certificate::read_file(&file);
            let chain =
                vector.chain().or_else(|| read.as_ref().ok().map(|file| file.chain.clone())).unwrap_or_default();
            let certificate = read.map_or(file, |file| file.certificate);
            let head = stage.head().await;
            let ask = ExecuteRequest { certificate, chain, ..ExecuteRequest::default() };
            let status = stage.broker.clients.execute(&ask).await.unwrap_err();
            let name = &vector.name;
            let recorded = stage.broker.clients.decisions(head).await;
            if reason(&status) == "invalid_request" {
                assert!(recorded.is_empty(), "{name}");
                continue;
            }
            assert_eq!(reason(&status), PUBLIC_UNAUTHENTICATED, "{name}");
            assert_eq!(status.message(), "the certificate was refused", "{name}");
            let exact = recorded[0].about.reason.unwrap();
            match vector.expected() {
                Some((Verdict::Parse | Verdict::Profile, expected)) if expected != Reason::CertificatePem => {
                    assert_eq!(exact, expected, "{name}");
                }
                Some((Verdict::Parse, _)) => assert_eq!(exact.verdict(), Verdict::Parse, "{name}"),
                _ => assert_eq!(exact.verdict(), Verdict::Signature, "{name}"),
            }
            count += 1;
        }
        assert!(count > 50, "{count}");
        assert_eq!(stage.world.production.audit(), Vec::<serde_json::Value>::new());
        stage.end().await;
    }
}
