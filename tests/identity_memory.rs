//! I5: the private key of an execution identity is in the broker's memory while it is used, and nowhere afterwards.
//!
//! A process of its own mints identities and connects with them. This one reads its memory from outside, without any
//! hook in it: while an identity is alive, it tries every place of the memory for the number whose public key stands in
//! the certificate, and finds it there. When the identities are gone, it looks for those numbers again.

#![cfg(target_os = "linux")]

#[cfg(test)]
#[path = "support/memory.rs"]
mod memory;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Child, ChildStdin, Command, Stdio};
    use std::sync::mpsc;
    use std::time::Duration;

    use der::Decode;
    use seb::clock;
    use seb::contract::StepName;
    use seb::decision::MutationId;
    use seb::digest::Digest;
    use seb::identity::embedded::{Domain, EmbeddedIssuer, Grant};
    use seb::identity::{Form, Issuer, folder};
    use seb::tls::{self, HTTP11, Limits};
    use spiffe::{SpiffeId, TrustDomain};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use x509_cert::Certificate;

    use crate::memory::{find_scalar, found, memory, public_key, traces};

    const PATIENCE: Duration = Duration::from_secs(120);
    /// How many identities are found alive, and looked for when they are gone.
    const WATCHED: usize = 3;
    /// How many more come and go.
    const MORE: u32 = 20;

    fn id(path: &str) -> SpiffeId {
        SpiffeId::new(format!("spiffe://example.org/{path}")).unwrap()
    }

    /// The process that is looked at. Started by the test below, and by nobody else.
    #[test]
    #[ignore = "started by `i5_no_key_of_an_execution_is_left_in_memory`"]
    fn child_that_is_looked_at() {
        let mut lines = std::io::stdin().lines();
        let Some(Ok(first)) = lines.next() else { return };
        let (broker, address) = first.split_once('|').unwrap();
        let mut step = |said: &str| {
            println!("\n> {said}");
            lines.next().unwrap().unwrap();
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let issuer = EmbeddedIssuer::open(broker.as_ref()).await.unwrap();
            let identities = folder::open(broker.as_ref()).await.unwrap();
            let step_name: StepName = "step".parse().unwrap();
            for number in 0..u32::try_from(WATCHED).unwrap() + MORE {
                let mutation = MutationId::derive(&Digest::of(b"certificate"), &step_name, number);
                let now = clock::now().unwrap();
                let plan = issuer.plan(&mutation, Form::X509, now, now.saturating_add(PATIENCE)).unwrap();
                let identity = issuer.mint(plan).await.unwrap();
                let watched = number < u32::try_from(WATCHED).unwrap();
                if watched {
                    let hex: String = identity.chain()[0].iter().map(|octet| format!("{octet:02x}")).collect();
                    step(&format!("minted {hex}"));
                }
                let config = tls::execution_client_config(identity, &identities, [id("sandbox")], &[HTTP11]).unwrap();
                let address = address.to_owned();
                // As a broker does it: in a task, on whichever thread.
                let exchange = tokio::spawn(async move {
                    let mut stream = tls::connect(&address, config, PATIENCE).await.unwrap();
                    stream.write_all(b"?").await.unwrap();
                    assert_eq!(stream.read_u8().await.unwrap(), b'!');
                    stream
                });
                let stream = exchange.await.unwrap();
                if watched {
                    step("connected");
                }
                drop(stream);
            }
            step("gone");
        });
    }

    /// The process, and what it says.
    struct Watched {
        child: Child,
        stdin: ChildStdin,
        said: mpsc::Receiver<String>,
    }

    impl Watched {
        fn start(first: &str) -> Self {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--ignored", "--exact", "tests::child_that_is_looked_at", "--nocapture"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut stdin = child.stdin.take().unwrap();
            writeln!(stdin, "{first}").unwrap();
            let (sender, said) = mpsc::channel();
            let output = BufReader::new(child.stdout.take().unwrap());
            std::thread::spawn(move || {
                for line in output.lines().map_while(Result::ok) {
                    if let Some(said) = line.strip_prefix("> ") {
                        let _ = sender.send(said.to_owned());
                    }
                }
            });
            Self { child, stdin, said }
        }

        fn says(&self) -> String {
            self.said.recv_timeout(PATIENCE).expect("it goes on")
        }

        fn go_on(&mut self) {
            writeln!(self.stdin, "go on").unwrap();
        }
    }

    impl Drop for Watched {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    /// Or else the search below would miss a key now and then.
    #[test]
    fn a_key_that_reads_like_text_in_part_is_found() {
        for at in [0, 8, 16, 24] {
            let mut scalar = [0x99_u8; 32];
            scalar[at..at + 8].copy_from_slice(b"password");
            let point = public_key(&scalar).unwrap();
            let stored = scalar.iter().rev().copied().collect();
            assert_eq!(find_scalar(&[vec![0; 64], stored], &point).as_deref(), Some(&scalar[..]), "{at}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn i5_no_key_of_an_execution_is_left_in_memory() {
        let directory = tempfile::tempdir().unwrap();
        let trust_domain = TrustDomain::new("example.org").unwrap();
        let now = clock::now().unwrap();
        let domain = Domain::init(&directory.path().join("domain"), &trust_domain, now).unwrap();
        for (who, execution_ca) in [("seb", true), ("sandbox", false)] {
            let grant = Grant::new(id(who), directory.path().join(who), Duration::from_secs(3600), execution_ca);
            domain.issue(grant, now).unwrap();
        }
        let server = folder::open(&directory.path().join("sandbox")).await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut incoming = tls::incoming(listener, server, &[HTTP11], Limits::default()).unwrap();
        let address = incoming.local_addr();
        tokio::spawn(async move {
            while let Some(mut connection) = incoming.next().await {
                tokio::spawn(async move {
                    assert!(connection.peer().mutation().is_some());
                    assert_eq!(connection.read_u8().await?, b'?');
                    connection.write_all(b"!").await?;
                    connection.flush().await?;
                    connection.read_u8().await
                });
            }
        });
        let first = format!("{}|{address}", directory.path().join("seb").display());
        tokio::task::spawn_blocking(move || watch(&first)).await.unwrap();
    }

    fn watch(first: &str) {
        let mut watched = Watched::start(first);
        let mut scalars = Vec::new();
        for _ in 0..WATCHED {
            let said = watched.says();
            let hex = said.strip_prefix("minted ").unwrap();
            let certificate = base16ct::lower::decode_vec(hex).unwrap();
            let certificate = Certificate::from_der(&certificate).unwrap();
            let info = certificate.tbs_certificate().subject_public_key_info();
            let point = info.subject_public_key.raw_bytes().to_vec();
            let scalar =
                find_scalar(&memory(watched.child.id()), &point).expect("the key is there while the identity is alive");
            watched.go_on();
            assert_eq!(watched.says(), "connected");
            // Its own public key has been computed from it, so that what follows looks for the right thing.
            assert_eq!(public_key(&scalar), Some(point));
            assert!(!search(&watched, &scalar).is_empty(), "in use, and not found");
            scalars.push(scalar);
            watched.go_on();
        }
        assert_eq!(watched.says(), "gone");
        for (number, scalar) in scalars.iter().enumerate() {
            assert!(search(&watched, scalar).is_empty(), "identity {number} is left");
        }
    }

    fn search(watched: &Watched, scalar: &[u8]) -> BTreeSet<&'static str> {
        found(memory(watched.child.id()).iter().map(Vec::as_slice), &traces(scalar))
    }
}
