//! Proposals: `seb agent propose`, `sab proposals`, and how one is printed.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::client::{Connection, failed};
use super::{BAD, Exit, FAINT, Format, GOOD, Table, read_text, runtime};
use crate::attribute_certificate::{CertificateFile, encode_pem};
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
    authority: Connection,
    /// Bind the certificate to the key that you connect by
    #[arg(long)]
    bind_to_key: bool,
    /// Where to write the certificate and the authority's chain, in PEM, if it is admitted
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Propose {
    pub(super) fn run(self, format: Format, out: &mut impl Write) -> anyhow::Result<Exit> {
        let proposal = read_text(&self.file, MAX_PROPOSAL)?;
        // Here as well as there, so that most mistakes show without a connection.
        if let Err(error) = Parsed::parse(&proposal) {
            let error = anyhow::Error::new(error).context(format!("`{}`", self.file.display()));
            return refused(&format!("{error:#}"), "invalid_request", "", format, out);
        }
        let request = ProposeRequest { proposal, bind_to_key: self.bind_to_key };
        let answer = runtime()?.block_on(async {
            let mut client = ProposalServiceClient::new(self.authority.channel().await?);
            anyhow::Ok(client.propose(request).await)
        })?;
        let proposal = match answer {
            Ok(proposal) => proposal.into_inner(),
            Err(status) => {
                return failed(&status, format, out);
            }
        };
        if let (Some(path), false) = (&self.out, proposal.certificate.is_empty()) {
            write_certificate(&proposal, path)?;
        }
        print(&proposal, self.out.as_ref(), format, out)?;
        Ok(if proposal.state() == State::Refused { Exit::Refused } else { Exit::Success })
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Proposals {
    /// List proposals, newest first
    List {
        #[command(flatten)]
        authority: Connection,
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
        authority: Connection,
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
        match self {
            Self::List { authority, state, limit } => {
                let state = state.map_or(State::Unspecified, State::from).into();
                let request = ListProposalsRequest { page_size: limit, page_token: String::new(), state };
                let answer = runtime()?.block_on(async {
                    let client = ProposalServiceClient::new(authority.channel().await?);
                    anyhow::Ok(client.max_decoding_message_size(MAX_ANSWER).list_proposals(request).await)
                })?;
                match answer {
                    Ok(answer) => list(&answer.into_inner().proposals, format, out),
                    Err(status) => failed(&status, format, out),
                }
            }
            Self::Show { id, authority, out: file } => {
                let answer = runtime()?.block_on(async {
                    let mut client = ProposalServiceClient::new(authority.channel().await?);
                    anyhow::Ok(client.get_proposal(GetProposalRequest { id }).await)
                })?;
                match answer {
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
    }
}

/// Prints why a server said no.
pub(super) fn refused(
    message: &str,
    reason: &str,
    mend: &str,
    format: Format,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    match format {
        Format::Json => writeln!(out, "{}", json!({ "reason": reason, "message": message, "mend": mend }))?,
        Format::Text => {
            writeln!(out, "{BAD}refused{BAD:#}  {message}")?;
            if !mend.is_empty() {
                writeln!(out, "{FAINT}{mend}{FAINT:#}")?;
            }
        }
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
            for proposal in proposals {
                let Proposal { id, holder, tier, .. } = proposal;
                let at = time(proposal.proposed_at.as_ref());
                let why = proposal.explanations.first().map(String::as_str).unwrap_or_default();
                writeln!(out, "{id}  {at:24}  {:8}  {tier:8}  {holder}  {FAINT}{why}{FAINT:#}", state(proposal))?;
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
        table.row("because", explanation);
    }
    if !proposal.certificate.is_empty() {
        table.row("certificate", Digest::of(&proposal.certificate));
        if let Some(file) = file {
            table.row("written to", file.display());
        }
    }
    table.row("record", proposal.record);
    Ok(table.print(out)?)
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
    let certificate = (!proposal.certificate.is_empty()).then(|| Digest::of(&proposal.certificate));
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
