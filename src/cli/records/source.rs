//! Where records are read from: a store, or a file that `seb records export` wrote.
//!
//! The file has one JSON object on each line: `{"number":..,"envelope":".."}` for a record, whose envelope is the exact
//! text, and before it `{"artefact":{"digest":..,"media_type":..,"content":".."}}` for each artefact that it is the first
//! to name. Its order is its own: whoever verifies it takes the lines as they come.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use base64ct::{Base64, Encoding};
use serde::Deserialize;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::digest::Digest;
use crate::record::{Artefact, MAX_ARTEFACT, Statement};
use crate::store::sqlite::Reader;
use crate::store::{MAX_PAGE, Query, Record};

/// The most octets of a line: an artefact in base64, and what stands around it.
const MAX_LINE: u64 = MAX_ARTEFACT as u64 / 3 * 4 + 4096;

/// Where records are read from.
pub(super) enum Source {
    Store(Runtime, Reader),
    File(Box<Exported>),
}

/// A file of records: where each line is.
pub(super) struct Exported {
    path: PathBuf,
    file: BufReader<File>,
    /// In the order of the file.
    records: Vec<(u64, Place)>,
    artefacts: BTreeMap<Digest, Place>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    offset: u64,
    line: u64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Record(RecordLine),
    Artefact(ArtefactLine),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordLine {
    number: u64,
    envelope: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ArtefactLine {
    artefact: ArtefactFields,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ArtefactFields {
    digest: Digest,
    media_type: String,
    content: String,
}

impl Source {
    pub(super) fn store(path: &Path) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let reader = runtime.block_on(Reader::open(path))?;
        Ok(Self::Store(runtime, reader))
    }

    pub(super) fn file(path: &Path) -> anyhow::Result<Self> {
        let exported = Exported::open(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        Ok(Self::File(Box::new(exported)))
    }

    /// One record, by the number under which it is stored.
    pub(super) fn record(&mut self, number: u64) -> anyhow::Result<Option<Record>> {
        match self {
            Self::Store(runtime, reader) => Ok(runtime.block_on(reader.record(number))?),
            Self::File(exported) => {
                let found = exported.records.iter().find(|(found, _)| *found == number).copied();
                found.map(|(_, place)| exported.record(place)).transpose()
            }
        }
    }

    /// One artefact; its octets have this digest.
    pub(super) fn artefact(&mut self, digest: &Digest) -> anyhow::Result<Option<Artefact>> {
        match self {
            Self::Store(runtime, reader) => Ok(runtime.block_on(reader.artefact(*digest))?),
            Self::File(exported) => exported.artefact(digest),
        }
    }

    /// Records that match, at most `query.limit` of them.
    pub(super) fn records(&mut self, query: Query) -> anyhow::Result<Vec<Record>> {
        match self {
            Self::Store(runtime, reader) => Ok(runtime.block_on(reader.records(query))?),
            Self::File(exported) => exported.matching(&query),
        }
    }

    /// Hands every record to `each`, in the order in which they are stored, until it says that it has enough.
    pub(super) fn for_each(
        &mut self,
        mut each: impl FnMut(&mut Self, Record) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let mut at = 0_usize;
        let mut after = 0;
        loop {
            let page = match self {
                Self::Store(runtime, reader) => {
                    let query = Query { after, limit: MAX_PAGE, ..Query::default() };
                    runtime.block_on(reader.records(query))?
                }
                Self::File(exported) => match exported.records.get(at).copied() {
                    Some((_, place)) => vec![exported.record(place)?],
                    None => Vec::new(),
                },
            };
            let Some(last) = page.last() else { return Ok(()) };
            (after, at) = (last.number, at + 1);
            for record in page {
                if !each(self, record)? {
                    return Ok(());
                }
            }
        }
    }
}

impl Exported {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let file = BufReader::new(File::open(path)?);
        let mut exported = Self { path: path.to_owned(), file, records: Vec::new(), artefacts: BTreeMap::new() };
        let mut place = Place { offset: 0, line: 1 };
        loop {
            let text = exported.line(place)?;
            if text.is_empty() {
                return Ok(exported);
            }
            match exported.parse(&text, place)? {
                Line::Record(record) => exported.records.push((record.number, place)),
                Line::Artefact(ArtefactLine { artefact }) => drop(exported.artefacts.insert(artefact.digest, place)),
            }
            place.offset += u64::try_from(text.len())?;
            place.line += 1;
        }
    }

    /// The line at `place`, empty at the end of the file.
    fn line(&mut self, place: Place) -> anyhow::Result<Vec<u8>> {
        let here = i64::try_from(self.file.stream_position()?)?;
        self.file.seek_relative(i64::try_from(place.offset)? - here)?;
        let mut text = Vec::new();
        (&mut self.file).take(MAX_LINE).read_until(b'\n', &mut text)?;
        if u64::try_from(text.len())? == MAX_LINE {
            bail!("line {} of `{}` is longer than {MAX_LINE} octets", place.line, self.path.display());
        }
        Ok(text)
    }

    fn parse(&self, text: &[u8], place: Place) -> anyhow::Result<Line> {
        serde_json::from_slice(text).with_context(|| {
            format!("line {} of `{}` is not one of an export of records", place.line, self.path.display())
        })
    }

    fn record(&mut self, place: Place) -> anyhow::Result<Record> {
        let text = self.line(place)?;
        match self.parse(&text, place)? {
            Line::Record(RecordLine { number, envelope }) => {
                Ok(Record { number, digest: Digest::of(envelope.as_bytes()), envelope: envelope.into_bytes() })
            }
            Line::Artefact(_) => bail!("`{}` was changed while it was read", self.path.display()),
        }
    }

    fn artefact(&mut self, digest: &Digest) -> anyhow::Result<Option<Artefact>> {
        let Some(place) = self.artefacts.get(digest).copied() else { return Ok(None) };
        let text = self.line(place)?;
        let Line::Artefact(ArtefactLine { artefact }) = self.parse(&text, place)? else {
            bail!("`{}` was changed while it was read", self.path.display())
        };
        let content = Base64::decode_vec(&artefact.content)
            .with_context(|| format!("line {} of `{}`: not base64", place.line, self.path.display()))?;
        let found = Artefact::new(&artefact.media_type, content)?;
        if found.digest() != *digest {
            bail!("line {} of `{}`: the octets of {digest} have another digest", place.line, self.path.display());
        }
        Ok(Some(found))
    }

    fn matching(&mut self, query: &Query) -> anyhow::Result<Vec<Record>> {
        let mut found = Vec::new();
        for (number, place) in self.records.clone() {
            if number <= query.after {
                continue;
            }
            if found.len() >= usize::try_from(query.limit)? {
                break;
            }
            let record = self.record(place)?;
            // What cannot be read matches nothing; verifying says why.
            if Statement::from_envelope(&record.envelope).is_ok_and(|statement| query.filter.matches(&statement)) {
                found.push(record);
            }
        }
        Ok(found)
    }
}

/// Writes a record as a line of an export.
pub(super) fn write_record(out: &mut impl Write, record: &Record) -> anyhow::Result<()> {
    let envelope = std::str::from_utf8(&record.envelope).context("an envelope is not UTF-8")?;
    Ok(writeln!(out, "{}", json!({ "number": record.number, "envelope": envelope }))?)
}

/// Writes an artefact as a line of an export.
pub(super) fn write_artefact(out: &mut impl Write, artefact: &Artefact) -> anyhow::Result<()> {
    let fields = json!({
        "digest": artefact.digest(),
        "media_type": artefact.media_type(),
        "content": Base64::encode_string(artefact.octets()),
    });
    Ok(writeln!(out, "{}", json!({ "artefact": fields }))?)
}
