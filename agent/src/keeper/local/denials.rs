//! Recording refusals, within their budget. The refusal itself is answered whatever becomes of its record.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reverie_core::api::{Code, Problem, Surface};
use reverie_core::audit::{Actor, Denials as Budget, Event, Kind, Outcome, Subject};
use reverie_core::caller::Caller;

use crate::keeper::state::Change;
use crate::keeper::{Keeper, clock};

/// How often what exceeded the budget is recorded.
const SUMMARY_PERIOD: Duration = Duration::from_secs(60);

/// What the budget still allows, and what it did not.
#[derive(Debug)]
pub struct Denials {
    budget: Mutex<Budget>,
    summarised: Mutex<Instant>,
}

impl Default for Denials {
    fn default() -> Self {
        Self { budget: Mutex::default(), summarised: Mutex::new(Instant::now()) }
    }
}

impl Denials {
    fn budget(&self) -> MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What other hosts are refused is counted as one more user's: this is no uid (POSIX: `(uid_t) -1`).
const PEERS: u32 = u32::MAX;

impl Denials {
    /// An event about another host, if the budget allows it now; else it is counted.
    pub fn admit_peer(&self, event: Event) -> Option<Event> {
        self.budget().admit(PEERS, event)
    }
}

/// Records that another host was refused something, now or in a summary later.
pub async fn record_peer(keeper: &Keeper, event: Event) {
    if let Some(event) = keeper.denials.admit_peer(event)
        && let Err(error) = keeper.commit(Change { writes: vec![], events: vec![event.clone()] }).await
    {
        tracing::warn!(%error, "a refusal could not be recorded; it is counted");
        keeper.denials.budget().withhold(PEERS, event);
    }
}

/// Is this a refusal to somebody, rather than a mistake or a failure? What an administrator mistypes is no attack.
pub fn is_denial(surface: Surface, code: Code) -> bool {
    match code {
        Code::NotPermitted | Code::BadToken | Code::CallerGone => true,
        Code::BadRequest => surface == Surface::Local,
        _ => false,
    }
}

/// Records that `caller` was refused `object`, now or in a summary later.
pub async fn record(keeper: &Keeper, caller: &Caller, object: String, problem: &Problem) {
    metrics::counter!("reverie_denials_total").increment(1);
    let outcome = match problem.code {
        Code::Unavailable | Code::Internal => Outcome::Failed,
        _ => Outcome::Denied,
    };
    let event = Event {
        time: clock::now(),
        kind: Kind::RequestDenied,
        outcome,
        actor: Actor::from(caller),
        subject: Subject { object: Some(object), ..Subject::default() },
        reason: Some(problem.detail.clone()),
    };
    let admitted = keeper.denials.budget().admit(caller.uid, event);
    if let Some(event) = admitted
        && let Err(error) = keeper.commit(Change { writes: vec![], events: vec![event.clone()] }).await
    {
        tracing::warn!(%error, "a refusal could not be recorded; it is counted");
        keeper.denials.budget().withhold(caller.uid, event);
    }
}

/// Records what exceeded the budget, if it is time.
pub async fn summarise_now_and_then(keeper: Arc<Keeper>) {
    let due = {
        let mut last = keeper.denials.summarised.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.elapsed() >= SUMMARY_PERIOD;
        if due {
            *last = Instant::now();
        }
        due
    };
    if due {
        summarise(&keeper).await;
    }
}

/// Records what exceeded the budget.
pub async fn summarise(keeper: &Keeper) {
    let events = keeper.denials.budget().take_withheld(clock::now());
    if !events.is_empty()
        && let Err(error) = keeper.commit(Change { writes: vec![], events }).await
    {
        tracing::error!(%error, "counts of refusals could not be recorded, and are lost");
    }
}
