//! The table for people. What is measured is in the JSON; here stands what there is an aim for.

use std::fmt::Write as _;

use serde_json::Value;

/// The measured values next to their aims.
pub(crate) fn table(measured: &Value) -> String {
    let mut table = Table(String::new());
    table.row("", "measured", "aim");
    let ms = |pointer: &str| number(measured, pointer).map(|value| format!("{value:.2} ms"));
    table.measured("execute, p50", ms("/latency/execute_ms/p50"), "");
    table.measured("the same call directly, p50", ms("/latency/direct_ms/p50"), "");
    table.measured("added, p50 of pairs", ms("/latency/added_ms/p50"), "<= 3 ms");
    table.measured("added, p99 of pairs", ms("/latency/added_ms/p99"), "<= 10 ms");
    table.measured("p99 less the direct p99", ms("/latency/difference_of_p99_ms"), "");
    for row in measured.get("throughput").and_then(Value::as_array).into_iter().flatten() {
        let of = |pointer: &str| number(row, pointer).unwrap_or_default();
        let (clients, p50, p99) = (of("/clients"), of("/latency_ms/p50"), of("/latency_ms/p99"));
        let rate = format!("{:.0}/s, p50 {p50:.1} ms, p99 {p99:.1} ms", of("/per_second"));
        table.row(&format!("durable executions, {clients} clients"), &rate, ">= 2,000/s");
        let cpu = |process: &str| of(&format!("/cpu_ms_per_execution/{process}"));
        let parts = format!(
            "{:.2} ms: broker {:.2}, target {:.2}, client {:.2}",
            cpu("all"),
            cpu("broker"),
            cpu("sandbox"),
            cpu("client")
        );
        table.row("  CPU for each", &parts, "");
    }
    table.measured(
        "direct calls, 64 clients",
        number(measured, "/direct/per_second").map(|rate| format!("{rate:.0}/s")),
        "",
    );
    table.measured("revocation asked to acknowledged, p99", ms("/revocation/asked_to_acknowledged_ms/p99"), "");
    table.measured(
        "asked to last effect at the target, p99",
        ms("/revocation/asked_to_last_effect_ms/p99"),
        "<= 50 ms",
    );
    let key = "/revocation/acknowledged_to_last_effect_ms/max";
    table.measured("acknowledged to last effect, greatest", ms(key), "(in flight)");
    let started = number(measured, "/revocation/asked_for_after_acknowledgement_and_executed");
    table.measured("asked for after it and executed", started.map(|count| count.to_string()), "0");
    let mib = |pointer: &str| number(measured, pointer).map(|value| format!("{value:.1} MiB"));
    table.measured("broker resident, idle", mib("/idle/broker_resident_mib"), "<= 64 MiB");
    table.measured("broker resident, most", mib("/most/broker_resident_mib"), "<= 128 MiB");
    for row in measured.pointer("/growth/slices").and_then(Value::as_array).into_iter().flatten() {
        let of = |name: &str| row.get(name).and_then(Value::as_f64).unwrap_or_default();
        let text = format!(
            "{:.0}/s, p50 {:.1} ms, p99 {:.1} ms, {:.1} MiB, {:.0} octets each",
            of("per_second"),
            of("p50_ms"),
            of("p99_ms"),
            of("broker_resident_mib"),
            of("store_octets_per_execution")
        );
        table.row(&format!("up to {:.0} executions", of("executions")), &text, "flat");
    }
    table.0
}

struct Table(String);

impl Table {
    fn row(&mut self, what: &str, measured: &str, aim: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{}", format!("{what:<42} {measured:<60} {aim}").trim_end());
    }

    fn measured(&mut self, what: &str, measured: Option<String>, aim: &str) {
        if let Some(measured) = measured {
            self.row(what, &measured, aim);
        }
    }
}

fn number(value: &Value, pointer: &str) -> Option<f64> {
    value.pointer(pointer).and_then(Value::as_f64)
}
