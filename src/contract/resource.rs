//! What a mutation is about, for each kind of target: verb, resource, and the form of a version token.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::json::Json;
use super::made;
use super::names::{InvalidName, Version, is_label, is_subdomain, name};
use super::pointer::Pointer;

/// The kind of a target: which API the broker speaks to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TargetKind {
    /// The sandbox target that comes with the broker.
    Sandbox,
    /// A Kubernetes API server.
    Kubernetes,
    /// An AWS account.
    Aws,
}

impl TargetKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Sandbox, Self::Kubernetes, Self::Aws];

    /// The name in contracts, records and output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Kubernetes => "kubernetes",
            Self::Aws => "aws",
        }
    }
}

impl fmt::Display for TargetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for TargetKind {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let kind = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        kind.ok_or_else(|| InvalidName::new(text, "a kind of target", "`sandbox`, `kubernetes` or `aws`"))
    }
}

name! {
    /// An operation of an AWS API or an IAM action, such as `s3:PutBucketPolicy`: no wildcards.
    AwsOperation, "an AWS operation",
    "`service:Operation`, such as `s3:PutBucketPolicy`, without wildcards",
    "^[a-z0-9-]{1,63}:[A-Z][A-Za-z0-9]{0,127}$",
    |text| text.split_once(':').is_some_and(|(service, operation)| {
        (1..=63).contains(&service.len())
            && service.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && (1..=128).contains(&operation.len())
            && operation.starts_with(|c: char| c.is_ascii_uppercase())
            && operation.bytes().all(|b| b.is_ascii_alphanumeric())
    })
}

impl AwsOperation {
    /// The service prefix, `s3`.
    pub fn service(&self) -> &str {
        self.as_str().split_once(':').map_or("", |(service, _)| service)
    }

    /// The operation without its service, `PutBucketPolicy`.
    pub fn operation(&self) -> &str {
        self.as_str().split_once(':').map_or("", |(_, operation)| operation)
    }
}

/// What is done to a resource. Which kinds of target have it: [`Verb::is_of`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Verb {
    /// Create an object that does not exist (sandbox, Kubernetes).
    Create,
    /// Put another object in the place of one that exists (sandbox).
    Replace,
    /// Merge into an object, RFC 7396 (sandbox).
    Merge,
    /// Put another object in the place of one that exists (Kubernetes).
    Update,
    /// Merge into an object, RFC 7396 (Kubernetes).
    MergePatch,
    /// Apply a list of operations, RFC 6902 (Kubernetes).
    JsonPatch,
    /// Merge into an object by its schema's strategy (Kubernetes).
    StrategicMergePatch,
    /// Server-side apply (Kubernetes).
    Apply,
    /// Delete an object (sandbox, Kubernetes).
    Delete,
    /// An operation of an AWS API.
    Aws(AwsOperation),
}

impl Verb {
    /// The verbs that have a fixed name.
    pub(super) const FIXED: [Self; 9] = [
        Self::Create,
        Self::Replace,
        Self::Merge,
        Self::Update,
        Self::MergePatch,
        Self::JsonPatch,
        Self::StrategicMergePatch,
        Self::Apply,
        Self::Delete,
    ];

    /// The name in contracts, ceilings and output.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Create => "create",
            Self::Replace => "replace",
            Self::Merge => "merge",
            Self::Update => "update",
            Self::MergePatch => "merge-patch",
            Self::JsonPatch => "json-patch",
            Self::StrategicMergePatch => "strategic-merge-patch",
            Self::Apply => "apply",
            Self::Delete => "delete",
            Self::Aws(operation) => operation.as_str(),
        }
    }

    /// Whether targets of this kind have it.
    pub const fn is_of(&self, kind: TargetKind) -> bool {
        match self {
            Self::Create | Self::Delete => matches!(kind, TargetKind::Sandbox | TargetKind::Kubernetes),
            Self::Replace | Self::Merge => matches!(kind, TargetKind::Sandbox),
            Self::Update | Self::MergePatch | Self::JsonPatch | Self::StrategicMergePatch | Self::Apply => {
                matches!(kind, TargetKind::Kubernetes)
            }
            Self::Aws(_) => matches!(kind, TargetKind::Aws),
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Verb {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if let Some(verb) = Self::FIXED.into_iter().find(|verb| verb.as_str() == text) {
            return Ok(verb);
        }
        text.parse().map(Self::Aws).map_err(|_| {
            InvalidName::new(
                text,
                "a verb",
                "a verb of the target's kind, such as `merge-patch` or `s3:PutBucketPolicy`",
            )
        })
    }
}

impl TryFrom<String> for Verb {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<Verb> for String {
    fn from(verb: Verb) -> Self {
        verb.as_str().to_owned()
    }
}

impl JsonSchema for Verb {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Verb".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let fixed: Vec<_> = Self::FIXED.iter().map(Self::as_str).collect();
        let operation = generator.subschema_for::<AwsOperation>();
        schemars::json_schema!({ "anyOf": [{ "type": "string", "enum": fixed }, operation] })
    }
}

impl Version {
    /// Whether it has the form that this kind's tokens have.
    pub fn is_of(&self, kind: TargetKind) -> bool {
        let text = self.as_str();
        match kind {
            TargetKind::Sandbox => text.parse::<u64>().is_ok_and(|number| number.to_string() == text),
            TargetKind::Kubernetes => text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric()),
            TargetKind::Aws => true,
        }
    }
}

/// What a mutation is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// An object of the sandbox.
    Sandbox(SandboxResource),
    /// An object of a Kubernetes API, or a subresource of one.
    Kubernetes(KubernetesResource),
    /// Resources of an AWS account, with the actions that the operation needs.
    Aws(AwsResource),
}

/// An object of the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SandboxResource")]
pub struct SandboxResource {
    /// The collection: 1 to 63 lower-case letters, digits and dashes, a letter or digit at both ends.
    #[schemars(extend("pattern" = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))]
    pub collection: String,
    /// The name of the object in it, of the same form.
    #[schemars(extend("pattern" = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))]
    pub name: String,
}

/// An object of a Kubernetes API, or a subresource of one. It is always named: `generateName` cannot be certified.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KubernetesResource")]
pub struct KubernetesResource {
    /// The API group, a DNS-1123 subdomain; empty for the core group. `core` itself is refused: it stands for the
    /// empty group in paths.
    #[schemars(extend("pattern" = "^([a-z0-9]([a-z0-9.-]*[a-z0-9])?)?$", "maxLength" = 253))]
    pub group: String,
    /// The version of the group, a DNS-1123 label such as `v1`.
    #[schemars(extend("pattern" = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))]
    pub version: String,
    /// The resource, in the plural and lower case, such as `deployments`.
    #[schemars(extend("pattern" = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))]
    pub resource: String,
    /// The subresource, such as `scale`, where it is one.
    #[serde(default, deserialize_with = "super::wire::present", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("pattern" = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))]
    pub subresource: Option<String>,
    /// The namespace, where the resource has them.
    #[serde(default, deserialize_with = "super::wire::present", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("pattern" = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))]
    pub namespace: Option<String>,
    /// The name: 1 to 253 printable ASCII characters without space, `/` or `%`, not `.` or `..`.
    #[schemars(extend("pattern" = "^[!-$&-.0-~]{1,253}$"))]
    pub name: String,
}

/// Resources of an AWS account, with the actions that the operation needs: what the session policy will allow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AwsResource")]
pub struct AwsResource {
    /// The account: 12 digits.
    #[schemars(extend("pattern" = "^[0-9]{12}$"))]
    pub account: String,
    /// The region id, such as `eu-west-1`; `aws-global` for services without regions.
    #[schemars(extend("pattern" = "^[a-z][a-z0-9]*(-[a-z0-9]+)+$", "maxLength" = 63))]
    pub region: String,
    /// The IAM actions that the operation needs: 1 to 16, distinct, no wildcards.
    #[schemars(extend("minItems" = 1, "maxItems" = 16, "uniqueItems" = true))]
    pub actions: Vec<AwsOperation>,
    /// The ARNs that it touches: 1 to 32, distinct, complete, without policy variables. A wildcard stands only in place of an
    /// identifier that AWS chooses, of what all the actions make: `instance/*` for `ec2:RunInstances`.
    #[schemars(extend("minItems" = 1, "maxItems" = 32, "uniqueItems" = true), inner(length(max = 2048)))]
    #[schemars(inner(pattern(r"^arn:[!-)+->@-~]+(/\*|-\?{6}|:\*:[!-)+->@-~]+)?$")))]
    pub arns: Vec<String>,
    /// How its state is read, where a baseline is held against it before the call.
    #[serde(default, deserialize_with = "super::wire::present", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "AwsRead")]
    pub read: Option<AwsRead>,
}

/// How the state of the first of the ARNs is read: an operation that changes nothing, and what its answer shows. The
/// pointers, those of a baseline's fields too, are into the answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AwsRead")]
pub struct AwsRead {
    /// The operation, such as `dynamodb:GetItem`.
    pub operation: AwsOperation,
    /// Its input, an object.
    #[schemars(extend("type" = "object"))]
    pub input: Json,
    /// Where the object is: with nothing there, or an empty list, it does not exist. Left out, it is the whole answer.
    #[serde(default, deserialize_with = "super::wire::present", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Pointer")]
    pub object: Option<Pointer>,
    /// Where its version token is, a string or a number. Left out, the version is the digest of the object.
    #[serde(default, deserialize_with = "super::wire::present", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Pointer")]
    pub version: Option<Pointer>,
}

impl Resource {
    /// The kind of target that has it.
    pub const fn kind(&self) -> TargetKind {
        match self {
            Self::Sandbox(_) => TargetKind::Sandbox,
            Self::Kubernetes(_) => TargetKind::Kubernetes,
            Self::Aws(_) => TargetKind::Aws,
        }
    }

    /// The paths that a broker's ceiling is compared with. Two resources of one kind share paths only if they are the
    /// same object.
    ///
    /// | kind | path |
    /// |---|---|
    /// | sandbox | `<collection>/<name>` |
    /// | Kubernetes | `<group, or core>/<version>[/namespaces/<namespace>]/<resource>/<name>[/<subresource>]` |
    /// | AWS | each ARN |
    pub fn paths(&self) -> Vec<String> {
        match self {
            Self::Sandbox(object) => vec![format!("{}/{}", object.collection, object.name)],
            Self::Kubernetes(object) => vec![object.path()],
            Self::Aws(resource) => resource.arns.clone(),
        }
    }

    /// The rule that it breaks, and in which field.
    pub(crate) fn check(&self) -> Result<(), (&'static str, &'static str)> {
        match self {
            Self::Sandbox(object) => object.check(),
            Self::Kubernetes(object) => object.check(),
            Self::Aws(resource) => resource.check(),
        }
    }

    /// As it stands in contracts.
    pub(super) fn to_json(&self) -> Json {
        let text = |text: &str| Json::from(text);
        match self {
            Self::Sandbox(object) => {
                Json::object([("collection", text(&object.collection)), ("name", text(&object.name))])
            }
            Self::Kubernetes(object) => {
                let always = [
                    ("group", text(&object.group)),
                    ("version", text(&object.version)),
                    ("resource", text(&object.resource)),
                    ("name", text(&object.name)),
                ];
                let subresource = object.subresource.as_deref().map(|it| ("subresource", text(it)));
                let namespace = object.namespace.as_deref().map(|it| ("namespace", text(it)));
                Json::object(always.into_iter().chain(subresource).chain(namespace))
            }
            Self::Aws(resource) => {
                let always = [
                    ("account", text(&resource.account)),
                    ("region", text(&resource.region)),
                    ("actions", resource.actions.iter().map(Json::string).collect()),
                    ("arns", resource.arns.iter().map(|arn| text(arn)).collect()),
                ];
                let read = resource.read.as_ref().map(|read| ("read", read.to_json()));
                Json::object(always.into_iter().chain(read))
            }
        }
    }
}

const LABEL: &str = "expected 1 to 63 lower-case letters, digits and dashes, a letter or digit at both ends";

/// The first field, in order, that breaks its rule.
fn first_broken(fields: &[(&'static str, bool, &'static str)]) -> Result<(), (&'static str, &'static str)> {
    fields.iter().find(|(_, valid, _)| !valid).map_or(Ok(()), |(field, _, rule)| Err((*field, *rule)))
}

impl SandboxResource {
    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        first_broken(&[
            ("collection", is_label(&self.collection, 63), LABEL),
            ("name", is_label(&self.name, 63), LABEL),
        ])
    }
}

impl KubernetesResource {
    fn path(&self) -> String {
        let group = if self.group.is_empty() { "core" } else { &self.group };
        let mut path = format!("{group}/{}", self.version);
        let namespace = self.namespace.iter().flat_map(|namespace| ["namespaces", namespace.as_str()]);
        for segment in namespace.chain([self.resource.as_str(), &self.name]).chain(self.subresource.as_deref()) {
            path.push('/');
            path.push_str(segment);
        }
        path
    }

    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let graphic = self.name.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b'%');
        first_broken(&[
            (
                "group",
                self.group.is_empty() || is_subdomain(&self.group) && self.group != "core",
                "expected a DNS-1123 subdomain, or nothing for the core group",
            ),
            ("version", is_label(&self.version, 63), LABEL),
            ("resource", is_label(&self.resource, 63), LABEL),
            ("subresource", self.subresource.as_deref().is_none_or(|it| is_label(it, 63)), LABEL),
            ("namespace", self.namespace.as_deref().is_none_or(|it| is_label(it, 63)), LABEL),
            (
                "name",
                (1..=253).contains(&self.name.len()) && graphic && self.name != "." && self.name != "..",
                "expected 1 to 253 printable ASCII characters without space, `/` or `%`, not `.` or `..`",
            ),
        ])
    }

    /// Checks that `body` is an object for this resource: where its `metadata` says `name` or `namespace`, they are the
    /// resource's, and a `create` says its name. The API server takes the name of a new object from the body alone, so
    /// that without this check the object created is not the one that was certified.
    ///
    /// The contract checks inline bodies of `create`, `update` and `apply`; whoever reads a detached one checks it too.
    ///
    /// # Errors
    /// The pointer to the member that is missing or differs, and what it should be.
    pub fn check_body(&self, verb: &Verb, body: &Json) -> Result<(), (&'static str, String)> {
        let metadata = body.get("metadata");
        let says = |field| metadata.and_then(|metadata| metadata.get(field));
        let create = *verb == Verb::Create && self.subresource.is_none();
        let name = says("name");
        if (create || name.is_some()) && name.and_then(Json::as_str) != Some(&self.name) {
            return Err(("/metadata/name", format!("must be the resource's name, `{}`", self.name)));
        }
        match (says("namespace"), &self.namespace) {
            (None, _) => Ok(()),
            (Some(said), Some(namespace)) if said.as_str() == Some(namespace) => Ok(()),
            (Some(_), Some(namespace)) => {
                Err(("/metadata/namespace", format!("must be the resource's namespace, `{namespace}`")))
            }
            (Some(_), None) => Err(("/metadata/namespace", "must be absent: the resource has no namespace".into())),
        }
    }
}

impl AwsRead {
    fn to_json(&self) -> Json {
        let always = [("operation", Json::string(&self.operation)), ("input", self.input.clone())];
        let object = self.object.as_ref().map(|pointer| ("object", Json::string(pointer)));
        let version = self.version.as_ref().map(|pointer| ("version", Json::string(pointer)));
        Json::object(always.into_iter().chain(object).chain(version))
    }
}

impl AwsResource {
    /// The ARNs with a wildcard, of what the actions make: AWS chooses which resource that is.
    pub fn made(&self) -> impl Iterator<Item = &str> {
        self.arns.iter().map(String::as_str).filter(|arn| made::has_wildcard(arn))
    }

    /// Whether this may stand among its ARNs: complete and literal, or complete but for an identifier that AWS chooses.
    pub fn may_name(&self, arn: &str) -> bool {
        made::is_exact_arn(arn) || made::is_exact_arn(&arn.replace(['*', '?'], "-")) && made::is_made(self, arn)
    }

    pub(super) fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let mut region = self.region.split('-');
        let known_form = region.next().is_some_and(|first| first.starts_with(|c: char| c.is_ascii_lowercase()))
            && self.region.contains('-')
            && self.region.len() <= 63
            && self
                .region
                .split('-')
                .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
        first_broken(&[
            (
                "account",
                self.account.len() == 12 && self.account.bytes().all(|b| b.is_ascii_digit()),
                "expected 12 digits",
            ),
            ("region", known_form, "expected a region id such as `eu-west-1`, or `aws-global`"),
            ("actions", !self.actions.is_empty() && distinct(&self.actions), "expected 1 to 16 distinct IAM actions"),
            (
                "arns",
                !self.arns.is_empty() && distinct(&self.arns) && self.arns.iter().all(|arn| self.may_name(arn)),
                "expected 1 to 32 distinct, complete ARNs without `*`, `?` and `${`; a wildcard only for the identifier of what \
                 every action makes (but for those of iam and kms), as `instance/*` of `ec2:RunInstances`",
            ),
            (
                "read",
                self.read.as_ref().is_none_or(|read| matches!(read.input, Json::Object(_))),
                "expected an input that is an object",
            ),
        ])
    }
}

/// Whether no value appears twice.
pub(super) fn distinct<T: Ord>(values: &[T]) -> bool {
    values.iter().collect::<std::collections::BTreeSet<_>>().len() == values.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for kind in TargetKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        for verb in Verb::FIXED {
            assert_eq!(verb.as_str().parse(), Ok(verb.clone()));
            assert!(TargetKind::ALL.into_iter().any(|kind| verb.is_of(kind)));
        }
        let verb: Verb = "s3:PutBucketPolicy".parse().unwrap();
        let Verb::Aws(operation) = &verb else { panic!() };
        assert_eq!((operation.service(), operation.operation()), ("s3", "PutBucketPolicy"));
        assert_eq!(verb.to_string(), "s3:PutBucketPolicy");
        for bad in ["", "Create", "patch", "s3:", ":Put", "s3:put", "s3:Put*", "s3:Put:Get", "S3:Put"] {
            assert!(bad.parse::<Verb>().is_err(), "{bad}");
        }
    }

    fn kubernetes(group: &str, namespace: Option<&str>, name: &str, subresource: Option<&str>) -> KubernetesResource {
        KubernetesResource {
            group: group.into(),
            version: "v1".into(),
            resource: "things".into(),
            subresource: subresource.map(str::to_owned),
            namespace: namespace.map(str::to_owned),
            name: name.into(),
        }
    }

    #[test]
    fn paths_name_the_object() {
        for (resource, path) in [
            (kubernetes("", Some("shop"), "a", None), "core/v1/namespaces/shop/things/a"),
            (kubernetes("apps", Some("shop"), "a", Some("scale")), "apps/v1/namespaces/shop/things/a/scale"),
            (kubernetes("a.example", None, "system:x", None), "a.example/v1/things/system:x"),
            (kubernetes("", None, "a", Some("status")), "core/v1/things/a/status"),
        ] {
            assert_eq!(resource.check(), Ok(()));
            assert_eq!(Resource::Kubernetes(resource).paths(), [path]);
        }
        let sandbox = SandboxResource { collection: "services".into(), name: "checkout".into() };
        assert_eq!(Resource::Sandbox(sandbox).paths(), ["services/checkout"]);
    }

    #[test]
    fn a_body_is_for_its_resource() {
        let check = |resource: KubernetesResource, verb, body: &str| {
            resource.check_body(&verb, &Json::parse(body.as_bytes()).unwrap()).map_err(|(pointer, _)| pointer)
        };
        let shop = || kubernetes("", Some("shop"), "a", None);
        for (resource, verb, body, expected) in [
            (shop(), Verb::Create, r#"{"metadata":{"name":"a"}}"#, Ok(())),
            (shop(), Verb::Create, r#"{"metadata":{"name":"a","namespace":"shop"}}"#, Ok(())),
            (shop(), Verb::Create, r#"{"metadata":{"generateName":"a"}}"#, Err("/metadata/name")),
            (shop(), Verb::Create, r#"{"metadata":{"name":["a"]}}"#, Err("/metadata/name")),
            (shop(), Verb::Create, "{}", Err("/metadata/name")),
            (shop(), Verb::Create, r#"{"metadata":{"name":"a","namespace":"x"}}"#, Err("/metadata/namespace")),
            (shop(), Verb::Create, r#"{"metadata":{"name":"a","namespace":null}}"#, Err("/metadata/namespace")),
            (shop(), Verb::Update, "{}", Ok(())),
            (shop(), Verb::Apply, r#"{"metadata":{"name":"b"}}"#, Err("/metadata/name")),
            (kubernetes("", Some("shop"), "a", Some("token")), Verb::Create, "{}", Ok(())),
            (
                kubernetes("", Some("shop"), "a", Some("x")),
                Verb::Create,
                r#"{"metadata":{"name":"b"}}"#,
                Err("/metadata/name"),
            ),
            (
                kubernetes("", None, "a", None),
                Verb::Create,
                r#"{"metadata":{"name":"a","namespace":"b"}}"#,
                Err("/metadata/namespace"),
            ),
        ] {
            assert_eq!(check(resource, verb, body), expected, "{body}");
        }
    }
}
