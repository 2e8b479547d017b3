//! Against a server that answers as it is told, over loopback.

use std::path::Path;
use std::sync::atomic::AtomicUsize;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::version::TLS13;
use rustls_pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::reason::Reason;
use crate::target::fence::testing::Barrier;

/// What the server does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Answer,
    /// Answers, and closes the connection without a word.
    AnswerAndClose,
    /// Closes it in the middle of the answer.
    BreakOff,
    /// Reads, and says nothing.
    Nothing,
}

struct Server {
    address: String,
    directory: TempDir,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    manner: Arc<Mutex<Manner>>,
    closed: Arc<tokio::sync::Semaphore>,
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

impl Server {
    async fn start() -> Self {
        let ca = authority("ca");
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), ca.pem()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap().to_string(),
            directory,
            connections: Arc::default(),
            requests: Arc::default(),
            manner: Arc::new(Mutex::new(Manner::Answer)),
            closed: Arc::new(tokio::sync::Semaphore::new(0)),
        };
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (connections, requests) = (Arc::clone(&server.connections), Arc::clone(&server.requests));
        let (manner, closed) = (Arc::clone(&server.manner), Arc::clone(&server.closed));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, requests, manner) = (acceptor.clone(), Arc::clone(&requests), Arc::clone(&manner));
                let (connections, closed) = (Arc::clone(&connections), Arc::clone(&closed));
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(socket).await else { return };
                    connections.fetch_add(1, Ordering::SeqCst);
                    while let Some(length) = request_of(&mut stream).await {
                        requests.fetch_add(1, Ordering::SeqCst);
                        let manner = *manner.lock().unwrap();
                        let answer =
                            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{length}", length.to_string().len());
                        match manner {
                            Manner::Answer => stream.write_all(answer.as_bytes()).await.unwrap(),
                            Manner::AnswerAndClose => {
                                stream.write_all(answer.as_bytes()).await.unwrap();
                                break;
                            }
                            Manner::BreakOff => {
                                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nso").await.unwrap();
                                break;
                            }
                            Manner::Nothing => std::future::pending().await,
                        }
                    }
                    drop(stream.shutdown().await);
                    drop(stream);
                    closed.add_permits(1);
                });
            }
        });
        server
    }

    fn behaves(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    fn pool(&self) -> Pool {
        self.pool_by(&self.directory.path().join("ca.pem"))
    }

    fn pool_by(&self, ca: &Path) -> Pool {
        Pool::new(Endpoint::new(self.address.clone(), None, ca.to_owned(), None).unwrap())
    }

    /// Connections, and requests that arrived whole.
    fn seen(&self) -> (usize, usize) {
        (self.connections.load(Ordering::SeqCst), self.requests.load(Ordering::SeqCst))
    }
}

/// Reads one request; the length of its body. None at the end of the connection.
async fn request_of(stream: &mut (impl AsyncRead + Unpin)) -> Option<usize> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |it| it.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(length)
}

fn request(octets: usize) -> Request<Body> {
    let body = Full::new(Bytes::from(vec![b'x'; octets]));
    Request::builder().method("PATCH").uri("/a").header("host", "a").body(body).unwrap()
}

fn soon() -> Instant {
    clock::instant() + Duration::from_secs(60)
}

fn answered(sent: Sent) -> Bytes {
    match sent {
        Sent::Answered(Answer { status: StatusCode::OK, body }) => body,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_connection_is_used_again_and_never_by_two() {
    let server = Server::start().await;
    let pool = server.pool();
    let fence = Barrier::default();
    for number in 1..=5 {
        assert_eq!(answered(pool.send(request(10), Some(&fence), soon()).await), "10");
        assert_eq!((server.seen(), fence.asked.load(Ordering::SeqCst)), ((1, number), number));
    }
    // Larger than any buffer on the way: only its beginning goes out inside the fence.
    let asked = fence.asked.load(Ordering::SeqCst);
    assert_eq!(answered(pool.send(request(2_000_000), Some(&fence), soon()).await), "2000000");
    assert_eq!(fence.asked.load(Ordering::SeqCst), asked + 1);
    let (first, second) =
        tokio::join!(pool.send(request(1), Some(&fence), soon()), pool.send(request(2), Some(&fence), soon()));
    assert_eq!((answered(first), answered(second)), ("1".into(), "2".into()));
    assert_eq!(server.seen(), (2, 8));
}

#[tokio::test]
async fn i2_not_one_octet_of_a_denied_request_arrives() {
    let server = Server::start().await;
    let pool = server.pool();
    let fence = Barrier::default();
    for warm in [false, true] {
        if warm {
            answered(pool.send(request(1), Some(&fence), soon()).await);
        }
        fence.shut.store(true, Ordering::SeqCst);
        let before = server.seen().1;
        match pool.send(request(1), Some(&fence), soon()).await {
            Sent::Denied(denial) => assert_eq!(denial.reason, Reason::RevokedCertificate),
            other => panic!("{other:?}"),
        }
        // The server has read the end of the connection by now, and nothing before it.
        server.closed.acquire().await.unwrap().forget();
        assert_eq!(server.seen().1, before);
        fence.shut.store(false, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn i6_a_dead_connection_is_replaced_and_no_request_is_sent_twice() {
    let server = Server::start().await;
    let pool = server.pool();
    let fence = Barrier::default();
    server.behaves(Manner::AnswerAndClose);
    answered(pool.send(request(1), Some(&fence), soon()).await);
    server.closed.acquire().await.unwrap().forget();
    // Its end has to have come here, too.
    let ended = async {
        loop {
            let alive = pool.idle().last_mut().is_some_and(Connection::is_alive);
            match alive {
                true => tokio::time::sleep(Duration::from_millis(5)).await,
                false => break,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap();
    server.behaves(Manner::Answer);
    assert_eq!(answered(pool.send(request(2), Some(&fence), soon()).await), "2");
    assert_eq!(server.seen(), (2, 2));

    server.behaves(Manner::BreakOff);
    assert!(matches!(pool.send(request(3), Some(&fence), soon()).await, Sent::Lost(_)));
    server.behaves(Manner::Nothing);
    let short = clock::instant() + Duration::from_millis(500);
    assert!(matches!(pool.send(request(4), Some(&fence), short).await, Sent::Lost(_)));
    assert_eq!((server.seen().1, fence.asked.load(Ordering::SeqCst)), (4, 4), "each was sent once");
}

#[tokio::test]
async fn only_the_configured_authority_is_trusted() {
    let server = Server::start().await;
    let fence = Barrier::default();
    let other = server.directory.path().join("other.pem");
    std::fs::write(&other, authority("other").pem()).unwrap();
    for ca in [other, server.directory.path().join("missing.pem")] {
        match server.pool_by(&ca).send(request(1), Some(&fence), soon()).await {
            Sent::NotWritten(Failure(why)) => {
                assert!(why.contains("certificate") || why.contains("cannot read"), "{why}")
            }
            unexpected => panic!("{unexpected:?}"),
        }
    }
    assert_eq!(fence.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn another_authority_in_the_file_ends_warm_connections() {
    let server = Server::start().await;
    let pool = server.pool();
    answered(pool.send(request(1), None, soon()).await);
    let ca = server.directory.path().join("ca.pem");
    let right = std::fs::read_to_string(&ca).unwrap();
    // What cannot be used changes nothing; an authority more makes new connections.
    std::fs::write(&ca, "no certificate").unwrap();
    let generation = pool.endpoint().refresh().await.unwrap();
    std::fs::write(&ca, format!("{right}{}", authority("next").pem())).unwrap();
    let renewed = async {
        while pool.endpoint().refresh().await.unwrap() == generation {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), renewed).await.unwrap();
    answered(pool.send(request(1), None, soon()).await);
    assert_eq!(server.seen(), (2, 2));
}
