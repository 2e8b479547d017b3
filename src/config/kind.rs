//! What a value may be.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::de::DeserializeOwned;
use spiffe::{SpiffeId, TrustDomain};
use toml::Spanned;
use toml::de::{DeValue, ValueDeserializer};

use super::Files;
use crate::spiffe_id;

/// What a value may be: how it is read, and how it is described.
pub trait Kind {
    /// What it becomes.
    type Value;

    /// What is expected, as a part of a sentence: "a duration, such as `30s`".
    fn expects(&self) -> String;

    /// Reads a value. What is wrong with it goes to `faults`; then the answer is `None`.
    fn read(&self, given: &Given<'_>, faults: &mut Faults) -> Option<Self::Value>;
}

/// A value of the file, and what it is read with.
pub struct Given<'a> {
    value: &'a DeValue<'a>,
    span: Range<usize>,
    folder: &'a Path,
    files: Files,
}

/// What is wrong with one value.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

#[derive(Debug)]
pub(super) struct Fault {
    pub(super) span: Range<usize>,
    pub(super) suffix: String,
    pub(super) what: String,
    pub(super) hint: Option<String>,
}

impl<'a> Given<'a> {
    pub(super) const fn new(value: &'a DeValue<'a>, span: Range<usize>, folder: &'a Path, files: Files) -> Self {
        Self { value, span, folder, files }
    }

    /// The text, if the value is one.
    pub fn text(&self) -> Option<&str> {
        self.value.as_str()
    }

    /// The integer, if the value is one in 64 bits.
    pub fn integer(&self) -> Option<i64> {
        let integer = self.value.as_integer()?;
        i64::from_str_radix(integer.as_str(), integer.radix()).ok()
    }

    /// What kind of value it is, in words; never the value.
    fn name(&self) -> &'static str {
        match self.value {
            DeValue::String(_) => "another text",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        }
    }
}

impl Faults {
    /// Notes that the value is not what its kind expects. Gives `None`, to be returned.
    pub fn unexpected<T>(&mut self, given: &Given<'_>, expects: impl Display) -> Option<T> {
        self.found(given, expects, given.name())
    }

    /// The same, with what was found in place of it. It must be nothing that could be a secret.
    pub fn found<T>(&mut self, given: &Given<'_>, expects: impl Display, found: impl Display) -> Option<T> {
        self.add(given, format!("expected {expects}; found {found}"), None)
    }

    /// Notes anything else that is wrong with it. Gives `None`, to be returned.
    pub fn add<T>(&mut self, given: &Given<'_>, what: impl Into<String>, hint: Option<String>) -> Option<T> {
        self.0.push(Fault { span: given.span.clone(), suffix: String::new(), what: what.into(), hint });
        None
    }

    /// Whether nothing is wrong so far.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_inner(self) -> Vec<Fault> {
        self.0
    }
}

/// `true` or `false`.
#[derive(Debug, Clone, Copy)]
pub struct Boolean;

impl Kind for Boolean {
    type Value = bool;

    fn expects(&self) -> String {
        "`true` or `false`".to_owned()
    }

    fn read(&self, given: &Given<'_>, faults: &mut Faults) -> Option<bool> {
        given.value.as_bool().or_else(|| faults.unexpected(given, self.expects()))
    }
}

/// An integer within bounds, both included.
#[derive(Debug, Clone)]
pub struct Integer(pub RangeInclusive<u32>);

impl Kind for Integer {
    type Value = u32;

    fn expects(&self) -> String {
        format!("an integer from {} to {}", self.0.start(), self.0.end())
    }

    fn read(&self, given: &Given<'_>, faults: &mut Faults) -> Option<u32> {
        let Some(integer) = given.integer() else { return faults.unexpected(given, self.expects()) };
        match u32::try_from(integer).ok().filter(|integer| self.0.contains(integer)) {
            Some(integer) => Some(integer),
            None => faults.found(given, self.expects(), integer),
        }
    }
}

/// A duration within bounds, both included: an integer and one of `ms`, `s`, `m`, `h`, `d`.
#[derive(Debug, Clone, Copy)]
pub struct DurationWithin {
    min: &'static str,
    max: &'static str,
}

/// A duration from `min` to `max`, both as they are written in a file.
pub const fn duration(min: &'static str, max: &'static str) -> DurationWithin {
    DurationWithin { min, max }
}

impl Kind for DurationWithin {
    type Value = Duration;

    fn expects(&self) -> String {
        format!("a duration, such as `250ms` or `30s`, from {} to {}", self.min, self.max)
    }

    fn read(&self, given: &Given<'_>, faults: &mut Faults) -> Option<Duration> {
        let Some((text, value)) = given.text().and_then(|text| Some((text, parse_duration(text)?))) else {
            return faults.unexpected(given, self.expects());
        };
        let within = parse_duration(self.min) <= Some(value) && Some(value) <= parse_duration(self.max);
        if within { Some(value) } else { faults.found(given, self.expects(), text) }
    }
}

/// Digits and a unit.
fn parse_duration(text: &str) -> Option<Duration> {
    let (count, unit) = count_and_unit(text)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    count.checked_mul(millis).map(Duration::from_millis)
}

/// Digits, at most 18 and without a leading zero, and what follows them.
fn count_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = text.split_at_checked(digits)?;
    let one_spelling = count == "0" || !count.starts_with('0');
    (digits <= 18 && one_spelling).then_some((count.parse().ok()?, unit))
}

/// A number of octets within bounds, both included: an integer and one of `B`, `KiB`, `MiB`, `GiB`.
#[derive(Debug, Clone, Copy)]
pub struct Octets {
    min: &'static str,
    max: &'static str,
}

/// A number of octets from `min` to `max`, both as they are written in a file.
pub const fn octets(min: &'static str, max: &'static str) -> Octets {
    Octets { min, max }
}

impl Kind for Octets {
    type Value = usize;

    fn expects(&self) -> String {
        format!("a size, such as `64KiB` or `8MiB`, from {} to {}", self.min, self.max)
    }

    fn read(&self, given: &Given<'_>, faults: &mut Faults) -> Option<usize> {
        let Some((text, value)) = given.text().and_then(|text| Some((text, parse_octets(text)?))) else {
            return faults.unexpected(given, self.expects());
        };
        let within = parse_octets(self.min) <= Some(value) && Some(value) <= parse_octets(self.max);
        let size = usize::try_from(value).ok().filter(|_| within);
        if size.is_some() { size } else { faults.found(given, self.expects(), text) }
    }
}

fn parse_octets(text: &str) -> Option<u64> {
    let (count, unit) = count_and_unit(text)?;
    let factor = match unit {
        "B" => 1,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        "GiB" => 1024 * 1024 * 1024,
        _ => return None,
    };
    count.checked_mul(factor)
}

/// An address and port to listen on.
#[derive(Debug, Clone, Copy)]
pub struct SocketAddress;

impl Kind for SocketAddress {
    type Value = SocketAddr;

    fn expects(&self) -> String {
        "an address and port, such as `127.0.0.1:8443`".to_owned()
    }

    fn read(&self, given: &Given<'_>, faults: &mut Faults) -> Option<SocketAddr> {
        let address = given.text().and_then(|text| text.parse().ok());
        address.or_else(|| faults.unexpected(given, self.expects()))
    }
}

/// A host and a port to connect to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort(String);

/// The text is not a host and a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a host and a port, such as `sab.example.org:8443` or `[::1]:8443`")]
pub struct InvalidHostPort;

impl HostPort {
    /// The text, `host:port`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Display for HostPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for HostPort {
    type Err = InvalidHostPort;

    fn from_str(text: &str) -> Result<Self, InvalidHostPort> {
        let (host, port) = text.rsplit_once(':').ok_or(InvalidHostPort)?;
        let name = |host: &str| host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
        let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host_is_good = match literal {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => (1..=253).contains(&host.len()) && name(host),
        };
        let port_is_good = port.parse::<u16>().is_ok_and(|number| number > 0 && number.to_string() == port);
        if host_is_good && port_is_good { Ok(Self(text.to_owned())) } else { Err(InvalidHostPort) }
    }
}

/// A text that a type reads.
#[derive(Debug, Clone, Copy)]
pub struct Text<T>(&'static str, std::marker::PhantomData<fn() -> T>);

/// A text that `T` reads; `expects` says what that is, as a part of a sentence.
pub const fn text<T: FromStr>(expects: &'static str) -> Text<T> {
    Text(expects, std::marker::PhantomData)
}

/// A host and a port to connect to.
pub const fn host_port() -> Text<HostPort> {
    text("a host and a port, such as `sab.example.org:8443`")
}

/// A trust domain.
pub const fn trust_domain() -> Text<TrustDomain> {
    text("a trust domain, such as `example.org`")
}

impl<T: FromStr> Kind for Text<T> {
    type Value = T;

    fn expects(&self) -> String {
        self.0.to_owned()
    }

    fn read(&self, given: &Given<'_>, faults: &mut Faults) -> Option<T> {
        given.text().and_then(|text| text.parse().ok()).or_else(|| faults.unexpected(given, self.0))
    }
}

/// A SPIFFE ID in its normal form.
#[derive(Debug, Clone, Copy)]
pub struct Id;

impl Kind for Id {
    type Value = SpiffeId;

    fn expects(&self) -> String {
        "a SPIFFE ID in its normal form, such as `spiffe://example.org/agent/a`".to_owned()
    }

    fn read(&self, given: &Given<'_>, faults: &mut Faults) -> Option<SpiffeId> {
        given.text().and_then(spiffe_id::exact).or_else(|| faults.unexpected(given, self.expects()))
    }
}

/// One of a closed list of words.
#[derive(Debug, Clone, Copy)]
pub struct OneOf<T: 'static>(pub &'static [(&'static str, T)]);

impl<T: Clone> Kind for OneOf<T> {
    type Value = T;

    fn expects(&self) -> String {
        let words: Vec<_> = self.0.iter().map(|(word, _)| format!("`{word}`")).collect();
        match words.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            _ => words.concat(),
        }
    }

    fn read(&self, given: &Given<'_>, faults: &mut Faults) -> Option<T> {
        let found = given.text().and_then(|text| self.0.iter().find(|(word, _)| *word == text));
        found.map(|(_, value)| value.clone()).or_else(|| faults.unexpected(given, self.expects()))
    }
}

/// A path, relative to the folder of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathTo {
    /// A file that has to be there.
    File,
    /// A folder that has to be there.
    Folder,
    /// A file that need not be there, in a folder that has to be.
    NewFile,
    /// A database, which is made with its folder; the folder above that has to be there.
    Database,
}

impl Kind for PathTo {
    type Value = PathBuf;

    fn expects(&self) -> String {
        match self {
            Self::File => "the path of a file",
            Self::Folder => "the path of a folder",
            Self::NewFile => "the path of a file, in a folder that exists",
            Self::Database => "the path of a file, in a folder that exists or can be made in one that does",
        }
        .to_owned()
    }

    fn read(&self, given: &Given<'_>, faults: &mut Faults) -> Option<PathBuf> {
        let Some(text) = given.text().filter(|text| !text.is_empty() && !text.contains('\0')) else {
            return faults.unexpected(given, self.expects());
        };
        let path = given.folder.join(text);
        let there = match self {
            Self::File => path.is_file(),
            Self::Folder => path.is_dir(),
            Self::NewFile => !path.is_dir() && is_folder(path.parent()),
            Self::Database => {
                let above = path.parent().and_then(Path::parent);
                !path.is_dir() && (is_folder(path.parent()) || is_folder(above))
            }
        };
        if there || given.files == Files::Ignore {
            return Some(path);
        }
        let what = match self {
            Self::File => "there is no such file",
            Self::Folder => "there is no such folder",
            Self::NewFile => "its folder does not exist, or it is a folder itself",
            Self::Database => "neither its folder exists nor the one above, or it is a folder itself",
        };
        faults.add(given, what, Some("paths are relative to the folder of the configuration".to_owned()))
    }
}

fn is_folder(path: Option<&Path>) -> bool {
    path.is_some_and(|path| path == Path::new("") || path.is_dir())
}

/// A list of at most so many values of one kind, none of them twice.
#[derive(Debug, Clone, Copy)]
pub struct ListOf<K>(pub K, pub usize);

impl<K: Kind<Value: PartialEq>> Kind for ListOf<K> {
    type Value = Vec<K::Value>;

    fn expects(&self) -> String {
        format!("a list of at most {}, each {}", self.1, self.0.expects())
    }

    fn read(&self, given: &Given<'_>, faults: &mut Faults) -> Option<Vec<K::Value>> {
        let Some(elements) = given.value.as_array() else { return faults.unexpected(given, self.expects()) };
        if elements.len() > self.1 {
            return faults.found(given, self.expects(), format_args!("{} elements", elements.len()));
        }
        let mut values = Vec::new();
        let before = faults.0.len();
        for (index, element) in elements.iter().enumerate() {
            let given = Given::new(element.get_ref(), element.span(), given.folder, given.files);
            let mut inner = Faults::default();
            match self.0.read(&given, &mut inner) {
                Some(value) if values.contains(&value) => inner.add(&given, "is in the list already", None),
                value => value.map(|value| values.push(value)),
            };
            faults.0.extend(inner.0.into_iter().map(|fault| {
                let suffix = format!("[{index}]{}", fault.suffix);
                Fault { suffix, ..fault }
            }));
        }
        (faults.0.len() == before).then_some(values)
    }
}

/// Anything that `T` deserializes from. Of what is wrong inside, only the first is told.
#[derive(Debug, Clone, Copy)]
pub struct Deserialized<T>(&'static str, std::marker::PhantomData<fn() -> T>);

/// Anything that `T` deserializes from; `expects` says what that is, as a part of a sentence.
pub const fn deserialized<T: DeserializeOwned>(expects: &'static str) -> Deserialized<T> {
    Deserialized(expects, std::marker::PhantomData)
}

impl<T: DeserializeOwned> Kind for Deserialized<T> {
    type Value = T;

    fn expects(&self) -> String {
        self.0.to_owned()
    }

    fn read(&self, given: &Given<'_>, faults: &mut Faults) -> Option<T> {
        let value = Spanned::new(given.span.clone(), given.value.clone());
        match T::deserialize(ValueDeserializer::from(value)) {
            Ok(value) => Some(value),
            Err(error) => {
                let span = error.span().unwrap_or_else(|| given.span.clone());
                let what = format!("expected {}: {}", self.0, without_values(error.message()));
                faults.0.push(Fault { span, suffix: String::new(), what, hint: None });
                None
            }
        }
    }
}

/// A message without what it repeats of the file's values: the names of keys, and what was expected.
fn without_values(message: &str) -> &str {
    let of_keys = ["unknown field", "missing field", "duplicate field"];
    if of_keys.iter().any(|start| message.starts_with(start)) {
        return message;
    }
    message.rfind("expected ").and_then(|at| message.get(at..)).unwrap_or("a value in it does not fit")
}
