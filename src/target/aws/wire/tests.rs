use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd};
use rustls_pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::clock;
use crate::target::fence::testing::Barrier;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// The settings of who believes it, and reaches servers by this proxy.
    fn settings(&self, proxy: Option<SocketAddr>) -> Settings {
        let proxy = proxy.map(|address| format!("http://{address}"));
        Settings { authorities: Some(self.0.pem()), proxy }
    }

    /// How a server of this name shows itself.
    fn server(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> TlsAcceptor {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key);
        TlsAcceptor::from(Arc::new(config.unwrap()))
    }
}

/// What a server got of requests, encrypted or not.
type Got = Arc<Mutex<Vec<u8>>>;

/// A server that answers every request with `answer` and closes.
async fn serve(tls: TlsAcceptor, answer: &'static str) -> (SocketAddr, Got) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, got) = (listener.local_addr().unwrap(), Got::default());
    let all = Arc::clone(&got);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (tls, all) = (tls.clone(), Arc::clone(&all));
            tokio::spawn(async move {
                let Ok(mut stream) = tls.accept(socket).await else { return };
                let mut request = Vec::new();
                while !request.ends_with(b"the body") {
                    let Ok(octet) = stream.read_u8().await else { break };
                    request.push(octet);
                    all.lock().unwrap().push(octet);
                }
                drop(stream.write_all(answer.as_bytes()).await);
                drop(stream.shutdown().await);
            });
        }
    });
    (address, got)
}

/// What a proxy says to `CONNECT`.
#[derive(Clone, Copy)]
enum Says {
    /// It connects, and passes everything on.
    Yes,
    /// This, and closes.
    Text(&'static str),
    /// Nothing, and keeps the connection.
    Nothing,
    /// More and more, without an end.
    Everything,
}

/// A proxy, and what it was asked.
async fn proxy(says: Says) -> (SocketAddr, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(String::new())));
    let all = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let all = Arc::clone(&all);
            tokio::spawn(async move {
                let mut asked = String::new();
                while !asked.ends_with("\r\n\r\n") {
                    let Ok(octet) = near.read_u8().await else { return };
                    asked.push(char::from(octet));
                }
                let to = asked.split(' ').nth(1).unwrap_or_default().to_owned();
                *all.lock().unwrap() = asked;
                match says {
                    Says::Text(text) => drop(near.write_all(text.as_bytes()).await),
                    Says::Nothing => std::future::pending().await,
                    Says::Everything => while near.write_all(b"HTTP/1.1 200 OK\r\nx: y\r\n").await.is_ok() {},
                    Says::Yes => {
                        let mut far = TcpStream::connect(to).await.unwrap();
                        near.write_all(b"HTTP/1.1 200 Connection established\r\nvia: proxy\r\n\r\n").await.unwrap();
                        drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
                    }
                }
            });
        }
    });
    (address, asked)
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn request() -> SignedRequest {
    let headers = vec![("host".to_owned(), "aws".to_owned()), ("x-amz-date".to_owned(), "now".to_owned())];
    SignedRequest { method: "POST", url: "https://aws/path?a=b".to_owned(), headers, body: b"the body".to_vec() }
}

/// Opens and sends; what came of it, or why there was no connection.
async fn send(settings: &Settings, to: SocketAddr, gate: &Barrier) -> Result<Sent, String> {
    let end = clock::instant() + PATIENCE;
    let open = Wire::new(settings).unwrap().open(&format!("https://{to}"), gate, end).await?;
    Ok(open.send(request(), end).await)
}

#[tokio::test]
async fn a_server_that_the_authority_certified_gets_the_request_inside_the_fence() {
    let authority = Authority::new();
    let (server, got) = serve(authority.server("127.0.0.1", |_| {}), OK).await;
    let gate = Barrier::default();
    let sent = send(&authority.settings(None), server, &gate).await.unwrap();
    let Sent::Answered(answer) = sent else { panic!() };
    assert_eq!((answer.status, answer.body.as_ref()), (200, &b"ok"[..]));
    let text = String::from_utf8(got.lock().unwrap().clone()).unwrap();
    assert!(text.starts_with("POST /path?a=b HTTP/1.1\r\n") && text.ends_with("\r\n\r\nthe body"), "{text}");
    assert_eq!(gate.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn i2_a_shut_fence_lets_nothing_under_tls_out() {
    let authority = Authority::new();
    let (server, got) = serve(authority.server("127.0.0.1", |_| {}), OK).await;
    let gate = Barrier::default();
    gate.shut.store(true, Ordering::SeqCst);
    let sent = send(&authority.settings(None), server, &gate).await.unwrap();
    assert!(matches!(sent, Sent::Denied(_)));
    assert_eq!((gate.asked.load(Ordering::SeqCst), got.lock().unwrap().len()), (1, 0));
}

/// Another CA, another name, before and after its time: the handshake fails, and nothing is written.
#[tokio::test]
async fn i1_to_a_server_that_is_not_the_right_one_nothing_is_written() {
    let (authority, other) = (Authority::new(), Authority::new());
    let name = "127.0.0.1";
    let wrong = [
        // Of the same name.
        ("BadSignature", other.server(name, |_| {})),
        ("not valid for name", authority.server("aws.example.org", |_| {})),
        ("certificate expired", authority.server(name, |params| params.not_after = date_time_ymd(2020, 1, 1))),
        ("certificate not valid yet", authority.server(name, |params| params.not_before = date_time_ymd(2900, 1, 1))),
    ];
    for (why, tls) in wrong {
        let (server, got) = serve(tls, OK).await;
        let gate = Barrier::default();
        for settings in [authority.settings(None), authority.settings(Some(proxy(Says::Yes).await.0))] {
            let Err(error) = send(&settings, server, &gate).await else { panic!("{why}") };
            assert!(error.contains(why), "{why}: {error}");
        }
        assert_eq!((gate.asked.load(Ordering::SeqCst), got.lock().unwrap().len()), (0, 0), "{why}");
    }
    // One that the system's CAs do not know.
    let (server, got) = serve(authority.server(name, |_| {}), OK).await;
    assert!(send(&Settings::default(), server, &Barrier::default()).await.is_err());
    // One that does not speak TLS.
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = plain.local_addr().unwrap();
    let answers = async {
        let (mut socket, _) = plain.accept().await.unwrap();
        socket.write_all(OK.as_bytes()).await.unwrap();
        socket
    };
    let settings = authority.settings(None);
    let gate = Barrier::default();
    let (sent, _socket) = tokio::join!(send(&settings, to, &gate), answers);
    assert!(sent.is_err());
    assert_eq!((gate.asked.load(Ordering::SeqCst), got.lock().unwrap().len()), (0, 0));
}

#[tokio::test]
async fn through_a_proxy_the_server_is_the_one_that_is_asked_for() {
    let authority = Authority::new();
    let (server, got) = serve(authority.server("127.0.0.1", |_| {}), OK).await;
    let (address, asked) = proxy(Says::Yes).await;
    let gate = Barrier::default();
    let sent = send(&authority.settings(Some(address)), server, &gate).await.unwrap();
    assert!(matches!(sent, Sent::Answered(Answer { status: 200, .. })));
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked, format!("CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n\r\n"), "and nothing of the request");
    assert!(got.lock().unwrap().ends_with(b"the body"));
    assert_eq!(gate.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn i1_where_the_proxy_does_not_connect_nothing_is_written() {
    let authority = Authority::new();
    let (server, got) = serve(authority.server("127.0.0.1", |_| {}), OK).await;
    let gate = Barrier::default();
    for (says, why) in [
        (Says::Text("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"), "the proxy refuses"),
        (Says::Text("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"), "the proxy refuses"),
        (Says::Text("HTTP/1.1 2000 OK\r\n\r\n"), "the proxy refuses"),
        (Says::Text("\r\n\r\n"), "the proxy refuses"),
        (Says::Text("HTTP/1.1 200 OK\r\nvia: pro"), "no connection"),
        (Says::Text(""), "no connection"),
        // It ends after its own answer, before there is a server.
        (Says::Text("HTTP/1.1 200 OK\r\n\r\n"), "no connection"),
        (Says::Text("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), "no connection"),
        (Says::Everything, "the proxy says too much"),
    ] {
        let settings = authority.settings(Some(proxy(says).await.0));
        let Err(error) = send(&settings, server, &gate).await else { panic!("{why}") };
        assert!(error.contains(why), "{why}: {error}");
    }
    // One that says nothing is waited for until the deadline.
    let settings = authority.settings(Some(proxy(Says::Nothing).await.0));
    let wire = Wire::new(&settings).unwrap();
    let opened = wire.open(&format!("https://{server}"), &gate, clock::instant() + Duration::from_millis(200)).await;
    assert_eq!(opened.err().as_deref(), Some("no connection in time"));
    assert_eq!((gate.asked.load(Ordering::SeqCst), got.lock().unwrap().len()), (0, 0));
}

/// Once the fence has let it out, whatever is not a whole answer is no answer (I6).
#[tokio::test]
async fn i6_what_breaks_off_under_tls_is_lost() {
    let authority = Authority::new();
    for answer in [
        "",
        "HTTP/1.1 200 OK\r\ncontent-",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nok",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        "no HTTP\r\n\r\n",
    ] {
        let (server, got) = serve(authority.server("127.0.0.1", |_| {}), answer).await;
        let through = proxy(Says::Yes).await.0;
        for settings in [authority.settings(None), authority.settings(Some(through))] {
            let sent = send(&settings, server, &Barrier::default()).await.unwrap();
            assert!(matches!(sent, Sent::Lost(_)), "{answer:?}");
        }
        assert!(got.lock().unwrap().ends_with(b"the body"));
    }
}
