//! What is measured.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use seb::clock;
use seb::proto::seb::v1::ExecuteRequest;
use seb::proto::seb::v1::execution::State;
use seb::proto::seb::v1::execution_service_client::ExecutionServiceClient;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use super::measure::{Samples, cpu, number, rounded};
use super::spent::{means, spent};
use super::world::{AGENTS, Baseline, Cluster, Exchange, Row, World};

/// Pairs that warm up: connections, caches, and what the API server compiles at its first need.
const WARM_UP: usize = 30;

async fn succeed(client: &mut ExecutionServiceClient<Channel>, ask: ExecuteRequest) -> anyhow::Result<()> {
    let answer = client.execute(ask).await?.into_inner();
    let execution = answer.execution.context("an answer without execution")?;
    ensure!(
        execution.state() == State::Succeeded,
        "an execution ended as {:?}: {}",
        execution.state(),
        execution.detail
    );
    Ok(())
}

/// An execution and the same patch without a broker, by turns, so that what disturbs one disturbs the other. Each on an
/// object of its own.
pub(crate) async fn latency(cluster: &Cluster, world: &World, row: Row, pairs: usize) -> anyhow::Result<Value> {
    let (ours, theirs) = (cluster.deployment().await?.name(), cluster.deployment().await?.name());
    let client = &mut world.agents.first().context("no agent")?.clone();
    let (direct, looking) = (&mut cluster.direct().await?, &mut cluster.direct().await?);
    let (mut through, mut alone, mut added) = (Samples::default(), Samples::default(), Samples::default());
    let mut before = BTreeMap::new();
    for pair in 0..pairs + WARM_UP {
        if pair == WARM_UP {
            before = spent(world.broker.address("http")?).await?;
        }
        let replicas = 3 + pair % 40;
        let ask = world.ask(row, &cluster.seen(looking, ours.clone()).await?, 0, replicas)?;
        let seen = cluster.seen(looking, theirs.clone()).await?;
        let first = pair % 2 == 0;
        let mut patched = Duration::ZERO;
        if first {
            patched = cluster.patch(direct, &seen, row.baseline, replicas).await?;
        }
        let begun = clock::instant();
        succeed(client, ask).await?;
        let took = begun.elapsed();
        if !first {
            patched = cluster.patch(direct, &seen, row.baseline, replicas).await?;
        }
        if pair >= WARM_UP {
            through.add(took);
            alone.add(patched);
            added.add_ms((took.as_secs_f64() - patched.as_secs_f64()) * 1000.0);
        }
    }
    let after = spent(world.broker.address("http")?).await?;
    Ok(json!({
        "exchange": row.exchange.as_str(),
        "issuer": world.issuer.to_string(),
        "baseline": row.baseline.as_str(),
        "execute_ms": through.to_json(),
        "direct_ms": alone.to_json(),
        "added_ms": added.to_json(),
        "difference_of_p50_ms": rounded(through.p50() - alone.p50()),
        "difference_of_p99_ms": rounded(through.p99() - alone.p99()),
        "mean_ms": means(&before, &after),
    }))
}

/// Requests that are ready, with the agent of each.
type Asks = Arc<Vec<ExecuteRequest>>;

/// Executions per second by so many agents, each changing a deployment of its own; the best of some runs, since whatever
/// else the machine does only slows. Then the same patches without a broker.
pub(crate) async fn throughput(
    cluster: &Cluster,
    world: &World,
    agents: usize,
    seconds: u64,
    runs: usize,
) -> anyhow::Result<Value> {
    let row = Row { exchange: Exchange::JwtSvid, baseline: Baseline::FieldsRead };
    let limit = Duration::from_secs(seconds);
    let mut names = Vec::new();
    let mut asks: Vec<Vec<Asks>> = vec![Vec::new(); runs];
    let each = usize::try_from(seconds)? * 1200 / agents.max(3);
    for agent in 0..agents {
        let deployment = cluster.deployment().await?;
        names.push(deployment.name());
        for run in &mut asks {
            let ask = |place: usize| world.ask(row, &deployment, agent % AGENTS, 3 + place % 40);
            run.push(Arc::new((0..each).map(ask).collect::<Result<_, _>>()?));
        }
    }
    let mut best: Option<(f64, Value)> = None;
    for asks in asks {
        let before = usage(cluster, world)?;
        let begun = clock::instant();
        let mut running = JoinSet::new();
        for (agent, asks) in asks.into_iter().enumerate() {
            let mut client = world.agents.get(agent % AGENTS).context("no such agent")?.clone();
            running.spawn(async move {
                let mut latency = Samples::default();
                for ask in asks.iter() {
                    if begun.elapsed() >= limit {
                        break;
                    }
                    let asked = clock::instant();
                    succeed(&mut client, ask.clone()).await?;
                    latency.add(asked.elapsed());
                }
                Ok::<_, anyhow::Error>(latency)
            });
        }
        let mut latency = Samples::default();
        while let Some(done) = running.join_next().await {
            latency.append(done??);
        }
        let rate = rounded(number(latency.len()) / begun.elapsed().as_secs_f64());
        if best.as_ref().is_none_or(|(best, _)| *best < rate) {
            let cpu = each_spent(&before, &usage(cluster, world)?, latency.len());
            let told = json!({ "per_second": rate, "latency_ms": latency.to_json(), "cpu_ms_per_execution": cpu });
            best = Some((rate, told));
        }
    }
    let (_, through) = best.context("no run")?;
    Ok(json!({ "agents": agents, "execute": through, "direct": direct(cluster, names, row.baseline, limit).await? }))
}

/// The same patches by as many plain clients.
async fn direct(cluster: &Cluster, names: Vec<String>, baseline: Baseline, limit: Duration) -> anyhow::Result<Value> {
    let count = AtomicUsize::new(0);
    let begun = clock::instant();
    let one = async |name: String| -> anyhow::Result<Samples> {
        let connection = &mut cluster.direct().await?;
        let seen = cluster.seen(connection, name).await?;
        let mut latency = Samples::default();
        while begun.elapsed() < limit {
            let place = count.fetch_add(1, Ordering::Relaxed);
            latency.add(cluster.patch(connection, &seen, baseline, 3 + place % 40).await?);
        }
        Ok(latency)
    };
    let mut latency = Samples::default();
    for done in futures::future::join_all(names.into_iter().map(one)).await {
        latency.append(done?);
    }
    let rate = rounded(number(latency.len()) / begun.elapsed().as_secs_f64());
    Ok(json!({ "per_second": rate, "latency_ms": latency.to_json() }))
}

/// User and system time so far of everything that takes part.
fn usage(cluster: &Cluster, world: &World) -> anyhow::Result<Vec<(&'static str, Duration)>> {
    let processes = [
        ("client", std::process::id()),
        ("broker", world.broker.id),
        ("api_server", cluster.kubernetes.api_server.id()),
        ("etcd", cluster.kubernetes.etcd.id()),
        ("spire", cluster.spire.server.id()),
    ];
    processes.into_iter().map(|(name, id)| Ok((name, cpu(id)?))).collect()
}

fn each_spent(before: &[(&str, Duration)], after: &[(&str, Duration)], count: usize) -> Value {
    let spent = |((name, before), (_, after)): (&(&str, Duration), &(&str, Duration))| {
        let used = after.saturating_sub(*before).as_secs_f64() * 1000.0;
        ((*name).to_owned(), json!(rounded(used / number(count).max(1.0))))
    };
    before.iter().zip(after).map(spent).collect::<serde_json::Map<_, _>>().into()
}
