//! Addresses at which peers were met: what comes from there has room of its own, so that no flood from elsewhere keeps peers out.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::ops::origin::Origin;

/// Remembered at most. When it is full it begins anew: peers come again.
const MAX: usize = 16_384;

/// They.
#[derive(Debug, Default)]
pub struct Met(Mutex<BTreeSet<Origin>>);

impl Met {
    /// A host that proved to be a peer is there.
    pub fn at(&self, origin: Origin) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX && !all.contains(&origin) {
            all.clear();
        }
        all.insert(origin);
    }

    /// Whether one was met there.
    pub fn has(&self, origin: Origin) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&origin)
    }
}
