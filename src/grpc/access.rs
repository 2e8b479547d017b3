//! Who may call what: roles by SPIFFE ID, and one closed table of all methods.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use spiffe::SpiffeId;
use tonic::{Request, Status};

use super::status::Cause;
use crate::spiffe_id;
use crate::tls::{Issued, Peer};

/// What a peer is to this server. A peer without a role may call nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Proposes, and executes what was certified for it.
    Agent,
    /// Reads records.
    Auditor,
    /// Runs the server, and revokes.
    Operator,
    /// Issues certificates and epoch statements.
    Authority,
    /// Executes, and follows epoch statements.
    Broker,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 5] = [Self::Agent, Self::Auditor, Self::Operator, Self::Authority, Self::Broker];

    /// The name in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Auditor => "auditor",
            Self::Operator => "operator",
            Self::Authority => "authority",
            Self::Broker => "broker",
        }
    }
}

/// How long the answer of a method goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// One answer, within the deadline.
    Unary,
    /// Answers until one side ends them.
    Stream,
}

/// A method, and who may call it.
#[derive(Debug, Clone, Copy)]
pub struct Method {
    /// Its path: `/package.Service/Method`.
    pub path: &'static str,
    /// Who may call it.
    pub roles: &'static [Role],
    /// How long its answer goes on.
    pub flow: Flow,
}

const ANYONE: &[Role] = &Role::ALL;

const fn unary(path: &'static str, roles: &'static [Role]) -> Method {
    Method { path, roles, flow: Flow::Unary }
}

const fn stream(path: &'static str, roles: &'static [Role]) -> Method {
    Method { path, roles, flow: Flow::Stream }
}

/// Every method that any server of this package serves. What is not here is refused.
pub const METHODS: &[Method] = &[
    unary("/seb.v1.ExecutionService/Execute", &[Role::Agent]),
    unary("/seb.v1.ExecutionService/Check", &[Role::Agent]),
    unary("/seb.v1.ExecutionService/GetExecution", &[Role::Agent]),
    stream("/seb.v1.ExecutionService/WatchExecution", &[Role::Agent]),
    unary("/seb.v1.RecordService/List", &[Role::Auditor]),
    unary("/seb.v1.RecordService/Get", &[Role::Auditor]),
    stream("/seb.v1.RecordService/Follow", &[Role::Auditor]),
    unary("/seb.v1.RecordService/GetArtefact", &[Role::Auditor]),
    unary("/sab.v1.ProposalService/Propose", &[Role::Agent]),
    unary("/sab.v1.ProposalService/GetProposal", &[Role::Agent, Role::Operator]),
    unary("/sab.v1.ProposalService/ListProposals", &[Role::Agent, Role::Operator]),
    stream("/sab.v1.EpochService/StreamEpochs", &[Role::Broker]),
    unary("/sab.v1.RevocationService/Revoke", &[Role::Operator]),
    unary("/grpc.health.v1.Health/Check", ANYONE),
    stream("/grpc.health.v1.Health/Watch", ANYONE),
    unary("/grpc.health.v1.Health/List", &[Role::Operator]),
    stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", &[Role::Agent, Role::Auditor, Role::Operator]),
];

/// The method of a path, if it is one of the table.
pub fn method(path: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.path == path)
}

/// Who has which role. The default gives none to anybody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roles {
    /// The agents.
    pub agents: Vec<IdPattern>,
    /// The auditors.
    pub auditors: Vec<IdPattern>,
    /// The operators.
    pub operators: Vec<IdPattern>,
    /// The authorities.
    pub authorities: Vec<IdPattern>,
    /// The brokers.
    pub brokers: Vec<IdPattern>,
}

impl Roles {
    /// The roles of a peer; none for what the execution CA issued, whatever it is called.
    pub fn of(&self, peer: &Peer) -> BTreeSet<Role> {
        match peer.issued() {
            Issued::Bundle => self.of_id(peer.id()),
            Issued::ExecutionCa => BTreeSet::new(),
        }
    }

    /// The roles of a SPIFFE ID that was verified by the bundle of its trust domain.
    pub fn of_id(&self, id: &SpiffeId) -> BTreeSet<Role> {
        let lists = [
            (Role::Agent, &self.agents),
            (Role::Auditor, &self.auditors),
            (Role::Operator, &self.operators),
            (Role::Authority, &self.authorities),
            (Role::Broker, &self.brokers),
        ];
        let with = |(role, list): (Role, &Vec<IdPattern>)| list.iter().any(|item| item.matches(id)).then_some(role);
        lists.into_iter().filter_map(with).collect()
    }
}

/// One SPIFFE ID, or every one that is exactly one path segment longer than a prefix (`spiffe://example.org/agent/*`).
///
/// It is never that of an execution identity (`/seb/execution/…`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdPattern {
    id: SpiffeId,
    below: bool,
}

/// The text is not a pattern for SPIFFE IDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a SPIFFE ID in its normal form, or a prefix of one segment more, such as `spiffe://example.org/agent/*`, \
     and not that of execution identities"
)]
pub struct InvalidIdPattern;

/// Where the identities are that the broker mints.
const EXECUTION: &str = "/seb/execution";

impl IdPattern {
    /// Whether the SPIFFE ID is one of the pattern.
    pub fn matches(&self, id: &SpiffeId) -> bool {
        if !self.below {
            return *id == self.id;
        }
        let rest = id.path().strip_prefix(self.id.path()).and_then(|rest| rest.strip_prefix('/'));
        id.trust_domain() == self.id.trust_domain() && rest.is_some_and(|rest| !rest.is_empty() && !rest.contains('/'))
    }
}

impl FromStr for IdPattern {
    type Err = InvalidIdPattern;

    fn from_str(text: &str) -> Result<Self, InvalidIdPattern> {
        let (text, below) = match text.strip_suffix("/*") {
            Some(prefix) => (prefix, true),
            None => (text, false),
        };
        let id = spiffe_id::exact(text).ok_or(InvalidIdPattern)?;
        let execution = id.path() == EXECUTION || id.path().starts_with(&format!("{EXECUTION}/"));
        // A trust domain as such is the prefix of all, and nobody's identity.
        let nobody = id.path().is_empty() && !below;
        if execution || nobody { Err(InvalidIdPattern) } else { Ok(Self { id, below }) }
    }
}

impl From<SpiffeId> for IdPattern {
    fn from(id: SpiffeId) -> Self {
        Self { id, below: false }
    }
}

impl fmt::Display for IdPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.id, if self.below { "/*" } else { "" })
    }
}

/// Who calls, as the gate found out: in the extensions of every request that reaches a handler.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Its verified identity.
    pub peer: Peer,
    /// Its roles; at least one of them may call the method.
    pub roles: BTreeSet<Role>,
}

impl Caller {
    /// The caller of a request.
    ///
    /// # Errors
    /// If the request did not pass the gate, which is an error in the server: `INTERNAL`.
    // A status is what a handler returns.
    pub fn of<T>(request: &Request<T>) -> Result<Self, Box<Status>> {
        let caller = request.extensions().get::<Self>().cloned();
        caller.ok_or_else(|| Box::new(Cause::Internal.status("the request did not pass the gate")))
    }
}

/// Decides whether a peer may call a path.
///
/// # Errors
/// [`Cause::Unauthenticated`] without a peer; [`Cause::MethodNotAllowed`] if no role of the peer may call it, or nobody
/// may: a caller does not learn which.
pub fn admit(roles: &Roles, peer: Option<&Peer>, path: &str) -> Result<(Caller, &'static Method), Cause> {
    let peer = peer.ok_or(Cause::Unauthenticated)?;
    let roles = roles.of(peer);
    let method = method(path).filter(|method| allows(method, &roles)).ok_or(Cause::MethodNotAllowed)?;
    Ok((Caller { peer: peer.clone(), roles }, method))
}

/// Whether one of the roles may call the method.
pub fn allows(method: &Method, roles: &BTreeSet<Role>) -> bool {
    method.roles.iter().any(|role| roles.contains(role))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> SpiffeId {
        text.parse().unwrap()
    }

    #[test]
    fn a_prefix_is_one_segment_deep() {
        let pattern: IdPattern = "spiffe://example.org/agent/*".parse().unwrap();
        assert!(pattern.matches(&id("spiffe://example.org/agent/a")));
        for other in [
            "spiffe://example.org/agent",
            "spiffe://example.org/agent/a/b",
            "spiffe://example.org/agents/a",
            "spiffe://example.com/agent/a",
            "spiffe://example.org/other/agent/a",
        ] {
            assert!(!pattern.matches(&id(other)), "{other}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in [
            "",
            "*",
            "spiffe://example.org",
            "spiffe://example.org/a*",
            "spiffe://example.org/*/a",
            "spiffe://example.org/a/**",
            "spiffe://Example.org/a",
            "spiffe://example.org/seb/execution/*",
            "spiffe://example.org/seb/execution",
            "spiffe://example.org/seb/execution/m-a",
        ] {
            assert_eq!(bad.parse::<IdPattern>(), Err(InvalidIdPattern), "{bad}");
        }
        for good in ["spiffe://example.org/*", "spiffe://example.org/a", "spiffe://example.org/a/b/*"] {
            assert_eq!(good.parse::<IdPattern>().unwrap().to_string(), good);
        }
    }

    #[test]
    fn an_empty_list_admits_nobody() {
        assert_eq!(Roles::default().of_id(&id("spiffe://example.org/agent/a")), BTreeSet::new());
        assert!(METHODS.iter().all(|method| !allows(method, &BTreeSet::new())));
    }

    #[test]
    fn every_method_is_there_once() {
        let paths: BTreeSet<_> = METHODS.iter().map(|method| method.path).collect();
        assert_eq!(paths.len(), METHODS.len());
    }
}
