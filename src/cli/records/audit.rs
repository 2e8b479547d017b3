//! `seb records verify` and `seb records replay`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value, json};

use super::From;
use super::source::Source;
use crate::attribute_certificate::read_certificates;
use crate::cli::{BAD, Exit, Format, GOOD, Table, read_text};
use crate::digest::Digest;
use crate::record::{Genesis, Head, Kind, Replayed, Statement, Summary, Verifier, replay};
use crate::sab::airlock;
use crate::telemetry::Causes;

/// How large a bundle can be, in octets.
const MAX_BUNDLE: u64 = 4 * 1024 * 1024;
/// How many decisions that differ are shown.
const MAX_SHOWN: usize = 20;

/// What both commands hold a log against.
#[derive(Debug, Args)]
struct Against {
    /// The trust bundle of the trust domain of the broker or authority in PEM: is the identity that vouches for the log's key to be trusted?
    #[arg(long, value_name = "PEM")]
    bundle: Option<PathBuf>,
    /// A record that was kept earlier, as `verify` prints the newest one; repeatable. Only this shows that the end of a log
    /// was cut off
    #[arg(long = "head", value_name = "NUMBER:sha256:HEX")]
    heads: Vec<Head>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Verify {
    #[command(flatten)]
    from: From,
    #[command(flatten)]
    against: Against,
    /// Check that every artefact is there, and has its digest
    #[arg(long)]
    artefacts: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Replay {
    #[command(flatten)]
    from: From,
    #[command(flatten)]
    against: Against,
}

/// What is wrong: at which record, if it is at one.
struct Finding {
    number: Option<u64>,
    problem: String,
}

/// A log that verified.
struct Verified {
    summary: Summary,
    genesis: Genesis,
    trusted: bool,
}

impl Verify {
    pub(in crate::cli) fn run(self, format: Format, out: &mut impl Write) -> anyhow::Result<Exit> {
        let mut source = self.from.open()?;
        let mut intact: BTreeMap<Digest, bool> = BTreeMap::new();
        let verified = self.against.verify(&mut source, |source, statement| {
            for reference in statement.artefacts.iter().filter(|_| self.artefacts) {
                if let Entry::Vacant(unseen) = intact.entry(reference.digest) {
                    let found = source.artefact(&reference.digest).ok().flatten();
                    let size = found.map(|artefact| artefact.reference().size);
                    unseen.insert(size == Some(reference.size));
                }
            }
            Ok(())
        })?;
        let (verified, finding) = match verified {
            Ok(verified) => (Some(verified), None),
            Err(finding) => (None, Some(finding)),
        };
        let broken = intact.iter().find(|(_, there)| !**there).map(|(digest, _)| Finding {
            number: None,
            problem: format!("the artefact {digest} is missing or has other octets"),
        });
        let finding = finding.or(broken);
        let count = self.artefacts.then_some(intact.len());
        let more = count.map(|count| ("artefacts", count));
        report(verified.as_ref(), finding.as_slice(), more.as_slice(), "verified", format, out)
    }
}

impl Replay {
    pub(in crate::cli) fn run(self, format: Format, out: &mut impl Write) -> anyhow::Result<Exit> {
        let mut source = self.from.open()?;
        let (mut equal, mut not_kept, mut different) = (0_usize, 0_usize, Vec::new());
        let verified = self.against.verify(&mut source, |source, statement| {
            let mut fetch =
                |digest: &Digest| source.artefact(digest).ok().flatten().map(|found| found.octets().to_vec());
            let replayed = match statement.kind {
                Kind::Decision => replay(statement, &mut fetch).map(Some),
                Kind::Admission => airlock::replay(statement, &mut fetch),
                Kind::Genesis | Kind::Outcome | Kind::Epoch | Kind::Boundary => Ok(None),
            };
            match replayed {
                Ok(None) => {}
                Ok(Some(Replayed::Equal)) => equal += 1,
                Ok(Some(Replayed::NotKept)) => not_kept += 1,
                Err(error) => {
                    different
                        .push(Finding { number: Some(statement.link.number), problem: Causes(&error).to_string() });
                }
            }
            Ok(())
        })?;
        let (verified, finding) = match verified {
            Ok(verified) => (Some(verified), None),
            Err(finding) => (None, Some(finding)),
        };
        let counts = [("equal", equal), ("not kept", not_kept), ("different", different.len())];
        different.truncate(MAX_SHOWN);
        different.extend(finding);
        report(verified.as_ref(), &different, &counts, "replayed", format, out)
    }
}

impl Against {
    /// Verifies the log, handing each record that is good to `each`.
    fn verify(
        &self,
        source: &mut Source,
        mut each: impl FnMut(&mut Source, &Statement) -> anyhow::Result<()>,
    ) -> anyhow::Result<Result<Verified, Finding>> {
        let roots = self.bundle.as_deref().map(roots).transpose()?;
        let mut verifier = Verifier::new();
        self.heads.iter().for_each(|head| verifier.expect(*head));
        let mut finding = None;
        source.for_each(|source, record| {
            match verifier.push(record.number, &record.envelope) {
                // The store's own idea of the digest is not needed, and shows that somebody was there.
                Ok(_) if record.digest != Digest::of(&record.envelope) => {
                    let problem = "the store has another digest for it".to_owned();
                    finding = Some(Finding { number: Some(record.number), problem });
                }
                Ok(statement) => each(source, &statement)?,
                Err(error) => {
                    finding = Some(Finding { number: Some(error.number), problem: Causes(&error.problem).to_string() });
                }
            }
            Ok(finding.is_none())
        })?;
        if let Some(finding) = finding {
            return Ok(Err(finding));
        }
        let genesis = verifier.genesis().cloned();
        let summary = match verifier.finish() {
            Ok(summary) => summary,
            Err(error) => {
                return Ok(Err(Finding { number: Some(error.number), problem: Causes(&error.problem).to_string() }));
            }
        };
        let Some(genesis) = genesis else { anyhow::bail!("a log without a beginning") };
        if let Some(roots) = &roots
            && let Err(problem) = genesis.verify_path(roots)
        {
            let problem = format!("the identity of `{}` is not of the trust bundle: {problem}", genesis.broker());
            return Ok(Err(Finding { number: Some(1), problem }));
        }
        Ok(Ok(Verified { summary, genesis, trusted: roots.is_some() }))
    }
}

fn roots(path: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    let roots = read_certificates(&read_text(path, MAX_BUNDLE)?);
    let roots = roots.map_err(|problem| anyhow::anyhow!("`{}`: {problem}", path.display()))?;
    if roots.is_empty() {
        anyhow::bail!("`{}` holds no certificate", path.display());
    }
    Ok(roots)
}

fn report(
    verified: Option<&Verified>,
    findings: &[Finding],
    counts: &[(&str, usize)],
    good: &str,
    format: Format,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    match format {
        Format::Json => {
            let findings_json: Vec<Value> = findings
                .iter()
                .map(|finding| json!({ "record": finding.number, "problem": finding.problem }))
                .collect();
            let mut fields = verified.map(to_json).unwrap_or_default();
            fields.insert(good.to_owned(), findings.is_empty().into());
            fields.insert("problems".to_owned(), findings_json.into());
            fields.extend(counts.iter().map(|(name, count)| (name.replace(' ', "_"), json!(count))));
            writeln!(out, "{}", Value::Object(fields))?;
        }
        Format::Text => {
            let mut table = verified.map(to_table).unwrap_or_default();
            for (name, count) in counts {
                table.row(name, count);
            }
            table.print(out)?;
            for Finding { number, problem } in findings {
                let place = number.map_or("log".to_owned(), |number| format!("record {number}"));
                writeln!(out, "{BAD}{place}{BAD:#}: {problem}")?;
            }
            if findings.is_empty() {
                writeln!(out, "{GOOD}{good}{GOOD:#}")?;
            }
        }
    }
    Ok(if findings.is_empty() { Exit::Success } else { Exit::Refused })
}

fn to_json(verified: &Verified) -> Map<String, Value> {
    let Verified { summary, genesis, trusted } = verified;
    let records: Map<String, Value> =
        summary.records.iter().map(|(kind, count)| (kind.to_string(), json!(count))).collect();
    let fields = json!({
        "head": summary.head.map(|head| head.to_string()),
        "records": records,
        "allowed": summary.allowed,
        "denied": summary.denied,
        "open": summary.open,
        "first": summary.times.map(|(first, _)| first),
        "last": summary.times.map(|(_, last)| last),
        "broker": genesis.broker().to_string(),
        "key": genesis.key().digest(),
        "identity_trusted": trusted,
    });
    if let Value::Object(fields) = fields { fields } else { Map::new() }
}

fn to_table(verified: &Verified) -> Table {
    let Verified { summary, genesis, trusted } = verified;
    let kinds: Vec<String> = summary.records.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let mut table = Table::default();
    table
        .row("broker", genesis.broker())
        .row("key", format!("{} {}", genesis.key().digest(), genesis.key().algorithm().as_str()))
        .row("identity", if *trusted { "of the trust bundle" } else { "not checked: no `--bundle` was given" })
        .row("records", format!("{} ({})", summary.records.values().sum::<u64>(), kinds.join(", ")))
        .row("decisions", format!("{} allowed, {} denied", summary.allowed, summary.denied))
        .row("open", format!("{} executions without a final outcome", summary.open));
    if let Some((first, last)) = summary.times {
        table.row("time", format!("{first} to {last}"));
    }
    if let Some(head) = summary.head {
        table.row("head", head);
    }
    table
}
