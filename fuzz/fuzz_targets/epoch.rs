//! Epoch statements, one on each line: each has one text, none can be taken back, and no envelope opens by itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seb::attribute_certificate::Trust;
use seb::epoch::{EpochStatement, FreshnessBounds, Succession};
use seb::epoch_envelope;
use seb::timestamp::Timestamp;

const BOUNDS: FreshnessBounds = FreshnessBounds { staleness_ms: 1000, max_clock_skew_ms: 300 };

fuzz_target!(|data: &[u8]| {
    let nobody = Trust::new([], []);
    assert!(epoch_envelope::open(data, &[], &nobody, Timestamp::END).is_err());
    let read = |line| EpochStatement::parse(line).ok();
    let statements: Vec<EpochStatement> = data.split(|octet| *octet == b'\n').filter_map(read).collect();
    for statement in &statements {
        one(statement);
        assert!(epoch_envelope::open(&epoch_envelope::seal(statement, data), &[], &nobody, Timestamp::END).is_err());
    }
    for pair in statements.windows(2) {
        let [a, b] = pair else { continue };
        if b.succeeds(Some(a)) == Ok(Succession::Newer) {
            assert!(a.succeeds(Some(b)).is_err(), "each follows the other");
            let (old, new) = (a.parts(), b.parts());
            assert!(new.sequence > old.sequence && new.issued_at >= old.issued_at);
            let grown = new.revocation_epoch > old.revocation_epoch;
            assert!(grown || old.revoked.certificates.is_subset(&new.revoked.certificates));
            assert!(grown || old.revoked.holders.is_subset(&new.revoked.holders));
        }
    }
});

fn one(statement: &EpochStatement) {
    let text = statement.to_canonical();
    let again = EpochStatement::parse(text.as_bytes()).unwrap();
    assert_eq!(again.digest(), statement.digest());
    assert_eq!(EpochStatement::new(statement.parts().clone()).as_ref(), Ok(statement));
    assert_eq!(statement.succeeds(Some(statement)), Ok(Succession::Same));
    // Fresh the moment that it was issued; too old for whoever waits, and by a clock that is far off.
    let at = statement.parts().issued_at;
    assert!(statement.freshness(at, 0, 0, BOUNDS).is_empty());
    assert!(!statement.freshness(at, 1001, 0, BOUNDS).is_empty());
    assert!(!statement.freshness(at, 0, i32::MIN, BOUNDS).is_empty());
}
