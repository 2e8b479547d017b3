//! From a certified call to the one request that performs it. Plain functions, without I/O.
//!
//! What is added to the certified body, and nothing else is: the mutation id as one annotation, and the baseline, in
//! whatever form the API server itself holds against the object in the step that writes it. Applying has an annotation of its
//! own ([`APPLY_ANNOTATION`]).

use std::collections::BTreeMap;

use http::Method;

use super::merge;
use super::urn::{Operation, call_urn, dry_run_urn};
use crate::contract::{Baseline, Call, CallBody, Json, KubernetesResource, Object, Pointer, Resource, Verb, Version};
use crate::decision::{self, Found, MutationId};
use crate::execution::Grade;
use crate::reason::Denial;

/// The annotation that holds the id of the mutation that last wrote an object.
pub const ANNOTATION: &str = "seb.dev/mutation";

/// The same for server-side apply. To field management a writer is its name and its way: `seb` that applies is another one than
/// `seb` that patches, an annotation belongs to whoever wrote it, and to apply another value over it is a conflict, which
/// only `force` ends, and that for all that was certified.
pub const APPLY_ANNOTATION: &str = "seb.dev/applied";

/// What only the broker writes.
const RESERVED: [&str; 2] = [ANNOTATION, APPLY_ANNOTATION];

/// Who field management says it was.
pub const FIELD_MANAGER: &str = "seb";

/// The most octets of a request's body: what an API server takes by default.
pub(super) const MAX_BODY: usize = 3 * 1024 * 1024;

/// Subresources that are streams and not mutations.
const STREAMS: [&str; 4] = ["exec", "attach", "portforward", "proxy"];

/// What has to be done for a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) operation: Operation,
    pub(super) resource: KubernetesResource,
    method: Method,
    form: Form,
    grade: Grade,
}

/// The form of the request. What it is bound to gives it uid and version: `exact` those that were certified, `fields` the
/// version at which the fields were seen to hold, and `absent` none, also where there is no place for them.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// An object, or a part of one; the baseline goes into its `metadata`.
    Object { media_type: &'static str, body: Json, bind: Baseline, annotation: Option<&'static str> },
    /// JSON Patch: the baseline is its first operations.
    Operations { tests: Vec<Json>, operations: Vec<Json>, annotate: bool },
    /// Preconditions of a deletion, at a place of the body.
    Preconditions { place: &'static [&'static str], body: Json, bind: Baseline },
}

/// What must be known of the object before the request can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    Nothing,
    /// Whether it has annotations.
    Annotations,
    /// Its version, and the fields of the baseline.
    Version,
}

/// An object as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) uid: String,
    pub(super) version: Version,
    /// Whether it has annotations at all.
    pub(super) annotated: bool,
    /// The fields that were asked for; `None` where it has no such field.
    pub(super) fields: BTreeMap<Pointer, Option<Json>>,
}

/// The one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wire {
    pub(super) method: Method,
    /// Path and query.
    pub(super) target: String,
    pub(super) media_type: &'static str,
    pub(super) body: Vec<u8>,
}

/// Why there is no request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unfit {
    /// The call cannot be made at an API server, whatever the object is.
    Call(String),
    /// The object is not as certified.
    Drift(Denial),
}

impl Plan {
    /// What has to be done for `call`.
    pub(super) fn of(call: &Call) -> Result<Self, String> {
        let Resource::Kubernetes(resource) = call.resource() else {
            return Err(format!("the call is for a target of kind `{}`", call.target_kind()));
        };
        if let Some(stream) = resource.subresource.as_deref().filter(|it| STREAMS.contains(it)) {
            return Err(format!("`{stream}` is a stream, and not a mutation: it cannot be certified"));
        }
        let body = body(call, resource)?;
        let plan = match call.verb() {
            Verb::Create => create(call, resource, body)?,
            Verb::Update => object(call, resource, Method::PUT, "application/json", body)?,
            Verb::MergePatch => merge_patch(call, resource, body)?,
            Verb::StrategicMergePatch => {
                object(call, resource, Method::PATCH, "application/strategic-merge-patch+json", body)?
            }
            Verb::Apply => object(call, resource, Method::PATCH, "application/apply-patch+yaml", body)?,
            Verb::JsonPatch => json_patch(call, resource, body)?,
            Verb::Delete => Self {
                operation: Operation::Delete,
                resource: resource.clone(),
                method: Method::DELETE,
                form: Form::Preconditions {
                    place: &["preconditions"],
                    body: delete_options(body)?,
                    bind: call.baseline().clone(),
                },
                grade: Grade::Atomic,
            },
            verb => return Err(format!("an API server has no verb `{verb}`")),
        };
        Ok(plan)
    }

    /// How far the call is held against its baseline.
    pub(super) const fn grade(&self) -> Grade {
        self.grade
    }

    /// The name of the call.
    pub(super) fn urn(&self) -> String {
        call_urn(self.operation, &self.resource)
    }

    /// The name of a dry run of it.
    pub(super) fn dry_run_urn(&self) -> String {
        dry_run_urn(self.operation, &self.resource)
    }

    /// What must be known before.
    pub(super) const fn needs(&self) -> Needs {
        match &self.form {
            Form::Object { bind: Baseline::Fields { .. }, .. }
            | Form::Preconditions { bind: Baseline::Fields { .. }, .. } => Needs::Version,
            Form::Operations { annotate: true, .. } => Needs::Annotations,
            _ => Needs::Nothing,
        }
    }

    /// The annotation under which the object carries the mutation id afterwards, if it does.
    pub(super) const fn annotation(&self) -> Option<&'static str> {
        match &self.form {
            Form::Object { annotation, .. } => *annotation,
            Form::Operations { annotate: true, .. } => Some(ANNOTATION),
            Form::Operations { .. } | Form::Preconditions { .. } => None,
        }
    }

    /// The fields that [`Needs::Version`] is about.
    pub(super) fn fields(&self) -> impl Iterator<Item = &Pointer> {
        let fields = match &self.form {
            Form::Object { bind: Baseline::Fields { fields, .. }, .. }
            | Form::Preconditions { bind: Baseline::Fields { fields, .. }, .. } => Some(fields),
            _ => None,
        };
        fields.into_iter().flat_map(BTreeMap::keys)
    }

    /// The request, under the mutation id, over the object as it was `seen` where that is needed.
    pub(super) fn request(
        &self,
        mutation: &MutationId,
        timeout_seconds: u64,
        seen: Option<&Seen>,
    ) -> Result<Wire, Unfit> {
        let (media_type, body) = match &self.form {
            Form::Object { media_type, body, bind, annotation } => {
                let mut body = body.clone();
                if let Some((uid, version)) = bound(bind, seen)? {
                    let metadata = member(&mut body, "metadata").map_err(Unfit::Call)?;
                    put(metadata, "uid", uid).map_err(Unfit::Call)?;
                    put(metadata, "resourceVersion", version).map_err(Unfit::Call)?;
                }
                if let Some(annotation) = annotation {
                    annotate_object(&mut body, annotation, mutation).map_err(Unfit::Call)?;
                }
                (*media_type, body)
            }
            Form::Operations { tests, operations, annotate } => {
                let mut all = tests.clone();
                if *annotate {
                    let seen = seen.ok_or_else(|| Unfit::Call("the object was not read".to_owned()))?;
                    all.extend(annotating(seen.annotated, mutation));
                }
                all.extend(operations.iter().cloned());
                ("application/json-patch+json", Json::Array(all))
            }
            Form::Preconditions { place, body, bind } => {
                let mut body = body.clone();
                if let Some((uid, version)) = bound(bind, seen)? {
                    let mut options = &mut body;
                    for name in *place {
                        options = place_of(options, name).map_err(Unfit::Call)?;
                    }
                    let Json::Object(preconditions) = options else {
                        return Err(Unfit::Call("`preconditions` is not an object".to_owned()));
                    };
                    put(preconditions, "uid", uid).map_err(Unfit::Call)?;
                    put(preconditions, "resourceVersion", version).map_err(Unfit::Call)?;
                }
                ("application/json", body)
            }
        };
        let body = body.to_canonical().into_bytes();
        if body.len() > MAX_BODY {
            return Err(Unfit::Call(format!("the request has {} octets; at most {MAX_BODY} are taken", body.len())));
        }
        let target = format!("{}?{}", self.path(), self.query(timeout_seconds));
        Ok(Wire { method: self.method.clone(), target, media_type, body })
    }

    fn path(&self) -> String {
        let creates = self.method == Method::POST && self.resource.subresource.is_none();
        if creates { collection_path(&self.resource) } else { object_path(&self.resource) }
    }

    /// Unknown fields are refused and not dropped: what takes effect is what was certified.
    fn query(&self, timeout_seconds: u64) -> String {
        let timeout = timeout_seconds.max(1);
        match (&self.method, &self.form) {
            (&Method::DELETE, _) => format!("timeout={timeout}s"),
            (_, Form::Object { media_type: "application/apply-patch+yaml", .. }) => {
                format!("fieldManager={FIELD_MANAGER}&fieldValidation=Strict&force=false&timeout={timeout}s")
            }
            _ => format!("fieldManager={FIELD_MANAGER}&fieldValidation=Strict&timeout={timeout}s"),
        }
    }
}

/// The JSON of the body; of a delete without one an empty object.
fn body(call: &Call, resource: &KubernetesResource) -> Result<Json, String> {
    let body = match call.body() {
        CallBody::None => return Ok(Json::object::<String>([])),
        CallBody::Inline(body) => body.clone(),
        CallBody::Detached { detached, octets } => {
            let media_type = detached.media_type.as_str();
            if media_type != "application/json" && !media_type.ends_with("+json") {
                return Err(format!("a detached body of type `{media_type}` is not read: detach it as JSON"));
            }
            Json::parse_within(octets, MAX_BODY).map_err(|error| format!("the body is not JSON: {error}"))?
        }
    };
    match (call.verb(), &body) {
        (Verb::JsonPatch, Json::Array(_)) => Ok(body),
        (Verb::JsonPatch, _) => Err("the body is not a list of operations".to_owned()),
        (verb, Json::Object(_)) => {
            if matches!(verb, Verb::Create | Verb::Update | Verb::Apply) {
                let checked = resource.check_body(verb, &body);
                checked.map_err(|(pointer, message)| format!("`{pointer}` of the body {message}"))?;
            }
            Ok(body)
        }
        _ => Err("the body is not an object".to_owned()),
    }
}

fn create(call: &Call, resource: &KubernetesResource, body: Json) -> Result<Plan, String> {
    let plan = |form, grade| Plan {
        operation: Operation::Create,
        resource: resource.clone(),
        method: Method::POST,
        form,
        grade,
    };
    let media_type = "application/json";
    match resource.subresource.as_deref() {
        None => {
            check_annotations(&body)?;
            check_metadata(&body, None)?;
            let form = Form::Object { media_type, body, bind: Baseline::Absent, annotation: Some(ANNOTATION) };
            Ok(plan(form, Grade::Atomic))
        }
        Some("eviction") => {
            if let Some(options) = body.get("deleteOptions") {
                check_delete_options(options)?;
            }
            let place = &["deleteOptions", "preconditions"];
            let bind = call.baseline().clone();
            let grade = if bind == Baseline::Absent { Grade::Bounded } else { Grade::Atomic };
            Ok(plan(Form::Preconditions { place, body, bind }, grade))
        }
        // Nothing of the object can be named in the request.
        Some(_) => {
            Ok(plan(Form::Object { media_type, body, bind: Baseline::Absent, annotation: None }, Grade::Bounded))
        }
    }
}

fn object(
    call: &Call,
    resource: &KubernetesResource,
    method: Method,
    media_type: &'static str,
    body: Json,
) -> Result<Plan, String> {
    check_annotations(&body)?;
    check_metadata(&body, call.baseline().identity())?;
    // Apply makes the object where there is none, and nothing in the request could forbid the other case.
    let absent = *call.baseline() == Baseline::Absent;
    let annotation = if *call.verb() == Verb::Apply { APPLY_ANNOTATION } else { ANNOTATION };
    let annotation = is_annotated(resource).then_some(annotation);
    Ok(Plan {
        operation: if absent { Operation::Create } else { Operation::Update },
        resource: resource.clone(),
        method,
        form: Form::Object { media_type, body, bind: call.baseline().clone(), annotation },
        grade: if absent { Grade::Bounded } else { Grade::Atomic },
    })
}

/// A merge patch whose baseline is of fields becomes a JSON Patch, if one says exactly the same.
fn merge_patch(call: &Call, resource: &KubernetesResource, body: Json) -> Result<Plan, String> {
    let plan = object(call, resource, Method::PATCH, "application/merge-patch+json", body)?;
    let Baseline::Fields { identity, fields, .. } = call.baseline() else { return Ok(plan) };
    let (Some(tests), Form::Object { body, annotation, .. }) = (tests(identity, fields), &plan.form) else {
        return Ok(plan);
    };
    let Some(operations) = merge::operations(body, fields) else { return Ok(plan) };
    let form = Form::Operations { tests, operations, annotate: annotation.is_some() };
    Ok(Plan { form, ..plan })
}

fn json_patch(call: &Call, resource: &KubernetesResource, body: Json) -> Result<Plan, String> {
    let Json::Array(operations) = body else { return Err("the body is not a list of operations".to_owned()) };
    for operation in &operations {
        check_operation(operation)?;
    }
    let tests = match call.baseline() {
        Baseline::Absent => return Err("a patch needs an object".to_owned()),
        Baseline::Exact { identity, version } => {
            vec![
                test("/metadata/uid", identity.as_str().into()),
                test("/metadata/resourceVersion", Json::string(version)),
            ]
        }
        Baseline::Fields { identity, fields, .. } => tests(identity, fields)
            .ok_or("a baseline over the whole object, or all of its metadata, cannot be tested: name single fields")?,
    };
    Ok(Plan {
        operation: Operation::Update,
        resource: resource.clone(),
        method: Method::PATCH,
        form: Form::Operations { tests, operations, annotate: is_annotated(resource) },
        grade: Grade::Atomic,
    })
}

/// A subresource other than `status` has metadata that nobody keeps.
fn is_annotated(resource: &KubernetesResource) -> bool {
    resource.subresource.as_deref().is_none_or(|subresource| subresource == "status")
}

/// Uid and version for the request; none where the baseline has none.
fn bound(baseline: &Baseline, seen: Option<&Seen>) -> Result<Option<(String, String)>, Unfit> {
    match baseline {
        Baseline::Absent => Ok(None),
        Baseline::Exact { identity, version } => Ok(Some((identity.clone(), version.to_string()))),
        Baseline::Fields { identity, fields, .. } => {
            let seen = seen.ok_or_else(|| Unfit::Call("the object was not read".to_owned()))?;
            if let Some(drift) = drift(baseline, Some(seen)) {
                return Err(Unfit::Drift(drift));
            }
            match fields.keys().find(|pointer| !seen.fields.contains_key(*pointer)) {
                Some(pointer) => {
                    Err(Unfit::Call(format!("the object has something at `{pointer}` that no contract can hold")))
                }
                None => Ok(Some((identity.clone(), seen.version.to_string()))),
            }
        }
    }
}

/// How the object differs from what was certified, if it does.
pub(super) fn drift(baseline: &Baseline, seen: Option<&Seen>) -> Option<Denial> {
    decision::drift(baseline, seen.map(|it| Found { identity: &it.uid, version: &it.version, fields: &it.fields }))
}

/// The baseline as operations; none where one of its fields changes with every write.
fn tests(uid: &str, fields: &BTreeMap<Pointer, Json>) -> Option<Vec<Json>> {
    if fields.keys().any(|pointer| pointer.is_root() || pointer.tokens() == ["metadata"]) {
        return None;
    }
    let fields = fields.iter().map(|(pointer, value)| test(&pointer.to_string(), value.clone()));
    Some([test("/metadata/uid", uid.into())].into_iter().chain(fields).collect())
}

fn test(path: &str, value: Json) -> Json {
    Json::object([("op", Json::from("test")), ("path", Json::from(path)), ("value", value)])
}

/// The annotation as operations. An object without annotations has to have none still, or another writer's were lost.
fn annotating(annotated: bool, mutation: &MutationId) -> Vec<Json> {
    let add =
        |path: &str, value| Json::object([("op", Json::from("add")), ("path", Json::from(path)), ("value", value)]);
    if annotated {
        vec![add("/metadata/annotations/seb.dev~1mutation", Json::string(mutation))]
    } else {
        let annotations = Json::object([(ANNOTATION, Json::string(mutation))]);
        vec![test("/metadata/annotations", Json::Null), add("/metadata/annotations", annotations)]
    }
}

fn annotate_object(body: &mut Json, annotation: &str, mutation: &MutationId) -> Result<(), String> {
    let metadata = member(body, "metadata")?;
    if metadata.get("annotations").is_none() {
        metadata.insert("annotations".to_owned(), Json::object::<String>([]));
    }
    let Some(Json::Object(annotations)) = metadata.get_mut("annotations") else {
        return Err("`/metadata/annotations` of the body is not an object".to_owned());
    };
    annotations.insert(annotation.to_owned(), Json::string(mutation));
    Ok(())
}

/// The member of this name, which is made where it is missing, as an object.
fn member<'a>(body: &'a mut Json, name: &str) -> Result<&'a mut Object, String> {
    match place_of(body, name)? {
        Json::Object(member) => Ok(member),
        _ => Err(format!("`/{name}` of the body is not an object")),
    }
}

fn place_of<'a>(body: &'a mut Json, name: &str) -> Result<&'a mut Json, String> {
    let Json::Object(body) = body else { return Err("the body is not an object".to_owned()) };
    if body.get(name).is_none() {
        body.insert(name.to_owned(), Json::object::<String>([]));
    }
    body.get_mut(name).ok_or_else(|| format!("`{name}` cannot be put into the body"))
}

/// Puts what the baseline says where the body may say the same, and nothing else.
fn put(object: &mut Object, name: &str, value: String) -> Result<(), String> {
    match object.insert(name.to_owned(), Json::from(value.as_str())) {
        Some(Json::String(said)) if said != value => {
            Err(format!("the body says `{said}` for `{name}`, and the baseline `{value}`: leave it out of the body"))
        }
        Some(Json::String(_)) | None => Ok(()),
        Some(_) => Err(format!("`{name}` of the body is not text: leave it out")),
    }
}

/// What only the broker says: no body brings it.
fn check_annotations(body: &Json) -> Result<(), String> {
    let reserved = |what: &str| Err(format!("`/metadata/annotations` of the body {what}: leave it out"));
    match body.get("metadata") {
        None => return Ok(()),
        Some(Json::Object(_)) => {}
        Some(_) => return Err("`/metadata` of the body is not an object: leave it out".to_owned()),
    }
    match body.get("metadata").and_then(|metadata| metadata.get("annotations")) {
        None => Ok(()),
        Some(Json::Object(annotations)) if RESERVED.iter().any(|name| annotations.get(name).is_some()) => {
            reserved(&format!("has `{ANNOTATION}` or `{APPLY_ANNOTATION}`, which the broker writes"))
        }
        Some(Json::Object(annotations)) if annotations.iter().any(|(name, _)| name.starts_with('$')) => {
            reserved("has a directive, which would take the mutation id along")
        }
        Some(Json::Object(_)) => Ok(()),
        Some(_) => reserved("is not an object, which would remove the mutation id"),
    }
}

/// The identity of an object is the baseline's to say.
fn check_metadata(body: &Json, uid: Option<&str>) -> Result<(), String> {
    let Some(Json::Object(metadata)) = body.get("metadata") else { return Ok(()) };
    if let Some((directive, _)) = metadata.iter().find(|(name, _)| name.starts_with('$')) {
        return Err(format!("`/metadata/{directive}` of the body is a directive over all metadata: leave it out"));
    }
    if metadata.get("generateName").is_some() {
        return Err("`/metadata/generateName` of the body lets the API server choose the name: leave it out".to_owned());
    }
    let name =
        if uid.is_none() { ["uid", "resourceVersion"].into_iter().find(|it| metadata.get(it).is_some()) } else { None };
    match name {
        Some(name) => Err(format!("`/metadata/{name}` of the body is of an object that does not exist: leave it out")),
        None => Ok(()),
    }
}

/// Whether an operation leaves the mutation id and the object's identity alone.
fn check_operation(operation: &Json) -> Result<(), String> {
    let text = |name: &str| operation.get(name).and_then(Json::as_str);
    let Some(op) = text("op") else { return Err("an operation of the body has no `op`".to_owned()) };
    if op == "test" {
        return Ok(());
    }
    let places = [text("path"), if op == "move" { text("from") } else { None }];
    for place in places.into_iter().flatten() {
        let pointer = Pointer::parse(place).map_err(|error| error.to_string())?;
        let tokens = pointer.tokens();
        let reserved = |name| tokens.iter().zip(["metadata", "annotations", name]).all(|(token, it)| token == it);
        let outside = !RESERVED.into_iter().any(reserved);
        if !outside || ["uid", "resourceVersion"].iter().any(|name| tokens == ["metadata", *name]) {
            return Err(format!(
                "an operation of the body writes `{place}`: name single annotations that are not the broker's own"
            ));
        }
    }
    Ok(())
}

fn delete_options(body: Json) -> Result<Json, String> {
    check_delete_options(&body)?;
    let mut body = body;
    if let Json::Object(options) = &mut body {
        for (name, value) in [("apiVersion", "v1"), ("kind", "DeleteOptions")] {
            if options.get(name).is_none() {
                options.insert(name.to_owned(), value.into());
            }
        }
    }
    Ok(body)
}

fn check_delete_options(options: &Json) -> Result<(), String> {
    match options.get("dryRun") {
        None => Ok(()),
        Some(_) => Err("a deletion with `dryRun` deletes nothing: leave it out of the body".to_owned()),
    }
}

/// The path of the objects of this kind, in this namespace.
fn collection_path(resource: &KubernetesResource) -> String {
    let mut path = match resource.group.as_str() {
        "" => format!("/api/{}", resource.version),
        group => format!("/apis/{group}/{}", resource.version),
    };
    if let Some(namespace) = &resource.namespace {
        path.push_str("/namespaces/");
        path.push_str(namespace);
    }
    path.push('/');
    path.push_str(&resource.resource);
    path
}

/// The path of an object, or of its subresource.
pub(super) fn object_path(resource: &KubernetesResource) -> String {
    let mut path = collection_path(resource);
    path.push('/');
    for octet in resource.name.bytes() {
        match octet {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b'@' => {
                path.push(char::from(octet));
            }
            other => path.push_str(&format!("%{other:02X}")),
        }
    }
    if let Some(subresource) = &resource.subresource {
        path.push('/');
        path.push_str(subresource);
    }
    path
}

/// The path under which the state that a baseline is about is read: the object, or its scale.
pub(super) fn state_path(resource: &KubernetesResource) -> String {
    let scale = resource.subresource.as_deref() == Some("scale");
    if scale {
        object_path(resource)
    } else {
        object_path(&KubernetesResource { subresource: None, ..resource.clone() })
    }
}

#[cfg(test)]
pub(super) mod tests;
