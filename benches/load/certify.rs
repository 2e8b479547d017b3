//! Certificates for the load: each for one use, admitted by an authority whose key is here.

use seb::attribute_certificate::{Admission, AdmissionPath, Template, Tier};
use seb::contract::Contract;
use seb::digest::Digest;
use seb::key::fresh_serial;
use seb::proto::seb::v1::ExecuteRequest;
use seb::sab::authority::Authority;
use seb::timestamp::Timestamp;
use spiffe::SpiffeId;

/// The epochs of a fresh authority with policies.
const POLICY_EPOCH: u64 = 1;
const REVOCATION_EPOCH: u64 = 0;

/// The SPIFFE ID of this path.
pub(crate) fn id(path: &str) -> anyhow::Result<SpiffeId> {
    Ok(SpiffeId::new(format!("spiffe://example.org/{path}"))?)
}

/// What the agent of this number sends to execute `contract`, under a certificate of its own.
pub(crate) fn certify(
    authority: &Authority,
    agent: usize,
    contract: &Contract,
    [not_before, not_after]: [Timestamp; 2],
) -> anyhow::Result<ExecuteRequest> {
    let admission = Admission {
        policy_digest: Digest::of(b"policy"),
        policy_epoch: POLICY_EPOCH,
        revocation_epoch: REVOCATION_EPOCH,
        evidence_digest: Digest::of(b"evidence"),
        path: AdmissionPath::Automatic,
        tier: Tier::Moderate,
        approvals: Vec::new(),
    };
    let issued = authority.issue(&Template {
        serial: &fresh_serial()?,
        holder: &id(&format!("agent/{agent}"))?,
        holder_key: None,
        broker: &id("seb")?,
        not_before,
        not_after,
        contract,
        admission: &admission,
    })?;
    let (certificate, chain) = (issued.octets().to_vec(), authority.chain().to_vec());
    Ok(ExecuteRequest { certificate, chain, ..ExecuteRequest::default() })
}
