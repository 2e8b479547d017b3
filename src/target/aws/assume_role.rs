//! `AssumeRole` and `AssumeRoleWithWebIdentity`: to a session that can make the certified call alone.
//!
//! The session policy is part of the call, so that AWS holds it against every use of the credentials. It is asked of the
//! regional STS, with the credentials of a first session or with a token, which are used for nothing else.

use aws_sdk_sts::config::retry::RetryConfig;
use aws_sdk_sts::config::{IdentityCache, Region as SdkRegion};
use aws_sdk_sts::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_sts::operation::assume_role::AssumeRoleOutput;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityOutput;
use aws_sdk_sts::types::{AssumedRoleUser, Credentials as SdkCredentials, Tag};
use aws_smithy_runtime_api::client::http::http_client_fn;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use super::arn::Arn;
use super::client::Client;
use super::create_session::{SHORTEST, SLACK, Session, printable};
use super::credentials::{Credentials, InvalidCredentials};
use super::endpoint::{Endpoint, Region};
use super::policy::MAX_POLICY;
use crate::clock;
use crate::identity::JwtSvid;
use crate::timestamp::Timestamp;

/// The most tags of one session.
pub const MAX_TAGS: usize = 50;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssumeRole {
    role: Arn,
    session_name: String,
    policy: String,
    source_identity: Option<String>,
    tags: Vec<(String, String)>,
}

/// STS would not take it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAssumeRole {
    /// The ARN is none of a role.
    #[error("`{0}` is not a role")]
    Role(Arn),
    /// The name of the session, or its source identity, has another form.
    #[error("`{0}` is not 2 to 64 letters, digits and `_+=,.@-`")]
    Name(String),
    /// There is no policy, or it is too long.
    #[error("the session policy has {0} characters, and AWS takes 1 to {MAX_POLICY}")]
    Policy(usize),
    /// A tag has another form.
    #[error("`{0}` is not the key of a session tag with a value of at most 256 characters")]
    Tag(String),
    /// There are too many, or one key twice.
    #[error("{0} session tags: at most {MAX_TAGS} with different keys")]
    Tags(usize),
}

/// There is no session.
#[derive(Debug, thiserror::Error)]
pub enum AssumeRoleError {
    /// STS refused it: trust policy of the role, or policy of the first session's role.
    #[error("STS refuses the session ({code}): {message}")]
    Refused {
        /// The code.
        code: String,
        /// What it says.
        message: String,
    },
    /// STS does not take the request: the policy with all tags is too large when packed, say.
    #[error("STS does not take the request ({code}): {message}")]
    Invalid {
        /// The code.
        code: String,
        /// What it says.
        message: String,
    },
    /// STS takes no more calls for now.
    #[error("STS takes no more calls for now ({0}): retry later")]
    Throttled(String),
    /// STS failed.
    #[error("STS failed with status {0}: retry later")]
    Failed(u16),
    /// There was no answer.
    #[error("STS does not answer: {0}")]
    Silent(String),
    /// The answer is not what AWS documents.
    #[error("the answer is not one of STS: {0}")]
    NotCredible(String),
    /// The answer holds no credentials of a session.
    #[error("the answer of STS holds no credentials")]
    Credentials(#[source] InvalidCredentials),
}

impl AssumeRoleError {
    /// Whether the same request can succeed later. It changes nothing in AWS, so that repeating it is safe.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Throttled(_) | Self::Failed(_) | Self::Silent(_))
    }
}

impl AssumeRole {
    /// A session of `role`, called `session_name` (the mutation id), under `policy`.
    ///
    /// `source_identity` is left out where the first session has one already: it stays, and cannot be replaced. No tag
    /// is passed on to further sessions.
    ///
    /// # Errors
    /// The first part that STS would refuse.
    pub fn new(
        role: Arn,
        session_name: &str,
        policy: String,
        source_identity: Option<&str>,
        tags: Vec<(String, String)>,
    ) -> Result<Self, InvalidAssumeRole> {
        if role.service() != "iam" || !role.resource().starts_with("role/") {
            return Err(InvalidAssumeRole::Role(role));
        }
        let name = |text: &str| {
            (2..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b))
        };
        if let Some(bad) = [Some(session_name), source_identity].into_iter().flatten().find(|text| !name(text)) {
            return Err(InvalidAssumeRole::Name(bad.chars().take(80).collect()));
        }
        match policy.chars().count() {
            1..=MAX_POLICY => {}
            size => return Err(InvalidAssumeRole::Policy(size)),
        }
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b" _.:/=+-@".contains(&b));
        let tag = |key: &str, value: &str| {
            (1..=128).contains(&key.len())
                && value.len() <= 256
                && plain(key)
                && plain(value)
                && !key.starts_with("aws:")
        };
        if let Some((key, _)) = tags.iter().find(|(key, value)| !tag(key, value)) {
            return Err(InvalidAssumeRole::Tag(key.chars().take(80).collect()));
        }
        // AWS does not tell keys apart by case.
        let mut keys: Vec<_> = tags.iter().map(|(key, _)| key.to_ascii_lowercase()).collect();
        keys.sort();
        keys.dedup();
        if keys.len() != tags.len() || tags.len() > MAX_TAGS {
            return Err(InvalidAssumeRole::Tags(tags.len()));
        }
        let (session_name, source_identity) = (session_name.to_owned(), source_identity.map(str::to_owned));
        Ok(Self { role, session_name, policy, source_identity, tags })
    }

    /// The ARN that the session has.
    fn assumed_role_arn(&self) -> String {
        let name = self.role.resource().rsplit('/').next().unwrap_or_default();
        let (partition, account) = (self.role.partition(), self.role.account());
        format!("arn:{partition}:sts::{account}:assumed-role/{name}/{}", self.session_name)
    }

    fn session(&self, answer: Answer, now: Timestamp) -> Result<Session, AssumeRoleError> {
        let not_credible = |what: &str| AssumeRoleError::NotCredible(what.to_owned());
        let Answer { credentials, assumed_role_user, packed_policy_size, source_identity } = answer;
        let parts = credentials.ok_or_else(|| not_credible("no credentials"))?;
        let (secret, token) = (Zeroizing::new(parts.secret_access_key), Zeroizing::new(parts.session_token));
        let expiration = u64::try_from(parts.expiration.secs()).ok().and_then(|it| Timestamp::from_seconds(it).ok());
        let expiration = expiration.ok_or_else(|| not_credible("no time of expiration"))?;
        if expiration <= now || expiration > now.saturating_add(SHORTEST + SLACK) {
            return Err(AssumeRoleError::NotCredible(format!("a session that ends at {expiration}, and it is {now}")));
        }
        let arn = assumed_role_user.map(|user| user.arn).unwrap_or_default();
        if arn != self.assumed_role_arn() {
            return Err(not_credible("a session of another role or name"));
        }
        if self.source_identity.is_some() && source_identity != self.source_identity {
            return Err(not_credible("a session with another source identity"));
        }
        let credentials = Credentials::new(parts.access_key_id, secret, token, expiration);
        Ok(Session {
            credentials: credentials.map_err(AssumeRoleError::Credentials)?,
            assumed_role_arn: arn,
            source_identity,
            packed_policy_percent: packed_policy_size.and_then(|percent| u32::try_from(percent).ok()),
        })
    }
}

/// What the answers of both calls have in common.
struct Answer {
    credentials: Option<SdkCredentials>,
    assumed_role_user: Option<AssumedRoleUser>,
    packed_policy_size: Option<i32>,
    source_identity: Option<String>,
}

impl From<AssumeRoleOutput> for Answer {
    fn from(output: AssumeRoleOutput) -> Self {
        let AssumeRoleOutput { credentials, assumed_role_user, packed_policy_size, source_identity, .. } = output;
        Self { credentials, assumed_role_user, packed_policy_size, source_identity }
    }
}

impl From<AssumeRoleWithWebIdentityOutput> for Answer {
    fn from(output: AssumeRoleWithWebIdentityOutput) -> Self {
        let AssumeRoleWithWebIdentityOutput {
            credentials, assumed_role_user, packed_policy_size, source_identity, ..
        } = output;
        Self { credentials, assumed_role_user, packed_policy_size, source_identity }
    }
}

impl Client {
    /// The session that `asked` describes, from the STS at `endpoint`, for whoever has `credentials`. Tried until
    /// `deadline` at most; again where STS takes no more calls for now, failed or did not answer.
    ///
    /// # Errors
    /// What it came to at last.
    pub async fn assume_role(
        &self,
        (endpoint, region): (&Endpoint, &Region),
        credentials: &Credentials,
        asked: &AssumeRole,
        deadline: Instant,
    ) -> Result<Session, AssumeRoleError> {
        let caller = aws_sdk_sts::config::Credentials::new(
            credentials.access_key_id(),
            credentials.secret_access_key(),
            Some(credentials.session_token().to_owned()),
            None,
            "seb",
        );
        let config = self.sts_config((endpoint, region), deadline).credentials_provider(caller).build();
        let mut call = aws_sdk_sts::Client::from_conf(config)
            .assume_role()
            .role_arn(asked.role.as_str())
            .role_session_name(&asked.session_name)
            .policy(&asked.policy)
            .duration_seconds(seconds())
            .set_source_identity(asked.source_identity.clone());
        for (key, value) in &asked.tags {
            let tag = Tag::builder().key(key).value(value).build();
            call = call.tags(tag.map_err(|error| AssumeRoleError::NotCredible(error.to_string()))?);
        }
        let answer = timeout_at(deadline, call.send()).await;
        let answer = answer.map_err(|_| AssumeRoleError::Silent("no answer in time".to_owned()))?;
        asked.session(answer.map_err(refusal)?.into(), now()?)
    }

    /// The session that `asked` describes, for whoever has `token`, and the subject that STS read in that. Nothing is signed:
    /// source identity and tags of `asked` are not sent, because only the token could have them. Tried as
    /// [`Client::assume_role`] is.
    ///
    /// # Errors
    /// What it came to at last.
    pub async fn assume_role_with_web_identity(
        &self,
        (endpoint, region): (&Endpoint, &Region),
        token: &JwtSvid,
        asked: &AssumeRole,
        deadline: Instant,
    ) -> Result<(Session, Option<String>), AssumeRoleError> {
        let config = self.sts_config((endpoint, region), deadline).build();
        let call = aws_sdk_sts::Client::from_conf(config)
            .assume_role_with_web_identity()
            .role_arn(asked.role.as_str())
            .role_session_name(&asked.session_name)
            .web_identity_token(token.as_str())
            .policy(&asked.policy)
            .duration_seconds(seconds());
        let answer = timeout_at(deadline, call.send()).await;
        let answer = answer.map_err(|_| AssumeRoleError::Silent("no answer in time".to_owned()))?;
        let mut answer = answer.map_err(refusal)?;
        let subject = answer.subject_from_web_identity_token.take();
        Ok((asked.session(answer.into(), now()?)?, subject))
    }

    /// For one call: the SDK keeps nothing of it.
    fn sts_config(&self, (endpoint, region): (&Endpoint, &Region), deadline: Instant) -> aws_sdk_sts::config::Builder {
        let connector = self.connector(endpoint, deadline);
        aws_sdk_sts::Config::builder()
            .behavior_version_latest()
            .region(SdkRegion::new(region.as_str().to_owned()))
            .endpoint_url(endpoint.origin())
            .identity_cache(IdentityCache::no_cache())
            .retry_config(RetryConfig::standard().with_max_attempts(3))
            .http_client(http_client_fn(move |_, _| connector.clone()))
    }
}

fn seconds() -> i32 {
    i32::try_from(SHORTEST.as_secs()).unwrap_or(i32::MAX)
}

fn now() -> Result<Timestamp, AssumeRoleError> {
    clock::now().map_err(|error| AssumeRoleError::Silent(error.to_string()))
}

fn refusal<E: ProvideErrorMetadata + std::error::Error + 'static>(error: SdkError<E>) -> AssumeRoleError {
    let (status, code, message) = match &error {
        SdkError::ServiceError(service) => {
            let meta = service.err().meta();
            let text = |text: Option<&str>| printable(text.unwrap_or("none given"));
            (service.raw().status().as_u16(), text(meta.code()), text(meta.message()))
        }
        SdkError::ResponseError(response) => {
            return AssumeRoleError::NotCredible(format!("status {}", response.raw().status().as_u16()));
        }
        _ => return AssumeRoleError::Silent(printable(&DisplayErrorContext(&error).to_string())),
    };
    match (status, code.as_str()) {
        (429, _) | (_, "Throttling" | "ThrottlingException" | "RequestLimitExceeded") => {
            AssumeRoleError::Throttled(code)
        }
        (401 | 403, _) => AssumeRoleError::Refused { code, message },
        // STS could not ask the issuer for its keys.
        (_, "IDPCommunicationError") => AssumeRoleError::Failed(status),
        (500..=599, _) => AssumeRoleError::Failed(status),
        (400..=499, _) => AssumeRoleError::Invalid { code, message },
        _ => AssumeRoleError::NotCredible(format!("status {status}, and no session")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: &str = "arn:aws:iam::123456789012:role/seb/execution";

    fn asked(role: &str, name: &str, policy: &str, source: Option<&str>, tags: &[(&str, &str)]) -> Option<AssumeRole> {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        AssumeRole::new(role.parse().unwrap(), name, policy.to_owned(), source, tags).ok()
    }

    #[test]
    fn what_sts_would_refuse_is_not_asked() {
        let good = asked(ROLE, "m-1", "{}", Some("CN=m-1"), &[("seb:mutation", "m-1")]).unwrap();
        assert_eq!(good.assumed_role_arn(), "arn:aws:sts::123456789012:assumed-role/execution/m-1");
        let long = "x".repeat(MAX_POLICY + 1);
        let wide = "v".repeat(257);
        for (role, name, policy, source, tags) in [
            ("arn:aws:iam::123456789012:user/u", "m-1", "{}", None, &[][..]),
            (ROLE, "m", "{}", None, &[]),
            (ROLE, "m/1", "{}", None, &[]),
            (ROLE, "m-1", "", None, &[]),
            (ROLE, "m-1", &long, None, &[]),
            (ROLE, "m-1", "{}", Some("a b"), &[]),
            (ROLE, "m-1", "{}", None, &[("aws:x", "y")]),
            (ROLE, "m-1", "{}", None, &[("k", wide.as_str())]),
            (ROLE, "m-1", "{}", None, &[("k", "a"), ("K", "b")]),
            (ROLE, "m-1", "{}", None, &[("k", "a*")]),
        ] {
            assert_eq!(asked(role, name, policy, source, tags), None, "{name} {tags:?}");
        }
    }
}
