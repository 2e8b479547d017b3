//! The tables of `docs/performance.md`.

use std::fmt::Write as _;

use serde_json::Value;

use crate::tables::{number, rows, said};

/// What was measured, in Markdown.
pub(crate) fn tables(measured: &Value) -> String {
    let mut text = String::new();
    let minting = rows(measured, "minting");
    if !minting.is_empty() {
        text += "An execution identity by itself, in milliseconds, by turns:\n\n\
                 | issuer | form | p50 | p99 |\n|---|---|---|---|\n";
        minting.iter().for_each(|row| minted(&mut text, row));
        text += "\n";
    }
    let latency = rows(measured, "latency");
    if !latency.is_empty() {
        text += "What the broker adds to a patch, in milliseconds:\n\n\
                 | exchange | issuer | baseline | patch alone, p50 | `Execute`, p50 | added, p50 | added, p99 | aim |\n\
                 |---|---|---|---|---|---|---|---|\n";
        latency.iter().for_each(|row| added(&mut text, row));
        text += "\nWhere the time goes, in milliseconds of the mean execution:\n\n\
                 | exchange, issuer, baseline | verify | facts | claim | mint | call | of it more than the patch | complete | \
                 rest of the broker | client, gRPC, TLS | `Execute` |\n|---|---|---|---|---|---|---|---|---|---|---|\n";
        latency.iter().for_each(|row| shares(&mut text, row));
    }
    let throughput = rows(measured, "throughput");
    if !throughput.is_empty() {
        text += "\nExecutions per second (`jwt-svid`, `spire-mint`, fields with a read), everything on one machine:\n\n\
                 | agents | executions | p50 | p99 | patches alone | p50 | p99 | CPU of an execution |\n\
                 |---|---|---|---|---|---|---|---|\n";
        throughput.iter().for_each(|row| rates(&mut text, row));
    }
    text
}

// Writing to a string does not fail.

fn minted(text: &mut String, row: &Value) {
    let said = |name: &str| said(row, name);
    let (p50, p99) = (number(row, "/mint_ms/p50"), number(row, "/mint_ms/p99"));
    let _ = writeln!(text, "| `{}` | {} | {p50:.2} | {p99:.2} |", said("issuer"), said("form"));
}

fn added(text: &mut String, row: &Value) {
    let said = |name: &str| said(row, name);
    let of = |pointer: &str| number(row, pointer);
    let (exchange, baseline) = (said("exchange"), said("baseline"));
    let aim = match (exchange, baseline) {
        ("jwt-svid", "exact") => "p50 <= 1.5, p99 <= 10",
        ("jwt-svid", _) => "p50 <= 2.5, p99 <= 10",
        _ => "",
    };
    let _ = writeln!(
        text,
        "| `{exchange}` | `{}` | {baseline} | {:.2} | {:.2} | **{:.2}** | {:.2} | {aim} |",
        said("issuer"),
        of("/direct_ms/p50"),
        of("/execute_ms/p50"),
        of("/added_ms/p50"),
        of("/added_ms/p99"),
    );
}

fn shares(text: &mut String, row: &Value) {
    let said = |name: &str| said(row, name);
    let of = |phase: &str| number(row, &format!("/mean_ms/{phase}"));
    let phases: f64 = ["verify", "facts", "claim", "mint", "call", "complete"].map(of).iter().sum();
    let (execute, direct) = (number(row, "/execute_ms/mean"), number(row, "/direct_ms/mean"));
    let _ = writeln!(
        text,
        "| `{}`, `{}`, {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {execute:.2} |",
        said("exchange"),
        said("issuer"),
        said("baseline"),
        of("verify"),
        of("facts"),
        of("claim"),
        of("mint"),
        of("call"),
        of("call") - direct,
        of("complete"),
        of("all") - phases,
        execute - of("all"),
    );
}

fn rates(text: &mut String, row: &Value) {
    let of = |pointer: &str| number(row, pointer);
    let cpu = |process: &str| of(&format!("/execute/cpu_ms_per_execution/{process}"));
    let _ = writeln!(
        text,
        "| {:.0} | {:.0}/s | {:.1} ms | {:.1} ms | {:.0}/s | {:.1} ms | {:.1} ms | broker {:.2} ms, API server {:.2}, \
         etcd {:.2}, SPIRE {:.2}, client {:.2} |",
        of("/agents"),
        of("/execute/per_second"),
        of("/execute/latency_ms/p50"),
        of("/execute/latency_ms/p99"),
        of("/direct/per_second"),
        of("/direct/latency_ms/p50"),
        of("/direct/latency_ms/p99"),
        cpu("broker"),
        cpu("api_server"),
        cpu("etcd"),
        cpu("spire"),
        cpu("client"),
    );
}
