//! Our own writing side: where the next record stands, and when.

mod room;
mod sweep;

use std::collections::VecDeque;

pub use room::{Room, check_room};
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
    #[error(
        "this host's records are known further than it wrote them: it was copied, or restored from a snapshot; make sure that the \
         other copy is gone, then `agentctl mesh resume`"
    )]
    Cloned,
    /// The key is empty, longer than [`MAX_KEY`], or not of its collection's form.
    #[error("{} of the mesh have no record with such a name; use a shorter one, or none but those that the mesh knows", .0.as_str())]
    Key(Collection),
    /// The value is longer than its collection allows.
    #[error("the record has {length} bytes, and in {} of the mesh it may have {}; say less in it", .collection.as_str(), .collection.max_value())]
    TooLarge {
        /// Where.
        collection: Collection,
        /// Bytes of the value.
        length: usize,
    },
    /// Nothing is ever withdrawn there.
    #[error("records in {} of the mesh are never withdrawn; say something else in place of it", .0.as_str())]
    NeverWithdrawn(Collection),
    /// No other host would take it.
    #[error("only an authority of the mesh writes such records in {}; do it on an authority", .0.as_str())]
    NotAuthority(Collection),
    /// Something of ours that counts would fall out of the set.
    #[error(
        "this host has said as much in {} of the mesh as one host may ({share} records); have another authority say it, or remove \
         what is of no use any more", .collection.as_str()
    )]
    Full {
        /// Where.
        collection: Collection,
        /// Records of one host.
        share: u64,
    },
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

    /// Signs our next record. It is to be made durable before anyone sees it, and taken into the set; whether that has room for
    /// it is [`check_room`]'s to say.
    pub fn write(
        &mut self,
        collection: Collection,
        key: &str,
        value: Option<Vec<u8>>,
        now: Moment,
        signer: &dyn Signer,
    ) -> Result<Record, CannotWrite> {
        let stamp = self.tick(now);
        self.repeat(collection, key, value, stamp, signer)
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
        if value.is_none() && collection.is_lasting() {
            return Err(CannotWrite::NeverWithdrawn(collection));
        }
        if key.is_empty() || key.len() > MAX_KEY || !collection.fits_key(key, self.node.as_str()) {
            return Err(CannotWrite::Key(collection));
        }
        if let Some(length) = value.as_ref().map(Vec::len).filter(|length| *length > collection.max_value()) {
            return Err(CannotWrite::TooLarge { collection, length });
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
        // Whoever was heard may have used the counter up: two statements of ours never bear one stamp.
        let next = match self.clock.counter.checked_add(1) {
            Some(counter) => Stamp { counter, ..self.clock },
            None => Stamp { wall: self.clock.wall.saturating_add(1), counter: 0 },
        };
        self.clock = next.max(Stamp { wall, counter: 0 });
        self.clock
    }

    /// Hears a stamp of another: ours will be greater. One too far ahead does not drag us along.
    pub fn hear(&mut self, stamp: Stamp, now: Moment) {
        if stamp.wall <= millis(now).saturating_add(MAX_AHEAD_MS) {
            self.clock = self.clock.max(stamp);
        }
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
