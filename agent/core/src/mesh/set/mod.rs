//! The set: what was said, whoever may say it. What of it counts is the view's to decide ([`super::view`]).
//!
//! Taking records is a join: commutative, associative, idempotent. For each (collection, key, author) the record at the
//! greatest position stands; in collections that only grow each record stands. Nothing here depends on the order of arrival,
//! on the time, or on who was evicted.

mod keys;
mod ledger;
mod merge;
mod page;
mod sum;
mod take;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

pub use keys::Keys;
pub use merge::Merge;
pub use page::Page;

use self::ledger::Ledger;
use super::collection::{Collection, Drawer};
use super::crypto::{Kid, SigningPublicKey};
use super::members::Members;
use super::record::{Fields, Hash, Malformed, Stamp};
use super::vector::{Position, VersionVector};
use crate::id::NodeId;

/// Where all trust begins: the host that founded the mesh, and the key it did so with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// The founding host.
    pub node: NodeId,
    /// Its first signing key.
    pub key: SigningPublicKey,
}

/// What one author may take up: its shares ([`Drawer::share`]), counted in entries, so that what is kept does not depend on
/// the order of arrival. Beyond a share the author's own oldest go, and of what only grows its newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// So many entries in any share, if that is less.
    pub most: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { most: u64::MAX }
    }
}

/// Why a record is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It could never be.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// No record here says whose key that is, or that it may write such records. It comes again, once one does.
    #[error("the record is signed with a key that nobody admitted, or that may not write such records")]
    UnknownKey,
    /// The signature is not by that key.
    #[error("the record's signature does not fit")]
    BadSignature,
    /// An earlier record of the same author in the same message was refused; this one comes again.
    #[error("an earlier record of the same author was refused")]
    AfterRefused,
    /// Its author takes up all it may.
    #[error("the record's author holds as many records as it may")]
    Limit,
    /// Its author says more than others take in the time; it comes again.
    #[error("the record's author says too much at once: it is put off")]
    PutOff,
}

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offered {
    /// It is new, and stands.
    Taken {
        /// What stands no longer because of it, to be removed from the store.
        displaced: Vec<Hash>,
        /// It proves that its author has two histories.
        fork: bool,
    },
    /// It stands already.
    Known,
    /// A later one stands, or its author's floor lies above it.
    Superseded,
    /// It lost against another statement at the same position, and is kept as evidence of two histories.
    Fork,
    /// It is not taken.
    Refused(Refusal),
}

/// Two statements of one author that cannot both be in one history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Where the histories part.
    pub position: Position,
    /// The record with the smaller hash.
    pub first: Box<[u8]>,
    /// The other.
    pub second: Box<[u8]>,
}

/// Position and digest of what is held of an author.
pub type Summary = BTreeMap<NodeId, (Position, Hash)>;

/// One standing record, in as little memory as it takes.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) raw: Box<[u8]>,
    pub(super) position: Position,
    pub(super) stamp: Stamp,
    pub(super) author: u32,
    /// Number of (author, kid).
    pub(super) kid: u32,
    /// The next entry under the same collection and hashed key.
    next: u32,
    pub(super) collection: Collection,
    pub(super) tombstone: bool,
}

const NONE: u32 = u32::MAX;

/// Everything said that still stands.
#[derive(Debug)]
pub struct Set {
    anchor: Anchor,
    limits: Limits,
    /// From the records that stand.
    keys: OnceLock<Keys>,
    /// A slab; those in `free` are vacant, and hold no bytes.
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// Heads of the chains through [`Entry::next`]. 64 bits of the key's hash: those that meet are told apart by the key.
    by_key: BTreeMap<(Collection, u64), u32>,
    by_stamp: BTreeSet<(u64, u32)>,
    ledgers: Vec<Ledger>,
    authors: BTreeMap<NodeId, u32>,
    kids: Vec<(u32, Kid)>,
    kid_numbers: BTreeMap<(u32, Kid), u32>,
    evidence: BTreeMap<NodeId, Evidence>,
    bytes: usize,
    digest: OnceLock<Hash>,
    members: OnceLock<Members>,
    pub(super) live: OnceLock<super::view::Live>,
}

impl Set {
    /// Nothing said yet.
    pub fn new(anchor: Anchor, limits: Limits) -> Self {
        Self {
            keys: OnceLock::new(),
            anchor,
            limits,
            entries: Vec::new(),
            free: Vec::new(),
            by_key: BTreeMap::new(),
            by_stamp: BTreeSet::new(),
            ledgers: Vec::new(),
            authors: BTreeMap::new(),
            kids: Vec::new(),
            kid_numbers: BTreeMap::new(),
            evidence: BTreeMap::new(),
            bytes: 0,
            digest: OnceLock::new(),
            members: OnceLock::new(),
            live: OnceLock::new(),
        }
    }

    /// Where trust begins.
    pub fn anchor(&self) -> &Anchor {
        &self.anchor
    }

    /// Every key ever admitted, to verify with on other threads.
    pub fn keys(&self) -> &Keys {
        self.keys.get_or_init(|| Keys::of(self))
    }

    /// So many entries one author may have there.
    pub fn share(&self, drawer: Drawer) -> u64 {
        drawer.share().min(self.limits.most).max(1)
    }

    /// How far each author was heard: its greatest position that stands.
    pub fn vector(&self) -> VersionVector {
        VersionVector(self.ledgers.iter().filter(|l| l.len() > 0).map(|l| (l.node.clone(), l.head.0)).collect())
    }

    /// How far `author` was heard.
    pub fn heard(&self, author: &NodeId) -> Position {
        self.ledger(author).map_or_else(Position::default, |ledger| ledger.head.0)
    }

    /// Position and hash of the greatest statement of `author` that stands: what its next one names as `prev`.
    pub fn head(&self, author: &NodeId) -> (Position, Hash) {
        self.ledger(author).map_or((Position::default(), [0; 32]), |ledger| ledger.head)
    }

    /// Digest of everything: equal for equal sets. Costs a hash for each author that changed, and one over all authors.
    pub fn digest(&self) -> Hash {
        *self.digest.get_or_init(|| {
            let mut digest = Sha256::new();
            digest.update(b"reverie-set-v1");
            for &author in self.authors.values() {
                let ledger = &self.ledgers[author as usize];
                if ledger.len() > 0 {
                    digest.update(ledger.line());
                }
            }
            digest.finalize().into()
        })
    }

    /// For each author position and digest, to find where two sets with equal vectors differ.
    pub fn summary(&self) -> Summary {
        self.ledgers.iter().filter(|l| l.len() > 0).map(|l| (l.node.clone(), (l.head.0, l.line()))).collect()
    }

    /// Records that stand.
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// None stands.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all records that stand.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Proofs of two histories, one for each author: the newest seen. Not all of it stands, so it is to be stored apart, and
    /// given back with [`Self::recall`].
    pub fn evidence(&self) -> &BTreeMap<NodeId, Evidence> {
        &self.evidence
    }

    /// Everything that stands, in no particular order.
    pub fn records(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().map(|entry| &*entry.raw).filter(|raw| !raw.is_empty())
    }

    /// What stands of an author, ascending.
    pub fn history(&self, author: &NodeId) -> impl Iterator<Item = &[u8]> {
        let standing = self.ledger(author).into_iter().flat_map(|ledger| ledger.after(Position::default()));
        standing.map(|(_, id)| &*self.entry(id).raw)
    }

    /// Who is in the mesh and since when, by what was said; it does not depend on the time.
    pub(super) fn members(&self) -> &Members {
        self.members.get_or_init(|| Members::of(self))
    }

    pub(super) fn entry(&self, id: u32) -> &Entry {
        &self.entries[id as usize]
    }

    pub(super) fn node(&self, author: u32) -> &NodeId {
        &self.ledgers[author as usize].node
    }

    pub(super) fn kids(&self) -> &[(u32, Kid)] {
        &self.kids
    }

    pub(super) fn author_number(&self, node: &NodeId) -> Option<u32> {
        self.authors.get(node).copied()
    }

    fn ledger(&self, author: &NodeId) -> Option<&Ledger> {
        self.authors.get(author).map(|&author| &self.ledgers[author as usize])
    }

    /// Everything that stands of an author, ascending.
    pub(super) fn entries_of(&self, author: &NodeId) -> impl Iterator<Item = &Entry> {
        let ledger = self.ledger(author).into_iter();
        ledger.flat_map(|ledger| ledger.after(Position::default())).map(|(_, id)| self.entry(id))
    }

    /// Entries under a key, of every author.
    pub(super) fn under<'a, 'k>(&'a self, collection: Collection, key: &'k str) -> impl Iterator<Item = &'a Entry> + use<'a, 'k> {
        self.chain(collection, short(key)).filter(move |entry| entry.key() == key)
    }

    /// What can be replaced of an author at or below a position, ascending within each collection.
    pub(super) fn replaceable_below(&self, author: &NodeId, position: Position) -> impl Iterator<Item = &Entry> {
        let ledgers = self.ledger(author).into_iter();
        ledgers.flat_map(move |ledger| ledger.replaceable_below(position)).map(|id| self.entry(id))
    }

    /// How many entries of an author would be missed if they fell out, for each of its shares: all but tombstones with nothing
    /// of others beneath.
    pub(super) fn missed(&self, author: &NodeId) -> Vec<(Drawer, u64)> {
        let drawers = self.ledger(author).into_iter().flat_map(|ledger| &ledger.drawers);
        let missed = |entries: &BTreeSet<(Position, u32)>| entries.iter().filter(|(_, id)| self.is_missed(*id)).count() as u64;
        drawers.map(|(drawer, entries)| (*drawer, missed(entries))).collect()
    }

    /// Whether one of them would, if `more` new ones came.
    pub(super) fn would_miss(&self, author: &NodeId, drawer: Drawer, more: u64) -> bool {
        let Some(ledger) = self.ledger(author) else { return more > self.share(drawer) };
        let out = (ledger.count(drawer) + more).saturating_sub(self.share(drawer));
        let out = usize::try_from(out).unwrap_or(usize::MAX);
        out > 0 && (drawer.collection.only_grows() || ledger.drawer(drawer).take(out).any(|(_, id)| self.is_missed(id)))
    }

    fn is_missed(&self, id: u32) -> bool {
        let entry = self.entry(id);
        let beneath = || self.under(entry.collection, entry.key()).any(|other| other.author != entry.author && !other.tombstone);
        !entry.tombstone || beneath()
    }

    /// Chains of entries of a collection: each holds all entries of one key, seldom of several.
    pub(super) fn chains(&self, collection: Collection) -> impl Iterator<Item = impl Iterator<Item = &Entry>> {
        self.by_key.range((collection, 0)..=(collection, u64::MAX)).map(|(_, &head)| self.links(head))
    }

    /// Entries with a stamp beyond `wall`.
    pub(super) fn stamped_after(&self, wall: u64) -> impl Iterator<Item = &Entry> {
        let range = (std::ops::Bound::Excluded((wall, NONE)), std::ops::Bound::Unbounded);
        self.by_stamp.range(range).map(|&(_, id)| self.entry(id))
    }

    /// The greatest stamp up to `wall`, of what can be held back.
    pub(super) fn newest_stamp(&self, wall: u64) -> Stamp {
        let Some(&(newest, _)) = self.by_stamp.range(..=(wall, NONE)).next_back() else { return Stamp::default() };
        let at_once = self.by_stamp.range((newest, 0)..=(newest, NONE));
        at_once.map(|&(_, id)| self.entry(id).stamp).max().unwrap_or_default()
    }

    /// What was concluded of members and issuers is to be concluded anew.
    pub(super) fn forget_conclusions(&mut self) {
        self.members = OnceLock::new();
        self.live = OnceLock::new();
    }

    pub(super) fn chain(&self, collection: Collection, short: u64) -> impl Iterator<Item = &Entry> {
        self.links(self.by_key.get(&(collection, short)).copied().unwrap_or(NONE))
    }

    fn links(&self, head: u32) -> impl Iterator<Item = &Entry> {
        let entry = move |id: u32| (id != NONE).then(|| self.entry(id));
        std::iter::successors(entry(head), move |before| entry(before.next))
    }
}

impl Entry {
    pub(super) fn fields(&self) -> Fields<'_> {
        Fields::read_filed(&self.raw)
    }

    pub(super) fn key(&self) -> &str {
        self.fields().key
    }

    pub(super) fn hash(&self) -> Hash {
        self.fields().hash()
    }
}

fn short(key: &str) -> u64 {
    let hash = Sha256::digest(key);
    hash[..8].iter().fold(0, |short, &byte| short << 8 | u64::from(byte))
}
