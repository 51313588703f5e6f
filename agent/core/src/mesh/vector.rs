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

/// The last epoch, at the end of the year 2199: nobody can stand where nothing lies beyond.
pub const MAX_EPOCH: u64 = 7_258_118_399_999;
/// The last sequence number of an epoch.
pub const MAX_SEQ: u64 = (1 << 48) - 1;

/// Authors in one vector, as it is read from outside.
pub const MAX_AUTHORS: usize = 16_384;

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

    /// True if whoever has this has all that is in `other`.
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|(author, position)| self.get(author) >= *position)
    }

    /// Notes a position, if it is further.
    pub fn advance(&mut self, author: &NodeId, position: Position) {
        match self.0.get_mut(author) {
            Some(known) => *known = position.max(*known),
            None => drop(self.0.insert(author.clone(), position)),
        }
    }
}

/// `[[author, [epoch, seq]], …]`, authors ascending.
impl<C> Encode<C> for VersionVector {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        context: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.array(self.0.len() as u64)?;
        for (author, position) in &self.0 {
            encoder.array(2)?.encode_with(author, context)?.encode_with(position, context)?;
        }
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for VersionVector {
    fn decode(decoder: &mut minicbor::Decoder<'b>, context: &mut C) -> Result<Self, minicbor::decode::Error> {
        let wrong = || minicbor::decode::Error::message("not a version vector");
        let count = decoder.array()?.filter(|count| *count <= MAX_AUTHORS as u64).ok_or_else(wrong)?;
        let mut vector = BTreeMap::new();
        for _ in 0..count {
            if decoder.array()? != Some(2) {
                return Err(wrong());
            }
            let author: NodeId = decoder.decode_with(context)?;
            if vector.last_key_value().is_some_and(|(last, _)| *last >= author) {
                return Err(wrong());
            }
            vector.insert(author, decoder.decode_with(context)?);
        }
        Ok(Self(vector))
    }
}
