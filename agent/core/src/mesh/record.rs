//! One signed statement of one author.

use minicbor::{Decode, Encode};

use super::collection::Collection;
use super::crypto::Kid;
use super::vector::Position;
use crate::id::NodeId;

/// What signatures are made over begins with this.
pub const CONTEXT: &[u8] = b"reverie-record-v1";
/// Bytes of a key.
pub const MAX_KEY: usize = 512;
/// Bytes of a value.
pub const MAX_VALUE: usize = 640 << 10;

/// A hybrid logical clock's reading: later statements of anyone who heard an earlier one are greater.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Stamp {
    /// Wall clock, milliseconds since the Unix epoch.
    #[n(0)]
    pub wall: u64,
    /// Tells apart what happened within one millisecond.
    #[n(1)]
    pub counter: u32,
}

/// What a record says, without the signature.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Statement {
    /// Kind.
    #[n(0)]
    pub collection: Collection,
    /// Which one of the kind; at most [`MAX_KEY`] bytes.
    #[n(1)]
    pub key: String,
    /// Who says so.
    #[n(2)]
    pub author: NodeId,
    /// By which of its keys.
    #[n(3)]
    pub kid: Kid,
    /// Where in the author's history.
    #[n(4)]
    pub position: Position,
    /// Hash of the author's statement before; zeros for its first.
    #[n(5)]
    #[cbor(with = "minicbor::bytes")]
    pub prev: [u8; 32],
    /// When, by a hybrid logical clock.
    #[n(6)]
    pub stamp: Stamp,
    /// The value, CBOR as [`super::collection`] says, at most [`MAX_VALUE`] bytes; `None` is a tombstone.
    #[n(7)]
    #[cbor(with = "minicbor::bytes")]
    pub value: Option<Vec<u8>>,
}

/// A statement with its author's signature.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Record {
    /// What it says.
    #[n(0)]
    pub statement: Statement,
    /// ECDSA P-256/SHA-256, r ‖ s, over [`CONTEXT`] and the statement.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub signature: [u8; 64],
}
