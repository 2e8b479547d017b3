//! Derives a decision again from its record and the artefacts that it names, and nothing else (I7).

use std::sync::Arc;

use super::body::{self, agree_with, read};
use super::decision::{CertifiedBy, Evaluated, Inline, Refused};
use super::statement::Statement;
use super::{Kind, restore_trust};
use crate::attribute_certificate::{Trust, VerifiedCertificate, authenticate, parse, profile};
use crate::ceiling::{Ceilings, CeilingsFile};
use crate::contract::Json;
use crate::decision::{Artefacts, Certified, Decision, RecordedFacts, RestoreError, Terms, evaluate};
use crate::digest::Digest;
use crate::epoch::EpochStatement;
use crate::reason::{Denial, Reason, Verdict};
use crate::timestamp::Timestamp;

/// What came of deriving a decision again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replayed {
    /// The same decision, octet for octet; of a refusal before authentication, the same reason with the same detail.
    Equal,
    /// The record does not hold what the refusal was about: it was too large to be kept, or no certificate came.
    NotKept,
}

/// Why a decision could not be derived again, or was another one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The record is no decision.
    #[error("a `{0}` record holds no decision")]
    Kind(Kind),
    /// The body is not of the schema.
    #[error("the body is not that of a decision: {0}")]
    Body(String),
    /// An artefact is not there.
    #[error("the {what} {digest} is not there")]
    Missing {
        /// What it is.
        what: &'static str,
        /// Its digest.
        digest: Digest,
    },
    /// An artefact has other octets than its digest says.
    #[error("the octets given for {0} have another digest")]
    Forged(Digest),
    /// An artefact cannot be read.
    #[error("the {what} is unusable: {problem}")]
    Artefact {
        /// What it is.
        what: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The certificate does not verify now, at the recorded time.
    #[error("the certificate was verified then, and is refused now")]
    Refused(#[source] Denial),
    /// The certificate verifies now, and was refused then.
    #[error("the certificate was refused then for `{0}`, and is good now")]
    Accepted(Reason),
    /// Its path ends in another bundle than the recorded one.
    #[error("the path of the certificate ends in another trust bundle than the recorded one")]
    Bundle,
    /// The facts cannot be restored.
    #[error("the facts cannot be restored")]
    Restore(#[source] RestoreError),
    /// The execution identity would live longer than the permit.
    #[error("the execution identity was planned until {planned}, and the permit ends at {deadline}")]
    Identity {
        /// The planned end of its life.
        planned: Timestamp,
        /// The deadline of the permit.
        deadline: Timestamp,
    },
    /// The decision is another one.
    #[error("another decision: `{place}` is {derived}, and was recorded as {recorded}")]
    Differs {
        /// The JSON pointer of the first difference.
        place: String,
        /// What was recorded there.
        recorded: String,
        /// What was derived there.
        derived: String,
    },
}

/// Where the octets of artefacts come from: `None` where there are none of this digest.
pub type Source<'s> = dyn FnMut(&Digest) -> Option<Vec<u8>> + 's;

/// Derives the decision of `statement` again. It does not verify the record itself: see [`super::Verifier`].
///
/// # Errors
/// The decision is another one, or cannot be derived: see [`ReplayError`].
pub fn replay(statement: &Statement, source: &mut Source<'_>) -> Result<Replayed, ReplayError> {
    if statement.kind != Kind::Decision {
        return Err(ReplayError::Kind(statement.kind));
    }
    let mut artefacts = Shelf(source);
    if body::is_refusal(&statement.body) {
        return refused(&read(&statement.body).map_err(ReplayError::Body)?, &mut artefacts);
    }
    evaluated(statement, &read(&statement.body).map_err(ReplayError::Body)?, &mut artefacts).map(|_| Replayed::Equal)
}

/// The terms that `statement` permitted, derived again as [`replay`] does; `None` if it permitted nothing. They are what
/// a reconciler asks the target about, and permit nothing themselves.
///
/// # Errors
/// As [`replay`].
pub fn permitted(statement: &Statement, source: &mut Source<'_>) -> Result<Option<Terms>, ReplayError> {
    if statement.kind != Kind::Decision {
        return Err(ReplayError::Kind(statement.kind));
    }
    if body::is_refusal(&statement.body) {
        return Ok(None);
    }
    let body = read(&statement.body).map_err(ReplayError::Body)?;
    match evaluated(statement, &body, &mut Shelf(source))? {
        Decision::Allow(permit) => Ok(Some(permit.terms().clone())),
        Decision::Deny(_) => Ok(None),
    }
}

/// Artefacts that are what their digests say.
pub(crate) struct Shelf<'a, 's>(&'a mut Source<'s>);

impl<'a, 's> Shelf<'a, 's> {
    pub(crate) const fn new(source: &'a mut Source<'s>) -> Self {
        Self(source)
    }
}

impl Shelf<'_, '_> {
    pub(crate) fn get(&mut self, what: &'static str, digest: &Digest) -> Result<Vec<u8>, ReplayError> {
        let octets = (self.0)(digest).ok_or(ReplayError::Missing { what, digest: *digest })?;
        if Digest::of(&octets) == *digest { Ok(octets) } else { Err(ReplayError::Forged(*digest)) }
    }

    fn chain(&mut self, digests: &[Digest]) -> Result<Vec<Vec<u8>>, ReplayError> {
        digests.iter().map(|digest| self.get("certificate of the chain", digest)).collect()
    }

    fn trust(&mut self, digest: &Digest) -> Result<Trust, ReplayError> {
        restore_trust(&self.get("trust", digest)?).map_err(|problem| ReplayError::Artefact { what: "trust", problem })
    }

    /// A value that stands in the body under this name, or is an artefact: its canonical text.
    fn text(&mut self, body: &Json, name: &'static str, inline: &Inline) -> Result<String, ReplayError> {
        match inline {
            Inline::Artefact(digest) => {
                let problem = |error: std::string::FromUtf8Error| ReplayError::Artefact {
                    what: name,
                    problem: error.to_string(),
                };
                String::from_utf8(self.get(name, digest)?).map_err(problem)
            }
            Inline::Here => Ok(body.get(name).map(Json::to_canonical).unwrap_or_default()),
        }
    }
}

fn evaluated(statement: &Statement, body: &Evaluated, artefacts: &mut Shelf<'_, '_>) -> Result<Decision, ReplayError> {
    let facts = artefacts.text(&statement.body, "facts", &body.facts)?;
    let recorded = RecordedFacts::parse(facts.as_bytes()).map_err(ReplayError::Restore)?;
    let verified = verify(&body.certified, recorded.now(), artefacts)?;
    let restored = Artefacts {
        certified: Certified::from(&verified),
        ceilings: Arc::new(ceilings(&artefacts.get("ceilings", &recorded.ceilings())?)?),
        statement: recorded.statement().map(|digest| epoch(&digest, artefacts)).transpose()?,
        body: recorded.body().map(|digest| artefacts.get("body", &digest)).transpose()?,
    };
    let facts = recorded.restore(restored).map_err(ReplayError::Restore)?;
    let decision = evaluate(&facts);
    let derived = decision.to_json();
    let then = artefacts.text(&statement.body, "decision", &body.decision)?;
    compare(&then, &derived)?;
    // Where the decision is an artefact, this is where the fields by which it is found are held against it.
    agree_with(&statement.about, &derived).map_err(ReplayError::Body)?;
    if let (Decision::Allow(permit), Some(identity)) = (&decision, &body.identity)
        && identity.not_after > permit.terms().deadline()
    {
        return Err(ReplayError::Identity { planned: identity.not_after, deadline: permit.terms().deadline() });
    }
    Ok(decision)
}

fn verify(by: &CertifiedBy, at: Timestamp, artefacts: &mut Shelf<'_, '_>) -> Result<VerifiedCertificate, ReplayError> {
    let certificate = artefacts.get("certificate", &by.certificate)?;
    let chain = artefacts.chain(&by.chain)?;
    let trust = artefacts.trust(&by.trust)?;
    let verified = authenticated(&certificate, &chain, &trust, at).map_err(ReplayError::Refused)?;
    if verified.bundle() == by.bundle { Ok(verified) } else { Err(ReplayError::Bundle) }
}

/// The first three verdicts.
fn authenticated(
    certificate: &[u8],
    chain: &[Vec<u8>],
    trust: &Trust,
    at: Timestamp,
) -> Result<VerifiedCertificate, Denial> {
    authenticate(profile(parse(certificate)?)?, chain, trust, at)
}

fn ceilings(octets: &[u8]) -> Result<Ceilings, ReplayError> {
    let unusable = |problem: String| ReplayError::Artefact { what: "set of ceilings", problem };
    let file: CeilingsFile = serde_json::from_slice(octets).map_err(|error| unusable(error.to_string()))?;
    Ceilings::new(file).map_err(|error| unusable(error.to_string()))
}

fn epoch(digest: &Digest, artefacts: &mut Shelf<'_, '_>) -> Result<Arc<EpochStatement>, ReplayError> {
    let octets = artefacts.get("epoch statement", digest)?;
    let statement = EpochStatement::parse(&octets);
    let unusable = |problem| ReplayError::Artefact { what: "epoch statement", problem };
    statement.map(Arc::new).map_err(|error| unusable(error.to_string()))
}

fn refused(body: &Refused, artefacts: &mut Shelf<'_, '_>) -> Result<Replayed, ReplayError> {
    let reason = body.denial.reason;
    let derivable = reason.verdict() <= Verdict::Signature && reason != Reason::CertificatePem;
    let (Some(certificate), Some(trust), true) = (&body.certificate, &body.trust, body.kept && derivable) else {
        return Ok(Replayed::NotKept);
    };
    let certificate = artefacts.get("certificate", certificate)?;
    let chain = artefacts.chain(&body.chain)?;
    let trust = artefacts.trust(trust)?;
    match authenticated(&certificate, &chain, &trust, body.at) {
        Ok(_) => Err(ReplayError::Accepted(reason)),
        Err(denial) if denial.reason == reason && super::decision::shown(&denial.detail) == body.denial.detail => {
            Ok(Replayed::Equal)
        }
        Err(denial) => Err(ReplayError::Differs {
            place: "/denial".to_owned(),
            recorded: body.denial.to_string(),
            derived: denial.to_string(),
        }),
    }
}

/// Whether the recorded text is that of the derived decision; if not, where they first differ.
pub(crate) fn compare(recorded: &str, derived: &Json) -> Result<(), ReplayError> {
    if recorded == derived.to_canonical() {
        return Ok(());
    }
    let json = Json::parse_within(recorded.as_bytes(), super::MAX_ARTEFACT);
    let json = json.map_err(|error| ReplayError::Artefact { what: "decision", problem: error.to_string() })?;
    let (place, recorded, derived) = difference(String::new(), Some(&json), Some(derived));
    Err(ReplayError::Differs { place, recorded, derived })
}

/// The pointer of the first difference, and the two values there.
fn difference(place: String, a: Option<&Json>, b: Option<&Json>) -> (String, String, String) {
    let inside: Vec<(String, Option<&Json>, Option<&Json>)> = match (a, b) {
        (Some(Json::Object(a)), Some(Json::Object(b))) => {
            let names = a.iter().chain(b.iter()).map(|(name, _)| name);
            names.map(|name| (format!("{place}/{name}"), a.get(name), b.get(name))).collect()
        }
        (Some(Json::Array(a)), Some(Json::Array(b))) => {
            (0..a.len().max(b.len())).map(|index| (format!("{place}/{index}"), a.get(index), b.get(index))).collect()
        }
        _ => Vec::new(),
    };
    match inside.into_iter().find(|(_, a, b)| a != b) {
        Some((place, a, b)) => difference(place, a, b),
        None => {
            let show = |json: Option<&Json>| {
                json.map_or("absent".to_owned(), |json| json.to_canonical().chars().take(200).collect())
            };
            (place, show(a), show(b))
        }
    }
}
