//! What a broker trusted at a time, as an artefact: authorities, and the bundles of their trust domains.

use std::collections::{BTreeMap, BTreeSet};

use base64ct::{Base64, Encoding};
use serde::Deserialize;
use spiffe::{SpiffeId, TrustDomain};

use super::draft::{Artefact, InvalidDraft};
use super::{MAX_ARTEFACT, media};
use crate::attribute_certificate::{Trust, TrustBundle};
use crate::contract::{Json, decode};
use crate::spiffe_id;

const SCHEMA: &str = "seb.dev/trust/v1";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    schema: String,
    authorities: BTreeSet<spiffe_id::Text>,
    bundles: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    execution_cas: Vec<String>,
}

/// The artefact of what is trusted: `authorities`, each trust domain with the DER of its CA certificates, and the DER of
/// the execution CAs, which are not.
///
/// Made once for each configuration, and cloned for each decision.
///
/// # Errors
/// It is larger than an artefact can be.
pub fn trust_artefact<'t>(
    bundles: impl IntoIterator<Item = (&'t TrustDomain, &'t [Vec<u8>])>,
    authorities: impl IntoIterator<Item = &'t SpiffeId>,
    execution_cas: &[Vec<u8>],
) -> Result<Artefact, InvalidDraft> {
    let authorities: BTreeSet<String> = authorities.into_iter().map(ToString::to_string).collect();
    let bundles = bundles.into_iter().map(|(domain, certificates)| {
        let certificates: BTreeSet<String> = certificates.iter().map(|der| Base64::encode_string(der)).collect();
        (domain.to_string(), certificates.into_iter().map(Json::from).collect::<Json>())
    });
    let mut fields = vec![
        ("schema", Json::from(SCHEMA)),
        ("authorities", authorities.into_iter().map(Json::from).collect()),
        ("bundles", Json::object(bundles)),
    ];
    if !execution_cas.is_empty() {
        let execution_cas: BTreeSet<String> = execution_cas.iter().map(|der| Base64::encode_string(der)).collect();
        fields.push(("execution_cas", execution_cas.into_iter().map(Json::from).collect()));
    }
    Artefact::new(media::TRUST, Json::object(fields).to_canonical().into_bytes())
}

/// Reads what [`trust_artefact`] made.
///
/// # Errors
/// What is wrong with it.
pub fn restore_trust(octets: &[u8]) -> Result<Trust, String> {
    let json = Json::parse_within(octets, MAX_ARTEFACT).map_err(|error| error.to_string())?;
    let wire: Wire = decode(&json).map_err(|(place, error)| format!("`{place}`: {error}"))?;
    if wire.schema != SCHEMA {
        return Err(format!("`schema` is not `{SCHEMA}`"));
    }
    let decoded = |certificates: &[String]| {
        let certificates = certificates.iter().map(|text| Base64::decode_vec(text)).collect::<Result<Vec<_>, _>>();
        certificates.map_err(|_| "a certificate is not base64".to_owned())
    };
    let bundle = |(domain, certificates): (&String, &Vec<String>)| {
        let domain = TrustDomain::new(domain).map_err(|error| error.to_string())?;
        let certificates = decoded(certificates)?;
        TrustBundle::from_der(domain, &certificates).map_err(|error| error.to_string())
    };
    let bundles = wire.bundles.iter().map(bundle).collect::<Result<Vec<_>, _>>()?;
    let execution_cas = decoded(&wire.execution_cas)?;
    let trust = Trust::new(bundles, wire.authorities.into_iter().map(|id| id.0));
    Ok(trust.without(execution_cas.iter().map(Vec::as_slice)))
}
