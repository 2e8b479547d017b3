//! An execution contract: what is accepted has one text, and what is refused is refused for a reason of contracts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seb::contract::Contract;
use seb::reason::{Denial, Reason};

fuzz_target!(|data: &[u8]| {
    match Contract::parse(data) {
        Ok(contract) => assert_eq!(contract.canonical().as_bytes(), data),
        Err(denial) => check(&denial),
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Contract::compile(text) {
        Ok(contract) => {
            let again = Contract::parse(contract.canonical().as_bytes()).unwrap();
            assert_eq!(again.digest(), contract.digest());
            let made =
                Contract::new(contract.target(), contract.steps(), contract.limits(), contract.deadline()).unwrap();
            assert_eq!(made.digest(), contract.digest());
        }
        Err(denial) => check(&denial),
    }
});

fn check(denial: &Denial) {
    assert!(matches!(denial.reason, Reason::ContractTooLarge | Reason::ContractEncoding | Reason::ContractSchema));
    assert!(denial.detail.len() < 1024, "{denial}");
}
