//! The record of a decision: everything that it can be derived again from.

use base64ct::{Base64, Encoding};
use spiffe::SpiffeId;

use super::judge::Basis;
use crate::attribute_certificate::parse;
use crate::contract::{Contract, Json};
use crate::digest::Digest;
use crate::record::media as general;
use crate::record::{About, Artefact, Decided as Answer, Draft, InvalidDraft, Kind, Subject};
use crate::sab::epochs::Revocation;
use crate::sab::ledger::{Entry, State};
use crate::sab::proposal::{Live, Proposal};
use crate::timestamp::Timestamp;

/// How many explanations stand in a record.
const MAX_TEXTS: usize = 32;

/// The schema of the body of a decision on a proposal.
pub(super) const SCHEMA: &str = "seb.dev/admission/v1";

/// The media types of what an admission names.
pub(super) mod media {
    pub(in super::super) const PROPOSAL: &str = "application/vnd.seb.proposal.v1";
    pub(in super::super) const LIVE: &str = "application/vnd.seb.live-state.v1+json";
    pub(in super::super) const EVIDENCE: &str = "application/vnd.seb.evidence.v1+json";
    pub(in super::super) const CONTRACT: &str = "application/vnd.seb.contract.v1+json";
    pub(in super::super) const POLICIES: &str = "application/vnd.seb.policies.v1+json";
}

/// What was decided, and what the record of it needs.
pub(super) struct Decided {
    pub(super) entry: Entry,
    pub(super) basis: Basis,
    pub(super) live: Vec<Live>,
    pub(super) contract: Option<Contract>,
    pub(super) proposal: Proposal,
    /// The texts of the policies; none where they are broken.
    pub(super) policies: Option<Artefact>,
}

/// The draft of the record that says what was decided on a proposal, and why.
pub(super) fn decided(decided: &Decided, authority: &SpiffeId) -> Result<Draft, InvalidDraft> {
    let entry = &decided.entry;
    let proposal = Artefact::new(media::PROPOSAL, entry.detail.proposal.as_bytes())?;
    let live = Artefact::new(media::LIVE, live_json(&decided.live).into_bytes())?;
    let evidence = decided.proposal.evidence_statement().to_canonical();
    let evidence = Artefact::new(media::EVIDENCE, evidence.into_bytes())?;
    let named = [
        ("facts", decided.basis.to_json()),
        ("live", Json::string(live.digest())),
        ("evidence", Json::string(evidence.digest())),
        ("policy_set", optional(decided.policies.as_ref().map(Artefact::digest))),
    ];
    let mut artefacts = vec![proposal, live, evidence];
    if let Some(contract) = &decided.contract {
        artefacts.push(Artefact::new(media::CONTRACT, contract.canonical().as_bytes())?);
    }
    if let Some(certificate) = &entry.certificate {
        artefacts.push(Artefact::new(general::CERTIFICATE, certificate.as_slice())?);
    }
    for der in &entry.detail.chain {
        let der = Base64::decode_vec(der).map_err(|error| InvalidDraft::Body(error.to_string()))?;
        artefacts.push(Artefact::new(general::CHAIN, der)?);
    }
    artefacts.extend(decided.policies.clone());
    let resource = decided.proposal.resources().first().and_then(|it| it.paths().into_iter().next());
    let body = body(entry, named);
    Ok(Draft { artefacts, ..draft(entry, authority, entry.proposed_at, body, resource, Some(decided)) })
}

/// The draft of the record that says that nobody decided on a proposal in time.
pub(super) fn expired(entry: &Entry, authority: &SpiffeId, now: Timestamp) -> Result<Draft, InvalidDraft> {
    let draft = draft(entry, authority, now, body(entry, []), None, None);
    draft.check().map(|()| draft)
}

/// The draft of the record that says who revoked what, and why.
pub(super) fn revoked(
    revocation: &Revocation,
    operator: &SpiffeId,
    authority: &SpiffeId,
    cause: &str,
    time: Timestamp,
) -> Draft {
    let (kind, what) = match revocation {
        Revocation::Certificate(digest) => ("certificate", digest.to_string()),
        Revocation::Contract(digest) => ("contract", digest.to_string()),
        Revocation::Holder(holder) => ("holder", holder.to_string()),
        Revocation::Target(target) => ("target", target.to_string()),
        Revocation::Everything => ("everything", "everything".to_owned()),
    };
    let (certificate, target) = match revocation {
        Revocation::Certificate(digest) => (Some(*digest), None),
        Revocation::Target(target) => (None, Some(target.clone())),
        Revocation::Holder(_) | Revocation::Contract(_) | Revocation::Everything => (None, None),
    };
    let body = Json::object([
        ("schema", Json::from("seb.dev/revocation/v1")),
        ("event", Json::from("revoked")),
        ("kind", Json::from(kind)),
        ("revoked", Json::from(what.as_str())),
        ("operator", Json::string(operator)),
        ("cause", Json::from(cause)),
    ]);
    Draft {
        kind: Kind::Admission,
        time,
        subjects: vec![Subject::new("revoked", Digest::of(what.as_bytes()))],
        about: About {
            agent: Some(operator.clone()),
            authority: Some(authority.clone()),
            target,
            certificate,
            ..About::default()
        },
        body,
        artefacts: Vec::new(),
    }
}

fn draft(
    entry: &Entry,
    authority: &SpiffeId,
    time: Timestamp,
    body: Json,
    resource: Option<String>,
    decided: Option<&Decided>,
) -> Draft {
    // Named by what was signed, as everywhere.
    let certificate = entry.certificate.as_deref().and_then(|octets| parse(octets).and_then(|it| it.digest()).ok());
    let proposal = Subject::new("proposal", Digest::of(entry.detail.proposal.as_bytes()));
    let contract = entry.detail.contract_digest.map(|digest| Subject::new("contract", digest));
    let subjects = [Some(proposal), contract, certificate.map(|digest| Subject::new("certificate", digest))];
    let about = About {
        agent: Some(entry.holder.clone()),
        authority: Some(authority.clone()),
        target: decided.map(|decided| decided.proposal.target().name.clone()),
        resource,
        certificate,
        decision: match entry.state {
            State::Admitted => Some(Answer::Allow),
            State::Refused | State::Expired => Some(Answer::Deny),
            State::Pending => None,
        },
        ..About::default()
    };
    Draft {
        kind: Kind::Admission,
        time,
        subjects: subjects.into_iter().flatten().collect(),
        about,
        body,
        artefacts: Vec::new(),
    }
}

fn body<const N: usize>(entry: &Entry, more: [(&'static str, Json); N]) -> Json {
    let texts = |texts: &[String]| texts.iter().take(MAX_TEXTS).map(|text| Json::from(text.as_str())).collect::<Json>();
    let detail = &entry.detail;
    let always = [
        ("schema", Json::from(SCHEMA)),
        ("id", Json::from(entry.id.as_str())),
        ("event", Json::string(entry.state)),
        ("proposal", Json::string(Digest::of(detail.proposal.as_bytes()))),
        ("proposed_at", Json::string(entry.proposed_at)),
        ("holder_key", optional(detail.holder_key)),
        ("contract", optional(detail.contract_digest)),
        ("tier", optional(detail.tier.map(tier_name))),
        ("policies", texts(&detail.policies)),
        ("explanations", texts(&detail.explanations)),
        ("expires_at", optional(entry.expires_at)),
    ];
    Json::object(always.into_iter().chain(more).filter(|(_, value)| *value != Json::Null))
}

/// The name of a tier in records, in the API and in output.
pub(crate) const fn tier_name(tier: crate::attribute_certificate::Tier) -> &'static str {
    use crate::attribute_certificate::Tier;
    match tier {
        Tier::Low => "low",
        Tier::Moderate => "moderate",
        Tier::High => "high",
        Tier::Critical => "critical",
    }
}

fn live_json(live: &[Live]) -> String {
    let object = |live: &Live| match live {
        Live::Absent => Json::Null,
        Live::Present { identity, version, state } => Json::object([
            ("identity", Json::string(identity)),
            ("version", Json::string(version)),
            ("state", state.clone()),
        ]),
    };
    live.iter().map(object).collect::<Json>().to_canonical()
}

fn optional(value: Option<impl std::fmt::Display>) -> Json {
    value.map_or(Json::Null, Json::string)
}
