//! What the tasks of this role share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reverie_core::id::NodeId;
use reverie_core::mesh::message::{Message, MessageError, ReplayWindow};
use reverie_core::moment::Moment;
use reverie_crypto::aws::Aws;
use tokio::sync::{Semaphore, mpsc, watch};

use super::book::Book;
use super::conduct::Conduct;
use super::known::Known;
use super::peers::Peers;
use super::refusals::Refusals;
use super::rounds::Event;
use crate::net::clock;
use crate::net::counters::Counters;
use crate::net::keeper::Keeper;
use crate::net::listener::{Met, Open, Rates};
use crate::ops::origin::Origin;
use crate::ops::shares::Shares;

/// Epochs begin at the wall clock; what lies so far beyond is not held against the next.
const FAR_AHEAD: Duration = Duration::from_secs(3600);
/// Connections begun at once.
const DIALS: usize = 32;

/// Everything.
#[derive(Debug)]
pub struct Net {
    /// Who has the keys.
    pub keeper: Arc<Keeper>,
    /// The newest situation; `None` before the first.
    pub known: watch::Receiver<Option<Arc<Known>>>,
    /// Primitives that need no secret.
    pub ops: Aws,
    /// For metrics.
    pub counters: Counters,
    /// What is known of peers.
    pub book: Book,
    /// Those of them that handed over forged records.
    pub conduct: Conduct,
    /// For the audit log.
    pub refusals: Refusals,
    /// Connections to peers.
    pub peers: Peers,
    /// Connections from peers.
    pub open: Arc<Open>,
    /// Where peers were met.
    pub met: Met,
    /// Requests of strangers.
    pub rates: Rates,
    /// Handshakes, by address.
    pub handshakes: Rates,
    /// Turns to connect: each looks up names and waits for a signature.
    pub dials: Semaphore,
    /// Exchanges that peers began, in work.
    pub syncs: Arc<Shares<NodeId>>,
    /// Those who wait for a client.
    pub waiters: Arc<Shares<Origin>>,
    /// What the directory named last.
    pub topology: Mutex<Vec<String>>,
    /// To the driver of the rounds.
    pub rounds: mpsc::Sender<Event>,
    /// When this process began.
    pub started_at: Moment,
    seen: Mutex<Seen>,
}

/// Messages that were taken.
#[derive(Debug)]
struct Seen {
    window: ReplayWindow,
    /// The newest epoch of each sender. One that was restored from a copy has an older one.
    epochs: BTreeMap<NodeId, u64>,
}

impl Net {
    /// At the start.
    pub fn new(keeper: Arc<Keeper>, known: watch::Receiver<Option<Arc<Known>>>, rounds: mpsc::Sender<Event>) -> Self {
        let started_at = clock::now();
        Self {
            refusals: Refusals::new(Arc::clone(&keeper)),
            keeper,
            known,
            ops: Aws,
            counters: Counters::default(),
            book: Book::default(),
            conduct: Conduct::default(),
            peers: Peers::default(),
            open: Arc::default(),
            met: Met::default(),
            rates: Rates::default(),
            handshakes: Rates::default(),
            dials: Semaphore::new(DIALS),
            syncs: Arc::default(),
            waiters: Arc::default(),
            topology: Mutex::default(),
            rounds,
            started_at,
            seen: Mutex::new(Seen { window: ReplayWindow::new(started_at), epochs: BTreeMap::new() }),
        }
    }

    /// The newest situation.
    pub fn known(&self) -> Option<Arc<Known>> {
        self.known.borrow().clone()
    }

    /// Takes a request once.
    pub fn take(&self, message: &Message) -> Result<(), MessageError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // A message that was under way while its sender restarted is not taken either: it comes again.
        if seen.epochs.get(&message.sender).is_some_and(|newest| *newest > message.epoch) {
            return Err(MessageError::Replayed);
        }
        seen.window.take(message, clock::now())?;
        // One far ahead would mute the host that comes back with a right one.
        if message.epoch <= clock::now().after(FAR_AHEAD).as_millis().unsigned_abs() {
            seen.epochs.insert(message.sender.clone(), message.epoch);
        }
        Ok(())
    }

    /// Forgets senders that are no peers any more.
    pub fn forget_strangers(&self, known: &Arc<Known>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.epochs.retain(|node, _| known.peer(node).is_some());
    }
}
