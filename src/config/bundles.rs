//! `[trust_bundles]` and `[[bundle_endpoints]]`: the bundles of other trust domains.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use spiffe::TrustDomain;

use super::kind::{self, Id, OneOf, PathTo};
use super::{Files, Table};
use crate::identity::Bundle;
use crate::identity::endpoint::{BundleEndpoint, EndpointUrl, Profile};
use crate::record::TrustSource;
use crate::telemetry::Causes;

/// The most trust domains.
const MAX: usize = 1024;

/// The most endpoints: each is a task.
const MAX_ENDPOINTS: usize = 64;

/// The largest file with web roots, in octets.
const MAX_ROOTS: usize = 4 * 1024 * 1024;

/// Reads `[trust_bundles]`. With [`Files::Check`] every file must hold a bundle.
pub(super) fn files(root: &mut Table<'_>) -> Option<BTreeMap<TrustDomain, PathBuf>> {
    let meaning = "The CA certificates, in PEM, of this trust domain, where it is not the broker's own; the file is read again when it changes.";
    let files = root.entries("trust_bundles", MAX, kind::trust_domain(), PathTo::File, meaning)?;
    if root.files() == Files::Check {
        let faults: Vec<_> = files.iter().filter_map(|(domain, path)| read(domain, path).err()).collect();
        for fault in &faults {
            root.refuse::<()>("trust_bundles", fault, None);
        }
        if !faults.is_empty() {
            return None;
        }
    }
    Some(files.into_iter().collect())
}

/// The bundle in a file.
pub(super) fn read(trust_domain: &TrustDomain, path: &Path) -> Result<Bundle, String> {
    let fault =
        |why: &(dyn std::error::Error + 'static)| format!("`{}` is no trust bundle: {}", path.display(), Causes(why));
    let text = std::fs::read_to_string(path).map_err(|error| fault(&error))?;
    let bundle = Bundle::from_pem(trust_domain, &text).map_err(|error| fault(&error))?;
    Ok(bundle.from_source(TrustSource::File))
}

/// Reads `[[bundle_endpoints]]`.
pub(super) fn endpoints(root: &mut Table<'_>) -> Option<Vec<BundleEndpoint>> {
    let meaning = "A SPIFFE bundle endpoint, from which the bundle of another trust domain is fetched, and again as its document says. A bundle of the same trust domain in `[trust_bundles]` counts until the first one is fetched.";
    root.tables("bundle_endpoints", MAX_ENDPOINTS, meaning, endpoint)
}

fn endpoint(table: &mut Table<'_>) -> Option<BundleEndpoint> {
    let trust_domain = table.required("trust_domain", kind::trust_domain(), "The trust domain.");
    let url = kind::text::<EndpointUrl>("an `https` URL, such as `https://spire.example.org:8443/`");
    let url = table.required("url", url, "Where its bundle is; no redirection is followed.");
    let meaning = "How the endpoint is authenticated: by a certificate of the web PKI, or by an SVID.";
    let web = table.required("profile", OneOf(&[("https_web", true), ("https_spiffe", false)]), meaning);
    let meaning = "The CA certificates of the web PKI, in PEM, such as `/etc/ssl/certs/ca-certificates.crt`. For `https_web`, which must have it.";
    let roots = table.optional("web_roots", PathTo::File, meaning);
    let meaning = "The SPIFFE ID of the endpoint. For `https_spiffe`, which must have it; the bundle of its trust domain must be known from elsewhere.";
    let id = table.optional("server_id", Id, meaning);
    let (trust_domain, url, web, roots, id) = (trust_domain?, url?, web?, roots?, id?);
    let profile = match (web, roots, id) {
        (true, Some(path), None) => Profile::HttpsWeb(read_roots(table, &path)?),
        (false, None, Some(id)) => Profile::HttpsSpiffe(id),
        (true, None, _) => return table.refuse("web_roots", "is missing; expected the path of a file", None),
        (false, _, None) => return table.refuse("server_id", "is missing; expected a SPIFFE ID", None),
        (true, ..) => return table.refuse("server_id", "is for the profile `https_spiffe`", None),
        (false, ..) => return table.refuse("web_roots", "is for the profile `https_web`", None),
    };
    Some(BundleEndpoint { trust_domain, url, profile })
}

fn read_roots(table: &Table<'_>, path: &Path) -> Option<Vec<Vec<u8>>> {
    if table.files() == Files::Ignore {
        return Some(Vec::new());
    }
    let text = match std::fs::read(path) {
        Ok(text) if text.len() <= MAX_ROOTS => text,
        Ok(_) => return table.refuse("web_roots", format_args!("is longer than {MAX_ROOTS} octets"), None),
        Err(error) => return table.refuse("web_roots", format_args!("cannot be read: {error}"), None),
    };
    let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match roots {
        Ok(roots) if !roots.is_empty() => Some(roots.iter().map(|root| root.to_vec()).collect()),
        Ok(_) => table.refuse("web_roots", "holds no certificate in PEM", None),
        Err(error) => table.refuse("web_roots", format_args!("is damaged: {error}"), None),
    }
}
