//! The view: what counts of a set, and what follows from it. Computed from the set and the time; equal sets give equal views.
//!
//! A record is void if its key did not count at its position (evicted, rotated away, never admitted by an authority), if its
//! author may not write there, or if the value does not say what its collection says. A void record hides nothing: the
//! greatest of those that count stands, tombstones included, by (stamp, author, position, hash).

mod estate;
mod introduction;
mod live;
mod rules;
mod trust;

use std::collections::BTreeMap;

pub use live::Live;
pub use trust::{Intermediate, Root};

use super::collection::{Collection, IssuingLimits, Node, Revocation, Standing, WrappingKeyVersion, split};
use super::members::{Evicted, Member, MemberKey, Members};
use super::record::{Fields, Stamp};
use super::set::{Entry, Evidence, Set};
use super::vector::Position;
use crate::id::NodeId;
use crate::moment::Moment;

/// Records stamped further ahead than this, in milliseconds, are held back from the view.
pub const MAX_AHEAD_MS: u64 = 30_000;

/// A look at a set at a time. Cheap to make: what is costly is kept with the set until it changes.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    set: &'a Set,
    members: &'a Members,
    /// Stamps beyond are held back.
    horizon: u64,
}

/// What stands under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value<'a> {
    /// Which one of the collection.
    pub key: &'a str,
    /// Who said so.
    pub author: &'a NodeId,
    /// When.
    pub stamp: Stamp,
    /// Where in the author's history.
    pub position: Position,
    /// CBOR.
    pub bytes: &'a [u8],
}

/// A host, in or out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Who.
    pub node: NodeId,
    /// What it may do; `None`: it is out.
    pub standing: Option<Standing>,
    /// Keys it may use now: the one it says it uses first, then newer before older. Among them the key before the newest, as
    /// long as its record says that it still speaks with that. Empty once it is out.
    pub keys: Vec<MemberKey>,
    /// The newest eviction, also of one that was admitted again.
    pub evicted: Option<Evicted>,
    /// How it came: `founding`, `token`, `kerberos`, `readmission`, `promotion`.
    pub by: String,
    /// Its addresses and versions, once it said so.
    pub record: Option<Node>,
    /// What it may issue; none recorded: nothing but what its intermediate says.
    pub limits: Option<IssuingLimits>,
}

impl<'a> View<'a> {
    /// The view of a set at a time.
    pub fn of(set: &'a Set, now: Moment) -> Self {
        let now = u64::try_from(now.as_millis()).unwrap_or(0);
        Self { set, members: set.members(), horizon: now.saturating_add(MAX_AHEAD_MS) }
    }

    /// Who is in, by keys.
    pub fn members(&self) -> &'a Members {
        self.members
    }

    /// Whether a record counts now.
    fn stands(&self, entry: &Entry) -> bool {
        !self.is_held_back(entry) && rules::counts(self.set, self.members, entry)
    }

    fn is_held_back(&self, entry: &Entry) -> bool {
        entry.stamp.wall > self.horizon && !entry.collection.is_lasting()
    }

    /// What stands under a key. Of collections whose entries belong to their authors: the smallest author's.
    pub fn get(&self, collection: Collection, key: &str) -> Option<Value<'a>> {
        self.standing(collection, self.set.under(collection, key).collect()).into_iter().next()
    }

    /// Everything that stands in a collection, in no particular order.
    pub fn entries(&self, collection: Collection) -> impl Iterator<Item = Value<'a>> {
        let view = *self;
        self.set.chains(collection).flat_map(move |chain| view.standing_of_chain(collection, chain.collect()))
    }

    /// Several keys may share a chain, which seldom happens.
    fn standing_of_chain(&self, collection: Collection, entries: Vec<&'a Entry>) -> Vec<Value<'a>> {
        if let [entry] = entries[..] {
            return if !entry.tombstone && self.stands(entry) { vec![self.value(entry)] } else { Vec::new() };
        }
        let mut by_key: BTreeMap<&str, Vec<&'a Entry>> = BTreeMap::new();
        for entry in entries {
            by_key.entry(entry.key()).or_default().push(entry);
        }
        by_key.into_values().flat_map(|entries| self.standing(collection, entries)).collect()
    }

    /// What stands of entries under one key: one, or one of each author.
    fn standing(&self, collection: Collection, entries: Vec<&'a Entry>) -> Vec<Value<'a>> {
        let mut counting: Vec<&'a Entry> = entries.into_iter().filter(|entry| self.stands(entry)).collect();
        if collection.is_per_author() {
            counting.retain(|entry| !entry.tombstone);
            counting.sort_by_key(|entry| self.set.node(entry.author));
            return counting.into_iter().map(|entry| self.value(entry)).collect();
        }
        let winner = counting.into_iter().max_by(|a, b| self.order(a, b));
        winner.filter(|entry| !entry.tombstone).map(|entry| self.value(entry)).into_iter().collect()
    }

    /// Total: (stamp, author, position, hash).
    fn order(&self, a: &Entry, b: &Entry) -> std::cmp::Ordering {
        a.stamp
            .cmp(&b.stamp)
            .then_with(|| self.set.node(a.author).cmp(self.set.node(b.author)))
            .then_with(|| a.position.cmp(&b.position))
            .then_with(|| a.hash().cmp(&b.hash()))
    }

    fn value(&self, entry: &'a Entry) -> Value<'a> {
        let fields = entry.fields();
        Value {
            key: fields.key,
            author: self.set.node(entry.author),
            stamp: entry.stamp,
            position: entry.position,
            bytes: fields.value.unwrap_or_default(),
        }
    }

    /// Decoded.
    pub fn read<T: for<'b> minicbor::Decode<'b, ()>>(&self, collection: Collection, key: &str) -> Option<T> {
        self.get(collection, key).and_then(|value| minicbor::decode(value.bytes).ok())
    }

    /// Those who hold a root, admit and evict, by name.
    pub fn authorities(&self) -> Vec<&'a NodeId> {
        let authority = |(_, member): &(&NodeId, &Member)| member.standing == Some(Standing::Authority);
        self.members.hosts().iter().filter(authority).map(|(node, _)| node).collect()
    }

    /// Everyone ever admitted, by name.
    pub fn hosts(&self) -> impl Iterator<Item = Host> + 'a {
        let view = *self;
        self.members.hosts().iter().map(move |(node, member)| view.with_records(node, member))
    }

    /// One host.
    pub fn host(&self, node: &NodeId) -> Option<Host> {
        self.members.get(node).map(|member| self.with_records(node, member))
    }

    fn with_records(&self, node: &NodeId, member: &Member) -> Host {
        let record: Option<Node> = self.read(Collection::Nodes, node.as_str());
        let mut keys = member.keys.clone();
        if let Some(record) = &record {
            // While it says that it still speaks with the key before, that key is good to speak with.
            keys.extend(member.previous.iter().find(|key| key.signing_key.kid() == record.signing_kid).cloned());
            keys.sort_by_key(|key| key.signing_key.kid() != record.signing_kid);
        }
        Host {
            node: node.clone(),
            standing: member.standing,
            keys,
            evicted: member.evicted.clone(),
            by: member.by.clone(),
            record,
            limits: self.limits(node),
        }
    }

    /// What a host may issue.
    pub fn limits(&self, node: &NodeId) -> Option<IssuingLimits> {
        self.read(Collection::IssuingLimits, node.as_str())
    }

    /// Every revocation, by issuer (SHA-256 of its certificate) and serial, in lower-case hex: since the earliest and until the
    /// latest that anyone says who may. So nobody takes back or shortens what another said, the issuer's holder least of all.
    pub fn revocations(&self) -> BTreeMap<(&'a str, &'a str), Revocation> {
        let mut all: BTreeMap<(&str, &str), Revocation> = BTreeMap::new();
        for entry in self.set.chains(Collection::Revocations).flatten().filter(|entry| self.stands(entry)) {
            let fields = entry.fields();
            let value = fields.value.and_then(|value| minicbor::decode::<Revocation>(value).ok());
            let (Some(name), Some(said)) = (split(fields.key), value) else { continue };
            let known = all.entry(name).or_insert_with(|| said.clone());
            *known = Revocation { at: known.at.min(said.at), not_after: known.not_after.max(said.not_after) };
        }
        all
    }

    /// The newest version of the cluster wrapping key.
    pub fn wrapping_key(&self) -> Option<WrappingKeyVersion> {
        let versions = self.entries(Collection::WrappingKeys).filter_map(|value| minicbor::decode(value.bytes).ok());
        versions.max_by_key(|key: &WrappingKeyVersion| key.version)
    }

    /// OAuth clients, in no particular order.
    pub fn clients(&self) -> impl Iterator<Item = Value<'a>> {
        self.entries(Collection::Clients)
    }

    /// Records held back since their stamp lies too far ahead, by author.
    pub fn held_back(&self) -> BTreeMap<&'a NodeId, u64> {
        let mut by_author = BTreeMap::new();
        for entry in self.set.stamped_after(self.horizon) {
            *by_author.entry(self.set.node(entry.author)).or_default() += 1;
        }
        by_author
    }

    /// When the next record that is held back now no longer is.
    pub fn next_due(&self) -> Option<Moment> {
        let first = self.set.stamped_after(self.horizon).next()?;
        i64::try_from(first.stamp.wall.saturating_sub(MAX_AHEAD_MS)).ok().map(Moment::from_millis)
    }

    /// Proofs that hosts which are in have two histories, by the keys they have now: those of keys that were given up, or of
    /// hosts that are out, are settled.
    pub fn evidence(&self) -> BTreeMap<&'a NodeId, &'a Evidence> {
        let current = |(node, evidence): &(&NodeId, &Evidence)| {
            let kids = [&evidence.first, &evidence.second].map(|raw| Fields::read_filed(raw).kid);
            let keys = self.members.get(node).into_iter().flat_map(|member| member.keys.iter().chain(&member.previous));
            keys.into_iter().any(|key| kids.contains(&key.signing_key.kid()))
        };
        self.set.evidence().iter().filter(current).collect()
    }
}
