//! `seb`: the broker, and the commands of agents and auditors.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let command = seb::cli::seb::Command::parse();
    seb::cli::finish("seb", command.run(&mut anstream::stdout().lock()))
}
