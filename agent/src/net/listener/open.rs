//! Connections that peers opened to us, so that they can be closed once their key is not welcome any more.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use reverie_core::mesh::crypto::{Kid, SigningPublicKey};
use tokio_util::sync::CancellationToken;

use super::connection::Activity;
use crate::net::mesh::known::Known;

/// Connections that one peer keeps open while there is no room.
const EACH: usize = 4;

/// All of them.
#[derive(Debug, Default)]
pub struct Open {
    next: AtomicU64,
    connections: Mutex<HashMap<u64, Entry>>,
}

#[derive(Debug)]
struct Entry {
    key: Option<SigningPublicKey>,
    was_peer: bool,
    activity: Arc<Activity>,
    closing: CancellationToken,
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
    /// Notes a connection made with that key, a peer's at that time or not.
    pub fn register(self: &Arc<Self>, key: Option<SigningPublicKey>, was_peer: bool, activity: Arc<Activity>) -> Registered {
        let (number, closing) = (self.next.fetch_add(1, Ordering::Relaxed), CancellationToken::new());
        let entry = Entry { key, was_peer, activity, closing: closing.clone() };
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).insert(number, entry);
        Registered { open: Arc::clone(self), number, closing }
    }

    /// Before one more of a peer: once peers have `most`, closes the idlest of its own if it has several, else of all. A mesh may
    /// have more hosts, and each comes again when it has something to say.
    pub fn make_room(&self, key: &SigningPublicKey, most: usize) {
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let of_peers: Vec<&Entry> =
            connections.values().filter(|entry| entry.was_peer && !entry.closing.is_cancelled()).collect();
        let own: Vec<&Entry> = of_peers.iter().copied().filter(|entry| entry.key.as_ref() == Some(key)).collect();
        if of_peers.len() < most {
            return;
        }
        let among = if own.len() >= EACH { own } else { of_peers };
        let idlest = among.into_iter().filter_map(|entry| Some((entry.activity.quiet()?, entry))).max_by_key(|(quiet, _)| *quiet);
        if let Some((_, entry)) = idlest {
            entry.closing.cancel();
        }
    }

    fn close_if(&self, ends: impl Fn(&SigningPublicKey, bool) -> bool) {
        for entry in self.connections.lock().unwrap_or_else(PoisonError::into_inner).values() {
            if entry.key.as_ref().is_some_and(|key| ends(key, entry.was_peer)) {
                entry.closing.cancel();
            }
        }
    }

    /// Closes those of peers that are none any more, and of whoever is refused. A stranger has nothing to lose, and stays.
    pub fn follow(&self, known: &Known) {
        self.close_if(|key, was_peer| (was_peer && !known.is_welcome(key)) || known.is_refused(key));
    }

    /// Closes those with one of these keys.
    pub fn close(&self, kids: &[Kid]) {
        self.close_if(|key, _| kids.contains(&key.kid()));
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
