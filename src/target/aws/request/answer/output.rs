//! The output of an operation, as JSON by the names of the model.
//!
//! Only what the model knows is taken, and not what it marks as secret. Structures, lists and maps must be that; scalars are
//! taken as they come.

use base64ct::{Base64, Encoding};
use http::HeaderMap;
use roxmltree::{Document, Node, ParsingOptions};
use serde_json::{Map as Members, Number, Value};

use super::super::Operation;
use super::super::body::entry_names;
use super::super::model::{At, Kind, List, Map, Protocol, Ref, Service, Structure};
use super::identifier;

/// The most nodes of an XML document.
const MAX_NODES: u32 = 400_000;
/// How deep structures may stand inside each other.
const MAX_DEPTH: usize = 40;

/// A document without a DTD, and so without entities of its own.
pub(super) fn document(text: &str) -> Result<Document<'_>, String> {
    let options = ParsingOptions { nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).map_err(|error| format!("it is no XML: {error}"))
}

fn text(body: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(body).map_err(|_| "it is no UTF-8".to_owned())
}

/// What something on the way shows instead of an answer.
fn is_page(document: &Document<'_>) -> bool {
    document.root_element().tag_name().name().eq_ignore_ascii_case("html")
}

/// The output, and the id of the request where the body has it.
pub(super) fn output(
    operation: &Operation,
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(Value, Option<String>), String> {
    let service = operation.service;
    let shape = operation.row.output.as_deref().and_then(|name| service.kind(name));
    let shape = match shape {
        Some(Kind::Structure(shape)) => Some(shape),
        _ => None,
    };
    match service.protocol {
        Protocol::Json => {
            let value = parsed(body)?;
            let Some(shape) = shape else { return Ok((Value::Object(Members::new()), None)) };
            Ok((json_structure(service, shape, &value, 0)?, None))
        }
        Protocol::Query | Protocol::Ec2 => answered(operation, shape, body),
        Protocol::RestJson | Protocol::RestXml => {
            let mut members = Members::new();
            if body.first() == Some(&b'<') && text(body).and_then(document).is_ok_and(|it| is_page(&it)) {
                return Err("it is a page".to_owned());
            }
            if let Some(shape) = shape {
                located(service, shape, status, headers, &mut members);
                if let Value::Object(inner) = rest_body(operation, shape, body)? {
                    members.extend(inner);
                }
            }
            Ok((Value::Object(members), None))
        }
    }
}

/// JSON; no octets are an empty object.
fn parsed(body: &[u8]) -> Result<Value, String> {
    match body.is_empty() {
        true => Ok(Value::Object(Members::new())),
        false => serde_json::from_slice(body).map_err(|_| "it is no JSON".to_owned()),
    }
}

/// `<NameResponse><NameResult>...`, and without the inner element in ec2Query.
fn answered(operation: &Operation, shape: Option<&Structure>, body: &[u8]) -> Result<(Value, Option<String>), String> {
    let document = document(text(body)?)?;
    let root = document.root_element();
    if root.tag_name().name() != format!("{}Response", operation.name) {
        return Err(format!("it is no `{}Response`", operation.name));
    }
    let request_id = match operation.service.protocol {
        Protocol::Ec2 => child(root, "requestId"),
        _ => child(root, "ResponseMetadata").and_then(|metadata| child(metadata, "RequestId")),
    };
    let request_id = request_id.and_then(|node| identifier(node.text()?));
    let Some(shape) = shape else { return Ok((Value::Object(Members::new()), request_id)) };
    let inner = match &operation.row.wrapper {
        None => root,
        Some(wrapper) => child(root, wrapper).ok_or_else(|| format!("it has no `{wrapper}`"))?,
    };
    Ok((xml_structure(operation.service, shape, inner, 0)?, request_id))
}

fn rest_body(operation: &Operation, shape: &Structure, body: &[u8]) -> Result<Value, String> {
    let service = operation.service;
    let nothing = || Ok(Value::Object(Members::new()));
    let payload = shape.payload.as_deref().and_then(|name| Some((name, shape.members.get(name)?)));
    let in_body = shape.members.iter().any(|(_, member)| member.at == At::Body);
    if !in_body || (body.is_empty() && (payload.is_some() || service.protocol == Protocol::RestXml)) {
        return nothing();
    }
    let alone = |name: &str, value| Value::Object(Members::from_iter([(name.to_owned(), value)]));
    if let Some((name, place)) = payload {
        if place.secret {
            return nothing();
        }
        match service.kind(&place.shape) {
            Some(Kind::Blob) => return Ok(alone(name, Value::String(Base64::encode_string(body)))),
            Some(Kind::String) => {
                return Ok(alone(name, Value::from(text(body)?)));
            }
            _ => {}
        }
    }
    match (service.protocol, payload) {
        (Protocol::RestJson, Some((name, place))) => Ok(alone(name, json_value(service, place, &parsed(body)?, 0)?)),
        (Protocol::RestJson, None) => json_structure(service, shape, &parsed(body)?, 0),
        (_, payload) => {
            let document = document(text(body)?)?;
            let root = document.root_element();
            if let Some((name, place)) = payload {
                return Ok(alone(name, xml_value(service, place, &[root], 0)?));
            }
            // `GetBucketLocation` has its only member for the root.
            let unwrapped = shape.members.iter().find(|(name, place)| {
                wire(name, place) == root.tag_name().name() && !root.children().any(|child| child.is_element())
            });
            match unwrapped {
                Some((name, place)) => Ok(alone(name, xml_value(service, place, &[root], 0)?)),
                None => xml_structure(service, shape, root, 0),
            }
        }
    }
}

/// The members that stand in the status and in headers.
fn located(
    service: &Service,
    shape: &Structure,
    status: u16,
    headers: &HeaderMap,
    members: &mut Members<String, Value>,
) {
    for (name, place) in shape.members.iter().filter(|(_, place)| !place.secret) {
        let value = match place.at {
            At::Status => Some(Value::from(status)),
            At::Header => headers
                .get(wire(name, place))
                .and_then(|value| value.to_str().ok())
                .map(|text| scalar(service, place, text)),
            At::Headers => {
                let prefix = wire(name, place).to_ascii_lowercase();
                let entries = headers.iter().filter_map(|(header, value)| {
                    let name = header.as_str().strip_prefix(&prefix)?;
                    Some((name.to_owned(), Value::from(value.to_str().ok()?)))
                });
                let entries: Members<String, Value> = entries.collect();
                (!entries.is_empty()).then_some(Value::Object(entries))
            }
            At::Body | At::Uri | At::Query => None,
        };
        if let Some(value) = value {
            members.insert(name.to_owned(), value);
        }
    }
}

fn wire<'a>(name: &'a str, place: &'a Ref) -> &'a str {
    place.name.as_deref().unwrap_or(name)
}

fn deeper(depth: usize) -> Result<usize, String> {
    if depth < MAX_DEPTH { Ok(depth + 1) } else { Err("it is too deep".to_owned()) }
}

fn json_structure(service: &Service, shape: &Structure, value: &Value, depth: usize) -> Result<Value, String> {
    let depth = deeper(depth)?;
    let found = value.as_object().ok_or("a structure of it is no object")?;
    let mut members = Members::new();
    for (name, place) in shape.members.iter().filter(|(_, place)| !place.secret && place.at == At::Body) {
        match found.get(wire(name, place)) {
            None | Some(Value::Null) => {}
            Some(value) => drop(members.insert(name.to_owned(), json_value(service, place, value, depth)?)),
        }
    }
    Ok(Value::Object(members))
}

fn json_value(service: &Service, place: &Ref, value: &Value, depth: usize) -> Result<Value, String> {
    let depth = deeper(depth)?;
    match service.kind(&place.shape) {
        Some(Kind::Structure(shape)) => json_structure(service, shape, value, depth),
        Some(Kind::List(List { list })) => {
            let values = value.as_array().ok_or_else(|| format!("`{}` is no array", place.shape))?;
            let values = values.iter().filter(|_| !list.secret).map(|value| json_value(service, list, value, depth));
            values.collect::<Result<_, _>>().map(Value::Array)
        }
        Some(Kind::Map(map)) => {
            let entries = value.as_object().ok_or_else(|| format!("`{}` is no object", place.shape))?;
            let entries = entries.iter().filter(|_| !map.value.secret);
            let entries =
                entries.map(|(name, value)| Ok((name.clone(), json_value(service, &map.value, value, depth)?)));
            entries.collect::<Result<_, String>>().map(Value::Object)
        }
        Some(Kind::Document) => Ok(value.clone()),
        _ if value.is_object() || value.is_array() => Err(format!("a `{}` of it is none", place.shape)),
        _ => Ok(value.clone()),
    }
}

fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.is_element() && child.tag_name().name() == name)
}

fn children<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Vec<Node<'a, 'input>> {
    node.children().filter(|child| child.is_element() && child.tag_name().name() == name).collect()
}

fn xml_structure(service: &Service, shape: &Structure, node: Node<'_, '_>, depth: usize) -> Result<Value, String> {
    let depth = deeper(depth)?;
    let mut members = Members::new();
    for (name, place) in shape.members.iter().filter(|(_, place)| !place.secret && place.at == At::Body) {
        let wire = wire(name, place);
        if place.attribute {
            let local = wire.rsplit(':').next().unwrap_or(wire);
            if let Some(attribute) = node.attributes().find(|attribute| attribute.name() == local) {
                members.insert(name.to_owned(), Value::from(attribute.value()));
            }
            continue;
        }
        let nodes = children(node, wire);
        if !nodes.is_empty() {
            members.insert(name.to_owned(), xml_value(service, place, &nodes, depth)?);
        }
    }
    Ok(Value::Object(members))
}

/// A value that these elements of one name are: one element, or one for each item where the list has no element around it.
fn xml_value(service: &Service, place: &Ref, nodes: &[Node<'_, '_>], depth: usize) -> Result<Value, String> {
    let depth = deeper(depth)?;
    let one = || match nodes {
        [node] => Ok(*node),
        _ => Err(format!("a `{}` of it is there more than once", place.shape)),
    };
    match service.kind(&place.shape) {
        Some(Kind::Structure(shape)) => xml_structure(service, shape, one()?, depth),
        Some(Kind::List(List { list })) => {
            let items = match place.flat {
                true => nodes.to_vec(),
                false => children(one()?, list.name.as_deref().unwrap_or("member")),
            };
            let items = items.iter().filter(|_| !list.secret).map(|item| xml_value(service, list, &[*item], depth));
            items.collect::<Result<_, _>>().map(Value::Array)
        }
        Some(Kind::Map(map)) => {
            let entries = if place.flat { nodes.to_vec() } else { children(one()?, "entry") };
            let entries =
                entries.iter().filter(|_| !map.value.secret).map(|node| xml_entry(service, map, *node, depth));
            entries.collect::<Result<_, _>>().map(Value::Object)
        }
        _ => {
            let node = one()?;
            if node.children().any(|child| child.is_element()) {
                return Err(format!("a `{}` of it is none", place.shape));
            }
            let text: String = node.children().filter_map(|child| child.text()).collect();
            Ok(scalar(service, place, &text))
        }
    }
}

fn xml_entry(service: &Service, map: &Map, node: Node<'_, '_>, depth: usize) -> Result<(String, Value), String> {
    let (key, value) = entry_names(map);
    match (child(node, key), child(node, value)) {
        (Some(key), Some(value)) => {
            Ok((key.text().unwrap_or_default().to_owned(), xml_value(service, &map.value, &[value], depth)?))
        }
        _ => Err("an entry of a map has not key and value".to_owned()),
    }
}

/// A scalar of XML or of a header: a number or a boolean where it is one.
fn scalar(service: &Service, place: &Ref, text: &str) -> Value {
    let value = match service.kind(&place.shape) {
        Some(Kind::Integer(..)) => text.trim().parse::<i64>().ok().map(Value::from),
        Some(Kind::Double) => text.trim().parse().ok().and_then(Number::from_f64).map(Value::Number),
        Some(Kind::Boolean) => text.trim().parse::<bool>().ok().map(Value::from),
        _ => None,
    };
    value.unwrap_or_else(|| Value::from(text))
}
