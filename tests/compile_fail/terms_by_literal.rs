//~ E0451 private
use seb::contract::Call;
use seb::decision::Terms;

fn forge(call: Call, terms: Terms) -> Terms {
    Terms { call, ..terms }
}

fn main() {}
