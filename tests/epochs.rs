//! What a broker knows of its authorities, through the real server: readiness, clocks, and the order of durability and
//! acknowledgement.

#[cfg(test)]
mod world;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::Duration;

    use seb::epoch::EpochStatement;
    use seb::proto::seb::v1::execution::State;
    use seb::sab::authority::Authority;
    use sqlx::sqlite::SqliteConnectOptions;
    use sqlx::{Connection, SqliteConnection};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::watch;

    use crate::world::authority::{Epochs, Manner};
    use crate::world::broker::{Settings, reason};
    use crate::world::{PATIENCE, World, id, identities};

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
        let began = seb::clock::instant();
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
                // By some of these clocks the broker's own SVID has ended too, which may be told first.
                let named = "sab: clock_skew: the broker's clock was stepped";
                until(broker.http, |ok, said| !ok && said.contains(named)).await;
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

    /// Whether the store has that this agent is revoked: after a restart nothing else is known.
    async fn is_durable(world: &World, holder: &str) -> bool {
        let path = world.path("broker.db");
        let options = SqliteConnectOptions::new().filename(path).read_only(true);
        let mut store = SqliteConnection::connect_with(&options).await.unwrap();
        let statement: Vec<u8> = sqlx::query_scalar("SELECT statement FROM epoch WHERE authority = ?")
            .bind("spiffe://example.org/sab")
            .fetch_one(&mut store)
            .await
            .unwrap();
        EpochStatement::parse(&statement).unwrap().parts().revoked.holders.contains(&id(holder))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn i2_nothing_is_acknowledged_that_a_restart_would_forget() {
        let world = World::new().await;
        let broker = world.broker(&Settings::default()).await;
        for number in 0..20 {
            let holder = format!("agent/revoked-{number}");
            world.epochs.say(|says| says.revoked.holders.insert(id(&holder))).await;
            assert!(is_durable(&world, &holder).await, "acknowledged, and not durable");
        }
        // A store that takes nothing: no acknowledgement, however often the authority says it.
        let mut other = SqliteConnection::connect(world.path("broker.db").to_str().unwrap()).await.unwrap();
        sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
        let sequence = world.epochs.begin_to_say(|says| says.revoked.holders.insert(id("agent/one")));
        for _ in 0..100 {
            let acknowledged = world.epochs.newest_acknowledged();
            assert!(acknowledged < sequence, "{acknowledged} is acknowledged, and {sequence} is not durable");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(!is_durable(&world, "agent/one").await);
        sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
        world.epochs.acknowledged(sequence).await;
        assert!(is_durable(&world, "agent/one").await);
        // After a restart the authority cannot take it back.
        broker.stop().await;
        let broker = world.broker(&Settings { staleness_ms: 1000, ..Settings::default() }).await;
        world.epochs.behave(Manner::Unrevoking);
        until(broker.http, |ok, _| !ok).await;
        let ask = world.ask(&world.scale("checkout").await, 20);
        let status = broker.clients.execute(&ask).await.unwrap_err();
        assert!(["epoch_stale", "revoked_holder"].contains(&reason(&status).as_str()), "{status:?}");
        broker.stop().await;
    }

    /// A way to production that holds a connection back until it is opened: the broker has decided, and waits for the
    /// handshake.
    async fn gate(world: &mut World) -> (watch::Sender<bool>, watch::Receiver<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let production = std::mem::replace(&mut world.production.address, listener.local_addr().unwrap().to_string());
        let (open, opened) = watch::channel(false);
        let (came, coming) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                came.send_modify(|count| *count += 1);
                let (mut opened, production) = (opened.clone(), production.clone());
                tokio::spawn(async move {
                    opened.wait_for(|open| *open).await.unwrap();
                    let mut far = TcpStream::connect(production).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        (open, coming)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn i2_what_is_under_way_stops_at_the_fence_for_every_doubt() {
        let mut world = World::new().await;
        let asks = {
            let mut asks = Vec::new();
            for number in 0..5 {
                asks.push(world.ask(&world.scale(&format!("service-{number}")).await, 20));
            }
            asks
        };
        let (open, mut coming) = gate(&mut world).await;
        // Nothing is read before the call, so that the only connection is that of the call.
        let settings = Settings { read_before: false, staleness_ms: 1500, ..Settings::default() };
        let broker = world.broker(&settings).await;
        let cases = [
            "",
            "clock_skew: the broker's clock was stepped",
            "clock_skew: the authority's clock differs",
            "epoch_stale: the newest statement is",
            "revoked_holder: spiffe://example.org/agent/one",
        ];
        for (number, (ask, expected)) in asks.into_iter().zip(cases).enumerate() {
            let clients = broker.clients.clone();
            let before = *coming.borrow_and_update();
            let asked = tokio::spawn(async move { clients.execute(&ask).await });
            tokio::time::timeout(PATIENCE, coming.wait_for(|count| *count > before)).await.unwrap().unwrap();
            // Decided and recorded; not sent.
            match number {
                0 => {}
                // No statement comes that would show it as well.
                1 => {
                    world.epochs.behave(Manner::Silent);
                    broker.clock.step(2_500);
                }
                // The authority's clock and the broker's are apart by more than the bound.
                2 => {
                    world.epochs.behave(Manner::Skewed(2_500));
                    until(broker.http, |_, said| said.contains("sab: clock_skew: the authority's clock differs")).await;
                }
                3 => {
                    world.epochs.behave(Manner::Silent);
                    until(broker.http, |_, said| said.contains("sab: epoch_stale")).await;
                }
                _ => world.epochs.say(|says| says.revoked.holders.insert(id("agent/one"))).await,
            }
            open.send_replace(true);
            let answer = asked.await.unwrap().unwrap();
            match expected {
                "" => assert_eq!(answer.state(), State::Succeeded, "{answer:?}"),
                expected => {
                    assert_eq!(answer.state(), State::Aborted, "{expected}: {answer:?}");
                    assert!(answer.detail.starts_with(expected), "{expected}: {answer:?}");
                }
            }
            open.send_replace(false);
            if number == 1 {
                broker.clock.step(-2_500);
            }
            world.epochs.behave(Manner::Honest);
            until(broker.http, |ok, _| ok).await;
        }
        assert_eq!(world.production.applied().len(), 1);
        broker.stop().await;
        world.verified().await;
    }
}
