//! Who is in the mesh, who is an authority, and what of each key counts: a function of what only grows (admissions, next keys,
//! confirmations, evictions), and of nothing else. Neither time nor order of arrival comes into it, nor does a position or
//! stamp of whoever lost a key: of a key that ended counts what was named when it ended, by hash.
//!
//! Evictions and confirmations are applied one at a time, the most senior author's first. Seniority is the distance from the
//! founding host in the chain of promotions, then the stamp of the promotion, then the name. An eviction by who is already
//! out, if it was upheld, still holds against whoever is junior to its author; never against a senior. So of two
//! authorities that evict each other the senior stays.

mod grants;
mod settling;
mod statements;

use std::collections::BTreeMap;

pub use self::grants::MAX_ROTATIONS;
use self::grants::{End, Grant, Why};
use self::settling::Settled;
use self::statements::Statements;
use super::collection::Standing;
use super::crypto::{KemPublicKey, Kid, SigningPublicKey};
use super::record::{Hash, Stamp};
use super::set::{Entry, Set};
use super::vector::Position;
use crate::id::NodeId;

/// An eviction that took effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evicted {
    /// By whom.
    pub by: NodeId,
    /// When, by its author's clock.
    pub stamp: Stamp,
    /// Why, for people.
    pub reason: String,
    /// It left by itself.
    pub left: bool,
}

/// A signing key of a host that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberKey {
    /// The key.
    pub signing_key: SigningPublicKey,
    /// The KEM key that came with it, or was registered later.
    pub kem_key: Option<KemPublicKey>,
}

/// A host went on from a key to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// Whose.
    pub node: NodeId,
    /// The key before.
    pub previous: Kid,
    /// Hash of the record that names the next, if there is but one.
    pub record: Option<Hash>,
    /// An authority confirmed it.
    pub confirmed: bool,
}

/// A host, in or out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What it may do; `None` once it is out.
    pub standing: Option<Standing>,
    /// Keys that it may use now, the newest first. Empty once it is out.
    pub keys: Vec<MemberKey>,
    /// Keys it went on from, the newest first: for a while it may still show them to peers (see
    /// [`super::view::View::host`]). Empty once it is out.
    pub previous: Vec<MemberKey>,
    /// Every key it ever had.
    pub kids: Vec<Kid>,
    /// How often it went on to a next key since the newest admission.
    pub rotations: u32,
    /// The newest eviction, also of one that was admitted again.
    pub evicted: Option<Evicted>,
    /// Who evicted it ever, and the position of the last: what an admission names that is to hold despite them.
    pub evictions: BTreeMap<NodeId, Position>,
    /// How it came, by its newest admission.
    pub by: String,
}

/// What of a key's records counts, and whether as an authority's.
#[derive(Debug, Clone)]
struct Reach {
    authority: bool,
    end: Option<End>,
}

/// Everyone.
#[derive(Debug, Default)]
pub struct Members {
    hosts: BTreeMap<NodeId, Member>,
    seniors: Vec<NodeId>,
    rotations: Vec<Rotation>,
    reaches: Vec<Reach>,
    by_key: BTreeMap<(Kid, NodeId), u32>,
    /// By the set's number of (author, kid): the place in `reaches`.
    reach: Vec<Option<u32>>,
}

impl Members {
    pub(super) fn of(set: &Set) -> Self {
        let statements = Statements::of(set);
        let Settled { grants, evicted, mut evictions, confirmed } = statements.settle(set);
        let mut members = Self::default();
        for (node, keys) in grants.by_node() {
            for (kid, grant) in keys {
                let reach = Reach { authority: grant.standing == Standing::Authority, end: grant.end.clone() };
                members.by_key.insert((*kid, node.clone()), members.reaches.len() as u32);
                members.reaches.push(reach);
                let next = statements.next_of(node, *kid);
                if grant.end.as_ref().is_some_and(|end| matches!(end.why, Why::Rotated | Why::Disputed)) {
                    members.rotations.push(Rotation {
                        node: node.clone(),
                        previous: *kid,
                        record: next.first().filter(|_| next.len() == 1).map(|said| said.hash),
                        confirmed: confirmed.contains(&(node.clone(), *kid)),
                    });
                }
            }
            members.hosts.insert(node.clone(), member(keys, evictions.remove(node).unwrap_or_default()));
        }
        for (node, eviction) in evicted {
            let Some(member) = members.hosts.get_mut(&node) else { continue };
            if member.evicted.as_ref().is_none_or(|known| known.stamp < eviction.stamp) {
                member.evicted = Some(eviction);
            }
        }
        members.seniors =
            members.hosts.iter().filter(|(_, m)| m.standing == Some(Standing::Authority)).map(|(n, _)| n.clone()).collect();
        members.seniors.sort_by_key(|node| grants.seniority(node).cloned());
        set.kids().iter().for_each(|&(author, kid)| members.number(set.node(author), kid));
        members
    }

    /// The set's next number for a key goes to this one.
    pub(super) fn number(&mut self, node: &NodeId, kid: Kid) {
        self.reach.push(self.by_key.get(&(kid, node.clone())).copied());
    }

    /// Everyone ever admitted, by name.
    pub fn hosts(&self) -> &BTreeMap<NodeId, Member> {
        &self.hosts
    }

    /// One host.
    pub fn get(&self, node: &NodeId) -> Option<&Member> {
        self.hosts.get(node)
    }

    /// Whether it holds a root, admits and evicts, now.
    pub fn is_authority(&self, node: &NodeId) -> bool {
        self.get(node).and_then(|member| member.standing) == Some(Standing::Authority)
    }

    /// Whether it is in.
    pub fn is_in(&self, node: &NodeId) -> bool {
        self.get(node).is_some_and(|member| member.standing.is_some())
    }

    /// The authorities, the most senior first.
    pub fn seniors(&self) -> &[NodeId] {
        &self.seniors
    }

    /// Keys that hosts went on from and that no eviction ended.
    pub fn rotations(&self) -> &[Rotation] {
        &self.rotations
    }

    /// With what standing a record was said; `None`: its key ended, and nothing upholds it.
    pub(super) fn standing_of(&self, set: &Set, entry: &Entry) -> Option<Standing> {
        let reach = &self.reaches[self.reach.get(entry.kid as usize).copied().flatten()? as usize];
        if reach.end.as_ref().is_some_and(|end| !end.holds(set, &entry.hash())) {
            return None;
        }
        Some(if reach.authority { Standing::Authority } else { Standing::Member })
    }
}

fn member(keys: &BTreeMap<Kid, Grant>, evictions: BTreeMap<NodeId, Position>) -> Member {
    let mut current: Vec<_> = keys.iter().filter(|(_, grant)| grant.end.is_none()).collect();
    current.sort_by_key(|(kid, grant)| std::cmp::Reverse((grant.order, **kid)));
    let rotated = |grant: &Grant| grant.end.as_ref().is_some_and(|end| end.why == Why::Rotated);
    let mut previous: Vec<_> = keys.iter().filter(|(_, grant)| rotated(grant) && !current.is_empty()).collect();
    previous.sort_by_key(|(kid, grant)| std::cmp::Reverse((grant.order, **kid)));
    let newest = keys.values().max_by_key(|grant| grant.order);
    Member {
        standing: current.iter().map(|(_, grant)| grant.standing).max(),
        rotations: current.first().map_or(0, |(_, grant)| grant.order.1),
        keys: current.into_iter().map(member_key).collect(),
        previous: previous.into_iter().map(member_key).collect(),
        kids: keys.keys().copied().collect(),
        evicted: None,
        evictions,
        by: newest.map(|grant| grant.by.clone()).unwrap_or_default(),
    }
}

fn member_key((_, grant): (&Kid, &Grant)) -> MemberKey {
    MemberKey { signing_key: grant.signing_key.clone(), kem_key: grant.kem_key.clone().map(|(_, key)| key) }
}
