//! What no certificate may exceed, however valid (I10).

mod pattern;

pub use pattern::{InvalidPattern, Pattern};
