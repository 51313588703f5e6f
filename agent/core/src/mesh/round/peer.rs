//! One peer: what runs with it, what is owed to it, and when it is tried again.

use std::time::Duration;

use super::chance::Chance;
use super::{ExchangeId, Liveness};
use crate::id::NodeId;
use crate::moment::Moment;

/// What is to be started with a peer as soon as nothing runs with it; a push includes what a probe would find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owed {
    Probe,
    Push,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Flight {
    pub(super) exchange: ExchangeId,
    pub(super) what: Owed,
    pub(super) deadline: Moment,
    /// When another one is asked too; `None` once it was.
    pub(super) hedge: Option<Moment>,
}

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) node: NodeId,
    pub(super) liveness: Liveness,
    pub(super) failures: u32,
    /// Not tried by itself before this.
    pub(super) not_before: Option<Moment>,
    pub(super) owed: Option<Owed>,
    pub(super) flight: Option<Flight>,
    /// Pages in a row; a pause is made after many.
    pub(super) pages: u32,
    /// It is in the queue of those that are to be started.
    pub(super) queued: bool,
}

/// After a first failure; doubled with each further one.
const BACK_OFF_FIRST: Duration = Duration::from_millis(250);

impl Peer {
    pub(super) const fn new(node: NodeId) -> Self {
        Self {
            node,
            liveness: Liveness::Unknown,
            failures: 0,
            not_before: None,
            owed: None,
            flight: None,
            pages: 0,
            queued: false,
        }
    }

    pub(super) fn owe(&mut self, what: Owed) {
        self.owed = self.owed.max(Some(what));
    }

    pub(super) fn is_backed_off(&self, now: Moment) -> bool {
        self.not_before.is_some_and(|until| until > now)
    }

    /// Worth talking to as far as we know.
    pub(super) fn is_promising(&self, now: Moment) -> bool {
        self.liveness != Liveness::Down && !self.is_backed_off(now)
    }

    /// Something may be wrong between it and us, or it and others.
    pub(super) fn is_impaired(&self) -> bool {
        self.failures > 0 || self.liveness > Liveness::Alive
    }

    pub(super) fn fail(&mut self, now: Moment, longest: Duration, chance: &mut Chance) {
        self.failures = self.failures.saturating_add(1);
        self.pages = 0;
        let doubled = BACK_OFF_FIRST.saturating_mul(1 << self.failures.saturating_sub(1).min(16)).min(longest);
        // Half to whole: hosts that lost the same peer at the same time do not come back to it at the same time.
        self.not_before = Some(now.after(chance.around(doubled, 50, 100)));
    }

    pub(super) fn succeed(&mut self) {
        self.failures = 0;
        self.not_before = None;
    }

    /// It was heard: it is there, though perhaps only in that direction. Not a reason to hammer, but to try soon.
    pub(super) fn hear(&mut self, now: Moment, soon: Duration) {
        if let Some(until) = &mut self.not_before {
            *until = (*until).min(now.after(soon));
        }
    }
}
