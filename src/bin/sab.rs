//! `sab`: the reference authority, a separate process with separate keys.

use std::alloc::System;
use std::process::ExitCode;

use clap::Parser;
use zeroizing_alloc::ZeroAlloc;

/// Freed memory is wiped, also that of libraries: no credential outlives its use in a buffer.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    let command = seb::cli::sab::Command::parse();
    seb::cli::finish("sab", command.run(&mut anstream::stdout().lock()))
}
