//! The command line of `sab`.

use std::io::Write;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use super::{Exit, Output, config, issue, proposals, records, sab_policy, sab_serve, version};
use crate::sab::config::SabConfig;

/// Sovereign Assurance Boundary, the reference authority: admits proposals by signing certificates
#[derive(Debug, Parser)]
#[command(name = "sab", version = version::SHORT, long_version = version::LONG.as_str())]
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
    /// Serve the authority
    Serve(sab_serve::Serve),
    /// Look at configurations
    #[command(subcommand)]
    Config(config::Command),
    /// Revoke, and wait until nothing that it covers starts any more
    Revoke(Box<sab_serve::Revoke>),
    /// Look at proposals, of all agents
    #[command(subcommand)]
    Proposals(proposals::Proposals),
    /// Look at the authority's records, verify them, and derive its decisions again, offline
    #[command(subcommand)]
    Records(records::Command),
    /// Issue an attribute certificate over a contract, from files and without a server
    Issue(Box<issue::Command>),
    /// Look at policy sets
    #[command(subcommand)]
    Policy(sab_policy::Command),
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
            Topic::Issue(command) => command.run(self.output.format, out),
            Topic::Serve(command) => command.run(self.output.format, out),
            Topic::Config(command) => command.run(self.output.format, out, SabConfig::check),
            Topic::Revoke(command) => command.run(self.output.format, out),
            Topic::Proposals(command) => command.run(self.output.format, out),
            Topic::Records(command) => command.run(self.output.format, out),
            Topic::Policy(command) => command.run(self.output.format, out),
            Topic::Version => version::print("sab", self.output.format, out),
            Topic::Completions { shell } => {
                clap_complete::generate(shell, &mut Self::command(), "sab", out);
                Ok(Exit::Success)
            }
        }
    }
}
