//! What a certified mutation of AWS costs: against an emulator that enforces IAM, and before it IAM Roles Anywhere as its
//! documentation has it; authority, broker and emulator being processes of their own. Every octet between broker and provider
//! passes a recorder in this process, so that the time in which the provider was waited for is known, and can be taken off.
//! `docs/performance.md` says what each figure means; `make bench-aws` runs it.
//!
//! Prints tables for that page to standard output, and JSON to `--json FILE`.

#[path = "../load/certify.rs"]
mod certify;
#[path = "../load/measure.rs"]
#[expect(dead_code, reason = "the load harness measures more")]
mod measure;
mod phases;
#[path = "../load/process.rs"]
mod process;
mod quota;
#[expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests share it; what fails there ends the measurement"
)]
#[path = "../../tests/support/recorder.rs"]
mod recorder;
mod report;
#[expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests share it; what fails there ends the measurement"
)]
#[path = "../../tests/support/roles_anywhere.rs"]
mod roles_anywhere;
#[expect(clippy::unwrap_used, reason = "tests share it; what fails there ends the measurement")]
#[path = "../../tests/support/sessions.rs"]
mod sessions;
#[path = "../load/settings.rs"]
mod settings;
#[path = "../load/spent.rs"]
mod spent;
#[path = "../load/tables.rs"]
mod tables;
#[expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests share it; what fails there ends the measurement"
)]
#[path = "../../tests/support/testbed/mod.rs"]
mod testbed;
mod world;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use serde_json::Value;

use self::world::{Account, Exchange, World};

/// How often AWS gives a session in a second, for account and region.
const QUOTA: usize = 10;

/// More often than anything here asks.
const UNBOUNDED: usize = 10_000;

#[derive(Debug, Parser)]
struct Arguments {
    /// Executions for each exchange, one after the other
    #[arg(long, default_value_t = 300)]
    executions: usize,
    /// Seconds of each run at one number of agents, and at one load of the quota
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Numbers of agents
    #[arg(long, value_delimiter = ',', default_value = "1,8,64")]
    agents: Vec<usize>,
    /// Only these: latency, quota, throughput
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these: per-mutation, pooled, web-identity
    #[arg(long, value_delimiter = ',')]
    exchanges: Vec<Exchange>,
    /// Write the JSON there
    #[arg(long)]
    json: Option<PathBuf>,
    /// What `cargo bench` says
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let measured = runtime.block_on(run(&arguments))?;
    tables::publish("aws", &measured, &report::tables(&measured), arguments.json.as_deref())
}

async fn run(arguments: &Arguments) -> anyhow::Result<Value> {
    let wanted = |phase: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| only == phase);
    let say = |what: &str| writeln!(std::io::stderr().lock(), "measuring: {what}");
    let before = tables::load_average()?;
    let account = Account::start().await;
    let (mut latency, mut throughput, mut quota) = (Vec::new(), Vec::new(), Vec::new());
    let chosen = |exchange: &Exchange| arguments.exchanges.is_empty() || arguments.exchanges.contains(exchange);
    for exchange in Exchange::ALL.into_iter().filter(chosen) {
        if !wanted("latency") && !wanted("throughput") {
            continue;
        }
        // The quota is out of the way: what an exchange costs, and what it could do.
        let world = World::start(&account, exchange, UNBOUNDED).await?;
        if wanted("latency") {
            say(&format!("{exchange}"))?;
            latency.push(phases::latency(&world, arguments.executions).await?);
        }
        for agents in arguments.agents.iter().filter(|_| wanted("throughput")) {
            say(&format!("{exchange}, {agents} agents"))?;
            throughput.push(phases::throughput(&world, *agents, arguments.seconds, "none").await?);
        }
    }
    if chosen(&Exchange::PerMutation) && (wanted("quota") || wanted("throughput")) {
        let world = Arc::new(World::start(&account, Exchange::PerMutation, QUOTA).await?);
        if wanted("quota") {
            say("at the quota")?;
            quota.push(quota::at(&world, arguments.seconds).await?);
            say("over the quota")?;
            quota.push(quota::over(&world, arguments.seconds).await?);
        }
        if wanted("throughput") {
            say("per-mutation, 8 agents, with AWS's quota")?;
            throughput.push(phases::throughput(&world, 8, arguments.seconds, "10/s").await?);
        }
    }
    tables::measured(&before, vec![("latency", latency), ("quota", quota), ("throughput", throughput)])
}
