//! The decision, tested as a whole. Here and not in `tests/`, because only verification can make a [`Certified`]
//! outside of this package.

mod bounds;
mod faults;
mod forms;
mod world;

/// Leave to make an ordinary call, for tests of what follows a decision.
pub(crate) fn permit() -> super::Permit {
    match world::World::new().decide() {
        super::Decision::Allow(permit) => permit,
        super::Decision::Deny(denials) => panic!("{denials:?}"),
    }
}
