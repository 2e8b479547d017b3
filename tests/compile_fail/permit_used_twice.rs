//~ E0382 use of moved value: `permit`
use seb::decision::{Permit, PermittedCall};

fn double(permit: Permit) -> (PermittedCall, PermittedCall) {
    (permit.release(), permit.release())
}

fn main() {}
