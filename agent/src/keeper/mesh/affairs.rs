//! What the comings and goings of hosts keep in memory: turns, what was seen, how often something was tried.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reverie_core::id::NodeId;
use reverie_core::mesh::membership::Refusal;
use reverie_core::mesh::renewal::{Attempts, Seen};
use reverie_core::moment::Moment;

use super::joining::Pending;
use super::trouble::Trouble;

/// Answers with the wrapping key for one host: so many in so long, to itself, and as many to others that ask in its name.
const SERVED: (u32, Duration) = (8, Duration::from_secs(10));
/// Of these so many in so long are recorded: to one host, and to all strangers together. The rest is counted.
const SERVED_RECORDED: (u32, Duration) = (2, Duration::from_secs(60));
const STRANGERS_RECORDED: (u32, Duration) = (5, Duration::from_secs(60));
/// Renewals for one host: so many in so long. A healthy one needs one in days.
const RENEWALS: (u32, Duration) = (6, Duration::from_secs(60));
/// So long a change of membership waits for those before it.
const TURN: Duration = Duration::from_secs(30);
/// And so long a Kerberos token.
const TOKEN_TURN: Duration = Duration::from_secs(5);
/// Refusals of strangers that are recorded: so many in so long. The rest is counted and logged.
const REFUSALS: (u32, Duration) = (20, Duration::from_secs(60));

/// All of it.
#[derive(Default)]
pub(super) struct Affairs {
    /// Held while a token is judged and redeemed, and while a host is admitted, put out or promoted: one after the other.
    membership: tokio::sync::Mutex<()>,
    /// Held while versions of the wrapping key come and go.
    wrapping: tokio::sync::Mutex<()>,
    /// Turns to have a Kerberos token looked at: each starts a process, and a stranger may send any bytes.
    pub(super) tokens: Tokens,
    /// Held while this host joins or leaves.
    pub(super) joining: tokio::sync::Mutex<()>,
    /// The goodbye is to be heard before net may end.
    pub(super) leaving: std::sync::atomic::AtomicBool,
    pending: Mutex<Option<Pending>>,
    renewal: Mutex<Attempts>,
    renewals: Mutex<BTreeMap<NodeId, Renewals>>,
    served: Mutex<BTreeMap<(NodeId, Asker), Budget>>,
    served_recorded: Mutex<BTreeMap<Option<NodeId>, Budget>>,
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

    /// The turn to admit, put out or promote.
    pub(super) async fn membership_turn(&self) -> Result<TurnGuard<'_>, Trouble> {
        turn(&self.membership, "other changes of who is in the mesh are being made").await
    }

    /// The turn to make, take or drop versions of the wrapping key.
    pub(super) async fn wrapping_turn(&self) -> Result<TurnGuard<'_>, Trouble> {
        turn(&self.wrapping, "other changes of the wrapping key are being made").await
    }

    /// The turn to join or leave.
    pub(super) async fn joining_turn(&self) -> Result<TurnGuard<'_>, Trouble> {
        turn(&self.joining, "this host is being joined to a mesh or is leaving one").await
    }

    /// The turn to renew a host, which is one of the view and signed the request; one at a time and a few in a minute, each
    /// request once.
    pub(super) fn renewal_of(&self, node: &NodeId, binding: [u8; 32], now: Moment) -> Result<RenewalTurn<'_>, Refusal> {
        let mut all = lock(&self.renewals);
        let own = all.entry(node.clone()).or_default();
        if own.in_work || !own.budget.take(RENEWALS, now) {
            return Err(Refusal::new(429, format!("{node} asks for renewal too often"), "wait a minute"));
        }
        if !own.seen.admit(binding, now) {
            return Err(Refusal::new(409, "this request was answered before", "ask anew"));
        }
        own.in_work = true;
        Ok(RenewalTurn { affairs: self, node: node.clone() })
    }

    /// Our own attempts to be renewed.
    pub(super) fn renewal(&self) -> MutexGuard<'_, Attempts> {
        lock(&self.renewal)
    }

    /// Whether a host may be served the wrapping key once more. `node` is one of the view: the map is bounded by it. Who asks in
    /// its name takes nothing from itself.
    pub(super) fn may_serve(&self, node: &NodeId, asker: Asker, now: Moment) -> bool {
        lock(&self.served).entry((node.clone(), asker)).or_default().take(SERVED, now)
    }

    /// Whether that is recorded; if so, how often it was not since the last time.
    pub(super) fn may_record_served(&self, node: &NodeId, asker: Asker, now: Moment) -> Option<u32> {
        let (who, limit) = match asker {
            Asker::Itself => (Some(node.clone()), SERVED_RECORDED),
            Asker::Stranger => (None, STRANGERS_RECORDED),
        };
        let mut all = lock(&self.served_recorded);
        let budget = all.entry(who).or_default();
        let before = budget.taken.saturating_sub(limit.0);
        budget.take(limit, now).then_some(before)
    }

    /// Whether one more refusal is recorded.
    pub(super) fn may_record_refusal(&self, now: Moment) -> bool {
        lock(&self.refusals).take(REFUSALS, now)
    }
}

/// Kerberos tokens looked at at once.
const TOKENS: usize = 4;

/// See [`Affairs::tokens`].
pub(super) struct Tokens(tokio::sync::Semaphore);

impl Default for Tokens {
    fn default() -> Self {
        Self(tokio::sync::Semaphore::new(TOKENS))
    }
}

impl Tokens {
    /// A turn, if one comes soon.
    pub(super) async fn turn(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Refusal> {
        let waited = tokio::time::timeout(TOKEN_TURN, self.0.acquire()).await;
        let too_many =
            || Refusal::new(429, "too many hosts register by Kerberos at once", "try again in a minute, or join by token");
        waited.ok().and_then(Result::ok).ok_or_else(too_many)
    }
}

/// Who asks for a host's wrapping key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asker {
    /// The host, by the key of its connection.
    Itself,
    /// Anyone else.
    Stranger,
}

impl Asker {
    /// As the audit log and `/metrics` have it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Itself => "itself",
            Self::Stranger => "stranger",
        }
    }
}

type TurnGuard<'a> = tokio::sync::MutexGuard<'a, ()>;

async fn turn<'a>(mutex: &'a tokio::sync::Mutex<()>, why: &str) -> Result<TurnGuard<'a>, Trouble> {
    let waited = tokio::time::timeout(TURN, mutex.lock()).await;
    waited.map_err(|_| Trouble::unavailable(format!("{why}, for {} s already", TURN.as_secs()), "try again in a minute"))
}

/// What is remembered of a host's renewals.
#[derive(Debug, Default)]
struct Renewals {
    in_work: bool,
    budget: Budget,
    seen: Seen,
}

/// While it lives, no other renewal of that host is begun.
pub(super) struct RenewalTurn<'a> {
    affairs: &'a Affairs,
    node: NodeId,
}

impl Drop for RenewalTurn<'_> {
    fn drop(&mut self) {
        if let Some(own) = lock(&self.affairs.renewals).get_mut(&self.node) {
            own.in_work = false;
        }
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
    fn who_asks_in_a_hosts_name_takes_nothing_from_it_and_fills_no_log() {
        let affairs = Affairs::default();
        let (victim, now): (NodeId, _) = ("a.example.org".parse().unwrap(), Moment::from_secs(1000));
        let served = (0..1000).filter(|_| affairs.may_serve(&victim, Asker::Stranger, now)).count();
        assert_eq!(served, SERVED.0 as usize);
        assert!(affairs.may_serve(&victim, Asker::Itself, now));
        let recorded = (0..1000).filter_map(|_| affairs.may_record_served(&victim, Asker::Stranger, now)).count();
        assert_eq!(recorded, STRANGERS_RECORDED.0 as usize);
        let later = now.after(STRANGERS_RECORDED.1);
        assert_eq!(affairs.may_record_served(&victim, Asker::Stranger, later), Some(1000 - STRANGERS_RECORDED.0));
        assert_eq!(affairs.may_record_served(&victim, Asker::Itself, now), Some(0));
    }

    #[test]
    fn a_host_that_asks_for_renewal_without_end_holds_up_nobody_but_itself() {
        let affairs = Affairs::default();
        let (greedy, other): (NodeId, NodeId) = ("a.example.org".parse().unwrap(), "b.example.org".parse().unwrap());
        let now = Moment::from_secs(1000);
        let ask = |node: &NodeId, number: u8| affairs.renewal_of(node, [number; 32], now);
        let first = ask(&greedy, 0).unwrap();
        assert_eq!(ask(&greedy, 1).err().map(|refusal| refusal.status), Some(429), "one is in work");
        drop(first);
        assert_eq!(ask(&greedy, 0).err().map(|refusal| refusal.status), Some(409), "answered before");
        let granted = (2..100).filter(|number| ask(&greedy, *number).is_ok()).count();
        assert!(granted < RENEWALS.0 as usize, "{granted}");
        assert!(ask(&other, 0).is_ok());
    }

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
