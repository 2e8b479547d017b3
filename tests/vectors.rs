//! Every published vector, through the public API: the verdict, and the exact reason.
//!
//! The vectors are fixed octets. `UPDATE=1` makes them anew, with fresh keys.

#[cfg(test)]
#[path = "vectors/generate/mod.rs"]
mod generate;
#[cfg(test)]
#[path = "support/vectors.rs"]
mod vectors;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;
use std::{env, fs};

use seb::attribute_certificate::{authenticate, parse, profile, read_file};
use seb::digest::Digest;
use seb::reason::{Reason, Verdict};
use vectors::{Facts, Manifest, folder};

/// The manifest, after it was made anew where that was asked for.
static MANIFEST: LazyLock<Manifest> = LazyLock::new(|| {
    if env::var_os("UPDATE").is_some() {
        generate::write();
    }
    Manifest::load()
});

/// Fewer vectors than this would mean that some were lost.
const LEAST_BROKEN: usize = 80;

#[test]
fn every_vector_gets_its_verdict_and_its_exact_reason() {
    let mut wrong = Vec::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for vector in &MANIFEST.vectors {
        *counts.entry(&vector.expect.verdict).or_default() += 1;
        let expected = vector.expected();
        match (vector.judge(), expected) {
            (Ok(_), None) => {}
            (Err(denial), Some((verdict, reason))) if denial.reason == reason && reason.verdict() == verdict => {}
            (Ok(_), Some((_, reason))) => wrong.push(format!("{}: valid, not {reason}", vector.name)),
            (Err(denial), None) => wrong.push(format!("{}: {denial}, not valid", vector.name)),
            (Err(denial), Some((_, reason))) => wrong.push(format!("{}: {denial}, not {reason}", vector.name)),
        }
    }
    println!("{} vectors: {counts:?}", MANIFEST.vectors.len());
    assert!(wrong.is_empty(), "{} vectors:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn an_authority_that_was_verified_before_gives_every_certificate_the_same_verdict() {
    let mut compared = 0;
    for known in &MANIFEST.vectors {
        let Ok(known_good) = known.judge() else { continue };
        let authority = known_good.verified_authority();
        for vector in MANIFEST.vectors.iter().filter(|it| it.bundles == known.bundles) {
            if vector.parameters.authorities != known.parameters.authorities {
                continue;
            }
            let Ok(file) = read_file(&vector.file()) else { continue };
            let Ok(certificate) = parse(&file.certificate).and_then(profile) else { continue };
            let chain = vector.chain().unwrap_or(file.chain);
            let at = vector.parameters.at;
            if authority.is_for(&chain, at) {
                let anew = authenticate(certificate.clone(), &chain, &vector.trust(), at);
                assert_eq!(authority.authenticate(certificate), anew, "{} by {}", vector.name, known.name);
                compared += 1;
            }
        }
    }
    assert!(compared > LEAST_BROKEN, "only {compared} pairs share a chain");
    let Some(known_good) = MANIFEST.vectors.iter().find_map(|vector| vector.judge().ok()) else {
        panic!("no vector is valid")
    };
    let authority = known_good.verified_authority();
    assert!(!authority.is_for(&[], seb::timestamp::Timestamp::END));
}

#[test]
fn what_a_vector_says_is_what_was_encoded() {
    for vector in &MANIFEST.vectors {
        let Some(expected) = &vector.expect.certificate else { continue };
        let file = read_file(&vector.file()).unwrap();
        let parsed = parse(&file.certificate).unwrap();
        assert_eq!(parsed.octets(), file.certificate, "{}", vector.name);
        let certificate = profile(parsed).unwrap();
        let read = Facts {
            digest: certificate.digest(),
            algorithm: certificate.algorithm().as_str().to_owned(),
            serial: certificate.serial(),
            issuer: certificate.issuer().to_string().trim_start_matches("CN=").to_owned(),
            holder: certificate.holder().to_string(),
            holder_key: certificate.holder_key().copied(),
            broker: certificate.broker().to_string(),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            contract_digest: Digest::of(certificate.contract()),
            approvals: certificate.admission().approvals.len(),
        };
        assert_eq!(read, *expected, "{}", vector.name);
        let Ok(verified) = vector.judge() else { continue };
        assert!(vector.parameters.authorities.contains(&verified.authority().to_string()), "{}", vector.name);
    }
}

#[test]
fn every_reason_that_a_certificate_alone_can_give_occurs() {
    let seen: BTreeSet<Reason> = MANIFEST.vectors.iter().filter_map(|vector| vector.expect.reason).collect();
    let alone = |reason: &Reason| match reason.verdict() {
        Verdict::Parse | Verdict::Profile | Verdict::Signature | Verdict::Targeting => true,
        Verdict::Authorization => [
            Reason::ContractTooLarge,
            Reason::ContractEncoding,
            Reason::ContractSchema,
            Reason::ContractStepsUnsupported,
            Reason::NotYetValid,
            Reason::Expired,
        ]
        .contains(reason),
    };
    let wanted: BTreeSet<Reason> = Reason::ALL.iter().copied().filter(alone).collect();
    assert_eq!(seen, wanted);
    let broken = MANIFEST.vectors.iter().filter(|vector| vector.expect.reason.is_some()).count();
    assert!(broken >= LEAST_BROKEN, "only {broken} broken vectors");
}

#[test]
fn the_manifest_and_the_files_agree() {
    let mut named = BTreeSet::from(["manifest.json".to_owned(), "README.md".to_owned()]);
    let mut names = BTreeSet::new();
    for vector in &MANIFEST.vectors {
        assert!(names.insert(&vector.name), "`{}` is there twice", vector.name);
        named.insert(vector.certificate.clone());
        named.extend(vector.chain.clone());
        named.extend(vector.bundles.values().cloned());
    }
    let there = files(&folder());
    let difference: Vec<_> = there.symmetric_difference(&named).collect();
    assert!(difference.is_empty(), "in only one of the two: {difference:?}");
}

/// Every rule of the document has a vector, and every vector a rule of the document.
#[test]
fn the_manifest_and_the_profile_agree() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/certificate-profile.md")).unwrap();
    let rules: BTreeSet<&str> = text
        .split("**")
        .skip(1)
        .step_by(2)
        .filter(|bold| bold.ends_with(|last: char| last.is_ascii_digit()))
        .filter(|bold| bold.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-'))
        .collect();
    let used: BTreeSet<&str> = MANIFEST.vectors.iter().map(|vector| vector.rule.as_str()).collect();
    let difference: Vec<_> = used.symmetric_difference(&rules).collect();
    assert!(difference.is_empty(), "in only one of the two: {difference:?}");
}

/// The paths of all files, relative to `folder`.
#[cfg(test)]
fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path()).iter().map(|inner| format!("{name}/{inner}"))),
            false => drop(found.insert(name)),
        }
    }
    found
}
