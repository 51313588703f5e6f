//! How many entries live in each collection, kept up to date with every record that is taken.

use std::collections::BTreeMap;

use super::View;
use crate::mesh::collection::Collection;
use crate::mesh::set::Set;
use crate::moment::Moment;

/// Live entries for each collection, as if no stamp lay ahead.
#[derive(Debug, Default)]
pub struct Live(BTreeMap<Collection, u64>);

const END_OF_TIME: Moment = Moment::from_millis(i64::MAX);

impl Live {
    fn of(set: &Set) -> Self {
        let view = View::of(set, END_OF_TIME);
        let count = |&collection: &Collection| (collection, view.entries(collection).count() as u64);
        Self(Collection::ALL.iter().map(count).collect())
    }
}

/// Whether a record there may change what else counts, beyond its own key.
const fn decides_on_others(collection: Collection) -> bool {
    matches!(
        collection,
        Collection::Admissions | Collection::HostKeys | Collection::Evictions | Collection::Bundles | Collection::Intermediates
    )
}

impl View<'_> {
    /// Live entries for each collection. Costs what is held back, unless members or issuers changed.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let live = self.set.live.get_or_init(|| Live::of(self.set));
        let mut counts: BTreeMap<Collection, u64> = live.0.clone();
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
        counts.into_iter().map(|(collection, count)| (collection.as_str(), count)).collect()
    }

    fn under(&self, collection: Collection, key: &str) -> usize {
        let entries = self.set.under(collection, key).collect();
        self.standing(collection, entries).len()
    }
}

impl Set {
    /// Before a chain changes: how many of it live, if that is kept count of.
    pub(in crate::mesh) fn uncount(&mut self, chain: (Collection, u64)) -> Option<u64> {
        if decides_on_others(chain.0) {
            self.forget_conclusions();
            return None;
        }
        self.live.get()?;
        Some(self.count_chain(chain))
    }

    /// After it changed.
    pub(in crate::mesh) fn recount(&mut self, chain: (Collection, u64), before: Option<u64>) {
        let Some(before) = before else { return };
        let after = self.count_chain(chain);
        if let Some(live) = self.live.get_mut() {
            let count = live.0.entry(chain.0).or_default();
            *count = (*count + after).saturating_sub(before);
        }
    }

    fn count_chain(&self, (collection, short): (Collection, u64)) -> u64 {
        let view = View::of(self, END_OF_TIME);
        view.standing_of_chain(collection, self.chain(collection, short).collect()).len() as u64
    }
}
