//! The exact call: a step with the agent's choice put into it.

use std::collections::BTreeMap;
use std::fmt;

use super::document::Target;
use super::json::Json;
use super::names::{StepName, TargetName};
use super::pointer::Pointer;
use super::resource::{Resource, TargetKind, Verb};
use super::step::{Baseline, Body, Detached, Mutation, Step};
use crate::digest::Digest;
use crate::reason::{Denial, Reason};

/// What an agent brings: all of it is open to any content, and counts only inside the contract's bounds.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// Values for parameters, by their pointers.
    pub values: BTreeMap<Pointer, Json>,
    /// The detached body.
    pub body: Option<Vec<u8>>,
}

impl Choice {
    /// The most values that one request may bring.
    pub const MAX_VALUES: usize = 64;
    /// The most octets of one value's canonical text: 16 KiB.
    pub const MAX_VALUE: usize = 16 * 1024;
}

/// The exact call: what will be sent to the target, if it is decided that it may.
///
/// It is plain data, and harmless: what performs it asks for a permit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    target: Target,
    step: StepName,
    verb: Verb,
    resource: Resource,
    body: CallBody,
    baseline: Baseline,
}

/// The body of a call.
#[derive(Clone, PartialEq, Eq)]
pub enum CallBody {
    /// There is none.
    None,
    /// The contract's body, with the agent's values in the places that were left open.
    Inline(Json),
    /// The body that came with the request: size and digest are those that were certified; nothing else of it was
    /// looked at.
    Detached {
        /// What was certified.
        detached: Detached,
        /// The octets.
        octets: Vec<u8>,
    },
}

impl Step {
    /// The exact call of this step, with the agent's choice put into it. `target` is the contract's.
    ///
    /// # Errors
    /// Every reason that applies: [`Reason::ParameterUnknown`], [`Reason::ParameterMissing`],
    /// [`Reason::ParameterType`], [`Reason::ParameterOutOfBounds`], [`Reason::BodyMissing`],
    /// [`Reason::BodyUnexpected`], [`Reason::BodyMismatch`]; in the order of their precedence, then of their places.
    pub fn call(&self, target: &Target, choice: &Choice) -> Result<Call, Vec<Denial>> {
        let mutation = self.mutation();
        let mut denials = Vec::new();
        let body = match (mutation.body(), &choice.body) {
            (Body::Detached(detached), Some(octets)) => match check_detached(detached, octets) {
                Ok(()) => CallBody::Detached { detached: detached.clone(), octets: octets.clone() },
                Err(denial) => {
                    denials.push(denial);
                    CallBody::None
                }
            },
            (Body::Detached(detached), None) => {
                let detail = format!("{} octets with digest {} are missing", detached.size, detached.digest);
                denials.push(Denial::new(Reason::BodyMissing, detail));
                CallBody::None
            }
            (Body::None | Body::Inline(_), Some(octets)) => {
                let detail = format!("{} octets came, where the contract asks for none", octets.len());
                denials.push(Denial::new(Reason::BodyUnexpected, detail));
                CallBody::None
            }
            (Body::None, None) => CallBody::None,
            (Body::Inline(body), None) => CallBody::Inline(body.clone()),
        };
        check_values(mutation, &choice.values, &mut denials);
        if !denials.is_empty() {
            denials.sort();
            return Err(denials);
        }
        let body = match body {
            CallBody::Inline(body) => CallBody::Inline(fill(mutation, &choice.values, body)?),
            other => other,
        };
        Ok(Call {
            target: target.clone(),
            step: self.name().clone(),
            verb: mutation.verb().clone(),
            resource: mutation.resource().clone(),
            body,
            baseline: self.baseline().clone(),
        })
    }
}

/// Checks a detached body before anything else is done with it, the cheap way first.
fn check_detached(detached: &Detached, octets: &[u8]) -> Result<(), Denial> {
    let mismatch = |detail| Err(Denial::new(Reason::BodyMismatch, detail));
    if u32::try_from(octets.len()).ok() != Some(detached.size) {
        return mismatch(format!("{} octets came, and {} were certified", octets.len(), detached.size));
    }
    let digest = Digest::of(octets);
    if digest != detached.digest {
        return mismatch(format!("its digest is {digest}, and {} was certified", detached.digest));
    }
    Ok(())
}

fn check_values(mutation: &Mutation, values: &BTreeMap<Pointer, Json>, denials: &mut Vec<Denial>) {
    if values.len() > Choice::MAX_VALUES {
        // More than any contract has parameters, so that some are unknown; the rest is not worth the time.
        let detail = format!("{} values came: at most {} are allowed", values.len(), Choice::MAX_VALUES);
        denials.push(Denial::new(Reason::ParameterUnknown, detail));
        return;
    }
    for pointer in values.keys() {
        if !mutation.parameters().iter().any(|parameter| parameter.pointer() == pointer) {
            denials.push(Denial::new(Reason::ParameterUnknown, format!("`{}` is not left open", excerpt(pointer))));
        }
    }
    for parameter in mutation.parameters() {
        let pointer = parameter.pointer();
        let denial = |reason, text: &str| Denial::new(reason, format!("`{}` {text}", excerpt(pointer)));
        match values.get(pointer) {
            None if parameter.is_required() => denials.push(denial(Reason::ParameterMissing, "has no value")),
            None => {}
            Some(value) if value.to_canonical().len() > Choice::MAX_VALUE => {
                denials.push(denial(Reason::ParameterOutOfBounds, "has a value of more than 16 KiB"));
            }
            Some(value) => {
                if let Err(error) = parameter.bounds().check(value) {
                    denials.push(denial(error.reason(), &error.to_string()));
                }
            }
        }
    }
}

/// Puts the values, which have been checked, into their places, which exist: the contract was checked for it.
fn fill(mutation: &Mutation, values: &BTreeMap<Pointer, Json>, mut body: Json) -> Result<Json, Vec<Denial>> {
    for parameter in mutation.parameters() {
        let pointer = parameter.pointer();
        if let Some(value) = values.get(pointer)
            && pointer.replace(&mut body, value.clone()).is_none()
        {
            // A step that did not come out of a contract.
            let detail = format!("`{}` is no place of the body", excerpt(pointer));
            return Err(vec![Denial::new(Reason::ParameterUnknown, detail)]);
        }
    }
    Ok(body)
}

/// The beginning of a pointer that an agent wrote.
fn excerpt(pointer: &Pointer) -> String {
    pointer.to_string().chars().take(80).collect()
}

impl Call {
    /// The name of the form that [`Call::digest`] is taken of.
    pub const SCHEMA: &'static str = "seb.dev/call/v1";

    /// The target that it is for.
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// The kind of the target.
    pub const fn target_kind(&self) -> TargetKind {
        self.target.kind
    }

    /// The name of the target.
    pub const fn target_name(&self) -> &TargetName {
        &self.target.name
    }

    /// The step of the contract.
    pub const fn step(&self) -> &StepName {
        &self.step
    }

    /// What is done.
    pub const fn verb(&self) -> &Verb {
        &self.verb
    }

    /// What it is done to.
    pub const fn resource(&self) -> &Resource {
        &self.resource
    }

    /// With which body.
    pub const fn body(&self) -> &CallBody {
        &self.body
    }

    /// What must be true of the object before.
    pub const fn baseline(&self) -> &Baseline {
        &self.baseline
    }

    /// The digest of the canonical JSON of the call: schema, target, step, verb, resource, baseline, and the body; of
    /// a detached one what the contract says of it.
    pub fn digest(&self) -> Digest {
        Digest::of(self.to_json().to_canonical().as_bytes())
    }

    /// What [`Call::digest`] is taken of.
    pub fn to_json(&self) -> Json {
        let body = match &self.body {
            CallBody::None => None,
            CallBody::Inline(body) => Some(("body", body.clone())),
            CallBody::Detached { detached, .. } => Some(("detached", detached.to_json())),
        };
        let always = [
            ("schema", Json::from(Self::SCHEMA)),
            ("target", self.target.to_json()),
            ("step", Json::string(&self.step)),
            ("verb", Json::string(&self.verb)),
            ("resource", self.resource.to_json()),
            ("baseline", self.baseline.to_json()),
        ];
        Json::object(always.into_iter().chain(body))
    }
}

/// Shows how many octets there are, not the octets.
impl fmt::Debug for CallBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Inline(body) => f.debug_tuple("Inline").field(body).finish(),
            Self::Detached { detached, .. } => f.debug_tuple("Detached").field(detached).finish(),
        }
    }
}

/// Shows how many octets there are, not the octets.
impl fmt::Debug for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let octets = self.body.as_ref().map(Vec::len);
        f.debug_struct("Choice").field("values", &self.values).field("body_octets", &octets).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::Contract;
    use super::*;

    /// A contract of one step: this mutation, on an object of the sandbox at version 42.
    fn contract(mutation: &str) -> Contract {
        let text = format!(
            r#"{{
            "schema": "seb.dev/contract/v1",
            "target": {{ "kind": "sandbox", "name": "demo" }},
            "steps": [{{
                "name": "only",
                "mutation": {{ "verb": "merge", "resource": {{ "collection": "a", "name": "b" }}, {mutation} }},
                "baseline": {{ "mode": "exact", "identity": "a/b", "version": "42" }}
            }}],
            "limits": {{
                "uses": 1, "spacing_seconds": 0,
                "not_before": "2026-11-21T00:00:00Z", "not_after": "2026-11-24T00:00:00Z"
            }},
            "deadline_seconds": 30
        }}"#
        );
        Contract::compile(&text).unwrap()
    }

    fn open() -> Contract {
        contract(
            r#""body": { "replicas": 10, "tag": null, "zones": ["a", "b"], "fixed": 1 },
            "parameters": [
                { "pointer": "/tag", "required": true,
                  "bounds": { "type": "string", "min_length": 1, "max_length": 8 } },
                { "pointer": "/replicas", "required": false,
                  "bounds": { "type": "integer", "minimum": 3, "maximum": 50 } },
                { "pointer": "/zones/1", "required": false,
                  "bounds": { "type": "enumeration", "values": ["b", "c"] } }
            ]"#,
        )
    }

    fn detached() -> Contract {
        contract(&format!(
            r#""detached": {{ "media_type": "application/json", "size": 5, "digest": "{}" }}"#,
            Digest::of(b"hello")
        ))
    }

    fn choice(values: &[(&str, &str)], body: Option<&[u8]>) -> Choice {
        let value = |(pointer, value): &(&str, &str)| {
            (Pointer::parse(pointer).unwrap(), Json::parse(value.as_bytes()).unwrap())
        };
        Choice { values: values.iter().map(value).collect(), body: body.map(<[u8]>::to_vec) }
    }

    #[test]
    fn values_go_to_their_places_and_defaults_stay() {
        for (values, body) in [
            (vec![("/tag", "\"v1\"")], r#"{"fixed":1,"replicas":10,"tag":"v1","zones":["a","b"]}"#),
            (
                vec![("/tag", "\"v1\""), ("/replicas", "3.0"), ("/zones/1", "\"c\"")],
                r#"{"fixed":1,"replicas":3,"tag":"v1","zones":["a","c"]}"#,
            ),
        ] {
            let call = open().call(None, &choice(&values, None)).unwrap();
            let CallBody::Inline(sent) = call.body() else { panic!() };
            assert_eq!(sent.to_canonical(), body);
        }
    }

    #[test]
    fn every_reason_is_told_in_order() {
        use Reason as R;
        type Case = (Contract, &'static [(&'static str, &'static str)], Option<&'static [u8]>, &'static [Reason]);
        let cases: &[Case] = &[
            (open(), &[], None, &[R::ParameterMissing]),
            (open(), &[("/tag", "1")], None, &[R::ParameterType]),
            (open(), &[("/tag", "null")], None, &[R::ParameterType]),
            (open(), &[("/tag", "\"\"")], None, &[R::ParameterOutOfBounds]),
            (open(), &[("/tag", "\"v\""), ("/fixed", "2")], None, &[R::ParameterUnknown]),
            (open(), &[("/tag", "\"v\""), ("", "{}")], None, &[R::ParameterUnknown]),
            (open(), &[("/tag", "\"v\""), ("/zones", "[]")], None, &[R::ParameterUnknown]),
            (open(), &[("/tag", "\"v\""), ("/zones/01", "\"c\"")], None, &[R::ParameterUnknown]),
            (open(), &[("/tag", "\"v\"")], Some(b""), &[R::BodyUnexpected]),
            (
                open(),
                &[("/new", "1"), ("/other", "1"), ("/replicas", "2"), ("/zones/1", "1")],
                Some(b"{}"),
                &[
                    R::ParameterUnknown,
                    R::ParameterUnknown,
                    R::ParameterMissing,
                    R::ParameterType,
                    R::ParameterOutOfBounds,
                    R::BodyUnexpected,
                ],
            ),
            (detached(), &[], None, &[R::BodyMissing]),
            (detached(), &[], Some(b"hell"), &[R::BodyMismatch]),
            (detached(), &[], Some(b"Hello"), &[R::BodyMismatch]),
            (detached(), &[("/a", "1")], Some(b"Hello"), &[R::ParameterUnknown, R::BodyMismatch]),
        ];
        for (contract, values, body, reasons) in cases {
            let denials = contract.call(None, &choice(values, *body)).unwrap_err();
            let told: Vec<_> = denials.iter().map(|denial| denial.reason).collect();
            assert_eq!(&told, reasons, "{values:?}: {denials:?}");
        }
    }

    #[test]
    fn more_than_can_be_right_is_refused_early() {
        let many: BTreeMap<_, _> =
            (0..=Choice::MAX_VALUES).map(|i| (Pointer::parse(&format!("/{i}")).unwrap(), Json::Null)).collect();
        let denials = open().call(None, &Choice { values: many, body: None }).unwrap_err();
        assert_eq!(denials.len(), 1);
        assert_eq!(denials[0].reason, Reason::ParameterUnknown);
        let long = format!("\"{}\"", "a".repeat(Choice::MAX_VALUE));
        let denials = open().call(None, &choice(&[("/tag", &long)], None)).unwrap_err();
        assert_eq!(denials[0].detail, "`/tag` has a value of more than 16 KiB");
    }

    #[test]
    fn a_detached_body_is_taken_as_it_is() {
        let call = detached().call(None, &choice(&[], Some(b"hello"))).unwrap();
        let CallBody::Detached { octets, .. } = call.body() else { panic!() };
        assert_eq!(octets, b"hello");
        assert!(!format!("{call:?}").contains("104, 101"), "octets are shown");
    }

    #[test]
    fn the_digest_is_of_the_documented_form() {
        let call = open().call(None, &choice(&[("/tag", "\"v1\"")], None)).unwrap();
        let form = concat!(
            r#"{"baseline":{"identity":"a/b","mode":"exact","version":"42"},"#,
            r#""body":{"fixed":1,"replicas":10,"tag":"v1","zones":["a","b"]},"#,
            r#""resource":{"collection":"a","name":"b"},"schema":"seb.dev/call/v1","step":"only","#,
            r#""target":{"kind":"sandbox","name":"demo"},"verb":"merge"}"#,
        );
        assert_eq!(call.to_json().to_canonical(), form);
        assert_eq!(call.digest(), Digest::of(form.as_bytes()));
        let form = detached().call(None, &choice(&[], Some(b"hello"))).unwrap().to_json().to_canonical();
        assert!(form.contains(r#""detached":{"digest":"sha256:2cf24dba"#), "{form}");
        assert!(!form.contains(r#""body""#), "{form}");
    }
}
