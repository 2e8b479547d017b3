//! The driver: one certified call, once, and what is said of it.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use seb::contract::{Pointer, Resource};
use seb::decision::{LiveState, Terms};
use seb::identity::Issuer;
use seb::target::aws::Aws as Driver;
use seb::target::{Evidence, Grade, Performed, Rejection, Target};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::permits::{Ask, Gate};
use crate::roles_anywhere::{PROFILE, ROLE, TRUST_ANCHOR};
use crate::testbed::PATIENCE;
use crate::testbed::aws::{Asked, Keys};
use crate::world::{ORDERS, TARGET, World, item};
use seb::target::aws::settings::{Account, ExchangeSettings};

async fn perform(world: &World, driver: &Driver, ask: &Ask, fence: &Gate) -> (Terms, Performed) {
    let permit = ask.permit();
    let terms = permit.terms().clone();
    let plan =
        world.issuer.plan(terms.mutation_id(), driver.form(terms.call()), seb::clock::now().unwrap(), terms.deadline());
    let identity = world.issuer.mint(plan.unwrap()).await.unwrap();
    let performed = driver.perform(permit.release(), identity, fence);
    (terms, tokio::time::timeout(PATIENCE, performed).await.expect("it ends"))
}

/// Puts an order with this price.
fn put(price: u32, baseline: Value) -> Ask {
    let body = json!({"TableName": "orders", "Item": {"id": {"S": "1"}, "price": {"N": price.to_string()}}});
    let read = json!({
        "operation": "dynamodb:GetItem",
        "input": {"TableName": "orders", "Key": {"id": {"S": "1"}}, "ConsistentRead": true},
        "object": "/Item",
    });
    Ask { read, baseline, ..Ask::new("dynamodb:PutItem", ORDERS, body) }
}

fn costs(price: u32) -> Value {
    json!({"mode": "fields", "identity": ORDERS, "version": "any", "fields": {"/Item/price/N": price.to_string()}})
}

async fn price(world: &World) -> Option<String> {
    let (_, answer) = world.aws.send(&Keys::root(), &item("GetItem", "orders", "1")).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    answer["Item"]["price"]["N"].as_str().map(str::to_owned)
}

async fn is_sold_at(world: &World, price: u32) {
    let body = json!({"TableName": "orders", "Item": {"id": {"S": "1"}, "price": {"N": price.to_string()}}});
    world.aws.root(&Asked::json("dynamodb", "DynamoDB_20120810.PutItem", &body)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_a_call_is_made_once_inside_the_fence() {
    let world = World::new().await;
    is_sold_at(&world, 10).await;
    let (driver, fence) = (world.driver(), Gate::default());
    let ask = put(12, costs(10));
    let (terms, performed) = perform(&world, &driver, &ask, &fence).await;
    let Performed::Succeeded { detail, .. } = performed else { panic!("{performed:?}") };
    assert!(detail.contains("the policy is the call's, for seconds"), "{detail}");
    assert_eq!(driver.grade(terms.call()), Grade::Atomic);
    assert_eq!((price(&world).await.as_deref(), fence.asked.load(Ordering::SeqCst)), (Some("12"), 1));

    // The baseline is part of the call: another price, and nothing is written.
    let (_, performed) = perform(&world, &driver, &ask, &Gate::default()).await;
    assert!(matches!(performed, Performed::Rejected { reason: Rejection::Precondition, .. }), "{performed:?}");
    assert_eq!(price(&world).await.as_deref(), Some("12"));
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_nothing_is_sent_once_the_fence_is_shut() {
    let world = World::new().await;
    is_sold_at(&world, 10).await;
    let fence = Gate::default();
    fence.shut.store(true, Ordering::SeqCst);
    let (_, performed) = perform(&world, &world.driver(), &put(12, costs(10)), &fence).await;
    assert!(matches!(performed, Performed::Aborted { .. }), "{performed:?}");
    assert_eq!((price(&world).await.as_deref(), fence.asked.load(Ordering::SeqCst)), (Some("10"), 1));
}

/// What the operation needs and what was declared differ: AWS refuses, because the session holds nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn i4_actions_that_do_not_fit_the_operation_are_of_no_use() {
    let world = World::new().await;
    is_sold_at(&world, 10).await;
    for ask in [
        Ask { actions: vec!["dynamodb:DeleteItem"], ..put(12, costs(10)) },
        Ask { arns: vec!["arn:aws:dynamodb:eu-west-1:123456789012:table/users"], ..put(12, costs(10)) },
    ] {
        let (_, performed) = perform(&world, &world.driver(), &ask, &Gate::default()).await;
        assert!(matches!(performed, Performed::Rejected { reason: Rejection::Forbidden, .. }), "{performed:?}");
        assert_eq!(price(&world).await.as_deref(), Some("10"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_is_read_by_a_session_that_is_kept() {
    let world = World::new().await;
    let driver = world.driver();
    let pointers: BTreeSet<Pointer> = ["/Item/price/N", "/Item/colour"].map(|pointer| pointer.parse().unwrap()).into();
    let resource = Resource::Aws(serde_json::from_value(put(1, costs(1)).resource()).unwrap());
    let read = async || driver.read(&resource, &pointers).await;
    assert!(matches!(read().await, LiveState::Absent { .. }));
    is_sold_at(&world, 10).await;
    let LiveState::Present { identity, version, fields, .. } = read().await else { panic!() };
    assert_eq!(identity, ORDERS);
    let values: Vec<_> = fields.values().map(|value| value.as_ref().map(ToString::to_string)).collect();
    assert_eq!(values, [None, Some("\"10\"".to_owned())]);
    is_sold_at(&world, 11).await;
    let LiveState::Present { version: later, .. } = read().await else { panic!() };
    assert_ne!(version, later);
    assert_eq!(world.anywhere.requests().len(), 1, "one session for all");
    // What the role may not read, and what nobody said how to read, is not known.
    let mut other = put(1, costs(1));
    other.read = json!({"operation": "sqs:GetQueueAttributes", "input": {"QueueUrl": "http://127.0.0.1/q"}});
    for read in [other.read, Value::Null] {
        let resource = Ask { read, ..put(1, costs(1)) }.resource();
        let resource = Resource::Aws(serde_json::from_value(resource).unwrap());
        assert!(matches!(driver.read(&resource, &pointers).await, LiveState::Unknown));
    }
}

/// A driver of which the services are at another address.
fn driver_at(world: &World, address: &str) -> Driver {
    let account = Account { endpoint: Some(format!("http://{address}").parse().unwrap()), ..world.account() };
    let exchange = ExchangeSettings::PerMutation {
        trust_anchor: TRUST_ANCHOR.parse().unwrap(),
        profile: PROFILE.parse().unwrap(),
        bootstrap_role: ROLE.parse().unwrap(),
        role: TARGET.parse().unwrap(),
        per_second: 10,
    };
    account.open(Some(&exchange), &world.identities).unwrap()
}

/// An address from which it is not far to the emulator. It breaks off once it has handed on a request that holds `mark`.
async fn breaking(to: String, mark: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let to = to.clone();
            tokio::spawn(async move {
                let mut far = TcpStream::connect(to).await.unwrap();
                let (mut buffer, mut asked) = ([0; 65536], String::new());
                let (mut answer, mut broken) = ([0; 65536], false);
                loop {
                    tokio::select! {
                        read = near.read(&mut buffer) => {
                            let Ok(octets @ 1..) = read else { return };
                            asked += &String::from_utf8_lossy(&buffer[..octets]);
                            broken |= asked.contains(mark);
                            far.write_all(&buffer[..octets]).await.unwrap();
                        }
                        read = far.read(&mut answer) => {
                            let Ok(octets @ 1..) = read else { return };
                            if broken {
                                return;
                            }
                            near.write_all(&answer[..octets]).await.unwrap();
                        }
                    }
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_without_an_answer_nobody_knows_and_nobody_guesses() {
    let world = World::new().await;
    is_sold_at(&world, 10).await;
    let address = breaking(world.aws.address.clone(), "DynamoDB_20120810.PutItem").await;
    let driver = driver_at(&world, &address);
    let (terms, performed) = perform(&world, &driver, &put(12, costs(10)), &Gate::default()).await;
    assert!(matches!(performed, Performed::Unknown { .. }), "{performed:?}");
    assert_eq!(price(&world).await.as_deref(), Some("12"), "it did take effect");
    let Evidence::Open { until } = driver.evidence(&terms).await else { panic!() };
    assert!(until > terms.deadline());

    // Where nobody is, nothing was sent.
    let (_, performed) =
        perform(&world, &driver_at(&world, "127.0.0.1:9"), &put(13, costs(12)), &Gate::default()).await;
    assert!(matches!(performed, Performed::NotStarted { .. }), "{performed:?}");
}
