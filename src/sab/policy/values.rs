//! What can stand in each place of a JSON value, as policies see it.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{EntityUid, RestrictedExpression};

use crate::contract::{Json, Number, Parameter, Pointer};

/// The most places that policies are shown of one value.
const MAX_PLACES: usize = 4096;

/// A value has more places than policies are shown: they would decide on a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a value has more than {MAX_PLACES} places: policies cannot be shown all of it")]
pub struct TooManyPlaces;

/// A JSON value, or all values that one can become, place by place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Values {
    pub(super) fields: BTreeSet<String>,
    pub(super) open: BTreeSet<String>,
    pub(super) least: BTreeMap<String, i64>,
    pub(super) greatest: BTreeMap<String, i64>,
    pub(super) integers: BTreeMap<String, BTreeSet<i64>>,
    pub(super) texts: BTreeMap<String, BTreeSet<String>>,
    pub(super) flags: BTreeMap<String, BTreeSet<bool>>,
}

/// What plain values have in common, so that one place can hold all of them.
enum Plain<'a> {
    Numbers(Vec<Number>),
    Texts(BTreeSet<&'a str>),
    Flags(BTreeSet<bool>),
    Empty,
}

impl Values {
    /// Of one value that is what it is.
    pub(super) fn fixed(value: &Json) -> Result<Self, TooManyPlaces> {
        Self::open_at(value, &[])
    }

    /// Of a value in which some places can hold whatever their bounds allow.
    pub(super) fn open_at(value: &Json, parameters: &[Parameter]) -> Result<Self, TooManyPlaces> {
        let mut values = Self::default();
        values.visit(&mut String::new(), value, parameters)?;
        Ok(values)
    }

    /// Of a value of which nothing is known.
    pub(super) fn unknown() -> Self {
        let root = BTreeSet::from([String::new()]);
        Self { fields: root.clone(), open: root, ..Self::default() }
    }

    fn visit(&mut self, place: &mut String, value: &Json, parameters: &[Parameter]) -> Result<(), TooManyPlaces> {
        let inside: Vec<&Parameter> = parameters.iter().filter(|it| is_inside(it.pointer(), place)).collect();
        if let Some(parameter) = inside.iter().find(|parameter| parameter.pointer().to_string() == *place) {
            self.field(place)?;
            self.bounds(place, &Json::from(parameter.bounds().clone()));
            return Ok(());
        }
        match value {
            Json::Object(members) if !members.is_empty() => members.iter().try_for_each(|(name, value)| {
                let length = place.len();
                place.push('/');
                place.push_str(&name.replace('~', "~0").replace('/', "~1"));
                self.visit(place, value, parameters)?;
                place.truncate(length);
                Ok(())
            }),
            Json::Array(elements) if !inside.is_empty() || elements.iter().any(is_nested) => {
                elements.iter().enumerate().try_for_each(|(index, value)| {
                    let length = place.len();
                    place.push_str(&format!("/{index}"));
                    self.visit(place, value, parameters)?;
                    place.truncate(length);
                    Ok(())
                })
            }
            Json::Array(elements) => {
                self.field(place)?;
                self.plain(place, elements);
                Ok(())
            }
            Json::Object(_) | Json::Null => self.field(place),
            plain => {
                self.field(place)?;
                self.plain(place, std::slice::from_ref(plain));
                Ok(())
            }
        }
    }

    fn field(&mut self, place: &str) -> Result<(), TooManyPlaces> {
        if self.fields.len() >= MAX_PLACES {
            return Err(TooManyPlaces);
        }
        self.fields.insert(place.to_owned());
        Ok(())
    }

    /// The place can hold these values, all of one type, and no others; otherwise it is open.
    fn plain(&mut self, place: &str, values: &[Json]) {
        match of_one_type(values) {
            Some(Plain::Numbers(numbers)) => {
                self.numbers(place, numbers.first().copied(), numbers.last().copied());
                if let Some(integers) = numbers.iter().map(|number| number.as_integer()).collect() {
                    self.integers.insert(place.to_owned(), integers);
                }
            }
            Some(Plain::Texts(texts)) => {
                self.texts.insert(place.to_owned(), texts.into_iter().map(str::to_owned).collect());
            }
            Some(Plain::Flags(flags)) => {
                self.flags.insert(place.to_owned(), flags);
            }
            Some(Plain::Empty) => {
                self.integers.insert(place.to_owned(), BTreeSet::new());
                self.texts.insert(place.to_owned(), BTreeSet::new());
            }
            None => {
                self.open.insert(place.to_owned());
            }
        }
    }

    fn numbers(&mut self, place: &str, least: Option<Number>, greatest: Option<Number>) {
        let (Some(least), Some(greatest)) = (least, greatest) else { return };
        self.least.insert(place.to_owned(), whole(least.get().floor()));
        self.greatest.insert(place.to_owned(), whole(greatest.get().ceil()));
    }

    /// The place can hold what these bounds allow.
    fn bounds(&mut self, place: &str, bounds: &Json) {
        let number = |name| match bounds.get(name) {
            Some(Json::Number(number)) => Some(*number),
            _ => None,
        };
        match (bounds.get("type").and_then(Json::as_str), bounds.get("values"), bounds.get("items")) {
            (Some("boolean"), _, _) => {
                self.flags.insert(place.to_owned(), BTreeSet::from([false, true]));
            }
            (Some("integer" | "number"), _, _) => self.numbers(place, number("minimum"), number("maximum")),
            (Some("enumeration"), Some(Json::Array(values)), _) => self.plain(place, values),
            (Some("list"), _, Some(items)) => self.bounds(place, items),
            // Any text of some form, or something that is not known here.
            _ => {
                self.open.insert(place.to_owned());
            }
        }
    }
}

fn is_nested(value: &Json) -> bool {
    matches!(value, Json::Object(_) | Json::Array(_))
}

/// Whether the parameter's place is this one, or inside it.
fn is_inside(pointer: &Pointer, place: &str) -> bool {
    pointer.to_string().strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The values as ones of one type; numbers in ascending order.
fn of_one_type(values: &[Json]) -> Option<Plain<'_>> {
    Some(match values.first() {
        None => Plain::Empty,
        Some(Json::Number(_)) => {
            let number = |value: &Json| if let Json::Number(number) = value { Some(*number) } else { None };
            let mut numbers = values.iter().map(number).collect::<Option<Vec<_>>>()?;
            numbers.sort();
            Plain::Numbers(numbers)
        }
        Some(Json::String(_)) => Plain::Texts(values.iter().map(Json::as_str).collect::<Option<_>>()?),
        Some(Json::Bool(_)) => {
            let flag = |value: &Json| if let Json::Bool(flag) = value { Some(*flag) } else { None };
            Plain::Flags(values.iter().map(flag).collect::<Option<_>>()?)
        }
        Some(Json::Null | Json::Array(_) | Json::Object(_)) => return None,
    })
}

/// A whole number as Cedar counts; beyond what it counts, its ends.
#[expect(clippy::cast_possible_truncation, reason = "the cast saturates, and the number is whole")]
fn whole(number: f64) -> i64 {
    number as i64
}

/// The tags of the four entities that hold the values, and the record that points to them.
pub(super) type Tags = Vec<(String, RestrictedExpression)>;

impl Values {
    /// The entities' tags, in the order least, greatest, integers, texts, flags.
    pub(super) fn tags(&self) -> [Tags; 5] {
        let long = |(place, number): (&String, &i64)| (place.clone(), RestrictedExpression::new_long(*number));
        let integer = |number: &i64| RestrictedExpression::new_long(*number);
        let text = |text: &String| RestrictedExpression::new_string(text.clone());
        let flag = |flag: &bool| RestrictedExpression::new_bool(*flag);
        [
            self.least.iter().map(long).collect(),
            self.greatest.iter().map(long).collect(),
            sets(&self.integers, integer),
            sets(&self.texts, text),
            sets(&self.flags, flag),
        ]
    }

    /// The record of the schema's type `Values`, pointing to these entities.
    pub(super) fn record(&self, entities: &[EntityUid; 5]) -> Tags {
        let [least, greatest, integers, texts, flags] = entities.clone().map(RestrictedExpression::new_entity_uid);
        let set = |places: &BTreeSet<String>| {
            RestrictedExpression::new_set(places.iter().cloned().map(RestrictedExpression::new_string))
        };
        vec![
            ("fields".to_owned(), set(&self.fields)),
            ("open".to_owned(), set(&self.open)),
            ("least".to_owned(), least),
            ("greatest".to_owned(), greatest),
            ("integers".to_owned(), integers),
            ("texts".to_owned(), texts),
            ("flags".to_owned(), flags),
        ]
    }
}

/// A tag for each place: a set.
fn sets<T>(places: &BTreeMap<String, BTreeSet<T>>, element: impl Fn(&T) -> RestrictedExpression + Copy) -> Tags {
    let set = |(place, them): (&String, &BTreeSet<T>)| {
        (place.clone(), RestrictedExpression::new_set(them.iter().map(element)))
    };
    places.iter().map(set).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Bounds;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    fn set<const N: usize>(places: [&str; N]) -> BTreeSet<String> {
        places.into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn each_place_shows_what_can_stand_in_it() {
        let value = json(
            r#"{"a":{"n":1.5,"t":"x","b":true,"z":null,"e":{}},"l":["p","q"],"m":[1,"x"],"o":[{"k":2}],"x/y":0,"w":[]}"#,
        );
        let values = Values::fixed(&value).unwrap();
        let fields = ["/a/n", "/a/t", "/a/b", "/a/z", "/a/e", "/l", "/m", "/o/0/k", "/x~1y", "/w"];
        assert_eq!(values.fields, set(fields));
        assert_eq!(values.open, set(["/m"]));
        assert_eq!((values.least["/a/n"], values.greatest["/a/n"]), (1, 2));
        assert_eq!(values.texts["/l"], set(["p", "q"]));
        assert_eq!(values.texts["/w"], set([]));
        assert_eq!(values.integers.get("/a/n"), None);
        assert_eq!(values.integers["/o/0/k"], BTreeSet::from([2]));
        assert_eq!(values.flags["/a/b"], BTreeSet::from([true]));
        assert_eq!(values.least.keys().count(), 3);
    }

    #[test]
    fn parameters_show_their_bounds_and_not_their_default() {
        let parameter = |at: &str, bounds| Parameter::new(Pointer::parse(at).unwrap(), false, bounds);
        let list = Bounds::list(0, 3, Bounds::enumeration(vec![json("\"a\""), json("\"b\"")]).unwrap()).unwrap();
        let parameters = [
            parameter("/n", Bounds::integer(3, 50).unwrap()),
            parameter("/ports/1", Bounds::integer(1, 2).unwrap()),
            parameter("/t", Bounds::string(0, 9, None).unwrap()),
            parameter("/f", Bounds::boolean()),
            parameter("/l", list),
            parameter("/mixed", Bounds::enumeration(vec![json("1"), json("\"b\"")]).unwrap()),
        ];
        let body = json(r#"{"n":10,"ports":[7,1],"t":"x","f":true,"l":["a"],"mixed":1,"nn":8}"#);
        let values = Values::open_at(&body, &parameters).unwrap();
        assert_eq!((values.least["/n"], values.greatest["/n"]), (3, 50));
        assert_eq!(values.integers.get("/n"), None);
        assert_eq!((values.least["/ports/0"], values.greatest["/ports/1"]), (7, 2));
        assert_eq!(values.open, set(["/t", "/mixed"]));
        assert_eq!(values.flags["/f"].len(), 2);
        assert_eq!(values.texts["/l"], set(["a", "b"]));
        assert_eq!((values.least["/nn"], values.greatest["/nn"]), (8, 8));
    }

    #[test]
    fn what_is_too_large_is_not_shown_in_part() {
        let text = format!("[{}]", vec!["{\"a\":1}"; MAX_PLACES + 1].join(","));
        assert_eq!(Values::fixed(&json(&text)), Err(TooManyPlaces));
    }
}
