//! The command line of `seb`.

use std::io::Write;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use super::{Exit, Output, agent, broker, certificate, config, records, sandbox, trust_domain, version};
use crate::config::broker::BrokerConfig;

/// Sovereign Execution Broker: performs certified mutations for agents that hold no authority
#[derive(Debug, Parser)]
#[command(name = "seb", version = version::SHORT, long_version = version::LONG.as_str())]
#[command(propagate_version = true, arg_required_else_help = true)]
#[command(after_help = super::STATUSES)]
pub struct Command {
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    topic: Topic,
}

#[derive(Debug, Subcommand)]
enum Topic {
    /// Run a broker
    Broker(broker::Command),
    /// Act as an agent: propose, execute what was certified, and see how it stands
    #[command(subcommand)]
    Agent(agent::Command),
    /// Check the broker's configuration
    #[command(subcommand)]
    Config(config::Command),
    /// Look at attribute certificates, and verify them offline
    #[command(subcommand)]
    Certificate(certificate::Command),
    /// Begin a trust domain of your own, and issue identities in it
    #[command(subcommand)]
    TrustDomain(trust_domain::Command),
    /// Serve the sandbox, a target that admits only the broker's executions
    Sandbox(sandbox::Command),
    /// Look at the log of a broker, verify it, and derive its decisions again
    #[command(subcommand)]
    Records(records::Command),
    /// Print what this binary was built from, and by what
    Version,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

impl Command {
    /// Runs the command, printing to `out`.
    ///
    /// # Errors
    /// If an input cannot be read; the exit status is then 2.
    pub fn run(self, out: &mut impl Write) -> anyhow::Result<Exit> {
        match self.topic {
            Topic::Broker(command) => command.run(self.output.format, out),
            Topic::Agent(command) => command.run(self.output.format, out),
            Topic::Config(command) => command.run(self.output.format, out, BrokerConfig::load),
            Topic::Certificate(command) => command.run(self.output.format, out),
            Topic::TrustDomain(command) => command.run(self.output.format, out),
            Topic::Sandbox(command) => command.run(self.output.format, out),
            Topic::Records(command) => command.run(self.output.format, out),
            Topic::Version => version::print("seb", self.output.format, out),
            Topic::Completions { shell } => {
                clap_complete::generate(shell, &mut Self::command(), "seb", out);
                Ok(Exit::Success)
            }
        }
    }
}
