//! The load harness: clients, authority, broker and target as separate processes on this machine, and what of it they
//! can bear. `docs/performance.md` says what each figure means; `make bench-load` runs it.
//!
//! Prints a table to standard error and JSON to standard output (or to `--json FILE`).

mod certify;
mod measure;
mod phases;
mod process;
mod report;
mod world;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use serde_json::{Map, Value, json};

use self::measure::{mebi, memory};
use self::world::World;

#[derive(Debug, Parser)]
struct Arguments {
    /// Pairs of an execution and the same call without a broker
    #[arg(long, default_value_t = 600)]
    pairs: usize,
    /// Seconds of each run at one number of clients
    #[arg(long, default_value_t = 6)]
    seconds: u64,
    /// Runs at each number of clients; the best one counts
    #[arg(long, default_value_t = 2)]
    runs: usize,
    /// Numbers of clients
    #[arg(long, value_delimiter = ',', default_value = "1,8,64,128")]
    clients: Vec<usize>,
    /// Revocations under load
    #[arg(long, default_value_t = 120)]
    revocations: usize,
    /// Executions of the growth run
    #[arg(long, default_value_t = 100_000)]
    growth: usize,
    /// Only these: latency, throughput, direct, revocation, growth
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Where the stores are: on the disk that is to be measured; `target` by default
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Write the JSON there
    #[arg(long)]
    json: Option<PathBuf>,
    /// Leave stores and logs behind
    #[arg(long)]
    keep: bool,
    /// What `cargo bench` says
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let measured = runtime.block_on(run(&arguments))?;
    let text = serde_json::to_string_pretty(&json!({ "load": measured }))?;
    write!(std::io::stderr().lock(), "{}", report::table(&measured))?;
    match &arguments.json {
        Some(file) => std::fs::write(file, text + "\n").with_context(|| format!("cannot write `{}`", file.display())),
        None => Ok(writeln!(std::io::stdout().lock(), "{text}")?),
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<Value> {
    let wanted = |phase: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| only == phase);
    let folder = arguments.folder.clone().unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/target").into());
    let mut world = World::start(&folder, arguments.revocations).await?;
    if arguments.keep {
        writeln!(std::io::stderr().lock(), "stores and logs are in {}", world.keep().display())?;
    }
    let world = Arc::new(world);
    let say = |what: &str| writeln!(std::io::stderr().lock(), "measuring: {what}");
    let mut measured = Map::new();
    measured.insert("processors".to_owned(), json!(std::thread::available_parallelism()?.get()));
    measured.insert("idle".to_owned(), phases::idle(&world).await?);
    if wanted("latency") {
        say("latency")?;
        measured.insert("latency".to_owned(), phases::latency(&world, arguments.pairs).await?);
    }
    if wanted("throughput") {
        let mut rows = Vec::new();
        for clients in &arguments.clients {
            say(&format!("{clients} clients"))?;
            rows.push(phases::throughput(&world, *clients, arguments.seconds, arguments.runs).await?);
        }
        measured.insert("throughput".to_owned(), Value::Array(rows));
    }
    if wanted("direct") {
        say("without a broker")?;
        measured.insert("direct".to_owned(), phases::direct(&world, 64, arguments.seconds).await?);
    }
    if wanted("revocation") {
        say("revocations")?;
        measured.insert("revocation".to_owned(), phases::revocation(&world, arguments.revocations).await?);
    }
    if wanted("growth") {
        say(&format!("{} executions", arguments.growth))?;
        measured.insert("growth".to_owned(), phases::growth(&world, arguments.growth, 64).await?);
    }
    let most = json!({ "broker_resident_mib": mebi(memory(world.broker.id, "VmHWM")?) });
    measured.insert("most".to_owned(), most);
    Ok(Value::Object(measured))
}
