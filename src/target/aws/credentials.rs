//! AWS credentials of a session: in memory only, never shown, zeroized when dropped (I5).

use std::fmt;

use zeroize::Zeroizing;

use crate::timestamp::Timestamp;

/// The longest session token that is taken, in octets: AWS names no bound, and has given fewer than 4096.
const MAX_TOKEN: usize = 16 * 1024;

/// The credentials of one session. They cannot be copied, and nothing serializes them.
pub struct Credentials {
    access_key_id: String,
    secret_access_key: Zeroizing<String>,
    session_token: Zeroizing<String>,
    expiration: Timestamp,
}

/// What came cannot be credentials of a session. Says nothing of its octets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not what one of a session is")]
pub struct InvalidCredentials(&'static str);

impl Credentials {
    /// Credentials with these parts: the secret ones are moved, not copied.
    ///
    /// # Errors
    /// If a part has a form that AWS gives none.
    pub fn new(
        access_key_id: String,
        secret_access_key: Zeroizing<String>,
        session_token: Zeroizing<String>,
        expiration: Timestamp,
    ) -> Result<Self, InvalidCredentials> {
        let sized = |text: &str, most: usize| (1..=most).contains(&text.len());
        if !(16..=128).contains(&access_key_id.len())
            || !access_key_id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        {
            return Err(InvalidCredentials("accessKeyId"));
        }
        if !sized(&secret_access_key, 256) || !secret_access_key.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(InvalidCredentials("secretAccessKey"));
        }
        if !sized(&session_token, MAX_TOKEN) || !session_token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(InvalidCredentials("sessionToken"));
        }
        Ok(Self { access_key_id, secret_access_key, session_token, expiration })
    }

    /// The access key id: no secret, CloudTrail names the session by it.
    pub fn access_key_id(&self) -> &str {
        &self.access_key_id
    }

    /// The secret key, for the one signature that it is for.
    pub fn secret_access_key(&self) -> &str {
        &self.secret_access_key
    }

    /// The token, for the one header that it is for.
    pub fn session_token(&self) -> &str {
        &self.session_token
    }

    /// When they end, as AWS says it.
    pub const fn expiration(&self) -> Timestamp {
        self.expiration
    }
}

/// Names the session, and never shows what is secret.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .field("expiration", &self.expiration)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(id: &str, secret: &str, token: &str) -> Result<Credentials, InvalidCredentials> {
        let hidden = |text: &str| Zeroizing::new(text.to_owned());
        Credentials::new(id.to_owned(), hidden(secret), hidden(token), Timestamp::END)
    }

    #[test]
    fn i5_credentials_are_not_shown() {
        let shown = format!("{:?}", made("ASIAEXAMPLEEXAMPLE00", "very/secret+key=", "very-secret-token").unwrap());
        assert!(shown.contains("ASIAEXAMPLEEXAMPLE00") && !shown.contains("secret"), "{shown}");
    }

    #[test]
    fn parts_keep_their_form_and_errors_show_none() {
        let long = "x".repeat(MAX_TOKEN + 1);
        for (id, secret, token, part) in [
            ("short", "s", "t", "accessKeyId"),
            ("ASIAEXAMPLE/EXAMPLE0", "s", "t", "accessKeyId"),
            ("ASIAEXAMPLEEXAMPLE00", "", "t", "secretAccessKey"),
            ("ASIAEXAMPLEEXAMPLE00", "a\nb", "t", "secretAccessKey"),
            ("ASIAEXAMPLEEXAMPLE00", "s", "a b", "sessionToken"),
            ("ASIAEXAMPLEEXAMPLE00", "s", &long, "sessionToken"),
        ] {
            assert_eq!(made(id, secret, token).unwrap_err(), InvalidCredentials(part));
        }
    }
}
