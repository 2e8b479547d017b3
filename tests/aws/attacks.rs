//! The attacks of the table, carried out.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{Method, StatusCode};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use seb::clock;
use seb::target::aws::create_session::RolesAnywhere;
use serde_json::{Value, json};

use crate::roles_anywhere::{PROFILE, REGION, ROLE, TRUST_ANCHOR};
use crate::testbed::aws::{ACCOUNT, Api, Asked, Keys, allow, element, policy};
use crate::world::{ORDERS, OTHER, PASSED, TARGET, USERS, World, certified, client, item, keys, mutation, soon};

const SECOND_ANCHOR: &str =
    "arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/9f9f9f9f-0000-4000-8000-000000000009";
const REPORTS: &str = "arn:aws:s3:::reports/*";

/// What came of an attack: whether it was done, and what was said.
#[derive(Debug)]
pub struct Outcome {
    pub done: bool,
    pub said: String,
}

impl From<(StatusCode, String)> for Outcome {
    fn from((status, said): (StatusCode, String)) -> Self {
        Self { done: status.is_success(), said }
    }
}

/// Tries the attack of this name.
pub async fn attempt(world: &World, name: &str) -> Outcome {
    match name {
        "agent"
        | "not-an-execution"
        | "another-name"
        | "second-anchor"
        | "second-anchor-unasked"
        | "late-identity"
        | "ca-as-leaf" => at_create_session(world, name).await,
        "bootstrap-acts" | "bootstrap-elsewhere" | "bootstrap-wide" => by_bootstrap(world, name).await,
        "resource-policy" | "resource-policy-late" | "resource-policy-implicit" => by_grant(world, name).await,
        _ if name.starts_with("admin-") => by_administrator(world, name).await,
        _ => by_session(world, name).await,
    }
}

/// A CA, and leaves below it.
struct Pki(CertifiedIssuer<'static, KeyPair>);

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "another CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, name: &str, path: &str) -> CertifiedKey {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.subject_alt_names = vec![SanType::URI(format!("spiffe://example.org/{path}").try_into().unwrap())];
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.0).unwrap();
        identity(vec![leaf.der().clone()], &key)
    }
}

fn identity(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> CertifiedKey {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    CertifiedKey::new(chain, any_supported_type(&key).unwrap())
}

async fn create(roles: &RolesAnywhere, identity: &CertifiedKey) -> Outcome {
    match client().create_session(roles, identity, soon()).await {
        Ok(session) => Outcome { done: true, said: session.assumed_role_arn },
        Err(error) => Outcome { done: false, said: error.to_string() },
    }
}

async fn at_create_session(world: &World, name: &str) -> Outcome {
    let (pki, roles, mutation) = (Pki::new(), world.bootstrap(), mutation().to_string());
    let anchored = |arn: &str| {
        let (arn, der) = (arn.to_owned(), pki.0.der().to_vec());
        world.anywhere.configure(|rules| drop(rules.anchors.insert(arn, der)));
    };
    let by_second_anchor = || {
        let arn = |text: &str| text.parse().unwrap();
        let (origin, region) = (world.anywhere.origin.parse().unwrap(), REGION.parse().unwrap());
        RolesAnywhere::new(origin, region, arn(SECOND_ANCHOR), arn(PROFILE), arn(ROLE)).unwrap()
    };
    let execution = || pki.issue(&mutation, &format!("seb/execution/{mutation}"));
    match name {
        "agent" => {
            let folder = &world.agent;
            let chain = CertificateDer::pem_file_iter(folder.join("svid.pem")).unwrap().map(Result::unwrap).collect();
            let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
            create(&roles, &CertifiedKey::new(chain, any_supported_type(&key).unwrap())).await
        }
        "not-an-execution" => {
            anchored(TRUST_ANCHOR);
            create(&roles, &pki.issue("seb", "seb/replica/one")).await
        }
        "another-name" => {
            anchored(TRUST_ANCHOR);
            create(&roles, &pki.issue(&mutation, "agent/one")).await
        }
        "second-anchor" => {
            anchored(SECOND_ANCHOR);
            create(&by_second_anchor(), &execution()).await
        }
        "second-anchor-unasked" => {
            anchored(SECOND_ANCHOR);
            world.anywhere.configure(|rules| rules.roles.values_mut().for_each(|trust| trust.source_arn = None));
            create(&by_second_anchor(), &execution()).await
        }
        "late-identity" => {
            let late = world.mint(1).await;
            let (plan, resource) = (late.plan().clone(), certified(&["dynamodb:PutItem"], &[ORDERS]));
            passed(plan.not_after().seconds() + 1).await;
            match world.per_mutation().session(late, &resource, soon()).await {
                Ok(session) => Outcome { done: true, said: session.assumed_role_arn },
                Err(error) => {
                    let said = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                    Outcome { done: false, said }
                }
            }
        }
        _ => {
            anchored(TRUST_ANCHOR);
            create(&roles, &identity(vec![pki.0.der().clone()], pki.0.key())).await
        }
    }
}

/// Waits until this second, and what a clock may lack, is over.
async fn passed(second: u64) {
    while clock::now().unwrap().seconds() <= second {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn by_bootstrap(world: &World, name: &str) -> Outcome {
    let issued = world.first_session().await;
    let aws = &world.aws;
    match name {
        "bootstrap-acts" => aws.send(&issued, &item("PutItem", "orders", "1")).await.into(),
        "bootstrap-elsewhere" => aws.assume(&issued, OTHER, "elsewhere", &[]).await.into(),
        _ => {
            let (status, answer) = aws.assume(&issued, TARGET, "anything", &[]).await;
            assert_eq!(status, StatusCode::OK, "{answer}");
            aws.send(&Keys::of(&answer), &item("DeleteItem", "users", "1")).await.into()
        }
    }
}

async fn by_session(world: &World, name: &str) -> Outcome {
    let aws = &world.aws;
    let put = certified(&["dynamodb:PutItem"], &[ORDERS]);
    let session = async || keys(&world.session(&put).await);
    let iam = |action: &str, more: &[(&str, &str)]| {
        let parameters: Vec<_> = [("RoleName", "seb-target")].iter().chain(more).copied().collect();
        Asked::query("iam", action, &parameters)
    };
    match name {
        "other-action" => aws.send(&session().await, &item("DeleteItem", "orders", "1")).await.into(),
        "other-resource" => aws.send(&session().await, &item("PutItem", "users", "1")).await.into(),
        "other-service" => {
            let object = Asked::rest("s3", Method::PUT, "/reports/1").with_body("x");
            aws.send(&session().await, &object).await.into()
        }
        "reads" => aws.send(&session().await, &item("GetItem", "orders", "1")).await.into(),
        "late" => {
            let identity = world.mint(3).await;
            let end = identity.plan().not_after().seconds();
            let session = world.per_mutation().session(identity, &put, soon()).await.unwrap();
            let keys = keys(&session);
            let (status, answer) = aws.send(&keys, &item("PutItem", "orders", "in-time")).await;
            assert_eq!(status, StatusCode::OK, "{answer}");
            assert!(session.credentials.expiration().seconds() > end + 600, "AWS itself would let it go on");
            passed(end).await;
            aws.send(&keys, &item("PutItem", "orders", "late")).await.into()
        }
        "chain" => aws.assume(&session().await, OTHER, "elsewhere", &[]).await.into(),
        "chain-self" => aws.assume(&session().await, TARGET, "again", &[]).await.into(),
        "federate" => {
            let asked = Asked::query("sts", "GetFederationToken", &[("Name", "somebody")]);
            aws.send(&session().await, &asked).await.into()
        }
        "pass-role" => {
            let function = "arn:aws:lambda:eu-west-1:123456789012:function:job";
            let may = certified(&["lambda:CreateFunction"], &[function]);
            aws.send(&keys(&world.session(&may).await), &create_function()).await.into()
        }
        "grant" => {
            let document = policy(&allow(&json!("*"))).to_string();
            let asked = iam("PutRolePolicy", &[("PolicyName", "more"), ("PolicyDocument", &document)]);
            aws.send(&session().await, &asked).await.into()
        }
        "tags" => {
            let asked = iam("TagRole", &[("Tags.member.1.Key", "seb:mutation"), ("Tags.member.1.Value", "another")]);
            aws.send(&session().await, &asked).await.into()
        }
        "altered" => {
            let signed = item("PutItem", "orders", "1");
            aws.send_altered(&session().await, &signed, &signed.body.replace("\"1\"", "\"2\"")).await.into()
        }
        "again" => {
            let keys = session().await;
            let (status, answer) = aws.send(&keys, &item("PutItem", "orders", "1")).await;
            assert_eq!(status, StatusCode::OK, "{answer}");
            aws.send(&keys, &item("PutItem", "orders", "1")).await.into()
        }
        "admin" => {
            let keys = aws.user("admin", &allow(&json!("*"))).await;
            aws.send(&keys, &item("PutItem", "orders", "1")).await.into()
        }
        _ => panic!("nobody wrote `{name}`"),
    }
}

fn create_function() -> Asked {
    // An archive without files.
    let zip = "UEsFBgAAAAAAAAAAAAAAAAAAAAAAAA==";
    let body = json!({
        "FunctionName": "job", "Role": PASSED, "Runtime": "python3.13", "Handler": "job.main", "Code": { "ZipFile": zip },
    });
    let mut asked = Asked::rest("lambda", Method::POST, "/2015-03-31/functions").with_body(&body.to_string());
    asked.headers.push(("content-type".to_owned(), "application/json".to_owned()));
    asked
}

/// A bucket policy that names the session itself.
async fn by_grant(world: &World, name: &str) -> Outcome {
    let aws = &world.aws;
    let object = Asked::rest("s3", Method::PUT, "/reports/1").with_body("x");
    let (keys, arn, end) = match name {
        "resource-policy-implicit" => {
            // As somebody would write it who does not know.
            let only =
                policy(&json!({ "Effect": "Allow", "Action": "dynamodb:PutItem", "Resource": USERS })).to_string();
            let first = world.first_session().await;
            let (status, answer) = aws.assume(&first, TARGET, "careless", &[("Policy", &only)]).await;
            assert_eq!(status, StatusCode::OK, "{answer}");
            (Keys::of(&answer), element(&answer, "Arn").unwrap(), 0)
        }
        _ => {
            let may = match name {
                "resource-policy" => certified(&["dynamodb:PutItem"], &[ORDERS]),
                _ => certified(&["s3:PutObject"], &["arn:aws:s3:::reports/1"]),
            };
            let identity = world.mint(if name == "resource-policy" { 60 } else { 3 }).await;
            let end = identity.plan().not_after().seconds();
            let session = world.per_mutation().session(identity, &may, soon()).await.unwrap();
            (keys(&session), session.assumed_role_arn, end)
        }
    };
    let grant = json!({ "Effect": "Allow", "Principal": { "AWS": arn }, "Action": "s3:*", "Resource": REPORTS });
    let asked = Asked::rest("s3", Method::PUT, "/reports").with_query("policy", "");
    aws.root(&asked.with_body(&policy(&json!([grant])).to_string())).await;
    if name == "resource-policy-late" {
        passed(end).await;
    }
    aws.send(&keys, &object).await.into()
}

/// Texts of the module `organization-guardrails`, as `tests/terraform` renders them.
const SERVICE_CONTROL_POLICIES: &str = include_str!("../golden/service-control-policies.json");
const MANAGEMENT: &str = "999999999999";

/// Puts the account into an organization in which they are attached to the root: the keys of an administrator of the management
/// account, and of one of this account.
async fn organize(aws: &Api) -> (Keys, Keys) {
    let management = aws.administrator(MANAGEMENT, None).await;
    let call = async |operation: &str, body: Value| aws.organization(&management, operation, &body).await;
    let made = call("CreateOrganization", json!({ "FeatureSet": "ALL" })).await;
    let administrator = aws.administrator(ACCOUNT, made["Organization"]["Id"].as_str()).await;
    let root = call("ListRoots", json!({})).await["Roots"][0]["Id"].clone();
    let policies: BTreeMap<String, Value> = serde_json::from_str(SERVICE_CONTROL_POLICIES).unwrap();
    assert_eq!(policies.len(), 3);
    for (name, policy) in policies {
        let kind = "SERVICE_CONTROL_POLICY";
        let policy = json!({ "Name": name, "Description": "", "Type": kind, "Content": policy.to_string() });
        let made = call("CreatePolicy", policy).await;
        let id = &made["Policy"]["PolicySummary"]["Id"];
        call("AttachPolicy", json!({ "PolicyId": id, "TargetId": root })).await;
    }
    (management, administrator)
}

/// An administrator with long-lived keys, in an organization with the policies of the module.
async fn by_administrator(world: &World, name: &str) -> Outcome {
    let aws = &world.aws;
    let everything = policy(&allow(&json!("*"))).to_string();
    let everybody = policy(&json!({ "Effect": "Allow", "Principal": { "AWS": "*" }, "Action": "sts:AssumeRole" }));
    let boundary = [("PolicyName", "boundary"), ("Path", "/seb/"), ("PolicyDocument", everything.as_str())];
    aws.root(&Asked::query("iam", "CreatePolicy", &boundary)).await;
    let role =
        [("RoleName", "seb-orders"), ("Path", "/seb/execution/"), ("AssumeRolePolicyDocument", &everybody.to_string())];
    aws.root(&Asked::query("iam", "CreateRole", &role)).await;
    let (management, administrator) = organize(aws).await;
    // What nobody protects goes on.
    let (status, answer) = aws.send(&administrator, &item("GetItem", "orders", "1")).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let (keys, asked) = match name {
        "admin-bound" => (administrator, update_table()),
        "admin-bound-boundary" => {
            let arn = format!("arn:aws:iam::{ACCOUNT}:policy/seb/boundary");
            let version = [("PolicyArn", arn.as_str()), ("PolicyDocument", &everything), ("SetAsDefault", "true")];
            (administrator, Asked::query("iam", "CreatePolicyVersion", &version))
        }
        "admin-bound-issuer" => {
            let thumb = "0".repeat(40);
            let issuer = [("Url", "https://issuer.example.org"), ("ThumbprintList.member.1", thumb.as_str())];
            (administrator, Asked::query("iam", "CreateOpenIDConnectProvider", &issuer))
        }
        "admin-bound-session" => {
            let role = format!("arn:aws:iam::{ACCOUNT}:role/seb/execution/seb-orders");
            return aws.assume(&administrator, &role, "mine", &[]).await.into();
        }
        "admin-bound-tag" => {
            let tag = [("RoleName", "other"), ("Tags.member.1.Key", "seb:mutation"), ("Tags.member.1.Value", "m-1")];
            (administrator, Asked::query("iam", "TagRole", &tag))
        }
        "admin-management" => {
            let table = json!({
                "TableName": "orders", "BillingMode": "PAY_PER_REQUEST",
                "KeySchema": [{ "AttributeName": "id", "KeyType": "HASH" }],
                "AttributeDefinitions": [{ "AttributeName": "id", "AttributeType": "S" }],
            });
            let made = aws.send(&management, &Asked::json("dynamodb", "DynamoDB_20120810.CreateTable", &table)).await;
            assert_eq!(made.0, StatusCode::OK, "{}", made.1);
            (management, update_table())
        }
        _ => panic!("nobody wrote `{name}`"),
    };
    aws.send(&keys, &asked).await.into()
}

fn update_table() -> Asked {
    let body = json!({ "TableName": "orders", "DeletionProtectionEnabled": true });
    Asked::json("dynamodb", "DynamoDB_20120810.UpdateTable", &body)
}
