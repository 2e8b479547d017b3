//! `seb`: the broker, and the commands of agents and auditors.

fn main() {}
