//! What each service was last told of, and seen to serve. Durable, so that neither a restart nor a reload forgets that a
//! service has yet to be told.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use reverie_core::ca::Serial;
use reverie_core::id::IdentityName;

use crate::keeper::state::{State, StateError, Table, Write};

/// By identity: its serial, and the digest of roots and lists beside it.
#[derive(Debug, Default)]
pub struct Told(Mutex<BTreeMap<String, String>>);

impl Told {
    /// From the store.
    pub fn open(state: &State) -> Result<Self, StateError> {
        let rows = state.scan(Table::Told)?.into_iter();
        let text = |row: &[u8]| String::from_utf8_lossy(row).into_owned();
        Ok(Self(Mutex::new(rows.map(|(name, row)| (name, text(&row))).collect())))
    }

    /// What a service is told of when it is told now.
    pub fn mark(serial: &Serial, trust: &str) -> String {
        format!("{serial} {trust}")
    }

    /// True if the service was told of just that.
    pub fn is(&self, name: &IdentityName, mark: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name.as_str()).is_some_and(|told| told == mark)
    }

    /// The write that makes `mark` durable; [`Told::note`] follows it.
    pub fn write(name: &IdentityName, mark: &str) -> Write {
        Write::Put { table: Table::Told, key: name.to_string(), value: mark.as_bytes().to_vec().into() }
    }

    /// It is durable.
    pub fn note(&self, name: &IdentityName, mark: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_string(), mark);
    }

    /// Its files were changed under the service: what it was told does not count.
    pub fn forget(&self, name: &IdentityName) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name.as_str());
    }
}
