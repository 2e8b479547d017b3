use seb::decision::Permit;

fn forge() -> Permit {
    Permit::default()
}

fn main() {}
