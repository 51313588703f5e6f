//! How far the writer and the follower are; each waits here for the other.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reverie_core::audit::{ChainHead, SignedHead};

use super::trail::Extent;

/// State of both.
#[derive(Debug, Clone, Default)]
pub(super) struct Stand {
    /// The durable head of the chain.
    pub(super) committed: ChainHead,
    /// The head of what is in the files.
    pub(super) written: ChainHead,
    /// The files are on disk up to this event.
    pub(super) synced: u64,
    /// Why the files cannot be written now.
    pub(super) fault: Option<String>,
    /// The last signed head.
    pub(super) signed: Option<SignedHead>,
    /// Signed heads that the store does not have yet.
    pub(super) unsaved: Vec<SignedHead>,
    /// From where on the files are wanted; older ones go once the store knows.
    pub(super) files_start: ChainHead,
    /// As the store has it.
    pub(super) extent: Extent,
    /// The follower is to finish.
    pub(super) stop: bool,
}

/// The state and the bell beside it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    stand: Mutex<Stand>,
    changed: Condvar,
}

impl Progress {
    pub(super) fn new(stand: Stand) -> Self {
        Self { stand: Mutex::new(stand), changed: Condvar::new() }
    }

    /// Reads.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Stand) -> T) -> T {
        look(&self.lock())
    }

    /// Changes, and wakes whoever waits.
    pub(super) fn update<T>(&self, update: impl FnOnce(&mut Stand) -> T) -> T {
        let result = update(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// Waits until `done`, or the time is over; says whether it is done.
    pub(super) fn wait(&self, until: Option<Instant>, done: impl Fn(&Stand) -> bool) -> bool {
        let mut stand = self.lock();
        while !done(&stand) {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            stand = match left {
                Some(Duration::ZERO) => return false,
                Some(left) => self.changed.wait_timeout(stand, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.changed.wait(stand).unwrap_or_else(PoisonError::into_inner),
            };
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Stand> {
        self.stand.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
