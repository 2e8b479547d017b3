//! What the broker says that each phase of its executions took.

use std::collections::BTreeMap;

use anyhow::ensure;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::measure::rounded;

/// Sum and count of a duration that the broker measures.
pub(crate) type Spent = BTreeMap<String, (f64, f64)>;

/// What the broker whose metrics are there has spent so far in each phase (by its name), and in all (`all`).
pub(crate) async fn spent(address: &str) -> anyhow::Result<Spent> {
    let mut socket = TcpStream::connect(address).await?;
    socket.write_all(b"GET /metrics HTTP/1.1\r\nhost: broker\r\nconnection: close\r\n\r\n").await?;
    let mut text = String::new();
    socket.read_to_string(&mut text).await?;
    let mut spent = Spent::new();
    for line in text.lines() {
        let Some((name, value)) = line.rsplit_once(' ') else { continue };
        let (metric, labels) = name.split_once('{').unwrap_or((name, ""));
        let phase = labels.strip_prefix("phase=\"").and_then(|rest| rest.split('"').next()).unwrap_or("all");
        let entry = |spent: &mut Spent| spent.entry(phase.to_owned()).or_default().to_owned();
        let value: f64 = value.parse().unwrap_or_default();
        match metric {
            "seb_phase_seconds_sum" | "seb_execution_seconds_sum" => {
                let (_, count) = entry(&mut spent);
                spent.insert(phase.to_owned(), (value, count));
            }
            "seb_phase_seconds_count" | "seb_execution_seconds_count" => {
                let (sum, _) = entry(&mut spent);
                spent.insert(phase.to_owned(), (sum, value));
            }
            _ => {}
        }
    }
    ensure!(spent.contains_key("call"), "the broker does not tell its phases");
    Ok(spent)
}

/// The mean of each duration between two looks, in milliseconds for each execution.
pub(crate) fn means(before: &Spent, after: &Spent) -> Value {
    let executions = |spent: &Spent| spent.get("all").map_or(0.0, |(_, count)| *count);
    let count = (executions(after) - executions(before)).max(1.0);
    let sum = |spent: &Spent, phase: &str| spent.get(phase).map_or(0.0, |(sum, _)| *sum);
    let mean = |phase: &String| rounded((sum(after, phase) - sum(before, phase)) * 1000.0 / count);
    after.keys().map(|phase| (phase.clone(), json!(mean(phase)))).collect::<serde_json::Map<_, _>>().into()
}
