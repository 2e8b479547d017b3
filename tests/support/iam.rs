//! What IAM says of a request, from its documentation: a reference to hold policies against, not a simulator.
//!
//! It knows the part of the language that is used here, and panics at anything else: a statement that it would read
//! otherwise than AWS does must not pass for tested.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::BTreeMap;

use serde_json::Value;

/// What one policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    /// Something else, such as a resource policy, could still allow it.
    NotAllowed,
    /// Nothing can.
    Denied,
}

/// A request, as policies see it.
#[derive(Debug, Clone, Default)]
pub struct Request {
    pub action: String,
    pub resource: String,
    /// What the caller is: the kind of a principal, and its name. A session of a role has the role's ARN, too.
    pub principals: Vec<(&'static str, String)>,
    keys: BTreeMap<String, Vec<String>>,
}

impl Request {
    pub fn new(action: &str, resource: &str) -> Self {
        Self { action: action.to_owned(), resource: resource.to_owned(), ..Self::default() }
    }

    /// The same by a principal of a kind: `AWS`, `Service` or `Federated`.
    pub fn by(mut self, kind: &'static str, name: &str) -> Self {
        self.principals.push((kind, name.to_owned()));
        self
    }

    /// The same with a value of a condition key.
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.keys.insert(key.to_ascii_lowercase(), vec![value.to_owned()]);
        self
    }

    /// The same with the values of a key that can have several.
    pub fn with_all(mut self, key: &str, values: &[&str]) -> Self {
        self.keys.insert(key.to_ascii_lowercase(), values.iter().map(|&value| value.to_owned()).collect());
        self
    }

    fn values(&self, key: &str) -> Option<&[String]> {
        self.keys.get(&key.to_ascii_lowercase()).map(Vec::as_slice)
    }
}

/// What `policy` says of `request`.
pub fn evaluate(policy: &str, request: &Request) -> Verdict {
    let policy: Value = serde_json::from_str(policy).unwrap();
    assert_eq!(policy["Version"], "2012-10-17");
    assert_eq!(policy.as_object().unwrap().len(), 2, "{policy}");
    let mut verdict = Verdict::NotAllowed;
    for statement in policy["Statement"].as_array().unwrap() {
        match (applies(statement, request), statement["Effect"].as_str().unwrap()) {
            (true, "Deny") => return Verdict::Denied,
            (true, "Allow") => verdict = Verdict::Allowed,
            (false, "Deny" | "Allow") => {}
            (_, other) => panic!("{other}"),
        }
    }
    verdict
}

fn applies(statement: &Value, request: &Request) -> bool {
    let known = ["Sid", "Effect", "Principal", "Action", "NotAction", "Resource", "NotResource", "Condition"];
    assert!(statement.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())), "{statement}");
    side(statement, "Action", "NotAction", &|pattern| {
        matches(&literals(&pattern.to_ascii_lowercase()), request.action.to_ascii_lowercase().as_bytes())
    }) && side(statement, "Resource", "NotResource", &|pattern| {
        resolved(pattern, request).is_some_and(|pattern| matches(&pattern, request.resource.as_bytes()))
    }) && statement.get("Principal").is_none_or(|principal| is_principal(principal, request))
        && statement.get("Condition").is_none_or(|condition| holds(condition, request))
}

/// The texts of an element that may be one or a list.
pub fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        other => other.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect(),
    }
}

/// A trust policy is about its role alone: it names no resource.
fn side(statement: &Value, plain: &str, negated: &str, matches: &dyn Fn(&str) -> bool) -> bool {
    let some = |value: &Value| texts(value).iter().any(|pattern| matches(pattern));
    match (statement.get(plain), statement.get(negated)) {
        (Some(value), None) => some(value),
        (None, Some(value)) => !some(value),
        (None, None) if plain == "Resource" && statement.get("Principal").is_some() => true,
        other => panic!("{other:?}"),
    }
}

fn is_principal(principal: &Value, request: &Request) -> bool {
    if principal == "*" {
        return true;
    }
    principal.as_object().unwrap().iter().any(|(kind, names)| {
        assert!(["AWS", "Service", "Federated"].contains(&kind.as_str()), "{principal}");
        let names = texts(names);
        request
            .principals
            .iter()
            .any(|(of, name)| of == kind && names.iter().any(|other| other == "*" || other == name))
    })
}

/// A character of a pattern; what came from a variable stands for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Any,
    One,
    Octet(u8),
}

fn literals(pattern: &str) -> Vec<Token> {
    let token = |octet: u8| match octet {
        b'*' => Token::Any,
        b'?' => Token::One,
        octet => Token::Octet(octet),
    };
    pattern.bytes().map(token).collect()
}

/// The pattern with the values of its variables; none where one has no value, which then matches nothing.
fn resolved(pattern: &str, request: &Request) -> Option<Vec<Token>> {
    let mut out = Vec::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').unwrap();
        assert!(name.contains(':') && !name.contains(','), "{pattern}");
        out.extend(literals(before));
        let [value] = request.values(name)? else { panic!("{name} has several values") };
        out.extend(value.bytes().map(Token::Octet));
        rest = after;
    }
    out.extend(literals(rest));
    Some(out)
}

fn matches(pattern: &[Token], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((Token::Any, rest)), _) => {
            matches(rest, text) || text.split_first().is_some_and(|(_, text)| matches(pattern, text))
        }
        (Some((Token::One, rest)), Some((_, text))) => matches(rest, text),
        (Some((Token::Octet(first), rest)), Some((octet, text))) => first == octet && matches(rest, text),
        _ => false,
    }
}

fn holds(condition: &Value, request: &Request) -> bool {
    condition.as_object().unwrap().iter().all(|(operator, keys)| {
        keys.as_object().unwrap().iter().all(|(key, values)| compare(operator, key, &texts(values), request))
    })
}

fn compare(operator: &str, key: &str, values: &[String], request: &Request) -> bool {
    let has = request.values(key);
    let (set, operator) = operator.split_once(':').map_or((None, operator), |(set, rest)| (Some(set), rest));
    let (if_exists, operator) = operator.strip_suffix("IfExists").map_or((false, operator), |rest| (true, rest));
    if operator == "Null" {
        assert!(set.is_none() && !if_exists && values.len() == 1);
        return values[0].parse::<bool>().unwrap() == has.is_none();
    }
    let (negated, operator) = match operator {
        "StringNotEquals" => (true, "StringEquals"),
        "StringNotLike" => (true, "StringLike"),
        "ArnNotEquals" | "ArnNotLike" => (true, "ArnLike"),
        "ArnEquals" => (false, "ArnLike"),
        plain => (false, plain),
    };
    let one = |has: &String| values.iter().any(|value| equal(operator, has, value, request)) != negated;
    match (set, has) {
        (Some("ForAllValues"), has) => has.is_none_or(|has| has.iter().all(one)),
        (Some("ForAnyValue"), has) => has.is_some_and(|has| has.iter().any(one)),
        (None, None) => negated || if_exists,
        (None, Some([has])) => one(has),
        other => panic!("{operator} {key}: {other:?}"),
    }
}

fn equal(operator: &str, has: &str, value: &str, request: &Request) -> bool {
    let number = |text: &str| text.parse::<f64>().unwrap();
    // Times in UTC and seconds compare as texts.
    let time = |text: &str| {
        assert!(text.len() == 20 && text.ends_with('Z'), "{text}");
        text.to_owned()
    };
    match operator {
        "StringEquals" => resolved(value, request).is_some_and(|pattern| {
            pattern.len() == has.len()
                && pattern.iter().zip(has.bytes()).all(|(token, octet)| match token {
                    Token::Octet(other) => *other == octet,
                    Token::Any => octet == b'*',
                    Token::One => octet == b'?',
                })
        }),
        "StringLike" => resolved(value, request).is_some_and(|pattern| matches(&pattern, has.as_bytes())),
        "ArnLike" => is_arn_like(value, has),
        "Bool" => value.eq_ignore_ascii_case(has),
        "NumericLessThanEquals" => number(has) <= number(value),
        "NumericGreaterThan" => number(has) > number(value),
        "DateGreaterThan" => time(has) > time(value),
        "DateGreaterThanEquals" => time(has) >= time(value),
        "DateLessThanEquals" => time(has) <= time(value),
        other => panic!("{other}"),
    }
}

/// The six parts of an ARN are compared each by itself.
fn is_arn_like(pattern: &str, arn: &str) -> bool {
    assert!(!pattern.contains('$'), "{pattern}");
    let (patterns, parts): (Vec<_>, Vec<_>) = (pattern.splitn(6, ':').collect(), arn.splitn(6, ':').collect());
    assert_eq!(patterns.len(), 6, "{pattern}");
    parts.len() == 6 && patterns.iter().zip(&parts).all(|(pattern, part)| matches(&literals(pattern), part.as_bytes()))
}
