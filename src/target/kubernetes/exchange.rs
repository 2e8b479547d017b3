//! From an execution identity to the credential of one request: of the call, or of a rehearsal of it.
//!
//! What must stay true: the credential of a call is of one mutation, used once, and ended with it; and what rehearses is
//! never what could make the call.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use http::{HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::answer::Status;
use super::connection::{Answer, Pool, Sent};
use super::plan::Wire;
use super::reader::TokenFile;
use super::urn::{Operation, call_urn};
use super::{Failure, bearer, request};
use crate::ceiling::Pattern;
use crate::contract::{Call, KubernetesResource, Verb};
use crate::decision::{MutationId, Terms};
use crate::identity::{ExecutionIdentity, Form, MAX_AUDIENCE_OCTETS};
use crate::target::Rehearser;
use crate::telemetry::{Shown, log};

/// The shortest life of a service account's token that an API server grants, in seconds.
const TOKEN_SECONDS: u32 = 600;

/// How an execution identity becomes what the API server authenticates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exchange {
    /// The identity is a JWT-SVID with the exact call in its second audience, and the API server takes it as it is
    /// (structured authentication).
    JwtSvid {
        /// The first audience: the one that the API server's `AuthenticationConfiguration` names.
        audience: Audience,
    },
    /// A token of an executor service account is requested for each mutation. It is bound to a Secret that exists for this
    /// mutation.
    ProjectedToken {
        /// The service accounts that mutations are made by: each call by the first that is for it.
        executors: Vec<Executor>,
        /// The audience of the token; left out, the API server's own.
        audience: Option<Audience>,
        /// By which identity the token is requested.
        requester: Requester,
    },
}

impl Exchange {
    /// Whether there is somebody to rehearse every call.
    pub fn rehearses(&self) -> bool {
        match self {
            Self::ProjectedToken { requester: Requester::TokenFile(_), executors, .. } => {
                executors.iter().all(|executor| executor.rehearser.is_some())
            }
            Self::JwtSvid { .. } | Self::ProjectedToken { .. } => true,
        }
    }
}

/// A service account that mutations are made by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executor {
    /// The service account.
    pub service_account: ServiceAccount,
    /// The calls that it is for; `None`: all.
    pub calls: Option<Calls>,
    /// The service account that rehearses its calls, where execution identities cannot: the policies of the API server hold
    /// it to dry runs.
    pub rehearser: Option<ServiceAccount>,
}

/// Calls by what they do, and to what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calls {
    /// The verbs, each of them.
    pub verbs: Vec<Verb>,
    /// The paths of the resources, each of them.
    pub resources: Vec<Pattern>,
}

impl Calls {
    fn have(&self, call: &Call) -> bool {
        let matched = |path: &String| self.resources.iter().any(|pattern| pattern.matches(path));
        let paths = call.resource().paths();
        self.verbs.contains(call.verb()) && !paths.is_empty() && paths.iter().all(matched)
    }
}

/// A service account, written `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccount {
    namespace: String,
    name: String,
}

/// Whom a token is for: 1 to 1024 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audience(String);

/// The text is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct InvalidText(&'static str);

impl fmt::Display for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl FromStr for ServiceAccount {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let label = |text: &str| {
            let ends = [text.bytes().next(), text.bytes().last()];
            ends.into_iter().all(|end| end.is_some_and(plain)) && text.bytes().all(|b| plain(b) || b == b'-')
        };
        match text.split_once('/') {
            Some((namespace, name))
                if namespace.len() <= 63 && name.len() <= 253 && label(namespace) && name.split('.').all(label) =>
            {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err(InvalidText("a service account, such as `seb-system/executor`")),
        }
    }
}

impl FromStr for Audience {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        match (1..=MAX_AUDIENCE_OCTETS).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
            true => Ok(Self(text.to_owned())),
            false => Err(InvalidText("1 to 1024 visible ASCII characters")),
        }
    }
}

/// Who requests a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requester {
    /// The execution identity, as a JWT-SVID that names the request for this token in its second audience. That lets it make
    /// and delete the Secret, too, by the policies of the API server.
    JwtSvid {
        /// The first audience.
        audience: Audience,
    },
    /// The broker itself, by the token in this file: for API servers that cannot be configured.
    TokenFile(PathBuf),
}

/// The exchange of one target, with what it keeps.
#[derive(Debug)]
pub(super) struct Exchanger {
    exchange: Exchange,
    token: Option<TokenFile>,
}

/// The credential of one mutation.
pub(super) struct Credential {
    pub(super) bearer: HeaderValue,
    /// The Secret that ends it, which has the mutation's id as its name, and the bearer that may delete that.
    secret: Option<(KubernetesResource, HeaderValue)>,
}

impl Exchanger {
    pub(super) fn new(exchange: Exchange) -> Self {
        let token = match &exchange {
            Exchange::ProjectedToken { requester: Requester::TokenFile(path), .. } => {
                Some(TokenFile::new(path.clone()))
            }
            _ => None,
        };
        Self { exchange, token }
    }

    /// What the credential is bound to, for the record.
    pub(super) const fn binding(&self) -> &'static str {
        match &self.exchange {
            Exchange::JwtSvid { .. } => "identity bound to this call, for seconds",
            Exchange::ProjectedToken { requester: Requester::JwtSvid { .. }, .. } => {
                "executor's token, bound to a Secret of this mutation, requested by an identity bound to that request"
            }
            Exchange::ProjectedToken { .. } => {
                "executor's token, bound to a Secret of this mutation, requested by the broker"
            }
        }
    }

    /// The form of execution identity that it takes for this call, whose name is `urn`.
    pub(super) fn form(&self, call: &Call, urn: Option<String>) -> Form {
        let jwt = |audience: &Audience, urn: Option<String>| Form::Jwt {
            audiences: [audience.0.clone()].into_iter().chain(urn).collect(),
        };
        match &self.exchange {
            Exchange::JwtSvid { audience } => jwt(audience, urn),
            Exchange::ProjectedToken { requester: Requester::JwtSvid { audience }, executors, .. } => {
                let executor = executor(executors, call);
                jwt(audience, executor.map(|executor| call_urn(Operation::Create, &executor.service_account.token())))
            }
            Exchange::ProjectedToken { .. } => Form::X509,
        }
    }

    /// Who may rehearse this call, whose dry run is named `urn`: an identity wherever the API server takes one. An executor's
    /// token can do more than that.
    pub(super) fn rehearsal(&self, call: &Call, urn: String) -> Option<Rehearser> {
        let jwt = |audience: &Audience| Rehearser::Identity(Form::Jwt { audiences: vec![audience.0.clone(), urn] });
        match &self.exchange {
            Exchange::JwtSvid { audience } => Some(jwt(audience)),
            Exchange::ProjectedToken { requester, executors, .. } => match (requester, executor(executors, call)?) {
                (Requester::JwtSvid { audience }, _) => Some(jwt(audience)),
                (Requester::TokenFile(_), executor) => executor.rehearser.as_ref().map(|_| Rehearser::Account),
            },
        }
    }

    /// What a rehearsal of this call is made by. It is no mutation's, so that nothing is made that a token could end with.
    pub(super) async fn rehearsing(
        &self,
        pool: &Pool,
        terms: &Terms,
        identity: Option<ExecutionIdentity>,
        deadline: Instant,
    ) -> Result<HeaderValue, Failure> {
        match (&self.exchange, &self.token, identity) {
            (_, _, Some(identity)) => presented(identity),
            (Exchange::ProjectedToken { executors, audience, .. }, Some(token), None) => {
                let rehearser = executor(executors, terms.call()).and_then(|executor| executor.rehearser.as_ref());
                let service_account =
                    rehearser.ok_or_else(|| Failure("no service account rehearses this call".to_owned()))?;
                let (requester, audience) = (token.bearer().await?, audience.as_ref());
                let mutation = terms.mutation_id();
                TokenRequest { pool, service_account, audience, requester, mutation, deadline }.token(None).await
            }
            (.., None) => Err(Failure("no identity was minted for this rehearsal".to_owned())),
        }
    }

    /// Whether another subject rehearses than makes the call, so that one of them may lack a role that the other has.
    pub(super) const fn rehearses_apart(&self) -> bool {
        matches!(self.exchange, Exchange::ProjectedToken { .. })
    }

    /// The credential of one mutation.
    pub(super) async fn credential(
        &self,
        pool: &Pool,
        terms: &Terms,
        identity: ExecutionIdentity,
        deadline: Instant,
    ) -> Result<Credential, Failure> {
        match (&self.exchange, &self.token) {
            (Exchange::JwtSvid { .. }, _) => Ok(Credential { bearer: presented(identity)?, secret: None }),
            (Exchange::ProjectedToken { executors, audience, .. }, token) => {
                let executor = executor(executors, terms.call());
                let executor =
                    executor.ok_or_else(|| Failure("no executor of this target is for this call".to_owned()))?;
                let service_account = &executor.service_account;
                let requester = match token {
                    Some(token) => token.bearer().await?,
                    None => presented(identity)?,
                };
                let (audience, mutation) = (audience.as_ref(), terms.mutation_id());
                TokenRequest { pool, service_account, audience, requester, mutation, deadline }.bound().await
            }
        }
    }
}

/// The first that is for this call.
fn executor<'a>(executors: &'a [Executor], call: &Call) -> Option<&'a Executor> {
    executors.iter().find(|executor| executor.calls.as_ref().is_none_or(|calls| calls.have(call)))
}

/// The identity itself as a credential.
fn presented(identity: ExecutionIdentity) -> Result<HeaderValue, Failure> {
    let token = identity.into_jwt().map_err(|error| Failure::of(&error))?;
    bearer(token.as_str())
}

impl Credential {
    /// Ends what the credential was bound to. What cannot be ended runs out by itself.
    pub(super) async fn end(self, pool: &Pool, deadline: Instant) {
        let Some((secret, bearer)) = self.secret else { return };
        let path = super::plan::object_path(&secret);
        let deletion = wire(Method::DELETE, &path, None);
        let ended = match request(pool.endpoint(), deletion, &bearer, &secret.name) {
            Ok(request) => pool.send(request, None, deadline).await,
            Err(failure) => Sent::NotWritten(failure),
        };
        if !matches!(&ended, Sent::Answered(answer) if answer.status.is_success()) {
            let secret = Shown(&path);
            log!(BindingLeft, %secret, "the Secret of a mutation is left over; its token runs out by itself");
        }
    }
}

impl ServiceAccount {
    fn resource(&self, resource: &str, subresource: Option<&str>, name: &str) -> KubernetesResource {
        KubernetesResource {
            group: String::new(),
            version: "v1".to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.map(str::to_owned),
            namespace: Some(self.namespace.clone()),
            name: name.to_owned(),
        }
    }

    fn token(&self) -> KubernetesResource {
        self.resource("serviceaccounts", Some("token"), &self.name)
    }

    fn secret(&self, mutation: &MutationId) -> KubernetesResource {
        self.resource("secrets", None, mutation.as_str())
    }
}

/// One request for a token.
struct TokenRequest<'a> {
    pool: &'a Pool,
    service_account: &'a ServiceAccount,
    audience: Option<&'a Audience>,
    requester: HeaderValue,
    mutation: &'a MutationId,
    deadline: Instant,
}

impl TokenRequest<'_> {
    async fn bound(self) -> Result<Credential, Failure> {
        let secret = self.service_account.secret(self.mutation);
        let uid = self.bind_to(&secret).await?;
        let bound_to = json!({ "apiVersion": "v1", "kind": "Secret", "name": secret.name, "uid": uid });
        match self.token(Some(bound_to)).await {
            Ok(bearer) => Ok(Credential { bearer, secret: Some((secret, self.requester)) }),
            Err(failure) => {
                let unused = Credential { bearer: self.requester.clone(), secret: Some((secret, self.requester)) };
                unused.end(self.pool, self.deadline).await;
                Err(failure)
            }
        }
    }

    /// Makes the Secret that the token ends with; its uid.
    async fn bind_to(&self, secret: &KubernetesResource) -> Result<String, Failure> {
        let body = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": secret.name, "labels": { "app.kubernetes.io/managed-by": "seb" } },
            "type": "seb.dev/execution",
            "immutable": true,
        });
        let path = format!("/api/v1/namespaces/{}/secrets", self.service_account.namespace);
        let answer = self.post(&path, &body).await?;
        let uid = answer.pointer("/metadata/uid").and_then(Value::as_str);
        uid.map(str::to_owned).ok_or_else(|| Failure("a Secret without uid".to_owned()))
    }

    /// A token that ends with this object, if there is one.
    async fn token(&self, bound_to: Option<Value>) -> Result<HeaderValue, Failure> {
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": self.audience.iter().map(|audience| &audience.0).collect::<Vec<_>>(),
                "expirationSeconds": TOKEN_SECONDS,
                "boundObjectRef": bound_to,
            },
        });
        let mut answer = self.post(&super::plan::object_path(&self.service_account.token()), &body).await?;
        match answer.pointer_mut("/status/token").map(Value::take) {
            Some(Value::String(token)) => bearer(&Zeroizing::new(token)),
            _ => Err(Failure("the answer to the request for a token has none".to_owned())),
        }
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let posted = wire(Method::POST, path, Some(body));
        let request = request(self.pool.endpoint(), posted, &self.requester, self.mutation.as_str())?;
        let account = self.service_account;
        let context = |Failure(why): Failure| Failure(format!("no token of `{account}`: {why}"));
        match self.pool.send(request, None, self.deadline).await {
            Sent::Answered(answer) => created(&answer).map_err(context),
            Sent::NotWritten(failure) | Sent::Lost(failure) => Err(context(failure)),
            Sent::Denied(denial) => Err(Failure(denial.to_string())),
        }
    }
}

fn created(answer: &Answer) -> Result<Value, Failure> {
    if answer.status == StatusCode::CREATED {
        return serde_json::from_slice(&answer.body).map_err(|error| Failure::of(&error));
    }
    match Status::failure(answer) {
        Some(status) => Err(Failure(status.says())),
        None => Err(Failure(format!("an answer with status {} that is not an API server's", answer.status))),
    }
}

/// A request with a JSON body, or without one.
fn wire(method: Method, path: &str, body: Option<&Value>) -> Wire {
    let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
    Wire { method, target: path.to_owned(), media_type: "application/json", body }
}

/// Never shows a credential.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::call;
    use super::*;

    #[test]
    fn names_keep_their_rule() {
        for good in ["seb-system/executor", "a/b", "a/b.c-d.e"] {
            assert!(good.parse::<ServiceAccount>().is_ok(), "{good}");
        }
        for bad in ["", "a", "a/", "/a", "a/b/c", "A/b", "a/b..c", "a./b", "-a/b", "a/b-", "a/b c", "a/%2e"] {
            assert!(bad.parse::<ServiceAccount>().is_err(), "{bad}");
        }
        assert!("cluster-eu".parse::<Audience>().is_ok());
        for bad in ["", "a b", "é", &"a".repeat(1025)] {
            assert!(bad.parse::<Audience>().is_err(), "{bad}");
        }
    }

    #[test]
    fn i5_an_identity_names_the_one_call_that_it_is_for() {
        let audience = || "cluster".parse::<Audience>().unwrap();
        let account = |name: &str| format!("seb-system/{name}").parse().unwrap();
        let executor = |name: &str, calls| Executor { service_account: account(name), calls, rehearser: None };
        let resource = json!({
            "group": "apps", "version": "v1", "resource": "deployments", "namespace": "shop", "name": "checkout",
        });
        let exact = json!({"mode": "exact", "identity": "uid-1", "version": "42"});
        let patch = call("merge-patch", &resource, &json!({"spec": {}}), &exact);
        let name = Some("urn:seb:call:UPDATE:apps/deployments:shop/checkout".to_owned());
        let audiences = |exchange| match Exchanger::new(exchange).form(&patch, name.clone()) {
            Form::Jwt { audiences } => audiences,
            Form::X509 => Vec::new(),
        };
        assert_eq!(
            audiences(Exchange::JwtSvid { audience: audience() }),
            ["cluster", "urn:seb:call:UPDATE:apps/deployments:shop/checkout"]
        );
        let projected = |executors, requester| Exchange::ProjectedToken { executors, audience: None, requester };
        let jwt = || Requester::JwtSvid { audience: audience() };
        assert_eq!(
            audiences(projected(vec![executor("executor", None)], jwt())),
            ["cluster", "urn:seb:call:CREATE:/serviceaccounts/token:seb-system/executor"]
        );
        assert!(audiences(projected(vec![executor("e", None)], Requester::TokenFile("token".into()))).is_empty());
        // A rehearsal is by JWT-SVID where the API server takes one, and by another service account where it does not; for a
        // call that some executor could make.
        let rehearsal = |exchange| Exchanger::new(exchange).rehearsal(&patch, "urn:seb:dry-run:x".to_owned());
        let audiences_of_it = vec!["cluster".to_owned(), "urn:seb:dry-run:x".to_owned()];
        let expected = Some(Rehearser::Identity(Form::Jwt { audiences: audiences_of_it }));
        assert_eq!(rehearsal(Exchange::JwtSvid { audience: audience() }), expected);
        assert_eq!(rehearsal(projected(vec![executor("e", None)], jwt())), expected);
        assert_eq!(rehearsal(projected(Vec::new(), jwt())), None);
        let file = || Requester::TokenFile("token".into());
        assert_eq!(rehearsal(projected(vec![executor("e", None)], file())), None);
        let rehearsed = Executor { rehearser: Some(account("tries")), ..executor("e", None) };
        assert_eq!(rehearsal(projected(vec![rehearsed.clone()], file())), Some(Rehearser::Account));
        assert!(projected(vec![rehearsed.clone()], file()).rehearses());
        assert!(!projected(vec![rehearsed, executor("e", None)], file()).rehearses());
        // The first that is for the call, by verb and by resource; none, and the identity names no call.
        let calls = |verb: &str, resource: &str| {
            Some(Calls { verbs: vec![verb.parse().unwrap()], resources: vec![resource.parse().unwrap()] })
        };
        let shop = "apps/v1/namespaces/shop/deployments/*";
        let mut executors = vec![
            executor("deletes", calls("delete", shop)),
            executor("stock", calls("merge-patch", "apps/v1/namespaces/stock/deployments/*")),
            executor("scales", calls("merge-patch", "apps/v1/namespaces/shop/deployments/*/scale")),
        ];
        assert_eq!(audiences(projected(executors.clone(), jwt())), ["cluster"]);
        executors.extend([executor("shop", calls("merge-patch", shop)), executor("later", None)]);
        assert_eq!(
            audiences(projected(executors, jwt())),
            ["cluster", "urn:seb:call:CREATE:/serviceaccounts/token:seb-system/shop"]
        );
    }

    #[test]
    fn credentials_are_not_shown() {
        let credential = Credential { bearer: bearer("very-secret").unwrap(), secret: None };
        assert!(!format!("{credential:?} {:?}", credential.bearer).contains("very-secret"));
    }
}
