//! What this role counts. The keeper, who serves `/metrics`, is told now and then.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use reverie_core::ipc::net::{Metrics, RequestCount};

/// Since the start.
#[derive(Debug, Default)]
pub struct Counters {
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    /// See [`Metrics`].
    pub shed: AtomicU64,
    /// See [`Metrics`].
    pub handshakes_failed: AtomicU64,
    /// See [`Metrics`].
    pub exchanges: AtomicU64,
    /// See [`Metrics`].
    pub exchanges_failed: AtomicU64,
    /// See [`Metrics`].
    pub probes: AtomicU64,
    /// See [`Metrics`].
    pub datagrams: AtomicU64,
    /// See [`Metrics`].
    pub records_sent: AtomicU64,
    /// See [`Metrics`].
    pub records_taken: AtomicU64,
    /// See [`Metrics`].
    pub bytes_sent: AtomicU64,
    /// See [`Metrics`].
    pub bytes_received: AtomicU64,
    /// When the last exchange that we began ended well, Unix seconds; 0 for never.
    pub last_round: AtomicU64,
}

/// One more, or several.
pub fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Counters {
    /// A request was answered.
    pub fn answered(&self, endpoint: &'static str, status: u16) {
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner).entry((endpoint, status)).or_default() += 1;
    }

    /// All of them, with what is counted elsewhere.
    pub fn read(&self, connections: u32, peer_connections: u32, waiters: u32) -> Metrics {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let requests = requests
            .iter()
            .map(|((endpoint, status), count)| RequestCount { endpoint: (*endpoint).to_owned(), status: *status, count: *count })
            .collect();
        Metrics {
            requests,
            connections,
            peer_connections,
            waiters,
            shed: read(&self.shed),
            handshakes_failed: read(&self.handshakes_failed),
            exchanges: read(&self.exchanges),
            exchanges_failed: read(&self.exchanges_failed),
            probes: read(&self.probes),
            datagrams: read(&self.datagrams),
            records_sent: read(&self.records_sent),
            records_taken: read(&self.records_taken),
            bytes_sent: read(&self.bytes_sent),
            bytes_received: read(&self.bytes_received),
        }
    }
}
