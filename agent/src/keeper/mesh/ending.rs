//! What goes with the end of a key: what is upheld of its records, and what another says again in its place.

use reverie_core::mesh::author::Again;
use reverie_core::mesh::collection::{Collection, Upheld};
use reverie_core::mesh::record::Hash;

use super::MeshError;
use super::keys::Ring;
use super::writing::{Draft, Signed};

/// What an end is to uphold, and the lists that are to be said before it.
pub(super) fn upheld(hashes: &[Hash]) -> Result<(Upheld, Vec<Draft>), MeshError> {
    let (upheld, lists) = Upheld::of(hashes);
    let drafts = lists.into_iter().map(|(name, list)| Draft::put(Collection::Upheld, name, &list));
    Ok((upheld, drafts.collect::<Result<_, _>>()?))
}

/// Said again with its stamp, by our newest key.
pub(super) fn again(all: Vec<Again>, ring: &Ring) -> impl Iterator<Item = Signed> {
    all.into_iter().map(|Again { collection, key, value, stamp, .. }| Signed {
        stamp: Some(stamp),
        ..Signed::new(Draft { collection, key, value }, &ring.current)
    })
}
