use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::identity::{Identity, Svid};

fn domain() -> TrustDomain {
    TrustDomain::new("other.org").unwrap()
}

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
}

fn ca(domain: &str) -> Ca {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.subject_alt_names = vec![SanType::URI(format!("spiffe://{domain}").as_str().try_into().unwrap())];
    let der = params.self_signed(&key).unwrap().der().to_vec();
    Ca { issuer: Issuer::new(params, key), der }
}

fn key(der: &[u8]) -> String {
    format!(r#"{{"use":"x509-svid","kty":"EC","x5c":["{}"]}}"#, Base64::encode_string(der))
}

fn document(keys: &[String], more: &str) -> String {
    format!(r#"{{"keys":[{}]{more}}}"#, keys.join(","))
}

#[test]
fn a_document_is_read_strictly() {
    let (a, b) = (ca("other.org"), ca("other.org"));
    let read = |text: &str| read(&domain(), text.as_bytes());
    let jwt = r#"{"use":"jwt-svid","kid":"1","kty":"EC"}"#.to_owned();
    let good = document(&[key(&a.der), jwt.clone(), key(&b.der)], r#","spiffe_sequence":3,"spiffe_refresh_hint":60"#);
    let (bundle, refresh) = read(&good).unwrap();
    assert_eq!(bundle.certificates(), [a.der.clone(), b.der.clone()]);
    assert_eq!((bundle.source(), refresh), (TrustSource::BundleEndpoint, Duration::from_secs(60)));
    for (hint, expected) in [("", REFRESH), (",\"spiffe_refresh_hint\":0", REFRESH_BOUNDS.0)] {
        assert_eq!(read(&document(&[key(&a.der)], hint)).unwrap().1, expected);
    }
    let long = read(&document(&[key(&a.der)], ",\"spiffe_refresh_hint\":9999999")).unwrap().1;
    assert_eq!(long, REFRESH_BOUNDS.1);
    let two = format!(r#"{{"use":"x509-svid","x5c":["{0}","{0}"]}}"#, Base64::encode_string(&a.der));
    for bad in [
        String::new(),
        "[]".to_owned(),
        r#"{"keys":{}}"#.to_owned(),
        document(&[], ""),
        document(&[jwt], ""),
        document(&[r#"{"kty":"EC"}"#.to_owned()], ""),
        document(&[r#"{"use":"x509-svid","kty":"EC"}"#.to_owned()], ""),
        document(&[r#"{"use":"x509-svid","x5c":["!"]}"#.to_owned()], ""),
        document(&[two], ""),
        document(&[key(b"nonsense")], ""),
        document(&[key(&a.der)], r#","spiffe_refresh_hint":-1"#),
        document(&[key(&a.der)], r#","spiffe_refresh_hint":"60""#),
        document(&vec![key(&a.der); 200], ""),
        document(&[key(&a.der)], ",\"keys\":[]"),
        good.get(..good.len() - 1).unwrap().to_owned(),
    ] {
        assert!(read(&bad).is_err(), "{bad}");
    }
    assert!(super::read(&domain(), &vec![b' '; MAX_OCTETS + 1]).is_err());
}

#[test]
fn only_https_urls_are_read() {
    let url = |text: &str| text.parse::<EndpointUrl>().map(|url| (url.host, url.port, url.path));
    assert_eq!(url("https://a.org"), Ok(("a.org".to_owned(), 443, "/".to_owned())));
    assert_eq!(url("https://a.org:8443/b?c=d"), Ok(("a.org".to_owned(), 8443, "/b?c=d".to_owned())));
    for bad in ["", "a.org", "http://a.org/", "https://", "https://u:p@a.org/", "https://a.org:0/", "https://a.org/#b"]
    {
        assert_eq!(url(bad), Err(InvalidUrl), "{bad}");
    }
}

/// Answers every request with this, under a certificate for `127.0.0.1` of a web CA; its port, and the CA.
async fn web(answer: String) -> (u16, Ca) {
    let root = ca("web.org");
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let leaf = params.signed_by(&key, &root.issuer).unwrap().der().clone();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        rustls::ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
    let config = config.unwrap().with_no_client_auth().with_single_cert(vec![leaf], key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(socket).await else { continue };
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (port, root)
}

fn nobody() -> Identities {
    workload_of(&ca("example.org"))
}

/// A workload that knows no trust bundle.
fn workload_of(own: &Ca) -> Identities {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.subject_alt_names = vec![SanType::URI("spiffe://example.org/a".try_into().unwrap())];
    let leaf = params.signed_by(&key, &own.issuer).unwrap().der().to_vec();
    let svid = Svid::new(&[leaf], key.serialized_der()).unwrap();
    watch::channel(Arc::new(Identity::new(svid, []))).1
}

#[tokio::test]
async fn an_endpoint_is_authenticated_by_web_roots_and_answers_a_bundle_or_nothing() {
    let authority = ca("other.org");
    let good = document(&[key(&authority.der)], "");
    let http = |status: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nlocation: https://a.org/\r\n\r\n{body}", body.len())
    };
    let ask = async |answer: String, roots: Option<Vec<u8>>| {
        let (port, root) = web(answer).await;
        let profile = Profile::HttpsWeb(vec![roots.unwrap_or(root.der)]);
        let url = format!("https://127.0.0.1:{port}/bundle").parse().unwrap();
        fetch(&BundleEndpoint { trust_domain: domain(), url, profile }, &nobody()).await
    };
    let (bundle, _) = ask(http("200 OK", &good), None).await.unwrap();
    assert_eq!(bundle.certificates(), [authority.der]);
    let foreign = ask(http("200 OK", &good), Some(ca("web.org").der)).await.unwrap_err();
    assert!(matches!(foreign, EndpointError::Connect(_)), "{foreign}");
    let moved = ask(http("302 Found", ""), None).await.unwrap_err();
    assert!(matches!(moved, EndpointError::Status(StatusCode::FOUND)), "{moved}");
    let nothing = ask(http("200 OK", "{}"), None).await.unwrap_err();
    assert!(matches!(nothing, EndpointError::Document(_)), "{nothing}");
    let short = ask(http("200 OK", &good).replace("content-length: ", "content-length: 9"), None).await.unwrap_err();
    assert!(matches!(short, EndpointError::Body), "{short}");
}

#[test]
fn a_fetched_bundle_replaces_that_of_a_file_and_nothing_else() {
    let file = Bundle::from_der(&domain(), &[ca("other.org").der]).unwrap().from_source(TrustSource::File);
    let third = TrustDomain::new("third.org").unwrap();
    let third = Bundle::from_der(&third, &[ca("third.org").der]).unwrap().from_source(TrustSource::File);
    let fetched = Bundle::from_der(&domain(), &[ca("other.org").der]).unwrap().from_source(TrustSource::BundleEndpoint);
    let (sender, receiver) = watch::channel(Newest::Nothing);
    let sources = || {
        let all = together(vec![file.clone(), third.clone()], std::slice::from_ref(&receiver));
        all.iter().map(|one| (one.trust_domain().to_string(), one.source())).collect::<Vec<_>>()
    };
    let of = |domain: &str, source| (domain.to_owned(), source);
    assert_eq!(sources(), [of("other.org", TrustSource::File), of("third.org", TrustSource::File)]);
    sender.send_replace(Newest::Fresh(fetched));
    assert_eq!(sources(), [of("third.org", TrustSource::File), of("other.org", TrustSource::BundleEndpoint)]);
}

#[tokio::test]
async fn i9_a_bundle_that_grew_too_old_is_believed_no_longer_and_no_file_takes_its_place() {
    let authority = ca("other.org");
    let bundle = Bundle::from_der(&domain(), std::slice::from_ref(&authority.der)).unwrap();
    let mut newest = Newest::Fresh(bundle.clone());
    assert!(!newest.grow(MAX_AGE) && newest.believed().is_some());
    assert!(newest.grow(MAX_AGE + Duration::from_secs(1)) && newest.believed().is_none());
    assert!(!newest.grow(MAX_AGE * 2), "it is told once");
    let (sender, receiver) = watch::channel(newest.clone());
    assert!(together(vec![bundle.clone()], std::slice::from_ref(&receiver)).is_empty(), "the file may be older still");

    // An endpoint of that same trust domain is known again by the bundle that it gave last.
    let body = document(&[key(&authority.der)], "");
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.subject_alt_names = vec![SanType::URI("spiffe://other.org/bundles".try_into().unwrap())];
    let leaf = params.signed_by(&key, &authority.issuer).unwrap().der().to_vec();
    let own = ca("example.org");
    let id = |path: &str| SpiffeId::new(format!("spiffe://other.org/{path}")).unwrap();
    let theirs = Bundle::from_der(&TrustDomain::new("example.org").unwrap(), std::slice::from_ref(&own.der)).unwrap();
    let server = Identity::new(Svid::new(&[leaf], key.serialized_der()).unwrap(), [theirs]);
    let config = tls::server_config(&watch::channel(Arc::new(server)).1, &[HTTP11]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = TlsAcceptor::from(Arc::clone(&config)).accept(socket).await else { continue };
            let _ = stream.read(&mut [0; 4096]).await;
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let url = format!("https://127.0.0.1:{port}/").parse().unwrap();
    let endpoint = BundleEndpoint { trust_domain: domain(), url, profile: Profile::HttpsSpiffe(id("bundles")) };
    let nobody = workload_of(&own);
    let unknown = fetch(&endpoint, &Newest::Nothing.authenticating(&nobody)).await.unwrap_err();
    assert!(matches!(unknown, EndpointError::Connect(_)), "{unknown}");
    let (again, _) = fetch(&endpoint, &newest.authenticating(&nobody)).await.unwrap();
    sender.send_replace(Newest::Fresh(again));
    assert_eq!(together(vec![], std::slice::from_ref(&receiver)).len(), 1);
}
