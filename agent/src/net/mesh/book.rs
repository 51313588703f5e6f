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
    entries: Mutex<BTreeMap<NodeId, Entry>>,
    /// What is to be had from a peer once more.
    anew: Mutex<BTreeMap<NodeId, Histories>>,
    changed: Notify,
}

/// One of them.
#[derive(Debug)]
struct Entry {
    state: PeerState,
    /// What it has, by its word, of the authors that we know.
    vector: Option<VersionVector>,
    /// It named others: it has something that we lack.
    names_others: bool,
}

impl Entry {
    const fn new(node: NodeId) -> Self {
        Self { state: PeerState::new(node), vector: None, names_others: false }
    }

    /// As the keeper is told.
    fn told(&self, us: &NodeId, ours: &VersionVector) -> PeerState {
        let mut state = self.state.clone();
        if let Some(theirs) = &self.vector {
            state.compare(theirs, us, ours);
            state.is_ahead |= self.names_others;
        }
        state
    }
}

impl Book {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<NodeId, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, node: &NodeId, change: impl FnOnce(&mut Entry)) {
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
            entries.entry(peer.node.clone()).or_insert_with(|| Entry::new(peer.node.clone()));
        }
        drop(entries);
        self.histories().retain(|node, _| known.peers.iter().any(|peer| peer.node == *node));
        self.changed.notify_one();
    }

    /// A message of a peer was opened: what it has, and by how much its clock differs. Authors that neither we nor the mesh know
    /// are only noted to be there: it can name as many as it likes.
    pub fn heard(&self, node: &NodeId, mut vector: VersionVector, offset_ms: i64, known: &Known) {
        let named = vector.0.len();
        vector.0.retain(|author, _| known.vector.0.contains_key(author) || known.is_member(author));
        let names_others = vector.0.len() < named;
        self.note(node, |entry| {
            (entry.vector, entry.names_others, entry.state.offset_ms) = (Some(vector), names_others, Some(offset_ms));
        });
    }

    /// By its answer to a look, its clock differs by so much.
    pub fn clock_differs(&self, node: &NodeId, offset_ms: i64) {
        self.note(node, |entry| entry.state.offset_ms = Some(offset_ms));
    }

    /// By its digest it has just that, as we do in this epoch of ours.
    pub fn has(&self, node: &NodeId, vector: &VersionVector, epoch: Option<u64>) {
        let same = |entry: &Entry| entry.vector.as_ref() == Some(vector) && entry.state.agreed_in == epoch && !entry.names_others;
        if !self.entries().get(node).is_some_and(same) {
            self.note(node, |entry| {
                (entry.vector, entry.names_others, entry.state.agreed_in) = (Some(vector.clone()), false, epoch);
            });
        }
    }

    /// An exchange that we began went well.
    pub fn synced(&self, node: &NodeId, round_trip: Duration, address: Option<String>) {
        self.note(node, |Entry { state: entry, .. }| {
            entry.last_sync = Some(clock::now());
            entry.round_trip_ms = u32::try_from(round_trip.as_millis()).ok();
            (entry.failures, entry.last_error, entry.refuses) = (0, None, None);
            entry.address = address.or(entry.address.take());
        });
    }

    /// One that it began did.
    pub fn synced_inbound(&self, node: &NodeId) {
        self.note(node, |Entry { state: entry, .. }| {
            let now = clock::now();
            (entry.last_sync, entry.last_inbound) = (Some(now), Some(now));
        });
    }

    /// An exchange that we began failed.
    pub fn failed(&self, node: &NodeId, error: &str) {
        let error: String = error.chars().take(300).collect();
        self.note(node, |Entry { state: entry, .. }| {
            entry.failures = entry.failures.saturating_add(1);
            entry.last_error = Some(error);
        });
    }

    /// It says that this host takes no part, or something else was wrong.
    pub fn refuses(&self, node: &NodeId, why: Option<String>) {
        self.note(node, |entry| entry.state.refuses = why);
    }

    /// By the membership protocol.
    pub fn is_now(&self, node: &NodeId, liveness: Liveness) {
        self.note(node, |entry| entry.state.state = liveness);
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
        entries
            .values()
            .filter_map(|Entry { state, .. }| Some((state.node.to_string(), Moment::as_secs(state.last_inbound?))))
            .collect()
    }

    /// As the keeper is to be told of them.
    fn states(&self, known: &Known) -> Vec<PeerState> {
        let Some(identity) = &known.mesh else { return vec![] };
        self.entries().values().map(|entry| entry.told(&identity.node, &known.vector)).collect()
    }

    /// Tells the keeper what changed. Never ends.
    pub async fn report(net: &Net) {
        let (mut known, mut told) = (net.known.clone(), BTreeMap::new());
        loop {
            tokio::select! {
                () = net.book.changed.notified() => {}
                // We may have caught up with one that was ahead, or be ahead of one now.
                changed = known.changed() => if changed.is_err() { return },
            }
            let newest = known.borrow_and_update().clone();
            let states = newest.map(|known| net.book.states(&known)).unwrap_or_default();
            told.retain(|node, _| states.iter().any(|state| state.node == *node));
            let changed: Vec<PeerState> = states.into_iter().filter(|state| told.get(&state.node) != Some(state)).collect();
            if !changed.is_empty() {
                match net.keeper.ask(&Request::Peers(changed.clone()), DEADLINE).await {
                    Ok(_) => told.extend(changed.into_iter().map(|state| (state.node.clone(), state))),
                    Err(error) => tracing::warn!(%error, "the keeper was not told of the peers; it is tried again"),
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use reverie_core::ipc::net::Situation;
    use reverie_core::mesh::vector::{MAX_AUTHORS, Position};

    use super::*;
    use crate::net::mesh::known::tests::situation;

    fn host(number: usize) -> NodeId {
        format!("host{number}.a-rather-long-name.example.org").parse().unwrap()
    }

    fn vector(authors: usize) -> VersionVector {
        VersionVector((0..authors).map(|number| (host(number), Position { epoch: 1_790_000_000_000, seq: 7 })).collect())
    }

    fn known(hosts: usize) -> Known {
        let situation = Situation { vector: vector(hosts), ..situation((1..hosts).map(host), host(0)) };
        Known::from(Box::new(situation))
    }

    #[test]
    fn of_a_thousand_hosts_the_keeper_can_be_told_in_one_message() {
        let (book, known) = (Book::default(), known(1000));
        book.follow(&known);
        for number in 1..1000 {
            book.heard(&host(number), vector(1000), 3, &known);
            book.failed(&host(number), &"e".repeat(1000));
        }
        let states = book.states(&known);
        assert!(states.len() == 999 && states.iter().all(|state| state.in_sync && !state.is_ahead));
        let bytes = reverie_core::ipc::encode(&Request::Peers(states)).unwrap().len();
        assert!(bytes < reverie_core::ipc::MAX_MESSAGE / 8, "{bytes}");
    }

    #[test]
    fn a_peer_that_names_authors_without_end_takes_no_room_and_is_known_to_be_ahead() {
        let (book, known) = (Book::default(), known(3));
        book.follow(&known);
        book.heard(&host(1), vector(MAX_AUTHORS), 0, &known);
        assert_eq!(book.vector(&host(1)).unwrap().0.len(), 3);
        assert!(book.states(&known)[0].is_ahead);
        book.heard(&host(1), vector(3), 0, &known);
        assert!(!book.states(&known)[0].is_ahead);
    }
}
