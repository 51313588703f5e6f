//! What is held of one author, in the order of its positions.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use super::sum::Sum;
use crate::id::NodeId;
use crate::mesh::record::Hash;
use crate::mesh::vector::Position;

#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) node: NodeId,
    /// Entries that a later one of the same key replaces.
    pub(super) replaceable: BTreeSet<(Position, u32)>,
    /// Entries of collections that only grow.
    pub(super) lasting: BTreeSet<(Position, u32)>,
    pub(super) weight: u64,
    pub(super) lasting_weight: u64,
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
            replaceable: BTreeSet::new(),
            lasting: BTreeSet::new(),
            weight: 0,
            lasting_weight: 0,
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

    pub(super) fn replaceable_at(&self, position: Position) -> impl Iterator<Item = u32> + '_ {
        self.replaceable.range((position, 0)..=(position, u32::MAX)).map(|(_, id)| *id)
    }

    pub(super) fn lasting_at(&self, position: Position) -> impl Iterator<Item = u32> + '_ {
        self.lasting.range((position, 0)..=(position, u32::MAX)).map(|(_, id)| *id)
    }

    /// Entries at exactly this position.
    pub(super) fn at(&self, position: Position) -> impl Iterator<Item = u32> + '_ {
        self.replaceable_at(position).chain(self.lasting_at(position))
    }

    /// Entries beyond `from`, ascending.
    pub(super) fn after(&self, from: Position) -> impl Iterator<Item = (Position, u32)> + '_ {
        let range = (std::ops::Bound::Excluded((from, u32::MAX)), std::ops::Bound::Unbounded);
        let (mut left, mut right) = (self.replaceable.range(range).peekable(), self.lasting.range(range).peekable());
        std::iter::from_fn(move || match (left.peek(), right.peek()) {
            (Some(a), Some(b)) if a <= b => left.next(),
            (Some(_), None) => left.next(),
            _ => right.next(),
        })
        .map(|entry| *entry)
    }

    /// The greatest position held.
    pub(super) fn last(&self) -> Option<(Position, u32)> {
        self.replaceable.last().max(self.lasting.last()).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.replaceable.len() + self.lasting.len()
    }
}
