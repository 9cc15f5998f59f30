//! Verifies a certificate chain against the mesh root and reads the identity in it, for network evidence.
//!
//! A certificate alone proves nothing: an application can present a SPIFFE name under a forged issuer name. It cannot
//! present a chain that verifies against the mesh root, unless the mesh issued it.

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert, ring};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The identity in a verified certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
    pub spiffe: String,
    /// Issuer as text, e.g. `O=cluster.local`.
    pub issuer: String,
    /// Seconds since the epoch at which the leaf expires.
    pub expires: i64,
}

/// The certificates of a PEM text as DER; text that is not a certificate is skipped.
pub fn certificates(pem: &str) -> Vec<Vec<u8>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(|der| Some(der.ok()?.to_vec())).collect()
}

/// Verifies `chain` (DER, leaf first) against the mesh's roots at `now` (seconds since the epoch).
///
/// The error completes the sentence "the certificate …".
pub fn verify(chain: &[Vec<u8>], roots_pem: &str, now: i64) -> Result<PeerIdentity, String> {
    let (leaf, rest) = chain.split_first().ok_or("is missing")?;
    let identity = describe(leaf)?;
    let roots = certificates(roots_pem);
    let roots: Vec<CertificateDer<'_>> = roots.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let anchors: Vec<_> = roots.iter().filter_map(|root| anchor_from_trusted_cert(root).ok()).collect();
    if anchors.is_empty() {
        return Err("cannot be checked: the mesh root has no usable certificate".to_owned());
    }
    let leaf = CertificateDer::from(leaf.as_slice());
    let rest: Vec<CertificateDer<'_>> = rest.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let end_entity = EndEntityCert::try_from(&leaf).map_err(|error| format!("cannot be read ({error})"))?;
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.try_into().unwrap_or_default()));
    end_entity
        .verify_for_usage(ALGORITHMS, &anchors, &rest, now, KeyUsage::server_auth(), None, None)
        .map_err(|error| format!("does not verify against the mesh root ({error})"))?;
    Ok(identity)
}

/// The kinds of signature that a mesh CA uses: RSA and ECDSA, and Ed25519 for plugged-in CAs.
const ALGORITHMS: &[&dyn rustls_pki_types::SignatureVerificationAlgorithm] = &[
    ring::ECDSA_P256_SHA256,
    ring::ECDSA_P256_SHA384,
    ring::ECDSA_P384_SHA256,
    ring::ECDSA_P384_SHA384,
    ring::ED25519,
    ring::RSA_PKCS1_2048_8192_SHA256,
    ring::RSA_PKCS1_2048_8192_SHA384,
    ring::RSA_PKCS1_2048_8192_SHA512,
];

/// Reads SPIFFE name, issuer and expiry of a leaf without checking its signature.
fn describe(leaf: &[u8]) -> Result<PeerIdentity, String> {
    let (_, certificate) = X509Certificate::from_der(leaf).map_err(|_| "cannot be read".to_owned())?;
    let names = certificate.subject_alternative_name().ok().flatten();
    let mut spiffe = names.iter().flat_map(|extension| &extension.value.general_names).filter_map(|name| match name {
        GeneralName::URI(uri) if uri.starts_with("spiffe://") => Some((*uri).to_owned()),
        _ => None,
    });
    // A SPIFFE certificate has exactly one such name; with two, one workload could pass as another.
    let (Some(name), None) = (spiffe.next(), spiffe.next()) else {
        return Err("carries no single SPIFFE name".to_owned());
    };
    Ok(PeerIdentity {
        spiffe: name,
        issuer: certificate.issuer().to_string(),
        expires: certificate.validity().not_after.timestamp(),
    })
}

#[cfg(test)]
mod tests;
