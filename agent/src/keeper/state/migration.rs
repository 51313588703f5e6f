//! Stores of earlier releases become what this one writes: in one transaction, so that a crash leaves either.

use super::error::{Fault, StateError};
use super::schema::{FORMAT, FORMAT_ROW, PLAIN, RECORDS};
use super::store::Store;

/// Does nothing if it is up to date. Returns the number of the last transaction.
pub(super) fn bring_up_to_date(store: &Store, found: u32, transaction: u64) -> Result<u64, StateError> {
    if found == FORMAT {
        return Ok(transaction);
    }
    let next = transaction + 1;
    let migrate = |transaction: &redb::WriteTransaction| -> Result<(), Fault> {
        if found < 2 {
            transaction.open_table(RECORDS)?;
        }
        transaction.open_table(PLAIN)?.insert(FORMAT_ROW, &FORMAT.to_be_bytes()[..])?;
        Ok(())
    };
    store.write(next, migrate).map_err(|error| StateError::from(error.fault))?;
    tracing::info!(from = found, to = FORMAT, "the store was brought to this version's format");
    Ok(next)
}
