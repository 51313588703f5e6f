//! CBOR that has one spelling: what does not encode to the same bytes again was not written by us.

use minicbor::{Decode, Encode};

/// Not what it should be, or too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} cannot be read: cut off, changed on the way, or of another version of Reverie")]
pub struct Unreadable {
    /// What it was meant to be.
    pub what: &'static str,
}

/// The one spelling of `value`.
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    let mut bytes = vec![];
    // Writing to a vector does not fail.
    let _ = minicbor::encode(value, &mut bytes);
    bytes
}

/// Reads at most `max` bytes, all of them.
pub fn decode<'b, T: Decode<'b, ()> + Encode<()>>(bytes: &'b [u8], max: usize, what: &'static str) -> Result<T, Unreadable> {
    let unreadable = Unreadable { what };
    if bytes.len() > max {
        return Err(unreadable);
    }
    let value: T = minicbor::decode(bytes).map_err(|_| unreadable)?;
    if encode(&value) == bytes { Ok(value) } else { Err(unreadable) }
}
