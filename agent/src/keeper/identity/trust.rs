//! What the mesh says of trust: roots, intermediates, revocation lists, revocations. Made from the view, checked here,
//! and never changed; the keeper takes a new one for every view. Without a mesh it is empty, and changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reverie_core::ca::{self, Role};
use reverie_core::id::NodeId;
use reverie_core::mesh::collection::IssuingLimits;
use reverie_core::moment::Moment;
use reverie_core::renewal::Validity;

use super::issuers::{StoredAuthority, fingerprint};

/// A root of an authority of the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshRoot {
    /// Whose.
    pub node: NodeId,
    /// DER.
    pub certificate: Vec<u8>,
    /// Its life.
    pub validity: Validity,
    /// From when on it signs.
    pub signs_from: Moment,
}

/// An intermediate of a host of the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshIntermediate {
    /// Whose.
    pub node: NodeId,
    /// Fingerprint of its root.
    pub root: String,
    /// DER.
    pub certificate: Vec<u8>,
    /// Its life.
    pub validity: Validity,
}

/// A revocation list of an issuer elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshList {
    /// Who holds the issuer.
    pub node: NodeId,
    /// DER.
    pub list: Arc<Vec<u8>>,
}

/// See above. Keys are fingerprints.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MeshTrust {
    /// Roots of authorities that were not put out.
    pub roots: BTreeMap<String, MeshRoot>,
    /// Intermediates that roots above have signed.
    pub intermediates: BTreeMap<String, MeshIntermediate>,
    /// Lists of the issuers above.
    pub lists: BTreeMap<String, MeshList>,
    /// Issuer and serial, hex.
    pub revoked: BTreeSet<(String, String)>,
    /// What this host may issue.
    pub limits: Option<IssuingLimits>,
}

impl MeshTrust {
    /// Marks what of this host's own issuers the mesh does not trust.
    pub fn judge(&self, record: &mut ca::Authority) {
        record.membership.distrusted = BTreeSet::new();
        record.membership.outdated = BTreeSet::new();
    }

    /// Every root to trust: fingerprint and DER. The same on all hosts of a mesh that trust the same.
    pub fn bundle(&self, stored: &StoredAuthority) -> Vec<(String, Vec<u8>)> {
        let record = &stored.record;
        let own = stored.issuers.iter().filter(|i| record.is_root(&i.fingerprint) && record.is_published(&i.fingerprint));
        let mut bundle: Vec<_> = own.map(|root| (root.fingerprint.clone(), root.certificate.clone())).collect();
        bundle.extend(self.roots.iter().map(|(name, root)| (name.clone(), root.certificate.clone())));
        if self.roots.is_empty() && record.membership.role == Role::Member {
            bundle.extend(stored.membership.anchors.iter().map(|der| (fingerprint(der), der.clone())));
        }
        if !self.roots.is_empty() || record.membership.role == Role::Member {
            bundle.sort();
            bundle.dedup();
        }
        bundle
    }

    /// Every revocation list to publish.
    pub fn lists(&self, stored: &StoredAuthority, _bundle: &[(String, Vec<u8>)]) -> Vec<Arc<Vec<u8>>> {
        let record = &stored.record;
        let own = stored.issuers.iter().filter(|i| !i.crl.is_empty() && record.is_published(&i.fingerprint));
        let own = own.map(|issuer| (&issuer.fingerprint, Arc::clone(&issuer.crl)));
        let others = self.lists.iter().filter(|(issuer, _)| stored.issuers.iter().all(|own| own.fingerprint != **issuer));
        own.chain(others.map(|(issuer, known)| (issuer, Arc::clone(&known.list)))).map(|(_, list)| list).collect()
    }
}
