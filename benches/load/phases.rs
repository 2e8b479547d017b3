//! What is measured, one function each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use seb::clock;
use seb::proto::seb::v1::ExecuteRequest;
use seb::proto::seb::v1::execution::State;
use seb::proto::seb::v1::execution_service_client::ExecutionServiceClient;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tonic::Status;
use tonic::transport::Channel;

use super::measure::{Samples, cpu, mebi, memory, number, rounded};
use super::world::{AGENTS, Scale, World};

/// Executes, and gives the state in which it ended.
async fn execute(client: &mut ExecutionServiceClient<Channel>, ask: ExecuteRequest) -> Result<State, Box<Status>> {
    let answer = client.execute(ask).await.map_err(Box::new)?.into_inner();
    Ok(answer.execution.map_or(State::Unspecified, |execution| execution.state()))
}

async fn succeed(client: &mut ExecutionServiceClient<Channel>, ask: ExecuteRequest) -> anyhow::Result<()> {
    let state = execute(client, ask).await?;
    ensure!(state == State::Succeeded, "an execution ended in the state {state:?}");
    Ok(())
}

/// An execution and the same call without a broker, by turns; so that what disturbs one disturbs the other.
pub(crate) async fn latency(world: &World, pairs: usize) -> anyhow::Result<Value> {
    let scale = world.scale(0).await?;
    let client = &mut world.agents.first().context("no agent")?.clone();
    let (mut through, mut direct, mut added) = (Samples::default(), Samples::default(), Samples::default());
    for pair in 0..pairs + 20 {
        let ask = world.ask(&scale, 0)?;
        let before = if pair % 2 == 0 { Some(world.direct(&scale).await?) } else { None };
        let begun = clock::instant();
        succeed(client, ask).await?;
        let took = begun.elapsed();
        let alone = match before {
            Some(alone) => alone,
            None => world.direct(&scale).await?,
        };
        // The first ones warm up.
        if pair >= 20 {
            through.add(took);
            direct.add(alone);
            added.add_ms((took.as_secs_f64() - alone.as_secs_f64()) * 1000.0);
        }
    }
    Ok(json!({
        "execute_ms": through.to_json(),
        "direct_ms": direct.to_json(),
        "added_ms": added.to_json(),
        "ratio_p50": rounded(through.p50() / direct.p50()),
        "difference_of_p50_ms": rounded(through.p50() - direct.p50()),
        "difference_of_p99_ms": rounded(through.p99() - direct.p99()),
    }))
}

/// Executions that are ready to be asked for, with the agent of each.
struct Asks {
    asks: Vec<ExecuteRequest>,
    next: AtomicUsize,
}

impl Asks {
    /// Issues so many certificates, for all agents by turns. Nothing of it is measured.
    async fn issue(world: &World, count: usize) -> anyhow::Result<Arc<Self>> {
        let mut scales = Vec::new();
        for agent in 0..AGENTS {
            scales.push(world.scale(agent).await?);
        }
        let agents = (0..AGENTS).cycle().zip(scales.iter().cycle());
        let asks = agents.take(count).map(|(agent, scale)| world.ask(scale, agent)).collect::<Result<_, _>>()?;
        Ok(Arc::new(Self { asks, next: AtomicUsize::new(0) }))
    }

    fn take(&self) -> Option<(usize, ExecuteRequest)> {
        let place = self.next.fetch_add(1, Ordering::Relaxed);
        Some((place % AGENTS, self.asks.get(place)?.clone()))
    }
}

/// What a closed loop of clients did.
struct Done {
    latency: Samples,
    seconds: f64,
    /// Milliseconds of user and system time for each execution: client, broker, sandbox, authority.
    cpu: [f64; 4],
    resident: u64,
}

impl Done {
    fn rate(&self) -> f64 {
        rounded(number(self.latency.len()) / self.seconds)
    }

    fn cpu(&self) -> Value {
        let [client, broker, sandbox, sab] = self.cpu.map(rounded);
        let all = rounded(self.cpu.iter().sum());
        json!({ "client": client, "broker": broker, "sandbox": sandbox, "sab": sab, "all": all })
    }
}

fn usage(world: &World) -> anyhow::Result<[Duration; 4]> {
    Ok([cpu(std::process::id())?, cpu(world.broker.id)?, cpu(world.sandbox.id)?, cpu(world.sab.id)?])
}

/// So many clients at once, each asking again when it is answered, until nothing is left or time is over.
async fn load(world: &World, asks: &Arc<Asks>, clients: usize, limit: Duration) -> anyhow::Result<Done> {
    let before = usage(world)?;
    let begun = clock::instant();
    let mut running = JoinSet::new();
    for _ in 0..clients {
        let (asks, mut agents) = (Arc::clone(asks), world.agents.clone());
        running.spawn(async move {
            let mut latency = Samples::default();
            while begun.elapsed() < limit
                && let Some((agent, ask)) = asks.take()
            {
                let client = agents.get_mut(agent).context("no such agent")?;
                let asked = clock::instant();
                succeed(client, ask).await?;
                latency.add(asked.elapsed());
            }
            Ok::<_, anyhow::Error>(latency)
        });
    }
    let (mut latency, mut resident) = (Samples::default(), 0);
    let mut look = tokio::time::interval(Duration::from_millis(100));
    loop {
        tokio::select! {
            done = running.join_next() => match done {
                Some(done) => latency.append(done??),
                None => break,
            },
            _ = look.tick() => resident = memory(world.broker.id, "VmRSS")?.max(resident),
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let after = usage(world)?;
    let count = number(latency.len()).max(1.0);
    let mut used = [0.0; 4];
    for ((used, after), before) in used.iter_mut().zip(after).zip(before) {
        *used = after.saturating_sub(before).as_secs_f64() * 1000.0 / count;
    }
    Ok(Done { latency, seconds, cpu: used, resident })
}

/// Executions per second by so many clients; the best of some runs, since whatever else the machine does only slows.
pub(crate) async fn throughput(world: &World, clients: usize, seconds: u64, runs: usize) -> anyhow::Result<Value> {
    let limit = Duration::from_secs(seconds);
    let (mut all, mut best): (Vec<f64>, Option<Done>) = (Vec::new(), None);
    for _ in 0..runs {
        let count = usize::try_from(seconds)? * if clients == 1 { 1_000 } else { 4_000 };
        let asks = Asks::issue(world, count).await?;
        let done = load(world, &asks, clients, limit).await?;
        all.push(done.rate());
        if best.as_ref().is_none_or(|best| best.rate() < done.rate()) {
            best = Some(done);
        }
    }
    let best = best.context("no run")?;
    Ok(json!({
        "clients": clients,
        "per_second": best.rate(),
        "per_second_of_each_run": all,
        "latency_ms": best.latency.to_json(),
        "cpu_ms_per_execution": best.cpu(),
        "broker_resident_mib": mebi(best.resident),
    }))
}

/// The same calls without a broker: what of the above is the target's and TLS.
pub(crate) async fn direct(world: &Arc<World>, clients: usize, seconds: u64) -> anyhow::Result<Value> {
    let scale = world.scale(0).await?;
    let limit = Duration::from_secs(seconds);
    let (before, begun) = (usage(world)?, clock::instant());
    let mut running = JoinSet::new();
    for _ in 0..clients {
        let (world, scale) = (Arc::clone(world), scale.clone());
        running.spawn(async move {
            let mut latency = Samples::default();
            while begun.elapsed() < limit {
                latency.add(world.direct(&scale).await?);
            }
            Ok::<_, anyhow::Error>(latency)
        });
    }
    let mut latency = Samples::default();
    while let Some(done) = running.join_next().await {
        latency.append(done??);
    }
    let count = number(latency.len()).max(1.0);
    let spent = |place: usize| -> anyhow::Result<f64> {
        let after = usage(world)?;
        let (after, before) = after.get(place).zip(before.get(place)).context("no such process")?;
        Ok(rounded(after.saturating_sub(*before).as_secs_f64() * 1000.0 / count))
    };
    Ok(json!({
        "clients": clients,
        "per_second": rounded(count / begun.elapsed().as_secs_f64()),
        "latency_ms": latency.to_json(),
        "cpu_ms_per_call": { "client": spent(0)?, "sandbox": spent(2)? },
    }))
}

/// What came of one revocation under load.
struct Revocation {
    acknowledged: Duration,
    /// From the moment of asking to the last effect at the target, by its own log; 0 if nothing took effect after it.
    last_after_asking_ms: f64,
    /// The same from the acknowledgement on.
    last_after_ms: f64,
    /// Executions that were asked for after the acknowledgement, and took place.
    started: usize,
    refused: usize,
}

/// Revokes contracts while clients execute under them, and looks into the target's log.
pub(crate) async fn revocation(world: &World, count: usize) -> anyhow::Result<Value> {
    let (mut acknowledged, mut asked, mut after) = (Samples::default(), Samples::default(), Samples::default());
    let (mut started, mut refused) = (0, 0);
    world.heard().await?;
    for place in 0..count {
        let scale = world.revocable(place).await?;
        let one = revoke(world, &scale).await?;
        acknowledged.add(one.acknowledged);
        asked.add_ms(one.last_after_asking_ms);
        after.add_ms(one.last_after_ms);
        started += one.started;
        refused += one.refused;
    }
    ensure!(started == 0, "{started} executions began after a revocation that covers them was acknowledged");
    ensure!(refused > 0, "nothing was refused: the load was over before the revocation");
    Ok(json!({
        "revocations": count,
        "asked_to_acknowledged_ms": acknowledged.to_json(),
        "asked_to_last_effect_ms": asked.to_json(),
        "acknowledged_to_last_effect_ms": after.to_json(),
        "asked_for_after_acknowledgement_and_executed": started,
        "refused": refused,
    }))
}

async fn revoke(world: &World, scale: &Scale) -> anyhow::Result<Revocation> {
    const CLIENTS: usize = 8;
    const EACH: usize = 40;
    let over = Arc::new(AtomicBool::new(false));
    let mut running = JoinSet::new();
    for client in 0..CLIENTS {
        let agent = client % AGENTS;
        let asks = (0..EACH).map(|_| world.ask(scale, agent)).collect::<Result<Vec<_>, _>>()?;
        let (mut client, over) = (world.agents.get(agent).context("no such agent")?.clone(), Arc::clone(&over));
        running.spawn(async move {
            let (mut started, mut refused) = (0, 0);
            for ask in asks {
                let late = over.load(Ordering::SeqCst);
                let done = matches!(execute(&mut client, ask).await, Ok(State::Succeeded));
                refused += usize::from(!done);
                started += usize::from(done && late);
                // Once it is refused, a few more show that it stays so.
                if refused > 3 {
                    break;
                }
            }
            (started, refused)
        });
    }
    // The load is under way.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let (asked_at, begun) = (clock::now()?.millis(), clock::instant());
    world.revoke(scale).await?;
    let acknowledged = begun.elapsed();
    over.store(true, Ordering::SeqCst);
    let acknowledged_at = clock::now()?.millis();
    let (mut started, mut refused) = (0, 0);
    while let Some(done) = running.join_next().await {
        let (more_started, more_refused) = done?;
        started += more_started;
        refused += more_refused;
    }
    let last = world.applied(scale)?.into_iter().max().unwrap_or_default();
    let since = |moment: u64| f64::from(u32::try_from(last.saturating_sub(moment)).unwrap_or(u32::MAX));
    Ok(Revocation {
        acknowledged,
        last_after_asking_ms: since(asked_at),
        last_after_ms: since(acknowledged_at),
        started,
        refused,
    })
}

/// Memory of the broker while nothing is asked of it.
pub(crate) async fn idle(world: &World) -> anyhow::Result<Value> {
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(json!({ "broker_resident_mib": mebi(memory(world.broker.id, "VmRSS")?) }))
}

/// Many executions; what each slice of them costs, and what it leaves behind.
pub(crate) async fn growth(world: &World, count: usize, clients: usize) -> anyhow::Result<Value> {
    const SLICES: usize = 10;
    // Certificates are issued a part at a time, so that they need not all be in memory.
    const PART: usize = 20_000;
    let mut rows = Vec::new();
    let mut before = world.store_octets();
    for slice in 0..SLICES {
        let (mut left, mut done) = (count / SLICES, Vec::new());
        while left > 0 {
            let asks = Asks::issue(world, left.min(PART)).await?;
            left -= left.min(PART);
            done.push(load(world, &asks, clients, Duration::from_secs(86_400)).await?);
        }
        let mut latency = Samples::default();
        let seconds: f64 = done.iter().map(|part| part.seconds).sum();
        let broker: f64 = done.iter().map(|part| part.cpu[1] * number(part.latency.len())).sum();
        done.into_iter().for_each(|part| latency.append(part.latency));
        let after = world.store_octets();
        let grown = after.0.saturating_sub(before.0) / u64::try_from(latency.len().max(1))?;
        rows.push(json!({
            "executions": (slice + 1) * (count / SLICES),
            "per_second": rounded(number(latency.len()) / seconds),
            "p50_ms": latency.p50(),
            "p99_ms": latency.p99(),
            "broker_cpu_ms": rounded(broker / number(latency.len())),
            "broker_resident_mib": mebi(memory(world.broker.id, "VmRSS")?),
            "store_octets_per_execution": grown,
            "write_ahead_log_mib": mebi(after.1),
        }));
        before = after;
    }
    Ok(json!({ "clients": clients, "slices": rows, "store_mib": mebi(before.0) }))
}
