//! What broker and authority are told of a target: the same keys, read in the same way.

use spiffe::SpiffeId;

use super::kind::{self, HostPort, Id, ListOf, OneOf, PathTo};
use super::{Table, aws};
use crate::ceiling::Pattern;
use crate::contract::{TargetKind, TargetName, Verb};
use crate::target::aws::settings::{Account, ExchangeSettings};
use crate::target::kubernetes::{
    Audience, Calls, CertificateFiles, Exchange, Executor, ReaderIdentity, Requester, ServiceAccount, Settings,
};

/// A target: what it is called, where it is, and how it is recognized and read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownTarget {
    /// Its name in proposals, contracts, policies and ceilings.
    pub name: TargetName,
    /// Where its API is, and of which kind it is.
    pub api: Api,
}

/// The API of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Api {
    /// A sandbox.
    Sandbox {
        /// Where it is.
        address: HostPort,
        /// The SPIFFE ID of its server.
        server_id: SpiffeId,
    },
    /// A Kubernetes API server.
    Kubernetes(Settings),
    /// An AWS account.
    Aws(Box<Account>),
}

/// By which exchange mutations of a target are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mutating {
    /// Of a Kubernetes API server.
    Kubernetes(Exchange),
    /// Of an AWS account.
    Aws(Box<ExchangeSettings>),
}

/// The kinds that there are drivers of.
const KINDS: OneOf<TargetKind> =
    OneOf(&[("sandbox", TargetKind::Sandbox), ("kubernetes", TargetKind::Kubernetes), ("aws", TargetKind::Aws)]);

/// The most executors of a target, and the most verbs of one.
const MAX_EXECUTORS: usize = 256;

/// The most patterns of an executor.
const MAX_PATTERNS: usize = 1024;

/// Where a pod finds the token of its service account.
const OWN_TOKEN: &str = "\"/var/run/secrets/kubernetes.io/serviceaccount/token\"";

/// The exchanges, by their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    JwtSvid,
    ProjectedToken,
    ServiceAccount,
}

const WAYS: OneOf<Way> = OneOf(&[
    ("jwt-svid", Way::JwtSvid),
    ("projected-token", Way::ProjectedToken),
    ("service-account", Way::ServiceAccount),
]);

impl Api {
    /// The kind of target.
    pub const fn kind(&self) -> TargetKind {
        match self {
            Self::Sandbox { .. } => TargetKind::Sandbox,
            Self::Kubernetes(_) => TargetKind::Kubernetes,
            Self::Aws(_) => TargetKind::Aws,
        }
    }

    /// The SPIFFE ID that its server has, where it has one.
    pub const fn server_id(&self) -> Option<&SpiffeId> {
        match self {
            Self::Sandbox { server_id, .. } => Some(server_id),
            Self::Kubernetes(_) | Self::Aws(_) => None,
        }
    }
}

impl KnownTarget {
    /// Reads the keys of one of `[[targets]]`.
    pub fn read(table: &mut Table<'_>) -> Option<Self> {
        let what = "the name of a target: lower-case letters, digits and dashes";
        let name = table.required("name", kind::text(what), "Its name in proposals, contracts, policies and ceilings.");
        let kind = table.required("kind", KINDS, "Its kind.");
        let meaning = "Where its API is. Required for `sandbox` and `kubernetes`.";
        let address = table.optional("address", kind::host_port(), meaning);
        let meaning =
            "The SPIFFE ID of its API server; no other one is talked to. Required for `sandbox`, and for it alone.";
        let server_id = table.optional("server_id", Id, meaning);
        let meaning = "The file with the CA certificates, in PEM, by which its API server is recognized; read again when it changes. Required for `kubernetes`, and for it alone.";
        let ca = table.optional("ca", PathTo::File, meaning);
        let meaning =
            "The name in the API server's certificate; left out, it is the host of `address`. For `kubernetes` alone.";
        let server_name = table.optional("server_name", kind::text::<String>("a DNS name or an address"), meaning);
        let reader = read_reader(table);
        let meaning = "The account. Required for `aws`, and for it alone.";
        let account = table.optional_table("aws", meaning, aws::account);
        let (kind, address, server_id, ca) = (kind?, address?, server_id?, ca?);
        let (server_name, reader, account) = (server_name?, reader?, account?);
        let not_aws = ["address", "server_id", "ca", "server_name", "token_file", "certificate_file", "key_file"];
        let api = match kind {
            TargetKind::Kubernetes => {
                refuse_for(table, kind, &["server_id", "aws"])?;
                let address = needed(table, kind, "address", address)?.as_str().to_owned();
                Api::Kubernetes(Settings { address, server_name, ca_file: needed(table, kind, "ca", ca)?, reader })
            }
            TargetKind::Sandbox => {
                refuse_for(table, kind, &["ca", "server_name", "token_file", "certificate_file", "key_file", "aws"])?;
                let address = needed(table, kind, "address", address)?;
                Api::Sandbox { address, server_id: needed(table, kind, "server_id", server_id)? }
            }
            TargetKind::Aws => {
                refuse_for(table, kind, &not_aws)?;
                Api::Aws(Box::new(needed(table, kind, "aws", account)?))
            }
        };
        Some(Self { name: name?, api })
    }
}

fn read_reader(table: &mut Table<'_>) -> Option<ReaderIdentity> {
    let meaning = "The file with the bearer token by which this process reads the API server, one that can only read: its service account's, or a JWT-SVID; read again when it changes. For `kubernetes` alone.";
    let own = table.has("token_file");
    let token = table.default("token_file", PathTo::File, OWN_TOKEN, meaning);
    let meaning = "The file with a client certificate, in PEM, the leaf first, by which it reads instead; read again when it changes. For `kubernetes` alone.";
    let certificate = table.optional("certificate_file", PathTo::File, meaning);
    let key = table.optional("key_file", PathTo::File, "The file with the private key of `certificate_file`, in PEM.");
    match (certificate?, key?) {
        (None, None) => token.map(ReaderIdentity::TokenFile),
        (Some(certificate), Some(key)) if !own => {
            Some(ReaderIdentity::Certificate(CertificateFiles { certificate, key }))
        }
        (Some(_), Some(_)) => {
            table.refuse("token_file", "is not used where there is a certificate: leave one out", None)
        }
        _ => table.refuse("key_file", "`certificate_file` and `key_file` come together", None),
    }
}

/// Reads by which exchange mutations of a target are made, where its kind has several.
pub fn read_mutating(table: &mut Table<'_>, known: Option<&KnownTarget>) -> Option<Option<Mutating>> {
    let account = known.and_then(|known| match &known.api {
        Api::Aws(account) => Some(account.as_ref()),
        _ => None,
    });
    let meaning = "How mutations of the account are made. Required for `aws`, and for it alone.";
    let by_aws = table.optional_table("mutations", meaning, |table| aws::exchange(table, account));
    let by_kubernetes = read_exchange(table, known)?.map(Mutating::Kubernetes);
    match (by_aws?, account) {
        (None, None) => Some(by_kubernetes),
        (Some(exchange), Some(_)) => Some(Some(Mutating::Aws(Box::new(exchange)))),
        (exchange, _) => {
            let kind = known?.api.kind();
            match exchange {
                None => needed(table, kind, "mutations", exchange).map(|_| None),
                Some(_) => refuse_for(table, kind, &["mutations"]).map(|()| None),
            }
        }
    }
}

/// Reads by which exchange mutations of a `kubernetes` target are made; none for every other one.
fn read_exchange(table: &mut Table<'_>, known: Option<&KnownTarget>) -> Option<Option<Exchange>> {
    let meaning = "How an execution identity becomes what the API server authenticates: `jwt-svid` where it takes execution identities themselves (structured authentication); `projected-token` where they may do nothing but request a token of `executor`; `service-account` where this process requests it, by its `token_file`, because the API server cannot be configured. Required for `kubernetes`, and for it alone.";
    let way = table.optional("exchange", WAYS, meaning);
    let audience = || kind::text::<Audience>("1 to 1024 visible ASCII characters");
    let meaning = "The first audience of execution identities: the one in the API server's `AuthenticationConfiguration`. Required for `jwt-svid` and `projected-token`; not used for `service-account`.";
    let first = table.optional("audience", audience(), meaning);
    let meaning = "The service account that mutations are made by. `projected-token` and `service-account` need this one or `executors`.";
    let executor = table.optional("executor", account(), meaning);
    let meaning = "Several service accounts that mutations are made by, each call by the first that is for it; a call that none is for is not started.";
    let executors = table.tables("executors", MAX_EXECUTORS, meaning, read_executor);
    let meaning = "The audience of the executor's tokens; left out, the API server's own. For `projected-token` and `service-account`.";
    let executor_audience = table.optional("executor_audience", audience(), meaning);
    let (way, first, executor, executor_audience) = (way?, first?, executor?, executor_audience?);
    let executors = executors?;
    let keys = ["exchange", "audience", "executor", "executor_audience", "executors"];
    let known = match known {
        None => return Some(None),
        Some(known) if known.api.kind() != TargetKind::Kubernetes => {
            return refuse_for(table, known.api.kind(), &keys).map(|()| None);
        }
        Some(known) => known,
    };
    let way = needed(table, TargetKind::Kubernetes, "exchange", way)?;
    if way == Way::JwtSvid
        && let Some(name) = ["executor", "executor_audience", "executors"].into_iter().find(|name| table.has(name))
    {
        return table.refuse(name, "`jwt-svid` has none: leave it out", None);
    }
    let lacks = |name: &str| table.refuse(name, "is missing; this exchange needs it", None);
    let requester = match (way, first, &known.api) {
        (Way::JwtSvid, Some(audience), _) => return Some(Some(Exchange::JwtSvid { audience })),
        (Way::ProjectedToken, Some(audience), _) => Requester::JwtSvid { audience },
        (Way::JwtSvid | Way::ProjectedToken, None, _) => return lacks("audience"),
        (Way::ServiceAccount, _, Api::Kubernetes(Settings { reader: ReaderIdentity::TokenFile(path), .. })) => {
            Requester::TokenFile(path.clone())
        }
        (Way::ServiceAccount, ..) => {
            return table.refuse("exchange", "`service-account` needs a `token_file`, not a certificate", None);
        }
    };
    let executors = match executor {
        None if executors.is_empty() => return lacks("executor"),
        None => executors,
        Some(service_account) if executors.is_empty() => {
            vec![Executor { service_account, calls: None, rehearser: None }]
        }
        Some(_) => {
            return table.refuse("executor", "is for every call, and so are no `executors`: leave one out", None);
        }
    };
    let mut rehearsers = executors.iter().filter_map(|executor| executor.rehearser.as_ref());
    if way != Way::ServiceAccount && rehearsers.next().is_some() {
        let problem = "`rehearser` is for `service-account`, where no execution identity can rehearse: leave it out";
        return table.refuse("executors", problem, None);
    }
    if let Some(rehearser) = rehearsers.find(|it| executors.iter().any(|executor| executor.service_account == **it)) {
        let problem = format_args!("`{rehearser}` makes calls: name a `rehearser` that policies hold to dry runs");
        return table.refuse("executors", problem, None);
    }
    Some(Some(Exchange::ProjectedToken { executors, audience: executor_audience, requester }))
}

fn account() -> kind::Text<ServiceAccount> {
    kind::text("a service account, such as `seb-system/executor`")
}

fn read_executor(table: &mut Table<'_>) -> Option<Executor> {
    let service_account = table.required("service_account", account(), "The service account.");
    let verbs = ListOf(kind::text::<Verb>("a verb of contracts, such as `merge-patch`"), MAX_EXECUTORS);
    let verbs = table.required("verbs", verbs, "The verbs of the calls that it is for.");
    let resources = kind::text::<Pattern>("a pattern, such as `apps/v1/namespaces/shop/deployments/*`");
    let meaning = "The resources of the calls that it is for: patterns as in the ceilings.";
    let resources = table.required("resources", ListOf(resources, MAX_PATTERNS), meaning);
    let meaning = "The service account by which its calls are rehearsed (`dry_run`) with `service-account`: one that the API server's policies hold to dry runs. With `projected-token` execution identities rehearse.";
    let rehearser = table.optional("rehearser", account(), meaning);
    let calls = Some(Calls { verbs: verbs?, resources: resources? });
    Some(Executor { service_account: service_account?, calls, rehearser: rehearser? })
}

/// What a target of this kind must have.
fn needed<T>(table: &Table<'_>, kind: TargetKind, name: &str, value: Option<T>) -> Option<T> {
    if value.is_none() && !table.has(name) {
        return table.refuse(name, format_args!("is missing; a target of kind `{kind}` needs it"), None);
    }
    value
}

/// What a target of this kind does not have.
fn refuse_for(table: &Table<'_>, kind: TargetKind, names: &[&str]) -> Option<()> {
    let there: Vec<_> = names.iter().filter(|name| table.has(name)).collect();
    for name in &there {
        table.refuse::<()>(name, format_args!("a target of kind `{kind}` has none: leave it out"), None);
    }
    there.is_empty().then_some(())
}
