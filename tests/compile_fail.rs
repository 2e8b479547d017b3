//! What the type system refuses: without a permit there is no call, and without facts there is no permit.
//!
//! The expected messages are those of the compiler that CI uses; after an upgrade that words them anew,
//! `TRYBUILD=overwrite cargo test --test compile_fail` writes them again.

#[test]
fn nothing_behind_a_permit_can_be_called_without_one() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/compile_pass/*.rs");
    cases.compile_fail("tests/compile_fail/*.rs");
}
