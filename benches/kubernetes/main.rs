//! What a certified mutation of Kubernetes costs: `Execute` beside the very patch that it makes, sent by a plain client on
//! a warm connection; on the real servers of the testbed, authority and broker being processes of their own.
//! `docs/performance.md` says what each figure means; `make bench-kubernetes` runs it.
//!
//! Prints tables for that page to standard output, and JSON to `--json FILE`.

#[path = "../load/certify.rs"]
mod certify;
#[path = "../load/measure.rs"]
#[expect(dead_code, reason = "the load harness measures more")]
mod measure;
mod minting;
mod phases;
#[path = "../load/process.rs"]
mod process;
mod report;
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

use clap::Parser;
use serde_json::Value;

use self::world::{Cluster, Issuer, World};

#[derive(Debug, Parser)]
struct Arguments {
    /// Pairs of an execution and the same patch without a broker, for each row
    #[arg(long, default_value_t = 300)]
    pairs: usize,
    /// Identities that each issuer mints
    #[arg(long, default_value_t = 500)]
    identities: usize,
    /// Seconds of each run at one number of agents
    #[arg(long, default_value_t = 6)]
    seconds: u64,
    /// Runs at each number of agents; the best one counts
    #[arg(long, default_value_t = 2)]
    runs: usize,
    /// Numbers of agents
    #[arg(long, value_delimiter = ',', default_value = "1,8,64")]
    agents: Vec<usize>,
    /// Only these: embedded, spire-mint
    #[arg(long, value_delimiter = ',')]
    issuers: Vec<Issuer>,
    /// Only these: minting, latency, throughput
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
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
    tables::publish("kubernetes", &measured, &report::tables(&measured), arguments.json.as_deref())
}

async fn run(arguments: &Arguments) -> anyhow::Result<Value> {
    let wanted = |phase: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| only == phase);
    let say = |what: &str| writeln!(std::io::stderr().lock(), "measuring: {what}");
    let before = tables::load_average()?;
    let mut cluster = Cluster::start().await?;
    let (mut minting, mut latency, mut throughput) = (Vec::new(), Vec::new(), Vec::new());
    if wanted("minting") {
        say("minting")?;
        minting = minting::side_by_side(&cluster, arguments.identities).await?;
    }
    let issuers: Vec<Issuer> =
        if arguments.issuers.is_empty() { Issuer::ALL.to_vec() } else { arguments.issuers.clone() };
    for issuer in issuers {
        if !wanted("latency") && !wanted("throughput") {
            continue;
        }
        let world = World::start(&mut cluster, issuer).await?;
        for row in issuer.rows().iter().filter(|_| wanted("latency")) {
            say(&format!("{issuer}, {row}"))?;
            latency.push(phases::latency(&cluster, &world, *row, arguments.pairs).await?);
        }
        if issuer == Issuer::SpireMint && wanted("throughput") {
            for agents in &arguments.agents {
                say(&format!("{agents} agents"))?;
                throughput
                    .push(phases::throughput(&cluster, &world, *agents, arguments.seconds, arguments.runs).await?);
            }
        }
    }
    tables::measured(&before, vec![("minting", minting), ("latency", latency), ("throughput", throughput)])
}
