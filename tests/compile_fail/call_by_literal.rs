use seb::decision::{PermittedCall, Terms};

fn forge(terms: Terms) -> PermittedCall {
    PermittedCall { terms }
}

fn main() {}
