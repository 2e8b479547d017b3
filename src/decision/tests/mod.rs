//! The decision, tested as a whole. Here and not in `tests/`, because only verification can make a [`Certified`]
//! outside of this package.

mod bounds;
mod faults;
mod forms;
mod world;
