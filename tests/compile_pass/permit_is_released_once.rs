//! The way that there is: facts, decision, permit, call.

use seb::decision::{Decision, Facts, PermittedCall, evaluate};

fn perform(call: PermittedCall) -> String {
    call.terms().mutation_id().to_string()
}

fn execute(facts: &Facts) -> Option<String> {
    match evaluate(facts) {
        Decision::Allow(permit) => Some(perform(permit.release())),
        Decision::Deny(_) => None,
    }
}

fn main() {
    let _: fn(&Facts) -> Option<String> = execute;
}
