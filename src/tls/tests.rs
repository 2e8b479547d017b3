use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::ClientConfig;
use rustls::version::TLS13;
use spiffe::{SpiffeId, TrustDomain};
use time::{Duration as Span, OffsetDateTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use super::*;
use crate::clock;
use crate::identity::{Bundle, Identity, Svid};

const PATIENCE: Duration = Duration::from_secs(60);
const SERVER: &str = "spiffe://example.org/server";
const CLIENT: &str = "spiffe://example.org/client";
const EXECUTION: &str = "spiffe://example.org/seb/execution/m-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

type Ca = CertifiedIssuer<'static, KeyPair>;

/// A trust domain with a root, and an execution CA below it.
struct Pki {
    root: Ca,
    execution: Ca,
}

fn id(text: &str) -> SpiffeId {
    SpiffeId::new(text).unwrap()
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(clock::now().unwrap().seconds().try_into().unwrap()).unwrap()
}

fn ca_params(name: &str, domain: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.subject_alt_names = vec![uri(&format!("spiffe://{domain}"))];
    params
}

fn leaf_params(id: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.subject_alt_names = vec![uri(id)];
    params.not_before = now() - Span::seconds(10);
    params.not_after = now() + Span::hours(1);
    params
}

impl Pki {
    fn of(domain: &str) -> Self {
        let root = Ca::self_signed(ca_params("root", domain), KeyPair::generate().unwrap()).unwrap();
        let execution = Ca::signed_by(ca_params("execution", domain), KeyPair::generate().unwrap(), &root).unwrap();
        Self { root, execution }
    }

    fn new() -> Self {
        Self::of("example.org")
    }

    fn bundle(&self) -> Bundle {
        Bundle::from_pem(&TrustDomain::new("example.org").unwrap(), &self.root.pem()).unwrap()
    }

    /// An identity whose leaf `issuer` signed, with `more` behind it, and that trusts this domain.
    fn identity(&self, params: &CertificateParams, issuer: &Ca, more: &[&Ca]) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut chain = vec![params.signed_by(&key, issuer).unwrap().der().to_vec()];
        chain.extend(more.iter().map(|ca| ca.der().to_vec()));
        let execution = Bundle::from_pem(&TrustDomain::new("example.org").unwrap(), &self.execution.pem()).unwrap();
        Identity::new(Svid::new(&chain, key.serialized_der()).unwrap(), [self.bundle()])
            .with_execution_bundle(execution)
    }

    fn plain(&self, id: &str) -> Identities {
        fixed(self.identity(&leaf_params(id), &self.root, &[]))
    }

    fn server(&self) -> Identities {
        self.plain(SERVER)
    }
}

fn fixed(identity: Identity) -> Identities {
    watch::channel(Arc::new(identity)).1
}

fn client_of(identities: &Identities) -> Arc<ClientConfig> {
    client_config(identities, [id(SERVER)], &[H2]).unwrap()
}

/// A server that answers each connection with `!`, and tells who it was.
fn serve(server: &Identities, limits: Limits) -> (String, mpsc::UnboundedReceiver<Peer>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    let mut incoming = incoming(listener, server.clone(), &[H2], limits).unwrap();
    let address = incoming.local_addr().to_string();
    let (sender, peers) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(mut connection) = incoming.next().await {
            let _ = sender.send(connection.peer().clone());
            tokio::spawn(async move {
                connection.write_all(b"!").await?;
                connection.flush().await?;
                connection.read_u8().await
            });
        }
    });
    (address, peers)
}

async fn talk(address: &str, client: Arc<ClientConfig>) -> std::io::Result<u8> {
    let mut stream = connect(address, client, PATIENCE).await?;
    tokio::time::timeout(PATIENCE, stream.read_u8()).await?
}

/// Who the server says the client is.
async fn meet(server: &Identities, client: Arc<ClientConfig>) -> Peer {
    let (address, mut peers) = serve(server, Limits::default());
    assert_eq!(talk(&address, client).await.unwrap(), b'!');
    peers.recv().await.unwrap()
}

/// Why the client got no answer; the server saw nobody.
async fn refused(server: &Identities, client: Arc<ClientConfig>) -> String {
    let (address, mut peers) = serve(server, Limits::default());
    let error = talk(&address, client).await.unwrap_err().to_string();
    assert!(peers.try_recv().is_err(), "the server saw a peer");
    error
}

#[tokio::test]
async fn both_sides_know_each_other() {
    let pki = Pki::new();
    let client = pki.plain(CLIENT);
    let peer = meet(&pki.server(), client_of(&client)).await;
    let leaf = client.borrow().svid().leaf().clone();
    assert_eq!((peer.id(), peer.key(), peer.serial()), (&id(CLIENT), leaf.key, &leaf.serial));
    assert_eq!((peer.issued(), peer.mutation()), (Issued::Bundle, None));
    assert_eq!(super::peer(client.borrow().svid().chain()).unwrap(), peer);
}

#[tokio::test]
async fn a_client_without_a_certificate_gets_no_answer() {
    let pki = Pki::new();
    let config = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ServerVerifier::new(pki.plain(CLIENT), [id(SERVER)].into())))
        .with_no_client_auth();
    let error = refused(&pki.server(), Arc::new(config)).await;
    assert!(error.contains("CertificateRequired"), "{error}");
}

#[tokio::test]
async fn only_expected_servers_are_talked_to_and_an_empty_list_expects_nobody() {
    let pki = Pki::new();
    let client = pki.plain(CLIENT);
    let [none, other, both]: [Vec<SpiffeId>; 3] = [vec![], vec![id(CLIENT)], vec![id(CLIENT), id(SERVER)]];
    for expected in [none, other] {
        let error = refused(&pki.server(), client_config(&client, expected, &[H2]).unwrap()).await;
        assert!(error.contains("Unexpected"), "{error}");
    }
    meet(&pki.server(), client_config(&client, both, &[H2]).unwrap()).await;
}

#[tokio::test]
async fn every_certificate_that_breaks_a_rule_is_refused_on_either_side() {
    let pki = Pki::new();
    let foreign = Pki::new();
    let hour = Span::hours(1);
    let change = |change: &dyn Fn(&mut CertificateParams)| {
        let both = [CLIENT, SERVER].map(|id| {
            let mut params = leaf_params(id);
            change(&mut params);
            params
        });
        both.map(|params| fixed(pki.identity(&params, &pki.root, &[])))
    };
    let issued =
        |issuer: &Ca, more: &[&Ca]| [CLIENT, SERVER].map(|id| fixed(pki.identity(&leaf_params(id), issuer, more)));
    let other_root = Ca::self_signed(ca_params("root", "example.org"), KeyPair::generate().unwrap()).unwrap();
    let signed_by_root = |params| Ca::signed_by(params, KeyPair::generate().unwrap(), &pki.root).unwrap();
    let wrong_use = signed_by_root({
        let mut params = ca_params("no signing", "example.org");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params
    });
    let wrong_domain = signed_by_root(ca_params("other domain", "other.org"));
    let server_auth = |it: &mut CertificateParams| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    let cases: Vec<(&str, [Identities; 2])> = vec![
        ("expired", change(&|it| it.not_after = now() - Span::seconds(5))),
        ("not yet valid", change(&|it| (it.not_before, it.not_after) = (now() + hour, now() + hour * 2))),
        ("for another purpose", change(&server_auth)),
        (
            "of a trust domain without bundle",
            [
                fixed(pki.identity(&leaf_params("spiffe://other.org/client"), &pki.root, &[])),
                fixed(pki.identity(&leaf_params("spiffe://other.org/server"), &pki.root, &[])),
            ],
        ),
        ("by a root of the same name", issued(&other_root, &[])),
        ("by a foreign root", issued(&foreign.root, &[&foreign.root])),
        ("below a CA that may not sign", issued(&wrong_use, &[&wrong_use])),
        ("below a CA of another trust domain", issued(&wrong_domain, &[&wrong_domain])),
        ("by the execution CA, as a workload", issued(&pki.execution, &[&pki.execution])),
    ];
    let (good_client, good_server) = (pki.plain(CLIENT), pki.server());
    for (case, [client, server]) in cases {
        let expected = [id(SERVER), id("spiffe://other.org/server")];
        let error = refused(&good_server, client_config(&client, expected.clone(), &[H2]).unwrap()).await;
        assert!(error.contains("alert"), "a client {case}: {error}");
        refused(&server, client_config(&good_client, expected, &[H2]).unwrap()).await;
    }
}

/// A certificate that is no leaf SVID cannot become an identity here, so a hand-made client shows it.
#[tokio::test]
async fn a_ca_as_leaf_and_two_uris_are_refused() {
    let pki = Pki::new();
    let key = || KeyPair::generate().unwrap();
    let two = {
        let mut params = leaf_params(CLIENT);
        params.subject_alt_names.push(uri("spiffe://example.org/other"));
        params
    };
    let mut ca = ca_params("leaf", "example.org");
    ca.key_usages.push(KeyUsagePurpose::DigitalSignature);
    ca.subject_alt_names = vec![uri(CLIENT)];
    for (expected, params) in [(true, leaf_params(CLIENT)), (false, two), (false, ca)] {
        let key = key();
        let chain = vec![params.signed_by(&key, &pki.root).unwrap().der().clone()];
        let private = rustls_pki_types::PrivatePkcs8KeyDer::from(key.serialized_der().to_vec());
        let key = aws_lc_rs::sign::any_ecdsa_type(&private.into()).unwrap();
        let shown = One(Arc::new(rustls::sign::CertifiedKey::new(chain, key)));
        let config = client(servers(&pki.plain(CLIENT), [id(SERVER)]), &[H2], Arc::new(shown)).unwrap();
        match expected {
            true => drop(meet(&pki.server(), config).await),
            false => assert!(refused(&pki.server(), config).await.contains("alert")),
        }
    }
}

#[tokio::test]
async fn i5_only_the_execution_ca_makes_execution_identities() {
    let pki = Pki::new();
    let server = pki.server();
    let by = |issuer: &Ca, more: &[&Ca]| fixed(pki.identity(&leaf_params(EXECUTION), issuer, more));
    let peer = meet(&server, client_of(&by(&pki.execution, &[&pki.execution]))).await;
    assert_eq!(peer.issued(), Issued::ExecutionCa);
    assert_eq!(peer.mutation(), mutation_of(&id(EXECUTION)));
    // The execution CA is an anchor: its certificate need not be sent.
    assert_eq!(meet(&server, client_of(&by(&pki.execution, &[]))).await.issued(), Issued::ExecutionCa);
    // The root, or a CA of the same name below it, makes a SPIFFE ID that looks like one, and nothing more.
    let named_alike = Ca::signed_by(ca_params("execution", "example.org"), KeyPair::generate().unwrap(), &pki.root);
    let named_alike = named_alike.unwrap();
    for (issuer, more) in [(&pki.root, vec![]), (&named_alike, vec![&named_alike])] {
        let peer = meet(&server, client_of(&by(issuer, &more))).await;
        assert_eq!((peer.id(), peer.issued(), peer.mutation()), (&id(EXECUTION), Issued::Bundle, None));
    }
}

/// What a client of TLS 1.2 says first; the library's own client cannot speak it here.
fn hello_of_tls12() -> Vec<u8> {
    let extensions = [
        &[0, 10, 0, 6, 0, 4, 0, 29, 0, 23][..], // supported_groups: x25519, secp256r1
        &[0, 13, 0, 4, 0, 2, 4, 3],             // signature_algorithms: ecdsa_secp256r1_sha256
    ]
    .concat();
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(0); // no session
    body.extend([0, 4, 0xc0, 0x2b, 0xc0, 0x2f]); // ECDHE with AES-128-GCM
    body.extend([1, 0]); // no compression
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let mut message = vec![1, 0];
    message.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    message.extend(body);
    let mut record = vec![22, 3, 1];
    record.extend(u16::try_from(message.len()).unwrap().to_be_bytes());
    record.extend(message);
    record
}

#[tokio::test]
async fn tls_1_2_is_refused() {
    let (address, mut peers) = serve(&Pki::new().server(), Limits::default());
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(&hello_of_tls12()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await.unwrap().unwrap();
    // A fatal alert, `protocol_version`.
    assert_eq!((answer.first(), answer.get(5..)), (Some(&21), Some(&[2, 70][..])));
    assert!(peers.try_recv().is_err());
}

#[tokio::test]
async fn no_handshake_is_abbreviated() {
    let pki = Pki::new();
    let (address, _peers) = serve(&pki.server(), Limits::default());
    let config = client_of(&pki.plain(CLIENT));
    for _ in 0..3 {
        let mut stream = connect(&address, Arc::clone(&config), PATIENCE).await.unwrap();
        stream.read_u8().await.unwrap();
        let kind = stream.get_ref().1.handshake_kind();
        assert_eq!(kind, Some(rustls::HandshakeKind::Full));
        assert_eq!(stream.get_ref().1.tls13_tickets_received(), 0);
    }
}

#[tokio::test]
async fn a_rotation_reaches_connections_as_they_are_made() {
    let (old, new) = (Pki::new(), Pki::new());
    let both = [old.bundle().certificates(), new.bundle().certificates()].concat();
    let bundle =
        |certificates: &[Vec<u8>]| Bundle::from_der(&TrustDomain::new("example.org").unwrap(), certificates).unwrap();
    let identity = |pki: &Pki, who: &str, trusted: &[Vec<u8>]| {
        let key = KeyPair::generate().unwrap();
        let chain = vec![leaf_params(who).signed_by(&key, &pki.root).unwrap().der().to_vec()];
        Arc::new(Identity::new(Svid::new(&chain, key.serialized_der()).unwrap(), [bundle(trusted)]))
    };
    let (server, servers) = watch::channel(identity(&old, SERVER, old.bundle().certificates()));
    let (client, clients) = watch::channel(identity(&old, CLIENT, old.bundle().certificates()));
    let (address, mut peers) = serve(&servers, Limits::default());
    let config = client_of(&clients);
    let done = Arc::new(AtomicBool::new(false));
    let finished = Arc::clone(&done);
    let connections = tokio::spawn(async move {
        let mut count = 0_u32;
        while !finished.load(Ordering::SeqCst) {
            talk(&address, Arc::clone(&config)).await.expect("no connection fails during a rotation");
            count += 1;
        }
        talk(&address, config).await.unwrap();
        count
    });
    let connections_of = async |count: usize, peers: &mut mpsc::UnboundedReceiver<Peer>| {
        for _ in 0..count {
            peers.recv().await.unwrap();
        }
    };
    // As the embedded trust domain does it: trust both, issue by the new one, trust the new one alone.
    connections_of(5, &mut peers).await;
    server.send_replace(identity(&old, SERVER, &both));
    client.send_replace(identity(&old, CLIENT, &both));
    connections_of(5, &mut peers).await;
    server.send_replace(identity(&new, SERVER, &both));
    connections_of(5, &mut peers).await;
    client.send_replace(identity(&new, CLIENT, &both));
    connections_of(5, &mut peers).await;
    // A handshake of the last step may be under way: whoever trusts the old one no longer must not see it any more.
    connections_of(5, &mut peers).await;
    server.send_replace(identity(&new, SERVER, new.bundle().certificates()));
    let last = identity(&new, CLIENT, new.bundle().certificates());
    client.send_replace(Arc::clone(&last));
    done.store(true, Ordering::SeqCst);
    assert!(tokio::time::timeout(PATIENCE, connections).await.unwrap().unwrap() >= 20);
    let mut newest = None;
    while let Ok(peer) = peers.try_recv() {
        newest = Some(peer);
    }
    assert_eq!(newest.unwrap().serial(), &last.svid().leaf().serial);
}

#[tokio::test]
async fn a_connection_ends_with_the_certificate_of_its_client() {
    let pki = Pki::new();
    let mut params = leaf_params(CLIENT);
    params.not_after = now() + Span::seconds(2);
    let client = fixed(pki.identity(&params, &pki.root, &[]));
    let (address, _peers) = serve(&pki.server(), Limits::default());
    let mut stream = connect(&address, client_of(&client), PATIENCE).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'!');
    let end = tokio::time::timeout(PATIENCE, stream.read_u8()).await.expect("it ends");
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    assert!(clock::now().unwrap() > client.borrow().svid().leaf().not_after);
}

#[tokio::test]
async fn who_does_not_finish_the_handshake_keeps_nobody_out_for_long() {
    let pki = Pki::new();
    let limits = Limits { connections: 4, handshakes: 2, handshake_timeout: Duration::from_millis(300) };
    let (address, _peers) = serve(&pki.server(), limits);
    let mut silent = Vec::new();
    for _ in 0..2 {
        silent.push(TcpStream::connect(&address).await.unwrap());
    }
    assert_eq!(talk(&address, client_of(&pki.plain(CLIENT))).await.unwrap(), b'!');
    for mut socket in silent {
        let read = tokio::time::timeout(PATIENCE, socket.read(&mut [0; 16])).await.expect("it was closed");
        assert!(matches!(read, Ok(0) | Err(_)));
    }
}

#[tokio::test]
async fn connections_are_bounded_and_a_place_that_becomes_free_is_taken() {
    let pki = Pki::new();
    let limits = Limits { connections: 2, ..Limits::default() };
    let (address, _peers) = serve(&pki.server(), limits);
    let config = client_of(&pki.plain(CLIENT));
    let open = async || {
        let mut stream = connect(&address, Arc::clone(&config), PATIENCE).await.unwrap();
        stream.read_u8().await.unwrap();
        stream
    };
    let (first, _second) = (open().await, open().await);
    let mut third = Box::pin(open());
    let waited = tokio::time::timeout(Duration::from_millis(300), &mut third).await;
    assert!(waited.is_err(), "a third connection beside two");
    drop(first);
    tokio::time::timeout(PATIENCE, third).await.expect("its place was free");
}
