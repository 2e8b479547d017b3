//! SigV4 by AWS's own library. Nothing is sent.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials as Keys;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4::SigningParams;

use super::Request;
use crate::target::aws::credentials::Credentials;
use crate::timestamp::Timestamp;

/// A request that is signed, by the credentials of one session or, for a session, by an execution identity.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedRequest {
    /// The method.
    pub method: &'static str,
    /// The URL.
    pub url: String,
    /// All its headers, names in lower case, but `content-length`. A session's token is among them.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// The request cannot be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the request cannot be signed: {0}")]
pub struct CannotSign(String);

impl Request {
    /// The request, signed at `now` by the credentials of a session. The body is always part of what is signed.
    ///
    /// # Errors
    /// Where the library refuses a part of the request.
    pub fn signed(self, credentials: &Credentials, now: Timestamp) -> Result<SignedRequest, CannotSign> {
        let identity = Keys::new(
            credentials.access_key_id(),
            credentials.secret_access_key(),
            Some(credentials.session_token().to_owned()),
            None,
            "session",
        )
        .into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region(&self.signing_region)
            .name(self.signing_name)
            .time(UNIX_EPOCH + Duration::from_secs(now.seconds()))
            .settings(settings(self.signing_name));
        let params = params.build().map_err(|error| CannotSign(error.to_string()))?.into();
        let mut headers = self.headers.clone();
        headers.push(("host".to_owned(), self.host.clone()));
        let url = self.url();
        let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let request = SignableRequest::new(self.method, url.as_str(), pairs, SignableBody::Bytes(&self.body));
        let request = request.map_err(|error| CannotSign(error.to_string()))?;
        let (instructions, _) = sign(request, &params).map_err(|error| CannotSign(error.to_string()))?.into_parts();
        let (added, query) = instructions.into_parts();
        if !query.is_empty() {
            return Err(CannotSign("the signature is not in headers".to_owned()));
        }
        headers.extend(added.iter().map(|header| (header.name().to_owned(), header.value().to_owned())));
        Ok(SignedRequest { method: self.method, url, headers, body: self.body })
    }
}

/// S3 takes the path as it is, and wants the digest of the body in a header; everybody else escapes the path twice.
fn settings(signing_name: &str) -> SigningSettings {
    let mut settings = SigningSettings::default();
    if signing_name == "s3" {
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    }
    settings
}

impl SignedRequest {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

/// Names the request; its headers hold the session's token.
impl fmt::Debug for SignedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedRequest").field("method", &self.method).field("url", &self.url).finish_non_exhaustive()
    }
}
