//~ E0451 private
use seb::decision::{Permit, Terms};

fn forge(terms: Box<Terms>) -> Permit {
    Permit { terms }
}

fn main() {}
