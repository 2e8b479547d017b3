//~ E0451 private
use seb::decision::{Certified, CertifiedParts};

fn forge(certified: Certified, parts: CertifiedParts) -> Certified {
    Certified { parts, ..certified }
}

fn main() {}
