//! The driver: one certified call, once, and what is said of it.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use seb::contract::{Pointer, Resource};
use seb::decision::LiveState;
use seb::target::aws::Aws as Driver;
use seb::target::{Evidence, Grade, Performed, Rejection, Target};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::permits::{Ask, Gate};
use crate::testbed::PATIENCE;
use crate::testbed::aws::{Asked, Keys};
use crate::ways::{Means, Way};
use crate::world::{ORDERS, World, id, item};

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

/// An account, and every way to its sessions in turn, each with an order that costs 10.
async fn each(told: impl AsyncFn(&World, &Means, &Driver)) {
    let world = World::new().await;
    for way in Way::ALL {
        is_sold_at(&world, 10).await;
        let means = Means::of(&world, way).await;
        println!("{way:?}");
        told(&world, &means, &means.driver(&world, &world.aws.origin())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_a_call_is_made_once_inside_the_fence() {
    each(async |world, means, driver| {
        let (fence, ask) = (Gate::default(), put(12, costs(10)));
        let (terms, performed) = means.perform(driver, &ask, &fence).await;
        let Performed::Succeeded { detail, .. } = performed else { panic!("{performed:?}") };
        assert!(detail.contains("for seconds") && detail.contains(means.way.says()), "{detail}");
        assert_eq!(driver.grade(terms.call()), Grade::Atomic);
        assert_eq!((price(world).await.as_deref(), fence.asked.load(Ordering::SeqCst)), (Some("12"), 1));

        // The baseline is part of the call: another price, and nothing is written.
        let (_, performed) = means.perform(driver, &ask, &Gate::default()).await;
        let Performed::Rejected { reason: Rejection::Precondition, drift: Some(drift), .. } = performed else {
            panic!("{performed:?}")
        };
        assert_eq!(drift.to_string(), r#"drift_field: `/Item/price/N`: certified is "10", found was "12""#);
        assert_eq!(price(world).await.as_deref(), Some("12"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_nothing_is_sent_once_the_fence_is_shut() {
    each(async |world, means, driver| {
        let fence = Gate::default();
        fence.shut.store(true, Ordering::SeqCst);
        let (_, performed) = means.perform(driver, &put(12, costs(10)), &fence).await;
        assert!(matches!(performed, Performed::Aborted { .. }), "{performed:?}");
        assert_eq!((price(world).await.as_deref(), fence.asked.load(Ordering::SeqCst)), (Some("10"), 1));
    })
    .await;
}

/// What the operation needs and what was declared differ: AWS refuses, because the session holds nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn i4_actions_that_do_not_fit_the_operation_are_of_no_use() {
    each(async |world, means, driver| {
        for ask in [
            Ask { actions: vec!["dynamodb:DeleteItem"], ..put(12, costs(10)) },
            Ask { arns: vec!["arn:aws:dynamodb:eu-west-1:123456789012:table/users"], ..put(12, costs(10)) },
        ] {
            let (_, performed) = means.perform(driver, &ask, &Gate::default()).await;
            assert!(matches!(performed, Performed::Rejected { reason: Rejection::Forbidden, .. }), "{performed:?}");
            assert_eq!(price(world).await.as_deref(), Some("10"));
        }
    })
    .await;
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
    each(async |world, means, _| {
        let address = breaking(world.aws.address.clone(), "DynamoDB_20120810.PutItem").await;
        let driver = means.driver(world, &format!("http://{address}"));
        let (terms, performed) = means.perform(&driver, &put(12, costs(10)), &Gate::default()).await;
        assert!(matches!(performed, Performed::Unknown { .. }), "{performed:?}");
        assert_eq!(price(world).await.as_deref(), Some("12"), "it did take effect");
        let Evidence::Open { until } = driver.evidence(&terms).await else { panic!() };
        assert!(until > terms.deadline());

        // Where nobody is, nothing was sent.
        let nowhere = means.driver(world, "http://127.0.0.1:9");
        let (_, performed) = means.perform(&nowhere, &put(13, costs(12)), &Gate::default()).await;
        assert!(matches!(performed, Performed::NotStarted { .. }), "{performed:?}");
    })
    .await;
}

/// The quota is that of `CreateSession`: only whoever asks for one for each mutation waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn i3_only_sessions_of_the_mutations_own_wait_for_the_quota() {
    each(async |_, means, driver| {
        let agent = id("agent/one");
        // Ten in a second and as many as may wait for ten seconds, of which one agent has half.
        let asked = futures::future::join_all((0..200).map(|_| driver.admit(&agent)));
        let busy = match tokio::time::timeout(PATIENCE, asked).await {
            Ok(admitted) => admitted.iter().filter(|admitted| admitted.is_err()).count(),
            Err(_) => panic!("they wait for too long"),
        };
        assert_eq!(busy > 0, means.way == Way::PerMutation, "{busy} of 200 found no room");
    })
    .await;
}
