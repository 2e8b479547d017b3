//! The certified input, held against the shapes of the operation.
//!
//! What is read here is what will be sent: a member that the shape does not have, a value of another type, a required
//! member that is missing are errors that name the place. Values of enumerations, lengths and patterns are AWS's to judge.

use base64ct::{Base64, Encoding};

use super::model::{Kind, List, Map, Operation, Ref, Service, Structure};
use crate::contract::{Json, Number, escape};
use crate::timestamp::Timestamp;

/// The input of a call is not one that the operation takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pointer}` of the body {message}")]
pub struct InvalidInput {
    /// Where, as a JSON pointer into the body.
    pub pointer: String,
    /// What is wrong there, without the value.
    pub message: String,
}

impl InvalidInput {
    pub(super) fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into() }
    }

    /// About a member of the input itself.
    pub(super) fn member(name: &str, message: impl Into<String>) -> Self {
        Self::new(format!("/{}", escape(name)), message)
    }

    fn inside(mut self, token: &str) -> Self {
        self.pointer.insert_str(0, &format!("/{}", escape(token)));
        self.pointer.truncate(self.pointer.floor_char_boundary(200));
        self
    }
}

/// A value that has the type of its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    Text(String),
    Integer(i64),
    Double(Number),
    Boolean(bool),
    Blob(Vec<u8>),
    Time(Timestamp),
    Document(Json),
    Structure(Fields<'a>),
    List(&'a Ref, Vec<Value<'a>>),
    Map(&'a Map, Vec<(String, Value<'a>)>),
}

/// The members of a structure that there are, in the order of the model.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Fields<'a>(pub(super) Vec<Field<'a>>);

/// A member of a structure.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field<'a> {
    pub(super) name: &'a str,
    pub(super) place: &'a Ref,
    pub(super) value: Value<'a>,
}

impl Field<'_> {
    /// Its name on the wire.
    pub(super) fn wire(&self) -> &str {
        self.place.name.as_deref().unwrap_or(self.name)
    }
}

impl PartialEq for Ref {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl PartialEq for Map {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

/// The input of an operation. An operation without input takes an empty object.
pub(super) fn read<'a>(service: &'a Service, row: &'a Operation, input: &Json) -> Result<Fields<'a>, InvalidInput> {
    let Json::Object(members) = input else {
        return Err(InvalidInput::new("", format!("is {}, and must be an object", input.type_name())));
    };
    match row.input.as_ref().and_then(|input| service.kind(&input.shape)) {
        Some(Kind::Structure(shape)) => structure(service, shape, input),
        _ => match members.iter().next() {
            None => Ok(Fields::default()),
            Some((name, _)) => Err(InvalidInput::member(&excerpt(name), "is not a member: there are none")),
        },
    }
}

fn value<'a>(service: &'a Service, place: &'a Ref, json: &Json) -> Result<Value<'a>, InvalidInput> {
    let wrong = |wanted: &str| Err(InvalidInput::new("", format!("is {}, and must be {wanted}", json.type_name())));
    let Some(kind) = service.kind(&place.shape) else { return wrong("of a type that is known") };
    match (kind, json) {
        (Kind::String, Json::String(text)) => Ok(Value::Text(text.clone())),
        (Kind::String, _) => wrong("a string"),
        (Kind::Integer(least, most), Json::Number(number)) => match number.as_integer() {
            Some(integer) if (least..=most).contains(&integer) => Ok(Value::Integer(integer)),
            _ => Err(InvalidInput::new("", "is not an integer that fits")),
        },
        (Kind::Integer(..), _) => wrong("an integer"),
        (Kind::Double, Json::Number(number)) => Ok(Value::Double(*number)),
        (Kind::Double, _) => wrong("a number"),
        (Kind::Boolean, Json::Bool(boolean)) => Ok(Value::Boolean(*boolean)),
        (Kind::Boolean, _) => wrong("true or false"),
        (Kind::Blob, Json::String(text)) => match Base64::decode_vec(text) {
            Ok(octets) => Ok(Value::Blob(octets)),
            Err(_) => Err(InvalidInput::new("", "is not base64, by which octets are written")),
        },
        (Kind::Blob, _) => wrong("a string in base64"),
        (Kind::Timestamp, Json::String(text)) => match text.parse() {
            Ok(time) => Ok(Value::Time(time)),
            Err(_) => Err(InvalidInput::new("", "is not a time such as `2026-11-24T09:30:00Z`")),
        },
        (Kind::Timestamp, _) => wrong("a time such as `2026-11-24T09:30:00Z`"),
        (Kind::Document, json) => Ok(Value::Document(json.clone())),
        (Kind::Structure(shape), json) => structure(service, shape, json).map(Value::Structure),
        (Kind::List(List { list }), Json::Array(values)) => {
            let values = values
                .iter()
                .enumerate()
                .map(|(index, json)| value(service, list, json).map_err(|error| error.inside(&index.to_string())));
            Ok(Value::List(list, values.collect::<Result<_, _>>()?))
        }
        (Kind::List(_), _) => wrong("an array"),
        (Kind::Map(map), Json::Object(members)) => {
            let entries = members.iter().map(|(name, json)| {
                let value = value(service, &map.value, json).map_err(|error| error.inside(name))?;
                Ok((name.to_owned(), value))
            });
            Ok(Value::Map(map, entries.collect::<Result<_, _>>()?))
        }
        (Kind::Map(_), _) => wrong("an object"),
    }
}

fn structure<'a>(service: &'a Service, shape: &'a Structure, json: &Json) -> Result<Fields<'a>, InvalidInput> {
    let Json::Object(members) = json else {
        return Err(InvalidInput::new("", format!("is {}, and must be an object", json.type_name())));
    };
    if let Some((unknown, _)) = members.iter().find(|(name, _)| shape.members.get(name).is_none()) {
        return Err(InvalidInput::member(&excerpt(unknown), "is not a member of the operation's input"));
    }
    if let Some(missing) = shape.required.iter().find(|name| members.get(name).is_none()) {
        return Err(InvalidInput::member(missing, "is required"));
    }
    if shape.union && members.len() != 1 {
        return Err(InvalidInput::new("", format!("has {} members, and must have exactly one", members.len())));
    }
    let mut fields = Vec::with_capacity(members.len());
    for (name, place) in shape.members.iter() {
        let Some(json) = members.get(name) else { continue };
        let value = value(service, place, json).map_err(|error| error.inside(name))?;
        fields.push(Field { name, place, value });
    }
    Ok(Fields(fields))
}

fn excerpt(text: &str) -> String {
    text.chars().take(60).collect()
}
