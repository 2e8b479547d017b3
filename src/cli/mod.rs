//! What the two binaries parse and print.
