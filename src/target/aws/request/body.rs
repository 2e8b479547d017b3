//! Bodies: JSON, forms and XML.

use std::borrow::Cow;
use std::fmt::Write;

use base64ct::{Base64, Encoding};

use super::input::{Field, Fields, InvalidInput, Value};
use super::model::{Map, Operation, Protocol, Ref, Service, TimeFormat};
use super::text::{form, scalar};
use crate::contract::{Json, Number};

/// The members as a JSON object.
pub(super) fn json<'a>(fields: impl IntoIterator<Item = &'a Field<'a>>) -> Result<Json, InvalidInput> {
    let members = fields.into_iter().map(|field| Ok((field.wire().to_owned(), json_of(field.place, &field.value)?)));
    Ok(Json::object(members.collect::<Result<Vec<_>, InvalidInput>>()?))
}

fn json_of(place: &Ref, value: &Value<'_>) -> Result<Json, InvalidInput> {
    Ok(match value {
        Value::Text(text) => Json::from(text.as_str()),
        Value::Integer(integer) => number(Number::from_integer(*integer))?,
        Value::Double(number) => Json::from(*number),
        Value::Boolean(boolean) => Json::from(*boolean),
        Value::Blob(octets) => Json::from(Base64::encode_string(octets)),
        Value::Time(time) => match place.format.unwrap_or(TimeFormat::UnixTimestamp) {
            TimeFormat::UnixTimestamp => {
                // Exact: there are fewer than 2^53 milliseconds until the year 9999.
                #[expect(clippy::cast_precision_loss, reason = "fewer than 2^53")]
                let seconds = time.millis() as f64 / 1000.0;
                number(Number::new(seconds))?
            }
            format => Json::from(super::text::time(*time, format)?),
        },
        Value::Document(json) => json.clone(),
        Value::Structure(fields) => json(&fields.0)?,
        Value::List(item, values) => {
            let values = values.iter().map(|value| json_of(item, value));
            Json::Array(values.collect::<Result<_, _>>()?)
        }
        Value::Map(map, entries) => {
            let entries = entries.iter().map(|(name, value)| Ok((name.clone(), json_of(&map.value, value)?)));
            Json::object(entries.collect::<Result<Vec<_>, InvalidInput>>()?)
        }
    })
}

fn number(number: Result<Number, crate::contract::InvalidNumber>) -> Result<Json, InvalidInput> {
    number.map(Json::from).map_err(|error| InvalidInput::new("", format!("is {error}")))
}

/// The form of awsQuery and ec2Query.
pub(super) fn query(service: &Service, name: &str, fields: &Fields<'_>) -> Result<String, InvalidInput> {
    let mut writer = Query { ec2: service.protocol == Protocol::Ec2, pairs: Vec::new() };
    writer.put("Action".to_owned(), name.to_owned());
    writer.put("Version".to_owned(), service.version.clone());
    writer.fields("", fields)?;
    Ok(form(writer.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))))
}

struct Query {
    ec2: bool,
    pairs: Vec<(String, String)>,
}

impl Query {
    fn put(&mut self, name: String, value: String) {
        self.pairs.push((name, value));
    }

    /// The name of a member: ec2Query has capitals, and names of its own.
    fn name<'a>(&self, field: &'a Field<'_>) -> Cow<'a, str> {
        match (self.ec2, &field.place.query, &field.place.name) {
            (true, Some(query), _) => Cow::Borrowed(query),
            (true, None, Some(wire)) => {
                let mut characters = wire.chars();
                let first = characters.next().map(|first| first.to_ascii_uppercase());
                Cow::Owned(first.into_iter().chain(characters).collect())
            }
            _ => Cow::Borrowed(field.wire()),
        }
    }

    fn fields(&mut self, prefix: &str, fields: &Fields<'_>) -> Result<(), InvalidInput> {
        for field in &fields.0 {
            let name = self.name(field);
            let path = if prefix.is_empty() { name.into_owned() } else { format!("{prefix}.{name}") };
            self.value(&path, field.place, &field.value)?;
        }
        Ok(())
    }

    fn value(&mut self, path: &str, place: &Ref, value: &Value<'_>) -> Result<(), InvalidInput> {
        match value {
            Value::Structure(fields) => self.fields(path, fields),
            Value::List(item, values) => self.list(path, place, item, values),
            Value::Map(map, entries) => self.map(path, place, map, entries),
            value => {
                let text = scalar(value, place.format.unwrap_or(TimeFormat::Iso8601)).transpose()?;
                self.put(path.to_owned(), text.unwrap_or_default());
                Ok(())
            }
        }
    }

    fn list(&mut self, path: &str, place: &Ref, item: &Ref, values: &[Value<'_>]) -> Result<(), InvalidInput> {
        if values.is_empty() && !self.ec2 {
            self.put(path.to_owned(), String::new());
            return Ok(());
        }
        let path = match (&item.name, place.flat) {
            _ if self.ec2 => path.to_owned(),
            // The name of the items in the place of the list's own.
            (Some(name), true) => match path.rsplit_once('.') {
                Some((outer, _)) => format!("{outer}.{name}"),
                None => name.clone(),
            },
            (None, true) => path.to_owned(),
            (name, false) => format!("{path}.{}", name.as_deref().unwrap_or("member")),
        };
        for (index, value) in (1..).zip(values) {
            self.value(&format!("{path}.{index}"), item, value)?;
        }
        Ok(())
    }

    fn map(&mut self, path: &str, place: &Ref, map: &Map, entries: &[(String, Value<'_>)]) -> Result<(), InvalidInput> {
        let path = if place.flat { path.to_owned() } else { format!("{path}.entry") };
        let (key, value) = entry_names(map);
        for (index, (name, entry)) in (1..).zip(entries) {
            self.put(format!("{path}.{index}.{key}"), name.clone());
            self.value(&format!("{path}.{index}.{value}"), &map.value, entry)?;
        }
        Ok(())
    }
}

/// What keys and values of a map are called.
pub(super) fn entry_names(map: &Map) -> (&str, &str) {
    (map.key.name.as_deref().unwrap_or("key"), map.value.name.as_deref().unwrap_or("value"))
}

/// An XML document of this one element.
pub(super) fn xml(name: &str, place: &Ref, value: &Value<'_>) -> Result<String, InvalidInput> {
    let mut out = String::new();
    element(&mut out, name, place, value)?;
    Ok(out)
}

/// The root element of an input without a payload.
pub(super) fn xml_of_input(row: &Operation, fields: Fields<'_>) -> Result<String, InvalidInput> {
    let Some(place) = &row.input else { return Ok(String::new()) };
    xml(place.name.as_deref().unwrap_or(&place.shape), place, &Value::Structure(fields))
}

fn element(out: &mut String, name: &str, place: &Ref, value: &Value<'_>) -> Result<(), InvalidInput> {
    match value {
        Value::List(item, values) if place.flat => values.iter().try_for_each(|value| element(out, name, item, value)),
        Value::Map(map, entries) if place.flat => entries.iter().try_for_each(|it| entry(out, name, map, it)),
        value => {
            open(out, name, place, value)?;
            match value {
                Value::Structure(fields) => {
                    let mut children = fields.0.iter().filter(|field| !field.place.attribute);
                    children.try_for_each(|field| element(out, field.wire(), field.place, &field.value))?;
                }
                Value::List(item, values) => {
                    let name = item.name.as_deref().unwrap_or("member");
                    values.iter().try_for_each(|value| element(out, name, item, value))?;
                }
                Value::Map(map, entries) => entries.iter().try_for_each(|it| entry(out, "entry", map, it))?,
                value => {
                    let text = scalar(value, place.format.unwrap_or(TimeFormat::Iso8601)).transpose()?;
                    out.push_str(&xml_text(&text.unwrap_or_default())?);
                }
            }
            let _ = write!(out, "</{name}>");
            Ok(())
        }
    }
}

fn entry(out: &mut String, name: &str, map: &Map, (key, value): &(String, Value<'_>)) -> Result<(), InvalidInput> {
    let (key_name, value_name) = entry_names(map);
    let _ = write!(out, "<{name}>");
    element(out, key_name, &map.key, &Value::Text(key.clone()))?;
    element(out, value_name, &map.value, value)?;
    let _ = write!(out, "</{name}>");
    Ok(())
}

/// The opening tag, with its namespace and attributes.
fn open(out: &mut String, name: &str, place: &Ref, value: &Value<'_>) -> Result<(), InvalidInput> {
    let _ = write!(out, "<{name}");
    match place.namespace.as_slice() {
        [uri] => drop(write!(out, " xmlns=\"{uri}\"")),
        [uri, prefix] => drop(write!(out, " xmlns:{prefix}=\"{uri}\"")),
        _ => {}
    }
    if let Value::Structure(fields) = value {
        for field in fields.0.iter().filter(|field| field.place.attribute) {
            let text = scalar(&field.value, TimeFormat::Iso8601).transpose()?.unwrap_or_default();
            let _ = write!(out, " {}=\"{}\"", field.wire(), xml_text(&text)?);
        }
    }
    out.push('>');
    Ok(())
}

/// Text in XML: escaped so that it is read as it was written, in attributes as well.
fn xml_text(text: &str) -> Result<String, InvalidInput> {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | '\r' | '\u{85}' | '\u{2028}' => drop(write!(escaped, "&#x{:X};", u32::from(character))),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {
                return Err(InvalidInput::new("", "holds a character that no XML can hold"));
            }
            other => escaped.push(other),
        }
    }
    Ok(escaped)
}
