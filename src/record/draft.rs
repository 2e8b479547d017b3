//! What a producer hands to the store: a record without its place and its signature.

use std::fmt;
use std::sync::Arc;

use super::about::About;
use super::{Kind, MAX_ARTEFACT, MAX_ARTEFACTS, MAX_SUBJECTS, body};
use crate::contract::Json;
use crate::digest::Digest;
use crate::timestamp::Timestamp;

/// The most octets of a subject's name or of a media type.
const MAX_NAME: usize = 256;

/// The most objects and lists inside each other in a body: a statement puts two around it.
const MAX_DEPTH: usize = Json::MAX_DEPTH - 2;

/// A record to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Its kind.
    pub kind: Kind,
    /// When what it says happened. The store moves it forward where the record before is later.
    pub time: Timestamp,
    /// What the statement is about, by digest: 1 to [`MAX_SUBJECTS`].
    pub subjects: Vec<Subject>,
    /// The fields by which it is found.
    pub about: About,
    /// What it says, as the schema of its kind has it. An object.
    pub body: Json,
    /// What it names by digest and has to be kept with it; at most [`MAX_ARTEFACTS`].
    pub artefacts: Vec<Artefact>,
}

/// A thing that a statement is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// What it is: `certificate`, `contract`, `call`, `mutation`, ...
    pub name: String,
    /// The digest of its octets.
    pub digest: Digest,
}

/// Octets that are kept beside the log, under their digest. Cheap to clone, and hashed once.
#[derive(Clone, PartialEq, Eq)]
pub struct Artefact {
    media_type: String,
    digest: Digest,
    octets: Arc<[u8]>,
}

/// How a statement names an artefact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtefactRef {
    /// The digest of its octets.
    pub digest: Digest,
    /// What the octets are.
    pub media_type: String,
    /// How many octets there are.
    pub size: u32,
}

/// A draft cannot become a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDraft {
    /// No subject or too many.
    #[error("{0} subjects; 1 to {MAX_SUBJECTS} are allowed")]
    Subjects(usize),
    /// Too many artefacts.
    #[error("{0} artefacts; at most {MAX_ARTEFACTS} are allowed")]
    Artefacts(usize),
    /// The artefact is too large.
    #[error("an artefact of {0} octets; at most {MAX_ARTEFACT} are allowed")]
    ArtefactSize(usize),
    /// A name, a media type or an indexed field is empty or too long.
    #[error("`{0}` is empty or too long")]
    Name(&'static str),
    /// The facts name an artefact that is not there.
    #[error("an artefact that the facts name is missing")]
    Missing,
    /// The body is no object.
    #[error("the body is no object")]
    NoObject,
    /// The body is not of the schema of the kind, or contradicts the fields by which the record is found.
    #[error("the body is not that of its kind: {0}")]
    Body(String),
    /// The body is nested too deeply.
    #[error("the body is nested more than {MAX_DEPTH} deep: keep it as an artefact")]
    Depth,
}

impl Subject {
    /// The subject `name` with this digest.
    pub fn new(name: &str, digest: Digest) -> Self {
        Self { name: name.to_owned(), digest }
    }
}

impl Artefact {
    /// Octets of this media type.
    ///
    /// # Errors
    /// More than [`MAX_ARTEFACT`] octets, or a media type that is empty or longer than 256 octets.
    pub fn new(media_type: &str, octets: impl Into<Arc<[u8]>>) -> Result<Self, InvalidDraft> {
        let octets = octets.into();
        if octets.len() > MAX_ARTEFACT {
            return Err(InvalidDraft::ArtefactSize(octets.len()));
        }
        if !is_name(media_type) {
            return Err(InvalidDraft::Name("media_type"));
        }
        Ok(Self { media_type: media_type.to_owned(), digest: Digest::of(&octets), octets })
    }

    /// What the octets are.
    pub fn media_type(&self) -> &str {
        &self.media_type
    }

    /// The digest of the octets.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The octets.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// How a statement names it.
    pub fn reference(&self) -> ArtefactRef {
        // An artefact has at most 2^23 octets.
        let size = u32::try_from(self.octets.len()).unwrap_or(u32::MAX);
        ArtefactRef { digest: self.digest, media_type: self.media_type.clone(), size }
    }
}

/// Without the octets, which can be large, and are somebody's configuration.
impl fmt::Debug for Artefact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Artefact({}, {}, {} octets)", self.media_type, self.digest, self.octets.len())
    }
}

impl Draft {
    /// Whether it can become a record, but for the size of the envelope.
    ///
    /// # Errors
    /// See [`InvalidDraft`].
    pub fn check(&self) -> Result<(), InvalidDraft> {
        if !(1..=MAX_SUBJECTS).contains(&self.subjects.len()) {
            return Err(InvalidDraft::Subjects(self.subjects.len()));
        }
        if !self.subjects.iter().all(|subject| is_name(&subject.name)) {
            return Err(InvalidDraft::Name("subject"));
        }
        if !self.about.is_bounded() {
            return Err(InvalidDraft::Name("resource"));
        }
        if self.artefacts.len() > MAX_ARTEFACTS {
            return Err(InvalidDraft::Artefacts(self.artefacts.len()));
        }
        if !matches!(self.body, Json::Object(_)) {
            return Err(InvalidDraft::NoObject);
        }
        if is_deeper(&self.body, MAX_DEPTH) {
            return Err(InvalidDraft::Depth);
        }
        body::check(self.kind, &self.about, &self.body).map_err(InvalidDraft::Body)
    }
}

pub(super) fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len())
}

/// Whether more than `depth` objects and lists stand inside each other.
pub(super) fn is_deeper(json: &Json, depth: usize) -> bool {
    match json {
        Json::Array(values) => depth == 0 || values.iter().any(|value| is_deeper(value, depth - 1)),
        Json::Object(object) => depth == 0 || object.iter().any(|(_, value)| is_deeper(value, depth - 1)),
        _ => false,
    }
}
