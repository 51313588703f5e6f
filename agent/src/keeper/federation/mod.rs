//! Other trust domains: the bundles by which their members are believed, kept over a restart, and what net needs to fetch them
//! anew. Each vouches for its own trust domain alone; none is ever merged into another (SPIFFE Federation §4.2).

mod document;
mod fetched;
mod own;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use reverie_core::federation::ForeignBundle;
use reverie_core::id::TrustDomain;
use reverie_core::ipc::net::FederationEndpoints;
use reverie_core::moment::Moment;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use fetched::fetched;
pub use own::own_bundle;
pub use plan::{follow, watch_endpoints};

use super::row;
use super::state::{State, StateError, Table};

/// By trust domain.
pub type Bundles = BTreeMap<TrustDomain, Arc<ForeignBundle>>;

/// What is known of other trust domains.
#[derive(Debug)]
pub struct Federations {
    /// Those that count: declared, and fetched or given by a file.
    bundles: watch::Sender<Arc<Bundles>>,
    endpoints: watch::Sender<Arc<FederationEndpoints>>,
    /// As stored, also of those that are not declared now.
    stored: Mutex<BTreeMap<TrustDomain, Stored>>,
    /// SHA-256 of the `bundle_file` of each, where there is one.
    seeds: Mutex<BTreeMap<TrustDomain, Option<[u8; 32]>>>,
    /// Documents are taken one after the other, and not while the configuration is followed.
    turn: tokio::sync::Mutex<()>,
    /// Failed attempts in a row.
    failures: Mutex<BTreeMap<TrustDomain, u32>>,
}

/// The newest document of a trust domain, as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    document: Vec<u8>,
    fetched_at: Moment,
    /// SHA-256 of the `bundle_file` that it followed.
    seed: Option<[u8; 32]>,
}

impl Federations {
    /// From the store.
    pub fn open(state: &State) -> Result<Self, StateError> {
        let mut stored = BTreeMap::new();
        for (domain, value) in state.scan(Table::Federation)? {
            if let Ok(domain) = domain.parse() {
                stored.insert(domain, row::decode(&value)?);
            }
        }
        Ok(Self {
            bundles: watch::channel(Arc::default()).0,
            endpoints: watch::channel(Arc::default()).0,
            stored: Mutex::new(stored),
            seeds: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            failures: Mutex::default(),
        })
    }

    /// As they are now.
    pub fn bundles(&self) -> Arc<Bundles> {
        Arc::clone(&self.bundles.borrow())
    }

    /// Changes from now on.
    pub fn watch(&self) -> watch::Receiver<Arc<Bundles>> {
        self.bundles.subscribe()
    }
}

/// Subject of the alarms of a trust domain.
fn alarm_of(domain: &TrustDomain) -> String {
    format!("federation {domain}")
}

/// The same of its `bundle_file`: what is fetched mends no file.
fn file_alarm_of(domain: &TrustDomain) -> String {
    format!("federation {domain} bundle_file")
}
