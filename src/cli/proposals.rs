//! Proposals: `seb agent propose`, `sab proposals`, and how one is printed.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::client::{Authority, Connection, failed, printable};
use super::{BAD, Exit, FAINT, Format, GOOD, Table, read_text, runtime};
use crate::attribute_certificate::{CertificateFile, encode_pem, parse};
use crate::digest::Digest;
use crate::proto::sab::v1::proposal::State;
use crate::proto::sab::v1::proposal_service_client::ProposalServiceClient;
use crate::proto::sab::v1::{GetProposalRequest, ListProposalsRequest, Proposal, ProposeRequest};
use crate::sab::proposal::Proposal as Parsed;
use crate::timestamp::Timestamp;

/// How large an answer can be, in octets: a page of proposals with their certificates.
const MAX_ANSWER: usize = 128 * 1024 * 1024;
/// How large a proposal can be, in octets.
const MAX_PROPOSAL: u64 = 64 * 1024;

#[derive(Debug, Args)]
pub(super) struct Propose {
    /// The proposal, in YAML or JSON; `-` reads standard input
    file: PathBuf,
    #[command(flatten)]
    authority: Authority,
    /// Bind the certificate to the key that you connect by
    #[arg(long)]
    bind_to_key: bool,
    /// Where to write the certificate and the authority's chain, in PEM, if it is admitted
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Propose {
    pub(super) async fn run(self, format: Format, out: &mut impl Write) -> anyhow::Result<Exit> {
        let proposal = read_text(&self.file, MAX_PROPOSAL)?;
        if let Some(path) = self.out.as_ref().filter(|path| path.exists()) {
            // Before it is asked for: a certificate that cannot be written is issued all the same.
            anyhow::bail!("`{}` is there already: name another file, or move it away", path.display());
        }
        // Here as well as there, so that most mistakes show without a connection.
        if let Err(error) = Parsed::parse(&proposal) {
            let error = anyhow::Error::new(error).context(format!("`{}`", self.file.display()));
            return invalid(&format!("{error:#}"), format, out);
        }
        let request = ProposeRequest { proposal, bind_to_key: self.bind_to_key };
        let connection = Connection::from(self.authority.clone());
        let mut client = ProposalServiceClient::new(connection.channel().await?);
        let proposal = match client.propose(connection.request(request)).await {
            Ok(proposal) => proposal.into_inner(),
            Err(status) => return failed(&status, format, out),
        };
        if let (Some(path), false) = (&self.out, proposal.certificate.is_empty()) {
            write_certificate(&proposal, path)?;
        }
        print(&proposal, self.out.as_ref(), format, out)?;
        Ok(match proposal.state() {
            State::Admitted => Exit::Success,
            State::Pending => Exit::Unsettled,
            State::Unspecified | State::Refused | State::Expired => Exit::Refused,
        })
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Proposals {
    /// List proposals, newest first
    List {
        #[command(flatten)]
        authority: Authority,
        /// Only those in this state
        #[arg(long, value_enum)]
        state: Option<StateName>,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
        limit: u32,
    },
    /// Show one proposal, with its contract
    Show {
        /// Its id
        id: String,
        #[command(flatten)]
        authority: Authority,
        /// Where to write the certificate and the authority's chain, in PEM, if it was admitted
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

/// The names of states on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum StateName {
    Pending,
    Admitted,
    Refused,
    Expired,
}

impl From<StateName> for State {
    fn from(name: StateName) -> Self {
        match name {
            StateName::Pending => Self::Pending,
            StateName::Admitted => Self::Admitted,
            StateName::Refused => Self::Refused,
            StateName::Expired => Self::Expired,
        }
    }
}

impl Proposals {
    pub(super) fn run(self, format: Format, out: &mut impl Write) -> anyhow::Result<Exit> {
        runtime()?.block_on(async {
            match self {
                Self::List { authority, state, limit } => {
                    let connection = Connection::from(authority);
                    let state = state.map_or(State::Unspecified, State::from).into();
                    let request = ListProposalsRequest { page_size: limit, page_token: String::new(), state };
                    let client = ProposalServiceClient::new(connection.channel().await?);
                    let mut client = client.max_decoding_message_size(MAX_ANSWER);
                    match client.list_proposals(connection.request(request)).await {
                        Ok(answer) => list(&answer.into_inner().proposals, format, out),
                        Err(status) => failed(&status, format, out),
                    }
                }
                Self::Show { id, authority, out: file } => {
                    let connection = Connection::from(authority);
                    let mut client = ProposalServiceClient::new(connection.channel().await?);
                    match client.get_proposal(connection.request(GetProposalRequest { id })).await {
                        Ok(answer) => {
                            let proposal = answer.into_inner();
                            if let (Some(path), false) = (&file, proposal.certificate.is_empty()) {
                                write_certificate(&proposal, path)?;
                            }
                            print(&proposal, file.as_ref(), format, out)?;
                            Ok(Exit::Success)
                        }
                        Err(status) => failed(&status, format, out),
                    }
                }
            }
        })
    }
}

/// Prints what is wrong with a text that is no proposal.
fn invalid(message: &str, format: Format, out: &mut impl Write) -> anyhow::Result<Exit> {
    match format {
        Format::Json => writeln!(out, "{}", json!({ "error": { "reason": "invalid_request", "message": message } }))?,
        Format::Text => writeln!(out, "{BAD}invalid_request{BAD:#} {message}")?,
    }
    Ok(Exit::Refused)
}

fn list(proposals: &[Proposal], format: Format, out: &mut impl Write) -> anyhow::Result<Exit> {
    match format {
        Format::Json => {
            let proposals: Vec<_> = proposals.iter().map(to_json).collect();
            writeln!(out, "{}", json!({ "proposals": proposals }))?;
        }
        Format::Text if proposals.is_empty() => writeln!(out, "no proposals")?,
        Format::Text => {
            let heading = ["proposal", "proposed", "state", "tier", "agent"].map(str::to_owned);
            let row = |proposal: &Proposal| {
                let at = time(proposal.proposed_at.as_ref());
                let (id, tier, holder) = (&proposal.id, &proposal.tier, &proposal.holder);
                [printable(id), at, state(proposal).to_owned(), printable(tier), printable(holder)]
            };
            let rows: Vec<_> = std::iter::once(heading).chain(proposals.iter().map(row)).collect();
            let mut width = [0; 5];
            for row in &rows {
                width.iter_mut().zip(row).for_each(|(width, cell)| *width = (*width).max(cell.chars().count()));
            }
            let whys = proposals.iter().map(|proposal| proposal.explanations.first());
            for (row, why) in rows.iter().zip(std::iter::once(None).chain(whys)) {
                let cells: Vec<_> = row.iter().zip(width).map(|(cell, width)| format!("{cell:width$}")).collect();
                match why {
                    Some(why) => writeln!(out, "{}  {FAINT}{}{FAINT:#}", cells.join("  "), printable(why))?,
                    None => writeln!(out, "{}", cells.join("  ").trim_end())?,
                }
            }
        }
    }
    Ok(Exit::Success)
}

fn print(proposal: &Proposal, file: Option<&PathBuf>, format: Format, out: &mut impl Write) -> anyhow::Result<()> {
    if format == Format::Json {
        writeln!(out, "{}", to_json(proposal))?;
        return Ok(());
    }
    let style = if proposal.state() == State::Admitted { GOOD } else { BAD };
    writeln!(out, "{style}{}{style:#}", state(proposal))?;
    let mut table = Table::default();
    table.row("proposal", &proposal.id).row("holder", &proposal.holder);
    let optional = [
        ("tier", proposal.tier.clone()),
        ("contract", proposal.contract_digest.clone()),
        ("policies", proposal.policies.join(", ")),
        ("decided", time(proposal.decided_at.as_ref())),
        ("expires", time(proposal.expires_at.as_ref())),
    ];
    for (name, value) in optional.iter().filter(|(_, value)| !value.is_empty()) {
        table.row(name, value);
    }
    for explanation in &proposal.explanations {
        table.row("because", printable(explanation));
    }
    if let Some(certificate) = certificate(proposal) {
        table.row("certificate", certificate);
        if let Some(file) = file {
            table.row("written to", file.display());
        }
    }
    table.row("record", proposal.record);
    if let Some(advice) = advice(proposal, file) {
        table.row("what to do", advice);
    }
    Ok(table.print(out)?)
}

/// What follows for the agent.
fn advice(proposal: &Proposal, file: Option<&PathBuf>) -> Option<String> {
    let Proposal { id, .. } = proposal;
    Some(match (proposal.state(), file) {
        (State::Admitted, Some(file)) => format!("execute it: `seb agent execute {}`", file.display()),
        (State::Admitted, None) => {
            format!("take the certificate: `sab proposals show {id} --out FILE`, or propose with `--out FILE`")
        }
        (State::Pending, _) => format!("people have to decide: ask again with `sab proposals show {id}`"),
        (State::Refused, _) => "propose something else: the policies do not admit this".to_owned(),
        (State::Expired, _) => "nobody decided in time: propose again".to_owned(),
        (State::Unspecified, _) => return None,
    })
}

/// The name of the certificate, if there is one.
fn certificate(proposal: &Proposal) -> Option<Digest> {
    parse(&proposal.certificate).and_then(|certificate| certificate.digest()).ok()
}

fn state(proposal: &Proposal) -> &'static str {
    match proposal.state() {
        State::Unspecified => "unknown",
        State::Pending => "pending",
        State::Admitted => "admitted",
        State::Refused => "refused",
        State::Expired => "expired",
    }
}

fn time(time: Option<&prost_types::Timestamp>) -> String {
    let timestamp = time.and_then(|time| {
        let millis = u64::try_from(time.seconds).ok()?.checked_mul(1000)?;
        Timestamp::from_millis(millis.checked_add(u64::try_from(time.nanos).ok()? / 1_000_000)?).ok()
    });
    timestamp.map(|timestamp| timestamp.to_string()).unwrap_or_default()
}

fn to_json(proposal: &Proposal) -> Value {
    let certificate = certificate(proposal);
    let contract: Option<Value> = serde_json::from_str(&proposal.contract).ok();
    json!({
        "id": proposal.id,
        "state": state(proposal),
        "holder": proposal.holder,
        "proposed_at": time(proposal.proposed_at.as_ref()),
        "decided_at": time(proposal.decided_at.as_ref()),
        "expires_at": time(proposal.expires_at.as_ref()),
        "tier": proposal.tier,
        "explanations": proposal.explanations,
        "policies": proposal.policies,
        "contract": contract,
        "contract_digest": proposal.contract_digest,
        "certificate": certificate,
        "record": proposal.record,
    })
}

fn write_certificate(proposal: &Proposal, path: &PathBuf) -> anyhow::Result<()> {
    let file = CertificateFile { certificate: proposal.certificate.clone(), chain: proposal.chain.clone() };
    let pem = encode_pem(&file)?;
    let written = OpenOptions::new().write(true).create_new(true).open(path);
    let written = written.and_then(|mut file| file.write_all(pem.as_bytes()));
    written.with_context(|| format!("cannot write `{}`", path.display()))
}
