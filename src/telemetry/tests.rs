use std::io;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Buffer {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn logged(format: LogFormat, level: LogLevel, log: impl FnOnce()) -> String {
    let buffer = Buffer::default();
    let writer = buffer.clone();
    let subscriber = subscriber(&LogConfig { format, level }, move || writer.clone(), false);
    tracing::subscriber::with_default(subscriber, log);
    String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap()
}

#[test]
fn json_is_one_object_on_each_line() {
    let text = logged(LogFormat::Json, LogLevel::Info, || {
        tracing::info!(peer = "spiffe://example.org/a\n\"b", "first");
        tracing::warn!("second");
    });
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["message"], "first");
    assert_eq!(lines[0]["peer"], "spiffe://example.org/a\n\"b");
    assert_eq!(lines[1]["level"], "WARN");
}

#[test]
fn levels_are_ours_and_libraries_only_warn() {
    let text = logged(LogFormat::Text, LogLevel::Debug, || {
        tracing::debug!("ours");
        tracing::info!(target: "h2::codec", "theirs");
        tracing::warn!(target: "h2::codec", "warning");
    });
    assert!(text.contains("ours") && text.contains("warning") && !text.contains("theirs"), "{text}");
    let text = logged(LogFormat::Text, LogLevel::Error, || tracing::warn!(target: "h2", "warning"));
    assert_eq!(text, "");
}

#[test]
fn metrics_are_what_they_say() {
    let mut registry = Registry::new("seb");
    let broker = BrokerMetrics::register(&mut registry);
    let head = broker.log_head.clone();
    registry.on_scrape(move || {
        head.set(17);
    });
    broker.executed("denied", "expired", 0.002);
    broker.phase(Phase::Claim, 0.001);
    broker.epoch_age(&"spiffe://example.org/sab".parse().unwrap(), 0.25);
    let text = registry.render();
    for line in [
        "# HELP seb_log_head The number of the newest record.",
        "seb_executions_total{state=\"denied\",reason=\"expired\"} 1",
        "seb_phase_seconds_bucket{le=\"0.001\",phase=\"claim\"} 1",
        "seb_epoch_age_seconds{authority=\"spiffe://example.org/sab\"} 0.25",
        "seb_log_head 17",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn health_begins_and_ends_as_not_ready() {
    let health = Health::default();
    assert!(!health.is_ready());
    health.impede("store", "the disk is full");
    health.started();
    assert_eq!(health.impediments(), [Impediment { part: "store".into(), reason: "the disk is full".to_owned() }]);
    health.clear("store");
    assert!(health.is_ready());
    health.draining();
    health.clear("draining");
    assert!(!health.is_ready() && health.is_draining());
}

#[test]
fn the_recovery_of_one_authority_hides_no_fault_of_another() {
    let health = Health::default();
    let [one, two] = ["spiffe://example.org/one", "spiffe://example.org/two"].map(|id| id.parse().unwrap());
    health.silent(&one, "gone");
    health.silent(&two, "gone, too");
    health.started();
    assert!(!health.is_ready());
    health.heard(&one);
    let silent = Impediment { part: "epochs of spiffe://example.org/two".into(), reason: "gone, too".to_owned() };
    assert_eq!(health.report(), (true, vec![silent.clone()]));
    // The process cannot do anything, whoever is heard.
    health.impede("store", "the disk is full");
    assert_eq!((health.is_ready(), health.impediments().len()), (false, 2));
    health.clear("store");
    health.silent(&one, "gone again");
    assert!(!health.is_ready());
    health.heard(&two);
    assert!(health.is_ready());
}

#[test]
fn a_traceparent_has_one_form() {
    let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let parsed: TraceParent = good.parse().unwrap();
    assert_eq!(parsed.to_string(), good);
    assert_eq!(parsed.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(parsed.parent_id(), "00f067aa0ba902b7");
    assert!(parsed.is_sampled());
    for bad in [
        "",
        "00",
        "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 ",
    ] {
        assert_eq!(bad.parse::<TraceParent>(), Err(InvalidTraceParent), "{bad}");
    }
}

proptest! {
    #[test]
    fn what_is_read_is_written_back(text in "00-[0-9a-f]{31,33}-[0-9a-f]{15,17}-[0-9a-f]{1,3}|\\PC{0,60}") {
        if let Ok(parent) = text.parse::<TraceParent>() {
            prop_assert_eq!(parent.to_string(), text);
        }
    }
}
