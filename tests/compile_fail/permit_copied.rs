use seb::decision::Permit;

fn double(permit: &Permit) -> Permit {
    *permit
}

fn main() {}
