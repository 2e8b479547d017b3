//! Drafts of decisions: evaluated ones, and refusals before a certificate was known to be good.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use spiffe::SpiffeId;

use super::about::{About, Decided};
use super::draft::{Artefact, Draft, InvalidDraft, Subject, is_deeper};
use super::statement::number;
use super::{Kind, media};
use crate::attribute_certificate::MAX_CERTIFICATE_OCTETS;
use crate::contract::{Contract, Json};
use crate::decision::{Decision, Facts, MutationId};
use crate::digest::Digest;
use crate::execution::Grade;
use crate::reason::Denial;
use crate::spiffe_id;
use crate::timestamp::Timestamp;

/// The most octets of facts, or of a decision, inside a record. Two of them and the rest stay below 48 KiB, which base64
/// makes less than 64.
const INLINE: usize = 16 * 1024;
/// How deep they can be nested there.
const INLINE_DEPTH: usize = 24;
/// The longest trace context.
const MAX_TRACE: usize = 128;

/// What a certificate was verified with: enough to verify it again.
#[derive(Debug, Clone)]
pub struct Presented {
    /// The attribute certificate, as it was sent.
    pub certificate: Artefact,
    /// The public-key certificates that came with it, in their order.
    pub chain: Vec<Artefact>,
    /// What the broker trusted: [`super::trust_artefact`].
    pub trust: Artefact,
}

/// What a decision depended on besides its facts, and what follows from it.
#[derive(Debug, Clone)]
pub struct DecisionContext {
    /// The certificate and what it was verified with.
    pub presented: Presented,
    /// The digest of the trust bundle in which its path ended.
    pub bundle: Digest,
    /// Where that bundle came from.
    pub source: Option<TrustSource>,
    /// The canonical ceilings of the facts: [`media::CEILINGS`].
    pub ceilings: Artefact,
    /// The canonical epoch statement of the facts, if they have one: [`media::EPOCH`].
    pub statement: Option<Artefact>,
    /// The detached body of the request, if it has one.
    pub body: Option<Artefact>,
    /// The identity about to be minted, where the call is allowed.
    pub identity: Option<PlannedIdentity>,
    /// How drift will be held against the call.
    pub grade: Option<Grade>,
    /// The W3C trace context of the request; what is longer than 128 octets is left out.
    pub trace: Option<String>,
}

/// Where a trust bundle came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrustSource {
    /// The folder with the broker's own identity.
    Folder,
    /// The SPIFFE Workload API: the broker's own trust domain, or one that it federates with.
    WorkloadApi,
    /// A file.
    File,
    /// A SPIFFE bundle endpoint.
    BundleEndpoint,
}

impl TrustSource {
    /// Its name in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Folder => "folder",
            Self::WorkloadApi => "workload_api",
            Self::File => "file",
            Self::BundleEndpoint => "bundle_endpoint",
        }
    }
}

/// The execution identity that is about to be minted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedIdentity {
    /// Its SPIFFE ID.
    pub spiffe_id: SpiffeId,
    /// The audiences of a JWT-SVID; none of an X509-SVID.
    pub audiences: Option<Vec<String>>,
    /// The serial number of its certificate, in lower-case hexadecimal; none where the issuer chooses it later, and none of
    /// a JWT-SVID.
    pub serial: Option<String>,
    /// The end of its life.
    pub not_after: Timestamp,
}

/// A refusal before the certificate was known to be good.
#[derive(Debug, Clone)]
pub struct RefusalParts<'r> {
    /// When.
    pub time: Timestamp,
    /// Who called, by its SVID.
    pub caller: &'r SpiffeId,
    /// The exact reason.
    pub denial: &'r Denial,
    /// The attribute certificate as it was sent; none if there was none.
    pub certificate: Option<&'r [u8]>,
    /// The public-key certificates as they were sent.
    pub chain: &'r [Vec<u8>],
    /// What the broker trusted: [`super::trust_artefact`].
    pub trust: Option<Artefact>,
    /// The digest of the request.
    pub request: Option<Digest>,
    /// The W3C trace context of the request.
    pub trace: Option<&'r str>,
}

/// The body of a `decision` record whose facts were evaluated.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "decision")]
pub(super) struct Evaluated {
    /// The facts of the decision, or their digest where they are an artefact.
    #[schemars(with = "Json")]
    pub(super) facts: Inline,
    /// The decision, or its digest where it is an artefact.
    #[schemars(with = "Json")]
    pub(super) decision: Inline,
    /// What the certificate was verified with.
    pub(super) certified: CertifiedBy,
    /// The digest of the request.
    #[expect(dead_code, reason = "for the schema and the check of the form")]
    pub(super) request: Digest,
    /// The execution identity about to be minted.
    pub(super) identity: Option<Identity>,
    /// How drift will be held against the call.
    #[expect(dead_code, reason = "for the schema and the check of the form")]
    pub(super) grade: Option<Grade>,
    /// The W3C trace context.
    #[expect(dead_code, reason = "for the schema and the check of the form")]
    pub(super) trace: Option<String>,
}

/// What a certificate was verified with, by digest.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct CertifiedBy {
    /// The attribute certificate.
    pub(super) certificate: Digest,
    /// The public-key certificates that came with it.
    pub(super) chain: Vec<Digest>,
    /// The artefact of what the broker trusted.
    pub(super) trust: Digest,
    /// The trust bundle in which the path ended.
    pub(super) bundle: Digest,
    /// Where that bundle came from.
    #[expect(dead_code, reason = "for the schema and the check of the form")]
    pub(super) source: Option<TrustSource>,
}

/// An execution identity.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Identity {
    /// Its SPIFFE ID.
    #[schemars(with = "String")]
    pub(super) spiffe_id: spiffe_id::Text,
    /// Whether it is a certificate or a token.
    #[serde(default)]
    pub(super) form: IdentityForm,
    /// The audiences of a JWT-SVID.
    pub(super) audiences: Option<Vec<String>>,
    /// The serial number of its certificate, in hexadecimal, where it was known before the minting.
    pub(super) serial: Option<String>,
    /// The end of its life.
    pub(super) not_after: Timestamp,
}

/// The form of an execution identity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum IdentityForm {
    /// An X509-SVID.
    #[default]
    X509,
    /// A JWT-SVID.
    Jwt,
}

impl Identity {
    /// Whether it is one that can be, and that of this mutation: one for each mutation that is allowed.
    pub(super) fn is_of(&self, mutation: &MutationId) -> bool {
        let jwt = self.form == IdentityForm::Jwt;
        let count = self.audiences.as_ref().map(Vec::len);
        let named = self.spiffe_id.0.path().rsplit('/').next() == Some(mutation.as_str());
        named && count.is_some() == jwt && count != Some(0) && !(jwt && self.serial.is_some())
    }
}

/// The body of a `decision` record about a request without a good certificate.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "refusal")]
pub(super) struct Refused {
    /// Who called.
    #[expect(dead_code, reason = "for the schema and the check of the form")]
    #[schemars(with = "String")]
    pub(super) caller: spiffe_id::Text,
    /// When.
    pub(super) at: Timestamp,
    /// The exact reason.
    pub(super) denial: Denial,
    /// The attribute certificate as it was sent, if there was one.
    pub(super) certificate: Option<Digest>,
    /// The public-key certificates as they were sent.
    pub(super) chain: Vec<Digest>,
    /// The artefact of what the broker trusted.
    pub(super) trust: Option<Digest>,
    /// Whether what was sent is kept; what is too large is not.
    pub(super) kept: bool,
    /// The digest of the request.
    #[expect(dead_code, reason = "for the schema and the check of the form")]
    pub(super) request: Option<Digest>,
    /// The W3C trace context.
    #[expect(dead_code, reason = "for the schema and the check of the form")]
    pub(super) trace: Option<String>,
}

/// A value, or the digest of the artefact that it is.
#[derive(Debug)]
pub(super) enum Inline {
    /// It stands in the body.
    Here,
    /// It is an artefact.
    Artefact(Digest),
}

impl<'de> Deserialize<'de> for Inline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = Inline;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object, or the digest of an artefact")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Inline, E> {
                text.parse().map(Inline::Artefact).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Inline, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Inline::Here)
            }
        }
        deserializer.deserialize_any(Form)
    }
}

/// The draft of a decision that was evaluated, with everything that is needed to derive it again (I7).
///
/// # Errors
/// An artefact is missing that the facts name, or facts or decision are too large to be kept.
pub fn decision(facts: &Facts, decision: &Decision, context: DecisionContext) -> Result<Draft, InvalidDraft> {
    let parts = facts.certified.parts();
    let mut artefacts = context.presented.chain.clone();
    artefacts.extend([context.presented.certificate.clone(), context.presented.trust.clone(), context.ceilings]);
    artefacts.extend(context.statement);
    artefacts.extend(context.body);
    let recorded = facts.recorded();
    let named = [Some(parts.digest), Some(recorded.ceilings()), recorded.statement(), recorded.body()];
    // The certificate is named by what was signed, which need not be the digest of the octets.
    let have = |digest: &Digest| *digest == parts.digest || artefacts.iter().any(|a| a.digest() == *digest);
    if !named.iter().flatten().all(have) {
        return Err(InvalidDraft::Missing);
    }
    let body = members([
        ("facts", Some(inline(recorded.to_json(), media::FACTS, &mut artefacts)?)),
        ("decision", Some(inline(decision.to_json(), media::DECISION, &mut artefacts)?)),
        ("certified", Some(certified(&context.presented, context.bundle, context.source))),
        ("request", Some(Json::string(facts.request.digest()))),
        ("identity", context.identity.as_ref().map(PlannedIdentity::to_json)),
        ("grade", context.grade.map(|grade| Json::from(grade.as_str()))),
        ("trace", trace(context.trace.as_deref())),
    ]);
    let mut subjects =
        vec![Subject::new("certificate", parts.digest), Subject::new("contract", facts.certified.contract_digest())];
    if let Decision::Allow(permit) = decision {
        let terms = permit.terms();
        subjects.push(Subject::new("call", terms.call_digest()));
        subjects.push(Subject::new("mutation", Digest::of(terms.mutation_id().as_str().as_bytes())));
    }
    let about = about(facts, decision);
    Ok(Draft { kind: Kind::Decision, time: facts.observed.now, subjects, about, body, artefacts })
}

fn about(facts: &Facts, decision: &Decision) -> About {
    let contract = facts.certified.contract().ok();
    let step = contract.and_then(|contract| contract.step(facts.request.step.as_ref()).ok());
    let paths = step.map(|step| step.mutation().resource().paths());
    let (mutation_id, decided) = match decision {
        Decision::Allow(permit) => (Some(permit.terms().mutation_id().clone()), Decided::Allow),
        Decision::Deny(_) => (None, Decided::Deny),
    };
    About {
        agent: Some(facts.peer.id.clone()),
        authority: Some(facts.certified.parts().authority.clone()),
        target: contract.map(Contract::target_name).cloned(),
        resource: paths.and_then(|paths| paths.into_iter().next()).map(About::fit_resource),
        certificate: Some(facts.certified.parts().digest),
        mutation_id,
        decision: Some(decided),
        state: None,
        reason: decision.answer().map(|denial| denial.reason),
    }
}

fn certified(presented: &Presented, bundle: Digest, source: Option<TrustSource>) -> Json {
    let chain = presented.chain.iter().map(|artefact| Json::string(artefact.digest())).collect();
    members([
        ("certificate", Some(Json::string(presented.certificate.digest()))),
        ("chain", Some(chain)),
        ("trust", Some(Json::string(presented.trust.digest()))),
        ("bundle", Some(Json::string(bundle))),
        ("source", source.map(|source| Json::from(source.as_str()))),
    ])
}

impl PlannedIdentity {
    fn to_json(&self) -> Json {
        let form = if self.audiences.is_some() { "jwt" } else { "x509" };
        let audiences = self.audiences.as_ref();
        members([
            ("spiffe_id", Some(Json::string(&self.spiffe_id))),
            ("form", Some(Json::from(form))),
            ("audiences", audiences.map(|all| all.iter().map(|one| Json::from(one.as_str())).collect())),
            ("serial", self.serial.as_deref().map(Json::from)),
            ("not_after", Some(Json::string(self.not_after))),
        ])
    }
}

/// The draft of a refusal before the certificate was known to be good. What was sent is kept as artefacts, so that the
/// refusal can be derived again, unless it is larger than a certificate can be.
///
/// # Errors
/// Never for a caller and a denial of ordinary size.
pub fn refusal(parts: &RefusalParts<'_>) -> Result<Draft, InvalidDraft> {
    let octets: usize = parts.certificate.map_or(0, <[u8]>::len) + parts.chain.iter().map(Vec::len).sum::<usize>();
    let kept = octets <= 2 * MAX_CERTIFICATE_OCTETS && parts.chain.len() <= 8;
    let mut artefacts = Vec::new();
    if kept {
        if let Some(octets) = parts.certificate {
            artefacts.push(Artefact::new(media::CERTIFICATE, octets)?);
        }
        for octets in parts.chain {
            artefacts.push(Artefact::new(media::CHAIN, octets.as_slice())?);
        }
        artefacts.extend(parts.trust.clone());
    }
    let certificate = parts.certificate.map(Digest::of);
    let body = members([
        ("caller", Some(Json::string(parts.caller))),
        ("at", Some(Json::string(parts.time))),
        ("denial", Some(denial(parts.denial))),
        ("certificate", certificate.map(Json::string)),
        ("octets", Some(number(u64::try_from(octets).unwrap_or(u64::MAX)))),
        ("chain", Some(parts.chain.iter().take(8).map(|octets| Json::string(Digest::of(octets))).collect())),
        ("trust", parts.trust.as_ref().map(|trust| Json::string(trust.digest()))),
        ("kept", Some(Json::from(kept))),
        ("request", parts.request.map(Json::string)),
        ("trace", trace(parts.trace)),
    ]);
    let subject = match (certificate, parts.request) {
        (Some(certificate), _) => Subject::new("certificate", certificate),
        (None, Some(request)) => Subject::new("request", request),
        (None, None) => Subject::new("caller", Digest::of(parts.caller.to_string().as_bytes())),
    };
    let about = About {
        agent: Some(parts.caller.clone()),
        certificate,
        decision: Some(Decided::Deny),
        reason: Some(parts.denial.reason),
        ..About::default()
    };
    Ok(Draft { kind: Kind::Decision, time: parts.time, subjects: vec![subject], about, body, artefacts })
}

fn denial(denial: &Denial) -> Json {
    Json::object([("reason", Json::from(denial.reason.code())), ("detail", Json::from(shown(&denial.detail)))])
}

/// As much of a detail as a record of a refusal holds.
pub(super) fn shown(detail: &str) -> String {
    detail.chars().take(2048).collect()
}

/// The value itself, or the digest of the artefact that it becomes because it is too large.
pub(super) fn inline(json: Json, media_type: &str, artefacts: &mut Vec<Artefact>) -> Result<Json, InvalidDraft> {
    let text = json.to_canonical();
    if text.len() <= INLINE && !is_deeper(&json, INLINE_DEPTH) {
        return Ok(json);
    }
    let artefact = Artefact::new(media_type, text.into_bytes())?;
    let digest = Json::string(artefact.digest());
    artefacts.push(artefact);
    Ok(digest)
}

/// A trace context of ordinary length.
pub(super) fn trace(trace: Option<&str>) -> Option<Json> {
    trace.filter(|trace| trace.len() <= MAX_TRACE).map(Json::from)
}

/// An object of the members that there are.
pub(super) fn members(members: impl IntoIterator<Item = (&'static str, Option<Json>)>) -> Json {
    Json::object(members.into_iter().filter_map(|(name, value)| Some((name, value?))))
}
