//! What the mesh says of trust: roots, intermediates, revocation lists, revocations. Made from the view, checked here,
//! and never changed; the keeper takes a new one for every view. Without a mesh it is empty, and changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reverie_core::ca::{NameConstraints, Role};
use reverie_core::id::{NodeId, TrustDomain};
use reverie_core::jwt::Purpose;
use reverie_core::mesh::collection::{Collection, HostIntermediate, IssuingLimits, Revocation, Standing, TokenKey};
use reverie_core::mesh::crypto::{Kid, SigningPublicKey};
use reverie_core::mesh::view::View;
use reverie_core::moment::Moment;
use reverie_core::renewal::Validity;

use super::chain;
use super::issuers::{StoredAuthority, fingerprint, to_pem};
use super::mesh_list::{MAX_LIST, MeshList, choose};

/// Roots of one authority that count: the current one, its successor, and what has not ended yet.
const MAX_ROOTS_OF_ONE: usize = 8;
/// Bytes of all lists together, as PEM: what else is published with them fits beside.
const MAX_LISTS: usize = reverie_core::ipc::MAX_MESSAGE - (768 << 10);

/// Token keys of one host that count.
const MAX_TOKEN_KEYS_OF_ONE: usize = 32;

/// A list drops what has ended by its signer's clock, which may be so far ahead of ours.
const CLOCKS_DIFFER: Duration = Duration::from_secs(120);

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
    /// Its serial, hex.
    pub serial: String,
    /// DER.
    pub certificate: Vec<u8>,
    /// Its life.
    pub validity: Validity,
}

/// A key that verifies tokens of a host of the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshTokenKey {
    /// Whose. Several, if somebody repeats another's: what it may sign is what any of them may.
    pub nodes: BTreeSet<NodeId>,
    /// The key.
    pub public_key: SigningPublicKey,
}

/// See above. Keys are fingerprints.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MeshTrust {
    /// When it was made.
    pub at: Moment,
    /// Roots of authorities that are in.
    pub roots: BTreeMap<String, MeshRoot>,
    /// Intermediates of hosts that are in, signed by roots above.
    pub intermediates: BTreeMap<String, MeshIntermediate>,
    /// Lists of the issuers above, as services have them.
    pub lists: BTreeMap<String, MeshList>,
    /// By issuer and serial, hex, until it ends; everything that hosts who are out hold is among it.
    pub revoked: BTreeMap<(String, String), Revocation>,
    /// Issuers whose newest list lacks what the mesh says is revoked, and since when.
    pub lagging: BTreeMap<String, Moment>,
    /// Keys that verify tokens of hosts that are in, by name and by what they sign: who says another thing of a key takes nothing
    /// from it.
    pub token_keys: BTreeMap<(Kid, Purpose), MeshTokenKey>,
    /// What hosts may issue.
    pub limits: BTreeMap<NodeId, IssuingLimits>,
    /// What is wrong with what others say, for people.
    pub findings: Vec<String>,
    /// What this host is in the mesh; `None`: not in it.
    pub standing: Option<Standing>,
}

impl MeshTrust {
    /// From the view. `before`: what it was until now; what was checked is not checked again.
    pub fn of(view: &View<'_>, node: &NodeId, domain: &TrustDomain, before: &Self, now: Moment) -> Self {
        let mut trust = Self { at: now, ..Self::default() };
        trust.standing = view.host(node).and_then(|host| host.standing);
        trust.take_roots(view, domain, before);
        trust.take_intermediates(view, domain, before);
        trust.take_revocations(view);
        trust.take_lists(view, before);
        trust.take_token_keys(view);
        trust.limits = view.hosts().filter_map(|host| Some((host.node, host.limits?))).collect();
        trust
    }

    fn take_roots(&mut self, view: &View<'_>, domain: &TrustDomain, before: &Self) {
        let mut roots = view.bundle();
        // Of too many, the ones that sign last are left out.
        roots.sort_by_key(|known| known.root.signs_from);
        let mut counts: BTreeMap<&NodeId, usize> = BTreeMap::new();
        for known in &roots {
            let read = match before.roots.get(known.fingerprint) {
                Some(checked) if checked.certificate == known.root.certificate => Ok(checked.validity),
                _ => chain::read_root(&known.root.certificate, domain).map(|read| read.validity),
            };
            let validity = match read {
                Ok(validity) => validity,
                Err(error) => {
                    self.findings.push(format!("{} published a root that is none: {error}", known.holder));
                    continue;
                }
            };
            let count = counts.entry(known.holder).or_default();
            if validity.not_after <= self.at {
                continue;
            }
            *count += 1;
            if *count > MAX_ROOTS_OF_ONE {
                self.findings.push(format!("{} published more than {MAX_ROOTS_OF_ONE} roots", known.holder));
                continue;
            }
            let root = MeshRoot {
                node: known.holder.clone(),
                certificate: known.root.certificate.clone(),
                validity,
                signs_from: known.root.signs_from,
            };
            self.roots.insert(known.fingerprint.to_owned(), root);
        }
    }

    fn take_intermediates(&mut self, view: &View<'_>, domain: &TrustDomain, before: &Self) {
        for known in view.intermediates() {
            let value = known.intermediate;
            let Some(root) = self.roots.get(&value.root) else { continue };
            let checked = before.intermediates.get(known.fingerprint).filter(|checked| checked.certificate == value.certificate);
            let read = match checked {
                Some(checked) => Ok((checked.validity, checked.serial.clone())),
                None => chain::read_intermediate(&value.certificate, &root.certificate, domain)
                    .map(|read| (read.validity, data_encoding::HEXLOWER.encode(&read.serial))),
            };
            let (validity, serial) = match read {
                Ok(read) => read,
                Err(error) => {
                    self.findings.push(format!("{} published an intermediate that is none: {error}", root.node));
                    continue;
                }
            };
            if validity.not_after > self.at {
                let HostIntermediate { node, root, certificate } = value;
                let known_one = MeshIntermediate { node, root, serial, certificate, validity };
                self.intermediates.insert(known.fingerprint.to_owned(), known_one);
            }
        }
    }

    fn take_revocations(&mut self, view: &View<'_>) {
        let in_force = view.revocations().into_iter().filter(|(_, revocation)| revocation.not_after > self.at);
        self.revoked = in_force.map(|((issuer, serial), known)| ((issuer.to_owned(), serial.to_owned()), known)).collect();
        // What was signed for a host that is out now counts as revoked, whether or not that was said one by one.
        for value in view.entries(Collection::Intermediates) {
            let Ok(known) = minicbor::decode::<HostIntermediate>(value.bytes) else { continue };
            if !view.members().is_in(&known.node)
                && let Some((serial, not_after)) = chain::serial_and_end_of(&known.certificate)
                && not_after > self.at
            {
                let out = view.members().get(&known.node).and_then(|member| member.evicted.as_ref());
                let at = out.and_then(|out| i64::try_from(out.stamp.wall).ok()).map(Moment::from_millis).unwrap_or_default();
                self.revoked.entry((known.root, serial)).or_insert(Revocation { at, not_after });
            }
        }
    }

    fn take_token_keys(&mut self, view: &View<'_>) {
        let mut counts: BTreeMap<&NodeId, usize> = BTreeMap::new();
        for (node, TokenKey { public_key, purpose, until }) in view.token_keys() {
            let count = counts.entry(node).or_default();
            if until.after(CLOCKS_DIFFER) <= self.at || *count >= MAX_TOKEN_KEYS_OF_ONE {
                continue;
            }
            *count += 1;
            let (kid, nodes) = (public_key.kid(), BTreeSet::new());
            let known = self.token_keys.entry((kid, purpose)).or_insert(MeshTokenKey { nodes, public_key });
            known.nodes.insert(node.clone());
        }
    }

    fn take_lists(&mut self, view: &View<'_>, before: &Self) {
        let mut fresh = BTreeMap::new();
        for (issuer, value) in view.crls() {
            let root = self.roots.get(issuer).map(|root| (&root.node, &root.certificate));
            let of = root.or_else(|| self.intermediates.get(issuer).map(|known| (&known.node, &known.certificate)));
            let Some((node, certificate)) = of else { continue };
            let read = match before.lists.get(issuer).filter(|known| *known.list == value.list) {
                Some(known) => Some(known.clone()),
                None => MeshList::read(&value.list, certificate, node),
            };
            match read {
                Some(list) => drop(fresh.insert(issuer.to_owned(), list)),
                None => self.findings.push(format!(
                    "{node} published a revocation list that is none, is longer than {MAX_LIST} bytes, or was not signed by its \
                     issuer: certificates of that host cannot be checked against it"
                )),
            }
        }
        let mut lacks: BTreeSet<&String> = BTreeSet::new();
        for ((issuer, serial), known) in &self.revoked {
            let ends_soon = known.not_after <= self.at.after(CLOCKS_DIFFER);
            let listed = |list: &MeshList| list.serials.contains(serial);
            if self.intermediates.contains_key(issuer) && !ends_soon && !fresh.get(issuer).is_some_and(listed) {
                lacks.insert(issuer);
            }
        }
        let since = |issuer: &String| before.lagging.get(issuer).copied().unwrap_or(self.at);
        self.lagging = lacks.into_iter().map(|issuer| (issuer.clone(), since(issuer))).collect();
        self.lists = choose(&before.lists, fresh, self.at);
    }

    /// True if nothing follows from `other` that does not follow from this one already, times aside.
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        let timeless = |root: &MeshRoot, at: Moment| root.signs_from <= at;
        let same_signers = other.roots.values().all(|root| timeless(root, self.at) == timeless(root, other.at));
        same_signers && Self { at: other.at, ..self.clone() } == *other
    }

    /// Marks what of this host's own issuers the mesh does not trust, or wants replaced.
    pub fn judge(&self, stored: &mut StoredAuthority, node: &NodeId) {
        let (mut distrusted, mut outdated) = (BTreeSet::new(), BTreeSet::new());
        let record = &stored.record;
        for intermediate in record.intermediates.iter().filter(|known| !record.is_root(&known.root)) {
            let certificate = stored.issuers.iter().find(|known| known.fingerprint == intermediate.fingerprint);
            let Some(certificate) = certificate.map(|known| &known.certificate) else { continue };
            let serial = chain::serial_and_end_of(certificate).map(|(serial, _)| serial).unwrap_or_default();
            let trusted = self.roots.contains_key(&intermediate.root) || stored.is_anchor(&intermediate.root);
            if (self.standing.is_some() && !trusted) || self.revoked.contains_key(&(intermediate.root.clone(), serial)) {
                distrusted.insert(intermediate.fingerprint.clone());
            }
            let root = self.roots.get(&intermediate.root);
            let newer = |root: &MeshRoot| {
                let of_same = self.roots.values().filter(|other| other.node == root.node);
                of_same.into_iter().any(|other| other.signs_from > root.signs_from && other.signs_from <= self.at)
            };
            let constraints = self.limits.get(node).map(|limits| NameConstraints::of(limits, node));
            let other_limits = constraints.is_some() && constraints != chain::constraints_of(certificate);
            if root.is_some_and(newer) || other_limits {
                outdated.insert(intermediate.fingerprint.clone());
            }
        }
        stored.record.membership.distrusted = distrusted;
        stored.record.membership.outdated = outdated;
    }

    /// Every root to trust: fingerprint and DER. The same on all hosts of a mesh that trust the same.
    pub fn bundle(&self, stored: &StoredAuthority) -> Vec<(String, Vec<u8>)> {
        let record = &stored.record;
        let own = stored.issuers.iter().filter(|i| record.is_root(&i.fingerprint) && record.is_published(&i.fingerprint));
        let mut bundle: Vec<_> = own.map(|root| (root.fingerprint.clone(), root.certificate.clone())).collect();
        if self.roots.is_empty() && record.membership.role == Role::Own && stored.membership.anchors.is_empty() {
            return bundle;
        }
        bundle.extend(self.roots.iter().map(|(name, root)| (name.clone(), root.certificate.clone())));
        bundle.extend(stored.membership.anchors.iter().map(|der| (fingerprint(der), der.clone())));
        bundle.sort();
        bundle.dedup();
        bundle
    }

    /// Every revocation list to publish, PEM; what others have signed only while there is room.
    pub fn lists(&self, stored: &StoredAuthority) -> String {
        let record = &stored.record;
        let own = stored.issuers.iter().filter(|i| !i.crl.is_empty() && record.is_published(&i.fingerprint));
        let mut published: String = own.map(|issuer| to_pem("X509 CRL", &issuer.crl)).collect();
        let is_own = |issuer: &String| stored.issuers.iter().any(|own| own.fingerprint == *issuer);
        let mut others: Vec<_> = self.lists.iter().filter(|(issuer, _)| !is_own(issuer)).collect();
        // Where there is no room for all, it is the longest that stay out: one host must not crowd out the rest.
        others.sort_by_key(|(issuer, known)| (known.list.len(), *issuer));
        let mut kept = BTreeMap::new();
        let mut room = MAX_LISTS.saturating_sub(published.len());
        for (issuer, known) in others {
            let list = to_pem("X509 CRL", &known.list);
            if list.len() > room {
                break;
            }
            room -= list.len();
            kept.insert(issuer, list);
        }
        published.extend(kept.into_values());
        published
    }

    /// What the mesh says is revoked of what `issuer` signed, and has not ended: serial, hex, and what is said of it.
    pub fn revoked_of(&self, issuer: &str) -> impl Iterator<Item = (&str, &Revocation)> {
        let first = (issuer.to_owned(), String::new());
        let named = self.revoked.range(first..).take_while(move |((of, _), _)| of == issuer);
        named.map(|((_, serial), known)| (serial.as_str(), known))
    }
}
