//~ E0308 mismatched types
use seb::decision::PermittedCall;

fn double(call: &PermittedCall) -> PermittedCall {
    call.clone()
}

fn main() {}
