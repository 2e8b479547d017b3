//! `sab`: the reference authority, a separate process with separate keys.

fn main() {}
