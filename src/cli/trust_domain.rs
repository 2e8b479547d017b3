//! `seb trust-domain`: the embedded trust domain, for development, tests, and single hosts without SPIRE.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{ArgGroup, Args, Subcommand};
use serde_json::json;
use spiffe::{SpiffeId, TrustDomain};

use super::certificate::spiffe_id;
use super::{Exit, Format, GOOD, Table, runtime};
use crate::clock;
use crate::identity::embedded::{Domain, Grant, Rotation, keep_renewed};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Begin a trust domain, with fresh CAs, in a directory of its own
    Init {
        /// The directory; it must not exist or be empty
        directory: PathBuf,
        /// The name of the trust domain, such as `example.org`
        #[arg(long, value_name = "NAME", value_parser = trust_domain)]
        trust_domain: TrustDomain,
    },
    /// Issue an SVID to a folder, and renew it there from then on
    Issue(Issue),
    /// Issue anew what is past half of its life, was damaged, or does not show the CAs as they are now
    Renew {
        /// The directory of the trust domain
        directory: PathBuf,
        /// Go on renewing until the process is ended
        #[arg(long)]
        watch: bool,
    },
    /// Exchange the CAs, in three steps with time between them for every process to read its folder again
    Rotate(Rotate),
    /// Print the CAs and what was issued
    Show {
        /// The directory of the trust domain
        directory: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(super) struct Issue {
    /// The directory of the trust domain
    directory: PathBuf,
    /// The SPIFFE ID
    #[arg(long, value_name = "SPIFFE_ID", value_parser = spiffe_id)]
    id: SpiffeId,
    /// The folder for svid.pem, key.pem, bundle.pem and execution-bundle.pem
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// How long the SVID is valid; it is renewed at half of that
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400)]
    ttl: u64,
    /// Put the execution CA with its key into the folder: for the broker alone
    #[arg(long)]
    execution_ca: bool,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("step").required(true).args(["prepare", "activate", "retire"])))]
pub(super) struct Rotate {
    /// The directory of the trust domain
    directory: PathBuf,
    /// First: make the next CAs, and trust them too
    #[arg(long)]
    prepare: bool,
    /// Second: issue everything by the next CAs, and destroy the keys of those before
    #[arg(long)]
    activate: bool,
    /// Third: trust the CAs before no longer
    #[arg(long)]
    retire: bool,
}

impl Command {
    pub(super) fn run(self, format: Format, out: &mut impl Write) -> anyhow::Result<Exit> {
        let now = clock::now()?;
        match self {
            Self::Init { directory, trust_domain } => {
                let domain = Domain::init(&directory, &trust_domain, now)?;
                match format {
                    Format::Json => writeln!(out, "{}", json!({ "trust_domain": domain.trust_domain().as_str() }))?,
                    Format::Text => Table::default()
                        .row("trust domain", domain.trust_domain())
                        .row("directory", directory.display())
                        .print(out)?,
                }
            }
            Self::Issue(issue) => issue.run(format, out)?,
            Self::Renew { directory, watch } => {
                let domain = Domain::open(&directory)?;
                print_grants("renewed", &domain.renew(now)?, format, out)?;
                out.flush()?;
                if watch {
                    runtime()?.block_on(async {
                        tokio::select! {
                            () = keep_renewed(domain) => {}
                            () = super::ended() => {}
                        }
                    });
                }
            }
            Self::Rotate(rotate) => {
                let step = match (rotate.prepare, rotate.activate) {
                    (true, _) => Rotation::Prepare,
                    (_, true) => Rotation::Activate,
                    _ => Rotation::Retire,
                };
                let issued = Domain::open(&rotate.directory)?.rotate(step, now)?;
                print_grants("issued anew", &issued, format, out)?;
            }
            Self::Show { directory } => show(&Domain::open(&directory)?, format, out)?,
        }
        Ok(Exit::Success)
    }
}

impl Issue {
    fn run(self, format: Format, out: &mut impl Write) -> anyhow::Result<()> {
        let domain = Domain::open(&self.directory)?;
        let grant = Grant::new(self.id, self.out.clone(), Duration::from_secs(self.ttl), self.execution_ca);
        let leaf = domain.issue(grant, clock::now()?)?;
        match format {
            Format::Json => {
                let (id, folder) = (leaf.id.to_string(), self.out.display().to_string());
                writeln!(out, "{}", json!({ "id": id, "folder": folder, "not_after": leaf.not_after }))?;
            }
            Format::Text => Table::default()
                .row("issued", &leaf.id)
                .row("folder", self.out.display())
                .row("valid until", leaf.not_after)
                .print(out)?,
        }
        Ok(())
    }
}

fn print_grants(what: &str, grants: &[Grant], format: Format, out: &mut impl Write) -> anyhow::Result<()> {
    match format {
        Format::Json => {
            let ids: Vec<String> = grants.iter().map(|grant| grant.id().to_string()).collect();
            writeln!(out, "{}", json!({ "issued": ids }))?;
        }
        Format::Text if grants.is_empty() => writeln!(out, "nothing was due")?,
        Format::Text => {
            for grant in grants {
                writeln!(out, "{GOOD}{what}{GOOD:#} {} in {}", grant.id(), grant.folder().display())?;
            }
        }
    }
    Ok(())
}

fn show(domain: &Domain, format: Format, out: &mut impl Write) -> anyhow::Result<()> {
    let (cas, grants) = (domain.cas()?, domain.issued()?);
    match format {
        Format::Json => {
            let cas: Vec<_> = cas
                .iter()
                .map(|ca| json!({ "stage": ca.stage, "root_ends": ca.root_ends, "execution_ca_ends": ca.execution_ca_ends }))
                .collect();
            let issued: Vec<_> = grants
                .iter()
                .map(|it| {
                    let folder = it.folder().display().to_string();
                    json!({ "id": it.id().to_string(), "folder": folder, "execution_ca": it.has_execution_ca() })
                })
                .collect();
            let name = domain.trust_domain().as_str();
            writeln!(out, "{}", json!({ "trust_domain": name, "cas": cas, "issued": issued }))?;
        }
        Format::Text => {
            let mut table = Table::default();
            table.row("trust domain", domain.trust_domain());
            for ca in &cas {
                let ends = format!("root until {}, execution CA until {}", ca.root_ends, ca.execution_ca_ends);
                table.row(&format!("{} CAs", ca.stage), ends);
            }
            for grant in &grants {
                let ca = if grant.has_execution_ca() { " (with the execution CA)" } else { "" };
                table.row("issued", format!("{} in {}{ca}", grant.id(), grant.folder().display()));
            }
            table.print(out)?;
        }
    }
    Ok(())
}

fn trust_domain(text: &str) -> anyhow::Result<TrustDomain> {
    let domain = TrustDomain::new(text).with_context(|| format!("`{text}` is not the name of a trust domain"))?;
    anyhow::ensure!(domain.as_str() == text, "write `{}`, the normal form", domain.as_str());
    Ok(domain)
}
