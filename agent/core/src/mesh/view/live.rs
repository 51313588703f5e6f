//! How many entries live in each collection, kept up to date with every record that is taken: whoever asks for it, however
//! often, does not have it counted anew.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::View;
use crate::mesh::collection::Collection;
use crate::mesh::set::Set;
use crate::moment::Moment;

/// Live entries for each collection.
#[derive(Debug, Default)]
pub struct Live {
    /// As if no stamp lay ahead.
    late: BTreeMap<Collection, u64>,
    /// As at the last look.
    shown: Mutex<Option<Shown>>,
    /// Counted anew after a change: any number of records may stand under one key.
    revocations: OnceLock<u64>,
}

#[derive(Debug)]
struct Shown {
    /// Horizons for which it holds, the last excluded: there the next record is no longer held back.
    from: u64,
    until: u64,
    counts: BTreeMap<Collection, u64>,
}

/// What lived of a chain before it changed: late, and as shown.
#[derive(Debug, Clone, Copy)]
pub struct Before(u64, Option<u64>);

const END_OF_TIME: Moment = Moment::from_millis(i64::MAX);

impl Live {
    fn of(set: &Set) -> Self {
        let view = View::of(set, END_OF_TIME);
        let counted = Collection::ALL.iter().filter(|collection| **collection != Collection::Revocations);
        let late = counted.map(|&collection| (collection, view.entries(collection).count() as u64)).collect();
        Self { late, ..Self::default() }
    }

    fn shown_mut(&mut self) -> Option<&mut Shown> {
        self.shown.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut()
    }
}

/// Whether a record there may change what else counts, beyond its own key.
const fn decides_on_others(collection: Collection) -> bool {
    matches!(
        collection,
        Collection::Admissions
            | Collection::HostKeys
            | Collection::Evictions
            | Collection::Upheld
            | Collection::Confirmations
            | Collection::Bundles
            | Collection::Intermediates
    )
}

impl View<'_> {
    /// Live entries for each collection. Costs what is held back, if members, issuers or the horizon changed since.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let live = self.set.live.get_or_init(|| Live::of(self.set));
        let mut shown = live.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let known = shown.take().filter(|shown| (shown.from..shown.until).contains(&self.horizon));
        let known = shown.insert(known.unwrap_or_else(|| self.show(live)));
        let mut counts: BTreeMap<&'static str, u64> = known.counts.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
        let revocations = live.revocations.get_or_init(|| self.revocations().len() as u64);
        counts.insert(Collection::Revocations.as_str(), *revocations);
        counts
    }

    fn show(&self, live: &Live) -> Shown {
        let mut counts = live.late.clone();
        // Keys with something held back are counted anew.
        let mut keys: Vec<(Collection, &str)> =
            self.set.stamped_after(self.horizon).map(|entry| (entry.collection, entry.key())).collect();
        keys.sort_unstable();
        keys.dedup();
        let late = View::of(self.set, END_OF_TIME);
        for (collection, key) in keys {
            let now = self.under(collection, key) as i64;
            let then = late.under(collection, key) as i64;
            let count = counts.entry(collection).or_default();
            *count = count.saturating_add_signed(now - then);
        }
        let until = self.set.stamped_after(self.horizon).next().map_or(u64::MAX, |entry| entry.stamp.wall);
        Shown { from: self.horizon, until, counts }
    }

    fn under(&self, collection: Collection, key: &str) -> usize {
        let entries = self.set.under(collection, key).collect();
        self.standing(collection, entries).len()
    }
}

impl Set {
    /// Before a chain changes: how many of it live, if that is kept count of.
    pub(in crate::mesh) fn uncount(&mut self, chain: (Collection, u64)) -> Option<Before> {
        if decides_on_others(chain.0) {
            self.forget_conclusions();
            return None;
        }
        let live = self.live.get_mut()?;
        if chain.0 == Collection::Revocations {
            live.revocations = OnceLock::new();
            return None;
        }
        let shown = live.shown_mut().map(|shown| shown.from);
        Some(Before(self.count_chain(chain, None), shown.map(|horizon| self.count_chain(chain, Some(horizon)))))
    }

    /// After it changed.
    pub(in crate::mesh) fn recount(&mut self, chain: (Collection, u64), before: Option<Before>) {
        let Some(Before(late, shown)) = before else { return };
        let from = self.live.get_mut().and_then(Live::shown_mut).map(|shown| shown.from);
        let (late_now, shown_now) = (self.count_chain(chain, None), from.map(|horizon| self.count_chain(chain, Some(horizon))));
        let held_back = |wall: &u64| from.is_some_and(|from| *wall > from) && !chain.0.is_lasting();
        let next = self.chain(chain.0, chain.1).map(|entry| entry.stamp.wall).filter(held_back).min();
        let Some(live) = self.live.get_mut() else { return };
        let count = live.late.entry(chain.0).or_default();
        *count = (*count + late_now).saturating_sub(late);
        if let (Some(known), Some(before), Some(now)) = (live.shown_mut(), shown, shown_now) {
            let count = known.counts.entry(chain.0).or_default();
            *count = (*count + now).saturating_sub(before);
            known.until = known.until.min(next.unwrap_or(u64::MAX));
        }
    }

    /// At a horizon, or as if there were none.
    fn count_chain(&self, (collection, short): (Collection, u64), horizon: Option<u64>) -> u64 {
        let mut view = View::of(self, END_OF_TIME);
        view.horizon = horizon.unwrap_or(view.horizon);
        view.standing_of_chain(collection, self.chain(collection, short).collect()).len() as u64
    }
}
