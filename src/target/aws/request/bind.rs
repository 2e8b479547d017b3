//! What the broker puts into a certified input: the client token, the baseline, the owner of a bucket.
//!
//! A member that the broker writes may stand in the body only with the value that the broker gives it.

use std::collections::BTreeMap;

use super::model::{Kind, TokenForm};
use super::{InvalidInput, Operation};
use crate::contract::{AwsResource, Baseline, Json, Number, Object, Pointer};
use crate::decision::MutationId;
use crate::digest::Digest;
use crate::execution::Grade;

/// How an operation holds a baseline inside its own call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It takes the version that was seen.
    Version {
        /// The member that takes it.
        member: &'static str,
        /// The member, and its value, that says that there is nothing yet.
        absent: Option<(&'static str, &'static str)>,
        /// The operation that shows the version, and where.
        shown: (&'static str, &'static str),
    },
    /// It takes a condition over the fields of a DynamoDB item.
    Expression,
    /// It refuses by itself where the object exists already.
    Creates,
}

/// The rows: service, operation, condition. Whatever is not here holds no baseline by itself, and is checked before.
const CONDITIONS: &[(&str, &str, Condition)] = &[
    ("dynamodb", "DeleteItem", Condition::Expression),
    ("dynamodb", "PutItem", Condition::Expression),
    ("dynamodb", "UpdateItem", Condition::Expression),
    ("dynamodb", "DeleteResourcePolicy", version("ExpectedRevisionId", None, ("GetResourcePolicy", "/RevisionId"))),
    (
        "dynamodb",
        "PutResourcePolicy",
        version("ExpectedRevisionId", Some(("ExpectedRevisionId", "NO_POLICY")), ("GetResourcePolicy", "/RevisionId")),
    ),
    ("ec2", "ModifyManagedPrefixList", version("CurrentVersion", None, PREFIX_LIST)),
    ("ec2", "RestoreManagedPrefixListVersion", version("CurrentVersion", None, PREFIX_LIST)),
    ("lambda", "AddPermission", version("RevisionId", None, ("GetPolicy", "/RevisionId"))),
    ("lambda", "PublishVersion", version("RevisionId", None, FUNCTION)),
    ("lambda", "RemovePermission", version("RevisionId", None, ("GetPolicy", "/RevisionId"))),
    ("lambda", "UpdateAlias", version("RevisionId", None, ("GetAlias", "/RevisionId"))),
    ("lambda", "UpdateFunctionCode", version("RevisionId", None, FUNCTION)),
    ("lambda", "UpdateFunctionConfiguration", version("RevisionId", None, FUNCTION)),
    ("s3", "CompleteMultipartUpload", version("IfMatch", Some(NO_OBJECT), OBJECT)),
    ("s3", "CopyObject", version("IfMatch", Some(NO_OBJECT), OBJECT)),
    ("s3", "DeleteObject", version("IfMatch", None, OBJECT)),
    ("s3", "PutObject", version("IfMatch", Some(NO_OBJECT), OBJECT)),
];

/// Operations that refuse by themselves where an object of that name exists.
const CREATES: &[(&str, &[&str])] = &[
    ("autoscaling", &["CreateAutoScalingGroup", "CreateLaunchConfiguration"]),
    ("dynamodb", &["CreateTable"]),
    (
        "ec2",
        &[
            "AuthorizeSecurityGroupEgress",
            "AuthorizeSecurityGroupIngress",
            "CreateLaunchTemplate",
            "CreatePlacementGroup",
            "CreateRoute",
            "CreateSecurityGroup",
            "ImportKeyPair",
        ],
    ),
    ("eks", &["CreateAddon", "CreateCluster", "CreateFargateProfile", "CreateNodegroup"]),
    ("events", &["CreateApiDestination", "CreateArchive", "CreateConnection", "CreateEventBus"]),
    ("iam", &["CreateGroup", "CreateInstanceProfile", "CreatePolicy", "CreateRole", "CreateUser"]),
    ("kms", &["CreateAlias"]),
    ("lambda", &["CreateAlias", "CreateFunction"]),
    (
        "rds",
        &[
            "CreateDBCluster",
            "CreateDBClusterParameterGroup",
            "CreateDBClusterSnapshot",
            "CreateDBInstance",
            "CreateDBParameterGroup",
            "CreateDBSnapshot",
            "CreateDBSubnetGroup",
        ],
    ),
    ("scheduler", &["CreateSchedule", "CreateScheduleGroup"]),
    ("secretsmanager", &["CreateSecret"]),
    ("ssm", &["CreateDocument"]),
];

const FUNCTION: (&str, &str) = ("GetFunctionConfiguration", "/RevisionId");
const OBJECT: (&str, &str) = ("HeadObject", "/ETag");
const NO_OBJECT: (&str, &str) = ("IfNoneMatch", "*");
const PREFIX_LIST: (&str, &str) = ("DescribeManagedPrefixLists", "/PrefixLists/0/Version");

const fn version(
    member: &'static str,
    absent: Option<(&'static str, &'static str)>,
    shown: (&'static str, &'static str),
) -> Condition {
    Condition::Version { member, absent, shown }
}

impl Operation {
    /// How the operation holds a baseline inside its own call, if it can.
    pub fn condition(&self) -> Option<Condition> {
        let row = CONDITIONS.iter().find(|(service, name, _)| *service == self.service_name && *name == self.name);
        let creates = || {
            let (_, names) = CREATES.iter().find(|(service, _)| *service == self.service_name)?;
            names.contains(&self.name).then_some(Condition::Creates)
        };
        row.map(|(_, _, condition)| *condition).or_else(creates)
    }

    /// The input that is sent: the certified body (none is an empty one) with the baseline, the client token and the owner
    /// of the bucket, and how far the call is held against the baseline.
    ///
    /// # Errors
    /// Where the body has a value of its own for what the broker writes, or is not one that the operation takes.
    pub fn input(
        &self,
        body: Option<&Json>,
        resource: &AwsResource,
        baseline: &Baseline,
        mutation: &MutationId,
    ) -> Result<(Json, Grade), InvalidInput> {
        let mut input = match body {
            None => Object::default(),
            Some(Json::Object(members)) => members.clone(),
            Some(other) => {
                return Err(InvalidInput::new("", format!("is {}, and must be an object", other.type_name())));
            }
        };
        if input.get("DryRun") == Some(&Json::Bool(true)) && self.has("DryRun") {
            return Err(InvalidInput::member("DryRun", "makes a call that changes nothing: leave it out"));
        }
        let grade = self.bind(baseline, &mut input)?;
        if let Some((member, form)) = self.token() {
            if input.get(member).is_some() {
                return Err(InvalidInput::member(member, "is the broker's to write: leave it out"));
            }
            input.insert(member.to_owned(), Json::from(token(mutation, form)));
        }
        // The names of buckets are everybody's: one that was deleted may belong to another account by now.
        const OWNER: &str = "ExpectedBucketOwner";
        if self.has(OWNER) {
            put(&mut input, OWNER, Json::from(resource.account.as_str()))?;
        }
        let input = Json::Object(input);
        self.check(&input)?;
        Ok((input, grade))
    }

    fn has(&self, member: &str) -> bool {
        let input = self.row.input.as_ref().and_then(|input| self.service.kind(&input.shape));
        matches!(input, Some(Kind::Structure(shape)) if shape.members.get(member).is_some())
    }

    fn bind(&self, baseline: &Baseline, input: &mut Object) -> Result<Grade, InvalidInput> {
        match (self.condition(), baseline) {
            (Some(Condition::Version { member, .. }), Baseline::Exact { version, .. }) => {
                let number = version.as_str().parse::<i64>().ok().filter(|_| self.service_name == "ec2");
                let value = match number.map(Number::from_integer) {
                    Some(Ok(number)) => Json::from(number),
                    _ => Json::string(version),
                };
                put(input, member, value)?;
                Ok(Grade::Atomic)
            }
            (Some(Condition::Version { absent: Some((member, value)), .. }), Baseline::Absent) => {
                put(input, member, Json::from(value))?;
                Ok(Grade::Atomic)
            }
            (Some(Condition::Creates), Baseline::Absent) => Ok(Grade::Atomic),
            (Some(Condition::Expression), Baseline::Fields { fields, .. }) => express(input, fields),
            // The version of a baseline of fields may have changed.
            _ => Ok(Grade::Bounded),
        }
    }
}

/// The client token that a mutation has: the mutation id, or a UUID (version 8) that is made of it.
pub fn token(mutation: &MutationId, form: TokenForm) -> String {
    match form {
        TokenForm::Id => mutation.to_string(),
        TokenForm::Uuid => {
            let digest = Digest::of_parts(&[b"seb.dev/client-token/v1", mutation.as_str().as_bytes()]);
            let mut octets = [0_u8; 16];
            octets.iter_mut().zip(digest.as_bytes()).for_each(|(octet, from)| *octet = *from);
            let [_, _, _, _, _, _, version, _, variant, ..] = &mut octets;
            *version = *version & 0x0f | 0x80;
            *variant = *variant & 0x3f | 0x80;
            let text = base16ct::lower::encode_string(&octets);
            let parts = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)];
            let parts = parts.map(|(from, to)| text.get(from..to).unwrap_or_default());
            parts.join("-")
        }
    }
}

/// Puts what the broker says where the body may say the same, and nothing else.
fn put(input: &mut Object, member: &str, value: Json) -> Result<(), InvalidInput> {
    match input.insert(member.to_owned(), value.clone()) {
        Some(said) if said != value => {
            Err(InvalidInput::member(member, "is not what the broker writes there: leave it out"))
        }
        _ => Ok(()),
    }
}

/// Puts a condition over the fields of the item into the input of a DynamoDB operation, beside the one that it has.
///
/// The pointers are into the answer of `GetItem`: `/Item/price`, `/Item/price/N`, `/Item/stock/M/berlin/N`,
/// `/Item/tags/L/0`.
fn express(input: &mut Object, fields: &BTreeMap<Pointer, Json>) -> Result<Grade, InvalidInput> {
    let mut conditions = Vec::new();
    let mut names: Vec<(String, Json)> = Vec::new();
    let mut values: Vec<(String, Json)> = Vec::new();
    for (pointer, certified) in fields {
        let Some((path, kind)) = attribute(pointer) else { return Ok(Grade::Bounded) };
        let value = match kind {
            None => certified.clone(),
            Some(kind) => Json::object([(kind, certified.clone())]),
        };
        let place = path.iter().fold(String::new(), |mut place, part| {
            match part {
                Part::Name(name) => {
                    let key = format!("#seb{}", names.len());
                    place.push_str(if place.is_empty() { "" } else { "." });
                    place.push_str(&key);
                    names.push((key, Json::from(*name)));
                }
                Part::Index(index) => place.push_str(&format!("[{index}]")),
            }
            place
        });
        let key = format!(":seb{}", values.len());
        conditions.push(format!("{place} = {key}"));
        values.push((key, value));
    }
    if input.get("Expected").is_some() {
        return Err(InvalidInput::member("Expected", "is the older way to say conditions: use `ConditionExpression`"));
    }
    if let Some(own) = input.get("ConditionExpression") {
        let Some(own) = own.as_str() else { return Ok(Grade::Bounded) };
        if !is_closed(own) {
            return Err(InvalidInput::member("ConditionExpression", "has parentheses that do not match"));
        }
        conditions.insert(0, format!("({own})"));
    }
    input.insert("ConditionExpression".to_owned(), Json::from(conditions.join(" AND ")));
    for (member, added) in [("ExpressionAttributeNames", names), ("ExpressionAttributeValues", values)] {
        let mut all = match input.get(member) {
            Some(Json::Object(own)) => own.clone(),
            _ => Object::default(),
        };
        for (key, value) in added {
            if all.insert(key, value).is_some() {
                return Err(InvalidInput::member(member, "has a name that begins with `seb`, which the broker writes"));
            }
        }
        input.insert(member.to_owned(), Json::Object(all));
    }
    Ok(Grade::Atomic)
}

/// Whether the expression stays inside parentheses that are put around it: expressions have no literals.
fn is_closed(expression: &str) -> bool {
    let mut open = 0_usize;
    let closed = expression.chars().all(|character| match character {
        '(' => {
            open += 1;
            true
        }
        ')' if open == 0 => false,
        ')' => {
            open -= 1;
            true
        }
        _ => true,
    });
    closed && open == 0
}

/// A step into an item.
enum Part<'a> {
    Name(&'a str),
    Index(u32),
}

/// The place in the item that a pointer into the answer of `GetItem` names, and the type at its end where that is named.
fn attribute(pointer: &Pointer) -> Option<(Vec<Part<'_>>, Option<&str>)> {
    const SCALARS: [&str; 8] = ["B", "BOOL", "BS", "N", "NS", "NULL", "S", "SS"];
    let mut tokens = pointer.tokens().iter().map(String::as_str);
    if tokens.next() != Some("Item") {
        return None;
    }
    let mut path = vec![Part::Name(tokens.next()?)];
    loop {
        match (tokens.next(), tokens.next()) {
            (None, _) => return Some((path, None)),
            (Some(kind), None) if SCALARS.contains(&kind) || matches!(kind, "M" | "L") => {
                return Some((path, Some(kind)));
            }
            (Some("M"), Some(name)) => path.push(Part::Name(name)),
            (Some("L"), Some(index)) => path.push(Part::Index(index.parse().ok()?)),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests;
