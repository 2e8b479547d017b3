//~ E0599 no function or associated item named `deserialize`
use seb::decision::Permit;
use serde::Deserialize;

fn forge(octets: &str) -> Permit {
    Permit::deserialize(&mut serde_json::Deserializer::from_str(octets)).unwrap()
}

fn main() {}
