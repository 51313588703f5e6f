//! What each service was last told of, and where it was seen served. Durable, so that neither a restart nor a reload
//! forgets that a service has yet to be told.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use reverie_core::ca::Serial;
use reverie_core::config::Identity;
use reverie_core::id::IdentityName;
use reverie_core::moment::Moment;
use serde::{Deserialize, Serialize};

use crate::keeper::row;
use crate::keeper::state::{State, StateError, Table, Write};
use crate::ops::policy::PolicyIdentity;

/// What one service knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// See [`Told::mark`].
    pub mark: String,
    /// When it was told.
    pub at: Moment,
    /// Where it was seen to serve the certificate, if that is looked at.
    pub seen: Option<String>,
}

impl Told {
    /// What a service is told of when it is told now, and how: a rule that was corrected is followed.
    pub fn mark(serial: &Serial, trust: &str, identity: &PolicyIdentity) -> String {
        let Identity { reload, verify, .. } = &identity.declared;
        format!("{serial} {trust} {:?} {reload:?} {verify:?}", identity.files)
    }

    /// Forgets it durably: the files were changed under the service.
    pub fn deletion(name: &IdentityName) -> Write {
        Write::Delete { table: Table::Told, key: name.to_string() }
    }

    /// The write that makes it durable; [`AllTold::note`] follows it.
    pub fn write(&self, name: &IdentityName) -> Result<Write, row::RowError> {
        Ok(Write::Put { table: Table::Told, key: name.to_string(), value: row::encode(self)? })
    }
}

/// Every service that was told.
#[derive(Debug, Default)]
pub struct AllTold(Mutex<BTreeMap<String, Told>>);

impl AllTold {
    /// From the store.
    pub fn open(state: &State) -> Result<Self, StateError> {
        let rows = state.scan(Table::Told)?.into_iter().map(|(name, row)| Ok((name, row::decode(&row)?)));
        Ok(Self(Mutex::new(rows.collect::<Result<_, row::RowError>>()?)))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Told>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the service of that identity was told last.
    pub fn of(&self, name: &IdentityName) -> Option<Told> {
        self.lock().get(name.as_str()).cloned()
    }

    /// It is durable.
    pub fn note(&self, name: &IdentityName, told: Told) {
        self.lock().insert(name.to_string(), told);
    }

    /// Its files were changed under the service: what it was told does not count.
    pub fn forget(&self, name: &IdentityName) {
        self.lock().remove(name.as_str());
    }
}
