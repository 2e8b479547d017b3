//! What only S3 has: a bucket in the host, and checksums of bodies.

use base64ct::{Base64, Encoding};

use super::input::InvalidInput;
use super::model::Operation as Row;
use super::place::{Place, Reach};
use super::rest::Parts;
use crate::contract::Json;
use crate::digest::Digest;

const BUCKET: &str = "Bucket";

/// Puts the bucket into the host where AWS's own endpoint and the form of its name allow it; and the label that then is not
/// in the path.
pub(super) fn hosted(
    row: &Row,
    place: Place,
    reach: &Reach,
    input: &Json,
) -> Result<(Place, Option<&'static str>), InvalidInput> {
    if !row.uri.starts_with("/{Bucket}") {
        return Ok((place, None));
    }
    // Where it is missing, the reading of the input says so.
    let Some(bucket) = input.get(BUCKET).and_then(Json::as_str) else { return Ok((place, None)) };
    if !is_bucket(bucket) {
        let rule =
            "is not the name of a bucket: 3 to 63 lower-case letters, digits, `-` and `.`; access points are not taken";
        return Err(InvalidInput::member(BUCKET, rule));
    }
    if bucket.ends_with("--x-s3") || bucket.ends_with("--table-s3") {
        return Err(InvalidInput::member(BUCKET, "is a directory bucket or a table bucket, which are not supported"));
    }
    match reach {
        // A name with a dot would not fit the certificate.
        Reach::Aws(_) if !bucket.contains('.') => Ok((place.under(bucket), Some(BUCKET))),
        Reach::Aws(_) | Reach::At(_) => Ok((place, None)),
    }
}

fn is_bucket(name: &str) -> bool {
    let plain = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"-.".contains(&octet);
    let ends = |octet: Option<&u8>| octet.is_some_and(u8::is_ascii_alphanumeric);
    let octets = name.as_bytes();
    (3..=63).contains(&octets.len())
        && name.bytes().all(plain)
        && ends(octets.first())
        && ends(octets.last())
        && !name.contains("..")
}

/// SHA-256, in place of the older checksums that S3 would take as well.
pub(super) fn add_checksum(row: &Row, parts: &mut Parts) -> Result<(), InvalidInput> {
    const NAMED: &str = "x-amz-sdk-checksum-algorithm";
    const SUM: &str = "x-amz-checksum-sha256";
    let Some(member) = &row.algorithm else { return Ok(()) };
    if !row.checksum && parts.body.is_empty() {
        return Ok(());
    }
    match parts.headers.iter().find(|(name, _)| name == NAMED) {
        Some((_, algorithm)) if algorithm != "SHA256" => {
            return Err(InvalidInput::member(member, "must be `SHA256`, or left out"));
        }
        Some(_) => {}
        None => parts.headers.push((NAMED.to_owned(), "SHA256".to_owned())),
    }
    if !parts.headers.iter().any(|(name, _)| name == SUM) {
        parts.headers.push((SUM.to_owned(), Base64::encode_string(Digest::of(&parts.body).as_bytes())));
    }
    Ok(())
}
