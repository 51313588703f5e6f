//! When each identity is to be looked at again, and whose turn it is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reverie_core::id::IdentityName;
use reverie_core::moment::Moment;

/// When each kept identity is due.
#[derive(Debug, Default)]
pub struct Schedule {
    due: Mutex<Due>,
    /// Told when something is due sooner than before.
    pub changed: tokio::sync::Notify,
}

#[derive(Debug, Default)]
struct Due {
    order: BTreeSet<(Moment, IdentityName)>,
    at: BTreeMap<IdentityName, Moment>,
    failures: BTreeMap<IdentityName, u32>,
    /// What changed while somebody was at work on it.
    asked: BTreeSet<IdentityName>,
    /// Whose services wait for a place to be told.
    waiting: Waiting,
}

/// First come, first served, each once.
#[derive(Debug, Default)]
struct Waiting {
    order: VecDeque<IdentityName>,
    names: BTreeSet<IdentityName>,
}

impl Waiting {
    fn contains(&self, name: &IdentityName) -> bool {
        self.names.contains(name)
    }

    fn push_back(&mut self, name: IdentityName) {
        self.names.insert(name.clone());
        self.order.push_back(name);
    }

    fn pop_front(&mut self) -> Option<IdentityName> {
        let name = self.order.pop_front()?;
        self.names.remove(&name);
        Some(name)
    }
}

impl Due {
    fn put(&mut self, name: &IdentityName, at: Moment) {
        if let Some(before) = self.at.insert(name.clone(), at) {
            self.order.remove(&(before, name.clone()));
        }
        self.order.insert((at, name.clone()));
    }
}

impl Schedule {
    fn due(&self) -> MutexGuard<'_, Due> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `name` is to be looked at then, and not before.
    pub fn put(&self, name: &IdentityName, at: Moment) {
        self.due().put(name, at);
        self.changed.notify_one();
    }

    /// Something changed while another has the turn: it is to be looked at again when that one is done.
    pub fn ask_again(&self, name: &IdentityName, now: Moment) {
        let mut due = self.due();
        due.asked.insert(name.clone());
        due.put(name, now);
        drop(due);
        self.changed.notify_one();
    }

    /// Work on `name` begins: it sees everything that changed until now.
    pub fn begin(&self, name: &IdentityName) {
        self.due().asked.remove(name);
    }

    /// Work is done, and there is more at `at`; or at once if something changed meanwhile.
    pub fn done(&self, name: &IdentityName, now: Moment, at: Moment) {
        let mut due = self.due();
        let asked = due.asked.remove(name);
        due.put(name, if asked { now } else { at });
        drop(due);
        self.changed.notify_one();
    }

    /// `name` has its service told once a place is free; or is looked at again at `at`, should nobody give one up.
    pub fn wait_for_place(&self, name: &IdentityName, at: Moment) {
        let mut due = self.due();
        if !due.waiting.contains(name) {
            due.waiting.push_back(name.clone());
        }
        due.put(name, at);
    }

    /// A place is free: the one who waits longest is next.
    pub fn place_freed(&self, now: Moment) {
        let mut due = self.due();
        if let Some(name) = due.waiting.pop_front()
            && due.at.contains_key(&name)
        {
            due.put(&name, now);
        }
        drop(due);
        self.changed.notify_one();
    }

    /// Forgets `name`.
    pub fn remove(&self, name: &IdentityName) {
        let mut due = self.due();
        due.asked.remove(name);
        due.failures.remove(name);
        if let Some(before) = due.at.remove(name) {
            due.order.remove(&(before, name.clone()));
        }
    }

    /// What is due first, and when.
    pub fn first(&self) -> Option<(Moment, IdentityName)> {
        self.due().order.first().cloned()
    }

    /// Everyone who is waited for.
    pub fn names(&self) -> Vec<IdentityName> {
        self.due().at.keys().cloned().collect()
    }

    /// Everyone whose last attempt failed.
    pub fn failing(&self) -> Vec<IdentityName> {
        self.due().failures.keys().cloned().collect()
    }

    /// Another failure in a row; how many that makes.
    pub fn count_failure(&self, name: &IdentityName) -> u32 {
        let mut due = self.due();
        let failures = due.failures.entry(name.clone()).or_default();
        *failures += 1;
        *failures
    }

    /// It went well.
    pub fn forget_failures(&self, name: &IdentityName) {
        self.due().failures.remove(name);
    }
}

/// One at a time for each identity.
#[derive(Debug, Default)]
pub struct Turns(Mutex<BTreeMap<IdentityName, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// Held while an identity is renewed, settled or forgotten.
    pub fn of(&self, name: &IdentityName) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Forget the ones nobody holds, so that the map stays as small as the work at hand.
        if turns.len() > 1024 {
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        Arc::clone(turns.entry(name.clone()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_during_the_work_is_looked_at_again_and_what_changed_before_is_not() {
        let (schedule, name) = (Schedule::default(), "web".parse::<IdentityName>().unwrap());
        let (now, later) = (Moment::from_secs(100), Moment::from_secs(900));
        schedule.ask_again(&name, now);
        schedule.begin(&name);
        schedule.done(&name, now, later);
        assert_eq!(schedule.first(), Some((later, name.clone())));
        schedule.begin(&name);
        schedule.ask_again(&name, now);
        schedule.done(&name, now, later);
        assert_eq!(schedule.first(), Some((now, name)));
    }

    #[test]
    fn who_waits_for_a_place_waits_in_line_and_is_not_looked_at_meanwhile() {
        let (schedule, now, later) = (Schedule::default(), Moment::from_secs(100), Moment::from_secs(900));
        let [a, b]: [IdentityName; 2] = ["a", "b"].map(|name| name.parse().unwrap());
        for name in [&b, &a, &b] {
            schedule.wait_for_place(name, later);
        }
        assert_eq!(schedule.first(), Some((later, a.clone())));
        schedule.place_freed(now);
        assert_eq!(schedule.first(), Some((now, b.clone())));
        schedule.remove(&b);
        schedule.place_freed(now);
        assert_eq!(schedule.first(), Some((now, a)));
    }
}
