//! What Cloud Control goes on with after its answer is followed to its end, and asked for afterwards.

use seb::decision::Terms;
use seb::target::aws::Aws as Driver;
use seb::target::{Evidence, Performed, Target};
use serde_json::{Value, json};

use crate::control::{CloudControl, Told};
use crate::permits::{Ask, Gate};
use crate::ways::{Means, Way};
use crate::world::World;

pub const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:news";

/// Leave to make a topic, for so many seconds.
fn create(seconds: u32) -> Ask {
    let body = json!({"TypeName": "AWS::SNS::Topic", "DesiredState": "{\"TopicName\":\"news\"}"});
    let actions = vec!["cloudformation:CreateResource", "sns:CreateTopic"];
    Ask {
        actions,
        baseline: json!({"mode": "absent"}),
        deadline: seconds,
        ..Ask::new("cloudcontrol:CreateResource", TOPIC, body)
    }
}

struct Around {
    world: World,
    means: Means,
    control: CloudControl,
    driver: Driver,
}

impl Around {
    async fn new() -> Self {
        let world = World::new().await;
        let control = CloudControl::before(&world.aws.address).await;
        let means = Means::of(&world, Way::PerMutation).await;
        let driver = means.driver(&world, &control.origin);
        Self { world, means, control, driver }
    }

    async fn perform(&self, ask: &Ask) -> (Terms, Performed) {
        self.means.perform(&self.driver, ask, &Gate::default()).await
    }
}

fn ended(status: &str, code: Option<&str>) -> Value {
    let mut event = json!({"OperationStatus": status, "Identifier": TOPIC, "StatusMessage": "so it is"});
    if let Some(code) = code {
        event["ErrorCode"] = json!(code);
    }
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_an_operation_is_followed_to_its_end() {
    let around = Around::new().await;
    let soon = || seb::clock::now().unwrap().millis() as f64 / 1000.0 + 1.0;
    around.control.goes(&[
        json!({"OperationStatus": "PENDING"}),
        json!({"RetryAfter": soon()}),
        ended("SUCCESS", None),
    ]);
    let (terms, performed) = around.perform(&create(30)).await;
    let Performed::Succeeded { detail, version: None } = performed else { panic!("{performed:?}") };
    assert!(detail.contains(TOPIC) && detail.contains("1b0e-0") && detail.contains("SUCCESS"), "{detail}");
    let begun = around.control.came("CreateResource");
    let asked = around.control.came("GetResourceRequestStatus");
    assert_eq!((begun.len(), asked.len()), (1, 2), "once, and followed");
    assert_eq!(begun[0].body["ClientToken"], terms.mutation_id().as_str());
    assert!(asked.iter().all(|asked| asked.key != begun[0].key), "by the session that reads");
    // One that is done when it is answered is not asked for.
    around.control.goes(&[ended("SUCCESS", None)]);
    let (_, performed) = around.perform(&create(30)).await;
    assert!(matches!(performed, Performed::Succeeded { .. }), "{performed:?}");
    assert_eq!(around.control.came("GetResourceRequestStatus").len(), 2);
}

/// What failed is not known, then as later: whatever AWS says of it, a part may have been done.
#[tokio::test(flavor = "multi_thread")]
async fn i6_an_operation_that_fails_may_have_done_a_part() {
    let around = Around::new().await;
    let going = json!({"OperationStatus": "IN_PROGRESS"});
    let codes = [Some("AlreadyExists"), Some("NotUpdatable"), Some("AccessDenied"), None];
    let failed = codes.map(|code| ended("FAILED", code));
    for event in failed.into_iter().chain([ended("CANCEL_COMPLETE", None)]) {
        around.control.goes(&[going.clone(), event.clone()]);
        let (terms, performed) = around.perform(&create(30)).await;
        let Performed::Begun { handle, detail } = performed else { panic!("{event}: {performed:?}") };
        assert!(detail.contains(event["OperationStatus"].as_str().unwrap()), "{detail}");
        let Evidence::Indeterminate { look_at } = around.driver.progress(&terms, &handle).await else {
            panic!("{event}")
        };
        assert!(look_at.contains(&handle) && look_at.contains("the resource itself"), "{look_at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_what_goes_on_past_the_deadline_is_settled_by_its_token() {
    let around = Around::new().await;
    around.control.goes(&[json!({"OperationStatus": "IN_PROGRESS"})]);
    let (terms, performed) = around.perform(&create(3)).await;
    let Performed::Begun { handle, detail } = performed else { panic!("{performed:?}") };
    assert!(detail.contains("AWS goes on with it") && detail.contains(&handle), "{detail}");
    // By another process, which knows of it what was recorded.
    let later = around.means.driver(&around.world, &around.control.origin);
    assert!(matches!(later.progress(&terms, &handle).await, Evidence::Open { .. }), "it goes on");
    around.control.tells("GetResourceRequestStatus", &[Told::Lost, Told::Cut, Told::Failure]);
    for _ in 0..3 {
        assert!(
            matches!(later.progress(&terms, &handle).await, Evidence::Unavailable { .. }),
            "no answer is no evidence"
        );
    }
    around.control.goes(&[ended("SUCCESS", None)]);
    let Evidence::Applied { detail, .. } = later.progress(&terms, &handle).await else { panic!() };
    assert!(detail.contains(TOPIC), "{detail}");
    // Of another type, of another operation, or of another request: not this one's.
    for other in [json!({"TypeName": "AWS::SQS::Queue"}), json!({"Operation": "DELETE"}), json!({"RequestToken": "2"})]
    {
        let mut event = ended("SUCCESS", None);
        event.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
        let control = CloudControl::before(&around.world.aws.address).await;
        let driver = around.means.driver(&around.world, &control.origin);
        control.goes(&[json!({"OperationStatus": "IN_PROGRESS"}), event]);
        let (_, performed) = around.means.perform(&driver, &create(3), &Gate::default()).await;
        let Performed::Begun { detail, .. } = performed else { panic!("{other}: {performed:?}") };
        assert!(detail.contains("not read any more"), "{detail}");
    }
}

/// Where AWS tells no more of it, and where there is no token: what a person looks at.
#[tokio::test(flavor = "multi_thread")]
async fn i6_without_its_token_nothing_is_concluded() {
    let around = Around::new().await;
    around.control.goes(&[json!({"OperationStatus": "IN_PROGRESS"})]);
    let (terms, performed) = around.perform(&create(2)).await;
    let Performed::Begun { handle, .. } = performed else { panic!("{performed:?}") };
    around.control.forgets();
    assert!(
        matches!(around.driver.progress(&terms, &handle).await, Evidence::Open { .. }),
        "AWS may know it in a moment"
    );
    // A token that is none is not asked for.
    let asked = around.control.came("GetResourceRequestStatus").len();
    for none in ["", "a b", "https://example.org/"] {
        let evidence = around.driver.progress(&terms, none).await;
        assert!(matches!(evidence, Evidence::Open { .. }), "{evidence:?}");
    }
    assert!(matches!(around.driver.evidence(&terms).await, Evidence::Open { .. }));
    assert_eq!(around.control.came("GetResourceRequestStatus").len(), asked);
}

/// The answer to the request itself is lost at every point: taken, and nobody knows.
#[tokio::test(flavor = "multi_thread")]
async fn i6_an_answer_that_is_lost_says_nothing_and_nothing_is_sent_again() {
    let around = Around::new().await;
    for (count, told) in [Told::Lost, Told::Cut, Told::Failure].into_iter().enumerate() {
        around.control.goes(&[ended("SUCCESS", None)]);
        around.control.tells("CreateResource", &[told]);
        let (_, performed) = around.perform(&create(10)).await;
        assert!(matches!(performed, Performed::Unknown { .. }), "{told:?}: {performed:?}");
        assert_eq!(around.control.came("CreateResource").len(), count + 1, "once");
    }
    // Of those that follow it, the next one tells.
    let going = json!({"OperationStatus": "IN_PROGRESS"});
    around.control.goes(&[going.clone(), going, ended("SUCCESS", None)]);
    around.control.tells("GetResourceRequestStatus", &[Told::Lost, Told::Cut, Told::Failure]);
    let (_, performed) = around.perform(&create(30)).await;
    assert!(matches!(performed, Performed::Succeeded { .. }), "{performed:?}");
    assert_eq!(around.control.came("CreateResource").len(), 4);
}

/// The emulator has a Cloud Control of its own, which ends everything at once.
#[tokio::test(flavor = "multi_thread")]
async fn an_operation_of_the_emulator_is_done() {
    let world = World::new().await;
    let (driver, means) = (world.driver(), Means::of(&world, Way::PerMutation).await);
    let (terms, performed) = means.perform(&driver, &create(30), &Gate::default()).await;
    let Performed::Succeeded { detail, .. } = performed else { panic!("{performed:?}") };
    assert!(detail.contains("news"), "{detail}");
    let token = detail.split("request token ").nth(1).unwrap().split(';').next().unwrap();
    let evidence = driver.progress(&terms, token).await;
    assert!(matches!(evidence, Evidence::Applied { .. }), "{evidence:?}");
}
