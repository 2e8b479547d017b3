//! A whole broker with an account as its target: what is certified is done, once, and no credential is left anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use seb::proto::seb::v1::ExecuteRequest;
use seb::proto::seb::v1::execution::State;
use serde_json::{Value, json};

use crate::cloud_control::TOPIC;
use crate::control::CloudControl;
use crate::house::broker::{Process, Settings, execute, reason};
use crate::house::{Certificate, World as House};
use crate::memory;
use crate::recorder::{Recorder, Trip};
use crate::roles_anywhere::{Issue, PROFILE, ROLE, TRUST_ANCHOR};
use crate::sessions::{AUDIENCE, WEB};
use crate::testbed::Folder;
use crate::testbed::aws::{Asked, Keys, element};
use crate::ways::{Means, Way};
use crate::world::{ORDERS, OWN_ANCHOR, POOL, READER, TARGET, World, item};

/// A certificate for a price, while the order has another one.
fn certificate(order: &str, from: u32, to: u32) -> Certificate {
    let key = json!({"id": {"S": order}});
    let mut item = key.clone();
    item["price"] = json!({"N": to.to_string()});
    let mut certificate = Certificate::scale("unused", "unused");
    certificate.contract["target"] = json!({"kind": "aws", "name": "account"});
    certificate.contract["steps"] = json!([{
        "name": "price",
        "mutation": {
            "verb": "dynamodb:PutItem",
            "resource": {
                "account": "123456789012", "region": "eu-west-1", "actions": ["dynamodb:PutItem"], "arns": [ORDERS],
                "read": {
                    "operation": "dynamodb:GetItem",
                    "input": {"TableName": "orders", "Key": key, "ConsistentRead": true},
                    "object": "/Item",
                },
            },
            "body": {"TableName": "orders", "Item": item},
        },
        "baseline": {
            "mode": "fields", "identity": ORDERS, "version": "any", "fields": {"/Item/price/N": from.to_string()},
        },
    }]);
    certificate
}

fn ask(house: &House, certificate: &Certificate) -> ExecuteRequest {
    ExecuteRequest { values: Vec::new(), ..house.ask(certificate, 0) }
}

/// The broker's configuration, with the account at `endpoint` as a target that is reached this way.
fn configure(house: &House, world: &World, endpoint: &str, way: &Means, per_second: u32) {
    let path = house.configure(&Settings { log: "trace", ..Settings::default() });
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace("targets = [\"prod\", \"elsewhere\"]", "targets = [\"prod\", \"elsewhere\", \"account\"]");
    let roles_anywhere = &world.anywhere.origin;
    let mutations = match way.way {
        Way::PerMutation => format!(
            "trust_anchor = \"{TRUST_ANCHOR}\"\nbootstrap_role = \"{ROLE}\"\nrole = \"{TARGET}\"\n\
             create_sessions_per_second = {per_second}"
        ),
        Way::Pooled => format!("bootstrap_role = \"{POOL}\"\nrole = \"{TARGET}\""),
        Way::WebIdentity => format!("audience = \"{AUDIENCE}\"\nrole = \"{WEB}\""),
    };
    let execution = match &way.spire {
        Some(spire) => format!(
            "[execution]\nissuer = \"spire-mint\"\nserver_address = \"{}\"\n\
             server_id = \"spiffe://example.org/spire/server\"",
            spire.server_address
        ),
        None => String::new(),
    };
    let exchange = way.way.name();
    let account = format!(
        r#"
{execution}
[ceilings.targets.account]
kind = "aws"
accounts = ["123456789012"]
regions = ["eu-west-1"]
[[ceilings.targets.account.rules]]
verbs = ["dynamodb:PutItem"]
actions = ["dynamodb:PutItem"]
resources = ["{ORDERS}"]
[[ceilings.targets.account.rules]]
verbs = ["cloudcontrol:CreateResource"]
actions = ["cloudformation:CreateResource", "sns:CreateTopic"]
resources = ["{TOPIC}"]
[[targets]]
name = "account"
kind = "aws"
[targets.aws]
region = "eu-west-1"
endpoint = "{endpoint}"
roles_anywhere_endpoint = "{roles_anywhere}"
trust_anchor = "{OWN_ANCHOR}"
profile = "{PROFILE}"
reader_role = "{READER}"
[targets.mutations]
exchange = "{exchange}"
{mutations}
"#
    );
    std::fs::write(path, format!("{text}{account}")).unwrap();
}

/// The secrets of the sessions that IAM Roles Anywhere gives, and of which role each is.
fn noted(issue: Issue, secrets: Arc<Mutex<BTreeMap<String, String>>>) -> Issue {
    Arc::new(move |granted| {
        let role = granted.role.clone();
        let (issued, secrets) = (issue(granted), Arc::clone(&secrets));
        Box::pin(async move {
            let issued = issued.await?;
            let parts = [issued.secret_access_key.clone(), issued.session_token.clone()];
            secrets.lock().unwrap().extend(parts.map(|part| (part, role.clone())));
            Ok(issued)
        })
    })
}

/// What each file in the folder of the broker holds.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.file_type().unwrap().is_file() {
            found.push((entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).unwrap()));
        }
    }
    found
}

fn holds(octets: &[u8], text: &str) -> bool {
    octets.windows(text.len()).any(|window| window == text.as_bytes())
}

/// What stands before and behind it.
fn place(area: &[u8], text: &str) -> Option<(String, String)> {
    let at = area.windows(text.len()).position(|window| window == text.as_bytes())?;
    let said = |octets: &[u8]| octets.escape_ascii().to_string();
    let behind = at + text.len();
    Some((said(&area[at.saturating_sub(120)..at]), said(&area[behind..area.len().min(behind + 120)])))
}

async fn is_sold_at(world: &World, order: &str, price: u32) {
    let body = json!({"TableName": "orders", "Item": {"id": {"S": order}, "price": {"N": price.to_string()}}});
    world.aws.root(&Asked::json("dynamodb", "DynamoDB_20120810.PutItem", &body)).await;
}

async fn price(world: &World, order: &str) -> String {
    let (_, answer) = world.aws.send(&Keys::root(), &item("GetItem", "orders", order)).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    answer["Item"]["price"]["N"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_per_mutation_what_is_certified_is_done_and_no_credential_is_left() {
    is_done_and_nothing_is_left(Way::PerMutation).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_pooled_what_is_certified_is_done_and_no_credential_is_left() {
    is_done_and_nothing_is_left(Way::Pooled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_web_identity_what_is_certified_is_done_and_no_credential_is_left() {
    is_done_and_nothing_is_left(Way::WebIdentity).await;
}

async fn is_done_and_nothing_is_left(way: Way) {
    let house = House::new().await;
    let world = World::around(Folder::new(), house.directory.path()).await;
    let secrets = Arc::new(Mutex::new(BTreeMap::new()));
    world.anywhere.configure(|rules| rules.issue = noted(Arc::clone(&rules.issue), Arc::clone(&secrets)));
    let recorder = Recorder::to(&world.aws.address).await;
    let means = Means::in_house(&house, &world, way).await;
    configure(&house, &world, &recorder.origin(), &means, 10);
    let broker = Process::start(&house).await;
    let clients = house.clients(broker.address).await;
    house.epochs.heard().await;

    is_sold_at(&world, "one", 10).await;
    let request = ask(&house, &certificate("one", 10, 12));
    let done = clients.execute(&request).await.unwrap();
    assert_eq!(State::try_from(done.state), Ok(State::Succeeded), "{done:?}");
    assert_eq!(price(&world, "one").await, "12");
    // The same again is the same execution (I3).
    is_sold_at(&world, "one", 10).await;
    let again = clients.execute(&request).await.unwrap();
    assert_eq!((again.mutation_id, price(&world, "one").await.as_str()), (done.mutation_id, "10"));
    // What has drifted is denied, and costs no use.
    let drifted = clients.execute(&ask(&house, &certificate("one", 11, 12))).await.unwrap_err();
    assert_eq!(reason(&drifted), "drift_field", "{drifted:?}");
    assert!(house.verified().await.contains("record"));

    // Every session that there was: of the reader, of the bootstrap role, and of the call.
    let mut secrets = secrets.lock().unwrap().clone();
    let answered: String = recorder.trips().iter().map(Trip::answered).collect();
    let given = match way {
        Way::WebIdentity => "<AssumeRoleWithWebIdentityResult>",
        Way::PerMutation | Way::Pooled => "<AssumeRoleResult>",
    };
    let before = secrets.len();
    for part in answered.split(given).skip(1) {
        let parts = ["SecretAccessKey", "SessionToken"].map(|name| element(part, name).unwrap());
        secrets.extend(parts.map(|part| (part, "the call".to_owned())));
    }
    let per_mutation = secrets.len() - before;
    // The token by which the session was asked for.
    let asked: String = recorder.trips().iter().map(Trip::asked).collect();
    let tokens = asked.split("WebIdentityToken=").skip(1).filter_map(|rest| rest.split(['&', ' ', '\r', '\n']).next());
    let tokens: BTreeSet<_> = tokens.map(str::to_owned).collect();
    assert_eq!(!tokens.is_empty(), way == Way::WebIdentity, "{}", tokens.len());
    secrets.extend(tokens.into_iter().map(|token| (token, "the token".to_owned())));
    assert!(before >= 2 && per_mutation >= 2, "{before} of sessions that are kept or lead on, {per_mutation} of calls");
    let process = broker.child.id().unwrap();
    let kept = files(house.directory.path());
    let names: Vec<_> = kept.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"broker.db") && names.contains(&"broker.log"), "{names:?}");
    for (name, octets) in &kept {
        for secret in secrets.keys() {
            assert!(!holds(octets, secret), "a credential is in {name}");
        }
    }
    // In memory, only the sessions that are kept on purpose, and the token as SPIRE's server sent it, by a connection that
    // is kept and has two buffers, of TLS and of HTTP/2: docs/aws.md.
    let areas = memory::memory(process);
    for (secret, role) in &secrets {
        let found: Vec<_> = areas.iter().filter_map(|area| place(area, secret)).collect();
        match role.as_str() {
            "the token" => assert!(found.len() <= 2, "{found:?}"),
            READER | POOL => assert!(!found.is_empty(), "the search finds nothing of {role}"),
            _ => assert_eq!(found, [], "of {role}"),
        }
    }
    broker.kill().await;
}

/// Over the quota: who waits has a turn, who finds no room has lost nothing.
#[tokio::test(flavor = "multi_thread")]
async fn i3_over_the_quota_no_use_is_lost() {
    let house = House::new().await;
    let world = World::around(Folder::new(), house.directory.path()).await;
    let means = Means::in_house(&house, &world, Way::PerMutation).await;
    configure(&house, &world, &world.aws.origin(), &means, 1);
    let broker = Process::start(&house).await;
    let clients = house.clients(broker.address).await;
    house.epochs.heard().await;
    let mut requests = Vec::new();
    for number in 0..10_u32 {
        let order = format!("order-{number}");
        is_sold_at(&world, &order, 10).await;
        requests.push((order.clone(), ask(&house, &certificate(&order, 10, 20))));
    }
    let answers = requests.iter().map(|(_, request)| execute(&clients.agent, request));
    let answers = futures::future::join_all(answers).await;
    let mut turned_away = Vec::new();
    for ((order, request), answer) in requests.iter().zip(&answers) {
        match answer {
            Ok(done) => assert_eq!(State::try_from(done.state), Ok(State::Succeeded), "{done:?}"),
            Err(status) => {
                assert_eq!((status.code(), reason(status)), (tonic::Code::ResourceExhausted, "target_busy".to_owned()));
                assert_eq!(price(&world, order).await, "10");
                turned_away.push((order, request));
            }
        }
    }
    // One at once, one at the window, and five that may wait.
    assert!((1..=4).contains(&turned_away.len()), "{answers:?}");
    for (order, request) in turned_away {
        let done = execute(&clients.agent, request).await.unwrap();
        assert_eq!(State::try_from(done.state), Ok(State::Succeeded), "{done:?}");
        assert_eq!(price(&world, order).await, "20");
    }
    broker.kill().await;
}

/// Many more than `CreateSession` is given for, by one session of the broker's own: none waits, and all are done.
#[tokio::test(flavor = "multi_thread")]
async fn i3_pooled_no_quota_applies() {
    let house = House::new().await;
    let world = World::around(Folder::new(), house.directory.path()).await;
    let means = Means::in_house(&house, &world, Way::Pooled).await;
    configure(&house, &world, &world.aws.origin(), &means, 0);
    let broker = Process::start(&house).await;
    let clients = house.clients(broker.address).await;
    house.epochs.heard().await;
    let mut requests = Vec::new();
    for number in 0..24_u32 {
        let order = format!("order-{number}");
        is_sold_at(&world, &order, 10).await;
        requests.push((order.clone(), ask(&house, &certificate(&order, 10, 20))));
    }
    let answers = requests.iter().map(|(_, request)| execute(&clients.agent, request));
    for ((order, _), answer) in requests.iter().zip(futures::future::join_all(answers).await) {
        assert_eq!(State::try_from(answer.unwrap().state), Ok(State::Succeeded));
        assert_eq!(price(&world, order).await, "20");
    }
    assert_eq!(world.anywhere.requests().len(), 2, "the reader's session, and the one that leads to all others");
    broker.kill().await;
}

/// A certificate for a topic, by Cloud Control.
fn topic(seconds: u32) -> Certificate {
    let mut certificate = certificate("unused", 1, 2);
    certificate.contract["deadline_seconds"] = json!(seconds);
    let step = &mut certificate.contract["steps"][0];
    step["mutation"] = json!({
        "verb": "cloudcontrol:CreateResource",
        "resource": {
            "account": "123456789012", "region": "eu-west-1",
            "actions": ["cloudformation:CreateResource", "sns:CreateTopic"], "arns": [TOPIC],
            "read": {"operation": "dynamodb:GetItem", "object": "/Item", "input": {
                "TableName": "orders", "Key": {"id": {"S": "nobody's"}}, "ConsistentRead": true,
            }},
        },
        "body": {"TypeName": "AWS::SNS::Topic", "DesiredState": "{\"TopicName\":\"news\"}"},
    });
    step["baseline"] = json!({"mode": "absent"});
    certificate
}

/// The broker dies while AWS goes on: the next one asks by the token that was recorded, and makes no second request.
#[tokio::test(flavor = "multi_thread")]
async fn i6_what_goes_on_is_settled_by_the_next_broker() {
    let house = House::new().await;
    let world = World::around(Folder::new(), house.directory.path()).await;
    let control = CloudControl::before(&world.aws.address).await;
    let means = Means::in_house(&house, &world, Way::Pooled).await;
    configure(&house, &world, &control.origin, &means, 0);
    let broker = Process::start(&house).await;
    let clients = house.clients(broker.address).await;
    house.epochs.heard().await;
    control.goes(&[json!({"OperationStatus": "IN_PROGRESS"})]);
    let request = ask(&house, &topic(3));
    let begun = clients.execute(&request).await.unwrap();
    assert_eq!(State::try_from(begun.state), Ok(State::Unknown), "{begun:?}");
    assert!(begun.detail.contains("1b0e-0"), "{begun:?}");
    broker.kill().await;
    control.goes(&[json!({"OperationStatus": "SUCCESS", "Identifier": TOPIC})]);
    let broker = Process::start(&house).await;
    let clients = house.clients(broker.address).await;
    house.epochs.heard().await;
    let settled = clients.settled(&begun.mutation_id).await;
    assert_eq!(State::try_from(settled.state), Ok(State::ReconciledApplied), "{settled:?}");
    assert!(settled.detail.contains(TOPIC), "{settled:?}");
    // The same again is the same execution (I3).
    let again = clients.execute(&request).await.unwrap();
    assert_eq!((again.mutation_id, control.came("CreateResource").len()), (begun.mutation_id, 1));
    assert!(house.verified().await.contains("record"));
    broker.kill().await;
}
