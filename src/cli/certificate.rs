//! `seb certificate`: looks at an attribute certificate, and verifies it offline.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use spiffe::{SpiffeId, TrustDomain};

use super::{BAD, Exit, FAINT, Format, GOOD, Table, read, read_text};
use crate::attribute_certificate::{
    CertificateFile, ProfiledCertificate, Trust, TrustBundle, VerifiedCertificate, authenticate, parse, profile,
    public_key_digest, read_certificates, read_file, targeting,
};
use crate::contract::Contract;
use crate::decision::{Certified, authorization};
use crate::digest::Digest;
use crate::reason::{Denial, Verdict};
use crate::timestamp::Timestamp;

/// How large a file with a certificate, a chain or a bundle can be, in octets.
const MAX_FILE: u64 = 4 * 1024 * 1024;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print what a certificate says, without asking whether it is true
    Inspect(Inspect),
    /// Verify a certificate: each of the five verdicts, with its reasons
    Verify(Box<Verify>),
}

#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// The certificate, in PEM or DER; `-` reads standard input
    file: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The certificate, in PEM or DER; `-` reads standard input. PEM can hold the authority's chain as well
    file: PathBuf,
    /// The authority's chain in PEM, leaf first, if it is not in FILE
    #[arg(long, value_name = "PEM")]
    chain: Option<PathBuf>,
    /// A trust bundle in PEM, for the trust domain of the first authority unless another is named; repeatable
    #[arg(long = "bundle", value_name = "[TRUST_DOMAIN=]PEM", required = true)]
    bundles: Vec<String>,
    /// An authority to trust; repeatable
    #[arg(long = "authority", value_name = "SPIFFE_ID", required = true, value_parser = spiffe_id)]
    authorities: Vec<SpiffeId>,
    /// The agent that presents the certificate
    #[arg(long, value_name = "SPIFFE_ID", value_parser = spiffe_id)]
    holder: SpiffeId,
    /// The agent's own public-key certificate in PEM, for certificates that are bound to a key
    #[arg(long, value_name = "PEM")]
    holder_certificate: Option<PathBuf>,
    /// SHA-256 of the agent's SubjectPublicKeyInfo, instead of its certificate
    #[arg(long, value_name = "sha256:HEX", conflicts_with = "holder_certificate")]
    holder_key: Option<Digest>,
    /// The broker to which the certificate is presented
    #[arg(long, value_name = "SPIFFE_ID", value_parser = spiffe_id)]
    broker: SpiffeId,
    /// The time at which to verify; now, if it is not given
    #[arg(long, value_name = "RFC3339")]
    at: Option<Timestamp>,
}

pub(super) fn spiffe_id(text: &str) -> Result<SpiffeId, String> {
    SpiffeId::new(text).map_err(|error| error.to_string())
}

impl Command {
    pub(super) fn run(self, format: Format, out: &mut impl Write) -> anyhow::Result<Exit> {
        match self {
            Self::Inspect(command) => command.run(format, out),
            Self::Verify(command) => command.run(format, out),
        }
    }
}

impl Inspect {
    fn run(self, format: Format, out: &mut impl Write) -> anyhow::Result<Exit> {
        let octets = read(&self.file, MAX_FILE)?;
        let file = read_file(&octets);
        let chain = file.as_ref().map(|file| file.chain.len()).unwrap_or_default();
        match file.and_then(|file| parse(&file.certificate)).and_then(profile) {
            Ok(certificate) => {
                let contract = Contract::parse(certificate.contract());
                match format {
                    Format::Json => {
                        let mut document = json!({ "verified": false, "chain": chain });
                        if let Value::Object(fields) = &mut document {
                            fields.insert("certificate".to_owned(), describe(&certificate));
                            fields.insert("contract".to_owned(), contract_value(&contract));
                        }
                        writeln!(out, "{document}")?;
                    }
                    Format::Text => {
                        writeln!(out, "{FAINT}not verified: this is what the certificate says{FAINT:#}")?;
                        table(&certificate).row("chain", format!("{chain} certificates came with it")).print(out)?;
                        match contract {
                            Ok(contract) => writeln!(out, "{FAINT}contract{FAINT:#}\n{}", indented(&contract)?)?,
                            Err(denial) => writeln!(out, "{BAD}contract{BAD:#} {denial}")?,
                        }
                    }
                }
                Ok(Exit::Success)
            }
            Err(denial) => {
                match format {
                    Format::Json => writeln!(out, "{}", json!({ "verified": false, "denial": denial }))?,
                    Format::Text => writeln!(out, "{BAD}{}{BAD:#} {denial}", denial.reason.verdict())?,
                }
                Ok(Exit::Refused)
            }
        }
    }
}

/// What came of one verdict.
enum Status {
    Passed,
    Refused(Vec<Denial>),
    NotReached,
}

impl Verify {
    fn run(self, format: Format, out: &mut impl Write) -> anyhow::Result<Exit> {
        let at = self.at.map_or_else(crate::clock::now, Ok)?;
        let trust = Trust::new(self.bundles()?, self.authorities.iter().cloned());
        let key = match &self.holder_certificate {
            Some(path) => Some(holder_key(path)?),
            None => self.holder_key,
        };
        let chain = self.chain.as_ref().map(|path| pem_certificates(path)).transpose()?;
        let octets = read(&self.file, MAX_FILE)?;
        let file = read_file(&octets).map(|file| CertificateFile { chain: chain.unwrap_or(file.chain), ..file });
        let report = self.verdicts(file, &trust, key.as_ref(), at);
        match format {
            Format::Json => writeln!(out, "{}", report.json())?,
            Format::Text => report.text(out)?,
        }
        Ok(if report.answer().is_none() { Exit::Success } else { Exit::Refused })
    }

    fn bundles(&self) -> anyhow::Result<Vec<TrustBundle>> {
        let read = |argument: &String| {
            let (domain, path) = match argument.split_once('=') {
                Some((domain, path)) => (TrustDomain::new(domain)?, Path::new(path)),
                None => match self.authorities.first() {
                    Some(authority) => (authority.trust_domain().clone(), Path::new(argument)),
                    None => anyhow::bail!("`--authority` is missing"),
                },
            };
            Ok(TrustBundle::from_pem(domain, &read_text(path, MAX_FILE)?)?)
        };
        self.bundles.iter().map(read).collect()
    }

    /// All five verdicts. The first three build on each other; the last two are both given.
    fn verdicts(
        &self,
        file: Result<CertificateFile, Denial>,
        trust: &Trust,
        key: Option<&Digest>,
        at: Timestamp,
    ) -> Report {
        let authentic = file.and_then(|file| {
            let certificate = profile(parse(&file.certificate)?)?;
            authenticate(certificate, &file.chain, trust, at)
        });
        match authentic {
            Ok(certificate) => {
                let targeting = targeting(&certificate, &self.holder, key, &self.broker);
                let authorization = authorization(&Certified::from(&certificate), at);
                Report { certificate: Some(certificate), refused: None, targeting, authorization }
            }
            Err(denial) => {
                Report { certificate: None, refused: Some(denial), targeting: Vec::new(), authorization: Vec::new() }
            }
        }
    }
}

struct Report {
    certificate: Option<VerifiedCertificate>,
    refused: Option<Denial>,
    targeting: Vec<Denial>,
    authorization: Vec<Denial>,
}

impl Report {
    /// The first reason, in order of precedence; none if the certificate is valid.
    fn answer(&self) -> Option<&Denial> {
        self.refused.as_ref().or_else(|| self.targeting.first()).or_else(|| self.authorization.first())
    }

    fn statuses(&self) -> impl Iterator<Item = (Verdict, Status)> {
        let status = |denials: &[Denial]| match denials {
            [] => Status::Passed,
            denials => Status::Refused(denials.to_vec()),
        };
        Verdict::ALL.into_iter().map(move |verdict| {
            let status = match (&self.refused, verdict) {
                (Some(denial), _) if denial.reason.verdict() == verdict => Status::Refused(vec![denial.clone()]),
                (Some(denial), _) if denial.reason.verdict() < verdict => Status::NotReached,
                (None, Verdict::Targeting) => status(&self.targeting),
                (None, Verdict::Authorization) => status(&self.authorization),
                _ => Status::Passed,
            };
            (verdict, status)
        })
    }

    fn json(&self) -> Value {
        let verdicts: Vec<Value> = self
            .statuses()
            .map(|(verdict, status)| match status {
                Status::Passed => json!({ "verdict": verdict, "status": "passed" }),
                Status::NotReached => json!({ "verdict": verdict, "status": "not_reached" }),
                Status::Refused(denials) => json!({ "verdict": verdict, "status": "refused", "denials": denials }),
            })
            .collect();
        let authority = self.certificate.as_ref().map(|certificate| certificate.authority().to_string());
        json!({
            "valid": self.answer().is_none(),
            "reason": self.answer().map(|denial| denial.reason),
            "verdicts": verdicts,
            "authority": authority,
            "bundle": self.certificate.as_ref().map(VerifiedCertificate::bundle),
            "certificate": self.certificate.as_ref().map(|certificate| describe(certificate.certificate())),
        })
    }

    fn text(&self, out: &mut impl Write) -> anyhow::Result<()> {
        for (verdict, status) in self.statuses() {
            match status {
                Status::Passed => writeln!(out, "{:13}  {GOOD}passed{GOOD:#}", verdict.as_str())?,
                Status::NotReached => writeln!(out, "{:13}  {FAINT}not reached{FAINT:#}", verdict.as_str())?,
                Status::Refused(denials) => {
                    for denial in denials {
                        let reason = denial.reason;
                        writeln!(out, "{:13}  {BAD}refused{BAD:#}  {reason}: {}", verdict.as_str(), denial.detail)?;
                    }
                }
            }
        }
        match (self.answer(), &self.certificate) {
            (None, Some(certificate)) => {
                writeln!(out, "{GOOD}valid{GOOD:#}: signed by {}", certificate.authority())?;
            }
            (Some(denial), _) => {
                writeln!(out, "{BAD}not valid{BAD:#}: {} {}", denial.reason.meaning(), denial.reason.mend())?;
            }
            (None, None) => {}
        }
        Ok(())
    }
}

fn describe(certificate: &ProfiledCertificate) -> Value {
    json!({
        "digest": certificate.digest(),
        "serial": certificate.serial(),
        "issuer": certificate.issuer().to_string(),
        "algorithm": certificate.algorithm().as_str(),
        "holder": certificate.holder().to_string(),
        "holder_key": certificate.holder_key(),
        "broker": certificate.broker().to_string(),
        "not_before": certificate.not_before(),
        "not_after": certificate.not_after(),
        "authority_key": base16ct::lower::encode_string(certificate.authority_key()),
        "admission": certificate.admission(),
    })
}

fn contract_value(contract: &Result<Contract, Denial>) -> Value {
    match contract {
        Ok(contract) => json!({
            "digest": contract.digest(),
            "contract": serde_json::from_str::<Value>(contract.canonical()).unwrap_or_default(),
        }),
        Err(denial) => json!({ "denial": denial }),
    }
}

fn table(certificate: &ProfiledCertificate) -> Table {
    let admission = certificate.admission();
    let mut table = Table::default();
    table
        .row("digest", certificate.digest())
        .row("serial", certificate.serial())
        .row("issuer", certificate.issuer())
        .row("algorithm", certificate.algorithm().as_str())
        .row("holder", certificate.holder());
    if let Some(key) = certificate.holder_key() {
        table.row("holder key", key);
    }
    table
        .row("broker", certificate.broker())
        .row("valid", format!("{} to {}", certificate.not_before(), certificate.not_after()))
        .row("tier", format!("{:?}, {:?}", admission.tier, admission.path).to_lowercase())
        .row("policy", format!("{}, epoch {}", admission.policy_digest, admission.policy_epoch))
        .row("revocation", format!("epoch {}", admission.revocation_epoch))
        .row("evidence", admission.evidence_digest);
    for approval in &admission.approvals {
        table.row("approved", format!("{} by {}", approval.approved_at, approval.approver));
    }
    table
}

fn indented(contract: &Contract) -> anyhow::Result<String> {
    let value: Value = serde_json::from_str(contract.canonical())?;
    Ok(format!("{value:#}"))
}

fn pem_certificates(path: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    read_certificates(&read_text(path, MAX_FILE)?)
        .map_err(|problem| anyhow::anyhow!("cannot read `{}`: {problem}", path.display()))
}

fn holder_key(path: &Path) -> anyhow::Result<Digest> {
    match pem_certificates(path)?.first() {
        Some(certificate) => Ok(public_key_digest(certificate)?),
        None => anyhow::bail!("`{}` holds no certificate", path.display()),
    }
}
