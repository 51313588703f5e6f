//! How much one user, address or host may have of something that is there for all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts what each has of something: connections, bytes.
#[derive(Debug)]
pub struct Shares<K: Ord + Clone>(Mutex<Counts<K>>);

#[derive(Debug)]
struct Counts<K> {
    total: u32,
    by: BTreeMap<K, u32>,
}

impl<K: Ord + Clone> Default for Shares<K> {
    fn default() -> Self {
        Self(Mutex::new(Counts { total: 0, by: BTreeMap::new() }))
    }
}

/// A part that is counted until this is dropped.
#[derive(Debug)]
pub struct Share<K: Ord + Clone> {
    shares: Arc<Shares<K>>,
    who: K,
    amount: u32,
}

impl<K: Ord + Clone> Shares<K> {
    /// `amount` more for `who`; `None` if that is too much for it or for all.
    pub fn take(self: &Arc<Self>, who: K, amount: u32, total: u32, each: u32) -> Option<Share<K>> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = counts.by.get(&who).copied().unwrap_or(0).checked_add(amount).filter(|own| *own <= each)?;
        counts.total = counts.total.checked_add(amount).filter(|all| *all <= total)?;
        counts.by.insert(who.clone(), own);
        Some(Share { shares: Arc::clone(self), who, amount })
    }

    /// How much is taken in all.
    pub fn total(&self) -> u32 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).total
    }
}

impl<K: Ord + Clone> Drop for Share<K> {
    fn drop(&mut self) {
        let mut counts = self.shares.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.total = counts.total.saturating_sub(self.amount);
        match counts.by.get_mut(&self.who) {
            Some(own) if *own > self.amount => *own -= self.amount,
            _ => drop(counts.by.remove(&self.who)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_cannot_take_everything() {
        let connections = Arc::new(Shares::default());
        let held: Vec<_> = (0..3).map_while(|_| connections.take(1, 1, 10, 2)).collect();
        assert_eq!(held.len(), 2);
        assert!(connections.take(2, 1, 10, 2).is_some());
        drop(held);
        assert!(connections.take(1, 3, 10, 2).is_none());
        let whole = connections.take(1, 2, 10, 2).unwrap();
        assert!(connections.take(2, 9, 10, 10).is_none(), "all together have too much");
        drop(whole);
        assert!(connections.take(2, 9, 10, 10).is_some());
        assert_eq!(connections.total(), 0);
    }
}
