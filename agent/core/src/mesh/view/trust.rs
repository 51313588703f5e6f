//! What certificates are trusted.

use super::View;
use crate::id::NodeId;
use crate::mesh::collection::{BundleRoot, Collection, HostIntermediate, RevocationList, TokenKey};

/// A root of the bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root<'a> {
    /// SHA-256 of the certificate, lower-case hex.
    pub fingerprint: &'a str,
    /// The authority that holds it.
    pub holder: &'a NodeId,
    /// The certificate, and from when on it signs.
    pub root: BundleRoot,
}

/// A host's intermediate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intermediate<'a> {
    /// SHA-256 of the certificate, lower-case hex.
    pub fingerprint: &'a str,
    /// Whose, by which root, and the certificate.
    pub intermediate: HostIntermediate,
}

impl<'a> View<'a> {
    /// The roots of those who are authorities now. What an evicted authority published is not among them, whatever of its
    /// history was accepted.
    pub fn bundle(&self) -> Vec<Root<'a>> {
        let mut roots: Vec<Root<'a>> = self
            .entries(Collection::Bundles)
            .filter(|value| self.members().is_authority(value.author))
            .filter_map(|value| {
                let root = minicbor::decode(value.bytes).ok()?;
                Some(Root { fingerprint: value.key, holder: value.author, root })
            })
            .collect();
        roots.sort_by(|a, b| (a.fingerprint, a.holder).cmp(&(b.fingerprint, b.holder)));
        roots.dedup_by_key(|root| root.fingerprint);
        roots
    }

    /// Intermediates of those who are in, under a root of the bundle, by fingerprint.
    pub fn intermediates(&self) -> Vec<Intermediate<'a>> {
        let roots: Vec<&str> = self.bundle().iter().map(|root| root.fingerprint).collect();
        let mut all: Vec<Intermediate<'a>> = self
            .entries(Collection::Intermediates)
            .filter_map(|value| {
                let intermediate: HostIntermediate = minicbor::decode(value.bytes).ok()?;
                Some(Intermediate { fingerprint: value.key, intermediate })
            })
            .filter(|known| roots.contains(&known.intermediate.root.as_str()) && self.members().is_in(&known.intermediate.node))
            .collect();
        all.sort_by_key(|known| known.fingerprint);
        all
    }

    /// Keys that verify tokens, of the hosts that are in: tokens of a host end with its membership.
    pub fn token_keys(&self) -> Vec<(&'a NodeId, TokenKey)> {
        let of_those_in = self.entries(Collection::SigningKeys).filter(|value| self.members().is_in(value.author));
        of_those_in.filter_map(|value| Some((value.author, minicbor::decode(value.bytes).ok()?))).collect()
    }

    /// Revocation lists, by issuer: the newest of each, also of hosts that are out.
    pub fn crls(&self) -> Vec<(&'a str, RevocationList)> {
        let decode = |value: super::Value<'a>| Some((value.key, minicbor::decode(value.bytes).ok()?));
        let mut lists: Vec<(&str, RevocationList)> = self.entries(Collection::Crls).filter_map(decode).collect();
        lists.sort_by_key(|(issuer, _)| *issuer);
        lists
    }
}
