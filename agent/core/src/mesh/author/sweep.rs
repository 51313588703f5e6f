//! Collecting our own tombstones.
//!
//! A floor says: of mine, whatever can be replaced and lies here or below is gone. So that nothing that lives goes with it,
//! it is said again first, above the floor and with its old stamp. Whoever knows the floor needs no list of what was
//! deleted: a record below it is void by its position, from whomever it comes and after however many months.

use std::collections::BTreeMap;

use crate::id::NodeId;
use crate::mesh::collection::{Collection, Floor};
use crate::mesh::record::Stamp;
use crate::mesh::set::Set;
use crate::mesh::vector::{Position, VersionVector};

/// Fewer tombstones than this are not worth a floor.
pub const FEW: usize = 64;

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
}

impl Sweep {
    /// Whether it is time. `live`: the vector of every other host that is in and was heard lately, by its word. A tombstone
    /// goes once all of them have it, we have what each had said by then, and no other author has anything beneath it. It is
    /// worth it once more goes than must be said again, so that each deletion costs at most one further signature.
    pub fn plan(set: &Set, own: &NodeId, live: &BTreeMap<NodeId, VersionVector>, few: usize) -> Option<Self> {
        if live.iter().any(|(node, vector)| set.heard(node) < vector.get(node)) {
            return None;
        }
        let heard = set.heard(own);
        let collected: Position = live.values().map(|vector| vector.get(own)).min().unwrap_or(heard).min(heard);
        let (mut again, mut gone) = (Vec::new(), 0);
        for entry in set.replaceable_below(own, collected) {
            let fields = entry.fields();
            let beneath = || {
                let others = set.under(fields.collection, fields.key);
                others.filter(|other| other.author != entry.author).any(|other| !other.tombstone)
            };
            match fields.value {
                _ if fields.collection == Collection::Floors => (),
                None if !beneath() => gone += 1,
                value => again.push(Again {
                    collection: fields.collection,
                    key: fields.key.to_owned(),
                    value: value.map(<[u8]>::to_vec),
                    stamp: entry.stamp,
                }),
            }
        }
        (gone >= few.max(1) && gone >= again.len()).then_some(Self { again, floor: Floor { collected }, collected: gone })
    }
}
