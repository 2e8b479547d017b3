//! What a broker knows of its authorities, through the real server: readiness, clocks, and the order of durability and
//! acknowledgement.

#[cfg(test)]
mod world;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use seb::sab::authority::Authority;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use crate::world::authority::{Epochs, Manner};
    use crate::world::broker::{Settings, reason};
    use crate::world::{PATIENCE, World, identities};

    /// What `/readyz` answers: whether it is 200, and its lines.
    async fn ready(address: SocketAddr) -> (bool, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: broker\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.starts_with("HTTP/1.1 200"), body.to_owned())
    }

    /// Waits until `/readyz` answers so; what it said then, and how long that took.
    async fn until(address: SocketAddr, expected: impl Fn(bool, &str) -> bool) -> (String, Duration) {
        let began = Instant::now();
        loop {
            let (ok, said) = ready(address).await;
            if expected(ok, &said) {
                return (said, began.elapsed());
            }
            assert!(began.elapsed() < PATIENCE, "{ok} {said}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn i9_readiness_tells_of_each_authority_by_itself_and_within_the_bound() {
        let world = World::new().await;
        let two = Arc::new(Authority::in_folder(&world.path("sab-two")).unwrap());
        let two = Epochs::serve(two, identities(&world.directory, "sab-two").await).await;
        let address = two.address.to_string().leak();
        let staleness = Duration::from_millis(1000);
        let settings = Settings { staleness_ms: 1000, sab_two: address, ..Settings::default() };
        let broker = world.broker(&settings).await;
        until(broker.http, |ok, said| ok && said == "ready\n").await;

        // One falls silent, its stream still open. The other is heard several times a second, and hides nothing.
        two.behave(Manner::Silent);
        let (said, after) = until(broker.http, |_, said| said != "ready\n").await;
        println!("a silent authority is told after {} ms", after.as_millis());
        assert!(after < staleness + Duration::from_millis(700), "{after:?}");
        let line = "ready\nepochs of spiffe://example.org/sab-two: epoch_stale: the newest statement is ";
        assert!(said.starts_with(line), "{said}");
        for _ in 0..40 {
            let (ok, said) = ready(broker.http).await;
            assert!(ok && said.contains("sab-two: epoch_stale"), "{said}");
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        // What the other certified is executed all the same.
        let ask = world.ask(&world.scale("checkout").await, 20);
        broker.clients.execute(&ask).await.unwrap();

        world.epochs.behave(Manner::Silent);
        let (said, after) = until(broker.http, |ok, _| !ok).await;
        assert!(after < staleness + Duration::from_millis(700), "{after:?}");
        assert!(!said.contains("ready") && said.lines().count() == 2, "{said}");
        let ask = world.ask(&world.scale("basket").await, 20);
        assert_eq!(reason(&broker.clients.execute(&ask).await.unwrap_err()), "epoch_stale");

        // The recovery of one is not that of the other.
        two.behave(Manner::Honest);
        let (said, _) = until(broker.http, |ok, _| ok).await;
        assert!(said.starts_with("ready\nepochs of spiffe://example.org/sab: epoch_stale: "), "{said}");
        world.epochs.behave(Manner::Honest);
        until(broker.http, |ok, said| ok && said == "ready\n").await;
        broker.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn i9_a_stepped_clock_is_named_however_far_it_went() {
        let world = World::new().await;
        let broker = world.broker(&Settings { staleness_ms: 1000, ..Settings::default() }).await;
        until(broker.http, |ok, _| ok).await;
        // The SVIDs of this world are valid for two hours from now: by these clocks the certificate, its authority and the
        // epoch statements are not valid yet, or no longer.
        for (index, step) in
            [-90 * 86_400_000, -7_200_000, -5_000, 5_000, 7_200_000, 90 * 86_400_000_i64].into_iter().enumerate()
        {
            let ask = world.ask(&world.scale(&format!("service-{index}")).await, 20);
            let head = broker.clients.head(0).await;
            broker.clock.step(step);
            // At once, and when nothing fresh is known any more.
            for _ in 0..2 {
                let status = broker.clients.execute(&ask).await.unwrap_err();
                assert_eq!(reason(&status), "clock_skew", "{step}: {status:?}");
                let (said, _) = until(broker.http, |ok, _| !ok).await;
                assert!(said.contains("sab: clock_skew: the broker's clock was stepped"), "{step}: {said}");
            }
            let recorded = broker.clients.decisions(head).await;
            let reasons: Vec<_> = recorded.iter().map(|it| it.about.reason.map(|reason| reason.code())).collect();
            assert_eq!(reasons, [Some("clock_skew"); 2], "{step}");
            // A certificate that is not authentic gets the uniform answer by any clock.
            let mut forged = ask.clone();
            let last = forged.certificate.len() - 1;
            forged.certificate[last] ^= 1;
            assert_eq!(reason(&broker.clients.execute(&forged).await.unwrap_err()), "certificate_refused", "{step}");
            broker.clock.step(-step);
            world.epochs.heard().await;
            until(broker.http, |ok, _| ok).await;
            broker.clients.execute(&ask).await.unwrap();
        }
        assert_eq!(world.production.applied().len(), 6);
        broker.stop().await;
        // Every one of those refusals is derived again.
        world.verified().await;
    }
}
