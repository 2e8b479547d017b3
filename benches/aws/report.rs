//! The tables of `docs/performance.md`.

use std::fmt::Write as _;

use serde_json::Value;

use crate::tables::{number, rows, said};

/// What was measured, in Markdown.
pub(crate) fn tables(measured: &Value) -> String {
    let mut text = String::new();
    let latency = rows(measured, "latency");
    if !latency.is_empty() {
        text += "What the broker adds to the provider's round trips, in milliseconds:\n\n\
                 | exchange | issuer | round trips | `Execute`, p50 | p99 | provider, p50 | p99 | added, p50 | added, p99 | aim |\n\
                 |---|---|---|---|---|---|---|---|---|---|\n";
        latency.iter().for_each(|row| added(&mut text, row));
        text += "\nThe broker's own phases, in milliseconds of the mean execution (the read is in \"facts\", sessions and call in \
                 \"call\"):\n\n| exchange | verify | facts | claim | mint | call | complete | all | provider |\n\
                 |---|---|---|---|---|---|---|---|---|\n";
        latency.iter().for_each(|row| phases(&mut text, row));
    }
    let quota = rows(measured, "quota");
    if !quota.is_empty() {
        text += "\nAt and over the quota of `CreateSession`, 10 in a second:\n\n\
                 | load | sessions per second | most in a second | throttled by the provider | `Execute`, p50 | p99 | turned away | \
                 uses lost | in time, by agent | p50, by agent |\n|---|---|---|---|---|---|---|---|---|---|\n";
        quota.iter().for_each(|row| bounded(&mut text, row));
    }
    let throughput = rows(measured, "throughput");
    if !throughput.is_empty() {
        text += "\nExecutions per second, everything on one machine:\n\n\
                 | exchange | quota | agents | executions | p50 | p99 | CPU of an execution |\n|---|---|---|---|---|---|---|\n";
        throughput.iter().for_each(|row| rates(&mut text, row));
    }
    text
}

// Writing to a string does not fail.

fn added(text: &mut String, row: &Value) {
    let said = |name: &str| said(row, name);
    let of = |pointer: &str| number(row, pointer);
    let trips = row.get("round_trips_per_execution").and_then(Value::as_object);
    let trips = trips.into_iter().flatten().map(|(kind, count)| format!("{kind} {count}"));
    let trips = trips.collect::<Vec<_>>().join(", ");
    let (least, most) = (of("/round_trips/least"), of("/round_trips/most"));
    let all = if least == most { format!("{least:.0}") } else { format!("{least:.0} to {most:.0}") };
    let _ = writeln!(
        text,
        "| `{}` | `{}` | {all}: {trips} | {:.2} | {:.2} | {:.2} | {:.2} | **{:.2}** | {:.2} | p50 <= 3 |",
        said("exchange"),
        said("issuer"),
        of("/execute_ms/p50"),
        of("/execute_ms/p99"),
        of("/provider_ms/p50"),
        of("/provider_ms/p99"),
        of("/added_ms/p50"),
        of("/added_ms/p99"),
    );
}

fn phases(text: &mut String, row: &Value) {
    let exchange = said(row, "exchange");
    let of = |phase: &str| number(row, &format!("/mean_ms/{phase}"));
    let phases = ["verify", "facts", "claim", "mint", "call", "complete", "all"];
    let phases = phases.map(|phase| format!("{:.2}", of(phase))).join(" | ");
    let _ = writeln!(text, "| `{exchange}` | {phases} | {:.2} |", number(row, "/provider_ms/mean"));
}

fn bounded(text: &mut String, row: &Value) {
    let of = |pointer: &str| number(row, pointer);
    let _ = writeln!(
        text,
        "| {} | {:.1} | {:.0} | {:.0} | {:.0} ms | {:.0} ms | {:.0} | {:.0} of {:.0} | {:.0} and {:.0} | {:.0} and {:.0} ms |",
        said(row, "load"),
        of("/sessions_per_second"),
        of("/most_sessions_in_a_second"),
        of("/throttled_by_the_provider"),
        of("/latency_ms/p50"),
        of("/latency_ms/p99"),
        of("/turned_away"),
        of("/uses_lost"),
        of("/asked"),
        of("/agents/0/executions_in_time"),
        of("/agents/1/executions_in_time"),
        of("/agents/0/latency_ms/p50"),
        of("/agents/1/latency_ms/p50"),
    );
}

fn rates(text: &mut String, row: &Value) {
    let said = |name: &str| said(row, name);
    let of = |pointer: &str| number(row, pointer);
    let _ = writeln!(
        text,
        "| `{}` | {} | {:.0} | {:.0}/s | {:.1} ms | {:.1} ms | broker {:.2} ms, emulator {:.2} |",
        said("exchange"),
        said("quota"),
        of("/agents"),
        of("/per_second"),
        of("/latency_ms/p50"),
        of("/latency_ms/p99"),
        of("/cpu_ms_per_execution/broker"),
        of("/cpu_ms_per_execution/emulator"),
    );
}
