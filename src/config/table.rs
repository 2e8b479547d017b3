//! Reading one table: every key is asked for by name, once, and what is left over is unknown.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::kind::{Faults, Given, Kind};
use super::{Files, KeyDoc, Presence, Problem, plain};

/// One reading of one document: what was found wrong, and what was asked for.
pub(super) struct Reader {
    /// Where each line begins, and the text itself to count characters in.
    text: String,
    folder: PathBuf,
    files: Files,
    /// Nothing is there, and that is no problem: only the keys are of interest.
    describing: bool,
    problems: RefCell<Vec<Problem>>,
    keys: RefCell<Vec<KeyDoc>>,
}

/// A table of the file, on its way to become a struct.
///
/// Every method that reads a key gives `None` when something is wrong with it, after noting what. A function that reads a
/// table asks for all its keys first and gives up afterwards (`?`), so that all is noted.
pub struct Table<'r> {
    reader: &'r Reader,
    path: String,
    generic: String,
    place: Range<usize>,
    places: BTreeMap<String, Range<usize>>,
    entries: BTreeMap<String, Spanned<DeValue<'r>>>,
    known: Vec<String>,
}

impl Reader {
    pub(super) fn new(text: &str, file: &Path, files: Files) -> Self {
        Self {
            text: text.to_owned(),
            folder: file.parent().unwrap_or(Path::new("")).to_owned(),
            files,
            describing: false,
            problems: RefCell::default(),
            keys: RefCell::default(),
        }
    }

    pub(super) fn describing() -> Self {
        Self { describing: true, ..Self::new("", Path::new(""), Files::Ignore) }
    }

    pub(super) fn root<'r, T>(
        &'r self,
        document: Spanned<DeTable<'r>>,
        read: impl FnOnce(&mut Table<'_>) -> Option<T>,
    ) -> Option<T> {
        Table::new(self, String::new(), String::new(), 0..0, document.into_inner()).finish(read)
    }

    pub(super) fn problem(&self, span: Range<usize>, key: &str, what: String, hint: Option<String>) {
        let (line, column) = self.position(span.start);
        self.problems.borrow_mut().push(Problem { line, column, key: key.to_owned(), what, hint });
    }

    pub(super) fn is_sound(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems.into_inner()
    }

    pub(super) fn into_keys(self) -> Vec<KeyDoc> {
        self.keys.into_inner()
    }

    /// Line and column of an octet, both from 1.
    fn position(&self, octet: usize) -> (usize, usize) {
        let before = self.text.get(..octet).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline.saturating_add(1));
        let line = before.bytes().filter(|byte| *byte == b'\n').count();
        let column = before.get(line_start..).unwrap_or_default().chars().count();
        (line.saturating_add(1), column.saturating_add(1))
    }

    fn key(&self, key: String, expects: String, default: Presence, meaning: &str) {
        let doc = KeyDoc { key, expects, default, meaning: meaning.to_owned() };
        let mut keys = self.keys.borrow_mut();
        if !keys.iter().any(|known| known.key == doc.key) {
            keys.push(doc);
        }
    }
}

impl<'r> Table<'r> {
    fn new(reader: &'r Reader, path: String, generic: String, place: Range<usize>, table: DeTable<'r>) -> Self {
        let mut places = BTreeMap::new();
        let mut entries = BTreeMap::new();
        for (key, value) in table {
            let span = key.span();
            let name = key.into_inner().into_owned();
            places.insert(name.clone(), span);
            entries.insert(name, value);
        }
        Self { reader, path, generic, place, places, entries, known: Vec::new() }
    }

    /// Reads the table, then refuses what is left of it.
    fn finish<T>(mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let value = read(&mut self);
        for name in self.entries.keys() {
            let nearest = nearest(name, &self.known);
            let hint = match nearest {
                Some(known) => Some(format!("did you mean `{known}`?")),
                None if self.known.is_empty() => None,
                None => Some(format!("known here: `{}`", self.known.join("`, `"))),
            };
            let span = self.places.get(name).cloned().unwrap_or_default();
            self.reader.problem(span, &self.join(name), "there is no such key".to_owned(), hint);
        }
        value
    }

    /// A key that must be there.
    pub fn required<K: Kind>(&mut self, name: &str, kind: K, meaning: &str) -> Option<K::Value> {
        self.document(name, kind.expects(), Presence::Required, meaning);
        match self.take(name, &kind) {
            Some(value) => value,
            None => self.missing(name, &kind.expects()),
        }
    }

    /// A key that may be there.
    pub fn optional<K: Kind>(&mut self, name: &str, kind: K, meaning: &str) -> Option<Option<K::Value>> {
        self.document(name, kind.expects(), Presence::Optional, meaning);
        match self.take(name, &kind) {
            Some(value) => value.map(Some),
            None => Some(None),
        }
    }

    /// A key whose default is written as an operator would write it, in TOML.
    pub fn default<K: Kind>(&mut self, name: &str, kind: K, default: &str, meaning: &str) -> Option<K::Value> {
        self.document(name, kind.expects(), Presence::Default(default.to_owned()), meaning);
        if let Some(value) = self.take(name, &kind) {
            return value;
        }
        let mut faults = Faults::default();
        let value = DeValue::parse(default).ok().and_then(|value| {
            let given = Given::new(value.get_ref(), value.span(), &self.reader.folder, Files::Ignore);
            kind.read(&given, &mut faults)
        });
        if value.is_none() && !self.reader.describing {
            self.refuse::<()>(name, format!("its default `{default}` is not {}", kind.expects()), None);
        }
        value
    }

    /// A table; one that is not there is empty.
    pub fn table<T>(&mut self, name: &str, meaning: &str, read: impl FnOnce(&mut Table<'_>) -> Option<T>) -> Option<T> {
        self.document(name, String::new(), Presence::Optional, meaning);
        match self.entries.remove(name) {
            Some(value) => self.inside(name, value)?.finish(read),
            None => self.absent(name, self.join_generic(name)).finish(read),
        }
    }

    /// A table that may be there.
    pub fn optional_table<T>(
        &mut self,
        name: &str,
        meaning: &str,
        read: impl FnOnce(&mut Table<'_>) -> Option<T>,
    ) -> Option<Option<T>> {
        self.document(name, String::new(), Presence::Optional, meaning);
        match self.entries.remove(name) {
            Some(value) => self.inside(name, value)?.finish(read).map(Some),
            None => {
                if self.reader.describing {
                    self.absent(name, self.join_generic(name)).finish(read);
                }
                Some(None)
            }
        }
    }

    /// A list of tables (`[[name]]`) of at most `max` elements; one that is not there is empty.
    pub fn tables<T>(
        &mut self,
        name: &str,
        max: usize,
        meaning: &str,
        mut read: impl FnMut(&mut Table<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        self.document(&format!("{name}[]"), String::new(), Presence::Optional, meaning);
        self.known.push(name.to_owned());
        let generic = format!("{}[]", self.join_generic(name));
        let Some(value) = self.entries.remove(name) else {
            if self.reader.describing {
                self.absent(name, generic).finish(read);
            }
            return Some(Vec::new());
        };
        let place = value.span();
        let DeValue::Array(elements) = value.into_inner() else {
            return self.refuse(name, format!("expected tables, each as `[[{}]]`", self.join(name)), None);
        };
        if elements.len() > max {
            return self.refuse(name, format!("has {} elements; at most {max} are allowed", elements.len()), None);
        }
        let mut values = Vec::new();
        let mut sound = true;
        for (index, element) in elements.into_iter().enumerate() {
            let path = format!("{}[{index}]", self.join(name));
            let span = element.span();
            match element.into_inner() {
                DeValue::Table(table) => {
                    let value = Table::new(self.reader, path, generic.clone(), span, table).finish(&mut read);
                    sound &= value.is_some();
                    values.extend(value);
                }
                _ => {
                    sound = false;
                    self.reader.problem(place.clone(), &path, "expected a table".to_owned(), None);
                }
            }
        }
        sound.then_some(values)
    }

    /// A table whose keys the operator chooses, at most `max` of them; one that is not there is empty. `key` says what a
    /// key must be.
    pub fn entries<N: Kind, K: Kind>(
        &mut self,
        name: &str,
        max: usize,
        key: N,
        kind: K,
        meaning: &str,
    ) -> Option<Vec<(N::Value, K::Value)>> {
        self.document(&format!("{name}.*"), kind.expects(), Presence::Optional, meaning);
        self.known.push(name.to_owned());
        let Some(value) = self.entries.remove(name) else { return Some(Vec::new()) };
        let table = self.inside(name, value)?;
        if table.entries.len() > max {
            let count = table.entries.len();
            return self.refuse(name, format!("has {count} keys; at most {max} are allowed"), None);
        }
        let mut values = Vec::new();
        let mut sound = true;
        for (text, value) in &table.entries {
            let path = table.join(text);
            let span = table.places.get(text).cloned().unwrap_or_default();
            let mut faults = Faults::default();
            let name = DeValue::String(text.as_str().into());
            let name = key.read(&Given::new(&name, span, &self.reader.folder, self.reader.files), &mut faults);
            let given = Given::new(value.get_ref(), value.span(), &self.reader.folder, self.reader.files);
            let value = kind.read(&given, &mut faults);
            self.note(&path, faults);
            match name.zip(value) {
                Some(entry) => values.push(entry),
                None => sound = false,
            }
        }
        sound.then_some(values)
    }

    /// Notes that something is wrong with a key, or with its absence. Gives `None`, to be returned.
    pub fn refuse<T>(&self, name: &str, what: impl Display, hint: Option<&str>) -> Option<T> {
        let span = self.places.get(name).unwrap_or(&self.place).clone();
        self.reader.problem(span, &self.join(name), what.to_string(), hint.map(str::to_owned));
        None
    }

    /// Whether the files that the configuration names have to be there.
    pub fn files(&self) -> Files {
        self.reader.files
    }

    /// Whether a key is there, read or not.
    pub fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// The path that `text` means: relative to the folder of the file.
    pub fn resolve(&self, text: &Path) -> PathBuf {
        self.reader.folder.join(text)
    }

    /// Takes a value out; none if it is not there.
    fn take<K: Kind>(&mut self, name: &str, kind: &K) -> Option<Option<K::Value>> {
        let value = self.entries.remove(name)?;
        let mut faults = Faults::default();
        let given = Given::new(value.get_ref(), value.span(), &self.reader.folder, self.reader.files);
        let read = kind.read(&given, &mut faults);
        let faulty = !faults.is_empty();
        self.note(&self.join(name), faults);
        Some(if faulty { None } else { read })
    }

    fn note(&self, path: &str, faults: Faults) {
        for fault in faults.into_inner() {
            let path = format!("{path}{}", fault.suffix);
            self.reader.problem(fault.span, &path, plain(&fault.what), fault.hint);
        }
    }

    fn inside(&self, name: &str, value: Spanned<DeValue<'r>>) -> Option<Table<'r>> {
        let place = self.places.get(name).cloned().unwrap_or_else(|| value.span());
        match value.into_inner() {
            DeValue::Table(table) => {
                Some(Table::new(self.reader, self.join(name), self.join_generic(name), place, table))
            }
            _ => self.refuse(name, format!("expected a table, as `[{}]`", self.join(name)), None),
        }
    }

    fn absent(&self, name: &str, generic: String) -> Table<'r> {
        Table::new(self.reader, self.join(name), generic, self.place.clone(), DeTable::new())
    }

    fn missing<T>(&self, name: &str, expects: &str) -> Option<T> {
        if self.reader.describing {
            return None;
        }
        self.refuse(name, format!("is missing; expected {expects}"), None)
    }

    fn document(&mut self, name: &str, expects: String, default: Presence, meaning: &str) {
        self.reader.key(self.join_generic(name), expects, default, meaning);
        if !name.ends_with(['*', ']']) {
            self.known.push(name.to_owned());
        }
    }

    fn join(&self, name: &str) -> String {
        join(&self.path, name)
    }

    fn join_generic(&self, name: &str) -> String {
        join(&self.generic, name)
    }
}

fn join(path: &str, name: &str) -> String {
    let name = plain(name);
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

/// The known key that is most like `name`, if one is like it at all.
fn nearest<'k>(name: &str, known: &'k [String]) -> Option<&'k str> {
    let name: String = name.chars().take(80).collect();
    let distance = |key: &str| strsim::damerau_levenshtein(&name, key);
    let best = known.iter().min_by_key(|key| distance(key))?;
    let allowed = best.chars().count().div_ceil(3).max(1);
    (distance(best) <= allowed).then_some(best.as_str())
}
