//! Connections that peers opened to us, so that they can be closed once their key is not welcome any more.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use reverie_core::mesh::crypto::{Kid, SigningPublicKey};
use tokio_util::sync::CancellationToken;

/// All of them.
#[derive(Debug, Default)]
pub struct Open {
    next: AtomicU64,
    connections: Mutex<HashMap<u64, (Option<SigningPublicKey>, CancellationToken)>>,
}

/// One of them, until this is dropped.
#[derive(Debug)]
pub struct Registered {
    open: Arc<Open>,
    number: u64,
    /// Cancelled when the connection is to be closed.
    pub closing: CancellationToken,
}

impl Open {
    /// Notes a connection made with that key.
    pub fn register(self: &Arc<Self>, key: Option<SigningPublicKey>) -> Registered {
        let (number, closing) = (self.next.fetch_add(1, Ordering::Relaxed), CancellationToken::new());
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.insert(number, (key, closing.clone()));
        Registered { open: Arc::clone(self), number, closing }
    }

    /// Closes those whose key `keep` does not want. A connection without a key has nothing to lose and stays.
    pub fn close_unless(&self, keep: impl Fn(&SigningPublicKey) -> bool) {
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, closing) in connections.values() {
            if key.as_ref().is_some_and(|key| !keep(key)) {
                closing.cancel();
            }
        }
    }

    /// Closes those with one of these keys.
    pub fn close(&self, kids: &[Kid]) {
        self.close_unless(|key| !kids.contains(&key.kid()));
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        u32::try_from(self.connections.lock().unwrap_or_else(PoisonError::into_inner).len()).unwrap_or(u32::MAX)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.open.connections.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}
