//! The published vectors of `tests/vectors/certificate`: their manifest, and how a certificate is judged by them.
//!
//! The format is described in the README beside the manifest.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use seb::attribute_certificate::{
    Trust, TrustBundle, VerifiedCertificate, authenticate, parse, profile, read_certificates, read_file, targeting,
};
use seb::decision::{Certified, authorization};
use seb::digest::Digest;
use seb::reason::{Denial, Reason, Verdict};
use seb::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use spiffe::{SpiffeId, TrustDomain};

/// What the manifest's `schema` says.
pub const SCHEMA: &str = "seb.dev/certificate-vectors/v1";

/// All vectors.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub schema: String,
    pub vectors: Vec<Vector>,
}

/// One certificate, the circumstances in which it is judged, and the judgement.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vector {
    pub name: String,
    pub description: String,
    /// The rule of `docs/certificate-profile.md` that it keeps to the edge, or breaks.
    pub rule: String,
    /// The file with the certificate.
    pub certificate: String,
    /// The file with the authority's chain; without one the chain is what the certificate's own file holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
    /// The file with the trust bundle of each trust domain.
    pub bundles: BTreeMap<String, String>,
    pub parameters: Parameters,
    pub expect: Expect,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    pub authorities: Vec<String>,
    pub holder: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder_key: Option<Digest>,
    pub broker: String,
    pub at: Timestamp,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// `valid`, or the name of the first verdict that fails.
    pub verdict: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What the certificate says, where its profile holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Facts>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// SHA-256 of the signed part: the certificate's name.
    pub digest: Digest,
    pub algorithm: String,
    /// Hexadecimal, without leading zeros but with an even number of digits.
    pub serial: String,
    /// The common name of the issuer, its only attribute.
    pub issuer: String,
    pub holder: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder_key: Option<Digest>,
    pub broker: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// SHA-256 of the octets of the execution contract.
    pub contract_digest: Digest,
    pub approvals: usize,
}

fn id(text: &str) -> SpiffeId {
    SpiffeId::new(text).unwrap()
}

/// Where the vectors are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/certificate")
}

impl Manifest {
    pub fn load() -> Self {
        let text = fs::read_to_string(folder().join("manifest.json")).unwrap();
        let manifest: Self = serde_json::from_str(&text).unwrap();
        assert_eq!(manifest.schema, SCHEMA);
        manifest
    }
}

impl Vector {
    /// The octets of the file with the certificate.
    pub fn file(&self) -> Vec<u8> {
        fs::read(folder().join(&self.certificate)).unwrap()
    }

    /// The authority's chain, leaf first.
    pub fn chain(&self) -> Option<Vec<Vec<u8>>> {
        let text = fs::read_to_string(folder().join(self.chain.as_ref()?)).unwrap();
        Some(read_certificates(&text).unwrap())
    }

    /// Whom the vector says to trust.
    pub fn trust(&self) -> Trust {
        let bundles = self.bundles.iter().map(|(trust_domain, file)| {
            let text = fs::read_to_string(folder().join(file)).unwrap();
            TrustBundle::from_pem(TrustDomain::new(trust_domain).unwrap(), &text).unwrap()
        });
        Trust::new(bundles, self.parameters.authorities.iter().map(|text| id(text)))
    }

    /// All verdicts, the fifth as far as a certificate decides it by itself.
    pub fn judge(&self) -> Result<VerifiedCertificate, Denial> {
        let file = read_file(&self.file())?;
        let certificate = profile(parse(&file.certificate)?)?;
        let chain = self.chain().unwrap_or(file.chain);
        let Parameters { holder, holder_key, broker, at, .. } = &self.parameters;
        let verified = authenticate(certificate, &chain, &self.trust(), *at)?;
        let against = targeting(&verified, &id(holder), holder_key.as_ref(), &id(broker)).into_iter();
        match against.chain(authorization(&Certified::from(&verified), *at)).min() {
            None => Ok(verified),
            Some(denial) => Err(denial),
        }
    }

    /// The verdict and reason that `judge` should have given.
    pub fn expected(&self) -> Option<(Verdict, Reason)> {
        let verdict = Verdict::ALL.into_iter().find(|verdict| verdict.as_str() == self.expect.verdict);
        match (verdict, self.expect.reason) {
            (Some(verdict), Some(reason)) => Some((verdict, reason)),
            (None, None) if self.expect.verdict == "valid" => None,
            _ => panic!("{}: a verdict without a reason, or a reason without a verdict", self.name),
        }
    }
}
