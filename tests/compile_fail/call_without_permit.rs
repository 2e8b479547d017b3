//~ E0308 mismatched types
use seb::contract::Call;
use seb::decision::PermittedCall;

fn perform(_: PermittedCall) {}

fn bypass(call: Call) {
    perform(call)
}

fn main() {}
