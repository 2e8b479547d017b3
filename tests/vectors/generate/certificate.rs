//! An attribute certificate in parts, each of them already encoded, so that any can be replaced by anything.

use seb::attribute_certificate::SignatureAlgorithm;
use seb::digest::Digest;
use seb::key::SigningKey;

use super::der::{bits, boolean, ctx, enumerated, int, number, octets, oid, prim, seq, set, time, utf8};
use super::pki::{AUTHORITY_NAME, Chain};
use super::{AT, BROKER, ECDSA_SHA256, ECDSA_SHA384, ED25519, HOLDER, NOT_AFTER, NOT_BEFORE, contracts, name};
use crate::vectors::Facts;

pub const EXECUTION_CONTRACT: &str = "1.3.6.1.4.1.32473.1.1";
pub const ADMISSION: &str = "1.3.6.1.4.1.32473.1.2";
pub const TARGET_INFORMATION: &str = "2.5.29.55";
pub const AUTHORITY_KEY_IDENTIFIER: &str = "2.5.29.35";
pub const SHA256: &str = "2.16.840.1.101.3.4.2.1";
const SERIAL: [u8; 16] = [0x4b, 0x5f, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14];

/// The parts of `acinfo` in order, the algorithm outside of it, and what all of it says.
pub struct Certificate {
    pub version: Vec<u8>,
    pub holder: Vec<u8>,
    pub issuer: Vec<u8>,
    pub algorithm: Vec<u8>,
    pub serial: Vec<u8>,
    pub validity: Vec<u8>,
    pub attributes: Vec<Vec<u8>>,
    /// What stands between attributes and extensions.
    pub unique_id: Vec<u8>,
    pub extensions: Vec<Vec<u8>>,
    /// What stands after the extensions.
    pub rest: Vec<u8>,
    pub outer_algorithm: Vec<u8>,
    pub facts: Facts,
}

impl Certificate {
    /// The certificate that most vectors are made from.
    pub fn ordinary(chain: &Chain) -> Self {
        let (algorithm, oid) = match chain.key.algorithm() {
            kind if *kind == rcgen::PKCS_ECDSA_P384_SHA384 => (SignatureAlgorithm::EcdsaP384Sha384, ECDSA_SHA384),
            kind if *kind == rcgen::PKCS_ED25519 => (SignatureAlgorithm::Ed25519, ED25519),
            _ => (SignatureAlgorithm::EcdsaP256Sha256, ECDSA_SHA256),
        };
        let contract = contracts::ordinary();
        let mut certificate = Self {
            version: int(&[1]),
            holder: seq(&[ctx(1, &[uri(HOLDER)])]),
            issuer: ctx(0, &[seq(&[directory_name(&name(AUTHORITY_NAME))])]),
            algorithm: seq(&[self::oid(oid)]),
            serial: int(&SERIAL),
            validity: Vec::new(),
            attributes: vec![contract_attribute(&contract), admission_attribute(&admission(&[]))],
            unique_id: Vec::new(),
            extensions: vec![target(&[target_name(BROKER)]), key_identifier(&chain.key_identifier)],
            rest: Vec::new(),
            outer_algorithm: seq(&[self::oid(oid)]),
            facts: Facts {
                digest: Digest::of(b""),
                algorithm: algorithm.as_str().to_owned(),
                serial: hexadecimal(&SERIAL),
                issuer: AUTHORITY_NAME.to_owned(),
                holder: HOLDER.to_owned(),
                holder_key: None,
                broker: BROKER.to_owned(),
                not_before: AT.parse().unwrap(),
                not_after: AT.parse().unwrap(),
                contract_digest: Digest::of(contract.as_bytes()),
                approvals: 0,
            },
        };
        certificate.valid(NOT_BEFORE, NOT_AFTER);
        certificate
    }

    pub fn valid(&mut self, not_before: &str, not_after: &str) {
        self.facts.not_before = not_before.parse().unwrap();
        self.facts.not_after = not_after.parse().unwrap();
        self.validity = seq(&[time(&compact(not_before)), time(&compact(not_after))]);
    }

    pub fn contract(&mut self, text: &str) {
        self.facts.contract_digest = Digest::of(text.as_bytes());
        self.attributes[0] = contract_attribute(text);
    }

    pub fn algorithms(&mut self, identifier: &[u8]) {
        self.algorithm = identifier.to_vec();
        self.outer_algorithm = identifier.to_vec();
    }

    pub fn serial(&mut self, content: &[u8]) {
        self.serial = int(content);
        self.facts.serial = hexadecimal(content);
    }

    /// `acinfo`.
    pub fn info(&self) -> Vec<u8> {
        let extensions = if self.extensions.is_empty() { Vec::new() } else { seq(&self.extensions) };
        seq(&[
            &self.version,
            &self.holder,
            &self.issuer,
            &self.algorithm,
            &self.serial,
            &self.validity,
            &seq(&self.attributes),
            &self.unique_id,
            &extensions,
            &self.rest,
        ])
    }

    /// The certificate, signed by `key`.
    pub fn sign(&mut self, key: &SigningKey) -> Vec<u8> {
        let info = self.info();
        self.facts.digest = Digest::of(&info);
        let signature = key.sign(&info).unwrap();
        self.signed(&signature)
    }

    /// The certificate with this signature.
    pub fn signed(&self, signature: &[u8]) -> Vec<u8> {
        seq(&[self.info(), self.outer_algorithm.clone(), bits(signature)])
    }
}

/// `uniformResourceIdentifier`.
pub fn uri(text: &str) -> Vec<u8> {
    prim(6, text.as_bytes())
}

/// `directoryName`: explicit, because a name is a choice.
pub fn directory_name(name: &[u8]) -> Vec<u8> {
    ctx(4, &[name])
}

pub fn attribute(kind: &str, values: &[Vec<u8>]) -> Vec<u8> {
    seq(&[oid(kind), set(values)])
}

pub fn contract_attribute(text: &str) -> Vec<u8> {
    attribute(EXECUTION_CONTRACT, &[utf8(text)])
}

pub fn admission_attribute(parts: &[Vec<u8>]) -> Vec<u8> {
    attribute(ADMISSION, &[seq(parts)])
}

/// The parts of an `Admission`: approved if there are approvals, else automatic.
pub fn admission(approvals: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let path = u8::from(!approvals.is_empty());
    let mut parts = vec![
        octets(Digest::of(b"policy").as_bytes()),
        number(7),
        number(3),
        octets(Digest::of(b"evidence").as_bytes()),
        enumerated(path),
        enumerated(1),
    ];
    if !approvals.is_empty() {
        parts.push(seq(approvals));
    }
    parts
}

pub fn approval(approver: &str) -> Vec<u8> {
    seq(&[super::der::ia5(approver), time("20261031120000Z"), octets(Digest::of(approver.as_bytes()).as_bytes())])
}

pub fn extension(kind: &str, critical: bool, value: &[u8]) -> Vec<u8> {
    match critical {
        true => seq(&[oid(kind), boolean(true), octets(value)]),
        false => seq(&[oid(kind), octets(value)]),
    }
}

/// `targetInformation` with one list of these targets.
pub fn target(targets: &[Vec<u8>]) -> Vec<u8> {
    extension(TARGET_INFORMATION, true, &seq(&[seq(targets)]))
}

/// `targetName`.
pub fn target_name(text: &str) -> Vec<u8> {
    ctx(0, &[uri(text)])
}

/// `authorityKeyIdentifier`.
pub fn key_identifier(octets: &[u8]) -> Vec<u8> {
    extension(AUTHORITY_KEY_IDENTIFIER, false, &seq(&[prim(0, octets)]))
}

/// `objectDigestInfo` over a public key by SHA-256.
pub fn key_digest(digest: &Digest) -> Vec<u8> {
    ctx(2, &[enumerated(0), seq(&[oid(SHA256)]), bits(digest.as_bytes())])
}

fn compact(rfc3339: &str) -> String {
    rfc3339.replace(['-', ':', 'T'], "")
}

/// Two digits an octet, without leading zero octets.
fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().skip_while(|octet| **octet == 0).map(|octet| format!("{octet:02x}")).collect()
}
