use proptest::prelude::*;

use super::*;

fn id(path: &str) -> SpiffeId {
    SpiffeId::new(format!("spiffe://example.org/{path}")).unwrap()
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_seconds(seconds).unwrap()
}

fn parts() -> EpochParts {
    EpochParts {
        authority: id("sab"),
        sequence: 10,
        policy_epoch: 7,
        revocation_epoch: 3,
        revoked: Revoked {
            certificates: [Digest::of(b"certificate")].into(),
            contracts: [Digest::of(b"contract")].into(),
            holders: [id("agent"), SpiffeId::new("spiffe://example.org-b/agent").unwrap()].into(),
            targets: ["prod".parse().unwrap()].into(),
        },
        issued_at: at(1_000),
        next_update: at(1_001),
    }
}

fn statement(change: impl FnOnce(&mut EpochParts)) -> EpochStatement {
    let mut parts = parts();
    change(&mut parts);
    EpochStatement::new(parts).unwrap()
}

fn revocable() -> Revocable {
    Revocable {
        authority: id("sab"),
        certificate: Digest::of(b"another certificate"),
        holder: id("other"),
        contract: Digest::of(b"another contract"),
        target: Some("test".parse().unwrap()),
        policy_epoch: 7,
        revocation_epoch: 3,
    }
}

fn reasons(statement: &EpochStatement, change: impl FnOnce(&mut Revocable)) -> Vec<Reason> {
    let mut revocable = revocable();
    change(&mut revocable);
    statement.covers(&revocable).into_iter().map(|denial| denial.reason).collect()
}

#[test]
fn a_statement_has_one_form() {
    let statement = statement(|_| ());
    let form = statement.to_canonical();
    assert_eq!(
        form,
        format!(
            r#"{{"authority":"spiffe://example.org/sab","issued_at":"1970-01-01T00:16:40Z","next_update":"1970-01-01T00:16:41Z","policy_epoch":7,"revocation_epoch":3,"revoked":{{"certificates":["{}"],"contracts":["{}"],"holders":["spiffe://example.org-b/agent","spiffe://example.org/agent"],"targets":["prod"]}},"schema":"seb.dev/epoch/v1","sequence":10}}"#,
            Digest::of(b"certificate"),
            Digest::of(b"contract")
        )
    );
    assert_eq!(crate::contract::Json::parse(form.as_bytes()).unwrap().to_canonical(), form);
    assert_eq!(statement.digest(), Digest::of(form.as_bytes()));
    assert_eq!(EpochStatement::parse(form.as_bytes()).unwrap(), statement);
    let not_canonical = Err(InvalidEpochStatement::NotCanonical);
    for (from, to) in [
        ("{\"authority", "{ \"authority"),
        ("\"sequence\":10}", "\"sequence\":10}\n"),
        ("[\"prod\"]", "[\"prod\",\"prod\"]"),
        ("prod", "\\u0070rod"),
        ("\"policy_epoch\":7,\"revocation_epoch\":3", "\"revocation_epoch\":3,\"policy_epoch\":7"),
        (
            "\"spiffe://example.org-b/agent\",\"spiffe://example.org/agent\"",
            "\"spiffe://example.org/agent\",\"spiffe://example.org-b/agent\"",
        ),
    ] {
        assert!(form.contains(from), "{from}");
        assert_eq!(EpochStatement::parse(form.replacen(from, to, 1).as_bytes()), not_canonical, "{to}");
    }
    for (from, to) in [
        ("\"sequence\":10", "\"sequence\":10,\"sequence\":10"),
        ("\"sequence\":10", "\"sequence\":10,\"more\":1"),
        ("\"sequence\":10", "\"sequence\":10.0"),
        ("\"sequence\":10", "\"sequence\":-1"),
        (",\"sequence\":10", ""),
        ("epoch/v1", "epoch/v2"),
        ("spiffe://example.org/sab", "spiffe://Example.org/sab"),
        ("\"sequence\":10}", "\"sequence\":10}}"),
    ] {
        let result = EpochStatement::parse(form.replacen(from, to, 1).as_bytes());
        assert!(matches!(result, Err(InvalidEpochStatement::Schema(_))), "{to}: {result:?}");
    }
}

#[test]
fn a_statement_is_bounded() {
    let new = |change: fn(&mut EpochParts)| {
        let mut parts = parts();
        change(&mut parts);
        EpochStatement::new(parts).map(|_| ())
    };
    assert_eq!(new(|parts| parts.sequence = MAX_NUMBER), Ok(()));
    assert!(matches!(new(|parts| parts.sequence = 1 << 53), Err(InvalidEpochStatement::Number { .. })));
    assert!(matches!(new(|parts| parts.policy_epoch = u64::MAX), Err(InvalidEpochStatement::Number { .. })));
    assert!(matches!(new(|parts| parts.revocation_epoch = 1 << 53), Err(InvalidEpochStatement::Number { .. })));
    assert_eq!(new(|parts| parts.next_update = parts.issued_at), Ok(()));
    assert_eq!(new(|parts| parts.next_update = at(999)), Err(InvalidEpochStatement::Times));
    let many = |count: usize| {
        let certificates = (0..count).map(|n| Digest::of(&n.to_be_bytes())).collect();
        let revoked = Revoked { certificates, ..Revoked::default() };
        EpochStatement::new(EpochParts { revoked, ..parts() })
    };
    let largest = many(MAX_REVOKED).unwrap();
    assert_eq!(EpochStatement::parse(largest.to_canonical().as_bytes()).unwrap(), largest);
    assert_eq!(many(MAX_REVOKED + 1), Err(InvalidEpochStatement::TooMany(MAX_REVOKED + 1)));
    let octets = vec![b' '; MAX_OCTETS + 1];
    assert_eq!(EpochStatement::parse(&octets), Err(InvalidEpochStatement::TooLarge(MAX_OCTETS + 1)));
}

#[test]
fn a_list_stops_being_read_at_its_bound() {
    let form = statement(|_| ()).to_canonical();
    let names = vec!["\"a\""; MAX_REVOKED + 1].join(",");
    let result = EpochStatement::parse(form.replacen("\"prod\"", &names, 1).as_bytes());
    assert!(
        matches!(&result, Err(InvalidEpochStatement::Schema(error)) if error.contains("invalid length")),
        "{result:?}"
    );
}

#[test]
fn i2_nothing_is_taken_back() {
    let old = statement(|_| ());
    let follow = |change: fn(&mut EpochParts)| {
        statement(|parts| {
            parts.sequence += 1;
            change(parts);
        })
        .succeeds(Some(&old))
    };
    assert_eq!(old.succeeds(None), Ok(Succession::Newer));
    assert_eq!(old.succeeds(Some(&old)), Ok(Succession::Same));
    assert_eq!(follow(|_| ()), Ok(Succession::Newer));
    assert_eq!(follow(|parts| parts.policy_epoch = 8), Ok(Succession::Newer));
    assert_eq!(follow(|parts| parts.sequence = 9), Err(EpochRegression::Sequence { previous: 10, next: 9 }));
    assert_eq!(
        follow(|parts| {
            parts.sequence = 10;
            parts.policy_epoch = 8;
        }),
        Err(EpochRegression::Fork(10))
    );
    assert_eq!(follow(|parts| parts.policy_epoch = 6), Err(EpochRegression::PolicyEpoch { previous: 7, next: 6 }));
    assert_eq!(
        follow(|parts| parts.revocation_epoch = 2),
        Err(EpochRegression::RevocationEpoch { previous: 3, next: 2 })
    );
    assert_eq!(
        follow(|parts| parts.issued_at = at(999)),
        Err(EpochRegression::IssuedAt { previous: at(1_000), next: at(999) })
    );
    assert_eq!(follow(|parts| parts.authority = id("other")), Err(EpochRegression::Authority(id("other"))));
    let forget: [fn(&mut EpochParts); 4] = [
        |parts| parts.revoked.certificates.clear(),
        |parts| parts.revoked.contracts.clear(),
        |parts| parts.revoked.holders.clear(),
        |parts| parts.revoked.targets.clear(),
    ];
    for forget in forget {
        assert!(matches!(follow(forget), Err(EpochRegression::Unrevoked(_))));
        let stepped = statement(|parts| {
            parts.sequence += 1;
            parts.revocation_epoch += 1;
            forget(parts);
        });
        assert_eq!(stepped.succeeds(Some(&old)), Ok(Succession::Newer));
    }
}

#[test]
fn i2_a_statement_covers_what_it_names() {
    let statement = statement(|_| ());
    assert_eq!(reasons(&statement, |_| ()), []);
    assert_eq!(reasons(&statement, |it| it.certificate = Digest::of(b"certificate")), [Reason::RevokedCertificate]);
    assert_eq!(reasons(&statement, |it| it.holder = id("agent")), [Reason::RevokedHolder]);
    assert_eq!(reasons(&statement, |it| it.contract = Digest::of(b"contract")), [Reason::RevokedContract]);
    assert_eq!(reasons(&statement, |it| it.target = Some("prod".parse().unwrap())), [Reason::RevokedTarget]);
    assert_eq!(reasons(&statement, |it| it.target = None), []);
    assert_eq!(reasons(&statement, |it| it.policy_epoch = 6), [Reason::PolicyEpochStale]);
    assert_eq!(reasons(&statement, |it| it.revocation_epoch = 2), [Reason::RevocationEpochStale]);
    assert_eq!(reasons(&statement, |it| it.policy_epoch = 8), [Reason::EpochBehind]);
    assert_eq!(reasons(&statement, |it| it.revocation_epoch = 4), [Reason::EpochBehind]);
    assert_eq!(reasons(&statement, |it| it.authority = id("other")), [Reason::EpochUnknown]);
}

fn revoked() -> impl Strategy<Value = Revoked> {
    let digests = || proptest::collection::btree_set((0_u8..3).prop_map(|n| Digest::of(&[n])), 0..3);
    let holders = proptest::collection::btree_set((0_u8..3).prop_map(|n| id(&format!("agent-{n}"))), 0..3);
    let targets = proptest::collection::btree_set((0_u8..3).prop_map(|n| format!("t{n}").parse().unwrap()), 0..3);
    (digests(), digests(), holders, targets).prop_map(|(certificates, contracts, holders, targets)| Revoked {
        certificates,
        contracts,
        holders,
        targets,
    })
}

prop_compose! {
    fn any_statement()(
        sequence in 0_u64..4, policy_epoch in 0_u64..3, revocation_epoch in 0_u64..3, issued in 0_u64..3,
        revoked in revoked(),
    ) -> EpochStatement {
        let issued_at = at(issued);
        let parts = EpochParts {
            authority: id("sab"), sequence, policy_epoch, revocation_epoch, revoked, issued_at, next_update: at(9),
        };
        EpochStatement::new(parts).unwrap()
    }
}

prop_compose! {
    fn any_revocable()(
        certificate in 0_u8..3, contract in 0_u8..3, holder in 0_u8..3, target in 0_u8..3,
        policy_epoch in 0_u64..3, revocation_epoch in 0_u64..3,
    ) -> Revocable {
        Revocable {
            authority: id("sab"),
            certificate: Digest::of(&[certificate]),
            holder: id(&format!("agent-{holder}")),
            contract: Digest::of(&[contract]),
            target: Some(format!("t{target}").parse().unwrap()),
            policy_epoch,
            revocation_epoch,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    /// Whatever was revoked stays revoked under every statement that may follow. (`EpochBehind` is no revocation: it
    /// says that the broker does not know yet.)
    #[test]
    fn i2_what_was_revoked_stays_revoked(old in any_statement(), new in any_statement(), on in any_revocable()) {
        let by = |statement: &EpochStatement| statement.covers(&on).iter().any(|d| d.reason != Reason::EpochBehind);
        // A certificate of an epoch that the older statement did not know cannot have been revoked by it.
        let known = on.revocation_epoch <= old.parts().revocation_epoch;
        if new.succeeds(Some(&old)).is_ok() && known && by(&old) {
            prop_assert!(by(&new), "{old:?} {new:?} {on:?}");
        }
    }

    #[test]
    fn i2_succession_has_no_way_back(a in any_statement(), b in any_statement(), c in any_statement()) {
        use Succession::Newer;
        if a.succeeds(Some(&b)) == Ok(Newer) {
            prop_assert!(b.succeeds(Some(&a)).is_err());
            if b.succeeds(Some(&c)) == Ok(Newer) {
                prop_assert!(c.succeeds(Some(&a)).is_err());
            }
        }
    }

    #[test]
    fn the_form_round_trips(statement in any_statement()) {
        prop_assert_eq!(&EpochStatement::parse(statement.to_canonical().as_bytes()).unwrap(), &statement);
    }
}
