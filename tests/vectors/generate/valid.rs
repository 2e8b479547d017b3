//! What keeps every rule, at the edges of the rules.

use seb::digest::Digest;

use super::certificate::{admission, admission_attribute, approval, extension, key_digest, target, target_name, uri};
use super::contracts::{large, some_key};
use super::der::{ctx, enumerated, null, number, octets, seq};
use super::pki::{Plan, plan, twice_certified};
use super::{HOLDER, NOT_AFTER, NOT_BEFORE, Set, pem, signing_key};

pub fn add(set: &mut Set) {
    kinds(set);
    fields(set);
    files(set);
    paths(set);
}

fn kinds(set: &mut Set) {
    set.changed("ecdsa_p256", "ALGORITHM-1", "The ordinary certificate, by ECDSA P-256.", |_| {}).valid(set);
    let chain = plan().kind(&rcgen::PKCS_ECDSA_P384_SHA384).build();
    set.under("ecdsa_p384", "ALGORITHM-1", "By ECDSA P-384.", &chain).valid(set);
    let chain = plan().kind(&rcgen::PKCS_ED25519).build();
    set.under("ed25519", "ALGORITHM-1", "By Ed25519.", &chain).valid(set);
    let chain = plan().root_kind(&rcgen::PKCS_RSA_SHA256).intermediates(0).build();
    set.under("rsa_root", "PATH-4", "An RSA root directly above an authority with ECDSA P-256.", &chain).valid(set);
    let chain = plan().root_kind(&rcgen::PKCS_RSA_SHA512).intermediate_kind(&rcgen::PKCS_ECDSA_P384_SHA384).build();
    set.under("mixed_path", "PATH-4", "RSA with SHA-512, then ECDSA P-384, above ECDSA P-256.", &chain).valid(set);

    // Of an ECDSA signature (r, s) anybody can make (r, n - s).
    let mut certificate = set.certificate();
    let key = signing_key(&set.ordinary);
    let info = certificate.info();
    let name =
        "The other valid form (r, n - s) of an ECDSA signature. The octets differ, the certificate's name must not.";
    certificate.facts.digest = Digest::of(&info);
    let signature = other_form(&key.sign(&info).unwrap());
    let signed = certificate.signed(&signature);
    set.draft("ecdsa_other_form", "SIGNATURE-3", name, signed, certificate.facts).valid(set);
}

fn fields(set: &mut Set) {
    let bound = set.changed("holder_key", "HOLDER-4", "Bound to the agent's public key.", |c| {
        c.holder = seq(&[ctx(1, &[uri(HOLDER)]), key_digest(&some_key())]);
        c.facts.holder_key = Some(some_key());
    });
    bound.parameters(|p| p.holder_key = Some(some_key())).valid(set);
    let unbound = set.changed("holder_key_not_asked", "HOLDER-6", "Not bound to a key, presented with one.", |_| {});
    unbound.parameters(|p| p.holder_key = Some(some_key())).valid(set);
    let foreign = "spiffe://agents.example.com/planner/7";
    let draft = set.changed("holder_other_trust_domain", "HOLDER-3", "An agent of another trust domain.", |c| {
        c.holder = seq(&[ctx(1, &[uri(foreign)])]);
        c.facts.holder = foreign.to_owned();
    });
    draft.parameters(|p| p.holder = foreign.to_owned()).valid(set);
    let long = format!("spiffe://example.org/{}", "a".repeat(2048 - "spiffe://example.org/".len()));
    let draft = set.changed("holder_2048_octets", "HOLDER-3", "The longest SPIFFE ID.", |c| {
        c.holder = seq(&[ctx(1, &[uri(&long)])]);
        c.facts.holder = long.clone();
    });
    draft.parameters(|p| p.holder = long.clone()).valid(set);

    set.changed("serial_1_octet", "SERIAL-2", "The smallest serial number.", |c| c.serial(&[1])).valid(set);
    set.changed("serial_20_octets", "SERIAL-2", "The largest serial number.", |c| {
        c.serial(&[[0x7f].as_slice(), &[0xff; 19]].concat());
    })
    .valid(set);
    set.changed("serial_high_bit", "SERIAL-1", "A leading zero octet that keeps the number positive.", |c| {
        c.serial(&[0, 0x80, 1]);
    })
    .valid(set);

    set.changed("validity_first_second", "NOW-1", "Judged in its first second.", |_| {}).at(NOT_BEFORE).valid(set);
    set.changed("validity_last_second", "NOW-1", "Judged in its last second.", |_| {}).at(NOT_AFTER).valid(set);
    set.changed("validity_one_second", "VALIDITY-2", "Valid for one second, and judged in it.", |c| {
        c.valid("2026-11-21T12:00:00Z", "2026-11-21T12:00:00Z");
    })
    .valid(set);
    set.changed("validity_1970_to_9999", "VALIDITY-1", "As long as the format can say.", |c| {
        c.valid("1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z");
    })
    .valid(set);
    set.changed("validity_leap_day", "VALIDITY-1", "From a 29th of February.", |c| {
        c.valid("2024-02-29T00:00:00Z", NOT_AFTER);
    })
    .valid(set);

    set.changed("approvals_1", "ADMISSION-5", "One approval.", |c| {
        c.attributes[1] = admission_attribute(&admission(&[approval("mailto:ana@example.org")]));
        c.facts.approvals = 1;
    })
    .valid(set);
    set.changed("approvals_16", "ADMISSION-6", "As many approvals as there can be, with the longest of names.", |c| {
        let names = (0..16).map(|index| format!("urn:example:approver:{index:02}:{}", "x".repeat(512 - 24)));
        let approvals: Vec<_> = names.map(|name| approval(&name)).collect();
        c.attributes[1] = admission_attribute(&admission(&approvals));
        c.facts.approvals = 16;
    })
    .valid(set);
    set.changed("epochs_largest", "ADMISSION-3", "The largest epochs, and the highest tier.", |c| {
        let mut parts = admission(&[]);
        parts[1] = number(seb::attribute_certificate::MAX_EPOCH);
        parts[2] = number(seb::attribute_certificate::MAX_EPOCH);
        parts[5] = enumerated(3);
        c.attributes[1] = admission_attribute(&parts);
    })
    .valid(set);
    set.changed("epochs_zero", "ADMISSION-3", "The first epochs, and the lowest tier.", |c| {
        let mut parts = admission(&[]);
        parts[1] = number(0);
        parts[2] = number(0);
        parts[5] = enumerated(0);
        c.attributes[1] = admission_attribute(&parts);
    })
    .valid(set);
    set.changed("attributes_other_order", "ATTRIBUTE-1", "The two attributes in the other order.", |c| {
        c.attributes.reverse();
    })
    .valid(set);
    set.changed("contract_large", "CONTRACT-1", "An inline body of almost 16 KiB.", |c| c.contract(&large(16_300)))
        .valid(set);

    set.changed("extension_unknown", "EXTENSION-1", "An unknown extension that is not critical.", |c| {
        c.extensions.push(extension("1.3.6.1.4.1.32473.99", false, &octets(b"of no concern")));
    })
    .valid(set);
    set.changed("extension_no_rev_avail", "EXTENSION-1", "`noRevAvail`, which has no meaning here.", |c| {
        c.extensions.push(extension("2.5.29.56", false, &null()));
    })
    .valid(set);
    set.changed("extensions_16", "EXTENSION-3", "As many extensions as there can be.", |c| {
        for index in 0..14 {
            c.extensions.push(extension(&format!("1.3.6.1.4.1.32473.99.{index}"), false, &null()));
        }
    })
    .valid(set);
    set.changed("extensions_other_order", "EXTENSION-4", "The two extensions in the other order.", |c| {
        c.extensions.reverse();
    })
    .valid(set);
    let other = "spiffe://brokers.example.net/eu/west-1";
    let draft = set.changed("target_other_trust_domain", "TARGET-3", "A broker of another trust domain.", |c| {
        c.extensions[0] = target(&[target_name(other)]);
        c.facts.broker = other.to_owned();
    });
    draft.parameters(|p| p.broker = other.to_owned()).valid(set);
}

fn files(set: &mut Set) {
    let octets = set.certificate().sign(&signing_key(&set.ordinary));
    let facts = |set: &Set| {
        let mut certificate = set.certificate();
        certificate.facts.digest = Digest::of(&certificate.info());
        certificate.facts
    };
    let block = pem("ATTRIBUTE CERTIFICATE", &octets);
    let chain: String = set.ordinary.certificates.iter().map(|octets| pem("CERTIFICATE", octets)).collect();
    let texts = [
        ("pem_with_chain", "PEM with the chain after the certificate.", format!("{block}{chain}"), true),
        ("pem_chain_first", "PEM with the chain before the certificate.", format!("{chain}{block}"), true),
        ("pem_alone", "PEM of the certificate alone.", block.clone(), false),
        ("pem_crlf", "PEM with CR LF as line end.", format!("{block}{chain}").replace('\n', "\r\n"), true),
        (
            "pem_text_around",
            "PEM with text around the blocks.",
            format!("Issued to:\n{block}\nby:\n{chain}\nend\n"),
            true,
        ),
    ];
    for (name, text, pem, own_chain) in texts {
        let draft = set.draft(name, "PARSE-2", text, pem.into_bytes(), facts(set)).pem();
        if own_chain { draft.no_chain() } else { draft }.valid(set);
    }
}

fn paths(set: &mut Set) {
    let shapes: [(&str, &'static str, &str, Plan); 8] = [
        ("path_no_intermediate", "PATH-1", "The root signed the authority's certificate.", plan().intermediates(0)),
        ("path_4_intermediates", "CHAIN-2", "As many certificates as a chain can have.", plan().intermediates(4)),
        (
            "authority_key_computed",
            "KEY-1",
            "The authority's certificate has no subjectKeyIdentifier.",
            plan().leaf(|p| {
                p.is_ca = rcgen::IsCa::NoCa;
            }),
        ),
        (
            "authority_extended_key_usage",
            "AUTHORITY-2",
            "The authority's certificate has an extended key usage.",
            plan().leaf(|p| {
                p.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
            }),
        ),
        (
            "authority_dns_name",
            "AUTHORITY-4",
            "The authority's certificate names a host beside its SPIFFE ID.",
            plan().leaf(|p| {
                p.subject_alt_names.push(rcgen::SanType::DnsName("sab.example.org".try_into().unwrap()));
            }),
        ),
        (
            "intermediate_no_spiffe_id",
            "PATH-3",
            "The intermediate has no SPIFFE ID.",
            plan().intermediate(|p| {
                p.subject_alt_names.clear();
            }),
        ),
        (
            "intermediate_no_key_usage",
            "PATH-2",
            "The intermediate has no key usage.",
            plan().intermediate(|p| {
                p.key_usages.clear();
            }),
        ),
        (
            "root_path_length",
            "PATH-2",
            "The root allows one intermediate, and there is one.",
            plan().root(|p| {
                p.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(1));
            }),
        ),
    ];
    for (name, rule, text, plan) in shapes {
        set.under(name, rule, text, &plan.build()).valid(set);
    }
    let mut chain = plan().intermediates(3).build();
    chain.certificates[1..].reverse();
    set.under("path_unordered", "CHAIN-1", "The intermediates are not in order.", &chain).valid(set);
    let chain = twice_certified();
    let text = "One intermediate may not sign, another one of the same name and key may.";
    set.under("path_second_choice", "PATH-2", text, &chain).valid(set);
    let with_root = [set.ordinary.certificates.clone(), vec![set.ordinary.root.clone()]].concat();
    set.changed("path_with_root", "CHAIN-1", "The chain holds the root, which is ignored.", |_| {})
        .chain(&with_root)
        .valid(set);
    let other = plan().build().root;
    let expired = plan()
        .root(|p| {
            p.not_after = rcgen::date_time_ymd(2026, 6, 1);
        })
        .build()
        .root;
    let root = set.ordinary.root.clone();
    set.changed("bundle_of_3", "PATH-1", "The bundle holds another root and an expired one, too.", |_| {})
        .bundle(&[&other, &expired, &root])
        .bundles(&[("example.org", "bundle_of_3")])
        .valid(set);
    set.changed("authority_one_of_2", "LIST-1", "Two authorities are listed, and two trust domains.", |_| {})
        .parameters(|p| p.authorities.insert(0, "spiffe://example.com/sab".into()))
        .bundles(&[("example.org", "p256"), ("example.com", "ed25519")])
        .valid(set);
    let bounds = "The authority's certificate is judged in its last second.";
    let chain = plan()
        .leaf(|p| {
            p.not_after = rcgen::date_time_ymd(2026, 11, 21) + std::time::Duration::from_secs(12 * 3600);
        })
        .build();
    set.under("authority_last_second", "TIME-1", bounds, &chain).valid(set);
}

/// The form (r, n - s) of the ECDSA P-256 signature (r, s), in DER.
fn other_form(signature: &[u8]) -> Vec<u8> {
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad,
        0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let r = &signature[2..4 + usize::from(signature[3])];
    let s = &signature[2 + r.len() + 2..];
    let mut difference = [0; 32];
    let mut borrow = 0;
    for place in 0..32 {
        let subtrahend = if place < s.len() { i32::from(s[s.len() - 1 - place]) } else { 0 };
        let digit = i32::from(ORDER[31 - place]) - subtrahend - borrow;
        borrow = i32::from(digit < 0);
        difference[31 - place] = digit.to_le_bytes()[0];
    }
    let from = difference.iter().position(|octet| *octet != 0).unwrap();
    let padded = match difference[from] {
        0x80.. => [&[0], &difference[from..]].concat(),
        _ => difference[from..].to_vec(),
    };
    seq(&[r.to_vec(), super::der::int(&padded)])
}
