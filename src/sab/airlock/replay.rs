//! Derives an admission again from its record and the artefacts that it names, and nothing else (I7).

use base64ct::{Base64, Encoding};
use serde::Deserialize;
use spiffe::SpiffeId;

use super::draft::{self, Decided, media};
use super::judge::Basis;
use crate::attribute_certificate::{AuthorityCertificate, InvalidTemplate, parse, profile};
use crate::contract::{Contract, Json, Version, decode};
use crate::digest::Digest;
use crate::record::media as general;
use crate::record::{Artefact, Draft, Kind, ReplayError, Replayed, Shelf, Source, Statement, compare};
use crate::sab::ledger::State;
use crate::sab::policy::{Policies, PolicyFiles};
use crate::sab::proposal::{Live, Proposal};
use crate::timestamp::Timestamp;

/// What is read of a record's body; all of it is derived and compared.
#[derive(Deserialize)]
struct Wire {
    event: String,
    id: String,
    proposal: Digest,
    proposed_at: Timestamp,
    holder_key: Option<Digest>,
    expires_at: Option<Timestamp>,
    facts: Option<Json>,
    live: Option<Digest>,
    policy_set: Option<Digest>,
}

/// An object as it was read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireLive {
    identity: String,
    version: Version,
    state: Json,
}

/// Derives what `statement` says that an authority decided; `None` if it is no decision on a proposal. It does not verify
/// the record itself: see [`crate::record::Verifier`]. An admission is equal when everything of its record and its
/// certificate is, but for the name of the proposal, the serial number and the signature, which is verified.
///
/// # Errors
/// The decision is another one, or cannot be derived: see [`ReplayError`].
pub fn replay(statement: &Statement, source: &mut Source<'_>) -> Result<Option<Replayed>, ReplayError> {
    if statement.kind != Kind::Admission {
        return Err(ReplayError::Kind(statement.kind));
    }
    if statement.body.get("schema").and_then(Json::as_str) != Some(draft::SCHEMA) {
        return Ok(None);
    }
    let body = |(pointer, message): (String, String)| ReplayError::Body(format!("`{pointer}`: {message}"));
    let wire: Wire = decode(&statement.body).map_err(body)?;
    if wire.event == State::Expired.as_str() {
        return expired(statement, &wire).map(Some);
    }
    let derived = derive(statement, wire, &mut Shelf::new(source))?;
    compare(&statement.body.to_canonical(), &derived.body)?;
    compare(&statement.about.to_json().to_canonical(), &derived.about.to_json())?;
    let kept = statement.artefacts.iter().map(|artefact| artefact.digest);
    if !kept.eq(derived.artefacts.iter().map(Artefact::digest)) || statement.subjects != derived.subjects {
        return Err(ReplayError::Body("the record names other artefacts or subjects than the decision has".to_owned()));
    }
    Ok(Some(Replayed::Equal))
}

/// A proposal expires when its time is over, and for nothing else.
fn expired(statement: &Statement, wire: &Wire) -> Result<Replayed, ReplayError> {
    match wire.expires_at {
        Some(end) if end <= statement.time => Ok(Replayed::Equal),
        end => Err(ReplayError::Differs {
            place: "/event".to_owned(),
            recorded: wire.event.clone(),
            derived: format!("pending: it expires at {}", end.map(|end| end.to_string()).unwrap_or_default()),
        }),
    }
}

fn derive(statement: &Statement, wire: Wire, shelf: &mut Shelf<'_, '_>) -> Result<Draft, ReplayError> {
    let needed = |name: &str| ReplayError::Body(format!("`/{name}` is missing"));
    let authority = statement.about.authority.clone().ok_or_else(|| needed("authority"))?;
    let holder = statement.about.agent.clone().ok_or_else(|| needed("agent"))?;
    let facts = wire.facts.ok_or_else(|| needed("facts"))?;
    let basis = Basis::read(&facts, holder, wire.holder_key, wire.proposed_at).map_err(ReplayError::Body)?;
    let text = text(shelf.get("proposal", &wire.proposal)?, "proposal")?;
    let proposal = Proposal::parse(&text).map_err(|error| unusable("proposal", &error))?;
    let live = live(&shelf.get("live state", &wire.live.ok_or_else(|| needed("live"))?)?)?;
    let set = wire.policy_set.map(|digest| shelf.get("policy set", &digest)).transpose()?;
    let policies = policies(set.as_deref(), basis.policy_digest)?;
    let compiled = proposal.compile(&live, basis.now);
    let (verdict, contract) = basis.judge(&proposal, &live, compiled, &policies);
    let mut entry = basis.entry(wire.id, &text, verdict, contract.as_ref());
    if entry.state == State::Admitted {
        let contract = contract.as_ref().ok_or_else(|| needed("contract"))?;
        let (certificate, chain) = certificate(statement, shelf)?;
        let octets = certify(&basis, &proposal, contract, &authority, entry.detail.tier, &certificate, &chain)?;
        entry.certificate = Some(octets);
        entry.detail.chain = chain.iter().map(|der| Base64::encode_string(der)).collect();
    }
    let set = set.map(|octets| Artefact::new(media::POLICIES, octets)).transpose();
    let policies = set.map_err(|error| unusable("policy set", &error))?;
    let decided = Decided { entry, basis, live, contract, proposal, policies };
    draft::decided(&decided, &authority).map_err(|error| ReplayError::Body(error.to_string()))
}

fn unusable(what: &'static str, error: &dyn std::fmt::Display) -> ReplayError {
    ReplayError::Artefact { what, problem: error.to_string() }
}

fn text(octets: Vec<u8>, what: &'static str) -> Result<String, ReplayError> {
    String::from_utf8(octets).map_err(|error| unusable(what, &error))
}

fn live(octets: &[u8]) -> Result<Vec<Live>, ReplayError> {
    let read: Vec<Option<WireLive>> = Json::parse_within(octets, crate::record::MAX_ARTEFACT)
        .map_err(|error| unusable("live state", &error))
        .and_then(|json| decode(&json).map_err(|(_, message)| unusable("live state", &message)))?;
    let present = |live: WireLive| Live::Present { identity: live.identity, version: live.version, state: live.state };
    Ok(read.into_iter().map(|live| live.map_or(Live::Absent, present)).collect())
}

/// The policies of the record, or those that refuse everything where they were broken.
fn policies(octets: Option<&[u8]>, digest: Digest) -> Result<Policies, ReplayError> {
    let policies = match octets {
        None => Policies::deny_all(),
        Some(octets) => {
            let files = PolicyFiles::from_json(octets).map_err(|problem| unusable("policy set", &problem))?;
            files.load().map_err(|faults| {
                let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
                unusable("policy set", &faults.join("; "))
            })?
        }
    };
    if policies.digest() == digest {
        Ok(policies)
    } else {
        Err(ReplayError::Differs {
            place: "/facts/policy_digest".to_owned(),
            recorded: digest.to_string(),
            derived: policies.digest().to_string(),
        })
    }
}

/// The octets of the certificate and of its chain, as the record names them.
fn certificate(statement: &Statement, shelf: &mut Shelf<'_, '_>) -> Result<(Vec<u8>, Vec<Vec<u8>>), ReplayError> {
    let mut of = |media: &str| {
        let named = statement.artefacts.iter().filter(|artefact| artefact.media_type == media);
        named.map(|artefact| shelf.get("certificate", &artefact.digest)).collect::<Result<Vec<_>, _>>()
    };
    let (certificates, chain) = (of(general::CERTIFICATE)?, of(general::CHAIN)?);
    match <[Vec<u8>; 1]>::try_from(certificates) {
        Ok([certificate]) => Ok((certificate, chain)),
        Err(_) => Err(ReplayError::Body("an admission has exactly one certificate".to_owned())),
    }
}

/// The certificate as it has to be, with the serial number and the signature of the one that is kept.
fn certify(
    basis: &Basis,
    proposal: &Proposal,
    contract: &Contract,
    authority: &SpiffeId,
    tier: Option<crate::attribute_certificate::Tier>,
    kept: &[u8],
    chain: &[Vec<u8>],
) -> Result<Vec<u8>, ReplayError> {
    let wrong = |error: InvalidTemplate| unusable("certificate", &error);
    let parsed = parse(kept).map_err(ReplayError::Refused)?;
    let serial = profile(parsed.clone()).map_err(ReplayError::Refused)?.serial();
    let serial = base16ct::lower::decode_vec(&serial).map_err(|error| unusable("certificate", &error))?;
    let leaf = chain.first().ok_or(ReplayError::Body("the authority's chain is missing".to_owned()))?;
    let signer = AuthorityCertificate::new(leaf).map_err(wrong)?;
    if signer.id() != authority {
        return Err(unusable("certificate", &format_args!("`{}` signed it, and not `{authority}`", signer.id())));
    }
    let admission = basis.admission(proposal, tier);
    let template = basis.template(contract, &admission, &serial);
    let template = template.ok_or(ReplayError::Body("an admission needs a target".to_owned()))?;
    let derived =
        template.prepare(&signer).and_then(|unsigned| unsigned.complete(parsed.signature())).map_err(wrong)?;
    Ok(derived.octets().to_vec())
}
