//! `sab issue`: issues an attribute certificate over a contract, from files and without a server.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::json;
use spiffe::SpiffeId;

use super::certificate::spiffe_id;
use super::{BAD, Exit, Format, Table, read, read_text};
use crate::attribute_certificate::{
    Admission, AdmissionPath, Approval, AuthorityCertificate, CertificateFile, Template, Tier, encode_pem,
    public_key_digest, read_certificates,
};
use crate::contract::Contract;
use crate::digest::Digest;
use crate::key::{SigningKey, fresh_serial};
use crate::timestamp::Timestamp;

/// How large an input can be, in octets.
const MAX_FILE: u64 = 4 * 1024 * 1024;

#[derive(Debug, Args)]
pub(super) struct Command {
    /// The contract: JSON in any layout; it is compiled to its canonical form
    #[arg(long, value_name = "FILE")]
    contract: PathBuf,
    /// The authority's private key: PKCS#8 in PEM
    #[arg(long, value_name = "PEM")]
    key: PathBuf,
    /// The authority's public-key certificates in PEM, leaf first
    #[arg(long, value_name = "PEM")]
    chain: PathBuf,
    /// The agent that the certificate is for
    #[arg(long, value_name = "SPIFFE_ID", value_parser = spiffe_id)]
    holder: SpiffeId,
    /// Bind the certificate to the key of the agent's certificate in this file
    #[arg(long, value_name = "PEM")]
    holder_certificate: Option<PathBuf>,
    /// The broker that the certificate is for
    #[arg(long, value_name = "SPIFFE_ID", value_parser = spiffe_id)]
    broker: SpiffeId,
    /// When it begins to be valid; now, or when the contract begins if that is later
    #[arg(long, value_name = "RFC3339")]
    not_before: Option<Timestamp>,
    /// When it ends being valid; the contract's own end, if neither this nor --for is given
    #[arg(long, value_name = "RFC3339")]
    not_after: Option<Timestamp>,
    /// For how many seconds it is valid
    #[arg(long = "for", value_name = "SECONDS", conflicts_with = "not_after")]
    seconds: Option<u32>,
    /// The policy that admitted the contract: a file, named in the certificate by its digest
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// The evidence that was looked at: a file, named in the certificate by its digest
    #[arg(long, value_name = "FILE")]
    evidence: PathBuf,
    /// The policy epoch
    #[arg(long, value_name = "N")]
    policy_epoch: u64,
    /// The revocation epoch
    #[arg(long, value_name = "N")]
    revocation_epoch: u64,
    /// How much harm the mutation could do
    #[arg(long, value_enum)]
    tier: TierName,
    /// Approvals by people: a JSON list of {"approver", "approved_at", "statement_digest"}
    #[arg(long, value_name = "FILE")]
    approvals: Option<PathBuf>,
    /// Where to write the certificate and the chain, in PEM; standard output if it is not given
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The names of the tiers on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum TierName {
    Low,
    Moderate,
    High,
    Critical,
}

impl Command {
    pub(super) fn run(self, format: Format, out: &mut impl Write) -> anyhow::Result<Exit> {
        let text = read_text(&self.contract, MAX_FILE)?;
        let contract = match Contract::compile(&text) {
            Ok(contract) => contract,
            Err(denial) => {
                match format {
                    Format::Json => writeln!(out, "{}", json!({ "issued": false, "denial": denial }))?,
                    Format::Text => writeln!(out, "{BAD}{}{BAD:#}: {denial}", self.contract.display())?,
                }
                return Ok(Exit::Refused);
            }
        };
        let key = SigningKey::from_pkcs8_pem(&read_text(&self.key, MAX_FILE)?)
            .with_context(|| format!("cannot use `{}`", self.key.display()))?;
        let chain = read_certificates(&read_text(&self.chain, MAX_FILE)?)
            .map_err(|problem| anyhow::anyhow!("cannot use `{}`: {problem}", self.chain.display()))?;
        let leaf = chain.first().with_context(|| format!("`{}` holds no certificate", self.chain.display()))?;
        let authority =
            AuthorityCertificate::new(leaf).with_context(|| format!("cannot use `{}`", self.chain.display()))?;
        let (not_before, not_after) = self.validity(&contract)?;
        let template = Template {
            serial: &fresh_serial()?,
            holder: &self.holder,
            holder_key: self.holder_key()?,
            broker: &self.broker,
            not_before,
            not_after,
            contract: &contract,
            admission: &self.admission()?,
        };
        let unsigned = template.prepare(&authority)?;
        let signature = key.sign(unsigned.octets())?;
        let issued = unsigned.complete(&signature).context("is the key that of the chain's first certificate?")?;
        let digest = issued.digest()?;
        let pem = encode_pem(&CertificateFile { certificate: issued.octets().to_vec(), chain })?;
        match &self.out {
            None => out.write_all(pem.as_bytes())?,
            Some(path) => {
                OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .open(path)
                    .and_then(|mut file| file.write_all(pem.as_bytes()))
                    .with_context(|| format!("cannot write `{}`", path.display()))?;
                let path = path.display();
                match format {
                    Format::Json => {
                        let contract = contract.digest();
                        writeln!(out, "{}", json!({ "issued": true, "certificate": digest, "contract": contract }))?;
                    }
                    Format::Text => Table::default()
                        .row("issued", path)
                        .row("certificate", digest)
                        .row("contract", contract.digest())
                        .row("valid", format!("{not_before} to {not_after}"))
                        .print(out)?,
                }
            }
        }
        Ok(Exit::Success)
    }

    fn validity(&self, contract: &Contract) -> anyhow::Result<(Timestamp, Timestamp)> {
        let limits = contract.limits();
        let not_before = match self.not_before {
            Some(given) => given,
            None => crate::clock::now()?.max(limits.not_before),
        };
        let not_after = match (self.not_after, self.seconds) {
            (Some(given), _) => given,
            (None, Some(seconds)) => not_before.saturating_add(Duration::from_secs(seconds.into())),
            (None, None) => limits.not_after,
        };
        anyhow::ensure!(
            not_before <= not_after,
            "the certificate would end at {not_after}, before it begins at {not_before}"
        );
        Ok((not_before, not_after))
    }

    fn holder_key(&self) -> anyhow::Result<Option<Digest>> {
        let Some(path) = &self.holder_certificate else { return Ok(None) };
        let certificates = read_certificates(&read_text(path, MAX_FILE)?)
            .map_err(|problem| anyhow::anyhow!("cannot use `{}`: {problem}", path.display()))?;
        let certificate = certificates.first().with_context(|| format!("`{}` is empty", path.display()))?;
        Ok(Some(public_key_digest(certificate)?))
    }

    fn admission(&self) -> anyhow::Result<Admission> {
        let approvals: Vec<Approval> = match &self.approvals {
            None => Vec::new(),
            Some(path) => serde_json::from_str(&read_text(path, MAX_FILE)?)
                .with_context(|| format!("cannot use `{}`", path.display()))?,
        };
        let tier = match self.tier {
            TierName::Low => Tier::Low,
            TierName::Moderate => Tier::Moderate,
            TierName::High => Tier::High,
            TierName::Critical => Tier::Critical,
        };
        Ok(Admission {
            policy_digest: Digest::of(&read(&self.policy, MAX_FILE)?),
            policy_epoch: self.policy_epoch,
            revocation_epoch: self.revocation_epoch,
            evidence_digest: Digest::of(&read(&self.evidence, MAX_FILE)?),
            path: if approvals.is_empty() { AdmissionPath::Automatic } else { AdmissionPath::Approved },
            tier,
            approvals,
        })
    }
}
