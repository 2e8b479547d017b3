use seb::decision::{Permit, PermittedCall};

fn keep(permit: &Permit) -> PermittedCall {
    permit.release()
}

fn main() {}
