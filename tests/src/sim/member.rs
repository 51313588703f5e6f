//! A host with the real set, view and author.

use std::collections::BTreeMap;
use std::rc::Rc;

use reverie_core::id::NodeId;
use reverie_core::mesh::author::{Author, CannotWrite, Sweep};
use reverie_core::mesh::collection::{Admission, Collection, Eviction, Standing, Upheld, key};
use reverie_core::mesh::crypto::Signer;
use reverie_core::mesh::record::{Parsed, Stamp};
use reverie_core::mesh::set::{Anchor, Limits, Set, Summary};
use reverie_core::mesh::vector::{Position, VersionVector};
use reverie_core::mesh::view::View;
use reverie_core::moment::Moment;

use super::replica::Replica;
use super::stand_in::{Key, Operations};
use super::world::name;

/// A page, in bytes: small, so that runs have pages.
const PAGE: usize = 8 << 10;

/// Tombstones that are worth a floor: few, so that runs have floors.
const WORTH: usize = 2;

/// What is written: one of the collections whose entries are their authors', or an authority's.
pub const OWN: Collection = Collection::RefreshFamilies;

pub struct Member {
    pub node: NodeId,
    pub key: Key,
    pub set: Set,
    pub author: Author,
    vector: Option<Rc<VersionVector>>,
    members: Option<Vec<NodeId>>,
    /// Sent along with every page, by a host that does not keep the rules: to even, and to odd peers.
    pub smuggled: [Vec<Box<[u8]>>; 2],
}

impl Member {
    pub fn new(node: NodeId, anchor: &Anchor, records: &[Box<[u8]>], now: Moment) -> Self {
        let mut set = Set::new(anchor.clone(), Limits::default());
        set.load(records);
        let author = Author::start(node.clone(), &set, now);
        let key = Key::of(node.as_str(), 0);
        Self { node, key, set, author, vector: None, members: None, smuggled: Default::default() }
    }

    /// The whole of what it stored.
    pub fn snapshot(&self) -> Vec<Box<[u8]>> {
        self.set.records().map(Into::into).collect()
    }

    /// As after a start: what is stored is there, and a new epoch begins.
    pub fn restart(&mut self, records: &[Box<[u8]>], now: Moment) {
        let anchor = self.set.anchor().clone();
        *self = Self { smuggled: std::mem::take(&mut self.smuggled), ..Self::new(self.node.clone(), &anchor, records, now) };
    }

    /// Acknowledged once this returns.
    pub fn write(
        &mut self,
        collection: Collection,
        key: &str,
        value: Option<&[u8]>,
        now: Moment,
    ) -> Result<(Position, Stamp), CannotWrite> {
        let record = self.author.write(collection, key, value.map(<[u8]>::to_vec), now, &self.key)?;
        self.set.merge(&[record.to_bytes()], &Operations);
        self.changed();
        Ok((record.statement.position, record.statement.stamp))
    }

    /// Collects its tombstones, if all others are known to have them; how many went.
    pub fn collect(&mut self, live: &BTreeMap<NodeId, VersionVector>, now: Moment) -> usize {
        let Some(Sweep { again, floor, collected }) = Sweep::plan(&self.set, &self.node, live, WORTH) else { return 0 };
        for again in again {
            let record = self.author.repeat(again.collection, &again.key, again.value, again.stamp, &self.key).unwrap();
            self.set.merge(&[record.to_bytes()], &Operations);
        }
        let floor = minicbor::to_vec(floor).unwrap();
        self.write(Collection::Floors, self.node.clone().as_str(), Some(&floor), now).unwrap();
        collected
    }

    pub fn admit(&mut self, node: &NodeId, standing: Standing, by: &str, now: Moment) {
        let signing_key = Key::of(node.as_str(), 0).public_key().clone();
        let kid = signing_key.kid();
        let admission = Admission {
            node: node.clone(),
            signing_key,
            kem_key: None,
            standing,
            by: by.to_owned(),
            despite: Default::default(),
        };
        let value = minicbor::to_vec(admission).unwrap();
        self.write(Collection::Admissions, &key::admission(node, &kid), Some(&value), now).unwrap();
    }

    /// Nothing of it counts any more that can be replaced.
    pub fn evict(&mut self, node: &NodeId, now: Moment) {
        let (upheld, _) = Upheld::of(&View::of(&self.set, now).lasting_of(node));
        let eviction = Eviction {
            node: node.clone(),
            keys: vec![],
            reason: "simulated".to_owned(),
            left: false,
            upheld,
            heard: self.set.heard(node),
        };
        let value = minicbor::to_vec(eviction).unwrap();
        let author = self.node.clone();
        self.write(Collection::Evictions, &key::eviction(node, &author), Some(&value), now).unwrap();
    }

    fn changed(&mut self) {
        self.vector = None;
        self.members = None;
    }

    /// What counts, in an order of its own: equal for hosts that show the same.
    pub fn shown(&self, now: Moment) -> Vec<(Collection, String, NodeId, Vec<u8>)> {
        let view = View::of(&self.set, now);
        let mut shown: Vec<_> = Collection::ALL
            .iter()
            .flat_map(|collection| {
                view.entries(*collection).map(|v| (*collection, v.key.to_owned(), v.author.clone(), v.bytes.to_vec()))
            })
            .collect();
        shown.sort();
        shown
    }
}

impl Replica for Member {
    type Vector = Rc<VersionVector>;
    type Record = Box<[u8]>;
    type Summary = Summary;
    type Histories = BTreeMap<NodeId, Position>;

    fn vector(&mut self) -> Self::Vector {
        self.vector.get_or_insert_with(|| Rc::new(self.set.vector())).clone()
    }

    fn digest(&self) -> [u8; 32] {
        self.set.digest()
    }

    fn since(&self, vector: &Self::Vector, to: usize) -> (Vec<Self::Record>, bool) {
        let mut page = self.set.since(vector, PAGE);
        page.records.extend(self.smuggled[to % 2].iter().cloned());
        page.records
            .extend(self.set.evidence().get(&name(to)).into_iter().flat_map(|two| [two.first.clone(), two.second.clone()]));
        (page.records, page.more)
    }

    fn merge(&mut self, now: Moment, records: &[Self::Record]) -> u32 {
        for record in records.iter().filter_map(|record| Parsed::new(record).ok()) {
            let foreign = *record.author() == self.node && self.author.is_foreign_record(record.position(), &record.hash());
            if foreign && self.set.keys().verify(record.clone(), &Operations).is_ok() {
                self.author.stop(record.position());
            }
        }
        let merge = self.set.merge(records, &Operations);
        for record in &merge.taken {
            self.author.hear(record.fields().unwrap().stamp, now);
        }
        if !merge.taken.is_empty() {
            self.changed();
        }
        u32::try_from(merge.taken.len()).unwrap()
    }

    fn claimed(&self, theirs: &Self::Vector) -> Self::Histories {
        let claimed = self.author.cloned().is_none() && self.author.is_foreign(theirs.get(&self.node));
        claimed.then(|| (self.node.clone(), Position::default())).into_iter().collect()
    }

    fn covers(b: &Self::Vector, a: &Self::Vector) -> bool {
        Rc::ptr_eq(a, b) || a.0.iter().all(|(author, position)| b.get(author) >= *position)
    }

    fn entries(vector: &Self::Vector) -> usize {
        vector.0.len()
    }

    fn size(record: &Self::Record) -> usize {
        record.len()
    }

    fn peers(&mut self, now: Moment) -> Option<Vec<NodeId>> {
        if self.members.is_some() {
            return None;
        }
        let view = View::of(&self.set, now);
        let peers: Vec<NodeId> =
            view.members().hosts().iter().filter(|(_, m)| m.standing.is_some()).map(|(n, _)| n.clone()).collect();
        self.members = Some(peers.clone());
        Some(peers)
    }

    fn summary(&self) -> Summary {
        self.set.summary()
    }

    fn differing(&self, theirs: &Summary) -> Self::Histories {
        let ours = self.set.summary();
        let differ = ours.into_iter().filter(|(author, line)| theirs.get(author).is_some_and(|theirs| theirs != line));
        differ.map(|(author, _)| (author, Position::default())).collect()
    }

    fn asking(&mut self, anew: &Self::Histories) -> Self::Vector {
        if anew.is_empty() {
            return self.vector();
        }
        let mut since = self.set.vector();
        since.0.extend(anew.clone());
        Rc::new(since)
    }

    fn came(anew: &Self::Histories, records: &[Self::Record]) -> Self::Histories {
        let mut came = anew.clone();
        for parsed in records.iter().filter_map(|record| Parsed::new(record).ok()) {
            if let Some(known) = came.get_mut(parsed.author()) {
                *known = parsed.position().max(*known);
            }
        }
        came
    }
}
