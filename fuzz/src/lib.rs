//! The pure modules of the package, and what the fuzz targets share.
//!
//! The modules are mounted here rather than linked: they need a tenth of the package's dependencies, and everything in
//! this crate is built once more with instrumentation.

#[allow(unused_imports, reason = "some of it is for modules that are not mounted")]
#[path = "../../src/attribute_certificate/mod.rs"]
pub mod attribute_certificate;
#[allow(unused_imports, reason = "some of it is for modules that are not mounted")]
#[path = "../../src/contract/mod.rs"]
pub mod contract;
#[path = "../../src/decision/mod.rs"]
pub mod decision;
#[path = "../../src/digest.rs"]
pub mod digest;
#[path = "../../src/epoch_envelope.rs"]
pub mod epoch_envelope;
#[path = "../../src/reason.rs"]
pub mod reason;
#[path = "../../src/spiffe_id.rs"]
mod spiffe_id;
#[path = "../../src/timestamp.rs"]
pub mod timestamp;

/// What reads the answers of AWS.
#[path = "../../src/target"]
pub mod target {
    #[allow(dead_code, reason = "some of it is for modules that are not mounted")]
    #[path = "aws"]
    pub mod aws {
        mod cloud_control;
        pub mod credentials;
        pub mod endpoint;
        pub mod request;

        use std::time::Duration;

        use self::cloud_control::{Asked, Progress, Stage, is_token};
        use self::request::Operation;
        use crate::contract::Json;
        use crate::execution::{Evidence, Performed};
        use crate::timestamp::Timestamp;

        /// Reads an output as that of an operation of Cloud Control, and holds what is concluded of it against its status.
        pub fn progress(operation: &Operation, output: &serde_json::Value) {
            let input = Json::object([("TypeName", Json::from("AWS::SNS::Topic"))]);
            let Some(asked) = Asked::of(operation, &input) else { return };
            let Ok(progress) = Progress::read(output, &asked) else { return };
            assert!(is_token(&progress.token));
            let status = output["ProgressEvent"]["OperationStatus"].as_str().unwrap();
            assert_eq!(progress.stage == Stage::Done, status == "SUCCESS");
            assert_eq!(progress.stage == Stage::Ended, matches!(status, "FAILED" | "CANCEL_COMPLETE"));
            assert!(progress.pause(Timestamp::END, Duration::from_secs(1)) == Duration::from_secs(1));
            let applied = matches!(progress.evidence(Timestamp::END), Some(Evidence::Applied { .. }));
            assert_eq!(applied, progress.stage == Stage::Done);
            match progress.performed("", None) {
                Performed::Succeeded { detail, .. } | Performed::Begun { detail, .. } => {
                    assert!(detail.len() < 8192 && !detail.contains(char::is_control));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

// They have modules beside them, which are found only from the folder of the package.
#[path = "../../src"]
mod mounted {
    pub mod ceiling;
    pub mod epoch;
    #[allow(dead_code, reason = "some of it is for modules that are not mounted")]
    pub mod execution;
}
pub use mounted::{ceiling, epoch, execution};

/// The DER elements that stand one after the other in `data`; what is left over is the last one. So a target can take an
/// attribute certificate and its chain as one input, with nothing between them that a mutation could break.
pub fn elements(mut data: &[u8]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    while let Some(length) = element_length(data) {
        let (element, rest) = data.split_at(length);
        out.push(element.to_vec());
        data = rest;
    }
    if !data.is_empty() {
        out.push(data.to_vec());
    }
    out
}

/// The length of the element that `data` begins with, header included, if it is all there.
fn element_length(data: &[u8]) -> Option<usize> {
    let (header, content) = match *data.get(1..)? {
        [length @ 0..=0x7f, ..] => (2, usize::from(length)),
        [0x81, a, ..] => (3, usize::from(a)),
        [0x82, a, b, ..] => (4, usize::from(a) << 8 | usize::from(b)),
        _ => return None,
    };
    (header + content <= data.len()).then_some(header + content)
}
