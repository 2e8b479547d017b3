//! Makes the vectors anew: `UPDATE=1 cargo test --test vectors`.
//!
//! Certificates are put together octet by octet, without the library's encoder, so that encoder and decoder are both
//! held against something else. Keys are made for the occasion and thrown away.

mod certificate;
mod contracts;
mod der;
mod path;
mod pki;
mod profile;
mod syntax;
mod valid;

use std::collections::BTreeMap;
use std::fs;

use base64ct::{Base64, Encoding};
use seb::attribute_certificate::SignatureAlgorithm;
use seb::key::SigningKey;
use seb::reason::{Reason, Verdict};

use crate::vectors::{Expect, Facts, Manifest, Parameters, SCHEMA, Vector, folder};
use certificate::Certificate;
use pki::Chain;

const ECDSA_SHA256: &str = "1.2.840.10045.4.3.2";
const ECDSA_SHA384: &str = "1.2.840.10045.4.3.3";
const ED25519: &str = "1.3.101.112";
const BROKER: &str = "spiffe://example.org/seb";
const HOLDER: &str = "spiffe://example.org/agent/deployer";
const NOT_BEFORE: &str = "2026-11-01T00:00:00Z";
const NOT_AFTER: &str = "2026-11-30T23:59:59Z";
const AT: &str = "2026-11-21T12:00:00Z";

/// Writes everything, and removes what was there.
pub fn write() {
    for part in ["valid", "broken", "chains", "bundles"] {
        let _ = fs::remove_dir_all(folder().join(part));
        fs::create_dir_all(folder().join(part)).unwrap();
    }
    let ordinary = pki::plan().build();
    write_chain("p256", &ordinary.certificates);
    write_bundle("p256", &[&ordinary.root]);
    let mut set = Set { vectors: Vec::new(), ordinary };
    valid::add(&mut set);
    syntax::add(&mut set);
    profile::add(&mut set);
    path::add(&mut set);
    contracts::add(&mut set);
    let manifest = Manifest { schema: SCHEMA.to_owned(), vectors: set.vectors };
    let text = serde_json::to_string_pretty(&manifest).unwrap() + "\n";
    fs::write(folder().join("manifest.json"), text).unwrap();
}

/// The vectors so far.
struct Set {
    vectors: Vec<Vector>,
    /// The chain that most vectors share.
    ordinary: Chain,
}

/// A vector on its way.
struct Draft {
    name: String,
    rule: &'static str,
    description: String,
    octets: Vec<u8>,
    pem: bool,
    chain: Option<String>,
    bundles: BTreeMap<String, String>,
    parameters: Parameters,
    reason: Option<Reason>,
    facts: Option<Facts>,
}

impl Set {
    /// The ordinary certificate under the ordinary chain.
    fn certificate(&self) -> Certificate {
        Certificate::ordinary(&self.ordinary)
    }

    /// The ordinary certificate, changed and then signed, under the ordinary chain.
    fn changed(&mut self, name: &str, rule: &'static str, text: &str, change: impl FnOnce(&mut Certificate)) -> Draft {
        let mut certificate = self.certificate();
        change(&mut certificate);
        let key = signing_key(&self.ordinary);
        self.draft(name, rule, text, certificate.sign(&key), certificate.facts)
    }

    /// Octets that need not be a certificate, under the ordinary chain.
    fn raw(&mut self, name: &str, rule: &'static str, text: &str, octets: Vec<u8>) -> Draft {
        let facts = self.certificate().facts;
        self.draft(name, rule, text, octets, facts)
    }

    /// The ordinary certificate under another chain, which is written beside it.
    fn under(&mut self, name: &str, rule: &'static str, text: &str, chain: &Chain) -> Draft {
        self.changed_under(name, rule, text, chain, |_| {})
    }

    fn changed_under(
        &mut self,
        name: &str,
        rule: &'static str,
        text: &str,
        chain: &Chain,
        change: impl FnOnce(&mut Certificate),
    ) -> Draft {
        let mut certificate = Certificate::ordinary(chain);
        change(&mut certificate);
        let octets = match chain.key.algorithm() {
            kind if *kind == rcgen::PKCS_RSA_SHA256 || *kind == rcgen::PKCS_ECDSA_P521_SHA512 => {
                // Signed by something, since the key has no algorithm of the profile.
                certificate.sign(&SigningKey::generate(SignatureAlgorithm::EcdsaP256Sha256).unwrap())
            }
            _ => certificate.sign(&signing_key(chain)),
        };
        write_chain(name, &chain.certificates);
        write_bundle(name, &[&chain.root]);
        let mut draft = self.draft(name, rule, text, octets, certificate.facts);
        draft.chain = Some(format!("chains/{name}.pem"));
        draft.bundles = BTreeMap::from([("example.org".to_owned(), format!("bundles/{name}.pem"))]);
        draft
    }

    fn draft(&self, name: &str, rule: &'static str, text: &str, octets: Vec<u8>, facts: Facts) -> Draft {
        Draft {
            name: name.to_owned(),
            rule,
            description: text.to_owned(),
            octets,
            pem: false,
            chain: Some("chains/p256.pem".to_owned()),
            bundles: BTreeMap::from([("example.org".to_owned(), "bundles/p256.pem".to_owned())]),
            parameters: Parameters {
                authorities: vec![pki::AUTHORITY.to_owned()],
                holder: HOLDER.to_owned(),
                holder_key: None,
                broker: BROKER.to_owned(),
                at: AT.parse().unwrap(),
            },
            reason: None,
            facts: Some(facts),
        }
    }
}

impl Draft {
    fn pem(mut self) -> Self {
        self.pem = true;
        self
    }

    fn at(mut self, time: &str) -> Self {
        self.parameters.at = time.parse().unwrap();
        self
    }

    fn parameters(mut self, change: impl FnOnce(&mut Parameters)) -> Self {
        change(&mut self.parameters);
        self
    }

    /// Another list of certificates as the bundle of example.org.
    fn bundle(self, certificates: &[&[u8]]) -> Self {
        write_bundle(&self.name, certificates);
        self
    }

    fn bundles(mut self, bundles: &[(&str, &str)]) -> Self {
        self.bundles =
            bundles.iter().map(|(domain, file)| (domain.to_string(), format!("bundles/{file}.pem"))).collect();
        self
    }

    fn chain(mut self, certificates: &[Vec<u8>]) -> Self {
        write_chain(&self.name, certificates);
        self.chain = Some(format!("chains/{}.pem", self.name));
        self
    }

    fn no_chain(mut self) -> Self {
        self.chain = None;
        self
    }

    fn valid(self, set: &mut Set) {
        self.expect(None, set);
    }

    fn broken(self, reason: Reason, set: &mut Set) {
        self.expect(Some(reason), set);
    }

    fn expect(mut self, reason: Option<Reason>, set: &mut Set) {
        self.reason = reason;
        let folder_name = if reason.is_none() { "valid" } else { "broken" };
        let file = format!("{folder_name}/{}.{}", self.name, if self.pem { "pem" } else { "der" });
        assert!(set.vectors.iter().all(|other| other.name != self.name), "two vectors are named `{}`", self.name);
        fs::write(folder().join(&file), &self.octets).unwrap();
        // What a certificate says can be told once it keeps the profile.
        let profiled = reason.is_none_or(|reason| reason.verdict() > Verdict::Profile);
        set.vectors.push(Vector {
            name: self.name,
            description: self.description,
            rule: self.rule.to_owned(),
            certificate: file,
            chain: self.chain,
            bundles: self.bundles,
            parameters: self.parameters,
            expect: Expect {
                verdict: reason.map_or("valid", |reason| reason.verdict().as_str()).to_owned(),
                reason,
                certificate: self.facts.filter(|_| profiled),
            },
        });
    }
}

fn signing_key(chain: &Chain) -> SigningKey {
    SigningKey::from_pkcs8(chain.key.serialized_der()).unwrap()
}

fn name(common_name: &str) -> Vec<u8> {
    der::seq(&[der::set(&[der::seq(&[der::oid("2.5.4.3"), der::utf8(common_name)])])])
}

/// PEM text in lines of 64 characters.
fn pem(label: &str, octets: &[u8]) -> String {
    let base64 = Base64::encode_string(octets);
    let lines: Vec<&str> = base64.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn write_chain(name: &str, certificates: &[Vec<u8>]) {
    let text: String = certificates.iter().map(|octets| pem("CERTIFICATE", octets)).collect();
    fs::write(folder().join(format!("chains/{name}.pem")), text).unwrap();
}

fn write_bundle(name: &str, certificates: &[&[u8]]) {
    let text: String = certificates.iter().map(|octets| pem("CERTIFICATE", octets)).collect();
    fs::write(folder().join(format!("bundles/{name}.pem")), text).unwrap();
}
