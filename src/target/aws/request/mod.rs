//! A certified call as the exact request: services and operations are rows of tables, not code.
//!
//! Everything here is a plain function of its input; [`Request::signed`] signs, and nothing sends. What must be true:
//!
//! - What is sent is the certified input, member by member, and what the broker adds: the client token ([`Operation::token`]),
//!   the baseline where the operation has a place for it ([`bind`]), the owner that a bucket must have, checksums. An input that
//!   the operation does not take as it is, is an error and not a smaller request (I4).
//! - A request goes to the host of the service in the certified region; nothing of the input chooses another one, or another
//!   path than the operation's.
//! - An answer counts as a success or a refusal only where it is complete and has the form that the protocol gives it; everything
//!   else is [`Answer::NotCredible`] (I6).
//!
//! | module | what it is |
//! |---|---|
//! | `model` | the tables, `models/*.json`, which `scripts/aws-models` writes from AWS's models |
//! | `input` | the certified JSON, held against the shapes |
//! | `body`, `rest`, `text` | the protocols: awsJson 1.0 and 1.1, awsQuery, ec2Query, restJson1, restXml |
//! | `place`, `s3` | region and host; buckets and checksums |
//! | [`bind`] | client tokens and baselines |
//! | `sign` | SigV4 |
//! | [`answer`] | what came back |

pub mod answer;
pub mod bind;
mod body;
mod input;
mod model;
mod place;
mod rest;
mod s3;
mod sign;
mod text;

use std::fmt;

pub use self::answer::Answer;
pub use self::input::InvalidInput;
use self::model::{Operation as Row, Protocol, Service};
pub use self::model::{SERVICES, TokenForm};
pub use self::place::{NoEndpoint, Reach};
use self::rest::Parts;
pub use self::sign::{CannotSign, SignedRequest};
use crate::contract::{AwsOperation, Json};

/// The most octets of a request's body: what a detached body may have, as base64 or escaped.
const MAX_BODY: usize = 8 * 1024 * 1024;

/// An operation that requests can be made for: a row of a table.
#[derive(Clone, Copy)]
pub struct Operation {
    service_name: &'static str,
    service: &'static Service,
    name: &'static str,
    row: &'static Row,
}

/// There is no such row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoOperation {
    /// No table is about this service.
    #[error(
        "requests to `{0}` cannot be made: the services are those of `docs/aws.md`; others are reached by `cloudcontrol`"
    )]
    Service(String),
    /// The table has no such operation.
    #[error("`{0}` is not an operation that requests can be made for: see `docs/aws.md`")]
    Operation(AwsOperation),
    /// The operation changes nothing.
    #[error("`{0}` only reads: it can be part of a baseline, and is no mutation")]
    Reads(AwsOperation),
    /// The table is broken.
    #[error("the table of `{service}` is broken: {fault}")]
    Table {
        /// The service.
        service: &'static str,
        /// What is wrong with it.
        fault: &'static str,
    },
}

/// There is no request for this call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRequest {
    /// The operation does not take the input.
    #[error(transparent)]
    Input(#[from] InvalidInput),
    /// There is no endpoint to send it to.
    #[error(transparent)]
    Endpoint(#[from] NoEndpoint),
}

/// One exact request, not signed yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `PUT`, `POST`, `DELETE`, `PATCH` or `HEAD`.
    pub method: &'static str,
    /// `https://HOST[:PORT]`, or `http` on the loopback.
    pub origin: String,
    /// The host, with its port where it is not the scheme's.
    pub host: String,
    /// The path, escaped.
    pub path: String,
    /// The query, escaped; empty where there is none.
    pub query: String,
    /// The headers, names in lower case, without `host` and those of the signature.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// The name of the service in the signature.
    pub signing_name: &'static str,
    /// The region in the signature.
    pub signing_region: String,
}

impl Operation {
    /// The mutation of this name.
    ///
    /// # Errors
    /// Where no table has it, or it only reads.
    pub fn mutation(name: &AwsOperation) -> Result<Self, NoOperation> {
        match Self::find(name)? {
            operation if operation.row.reads => Err(NoOperation::Reads(name.clone())),
            operation => Ok(operation),
        }
    }

    /// The operation of this name that only reads: for baselines.
    ///
    /// # Errors
    /// Where no table has it, or it changes something.
    pub fn read(name: &AwsOperation) -> Result<Self, NoOperation> {
        match Self::find(name)? {
            operation if operation.row.reads => Ok(operation),
            _ => Err(NoOperation::Operation(name.clone())),
        }
    }

    fn find(name: &AwsOperation) -> Result<Self, NoOperation> {
        let service_name = SERVICES.iter().copied().find(|service| *service == name.service());
        let unknown = || NoOperation::Service(name.service().to_owned());
        let service_name = service_name.ok_or_else(unknown)?;
        let service = model::service(service_name).ok_or_else(unknown)?;
        let service = service.map_err(|fault| NoOperation::Table { service: service_name, fault })?;
        let row = service.operation(name.operation());
        let (name, row) = row.ok_or_else(|| NoOperation::Operation(name.clone()))?;
        Ok(Self { service_name, service, name, row })
    }

    /// The service, as contracts call it.
    pub const fn service(&self) -> &'static str {
        self.service_name
    }

    /// The operation without its service.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The member that is the client token, by which the service itself knows a repetition; and its form.
    pub fn token(&self) -> Option<(&'static str, TokenForm)> {
        self.row.token.as_ref().map(|(member, form)| (member.as_str(), *form))
    }

    /// Whether the operation takes this input.
    ///
    /// # Errors
    /// The place that it does not take.
    pub fn check(&self, input: &Json) -> Result<(), InvalidInput> {
        input::read(self.service, self.row, input).map(drop)
    }

    /// Whether there is a host to send it to in this region.
    pub fn is_in(&self, region: &str, reach: &Reach) -> bool {
        place::place(self.service_name, self.service, region, reach).is_ok()
    }

    /// Whether the output has this member, each the name of one in the one before, lists entered.
    #[cfg(test)]
    pub(super) fn answers(&self, at: &[&str]) -> bool {
        use self::model::{Kind, List};
        let mut shape = self.row.output.as_deref();
        for name in at {
            let kind = match shape.and_then(|shape| self.service.kind(shape)) {
                Some(Kind::List(List { list })) => self.service.kind(&list.shape),
                kind => kind,
            };
            let Some(Kind::Structure(structure)) = kind else { return false };
            shape = structure.members.get(name).filter(|member| !member.secret).map(|member| member.shape.as_str());
        }
        shape == Some("string")
    }

    /// The exact request for this input: the body of the contract, with what [`bind`] adds.
    ///
    /// # Errors
    /// Where the operation does not take the input, or the service is not in the region.
    pub fn request(&self, region: &str, reach: &Reach, input: &Json) -> Result<Request, NoRequest> {
        let place = place::place(self.service_name, self.service, region, reach)?;
        let (place, hosted) = match self.service_name {
            "s3" => s3::hosted(self.row, place, reach, input)?,
            _ => (place, None),
        };
        let parts = self.parts(input, hosted)?;
        if parts.body.len() > MAX_BODY {
            return Err(InvalidInput::new("", format!("makes a request of more than {MAX_BODY} octets")).into());
        }
        Ok(Request {
            method: &self.row.method,
            origin: place.origin,
            host: place.host,
            path: parts.path,
            query: parts.query,
            headers: parts.headers,
            body: parts.body,
            signing_name: &self.service.signing,
            signing_region: place.region,
        })
    }

    fn parts(&self, input: &Json, hosted: Option<&str>) -> Result<Parts, InvalidInput> {
        let fields = input::read(self.service, self.row, input)?;
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let root = |headers, body| Parts { path: "/".to_owned(), query: String::new(), headers, body };
        match self.service.protocol {
            Protocol::Json => {
                let version = self.service.json.as_deref().unwrap_or("1.1");
                let target = self.service.target.as_deref().unwrap_or_default();
                let mut headers = vec![
                    header("content-type", &format!("application/x-amz-json-{version}")),
                    header("x-amz-target", &format!("{target}.{}", self.name)),
                ];
                headers.extend(self.service.query_compatible.then(|| header("x-amzn-query-mode", "true")));
                Ok(root(headers, body::json(&fields.0)?.to_canonical().into_bytes()))
            }
            Protocol::Query | Protocol::Ec2 => {
                let headers = vec![header("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
                Ok(root(headers, body::query(self.service, self.name, &fields)?.into_bytes()))
            }
            Protocol::RestJson | Protocol::RestXml => {
                let mut parts = rest::parts(self.service, self.row, fields, hosted)?;
                s3::add_checksum(self.row, &mut parts)?;
                Ok(parts)
            }
        }
    }
}

impl Request {
    /// The URL.
    pub fn url(&self) -> String {
        let separator = if self.query.is_empty() { "" } else { "?" };
        format!("{}{}{separator}{}", self.origin, self.path, self.query)
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.service_name, self.name)
    }
}

/// Names the request; body and headers may hold what nobody should see.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("url", &self.url())
            .field("body", &self.body.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
