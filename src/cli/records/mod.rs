//! `seb records` and `sab records`: look at the log of a broker or an authority, verify it, and derive its decisions again.

mod audit;
mod source;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use spiffe::SpiffeId;

use super::{BAD, Exit, FAINT, Format, GOOD, Table};
use crate::contract::TargetName;
use crate::decision::MutationId;
use crate::digest::Digest;
use crate::execution::State;
use crate::reason::Reason;
use crate::record::{Decided, Genesis, Kind, Statement, verify_signature};
use crate::store::{Filter, MAX_PAGE, Query, Record};
use crate::telemetry::Causes;
use crate::timestamp::Timestamp;
use source::{Source, write_artefact, write_record};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List records, oldest first
    List(Box<List>),
    /// Print one record
    Show(Show),
    /// Verify the log from its first record: signatures, links, order, and what was kept of it
    Verify(audit::Verify),
    /// Verify the log, and derive every decision of it again from the records alone
    Replay(audit::Replay),
    /// Write an artefact that a record names to standard output
    Artefact(ArtefactOf),
    /// Write the log and its artefacts as lines of JSON, which every other command reads
    Export(Export),
}

/// Where the records are.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct From {
    /// The store of a broker, or the records of an authority; it can be in use
    #[arg(long, value_name = "PATH")]
    store: Option<PathBuf>,
    /// A file that `seb records export` wrote
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    from: From,
    /// Only after this number
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    after: u64,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_PAGE)))]
    limit: u32,
    /// Not before
    #[arg(long, value_name = "RFC3339")]
    since: Option<Timestamp>,
    /// Not after
    #[arg(long, value_name = "RFC3339")]
    until: Option<Timestamp>,
    /// Only of this kind: genesis, decision, outcome, epoch, boundary or admission
    #[arg(long, value_name = "KIND")]
    kind: Option<Kind>,
    /// Only about this agent
    #[arg(long, value_name = "SPIFFE_ID", value_parser = super::certificate::spiffe_id)]
    agent: Option<SpiffeId>,
    /// Only about certificates of this authority
    #[arg(long, value_name = "SPIFFE_ID", value_parser = super::certificate::spiffe_id)]
    authority: Option<SpiffeId>,
    /// Only about this target
    #[arg(long, value_name = "NAME", value_parser = target)]
    target: Option<TargetName>,
    /// Only about this resource
    #[arg(long, value_name = "PATH")]
    resource: Option<String>,
    /// Only about this certificate
    #[arg(long, value_name = "sha256:HEX")]
    certificate: Option<Digest>,
    /// Only about this mutation
    #[arg(long, value_name = "ID")]
    mutation: Option<MutationId>,
    /// Only decisions that say so: allow or deny
    #[arg(long, value_name = "DECISION", value_parser = decided)]
    decision: Option<Decided>,
    /// Only outcomes of this state, such as succeeded
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Option<State>,
    /// Only where this reason was the answer
    #[arg(long, value_name = "REASON")]
    reason: Option<Reason>,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The number of the record
    number: u64,
    #[command(flatten)]
    from: From,
}

#[derive(Debug, Args)]
pub(super) struct ArtefactOf {
    /// The digest of the artefact
    digest: Digest,
    #[command(flatten)]
    from: From,
}

#[derive(Debug, Args)]
pub(super) struct Export {
    #[command(flatten)]
    from: From,
    /// Leave the artefacts out: the log can be verified, and not replayed
    #[arg(long)]
    without_artefacts: bool,
}

fn target(text: &str) -> Result<TargetName, String> {
    TargetName::try_from(text.to_owned()).map_err(|error| error.to_string())
}

fn decided(text: &str) -> Result<Decided, String> {
    let all = [Decided::Allow, Decided::Deny];
    all.into_iter().find(|decided| decided.as_str() == text).ok_or_else(|| "expected `allow` or `deny`".to_owned())
}

fn state(text: &str) -> Result<State, String> {
    let names = || State::ALL.map(State::as_str).join(", ");
    State::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| format!("expected one of {}", names()))
}

impl Command {
    pub(super) fn run(self, format: Format, out: &mut impl Write) -> anyhow::Result<Exit> {
        match self {
            Self::List(command) => command.run(format, out),
            Self::Show(command) => command.run(format, out),
            Self::Verify(command) => command.run(format, out),
            Self::Replay(command) => command.run(format, out),
            Self::Artefact(command) => command.run(),
            Self::Export(command) => command.run(out),
        }
    }
}

impl From {
    fn open(&self) -> anyhow::Result<Source> {
        match (&self.store, &self.file) {
            (Some(path), _) => Source::store(path),
            (None, Some(path)) => Source::file(path),
            (None, None) => anyhow::bail!("say where the records are: `--store PATH` or `--file PATH`"),
        }
    }
}

impl List {
    fn run(self, format: Format, out: &mut impl Write) -> anyhow::Result<Exit> {
        let mut source = self.from.open()?;
        let filter = Filter {
            since: self.since,
            until: self.until,
            kind: self.kind,
            agent: self.agent,
            authority: self.authority,
            target: self.target,
            resource: self.resource,
            certificate: self.certificate,
            mutation_id: self.mutation,
            decision: self.decision,
            state: self.state,
            reason: self.reason,
        };
        let records = source.records(Query { filter, after: self.after, limit: self.limit })?;
        let full = records.len() >= usize::try_from(self.limit)?;
        let next = records.last().filter(|_| full).map(|record| record.number);
        match format {
            Format::Json => {
                let records: Vec<Value> = records.iter().map(brief).collect();
                writeln!(out, "{}", json!({ "records": records, "next_after": next }))?;
            }
            Format::Text => {
                print_rows(&records, out)?;
                if let Some(next) = next {
                    writeln!(out, "{FAINT}more: --after {next}{FAINT:#}")?;
                }
            }
        }
        Ok(Exit::Success)
    }
}

/// What a list says of a record, as JSON.
fn brief(record: &Record) -> Value {
    let mut value = json!({ "number": record.number, "digest": record.digest });
    let Value::Object(fields) = &mut value else { return value };
    match Statement::from_envelope(&record.envelope) {
        Ok(statement) => {
            fields.insert("kind".to_owned(), statement.kind.as_str().into());
            fields.insert("time".to_owned(), json!(statement.time));
            fields.insert("about".to_owned(), json!(statement.about.to_json()));
        }
        Err(error) => drop(fields.insert("error".to_owned(), Causes(&error).to_string().into())),
    }
    value
}

fn print_rows(records: &[Record], out: &mut impl Write) -> std::io::Result<()> {
    const HEADINGS: [&str; 6] = ["number", "time", "kind", "what", "target", "about"];
    let rows: Vec<[String; 6]> = records.iter().map(row).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(String::len);
        cells.chain(HEADINGS.get(column).map(|heading| heading.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEADINGS.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    writeln!(out, "{FAINT}{}{FAINT:#}", line(&mut HEADINGS.into_iter()))?;
    for row in &rows {
        let style = match row.get(3).map(String::as_str) {
            Some("succeeded" | "reconciled_applied") => GOOD,
            Some("allow" | "") | None => anstyle::Style::new(),
            Some(_) => BAD,
        };
        writeln!(out, "{style}{}{style:#}", line(&mut row.iter().map(String::as_str)))?;
    }
    Ok(())
}

fn row(record: &Record) -> [String; 6] {
    let number = record.number.to_string();
    let Ok(statement) = Statement::from_envelope(&record.envelope) else {
        return [number, String::new(), "?".into(), "unreadable".into(), String::new(), String::new()];
    };
    let about = &statement.about;
    let state = about.state.map(State::as_str);
    let what = about.reason.map(Reason::code).filter(|_| about.decision.is_some()).or(state);
    let what = what.or(about.decision.map(Decided::as_str)).unwrap_or_default();
    let target = about.target.as_ref().map(ToString::to_string).unwrap_or_default();
    let resource = about.resource.clone();
    let who = about.agent.as_ref().or(about.authority.as_ref()).map(ToString::to_string);
    let whom = resource.or(who).unwrap_or_default();
    [number, statement.time.to_string(), statement.kind.to_string(), what.to_owned(), target, whom]
}

impl Show {
    fn run(self, format: Format, out: &mut impl Write) -> anyhow::Result<Exit> {
        let mut source = self.from.open()?;
        let Some(record) = source.record(self.number)? else {
            anyhow::bail!("there is no record {}", self.number);
        };
        let genesis = source.record(1)?.and_then(|first| {
            Statement::from_envelope(&first.envelope).ok().and_then(|first| Genesis::read(&first).ok())
        });
        let signed = genesis.as_ref().map(|genesis| verify_signature(&record.envelope, genesis.key()).is_ok());
        let statement = Statement::from_envelope(&record.envelope)?;
        let envelope: Value = serde_json::from_slice(&record.envelope)?;
        match format {
            Format::Json => {
                let mut value = brief(&record);
                if let Value::Object(fields) = &mut value {
                    fields.insert("signed".to_owned(), json!(signed == Some(true)));
                    fields.insert("previous".to_owned(), json!(statement.link.previous));
                    fields.insert("body".to_owned(), json!(statement.body));
                    fields.insert("artefacts".to_owned(), artefacts(&statement));
                    fields.insert("envelope".to_owned(), envelope);
                }
                writeln!(out, "{value}")?;
            }
            Format::Text => print_record(&record, &statement, signed, out)?,
        }
        Ok(if signed == Some(true) { Exit::Success } else { Exit::Refused })
    }
}

fn artefacts(statement: &Statement) -> Value {
    let artefact = |artefact: &crate::record::ArtefactRef| json!({ "digest": artefact.digest, "media_type": artefact.media_type, "size": artefact.size });
    statement.artefacts.iter().map(artefact).collect()
}

fn print_record(
    record: &Record,
    statement: &Statement,
    signed: Option<bool>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut table = Table::default();
    table
        .row("number", record.number)
        .row("digest", record.digest)
        .row("previous", statement.link.previous)
        .row("time", statement.time)
        .row("kind", statement.kind);
    match signed {
        Some(true) => table.row("signature", format!("{GOOD}good{GOOD:#}, by the key of the log")),
        Some(false) => table.row("signature", format!("{BAD}bad{BAD:#}: not by the key of the log")),
        None => table.row("signature", format!("{BAD}unknown{BAD:#}: record 1 names no key")),
    };
    if let Value::Object(about) = json!(statement.about.to_json()) {
        for (name, value) in &about {
            table.row(name, value.as_str().unwrap_or_default());
        }
    }
    for subject in &statement.subjects {
        table.row("subject", format!("{} {}", subject.digest, subject.name));
    }
    for artefact in &statement.artefacts {
        table.row("artefact", format!("{} {}, {} octets", artefact.digest, artefact.media_type, artefact.size));
    }
    table.print(out)?;
    writeln!(out, "{FAINT}body{FAINT:#}\n{}", serde_json::to_string_pretty(&statement.body)?)?;
    Ok(())
}

impl ArtefactOf {
    fn run(self) -> anyhow::Result<Exit> {
        let Some(artefact) = self.from.open()?.artefact(&self.digest)? else {
            anyhow::bail!("there is no artefact {}", self.digest);
        };
        // The octets as they are: the other writer takes colours out, where nobody would see them.
        std::io::stdout().lock().write_all(artefact.octets())?;
        Ok(Exit::Success)
    }
}

impl Export {
    fn run(self, out: &mut impl Write) -> anyhow::Result<Exit> {
        let mut written = BTreeSet::new();
        self.from.open()?.for_each(|source, record| {
            if let (false, Ok(statement)) = (self.without_artefacts, Statement::from_envelope(&record.envelope)) {
                for reference in statement.artefacts {
                    if written.insert(reference.digest)
                        && let Some(artefact) = source.artefact(&reference.digest)?
                    {
                        write_artefact(out, &artefact)?;
                    }
                }
            }
            write_record(out, &record)?;
            Ok(true)
        })?;
        Ok(Exit::Success)
    }
}
