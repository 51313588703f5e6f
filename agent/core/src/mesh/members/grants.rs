//! The closure of admissions and next keys under what was applied so far.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::statements::{Said, Statements};
use crate::id::NodeId;
use crate::mesh::collection::{Collection, Eviction, HostKey, Standing, Upheld};
use crate::mesh::crypto::{KemPublicKey, Kid, SigningPublicKey};
use crate::mesh::record::{Hash, Stamp};
use crate::mesh::set::{Anchor, Set};
use crate::mesh::vector::Position;

/// So often a host goes on to a next key after one admission; further ones come to nothing.
pub const MAX_ROTATIONS: u32 = 64;
/// Next keys of one key that are remembered as that host's, though one at most follows.
const MAX_RIVALS: usize = 8;

/// Distance from the founding host in the chain of promotions, then when, then who. Smaller is senior.
pub(super) type Seniority = (u32, Stamp, NodeId);

/// Why a key ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The host went on to its next key.
    Rotated,
    /// Two next keys are there, and it is not settled which follows.
    Disputed,
    /// An eviction.
    Evicted,
    /// It was to follow a key that another followed.
    Superseded,
}

/// How a key ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    pub(super) why: Why,
    /// What all of these uphold still counts.
    upheld: Vec<Arc<Upheld>>,
    /// And this one: that names the next key.
    last: Option<Hash>,
}

impl End {
    fn superseded() -> Self {
        Self { why: Why::Superseded, upheld: vec![], last: None }
    }

    fn evicted(by: &Said<Eviction>) -> Self {
        Self { why: Why::Evicted, upheld: vec![Arc::clone(&by.upheld)], last: None }
    }

    /// Whether a record by the key still counts.
    pub(super) fn holds(&self, set: &Set, hash: &Hash) -> bool {
        let list = |name: &str| {
            let found = set.under(Collection::Upheld, name).next();
            found.and_then(|entry| entry.fields().value)
        };
        self.last.as_ref() == Some(hash) || (!self.upheld.is_empty() && self.upheld.iter().all(|upheld| upheld.holds(hash, list)))
    }
}

/// A key in the closure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) signing_key: SigningPublicKey,
    pub(super) kem_key: Option<(Stamp, KemPublicKey)>,
    pub(super) standing: Standing,
    pub(super) end: Option<End>,
    pub(super) by: String,
    /// Newer keys have greater ones: the admission's stamp, then how many keys came before it in the chain.
    pub(super) order: (Stamp, u32),
    pub(super) seniority: Option<Seniority>,
    /// Evictions by these up to there do not end it: it was admitted in knowledge of them.
    despite: BTreeMap<NodeId, Position>,
    /// It follows a key that ended so. `None` for one that was admitted itself.
    inherited: Option<End>,
    /// An authority admitted it itself.
    admitted: bool,
}

impl Grant {
    fn founding(anchor: &Anchor) -> Self {
        Self {
            signing_key: anchor.key.clone(),
            kem_key: None,
            standing: Standing::Authority,
            end: None,
            by: "founding".to_owned(),
            order: (Stamp::default(), 0),
            seniority: Some((0, Stamp::default(), anchor.node.clone())),
            despite: BTreeMap::new(),
            inherited: None,
            admitted: true,
        }
    }

    /// Whether a record by this key counts.
    pub(super) fn counts(&self, set: &Set, hash: &Hash) -> bool {
        self.end.as_ref().is_none_or(|end| end.holds(set, hash))
    }

    fn is_ended_by(&self, kid: Kid, eviction: &Said<Eviction>) -> bool {
        match eviction.what.left {
            true => eviction.what.keys.contains(&kid),
            false => eviction.position > self.despite.get(&eviction.by).copied().unwrap_or_default(),
        }
    }

    /// Whether an eviction of its host would change something of it.
    pub(super) fn would_end(&self, kid: Kid, eviction: &Said<Eviction>) -> bool {
        let done = self.end.as_ref().is_some_and(|end| matches!(end.why, Why::Evicted | Why::Superseded));
        !done && self.is_ended_by(kid, eviction)
    }
}

/// What was applied so far.
#[derive(Default)]
pub(super) struct Applied<'a> {
    /// By host, in the order they were applied: the first that ends a key decides what is upheld.
    pub(super) evictions: BTreeMap<NodeId, Vec<&'a Said<Eviction>>>,
    /// Hash of the record that follows a key.
    pub(super) follows: BTreeMap<(NodeId, Kid), Hash>,
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

    pub(super) fn of(&self, node: &NodeId) -> impl Iterator<Item = (Kid, &Grant)> {
        self.0.get(node).into_iter().flatten().map(|(kid, grant)| (*kid, grant))
    }

    /// The most senior key of a host.
    pub(super) fn seniority(&self, node: &NodeId) -> Option<&Seniority> {
        self.0.get(node)?.values().filter_map(|grant| grant.seniority.as_ref()).min()
    }
}

type Queue = BTreeSet<(Option<Seniority>, NodeId, Kid)>;

impl Statements {
    /// Every key that the founding host's reaches, the most senior first, each with its end.
    pub(super) fn closure(&self, set: &Set, applied: &Applied<'_>) -> Grants {
        let (anchor, mut grants, mut queue) = (set.anchor(), Grants::default(), Queue::new());
        grants.add(&mut queue, anchor.node.clone(), Grant::founding(anchor));
        while let Some((_, node, kid)) = queue.pop_first() {
            let Some(grant) = grants.0.get_mut(&node).and_then(|keys| keys.get_mut(&kid)) else { continue };
            grant.end = self.end_of(&node, kid, grant, applied);
            let grant = grant.clone();
            for (said, inherited) in self.next_keys_of(&node, kid, &grant, applied) {
                let next = Grant {
                    signing_key: said.what.signing_key.clone(),
                    kem_key: Some((said.stamp, said.what.kem_key.clone())),
                    order: (grant.order.0, grant.order.1 + 1),
                    end: None,
                    inherited,
                    admitted: false,
                    ..grant.clone()
                };
                grants.add(&mut queue, node.clone(), next);
            }
            let Some(own) = grant.seniority.as_ref().filter(|_| grant.standing == Standing::Authority) else { continue };
            let admissions = self.admissions.get(&(node.clone(), kid)).into_iter().flatten();
            for said in admissions.filter(|said| grant.counts(set, &said.hash)) {
                let admission = &said.what;
                let seniority = (own.0 + 1, said.stamp, admission.node.clone());
                let mut despite = admission.despite.clone();
                // Whoever admits a host knows what it said itself before.
                despite.entry(said.by.clone()).and_modify(|at| *at = said.position.max(*at)).or_insert(said.position);
                let next = Grant {
                    signing_key: admission.signing_key.clone(),
                    kem_key: admission.kem_key.clone().map(|key| (said.stamp, key)),
                    standing: admission.standing,
                    end: None,
                    by: admission.by.chars().take(32).collect(),
                    order: (said.stamp, 0),
                    seniority: (admission.standing == Standing::Authority).then_some(seniority),
                    despite,
                    inherited: None,
                    admitted: true,
                };
                grants.add(&mut queue, admission.node.clone(), next);
            }
        }
        grants
    }

    /// Ends the keys of a host that grants nothing to others, as the closure would.
    pub(super) fn end_keys(&self, grants: &mut Grants, node: &NodeId, applied: &Applied<'_>) {
        let Some(keys) = grants.0.get_mut(node) else { return };
        let mut order: Vec<(u32, Kid)> = keys.iter().map(|(kid, grant)| (grant.order.1, *kid)).collect();
        order.sort_unstable();
        for (_, kid) in order {
            let Some(grant) = keys.get_mut(&kid) else { continue };
            grant.end = self.end_of(node, kid, grant, applied);
            let grant = grant.clone();
            for (said, inherited) in self.next_keys_of(node, kid, &grant, applied) {
                if let Some(next) = keys.get_mut(&said.what.signing_key.kid()).filter(|next| !next.admitted) {
                    next.inherited = inherited;
                }
            }
        }
    }

    /// The record that follows a key: one is settled, or the only one. A member's lowest follows meanwhile, since nobody
    /// depends on a member.
    pub(super) fn following(&self, node: &NodeId, kid: Kid, grant: &Grant, applied: &Applied<'_>) -> Option<&Said<HostKey>> {
        let all = self.next_of(node, kid);
        if grant.order.1 >= MAX_ROTATIONS {
            return None;
        }
        match applied.follows.get(&(node.clone(), kid)) {
            Some(hash) => all.iter().find(|said| said.hash == *hash),
            None if all.len() > 1 && grant.seniority.is_some() => None,
            None => all.first(),
        }
    }

    /// How a key ended: by the first eviction that ends it, with the key before, or by going on to the next.
    fn end_of(&self, node: &NodeId, kid: Kid, grant: &Grant, applied: &Applied<'_>) -> Option<End> {
        let evictions = applied.evictions.get(node).into_iter().flatten();
        if let Some(eviction) = evictions.copied().find(|eviction| grant.is_ended_by(kid, eviction)) {
            return Some(End::evicted(eviction));
        }
        if grant.inherited.is_some() {
            return grant.inherited.clone();
        }
        let next = self.next_of(node, kid);
        if next.is_empty() || grant.order.1 >= MAX_ROTATIONS {
            return None;
        }
        Some(match self.following(node, kid, grant, applied) {
            Some(said) => End { why: Why::Rotated, upheld: vec![Arc::clone(&said.upheld)], last: Some(said.hash) },
            None => {
                let upheld = next.iter().take(MAX_RIVALS).map(|said| Arc::clone(&said.upheld)).collect();
                End { why: Why::Disputed, upheld, last: None }
            }
        })
    }

    /// What a host said of its next key: the one that follows shares the fate of the key, the others come to nothing.
    fn next_keys_of(&self, node: &NodeId, kid: Kid, grant: &Grant, applied: &Applied<'_>) -> Vec<(&Said<HostKey>, Option<End>)> {
        let why = grant.end.as_ref().map(|end| end.why);
        if grant.order.1 >= MAX_ROTATIONS || why == Some(Why::Superseded) {
            return vec![];
        }
        let following = self.following(node, kid, grant, applied);
        let fate = grant.end.clone().filter(|_| why == Some(Why::Evicted));
        let is_it = |said: &Said<HostKey>| following.is_some_and(|one| one.hash == said.hash);
        let others = self.next_of(node, kid).iter().take(MAX_RIVALS).filter(|said| !is_it(said));
        let others = others.map(|said| (said, Some(fate.clone().unwrap_or_else(End::superseded))));
        following.map(|said| (said, fate.clone())).into_iter().chain(others).collect()
    }
}

impl Grants {
    /// Adds what one record grants. The greater standing and the newer admission win; whatever changes is looked at again.
    fn add(&mut self, queue: &mut Queue, node: NodeId, new: Grant) {
        let kid = new.signing_key.kid();
        let keys = self.0.entry(node.clone()).or_default();
        let Some(known) = keys.get_mut(&kid) else {
            queue.insert((new.seniority.clone(), node, kid));
            keys.insert(kid, new);
            return;
        };
        let before = known.clone();
        known.standing = known.standing.max(new.standing);
        known.seniority = [known.seniority.take(), new.seniority].into_iter().flatten().min();
        // A key that was admitted does not become an older host's next.
        if new.order > known.order && (new.admitted || !known.admitted) {
            (known.order, known.by) = (new.order, new.by);
        }
        if new.kem_key.as_ref().map(|(at, _)| *at) > known.kem_key.as_ref().map(|(at, _)| *at) {
            known.kem_key = new.kem_key;
        }
        for (by, position) in new.despite {
            known.despite.entry(by).and_modify(|at| *at = position.max(*at)).or_insert(position);
        }
        known.admitted |= new.admitted;
        if new.inherited.is_none() {
            known.inherited = None;
        }
        if *known != before {
            queue.insert((known.seniority.clone(), node, kid));
        }
    }
}
