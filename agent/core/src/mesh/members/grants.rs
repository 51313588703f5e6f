//! The closure of admissions under evictions.

use std::collections::{BTreeMap, BTreeSet};

use super::Evicted;
use crate::id::NodeId;
use crate::mesh::collection::{self, Admission, Collection, Eviction, HostKey, Standing};
use crate::mesh::crypto::{KemPublicKey, Kid, SigningPublicKey};
use crate::mesh::record::{Hash, Stamp};
use crate::mesh::set::{Anchor, Set};
use crate::mesh::vector::Position;

/// Distance from the founding host in the chain of promotions, then when, then who. Smaller is senior.
pub(super) type Seniority = (u32, Stamp, NodeId);

/// One record that says something of members, decoded.
struct Said<T> {
    by: NodeId,
    kid: Kid,
    position: Position,
    stamp: Stamp,
    hash: Hash,
    what: T,
}

/// All of them.
pub(super) struct Statements {
    admissions: BTreeMap<(NodeId, Kid), Vec<Said<Admission>>>,
    next_keys: BTreeMap<(NodeId, Kid), Vec<Said<HostKey>>>,
    evictions: Vec<Said<Eviction>>,
}

/// A key in the closure.
#[derive(Debug, Clone)]
pub(super) struct Grant {
    pub(super) signing_key: SigningPublicKey,
    pub(super) kem_key: Option<(Stamp, KemPublicKey)>,
    pub(super) standing: Standing,
    pub(super) until: Option<Position>,
    /// It ended because the host went on to its next key, and for no other reason.
    pub(super) rotated: bool,
    pub(super) by: String,
    /// Newer keys have greater ones: the admission's stamp, then how many keys came before it in the chain.
    pub(super) order: (Stamp, u32),
    seniority: Option<Seniority>,
}

/// The closure.
#[derive(Debug, Default)]
pub(super) struct Grants(BTreeMap<NodeId, BTreeMap<Kid, Grant>>);

impl Grants {
    pub(super) fn get(&self, node: &NodeId, kid: Kid) -> Option<&Grant> {
        self.0.get(node)?.get(&kid)
    }

    pub(super) fn by_node(&self) -> &BTreeMap<NodeId, BTreeMap<Kid, Grant>> {
        &self.0
    }

    /// The most senior key of a host.
    fn seniority(&self, node: &NodeId) -> Option<&Seniority> {
        self.0.get(node)?.values().filter_map(|grant| grant.seniority.as_ref()).min()
    }
}

impl Statements {
    pub(super) fn of(set: &Set) -> Self {
        let mut all = Self { admissions: BTreeMap::new(), next_keys: BTreeMap::new(), evictions: Vec::new() };
        for (key, said) in decoded::<Admission>(set, Collection::Admissions) {
            if key == collection::key::admission(&said.what.node, &said.what.signing_key.kid()) {
                all.admissions.entry((said.by.clone(), said.kid)).or_default().push(said);
            }
        }
        for (key, said) in decoded::<HostKey>(set, Collection::HostKeys) {
            if key == collection::key::host_key(&said.by, &said.what.signing_key.kid()) && said.what.previous == said.kid {
                all.next_keys.entry((said.by.clone(), said.kid)).or_default().push(said);
            }
        }
        for (key, said) in decoded::<Eviction>(set, Collection::Evictions) {
            if key == collection::key::eviction(&said.what.node, &said.by) {
                all.evictions.push(said);
            }
        }
        all
    }

    /// Applies evictions one at a time until none is left that its author may make.
    pub(super) fn settle(&self, anchor: &Anchor) -> (Grants, Vec<(NodeId, Evicted)>) {
        let mut applied: Vec<&Said<Eviction>> = Vec::new();
        let mut pending: Vec<&Said<Eviction>> = self.evictions.iter().collect();
        let mut grants = self.closure(anchor, &applied);
        loop {
            let order = |said: &Said<Eviction>| {
                let rank = grants.get(&said.by, said.kid).and_then(|grant| grant.seniority.clone());
                (rank.is_none(), rank, said.stamp, said.by.clone(), said.hash)
            };
            let may = |said: &&Said<Eviction>| self.may_evict(&grants, &applied, said);
            let Some(next) = pending.iter().copied().filter(may).min_by_key(|said| order(said)) else { break };
            pending.retain(|said| !std::ptr::eq(*said, next));
            applied.push(next);
            grants = self.closure(anchor, &applied);
        }
        let evicted = |said: &&Said<Eviction>| Evicted {
            by: said.by.clone(),
            stamp: said.stamp,
            reason: said.what.reason.chars().take(200).collect(),
            left: said.what.left,
        };
        (grants, applied.iter().map(|said| (said.what.node.clone(), evicted(said))).collect())
    }

    fn may_evict(&self, grants: &Grants, applied: &[&Said<Eviction>], said: &Said<Eviction>) -> bool {
        let Some(grant) = grants.get(&said.by, said.kid) else { return false };
        if grant.until.is_some_and(|until| said.position > until) {
            return false;
        }
        if said.by == said.what.node {
            return said.what.left;
        }
        let Some(own) = grant.seniority.as_ref().filter(|_| grant.standing == Standing::Authority) else { return false };
        let out = applied.iter().any(|other| other.what.node == said.by && !other.what.left);
        !(out && grants.seniority(&said.what.node).is_some_and(|target| target < own))
    }

    /// Every key that the founding host's reaches, the most senior first, each with the end that `applied` sets it.
    fn closure(&self, anchor: &Anchor, applied: &[&Said<Eviction>]) -> Grants {
        let mut grants = Grants::default();
        let mut queue = BTreeSet::new();
        let founding = Grant {
            signing_key: anchor.key.clone(),
            kem_key: None,
            standing: Standing::Authority,
            until: None,
            rotated: false,
            by: "founding".to_owned(),
            order: (Stamp::default(), 0),
            seniority: Some((0, Stamp::default(), anchor.node.clone())),
        };
        let kid = anchor.key.kid();
        grants.0.entry(anchor.node.clone()).or_default().insert(kid, founding);
        queue.insert((Some((0, Stamp::default(), anchor.node.clone())), anchor.node.clone(), kid));
        while let Some((_, node, kid)) = queue.pop_first() {
            let Some(grant) = grants.0.get_mut(&node).and_then(|keys| keys.get_mut(&kid)) else { continue };
            (grant.until, grant.rotated) = self.end_of(&node, kid, grant.order.0, applied);
            let grant = grant.clone();
            let within = |position: Position| grant.until.is_none_or(|until| position <= until);
            for said in self.next_keys.get(&(node.clone(), kid)).into_iter().flatten().filter(|said| within(said.position)) {
                let next = Grant {
                    signing_key: said.what.signing_key.clone(),
                    kem_key: Some((said.stamp, said.what.kem_key.clone())),
                    order: (grant.order.0, grant.order.1 + 1),
                    until: None,
                    rotated: false,
                    ..grant.clone()
                };
                grants.add(&mut queue, node.clone(), next);
            }
            let Some(own) = grant.seniority.as_ref().filter(|_| grant.standing == Standing::Authority) else { continue };
            for said in self.admissions.get(&(node.clone(), kid)).into_iter().flatten().filter(|said| within(said.position)) {
                let admission = &said.what;
                let seniority = (own.0 + 1, said.stamp, admission.node.clone());
                let next = Grant {
                    signing_key: admission.signing_key.clone(),
                    kem_key: admission.kem_key.clone().map(|key| (said.stamp, key)),
                    standing: admission.standing,
                    until: None,
                    rotated: false,
                    by: admission.by.chars().take(32).collect(),
                    order: (said.stamp, 0),
                    seniority: (admission.standing == Standing::Authority).then_some(seniority),
                };
                grants.add(&mut queue, admission.node.clone(), next);
            }
        }
        grants
    }

    /// Up to where a key's records count: where the host went on to its next key, and what evictions accepted of it. An
    /// eviction spares a key that it does not name and that was admitted later. And whether it was the former alone.
    fn end_of(&self, node: &NodeId, kid: Kid, admitted: Stamp, applied: &[&Said<Eviction>]) -> (Option<Position>, bool) {
        let rotated = self.next_keys.get(&(node.clone(), kid)).into_iter().flatten().map(|said| said.position);
        let evicted = applied.iter().filter(|said| said.what.node == *node).filter_map(|said| {
            let accepted = said.what.accepted.get(&kid).copied();
            match accepted {
                None if admitted > said.stamp => None,
                accepted => Some(accepted.unwrap_or_default()),
            }
        });
        let (rotated, evicted) = (rotated.min(), evicted.min());
        (rotated.into_iter().chain(evicted).min(), rotated.is_some() && evicted.is_none())
    }
}

impl Grants {
    /// Adds what one record grants. The greater standing and the newer admission win; whatever changes is looked at again.
    fn add(&mut self, queue: &mut BTreeSet<(Option<Seniority>, NodeId, Kid)>, node: NodeId, new: Grant) {
        let kid = new.signing_key.kid();
        let keys = self.0.entry(node.clone()).or_default();
        let Some(known) = keys.get_mut(&kid) else {
            queue.insert((new.seniority.clone(), node, kid));
            keys.insert(kid, new);
            return;
        };
        let before = (known.standing, known.order, known.seniority.clone(), known.kem_key.as_ref().map(|(at, _)| *at));
        known.standing = known.standing.max(new.standing);
        known.seniority = [known.seniority.take(), new.seniority].into_iter().flatten().min();
        if new.order > known.order {
            (known.order, known.by) = (new.order, new.by);
        }
        if new.kem_key.as_ref().map(|(at, _)| *at) > known.kem_key.as_ref().map(|(at, _)| *at) {
            known.kem_key = new.kem_key;
        }
        if before != (known.standing, known.order, known.seniority.clone(), known.kem_key.as_ref().map(|(at, _)| *at)) {
            queue.insert((known.seniority.clone(), node, kid));
        }
    }
}

/// Records of a collection that decode, with their keys.
fn decoded<T: for<'b> minicbor::Decode<'b, ()>>(set: &Set, collection: Collection) -> Vec<(String, Said<T>)> {
    let entries = set.chains(collection).flatten();
    let decode = |entry: &crate::mesh::set::Entry| {
        let fields = entry.fields();
        let said = Said {
            by: set.node(entry.author).clone(),
            kid: fields.kid,
            position: entry.position,
            stamp: entry.stamp,
            hash: fields.hash(),
            what: minicbor::decode(fields.value?).ok()?,
        };
        Some((fields.key.to_owned(), said))
    };
    let mut all: Vec<(String, Said<T>)> = entries.filter_map(decode).collect();
    // As they are chained they show the order of arrival.
    all.sort_by(|(_, a), (_, b)| (&a.by, a.position, a.hash).cmp(&(&b.by, b.position, b.hash)));
    all
}
