//! `[execution]`: where execution identities come from.

use std::path::PathBuf;

use spiffe::SpiffeId;

use super::Table;
use super::kind::{self, Id, OneOf};
use super::server::IdentityConfig;
use crate::identity::Source;
use crate::identity::spire::SpireServer;

/// Where execution identities come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecutionConfig {
    /// They are minted here, by the execution CA in this folder.
    Embedded(PathBuf),
    /// They are minted here, below an intermediate CA that a SPIRE server signs.
    SpireDownstream(SpireServer),
    /// A SPIRE server mints them.
    SpireMint(SpireServer),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Embedded,
    SpireDownstream,
    SpireMint,
}

/// What `[execution]` says by itself.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    kind: Kind,
    server: Option<SpireServer>,
}

impl Keys {
    pub(super) fn read(table: &mut Table<'_>) -> Option<Self> {
        let kinds = OneOf(&[
            ("embedded", Kind::Embedded),
            ("spire-downstream", Kind::SpireDownstream),
            ("spire-mint", Kind::SpireMint),
        ]);
        let meaning = "What mints execution identities: the execution CA in a folder (`embedded`), this process below an intermediate CA that a SPIRE server signs (`spire-downstream`), or a SPIRE server, one by one (`spire-mint`). JWT-SVIDs are minted by a SPIRE server in either case.";
        let kind = table.default("issuer", kinds, "\"embedded\"", meaning);
        let meaning = "Where the API of the SPIRE server is; with the two SPIRE issuers.";
        let address = table.optional("server_address", kind::host_port(), meaning);
        let meaning = "The SPIFFE ID of the SPIRE server, such as `spiffe://example.org/spire/server`; no other one is talked to.";
        let id = table.optional("server_id", Id, meaning);
        let (kind, address, id) = (kind?, address?, id?);
        match (kind, address, id) {
            (Kind::Embedded, None, None) => Some(Self { kind, server: None }),
            (Kind::Embedded, address, _) => {
                let name = if address.is_some() { "server_address" } else { "server_id" };
                table.refuse(name, "is for the issuers `spire-downstream` and `spire-mint`", None)
            }
            (_, Some(address), Some(id)) => Some(Self { kind, server: Some(SpireServer { address, id }) }),
            (_, address, id) => {
                if address.is_none() {
                    table.refuse::<()>("server_address", "is missing, and the issuer is a SPIRE server", None);
                }
                if id.is_none() {
                    table.refuse::<()>("server_id", "is missing, and the issuer is a SPIRE server", None);
                }
                None
            }
        }
    }
}

/// Whether it fits together with `[identity]`; `folder` is its `execution_ca`.
pub(super) fn join(
    root: &Table<'_>,
    keys: Keys,
    folder: Option<PathBuf>,
    identity: &IdentityConfig,
) -> Option<ExecutionConfig> {
    match (keys.kind, keys.server) {
        (Kind::SpireDownstream, Some(server)) => Some(ExecutionConfig::SpireDownstream(server)),
        (Kind::SpireMint, Some(server)) => Some(ExecutionConfig::SpireMint(server)),
        _ => match (folder, &identity.source) {
            (Some(folder), _) => Some(ExecutionConfig::Embedded(folder)),
            (None, Source::Folder(folder)) => Some(ExecutionConfig::Embedded(folder.clone())),
            (None, Source::WorkloadApi(_)) => {
                let hint = "name the folder in `identity.execution_ca`, or let a SPIRE server mint";
                root.refuse("execution", "the embedded issuer has no execution CA", Some(hint))
            }
        },
    }
}

/// Whether what the broker could mint makes nobody an authority. Below its intermediate every workload of the trust domain
/// can be named, and nothing tells it from others; so there no authority of that trust domain is believed.
pub(super) fn admits_nobody<'a>(
    root: &Table<'_>,
    execution: &ExecutionConfig,
    authorities: impl Iterator<Item = &'a SpiffeId>,
) -> bool {
    let ExecutionConfig::SpireDownstream(server) = execution else { return true };
    let mut sound = true;
    for id in authorities.filter(|id| id.trust_domain() == server.id.trust_domain()) {
        let problem = format_args!("the broker could mint the SVID of `{id}` itself, by its intermediate CA");
        let hint = "let the server mint (`issuer = \"spire-mint\"`), or name an authority of another trust domain";
        root.refuse::<()>("authorities", problem, Some(hint));
        sound = false;
    }
    sound
}
