//! Requests of the REST protocols: members in the path, the query, headers and the body.

use super::body;
use super::input::{Field, Fields, InvalidInput, Value};
use super::model::{At, Operation, Protocol, Service, TimeFormat};
use super::text::{escaped, form, scalar};

/// The longest path and query together, in octets: AWS's front ends take no more.
const MAX_TARGET: usize = 8 * 1024;
/// The most octets of all headers together.
const MAX_HEADERS: usize = 8 * 1024;

/// The parts of a request.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// The path, escaped.
    pub(super) path: String,
    /// The query, escaped; empty where there is none.
    pub(super) query: String,
    /// Names in lower case.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

/// The parts for an input. With `hosted`, the label of this name is in the host, and so not in the path.
pub(super) fn parts(
    service: &Service,
    row: &Operation,
    fields: Fields<'_>,
    hosted: Option<&str>,
) -> Result<Parts, InvalidInput> {
    let (template, fixed) = row.uri.split_once('?').unwrap_or((&row.uri, ""));
    let mut parts = Parts { path: path(template, &fields, hosted)?, query: fixed.to_owned(), ..Parts::default() };
    for field in &fields.0 {
        let located = match field.place.at {
            At::Query => add_query(&mut parts.query, field),
            At::Header => add_header(&mut parts.headers, field),
            At::Headers => add_headers(&mut parts.headers, field),
            At::Uri | At::Body | At::Status => Ok(()),
        };
        located.map_err(|error| at(field.name, error))?;
    }
    if parts.path.len() + parts.query.len() > MAX_TARGET {
        return Err(InvalidInput::new("", format!("makes a URL of more than {MAX_TARGET} octets")));
    }
    if parts.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > MAX_HEADERS {
        return Err(InvalidInput::new("", format!("makes headers of more than {MAX_HEADERS} octets")));
    }
    payload(service, row, fields, &mut parts)?;
    Ok(parts)
}

fn at(name: &str, error: InvalidInput) -> InvalidInput {
    InvalidInput::member(name, error.message)
}

/// The path: every label is there, is not empty, and stays the segment that it is.
fn path(template: &str, fields: &Fields<'_>, hosted: Option<&str>) -> Result<String, InvalidInput> {
    let mut path = String::new();
    for segment in template.split('/').skip(1) {
        let label = segment.strip_prefix('{').and_then(|it| it.strip_suffix('}'));
        let Some(label) = label else {
            path.push('/');
            path.push_str(segment);
            continue;
        };
        let (label, greedy) = label.strip_suffix('+').map_or((label, false), |label| (label, true));
        if hosted == Some(label) {
            continue;
        }
        path.push('/');
        path.push_str(&segment_of(label, greedy, fields)?);
    }
    // The root of a host that holds the only label.
    if path.is_empty() {
        path.push('/');
    }
    Ok(path)
}

fn segment_of(label: &str, greedy: bool, fields: &Fields<'_>) -> Result<String, InvalidInput> {
    let field = fields.0.iter().find(|field| field.place.at == At::Uri && field.wire() == label);
    let Some(field) = field else { return Err(InvalidInput::member(label, "is required")) };
    let text = text_of(field, TimeFormat::Iso8601).map_err(|error| at(field.name, error))?;
    if text.is_empty() {
        return Err(InvalidInput::member(field.name, "is empty, and is part of the path"));
    }
    // What is on the way might take these for something else than a name.
    let mut segments = if greedy { text.split('/').collect() } else { vec![text.as_str()] };
    segments.retain(|segment| matches!(*segment, "." | ".."));
    if !segments.is_empty() {
        return Err(InvalidInput::member(field.name, "has `.` or `..` for a segment of the path"));
    }
    Ok(escaped(&text, if greedy { b"/" } else { b"" }))
}

fn text_of(field: &Field<'_>, format: TimeFormat) -> Result<String, InvalidInput> {
    let text = scalar(&field.value, field.place.format.unwrap_or(format)).transpose()?;
    text.ok_or_else(|| InvalidInput::new("", "cannot be written as text"))
}

fn add_query(query: &mut String, field: &Field<'_>) -> Result<(), InvalidInput> {
    let mut pairs: Vec<(&str, String)> = Vec::new();
    let text = |value: &Value<'_>| {
        let text = scalar(value, field.place.format.unwrap_or(TimeFormat::Iso8601)).transpose()?;
        text.ok_or_else(|| InvalidInput::new("", "cannot be written as text"))
    };
    match &field.value {
        Value::List(_, values) => {
            for value in values {
                pairs.push((field.wire(), text(value)?));
            }
        }
        Value::Map(_, entries) => {
            for (name, value) in entries {
                match value {
                    Value::List(_, values) => {
                        for value in values {
                            pairs.push((name, text(value)?));
                        }
                    }
                    value => pairs.push((name, text(value)?)),
                }
            }
        }
        value => pairs.push((field.wire(), text(value)?)),
    }
    if !pairs.is_empty() {
        if !query.is_empty() {
            query.push('&');
        }
        query.push_str(&form(pairs.iter().map(|(name, value)| (*name, value.as_str()))));
    }
    Ok(())
}

fn add_header(headers: &mut Vec<(String, String)>, field: &Field<'_>) -> Result<(), InvalidInput> {
    let text = match &field.value {
        Value::List(_, values) => {
            let values = values.iter().map(|value| {
                let text = scalar(value, TimeFormat::Rfc822).transpose()?;
                let text = text.ok_or_else(|| InvalidInput::new("", "cannot be written as text"))?;
                let quoted = text.contains([',', '"']);
                Ok(if quoted { format!("\"{}\"", text.replace('"', "\\\"")) } else { text })
            });
            match values.collect::<Result<Vec<_>, InvalidInput>>()? {
                values if values.is_empty() => return Ok(()),
                values => values.join(","),
            }
        }
        _ => text_of(field, TimeFormat::Rfc822)?,
    };
    put_header(headers, field.wire().to_ascii_lowercase(), text)
}

fn add_headers(headers: &mut Vec<(String, String)>, field: &Field<'_>) -> Result<(), InvalidInput> {
    let Value::Map(_, entries) = &field.value else { return Ok(()) };
    for (name, value) in entries {
        let token = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet);
        if name.is_empty() || !name.bytes().all(token) {
            return Err(InvalidInput::new(
                "",
                "has a name that cannot be part of a header's: letters, digits and `-_.`",
            ));
        }
        let text = scalar(value, TimeFormat::Rfc822).transpose()?.unwrap_or_default();
        put_header(headers, format!("{}{}", field.wire(), name).to_ascii_lowercase(), text)?;
    }
    Ok(())
}

/// Adds a header whose value arrives as it is: no control characters, no other alphabets, no space at the ends.
fn put_header(headers: &mut Vec<(String, String)>, name: String, value: String) -> Result<(), InvalidInput> {
    if !value.bytes().all(|octet| octet == b' ' || octet.is_ascii_graphic()) || value.trim() != value {
        return Err(InvalidInput::new(
            "",
            "cannot be the value of a header: printable ASCII, without space at the ends",
        ));
    }
    if headers.iter().any(|(other, _)| *other == name) {
        return Err(InvalidInput::new("", format!("makes the header `{name}` twice")));
    }
    headers.push((name, value));
    Ok(())
}

/// The body, and its type where the protocol names one.
fn payload(service: &Service, row: &Operation, fields: Fields<'_>, parts: &mut Parts) -> Result<(), InvalidInput> {
    use super::model::Kind;

    let json = service.protocol == Protocol::RestJson;
    let shape = row.input.as_ref().and_then(|input| match service.kind(&input.shape) {
        Some(Kind::Structure(shape)) => Some(shape),
        _ => None,
    });
    let Some(shape) = shape else { return Ok(()) };
    if let Some((name, place)) = shape.payload.as_deref().and_then(|name| Some((name, shape.members.get(name)?))) {
        let field = fields.0.into_iter().find(|field| field.name == name);
        let raw = matches!(service.kind(&place.shape), Some(Kind::Blob | Kind::String));
        match field.map(|field| field.value) {
            Some(Value::Blob(octets)) => parts.body = octets,
            Some(Value::Text(text)) => parts.body = text.into_bytes(),
            Some(Value::Structure(fields)) if json => parts.body = body::json(&fields.0)?.to_canonical().into_bytes(),
            Some(value) if !json => {
                parts.body = body::xml(place.name.as_deref().unwrap_or(name), place, &value)?.into_bytes();
            }
            Some(_) => return Err(InvalidInput::member(name, "cannot be a body")),
            None if json && !raw => parts.body = b"{}".to_vec(),
            None => {}
        }
        if json && !raw {
            add_type(parts);
        }
        return Ok(());
    }
    if !shape.members.iter().any(|(_, member)| member.at == At::Body) {
        return Ok(());
    }
    let inner = Fields(fields.0.into_iter().filter(|field| field.place.at == At::Body).collect());
    if json {
        parts.body = body::json(&inner.0)?.to_canonical().into_bytes();
        add_type(parts);
    } else if !inner.0.is_empty() {
        parts.body = body::xml_of_input(row, inner)?.into_bytes();
    }
    Ok(())
}

fn add_type(parts: &mut Parts) {
    if !parts.headers.iter().any(|(name, _)| name == "content-type") {
        parts.headers.push(("content-type".to_owned(), "application/json".to_owned()));
    }
}
