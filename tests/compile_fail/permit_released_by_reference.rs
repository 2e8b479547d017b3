//~ E0507 cannot move out of `*permit` which is behind a shared reference
use seb::decision::{Permit, PermittedCall};

fn keep(permit: &Permit) -> PermittedCall {
    permit.release()
}

fn main() {}
