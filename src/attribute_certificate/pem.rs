//! PEM text (RFC 7468): the attribute certificate, and the chain that travels with it.

use der::pem;

use super::parse::MAX_CERTIFICATE_OCTETS;
use crate::reason::{Denial, Reason};

/// The label of an attribute certificate.
const LABEL: &str = "ATTRIBUTE CERTIFICATE";

/// The label of a public-key certificate.
const CERTIFICATE: &str = "CERTIFICATE";

/// How long PEM text can be, in octets: a certificate and a chain of the largest sizes.
const MAX_TEXT: usize = 4 * MAX_CERTIFICATE_OCTETS;

/// What a file with an attribute certificate holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFile {
    /// The attribute certificate's octets, not looked at.
    pub certificate: Vec<u8>,
    /// The authority's chain that came with it, leaf first, not looked at. Empty if none did.
    pub chain: Vec<Vec<u8>>,
}

/// Reads a file: DER, or PEM with one `ATTRIBUTE CERTIFICATE` and any number of `CERTIFICATE` blocks. Text before,
/// between and after the blocks is ignored, as RFC 7468 section 5.2 has it.
///
/// # Errors
/// [`Reason::CertificateTooLarge`] and [`Reason::CertificatePem`].
pub fn read_file(octets: &[u8]) -> Result<CertificateFile, Denial> {
    if octets.len() > MAX_TEXT {
        let detail = format!("the file has {} octets; at most {MAX_TEXT} are read", octets.len());
        return Err(Denial::new(Reason::CertificateTooLarge, detail));
    }
    if octets.first() == Some(&0x30) {
        return Ok(CertificateFile { certificate: octets.to_vec(), chain: Vec::new() });
    }
    let deny = |detail: String| Denial::new(Reason::CertificatePem, detail);
    let text = std::str::from_utf8(octets).map_err(|_| deny("neither DER nor text".to_owned()))?;
    let mut certificate = None;
    let mut chain = Vec::new();
    for (label, octets) in blocks(text).map_err(deny)? {
        match label.as_str() {
            CERTIFICATE => chain.push(octets),
            LABEL if certificate.is_some() => return Err(deny(format!("more than one `{LABEL}`"))),
            LABEL => certificate = Some(octets),
            other => return Err(deny(format!("a block `{other}` does not belong here"))),
        }
    }
    match certificate {
        Some(certificate) => Ok(CertificateFile { certificate, chain }),
        None => Err(deny(format!("no block `{LABEL}`"))),
    }
}

/// The public-key certificates in PEM text that holds no other block.
///
/// # Errors
/// What is wrong with the text.
pub fn read_certificates(text: &str) -> Result<Vec<Vec<u8>>, String> {
    if text.len() > 16 * MAX_TEXT {
        return Err(format!("{} octets; at most {} are read", text.len(), 16 * MAX_TEXT));
    }
    let blocks = blocks(text)?;
    match blocks.iter().find(|(label, _)| label != CERTIFICATE) {
        Some((label, _)) => Err(format!("a block `{label}` does not belong here")),
        None => Ok(blocks.into_iter().map(|(_, octets)| octets).collect()),
    }
}

/// PEM text of an attribute certificate followed by its chain.
///
/// # Errors
/// If a part is too long to be encoded.
pub fn encode_pem(file: &CertificateFile) -> Result<String, Denial> {
    let encode = |label: &str, octets: &[u8]| {
        pem::encode_string(label, pem::LineEnding::LF, octets)
            .map_err(|error| Denial::new(Reason::CertificatePem, error.to_string()))
    };
    file.chain.iter().try_fold(encode(LABEL, &file.certificate)?, |mut text, certificate| {
        text.push_str(&encode(CERTIFICATE, certificate)?);
        Ok(text)
    })
}

/// Every block of PEM text, with its label.
fn blocks(text: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
    const BEGIN: &str = "-----BEGIN ";
    const END: &str = "-----END ";
    let mut found = Vec::new();
    let mut block: Option<String> = None;
    for line in text.lines() {
        match &mut block {
            None if line.starts_with(BEGIN) => block = Some(format!("{line}\n")),
            None if line.starts_with(END) => return Err("a block ends that did not begin".to_owned()),
            None => {}
            Some(block) if line.starts_with(BEGIN) => {
                return Err(format!("a block begins inside another, after {} characters", block.len()));
            }
            Some(open) => {
                open.push_str(line);
                open.push('\n');
                if line.starts_with(END) {
                    let (label, octets) = pem::decode_vec(open.as_bytes()).map_err(|error| error.to_string())?;
                    found.push((label.to_owned(), octets));
                    block = None;
                }
            }
        }
    }
    match block {
        None => Ok(found),
        Some(_) => Err("a block does not end".to_owned()),
    }
}
