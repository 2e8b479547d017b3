//! The `admission` attribute: how the authority came to admit the contract.

use der::asn1::{GeneralizedTime, Ia5String, OctetString};
use der::{Decode, Encode, Enumerated, Sequence};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::digest::Digest;
use crate::timestamp::Timestamp;

/// How many approvals an admission can list.
pub const MAX_APPROVALS: usize = 16;

/// How long the name of an approver can be, in octets.
pub const MAX_APPROVER_OCTETS: usize = 512;

/// The largest epoch: the largest integer of a signed 64-bit column.
pub const MAX_EPOCH: u64 = i64::MAX as u64;

/// How the authority came to admit the contract.
///
/// ```text
/// Admission ::= SEQUENCE {
///     policyDigest     OCTET STRING (SIZE (32)),
///     policyEpoch      INTEGER (0..9223372036854775807),
///     revocationEpoch  INTEGER (0..9223372036854775807),
///     evidenceDigest   OCTET STRING (SIZE (32)),
///     path             ENUMERATED { automatic (0), approved (1) },
///     tier             ENUMERATED { low (0), moderate (1), high (2), critical (3) },
///     approvals        SEQUENCE SIZE (1..16) OF Approval OPTIONAL }
/// ```
///
/// `approvals` is there if and only if the path is `approved`, and names each approver once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Admission {
    /// SHA-256 of the policy set that admitted.
    pub policy_digest: Digest,
    /// The policy epoch in which it was admitted, at most [`MAX_EPOCH`].
    pub policy_epoch: u64,
    /// The revocation epoch in which it was admitted, at most [`MAX_EPOCH`].
    pub revocation_epoch: u64,
    /// H(E): SHA-256 of the evidence that was looked at.
    pub evidence_digest: Digest,
    /// The way by which it was admitted.
    pub path: AdmissionPath,
    /// How much harm the mutation could do.
    pub tier: Tier,
    /// Who approved it: empty if the path is automatic, else 1 to [`MAX_APPROVALS`], each approver once.
    pub approvals: Vec<Approval>,
}

/// One person's approval.
///
/// ```text
/// Approval ::= SEQUENCE {
///     approver         IA5String (SIZE (1..512)),   -- a URI
///     approvedAt       GeneralizedTime,
///     statementDigest  OCTET STRING (SIZE (32)) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Who: a URI of at most [`MAX_APPROVER_OCTETS`] printable ASCII characters, as the authority knows the person.
    pub approver: String,
    /// When, to the second.
    pub approved_at: Timestamp,
    /// SHA-256 of the statement that the approver signed.
    pub statement_digest: Digest,
}

/// The way by which a proposal was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumerated, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[asn1(type = "ENUMERATED")]
#[repr(u8)]
pub enum AdmissionPath {
    /// Policy alone admitted it.
    Automatic = 0,
    /// People approved it; the approvals are listed.
    Approved = 1,
}

/// How much harm the mutation could do, in the authority's judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumerated, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[asn1(type = "ENUMERATED")]
#[repr(u8)]
pub enum Tier {
    /// Undone at once by anybody on duty.
    Low = 0,
    /// Noticed by users.
    Moderate = 1,
    /// Harms users or data.
    High = 2,
    /// Harms the organization.
    Critical = 3,
}

#[derive(Sequence)]
struct Value {
    policy_digest: OctetString,
    policy_epoch: u64,
    revocation_epoch: u64,
    evidence_digest: OctetString,
    path: AdmissionPath,
    tier: Tier,
    approvals: Option<Vec<ApprovalValue>>,
}

#[derive(Sequence)]
struct ApprovalValue {
    approver: Ia5String,
    approved_at: GeneralizedTime,
    statement_digest: OctetString,
}

impl Admission {
    /// Reads the attribute's value, which must be DER and keep every rule above.
    pub(super) fn from_der(octets: &[u8]) -> Result<Self, String> {
        let value = Value::from_der(octets).map_err(|error| format!("not an Admission: {error}"))?;
        let approvals = match value.approvals {
            None => Vec::new(),
            Some(listed) if listed.is_empty() => return Err("`approvals` is there but empty".to_owned()),
            Some(listed) => listed.into_iter().map(Approval::from_value).collect::<Result<_, _>>()?,
        };
        let admission = Self {
            policy_digest: digest(&value.policy_digest, "policyDigest")?,
            policy_epoch: value.policy_epoch,
            revocation_epoch: value.revocation_epoch,
            evidence_digest: digest(&value.evidence_digest, "evidenceDigest")?,
            path: value.path,
            tier: value.tier,
            approvals,
        };
        admission.check()?;
        // DER has one encoding of each value; whatever was read differently was not DER.
        if admission.to_der()? != octets {
            return Err("not in DER".to_owned());
        }
        Ok(admission)
    }

    /// The attribute's value.
    pub(super) fn to_der(&self) -> Result<Vec<u8>, String> {
        self.check()?;
        let approvals = self.approvals.iter().map(Approval::to_value).collect::<Result<Vec<_>, _>>()?;
        let value = Value {
            policy_digest: octets(&self.policy_digest)?,
            policy_epoch: self.policy_epoch,
            revocation_epoch: self.revocation_epoch,
            evidence_digest: octets(&self.evidence_digest)?,
            path: self.path,
            tier: self.tier,
            approvals: (!approvals.is_empty()).then_some(approvals),
        };
        value.to_der().map_err(|error| error.to_string())
    }

    fn check(&self) -> Result<(), String> {
        if self.policy_epoch > MAX_EPOCH || self.revocation_epoch > MAX_EPOCH {
            return Err(format!("an epoch is larger than {MAX_EPOCH}"));
        }
        if self.approvals.len() > MAX_APPROVALS {
            return Err(format!("{} approvals; at most {MAX_APPROVALS} can be listed", self.approvals.len()));
        }
        match (self.path, self.approvals.is_empty()) {
            (AdmissionPath::Automatic, false) => return Err("the path is automatic, but approvals are listed".into()),
            (AdmissionPath::Approved, true) => return Err("the path is approved, but no approval is listed".into()),
            _ => {}
        }
        for (index, approval) in self.approvals.iter().enumerate() {
            approval.check()?;
            let earlier = self.approvals.iter().take(index);
            if earlier.clone().any(|other| other.approver == approval.approver) {
                return Err(format!("`{}` approves twice", approval.approver));
            }
        }
        Ok(())
    }
}

impl Approval {
    fn from_value(value: ApprovalValue) -> Result<Self, String> {
        let approved_at = Timestamp::from_seconds(value.approved_at.to_unix_duration().as_secs())
            .map_err(|error| error.to_string())?;
        Ok(Self {
            approver: value.approver.as_str().to_owned(),
            approved_at,
            statement_digest: digest(&value.statement_digest, "statementDigest")?,
        })
    }

    fn to_value(&self) -> Result<ApprovalValue, String> {
        let at = Duration::from_secs(self.approved_at.seconds());
        Ok(ApprovalValue {
            approver: Ia5String::new(&self.approver).map_err(|error| format!("approver: {error}"))?,
            approved_at: GeneralizedTime::from_unix_duration(at).map_err(|error| error.to_string())?,
            statement_digest: octets(&self.statement_digest)?,
        })
    }

    fn check(&self) -> Result<(), String> {
        let printable = self.approver.bytes().all(|octet| octet.is_ascii_graphic());
        if self.approver.is_empty() || self.approver.len() > MAX_APPROVER_OCTETS || !printable {
            return Err(format!("an approver is not 1 to {MAX_APPROVER_OCTETS} printable ASCII characters"));
        }
        if !self.approved_at.millis().is_multiple_of(1000) {
            return Err("an approval's time has a fraction of a second".to_owned());
        }
        Ok(())
    }
}

fn digest(octets: &OctetString, field: &str) -> Result<Digest, String> {
    <[u8; 32]>::try_from(octets.as_bytes()).map(Digest::from_bytes).map_err(|_| format!("`{field}` is not 32 octets"))
}

fn octets(digest: &Digest) -> Result<OctetString, String> {
    OctetString::new(digest.as_bytes().as_slice()).map_err(|error| error.to_string())
}
