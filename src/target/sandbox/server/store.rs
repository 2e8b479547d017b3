//! What the sandbox holds: its objects, and what became of every mutation. Plain data, without I/O and without a clock.

use std::collections::{BTreeMap, HashMap};

use super::schema;
use crate::contract::{Baseline, Json, SandboxResource, Verb, Version};
use crate::decision::{Found, MutationId, drift};
use crate::digest::Digest;
use crate::reason::Denial;
use crate::target::sandbox::wire::{Applied, Code, Known, Mutation, Refusal, Seen};
use crate::timestamp::Timestamp;

/// The most objects.
const MAX_OBJECTS: usize = 10_000;

/// The state of the sandbox.
#[derive(Debug, Default)]
pub(super) struct Store {
    objects: BTreeMap<SandboxResource, Object>,
    executions: HashMap<MutationId, Execution>,
    /// The latest time that was seen: the clock of decisions never goes back.
    latest: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Object {
    uid: Box<str>,
    version: u64,
    value: Json,
}

/// What became of a mutation. It stays so for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Execution {
    request: Digest,
    result: Result<(Box<str>, u64), Box<Refusal>>,
}

/// What a mutation did to an object, for the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) uid: String,
    pub(super) version: u64,
    /// The object afterwards; none if it is gone.
    pub(super) value: Option<Json>,
}

/// The answer to a mutation, and what has to be written down of it.
#[derive(Debug)]
pub(super) struct Handled {
    pub(super) answer: Result<Applied, Refusal>,
    pub(super) news: News,
}

/// What is new about a mutation.
#[derive(Debug)]
pub(super) enum News {
    /// It was applied.
    Applied(Change),
    /// It was rejected, and will be each time.
    Rejected,
    /// An earlier request was answered again.
    Repeated,
    /// Another request came under a known mutation id.
    Reused,
}

impl Store {
    /// Performs a mutation, or refuses it: once for each mutation id. `uid` names the object that it may create.
    pub(super) fn handle(&mut self, mutation: &Mutation, now: Timestamp, uid: impl FnOnce() -> String) -> Handled {
        let now = self.advance(now);
        let request = mutation.digest();
        if let Some(earlier) = self.executions.get(&mutation.id) {
            if earlier.request != request {
                let detail = "another request came under this mutation id before";
                return Handled { answer: Err(Refusal::new(Code::MutationReused, detail)), news: News::Reused };
            }
            return Handled { answer: answer(&mutation.id, &earlier.result, true), news: News::Repeated };
        }
        let outcome = self.change(mutation, now, uid);
        let (result, news) = match outcome {
            Ok(change) => {
                self.put(&mutation.object, &change);
                (Ok((change.uid.as_str().into(), change.version)), News::Applied(change))
            }
            Err(refusal) => (Err(Box::new(refusal)), News::Rejected),
        };
        let handled = Handled { answer: answer(&mutation.id, &result, false), news };
        self.executions.insert(mutation.id.clone(), Execution { request, result });
        handled
    }

    /// What the mutation would do.
    fn change(&self, mutation: &Mutation, now: Timestamp, uid: impl FnOnce() -> String) -> Result<Change, Refusal> {
        if now > mutation.deadline {
            let detail = format!("the deadline was {}, and it is {now}", mutation.deadline);
            return Err(Refusal::new(Code::TooLate, detail));
        }
        let present = self.objects.get(&mutation.object);
        precondition(mutation, present)?;
        let body = mutation.body.as_ref();
        let value = match (&mutation.verb, body, present) {
            (Verb::Delete, _, _) => None,
            (Verb::Merge, Some(patch), Some(object)) => Some(schema::merge(&object.value, patch)),
            (_, Some(body), _) => Some(body.clone()),
            (_, None, _) => return Err(Refusal::new(Code::Malformed, "there is no body")),
        };
        if let Some(value) = &value {
            schema::check(&mutation.object.collection, value)
                .map_err(|problem| Refusal::new(Code::Invalid, problem))?;
        }
        match present {
            None if self.objects.len() >= MAX_OBJECTS => {
                Err(Refusal::new(Code::Invalid, format!("there are {MAX_OBJECTS} objects already")))
            }
            None => Ok(Change { uid: uid(), version: 1, value }),
            Some(object) => {
                Ok(Change { uid: object.uid.to_string(), version: object.version.saturating_add(1), value })
            }
        }
    }

    /// Makes an object what a change says. Used when it happens, and when the audit log is read again.
    pub(super) fn put(&mut self, name: &SandboxResource, change: &Change) {
        match &change.value {
            None => drop(self.objects.remove(name)),
            Some(value) => {
                let object = Object { uid: change.uid.as_str().into(), version: change.version, value: value.clone() };
                self.objects.insert(name.clone(), object);
            }
        }
    }

    /// Remembers a mutation of the audit log.
    pub(super) fn remember(&mut self, id: MutationId, request: Digest, result: Result<(String, u64), Refusal>) {
        let result = result.map(|(uid, version)| (uid.into(), version)).map_err(Box::new);
        self.executions.insert(id, Execution { request, result });
    }

    /// What a change from outside would be: `patch` merged into an object, or the object made of it.
    pub(super) fn outside(
        &self,
        name: &SandboxResource,
        patch: &Json,
        uid: impl FnOnce() -> String,
    ) -> Result<Change, Refusal> {
        let present = self.objects.get(name);
        let value = present.map_or_else(|| patch.clone(), |object| schema::merge(&object.value, patch));
        schema::check(&name.collection, &value).map_err(|problem| Refusal::new(Code::Invalid, problem))?;
        let (uid, version) = match present {
            None => (uid(), 1),
            Some(object) => (object.uid.to_string(), object.version.saturating_add(1)),
        };
        Ok(Change { uid, version, value: Some(value) })
    }

    /// An object.
    pub(super) fn read(&self, name: &SandboxResource) -> Option<Seen> {
        let object = self.objects.get(name)?;
        let version = version(object.version)?;
        Some(Seen { uid: object.uid.to_string(), version, object: object.value.clone() })
    }

    /// What is known of a mutation, at a time after which the clock will not show an earlier one.
    pub(super) fn known(&mut self, id: &MutationId, now: Timestamp) -> Known {
        let now = self.advance(now);
        let none = Known { state: "none".to_owned(), now, request: None, version: None, error: None };
        let Some(execution) = self.executions.get(id) else { return none };
        let known = Known { request: Some(execution.request), ..none };
        match &execution.result {
            Ok((_, number)) => Known { state: "applied".to_owned(), version: version(*number), ..known },
            Err(refusal) => {
                let error = format!("{}: {}", refusal.code.as_str(), refusal.detail);
                Known { state: "rejected".to_owned(), error: Some(error), ..known }
            }
        }
    }

    /// Whether there is neither an object nor a mutation.
    pub(super) fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.executions.is_empty()
    }

    /// The time of a decision: `now`, or a later time that was seen before.
    pub(super) fn advance(&mut self, now: Timestamp) -> Timestamp {
        let latest = self.latest.map_or(now, |latest| latest.max(now));
        self.latest = Some(latest);
        latest
    }
}

fn answer(id: &MutationId, result: &Result<(Box<str>, u64), Box<Refusal>>, repeated: bool) -> Result<Applied, Refusal> {
    match result {
        Ok((uid, number)) => {
            let version = version(*number).ok_or_else(|| Refusal::new(Code::Internal, "there is no version"))?;
            Ok(Applied { mutation_id: id.clone(), uid: uid.to_string(), version, repeated })
        }
        Err(refusal) => Err((**refusal).clone()),
    }
}

/// The version token of a number.
pub(super) fn version(number: u64) -> Option<Version> {
    number.to_string().parse().ok()
}

/// Holds the baseline against the object as it is.
fn precondition(mutation: &Mutation, present: Option<&Object>) -> Result<(), Refusal> {
    let refuse = |detail: &str, drift: Option<Denial>| {
        Err(Refusal { code: Code::Precondition, detail: detail.to_owned(), drift })
    };
    let baseline = &mutation.baseline;
    let fields: BTreeMap<_, _> = match (baseline, present) {
        (Baseline::Fields { fields, .. }, Some(object)) => {
            fields.keys().map(|pointer| (pointer.clone(), pointer.resolve(&object.value).cloned())).collect()
        }
        _ => BTreeMap::new(),
    };
    let version = present
        .map(|object| version(object.version).ok_or_else(|| Refusal::new(Code::Internal, "there is no version")));
    let version = version.transpose()?;
    let found = present.zip(version.as_ref());
    let found = found.map(|(object, version)| Found { identity: &object.uid, version, fields: &fields });
    match (drift(baseline, found), present, mutation.verb == Verb::Create) {
        (Some(drift), ..) => refuse("the object is not as certified", Some(drift)),
        (None, None, false) => refuse("there is no such object", None),
        (None, Some(_), true) => refuse("the object exists", None),
        (None, ..) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A mutation of one of few objects under one of few ids, so that everything meets everything.
    fn mutations() -> impl Strategy<Value = Mutation> {
        let id = (0_u32..12)
            .prop_map(|number| MutationId::derive(&Digest::of(b"certificate"), &"step".parse().unwrap(), number));
        let verb = prop_oneof![Just(Verb::Create), Just(Verb::Replace), Just(Verb::Merge), Just(Verb::Delete)];
        let baseline = (0_u32..3, 1_u64..4, 0_u32..4).prop_map(|(mode, number, percent)| {
            let (identity, version) = ("uid-0".to_owned(), version(number).unwrap());
            match mode {
                0 => Baseline::Absent,
                1 => Baseline::Exact { identity, version },
                _ => {
                    let fields = [("/rollout_percent".parse().unwrap(), Json::from(percent))].into();
                    Baseline::Fields { identity, version, fields }
                }
            }
        });
        (id, verb, 0_u32..2, baseline, 0_u32..4, 0_u64..20).prop_map(|(id, verb, name, baseline, percent, deadline)| {
            let body = [("enabled", Json::from(true)), ("rollout_percent", Json::from(percent))];
            Mutation {
                id,
                body: (verb != Verb::Delete).then(|| Json::object(body)),
                verb,
                object: SandboxResource { collection: "feature-flags".to_owned(), name: format!("flag-{name}") },
                baseline,
                deadline: Timestamp::from_seconds(deadline).unwrap(),
                call: Digest::of(b"call"),
            }
        })
    }

    proptest! {
        #[test]
        fn i3_each_mutation_has_one_result_and_takes_effect_at_most_once(
            requests in proptest::collection::vec((mutations(), 0_u64..20), 1..60)
        ) {
            let mut store = Store::default();
            let mut results: HashMap<MutationId, (Digest, Result<Applied, Refusal>)> = HashMap::new();
            let mut latest = Timestamp::from_seconds(0).unwrap();
            for (mutation, time) in requests {
                // The clock goes back and forth; the store's does not.
                let now = Timestamp::from_seconds(time).unwrap();
                latest = latest.max(now);
                let before = store.read(&mutation.object);
                let handled = store.handle(&mutation, now, || "uid-0".to_owned());
                let after = store.read(&mutation.object);
                match handled.news {
                    News::Applied(change) => {
                        prop_assert!(!results.contains_key(&mutation.id) && latest <= mutation.deadline);
                        let number = |seen: &Option<Seen>| seen.as_ref().map_or(0, |it| it.version.as_str().parse().unwrap());
                        let was: u64 = number(&before);
                        prop_assert_eq!(change.version, was + 1);
                        prop_assert_eq!(after.is_none(), mutation.verb == Verb::Delete);
                        prop_assert!(after.is_none() || number(&after) == was + 1);
                        match &mutation.baseline {
                            Baseline::Absent => prop_assert!(before.is_none()),
                            Baseline::Exact { version, .. } => prop_assert_eq!(&before.unwrap().version, version),
                            Baseline::Fields { fields, .. } => for (pointer, value) in fields {
                                prop_assert_eq!(pointer.resolve(&before.as_ref().unwrap().object), Some(value));
                            },
                        }
                    }
                    _ => prop_assert_eq!(before, after),
                }
                let known = store.known(&mutation.id, now);
                prop_assert_eq!(known.now, latest);
                match results.get(&mutation.id) {
                    None => {
                        let state = if handled.answer.is_ok() { "applied" } else { "rejected" };
                        prop_assert_eq!((known.state.as_str(), known.request), (state, Some(mutation.digest())));
                        results.insert(mutation.id.clone(), (mutation.digest(), handled.answer));
                    }
                    Some((request, first)) if *request == mutation.digest() => {
                        let first = first.clone().map(|applied| Applied { repeated: true, ..applied });
                        prop_assert_eq!(&handled.answer, &first);
                    }
                    Some(_) => prop_assert_eq!(handled.answer.unwrap_err().code, Code::MutationReused),
                }
            }
        }

        #[test]
        fn a_request_is_read_as_it_was_written(mutation in mutations()) {
            let method = mutation.method().unwrap();
            let text = mutation.to_json().to_canonical();
            let read = Mutation::parse(&method, mutation.object.clone(), text.as_bytes()).unwrap();
            prop_assert_eq!(read.digest(), mutation.digest());
            prop_assert_eq!(read, mutation);
        }
    }
}
