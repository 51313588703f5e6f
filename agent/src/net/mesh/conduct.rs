//! Peers that handed over forged records. A healthy host verifies what it passes on, so such a one is left alone for a while:
//! each of its messages costs thousands of verifications.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reverie_core::id::NodeId;

use super::known::{Known, KnownPeer};
use super::state::Net;

/// How long.
const PAUSE: Duration = Duration::from_secs(60);

/// Until when each is left alone.
#[derive(Debug, Default)]
pub struct Conduct(Mutex<BTreeMap<NodeId, Instant>>);

impl Conduct {
    fn until(&self) -> MutexGuard<'_, BTreeMap<NodeId, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True while nothing is to be exchanged with it.
    pub fn is_shunned(&self, node: &NodeId) -> bool {
        self.until().get(node).is_some_and(|until| *until > Instant::now())
    }

    /// Forgets those that are no peers any more.
    pub fn follow(&self, known: &Known) {
        self.until().retain(|node, until| *until > Instant::now() && known.peers.iter().any(|peer| peer.node == *node));
    }
}

/// It handed over a record that somebody forged: its connections are dropped, and nothing is exchanged with it for a minute.
pub fn shun(net: &Net, peer: &KnownPeer) {
    tracing::warn!(peer = %peer.node, "it handed over forged records: nothing is exchanged with it for a minute");
    net.conduct.until().insert(peer.node.clone(), Instant::now() + PAUSE);
    let kids: Vec<_> = peer.signing_keys.iter().map(|key| key.kid()).collect();
    net.peers.close(&kids);
    net.open.close(&kids);
}
