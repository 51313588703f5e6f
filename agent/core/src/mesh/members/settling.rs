//! Evictions and confirmations, applied one at a time.

use std::collections::{BTreeMap, BTreeSet};

use super::Evicted;
use super::grants::{Applied, Grants, Seniority, Why};
use super::statements::{Said, Statements};
use crate::id::NodeId;
use crate::mesh::collection::{Confirmation, Eviction, Standing};
use crate::mesh::crypto::Kid;
use crate::mesh::record::{Hash, Stamp};
use crate::mesh::set::Set;
use crate::mesh::vector::Position;

/// What everything comes to.
pub(super) struct Settled {
    pub(super) grants: Grants,
    /// Evictions that ended something, in the order they were applied.
    pub(super) evicted: Vec<(NodeId, Evicted)>,
    /// Who evicted a host, and how far.
    pub(super) evictions: BTreeMap<NodeId, BTreeMap<NodeId, Position>>,
    /// Next keys that an authority confirmed.
    pub(super) confirmed: BTreeSet<(NodeId, Kid)>,
}

#[derive(Clone, Copy)]
enum Act<'a> {
    Confirm(&'a Said<Confirmation>),
    Evict(&'a Said<Eviction>),
}

/// Those who leave come last, then those of no standing; else the senior first.
type Order = (bool, bool, Option<Seniority>, bool, Stamp, NodeId, Hash);

struct Settling<'a> {
    set: &'a Set,
    all: &'a Statements,
    grants: Grants,
    applied: Applied<'a>,
    /// Hosts that another put out.
    out: BTreeSet<NodeId>,
    evicted: Vec<(NodeId, Evicted)>,
    confirmed: BTreeSet<(NodeId, Kid)>,
}

impl Statements {
    /// Applies confirmations and evictions until none is left that its author may make.
    pub(super) fn settle(&self, set: &Set) -> Settled {
        let applied = Applied::default();
        let grants = self.closure(set, &applied);
        let (out, evicted, confirmed) = Default::default();
        let mut settling = Settling { set, all: self, grants, applied, out, evicted, confirmed };
        let mut pending: Vec<Act<'_>> = self.confirmations.iter().map(Act::Confirm).collect();
        pending.extend(self.evictions.iter().map(Act::Evict));
        loop {
            // What others may do changes with the closure alone: so far the order stays as it is.
            let mut turn: Vec<(Order, Act<'_>)> = pending.iter().map(|act| (settling.order(act), *act)).collect();
            turn.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            let mut rest = vec![];
            let mut turn = turn.into_iter().map(|(_, act)| act);
            let mut anew = false;
            for act in turn.by_ref() {
                match settling.may(&act) {
                    true => anew = settling.apply(act),
                    false => rest.push(act),
                }
                if anew {
                    break;
                }
            }
            rest.extend(turn);
            pending = rest;
            if !anew && !settling.decide_a_dispute() {
                break;
            }
            settling.grants = self.closure(set, &settling.applied);
        }
        let grants = self.closure(set, &settling.applied);
        let mut evictions: BTreeMap<NodeId, BTreeMap<NodeId, Position>> = BTreeMap::new();
        for said in settling.applied.evictions.values().flatten().filter(|said| !said.what.left) {
            let at = evictions.entry(said.what.node.clone()).or_default().entry(said.by.clone()).or_default();
            *at = said.position.max(*at);
        }
        Settled { grants, evicted: settling.evicted, evictions, confirmed: settling.confirmed }
    }
}

impl<'a> Settling<'a> {
    fn order(&self, act: &Act<'_>) -> Order {
        let (by, kid, stamp, hash, evicts, left) = match act {
            Act::Confirm(said) => (&said.by, said.kid, said.stamp, said.hash, false, false),
            Act::Evict(said) => (&said.by, said.kid, said.stamp, said.hash, true, said.what.left),
        };
        let rank = self.grants.get(by, kid).and_then(|grant| grant.seniority.clone());
        (left, rank.is_none(), rank, evicts, stamp, by.clone(), hash)
    }

    fn may(&self, act: &Act<'_>) -> bool {
        let (by, kid, hash) = match act {
            Act::Confirm(said) => (&said.by, said.kid, &said.hash),
            Act::Evict(said) => (&said.by, said.kid, &said.hash),
        };
        let Some(grant) = self.grants.get(by, kid) else { return false };
        // Whoever leaves does not come back by saying that it went on to a next key before.
        let undone = |said: &Said<Eviction>| {
            let rotated = grant.end.as_ref().is_some_and(|end| matches!(end.why, Why::Rotated | Why::Disputed));
            said.what.left && rotated && !self.confirmed.contains(&(said.by.clone(), said.kid))
        };
        let leaves = matches!(act, Act::Evict(said) if undone(said));
        if !leaves && !grant.counts(self.set, hash) {
            return false;
        }
        let seniority = grant.seniority.as_ref().filter(|_| grant.standing == Standing::Authority);
        match act {
            Act::Confirm(said) => {
                let next = self.all.next_of(&said.what.node, said.what.previous);
                seniority.is_some() && said.what.node != *by && next.iter().any(|next| next.hash == said.what.record)
            }
            Act::Evict(said) if said.what.node == *by => said.what.left,
            Act::Evict(said) => seniority.is_some_and(|own| {
                let target = self.grants.seniority(&said.what.node);
                let fights_back = self.out.contains(by) && target.is_some_and(|target| target < own);
                !said.what.left && !fights_back
            }),
        }
    }

    /// `true` if the closure is to be computed anew.
    fn apply(&mut self, act: Act<'a>) -> bool {
        match act {
            Act::Confirm(said) => self.confirm(said),
            Act::Evict(said) => self.evict(said),
        }
    }

    fn confirm(&mut self, said: &Said<Confirmation>) -> bool {
        let (node, previous) = (&said.what.node, said.what.previous);
        let name = (node.clone(), previous);
        if self.applied.follows.contains_key(&name) {
            return false;
        }
        let grant = self.grants.get(node, previous);
        let following = grant.and_then(|grant| self.all.following(node, previous, grant, &self.applied)).map(|next| next.hash);
        self.applied.follows.insert(name.clone(), said.what.record);
        self.confirmed.insert(name);
        grant.is_some() && following != Some(said.what.record)
    }

    fn evict(&mut self, said: &'a Said<Eviction>) -> bool {
        let node = &said.what.node;
        let ends = self.grants.of(node).any(|(kid, grant)| grant.would_end(kid, said));
        // Of those who leave again and again only the first matters.
        if ends || !said.what.left {
            self.applied.evictions.entry(node.clone()).or_default().push(said);
        }
        if !ends {
            return false;
        }
        if !said.what.left {
            self.out.insert(node.clone());
        }
        let evicted = Evicted {
            by: said.by.clone(),
            stamp: said.stamp,
            reason: said.what.reason.chars().take(200).collect(),
            left: said.what.left,
        };
        self.evicted.push((node.clone(), evicted));
        if self.grants.seniority(node).is_some() {
            return true;
        }
        self.all.end_keys(&mut self.grants, node, &self.applied);
        false
    }

    /// Nobody said which of two next keys of an authority follows: the one at the lowest position, of the senior first.
    fn decide_a_dispute(&mut self) -> bool {
        let keys = self.grants.by_node().iter().flat_map(|(node, keys)| keys.iter().map(move |(kid, grant)| (node, *kid, grant)));
        let disputed = keys.filter(|(_, _, grant)| grant.end.as_ref().is_some_and(|end| end.why == Why::Disputed));
        let Some((node, kid, _)) = disputed.min_by_key(|(node, kid, grant)| (grant.seniority.clone(), (*node).clone(), *kid))
        else {
            return false;
        };
        let Some(first) = self.all.next_of(node, kid).first() else { return false };
        let name = (node.clone(), kid);
        self.applied.follows.insert(name, first.hash).is_none()
    }
}
