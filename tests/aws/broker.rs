//! A whole broker with an account as its target: what is certified is done, once, and no credential is left anywhere.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use seb::proto::seb::v1::ExecuteRequest;
use seb::proto::seb::v1::execution::State;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::house::broker::{Process, Settings, execute, reason};
use crate::house::{Certificate, World as House};
use crate::memory;
use crate::roles_anywhere::{Issue, PROFILE, ROLE, TRUST_ANCHOR};
use crate::testbed::Folder;
use crate::testbed::aws::{Asked, Keys, element};
use crate::world::{ORDERS, OWN_ANCHOR, READER, TARGET, World, item};

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

/// The broker's configuration, with the account at `endpoint` as a target.
fn configure(house: &House, world: &World, endpoint: &str, per_second: u32) {
    let path = house.configure(&Settings { log: "trace", ..Settings::default() });
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace("targets = [\"prod\", \"elsewhere\"]", "targets = [\"prod\", \"elsewhere\", \"account\"]");
    let roles_anywhere = &world.anywhere.origin;
    let account = format!(
        r#"
[ceilings.targets.account]
kind = "aws"
accounts = ["123456789012"]
regions = ["eu-west-1"]
[[ceilings.targets.account.rules]]
verbs = ["dynamodb:PutItem"]
actions = ["dynamodb:PutItem"]
resources = ["{ORDERS}"]
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
exchange = "per-mutation"
trust_anchor = "{TRUST_ANCHOR}"
bootstrap_role = "{ROLE}"
role = "{TARGET}"
create_sessions_per_second = {per_second}
"#
    );
    std::fs::write(path, format!("{text}{account}")).unwrap();
}

/// An address from which it is not far to the emulator, and everything that it answered.
async fn recorded(to: String) -> (String, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let answers = Arc::new(Mutex::new(String::new()));
    let all = Arc::clone(&answers);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let (to, all) = (to.clone(), Arc::clone(&all));
            tokio::spawn(async move {
                let (mut from_near, mut to_near) = near.into_split();
                let (mut from_far, mut to_far) = TcpStream::connect(to).await.unwrap().into_split();
                tokio::spawn(async move { tokio::io::copy(&mut from_near, &mut to_far).await });
                let mut buffer = [0; 65536];
                while let Ok(octets @ 1..) = from_far.read(&mut buffer).await {
                    all.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..octets]));
                    if to_near.write_all(&buffer[..octets]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (origin, answers)
}

/// The secrets of the sessions that IAM Roles Anywhere gives.
fn noted(issue: Issue, secrets: Arc<Mutex<BTreeSet<String>>>) -> Issue {
    Arc::new(move |granted| {
        let (issued, secrets) = (issue(granted), Arc::clone(&secrets));
        Box::pin(async move {
            let issued = issued.await?;
            secrets.lock().unwrap().extend([issued.secret_access_key.clone(), issued.session_token.clone()]);
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
async fn i5_what_is_certified_is_done_and_no_credential_is_left() {
    let house = House::new().await;
    let world = World::around(Folder::new(), house.directory.path()).await;
    let secrets = Arc::new(Mutex::new(BTreeSet::new()));
    world.anywhere.configure(|rules| rules.issue = noted(Arc::clone(&rules.issue), Arc::clone(&secrets)));
    let (origin, answers) = recorded(world.aws.address.clone()).await;
    configure(&house, &world, &origin, 10);
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
    let answered = answers.lock().unwrap().clone();
    for part in answered.split("<AssumeRoleResult>").skip(1) {
        secrets.extend(["SecretAccessKey", "SessionToken"].map(|name| element(part, name).unwrap()));
    }
    assert!(secrets.len() >= 6, "{}", secrets.len());
    let process = broker.child.id().unwrap();
    let kept = files(house.directory.path());
    let names: Vec<_> = kept.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"broker.db") && names.contains(&"broker.log"), "{names:?}");
    for (name, octets) in &kept {
        for secret in &secrets {
            assert!(!holds(octets, secret), "a credential is in {name}");
        }
    }
    // In memory, only what the libraries did not clear: docs/aws.md.
    let areas = memory::memory(process);
    let left = secrets.iter().filter(|secret| areas.iter().any(|area| holds(area, secret))).count();
    println!("{left} of {} secrets are somewhere in the memory of the broker", secrets.len());
    broker.kill().await;
}

/// Over the quota: who waits has a turn, who finds no room has lost nothing.
#[tokio::test(flavor = "multi_thread")]
async fn i3_over_the_quota_no_use_is_lost() {
    let house = House::new().await;
    let world = World::around(Folder::new(), house.directory.path()).await;
    configure(&house, &world, &world.aws.origin(), 1);
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
