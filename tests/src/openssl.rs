//! Certificates judged by OpenSSL, which shares no code with what made them.

use std::path::Path;

use crate::programs::{output, text};

/// Does the leaf in `leaf` verify with the roots and lists in `trust`, revocation of the whole chain checked?
pub fn verifies(leaf: &Path, trust: &Path) -> Result<(), String> {
    let path = |folder: &Path, file: &str| folder.join(file).display().to_string();
    let (chain, roots, lists) = (path(leaf, "tls.crt"), path(trust, "ca.crt"), path(trust, "crl.pem"));
    let arguments =
        ["verify", "-x509_strict", "-crl_check_all", "-CRLfile", &lists, "-CAfile", &roots, "-untrusted", &chain, &chain];
    let output = output("openssl", &arguments);
    if output.status.success() { Ok(()) } else { Err(text(&output)) }
}
