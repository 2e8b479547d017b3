//~ E0599 no function or associated item named `default`
use seb::decision::Permit;

fn forge() -> Permit {
    Permit::default()
}

fn main() {}
