//! The execution contract: the exact mutation that an authority admitted, and what was left open in it.
//!
//! `docs/contract.md` describes the format; [`json_schema`] is its structure. What holds:
//!
//! - A [`Contract`] has exactly one text: [`Contract::parse`] accepts the canonical octets of RFC 8785 and nothing
//!   else, so that its digest names it.
//! - An agent chooses values inside certified bounds, and nothing more: [`Step::call`] replaces the values at the
//!   pointers of the step's parameters, and touches no other place.
//! - Whatever it is given, reading takes bounded memory, and time linear in the size.
//!
//! | part | what it is |
//! |---|---|
//! | [`Contract`], [`Target`], [`Limits`] | the whole |
//! | [`Step`], [`Mutation`], [`Body`], [`Parameter`], [`Baseline`], [`After`] | its parts |
//! | [`Resource`], [`Verb`] | what each kind of target knows |
//! | [`Bounds`] | which values are inside |
//! | [`Choice`], [`Call`] | what the agent brings, and what comes out |
//! | [`Json`], [`Pointer`] | values and places |

mod bounds;
mod call;
mod document;
mod json;
mod made;
mod names;
mod pointer;
mod resource;
mod schema;
mod step;
mod wire;

pub use bounds::{Bounds, InvalidBounds, OutOfBounds};
pub use call::{Call, CallBody, Choice};
pub use document::{Contract, Limits, Target};
pub(crate) use json::decode;
pub use json::{InvalidJson, InvalidNumber, Json, JsonFault, MAX_SAFE_INTEGER, Number, Object};
pub use names::{InvalidName, StepName, TargetName, Version};
pub(crate) use pointer::escape;
pub use pointer::{InvalidPointer, Pointer};
pub use resource::{
    AwsOperation, AwsRead, AwsResource, KubernetesResource, Resource, SandboxResource, TargetKind, Verb,
};
pub use schema::json_schema;
pub use step::{After, Baseline, Body, Detached, Mutation, Parameter, Step, StepOutcome};
