//! The machine itself.

use std::collections::{BTreeMap, VecDeque};

use super::{Effect, ExchangeId, Inbound, Liveness, Outcome};
use crate::id::NodeId;
use crate::ipc::net::RoundSettings;
use crate::moment::Moment;

/// See the [module](super).
#[derive(Debug)]
pub struct Round {
    me: NodeId,
    settings: RoundSettings,
    peers: BTreeMap<NodeId, PeerView>,
    effects: VecDeque<Effect>,
    next_exchange: u64,
    wake: Moment,
}

/// A peer as the machine sees it, for people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerView {
    /// By the membership protocol.
    pub liveness: Liveness,
    /// Attempts that failed since the last that did not.
    pub failures: u32,
    /// Not tried before this by itself.
    pub not_before: Option<Moment>,
}

impl Round {
    /// A machine that knows nobody yet. `epoch` is that of this start ([`crate::ipc::net::MeshIdentity`]); `seed` must be
    /// unpredictable to others and new at each start.
    pub fn new(me: NodeId, _epoch: u64, settings: RoundSettings, _seed: [u8; 32], now: Moment) -> Self {
        Self { me, settings, peers: BTreeMap::new(), effects: VecDeque::new(), next_exchange: 0, wake: now }
    }

    /// Other times and limits, from now on.
    pub fn handle_settings(&mut self, _now: Moment, settings: RoundSettings) {
        self.settings = settings;
    }

    /// Whom we may speak with: the whole list, ourselves not needed in it. Whoever is no longer in it is forgotten.
    pub fn handle_peers(&mut self, _now: Moment, peers: &[NodeId]) {
        self.peers.retain(|node, _| peers.contains(node));
        for node in peers.iter().filter(|node| **node != self.me) {
            self.peers.entry(node.clone()).or_default();
        }
    }

    /// We wrote something.
    pub fn handle_local_change(&mut self, _now: Moment) {
        for to in self.peers.keys() {
            self.next_exchange += 1;
            self.effects.push_back(Effect::Push { to: to.clone(), exchange: ExchangeId(self.next_exchange) });
        }
    }

    /// A peer began an exchange, and it was merged.
    pub fn handle_merged(&mut self, _now: Moment, _from: &NodeId, _inbound: Inbound) {}

    /// An exchange that was asked for ended.
    pub fn handle_exchange(&mut self, _now: Moment, peer: &NodeId, _exchange: ExchangeId, outcome: Outcome) {
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.failures = if outcome == Outcome::Failed { peer.failures.saturating_add(1) } else { 0 };
        }
    }

    /// A membership datagram came over a connection of `from`, whose key was verified.
    pub fn handle_membership(&mut self, _now: Moment, _from: &NodeId, _bytes: &[u8]) {}

    /// Tries those that are backed off at once.
    pub fn retry_now(&mut self, _now: Moment) {
        for peer in self.peers.values_mut() {
            *peer = PeerView { liveness: peer.liveness, ..PeerView::default() };
        }
    }

    /// Tells some peers that we stop, so that nobody has to suspect it.
    pub fn leave(&mut self, _now: Moment) {}

    /// [`Self::wake`] has come; harmless at any other time.
    pub fn handle_timer(&mut self, now: Moment) {
        self.wake = now.after(std::time::Duration::from_millis(self.settings.anti_entropy_ms.into()));
    }

    /// The next thing to do; `None` if there is nothing more for now.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Self::handle_timer`] is to be called next.
    pub fn wake(&self) -> Moment {
        self.wake
    }

    /// What is known of a peer; `None` for somebody whom we may not speak with.
    pub fn peer(&self, node: &NodeId) -> Option<PeerView> {
        self.peers.get(node).copied()
    }
}
