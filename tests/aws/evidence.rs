//! What AWS shows of a mutation afterwards, and what nobody concludes from it.

use http::Method;
use seb::decision::Terms;
use seb::target::{Evidence, Target};
use serde_json::{Value, json};

use crate::control::CloudControl;
use crate::permits::Ask;
use crate::testbed::aws::Asked;
use crate::ways::{Means, Way};
use crate::world::World;

const SECRET: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:news-a1b2c3";
const INSTANCES: &str = "arn:aws:ec2:eu-west-1:123456789012:instance/i-0123456789abcdef0";
const FUNCTION: &str = "arn:aws:lambda:eu-west-1:123456789012:function:resize";
const ABSENT: &str = "absent";

/// The terms of a call of which the deadline was minutes ago.
fn past(ask: &Ask) -> Terms {
    Ask { ago: 300, ..ask.clone() }.permit().terms().clone()
}

fn indeterminate(evidence: Evidence) -> String {
    let Evidence::Indeterminate { look_at } = evidence else { panic!("{evidence:?}") };
    look_at
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_a_secret_with_the_mutations_token_was_made_by_it() {
    let world = World::new().await;
    let driver = Means::of(&world, Way::PerMutation).await.driver(&world, &world.aws.origin());
    let root = async |target: &str, body: Value| {
        world.aws.root(&Asked::json("secretsmanager", &format!("secretsmanager.{target}"), &body)).await
    };
    let create = Ask {
        baseline: json!({"mode": ABSENT}),
        ..Ask::new("secretsmanager:CreateSecret", SECRET, json!({"Name": "news", "SecretString": "one"}))
    };
    let put = Ask::new("secretsmanager:PutSecretValue", SECRET, json!({"SecretId": "news", "SecretString": "two"}));
    let (created, replaced) = (past(&create), past(&put));
    // There is none; then one like it, which somebody else made.
    assert!(indeterminate(driver.evidence(&created).await).contains(created.mutation_id().as_str()));
    root("CreateSecret", json!({"Name": "news", "SecretString": "one", "ClientRequestToken": "a".repeat(32)})).await;
    indeterminate(driver.evidence(&created).await);
    indeterminate(driver.evidence(&replaced).await);
    // The mutation's own version, although it is not the newest any more.
    for token in [replaced.mutation_id().to_string(), "b".repeat(32)] {
        let body = json!({"SecretId": "news", "SecretString": token, "ClientRequestToken": token});
        root("PutSecretValue", body).await;
    }
    let Evidence::Applied { version: None, detail } = driver.evidence(&replaced).await else { panic!() };
    assert!(detail.contains("ListSecretVersionIds") && detail.contains(replaced.mutation_id().as_str()), "{detail}");
    indeterminate(driver.evidence(&created).await);
    // Before the deadline, and for a minute after it, nothing is concluded.
    assert!(matches!(driver.evidence(put.permit().terms()).await, Evidence::Open { .. }));
    // Nor by a process that AWS does not answer.
    let nowhere = Means::of(&world, Way::PerMutation).await.driver(&world, "http://127.0.0.1:9");
    assert!(matches!(nowhere.evidence(&replaced).await, Evidence::Unavailable { .. }));
}

/// The emulator shows no tokens of instances: the answers are of the form that AWS documents.
#[tokio::test(flavor = "multi_thread")]
async fn i6_instances_with_the_mutations_token_were_started_by_it() {
    let world = World::new().await;
    let control = CloudControl::before(&world.aws.address).await;
    let driver = Means::of(&world, Way::Pooled).await.driver(&world, &control.origin);
    let body = json!({"ImageId": "ami-12345678", "MinCount": 1, "MaxCount": 1, "InstanceType": "t3.micro"});
    let run = past(&Ask::new("ec2:RunInstances", INSTANCES, body));
    let own = run.mutation_id().as_str();
    let answer = |token: &str| {
        format!(
            "<DescribeInstancesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>r</requestId>\
             <reservationSet><item><instancesSet><item><instanceId>i-1</instanceId><clientToken>{token}</clientToken>\
             </item></instancesSet></item></reservationSet></DescribeInstancesResponse>"
        )
    };
    let says = |status: u16, body: &str| control.says("DescribeInstances", status.try_into().unwrap(), body);
    says(200, &answer(own));
    let Evidence::Applied { detail, .. } = driver.evidence(&run).await else { panic!() };
    assert!(detail.contains(own), "{detail}");
    let asked = control.heard().pop().unwrap();
    assert!(
        asked.contains("Filter.1.Name=client-token") && asked.contains(&format!("Filter.1.Value.1={own}")),
        "{asked}"
    );
    // Whatever is not this very token says nothing, and what is no answer is asked for again.
    let none = "<DescribeInstancesResponse><reservationSet/></DescribeInstancesResponse>";
    for body in [none, &answer("m-other"), &answer("")] {
        says(200, body);
        let look_at = indeterminate(driver.evidence(&run).await);
        assert!(look_at.contains("CloudTrail") && look_at.contains(own), "{look_at}");
    }
    let error = |code: &str| format!("<Response><Errors><Error><Code>{code}</Code></Error></Errors></Response>");
    says(403, &error("UnauthorizedOperation"));
    indeterminate(driver.evidence(&run).await);
    for (status, body) in
        [(503, error("RequestLimitExceeded")), (500, error("InternalError")), (200, "<html/>".to_owned())]
    {
        says(status, &body);
        assert!(matches!(driver.evidence(&run).await, Evidence::Unavailable { .. }), "{status} {body}");
    }
}

/// A token that every mutation changes: unchanged, it was not this one; changed, nobody knows by whom.
#[tokio::test(flavor = "multi_thread")]
async fn i6_a_revision_that_stayed_says_that_nothing_was_done() {
    let world = World::new().await;
    let driver = Means::of(&world, Way::PerMutation).await.driver(&world, &world.aws.origin());
    let code = json!({"ZipFile": "UEsFBgAAAAAAAAAAAAAAAAAAAAAAAA=="});
    let function = json!({
        "FunctionName": "resize", "Runtime": "python3.13", "Handler": "a.b", "Role": crate::world::PASSED, "Code": code,
    });
    let rest = |method, path: &str, body: &Value| Asked::rest("lambda", method, path).with_body(&body.to_string());
    let made = world.aws.root(&rest(Method::POST, "/2015-03-31/functions", &function)).await;
    let made: Value = serde_json::from_str(&made).unwrap();
    let revision = made["RevisionId"].as_str().unwrap().to_owned();
    let ask = Ask {
        read: json!({
            "operation": "lambda:GetFunctionConfiguration", "input": {"FunctionName": "resize"}, "version": "/RevisionId",
        }),
        baseline: json!({"mode": "exact", "identity": FUNCTION, "version": revision}),
        ..Ask::new("lambda:UpdateFunctionConfiguration", FUNCTION, json!({"FunctionName": "resize", "Timeout": 9}))
    };
    let terms = past(&ask);
    let Evidence::NotApplied { detail } = driver.evidence(&terms).await else { panic!() };
    assert!(detail.contains(&revision), "{detail}");
    world.aws.root(&rest(Method::PUT, "/2015-03-31/functions/resize/configuration", &json!({"Timeout": 9}))).await;
    // It is as the mutation would have made it, and still nobody knows who did.
    indeterminate(driver.evidence(&terms).await);
}
