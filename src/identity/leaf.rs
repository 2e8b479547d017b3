//! What a leaf X509-SVID says of itself (X509-SVID sections 2 to 5), read strictly.

use std::fmt;

use const_oid::AssociatedOid;
use der::{Decode, Encode};
use spiffe::SpiffeId;
use x509_cert::Certificate;
use x509_cert::certificate::Version;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, SubjectAltName};

use crate::digest::Digest;
use crate::spiffe_id;
use crate::timestamp::Timestamp;

/// The longest certificate that is read, in octets.
const MAX_OCTETS: usize = 16 * 1024;

/// The certificate is not a leaf X509-SVID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a leaf X509-SVID: {0}")]
pub struct InvalidLeaf(String);

/// A serial number: 1 to 20 octets, shown as lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(Vec<u8>);

/// A leaf X509-SVID: exactly one URI, which is a workload's SPIFFE ID; not a CA; may sign handshakes and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The SPIFFE ID.
    pub id: SpiffeId,
    /// The serial number.
    pub serial: Serial,
    /// SHA-256 of the SubjectPublicKeyInfo: what a key-bound attribute certificate names.
    pub key: Digest,
    /// The first second of its validity.
    pub not_before: Timestamp,
    /// The last second of its validity.
    pub not_after: Timestamp,
}

impl Leaf {
    /// Reads a certificate in DER. Says nothing of who signed it, nor of the time.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn read(octets: &[u8]) -> Result<Self, InvalidLeaf> {
        if octets.len() > MAX_OCTETS {
            return Err(InvalidLeaf(format!("{} octets; at most {MAX_OCTETS} are read", octets.len())));
        }
        let certificate = Certificate::from_der(octets).map_err(|error| InvalidLeaf(format!("not X.509: {error}")))?;
        check_use(&certificate)?;
        let body = certificate.tbs_certificate();
        let key = body.subject_public_key_info().to_der().map_err(|error| InvalidLeaf(error.to_string()))?;
        let (not_before, not_after) = validity(&certificate).map_err(InvalidLeaf)?;
        Ok(Self {
            id: workload(&certificate)?,
            serial: Serial::new(body.serial_number().as_bytes())
                .ok_or_else(|| InvalidLeaf("the serial number is empty or too long".to_owned()))?,
            key: Digest::of(&key),
            not_before,
            not_after,
        })
    }
}

/// The first and the last second of a certificate's validity, or what is wrong with them.
pub(super) fn validity(certificate: &Certificate) -> Result<(Timestamp, Timestamp), String> {
    let validity = certificate.tbs_certificate().validity();
    let seconds = |time: &x509_cert::time::Time| {
        Timestamp::from_seconds(time.to_unix_duration().as_secs()).map_err(|error| error.to_string())
    };
    Ok((seconds(&validity.not_before)?, seconds(&validity.not_after)?))
}

fn check_use(certificate: &Certificate) -> Result<(), InvalidLeaf> {
    let refuse = |problem: &str| Err(InvalidLeaf(problem.to_owned()));
    if certificate.tbs_certificate().version() != Version::V3 {
        return refuse("not version 3");
    }
    if let Some((_, constraints)) = extension::<BasicConstraints>(certificate, "basicConstraints")?
        && constraints.ca
    {
        return refuse("it is a CA");
    }
    match extension::<KeyUsage>(certificate, "keyUsage")? {
        Some((true, usage)) if usage.key_cert_sign() || usage.crl_sign() => {
            refuse("`keyUsage` allows signing certificates or CRLs")
        }
        Some((true, usage)) if usage.digital_signature() => Ok(()),
        Some((true, _)) => refuse("`keyUsage` lacks `digitalSignature`"),
        Some((false, _)) => refuse("`keyUsage` is not critical"),
        None => refuse("`keyUsage` is missing"),
    }
}

fn workload(certificate: &Certificate) -> Result<SpiffeId, InvalidLeaf> {
    let names = extension::<SubjectAltName>(certificate, "subjectAltName")?.map(|(_, names)| names.0);
    let uris = names.iter().flatten().filter_map(|name| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str()),
        _ => None,
    });
    match uris.collect::<Vec<_>>().as_slice() {
        [uri] => spiffe_id::exact(uri).filter(|id| !id.path().is_empty()).ok_or_else(|| {
            let start: String = uri.chars().take(80).collect();
            InvalidLeaf(format!("`{start}` is not a workload's SPIFFE ID"))
        }),
        uris => Err(InvalidLeaf(format!("{} URIs in `subjectAltName`, not one", uris.len()))),
    }
}

fn extension<T>(certificate: &Certificate, name: &str) -> Result<Option<(bool, T)>, InvalidLeaf>
where
    T: AssociatedOid + for<'a> Decode<'a, Error = der::Error>,
{
    let found = certificate.tbs_certificate().get_extension();
    found.map_err(|error| InvalidLeaf(format!("`{name}` is repeated or malformed: {error}")))
}

impl Serial {
    /// The serial number with these octets, without leading zeros; none if there are none or more than 20.
    pub fn new(octets: &[u8]) -> Option<Self> {
        let start = octets.iter().position(|octet| *octet != 0)?;
        octets.get(start..).filter(|octets| octets.len() <= 20).map(|octets| Self(octets.to_vec()))
    }

    /// The octets, without leading zeros.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
