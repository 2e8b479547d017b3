//~ E0308 mismatched types
use seb::decision::Permit;

fn double(permit: &Permit) -> Permit {
    permit.clone()
}

fn main() {}
