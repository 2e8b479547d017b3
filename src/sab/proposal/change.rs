//! The everyday changes of Kubernetes in a few words: what becomes of them is a mutation like any other.
//!
//! | `kind` | mutation | held to, where the proposal does not say otherwise |
//! |---|---|---|
//! | `scale` | merge patch of `/spec/replicas`; `minimum` and `maximum` leave it open between them | `/spec/replicas` |
//! | `image` | strategic merge patch of one container's image | `/spec/template/spec/containers` |
//! | `restart` | merge patch of the pod template's annotation `kubectl.kubernetes.io/restartedAt` | `/spec/template/spec` |
//! | `cordon`, `uncordon` | merge patch of a node's `/spec/unschedulable` | the node itself, whatever its fields |

use serde::Deserialize;

use super::{BaselineWish, present};
use crate::contract::{Json, Pointer, Verb};
use crate::timestamp::Timestamp;

/// One such change, as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    kind: Kind,
    #[serde(default, deserialize_with = "present")]
    resource: Option<String>,
    #[serde(default, deserialize_with = "present")]
    namespace: Option<String>,
    name: String,
    #[serde(default, deserialize_with = "present")]
    replicas: Option<u32>,
    #[serde(default, deserialize_with = "present")]
    minimum: Option<u32>,
    #[serde(default, deserialize_with = "present")]
    maximum: Option<u32>,
    #[serde(default, deserialize_with = "present")]
    container: Option<String>,
    #[serde(default, deserialize_with = "present")]
    image: Option<String>,
    #[serde(default, deserialize_with = "present")]
    at: Option<Timestamp>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Scale,
    Image,
    Restart,
    Cordon,
    Uncordon,
}

/// The workloads that have a pod template.
const WORKLOADS: [&str; 3] = ["deployments", "statefulsets", "daemonsets"];

impl Change {
    /// The mutation, and what it is held to; or the member that is wrong, and how.
    pub(super) fn expand(self) -> Result<(Json, BaselineWish), (&'static str, String)> {
        self.check()?;
        let (verb, body, field) = match self.kind {
            Kind::Scale => (Verb::MergePatch, self.scale()?, "/spec/replicas"),
            Kind::Image => (Verb::StrategicMergePatch, self.image()?, "/spec/template/spec/containers"),
            Kind::Restart => (Verb::MergePatch, self.restart()?, "/spec/template/spec"),
            Kind::Cordon => (Verb::MergePatch, unschedulable(true), "/metadata/uid"),
            Kind::Uncordon => (Verb::MergePatch, unschedulable(false), "/metadata/uid"),
        };
        let field = Pointer::parse(field).map_err(|error| ("", error.to_string()))?;
        let always = [("verb", Json::string(verb)), ("resource", self.resource()?), ("body", body)];
        let mutation = Json::object(always.into_iter().chain(self.parameters().map(|open| ("parameters", open))));
        Ok((mutation, BaselineWish::Fields(vec![field])))
    }

    /// Whether there is nothing that this kind of change does not have.
    fn check(&self) -> Result<(), (&'static str, String)> {
        let scale = self.kind == Kind::Scale;
        let image = self.kind == Kind::Image;
        let node = matches!(self.kind, Kind::Cordon | Kind::Uncordon);
        let foreign = [
            ("resource", self.resource.is_some() && node),
            ("namespace", self.namespace.is_some() && node),
            ("replicas", self.replicas.is_some() && !scale),
            ("minimum", self.minimum.is_some() && !scale),
            ("maximum", self.maximum.is_some() && !scale),
            ("container", self.container.is_some() && !image),
            ("image", self.image.is_some() && !image),
            ("at", self.at.is_some() && self.kind != Kind::Restart),
        ];
        match foreign.into_iter().find(|(_, foreign)| *foreign) {
            Some((name, _)) => Err((name, "does not belong to this kind of change: leave it out".to_owned())),
            None => Ok(()),
        }
    }

    fn resource(&self) -> Result<Json, (&'static str, String)> {
        let named = |group: &str, plural: &str| {
            let text = |text: &str| Json::from(text);
            let always = [
                ("group", text(group)),
                ("version", text("v1")),
                ("resource", text(plural)),
                ("name", text(&self.name)),
            ];
            let namespace = self.namespace.as_deref().map(|namespace| ("namespace", text(namespace)));
            Json::object(always.into_iter().chain(namespace))
        };
        if matches!(self.kind, Kind::Cordon | Kind::Uncordon) {
            return Ok(named("", "nodes"));
        }
        let plural = self.resource.as_deref().unwrap_or("deployments");
        let scales = self.kind == Kind::Scale;
        let known = WORKLOADS.contains(&plural) && !(scales && plural == "daemonsets");
        match (known, &self.namespace) {
            (true, Some(_)) => Ok(named("apps", plural)),
            (true, None) => Err(("namespace", "is missing".to_owned())),
            (false, _) => Err(("resource", format!("`{plural}` is not known here: write the `mutation` out"))),
        }
    }

    fn scale(&self) -> Result<Json, (&'static str, String)> {
        let replicas = self.replicas.ok_or_else(|| missing("replicas"))?;
        if self.minimum.is_some() != self.maximum.is_some() {
            return Err(("minimum", "and `maximum` come together".to_owned()));
        }
        Ok(nested(&["spec", "replicas"], Json::from(replicas)))
    }

    /// The agent chooses between the two, where they are given.
    fn parameters(&self) -> Option<Json> {
        let (minimum, maximum) = self.minimum.zip(self.maximum)?;
        let bounds = [("type", Json::from("integer")), ("minimum", minimum.into()), ("maximum", maximum.into())];
        let parameter = [
            ("pointer", Json::from("/spec/replicas")),
            ("required", Json::from(false)),
            ("bounds", Json::object(bounds)),
        ];
        Some(Json::Array(vec![Json::object(parameter)]))
    }

    fn image(&self) -> Result<Json, (&'static str, String)> {
        let container = self.container.as_deref().ok_or_else(|| missing("container"))?;
        let image = self.image.as_deref().ok_or_else(|| missing("image"))?;
        let container = Json::object([("name", Json::from(container)), ("image", Json::from(image))]);
        Ok(nested(&["spec", "template", "spec", "containers"], Json::Array(vec![container])))
    }

    fn restart(&self) -> Result<Json, (&'static str, String)> {
        let at = self.at.ok_or_else(|| missing("at"))?;
        let path = ["spec", "template", "metadata", "annotations", "kubectl.kubernetes.io/restartedAt"];
        Ok(nested(&path, Json::string(at)))
    }
}

fn missing(name: &'static str) -> (&'static str, String) {
    (name, "is missing: this kind of change needs it".to_owned())
}

fn unschedulable(value: bool) -> Json {
    nested(&["spec", "unschedulable"], Json::from(value))
}

/// The value at the end of a path of objects.
fn nested(path: &[&str], value: Json) -> Json {
    path.iter().rev().fold(value, |value, name| Json::object([(*name, value)]))
}

#[cfg(test)]
mod tests {
    use super::super::{Live, Proposal};
    use super::*;
    use crate::contract::{Baseline, Body};

    fn proposal(change: &str) -> Result<Proposal, String> {
        let text = format!(
            "schema: seb.dev/proposal/v1\ntarget: {{ kind: kubernetes, name: prod }}\nsteps:\n  - change: {{ {change} }}\n\
             limits: {{ for: 1h }}\njustification: it has to be\n"
        );
        Proposal::parse(&text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_few_words_become_a_mutation() {
        let workload = "namespace: shop, name: checkout";
        for (change, verb, body, field, state) in [
            (
                format!("kind: scale, {workload}, replicas: 5, minimum: 3, maximum: 9"),
                "merge-patch",
                r#"{"spec":{"replicas":5}}"#,
                "/spec/replicas",
                r#"{"spec":{"replicas":4}}"#,
            ),
            (
                format!("kind: image, {workload}, container: main, image: 'shop:2'"),
                "strategic-merge-patch",
                r#"{"spec":{"template":{"spec":{"containers":[{"image":"shop:2","name":"main"}]}}}}"#,
                "/spec/template/spec/containers",
                r#"{"spec":{"template":{"spec":{"containers":[]}}}}"#,
            ),
            (
                format!("kind: restart, resource: daemonsets, {workload}, at: 2026-11-24T09:30:00Z"),
                "merge-patch",
                r#"{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"2026-11-24T09:30:00Z"}}}}}"#,
                "/spec/template/spec",
                r#"{"spec":{"template":{"spec":{}}}}"#,
            ),
            (
                "kind: cordon, name: n1".to_owned(),
                "merge-patch",
                r#"{"spec":{"unschedulable":true}}"#,
                "/metadata/uid",
                r#"{"metadata":{"uid":"uid-1"}}"#,
            ),
        ] {
            let proposal = proposal(&change).unwrap();
            let state = Json::parse(state.as_bytes()).unwrap();
            let live = Live::Present { identity: "uid-1".into(), version: "4".parse().unwrap(), state };
            let contract = proposal.compile(&[live], "2026-11-24T09:00:00Z".parse().unwrap()).unwrap();
            let step = &contract.steps()[0];
            assert_eq!(step.mutation().verb().as_str(), verb);
            match step.mutation().body() {
                Body::Inline(found) => assert_eq!(found.to_canonical(), body),
                other => panic!("{other:?}"),
            }
            match step.baseline() {
                Baseline::Fields { fields, .. } => assert!(fields.keys().any(|key| key.to_string() == field)),
                other => panic!("{other:?}"),
            }
            assert_eq!(step.mutation().parameters().len(), usize::from(change.contains("minimum")));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_place() {
        for (change, problem) in [
            ("kind: scale, namespace: a, name: b", "`/steps/0/change/replicas`: is missing"),
            ("kind: scale, name: b, replicas: 1", "`/steps/0/change/namespace`: is missing"),
            ("kind: scale, namespace: a, name: b, replicas: 1, minimum: 1", "`/steps/0/change/minimum`: and `maximum`"),
            ("kind: scale, namespace: a, name: b, replicas: 9, minimum: 1, maximum: 5", "bounds`: the default is 9"),
            ("kind: scale, resource: daemonsets, namespace: a, name: b, replicas: 1", "`daemonsets` is not known here"),
            ("kind: image, namespace: a, name: b, image: c", "`/steps/0/change/container`: is missing"),
            ("kind: restart, namespace: a, name: b", "`/steps/0/change/at`: is missing"),
            ("kind: cordon, name: b, namespace: a", "`/steps/0/change/namespace`: does not belong"),
            ("kind: cordon, name: b, replicas: 1", "`/steps/0/change/replicas`: does not belong"),
            ("kind: drain, name: b", "`/steps/0/change/kind`"),
            ("kind: cordon, name: ' '", "`/steps/0/mutation/resource/name`"),
        ] {
            let error = proposal(change).unwrap_err();
            assert!(error.contains(problem), "{change}: {error}");
        }
    }
}
