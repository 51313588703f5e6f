//! A host that came into a large mesh has some records first, and the rest by gossip. Until all has come, what peers are told
//! is not the set's vector, which would hide what is missing below, but a vector of its own: up to where each author's records
//! came without a gap. Meanwhile it passes nothing on: others would take its gaps for the whole.

use std::collections::{BTreeMap, BTreeSet};

use reverie_core::id::NodeId;
use reverie_core::mesh::record::Fields;
use reverie_core::mesh::set::Merge;
use reverie_core::mesh::vector::VersionVector;

use super::merging::Handed;
use super::{Core, MeshError};
use crate::keeper::row;
use crate::keeper::state::{State, Table, Write};

/// Row of the vector, as long as it is not the set's.
const ROW: &str = "arriving";

/// That vector as stored.
pub(super) fn load(state: &State) -> Result<Option<VersionVector>, MeshError> {
    let row = state.get(Table::Mesh, ROW)?;
    Ok(row.map(|row| row::decode(&row)).transpose()?)
}

pub(super) fn write(arriving: Option<&VersionVector>) -> Result<Write, MeshError> {
    let (table, key) = (Table::Mesh, ROW.to_owned());
    Ok(match arriving {
        Some(vector) => Write::Put { table, key, value: row::encode(vector)? },
        None => Write::Delete { table, key },
    })
}

impl Core {
    /// What peers are told that we have.
    pub(super) fn complete(&self) -> VersionVector {
        self.arriving.clone().unwrap_or_else(|| self.set.vector())
    }

    /// Follows with what was just merged, if that was asked for by our vector: then it goes on from there without a gap, and
    /// the last page makes everything complete. What to store.
    pub(super) fn arrive(&mut self, handed: &Handed, merge: &Merge) -> Result<Option<Write>, MeshError> {
        let (Some(arriving), Some(more)) = (&mut self.arriving, handed.more) else { return Ok(None) };
        let refused: BTreeSet<&str> =
            merge.refused.iter().filter_map(|(author, _)| author.as_ref().map(NodeId::as_str)).collect();
        // Each author's ascend; evidence of two histories may stand before them.
        let mut last = BTreeMap::new();
        for fields in handed.records.iter().filter_map(|record| Fields::read(record).ok()) {
            if !refused.contains(fields.author) {
                last.insert(fields.author, fields.position);
            }
        }
        for (author, position) in last {
            if let Ok(author) = author.parse() {
                arriving.advance(&author, position);
            }
        }
        if !more && refused.is_empty() {
            self.arriving = None;
        }
        Ok(Some(write(self.arriving.as_ref())?))
    }
}
