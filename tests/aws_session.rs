//! `CreateSession` and `AssumeRole`: the published vectors, and the client against an endpoint that checks what AWS
//! documents.

#[cfg(test)]
#[path = "support/roles_anywhere.rs"]
mod roles_anywhere;

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::time::Duration;

    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
    use der::{Decode, Encode};
    use http::StatusCode;
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
        KeyUsagePurpose, SanType,
    };
    use rustls::crypto::aws_lc_rs::sign::any_supported_type;
    use rustls::sign::CertifiedKey;
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};
    use seb::contract::AwsResource;
    use seb::decision::MutationId;
    use seb::digest::Digest;
    use seb::identity::embedded::{Domain, EmbeddedIssuer, Grant};
    use seb::identity::{ExecutionIdentity, Form, Issuer};
    use seb::target::aws::assume_role::{AssumeRole, AssumeRoleError};
    use seb::target::aws::client::{Client, Settings};
    use seb::target::aws::create_session::{CreateSessionError, RolesAnywhere};
    use seb::target::aws::exchange::{ExchangeError, PerMutation};
    use seb::target::aws::x509::{Algorithm, Prepared, Request, SigningError, signer};
    use seb::timestamp::Timestamp;
    use serde_json::{Value, json};

    use super::roles_anywhere::{self as endpoint, PROFILE, REGION, ROLE, Rules, TRUST_ANCHOR, made_up};

    const ID: &str = "spiffe://example.org/seb/execution/m-7d41c3a0b52e4f68";

    fn vectors() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/aws")
    }

    /// A certificate and key of the vectors, with the intermediate or without.
    fn published(name: &str, with_chain: bool) -> CertifiedKey {
        let read = |file: String| std::fs::read(vectors().join(file)).unwrap();
        let certificate = |file: String| CertificateDer::from_pem_slice(&read(file)).unwrap();
        let mut chain = vec![certificate(format!("{name}.pem"))];
        chain.extend(with_chain.then(|| certificate("intermediate.pem".to_owned())));
        let key = PrivateKeyDer::from_pem_slice(&read(format!("{name}-key.pem"))).unwrap();
        CertifiedKey::new(chain, any_supported_type(&key).unwrap())
    }

    fn prepared(identity: &CertifiedKey, algorithm: Algorithm) -> Prepared {
        let query = [("roleArn", ROLE), ("trustAnchorArn", TRUST_ANCHOR), ("profileArn", PROFILE)];
        let request = Request {
            host: "rolesanywhere.eu-west-1.amazonaws.com",
            region: REGION,
            query: &query,
            headers: &[],
            body: br#"{"durationSeconds":900}"#,
            time: "2026-11-24T09:30:00Z".parse().unwrap(),
        };
        Prepared::new(&request, algorithm, &identity.cert).unwrap()
    }

    /// What of a vector the inputs determine.
    fn vector(prepared: &Prepared, authorization: &str) -> Value {
        json!({
            "time": "2026-11-24T09:30:00Z",
            "query": prepared.query(),
            "headers": prepared.headers().iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
            "body": r#"{"durationSeconds":900}"#,
            "canonical_request": prepared.canonical_request(),
            "string_to_sign": prepared.string_to_sign(),
            "authorization": authorization,
        })
    }

    #[test]
    fn signatures_are_those_of_the_vectors() {
        for (name, with_chain, algorithm) in [("rsa", false, Algorithm::Rsa), ("ecdsa", true, Algorithm::Ecdsa)] {
            let identity = published(name, with_chain);
            let (chosen, signer) = signer(&identity).unwrap();
            assert_eq!(chosen, algorithm);
            let prepared = prepared(&identity, algorithm);
            let path = vectors().join(format!("{name}.json"));
            if std::env::var_os("UPDATE").is_some() {
                let made = vector(&prepared, &prepared.sign(signer.as_ref()).unwrap());
                std::fs::write(&path, format!("{}\n", serde_json::to_string_pretty(&made).unwrap())).unwrap();
            }
            let known: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            let authorization = known["authorization"].as_str().unwrap();
            assert_eq!(vector(&prepared, authorization), known, "{name}");
            match algorithm {
                // RSA with PKCS#1 v1.5 has one signature.
                Algorithm::Rsa => assert_eq!(prepared.sign(signer.as_ref()).unwrap(), authorization),
                Algorithm::Ecdsa => {
                    let (rest, signature) = authorization.split_once("Signature=").unwrap();
                    let signature = base16ct::lower::decode_vec(signature).unwrap();
                    assert!(prepared.authorization(&signature).starts_with(rest));
                    let leaf = x509_cert::Certificate::from_der(&identity.cert[0]).unwrap();
                    let key = leaf.tbs_certificate().subject_public_key_info().to_der().unwrap();
                    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key);
                    key.verify(prepared.string_to_sign().as_bytes(), &signature).unwrap();
                }
            }
        }
    }

    /// A trust anchor that certifies leaves, by an intermediate or itself.
    struct Pki {
        root: CertifiedIssuer<'static, KeyPair>,
        intermediate: CertifiedIssuer<'static, KeyPair>,
    }

    fn ca(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    }

    fn leaf() -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "m-7d41c3a0b52e4f68");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.subject_alt_names = vec![SanType::URI(ID.try_into().unwrap())];
        params
    }

    impl Pki {
        fn new() -> Self {
            let root = CertifiedIssuer::self_signed(ca("root"), KeyPair::generate().unwrap()).unwrap();
            let key = KeyPair::generate().unwrap();
            let intermediate = CertifiedIssuer::signed_by(ca("intermediate"), key, &root).unwrap();
            Self { root, intermediate }
        }

        fn issue(&self, params: CertificateParams) -> CertifiedKey {
            let key = KeyPair::generate().unwrap();
            let leaf = params.signed_by(&key, &self.intermediate).unwrap();
            let chain = vec![leaf.der().clone(), self.intermediate.der().clone()];
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            CertifiedKey::new(chain, any_supported_type(&key).unwrap())
        }

        async fn start(&self) -> endpoint::RolesAnywhere {
            endpoint::RolesAnywhere::start(Rules::new(self.root.der(), made_up()), None).await
        }
    }

    fn roles(origin: &str) -> RolesAnywhere {
        let arn = |text: &str| text.parse().unwrap();
        let endpoint = origin.parse().unwrap();
        RolesAnywhere::new(endpoint, REGION.parse().unwrap(), arn(TRUST_ANCHOR), arn(PROFILE), arn(ROLE)).unwrap()
    }

    fn soon() -> tokio::time::Instant {
        seb::clock::instant() + Duration::from_secs(30)
    }

    fn client() -> Client {
        Client::new(&Settings::default()).unwrap()
    }

    #[tokio::test]
    async fn an_execution_identity_gets_a_session_that_names_it() {
        let pki = Pki::new();
        let server = pki.start().await;
        let session = client().create_session(&roles(&server.origin), &pki.issue(leaf()), soon()).await.unwrap();
        assert_eq!(session.source_identity.as_deref(), Some("CN=m-7d41c3a0b52e4f68"));
        assert_eq!(session.credentials.access_key_id(), "ASIAEXAMPLEEXAMPLE00");
        assert!(session.assumed_role_arn.contains(":assumed-role/seb-execution/"), "{}", session.assumed_role_arn);
        assert_eq!(server.requests().len(), 1);
    }

    /// What AWS refuses is refused, once, and in words.
    async fn refused(server: &endpoint::RolesAnywhere, identity: &CertifiedKey) -> String {
        let before = server.requests().len();
        let error = client().create_session(&roles(&server.origin), identity, soon()).await.unwrap_err();
        assert!(matches!(error, CreateSessionError::Refused { .. }), "{error}");
        assert_eq!(server.requests().len(), before + 1, "a refusal is not tried again");
        error.to_string()
    }

    #[tokio::test]
    async fn i5_no_other_identity_gets_a_session() {
        let pki = Pki::new();
        let server = pki.start().await;
        let other = Pki::new();
        assert!(refused(&server, &other.issue(leaf())).await.contains("Untrusted signing certificate"));
        let mut agent = leaf();
        agent.subject_alt_names = vec![SanType::URI("spiffe://example.org/agent/deployer".try_into().unwrap())];
        assert!(refused(&server, &pki.issue(agent)).await.contains("trust policy"));
        let mut weak = leaf();
        weak.key_usages = vec![KeyUsagePurpose::KeyAgreement];
        assert!(refused(&server, &pki.issue(weak)).await.contains("digitalSignature"));
        // The certificate of one, and the key of another.
        let (one, another) = (pki.issue(leaf()), pki.issue(leaf()));
        let stolen = CertifiedKey::new(one.cert.clone(), Arc::clone(&another.key));
        assert!(refused(&server, &stolen).await.contains("Invalid signature"));
        // Without the intermediate there is no path to the anchor.
        let alone = CertifiedKey::new(vec![one.cert[0].clone()], Arc::clone(&one.key));
        assert!(refused(&server, &alone).await.contains("Untrusted"));
    }

    #[tokio::test]
    async fn what_aws_always_refuses_is_not_sent() {
        let pki = Pki::new();
        let server = pki.start().await;
        let mut nameless = leaf();
        nameless.distinguished_name = DistinguishedName::new();
        let good = pki.issue(leaf());
        let long = CertifiedKey::new(vec![good.cert[0].clone(); 6], Arc::clone(&good.key));
        let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let key = PrivateKeyDer::try_from(p384.serialize_der()).unwrap();
        let p384 = CertifiedKey::new(good.cert.clone(), any_supported_type(&key).unwrap());
        for (identity, expected) in [
            (pki.issue(nameless), SigningError::EmptySubject),
            (long, SigningError::Chain(5)),
            (p384, SigningError::Key),
            (CertifiedKey::new(Vec::new(), Arc::clone(&good.key)), SigningError::NoCertificate),
        ] {
            match client().create_session(&roles(&server.origin), &identity, soon()).await {
                Err(CreateSessionError::Signing(error)) => assert_eq!(error, expected),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(server.requests().len(), 0);
    }

    #[tokio::test]
    async fn what_is_temporary_is_tried_again_and_signed_anew() {
        let pki = Pki::new();
        let server = pki.start().await;
        let throttled = (StatusCode::TOO_MANY_REQUESTS, r#"{"__type":"ThrottlingException"}"#.to_owned());
        server.answer_next([throttled.clone(), (StatusCode::BAD_GATEWAY, "<html>".to_owned())]);
        let identity = pki.issue(leaf());
        client().create_session(&roles(&server.origin), &identity, soon()).await.unwrap();
        let signatures: std::collections::BTreeSet<_> =
            server.requests().iter().map(|request| request.header("authorization").unwrap().to_owned()).collect();
        assert_eq!(signatures.len(), 3);

        // One that fails is tried a few times, one that is throttled until the deadline.
        server.answer_next(vec![(StatusCode::BAD_GATEWAY, "<html>".to_owned()); 4]);
        let error = client().create_session(&roles(&server.origin), &identity, soon()).await.unwrap_err();
        assert!(matches!(error, CreateSessionError::Failed(502)) && error.is_retryable(), "{error}");
        assert_eq!(server.requests().len(), 7, "attempts are bounded");
        server.answer_next(vec![throttled; 100]);
        let deadline = seb::clock::instant() + Duration::from_secs(3);
        let error = client().create_session(&roles(&server.origin), &identity, deadline).await.unwrap_err();
        assert!(matches!(error, CreateSessionError::Throttled(_)) && error.is_retryable(), "{error}");
        assert!(seb::clock::instant() < deadline, "no attempt after it");
    }

    #[tokio::test]
    async fn the_quota_of_aws_is_met_by_waiting() {
        let pki = Pki::new();
        let server = pki.start().await;
        server.configure(|rules| rules.per_second = 2);
        let (client, identity, roles) = (client(), pki.issue(leaf()), roles(&server.origin));
        let all = (0..4).map(|_| client.create_session(&roles, &identity, soon()));
        let made = futures::future::join_all(all).await.into_iter().filter(Result::is_ok).count();
        assert_eq!(made, 4);
        assert!(server.requests().len() > 4, "nothing was throttled");
    }

    #[tokio::test]
    async fn an_answer_ends_at_its_bound_and_at_the_deadline() {
        let pki = Pki::new();
        let server = pki.start().await;
        let identity = pki.issue(leaf());
        server.answer_next(vec![(StatusCode::CREATED, " ".repeat(70_000)); 4]);
        let error = client().create_session(&roles(&server.origin), &identity, soon()).await.unwrap_err();
        assert!(matches!(error, CreateSessionError::Silent(_)), "{error}");
        // A listener that answers nothing.
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", silent.local_addr().unwrap());
        let deadline = seb::clock::instant() + Duration::from_millis(200);
        let error = client().create_session(&roles(&origin), &identity, deadline).await.unwrap_err();
        assert!(error.to_string().contains("no answer in time"), "{error}");
    }

    #[tokio::test]
    async fn only_a_server_that_the_authorities_certify_is_talked_to() {
        let pki = Pki::new();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &pki.root).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let tls = tls.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
        let rules = Rules::new(pki.root.der(), made_up());
        let server = endpoint::RolesAnywhere::start(rules, Some(Arc::new(tls))).await;
        let identity = pki.issue(leaf());
        let settings = Settings { authorities: Some(pki.root.pem()), proxy: None };
        let trusting = Client::new(&settings).unwrap();
        trusting.create_session(&roles(&server.origin), &identity, soon()).await.unwrap();
        let settings = Settings { authorities: Some(Pki::new().root.pem()), proxy: None };
        let wary = Client::new(&settings).unwrap();
        let error = wary.create_session(&roles(&server.origin), &identity, soon()).await.unwrap_err();
        assert!(matches!(error, CreateSessionError::Silent(_)), "{error}");
        assert_eq!(server.requests().len(), 1);
    }

    #[test]
    fn settings_that_cannot_be_used_are_refused() {
        let settings = |authorities: Option<&str>, proxy: Option<&str>| Settings {
            authorities: authorities.map(str::to_owned),
            proxy: proxy.map(str::to_owned),
        };
        assert!(Client::new(&settings(Some("not PEM"), None)).is_err());
        assert!(
            Client::new(&settings(Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), None))
                .is_err()
        );
        assert!(Client::new(&settings(None, Some("no proxy"))).is_err());
        assert!(Client::new(&settings(None, Some("http://user:secret@127.0.0.1:3128"))).is_err());
        assert!(Client::new(&settings(None, Some("http://127.0.0.1:3128"))).is_ok());
    }

    /// What STS answers, but for the time.
    fn assumed(name: &str, expiration: Timestamp) -> String {
        format!(
            r#"<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
            <AssumedRoleUser><AssumedRoleId>AROA:{name}</AssumedRoleId>
            <Arn>arn:aws:sts::123456789012:assumed-role/seb-target/{name}</Arn></AssumedRoleUser>
            <Credentials><AccessKeyId>ASIAEXAMPLEEXAMPLE01</AccessKeyId><SecretAccessKey>narrow-secret</SecretAccessKey>
            <SessionToken>narrow-token</SessionToken><Expiration>{expiration}</Expiration></Credentials>
            <PackedPolicySize>12</PackedPolicySize><SourceIdentity>CN=m-1</SourceIdentity>
            </AssumeRoleResult></AssumeRoleResponse>"#
        )
    }

    fn after(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(seb::clock::now().unwrap().seconds() + seconds).unwrap()
    }

    fn error(status: StatusCode, code: &str) -> (StatusCode, String) {
        let text = format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>"
        );
        (status, text)
    }

    /// The second call, as STS would see it, and what comes of each answer.
    #[tokio::test]
    async fn i5_the_second_session_is_asked_with_policy_name_and_tags() {
        let pki = Pki::new();
        let server = pki.start().await;
        let client = client();
        let first = client.create_session(&roles(&server.origin), &pki.issue(leaf()), soon()).await.unwrap();
        let role = "arn:aws:iam::123456789012:role/seb-target".parse().unwrap();
        let policy = r#"{"Version":"2012-10-17","Statement":[]}"#;
        let tags = vec![("seb:mutation".to_owned(), "m-1".to_owned())];
        let asked = AssumeRole::new(role, "m-1", policy.to_owned(), None, tags).unwrap();
        let (sts, region) = (server.origin.parse().unwrap(), REGION.parse().unwrap());
        let ask = || client.assume_role((&sts, &region), &first.credentials, &asked, soon());

        server
            .answer_next([error(StatusCode::BAD_REQUEST, "Throttling"), (StatusCode::OK, assumed("m-1", after(900)))]);
        let session = ask().await.unwrap();
        assert_eq!(session.credentials.secret_access_key(), "narrow-secret");
        assert_eq!(session.credentials.session_token(), "narrow-token");
        assert_eq!(session.packed_policy_percent, Some(12));
        assert!(!format!("{session:?}").contains("narrow"), "{session:?}");
        let request = server.requests().pop().unwrap();
        let body = String::from_utf8(request.body.clone()).unwrap();
        for part in [
            "Action=AssumeRole",
            "RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fseb-target",
            "RoleSessionName=m-1",
            "Policy=%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%5D%7D",
            "DurationSeconds=900",
            "Tags.member.1.Key=seb%3Amutation",
            "Tags.member.1.Value=m-1",
        ] {
            assert!(body.contains(part), "{part}: {body}");
        }
        assert!(!body.contains("SourceIdentity") && !body.contains("TransitiveTagKeys"), "{body}");
        assert_eq!(request.header("x-amz-security-token"), Some(first.credentials.session_token()));
        let scope = "/eu-west-1/sts/aws4_request";
        assert!(request.header("authorization").unwrap().contains(scope), "{:?}", request.header("authorization"));

        for (answer, expected) in [
            (error(StatusCode::FORBIDDEN, "AccessDenied"), "STS refuses the session (AccessDenied): no"),
            (
                error(StatusCode::BAD_REQUEST, "PackedPolicyTooLarge"),
                "does not take the request (PackedPolicyTooLarge)",
            ),
            ((StatusCode::OK, assumed("m-2", after(900))), "a session of another role or name"),
            ((StatusCode::OK, assumed("m-1", after(7200))), "a session that ends at"),
            ((StatusCode::OK, "<html>".to_owned()), "not one of STS"),
        ] {
            server.answer_next([answer]);
            let before = server.requests().len();
            let error: AssumeRoleError = ask().await.unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert!(!error.is_retryable() && !format!("{error:?}").contains("narrow"), "{error:?}");
            assert_eq!(server.requests().len(), before + 1);
        }
    }

    /// A trust domain of its own, as a broker has it.
    struct World {
        issuer: EmbeddedIssuer,
        anchor: Vec<u8>,
        _directory: tempfile::TempDir,
    }

    impl World {
        async fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let now = seb::clock::now().unwrap();
            let trust_domain = spiffe::TrustDomain::new("example.org").unwrap();
            let domain = Domain::init(&directory.path().join("domain"), &trust_domain, now).unwrap();
            let broker = directory.path().join("seb");
            let id = spiffe::SpiffeId::new("spiffe://example.org/seb").unwrap();
            domain.issue(Grant::new(id, broker.clone(), Duration::from_secs(3600), true), now).unwrap();
            let anchor = CertificateDer::from_pem_file(broker.join("execution-bundle.pem")).unwrap().to_vec();
            Self { issuer: EmbeddedIssuer::open(&broker).await.unwrap(), anchor, _directory: directory }
        }

        async fn mint(&self, ordinal: u32) -> ExecutionIdentity {
            let mutation = MutationId::derive(&Digest::of(b"certificate"), &"step".parse().unwrap(), ordinal);
            let now = seb::clock::now().unwrap();
            let end = now.saturating_add(Duration::from_secs(30));
            let plan = self.issuer.plan(&mutation, Form::X509, now, end).unwrap();
            self.issuer.mint(plan).await.unwrap()
        }
    }

    fn scaling(account: &str) -> AwsResource {
        AwsResource {
            account: account.to_owned(),
            region: REGION.to_owned(),
            actions: vec!["autoscaling:SetDesiredCapacity".parse().unwrap()],
            arns: vec![
                "arn:aws:autoscaling:eu-west-1:123456789012:autoScalingGroup:1:autoScalingGroupName/shop".to_owned(),
            ],
            read: None,
        }
    }

    fn with_source(source: &str, name: &str) -> String {
        assumed(name, after(900)).replace("CN=m-1", source)
    }

    /// The whole way, by the identities that the broker mints; at the most talkative level nothing secret is logged.
    #[tokio::test]
    async fn i5_an_execution_identity_becomes_a_session_for_its_call_and_nothing_is_logged() {
        let log = Log::default();
        let guard = log.everything();
        let world = World::new().await;
        let server = endpoint::RolesAnywhere::start(Rules::new(&world.anchor, made_up()), None).await;
        let sts = Pki::new().start().await;
        let role = "arn:aws:iam::123456789012:role/seb-target".parse().unwrap();
        let exchange = PerMutation::new(client(), roles(&server.origin), sts.origin.parse().unwrap(), role);

        let identity = world.mint(1).await;
        let (mutation, end) = (identity.plan().mutation().to_string(), identity.plan().not_after());
        sts.answer_next([(StatusCode::OK, with_source(&format!("CN={mutation}"), &mutation))]);
        let session = exchange.session(identity, &scaling(endpoint::ACCOUNT), soon()).await.unwrap();
        assert_eq!(session.credentials.session_token(), "narrow-token");
        assert_eq!((server.requests().len(), sts.requests().len()), (1, 1));
        let body = String::from_utf8(sts.requests().pop().unwrap().body).unwrap();
        assert!(body.contains(&format!("RoleSessionName={mutation}")), "{body}");
        assert!(body.contains(&format!("Tags.member.1.Value={mutation}")), "{body}");
        let end = end.to_string().replace(':', "%3A");
        assert!(body.contains("NotAction%22%3A%22autoscaling%3ASetDesiredCapacity") && body.contains(&end), "{body}");

        // A session that is another mutation's is not used.
        let identity = world.mint(2).await;
        let mutation = identity.plan().mutation().to_string();
        sts.answer_next([(StatusCode::OK, with_source("CN=another", &mutation))]);
        let error = exchange.session(identity, &scaling(endpoint::ACCOUNT), soon()).await.unwrap_err();
        assert!(matches!(error, ExchangeError::SourceIdentity(_)), "{error}");

        // What can be known before a call is an error before it.
        let error = exchange.session(world.mint(3).await, &scaling("999999999999"), soon()).await.unwrap_err();
        assert!(matches!(error, ExchangeError::Account { .. }), "{error}");
        let mut wide = scaling(endpoint::ACCOUNT);
        wide.arns = (0..40).map(|number| format!("arn:aws:s3:::{number}-{}", "b".repeat(60))).collect();
        let error = exchange.session(world.mint(4).await, &wide, soon()).await.unwrap_err();
        assert!(matches!(error, ExchangeError::Policy(_)) && !error.is_retryable(), "{error}");
        assert_eq!((server.requests().len(), sts.requests().len()), (2, 2));

        drop(guard);
        let text = log.text();
        assert!(text.contains("transmitting request"), "the log is that of the SDK too");
        for secret in ["narrow-secret", "narrow-token", "made/up+secret", "made-up-token"] {
            assert!(!text.contains(secret), "{secret} is in the log");
        }
    }

    /// Everything that is logged in this thread.
    #[derive(Clone, Default)]
    struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

    impl Log {
        fn everything(&self) -> tracing::subscriber::DefaultGuard {
            let log = self.clone();
            let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
            tracing::subscriber::set_default(subscriber.with_writer(move || log.clone()).finish())
        }

        fn text(&self) -> String {
            String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
        }
    }

    impl std::io::Write for Log {
        fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(octets);
            Ok(octets.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}
