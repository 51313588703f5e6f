//! Who signs the intermediates of this host, and which of them it may use, where it is part of a mesh.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::life::{Authority, Intermediate};

/// Who signs this host's intermediates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Its own roots: a host without a mesh, or an authority of one.
    #[default]
    Own,
    /// An authority of the mesh. Roots from before are trusted by this host alone, until nothing here needs them.
    Member,
}

/// How a host stands to the mesh, as far as its issuers are concerned. Without a mesh: the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Membership {
    /// Who signs.
    pub role: Role,
    /// Intermediates that sign no more, since the mesh does not trust their root, or has revoked them. Made anew from every
    /// view: what the mesh takes back is good again.
    pub distrusted: BTreeSet<String>,
    /// Intermediates to be replaced though they are good: a newer root signs, or the host's limits are others now.
    pub outdated: BTreeSet<String>,
}

impl Authority {
    /// True if that intermediate must not sign, whatever its dates.
    pub fn is_set_aside(&self, intermediate: &Intermediate) -> bool {
        let own_before = self.membership.role == Role::Member && self.is_root(&intermediate.root);
        own_before || self.membership.distrusted.contains(&intermediate.fingerprint)
    }

    /// True if leaves under that issuer are to be replaced: it is set aside, or gone. Only where another one signs.
    pub fn is_superseded(&self, issuer: &str) -> bool {
        match self.intermediates.iter().find(|known| known.fingerprint == issuer) {
            Some(known) => known.revoked || self.is_set_aside(known),
            None => false,
        }
    }

    /// Roots of this host from before it joined.
    pub fn former_roots(&self) -> Vec<String> {
        match self.membership.role {
            Role::Own => vec![],
            Role::Member => self.roots.iter().map(|root| root.fingerprint.clone()).collect(),
        }
    }

    /// Roots of others that signed intermediates of this host.
    pub fn foreign_roots(&self) -> Vec<String> {
        let foreign = self.intermediates.iter().filter(|intermediate| !self.is_root(&intermediate.root));
        foreign.map(|intermediate| intermediate.root.clone()).collect()
    }

    /// Forgets these roots and what they signed: they are trusted nowhere any more.
    pub fn give_up(&mut self, roots: &[String]) {
        self.roots.retain(|root| !roots.contains(&root.fingerprint));
        self.intermediates.retain(|intermediate| !roots.contains(&intermediate.root));
    }
}
