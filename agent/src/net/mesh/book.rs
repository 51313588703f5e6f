//! What is known of each peer, by what it said and by how it went.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reverie_core::id::NodeId;
use reverie_core::ipc::net::{PeerState, Request};
use reverie_core::mesh::round::Liveness;
use reverie_core::mesh::vector::{Position, VersionVector};
use reverie_core::moment::Moment;
use tokio::sync::Notify;

use super::known::Known;
use super::state::Net;
use crate::net::clock;

/// The keeper is told at most so often.
const PAUSE: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(10);

/// Authors whose whole history is wanted anew, and up to where it came.
pub type Histories = BTreeMap<NodeId, Position>;
/// Histories wanted of one peer at once.
const MAX_ANEW: usize = 64;

/// All peers.
#[derive(Debug, Default)]
pub struct Book {
    entries: Mutex<BTreeMap<NodeId, PeerState>>,
    /// What is to be had from a peer once more.
    anew: Mutex<BTreeMap<NodeId, Histories>>,
    changed: Notify,
}

impl Book {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<NodeId, PeerState>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, node: &NodeId, change: impl FnOnce(&mut PeerState)) {
        if let Some(entry) = self.entries().get_mut(node) {
            change(entry);
            self.changed.notify_one();
        }
    }

    /// Other peers.
    pub fn follow(&self, known: &Known) {
        let mut entries = self.entries();
        entries.retain(|node, _| known.peers.iter().any(|peer| peer.node == *node));
        for peer in &known.peers {
            entries.entry(peer.node.clone()).or_insert_with(|| PeerState::new(peer.node.clone()));
        }
        drop(entries);
        self.histories().retain(|node, _| known.peers.iter().any(|peer| peer.node == *node));
        self.changed.notify_one();
    }

    /// A message of a peer was opened: what it has, and by how much its clock differs.
    pub fn heard(&self, node: &NodeId, vector: VersionVector, offset_ms: i64) {
        self.note(node, |entry| (entry.vector, entry.offset_ms) = (Some(vector), Some(offset_ms)));
    }

    /// By its answer to a look, its clock differs by so much.
    pub fn clock_differs(&self, node: &NodeId, offset_ms: i64) {
        self.note(node, |entry| entry.offset_ms = Some(offset_ms));
    }

    /// By its digest it has just that, as we do in this epoch of ours.
    pub fn has(&self, node: &NodeId, vector: &VersionVector, epoch: Option<u64>) {
        let same = |entry: &PeerState| entry.vector.as_ref() == Some(vector) && entry.agreed_in == epoch;
        if !self.entries().get(node).is_some_and(same) {
            self.note(node, |entry| (entry.vector, entry.agreed_in) = (Some(vector.clone()), epoch));
        }
    }

    /// An exchange that we began went well.
    pub fn synced(&self, node: &NodeId, round_trip: Duration, address: Option<String>) {
        self.note(node, |entry| {
            entry.last_sync = Some(clock::now());
            entry.round_trip_ms = u32::try_from(round_trip.as_millis()).ok();
            (entry.failures, entry.last_error) = (0, None);
            entry.address = address.or(entry.address.take());
        });
    }

    /// One that it began did.
    pub fn synced_inbound(&self, node: &NodeId) {
        self.note(node, |entry| {
            let now = clock::now();
            (entry.last_sync, entry.last_inbound) = (Some(now), Some(now));
        });
    }

    /// An exchange that we began failed.
    pub fn failed(&self, node: &NodeId, error: &str) {
        let error: String = error.chars().take(300).collect();
        self.note(node, |entry| {
            entry.failures = entry.failures.saturating_add(1);
            entry.last_error = Some(error);
        });
    }

    /// By the membership protocol.
    pub fn is_now(&self, node: &NodeId, liveness: Liveness) {
        self.note(node, |entry| entry.state = liveness);
    }

    /// What a peer has, by its word.
    pub fn vector(&self, node: &NodeId) -> Option<VersionVector> {
        self.entries().get(node).and_then(|entry| entry.vector.clone())
    }

    fn histories(&self) -> MutexGuard<'_, BTreeMap<NodeId, Histories>> {
        self.anew.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Histories to be asked of that peer next, each from there on.
    pub fn anew(&self, node: &NodeId) -> Histories {
        self.histories().get(node).cloned().unwrap_or_default()
    }

    /// The whole histories of these authors are to be asked of that peer.
    pub fn want_anew(&self, node: &NodeId, authors: impl IntoIterator<Item = NodeId>) {
        let mut all = self.histories();
        let wanted = all.entry(node.clone()).or_default();
        for author in authors {
            if wanted.len() < MAX_ANEW {
                wanted.entry(author).or_default();
            }
        }
        all.retain(|_, wanted| !wanted.is_empty());
    }

    /// Of those that were `asked`, this is `left`: all others came whole.
    pub fn came_anew(&self, node: &NodeId, asked: &Histories, left: Histories) {
        let mut all = self.histories();
        let wanted = all.entry(node.clone()).or_default();
        wanted.retain(|author, _| !asked.contains_key(author));
        wanted.extend(left);
        all.retain(|_, wanted| !wanted.is_empty());
    }

    /// The last inbound exchange with each, Unix seconds.
    pub fn last_inbound(&self) -> BTreeMap<String, i64> {
        let entries = self.entries();
        entries.values().filter_map(|entry| Some((entry.node.to_string(), Moment::as_secs(entry.last_inbound?)))).collect()
    }

    /// Tells the keeper what changed. Never ends.
    pub async fn report(net: &Net) {
        loop {
            net.book.changed.notified().await;
            let peers = net.book.entries().values().cloned().collect();
            if let Err(error) = net.keeper.ask(&Request::Peers(peers), DEADLINE).await {
                tracing::debug!(%error, "the keeper was not told of the peers");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
