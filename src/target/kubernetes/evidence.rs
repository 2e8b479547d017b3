//! What an object says of an earlier mutation. A plain function (I6).
//!
//! | seen | says |
//! |---|---|
//! | the annotation names the mutation | it took effect |
//! | the certified uid and version, some time after the deadline | it did not: whatever it does changes the version |
//! | a deletion, or an eviction: the certified uid without a deletion, some time after the deadline | it did not |
//! | anything else | that cannot be told: it may have been, and others have written since |

use std::time::Duration;

use super::answer::Object;
use super::plan::{Plan, object_path};
use super::urn::Operation;
use crate::contract::{Baseline, Version};
use crate::decision::Terms;
use crate::execution::Evidence;
use crate::timestamp::Timestamp;

/// How long after the deadline nothing of a request can take effect any more. The API server is told the deadline with
/// the request; what its clock, and a write on its way to the store, may add is less than this.
pub(super) const SETTLE: Duration = Duration::from_secs(15);

/// What `object`, read at `now`, says of the mutation.
pub(super) fn of(terms: &Terms, plan: &Plan, object: Option<&Object>, now: Timestamp) -> Evidence {
    let mutation = terms.mutation_id();
    let version = object.and_then(Object::version);
    let shown = version.as_ref().map_or("none", Version::as_str);
    let carried = plan.annotation().zip(object).and_then(|(annotation, object)| object.mutation(annotation));
    if carried == Some(mutation.as_str()) {
        // Others may have written since: the version right after it is not known.
        let detail = format!("at {now} the object at version {shown} carried the mutation's id");
        return Evidence::Applied { version: None, detail };
    }
    let until = terms.deadline().saturating_add(SETTLE);
    if now <= until {
        return Evidence::Open { until };
    }
    let untouched = match (terms.call().baseline(), object) {
        (_, None) | (Baseline::Absent, _) => false,
        (
            Baseline::Exact { identity, version: certified } | Baseline::Fields { identity, version: certified, .. },
            Some(object),
        ) => {
            let same = object.uid() == Some(identity);
            let deletes =
                plan.operation == Operation::Delete || plan.resource.subresource.as_deref() == Some("eviction");
            same && (version.as_ref() == Some(certified) || deletes && !object.is_deleted())
        }
    };
    if untouched {
        let detail = format!("at {now}, after the deadline, the object was as before, at version {shown}");
        return Evidence::NotApplied { detail };
    }
    let path = object_path(&plan.resource);
    let look_at = match object {
        None => format!("the API server's audit log, for {path} and {mutation}: at {now} there was no such object"),
        Some(_) => format!("the API server's audit log, for {path} and {mutation}: at {now} others had written it"),
    };
    Evidence::Indeterminate { look_at }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::{Value, json};

    use super::super::connection::Answer;
    use super::super::plan::tests::call;
    use super::*;
    use crate::decision::Terms;

    fn object(version: &str, uid: &str, annotation: Option<&str>, deleted: bool) -> Object {
        let mut object = json!({"metadata": {"name": "checkout", "uid": uid, "resourceVersion": version}});
        if let Some(annotation) = annotation {
            object["metadata"]["annotations"] = json!({"seb.dev/mutation": annotation});
        }
        if deleted {
            object["metadata"]["deletionTimestamp"] = "2026-11-24T09:30:00Z".into();
        }
        Object::read(&Answer { status: StatusCode::OK, body: object.to_string().into() }).unwrap()
    }

    /// What is made of each thing that can be seen, before and after nothing can happen any more.
    #[test]
    fn i6_only_what_the_object_says_is_said() {
        let deployment = json!({
            "group": "apps", "version": "v1", "resource": "deployments", "namespace": "shop", "name": "checkout",
        });
        let exact = json!({"mode": "exact", "identity": "uid-1", "version": "42"});
        let absent = json!({"mode": "absent"});
        let patch = call("merge-patch", &deployment, &json!({"spec": {}}), &exact);
        let create = call("create", &deployment, &json!({"metadata": {"name": "checkout"}}), &absent);
        let delete = call("delete", &deployment, &Value::Null, &exact);
        let mut scale = deployment.clone();
        scale["subresource"] = "scale".into();
        let scale = call("merge-patch", &scale, &json!({"spec": {}}), &exact);
        let terms = |call| Terms::testing(call);
        let mine = terms(patch.clone()).mutation_id().to_string();
        let mine = Some(mine.as_str());
        for (call, seen, said) in [
            (&patch, Some(object("43", "uid-1", mine, false)), "applied"),
            (&patch, Some(object("99", "uid-1", mine, false)), "applied"),
            (&patch, Some(object("42", "uid-1", None, false)), "not applied"),
            // Somebody wrote: it may have been before, instead, or after.
            (&patch, Some(object("43", "uid-1", None, false)), "indeterminate"),
            (&patch, Some(object("43", "uid-1", Some("m-other"), false)), "indeterminate"),
            (&patch, Some(object("42", "uid-2", None, false)), "indeterminate"),
            (&patch, None, "indeterminate"),
            (&create, Some(object("7", "uid-9", mine, false)), "applied"),
            (&create, Some(object("7", "uid-9", None, false)), "indeterminate"),
            // It may have been made, and deleted since.
            (&create, None, "indeterminate"),
            (&delete, Some(object("42", "uid-1", None, false)), "not applied"),
            (&delete, Some(object("50", "uid-1", None, false)), "not applied"),
            // Somebody deleted it.
            (&delete, Some(object("50", "uid-1", None, true)), "indeterminate"),
            (&delete, Some(object("50", "uid-2", None, false)), "indeterminate"),
            (&delete, None, "indeterminate"),
            // Nobody keeps the annotations of a scale.
            (&scale, Some(object("43", "uid-1", mine, false)), "indeterminate"),
            (&scale, Some(object("42", "uid-1", None, false)), "not applied"),
        ] {
            let terms = terms(call.clone());
            let plan = Plan::of(call).unwrap();
            let until = terms.deadline().saturating_add(SETTLE);
            let early = of(&terms, &plan, seen.as_ref(), until);
            let late = of(&terms, &plan, seen.as_ref(), until.saturating_add(Duration::from_millis(1)));
            let name = match &late {
                Evidence::Applied { .. } => "applied",
                Evidence::NotApplied { .. } => "not applied",
                Evidence::Indeterminate { .. } => "indeterminate",
                other => panic!("{other:?}"),
            };
            assert_eq!(name, said, "{} {seen:?}: {late:?}", call.verb());
            match said {
                "applied" => assert!(matches!(early, Evidence::Applied { .. })),
                _ => assert_eq!(early, Evidence::Open { until }),
            }
        }
    }
}
