//! Our own writing side: where the next record stands, and when.

mod sweep;

use std::collections::VecDeque;

pub use sweep::{Again, Sweep};

use super::collection::Collection;
use super::crypto::{CryptoFailure, Kid, Signer};
use super::record::{Hash, MAX_KEY, Record, Stamp, Statement};
use super::set::Set;
use super::vector::{MAX_SEQ, Position};
use super::view::MAX_AHEAD_MS;
use crate::id::NodeId;
use crate::moment::Moment;

/// Why nothing is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CannotWrite {
    /// Others know records of ours that we do not.
    #[error("this host's records are known further than it wrote them: it was copied, or restored from a snapshot")]
    Cloned,
    /// The key is empty or longer than [`MAX_KEY`], or the value is longer than its collection allows.
    #[error("the record would be larger than its collection allows")]
    TooLarge,
    /// Nothing is ever withdrawn there.
    #[error("records of this collection are never withdrawn")]
    NeverWithdrawn,
    /// The signature could not be made.
    #[error(transparent)]
    Crypto(#[from] CryptoFailure),
}

/// So many hashes of our newest records are remembered.
const REMEMBERED: usize = 1024;

/// Our own history's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    node: NodeId,
    position: Position,
    prev: Hash,
    clock: Stamp,
    /// The last position of ours before this epoch, as far as we know.
    before: Position,
    /// Of this epoch's newest records, the last at the end.
    written: VecDeque<Hash>,
    /// The greatest position of ours that others know and we do not.
    cloned: Option<Position>,
}

impl Author {
    /// A new epoch, after everything of ours in the set.
    pub fn start(node: NodeId, set: &Set, now: Moment) -> Self {
        Self::start_after(node, set, Position::default(), now)
    }

    /// At every start: a new epoch, after everything of ours in the set, and after the last position that is stored beside it.
    pub fn start_after(node: NodeId, set: &Set, last: Position, now: Moment) -> Self {
        let mut author = Self {
            node,
            position: last,
            prev: [0; 32],
            clock: Stamp::default(),
            before: Position::default(),
            written: VecDeque::new(),
            cloned: None,
        };
        // What it heard before it stopped: else it might lose against what it meant to replace.
        author.clock = set.newest_stamp(millis(now).saturating_add(MAX_AHEAD_MS));
        author.begin(set, now);
        author
    }

    /// A new epoch: whether the last positions of this one are taken is not known.
    pub fn begin(&mut self, set: &Set, now: Moment) {
        let (last, prev) = set.head(&self.node);
        let last = last.max(self.position).max(self.before);
        self.before = last;
        self.position = Position { epoch: millis(now).max(last.epoch.saturating_add(1)), seq: 0 };
        self.prev = prev;
        self.written.clear();
    }

    /// An administrator says that this is the host that goes on: a new epoch, beyond everything heard of ours. Whatever else
    /// turns up from before it was ours.
    pub fn resume(&mut self, set: &Set, now: Moment) {
        self.position = self.position.max(self.cloned.take().unwrap_or_default());
        self.begin(set, now);
        self.before = Position { epoch: self.position.epoch - 1, seq: MAX_SEQ };
    }

    /// Who we are.
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// Our newest record's position; seq 0 before the first of this epoch.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Signs our next record. It is to be made durable before anyone sees it, and taken into the set.
    pub fn write(
        &mut self,
        collection: Collection,
        key: &str,
        value: Option<Vec<u8>>,
        now: Moment,
        signer: &dyn Signer,
    ) -> Result<Record, CannotWrite> {
        if self.cloned.is_some() {
            return Err(CannotWrite::Cloned);
        }
        let stamp = self.tick(now);
        self.write_at(collection, key, value, stamp, signer)
    }

    /// The same with a stamp given: for saying again what we said, below a floor to come. Its stamp stays, or it would win
    /// against what others said since.
    pub fn repeat(
        &mut self,
        collection: Collection,
        key: &str,
        value: Option<Vec<u8>>,
        stamp: Stamp,
        signer: &dyn Signer,
    ) -> Result<Record, CannotWrite> {
        if self.cloned.is_some() {
            return Err(CannotWrite::Cloned);
        }
        self.write_at(collection, key, value, stamp, signer)
    }

    fn write_at(
        &mut self,
        collection: Collection,
        key: &str,
        value: Option<Vec<u8>>,
        stamp: Stamp,
        signer: &dyn Signer,
    ) -> Result<Record, CannotWrite> {
        if value.is_none() && collection.is_lasting() {
            return Err(CannotWrite::NeverWithdrawn);
        }
        let fits = collection.fits_key(key, self.node.as_str()) && !key.is_empty() && key.len() <= MAX_KEY;
        if !fits || value.as_ref().is_some_and(|value| value.len() > collection.max_value()) {
            return Err(CannotWrite::TooLarge);
        }
        let kid: Kid = signer.public_key().kid();
        let position = Position { seq: self.position.seq + 1, ..self.position };
        let statement = Statement {
            collection,
            key: key.to_owned(),
            author: self.node.clone(),
            kid,
            position,
            prev: self.prev,
            before: self.before,
            stamp,
            value,
        };
        let hash = statement.hash();
        let record = statement.sign(signer)?;
        (self.position, self.prev) = (position, hash);
        if self.written.len() == REMEMBERED {
            self.written.pop_front();
        }
        self.written.push_back(hash);
        Ok(record)
    }

    fn tick(&mut self, now: Moment) -> Stamp {
        let wall = millis(now);
        let next = Stamp { wall: self.clock.wall, counter: self.clock.counter.saturating_add(1) };
        self.clock = next.max(Stamp { wall, counter: 0 });
        self.clock
    }

    /// Hears a stamp of another: ours will be greater. One too far ahead does not drag us along; `false` then.
    pub fn hear(&mut self, stamp: Stamp, now: Moment) -> bool {
        let near = stamp.wall <= millis(now).saturating_add(MAX_AHEAD_MS);
        if near {
            self.clock = self.clock.max(stamp);
        }
        near
    }

    /// Whether we never wrote at that position: it lies beyond our last, or in an epoch before this one beyond what was known
    /// when this one began: a restored host is always in a later epoch than what it lost.
    pub fn is_foreign(&self, position: Position) -> bool {
        position > self.position || (position.epoch < self.position.epoch && position > self.before)
    }

    /// Whether we never wrote that record of ours, also if we wrote another at its position.
    pub fn is_foreign_record(&self, position: Position, hash: &Hash) -> bool {
        let back = self.position.seq.checked_sub(position.seq).and_then(|back| usize::try_from(back).ok());
        let ours = back.filter(|_| position.epoch == self.position.epoch);
        let ours = ours.and_then(|back| self.written.len().checked_sub(back + 1)).and_then(|place| self.written.get(place));
        self.is_foreign(position) || ours.is_some_and(|ours| ours != hash)
    }

    /// Someone else writes as us, or we were restored: we stop writing. `position` is one that we never wrote.
    pub fn stop(&mut self, position: Position) {
        self.cloned = self.cloned.max(Some(position));
    }

    /// Whether we stopped writing, and because of which position.
    pub fn cloned(&self) -> Option<Position> {
        self.cloned
    }
}

fn millis(now: Moment) -> u64 {
    u64::try_from(now.as_millis()).unwrap_or(0).max(1)
}
