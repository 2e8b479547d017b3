use seb::decision::{Certified, CertifiedParts};

fn forge(certified: Certified, parts: CertifiedParts) -> Certified {
    Certified { parts, ..certified }
}

fn main() {}
