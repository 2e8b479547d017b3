//! Fourth and fifth verdict: agent, broker, time and contract.

use seb::digest::Digest;
use seb::reason::Reason;

use super::certificate::{key_digest, uri};
use super::der::{ctx, seq};
use super::{BROKER, HOLDER, NOT_AFTER, NOT_BEFORE, Set};

const STEP: &str = r#"{"baseline":{"identity":"services/checkout","mode":"exact","version":"42"},"mutation":{"body":{"replicas":12},"parameters":[{"bounds":{"maximum":50,"minimum":3,"type":"integer"},"pointer":"/replicas","required":false}],"resource":{"collection":"services","name":"checkout"},"verb":"merge"},"name":"scale"}"#;
const ROLLBACK: &str = r#"{"after":{"outcome":"failed","step":"scale"},"baseline":{"identity":"services/checkout","mode":"exact","version":"42"},"mutation":{"body":{"replicas":3},"resource":{"collection":"services","name":"checkout"},"verb":"merge"},"name":"restore"}"#;
const NOVEMBER: [&str; 2] = [NOT_BEFORE, NOT_AFTER];

/// One merge into an object of a sandbox, valid through November 2026.
pub fn ordinary() -> String {
    with(STEP, NOVEMBER)
}

fn with(steps: &str, [not_before, not_after]: [&str; 2]) -> String {
    format!(
        r#"{{"deadline_seconds":30,"limits":{{"not_after":"{not_after}","not_before":"{not_before}","spacing_seconds":0,"uses":1}},"schema":"seb.dev/contract/v1","steps":[{steps}],"target":{{"kind":"sandbox","name":"prod-eu"}}}}"#
    )
}

/// A contract whose text has about `octets` octets in its body.
pub fn large(octets: usize) -> String {
    let body = format!(r#"{{"note":"{}"}}"#, "x".repeat(octets));
    ordinary().replace(r#"{"replicas":12}"#, &body).replace(
        r#""parameters":[{"bounds":{"maximum":50,"minimum":3,"type":"integer"},"pointer":"/replicas","required":false}],"#,
        "",
    )
}

pub fn two_steps() -> String {
    with(&[STEP, ROLLBACK].join(","), NOVEMBER)
}

/// The digest of an agent's public key that nobody has.
pub fn some_key() -> Digest {
    Digest::of(b"a public key")
}

pub fn add(set: &mut Set) {
    targeting(set);
    time(set);
    contract(set);
}

fn targeting(set: &mut Set) {
    let draft = set.changed("wrong_broker", "BROKER-1", "The broker is another one of the same trust domain.", |_| {});
    draft.parameters(|p| p.broker = "spiffe://example.org/seb-2".into()).broken(Reason::WrongBroker, set);
    let draft =
        set.changed("wrong_broker_trust_domain", "BROKER-1", "The broker is one of another trust domain.", |_| {});
    draft.parameters(|p| p.broker = "spiffe://example.com/seb".into()).broken(Reason::WrongBroker, set);
    let draft =
        set.changed("wrong_broker_below", "BROKER-1", "The broker's path begins with the certified one.", |_| {});
    draft.parameters(|p| p.broker = format!("{BROKER}/eu")).broken(Reason::WrongBroker, set);

    let draft = set.changed("wrong_holder", "HOLDER-5", "The caller is another agent.", |_| {});
    draft.parameters(|p| p.holder = "spiffe://example.org/agent/other".into()).broken(Reason::WrongHolder, set);
    let draft = set.changed("wrong_holder_case", "HOLDER-5", "The caller's path differs in case.", |_| {});
    draft.parameters(|p| p.holder = "spiffe://example.org/agent/Deployer".into()).broken(Reason::WrongHolder, set);
    let draft = set.changed(
        "wrong_holder_and_broker",
        "BROKER-1",
        "Neither agent nor broker are right: the broker is answered first.",
        |_| {},
    );
    draft
        .parameters(|p| {
            p.holder = "spiffe://example.org/agent/other".into();
            p.broker = "spiffe://example.org/seb-2".into();
        })
        .broken(Reason::WrongBroker, set);

    let bound = |certificate: &mut super::Certificate| {
        certificate.holder = seq(&[ctx(1, &[uri(HOLDER)]), key_digest(&some_key())]);
        certificate.facts.holder_key = Some(some_key());
    };
    let draft = set.changed("wrong_holder_key", "HOLDER-6", "The caller has another key.", bound);
    draft.parameters(|p| p.holder_key = Some(Digest::of(b"another"))).broken(Reason::WrongHolderKey, set);
    let draft = set.changed("wrong_holder_key_unknown", "HOLDER-6", "The caller's key is not known.", bound);
    draft.broken(Reason::WrongHolderKey, set);
}

fn time(set: &mut Set) {
    let draft = set.changed("not_yet_valid", "NOW-1", "One second before the certificate begins.", |_| {});
    draft.at("2026-10-31T23:59:59Z").broken(Reason::NotYetValid, set);
    let draft = set.changed("expired", "NOW-1", "One second after the certificate's last.", |_| {});
    draft.at("2026-12-01T00:00:00Z").broken(Reason::Expired, set);
    let draft =
        set.changed("contract_not_yet_valid", "NOW-2", "The certificate is valid, its contract not yet.", |c| {
            c.contract(&with(STEP, ["2026-11-21T12:00:01Z", NOVEMBER[1]]));
        });
    draft.broken(Reason::NotYetValid, set);
    let draft = set.changed("contract_expired", "NOW-2", "The certificate is valid, its contract no longer.", |c| {
        c.contract(&with(STEP, [NOVEMBER[0], "2026-11-21T11:59:59Z"]));
    });
    draft.broken(Reason::Expired, set);
    let draft = set.changed("expired_long_ago", "NOW-1", "Valid for one second in 1970.", |c| {
        c.valid("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z");
    });
    draft.broken(Reason::Expired, set);
    let draft = set.changed("not_yet_valid_9999", "NOW-1", "Valid in the last second that the format can name.", |c| {
        c.valid("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z");
    });
    draft.broken(Reason::NotYetValid, set);
}

fn contract(set: &mut Set) {
    let nested = format!("{}{}", "[".repeat(40), "]".repeat(40));
    let too_large = [
        ("contract_too_large", "More than 48 KiB of contract.", large(49_000)),
        ("contract_body_too_large", "An inline body of more than 16 KiB.", large(16_400)),
        (
            "contract_too_deep",
            "A body nested 40 deep.",
            ordinary().replace(r#""replicas":12"#, &format!(r#""replicas":{nested}"#)),
        ),
        ("contract_17_steps", "17 steps.", with(&vec![STEP; 17].join(","), NOVEMBER)),
    ];
    for (name, text, contract) in too_large {
        set.changed(name, "CONTRACT-1", text, |c| c.contract(&contract)).broken(Reason::ContractTooLarge, set);
    }
    let encoding = [
        ("contract_space", "White space after a colon.", ordinary().replacen(':', ": ", 1)),
        ("contract_line_end", "A line end after the text.", ordinary() + "\n"),
        (
            "contract_unsorted",
            "Names out of order.",
            ordinary().replace(r#""kind":"sandbox","name":"prod-eu""#, r#""name":"prod-eu","kind":"sandbox""#),
        ),
        (
            "contract_number_spelling",
            "`12.0` for `12`.",
            ordinary().replace(r#"{"replicas":12}"#, r#"{"replicas":12.0}"#),
        ),
        ("contract_escape", "An escape where none is needed.", ordinary().replace("sandbox", r"\u0073andbox")),
        ("contract_duplicate_name", "`uses` twice.", ordinary().replace(r#""uses":1"#, r#""uses":1,"uses":1"#)),
        (
            "contract_lone_surrogate",
            "Half a surrogate pair.",
            ordinary().replace(r#"{"replicas":12}"#, r#"{"note":"\ud800","replicas":12}"#),
        ),
        (
            "contract_inexact_number",
            "2^53 + 1, which a double does not hold.",
            ordinary().replace(r#"{"replicas":12}"#, r#"{"replicas":9007199254740993}"#),
        ),
        ("contract_not_json", "Not JSON.", "scale checkout to 12".to_owned()),
        ("contract_empty", "No text.", String::new()),
        ("contract_byte_order_mark", "A byte order mark before the text.", format!("\u{feff}{}", ordinary())),
    ];
    for (name, text, contract) in encoding {
        set.changed(name, "CONTRACT-2", text, |c| c.contract(&contract)).broken(Reason::ContractEncoding, set);
    }
    let schema = [
        ("contract_unknown_schema", "A later version of the format.", ordinary().replace("contract/v1", "contract/v2")),
        (
            "contract_unknown_field",
            "A field that the format does not have.",
            ordinary().replace(r#"{"deadline"#, r#"{"approved":true,"deadline"#),
        ),
        ("contract_missing_field", "No `deadline_seconds`.", ordinary().replace(r#""deadline_seconds":30,"#, "")),
        (
            "contract_null_field",
            "`parameters` is null instead of absent.",
            ordinary().replace(
                r#"[{"bounds":{"maximum":50,"minimum":3,"type":"integer"},"pointer":"/replicas","required":false}]"#,
                "null",
            ),
        ),
        ("contract_no_step", "No step.", with("", NOVEMBER)),
        (
            "contract_unknown_verb",
            "A verb that the target's kind does not have.",
            ordinary().replace(r#""merge""#, r#""frobnicate""#),
        ),
        ("contract_uses_zero", "No use at all.", ordinary().replace(r#""uses":1"#, r#""uses":0"#)),
        ("contract_window_reversed", "Its validity ends before it begins.", with(STEP, [NOVEMBER[1], NOVEMBER[0]])),
        (
            "contract_default_outside",
            "A parameter's default lies outside its bounds.",
            ordinary().replace(r#"{"replicas":12}"#, r#"{"replicas":51}"#),
        ),
        ("contract_array", "An array instead of an object.", "[]".to_owned()),
    ];
    for (name, text, contract) in schema {
        set.changed(name, "CONTRACT-3", text, |c| c.contract(&contract)).broken(Reason::ContractSchema, set);
    }
    set.changed("contract_two_steps", "CONTRACT-4", "Two steps, each of them right.", |c| c.contract(&two_steps()))
        .broken(Reason::ContractStepsUnsupported, set);
}
