//! What is held of one author, in the order of its positions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use super::sum::Sum;
use crate::id::NodeId;
use crate::mesh::collection::Drawer;
use crate::mesh::record::Hash;
use crate::mesh::vector::Position;

#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) node: NodeId,
    /// Everything, by position.
    pub(super) order: BTreeSet<(Position, u32)>,
    /// The same for each of those that have a share of their own.
    pub(super) drawers: BTreeMap<Drawer, BTreeSet<(Position, u32)>>,
    /// What is replaceable and lies here or below is gone.
    pub(super) floor: Position,
    pub(super) sum: Sum,
    /// The greatest position, and the hash there.
    pub(super) head: (Position, Hash),
    line: OnceLock<Hash>,
}

impl Ledger {
    pub(super) fn new(node: NodeId) -> Self {
        Self {
            node,
            order: BTreeSet::new(),
            drawers: BTreeMap::new(),
            floor: Position::default(),
            sum: Sum::default(),
            head: (Position::default(), [0; 32]),
            line: OnceLock::new(),
        }
    }

    pub(super) fn added(&mut self, hash: &Hash) {
        self.sum.add(hash);
        self.line = OnceLock::new();
    }

    pub(super) fn removed(&mut self, hash: &Hash) {
        self.sum.subtract(hash);
        self.line = OnceLock::new();
    }

    /// Digest of everything held of this author. The head is in it since it commits to the whole history by its chain: a sum
    /// alone could be met by other records, with some 2^32 work or memory, by who chooses them.
    pub(super) fn line(&self) -> Hash {
        *self.line.get_or_init(|| {
            let mut digest = Sha256::new();
            digest.update(b"reverie-author-v1");
            digest.update((self.node.as_str().len() as u64).to_be_bytes());
            digest.update(self.node.as_str());
            digest.update(self.head.0.epoch.to_be_bytes());
            digest.update(self.head.0.seq.to_be_bytes());
            digest.update(self.head.1);
            digest.update(self.sum.to_bytes());
            digest.finalize().into()
        })
    }

    pub(super) fn insert(&mut self, drawer: Drawer, position: Position, id: u32) {
        self.order.insert((position, id));
        self.drawers.entry(drawer).or_default().insert((position, id));
    }

    pub(super) fn remove(&mut self, drawer: Drawer, position: Position, id: u32) {
        self.order.remove(&(position, id));
        if let Some(entries) = self.drawers.get_mut(&drawer) {
            entries.remove(&(position, id));
        }
    }

    pub(super) fn drawer(&self, drawer: Drawer) -> impl DoubleEndedIterator<Item = (Position, u32)> + '_ {
        self.drawers.get(&drawer).into_iter().flatten().copied()
    }

    pub(super) fn drawer_at(&self, drawer: Drawer, position: Position) -> impl Iterator<Item = u32> + '_ {
        let entries = self.drawers.get(&drawer).into_iter();
        entries.flat_map(move |entries| entries.range((position, 0)..=(position, u32::MAX))).map(|(_, id)| *id)
    }

    pub(super) fn count(&self, drawer: Drawer) -> u64 {
        self.drawers.get(&drawer).map_or(0, |entries| entries.len() as u64)
    }

    /// What can be replaced at or below a position, ascending within each collection.
    pub(super) fn replaceable_below(&self, position: Position) -> impl Iterator<Item = u32> + '_ {
        let drawers = self.drawers.iter().filter(|(drawer, _)| !drawer.collection.only_grows());
        drawers.flat_map(move |(_, entries)| entries.range(..=(position, u32::MAX))).map(|(_, id)| *id)
    }

    /// Entries at exactly this position.
    pub(super) fn at(&self, position: Position) -> impl Iterator<Item = u32> + '_ {
        self.order.range((position, 0)..=(position, u32::MAX)).map(|(_, id)| *id)
    }

    /// Entries beyond `from`, ascending.
    pub(super) fn after(&self, from: Position) -> impl Iterator<Item = (Position, u32)> + '_ {
        let range = (std::ops::Bound::Excluded((from, u32::MAX)), std::ops::Bound::Unbounded);
        self.order.range(range).copied()
    }

    /// The entry before `position`.
    pub(super) fn last_below(&self, position: Position) -> Option<(Position, u32)> {
        self.order.range(..(position, 0)).next_back().copied()
    }

    /// The greatest position held.
    pub(super) fn last(&self) -> Option<(Position, u32)> {
        self.order.last().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }
}
