//! What broker and authority are told of a target: the same keys, read in the same way.

use std::path::PathBuf;

use spiffe::SpiffeId;

use super::Table;
use super::kind::{self, HostPort, Id, OneOf, PathTo};
use crate::contract::{TargetKind, TargetName};
use crate::target::kubernetes::{Audience, CertificateFiles, Exchange, ReaderIdentity, Requester, Settings};

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
}

/// The kinds that there are drivers of.
const KINDS: OneOf<TargetKind> = OneOf(&[("sandbox", TargetKind::Sandbox), ("kubernetes", TargetKind::Kubernetes)]);

/// The exchanges.
const EXCHANGES: OneOf<bool> = OneOf(&[("jwt-svid", true), ("projected-token", false)]);

impl Api {
    /// The kind of target.
    pub const fn kind(&self) -> TargetKind {
        match self {
            Self::Sandbox { .. } => TargetKind::Sandbox,
            Self::Kubernetes(_) => TargetKind::Kubernetes,
        }
    }

    /// The SPIFFE ID that its server has, where it has one.
    pub const fn server_id(&self) -> Option<&SpiffeId> {
        match self {
            Self::Sandbox { server_id, .. } => Some(server_id),
            Self::Kubernetes(_) => None,
        }
    }
}

impl KnownTarget {
    /// Reads the keys of one of `[[targets]]`.
    pub fn read(table: &mut Table<'_>) -> Option<Self> {
        let what = "the name of a target: lower-case letters, digits and dashes";
        let name = table.required("name", kind::text(what), "Its name in proposals, contracts, policies and ceilings.");
        let kind = table.required("kind", KINDS, "Its kind.");
        let address = table.required("address", kind::host_port(), "Where its API is.");
        let meaning =
            "The SPIFFE ID of its API server; no other one is talked to. For a sandbox alone, and required there.";
        let server_id = table.optional("server_id", Id, meaning);
        let meaning = "The file with the CA certificates, in PEM, by which its API server is recognized; read again when it changes. For `kubernetes` alone, and required there.";
        let ca_file = table.optional("ca_file", PathTo::File, meaning);
        let meaning = "The name that the API server's certificate has; left out, it is the host of `address`. For `kubernetes` alone.";
        let server_name = table.optional("server_name", kind::text::<String>("a DNS name or an address"), meaning);
        let meaning = "By which identity a `kubernetes` target is read: one that can only read. One of the two.";
        let reader = table.optional_table("reader", meaning, read_reader);
        let (kind, address, server_id, ca_file) = (kind?, address?, server_id?, ca_file?);
        let (server_name, reader) = (server_name?, reader?);
        let api = match kind {
            TargetKind::Kubernetes => {
                refuse_for(table, kind, &["server_id"])?;
                let ca_file = needed(table, kind, "ca_file", ca_file);
                let reader = needed(table, kind, "reader", reader);
                let address = address.as_str().to_owned();
                Api::Kubernetes(Settings { address, server_name, ca_file: ca_file?, reader: reader? })
            }
            TargetKind::Sandbox | TargetKind::Aws => {
                refuse_for(table, kind, &["ca_file", "server_name", "reader"])?;
                Api::Sandbox { address, server_id: needed(table, kind, "server_id", server_id)? }
            }
        };
        Some(Self { name: name?, api })
    }
}

/// Reads by which exchange mutations of a `kubernetes` target are made; none for every other one.
pub fn read_exchange(table: &mut Table<'_>, known: Option<&KnownTarget>) -> Option<Option<Exchange>> {
    let meaning =
        "How an execution identity becomes what the API server of a `kubernetes` target authenticates; required there.";
    let exchange = table.optional_table("exchange", meaning, exchange)?;
    match known.map(|known| known.api.kind()) {
        Some(kind @ TargetKind::Kubernetes) => needed(table, kind, "exchange", exchange).map(Some),
        Some(kind) => refuse_for(table, kind, &["exchange"]).map(|()| None),
        None => Some(None),
    }
}

fn exchange(table: &mut Table<'_>) -> Option<Exchange> {
    let audience = || kind::text::<Audience>("1 to 1024 visible ASCII characters");
    let meaning = "`jwt-svid` where the API server authenticates execution identities itself (structured authentication), else `projected-token`.";
    let jwt = table.required("kind", EXCHANGES, meaning);
    let meaning = "The first audience of execution identities: that of the API server's `AuthenticationConfiguration`. Required where they are JWT-SVIDs: for `jwt-svid`, and without `token_file`.";
    let first = table.optional("audience", audience(), meaning);
    let meaning = "The service account that mutations are made by. For `projected-token` alone, and required there.";
    let account = kind::text("a service account, such as `seb-system/executor`");
    let service_account = table.optional("service_account", account, meaning);
    let meaning = "The audience of its tokens; left out, the API server's own. For `projected-token` alone.";
    let token_audience = table.optional("token_audience", audience(), meaning);
    let meaning = "The file with the broker's own token, by which those of the service account are requested; left out, execution identities request them. For `projected-token` alone.";
    let token_file = table.optional("token_file", PathTo::File, meaning);
    let (first, service_account, token_audience, token_file) = (first?, service_account?, token_audience?, token_file?);
    let lacks = |name: &str, why: &str| table.refuse::<Exchange>(name, format_args!("is missing; {why}"), None);
    if jwt? {
        for name in ["service_account", "token_audience", "token_file"] {
            if table.has(name) {
                return table.refuse(name, "is not for `jwt-svid`: leave it out", None);
            }
        }
        let Some(audience) = first else { return lacks("audience", "`jwt-svid` needs it") };
        return Some(Exchange::JwtSvid { audience });
    }
    let Some(service_account) = service_account else {
        return lacks("service_account", "`projected-token` needs it");
    };
    let requester = match (token_file, first) {
        (Some(_), Some(_)) => {
            return table.refuse("audience", "is not used where there is a `token_file`: leave one out", None);
        }
        (Some(path), None) => Requester::TokenFile(path),
        (None, Some(audience)) => Requester::JwtSvid { audience },
        (None, None) => return lacks("audience", "without `token_file` execution identities request the tokens"),
    };
    Some(Exchange::ProjectedToken { service_account, audience: token_audience, requester })
}

fn read_reader(table: &mut Table<'_>) -> Option<ReaderIdentity> {
    let meaning = "The file with a bearer token: a service account's, or a JWT-SVID; read again when it changes.";
    let token_file = table.optional("token_file", PathTo::File, meaning);
    let meaning = "The file with a client certificate, in PEM, the leaf first; read again when it changes.";
    let certificate = table.optional("certificate_file", PathTo::File, meaning);
    let key = table.optional("key_file", PathTo::File, "The file with its private key, in PEM.");
    let parts: (Option<PathBuf>, Option<PathBuf>, Option<PathBuf>) = (token_file?, certificate?, key?);
    match parts {
        (Some(token), None, None) => Some(ReaderIdentity::TokenFile(token)),
        (None, Some(certificate), Some(key)) => {
            Some(ReaderIdentity::Certificate(CertificateFiles { certificate, key }))
        }
        _ => table.refuse("token_file", "expected either it, or `certificate_file` and `key_file`", None),
    }
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
