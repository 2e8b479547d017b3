//! The account, and an authority and a broker for each exchange.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use seb::clock;
use seb::contract::Contract;
use seb::identity::embedded::{Domain, Grant};
use seb::identity::folder;
use seb::proto::seb::v1::ExecuteRequest;
use seb::proto::seb::v1::execution_service_client::ExecutionServiceClient;
use seb::sab::authority::Authority;
use seb::timestamp::Timestamp;
use seb::tls::{self, Connector, H2};
use serde_json::{Value, json};
use spiffe::TrustDomain;
use tonic::transport::{Channel, Endpoint};

use super::certify::{certify, id};
use super::process::{PATIENCE, Process};
use super::recorder::{Recorder, Trip};
use super::roles_anywhere::{PROFILE, ROLE, RolesAnywhere, Rules, TRUST_ANCHOR, Trust};
use super::sessions::{AUDIENCE, WEB, believe, issued_by};
use super::settings::{BROKER, SAB};
use super::testbed::Folder;
use super::testbed::aws::{ACCOUNT, Api, Asked, Aws, allow, trusts};
use super::testbed::spire::{Options, Spire};

/// How many agents have an identity and a connection of their own.
pub(crate) const AGENTS: usize = 8;

/// The life of what is issued here, in seconds.
const LIFE: u64 = 43_200;

const OWN_ANCHOR: &str =
    "arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/5e5e5e5e-0000-4000-8000-000000000005";
const READER: &str = "arn:aws:iam::123456789012:role/seb-reader";
const TARGET: &str = "arn:aws:iam::123456789012:role/seb-target";
const POOL: &str = "arn:aws:iam::123456789012:role/seb-pool";
const ORDERS: &str = "arn:aws:dynamodb:eu-west-1:123456789012:table/orders";

/// How an execution identity becomes a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Exchange {
    PerMutation,
    Pooled,
    WebIdentity,
}

impl Exchange {
    pub(crate) const ALL: [Self; 3] = [Self::PerMutation, Self::Pooled, Self::WebIdentity];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::PerMutation => "per-mutation",
            Self::Pooled => "pooled",
            Self::WebIdentity => "web-identity",
        }
    }

    /// Who mints the identities: JWT-SVIDs are SPIRE's alone.
    pub(crate) const fn issuer(self) -> &'static str {
        match self {
            Self::PerMutation | Self::Pooled => "embedded",
            Self::WebIdentity => "spire-mint",
        }
    }
}

impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The emulator, with a table and the roles.
pub(crate) struct Account {
    aws: Aws,
    folder: Folder,
}

impl Account {
    pub(crate) async fn start() -> Self {
        let folder = Folder::new();
        let aws = Aws::start(&folder).await;
        let everybody = trusts(&["*".to_owned()]);
        let steps = json!(["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]);
        let leads = json!({ "Effect": "Allow", "Action": steps, "Resource": TARGET });
        aws.role("seb-execution", &everybody, &leads).await;
        aws.role("seb-pool", &everybody, &leads).await;
        aws.role("seb-reader", &everybody, &allow(&json!("dynamodb:GetItem"))).await;
        aws.role("seb-target", &everybody, &allow(&json!("*"))).await;
        let body = json!({
            "TableName": "orders",
            "KeySchema": [{ "AttributeName": "id", "KeyType": "HASH" }],
            "AttributeDefinitions": [{ "AttributeName": "id", "AttributeType": "S" }],
            "BillingMode": "PAY_PER_REQUEST",
        });
        aws.root(&Asked::json("dynamodb", "DynamoDB_20120810.CreateTable", &body)).await;
        Self { aws, folder }
    }
}

/// An authority and a broker, and what is between the broker and the provider.
pub(crate) struct World {
    pub(crate) exchange: Exchange,
    pub(crate) broker: Process,
    pub(crate) agents: Vec<ExecutionServiceClient<Channel>>,
    pub(crate) emulator: u32,
    anywhere: Recorder,
    services: Recorder,
    api: Api,
    authority: Authority,
    items: AtomicUsize,
    _endpoint: RolesAnywhere,
    _sab: Process,
    _spire: Option<Spire>,
}

impl World {
    /// For an account in which IAM Roles Anywhere gives so many sessions in a second, and a broker that knows.
    pub(crate) async fn start(account: &Account, exchange: Exchange, per_second: usize) -> anyhow::Result<Self> {
        let folder = account.folder.folder(&format!("{exchange}-{per_second}"));
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700))?;
        let (spire, anchors) = identities(account, &folder, exchange).await?;
        let api = account.aws.api.clone();
        let [own, executions] = anchors;
        let mut rules = Rules::new(&executions, issued_by(api.clone()));
        rules.per_second = per_second;
        rules.anchors.insert(OWN_ANCHOR.to_owned(), own);
        for role in [READER, POOL] {
            let uri_begins = "spiffe://example.org/seb".to_owned();
            rules.roles.insert(role.to_owned(), Trust { source_arn: Some(OWN_ANCHOR.to_owned()), uri_begins });
        }
        let endpoint = RolesAnywhere::start(rules, None).await;
        let anywhere = Recorder::to(endpoint.origin.trim_start_matches("http://")).await;
        let services = Recorder::to(&api.address).await;

        let policies = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/default");
        let sab = format!("{SAB}policies.folder = {policies:?}\n");
        let sab = Process::start(&folder, "sab", &["serve"], "sab.toml", &sab).await?;
        let mut text = BROKER.replace("AUTHORITY", sab.address("listening")?) + CEILING;
        if let Some(spire) = &spire {
            let address = &spire.server_address;
            text += &format!(
                "[execution]\nissuer = \"spire-mint\"\nserver_address = \"{address}\"\n\
                 server_id = \"spiffe://example.org/spire/server\"\n"
            );
        }
        let mutations = match exchange {
            Exchange::PerMutation => format!(
                "trust_anchor = \"{TRUST_ANCHOR}\"\nbootstrap_role = \"{ROLE}\"\nrole = \"{TARGET}\"\n\
                 create_sessions_per_second = {per_second}"
            ),
            Exchange::Pooled => format!("bootstrap_role = \"{POOL}\"\nrole = \"{TARGET}\""),
            Exchange::WebIdentity => format!("audience = \"{AUDIENCE}\"\nrole = \"{WEB}\""),
        };
        text += &format!(
            "[[targets]]\nname = \"account\"\nkind = \"aws\"\n[targets.aws]\nregion = \"eu-west-1\"\nendpoint = \"{}\"\n\
             roles_anywhere_endpoint = \"{}\"\ntrust_anchor = \"{OWN_ANCHOR}\"\nprofile = \"{PROFILE}\"\n\
             reader_role = \"{READER}\"\n[targets.mutations]\nexchange = \"{exchange}\"\n{mutations}\n",
            services.origin(),
            anywhere.origin(),
        );
        let broker = Process::start(&folder, "seb", &["broker"], "broker.toml", &text).await?;
        let mut agents = Vec::new();
        for agent in 0..AGENTS {
            let own = folder::open(&folder.join(format!("agent-{agent}"))).await?;
            let config = tls::client_config(&own, [id("seb")?], &[H2])?;
            let endpoint = Endpoint::from_shared(format!("http://{}", broker.address("grpc")?))?.tcp_nodelay(true);
            let channel = endpoint.connect_with_connector(Connector::new(config, PATIENCE)).await?;
            agents.push(ExecutionServiceClient::new(channel));
        }
        let authority = Authority::in_folder(&folder.join("sab"))?;
        Ok(Self {
            exchange,
            broker,
            agents,
            emulator: account.aws.process.id(),
            anywhere,
            services,
            api,
            authority,
            items: AtomicUsize::new(0),
            _endpoint: endpoint,
            _sab: sab,
            _spire: spire,
        })
    }

    /// Everything between broker and provider since it was last asked, with what it was.
    pub(crate) fn trips(&self) -> anyhow::Result<Vec<(&'static str, Trip)>> {
        let trips = self.anywhere.take().into_iter().chain(self.services.take());
        trips.map(|trip| Ok((kind(&trip.asked())?, trip))).collect()
    }

    /// Makes an item of the table; its key.
    pub(crate) async fn item(&self) -> String {
        let item = format!("{}-{}", self.exchange, self.items.fetch_add(1, Ordering::Relaxed));
        let body = json!({ "TableName": "orders", "Item": order(&item, 0) });
        self.api.root(&Asked::json("dynamodb", "DynamoDB_20120810.PutItem", &body)).await;
        item
    }

    /// What `agent` sends for one execution, under a certificate of its own: the item has this price, if it is still its owner's.
    pub(crate) fn ask(&self, agent: usize, item: &str, price: usize) -> anyhow::Result<ExecuteRequest> {
        let now = clock::now()?.seconds();
        let at = |seconds| Timestamp::from_seconds(seconds);
        let (begin, end) = (at(now - 60)?, at(now + LIFE / 2)?);
        let contract = json!({
            "schema": "seb.dev/contract/v1",
            "target": { "kind": "aws", "name": "account" },
            "steps": [{
                "name": "price",
                "mutation": {
                    "verb": "dynamodb:PutItem",
                    "resource": {
                        "account": ACCOUNT, "region": "eu-west-1", "actions": ["dynamodb:PutItem"], "arns": [ORDERS],
                        "read": {
                            "operation": "dynamodb:GetItem",
                            "input": { "TableName": "orders", "Key": { "id": { "S": item } }, "ConsistentRead": true },
                            "object": "/Item",
                        },
                    },
                    "body": { "TableName": "orders", "Item": order(item, price) },
                },
                "baseline": {
                    "mode": "fields", "identity": ORDERS, "version": "any", "fields": { "/Item/owner/S": "load" },
                },
            }],
            "limits": { "uses": 1, "spacing_seconds": 0, "not_before": begin, "not_after": end },
            "deadline_seconds": 30,
        });
        certify(&self.authority, agent, &Contract::compile(&contract.to_string())?, [begin, end])
    }
}

fn order(item: &str, price: usize) -> Value {
    json!({ "id": { "S": item }, "owner": { "S": "load" }, "price": { "N": price.to_string() } })
}

/// What a request is.
fn kind(asked: &str) -> anyhow::Result<&'static str> {
    let kinds = [
        ("POST /sessions", "CreateSession"),
        ("Action=AssumeRoleWithWebIdentity", "AssumeRoleWithWebIdentity"),
        ("Action=AssumeRole", "AssumeRole"),
        ("DynamoDB_20120810.GetItem", "GetItem"),
        ("DynamoDB_20120810.PutItem", "PutItem"),
    ];
    let found = kinds.into_iter().find(|(text, _)| asked.contains(text));
    found
        .map(|(_, kind)| kind)
        .with_context(|| format!("an unknown request: {}", asked.lines().next().unwrap_or_default()))
}

/// Folders with the identities of authority, broker and agents; the CAs of the broker's own and of execution identities.
async fn identities(
    account: &Account,
    folder: &Path,
    exchange: Exchange,
) -> anyhow::Result<(Option<Spire>, [Vec<u8>; 2])> {
    let agents = (0..AGENTS).map(|agent| (format!("agent/{agent}"), folder.join(format!("agent-{agent}"))));
    let own = ["sab", "seb"].map(|who| (who.to_owned(), folder.join(who)));
    let all: Vec<(String, PathBuf)> = agents.chain(own).collect();
    let ca = |name: &str| -> anyhow::Result<Vec<u8>> {
        Ok(CertificateDer::from_pem_file(folder.join("seb").join(name))?.to_vec())
    };
    if exchange != Exchange::WebIdentity {
        let domain = Domain::init(&folder.join("domain"), &TrustDomain::new("example.org")?, clock::now()?)?;
        for (who, into) in all {
            domain.issue(Grant::new(id(&who)?, into, Duration::from_secs(LIFE), who == "seb"), clock::now()?)?;
        }
        return Ok((None, [ca("bundle.pem")?, ca("execution-bundle.pem")?]));
    }
    let admin_ids = vec!["spiffe://example.org/seb".to_owned()];
    let spire = Spire::start(&account.folder, Options { admin_ids, discovery: true, ..Options::default() }).await;
    for (who, into) in all {
        spire.mint_folder(&who, &format!("{LIFE}s"), &into).await;
    }
    believe(&account.aws, &spire.issuer).await;
    Ok((Some(spire), [ca("bundle.pem")?, ca("bundle.pem")?]))
}

/// Who the broker is, and what it may do in the account.
const CEILING: &str = r#"
identity.folder = "seb"
ceilings.authorities."spiffe://example.org/sab".targets = ["account"]
[ceilings.targets.account]
kind = "aws"
accounts = ["123456789012"]
regions = ["eu-west-1"]
rules = [{ verbs = ["dynamodb:PutItem"], resources = ["arn:aws:dynamodb:eu-west-1:123456789012:table/orders"] }]
"#;
