//! The in-toto statement that an envelope carries.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::about::{self, About};
use super::draft::is_name;
use super::dsse::Envelope;
use super::key::{PublicKey, hex};
use super::{
    ArtefactRef, InvalidEnvelope, Kind, MAX_ARTEFACT, MAX_ARTEFACTS, MAX_ENVELOPE, MAX_NUMBER, MAX_SUBJECTS, Subject,
};
use crate::contract::{Json, Number, decode};
use crate::digest::Digest;
use crate::timestamp::Timestamp;

const TYPE: &str = "https://in-toto.io/Statement/v1";

/// A record's place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Its number, from 1.
    pub number: u64,
    /// The digest of the envelope before it; of the first record: [`beginning`].
    pub previous: Digest,
}

/// What the first record names as the digest before it: the SHA-256 of the text `seb.dev/record/log/v1`.
pub fn beginning() -> Digest {
    Digest::of(b"seb.dev/record/log/v1")
}

/// What a record says. Whether it is true to its signature and its place, a [`super::Verifier`] knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Its kind.
    pub kind: Kind,
    /// Its place in the log.
    pub link: Link,
    /// Its time: never before that of the record before.
    pub time: Timestamp,
    /// What it is about, by digest.
    pub subjects: Vec<Subject>,
    /// The fields by which it is found.
    pub about: About,
    /// The artefacts that are kept with it.
    pub artefacts: Vec<ArtefactRef>,
    /// The body, an object as the schema of the kind has it.
    pub body: Json,
}

/// The payload is not a statement of a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStatement {
    /// The envelope is none.
    #[error("not a record's envelope")]
    Envelope(#[source] InvalidEnvelope),
    /// Not JSON, or not of the form of a statement.
    #[error("not a record's statement: {0}")]
    Form(String),
    /// Another text of the same statement.
    #[error("the statement is not in its canonical form (RFC 8785)")]
    NotCanonical,
    /// It is not signed with the key of the log.
    #[error("the signature is not by the key of the log")]
    Signature,
    /// The predicate is none of this program.
    #[error("the predicate type `{0}` is unknown: it may need a newer `seb`")]
    PredicateType(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<WireSubject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: WirePredicate,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSubject {
    name: String,
    digest: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WirePredicate {
    log: WireLog,
    about: about::Wire,
    artefacts: Vec<WireArtefact>,
    body: Verbatim,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireLog {
    number: u64,
    previous: Digest,
    time: Timestamp,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireArtefact {
    digest: Digest,
    media_type: String,
    size: u32,
}

/// A value that is taken from the parsed text as it is, and only looked at here.
struct Verbatim;

impl<'de> Deserialize<'de> for Verbatim {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

impl Statement {
    /// The canonical text.
    pub(super) fn render(
        kind: Kind,
        link: &Link,
        time: Timestamp,
        subjects: &[Subject],
        about: &About,
        artefacts: &[ArtefactRef],
        body: Json,
    ) -> String {
        let log = Json::object([
            ("number", number(link.number)),
            ("previous", Json::string(link.previous)),
            ("time", Json::string(time)),
        ]);
        let predicate = Json::object([
            ("log", log),
            ("about", about.to_json()),
            ("artefacts", artefacts.iter().map(ArtefactRef::to_json).collect()),
            ("body", body),
        ]);
        let statement = Json::object([
            ("_type", Json::from(TYPE)),
            ("subject", subjects.iter().map(Subject::to_json).collect()),
            ("predicateType", Json::from(kind.predicate_type())),
            ("predicate", predicate),
        ]);
        statement.to_canonical()
    }

    /// Reads the statement of a record from its envelope, without verifying the signature or the place.
    ///
    /// # Errors
    /// See [`InvalidStatement`].
    pub fn from_envelope(envelope: &[u8]) -> Result<Self, InvalidStatement> {
        Self::parse(&Envelope::parse(envelope).map_err(InvalidStatement::Envelope)?.payload)
    }

    /// Reads the canonical form, and no other.
    ///
    /// # Errors
    /// See [`InvalidStatement`].
    pub fn parse(payload: &[u8]) -> Result<Self, InvalidStatement> {
        let form = |text: String| InvalidStatement::Form(text);
        let json = Json::parse_within(payload, MAX_ENVELOPE).map_err(|error| form(error.to_string()))?;
        let wire: Wire = decode(&json).map_err(|(place, error)| form(format!("`{place}`: {error}")))?;
        if wire.kind != TYPE {
            return Err(form(format!("`_type` is not `{TYPE}`")));
        }
        let unknown = || InvalidStatement::PredicateType(wire.predicate_type.chars().take(80).collect());
        let kind = Kind::from_predicate_type(&wire.predicate_type).ok_or_else(unknown)?;
        if json.to_canonical().as_bytes() != payload {
            return Err(InvalidStatement::NotCanonical);
        }
        let body = json.get("predicate").and_then(|predicate| predicate.get("body")).cloned();
        let body = body.filter(|body| matches!(body, Json::Object(_)));
        let body = body.ok_or_else(|| form("`/predicate/body`: no object".to_owned()))?;
        let WirePredicate { log, about, artefacts, body: Verbatim } = wire.predicate;
        if !(1..=MAX_NUMBER).contains(&log.number) {
            return Err(form("`/predicate/log/number`: not a number of a record".to_owned()));
        }
        let about = About::from(about);
        if !about.is_bounded() {
            return Err(form("`/predicate/about/resource`: too long".to_owned()));
        }
        Ok(Self {
            kind,
            link: Link { number: log.number, previous: log.previous },
            time: log.time,
            subjects: subjects(wire.subject).map_err(form)?,
            about,
            artefacts: references(artefacts).map_err(form)?,
            body,
        })
    }
}

/// Reads the statement of a record from its envelope, once the signature over these very octets is known to be `key`'s.
///
/// # Errors
/// See [`InvalidStatement`].
pub fn verify_signature(envelope: &[u8], key: &PublicKey) -> Result<Statement, InvalidStatement> {
    let envelope = Envelope::parse(envelope).map_err(InvalidStatement::Envelope)?;
    if !envelope.is_signed_by(key) {
        return Err(InvalidStatement::Signature);
    }
    Statement::parse(&envelope.payload)
}

fn subjects(wire: Vec<WireSubject>) -> Result<Vec<Subject>, String> {
    if !(1..=MAX_SUBJECTS).contains(&wire.len()) {
        return Err(format!("`/subject`: {} subjects; 1 to {MAX_SUBJECTS} are allowed", wire.len()));
    }
    let subject = |wire: WireSubject| {
        let digest = match wire.digest.iter().next() {
            Some((name, hex)) if name == "sha256" && wire.digest.len() == 1 => format!("sha256:{hex}").parse().ok(),
            _ => None,
        };
        let digest = digest.ok_or("`/subject`: a digest is not one SHA-256")?;
        if is_name(&wire.name) { Ok(Subject { name: wire.name, digest }) } else { Err("`/subject`: no name") }
    };
    wire.into_iter().map(|wire| subject(wire).map_err(str::to_owned)).collect()
}

fn references(wire: Vec<WireArtefact>) -> Result<Vec<ArtefactRef>, String> {
    if wire.len() > MAX_ARTEFACTS {
        return Err(format!("`/predicate/artefacts`: {} artefacts; at most {MAX_ARTEFACTS} are allowed", wire.len()));
    }
    let reference = |wire: WireArtefact| {
        let fits = usize::try_from(wire.size).is_ok_and(|size| size <= MAX_ARTEFACT) && is_name(&wire.media_type);
        fits.then_some(ArtefactRef { digest: wire.digest, media_type: wire.media_type, size: wire.size })
    };
    let references: Option<Vec<_>> = wire.into_iter().map(reference).collect();
    references.ok_or_else(|| "`/predicate/artefacts`: a size or a media type is out of bounds".to_owned())
}

impl Subject {
    fn to_json(&self) -> Json {
        Json::object([
            ("name", Json::from(self.name.as_str())),
            ("digest", Json::object([("sha256", Json::from(hex(&self.digest)))])),
        ])
    }
}

impl ArtefactRef {
    fn to_json(&self) -> Json {
        Json::object([
            ("digest", Json::string(self.digest)),
            ("media_type", Json::from(self.media_type.as_str())),
            ("size", Json::from(self.size)),
        ])
    }
}

/// A number up to [`MAX_NUMBER`], which JSON holds exactly; what is larger is written as the largest.
pub(super) fn number(value: u64) -> Json {
    let value = i64::try_from(value.min(MAX_NUMBER)).unwrap_or(i64::MAX);
    Number::from_integer(value).map_or(Json::Null, Json::from)
}
