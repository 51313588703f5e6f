//! What an identity consists of, file by file, the same by whichever way it is handed out.

use serde::{Deserialize, Serialize};

/// A file of an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CertificateFile {
    /// `tls.crt`: leaf, then intermediate.
    Chain,
    /// `tls.key`: PKCS #8.
    Key,
    /// `combined.pem`: chain and key.
    Combined,
    /// `ca.crt`: the roots.
    Ca,
    /// `bundle.pem`: the same.
    Bundle,
    /// `crl.pem`: what is revoked.
    Revoked,
}

impl CertificateFile {
    /// All of them, as they are listed.
    pub const ALL: [Self; 6] = [Self::Chain, Self::Key, Self::Combined, Self::Ca, Self::Bundle, Self::Revoked];

    /// The name in the directory.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chain => "tls.crt",
            Self::Key => "tls.key",
            Self::Combined => "combined.pem",
            Self::Ca => "ca.crt",
            Self::Bundle => "bundle.pem",
            Self::Revoked => "crl.pem",
        }
    }

    /// True if it is the same for every identity: there is neither leaf nor key in it.
    pub fn is_shared(self) -> bool {
        matches!(self, Self::Ca | Self::Bundle | Self::Revoked)
    }

    /// True if there is a private key in it.
    pub fn is_private(self) -> bool {
        matches!(self, Self::Key | Self::Combined)
    }
}
