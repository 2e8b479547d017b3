//~ E0451 private
use seb::decision::{PermittedCall, Terms};

fn forge(terms: Box<Terms>) -> PermittedCall {
    PermittedCall { terms }
}

fn main() {}
