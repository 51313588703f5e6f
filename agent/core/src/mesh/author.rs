//! Our own writing side: where the next record stands, and when.

mod sweep;

pub use sweep::{Again, Sweep};

use super::collection::Collection;
use super::crypto::{CryptoFailure, Kid, Signer};
use super::record::{Hash, MAX_KEY, Record, Stamp, Statement};
use super::set::Set;
use super::vector::Position;
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

/// Our own history's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    node: NodeId,
    position: Position,
    prev: Hash,
    clock: Stamp,
    /// The last position of ours before this epoch, as far as our store knows.
    before: Position,
    /// The greatest position of ours that others know and we do not.
    cloned: Option<Position>,
}

impl Author {
    /// At every start: a new epoch, after everything of ours in the store.
    pub fn start(node: NodeId, set: &Set, now: Moment) -> Self {
        let mut author = Self {
            node,
            position: Position::default(),
            prev: [0; 32],
            clock: Stamp::default(),
            before: Position::default(),
            cloned: None,
        };
        // What it heard before it stopped: else it might lose against what it meant to replace.
        author.clock = set.newest_stamp(millis(now).saturating_add(MAX_AHEAD_MS));
        author.begin(set, now);
        author
    }

    fn begin(&mut self, set: &Set, now: Moment) {
        let (last, prev) = set.head(&self.node);
        let last_epoch = last.epoch.max(self.position.epoch);
        self.position = Position { epoch: millis(now).max(last_epoch.saturating_add(1)), seq: 0 };
        self.prev = prev;
        self.before = last.max(self.cloned.take().unwrap_or_default());
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
            stamp,
            value,
        };
        let hash = statement.hash();
        let record = statement.sign(signer)?;
        (self.position, self.prev) = (position, hash);
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

    /// Hears of a position of ours, in a vector or as a record. One that we did not write means that someone else writes as
    /// us, or that we were restored: we stop. It lies beyond our last, or in an epoch before this one beyond what our store
    /// knew when this one began: a restored host is always in a later epoch than what it lost. `true` if that was news.
    pub fn hear_own(&mut self, position: Position) -> bool {
        let lost = position.epoch < self.position.epoch && position > self.before;
        let news = (lost || position > self.position) && self.cloned.is_none_or(|known| position > known);
        if news {
            self.cloned = Some(position);
        }
        news
    }

    /// Whether we stopped writing, and because of which position.
    pub fn cloned(&self) -> Option<Position> {
        self.cloned
    }

    /// An administrator says that this is the host that goes on: a new epoch, beyond everything heard of ours.
    pub fn resume(&mut self, set: &Set, now: Moment) {
        if let Some(heard) = self.cloned {
            self.position = self.position.max(heard);
        }
        self.begin(set, now);
    }
}

fn millis(now: Moment) -> u64 {
    u64::try_from(now.as_millis()).unwrap_or(0).max(1)
}
