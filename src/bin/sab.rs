//! `sab`: the reference authority, a separate process with separate keys.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let command = seb::cli::sab::Command::parse();
    seb::cli::finish("sab", command.run(&mut anstream::stdout().lock()))
}
