//! The first record: the key that signs the log, bound to the broker's identity.
//!
//! The broker's SVID key signs the binding of record key, SPIFFE ID and time; the record key signs the record that holds
//! it. So the identity vouches for the key, and the key for the log.

use std::time::Duration;

use base64ct::{Base64, Encoding};
use der::{Decode, Encode};
use rustls_pki_types::{CertificateDer, UnixTime};
use schemars::JsonSchema;
use serde::Deserialize;
use spiffe::SpiffeId;
use x509_cert::Certificate;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::key::{InvalidPublicKey, PublicKey};
use super::{About, Draft, Kind, Statement, Subject, dsse};
use crate::contract::{Json, decode};
use crate::spiffe_id;
use crate::timestamp::Timestamp;

/// The type of what the identity signs.
const BINDING_TYPE: &str = "application/vnd.seb.record-key+json";
/// The most certificates of the identity's chain.
const MAX_CHAIN: usize = 5;
/// The most octets of one of them.
const MAX_CERTIFICATE: usize = 8 * 1024;

/// Says that a key signs the records of a broker, from a time on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyBinding {
    /// The broker.
    pub broker: SpiffeId,
    /// The key that signs records.
    pub key: PublicKey,
    /// The time of the first record.
    pub time: Timestamp,
}

/// What the first record says, verified in itself: the identity that the chain names signed the binding.
///
/// Whether the chain is to be trusted is another question: [`Genesis::chain`] is there to answer it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Genesis {
    binding: KeyBinding,
    chain: Vec<Vec<u8>>,
}

/// The body is not that of a first record, or binds nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGenesis {
    /// It is not of the schema.
    #[error("not the body of a genesis record: {0}")]
    Form(String),
    /// The key is none.
    #[error("the key of the log is unusable")]
    Key(#[source] InvalidPublicKey),
    /// The chain is empty, too long, or its first certificate is no X.509-SVID of the broker.
    #[error("the chain of the broker's identity is unusable: {0}")]
    Chain(String),
    /// The identity did not sign this.
    #[error("the broker's identity did not sign the binding to the key of the log")]
    Proof,
    /// The record's time is not the signed one.
    #[error("the time of the record is not the one that the identity signed")]
    Time,
}

/// The body of a `genesis` record.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "genesis")]
pub(super) struct Wire {
    /// The broker's SPIFFE ID.
    #[schemars(with = "String")]
    broker: spiffe_id::Text,
    /// The public key that signs the records: SubjectPublicKeyInfo in DER, base64.
    key: String,
    /// The name of its signature algorithm.
    algorithm: String,
    /// The broker's X.509-SVID and its intermediates, each in DER, base64.
    #[schemars(length(min = 1, max = 5))]
    chain: Vec<String>,
    /// The signature of the SVID's key over the binding, base64.
    proof: String,
}

impl KeyBinding {
    /// What the identity's key has to sign.
    pub fn to_be_signed(&self) -> Vec<u8> {
        let binding = Json::object([
            ("broker", Json::string(&self.broker)),
            ("key", Json::from(Base64::encode_string(self.key.spki()))),
            ("time", Json::string(self.time)),
        ]);
        dsse::pre_authentication(BINDING_TYPE, binding.to_canonical().as_bytes())
    }
}

/// The draft of a log's first record. `chain` is the X.509-SVID of `binding.broker` and its intermediates, in DER;
/// `proof` is the SVID key's signature over [`KeyBinding::to_be_signed`].
///
/// # Errors
/// The proof does not hold: see [`InvalidGenesis`].
pub fn genesis(binding: KeyBinding, chain: Vec<Vec<u8>>, proof: &[u8]) -> Result<Draft, InvalidGenesis> {
    let genesis = Genesis { binding, chain };
    genesis.check(proof)?;
    let Genesis { binding, chain } = &genesis;
    let body = Json::object([
        ("broker", Json::string(&binding.broker)),
        ("key", Json::from(Base64::encode_string(binding.key.spki()))),
        ("algorithm", Json::from(binding.key.algorithm().as_str())),
        ("chain", chain.iter().map(|der| Json::from(Base64::encode_string(der))).collect()),
        ("proof", Json::from(Base64::encode_string(proof))),
    ]);
    Ok(Draft {
        kind: Kind::Genesis,
        time: binding.time,
        subjects: vec![Subject::new("record-key", binding.key.digest())],
        about: About::default(),
        body,
        artefacts: Vec::new(),
    })
}

impl Genesis {
    /// Reads the statement of a first record and verifies the proof in it.
    ///
    /// # Errors
    /// See [`InvalidGenesis`].
    pub fn read(statement: &Statement) -> Result<Self, InvalidGenesis> {
        Self::from_body(&statement.body, statement.time)
    }

    pub(crate) fn from_body(body: &Json, time: Timestamp) -> Result<Self, InvalidGenesis> {
        let wire: Wire = decode(body).map_err(|(place, error)| InvalidGenesis::Form(format!("`{place}`: {error}")))?;
        let base64 = |text: &str, field: &str| {
            Base64::decode_vec(text).map_err(|_| InvalidGenesis::Form(format!("`/{field}`: not base64")))
        };
        let key = PublicKey::from_spki(&base64(&wire.key, "key")?).map_err(InvalidGenesis::Key)?;
        if wire.algorithm != key.algorithm().as_str() {
            return Err(InvalidGenesis::Form("`/algorithm`: not that of the key".to_owned()));
        }
        let chain = wire.chain.iter().map(|text| base64(text, "chain")).collect::<Result<_, _>>()?;
        let genesis = Self { binding: KeyBinding { broker: wire.broker.0, key, time }, chain };
        genesis.check(&base64(&wire.proof, "proof")?)?;
        Ok(genesis)
    }

    /// The broker whose log it is.
    pub const fn broker(&self) -> &SpiffeId {
        &self.binding.broker
    }

    /// The key that signs its records.
    pub const fn key(&self) -> &PublicKey {
        &self.binding.key
    }

    /// The broker's X.509-SVID at that time and its intermediates, in DER.
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    /// When the log began.
    pub const fn time(&self) -> Timestamp {
        self.binding.time
    }

    /// Whether the broker's SVID led, at the time of the first record, to one of the CA certificates in `roots`, each in
    /// DER: whether the identity that vouches for the log is one that the reader trusts.
    ///
    /// # Errors
    /// What is wrong with the path.
    pub fn verify_path(&self, roots: &[Vec<u8>]) -> Result<(), String> {
        let der = |octets: &Vec<u8>| CertificateDer::from(octets.clone());
        let roots: Vec<_> = roots.iter().map(der).collect();
        let anchors = roots.iter().map(webpki::anchor_from_trusted_cert).collect::<Result<Vec<_>, _>>();
        let anchors = anchors.map_err(|error| format!("a certificate of the bundle is unusable: {error}"))?;
        let mut chain = self.chain.iter().map(der);
        let leaf = chain.next().ok_or("the chain is empty")?;
        let intermediates: Vec<_> = chain.collect();
        let leaf = webpki::EndEntityCert::try_from(&leaf).map_err(|error| error.to_string())?;
        let time = UnixTime::since_unix_epoch(Duration::from_secs(self.binding.time.seconds()));
        leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &intermediates, time, AnyPurpose, None, None)
            .map(drop)
            .map_err(|error| error.to_string())
    }

    /// Whether the chain's first certificate is the broker's and its key signed the binding.
    fn check(&self, proof: &[u8]) -> Result<(), InvalidGenesis> {
        let chain = |detail: &str| InvalidGenesis::Chain(detail.to_owned());
        let leaf = self.chain.first().ok_or_else(|| chain("it is empty"))?;
        if self.chain.len() > MAX_CHAIN || self.chain.iter().any(|der| der.len() > MAX_CERTIFICATE) {
            return Err(chain("it is too long"));
        }
        let leaf = Certificate::from_der(leaf).map_err(|_| chain("its first certificate is not X.509 in DER"))?;
        if svid(&leaf).as_ref() != Some(&self.binding.broker) {
            return Err(chain("its first certificate is not the broker's X.509-SVID"));
        }
        let spki = leaf.tbs_certificate().subject_public_key_info().to_der();
        let spki = spki.map_err(|_| chain("its first certificate has no readable key"))?;
        let identity = PublicKey::from_spki(&spki).map_err(|error| InvalidGenesis::Chain(error.to_string()))?;
        if identity.is_signature(&self.binding.to_be_signed(), proof) { Ok(()) } else { Err(InvalidGenesis::Proof) }
    }
}

/// An SVID is told by its SPIFFE ID, whatever else its key may be used for.
struct AnyPurpose;

impl webpki::ExtendedKeyUsageValidator for AnyPurpose {
    fn validate(&self, _: webpki::KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

/// The SPIFFE ID of an X.509-SVID: its only URI.
fn svid(certificate: &Certificate) -> Option<SpiffeId> {
    let (_, names) = certificate.tbs_certificate().get_extension::<SubjectAltName>().ok()??;
    let mut uris = names.0.iter().filter_map(|name| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str()),
        _ => None,
    });
    let id = spiffe_id::exact(uris.next()?)?;
    uris.next().is_none().then_some(id)
}
