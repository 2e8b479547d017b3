//! What several test programs need: a public-key infrastructure of a trust domain, and certificates issued in it.

#![allow(dead_code, reason = "each test program uses a part of it")]

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, SanType,
    SignatureAlgorithm as RcgenAlgorithm,
};
use seb::attribute_certificate::{
    Admission, AdmissionPath, AttributeCertificate, AuthorityCertificate, SignatureAlgorithm, Template, Tier, Trust,
    TrustBundle,
};
use seb::contract::Contract;
use seb::digest::Digest;
use seb::key::SigningKey;
use seb::timestamp::Timestamp;
use spiffe::{SpiffeId, TrustDomain};

pub const TRUST_DOMAIN: &str = "example.org";
pub const AUTHORITY: &str = "spiffe://example.org/sab";
pub const BROKER: &str = "spiffe://example.org/seb";
pub const HOLDER: &str = "spiffe://example.org/agent/deployer";

pub fn id(text: &str) -> SpiffeId {
    SpiffeId::new(text).unwrap()
}

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A trust domain with a root, an intermediate, and an authority below it.
pub struct Pki {
    pub root: CertifiedIssuer<'static, KeyPair>,
    pub intermediate: CertifiedIssuer<'static, KeyPair>,
    pub key: SigningKey,
    /// The authority's leaf, then the intermediate.
    pub chain: Vec<Vec<u8>>,
}

pub fn rcgen_algorithm(algorithm: SignatureAlgorithm) -> &'static RcgenAlgorithm {
    match algorithm {
        SignatureAlgorithm::EcdsaP256Sha256 => &rcgen::PKCS_ECDSA_P256_SHA256,
        SignatureAlgorithm::EcdsaP384Sha384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        SignatureAlgorithm::Ed25519 => &rcgen::PKCS_ED25519,
    }
}

pub fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.subject_alt_names = vec![SanType::URI(format!("spiffe://{TRUST_DOMAIN}").try_into().unwrap())];
    params
}

pub fn leaf_params(name: &str, spiffe_id: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.subject_alt_names = vec![SanType::URI(spiffe_id.try_into().unwrap())];
    params.use_authority_key_identifier_extension = true;
    params
}

impl Pki {
    pub fn new(algorithm: SignatureAlgorithm) -> Self {
        let curve = rcgen_algorithm(algorithm);
        let key = || KeyPair::generate_for(curve).unwrap();
        let root = CertifiedIssuer::self_signed(ca_params("root"), key()).unwrap();
        let intermediate = CertifiedIssuer::signed_by(ca_params("intermediate"), key(), &root).unwrap();
        let authority = key();
        let leaf = leaf_params("authority", AUTHORITY).signed_by(&authority, &intermediate).unwrap();
        Self {
            key: SigningKey::from_pkcs8(authority.serialized_der()).unwrap(),
            chain: vec![leaf.der().to_vec(), intermediate.der().to_vec()],
            root,
            intermediate,
        }
    }

    pub fn bundle(&self) -> TrustBundle {
        TrustBundle::from_pem(TrustDomain::new(TRUST_DOMAIN).unwrap(), &self.root.pem()).unwrap()
    }

    pub fn trust(&self) -> Trust {
        Trust::new([self.bundle()], [id(AUTHORITY)])
    }

    pub fn authority(&self) -> AuthorityCertificate {
        AuthorityCertificate::new(&self.chain[0]).unwrap()
    }

    pub fn issue(&self, template: &Template<'_>) -> AttributeCertificate {
        let unsigned = template.prepare(&self.authority()).unwrap();
        let signature = self.key.sign(unsigned.octets()).unwrap();
        unsigned.complete(&signature).unwrap()
    }

    /// An ordinary certificate over `contract`: November 2026, not bound to a key.
    pub fn issue_over(&self, contract: &Contract) -> AttributeCertificate {
        self.issue(&Template {
            serial: &[0x4b; 16],
            holder: &id(HOLDER),
            holder_key: None,
            broker: &id(BROKER),
            not_before: at("2026-11-01T00:00:00Z"),
            not_after: at("2026-11-30T23:59:59Z"),
            contract,
            admission: &admission(),
        })
    }
}

pub fn admission() -> Admission {
    Admission {
        policy_digest: Digest::of(b"policy"),
        policy_epoch: 7,
        revocation_epoch: 3,
        evidence_digest: Digest::of(b"evidence"),
        path: AdmissionPath::Automatic,
        tier: Tier::Moderate,
        approvals: Vec::new(),
    }
}

/// A contract that scales a service between 3 and 50, in any layout.
pub const CONTRACT: &str = r#"{
  "schema": "seb.dev/contract/v1",
  "target": { "kind": "sandbox", "name": "sandbox" },
  "steps": [
    {
      "name": "scale",
      "mutation": {
        "verb": "merge",
        "resource": { "collection": "services", "name": "checkout" },
        "body": { "replicas": 10 },
        "parameters": [
          {
            "pointer": "/replicas",
            "required": false,
            "bounds": { "type": "integer", "minimum": 3, "maximum": 50 }
          }
        ]
      },
      "baseline": { "mode": "fields", "identity": "uid-1", "version": "4", "fields": { "/replicas": 3 } }
    }
  ],
  "limits": {
    "uses": 1,
    "spacing_seconds": 0,
    "not_before": "2026-11-01T00:00:00Z",
    "not_after": "2026-11-30T23:59:59Z"
  },
  "deadline_seconds": 30
}"#;

pub fn contract() -> Contract {
    Contract::compile(CONTRACT).unwrap()
}
