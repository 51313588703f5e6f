//! The host's roots and intermediates with their keys: at rest one sealed row, in memory one immutable snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rcgen::{Issuer, KeyPair};
use reverie_core::ca::{self, OutsideLimits, Role};
use reverie_core::config::Identity;
use reverie_core::id::NodeId;
use reverie_core::mesh::collection::IssuingLimits;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::chain;
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
    /// What this host may issue under an intermediate that another has signed, by fingerprint.
    limits: BTreeMap<String, IssuingLimits>,
    /// This host.
    node: NodeId,
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

    /// True if that root was trusted when this host joined, and the mesh has not said more of it yet.
    pub fn is_anchor(&self, root: &str) -> bool {
        self.membership.anchors.iter().any(|der| fingerprint(der) == root)
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
    pub fn load(mut stored: StoredAuthority, mesh: Arc<MeshTrust>, node: &NodeId) -> Result<Self, rcgen::Error> {
        mesh.judge(&mut stored, node);
        let signing = stored.issuers.iter().map(ready).collect::<Result<Vec<_>, _>>()?;
        let bundle = mesh.bundle(&stored);
        let bundle_pem: String = bundle.iter().map(|(_, der)| to_pem("CERTIFICATE", der)).collect();
        let crl_pem = mesh.lists(&stored);
        let foreign = stored.record.intermediates.iter().filter(|known| !stored.record.is_root(&known.root));
        let limits = foreign.map(|known| (known.fingerprint.clone(), limits_of(&stored, &mesh, &known.fingerprint, node)));
        let limits = limits.collect();
        let digest = hex(Sha256::new().chain_update(&bundle_pem).chain_update(&crl_pem).finalize().as_slice());
        Ok(Self {
            limits,
            node: node.clone(),
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

    /// Refuses names that this host may not issue under that intermediate.
    pub fn check_limits(&self, intermediate: &str, identity: &Identity) -> Result<(), OutsideLimits> {
        match self.limits.get(intermediate) {
            Some(limits) => ca::check(limits, &self.node, &identity.spiffe_id, &identity.dns, &identity.ip),
            None => Ok(()),
        }
    }

    /// True if another has signed that intermediate: verifiers hold its leaves to its name constraints.
    pub fn is_constrained(&self, intermediate: &str) -> bool {
        self.limits.contains_key(intermediate)
    }

    /// True if that root is in the bundle.
    pub fn trusts(&self, root: &str) -> bool {
        self.trusted.contains(root)
    }
}

/// Names and addresses as the intermediate itself says, since that is what verifiers hold it to; SPIFFE paths as the mesh says.
fn limits_of(stored: &StoredAuthority, mesh: &MeshTrust, intermediate: &str, node: &NodeId) -> IssuingLimits {
    let certificate = stored.issuers.iter().find(|known| known.fingerprint == intermediate).map(|known| &known.certificate);
    let constraints = certificate.and_then(|der| chain::constraints_of(der)).unwrap_or_default();
    let spiffe = mesh.limits.get(node).map_or_else(|| vec!["/".to_owned()], |limits| limits.spiffe.clone());
    IssuingLimits { dns: constraints.dns, addresses: constraints.networks, spiffe, ..IssuingLimits::default() }
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
