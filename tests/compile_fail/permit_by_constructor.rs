//~ E0624 associated function `new` is private
use seb::decision::{Permit, Terms};

fn forge(terms: Terms) -> Permit {
    Permit::new(terms)
}

fn main() {}
