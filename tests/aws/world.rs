//! An AWS account with what the broker needs in it, and a trust domain with execution identities.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use seb::clock;
use seb::contract::AwsResource;
use seb::decision::MutationId;
use seb::digest::Digest;
use seb::identity::embedded::{Domain, EmbeddedIssuer, Grant};
use seb::identity::{ExecutionIdentity, Form, Identities, Issuer, folder};
use seb::target::aws::Aws as Driver;
use seb::target::aws::client::{Client, Settings};
use seb::target::aws::create_session::{RolesAnywhere, Session};
use seb::target::aws::endpoint::Variant;
use seb::target::aws::exchange::PerMutation;
use seb::target::aws::settings::Account;
use seb::timestamp::Timestamp;
use serde_json::{Value, json};
use spiffe::{SpiffeId, TrustDomain};

use crate::roles_anywhere::{self as endpoint, PROFILE, REGION, ROLE, Rules, TRUST_ANCHOR, Trust};
use crate::sessions::issued_by;
use crate::testbed::aws::{ACCOUNT, Api, Asked, Aws, Keys, allow, trusts};
use crate::testbed::{Folder, PATIENCE};
use crate::ways::Way;

/// The role whose sessions make mutations. It may do everything: what keeps a session from it is the session's own.
pub const TARGET: &str = "arn:aws:iam::123456789012:role/seb-target";
/// A role that everybody in the account may assume.
pub const OTHER: &str = "arn:aws:iam::123456789012:role/other";
/// The same, and a service that it can be passed to.
pub const PASSED: &str = "arn:aws:iam::123456789012:role/passed";

/// A role that can only read.
pub const READER: &str = "arn:aws:iam::123456789012:role/seb-reader";
/// The trust anchor below which the broker has its own SVID.
pub const OWN_ANCHOR: &str =
    "arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/5e5e5e5e-0000-4000-8000-000000000005";
/// A role that only leads to the one of mutations, for the broker's own session.
pub const POOL: &str = "arn:aws:iam::123456789012:role/seb-pool";

pub const ORDERS: &str = "arn:aws:dynamodb:eu-west-1:123456789012:table/orders";
pub const USERS: &str = "arn:aws:dynamodb:eu-west-1:123456789012:table/users";

/// The emulator, IAM Roles Anywhere before it, and who mints execution identities.
pub struct World {
    pub anywhere: endpoint::RolesAnywhere,
    pub issuer: Arc<EmbeddedIssuer>,
    /// The broker's own.
    pub identities: Identities,
    /// The folder with the identity of an agent.
    pub agent: PathBuf,
    pub aws: Aws,
    pub folder: Folder,
}

/// A name of the trust domain.
pub fn id(path: &str) -> SpiffeId {
    format!("spiffe://example.org/{path}").parse().unwrap()
}

pub fn soon() -> tokio::time::Instant {
    clock::instant() + PATIENCE
}

/// A client of AWS that knows no proxy and no other CA.
pub fn client() -> Client {
    Client::new(&Settings::default()).unwrap()
}

/// The actions on the resources, as a contract certifies them.
pub fn certified(actions: &[&str], arns: &[&str]) -> AwsResource {
    AwsResource {
        account: ACCOUNT.to_owned(),
        region: REGION.to_owned(),
        actions: actions.iter().map(|action| action.parse().unwrap()).collect(),
        arns: arns.iter().map(|&arn| arn.to_owned()).collect(),
        read: None,
    }
}

/// What a session's credentials sign by.
pub fn keys(session: &Session) -> Keys {
    let credentials = &session.credentials;
    Keys {
        id: credentials.access_key_id().to_owned(),
        secret: credentials.secret_access_key().to_owned(),
        token: Some(credentials.session_token().to_owned()),
    }
}

impl World {
    pub async fn new() -> Self {
        let folder = Folder::new();
        let now = clock::now().unwrap();
        let domain = TrustDomain::new("example.org").unwrap();
        let domain = Domain::init(&folder.join("domain"), &domain, now).unwrap();
        for (path, executes) in [("seb", true), ("agent/one", false)] {
            let into = folder.join(&path.replace('/', "-"));
            domain.issue(Grant::new(id(path), into, Duration::from_secs(3600), executes), now).unwrap();
        }
        let identities = folder.path().to_owned();
        Self::around(folder, &identities).await
    }

    /// The account for the broker and agent of which the folders are in `identities`.
    pub async fn around(folder: Folder, identities: &Path) -> Self {
        let aws = Aws::start(&folder).await;
        prepare(&aws).await;
        let broker = identities.join("seb");
        let anchor = CertificateDer::from_pem_file(broker.join("execution-bundle.pem")).unwrap().to_vec();
        let mut rules = Rules::new(&anchor, issued_by(aws.api.clone()));
        let root = CertificateDer::from_pem_file(broker.join("bundle.pem")).unwrap().to_vec();
        rules.anchors.insert(OWN_ANCHOR.to_owned(), root);
        for role in [READER, POOL] {
            let uri_begins = "spiffe://example.org/seb".to_owned();
            rules.roles.insert(role.to_owned(), Trust { source_arn: Some(OWN_ANCHOR.to_owned()), uri_begins });
        }
        Self {
            anywhere: endpoint::RolesAnywhere::start(rules, None).await,
            issuer: Arc::new(EmbeddedIssuer::open(&broker).await.unwrap()),
            identities: folder::open(&broker).await.unwrap(),
            agent: identities.join("agent-one"),
            aws,
            folder,
        }
    }

    /// By which sessions of the bootstrap role are made.
    pub fn bootstrap(&self) -> RolesAnywhere {
        let arn = |text: &str| text.parse().unwrap();
        let (origin, region) = (self.anywhere.origin.parse().unwrap(), REGION.parse().unwrap());
        RolesAnywhere::new(origin, region, arn(TRUST_ANCHOR), arn(PROFILE), arn(ROLE)).unwrap()
    }

    /// The account, as a broker is told of it.
    pub fn account(&self) -> Account {
        Account {
            region: REGION.parse().unwrap(),
            variant: Variant::Regional,
            endpoint: Some(self.aws.origin().parse().unwrap()),
            roles_anywhere: Some(self.anywhere.origin.parse().unwrap()),
            ca_file: None,
            proxy: None,
            trust_anchor: OWN_ANCHOR.parse().unwrap(),
            profile: PROFILE.parse().unwrap(),
            reader_role: READER.parse().unwrap(),
        }
    }

    /// The broker's driver of it.
    pub fn driver(&self) -> Driver {
        self.account().open(Some(&Way::PerMutation.settings()), &self.identities).unwrap()
    }

    pub fn per_mutation(&self) -> PerMutation {
        PerMutation::new(client(), self.bootstrap(), self.aws.origin().parse().unwrap(), TARGET.parse().unwrap())
    }

    /// An identity of another mutation each time, which ends after `seconds`.
    pub async fn mint(&self, seconds: u64) -> ExecutionIdentity {
        let (mutation, now) = (mutation(), clock::now().unwrap());
        let end = Timestamp::from_seconds(now.seconds() + seconds).unwrap();
        let plan = self.issuer.plan(&mutation, Form::X509, now, end).unwrap();
        self.issuer.mint(plan).await.unwrap()
    }

    /// The first session of a mutation, which only leads to the second one: as whoever reads the broker's memory has it.
    pub async fn first_session(&self) -> Keys {
        let name = mutation().to_string();
        let (status, answer) = self.aws.assume(&Keys::root(), ROLE, &name, &[]).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        Keys::of(&answer)
    }

    /// The session of one mutation, as the broker has it.
    pub async fn session(&self, resource: &AwsResource) -> Session {
        self.per_mutation().session(self.mint(60).await, resource, soon()).await.unwrap()
    }
}

/// A mutation that no other is.
pub fn mutation() -> MutationId {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let ordinal = NEXT.fetch_add(1, Ordering::SeqCst);
    MutationId::derive(&Digest::of(b"certificate"), &"step".parse().unwrap(), ordinal)
}

async fn prepare(aws: &Api) {
    let session = |role: &str| format!("arn:aws:sts::{ACCOUNT}:assumed-role/{role}/*");
    let root = [format!("arn:aws:iam::{ACCOUNT}:root")];
    // IAM Roles Anywhere asks as the service; here its endpoint asks as root.
    let service = json!({
        "Effect": "Allow",
        "Principal": { "Service": "rolesanywhere.amazonaws.com" },
        "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"],
        "Condition": {
            "ArnEquals": { "aws:SourceArn": TRUST_ANCHOR },
            "StringLike": { "aws:PrincipalTag/x509SAN/URI": "spiffe://example.org/seb/execution/*" },
        },
    });
    // Explicit denials hold where a trust policy names the session itself, or as here lets everybody in.
    let steps = json!(["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]);
    let may = json!([
        { "Effect": "Allow", "Action": steps, "Resource": TARGET },
        { "Effect": "Deny", "NotAction": steps, "Resource": "*" },
        { "Effect": "Deny", "Action": "*", "NotResource": TARGET },
    ]);
    aws.role("seb-execution", &json!([service, trusts(&root)]), &may).await;
    aws.role("seb-pool", &trusts(&root), &may).await;
    let reads =
        json!(["dynamodb:GetItem", "dynamodb:DescribeTable", "s3:GetObject", "lambda:GetFunctionConfiguration"]);
    aws.role("seb-reader", &trusts(&root), &allow(&reads)).await;
    aws.role("seb-target", &trusts(&[session("seb-execution"), session("seb-pool")]), &allow(&json!("*"))).await;
    aws.role("other", &trusts(&["*".to_owned()]), &allow(&json!("*"))).await;
    let lambda = json!({
        "Effect": "Allow",
        "Principal": { "Service": "lambda.amazonaws.com" },
        "Action": "sts:AssumeRole",
    });
    aws.role("passed", &lambda, &allow(&json!("*"))).await;
    for table in ["orders", "users"] {
        let key = json!([{ "AttributeName": "id", "KeyType": "HASH" }]);
        let attribute = json!([{ "AttributeName": "id", "AttributeType": "S" }]);
        let body = json!({
            "TableName": table, "KeySchema": key, "AttributeDefinitions": attribute, "BillingMode": "PAY_PER_REQUEST",
        });
        aws.root(&Asked::json("dynamodb", "DynamoDB_20120810.CreateTable", &body)).await;
    }
    aws.root(&Asked::rest("s3", Method::PUT, "/reports").with_body(&location())).await;
}

fn location() -> String {
    format!(
        "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
         <LocationConstraint>{REGION}</LocationConstraint></CreateBucketConfiguration>"
    )
}

/// A call of DynamoDB on an item of a table.
pub fn item(operation: &str, table: &str, id: &str) -> Asked {
    let key = json!({ "id": { "S": id } });
    let member = if operation == "PutItem" { "Item" } else { "Key" };
    let body: Value = json!({ "TableName": table, member: key });
    Asked::json("dynamodb", &format!("DynamoDB_20120810.{operation}"), &body)
}
