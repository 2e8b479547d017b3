use seb::decision::{Certified, CertifiedParts};

fn forge(parts: CertifiedParts) -> Certified {
    Certified::new(parts)
}

fn main() {}
