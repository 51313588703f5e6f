//! How far a host has heard each author.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::id::NodeId;

/// Where a record stands in its author's history. Epochs are ordered and new at every start of the author.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode)]
#[cbor(array)]
pub struct Position {
    /// `max(wall clock in ms, last epoch + 1)` at the author's start.
    #[n(0)]
    pub epoch: u64,
    /// Strictly increasing within the epoch, from 1.
    #[n(1)]
    pub seq: u64,
}

/// Author to the position up to which all of its records that still stand are held.
///
/// Records of one author are sent and taken in the order of their positions, so nothing below is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionVector(pub BTreeMap<NodeId, Position>);

impl VersionVector {
    /// How far `author` was heard; the zero position if not at all.
    pub fn get(&self, author: &NodeId) -> Position {
        self.0.get(author).copied().unwrap_or_default()
    }

    /// Notes a position, if it is further.
    pub fn advance(&mut self, author: &NodeId, position: Position) {
        match self.0.get_mut(author) {
            Some(known) => *known = position.max(*known),
            None => drop(self.0.insert(author.clone(), position)),
        }
    }
}
