//! `CreateSession` of IAM Roles Anywhere: the request, and what its answer says. Plain functions; [`super::client`] sends it.

use std::time::Duration;

use rustls::sign::CertifiedKey;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::arn::Arn;
use super::credentials::{Credentials, InvalidCredentials};
use super::endpoint::{Endpoint, Region};
use super::request::SignedRequest;
use super::x509::{self, Prepared, SigningError};
use crate::timestamp::Timestamp;

/// The shortest session that AWS gives.
pub const SHORTEST: Duration = Duration::from_secs(900);

/// The longest answer that is read, in octets.
pub const MAX_ANSWER: usize = 64 * 1024;

/// The most characters of a message of AWS's that are kept.
const MAX_MESSAGE: usize = 500;

/// How much later than asked for a session may end: the clocks of both sides.
pub(super) const SLACK: Duration = Duration::from_secs(300);

/// The trust anchor, profile and role by which sessions are made, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolesAnywhere {
    endpoint: Endpoint,
    region: Region,
    trust_anchor: Arn,
    profile: Arn,
    role: Arn,
}

/// The parts do not belong together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRolesAnywhere {
    /// An ARN is one of something else.
    #[error("`{arn}` is not {what}")]
    Kind {
        /// The ARN.
        arn: Arn,
        /// What it should be one of.
        what: &'static str,
    },
    /// Trust anchor or profile are elsewhere: they and the endpoint are in one region.
    #[error("`{arn}` is not in {region}: trust anchor, profile and endpoint are in one region")]
    Region {
        /// The ARN.
        arn: Arn,
        /// The region of the endpoint.
        region: Region,
    },
    /// They are in different accounts or partitions.
    #[error("`{0}` is in another account or partition than the trust anchor")]
    Account(Arn),
}

/// A session of a role: its credentials, and how AWS names it.
#[derive(Debug)]
pub struct Session {
    /// Its credentials.
    pub credentials: Credentials,
    /// The ARN of the session: `arn:aws:sts::ACCOUNT:assumed-role/ROLE/NAME`.
    pub assumed_role_arn: String,
    /// What CloudTrail shows as `sourceIdentity`, where AWS says it.
    pub source_identity: Option<String>,
    /// How much of the packed size that AWS allows policies and tags it takes, in percent, where AWS says it.
    pub packed_policy_percent: Option<u32>,
}

/// There is no session.
#[derive(Debug, thiserror::Error)]
pub enum CreateSessionError {
    /// The request cannot be signed.
    #[error("`CreateSession` cannot be signed")]
    Signing(#[source] SigningError),
    /// AWS refused this identity, by trust anchor, profile or role.
    #[error("IAM Roles Anywhere refuses the identity ({code}): {message}")]
    Refused {
        /// The code.
        code: String,
        /// What it says.
        message: String,
    },
    /// AWS does not know trust anchor, profile or role, or does not take the request.
    #[error("IAM Roles Anywhere does not take the request ({code}): {message}: look at trust anchor, profile and role")]
    Invalid {
        /// The code.
        code: String,
        /// What it says.
        message: String,
    },
    /// AWS takes no more calls for now.
    #[error(
        "IAM Roles Anywhere takes no more calls for now ({0}): ask AWS for a higher quota of CreateSession, or retry later"
    )]
    Throttled(String),
    /// AWS failed.
    #[error("IAM Roles Anywhere failed with status {0}: retry later")]
    Failed(u16),
    /// There was no answer.
    #[error("IAM Roles Anywhere does not answer: {0}")]
    Silent(String),
    /// The answer is not what AWS documents.
    #[error("the answer is not one of IAM Roles Anywhere: {0}")]
    NotCredible(String),
    /// The answer holds no credentials of a session.
    #[error("the answer of IAM Roles Anywhere holds no credentials")]
    Credentials(#[source] InvalidCredentials),
}

impl CreateSessionError {
    /// Whether the same request can succeed later. It changes nothing in AWS, so that repeating it is safe.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Throttled(_) | Self::Failed(_) | Self::Silent(_))
    }
}

impl RolesAnywhere {
    /// Sessions of `role` by this trust anchor and profile, from `endpoint` in `region`.
    ///
    /// # Errors
    /// The first part that does not fit the others.
    pub fn new(
        endpoint: Endpoint,
        region: Region,
        trust_anchor: Arn,
        profile: Arn,
        role: Arn,
    ) -> Result<Self, InvalidRolesAnywhere> {
        let kind = |arn: &Arn, service, resource, what| match arn.service() == service
            && arn.resource().starts_with(resource)
        {
            true => Ok(()),
            false => Err(InvalidRolesAnywhere::Kind { arn: arn.clone(), what }),
        };
        kind(&trust_anchor, "rolesanywhere", "trust-anchor/", "a trust anchor")?;
        kind(&profile, "rolesanywhere", "profile/", "a profile of IAM Roles Anywhere")?;
        kind(&role, "iam", "role/", "a role")?;
        for arn in [&trust_anchor, &profile] {
            if arn.region() != region.as_str() {
                return Err(InvalidRolesAnywhere::Region { arn: arn.clone(), region });
            }
        }
        for arn in [&profile, &role] {
            if (arn.partition(), arn.account()) != (trust_anchor.partition(), trust_anchor.account()) {
                return Err(InvalidRolesAnywhere::Account(arn.clone()));
            }
        }
        Ok(Self { endpoint, region, trust_anchor, profile, role })
    }

    /// The role.
    pub const fn role(&self) -> &Arn {
        &self.role
    }

    /// The endpoint.
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The region.
    pub const fn region(&self) -> &Region {
        &self.region
    }

    /// The request for a session of [`SHORTEST`], signed at `time` by the key of `identity`.
    ///
    /// # Errors
    /// If the identity is one that AWS would refuse.
    pub fn request(&self, identity: &CertifiedKey, time: Timestamp) -> Result<SignedRequest, SigningError> {
        let (algorithm, signer) = x509::signer(identity)?;
        let body = format!("{{\"durationSeconds\":{}}}", SHORTEST.as_secs());
        let query = [
            ("profileArn", self.profile.as_str()),
            ("roleArn", self.role.as_str()),
            ("trustAnchorArn", self.trust_anchor.as_str()),
        ];
        let request = x509::Request {
            host: self.endpoint.host(),
            region: self.region.as_str(),
            query: &query,
            headers: &[],
            body: body.as_bytes(),
            time,
        };
        let prepared = Prepared::new(&request, algorithm, &identity.cert)?;
        let authorization = prepared.sign(signer.as_ref())?;
        let headers = prepared.headers().iter().cloned().chain([("authorization".to_owned(), authorization)]).collect();
        Ok(SignedRequest {
            method: "POST",
            url: format!("{}{}?{}", self.endpoint.origin(), x509::PATH, prepared.query()),
            headers,
            body: body.into_bytes(),
        })
    }

    /// What an answer to [`RolesAnywhere::request`] says that came at `now`: its status, its header `x-amzn-errortype`,
    /// and its body.
    ///
    /// # Errors
    /// If it is anything but a session of the role that was asked for.
    pub fn session(
        &self,
        status: u16,
        error_type: Option<&str>,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Session, CreateSessionError> {
        if status != 201 {
            return Err(refusal(status, error_type, body));
        }
        let not_credible = |what: &str| CreateSessionError::NotCredible(what.to_owned());
        // The error of the parser could quote what is secret.
        let answer: Created = serde_json::from_slice(body).map_err(|_| not_credible("no JSON with `credentialSet`"))?;
        let [entry] =
            <[Entry; 1]>::try_from(answer.credential_set).map_err(|_| not_credible("not one `credentialSet`"))?;
        if entry.role_arn != self.role.as_str() {
            return Err(not_credible("a session of another role"));
        }
        let ends = entry.credentials.expiration;
        if ends <= now || ends > now.saturating_add(SHORTEST + SLACK) {
            return Err(CreateSessionError::NotCredible(format!("a session that ends at {ends}, and it is {now}")));
        }
        let named = |text: &str| (1..=2048).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        let arn = entry.assumed_role_user.arn;
        if !named(&arn) || !entry.source_identity.iter().all(|text| named(text)) {
            return Err(not_credible("names that AWS does not give"));
        }
        let Parts { access_key_id, secret_access_key, session_token, expiration } = entry.credentials;
        let credentials = Credentials::new(access_key_id, secret_access_key.0, session_token.0, expiration)
            .map_err(CreateSessionError::Credentials)?;
        Ok(Session {
            credentials,
            assumed_role_arn: arn,
            source_identity: entry.source_identity,
            packed_policy_percent: entry.packed_policy_size,
        })
    }
}

/// The members that are used; AWS adds others.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Created {
    credential_set: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    role_arn: String,
    assumed_role_user: AssumedRoleUser,
    credentials: Parts,
    #[serde(default)]
    packed_policy_size: Option<u32>,
    #[serde(default)]
    source_identity: Option<String>,
}

#[derive(Deserialize)]
struct AssumedRoleUser {
    arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parts {
    access_key_id: String,
    secret_access_key: Hidden,
    session_token: Hidden,
    expiration: Timestamp,
}

/// A text that is zeroized, from wherever parsing stops.
struct Hidden(Zeroizing<String>);

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

fn refusal(status: u16, error_type: Option<&str>, body: &[u8]) -> CreateSessionError {
    let said: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let member = |names: &[&str]| {
        let said = said.as_ref()?;
        names.iter().find_map(|name| said.get(name)?.as_str())
    };
    let code = error_type.or_else(|| member(&["__type", "code"])).map(short_code).unwrap_or_default();
    let message = printable(member(&["message", "Message"]).unwrap_or("no message"));
    let shown = if code.is_empty() { format!("status {status}") } else { code.clone() };
    match (status, code.as_str()) {
        (429, _) | (_, "ThrottlingException" | "TooManyRequestsException" | "Throttling" | "RequestLimitExceeded") => {
            CreateSessionError::Throttled(shown)
        }
        (403, _) | (401, _) => CreateSessionError::Refused { code: shown, message },
        (400..=499, _) => CreateSessionError::Invalid { code: shown, message },
        (500..=599, _) => CreateSessionError::Failed(status),
        _ => CreateSessionError::NotCredible(format!("status {status}")),
    }
}

/// `a.b#Name:http://...` is `Name`.
fn short_code(text: &str) -> String {
    let name = text.split(':').next().unwrap_or_default();
    let name = name.rsplit('#').next().unwrap_or_default();
    name.chars().filter(char::is_ascii_alphanumeric).take(100).collect()
}

pub(super) fn printable(text: &str) -> String {
    let printable = |character: char| if character.is_control() { char::REPLACEMENT_CHARACTER } else { character };
    text.chars().take(MAX_MESSAGE).map(printable).collect()
}

#[cfg(test)]
mod tests;
