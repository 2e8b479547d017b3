//! What one execution costs, and how many there are in a second.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use seb::clock;
use seb::proto::seb::v1::ExecuteRequest;
use seb::proto::seb::v1::execution::State;
use seb::proto::seb::v1::execution_service_client::ExecutionServiceClient;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::Channel;

use super::measure::{Samples, cpu, number, rounded};
use super::recorder::Trip;
use super::spent::{means, spent};
use super::world::{AGENTS, World};

/// Executions that warm up: connections, caches, and the sessions that are kept.
const WARM_UP: usize = 20;

/// What came of an execution.
pub(crate) enum Answer {
    Done,
    /// The target's queue was full; nothing was consumed.
    Busy,
    /// A use was consumed, and nothing was done for it.
    Lost(String),
}

/// Executes it; a refusal for another reason than that there is no room ends the measurement.
pub(crate) async fn execute(
    client: &mut ExecutionServiceClient<Channel>,
    ask: ExecuteRequest,
) -> anyhow::Result<Answer> {
    let mut request = tonic::Request::new(ask);
    request.set_timeout(Duration::from_secs(50));
    let answer = match client.execute(request).await {
        Err(status) if status.code() == Code::ResourceExhausted => return Ok(Answer::Busy),
        answer => answer?.into_inner(),
    };
    let execution = answer.execution.context("an answer without execution")?;
    Ok(match execution.state() {
        State::Succeeded => Answer::Done,
        state => Answer::Lost(format!("{state:?}: {}", execution.detail)),
    })
}

async fn succeed(client: &mut ExecutionServiceClient<Channel>, ask: ExecuteRequest) -> anyhow::Result<()> {
    match execute(client, ask).await? {
        Answer::Done => Ok(()),
        Answer::Busy => anyhow::bail!("there was no room"),
        Answer::Lost(how) => anyhow::bail!("an execution ended as {how}"),
    }
}

/// For how long at least one of these was under way.
fn waited(trips: &[(&'static str, Trip)]) -> Duration {
    let mut spans: Vec<_> = trips.iter().map(|(_, trip)| (trip.begun, trip.ended)).collect();
    spans.sort();
    let (mut all, mut until) = (Duration::ZERO, None);
    for (begun, ended) in spans {
        let from = until.map_or(begun, |until| begun.max(until));
        all += ended.saturating_duration_since(from);
        until = Some(until.map_or(ended, |until| ended.max(until)));
    }
    all
}

/// Executions one after the other, with every round trip of each.
pub(crate) async fn latency(world: &World, executions: usize) -> anyhow::Result<Value> {
    let client = &mut world.agents.first().context("no agent")?.clone();
    let item = world.item().await;
    let (mut all, mut provider, mut added) = (Samples::default(), Samples::default(), Samples::default());
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut least, mut most) = (usize::MAX, 0);
    let mut before = BTreeMap::new();
    for place in 0..executions + WARM_UP {
        if place == WARM_UP {
            before = spent(world.broker.address("http")?).await?;
        }
        let ask = world.ask(0, &item, place)?;
        drop(world.trips()?);
        let begun = clock::instant();
        succeed(client, ask).await?;
        let took = begun.elapsed();
        let trips = world.trips()?;
        if place < WARM_UP {
            continue;
        }
        ensure!(
            trips.iter().all(|(_, trip)| !trip.answered.is_empty()),
            "an execution that did not wait for an answer"
        );
        let waited = waited(&trips);
        all.add(took);
        provider.add(waited);
        added.add_ms((took.as_secs_f64() - waited.as_secs_f64()) * 1000.0);
        (least, most) = (least.min(trips.len()), most.max(trips.len()));
        for (kind, _) in &trips {
            *counts.entry(kind).or_default() += 1;
        }
    }
    let after = spent(world.broker.address("http")?).await?;
    let each =
        |(kind, count): (&str, usize)| (kind.to_owned(), json!(rounded(number(count) / number(executions).max(1.0))));
    Ok(json!({
        "exchange": world.exchange.as_str(),
        "issuer": world.exchange.issuer(),
        "execute_ms": all.to_json(),
        "provider_ms": provider.to_json(),
        "added_ms": added.to_json(),
        "round_trips": { "least": least, "most": most },
        "round_trips_per_execution": counts.into_iter().map(each).collect::<serde_json::Map<_, _>>(),
        "mean_ms": means(&before, &after),
    }))
}

/// Executions per second by so many agents, each changing an item of its own.
pub(crate) async fn throughput(world: &World, agents: usize, seconds: u64, quota: &str) -> anyhow::Result<Value> {
    let limit = Duration::from_secs(seconds);
    let each = usize::try_from(seconds)? * 600 / agents.max(2);
    let mut lanes = Vec::new();
    for agent in 0..agents {
        let item = world.item().await;
        let asks: Vec<ExecuteRequest> =
            (0..each).map(|price| world.ask(agent % AGENTS, &item, price)).collect::<Result<_, _>>()?;
        lanes.push((world.agents.get(agent % AGENTS).context("no such agent")?.clone(), asks));
    }
    let before = [cpu(world.broker.id)?, cpu(world.emulator)?];
    let begun = clock::instant();
    let mut running = JoinSet::new();
    for (mut client, asks) in lanes {
        running.spawn(async move {
            let mut latency = Samples::default();
            for ask in asks {
                if begun.elapsed() >= limit {
                    break;
                }
                let asked = clock::instant();
                succeed(&mut client, ask).await?;
                latency.add(asked.elapsed());
            }
            Ok::<_, anyhow::Error>(latency)
        });
    }
    let mut latency = Samples::default();
    while let Some(done) = running.join_next().await {
        latency.append(done??);
    }
    let took = begun.elapsed().as_secs_f64();
    let after = [cpu(world.broker.id)?, cpu(world.emulator)?];
    let used = before.into_iter().zip(after).map(|(before, after)| {
        rounded(after.saturating_sub(before).as_secs_f64() * 1000.0 / number(latency.len()).max(1.0))
    });
    let used: Vec<f64> = used.collect();
    drop(world.trips()?);
    Ok(json!({
        "exchange": world.exchange.as_str(),
        "agents": agents,
        "quota": quota,
        "per_second": rounded(number(latency.len()) / took),
        "latency_ms": latency.to_json(),
        "cpu_ms_per_execution": { "broker": used.first(), "emulator": used.get(1) },
    }))
}
