//! At the quota of `CreateSession`, and over it: who waits, for how long, and that nobody loses a use.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use seb::clock;
use seb::proto::seb::v1::ExecuteRequest;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::QUOTA;
use super::measure::{Samples, number, rounded};
use super::phases::{Answer, execute};
use super::world::World;

/// How long whoever was turned away waits until it asks for the same again.
const AGAIN: Duration = Duration::from_millis(250);

/// Those who ask at the same time over the quota: one agent with many requests, another one with few.
const MANY: usize = 60;
const FEW: usize = 8;

/// One request, which was repeated until there was room.
struct Done {
    agent: usize,
    ended: Instant,
    took: Duration,
    turned_away: usize,
    /// Whether its use was consumed for nothing.
    lost: bool,
}

async fn performed(world: Arc<World>, agent: usize, ask: ExecuteRequest) -> anyhow::Result<Done> {
    let mut client = world.agents.get(agent).context("no such agent")?.clone();
    let mut turned_away = 0;
    loop {
        let begun = clock::instant();
        let answer = execute(&mut client, ask.clone()).await?;
        if matches!(answer, Answer::Busy) {
            turned_away += 1;
            sleep(AGAIN).await;
            continue;
        }
        let lost = matches!(answer, Answer::Lost(_));
        return Ok(Done { agent, ended: clock::instant(), took: begun.elapsed(), turned_away, lost });
    }
}

/// Two agents, who together ask as often as the quota allows, at even distances.
pub(crate) async fn at(world: &Arc<World>, seconds: u64) -> anyhow::Result<Value> {
    let count = usize::try_from(seconds)? * QUOTA;
    let item = world.item().await;
    let asks = (0..count).map(|place| world.ask(place % 2, &item, place)).collect::<Result<Vec<_>, _>>()?;
    let distance = Duration::from_secs_f64(1.0 / number(QUOTA));
    drop(world.trips()?);
    let begun = clock::instant();
    let mut running = JoinSet::new();
    let mut next = begun;
    for (place, ask) in asks.into_iter().enumerate() {
        sleep_until(next).await;
        next += distance;
        running.spawn(performed(Arc::clone(world), place % 2, ask));
    }
    let mut all = Vec::new();
    while let Some(done) = running.join_next().await {
        all.push(done??);
    }
    told(world, "10 a second, evenly", begun, begun + Duration::from_secs(seconds), &all, count)
}

/// Two agents, who ask for more than the quota as long as it goes: each request is followed by another one.
pub(crate) async fn over(world: &Arc<World>, seconds: u64) -> anyhow::Result<Value> {
    let limit = Duration::from_secs(seconds);
    let asked = Arc::new(AtomicUsize::new(0));
    drop(world.trips()?);
    let begun = clock::instant();
    let mut running = JoinSet::new();
    for lane in 0..MANY + FEW {
        let agent = usize::from(lane >= MANY);
        let (world, asked) = (Arc::clone(world), Arc::clone(&asked));
        running.spawn(async move {
            let item = world.item().await;
            let mut all = Vec::new();
            while begun.elapsed() < limit {
                let ask = world.ask(agent, &item, all.len())?;
                asked.fetch_add(1, Ordering::Relaxed);
                all.push(performed(Arc::clone(&world), agent, ask).await?);
            }
            Ok::<_, anyhow::Error>(all)
        });
    }
    let mut all = Vec::new();
    while let Some(done) = running.join_next().await {
        all.append(&mut done??);
    }
    let what = format!("{MANY} requests of one agent at a time, {FEW} of another");
    told(world, &what, begun, begun + limit, &all, asked.load(Ordering::Relaxed))
}

fn told(
    world: &World,
    load: &str,
    begun: Instant,
    until: Instant,
    all: &[Done],
    asked: usize,
) -> anyhow::Result<Value> {
    let sessions = world.trips()?.into_iter().filter(|(kind, trip)| *kind == "CreateSession" && trip.begun >= begun);
    let sessions: Vec<_> = sessions.map(|(_, trip)| trip).collect();
    let answered = |code: &str| {
        let trips = sessions.iter().filter(|trip| trip.answered().starts_with(&format!("HTTP/1.1 {code}")));
        trips.map(|trip| trip.begun).collect::<Vec<Instant>>()
    };
    let (given, throttled) = (answered("201"), answered("429"));
    let second = Duration::from_secs(1);
    let in_a_second = |from: &Instant| given.iter().filter(|it| **it >= *from && **it < *from + second).count();
    let most = given.iter().map(in_a_second).max().unwrap_or_default();
    let within = given.iter().filter(|it| **it < until).count();
    ensure!(all.len() == asked, "{asked} were asked for, and {} were answered", all.len());
    let lost = all.iter().filter(|done| done.lost).count();
    let agent = |which: usize| {
        let own: Vec<&Done> = all.iter().filter(|done| done.agent == which).collect();
        let mut latency = Samples::default();
        own.iter().for_each(|done| latency.add(done.took));
        json!({
            "executions_in_time": own.iter().filter(|done| done.ended < until && !done.lost).count(),
            "latency_ms": latency.to_json(),
            "turned_away": own.iter().map(|done| done.turned_away).sum::<usize>(),
        })
    };
    let mut latency = Samples::default();
    all.iter().for_each(|done| latency.add(done.took));
    Ok(json!({
        "load": load,
        "asked": asked,
        "performed": asked - lost,
        "uses_lost": lost,
        "sessions_per_second": rounded(number(within) / (until - begun).as_secs_f64()),
        "most_sessions_in_a_second": most,
        "throttled_by_the_provider": throttled.len(),
        "latency_ms": latency.to_json(),
        "turned_away": all.iter().map(|done| done.turned_away).sum::<usize>(),
        "agents": [agent(0), agent(1)],
    }))
}
