//! The forms of execution identities: what a target takes, and the token of those that are no certificates.

use std::fmt;

use zeroize::Zeroizing;

/// The most audiences of one JWT-SVID.
pub const MAX_AUDIENCES: usize = 4;

/// The longest audience, in octets.
pub const MAX_AUDIENCE_OCTETS: usize = 1024;

/// The form of an execution identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// An X509-SVID: a certificate with a key, for the handshake of one connection.
    X509,
    /// A JWT-SVID: a token, for one header of one request.
    Jwt {
        /// Whom it is for: 1 to [`MAX_AUDIENCES`] different texts of 1 to [`MAX_AUDIENCE_OCTETS`] visible ASCII
        /// characters. The token has exactly these.
        audiences: Vec<String>,
    },
}

/// The audiences cannot be those of a JWT-SVID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAudiences {
    /// There are none, or too many.
    #[error("{0} audiences: a JWT-SVID has 1 to {MAX_AUDIENCES}")]
    Count(usize),
    /// One is empty, too long, or has other characters than visible ones.
    #[error("the audience `{0}` is not 1 to {MAX_AUDIENCE_OCTETS} visible ASCII characters")]
    Text(String),
    /// One occurs twice.
    #[error("the audience `{0}` occurs twice")]
    Repeated(String),
}

impl Form {
    /// Its name, as records and configurations have it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::X509 => "x509",
            Self::Jwt { .. } => "jwt",
        }
    }

    /// The audiences; none of an X509-SVID.
    pub fn audiences(&self) -> Option<&[String]> {
        match self {
            Self::X509 => None,
            Self::Jwt { audiences } => Some(audiences),
        }
    }

    /// Refuses audiences that no JWT-SVID is minted with.
    pub(super) fn check(&self) -> Result<(), InvalidAudiences> {
        let Some(audiences) = self.audiences() else { return Ok(()) };
        if !(1..=MAX_AUDIENCES).contains(&audiences.len()) {
            return Err(InvalidAudiences::Count(audiences.len()));
        }
        let usable = |text: &str| {
            (1..=MAX_AUDIENCE_OCTETS).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_graphic())
        };
        let start = |text: &String| text.chars().take(80).collect::<String>();
        for (place, audience) in audiences.iter().enumerate() {
            if !usable(audience) {
                return Err(InvalidAudiences::Text(start(audience)));
            }
            if audiences.iter().take(place).any(|other| other == audience) {
                return Err(InvalidAudiences::Repeated(start(audience)));
            }
        }
        Ok(())
    }
}

/// The execution identity has another form than the one that was asked for; it is destroyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the execution identity has the form `{has}`, and the target takes `{wanted}`")]
pub struct WrongForm {
    /// The form that it has.
    pub has: &'static str,
    /// The form that was asked for.
    pub wanted: &'static str,
}

/// A JWT-SVID: whoever has the text can act as its subject. It cannot be copied, and is zeroized when it is dropped.
pub struct JwtSvid(Zeroizing<String>);

impl JwtSvid {
    /// The token with this text.
    pub(super) const fn new(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    /// The text, for the one `Authorization` header that it is for.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Never shows the token.
impl fmt::Debug for JwtSvid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JwtSvid(not shown)")
    }
}
