use super::*;
use proptest::prelude::*;

/// RFC 8785 appendix B: the double's bits, and its text where JSON has one.
const APPENDIX_B: &[(u64, Option<&str>)] = &[
    (0x0000_0000_0000_0000, Some("0")),
    (0x8000_0000_0000_0000, Some("0")),
    (0x0000_0000_0000_0001, Some("5e-324")),
    (0x8000_0000_0000_0001, Some("-5e-324")),
    (0x7fef_ffff_ffff_ffff, Some("1.7976931348623157e+308")),
    (0xffef_ffff_ffff_ffff, Some("-1.7976931348623157e+308")),
    (0x4340_0000_0000_0000, Some("9007199254740992")),
    (0xc340_0000_0000_0000, Some("-9007199254740992")),
    (0x4430_0000_0000_0000, Some("295147905179352830000")),
    (0x7fff_ffff_ffff_ffff, None),
    (0x7ff0_0000_0000_0000, None),
    (0x44b5_2d02_c7e1_4af5, Some("9.999999999999997e+22")),
    (0x44b5_2d02_c7e1_4af6, Some("1e+23")),
    (0x44b5_2d02_c7e1_4af7, Some("1.0000000000000001e+23")),
    (0x444b_1ae4_d6e2_ef4e, Some("999999999999999700000")),
    (0x444b_1ae4_d6e2_ef4f, Some("999999999999999900000")),
    (0x444b_1ae4_d6e2_ef50, Some("1e+21")),
    (0x3eb0_c6f7_a0b5_ed8c, Some("9.999999999999997e-7")),
    (0x3eb0_c6f7_a0b5_ed8d, Some("0.000001")),
    (0x41b3_de43_5555_5553, Some("333333333.3333332")),
    (0x41b3_de43_5555_5554, Some("333333333.33333325")),
    (0x41b3_de43_5555_5555, Some("333333333.3333333")),
    (0x41b3_de43_5555_5556, Some("333333333.3333334")),
    (0x41b3_de43_5555_5557, Some("333333333.33333343")),
    (0xbecb_f647_612f_3696, Some("-0.0000033333333333333333")),
    (0x4314_3ff3_c1cb_0959, Some("1424953923781206.2")),
];

#[test]
fn numbers_are_written_as_appendix_b_has_them() {
    for (bits, text) in APPENDIX_B {
        let number = Number::new(f64::from_bits(*bits)).ok();
        assert_eq!(number.map(Number::to_canonical).as_deref(), *text, "{bits:016x}");
    }
}

#[test]
fn numbers_of_appendix_b_are_read_back_unless_they_leave_the_safe_range() {
    for (bits, text) in APPENDIX_B {
        let Some(text) = text else { continue };
        let value = f64::from_bits(*bits);
        let read = Json::parse(text.as_bytes());
        if value.abs() > 9_007_199_254_740_991.0 {
            assert_eq!(read.unwrap_err().fault(), &JsonFault::InexactNumber((*text).to_owned()));
        } else {
            assert_eq!(read.unwrap(), Json::Number(Number::new(value).unwrap()));
        }
    }
}

/// The sample of section 3.2.2, with its numbers as doubles.
fn sample(numbers: &str) -> String {
    format!(
        r#"{{
  "numbers": {numbers},
  "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
  "literals": [null, true, false]
}}"#
    )
}

#[test]
fn the_sample_of_section_3_2_2_gets_the_octets_of_section_3_2_4() {
    let doubles = ["333333333.33333329".parse().unwrap(), 1e30, 4.50, 2e-3, 0.000_000_000_000_000_000_000_000_001];
    let numbers = doubles.map(|double| Json::Number(Number::new(double).unwrap()));
    let Ok(Json::Object(mut object)) = Json::parse(sample("null").as_bytes()) else { panic!() };
    object.insert("numbers".into(), Json::Array(numbers.into()));
    let octets = "7b 22 6c 69 74 65 72 61 6c 73 22 3a 5b 6e 75 6c 6c 2c 74 72 75 65 2c 66 61 6c 73 65 5d 2c 22 6e 75 \
        6d 62 65 72 73 22 3a 5b 33 33 33 33 33 33 33 33 33 2e 33 33 33 33 33 33 33 2c 31 65 2b 33 30 2c 34 \
        2e 35 2c 30 2e 30 30 32 2c 31 65 2d 32 37 5d 2c 22 73 74 72 69 6e 67 22 3a 22 e2 82 ac 24 5c 75 30 \
        30 30 66 5c 6e 41 27 42 5c 22 5c 5c 5c 5c 5c 22 2f 22 7d";
    let octets: Vec<u8> = octets.split_whitespace().map(|hex| u8::from_str_radix(hex, 16).unwrap()).collect();
    assert_eq!(Json::Object(object).to_canonical().as_bytes(), octets);
}

/// `docs/divergences.md`, RFC 8785: the reader does not round, and so refuses two numbers of the RFC's own sample.
#[test]
fn the_sample_of_section_3_2_2_is_refused_as_it_stands() {
    for (numbers, refused) in [
        ("[333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001]", Some("333333333.33333329")),
        ("[1E30, 4.50]", Some("1E30")),
        ("[4.50, 2e-3, 0.000000000000000000000000001]", None),
    ] {
        let read = Json::parse(sample(numbers).as_bytes());
        match refused {
            None => assert!(read.is_ok()),
            Some(literal) => {
                let error = read.unwrap_err();
                assert_eq!(error.fault(), &JsonFault::InexactNumber(literal.to_owned()));
                assert_eq!(error.pointer(), "/numbers/0");
            }
        }
    }
}

#[test]
fn members_are_sorted_as_in_section_3_2_3() {
    let json = Json::parse(
        br#"{
        "\u20ac": "Euro Sign",
        "\r": "Carriage Return",
        "\ufb33": "Hebrew Letter Dalet With Dagesh",
        "1": "One",
        "\ud83d\ude00": "Emoji: Grinning Face",
        "\u0080": "Control",
        "\u00f6": "Latin Small Letter O With Diaeresis"
    }"#,
    )
    .unwrap();
    let Json::Object(object) = &json else { panic!() };
    let order: Vec<_> = object.iter().map(|(_, value)| value.as_str().unwrap()).collect();
    assert_eq!(
        order,
        [
            "Carriage Return",
            "One",
            "Control",
            "Latin Small Letter O With Diaeresis",
            "Euro Sign",
            "Emoji: Grinning Face",
            "Hebrew Letter Dalet With Dagesh",
        ]
    );
    assert_eq!(json.get("\u{1f600}").and_then(Json::as_str), Some("Emoji: Grinning Face"));
    assert_eq!(Json::parse(json.to_canonical().as_bytes()).unwrap(), json);
}

#[test]
fn every_control_character_has_the_escape_of_section_3_2_2_2() {
    let text: String = (0..=0x20).chain([0x22, 0x5c, 0x7f, 0x2028]).filter_map(char::from_u32).collect();
    let expected = concat!(
        r#""\u0000\u0001\u0002\u0003\u0004\u0005\u0006\u0007\b\t\n\u000b\f\r\u000e\u000f\u0010\u0011\u0012\u0013"#,
        r#"\u0014\u0015\u0016\u0017\u0018\u0019\u001a\u001b\u001c\u001d\u001e\u001f \"\\"#,
        "\u{7f}\u{2028}\""
    );
    assert_eq!(Json::String(text).to_canonical(), expected);
}

#[test]
fn what_two_readers_could_understand_differently_is_refused() {
    use JsonFault as F;
    let inexact = |literal: &str| F::InexactNumber(literal.into());
    let cases: &[(&[u8], F, &str)] = &[
        (br#"{"a":1,"a":1}"#, F::DuplicateName("a".into()), ""),
        (br#"{"x":{"a":1,"b":2,"\u0061":1}}"#, F::DuplicateName("a".into()), "/x"),
        (br#"["\ud800"]"#, F::LoneSurrogate, "/0"),
        (br#"["\udc00"]"#, F::LoneSurrogate, "/0"),
        (br#"["\ud800\u0041"]"#, F::LoneSurrogate, "/0"),
        (br#"["\ud800\ud800"]"#, F::LoneSurrogate, "/0"),
        (br#"["\udc00\ud800"]"#, F::LoneSurrogate, "/0"),
        (b"{\"a\":[\"\xed\xa0\x80\"]}", F::NotUtf8, ""),
        (b"\xff", F::NotUtf8, ""),
        (b"\xef\xbb\xbf{}", F::ByteOrderMark, ""),
        (b"{} {}", F::Trailing, ""),
        (b"1 x", F::Trailing, ""),
        (b"01", F::Trailing, ""),
        (b"9007199254740992", inexact("9007199254740992"), ""),
        (b"-9007199254740992", inexact("-9007199254740992"), ""),
        (b"9007199254740993.0", inexact("9007199254740993.0"), ""),
        (b"[0,{\"a~/\":1e400}]", inexact("1e400"), "/1/a~0~1"),
        (b"1e-400", inexact("1e-400"), ""),
        (b"1e99999999999999999999", inexact("1e99999999999999999999"), ""),
        (b"1e-99999999999999999999", inexact("1e-99999999999999999999"), ""),
        (b"0.1000000000000000055", inexact("0.1000000000000000055"), ""),
        (b"1.7976931348623157e308", inexact("1.7976931348623157e308"), ""),
        (b"2.4703282292062327e-324", inexact("2.4703282292062327e-324"), ""),
    ];
    for (octets, fault, pointer) in cases {
        let error = Json::parse(octets).unwrap_err();
        let shown = String::from_utf8_lossy(octets);
        assert_eq!((error.fault(), error.pointer().as_str()), (fault, *pointer), "{shown}");
    }
}

#[test]
fn numbers_with_an_exact_value_are_read_in_any_spelling() {
    for (literal, canonical) in [
        ("0", "0"),
        ("-0", "0"),
        ("-0.0e-7", "0"),
        ("0e99999", "0"),
        ("1.0", "1"),
        ("0.10", "0.1"),
        ("100e-2", "1"),
        ("1E2", "100"),
        ("1e+2", "100"),
        ("12.50e1", "125"),
        ("9007199254740991", "9007199254740991"),
        ("-9007199254740991.000", "-9007199254740991"),
        ("0.9007199254740991e16", "9007199254740991"),
        ("5e-324", "5e-324"),
        ("4.9e-324", ""),
        ("0.000001", "0.000001"),
        ("0.0000001", "1e-7"),
        ("1424953923781206.2", "1424953923781206.2"),
    ] {
        let read = Json::parse(literal.as_bytes()).ok().map(|json| json.to_canonical());
        assert_eq!(read.unwrap_or_default(), canonical, "{literal}");
    }
}

#[test]
fn what_is_not_json_is_refused() {
    for bad in [
        "",
        " ",
        "{",
        "}",
        "[",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,",
        "{\"a\":1,}",
        "{a:1}",
        "{'a':1}",
        "{1:1}",
        "\"",
        "\"\\",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\u+123\"",
        "\"\n\"",
        "\"\t\"",
        "\"\u{0}\"",
        "-",
        "+1",
        ".5",
        "1.",
        "1.e1",
        "1e",
        "1e+",
        "0x1",
        "NaN",
        "Infinity",
        "-Infinity",
        "nul",
        "True",
        "tru",
        "truefalse",
        "// x\n1",
        "1/**/",
        "\u{a0}1",
        "\u{c}1",
        "[1 2]",
        "{\"a\" 1}",
        "\\u0031",
    ] {
        assert!(Json::parse(bad.as_bytes()).is_err(), "{bad:?}");
        assert!(serde_json::from_str::<serde_json::Value>(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn bounds_on_size_and_depth_hold() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(Json::parse(nested(Json::MAX_DEPTH).as_bytes()).is_ok());
    let error = Json::parse(nested(Json::MAX_DEPTH + 1).as_bytes()).unwrap_err();
    assert!(error.is_too_large());
    assert_eq!(error.offset(), Json::MAX_DEPTH);
    for unit in ["[", "{\"a\":", "[{\"\":[", "[0,"] {
        let deep = unit.repeat(Json::MAX_OCTETS / unit.len());
        assert_eq!(Json::parse(deep.as_bytes()).unwrap_err().fault(), &JsonFault::TooDeep);
    }
    let full = format!("\"{}\"", "a".repeat(Json::MAX_OCTETS - 2));
    assert!(Json::parse(full.as_bytes()).is_ok());
    let error = Json::parse(format!("{full} ").as_bytes()).unwrap_err();
    assert_eq!(error.fault(), &JsonFault::TooLong(Json::MAX_OCTETS));
    assert!(error.is_too_large());
    assert!(Json::parse_within(format!("{full} ").as_bytes(), Json::MAX_OCTETS + 1).is_ok());
}

/// Texts of 4 MiB that a reader whose time is more than linear would not finish in the time of a test.
#[test]
fn large_texts_take_linear_time() {
    let size = 4 * 1024 * 1024;
    let digits = "1".repeat(size);
    let zeros = format!("0.{}1", "0".repeat(size - 3));
    let exponent = format!("1e{digits}");
    let names: String = (0..size / 16).map(|index| format!("\"{index:09}\":[],")).collect();
    let names = format!("{{{}\"z\":0}}", names);
    let same = format!("{{{}\"a\":0}}", "\"a\":0,".repeat(size / 8));
    let escapes = format!("\"{}\"", "\\n".repeat(size / 2 - 1));
    let list = format!("[{}0]", "0,".repeat(size / 2 - 1));
    for (text, good) in [
        (digits, false),
        (zeros, false),
        (exponent, false),
        (names, true),
        (same, false),
        (escapes, true),
        (list, true),
        (" ".repeat(size), false),
    ] {
        let read = Json::parse_within(text.as_bytes(), size * 2);
        assert_eq!(read.is_ok(), good, "{text:.40}");
        if let Err(error) = read {
            assert!(error.to_string().len() < 300);
        }
    }
}

#[test]
fn an_error_quotes_little_of_the_input() {
    let long = "é".repeat(10_000);
    let text = format!("{{\"{long}\":{{\"{long}\":1,\"{long}\":2}}}}");
    let error = Json::parse(text.as_bytes()).unwrap_err().to_string();
    assert!(error.chars().count() < 200, "{error}");
}

/// Any value that the strict reader can read.
pub(crate) fn any_json() -> impl Strategy<Value = Json> {
    let number = prop_oneof![
        (-MAX_SAFE_INTEGER..=MAX_SAFE_INTEGER).prop_map(|it| Number::from_integer(it).unwrap()),
        any::<f64>().prop_filter_map("safe", |it| Number::new(it).ok().filter(|it| it.get().abs() < 9e15)),
    ];
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        number.prop_map(Json::Number),
        any::<String>().prop_map(Json::String),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Json::Array),
            proptest::collection::vec(("\\PC{0,4}", inner), 0..6).prop_map(Json::object),
        ]
    })
}

/// Whether the values are equal, numbers compared as doubles.
fn same(ours: &Json, theirs: &serde_json::Value) -> bool {
    use serde_json::Value;
    match (ours, theirs) {
        (Json::Null, Value::Null) => true,
        (Json::Bool(a), Value::Bool(b)) => a == b,
        (Json::Number(a), Value::Number(b)) => b.as_f64() == Some(a.get()),
        (Json::String(a), Value::String(b)) => a == b,
        (Json::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Json::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        _ => false,
    }
}

/// Holds the strict reader against `serde_json` on one text.
fn agree(octets: &[u8]) -> Result<(), TestCaseError> {
    let theirs = serde_json::from_slice::<serde_json::Value>(octets);
    match Json::parse(octets) {
        Ok(ours) => {
            let theirs = theirs.map_err(|error| TestCaseError::fail(format!("serde_json refuses: {error}")))?;
            prop_assert!(same(&ours, &theirs), "{ours} is not {theirs}");
            let canonical = ours.to_canonical();
            prop_assert_eq!(&Json::parse(canonical.as_bytes()).unwrap(), &ours);
            prop_assert_eq!(Json::parse(canonical.as_bytes()).unwrap().to_canonical(), canonical);
        }
        // What we are stricter about.
        Err(error) => match error.fault() {
            JsonFault::TooLong(_)
            | JsonFault::TooDeep
            | JsonFault::DuplicateName(_)
            | JsonFault::InexactNumber(_)
            | JsonFault::ByteOrderMark => {}
            fault => prop_assert!(theirs.is_err(), "serde_json accepts in spite of: {fault}"),
        },
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn canonical_text_round_trips(json in any_json()) {
        let text = json.to_canonical();
        prop_assert_eq!(&Json::parse(text.as_bytes()).unwrap(), &json);
        agree(text.as_bytes())?;
    }

    #[test]
    fn serde_round_trips(json in any_json()) {
        let pretty = serde_json::to_string_pretty(&json).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Json>(&pretty).unwrap(), &json);
        prop_assert_eq!(&Json::parse(pretty.as_bytes()).unwrap(), &json);
        prop_assert_eq!(decode::<Json>(&json).unwrap(), json);
    }

    #[test]
    fn any_octets_are_read_as_serde_json_reads_them(octets: Vec<u8>) {
        agree(&octets)?;
    }

    #[test]
    fn nearly_json_is_read_as_serde_json_reads_it(text in "[\\[\\]{}:,\"\\\\ 0-9eE.+-]{0,24}") {
        agree(text.as_bytes())?;
    }

    #[test]
    fn nearly_numbers_are_read_as_serde_json_reads_them(
        text in "-?[0-9]{1,20}(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?",
    ) {
        agree(text.as_bytes())?;
    }

    #[test]
    fn nearly_strings_are_read_as_serde_json_reads_them(
        text in "\"(\\\\[\"\\\\/bfnrtux]|[dD][89abcdef][0-9a-f]{2}|[a-f0-9é]){0,12}\"",
    ) {
        agree(text.as_bytes())?;
    }

    #[test]
    fn a_spoilt_text_is_read_as_serde_json_reads_it(json in any_json(), at: prop::sample::Index, with: u8) {
        let mut octets = json.to_canonical().into_bytes();
        let at = at.index(octets.len());
        octets[at] = with;
        agree(&octets)?;
    }

    #[test]
    fn no_number_is_rounded(double: f64) {
        let Ok(number) = Number::new(double) else { return Ok(()) };
        let text = number.to_canonical();
        prop_assert_eq!(text.parse::<f64>().unwrap(), number.get());
        let safe = double.abs() <= 9_007_199_254_740_991.0;
        prop_assert_eq!(Json::parse(text.as_bytes()).is_ok(), safe);
        // The same digits and one more are another number, for the nearest double is written as shortly as it can be.
        if safe && text.contains('.') && !text.contains('e') {
            prop_assert_eq!(Json::parse(format!("{text}0").as_bytes()).unwrap(), Json::Number(number));
            let other = format!("{text}00000000000000000001");
            prop_assert!(Json::parse(other.as_bytes()).is_err());
        }
    }

    #[test]
    fn names_are_ordered_by_utf_16(a: String, b: String) {
        let units = |text: &str| text.encode_utf16().collect::<Vec<_>>();
        prop_assert_eq!(order(&a, &b), units(&a).cmp(&units(&b)));
    }

    #[test]
    fn an_object_is_a_map(entries in proptest::collection::vec(("[a-e\u{fb33}\u{1f600}]{0,2}", any::<u32>()), 0..20)) {
        let mut object = Object::default();
        let mut model = std::collections::BTreeMap::new();
        for (name, value) in entries {
            prop_assert_eq!(
                object.insert(name.clone(), value.into()),
                model.insert(name, Json::from(value)),
            );
        }
        prop_assert_eq!(object.len(), model.len());
        prop_assert_eq!(object.is_empty(), model.is_empty());
        for (name, value) in &mut model {
            prop_assert_eq!(object.get(name), Some(&*value));
            prop_assert_eq!(object.get_mut(name), Some(value));
        }
        let names: Vec<_> = object.iter().map(|(name, _)| name.encode_utf16().collect::<Vec<_>>()).collect();
        prop_assert!(names.is_sorted());
    }
}
