//! The public half of a key that signs records.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, UnparsedPublicKey, VerificationAlgorithm,
};
use der::{Decode, Encode};
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use crate::attribute_certificate::SignatureAlgorithm;
use crate::digest::Digest;

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const ED25519_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// A public key that signatures of records are checked with: Ed25519, ECDSA P-256 or ECDSA P-384.
#[derive(Clone)]
pub struct PublicKey {
    spki: Vec<u8>,
    algorithm: SignatureAlgorithm,
    key: UnparsedPublicKey<Vec<u8>>,
}

/// The octets are no public key that records are signed with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the DER SubjectPublicKeyInfo of an Ed25519, ECDSA P-256 or ECDSA P-384 key")]
pub struct InvalidPublicKey;

impl PublicKey {
    /// Reads the DER of a SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// It is not DER, or a key of another kind.
    pub fn from_spki(octets: &[u8]) -> Result<Self, InvalidPublicKey> {
        let info = SubjectPublicKeyInfoRef::from_der(octets).map_err(|_| InvalidPublicKey)?;
        if info.to_der().map_err(|_| InvalidPublicKey)? != octets {
            return Err(InvalidPublicKey);
        }
        let curve = info.algorithm.parameters.as_ref().map(|parameters| parameters.decode_as::<ObjectIdentifier>());
        let (algorithm, verification): (_, &'static dyn VerificationAlgorithm) = match (info.algorithm.oid, curve) {
            (ED25519_KEY, None) => (SignatureAlgorithm::Ed25519, &ED25519),
            (EC_PUBLIC_KEY, Some(Ok(P256))) => (SignatureAlgorithm::EcdsaP256Sha256, &ECDSA_P256_SHA256_ASN1),
            (EC_PUBLIC_KEY, Some(Ok(P384))) => (SignatureAlgorithm::EcdsaP384Sha384, &ECDSA_P384_SHA384_ASN1),
            _ => return Err(InvalidPublicKey),
        };
        let point = info.subject_public_key.as_bytes().ok_or(InvalidPublicKey)?;
        let key = UnparsedPublicKey::new(verification, point.to_vec());
        Ok(Self { spki: octets.to_vec(), algorithm, key })
    }

    /// The DER of its SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The algorithm that it checks signatures of.
    pub const fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// The digest of its SubjectPublicKeyInfo.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.spki)
    }

    /// The `keyid` of its signatures: the SHA-256 of the SubjectPublicKeyInfo in lower-case hexadecimal.
    pub fn key_id(&self) -> String {
        hex(&self.digest())
    }

    /// Whether `signature` is this key's over `octets`.
    pub fn is_signature(&self, octets: &[u8], signature: &[u8]) -> bool {
        self.key.verify(octets, signature).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({}, {})", self.algorithm.as_str(), self.key_id())
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.spki == other.spki
    }
}

impl Eq for PublicKey {}

/// The hexadecimal digits of a digest, without its prefix.
pub(super) fn hex(digest: &Digest) -> String {
    base16ct::lower::encode_string(digest.as_bytes())
}
