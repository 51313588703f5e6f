//! Secrets at rest: rows of the encrypted store, with a version that counts up.

use reverie_core::id::SecretName;
use reverie_core::moment::Moment;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::row;
use super::state::{State, StateError, Table, Write};

/// The largest value, in bytes.
pub const MAX_BYTES: usize = 64 * 1024;

/// A secret with its value.
#[derive(Clone, Serialize, Deserialize)]
pub struct StoredSecret {
    /// Counts up each time it is sealed anew.
    pub version: u64,
    /// When it was sealed.
    pub sealed_at: Moment,
    /// The value.
    pub value: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for StoredSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoredSecret(version {})", self.version)
    }
}

/// Access to the secrets' table.
#[derive(Debug, Default)]
pub struct Secrets {
    /// Held while a secret is replaced, so that two at once do not take the same version.
    pub turn: tokio::sync::Mutex<()>,
}

impl Secrets {
    /// One secret, if it has a value.
    pub fn read(&self, state: &State, name: &SecretName) -> Result<Option<StoredSecret>, StateError> {
        let row = state.get(Table::Secrets, name.as_str())?;
        Ok(row.map(|row| row::decode(&row)).transpose()?)
    }

    /// Every secret that has a value.
    pub fn all(&self, state: &State) -> Result<Vec<(String, StoredSecret)>, StateError> {
        let rows = state.scan(Table::Secrets)?.into_iter();
        rows.map(|(name, row)| Ok((name, row::decode(&row)?))).collect()
    }

    /// The write that seals `secret`.
    pub fn put(name: &SecretName, secret: &StoredSecret) -> Result<Write, row::RowError> {
        Ok(Write::Put { table: Table::Secrets, key: name.to_string(), value: row::encode(secret)? })
    }

    /// The write that removes it.
    pub fn delete(name: &SecretName) -> Write {
        Write::Delete { table: Table::Secrets, key: name.to_string() }
    }
}
