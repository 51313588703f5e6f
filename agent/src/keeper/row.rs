//! How a value becomes a row of the store: one byte of version, then postcard.

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::state::StateError;

/// Version of all rows. A new shape takes a new number and a migration.
const VERSION: u8 = 1;

/// A row that is not of this version or shape.
#[derive(Debug, thiserror::Error)]
#[error("a row of the store is of another version or damaged; use the agent that wrote it, or restore the store from a backup")]
pub struct RowError;

/// The row of `value`.
pub fn encode<T: Serialize>(value: &T) -> Result<Zeroizing<Vec<u8>>, RowError> {
    let row = postcard::to_extend(value, vec![VERSION]).map_err(|_| RowError)?;
    Ok(Zeroizing::new(row))
}

/// The value of a row.
pub fn decode<T: DeserializeOwned>(row: &[u8]) -> Result<T, RowError> {
    match row.split_first() {
        Some((&VERSION, rest)) => postcard::from_bytes(rest).map_err(|_| RowError),
        _ => Err(RowError),
    }
}

impl From<RowError> for StateError {
    fn from(error: RowError) -> Self {
        damaged(error.to_string())
    }
}

/// Something in the store is not what was written.
pub fn damaged(what: impl Into<String>) -> StateError {
    StateError::Damaged { what: what.into() }
}
