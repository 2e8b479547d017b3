//~ E0624 associated function `new` is private
use seb::decision::{Certified, CertifiedParts};

fn forge(parts: CertifiedParts) -> Certified {
    Certified::new(parts)
}

fn main() {}
