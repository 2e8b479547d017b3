//! From an execution identity to the session of its one call.
//!
//! Three ways, one for each target. What must be true of each: the session can make the certified call alone, by the same
//! session policy, and ends in effect with the execution identity; nothing of it is kept. What they differ in is who AWS
//! sees ([`Exchange::binding`]), and how many calls it takes:
//!
//! | exchange | calls for each mutation | AWS sees |
//! |---|---|---|
//! | [`PerMutation`] | 2 | the execution SVID; a source identity of the mutation's own |
//! | [`Pooled`] | 1 | the broker's SVID; the mutation in the session's name and tag |
//! | [`WebIdentity`] | 1 | the execution JWT-SVID; the mutation in subject and session name |

mod per_mutation;
mod pooled;
mod web_identity;

use tokio::time::Instant;

pub use self::per_mutation::PerMutation;
pub use self::pooled::{Own, Pooled};
pub use self::web_identity::WebIdentity;
use super::arn::Arn;
use super::assume_role::{AssumeRole, AssumeRoleError, InvalidAssumeRole};
use super::client::Client;
use super::create_session::{CreateSessionError, Session};
use super::credentials::Credentials;
use super::endpoint::{Endpoint, Region};
use super::policy::{Conditions, PolicyError, session_policy};
use crate::contract::AwsResource;
use crate::identity::{ExecutionIdentity, Form, Plan, WrongForm};
use crate::timestamp::InvalidTimestamp;

/// The tag by which a session names its mutation: `aws:PrincipalTag/seb:mutation`.
pub const TAG: &str = "seb:mutation";

/// How execution identities become sessions.
#[derive(Debug)]
pub enum Exchange {
    /// Each mutation by a session of its own, which its own execution identity asks for.
    PerMutation(PerMutation),
    /// Each mutation by a session that the broker's own session asks for.
    Pooled(Pooled),
    /// Each mutation by a session that the execution identity's token asks for.
    WebIdentity(WebIdentity),
}

/// The role whose sessions make mutations, and the STS that gives them.
#[derive(Debug)]
struct Performer {
    client: Client,
    sts: Endpoint,
    region: Region,
    role: Arn,
}

/// There is no session; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The call is in another account than the role.
    #[error("the call is in account {called}, and the role is in {role}: use a role of the account")]
    Account {
        /// The account of the call.
        called: String,
        /// The account of the role.
        role: String,
    },
    /// No policy says exactly what is certified.
    #[error("no session can be narrowed to the call")]
    Policy(#[source] PolicyError),
    /// The identity is of another form.
    #[error("the identity cannot be shown to AWS")]
    Form(#[source] WrongForm),
    /// The first call.
    #[error("no session of the bootstrap role")]
    CreateSession(#[source] CreateSessionError),
    /// A session says that it is somebody else's.
    #[error(
        "a session with the source identity `{0}`, which is not this mutation's: look at the attribute mappings of the profile"
    )]
    SourceIdentity(String),
    /// A session says that it came from another token.
    #[error("a session for the subject `{0}`, which is not this mutation's")]
    Subject(String),
    /// The second call cannot be made.
    #[error("no session of the role can be asked for")]
    Request(#[source] InvalidAssumeRole),
    /// The second call.
    #[error("no session of the role")]
    AssumeRole(#[source] AssumeRoleError),
    /// The time is not known.
    #[error("the time is not known")]
    Clock(#[source] InvalidTimestamp),
    /// Nobody else's attempt came to an end in time.
    #[error("no session of the bootstrap role in time: others wait for it as well")]
    Waited,
}

impl ExchangeError {
    /// Whether the same can succeed later, with another identity.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::CreateSession(error) => error.is_retryable(),
            Self::AssumeRole(error) => error.is_retryable(),
            Self::Waited => true,
            _ => false,
        }
    }
}

impl Exchange {
    /// The form of execution identity that it takes.
    pub fn form(&self) -> Form {
        match self {
            Self::PerMutation(_) | Self::Pooled(_) => Form::X509,
            Self::WebIdentity(exchange) => exchange.form(),
        }
    }

    /// The name, as configurations have it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::PerMutation(_) => "per-mutation",
            Self::Pooled(_) => "pooled",
            Self::WebIdentity(_) => "web-identity",
        }
    }

    /// What the session is bound to and what not, for the record.
    pub const fn binding(&self) -> &'static str {
        match self {
            Self::PerMutation(_) => {
                "session of the execution identity: source identity, name and tag are the mutation's, the policy is the \
                 call's, for seconds"
            }
            Self::Pooled(_) => {
                "session by the broker's own: name and tag are the mutation's, the policy is the call's, for seconds; the \
                 source identity is the broker's, and AWS did not see the execution identity"
            }
            Self::WebIdentity(_) => {
                "session of the execution identity's token: subject and name are the mutation's, the policy is the call's, \
                 for seconds; no source identity and no tag"
            }
        }
    }

    /// How many calls to AWS one mutation takes before its own.
    pub const fn calls(&self) -> u32 {
        match self {
            Self::PerMutation(_) => 2,
            Self::Pooled(_) | Self::WebIdentity(_) => 1,
        }
    }

    /// A session that can do what `resource` says until `identity` ends, and nothing else. `identity` is used up.
    ///
    /// # Errors
    /// What stands in the way. What can be known before a call is an error before it.
    pub async fn session(
        &self,
        identity: ExecutionIdentity,
        resource: &AwsResource,
        deadline: Instant,
    ) -> Result<Session, ExchangeError> {
        match self {
            Self::PerMutation(exchange) => exchange.session(identity, resource, deadline).await,
            Self::Pooled(exchange) => exchange.session(identity, resource, deadline).await,
            Self::WebIdentity(exchange) => exchange.session(identity, resource, deadline).await,
        }
    }
}

impl Performer {
    /// What is asked for the mutation of `plan`: its name, and the policy of the call until it ends.
    fn asked(&self, plan: &Plan, resource: &AwsResource, tagged: bool) -> Result<AssumeRole, ExchangeError> {
        if resource.account != self.role.account() {
            let (called, role) = (resource.account.clone(), self.role.account().to_owned());
            return Err(ExchangeError::Account { called, role });
        }
        let mutation = plan.mutation().to_string();
        let policy = session_policy(resource, &Conditions::new(), plan.not_after()).map_err(ExchangeError::Policy)?;
        let tags = tagged.then(|| (TAG.to_owned(), mutation.clone())).into_iter().collect();
        AssumeRole::new(self.role.clone(), &mutation, policy, None, tags).map_err(ExchangeError::Request)
    }

    async fn assume(
        &self,
        caller: &Credentials,
        asked: &AssumeRole,
        deadline: Instant,
    ) -> Result<Session, ExchangeError> {
        let session = self.client.assume_role((&self.sts, &self.region), caller, asked, deadline).await;
        session.map_err(ExchangeError::AssumeRole)
    }
}

/// Whether a session, where it says whose it is, is this mutation's.
fn own(session: &Session, mutation: &str) -> Result<(), ExchangeError> {
    match &session.source_identity {
        Some(source) if source.strip_prefix("CN=").unwrap_or(source) != mutation => {
            Err(ExchangeError::SourceIdentity(source.clone()))
        }
        _ => Ok(()),
    }
}
