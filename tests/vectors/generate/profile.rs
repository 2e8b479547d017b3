//! Second verdict: attribute certificates that break a rule of the profile.

use seb::reason::Reason;

use super::certificate::{
    ADMISSION, AUTHORITY_KEY_IDENTIFIER, Certificate, EXECUTION_CONTRACT, SHA256, TARGET_INFORMATION, admission,
    admission_attribute, approval, attribute, contract_attribute, directory_name, extension, key_digest,
    key_identifier, target, target_name, uri,
};
use super::contracts::{ordinary, some_key};
use super::der::{bits, ctx, enumerated, ia5, int, null, number, octets, oid, prim, seq, time, utf8};
use super::pki::AUTHORITY_NAME;
use super::{BROKER, ECDSA_SHA256, ECDSA_SHA384, HOLDER, Set, name};

/// The vectors for one reason.
struct For<'a>(&'a mut Set, Reason);

impl For<'_> {
    fn add(&mut self, name: &str, rule: &'static str, text: &str, change: impl FnOnce(&mut Certificate)) {
        self.0.changed(name, rule, text, change).broken(self.1, self.0);
    }
}

pub fn add(set: &mut Set) {
    let mut version = For(set, Reason::ProfileVersion);
    version.add("version_1", "VERSION-1", "Version v1.", |c| c.version = int(&[0]));
    version.add("version_3", "VERSION-1", "A version after v2.", |c| c.version = int(&[2]));
    version.add("version_negative", "VERSION-1", "A negative version.", |c| c.version = int(&[0xff]));
    version.add("version_257", "VERSION-1", "A version whose last octet is that of v2.", |c| c.version = int(&[1, 1]));
    holder(&mut For(set, Reason::ProfileHolder));
    issuer(&mut For(set, Reason::ProfileIssuer));
    algorithm(&mut For(set, Reason::ProfileAlgorithm));
    let mut serial = For(set, Reason::ProfileSerial);
    serial.add("serial_zero", "SERIAL-1", "Zero.", |c| c.serial(&[0]));
    serial.add("serial_negative", "SERIAL-1", "A negative number.", |c| c.serial(&[0x80, 1]));
    serial.add("serial_21_octets", "SERIAL-2", "21 octets.", |c| c.serial(&[0x4b; 21]));
    serial.add("serial_21_octets_padded", "SERIAL-2", "21 octets, the first of them zero.", |c| {
        c.serial(&[[0].as_slice(), &[0x80; 20]].concat());
    });
    validity(&mut For(set, Reason::ProfileValidity));
    attributes(&mut For(set, Reason::ProfileAttribute));
    admissions(&mut For(set, Reason::ProfileAdmission));
    For(set, Reason::ProfileIssuerUniqueId).add("issuer_unique_id", "UNIQUE-ID-1", "An `issuerUniqueID`.", |c| {
        c.unique_id = bits(&[1, 2, 3]);
    });
    extensions(&mut For(set, Reason::ProfileExtension));
    targets(&mut For(set, Reason::ProfileTarget));
}

fn holder(to: &mut For<'_>) {
    let issuer_serial = || vec![seq(&[directory_name(&name("issuer"))]), int(&[1])];
    to.add("holder_base_certificate", "HOLDER-1", "`baseCertificateID` instead of a name.", |c| {
        c.holder = seq(&[ctx(0, &issuer_serial())]);
    });
    to.add("holder_base_certificate_too", "HOLDER-1", "`baseCertificateID` beside the name.", |c| {
        c.holder = seq(&[ctx(0, &issuer_serial()), ctx(1, &[uri(HOLDER)])]);
    });
    to.add("holder_empty", "HOLDER-2", "Nothing.", |c| c.holder = seq::<Vec<u8>>(&[]));
    to.add("holder_only_key", "HOLDER-2", "Only a key.", |c| c.holder = seq(&[key_digest(&some_key())]));
    to.add("holder_no_name", "HOLDER-2", "An `entityName` without name.", |c| {
        c.holder = seq(&[ctx::<Vec<u8>>(1, &[])])
    });
    to.add("holder_two_names", "HOLDER-2", "Two agents.", |c| {
        c.holder = seq(&[ctx(1, &[uri(HOLDER), uri("spiffe://example.org/agent/other")])]);
    });
    to.add("holder_directory_name", "HOLDER-2", "A directory name.", |c| {
        c.holder = seq(&[ctx(1, &[directory_name(&name("deployer"))])]);
    });
    to.add("holder_dns_name", "HOLDER-2", "A DNS name.", |c| {
        c.holder = seq(&[ctx(1, &[prim(2, b"agent.example.org")])])
    });
    let ids = [
        ("holder_https", "A URI of another scheme.", "https://example.org/agent/deployer"),
        ("holder_trust_domain", "A trust domain alone.", "spiffe://example.org"),
        ("holder_trust_domain_slash", "A trust domain and a slash.", "spiffe://example.org/"),
        ("holder_upper_case_scheme", "The scheme in upper case.", "SPIFFE://example.org/agent/deployer"),
        ("holder_upper_case", "The trust domain in upper case.", "spiffe://EXAMPLE.org/agent/deployer"),
        ("holder_trailing_slash", "A slash at the end.", "spiffe://example.org/agent/deployer/"),
        ("holder_double_slash", "An empty segment.", "spiffe://example.org/agent//deployer"),
        ("holder_dot_segment", "A segment `..`.", "spiffe://example.org/agent/../deployer"),
        ("holder_percent", "An escaped octet.", "spiffe://example.org/agent/deploye%72"),
        ("holder_query", "A query.", "spiffe://example.org/agent/deployer?x"),
        ("holder_fragment", "A fragment.", "spiffe://example.org/agent/deployer#x"),
        ("holder_port", "A port.", "spiffe://example.org:443/agent/deployer"),
        ("holder_user", "A user.", "spiffe://agent@example.org/deployer"),
        ("holder_nul", "A NUL at the end.", "spiffe://example.org/agent/deployer\0"),
        ("holder_space", "A space at the end.", "spiffe://example.org/agent/deployer "),
        ("holder_empty_uri", "An empty URI.", ""),
    ];
    for (name, text, id) in ids {
        to.add(name, "HOLDER-3", text, |c| c.holder = seq(&[ctx(1, &[uri(id)])]));
    }
    to.add("holder_2049_octets", "HOLDER-3", "A SPIFFE ID that is one octet too long.", |c| {
        let id = format!("spiffe://example.org/{}", "a".repeat(2049 - "spiffe://example.org/".len()));
        c.holder = seq(&[ctx(1, &[uri(&id)])]);
    });
    let digest = |parts: &[Vec<u8>]| seq(&[ctx(1, &[uri(HOLDER)]), ctx(2, parts)]);
    let sha256 = || seq(&[oid(SHA256)]);
    to.add("holder_key_certificate", "HOLDER-4", "A digest over a certificate, not over a key.", |c| {
        c.holder = digest(&[enumerated(1), sha256(), bits(&[7; 32])]);
    });
    to.add("holder_key_other_type", "HOLDER-4", "A digest over another kind of object.", |c| {
        c.holder = digest(&[enumerated(2), oid("1.3.6.1.4.1.32473.99"), sha256(), bits(&[7; 32])]);
    });
    to.add("holder_key_other_type_id", "HOLDER-4", "A digest over a key, with `otherObjectTypeID`.", |c| {
        c.holder = digest(&[enumerated(0), oid("1.3.6.1.4.1.32473.99"), sha256(), bits(&[7; 32])]);
    });
    to.add("holder_key_sha1", "HOLDER-4", "A SHA-1 digest.", |c| {
        c.holder = digest(&[enumerated(0), seq(&[oid("1.3.14.3.2.26")]), bits(&[7; 20])]);
    });
    to.add("holder_key_parameters", "HOLDER-4", "SHA-256 with NULL parameters.", |c| {
        c.holder = digest(&[enumerated(0), seq(&[oid(SHA256), null()]), bits(&[7; 32])]);
    });
    to.add("holder_key_31_octets", "HOLDER-4", "A digest that is too short.", |c| {
        c.holder = digest(&[enumerated(0), sha256(), bits(&[7; 31])]);
    });
    to.add("holder_key_255_bits", "HOLDER-4", "A digest that is one bit too short.", |c| {
        let content = [[1].as_slice(), &[8; 32]].concat();
        c.holder = digest(&[enumerated(0), sha256(), super::der::tlv(0x03, &content)]);
    });
}

fn issuer(to: &mut For<'_>) {
    let names = || seq(&[directory_name(&name(AUTHORITY_NAME))]);
    to.add("issuer_v1_form", "ISSUER-1", "`v1Form`.", |c| c.issuer = names());
    to.add("issuer_base_certificate", "ISSUER-2", "`baseCertificateID` beside the name.", |c| {
        c.issuer = ctx(0, &[names(), ctx(0, &[names(), int(&[1])])]);
    });
    to.add("issuer_object_digest", "ISSUER-2", "`objectDigestInfo` beside the name.", |c| {
        c.issuer = ctx(0, &[names(), ctx(1, &[enumerated(0), seq(&[oid(SHA256)]), bits(&[7; 32])])]);
    });
    to.add("issuer_missing", "ISSUER-3", "A `v2Form` without name.", |c| c.issuer = ctx::<Vec<u8>>(0, &[]));
    to.add("issuer_no_name", "ISSUER-3", "An `issuerName` without name.", |c| {
        c.issuer = ctx(0, &[seq::<Vec<u8>>(&[])])
    });
    to.add("issuer_two_names", "ISSUER-3", "Two names.", |c| {
        c.issuer = ctx(0, &[seq(&[directory_name(&name(AUTHORITY_NAME)), directory_name(&name("other"))])]);
    });
    to.add("issuer_uri", "ISSUER-3", "A SPIFFE ID instead of a directory name.", |c| {
        c.issuer = ctx(0, &[seq(&[uri(super::pki::AUTHORITY)])]);
    });
    to.add("issuer_empty_name", "ISSUER-3", "An empty directory name.", |c| {
        c.issuer = ctx(0, &[seq(&[directory_name(&seq::<Vec<u8>>(&[]))])]);
    });
}

fn algorithm(to: &mut For<'_>) {
    let identifiers = [
        ("algorithm_rsa", "RSA with SHA-256.", seq(&[oid("1.2.840.113549.1.1.11"), null()])),
        ("algorithm_ecdsa_sha1", "ECDSA with SHA-1.", seq(&[oid("1.2.840.10045.4.1")])),
        ("algorithm_ecdsa_sha512", "ECDSA with SHA-512.", seq(&[oid("1.2.840.10045.4.3.4")])),
        ("algorithm_ed448", "Ed448.", seq(&[oid("1.3.101.113")])),
        ("algorithm_parameters", "ECDSA P-256 with NULL parameters.", seq(&[oid(ECDSA_SHA256), null()])),
        ("algorithm_unknown", "An unknown algorithm.", seq(&[oid("1.3.6.1.4.1.32473.99")])),
    ];
    for (name, text, identifier) in identifiers {
        to.add(name, "ALGORITHM-1", text, |c| c.algorithms(&identifier));
    }
    to.add("algorithm_outer_differs", "ALGORITHM-2", "Another algorithm outside than inside.", |c| {
        c.outer_algorithm = seq(&[oid(ECDSA_SHA384)]);
    });
    to.add("algorithm_inner_differs", "ALGORITHM-2", "Another algorithm inside than outside.", |c| {
        c.algorithm = seq(&[oid(ECDSA_SHA384)]);
    });
}

fn validity(to: &mut For<'_>) {
    let times = [
        ("validity_fraction", "A fraction of a second.", "20261130235959.5Z"),
        ("validity_zero_fraction", "A fraction that is zero.", "20261130235959.0Z"),
        ("validity_no_seconds", "No seconds.", "202611302359Z"),
        ("validity_offset", "An offset from UTC.", "20261130235959+0000"),
        ("validity_local", "Local time.", "20261130235959"),
        ("validity_lower_case", "`z` for `Z`.", "20261130235959z"),
        ("validity_day", "A day that does not exist.", "20261131000000Z"),
        ("validity_no_leap_day", "A leap day in a year without one.", "20260229000000Z"),
        ("validity_hour_24", "The hour 24.", "20261130240000Z"),
        ("validity_leap_second", "A leap second.", "20261231235960Z"),
        ("validity_1969", "A year before 1970.", "19691231235959Z"),
        ("validity_letters", "Letters.", "2026113023595XZ"),
        ("validity_empty", "No characters.", ""),
    ];
    for (name, text, not_after) in times {
        to.add(name, "VALIDITY-1", text, |c| c.validity = seq(&[time("20261101000000Z"), time(not_after)]));
    }
    to.add("validity_reversed", "VALIDITY-2", "It ends one second before it begins.", |c| {
        c.validity = seq(&[time("20261101000000Z"), time("20261031235959Z")]);
    });
}

fn attributes(to: &mut For<'_>) {
    to.add("attribute_no_contract", "ATTRIBUTE-1", "No contract.", |c| drop(c.attributes.remove(0)));
    to.add("attribute_no_admission", "ATTRIBUTE-1", "No admission.", |c| drop(c.attributes.remove(1)));
    to.add("attributes_none", "ATTRIBUTE-1", "No attribute at all.", |c| c.attributes.clear());
    to.add("attribute_two_contracts", "ATTRIBUTE-1", "The contract twice.", |c| {
        c.attributes.push(contract_attribute(&ordinary()));
    });
    to.add("attribute_two_admissions", "ATTRIBUTE-1", "The admission twice.", |c| {
        c.attributes.push(admission_attribute(&admission(&[])));
    });
    to.add("attribute_unknown", "ATTRIBUTE-2", "An unknown attribute.", |c| {
        c.attributes.push(attribute("1.3.6.1.4.1.32473.99", &[utf8("x")]));
    });
    to.add("attribute_role", "ATTRIBUTE-2", "A `role` of RFC 5755.", |c| {
        c.attributes.push(attribute("2.5.4.72", &[seq(&[ctx(1, &[uri("urn:example:admin")])])]));
    });
    to.add("attribute_no_value", "ATTRIBUTE-3", "A contract without value.", |c| {
        c.attributes[0] = attribute(EXECUTION_CONTRACT, &[]);
    });
    to.add("attribute_two_values", "ATTRIBUTE-3", "A contract with two values.", |c| {
        c.attributes[0] = attribute(EXECUTION_CONTRACT, &[utf8("a"), utf8("b")]);
    });
    to.add("attribute_admission_two_values", "ATTRIBUTE-3", "An admission with two values.", |c| {
        let mut other = admission(&[]);
        other[1] = number(8);
        c.attributes[1] = attribute(ADMISSION, &[seq(&admission(&[])), seq(&other)]);
    });
    to.add("contract_octet_string", "ATTRIBUTE-4", "The contract is an OCTET STRING.", |c| {
        c.attributes[0] = attribute(EXECUTION_CONTRACT, &[octets(ordinary().as_bytes())]);
    });
    to.add("contract_not_utf8", "ATTRIBUTE-4", "The contract is not UTF-8.", |c| {
        c.attributes[0] = attribute(EXECUTION_CONTRACT, &[super::der::tlv(0x0c, b"\xff\xfe")]);
    });
}

fn admissions(to: &mut For<'_>) {
    let mut part = |name: &str, rule: &'static str, text: &str, index: usize, value: Vec<u8>| {
        to.add(name, rule, text, |c| {
            let mut parts = admission(&[]);
            parts[index] = value;
            c.attributes[1] = admission_attribute(&parts);
        });
    };
    part("admission_policy_missing", "ADMISSION-1", "Without policy digest.", 0, Vec::new());
    part("admission_policy_31_octets", "ADMISSION-2", "A policy digest of 31 octets.", 0, octets(&[7; 31]));
    part("admission_evidence_empty", "ADMISSION-2", "An empty evidence digest.", 3, octets(&[]));
    part("admission_epoch_negative", "ADMISSION-3", "A negative policy epoch.", 1, int(&[0xff]));
    part("admission_epoch_2_63", "ADMISSION-3", "A revocation epoch of 2^63.", 2, number(1 << 63));
    part("admission_epoch_2_64", "ADMISSION-3", "A policy epoch of 2^64.", 1, int(&[1, 0, 0, 0, 0, 0, 0, 0, 0]));
    part("admission_path_unknown", "ADMISSION-4", "An unknown path.", 4, enumerated(2));
    part("admission_path_integer", "ADMISSION-4", "The path is an INTEGER.", 4, int(&[0]));
    part("admission_tier_unknown", "ADMISSION-4", "An unknown tier.", 5, enumerated(4));
    part("admission_approved_by_nobody", "ADMISSION-5", "Approved, but no approval is listed.", 4, enumerated(1));

    let mut whole = |name: &str, rule: &'static str, text: &str, parts: Vec<Vec<u8>>| {
        to.add(name, rule, text, |c| c.attributes[1] = admission_attribute(&parts));
    };
    let ana = "mailto:ana@example.org";
    let with = |approvals: &[Vec<u8>]| admission(approvals);
    whole("admission_extra_part", "ADMISSION-1", "An element after the last.", [admission(&[]), vec![null()]].concat());
    let mut automatic = with(&[approval(ana)]);
    automatic[4] = enumerated(0);
    whole("admission_automatic_with_approval", "ADMISSION-5", "Automatic, but an approval is listed.", automatic);
    let mut empty = with(&[approval(ana)]);
    empty[6] = seq::<Vec<u8>>(&[]);
    whole("admission_approvals_empty", "ADMISSION-5", "Approved, with an empty list.", empty);
    whole(
        "admission_approver_twice",
        "ADMISSION-6",
        "One person approves twice.",
        with(&[approval(ana), approval(ana)]),
    );
    whole("admission_approver_empty", "ADMISSION-6", "An approver without name.", with(&[approval("")]));
    whole(
        "admission_approver_space",
        "ADMISSION-6",
        "An approver with a space.",
        with(&[approval("mailto:ana example.org")]),
    );
    whole("admission_approver_513", "ADMISSION-6", "An approver of 513 octets.", with(&[approval(&"x".repeat(513))]));
    whole("admission_approver_utf8", "ADMISSION-6", "An approver as UTF8String.", {
        with(&[seq(&[utf8(ana), time("20261031120000Z"), octets(&[7; 32])])])
    });
    whole("admission_approved_at_fraction", "ADMISSION-7", "An approval with a fraction of a second.", {
        with(&[seq(&[ia5(ana), time("20261031120000.5Z"), octets(&[7; 32])])])
    });
    whole("admission_statement_33_octets", "ADMISSION-2", "A statement digest of 33 octets.", {
        with(&[seq(&[ia5(ana), time("20261031120000Z"), octets(&[7; 33])])])
    });
    let seventeen: Vec<_> = (0..17).map(|index| approval(&format!("urn:example:{index}"))).collect();
    whole("admission_17_approvals", "ADMISSION-6", "17 approvals.", with(&seventeen));
    to.add("admission_not_a_sequence", "ADMISSION-1", "A text instead of an `Admission`.", |c| {
        c.attributes[1] = attribute(ADMISSION, &[utf8("admitted")]);
    });
}

fn extensions(to: &mut For<'_>) {
    let unknown = "1.3.6.1.4.1.32473.99";
    to.add("extension_unknown_critical", "EXTENSION-1", "An unknown extension that is critical.", |c| {
        c.extensions.push(extension(unknown, true, &null()));
    });
    to.add("extension_audit_identity", "EXTENSION-1", "A critical `auditIdentity` of RFC 5755.", |c| {
        c.extensions.push(extension("1.3.6.1.5.5.7.1.4", true, &octets(&[1])));
    });
    to.add("extension_ac_proxying", "EXTENSION-1", "A critical `acProxying` of RFC 5755.", |c| {
        c.extensions.push(extension("1.3.6.1.5.5.7.1.10", true, &seq(&[seq(&[target_name(BROKER)])])));
    });
    to.add("extension_repeated", "EXTENSION-2", "An unknown extension twice.", |c| {
        c.extensions.push(extension(unknown, false, &null()));
        c.extensions.push(extension(unknown, false, &null()));
    });
    to.add("extension_target_repeated", "EXTENSION-2", "`targetInformation` twice.", |c| {
        c.extensions.push(c.extensions[0].clone());
    });
    to.add("extensions_17", "EXTENSION-3", "17 extensions.", |c| {
        for index in 0..15 {
            c.extensions.push(extension(&format!("{unknown}.{index}"), false, &null()));
        }
    });
    to.add("extension_no_target", "EXTENSION-4", "No `targetInformation`.", |c| drop(c.extensions.remove(0)));
    to.add("extensions_none", "EXTENSION-4", "No extensions.", |c| c.extensions.clear());
    let targets = || seq(&[seq(&[target_name(BROKER)])]);
    to.add("extension_target_not_critical", "EXTENSION-4", "`targetInformation` is not critical.", |c| {
        c.extensions[0] = extension(TARGET_INFORMATION, false, &targets());
    });
    to.add("extension_target_malformed", "EXTENSION-4", "`targetInformation` holds a text.", |c| {
        c.extensions[0] = extension(TARGET_INFORMATION, true, &utf8(BROKER));
    });
    to.add(
        "extension_target_single_sequence",
        "EXTENSION-4",
        "`targetInformation` as RFC 5912 has it: one SEQUENCE.",
        |c| {
            c.extensions[0] = extension(TARGET_INFORMATION, true, &seq(&[target_name(BROKER)]));
        },
    );
    to.add("extension_target_trailing", "EXTENSION-4", "An octet after the value of `targetInformation`.", |c| {
        c.extensions[0] = extension(TARGET_INFORMATION, true, &[targets(), vec![0]].concat());
    });
    to.add("extension_target_not_der", "EXTENSION-4", "`targetInformation` with a length that is not minimal.", |c| {
        let value = targets();
        c.extensions[0] = extension(TARGET_INFORMATION, true, &[&[0x30, 0x81], &value[1..]].concat());
    });
    to.add("extension_target_implicit", "EXTENSION-4", "`targetName` under an implicit tag.", |c| {
        c.extensions[0] = target(&[prim(0, BROKER.as_bytes())]);
    });
    to.add("extension_target_many", "EXTENSION-4", "15,000 targets.", |c| {
        c.contract("");
        c.extensions[0] = target(&vec![ctx(0, &[prim(6, b"")]); 15_000]);
    });
    to.add("extension_no_authority_key", "EXTENSION-5", "No `authorityKeyIdentifier`.", |c| {
        drop(c.extensions.remove(1))
    });
    let key = |critical, parts: &[Vec<u8>]| extension(AUTHORITY_KEY_IDENTIFIER, critical, &seq(parts));
    to.add("extension_authority_key_critical", "EXTENSION-5", "`authorityKeyIdentifier` is critical.", |c| {
        c.extensions[1] = key(true, &[prim(0, &[7; 20])]);
    });
    to.add("extension_authority_key_absent", "EXTENSION-5", "An empty `authorityKeyIdentifier`.", |c| {
        c.extensions[1] = key(false, &[]);
    });
    to.add("extension_authority_key_empty", "EXTENSION-5", "A `keyIdentifier` without octets.", |c| {
        c.extensions[1] = key_identifier(&[]);
    });
    to.add("extension_authority_key_65", "EXTENSION-5", "A `keyIdentifier` of 65 octets.", |c| {
        c.extensions[1] = key_identifier(&[7; 65]);
    });
    to.add(
        "extension_authority_key_issuer",
        "EXTENSION-5",
        "An issuer and serial number beside the `keyIdentifier`.",
        |c| {
            let issuer = ctx(1, &[directory_name(&name("issuer"))]);
            c.extensions[1] = key(false, &[prim(0, &[7; 20]), issuer, prim(2, &[1])]);
        },
    );
}

fn targets(to: &mut For<'_>) {
    let other = "spiffe://example.org/seb-2";
    to.add("target_two", "TARGET-1", "Two brokers.", |c| {
        c.extensions[0] = target(&[target_name(BROKER), target_name(other)]);
    });
    to.add("target_two_lists", "TARGET-1", "Two lists of one broker each.", |c| {
        let value = seq(&[seq(&[target_name(BROKER)]), seq(&[target_name(other)])]);
        c.extensions[0] = extension(TARGET_INFORMATION, true, &value);
    });
    to.add("target_no_list", "TARGET-1", "No list.", |c| {
        c.extensions[0] = extension(TARGET_INFORMATION, true, &seq::<Vec<u8>>(&[]));
    });
    to.add("target_none", "TARGET-1", "An empty list.", |c| c.extensions[0] = target(&[]));
    to.add("target_group", "TARGET-2", "A `targetGroup`.", |c| c.extensions[0] = target(&[ctx(1, &[uri(BROKER)])]));
    to.add("target_cert", "TARGET-2", "A `targetCert`.", |c| {
        let issuer_serial = seq(&[seq(&[directory_name(&name("issuer"))]), int(&[1])]);
        c.extensions[0] = target(&[ctx(2, &[issuer_serial])]);
    });
    to.add("target_dns_name", "TARGET-3", "A DNS name.", |c| {
        c.extensions[0] = target(&[ctx(0, &[prim(2, b"seb.example.org")])]);
    });
    to.add("target_https", "TARGET-3", "A URI of another scheme.", |c| {
        c.extensions[0] = target(&[target_name("https://example.org/seb")]);
    });
    to.add("target_trust_domain", "TARGET-3", "A trust domain alone.", |c| {
        c.extensions[0] = target(&[target_name("spiffe://example.org")]);
    });
    to.add("target_upper_case", "TARGET-3", "The trust domain in upper case.", |c| {
        c.extensions[0] = target(&[target_name("spiffe://Example.org/seb")]);
    });
}
