//! The tables: AWS's services, their operations and the shapes of what goes in and comes out, as `scripts/aws-models` wrote
//! them from AWS's own models.
//!
//! A table is read strictly, once, when a call first asks for its service; every shape that it names exists.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::target::aws::endpoint::Variant;

/// A service, as its table has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Service {
    pub(super) protocol: Protocol,
    /// The name by which requests are signed.
    pub(super) signing: String,
    /// The version of its API.
    pub(super) version: String,
    /// What stands before the operation in `x-amz-target`.
    #[serde(default)]
    pub(super) target: Option<String>,
    /// The version in the content type of `json`.
    #[serde(default)]
    pub(super) json: Option<String>,
    /// Whether it once spoke the query protocol, and tells errors by the codes of that time.
    #[serde(default)]
    pub(super) query_compatible: bool,
    endpoints: Endpoints,
    operations: BTreeMap<String, Operation>,
    shapes: BTreeMap<String, Shape>,
}

/// Hosts by partition, or by region where one differs from its partition: `HOST` or `HOST@REGION`, the region that is signed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Endpoints {
    regional: BTreeMap<String, String>,
    fips: BTreeMap<String, String>,
    dual: BTreeMap<String, String>,
    fips_dual: BTreeMap<String, String>,
}

/// How a service is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Protocol {
    /// awsJson1.0 and 1.1.
    Json,
    /// awsQuery.
    Query,
    /// ec2Query.
    Ec2,
    /// restJson1.
    RestJson,
    /// restXml.
    RestXml,
}

/// An operation of a service.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Operation {
    /// Whether it only reads.
    #[serde(default)]
    pub(super) reads: bool,
    #[serde(default = "post")]
    pub(super) method: String,
    /// The template of path and query.
    #[serde(default = "root")]
    pub(super) uri: String,
    #[serde(default)]
    pub(super) input: Option<Ref>,
    #[serde(default)]
    pub(super) output: Option<String>,
    /// The element around the output.
    #[serde(default)]
    pub(super) wrapper: Option<String>,
    /// The member that names the algorithm of the checksum.
    #[serde(default)]
    pub(super) algorithm: Option<String>,
    /// Whether it is refused without a checksum.
    #[serde(default)]
    pub(super) checksum: bool,
    /// The member that is the client token, and its form.
    #[serde(default)]
    pub(super) token: Option<(String, TokenForm)>,
}

/// The form of a client token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenForm {
    /// The mutation id itself.
    Id,
    /// A UUID made of it, where the service takes no more.
    Uuid,
}

/// A type, and how a value of it is written in this place.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "Written")]
pub(super) struct Ref {
    pub(super) shape: String,
    /// The name on the wire, where it is not the member's.
    pub(super) name: Option<String>,
    /// The name in an ec2Query request, where it is not the one on the wire with a capital.
    pub(super) query: Option<String>,
    pub(super) at: At,
    /// Whether a list or map has no element around it.
    pub(super) flat: bool,
    /// Whether it is an attribute of an XML element.
    pub(super) attribute: bool,
    pub(super) format: Option<TimeFormat>,
    /// The XML namespace: URI, and maybe prefix.
    pub(super) namespace: Vec<String>,
    /// Whether AWS marks it as one that must not be shown.
    pub(super) secret: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Plain(String),
    Full(Full),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Full {
    #[serde(rename = "type")]
    shape: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    query: Option<String>,
    #[serde(default)]
    at: At,
    #[serde(default)]
    flat: bool,
    #[serde(default)]
    attribute: bool,
    #[serde(default)]
    format: Option<TimeFormat>,
    #[serde(default)]
    namespace: Vec<String>,
    #[serde(default)]
    secret: bool,
    #[serde(default)]
    #[expect(dead_code, reason = "streams are sent and read whole")]
    streaming: bool,
}

impl From<Written> for Ref {
    fn from(written: Written) -> Self {
        let plain = |shape| Full {
            shape,
            name: None,
            query: None,
            at: At::Body,
            flat: false,
            attribute: false,
            format: None,
            namespace: Vec::new(),
            secret: false,
            streaming: false,
        };
        let full = match written {
            Written::Plain(shape) => plain(shape),
            Written::Full(full) => full,
        };
        let Full { shape, name, query, at, flat, attribute, format, namespace, secret, .. } = full;
        Self { shape, name, query, at, flat, attribute, format, namespace, secret }
    }
}

/// Where a member of the input or output stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum At {
    #[default]
    Body,
    Uri,
    Query,
    Header,
    /// As many headers as the map has entries, with one prefix.
    Headers,
    Status,
}

/// How a time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum TimeFormat {
    Iso8601,
    Rfc822,
    UnixTimestamp,
}

/// A shape that is not a scalar.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Shape {
    Structure(Structure),
    List(List),
    Map(Map),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Structure {
    pub(super) members: Members,
    #[serde(default)]
    pub(super) required: Vec<String>,
    /// The member that is the body.
    #[serde(default)]
    pub(super) payload: Option<String>,
    /// Whether exactly one member is there.
    #[serde(default)]
    pub(super) union: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    pub(super) list: Ref,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Map {
    pub(super) key: Ref,
    pub(super) value: Ref,
}

/// The members of a structure, in the order of the model.
#[derive(Debug)]
pub(super) struct Members(Vec<(String, Ref)>);

impl Members {
    pub(super) fn get(&self, name: &str) -> Option<&Ref> {
        self.iter().find(|(other, _)| *other == name).map(|(_, member)| member)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Ref)> {
        self.0.iter().map(|(name, member)| (name.as_str(), member))
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("members")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

fn post() -> String {
    "POST".to_owned()
}

fn root() -> String {
    "/".to_owned()
}

/// What a type is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind<'a> {
    String,
    /// `integer` and `long`, with the least and the greatest that fits.
    Integer(i64, i64),
    Double,
    Boolean,
    Blob,
    Timestamp,
    /// Any JSON.
    Document,
    Structure(&'a Structure),
    List(&'a List),
    Map(&'a Map),
}

impl Service {
    fn parse(text: &str) -> Result<Self, String> {
        let service: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        service.check()?;
        Ok(service)
    }

    /// Whether everything that is named exists.
    fn check(&self) -> Result<(), String> {
        let of_operations = self.operations.values().flat_map(|operation| {
            let output = operation.output.as_deref();
            operation.input.as_ref().map(|input| input.shape.as_str()).into_iter().chain(output)
        });
        let of_shapes = self.shapes.values().flat_map(|shape| -> Vec<&str> {
            match shape {
                Shape::Structure(structure) => structure.members.iter().map(|(_, it)| it.shape.as_str()).collect(),
                Shape::List(list) => vec![&list.list.shape],
                Shape::Map(map) => vec![&map.key.shape, &map.value.shape],
            }
        });
        match of_operations.chain(of_shapes).find(|name| self.kind(name).is_none()) {
            Some(name) => Err(format!("there is no shape `{name}`")),
            None => Ok(()),
        }
    }

    pub(super) fn operation(&self, name: &str) -> Option<(&str, &Operation)> {
        self.operations.get_key_value(name).map(|(name, row)| (name.as_str(), row))
    }

    #[cfg(test)]
    pub(super) fn operations(&self) -> impl Iterator<Item = (&str, &Operation)> {
        self.operations.iter().map(|(name, row)| (name.as_str(), row))
    }

    /// What the type of this name is.
    pub(super) fn kind(&self, name: &str) -> Option<Kind<'_>> {
        Some(match name {
            "string" => Kind::String,
            "integer" => Kind::Integer(i32::MIN.into(), i32::MAX.into()),
            "long" => Kind::Integer(i64::MIN, i64::MAX),
            "float" | "double" => Kind::Double,
            "boolean" => Kind::Boolean,
            "blob" => Kind::Blob,
            "timestamp" => Kind::Timestamp,
            "document" => Kind::Document,
            name => match self.shapes.get(name)? {
                Shape::Structure(structure) => Kind::Structure(structure),
                Shape::List(list) => Kind::List(list),
                Shape::Map(map) => Kind::Map(map),
            },
        })
    }

    /// The template of the host in this region, or in the partition that it belongs to.
    pub(super) fn endpoint(&self, variant: Variant, region: &str, partition: &str) -> Option<&str> {
        let hosts = match variant {
            Variant::Regional => &self.endpoints.regional,
            Variant::Fips => &self.endpoints.fips,
            Variant::DualStack => &self.endpoints.dual,
            Variant::FipsDualStack => &self.endpoints.fips_dual,
        };
        hosts.get(region).or_else(|| hosts.get(partition)).map(String::as_str)
    }
}

macro_rules! services {
    ($($name:literal),+ $(,)?) => {
        /// The services that there are tables of, by the names that contracts call them.
        pub const SERVICES: &[&str] = &[$($name),+];

        /// The table of the service of this name.
        ///
        /// # Errors
        /// What is wrong with the table: a mistake of the build, which a test rules out.
        pub(super) fn service(name: &str) -> Option<Result<&'static Service, &'static str>> {
            type Table = LazyLock<Result<Service, String>>;
            match name {
                $($name => {
                    static TABLE: Table = LazyLock::new(|| Service::parse(include_str!(concat!("models/", $name, ".json"))));
                    Some(TABLE.as_ref().map_err(String::as_str))
                })+
                _ => None,
            }
        }
    };
}

services![
    "autoscaling",
    "cloudcontrol",
    "dynamodb",
    "ec2",
    "ecs",
    "eks",
    "elasticloadbalancing",
    "events",
    "iam",
    "kms",
    "lambda",
    "rds",
    "s3",
    "scheduler",
    "secretsmanager",
    "sns",
    "sqs",
    "ssm",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Also: every table can be read, and names nothing that it does not have.
    #[test]
    fn what_is_needed_is_in_the_tables() {
        for name in SERVICES {
            let service = service(name).unwrap().unwrap();
            assert!(service.operations().any(|(_, row)| !row.reads), "{name}");
            assert_eq!(
                service.protocol == Protocol::Json,
                service.target.is_some() && service.json.is_some(),
                "{name}"
            );
            for (operation, row) in service.operations() {
                let Some(input) = &row.input else {
                    assert!(row.token.is_none() && !row.uri.contains('{'), "{name}:{operation}");
                    continue;
                };
                let Some(Kind::Structure(input)) = service.kind(&input.shape) else { panic!("{name}:{operation}") };
                let named = row.token.iter().map(|(member, _)| member).chain(&row.algorithm).chain(&input.payload);
                for member in named.chain(&input.required) {
                    assert!(input.members.get(member).is_some(), "{name}:{operation}: {member}");
                }
            }
        }
        assert!(service("sts").is_none());
    }

    #[test]
    fn a_table_is_read_strictly() {
        let table = |operations: &str, shapes: &str| {
            let head = r#""protocol":"json","signing":"x","version":"1","endpoints":{"regional":{},"fips":{},"dual":{},"fips_dual":{}}"#;
            Service::parse(&format!(r#"{{{head},"operations":{{{operations}}},"shapes":{{{shapes}}}}}"#))
        };
        assert!(table(r#""A":{"input":"B"}"#, r#""B":{"members":{"c":"string"}}"#).is_ok());
        assert_eq!(table(r#""A":{"input":"B"}"#, "").unwrap_err(), "there is no shape `B`");
        assert_eq!(table("", r#""B":{"members":{"c":"text"}}"#).unwrap_err(), "there is no shape `text`");
        for (operations, shapes) in [
            (r#""A":{"inputs":"B"}"#, ""),
            (r#""A":{"token":["b","other"]}"#, ""),
            ("", r#""B":{"members":{"c":{"type":"string","where":"body"}}}"#),
            ("", r#""B":{"list":"string","map":"string"}"#),
        ] {
            assert!(table(operations, shapes).is_err(), "{operations} {shapes}");
        }
    }
}
