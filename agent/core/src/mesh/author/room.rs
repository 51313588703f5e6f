//! Whether what we mean to say would be taken and kept by everyone: asked before it is signed, since a position that no host
//! keeps cannot be taken back.

use std::collections::{BTreeMap, BTreeSet};

use super::CannotWrite;
use crate::id::NodeId;
use crate::mesh::collection::{Collection, Drawer};
use crate::mesh::crypto::Kid;
use crate::mesh::set::Set;

/// How much an author has said in a collection, and how much it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Where.
    pub collection: Collection,
    /// Records that would be missed if they fell out of the set.
    pub taken: u64,
    /// Records that may be.
    pub share: u64,
}

impl Room {
    /// Of every collection in which `author` has said anything, what it says of itself counted apart.
    pub fn of(set: &Set, author: &NodeId) -> Vec<Self> {
        let room = |(drawer, taken): (Drawer, u64)| Self { collection: drawer.collection, taken, share: set.share(drawer) };
        set.missed(author).into_iter().map(room).collect()
    }

    /// Four fifths of it. Where one record is all there ever is, the next replaces it.
    pub fn is_short(&self) -> bool {
        self.share > 1 && self.taken.saturating_mul(5) >= self.share.saturating_mul(4)
    }
}

/// Whether `author` may say all of this next, each under a key and signed by one of its own: nothing is for authorities alone
/// unless that is, or was, one's; and nothing that would be missed falls out of the set for it.
pub fn check_room<'a>(
    set: &Set,
    author: &NodeId,
    writes: impl IntoIterator<Item = (Kid, Collection, &'a str)>,
) -> Result<(), CannotWrite> {
    let mut fresh: BTreeMap<Drawer, BTreeSet<&str>> = BTreeMap::new();
    let mut grown: BTreeMap<Drawer, u64> = BTreeMap::new();
    for (kid, collection, key) in writes {
        if collection.is_for_authorities(key, author.as_str()) && !set.keys().is_authority(author, kid) {
            return Err(CannotWrite::NotAuthority(collection));
        }
        let drawer = collection.drawer(key, author.as_str());
        let more = match collection.only_grows() {
            true => true,
            false => {
                !set.under(collection, key).any(|entry| set.node(entry.author) == author)
                    && fresh.entry(drawer).or_default().insert(key)
            }
        };
        *grown.entry(drawer).or_default() += u64::from(more);
    }
    for (drawer, more) in grown {
        let share = set.share(drawer);
        if more > 0 && set.would_miss(author, drawer, more) {
            return Err(CannotWrite::Full { collection: drawer.collection, share });
        }
    }
    Ok(())
}
