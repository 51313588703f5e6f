//! Proofs that a host has two histories, as they are stored: of the two records only one stands, so the set alone forgets.

use reverie_core::id::NodeId;
use reverie_core::mesh::set::{Merge, Set};
use zeroize::Zeroizing;

use super::MeshError;
use crate::keeper::state::{State, Table, Write};

/// Rows `evidence/<first or second>/<node>`.
fn row(place: &str, node: &NodeId) -> String {
    format!("evidence/{place}/{node}")
}

/// What a merge found, to be stored with it.
pub(super) fn writes(set: &Set, merge: &Merge) -> Vec<Write> {
    let found = merge.forks.iter().filter_map(|node| Some((node, set.evidence().get(node)?)));
    let rows = found.flat_map(|(node, evidence)| [("first", node, &*evidence.first), ("second", node, &*evidence.second)]);
    let put = |(place, node, record): (&str, &NodeId, &[u8])| Write::Put {
        table: Table::Mesh,
        key: row(place, node),
        value: Zeroizing::new(record.to_vec()),
    };
    rows.map(put).collect()
}

/// Gives back to the set what was stored of it.
pub(super) fn recall(state: &State, set: &mut Set) -> Result<(), MeshError> {
    for node in set.vector().0.into_keys() {
        let stored = |place| state.get(Table::Mesh, &row(place, &node));
        if let (Some(first), Some(second)) = (stored("first")?, stored("second")?) {
            set.recall(&first, &second);
        }
    }
    Ok(())
}
