//! Private keys that sign. The only module besides the clock that draws on randomness.

use std::fmt;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair,
};
use der::pem;
use zeroize::Zeroizing;

use crate::attribute_certificate::SignatureAlgorithm;

/// The label of a PKCS#8 private key in PEM text (RFC 7468 section 10).
const LABEL: &str = "PRIVATE KEY";

/// The key is not usable. Says nothing of its octets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// The text is not one PEM block `PRIVATE KEY`.
    #[error("not one PEM block `{LABEL}` (PKCS#8, not encrypted)")]
    Pem,
    /// The key is of no kind that the profile signs with.
    #[error("not an ECDSA P-256, ECDSA P-384 or Ed25519 key in PKCS#8")]
    Kind,
    /// The system refused to make a key or a signature.
    #[error("the cryptographic library refused to make a key or a signature")]
    Library,
}

/// A private key for one of the profile's signature algorithms.
///
/// Never shown: `Debug` names the algorithm only, and nothing serializes it but [`Self::to_pkcs8_pem`].
pub struct SigningKey(Pair);

enum Pair {
    Ecdsa(SignatureAlgorithm, EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// Makes a fresh key.
    ///
    /// # Errors
    /// [`InvalidKey::Library`].
    pub fn generate(algorithm: SignatureAlgorithm) -> Result<Self, InvalidKey> {
        let pair = match ecdsa(algorithm) {
            Some(curve) => EcdsaKeyPair::generate(curve).map(|pair| Pair::Ecdsa(algorithm, pair)),
            None => Ed25519KeyPair::generate().map(Pair::Ed25519),
        };
        pair.map(Self).map_err(|_| InvalidKey::Library)
    }

    /// Reads a key from the DER of PKCS#8 (RFC 5958), whichever of the three kinds it is.
    ///
    /// # Errors
    /// [`InvalidKey::Kind`].
    pub fn from_pkcs8(octets: &[u8]) -> Result<Self, InvalidKey> {
        for algorithm in [SignatureAlgorithm::EcdsaP256Sha256, SignatureAlgorithm::EcdsaP384Sha384] {
            if let Some(Ok(pair)) = ecdsa(algorithm).map(|curve| EcdsaKeyPair::from_pkcs8(curve, octets)) {
                return Ok(Self(Pair::Ecdsa(algorithm, pair)));
            }
        }
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(octets).map_err(|_| InvalidKey::Kind)?;
        Ok(Self(Pair::Ed25519(pair)))
    }

    /// Reads a key from PEM text with one block `PRIVATE KEY`.
    ///
    /// # Errors
    /// [`InvalidKey::Pem`] and [`InvalidKey::Kind`].
    pub fn from_pkcs8_pem(text: &str) -> Result<Self, InvalidKey> {
        match pem::decode_vec(text.as_bytes()) {
            Ok((LABEL, octets)) => Self::from_pkcs8(&Zeroizing::new(octets)),
            _ => Err(InvalidKey::Pem),
        }
    }

    /// The key as PEM text, to be kept in a file that only its owner reads.
    ///
    /// # Errors
    /// [`InvalidKey::Library`].
    pub fn to_pkcs8_pem(&self) -> Result<Zeroizing<String>, InvalidKey> {
        let document = match &self.0 {
            Pair::Ecdsa(_, pair) => pair.to_pkcs8v1(),
            Pair::Ed25519(pair) => pair.to_pkcs8v1(),
        };
        let document = document.map_err(|_| InvalidKey::Library)?;
        pem::encode_string(LABEL, pem::LineEnding::LF, document.as_ref())
            .map(Zeroizing::new)
            .map_err(|_| InvalidKey::Library)
    }

    /// The algorithm it signs with.
    pub fn algorithm(&self) -> SignatureAlgorithm {
        match &self.0 {
            Pair::Ecdsa(algorithm, _) => *algorithm,
            Pair::Ed25519(_) => SignatureAlgorithm::Ed25519,
        }
    }

    /// The DER of its SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// [`InvalidKey::Library`].
    pub fn public_key(&self) -> Result<Vec<u8>, InvalidKey> {
        let der = match &self.0 {
            Pair::Ecdsa(_, pair) => pair.public_key().as_der(),
            Pair::Ed25519(pair) => pair.public_key().as_der(),
        };
        der.map(|der| der.as_ref().to_vec()).map_err(|_| InvalidKey::Library)
    }

    /// A signature over `octets`: ECDSA as the DER of RFC 3279 section 2.2.3, Ed25519 as 64 octets.
    ///
    /// # Errors
    /// [`InvalidKey::Library`].
    pub fn sign(&self, octets: &[u8]) -> Result<Vec<u8>, InvalidKey> {
        match &self.0 {
            Pair::Ecdsa(_, pair) => {
                let signature = pair.sign(&SystemRandom::new(), octets).map_err(|_| InvalidKey::Library)?;
                Ok(signature.as_ref().to_vec())
            }
            Pair::Ed25519(pair) => Ok(pair.sign(octets).as_ref().to_vec()),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, not shown)", self.algorithm().as_str())
    }
}

fn ecdsa(algorithm: SignatureAlgorithm) -> Option<&'static EcdsaSigningAlgorithm> {
    match algorithm {
        SignatureAlgorithm::EcdsaP256Sha256 => Some(&ECDSA_P256_SHA256_ASN1_SIGNING),
        SignatureAlgorithm::EcdsaP384Sha384 => Some(&ECDSA_P384_SHA384_ASN1_SIGNING),
        SignatureAlgorithm::Ed25519 => None,
    }
}

/// A fresh serial number: 16 octets of randomness, positive and never zero.
///
/// # Errors
/// [`InvalidKey::Library`].
pub fn fresh_serial() -> Result<[u8; 16], InvalidKey> {
    let mut serial = [0; 16];
    aws_lc_rs::rand::fill(&mut serial).map_err(|_| InvalidKey::Library)?;
    let [first, ..] = &mut serial;
    *first = *first & 0x3f | 0x40;
    Ok(serial)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [SignatureAlgorithm; 3] =
        [SignatureAlgorithm::EcdsaP256Sha256, SignatureAlgorithm::EcdsaP384Sha384, SignatureAlgorithm::Ed25519];

    #[test]
    fn pem_round_trips_for_every_kind() {
        for algorithm in ALL {
            let key = SigningKey::generate(algorithm).unwrap();
            let again = SigningKey::from_pkcs8_pem(&key.to_pkcs8_pem().unwrap()).unwrap();
            assert_eq!(again.algorithm(), algorithm);
            assert_eq!(again.public_key().unwrap(), key.public_key().unwrap());
        }
    }

    #[test]
    fn i5_debug_shows_no_octet_of_the_key() {
        for algorithm in ALL {
            let key = SigningKey::generate(algorithm).unwrap();
            assert_eq!(format!("{key:?}"), format!("SigningKey({}, not shown)", algorithm.as_str()));
        }
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_shown() {
        for text in ["", "secret", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"] {
            let error = SigningKey::from_pkcs8_pem(text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("secret"));
        }
    }

    #[test]
    fn serials_are_positive_and_differ() {
        let [one, other] = [fresh_serial().unwrap(), fresh_serial().unwrap()];
        assert!(one[0] < 0x80 && one[0] >= 0x40);
        assert_ne!(one, other);
    }
}
