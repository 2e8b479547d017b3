//! First verdict: are the octets one attribute certificate?

use der::{Decode, Encode, Header, Reader, SliceReader};

use super::asn1;
use super::strict::{self, Flaw};
use crate::digest::Digest;
use crate::reason::{Denial, Reason};

/// How large an attribute certificate can be, in octets of DER.
pub const MAX_CERTIFICATE_OCTETS: usize = 64 * 1024;

/// An attribute certificate as RFC 5755 section 4.1 has it. Nothing is known of its truth or its author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeCertificate {
    pub(super) value: asn1::Certificate,
    pub(super) octets: Vec<u8>,
}

/// First verdict: reads one attribute certificate from DER.
///
/// # Errors
/// [`Reason::CertificateTooLarge`], [`Reason::CertificateEncoding`], [`Reason::CertificateBounds`] or
/// [`Reason::CertificateStructure`]. Time and memory are linear in the length of `octets`, which is bounded by
/// [`MAX_CERTIFICATE_OCTETS`] before anything else is looked at.
pub fn parse(octets: &[u8]) -> Result<AttributeCertificate, Denial> {
    if octets.len() > MAX_CERTIFICATE_OCTETS {
        let detail = format!("{} octets; at most {MAX_CERTIFICATE_OCTETS} are read", octets.len());
        return Err(Denial::new(Reason::CertificateTooLarge, detail));
    }
    strict::check(octets).map_err(|flaw| match flaw {
        Flaw::Encoding(detail) => Denial::new(Reason::CertificateEncoding, detail),
        Flaw::Bounds(detail) => Denial::new(Reason::CertificateBounds, detail),
    })?;
    let value = asn1::Certificate::from_der(octets)
        .map_err(|error| Denial::new(Reason::CertificateStructure, error.to_string()))?;
    // DER has one encoding of each value, so a decoder that took a liberty is found out here.
    let again = value.to_der().map_err(|error| Denial::new(Reason::CertificateEncoding, error.to_string()))?;
    if again != octets {
        return Err(Denial::new(Reason::CertificateEncoding, "the octets are not the DER of what they say"));
    }
    Ok(AttributeCertificate { value, octets: again })
}

impl AttributeCertificate {
    /// The DER octets.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// The octets of the signature.
    pub fn signature(&self) -> &[u8] {
        self.value.signature.raw_bytes()
    }

    /// The certificate's name in records and in revocations: SHA-256 of the octets that are signed. The signature is left
    /// out, because anyone can turn an ECDSA signature into another good one.
    ///
    /// # Errors
    /// [`Reason::CertificateEncoding`]; not for a certificate that [`parse`] made.
    pub fn digest(&self) -> Result<Digest, Denial> {
        let signed = self.signed_octets();
        signed.map(Digest::of).map_err(|error| Denial::new(Reason::CertificateEncoding, error.to_string()))
    }

    /// The octets that are signed: `acinfo`, with its tag and length.
    pub(super) fn signed_octets(&self) -> der::Result<&[u8]> {
        let mut reader = SliceReader::new(&self.octets)?;
        Header::decode(&mut reader)?;
        reader.tlv_bytes()
    }
}
