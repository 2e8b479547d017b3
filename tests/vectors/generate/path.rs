//! Third verdict: chains that do not lead to a trusted authority, and signatures that are not the authority's.

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyUsagePurpose, date_time_ymd};
use seb::attribute_certificate::SignatureAlgorithm;
use seb::key::SigningKey;
use seb::reason::Reason;

use super::certificate::{directory_name, key_identifier, uri as name_uri};
use super::der::{ctx, int, null, oid, seq, tlv};
use super::pki::{AUTHORITY_NAME, Plan, extension, forged, name_constraints, plan, uri, version_1};
use super::{Certificate, ECDSA_SHA384, ED25519, Set, name, signing_key};

pub fn add(set: &mut Set) {
    chains(set);
    authorities(set);
    names(set);
    trust(set);
    paths(set);
    times(set);
    signatures(set);
}

fn chains(set: &mut Set) {
    set.changed("chain_missing", "CHAIN-1", "No chain.", |_| {}).no_chain().broken(Reason::ChainMissing, set);
    let mut many = set.ordinary.certificates.clone();
    many.resize(6, many[1].clone());
    let text = "Six certificates.";
    set.changed("chain_of_6", "CHAIN-2", text, |_| {}).chain(&many).broken(Reason::ChainBounds, set);
    let padding = |octets: usize| extension(&[1, 3, 6, 1, 4, 1, 32473, 99], false, tlv(0x04, &vec![0; octets]));
    let large = plan().leaf(|p| p.custom_extensions.push(padding(66_000))).build();
    set.under("chain_too_large", "CHAIN-2", "A certificate of more than 64 KiB.", &large)
        .broken(Reason::ChainBounds, set);
    let dense = plan()
        .leaf(|p| {
            for index in 0..400 {
                p.custom_extensions.push(extension(&[1, 3, 6, 1, 4, 1, 32473, 99, index], false, null()));
            }
        })
        .build();
    set.under("chain_too_many_values", "CHAIN-2", "A certificate of more than 1024 values.", &dense)
        .broken(Reason::ChainBounds, set);

    let [leaf, intermediate] = [set.ordinary.certificates[0].clone(), set.ordinary.certificates[1].clone()];
    let body = &leaf[4..];
    let encodings = [
        ("chain_garbage", "The leaf is no certificate.", vec![b"garbage".to_vec(), intermediate.clone()]),
        (
            "chain_trailing_octet",
            "An octet after the leaf.",
            vec![[leaf.as_slice(), &[0]].concat(), intermediate.clone()],
        ),
        (
            "chain_truncated",
            "The leaf's last octet is missing.",
            vec![leaf[..leaf.len() - 1].to_vec(), intermediate.clone()],
        ),
        (
            "chain_indefinite",
            "The leaf has an indefinite length.",
            vec![[&[0x30, 0x80], body, &[0, 0]].concat(), intermediate.clone()],
        ),
        ("chain_intermediate_garbage", "An intermediate is no certificate.", vec![leaf.clone(), seq(&[null()])]),
        (
            "chain_needless_garbage",
            "What follows a complete path is no certificate.",
            vec![leaf.clone(), intermediate, b"garbage".to_vec()],
        ),
        (
            "chain_attribute_certificate",
            "The leaf is the attribute certificate.",
            vec![set.certificate().sign(&signing_key(&set.ordinary))],
        ),
    ];
    for (name, text, certificates) in encodings {
        set.changed(name, "CHAIN-3", text, |_| {}).chain(&certificates).broken(Reason::ChainEncoding, set);
    }
    let twice = plan()
        .leaf(|p| {
            let names = seq(&[name_uri("spiffe://example.org/other")]);
            p.custom_extensions.push(extension(&[2, 5, 29, 17], false, names));
        })
        .build();
    let text = "The leaf has two `subjectAltName` extensions.";
    set.under("chain_extension_repeated", "CHAIN-3", text, &twice).broken(Reason::ChainEncoding, set);
    let malformed = plan()
        .leaf(|p| {
            p.subject_alt_names.clear();
            p.custom_extensions.push(extension(&[2, 5, 29, 17], false, b"\x30\x81\x00".to_vec()));
        })
        .build();
    let text = "The leaf's `subjectAltName` is not DER.";
    set.under("chain_extension_malformed", "CHAIN-3", text, &malformed).broken(Reason::ChainEncoding, set);
}

/// The authority's own certificate.
fn authorities(set: &mut Set) {
    let mut add = |name: &str, rule: &'static str, text: &str, change: fn(&mut CertificateParams)| {
        let chain = plan().leaf(change).build();
        set.under(name, rule, text, &chain).broken(Reason::AuthorityProfile, set);
    };
    add("authority_ca", "AUTHORITY-1", "The authority is a CA.", |p| {
        p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    });
    add("authority_no_key_usage", "AUTHORITY-2", "No key usage.", |p| p.key_usages.clear());
    add("authority_key_usage_not_critical", "AUTHORITY-2", "The key usage is not critical.", |p| {
        p.key_usages.clear();
        p.custom_extensions.push(extension(&[2, 5, 29, 15], false, tlv(0x03, &[7, 0x80])));
    });
    add("authority_no_digital_signature", "AUTHORITY-2", "A key usage without `digitalSignature`.", |p| {
        p.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
    });
    add("authority_key_cert_sign", "AUTHORITY-2", "A key usage with `keyCertSign`.", |p| {
        p.key_usages.push(KeyUsagePurpose::KeyCertSign);
    });
    add("authority_crl_sign", "AUTHORITY-2", "A key usage with `cRLSign`.", |p| {
        p.key_usages.push(KeyUsagePurpose::CrlSign);
    });
    add("authority_no_subject", "AUTHORITY-3", "An empty subject.", |p| {
        p.distinguished_name = rcgen::DistinguishedName::new();
    });
    add("authority_no_names", "AUTHORITY-4", "No `subjectAltName`.", |p| p.subject_alt_names.clear());
    add("authority_no_uri", "AUTHORITY-4", "A DNS name, but no URI.", |p| {
        p.subject_alt_names = vec![rcgen::SanType::DnsName("sab.example.org".try_into().unwrap())];
    });
    add("authority_two_uris", "AUTHORITY-4", "Two URIs, the first of them listed.", |p| {
        p.subject_alt_names.push(uri("spiffe://example.org/other"));
    });
    add("authority_https", "AUTHORITY-4", "A URI of another scheme.", |p| {
        p.subject_alt_names = vec![uri("https://example.org/sab")];
    });
    add("authority_trust_domain", "AUTHORITY-4", "A trust domain alone.", |p| {
        p.subject_alt_names = vec![uri("spiffe://example.org")];
    });
    add("authority_upper_case", "AUTHORITY-4", "The trust domain in upper case.", |p| {
        p.subject_alt_names = vec![uri("spiffe://EXAMPLE.ORG/sab")];
    });
    add("authority_unknown_critical", "AUTHORITY-5", "A critical extension that is unknown.", |p| {
        p.custom_extensions.push(extension(&[1, 3, 6, 1, 4, 1, 32473, 99], true, null()));
    });
    add("authority_aa_controls", "AUTHORITY-5", "A critical `aaControls` of RFC 5755.", |p| {
        p.custom_extensions.push(extension(&[1, 3, 6, 1, 5, 5, 7, 1, 6], true, seq(&[int(&[0])])));
    });
    set.under("authority_version_1", "AUTHORITY-1", "An X.509 v1 certificate.", &version_1())
        .broken(Reason::AuthorityProfile, set);
}

fn names(set: &mut Set) {
    let mut add = |label: &str, text: &str, issuer: Vec<u8>, common_name: &str| {
        set.changed(label, "NAME-1", text, |c| {
            c.issuer = ctx(0, &[seq(&[directory_name(&issuer)])]);
            c.facts.issuer = common_name.to_owned();
        })
        .broken(Reason::AuthorityNameMismatch, set);
    };
    add("issuer_other_name", "The issuer is not the authority's subject.", name("other"), "other");
    add(
        "issuer_other_case",
        "The issuer differs from the subject in case.",
        name("SAB.example.org"),
        "SAB.example.org",
    );
    let printable = seq(&[super::der::set(&[seq(&[oid("2.5.4.3"), tlv(0x13, AUTHORITY_NAME.as_bytes())])])]);
    add("issuer_other_string_type", "The same text as another type of string.", printable, AUTHORITY_NAME);
    set.changed("authority_other_key", "KEY-1", "`authorityKeyIdentifier` names another key.", |c| {
        c.extensions[1] = key_identifier(&[7; 20]);
    })
    .broken(Reason::AuthorityKeyMismatch, set);
    let prefix = set.ordinary.key_identifier[..19].to_vec();
    set.changed("authority_key_prefix", "KEY-1", "`authorityKeyIdentifier` has all but the last octet.", |c| {
        c.extensions[1] = key_identifier(&prefix);
    })
    .broken(Reason::AuthorityKeyMismatch, set);
}

fn trust(set: &mut Set) {
    const UNKNOWN: Reason = Reason::AuthorityUnknown;
    const UNTRUSTED: Reason = Reason::AuthorityUntrusted;
    set.changed("authority_unknown", "LIST-1", "The authority is in the bundle, but not on the list.", |_| {})
        .parameters(|p| p.authorities = vec!["spiffe://example.org/other".into()])
        .broken(UNKNOWN, set);
    set.changed("authority_list_empty", "LIST-1", "Nobody is on the list.", |_| {})
        .parameters(|p| p.authorities.clear())
        .broken(UNKNOWN, set);
    set.changed(
        "authority_same_path",
        "LIST-1",
        "One of the same path in another trust domain is on the list.",
        |_| {},
    )
    .parameters(|p| p.authorities = vec!["spiffe://example.com/sab".into()])
    .broken(UNKNOWN, set);
    set.changed("bundle_missing", "PATH-1", "There is no bundle of the authority's trust domain.", |_| {})
        .bundles(&[])
        .broken(UNTRUSTED, set);
    set.changed("bundle_of_other_domain", "PATH-1", "The root is in the bundle of another trust domain.", |_| {})
        .bundles(&[("example.com", "p256")])
        .broken(UNTRUSTED, set);
    let chain = plan().leaf(|p| p.subject_alt_names = vec![uri("spiffe://example.com/sab")]).build();
    let draft =
        set.under("authority_of_other_domain", "PATH-1", "A CA of one trust domain speaks for another.", &chain);
    draft
        .parameters(|p| p.authorities = vec!["spiffe://example.com/sab".into()])
        .bundles(&[("example.org", "authority_of_other_domain"), ("example.com", "p256")])
        .broken(UNTRUSTED, set);
    let root = plan().build().root;
    set.changed("bundle_of_other_root", "PATH-1", "Another root of the same name.", |_| {})
        .bundle(&[&root])
        .bundles(&[("example.org", "bundle_of_other_root")])
        .broken(UNTRUSTED, set);
    let leaf = set.ordinary.certificates[..1].to_vec();
    set.changed("intermediate_missing", "CHAIN-1", "The intermediate is missing.", |_| {})
        .chain(&leaf)
        .broken(UNTRUSTED, set);
}

fn paths(set: &mut Set) {
    const REASON: Reason = Reason::AuthorityUntrusted;
    let shapes: [(&str, &'static str, &str, Plan); 15] = [
        (
            "intermediate_no_ca",
            "PATH-2",
            "The intermediate is not a CA.",
            plan().intermediate(|p| {
                p.is_ca = IsCa::ExplicitNoCa;
            }),
        ),
        (
            "intermediate_no_basic_constraints",
            "PATH-2",
            "The intermediate does not say that it is a CA.",
            plan().intermediate(|p| {
                p.is_ca = IsCa::NoCa;
            }),
        ),
        (
            "intermediate_no_key_cert_sign",
            "PATH-2",
            "The intermediate's key usage lacks `keyCertSign`.",
            plan().intermediate(|p| {
                p.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
            }),
        ),
        (
            "intermediate_path_length",
            "PATH-2",
            "An intermediate allows none below it, and there is one.",
            plan().intermediates(2).intermediate(|p| {
                p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            }),
        ),
        (
            "root_path_length_0",
            "PATH-2",
            "The root allows no intermediate, and there is one.",
            plan().root(|p| {
                p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            }),
        ),
        (
            "root_path_length_1",
            "PATH-2",
            "The root allows one intermediate, and there are two.",
            plan().intermediates(2).root(|p| {
                p.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
            }),
        ),
        (
            "intermediate_unknown_critical",
            "PATH-2",
            "The intermediate has an unknown critical extension.",
            plan().intermediate(|p| {
                p.custom_extensions.push(extension(&[1, 3, 6, 1, 4, 1, 32473, 99], true, null()));
            }),
        ),
        (
            "intermediate_other_domain",
            "PATH-3",
            "The intermediate speaks for another trust domain.",
            plan().intermediate(|p| {
                p.subject_alt_names = vec![uri("spiffe://example.com")];
            }),
        ),
        (
            "intermediate_workload",
            "PATH-3",
            "The intermediate's SPIFFE ID has a path.",
            plan().intermediate(|p| {
                p.subject_alt_names = vec![uri("spiffe://example.org/ca")];
            }),
        ),
        (
            "intermediate_https",
            "PATH-3",
            "The intermediate has a URI that is no SPIFFE ID.",
            plan().intermediate(|p| {
                p.subject_alt_names.push(uri("https://ca.example.org"));
            }),
        ),
        (
            "constraint_other_host",
            "PATH-5",
            "The intermediate may speak for other URIs only.",
            plan().intermediate(|p| {
                p.custom_extensions.push(name_constraints(0, name_uri("example.com")));
            }),
        ),
        (
            "constraint_own_host",
            "PATH-5",
            "The intermediate is constrained to URIs of this host, which is not processed.",
            plan().intermediate(|p| {
                p.custom_extensions.push(name_constraints(0, name_uri("example.org")));
            }),
        ),
        (
            "constraint_excluded",
            "PATH-5",
            "The intermediate may not speak for URIs of this host.",
            plan().intermediate(|p| {
                p.custom_extensions.push(name_constraints(1, name_uri("example.org")));
            }),
        ),
        (
            "constraint_directory_name",
            "PATH-5",
            "The root is constrained to other subjects.",
            plan().root(|p| {
                p.custom_extensions.push(name_constraints(0, directory_name(&name("other"))));
            }),
        ),
        (
            "intermediate_p521",
            "PATH-4",
            "The intermediate signed with ECDSA P-521.",
            plan().intermediate_kind(&rcgen::PKCS_ECDSA_P521_SHA512),
        ),
    ];
    for (name, rule, text, plan) in shapes {
        set.under(name, rule, text, &plan.build()).broken(REASON, set);
    }
    let text = "Another key than that of the intermediate signed the leaf.";
    set.under("path_forged", "PATH-2", text, &forged()).broken(REASON, set);
    let mut altered = set.ordinary.certificates.clone();
    *altered[0].last_mut().unwrap() ^= 1;
    let text = "A bit of the leaf's signature is flipped.";
    set.changed("path_leaf_altered", "PATH-2", text, |_| {}).chain(&altered).broken(REASON, set);
}

fn times(set: &mut Set) {
    const REASON: Reason = Reason::AuthorityExpired;
    let past = |p: &mut CertificateParams| p.not_after = date_time_ymd(2026, 11, 21);
    let future = |p: &mut CertificateParams| p.not_before = date_time_ymd(2026, 11, 22);
    let shapes = [
        ("authority_expired", "The authority's certificate has expired.", plan().leaf(past)),
        ("authority_not_yet_valid", "The authority's certificate is not yet valid.", plan().leaf(future)),
        ("intermediate_expired", "The intermediate has expired.", plan().intermediate(past)),
        ("intermediate_not_yet_valid", "The intermediate is not yet valid.", plan().intermediate(future)),
        ("root_expired", "The root has expired.", plan().root(past)),
        ("root_not_yet_valid", "The root is not yet valid.", plan().root(future)),
    ];
    for (name, text, plan) in shapes {
        set.under(name, "TIME-1", text, &plan.build()).broken(REASON, set);
    }
    let chain = plan().root(past).build();
    let other = plan().build().root;
    let text = "The path's root has expired, another root of the bundle has not.";
    set.under("root_expired_of_2", "TIME-1", text, &chain).bundle(&[&chain.root, &other]).broken(REASON, set);
}

fn signatures(set: &mut Set) {
    const KIND: Reason = Reason::SignatureAlgorithmMismatch;
    let chain = plan().leaf_kind(&rcgen::PKCS_RSA_SHA256).build();
    set.under("authority_rsa", "SIGNATURE-1", "The authority has an RSA key.", &chain).broken(KIND, set);
    let chain = plan().leaf_kind(&rcgen::PKCS_ECDSA_P521_SHA512).build();
    set.under("authority_p521", "SIGNATURE-1", "The authority has a P-521 key.", &chain).broken(KIND, set);
    let other_kinds = [
        ("signature_p384_by_p256", ECDSA_SHA384, SignatureAlgorithm::EcdsaP384Sha384),
        ("signature_ed25519_by_p256", ED25519, SignatureAlgorithm::Ed25519),
    ];
    for (name, identifier, algorithm) in other_kinds {
        let text = "Another algorithm of the profile than that of the authority's key.";
        set.changed(name, "SIGNATURE-1", text, |c| {
            c.algorithms(&seq(&[oid(identifier)]));
            c.facts.algorithm = algorithm.as_str().to_owned();
        })
        .broken(KIND, set);
    }

    const INVALID: Reason = Reason::SignatureInvalid;
    let key = signing_key(&set.ordinary);
    let mut certificate = set.certificate();
    let sound = certificate.sign(&key);
    let signature = key.sign(&certificate.info()).unwrap();
    let mut flipped = signature.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let other = SigningKey::generate(SignatureAlgorithm::EcdsaP256Sha256).unwrap();
    let integers = |padding: &[u8]| {
        let r = &signature[4..4 + usize::from(signature[3])];
        let s = &signature[4 + r.len() + 2..];
        (r.to_vec(), seq(&[int(&[padding, r].concat()), int(s)]))
    };
    let (r, padded) = integers(&[0]);
    let s = &signature[4 + r.len() + 2..];
    let fixed = |octets: &[u8]| [vec![0; 32], octets.to_vec()].concat()[octets.len()..].to_vec();
    let raw = [fixed(&r), fixed(s)].concat();
    let trailing = [signature.as_slice(), &[0]].concat();
    let zero = seq(&[int(&[0]), int(&[0])]);
    let values = [
        ("signature_flipped_bit", "A bit of the signature is flipped.", flipped),
        ("signature_other_key", "Signed by another key.", other.sign(&certificate.info()).unwrap()),
        ("signature_empty", "An empty signature.", Vec::new()),
        ("signature_zero", "r and s are zero.", zero),
        ("signature_fixed_length", "r and s in fixed length instead of DER.", raw),
        ("signature_integer_padded", "r with needless leading zero octets.", padded),
        ("signature_trailing_octet", "An octet after the signature.", trailing),
        ("signature_of_nothing", "Signed over no octets.", key.sign(b"").unwrap()),
        ("signature_of_whole", "Signed over the whole certificate.", key.sign(&sound).unwrap()),
    ];
    for (name, text, value) in values {
        let mut certificate = set.certificate();
        certificate.facts.digest = seb::digest::Digest::of(&certificate.info());
        let octets = certificate.signed(&value);
        set.draft(name, "SIGNATURE-2", text, octets, certificate.facts).broken(INVALID, set);
    }
    let info = certificate.info();
    let unused =
        seq(&[info, certificate.outer_algorithm.clone(), tlv(0x03, &[[1].as_slice(), &signature, &[0]].concat())]);
    let text = "The signature is not a whole number of octets.";
    set.draft("signature_unused_bit", "SIGNATURE-2", text, unused, certificate.facts.clone()).broken(INVALID, set);

    let mut altered = set.certificate();
    altered.serial(&[0x4c]);
    altered.facts.digest = seb::digest::Digest::of(&altered.info());
    let octets = altered.signed(&signature);
    set.draft("altered_serial", "SIGNATURE-2", "Another serial number than the signed one.", octets, altered.facts)
        .broken(INVALID, set);
    let mut altered = set.certificate();
    altered.valid(super::NOT_BEFORE, "2027-11-30T23:59:59Z");
    altered.facts.digest = seb::digest::Digest::of(&altered.info());
    let octets = altered.signed(&signature);
    set.draft("altered_validity", "SIGNATURE-2", "A later end than the signed one.", octets, altered.facts)
        .broken(INVALID, set);

    // Ed25519: s + L is the same number, but not the canonical one.
    let chain = plan().kind(&rcgen::PKCS_ED25519).build();
    let mut certificate = Certificate::ordinary(&chain);
    let signed = signing_key(&chain).sign(&certificate.info()).unwrap();
    let octets_of = certificate.signed(&not_reduced(&signed));
    certificate.facts.digest = seb::digest::Digest::of(&certificate.info());
    let mut draft = set.under("ed25519_not_reduced", "SIGNATURE-3", "Ed25519 with s + L in place of s.", &chain);
    draft.octets = octets_of;
    draft.broken(INVALID, set);
}

/// The Ed25519 signature with the order of the group added to s, which RFC 8032 section 5.1.7 refuses.
fn not_reduced(signature: &[u8]) -> Vec<u8> {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut sum = signature.to_vec();
    let mut carry = 0;
    for (octet, add) in sum[32..].iter_mut().zip(ORDER) {
        carry += u16::from(*octet) + u16::from(add);
        *octet = carry.to_le_bytes()[0];
        carry >>= 8;
    }
    sum
}
