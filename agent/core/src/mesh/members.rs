//! Who is in the mesh, who is an authority, and up to where each key counts: a function of what only grows (admissions, next
//! keys, evictions), and of nothing else. Neither time nor order of arrival comes into it.
//!
//! Evictions are applied one at a time, the most senior author's first. Seniority is the distance from the founding host in
//! the chain of promotions, then the stamp of the promotion, then the name. An eviction by who is already out still holds
//! against whoever is junior to its author, within the positions accepted of it; never against a senior. So of two
//! authorities that evict each other the senior stays.

mod grants;

use std::collections::BTreeMap;

use self::grants::Statements;
use super::collection::Standing;
use super::crypto::{KemPublicKey, Kid, SigningPublicKey};
use super::record::Stamp;
use super::set::Set;
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
    /// Records signed with it count up to here; `None`: without end.
    pub until: Option<Position>,
}

/// A host, in or out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What it may do; `None` once it is out.
    pub standing: Option<Standing>,
    /// Keys that it may use now, the newest first. Empty once it is out.
    pub keys: Vec<MemberKey>,
    /// Keys it went on from, the newest first: its records count up to there, and for a while it may still show them to
    /// peers (see [`super::view::View::host`]). Empty once it is out.
    pub previous: Vec<MemberKey>,
    /// Every key it ever had.
    pub kids: Vec<Kid>,
    /// The newest eviction, also of one that was admitted again.
    pub evicted: Option<Evicted>,
    /// How it came, by its newest admission.
    pub by: String,
}

/// How far a key's records count, and whether as an authority's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reach {
    authority: bool,
    until: Option<Position>,
}

/// Everyone.
#[derive(Debug, Default)]
pub struct Members {
    hosts: BTreeMap<NodeId, Member>,
    by_key: BTreeMap<(Kid, NodeId), Reach>,
    /// By the set's number of (author, kid).
    reach: Vec<Option<Reach>>,
}

impl Members {
    pub(super) fn of(set: &Set) -> Self {
        let statements = Statements::of(set);
        let (grants, applied) = statements.settle(set.anchor());
        let mut by_key = BTreeMap::new();
        let mut hosts: BTreeMap<NodeId, Member> = BTreeMap::new();
        for (node, keys) in grants.by_node() {
            for (kid, grant) in keys {
                let reach = Reach { authority: grant.standing == Standing::Authority, until: grant.until };
                by_key.insert((*kid, node.clone()), reach);
            }
            let mut current: Vec<_> = keys.iter().filter(|(_, grant)| grant.until.is_none()).collect();
            current.sort_by_key(|(kid, grant)| std::cmp::Reverse((grant.order, **kid)));
            let mut previous: Vec<_> = keys.iter().filter(|(_, grant)| grant.rotated && !current.is_empty()).collect();
            previous.sort_by_key(|(kid, grant)| std::cmp::Reverse((grant.order, **kid)));
            let standing = current.iter().map(|(_, grant)| grant.standing).max();
            let newest = keys.values().max_by_key(|grant| grant.order);
            let member = Member {
                standing,
                keys: current.into_iter().map(member_key).collect(),
                previous: previous.into_iter().map(member_key).collect(),
                kids: keys.keys().copied().collect(),
                evicted: None,
                by: newest.map(|grant| grant.by.clone()).unwrap_or_default(),
            };
            hosts.insert(node.clone(), member);
        }
        for (node, eviction) in applied {
            let Some(member) = hosts.get_mut(&node) else { continue };
            if member.evicted.as_ref().is_none_or(|known| known.stamp < eviction.stamp) {
                member.evicted = Some(eviction);
            }
        }
        let mut members = Self { hosts, by_key, reach: Vec::new() };
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

    /// With what standing a record signed with that key (by the set's number) at that position was said; `None`: it is void.
    pub(super) fn standing_at(&self, kid: u32, position: Position) -> Option<Standing> {
        let reach = self.reach.get(kid as usize).copied().flatten()?;
        if reach.until.is_some_and(|until| position > until) {
            return None;
        }
        Some(if reach.authority { Standing::Authority } else { Standing::Member })
    }
}

fn member_key((_, grant): (&Kid, &grants::Grant)) -> MemberKey {
    MemberKey { signing_key: grant.signing_key.clone(), kem_key: grant.kem_key.clone().map(|(_, key)| key), until: grant.until }
}
