//! What the comings and goings of hosts keep in memory: turns, what was seen, how often something was tried.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reverie_core::id::NodeId;
use reverie_core::mesh::renewal::{Attempts, Seen};
use reverie_core::moment::Moment;

use super::joining::Pending;

/// Answers with the wrapping key for one host: so many in so long.
const SERVED: (u32, Duration) = (8, Duration::from_secs(10));
/// Refusals of strangers that are recorded: so many in so long. The rest is counted and logged.
const REFUSALS: (u32, Duration) = (20, Duration::from_secs(60));

/// All of it.
#[derive(Default)]
pub(super) struct Affairs {
    /// Held while a token is judged and redeemed, and while a host is admitted, put out or promoted: one after the other.
    pub(super) membership: tokio::sync::Mutex<()>,
    /// Held while versions of the wrapping key come and go.
    pub(super) wrapping: tokio::sync::Mutex<()>,
    /// Held while this host joins or leaves.
    pub(super) joining: tokio::sync::Mutex<()>,
    /// The goodbye is to be heard before net may end.
    pub(super) leaving: std::sync::atomic::AtomicBool,
    pending: Mutex<Option<Pending>>,
    seen: Mutex<Seen>,
    renewal: Mutex<Attempts>,
    served: Mutex<BTreeMap<NodeId, Budget>>,
    refusals: Mutex<Budget>,
}

impl std::fmt::Debug for Affairs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Affairs")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Affairs {
    /// What this host asked to join with.
    pub(super) fn pending(&self) -> MutexGuard<'_, Option<Pending>> {
        lock(&self.pending)
    }

    /// Renewal requests that were answered.
    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }

    /// Our own attempts to be renewed.
    pub(super) fn renewal(&self) -> MutexGuard<'_, Attempts> {
        lock(&self.renewal)
    }

    /// Whether a host may be served the wrapping key once more. `node` is one of the view: the map is bounded by it.
    pub(super) fn may_serve(&self, node: &NodeId, now: Moment) -> bool {
        lock(&self.served).entry(node.clone()).or_default().take(SERVED, now)
    }

    /// Whether one more refusal is recorded.
    pub(super) fn may_record_refusal(&self, now: Moment) -> bool {
        lock(&self.refusals).take(REFUSALS, now)
    }
}

/// So many in a span.
#[derive(Debug, Default, Clone, Copy)]
struct Budget {
    since: Option<Moment>,
    taken: u32,
}

impl Budget {
    fn take(&mut self, (many, span): (u32, Duration), now: Moment) -> bool {
        let begun = self.since.is_some_and(|since| since <= now && now < since.after(span));
        if !begun {
            *self = Self { since: Some(now), taken: 0 };
        }
        self.taken = self.taken.saturating_add(1);
        self.taken <= many
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_used_up_and_comes_back_also_when_the_clock_was_set_back() {
        let mut budget = Budget::default();
        let limit = (2, Duration::from_secs(10));
        let now = Moment::from_secs(1000);
        assert!(budget.take(limit, now) && budget.take(limit, now) && !budget.take(limit, now));
        assert!(budget.take(limit, now.after(limit.1)));
        assert!(budget.take(limit, Moment::from_secs(5)));
    }
}
