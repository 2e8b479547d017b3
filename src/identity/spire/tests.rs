use std::sync::Arc;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType,
};
use spiffe::TrustDomain;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::Code;

use super::check;
use crate::clock;
use crate::contract::StepName;
use crate::decision::MutationId;
use crate::digest::Digest;
use crate::identity::{Bundle, Form, Identity, MintError, Plan, Svid};
use crate::proto::spire::api::server::svid::v1::MintJwtsvidRequest;
use crate::timestamp::Timestamp;

const DOMAIN: &str = "spiffe://example.org";

fn now() -> Timestamp {
    clock::now().unwrap()
}

fn date(time: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(i64::try_from(time.seconds()).unwrap()).unwrap()
}

fn mutation(ordinal: u32) -> MutationId {
    MutationId::derive(&Digest::of(b"certificate"), &"scale".parse::<StepName>().unwrap(), ordinal)
}

fn plan(form: Form) -> Plan {
    let end = now().saturating_add(Duration::from_secs(30));
    Plan::new(&TrustDomain::new("example.org").unwrap(), &mutation(1), form, None, now(), end).unwrap()
}

fn jwt_form() -> Form {
    Form::Jwt { audiences: vec!["cluster".to_owned(), "urn:seb:call:1".to_owned()] }
}

/// A server's CA.
struct Server {
    issuer: Issuer<'static, KeyPair>,
    certificate: Certificate,
}

impl Server {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "SPIFFE");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.subject_alt_names = vec![SanType::URI(DOMAIN.try_into().unwrap())];
        let certificate = params.self_signed(&key).unwrap();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// What it answers for a plan, but for one change.
    fn mint(&self, plan: &Plan, key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Vec<Vec<u8>> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, plan.mutation().as_str());
        params.subject_alt_names = vec![SanType::URI(plan.id().to_string().as_str().try_into().unwrap())];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        (params.not_before, params.not_after) = (date(plan.not_before()), date(plan.not_after()));
        change(&mut params);
        vec![params.signed_by(key, &self.issuer).unwrap().der().to_vec()]
    }

    fn identity(&self) -> Identity {
        let (key, id) = (KeyPair::generate().unwrap(), format!("{DOMAIN}/seb"));
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(id.as_str().try_into().unwrap())];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let leaf = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        let bundle =
            Bundle::from_der(&TrustDomain::new("example.org").unwrap(), &[self.certificate.der().to_vec()]).unwrap();
        Identity::new(Svid::new(&[leaf], key.serialized_der()).unwrap(), [bundle])
    }
}

fn digest(key: &KeyPair) -> Digest {
    Digest::of(&key.subject_public_key_info())
}

#[test]
fn i5_a_certificate_that_is_not_as_planned_is_thrown_away() {
    let (server, key, plan) = (Server::new(), KeyPair::generate().unwrap(), plan(Form::X509));
    let identity = Arc::new(server.identity());
    let check = |chain: Vec<Vec<u8>>| check::x509(&plan, digest(&key), chain, &identity, now());
    let good = server.mint(&plan, &key, |_| {});
    assert_eq!(check(good.clone()).unwrap()[0].as_ref(), good[0]);
    check(server.mint(&plan, &key, |it| it.not_after -= time::Duration::seconds(1))).unwrap();

    let uri = |text: &str| vec![SanType::URI(text.try_into().unwrap())];
    let other_mutation = format!("{DOMAIN}/seb/execution/{}", mutation(2));
    let bad: [(&str, Vec<Vec<u8>>); 11] = [
        ("no certificate", vec![]),
        ("a chain of 6", vec![good[0].clone(); 6]),
        ("not a leaf", vec![server.certificate.der().to_vec()]),
        ("the SPIFFE ID", server.mint(&plan, &key, |it| it.subject_alt_names = uri(&other_mutation))),
        ("the SPIFFE ID", server.mint(&plan, &key, |it| it.subject_alt_names = uri(&format!("{DOMAIN}/admin")))),
        ("another key", server.mint(&plan, &KeyPair::generate().unwrap(), |_| {})),
        ("an end at", server.mint(&plan, &key, |it| it.not_after += time::Duration::seconds(1))),
        ("an end at", server.mint(&plan, &key, |it| it.not_after = date(now()) - time::Duration::seconds(2))),
        ("common name", server.mint(&plan, &key, |it| it.distinguished_name = DistinguishedName::new())),
        ("does not verify", Server::new().mint(&plan, &key, |_| {})),
        (
            "does not verify",
            server.mint(&plan, &key, |it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
        ),
    ];
    for (expected, chain) in bad {
        let error = check(chain).unwrap_err();
        assert!(matches!(&error, MintError::Unplanned(problem) if problem.contains(expected)), "{expected}: {error}");
    }
}

fn token(header: &str, claims: &str) -> String {
    let part = |text: &str| Base64UrlUnpadded::encode_string(text.as_bytes());
    format!("{}.{}.{}", part(header), part(claims), part("signature"))
}

#[test]
fn i5_a_token_that_is_not_as_planned_is_thrown_away() {
    let plan = plan(jwt_form());
    let (id, end) = (plan.id().to_string(), plan.not_after().seconds());
    let check = |token: String| check::jwt(&plan, token.into(), now()).map(|token| token.as_str().to_owned());
    let es256 = r#"{"alg":"ES256","kid":"1","typ":"JWT"}"#;
    let claims = |sub: &str, aud: &str, exp: &str| format!(r#"{{"aud":{aud},"exp":{exp},"iat":1,"sub":"{sub}"}}"#);
    let both = r#"["cluster","urn:seb:call:1"]"#;
    let (exp, later) = (end.to_string(), (end + 1).to_string());
    for good in [
        token(es256, &claims(&id, both, &exp)),
        token(r#"{"alg":"RS256"}"#, &claims(&id, r#"["urn:seb:call:1","cluster"]"#, &(end - 5).to_string())),
    ] {
        assert_eq!(check(good.clone()).unwrap(), good);
    }
    let good = token(es256, &claims(&id, both, &exp));
    let bad = [
        ("0 octets", String::new()),
        ("octets", "a".repeat(20_000)),
        ("compact form", good.replace('.', "")),
        ("compact form", format!("{good}.a")),
        ("header cannot be read", token("[]", &claims(&id, both, &exp))),
        ("header cannot be read", format!("!{good}")),
        ("claims cannot be read", token(es256, "{")),
        ("claims cannot be read", token(es256, r#"{"sub":"a","sub":"b"}"#)),
        ("an algorithm", token(r#"{"alg":"none"}"#, &claims(&id, both, &exp))),
        ("an algorithm", token(r#"{"alg":"HS256"}"#, &claims(&id, both, &exp))),
        ("an algorithm", good.rsplit_once('.').unwrap().0.to_owned() + "."),
        ("another subject", token(es256, &claims("spiffe://example.org/admin", both, &exp))),
        ("other audiences", token(es256, &claims(&id, r#""cluster""#, &exp))),
        ("other audiences", token(es256, &claims(&id, r#"["cluster"]"#, &exp))),
        ("other audiences", token(es256, &claims(&id, r#"["cluster","urn:seb:call:1","more"]"#, &exp))),
        ("other audiences", token(es256, &claims(&id, r#"["cluster",1]"#, &exp))),
        ("an end at", token(es256, &claims(&id, both, &later))),
        ("an end at", token(es256, &claims(&id, both, "1000000000"))),
        ("without an end", token(es256, &claims(&id, both, "\"2026\""))),
        ("without an end", token(es256, &format!(r#"{{"aud":{both},"sub":"{id}"}}"#))),
    ];
    for (expected, token) in bad {
        let error = check(token.clone()).unwrap_err();
        assert!(matches!(&error, MintError::Unplanned(problem) if problem.contains(expected)), "{expected}: {error}");
        assert!(token.is_empty() || !format!("{error} {error:?}").contains(&token), "an error shows a token");
    }
}

/// Wherever the connection breaks, the server is unavailable; what the server itself says is passed on.
#[tokio::test]
async fn a_connection_that_breaks_under_a_call_is_a_server_that_is_not_there() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut seen = 0;
    for octets in 0..300_u64 {
        let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        let mut client = super::SvidClient::new(channel);
        let call = client.mint_jwtsvid(MintJwtsvidRequest::default());
        let breaks = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            // The settings of HTTP/2, so that the request is sent.
            stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
            let mut read = (&mut stream).take(octets);
            tokio::io::copy(&mut read, &mut tokio::io::sink()).await.unwrap();
            if octets.is_multiple_of(2) {
                stream.set_zero_linger().unwrap();
            }
        };
        let breaks = tokio::time::timeout(Duration::from_secs(2), breaks);
        let (answer, within) = tokio::join!(call, breaks);
        let error = super::refused(answer.unwrap_err());
        assert!(matches!(error, MintError::Server { code: Code::Unavailable, .. }), "{octets}: {error}");
        if within.is_err() {
            break;
        }
        seen += 1;
    }
    assert!(seen > 100, "{seen}");
    let said = super::refused(tonic::Status::unknown("x"));
    assert!(matches!(said, MintError::Server { code: Code::Unknown, .. }), "{said}");
}
