//! Collecting our own tombstones.
//!
//! A floor says: of mine, whatever can be replaced and lies here or below is gone. So that nothing that lives goes with it,
//! it is said again first, above the floor and with its old stamp. Whoever knows the floor needs no list of what was
//! deleted: a record below it is void by its position, from whomever it comes and after however many months.

use std::collections::BTreeMap;

use crate::id::NodeId;
use crate::mesh::collection::{Collection, Floor};
use crate::mesh::record::{Hash, Stamp};
use crate::mesh::set::Set;
use crate::mesh::vector::{Position, VersionVector};

/// What to write, in this order: each of `again` with [`super::Author::repeat`], then the floor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sweep {
    /// What lives below the floor to come.
    pub again: Vec<Again>,
    /// The floor.
    pub floor: Floor,
    /// Tombstones that go.
    pub collected: usize,
}

/// A record to be said again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Again {
    /// Kind.
    pub collection: Collection,
    /// Which one.
    pub key: String,
    /// The value, or still a tombstone: over what another author said.
    pub value: Option<Vec<u8>>,
    /// As it was.
    pub stamp: Stamp,
    /// Of the record that says it now.
    pub hash: Hash,
}

impl Sweep {
    /// Whether it is time. `live`: the vector of every other host that is in, by its word. A tombstone goes once all of them
    /// have it, we have what each had by then (an evicted author's records too may reach us late), and no other author has
    /// anything beneath it. It is worth it once at least `few` go, and not fewer than must be said again, so that each
    /// deletion costs at most one further signature.
    pub fn plan(set: &Set, own: &NodeId, live: &BTreeMap<NodeId, VersionVector>, few: usize) -> Option<Self> {
        let has_more = |vector: &VersionVector| vector.0.iter().any(|(author, position)| set.heard(author) < *position);
        if live.values().any(has_more) {
            return None;
        }
        let heard = set.heard(own);
        let acknowledged: Position = live.values().map(|vector| vector.get(own)).min().unwrap_or(heard).min(heard);
        let (mut living, mut gone, mut collected) = (Vec::new(), 0, Position::default());
        for entry in set.replaceable_below(own, acknowledged) {
            let fields = entry.fields();
            let beneath = || {
                let others = set.under(fields.collection, fields.key);
                others.filter(|other| other.author != entry.author).any(|other| !other.tombstone)
            };
            match fields.value {
                _ if fields.collection == Collection::Floors => (),
                None if !beneath() => {
                    gone += 1;
                    collected = collected.max(entry.position);
                }
                value => {
                    let (collection, key, value) = (fields.collection, fields.key.to_owned(), value.map(<[u8]>::to_vec));
                    living.push((entry.position, Again { collection, key, value, stamp: entry.stamp, hash: entry.hash() }));
                }
            }
        }
        // What lies above the last that goes stays as it is.
        let again: Vec<Again> = living.into_iter().filter(|(at, _)| *at <= collected).map(|(_, again)| again).collect();
        (gone >= few.max(1) && gone >= again.len()).then_some(Self { again, floor: Floor { collected }, collected: gone })
    }
}
