//! Where AWS shows the client token of an operation that took effect: evidence of `applied`. Plain functions (I6).
//!
//! A token is the mutation's own, so that a resource that shows it was made by the mutation. One that is not shown says
//! nothing: the resource may be gone again, and these reads are not documented to see what was just written.

use serde_json::Value;

use super::request::Operation;
use super::request::bind::token;
use crate::contract::Json;
use crate::decision::MutationId;

/// How a reading operation is asked for what has the token.
#[derive(Debug, Clone, Copy)]
enum Ask {
    /// By a filter of this name, in this member.
    Filter(&'static str, &'static str),
    /// By the value of a member of the mutation, in a member of its own; with others, of which the value is true.
    By { member: &'static str, of: &'static str, all: Option<&'static str> },
}

/// An operation whose client token AWS shows afterwards.
#[derive(Debug)]
struct Row {
    service: &'static str,
    operation: &'static str,
    read: &'static str,
    ask: Ask,
    /// Where the token stands in the answer: the members on the way, lists entered.
    at: &'static [&'static str],
}

const VERSIONS: &[&str] = &["Versions", "VersionId"];
const CLUSTER: &[&str] = &["cluster", "clientRequestToken"];

const fn versions(operation: &'static str, of: &'static str) -> Row {
    let ask = Ask::By { member: "SecretId", of, all: Some("IncludeDeprecated") };
    Row { service: "secretsmanager", operation, read: "ListSecretVersionIds", ask, at: VERSIONS }
}

const fn cluster(operation: &'static str) -> Row {
    let ask = Ask::By { member: "name", of: "name", all: None };
    Row { service: "eks", operation, read: "DescribeCluster", ask, at: CLUSTER }
}

/// What AWS's models document. `UpdateSecret` and `RotateSecret` are not here: what they do is more than the version that has
/// their token.
const ROWS: &[Row] = &[
    Row {
        service: "ec2",
        operation: "AllocateHosts",
        read: "DescribeHosts",
        ask: Ask::Filter("Filter", "client-token"),
        at: &["Hosts", "ClientToken"],
    },
    Row {
        service: "ec2",
        operation: "RunInstances",
        read: "DescribeInstances",
        ask: Ask::Filter("Filters", "client-token"),
        at: &["Reservations", "Instances", "ClientToken"],
    },
    cluster("CreateCluster"),
    cluster("RegisterCluster"),
    versions("CreateSecret", "Name"),
    versions("PutSecretValue", "SecretId"),
];

/// A read that shows the client token of a mutation, if it took effect.
#[derive(Debug)]
pub(super) struct Mark {
    /// The reading operation, with its service.
    pub(super) read: String,
    /// Its input.
    pub(super) input: Json,
    token: String,
    at: &'static [&'static str],
}

impl Mark {
    /// The read for an operation with this input; none where AWS shows no token of it.
    pub(super) fn of(operation: &Operation, input: &Json, mutation: &MutationId) -> Option<Self> {
        let known = |row: &&Row| row.service == operation.service() && row.operation == operation.name();
        let Row { service, read, ask, at, .. } = ROWS.iter().find(known)?;
        let (_, form) = operation.token()?;
        let token = token(mutation, form);
        let input = match ask {
            Ask::Filter(member, name) => {
                let values = Json::Array(vec![Json::from(token.as_str())]);
                let filter = Json::object([("Name", Json::from(*name)), ("Values", values)]);
                Json::object([(*member, Json::Array(vec![filter]))])
            }
            Ask::By { member, of, all } => {
                let all = all.map(|all| (all, Json::Bool(true)));
                Json::object([(*member, input.get(of)?.clone())].into_iter().chain(all))
            }
        };
        Some(Self { read: format!("{service}:{read}"), input, token, at })
    }

    /// What the answer says where it shows the token.
    pub(super) fn seen(&self, output: &Value) -> Option<String> {
        let at = self.at.join("/");
        shows(output, self.at, &self.token)
            .then(|| format!("`{}` shows `{at}` {}, which is this mutation's", self.read, self.token))
    }
}

fn shows(value: &Value, at: &[&str], token: &str) -> bool {
    match (value, at) {
        (Value::Array(values), _) => values.iter().any(|value| shows(value, at, token)),
        (Value::Object(members), [name, rest @ ..]) => {
            members.get(*name).is_some_and(|value| shows(value, rest, token))
        }
        (Value::String(text), []) => text == token,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::digest::Digest;

    fn mutation() -> MutationId {
        MutationId::derive(&Digest::of(b"certificate"), &"step".parse().unwrap(), 1)
    }

    /// Every member that is named exists in the models, and the read takes the input that is made for it.
    #[test]
    fn the_rows_are_of_the_models() {
        for Row { service, operation: name, read, at, .. } in ROWS {
            let mutation_name = format!("{service}:{name}");
            let operation = Operation::mutation(&mutation_name.parse().unwrap()).unwrap();
            let of = json!({"name": "one", "Name": "one", "SecretId": "one"});
            let of = Json::parse(of.to_string().as_bytes()).unwrap();
            let mark = Mark::of(&operation, &of, &mutation()).unwrap();
            let reading = Operation::read(&mark.read.parse().unwrap()).unwrap();
            reading.check(&mark.input).unwrap_or_else(|error| panic!("{mutation_name}: {error}"));
            assert_eq!(reading.name(), *read);
            assert!(reading.answers(at), "{mutation_name}: {at:?}");
        }
        let other = Operation::mutation(&"ec2:CreateVolume".parse().unwrap()).unwrap();
        assert!(Mark::of(&other, &Json::object([("Size", Json::from(1))]), &mutation()).is_none());
    }

    #[test]
    fn i6_only_the_mutations_own_token_at_its_place_says_something() {
        let run = Operation::mutation(&"ec2:RunInstances".parse().unwrap()).unwrap();
        let mark = Mark::of(&run, &Json::object([("ImageId", Json::from("ami-1"))]), &mutation()).unwrap();
        let own = mutation().to_string();
        let instances = |instances: Value| json!({"Reservations": [{"Instances": []}, {"Instances": instances}]});
        let said = mark.seen(&instances(json!([{"ClientToken": "other"}, {"ClientToken": own}]))).unwrap();
        assert!(said.contains(&own) && said.contains("ec2:DescribeInstances"), "{said}");
        for nothing in [
            json!({}),
            json!({"Reservations": []}),
            json!({"ClientToken": own}),
            instances(json!([{"ClientToken": "other"}])),
            instances(json!([{"ClientToken": format!("{own}x")}])),
            instances(json!([{"Tags": [{"ClientToken": own}]}])),
            instances(json!([{"ClientToken": {"ClientToken": own}}])),
        ] {
            assert_eq!(mark.seen(&nothing), None, "{nothing}");
        }
    }
}
