//! The closed list of reasons for a refusal.
//!
//! A [`Reason`] is a stable string: once published, a code keeps its meaning and is never reused. The order of the
//! list is the order in which reasons are answered: when several apply to one request all are recorded, and the first
//! of them in this order is the answer. It follows the five verdicts of a certificate (parse, profile, signature and
//! path, targeting, authorization), because a later one means nothing while an earlier one fails; inside authorization
//! it puts what the agent can mend itself before what others must.
//!
//! `docs/reasons.md` is generated from this list.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which of the five verdicts on a certificate a reason belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Are the octets one attribute certificate in DER, within bounds?
    Parse,
    /// Does it keep the rules of the profile (`docs/certificate-profile.md`)?
    Profile,
    /// Did a trusted attribute authority sign it?
    Signature,
    /// Is it for this agent and this broker?
    Targeting,
    /// May its mutation be performed now?
    Authorization,
}

impl Verdict {
    /// All verdicts, in the order in which they are reached.
    pub const ALL: [Self; 5] = [Self::Parse, Self::Profile, Self::Signature, Self::Targeting, Self::Authorization];

    /// The name in records, in output and in the vectors.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Profile => "profile",
            Self::Signature => "signature",
            Self::Targeting => "targeting",
            Self::Authorization => "authorization",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who can mend the cause of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mender {
    /// The agent: with another request, or with a new proposal.
    Agent,
    /// Whoever runs the authority (SAB) that issued the certificate.
    Authority,
    /// The platform team that runs the broker.
    Operator,
}

impl Mender {
    /// The name in records and output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Authority => "authority",
            Self::Operator => "operator",
        }
    }
}

/// What a client should do with the same request after a refusal for this reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// Never: the same request will be refused again.
    Never,
    /// Later: the cause is temporary.
    Later,
}

/// The code is not one of the list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a reason code")]
pub struct UnknownReason(String);

macro_rules! reasons {
    ($($variant:ident $code:literal $verdict:ident $mender:ident $retry:ident $meaning:literal $mend:literal;)+) => {
        /// Why something was refused. The order of the variants is the order of precedence.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
        )]
        #[non_exhaustive]
        pub enum Reason {
            $(#[doc = $meaning] #[serde(rename = $code)] $variant,)+
        }

        impl Reason {
            /// All reasons, in order of precedence.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stable code.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// The verdict that it belongs to.
            pub const fn verdict(self) -> Verdict {
                match self { $(Self::$variant => Verdict::$verdict,)+ }
            }

            /// Who can mend it.
            pub const fn mender(self) -> Mender {
                match self { $(Self::$variant => Mender::$mender,)+ }
            }

            /// Whether the same request can succeed later.
            pub const fn retry(self) -> Retry {
                match self { $(Self::$variant => Retry::$retry,)+ }
            }

            /// What it means, in one sentence.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)+ }
            }

            /// How to mend it, in one sentence.
            pub const fn mend(self) -> &'static str {
                match self { $(Self::$variant => $mend,)+ }
            }
        }
    };
}

reasons! {
    // -- parse
    CertificateTooLarge "certificate_too_large" Parse Authority Never
        "The certificate, or a certificate of its chain, is larger than 64 KiB."
        "Issue a smaller one: detach the body of the mutation.";
    CertificatePem "certificate_pem" Parse Agent Never
        "The PEM text is damaged, or holds no `ATTRIBUTE CERTIFICATE` or more than one."
        "Send the file as the authority issued it.";
    CertificateEncoding "certificate_encoding" Parse Authority Never
        "The octets are not DER: an indefinite, non-minimal or wrong length, a non-canonical value, or octets after the end."
        "Issue it with an encoder that produces DER (X.690 section 10).";
    CertificateStructure "certificate_structure" Parse Authority Never
        "The octets are DER but not an attribute certificate as RFC 5755 section 4.1 has it."
        "Issue it with the structure of the profile's ASN.1 module.";
    CertificateBounds "certificate_bounds" Parse Authority Never
        "The certificate nests deeper, or repeats an element more often, than the profile allows."
        "Issue it within the bounds of the profile.";
    // -- profile
    ProfileVersion "profile_version" Profile Authority Never
        "The version is not v2."
        "Issue it as v2 (RFC 5755 section 4.2.1).";
    ProfileHolder "profile_holder" Profile Authority Never
        "The holder is not exactly one `entityName` with one URI that is a SPIFFE ID, optionally bound to a public key by SHA-256."
        "Name the agent by its SPIFFE ID and by nothing else.";
    ProfileIssuer "profile_issuer" Profile Authority Never
        "The issuer is not a `v2Form` with exactly one non-empty `directoryName`."
        "Name the attribute authority by the subject of its public-key certificate (RFC 5755 section 4.2.3).";
    ProfileAlgorithm "profile_algorithm" Profile Authority Never
        "The signature algorithm is not ECDSA P-256 with SHA-256, ECDSA P-384 with SHA-384 or Ed25519, or the two places that name it differ."
        "Sign with one of the three.";
    ProfileSerial "profile_serial" Profile Authority Never
        "The serial number is not positive or is longer than 20 octets."
        "Take a positive serial number of at most 20 octets.";
    ProfileValidity "profile_validity" Profile Authority Never
        "The validity period is not two GeneralizedTime values in UTC with seconds and without fraction, in order."
        "Write both times as `YYYYMMDDHHMMSSZ`, the earlier one first.";
    ProfileIssuerUniqueId "profile_issuer_unique_id" Profile Authority Never
        "The certificate has an `issuerUniqueID`."
        "Leave it out (RFC 5755 section 4.2.8).";
    ProfileAttribute "profile_attribute" Profile Authority Never
        "An attribute is missing, unknown, repeated, or has not exactly one value."
        "Give `executionContract` and `admission` once each, with one value each, and nothing else.";
    ProfileAdmission "profile_admission" Profile Authority Never
        "The `admission` attribute is not what the profile's ASN.1 module says."
        "Encode it as the profile says.";
    ProfileExtension "profile_extension" Profile Authority Never
        "An extension is critical and unknown, repeated, missing, malformed, or has the wrong criticality."
        "Give `targetInformation` (critical) and `authorityKeyIdentifier` (not critical), once each.";
    ProfileTarget "profile_target" Profile Authority Never
        "`targetInformation` is not exactly one `targetName` with one URI that is a SPIFFE ID."
        "Name the broker by its SPIFFE ID and by nothing else.";
    // -- signature and path
    ChainMissing "chain_missing" Signature Agent Never
        "The attribute authority's public-key certificate did not come with the attribute certificate."
        "Send the authority's chain, leaf first, with the certificate.";
    ChainBounds "chain_bounds" Signature Agent Never
        "The chain has more certificates, or more octets, than the profile allows."
        "Send only the authority's leaf and its intermediates.";
    ChainEncoding "chain_encoding" Signature Agent Never
        "A certificate of the chain is not an X.509 certificate in DER."
        "Send the chain as the authority published it.";
    AuthorityProfile "authority_profile" Signature Authority Never
        "The authority's public-key certificate is not one that may sign attribute certificates: it is a CA, lacks `digitalSignature`, has an empty subject, or has not exactly one SPIFFE ID."
        "Give the authority a leaf certificate as RFC 5755 section 4.5 and the profile ask.";
    AuthorityNameMismatch "authority_name_mismatch" Signature Authority Never
        "The issuer named in the attribute certificate is not the subject of the authority's public-key certificate."
        "Issue under the name that the authority's public-key certificate has.";
    AuthorityKeyMismatch "authority_key_mismatch" Signature Authority Never
        "The `authorityKeyIdentifier` does not name the key of the authority's public-key certificate."
        "Send the chain of the key that signed.";
    AuthorityUnknown "authority_unknown" Signature Operator Never
        "The authority's SPIFFE ID is not on this broker's list of authorities."
        "If it should be trusted, add it to `authorities` in the broker's configuration.";
    AuthorityUntrusted "authority_untrusted" Signature Operator Never
        "No path leads from the authority's public-key certificate to the trust bundle of its trust domain."
        "Send every intermediate; check that the broker has the trust domain's current bundle.";
    AuthorityExpired "authority_expired" Signature Authority Never
        "A public-key certificate on the authority's path is not valid at this time."
        "Renew the authority's certificate, and issue again.";
    SignatureAlgorithmMismatch "signature_algorithm_mismatch" Signature Authority Never
        "The signature algorithm does not fit the authority's public key."
        "Sign with the algorithm of the authority's key.";
    SignatureInvalid "signature_invalid" Signature Agent Never
        "The signature is not the authority's over these octets: the certificate was altered or forged."
        "Send the certificate as the authority issued it.";
    // -- targeting
    WrongBroker "wrong_broker" Targeting Agent Never
        "The certificate is for another broker."
        "Send it to the broker that it names.";
    WrongHolder "wrong_holder" Targeting Agent Never
        "The certificate is for another agent."
        "Only the agent that it names can use it; propose in your own name.";
    WrongHolderKey "wrong_holder_key" Targeting Agent Never
        "The certificate is bound to a key that is not the caller's."
        "Use the SVID whose key the certificate names, or propose again with the new key.";
    // -- authorization: the contract
    ContractTooLarge "contract_too_large" Authorization Authority Never
        "The execution contract is larger, deeper or longer in one of its lists than the format allows."
        "Compile a smaller contract: detach the body of the mutation.";
    ContractEncoding "contract_encoding" Authorization Authority Never
        "The execution contract is not the canonical JSON of RFC 8785, or holds a duplicate key, a lone surrogate or a number that is not exact."
        "Compile the contract to its canonical form.";
    ContractSchema "contract_schema" Authorization Authority Never
        "The execution contract has an unknown schema, an unknown field, or a field that breaks its rule."
        "Compile the contract to the published schema.";
    ContractStepsUnsupported "contract_steps_unsupported" Authorization Authority Never
        "The contract has several steps, which this broker does not execute."
        "Admit one contract for each step, or use a broker that executes several.";
    ContractMismatch "contract_mismatch" Authorization Agent Never
        "The request expects another contract than the certificate holds."
        "Compare the contract's digest with the certificate's, and send the certificate that belongs to the request.";
    StepUnknown "step_unknown" Authorization Agent Never
        "The request names a step that the contract does not have."
        "Name a step of the contract, or none where there is only one.";
    // -- authorization: what the agent chose
    ParameterUnknown "parameter_unknown" Authorization Agent Never
        "The request gives a value for a place that the contract does not leave open."
        "Give values only for the contract's parameters.";
    ParameterMissing "parameter_missing" Authorization Agent Never
        "The request gives no value for a required parameter."
        "Give a value for every required parameter.";
    ParameterType "parameter_type" Authorization Agent Never
        "A value has not the type of its parameter."
        "Give a value of the parameter's type.";
    ParameterOutOfBounds "parameter_out_of_bounds" Authorization Agent Never
        "A value lies outside the bounds of its parameter."
        "Choose a value inside the certified bounds, or propose wider ones.";
    BodyMissing "body_missing" Authorization Agent Never
        "The contract's body is detached and did not come with the request."
        "Send the body with the request.";
    BodyUnexpected "body_unexpected" Authorization Agent Never
        "A body came with the request, but the contract's body is not detached."
        "Send no body: the contract holds it.";
    BodyMismatch "body_mismatch" Authorization Agent Never
        "The body that came with the request has not the size or the digest that was certified."
        "Send the body that was admitted, octet for octet.";
    IdempotencyKeyMissing "idempotency_key_missing" Authorization Agent Never
        "The certificate allows several uses, and the request has no idempotency key."
        "Give each intended use a key of its own, and repeat it when retrying.";
    // -- authorization: time
    NotYetValid "not_yet_valid" Authorization Agent Later
        "The certificate's or the contract's validity has not begun."
        "Wait until it begins.";
    Expired "expired" Authorization Agent Never
        "The certificate's or the contract's validity has ended."
        "Propose again.";
    DeadlinePassed "deadline_passed" Authorization Operator Never
        "The contract's deadline passed between the decision and the call: nothing was sent."
        "Look at what made the broker or the target slow; propose again.";
    ClockSkew "clock_skew" Authorization Operator Later
        "The broker's clock and the authority's differ by more than the bound, or the broker's clock was stepped."
        "Synchronize the clocks of broker and authority.";
    // -- authorization: epochs and revocation
    EpochUnknown "epoch_unknown" Authorization Operator Later
        "The broker has no epoch statement of the certificate's authority."
        "Check the connection from the broker to the authority's epoch stream.";
    EpochStale "epoch_stale" Authorization Operator Later
        "The broker's newest epoch statement is older than the staleness bound."
        "Check the connection from the broker to the authority's epoch stream.";
    EpochBehind "epoch_behind" Authorization Operator Later
        "The certificate was admitted in an epoch that the broker has not heard of yet."
        "Retry in a moment; if it stays, check the authority's epoch stream.";
    PolicyEpochStale "policy_epoch_stale" Authorization Agent Never
        "The certificate was admitted under a policy that is no longer in force."
        "Propose again: it will be decided under the policy of today.";
    RevocationEpochStale "revocation_epoch_stale" Authorization Agent Never
        "All certificates of this age were revoked at once."
        "Propose again once the authority admits proposals again.";
    RevokedCertificate "revoked_certificate" Authorization Agent Never
        "The certificate was revoked."
        "Propose again.";
    RevokedHolder "revoked_holder" Authorization Authority Never
        "All certificates of this agent were revoked."
        "Ask those who run the authority why the agent was revoked.";
    RevokedContract "revoked_contract" Authorization Agent Never
        "All certificates over this contract were revoked."
        "Propose another change.";
    RevokedTarget "revoked_target" Authorization Authority Never
        "All certificates for this target were revoked."
        "Wait until the authority opens the target again.";
    // -- authorization: ceilings
    TargetUnknown "target_unknown" Authorization Operator Never
        "The contract is for a target that this broker does not have, or has under another kind."
        "If it should be reachable, add it to `targets` in the broker's configuration.";
    AuthorityCeiling "authority_ceiling" Authorization Operator Never
        "The authority may not certify for this target."
        "If it should, add the target to the authority's entry in the broker's configuration.";
    CeilingVerb "ceiling_verb" Authorization Operator Never
        "The broker allows this verb on no resource of the target."
        "If it should be possible, widen the target's ceiling.";
    CeilingResource "ceiling_resource" Authorization Operator Never
        "The broker does not allow this verb on this resource of the target."
        "If it should be possible, widen the target's ceiling.";
    CeilingParameter "ceiling_parameter" Authorization Operator Never
        "A value of the call lies outside the broker's own bound for it, or is not where the bound looks for it."
        "Choose a value inside the broker's bound, or widen the target's ceiling.";
    CeilingValidity "ceiling_validity" Authorization Authority Never
        "The certificate is valid for longer than the broker allows."
        "Issue it for a shorter time.";
    CeilingUses "ceiling_uses" Authorization Authority Never
        "The contract allows more uses than the broker does."
        "Compile a contract for fewer uses.";
    CeilingDeadline "ceiling_deadline" Authorization Authority Never
        "The contract's deadline is longer than the broker allows an execution identity to live."
        "Compile a contract with a shorter deadline.";
    CeilingRateAgent "ceiling_rate_agent" Authorization Agent Later
        "The agent has reached the broker's limit of executions for its time window."
        "Wait until the window has passed.";
    CeilingRateAuthority "ceiling_rate_authority" Authorization Agent Later
        "The executions under this authority have reached the broker's limit for its time window."
        "Wait until the window has passed.";
    RateUnknown "rate_unknown" Authorization Operator Later
        "The broker could not count the executions of the time window."
        "Check the broker's store.";
    // -- authorization: uses
    UsesUnknown "uses_unknown" Authorization Operator Later
        "The broker could not learn how often the certificate was used."
        "Check the broker's store.";
    Replayed "replayed" Authorization Agent Never
        "The certificate is for one use, and was used for another request."
        "Propose again.";
    UsesExhausted "uses_exhausted" Authorization Agent Never
        "The certificate was used as often as it allows."
        "Propose again.";
    UseSpacing "use_spacing" Authorization Agent Later
        "The certificate's last use was more recently than its spacing allows."
        "Wait until the spacing has passed.";
    // -- authorization: the boundary
    BoundaryUnproven "boundary_unproven" Authorization Operator Later
        "Nothing proves yet that the target refuses identities that the broker did not mint."
        "Look at the newest `boundary` record of the target.";
    BoundaryStale "boundary_stale" Authorization Operator Later
        "The proof that the target refuses other identities is older than its bound."
        "Check why the boundary prober does not finish.";
    BoundaryBroken "boundary_broken" Authorization Operator Later
        "The target was seen to accept an identity that the broker did not mint."
        "Apply the shipped guardrails to the target again.";
    // -- authorization: drift
    LiveStateUnknown "live_state_unknown" Authorization Operator Later
        "The broker could not read the live state of the object."
        "Check the connection to the target, and the broker's permission to read.";
    LiveStateStale "live_state_stale" Authorization Operator Later
        "What the broker knows of the live state is older than its bound."
        "Check the connection to the target.";
    DriftPresence "drift_presence" Authorization Agent Never
        "The object exists though it was certified not to, or does not exist though it was certified to."
        "Propose again from the object as it is now.";
    DriftIdentity "drift_identity" Authorization Agent Never
        "Another object has taken the name of the one that was certified."
        "Propose again from the object as it is now.";
    DriftVersion "drift_version" Authorization Agent Never
        "The object was changed since it was certified, and the contract asks that nothing change."
        "Propose again from the object as it is now.";
    DriftField "drift_field" Authorization Agent Never
        "A field that the admission depended on was changed since."
        "Propose again from the object as it is now.";
    // -- authorization: the dry run that the contract asks for
    DryRunUnknown "dry_run_unknown" Authorization Operator Later
        "The contract asks for a dry run, and the target made none, or none that is recent."
        "Set `dry_run` at the target, and check the connection to it; not every call can be tried without effect.";
    DryRunRefused "dry_run_refused" Authorization Agent Never
        "The contract asks for a dry run, and the target would refuse the call."
        "Propose what the target takes: the detail has its answer.";
}

/// What anyone is told who has not shown an authentic certificate, whatever the exact reason was.
///
/// The record keeps the exact one; telling it to a caller would let a forger search for the rule that it breaks.
pub const PUBLIC_UNAUTHENTICATED: &str = "certificate_refused";

impl Reason {
    /// The code that the caller may see: [`PUBLIC_UNAUTHENTICATED`] until the certificate is known to be authentic.
    pub const fn public_code(self) -> &'static str {
        match self.verdict() {
            Verdict::Parse | Verdict::Profile | Verdict::Signature => PUBLIC_UNAUTHENTICATED,
            Verdict::Targeting | Verdict::Authorization => self.code(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, UnknownReason> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.code() == text)
            .ok_or_else(|| UnknownReason(text.chars().take(80).collect()))
    }
}

/// A reason, and what about this certificate, contract or request gave rise to it.
///
/// The detail is for the record and for whoever may see it. It never repeats octets that are secret, and quotes at
/// most a few dozen characters of the input.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Denial {
    /// The reason.
    pub reason: Reason,
    /// The particulars: which field, which value, which bound.
    pub detail: String,
}

impl Denial {
    /// The longest detail, in characters: what is refused may be of any size, what is recorded of it may not.
    pub const MAX_DETAIL: usize = 1024;

    /// A denial for `reason`, with its particulars: at most [`Self::MAX_DETAIL`] characters of them, and with `\u{fffd}`
    /// for control characters, because input that is quoted must not steer a terminal or forge a line of a log.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        let printable = |character: char| if character.is_control() { char::REPLACEMENT_CHARACTER } else { character };
        Self { reason, detail: detail.into().chars().take(Self::MAX_DETAIL).map(printable).collect() }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.detail)
    }
}

impl std::error::Error for Denial {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_distinct_plain_and_round_trip() {
        let codes: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert!(reason.code().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{reason}");
            assert_eq!(reason.code().parse::<Reason>(), Ok(*reason));
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.code());
        }
        assert!(!codes.contains(PUBLIC_UNAUTHENTICATED));
    }

    #[test]
    fn details_are_short_and_printable() {
        let denial = Denial::new(Reason::Expired, "\u{1b}[2Jgone\n".repeat(1000));
        assert!(denial.detail.starts_with("\u{fffd}[2Jgone\u{fffd}"));
        assert_eq!(denial.detail.chars().count(), Denial::MAX_DETAIL);
    }

    #[test]
    fn order_of_precedence_follows_the_verdicts() {
        assert!(Reason::ALL.is_sorted());
        assert!(Reason::ALL.is_sorted_by_key(|reason| reason.verdict()));
    }

    #[test]
    fn no_exact_reason_is_public_before_authentication() {
        for reason in Reason::ALL {
            let exact = reason.public_code() == reason.code();
            assert_eq!(exact, reason.verdict() >= Verdict::Targeting, "{reason}");
        }
    }
}
