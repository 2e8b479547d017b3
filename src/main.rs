//! `seb`: the broker, and the commands of agents and auditors.

use std::alloc::System;
use std::process::ExitCode;

use clap::Parser;
use zeroizing_alloc::ZeroAlloc;

/// Freed memory is wiped, also that of libraries: no credential outlives its use in a buffer.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    let command = seb::cli::seb::Command::parse();
    seb::cli::finish("seb", command.run(&mut anstream::stdout().lock()))
}
