use super::*;
use proptest::prelude::*;

#[test]
fn serial_numbers_are_decimal() {
    for (octets, text) in [
        (&[0_u8][..], "0"),
        (&[0, 255], "255"),
        (&[1, 0], "256"),
        (&[0x4b; 16], "100083049094393665724521943362284768075"),
        (&[0x7f; 20], "727885129180488904360266563744972327436484050815"),
    ] {
        assert_eq!(decimal(octets), text);
    }
}

#[test]
fn times_are_basic_and_whole() {
    let basic = |text: &str| super::basic(text.parse().unwrap());
    assert_eq!(basic("2026-11-24T09:30:00Z"), "20261124T093000Z");
    assert_eq!(basic("2026-11-24T09:30:00.999Z"), "20261124T093000Z");
}

#[test]
fn queries_are_escaped_and_sorted() {
    let query = [("roleArn", "arn:aws:iam::1:role/a b"), ("a", "x=y&z"), ("a", "é~")];
    assert_eq!(canonical_query(&query), "a=%C3%A9~&a=x%3Dy%26z&roleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fa%20b");
}

proptest! {
    #[test]
    fn decimal_agrees_with_the_integers(number: u128) {
        prop_assert_eq!(decimal(&number.to_be_bytes()), number.to_string());
    }

    #[test]
    fn what_is_escaped_is_unreserved(text: String) {
        let escaped = escaped(&text);
        prop_assert!(escaped.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)));
        let octets = escaped.split('%').enumerate().flat_map(|(place, part)| match place {
            0 => part.as_bytes().to_vec(),
            _ => [base16ct::upper::decode_vec(&part.as_bytes()[..2]).unwrap(), part.as_bytes()[2..].to_vec()].concat(),
        });
        prop_assert_eq!(octets.collect::<Vec<u8>>(), text.as_bytes());
    }
}
