//~ E0507 cannot move out of `*permit` which is behind a shared reference
use seb::decision::Permit;

fn double(permit: &Permit) -> Permit {
    *permit
}

fn main() {}
