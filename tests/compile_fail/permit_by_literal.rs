use seb::decision::{Permit, Terms};

fn forge(terms: Terms) -> Permit {
    Permit { terms }
}

fn main() {}
