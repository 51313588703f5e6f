//! The host's roots and intermediates with their keys: at rest one sealed row, in memory one immutable snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rcgen::{Issuer, KeyPair};
use reverie_core::ca::{self, Role};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::delegation::Delegated;
use super::membership::StoredMembership;
use super::trust::MeshTrust;

/// What is stored of one root or intermediate. Only ever inside the encrypted store.
#[derive(Clone, Serialize, Deserialize)]
pub struct StoredIssuer {
    /// SHA-256 of the certificate, hex.
    pub fingerprint: String,
    /// DER.
    pub certificate: Vec<u8>,
    /// PKCS #8.
    pub key: Zeroizing<Vec<u8>>,
    /// The current list, DER; empty before the first. In a row of its own: it may be large.
    #[serde(skip)]
    pub crl: Arc<Vec<u8>>,
    /// RFC 5280 §5.2.3.
    pub crl_number: u64,
}

/// The row.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct StoredAuthority {
    /// What the core decides from.
    pub record: ca::Authority,
    /// Keys and certificates, in the same order as made.
    pub issuers: Vec<StoredIssuer>,
    /// How this host stands to a mesh. In a row of its own.
    #[serde(skip)]
    pub membership: StoredMembership,
    /// What this host, as an authority, has signed for others, by fingerprint. Each in a row of its own.
    #[serde(skip)]
    pub delegated: Arc<BTreeMap<String, Delegated>>,
}

/// A root or intermediate, ready to sign.
pub struct SigningIssuer {
    /// SHA-256 of the certificate, hex.
    pub fingerprint: String,
    /// PEM.
    pub certificate_pem: String,
    /// Its name and key.
    pub issuer: Issuer<'static, KeyPair>,
}

/// Everything needed to sign and to trust, at one moment.
pub struct Issuers {
    /// As stored.
    pub stored: StoredAuthority,
    /// What the mesh says, as of now.
    pub mesh: Arc<MeshTrust>,
    /// Ready to sign.
    pub signing: Vec<SigningIssuer>,
    /// Fingerprints of all trusted roots.
    trusted: BTreeSet<String>,
    /// All trusted roots, PEM, one after the other.
    pub bundle_pem: String,
    /// All revocation lists, PEM.
    pub crl_pem: String,
    /// SHA-256 over bundle and lists, hex: changes when trust does.
    pub digest: String,
}

impl std::fmt::Debug for Issuers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuers").field("record", &self.stored.record).finish_non_exhaustive()
    }
}

impl StoredAuthority {
    /// The issuer of that fingerprint.
    pub fn issuer_mut(&mut self, fingerprint: &str) -> Option<&mut StoredIssuer> {
        self.issuers.iter_mut().find(|issuer| issuer.fingerprint == fingerprint)
    }

    /// Who signs from now on.
    pub fn set_role(&mut self, role: Role) {
        self.membership.role = role;
        self.record.membership.role = role;
    }

    /// Forgets what the record no longer names.
    pub fn drop_unnamed(&mut self) {
        let record = &self.record;
        self.issuers.retain(|issuer| {
            record.is_root(&issuer.fingerprint)
                || record.intermediates.iter().any(|intermediate| intermediate.fingerprint == issuer.fingerprint)
        });
    }
}

impl Issuers {
    /// Makes ready what is stored, with what the mesh says.
    pub fn load(mut stored: StoredAuthority, mesh: Arc<MeshTrust>) -> Result<Self, rcgen::Error> {
        mesh.judge(&mut stored.record);
        let signing = stored.issuers.iter().map(ready).collect::<Result<Vec<_>, _>>()?;
        let bundle = mesh.bundle(&stored);
        let bundle_pem: String = bundle.iter().map(|(_, der)| to_pem("CERTIFICATE", der)).collect();
        let crl_pem: String = mesh.lists(&stored, &bundle).iter().map(|list| to_pem("X509 CRL", list)).collect();
        let digest = hex(Sha256::new().chain_update(&bundle_pem).chain_update(&crl_pem).finalize().as_slice());
        Ok(Self {
            trusted: bundle.into_iter().map(|(fingerprint, _)| fingerprint).collect(),
            stored,
            mesh,
            signing,
            bundle_pem,
            crl_pem,
            digest,
        })
    }

    /// The issuer of that fingerprint.
    pub fn signing(&self, fingerprint: &str) -> Option<&SigningIssuer> {
        self.signing.iter().find(|issuer| issuer.fingerprint == fingerprint)
    }

    /// The certificate of that issuer of this host, DER.
    pub fn certificate(&self, fingerprint: &str) -> Option<&[u8]> {
        self.stored.issuers.iter().find(|stored| stored.fingerprint == fingerprint).map(|stored| &*stored.certificate)
    }

    /// True if that root is in the bundle.
    pub fn trusts(&self, root: &str) -> bool {
        self.trusted.contains(root)
    }
}

fn ready(stored: &StoredIssuer) -> Result<SigningIssuer, rcgen::Error> {
    let key = KeyPair::try_from(stored.key.as_slice())?;
    let certificate = CertificateDer::from(stored.certificate.clone());
    Ok(SigningIssuer {
        fingerprint: stored.fingerprint.clone(),
        certificate_pem: to_pem("CERTIFICATE", &stored.certificate),
        issuer: Issuer::from_ca_cert_der(&certificate, key)?,
    })
}

/// PEM with LF line ends (RFC 7468).
pub fn to_pem(label: &str, der: &[u8]) -> String {
    pem::encode_config(&pem::Pem::new(label, der), pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF))
}

/// SHA-256 of a certificate, lower-case hex.
pub fn fingerprint(der: &[u8]) -> String {
    hex(Sha256::digest(der).as_slice())
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}
