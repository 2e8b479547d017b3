//! Chains of X.509 certificates, good ones and bad ones.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DistinguishedName, DnType, IsCa, KeyPair,
    KeyUsagePurpose, SanType, SignatureAlgorithm, date_time_ymd,
};
use seb::digest::Digest;

use super::der;

pub const AUTHORITY_NAME: &str = "sab.example.org";
pub const AUTHORITY: &str = "spiffe://example.org/sab";

/// A chain, whose leaf is the authority's certificate, and the root below which it stands.
pub struct Chain {
    /// The authority's key.
    pub key: KeyPair,
    /// Leaf first; without the root.
    pub certificates: Vec<Vec<u8>>,
    pub root: Vec<u8>,
    /// The key identifier of the authority's certificate.
    pub key_identifier: Vec<u8>,
}

/// How a chain departs from the ordinary one: root, one intermediate, leaf, all P-256.
pub struct Plan {
    root: Params,
    root_kind: &'static SignatureAlgorithm,
    intermediates: Vec<Params>,
    leaf: Params,
    leaf_kind: &'static SignatureAlgorithm,
    kind: &'static SignatureAlgorithm,
}

type Params = CertificateParams;

pub fn plan() -> Plan {
    Plan {
        root: ca("root"),
        root_kind: &rcgen::PKCS_ECDSA_P256_SHA256,
        intermediates: vec![ca("intermediate 1")],
        leaf: leaf(),
        leaf_kind: &rcgen::PKCS_ECDSA_P256_SHA256,
        kind: &rcgen::PKCS_ECDSA_P256_SHA256,
    }
}

impl Plan {
    /// All keys of this kind.
    pub fn kind(mut self, kind: &'static SignatureAlgorithm) -> Self {
        (self.root_kind, self.kind, self.leaf_kind) = (kind, kind, kind);
        self
    }

    pub fn root_kind(mut self, kind: &'static SignatureAlgorithm) -> Self {
        self.root_kind = kind;
        self
    }

    pub fn intermediate_kind(mut self, kind: &'static SignatureAlgorithm) -> Self {
        self.kind = kind;
        self
    }

    pub fn leaf_kind(mut self, kind: &'static SignatureAlgorithm) -> Self {
        self.leaf_kind = kind;
        self
    }

    pub fn root(mut self, change: impl FnOnce(&mut Params)) -> Self {
        change(&mut self.root);
        self
    }

    /// Changes the intermediate next to the root.
    pub fn intermediate(mut self, change: impl FnOnce(&mut Params)) -> Self {
        change(&mut self.intermediates[0]);
        self
    }

    pub fn leaf(mut self, change: impl FnOnce(&mut Params)) -> Self {
        change(&mut self.leaf);
        self
    }

    pub fn intermediates(mut self, count: usize) -> Self {
        self.intermediates = (1..=count).map(|index| ca(&format!("intermediate {index}"))).collect();
        self
    }

    pub fn build(self) -> Chain {
        let root = CertifiedIssuer::self_signed(self.root, KeyPair::generate_for(self.root_kind).unwrap()).unwrap();
        let root_der = root.der().to_vec();
        let (mut issuer, mut certificates) = (root, Vec::new());
        for params in self.intermediates {
            issuer = CertifiedIssuer::signed_by(params, KeyPair::generate_for(self.kind).unwrap(), &issuer).unwrap();
            certificates.insert(0, issuer.der().to_vec());
        }
        let key = KeyPair::generate_for(self.leaf_kind).unwrap();
        let key_identifier = match self.leaf.is_ca {
            IsCa::NoCa => Digest::of(key.public_key_raw()).as_bytes()[..20].to_vec(),
            _ => self.leaf.key_identifier(&key),
        };
        certificates.insert(0, self.leaf.signed_by(&key, &issuer).unwrap().der().to_vec());
        Chain { key, certificates, root: root_der, key_identifier }
    }
}

/// An intermediate that may not sign, and one of the same name and key that may: there is a path through the second.
pub fn twice_certified() -> Chain {
    let root = CertifiedIssuer::self_signed(ca("root"), KeyPair::generate().unwrap()).unwrap();
    let pem = KeyPair::generate().unwrap().serialize_pem();
    let key = || KeyPair::from_pem(&pem).unwrap();
    let mut unfit = ca("intermediate 1");
    unfit.key_usages = vec![KeyUsagePurpose::CrlSign];
    let unfit = CertifiedIssuer::signed_by(unfit, key(), &root).unwrap();
    let fit = CertifiedIssuer::signed_by(ca("intermediate 1"), key(), &root).unwrap();
    let authority = KeyPair::generate().unwrap();
    let certificate = leaf().signed_by(&authority, &fit).unwrap();
    Chain {
        key_identifier: leaf().key_identifier(&authority),
        key: authority,
        certificates: vec![certificate.der().to_vec(), unfit.der().to_vec(), fit.der().to_vec()],
        root: root.der().to_vec(),
    }
}

/// The leaf is signed by another key than that of the intermediate whose name it gives.
pub fn forged() -> Chain {
    let mut chain = plan().build();
    chain.certificates[1] = plan().build().certificates[1].clone();
    chain
}

/// A leaf of X.509 version 1: no extensions.
pub fn version_1() -> Chain {
    use rcgen::{PublicKeyData, SigningKey};
    let root = CertifiedIssuer::self_signed(ca("root"), KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let algorithm = der::seq(&[der::oid(super::ECDSA_SHA256)]);
    let body = der::seq(&[
        der::int(&[1]),
        algorithm.clone(),
        super::name("root"),
        der::seq(&[der::tlv(0x17, b"261001000000Z"), der::tlv(0x17, b"270930235959Z")]),
        super::name(AUTHORITY_NAME),
        key.subject_public_key_info(),
    ]);
    let signature = root.key().sign(&body).unwrap();
    Chain {
        key_identifier: Digest::of(key.public_key_raw()).as_bytes()[..20].to_vec(),
        certificates: vec![der::seq(&[body, algorithm, der::bits(&signature)])],
        key,
        root: root.der().to_vec(),
    }
}

fn ca(name: &str) -> Params {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.subject_alt_names = vec![uri("spiffe://example.org")];
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2036, 1, 1);
    params
}

fn leaf() -> Params {
    let mut params = named(AUTHORITY_NAME);
    // With the two extensions that an explicit leaf has: basicConstraints and subjectKeyIdentifier.
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.subject_alt_names = vec![uri(AUTHORITY)];
    params.use_authority_key_identifier_extension = true;
    params.not_before = date_time_ymd(2026, 10, 1);
    params.not_after = date_time_ymd(2027, 10, 1);
    params
}

fn named(name: &str) -> Params {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

pub fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

pub fn extension(oid: &[u64], critical: bool, value: Vec<u8>) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, value);
    extension.set_criticality(critical);
    extension
}

/// `nameConstraints` with one subtree of URIs or of names: `permitted` is 0, `excluded` is 1.
pub fn name_constraints(subtrees: u8, base: Vec<u8>) -> CustomExtension {
    extension(&[2, 5, 29, 30], true, der::seq(&[der::ctx(subtrees, &[der::seq(&[base])])]))
}
