//! First verdict: octets that are no attribute certificate.

use seb::reason::Reason;

use super::certificate::{EXECUTION_CONTRACT, TARGET_INFORMATION, admission, approval, attribute, uri};
use super::contracts::{large, ordinary};
use super::der::{bits, boolean, ctx, int, null, octets, oid, prim, seq, set as der_set, time, tlv, utf8};
use super::{HOLDER, Set, pem, signing_key};

pub fn add(set: &mut Set) {
    size_and_text(set);
    encoding(set);
    structure(set);
    bounds(set);
}

fn size_and_text(set: &mut Set) {
    set.changed("too_large", "PARSE-1", "One certificate of more than 64 KiB.", |c| c.contract(&large(65_536)))
        .broken(Reason::CertificateTooLarge, set);

    let certificate = set.certificate().sign(&signing_key(&set.ordinary));
    let block = pem("ATTRIBUTE CERTIFICATE", &certificate);
    let texts = [
        ("pem_none", "Text without a block.", "no certificate here\n".to_owned()),
        ("pem_empty", "An empty file.", String::new()),
        ("pem_two", "Two attribute certificates.", block.repeat(2)),
        ("pem_no_end", "The block does not end.", block.split("-----END").next().unwrap().to_owned()),
        ("pem_no_begin", "The block does not begin.", block.split_once('\n').unwrap().1.to_owned()),
        ("pem_wrong_label", "A block of another kind.", pem("PKCS7", &certificate)),
        ("pem_only_chain", "Only public-key certificates.", pem("CERTIFICATE", &set.ordinary.certificates[0])),
        ("pem_label_differs", "The block ends under another label.", block.replace("END ATTRIBUTE", "END")),
        ("pem_not_base64", "A character that is not of base64.", block.replacen("\nM", "\n*", 1)),
        ("pem_header", "A header inside the block.", block.replacen("-----\n", "-----\nProc-Type: 4,ENCRYPTED\n\n", 1)),
        ("pem_nested", "A block inside another.", block.replacen('\n', "\n-----BEGIN CERTIFICATE-----\n", 1)),
        ("pem_private_key", "A private key beside the certificate.", block.clone() + &pem("PRIVATE KEY", b"none")),
    ];
    for (name, text, pem) in texts {
        set.raw(name, "PARSE-2", text, pem.into_bytes()).pem().broken(Reason::CertificatePem, set);
    }
    set.raw("pem_binary", "PARSE-2", "Neither text nor DER.", vec![0xff, 0xfe, 0x00])
        .broken(Reason::CertificatePem, set);
}

fn encoding(set: &mut Set) {
    const REASON: Reason = Reason::CertificateEncoding;
    const RULE: &str = "PARSE-3";
    let certificate = set.certificate().sign(&signing_key(&set.ordinary));
    let body = &certificate[4..];
    let indefinite = [&[0x30, 0x80], body, &[0, 0]].concat();
    let long = [&[0x30, 0x83, 0], &certificate[2..4], body].concat();
    let raw = [
        ("trailing_octet", "An octet after the end.", [certificate.as_slice(), &[0]].concat()),
        ("truncated", "The last octet is missing.", certificate[..certificate.len() - 1].to_vec()),
        ("identifier_alone", "An identifier octet and nothing else.", vec![0x30]),
        ("length_of_4_gib", "A length of 4 GiB, and no content.", vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff]),
        ("length_indefinite", "An indefinite length.", indefinite),
        ("length_not_minimal", "A length with a leading zero octet.", long),
    ];
    for (name, text, octets) in raw {
        set.raw(name, RULE, text, octets).broken(REASON, set);
    }
    let mut change = |name: &str, text: &str, change: &dyn Fn(&mut super::Certificate)| {
        set.changed(name, RULE, text, change).broken(REASON, set);
    };
    change("length_inner_not_minimal", "A length below 128 in two octets.", &|c| {
        c.version = vec![0x02, 0x81, 0x01, 0x01];
    });
    change("integer_not_minimal", "A serial number with a needless leading zero octet.", &|c| {
        c.serial = int(&[0, 0x4b])
    });
    change("integer_empty", "A serial number without content.", &|c| c.serial = int(&[]));
    change("boolean_not_canonical", "TRUE as 01 instead of FF.", &|c| {
        c.extensions[0] = c.extensions[0].iter().enumerate().map(|(i, o)| if i == 9 { 1 } else { *o }).collect();
    });
    change("default_encoded", "An explicit `critical` FALSE, which is the default.", &|c| {
        c.extensions.push(seq(&[oid("1.3.6.1.4.1.32473.99"), boolean(false), octets(&null())]));
    });
    change("set_unordered", "The values of an attribute are not in DER's order.", &|c| {
        c.attributes[0] = attribute(EXECUTION_CONTRACT, &[utf8("b"), utf8("a")]);
    });
    change("name_set_unordered", "The parts of a relative distinguished name are not in DER's order.", &|c| {
        let part = |text| seq(&[oid("2.5.4.3"), utf8(text)]);
        let name = seq(&[der_set(&[part("b"), part("a")])]);
        c.issuer = ctx(0, &[seq(&[ctx(4, &[name])])]);
    });
    change("oid_leading_80", "An object identifier with a padded arc: `2.5.29.55` by another spelling.", &|c| {
        c.extensions[0] = seq(&[
            tlv(0x06, &[0x55, 0x1d, 0x80, 0x37]),
            boolean(true),
            octets(&seq(&[seq(&[ctx(0, &[uri(super::BROKER)])])])),
        ]);
    });
    change("oid_empty", "An object identifier without content.", &|c| {
        c.extensions.push(seq(&[tlv(0x06, &[]), octets(&null())]));
    });
    change("oid_incomplete", "An object identifier that ends inside an arc.", &|c| {
        c.extensions.push(seq(&[tlv(0x06, &[0x55, 0x1d, 0x81]), octets(&null())]));
    });
    change("null_with_content", "A NULL with content.", &|c| {
        c.algorithms(&seq(&[oid(super::ECDSA_SHA256), tlv(0x05, &[0])]))
    });
    change("bits_unused_set", "A BIT STRING whose unused bits are not zero.", &|c| c.unique_id = tlv(0x03, &[4, 0x0f]));
    change("bits_unused_8", "A BIT STRING with eight unused bits.", &|c| c.unique_id = tlv(0x03, &[8, 0]));
    change("octets_constructed", "An OCTET STRING in parts.", &|c| {
        let value = tlv(0x24, &octets(b"part"));
        c.extensions.push(seq(&[oid("1.3.6.1.4.1.32473.99"), value]));
    });
    change("sequence_primitive", "A SEQUENCE that is not constructed.", &|c| c.validity[0] = 0x10);
    change("tag_long_form", "A tag below 31 in the long form.", &|c| {
        c.unique_id = vec![0x9f, 0x03, 0x00];
    });
    change("end_of_contents", "End-of-contents octets.", &|c| c.rest = vec![0, 0]);
}

fn structure(set: &mut Set) {
    const REASON: Reason = Reason::CertificateStructure;
    const RULE: &str = "PARSE-4";
    let leaf = set.ordinary.certificates[0].clone();
    let text = "A public-key certificate instead of an attribute certificate.";
    set.raw("public_key_certificate", RULE, text, leaf).broken(REASON, set);
    set.raw("empty_sequence", RULE, "An empty SEQUENCE.", seq::<Vec<u8>>(&[])).broken(REASON, set);
    let certificate = set.certificate();
    let info = certificate.info();
    let algorithm = certificate.outer_algorithm.clone();
    let raw = [
        ("no_signature", "Without signature.", seq(&[info.clone(), algorithm.clone()])),
        (
            "signature_octet_string",
            "The signature is an OCTET STRING.",
            seq(&[info.clone(), algorithm.clone(), octets(b"s")]),
        ),
        ("element_after_signature", "An element after the signature.", seq(&[info, algorithm, bits(b"s"), null()])),
    ];
    for (name, text, octets) in raw {
        set.raw(name, RULE, text, octets).broken(REASON, set);
    }
    let mut change = |name: &str, text: &str, change: &dyn Fn(&mut super::Certificate)| {
        set.changed(name, RULE, text, change).broken(REASON, set);
    };
    change("version_missing", "Without version.", &|c| c.version.clear());
    change("version_tagged", "The version under [0], as in a public-key certificate.", &|c| {
        c.version = ctx(0, &[int(&[1])])
    });
    change("holder_missing", "Without holder.", &|c| c.holder.clear());
    change("holder_choice_wrong", "The holder holds something under [3].", &|c| {
        c.holder = seq(&[ctx(1, &[uri(HOLDER)]), ctx(3, &[null()])]);
    });
    change("holder_order", "The holder's parts in another order.", &|c| {
        c.holder = seq(&[super::certificate::key_digest(&super::contracts::some_key()), ctx(1, &[uri(HOLDER)])]);
    });
    change("holder_digest_type", "`objectDigestInfo` over an object of a type that is not defined.", &|c| {
        let info = ctx(2, &[tlv(0x0a, &[3]), seq(&[oid(super::certificate::SHA256)]), bits(&[0; 32])]);
        c.holder = seq(&[ctx(1, &[uri(HOLDER)]), info]);
    });
    change("uri_not_ascii", "A URI with an octet above 127.", &|c| {
        c.holder = seq(&[ctx(1, &[prim(6, b"spiffe://example.org/\xe4gent")])]);
    });
    change("validity_utc_time", "The times are UTCTime.", &|c| {
        c.validity = seq(&[tlv(0x17, b"261101000000Z"), tlv(0x17, b"261130235959Z")]);
    });
    change("validity_three", "Three times.", &|c| {
        c.validity = seq(&[time("20261101000000Z"), time("20261130235959Z"), time("20261130235959Z")]);
    });
    change("attribute_value_no_set", "An attribute's value is not in a SET.", &|c| {
        c.attributes[0] = seq(&[oid(EXECUTION_CONTRACT), utf8(&ordinary())]);
    });
    change("element_before_attributes", "A SET before the attributes.", &|c| {
        c.validity = [c.validity.clone(), der_set(&c.attributes)].concat();
    });
    change("extensions_tagged", "The extensions under [3], as in a public-key certificate.", &|c| {
        c.rest = ctx(3, &[seq(&c.extensions)]);
        c.extensions.clear();
    });
    change("element_after_extensions", "An element after the extensions.", &|c| c.rest = null());
    change("extension_value_no_octets", "An extension's value is not in an OCTET STRING.", &|c| {
        c.extensions[0] = seq(&[oid(TARGET_INFORMATION), boolean(true), seq(&[seq(&[ctx(0, &[uri(super::BROKER)])])])]);
    });
}

fn bounds(set: &mut Set) {
    const REASON: Reason = Reason::CertificateBounds;
    const RULE: &str = "PARSE-5";
    let nest = |depth: usize| (0..depth).fold(null(), |inner, _| seq(&[inner]));
    set.changed("nested_too_deep", RULE, "A value nested 17 deep.", |c| {
        c.attributes.push(attribute("1.3.6.1.4.1.32473.99", &[nest(20)]));
    })
    .broken(REASON, set);
    let text = "32 KiB of nothing but nesting.";
    set.raw("nested_32_kib", RULE, text, nest(8_000)).broken(REASON, set);
    set.changed("too_many_values", RULE, "More than 1024 values.", |c| {
        c.attributes.push(attribute("1.3.6.1.4.1.32473.99", &[seq(&vec![null(); 1024])]));
    })
    .broken(REASON, set);
    set.changed("too_many_approvals_to_read", RULE, "300 approvals.", |c| {
        let approvals: Vec<_> = (0..300).map(|index| approval(&format!("urn:example:{index:03}"))).collect();
        c.attributes[1] = super::certificate::admission_attribute(&admission(&approvals));
    })
    .broken(REASON, set);
}
