//! Object identifiers, in one place.

use const_oid::ObjectIdentifier;

/// The arc under which the profile's own identifiers live: 1.3.6.1.4.1.32473, which RFC 5612 reserves for
/// documentation. It is replaced here, and nowhere else, when a number has been assigned.
pub const ARC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.32473");

/// The `executionContract` attribute: `ARC`.1.1.
pub const EXECUTION_CONTRACT: ObjectIdentifier = under_arc(1);

/// The `admission` attribute: `ARC`.1.2.
pub const ADMISSION: ObjectIdentifier = under_arc(2);

/// `targetInformation` (RFC 5755 section 4.3.2).
pub(super) const TARGET_INFORMATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.55");

/// `authorityKeyIdentifier` (RFC 5280 section 4.2.1.1).
pub(super) const AUTHORITY_KEY_IDENTIFIER: ObjectIdentifier = const_oid::db::rfc5280::ID_CE_AUTHORITY_KEY_IDENTIFIER;

pub(super) const ECDSA_SHA256: ObjectIdentifier = const_oid::db::rfc5912::ECDSA_WITH_SHA_256;
pub(super) const ECDSA_SHA384: ObjectIdentifier = const_oid::db::rfc5912::ECDSA_WITH_SHA_384;
pub(super) const ED25519: ObjectIdentifier = const_oid::db::rfc8410::ID_ED_25519;
pub(super) const EC_PUBLIC_KEY: ObjectIdentifier = const_oid::db::rfc5912::ID_EC_PUBLIC_KEY;
pub(super) const P256: ObjectIdentifier = const_oid::db::rfc5912::SECP_256_R_1;
pub(super) const P384: ObjectIdentifier = const_oid::db::rfc5912::SECP_384_R_1;
pub(super) const SHA256: ObjectIdentifier = const_oid::db::rfc5912::ID_SHA_256;

const fn under_arc(attribute: u32) -> ObjectIdentifier {
    match ARC.push_arc(1) {
        Ok(attributes) => match attributes.push_arc(attribute) {
            Ok(oid) => oid,
            Err(_) => ARC,
        },
        Err(_) => ARC,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_lie_under_the_arc() {
        assert_eq!(EXECUTION_CONTRACT.to_string(), "1.3.6.1.4.1.32473.1.1");
        assert_eq!(ADMISSION.to_string(), "1.3.6.1.4.1.32473.1.2");
    }
}
