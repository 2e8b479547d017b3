//! The DER types of RFC 5755 section 4.1.
//!
//! These types hold whatever the standard's syntax allows; what the profile allows is [`super::profile()`]'s to say.
//! Where the syntax would make an illegal value unreadable and its reason imprecise (a fraction of a second, a negative
//! serial number, a version of two octets) the type keeps the raw value for the profile to refuse.

use der::asn1::{BitString, Int, ObjectIdentifier};
use der::{Choice, DecodeValue, EncodeValue, Enumerated, FixedTag, Header, Length, Reader, Sequence, Tag, Writer};
use spki::AlgorithmIdentifierOwned;
use x509_cert::attr::Attribute;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::{GeneralName, GeneralNames};

/// `AttributeCertificate`: the information, and the signature over its octets.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub(super) struct Certificate {
    pub(super) info: CertificateInfo,
    pub(super) signature_algorithm: AlgorithmIdentifierOwned,
    pub(super) signature: BitString,
}

/// `AttributeCertificateInfo`.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub(super) struct CertificateInfo {
    pub(super) version: Int,
    pub(super) holder: Holder,
    pub(super) issuer: Issuer,
    pub(super) signature: AlgorithmIdentifierOwned,
    pub(super) serial_number: Int,
    pub(super) validity: Validity,
    pub(super) attributes: Vec<Attribute>,
    pub(super) issuer_unique_id: Option<BitString>,
    pub(super) extensions: Option<Vec<Extension>>,
}

/// `Holder`.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub(super) struct Holder {
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    pub(super) base_certificate_id: Option<IssuerSerial>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    pub(super) entity_name: Option<GeneralNames>,
    #[asn1(context_specific = "2", tag_mode = "IMPLICIT", optional = "true")]
    pub(super) object_digest_info: Option<ObjectDigestInfo>,
}

/// `IssuerSerial`.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub(super) struct IssuerSerial {
    pub(super) issuer: GeneralNames,
    pub(super) serial: Int,
    pub(super) issuer_uid: Option<BitString>,
}

/// `ObjectDigestInfo`.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub(super) struct ObjectDigestInfo {
    pub(super) digested_object_type: DigestedObjectType,
    pub(super) other_object_type_id: Option<ObjectIdentifier>,
    pub(super) digest_algorithm: AlgorithmIdentifierOwned,
    pub(super) object_digest: BitString,
}

/// `ObjectDigestInfo.digestedObjectType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumerated)]
#[asn1(type = "ENUMERATED")]
#[repr(u8)]
pub(super) enum DigestedObjectType {
    PublicKey = 0,
    PublicKeyCert = 1,
    OtherObjectTypes = 2,
}

/// `AttCertIssuer`. The two forms differ in their tag only.
#[derive(Clone, Debug, PartialEq, Eq, Choice)]
#[expect(clippy::large_enum_variant, reason = "one for each certificate, and not kept")]
pub(super) enum Issuer {
    V1Form(GeneralNames),
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", constructed = "true")]
    V2Form(V2Form),
}

/// `V2Form`.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub(super) struct V2Form {
    pub(super) issuer_name: Option<GeneralNames>,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    pub(super) base_certificate_id: Option<IssuerSerial>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    pub(super) object_digest_info: Option<ObjectDigestInfo>,
}

/// `AttCertValidityPeriod`.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub(super) struct Validity {
    pub(super) not_before: RawTime,
    pub(super) not_after: RawTime,
}

/// The characters of a `GeneralizedTime`, at most [`RawTime::MAX`] of them, whatever they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RawTime(pub(super) Vec<u8>);

impl RawTime {
    /// Room for a fraction and an offset, so that the profile can name what is wrong with them.
    const MAX: Length = Length::new(32);
}

impl FixedTag for RawTime {
    const TAG: Tag = Tag::GeneralizedTime;
}

impl<'a> DecodeValue<'a> for RawTime {
    type Error = der::Error;

    fn decode_value<R: Reader<'a>>(reader: &mut R, header: Header) -> der::Result<Self> {
        if header.length() > Self::MAX {
            return Err(reader.error(Self::TAG.length_error()));
        }
        reader.read_vec(header.length()).map(Self)
    }
}

impl EncodeValue for RawTime {
    fn value_len(&self) -> der::Result<Length> {
        Length::try_from(self.0.len())
    }

    fn encode_value(&self, writer: &mut impl Writer) -> der::Result<()> {
        writer.write(&self.0)
    }
}

/// `Target` of `targetInformation`: `targetName` and `targetGroup`, whose tags are explicit because `GeneralName` is
/// a choice, and `targetCert`.
#[derive(Clone, Debug, PartialEq, Eq, Choice)]
#[expect(clippy::large_enum_variant, reason = "one for each certificate, and not kept")]
pub(super) enum Target {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", constructed = "true")]
    Name(GeneralName),
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", constructed = "true")]
    Group(GeneralName),
    #[asn1(context_specific = "2", tag_mode = "IMPLICIT", constructed = "true")]
    Cert(TargetCert),
}

/// `TargetCert`.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub(super) struct TargetCert {
    pub(super) target_certificate: IssuerSerial,
    pub(super) target_name: Option<GeneralName>,
    pub(super) cert_digest_info: Option<ObjectDigestInfo>,
}

/// The value of `targetInformation`: SEQUENCE OF Targets, where Targets is itself a SEQUENCE OF Target.
pub(super) type TargetInformation = Vec<Vec<Target>>;
