//! What the broker tells of itself while it executes: traces at a real collector, metrics, and lines of the log.

#[cfg(test)]
#[path = "telemetry/collector.rs"]
mod collector;
#[cfg(test)]
mod world;

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use seb::proto::seb::v1::execution::State;
    use seb::proto::seb::v1::{ExecuteRequest, Execution};
    use tokio::net::TcpListener;
    use tokio::process::Command;
    use tonic::Request;

    use crate::collector::{Collector, Seen};
    use crate::world::broker::{Process, Settings};
    use crate::world::{PATIENCE, World};

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    /// A broker as a process, with this `[telemetry]`.
    async fn broker(world: &World, telemetry: &str) -> Process {
        let file = world.configure(&Settings::default());
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{text}\n[telemetry]\n{telemetry}\n")).unwrap();
        let process = Process::start(world).await;
        world.epochs.heard().await;
        process
    }

    async fn execute(world: &World, process: &Process, ask: &ExecuteRequest) -> Execution {
        let mut request = Request::new(ask.clone());
        request.metadata_mut().insert("traceparent", format!("00-{TRACE}-{PARENT}-01").parse().unwrap());
        let mut agent = world.clients(process.address).await.agent;
        let answer = tokio::time::timeout(PATIENCE, agent.execute(request)).await.unwrap().unwrap();
        answer.into_inner().execution.unwrap()
    }

    /// Ends the process as an operator does; it must not take long.
    async fn end(mut process: Process) {
        let id = process.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
        assert!(tokio::time::timeout(PATIENCE, process.child.wait()).await.unwrap().unwrap().success());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_spans_of_one_execution_reach_a_collector_in_the_agents_trace() {
        let world = World::new().await;
        let collector = Collector::start().await;
        let telemetry = format!("otlp = \"{}\"\ninstance = \"one\"", collector.address);
        let process = broker(&world, &telemetry).await;
        let ask = world.ask(&world.scale("checkout").await, 20);
        let execution = execute(&world, &process, &ask).await;
        assert_eq!(execution.state(), State::Succeeded);
        let spans = collector.wait_for(|spans| spans.iter().any(|span| span.name.ends_with("/Execute"))).await;

        let call = spans.iter().find(|span| span.name == "seb.v1.ExecutionService/Execute").unwrap();
        assert_eq!((call.trace.as_str(), call.parent.as_str()), (TRACE, PARENT));
        assert_eq!(call.resource["service.name"], "seb");
        assert_eq!(call.resource["service.instance.id"], "one");
        let said = |name: &str| call.attributes.get(name).map(String::as_str);
        assert_eq!(said("mutation"), Some(execution.mutation_id.as_str()));
        assert_eq!(said("record"), Some(execution.decision_record.to_string().as_str()));
        assert_eq!((said("state"), said("code")), (Some("succeeded"), Some("ok")));
        let phases: BTreeMap<_, _> = spans
            .iter()
            .filter(|span| span.trace == TRACE && span.id != call.id)
            .map(|s| (s.name.as_str(), s))
            .collect();
        let names: BTreeSet<_> = phases.keys().copied().collect();
        assert_eq!(names, BTreeSet::from(["verify", "facts", "claim", "mint", "call", "complete"]));
        assert!(phases.values().all(|phase| phase.parent == call.id), "{phases:#?}");

        // The record names the same trace.
        let decision = &world.clients(process.address).await.log(execution.decision_record - 1).await[0];
        let trace = decision.body.get("trace").and_then(|trace| trace.as_str()).unwrap().to_owned();
        assert_eq!(trace, format!("00-{TRACE}-{PARENT}-01"));
        end(process).await;
        only_what_is_listed(&collector.spans());
        world.verified().await;
    }

    /// The attributes are a closed list, and none of their values is what nobody else should see.
    fn only_what_is_listed(spans: &[Seen]) {
        let listed = ["peer", "code", "mutation", "state", "reason", "record"];
        for span in spans {
            for (name, value) in &span.attributes {
                assert!(listed.contains(&name.as_str()), "`{name}` of {span:?}");
                let short = value.len() < 100 && !value.contains("BEGIN") && !value.contains('{');
                assert!(short, "`{name}` of {span:?}");
            }
            assert_eq!(span.events, 0, "{span:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_collector_is_verified_by_its_name() {
        let world = World::new().await;
        let collector = Collector::start().await;
        let (address, anchors) = collector.behind_tls("localhost").await;
        std::fs::write(world.path("collector.pem"), anchors).unwrap();
        let process = broker(&world, &format!("otlp = \"{address}\"\notlp_ca = \"collector.pem\"")).await;
        execute(&world, &process, &world.ask(&world.scale("checkout").await, 20)).await;
        collector.wait_for(|spans| spans.iter().any(|span| span.name.ends_with("/Execute"))).await;
        end(process).await;

        // A certificate of another name: nothing is sent there, and it is said.
        let (address, anchors) = collector.behind_tls("elsewhere.example.org").await;
        std::fs::write(world.path("collector.pem"), anchors).unwrap();
        let before = collector.spans().len();
        let process = broker(&world, &format!("otlp = \"{address}\"\notlp_ca = \"collector.pem\"")).await;
        execute(&world, &process, &world.ask(&world.scale("search").await, 20)).await;
        end(process).await;
        assert_eq!(collector.spans().len(), before);
        assert!(said(&world).contains("event=\"spans_lost\""), "{}", said(&world));
    }

    fn said(world: &World) -> String {
        std::fs::read_to_string(world.path("broker.log")).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_collector_that_hangs_is_in_nobodys_way() {
        let world = World::new().await;
        // It takes connections, and says nothing.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let process = broker(&world, &format!("otlp = \"{}\"", silent.local_addr().unwrap())).await;
        for name in ["one", "two", "three"] {
            let ask = world.ask(&world.scale(name).await, 20);
            assert_eq!(execute(&world, &process, &ask).await.state(), State::Succeeded);
        }
        let begun = std::time::Duration::from_secs(30);
        tokio::time::timeout(begun, end(process)).await.expect("it ends without the collector");
        assert_eq!(world.production.applied().len(), 3);
    }

    /// Every phase is measured, and so is what the store takes.
    #[tokio::test(flavor = "multi_thread")]
    async fn every_metric_of_an_execution_moves() {
        let world = World::new().await;
        let file = world.configure(&Settings::default());
        let process = Process::start(&world).await;
        world.epochs.heard().await;
        assert!(file.exists());
        let ask = world.ask(&world.scale("checkout").await, 20);
        execute(&world, &process, &ask).await;
        let measured = async {
            loop {
                let text = scrape(process.http).await;
                // The gauges are set every second.
                if value(&text, "seb_certificate_remaining_seconds{certificate=\"execution_ca\"}") > 0.0
                    && value(&text, "seb_log_head") >= 3.0
                {
                    return text;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let text = tokio::time::timeout(PATIENCE, measured).await.unwrap();
        for phase in ["verify", "facts", "claim", "mint", "call", "complete"] {
            let count = value(&text, &format!("seb_phase_seconds_count{{phase=\"{phase}\"}}"));
            assert!(count >= 1.0, "{phase}\n{text}");
            let sum = value(&text, &format!("seb_phase_seconds_sum{{phase=\"{phase}\"}}"));
            assert!(sum > 0.0 && sum < 60.0, "{phase}: {sum}");
        }
        // The decision and the outcome.
        assert!(value(&text, "seb_store_commit_seconds_count") >= 2.0, "{text}");
        assert!(value(&text, "seb_certificate_remaining_seconds{certificate=\"svid\"}") > 0.0, "{text}");
        assert!(value(&text, "seb_executions_total{state=\"succeeded\",reason=\"\"}") >= 1.0, "{text}");
        assert!(value(&text, "seb_epoch_age_seconds{authority=\"spiffe://example.org/sab\"}") < 60.0, "{text}");
        end(process).await;
    }

    async fn scrape(address: std::net::SocketAddr) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
        let ask = format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        socket.write_all(ask.as_bytes()).await.unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).await.unwrap();
        text
    }

    /// The value of a series; 0 while there is none.
    fn value(text: &str, series: &str) -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }
}
